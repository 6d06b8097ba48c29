/*
 * block_lineage.h - what meta.json says of a block that was made out of other blocks: which ones, and whose frames of the log it holds by that.
 *
 * Shape:   in meta.json: "level" (0: made of a head), "compacted_ns" (when it was published), "compacted_from": [ids], "holds": [{"writer", "lsn_lo", "lsn_hi"}].
 *          All are absent at level 0.  They are not in the data file: the same inputs make the same file whoever merges them, and whenever.
 * Rule:    who sees a block leaves out the blocks it was made from.  They are removed when it has been there for compactor.compaction.compacted_block_retention,
 *          and a block is merged on only when those it was made from are gone.
 * Memory:  in the arena given.
 */
#ifndef VIVACE_STORE_BLOCK_LINEAGE_H
#define VIVACE_STORE_BLOCK_LINEAGE_H

#include "common/store/block.h"

enum { BLOCK_LINEAGE_FROM_MAX = 64, BLOCK_LINEAGE_HOLDS_MAX = 256 };

struct block_from {
    char id[37];
};

struct block_holds { /* frames of a writer's log, inclusive */
    char writer[64];
    uint64_t lsn_lo, lsn_hi;
};

struct block_lineage {
    uint32_t level;
    uint64_t compacted_ns; /* wall */
    struct block_from *from;
    struct block_holds *holds;
    uint32_t from_count, holds_count;
};

/* Adds a block that is merged: its id, and the frames that it holds itself or by its own lineage; ranges that touch become one.
 * Errors: ERR_TOO_LARGE over the maxima above. */
MUST_CHECK enum err block_lineage_add(struct block_lineage *l, const struct block_meta *meta,
                                      const struct block_lineage *own, struct arena *a);
/* meta.json with its lineage. */
MUST_CHECK enum err block_lineage_to_json(const struct block_meta *m, const struct block_lineage *l,
                                          struct buf *out);
/* Of a meta.json that block_meta_from_json has found good.  Errors: ERR_CORRUPT, ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err block_lineage_from_json(struct slice json, struct arena *a,
                                            struct block_lineage *ret);
/* The id that belongs to these bytes: a UUID of version 8. */
void block_lineage_id(struct slice name, char ret[37]);

#endif
