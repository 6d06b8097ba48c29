/* http_fixture.h - a server on a free port with a handler that tests steer by path, and plain sockets to it. */
#ifndef VIVACE_TESTS_HTTP_FIXTURE_H
#define VIVACE_TESTS_HTTP_FIXTURE_H

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/net/http_server.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { FIXTURE_LOOPS = 2, FIXTURE_BODY_BYTES_MAX = 9 << 20 };

struct fixture {
    struct loop *loops[FIXTURE_LOOPS];
    struct loop *replies; /* a thread that is none of the server's */
    struct http_server *server;
    struct http_server_options options;
    struct budget budget;
    uint16_t port;
    _Atomic(struct http_req *) held;
    atomic_uint handled_count;
};

struct fixture_job {
    struct loop_msg msg; /* first */
    struct http_req *req;
};

static void fixture_echo(struct http_req *req)
{
    struct http_header type = {"content-type", "application/x-echo"};
    struct buf body;

    buf_init(&body, FIXTURE_BODY_BYTES_MAX);
    buf_append(&body, http_req_body(req));
    struct http_reply reply = {.status = 200, .headers = &type, .header_count = 1, .body = &body};
    http_reply(req, &reply);
}

static void fixture_run_job(struct loop_msg *m)
{
    struct fixture_job *job = (struct fixture_job *)m;

    fixture_echo(job->req);
    free(job);
}

static void fixture_big(struct http_req *req)
{
    struct arena a;
    struct buf body;
    uint64_t bytes = 0;

    arena_init(&a, NULL);
    struct slice text = http_query_get(&a, http_req_query(req), "bytes");
    if (text.ptr == NULL || num_parse_u64(text, &bytes) != ERR_OK)
        bytes = 0;
    arena_release(&a);
    buf_init(&body, (size_t)bytes + 1);
    uint8_t *to = buf_extend(&body, (size_t)bytes);
    for (size_t i = 0; i < (size_t)bytes; i++)
        to[i] = (uint8_t)(i * 7 >> 3);
    struct http_reply reply = {.status = 200, .body = &body};
    http_reply(req, &reply);
}

static void fixture_grpc(struct http_req *req, bool has_body)
{
    struct http_header type = {"content-type", "application/grpc"};
    struct http_header trailers[2] = {{"grpc-status", "0"}, {"grpc-message", "all\r\nright"}};
    struct buf body;

    buf_init(&body, 100);
    if (has_body)
        buf_append_str(&body, "a message");
    struct http_reply reply = {.status = 200,
                               .headers = &type,
                               .header_count = 1,
                               .body = &body,
                               .trailers = trailers,
                               .trailer_count = 2};
    http_reply(req, &reply);
}

static void fixture_handle(void *arg, struct http_req *req)
{
    struct fixture *f = arg;
    struct slice path = http_req_path(req);

    atomic_fetch_add(&f->handled_count, 1);
    if (http_req_is_too_large(req)) {
        assert_int_equal(http_req_body(req).len, 0);
        http_reply_text(req, 413, "text/plain", "too large, says the handler");
    } else if (slice_eq_str(path, "/echo")) {
        fixture_echo(req);
    } else if (slice_eq_str(path, "/later")) {
        struct fixture_job *job = calloc(1, sizeof *job);
        *job = (struct fixture_job){.msg.run = fixture_run_job, .req = req};
        loop_post(f->replies, &job->msg);
    } else if (slice_eq_str(path, "/big")) {
        fixture_big(req);
    } else if (slice_eq_str(path, "/grpc")) {
        fixture_grpc(req, true);
    } else if (slice_eq_str(path, "/grpc-empty")) {
        fixture_grpc(req, false);
    } else if (slice_eq_str(path, "/hold")) {
        assert_null(atomic_exchange(&f->held, req));
    } else if (slice_eq_str(path, "/none")) {
        struct http_reply reply = {.status = 204};
        http_reply(req, &reply);
    } else {
        struct slice query = http_req_query(req), method = http_req_method(req),
                     seen = http_req_header(req, "x-seen"), host = http_req_header(req, "host");
        http_reply_text(req, 200, "text/plain; charset=utf-8",
                        SLICE_FMT "|" SLICE_FMT "|" SLICE_FMT "|" SLICE_FMT "|%u|" SLICE_FMT "|%s",
                        SLICE_ARG(method), SLICE_ARG(path), SLICE_ARG(query), SLICE_ARG(seen),
                        http_req_header_count(req, "x-seen"), SLICE_ARG(host), http_req_peer(req));
    }
}

static inline void fixture_defaults(struct fixture *f)
{
    *f = (struct fixture){0};
    budget_init(&f->budget, 64 << 20, NULL);
    f->options = (struct http_server_options){.address = "127.0.0.1",
                                              .handler = fixture_handle,
                                              .arg = f,
                                              .budget = &f->budget,
                                              .body_bytes_max = FIXTURE_BODY_BYTES_MAX,
                                              .header_bytes_max = 64 << 10};
}

static inline void fixture_start(struct fixture *f)
{
    struct err_detail detail = {0};

    for (unsigned i = 0; i < FIXTURE_LOOPS; i++)
        assert_int_equal(loop_new("http", &f->loops[i]), ERR_OK);
    assert_int_equal(loop_new("replies", &f->replies), ERR_OK);
    f->options.loops = f->loops;
    f->options.loop_count = FIXTURE_LOOPS;
    if (http_server_new(&f->options, &f->server, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
    f->port = http_server_port(f->server);
    assert_int_not_equal(f->port, 0);
}

static inline struct http_req *fixture_wait_held(struct fixture *f)
{
    for (unsigned i = 0; i < 10000; i++) {
        struct http_req *req = atomic_exchange(&f->held, NULL);
        if (req != NULL)
            return req;
        (void)usleep(1000);
    }
    fail_msg("no request was held");
    return NULL;
}

static inline void fixture_stop(struct fixture *f)
{
    http_server_free(f->server);
    struct http_req *req = atomic_exchange(&f->held, NULL);
    if (req != NULL) {
        assert_true(atomic_load(http_req_gone(req)));
        http_reply_text(req, 200, "text/plain", "nobody hears this");
    }
    loop_free(f->replies);
    for (unsigned i = 0; i < FIXTURE_LOOPS; i++)
        loop_free(f->loops[i]);
    /* Every body was given back. */
    assert_int_equal(budget_used(&f->budget), 0);
}

static inline void fixture_wait_idle(struct fixture *f)
{
    for (unsigned i = 0; i < 10000 && http_server_in_flight(f->server) > 0; i++)
        (void)usleep(1000);
    assert_int_equal(http_server_in_flight(f->server), 0);
}

static inline int dial(const struct fixture *f)
{
    struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(f->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

/* False when the peer does not take it all. */
static inline bool send_bytes(int fd, const void *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, (const char *)data + at, len - at, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static inline bool send_text(int fd, const char *text)
{
    return send_bytes(fd, text, strlen(text));
}

#endif
