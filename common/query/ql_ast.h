/*
 * ql_ast.h - the tree of a TraceQL query.  Nodes live in the arena they were parsed into and are immutable afterwards.
 *
 * Source:  TraceQL as Grafana Tempo implements it; our superset is marked (superset).
 */
#ifndef VIVACE_QUERY_QL_AST_H
#define VIVACE_QUERY_QL_AST_H

#include "common/model/value.h"

/* Where an attribute is looked for. */
enum ql_scope {
    QL_SCOPE_NONE,
    QL_SCOPE_SPAN,
    QL_SCOPE_RESOURCE,
    QL_SCOPE_EVENT,
    QL_SCOPE_LINK,
    QL_SCOPE_INSTRUMENTATION,
    QL_SCOPE_PARENT
};

enum ql_intrinsic {
    QL_I_NONE,
    QL_I_DURATION,
    QL_I_NAME,
    QL_I_STATUS,
    QL_I_STATUS_MESSAGE,
    QL_I_KIND,
    QL_I_CHILD_COUNT,
    QL_I_SPAN_ID,
    QL_I_PARENT_ID,
    QL_I_TRACE_DURATION,
    QL_I_ROOT_NAME,
    QL_I_ROOT_SERVICE,
    QL_I_TRACE_ID,
    QL_I_NESTED_SET_LEFT,
    QL_I_NESTED_SET_RIGHT,
    QL_I_NESTED_SET_PARENT,
    QL_I_EVENT_NAME,
    QL_I_EVENT_TIME_SINCE_START,
    QL_I_LINK_TRACE_ID,
    QL_I_LINK_SPAN_ID,
    QL_I_SCOPE_NAME,
    QL_I_SCOPE_VERSION,
    QL_I_PARENT
};

struct ql_attribute {
    enum ql_intrinsic intrinsic; /* QL_I_NONE: an attribute by scope and name */
    enum ql_scope scope;
    bool is_parent; /* parent.x, parent.span.x, parent.resource.x */
    bool
        is_dotless; /* (superset) written without the leading dot: a number also matches a string of that text */
    struct slice name;
};

enum ql_op {
    QL_OP_NONE,
    QL_ADD,
    QL_SUB,
    QL_MUL,
    QL_DIV,
    QL_MOD,
    QL_POW,
    QL_EQ,
    QL_NE,
    QL_LT,
    QL_LE,
    QL_GT,
    QL_GE,
    QL_REGEX,
    QL_NOT_REGEX,
    QL_AND,
    QL_OR,
    QL_NOT,
    QL_NEG,
    QL_EXISTS,
    QL_NOT_EXISTS, /* unary */
    /* between spansets: QL_AND, QL_OR and */
    QL_CHILD,
    QL_PARENT,
    QL_DESCENDANT,
    QL_ANCESTOR,
    QL_SIBLING,
    QL_NOT_CHILD,
    QL_NOT_PARENT,
    QL_NOT_DESCENDANT,
    QL_NOT_ANCESTOR,
    QL_NOT_SIBLING,
    QL_UNION_CHILD,
    QL_UNION_PARENT,
    QL_UNION_DESCENDANT,
    QL_UNION_ANCESTOR,
    QL_UNION_SIBLING
};

struct ql_regex; /* compiled, see regex.h */

/* Field expressions: inside braces, by(), aggregates. */
enum ql_expr_kind { QL_EXPR_STATIC, QL_EXPR_ATTRIBUTE, QL_EXPR_BINARY, QL_EXPR_UNARY };
struct ql_expr {
    enum ql_expr_kind kind;
    uint32_t line, column;
    enum ql_op op;                 /* BINARY, UNARY */
    struct value value;            /* STATIC */
    struct ql_attribute attribute; /* ATTRIBUTE */
    struct ql_expr *left, *right;  /* BINARY; UNARY has left */
    struct ql_regex *regex;        /* BINARY =~ and !~: compiled by ql_check */
    uint32_t height; /* 0: a leaf.  Only && || and ! stand higher than QL_VALUE_HEIGHT_MAX */
};

enum ql_aggregate {
    QL_COUNT,
    QL_MIN,
    QL_MAX,
    QL_SUM,
    QL_AVG,
    QL_QUANTILE /* (superset) */,
    QL_COUNT_DISTINCT /* (superset) */
};

/* Scalar expressions: left and right of a scalar filter. */
enum ql_scalar_kind { QL_SCALAR_STATIC, QL_SCALAR_AGGREGATE, QL_SCALAR_BINARY, QL_SCALAR_PIPELINE };
struct ql_scalar {
    enum ql_scalar_kind kind;
    uint32_t line, column;
    enum ql_op op;
    struct value value;
    enum ql_aggregate aggregate;
    struct ql_expr *argument; /* aggregate's; NULL for count() */
    double quantile;
    struct ql_scalar *left, *right;
    struct ql_pipeline *pipeline; /* QL_SCALAR_PIPELINE: ({...} | count()) */
};

/* Spanset expressions. */
enum ql_spanset_kind {
    QL_SPANSET_FILTER,
    QL_SPANSET_BINARY,
    QL_SPANSET_PIPELINE /* parenthesised pipeline as an operand */,
    QL_SPANSET_NOT /* (superset) !{...} */,
    QL_SPANSET_MINUS /* (superset) {...} - {...} */
};
struct ql_spanset {
    enum ql_spanset_kind kind;
    uint32_t line, column;
    struct ql_expr *filter; /* FILTER; never NULL ({} is a static true) */
    enum ql_op op;
    struct ql_spanset *left, *right;
    struct ql_pipeline *pipeline;
};

enum ql_stage_kind {
    QL_STAGE_SPANSET,
    QL_STAGE_SCALAR_FILTER,
    QL_STAGE_GROUP,
    QL_STAGE_COALESCE,
    QL_STAGE_SELECT,
    QL_STAGE_SCALAR /* (superset) bare aggregate */,
    QL_STAGE_ORDER_BY /* (superset) */,
    QL_STAGE_TOP /* (superset) */
};
struct ql_stage {
    enum ql_stage_kind kind;
    struct ql_spanset *spanset;
    enum ql_op op;                  /* SCALAR_FILTER: comparison */
    struct ql_scalar *left, *right; /* SCALAR: left only */
    struct ql_expr *by;             /* GROUP, ORDER_BY, TOP */
    bool is_descending;
    uint32_t top_count;
    struct ql_attribute *select;
    uint32_t select_count;
};

struct ql_pipeline {
    struct ql_stage *stages;
    uint32_t stage_count;
};

enum ql_metrics_fn {
    QL_M_NONE,
    QL_M_RATE,
    QL_M_COUNT,
    QL_M_MIN,
    QL_M_MAX,
    QL_M_SUM,
    QL_M_AVG,
    QL_M_HISTOGRAM,
    QL_M_QUANTILE,
    QL_M_COMPARE
};
enum ql_second_kind { QL_SECOND_TOPK, QL_SECOND_BOTTOMK, QL_SECOND_COMPARE };
struct ql_second {
    enum ql_second_kind kind;
    int64_t limit;
    enum ql_op op;
    struct value value;
};
/* A metrics query: a pipeline and a function, or arithmetic between such. */
struct ql_metrics {
    struct ql_pipeline *pipeline;
    enum ql_metrics_fn fn;
    struct ql_attribute argument;
    double *quantiles;
    uint32_t quantile_count;
    struct ql_attribute *by;
    uint32_t by_count;
    struct ql_spanset *compare; /* the selection */
    int64_t compare_top, compare_start_ns, compare_end_ns;
    struct ql_second *seconds;
    uint32_t second_count;
    enum ql_op
        op; /* arithmetic: QL_ADD.. with left/right, each a metrics query or (value) a number */
    struct ql_metrics *left, *right;
    struct value value;
};

struct ql_hint {
    struct slice name;
    struct value value;
};

struct ql_query {
    struct ql_pipeline *pipeline; /* exactly one of pipeline and metrics */
    struct ql_metrics *metrics;
    struct ql_hint *hints;
    uint32_t hint_count;
};

#endif
