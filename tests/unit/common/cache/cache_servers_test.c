/* Which server has a key, and servers that come, go and keep their connections. */
#include "common/cache/cache_servers.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <unistd.h>

enum { KEYS = 20000 };

static unsigned pick(unsigned n, unsigned count, bool is_consistent)
{
    char key[32];

    (void)snprintf(key, sizeof key, "vv1:acme/%u", n);
    return cache_servers_pick(key, count, is_consistent);
}

static void test_keys_are_spread(void **state)
{
    (void)state;
    for (int is_consistent = 0; is_consistent < 2; is_consistent++)
        for (unsigned count = 1; count <= 10; count++) {
            unsigned of[10] = {0};
            for (unsigned i = 0; i < KEYS; i++) {
                unsigned at = pick(i, count, is_consistent);
                assert_true(at < count);
                of[at]++;
            }
            for (unsigned at = 0; at < count; at++)
                assert_in_range(of[at], KEYS / count * 8 / 10, KEYS / count * 12 / 10);
        }
}

static void test_one_more_moves_few(void **state)
{
    unsigned moved = 0;
    (void)state;

    for (unsigned i = 0; i < KEYS; i++) {
        unsigned before = pick(i, 9, true), after = pick(i, 10, true);
        if (before == after)
            continue;
        assert_int_equal(after, 9); /* to the new one alone */
        moved++;
    }
    assert_in_range(moved, KEYS / 10 * 8 / 10, KEYS / 10 * 12 / 10);
}

static struct cache_server_list *hold(struct cache_servers *s)
{
    struct cache_server_list *list;

    while ((list = cache_servers_hold(s)) == NULL)
        (void)usleep(1000);
    return list;
}

static void test_in_the_order_of_their_numbers(void **state)
{
    static const char *const addresses[] = {"127.0.0.1:10", "127.0.0.1:9", "127.0.0.1:9",
                                            "127.0.0.1:100"};
    struct cache_options o = {
        .addresses = addresses, .address_count = 4, .update_ns = NS_PER_MS, .clock = &clock_system};
    struct cache_servers *s;
    (void)state;

    assert_int_equal(cache_servers_new(&o, "1", NULL, &s), ERR_OK);
    struct cache_server_list *list = hold(s);
    assert_int_equal(list->count, 3);
    assert_string_equal(list->servers[0]->address.name, "127.0.0.1:9");
    assert_string_equal(list->servers[1]->address.name, "127.0.0.1:10");
    assert_string_equal(list->servers[2]->address.name, "127.0.0.1:100");
    /* After more look-ups there are new lists of the same servers. */
    for (;;) {
        struct cache_server_list *later = hold(s);
        bool is_new = later != list;
        if (is_new)
            assert_ptr_equal(later->servers[0], list->servers[0]);
        cache_servers_drop(s, later);
        if (is_new)
            break;
        (void)usleep(1000);
    }
    cache_servers_drop(s, list);
    cache_servers_free(s);
}

static struct cache_link *some_link(void)
{
    struct cache_link *l = NULL;

    assert_int_equal(cache_link_of_socket(dup(1), &l), ERR_OK);
    return l;
}

static void test_connections_are_kept(void **state)
{
    static const char *const addresses[] = {"127.0.0.1:10"};
    struct fake_clock fake;
    struct cache_servers *s;
    (void)state;

    fake_clock_init(&fake, 0);
    struct cache_options o = {.addresses = addresses,
                              .address_count = 1,
                              .update_ns = NS_PER_S,
                              .idle_max = 2,
                              .idle_ns = 10 * NS_PER_S,
                              .age_ns = 100 * NS_PER_S,
                              .clock = &fake.clock};
    assert_int_equal(cache_servers_new(&o, "1", NULL, &s), ERR_OK);
    struct cache_server_list *list = hold(s);
    struct cache_server *server = list->servers[0];
    assert_null(cache_server_take(server, &o));
    struct cache_link *a = some_link(), *b = some_link();
    a->born_ns = b->born_ns = clock_mono_ns(&fake.clock);
    cache_server_keep(server, &o, a);
    cache_server_keep(server, &o, b);
    cache_server_keep(server, &o, some_link()); /* one too many */
    assert_ptr_equal(cache_server_take(server, &o), b);
    assert_ptr_equal(cache_server_take(server, &o), a);
    assert_null(cache_server_take(server, &o));
    cache_server_keep(server, &o, a);
    fake_clock_advance(&fake, 10 * NS_PER_S);
    cache_server_keep(server, &o, b);
    assert_ptr_equal(cache_server_take(server, &o), b);
    assert_null(cache_server_take(server, &o)); /* it was idle too long */
    fake_clock_advance(&fake, 90 * NS_PER_S);
    cache_server_keep(server, &o, b);
    assert_null(cache_server_take(server, &o)); /* it is too old */
    cache_servers_drop(s, list);
    cache_servers_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_are_spread),
        cmocka_unit_test(test_one_more_moves_few),
        cmocka_unit_test(test_in_the_order_of_their_numbers),
        cmocka_unit_test(test_connections_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
