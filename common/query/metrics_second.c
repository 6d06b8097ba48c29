/* What is done to finished series: topk, bottomk, comparison with a number; their order. */
#include "common/query/metrics_priv.h"

#include <assert.h>
#include <math.h>

static int u64_cmp(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static uint64_t value_bits(struct value v)
{
    uint64_t bits = 0;

    if (!value_is_array(v))
        memcpy(&bits, &v.i, sizeof bits);
    return v.type == VALUE_NIL ? 0 : bits;
}

/* Strings before other values; of these the larger bits first, as Tempo breaks its ties. */
static int value_order(struct value x, struct value y)
{
    bool is_text_x = x.type == VALUE_STRING, is_text_y = y.type == VALUE_STRING;

    if (is_text_x != is_text_y)
        return is_text_x ? -1 : 1;
    if (is_text_x)
        return slice_cmp(x.s, y.s);
    int c = -u64_cmp(value_bits(x), value_bits(y));
    return c != 0 ? c : eval_value_order(x, y);
}

static int label_order(const struct metrics_series *x, const struct metrics_series *y)
{
    for (uint32_t i = 0; i < x->label_count && i < y->label_count; i++) {
        int c = slice_cmp(x->labels[i].key, y->labels[i].key);
        if (c == 0)
            c = value_order(x->labels[i].value, y->labels[i].value);
        if (c != 0)
            return c;
    }
    return (x->label_count > y->label_count) - (x->label_count < y->label_count);
}

struct ranked {
    double value;
    const struct metrics_series *series;
    uint32_t index;
};

/* The smaller value first; of equal ones the one whose labels come last. */
static int ranked_cmp(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return label_order(y->series, x->series);
}

/* At each interval the points of all but `limit` series go. */
static enum err keep_extremes(struct arena *a, bool is_top, int64_t limit, struct metrics_result *r)
{
    struct ranked *list = ARENA_ARRAY(a, struct ranked, r->count);

    if (list == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < r->interval_count; i++) {
        uint32_t n = 0;
        for (uint32_t s = 0; s < r->count; s++)
            if (!isnan(r->series[s].points[i]))
                list[n++] = (struct ranked){r->series[s].points[i], &r->series[s], s};
        if (n <= limit)
            continue;
        qsort(list, n, sizeof list[0], ranked_cmp);
        uint32_t keep = (uint32_t)limit, from = is_top ? 0 : keep, to = is_top ? n - keep : n;
        for (uint32_t k = from; k < to; k++)
            r->series[list[k].index].points[i] = NAN;
    }
    return ERR_OK;
}

static bool holds(enum ql_op op, double x, double y)
{
    switch ((int)op) {
    case QL_EQ: return x == y;
    case QL_NE: return x != y;
    case QL_LT: return x < y;
    case QL_LE: return x <= y;
    case QL_GT: return x > y;
    case QL_GE: return x >= y;
    default: return false;
    }
}

static void keep_compared(const struct ql_second *second, struct metrics_result *r)
{
    struct value v = second->value;
    double number = v.type == VALUE_FLOAT ? v.f : (double)v.i;

    if (v.type == VALUE_DURATION)
        number /= 1e9;
    for (uint32_t s = 0; s < r->count; s++)
        for (uint32_t i = 0; i < r->interval_count; i++) {
            double *point = &r->series[s].points[i];
            if (isnan(*point) || !holds(second->op, *point, number))
                *point = NAN;
        }
}

void metrics_second_drop_empty(struct metrics_result *r)
{
    uint32_t n = 0;

    for (uint32_t s = 0; s < r->count; s++) {
        uint32_t i = 0;
        while (i < r->interval_count && isnan(r->series[s].points[i]))
            i++;
        if (i < r->interval_count)
            r->series[n++] = r->series[s];
    }
    r->count = n;
}

enum err metrics_second_run(struct arena *a, const struct ql_second *second,
                            struct metrics_result *r)
{
    enum err err = ERR_OK;

    if (second->kind == QL_SECOND_COMPARE)
        keep_compared(second, r);
    else
        err = keep_extremes(a, second->kind == QL_SECOND_TOPK, second->limit, r);
    metrics_second_drop_empty(r);
    return err;
}
