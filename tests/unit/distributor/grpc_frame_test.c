#include "common/base/clock.h"
#include "distributor/grpc_frame.h"
#include "tests/lib/test.h"

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
        cmocka_unit_test(test_base64_has_no_padding),
        cmocka_unit_test(test_status_carries_retry_info),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
