/*
 * backend_bucket_priv.h - the inside of backend_bucket: which blocks there are (bucket_manifests.c), and their bytes (bucket_object.c).
 */
#ifndef VIVACE_OBJSTORE_BACKEND_BUCKET_PRIV_H
#define VIVACE_OBJSTORE_BACKEND_BUCKET_PRIV_H

#include "common/base/map.h"
#include "common/objstore/backend_bucket.h"
#include "common/objstore/manifest.h"
#include "common/objstore/range_cache.h"
#include "common/obs/metrics.h"
#include "common/sys/queue.h"

enum { TENANT_BYTES = 151, WRITER_BYTES = 64, ETAG_BYTES = 128, META_BYTES_MAX = 64 << 10 };
#define MANIFESTS_PREFIX  "~manifests/"
#define QUARANTINE_PREFIX "~quarantine/"
#define DATA_NAME         "data.vvb"
#define META_NAME         "meta.json"

/* One writer's manifest of one tenant, as last read (or written, when it is ours). */
struct view {
    char key[2 * BUCKET_KEY_BYTES_MAX]; /* tenant/writer */
    char etag[ETAG_BYTES];
    struct arena arena;
    struct manifest manifest;
    uint64_t seen; /* number of the refresh that last listed it */
    UT_hash_handle hh;
};

/* A block in no manifest, old enough to be real. */
struct stray {
    char key[TENANT_BYTES + MANIFEST_ID_BYTES + 2]; /* tenant/id */
    UT_hash_handle hh;
};

struct backend_bucket {
    struct backend backend; /* first */
    struct backend_bucket_options o;
    char writer[WRITER_BYTES];
    struct mutex writing; /* one change of our manifests at a time, over I/O; taken before `lock` */
    bool is_taken_up;     /* writing: what was left of the run before */
    struct mutex
        reading;       /* one refresh at a time, over I/O; taken before `lock`, after `writing` */
    int64_t strays_ns; /* reading: when strays were last looked for (mono); 0: never */
    struct mutex lock; /* the fields below */
    struct view *views;
    struct stray *strays;
    uint64_t refresh_no;
    struct range_cache *cache; /* NULL: none */
    struct workers *loaders;
    struct {
        struct metric_cell *hits, *misses, *manifests_damaged, *read_requests, *read_bytes;
    } metrics;
};

bool bucket_manifests_is_tenant(const char *name);
bool bucket_manifests_is_id(const char *name);
MUST_CHECK enum err bucket_manifests_tenants(struct backend_bucket *b, backend_name_fn *fn,
                                             void *arg);
MUST_CHECK enum err bucket_manifests_blocks(struct backend_bucket *b, const char *tenant,
                                            backend_name_fn *fn, void *arg);
/* From a manifest.  ERR_NOT_FOUND: in none. */
MUST_CHECK enum err bucket_manifests_meta(struct backend_bucket *b, const char *tenant,
                                          const char *id, struct buf *ret, uint32_t *ret_tail);

/* One change of our manifest of a tenant: entries that come, ids that go. */
struct manifest_change {
    const struct manifest_entry *added;
    uint32_t added_count;
    const char *const *gone;
    uint32_t gone_count;
    enum manifest_why why;
};
MUST_CHECK enum err bucket_manifests_change(struct backend_bucket *b, const char *tenant,
                                            const struct manifest_change *change);
/* Deletes the objects of a block that is gone, and notes it with the next change. */
MUST_CHECK enum err bucket_manifests_delete(struct backend_bucket *b, const char *tenant,
                                            const char *id);
MUST_CHECK enum err bucket_manifests_gone(struct backend_bucket *b, const char *tenant,
                                          enum manifest_why why, backend_replaced_fn *fn,
                                          void *arg);
/* Somebody has removed it already. */
bool bucket_manifests_is_removed(struct backend_bucket *b, const char *tenant, const char *id);
/* Before the first change: see backend_bucket.h, "Writing". */
MUST_CHECK enum err bucket_manifests_take_up(struct backend_bucket *b);
void bucket_manifests_free(struct backend_bucket *b);

/* Key of one of a block's objects, "<tenant>/<id>/<file>", in `ret`. */
MUST_CHECK enum err bucket_manifests_key(const char *tenant, const char *id, const char *file,
                                         char ret[BUCKET_KEY_BYTES_MAX]);

MUST_CHECK enum err bucket_object_open(struct backend_bucket *b, const char *key, uint64_t bytes,
                                       uint32_t tail_bytes, struct object **ret);

#endif
