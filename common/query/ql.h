/*
 * ql.h - TraceQL: text to checked tree, and back to canonical text.
 *
 * Memory:  trees live in the arena; slices may point into the query text, which the arena holds a copy of.
 * Limits:  text 128 KiB, depth 256, 4096 terms, 128 regexes.  Trees of spansets, scalars and metrics are at most 120 nodes high.
 *          A field expression is at most 256 deep to the right, but a chain "a || b || c ..." leans to the left and may be
 *          QL_TERMS_MAX deep: walk leftwards in a loop, or with small frames.  What an arithmetic operator or a comparison stands
 *          over is at most 512 high.  Over a limit: ERR_TOO_LARGE (an HTTP 400 for a query; sending it again
 *          will not help); ERR_LIMIT: the arena's budget.
 * Errors:  ERR_INVALID with Tempo's wording in the detail ("parse error at line 1, col 3: syntax error: unexpected IDENTIFIER"), ERR_TOO_LARGE, ERR_LIMIT.
 */
#ifndef VIVACE_QUERY_QL_H
#define VIVACE_QUERY_QL_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/query/ql_ast.h"

enum {
    QL_TEXT_BYTES_MAX = 128 * 1024,
    QL_DEPTH_MAX = 256,
    QL_TERMS_MAX = 4096,
    QL_VALUE_HEIGHT_MAX = 512
};

/* Parses and validates.  The regexes of the tree are compiled (free them with ql_release). */
MUST_CHECK enum err ql_parse(struct arena *a, struct slice text, struct ql_query **ret,
                             struct err_detail *reterr_detail);
void ql_release(
    struct ql_query *q); /* frees what is not in the arena (compiled regexes); NULL is fine */
void ql_expr_release(struct ql_expr *e); /* the same for an expression of ql_parse_lenient */

/* Syntax only: what ql_parse does before the checks; and the checks alone (both for tests and tools). */
MUST_CHECK enum err ql_parse_syntax(struct arena *a, struct slice text, struct ql_query **ret,
                                    struct err_detail *reterr_detail);
MUST_CHECK enum err ql_check(struct arena *a, struct ql_query *q, struct err_detail *reterr_detail);

/* Half-written queries of an autocomplete box: an incomplete matcher counts as true, garbage makes it match everything.
 * *ret is NULL when there is no condition left; free its regexes with ql_expr_release.  Only a limit can fail. */
MUST_CHECK enum err ql_parse_lenient(struct arena *a, struct slice text, struct ql_expr **ret);

/* The same for the tag routes, as recorded of Tempo: a condition on an attribute without a scope makes all count as true. */
MUST_CHECK enum err ql_parse_tag_filter(struct arena *a, struct slice text, struct ql_expr **ret);

/* An attribute in TraceQL spelling, alone: ".service.name", "resource.a", "span:name", "status", "http.method" (dotless).  ERR_INVALID else. */
MUST_CHECK enum err ql_parse_attribute(struct arena *a, struct slice text,
                                       struct ql_attribute *ret);

/* True when the query is the search for everything without a condition ("{}", "{ true }"). */
bool ql_is_match_all(const struct ql_query *q);
bool ql_is_never(const struct ql_query *q); /* a filter folded to false: no storage is touched */

/* Canonical text (traceql.md 14). */
void ql_dump(struct buf *out, const struct ql_query *q);
void ql_dump_expr(struct buf *out, const struct ql_expr *e);
void ql_dump_scalar(struct buf *out, const struct ql_scalar *s);
void ql_dump_stage(struct buf *out, const struct ql_stage *s);
void ql_dump_attribute(struct buf *out, const struct ql_attribute *a);
void ql_dump_value(struct buf *out, struct value v);

/* (superset) On the metrics routes "{...} | by(x) | avg(a)" means "{...} | avg_over_time(a) by (x)": a search whose last stage is a bare
 * aggregate of an attribute, as a metrics query; *ret NULL when it is none.  The text is the canonical one.  ql_release frees *ret. */
MUST_CHECK enum err ql_as_metrics(struct arena *a, const struct ql_query *q, struct ql_query **ret,
                                  struct slice *ret_text, struct err_detail *reterr_detail);

/* What is not built yet, named for the user ("structural operators are not supported yet"); NULL when the engine runs it all. */
const char *ql_unsupported(const struct ql_query *q);

#endif
