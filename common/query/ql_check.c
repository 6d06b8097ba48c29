#include "common/query/ql_check.h"

#include "common/query/ql.h"
#include "common/query/ql_fold.h"
#include "common/query/ql_spine.h"
#include "common/query/regex.h"

#include <assert.h>

enum { MESSAGE_BYTES_MAX = 480, REGEXES_MAX = 128, GROUP_BY_MAX = 5, COMPARE_TOP_MAX = 1000 };

struct check {
    struct err_detail *detail;
    uint32_t regexes;
};

/* --- messages: a text around the dump of what is wrong ------------------------------------------------- */

static enum err fail(struct check *c, const char *message)
{
    return err_detail_set(c->detail, ERR_INVALID, "%s", message);
}

static enum err fail_buf(struct check *c, struct buf *b)
{
    enum err e =
        buf_err(b) == ERR_NOMEM ? ERR_NOMEM : ERR_INVALID; /* too long is cut, and good enough */

    if (e == ERR_INVALID)
        (void)err_detail_set(c->detail, e, SLICE_FMT, SLICE_ARG(buf_slice(b)));
    buf_release(b);
    return e;
}

static enum err fail_expr(struct check *c, const char *before, const struct ql_expr *e,
                          const char *after)
{
    struct buf b;

    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_append_str(&b, before);
    ql_dump_expr(&b, e);
    buf_append_str(&b, after);
    return fail_buf(c, &b);
}

static enum err fail_scalar(struct check *c, const char *before, const struct ql_scalar *s,
                            const char *after)
{
    struct buf b;

    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_append_str(&b, before);
    ql_dump_scalar(&b, s);
    buf_append_str(&b, after);
    return fail_buf(c, &b);
}

/* --- field expressions ------------------------------------------------------------------------------------ */

static enum ql_type type_of_intrinsic(enum ql_intrinsic i)
{
    switch (i) {
    case QL_I_DURATION:
    case QL_I_TRACE_DURATION:
    case QL_I_EVENT_TIME_SINCE_START: return QL_TYPE_DURATION;
    case QL_I_NAME:
    case QL_I_STATUS_MESSAGE:
    case QL_I_SPAN_ID:
    case QL_I_PARENT_ID:
    case QL_I_ROOT_NAME:
    case QL_I_ROOT_SERVICE:
    case QL_I_TRACE_ID:
    case QL_I_EVENT_NAME:
    case QL_I_LINK_TRACE_ID:
    case QL_I_LINK_SPAN_ID: return QL_TYPE_STRING;
    case QL_I_STATUS: return QL_TYPE_STATUS;
    case QL_I_KIND: return QL_TYPE_KIND;
    case QL_I_CHILD_COUNT:
    case QL_I_NESTED_SET_LEFT:
    case QL_I_NESTED_SET_RIGHT:
    case QL_I_NESTED_SET_PARENT: return QL_TYPE_INT;
    case QL_I_PARENT: return QL_TYPE_NIL;
    case QL_I_NONE:
    case QL_I_SCOPE_NAME:
    case QL_I_SCOPE_VERSION: break;
    }
    return QL_TYPE_ANY;
}

static enum err check_attribute(struct check *c, const struct ql_attribute *a)
{
    if (a->is_parent)
        return fail(c, "parent not yet supported");
    if (a->intrinsic == QL_I_PARENT)
        return fail(c, "intrinsic (parent) not yet supported");
    return ERR_OK;
}

static enum err compile_regex(struct check *c, struct ql_expr *e)
{
    if (e->right->kind != QL_EXPR_STATIC || e->right->value.type != VALUE_STRING)
        return fail_expr(c, "invalid type for =~ or !~: ", e->right, "");
    if (e->regex != NULL) /* checked before */
        return ERR_OK;
    if (c->regexes++ == REGEXES_MAX)
        return err_detail_set(c->detail, ERR_TOO_LARGE,
                              "TraceQL expression exceeds the maximum number of regexes of %d",
                              REGEXES_MAX);
    enum err err = regex_compile(e->right->value.s, &e->regex, NULL);
    if (err == ERR_NOMEM)
        return err;
    return err == ERR_OK ? ERR_OK : fail_expr(c, "invalid regex: ", e->right, "");
}

static enum ql_type type_of_binary(enum ql_op op, enum ql_type left, enum ql_type right)
{
    if (ql_fold_is_boolean_op(op))
        return QL_TYPE_BOOL;
    return left == QL_TYPE_ANY ? right : left;
}

static bool is_zero_int(const struct ql_expr *e)
{
    return e->kind == QL_EXPR_STATIC && e->value.type == VALUE_INT && e->value.i == 0;
}

static enum err check_binary(struct check *c, struct ql_expr *e, enum ql_type left,
                             enum ql_type right)
{
    if (!ql_fold_types_meet(left, right))
        return fail_expr(c, "binary operations must operate on the same type: ", e, "");
    if (!ql_fold_op_fits(e->op, left) || !ql_fold_op_fits(e->op, right))
        return fail_expr(c, "illegal operation for the given types: ", e, "");
    if (e->op == QL_REGEX || e->op == QL_NOT_REGEX)
        return compile_regex(c, e);
    bool is_constant = e->left->kind == QL_EXPR_STATIC && e->left->value.type == VALUE_INT;
    if ((e->op == QL_DIV || e->op == QL_MOD) && is_constant &&
        is_zero_int(e->right)) /* fails for every span: say it once */
        return fail(c, e->op == QL_DIV ? "division by zero" : "modulo by zero");
    return ERR_OK;
}

static enum err check_unary(struct check *c, const struct ql_expr *e, enum ql_type operand)
{
    if (e->op == QL_NOT_EXISTS && e->left->kind == QL_EXPR_ATTRIBUTE) {
        const struct ql_attribute *a = &e->left->attribute;
        if (a->intrinsic != QL_I_NONE)
            return fail_expr(c, "", e->left, "=nil is not valid because intrinsics cannot be nil");
        if (a->scope == QL_SCOPE_RESOURCE && slice_eq_str(a->name, "service.name"))
            return fail(
                c,
                "resource.service.name=nil is not valid because resource.service.name cannot be nil");
    }
    if (!ql_fold_op_fits(e->op, operand))
        return fail_expr(c, "illegal operation for the given type: ", e, "");
    return ERR_OK;
}

static enum err check_leaf(struct check *c, const struct ql_expr *e, enum ql_type *ret)
{
    if (e->kind == QL_EXPR_STATIC) {
        *ret = ql_fold_type_of_value(e->value);
        return ERR_OK;
    }
    assert(e->kind == QL_EXPR_ATTRIBUTE);
    *ret = type_of_intrinsic(e->attribute.intrinsic);
    return check_attribute(c, &e->attribute);
}

/* Operands first, left before right; gives the static type. */
static enum err check_expr(struct check *c, struct ql_expr *top, enum ql_type *ret)
{
    struct ql_spine spine;
    enum ql_type type;

    ql_spine_init(&spine, top);
    enum err err = check_leaf(c, ql_spine_at(&spine, spine.count - 1), &type);
    for (uint32_t i = spine.count - 1; err == ERR_OK && i > 0; i--) {
        struct ql_expr *e = ql_spine_at(&spine, i - 1);
        if (e->kind == QL_EXPR_UNARY) {
            err = check_unary(c, e, type);
            if (e->op == QL_EXISTS || e->op == QL_NOT_EXISTS)
                type = QL_TYPE_BOOL;
            continue;
        }
        assert(e->kind == QL_EXPR_BINARY);
        enum ql_type right;
        err = check_expr(c, e->right, &right);
        if (err == ERR_OK)
            err = check_binary(c, e, type, right);
        if (err == ERR_OK)
            type = type_of_binary(e->op, type, right);
    }
    if (err == ERR_OK)
        *ret = type;
    return err;
}

/* An attribute or intrinsic occurs in it. */
static bool is_about_span(const struct ql_expr *e)
{
    for (; e != NULL; e = e->left) {
        if (e->kind == QL_EXPR_ATTRIBUTE || (e->right != NULL && is_about_span(e->right)))
            return true;
    }
    return false;
}

static enum err check_filter(struct check *c, struct ql_expr *e)
{
    enum ql_type type;

    enum err err = check_expr(c, e, &type);
    if (err != ERR_OK)
        return err;
    if (type != QL_TYPE_BOOL && type != QL_TYPE_ANY)
        return fail_expr(c, "span filter field expressions must resolve to a boolean: { ", e, " }");
    return ERR_OK;
}

/* --- pipelines ------------------------------------------------------------------------------------------------ */

static enum err check_pipeline(struct check *c, struct ql_pipeline *p);

static enum err check_spanset(struct check *c, struct ql_spanset *s)
{
    enum err e;

    switch (s->kind) {
    case QL_SPANSET_FILTER: return check_filter(c, s->filter);
    case QL_SPANSET_PIPELINE: return check_pipeline(c, s->pipeline);
    case QL_SPANSET_NOT: return check_spanset(c, s->left);
    case QL_SPANSET_BINARY:
    case QL_SPANSET_MINUS: break;
    }
    e = check_spanset(c, s->left);
    return e != ERR_OK ? e : check_spanset(c, s->right);
}

static enum err check_quantile(struct check *c, double q)
{
    struct buf b;

    if (q >= 0 && q <= 1)
        return ERR_OK;
    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_append_str(&b, "quantile must be between 0 and 1: ");
    bool is_whole = q == (double)(int64_t)(q > 1e15 || q < -1e15 ? 0 : q);
    ql_dump_value(&b, is_whole ? value_int((int64_t)q) : value_float(q));
    return fail_buf(c, &b);
}

static enum err check_aggregate(struct check *c, struct ql_scalar *s, enum ql_type *ret)
{
    enum ql_type type = QL_TYPE_INT;

    if (s->argument != NULL) {
        enum err e = check_expr(c, s->argument, &type);
        if (e != ERR_OK)
            return e;
        bool is_any_type = s->aggregate == QL_COUNT_DISTINCT;
        if (!is_any_type && type != QL_TYPE_ANY && !ql_fold_is_numeric(type))
            return fail_scalar(c, "aggregate field expressions must resolve to a number type: ", s,
                               "");
        if (!is_about_span(s->argument))
            return fail_scalar(c, "aggregate field expressions must reference the span: ", s, "");
        if (is_any_type)
            type = QL_TYPE_INT;
    }
    *ret = type;
    return s->aggregate == QL_QUANTILE ? check_quantile(c, s->quantile) : ERR_OK;
}

static enum err check_scalar(struct check *c, struct ql_scalar *s, enum ql_type *ret)
{
    enum ql_type left, right;

    switch (s->kind) {
    case QL_SCALAR_STATIC: *ret = ql_fold_type_of_value(s->value); return ERR_OK;
    case QL_SCALAR_AGGREGATE: return check_aggregate(c, s, ret);
    case QL_SCALAR_PIPELINE: *ret = QL_TYPE_ANY; return check_pipeline(c, s->pipeline);
    case QL_SCALAR_BINARY: break;
    }
    enum err e = check_scalar(c, s->left, &left);
    if (e == ERR_OK)
        e = check_scalar(c, s->right, &right);
    if (e != ERR_OK)
        return e;
    if (!ql_fold_types_meet(left, right))
        return fail_scalar(c, "binary operations must operate on the same type: ", s, "");
    if (!ql_fold_op_fits(s->op, left) || !ql_fold_op_fits(s->op, right))
        return fail_scalar(c, "illegal operation for the given types: ", s, "");
    *ret = type_of_binary(s->op, left, right);
    return ERR_OK;
}

/* Today: AGGREGATE cmp CONSTANT, as Tempo. */
static enum err check_scalar_filter(struct check *c, struct ql_stage *s)
{
    enum ql_type left, right;

    enum err e = check_scalar(c, s->left, &left);
    if (e == ERR_OK)
        e = check_scalar(c, s->right, &right);
    if (e != ERR_OK)
        return e;
    if (!ql_fold_types_meet(left, right) || !ql_fold_op_fits(s->op, left) ||
        !ql_fold_op_fits(s->op, right))
        return fail_scalar(c, "illegal operation for the given types: ", s->left, "");
    if (s->left->kind != QL_SCALAR_AGGREGATE)
        return fail_scalar(c, "scalar filter lhs of type (", s->left, ") not yet supported");
    if (s->right->kind != QL_SCALAR_STATIC)
        return fail_scalar(c, "scalar filter rhs of type (", s->right, ") not yet supported");
    return ERR_OK;
}

/* by(), order_by() and top(): an expression over spans, of any type. */
static enum err check_by(struct check *c, struct ql_expr *by, const char *what)
{
    enum ql_type type;

    enum err e = check_expr(c, by, &type);
    if (e != ERR_OK || is_about_span(by))
        return e;
    return fail_expr(c, what, by, ")");
}

static enum err check_stage(struct check *c, struct ql_stage *s)
{
    enum ql_type type;

    switch (s->kind) {
    case QL_STAGE_SPANSET: return check_spanset(c, s->spanset);
    case QL_STAGE_SCALAR_FILTER: return check_scalar_filter(c, s);
    case QL_STAGE_SCALAR: return check_scalar(c, s->left, &type);
    case QL_STAGE_GROUP:
        return check_by(c, s->by, "grouping field expressions must reference the span: by(");
    case QL_STAGE_ORDER_BY:
        return check_by(c, s->by, "ordering field expressions must reference the span: order_by(");
    case QL_STAGE_TOP:
        return check_by(c, s->by, "ordering field expressions must reference the span: top(");
    case QL_STAGE_COALESCE: return ERR_OK;
    case QL_STAGE_SELECT: break;
    }
    for (uint32_t i = 0; i < s->select_count; i++) {
        enum err e = check_attribute(c, &s->select[i]);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err check_pipeline(struct check *c, struct ql_pipeline *p)
{
    for (uint32_t i = 0; i < p->stage_count; i++) {
        enum err e = check_stage(c, &p->stages[i]);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* --- metrics -------------------------------------------------------------------------------------------------- */

static enum err check_compare(struct check *c, const struct ql_metrics *m)
{
    if (m->second_count != 0)
        return fail(c, "`compare()` cannot be used with second stage functions");
    if (m->compare_top < 1 || m->compare_top > COMPARE_TOP_MAX)
        return fail(c, "compare() top number of values must be an integer between 1 and 1000");
    bool has_window = m->compare_start_ns != 0 || m->compare_end_ns != 0;
    if (has_window && (m->compare_start_ns <= 0 || m->compare_end_ns <= 0))
        return fail(c, "compare() timestamps must be positive integer unix nanoseconds");
    if (has_window && m->compare_end_ns <= m->compare_start_ns)
        return fail(c, "compare() end timestamp must be greater than start timestamp");
    return check_spanset(c, m->compare);
}

static enum err check_function(struct check *c, struct ql_metrics *m)
{
    bool needs_label = m->fn == QL_M_AVG || m->fn == QL_M_HISTOGRAM || m->fn == QL_M_QUANTILE;
    enum err e = check_pipeline(c, m->pipeline);

    if (e == ERR_OK && m->fn == QL_M_COMPARE)
        return check_compare(c, m);
    if (e == ERR_OK)
        e = check_attribute(c, &m->argument);
    for (uint32_t i = 0; e == ERR_OK && i < m->by_count; i++)
        e = check_attribute(c, &m->by[i]);
    if (e == ERR_OK && m->by_count > (uint32_t)(needs_label ? GROUP_BY_MAX - 1 : GROUP_BY_MAX))
        return err_detail_set(c->detail, ERR_INVALID,
                              "metrics group by %u values not yet supported", m->by_count);
    for (uint32_t i = 0; e == ERR_OK && i < m->quantile_count; i++)
        e = check_quantile(c, m->quantiles[i]);
    return e;
}

static enum err check_metrics(struct check *c, struct ql_metrics *m, bool is_operand)
{
    enum err e = ERR_OK;

    if (m->op != QL_OP_NONE) {
        e = check_metrics(c, m->left, true);
        if (e == ERR_OK)
            e = check_metrics(c, m->right, true);
    } else if (m->fn != QL_M_NONE) {
        e = is_operand && m->fn == QL_M_COMPARE
                ? fail(c, "`compare()` cannot be used with second stage functions")
                : check_function(c, m);
    }
    for (uint32_t i = 0; e == ERR_OK && i < m->second_count; i++) {
        if (m->seconds[i].kind != QL_SECOND_COMPARE && m->seconds[i].limit <= 0)
            e = fail(c, "limit must be greater than 0");
    }
    return e;
}

enum err ql_check(struct arena *a, struct ql_query *q, struct err_detail *reterr_detail)
{
    struct check c = {.detail = reterr_detail};

    (void)a; /* nothing to build today */
    assert((q->pipeline == NULL) != (q->metrics == NULL));
    enum err e = q->pipeline != NULL ? check_pipeline(&c, q->pipeline)
                                     : check_metrics(&c, q->metrics, false);
    if (e != ERR_OK)
        ql_release(q);
    return e;
}

enum err ql_check_filter(struct ql_expr *e)
{
    struct check c = {0};

    enum err err = check_filter(&c, e);
    if (err != ERR_OK)
        ql_expr_release(e);
    return err;
}
