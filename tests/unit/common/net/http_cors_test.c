/* CORS: which origins and which headers are allowed. */
#include "common/net/http_cors.h"
#include "tests/lib/test.h"

static void test_origins(void **state)
{
    static const char *const some[] = {"https://App.example.com", "https://*.example.org", "null"};
    static const char *const all[] = {"https://a.b", "*"};
    static const struct {
        const char *origin;
        enum http_cors_answer some, all;
    } rows[] = {
        {"https://app.example.com", HTTP_CORS_NAMED, HTTP_CORS_ANY},
        {"https://app.example.com.evil.net", HTTP_CORS_REFUSED, HTTP_CORS_ANY},
        {"https://app.example.co", HTTP_CORS_REFUSED, HTTP_CORS_ANY},
        {"http://app.example.com", HTTP_CORS_REFUSED, HTTP_CORS_ANY},
        {"https://x.example.org", HTTP_CORS_NAMED, HTTP_CORS_ANY},
        {"https://.example.org", HTTP_CORS_NAMED, HTTP_CORS_ANY},
        {"https://example.org", HTTP_CORS_REFUSED, HTTP_CORS_ANY},
        {"https://x.example.org.evil.net", HTTP_CORS_REFUSED, HTTP_CORS_ANY},
        {"null", HTTP_CORS_NAMED, HTTP_CORS_ANY},
        {"", HTTP_CORS_REFUSED, HTTP_CORS_REFUSED},
    };
    struct http_cors c = {.origins = some, .origin_count = 3},
                     any = {.origins = all, .origin_count = 2};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (http_cors_answer(&c, slice_str(rows[i].origin)) != rows[i].some)
            fail_msg("%s", rows[i].origin);
        assert_int_equal(http_cors_answer(&any, slice_str(rows[i].origin)), rows[i].all);
    }
    assert_int_equal(
        http_cors_answer(&(struct http_cors){.origin_count = 0}, SLICE_LIT("https://a.b")),
        HTTP_CORS_REFUSED);
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
