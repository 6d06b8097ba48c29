#include "common/base/num.h"
#include "common/base/utf8.h"
#include "common/query/ql.h"
#include "common/query/ql_lex.h"
#include "common/query/ql_spine.h"

#include <assert.h>
#include <math.h>

/* --- values ------------------------------------------------------------------------------------------------ */

/* Go's FormatFloat(v, 'g', -1, 64): exponents outside -4..5, and ".0" where it would look like an int. */
static void dump_float(struct buf *out, double v)
{
    char text[40];
    int digits = 0, n = 0;

    if (!isfinite(v)) { /* is never folded; from a caller's value */
        buf_append_str(out, isnan(v) ? "NaN.0" : v > 0 ? "+Inf.0" : "-Inf.0");
        return;
    }
    do
        n = snprintf(text, sizeof text, "%.*e", digits++, v);
    while (digits < 18 && strtod(text, NULL) != v);
    assert(n > 0 && (size_t)n < sizeof text);
    char *exponent_at = memchr(text, 'e', (size_t)n);
    assert(exponent_at != NULL);
    long exponent = strtol(exponent_at + 1, NULL, 10);
    if (exponent >= -4 && exponent < 6) {
        int decimals = digits - 1 > exponent ? (int)(digits - 1 - exponent) : 0;
        n = snprintf(text, sizeof text, "%.*f", decimals, v);
    }
    buf_append(out, (struct slice){(const uint8_t *)text, (size_t)n});
    if (memchr(text, '.', (size_t)n) == NULL && memchr(text, 'e', (size_t)n) == NULL)
        buf_append_str(out, ".0");
}

static void dump_quoted(struct buf *out, struct slice s)
{
    buf_append_byte(out, '"');
    while (s.len != 0) {
        size_t bytes = utf8_char_bytes(s);
        uint8_t c = s.ptr[0];
        if (c == '"' || c == '\\')
            buf_appendf(out, "\\%c", c);
        else if (c == '\n')
            buf_append_str(out, "\\n");
        else if (bytes == 0 || c < ' ' || c == 0x7f)
            buf_appendf(out, "\\x%02x", c);
        else
            buf_append(out, slice_sub(s, 0, bytes));
        s = slice_sub(s, bytes == 0 ? 1 : bytes, s.len);
    }
    buf_append_byte(out, '"');
}

/* In backquotes; in quotes only what backquotes can not hold. */
static void dump_string(struct buf *out, struct slice s)
{
    bool is_raw =
        s.len == 0 || (memchr(s.ptr, '`', s.len) == NULL && memchr(s.ptr, '\r', s.len) == NULL &&
                       memchr(s.ptr, '\0', s.len) == NULL && utf8_is_valid(s));

    if (!is_raw) {
        dump_quoted(out, s);
        return;
    }
    buf_append_byte(out, '`');
    buf_append(out, s);
    buf_append_byte(out, '`');
}

static void dump_array(struct buf *out, struct value v)
{
    buf_append_byte(out, '[');
    for (uint32_t i = 0; i < v.array.count; i++) {
        assert(!value_is_array(v.array.items[i]));
        if (i != 0)
            buf_append_str(out, ", ");
        ql_dump_value(out, v.array.items[i]);
    }
    buf_append_byte(out, ']');
}

void ql_dump_value(struct buf *out, struct value v)
{
    switch (v.type) {
    case VALUE_NIL: buf_append_str(out, "nil"); return;
    case VALUE_INT:
        if (v.i == INT64_MIN) /* the number itself would not parse */
            buf_append_str(out, "minInt");
        else
            num_append_i64(out, v.i);
        return;
    case VALUE_FLOAT: dump_float(out, v.f); return;
    case VALUE_STRING: dump_string(out, v.s); return;
    case VALUE_BOOL: buf_append_str(out, v.i != 0 ? "true" : "false"); return;
    case VALUE_DURATION: num_append_duration(out, v.i); return;
    case VALUE_STATUS: buf_append_str(out, value_status_name(v.i)); return;
    case VALUE_KIND: buf_append_str(out, value_kind_name(v.i)); return;
    case VALUE_INT_ARRAY:
    case VALUE_FLOAT_ARRAY:
    case VALUE_STRING_ARRAY:
    case VALUE_BOOL_ARRAY: dump_array(out, v); return;
    }
}

/* --- attributes ---------------------------------------------------------------------------------------------- */

static const char *const intrinsic_names[] = {
    [QL_I_DURATION] = "duration",
    [QL_I_NAME] = "name",
    [QL_I_STATUS] = "status",
    [QL_I_STATUS_MESSAGE] = "statusMessage",
    [QL_I_KIND] = "kind",
    [QL_I_CHILD_COUNT] = "span:childCount",
    [QL_I_SPAN_ID] = "span:id",
    [QL_I_PARENT_ID] = "span:parentID",
    [QL_I_TRACE_DURATION] = "traceDuration",
    [QL_I_ROOT_NAME] = "rootName",
    [QL_I_ROOT_SERVICE] = "rootServiceName",
    [QL_I_TRACE_ID] = "trace:id",
    [QL_I_NESTED_SET_LEFT] = "nestedSetLeft",
    [QL_I_NESTED_SET_RIGHT] = "nestedSetRight",
    [QL_I_NESTED_SET_PARENT] = "nestedSetParent",
    [QL_I_EVENT_NAME] = "event:name",
    [QL_I_EVENT_TIME_SINCE_START] = "event:timeSinceStart",
    [QL_I_LINK_TRACE_ID] = "link:traceID",
    [QL_I_LINK_SPAN_ID] = "link:spanID",
    [QL_I_SCOPE_NAME] = "instrumentation:name",
    [QL_I_SCOPE_VERSION] = "instrumentation:version",
    [QL_I_PARENT] = "parent",
};

static const char *const scope_prefixes[] = {
    [QL_SCOPE_NONE] = ".",
    [QL_SCOPE_SPAN] = "span.",
    [QL_SCOPE_RESOURCE] = "resource.",
    [QL_SCOPE_EVENT] = "event.",
    [QL_SCOPE_LINK] = "link.",
    [QL_SCOPE_INSTRUMENTATION] = "instrumentation.",
    [QL_SCOPE_PARENT] = "parent.",
};

/* Bare, the name would be read as something else. */
static bool needs_quotes(const struct ql_attribute *a)
{
    if (!ql_lex_is_bare_name(a->name))
        return true;
    return a->is_parent && a->scope == QL_SCOPE_NONE &&
           (slice_has_prefix(a->name, SLICE_LIT("span.")) ||
            slice_has_prefix(a->name, SLICE_LIT("resource.")));
}

void ql_dump_attribute(struct buf *out, const struct ql_attribute *a)
{
    if (a->intrinsic != QL_I_NONE) {
        buf_append_str(out, intrinsic_names[a->intrinsic]);
        return;
    }
    if (a->is_parent)
        buf_append_str(out, "parent.");
    if (!a->is_parent || a->scope != QL_SCOPE_NONE)
        buf_append_str(out, scope_prefixes[a->scope]);
    if (!needs_quotes(a)) {
        buf_append(out, a->name);
        return;
    }
    buf_append_byte(out, '"');
    for (size_t i = 0; i < a->name.len; i++) {
        if (a->name.ptr[i] == '"' || a->name.ptr[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, a->name.ptr[i]);
    }
    buf_append_byte(out, '"');
}

/* --- field expressions ------------------------------------------------------------------------------------------ */

static const char *const op_signs[] = {
    [QL_ADD] = "+",
    [QL_SUB] = "-",
    [QL_MUL] = "*",
    [QL_DIV] = "/",
    [QL_MOD] = "%",
    [QL_POW] = "^",
    [QL_EQ] = "=",
    [QL_NE] = "!=",
    [QL_LT] = "<",
    [QL_LE] = "<=",
    [QL_GT] = ">",
    [QL_GE] = ">=",
    [QL_REGEX] = "=~",
    [QL_NOT_REGEX] = "!~",
    [QL_AND] = "&&",
    [QL_OR] = "||",
    [QL_NOT] = "!",
    [QL_NEG] = "-",
    [QL_EXISTS] = " != nil",
    [QL_NOT_EXISTS] = " = nil",
    [QL_CHILD] = ">",
    [QL_PARENT] = "<",
    [QL_DESCENDANT] = ">>",
    [QL_ANCESTOR] = "<<",
    [QL_SIBLING] = "~",
    [QL_NOT_CHILD] = "!>",
    [QL_NOT_PARENT] = "!<",
    [QL_NOT_DESCENDANT] = "!>>",
    [QL_NOT_ANCESTOR] = "!<<",
    [QL_NOT_SIBLING] = "!~",
    [QL_UNION_CHILD] = "&>",
    [QL_UNION_PARENT] = "&<",
    [QL_UNION_DESCENDANT] = "&>>",
    [QL_UNION_ANCESTOR] = "&<<",
    [QL_UNION_SIBLING] = "&~",
};

static const char *sign_of(enum ql_op op)
{
    assert((size_t)op < sizeof op_signs / sizeof *op_signs && op_signs[op] != NULL);
    return op_signs[op];
}

static bool is_negative(struct value v)
{
    if (v.type == VALUE_FLOAT)
        return signbit(v.f) != 0;
    return (v.type == VALUE_INT || v.type == VALUE_DURATION) && v.i < 0 &&
           !(v.type == VALUE_INT && v.i == INT64_MIN);
}

/* An operand in parentheses: every one that is no leaf, and a negative number before an operator that would bind before its minus. */
static bool has_parens(const struct ql_expr *parent, const struct ql_expr *e)
{
    if (e->kind == QL_EXPR_BINARY || e->kind == QL_EXPR_UNARY)
        return true;
    bool is_product =
        parent->kind == QL_EXPR_BINARY && parent->op >= QL_MUL && parent->op <= QL_POW;
    return is_product && parent->left == e && e->kind == QL_EXPR_STATIC && is_negative(e->value);
}

static void dump_leaf(struct buf *out, const struct ql_expr *e)
{
    if (e->kind == QL_EXPR_ATTRIBUTE)
        ql_dump_attribute(out, &e->attribute);
    else
        ql_dump_value(out, e->value);
}

static void dump_right(struct buf *out, const struct ql_expr *parent)
{
    bool parens = has_parens(parent, parent->right);

    buf_appendf(out, " %s %s", sign_of(parent->op), parens ? "(" : "");
    ql_dump_expr(out, parent->right);
    buf_append_str(out, parens ? ")" : "");
}

void ql_dump_expr(struct buf *out, const struct ql_expr *top)
{
    struct ql_spine spine;

    assert(top != NULL);

    ql_spine_init(&spine, (struct ql_expr *)(uintptr_t)top); /* only read here */
    for (const struct ql_expr *e = top; e->left != NULL; e = e->left) {
        if (e->op == QL_NEG || e->op == QL_NOT)
            buf_append_str(out, sign_of(e->op));
        if (has_parens(e, e->left))
            buf_append_byte(out, '(');
    }
    assert(spine.count > 0);
    dump_leaf(out, ql_spine_at(&spine, spine.count - 1));
    for (uint32_t i = spine.count - 1; i > 0; i--) {
        const struct ql_expr *e = ql_spine_at(&spine, i - 1);
        if (has_parens(e, e->left))
            buf_append_byte(out, ')');
        if (e->kind == QL_EXPR_BINARY)
            dump_right(out, e);
        else if (e->op == QL_EXISTS || e->op == QL_NOT_EXISTS)
            buf_append_str(out, sign_of(e->op));
    }
}

/* --- pipelines --------------------------------------------------------------------------------------------------- */

static void dump_pipeline(struct buf *out, const struct ql_pipeline *p);

static void dump_aggregate(struct buf *out, const struct ql_scalar *s)
{
    static const char *const names[] = {
        [QL_COUNT] = "count",
        [QL_MIN] = "min",
        [QL_MAX] = "max",
        [QL_SUM] = "sum",
        [QL_AVG] = "avg",
        [QL_QUANTILE] = "quantile",
        [QL_COUNT_DISTINCT] = "count_distinct",
    };

    buf_appendf(out, "%s(", names[s->aggregate]);
    if (s->argument != NULL)
        ql_dump_expr(out, s->argument);
    if (s->aggregate == QL_QUANTILE) { /* in its shortest form, "1" and not "1.0" */
        buf_append_str(out, ", ");
        num_append_double_f(out, s->quantile);
    }
    buf_append_byte(out, ')');
}

void ql_dump_scalar(struct buf *out, const struct ql_scalar *s)
{
    const struct ql_scalar *sides[2] = {s->left, s->right};

    if (s->kind == QL_SCALAR_STATIC) {
        ql_dump_value(out, s->value);
        return;
    }
    if (s->kind == QL_SCALAR_AGGREGATE) {
        dump_aggregate(out, s);
        return;
    }
    if (s->kind == QL_SCALAR_PIPELINE) {
        buf_append_byte(out, '(');
        dump_pipeline(out, s->pipeline);
        buf_append_byte(out, ')');
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        bool parens = sides[i]->kind == QL_SCALAR_BINARY || sides[i]->kind == QL_SCALAR_AGGREGATE;
        if (i == 1)
            buf_appendf(out, " %s ", sign_of(s->op));
        buf_append_str(out, parens ? "(" : "");
        ql_dump_scalar(out, sides[i]);
        buf_append_str(out, parens ? ")" : "");
    }
}

static void dump_spanset(struct buf *out, const struct ql_spanset *s)
{
    switch (s->kind) {
    case QL_SPANSET_FILTER:
        buf_append_str(out, "{ ");
        ql_dump_expr(out, s->filter);
        buf_append_str(out, " }");
        return;
    case QL_SPANSET_PIPELINE:
        dump_pipeline(out, s->pipeline);
        return; /* in the parentheses of its operator */
    case QL_SPANSET_NOT:
        buf_append_str(out, "!(");
        dump_spanset(out, s->left);
        buf_append_byte(out, ')');
        return;
    case QL_SPANSET_BINARY:
    case QL_SPANSET_MINUS: break;
    }
    buf_append_byte(out, '(');
    dump_spanset(out, s->left);
    buf_appendf(out, ") %s (", s->kind == QL_SPANSET_MINUS ? "-" : sign_of(s->op));
    dump_spanset(out, s->right);
    buf_append_byte(out, ')');
}

static void dump_side(struct buf *out, const struct ql_scalar *s)
{
    bool parens = s->kind == QL_SCALAR_BINARY || s->kind == QL_SCALAR_AGGREGATE;

    buf_append_str(out, parens ? "(" : "");
    ql_dump_scalar(out, s);
    buf_append_str(out, parens ? ")" : "");
}

void ql_dump_stage(struct buf *out, const struct ql_stage *s)
{
    switch (s->kind) {
    case QL_STAGE_SPANSET: dump_spanset(out, s->spanset); return;
    case QL_STAGE_SCALAR: ql_dump_scalar(out, s->left); return;
    case QL_STAGE_COALESCE: buf_append_str(out, "coalesce()"); return;
    case QL_STAGE_SCALAR_FILTER:
        dump_side(out, s->left);
        buf_appendf(out, " %s ", sign_of(s->op));
        dump_side(out, s->right);
        return;
    case QL_STAGE_SELECT:
        buf_append_str(out, "select(");
        for (uint32_t i = 0; i < s->select_count; i++) {
            buf_append_str(out, i == 0 ? "" : ", ");
            ql_dump_attribute(out, &s->select[i]);
        }
        buf_append_byte(out, ')');
        return;
    case QL_STAGE_GROUP: buf_append_str(out, "by("); break;
    case QL_STAGE_ORDER_BY: buf_append_str(out, "order_by("); break;
    case QL_STAGE_TOP: buf_appendf(out, "top(%u, ", s->top_count); break;
    }
    ql_dump_expr(out, s->by);
    buf_append_str(out, s->kind == QL_STAGE_ORDER_BY && s->is_descending ? " desc)" : ")");
}

static void dump_pipeline(struct buf *out, const struct ql_pipeline *p)
{
    for (uint32_t i = 0; i < p->stage_count; i++) {
        buf_append_str(out, i == 0 ? "" : "|");
        ql_dump_stage(out, &p->stages[i]);
    }
}

/* --- metrics ------------------------------------------------------------------------------------------------------ */

static void dump_function(struct buf *out, const struct ql_metrics *m)
{
    static const char *const names[] = {
        [QL_M_RATE] = "rate",
        [QL_M_COUNT] = "count_over_time",
        [QL_M_MIN] = "min_over_time",
        [QL_M_MAX] = "max_over_time",
        [QL_M_SUM] = "sum_over_time",
        [QL_M_AVG] = "avg_over_time",
        [QL_M_HISTOGRAM] = "histogram_over_time",
        [QL_M_QUANTILE] = "quantile_over_time",
        [QL_M_COMPARE] = "compare",
    };

    buf_appendf(out, "%s(", names[m->fn]);
    if (m->fn == QL_M_COMPARE) {
        dump_spanset(out, m->compare);
        buf_appendf(out, ",%lld", (long long)m->compare_top);
        if (m->compare_start_ns != 0 || m->compare_end_ns != 0)
            buf_appendf(out, ",%lld,%lld", (long long)m->compare_start_ns,
                        (long long)m->compare_end_ns);
    } else if (m->fn != QL_M_RATE && m->fn != QL_M_COUNT) {
        ql_dump_attribute(out, &m->argument);
    }
    for (uint32_t i = 0; i < m->quantile_count; i++)
        buf_appendf(out, ",%.5f", m->quantiles[i]);
    buf_append_byte(out, ')');
    for (uint32_t i = 0; i < m->by_count; i++) {
        buf_append_str(out, i == 0 ? "by(" : ",");
        ql_dump_attribute(out, &m->by[i]);
    }
    buf_append_str(out, m->by_count == 0 ? "" : ")");
}

static void dump_metrics(struct buf *out, const struct ql_metrics *m);

static void dump_operand(struct buf *out, const struct ql_metrics *m)
{
    bool is_number = m->op == QL_OP_NONE && m->fn == QL_M_NONE;

    buf_append_str(out, is_number ? "" : "(");
    dump_metrics(out, m);
    buf_append_str(out, is_number ? "" : ")");
}

static void dump_metrics(struct buf *out, const struct ql_metrics *m)
{
    if (m->op != QL_OP_NONE) {
        dump_operand(out, m->left);
        buf_appendf(out, " %s ", sign_of(m->op));
        dump_operand(out, m->right);
    } else if (m->fn != QL_M_NONE) {
        dump_pipeline(out, m->pipeline);
        buf_append_str(out, " | ");
        dump_function(out, m);
    } else {
        ql_dump_value(out, m->value);
    }
    for (uint32_t i = 0; i < m->second_count; i++) {
        const struct ql_second *s = &m->seconds[i];
        if (s->kind == QL_SECOND_COMPARE) {
            buf_appendf(out, " %s ", sign_of(s->op));
            ql_dump_value(out, s->value);
        } else {
            buf_appendf(out, " | %s(%lld)", s->kind == QL_SECOND_TOPK ? "topk" : "bottomk",
                        (long long)s->limit);
        }
    }
}

void ql_dump(struct buf *out, const struct ql_query *q)
{
    if (q->pipeline != NULL)
        dump_pipeline(out, q->pipeline);
    else
        dump_metrics(out, q->metrics);
    for (uint32_t i = 0; i < q->hint_count; i++) {
        buf_append_str(out, i == 0 ? " with(" : ",");
        buf_append(out, q->hints[i].name);
        buf_append_byte(out, '=');
        ql_dump_value(out, q->hints[i].value);
    }
    buf_append_str(out, q->hint_count == 0 ? "" : ")");
}
