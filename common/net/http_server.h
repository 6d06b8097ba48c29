/*
 * http_server.h - one listener that speaks HTTP/1.1 and HTTP/2 (h2c by prior knowledge), told apart by the first bytes.
 *
 * Shape:   a request is given to the handler when its whole body is in (decompression is the handler's business); the answer is given with
 *          http_reply, from any thread, once.
 * Memory:  bodies, and heads over 64 KiB, are counted against the budget: over it 503 with Retry-After, without asking the handler, over body_bytes_max 413 (gRPC: RESOURCE_EXHAUSTED by the handler's rules).
 * Limits:  header bytes and count, body bytes, concurrent streams, connections (total and per address), header and idle time-outs, minimal body
 *          rate; h2: CONTINUATION, SETTINGS, resets, pings.
 * Threads: accepts on the first loop, spreads connections over all; the handler runs on the connection's loop and must not block.
 * Strict:  what RFC 9112 lets a server refuse is refused with 400: bare LF, folded lines, two lengths, a length beside chunked, chunk extensions.
 * Source:  RFC 9110, 9112, 9113.
 */
#ifndef VIVACE_NET_HTTP_SERVER_H
#define VIVACE_NET_HTTP_SERVER_H

#include "common/base/budget.h"
#include "common/base/buf.h"
#include "common/net/http_cors.h"
#include "common/net/loop.h"

#include <stdatomic.h>
#include <stdbool.h>

struct http_server;
struct http_req;
typedef void http_handler(void *arg, struct http_req *req);

struct http_server_options {
    const char *address; /* "0.0.0.0", "localhost", "::1" ... */
    uint16_t port;       /* 0: any free one */
    struct loop **loops;
    unsigned loop_count;
    http_handler *handler;
    void *arg;
    struct budget *budget;   /* for bodies; may be NULL */
    size_t body_bytes_max;   /* must be set */
    size_t header_bytes_max; /* must be set: 64 KiB; HTTP/2 takes no single header over that */
    unsigned connections_max, connections_per_address_max; /* 0: 10000, 1000 */
    unsigned streams_max;                                  /* 100 */
    int64_t header_timeout_ns, idle_timeout_ns;            /* 0: 10 s, 120 s */
    int64_t max_connection_age_ns;                         /* 0: none; h2 gets GOAWAY */
    int64_t
        body_grace_ns; /* 0: 10 s; from then on a body must come with at least body_bytes_per_s_min */
    uint64_t body_bytes_per_s_min; /* 0: 1024 */
    struct http_cors cors;         /* copied; its lists are borrowed */
};

/* Errors: ERR_CONFLICT port taken, ERR_FORBIDDEN, ERR_INVALID address; the detail is one clear line. */
MUST_CHECK enum err http_server_new(const struct http_server_options *o, struct http_server **ret,
                                    struct err_detail *reterr_detail);
uint16_t http_server_port(const struct http_server *s);
void http_server_drain(
    struct http_server
        *s); /* no new connections; GOAWAY / Connection: close; requests in flight go on */
unsigned http_server_in_flight(const struct http_server *s);
void http_server_free(struct http_server *s); /* closes what is left; not on a loop thread */

struct slice http_req_method(const struct http_req *r);
struct slice http_req_path(const struct http_req *r);  /* as sent, without the query, not decoded */
struct slice http_req_query(const struct http_req *r); /* after '?', as sent */
struct slice http_req_header(const struct http_req *r,
                             const char *lower_name); /* first value; ptr NULL when absent */
unsigned http_req_header_count(const struct http_req *r, const char *lower_name);
struct slice http_req_body(const struct http_req *r);
bool http_req_is_http2(const struct http_req *r);
const char *http_req_peer(const struct http_req *r); /* address text */
bool http_req_is_too_large(
    const struct http_req
        *r); /* body over the limit: the body is empty, answer 413 or the gRPC equal */
const atomic_bool *http_req_gone(
    const struct http_req *r); /* becomes true when the client left; valid until http_reply */

struct http_header {
    const char *name;  /* lower case */
    const char *value; /* control characters are sent as spaces */
};
struct http_reply {
    unsigned status;
    const struct http_header *headers;
    unsigned header_count;
    struct buf *body;                   /* taken (emptied); may be NULL */
    const struct http_header *trailers; /* h2 only */
    unsigned trailer_count;
};
/* Any thread, exactly once; req is dead afterwards.  Content-Length and Connection are ours to add.  Dropped when the client or the server is gone;
 * the loops must outlive the last reply or http_server_free, whichever comes first. */
void http_reply(struct http_req *req, const struct http_reply *reply);
void http_reply_text(struct http_req *req, unsigned status, const char *content_type,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Query strings: percent and plus decoding.  Go's url.ParseQuery: a broken escape leaves that pair out. */
struct arena;
/* First value of `name`; ptr NULL when absent. */
struct slice http_query_get(struct arena *a, struct slice query, const char *name);
typedef void http_query_fn(void *arg, struct slice name, struct slice value);
void http_query_each(struct arena *a, struct slice query, http_query_fn *fn, void *arg);
struct slice http_percent_decode(struct arena *a,
                                 struct slice text); /* path segments; ptr NULL when broken */

#endif
