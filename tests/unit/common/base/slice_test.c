#include "common/base/slice.h"
#include "common/base/utf8.h"
#include "tests/lib/test.h"

static void test_compare(void **state)
{
    (void)state;
    assert_true(slice_eq(SLICE_LIT("a\0b"), SLICE_LIT("a\0b")));
    assert_false(slice_eq(SLICE_LIT("a\0b"), SLICE_LIT("a\0c")));
    assert_true(slice_eq(SLICE_NONE, SLICE_LIT("")));
    assert_false(slice_eq_str(SLICE_LIT("trueish"), "true"));
    assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("ab")) < 0);
    assert_true(slice_cmp(SLICE_LIT("b"), SLICE_LIT("ab")) > 0);
    assert_int_equal(slice_cmp(SLICE_NONE, SLICE_LIT("")), 0);
    assert_true(slice_cmp(SLICE_LIT("\xff"), SLICE_LIT("a")) > 0); /* bytes, not chars */
    assert_true(slice_has_prefix(SLICE_LIT("abc"), SLICE_LIT("ab")));
    assert_true(slice_has_prefix(SLICE_LIT("abc"), SLICE_NONE));
    assert_false(slice_has_prefix(SLICE_LIT("a"), SLICE_LIT("ab")));
}

static void test_sub_is_clamped(void **state)
{
    struct slice s = SLICE_LIT("abcdef");

    (void)state;
    assert_true(slice_eq_str(slice_sub(s, 1, 3), "bc"));
    assert_true(slice_eq_str(slice_sub(s, 4, 100), "ef"));
    assert_int_equal(slice_sub(s, 100, 200).len, 0);
    assert_int_equal(slice_sub(s, 4, 2).len, 0);
    assert_int_equal(slice_sub(SLICE_NONE, 1, 2).len, 0);
}

/* RFC 3629, and the table of well-formed sequences of the Unicode standard (3-7). */
static void test_utf8(void **state)
{
    static const char *const good[] = {"",
                                       "abc",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xce\xbcs"};
    static const char *const bad[] = {
        "\x80",     "\xc0\x80",         "\xc1\xbf",         "\xc2",
        "\xc2g",    "\xe0\x9f\xbf",     "\xed\xa0\x80",     "\xed\xbf\xbf",
        "\xef\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xff",     "ab\xfe",           "\xf0\x90\x80"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(utf8_is_valid(slice_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(utf8_is_valid(slice_str(bad[i])));
    assert_true(utf8_is_valid(SLICE_LIT("a\0b")));
    assert_int_equal(utf8_char_bytes(SLICE_LIT("\xf0\x90\x80\x80z")), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_sub_is_clamped),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
