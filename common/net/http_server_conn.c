#include "common/base/map.h"
#include "common/net/http_server_internal.h"

#include <assert.h>

static const char http_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { HTTP_PREFACE_BYTES = sizeof http_preface - 1 };

static void http_server_conn_on_out(struct evbuffer *out, const struct evbuffer_cb_info *info,
                                    void *arg)
{
    struct http_server_conn *c = arg;

    (void)out;
    if (info->n_deleted > 0)
        c->has_progress = true;
}

void http_server_conn_init(struct http_server_conn *c, struct http_env *env, uint64_t id,
                           struct evbuffer *in, struct evbuffer *out, int64_t now_ns)
{
    assert(env->handler != NULL);
    assert(env->post != NULL);
    c->env = env;
    c->id = id;
    c->in = in;
    c->out = out;
    c->protocol = HTTP_SNIFF;
    c->now_ns = c->opened_ns = c->idle_ns = c->progress_ns = now_ns;
    if (evbuffer_add_cb(out, http_server_conn_on_out, c) == NULL)
        c->is_broken = true;
}

void http_server_conn_release(struct http_server_conn *c)
{
    struct http_req *r, *next;

    (void)evbuffer_remove_cb(c->out, http_server_conn_on_out, c);
    DL_FOREACH_SAFE (c->reqs, r, next) {
        http_server_conn_remove_req(c, r);
        if (r->state != HTTP_REQ_HANDLED)
            http_req_free(r);
    }
    assert(c->req_count == 0);
    if (c->protocol == HTTP_1)
        http_server_h1_release(c);
    else if (c->protocol == HTTP_2)
        http_server_h2_release(c);
    c->protocol = HTTP_SNIFF;
    if (c->unflushed > 0)
        atomic_fetch_sub_explicit(&c->env->in_flight, c->unflushed, memory_order_acq_rel);
    c->unflushed = 0;
}

void http_server_conn_add_req(struct http_server_conn *c, struct http_req *r)
{
    DL_APPEND(c->reqs, r);
    c->req_count++;
}

/* A handled one is an orphan from now on, and its handler is told. */
void http_server_conn_remove_req(struct http_server_conn *c, struct http_req *r)
{
    assert(c->req_count > 0);
    assert(!r->is_orphan);
    DL_DELETE(c->reqs, r);
    c->req_count--;
    if (c->req_count == 0)
        c->idle_ns = c->now_ns;
    if (r->state == HTTP_REQ_HANDLED) {
        r->is_orphan = true;
        atomic_store_explicit(&r->gone, true, memory_order_release);
    }
}

void http_server_conn_handle(struct http_server_conn *c, struct http_req *r)
{
    assert(r->state == HTTP_REQ_RECEIVING);
    assert(r->is_head_done);
    r->state = HTTP_REQ_HANDLED;
    r->is_counted = true;
    atomic_fetch_add_explicit(&c->env->in_flight, 1, memory_order_acq_rel);
    if (!http_cors_preflight(&c->env->cors, r))
        c->env->handler(c->env->arg, r);
}

void http_server_conn_end_req(struct http_server_conn *c, struct http_req *r)
{
    assert(r->state == HTTP_REQ_ANSWERING);
    if (r->is_counted) {
        r->is_counted = false;
        c->unflushed++;
    }
    http_server_conn_remove_req(c, r);
    http_req_free(r);
}

bool http_server_conn_is_too_slow(const struct http_server_conn *c, const struct http_req *r)
{
    int64_t age_ns = c->now_ns - r->body_started_ns;

    if (age_ns <= c->env->body_grace_ns)
        return false;
    /* The first byte rate is asked of the whole body so far, so a pause after a good start is forgiven. */
    double least = (double)c->env->body_bytes_per_s_min * (double)age_ns / (double)NS_PER_S;
    return (double)r->received_bytes < least;
}

/* Which protocol: by the first bytes.  Nothing but the preface begins with "PRI ". */
static void http_server_conn_sniff(struct http_server_conn *c)
{
    char first[HTTP_PREFACE_BYTES];
    ev_ssize_t len = evbuffer_copyout(c->in, first, sizeof first);

    if (len <= 0)
        return;
    if (memcmp(first, http_preface, (size_t)len) != 0) {
        c->protocol = HTTP_1;
        http_server_h1_init(c);
    } else if (len == HTTP_PREFACE_BYTES) {
        c->protocol = HTTP_2;
        http_server_h2_init(c);
    }
}

static void http_server_conn_run(struct http_server_conn *c)
{
    bool is_going = true;

    while (is_going && !c->is_broken && !c->is_closing) {
        if (c->protocol == HTTP_SNIFF)
            http_server_conn_sniff(c);
        if (c->protocol == HTTP_1)
            is_going = http_server_h1_input(c);
        else if (c->protocol == HTTP_2)
            is_going = http_server_h2_input(c);
        else
            is_going = false;
    }
    if (c->protocol == HTTP_2 && !c->is_broken)
        http_server_h2_output(c);
    bool is_waiting = c->protocol == HTTP_1 && c->h1.state == HTTP1_HANDLED;
    if (c->is_eof && !is_waiting && evbuffer_get_length(c->out) < HTTP_OUT_BYTES_HIGH)
        c->is_closing = true;
    if (!c->is_closing)
        return;
    size_t len = evbuffer_get_length(c->in);
    c->lingered_bytes += len;
    (void)evbuffer_drain(c->in, len);
    if (!c->is_lingering && evbuffer_get_length(c->out) == 0) {
        c->is_lingering = true;
        c->linger_ns = c->now_ns;
    }
}

void http_server_conn_input(struct http_server_conn *c, int64_t now_ns)
{
    c->now_ns = now_ns;
    http_server_conn_run(c);
}

void http_server_conn_eof(struct http_server_conn *c, int64_t now_ns)
{
    struct http_req *r;

    c->now_ns = now_ns;
    c->is_eof = true;
    DL_FOREACH (c->reqs, r) {
        if (r->state == HTTP_REQ_HANDLED)
            atomic_store_explicit(&r->gone, true, memory_order_release);
    }
    /* Whoever only shut down its sending side still gets the answers to what it asked, in HTTP/1.1. */
    if (c->protocol == HTTP_1)
        http_server_conn_run(c);
    else
        c->is_broken = true;
}

void http_server_conn_written(struct http_server_conn *c, int64_t now_ns)
{
    c->now_ns = now_ns;
    c->has_progress = true;
    if (evbuffer_get_length(c->out) < HTTP_OUT_BYTES_HIGH)
        http_server_conn_run(c);
    if (evbuffer_get_length(c->out) > 0)
        return;
    if (c->unflushed > 0) {
        atomic_fetch_sub_explicit(&c->env->in_flight, c->unflushed, memory_order_acq_rel);
        c->unflushed = 0;
    }
    if (c->is_closing)
        http_server_conn_run(c);
}

void http_server_conn_reply(struct http_server_conn *c, struct http_req *r, int64_t now_ns)
{
    assert(!r->is_orphan);
    assert(r->state == HTTP_REQ_HANDLED);
    c->now_ns = now_ns;
    r->state = HTTP_REQ_ANSWERING;
    r->progress_ns = now_ns;
    if (c->protocol == HTTP_1)
        http_server_h1_reply(c, r);
    else
        http_server_h2_reply(c, r);
    http_server_conn_run(c);
}

void http_server_conn_tick(struct http_server_conn *c, int64_t now_ns)
{
    c->now_ns = now_ns;
    if (c->has_progress || evbuffer_get_length(c->out) == 0) {
        c->progress_ns = now_ns;
        c->has_progress = false;
    } else if (now_ns - c->progress_ns > HTTP_WRITE_TIMEOUT_NS) {
        c->is_broken = true;
    }
    if (c->is_lingering && now_ns - c->linger_ns > HTTP_LINGER_NS)
        c->is_broken = true;
    if (c->is_closing || c->is_broken)
        return;
    if (c->protocol == HTTP_SNIFF) {
        c->is_broken = now_ns - c->opened_ns > c->env->header_timeout_ns;
        return;
    }
    if (c->protocol == HTTP_1)
        http_server_h1_tick(c);
    else
        http_server_h2_tick(c);
    bool is_old =
        c->env->max_connection_age_ns > 0 && now_ns - c->opened_ns > c->env->max_connection_age_ns;
    bool is_idle = c->req_count == 0 && now_ns - c->idle_ns > c->env->idle_timeout_ns;
    if (!c->is_draining && (is_old || is_idle))
        http_server_conn_drain(c, now_ns);
    http_server_conn_run(c);
}

void http_server_conn_drain(struct http_server_conn *c, int64_t now_ns)
{
    c->now_ns = now_ns;
    c->is_draining = true;
    if (c->protocol == HTTP_SNIFF)
        c->is_broken = true;
    else if (c->protocol == HTTP_1)
        http_server_h1_drain(c);
    else
        http_server_h2_drain(c);
    http_server_conn_run(c);
}

bool http_server_conn_is_done(const struct http_server_conn *c)
{
    if (c->is_broken)
        return true;
    if (!c->is_closing || evbuffer_get_length(c->out) > 0)
        return false;
    return c->is_eof || c->lingered_bytes > HTTP_LINGER_BYTES_MAX;
}
