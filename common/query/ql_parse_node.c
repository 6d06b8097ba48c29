#include "common/query/ql_fold.h"
#include "common/query/ql_parse_priv.h"

#include <assert.h>

enum { SCALARS = QL_NODE_SCALAR | QL_NODE_SCALAR_EXPR };

static enum err unexpected(struct ql_parser *p, const char *expecting)
{
    (void)ql_parse_unexpected(p, expecting);
    return p->err;
}

/* --- aggregates and constants ------------------------------------------------------------------------ */

static bool is_aggregate(const struct ql_parser *p, enum ql_aggregate *ret)
{
    switch ((int)p->token.kind) {
    case QL_TOK_COUNT: *ret = QL_COUNT; return true;
    case QL_TOK_MIN: *ret = QL_MIN; return true;
    case QL_TOK_MAX: *ret = QL_MAX; return true;
    case QL_TOK_SUM: *ret = QL_SUM; return true;
    case QL_TOK_AVG: *ret = QL_AVG; return true;
    case QL_TOK_IDENTIFIER: break;
    default: return false;
    }
    *ret = QL_QUANTILE;
    if (ql_parse_is_call(p, "quantile"))
        return true;
    *ret = QL_COUNT_DISTINCT;
    return ql_parse_is_call(p, "count_distinct");
}

/* The number behind the comma of quantile(expression, q). */
static enum err parse_quantile(struct ql_parser *p, struct ql_scalar *s)
{
    if (ql_parse_expect(p, QL_TOK_COMMA, ",") != ERR_OK)
        return p->err;
    if (p->token.kind != QL_TOK_INTEGER && p->token.kind != QL_TOK_FLOAT)
        return unexpected(p, "INTEGER or FLOAT");
    struct value v = p->token.value;
    s->quantile = v.type == VALUE_INT ? (double)v.i : v.f;
    ql_parse_advance(p);
    return ERR_OK;
}

static enum err parse_aggregate(struct ql_parser *p, enum ql_aggregate aggregate,
                                struct ql_node *ret)
{
    struct ql_scalar *s = ARENA_NEW(p->arena, struct ql_scalar);

    if (s == NULL || ql_parse_term(p) != ERR_OK)
        return ql_parse_err(p);
    *s = (struct ql_scalar){.kind = QL_SCALAR_AGGREGATE,
                            .line = p->token.line,
                            .column = p->token.column,
                            .aggregate = aggregate};
    ql_parse_advance(p);
    if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK)
        return p->err;
    if (aggregate != QL_COUNT) {
        s->argument = ql_parse_field(p, QL_LEVEL_NONE);
        if (s->argument == NULL)
            return ql_parse_err(p);
    }
    if (aggregate == QL_QUANTILE && parse_quantile(p, s) != ERR_OK)
        return p->err;
    if (ql_parse_expect(p, QL_TOK_CLOSE_PAREN, aggregate == QL_COUNT ? ")" : NULL) != ERR_OK)
        return p->err;
    *ret = (struct ql_node){.kind = QL_NODE_SCALAR_EXPR,
                            .line = s->line,
                            .column = s->column,
                            .height = 1,
                            .scalar = s};
    return ERR_OK;
}

static enum err make_constant(struct ql_parser *p, struct value v, uint32_t line, uint32_t column,
                              struct ql_node *ret)
{
    struct ql_scalar *s = ARENA_NEW(p->arena, struct ql_scalar);

    if (s == NULL)
        return ql_parse_err(p);
    *s = (struct ql_scalar){.kind = QL_SCALAR_STATIC, .line = line, .column = column, .value = v};
    *ret = (struct ql_node){
        .kind = QL_NODE_SCALAR, .line = line, .column = column, .height = 1, .scalar = s};
    return ERR_OK;
}

static enum err parse_operand(struct ql_parser *p, unsigned want, struct ql_node *ret);

/* The unary minus binds strongest here. */
static enum err parse_negative(struct ql_parser *p, struct ql_node *ret)
{
    uint32_t line = p->token.line, column = p->token.column;
    struct ql_node operand;
    struct value v;

    if (ql_parse_enter(p, &p->depth) != ERR_OK)
        return p->err;
    ql_parse_advance(p);
    enum err e = parse_operand(p, QL_NODE_SCALAR, &operand);
    if (e != ERR_OK)
        return e;
    p->depth--;
    bool is_folded = ql_fold_unary(QL_NEG, operand.scalar->value, &v);
    assert(is_folded); /* a scalar is a number */
    return make_constant(p, v, line, column, ret);
}

/* --- spansets ------------------------------------------------------------------------------------------ */

static enum err make_spanset(struct ql_parser *p, struct ql_spanset s, enum ql_node_kind kind,
                             uint32_t height, struct ql_node *ret)
{
    struct ql_spanset *node = ARENA_NEW(p->arena, struct ql_spanset);

    if (node == NULL)
        return ql_parse_err(p);
    if (height > QL_HEIGHT_MAX) {
        (void)ql_parse_too_large(p, "nesting depth", QL_HEIGHT_MAX);
        return p->err;
    }
    *node = s;
    *ret = (struct ql_node){
        .kind = kind, .line = s.line, .column = s.column, .height = height, .spanset = node};
    return ERR_OK;
}

struct ql_spanset *ql_parse_node_filter(struct ql_parser *p)
{
    struct ql_spanset *s = ARENA_NEW(p->arena, struct ql_spanset);

    if (s == NULL || ql_parse_term(p) != ERR_OK)
        return NULL;
    *s = (struct ql_spanset){
        .kind = QL_SPANSET_FILTER, .line = p->token.line, .column = p->token.column};
    if (ql_parse_expect(p, QL_TOK_OPEN_BRACE, "{") != ERR_OK)
        return NULL;
    if (p->token.kind == QL_TOK_CLOSE_BRACE) { /* { true } */
        if (ql_parse_term(p) != ERR_OK)
            return NULL;
        s->filter = ARENA_NEW(p->arena, struct ql_expr);
        if (s->filter == NULL)
            return NULL;
        *s->filter = (struct ql_expr){.kind = QL_EXPR_STATIC,
                                      .line = s->line,
                                      .column = s->column,
                                      .value = value_bool(true)};
    } else {
        s->filter = ql_parse_field(p, QL_LEVEL_NONE);
        if (s->filter == NULL)
            return NULL;
    }
    return ql_parse_expect(p, QL_TOK_CLOSE_BRACE, NULL) != ERR_OK ? NULL : s;
}

static bool is_not_spanset(const struct ql_parser *p)
{
    if (p->token.kind != QL_TOK_NOT)
        return false;
    struct ql_lex ahead = p->lex;
    struct ql_token next;
    ql_lex_next(&ahead, &next);
    return next.kind == QL_TOK_OPEN_BRACE || next.kind == QL_TOK_OPEN_PAREN ||
           next.kind == QL_TOK_NOT;
}

/* !{ ... } (superset): traces in which no span is in the set. */
static enum err parse_not(struct ql_parser *p, struct ql_node *ret)
{
    struct ql_spanset s = {
        .kind = QL_SPANSET_NOT, .line = p->token.line, .column = p->token.column};
    struct ql_node operand;

    if (ql_parse_enter(p, &p->depth) != ERR_OK)
        return p->err;
    ql_parse_advance(p);
    enum err e = parse_operand(p, QL_NODE_SPANSET, &operand);
    if (e != ERR_OK)
        return e;
    p->depth--;
    s.left = operand.spanset;
    return make_spanset(p, s, QL_NODE_SPANSET, operand.height + 1, ret);
}

static enum ql_op spanset_op(enum ql_tok kind, enum ql_level *ret_level)
{
    static const uint8_t ops[] = {
        [QL_TOK_AND] = QL_AND,
        [QL_TOK_OR] = QL_OR,
        [QL_TOK_SUB] = QL_SUB, /* superset */
        [QL_TOK_GT] = QL_CHILD,
        [QL_TOK_LT] = QL_PARENT,
        [QL_TOK_DESCENDANT] = QL_DESCENDANT,
        [QL_TOK_ANCESTOR] = QL_ANCESTOR,
        [QL_TOK_SIBLING] = QL_SIBLING,
        [QL_TOK_NOT_CHILD] = QL_NOT_CHILD,
        [QL_TOK_NOT_PARENT] = QL_NOT_PARENT,
        [QL_TOK_NOT_DESCENDANT] = QL_NOT_DESCENDANT,
        [QL_TOK_NOT_ANCESTOR] = QL_NOT_ANCESTOR,
        [QL_TOK_NOT_REGEX] = QL_NOT_SIBLING,
        [QL_TOK_UNION_CHILD] = QL_UNION_CHILD,
        [QL_TOK_UNION_PARENT] = QL_UNION_PARENT,
        [QL_TOK_UNION_DESCENDANT] = QL_UNION_DESCENDANT,
        [QL_TOK_UNION_ANCESTOR] = QL_UNION_ANCESTOR,
        [QL_TOK_UNION_SIBLING] = QL_UNION_SIBLING,
    };

    *ret_level = kind == QL_TOK_AND || kind == QL_TOK_OR ? QL_LEVEL_LOGIC : QL_LEVEL_COMPARE;
    return kind < sizeof ops ? (enum ql_op)ops[kind] : QL_OP_NONE;
}

/* --- parentheses ---------------------------------------------------------------------------------------- */

static enum err make_scalar_pipeline(struct ql_parser *p, const struct ql_content *c,
                                     struct ql_node *ret)
{
    struct ql_scalar *s = ARENA_NEW(p->arena, struct ql_scalar);

    if (s == NULL)
        return ql_parse_err(p);
    *s = (struct ql_scalar){.kind = QL_SCALAR_PIPELINE,
                            .line = c->node.line,
                            .column = c->node.column,
                            .pipeline = c->pipeline};
    *ret = (struct ql_node){.kind = QL_NODE_SCALAR_PIPELINE,
                            .line = s->line,
                            .column = s->column,
                            .height = c->node.height,
                            .scalar = s};
    return ERR_OK;
}

static bool is_scalar_operator(enum ql_tok kind)
{
    enum ql_level level;

    return ql_parse_field_compare(kind) != QL_OP_NONE ||
           ql_parse_field_arithmetic(kind, &level) != QL_OP_NONE;
}

/* What the content of parentheses is for the one who wants `want`; 0 when it does not fit. */
static unsigned kind_of_content(const struct ql_content *c, unsigned want)
{
    if (c->metrics != NULL)
        return want & QL_NODE_METRICS;
    if (c->pipeline == NULL)
        return want & c->node.kind;
    if (c->node.kind == QL_NODE_SPANSET && c->pipeline->stage_count == 1 &&
        (want & QL_NODE_SPANSET))
        return QL_NODE_SPANSET;
    if (c->is_aggregate_last && (want & QL_NODE_SCALAR_PIPELINE)) /* what follows may change this */
        return QL_NODE_SCALAR_PIPELINE;
    return want & QL_NODE_PIPELINE;
}

static enum err parse_paren(struct ql_parser *p, unsigned want, struct ql_node *ret)
{
    struct ql_content c = {0};

    ql_parse_advance(p);
    enum err e = ql_parse_stage_content(p, want, &c);
    if (e != ERR_OK)
        return e;
    unsigned kind = kind_of_content(&c, want);
    if (p->token.kind != QL_TOK_CLOSE_PAREN || kind == 0)
        return unexpected(p, NULL);
    ql_parse_advance(p);
    *ret = c.node;
    if (kind == QL_NODE_METRICS && c.metrics != NULL) {
        *ret = (struct ql_node){.kind = QL_NODE_METRICS,
                                .line = c.node.line,
                                .column = c.node.column,
                                .height = c.node.height,
                                .metrics = c.metrics};
        return ERR_OK;
    }
    if (c.pipeline == NULL || kind == QL_NODE_SPANSET)
        return ERR_OK;
    if (kind == QL_NODE_SCALAR_PIPELINE &&
        (is_scalar_operator(p->token.kind) || !(want & QL_NODE_PIPELINE)))
        return make_scalar_pipeline(p, &c, ret);
    struct ql_spanset s = {.kind = QL_SPANSET_PIPELINE,
                           .line = c.node.line,
                           .column = c.node.column,
                           .pipeline = c.pipeline};
    return make_spanset(p, s, QL_NODE_PIPELINE, c.node.height + 1, ret);
}

/* --- expressions ------------------------------------------------------------------------------------------ */

static enum err parse_operand(struct ql_parser *p, unsigned want, struct ql_node *ret)
{
    const struct ql_token *t = &p->token;
    enum ql_aggregate aggregate;

    if (t->kind == QL_TOK_OPEN_PAREN)
        return parse_paren(p, want, ret);
    if (t->kind == QL_TOK_OPEN_BRACE && (want & QL_NODE_SPANSET)) {
        uint32_t line = t->line, column = t->column;
        struct ql_spanset *s = ql_parse_node_filter(p);
        *ret = (struct ql_node){
            .kind = QL_NODE_SPANSET, .line = line, .column = column, .height = 1, .spanset = s};
        return s == NULL ? ql_parse_err(p) : ERR_OK;
    }
    if ((want & QL_NODE_SPANSET) && is_not_spanset(p))
        return parse_not(p, ret);
    if ((want & QL_NODE_SCALAR_EXPR) && is_aggregate(p, &aggregate))
        return parse_aggregate(p, aggregate, ret);
    if ((want & QL_NODE_SCALAR) && t->kind == QL_TOK_SUB)
        return parse_negative(p, ret);
    if ((want & QL_NODE_SCALAR) && t->kind >= QL_TOK_INTEGER && t->kind <= QL_TOK_DURATION) {
        if (ql_parse_term(p) != ERR_OK)
            return ql_parse_err(p);
        struct ql_token number = *t;
        ql_parse_advance(p);
        return make_constant(p, number.value, number.line, number.column, ret);
    }
    return unexpected(p, want == QL_NODE_PIPELINE ? "(" : NULL);
}

/* The operator that the current token is behind a `left`, and what its other side may be. */
static enum ql_op operator_after(const struct ql_parser *p, const struct ql_node *left,
                                 unsigned want, enum ql_level *ret_level, unsigned *ret_want)
{
    enum ql_tok kind = p->token.kind;
    enum ql_op op = ql_parse_field_arithmetic(kind, ret_level);

    switch (left->kind) {
    case QL_NODE_SPANSET:
    case QL_NODE_PIPELINE: *ret_want = left->kind; return spanset_op(kind, ret_level);
    case QL_NODE_SCALAR_PIPELINE: *ret_want = QL_NODE_SCALAR_PIPELINE; return op;
    case QL_NODE_SCALAR_EXPR: *ret_want = SCALARS; return op;
    case QL_NODE_SCALAR:
        *ret_want = QL_NODE_SCALAR | (want & (QL_NODE_SCALAR_EXPR | QL_NODE_METRICS));
        break;
    case QL_NODE_METRICS: *ret_want = QL_NODE_SCALAR | QL_NODE_METRICS; break;
    case QL_NODE_ANY:
    case QL_NODE_STAGE: assert(left->kind == QL_NODE_METRICS); /* a node is of one kind */
    }
    if (op == QL_MOD || op == QL_POW) { /* not between constants, and not in metrics math */
        *ret_want &= ~(unsigned)QL_NODE_METRICS;
        return left->kind == QL_NODE_SCALAR && (*ret_want & QL_NODE_SCALAR_EXPR) ? op : QL_OP_NONE;
    }
    return op;
}

static enum err combine_scalars(struct ql_parser *p, enum ql_op op, const struct ql_node *left,
                                const struct ql_node *right, struct ql_node *ret)
{
    if (left->kind == QL_NODE_SCALAR && right->kind == QL_NODE_SCALAR) {
        struct value v;
        const char *reason;
        if (op == QL_MOD || op == QL_POW) /* an aggregate would have to follow */
            return unexpected(p, NULL);
        if (ql_fold_scalar(op, left->scalar->value, right->scalar->value, &v, &reason) != ERR_OK) {
            (void)ql_parse_fail(p, left->line, left->column, reason);
            return p->err;
        }
        return make_constant(p, v, left->line, left->column, ret);
    }
    struct ql_scalar *s = ARENA_NEW(p->arena, struct ql_scalar);
    if (s == NULL)
        return ql_parse_err(p);
    *s = (struct ql_scalar){.kind = QL_SCALAR_BINARY,
                            .line = left->line,
                            .column = left->column,
                            .op = op,
                            .left = left->scalar,
                            .right = right->scalar};
    ret->kind = left->kind == QL_NODE_SCALAR ? right->kind : left->kind;
    ret->scalar = s;
    return ERR_OK;
}

static enum err combine(struct ql_parser *p, enum ql_op op, const struct ql_node *left,
                        const struct ql_node *right, struct ql_node *ret)
{
    uint32_t height = (left->height > right->height ? left->height : right->height) + 1;

    if (height > QL_HEIGHT_MAX) {
        (void)ql_parse_too_large(p, "nesting depth", QL_HEIGHT_MAX);
        return p->err;
    }
    *ret = (struct ql_node){.line = left->line, .column = left->column, .height = height};
    if (left->kind == QL_NODE_SPANSET || left->kind == QL_NODE_PIPELINE) {
        struct ql_spanset s = {.kind = op == QL_SUB ? QL_SPANSET_MINUS : QL_SPANSET_BINARY,
                               .line = left->line,
                               .column = left->column,
                               .op = op,
                               .left = left->spanset,
                               .right = right->spanset};
        return make_spanset(p, s, left->kind, height, ret);
    }
    if (left->kind == QL_NODE_METRICS || right->kind == QL_NODE_METRICS) {
        ret->kind = QL_NODE_METRICS;
        ret->metrics = ql_parse_metrics_binary(p, op, left, right);
        return ret->metrics == NULL ? ql_parse_err(p) : ERR_OK;
    }
    return combine_scalars(p, op, left, right, ret);
}

enum err ql_parse_node(struct ql_parser *p, unsigned want, enum ql_level level, struct ql_node *ret)
{
    struct ql_node left, right;

    if (ql_parse_enter(p, &p->depth) != ERR_OK)
        return p->err;
    enum err e = parse_operand(p, want, &left);
    while (e == ERR_OK) {
        enum ql_level op_level;
        unsigned right_want = 0;
        enum ql_op op = operator_after(p, &left, want, &op_level, &right_want);
        if (op == QL_OP_NONE || op_level < level)
            break;
        ql_parse_advance(p);
        e = ql_parse_node(p, right_want, op_level == QL_LEVEL_POWER ? op_level : op_level + 1,
                          &right);
        if (e == ERR_OK) {
            struct ql_node both;
            e = combine(p, op, &left, &right, &both);
            left = both;
        }
    }
    p->depth--;
    if (e == ERR_OK)
        *ret = left;
    return e;
}
