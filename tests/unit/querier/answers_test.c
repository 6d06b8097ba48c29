/* Answers byte by byte: search, tags, values, as JSON and as protobuf; names of odd bytes. */
#include "common/base/clock.h"
#include "common/base/reader.h"
#include "querier/answers.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

static struct buf out;
static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    buf_init(&out, 1 << 20);
    arena_init(&arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_release(&out);
    arena_release(&arena);
    return 0;
}

static void expect(const char *want)
{
    if (!slice_eq_str(buf_slice(&out), want))
        fail_msg("got " SLICE_FMT, SLICE_ARG(buf_slice(&out)));
    buf_reset(&out);
}

/* The bytes fields number `field`, one after another with "|" between; others are passed over. */
static const char *fields(struct slice message, uint32_t field)
{
    static char text[4][512];
    static unsigned turn;
    char *at = text[turn++ % 4];
    struct reader r = reader_of(message);
    size_t n = 0;

    at[0] = '\0';
    while (!reader_done(&r)) {
        uint64_t tag = reader_varint(&r);
        struct slice s = SLICE_NONE;
        if ((tag & 7) == 2)
            s = reader_bytes(&r);
        else if ((tag & 7) == 0)
            (void)reader_varint(&r);
        else
            (void)reader_take(&r, (tag & 7) == 1 ? 8 : 4);
        if (tag >> 3 == field && (tag & 7) == 2)
            n += (size_t)snprintf(at + n, 512 - n, "%s" SLICE_FMT, n == 0 ? "" : "|", SLICE_ARG(s));
    }
    assert_false(reader_failed(&r));
    return at;
}

/* The first bytes field number `field`. */
static struct slice sub(struct slice message, uint32_t field)
{
    struct reader r = reader_of(message);

    while (!reader_done(&r)) {
        uint64_t tag = reader_varint(&r);
        struct slice s = SLICE_NONE;
        if ((tag & 7) == 2)
            s = reader_bytes(&r);
        else if ((tag & 7) == 0)
            (void)reader_varint(&r);
        else
            (void)reader_take(&r, (tag & 7) == 1 ? 8 : 4);
        if (tag >> 3 == field)
            return s;
    }
    fail_msg("no field %u", field);
    return SLICE_NONE;
}

static struct search_result one_trace(void)
{
    static struct result_attribute attributes[4];
    static struct result_span span;
    static struct result_spanset set;
    static struct result_service services[1];
    static struct result_trace trace;

    attributes[0] = (struct result_attribute){SLICE_LIT("q\"\n"), value_string(SLICE_LIT("a\xff"))};
    attributes[1] = (struct result_attribute){SLICE_LIT("n"), {.type = VALUE_INT, .i = -5}};
    attributes[2] =
        (struct result_attribute){SLICE_LIT("d"), {.type = VALUE_DURATION, .i = 1500 * NS_PER_MS}};
    attributes[3] = (struct result_attribute){SLICE_LIT("b"), {.type = VALUE_BOOL, .i = 1}};
    span = (struct result_span){.id = {{0, 0, 0, 0, 0, 0, 0, 9}},
                                .name = SLICE_LIT("op"),
                                .start_ns = 7,
                                .attributes = attributes,
                                .attribute_count = 4};
    set = (struct result_spanset){.spans = &span, .span_count = 1, .matched = 3};
    services[0] = (struct result_service){SLICE_LIT("s\t"), 2, 1};
    trace = (struct result_trace){.id = {.b = {[15] = 0x1f}},
                                  .root_service = SLICE_LIT("shop"),
                                  .start_ns = 1,
                                  .duration_ns = 2500000,
                                  .spansets = &set,
                                  .spanset_count = 1,
                                  .services = services,
                                  .service_count = 1};
    return (struct search_result){.traces = &trace, .trace_count = 1};
}

static void test_search(void **state)
{
    struct search_result r = {.stats = {.inspected_bytes = 5, .completed_jobs = 2}};

    (void)state;
    answers_search_json(&out, &r);
    expect("{\"traces\":[],\"metrics\":{\"inspectedBytes\":\"5\",\"completedJobs\":2}}");
    r = one_trace();
#define SET                                                                                                            \
    "{\"spans\":[{\"spanID\":\"0000000000000009\",\"name\":\"op\",\"startTimeUnixNano\":\"7\",\"attributes\":["        \
    "{\"key\":\"q\\\"\\n\",\"value\":{\"stringValue\":\"a\\ufffd\"}},{\"key\":\"n\",\"value\":{\"intValue\":\"-5\"}}," \
    "{\"key\":\"d\",\"value\":{\"stringValue\":\"1.5s\"}},{\"key\":\"b\",\"value\":{\"boolValue\":true}}]}],\"matched\":3}"
    answers_search_json(&out, &r);
    expect(
        "{\"traces\":[{\"traceID\":\"1f\",\"rootServiceName\":\"shop\",\"startTimeUnixNano\":\"1\",\"durationMs\":2,\"spanSet\":" SET
        ",\"spanSets\":[" SET
        "],\"serviceStats\":{\"s\\t\":{\"spanCount\":2,\"errorCount\":1}}}],\"metrics\":{}}");
    answers_search_pb(&out, &r);
    struct slice trace = sub(buf_slice(&out), 1), set = sub(trace, 6), span = sub(set, 1);
    assert_string_equal(fields(trace, 1), "1f");
    assert_string_equal(fields(trace, 2), "shop");
    assert_true(slice_eq(sub(trace, 7), set));
    assert_string_equal(fields(span, 1), "0000000000000009");
    assert_string_equal(fields(span, 2), "op");
    assert_string_equal(fields(sub(sub(span, 5), 2), 1), "a\xff");
    assert_string_equal(fields(sub(trace, 8), 1), "s\t");
}

static void test_tag_names(void **state)
{
    struct slice span[2] = {SLICE_LIT("http\"x"), SLICE_LIT("zone")},
                 resource[2] = {SLICE_LIT("a"), SLICE_LIT("zone")};
    struct tag_names n = {.names = {span, resource}, .counts = {2, 2}};
    unsigned both = 1u << TAGS_SPAN | 1u << TAGS_RESOURCE;

    (void)state;
    answers_tags_v1(&out, &arena, &n, both, false);
    expect("{\"tagNames\":[\"a\",\"http\\\"x\",\"zone\"],\"metrics\":{}}");
    answers_tags_v1(&out, &arena, &n, both, true);
    assert_string_equal(fields(buf_slice(&out), 1), "a|http\"x|zone");
    buf_reset(&out);
    answers_tags_v2(&out, &n, both, false);
    expect(
        "{\"scopes\":[{\"name\":\"span\",\"tags\":[\"http\\\"x\",\"zone\"]},{\"name\":\"resource\",\"tags\":[\"a\",\"zone\"]}],\"metrics\":{}}");
    answers_tags_v2(&out, &n, 1u << TAGS_RESOURCE, true);
    assert_string_equal(fields(sub(buf_slice(&out), 1), 1), "resource");
    assert_string_equal(fields(sub(buf_slice(&out), 1), 2), "a|zone");
    buf_reset(&out);
    answers_tags_v2(&out, &n, ANSWERS_INTRINSIC, true);
    assert_string_equal(fields(sub(buf_slice(&out), 1), 1), "intrinsic");
    assert_true(strstr(fields(sub(buf_slice(&out), 1), 2), "traceDuration") != NULL);
}

static void test_tag_values(void **state)
{
    struct value list[5] = {value_string(SLICE_LIT("x\\")),
                            {.type = VALUE_INT, .i = 7},
                            {.type = VALUE_BOOL, .i = 1},
                            {.type = VALUE_STATUS, .i = 2},
                            value_string(SLICE_NONE)};
    struct tag_values v = {.values = list, .count = 5};

    (void)state;
    answers_values_v1(&out, &v, false);
    expect("{\"tagValues\":[\"x\\\\\",\"7\",\"true\",\"2\",\"\"],\"metrics\":{}}");
    answers_values_v1(&out, &v, true);
    assert_string_equal(fields(buf_slice(&out), 1), "x\\|7|true|2|");
    buf_reset(&out);
    answers_values_v2(&out, &v, false);
    expect(
        "{\"tagValues\":[{\"type\":\"string\",\"value\":\"x\\\\\"},{\"type\":\"int\",\"value\":\"7\"},{\"type\":\"bool\",\"value\":\"true\"},"
        "{\"type\":\"int\",\"value\":\"2\"},{\"type\":\"string\"}],\"metrics\":{}}");
    answers_values_v2(&out, &v, true);
    assert_string_equal(fields(sub(buf_slice(&out), 1), 1), "string");
    assert_string_equal(fields(sub(buf_slice(&out), 1), 2), "x\\");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(test_search), T(test_tag_names), T(test_tag_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
