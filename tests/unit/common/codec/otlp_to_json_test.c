/* The JSON of a trace: Tempo's (base64 ids, enum names, 64-bit integers as text, defaults left out) and OTLP's own. */
#include "common/codec/otlp_json.h"
#include "common/codec/otlp_to_json.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"

static void check(const char *otlp_json, const char *want)
{
    struct buf pb, out;
    struct json_out j;

    buf_init(&pb, 1 << 16);
    buf_init(&out, 1 << 16);
    assert_int_equal(otlp_json_to_pb(slice_str(otlp_json), NULL, &pb, NULL), ERR_OK);
    json_out_init(&j, &out);
    otlp_to_json_write(&j, buf_slice(&pb), OTLP_TO_JSON_TEMPO);
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

/* OTLP's own form comes back through the receivers' door as the same spans (fields that nobody knows have no name in JSON). */
static void check_comes_back(struct slice pb)
{
    struct buf json, again;
    struct json_out j;
    struct otlp_canon in = {0}, out = {0};
    struct err_detail detail = {0};

    buf_init(&json, 1 << 24);
    buf_init(&again, 1 << 24);
    json_out_init(&j, &json);
    json_out_begin_object(&j);
    json_out_key(&j, "resourceSpans");
    otlp_to_json_write(&j, pb, OTLP_TO_JSON_OTLP);
    json_out_end_object(&j);
    assert_int_equal(buf_err(&json), ERR_OK);
    if (otlp_json_to_pb(buf_slice(&json), NULL, &again, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
    otlp_canon_add(&in, pb);
    otlp_canon_add(&out, buf_slice(&again));
    otlp_canon_sort(&in, false);
    otlp_canon_sort(&out, false);
    otlp_canon_assert_equal(&in, &out);
    otlp_canon_release(&in);
    otlp_canon_release(&out);
    buf_release(&json);
    buf_release(&again);
}

static void test_the_form_of_otlp_comes_back(void **state)
{
    static const char odd[] =
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"\"}}],\"droppedAttributesCount\":4294967295},"
        "\"scopeSpans\":[{\"scope\":{\"name\":\"l\"},\"schemaUrl\":\"u\",\"spans\":[{" IDS
        ",\"kind\":77,\"startTimeUnixNano\":\"18446744073709551615\",\"flags\":4294967295,\"attributes\":["
        "{\"key\":\"\",\"value\":{\"intValue\":\"-9223372036854775808\"}},{\"key\":\"\",\"value\":{\"doubleValue\":\"NaN\"}},"
        "{\"key\":\"z\",\"value\":{\"doubleValue\":-0.0}},{\"key\":\"k\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":\"q\",\"value\":{\"bytesValue\":\"AP8=\"}}]}}},"
        "{\"key\":\"\\u0000\",\"value\":{\"arrayValue\":{}}}],\"links\":[{\"traceId\":\"59b8eff798038103d269b633813fc60c\",\"flags\":1}],"
        "\"status\":{\"code\":-1}}]}]}]}";
    struct otlp_gen g;
    struct buf pb;
    (void)state;

    buf_init(&pb, 1 << 24);
    assert_int_equal(otlp_json_to_pb(slice_str(odd), NULL, &pb, NULL), ERR_OK);
    check_comes_back(buf_slice(&pb));
    otlp_gen_init(&g, 1, 1700000000000000000);
    for (int i = 0; i < 5; i++) {
        buf_reset(&pb);
        otlp_gen_request(&g, 60, &pb);
        check_comes_back(buf_slice(&pb));
    }
    otlp_gen_release(&g);
    buf_release(&pb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_span),
        cmocka_unit_test(test_defaults_are_left_out_but_messages_stay),
        cmocka_unit_test(test_groups_and_schema_urls),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_the_form_of_otlp_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
