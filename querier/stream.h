/*
 * stream.h - tempopb.StreamingQuerier: a method of it is a route of the HTTP API with its request and answer in protobuf.
 *
 * Source:  contract.md 1.11; tempo.proto field numbers.
 * Threads: any.
 * Now:     the answer comes whole, as the last message of a stream would be; nothing is sent before.
 */
#ifndef VIVACE_QUERIER_STREAM_H
#define VIVACE_QUERIER_STREAM_H

#include "common/net/http_server.h"
#include "querier/api.h"

enum { /* google.rpc.Code */
       STREAM_CANCELED = 1,
       STREAM_UNKNOWN = 2,
       STREAM_INVALID = 3,
       STREAM_NOT_FOUND = 5,
       STREAM_EXHAUSTED = 8,
       STREAM_UNIMPLEMENTED = 12,
       STREAM_INTERNAL = 13
};

struct stream_method;
/* By the path of a gRPC call; NULL: no such method (UNIMPLEMENTED). */
const struct stream_method *stream_method(struct slice path);
const struct api_route *stream_route(const struct stream_method *m);

/* The message as the route's parameters, in the arena.  Errors: ERR_FORMAT no such message, ERR_LIMIT, ERR_NOMEM. */
MUST_CHECK enum err stream_request(struct arena *a, const struct stream_method *m,
                                   struct slice message, struct slice *ret_query,
                                   struct slice *ret_argument);

/* The answer as messages of at most packet_bytes_max (an element that is larger has one to itself), each with the answer's metrics; 0: as one message.
 * What is not an element of a list is in the last.  Appends to `out`. */
void stream_packets(struct slice answer, size_t packet_bytes_max, struct buf *out);

/* google.rpc.Code as Tempo answers for an error. */
unsigned stream_code(enum err e);

/* A call's message as a route's parameters; 0, or the code to refuse it with. */
MUST_CHECK unsigned stream_open(struct arena *a, const struct http_req *req,
                                const struct stream_method *m, struct slice *ret_query,
                                struct slice *ret_argument, struct err_detail *reterr_detail);
/* The two ways to answer; req is dead afterwards. */
void stream_refuse(struct http_req *req, unsigned code, struct slice text);
/* `missing`: places that did not answer, told as over HTTP: x-vivace-partial, in the call's first metadata. */
void stream_reply(struct http_req *req, struct slice answer, size_t packet_bytes_max,
                  unsigned missing);

#endif
