#include "common/objstore/backend_bucket.h"

#include "common/base/bytes.h"
#include "common/objstore/backend_bucket_priv.h"
#include "common/store/block.h"
#include "common/store/block_lineage.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOADS_WAITING_MAX = 4096, TRAILER_BYTES = 32, TAIL_BYTES_MAX = 16 << 20 };

static struct backend_bucket *bucket_of(struct backend *b)
{
    assert(b != NULL);
    return (struct backend_bucket *)b;
}

static enum err op_tenants(struct backend *b, backend_name_fn *fn, void *arg)
{
    return bucket_manifests_tenants(bucket_of(b), fn, arg);
}

static enum err op_blocks(struct backend *b, const char *tenant, backend_name_fn *fn, void *arg)
{
    return bucket_names_is_tenant(tenant) ? bucket_manifests_blocks(bucket_of(b), tenant, fn, arg)
                                          : ERR_INVALID;
}

static enum err op_read_meta(struct backend *backend, const char *tenant, const char *id,
                             struct buf *ret)
{
    struct backend_bucket *b = bucket_of(backend);
    char key[BUCKET_KEY_BYTES_MAX];
    uint32_t tail;
    enum err e = bucket_names_key(tenant, id, META_NAME, key);

    if (e == ERR_OK)
        e = bucket_views_meta(b, tenant, id, ret, &tail);
    return e == ERR_NOT_FOUND ? b->o.bucket->ops->get_all(b->o.bucket, key, ret) : e;
}

/* How often it was merged; 0 also where that can not be told. */
static uint32_t level_of(struct slice meta_json)
{
    struct block_lineage lineage;
    struct arena a;

    arena_init(&a, NULL);
    uint32_t level = block_lineage_from_json(meta_json, &a, &lineage) == ERR_OK ? lineage.level : 0;
    arena_release(&a);
    return level;
}

/* The manifest knows how long the file is, and where its footer begins. */
static enum err op_open(struct backend *backend, const char *tenant, const char *id,
                        struct object **ret)
{
    struct backend_bucket *b = bucket_of(backend);
    char key[BUCKET_KEY_BYTES_MAX];
    struct block_meta meta;
    uint32_t tail = 0;
    struct buf json;
    uint64_t bytes = 0;
    bool keeps_lookup = b->o.shared != NULL;
    enum err e = bucket_names_key(tenant, id, DATA_NAME, key);

    buf_init(&json, META_BYTES_MAX);
    if (e == ERR_OK)
        e = bucket_views_meta(b, tenant, id, &json, &tail);
    if (e == ERR_OK && block_meta_from_json(buf_slice(&json), &meta, NULL) == ERR_OK) {
        bytes = meta.bytes;
        keeps_lookup =
            b->o.shared != NULL &&
            shared_ranges_keeps_lookup(b->o.shared, level_of(buf_slice(&json)), meta.min_start_ns);
    }
    buf_release(&json);
    if (e == ERR_NOT_FOUND || (e == ERR_OK && bytes == 0))
        e = b->o.bucket->ops->head(b->o.bucket, key, &bytes);
    return e == ERR_OK ? bucket_object_open(b, key, bytes, tail, keeps_lookup, ret) : e;
}

/* How much of a block file's end its footer takes, from its trailer; 0 when that is not a trailer. */
static uint32_t tail_of(const char *path)
{
    uint8_t trailer[TRAILER_BYTES];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t tail = 0;

    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= TRAILER_BYTES &&
        fs_pread_exact(fd, trailer, sizeof trailer, (uint64_t)st.st_size - TRAILER_BYTES) ==
            ERR_OK &&
        le64_read(trailer) < (uint64_t)st.st_size)
        tail = (uint64_t)st.st_size - le64_read(trailer);
    fs_close(&fd);
    return tail <= TAIL_BYTES_MAX ? (uint32_t)tail : 0;
}

static enum err put_block(struct backend_bucket *b, const char *tenant, const char *id,
                          const char *data_path, struct slice meta_json, const char *const *old_ids,
                          uint32_t old_count)
{
    struct bucket *to = b->o.bucket;
    char key[BUCKET_KEY_BYTES_MAX];
    enum err e = bucket_names_key(tenant, id, DATA_NAME, key);

    if (e == ERR_OK)
        e = to->ops->put_file(to, key, data_path);
    if (e == ERR_OK && old_count > 0) /* it took time: is it in vain? */
        e = bucket_manifests_check(b, tenant, id, old_ids, old_count);
    if (e == ERR_OK)
        e = bucket_names_key(tenant, id, META_NAME, key);
    return e == ERR_OK ? to->ops->put(to, key, meta_json) : e;
}

static enum err op_replace(struct backend *backend, const char *tenant, const char *id,
                           const char *data_path, struct slice meta_json,
                           const char *const *old_ids, uint32_t old_count)
{
    struct backend_bucket *b = bucket_of(backend);
    struct manifest_entry entry = {.tail_bytes = tail_of(data_path), .meta_json = meta_json};
    struct manifest_change change = {.added = &entry,
                                     .added_count = 1,
                                     .gone = old_ids,
                                     .gone_count = old_count,
                                     .why = MANIFEST_REPLACED};

    if (b->o.writer == NULL)
        return ERR_FORBIDDEN;
    if (!bucket_names_is_tenant(tenant) || !bucket_names_is_id(id))
        return ERR_INVALID;
    (void)snprintf(entry.id, sizeof entry.id, "%s", id);
    mutex_lock(&b->writing);
    enum err e = bucket_changes_take_up(b);
    mutex_unlock(&b->writing);
    if (e == ERR_OK)
        e = put_block(b, tenant, id, data_path, meta_json, old_ids, old_count);
    if (e == ERR_OK)
        e = bucket_changes_write(b, tenant, &change);
    if (e == ERR_OK)
        (void)unlink(data_path); /* a leftover is only waste */
    return e;
}

static enum err op_publish(struct backend *b, const char *tenant, const char *id,
                           const char *data_path, struct slice meta_json)
{
    return op_replace(b, tenant, id, data_path, meta_json, NULL, 0);
}

static enum err op_replaced(struct backend *b, const char *tenant, backend_replaced_fn *fn,
                            void *arg)
{
    return bucket_names_is_tenant(tenant) ? bucket_manifests_replaced(bucket_of(b), tenant, fn, arg)
                                          : ERR_INVALID;
}

static enum err op_remove(struct backend *backend, const char *tenant, const char *id)
{
    struct backend_bucket *b = bucket_of(backend);
    struct manifest_change change = {.gone = &id, .gone_count = 1, .why = MANIFEST_REMOVED};
    char key[BUCKET_KEY_BYTES_MAX];
    uint32_t tail;
    struct buf json;

    if (b->o.writer == NULL)
        return ERR_FORBIDDEN;
    enum err e = bucket_names_key(tenant, id, META_NAME, key);
    if (e != ERR_OK)
        return e;
    if (bucket_views_is_removed(b, tenant, id)) { /* what may be left of it goes too */
        e = bucket_changes_delete(b, tenant, id);
        return e == ERR_OK ? ERR_NOT_FOUND : e;
    }
    buf_init(&json, META_BYTES_MAX);
    e = bucket_views_meta(b, tenant, id, &json, &tail);
    if (e == ERR_NOT_FOUND) /* replaced, or in no manifest */
        e = b->o.bucket->ops->get_all(b->o.bucket, key, &json);
    buf_release(&json);
    if (e == ERR_OK)
        e = bucket_changes_write(b, tenant, &change);
    return e == ERR_OK ? bucket_changes_delete(b, tenant, id) : e;
}

/* Its objects stay where they are: no manifest shows them, and none forgets that. */
static enum err op_quarantine(struct backend *backend, const char *tenant, const char *id,
                              const char *why)
{
    struct backend_bucket *b = bucket_of(backend);
    struct manifest_change change = {.gone = &id, .gone_count = 1, .why = MANIFEST_QUARANTINED};
    char key[BUCKET_KEY_BYTES_MAX], note[BUCKET_KEY_BYTES_MAX];

    if (b->o.writer == NULL)
        return ERR_FORBIDDEN;
    enum err e = bucket_names_key(tenant, id, "why.txt", key);
    if (e != ERR_OK)
        return e;
    if ((size_t)snprintf(note, sizeof note, QUARANTINE_PREFIX "%s", key) >= sizeof note)
        return ERR_TOO_LARGE;
    e = b->o.bucket->ops->put(b->o.bucket, note, slice_str(why));
    return e == ERR_OK ? bucket_changes_write(b, tenant, &change) : e;
}

static void op_free(struct backend *backend)
{
    struct backend_bucket *b = bucket_of(backend);

    workers_free(b->loaders);
    range_cache_free(b->cache);
    shared_ranges_free(b->o.shared);
    bucket_views_free(b);
    bucket_strays_free(b);
    bucket_succession_free(b);
    mutex_release(&b->lock);
    mutex_release(&b->reading);
    mutex_release(&b->writing);
    b->o.bucket->ops->free(b->o.bucket);
    free(b);
}

static const struct backend_ops bucket_ops = {.tenants = op_tenants,
                                              .blocks = op_blocks,
                                              .read_meta = op_read_meta,
                                              .open = op_open,
                                              .publish = op_publish,
                                              .replace = op_replace,
                                              .replaced = op_replaced,
                                              .remove = op_remove,
                                              .quarantine = op_quarantine,
                                              .free = op_free};

static void declare_metrics(struct backend_bucket *b)
{
    b->metrics.hits = metric_cell0(metrics_counter("vivace_block_cache_hits_total", "",
                                                   "Reads of blocks that memory answered."));
    b->metrics.misses = metric_cell0(metrics_counter("vivace_block_cache_misses_total", "",
                                                     "Reads of blocks that memory did not have."));
    b->metrics.manifests_damaged =
        metric_cell0(metrics_counter("vivace_manifests_damaged_total", "",
                                     "Manifests in the object store that could not be read."));
    b->metrics.read_requests = metric_cell0(metrics_counter(
        "vivace_block_reads_total", "", "Requests for ranges of blocks to the object store."));
    b->metrics.read_bytes = metric_cell0(metrics_counter(
        "vivace_block_read_bytes_total", "", "Bytes of blocks read from the object store."));
}

enum err backend_bucket_new(const struct backend_bucket_options *o, struct backend **ret)
{
    struct backend_bucket *b = calloc(1, sizeof *b);
    enum err e = ERR_OK;

    assert(o->bucket != NULL);
    assert(o->clock != NULL);
    if (b == NULL)
        return ERR_NOMEM;
    b->backend.ops = &bucket_ops;
    b->o = *o;
    if (o->writer != NULL) {
        e = strlen(o->writer) < sizeof b->writer && o->writer[0] != '\0' ? ERR_OK : ERR_INVALID;
        (void)snprintf(b->writer, sizeof b->writer, "%s", o->writer);
        b->o.writer = b->writer;
    }
    mutex_init(&b->lock);
    mutex_init(&b->reading);
    mutex_init(&b->writing);
    declare_metrics(b);
    if (e == ERR_OK && o->cache_bytes > 0)
        e = range_cache_new(o->cache_bytes, o->memory, &b->cache);
    if (e == ERR_OK)
        e = workers_new("store", BACKEND_BUCKET_LOADERS, LOADS_WAITING_MAX, &b->loaders);
    if (e != ERR_OK) {
        range_cache_free(b->cache);
        mutex_release(&b->lock);
        mutex_release(&b->reading);
        mutex_release(&b->writing);
        free(b);
        return e;
    }
    *ret = &b->backend;
    return ERR_OK;
}
