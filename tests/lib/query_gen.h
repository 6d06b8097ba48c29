/*
 * query_gen.h - random traces and random TraceQL trees for comparing the query engine with the oracle (query_oracle.h).
 *
 * Shape:   few keys, values, ids and times, so that conditions meet; every type, duplicate keys, arrays good and bad, pairs and triples of
 *          one id, orphans and circles.  The trees are what a checker lets pass.
 * Threads: one at a time.
 */
#ifndef VIVACE_TESTS_QUERY_GEN_H
#define VIVACE_TESTS_QUERY_GEN_H

#include "common/base/rng.h"
#include "common/query/ql_ast.h"
#include "tests/lib/fake_segment.h"

enum { QUERY_GEN_SPANS_MAX = 40, QUERY_GEN_TRACES_MAX = 5 };

struct fake_data *query_gen_data(struct arena *a, struct rng *r);
/* regex: of the pattern "x.*". */
struct ql_pipeline *query_gen_pipeline(struct arena *a, struct rng *r, struct ql_regex *regex);

#endif
