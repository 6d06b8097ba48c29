/*
 * metrics_query.h - TraceQL metrics: spans of segments folded into series.
 *
 * Work:    a query is arithmetic between leaves (a pipeline and a function).  Each leaf has one part; whoever holds segments lets the part
 *          observe them; parts travel packed and are added to each other; metrics_eval makes series of the parts of all leaves.
 *          Counts, sums, extremes and bins add up in any order: the place, the block or the step that a span is in changes no number.
 * Window:  interval i is (first_ns + i * step_ns, first_ns + (i + 1) * step_ns], in wrapping 64-bit arithmetic.  A span belongs to the
 *          interval of its start.
 * Quantiles: values are kept as counts of 128 bins for each power of two, the answer is the lower bound of the bin of the wanted rank: less
 *          than 1/128 away, and exact for whole numbers below 256.
 * Memory:  a part lives in the arena it was made with, and draws on its budget.
 * Threads: one owner a part.
 * Errors:  what the segment gives; ERR_TOO_LARGE (more than METRICS_SERIES_MAX series), ERR_LIMIT (budget), ERR_CANCELED, ERR_UNSUPPORTED.
 * Source:  traceql.md 11-13; recorded answers of Tempo.
 */
#ifndef VIVACE_QUERY_METRICS_QUERY_H
#define VIVACE_QUERY_METRICS_QUERY_H

#include "common/model/segment.h"
#include "common/query/ql.h"
#include "common/query/result.h"

#include <stdatomic.h>

enum {
    METRICS_INTERVALS_MAX = 10002, /* 10,000 asked for, and what alignment adds */
    METRICS_SERIES_MAX = 100000,   /* of one leaf */
    METRICS_LEAVES_MAX = 16,
    METRICS_EXEMPLARS_MAX = 1000 /* of one leaf */
};

struct metrics_window {
    uint64_t first_ns, step_ns;
    uint32_t count;
};

/* At least one interval, at most METRICS_INTERVALS_MAX, a step, and no longer than half of what 64 bits hold. */
bool metrics_query_window_is_good(const struct metrics_window *w);

/* The leaves of a query's arithmetic, left to right; 0 when there are more than METRICS_LEAVES_MAX. */
uint32_t metrics_query_leaves(const struct ql_metrics *m,
                              const struct ql_metrics *ret[static METRICS_LEAVES_MAX]);

struct metrics_part;
/* exemplars: how many spans at most are kept as examples; 0: none. */
MUST_CHECK enum err metrics_part_new(struct arena *a, const struct ql_metrics *leaf,
                                     const struct metrics_window *w, uint32_t exemplars,
                                     struct metrics_part **ret);

/* Adds a segment's spans, but for traces that are judged elsewhere (ascending ids).  After an error the part is good for nothing. */
MUST_CHECK enum err metrics_observe(struct metrics_part *p, struct segment *s,
                                    const struct trace_id *exclude, uint32_t exclude_count,
                                    const atomic_bool *cancel);

/* Between our processes: protobuf (proto/query.proto, MetricsPart).  ERR_FORMAT: no such message, or not of this leaf and window. */
void metrics_wire_pack(struct buf *out, const struct metrics_part *p);
MUST_CHECK enum err metrics_wire_add(struct metrics_part *p, struct slice packed);

struct metrics_exemplar {
    struct result_attribute *labels;
    uint32_t label_count, interval;
    uint64_t start_ns;
    double value;
};
struct metrics_series {
    struct result_attribute *labels;
    uint32_t label_count;
    double *points; /* [intervals]; NaN: none */
    struct metrics_exemplar *exemplars;
    uint32_t exemplar_count;
};
struct metrics_result {
    struct metrics_series *series; /* by number of labels, then by them */
    uint32_t count, interval_count;
};
/* `parts` in the order of metrics_query_leaves; range_ns is what rate() divides by. */
MUST_CHECK enum err metrics_eval(struct arena *a, const struct ql_metrics *m,
                                 struct metrics_part *const *parts, uint64_t range_ns,
                                 struct metrics_result *ret);

#endif
