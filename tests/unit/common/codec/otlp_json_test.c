#include "common/base/trace_id.h"
#include "common/codec/json_scan.h"
#include "common/codec/otlp.h"
#include "common/codec/otlp_json.h"
#include "tests/lib/test.h"

#include <math.h>

enum { PB_MAX = 64 << 20 };

static enum err convert(const char *json, struct buf *pb, struct err_detail *detail)
{
    struct budget budget;
    size_t len = strlen(json);
    uint8_t *copy = malloc(len + (len == 0)); /* exact, without a NUL */
    assert_non_null(copy);
    memcpy(copy, json, len);
    budget_init(&budget, SIZE_MAX, NULL);
    buf_init(pb, PB_MAX);
    enum err e = otlp_json_to_pb((struct slice){copy, len}, &budget, pb, detail);
    assert_int_equal(budget_used(&budget), 0);
    free(copy);
    return e;
}

/* The only span of `json`; the bytes live in *pb. */
static struct slice span_of(const char *json, struct buf *pb, struct otlp_iter *it)
{
    struct err_detail detail = {0};
    uint32_t count = 0;
    struct slice span = SLICE_NONE;
    enum err e = convert(json, pb, &detail);

    if (e != ERR_OK)
        print_message("%s\n", detail.text);
    assert_int_equal(e, ERR_OK);
    assert_int_equal(otlp_check(buf_slice(pb), &otlp_limits_default, &count, &detail), ERR_OK);
    assert_int_equal(count, 1);
    otlp_iter_init(it, buf_slice(pb));
    assert_true(otlp_next_span(it, &span));
    return span;
}

#define IN_SPAN(fields) "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{" fields "}]}]}]}"
#define IN_VALUE(value) IN_SPAN("\"attributes\":[{\"key\":\"k\",\"value\":" value "}]")

static void test_all_fields_of_a_request(void **state)
{
    (void)state;
    static const char json[] =
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}}],"
        "\"droppedAttributesCount\":1},\"schemaUrl\":\"r\",\"scopeSpans\":[{\"scope\":{\"name\":\"lib\",\"version\":\"2\"},"
        "\"schemaUrl\":\"s\",\"spans\":[{\"traceId\":\"5B8EFFF798038103D269B633813FC60C\",\"spanId\":\"eee19b7ec3c1b174\","
        "\"parentSpanId\":\"eee19b7ec3c1b173\",\"traceState\":\"a=b\",\"name\":\"I'm a server span\",\"kind\":2,"
        "\"startTimeUnixNano\":\"1544712660000000001\",\"endTimeUnixNano\":1544712661000000003,\"flags\":257,"
        "\"droppedAttributesCount\":4,\"droppedEventsCount\":5,\"droppedLinksCount\":6,"
        "\"events\":[{\"timeUnixNano\":\"7\",\"name\":\"e\",\"attributes\":[]}],"
        "\"links\":[{\"traceId\":\"5B8EFFF798038103D269B633813FC60C\",\"spanId\":\"eee19b7ec3c1b174\",\"flags\":3}],"
        "\"status\":{\"message\":\"m\",\"code\":\"STATUS_CODE_ERROR\"},\"someFutureField\":{\"a\":[1,2]}}]}]}]}";
    struct buf pb;
    struct otlp_iter it;
    struct otlp_span s;
    struct otlp_value v;
    uint8_t want[16];
    otlp_span_parse(span_of(json, &pb, &it), &s);
    assert_true(otlp_find(it.resource, OTLP_RESOURCE_ATTRIBUTES, SLICE_LIT("service.name"), &v));
    assert_true(slice_eq_str(v.bytes, "shop"));
    assert_true(slice_eq_str(it.resource_schema_url, "r") &&
                slice_eq_str(it.scope_schema_url, "s"));
    assert_int_equal(hex_decode(SLICE_LIT("5b8efff798038103d269b633813fc60c"), want, 16), ERR_OK);
    assert_true(slice_eq(s.trace_id, (struct slice){want, 16}));
    assert_int_equal(s.span_id.len, 8);
    assert_int_equal(s.parent_span_id.len, 8);
    assert_true(slice_eq_str(s.name, "I'm a server span") && slice_eq_str(s.trace_state, "a=b"));
    assert_int_equal(s.kind, 2);
    assert_true(s.start_ns == 1544712660000000001u &&
                s.end_ns == 1544712661000000003u); /* not through a double */
    assert_int_equal(s.flags, 257);
    assert_int_equal(s.dropped_attributes * 100 + s.dropped_events * 10 + s.dropped_links, 456);
    assert_int_equal(s.event_count * 10 + s.link_count, 11);
    assert_int_equal(s.status, 2);
    assert_true(slice_eq_str(s.status_message, "m"));
    buf_release(&pb);
}

static void test_snake_case_and_names_of_enums(void **state)
{
    (void)state;
    struct buf pb;
    struct otlp_iter it;
    struct otlp_span s;
    otlp_span_parse(
        span_of(
            "{\"resource_spans\":[{\"scope_spans\":[{\"spans\":[{\"start_time_unix_nano\":5,\"parent_span_id\":\"0102\","
            "\"kind\":\"SPAN_KIND_CONSUMER\",\"dropped_links_count\":\"3\",\"Name\":\"not this\"}]}]}]}",
            &pb, &it),
        &s);
    assert_int_equal(s.start_ns, 5);
    assert_int_equal(s.parent_span_id.len, 2);
    assert_int_equal(s.kind, 5);
    assert_int_equal(s.dropped_links, 3);
    assert_int_equal(s.name.len, 0);
    buf_release(&pb);
}

static void value_of(const char *json, struct buf *pb, struct otlp_value *ret)
{
    struct otlp_iter it;
    struct slice span = span_of(json, pb, &it);

    assert_true(otlp_find(span, OTLP_SPAN_ATTRIBUTES, SLICE_LIT("k"), ret));
}

static void expect_int(const char *json, int64_t want)
{
    struct buf pb;
    struct otlp_value v;

    value_of(json, &pb, &v);
    assert_int_equal(v.kind, OTLP_INT);
    assert_true(v.i == want);
    buf_release(&pb);
}

static void expect_double(const char *json, double want)
{
    struct buf pb;
    struct otlp_value v;

    value_of(json, &pb, &v);
    assert_int_equal(v.kind, OTLP_DOUBLE);
    assert_true(isnan(want) ? isnan(v.d) : v.d == want);
    buf_release(&pb);
}

static void expect_bytes(const char *json, enum otlp_kind kind, struct slice want)
{
    struct buf pb;
    struct otlp_value v;

    value_of(json, &pb, &v);
    assert_int_equal(v.kind, kind);
    assert_int_equal(v.bytes.len, want.len);
    assert_true(slice_eq(v.bytes, want));
    buf_release(&pb);
}

static void test_numbers_are_exact(void **state)
{
    (void)state;
    expect_int(IN_VALUE("{\"intValue\":\"9223372036854775807\"}"), INT64_MAX);
    expect_int(IN_VALUE("{\"intValue\":9223372036854775807}"), INT64_MAX);
    expect_int(IN_VALUE("{\"intValue\":-9223372036854775808}"), INT64_MIN);
    expect_int(IN_VALUE("{\"intValue\":9007199254740993}"), 9007199254740993);
    expect_int(IN_VALUE("{\"intValue\":1e3}"), 1000);
    expect_int(IN_VALUE("{\"intValue\":-5.0}"), -5);
    expect_int(IN_VALUE("{\"int_value\":0}"), 0);
    expect_double(IN_VALUE("{\"doubleValue\":0.1}"), 0.1);
    expect_double(IN_VALUE("{\"doubleValue\":\"2.5\"}"), 2.5);
    expect_double(IN_VALUE("{\"doubleValue\":5}"), 5);
    expect_double(IN_VALUE("{\"doubleValue\":1e308}"), 1e308);
    expect_double(IN_VALUE("{\"doubleValue\":\"NaN\"}"), (double)NAN);
    expect_double(IN_VALUE("{\"doubleValue\":\"-Infinity\"}"), -(double)INFINITY);
}

static void test_texts_keep_every_character(void **state)
{
    (void)state;
    expect_bytes(IN_VALUE("{\"stringValue\":\"a\\u0000b\\u0000\"}"), OTLP_STR, SLICE_LIT("a\0b\0"));
    expect_bytes(IN_VALUE("{\"stringValue\":\"\\u0041\\n\\\"\\/\\\\\"}"), OTLP_STR,
                 SLICE_LIT("A\n\"/\\"));
    expect_bytes(IN_VALUE("{\"stringValue\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"}"), OTLP_STR,
                 SLICE_LIT("\xf0\x9f\x98\x80 \xf0\x9f\x98\x80"));
    expect_bytes(IN_VALUE("{\"stringValue\":\"<\\ud83d>\\udc00\"}"), OTLP_STR,
                 SLICE_LIT("<\xef\xbf\xbd>\xef\xbf\xbd"));
    expect_bytes(IN_VALUE("{\"stringValue\":\"\"}"), OTLP_STR, SLICE_NONE);
    expect_bytes(IN_VALUE("{\"bytesValue\":\"AP/+\"}"), OTLP_BYTES, SLICE_LIT("\0\xff\xfe"));
    expect_bytes(IN_VALUE("{\"bytesValue\":\"AP_-AA==\"}"), OTLP_BYTES, SLICE_LIT("\0\xff\xfe\0"));
    expect_bytes(IN_VALUE("{\"bytesValue\":\"AA\"}"), OTLP_BYTES, SLICE_LIT("\0"));
    expect_bytes(IN_VALUE("{}"), OTLP_EMPTY, SLICE_NONE);
    expect_bytes(IN_VALUE("null"), OTLP_EMPTY, SLICE_NONE);
    expect_bytes(IN_VALUE("{\"arrayValue\":{\"values\":[{\"intValue\":1},null]}}"), OTLP_ARRAY,
                 SLICE_LIT("\x0a\x02\x18\x01\x0a\0"));
    expect_bytes(
        IN_VALUE("{\"kvlistValue\":{\"values\":[{\"key\":\"x\",\"value\":{\"boolValue\":true}}]}}"),
        OTLP_KVLIST, SLICE_LIT("\x0a\x07\x0a\x01x\x12\x02\x10\x01"));
}

static void test_errors_say_where_and_why(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"", "invalid JSON at line 1 column 1: unexpected end"},
        {"[]", "the request must be an object"},
        {"{\n \"a\": tru}", "invalid JSON at line 2 column 7: unexpected character"},
        {"{\"a\":1,}", "invalid JSON at line 1 column 8: a key must be a string"},
        {"{\"a\" 1}", "invalid JSON at line 1 column 6: ':' must follow a key"},
        {"{\"a\":[1 2]}", "invalid JSON at line 1 column 9: ',' or ']' expected"},
        {"{\"a\":[1,]}", "invalid JSON at line 1 column 9: unexpected character"},
        {"{} x", "invalid JSON at line 1 column 4: text after the end"},
        {"{\"a\":01}", "invalid JSON at line 1 column 7: ',' or '}' expected"},
        {"{\"a\":1.}", "invalid JSON at line 1 column 8: digits must follow the point of a number"},
        {"{\"a\":\"x", "invalid JSON at line 1 column 8: unterminated string"},
        {"{\"a\":\"\\x\"}", "invalid JSON at line 1 column 7: bad escape"},
        {"{\"a\":\"\t\"}", "invalid JSON at line 1 column 7: control character in a string"},
        {"{\"a\":\"\xff\"}", "invalid JSON at line 1 column 7: invalid UTF-8 in a string"},
        {"{\"resourceSpans\":{}}", "resourceSpans: must be an array"},
        {"{\"resourceSpans\":[{},1]}", "resourceSpans[1]: must be an object"},
        {IN_SPAN("\"traceId\":\"W47/95gDgQPSabYzgT/GDA==\""),
         "resourceSpans[0].scopeSpans[0].spans[0].traceId: is not hex"},
        {IN_SPAN("\"startTimeUnixNano\":-1"),
         "resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano: is not a 64-bit unsigned number"},
        {IN_SPAN("\"startTimeUnixNano\":\"0x10\""),
         "resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano: is not a 64-bit unsigned number"},
        {IN_SPAN("\"name\":5"), "resourceSpans[0].scopeSpans[0].spans[0].name: must be a string"},
        {IN_SPAN("\"kind\":\"SERVER\""),
         "resourceSpans[0].scopeSpans[0].spans[0].kind: is not a known name or a 32-bit number"},
        {IN_VALUE("{\"intValue\":9223372036854775808}"),
         "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.intValue: is not a 64-bit number"},
        {IN_VALUE("{\"intValue\":1.5}"),
         "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.intValue: is not a 64-bit number"},
        {IN_VALUE("{\"boolValue\":\"true\"}"),
         "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.boolValue: must be true or false"},
        {IN_VALUE("{\"doubleValue\":\"inf\"}"),
         "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.doubleValue: is not a number"},
        {IN_VALUE("{\"bytesValue\":\"A\"}"),
         "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.bytesValue: is not base64"},
        {IN_VALUE("[]"),
         "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value: must be an object"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf pb;
        struct err_detail detail = {0};
        assert_int_equal(convert(cases[i].json, &pb, &detail), ERR_FORMAT);
        assert_string_equal(detail.text, cases[i].text);
        buf_release(&pb);
    }
}

static void test_nesting_and_size_are_limited(void **state)
{
    (void)state;
    for (unsigned depth = 64; depth <= 65; depth++) {
        struct buf json, pb;
        struct err_detail detail = {0};
        buf_init(&json, 1 << 20);
        buf_append_str(&json, "{\"a\":");
        for (unsigned i = 1; i < depth; i++)
            buf_append_byte(&json, '[');
        for (unsigned i = 1; i < depth; i++)
            buf_append_byte(&json, ']');
        buf_append(&json, (struct slice){(const uint8_t *)"}", 2}); /* with its NUL, for convert */
        assert_int_equal(convert((const char *)json.ptr, &pb, &detail),
                         depth == 64 ? ERR_OK : ERR_TOO_LARGE);
        buf_release(&json);
        buf_release(&pb);
    }
    struct buf pb;
    buf_init(&pb, PB_MAX);
    uint8_t *big = calloc(1, OTLP_JSON_BYTES_MAX + 1);
    assert_non_null(big);
    assert_int_equal(otlp_json_to_pb((struct slice){big, OTLP_JSON_BYTES_MAX + 1}, NULL, &pb, NULL),
                     ERR_TOO_LARGE);
    free(big);
    buf_release(&pb);
}

static void test_the_tree_is_drawn_from_the_budget(void **state)
{
    (void)state;
    struct buf json, pb;
    struct budget budget;
    buf_init(&json, 1 << 20);
    buf_append_str(&json, "{\"a\":[0");
    for (unsigned i = 0; i < 100000; i++)
        buf_append_str(&json, ",[]");
    buf_append_str(&json, "]}");
    budget_init(&budget, 1 << 20, NULL); /* 100 000 nodes of cJSON take more */
    buf_init(&pb, PB_MAX);
    assert_int_equal(otlp_json_to_pb(buf_slice(&json), &budget, &pb, NULL), ERR_LIMIT);
    assert_int_equal(budget_used(&budget), 0);
    buf_release(&json);
    buf_release(&pb);
}

static void test_the_scan_rewrites_numbers_only(void **state)
{
    (void)state;
    static const char json[] = "\xef\xbb\xbf [1, -2.5e+3, \"1\", true, null, {\"k\" : 0}] ";
    uint8_t out[128];
    size_t len = 0, counted = 0;
    struct slice s = {(const uint8_t *)json, sizeof json - 1};
    assert_int_equal(json_scan(s, 64, NULL, &counted, NULL), ERR_OK);
    assert_true(counted <= sizeof out);
    assert_int_equal(json_scan(s, 64, out, &len, NULL), ERR_OK);
    assert_int_equal(len, counted);
    assert_true(slice_eq((struct slice){out, len},
                         SLICE_LIT("[\"\xff"
                                   "1\",\"\xff-2.5e+3\",\"1\",true,null,{\"k\":\"\xff"
                                   "0\"}]")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_fields_of_a_request),
        cmocka_unit_test(test_snake_case_and_names_of_enums),
        cmocka_unit_test(test_numbers_are_exact),
        cmocka_unit_test(test_texts_keep_every_character),
        cmocka_unit_test(test_errors_say_where_and_why),
        cmocka_unit_test(test_nesting_and_size_are_limited),
        cmocka_unit_test(test_the_tree_is_drawn_from_the_budget),
        cmocka_unit_test(test_the_scan_rewrites_numbers_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
