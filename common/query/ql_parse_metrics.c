#include "common/query/ql_parse_priv.h"

#include <assert.h>

static enum ql_metrics_fn function_of(enum ql_tok kind)
{
    switch ((int)kind) {
    case QL_TOK_RATE: return QL_M_RATE;
    case QL_TOK_COUNT_OVER_TIME: return QL_M_COUNT;
    case QL_TOK_MIN_OVER_TIME: return QL_M_MIN;
    case QL_TOK_MAX_OVER_TIME: return QL_M_MAX;
    case QL_TOK_AVG_OVER_TIME: return QL_M_AVG;
    case QL_TOK_SUM_OVER_TIME: return QL_M_SUM;
    case QL_TOK_QUANTILE_OVER_TIME: return QL_M_QUANTILE;
    case QL_TOK_HISTOGRAM_OVER_TIME: return QL_M_HISTOGRAM;
    case QL_TOK_COMPARE: return QL_M_COMPARE;
    default: return QL_M_NONE;
    }
}

bool ql_parse_metrics_is_function(enum ql_tok kind)
{
    return function_of(kind) != QL_M_NONE;
}

static enum err unexpected(struct ql_parser *p, const char *expecting)
{
    (void)ql_parse_unexpected(p, expecting);
    return p->err;
}

/* The values behind the attribute of quantile_over_time; at least one. */
static enum err parse_quantiles(struct ql_parser *p, struct ql_metrics *m)
{
    do {
        if (ql_parse_expect(p, QL_TOK_COMMA, ",") != ERR_OK)
            return p->err;
        if (p->token.kind != QL_TOK_INTEGER && p->token.kind != QL_TOK_FLOAT)
            return unexpected(p, "INTEGER or FLOAT");
        if (ql_parse_term(p) != ERR_OK)
            return ql_parse_err(p);
        m->quantiles = ql_parse_grow(p, m->quantiles, m->quantile_count, sizeof *m->quantiles);
        if (m->quantiles == NULL)
            return ql_parse_err(p);
        struct value v = p->token.value;
        m->quantiles[m->quantile_count++] = v.type == VALUE_INT ? (double)v.i : v.f;
        ql_parse_advance(p);
    } while (p->token.kind == QL_TOK_COMMA);
    return ERR_OK;
}

static enum err parse_integer(struct ql_parser *p, int64_t *ret)
{
    if (p->token.kind != QL_TOK_INTEGER)
        return unexpected(p, "INTEGER");
    *ret = p->token.value.i;
    ql_parse_advance(p);
    return ERR_OK;
}

/* compare({...}[, top[, start, end]]) behind its parenthesis. */
static enum err parse_compare(struct ql_parser *p, struct ql_metrics *m)
{
    enum err e;

    m->compare_top = 10;
    m->compare = ql_parse_node_filter(p);
    if (m->compare == NULL)
        return ql_parse_err(p);
    if (p->token.kind != QL_TOK_COMMA)
        return ERR_OK;
    ql_parse_advance(p);
    e = parse_integer(p, &m->compare_top);
    if (e != ERR_OK || p->token.kind != QL_TOK_COMMA)
        return e;
    ql_parse_advance(p);
    e = parse_integer(p, &m->compare_start_ns);
    if (e == ERR_OK)
        e = ql_parse_expect(p, QL_TOK_COMMA, ",");
    return e != ERR_OK ? e : parse_integer(p, &m->compare_end_ns);
}

static enum err parse_by(struct ql_parser *p, struct ql_metrics *m)
{
    ql_parse_advance(p);
    if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK)
        return p->err;
    while (true) {
        if (ql_parse_term(p) != ERR_OK)
            return ql_parse_err(p);
        m->by = ql_parse_grow(p, m->by, m->by_count, sizeof *m->by);
        if (m->by == NULL)
            return ql_parse_err(p);
        enum err e = ql_parse_field_attribute(p, &m->by[m->by_count]);
        if (e != ERR_OK)
            return e;
        m->by_count++;
        if (p->token.kind != QL_TOK_COMMA)
            break;
        ql_parse_advance(p);
    }
    return ql_parse_expect(p, QL_TOK_CLOSE_PAREN, ") or ,");
}

static enum err parse_arguments(struct ql_parser *p, struct ql_metrics *m)
{
    enum err e = ERR_OK;

    if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK)
        return p->err;
    if (m->fn == QL_M_COMPARE)
        e = parse_compare(p, m);
    else if (m->fn != QL_M_RATE && m->fn != QL_M_COUNT)
        e = ql_parse_field_attribute(p, &m->argument);
    if (e == ERR_OK && m->fn == QL_M_QUANTILE)
        e = parse_quantiles(p, m);
    return e != ERR_OK ? e : ql_parse_expect(p, QL_TOK_CLOSE_PAREN, NULL);
}

struct ql_metrics *ql_parse_metrics_function(struct ql_parser *p, struct ql_pipeline *pipeline)
{
    struct ql_metrics *m = ARENA_NEW(p->arena, struct ql_metrics);

    if (m == NULL || ql_parse_term(p) != ERR_OK)
        return NULL;
    m->pipeline = pipeline;
    m->fn = function_of(p->token.kind);
    assert(m->fn != QL_M_NONE);
    ql_parse_advance(p);
    enum err e = parse_arguments(p, m);
    if (e == ERR_OK && p->token.kind == QL_TOK_BY && m->fn != QL_M_COMPARE)
        e = parse_by(p, m);
    return e == ERR_OK ? m : NULL;
}

static enum err parse_topk(struct ql_parser *p, struct ql_second *ret)
{
    ql_parse_advance(p);
    if (p->token.kind != QL_TOK_TOPK && p->token.kind != QL_TOK_BOTTOMK)
        return unexpected(p, "topk or bottomk");
    struct ql_second s = {.kind =
                              p->token.kind == QL_TOK_TOPK ? QL_SECOND_TOPK : QL_SECOND_BOTTOMK};
    ql_parse_advance(p);
    if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK ||
        parse_integer(p, &s.limit) != ERR_OK ||
        ql_parse_expect(p, QL_TOK_CLOSE_PAREN, ")") != ERR_OK)
        return p->err;
    *ret = s;
    return ERR_OK;
}

static enum err parse_comparison(struct ql_parser *p, struct ql_second *ret)
{
    struct ql_second s = {.kind = QL_SECOND_COMPARE, .op = ql_parse_field_compare(p->token.kind)};
    struct ql_node constant;

    ql_parse_advance(p);
    enum err e = ql_parse_node(p, QL_NODE_SCALAR, QL_LEVEL_SUM, &constant);
    if (e != ERR_OK)
        return e;
    s.value = constant.scalar->value;
    *ret = s;
    return ERR_OK;
}

enum err ql_parse_metrics_seconds(struct ql_parser *p, struct ql_metrics *m)
{
    while (p->token.kind == QL_TOK_PIPE || ql_parse_field_compare(p->token.kind) != QL_OP_NONE) {
        struct ql_second second = {0};
        if (ql_parse_term(p) != ERR_OK)
            return ql_parse_err(p);
        enum err e =
            p->token.kind == QL_TOK_PIPE ? parse_topk(p, &second) : parse_comparison(p, &second);
        if (e != ERR_OK)
            return e;
        m->seconds = ql_parse_grow(p, m->seconds, m->second_count, sizeof *m->seconds);
        if (m->seconds == NULL)
            return ql_parse_err(p);
        m->seconds[m->second_count++] = second;
    }
    return ERR_OK;
}

static struct ql_metrics *operand(struct ql_parser *p, const struct ql_node *node)
{
    if (node->kind == QL_NODE_METRICS)
        return node->metrics;
    assert(node->kind == QL_NODE_SCALAR);
    if (node->scalar->value.type == VALUE_DURATION)
        return ql_parse_fail(p, node->line, node->column,
                             "duration cannot be used as a scalar operand in metric arithmetic");
    struct ql_metrics *m = ARENA_NEW(p->arena, struct ql_metrics);
    if (m != NULL)
        m->value = node->scalar->value;
    return m;
}

struct ql_metrics *ql_parse_metrics_binary(struct ql_parser *p, enum ql_op op,
                                           const struct ql_node *left, const struct ql_node *right)
{
    struct ql_metrics *m = ARENA_NEW(p->arena, struct ql_metrics);

    assert(op == QL_ADD || op == QL_SUB || op == QL_MUL || op == QL_DIV);
    if (m == NULL)
        return NULL;
    m->op = op;
    m->left = operand(p, left);
    m->right = m->left == NULL ? NULL : operand(p, right);
    return m->right == NULL ? NULL : m;
}
