#include "common/base/num.h"
#include "common/net/http_server_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

enum { HTTP_FIELD_OVERHEAD = 32 };

enum err http_req_new(struct http_server_conn *c, int64_t now_ns, struct http_req **ret)
{
    struct http_req *r = calloc(1, sizeof *r);

    if (r == NULL)
        return ERR_NOMEM;
    r->env = c->env;
    atomic_fetch_add_explicit(&r->env->ref_count, 1, memory_order_relaxed);
    r->home = c->home;
    r->conn_id = c->id;
    r->head_started_ns = r->body_started_ns = r->progress_ns = now_ns;
    memcpy(r->peer, c->peer, sizeof r->peer);
    buf_init(&r->text, r->env->header_bytes_max + 64);
    buf_init(&r->body, r->env->body_bytes_max);
    buf_init(&r->reply_fields, HTTP_REPLY_FIELD_BYTES_MAX);
    buf_init(&r->reply_body, SIZE_MAX / 2);
    *ret = r;
    return ERR_OK;
}

void http_req_free(struct http_req *r)
{
    if (r == NULL)
        return;
    struct http_env *env = r->env;
    http_req_release_body(r);
    if (r->head_budget_bytes > 0)
        budget_give(env->budget, r->head_budget_bytes);
    buf_release(&r->text);
    buf_release(&r->reply_fields);
    buf_release(&r->reply_body);
    if (r->is_counted)
        atomic_fetch_sub_explicit(&env->in_flight, 1, memory_order_acq_rel);
    free(r);
    env->unref(env);
}

enum err http_req_count_head(struct http_req *r, size_t len)
{
    if (len <= HTTP_HEAD_UNCOUNTED_BYTES || r->head_budget_bytes > 0)
        return ERR_OK;
    /* Once as it came, once in pieces. */
    size_t bytes = 2 * r->env->header_bytes_max;
    enum err e = budget_take(r->env->budget, bytes);
    if (e == ERR_OK)
        r->head_budget_bytes = bytes;
    return e;
}

enum err http_req_add_text(struct http_req *r, struct slice s, struct http_span *ret)
{
    if (s.len > UINT32_MAX / 2)
        return ERR_TOO_LARGE;
    struct http_span span = {(uint32_t)r->text.len, (uint32_t)s.len};
    buf_append(&r->text, s);
    if (buf_err(&r->text) != ERR_OK)
        return buf_err(&r->text);
    *ret = span;
    return ERR_OK;
}

enum err http_req_add_field(struct http_req *r, struct slice name, struct slice value)
{
    struct http_field field = {0};

    r->header_bytes += name.len + value.len + HTTP_FIELD_OVERHEAD;
    if (r->is_head_too_large || r->field_count == HTTP_FIELDS_MAX ||
        r->header_bytes > r->env->header_bytes_max) {
        r->is_head_too_large = true;
        return ERR_TOO_LARGE;
    }
    enum err e = http_req_add_text(r, name, &field.name);
    if (e == ERR_OK)
        e = http_req_add_text(r, value, &field.value);
    if (e != ERR_OK) {
        r->is_head_too_large = e == ERR_TOO_LARGE;
        return e;
    }
    for (uint32_t i = 0; i < field.name.len; i++) {
        uint8_t *at = &r->text.ptr[field.name.at + i];
        if (*at >= 'A' && *at <= 'Z')
            *at = (uint8_t)(*at + ('a' - 'A'));
    }
    r->fields[r->field_count++] = field;
    return ERR_OK;
}

void http_req_release_body(struct http_req *r)
{
    buf_release(&r->body);
    if (r->body_budget_bytes > 0)
        budget_give(r->env->budget, r->body_budget_bytes);
    r->body_budget_bytes = 0;
}

/* The block that buf will have for `len` bytes: its doubling, from 64 up to its maximum. */
static size_t http_req_body_block(const struct http_req *r, size_t len)
{
    size_t block = 64;

    while (block < len)
        block = block > r->body.len_max / 2 ? r->body.len_max : block * 2;
    return block;
}

void http_req_add_body(struct http_req *r, struct slice data)
{
    assert(r->state == HTTP_REQ_RECEIVING || r->is_too_large || r->is_refused);
    r->received_bytes += data.len;
    if (r->is_too_large || r->is_refused || data.len == 0)
        return;
    if (data.len > r->env->body_bytes_max - r->body.len) {
        r->is_too_large = true;
        http_req_release_body(r);
        return;
    }
    size_t block = http_req_body_block(r, r->body.len + data.len);
    if (block > r->body_budget_bytes) {
        if (budget_take(r->env->budget, block - r->body_budget_bytes) != ERR_OK) {
            r->is_refused = true;
            http_req_release_body(r);
            return;
        }
        r->body_budget_bytes = block;
    }
    buf_append(&r->body, data);
    if (buf_err(&r->body) != ERR_OK) {
        r->is_refused = true;
        http_req_release_body(r);
    }
}

static struct slice http_req_slice(const struct http_req *r, struct http_span span)
{
    return slice_sub(buf_slice(&r->text), span.at, (size_t)span.at + span.len);
}

bool http_req_content_length(const struct http_req *r, uint64_t *ret)
{
    struct slice text = http_req_header(r, "content-length");

    return text.ptr != NULL && num_parse_u64(text, ret) == ERR_OK;
}

struct slice http_req_method(const struct http_req *r)
{
    return http_req_slice(r, r->method);
}

/* Origin form, or the same after the scheme and authority of the absolute form. */
static struct slice http_req_origin(const struct http_req *r)
{
    struct slice target = http_req_slice(r, r->target);
    size_t from = 0;

    if (slice_has_prefix(target, SLICE_LIT("http://")))
        from = 7;
    else if (slice_has_prefix(target, SLICE_LIT("https://")))
        from = 8;
    while (from > 0 && from < target.len && target.ptr[from] != '/' && target.ptr[from] != '?')
        from++;
    target = slice_sub(target, from, target.len);
    const uint8_t *fragment = target.len > 0 ? memchr(target.ptr, '#', target.len) : NULL;
    if (fragment != NULL)
        target.len = (size_t)(fragment - target.ptr);
    return target;
}

struct slice http_req_path(const struct http_req *r)
{
    struct slice origin = http_req_origin(r);
    const uint8_t *mark = origin.len > 0 ? memchr(origin.ptr, '?', origin.len) : NULL;

    if (mark != NULL)
        origin.len = (size_t)(mark - origin.ptr);
    return origin.len == 0 ? SLICE_LIT("/") : origin;
}

struct slice http_req_query(const struct http_req *r)
{
    struct slice origin = http_req_origin(r);
    const uint8_t *mark = origin.len > 0 ? memchr(origin.ptr, '?', origin.len) : NULL;

    if (mark == NULL)
        return SLICE_NONE;
    return slice_sub(origin, (size_t)(mark - origin.ptr) + 1, origin.len);
}

struct slice http_req_header(const struct http_req *r, const char *lower_name)
{
    for (unsigned i = 0; i < r->field_count; i++) {
        if (slice_eq_str(http_req_slice(r, r->fields[i].name), lower_name))
            return http_req_slice(r, r->fields[i].value);
    }
    return SLICE_NONE;
}

unsigned http_req_header_count(const struct http_req *r, const char *lower_name)
{
    unsigned count = 0;

    for (unsigned i = 0; i < r->field_count; i++)
        count += slice_eq_str(http_req_slice(r, r->fields[i].name), lower_name);
    return count;
}

struct slice http_req_body(const struct http_req *r)
{
    return buf_slice(&r->body);
}

bool http_req_is_http2(const struct http_req *r)
{
    return r->is_http2;
}

const char *http_req_peer(const struct http_req *r)
{
    return r->peer;
}

bool http_req_is_too_large(const struct http_req *r)
{
    return r->is_too_large;
}

const atomic_bool *http_req_gone(const struct http_req *r)
{
    return &r->gone;
}

/* A line break in a value would be a header of somebody else's making. */
static void http_req_add_reply_field(struct http_req *r, const struct http_header *h)
{
    assert(h->name != NULL);
    buf_append(&r->reply_fields, (struct slice){(const uint8_t *)h->name, strlen(h->name) + 1});
    size_t at = r->reply_fields.len;
    size_t len = strlen(h->value);
    buf_append(&r->reply_fields, (struct slice){(const uint8_t *)h->value, len + 1});
    if (buf_err(&r->reply_fields) != ERR_OK)
        return;
    for (size_t i = 0; i < len; i++) {
        uint8_t *byte = &r->reply_fields.ptr[at + i];
        if ((*byte < 0x20 && *byte != '\t') || *byte == 0x7f)
            *byte = ' ';
    }
}

void http_req_next_reply_field(const struct http_req *r, size_t *at, const char **ret_name,
                               const char **ret_value)
{
    assert(*at < r->reply_fields.len);
    const char *name = (const char *)r->reply_fields.ptr + *at;
    const char *value = name + strlen(name) + 1;

    *at += strlen(name) + strlen(value) + 2;
    assert(*at <= r->reply_fields.len);
    *ret_name = name;
    *ret_value = value;
}

/* The answer depends on who asks: caches are told so even when nobody of another origin did. */
static void http_req_add_cors(struct http_req *r)
{
    const struct http_cors *cors = &r->env->cors;
    char origin[512];

    if (cors->origin_count == 0)
        return;
    struct slice from = http_req_header(r, "origin");
    enum http_cors_answer answer =
        from.len < sizeof origin ? http_cors_answer(cors, from) : HTTP_CORS_REFUSED;
    http_req_add_reply_field(r, &(struct http_header){"vary", "Origin"});
    r->header_count++;
    if (answer == HTTP_CORS_REFUSED)
        return;
    bool is_any = answer == HTTP_CORS_ANY;
    (void)snprintf(origin, sizeof origin, SLICE_FMT, SLICE_ARG(from));
    http_req_add_reply_field(
        r, &(struct http_header){"access-control-allow-origin", is_any ? "*" : origin});
    r->header_count++;
    if (is_any)
        return; /* with credentials browsers want the origin by name */
    http_req_add_reply_field(r, &(struct http_header){"access-control-allow-credentials", "true"});
    r->header_count++;
}

static void http_req_set_reply(struct http_req *r, const struct http_reply *reply)
{
    assert(reply->status >= 200 && reply->status <= 999);
    r->status = reply->status;
    for (unsigned i = 0; i < reply->header_count; i++)
        http_req_add_reply_field(r, &reply->headers[i]);
    r->header_count = reply->header_count;
    http_req_add_cors(r);
    for (unsigned i = 0; i < reply->trailer_count; i++)
        http_req_add_reply_field(r, &reply->trailers[i]);
    r->trailer_count = reply->trailer_count;
    bool is_whole = buf_err(&r->reply_fields) == ERR_OK;
    if (reply->body != NULL) {
        is_whole = is_whole && buf_err(reply->body) == ERR_OK;
        buf_release(&r->reply_body);
        r->reply_body = *reply->body;
        *reply->body = (struct buf){.len_max = r->reply_body.len_max};
    }
    if (!is_whole) {
        /* It did not fit or there was no memory for it: say so rather than send half of it. */
        buf_release(&r->reply_fields);
        buf_release(&r->reply_body);
        r->header_count = r->trailer_count = 0;
        r->status = 500;
    }
}

void http_req_set_own_reply(struct http_req *r, unsigned status)
{
    const struct http_header headers[2] = {{"content-type", "text/plain; charset=utf-8"},
                                           {"retry-after", "1"}};
    struct http_reply reply = {
        .status = status, .headers = headers, .header_count = status == 503 ? 2 : 1};

    buf_reset(&r->reply_body);
    buf_appendf(&r->reply_body, "%s\n", http_status_str((enum http_status)status));
    http_req_set_reply(r, &reply);
}

void http_reply(struct http_req *req, const struct http_reply *reply)
{
    assert(req->state == HTTP_REQ_HANDLED);
    http_req_set_reply(req, reply);
    http_req_release_body(req);
    req->env->post(req);
}

void http_reply_text(struct http_req *req, unsigned status, const char *content_type,
                     const char *format, ...)
{
    const struct http_header header = {"content-type", content_type};
    struct buf body;
    va_list args;

    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    buf_init(&body, (size_t)len + 1);
    char *text = (char *)buf_extend(&body, (size_t)len + 1);
    if (text != NULL) {
        va_start(args, format);
        (void)vsnprintf(text, (size_t)len + 1, format, args);
        va_end(args);
        body.len = (size_t)len;
    }
    struct http_reply reply = {
        .status = status, .headers = &header, .header_count = 1, .body = &body};
    http_reply(req, &reply);
    buf_release(&body);
}
