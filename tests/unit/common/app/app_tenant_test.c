/* Tenant ids as Tempo takes and refuses them. */
#include "common/app/app.h"
#include "tests/lib/test.h"

static void expect(const char *id, enum err want, const char *text)
{
    struct err_detail detail = {0};
    enum err e = app_tenant_check(slice_str(id), &detail);

    assert_int_equal(e, want);
    assert_string_equal(detail.text, text);
}

static void test_taken(void **state)
{
    char longest[151];

    (void)state;
    memset(longest, 'x', 150);
    longest[150] = '\0';
    expect("single-tenant", ERR_OK, "");
    expect("aZ09!-_.*'()", ERR_OK, "");
    expect("...", ERR_OK, "");
    expect(longest, ERR_OK, "");
}

static void test_refused(void **state)
{
    char too_long[152];

    (void)state;
    memset(too_long, 'x', 151);
    too_long[151] = '\0';
    expect("", ERR_UNAUTHENTICATED, "no org id");
    expect(".", ERR_INVALID, "tenant ID is '.' or '..'");
    expect("..", ERR_INVALID, "tenant ID is '.' or '..'");
    expect("a#b", ERR_INVALID, "tenant ID 'a#b' contains unsupported character '#'");
    expect("a|b", ERR_INVALID, "tenant ID 'a|b' contains unsupported character '|'");
    expect("a/../b", ERR_INVALID, "tenant ID 'a/../b' contains unsupported character '/'");
    expect("a\nb", ERR_INVALID, "tenant ID 'a\\x0ab' contains unsupported character '\\x0a'");
    expect(too_long, ERR_INVALID, "tenant ID is too long: max 150 characters");
}

static void test_a_nul_is_no_end(void **state)
{
    struct err_detail detail = {0};

    (void)state;
    assert_int_equal(app_tenant_check((struct slice){(const uint8_t *)"a\0b", 3}, &detail),
                     ERR_INVALID);
    assert_string_equal(detail.text, "tenant ID 'a\\x00b' contains unsupported character '\\x00'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_a_nul_is_no_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
