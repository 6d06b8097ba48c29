#include "common/codec/gzip.h"
#include "common/codec/inflate.h"
#include "tests/lib/test.h"

#include <stdlib.h>

static void test_what_is_accepted(void **state)
{
    (void)state;
    static const char *const yes[] = {
        "gzip",       "GZIP",       "gzip, deflate",     "deflate, gzip", "br , gzip ",
        "gzip;q=0.5", "gzip ; q=1", "identity;q=0,gzip", "gzip;q=0.1",    "deflate;q=0,gzip;q=1.0"};
    static const char *const no[] = {"",        "deflate",   "gzip;q=0", "gzip;q=0.000",
                                     "x-gzip",  "gzipped",   "*",        "br, gzip; q=0 ",
                                     ",,,;;==", "gzip;Q=0.0"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(gzip_is_accepted(slice_str(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(gzip_is_accepted(slice_str(no[i])));
    assert_false(gzip_is_accepted(SLICE_NONE));
}

static void round_trip(struct slice bytes)
{
    struct buf packed, back;
    struct err_detail detail = {0};

    buf_init(&packed, 1 << 20);
    buf_init(&back, 1 << 20);
    buf_append_str(&packed, "before");
    assert_int_equal(gzip_bytes(bytes, &packed), ERR_OK);
    struct slice member = slice_sub(buf_slice(&packed), 6, packed.len);
    struct budget budget;
    budget_init(&budget, 1 << 24, NULL);
    assert_int_equal(
        inflate_bytes(INFLATE_GZIP, member, &inflate_limits_default, &budget, &back, &detail),
        ERR_OK);
    assert_true(slice_eq(buf_slice(&back), bytes));
    buf_release(&back);
    buf_release(&packed);
}

static void test_round_trips(void **state)
{
    (void)state;
    uint8_t bytes[5000];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * i >> 3);
    for (size_t len = 0; len <= sizeof bytes; len += 1000)
        round_trip((struct slice){bytes, len});
}

static void test_too_large(void **state)
{
    (void)state;
    struct buf out;

    buf_init(&out, 10);
    assert_int_equal(gzip_bytes(SLICE_LIT("more than ten bytes, in any form"), &out),
                     ERR_TOO_LARGE);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_accepted),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
