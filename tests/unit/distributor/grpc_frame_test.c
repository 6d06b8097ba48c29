#include "common/base/clock.h"
#include "distributor/grpc_frame.h"
#include "tests/lib/test.h"

struct bad_frame {
    struct slice body, encoding;
    enum verdict_code code;
    const char *text;
};

static void test_one_message_is_read(void **state)
{
    (void)state;
    struct slice message;
    enum inflate_kind kind;
    struct verdict v;
    assert_true(grpc_frame_read(SLICE_LIT("\0\0\0\0\x03"
                                          "abc"),
                                SLICE_NONE, &message, &kind, &v));
    assert_true(slice_eq_str(message, "abc"));
    assert_int_equal(kind, INFLATE_IDENTITY);
    assert_true(grpc_frame_read(SLICE_LIT("\x01\0\0\0\x03"
                                          "abc"),
                                SLICE_LIT("gzip"), &message, &kind, &v));
    assert_int_equal(kind, INFLATE_GZIP);
    /* The encoding is named, but this message is not compressed. */
    assert_true(grpc_frame_read(SLICE_LIT("\0\0\0\0\0"), SLICE_LIT("zstd"), &message, &kind, &v));
    assert_int_equal(kind, INFLATE_IDENTITY);
    assert_int_equal(message.len, 0);
}

static void test_bad_frames_have_their_code(void **state)
{
    (void)state;
    const struct bad_frame cases[] = {
        {SLICE_NONE, SLICE_NONE, VERDICT_INTERNAL, "EOF"},
        {SLICE_LIT("\0\0\0\0"), SLICE_NONE, VERDICT_INTERNAL, "unexpected EOF"},
        {SLICE_LIT("\0\0\0\0\x04"
                   "abc"),
         SLICE_NONE, VERDICT_INTERNAL, "unexpected EOF"},
        {SLICE_LIT("\0\xff\xff\xff\xff"
                   "abc"),
         SLICE_NONE, VERDICT_INTERNAL, "unexpected EOF"},
        {SLICE_LIT("\0\0\0\0\x01"
                   "abc"),
         SLICE_NONE, VERDICT_INTERNAL, "grpc: a unary call must have exactly one message"},
        {SLICE_LIT("\x02\0\0\0\0"), SLICE_NONE, VERDICT_INTERNAL,
         "grpc: received unexpected payload format 2"},
        {SLICE_LIT("\x01\0\0\0\0"), SLICE_NONE, VERDICT_INTERNAL,
         "grpc: compressed flag set with identity or empty encoding"},
        {SLICE_LIT("\x01\0\0\0\0"), SLICE_LIT("br"), VERDICT_UNIMPLEMENTED,
         "grpc: Decompressor is not installed for grpc-encoding \"br\""},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice message;
        enum inflate_kind kind;
        struct verdict v = {0};
        assert_false(grpc_frame_read(cases[i].body, cases[i].encoding, &message, &kind, &v));
        assert_int_equal(v.code, cases[i].code);
        assert_string_equal(v.text, cases[i].text);
    }
}

static void test_timeouts(void **state)
{
    (void)state;
    assert_true(grpc_frame_timeout_ns(SLICE_LIT("1H")) == 3600 * NS_PER_S);
    assert_true(grpc_frame_timeout_ns(SLICE_LIT("2M")) == 120 * NS_PER_S);
    assert_true(grpc_frame_timeout_ns(SLICE_LIT("3S")) == 3 * NS_PER_S);
    assert_true(grpc_frame_timeout_ns(SLICE_LIT("100m")) == 100 * NS_PER_MS);
    assert_true(grpc_frame_timeout_ns(SLICE_LIT("99999999u")) == 99999999 * NS_PER_US);
    assert_true(grpc_frame_timeout_ns(SLICE_LIT("0n")) == 0);
    assert_true(grpc_frame_timeout_ns(SLICE_LIT("99999999H")) == INT64_MAX);
    static const char *const bad[] = {"",     "S",          "5",   "5s", "-1S",
                                      "1.5S", "100000000S", " 5S", "5S "};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(grpc_frame_timeout_ns(slice_str(bad[i])) == -1);
}

static void test_messages_are_percent_encoded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1024);
    grpc_frame_message(SLICE_LIT("50% of \xc3\xa4\n~ ok"), &b);
    assert_string_equal((const char *)b.ptr, "50%25 of %C3%A4%0A~ ok");
    buf_release(&b);
}

static void test_base64_has_no_padding(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},           {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"\xff\xfe\xfd", "//79"}};
    for (unsigned i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct buf b;
        buf_init(&b, 1024);
        grpc_frame_base64(slice_str(pairs[i][0]), &b);
        assert_string_equal((const char *)b.ptr, pairs[i][1]);
        buf_release(&b);
    }
}

static void test_status_carries_retry_info(void **state)
{
    (void)state;
    struct verdict v;
    struct buf b;
    buf_init(&b, 1024);
    verdict_set(&v, VERDICT_UNAVAILABLE, "no");
    grpc_frame_status(&v, &b);
    assert_true(slice_eq(buf_slice(&b), SLICE_LIT("\x08\x0e\x12\x02no")));
    buf_reset(&b);
    v.retry_ns = 5 * NS_PER_S + 7;
    grpc_frame_status(&v, &b);
    assert_true(slice_eq(
        buf_slice(&b),
        SLICE_LIT(
            "\x08\x0e\x12\x02no\x1a\x32\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x06\x0a\x04\x08\x05\x10\x07")));
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_message_is_read),
        cmocka_unit_test(test_bad_frames_have_their_code),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_messages_are_percent_encoded),
        cmocka_unit_test(test_base64_has_no_padding),
        cmocka_unit_test(test_status_carries_retry_info),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
