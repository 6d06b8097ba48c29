/*
 * cache.h - bytes that never change, kept in memcached or redis for all processes: asked for by key, written in the background.
 *
 * Trust:   a value is stored with a seal (cache_seal.h) over its key, length and bytes.  What does not fit it is a miss, and counted: a cache may lose, cut,
 *          mix up or damage what it was given, and no answer changes.  Who can write to it on purpose can forge a seal: it belongs into a network of its own.
 * Time:    a request takes `timeout_ns` at most, with a new connection `connect_timeout_ns` more; a server that fails is left alone (cache_breaker.h).  Names are looked
 *          up by a thread of its own, at the start and every `update_ns`; until then, and while there is no server, everything is a miss.
 * Memory:  one connection's buffers a request; what waits to be written is bounded in number and bytes and drawn from the budget.  What does not fit is dropped and counted.
 * Threads: any; cache_get blocks for as long as said.
 * Source:  Tempo's pkg/cache: keys of the configuration, names of the metrics.
 */
#ifndef VIVACE_CACHE_CACHE_H
#define VIVACE_CACHE_CACHE_H

#include "common/base/budget.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/slice.h"

#include <stdbool.h>

enum {
    CACHE_KEY_BYTES_MAX = 250, /* memcached's; no blanks, no control characters */
    CACHE_ITEM_BYTES_MAX = 64 << 20,
    CACHE_ADDRESSES_MAX = 64
};

enum cache_kind { CACHE_MEMCACHED, CACHE_REDIS };

/* A server is out of service, or back.  On whatever thread found it. */
typedef void cache_note_fn(void *arg, const char *cache, const char *server, bool is_back);

struct cache_options { /* texts and lists are copied */
    enum cache_kind kind;
    const char *name; /* in metrics */
    /* host[:port], dns+host[:port], dnssrv+name, dnssrvnoa+name: cache_resolve.h */
    const char *const *addresses;
    unsigned address_count;
    bool is_consistent;          /* a server more or less moves few keys */
    const char *user, *password; /* redis; "": none */
    unsigned db;                 /* redis */
    int64_t timeout_ns, connect_timeout_ns, update_ns;
    int64_t expiration_ns;   /* 0: never */
    int64_t idle_ns, age_ns; /* connections that are idle or old are closed; 0: never */
    unsigned idle_max;       /* connections kept a server */
    size_t item_bytes_max;   /* larger ones are not stored, and counted; 0: CACHE_ITEM_BYTES_MAX */
    unsigned breaker_failures; /* in a row; 0: the breaker never opens */
    int64_t breaker_open_ns, breaker_interval_ns;
    unsigned writers, queue_max; /* threads, values that wait */
    size_t queue_bytes_max;
    struct budget *memory; /* borrowed */
    cache_note_fn *note;   /* may be NULL */
    void *note_arg;
    const struct clock *clock; /* of the breaker and of ages; sockets keep the system's time */
};

struct cache;
/* Returns at once; nobody has been asked yet.  Errors: ERR_INVALID an address that is none. */
MUST_CHECK enum err cache_new(const struct cache_options *o, struct cache **ret,
                              struct err_detail *reterr_detail);
/* What waits to be written is dropped.  Waits for a name that is being looked up. */
void cache_free(struct cache *c);

struct cache_item {
    const char *key;
    void *ret; /* `len` bytes; undefined when not found */
    size_t len;
    bool is_found;
};
/* Values of exactly `len` bytes, or none. */
void cache_get(struct cache *c, struct cache_item *items, unsigned count);
/* Copies. */
void cache_put(struct cache *c, const char *key, struct slice bytes);

#endif
