#include "common/query/engine_pipeline.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

struct eval_at engine_aggregate_at(const struct eval *e, const struct eval_node *n, uint32_t row)
{
    struct eval_at at = {row, EVAL_NO_ROW, EVAL_NO_ROW};

    if ((n->deps & EVAL_EVENT) != 0 && e->first[0][row] != e->first[0][row + 1])
        at.event = e->list[0][e->first[0][row]];
    if ((n->deps & EVAL_LINK) != 0 && e->first[1][row] != e->first[1][row + 1])
        at.link = e->list[1][e->first[1][row]];
    return at;
}

static double number(struct value v)
{
    return v.type == VALUE_FLOAT ? v.f : (double)v.i;
}

/* The numeric values of the spans; others do not count. */
static uint32_t numbers(struct eval *e, const struct eval_node *argument,
                        const struct engine_spanset *set, struct value *ret)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < set->count; i++) {
        struct value v = eval_value_at(e, argument, engine_aggregate_at(e, argument, set->rows[i]));
        if (v.type == VALUE_INT || v.type == VALUE_FLOAT || v.type == VALUE_DURATION)
            ret[n++] = v;
    }
    return n;
}

/* Of 3 and 3.0 the int, whichever came first. */
static struct value extreme(const struct value *v, uint32_t n, enum ql_op op)
{
    struct value best = v[0];

    for (uint32_t i = 1; i < n; i++) {
        bool is_better = eval_value_binary(op, v[i], best, NULL).i != 0 ||
                         (best.type == VALUE_FLOAT && isnan(best.f));
        bool is_tie = v[i].type < best.type && number(v[i]) == number(best);
        if (is_better || is_tie)
            best = v[i];
    }
    return best;
}

static struct value sum_or_avg(const struct value *v, uint32_t n, bool is_avg)
{
    __extension__ __int128 whole = 0;
    double sum = 0, lost = 0; /* Kahan */
    bool is_one_type = v[0].type != VALUE_FLOAT;

    for (uint32_t i = 0; i < n; i++) {
        is_one_type = is_one_type && v[i].type == v[0].type;
        if (is_one_type)
            whole += v[i].i;
        double y = number(v[i]) - lost, t = sum + y;
        lost = isfinite(t) ? (t - sum) - y : 0;
        sum = t;
    }
    if (!is_one_type)
        return value_float(is_avg ? sum / n : sum);
    if (is_avg && v[0].type == VALUE_INT)
        return value_float((double)whole / n);
    if (is_avg)
        whole /= n;
    return (struct value){.type = v[0].type, .i = (int64_t)whole};
}

/* NaN (0 % 0) below all numbers: an order for every list, whatever the order of its rows. */
static int by_number(const void *a, const void *b)
{
    double x = number(*(const struct value *)a), y = number(*(const struct value *)b);

    if (isnan(x) || isnan(y))
        return !!isnan(y) - !!isnan(x);
    return (x > y) - (x < y);
}

/* Linear interpolation between the neighbours of rank q(n - 1). */
static struct value quantile_of(struct value *v, uint32_t n, double q)
{
    bool is_duration = true;

    for (uint32_t i = 0; i < n; i++)
        is_duration = is_duration && v[i].type == VALUE_DURATION;
    qsort(v, n, sizeof v[0], by_number);
    double h = q * (n - 1), low = floor(h);
    uint32_t at = low >= n - 1 ? n - 1 : (uint32_t)low, next = at + 1 < n ? at + 1 : at;
    double r = number(v[at]) + (h - low) * (number(v[next]) - number(v[at]));
    return is_duration ? value_duration((int64_t)r) : value_float(r);
}

static int by_value(const void *a, const void *b)
{
    return eval_value_order(*(const struct value *)a, *(const struct value *)b);
}

/* How many different values there are, of any type; spans without one do not count, so 0 is an answer. */
static struct value distinct(struct eval *e, const struct eval_node *argument, struct arena *a,
                             const struct engine_spanset *set)
{
    struct value *v = ARENA_ARRAY(a, struct value, set->count);
    uint32_t n = 0;
    int64_t count = 0;

    for (uint32_t i = 0; v != NULL && i < set->count; i++) {
        struct value one =
            eval_value_at(e, argument, engine_aggregate_at(e, argument, set->rows[i]));
        if (one.type == VALUE_NIL)
            continue;
        if (one.type == VALUE_STRING)
            one.s = arena_dup(a, one.s); /* ids are text in passing */
        v[n++] = one;
    }
    if (arena_err(a) != ERR_OK)
        return VALUE_NONE;
    qsort(v, n, sizeof v[0], by_value);
    for (uint32_t i = 0; i < n; i++)
        count += i == 0 || !eval_value_equal(v[i - 1], v[i]);
    return value_int(count);
}

struct value engine_aggregate(struct eval *e, enum ql_aggregate kind,
                              const struct eval_node *argument, double quantile, struct arena *a,
                              const struct engine_spanset *set)
{
    assert(set->count > 0);
    if (kind == QL_COUNT)
        return value_int(set->count);
    assert(argument != NULL);
    if (kind == QL_COUNT_DISTINCT)
        return distinct(e, argument, a, set);
    struct value *v = ARENA_ARRAY(a, struct value, set->count);
    uint32_t n = v == NULL ? 0 : numbers(e, argument, set, v);
    if (n == 0)
        return VALUE_NONE;
    switch (kind) {
    case QL_MIN: return extreme(v, n, QL_LT);
    case QL_MAX: return extreme(v, n, QL_GT);
    case QL_SUM: return sum_or_avg(v, n, false);
    case QL_AVG: return sum_or_avg(v, n, true);
    case QL_QUANTILE: return quantile_of(v, n, quantile);
    case QL_COUNT:
    case QL_COUNT_DISTINCT: break;
    }
    return VALUE_NONE;
}
