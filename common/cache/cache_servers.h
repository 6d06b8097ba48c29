/*
 * cache_servers.h - the servers of a cache: looked up now and then, each with its idle connections and its breaker; and which of them has a key.
 *
 * Choice:  consistent: jump hash over the names in order ("memcached-2" before "memcached-10"), so that one more at the end moves few keys; else hash modulo count.
 * Threads: any.  One thread of its own looks names up; what it finds takes effect for the next cache_servers_hold.
 * Source:  "A fast, minimal memory, consistent hash algorithm" (Lamping, Veach).
 */
#ifndef VIVACE_CACHE_CACHE_SERVERS_H
#define VIVACE_CACHE_CACHE_SERVERS_H

#include "common/cache/cache.h"
#include "common/cache/cache_breaker.h"
#include "common/cache/cache_link.h"
#include "common/cache/cache_resolve.h"
#include "common/obs/metrics.h"
#include "common/sys/thread.h"

struct cache_server {
    unsigned refs;     /* by the list's lock */
    struct mutex lock; /* the fields below */
    struct cache_breaker breaker;
    struct cache_link *idle; /* newest first */
    unsigned idle_count;
    struct cache_address address; /* the address of a name can change */
};
/* The servers at one moment, ascending by name. */
struct cache_server_list {
    unsigned refs, count;
    struct cache_server *servers[];
};

struct cache_servers;
/* Borrows the options, for life.  `count`: a gauge, may be NULL. */
MUST_CHECK enum err cache_servers_new(const struct cache_options *o, const char *default_port,
                                      struct metric_cell *count, struct cache_servers **ret);
void cache_servers_free(struct cache_servers *s);
/* NULL: there are none. */
struct cache_server_list *cache_servers_hold(struct cache_servers *s);
void cache_servers_drop(struct cache_servers *s, struct cache_server_list *list);

/* Which of `count` > 0. */
unsigned cache_servers_pick(const char *key, unsigned count, bool is_consistent);

/* An idle connection that is neither idle nor alive too long; NULL: none. */
struct cache_link *cache_server_take(struct cache_server *s, const struct cache_options *o);
/* It is in order, and kept or closed. */
void cache_server_keep(struct cache_server *s, const struct cache_options *o, struct cache_link *l);
void cache_server_close_idle(struct cache_server *s);

#endif
