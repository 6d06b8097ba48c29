/*
 * query_oracle.h - what a TraceQL pipeline means, by brute force over plain structs: one trace, one span, one event at a time.
 *
 * Source:  traceql.md 4-9, 20; written apart from the engine, which it judges.
 * Limits:  nestedSetParent is known only as -1, 0 or "above 0"; a regex is always "x.*".
 */
#ifndef VIVACE_TESTS_QUERY_ORACLE_H
#define VIVACE_TESTS_QUERY_ORACLE_H

#include "common/query/ql_ast.h"
#include "common/query/result.h"
#include "tests/lib/fake_segment.h"
#include "tests/lib/query_gen.h"

enum { QUERY_ORACLE_VALUES_MAX = 8, QUERY_ORACLE_SETS_MAX = 64 };

struct oset {
    bool in[QUERY_GEN_SPANS_MAX];
    struct value values[QUERY_ORACLE_VALUES_MAX];
    uint32_t value_count;
};
struct osets {
    struct oset list[QUERY_ORACLE_SETS_MAX];
    uint32_t count;
};

/* The spansets of one trace; none: it does not match. */
void query_oracle_trace(struct arena *a, const struct fake_data *d, const struct ql_pipeline *p,
                        uint32_t trace, struct osets *ret);
int query_oracle_root(const struct fake_data *d, uint32_t trace); /* index of the span, -1: none */
void query_oracle_times(const struct fake_data *d, uint32_t trace, uint64_t *ret_min,
                        uint64_t *ret_max);
/* The value of an attribute, of the first event or link. */
struct value query_oracle_value(struct arena *a, const struct fake_data *d,
                                const struct ql_attribute *at, uint32_t span);
bool query_oracle_matches(struct arena *a, const struct fake_data *d, const struct ql_expr *x,
                          uint32_t span);
bool query_oracle_same(struct value a, struct value b); /* floats nearly */
/* Whether an answer says of a trace what the oracle does; spss: spans per spanset, 0 as by default. */
bool query_oracle_same_trace(const struct fake_data *d, uint32_t trace, const struct osets *o,
                             const struct result_trace *t, uint32_t spss);

#endif
