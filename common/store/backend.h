/*
 * backend.h - where blocks live: a contract, with a local directory behind it here and object stores in common/objstore.
 *
 * Shape:   <root>/<tenant>/<block id>/{data.vvb,meta.json}: Tempo's layout; a block is visible when its meta.json is there (written last), and
 *          in object stores when a manifest names it.  Replaced blocks have a meta.compacted.json instead, or are named as such.
 * Threads: a backend may be used by any thread; an object is read with range reads from any thread.
 */
#ifndef VIVACE_STORE_BACKEND_H
#define VIVACE_STORE_BACKEND_H

#include "common/base/buf.h"
#include "common/base/err.h"

struct object; /* an open, readable object */
/* What a range of a block is, for stores that keep some parts in other places than others. */
enum object_part {
    OBJECT_VALUES, /* pages of spans' values, and all that is nothing below */
    OBJECT_FOOTER,
    OBJECT_LOOKUP, /* whether the block has a trace or a text: locator, flagged ids, filters */
    OBJECT_TRACES, /* a row group's traces: ids, spans, times, flags */
    OBJECT_WORDS,  /* dictionaries, and which parts have which of their texts */
    OBJECT_PART_COUNT
};
struct object_range {
    uint64_t offset;
    size_t len;
    enum object_part part;
};
struct object_ops {
    enum err (*read)(struct object *o, enum object_part part, uint64_t offset, void *ret,
                     size_t len); /* exactly len bytes; ERR_CORRUPT past the end */
    void (*close)(struct object *o);
    /* These ranges will be read soon, each as it stands here: far stores load them together meanwhile.  Returns at once.  May be NULL. */
    void (*want)(struct object *o, const struct object_range *ranges, uint32_t count);
};
struct object {
    const struct object_ops *ops;
    uint64_t bytes;
    uint32_t tail_bytes; /* how much of the end its index takes; 0: unknown */
};

static inline void object_want(struct object *o, const struct object_range *ranges, uint32_t count)
{
    if (o->ops->want != NULL && count > 0)
        o->ops->want(o, ranges, count);
}

struct backend;
typedef enum err backend_name_fn(void *arg, const char *name);
typedef enum err backend_replaced_fn(void *arg, const char *id, uint64_t replaced_ns);
typedef enum err backend_quarantined_fn(void *arg, const char *tenant, const char *name,
                                        const char *why);
struct backend_ops {
    enum err (*tenants)(struct backend *b, backend_name_fn *fn, void *arg);
    enum err (*blocks)(struct backend *b, const char *tenant, backend_name_fn *fn,
                       void *arg); /* ids with a meta.json */
    enum err (*read_meta)(struct backend *b, const char *tenant, const char *id, struct buf *ret);
    enum err (*open)(struct backend *b, const char *tenant, const char *id, struct object **ret);
    /* Takes the finished local file at data_path (moved or uploaded) and makes the block visible, durably. */
    enum err (*publish)(struct backend *b, const char *tenant, const char *id,
                        const char *data_path, struct slice meta_json);
    /* Publishes a block in place of others.  Object stores: in one moment.  Local: it first, then each of the others is marked, so that a listing in
     * between has both.  Replaced blocks are in no listing, and stay readable until they are removed.  Errors: ERR_CONFLICT one of the others is
     * in sight no more, or (local) somebody else replaces blocks of the tenant in this moment: nothing was changed.  In object stores two that share one may both
     * succeed: one of the two is in sight then, with what the other alone was to replace (objstore/succession.h).  What failed otherwise is done again
     * with the same ids. */
    enum err (*replace)(struct backend *b, const char *tenant, const char *id,
                        const char *data_path, struct slice meta_json, const char *const *old_ids,
                        uint32_t old_count);
    /* What was replaced and is not removed yet. */
    enum err (*replaced)(struct backend *b, const char *tenant, backend_replaced_fn *fn, void *arg);
    enum err (*remove)(struct backend *b, const char *tenant,
                       const char *id); /* meta first, then data */
    enum err (*quarantine)(struct backend *b, const char *tenant, const char *id,
                           const char *why); /* out of sight, kept */
    void (*free)(struct backend *b);
    /* What lies in the quarantine; `name` is the block's id, with a number behind it when it came there more than once. */
    enum err (*quarantined)(struct backend *b, backend_quarantined_fn *fn, void *arg);
    /* Back into sight.  Errors: ERR_NOT_FOUND, ERR_CONFLICT a block of that id is in sight. */
    enum err (*restore)(struct backend *b, const char *tenant, const char *name);
};
struct backend {
    const struct backend_ops *ops;
};

/* Local directory (made if missing).  Publication is atomic: rename of a synced directory, then sync of its parent. */
MUST_CHECK enum err backend_local_new(const char *root, struct backend **ret,
                                      struct err_detail *reterr_detail);
/* The same to look at: what is there is used as it is, nothing is made, nor swept.  Changes are tried as ever, and fail where nothing may be written. */
MUST_CHECK enum err backend_local_open(const char *root, struct backend **ret,
                                       struct err_detail *reterr_detail);
/* A plain file as an object. */
MUST_CHECK enum err object_file_open(const char *path, struct object **ret);
/* Bytes in memory as an object (tests, fuzzing); borrows. */
MUST_CHECK enum err object_memory(struct slice bytes, struct object **ret);

#endif
