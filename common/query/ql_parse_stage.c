#include "common/query/ql_parse_priv.h"

#include <assert.h>

enum {
    MAY_PIPE = QL_NODE_PIPELINE | QL_NODE_SCALAR_PIPELINE | QL_NODE_METRICS,
    SCALARS = QL_NODE_SCALAR | QL_NODE_SCALAR_EXPR
};

static enum err unexpected(struct ql_parser *p, const char *expecting)
{
    (void)ql_parse_unexpected(p, expecting);
    return p->err;
}

static enum err add_stage(struct ql_parser *p, struct ql_pipeline *pipeline, struct ql_stage stage)
{
    pipeline->stages =
        ql_parse_grow(p, pipeline->stages, pipeline->stage_count, sizeof *pipeline->stages);
    if (pipeline->stages == NULL)
        return ql_parse_err(p);
    pipeline->stages[pipeline->stage_count++] = stage;
    return ERR_OK;
}

static enum err parse_select(struct ql_parser *p, struct ql_stage *ret)
{
    struct ql_stage s = {.kind = QL_STAGE_SELECT};

    if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK)
        return p->err;
    while (true) {
        if (ql_parse_term(p) != ERR_OK)
            return ql_parse_err(p);
        s.select = ql_parse_grow(p, s.select, s.select_count, sizeof *s.select);
        if (s.select == NULL)
            return ql_parse_err(p);
        enum err e = ql_parse_field_attribute(p, &s.select[s.select_count]);
        if (e != ERR_OK)
            return e;
        s.select_count++;
        if (p->token.kind != QL_TOK_COMMA)
            break;
        ql_parse_advance(p);
    }
    if (ql_parse_expect(p, QL_TOK_CLOSE_PAREN, ") or ,") != ERR_OK)
        return p->err;
    *ret = s;
    return ERR_OK;
}

/* by(expression) */
static enum err parse_group(struct ql_parser *p, struct ql_stage *ret)
{
    struct ql_stage s = {.kind = QL_STAGE_GROUP};

    if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK)
        return p->err;
    s.by = ql_parse_field(p, QL_LEVEL_NONE);
    if (s.by == NULL || ql_parse_expect(p, QL_TOK_CLOSE_PAREN, NULL) != ERR_OK)
        return ql_parse_err(p);
    *ret = s;
    return ERR_OK;
}

/* order_by(expression [desc]) and top(n, expression), both superset. */
static enum err parse_order(struct ql_parser *p, bool is_top, struct ql_stage *ret)
{
    struct ql_stage s = {.kind = is_top ? QL_STAGE_TOP : QL_STAGE_ORDER_BY,
                         .is_descending = is_top};

    ql_parse_advance(p);
    if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK)
        return p->err;
    if (is_top) {
        if (p->token.kind != QL_TOK_INTEGER)
            return unexpected(p, "INTEGER");
        if (p->token.value.i < 1 || p->token.value.i > UINT32_MAX) {
            (void)ql_parse_fail(p, p->token.line, p->token.column, "limit must be greater than 0");
            return p->err;
        }
        s.top_count = (uint32_t)p->token.value.i;
        ql_parse_advance(p);
        if (ql_parse_expect(p, QL_TOK_COMMA, ",") != ERR_OK)
            return p->err;
    }
    s.by = ql_parse_field(p, QL_LEVEL_NONE);
    if (s.by == NULL)
        return ql_parse_err(p);
    bool is_word = !is_top && p->token.kind == QL_TOK_IDENTIFIER;
    if (is_word && (slice_eq_str(p->token.text, "desc") || slice_eq_str(p->token.text, "asc"))) {
        s.is_descending = slice_eq_str(p->token.text, "desc");
        ql_parse_advance(p);
    }
    if (ql_parse_expect(p, QL_TOK_CLOSE_PAREN, NULL) != ERR_OK)
        return p->err;
    *ret = s;
    return ERR_OK;
}

/* AGGREGATE cmp CONSTANT and its relatives, the left side is read. */
static enum err parse_scalar_filter(struct ql_parser *p, const struct ql_node *left,
                                    struct ql_stage *ret, uint32_t *ret_height)
{
    struct ql_stage s = {.kind = QL_STAGE_SCALAR_FILTER, .left = left->scalar};
    struct ql_node right;

    s.op = ql_parse_field_compare(p->token.kind);
    assert(s.op != QL_OP_NONE);
    ql_parse_advance(p);
    enum err e = ql_parse_node(p, SCALARS, QL_LEVEL_SUM, &right);
    if (e != ERR_OK)
        return e;
    if (left->kind == QL_NODE_SCALAR &&
        right.kind == QL_NODE_SCALAR) /* an aggregate would have to follow */
        return unexpected(p, NULL);
    s.right = right.scalar;
    *ret = s;
    *ret_height = left->height > right.height ? left->height : right.height;
    return ERR_OK;
}

/* A stage that begins like an expression. */
static enum err parse_expression_stage(struct ql_parser *p, struct ql_stage *ret,
                                       uint32_t *ret_height)
{
    struct ql_node node;

    enum err e = ql_parse_node(p, QL_NODE_STAGE, QL_LEVEL_NONE, &node);
    if (e != ERR_OK)
        return e;
    *ret_height = node.height;
    if (node.kind == QL_NODE_SPANSET) {
        *ret = (struct ql_stage){.kind = QL_STAGE_SPANSET, .spanset = node.spanset};
        return ERR_OK;
    }
    if (ql_parse_field_compare(p->token.kind) != QL_OP_NONE)
        return parse_scalar_filter(p, &node, ret, ret_height);
    if (node.kind == QL_NODE_SCALAR || node.scalar->kind != QL_SCALAR_AGGREGATE)
        return unexpected(p, NULL);
    *ret = (struct ql_stage){.kind = QL_STAGE_SCALAR, .left = node.scalar}; /* superset */
    return ERR_OK;
}

static enum err parse_stage(struct ql_parser *p, struct ql_stage *ret, uint32_t *ret_height)
{
    *ret_height = 1;
    if (ql_parse_term(p) != ERR_OK)
        return ql_parse_err(p);
    if (p->token.kind == QL_TOK_BY || p->token.kind == QL_TOK_SELECT) {
        bool is_group = p->token.kind == QL_TOK_BY;
        ql_parse_advance(p);
        return is_group ? parse_group(p, ret) : parse_select(p, ret);
    }
    if (p->token.kind == QL_TOK_COALESCE) {
        ql_parse_advance(p);
        if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK ||
            ql_parse_expect(p, QL_TOK_CLOSE_PAREN, ")") != ERR_OK)
            return p->err;
        *ret = (struct ql_stage){.kind = QL_STAGE_COALESCE};
        return ERR_OK;
    }
    if (ql_parse_is_call(p, "order_by") || ql_parse_is_call(p, "top"))
        return parse_order(p, slice_eq_str(p->token.text, "top"), ret);
    return parse_expression_stage(p, ret, ret_height);
}

/* The first stage, or an expression that is no stage: then `c` has no pipeline. */
static enum err parse_first(struct ql_parser *p, unsigned want, struct ql_content *c,
                            struct ql_stage *ret_stage, bool *ret_is_stage)
{
    bool may_pipe = (want & MAY_PIPE) != 0;

    *ret_is_stage = true;
    c->node = (struct ql_node){.line = p->token.line, .column = p->token.column, .height = 1};
    if (may_pipe && (p->token.kind == QL_TOK_BY || p->token.kind == QL_TOK_SELECT)) {
        uint32_t height;
        return parse_stage(p, ret_stage, &height);
    }
    enum err e = ql_parse_node(p, may_pipe ? want | QL_NODE_STAGE : want, QL_LEVEL_NONE, &c->node);
    if (e != ERR_OK)
        return e;
    if (c->node.kind == QL_NODE_SPANSET) {
        *ret_stage = (struct ql_stage){.kind = QL_STAGE_SPANSET, .spanset = c->node.spanset};
        return ERR_OK;
    }
    if (may_pipe && (c->node.kind & SCALARS) && ql_parse_field_compare(p->token.kind) != QL_OP_NONE)
        return parse_scalar_filter(p, &c->node, ret_stage, &c->node.height);
    *ret_is_stage = false;
    return ERR_OK;
}

enum err ql_parse_stage_content(struct ql_parser *p, unsigned want, struct ql_content *ret)
{
    struct ql_stage stage = {0};
    bool is_stage = false;

    enum err e = parse_first(p, want, ret, &stage, &is_stage);
    if (e != ERR_OK || !is_stage)
        return e;
    struct ql_pipeline *pipeline = ARENA_NEW(p->arena, struct ql_pipeline);
    if (pipeline == NULL)
        return ql_parse_err(p);
    e = add_stage(p, pipeline, stage);
    while (e == ERR_OK && p->token.kind == QL_TOK_PIPE && (want & MAY_PIPE)) {
        ql_parse_advance(p);
        if ((want & QL_NODE_METRICS) && ql_parse_metrics_is_function(p->token.kind)) {
            ret->metrics = ql_parse_metrics_function(p, pipeline);
            if (ret->metrics == NULL)
                return ql_parse_err(p);
            e = ql_parse_metrics_seconds(p, ret->metrics);
            break;
        }
        uint32_t height;
        e = parse_stage(p, &stage, &height);
        if (e == ERR_OK && height > ret->node.height)
            ret->node.height = height;
        if (e == ERR_OK)
            e = add_stage(p, pipeline, stage);
    }
    ret->is_aggregate_last =
        e == ERR_OK && pipeline->stages[pipeline->stage_count - 1].kind == QL_STAGE_SCALAR;
    ret->pipeline = pipeline;
    return e;
}
