/* The cache of ranges: bounds, what stays, loading once, failed loads. */
#include "common/objstore/range_cache.h"
#include "common/sys/thread.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

enum { RANGE_BYTES = 1000, CACHE_BYTES = 40000 };

static struct budget budget;
static struct range_cache *cache;

static int set_up(void **state)
{
    (void)state;
    budget_init(&budget, 1 << 20, NULL);
    return range_cache_new(CACHE_BYTES, &budget, &cache) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    range_cache_free(cache);
    assert_int_equal(budget_used(&budget), 0);
    return 0;
}

static bool is_in(unsigned n)
{
    struct range_key key = range_cache_key("o", n, RANGE_BYTES);
    uint8_t bytes[RANGE_BYTES];

    if (range_cache_get(cache, &key, bytes)) {
        assert_int_equal(bytes[0], (uint8_t)n);
        assert_int_equal(bytes[RANGE_BYTES - 1], (uint8_t)n);
        return true;
    }
    range_cache_fill(cache, &key, NULL);
    return false;
}

static void put(unsigned n)
{
    struct range_key key = range_cache_key("o", n, RANGE_BYTES);
    uint8_t bytes[RANGE_BYTES];

    memset(bytes, (int)n, sizeof bytes);
    if (range_cache_claim(cache, &key))
        range_cache_fill(cache, &key, bytes);
}

static void test_what_is_used_stays(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        put(i);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 10; i++)
            assert_true(is_in(i));
        for (unsigned i = 0; i < 5; i++)
            put(1000 + round * 5 + i); /* asked for once and never again */
        assert_true(range_cache_bytes(cache) <= CACHE_BYTES);
    }
    assert_false(is_in(1000));
}

static void test_a_failed_load_leaves_nothing(void **state)
{
    struct range_key key = range_cache_key("o", 1, RANGE_BYTES);
    (void)state;

    assert_true(range_cache_claim(cache, &key));
    assert_false(range_cache_claim(cache, &key)); /* somebody is at it */
    range_cache_fill(cache, &key, NULL);
    assert_true(range_cache_claim(cache, &key));
    range_cache_fill(cache, &key, NULL);
    assert_false(is_in(1));
}

static void test_what_is_too_large_is_not_kept(void **state)
{
    static uint8_t bytes[CACHE_BYTES];
    struct range_key key = range_cache_key("o", 1, sizeof bytes);
    (void)state;

    assert_false(range_cache_get(cache, &key, bytes));
    range_cache_fill(cache, &key, bytes);
    assert_int_equal(range_cache_bytes(cache), 0);
}

static void waiter(void *arg)
{
    struct range_key key = range_cache_key("o", 7, RANGE_BYTES);
    uint8_t bytes[RANGE_BYTES];

    *(bool *)arg = range_cache_get(cache, &key, bytes) && bytes[5] == 7;
}

static void test_who_asks_meanwhile_waits(void **state)
{
    struct range_key key = range_cache_key("o", 7, RANGE_BYTES);
    uint8_t bytes[RANGE_BYTES];
    bool got = false;
    pthread_t thread;
    (void)state;

    memset(bytes, 7, sizeof bytes);
    assert_true(range_cache_claim(cache, &key));
    assert_int_equal(thread_start(&thread, "waiter", waiter, &got), ERR_OK);
    range_cache_fill(cache, &key, bytes);
    thread_join(thread);
    assert_true(got);
}

static void test_the_budget_is_a_bound_too(void **state)
{
    (void)state;
    assert_int_equal(budget_take(&budget, (1 << 20) - 5000), ERR_OK);
    for (unsigned i = 0; i < 50; i++)
        put(i);
    assert_true(range_cache_bytes(cache) <= 5000);
    assert_true(is_in(49));
    budget_give(&budget, (1 << 20) - 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_used_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_load_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_too_large_is_not_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_asks_meanwhile_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_budget_is_a_bound_too, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
