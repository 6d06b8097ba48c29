/*
 * search.h - questions that need every place: all ingesters and all blocks, fragments judged whole, one answer.
 *
 * Order:   flagged ids first (traces that may have more parts elsewhere); ingesters and blocks without those; the flagged ones gathered from
 *          everywhere into a scratch head and judged there; the union.  See design "Fragments".
 * Threads: a worker's; blocks.
 * Partial: a place that could not be reached makes the answer partial (ctx.missing), never an error.
 */
#ifndef VIVACE_QUERIER_SEARCH_H
#define VIVACE_QUERIER_SEARCH_H

#include "common/query/engine.h"
#include "common/query/metrics_query.h"
#include "common/ring/members.h"
#include "querier/blocks.h"

struct search_ctx {
    struct members *ingesters;
    struct blocks *blocks;
    struct budget *budget;
    const char *tenant;
    int64_t deadline_mono_ns;
    const atomic_bool *cancel;
    struct arena *arena;
    unsigned missing; /* out: ingesters and blocks that did not answer */
    unsigned
        silent; /* ingesters that did not tell which split traces they have: they may answer a moment later, and are missing all the same */
};

/* `text`: the query's text, for the ingesters; q: the same, bound here (exclude is filled in by the search). */
MUST_CHECK enum err search_run(struct search_ctx *ctx, struct slice text,
                               const struct engine_query *q, struct search_result *ret);

/* TraceQL metrics: the parts of all leaves of a query (common/query/metrics_query.h), in the arena.  ERR_TOO_LARGE: too many series. */
struct search_metrics_query {
    struct slice text; /* for the ingesters */
    const struct ql_metrics *const *leaves;
    uint32_t leaf_count;
    struct metrics_window window;
    uint32_t exemplars;
};
MUST_CHECK enum err search_metrics(struct search_ctx *ctx, const struct search_metrics_query *q,
                                   struct metrics_part **ret_parts, struct result_stats *ret_stats);

/* All spans of a trace, from everywhere, copies left out, as one OTLP request in the arena; empty when it is nowhere. */
MUST_CHECK enum err search_trace(struct search_ctx *ctx, struct trace_id id,
                                 struct slice *ret_otlp);

MUST_CHECK enum err search_tag_names(struct search_ctx *ctx, struct slice filter, uint64_t start_ns,
                                     uint64_t end_ns, uint32_t limit, struct tag_names *ret);
struct search_values_options {
    struct slice tag_text; /* TraceQL spelling, or a bare name when any_scope: for the ingesters */
    const struct ql_attribute *tag;
    bool any_scope;
    struct slice filter;
    uint64_t start_ns, end_ns;
    uint32_t limit;     /* 0: none */
    uint64_t bytes_max; /* of the values' text; 0: none */
};
MUST_CHECK enum err search_tag_values(struct search_ctx *ctx, const struct search_values_options *o,
                                      struct tag_values *ret);

#endif
