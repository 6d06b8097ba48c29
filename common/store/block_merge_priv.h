/*
 * block_merge_priv.h - which traces lie in several inputs of a merge (block_merge_join.c), for block_merge.c.
 */
#ifndef VIVACE_STORE_BLOCK_MERGE_PRIV_H
#define VIVACE_STORE_BLOCK_MERGE_PRIV_H

#include "common/store/block_merge.h"
#include "common/store/block_reader.h"

struct merge_part { /* of a trace that lies in several inputs */
    struct trace_id id;
    uint32_t input, trace; /* trace: number in the block */
    uint32_t split;        /* number of the split trace */
};

struct merge_splits {
    struct merge_part *by_place; /* by (input, trace) */
    struct merge_part *by_split; /* the parts of one after the other, in order of input */
    uint32_t *first;             /* [count + 1] in by_split */
    uint32_t *input_end;         /* [inputs] in by_place */
    uint32_t count, part_count;
};

/* Everything in `keep`; `scratch` is reset. */
MUST_CHECK enum err block_merge_splits(struct block **inputs, uint32_t input_count,
                                       struct arena *keep, struct arena *scratch,
                                       struct merge_splits *ret);

#endif
