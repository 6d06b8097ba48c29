/* Metrics functions, second stages and arithmetic on spans whose numbers can be read off. */
#include "common/query/metrics_priv.h"
#include "common/query/metrics_query.h"
#include "tests/lib/fake_segment.h"
#include "tests/lib/test.h"

#include <math.h>

enum { STEP = 1000000000, SPANS_MAX = 64 };

static struct arena A;
static struct fake_data DATA;
static struct fake_span SPANS[SPANS_MAX];
static struct fake_attr ATTRS[SPANS_MAX][2];
static struct fake_attr SERVICE = {.key = {(const uint8_t *)"service.name", 12}};
static struct fake_attrs RESOURCE = {&SERVICE, 1};
static struct fake_scope SCOPE;
static struct trace_id TRACE[SPANS_MAX];

static int set_up(void **state)
{
    (void)state;
    arena_init(&A, NULL);
    SERVICE.value = value_string(SLICE_LIT("shop"));
    DATA = (struct fake_data){.traces = TRACE,
                              .resources = &RESOURCE,
                              .resource_count = 1,
                              .scopes = &SCOPE,
                              .scope_count = 1,
                              .spans = SPANS};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&A);
    return 0;
}

/* A trace of one span: `k` and `n` are its attributes. */
static struct fake_span *add(uint64_t start_ns, uint64_t duration_ns, struct value k,
                             struct value n)
{
    uint32_t i = DATA.span_count++;
    struct fake_span *s = &SPANS[i];

    assert_true(i < SPANS_MAX);
    DATA.trace_count++;
    TRACE[i] = (struct trace_id){{0}};
    TRACE[i].b[15] = (uint8_t)(i + 1);
    *s = (struct fake_span){.trace = i,
                            .start_ns = start_ns,
                            .duration_ns = duration_ns,
                            .name = SLICE_LIT("op"),
                            .attrs = {ATTRS[i], 0}};
    s->id.b[7] = (uint8_t)(i + 1);
    if (k.type != VALUE_NIL)
        ATTRS[i][s->attrs.count++] = (struct fake_attr){.key = SLICE_LIT("k"), .value = k};
    if (n.type != VALUE_NIL)
        ATTRS[i][s->attrs.count++] = (struct fake_attr){.key = SLICE_LIT("n"), .value = n};
    return s;
}

static struct value s(const char *text)
{
    return value_string(slice_str(text));
}

static struct metrics_result ask(const char *text, uint64_t first_ns, uint32_t count)
{
    const struct metrics_window w = {first_ns, STEP, count};
    const struct ql_metrics *leaves[METRICS_LEAVES_MAX];
    struct metrics_part *parts[METRICS_LEAVES_MAX];
    struct metrics_result r = {0};
    struct ql_query *ql;

    struct segment *segment = fake_segment_new(&DATA);
    assert_int_equal(ql_parse(&A, slice_str(text), &ql, NULL), ERR_OK);
    uint32_t n = metrics_query_leaves(ql->metrics, leaves);
    assert_true(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(metrics_part_new(&A, leaves[i], &w, 10, &parts[i]), ERR_OK);
        assert_int_equal(metrics_observe(parts[i], segment, NULL, 0, NULL), ERR_OK);
    }
    assert_int_equal(metrics_eval(&A, ql->metrics, parts, STEP, &r), ERR_OK);
    segment_close(segment);
    ql_release(ql);
    return r;
}

/* "{k=`a`} 1 - 2; {k=`b`} ..." */
static void expect(const struct metrics_result *r, const char *want)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    for (uint32_t i = 0; i < r->count; i++) {
        buf_append_str(&b, i == 0 ? "{" : "; {");
        for (uint32_t k = 0; k < r->series[i].label_count; k++) {
            buf_appendf(&b, "%s" SLICE_FMT "=", k == 0 ? "" : ",",
                        SLICE_ARG(r->series[i].labels[k].key));
            ql_dump_value(&b, r->series[i].labels[k].value);
        }
        buf_append_str(&b, "}");
        for (uint32_t k = 0; k < r->interval_count; k++)
            if (isnan(r->series[i].points[k]))
                buf_append_str(&b, " -");
            else
                buf_appendf(&b, " %.12g", r->series[i].points[k]);
    }
    if (!slice_eq_str(buf_slice(&b), want))
        fail_msg("got " SLICE_FMT, SLICE_ARG(buf_slice(&b)));
    buf_release(&b);
}

static void check(const char *query, const char *want)
{
    struct metrics_result r = ask(query, 0, 3);

    expect(&r, want);
}

static void shop(void)
{
    add(1, 100, s("a"), value_int(2));                /* first nanosecond of the first interval */
    add(STEP, 200, s("a"), value_int(4));             /* its last */
    add(STEP + 1, 300, s("b"), value_float(0.5));     /* the second's first */
    add(2 * (uint64_t)STEP, 400, s("b"), VALUE_NONE); /* its last */
    add(2 * (uint64_t)STEP + 1, 500, s("a"), s("x")); /* not a number */
    add(3 * (uint64_t)STEP, 600, value_int(7), value_int(-3));
    add(0, 700, s("a"), value_int(100));                    /* before */
    add(3 * (uint64_t)STEP + 1, 800, s("a"), value_int(9)); /* after */
}

static void test_functions(void **state)
{
    (void)state;
    shop();
    check("{} | count_over_time()", "{__name__=`count_over_time`} 2 2 2");
    check("{} | rate()", "{__name__=`rate`} 2 2 2");
    check("{ name = \"nobody\" } | rate()", "{__name__=`rate`} 0 0 0");
    check("{ name = \"nobody\" } | rate() by(span.k)", "");
    check("{ name = \"nobody\" } | sum_over_time(span.n)", "");
    check("{} | count_over_time() by(span.k)",
          "{span.k=7} 0 0 1; {span.k=`a`} 2 0 1; {span.k=`b`} 0 2 0");
    check("{} | count_over_time() by(span.k, .n)",
          "{span.k=`b`} 0 1 0; {span.k=7,.n=-3} 0 0 1; {span.k=`a`,.n=2} 1 0 0; "
          "{span.k=`a`,.n=4} 1 0 0; {span.k=`a`,.n=`x`} 0 0 1; {span.k=`b`,.n=0.5} 0 1 0");
    check("{} | sum_over_time(span.n)", "{__name__=`sum_over_time`} 6 0.5 -3");
    check("{} | avg_over_time(span.n) by(span.k)",
          "{span.k=7} - - -3; {span.k=`a`} 3 - -; {span.k=`b`} - 0.5 -");
    check("{} | min_over_time(span.n)", "{__name__=`min_over_time`} 2 0.5 -3");
    check("{} | max_over_time(duration)", "{__name__=`max_over_time`} 2e-07 4e-07 6e-07");
    check("{} | histogram_over_time(span.n)", "{__bucket=2.0} 1 0 0; {__bucket=4.0} 1 0 0");
    check("{} | quantile_over_time(span.n, 0, 1)", "{p=0.0} 2 0.5 -3; {p=1.0} 4 0.5 -3");
    check("{} | count_over_time() by(span.nope)", "{span.nope=nil} 2 2 2");
    check("{} | count_over_time() by(span.nope, resource.service.name)",
          "{resource.service.name=`shop`} 2 2 2");
}

/* One step with both ends: the sum of the steps. */
static void test_sum_over_steps(void **state)
{
    (void)state;
    shop();
    struct metrics_result steps = ask("{} | sum_over_time(duration) by(span.k)", 0, 3);
    const struct metrics_window whole = {0, 3 * (uint64_t)STEP, 1};
    struct metrics_part *p;
    struct metrics_result one;
    struct ql_query *ql;

    struct segment *segment = fake_segment_new(&DATA);
    assert_int_equal(ql_parse(&A, SLICE_LIT("{} | sum_over_time(duration) by(span.k)"), &ql, NULL),
                     ERR_OK);
    assert_int_equal(metrics_part_new(&A, ql->metrics, &whole, 0, &p), ERR_OK);
    assert_int_equal(metrics_observe(p, segment, NULL, 0, NULL), ERR_OK);
    assert_int_equal(metrics_eval(&A, ql->metrics, &p, whole.step_ns, &one), ERR_OK);
    assert_int_equal(one.count, steps.count);
    for (uint32_t i = 0; i < one.count; i++) {
        double sum = 0;
        for (uint32_t k = 0; k < 3; k++)
            sum += isnan(steps.series[i].points[k]) ? 0 : steps.series[i].points[k];
        assert_true(fabs(sum - one.series[i].points[0]) <= 1e-22);
    }
    segment_close(segment);
    ql_release(ql);
}

static void test_second_stages(void **state)
{
    (void)state;
    add(1, 1, s("a"), VALUE_NONE);
    add(1, 1, s("b"), VALUE_NONE);
    add(1, 1, s("c"), VALUE_NONE);
    add(1, 1, s("c"), VALUE_NONE);
    add(STEP + 1, 1, value_int(404), VALUE_NONE);
    add(STEP + 1, 1, value_int(500), VALUE_NONE);
    add(STEP + 1, 1, s("a"), VALUE_NONE);
    check("{} | count_over_time() by(span.k) | topk(2)",
          "{span.k=500} - 1 -; {span.k=`a`} 1 1 0; {span.k=`b`} - - 0; {span.k=`c`} 2 - -");
    check("{} | count_over_time() by(span.k) > 0 | topk(1)",
          "{span.k=`a`} - 1 -; {span.k=`c`} 2 - -");
    check("{} | count_over_time() by(span.k) > 0 | bottomk(1)",
          "{span.k=404} - 1 -; {span.k=`b`} 1 - -");
    check("{} | count_over_time() by(span.k) > 0 | topk(10) < 2",
          "{span.k=404} - 1 -; {span.k=500} - 1 -; {span.k=`a`} 1 1 -; {span.k=`b`} 1 - -");
    check("{} | count_over_time() by(span.k) = 2", "{span.k=`c`} 2 - -");
    check("{} | count_over_time() by(span.k) > 100", "");
    check("{} | max_over_time(duration) by(span.k) >= 1s", "");
    check("{} | max_over_time(duration) >= 1ns", "{__name__=`max_over_time`} 1e-09 1e-09 -");
}

static void test_arithmetic(void **state)
{
    (void)state;
    shop();
    check("({} | count_over_time()) / ({} | count_over_time())",
          "{__name__=`(count_over_time / count_over_time)`} 1 1 1");
    check("({} | count_over_time()) * 2", "{__name__=`count_over_time`} 4 4 4");
    check("1 - ({} | rate())", "{__name__=`rate`} -1 -1 -1");
    check("({} | count_over_time() by(span.k)) / ({} | count_over_time())",
          "{span.k=7} 0 0 0.5; {span.k=`a`} 1 0 0.5; {span.k=`b`} 0 1 0");
    check("({} | count_over_time()) - ({} | count_over_time() by(span.k))",
          "{span.k=7} 2 2 1; {span.k=`a`} 0 2 1; {span.k=`b`} 2 0 2");
    check("({} | count_over_time() by(span.k, name)) + ({} | count_over_time() by(name, span.k))",
          "{name=`op`,span.k=7} 0 0 2; {name=`op`,span.k=`a`} 4 0 2; {name=`op`,span.k=`b`} 0 4 0");
    check(
        "({} | count_over_time() by(span.k)) + ({ span.k = \"b\" } | count_over_time() by(span.k))",
        "{span.k=`b`} 0 4 0");
    check("({} | count_over_time() by(span.k)) / ({} | sum_over_time(span.n) by(span.k))",
          "{span.k=7} - - -0.333333333333; {span.k=`a`} 0.333333333333 - -; {span.k=`b`} - 4 -");
    check("(({} | count_over_time()) + ({} | count_over_time()) * 3) > 100", "");
    check("({} | count_over_time() by(span.k)) / 0", "");
}

static void test_quantile_bins(void **state)
{
    static const double exact[] = {0, 1, 2, 3, 200, 255, 256, 1024, -1, -200, 0.5, INFINITY};
    double last = -INFINITY;

    (void)state;
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        assert_true(metrics_part_bin_value(metrics_part_bin_of(exact[i])) == exact[i]);
    for (double v = -1e12; v < 1e12; v += 1 + fabs(v) / 1000) {
        double got = metrics_part_bin_value(metrics_part_bin_of(v));
        assert_true(fabs(got - v) <= fabs(v) / 128);
        assert_true(metrics_part_bin_of(v) >= metrics_part_bin_of(last));
        last = v;
    }
}

/* Whatever the order and the parts, a sum is the same, also of numbers that doubles can not add. */
static void test_sums(void **state)
{
    static const double numbers[] = {1e16, 1, -1e16, 1, 0.1, -0.1, 1e16, -1e16};
    struct metrics_sum up = {0}, down = {0}, first = {0}, second = {0};
    enum { COUNT = sizeof numbers / sizeof numbers[0] };

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        metrics_part_sum(&up, numbers[i], 0, 1);
        metrics_part_sum(&down, numbers[COUNT - 1 - i], 0, 1);
        metrics_part_sum(i % 2 == 0 ? &first : &second, numbers[i], 0, 1);
    }
    metrics_part_sum(&first, second.high, second.low, second.count);
    assert_true(up.high + up.low == 2);
    assert_true(down.high + down.low == 2);
    assert_true(first.high + first.low == 2);
    assert_int_equal(first.count, COUNT);
}

static void test_exemplars(void **state)
{
    (void)state;
    shop();
    struct metrics_result r = ask("{} | max_over_time(duration) by(span.k)", 0, 3);
    uint32_t n = 0;

    for (uint32_t i = 0; i < r.count; i++)
        for (uint32_t k = 0; k < r.series[i].exemplar_count; k++, n++) {
            const struct metrics_exemplar *x = &r.series[i].exemplars[k];
            assert_true(slice_eq_str(x->labels[0].key, "trace:id"));
            assert_true(slice_eq_str(x->labels[1].key, "resource.service.name"));
            assert_true(slice_eq_str(x->labels[2].key, "span.k"));
            assert_true(x->value >= 1e-7 && x->value <= 6e-7);
            assert_true(x->start_ns >= 1 && x->start_ns <= 3 * (uint64_t)STEP);
        }
    assert_true(n >= 4 && n <= 6);
    r = ask("{} | max_over_time(duration) by(span.k) > 1s", 0, 3);
    assert_int_equal(r.count, 0);
    r = ask("{ span.k = 7 } | count_over_time()", 0, 3);
    assert_int_equal(r.series[0].exemplar_count, 1);
    assert_true(r.series[0].exemplars[0].value == 1); /* the series' value there */
}

static void test_limits(void **state)
{
    const struct ql_metrics *leaves[METRICS_LEAVES_MAX];
    struct ql_query *ql;
    struct buf text;

    (void)state;
    assert_false(metrics_query_window_is_good(&(struct metrics_window){0, 0, 1}));
    assert_false(metrics_query_window_is_good(&(struct metrics_window){0, 1, 0}));
    assert_false(
        metrics_query_window_is_good(&(struct metrics_window){0, 1, METRICS_INTERVALS_MAX + 1}));
    assert_false(metrics_query_window_is_good(&(struct metrics_window){0, UINT64_MAX, 1}));
    assert_true(metrics_query_window_is_good(&(struct metrics_window){0, INT64_MAX, 1}));
    buf_init(&text, 1 << 16);
    for (int i = 0; i <= METRICS_LEAVES_MAX; i++)
        buf_appendf(&text, "%s({} | rate())", i == 0 ? "" : " + ");
    assert_int_equal(ql_parse(&A, buf_slice(&text), &ql, NULL), ERR_OK);
    assert_int_equal(metrics_query_leaves(ql->metrics, leaves), 0);
    ql_release(ql);
    buf_release(&text);
}

/* One series too many. */
static void test_series_max(void **state)
{
    const struct metrics_window w = {0, 1, 1};
    struct metrics_row *row;
    struct metrics_part *p;
    struct ql_query *ql;

    (void)state;
    assert_int_equal(ql_parse(&A, SLICE_LIT("{} | rate() by(span.k)"), &ql, NULL), ERR_OK);
    assert_int_equal(metrics_part_new(&A, ql->metrics, &w, 0, &p), ERR_OK);
    for (int64_t i = 0; i < METRICS_SERIES_MAX; i++)
        assert_int_equal(metrics_part_row(p, (struct value[]){value_int(i)}, &row), ERR_OK);
    assert_int_equal(metrics_part_row(p, (struct value[]){value_int(7)}, &row), ERR_OK);
    assert_int_equal(metrics_part_row(p, (struct value[]){value_int(-1)}, &row), ERR_TOO_LARGE);
    ql_release(ql);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_functions),  T(test_sum_over_steps), T(test_second_stages),
        T(test_arithmetic), T(test_quantile_bins),  T(test_sums),
        T(test_exemplars),  T(test_limits),         T(test_series_max)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
