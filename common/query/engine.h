/*
 * engine.h - runs a checked TraceQL query over segments: the one engine for live and stored spans.
 *
 * Work:    a caller opens segments (newest first), asks engine_search for each, and merges.  Pure functions over segment.h: no I/O of its own.
 * Memory:  results and scratch in the arena given (its budget is the query's).
 * Threads: one engine_query per thread of work; the tree may be shared.
 * Errors:  what the segment gives; ERR_LIMIT over the budget; ERR_CANCELED when *cancel becomes true; ERR_UNSUPPORTED (see ql_unsupported).
 */
#ifndef VIVACE_QUERY_ENGINE_H
#define VIVACE_QUERY_ENGINE_H

#include "common/model/segment.h"
#include "common/query/ql.h"
#include "common/query/result.h"

#include <stdatomic.h>

/* The old tags= search: every pair must be somewhere in the trace (contract.md 1.4, "tags"). */
struct engine_tag {
    struct slice key, value;
};

struct engine_query {
    const struct ql_query *ql; /* NULL: by tags and duration, or everything */
    const struct engine_tag *tags;
    uint32_t tag_count;
    uint64_t min_duration_ns, max_duration_ns; /* of the trace; 0: no bound (tag search) */
    uint64_t start_ns, end_ns; /* a trace counts if it overlaps [start, end]; 0,0: any time */
    uint64_t
        not_before_ns; /* traces that begin earlier are left out: they can not be among the newest any more */
    uint32_t limit, spans_per_spanset;
    struct result_order order;      /* engine_query_order */
    const struct trace_id *exclude; /* ascending: traces that are judged elsewhere (fragments) */
    uint32_t exclude_count;
    const atomic_bool *cancel; /* may be NULL */
};

/* What the last order_by() or top() of q->ql asks for: the order, its key in the arena, and top()'s count as the limit. */
MUST_CHECK enum err engine_query_order(struct engine_query *q, struct arena *a);

/* The first `limit` matching traces of this segment, newest first or in q->order.  Adds to ret->stats. */
MUST_CHECK enum err engine_search(struct segment *s, const struct engine_query *q, struct arena *a,
                                  struct search_result *ret);

/* Names of attributes; with `filter` (from ql_parse_lenient, may be NULL) only of spans that match it. */
MUST_CHECK enum err engine_tag_names(struct segment *s, const struct ql_expr *filter,
                                     uint64_t start_ns, uint64_t end_ns, struct arena *a,
                                     struct tag_names *ret);
/* Distinct values of an attribute or intrinsic; at most `limit` (0: no limit).  any_scope: the v1
 * route's bare name (span, resource, instrumentation, as recorded); its values are all strings. */
MUST_CHECK enum err engine_tag_values(struct segment *s, const struct ql_attribute *tag,
                                      bool any_scope, const struct ql_expr *filter,
                                      uint64_t start_ns, uint64_t end_ns, uint32_t limit,
                                      struct arena *a, struct tag_values *ret);

/* Ids of traces that may have more spans elsewhere and overlap the window, ascending. */
MUST_CHECK enum err engine_flagged(struct segment *s, uint64_t start_ns, uint64_t end_ns,
                                   struct arena *a, struct trace_id **ret, uint32_t *ret_count);

#endif
