/* Parts into series: the values of a function, then arithmetic between queries. */
#include "common/query/metrics_priv.h"

#include <assert.h>
#include <math.h>

enum { NAME_BYTES_MAX = 1 << 17 };
static const char NAME[] = "__name__";

static const char *function_name(enum ql_metrics_fn fn)
{
    switch (fn) {
    case QL_M_RATE: return "rate";
    case QL_M_COUNT: return "count_over_time";
    case QL_M_MIN: return "min_over_time";
    case QL_M_MAX: return "max_over_time";
    case QL_M_SUM: return "sum_over_time";
    case QL_M_AVG: return "avg_over_time";
    case QL_M_HISTOGRAM: return "histogram_over_time";
    case QL_M_QUANTILE: return "quantile_over_time";
    case QL_M_COMPARE: return "compare";
    case QL_M_NONE: break;
    }
    return "";
}

/* One leaf being finished. */
struct finish {
    struct metrics_part *p;
    struct arena *a;
    struct slice *names; /* of by() */
    double unit;         /* values are given in it: durations in seconds */
    double range_s;
    struct metrics_result out;
    uint32_t room;
};

/* In seconds: the span's duration always; of the other durations only what is put into bins and buckets, as Tempo does. */
static double unit_of(const struct ql_metrics *m)
{
    enum ql_intrinsic i = m->argument.intrinsic;
    bool is_binned = m->fn == QL_M_HISTOGRAM || m->fn == QL_M_QUANTILE;
    bool is_duration = i == QL_I_TRACE_DURATION || i == QL_I_EVENT_TIME_SINCE_START;

    return i == QL_I_DURATION || (is_binned && is_duration) ? 1e9 : 1;
}

static double in_unit(const struct finish *f, double v)
{
    return v / f->unit;
}

static enum err names_bind(struct finish *f)
{
    const struct ql_metrics *m = f->p->leaf;
    struct buf text;
    enum err err = ERR_OK;

    f->names = ARENA_ARRAY(f->a, struct slice, m->by_count);
    buf_init(&text, NAME_BYTES_MAX);
    for (uint32_t i = 0; f->names != NULL && i < m->by_count; i++) {
        buf_reset(&text);
        ql_dump_attribute(&text, &m->by[i]);
        f->names[i] = arena_dup(f->a, buf_slice(&text));
        err = err == ERR_OK ? buf_err(&text) : err;
    }
    buf_release(&text);
    return err != ERR_OK ? err : arena_err(f->a);
}

static void label_add(struct metrics_series *s, struct slice key, struct value v)
{
    s->labels[s->label_count++] = (struct result_attribute){key, v};
}

/* A series of the row with its labels and `fill` at every interval; `extra`: of the function, its key empty for none. */
static struct metrics_series *series_new(struct finish *f, const struct metrics_row *row,
                                         struct result_attribute extra, double fill)
{
    const struct ql_metrics *m = f->p->leaf;
    struct metrics_series *s = &f->out.series[f->out.count];

    assert(f->out.count < f->room);
    *s = (struct metrics_series){
        .labels = ARENA_ARRAY(f->a, struct result_attribute, (size_t)m->by_count + 2),
        .points = ARENA_ARRAY(f->a, double, f->p->w.count)};
    if (s->labels == NULL || s->points == NULL)
        return NULL;
    for (uint32_t i = 0; i < f->p->w.count; i++)
        s->points[i] = fill;
    for (uint32_t i = 0; row != NULL && i < m->by_count; i++)
        if (row->key[i].type != VALUE_NIL)
            label_add(s, f->names[i], row->key[i]);
    if (s->label_count == 0 && m->by_count != 0)
        label_add(s, f->names[0], VALUE_NONE);
    if (extra.key.len != 0)
        label_add(s, extra.key, extra.value);
    if (s->label_count == 0)
        label_add(s, slice_str(NAME), value_string(slice_str(function_name(m->fn))));
    f->out.count++;
    return s;
}

static enum err finish_counts(struct finish *f, const struct metrics_row *row)
{
    const struct ql_metrics *m = f->p->leaf;
    struct result_attribute extra = {.key = SLICE_LIT("")};

    if (m->fn == QL_M_HISTOGRAM) {
        int64_t power = row->key[m->by_count].i;
        double bound = ldexp(1, power > INT16_MAX ? INT16_MAX : (int)power);
        extra = (struct result_attribute){SLICE_LIT("__bucket"), value_float(in_unit(f, bound))};
    }
    struct metrics_series *s = series_new(f, row, extra, 0);
    if (s == NULL)
        return arena_err(f->a);
    double per = m->fn == QL_M_RATE ? f->range_s : 1;
    for (uint32_t i = 0; row != NULL && i < f->p->w.count; i++)
        s->points[i] = (double)row->counts[i] / per;
    return row == NULL ? ERR_OK : metrics_example_give(f->p, f->a, row, 1, s);
}

static enum err finish_numbers(struct finish *f, const struct metrics_row *row)
{
    struct metrics_series *s =
        series_new(f, row, (struct result_attribute){.key = SLICE_LIT("")}, NAN);

    if (s == NULL)
        return arena_err(f->a);
    for (uint32_t i = 0; i < f->p->w.count; i++) {
        if (f->p->cells == METRICS_EXTREMES) {
            s->points[i] = in_unit(f, row->extremes[i]);
            continue;
        }
        const struct metrics_sum *sum = &row->sums[i];
        double v = sum->high + sum->low;
        if (sum->count != 0)
            s->points[i] = in_unit(f, f->p->leaf->fn == QL_M_AVG ? v / (double)sum->count : v);
    }
    return metrics_example_give(f->p, f->a, row, f->unit, s);
}

/* The bin that holds the value of rank ceil(q * total), at least the first. */
static double quantile_of(const struct metrics_bin *bins, uint32_t count, double q)
{
    uint64_t total = 0, running = 0;

    for (uint32_t i = 0; i < count; i++)
        total += bins[i].count;
    double rank = ceil(q * (double)total - 1e-9); /* 0.07 * 100 is a little more than 7 */
    uint64_t need = rank < 1 ? 1 : (uint64_t)rank;
    for (uint32_t i = 0; i < count; i++) {
        running += bins[i].count;
        if (running >= need)
            return metrics_part_bin_value((uint32_t)bins[i].key);
    }
    return NAN;
}

static enum err finish_quantiles(struct finish *f, const struct metrics_row *row)
{
    const struct ql_metrics *m = f->p->leaf;
    const struct metrics_bin *bins = metrics_part_bins_sorted(f->a, &row->bins);
    enum err err = bins == NULL ? arena_err(f->a) : ERR_OK;

    for (uint32_t k = 0; err == ERR_OK && k < m->quantile_count; k++) {
        struct result_attribute p = {SLICE_LIT("p"), value_float(m->quantiles[k])};
        struct metrics_series *s = series_new(f, row, p, NAN);
        if (s == NULL)
            return arena_err(f->a);
        for (uint32_t i = 0, next; i < row->bins.count; i = next) {
            for (next = i + 1; next < row->bins.count && bins[next].key >> 32 == bins[i].key >> 32;)
                next++;
            s->points[bins[i].key >> 32] =
                in_unit(f, quantile_of(bins + i, next - i, m->quantiles[k]));
        }
        if (k == 0)
            err = metrics_example_give(f->p, f->a, row, f->unit, s);
    }
    return err;
}

static enum err finish_row(struct finish *f, const struct metrics_row *row)
{
    switch (f->p->cells) {
    case METRICS_COUNTS: return finish_counts(f, row);
    case METRICS_SUMS:
    case METRICS_EXTREMES: return finish_numbers(f, row);
    case METRICS_BINS: break;
    }
    return finish_quantiles(f, row);
}

static enum err finish(struct metrics_part *p, struct arena *a, uint64_t range_ns,
                       struct metrics_result *ret)
{
    const struct ql_metrics *m = p->leaf;
    struct finish f = {.p = p,
                       .a = a,
                       .unit = unit_of(m),
                       .range_s = (double)range_ns / 1e9,
                       .out.interval_count = p->w.count};
    bool is_count = m->fn == QL_M_RATE || m->fn == QL_M_COUNT;

    if (m->fn == QL_M_COMPARE)
        return metrics_compare_series(p, a, ret);
    f.room = p->row_count * (m->fn == QL_M_QUANTILE ? m->quantile_count : 1) + 1;
    f.out.series = ARENA_ARRAY(a, struct metrics_series, f.room);
    enum err err = f.out.series == NULL ? arena_err(a) : names_bind(&f);
    for (uint32_t i = 0; err == ERR_OK && i < p->row_count; i++)
        err = finish_row(&f, p->rows[i]);
    if (err == ERR_OK && p->row_count == 0 && is_count && m->by_count == 0)
        err = finish_counts(&f, NULL); /* nothing is a number, too */
    if (err != ERR_OK)
        return err;
    metrics_second_drop_empty(&f.out);
    *ret = f.out;
    return ERR_OK;
}

/* --- arithmetic --- */

struct evaluation {
    struct arena *a;
    struct metrics_part *const *parts;
    uint32_t next; /* leaf */
    uint64_t range_ns;
};

static double calculate(enum ql_op op, double x, double y)
{
    switch ((int)op) {
    case QL_ADD: return x + y;
    case QL_SUB: return x - y;
    case QL_MUL: return x * y;
    case QL_DIV: return y == 0 ? (double)NAN : x / y;
    default: assert(false); return NAN;
    }
}

static bool is_bare(const struct metrics_series *s)
{
    return s->label_count == 1 && slice_eq_str(s->labels[0].key, NAME);
}

static int label_cmp(const void *a, const void *b)
{
    const struct result_attribute *x = a, *y = b;

    return slice_cmp(x->key, y->key);
}

static int series_cmp(const void *a, const void *b)
{
    const struct metrics_series *x = a, *y = b;

    if (x->label_count != y->label_count)
        return x->label_count < y->label_count ? -1 : 1;
    for (uint32_t i = 0; i < x->label_count; i++) {
        int c = slice_cmp(x->labels[i].key, y->labels[i].key);
        if (c == 0)
            c = eval_value_order(x->labels[i].value, y->labels[i].value);
        if (c != 0)
            return c;
    }
    return 0;
}

/* by(a, b) and by(b, a) are the same labels. */
static void sort_labels(struct metrics_result *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        qsort(r->series[i].labels, r->series[i].label_count, sizeof r->series[i].labels[0],
              label_cmp);
    if (r->count > 1)
        qsort(r->series, r->count, sizeof r->series[0], series_cmp);
}

static struct slice operator_text(enum ql_op op)
{
    switch ((int)op) {
    case QL_ADD: return SLICE_LIT(" + ");
    case QL_SUB: return SLICE_LIT(" - ");
    case QL_MUL: return SLICE_LIT(" * ");
    default: return SLICE_LIT(" / ");
    }
}

static enum err join(struct arena *a, enum ql_op op, const struct metrics_series *x,
                     const struct metrics_series *y, struct metrics_result *out)
{
    struct metrics_series *s = &out->series[out->count];
    uint32_t n = x->exemplar_count + y->exemplar_count;

    *s = is_bare(x) ? *y : *x;
    s->points = ARENA_ARRAY(a, double, out->interval_count);
    s->exemplars = ARENA_ARRAY(a, struct metrics_exemplar, n);
    if (s->points == NULL || s->exemplars == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < out->interval_count; i++)
        s->points[i] = calculate(op, x->points[i], y->points[i]);
    for (uint32_t i = 0; i < n; i++)
        s->exemplars[i] =
            i < x->exemplar_count ? x->exemplars[i] : y->exemplars[i - x->exemplar_count];
    s->exemplar_count = n;
    if (is_bare(x) && is_bare(y)) {
        char *name =
            arena_printf(a, "(" SLICE_FMT SLICE_FMT SLICE_FMT ")", SLICE_ARG(x->labels[0].value.s),
                         SLICE_ARG(operator_text(op)), SLICE_ARG(y->labels[0].value.s));
        s->labels = ARENA_NEW(a, struct result_attribute);
        if (name == NULL || s->labels == NULL)
            return arena_err(a);
        *s->labels = (struct result_attribute){slice_str(NAME), value_string(slice_str(name))};
    }
    out->count++;
    return ERR_OK;
}

/* Series with equal labels meet; a side without labels meets all of the other's. */
static enum err combine(struct arena *a, enum ql_op op, struct metrics_result *l,
                        struct metrics_result *r, struct metrics_result *ret)
{
    struct metrics_result out = {.interval_count = l->interval_count};
    bool is_bare_l = l->count == 1 && is_bare(&l->series[0]);
    bool is_bare_r = r->count == 1 && is_bare(&r->series[0]);
    enum err err = ERR_OK;

    assert(l->interval_count == r->interval_count);
    sort_labels(l);
    sort_labels(r);
    out.series = ARENA_ARRAY(a, struct metrics_series, (size_t)l->count + r->count);
    if (out.series == NULL)
        return arena_err(a);
    for (uint32_t i = 0; is_bare_l && err == ERR_OK && i < r->count; i++)
        err = join(a, op, &l->series[0], &r->series[i], &out);
    for (uint32_t i = 0; !is_bare_l && err == ERR_OK && i < l->count; i++) {
        const struct metrics_series *other =
            is_bare_r ? &r->series[0]
            : r->count == 0
                ? NULL
                : bsearch(&l->series[i], r->series, r->count, sizeof r->series[0], series_cmp);
        if (other != NULL)
            err = join(a, op, &l->series[i], other, &out);
    }
    metrics_second_drop_empty(&out);
    *ret = out;
    return err;
}

static bool is_number(const struct ql_metrics *m)
{
    return m->op == QL_OP_NONE && m->pipeline == NULL;
}

static void combine_number(enum ql_op op, double number, bool is_left, struct metrics_result *r)
{
    for (uint32_t s = 0; s < r->count; s++)
        for (uint32_t i = 0; i < r->interval_count; i++) {
            double *p = &r->series[s].points[i];
            *p = is_left ? calculate(op, number, *p) : calculate(op, *p, number);
        }
    metrics_second_drop_empty(r);
}

static double number_of(const struct ql_metrics *m)
{
    return m->value.type == VALUE_FLOAT ? m->value.f : (double)m->value.i;
}

static enum err evaluate(struct evaluation *v, const struct ql_metrics *m,
                         struct metrics_result *ret)
{
    struct metrics_result right = {0};
    enum err err;

    if (is_number(m)) /* the parser folds arithmetic of numbers alone */
        return ERR_UNSUPPORTED;
    if (m->op == QL_OP_NONE) {
        err = finish(v->parts[v->next++], v->a, v->range_ns, ret);
    } else if (is_number(m->left) || is_number(m->right)) {
        bool is_left = is_number(m->left);
        err = evaluate(v, is_left ? m->right : m->left, ret);
        if (err == ERR_OK)
            combine_number(m->op, number_of(is_left ? m->left : m->right), is_left, ret);
    } else {
        err = evaluate(v, m->left, ret);
        if (err == ERR_OK)
            err = evaluate(v, m->right, &right);
        if (err == ERR_OK)
            err = combine(v->a, m->op, ret, &right, ret);
    }
    for (uint32_t i = 0; err == ERR_OK && i < m->second_count; i++)
        err = metrics_second_run(v->a, &m->seconds[i], ret);
    return err;
}

static void drop_exemplars(struct metrics_result *r)
{
    for (uint32_t s = 0; s < r->count; s++) {
        struct metrics_series *one = &r->series[s];
        uint32_t n = 0;
        for (uint32_t i = 0; i < one->exemplar_count; i++)
            if (!isnan(one->points[one->exemplars[i].interval]))
                one->exemplars[n++] = one->exemplars[i];
        one->exemplar_count = n;
    }
}

enum err metrics_eval(struct arena *a, const struct ql_metrics *m,
                      struct metrics_part *const *parts, uint64_t range_ns,
                      struct metrics_result *ret)
{
    struct evaluation v = {.a = a, .parts = parts, .range_ns = range_ns};
    struct metrics_result out = {0};
    enum err err = evaluate(&v, m, &out);

    if (err != ERR_OK)
        return err;
    drop_exemplars(&out);
    if (out.count > 1)
        qsort(out.series, out.count, sizeof out.series[0], series_cmp);
    *ret = out;
    return ERR_OK;
}
