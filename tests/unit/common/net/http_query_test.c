#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/net/http_server.h"
#include "tests/lib/test.h"

static void list(void *arg, struct slice name, struct slice value)
{
    struct buf *b = arg;

    buf_appendf(b, "[" SLICE_FMT "=" SLICE_FMT "]", SLICE_ARG(name), SLICE_ARG(value));
}

static void expect(const char *query, const char *want)
{
    struct arena a;
    struct buf b;

    arena_init(&a, NULL);
    buf_init(&b, 1000);
    http_query_each(&a, slice_str(query), list, &b);
    buf_append_byte(&b, 0);
    assert_string_equal((char *)b.ptr, want);
    buf_release(&b);
    arena_release(&a);
}

/* What Go's url.ParseQuery makes of the same texts. */
static void test_pairs(void **state)
{
    (void)state;
    expect("", "");
    expect("a=1&b=2&a=3", "[a=1][b=2][a=3]");
    expect("a", "[a=]");
    expect("=", "[=]");
    expect("a=b=c", "[a=b=c]");
    expect("&&a=1&", "[a=1]");
    expect("q=%7B+.a+%3D+%22x%22+%7D", "[q={ .a = \"x\" }]");
    expect("a%20b=%C3%A4", "[a b=\xc3\xa4]");
    expect("a=1;b=2&c=3", "[c=3]");
    expect("a=%&b=%4&c=%zz&d=%4z&e=%41", "[e=A]");
    expect("%zz=1&b=%2b+", "[b=+ ]");
}

static void test_get(void **state)
{
    (void)state;
    struct arena a;

    arena_init(&a, NULL);
    struct slice query = SLICE_LIT("a=1&a=2&b=%00x&e=&c=%4");
    assert_true(slice_eq_str(http_query_get(&a, query, "a"), "1"));
    struct slice b = http_query_get(&a, query, "b");
    assert_int_equal(b.len, 2);
    assert_memory_equal(b.ptr, "\0x", 2);
    struct slice e = http_query_get(&a, query, "e");
    assert_non_null(e.ptr);
    assert_int_equal(e.len, 0);
    assert_null(http_query_get(&a, query, "c").ptr);
    assert_null(http_query_get(&a, query, "absent").ptr);
    assert_null(http_query_get(&a, SLICE_NONE, "a").ptr);
    arena_release(&a);
}

static void test_path_segments(void **state)
{
    (void)state;
    struct arena a;

    arena_init(&a, NULL);
    assert_true(slice_eq_str(http_percent_decode(&a, SLICE_LIT("a+b%2Fc%20")), "a+b/c "));
    assert_null(http_percent_decode(&a, SLICE_LIT("a%2")).ptr);
    assert_null(http_percent_decode(&a, SLICE_LIT("%")).ptr);
    assert_non_null(http_percent_decode(&a, SLICE_NONE).ptr);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_path_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
