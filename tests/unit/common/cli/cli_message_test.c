#include "common/cli/cli_frame.h"
#include "common/cli/cli_message.h"
#include "common/codec/otlp_write.h"
#include "common/net/grpc.h"
#include "tests/lib/test.h"

enum { BYTES_MAX = 64 << 10 };

static char text[BYTES_MAX];

static enum err to_json(enum cli_message kind, struct slice message)
{
    struct json_out j;
    struct buf out;

    buf_init(&out, BYTES_MAX - 1);
    json_out_init(&j, &out);
    enum err e = cli_message_to_json(kind, message, &j);
    if (out.len > 0)
        memcpy(text, out.ptr, out.len);
    text[out.len] = '\0';
    buf_release(&out);
    return e;
}

static void attribute(struct buf *b, uint32_t field, const char *key, uint32_t kind, uint64_t v,
                      const char *s)
{
    size_t at = pb_begin(b, field);
    pb_bytes(b, 1, slice_str(key));
    size_t value = pb_begin(b, 2);
    if (s != NULL)
        pb_bytes(b, kind, slice_str(s));
    else
        pb_varint(b, kind, v);
    pb_end(b, value);
    pb_end(b, at);
}

static void test_a_search(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, BYTES_MAX);
    size_t trace = pb_begin(&b, 1);
    pb_bytes(&b, 1, slice_str("2f3e"));
    pb_bytes(&b, 2, slice_str("a\"\x1b"));
    pb_varint(&b, 4, 1684778327699392724u);
    pb_varint(&b, 5, 557);
    size_t set = pb_begin(&b, 7);
    size_t span = pb_begin(&b, 1);
    pb_bytes(&b, 1, slice_str("563d"));
    pb_varint(&b, 4, 446979497);
    attribute(&b, 5, "status", 1, 0, "error");
    attribute(&b, 5, "n", 3, (uint64_t)-5, NULL);
    attribute(&b, 5, "zero", 3, 0, NULL);
    attribute(&b, 5, "no", 2, 0, NULL);
    pb_end(&b, span);
    pb_varint(&b, 2, 1);
    pb_end(&b, set);
    size_t entry = pb_begin(&b, 8);
    pb_bytes(&b, 1, slice_str("shop"));
    size_t stats = pb_begin(&b, 2);
    pb_varint(&b, 1, 5);
    pb_varint(&b, 2, 0);
    pb_end(&b, stats);
    pb_end(&b, entry);
    pb_end(&b, trace);
    size_t metrics = pb_begin(&b, 2);
    pb_varint(&b, 4, 3);
    pb_varint(&b, 5, 7);
    pb_varint(&b, 7, 1234);
    pb_end(&b, metrics);
    pb_bytes(&b, 99, slice_str("of a later version"));
    assert_int_equal(to_json(CLI_MESSAGE_SEARCH, buf_slice(&b)), ERR_OK);
    assert_string_equal(
        text,
        "{\"traces\":[{\"traceID\":\"2f3e\",\"rootServiceName\":\"a\\\"\\u001b\",\"startTimeUnixNano\":\"1684778327699392724\","
        "\"durationMs\":557,\"spanSets\":[{\"spans\":[{\"spanID\":\"563d\",\"durationNanos\":\"446979497\",\"attributes\":["
        "{\"key\":\"status\",\"value\":{\"stringValue\":\"error\"}},{\"key\":\"n\",\"value\":{\"intValue\":\"-5\"}},"
        "{\"key\":\"zero\",\"value\":{\"intValue\":\"0\"}},{\"key\":\"no\",\"value\":{\"boolValue\":false}}]}],\"matched\":1}],"
        "\"serviceStats\":{\"shop\":{\"spanCount\":5}}}],\"metrics\":{\"completedJobs\":3,\"totalJobs\":7,\"inspectedSpans\":\"1234\"}}");
    buf_release(&b);
}

static void test_the_other_answers(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, BYTES_MAX);
    assert_int_equal(to_json(CLI_MESSAGE_SEARCH, SLICE_NONE), ERR_OK);
    assert_string_equal(text, "{\"traces\":[]}");
    assert_int_equal(to_json(CLI_MESSAGE_INSTANT, SLICE_NONE), ERR_OK);
    assert_string_equal(text, "{\"series\":[]}");
    size_t scope = pb_begin(&b, 1);
    pb_bytes(&b, 1, slice_str("span"));
    pb_bytes(&b, 2, slice_str("n"));
    pb_bytes(&b, 2, slice_str("who"));
    pb_end(&b, scope);
    assert_int_equal(to_json(CLI_MESSAGE_TAGS, buf_slice(&b)), ERR_OK);
    assert_string_equal(text, "{\"scopes\":[{\"name\":\"span\",\"tags\":[\"n\",\"who\"]}]}");
    assert_int_equal(to_json(CLI_MESSAGE_VALUES, buf_slice(&b)), ERR_OK);
    assert_string_equal(
        text, "{\"tagValues\":[{\"type\":\"span\",\"value\":\"who\"}]}"); /* the last counts */
    buf_reset(&b);
    size_t series = pb_begin(&b, 1);
    attribute(&b, 1, "name", 1, 0, "op");
    size_t sample = pb_begin(&b, 2);
    pb_double(&b, 1, 1.5);
    pb_varint(&b, 2, 1718000015000);
    pb_end(&b, sample);
    pb_end(&b, series);
    pb_varint(&b, 3, 1);
    pb_bytes(&b, 4, slice_str("cut"));
    assert_int_equal(to_json(CLI_MESSAGE_RANGE, buf_slice(&b)), ERR_OK);
    assert_string_equal(
        text,
        "{\"series\":[{\"labels\":[{\"key\":\"name\",\"value\":{\"stringValue\":\"op\"}}],\"samples\":[{\"timestampMs\":\"1718000015000\","
        "\"value\":1.5}]}],\"status\":\"PARTIAL\",\"message\":\"cut\"}");
    buf_release(&b);
}

static void test_damage_and_depth(void **state)
{
    struct buf b;
    size_t marks[200];
    (void)state;

    assert_int_equal(to_json(CLI_MESSAGE_SEARCH, SLICE_LIT("\x0a\x05xx")), ERR_FORMAT);
    assert_int_equal(to_json(CLI_MESSAGE_SEARCH, SLICE_LIT("\x0a\x02\x0a\x7f")), ERR_FORMAT);
    assert_int_equal(to_json(CLI_MESSAGE_SEARCH, SLICE_LIT("\x0b")), ERR_FORMAT);
    buf_init(&b, BYTES_MAX); /* a label whose value is a list in a list in a list ... */
    unsigned depth = 0;
    marks[depth++] = pb_begin(&b, 1);
    marks[depth++] = pb_begin(&b, 1);
    marks[depth++] = pb_begin(&b, 2);
    for (; depth < 200; depth++)
        marks[depth] = pb_begin(&b, depth % 2 == 1 ? 5 : 1);
    while (depth > 0)
        pb_end(&b, marks[--depth]);
    assert_int_equal(buf_err(&b), ERR_OK);
    assert_int_equal(to_json(CLI_MESSAGE_RANGE, buf_slice(&b)), ERR_TOO_LARGE);
    buf_release(&b);
}

static void test_frames(void **state)
{
    struct slice message, rest;
    struct err_detail d = {0};
    struct buf b;
    enum err e = ERR_OK;
    (void)state;

    buf_init(&b, BYTES_MAX);
    for (unsigned i = 0; i < 3; i++) {
        size_t mark = grpc_message_open(&b);
        for (unsigned k = 0; k < i; k++)
            buf_append_str(&b, "xyz");
        grpc_message_close(&b, mark);
    }
    for (size_t len = 0; len <= b.len; len++) { /* however much has come */
        unsigned count = 0;
        rest = slice_sub(buf_slice(&b), 0, len);
        while (cli_frame_next(&rest, &message, &e, &d))
            assert_int_equal(message.len, 3 * count++);
        assert_int_equal(e, ERR_OK);
        assert_int_equal(count, (len >= 5) + (len >= 13) + (len >= 24));
    }
    assert_int_equal(rest.len, 0);
    rest = SLICE_LIT("\x01\0\0\0\x01x");
    assert_false(cli_frame_next(&rest, &message, &e, &d));
    assert_int_equal(e, ERR_FORMAT);
    rest = SLICE_LIT("\0\xff\xff\xff\xff");
    assert_false(cli_frame_next(&rest, &message, &e, &d));
    assert_int_equal(e, ERR_TOO_LARGE);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_search),
        cmocka_unit_test(test_the_other_answers),
        cmocka_unit_test(test_damage_and_depth),
        cmocka_unit_test(test_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
