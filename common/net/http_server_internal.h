/*
 * http_server_internal.h - the parts of the HTTP server: requests, and connections without sockets.
 *
 * Shape:   a connection reads from one evbuffer and writes to another; who fills and empties them (a bufferevent, a fuzzer) is not its business.
 *          Time is passed in.  http_server.c owns sockets, threads and the life of connections.
 * Requests: received by a connection (RECEIVING), given to the handler (HANDLED), given back with a reply (ANSWERING).  A request whose
 *          stream or connection ends while HANDLED is an orphan: nobody but its handler knows it, and its reply frees it.
 * Threads: connections on one loop; requests as said in http_server.h.
 */
#ifndef VIVACE_NET_HTTP_SERVER_INTERNAL_H
#define VIVACE_NET_HTTP_SERVER_INTERNAL_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/net/http_server.h"

#include <event2/buffer.h>
#include <http_parser.h>
#include <nghttp2/nghttp2.h>

enum {
    HTTP_FIELDS_MAX = 100,
    HTTP_PEER_BYTES = 64,
    HTTP_OUT_BYTES_HIGH = 256 << 10, /* no more is made while this much waits to be written */
    HTTP_HEAD_UNCOUNTED_BYTES = 64 << 10,
    HTTP_REPLY_FIELD_BYTES_MAX = 64 << 10,
    HTTP_TRAILER_BYTES_MAX = 8 << 10,
    HTTP_LINGER_BYTES_MAX = 64 << 20
};
#define HTTP_LINGER_NS        (5 * NS_PER_S)
#define HTTP_WRITE_TIMEOUT_NS (30 * NS_PER_S)

/* What requests and connections need of their server. */
struct http_env {
    size_t body_bytes_max, header_bytes_max;
    unsigned streams_max;
    int64_t header_timeout_ns, idle_timeout_ns, max_connection_age_ns, body_grace_ns;
    uint64_t body_bytes_per_s_min;
    struct budget *budget;
    struct http_cors cors;
    http_handler *handler;
    void *arg;
    void (*post)(struct http_req *r); /* brings the answered request to http_server_conn_reply */
    void (*unref)(struct http_env *env);
    atomic_uint ref_count; /* the owner, and each request */
    atomic_uint in_flight; /* given to the handler and not yet written out */
};

struct http_span { /* a piece of http_req.text */
    uint32_t at, len;
};

struct http_field {
    struct http_span name, value;
};

enum http_req_state { HTTP_REQ_RECEIVING, HTTP_REQ_HANDLED, HTTP_REQ_ANSWERING };

struct http_req {
    struct loop_msg msg;          /* first: the reply on its way to the loop */
    struct http_req *prev, *next; /* in the connection's list */
    struct http_env *env;         /* shared */
    void *home;                   /* of env->post */
    uint64_t conn_id;
    int32_t stream_id;         /* HTTP/2 */
    enum http_req_state state; /* on the loop */
    bool is_orphan;            /* on the loop */
    bool is_counted;           /* in env->in_flight */
    bool is_http2, is_head, is_head_done, is_body_done;
    bool is_too_large; /* the body, over its limit */
    bool is_refused;   /* the body, by the budget or for lack of memory */
    bool is_head_too_large;
    atomic_bool gone;
    char peer[HTTP_PEER_BYTES];

    struct buf text; /* method, target, fields */
    struct http_span method, target;
    struct http_field fields[HTTP_FIELDS_MAX];
    unsigned field_count;
    size_t header_bytes; /* as RFC 9113 6.5.2 counts them */
    size_t head_budget_bytes;

    struct buf body;
    size_t body_budget_bytes;
    uint64_t received_bytes; /* of the body, thrown away ones too */
    int64_t head_started_ns, body_started_ns, progress_ns;

    unsigned status;
    struct buf reply_fields; /* name NUL value NUL ..., headers before trailers */
    unsigned header_count, trailer_count;
    struct buf reply_body;
    size_t reply_body_at, trailers_at;
};

struct http_server_conn;
MUST_CHECK enum err http_req_new(struct http_server_conn *c, int64_t now_ns, struct http_req **ret);
void http_req_free(struct http_req *r);
/* Errors: ERR_TOO_LARGE, ERR_NOMEM. */
MUST_CHECK enum err http_req_add_text(struct http_req *r, struct slice s, struct http_span *ret);
/* Keeps a copy, the name in lower case.  Errors: ERR_TOO_LARGE over bytes or count (is_head_too_large is set), ERR_NOMEM. */
MUST_CHECK enum err http_req_add_field(struct http_req *r, struct slice name, struct slice value);
/* A head that grows beyond what every connection may have is counted for the whole of what it may become.  Errors: ERR_LIMIT. */
MUST_CHECK enum err http_req_count_head(struct http_req *r, size_t len);
/* Keeps the bytes, or notes why not and throws them (and what there was) away. */
void http_req_add_body(struct http_req *r, struct slice data);
void http_req_release_body(struct http_req *r);
/* The stated length of the body; false when there is none or it is not a number. */
bool http_req_content_length(const struct http_req *r, uint64_t *ret);
/* An answer of the server's own, made into the request; the caller then sends it. */
void http_req_set_own_reply(struct http_req *r, unsigned status);
/* The next name and value of reply_fields; *at begins at 0. */
void http_req_next_reply_field(const struct http_req *r, size_t *at, const char **ret_name,
                               const char **ret_value);

enum http_server_h1_state {
    HTTP1_HEAD,
    HTTP1_BODY,
    HTTP1_HANDLED /* one request at a time: what was pipelined waits in `in` */
};

/* Follows the framing of a chunked body, more strictly than the parser. */
struct http_chunks {
    enum {
        HTTP_CHUNK_SIZE,
        HTTP_CHUNK_SIZE_LF,
        HTTP_CHUNK_DATA,
        HTTP_CHUNK_DATA_CR,
        HTTP_CHUNK_DATA_LF,
        HTTP_CHUNK_TRAILER,
        HTTP_CHUNK_TRAILER_LINE,
        HTTP_CHUNK_TRAILER_LF,
        HTTP_CHUNK_END_LF,
        HTTP_CHUNK_DONE
    } state;
    unsigned digits;
    uint64_t size; /* of the chunk, what is left of it */
    size_t trailer_bytes;
};

struct http_server_h1 {
    http_parser parser;
    enum http_server_h1_state state;
    struct http_req *req;
    size_t scanned; /* bytes of the head that were looked at */
    unsigned blank_lines;
    struct http_chunks chunks;
    uint64_t body_left; /* of a body with a stated length */
    bool is_chunked, is_keep_alive, is_message_done;
    bool was_value; /* of the parser's last callback */
    struct buf name, value;
    enum err err; /* of a callback */
};

struct http_server_h2 {
    nghttp2_session *session;
    enum { HTTP2_OPEN, HTTP2_NOTICE_SENT, HTTP2_GOAWAY_SENT } drain;
    int64_t notice_ns;
    int64_t tokens, tokens_ns; /* for frames that cost us more than the peer */
};

struct http_server_conn {
    struct http_env *env;
    void *home;
    uint64_t id;
    enum { HTTP_SNIFF, HTTP_1, HTTP_2 } protocol;
    struct evbuffer *in, *out; /* borrowed */
    struct http_req *reqs;     /* all that are not orphans */
    unsigned req_count;
    unsigned unflushed; /* answered requests whose bytes are in `out` */
    bool is_closing;    /* nothing more is answered: close when `out` is empty */
    bool is_broken;     /* close at once */
    bool
        is_lingering; /* after the last byte out: what comes is thrown away for a moment, so that the peer reads our answer */
    bool is_draining, is_eof, has_progress;
    uint64_t lingered_bytes;
    int64_t now_ns, opened_ns, idle_ns, progress_ns, linger_ns;
    char peer[HTTP_PEER_BYTES];
    struct http_server_h1 h1;
    struct http_server_h2 h2;
};

void http_server_conn_init(struct http_server_conn *c, struct http_env *env, uint64_t id,
                           struct evbuffer *in, struct evbuffer *out, int64_t now_ns);
void http_server_conn_release(
    struct http_server_conn *c); /* its requests are freed or become orphans */
void http_server_conn_input(struct http_server_conn *c, int64_t now_ns);
void http_server_conn_eof(struct http_server_conn *c, int64_t now_ns);
void http_server_conn_written(struct http_server_conn *c, int64_t now_ns); /* `out` got shorter */
void http_server_conn_reply(struct http_server_conn *c, struct http_req *r,
                            int64_t now_ns); /* takes r */
void http_server_conn_tick(struct http_server_conn *c, int64_t now_ns);
void http_server_conn_drain(struct http_server_conn *c, int64_t now_ns);
bool http_server_conn_is_done(const struct http_server_conn *c);

/* For the two protocols. */
void http_server_conn_add_req(struct http_server_conn *c, struct http_req *r);
void http_server_conn_remove_req(struct http_server_conn *c, struct http_req *r);
void http_server_conn_handle(struct http_server_conn *c,
                             struct http_req *r); /* gives it to the handler */
void http_server_conn_end_req(struct http_server_conn *c,
                              struct http_req *r); /* its last byte is in `out`; takes r */
bool http_server_conn_is_too_slow(const struct http_server_conn *c, const struct http_req *r);

void http_server_h1_init(struct http_server_conn *c);
void http_server_h1_release(struct http_server_conn *c);
bool http_server_h1_input(
    struct http_server_conn *c); /* false: nothing more can be done with what is there */
void http_server_h1_reply(struct http_server_conn *c, struct http_req *r);
void http_server_h1_tick(struct http_server_conn *c);
void http_server_h1_drain(struct http_server_conn *c);
/* Consumes the framing of a chunked body up to its end; SIZE_MAX when it is malformed. */
size_t http_chunks_check(struct http_chunks *k, const uint8_t *data, size_t len);

void http_server_h2_init(struct http_server_conn *c);
void http_server_h2_release(struct http_server_conn *c);
bool http_server_h2_input(struct http_server_conn *c);
void http_server_h2_output(struct http_server_conn *c);
void http_server_h2_reply(struct http_server_conn *c, struct http_req *r);
void http_server_h2_tick(struct http_server_conn *c);
void http_server_h2_drain(struct http_server_conn *c);

#endif
