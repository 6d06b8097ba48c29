/* http_harness.h - a connection of the HTTP server without a socket: bytes go in, requests are answered, time is ours. */
#ifndef VIVACE_TESTS_HTTP_HARNESS_H
#define VIVACE_TESTS_HTTP_HARNESS_H

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/net/http_server_internal.h"

#include <assert.h>
#include <stdlib.h>

enum { HARNESS_BODY_BYTES_MAX = 4096, HARNESS_HEADER_BYTES_MAX = 2048, HARNESS_TICKS_MAX = 2000 };

struct harness {
    struct http_env env; /* first */
    struct budget budget;
    struct http_server_conn conn;
    struct evbuffer *in, *out;
    struct http_req *posted[256]; /* answered, on the way to the connection */
    unsigned posted_count;
    uint64_t log; /* of what the handler saw */
    unsigned handled_count;
    struct buf sent; /* what the peer got */
    int64_t now_ns;
};

static struct harness *harness_of_post;

static void harness_unref(struct http_env *env)
{
    atomic_fetch_sub(&env->ref_count, 1);
}

static void harness_post(struct http_req *r)
{
    struct harness *h = harness_of_post;

    assert(h->posted_count < sizeof h->posted / sizeof h->posted[0]);
    h->posted[h->posted_count++] = r;
}

static void harness_log(struct harness *h, struct slice s)
{
    h->log = hash_with(s, h->log + s.len);
}

/* Answers with what was asked, and with trailers for some. */
static void harness_handle(void *arg, struct http_req *req)
{
    struct harness *h = arg;
    struct http_header headers[] = {{"content-type", "a/b"}, {"x-seen", "1"}};
    struct http_header trailers[] = {{"grpc-status", "0"}};
    struct slice body = http_req_body(req), path = http_req_path(req);
    struct buf answer;

    assert(body.len <= HARNESS_BODY_BYTES_MAX);
    assert(!http_req_is_too_large(req) || body.len == 0);
    assert(path.len > 0);
    h->handled_count++;
    harness_log(h, http_req_method(req));
    harness_log(h, path);
    harness_log(h, http_req_query(req));
    harness_log(h, http_req_header(req, "host"));
    harness_log(h, http_req_is_too_large(req) ? SLICE_LIT("too large") : body);
    buf_init(&answer, 1 << 20);
    for (unsigned i = 0; i < (path.len > 2 ? 20 : 1); i++)
        buf_append(&answer, body);
    bool has_trailers = http_req_is_http2(req) && path.len % 2 == 1;
    struct http_reply reply = {.status = path.len == 3 ? 204 : 200,
                               .headers = headers,
                               .header_count = 2,
                               .body = &answer,
                               .trailers = trailers,
                               .trailer_count = has_trailers ? 1 : 0};
    http_reply(req, &reply);
    buf_release(&answer);
}

static inline void harness_init(struct harness *h)
{
    *h = (struct harness){.now_ns = NS_PER_S};
    budget_init(&h->budget, 1 << 20, NULL);
    h->env = (struct http_env){.body_bytes_max = HARNESS_BODY_BYTES_MAX,
                               .header_bytes_max = HARNESS_HEADER_BYTES_MAX,
                               .streams_max = 20,
                               .header_timeout_ns = 10 * NS_PER_S,
                               .idle_timeout_ns = 120 * NS_PER_S,
                               .body_grace_ns = 10 * NS_PER_S,
                               .body_bytes_per_s_min = 1024,
                               .budget = &h->budget,
                               .handler = harness_handle,
                               .arg = h,
                               .post = harness_post,
                               .unref = harness_unref,
                               .ref_count = 1};
    harness_of_post = h;
    h->in = evbuffer_new();
    h->out = evbuffer_new();
    assert(h->in != NULL);
    assert(h->out != NULL);
    buf_init(&h->sent, 64 << 20);
    http_server_conn_init(&h->conn, &h->env, 1, h->in, h->out, h->now_ns);
}

/* The peer reads all that there is, and answers arrive. */
static inline void harness_settle(struct harness *h)
{
    bool is_moving = true;

    while (is_moving && !http_server_conn_is_done(&h->conn)) {
        is_moving = false;
        if (h->posted_count > 0) {
            struct http_req *r = h->posted[--h->posted_count];
            if (r->is_orphan)
                http_req_free(r);
            else
                http_server_conn_reply(&h->conn, r, h->now_ns);
            is_moving = true;
        }
        size_t len = evbuffer_get_length(h->out);
        if (len > 0) {
            uint8_t *to = buf_extend(&h->sent, len);
            if (to != NULL)
                assert(evbuffer_remove(h->out, to, len) == (int)len);
            else
                assert(evbuffer_drain(h->out, len) == 0); /* in the fault tests */
            http_server_conn_written(&h->conn, h->now_ns);
            is_moving = true;
        }
    }
}

static inline void harness_feed(struct harness *h, struct slice s)
{
    if (http_server_conn_is_done(&h->conn) || s.len == 0)
        return;
    assert(evbuffer_add(h->in, s.ptr, s.len) == 0);
    http_server_conn_input(&h->conn, h->now_ns);
    harness_settle(h);
}

/* Whatever came: a silent peer is let go in the end, and nothing is left of it. */
static inline void harness_end(struct harness *h)
{
    for (unsigned i = 0; i < HARNESS_TICKS_MAX && !http_server_conn_is_done(&h->conn); i++) {
        h->now_ns += NS_PER_S / 2;
        http_server_conn_tick(&h->conn, h->now_ns);
        harness_settle(h);
    }
    assert(http_server_conn_is_done(&h->conn));
    http_server_conn_release(&h->conn);
    while (h->posted_count > 0) {
        assert(h->posted[h->posted_count - 1]->is_orphan);
        http_req_free(h->posted[--h->posted_count]);
    }
    evbuffer_free(h->in);
    evbuffer_free(h->out);
    assert(atomic_load(&h->env.in_flight) == 0);
    assert(atomic_load(&h->env.ref_count) == 1);
    assert(budget_used(&h->budget) == 0);
}

#endif
