#include "common/obs/metrics.h"
#include "common/sys/thread.h"
#include "tests/lib/test.h"

#include <math.h>

static char *write_text(struct buf *b)
{
    buf_reset(b);
    metrics_write_text(b);
    buf_append_byte(b, '\0');
    assert_int_equal(buf_err(b), ERR_OK);
    return (char *)b->ptr;
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no %s in\n%s", part, text);
}

static void test_text_of_all_kinds(void **state)
{
    static const double bounds[] = {0.005, 0.5, 1, 1e6};
    struct metric_family *counter =
        metrics_counter("a_counter_total", "tenant,reason", "Counts \\ things.\nTwo lines.");
    struct metric_family *gauge = metrics_gauge("a_gauge", "", "Is.");
    struct metric_family *histogram =
        metrics_histogram("a_histogram_seconds", "op", "Takes.", bounds, 4);
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    metric_inc(metric_cell2(counter, "t2", "x"));
    metric_add(metric_cell2(counter, "t1", "quote\" back\\ line\n"), 2.5);
    metric_inc(metric_cell2(counter, "t2", "x"));
    metric_set(metric_cell0(gauge), 0.25);
    metric_add(metric_cell0(gauge), -1);
    metric_observe(metric_cell1(histogram, "get"), 0.005); /* le: the bound belongs to its bucket */
    metric_observe(metric_cell1(histogram, "get"), 0.7);
    metric_observe(metric_cell1(histogram, "get"), 1e9);
    const char *text = write_text(&b);
    assert_has(text, "# HELP a_counter_total Counts \\\\ things.\\nTwo lines.\n"
                     "# TYPE a_counter_total counter\n"
                     "a_counter_total{tenant=\"t1\",reason=\"quote\\\" back\\\\ line\\n\"} 2.5\n"
                     "a_counter_total{tenant=\"t2\",reason=\"x\"} 2\n"
                     "# HELP a_gauge Is.\n"
                     "# TYPE a_gauge gauge\n"
                     "a_gauge -0.75\n"
                     "# HELP a_histogram_seconds Takes.\n"
                     "# TYPE a_histogram_seconds histogram\n"
                     "a_histogram_seconds_bucket{op=\"get\",le=\"0.005\"} 1\n"
                     "a_histogram_seconds_bucket{op=\"get\",le=\"0.5\"} 1\n"
                     "a_histogram_seconds_bucket{op=\"get\",le=\"1\"} 2\n"
                     "a_histogram_seconds_bucket{op=\"get\",le=\"1e+06\"} 2\n"
                     "a_histogram_seconds_bucket{op=\"get\",le=\"+Inf\"} 3\n"
                     "a_histogram_seconds_sum{op=\"get\"} 1.000000000705e+09\n"
                     "a_histogram_seconds_count{op=\"get\"} 3\n");
    assert_true(metric_value(metric_cell1(histogram, "get")) == 3);
    assert_true(metric_value(metric_cell2(counter, "t2", "x")) == 2);
    assert_ptr_equal(metrics_gauge("a_gauge", "", "Is."), gauge);
    buf_release(&b);
}

static void test_families_without_series_are_silent(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    (void)metrics_counter("b_labelled_total", "tenant", "Never counted.");
    (void)metrics_counter("b_plain_total", "", "Never counted either.");
    const char *text = write_text(&b);
    assert_null(strstr(text, "b_labelled_total"));
    assert_has(text, "\nb_plain_total 0\n");
    buf_release(&b);
}

static void test_cells_are_one_per_values(void **state)
{
    struct metric_family *f = metrics_gauge("c_gauge", "a,b", "x");
    struct slice odd[] = {SLICE_LIT("n\0ul"), SLICE_LIT("\xff")};
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    assert_ptr_equal(metric_cell2(f, "x", "yz"), metric_cell2(f, "x", "yz"));
    assert_ptr_not_equal(metric_cell2(f, "x", "yz"), metric_cell2(f, "xy", "z"));
    metric_set(metric_cell(f, odd, 2), 1);
    metric_set(metric_cell2(f, "gone", ""), 1);
    assert_has(write_text(&b), "c_gauge{a=\"gone\",b=\"\"} 1\n");
    metric_cell_drop(f, metric_cell2(f, "gone", ""));
    metric_cell_drop(f, metric_cell2(f, "never", ""));
    const char *text = write_text(&b);
    assert_null(strstr(text, "gone"));
    assert_null(strstr(text, "never"));
    assert_has(text, "c_gauge{a=\"n\xef\xbf\xbdul\",b=\"\xef\xbf\xbd\"} 1\n");
    buf_release(&b);
}

static void test_label_values_are_bounded(void **state)
{
    struct metric_family *f = metrics_counter("d_total", "tenant", "x");
    struct buf b;
    static char longest[METRICS_LABEL_BYTES_MAX + 2];
    unsigned series = 0;

    (void)state;
    buf_init(&b, 8 << 20);
    for (unsigned i = 0; i < METRICS_CELLS_MAX + 500; i++) {
        char tenant[16];
        (void)snprintf(tenant, sizeof tenant, "t%u", i);
        metric_inc(metric_cell1(f, tenant));
    }
    const char *text = write_text(&b);
    assert_has(text, "d_total{tenant=\"overflow\"} 500\n");
    for (const char *at = text; (at = strstr(at, "\nd_total{")) != NULL; at++)
        series++;
    assert_int_equal(series, METRICS_CELLS_MAX + 1);
    metric_cell_drop(f, metric_cell1(f, "t7"));
    metric_inc(metric_cell1(f, "room-again"));
    assert_has(write_text(&b), "d_total{tenant=\"room-again\"} 1\n");
    memset(longest, 'x', sizeof longest - 1);
    struct metric_family *g = metrics_counter("d2_total", "tenant", "x");
    metric_inc(metric_cell1(g, longest));
    longest[METRICS_LABEL_BYTES_MAX] = '\0';
    assert_true(metric_value(metric_cell1(g, longest)) == 1);
    buf_release(&b);
}

static void count_call(void *arg)
{
    unsigned *calls = arg;

    (*calls)++;
    metric_set(metric_cell0(metrics_gauge("e_collected", "", "x")), *calls);
}

static void test_collectors_run_first(void **state)
{
    static unsigned calls; /* outlives the registry's use of it */
    struct buf b;

    (void)state;
    buf_init(&b, 8 << 20);
    metrics_on_collect(count_call, &calls);
    assert_has(write_text(&b), "\ne_collected 1\n");
    assert_has(write_text(&b), "\ne_collected 2\n");
    buf_release(&b);
}

static void test_process_and_build(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 8 << 20);
    metrics_set_build("1.2.3", "abc");
    const char *text = write_text(&b);
    assert_has(text, "tempo_build_info{version=\"1.2.3\",revision=\"abc\",branch=");
    assert_has(text, "# TYPE process_cpu_seconds_total counter\n");
    static const char *const names[] = {"process_cpu_seconds_total",
                                        "process_resident_memory_bytes", "process_open_fds",
                                        "process_start_time_seconds"};
    double value[4];
    for (int i = 0; i < 4; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "\n%s ", names[i]);
        const char *at = strstr(text, line);
        assert_non_null(at);
        value[i] = strtod(at + strlen(line), NULL);
    }
    assert_true(value[0] > 0 && value[0] < 1000);
    assert_true(value[1] > 1e5);
    assert_true(value[2] >= 3 && value[2] < 100);
    assert_true(fabs(value[3] - (double)time(NULL)) < 600);
    buf_release(&b);
}

static void test_merge_leaves_out_what_is_there(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    buf_append_str(&b, "# HELP up Mine.\n# TYPE up gauge\nup 1\n");
    metrics_merge_text(
        &b,
        SLICE_LIT("# HELP up Other.\n# TYPE up gauge\nup 2\n"
                  "# HELP upper Longer name.\n# TYPE upper gauge\nupper{a=\"# TYPE up gauge\"} 3\n"
                  "# TYPE lone counter\nlone 4\n\n"
                  "# HELP up Other.\n# TYPE up gauge\nup 5"));
    assert_true(slice_eq_str(
        buf_slice(&b),
        "# HELP up Mine.\n# TYPE up gauge\nup 1\n"
        "# HELP upper Longer name.\n# TYPE upper gauge\nupper{a=\"# TYPE up gauge\"} 3\n"
        "# TYPE lone counter\nlone 4\n"));
    buf_reset(&b);
    metrics_merge_text(&b, SLICE_LIT("# TYPE x gauge\nx 1"));
    assert_true(slice_eq_str(buf_slice(&b), "# TYPE x gauge\nx 1\n"));
    buf_release(&b);
}

static void add_much(void *arg)
{
    static const double bounds[] = {1, 2};
    struct metric_cell *counter = arg;
    struct metric_family *h = metrics_histogram("f_seconds", "op", "x", bounds, 2);

    for (int i = 0; i < 5000; i++) {
        metric_add(counter, 0.5);
        metric_observe(metric_cell1(h, i % 2 == 0 ? "a" : "b"), 1.5);
    }
}

static void test_threads_add_exactly(void **state)
{
    struct metric_cell *c = metric_cell1(metrics_counter("f_total", "x", "x"), "y");
    pthread_t threads[4];
    struct buf b;

    (void)state;
    buf_init(&b, 8 << 20);
    for (int i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "add", add_much, c), ERR_OK);
    for (int i = 0; i < 20; i++)
        (void)write_text(&b);
    for (int i = 0; i < 4; i++)
        thread_join(threads[i]);
    assert_has(write_text(&b), "\nf_total{x=\"y\"} 10000\n");
    assert_has((const char *)b.ptr, "\nf_seconds_bucket{op=\"a\",le=\"2\"} 10000\n");
    assert_has((const char *)b.ptr, "\nf_seconds_sum{op=\"b\"} 15000\n");
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_of_all_kinds),
        cmocka_unit_test(test_families_without_series_are_silent),
        cmocka_unit_test(test_cells_are_one_per_values),
        cmocka_unit_test(test_label_values_are_bounded),
        cmocka_unit_test(test_collectors_run_first),
        cmocka_unit_test(test_process_and_build),
        cmocka_unit_test(test_merge_leaves_out_what_is_there),
        cmocka_unit_test(test_threads_add_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
