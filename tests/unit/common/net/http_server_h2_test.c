#include "common/base/bytes.h"
#include "tests/unit/common/net/http_fixture.h"

#include <nghttp2/nghttp2.h>

/* A stream as a client sees it. */
struct stream {
    int32_t id;
    const uint8_t *send;
    size_t send_len, sent;
    unsigned status;
    char trailers[200];
    char type[64];
    bool is_closed, saw_head, is_continued;
    uint32_t error_code;
    struct buf body;
};

struct client {
    int fd;
    nghttp2_session *session;
    bool is_ended; /* the connection */
    unsigned goaway_count;
    int32_t goaway_last;
    uint32_t goaway_code;
    unsigned ping_count;
};

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct slice n = {name, name_len}, v = {value, value_len};

    (void)flags;
    (void)arg;
    if (s == NULL)
        return 0;
    if (slice_eq_str(n, ":status")) {
        s->status = (unsigned)strtoul((const char *)value, NULL, 10);
    } else if (s->saw_head) {
        size_t at = strlen(s->trailers);
        (void)snprintf(s->trailers + at, sizeof s->trailers - at, SLICE_FMT "=" SLICE_FMT ";",
                       SLICE_ARG(n), SLICE_ARG(v));
    } else if (slice_eq_str(n, "content-type")) {
        (void)snprintf(s->type, sizeof s->type, SLICE_FMT, SLICE_ARG(v));
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct client *c = arg;
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    if (frame->hd.type == NGHTTP2_HEADERS && s != NULL) {
        if (s->status == 100)
            s->is_continued = true;
        else
            s->saw_head = true;
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        c->goaway_count++;
        c->goaway_last = frame->goaway.last_stream_id;
        c->goaway_code = frame->goaway.error_code;
    }
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
        c->ping_count++;
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);

    (void)flags;
    (void)arg;
    if (s != NULL)
        buf_append(&s->body, (struct slice){data, len});
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);

    (void)arg;
    if (s != NULL) {
        s->is_closed = true;
        s->error_code = code;
    }
    return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t len,
                       uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct stream *s = source->ptr;

    (void)session;
    (void)id;
    (void)arg;
    if (len > s->send_len - s->sent)
        len = s->send_len - s->sent;
    memcpy(to, s->send + s->sent, len);
    s->sent += len;
    if (s->sent == s->send_len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

static void client_open(struct client *c, struct fixture *f)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 100000};

    *c = (struct client){.fd = dial(f)};
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    assert_int_equal(nghttp2_session_client_new(&c->session, callbacks, c), 0);
    nghttp2_session_callbacks_del(callbacks);
    assert_int_equal(nghttp2_submit_settings(c->session, 0, &settings, 1), 0);
}

static void client_close(struct client *c)
{
    nghttp2_session_del(c->session);
    (void)close(c->fd);
}

static void client_flush(struct client *c)
{
    const uint8_t *data;
    ssize_t n;

    while (!c->is_ended && (n = nghttp2_session_mem_send(c->session, &data)) > 0) {
        if (!send_bytes(c->fd, data, (size_t)n))
            c->is_ended = true;
    }
}

/* Sends what there is, then reads once; false when the connection has ended. */
static bool client_step(struct client *c)
{
    uint8_t in[65536];

    client_flush(c);
    ssize_t n = recv(c->fd, in, sizeof in, 0);
    if (n <= 0)
        c->is_ended = true;
    else if (nghttp2_session_mem_recv(c->session, in, (size_t)n) < 0)
        c->is_ended = true;
    client_flush(c);
    return !c->is_ended;
}

static void client_until_closed(struct client *c, struct stream *s)
{
    while (!s->is_closed && client_step(c)) {
    }
    if (!s->is_closed)
        fail_msg("the connection ended before stream %d, goaway %u", s->id, c->goaway_code);
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

static void stream_open(struct client *c, struct stream *s, const char *method, const char *path,
                        struct slice body)
{
    nghttp2_nv fields[] = {nv(":method", method), nv(":scheme", "http"), nv(":authority", "h:2"),
                           nv(":path", path), nv("x-seen", "yes")};
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = on_read};

    *s = (struct stream){.send = body.ptr, .send_len = body.len};
    buf_init(&s->body, 64 << 20);
    s->id = nghttp2_submit_request(c->session, NULL, fields, 5, body.len > 0 ? &provider : NULL, s);
    assert_true(s->id > 0);
}

static void expect_stream(struct client *c, const char *path, struct slice body, unsigned status,
                          struct slice want)
{
    struct stream s;

    stream_open(c, &s, body.len > 0 ? "POST" : "GET", path, body);
    client_until_closed(c, &s);
    assert_int_equal(s.error_code, NGHTTP2_NO_ERROR);
    assert_int_equal(s.status, status);
    assert_true(slice_eq(buf_slice(&s.body), want));
    buf_release(&s.body);
}

static void test_requests(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct stream s;

    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    expect_stream(&c, "/a%20b?x=1", SLICE_NONE, 200,
                  SLICE_LIT("GET|/a%20b|x=1|yes|1|h:2|127.0.0.1"));
    expect_stream(&c, "/echo", SLICE_LIT("hello"), 200, SLICE_LIT("hello"));
    expect_stream(&c, "/later", SLICE_LIT("hello"), 200, SLICE_LIT("hello"));
    expect_stream(&c, "/none", SLICE_NONE, 204, SLICE_NONE);
    stream_open(&c, &s, "HEAD", "/big?bytes=10", SLICE_NONE);
    client_until_closed(&c, &s);
    assert_int_equal(s.status, 200);
    assert_int_equal(s.body.len, 0);
    buf_release(&s.body);
    client_close(&c);
    fixture_stop(&f);
}

static void test_trailers(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct stream s;

    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    for (unsigned i = 0; i < 2; i++) {
        stream_open(&c, &s, "POST", i == 0 ? "/grpc" : "/grpc-empty", SLICE_LIT("x"));
        client_until_closed(&c, &s);
        assert_int_equal(s.error_code, NGHTTP2_NO_ERROR);
        assert_int_equal(s.status, 200);
        assert_string_equal(s.type, "application/grpc");
        assert_true(slice_eq_str(buf_slice(&s.body), i == 0 ? "a message" : ""));
        assert_string_equal(s.trailers, "grpc-status=0;grpc-message=all  right;");
        buf_release(&s.body);
    }
    client_close(&c);
    fixture_stop(&f);
}

static void test_many_streams(void **state)
{
    (void)state;
    enum { STREAMS = 100, ROUNDS = 10 };
    struct fixture f;
    struct client c;
    static struct stream streams[STREAMS];
    char bodies[STREAMS][32];

    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < STREAMS; i++) {
            (void)snprintf(bodies[i], sizeof bodies[i], "stream %u of %u", i, round);
            stream_open(&c, &streams[i], "POST", i % 2 == 0 ? "/echo" : "/later",
                        slice_str(bodies[i]));
        }
        for (unsigned i = 0; i < STREAMS; i++) {
            client_until_closed(&c, &streams[i]);
            assert_int_equal(streams[i].status, 200);
            assert_true(slice_eq_str(buf_slice(&streams[i].body), bodies[i]));
            buf_release(&streams[i].body);
        }
    }
    assert_int_equal(atomic_load(&f.handled_count), STREAMS * ROUNDS);
    client_close(&c);
    fixture_wait_idle(&f);
    fixture_stop(&f);
}

static void test_large_bodies_with_flow_control(void **state)
{
    (void)state;
    enum { BYTES = 8 << 20 };
    struct fixture f;
    struct client c;
    struct stream s, small;
    uint8_t *bytes = malloc(BYTES);

    assert_non_null(bytes);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 7 >> 3);
    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    stream_open(&c, &s, "POST", "/echo", (struct slice){bytes, BYTES});
    stream_open(&c, &small, "POST", "/echo", SLICE_LIT("in between"));
    client_until_closed(&c, &small);
    assert_true(slice_eq_str(buf_slice(&small.body), "in between"));
    client_until_closed(&c, &s);
    assert_int_equal(s.status, 200);
    assert_true(slice_eq(buf_slice(&s.body), (struct slice){bytes, BYTES}));
    buf_release(&s.body);
    buf_release(&small.body);
    expect_stream(&c, "/big?bytes=8388608", SLICE_NONE, 200, (struct slice){bytes, BYTES});
    free(bytes);
    client_close(&c);
    fixture_stop(&f);
}

static void test_body_over_the_limit(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct stream s;
    uint8_t *bytes = calloc(1, 200000);

    assert_non_null(bytes);
    fixture_defaults(&f);
    f.options.body_bytes_max = 100000;
    fixture_start(&f);
    client_open(&c, &f);
    stream_open(&c, &s, "POST", "/echo", (struct slice){bytes, 200000});
    client_until_closed(&c, &s);
    assert_int_equal(s.status, 413);
    assert_true(slice_eq_str(buf_slice(&s.body), "too large, says the handler"));
    buf_release(&s.body);
    /* The other streams of the connection do not mind. */
    expect_stream(&c, "/echo", SLICE_LIT("fine"), 200, SLICE_LIT("fine"));
    client_close(&c);
    free(bytes);
    fixture_stop(&f);
}

static void test_stated_length_and_continue(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct stream s = {.send = (const uint8_t *)"12345", .send_len = 5};
    nghttp2_data_provider provider = {.source.ptr = &s, .read_callback = on_read};

    fixture_defaults(&f);
    f.options.body_bytes_max = 1000;
    fixture_start(&f);
    client_open(&c, &f);
    nghttp2_nv fields[] = {nv(":method", "POST"),     nv(":scheme", "http"),
                           nv(":path", "/echo"),      nv("host", "h"),
                           nv("content-length", "5"), nv("expect", "100-continue")};
    buf_init(&s.body, 1000);
    s.id = nghttp2_submit_request(c.session, NULL, fields, 6, &provider, &s);
    client_until_closed(&c, &s);
    assert_true(s.is_continued);
    assert_int_equal(s.status, 200);
    assert_true(slice_eq_str(buf_slice(&s.body), "12345"));
    fields[4] = nv("content-length", "1001");
    static uint8_t too_long[1001];
    s = (struct stream){.send = too_long, .send_len = sizeof too_long, .body = s.body};
    s.id = nghttp2_submit_request(c.session, NULL, fields, 6, &provider, &s);
    client_until_closed(&c, &s);
    assert_int_equal(s.status, 413);
    buf_release(&s.body);
    client_close(&c);
    fixture_stop(&f);
}

static void test_budget_refuses_with_503(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct stream s;
    static uint8_t bytes[30000];

    fixture_defaults(&f);
    budget_init(&f.budget, 10000, NULL);
    fixture_start(&f);
    client_open(&c, &f);
    stream_open(&c, &s, "POST", "/echo", (struct slice){bytes, sizeof bytes});
    client_until_closed(&c, &s);
    assert_int_equal(s.status, 503);
    buf_release(&s.body);
    assert_int_equal(atomic_load(&f.handled_count), 0);
    expect_stream(&c, "/echo", SLICE_LIT("fits"), 200, SLICE_LIT("fits"));
    client_close(&c);
    fixture_stop(&f);
}

static void test_head_limits(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct stream s = {0};
    nghttp2_nv fields[150];
    static char names[150][8];

    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    fields[0] = nv(":method", "GET");
    fields[1] = nv(":scheme", "http");
    fields[2] = nv(":path", "/");
    fields[3] = nv("host", "h");
    for (unsigned i = 4; i < 150; i++) {
        (void)snprintf(names[i], sizeof names[i], "x-%u", i);
        fields[i] = nv(names[i], "v");
    }
    buf_init(&s.body, 1000);
    s.id = nghttp2_submit_request(c.session, NULL, fields, 150, NULL, &s);
    client_until_closed(&c, &s);
    assert_int_equal(s.status, 431);
    buf_release(&s.body);
    assert_int_equal(atomic_load(&f.handled_count), 0);
    expect_stream(&c, "/echo", SLICE_LIT("fine"), 200, SLICE_LIT("fine"));
    client_close(&c);
    fixture_stop(&f);
}

static void test_drain_sends_goaway_and_finishes(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct stream held;

    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    stream_open(&c, &held, "POST", "/hold", SLICE_LIT("x"));
    client_flush(&c);
    struct http_req *req = fixture_wait_held(&f);
    http_server_drain(f.server);
    while (c.goaway_count == 0 && client_step(&c)) {
    }
    /* First only a notice: what is on its way is still served. */
    assert_int_equal(c.goaway_last, INT32_MAX);
    assert_int_equal(c.goaway_code, NGHTTP2_NO_ERROR);
    while (c.goaway_count == 1 && client_step(&c)) {
    }
    assert_int_equal(c.goaway_last, held.id);
    assert_false(held.is_closed);
    http_reply_text(req, 200, "text/plain", "finished");
    client_until_closed(&c, &held);
    assert_int_equal(held.status, 200);
    assert_true(slice_eq_str(buf_slice(&held.body), "finished"));
    while (client_step(&c)) {
    }
    buf_release(&held.body);
    client_close(&c);
    fixture_wait_idle(&f);
    fixture_stop(&f);
}

static void test_connection_age(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;

    fixture_defaults(&f);
    f.options.max_connection_age_ns = 100 * NS_PER_MS;
    fixture_start(&f);
    client_open(&c, &f);
    expect_stream(&c, "/echo", SLICE_LIT("young"), 200, SLICE_LIT("young"));
    while (client_step(&c)) {
    }
    assert_true(c.goaway_count >=
                1); /* without streams nghttp2's client stops reading at the first */
    assert_int_equal(c.goaway_code, NGHTTP2_NO_ERROR);
    client_close(&c);
    fixture_stop(&f);
}

static void test_reset_tells_the_handler(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct stream s;

    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    stream_open(&c, &s, "POST", "/hold", SLICE_LIT("x"));
    client_flush(&c);
    struct http_req *req = fixture_wait_held(&f);
    assert_false(atomic_load(http_req_gone(req)));
    assert_int_equal(nghttp2_submit_rst_stream(c.session, 0, s.id, NGHTTP2_CANCEL), 0);
    client_flush(&c);
    for (unsigned i = 0; i < 5000 && !atomic_load(http_req_gone(req)); i++)
        (void)usleep(1000);
    assert_true(atomic_load(http_req_gone(req)));
    http_reply_text(req, 200, "text/plain", "too late");
    buf_release(&s.body);
    expect_stream(&c, "/echo", SLICE_LIT("others"), 200, SLICE_LIT("others"));
    client_close(&c);
    fixture_wait_idle(&f);
    fixture_stop(&f);
}

/* A frame as it goes over the wire. */
static void put_frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t id, struct slice payload)
{
    uint8_t head[9] = {(uint8_t)(payload.len >> 16), (uint8_t)(payload.len >> 8),
                       (uint8_t)payload.len, type, flags};

    be32_write(head + 5, id);
    buf_append(b, (struct slice){head, sizeof head});
    buf_append(b, payload);
}

static void put_preface(struct buf *b)
{
    buf_init(b, 64 << 20);
    buf_append_str(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    put_frame(b, NGHTTP2_SETTINGS, 0, 0, SLICE_NONE);
}

/* ":method: GET, :scheme: http, :path: /, :authority: h" */
#define GET_BLOCK SLICE_LIT("\x82\x86\x84\x41\x01h")

/* Sends it all and reads to the end: the last GOAWAY's code, or -1 without one. */
static long flood(struct fixture *f, struct buf *b)
{
    int fd = dial(f);
    struct buf in;
    long code = -1;
    uint8_t *to;
    ssize_t n;

    (void)send_bytes(fd, b->ptr, b->len);
    buf_init(&in, 64 << 20);
    while ((to = buf_extend(&in, 65536)) != NULL && (n = recv(fd, to, 65536, 0)) > 0)
        in.len -= 65536 - (size_t)n;
    in.len -= to != NULL ? 65536 : 0;
    for (size_t at = 0; at + 9 <= in.len;) {
        size_t len = (size_t)in.ptr[at] << 16 | (size_t)in.ptr[at + 1] << 8 | in.ptr[at + 2];
        if (in.ptr[at + 3] == NGHTTP2_GOAWAY && at + 17 <= in.len)
            code = (long)be32_read(in.ptr + at + 13);
        at += 9 + len;
    }
    buf_release(&in);
    buf_release(b);
    (void)close(fd);
    return code;
}

static void test_floods_end_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct buf b;

    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    expect_stream(&c, "/echo", SLICE_LIT("before"), 200, SLICE_LIT("before"));

    put_preface(&b); /* rapid reset */
    for (uint32_t i = 0; i < 5000; i++) {
        put_frame(&b, NGHTTP2_HEADERS, 5, 2 * i + 1, GET_BLOCK);
        put_frame(&b, NGHTTP2_RST_STREAM, 0, 2 * i + 1, SLICE_LIT("\0\0\0\x08"));
    }
    unsigned before = atomic_load(&f.handled_count);
    (void)flood(&f, &b);
    assert_true(atomic_load(&f.handled_count) - before < 2000);

    put_preface(&b); /* resets that we are made to send: requests without a path */
    for (uint32_t i = 0; i < 5000; i++)
        put_frame(&b, NGHTTP2_HEADERS, 5, 2 * i + 1, SLICE_LIT("\x82\x86\x41\x01h"));
    assert_int_equal(flood(&f, &b), NGHTTP2_ENHANCE_YOUR_CALM);

    put_preface(&b); /* the same by a WINDOW_UPDATE of 0: nghttp2 does not forgive it once */
    put_frame(&b, NGHTTP2_HEADERS, 4, 1, GET_BLOCK);
    put_frame(&b, NGHTTP2_WINDOW_UPDATE, 0, 1, SLICE_LIT("\0\0\0\0"));
    assert_int_equal(flood(&f, &b), NGHTTP2_PROTOCOL_ERROR);

    put_preface(&b); /* CONTINUATION without end */
    put_frame(&b, NGHTTP2_HEADERS, 1, 1, GET_BLOCK);
    for (uint32_t i = 0; i < 5000; i++)
        put_frame(&b, NGHTTP2_CONTINUATION, 0, 1, SLICE_LIT("\x40\x01x\x01y"));
    (void)flood(&f, &b);

    put_preface(&b);
    for (uint32_t i = 0; i < 30000; i++)
        put_frame(&b, NGHTTP2_PING, 0, 0, SLICE_LIT("12345678"));
    assert_int_equal(flood(&f, &b), NGHTTP2_ENHANCE_YOUR_CALM);

    put_preface(&b);
    for (uint32_t i = 0; i < 30000; i++)
        put_frame(&b, NGHTTP2_SETTINGS, 0, 0, SLICE_NONE);
    (void)flood(&f, &b);

    put_preface(&b); /* empty DATA */
    put_frame(&b, NGHTTP2_HEADERS, 4, 1, SLICE_LIT("\x83\x86\x84\x41\x01h"));
    for (uint32_t i = 0; i < 30000; i++)
        put_frame(&b, NGHTTP2_DATA, 0, 1, SLICE_NONE);
    assert_int_equal(flood(&f, &b), NGHTTP2_ENHANCE_YOUR_CALM);

    put_preface(&b); /* a small block that names a large table entry again and again */
    struct buf bomb;
    buf_init(&bomb, 1 << 20);
    buf_append(&bomb,
               SLICE_LIT("\x82\x86\x84\x40\x01x\x7f\x91\x1e")); /* value of 127 + 3857 bytes */
    for (unsigned i = 0; i < 3984; i++)
        buf_append_byte(&bomb, 'v');
    while (bomb.len < 16000)
        buf_append_byte(&bomb, 0xbe);
    put_frame(&b, NGHTTP2_HEADERS, 5, 1, buf_slice(&bomb));
    buf_release(&bomb);
    before = atomic_load(&f.handled_count);
    (void)flood(&f, &b);
    assert_int_equal(atomic_load(&f.handled_count), before);

    /* Nobody else noticed. */
    expect_stream(&c, "/echo", SLICE_LIT("after"), 200, SLICE_LIT("after"));
    client_close(&c);
    fixture_wait_idle(&f);
    fixture_stop(&f);
}

static void test_unfinished_requests_end(void **state)
{
    (void)state;
    struct fixture f;
    struct buf b;

    fixture_defaults(&f);
    f.options.header_timeout_ns = 200 * NS_PER_MS;
    f.options.body_grace_ns = 200 * NS_PER_MS;
    f.options.idle_timeout_ns = 500 * NS_PER_MS;
    fixture_start(&f);
    buf_init(&b, 100); /* the preface, never whole */
    buf_append_str(&b, "PRI * HTTP/2.0\r\n");
    assert_int_equal(flood(&f, &b), -1);
    put_preface(&b); /* headers that never end */
    put_frame(&b, NGHTTP2_HEADERS, 1, 1, GET_BLOCK);
    assert_int_equal(flood(&f, &b), -1);
    put_preface(&b); /* a body that never comes, then nothing */
    put_frame(&b, NGHTTP2_HEADERS, 4, 1, GET_BLOCK);
    assert_int_equal(flood(&f, &b), NGHTTP2_NO_ERROR);
    assert_int_equal(atomic_load(&f.handled_count), 0);
    fixture_stop(&f);
}

static void test_pings_of_a_busy_client_are_fine(void **state)
{
    (void)state;
    enum { ROUNDS = 15000 };
    struct fixture f;
    struct client c;

    /* As gRPC clients do while they estimate bandwidth. */
    fixture_defaults(&f);
    fixture_start(&f);
    client_open(&c, &f);
    for (unsigned i = 0; i < ROUNDS / 10; i++) {
        for (unsigned ping = 0; ping < 5; ping++)
            assert_int_equal(nghttp2_submit_ping(c.session, 0, NULL), 0);
        expect_stream(&c, "/echo", SLICE_LIT("x"), 200, SLICE_LIT("x"));
    }
    assert_true(c.ping_count > 0);
    assert_int_equal(c.goaway_count, 0);
    client_close(&c);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_many_streams),
        cmocka_unit_test(test_large_bodies_with_flow_control),
        cmocka_unit_test(test_body_over_the_limit),
        cmocka_unit_test(test_stated_length_and_continue),
        cmocka_unit_test(test_budget_refuses_with_503),
        cmocka_unit_test(test_head_limits),
        cmocka_unit_test(test_drain_sends_goaway_and_finishes),
        cmocka_unit_test(test_connection_age),
        cmocka_unit_test(test_reset_tells_the_handler),
        cmocka_unit_test(test_floods_end_the_connection),
        cmocka_unit_test(test_unfinished_requests_end),
        cmocka_unit_test(test_pings_of_a_busy_client_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
