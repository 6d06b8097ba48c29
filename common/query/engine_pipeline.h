/*
 * engine_pipeline.h - the stages of a query, run over one trace at a time.
 *
 * Shape:   a spanset is an ascending list of span rows of one trace and the attributes that stages left on it.  Every filter of the
 *          query is a mask over the whole segment, made once at engine_pipeline_bind; so is all of the first stage, structure too.
 * Memory:  bound pipelines in the eval's arena; spansets in the arena given to engine_pipeline_run.
 * Source:  traceql.md 7-9, 20.2, 20.3.
 */
#ifndef VIVACE_QUERY_ENGINE_PIPELINE_H
#define VIVACE_QUERY_ENGINE_PIPELINE_H

#include "common/query/eval.h"
#include "common/query/result.h"

struct engine_pipeline;

struct engine_spanset {
    uint32_t *rows;
    uint32_t count;
    struct result_attribute *attributes; /* values borrow the segment */
    uint32_t attribute_count;
};
struct engine_spansets {
    struct engine_spanset *items;
    uint32_t count;
};

/* Errors: as eval_bind; ERR_UNSUPPORTED for stages that are not built. */
MUST_CHECK enum err engine_pipeline_bind(struct eval *e, const struct ql_pipeline *p,
                                         struct engine_pipeline **ret);

/* No trace of the segment can match (then no column but those of the first filters was read). */
bool engine_pipeline_is_empty(const struct engine_pipeline *p);

/* The spans that can start a match: a trace without any of them can not match.  False when any trace may. */
bool engine_pipeline_candidates(struct eval *e, const struct engine_pipeline *p,
                                uint8_t *trace_mask);

/* The pipeline is one filter and nothing else: *ret_mask is what it selects, NULL when that is nothing. */
bool engine_pipeline_is_filter(const struct engine_pipeline *p, const uint8_t **ret_mask);

/* All spans of a trace, ascending. */
MUST_CHECK enum err engine_pipeline_rows(struct eval *e, uint32_t trace, struct arena *a,
                                         const uint32_t **ret, uint32_t *ret_count);

/* `rows`: all spans of the trace, ascending.  No spanset: the trace does not match. */
MUST_CHECK enum err engine_pipeline_run(struct eval *e, const struct engine_pipeline *p,
                                        struct arena *a, const uint32_t *rows, uint32_t count,
                                        struct engine_spansets *ret);

/* engine_structure.c: the spans of the right side (and for &> and its like of the left too) that stand in the relation, of all traces at once;
 * masks of spans, NULL is none.  And of one trace: *ret_left is empty but for &> and its like; needs eval_tree_forest and SEG_F_TRACE. */
MUST_CHECK enum err engine_structure_mask(struct eval *e, enum ql_op op, const uint8_t *left,
                                          const uint8_t *right, uint8_t **ret);
MUST_CHECK enum err engine_structure(struct eval *e, enum ql_op op, struct arena *a,
                                     const struct engine_spanset *left,
                                     const struct engine_spanset *right, struct engine_spanset *ret,
                                     struct engine_spanset *ret_left);
/* engine_aggregate.c: NIL when there is nothing to aggregate.  `argument` is NULL for count(). */
struct value engine_aggregate(struct eval *e, enum ql_aggregate kind,
                              const struct eval_node *argument, double quantile, struct arena *a,
                              const struct engine_spanset *set);
struct eval_at engine_aggregate_at(const struct eval *e, const struct eval_node *n,
                                   uint32_t row); /* events, links: the first */

#endif
