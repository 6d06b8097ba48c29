#include "common/codec/otlp.h"
#include "common/query/eval.h"
#include "common/query/regex.h"

#include <assert.h>
#include <math.h>

enum { ARRAY_ITEMS_MAX = 4096 };

static bool is_number(enum value_type t)
{
    return t == VALUE_INT || t == VALUE_FLOAT || t == VALUE_DURATION;
}

static double as_double(struct value v)
{
    return v.type == VALUE_FLOAT ? v.f : (double)v.i;
}

static bool order_holds(enum ql_op op, int c)
{
    switch ((int)op) {
    case QL_EQ: return c == 0;
    case QL_NE: return c != 0;
    case QL_LT: return c < 0;
    case QL_LE: return c <= 0;
    case QL_GT: return c > 0;
    case QL_GE: return c >= 0;
    default: return false;
    }
}

static bool doubles_hold(enum ql_op op, double a, double b)
{
    switch ((int)op) {
    case QL_EQ: return a == b;
    case QL_NE: return a != b;
    case QL_LT: return a < b;
    case QL_LE: return a <= b;
    case QL_GT: return a > b;
    case QL_GE: return a >= b;
    default: return false;
    }
}

static bool numbers_hold(enum ql_op op, struct value a, struct value b)
{
    if (a.type == VALUE_FLOAT || b.type == VALUE_FLOAT)
        return doubles_hold(op, as_double(a), as_double(b));
    return order_holds(op, (a.i > b.i) - (a.i < b.i));
}

static bool text_holds(enum ql_op op, struct slice a, struct slice b, const struct ql_regex *regex)
{
    switch ((int)op) {
    case QL_REGEX: return regex != NULL && regex_match(regex, a);
    case QL_NOT_REGEX: return regex != NULL && !regex_match(regex, a);
    case QL_EQ: return slice_eq(a, b);
    case QL_NE: return !slice_eq(a, b);
    default: return order_holds(op, slice_cmp(a, b));
    }
}

/* Canonical decimal text only: "200", "-1"; not "007", "+5", "1_0". */
static bool text_is_int(struct slice s, int64_t *ret)
{
    size_t i = s.len > 0 && s.ptr[0] == '-';
    uint64_t v = 0;

    if (i == s.len || s.len - i > 19 || (s.ptr[i] == '0' && s.len != 1))
        return false;
    for (size_t k = i; k < s.len; k++) {
        if (s.ptr[k] < '0' || s.ptr[k] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.ptr[k] - '0');
    }
    if (v > (uint64_t)INT64_MAX + i)
        return false;
    *ret = i != 0 ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* Plain decimal text with a point: "0.5", "-12.75". */
static bool text_is_double(struct slice s, double *ret)
{
    char text[32];
    char *end;
    bool has_point = false;

    if (s.len == 0 || s.len >= sizeof text)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        has_point |= s.ptr[i] == '.';
        if ((s.ptr[i] < '0' || s.ptr[i] > '9') && s.ptr[i] != '.' && !(i == 0 && s.ptr[i] == '-'))
            return false;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    *ret = strtod(text, &end);
    return has_point && end == text + s.len;
}

static bool matches_scalar(const struct eval_pred *p, struct value v)
{
    const struct value lit = p->value;

    if (v.type == VALUE_STRING && lit.type == VALUE_STRING)
        return text_holds(p->op, v.s, lit.s, p->regex);
    if (p->is_dotless && v.type == VALUE_STRING) {
        struct value n = {.type = lit.type};
        if (lit.type == VALUE_INT && text_is_int(v.s, &n.i))
            return numbers_hold(p->op, n, lit);
        if (lit.type == VALUE_FLOAT && text_is_double(v.s, &n.f))
            return numbers_hold(p->op, n, lit);
        return false;
    }
    if (p->is_strict && v.type != lit.type)
        return false;
    if (is_number(v.type) && is_number(lit.type))
        return numbers_hold(p->op, v, lit);
    if (v.type == lit.type &&
        (v.type == VALUE_BOOL || v.type == VALUE_STATUS || v.type == VALUE_KIND))
        return p->op == QL_EQ ? v.i == lit.i : p->op == QL_NE && v.i != lit.i;
    return false;
}

bool eval_value_matches(const struct eval_pred *p, struct value v)
{
    if (!value_is_array(v))
        return matches_scalar(p, v);
    for (uint32_t i = 0; i < v.array.count; i++)
        if (matches_scalar(p, v.array.items[i]))
            return true;
    return false;
}

static bool compare_scalars(enum ql_op op, struct value a, struct value b,
                            const struct ql_regex *regex)
{
    if (a.type == VALUE_STRING && b.type == VALUE_STRING)
        return text_holds(op, a.s, b.s, regex);
    if (is_number(a.type) && is_number(b.type))
        return numbers_hold(op, a, b);
    bool is_code_a = a.type == VALUE_STATUS || a.type == VALUE_KIND;
    bool is_code_b = b.type == VALUE_STATUS || b.type == VALUE_KIND;
    if ((a.type == b.type && (a.type == VALUE_BOOL || is_code_a)) ||
        (is_code_a && b.type == VALUE_INT) || (is_code_b && a.type == VALUE_INT))
        return op == QL_EQ ? a.i == b.i : op == QL_NE && a.i != b.i;
    return false;
}

static bool compare(enum ql_op op, struct value a, struct value b, const struct ql_regex *regex)
{
    if (value_is_array(a) && value_is_array(b))
        return false;
    if (value_is_array(a)) {
        for (uint32_t i = 0; i < a.array.count; i++)
            if (compare_scalars(op, a.array.items[i], b, regex))
                return true;
        return false;
    }
    if (value_is_array(b)) {
        for (uint32_t i = 0; i < b.array.count; i++)
            if (compare_scalars(op, a, b.array.items[i], regex))
                return true;
        return false;
    }
    return compare_scalars(op, a, b, regex);
}

/* Wrapping power of integers; a negative exponent truncates to 0, 1 or -1 as division would. */
static struct value int_power(int64_t base, int64_t exponent)
{
    if (exponent < 0) {
        if (base == 0)
            return VALUE_NONE;
        if (base == 1)
            return value_int(1);
        return base == -1 ? value_int((exponent & 1) != 0 ? -1 : 1) : value_int(0);
    }
    uint64_t r = 1;
    for (uint64_t b = (uint64_t)base, n = (uint64_t)exponent; n != 0; n >>= 1, b *= b)
        if ((n & 1) != 0)
            r *= b;
    return value_int((int64_t)r);
}

static struct value int_arithmetic(enum ql_op op, int64_t a, int64_t b)
{
    uint64_t x = (uint64_t)a, y = (uint64_t)b;

    switch ((int)op) {
    case QL_ADD: return value_int((int64_t)(x + y));
    case QL_SUB: return value_int((int64_t)(x - y));
    case QL_MUL: return value_int((int64_t)(x * y));
    case QL_POW: return int_power(a, b);
    case QL_DIV:
        if (b == 0)
            return VALUE_NONE;
        return b == -1 ? value_int((int64_t)(0 - x)) : value_int(a / b);
    case QL_MOD:
        if (b == 0)
            return VALUE_NONE;
        return b == -1 ? value_int(0) : value_int(a % b);
    default: return VALUE_NONE;
    }
}

static struct value arithmetic(enum ql_op op, struct value a, struct value b)
{
    if (!is_number(a.type) || !is_number(b.type))
        return VALUE_NONE;
    if (a.type == VALUE_INT && b.type == VALUE_INT)
        return int_arithmetic(op, a.i, b.i);
    double x = as_double(a), y = as_double(b);
    switch ((int)op) {
    case QL_ADD: return value_float(x + y);
    case QL_SUB: return value_float(x - y);
    case QL_MUL: return value_float(x * y);
    case QL_DIV: return value_float(x / y);
    case QL_MOD: return value_float(fmod(x, y));
    case QL_POW: return value_float(pow(x, y));
    default: return VALUE_NONE;
    }
}

struct value eval_value_binary(enum ql_op op, struct value a, struct value b,
                               const struct ql_regex *regex)
{
    if (op >= QL_ADD && op <= QL_POW)
        return arithmetic(op, a, b);
    assert(op >= QL_EQ);
    assert(op <= QL_NOT_REGEX);
    return value_bool(compare(op, a, b, regex));
}

bool eval_value_equal(struct value a, struct value b)
{
    return eval_value_order(a, b) == 0;
}

int eval_value_order(struct value a, struct value b)
{
    if (a.type != b.type)
        return a.type < b.type ? -1 : 1;
    if (a.type == VALUE_NIL)
        return 0;
    if (a.type == VALUE_STRING)
        return slice_cmp(a.s, b.s);
    if (a.type == VALUE_FLOAT) {
        if (a.f < b.f || a.f > b.f)
            return a.f < b.f ? -1 : 1;
        if (a.f == b.f)
            return 0;
        return (a.f != a.f) - (b.f != b.f); /* NaN is one value, above all */
    }
    if (!value_is_array(a))
        return (a.i > b.i) - (a.i < b.i);
    for (uint32_t i = 0; i < a.array.count && i < b.array.count; i++) {
        int c = eval_value_order(a.array.items[i], b.array.items[i]);
        if (c != 0)
            return c;
    }
    return (a.array.count > b.array.count) - (a.array.count < b.array.count);
}

static struct value scalar_of(const struct otlp_value *v)
{
    switch (v->kind) {
    case OTLP_STR: return value_string(v->bytes);
    case OTLP_BOOL: return value_bool(v->i != 0);
    case OTLP_INT: return value_int(v->i);
    case OTLP_DOUBLE: return value_float(v->d);
    case OTLP_EMPTY:
    case OTLP_ARRAY:
    case OTLP_KVLIST:
    case OTLP_BYTES: break;
    }
    return VALUE_NONE;
}

static enum value_type array_of(enum value_type t)
{
    switch ((int)t) {
    case VALUE_INT: return VALUE_INT_ARRAY;
    case VALUE_FLOAT: return VALUE_FLOAT_ARRAY;
    case VALUE_STRING: return VALUE_STRING_ARRAY;
    case VALUE_BOOL: return VALUE_BOOL_ARRAY;
    default: return VALUE_NIL;
    }
}

struct value eval_value_decode(struct arena *a, struct slice any_value)
{
    struct otlp_value v, item;
    struct otlp_field_iter it;
    struct slice body;
    uint32_t count = 0;

    otlp_value_parse(any_value, &v);
    if (v.kind != OTLP_ARRAY)
        return scalar_of(&v);
    for (otlp_fields_init(&it, v.bytes, 1); otlp_next_field(&it, &body);)
        count++;
    if (count == 0 || count > ARRAY_ITEMS_MAX)
        return VALUE_NONE;
    struct value *items = ARENA_ARRAY(a, struct value, count);
    if (items == NULL)
        return VALUE_NONE;
    uint32_t n = 0;
    for (otlp_fields_init(&it, v.bytes, 1); n < count && otlp_next_field(&it, &body);) {
        otlp_value_parse(body, &item);
        items[n] = scalar_of(&item);
        if (items[n].type == VALUE_NIL || items[n].type != items[0].type)
            return VALUE_NONE;
        n++;
    }
    assert(n == count);
    if (n == 1)
        return items[0];
    struct value r = {.type = array_of(items[0].type)};
    r.array.items = items;
    r.array.count = n;
    return r;
}

/* First position whose row is not below `row`, starting from where the last look-up ended. */
static uint32_t column_seek(const struct seg_column *c, uint32_t *cursor, uint32_t row)
{
    uint32_t at = *cursor;

    if (at < c->count && c->rows[at] <= row) {
        for (uint32_t step = 0; step < 8 && at < c->count && c->rows[at] < row; step++)
            at++;
    }
    bool is_here = at < c->count && c->rows[at] >= row && (at == 0 || c->rows[at - 1] < row);
    if (!is_here) {
        uint32_t low = 0, high = c->count;
        while (low < high) {
            uint32_t mid = low + (high - low) / 2;
            if (c->rows[mid] < row)
                low = mid + 1;
            else
                high = mid;
        }
        at = low;
    }
    *cursor = at;
    return at;
}

static struct value column_value(const struct eval_source *src, uint32_t column, uint32_t at)
{
    const struct seg_column *c = &src->columns[column];

    switch (c->type) {
    case SEG_STR: return value_string(c->values[c->codes[at]]);
    case SEG_INT: return value_int(c->ints[at]);
    case SEG_DOUBLE: return value_float(c->doubles[at]);
    case SEG_BOOL: return value_bool(c->bools[at] != 0);
    case SEG_ANY: return src->decoded[column][c->codes[at]];
    case SEG_TYPE_COUNT: break;
    }
    return VALUE_NONE;
}

static bool columns_each(struct eval_source *src, uint32_t row, eval_value_fn *fn, void *arg)
{
    bool has_text = false;

    for (uint32_t k = 0; k < src->column_count; k++) {
        const struct seg_column *c = &src->columns[k];
        for (uint32_t at = column_seek(c, &src->cursors[k], row);
             at < c->count && c->rows[at] == row; at++) {
            struct value v = column_value(src, k, at);
            if (v.type == VALUE_NIL)
                continue;
            has_text |= v.type == VALUE_STRING;
            if (fn(arg, v))
                return true;
        }
    }
    if (src->has_default && !has_text)
        return fn(arg, value_string(SLICE_LIT("")));
    return false;
}

static struct value id_value(struct eval *e, const struct eval_source *src, uint32_t row)
{
    char *text = e->id_text[e->id_next++ % 8];

    if (src->kind == EVAL_SPAN_ID) {
        struct span_id id;
        memcpy(&id, &src->span_ids[row], sizeof id);
        span_id_to_hex(id, text);
        return value_string((struct slice){(const uint8_t *)text, SPAN_ID_HEX});
    }
    trace_id_to_hex(src->trace_ids[row], text);
    size_t skip = 0;
    while (src->is_short_id && skip < TRACE_ID_HEX - 1 && text[skip] == '0')
        skip++;
    return value_string((struct slice){(const uint8_t *)text + skip, TRACE_ID_HEX - skip});
}

bool eval_value_each(struct eval *e, struct eval_source *src, uint32_t row, eval_value_fn *fn,
                     void *arg)
{
    if (row == EVAL_NO_ROW)
        return false;
    assert(row < src->rows);
    switch (src->kind) {
    case EVAL_COLUMNS: return columns_each(src, row, fn, arg);
    case EVAL_CODES: return fn(arg, value_string(src->text[src->codes[row]]));
    case EVAL_TEXTS: return fn(arg, value_string(src->text[row]));
    case EVAL_U8: return fn(arg, (struct value){.type = src->type, .i = src->u8[row]});
    case EVAL_I64: return fn(arg, (struct value){.type = src->type, .i = src->i64[row]});
    case EVAL_SPAN_ID:
    case EVAL_TRACE_ID: return fn(arg, id_value(e, src, row));
    }
    return false;
}

static bool take_first(void *arg, struct value v)
{
    *(struct value *)arg = v;
    return true;
}

struct value eval_value_first(struct eval *e, struct eval_source *src, uint32_t row)
{
    struct value v = VALUE_NONE;

    (void)eval_value_each(e, src, row, take_first, &v);
    return v;
}

uint32_t eval_value_row(const struct eval *e, const struct eval_source *src, struct eval_at at)
{
    switch (src->table) {
    case SEG_SPAN: return at.span;
    case SEG_RESOURCE: return e->fixed.resource[at.span];
    case SEG_SCOPE: return e->fixed.scope[at.span];
    case SEG_EVENT: return at.event;
    case SEG_LINK: return at.link;
    default: assert(src->table == EVAL_TRACE); return e->fixed.trace[at.span];
    }
}

static bool pred_stop(void *arg, struct value v)
{
    return eval_value_matches(arg, v);
}

static bool compare_at(struct eval *e, const struct eval_node *n, struct eval_at at)
{
    struct eval_pred p = n->pred;

    for (int i = 0; i < 2 && n->sources[i] != NULL; i++) {
        uint32_t row = eval_value_row(e, n->sources[i], at);
        if (eval_value_each(e, n->sources[i], row, pred_stop, &p))
            return true;
        if (i == 0 && n->sources[1] != NULL &&
            eval_value_first(e, n->sources[0], row).type != VALUE_NIL)
            return false; /* the span's hides the resource's */
    }
    return false;
}

static struct value attribute_at(struct eval *e, const struct eval_node *n, struct eval_at at)
{
    struct value v = VALUE_NONE;

    for (int i = 0; i < 2 && n->sources[i] != NULL && v.type == VALUE_NIL; i++)
        v = eval_value_first(e, n->sources[i], eval_value_row(e, n->sources[i], at));
    return v;
}

/* The key is there, with whatever value. */
static bool has_key(struct eval *e, const struct eval_node *n, struct eval_at at)
{
    for (int i = 0; i < 2 && n->sources[i] != NULL; i++) {
        struct eval_source *src = n->sources[i];
        uint32_t row = eval_value_row(e, src, at);
        if (row != EVAL_NO_ROW && (src->kind != EVAL_COLUMNS || src->has_default))
            return true;
        for (uint32_t k = 0; row != EVAL_NO_ROW && k < src->column_count; k++) {
            const struct seg_column *c = &src->columns[k];
            uint32_t at_row = column_seek(c, &src->cursors[k], row);
            if (at_row < c->count && c->rows[at_row] == row)
                return true;
        }
    }
    return false;
}

static struct value generic_at(struct eval *e, const struct eval_node *n, struct eval_at at)
{
    struct value a = eval_value_at(e, n->left, at);

    if (n->op == QL_NEG) {
        if (a.type == VALUE_FLOAT)
            return value_float(-a.f);
        if (is_number(a.type))
            return (struct value){.type = a.type, .i = (int64_t)(0 - (uint64_t)a.i)};
        return VALUE_NONE;
    }
    if (n->op == QL_EXISTS || n->op == QL_NOT_EXISTS)
        return value_bool((a.type != VALUE_NIL) == (n->op == QL_EXISTS));
    return eval_value_binary(n->op, a, eval_value_at(e, n->right, at), n->regex);
}

struct value eval_value_at(struct eval *e, const struct eval_node *n, struct eval_at at)
{
    bool is_bound = ((n->deps & EVAL_EVENT) == 0 || at.event != EVAL_NO_ROW) &&
                    ((n->deps & EVAL_LINK) == 0 || at.link != EVAL_NO_ROW);

    switch (n->kind) {
    case EVAL_CONST: return n->value;
    case EVAL_ATTRIBUTE: return attribute_at(e, n, at);
    case EVAL_COMPARE: return value_bool(compare_at(e, n, at));
    case EVAL_EXISTS: return value_bool(attribute_at(e, n, at).type != VALUE_NIL);
    case EVAL_NOT_EXISTS: return value_bool(is_bound && !has_key(e, n, at));
    case EVAL_AND:
        return value_bool(eval_value_true(e, n->left, at) && eval_value_true(e, n->right, at));
    case EVAL_OR:
        return value_bool(eval_value_true(e, n->left, at) || eval_value_true(e, n->right, at));
    case EVAL_NOT: return value_bool(!eval_value_true(e, n->left, at));
    case EVAL_GENERIC: return generic_at(e, n, at);
    }
    return VALUE_NONE;
}

bool eval_value_true(struct eval *e, const struct eval_node *n, struct eval_at at)
{
    struct value v = eval_value_at(e, n, at);

    return v.type == VALUE_BOOL && v.i != 0;
}
