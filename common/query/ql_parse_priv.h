/*
 * ql_parse_priv.h - what the parts of the parser share.
 *
 * Shape:   recursive descent with precedence climbing; the current token is p->token.  Functions that build a node give NULL on
 *          failure; the first failure is kept in p->err and the detail.
 * Limits:  every right-hand descent counts against QL_DEPTH_MAX, every leaf and stage against QL_TERMS_MAX, so the stack stays
 *          small whatever the text is.
 */
#ifndef VIVACE_QUERY_QL_PARSE_PRIV_H
#define VIVACE_QUERY_QL_PARSE_PRIV_H

#include "common/query/ql.h"
#include "common/query/ql_lex.h"

/* Binding strength, low to high; see traceql.md 3.2. */
enum ql_level {
    QL_LEVEL_NONE,
    QL_LEVEL_LOGIC,   /* && || */
    QL_LEVEL_COMPARE, /* = != < ... and the structural operators */
    QL_LEVEL_SUM,     /* + - and the unary minus */
    QL_LEVEL_NOT,
    QL_LEVEL_PRODUCT,
    QL_LEVEL_POWER, /* right associative */
    QL_LEVEL_MAX
};

struct ql_parser {
    struct arena *arena;
    struct ql_lex lex;
    struct ql_token token;
    uint32_t depth,
        field_depth; /* of spansets, scalars and metrics; of the field expression at hand */
    uint32_t terms;
    enum err err;
    struct err_detail *detail; /* may be NULL */
};

void ql_parse_start(struct ql_parser *p, struct arena *a, struct slice text,
                    struct err_detail *detail);
void ql_parse_advance(struct ql_parser *p);

/* All three give NULL, so that a failing branch is one statement.  The first failure wins. */
void *ql_parse_fail(struct ql_parser *p, uint32_t line, uint32_t column, const char *message);
void *ql_parse_unexpected(struct ql_parser *p,
                          const char *expecting); /* the current token; expecting may be NULL */
void *ql_parse_unknown(struct ql_parser *p);      /* the current token, an identifier */
void *ql_parse_too_large(struct ql_parser *p, const char *what, uint32_t max);

/* Consumes a token of this kind, or fails. */
MUST_CHECK enum err ql_parse_expect(struct ql_parser *p, enum ql_tok kind, const char *expecting);
MUST_CHECK enum err ql_parse_enter(struct ql_parser *p,
                                   uint32_t *depth);    /* counts; (*depth)-- when leaving */
MUST_CHECK enum err ql_parse_term(struct ql_parser *p); /* counts a term */
/* ERR_OK, the parser's error, or the arena's. */
enum err ql_parse_err(const struct ql_parser *p);
bool ql_parse_is_call(const struct ql_parser *p,
                      const char *name); /* IDENTIFIER `name` and then "(" */

/* Room for one more element: `items` grows by doubling. */
void *ql_parse_grow(struct ql_parser *p, void *items, uint32_t count, size_t item_bytes);

/* ql_parse_field.c */
struct ql_expr *ql_parse_field(struct ql_parser *p, enum ql_level level);
MUST_CHECK enum err ql_parse_field_attribute(struct ql_parser *p,
                                             struct ql_attribute *ret); /* attribute or intrinsic */
bool ql_parse_field_is_attribute(const struct ql_parser *p); /* the current token starts one */
MUST_CHECK enum err ql_parse_field_static(struct ql_parser *p, struct value *ret);
/* Comparison operator of a token, QL_OP_NONE when it is none. */
enum ql_op ql_parse_field_compare(enum ql_tok kind);
enum ql_op ql_parse_field_arithmetic(enum ql_tok kind, enum ql_level *ret_level);

/* ql_parse_node.c: what an expression between pipes, or one in parentheses, turned out to be. */
enum ql_node_kind {
    QL_NODE_SPANSET = 1,
    QL_NODE_PIPELINE = 2,         /* parenthesised pipelines and operators between them */
    QL_NODE_SCALAR = 4,           /* a constant */
    QL_NODE_SCALAR_EXPR = 8,      /* with an aggregate */
    QL_NODE_SCALAR_PIPELINE = 16, /* ({...} | count()) */
    QL_NODE_METRICS = 32,
    QL_NODE_ANY = 63,
    QL_NODE_STAGE = QL_NODE_SPANSET | QL_NODE_SCALAR | QL_NODE_SCALAR_EXPR
};
/* In the canonical form, with all its parentheses, a node costs up to two levels of depth. */
enum { QL_HEIGHT_MAX = QL_DEPTH_MAX / 2 - 8 };
struct ql_node {
    enum ql_node_kind kind;
    uint32_t line, column;
    uint32_t height;            /* of the tree: at most QL_HEIGHT_MAX, so that walks may recurse */
    struct ql_spanset *spanset; /* SPANSET, PIPELINE */
    struct ql_scalar *scalar;   /* SCALAR, SCALAR_EXPR, SCALAR_PIPELINE */
    struct ql_metrics *metrics;
};
/* One of the kinds in `want` (an or of enum ql_node_kind). */
MUST_CHECK enum err ql_parse_node(struct ql_parser *p, unsigned want, enum ql_level level,
                                  struct ql_node *ret);
struct ql_spanset *ql_parse_node_filter(struct ql_parser *p); /* { ... } */

/* ql_parse_stage.c: what may stand between parentheses, or alone: a pipeline or an expression. */
struct ql_content {
    struct ql_node node;          /* of a pipeline: its first stage */
    struct ql_pipeline *pipeline; /* NULL: `node` is all; a lone spanset expression is both */
    bool is_aggregate_last;       /* ends in a bare aggregate */
    struct ql_metrics *metrics;   /* ends in a metrics function: that, over the pipeline */
};
MUST_CHECK enum err ql_parse_stage_content(struct ql_parser *p, unsigned want,
                                           struct ql_content *ret);

/* ql_parse_metrics.c */
bool ql_parse_metrics_is_function(enum ql_tok kind);
struct ql_metrics *ql_parse_metrics_function(struct ql_parser *p, struct ql_pipeline *pipeline);
MUST_CHECK enum err ql_parse_metrics_seconds(struct ql_parser *p, struct ql_metrics *m);
struct ql_metrics *ql_parse_metrics_binary(struct ql_parser *p, enum ql_op op,
                                           const struct ql_node *left, const struct ql_node *right);

#endif
