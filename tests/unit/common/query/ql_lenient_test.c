#include "common/query/ql.h"
#include "tests/lib/test.h"

/* The condition that is left, as text; "" for none. */
static enum err run(struct slice text, char *ret, size_t bytes)
{
    struct arena a;
    struct ql_expr *e = NULL;
    struct buf b;

    ret[0] = '\0';
    arena_init(&a, NULL);
    buf_init(&b, 1 << 20);
    enum err err = ql_parse_lenient(&a, text, &e);
    if (err == ERR_OK && e != NULL) {
        ql_dump_expr(&b, e);
        (void)snprintf(ret, bytes, SLICE_FMT, SLICE_ARG(buf_slice(&b)));
    }
    buf_release(&b);
    ql_expr_release(e);
    arena_release(&a);
    return err;
}

static const struct {
    const char *text, *want;
} rows[] = {
    /* whole */
    {"{ resource.service.name = \"web\" }", "resource.service.name = `web`"},
    {"{ resource.service.name = \"web\" && span.template = \"basket\" }",
     "(resource.service.name = `web`) && (span.template = `basket`)"},
    {"{ resource.service.name = \"web\" || span.depth > 5 }",
     "(resource.service.name = `web`) || (span.depth > 5)"},
    {"{ .a = 1 && (.b = 2 || .c = 3) }", "(.a = 1) && ((.b = 2) || (.c = 3))"},
    {"{ name =~ \"link-.*\" }", "name =~ `link-.*`"},
    {"{ !(.a = 1) }", "!(.a = 1)"},
    {"{ (.a + 1) * 2 > 4 }", "((.a + 1) * 2) > 4"},
    {"{ duration > 1m }", "duration > 1m0s"},
    {"{ .a != nil }", ".a != nil"},
    {"{ service.name = `x` }", ".service.name = `x`"},
    {"{ false }", "false"},
    {"  {.a=1}  ", ".a = 1"},
    {"{ .a = 1 } | count() > 2", ".a = 1"},
    {"{ .a = 1 } | rate() by (", ".a = 1"},
    /* nothing asked */
    {"{}", ""},
    {"{ }", ""},
    {"{ true }", ""},
    {"", ""},
    {"   ", ""},
    /* half-written */
    {"{ resource.service.name = }", ""},
    {"{ resource.service.name }", ""},
    {"{ resource.service. }", ""},
    {"{ span. }", ""},
    {"{ .a = \"x\" && }", ".a = `x`"},
    {"{ && .a = \"x\" }", ".a = `x`"},
    {"{ .a = \"x\" && .b = }", ".a = `x`"},
    {"{ .a = \"x\" && .b }", ".a = `x`"},
    {"{ .b = && .a = \"x\" }", ".a = `x`"},
    {"{ .b && .a = \"x\" && span.c =~ }", ".a = `x`"},
    {"{ .a = \"x\"", ".a = `x`"},
    {"{ .a = \"x\" && ", ".a = `x`"},
    {"{ .a = \"x\" && .b = \"ha", ".a = `x`"},
    {"{ .a = \"x\" && .b = \"ha }", ".a = `x`"},
    {"{ .a = \"x\" && .\"b", ".a = `x`"},
    {"{ .a = \"x", ""},
    {"{ .a = foo && .b = 1 }", ".b = 1"},
    {"{ .a = \"x\" && (.b = 1 && .c = ) }", "(.a = `x`) && (.b = 1)"},
    {"{ .a = \"x\" && (.b = 1", "(.a = `x`) && (.b = 1)"},
    {"{ (.b = 1 && .c = ) = 1 && .a = 1 }", ".a = 1"},
    {"{ .a = \"x\" || .b = }", ""},
    {"{ .a = \"x\" && (.b = 1 || .c = ) }", ".a = `x`"},
    {"{ kind = \"server\" && .a = 1 }", ".a = 1"}, /* does not check */
    {"{ .a =~ \"(\" && .b =~ \"x\" }", ".b =~ `x`"},
    {"{ .a =~ \"x\" && .b =~ \"y\" || .c }", ""}, /* compiled, and let go */
    {"{ parent.a = 1 && .b = 2 }", ".b = 2"},
    {"{ .a = 1 .b = 2 && .c = 3 }", ".c = 3"},
    /* garbage, and more than one filter */
    {"{ nonsense", ""},
    {"garbage", ""},
    {".a = 1", ""},
    {"}", ""},
    {"{ .a = 1 }}", ""},
    {"{ .a = 1 ) }", ""},
    {"{ .a = 1 } || { .b = 2 }", ""},
    {"{ .a = 1 } >> { .b = 2 }", ""},
    {"{ .a = 1 } \"", ""},
    {"({ .a = 1 })", ""},
    {"{ .a = 1 && \xff }", ".a = 1"},
};

static void test_rows(void **state)
{
    char got[1024];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum err e = run(slice_str(rows[i].text), got, sizeof got);
        if (e != ERR_OK || strcmp(got, rows[i].want) != 0)
            fail_msg("%s\n  want: %s\n  got:  %s (%s)", rows[i].text, rows[i].want, got,
                     err_name(e));
    }
}

static void repeat(struct buf *b, const char *unit, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        buf_append_str(b, unit);
}

static void test_limits(void **state)
{
    struct buf b;
    char got[4096];

    (void)state;
    buf_init(&b, 1 << 20);
    repeat(&b, "x", QL_TEXT_BYTES_MAX + 1);
    assert_int_equal(run(buf_slice(&b), got, sizeof got), ERR_TOO_LARGE);

    buf_reset(&b);
    buf_append_str(&b, "{ .a = 1 && ");
    repeat(&b, "(", 60000);
    assert_int_equal(run(buf_slice(&b), got, sizeof got), ERR_OK);
    assert_string_equal(got, ".a = 1");

    buf_reset(&b);
    buf_append_str(&b, "{ .a = 1 && ");
    repeat(&b, "!", 60000);
    assert_int_equal(run(buf_slice(&b), got, sizeof got), ERR_OK);
    assert_string_equal(got, ".a = 1");

    buf_reset(&b); /* more terms than a query may have: the first are kept */
    buf_append_str(&b, "{ .a = 1");
    repeat(&b, "&&.b", 20000);
    assert_int_equal(run(buf_slice(&b), got, sizeof got), ERR_OK);
    assert_string_equal(got, ".a = 1");
    buf_release(&b);
}

static void test_budget(void **state)
{
    struct budget budget;
    struct arena a;
    struct ql_expr *e = NULL;

    (void)state;
    budget_init(&budget, 4096, NULL);
    arena_init(&a, &budget);
    assert_int_equal(
        ql_parse_lenient(
            &a,
            SLICE_LIT(
                "{ .a =~ `x` && .b =~ `y` && .c =~ `z` && .d = 1 && .e = 1 && .f = 1 && .g = 1 && .h = 1 && .i = 1 && .j = 1 && .k = 1 && .l = 1 }"),
            &e),
        ERR_LIMIT);
    assert_null(e);
    arena_release(&a);
}

/* The tag routes: one attribute without a scope, and nothing is asked. */
static void test_tag_filter(void **state)
{
    static const struct {
        const char *text;
        bool is_some;
    } filters[] = {{"{ span.a = 1 }", true},
                   {"{ name = \"x\" && !(resource.a > 1) }", true},
                   {"{ .a = 1 }", false},
                   {"{ http.method = \"x\" }", false},
                   {"{ span.a = 1 && (name = \"y\" || !(1 + .b > 2)) }", false},
                   {"{ span.a = 1 && .b = }", true},
                   {"{ .a =~ \"x\" && span.b =~ \"y\" }", false},
                   {"{}", false}};

    (void)state;
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        struct ql_expr *e = NULL;
        struct arena a;
        arena_init(&a, NULL);
        assert_int_equal(ql_parse_tag_filter(&a, slice_str(filters[i].text), &e), ERR_OK);
        if ((e != NULL) != filters[i].is_some)
            fail_msg("%s", filters[i].text);
        ql_expr_release(e);
        arena_release(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_budget),
                                       cmocka_unit_test(test_tag_filter)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
