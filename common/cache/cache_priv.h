/*
 * cache_priv.h - what cache.c asks of a protocol (cache_memcached.c, cache_redis.c).
 *
 * Errors:  as of cache_link.h; ERR_TOO_LARGE the server does not want this value, ERR_UNAUTHENTICATED it wants another password; after ERR_OK and ERR_TOO_LARGE
 *          the link is in order, after all others it is closed.
 */
#ifndef VIVACE_CACHE_CACHE_PRIV_H
#define VIVACE_CACHE_CACHE_PRIV_H

#include "common/cache/cache.h"
#include "common/cache/cache_link.h"
#include "common/cache/cache_seal.h"

enum { CACHE_BATCH_MAX = 64, CACHE_BATCH_BYTES = 1 << 20 }; /* values asked for in one go */

struct cache_batch {
    struct cache_item *items[CACHE_BATCH_MAX];
    unsigned count;
    unsigned damaged_count; /* told by `get`: values that do not fit their seals */
};

struct cache_protocol {
    const char *default_port;
    /* Of metrics. */
    const char *duration, *skipped, *get_one, *get_many, *put_one, *timeout_code;
    /* What a new connection begins with. */
    enum err (*greet)(struct cache_link *l, const struct cache_options *o, int64_t deadline_ns);
    enum err (*get)(struct cache_link *l, struct cache_batch *batch, int64_t deadline_ns);
    /* `sealed`: seal and value. */
    enum err (*put)(struct cache_link *l, const char *key, struct slice sealed,
                    int64_t expiration_ns, int64_t deadline_ns);
};
extern const struct cache_protocol cache_memcached, cache_redis;

#endif
