/*
 * block_order.h - which spans go into a block and in which order: parts of a trace joined, equal spans once, traces by start, spans of a trace
 * depth-first, row groups that no trace straddles.
 *
 * Order:   spans without a parent id first, then those whose parent is not here, then circles (broken at their earliest span); each followed by its
 *          children by (start, span id).  A trace is never divided: a group ends before the trace that would take it over
 *          BLOCK_GROUP_SPANS rows, and a longer trace is a group of its own.
 * Memory:  everything in the arena given.
 */
#ifndef VIVACE_STORE_BLOCK_ORDER_H
#define VIVACE_STORE_BLOCK_ORDER_H

#include "common/store/block_priv.h"

struct block_order_span {
    uint32_t segment, row, depth;
};

struct block_order_trace {
    struct trace_id id;
    uint64_t min_start_ns, max_end_ns;
    uint32_t first, span_count; /* of spans */
    uint8_t flags;
};

struct block_order_group {
    uint32_t first_span, span_count, first_trace, trace_count;
};

struct block_order {
    struct block_order_span *spans;
    struct block_order_trace *traces;
    struct block_order_group *groups;
    uint32_t span_count, trace_count, group_count;
    uint32_t **
        place; /* [segment][row]: where the span stands now, BLOCK_NONE when it is not in the block */
};

/* Errors: ERR_NOT_FOUND when nothing is taken. */
MUST_CHECK enum err block_order_make(struct segment **segments, uint32_t segment_count,
                                     block_take_fn *take, void *take_arg, struct arena *a,
                                     struct block_order *ret);

struct block_order_part { /* rows of a trace in one segment */
    uint32_t segment, first, count;
};

/* Appends the spans of one trace that lies in several parts to o->spans (which has room for all of them), equal ones once, and fills in *t but for
 * its id and what flags it had.  `fixed` has ids, parents, starts and durations of each segment. */
MUST_CHECK enum err block_order_join(struct segment **segments, struct seg_fixed *fixed,
                                     const struct block_order_part *parts, uint32_t part_count,
                                     struct budget *budget, struct block_order *o,
                                     struct block_order_trace *t, uint32_t *ret_copies);

#endif
