#include "common/base/map.h"
#include "common/net/http_server_internal.h"

#include <assert.h>
#include <ctype.h>

enum { HTTP1_BLANK_LINES_MAX = 2, HTTP_CHUNK_DIGITS_MAX = 15 };

static int h1_on_text(struct http_server_conn *c, struct buf *to, const char *at, size_t len)
{
    buf_append(to, (struct slice){(const uint8_t *)at, len});
    if (buf_err(to) != ERR_OK)
        c->h1.err = buf_err(to);
    return buf_err(to) != ERR_OK;
}

/* The field that the callbacks gathered goes to the request. */
static void h1_end_field(struct http_server_conn *c)
{
    struct http_server_h1 *h = &c->h1;

    if (h->name.len == 0)
        return;
    if (!h->req->is_head_done) { /* trailers are read over */
        struct slice value = buf_slice(&h->value);
        while (value.len > 0 &&
               (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t'))
            value.len--;
        enum err e = http_req_add_field(h->req, buf_slice(&h->name), value);
        if (e != ERR_OK)
            h->err = e;
    }
    buf_reset(&h->name);
    buf_reset(&h->value);
}

static int h1_on_url(http_parser *p, const char *at, size_t len)
{
    struct http_server_conn *c = p->data;

    return h1_on_text(c, &c->h1.value, at, len);
}

static int h1_on_name(http_parser *p, const char *at, size_t len)
{
    struct http_server_conn *c = p->data;
    struct http_server_h1 *h = &c->h1;

    if (h->name.len == 0 && h->req->target.len == 0) {
        /* The first name ends the request line. */
        h->err = http_req_add_text(h->req, buf_slice(&h->value), &h->req->target);
        if (h->err != ERR_OK)
            return 1;
        buf_reset(&h->value);
    }
    if (h->was_value)
        h1_end_field(c);
    h->was_value = false;
    return h1_on_text(c, &h->name, at, len);
}

static int h1_on_value(http_parser *p, const char *at, size_t len)
{
    struct http_server_conn *c = p->data;

    c->h1.was_value = true;
    return h1_on_text(c, &c->h1.value, at, len);
}

static int h1_on_head(http_parser *p)
{
    struct http_server_conn *c = p->data;
    struct http_server_h1 *h = &c->h1;

    if (h->req->target.len == 0) {
        h->err = http_req_add_text(h->req, buf_slice(&h->value), &h->req->target);
        buf_reset(&h->value);
    } else {
        h1_end_field(c);
    }
    h->was_value = false;
    h->req->is_head_done = true;
    /* We never change the protocol, so an offer to do so is an ordinary request (RFC 9110 7.8). */
    p->upgrade = 0;
    return h->err != ERR_OK;
}

static int h1_on_body(http_parser *p, const char *at, size_t len)
{
    struct http_server_conn *c = p->data;

    http_req_add_body(c->h1.req, (struct slice){(const uint8_t *)at, len});
    return 0;
}

static int h1_on_end(http_parser *p)
{
    struct http_server_conn *c = p->data;

    c->h1.is_message_done = true;
    return 0;
}

static const http_parser_settings h1_settings = {
    .on_url = h1_on_url,
    .on_header_field = h1_on_name,
    .on_header_value = h1_on_value,
    .on_headers_complete = h1_on_head,
    .on_body = h1_on_body,
    .on_message_complete = h1_on_end,
};

void http_server_h1_init(struct http_server_conn *c)
{
    c->h1 = (struct http_server_h1){.state = HTTP1_HEAD};
    buf_init(&c->h1.name, c->env->header_bytes_max);
    buf_init(&c->h1.value, c->env->header_bytes_max);
}

void http_server_h1_release(struct http_server_conn *c)
{
    buf_release(&c->h1.name);
    buf_release(&c->h1.value);
}

/* Header names in the form that people know: Content-Type. */
static void h1_add_name(struct evbuffer *out, const char *name)
{
    char text[128];
    size_t len = 0;
    bool is_first = true;

    for (; name[len] != '\0' && len < sizeof text; len++) {
        text[len] = is_first ? (char)toupper((unsigned char)name[len]) : name[len];
        is_first = name[len] == '-';
    }
    (void)evbuffer_add(out, text, len);
    (void)evbuffer_add(out, name + len, strlen(name + len));
}

static void h1_free_body(const void *data, size_t len, void *extra)
{
    (void)data;
    (void)len;
    free(extra);
}

static bool h1_has_body(const struct http_req *r)
{
    return !r->is_head && r->status != 204 && r->status != 304;
}

static void h1_write(struct http_server_conn *c, struct http_req *r, bool is_keep_alive)
{
    struct evbuffer *out = c->out;
    size_t at = 0;
    size_t body_len = r->reply_body.len;
    bool is_written = true;

    is_written &= evbuffer_add_printf(out, "HTTP/1.1 %u %s\r\n", r->status,
                                      http_status_str((enum http_status)r->status)) > 0;
    for (unsigned i = 0; i < r->header_count; i++) {
        const char *name, *value;
        http_req_next_reply_field(r, &at, &name, &value);
        h1_add_name(out, name);
        is_written &= evbuffer_add_printf(out, ": %s\r\n", value) > 0;
    }
    if (r->status != 204)
        is_written &= evbuffer_add_printf(out, "Content-Length: %zu\r\n", body_len) > 0;
    if (!is_keep_alive)
        is_written &= evbuffer_add(out, "Connection: close\r\n", 19) == 0;
    else if (c->h1.parser.http_minor == 0)
        is_written &= evbuffer_add(out, "Connection: keep-alive\r\n", 24) == 0;
    is_written &= evbuffer_add(out, "\r\n", 2) == 0;
    if (h1_has_body(r) && body_len > 0) {
        uint8_t *body = buf_take(&r->reply_body, &body_len);
        if (evbuffer_add_reference(out, body, body_len, h1_free_body, body) != 0) {
            free(body);
            is_written = false;
        }
    }
    if (!is_written)
        c->is_broken = true;
}

void http_server_h1_reply(struct http_server_conn *c, struct http_req *r)
{
    struct http_server_h1 *h = &c->h1;
    bool is_keep_alive = h->is_keep_alive && r->is_body_done && !c->is_draining;

    assert(h->req == r);
    h1_write(c, r, is_keep_alive);
    h->req = NULL;
    http_server_conn_end_req(c, r);
    if (is_keep_alive)
        h->state = HTTP1_HEAD;
    else
        c->is_closing = true;
    h->scanned = 0;
    h->blank_lines = 0;
}

/* The server's own answer to the request that is being received; the connection can not go on after most of them. */
static void h1_answer(struct http_server_conn *c, unsigned status)
{
    struct http_req *r = c->h1.req;

    assert(r->state == HTTP_REQ_RECEIVING);
    http_req_set_own_reply(r, status);
    r->state = HTTP_REQ_ANSWERING;
    http_server_h1_reply(c, r);
}

static bool h1_begin(struct http_server_conn *c)
{
    struct http_server_h1 *h = &c->h1;

    assert(h->req == NULL);
    if (http_req_new(c, c->now_ns, &h->req) != ERR_OK) {
        c->is_broken = true;
        return false;
    }
    http_server_conn_add_req(c, h->req);
    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = c;
    h->is_message_done = h->is_chunked = h->was_value = h->is_keep_alive = false;
    h->err = ERR_OK;
    h->body_left = 0;
    buf_reset(&h->name);
    buf_reset(&h->value);
    return true;
}

/* Looks at the bytes that came since the last time.  `ret_len` is the head's length, 0 while it is not whole.  Errors: ERR_FORMAT. */
static enum err h1_scan(struct http_server_h1 *h, const uint8_t *p, size_t len, size_t *ret_len)
{
    size_t i = h->scanned;

    *ret_len = 0;
    for (; i < len && *ret_len == 0; i++) {
        bool is_after_cr = i > 0 && p[i - 1] == '\r';
        if (p[i] == '\0' || (p[i] == '\n') != is_after_cr)
            return ERR_FORMAT;
        if (p[i] == '\n' && i >= 3 && p[i - 2] == '\n')
            *ret_len = i + 1;
    }
    h->scanned = i;
    return ERR_OK;
}

static bool h1_is_token(uint8_t c)
{
    return isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Each line is "token:...": no folding, nothing between the name and the colon (RFC 9112 5.1, 5.2). */
static bool h1_is_head_strict(const uint8_t *p, size_t len)
{
    const uint8_t *end = p + len - 2; /* the empty line */
    const uint8_t *line = memchr(p, '\n', len);

    assert(line != NULL);
    for (line++; line < end;) {
        const uint8_t *next = memchr(line, '\n', (size_t)(end - line));
        const uint8_t *at = line;
        while (at < next && h1_is_token(*at))
            at++;
        if (at == line || *at != ':')
            return false;
        line = next + 1;
    }
    return true;
}

/* What the parser accepts and we do not.  0: nothing, else the status to answer. */
static unsigned h1_head_problem(struct http_server_conn *c)
{
    struct http_server_h1 *h = &c->h1;
    struct http_req *r = h->req;
    struct slice coding = http_req_header(r, "transfer-encoding");
    struct slice expect = http_req_header(r, "expect");
    unsigned hosts = http_req_header_count(r, "host");

    if (h->parser.http_major != 1 || h->parser.http_minor > 1)
        return 505;
    if (h->parser.method == HTTP_CONNECT)
        return 501;
    if (hosts > 1 || (hosts == 0 && h->parser.http_minor == 1))
        return 400;
    if (http_req_header_count(r, "content-length") > 1)
        return 400;
    if (coding.ptr != NULL) {
        bool is_chunked = coding.len == 7 &&
                          evutil_ascii_strncasecmp((const char *)coding.ptr, "chunked", 7) == 0;
        if (h->parser.http_minor == 0 || http_req_header_count(r, "transfer-encoding") > 1 ||
            http_req_header_count(r, "content-length") > 0)
            return 400;
        if (!is_chunked)
            return 501;
        h->is_chunked = true;
    }
    if (expect.ptr != NULL &&
        (expect.len != 12 ||
         evutil_ascii_strncasecmp((const char *)expect.ptr, "100-continue", 12) != 0))
        return 417;
    return 0;
}

/* The head is whole and in the parser: what now? */
static void h1_after_head(struct http_server_conn *c)
{
    struct http_server_h1 *h = &c->h1;
    struct http_req *r = h->req;
    uint64_t length = 0;
    unsigned problem = h1_head_problem(c);
    const char *method = http_method_str((enum http_method)h->parser.method);

    if (problem == 0 && http_req_add_text(r, slice_str(method), &r->method) != ERR_OK)
        problem = 431;
    if (problem != 0) {
        h1_answer(c, problem);
        return;
    }
    r->is_head = h->parser.method == HTTP_HEAD;
    h->is_keep_alive = http_should_keep_alive(&h->parser) != 0;
    if (http_req_content_length(r, &length))
        h->body_left = length;
    r->body_started_ns = c->now_ns;
    if (length > c->env->body_bytes_max) {
        r->is_too_large = true;
        h->state = HTTP1_HANDLED;
        http_server_conn_handle(c, r);
        return;
    }
    h->state = HTTP1_BODY;
    h->chunks = (struct http_chunks){.state = HTTP_CHUNK_SIZE};
    bool is_asked = http_req_header(r, "expect").ptr != NULL && h->parser.http_minor == 1;
    if (is_asked && !h->is_message_done && evbuffer_get_length(c->in) == 0)
        (void)evbuffer_add(c->out, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static bool h1_input_head(struct http_server_conn *c)
{
    struct http_server_h1 *h = &c->h1;
    size_t len = evbuffer_get_length(c->in);
    size_t head_len = 0;

    if (len > c->env->header_bytes_max)
        len = c->env->header_bytes_max;
    if (len == 0)
        return false;
    const uint8_t *p = evbuffer_pullup(c->in, (ev_ssize_t)len);
    if (p == NULL) {
        c->is_broken = true;
        return false;
    }
    if (h->req == NULL && p[0] == '\r' && h->blank_lines < HTTP1_BLANK_LINES_MAX) {
        if (len == 1)
            return false;
        if (p[1] == '\n') { /* RFC 9112 2.2 */
            h->blank_lines++;
            (void)evbuffer_drain(c->in, 2);
            return true;
        }
    }
    if (h->req == NULL && !h1_begin(c))
        return false;
    if (http_req_count_head(h->req, len) != ERR_OK) {
        h1_answer(c, 503);
        return false;
    }
    enum err e = h1_scan(h, p, len, &head_len);
    if (e != ERR_OK || (head_len > 0 && !h1_is_head_strict(p, head_len))) {
        h1_answer(c, 400);
        return false;
    }
    if (head_len == 0) {
        if (len == c->env->header_bytes_max)
            h1_answer(c, 431);
        return false;
    }
    size_t parsed = http_parser_execute(&h->parser, &h1_settings, (const char *)p, head_len);
    (void)evbuffer_drain(c->in, head_len);
    h->scanned = 0;
    if (h->req->is_head_too_large)
        h1_answer(c, 431);
    else if (h->err == ERR_NOMEM)
        h1_answer(c, 503);
    else if (parsed != head_len || HTTP_PARSER_ERRNO(&h->parser) != HPE_OK || !h->req->is_head_done)
        h1_answer(c, 400);
    else
        h1_after_head(c);
    return true;
}

size_t http_chunks_check(struct http_chunks *k, const uint8_t *data, size_t len)
{
    size_t i = 0;

    while (i < len && k->state != HTTP_CHUNK_DONE) {
        uint8_t b = data[i];
        if (k->state == HTTP_CHUNK_DATA) {
            size_t n = len - i < k->size ? len - i : (size_t)k->size;
            k->size -= n;
            i += n;
            if (k->size == 0)
                k->state = HTTP_CHUNK_DATA_CR;
            continue;
        }
        i++;
        switch (k->state) {
        case HTTP_CHUNK_SIZE:
            if (isxdigit(b) && k->digits < HTTP_CHUNK_DIGITS_MAX) {
                uint8_t digit = (uint8_t)(b <= '9' ? b - '0' : (b | 0x20) - 'a' + 10);
                k->size = k->size * 16 + digit;
                k->digits++;
            } else if (b == '\r' && k->digits > 0) {
                k->state = HTTP_CHUNK_SIZE_LF;
            } else {
                return SIZE_MAX; /* extensions too: nobody needs them, and readers differ on where they end */
            }
            break;
        case HTTP_CHUNK_SIZE_LF:
            if (b != '\n')
                return SIZE_MAX;
            k->state = k->size > 0 ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER;
            k->digits = 0;
            break;
        case HTTP_CHUNK_DATA_CR:
        case HTTP_CHUNK_DATA_LF:
            if (b != (k->state == HTTP_CHUNK_DATA_CR ? '\r' : '\n'))
                return SIZE_MAX;
            k->state = k->state == HTTP_CHUNK_DATA_CR ? HTTP_CHUNK_DATA_LF : HTTP_CHUNK_SIZE;
            break;
        case HTTP_CHUNK_TRAILER: /* the first byte of a line */
        case HTTP_CHUNK_TRAILER_LINE:
            if (++k->trailer_bytes > HTTP_TRAILER_BYTES_MAX || b == '\n' || b == '\0')
                return SIZE_MAX;
            if (b == '\r')
                k->state =
                    k->state == HTTP_CHUNK_TRAILER ? HTTP_CHUNK_END_LF : HTTP_CHUNK_TRAILER_LF;
            else if (k->state == HTTP_CHUNK_TRAILER && !h1_is_token(b))
                return SIZE_MAX;
            else
                k->state = HTTP_CHUNK_TRAILER_LINE;
            break;
        case HTTP_CHUNK_TRAILER_LF:
        case HTTP_CHUNK_END_LF:
            if (b != '\n')
                return SIZE_MAX;
            k->state = k->state == HTTP_CHUNK_END_LF ? HTTP_CHUNK_DONE : HTTP_CHUNK_TRAILER;
            break;
        case HTTP_CHUNK_DATA:
        case HTTP_CHUNK_DONE: assert(!"handled above"); break;
        }
    }
    return i;
}

/* The whole body is in. */
static void h1_end_body(struct http_server_conn *c)
{
    struct http_server_h1 *h = &c->h1;
    struct http_req *r = h->req;

    r->is_body_done = true;
    h1_end_field(c);
    if (r->is_refused) {
        h1_answer(c, 503);
        return;
    }
    h->state = HTTP1_HANDLED;
    http_server_conn_handle(c, r);
}

static bool h1_input_body(struct http_server_conn *c)
{
    struct http_server_h1 *h = &c->h1;
    struct evbuffer_iovec iov;

    if (h->is_message_done) {
        h1_end_body(c);
        return true;
    }
    if (evbuffer_peek(c->in, -1, NULL, &iov, 1) < 1 || iov.iov_len == 0)
        return false;
    size_t len = iov.iov_len;
    if (h->is_chunked)
        len = http_chunks_check(&h->chunks, iov.iov_base, len);
    else if (len > h->body_left)
        len = (size_t)h->body_left;
    if (len == SIZE_MAX) {
        h1_answer(c, 400);
        return false;
    }
    if (!h->is_chunked)
        h->body_left -= len;
    size_t parsed = http_parser_execute(&h->parser, &h1_settings, iov.iov_base, len);
    (void)evbuffer_drain(c->in, len);
    bool is_end = h->is_chunked ? h->chunks.state == HTTP_CHUNK_DONE : h->body_left == 0;
    if (parsed != len || HTTP_PARSER_ERRNO(&h->parser) != HPE_OK || is_end != h->is_message_done) {
        h1_answer(c, 400);
        return false;
    }
    if (h->req->is_too_large && !h->is_message_done) {
        /* No use in reading on: the handler answers, then the connection closes. */
        h->state = HTTP1_HANDLED;
        http_server_conn_handle(c, h->req);
    }
    return true;
}

bool http_server_h1_input(struct http_server_conn *c)
{
    /* What is pipelined behind slowly read answers waits. */
    if (evbuffer_get_length(c->out) >= HTTP_OUT_BYTES_HIGH)
        return false;
    switch (c->h1.state) {
    case HTTP1_HEAD: return h1_input_head(c);
    case HTTP1_BODY: return h1_input_body(c);
    case HTTP1_HANDLED: return false;
    }
    return false;
}

void http_server_h1_tick(struct http_server_conn *c)
{
    struct http_server_h1 *h = &c->h1;

    if (h->req == NULL || h->state == HTTP1_HANDLED)
        return;
    bool is_slow = h->state == HTTP1_HEAD
                       ? c->now_ns - h->req->head_started_ns > c->env->header_timeout_ns
                       : http_server_conn_is_too_slow(c, h->req);
    if (is_slow)
        h1_answer(c, 408);
}

void http_server_h1_drain(struct http_server_conn *c)
{
    if (c->h1.req == NULL)
        c->is_closing = true;
}
