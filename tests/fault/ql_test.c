#include "common/query/ql.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/test.h"

/* Long enough for several chunks of an arena, with strings to decode, regexes to compile and messages to write. */
static const char *const queries[] = {
    "{ resource.service.name = \"we\\u0062\" && span.\"a b\".c =~ \"x.*\" && .d !~ `y` } >> { http.method = 1_000.5 } | by(.x) | select(.a, name, .b, .c, .d)",
    "({ .a } | count() > 1 + 2 | avg(duration)) || ({ .b =~ `z` } | quantile(duration, .95) >= 2s | order_by(.x desc)) with(a=1, b=2, c=`x`)",
    "({ } | rate() by (.a, name) > 1 | topk(5)) / ({ .b =~ `q` } | quantile_over_time(duration, .5, .9, .99)) * 100",
    "{ .a =~ `x` && name > 1 }",
    "{ .a =~ `x` } | avg(name) > 1",
    "{ .a =~ `x` && .b =~ `(` }",
    "{ .a = foo }",
    "{ .a = 1 AND .b = 2 }",
    "{ .a = 99999999999999999999 }",
    "{ .a =~ `x` } | count() + 1 > 2",
};

static enum err wanted(size_t i)
{
    return i < 3 ? ERR_OK : ERR_INVALID;
}

/* Big enough that arenas grow and the dump's buffer too. */
static void make_long(struct buf *b)
{
    buf_append_str(b, "{ .a =~ `x`");
    for (unsigned i = 0; i < 300; i++)
        buf_append_str(b, " || span.\"long name\" = \"text\\n\"");
    buf_append_str(b, " }");
}

static void run_one(struct slice text, enum err want)
{
    struct arena a;
    struct ql_query *q = NULL;
    struct err_detail detail = {0};

    arena_init(&a, NULL);
    enum err e = ql_parse(&a, text, &q, &detail);
    if (e != want)
        assert_true(e == ERR_NOMEM && alloc_sweep_has_failed());
    assert_true((q != NULL) == (e == ERR_OK));
    if (e == ERR_OK) {
        struct buf b;
        buf_init(&b, 1 << 20);
        ql_dump(&b, q);
        assert_true(buf_err(&b) == ERR_OK ||
                    (buf_err(&b) == ERR_NOMEM && alloc_sweep_has_failed()));
        buf_release(&b);
    }
    ql_release(q);
    arena_release(&a);
}

static void parse_all(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        run_one(slice_str(queries[i]), wanted(i));
}

static void parse_long(void *arg)
{
    run_one(*(const struct slice *)arg, ERR_OK);
}

static void parse_lenient(void *arg)
{
    struct arena a;
    struct ql_expr *e = NULL;

    arena_init(&a, NULL);
    enum err err = ql_parse_lenient(&a, *(const struct slice *)arg, &e);
    assert_true(err == ERR_OK || (err == ERR_NOMEM && alloc_sweep_has_failed()));
    assert_true((e != NULL) == (err == ERR_OK));
    ql_expr_release(e);
    arena_release(&a);
}

static void parse_attribute(void *arg)
{
    struct arena a;
    struct ql_attribute attribute = {0};

    (void)arg;
    arena_init(&a, NULL);
    enum err e = ql_parse_attribute(&a, SLICE_LIT("span.\"a b\".c"), &attribute);
    assert_true(e == ERR_OK || (e == ERR_NOMEM && alloc_sweep_has_failed()));
    assert_true(e != ERR_OK || slice_eq_str(attribute.name, "a b.c"));
    arena_release(&a);
}

static void test_all(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    make_long(&b);
    struct slice text = buf_slice(&b);
    assert_true(ALLOC_SWEEP(parse_all, NULL) >= 20);
    assert_true(ALLOC_SWEEP(parse_long, &text) >= 5);
    assert_true(ALLOC_SWEEP(parse_lenient, &text) >= 3);
    assert_true(ALLOC_SWEEP(parse_attribute, NULL) >= 1);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
