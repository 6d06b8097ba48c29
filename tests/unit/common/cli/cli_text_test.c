#include "common/cli/cli_text.h"
#include "tests/lib/test.h"

typedef void text_fn(struct buf *out, struct slice text);

static const char *through(text_fn *fn, struct slice text)
{
    static char copy[256];
    struct buf out;

    buf_init(&out, 200);
    fn(&out, text);
    assert_int_equal(buf_err(&out), ERR_OK);
    if (out.len > 0)
        memcpy(copy, out.ptr, out.len);
    copy[out.len] = '\0';
    buf_release(&out);
    return copy;
}
#define SAFE(text)  through(cli_text_safe, SLICE_LIT(text))
#define LINES(text) through(cli_text_safe_lines, SLICE_LIT(text))
#define JSON(text)  through(cli_text_json, SLICE_LIT(text))

static void test_what_a_terminal_must_not_get(void **state)
{
    (void)state;
    assert_string_equal(SAFE("plain ä日本 \\n"), "plain ä日本 \\n");
    assert_string_equal(SAFE("\x1b[31mred\x07\x7f"), "\\x1b[31mred\\x07\\x7f");
    assert_string_equal(SAFE("a\nb\tc\rd\0e"), "a\\nb\\tc\\rd\\x00e");
    assert_string_equal(SAFE("\xc2\x9b"
                             "31m"),
                        "\\u009b31m"); /* C1: CSI in one character */
    assert_string_equal(SAFE("\xe2\x80\xae"
                             "x\xe2\x81\xa9"),
                        "\\u202ex\\u2069");                                  /* overrides */
    assert_string_equal(SAFE("\xe2\x80\x8b\xef\xbb\xbf"), "\\u200b\\ufeff"); /* not seen */
    assert_string_equal(SAFE("\xf3\xa0\x80\x81"), "\\U000e0001");
    assert_string_equal(SAFE("\xff\x9b"
                             "a\xe2\x80"),
                        "\\xff\\x9ba\\xe2\\x80"); /* no UTF-8 */
    assert_string_equal(LINES("a\nb\tc\r\x1b"), "a\nb\tc\\r\\x1b");
    assert_string_equal(JSON("{\"a\":\"\\u001b\x1b\x7f\xc2\x9b\xff\"}\n"),
                        "{\"a\":\"\\u001b\\u001b\\u007f\\u009b\xef\xbf\xbd\"}\n");
    assert_string_equal(JSON("\xf3\xa0\x80\x81"), "\\udb40\\udc01");
}

static const char *fit(const char *text, size_t width, bool is_right)
{
    static char copy[256];
    struct buf out;

    buf_init(&out, 200);
    cli_text_fit(&out, slice_str(text), width, is_right);
    assert_int_equal(buf_err(&out), ERR_OK);
    if (out.len > 0)
        memcpy(copy, out.ptr, out.len);
    copy[out.len] = '\0';
    buf_release(&out);
    return copy;
}

static void test_width(void **state)
{
    (void)state;
    assert_int_equal(cli_text_width(SLICE_NONE), 0);
    assert_int_equal(cli_text_width(slice_str("abc")), 3);
    assert_int_equal(cli_text_width(slice_str("äöü")), 3);
    assert_int_equal(cli_text_width(slice_str("日本")), 4);
    assert_int_equal(cli_text_width(slice_str("e\xcc\x81")), 1); /* a combining accent */
    assert_int_equal(cli_text_width(slice_str("▁█└─…")), 5);
}

static void test_fit(void **state)
{
    (void)state;
    assert_string_equal(fit("abc", 5, false), "abc  ");
    assert_string_equal(fit("abc", 5, true), "  abc");
    assert_string_equal(fit("abcdef", 5, false), "abcd…");
    assert_string_equal(fit("abcdef", 6, false), "abcdef");
    assert_string_equal(fit("日本語", 5, false), "日本…");
    assert_string_equal(fit("日本語", 4, false), "日… "); /* half a character is none */
    assert_string_equal(fit("日本語", 4, true), " 日…");
    assert_string_equal(fit("ab", 1, false), "…");
    assert_string_equal(fit("ab", 0, false), "");
    assert_string_equal(fit("", 2, false), "  ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_terminal_must_not_get),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_fit),
    };
    cli_text_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
