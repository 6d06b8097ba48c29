/* Bytes as answers of memcached, of redis, and of a name server asked for SRV records.  Properties: no crash, nothing allocated on their word; what is found fits its seal. */
#include "common/base/clock.h"
#include "common/cache/cache_priv.h"
#include "common/cache/cache_resolve.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ITEMS = 3, ITEM_BYTES_MAX = 40, ANSWER_BYTES_MAX = 32 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct cache_protocol *protocol, struct slice answer)
{
    static const char *const keys[ITEMS] = {"vv1:a", "vv1:b", "vv1:c"};
    static const struct cache_options o = {.user = "", .password = ""};
    uint8_t got[ITEMS][ITEM_BYTES_MAX];
    struct cache_item items[ITEMS];
    struct cache_batch batch = {.count = ITEMS};
    struct cache_link *l = NULL;
    int64_t deadline_ns = clock_mono_ns(&clock_system) + 10 * NS_PER_S;
    int fds[2];

    int failed = socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    assert(failed == 0);
    ssize_t sent = send(fds[1], answer.ptr, answer.len, MSG_NOSIGNAL);
    assert(sent == (ssize_t)answer.len);
    (void)shutdown(fds[1], SHUT_WR);
    enum err e = cache_link_of_socket(fds[0], &l);
    assert(e == ERR_OK);
    for (int i = 0; i < ITEMS; i++) {
        items[i] = (struct cache_item){.key = keys[i], .ret = got[i], .len = 1 + (size_t)i * 16};
        batch.items[i] = &items[i];
    }
    e = protocol->greet(l, &o, deadline_ns);
    assert(e == ERR_OK);
    e = protocol->get(l, &batch, deadline_ns);
    unsigned found = 0;
    for (int i = 0; i < ITEMS; i++)
        found += items[i].is_found;
    assert(found + batch.damaged_count <= ITEMS);
    if (e == ERR_OK)
        e = protocol->put(l, "vv1:a", SLICE_LIT("sealed"), 0, deadline_ns);
    cache_link_close(l);
    (void)close(fds[1]);
}

static void target(void *arg, const char *host, const char *port)
{
    (void)arg;
    assert(host[0] != '\0' && strlen(host) < 256);
    assert(port[0] > '0' && port[0] <= '9' && strlen(port) <= 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice answer = {data + 1, size - 1};

    if (size < 1 || size > ANSWER_BYTES_MAX)
        return 0;
    switch (data[0] % 3) {
    case 0: ask(&cache_memcached, answer); break;
    case 1: ask(&cache_redis, answer); break;
    default: {
        enum err e = cache_resolve_targets(answer, target, NULL);
        assert(e == ERR_OK || e == ERR_FORMAT);
    }
    }
    return 0;
}
