/*
 * cache_resolve.h - the servers that an address of the configuration stands for.
 *
 * Forms:   host[:port]           one server
 *          dns+host[:port]       one for each of its addresses
 *          dnssrv+name           the targets and ports of its SRV records (_service._proto.host), one for each of a target's addresses
 *          dnssrvnoa+name        the same, one for each target
 *          A host may be an IP address, of version 6 in brackets.  As in Thanos and Tempo; without a port it is the default one.
 * Names:   a server is known by its name, so that it keeps its keys when its address changes: the host, the target, or for dns+ the IP address; and the port.
 * Threads: any; lookups block as long as the system's resolver does.
 */
#ifndef VIVACE_CACHE_CACHE_RESOLVE_H
#define VIVACE_CACHE_CACHE_RESOLVE_H

#include "common/base/err.h"
#include "common/base/slice.h"

#include <stdbool.h>
#include <sys/socket.h>

enum { CACHE_NAME_BYTES_MAX = 272, CACHE_SERVERS_MAX = 256 };

struct cache_address {
    char name[CACHE_NAME_BYTES_MAX];
    struct sockaddr_storage to;
    socklen_t to_len;
};
struct cache_addresses {
    struct cache_address *items; /* [CACHE_SERVERS_MAX] */
    unsigned count;
};

/* ERR_INVALID: it is none of the forms. */
MUST_CHECK enum err cache_resolve_check(const char *address);
/* Appends; those over CACHE_SERVERS_MAX are left out.  ERR_UNAVAILABLE: the name is not known, or nobody says. */
MUST_CHECK enum err cache_resolve(const char *address, const char *default_port,
                                  struct cache_addresses *to);

/* The targets of an answer to a question for SRV records.  ERR_FORMAT: it is no such answer. */
typedef void cache_target_fn(void *arg, const char *host, const char *port);
MUST_CHECK enum err cache_resolve_targets(struct slice answer, cache_target_fn *fn, void *arg);

#endif
