/* The nth allocation of ours fails: a cache that can not be made says so, one that lacks memory for a moment is a miss, and nothing leaks. */
#include "common/cache/cache.h"
#include "common/objstore/shared_ranges.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/fake_memcached.h"
#include "tests/lib/test.h"

#include <unistd.h>

static struct budget budget;
static struct fake_memcached *server;

static struct cache_options options(const char *const *address, enum cache_kind kind)
{
    return (struct cache_options){.kind = kind,
                                  .name = "fault",
                                  .addresses = address,
                                  .address_count = 1,
                                  .user = "me",
                                  .password = "secret",
                                  .timeout_ns = 10 * NS_PER_S,
                                  .connect_timeout_ns = 10 * NS_PER_S,
                                  .update_ns = 60 * NS_PER_S,
                                  .idle_max = 0, /* each request opens a connection */
                                  .writers = 2,
                                  .queue_max = 100,
                                  .queue_bytes_max = 1 << 20,
                                  .memory = &budget,
                                  .clock = &clock_system};
}

static void opens(void *arg)
{
    const char *address = "127.0.0.1:1";
    struct cache_options o = options(&address, CACHE_REDIS);
    struct shared_ranges *s = NULL;
    struct cache *c = NULL;

    (void)arg;
    enum err e = cache_new(&o, &c, NULL);
    if (e != ERR_OK) {
        assert_true(e == ERR_NOMEM && alloc_sweep_has_failed());
        return;
    }
    struct shared_ranges_options so = {.caches = {c}, .cache_count = 1, .clock = &clock_system};
    e = shared_ranges_new(&so, &s);
    assert_true(e == ERR_OK || (e == ERR_NOMEM && alloc_sweep_has_failed()));
    if (e == ERR_OK)
        shared_ranges_free(s);
    else
        cache_free(c);
}

/* Gets and puts of a cache that is there: what fails is a miss or a value that is dropped; the next one is found again. */
static void talks(void *arg)
{
    struct cache *c = arg;
    uint8_t bytes[100] = {0};
    struct cache_item items[2] = {{.key = "there", .ret = bytes, .len = 5},
                                  {.key = "not-there", .ret = bytes + 50, .len = 5}};

    cache_get(c, items, 2);
    assert_true(items[0].is_found || alloc_sweep_has_failed());
    assert_false(items[1].is_found);
    if (items[0].is_found)
        assert_memory_equal(bytes, "value", 5);
    cache_put(c, "there", SLICE_LIT("value"));
}

static void test_opens(void **state)
{
    (void)state;
    opens(
        NULL); /* its metrics are there from now on: without memory for those a process does not start */
    assert_true(ALLOC_SWEEP(opens, NULL) >= 5);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_talks(void **state)
{
    const char *address = fake_memcached_address(server);
    struct cache_options o = options(&address, CACHE_MEMCACHED);
    struct cache *c = NULL;
    uint8_t bytes[5];
    struct cache_item item = {.key = "there", .ret = bytes, .len = sizeof bytes};
    (void)state;

    assert_int_equal(cache_new(&o, &c, NULL), ERR_OK);
    while (!item.is_found) { /* until the name is looked up and the value written */
        cache_put(c, "there", SLICE_LIT("value"));
        (void)usleep(5000);
        cache_get(c, &item, 1);
    }
    assert_true(ALLOC_SWEEP(talks, c) >= 3);
    cache_free(c);
    assert_int_equal(budget_used(&budget), 0);
}

static int set_up(void **state)
{
    (void)state;
    budget_init(&budget, 1 << 20, NULL);
    server = fake_memcached_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_memcached_free(server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens),
        cmocka_unit_test(test_talks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
