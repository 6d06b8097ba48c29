/* Metrics answers byte by byte: Grafana reads them strictly. */
#include "querier/answers.h"
#include "tests/lib/test.h"

#include <math.h>

static void expect(const struct answers_metrics *m, bool is_range, const char *want)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    answers_metrics_json(&out, m, is_range);
    assert_int_equal(buf_err(&out), ERR_OK);
    if (!slice_eq_str(buf_slice(&out), want))
        fail_msg("got " SLICE_FMT, SLICE_ARG(buf_slice(&out)));
    buf_release(&out);
}

static struct answers_metrics three(void)
{
    static double count[] = {0, 1.5, NAN}, one[] = {7, NAN, NAN};
    static struct result_attribute name[] = {
        {{(const uint8_t *)"__name__", 8},
         {.type = VALUE_STRING, .s = {(const uint8_t *)"rate", 4}}}};
    static struct result_attribute labels[] = {
        {{(const uint8_t *)"span.\"a b\"", 10}, {.type = VALUE_INT, .i = 200}},
        {{(const uint8_t *)"status", 6}, {.type = VALUE_STATUS, .i = STATUS_ERROR}},
        {{(const uint8_t *)"duration", 8}, {.type = VALUE_DURATION, .i = 1500000}},
        {{(const uint8_t *)"p", 1}, {.type = VALUE_FLOAT, .f = 0.99}},
        {{(const uint8_t *)"x", 1}, {.type = VALUE_BOOL, .i = 1}},
        {{(const uint8_t *)"y", 1}, {.type = VALUE_NIL}}};
    static struct metrics_exemplar exemplar = {
        .labels = name, .label_count = 1, .start_ns = 61234567890, .value = 0.25};
    static struct metrics_series series[] = {{.labels = name,
                                              .label_count = 1,
                                              .points = count,
                                              .exemplars = &exemplar,
                                              .exemplar_count = 1},
                                             {.labels = labels, .label_count = 6, .points = one}};

    return (struct answers_metrics){.result = {series, 2, 3}, .window = {0, 60000000000, 3}};
}

static void test_range(void **state)
{
    struct answers_metrics m = three();

    (void)state;
    m.stats = (struct result_stats){.inspected_bytes = 5, .inspected_spans = 6, .total_jobs = 2};
    expect(
        &m, true,
        "{\"series\":[{\"labels\":[{\"key\":\"__name__\",\"value\":{\"stringValue\":\"rate\"}}],"
        "\"samples\":[{\"timestampMs\":\"60000\"},{\"timestampMs\":\"120000\",\"value\":1.5}],"
        "\"exemplars\":[{\"labels\":[{\"key\":\"__name__\",\"value\":{\"stringValue\":\"rate\"}}],"
        "\"value\":0.25,\"timestampMs\":\"61234\"}]},"
        "{\"labels\":[{\"key\":\"span.\\\"a b\\\"\",\"value\":{\"intValue\":\"200\"}},"
        "{\"key\":\"status\",\"value\":{\"stringValue\":\"error\"}},"
        "{\"key\":\"duration\",\"value\":{\"stringValue\":\"1.5ms\"}},"
        "{\"key\":\"p\",\"value\":{\"doubleValue\":0.99}},"
        "{\"key\":\"x\",\"value\":{\"boolValue\":true}},"
        "{\"key\":\"y\",\"value\":{\"stringValue\":\"nil\"}}],"
        "\"samples\":[{\"timestampMs\":\"60000\",\"value\":7}]}],"
        "\"metrics\":{\"inspectedBytes\":\"5\",\"totalJobs\":2,\"inspectedSpans\":\"6\"}}");
    m.result.count = 0;
    m.stats = (struct result_stats){0};
    expect(&m, true, "{\"series\":[],\"metrics\":{}}");
}

static void test_instant(void **state)
{
    struct answers_metrics m = three();

    (void)state;
    m.result.count = 1;
    expect(
        &m, false,
        "{\"series\":[{\"labels\":[{\"key\":\"__name__\",\"value\":{\"stringValue\":\"rate\"}}]}],"
        "\"metrics\":{}}");
    m.result.series++;
    m.result.series->label_count = 1;
    expect(
        &m, false,
        "{\"series\":[{\"labels\":[{\"key\":\"span.\\\"a b\\\"\",\"value\":{\"intValue\":\"200\"}}],"
        "\"value\":7}],\"metrics\":{}}");
}

static void test_series_max(void **state)
{
    struct answers_metrics m = three();

    (void)state;
    m.result.series[1].label_count = 1;
    m.result.interval_count = 1;
    m.series_max = 1;
    m.result.series[0].exemplar_count = 0;
    expect(
        &m, true,
        "{\"series\":[{\"labels\":[{\"key\":\"__name__\",\"value\":{\"stringValue\":\"rate\"}}],"
        "\"samples\":[{\"timestampMs\":\"60000\"}]}],\"metrics\":{},\"status\":\"PARTIAL\","
        "\"message\":\"Response exceeds maximum series limit of 1, a partial response is returned. "
        "Warning: the accuracy of each individual value is not guaranteed.\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_range), cmocka_unit_test(test_instant),
                                       cmocka_unit_test(test_series_max)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
