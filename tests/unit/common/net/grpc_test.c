#include "common/base/clock.h"
#include "common/net/grpc.h"
#include "tests/lib/test.h"

struct bad_frame {
    struct slice body, encoding;
    unsigned code;
    const char *text;
};

static void test_one_message_is_read(void **state)
{
    (void)state;
    struct slice message;
    enum inflate_kind kind;
    unsigned code;
    struct err_detail detail = {0};
    assert_true(grpc_message_read(SLICE_LIT("\0\0\0\0\x03"
                                            "abc"),
                                  SLICE_NONE, &message, &kind, &code, &detail));
    assert_true(slice_eq_str(message, "abc"));
    assert_int_equal(kind, INFLATE_IDENTITY);
    assert_true(grpc_message_read(SLICE_LIT("\x01\0\0\0\x03"
                                            "abc"),
                                  SLICE_LIT("gzip"), &message, &kind, &code, &detail));
    assert_int_equal(kind, INFLATE_GZIP);
    /* The encoding is named, but this message is not compressed. */
    assert_true(grpc_message_read(SLICE_LIT("\0\0\0\0\0"), SLICE_LIT("zstd"), &message, &kind,
                                  &code, &detail));
    assert_int_equal(kind, INFLATE_IDENTITY);
    assert_int_equal(message.len, 0);
}

static void test_bad_frames_have_their_code(void **state)
{
    (void)state;
    const struct bad_frame cases[] = {
        {SLICE_NONE, SLICE_NONE, 13, "EOF"},
        {SLICE_LIT("\0\0\0\0"), SLICE_NONE, 13, "unexpected EOF"},
        {SLICE_LIT("\0\0\0\0\x04"
                   "abc"),
         SLICE_NONE, 13, "unexpected EOF"},
        {SLICE_LIT("\0\xff\xff\xff\xff"
                   "abc"),
         SLICE_NONE, 13, "unexpected EOF"},
        {SLICE_LIT("\0\0\0\0\x01"
                   "abc"),
         SLICE_NONE, 13, "grpc: a unary call must have exactly one message"},
        {SLICE_LIT("\x02\0\0\0\0"), SLICE_NONE, 13, "grpc: received unexpected payload format 2"},
        {SLICE_LIT("\x01\0\0\0\0"), SLICE_NONE, 13,
         "grpc: compressed flag set with identity or empty encoding"},
        {SLICE_LIT("\x01\0\0\0\0"), SLICE_LIT("br"), 12,
         "grpc: Decompressor is not installed for grpc-encoding \"br\""},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice message;
        enum inflate_kind kind;
        unsigned code = 0;
        struct err_detail detail = {0};
        assert_false(
            grpc_message_read(cases[i].body, cases[i].encoding, &message, &kind, &code, &detail));
        assert_int_equal(code, cases[i].code);
        assert_string_equal(detail.text, cases[i].text);
    }
}

static void test_timeouts(void **state)
{
    (void)state;
    assert_true(grpc_timeout_ns(SLICE_LIT("1H")) == 3600 * NS_PER_S);
    assert_true(grpc_timeout_ns(SLICE_LIT("2M")) == 120 * NS_PER_S);
    assert_true(grpc_timeout_ns(SLICE_LIT("3S")) == 3 * NS_PER_S);
    assert_true(grpc_timeout_ns(SLICE_LIT("100m")) == 100 * NS_PER_MS);
    assert_true(grpc_timeout_ns(SLICE_LIT("99999999u")) == 99999999 * NS_PER_US);
    assert_true(grpc_timeout_ns(SLICE_LIT("0n")) == 0);
    assert_true(grpc_timeout_ns(SLICE_LIT("99999999H")) == INT64_MAX);
    static const char *const bad[] = {"",     "S",          "5",   "5s", "-1S",
                                      "1.5S", "100000000S", " 5S", "5S "};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(grpc_timeout_ns(slice_str(bad[i])) == -1);
}

static void test_messages_are_percent_encoded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1024);
    grpc_escape(SLICE_LIT("50% of \xc3\xa4\n~ ok"), &b);
    assert_string_equal((const char *)b.ptr, "50%25 of %C3%A4%0A~ ok");
    buf_release(&b);
}

static void test_types(void **state)
{
    (void)state;
    assert_true(grpc_is_type(SLICE_LIT("application/grpc")));
    assert_true(grpc_is_type(SLICE_LIT("application/grpc+proto")));
    assert_true(grpc_is_type(SLICE_LIT("application/grpc;x=y")));
    assert_false(grpc_is_type(SLICE_LIT("application/grpc-web")));
    assert_false(grpc_is_type(SLICE_LIT("application/grpc+json")));
    assert_false(grpc_is_type(SLICE_NONE));
}

static void test_written_is_read(void **state)
{
    (void)state;
    struct buf b;
    struct slice message;
    enum inflate_kind kind;
    unsigned code;
    struct err_detail detail;

    buf_init(&b, 100);
    size_t mark = grpc_message_open(&b);
    buf_append_str(&b, "abc");
    grpc_message_close(&b, mark);
    assert_true(grpc_message_read(buf_slice(&b), SLICE_NONE, &message, &kind, &code, &detail));
    assert_true(slice_eq_str(message, "abc"));
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_message_is_read),
        cmocka_unit_test(test_bad_frames_have_their_code),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_messages_are_percent_encoded),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
