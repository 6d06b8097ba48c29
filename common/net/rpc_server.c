#include "common/base/clock.h"
#include "common/net/rpc.h"
#include "common/net/rpc_internal.h"

#include <assert.h>
#include <stdlib.h>

enum {
    RPC_CONNECTIONS_MAX = 1024,
    RPC_ACCEPT_REST_MS = 100,
    RPC_TEXT_BYTES_MAX = 1024,
    RPC_URL_BYTES_MAX = 256
};

#define RPC_LINGER_NS      (10 * NS_PER_S) /* at the end, for answers that are being written */
#define RPC_LINGER_STEP_NS (2 * NS_PER_S)  /* and for one in which nothing moves */

enum rpc_req_state {
    RPC_REQ_FREE,
    RPC_REQ_HANDLED,  /* the handler owns it */
    RPC_REQ_ANSWERING /* until its answer is written, or the connection is gone */
};

/* One context: a request that is worked on. */
struct rpc_req {
    struct rpc_server *server; /* counted in server->ref_count while handled */
    struct rpc_req *next_free;
    struct rpc_conn *conn;    /* NULL: gone */
    enum rpc_req_state state; /* these under the server's lock, the others the handler's */
    uint32_t id;
    uint16_t method;
    struct slice payload;
    uint8_t *body;           /* owns the payload */
    struct rpc_block *spare; /* to say that there is no memory */
};

struct rpc_server {
    struct mutex lock; /* the fields below, connections, the states of reqs */
    pthread_cond_t quiet;
    nng_stream_listener *listener;
    nng_aio *accept, *tick;
    bool is_closing, is_resting; /* resting: the accept aio sleeps after an error */
    struct rpc_conn *conns, *waiting, *waiting_last;
    unsigned conn_count;
    struct rpc_req *reqs, *free;
    unsigned req_count, ref_count, answering_count; /* refs: the owner, and each handled request */
    rpc_handler *handler;
    void *arg;
    size_t receive_bytes_max;
    char url[RPC_URL_BYTES_MAX];
};

static void rpc_server_release(struct rpc_server *s)
{
    for (unsigned i = 0; i < s->req_count; i++) {
        free(s->reqs[i].body);
        free(s->reqs[i].spare);
    }
    free(s->reqs);
    mutex_release(&s->lock);
    (void)pthread_cond_destroy(&s->quiet);
    free(s);
}

/* Gives up the lock. */
static void rpc_server_unref(struct rpc_server *s)
{
    assert(s->ref_count > 0);
    bool is_last = --s->ref_count == 0;
    mutex_unlock(&s->lock);
    if (is_last)
        rpc_server_release(s);
}

/* --- contexts: free, or granted to the connection that waits longest --- */

static void rpc_server_wait(struct rpc_server *s, struct rpc_conn *c)
{
    assert(!c->is_waiting);
    c->is_waiting = true;
    c->next_waiting = NULL;
    if (s->waiting == NULL)
        s->waiting = c;
    else
        s->waiting_last->next_waiting = c;
    s->waiting_last = c;
}

static struct rpc_conn *rpc_server_next_waiting(struct rpc_server *s)
{
    struct rpc_conn *c = s->waiting;

    if (c == NULL)
        return NULL;
    s->waiting = c->next_waiting;
    c->next_waiting = NULL;
    c->is_waiting = false;
    return c;
}

static void rpc_server_forget_waiting(struct rpc_server *s, struct rpc_conn *gone)
{
    struct rpc_conn *c = s->waiting;

    s->waiting = NULL;
    for (struct rpc_conn *next; c != NULL; c = next) {
        next = c->next_waiting;
        c->is_waiting = false;
        if (c != gone)
            rpc_server_wait(s, c);
    }
}

static void rpc_req_release(struct rpc_req *r)
{
    struct rpc_server *s = r->server;

    assert(mutex_is_mine(&s->lock));
    if (r->state == RPC_REQ_ANSWERING) {
        s->answering_count--;
        (void)pthread_cond_broadcast(&s->quiet);
    }
    r->state = RPC_REQ_FREE;
    r->conn = NULL;
    struct rpc_conn *c = rpc_server_next_waiting(s);
    if (c == NULL) {
        r->next_free = s->free;
        s->free = r;
    } else {
        c->granted = r;
        if (!c->is_receiving)
            rpc_conn_kick(c);
    }
}

/* --- requests --- */

/* The context for a message of this connection, or NULL: it waits for one. */
static struct rpc_req *rpc_server_get(struct rpc_server *s, struct rpc_conn *c)
{
    struct rpc_req *r = c->granted;

    if (r != NULL) {
        c->granted = NULL;
        return r;
    }
    r = s->free;
    if (r != NULL)
        s->free = r->next_free;
    return r;
}

static bool rpc_server_message(struct rpc_conn *c, const struct rpc_message *m)
{
    struct rpc_server *s = c->owner;

    mutex_lock(&s->lock);
    if (s->is_closing || c->is_closed) {
        mutex_unlock(&s->lock);
        rpc_stream_consume(&c->in);
        return true;
    }
    struct rpc_req *r = rpc_server_get(s, c);
    if (r == NULL) {
        rpc_server_wait(s, c);
        rpc_conn_pause(c);
        return false;
    }
    assert(r->state == RPC_REQ_FREE);
    r->state = RPC_REQ_HANDLED;
    r->conn = c;
    s->ref_count++;
    mutex_unlock(&s->lock);
    r->id = m->id;
    struct slice bytes = m->bytes;
    r->body = rpc_stream_take(&c->in, m);
    bytes.ptr = r->body;
    if (r->body == NULL)
        rpc_reply(r, ERR_NOMEM, SLICE_NONE);
    else if (rpc_frame_read(bytes, &r->method, &r->payload) != ERR_OK)
        rpc_reply(r, ERR_CORRUPT, SLICE_LIT("damaged message or unknown version"));
    else
        s->handler(s->arg, r);
    return true;
}

uint16_t rpc_req_method(const struct rpc_req *r)
{
    return r->method;
}

struct slice rpc_req_payload(const struct rpc_req *r)
{
    return r->payload;
}

void rpc_reply(struct rpc_req *r, enum err err, struct slice payload)
{
    struct rpc_server *s = r->server;
    struct rpc_block *answer;

    assert(r->state == RPC_REQ_HANDLED);
    assert((unsigned)err < ERR_COUNT);
    if (err != ERR_OK && payload.len > RPC_TEXT_BYTES_MAX)
        payload.len = RPC_TEXT_BYTES_MAX;
    if (rpc_block_new((uint16_t)err, &payload, 1, &answer) != ERR_OK)
        answer = r->spare;
    rpc_block_set_id(answer, r->id);
    answer->req = r;
    free(r->body); /* the payload of the answer may have been in it */
    r->body = NULL;
    r->payload = SLICE_NONE;
    mutex_lock(&s->lock);
    if (s->is_closing || r->conn == NULL || r->conn->is_closed) {
        rpc_block_free(answer);
        rpc_req_release(r);
    } else {
        r->state = RPC_REQ_ANSWERING;
        s->answering_count++;
        rpc_conn_append(r->conn, answer);
        rpc_conn_flush(r->conn);
    }
    rpc_server_unref(s);
}

/* --- connections --- */

static void rpc_server_ready(struct rpc_conn *c)
{
    (void)c;
}

static void rpc_server_written(struct rpc_conn *c, struct rpc_block *b)
{
    (void)c;
    rpc_req_release(b->req);
    rpc_block_free(b);
}

static void rpc_server_drained(struct rpc_conn *c)
{
    (void)c;
}

static void rpc_server_ended(struct rpc_conn *c)
{
    struct rpc_server *s = c->owner;

    mutex_lock(&s->lock);
    *(c->prev == NULL ? &s->conns : &c->prev->next) = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (c->is_waiting)
        rpc_server_forget_waiting(s, c);
    if (c->granted != NULL)
        rpc_req_release(c->granted);
    for (unsigned i = 0; i < s->req_count; i++) {
        struct rpc_req *r = &s->reqs[i];
        if (r->conn != c)
            continue;
        r->conn = NULL;
        if (r->state == RPC_REQ_ANSWERING)
            rpc_req_release(r);
    }
    mutex_unlock(&s->lock);
}

static void rpc_server_freed(void *owner)
{
    struct rpc_server *s = owner;

    mutex_lock(&s->lock);
    s->conn_count--;
    (void)pthread_cond_broadcast(&s->quiet);
    mutex_unlock(&s->lock);
}

static const struct rpc_side rpc_server_side = {.own = RPC_SP_REP,
                                                .peer = RPC_SP_REQ,
                                                .ready = rpc_server_ready,
                                                .message = rpc_server_message,
                                                .written = rpc_server_written,
                                                .drained = rpc_server_drained,
                                                .ended = rpc_server_ended,
                                                .freed = rpc_server_freed};

static void rpc_server_take_in(struct rpc_server *s, nng_stream *stream)
{
    struct rpc_conn *c;

    if (s->is_closing || s->conn_count == RPC_CONNECTIONS_MAX) {
        nng_stream_free(stream);
        return;
    }
    if (rpc_conn_new(&rpc_server_side, s, &s->lock, stream, s->receive_bytes_max, &c) != ERR_OK)
        return;
    c->next = s->conns;
    if (c->next != NULL)
        c->next->prev = c;
    s->conns = c;
    s->conn_count++;
    rpc_conn_start(c);
}

static void rpc_server_on_accepted(void *arg)
{
    struct rpc_server *s = arg;
    int rc = nng_aio_result(s->accept);
    bool was_resting;

    mutex_lock(&s->lock);
    was_resting = s->is_resting;
    s->is_resting = false;
    if (rc == 0 && !was_resting)
        rpc_server_take_in(s, nng_aio_get_output(s->accept, 0));
    if (!s->is_closing) {
        if (rc != 0 && !was_resting) {
            /* Out of descriptors, perhaps: the next attempt would fail at once. */
            s->is_resting = true;
            nng_sleep_aio(RPC_ACCEPT_REST_MS, s->accept);
        } else {
            nng_stream_listener_accept(s->listener, s->accept);
        }
    }
    mutex_unlock(&s->lock);
}

static void rpc_server_on_tick(void *arg)
{
    struct rpc_server *s = arg;
    int64_t now_ns = rpc_now_ns();

    mutex_lock(&s->lock);
    for (struct rpc_conn *c = s->conns; c != NULL; c = c->next) {
        if (rpc_conn_stall_ns(c) <= now_ns)
            rpc_conn_close(c);
    }
    if (!s->is_closing)
        nng_sleep_aio(rpc_times.tick_ms, s->tick);
    mutex_unlock(&s->lock);
}

/* --- life --- */

/* Waits until the answers given are written.  What still comes in is read and thrown away: a connection closed with unread bytes is reset, and takes with it
 * what it has written. */
static void rpc_server_linger(struct rpc_server *s)
{
    int64_t begun_ns = rpc_now_ns();

    for (struct rpc_conn *c; (c = rpc_server_next_waiting(s)) != NULL;) {
        if (!c->is_receiving)
            rpc_conn_kick(c);
    }
    while (s->answering_count > 0) {
        int64_t until_ns = 0, now_ns = rpc_now_ns();
        for (struct rpc_conn *c = s->conns; c != NULL; c = c->next) {
            if (c->is_sending && c->sent_ns + RPC_LINGER_STEP_NS > until_ns)
                until_ns = c->sent_ns + RPC_LINGER_STEP_NS;
        }
        if (until_ns > begun_ns + RPC_LINGER_NS)
            until_ns = begun_ns + RPC_LINGER_NS;
        if (until_ns <= now_ns)
            return;
        (void)cond_wait(&s->quiet, &s->lock, until_ns - now_ns);
    }
}

void rpc_server_free(struct rpc_server *s)
{
    if (s == NULL)
        return;
    mutex_lock(&s->lock);
    s->is_closing = true;
    if (s->listener != NULL)
        nng_stream_listener_close(s->listener);
    rpc_server_linger(s);
    for (struct rpc_conn *c = s->conns; c != NULL; c = c->next)
        rpc_conn_close(c);
    while (s->conn_count > 0)
        (void)cond_wait(&s->quiet, &s->lock, -1);
    mutex_unlock(&s->lock);
    if (s->accept != NULL)
        nng_aio_stop(s->accept);
    if (s->tick != NULL)
        nng_aio_stop(s->tick);
    nng_aio_free(s->accept);
    nng_aio_free(s->tick);
    if (s->listener != NULL)
        nng_stream_listener_free(s->listener);
    mutex_lock(&s->lock);
    rpc_server_unref(s);
}

static enum err rpc_server_listen(struct rpc_server *s, const char *url,
                                  struct err_detail *reterr_detail)
{
    int port = 0;
    int rc = nng_stream_listener_alloc(&s->listener, url);

    if (rc == 0)
        rc = nng_stream_listener_set_bool(s->listener, NNG_OPT_TCP_NODELAY, true);
    if (rc == 0)
        rc = nng_stream_listener_set_bool(s->listener, NNG_OPT_TCP_KEEPALIVE, true);
    if (rc == 0)
        rc = nng_stream_listener_listen(s->listener);
    if (rc != 0) {
        enum err e = rpc_error_of_nng(rc);
        return err_detail_set(reterr_detail, e == ERR_UNAVAILABLE ? ERR_INVALID : e,
                              "can not listen on %s: %s", url, nng_strerror(rc));
    }
    const char *last_colon = strrchr(url, ':');
    assert(last_colon != NULL);
    if (strcmp(last_colon, ":0") != 0) {
        (void)snprintf(s->url, sizeof s->url, "%s", url);
        return ERR_OK;
    }
    rc = nng_stream_listener_get_int(s->listener, NNG_OPT_TCP_BOUND_PORT, &port);
    if (rc != 0)
        return err_detail_set(reterr_detail, rpc_error_of_nng(rc), "no port for %s: %s", url,
                              nng_strerror(rc));
    (void)snprintf(s->url, sizeof s->url, "%.*s:%d", (int)(last_colon - url), url, port);
    return ERR_OK;
}

static enum err rpc_server_make_reqs(struct rpc_server *s, unsigned contexts)
{
    s->reqs = calloc(contexts, sizeof *s->reqs);
    if (s->reqs == NULL)
        return ERR_NOMEM;
    for (; s->req_count < contexts; s->req_count++) {
        struct rpc_req *r = &s->reqs[s->req_count];
        enum err e = rpc_block_new(ERR_NOMEM, NULL, 0, &r->spare);
        if (e != ERR_OK)
            return e;
        r->spare->is_kept = true;
        r->server = s;
        r->next_free = s->free;
        s->free = r;
    }
    return ERR_OK;
}

static enum err rpc_server_open(struct rpc_server *s, const struct rpc_server_options *o,
                                struct err_detail *reterr_detail)
{
    enum err e = rpc_server_make_reqs(s, o->contexts);

    if (e == ERR_OK)
        e = rpc_server_listen(s, o->url, reterr_detail);
    if (e != ERR_OK)
        return e;
    int rc = nng_aio_alloc(&s->accept, rpc_server_on_accepted, s);
    if (rc == 0)
        rc = nng_aio_alloc(&s->tick, rpc_server_on_tick, s);
    return rpc_error_of_nng(rc);
}

enum err rpc_server_new(const struct rpc_server_options *o, struct rpc_server **ret,
                        struct err_detail *reterr_detail)
{
    assert(o->receive_bytes_max > 0);
    assert(o->contexts > 0);
    assert(o->handler != NULL);

    if (strlen(o->url) >= RPC_URL_BYTES_MAX - 8 || strncmp(o->url, "tcp://", 6) != 0 ||
        strchr(o->url + 6, ':') == NULL)
        return err_detail_set(reterr_detail, ERR_INVALID, "%.100s is not tcp://address:port",
                              o->url);
    struct rpc_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NOMEM;
    mutex_init(&s->lock);
    cond_init(&s->quiet);
    s->ref_count = 1;
    s->handler = o->handler;
    s->arg = o->arg;
    s->receive_bytes_max = o->receive_bytes_max;
    enum err e = rpc_server_open(s, o, reterr_detail);
    if (e != ERR_OK) {
        rpc_server_free(s);
        return e;
    }
    mutex_lock(&s->lock);
    nng_stream_listener_accept(s->listener, s->accept);
    nng_sleep_aio(rpc_times.tick_ms, s->tick);
    mutex_unlock(&s->lock);
    *ret = s;
    return ERR_OK;
}

const char *rpc_server_url(const struct rpc_server *s)
{
    return s->url;
}
