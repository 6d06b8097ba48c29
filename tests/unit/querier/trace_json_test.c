/* Tempo's JSON of a trace: base64 ids, enum names, 64-bit integers as text, defaults left out. */
#include "common/codec/otlp_json.h"
#include "querier/trace_json.h"
#include "tests/lib/test.h"

static void check(const char *otlp_json, const char *want)
{
    struct buf pb, out;
    struct json_out j;

    buf_init(&pb, 1 << 16);
    buf_init(&out, 1 << 16);
    assert_int_equal(otlp_json_to_pb(slice_str(otlp_json), NULL, &pb, NULL), ERR_OK);
    json_out_init(&j, &out);
    trace_json_write(&j, buf_slice(&pb));
    assert_int_equal(buf_err(&out), ERR_OK);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)out.ptr, want);
    buf_release(&pb);
    buf_release(&out);
}

#define IDS     "\"traceId\":\"59b8eff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\""
#define OUT_IDS "\"traceId\":\"Wbjv95gDgQPSabYzgT/GDA==\",\"spanId\":\"7uGbfsPBsXQ=\""

static void test_a_full_span(void **state)
{
    (void)state;
    check(
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"s\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":\"l\",\"version\":\"1\"},"
        "\"spans\":[{" IDS
        ",\"parentSpanId\":\"eee19b7ec3c1b173\",\"traceState\":\"ot=th:c\",\"name\":\"GET\",\"kind\":2,\"startTimeUnixNano\":\"1544712660000000000\","
        "\"endTimeUnixNano\":1544712661000000000,\"attributes\":[{\"key\":\"i\",\"value\":{\"intValue\":\"200\"}},{\"key\":\"b\",\"value\":{\"boolValue\":false}},"
        "{\"key\":\"d\",\"value\":{\"doubleValue\":0.5}},{\"key\":\"a\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"x\"}]}}},{\"key\":\"e\",\"value\":{}},"
        "{\"key\":\"y\",\"value\":{\"bytesValue\":\"AQI=\"}},{\"key\":\"k\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":\"q\",\"value\":{\"stringValue\":\"\"}}]}}}],"
        "\"events\":[{\"timeUnixNano\":\"5\",\"name\":\"ev\"}],\"links\":[{" IDS
        "}],\"status\":{\"code\":2,\"message\":\"boom\"}}]}]}]}",
        "[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"s\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":\"l\",\"version\":\"1\"},\"spans\":[{" OUT_IDS
        ",\"traceState\":\"ot=th:c\",\"parentSpanId\":\"7uGbfsPBsXM=\",\"name\":\"GET\",\"kind\":\"SPAN_KIND_SERVER\",\"startTimeUnixNano\":\"1544712660000000000\","
        "\"endTimeUnixNano\":\"1544712661000000000\",\"attributes\":[{\"key\":\"i\",\"value\":{\"intValue\":\"200\"}},{\"key\":\"b\",\"value\":{\"boolValue\":false}},"
        "{\"key\":\"d\",\"value\":{\"doubleValue\":0.5}},{\"key\":\"a\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"x\"}]}}},{\"key\":\"e\",\"value\":{}},"
        "{\"key\":\"y\",\"value\":{\"bytesValue\":\"AQI=\"}},{\"key\":\"k\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":\"q\",\"value\":{\"stringValue\":\"\"}}]}}}],"
        "\"events\":[{\"timeUnixNano\":\"5\",\"name\":\"ev\"}],\"links\":[{" OUT_IDS
        "}],\"status\":{\"message\":\"boom\",\"code\":\"STATUS_CODE_ERROR\"}}]}]}]");
}

static void test_defaults_are_left_out_but_messages_stay(void **state)
{
    (void)state;
    check("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{" IDS
          ",\"kind\":0,\"status\":{}}]}]}]}",
          "[{\"resource\":{},\"scopeSpans\":[{\"scope\":{},\"spans\":[{" OUT_IDS
          ",\"status\":{}}]}]}]");
}

static void test_groups_and_schema_urls(void **state)
{
    (void)state;
    check(
        "{\"resourceSpans\":[{\"schemaUrl\":\"r1\",\"scopeSpans\":[{\"schemaUrl\":\"s1\",\"spans\":[{" IDS
        "}]},{\"spans\":[{" IDS "}]}]},{\"scopeSpans\":[{\"spans\":[{" IDS "}]}]}]}",
        "[{\"resource\":{},\"scopeSpans\":[{\"scope\":{},\"spans\":[{" OUT_IDS
        "}],\"schemaUrl\":\"s1\"},{\"scope\":{},\"spans\":[{" OUT_IDS "}]}],\"schemaUrl\":\"r1\"},"
        "{\"resource\":{},\"scopeSpans\":[{\"scope\":{},\"spans\":[{" OUT_IDS "}]}]}]");
}

static void test_nothing(void **state)
{
    (void)state;
    check("{\"resourceSpans\":[]}", "[]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_span),
        cmocka_unit_test(test_defaults_are_left_out_but_messages_stay),
        cmocka_unit_test(test_groups_and_schema_urls),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
