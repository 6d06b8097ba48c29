#include "common/query/regex.h"
#include "tests/lib/test.h"

static bool is_match(const char *pattern, struct slice text)
{
    struct ql_regex *r = NULL;

    assert_int_equal(regex_compile(slice_str(pattern), &r, NULL), ERR_OK);
    bool found = regex_match(r, text);
    regex_free(r);
    return found;
}

static bool is_found(const char *pattern, struct slice text)
{
    struct ql_regex *r = NULL;

    assert_int_equal(regex_compile_search(slice_str(pattern), &r, NULL), ERR_OK);
    bool found = regex_match(r, text);
    regex_free(r);
    return found;
}

static void test_anchors(void **state)
{
    (void)state;
    assert_false(is_match("GET", SLICE_LIT("GET /x")));
    assert_true(is_match("GET.*", SLICE_LIT("GET /x")));
    assert_true(is_match("a|b", SLICE_LIT("b")));
    assert_false(is_match("a|b", SLICE_LIT("ab")));
    assert_true(is_match("^a$", SLICE_LIT("a")));
    assert_false(is_match("a$", SLICE_LIT("a\n")));
    assert_true(is_match("a.b", SLICE_LIT("a\nb")));
    assert_false(is_match("(?-s)a.b", SLICE_LIT("a\nb")));
    assert_true(is_match("(?i)abc", SLICE_LIT("ABC")));
    assert_true(is_match("", SLICE_NONE));
    assert_false(is_match("", SLICE_LIT("x")));
    assert_true(is_match(".*", SLICE_LIT("")));
    assert_true(is_match("a\\z", SLICE_LIT("a")));
    assert_true(is_found("b", SLICE_LIT("abc")));
    assert_false(is_found("^b", SLICE_LIT("abc")));
    assert_false(is_found("a.b", SLICE_LIT("a\nb")));
    assert_true(is_found("", SLICE_LIT("x")));
}

static void test_classes(void **state)
{
    (void)state;
    assert_true(is_match("\\d+\\s\\w", SLICE_LIT("12 x")));
    assert_true(is_match("[[:alpha:]]+", SLICE_LIT("abc")));
    assert_true(is_match("\\pL+", SLICE_LIT("\xd0\xba\xd0\xbb")));
    assert_true(is_match(".", SLICE_LIT("\xf0\x9f\x98\x9d")));
    assert_true(is_match("[]a]", SLICE_LIT("]")));
    assert_true(is_match("(?P<x>a)", SLICE_LIT("a")));
    assert_true(is_match("(?<x>a)(?:b)", SLICE_LIT("ab")));
    assert_true(is_match("[(?<x>a)]+", SLICE_LIT("(?<x>a)")));
    assert_false(is_match("[(?<x>a)]+", SLICE_LIT("P")));
    assert_true(is_match("[^]](?<n>[[:digit:]])", SLICE_LIT("a1")));
    assert_true(is_match("\\Q(?<x>\\C\\E", SLICE_LIT("(?<x>\\C")));
    assert_true(is_match("\\(?<x>", SLICE_LIT("<x>")));
}

/* Bytes that are no UTF-8 match as U+FFFD, NUL as itself. */
static void test_bytes(void **state)
{
    (void)state;
    assert_true(is_match("a.b", SLICE_LIT("a\xff"
                                          "b")));
    assert_true(is_match("a[^x]b", SLICE_LIT("a\xff"
                                             "b")));
    assert_true(is_match("a\xef\xbf\xbd"
                         "b",
                         SLICE_LIT("a\xff"
                                   "b")));
    assert_false(is_match("axb", SLICE_LIT("a\xff"
                                           "b")));
    assert_true(is_match("a..b", SLICE_LIT("a\xf0\x9f"
                                           "b")));
    assert_true(is_match("a.b", SLICE_LIT("a\0b")));
    assert_false(is_match("a", SLICE_LIT("a\0")));
    assert_true(is_found("b", SLICE_LIT("\xff"
                                        "b")));
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"[",      "(",    "*a",   "a**",  "(?=x)",  "(?!x)",
                                      "(?<=x)", "\\1",  "\\C",  "a\\C", "[a",     "a{1001}",
                                      "\\",     "(?z)", "\\pX", "\xff", "c{2049}"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ql_regex *r = NULL;
        struct err_detail detail = {0};
        if (regex_compile(slice_str(bad[i]), &r, &detail) != ERR_INVALID || detail.text[0] == '\0')
            fail_msg("%s: %s", bad[i], detail.text);
        assert_null(r);
    }
    struct ql_regex *r = NULL;
    assert_int_equal(regex_compile(SLICE_LIT("((((a{100}){100}){100}){100})"), &r, NULL),
                     ERR_INVALID);
    assert_int_equal(
        regex_compile(SLICE_LIT("(\\pL{500}|\\pN{500}){1,2}(\\pL{900}){1,1}"), &r, NULL),
        ERR_LIMIT);
    regex_free(NULL);
}

/* Linear where backtracking would take for ever. */
static void test_hostile(void **state)
{
    static char text[1 << 16];

    (void)state;
    memset(text, 'a', sizeof text);
    assert_false(is_match("(a*)*b", (struct slice){(const uint8_t *)text, sizeof text}));
    assert_false(is_match("(a|aa)+b", (struct slice){(const uint8_t *)text, sizeof text}));
    assert_false(
        is_match("(.*)(.*)(.*)(.*)(.*)[^a]", (struct slice){(const uint8_t *)text, sizeof text}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anchors), cmocka_unit_test(test_classes),
        cmocka_unit_test(test_bytes),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
