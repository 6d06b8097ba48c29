/* A cache over a server that is good, silent, wrong, gone and back. */
#include "common/cache/cache.h"
#include "common/obs/metrics.h"
#include "tests/lib/fake_memcached.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALUE_BYTES = 3000, VALUES = 200 };

static struct budget budget;
static struct fake_memcached *server;
static struct fake_clock fake;
static unsigned turns;

static void note(void *arg, const char *cache, const char *name, bool is_back)
{
    (void)arg;
    assert_string_equal(cache, "test");
    assert_string_equal(name, fake_memcached_address(server));
    assert_int_equal(is_back, turns % 2);
    turns++;
}

static struct cache *open_cache(size_t item_bytes_max, unsigned queue_max)
{
    const char *address = fake_memcached_address(server);
    struct cache_options o = {.kind = CACHE_MEMCACHED,
                              .name = "test",
                              .addresses = &address,
                              .address_count = 1,
                              .is_consistent = true,
                              .timeout_ns = 300 * NS_PER_MS,
                              .connect_timeout_ns = 10 * NS_PER_S,
                              .update_ns = 60 * NS_PER_S,
                              .idle_max = 10,
                              .item_bytes_max = item_bytes_max,
                              .breaker_failures = 3,
                              .breaker_open_ns = 10 * NS_PER_S,
                              .breaker_interval_ns = 60 * NS_PER_S,
                              .writers = 2,
                              .queue_max = queue_max,
                              .queue_bytes_max = 1 << 20,
                              .memory = &budget,
                              .note = note,
                              .clock = &fake.clock};
    struct cache *c = NULL;

    assert_int_equal(cache_new(&o, &c, NULL), ERR_OK);
    uint8_t byte;
    struct cache_item item = {.key = "is-it-known", .ret = &byte, .len = 1};
    for (unsigned before = fake_memcached_gets(server); fake_memcached_gets(server) == before;) {
        (void)usleep(1000);
        cache_get(c, &item, 1);
    }
    return c;
}

static double counted(const char *name)
{
    return metric_value(metric_cell1(metrics_counter(name, "name", ""), "test"));
}

static int set_up(void **state)
{
    (void)state;
    budget_init(&budget, 1 << 20, NULL);
    fake_clock_init(&fake, 0);
    server = fake_memcached_new();
    turns = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_memcached_free(server);
    assert_int_equal(budget_used(&budget), 0);
    return 0;
}

static const char *key_of(unsigned n)
{
    static char key[32];

    (void)snprintf(key, sizeof key, "vv1:%u", n);
    return key;
}

static void make_value(unsigned n, uint8_t ret[VALUE_BYTES])
{
    for (unsigned i = 0; i < VALUE_BYTES; i++)
        ret[i] = (uint8_t)(n * 31 + i);
}

static void put(struct cache *c, unsigned n)
{
    uint8_t bytes[VALUE_BYTES];

    make_value(n, bytes);
    cache_put(c, key_of(n), (struct slice){bytes, sizeof bytes});
}

/* Whether it is there; what is there is right. */
static bool has(struct cache *c, unsigned n)
{
    uint8_t bytes[VALUE_BYTES], want[VALUE_BYTES];
    struct cache_item item = {.key = key_of(n), .ret = bytes, .len = sizeof bytes};

    cache_get(c, &item, 1);
    make_value(n, want);
    if (item.is_found)
        assert_memory_equal(bytes, want, sizeof want);
    return item.is_found;
}

static void test_what_was_put_is_there(void **state)
{
    struct cache *c = open_cache(0, 1000);
    struct cache *other = open_cache(0, 1000);
    (void)state;

    assert_false(has(c, 1));
    for (unsigned n = 0; n < 4; n++)
        put(c, n);
    fake_memcached_wait(server, 4);
    for (unsigned n = 0; n < 4; n++)
        assert_true(has(other, n));
    assert_false(has(other, 4));
    /* Another length is another value. */
    uint8_t byte;
    struct cache_item item = {.key = key_of(1), .ret = &byte, .len = 1};
    cache_get(other, &item, 1);
    assert_false(item.is_found);
    cache_free(c);
    cache_free(other);
}

static void test_many_at_once(void **state)
{
    static uint8_t bytes[VALUES][VALUE_BYTES];
    static char keys[VALUES][32];
    static struct cache_item items[VALUES];
    struct cache *c = open_cache(0, 1000);
    uint8_t want[VALUE_BYTES];
    (void)state;

    for (unsigned n = 0; n < VALUES; n++) {
        (void)snprintf(keys[n], sizeof keys[n], "%s", key_of(n));
        items[n] = (struct cache_item){.key = keys[n], .ret = bytes[n], .len = VALUE_BYTES};
        if (n % 3 != 0)
            put(c, n);
    }
    fake_memcached_wait(server, VALUES - (VALUES + 2) / 3);
    unsigned before = fake_memcached_gets(server);
    cache_get(c, items, VALUES);
    for (unsigned n = 0; n < VALUES; n++) {
        assert_int_equal(items[n].is_found, n % 3 != 0);
        make_value(n, want);
        if (n % 3 != 0)
            assert_memory_equal(bytes[n], want, sizeof want);
    }
    assert_int_equal(fake_memcached_gets(server), before + 4); /* 64 at a time */
    cache_free(c);
}

static void test_wrong_values_are_none(void **state)
{
    static const enum fake_mood moods[] = {FAKE_FLIPS, FAKE_MIXES, FAKE_LONGER, FAKE_BABBLES,
                                           FAKE_CLOSES};
    struct cache *c = open_cache(0, 1000);
    double damaged = counted("vivace_cache_damaged_total");
    (void)state;

    put(c, 1);
    put(c, 2);
    fake_memcached_wait(server, 2);
    for (unsigned i = 0; i < 5; i++) {
        fake_memcached_set_mood(server, moods[i]);
        assert_false(has(c, 1));
        fake_memcached_set_mood(server, FAKE_GOOD);
        assert_true(has(c, 1)); /* the next one may try */
    }
    assert_true(counted("vivace_cache_damaged_total") == damaged + 2);
    cache_free(c);
}

static void test_a_silent_server_is_left_alone(void **state)
{
    struct cache *c = open_cache(0, 1000);
    (void)state;

    put(c, 1);
    fake_memcached_wait(server, 1);
    assert_true(has(c, 1));
    unsigned before = fake_memcached_gets(server);
    fake_memcached_set_mood(server, FAKE_SILENT);
    for (unsigned i = 0; i < 1000; i++)
        assert_false(has(c, 1));
    assert_int_equal(fake_memcached_gets(server),
                     before + 2); /* two time-outs for a thousand reads */
    for (unsigned second = 0; second < 2; second++) {
        fake_clock_advance(&fake, NS_PER_S);
        for (unsigned i = 0; i < 1000; i++)
            assert_false(has(c, 1));
    }
    assert_int_equal(fake_memcached_gets(server), before + 4);
    assert_int_equal(turns, 1); /* out of service */
    fake_memcached_set_mood(server, FAKE_GOOD);
    fake_clock_advance(&fake, 9 * NS_PER_S);
    assert_false(has(c, 1));
    fake_clock_advance(&fake, 2 * NS_PER_S);
    assert_true(has(c, 1));
    assert_int_equal(turns, 2); /* and back */
    assert_true(has(c, 1));
    cache_free(c);
}

static void test_drops_of_bytes_do_not_hold_a_read(void **state)
{
    struct cache *c = open_cache(0, 1000);
    int64_t from_ns = clock_mono_ns(&clock_system);
    (void)state;

    put(c, 1);
    fake_memcached_wait(server, 1);
    fake_memcached_set_mood(server, FAKE_DRIPS);
    assert_false(has(c, 1)); /* the whole would take thirty seconds */
    assert_true(clock_mono_ns(&clock_system) - from_ns < 25 * NS_PER_S);
    cache_free(c);
}

static void test_after_a_restart(void **state)
{
    struct cache *c = open_cache(0, 1000);
    (void)state;

    put(c, 1);
    fake_memcached_wait(server, 1);
    assert_true(has(c, 1));
    fake_memcached_cut(server);
    assert_true(has(c, 1)); /* the closed connection is no failure */
    cache_free(c);
}

static void test_connections_are_used_again(void **state)
{
    struct cache *c = open_cache(0, 1000);
    (void)state;

    for (unsigned n = 0; n < 50; n++)
        assert_false(has(c, n));
    assert_int_equal(fake_memcached_connections(server), 1);
    cache_free(c);
}

static void test_what_does_not_fit_is_dropped(void **state)
{
    struct cache *c = open_cache(VALUE_BYTES, 4);
    static uint8_t large[VALUE_BYTES + 1];
    double dropped = counted("tempo_cache_dropped_background_writes_total");
    double skipped = counted("tempo_memcache_client_set_skip_total");
    (void)state;

    cache_put(c, "large", (struct slice){large, sizeof large});
    assert_true(counted("tempo_memcache_client_set_skip_total") == skipped + 1);
    fake_memcached_set_mood(server, FAKE_SILENT);
    for (unsigned n = 0; n < 1000; n++)
        put(c, n);
    assert_true(counted("tempo_cache_dropped_background_writes_total") > dropped);
    /* And by memory. */
    assert_int_equal(budget_take(&budget, (1 << 20) - budget_used(&budget) - 100), ERR_OK);
    dropped = counted("tempo_cache_dropped_background_writes_total");
    put(c, 1);
    assert_true(counted("tempo_cache_dropped_background_writes_total") >= dropped + 1);
    cache_free(c);
    budget_give(&budget, budget_used(&budget));
}

static void test_addresses_are_looked_at(void **state)
{
    const char *address = "not an address";
    struct cache_options o = {.name = "test",
                              .addresses = &address,
                              .address_count = 1,
                              .timeout_ns = 1,
                              .connect_timeout_ns = 1,
                              .update_ns = 1,
                              .writers = 1,
                              .queue_max = 1,
                              .queue_bytes_max = 1};
    struct err_detail detail = {.text = ""};
    struct cache *c = NULL;
    (void)state;

    assert_int_equal(cache_new(&o, &c, &detail), ERR_INVALID);
    assert_non_null(strstr(detail.text, "not an address"));
    o.address_count = 0;
    assert_int_equal(cache_new(&o, &c, &detail), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_put_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_values_are_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_silent_server_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drops_of_bytes_do_not_hold_a_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connections_are_used_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_addresses_are_looked_at, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
