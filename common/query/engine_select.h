/*
 * engine_select.h - which spans of a segment a pipeline selects, and what they have, as dense columns: what metrics are counted from.
 *
 * Work:    for each segment: eval_init, engine_select; then engine_select_keys and engine_select_numbers for what is grouped by and
 *          measured, eval_fixed and eval_traces for what every span has.  A count by group is then one pass over mask and codes.
 * Shape:   every array stands over all rows of SEG_SPAN.  Where the mask is 0 codes and numbers may be anything that is valid.
 * Memory:  everything is in the eval's arena, and borrows the segment's values: good until either ends.
 * Errors:  as eval_bind and eval_spans.
 */
#ifndef VIVACE_QUERY_ENGINE_SELECT_H
#define VIVACE_QUERY_ENGINE_SELECT_H

#include "common/query/eval.h"

struct engine_selection {
    const uint8_t *mask; /* 0 or 1 a span; NULL: none is selected */
    uint32_t count;      /* of ones */
};

/* The spans of all final spansets of the pipeline (NULL: every span), but for traces that are judged elsewhere (ascending ids). */
MUST_CHECK enum err engine_select(struct eval *e, const struct ql_pipeline *p,
                                  const struct trace_id *exclude, uint32_t exclude_count,
                                  struct engine_selection *ret);

/* The value of an attribute a span, as a number into a table: 0 is nil.  Texts that are not interned may stand twice in it.
 * Of several events or links the first counts; of a key that stands twice the first value. */
struct engine_keys {
    const uint32_t *codes;
    const struct value *values; /* [value_count] */
    uint32_t value_count;
};
MUST_CHECK enum err engine_select_keys(struct eval *e, const struct ql_attribute *by,
                                       const struct engine_selection *sel, struct engine_keys *ret);

/* The same as numbers: ints, floats, durations in ns; `has` is 0 where the value is none of them. */
struct engine_numbers {
    const double *values;
    const uint8_t *has;
    bool is_duration; /* all that have one */
};
MUST_CHECK enum err engine_select_numbers(struct eval *e, const struct ql_attribute *of,
                                          const struct engine_selection *sel,
                                          struct engine_numbers *ret);

#endif
