/* The examples of Amazon's own description of the signature. */
#include "common/objstore/s3_sign.h"
#include "tests/lib/test.h"

#include <string.h>

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define WHEN       1369353600 /* 2013-05-24T00:00:00Z */

static struct arena arena;

static const char *signature(const char *method, const char *path, const char *query,
                             struct s3_header *headers, unsigned count, const char *hash)
{
    struct s3_sign in = {.method = method,
                         .path = path,
                         .query = query,
                         .headers = headers,
                         .header_count = count,
                         .payload_hash = hash,
                         .time_s = WHEN,
                         .region = "us-east-1",
                         .service = "s3",
                         .access_key = "AKIAIOSFODNN7EXAMPLE",
                         .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
    const char *text = NULL;

    assert_int_equal(s3_sign(&arena, &in, &text), ERR_OK);
    assert_non_null(
        strstr(text, "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"));
    return strstr(text, "Signature=") + 10;
}

static void test_get_of_a_range(void **state)
{
    struct s3_header headers[] = {{"x-amz-date", "20130524T000000Z"},
                                  {"range", "bytes=0-9"},
                                  {"x-amz-content-sha256", EMPTY_HASH},
                                  {"host", "examplebucket.s3.amazonaws.com"}};
    (void)state;
    assert_string_equal(signature("GET", "/test.txt", "", headers, 4, EMPTY_HASH),
                        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void test_put(void **state)
{
#define PUT_HASH "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    struct s3_header headers[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                  {"host", "examplebucket.s3.amazonaws.com"},
                                  {"x-amz-date", "20130524T000000Z"},
                                  {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
                                  {"x-amz-content-sha256", PUT_HASH}};
    (void)state;
    assert_string_equal(signature("PUT", "/test%24file.text", "", headers, 5, PUT_HASH),
                        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void test_list(void **state)
{
    struct s3_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                  {"x-amz-content-sha256", EMPTY_HASH},
                                  {"x-amz-date", "20130524T000000Z"}};
    (void)state;
    assert_string_equal(signature("GET", "/", "max-keys=2&prefix=J", headers, 3, EMPTY_HASH),
                        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void test_encoding(void **state)
{
    (void)state;
    assert_string_equal(s3_sign_encode(&arena, SLICE_LIT("a/b c+'~-._%\xff"), true),
                        "a/b%20c%2B%27~-._%25%FF");
    assert_string_equal(s3_sign_encode(&arena, SLICE_LIT("a/b"), false), "a%2Fb");
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
        cmocka_unit_test(test_get_of_a_range),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_encoding),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
