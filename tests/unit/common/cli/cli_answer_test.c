#include "common/cli/cli_answer.h"
#include "tests/lib/test.h"

#include <math.h>

static struct arena arena;

static struct cli_answer read_json(const char *json)
{
    struct err_detail d = {0};
    struct cli_answer answer;

    if (cli_answer_from_json(slice_str(json), &arena, &answer, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return answer;
}

static void assert_text(struct slice s, const char *want)
{
    if (!slice_eq_str(s, want))
        fail_msg(SLICE_FMT " is not %s", SLICE_ARG(s), want);
}

static void test_traces(void **state)
{
    (void)state;
    struct cli_answer a = read_json(
        "{\"traces\":[{\"traceID\":\"2f\",\"rootServiceName\":\"shop\",\"rootTraceName\":\"op\",\"startTimeUnixNano\":\"1684778327699392724\","
        "\"durationMs\":557,\"spanSet\":{\"spans\":[{}]},\"spanSets\":[{\"spans\":[{\"spanID\":\"1\",\"name\":\"x\",\"durationNanos\":\"5\","
        "\"attributes\":[{\"key\":\"status\",\"value\":{\"stringValue\":\"error\"}},{\"key\":\"n\",\"value\":{\"intValue\":\"5\"}},"
        "{\"key\":\"ok\",\"value\":{\"boolValue\":false}},{\"key\":\"l\",\"value\":{\"arrayValue\":{\"values\":[]}}}]}],\"matched\":3},"
        "{\"spans\":[{},{}],\"matched\":2}]},{}],\"metrics\":{\"completedJobs\":2,\"totalJobs\":21}}");
    assert_int_equal(a.found_count, 2);
    const struct cli_found *f = a.found;
    assert_text(f->trace_id, "2f");
    assert_text(f->service, "shop");
    assert_text(f->name, "op");
    assert_int_equal(f->start_ns, 1684778327699392724u);
    assert_int_equal(f->duration_ns, 557000000);
    assert_int_equal(f->matched, 5);
    assert_int_equal(f->span_count, 3);
    assert_int_equal(f->spans[0].duration_ns, 5);
    assert_text(f->spans[0].attributes, "status=error n=5 ok=false l={\"values\":[]}");
    assert_int_equal(a.found[1].span_count, 0);
    assert_int_equal(a.completed_jobs, 2);
    assert_int_equal(a.total_jobs, 21);
    assert_int_equal(read_json("{\"traces\":[]}").found_count, 0);
    assert_int_equal(read_json("{\"traces\":5}").found_count, 0);
    assert_int_equal(read_json("{}").found_count, 0);
}

static void test_tags_and_values(void **state)
{
    (void)state;
    struct cli_answer a = read_json(
        "{\"scopes\":[{\"name\":\"span\",\"tags\":[\"a\",7]},{\"name\":\"event\"},{\"name\":\"link\",\"tags\":[\"b\"]}]}");
    assert_int_equal(a.tag_count, 3);
    assert_text(a.tags[0].text, "a");
    assert_int_equal(a.tags[1].text.len, 0);
    assert_text(a.tags[2].group, "link");
    a = read_json("{\"tagValues\":[{\"type\":\"int\",\"value\":\"7\"}],\"message\":\"cut\"}");
    assert_int_equal(a.tag_count, 1);
    assert_text(a.tags[0].group, "int");
    assert_text(a.tags[0].text, "7");
    assert_text(a.message, "cut");
}

static void test_series(void **state)
{
    (void)state;
    struct cli_answer a = read_json(
        "{\"series\":[{\"labels\":[{\"key\":\"name\",\"value\":{\"stringValue\":\"op\"}},{\"key\":\"p\",\"value\":{\"doubleValue\":0.99}}],"
        "\"samples\":[{\"timestampMs\":\"1000\",\"value\":1.5},{\"timestampMs\":\"2000\"},{\"timestampMs\":\"3000\",\"value\":\"NaN\"}]},"
        "{\"value\":\"Infinity\"}]}");
    assert_int_equal(a.series_count, 2);
    assert_text(a.series[0].labels, "{name=\"op\", p=0.99}");
    assert_int_equal(a.series[0].sample_count, 3);
    assert_true(a.series[0].samples[0].value == 1.5 && a.series[0].samples[1].value == 0);
    assert_int_equal(a.series[0].samples[1].time_ms, 2000);
    assert_true(isnan(a.series[0].samples[2].value));
    assert_text(a.series[1].labels, "{}");
    assert_int_equal(a.series[1].sample_count, 1);
    assert_true(isinf(a.series[1].samples[0].value));
}

static void test_what_is_no_answer(void **state)
{
    static const char *const bad[] = {"", "[]", "null", "{", "echo", "{\"traces\":[}"};
    struct err_detail d;
    struct cli_answer a;
    bool is_there = false;
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        d.text[0] = '\0';
        assert_int_equal(cli_answer_from_json(slice_str(bad[i]), &arena, &a, &d), ERR_FORMAT);
        assert_true(d.text[0] != '\0');
        assert_int_equal(cli_answer_has_trace_json(slice_str(bad[i]), &is_there, &d), ERR_FORMAT);
    }
    struct budget small;
    struct arena tight;
    budget_init(&small, 10, NULL);
    arena_init(&tight, &small);
    assert_int_equal(cli_answer_from_json(SLICE_LIT("{\"traces\":[{}]}"), &tight, &a, &d),
                     ERR_LIMIT);
    arena_release(&tight);
}

static void test_is_there_a_trace(void **state)
{
    struct err_detail d;
    bool is_there = true;
    (void)state;

#define HAS(json) \
    (cli_answer_has_trace_json(slice_str(json), &is_there, &d) == ERR_OK ? is_there : 2)
    assert_int_equal(HAS("{\"trace\":{},\"metrics\":{}}"), 0);
    assert_int_equal(HAS("{}"), 0);
    assert_int_equal(HAS("{\"trace\":{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[]}]}]}}"), 0);
    assert_int_equal(
        HAS("{\"trace\":{\"resourceSpans\":[{},{\"scopeSpans\":[{},{\"spans\":[{}]},{}]}]}}"), 1);
}

static void test_join(void **state)
{
    struct cli_answer all[3], a;
    (void)state;

    all[0] = read_json(
        "{\"traces\":[{\"traceID\":\"b\",\"startTimeUnixNano\":\"5\"},{\"traceID\":\"a\",\"durationMs\":1}],"
        "\"metrics\":{\"completedJobs\":1,\"totalJobs\":3}}");
    assert_int_equal(cli_answer_join(all, 0, &arena, &a), ERR_OK);
    assert_int_equal(a.found_count, 0);
    assert_int_equal(cli_answer_join(all, 1, &arena, &a), ERR_OK); /* as the server has it */
    assert_text(a.found[0].trace_id, "b");
    all[1] = read_json("{\"traces\":[{\"traceID\":\"c\",\"startTimeUnixNano\":\"7\"}]}");
    all[2] = read_json(
        "{\"traces\":[{\"traceID\":\"a\",\"durationMs\":2},{\"traceID\":\"b\",\"startTimeUnixNano\":\"6\"}],"
        "\"metrics\":{\"completedJobs\":3,\"totalJobs\":3}}");
    assert_int_equal(cli_answer_join(all, 3, &arena, &a), ERR_OK);
    assert_int_equal(a.found_count, 3);
    assert_text(a.found[0].trace_id, "c");
    assert_text(a.found[1].trace_id, "b");
    assert_int_equal(a.found[1].start_ns, 6);
    assert_text(a.found[2].trace_id, "a");
    assert_int_equal(a.found[2].duration_ns, 2000000);
    assert_int_equal(a.completed_jobs, 3);

    all[0] = read_json(
        "{\"tagValues\":[{\"type\":\"string\",\"value\":\"b\"},{\"type\":\"int\",\"value\":\"b\"}]}");
    all[1] = read_json(
        "{\"tagValues\":[{\"type\":\"string\",\"value\":\"a\"},{\"type\":\"string\",\"value\":\"b\"}]}");
    assert_int_equal(cli_answer_join(all, 2, &arena, &a), ERR_OK);
    assert_int_equal(a.tag_count, 3);
    assert_text(a.tags[0].group, "int");
    assert_text(a.tags[1].text, "a");

    all[0] = read_json(
        "{\"series\":[{\"samples\":[{\"timestampMs\":\"2\",\"value\":1},{\"timestampMs\":\"3\",\"value\":1}]}]}");
    all[1] = read_json(
        "{\"series\":[{\"labels\":[{\"key\":\"x\"}],\"value\":4},{\"samples\":[{\"timestampMs\":\"1\",\"value\":5},"
        "{\"timestampMs\":\"3\",\"value\":6}]}]}");
    assert_int_equal(cli_answer_join(all, 2, &arena, &a), ERR_OK);
    assert_int_equal(a.series_count, 2);
    const struct cli_series *s =
        slice_eq_str(a.series[0].labels, "{}") ? &a.series[0] : &a.series[1];
    assert_int_equal(s->sample_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(s->samples[i].time_ms, i + 1);
    assert_true(s->samples[0].value == 5 && s->samples[1].value == 1 && s->samples[2].value == 6);
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traces),           cmocka_unit_test(test_tags_and_values),
        cmocka_unit_test(test_series),           cmocka_unit_test(test_what_is_no_answer),
        cmocka_unit_test(test_is_there_a_trace), cmocka_unit_test(test_join),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
