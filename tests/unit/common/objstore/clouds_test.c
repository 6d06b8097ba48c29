/* What GCS and Azure answer, and what is refused before anything is asked. */
#include "common/objstore/azure.h"
#include "common/objstore/bearer.h"
#include "common/objstore/gcs.h"
#include "common/objstore/gcs_credentials.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

static struct arena arena;

static void expect_page(const struct remote_page *page)
{
    assert_int_equal(page->count, 3);
    assert_string_equal(page->entries[0].key, "a/a");
    assert_int_equal(page->entries[0].bytes, 0);
    assert_string_equal(page->entries[1].key, "a/b");
    assert_int_equal(page->entries[1].bytes, 12);
    assert_string_equal(page->entries[1].etag, "171");
    assert_string_equal(page->entries[2].key, "a/c/");
    assert_true(page->is_truncated);
    assert_string_equal(page->token, "t=");
}

static void test_listings(void **state)
{
    struct remote_page page;

    (void)state;
    assert_int_equal(
        gcs_list_from_json(
            SLICE_LIT("{\"items\":[{\"name\":\"a/b\",\"size\":\"12\",\"generation\":\"171\"},"
                      "{\"name\":\"a/a\",\"size\":\"0\"}],\"prefixes\":[\"a/c/\"],"
                      "\"nextPageToken\":\"t=\"}"),
            &arena, &page),
        ERR_OK);
    expect_page(&page);
    assert_int_equal(
        azure_list_parse(
            SLICE_LIT("\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?>"
                      "<EnumerationResults ContainerName=\"c\"><Blobs><Blob><Name>a/b</Name>"
                      "<Properties><Etag>171</Etag><Content-Length>12</Content-Length></Properties>"
                      "</Blob><BlobPrefix><Name>a/c/</Name></BlobPrefix><Blob><Name>a/a</Name>"
                      "<Properties/></Blob></Blobs><NextMarker>t=</NextMarker>"
                      "</EnumerationResults>"),
            &arena, &page),
        ERR_OK);
    expect_page(&page);
    assert_int_equal(gcs_list_from_json(SLICE_LIT("{}"), &arena, &page), ERR_OK);
    assert_int_equal(page.count, 0);
    assert_false(page.is_truncated);
}

static void test_listings_that_are_none(void **state)
{
    static const char *const json[] = {"",
                                       "[]",
                                       "{\"items\":[{\"name\":\"a\"}]}",
                                       "{\"items\":[{\"size\":\"1\"}]}",
                                       "{\"items\":[{\"name\":\"a\",\"size\":\"-1\"}]}",
                                       "{\"prefixes\":[7]}",
                                       "{\"items\":"};
    static const char *const xml[] = {
        "", "<Error><Code>x</Code></Error>",
        "<EnumerationResults><Blobs><Blob></Blob></Blobs></EnumerationResults>",
        "<EnumerationResults><Blobs><Blob><Name>a</Name><Properties><Content-Length>x"
        "</Content-Length></Properties></Blob></Blobs></EnumerationResults>",
        "<EnumerationResults><Blobs>"};
    struct remote_page page;

    (void)state;
    for (size_t i = 0; i < sizeof json / sizeof json[0]; i++)
        assert_int_equal(gcs_list_from_json(slice_str(json[i]), &arena, &page), ERR_FORMAT);
    for (size_t i = 0; i < sizeof xml / sizeof xml[0]; i++)
        assert_int_equal(azure_list_parse(slice_str(xml[i]), &arena, &page), ERR_FORMAT);
}

static void test_tokens(void **state)
{
    static struct bearer_token token;

    (void)state;
    assert_int_equal(
        bearer_from_json(SLICE_LIT("{\"access_token\":\"t\",\"expires_in\":60}"), 5, &token),
        ERR_OK);
    assert_int_equal(token.expires_ns, 60 * NS_PER_S + 5);
    assert_int_equal(
        bearer_from_json(SLICE_LIT("{\"access_token\":\"t\",\"expires_on\":\"70\"}"), 5, &token),
        ERR_OK);
    assert_int_equal(token.expires_ns, 70 * NS_PER_S);
    static const char *const bad[] = {"",
                                      "{\"access_token\":\"t\"}",
                                      "{\"access_token\":\"\",\"expires_in\":60}",
                                      "{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":60}",
                                      "{\"access_token\":\"t\",\"expires_in\":-1}",
                                      "{\"access_token\":\"t\",\"expires_in\":1e300}",
                                      "{\"access_token\":7,\"expires_in\":60}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(bearer_from_json(slice_str(bad[i]), 0, &token), ERR_FORMAT);
}

static void test_where_secrets_may_go(void **state)
{
    (void)state;
    assert_true(bearer_url_is_safe("https://oauth2.googleapis.com/token"));
    assert_true(bearer_url_is_safe("http://127.0.0.1:80/token"));
    assert_true(bearer_url_is_safe("http://[::1]:80/token"));
    assert_false(bearer_url_is_safe("http://oauth2.googleapis.com/token"));
    assert_false(bearer_url_is_safe("http://127.0.0.1.evil.example/"));
    assert_false(bearer_url_is_safe("http://127.0.0.1:x@evil.example/"));
    assert_false(bearer_url_is_safe("file:///etc/passwd"));
}

static void test_accounts(void **state)
{
    struct gcs_account account;

    (void)state;
    assert_int_equal(
        gcs_account_from_json(SLICE_LIT("{\"type\":\"authorized_user\",\"client_id\":\"i\","
                                        "\"client_secret\":\"s\",\"refresh_token\":\"r\"}"),
                              &arena, &account, NULL),
        ERR_OK);
    assert_string_equal(account.token_uri, "https://oauth2.googleapis.com/token");
    assert_int_equal(
        gcs_account_from_json(SLICE_LIT("{\"type\":\"external_account\"}"), &arena, &account, NULL),
        ERR_UNSUPPORTED);
    assert_int_equal(gcs_account_from_json(
                         SLICE_LIT("{\"type\":\"service_account\",\"client_email\":\"a\\\",\\\"x\","
                                   "\"private_key\":\"k\",\"token_uri\":\"https://a\"}"),
                         &arena, &account, NULL),
                     ERR_FORMAT);
    assert_int_equal(
        gcs_account_from_json(SLICE_LIT("{\"type\":\"service_account\",\"client_email\":\"a\","
                                        "\"private_key\":\"k\",\"token_uri\":\"http://a\"}"),
                              &arena, &account, NULL),
        ERR_FORMAT);
}

static void test_an_objects_description(void **state)
{
    struct gcs_pair pair = {"team", "a \"b\""};
    struct gcs_options o = {.cache_control = "no-store", .metadata = &pair, .metadata_count = 1};
    uint32_t crc = 0xe3069283; /* of "123456789" */

    (void)state;
    assert_string_equal(gcs_object_to_json(&o, "a/b", &crc, &arena),
                        "{\"name\":\"a/b\",\"crc32c\":\"4waSgw==\",\"cacheControl\":\"no-store\","
                        "\"metadata\":{\"team\":\"a \\\"b\\\"\"}}");
}

static enum err open_gcs(const char *name, const char *endpoint, uint64_t part_bytes)
{
    struct gcs_options o = {.bucket = name,
                            .prefix = "",
                            .endpoint = endpoint,
                            .is_insecure = true,
                            .part_bytes = part_bytes,
                            .cache_control = "",
                            .clock = &clock_system};
    struct bucket *b = NULL;
    enum err e = gcs_new(&o, &b, NULL);

    if (e == ERR_OK)
        b->ops->free(b);
    return e;
}

static enum err open_azure(const char *account, const char *key, const char *suffix)
{
    struct azure_options o = {.account = account,
                              .key = key,
                              .container = "traces",
                              .prefix = "",
                              .endpoint_suffix = suffix,
                              .user_assigned_id = "",
                              .part_bytes = 1 << 20,
                              .clock = &clock_system};
    struct bucket *b = NULL;
    enum err e = azure_new(&o, &b, NULL);

    if (e == ERR_OK)
        b->ops->free(b);
    return e;
}

static void test_options_that_can_not_work(void **state)
{
    (void)state;
    (void)unsetenv("AZURE_STORAGE_KEY");
    (void)unsetenv("AZURE_STORAGE_ACCOUNT");
    assert_int_equal(open_gcs("traces", "https://localhost:4443/storage/v1/", 1 << 20), ERR_OK);
    assert_int_equal(open_gcs("traces", "", 1 << 20), ERR_OK);
    assert_int_equal(open_gcs("", "", 1 << 20), ERR_INVALID);
    assert_int_equal(open_gcs("a/b", "", 1 << 20), ERR_INVALID);
    assert_int_equal(open_gcs("traces", "ftp://x", 1 << 20), ERR_INVALID);
    assert_int_equal(open_gcs("traces", "https://x/other", 1 << 20), ERR_INVALID);
    assert_int_equal(open_gcs("traces", "", 1000), ERR_INVALID);
    assert_int_equal(open_azure("account", "a2V5", "blob.core.windows.net"), ERR_OK);
    assert_int_equal(open_azure("account", "?sv=1&sig=x", "blob.core.windows.net"), ERR_OK);
    assert_int_equal(open_azure("account", "?sv=1&sig=x", "store.example:80"), ERR_INVALID);
    assert_int_equal(open_azure("account", "", "blob.core.windows.net"), ERR_INVALID);
    assert_int_equal(open_azure("account", "!", "blob.core.windows.net"), ERR_INVALID);
    assert_int_equal(open_azure("", "a2V5", "blob.core.windows.net"), ERR_INVALID);
    assert_int_equal(open_azure("account", "a2V5", "https://x"), ERR_INVALID);
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listings),
        cmocka_unit_test(test_listings_that_are_none),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_where_secrets_may_go),
        cmocka_unit_test(test_accounts),
        cmocka_unit_test(test_an_objects_description),
        cmocka_unit_test(test_options_that_can_not_work),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
