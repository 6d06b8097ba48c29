/*
 * rpc.h - requests between our processes, over nng's TCP streams: a connection per peer and lane, many calls in flight on it.
 *
 * Wire:    SP's REQ/REP over TCP (rpc_internal.h), so that nng's own req0 and rep0 sockets can take part.  message = u8 'V', u8 version 1, u16 LE method, u32 LE crc32c of those four bytes and the payload, then the payload (protobuf).  Reply: the same with u16 err instead
 *          of the method.  An answer whose checksum or version is wrong is ERR_CORRUPT.
 * Lost:    a time-out or a lost connection is ERR_TIMEOUT / ERR_UNAVAILABLE: the peer may have acted (the caller treats it as doubt).  Nothing is ever sent twice.
 *          When a connection breaks, the calls sent on it end at once with ERR_UNAVAILABLE.  A call not yet sent waits for a connection until its time-out, then
 *          ends with ERR_UNAVAILABLE.
 * Errors:  the peer's own error comes as that error with its text as payload; our own have an empty payload.
 * Limits:  receive size of a lane always set, and checked before memory is taken.  A server has a context from a request until its answer is written; when all
 *          are taken, connections wait for one in the order in which they came, and are not read meanwhile.  A connection that stands still for 30 s in the
 *          middle of a message, or 10 s before the peer's hello, is closed.  At most 1024 connections a server.  A peer has 5 s to accept a connection, then the
 *          next attempt begins.
 * Threads: rpc_call and rpc_reply from any thread.  Handlers and `done` run on nng's threads (`done` of a call that was not sent may run inside rpc_client_free):
 *          they post and return, never block.
 */
#ifndef VIVACE_NET_RPC_H
#define VIVACE_NET_RPC_H

#include "common/base/buf.h"
#include "common/base/err.h"

#include <stdbool.h>

enum { RPC_HEADER_BYTES = 8 };

enum rpc_method {
    RPC_HELLO = 1,     /* control: HelloRequest -> HelloReply */
    RPC_METRICS = 2,   /* control: -> exposition text */
    RPC_PUSH = 10,     /* ingester push: PushRequest -> PushReply; 11 was taken once */
    RPC_GENERATE = 20, /* generator push: PushRequest -> PushReply */
    RPC_TRACE = 30,    /* ingester query: TraceRequest -> TraceReply */
    RPC_SEARCH = 31,
    RPC_FLAGGED = 32,
    RPC_TAG_NAMES = 33,
    RPC_TAG_VALUES = 34,
    RPC_HAS_TRACES = 35,   /* TraceRequest -> FlaggedReply: an id once for each head that has it */
    RPC_METRICS_QUERY = 36 /* MetricsRequest -> MetricsReply: TraceQL metrics */
};

/* The frame, also for fuzzers: writes the header before a payload given in parts; reads and checks one.  Errors of reading: ERR_CORRUPT. */
void rpc_frame_write(uint8_t ret_header[RPC_HEADER_BYTES], uint16_t word, const struct slice *parts,
                     unsigned part_count);
MUST_CHECK enum err rpc_frame_read(struct slice message, uint16_t *ret_word,
                                   struct slice *ret_payload);

struct rpc_server;
struct rpc_req;
typedef void rpc_handler(void *arg, struct rpc_req *req); /* owns req until rpc_reply */

struct rpc_server_options {
    const char *url; /* "tcp://127.0.0.1:9501"; port 0: any free one */
    size_t receive_bytes_max;
    unsigned contexts; /* requests in flight */
    rpc_handler *handler;
    void *arg;
};
MUST_CHECK enum err rpc_server_new(const struct rpc_server_options *o, struct rpc_server **ret,
                                   struct err_detail *reterr_detail);
const char *rpc_server_url(const struct rpc_server *s); /* with the port it got */
void rpc_server_free(
    struct rpc_server *
        s); /* not on an nng thread; waits, 10 s at most, until answers given are written; later ones are dropped */

uint16_t rpc_req_method(const struct rpc_req *r);
struct slice rpc_req_payload(const struct rpc_req *r); /* lives until rpc_reply */
void rpc_reply(struct rpc_req *r, enum err err,
               struct slice payload); /* payload borrowed; of an error: its text */

struct rpc_client; /* one peer, one lane */
typedef void rpc_done(void *arg, enum err err,
                      struct slice payload); /* payload lives during the call */
struct rpc_client_options {
    const char *url;
    size_t receive_bytes_max;
    unsigned contexts; /* calls in flight; more are refused with ERR_FULL */
    size_t
        send_bytes_max; /* 0: 64 MiB; the peer's receive limit, if known: a message over it costs the connection */
};
MUST_CHECK enum err rpc_client_new(
    const struct rpc_client_options *o,
    struct rpc_client **ret); /* connects in the background, reconnects for ever (100 ms .. 1 s) */
void rpc_client_free(struct rpc_client *c); /* calls under way end with ERR_CANCELED first */
bool rpc_client_is_connected(const struct rpc_client *c);
/* Copies the payload parts.  `done` is called exactly once if this returns ERR_OK.  Errors: ERR_FULL, ERR_NOMEM, ERR_TOO_LARGE. */
MUST_CHECK enum err rpc_call(struct rpc_client *c, uint16_t method, const struct slice *parts,
                             unsigned part_count, int64_t timeout_ns, rpc_done *done, void *arg);
/* Blocking form; the answer is appended to *ret. */
MUST_CHECK enum err rpc_call_wait(struct rpc_client *c, uint16_t method, struct slice payload,
                                  int64_t timeout_ns, struct buf *ret);

#endif
