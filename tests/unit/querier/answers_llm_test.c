/* The form for language models, byte by byte: a trace, tag values by type. */
#include "common/codec/otlp_json.h"
#include "querier/answers.h"
#include "tests/lib/test.h"

static void trace_is(const char *otlp_json, const char *want)
{
    struct buf pb, out;
    struct arena arena;

    arena_init(&arena, NULL);
    buf_init(&pb, 1 << 16);
    buf_init(&out, 1 << 16);
    assert_int_equal(otlp_json_to_pb(slice_str(otlp_json), NULL, &pb, NULL), ERR_OK);
    answers_llm_trace(&out, &arena, buf_slice(&pb));
    assert_int_equal(arena_err(&arena), ERR_OK);
    assert_int_equal(buf_err(&out), ERR_OK);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)out.ptr, want);
    buf_release(&pb);
    buf_release(&out);
    arena_release(&arena);
}

#define IDS "\"traceId\":\"59b8eff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\""

static void test_a_full_span(void **state)
{
    (void)state;
    trace_is(
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}},{\"key\":\"host.cpus\",\"value\":{\"intValue\":\"8\"}}]},"
        "\"scopeSpans\":[{\"scope\":{\"name\":\"lib\",\"version\":\"1\"},\"spans\":[{" IDS
        ",\"parentSpanId\":\"eee19b7ec3c1b173\",\"name\":\"GET /\",\"kind\":2,\"startTimeUnixNano\":\"1544712660000000000\",\"endTimeUnixNano\":\"1544712661500000000\","
        "\"attributes\":[{\"key\":\"n\",\"value\":{\"intValue\":\"200\"}},{\"key\":\"b\",\"value\":{\"boolValue\":true}},{\"key\":\"d\",\"value\":{\"doubleValue\":0.5}},"
        "{\"key\":\"a\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"x\"},{}]}}},{\"key\":\"y\",\"value\":{\"bytesValue\":\"AQI=\"}},"
        "{\"key\":\"k\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":\"q\",\"value\":{\"stringValue\":\"\"}}]}}},{\"key\":\"n\",\"value\":{\"stringValue\":\"last\"}}],"
        "\"events\":[{\"timeUnixNano\":\"5\",\"name\":\"e\",\"attributes\":[{\"key\":\"z\",\"value\":{\"intValue\":\"-1\"}}]}],\"links\":[{" IDS
        "}],\"status\":{\"code\":2,\"message\":\"boom\"}}]}]}]}",
        "{\"trace\":{\"traceId\":\"59b8eff798038103d269b633813fc60c\",\"services\":[{\"serviceName\":\"shop\",\"resource\":{\"host.cpus\":8},"
        "\"scopes\":[{\"name\":\"lib\",\"version\":\"1\",\"spans\":[{\"spanId\":\"eee19b7ec3c1b174\",\"name\":\"GET /\",\"parentSpanId\":\"eee19b7ec3c1b173\",\"kind\":\"SPAN_KIND_SERVER\","
        "\"startTimeUnixNano\":\"1544712660000000000\",\"endTimeUnixNano\":\"1544712661500000000\",\"durationMs\":1500,"
        "\"attributes\":{\"a\":[\"x\",null],\"b\":true,\"d\":0.5,\"k\":{\"q\":\"\"},\"n\":\"last\",\"y\":\"0102\"},"
        "\"events\":[{\"name\":\"e\",\"timeUnixNano\":\"5\",\"attributes\":{\"z\":-1}}],\"links\":[{" IDS
        "}],\"status\":{\"code\":\"STATUS_CODE_ERROR\",\"message\":\"boom\"}}]}]}]}}");
}

static void test_groups_and_defaults(void **state)
{
    (void)state;
    trace_is("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{" IDS
             ",\"status\":{\"message\":\"not set\"}},{" IDS "}]},{\"spans\":[{" IDS
             "}]}]},{\"scopeSpans\":[{\"spans\":[{" IDS "}]}]}]}",
             "{\"trace\":{\"traceId\":\"59b8eff798038103d269b633813fc60c\",\"services\":["
#define SPAN \
    "{\"spanId\":\"eee19b7ec3c1b174\",\"name\":\"\",\"status\":{\"code\":\"STATUS_CODE_UNSET\",\"message\":\"\"}}"
             "{\"scopes\":[{\"spans\":[" SPAN "," SPAN "]},{\"spans\":[" SPAN
             "]}]},{\"scopes\":[{\"spans\":[" SPAN "]}]}]}}");
}

static void test_no_trace(void **state)
{
    (void)state;
    trace_is("{\"resourceSpans\":[]}", "{}");
}

static void test_memory_that_is_short_is_told(void **state)
{
    (void)state;
    struct budget budget;
    struct arena arena;
    struct buf pb, out;

    budget_init(&budget, 0, NULL);
    arena_init(&arena, &budget);
    buf_init(&pb, 1 << 16);
    buf_init(&out, 1 << 16);
    assert_int_equal(
        otlp_json_to_pb(
            SLICE_LIT("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{" IDS "}]}]}]}"), NULL,
            &pb, NULL),
        ERR_OK);
    answers_llm_trace(&out, &arena, buf_slice(&pb));
    assert_int_equal(arena_err(&arena), ERR_LIMIT);
    buf_release(&pb);
    buf_release(&out);
    arena_release(&arena);
}

static void test_values_by_type(void **state)
{
    (void)state;
    struct value values[] = {{.type = VALUE_STRING, .s = SLICE_LIT("a")},
                             {.type = VALUE_INT, .i = 7},
                             {.type = VALUE_STRING, .s = SLICE_LIT("b")},
                             {.type = VALUE_BOOL, .i = 1}};
    struct tag_values r = {.values = values, .count = 4, .stats = {.inspected_bytes = 9}};
    struct buf out;

    buf_init(&out, 1 << 16);
    answers_llm_values(&out, &r);
    assert_true(slice_eq_str(
        buf_slice(&out),
        "{\"tagValues\":{\"bool\":[\"true\"],\"int\":[\"7\"],\"string\":[\"a\",\"b\"]},\"metrics\":{\"inspectedBytes\":9}}"));
    buf_reset(&out);
    answers_llm_values(&out, &(struct tag_values){0});
    assert_true(slice_eq_str(buf_slice(&out), "{\"tagValues\":{}}"));
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_span), cmocka_unit_test(test_groups_and_defaults),
        cmocka_unit_test(test_no_trace), cmocka_unit_test(test_memory_that_is_short_is_told),
        cmocka_unit_test(test_values_by_type)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
