/* Blocks that no manifest names. */
#include "common/objstore/backend_bucket_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define STRAYS_EVERY_NS (15 * 60 * NS_PER_S)

struct loose {
    struct backend_bucket *b;
    char tenant[TENANT_BYTES];
    bucket_strays_fn *fn;
    void *arg;
};

static enum err on_block_folder(void *arg, const struct bucket_entry *entry)
{
    struct loose *l = arg;
    char id[MANIFEST_ID_BYTES + 2] = "", key[BUCKET_KEY_BYTES_MAX];
    const char *name = entry->key + strlen(l->tenant) + 1;
    struct block_meta meta;
    struct buf json;

    if (strlen(name) != MANIFEST_ID_BYTES + 1 || name[MANIFEST_ID_BYTES] != '/')
        return ERR_OK;
    memcpy(id, name, MANIFEST_ID_BYTES);
    if (!bucket_names_is_id(id) || bucket_views_is_known(l->b, l->tenant, id))
        return ERR_OK;
    enum err e = bucket_names_key(l->tenant, id, META_NAME, key);
    buf_init(&json, META_BYTES_MAX);
    if (e == ERR_OK)
        e = l->b->o.bucket->ops->get_all(l->b->o.bucket, key, &json);
    if (e == ERR_OK && block_meta_from_json(buf_slice(&json), &meta, NULL) == ERR_OK &&
        strcmp(meta.id, id) == 0 && strcmp(meta.tenant, l->tenant) == 0)
        e = l->fn(l->arg, l->tenant, &meta, buf_slice(&json));
    buf_release(&json);
    return e == ERR_NOT_FOUND ? ERR_OK : e; /* on its way here, or on its way out */
}

static enum err on_tenant_folder(void *arg, const struct bucket_entry *entry)
{
    struct loose *l = arg;
    char prefix[TENANT_BYTES + 2];
    size_t len = strlen(entry->key);

    if (len < 2 || len > TENANT_BYTES || entry->key[len - 1] != '/')
        return ERR_OK;
    (void)snprintf(l->tenant, sizeof l->tenant, "%.*s", (int)(len - 1), entry->key);
    (void)snprintf(prefix, sizeof prefix, "%s/", l->tenant);
    return bucket_names_is_tenant(l->tenant)
               ? l->b->o.bucket->ops->list(l->b->o.bucket, prefix, false, on_block_folder, l)
               : ERR_OK;
}

enum err bucket_strays_walk(struct backend_bucket *b, bucket_strays_fn *fn, void *arg)
{
    struct loose l = {.b = b, .fn = fn, .arg = arg};

    return b->o.bucket->ops->list(b->o.bucket, "", false, on_tenant_folder, &l);
}

struct stray_search {
    struct backend_bucket *b;
    uint64_t before_ns;
};

static enum err on_stray(void *arg, const char *tenant, const struct block_meta *meta,
                         struct slice json)
{
    struct stray_search *s = arg;
    struct stray *known, *stray = calloc(1, sizeof *stray);

    if (stray == NULL || meta->created_ns >= s->before_ns) {
        bool is_out = stray == NULL;
        free(stray);
        return is_out ? ERR_NOMEM : ERR_OK; /* its writer may be about to name it */
    }
    (void)snprintf(stray->key, sizeof stray->key, "%s/%s", tenant, meta->id);
    arena_init(&stray->arena, NULL);
    if (block_lineage_from_json(json, &stray->arena, &stray->lineage) != ERR_OK)
        stray->lineage = (struct block_lineage){0}; /* it hides nothing */
    mutex_lock(&s->b->lock);
    HASH_FIND_STR(s->b->strays, stray->key, known);
    if (known == NULL) {
        HASH_ADD_STR(s->b->strays, key, stray);
        if (stray->hh.tbl != NULL)
            stray = NULL;
    }
    mutex_unlock(&s->b->lock);
    if (stray != NULL)
        arena_release(&stray->arena);
    free(stray);
    return ERR_OK;
}

void bucket_strays_free(struct backend_bucket *b)
{
    struct stray *s, *next;

    mutex_lock(&b->lock);
    HASH_ITER (hh, b->strays, s, next) {
        HASH_DEL(b->strays, s);
        arena_release(&s->arena);
        free(s);
    }
    mutex_unlock(&b->lock);
}

enum err bucket_strays_look(struct backend_bucket *b, bool is_damaged)
{
    int64_t now = clock_mono_ns(b->o.clock), wall = clock_wall_ns(b->o.clock);
    struct stray_search s = {.b = b, .before_ns = (uint64_t)(wall - BACKEND_BUCKET_STRAY_NS)};

    assert(mutex_is_mine(&b->reading));
    mutex_lock(&b->lock);
    bool is_empty = b->views == NULL;
    mutex_unlock(&b->lock);
    if (b->strays_ns == 0 && !is_empty)
        b->strays_ns = now;
    if (!is_damaged && !is_empty && now - b->strays_ns < STRAYS_EVERY_NS)
        return ERR_OK;
    if (is_damaged)
        s.before_ns = UINT64_MAX;
    b->strays_ns = now;
    bucket_strays_free(b);
    return bucket_strays_walk(b, on_stray, &s);
}
