/*
 * eval.h - a field expression bound to one segment: evaluated column by column into byte masks, or row by row into values.
 *
 * Shape:   a mask is one byte (0 or 1) a row of a table; NULL stands for "no row".  Conditions on events and links hold for a span if
 *          one event (one link) satisfies them all; a span without events has the one binding "no event", where event values are nil.
 * Memory:  everything is in the arena given at eval_init (its budget is the query's); masks are pooled in it.
 * Threads: one owner.  The tree may be shared.
 * Source:  traceql.md 4, 5, 7; recorded behaviour of Tempo for literal types, arrays, service.name and parent ids.
 */
#ifndef VIVACE_QUERY_EVAL_H
#define VIVACE_QUERY_EVAL_H

#include "common/model/segment.h"
#include "common/query/ql.h"

#include <stdatomic.h>

enum { EVAL_TRACE = SEG_TABLE_COUNT, EVAL_TABLES };
enum { EVAL_NO_ROW = UINT32_MAX };
enum { EVAL_EVENT = 1, EVAL_LINK = 2 }; /* what a node depends on */

/* Where the values of an attribute or intrinsic stand: rows of one table (or of the traces). */
enum eval_source_kind {
    EVAL_COLUMNS,
    EVAL_CODES,
    EVAL_U8,
    EVAL_I64,
    EVAL_TEXTS,
    EVAL_SPAN_ID,
    EVAL_TRACE_ID
};
struct eval_source {
    enum eval_source_kind kind;
    uint32_t table; /* enum seg_table or EVAL_TRACE */
    uint32_t rows;
    bool has_default; /* COLUMNS: a row without a string has "" */
    bool is_short_id; /* TRACE_ID: without leading zeros */
    const struct seg_column *columns;
    uint32_t column_count;
    struct value *
        *decoded; /* COLUMNS, per column: values of an ANY dictionary, NIL where not searchable */
    uint32_t *cursors;        /* COLUMNS, per column: where the last look-up ended */
    const uint32_t *codes;    /* CODES */
    const struct slice *text; /* CODES: dictionary; TEXTS: per row */
    uint32_t text_count;
    enum value_type type; /* U8, I64 */
    const uint8_t *u8;
    const int64_t *i64;
    const uint64_t *span_ids;
    const struct trace_id *trace_ids;
};

/* One comparison with a literal. */
struct eval_pred {
    enum ql_op op; /* QL_EQ .. QL_NOT_REGEX */
    struct value value;
    const struct ql_regex *regex;
    bool is_strict;  /* attributes: the types must be the same */
    bool is_dotless; /* a number also meets a string of that text */
};

enum eval_kind {
    EVAL_CONST,
    EVAL_ATTRIBUTE,
    EVAL_COMPARE,
    EVAL_EXISTS,
    EVAL_NOT_EXISTS,
    EVAL_AND,
    EVAL_OR,
    EVAL_NOT,
    EVAL_GENERIC
};
struct eval_node {
    enum eval_kind kind;
    uint8_t deps;
    enum ql_op op;      /* GENERIC */
    struct value value; /* CONST */
    unsigned cost;      /* of its mask, beside others */
    const struct ql_attribute
        *late; /* COMPARE, EXISTS, NOT_EXISTS, as a condition: sources are NULL until needed */
    struct eval_source
        *sources[2];       /* ATTRIBUTE, COMPARE, EXISTS, NOT_EXISTS: unscoped has span, resource */
    struct eval_pred pred; /* COMPARE */
    const struct ql_regex *regex; /* GENERIC */
    struct eval_node *left, *right;
};

struct eval_tree { /* per span row; see traceql.md 8 */
    int64_t *left, *right, *parent, *child_count;
};

/* Spans depth-first, trace after trace: the parent of a position is the nearest one before it with a depth one less. */
struct eval_forest {
    const uint32_t *order; /* position to row; NULL: they are the same */
    const uint32_t *depth; /* by position; NULL until made, and where `narrow` has them */
    const uint8_t *narrow;
    const uint8_t *alive;  /* by row: a root leads to it; NULL: all */
    const uint32_t *first; /* per trace, and one more: its first position */
    uint32_t depth_end;    /* all depths are below */
};

struct eval_mask_free {
    struct eval_mask_free *next;
};
struct eval_bound {
    struct eval_bound *next;
    enum ql_intrinsic intrinsic;
    enum ql_scope scope;
    struct slice name;
    const struct slice *only; /* what has this text; NULL: all */
    struct eval_source *source;
};

struct eval {
    struct segment *s;
    struct arena *a;
    const atomic_bool *cancel;
    bool
        is_by_table; /* nobody asks for the values of a span: which resource and scope it has is not read */
    uint32_t rows[EVAL_TABLES];
    struct seg_fixed fixed;
    uint32_t fixed_have;
    struct seg_traces traces;
    struct seg_events events;
    struct seg_links links;
    bool has_traces, has_events, has_links, has_tree;
    struct eval_tree tree;
    struct eval_forest forest;
    uint32_t *roots;              /* per trace: row of the root, EVAL_NO_ROW: none */
    uint32_t *first[2], *list[2]; /* events, links by span: rows list[first[span]] .. */
    struct eval_mask_free *free_masks[EVAL_TABLES];
    uint8_t *work[3]; /* engine_structure's, of spans; NULL until used */
    struct eval_bound *bound;
    char id_text[8][40]; /* ids being compared */
    uint32_t id_next;
};

struct eval_at {
    uint32_t span, event, link; /* EVAL_NO_ROW: none */
};

/* The segment stays the caller's and must outlive the eval. */
void eval_init(struct eval *e, struct segment *s, struct arena *a, const atomic_bool *cancel);

/* Errors: what the segment gives, ERR_LIMIT, ERR_NOMEM, ERR_UNSUPPORTED (parent attributes). */
/* As a condition (a bare attribute is a test for true) and as a value. */
MUST_CHECK enum err eval_bind(struct eval *e, const struct ql_expr *expr, struct eval_node **ret);
MUST_CHECK enum err eval_bind_value(struct eval *e, const struct ql_expr *expr,
                                    struct eval_node **ret);
MUST_CHECK enum err eval_fixed(struct eval *e, uint32_t which);
MUST_CHECK enum err eval_traces(struct eval *e);

/* The spans for which the node is true.  ERR_CANCELED. */
MUST_CHECK enum err eval_spans(struct eval *e, const struct eval_node *n, uint8_t **ret);

/* Masks of the pool: zeroed; eval_mask_put takes NULL too. */
MUST_CHECK enum err eval_mask_get(struct eval *e, uint32_t table, uint8_t **ret);
void eval_mask_put(struct eval *e, uint32_t table, uint8_t *mask);

/* eval_bind.c */
MUST_CHECK enum err eval_bind_source(struct eval *e, const struct ql_attribute *at,
                                     enum ql_scope scope, struct eval_source **ret);
/* The sources of an attribute ([1]: of an unscoped one, of its resource; else NULL) for one condition, NULL for any use: what can not meet the
 * condition need not be in them. */
MUST_CHECK enum err eval_bind_sources(struct eval *e, const struct ql_attribute *at,
                                      const struct eval_pred *pred, struct eval_source *ret[2]);
bool eval_bind_pred(const struct ql_expr *expr, const struct ql_attribute **ret_attribute,
                    struct eval_pred *ret);

/* Binds what was left for later, in nodes that are of this eval: values are asked for row by row. */
MUST_CHECK enum err eval_bind_ready(struct eval *e, const struct eval_node *n);

/* eval_match.c */
bool eval_match_is_late(const struct ql_attribute *at);
/* The spans for which a condition with `late` holds (NOT_EXISTS: the others).  ERR_NOT_FOUND: sources have to be bound. */
MUST_CHECK enum err eval_match(struct eval *e, const struct eval_node *n, uint8_t **ret);
/* A mask of resources or scopes as one of spans, without reading which each span has.  ERR_NOT_FOUND: not possible, *mask is as it was. */
MUST_CHECK enum err eval_match_shared(struct eval *e, uint32_t table, uint8_t **mask);
unsigned eval_match_cost(const struct eval_node *n);

/* eval.c: a mask of resources, scopes or traces as one of spans; it is taken on success. */
MUST_CHECK enum err eval_to_spans(struct eval *e, uint32_t table, uint8_t **mask);

/* eval_atom.c: a mask over the rows of the source's table. */
MUST_CHECK enum err eval_atom_compare(struct eval *e, struct eval_source *src,
                                      const struct eval_pred *p, uint8_t **ret);
/* is_key: a value that can not be searched (bytes, a list of pairs ...) counts too. */
MUST_CHECK enum err eval_atom_exists(struct eval *e, struct eval_source *src, bool is_key,
                                     uint8_t **ret);

/* eval_value.c */
bool eval_value_matches(const struct eval_pred *p, struct value v);
/* Arithmetic and comparison of two values; NIL when they do not fit.  Comparisons give a bool. */
struct value eval_value_binary(enum ql_op op, struct value a, struct value b,
                               const struct ql_regex *regex);
struct value eval_value_at(struct eval *e, const struct eval_node *n, struct eval_at at);
bool eval_value_true(struct eval *e, const struct eval_node *n, struct eval_at at);
bool eval_value_equal(struct value a, struct value b); /* same type and value */
int eval_value_order(struct value a, struct value b);  /* total order: by type, then value */
typedef bool eval_value_fn(void *arg, struct value v); /* true: stop */
/* Each value of a row of the source's table (a key may stand twice); true when `fn` stopped it. */
bool eval_value_each(struct eval *e, struct eval_source *src, uint32_t row, eval_value_fn *fn,
                     void *arg);
struct value eval_value_first(struct eval *e, struct eval_source *src, uint32_t row);
uint32_t eval_value_row(const struct eval *e, const struct eval_source *src,
                        struct eval_at at); /* row in the source's table */
/* A searchable value of an AnyValue body: NIL for bytes, lists of pairs, empty, mixed and nested arrays; one element: itself. */
struct value eval_value_decode(struct arena *a, struct slice any_value);

/* eval_tree.c */
MUST_CHECK enum err eval_tree_roots(struct eval *e);
MUST_CHECK enum err eval_tree_build(struct eval *e);
MUST_CHECK enum err eval_tree_forest(struct eval *e);
MUST_CHECK enum err eval_tree_children(struct eval *e,
                                       enum seg_table table); /* first, list of events or links */

#endif
