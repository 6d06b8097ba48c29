/* Metrics against a brute-force oracle: random traces, pipelines, functions, labels and windows; the spans lie in several segments, whose parts
 * come directly or packed; the oracle looks at plain structs, one span at a time. */
#include "common/query/metrics_query.h"
#include "common/query/regex.h"
#include "tests/lib/query_oracle.h"
#include "tests/lib/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SERIES_MAX = 4096, BY_MAX = 3, PLACES = 3 };
enum { KEYS = 4 };
static const char *const KEY[KEYS] = {"a", "b", "cc", "service.name"};
static const enum ql_intrinsic COMPARED[] = {
    QL_I_NAME,         QL_I_KIND,       QL_I_STATUS,        QL_I_STATUS_MESSAGE, QL_I_ROOT_NAME,
    QL_I_ROOT_SERVICE, QL_I_SCOPE_NAME, QL_I_SCOPE_VERSION, QL_I_CHILD_COUNT};
enum { COMPARED_COUNT = sizeof COMPARED / sizeof COMPARED[0] };

static struct arena *A;
static struct rng *R;
static struct ql_regex *REGEX;

static uint32_t below(uint32_t n)
{
    return (uint32_t)rng_below(R, n);
}

/* --- what there should be: numbers by the text of labels and interval --- */

struct seen {
    char *labels;
    uint32_t interval;
    double *numbers;
    uint32_t count, cap;
};
static struct seen *SEEN;
static uint32_t SEEN_COUNT;

static void see(const char *labels, uint32_t interval, double number)
{
    uint32_t i = 0;

    while (i < SEEN_COUNT && (SEEN[i].interval != interval || strcmp(SEEN[i].labels, labels) != 0))
        i++;
    if (i == SEEN_COUNT) {
        assert_true(i < SERIES_MAX);
        SEEN[SEEN_COUNT++] = (struct seen){arena_str(A, slice_str(labels)), interval,
                                           ARENA_ARRAY(A, double, 64), 0, 64};
    }
    assert_true(SEEN[i].count < SEEN[i].cap);
    SEEN[i].numbers[SEEN[i].count++] = number;
}

static void label_text(struct buf *b, struct slice key, struct value v)
{
    buf_append(b, key);
    buf_appendf(b, "=%d:", (int)v.type);
    if (v.type == VALUE_STRING)
        buf_append(b, v.s);
    else if (v.type == VALUE_FLOAT)
        buf_appendf(b, "%.17g", v.f == 0 ? 0 : v.f);
    else if (value_is_array(v))
        for (uint32_t i = 0; i < v.array.count; i++)
            label_text(b, SLICE_LIT("["), v.array.items[i]);
    else if (v.type != VALUE_NIL)
        buf_appendf(b, "%lld", (long long)v.i);
    buf_append_str(b, ";");
}

static struct slice dump(const struct ql_attribute *at)
{
    struct buf b;

    buf_init(&b, 1 << 16);
    ql_dump_attribute(&b, at);
    struct slice s = arena_dup(A, buf_slice(&b));
    buf_release(&b);
    return s;
}

static char *text_of(struct buf *b)
{
    char *s = arena_str(A, buf_slice(b));

    buf_reset(b);
    return s;
}

static double number_of(struct value v)
{
    return v.type == VALUE_FLOAT ? v.f : (double)v.i;
}

static bool is_number(struct value v)
{
    return v.type == VALUE_INT || v.type == VALUE_FLOAT || v.type == VALUE_DURATION;
}

static void expect_labels(struct buf *b, const struct fake_data *d, const struct ql_metrics *m,
                          uint32_t span)
{
    bool is_some = false;

    for (uint32_t i = 0; i < m->by_count; i++) {
        struct value v = query_oracle_value(A, d, &m->by[i], span);
        if (v.type == VALUE_NIL)
            continue;
        is_some = true;
        label_text(b, dump(&m->by[i]), v);
    }
    if (!is_some && m->by_count != 0)
        label_text(b, dump(&m->by[0]), VALUE_NONE);
}

static void expect_compared(const struct fake_data *d, const struct ql_metrics *m, uint32_t span,
                            uint32_t interval)
{
    bool is_selected = query_oracle_matches(A, d, m->compare->filter, span);
    struct buf b;

    if (m->compare_end_ns != 0 && (d->spans[span].start_ns <= (uint64_t)m->compare_start_ns ||
                                   d->spans[span].start_ns > (uint64_t)m->compare_end_ns))
        is_selected = false;
    buf_init(&b, 1 << 20);
    for (uint32_t i = 0; i < COMPARED_COUNT + 2 * KEYS; i++) {
        struct ql_attribute at = {.intrinsic = i < COMPARED_COUNT ? COMPARED[i] : QL_I_NONE};
        if (i >= COMPARED_COUNT) {
            at.scope = (i - COMPARED_COUNT) % 2 == 0 ? QL_SCOPE_SPAN : QL_SCOPE_RESOURCE;
            at.name = slice_str(KEY[(i - COMPARED_COUNT) / 2]);
        }
        struct value v = query_oracle_value(A, d, &at, span);
        bool is_service = at.scope == QL_SCOPE_RESOURCE && slice_eq_str(at.name, "service.name");
        for (int times = is_service ? 2 : 1; v.type != VALUE_NIL && times > 0; times--) {
            label_text(&b, SLICE_LIT("__meta_type"),
                       value_string(slice_str(is_selected ? "selection" : "baseline")));
            label_text(&b, dump(&at), v);
            see(text_of(&b), interval, 1);
            label_text(&b, SLICE_LIT("__meta_type"),
                       value_string(slice_str(is_selected ? "selection_total" : "baseline_total")));
            label_text(&b, dump(&at), VALUE_NONE);
            see(text_of(&b), interval, 1);
        }
    }
    buf_release(&b);
}

static void expect_span(const struct fake_data *d, const struct ql_metrics *m, uint32_t span,
                        uint32_t interval)
{
    struct value v = value_int(1);
    struct buf b;

    if (m->fn == QL_M_COMPARE) {
        expect_compared(d, m, span, interval);
        return;
    }
    if (m->fn != QL_M_RATE && m->fn != QL_M_COUNT)
        v = query_oracle_value(A, d, &m->argument, span);
    if (!is_number(v) || (m->fn == QL_M_HISTOGRAM && !(number_of(v) >= 2)))
        return;
    double n = number_of(v);
    buf_init(&b, 1 << 20);
    expect_labels(&b, d, m, span);
    if (m->fn == QL_M_HISTOGRAM) {
        double bound = 2;
        while (bound < n)
            bound *= 2;
        label_text(&b, SLICE_LIT("__bucket"),
                   value_float(m->argument.intrinsic == QL_I_DURATION ? bound / 1e9 : bound));
        n = 1;
    }
    see(text_of(&b), interval, n);
    buf_release(&b);
}

static void expect(const struct fake_data *d, const struct ql_metrics *m,
                   const struct metrics_window *w, const struct trace_id *excluded)
{
    for (uint32_t t = 0; t < d->trace_count; t++) {
        struct osets *sets = ARENA_NEW(A, struct osets);
        if (excluded != NULL && trace_id_eq(d->traces[t], *excluded))
            continue;
        query_oracle_trace(A, d, m->pipeline, t, sets);
        for (uint32_t s = 0; s < d->span_count; s++) {
            bool is_in = false;
            for (uint32_t k = 0; k < sets->count; k++)
                is_in |= sets->list[k].in[s];
            uint64_t start = d->spans[s].start_ns;
            for (uint32_t i = 0; is_in && i < w->count; i++)
                if (start > w->first_ns + i * w->step_ns &&
                    start <= w->first_ns + (i + 1) * w->step_ns)
                    expect_span(d, m, s, i);
        }
    }
}

/* --- what there is --- */

static int double_cmp(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static bool is_near(double a, double b)
{
    return (isnan(a) && isnan(b)) || a == b || fabs(a - b) <= 1e-12 * fabs(b);
}

static bool is_right(const struct ql_metrics *m, struct seen *s, double step_s, double q,
                     double got)
{
    double sum = 0, scale = m->argument.intrinsic == QL_I_DURATION ? 1e-9 : 1;

    for (uint32_t i = 0; i < s->count; i++)
        sum += s->numbers[i];
    qsort(s->numbers, s->count, sizeof(double), double_cmp);
    switch ((int)m->fn) {
    case QL_M_RATE: return is_near(got, s->count / step_s);
    case QL_M_COUNT:
    case QL_M_COMPARE:
    case QL_M_HISTOGRAM: return got == s->count;
    case QL_M_SUM: return is_near(got, sum * scale);
    case QL_M_AVG: return is_near(got, sum / s->count * scale);
    case QL_M_MIN: return is_near(got, s->numbers[0] * scale);
    case QL_M_MAX: return is_near(got, s->numbers[s->count - 1] * scale);
    default: break;
    }
    uint32_t rank = (uint32_t)ceil(q * s->count);
    double want = s->numbers[rank == 0 ? 0 : rank - 1] * scale;
    return fabs(got - want) <= fabs(want) / 128;
}

static struct seen *seen_at(const char *labels, uint32_t interval)
{
    for (uint32_t i = 0; i < SEEN_COUNT; i++)
        if (SEEN[i].interval == interval && strcmp(SEEN[i].labels, labels) == 0)
            return &SEEN[i];
    return NULL;
}

/* The text of a series' labels without those that the function added; *ret_q is the quantile's. */
static char *labels_of(const struct ql_metrics *m, const struct metrics_series *s, double *ret_q)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    for (uint32_t i = 0; i < s->label_count; i++) {
        struct result_attribute l = s->labels[i];
        if (slice_eq_str(l.key, "p"))
            *ret_q = l.value.f;
        else if (!slice_eq_str(l.key, "__name__") || m->by_count != 0)
            label_text(&b, l.key, l.value);
    }
    char *text = text_of(&b);
    buf_release(&b);
    return text;
}

static void check(const struct ql_metrics *m, const struct metrics_window *w,
                  const struct metrics_result *r, uint64_t seed)
{
    uint32_t points = 0, per_series = m->fn == QL_M_QUANTILE ? m->quantile_count : 1;
    bool is_zero_shown = m->fn == QL_M_RATE || m->fn == QL_M_COUNT || m->fn == QL_M_HISTOGRAM ||
                         m->fn == QL_M_COMPARE;

    for (uint32_t i = 0; i < r->count; i++) {
        const struct metrics_series *s = &r->series[i];
        double q = 0;
        char *labels = labels_of(m, s, &q);
        for (uint32_t k = 0; k < w->count; k++) {
            struct seen *want = seen_at(labels, k);
            if (want == NULL && (is_zero_shown ? s->points[k] != 0 : !isnan(s->points[k])))
                fail_msg("seed %llu: %s interval %u: %g, oracle has none", (unsigned long long)seed,
                         labels, k, s->points[k]);
            if (want != NULL && !is_right(m, want, (double)w->step_ns / 1e9, q, s->points[k]))
                fail_msg("seed %llu: fn %d %s interval %u: %.17g of %u numbers",
                         (unsigned long long)seed, (int)m->fn, labels, k, s->points[k],
                         want->count);
            points += want != NULL;
        }
    }
    if (points != SEEN_COUNT * per_series)
        fail_msg("seed %llu: fn %d: %u points, oracle %u", (unsigned long long)seed, (int)m->fn,
                 points, SEEN_COUNT * per_series);
}

/* --- the run --- */

static struct ql_attribute random_label(void)
{
    static const enum ql_intrinsic intrinsics[] = {QL_I_NAME,       QL_I_KIND,      QL_I_STATUS,
                                                   QL_I_DURATION,   QL_I_TRACE_ID,  QL_I_ROOT_NAME,
                                                   QL_I_EVENT_NAME, QL_I_SCOPE_NAME};
    static const enum ql_scope scopes[] = {QL_SCOPE_NONE,  QL_SCOPE_SPAN, QL_SCOPE_RESOURCE,
                                           QL_SCOPE_EVENT, QL_SCOPE_LINK, QL_SCOPE_INSTRUMENTATION};

    if (below(3) == 0)
        return (struct ql_attribute){.intrinsic = intrinsics[below(8)]};
    return (struct ql_attribute){.scope = scopes[below(6)], .name = slice_str(KEY[below(4)])};
}

static struct ql_metrics *random_leaf(void)
{
    struct ql_metrics *m = ARENA_NEW(A, struct ql_metrics);

    m->pipeline = query_gen_pipeline(A, R, REGEX);
    m->fn = (enum ql_metrics_fn)(QL_M_RATE + (int)below(9));
    m->argument =
        below(2) == 0 ? (struct ql_attribute){.intrinsic = QL_I_DURATION} : random_label();
    if (m->argument.intrinsic != QL_I_NONE) /* others have scales of their own */
        m->argument.intrinsic = QL_I_DURATION;
    m->by = ARENA_ARRAY(A, struct ql_attribute, BY_MAX);
    m->by_count = below(BY_MAX + 1);
    for (uint32_t i = 0; i < m->by_count; i++)
        m->by[i] = random_label();
    m->quantile_count = 1 + below(2);
    m->quantiles = ARENA_ARRAY(A, double, 2);
    m->quantiles[0] = below(5) / 4.0;
    m->quantiles[1] = 0.9;
    if (m->fn != QL_M_COMPARE)
        return m;
    m->by_count = 0;
    do { /* its selection is one filter */
        m->compare = query_gen_pipeline(A, R, REGEX)->stages[0].spanset;
    } while (m->compare == NULL || m->compare->kind != QL_SPANSET_FILTER);
    m->compare_top = 1000;
    if (below(3) == 0) {
        m->compare_start_ns = 1000 + below(6);
        m->compare_end_ns = m->compare_start_ns + 1 + below(6);
    }
    return m;
}

/* The traces that lie in one place. */
static struct fake_data *part_of(const struct fake_data *d, const uint8_t *place, uint8_t which)
{
    struct fake_data *p = ARENA_NEW(A, struct fake_data);
    uint32_t numbers[QUERY_GEN_TRACES_MAX];

    *p = *d;
    p->traces = ARENA_ARRAY(A, struct trace_id, d->trace_count);
    p->spans = ARENA_ARRAY(A, struct fake_span, d->span_count);
    p->trace_count = p->span_count = 0;
    for (uint32_t t = 0; t < d->trace_count; t++) {
        numbers[t] = p->trace_count;
        if (place[t] == which)
            p->traces[p->trace_count++] = d->traces[t];
    }
    for (uint32_t s = 0; s < d->span_count; s++) {
        if (place[d->spans[s].trace] != which)
            continue;
        p->spans[p->span_count] = d->spans[s];
        p->spans[p->span_count++].trace = numbers[d->spans[s].trace];
    }
    return p;
}

static void observe(const struct fake_data *d, const struct ql_metrics *m,
                    const struct metrics_window *w, const struct trace_id *excluded,
                    struct metrics_part *p)
{
    struct metrics_part *own = p;
    bool is_packed = below(2) != 0;
    struct buf b;

    if (is_packed)
        assert_int_equal(metrics_part_new(A, m, w, 5, &own), ERR_OK);
    struct segment *s = fake_segment_new(d);
    assert_int_equal(metrics_observe(own, s, excluded, excluded != NULL, NULL), ERR_OK);
    segment_close(s);
    if (!is_packed)
        return;
    buf_init(&b, 16 << 20);
    metrics_wire_pack(&b, own);
    assert_int_equal(buf_err(&b), ERR_OK);
    assert_int_equal(metrics_wire_add(p, buf_slice(&b)), ERR_OK);
    buf_release(&b);
}

static void run(const struct fake_data *d, const struct ql_metrics *m, uint64_t seed)
{
    struct metrics_window w = {998 + below(6), 1 + below(5), 1 + below(6)};
    const struct trace_id *excluded = below(6) == 0 ? &d->traces[below(d->trace_count)] : NULL;
    uint8_t place[QUERY_GEN_TRACES_MAX];
    struct metrics_part *p;
    struct metrics_result r;

    for (uint32_t t = 0; t < d->trace_count; t++)
        place[t] = (uint8_t)below(PLACES);
    assert_int_equal(metrics_part_new(A, m, &w, 5, &p), ERR_OK);
    for (uint8_t k = 0; k < PLACES; k++)
        observe(part_of(d, place, k), m, &w, excluded, p);
    assert_int_equal(metrics_eval(A, m, &p, w.step_ns, &r), ERR_OK);
    SEEN = ARENA_ARRAY(A, struct seen, SERIES_MAX);
    SEEN_COUNT = 0;
    expect(d, m, &w, excluded);
    check(m, &w, &r, seed);
}

static void test_against_oracle(void **state)
{
    (void)state;
    struct arena a;
    struct rng r;
    const char *env = getenv("SEED");
    uint64_t first = env != NULL ? strtoull(env, NULL, 10) : 1, seeds = env != NULL ? 1 : 6000;

    assert_int_equal(regex_compile(SLICE_LIT("x.*"), &REGEX, NULL), ERR_OK);
    arena_init(&a, NULL);
    A = &a;
    R = &r;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        arena_reset(&a);
        rng_init(&r, seed);
        struct fake_data *d = query_gen_data(&a, &r);
        run(d, random_leaf(), seed);
    }
    arena_release(&a);
    regex_free(REGEX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_oracle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
