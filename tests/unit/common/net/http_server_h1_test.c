#include "tests/unit/common/net/http_fixture.h"

/* One answer read from a connection. */
struct answer {
    unsigned status;
    char head[4096];
    char *body; /* NUL-terminated */
    size_t body_len;
};

static void answer_free(struct answer *a)
{
    free(a->body);
    a->body = NULL;
}

/* Reads one answer; status 0 when the connection ended before it.  `has_body` is false for HEAD. */
static struct answer read_answer(int fd, bool has_body)
{
    struct answer a = {0};
    size_t len = 0;
    uint64_t length = 0;

    while (len < sizeof a.head - 1) {
        ssize_t n = recv(fd, a.head + len, 1, 0);
        if (n <= 0)
            return a;
        len++;
        if (len >= 4 && memcmp(a.head + len - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    assert_memory_equal(a.head, "HTTP/1.1 ", 9);
    a.status = (unsigned)strtoul(a.head + 9, NULL, 10);
    const char *at = strstr(a.head, "Content-Length: ");
    if (at != NULL)
        length = strtoull(at + 16, NULL, 10);
    if (!has_body)
        length = 0;
    a.body = calloc(1, length + 1);
    assert_non_null(a.body);
    while (a.body_len < length) {
        ssize_t n = recv(fd, a.body + a.body_len, length - a.body_len, 0);
        assert_true(n > 0);
        a.body_len += (size_t)n;
    }
    return a;
}

static void expect(int fd, unsigned status, const char *body)
{
    struct answer a = read_answer(fd, true);

    assert_int_equal(a.status, status);
    if (body != NULL)
        assert_string_equal(a.body, body);
    answer_free(&a);
}

static void expect_closed(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    (void)close(fd);
}

static void test_request_parts(void **state)
{
    (void)state;
    struct fixture f;

    fixture_defaults(&f);
    fixture_start(&f);
    int fd = dial(&f);
    assert_true(send_text(fd,
                          "\r\nGET /a/b%20c?x=1&y=%2F#part HTTP/1.1\r\nHost: h:1\r\nX-SEEN:  one "
                          "\r\nx-seen:two\r\n\r\n"));
    expect(fd, 200, "GET|/a/b%20c|x=1&y=%2F|one|2|h:1|127.0.0.1");
    assert_true(send_text(fd, "GET http://other:3/p?q HTTP/1.1\r\nHost: h\r\n\r\n"));
    expect(fd, 200, "GET|/p|q||0|h|127.0.0.1");
    assert_true(send_text(fd, "GET http://other?q HTTP/1.1\r\nHost: h\r\n\r\n"));
    expect(fd, 200, "GET|/|q||0|h|127.0.0.1");
    assert_true(send_text(fd, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"));
    expect(fd, 200, "OPTIONS|*|||0|h|127.0.0.1");
    /* An offer of another protocol is not taken up. */
    assert_true(send_text(fd,
                          "GET /u HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                          "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"));
    expect(fd, 200, "GET|/u|||0|h|127.0.0.1");
    assert_true(send_text(fd, "HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct answer a = read_answer(fd, false);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Content-Length: 23\r\n"));
    assert_non_null(strstr(a.head, "Content-Type: text/plain; charset=utf-8\r\n"));
    answer_free(&a);
    assert_true(send_text(fd, "GET /none HTTP/1.1\r\nHost: h\r\n\r\n"));
    a = read_answer(fd, true);
    assert_int_equal(a.status, 204);
    assert_null(strstr(a.head, "Content-Length"));
    answer_free(&a);
    (void)close(fd);
    fixture_stop(&f);
}

static void test_keep_alive_and_close(void **state)
{
    (void)state;
    struct fixture f;

    fixture_defaults(&f);
    fixture_start(&f);
    int fd = dial(&f);
    for (unsigned i = 0; i < 50; i++) {
        assert_true(send_text(
            fd, i % 2 == 0 ? "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
                           : "POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"));
        expect(fd, 200, "hello");
    }
    assert_true(send_text(fd, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    struct answer a = read_answer(fd, true);
    assert_non_null(strstr(a.head, "Connection: close\r\n"));
    answer_free(&a);
    expect_closed(fd);
    /* HTTP/1.0 closes unless it asks otherwise. */
    fd = dial(&f);
    assert_true(send_text(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    a = read_answer(fd, true);
    assert_non_null(strstr(a.head, "Connection: keep-alive\r\n"));
    answer_free(&a);
    assert_true(send_text(fd, "GET / HTTP/1.0\r\n\r\n"));
    expect(fd, 200, NULL);
    expect_closed(fd);
    fixture_wait_idle(&f);
    fixture_stop(&f);
}

static void test_pipelining_in_order(void **state)
{
    (void)state;
    enum { REQUESTS = 200 };
    struct fixture f;
    struct buf all;

    fixture_defaults(&f);
    fixture_start(&f);
    int fd = dial(&f);
    buf_init(&all, 1 << 20);
    for (unsigned i = 0; i < REQUESTS; i++) {
        char body[32];
        int n = snprintf(body, sizeof body, "number %u", i);
        buf_appendf(&all, "POST /%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s",
                    i % 3 == 0 ? "later" : "echo", n, body);
    }
    assert_true(send_bytes(fd, all.ptr, all.len));
    /* A client that only shuts down its sending side still gets all answers. */
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        char body[32];
        (void)snprintf(body, sizeof body, "number %u", i);
        expect(fd, 200, body);
    }
    expect_closed(fd);
    buf_release(&all);
    fixture_stop(&f);
}

static void test_every_split(void **state)
{
    (void)state;
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n00A\r\n 0123456\r\n\r\n0\r\nX-Trailer: t\r\n\r\n";
    struct fixture f;

    fixture_defaults(&f);
    fixture_start(&f);
    int fd = dial(&f);
    for (size_t at = 1; at < sizeof text - 1; at++) {
        assert_true(send_bytes(fd, text, at));
        if (at % 4 == 0)
            (void)usleep(500); /* so that the halves arrive apart now and then */
        assert_true(send_bytes(fd, text + at, sizeof text - 1 - at));
        expect(fd, 200, "hello 0123456\r\n");
    }
    for (size_t at = 0; at < sizeof text - 1; at++)
        assert_true(send_bytes(fd, text + at, 1));
    expect(fd, 200, "hello 0123456\r\n");
    (void)close(fd);
    fixture_stop(&f);
}

/* Each of them once slipped two requests past some server as one, or one as two. */
static void test_smuggling_is_refused(void **state)
{
    (void)state;
#define POST "POST /echo HTTP/1.1\r\nHost: h\r\n"
    static const struct {
        const char *text;
        unsigned status;
    } cases[] = {
        {POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
        {POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
        {POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
        {POST "Content-Length: 5, 5\r\n\r\nhello", 400},
        {POST "Content-Length: -5\r\n\r\nhello", 400},
        {POST "Content-Length: +5\r\n\r\nhello", 400},
        {POST "Content-Length: 0x5\r\n\r\nhello", 400},
        {POST "Content-Length: 5 5\r\n\r\nhello", 400},
        {POST "Content-Length:\r\n\r\nhello", 400},
        {POST "Content-Length: 18446744073709551616\r\n\r\n", 400},
        {POST "Content-Length : 5\r\n\r\nhello", 400},
        {POST " Content-Length: 5\r\n\r\nhello", 400},
        {POST "X: a\r\n Content-Length: 5\r\n\r\nhello", 400},
        {POST "X: a\r\n\tb\r\n\r\n", 400},
        {POST "X: a\n\r\n", 400},
        {POST "X: a\rContent-Length: 5\r\n\r\n", 400},
        {POST "X a\r\n\r\n", 400},
        {POST ": a\r\n\r\n", 400},
        {POST "X\xc3\xa4: a\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\nHost: h\n\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n X: y\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding:\x0b"
              "chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
        {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
        {"GET /\r\n\r\n", 505},
        {"GET / a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"CONNECT h:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {POST "Expect: 200-maybe\r\nContent-Length: 5\r\n\r\nhello", 417},
        {"\x16\x03\x01\x02\x01\x01\xfc\x03\x03", 400},
    };
#undef POST
    struct fixture f;

    fixture_defaults(&f);
    fixture_start(&f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = dial(&f);
        assert_true(send_text(fd, cases[i].text));
        /* What follows must not be taken for a request of its own. */
        (void)send_text(fd, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        struct answer a = read_answer(fd, true);
        if (a.status != cases[i].status)
            fail_msg("%zu: %u instead of %u: %s", i, a.status, cases[i].status, cases[i].text);
        answer_free(&a);
        expect_closed(fd);
    }
    assert_int_equal(atomic_load(&f.handled_count), 0);
    fixture_stop(&f);
}

static void test_nul_in_the_head(void **state)
{
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n";
    struct fixture f;

    fixture_defaults(&f);
    fixture_start(&f);
    int fd = dial(&f);
    assert_true(send_bytes(fd, text, sizeof text - 1));
    expect(fd, 400, NULL);
    expect_closed(fd);
    fixture_stop(&f);
}

static void test_head_limits(void **state)
{
    (void)state;
    struct fixture f;
    struct buf text;

    fixture_defaults(&f);
    f.options.header_bytes_max = 4096;
    fixture_start(&f);
    buf_init(&text, 1 << 20);
    /* 100 fields are fine, 101 are not. */
    for (unsigned fields = 100; fields <= 101; fields++) {
        buf_reset(&text);
        buf_append_str(&text, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (unsigned i = 1; i < fields; i++)
            buf_append_str(&text, "a:\r\n");
        buf_append_str(&text, "\r\n");
        int fd = dial(&f);
        assert_true(send_bytes(fd, text.ptr, text.len));
        expect(fd, fields == 100 ? 200 : 431, NULL);
        (void)close(fd);
    }
    buf_reset(&text);
    buf_append_str(&text, "GET / HTTP/1.1\r\nHost: h\r\nX-Long: ");
    while (text.len < 8192)
        buf_append_byte(&text, 'x');
    int fd = dial(&f);
    assert_true(send_bytes(fd, text.ptr, text.len));
    expect(fd, 431, NULL);
    expect_closed(fd);
    /* The same in the target. */
    memcpy(text.ptr, "GET /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 36);
    fd = dial(&f);
    assert_true(send_bytes(fd, text.ptr, text.len));
    expect(fd, 431, NULL);
    expect_closed(fd);
    buf_release(&text);
    fixture_stop(&f);
}

/* A head over 64 KiB is counted while it comes in and until the answer is out (the fixture asks for a budget of zero at its end). */
static void test_long_heads_are_counted(void **state)
{
    (void)state;
    enum { HEAD_BYTES = 200 << 10, HEADER_BYTES_MAX = 512 << 10 };
    struct fixture f;
    struct buf text;

    buf_init(&text, 1 << 20);
    buf_append_str(&text, "HEAD /");
    while (text.len < HEAD_BYTES)
        buf_append_byte(&text, 'x');
    buf_append_str(&text, " HTTP/1.1\r\nHost: h\r\n\r\n");
    for (unsigned fits = 0; fits <= 1; fits++) {
        fixture_defaults(&f);
        f.options.header_bytes_max = HEADER_BYTES_MAX;
        budget_init(&f.budget, 2 * HEADER_BYTES_MAX - 1 + fits, NULL);
        fixture_start(&f);
        int fd = dial(&f);
        assert_true(send_bytes(fd, text.ptr, text.len));
        struct answer a = read_answer(fd, false);
        assert_int_equal(a.status, fits == 1 ? 200 : 503);
        answer_free(&a);
        (void)close(fd);
        fixture_stop(&f);
    }
    buf_release(&text);
}

static void test_body_limits_and_continue(void **state)
{
    (void)state;
    struct fixture f;
    char text[200];

    fixture_defaults(&f);
    f.options.body_bytes_max = 1000;
    fixture_start(&f);
    int fd = dial(&f);
    assert_true(send_text(
        fd, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    struct answer a = read_answer(fd, false);
    assert_int_equal(a.status, 100);
    answer_free(&a);
    assert_true(send_text(fd, "abc"));
    expect(fd, 200, "abc");
    /* Stated too large: refused before it is sent. */
    assert_true(send_text(
        fd,
        "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n"));
    expect(fd, 413, "too large, says the handler");
    expect_closed(fd);
    /* Stated too large and sent all the same: the answer still arrives. */
    fd = dial(&f);
    assert_true(send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"));
    char *bytes = calloc(1, 3000000);
    assert_non_null(bytes);
    (void)send_bytes(fd, bytes, 3000000);
    expect(fd, 413, "too large, says the handler");
    expect_closed(fd);
    free(bytes);
    /* Chunked: the chunk that goes over. */
    fd = dial(&f);
    assert_true(
        send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < 6; i++) {
        assert_true(send_text(fd, "c8\r\n"));
        assert_true(send_bytes(fd, text, sizeof text));
        assert_true(send_text(fd, "\r\n"));
    }
    expect(fd, 413, "too large, says the handler");
    expect_closed(fd);
    fixture_stop(&f);
}

static void test_large_bodies_both_ways(void **state)
{
    (void)state;
    enum { BYTES = 8 << 20 };
    struct fixture f;
    uint8_t *bytes = malloc(BYTES);
    char head[200];

    assert_non_null(bytes);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 31 >> 2);
    fixture_defaults(&f);
    fixture_start(&f);
    int fd = dial(&f);
    (void)snprintf(head, sizeof head,
                   "POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", BYTES);
    assert_true(send_text(fd, head));
    assert_true(send_bytes(fd, bytes, BYTES));
    struct answer a = read_answer(fd, true);
    assert_int_equal(a.body_len, BYTES);
    assert_memory_equal(a.body, bytes, BYTES);
    answer_free(&a);
    (void)close(fd);
    free(bytes);
    fixture_stop(&f);
}

static void test_budget_refuses_with_503(void **state)
{
    (void)state;
    struct fixture f;
    char text[3000];

    fixture_defaults(&f);
    budget_init(&f.budget, 2048, NULL);
    fixture_start(&f);
    int fd = dial(&f);
    memset(text, 'x', sizeof text);
    assert_true(send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n"));
    assert_true(send_bytes(fd, text, 3000));
    struct answer a = read_answer(fd, true);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.head, "Retry-After: 1\r\n"));
    answer_free(&a);
    /* The connection goes on, and so does what fits. */
    assert_true(send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n"));
    assert_true(send_bytes(fd, text, 2000));
    expect(fd, 200, NULL);
    assert_int_equal(atomic_load(&f.handled_count), 1);
    (void)close(fd);
    fixture_stop(&f);
}

static void test_slow_clients_are_let_go(void **state)
{
    (void)state;
    struct fixture f;

    fixture_defaults(&f);
    f.options.header_timeout_ns = 200 * NS_PER_MS;
    f.options.idle_timeout_ns = 600 * NS_PER_MS;
    f.options.body_grace_ns = 200 * NS_PER_MS;
    f.options.body_bytes_per_s_min = 1000000;
    fixture_start(&f);
    int silent = dial(&f), head = dial(&f), body = dial(&f), idle = dial(&f);
    assert_true(send_text(head, "GET / HT"));
    assert_true(send_text(body, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n123"));
    assert_true(send_text(idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    expect(idle, 200, NULL);
    expect_closed(silent);
    expect(head, 408, NULL);
    expect_closed(head);
    expect(body, 408, NULL);
    expect_closed(body);
    expect_closed(idle);
    /* A handler may take its time: the limits are for clients. */
    int slow = dial(&f);
    assert_true(send_text(slow, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct http_req *req = fixture_wait_held(&f);
    (void)usleep(900000);
    assert_false(atomic_load(http_req_gone(req)));
    http_reply_text(req, 200, "text/plain", "at last");
    expect(slow, 200, "at last");
    (void)close(slow);
    fixture_stop(&f);
}

static void test_connection_caps(void **state)
{
    (void)state;
    struct fixture f;
    int fds[3];

    fixture_defaults(&f);
    f.options.connections_per_address_max = 3;
    fixture_start(&f);
    for (unsigned i = 0; i < 3; i++) {
        fds[i] = dial(&f);
        assert_true(send_text(fds[i], "GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
        expect(fds[i], 200, NULL);
    }
    int over = dial(&f);
    char byte;
    assert_true(recv(over, &byte, 1, 0) <= 0);
    (void)close(over);
    /* A place is free again when one leaves. */
    (void)close(fds[0]);
    unsigned status = 0;
    for (unsigned i = 0; i < 1000 && status == 0; i++) {
        fds[0] = dial(&f);
        (void)send_text(fds[0], "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        struct answer a = read_answer(fds[0], true);
        status = a.status;
        answer_free(&a);
        if (status == 0) {
            (void)close(fds[0]);
            (void)usleep(1000);
        }
    }
    assert_int_equal(status, 200);
    for (unsigned i = 0; i < 3; i++)
        (void)close(fds[i]);
    fixture_stop(&f);
}

static void test_client_leaves(void **state)
{
    (void)state;
    struct fixture f;

    fixture_defaults(&f);
    fixture_start(&f);
    int fd = dial(&f);
    assert_true(send_text(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct http_req *req = fixture_wait_held(&f);
    assert_int_equal(http_server_in_flight(f.server), 1);
    assert_false(atomic_load(http_req_gone(req)));
    (void)close(fd);
    for (unsigned i = 0; i < 5000 && !atomic_load(http_req_gone(req)); i++)
        (void)usleep(1000);
    assert_true(atomic_load(http_req_gone(req)));
    http_reply_text(req, 200, "text/plain", "too late");
    fixture_wait_idle(&f);
    fixture_stop(&f);
}

static void test_drain(void **state)
{
    (void)state;
    struct fixture f;

    fixture_defaults(&f);
    fixture_start(&f);
    int idle = dial(&f), busy = dial(&f);
    assert_true(send_text(idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    expect(idle, 200, NULL);
    assert_true(send_text(busy, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct http_req *req = fixture_wait_held(&f);
    http_server_drain(f.server);
    http_server_drain(f.server);
    expect_closed(idle);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(f.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), -1);
    (void)close(fd);
    assert_int_equal(http_server_in_flight(f.server), 1);
    http_reply_text(req, 200, "text/plain", "done");
    struct answer a = read_answer(busy, true);
    assert_string_equal(a.body, "done");
    assert_non_null(strstr(a.head, "Connection: close\r\n"));
    answer_free(&a);
    expect_closed(busy);
    fixture_wait_idle(&f);
    fixture_stop(&f);
}

static void test_freed_with_a_request_in_the_handler(void **state)
{
    (void)state;
    struct fixture f;

    fixture_defaults(&f);
    fixture_start(&f);
    int fd = dial(&f);
    assert_true(send_text(fd, "POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"));
    struct http_req *req = fixture_wait_held(&f);
    assert_null(atomic_exchange(&f.held, req));
    fixture_stop(&f); /* which replies after the server's end */
    (void)close(fd);
}

static void test_port_taken_and_bad_address(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server *second;
    struct err_detail detail = {0};

    fixture_defaults(&f);
    fixture_start(&f);
    struct http_server_options o = f.options;
    o.port = f.port;
    assert_int_equal(http_server_new(&o, &second, &detail), ERR_CONFLICT);
    assert_non_null(strstr(detail.text, "127.0.0.1"));
    assert_non_null(strstr(detail.text, "in use"));
    o.address = "no.such.host.invalid";
    assert_int_equal(http_server_new(&o, &second, &detail), ERR_INVALID);
    o.address = "203.0.113.7"; /* nobody's */
    assert_int_equal(http_server_new(&o, &second, &detail), ERR_INVALID);
    o.port = 0;
    o.address = "[::]";
    enum err e = http_server_new(&o, &second, &detail);
    assert_true(e == ERR_OK || strstr(detail.text, "family") != NULL); /* a machine without IPv6 */
    if (e == ERR_OK)
        http_server_free(second);
    o.address = "localhost";
    assert_int_equal(http_server_new(&o, &second, &detail), ERR_OK);
    http_server_free(second);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_parts),
        cmocka_unit_test(test_keep_alive_and_close),
        cmocka_unit_test(test_pipelining_in_order),
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_smuggling_is_refused),
        cmocka_unit_test(test_nul_in_the_head),
        cmocka_unit_test(test_head_limits),
        cmocka_unit_test(test_body_limits_and_continue),
        cmocka_unit_test(test_large_bodies_both_ways),
        cmocka_unit_test(test_budget_refuses_with_503),
        cmocka_unit_test(test_long_heads_are_counted),
        cmocka_unit_test(test_slow_clients_are_let_go),
        cmocka_unit_test(test_connection_caps),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_freed_with_a_request_in_the_handler),
        cmocka_unit_test(test_port_taken_and_bad_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
