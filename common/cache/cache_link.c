#include "common/cache/cache_link.h"

#include "common/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum err wait_for(int fd, short events, int64_t deadline_ns)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int64_t left_ns = deadline_ns - clock_mono_ns(&clock_system);
        if (left_ns <= 0)
            return ERR_TIMEOUT;
        struct timespec left = {.tv_sec = (time_t)(left_ns / NS_PER_S),
                                .tv_nsec = (long)(left_ns % NS_PER_S)};
        int n = ppoll(&p, 1, &left, NULL);
        if (n > 0)
            return ERR_OK;
        if (n < 0 && errno != EINTR)
            return ERR_UNAVAILABLE;
    }
}

enum err cache_link_of_socket(int fd, struct cache_link **ret)
{
    struct cache_link *l = malloc(sizeof *l);

    if (l == NULL) {
        (void)close(fd);
        return ERR_NOMEM;
    }
    l->next = NULL;
    l->fd = fd;
    l->born_ns = l->used_ns = 0;
    l->state = NULL;
    l->state_free = NULL;
    l->at = l->end = 0;
    *ret = l;
    return ERR_OK;
}

static enum err connect_by(int fd, const struct sockaddr_storage *to, socklen_t to_len,
                           int64_t deadline_ns)
{
    int one = 1, error = 0;
    socklen_t len = sizeof error;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* faster, no more */
    if (connect(fd, (const struct sockaddr *)to, to_len) == 0)
        return ERR_OK;
    if (errno != EINPROGRESS)
        return ERR_UNAVAILABLE;
    enum err e = wait_for(fd, POLLOUT, deadline_ns);
    if (e == ERR_OK && (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0))
        e = ERR_UNAVAILABLE;
    return e;
}

enum err cache_link_open(const struct sockaddr_storage *to, socklen_t to_len, int64_t deadline_ns,
                         struct cache_link **ret)
{
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return ERR_UNAVAILABLE;
    enum err e = connect_by(fd, to, to_len, deadline_ns);
    if (e != ERR_OK) {
        (void)close(fd);
        return e;
    }
    return cache_link_of_socket(fd, ret);
}

void cache_link_close(struct cache_link *l)
{
    if (l == NULL)
        return;
    if (l->state_free != NULL)
        l->state_free(l->state);
    (void)close(l->fd);
    free(l);
}

enum err cache_link_write(struct cache_link *l, struct slice bytes, bool has_more,
                          int64_t deadline_ns)
{
    int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (has_more ? MSG_MORE : 0);

    while (bytes.len > 0) {
        ssize_t n = send(l->fd, bytes.ptr, bytes.len, flags);
        if (n >= 0) {
            bytes = slice_sub(bytes, (size_t)n, bytes.len);
        } else if (errno == EAGAIN) {
            enum err e = wait_for(l->fd, POLLOUT, deadline_ns);
            if (e != ERR_OK)
                return e;
        } else if (errno != EINTR) {
            return ERR_UNAVAILABLE;
        }
    }
    return ERR_OK;
}

/* At least one byte, at most `max`. */
static enum err receive(struct cache_link *l, void *ret, size_t max, size_t *ret_len,
                        int64_t deadline_ns)
{
    for (;;) {
        if (clock_mono_ns(&clock_system) >= deadline_ns)
            return ERR_TIMEOUT; /* bytes that drip in do not make it later */
        ssize_t n = recv(l->fd, ret, max, MSG_DONTWAIT);
        if (n > 0) {
            *ret_len = (size_t)n;
            return ERR_OK;
        }
        if (n == 0)
            return ERR_UNAVAILABLE;
        if (errno == EAGAIN) {
            enum err e = wait_for(l->fd, POLLIN, deadline_ns);
            if (e != ERR_OK)
                return e;
        } else if (errno != EINTR) {
            return ERR_UNAVAILABLE;
        }
    }
}

enum err cache_link_some(struct cache_link *l, struct slice *ret, int64_t deadline_ns)
{
    enum err e = ERR_OK;

    if (l->at == l->end) {
        l->at = l->end = 0;
        e = receive(l, l->in, sizeof l->in, &l->end, deadline_ns);
    }
    *ret = (struct slice){l->in + l->at, l->end - l->at};
    l->at = l->end;
    return e;
}

enum err cache_link_read(struct cache_link *l, void *ret, size_t len, int64_t deadline_ns)
{
    uint8_t *to = ret;
    size_t n = l->end - l->at < len ? l->end - l->at : len;

    memcpy(to, l->in + l->at, n);
    l->at += n;
    while (n < len) {
        size_t more = 0;
        enum err e = receive(l, to + n, len - n, &more, deadline_ns);
        if (e != ERR_OK)
            return e;
        n += more;
    }
    return ERR_OK;
}

enum err cache_link_line(struct cache_link *l, char *ret, size_t size, int64_t deadline_ns)
{
    size_t len = 0;

    assert(size > 1);
    for (;;) {
        const uint8_t *from = l->in + l->at, *lf = memchr(from, '\n', l->end - l->at);
        size_t n = lf != NULL ? (size_t)(lf - from) : l->end - l->at;
        if (n >= size - len)
            return ERR_FORMAT;
        memcpy(ret + len, from, n);
        len += n;
        l->at += n + (lf != NULL);
        if (lf != NULL)
            break;
        l->at = l->end = 0;
        enum err e = receive(l, l->in, sizeof l->in, &l->end, deadline_ns);
        if (e != ERR_OK)
            return e;
    }
    if (len == 0 || ret[len - 1] != '\r' || memchr(ret, 0, len) != NULL)
        return ERR_FORMAT;
    ret[len - 1] = '\0';
    return ERR_OK;
}
