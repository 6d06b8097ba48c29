/* When a server that failed is asked again. */
#include "common/cache/cache_breaker.h"
#include "tests/lib/test.h"

#define S 1000000000LL

static struct cache_breaker fresh(void)
{
    return (struct cache_breaker){.failures_max = 3, .open_ns = 10 * S, .interval_ns = 30 * S};
}

/* A request that begins and fails now. */
static bool ask_in_vain(struct cache_breaker *b, int64_t now)
{
    assert_true(cache_breaker_may(b, now));
    return cache_breaker_done(b, false, now, now);
}

static void test_a_hiccup_costs_one(void **state)
{
    struct cache_breaker b = fresh();
    (void)state;

    assert_false(ask_in_vain(&b, 5 * S));
    assert_true(cache_breaker_may(&b, 5 * S)); /* one tries it at once */
    assert_false(cache_breaker_may(&b, 5 * S));
    assert_false(cache_breaker_done(&b, true, 5 * S, 5 * S));
    assert_true(cache_breaker_may(&b, 5 * S));
    assert_true(cache_breaker_may(&b, 5 * S));
}

static void test_the_longer_the_rarer(void **state)
{
    struct cache_breaker b = fresh();
    unsigned asked = 0;
    (void)state;

    /* Asked every millisecond of a minute: at once twice, then once a second until it opens, then once in ten. */
    for (int64_t now = S; now < 61 * S; now += S / 1000)
        if (cache_breaker_may(&b, now)) {
            asked++;
            (void)cache_breaker_done(&b, false, now, now);
        }
    assert_int_equal(asked, 2 + 2 + 5);
}

static void test_it_says_when_it_turns(void **state)
{
    struct cache_breaker b = fresh();
    (void)state;

    assert_false(ask_in_vain(&b, 1 * S));
    assert_false(ask_in_vain(&b, 2 * S));
    assert_false(ask_in_vain(&b, 3 * S));
    assert_true(ask_in_vain(&b, 4 * S));
    assert_false(cache_breaker_may(&b, 13 * S));
    assert_false(ask_in_vain(&b, 14 * S));
    assert_true(cache_breaker_may(&b, 24 * S));
    assert_false(cache_breaker_may(&b, 40 * S)); /* while it is tried */
    assert_true(cache_breaker_done(&b, true, 24 * S, 41 * S));
    assert_true(cache_breaker_may(&b, 41 * S));
}

static void test_together_is_once(void **state)
{
    struct cache_breaker b = fresh();
    (void)state;

    for (int i = 0; i < 20; i++)
        assert_true(cache_breaker_may(&b, 1 * S));
    for (int i = 0; i < 20; i++)
        assert_false(cache_breaker_done(&b, false, 1 * S, 2 * S));
    assert_int_equal(b.failures, 1);
    /* And a late one does not end the try of another. */
    assert_true(cache_breaker_may(&b, 2 * S));
    assert_false(cache_breaker_done(&b, false, 1 * S, 2 * S));
    assert_false(cache_breaker_may(&b, 2 * S));
}

static void test_failures_are_forgotten(void **state)
{
    struct cache_breaker b = fresh();
    (void)state;

    (void)ask_in_vain(&b, 1 * S);
    (void)ask_in_vain(&b, 2 * S);
    assert_true(cache_breaker_may(&b, 40 * S));
    assert_true(cache_breaker_may(&b, 40 * S));
    b.interval_ns = 0;
    (void)ask_in_vain(&b, 41 * S);
    (void)ask_in_vain(&b, 42 * S);
    assert_true(cache_breaker_may(&b, 9000 * S));
    assert_false(cache_breaker_may(&b, 9000 * S));
}

static void test_zero_never_opens(void **state)
{
    struct cache_breaker b = {.open_ns = 100 * S};
    (void)state;

    for (int64_t now = 1; now < 50; now++)
        assert_false(ask_in_vain(&b, now * S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hiccup_costs_one),     cmocka_unit_test(test_the_longer_the_rarer),
        cmocka_unit_test(test_it_says_when_it_turns),  cmocka_unit_test(test_together_is_once),
        cmocka_unit_test(test_failures_are_forgotten), cmocka_unit_test(test_zero_never_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
