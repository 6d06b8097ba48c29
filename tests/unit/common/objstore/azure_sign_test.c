/* The example of Microsoft's "Authorize with Shared Key"; signatures by the key that all emulators share, made by Python's hmac. */
#include "common/objstore/azure_sign.h"
#include "tests/lib/test.h"

#include <string.h>

#define KEY \
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

static struct arena arena;

static const char *const ms_headers[] = {"x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT",
                                         "x-ms-version:2015-02-21", NULL};

static void test_the_example(void **state)
{
    struct azure_sign in = {.method = "GET",
                            .account = "myaccount",
                            .key = KEY,
                            .path = "/mycontainer",
                            .query = "comp=metadata\nrestype=container\ntimeout=20",
                            .ms_headers = ms_headers};
    const char *authorization = NULL;

    (void)state;
    assert_string_equal(azure_sign_text(&arena, &in),
                        "GET\n\n\n\n\n\n\n\n\n\n\n\n"
                        "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
                        "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20");
    assert_int_equal(azure_sign(&arena, &in, &authorization), ERR_OK);
    assert_string_equal(authorization,
                        "SharedKey myaccount:1u9lui2jDxj0+fpbHjQ5m5NnastJRSYM+PSmfi8TXx4=");
}

static void test_every_header_has_its_line(void **state)
{
    struct azure_sign in = {.method = "PUT",
                            .account = "a",
                            .key = KEY,
                            .path = "/c/b%20c",
                            .query = "",
                            .body_bytes = 11,
                            .content_md5 = "md5==",
                            .content_type = "text/plain",
                            .range = "bytes=1-2",
                            .ms_headers = ms_headers};

    (void)state;
    assert_string_equal(azure_sign_text(&arena, &in),
                        "PUT\n\n\n11\nmd5==\ntext/plain\n\n\n\n\n\nbytes=1-2\n"
                        "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
                        "/a/c/b%20c");
}

static void test_a_key_that_is_none(void **state)
{
    struct azure_sign in = {.method = "GET",
                            .account = "a",
                            .key = "not base 64!",
                            .path = "/c",
                            .query = "",
                            .ms_headers = ms_headers};
    const char *authorization = NULL;

    (void)state;
    assert_int_equal(azure_sign(&arena, &in, &authorization), ERR_FORMAT);
    assert_null(authorization);
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
        cmocka_unit_test(test_the_example),
        cmocka_unit_test(test_every_header_has_its_line),
        cmocka_unit_test(test_a_key_that_is_none),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
