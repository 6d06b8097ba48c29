/* cache_talk.h - one side of a talk with a cache: what it says is there before it is asked, what was said to it can be read after. */
#ifndef VIVACE_TESTS_LIB_CACHE_TALK_H
#define VIVACE_TESTS_LIB_CACHE_TALK_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/cache/cache_priv.h"
#include "tests/lib/test.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct cache_talk {
    struct cache_link *link;
    int peer;
};

/* `says`, and then nothing more: the end. */
static inline struct cache_talk cache_talk_begin(struct slice says)
{
    struct cache_talk t = {.link = NULL};
    int fds[2], size = 1 << 20;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    (void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    assert_int_equal(send(fds[1], says.ptr, says.len, MSG_NOSIGNAL), says.len);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    assert_int_equal(cache_link_of_socket(fds[0], &t.link), ERR_OK);
    t.peer = fds[1];
    return t;
}

static inline int64_t cache_talk_deadline(void)
{
    return clock_mono_ns(&clock_system) + 30 * NS_PER_S;
}

/* What was said to it, NUL-terminated. */
static inline size_t cache_talk_end(struct cache_talk *t, char *ret, size_t size)
{
    size_t len = 0;
    ssize_t n;

    cache_link_close(t->link);
    while (len < size - 1 && (n = recv(t->peer, ret + len, size - 1 - len, 0)) > 0)
        len += (size_t)n;
    ret[len] = '\0';
    (void)close(t->peer);
    return len;
}

/* A value as it lies in the cache. */
static inline void cache_talk_seal(struct buf *out, const char *key, struct slice value)
{
    uint8_t seal[CACHE_SEAL_BYTES];

    cache_seal_write(seal, key, value);
    buf_append(out, (struct slice){seal, sizeof seal});
    buf_append(out, value);
}

#endif
