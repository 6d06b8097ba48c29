#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/cli/cli.h"
#include "common/cli/cli_frame.h"
#include "common/net/grpc.h"
#include "common/net/http_client.h"
#include "common/net/http_server.h"
#include "common/sys/thread.h"

#include <stdio.h>

enum { WORDS_BYTES_MAX = 400, HEADERS_OF_OURS = 6 };

/* --- the URL --- */

static void put_escaped(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t b = text.ptr[i];
        if ((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
            (b != 0 && strchr("-_.~", b) != NULL))
            buf_append_byte(out, b);
        else
            buf_appendf(out, "%%%02X", (unsigned)b);
    }
}

enum err cli_ask_url(struct cli *c, const char *path)
{
    struct slice base = slice_str(c->options.url);
    bool has_scheme = slice_has_prefix(base, SLICE_LIT("http://")) ||
                      slice_has_prefix(base, SLICE_LIT("https://"));

    for (size_t i = 0; i < base.len; i++)
        if (base.ptr[i] <= ' ' || base.ptr[i] >= 0x7f || base.ptr[i] == '?' || base.ptr[i] == '#')
            return err_detail_set(&c->detail, ERR_INVALID,
                                  "\"%.200s\" is not a URL: http://127.0.0.1:3200", c->options.url);
    while (base.len > 0 && base.ptr[base.len - 1] == '/')
        base.len--;
    buf_reset(&c->url);
    buf_append_str(&c->url, has_scheme ? "" : "http://");
    buf_append(&c->url, base);
    buf_append_str(&c->url, path);
    return ERR_OK;
}

void cli_ask_path(struct cli *c, const char *part)
{
    put_escaped(&c->url, slice_str(part));
}

void cli_ask_param(struct cli *c, const char *name, const char *value)
{
    if (value == NULL)
        return;
    bool is_first = buf_err(&c->url) == ERR_OK && memchr(c->url.ptr, '?', c->url.len) == NULL;
    buf_appendf(&c->url, "%c%s=", is_first ? '?' : '&', name);
    put_escaped(&c->url, slice_str(value));
}

void cli_ask_param_u64(struct cli *c, const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    cli_ask_param(c, name, value == 0 ? NULL : text);
}

/* Whom we ask, for people: without path, and without a password. */
static const char *shown_url(struct cli *c)
{
    const char *url = (const char *)c->url.ptr, *host = strstr(url, "//") + 2;
    size_t len = strcspn(host, "/");
    const char *at = memrchr(host, '@', len);

    if (at != NULL) {
        len -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    return arena_printf(&c->arena, "%.*s%.*s", (int)(strstr(url, "//") + 2 - url), url,
                        (int)(len > 200 ? 200 : len), host);
}

/* --- one call --- */

struct call {
    struct mutex lock; /* the fields below */
    pthread_cond_t changed;
    struct buf body; /* not taken yet */
    bool is_ended, is_given_up;
    bool is_grpc; /* messages, no error's text */
    enum err err;
    unsigned status;
    char text[256], partial[16], grpc_status[8], grpc_message[2 * WORDS_BYTES_MAX];
};

static bool on_data(void *arg, const struct http_answer *so_far, struct slice data)
{
    struct call *call = arg;
    char type[64];

    http_client_header(so_far, "content-type", type, sizeof type);
    mutex_lock(&call->lock);
    call->is_grpc = so_far->status == 200 && grpc_is_type(slice_str(type));
    buf_append(&call->body, data);
    bool is_good = buf_err(&call->body) == ERR_OK && !call->is_given_up;
    (void)pthread_cond_signal(&call->changed);
    mutex_unlock(&call->lock);
    return is_good;
}

static void on_end(void *arg, const struct http_answer *answer)
{
    struct call *call = arg;

    mutex_lock(&call->lock);
    call->err = buf_err(&call->body) == ERR_OK ? answer->err : buf_err(&call->body);
    call->status = answer->status;
    (void)snprintf(call->text, sizeof call->text, "%s", answer->error_text);
    http_client_header(answer, "x-vivace-partial", call->partial, sizeof call->partial);
    http_client_header(answer, "grpc-status", call->grpc_status, sizeof call->grpc_status);
    http_client_header(answer, "grpc-message", call->grpc_message, sizeof call->grpc_message);
    call->is_ended = true;
    (void)pthread_cond_signal(&call->changed);
    mutex_unlock(&call->lock);
}

/* Waits until there is more, and takes it; false at the end.  *to: what is not used yet. */
static bool take_more(struct cli *c, struct call *call, bool wants_all, struct buf *to)
{
    mutex_lock(&call->lock);
    while (!call->is_ended && (wants_all || call->body.len == 0))
        if (!cond_wait(&call->changed, &call->lock, cli_progress_wait_ns(&c->progress)))
            cli_progress_show(&c->progress);
    buf_append(to, buf_slice(&call->body));
    buf_reset(&call->body);
    bool has_more = !call->is_ended;
    mutex_unlock(&call->lock);
    return has_more;
}

static enum err add_headers(struct cli *c, const char **list, size_t count)
{
    for (unsigned i = 0; i < c->options.header_count; i++) {
        const char *text = c->options.headers[i];
        size_t name = strcspn(text, ":=");
        const char *value = text[name] == '\0' ? "" : text + name + 1;
        value += strspn(value, " ");
        if (name == 0 || value[0] == '\0')
            return err_detail_set(&c->detail, ERR_INVALID, "--header is NAME:VALUE, not \"%.80s\"",
                                  text);
        list[count++] = arena_printf(&c->arena, "%.*s: %s", (int)name, text, value);
    }
    if (c->options.org_id != NULL)
        list[count++] = arena_printf(&c->arena, "X-Scope-OrgID: %s", c->options.org_id);
    for (size_t i = 0; i < count; i++)
        if (list[i] != NULL && strpbrk(list[i], "\r\n") != NULL)
            return err_detail_set(&c->detail, ERR_INVALID, "a header has one line");
    return arena_err(&c->arena);
}

/* Sends it; from then on `call` changes, until `*ret_http` is freed. */
static enum err begin(struct cli *c, struct http_call *how, const char **headers, size_t count,
                      struct call *call, struct http_client **ret_http)
{
    enum err e = add_headers(c, headers, count);

    buf_append_byte(&c->url, 0);
    if (e == ERR_OK)
        e = buf_err(&c->url);
    if (e == ERR_OK)
        e = http_client_new(ret_http);
    if (e != ERR_OK)
        return e;
    how->url = (const char *)c->url.ptr;
    how->headers = headers;
    how->timeout_ns = c->timeout_ns;
    how->body_bytes_max = CLI_ANSWER_BYTES_MAX;
    how->on_data = on_data;
    how->ca_file = c->options.ca_file;
    how->insecure_skip_verify = c->options.is_insecure;
    cli_progress_begin(&c->progress, !c->options.is_quiet);
    e = http_client_send(*ret_http, how, on_end, call);
    return e == ERR_OK ? e
                       : err_detail_set(&c->detail, e, "\"%.200s\" can not be asked (%s)",
                                        c->options.url, err_name(e));
}

static void call_init(struct call *call)
{
    *call = (struct call){.is_ended = false};
    mutex_init(&call->lock);
    cond_init(&call->changed);
    buf_init(&call->body, CLI_ANSWER_BYTES_MAX);
}

static void call_release(struct call *call)
{
    buf_release(&call->body);
    mutex_release(&call->lock);
    (void)pthread_cond_destroy(&call->changed);
}

/* What the transport or the server says against it, in c->detail; ERR_OK if nothing. */
static enum err complaint(struct cli *c, const struct call *call, struct slice body)
{
    if (call->err == ERR_TOO_LARGE)
        return err_detail_set(&c->detail, ERR_TOO_LARGE,
                              "%s: the answer has more than %d MiB: ask for less", shown_url(c),
                              CLI_ANSWER_BYTES_MAX >> 20);
    if (call->err == ERR_INVALID)
        return err_detail_set(&c->detail, ERR_INVALID, "%s: %s", shown_url(c), call->text);
    if (call->err != ERR_OK)
        return err_detail_set(&c->detail, call->err, "%s: %s", shown_url(c), call->text);
    if (call->status == 200)
        return ERR_OK;
    while (body.len > 0 && body.ptr[body.len - 1] == '\n')
        body.len--;
    body = slice_sub(body, 0, WORDS_BYTES_MAX);
    return err_detail_set(&c->detail, call->status < 500 ? ERR_FORBIDDEN : ERR_UNAVAILABLE,
                          "%s: %u: " SLICE_FMT, shown_url(c), call->status, SLICE_ARG(body));
}

enum err cli_ask(struct cli *c, bool wants_protobuf, struct slice *ret_body)
{
    const char *headers[CLI_HEADERS_MAX + HEADERS_OF_OURS] = {
        wants_protobuf ? "Accept: application/protobuf" : "Accept: application/json"};
    struct http_call how = {.method = "GET"};
    struct http_client *http = NULL;
    struct call call;
    struct buf body;

    buf_init(&body, CLI_ANSWER_BYTES_MAX);
    call_init(&call);
    enum err e = begin(c, &how, headers, 1, &call, &http);
    if (e == ERR_OK)
        (void)take_more(c, &call, true, &body);
    http_client_free(http);
    cli_progress_clear(&c->progress);
    if (e == ERR_OK)
        e = complaint(c, &call, buf_slice(&body));
    if (e == ERR_OK)
        e = buf_err(&body);
    if (e == ERR_OK) {
        (void)snprintf(c->partial, sizeof c->partial, "%s", call.partial);
        *ret_body = arena_dup(&c->arena, buf_slice(&body));
        e = arena_err(&c->arena);
    }
    call_release(&call);
    buf_release(&body);
    return e;
}

/* Whole messages off the front of `pending`. */
static enum err take_messages(struct cli *c, struct buf *pending, cli_ask_fn *fn, void *arg)
{
    struct slice rest = buf_slice(pending), message;
    enum err e = buf_err(pending);

    while (e == ERR_OK && cli_frame_next(&rest, &message, &e, &c->detail))
        e = fn(arg, message);
    if (e == ERR_OK && rest.len < pending->len) {
        if (rest.len > 0)
            memmove(pending->ptr, rest.ptr, rest.len);
        pending->len = rest.len;
    }
    return e;
}

static enum err grpc_complaint(struct cli *c, const struct call *call, bool is_cut)
{
    struct slice words;

    if (call->grpc_status[0] == '\0')
        return err_detail_set(&c->detail, ERR_UNAVAILABLE,
                              "%s: this is no answer of a gRPC server (without --stream?)",
                              shown_url(c));
    if (strcmp(call->grpc_status, "0") != 0) {
        words = http_percent_decode(&c->arena, slice_str(call->grpc_message));
        if (words.ptr == NULL)
            words = slice_str(call->grpc_message);
        return err_detail_set(&c->detail, ERR_FORBIDDEN, "%s: gRPC status %s: " SLICE_FMT,
                              shown_url(c), call->grpc_status,
                              SLICE_ARG(slice_sub(words, 0, WORDS_BYTES_MAX)));
    }
    return is_cut ? err_detail_set(&c->detail, ERR_FORMAT, "%s: the last message is cut off",
                                   shown_url(c))
                  : ERR_OK;
}

static enum err stream(struct cli *c, struct call *call, cli_ask_fn *fn, void *arg)
{
    struct buf pending;
    bool has_more = true;
    enum err e = ERR_OK;

    buf_init(&pending, CLI_ANSWER_BYTES_MAX);
    while (e == ERR_OK && has_more) {
        has_more = take_more(c, call, false, &pending);
        mutex_lock(&call->lock);
        bool is_grpc = call->is_grpc;
        mutex_unlock(&call->lock);
        e = is_grpc ? take_messages(c, &pending, fn, arg) : buf_err(&pending);
    }
    if (e == ERR_OK)
        e = complaint(c, call, buf_slice(&pending));
    if (e == ERR_OK)
        e = grpc_complaint(c, call, pending.len > 0);
    buf_release(&pending);
    return e;
}

enum err cli_ask_stream(struct cli *c, const char *method, struct slice request, cli_ask_fn *fn,
                        void *arg)
{
    const char *headers[CLI_HEADERS_MAX + HEADERS_OF_OURS] = {
        "Content-Type: application/grpc+proto", "TE: trailers"};
    struct http_call how = {.method = "POST", .is_h2 = true};
    struct http_client *http = NULL;
    struct call call;
    struct buf body;

    buf_init(&body, CLI_URL_BYTES_MAX);
    size_t mark = grpc_message_open(&body);
    buf_append(&body, request);
    grpc_message_close(&body, mark);
    how.body = buf_slice(&body);
    headers[2] = arena_printf(&c->arena, "grpc-timeout: %lldS",
                              (long long)((c->timeout_ns - 1) / NS_PER_S + 1));
    call_init(&call);
    enum err e = cli_ask_url(c, "/tempopb.StreamingQuerier/");
    cli_ask_path(c, method);
    if (e == ERR_OK)
        e = buf_err(&body);
    if (e == ERR_OK)
        e = begin(c, &how, headers, 3, &call, &http);
    if (e == ERR_OK)
        e = stream(c, &call, fn, arg);
    mutex_lock(&call.lock);
    call.is_given_up = true;
    mutex_unlock(&call.lock);
    http_client_free(http);
    cli_progress_clear(&c->progress);
    (void)snprintf(c->partial, sizeof c->partial, "%s", call.partial);
    call_release(&call);
    buf_release(&body);
    return e;
}
