/*
 * backend_bucket.h - blocks in an object store.
 *
 * Shape:   <tenant>/<block id>/{data.vvb,meta.json}: Tempo's layout; ~manifests/<tenant>/<writer>: manifest.h; ~quarantine/...: what was found damaged.
 *          ('~' can not stand in a tenant's name.)
 * Writing: data, meta.json, then the writer's own manifest: with it the block is visible.  A block that is removed is named as gone in
 *          the manifest of who did it, whoever's block it was; its objects go last.  What was merged is hidden by the lineage of its heir (succession.h).  Nobody writes another's manifest, so nothing is contended.
 *          A writer that begins takes up what it had put there before a crash: blocks of its own with a meta.json, and deletions not finished.
 * Reading: one listing of the manifests, and a read of each that has changed.  A listing may be old: one tenant's blocks are read past it.
 *          Now and then block folders that no manifest names are looked for (a manifest that was lost, blocks copied here), once they are
 *          BACKEND_BUCKET_STRAY_NS old.
 * Caching: ranges of blocks, in memory and then in what processes share; `want` asks there together, and loads the rest in few large requests, at most
 *          BACKEND_BUCKET_LOADERS at a time.
 * Threads: any.
 */
#ifndef VIVACE_OBJSTORE_BACKEND_BUCKET_H
#define VIVACE_OBJSTORE_BACKEND_BUCKET_H

#include "common/base/budget.h"
#include "common/base/clock.h"
#include "common/objstore/bucket.h"
#include "common/objstore/shared_ranges.h"
#include "common/store/backend.h"

enum {
    BACKEND_BUCKET_LOADERS = 16,
    BACKEND_BUCKET_GAP_BYTES = 512 << 10, /* ranges nearer than this are read as one */
    BACKEND_BUCKET_READ_BYTES_MAX = 4 << 20
};
#define BACKEND_BUCKET_STRAY_NS (60 * 60 * NS_PER_S)

struct backend_bucket_options {
    struct bucket *bucket;        /* taken, on success */
    const char *writer;           /* instance id; NULL: reads only, writes are ERR_FORBIDDEN */
    struct budget *memory;        /* of caches and reads; borrowed */
    size_t cache_bytes;           /* 0: no cache */
    struct shared_ranges *shared; /* taken, on success; NULL: none */
    const struct clock *clock;
};

MUST_CHECK enum err backend_bucket_new(const struct backend_bucket_options *o,
                                       struct backend **ret);

#endif
