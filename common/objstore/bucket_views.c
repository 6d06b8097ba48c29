/* Manifests as last read, and what they say together. */
#include "common/objstore/backend_bucket_priv.h"
#include "common/objstore/s3_sign.h"

#include <stdio.h>
#include <stdlib.h>

enum err bucket_views_own_key(const struct backend_bucket *b, const char *tenant,
                              char ret[BUCKET_KEY_BYTES_MAX])
{
    struct arena a;

    arena_init(&a, NULL);
    const char *writer = s3_sign_encode(&a, slice_str(b->writer), false);
    enum err e = arena_err(&a);
    if (e == ERR_OK)
        (void)snprintf(ret, BUCKET_KEY_BYTES_MAX, "%s/%s", tenant, writer);
    arena_release(&a);
    return e;
}

bool bucket_views_is_of(const struct view *v, const char *tenant)
{
    return slice_eq_str(v->manifest.tenant, tenant);
}

bool bucket_views_is_own(const struct backend_bucket *b, const struct view *v)
{
    return b->o.writer != NULL && slice_eq_str(v->manifest.writer, b->writer);
}

/* --- the table --- */

struct view *bucket_views_find(struct backend_bucket *b, const char *key)
{
    struct view *v;

    HASH_FIND_STR(b->views, key, v);
    return v;
}

void bucket_views_discard(struct view *v)
{
    if (v == NULL)
        return;
    arena_release(&v->arena);
    free(v);
}

void bucket_views_drop(struct backend_bucket *b, struct view *v)
{
    HASH_DEL(b->views, v);
    bucket_views_discard(v);
}

enum err bucket_views_enter(struct backend_bucket *b, struct view *v)
{
    struct view *old = bucket_views_find(b, v->key);

    if (old != NULL && old->manifest.number > v->manifest.number) {
        old->seen = v->seen;
        bucket_views_discard(v);
        return ERR_OK;
    }
    if (old != NULL)
        bucket_views_drop(b, old);
    HASH_ADD_STR(b->views, key, v);
    if (v->hh.tbl != NULL)
        return ERR_OK;
    bucket_views_discard(v);
    return ERR_NOMEM;
}

static const struct manifest_entry *entry_find(struct backend_bucket *b, const char *tenant,
                                               const char *id)
{
    const struct manifest_entry *found = NULL;
    struct view *v, *next;

    HASH_ITER (hh, b->views, v, next)
        if (found == NULL && bucket_views_is_of(v, tenant))
            found = manifest_find(&v->manifest, id);
    return found;
}

bool bucket_views_has(struct backend_bucket *b, const char *tenant, const char *id)
{
    return entry_find(b, tenant, id) != NULL;
}

/* What is not sound there is no lineage: such a block hides nothing. */
enum err bucket_views_note_heirs(struct view *v)
{
    static const char mark[] = "\"compacted_from\"";
    const struct manifest *m = &v->manifest;
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->entry_count; i++)
        n += memmem(m->entries[i].meta_json.ptr, m->entries[i].meta_json.len, mark,
                    sizeof mark - 1) != NULL;
    v->heir_count = 0;
    v->heirs = ARENA_ARRAY(&v->arena, struct heir, n);
    for (uint32_t i = 0; v->heirs != NULL && n > 0 && i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        struct block_lineage l = {0};
        if (memmem(e->meta_json.ptr, e->meta_json.len, mark, sizeof mark - 1) != NULL &&
            block_lineage_from_json(e->meta_json, &v->arena, &l) == ERR_OK && l.from_count > 0)
            v->heirs[v->heir_count++] = (struct heir){.id = e->id,
                                                      .since_ns = l.compacted_ns,
                                                      .from = l.from,
                                                      .from_count = l.from_count};
    }
    return arena_err(&v->arena);
}

struct manifest_gone *bucket_views_find_gone(struct backend_bucket *b, const char *tenant,
                                             const char *id)
{
    struct manifest_gone *found = NULL;
    struct view *v, *next;

    HASH_ITER (hh, b->views, v, next) {
        struct manifest_gone *g =
            bucket_views_is_of(v, tenant) ? manifest_find_gone(&v->manifest, id) : NULL;
        if (g != NULL && (found == NULL || found->why == MANIFEST_REPLACED))
            found = g;
    }
    return found;
}

bool bucket_views_is_known(struct backend_bucket *b, const char *tenant, const char *id)
{
    mutex_lock(&b->lock);
    bool is = entry_find(b, tenant, id) != NULL || bucket_views_find_gone(b, tenant, id) != NULL;
    mutex_unlock(&b->lock);
    return is;
}

bool bucket_views_is_removed(struct backend_bucket *b, const char *tenant, const char *id)
{
    mutex_lock(&b->lock);
    const struct manifest_gone *g = bucket_views_find_gone(b, tenant, id);
    bool is = g != NULL && g->why == MANIFEST_REMOVED;
    mutex_unlock(&b->lock);
    return is;
}

enum err bucket_views_meta(struct backend_bucket *b, const char *tenant, const char *id,
                           struct buf *ret, uint32_t *ret_tail)
{
    mutex_lock(&b->lock);
    const struct manifest_entry *e = entry_find(b, tenant, id);
    if (e != NULL) {
        buf_append(ret, e->meta_json);
        *ret_tail = e->tail_bytes;
    }
    mutex_unlock(&b->lock);
    return e != NULL ? buf_err(ret) : ERR_NOT_FOUND;
}

/* --- reading --- */

static enum err view_parse(struct backend_bucket *b, struct slice bytes, struct view *v)
{
    const char *slash = strchr(v->key, '/');

    arena_init(&v->arena, b->o.memory);
    enum err e = manifest_decode(bytes, &v->arena, &v->manifest);
    if (e != ERR_OK)
        return e;
    struct slice tenant = {(const uint8_t *)v->key, (size_t)(slash - v->key)};
    return slice_eq(v->manifest.tenant, tenant) ? bucket_views_note_heirs(v)
                                                : ERR_CORRUPT; /* copied from elsewhere */
}

enum err bucket_views_load(struct backend_bucket *b, const char *key, const char *etag, uint64_t no)
{
    char object[BUCKET_KEY_BYTES_MAX + sizeof MANIFESTS_PREFIX];
    struct view *v = calloc(1, sizeof *v);
    struct buf bytes;

    if (v == NULL)
        return ERR_NOMEM;
    (void)snprintf(object, sizeof object, MANIFESTS_PREFIX "%s", key);
    (void)snprintf(v->key, sizeof v->key, "%s", key);
    (void)snprintf(v->etag, sizeof v->etag, "%s", etag);
    v->seen = no;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    enum err e = b->o.bucket->ops->get_all(b->o.bucket, object, &bytes);
    if (e == ERR_OK)
        e = view_parse(b, buf_slice(&bytes), v);
    buf_release(&bytes);
    if (e != ERR_OK) {
        bucket_views_discard(v);
        if (e == ERR_CORRUPT || e == ERR_UNSUPPORTED)
            metric_inc(b->metrics.manifests_damaged);
        return e;
    }
    mutex_lock(&b->lock);
    e = bucket_views_enter(b, v);
    mutex_unlock(&b->lock);
    return e;
}

void bucket_views_free(struct backend_bucket *b)
{
    struct view *v, *next;

    HASH_ITER (hh, b->views, v, next)
        bucket_views_drop(b, v);
}
