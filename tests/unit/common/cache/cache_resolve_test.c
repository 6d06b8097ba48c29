/* Addresses of caches: their forms, numbers looked up, answers with SRV records whole and cut. */
#include "common/cache/cache_resolve.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_forms(void **state)
{
    static const char *const good[] = {"a",
                                       "a:1",
                                       "10.0.0.1:11211",
                                       "[::1]:1",
                                       "[::1]",
                                       "dns+a",
                                       "dns+a.b:65535",
                                       "dnssrv+_x._tcp.a.b",
                                       "dnssrvnoa+_x._tcp.a",
                                       NULL};
    static const char *const bad[] = {
        "",    ":1",   "a:",      "a:0",        "a:65536", "a:1x",   "a b:1", "[::1", "[]:1",
        "a/b", "dns+", "dnssrv+", "dnssrv+a:1", "a:1:2",   "/run/x", "a\n:1", NULL};
    (void)state;

    for (unsigned i = 0; good[i] != NULL; i++)
        if (cache_resolve_check(good[i]) != ERR_OK)
            fail_msg("%s is an address", good[i]);
    for (unsigned i = 0; bad[i] != NULL; i++)
        if (cache_resolve_check(bad[i]) != ERR_INVALID)
            fail_msg("%s is none", bad[i]);
}

static void test_numbers(void **state)
{
    struct cache_addresses to = {.items = calloc(CACHE_SERVERS_MAX, sizeof to.items[0])};
    (void)state;

    assert_int_equal(cache_resolve("127.0.0.1", "11211", &to), ERR_OK);
    assert_int_equal(cache_resolve("[::1]:77", "11211", &to), ERR_OK);
    assert_int_equal(cache_resolve("127.0.0.1:11211", "1", &to), ERR_OK); /* is there */
    assert_int_equal(cache_resolve("dns+127.0.0.2:5", "1", &to), ERR_OK);
    assert_int_equal(to.count, 3);
    assert_string_equal(to.items[0].name, "127.0.0.1:11211");
    assert_string_equal(to.items[1].name, "::1:77");
    assert_string_equal(to.items[2].name, "127.0.0.2:5");
    assert_int_equal(((struct sockaddr_in *)&to.items[0].to)->sin_port, htons(11211));
    assert_int_equal(((struct sockaddr_in6 *)&to.items[1].to)->sin6_port, htons(77));
    assert_int_equal(to.items[1].to_len, sizeof(struct sockaddr_in6));
    free(to.items);
}

/* A question and two SRV records, the second's target ending in a pointer into the first's. */
static const uint8_t answer[] = {
    0x12, 0x34, 0x81, 0x80, 0,   1,   0,   3,   0, 0,   0, 0,            /* header */
    2,    '_',  'm',  4,    '_', 't', 'c', 'p', 1, 'c', 0, 0,  33, 0, 1, /* _m._tcp.c SRV IN */
    0xc0, 12,   0,    33,   0,   1,   0,   0,   0, 9,   0, 13, 0,  0, 0,
    1,    0x2b, 0xcb,                      /* 0 1 11211 */
    2,    'm',  '0',  1,    'c', 1,   'd', /* its root follows, so the record has 13 + 1 */
};

struct found {
    char text[200];
};

static void note(void *arg, const char *host, const char *port)
{
    struct found *f = arg;
    size_t len = strlen(f->text);

    (void)snprintf(f->text + len, sizeof f->text - len, "%s:%s ", host, port);
}

static size_t make_answer(uint8_t *out)
{
    static const uint8_t rest[] = {
        0, /* root of m0.c.d */
        0xc0,
        12,
        0,
        1,
        0,
        1,
        0,
        0,
        0,
        9,
        0,
        4,
        10,
        0,
        0,
        1, /* an A record: not ours */
        0xc0,
        12,
        0,
        33,
        0,
        1,
        0,
        0,
        0,
        9,
        0,
        11,
        0,
        0,
        0,
        1,
        0,
        80,
        2,
        'm',
        '1',
        0xc0,
        12 + 15 + 18 + 3, /* m1 + pointer to c.d */
    };

    memcpy(out, answer, sizeof answer);
    memcpy(out + sizeof answer, rest, sizeof rest);
    out[12 + 15 + 11] = 6 + 8; /* length of the first record's data */
    return sizeof answer + sizeof rest;
}

static void test_targets(void **state)
{
    struct found f = {""};
    uint8_t bytes[200];
    size_t len = make_answer(bytes);
    (void)state;

    assert_int_equal(cache_resolve_targets((struct slice){bytes, len}, note, &f), ERR_OK);
    assert_string_equal(f.text, "m0.c.d:11211 m1.c.d:80 ");
}

static void test_targets_cut(void **state)
{
    uint8_t bytes[200];
    size_t len = make_answer(bytes);
    (void)state;

    for (size_t n = 0; n < len; n++) {
        struct found f = {""};
        uint8_t *exact = malloc(n + 1); /* so that a byte too far is seen */
        memcpy(exact, bytes, n);
        assert_int_equal(cache_resolve_targets((struct slice){exact, n}, note, &f), ERR_FORMAT);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_targets_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
