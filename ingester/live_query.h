/*
 * live_query.h - the query lane: traces, search, fragments and tags over the spans that are not in a block yet.
 *
 * Work:    a few workers; a request has an arena under the queries' budget and a deadline, after which it is cancelled.
 * Threads: live_query_take from any thread, does not block.
 */
#ifndef VIVACE_INGESTER_LIVE_QUERY_H
#define VIVACE_INGESTER_LIVE_QUERY_H

#include "common/net/rpc.h"
#include "ingester/core.h"

struct live_query;
struct live_query_options {
    struct core *core;
    struct budget *memory;
    const char *instance_id;
    int64_t timeout_ns; /* of requests that name none */
    unsigned threads;
};
MUST_CHECK enum err live_query_new(const struct live_query_options *o, struct live_query **ret);
void live_query_free(struct live_query *l); /* ends what is under way first; NULL is fine */
void live_query_take(struct live_query *l, struct rpc_req *req);
/* The same without the network: answers a request in place (tests). */
MUST_CHECK enum err live_query_run(struct live_query *l, uint16_t method, struct slice request,
                                   struct buf *ret, struct err_detail *reterr_detail);

#endif
