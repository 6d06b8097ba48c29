/* CORS: which origins and which headers are allowed. */
#include "common/net/http_cors.h"
#include "tests/lib/test.h"

static void test_origins(void **state)
{
    static const char *const some[] = {"https://App.example.com", "https://*.example.org", "null"};
    static const char *const all[] = {"https://a.b", "*"};
    static const struct {
        const char *origin, *some, *all;
    } rows[] = {
        {"https://app.example.com", "self", "*"},
        {"https://app.example.com.evil.net", NULL, "*"},
        {"https://app.example.co", NULL, "*"},
        {"http://app.example.com", NULL, "*"},
        {"https://x.example.org", "self", "*"},
        {"https://.example.org", "self", "*"},
        {"https://example.org", NULL, "*"},
        {"https://x.example.org.evil.net", NULL, "*"},
        {"null", "self", "*"},
        {"", NULL, NULL},
    };
    struct http_cors c = {.origins = some, .origin_count = 3},
                     any = {.origins = all, .origin_count = 2};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *got = http_cors_answer(&c, slice_str(rows[i].origin));
        if ((got == NULL) != (rows[i].some == NULL))
            fail_msg("%s: %s", rows[i].origin, got == NULL ? "refused" : got);
        got = http_cors_answer(&any, slice_str(rows[i].origin));
        assert_true((got == NULL) == (rows[i].all == NULL));
        assert_true(got == NULL || strcmp(got, "*") == 0);
    }
    assert_null(http_cors_answer(&(struct http_cors){.origin_count = 0}, SLICE_LIT("https://a.b")));
}

static void test_headers(void **state)
{
    static const char *const some[] = {"X-Scope-OrgID", "traceparent"}, *const all[] = {"*"};
    struct http_cors none = {.header_count = 0}, c = {.headers = some, .header_count = 2},
                     any = {.headers = all, .header_count = 1};

    (void)state;
    assert_true(http_cors_allows_headers(&none, SLICE_NONE));
    assert_true(http_cors_allows_headers(&none, SLICE_LIT("content-type, ,Accept,")));
    assert_false(http_cors_allows_headers(&none, SLICE_LIT("content-type,x-scope-orgid")));
    assert_true(
        http_cors_allows_headers(&c, SLICE_LIT("content-type,\tx-scope-orgid , TRACEPARENT")));
    assert_false(http_cors_allows_headers(&c, SLICE_LIT("x-scope-orgid,authorization")));
    assert_false(http_cors_allows_headers(&c, SLICE_LIT("x-scope-orgid2")));
    assert_true(http_cors_allows_headers(&any, SLICE_LIT("authorization,x-y")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_origins),
                                       cmocka_unit_test(test_headers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
