#include "common/query/ql_fold.h"

#include "common/query/regex.h"

#include <assert.h>
#include <math.h>

enum ql_type ql_fold_type_of_value(struct value v)
{
    assert(!value_is_array(v));
    switch (v.type) {
    case VALUE_INT: return QL_TYPE_INT;
    case VALUE_FLOAT: return QL_TYPE_FLOAT;
    case VALUE_STRING: return QL_TYPE_STRING;
    case VALUE_BOOL: return QL_TYPE_BOOL;
    case VALUE_DURATION: return QL_TYPE_DURATION;
    case VALUE_STATUS: return QL_TYPE_STATUS;
    case VALUE_KIND: return QL_TYPE_KIND;
    case VALUE_NIL:
    case VALUE_INT_ARRAY:
    case VALUE_FLOAT_ARRAY:
    case VALUE_STRING_ARRAY:
    case VALUE_BOOL_ARRAY: break;
    }
    return QL_TYPE_NIL;
}

bool ql_fold_is_numeric(enum ql_type t)
{
    return t == QL_TYPE_INT || t == QL_TYPE_FLOAT || t == QL_TYPE_DURATION;
}

bool ql_fold_types_meet(enum ql_type a, enum ql_type b)
{
    return a == QL_TYPE_ANY || b == QL_TYPE_ANY || a == b || a == QL_TYPE_NIL || b == QL_TYPE_NIL ||
           (ql_fold_is_numeric(a) && ql_fold_is_numeric(b));
}

static bool is_equality(enum ql_op op)
{
    return op == QL_EQ || op == QL_NE || op == QL_EXISTS || op == QL_NOT_EXISTS;
}

static bool is_order(enum ql_op op)
{
    return op == QL_LT || op == QL_LE || op == QL_GT || op == QL_GE;
}

static bool is_arithmetic(enum ql_op op)
{
    return op >= QL_ADD && op <= QL_POW;
}

bool ql_fold_is_boolean_op(enum ql_op op)
{
    return (op >= QL_EQ && op <= QL_NOT) || op == QL_EXISTS || op == QL_NOT_EXISTS;
}

bool ql_fold_op_fits(enum ql_op op, enum ql_type t)
{
    if (op == QL_EXISTS || op == QL_NOT_EXISTS)
        return true;
    switch (t) {
    case QL_TYPE_ANY: return true;
    case QL_TYPE_INT:
    case QL_TYPE_FLOAT:
    case QL_TYPE_DURATION:
        return is_equality(op) || is_order(op) || is_arithmetic(op) || op == QL_NEG;
    case QL_TYPE_STRING:
        return is_equality(op) || is_order(op) || op == QL_REGEX || op == QL_NOT_REGEX;
    case QL_TYPE_BOOL: return is_equality(op) || op == QL_AND || op == QL_OR || op == QL_NOT;
    case QL_TYPE_NIL:
    case QL_TYPE_STATUS:
    case QL_TYPE_KIND: return is_equality(op);
    }
    return false;
}

static double as_double(struct value v)
{
    return v.type == VALUE_FLOAT ? v.f : (double)v.i;
}

static bool compare_result(enum ql_op op, int order)
{
    switch ((int)op) {
    case QL_EQ: return order == 0;
    case QL_NE: return order != 0;
    case QL_LT: return order < 0;
    case QL_LE: return order <= 0;
    case QL_GT: return order > 0;
    default: assert(op == QL_GE); return order >= 0;
    }
}

static bool fold_compare(enum ql_op op, struct value a, struct value b)
{
    int order;

    if (a.type == VALUE_STRING) {
        order = slice_cmp(a.s, b.s);
    } else if (a.type == b.type && a.type != VALUE_FLOAT) {
        order = a.i < b.i ? -1 : a.i > b.i;
    } else {
        double x = as_double(a), y = as_double(b);
        order = x < y ? -1 : x > y;
    }
    return compare_result(op, order);
}

static int64_t int_power(int64_t base, int64_t exponent)
{
    uint64_t result = 1, factor = (uint64_t)base;

    if (exponent < 0) /* as truncating division would have it */
        return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
    for (; exponent != 0; exponent >>= 1) {
        if (exponent & 1)
            result *= factor;
        factor *= factor;
    }
    return (int64_t)result;
}

/* Wraps on overflow.  False: division by zero. */
static bool fold_ints(enum ql_op op, int64_t a, int64_t b, int64_t *ret)
{
    uint64_t x = (uint64_t)a, y = (uint64_t)b;

    switch ((int)op) {
    case QL_ADD: *ret = (int64_t)(x + y); return true;
    case QL_SUB: *ret = (int64_t)(x - y); return true;
    case QL_MUL: *ret = (int64_t)(x * y); return true;
    case QL_POW:
        if (a == 0 && b < 0)
            return false;
        *ret = int_power(a, b);
        return true;
    default: break;
    }
    assert(op == QL_DIV || op == QL_MOD);
    if (b == 0)
        return false;
    if (b == -1) /* INT64_MIN / -1 */
        *ret = op == QL_DIV ? (int64_t)(0 - x) : 0;
    else
        *ret = op == QL_DIV ? a / b : a % b;
    return true;
}

static double fold_doubles(enum ql_op op, double x, double y)
{
    switch ((int)op) {
    case QL_ADD: return x + y;
    case QL_SUB: return x - y;
    case QL_MUL: return x * y;
    case QL_DIV: return x / y;
    case QL_MOD: return fmod(x, y);
    default: assert(op == QL_POW); return pow(x, y);
    }
}

static bool fold_arithmetic(enum ql_op op, struct value a, struct value b, struct value *ret)
{
    if (a.type == VALUE_INT && b.type == VALUE_INT) {
        int64_t i;
        if (!fold_ints(op, a.i, b.i, &i))
            return false;
        *ret = value_int(i);
        return true;
    }
    double f = fold_doubles(op, as_double(a), as_double(b));
    if (!isfinite(f)) /* has no spelling */
        return false;
    *ret = value_float(f);
    return true;
}

static bool fold_regex(enum ql_op op, struct value a, struct value b, struct value *ret)
{
    struct ql_regex *regex;

    if (regex_compile(b.s, &regex, NULL) != ERR_OK)
        return false; /* the checker compiles it again and says what is wrong */
    *ret = value_bool(regex_match(regex, a.s) == (op == QL_REGEX));
    regex_free(regex);
    return true;
}

bool ql_fold_binary(enum ql_op op, struct value a, struct value b, struct value *ret)
{
    enum ql_type x = ql_fold_type_of_value(a), y = ql_fold_type_of_value(b);

    if (!ql_fold_types_meet(x, y) || !ql_fold_op_fits(op, x) || !ql_fold_op_fits(op, y))
        return false;
    if (a.type == VALUE_NIL || b.type == VALUE_NIL)
        return false;
    if (is_arithmetic(op))
        return fold_arithmetic(op, a, b, ret);
    if (op == QL_REGEX || op == QL_NOT_REGEX)
        return fold_regex(op, a, b, ret);
    if (op == QL_AND || op == QL_OR)
        *ret = value_bool(op == QL_AND ? (a.i & b.i) != 0 : (a.i | b.i) != 0);
    else
        *ret = value_bool(fold_compare(op, a, b));
    return true;
}

bool ql_fold_unary(enum ql_op op, struct value a, struct value *ret)
{
    if (!ql_fold_op_fits(op, ql_fold_type_of_value(a)))
        return false;
    if (op == QL_NOT) {
        *ret = value_bool(a.i == 0);
        return true;
    }
    if (op != QL_NEG)
        return false;
    *ret = a;
    if (a.type == VALUE_FLOAT)
        ret->f = -a.f;
    else
        ret->i = (int64_t)(0 - (uint64_t)a.i);
    return true;
}

enum err ql_fold_scalar(enum ql_op op, struct value a, struct value b, struct value *ret,
                        const char **ret_reason)
{
    assert(op == QL_ADD || op == QL_SUB || op == QL_MUL || op == QL_DIV);
    if (a.type == VALUE_DURATION || b.type == VALUE_DURATION)
        *ret_reason = "duration cannot be used in scalar arithmetic";
    else if (fold_arithmetic(op, a, b, ret))
        return ERR_OK;
    else if (op == QL_DIV && as_double(b) == 0)
        *ret_reason = "division by zero";
    else
        *ret_reason = "value out of range";
    return ERR_INVALID;
}
