#include "common/base/map.h"
#include "common/net/http_server_internal.h"

#include <assert.h>
#include <stdio.h>

enum {
    H2_STREAM_WINDOW_BYTES = 1 << 20,
    H2_CONNECTION_WINDOW_BYTES = 8 << 20,
    H2_FRAME_BYTES_MAX = 16 << 10,
    H2_HEADER_TABLE_BYTES = 4096,
    /* Limits of nghttp2, each said here though some are its defaults. */
    H2_RESET_BURST = 1000,
    H2_RESET_PER_S = 33,
    H2_CONTINUATIONS_MAX = 8,
    H2_SETTINGS_MAX = 32,
    H2_OUTBOUND_ACKS_MAX = 1000,
    H2_SENT_HEADER_BYTES_MAX = 128 << 10,
    /* Frames that do no work (PING, SETTINGS, PRIORITY, empty DATA, resets, refused ones) are paid for with tokens. */
    H2_TOKENS_MAX = 10000,
    H2_TOKENS_PER_S = 1000,
    H2_TOKENS_PER_REQUEST = 8,
    H2_TOKENS_INVALID_FRAME = 10,
    H2_HEADERS_AFTER_LIMIT = 4 /* times the limit are read over before the connection is given up */
};
#define H2_NOTICE_NS (NS_PER_S)

static struct http_req *h2_req(nghttp2_session *session, int32_t stream_id)
{
    return stream_id == 0 ? NULL : nghttp2_session_get_stream_user_data(session, stream_id);
}

/* nghttp2 copies; its type only lacks the const. */
static nghttp2_nv h2_nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

/* Takes tokens; without any left the peer is told to calm down and the connection ends. */
static void h2_pay(struct http_server_conn *c, int64_t tokens)
{
    struct http_server_h2 *h = &c->h2;
    int64_t elapsed_ns = c->now_ns - h->tokens_ns;

    if (elapsed_ns > NS_PER_MS) {
        int64_t earned = elapsed_ns > 60 * NS_PER_S
                             ? H2_TOKENS_MAX
                             : elapsed_ns / NS_PER_US * H2_TOKENS_PER_S / (NS_PER_S / NS_PER_US);
        h->tokens += earned;
        h->tokens_ns = c->now_ns;
    }
    h->tokens -= tokens;
    if (h->tokens > H2_TOKENS_MAX)
        h->tokens = H2_TOKENS_MAX;
    if (h->tokens < 0)
        (void)nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void h2_reset(struct http_server_conn *c, int32_t stream_id, uint32_t code)
{
    if (nghttp2_submit_rst_stream(c->h2.session, NGHTTP2_FLAG_NONE, stream_id, code) != 0)
        c->is_broken = true;
}

static void h2_answer(struct http_server_conn *c, struct http_req *r, unsigned status)
{
    assert(r->state == HTTP_REQ_RECEIVING);
    http_req_set_own_reply(r, status);
    http_req_release_body(r);
    r->state = HTTP_REQ_ANSWERING;
    http_server_h2_reply(c, r);
}

static int h2_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct http_server_conn *c = arg;
    struct http_req *r;

    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* trailers */
    if (http_req_new(c, c->now_ns, &r) != ERR_OK)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    r->is_http2 = true;
    r->stream_id = frame->hd.stream_id;
    if (nghttp2_session_set_stream_user_data(session, r->stream_id, r) != 0) {
        http_req_free(r);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    http_server_conn_add_req(c, r);
    h2_pay(c, -H2_TOKENS_PER_REQUEST);
    return 0;
}

static int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                        size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                        void *arg)
{
    struct http_server_conn *c = arg;
    struct http_req *r = h2_req(session, frame->hd.stream_id);
    struct slice n = {name, name_len}, v = {value, value_len};
    enum err e = ERR_OK;

    (void)flags;
    if (r == NULL || r->is_head_done)
        return 0;
    if (slice_eq_str(n, ":method")) {
        r->is_head = slice_eq_str(v, "HEAD");
        e = http_req_add_text(r, v, &r->method);
    } else if (slice_eq_str(n, ":path")) {
        e = http_req_add_text(r, v, &r->target);
    } else if (slice_eq_str(n, ":authority")) {
        e = http_req_add_field(r, SLICE_LIT("host"), v);
    } else if (n.len > 0 && n.ptr[0] != ':') {
        bool is_second_host = slice_eq_str(n, "host") && http_req_header(r, "host").ptr != NULL;
        e = is_second_host ? ERR_OK : http_req_add_field(r, n, v);
    }
    if (e == ERR_NOMEM)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    r->is_head_too_large = r->is_head_too_large || e != ERR_OK;
    /* Small blocks can name large table entries again and again: not for ever. */
    if (r->header_bytes > c->env->header_bytes_max * H2_HEADERS_AFTER_LIMIT)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static void h2_after_head(struct http_server_conn *c, struct http_req *r)
{
    uint64_t length;

    r->is_head_done = true;
    r->body_started_ns = c->now_ns;
    if (r->is_head_too_large) {
        h2_answer(c, r, 431);
    } else if (slice_eq_str(http_req_method(r), "CONNECT") || r->target.len == 0) {
        h2_answer(c, r, 501);
    } else if (http_req_content_length(r, &length) && length > c->env->body_bytes_max) {
        r->is_too_large = true;
        http_server_conn_handle(c, r);
    } else if (!r->is_body_done && slice_eq_str(http_req_header(r, "expect"), "100-continue")) {
        nghttp2_nv status = h2_nv(":status", "100");
        if (nghttp2_submit_headers(c->h2.session, NGHTTP2_FLAG_NONE, r->stream_id, NULL, &status, 1,
                                   NULL) < 0)
            c->is_broken = true;
    }
}

static void h2_on_end_stream(struct http_server_conn *c, struct http_req *r)
{
    if (r->state == HTTP_REQ_RECEIVING && !r->is_refused)
        http_server_conn_handle(c, r);
}

static bool h2_is_idle_work(const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_PING: return (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PRIORITY:
    case NGHTTP2_RST_STREAM: return true;
    case NGHTTP2_DATA:
        return frame->hd.length == 0 && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0;
    default: return false;
    }
}

static int h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct http_server_conn *c = arg;
    struct http_req *r = h2_req(session, frame->hd.stream_id);
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (h2_is_idle_work(frame))
        h2_pay(c, 1);
    if (r == NULL)
        return 0;
    r->progress_ns = c->now_ns;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        r->is_body_done = r->is_body_done || is_end;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            h2_after_head(c, r);
        if (is_end)
            h2_on_end_stream(c, r);
    } else if (frame->hd.type == NGHTTP2_DATA && is_end) {
        r->is_body_done = true;
        h2_on_end_stream(c, r);
    }
    return 0;
}

static int h2_on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                      const uint8_t *data, size_t len, void *arg)
{
    struct http_server_conn *c = arg;
    struct http_req *r = h2_req(session, stream_id);

    (void)flags;
    if (r == NULL)
        return 0;
    http_req_add_body(r, (struct slice){data, len});
    if (r->state != HTTP_REQ_RECEIVING)
        return 0;
    if (r->is_refused)
        h2_answer(c, r, 503);
    else if (r->is_too_large)
        http_server_conn_handle(c, r);
    return 0;
}

static int h2_on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *arg)
{
    struct http_server_conn *c = arg;
    struct http_req *r = h2_req(session, stream_id);

    (void)code;
    if (r == NULL)
        return 0;
    (void)nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    if (r->state == HTTP_REQ_ANSWERING) {
        http_server_conn_end_req(c, r);
    } else {
        http_server_conn_remove_req(c, r);
        if (r->state == HTTP_REQ_RECEIVING)
            http_req_free(r);
    }
    return 0;
}

static int h2_on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code,
                               void *arg)
{
    (void)session;
    (void)frame;
    (void)code;
    h2_pay(arg, H2_TOKENS_INVALID_FRAME);
    return 0;
}

static int h2_on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct http_server_conn *c = arg;
    struct http_req *r = h2_req(session, frame->hd.stream_id);
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    /* The answer is complete though the request is not: ask the peer to stop (RFC 9113 8.1). */
    if (r != NULL && is_end && !r->is_body_done &&
        (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
        h2_reset(c, r->stream_id, NGHTTP2_NO_ERROR);
    /* Resets that the peer provokes cost as much as those that it sends. */
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
        h2_pay(c, H2_TOKENS_INVALID_FRAME);
    return 0;
}

static enum err h2_open(struct http_server_conn *c)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    enum err e = ERR_NOMEM;

    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0)
        goto out;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, h2_on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, h2_on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, h2_on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, h2_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, h2_on_stream_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, h2_on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, h2_on_frame_sent);
    nghttp2_option_set_stream_reset_rate_limit(option, H2_RESET_BURST, H2_RESET_PER_S);
    nghttp2_option_set_max_continuations(option, H2_CONTINUATIONS_MAX);
    nghttp2_option_set_max_settings(option, H2_SETTINGS_MAX);
    nghttp2_option_set_max_outbound_ack(option, H2_OUTBOUND_ACKS_MAX);
    nghttp2_option_set_max_send_header_block_length(option, H2_SENT_HEADER_BYTES_MAX);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, H2_HEADER_TABLE_BYTES);
    nghttp2_option_set_max_reserved_remote_streams(option, 0);
    nghttp2_option_set_no_closed_streams(option, 1);
    if (nghttp2_session_server_new2(&c->h2.session, callbacks, c, option) == 0)
        e = ERR_OK;
out:
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    return e;
}

void http_server_h2_init(struct http_server_conn *c)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->env->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, H2_FRAME_BYTES_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->env->header_bytes_max},
        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, H2_HEADER_TABLE_BYTES},
    };

    c->h2 = (struct http_server_h2){.tokens = H2_TOKENS_MAX, .tokens_ns = c->now_ns};
    if (h2_open(c) != ERR_OK ||
        nghttp2_submit_settings(c->h2.session, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof settings[0]) != 0 ||
        nghttp2_session_set_local_window_size(c->h2.session, NGHTTP2_FLAG_NONE, 0,
                                              H2_CONNECTION_WINDOW_BYTES) != 0)
        c->is_broken = true;
}

void http_server_h2_release(struct http_server_conn *c)
{
    assert(c->reqs == NULL);
    nghttp2_session_del(c->h2.session);
    c->h2.session = NULL;
}

bool http_server_h2_input(struct http_server_conn *c)
{
    struct evbuffer_iovec iov;

    /* What the peer makes us answer must not pile up while it does not read. */
    if (evbuffer_get_length(c->out) >= HTTP_OUT_BYTES_HIGH)
        return false;
    if (evbuffer_peek(c->in, -1, NULL, &iov, 1) < 1 || iov.iov_len == 0)
        return false;
    ssize_t n = nghttp2_session_mem_recv(c->h2.session, iov.iov_base, iov.iov_len);
    if (n < 0) {
        /* A flood or out of memory: nothing that could be said in the protocol.  What is made already still goes out. */
        http_server_h2_output(c);
        c->is_closing = true;
        return false;
    }
    (void)evbuffer_drain(c->in, (size_t)n);
    http_server_h2_output(c);
    return !c->is_closing;
}

void http_server_h2_output(struct http_server_conn *c)
{
    if (c->h2.session == NULL || c->is_broken || c->is_closing)
        return;
    while (evbuffer_get_length(c->out) < HTTP_OUT_BYTES_HIGH) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(c->h2.session, &data);
        if (n < 0 || (n > 0 && evbuffer_add(c->out, data, (size_t)n) != 0)) {
            c->is_broken = true;
            return;
        }
        if (n == 0)
            break;
    }
    if (!nghttp2_session_want_read(c->h2.session) && !nghttp2_session_want_write(c->h2.session))
        c->is_closing = true;
}

/* Name and value pairs of the reply from *at on.  The caller has room for `count`. */
static void h2_take_fields(const struct http_req *r, size_t *at, nghttp2_nv *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *name, *value;
        http_req_next_reply_field(r, at, &name, &value);
        fields[i] = h2_nv(name, value);
    }
}

static int h2_submit_trailers(struct http_server_conn *c, struct http_req *r)
{
    nghttp2_nv *fields = calloc(r->trailer_count, sizeof *fields);
    size_t at = r->trailers_at;

    if (fields == NULL)
        return NGHTTP2_ERR_NOMEM;
    h2_take_fields(r, &at, fields, r->trailer_count);
    int rc = nghttp2_submit_trailer(c->h2.session, r->stream_id, fields, r->trailer_count);
    free(fields);
    return rc;
}

static ssize_t h2_read_body(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t len,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct http_server_conn *c = arg;
    struct http_req *r = source->ptr;
    size_t left = r->reply_body.len - r->reply_body_at;

    (void)session;
    assert(r->state == HTTP_REQ_ANSWERING);
    assert(r->stream_id == stream_id);
    if (len > left)
        len = left;
    if (len > 0)
        memcpy(to, r->reply_body.ptr + r->reply_body_at, len);
    r->reply_body_at += len;
    r->progress_ns = c->now_ns;
    if (len == left) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (r->trailer_count > 0) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (h2_submit_trailers(c, r) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)len;
}

static int h2_submit(struct http_server_conn *c, struct http_req *r, const nghttp2_nv *fields,
                     size_t count)
{
    nghttp2_session *session = c->h2.session;
    nghttp2_data_provider body = {.source.ptr = r, .read_callback = h2_read_body};

    if (r->reply_body.len > 0 && !r->is_head)
        return nghttp2_submit_response(session, r->stream_id, fields, count, &body);
    if (r->trailer_count == 0)
        return nghttp2_submit_response(session, r->stream_id, fields, count, NULL);
    int rc =
        nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, r->stream_id, NULL, fields, count, NULL);
    return rc == 0 ? h2_submit_trailers(c, r) : rc;
}

void http_server_h2_reply(struct http_server_conn *c, struct http_req *r)
{
    char status[16], length[24];
    size_t count = (size_t)r->header_count + 1;
    nghttp2_nv *fields = calloc(count + 1, sizeof *fields);

    assert(r->state == HTTP_REQ_ANSWERING);
    if (fields == NULL) {
        h2_reset(c, r->stream_id, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    (void)snprintf(status, sizeof status, "%u", r->status);
    (void)snprintf(length, sizeof length, "%zu", r->reply_body.len);
    fields[0] = h2_nv(":status", status);
    r->trailers_at = 0;
    h2_take_fields(r, &r->trailers_at, fields + 1, r->header_count);
    if (r->is_head)
        r->trailer_count = 0;
    if (r->trailer_count == 0 && r->status != 204)
        fields[count++] = h2_nv("content-length", length);
    if (h2_submit(c, r, fields, count) != 0)
        h2_reset(c, r->stream_id, NGHTTP2_INTERNAL_ERROR);
    free(fields);
}

static void h2_tick_req(struct http_server_conn *c, struct http_req *r)
{
    switch (r->state) {
    case HTTP_REQ_RECEIVING:
        if (!r->is_head_done) {
            /* A header block that does not end blocks the whole connection. */
            if (c->now_ns - r->head_started_ns > c->env->header_timeout_ns)
                c->is_broken = true;
        } else if (http_server_conn_is_too_slow(c, r)) {
            h2_answer(c, r, 408);
        }
        break;
    case HTTP_REQ_ANSWERING:
        /* The peer gives no window: it does not want the answer. */
        if (c->now_ns - r->progress_ns > HTTP_WRITE_TIMEOUT_NS)
            h2_reset(c, r->stream_id, NGHTTP2_CANCEL);
        break;
    case HTTP_REQ_HANDLED: break;
    }
}

void http_server_h2_tick(struct http_server_conn *c)
{
    struct http_server_h2 *h = &c->h2;
    struct http_req *r, *next;

    DL_FOREACH_SAFE (c->reqs, r, next) {
        h2_tick_req(c, r);
    }
    /* The second step of a drain: by now the peer has read the notice, what comes later is refused. */
    if (h->drain == HTTP2_NOTICE_SENT && c->now_ns - h->notice_ns >= H2_NOTICE_NS) {
        int32_t last = nghttp2_session_get_last_proc_stream_id(h->session);
        if (nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) !=
            0)
            c->is_broken = true;
        h->drain = HTTP2_GOAWAY_SENT;
    }
}

void http_server_h2_drain(struct http_server_conn *c)
{
    struct http_server_h2 *h = &c->h2;

    if (h->drain != HTTP2_OPEN)
        return;
    h->drain = HTTP2_NOTICE_SENT;
    h->notice_ns = c->now_ns;
    if (nghttp2_submit_shutdown_notice(h->session) != 0)
        c->is_broken = true;
}
