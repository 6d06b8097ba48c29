/*
 * cache_breaker.h - whether a server that failed is asked again.
 *
 * Rule:    after a failure one request at a time goes through; after a second one in a row, one in CACHE_BREAKER_PAUSE_NS; after more than `failures_max`, one in
 *          `open_ns`.  A success, and all go through.  A hiccup costs one time-out, a server that is gone two, then one a second and soon one in `open_ns`.
 *          Requests that were under way together and failed together are one failure.  Failures are forgotten `interval_ns` after the last one, unless they were more than
 *          `failures_max`.
 * Threads: the owner's lock.
 * Source:  Tempo's circuit_breaker_consecutive_failures, _timeout, _interval; there it looks at connecting only.
 */
#ifndef VIVACE_CACHE_CACHE_BREAKER_H
#define VIVACE_CACHE_CACHE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define CACHE_BREAKER_PAUSE_NS 1000000000LL

struct cache_breaker {
    unsigned failures_max; /* 0: it never opens, but pauses */
    int64_t open_ns, interval_ns;
    unsigned failures;
    int64_t failed_ns; /* the last one */
    bool is_trying;
};

/* Whether a request may begin now; one that may ends with cache_breaker_done. */
bool cache_breaker_may(struct cache_breaker *b, int64_t now_ns);
/* True: by this the server went out of service, or came back. */
bool cache_breaker_done(struct cache_breaker *b, bool is_good, int64_t begun_ns, int64_t now_ns);

#endif
