/* Pages of listings, and of XML altogether: both versions, encoded keys, what is not one. */
#include "common/objstore/s3_list.h"
#include "common/objstore/xml.h"
#include "tests/lib/test.h"

static struct arena arena;

static enum err parse(const char *xml, struct remote_page *ret)
{
    return s3_list_parse(slice_str(xml), &arena, ret);
}

static void test_version_2(void **state)
{
    struct remote_page page;
    (void)state;

    assert_int_equal(
        parse(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken><EncodingType>url</EncodingType>"
            "<Contents><Key>b%2Fx+y</Key><Size>7</Size><ETag>&quot;e&quot;</ETag></Contents>"
            "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>",
            &page),
        ERR_OK);
    assert_int_equal(page.count, 2);
    assert_string_equal(page.entries[0].key, "a/");
    assert_string_equal(page.entries[0].etag, "");
    assert_string_equal(page.entries[1].key, "b/x y");
    assert_string_equal(page.entries[1].etag, "\"e\"");
    assert_int_equal(page.entries[1].bytes, 7);
    assert_true(page.is_truncated);
    assert_string_equal(page.token, "t&1");
}

static void test_version_1_goes_on_behind_the_last_key(void **state)
{
    struct remote_page page;
    (void)state;

    assert_int_equal(parse("<ListBucketResult><IsTruncated>true</IsTruncated>"
                           "<Contents><Key>a%41</Key><Size>1</Size></Contents>"
                           "<Contents><Key>b</Key><Size>1</Size></Contents></ListBucketResult>",
                           &page),
                     ERR_OK);
    assert_null(page.token);
    assert_string_equal(page.marker, "b");
    assert_string_equal(page.entries[0].key, "a%41"); /* not said to be encoded */
}

static void test_what_is_not_a_listing(void **state)
{
    static const char *const wrong[] = {
        "",
        "<a/>",
        "<Error><Code>x</Code></Error>",
        "<ListBucketResult><Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>", /* no key */
        "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><ListBucketResult><Prefix>&a;</Prefix></ListBucketResult>"};
    struct remote_page page;
    (void)state;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(parse(wrong[i], &page), ERR_FORMAT);
}

static void test_text_of_a_path(void **state)
{
    char text[16];
    (void)state;

    xml_text(SLICE_LIT("<Error><Code>SlowDown</Code><Message/></Error>"), "Code", text,
             sizeof text);
    assert_string_equal(text, "SlowDown");
    xml_text(SLICE_LIT("<Error><Code>SlowDown</Code>"), "Code", text, sizeof text);
    assert_string_equal(text, "");
    xml_text(SLICE_LIT("<Error><Code>far too long for it</Code></Error>"), "Code", text,
             sizeof text);
    assert_string_equal(text, "");
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
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_1_goes_on_behind_the_last_key),
        cmocka_unit_test(test_what_is_not_a_listing),
        cmocka_unit_test(test_text_of_a_path),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
