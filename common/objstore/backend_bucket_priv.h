/*
 * backend_bucket_priv.h - the inside of backend_bucket: which blocks there are (bucket_manifests.c; from the manifests in bucket_views.c and the strays in
 * bucket_strays.c), our own manifests (bucket_changes.c), and the bytes of blocks (bucket_object.c).
 */
#ifndef VIVACE_OBJSTORE_BACKEND_BUCKET_PRIV_H
#define VIVACE_OBJSTORE_BACKEND_BUCKET_PRIV_H

#include "common/base/map.h"
#include "common/objstore/backend_bucket.h"
#include "common/objstore/manifest.h"
#include "common/objstore/range_cache.h"
#include "common/objstore/succession.h"
#include "common/obs/metrics.h"
#include "common/store/block.h"
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
    struct heir *heirs; /* its entries that were made from others */
    uint32_t heir_count;
    uint64_t seen; /* number of the refresh that last listed it */
    UT_hash_handle hh;
};

/* A block in no manifest, old enough to be real. */
struct stray {
    char key[TENANT_BYTES + MANIFEST_ID_BYTES + 2]; /* tenant/id */
    struct arena arena;
    struct block_lineage lineage;
    UT_hash_handle hh;
};

/* A block that has been seen to be replaced, by one and the same heir, and not to be in sight since. */
struct hidden {
    char key[TENANT_BYTES + MANIFEST_ID_BYTES + 2]; /* tenant/id */
    char heir[MANIFEST_ID_BYTES + 1]; /* "": it lost against another, or its heir is gone */
    uint64_t since_ns;
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
    struct hidden *hidden; /* writers */
    uint64_t refresh_no;
    struct range_cache *cache; /* NULL: none */
    struct workers *loaders;
    struct {
        struct metric_cell *hits, *misses, *manifests_damaged, *read_requests, *read_bytes;
    } metrics;
};

/* --- bucket_names.c --- */

bool bucket_names_is_tenant(const char *name);
bool bucket_names_is_id(const char *name);
/* Key of one of a block's objects, "<tenant>/<id>/<file>", in `ret`. */
MUST_CHECK enum err bucket_names_key(const char *tenant, const char *id, const char *file,
                                     char ret[BUCKET_KEY_BYTES_MAX]);

/* --- bucket_views.c: the first part with `lock` held, the second without --- */

struct view *bucket_views_find(struct backend_bucket *b, const char *key);
/* Takes the view; an older version of a manifest than the one that is known is nothing new. */
MUST_CHECK enum err bucket_views_enter(struct backend_bucket *b, struct view *v);
void bucket_views_drop(struct backend_bucket *b, struct view *v);
/* The strongest that any manifest says of a block: removed, quarantined, replaced; NULL: nothing. */
struct manifest_gone *bucket_views_find_gone(struct backend_bucket *b, const char *tenant,
                                             const char *id);
bool bucket_views_has(struct backend_bucket *b, const char *tenant, const char *id);
/* After the manifest is set. */
MUST_CHECK enum err bucket_views_note_heirs(struct view *v);
bool bucket_views_is_of(const struct view *v, const char *tenant);
bool bucket_views_is_own(const struct backend_bucket *b, const struct view *v);

/* "tenant/writer" of our own manifest: what stands behind MANIFESTS_PREFIX. */
MUST_CHECK enum err bucket_views_own_key(const struct backend_bucket *b, const char *tenant,
                                         char ret[BUCKET_KEY_BYTES_MAX]);
/* Reads one manifest into the table.  Errors: ERR_CORRUPT, ERR_UNSUPPORTED it says nothing; what was known stays. */
MUST_CHECK enum err bucket_views_load(struct backend_bucket *b, const char *key, const char *etag,
                                      uint64_t no);
/* From a manifest.  ERR_NOT_FOUND: in none. */
MUST_CHECK enum err bucket_views_meta(struct backend_bucket *b, const char *tenant, const char *id,
                                      struct buf *ret, uint32_t *ret_tail);
/* Some manifest names it, as there or as gone. */
bool bucket_views_is_known(struct backend_bucket *b, const char *tenant, const char *id);
/* Somebody has removed it already. */
bool bucket_views_is_removed(struct backend_bucket *b, const char *tenant, const char *id);
/* A view that is in no table; NULL: nothing to do. */
void bucket_views_discard(struct view *v);
void bucket_views_free(struct backend_bucket *b);

/* --- bucket_strays.c --- */

typedef enum err bucket_strays_fn(void *arg, const char *tenant, const struct block_meta *meta,
                                  struct slice json);
/* Every block whose meta.json is there and that no manifest names. */
MUST_CHECK enum err bucket_strays_walk(struct backend_bucket *b, bucket_strays_fn *fn, void *arg);
/* With `reading` held.  Now and then; at once where there are no manifests, or damaged ones, whose blocks are then found by their folders. */
MUST_CHECK enum err bucket_strays_look(struct backend_bucket *b, bool is_damaged);
void bucket_strays_free(struct backend_bucket *b);

/* --- bucket_manifests.c --- */

/* What everybody's manifests say now.  `tenant` NULL: all.  `is_hard`: what a listing says of a manifest that is known is not believed. */
MUST_CHECK enum err bucket_manifests_refresh(struct backend_bucket *b, const char *tenant,
                                             bool is_hard);
MUST_CHECK enum err bucket_manifests_tenants(struct backend_bucket *b, backend_name_fn *fn,
                                             void *arg);
MUST_CHECK enum err bucket_manifests_blocks(struct backend_bucket *b, const char *tenant,
                                            backend_name_fn *fn, void *arg);
/* What may be removed: since when, and for how long this process has seen it so, whichever is later. */
MUST_CHECK enum err bucket_manifests_replaced(struct backend_bucket *b, const char *tenant,
                                              backend_replaced_fn *fn, void *arg);
/* ERR_CONFLICT: one of them is gone by now, or in another block than `heir`. */
MUST_CHECK enum err bucket_manifests_check(struct backend_bucket *b, const char *tenant,
                                           const char *heir, const char *const *ids,
                                           uint32_t count);

/* --- bucket_succession.c: with `lock` held --- */

enum bucket_sight { SIGHT_IN, SIGHT_REPLACED, SIGHT_OUT };
MUST_CHECK enum err bucket_succession_make(struct backend_bucket *b, const char *tenant,
                                           struct arena *a, struct succession *ret);
/* Of a block that is in a manifest, or a stray.  *ret_since_ns: for SIGHT_REPLACED. */
enum bucket_sight bucket_succession_sight(struct backend_bucket *b, const char *tenant,
                                          const struct succession *s, const char *id,
                                          uint64_t *ret_since_ns);
/* The first time is now. */
uint64_t bucket_succession_hidden_since(struct backend_bucket *b, const char *tenant,
                                        const struct succession *s, const char *id);
void bucket_succession_not_hidden(struct backend_bucket *b, const char *tenant, const char *id);
void bucket_succession_free(struct backend_bucket *b);

/* --- bucket_changes.c --- */

/* One change of our manifest of a tenant: entries that come, ids that go. */
struct manifest_change {
    const struct manifest_entry *added;
    uint32_t added_count;
    const char *const *gone;
    uint32_t gone_count;
    enum manifest_why why;
};
MUST_CHECK enum err bucket_changes_write(struct backend_bucket *b, const char *tenant,
                                         const struct manifest_change *change);
/* Deletes the objects of a block that is gone, and notes it with the next change. */
MUST_CHECK enum err bucket_changes_delete(struct backend_bucket *b, const char *tenant,
                                          const char *id);
/* Before the first change, with `writing` held: see backend_bucket.h, "Writing". */
MUST_CHECK enum err bucket_changes_take_up(struct backend_bucket *b);

/* --- bucket_object.c --- */

/* keeps_lookup: shared_ranges.h */
MUST_CHECK enum err bucket_object_open(struct backend_bucket *b, const char *key, uint64_t bytes,
                                       uint32_t tail_bytes, bool keeps_lookup, struct object **ret);

#endif
