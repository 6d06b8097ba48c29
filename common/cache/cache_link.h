/*
 * cache_link.h - one connection to a cache server, with a deadline on every step.
 *
 * Time:    deadlines are by clock_system's mono_ns and hold for the whole step, however slowly bytes come.
 * Errors:  ERR_TIMEOUT; ERR_UNAVAILABLE refused or closed; ERR_FORMAT not the protocol.  After any error the link is of no use but to be closed.
 * Threads: one at a time.
 */
#ifndef VIVACE_CACHE_CACHE_LINK_H
#define VIVACE_CACHE_CACHE_LINK_H

#include "common/base/err.h"
#include "common/base/slice.h"

#include <stdbool.h>
#include <sys/socket.h>

enum { CACHE_LINK_IN_BYTES = 16 << 10 };

struct cache_link {
    struct cache_link *next; /* among the idle ones of a server */
    int fd;
    int64_t born_ns, used_ns; /* by whom it is kept */
    void *state;              /* of the protocol, freed by state_free */
    void (*state_free)(void *state);
    size_t at, end; /* of `in`: what came and was not taken */
    uint8_t in[CACHE_LINK_IN_BYTES];
};

MUST_CHECK enum err cache_link_open(const struct sockaddr_storage *to, socklen_t to_len,
                                    int64_t deadline_ns, struct cache_link **ret);
/* Takes a connected socket (tests, fuzzing). */
MUST_CHECK enum err cache_link_of_socket(int fd, struct cache_link **ret);
void cache_link_close(struct cache_link *l); /* NULL: nothing */

/* has_more: what follows goes into the same packet. */
MUST_CHECK enum err cache_link_write(struct cache_link *l, struct slice bytes, bool has_more,
                                     int64_t deadline_ns);
MUST_CHECK enum err cache_link_read(struct cache_link *l, void *ret, size_t len,
                                    int64_t deadline_ns);
/* A line without its CR LF, NUL-terminated.  ERR_FORMAT: it does not fit. */
MUST_CHECK enum err cache_link_line(struct cache_link *l, char *ret, size_t size,
                                    int64_t deadline_ns);
/* What has come, at least one byte; valid until the next call. */
MUST_CHECK enum err cache_link_some(struct cache_link *l, struct slice *ret, int64_t deadline_ns);

#endif
