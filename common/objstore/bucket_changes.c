/* Our own manifests as written, and what was left of the run before. */
#include "common/objstore/backend_bucket_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_among(const char *const *ids, uint32_t count, const char *id)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    return false;
}

static bool is_added(const struct manifest_change *c, const char *id)
{
    for (uint32_t i = 0; i < c->added_count; i++)
        if (strcmp(c->added[i].id, id) == 0)
            return true;
    return false;
}

static void keep_entry(struct manifest *m, struct arena *a, const struct manifest_entry *e)
{
    m->entries[m->entry_count] = *e;
    m->entries[m->entry_count++].meta_json = arena_dup(a, e->meta_json);
}

/* Replaced blocks keep their entry, so that they can be opened; what is removed or quarantined loses it. */
static void next_entries(struct backend_bucket *b, const char *tenant, const struct manifest *old,
                         const struct manifest_change *c, struct arena *a, struct manifest *m)
{
    m->entries = ARENA_ARRAY(a, struct manifest_entry, (size_t)old->entry_count + c->added_count);
    for (uint32_t i = 0; m->entries != NULL && i < old->entry_count; i++) {
        const struct manifest_entry *e = &old->entries[i];
        const struct manifest_gone *g = bucket_views_find_gone(b, tenant, e->id);
        bool goes = (g != NULL && g->why != MANIFEST_REPLACED) || is_added(c, e->id) ||
                    (c->why != MANIFEST_REPLACED && is_among(c->gone, c->gone_count, e->id));
        if (!goes)
            keep_entry(m, a, e);
    }
    for (uint32_t i = 0; m->entries != NULL && i < c->added_count; i++)
        keep_entry(m, a, &c->added[i]);
}

/* Nobody needs to be told any more: its objects are deleted, and no manifest names it. */
static bool is_forgotten(struct backend_bucket *b, const char *tenant,
                         const struct manifest_gone *g)
{
    struct view *v, *next;
    bool is_deleted = g->is_deleted;

    HASH_ITER (hh, b->views, v, next) {
        if (!bucket_views_is_of(v, tenant))
            continue;
        if (!bucket_views_is_own(b, v) && manifest_find(&v->manifest, g->id) != NULL)
            return false;
        const struct manifest_gone *other = manifest_find_gone(&v->manifest, g->id);
        is_deleted = is_deleted || (other != NULL && other->is_deleted);
    }
    return is_deleted;
}

static void next_gone(struct backend_bucket *b, const char *tenant, const struct manifest *old,
                      const struct manifest_change *c, struct arena *a, struct manifest *m)
{
    uint64_t now = (uint64_t)clock_wall_ns(b->o.clock);

    m->gone = ARENA_ARRAY(a, struct manifest_gone, (size_t)old->gone_count + c->gone_count);
    for (uint32_t i = 0; m->gone != NULL && i < old->gone_count; i++)
        if (!is_forgotten(b, tenant, &old->gone[i]) &&
            !is_among(c->gone, c->gone_count, old->gone[i].id))
            m->gone[m->gone_count++] = old->gone[i];
    for (uint32_t i = 0; m->gone != NULL && i < c->gone_count; i++) {
        struct manifest_gone *g = &m->gone[m->gone_count++];
        *g = (struct manifest_gone){.why = (uint8_t)c->why, .when_ns = now};
        (void)snprintf(g->id, sizeof g->id, "%s", c->gone[i]);
    }
}

/* The next version of our manifest, in `v`, which is in no table yet. */
static enum err make_next(struct backend_bucket *b, const char *tenant, const struct view *old,
                          const struct manifest_change *c, struct view *v)
{
    static const struct manifest none;
    const struct manifest *from = old != NULL ? &old->manifest : &none;

    arena_init(&v->arena, b->o.memory);
    v->manifest = (struct manifest){.tenant = arena_dup(&v->arena, slice_str(tenant)),
                                    .writer = arena_dup(&v->arena, slice_str(b->writer)),
                                    .number = from->number + 1};
    next_entries(b, tenant, from, c, &v->arena, &v->manifest);
    next_gone(b, tenant, from, c, &v->arena, &v->manifest);
    return arena_err(&v->arena);
}

/* With `writing` held. */
static enum err change_locked(struct backend_bucket *b, const char *tenant,
                              const struct manifest_change *c)
{
    char object[BUCKET_KEY_BYTES_MAX + sizeof MANIFESTS_PREFIX], key[BUCKET_KEY_BYTES_MAX];
    struct view *v = calloc(1, sizeof *v);
    struct buf bytes;
    enum err e = v == NULL ? ERR_NOMEM : bucket_views_own_key(b, tenant, key);

    if (e != ERR_OK) {
        free(v);
        return e;
    }
    (void)snprintf(v->key, sizeof v->key, "%s", key);
    (void)snprintf(object, sizeof object, MANIFESTS_PREFIX "%s", key);
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    mutex_lock(&b->lock);
    e = make_next(b, tenant, bucket_views_find(b, key), c, v);
    mutex_unlock(&b->lock);
    if (e == ERR_OK)
        e = manifest_encode(&v->manifest, &bytes); /* sorts the entries */
    if (e == ERR_OK)
        e = bucket_views_note_heirs(v);
    if (e == ERR_OK)
        e = b->o.bucket->ops->put(b->o.bucket, object, buf_slice(&bytes));
    buf_release(&bytes);
    if (e != ERR_OK) { /* perhaps it was written: the next attempt writes the same and more */
        bucket_views_discard(v);
        return e;
    }
    mutex_lock(&b->lock);
    e = bucket_views_enter(b, v);
    mutex_unlock(&b->lock);
    return e;
}

enum err bucket_changes_write(struct backend_bucket *b, const char *tenant,
                              const struct manifest_change *change)
{
    assert(b->o.writer != NULL);
    mutex_lock(&b->writing);
    enum err e = bucket_changes_take_up(b);
    if (e == ERR_OK)
        e = change_locked(b, tenant, change);
    mutex_unlock(&b->writing);
    return e;
}

enum err bucket_changes_delete(struct backend_bucket *b, const char *tenant, const char *id)
{
    static const char *const files[] = {META_NAME, DATA_NAME};
    char key[BUCKET_KEY_BYTES_MAX];
    enum err e = ERR_OK;

    for (size_t i = 0; i < sizeof files / sizeof files[0] && e == ERR_OK; i++) {
        e = bucket_names_key(tenant, id, files[i], key);
        if (e == ERR_OK)
            e = b->o.bucket->ops->remove(b->o.bucket, key);
    }
    if (e == ERR_OK)
        e = bucket_views_own_key(b, tenant, key);
    if (e != ERR_OK)
        return e;
    mutex_lock(&b->lock);
    struct view *v = bucket_views_find(b, key);
    struct manifest_gone *g = v != NULL ? manifest_find_gone(&v->manifest, id) : NULL;
    if (g != NULL)
        g->is_deleted = true; /* written with the next change */
    bucket_succession_not_hidden(b, tenant, id);
    mutex_unlock(&b->lock);
    return ERR_OK;
}

/* --- what was left of the run before --- */

static enum err on_own_loose(void *arg, const char *tenant, const struct block_meta *meta,
                             struct slice json)
{
    struct backend_bucket *b = arg;
    struct manifest_entry entry = {.meta_json = json};
    struct manifest_change change = {.added = &entry, .added_count = 1, .why = MANIFEST_REPLACED};

    if (strcmp(meta->writer, b->writer) != 0)
        return ERR_OK;
    (void)snprintf(entry.id, sizeof entry.id, "%s", meta->id);
    return change_locked(b, tenant, &change);
}

/* A block of ours that is removed but whose objects are still there; false: there is none. */
static bool next_undeleted(struct backend_bucket *b, char ret_tenant[TENANT_BYTES],
                           char ret_id[MANIFEST_ID_BYTES + 1])
{
    struct view *v, *next;
    bool found = false;

    mutex_lock(&b->lock);
    HASH_ITER (hh, b->views, v, next)
        for (uint32_t i = 0; !found && bucket_views_is_own(b, v) && i < v->manifest.gone_count;
             i++) {
            const struct manifest_gone *g = &v->manifest.gone[i];
            found = g->why == MANIFEST_REMOVED && !g->is_deleted;
            if (found) {
                (void)snprintf(ret_tenant, TENANT_BYTES, SLICE_FMT, SLICE_ARG(v->manifest.tenant));
                memcpy(ret_id, g->id, sizeof g->id);
            }
        }
    mutex_unlock(&b->lock);
    return found;
}

/* A damaged manifest of our own is kept aside before the first change writes over it. */
static enum err keep_damaged(void *arg, const struct bucket_entry *entry)
{
    struct backend_bucket *b = arg;
    const char *key = entry->key + strlen(MANIFESTS_PREFIX), *slash = strchr(key, '/');
    char tenant[TENANT_BYTES], own[BUCKET_KEY_BYTES_MAX], to[2 * BUCKET_KEY_BYTES_MAX];
    struct buf bytes;

    if (slash == NULL || (size_t)(slash - key) >= sizeof tenant)
        return ERR_OK;
    (void)snprintf(tenant, sizeof tenant, "%.*s", (int)(slash - key), key);
    if (bucket_views_own_key(b, tenant, own) != ERR_OK || strcmp(own, key) != 0)
        return ERR_OK;
    mutex_lock(&b->lock);
    bool is_good = bucket_views_find(b, key) != NULL;
    mutex_unlock(&b->lock);
    if (is_good)
        return ERR_OK;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    enum err e = b->o.bucket->ops->get_all(b->o.bucket, entry->key, &bytes);
    (void)snprintf(to, sizeof to, QUARANTINE_PREFIX "manifests/%s.%lld", key,
                   (long long)(clock_wall_ns(b->o.clock) / NS_PER_S));
    if (e == ERR_OK)
        e = b->o.bucket->ops->put(b->o.bucket, to, buf_slice(&bytes));
    buf_release(&bytes);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err bucket_changes_take_up(struct backend_bucket *b)
{
    char tenant[TENANT_BYTES], id[MANIFEST_ID_BYTES + 1];

    assert(mutex_is_mine(&b->writing));
    if (b->is_taken_up)
        return ERR_OK;
    enum err e = bucket_manifests_refresh(b, NULL, false);
    if (e == ERR_OK)
        e = b->o.bucket->ops->list(b->o.bucket, MANIFESTS_PREFIX, true, keep_damaged, b);
    if (e == ERR_OK)
        e = bucket_strays_walk(b, on_own_loose, b);
    while (e == ERR_OK && next_undeleted(b, tenant, id))
        e = bucket_changes_delete(b, tenant, id);
    b->is_taken_up = e == ERR_OK;
    return e;
}
