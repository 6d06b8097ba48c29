/*
 * engine_attach.h - which attributes of a span a query names, and their values for an answer.
 *
 * Rules:   recorded from Tempo: a value is attached if it meets at least one of the query's conditions on its attribute, of an array only the
 *          elements that do; by(), aggregates, select(), arithmetic and `!= nil` attach any value; `= nil` attaches nil where it is absent.
 *          Several events or links: the last one.  Left out: name (a field of its own), duration, trace-level intrinsics, trace and span id.
 * Memory:  the list in the eval's arena, values in the arena of the answer.
 */
#ifndef VIVACE_QUERY_ENGINE_ATTACH_H
#define VIVACE_QUERY_ENGINE_ATTACH_H

#include "common/query/eval.h"
#include "common/query/result.h"

struct engine_attach;

MUST_CHECK enum err engine_attach_new(struct eval *e, const struct ql_pipeline *p,
                                      struct engine_attach **ret);
/* Fills name, attributes of *span (the other fields are the caller's). */
MUST_CHECK enum err engine_attach_fill(struct eval *e, struct engine_attach *at, struct arena *a,
                                       uint32_t row, struct result_span *span);
/* Status and kind as words; strings and arrays copied. */
struct value engine_attach_copy(struct arena *a, struct value v);

#endif
