/*
 * catalog.h - the blocks of all tenants as compaction and retention see them: their metas and lineages, read once each, and which of them are
 * in others already.
 *
 * Memory:  heap; a few hundred bytes a block.
 * Threads: one owner.
 */
#ifndef VIVACE_INGESTER_CATALOG_H
#define VIVACE_INGESTER_CATALOG_H

#include "common/base/map.h"
#include "common/store/block_lineage.h"

struct catalog_block {
    char key[192]; /* tenant/id */
    struct block_meta meta;
    struct block_lineage lineage;
    struct arena arena; /* of the lineage */
    uint64_t seen;
    const struct catalog_block *successor; /* a block that has it in its lineage; NULL: none */
    bool has_inputs;                       /* a block that it was made from is still listed */
    bool is_stuck;   /* could not be merged: not tried again before a restart */
    bool is_damaged; /* its footer could not be read */
    UT_hash_handle hh;
};

struct catalog {
    struct backend *backend;
    struct catalog_block *blocks; /* by key */
    uint64_t round;
    uint64_t unreadable; /* metas that could not be read in the last refresh */
};

void catalog_init(struct catalog *c, struct backend *backend);
void catalog_release(struct catalog *c);
/* Lists everything anew.  On an error what was known stays, but nothing may be removed by it. */
MUST_CHECK enum err catalog_refresh(struct catalog *c);
struct catalog_block *catalog_find(struct catalog *c, const char *tenant, const char *id);

/* A merge worth doing. */
struct catalog_job {
    struct catalog_block *inputs[BLOCK_LINEAGE_FROM_MAX]; /* by (min start, id) */
    uint32_t input_count;
};
struct catalog_rules {
    uint64_t now_ns,
        window_ns; /* wall; blocks are merged within a window of max end, when it has been over for a window's length */
    uint64_t traces_max, bytes_max; /* of one job */
    uint32_t inputs_max;
};
/* The next job of a tenant: blocks made of heads, oldest window first; a single one only to settle its flagged traces.  Blocks that came to a window in the
 * last window's length are waited for, unless there are enough without them.  False: none. */
bool catalog_next_job(const struct catalog *c, const char *tenant, const struct catalog_rules *r,
                      struct catalog_job *ret);
/* How many blocks of a tenant wait for a merge, but for the rule that their window is over. */
uint32_t catalog_outstanding(const struct catalog *c, const char *tenant);
/* How many blocks were found damaged. */
uint32_t catalog_damaged(const struct catalog *c);
/* Is there a block with spans of another writer than `self`? */
bool catalog_has_others(const struct catalog *c, const char *self);
/* Who of those that wrote blocks since `since_ns`, and of `self`, does the job: the same everywhere where the same blocks are seen. */
bool catalog_is_owner(const struct catalog *c, const struct catalog_job *job, const char *self,
                      uint64_t since_ns);

#endif
