#include "common/base/clock.h"
#include "common/net/rpc.h"
#include "common/net/rpc_internal.h"

#include <assert.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { RPC_REPLY_TIMEOUT_MS = 30000, RPC_TEXT_BYTES_MAX = 1024, RPC_URL_BYTES_MAX = 256 };

#define RPC_LINGER_NS (50 * NS_PER_MS)

enum rpc_req_state {
    RPC_REQ_IDLE,
    RPC_REQ_RECEIVING,
    RPC_REQ_HANDLED, /* the handler owns it */
    RPC_REQ_ANSWERING
};

/* One context of the socket with the request it works on. */
struct rpc_req {
    struct rpc_server *server; /* shared: counted in server->ref_count while handled */
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *message;
    enum rpc_req_state state; /* under the gate's lock */
    uint16_t method;
    struct slice payload;
};

struct rpc_server {
    struct rpc_gate gate; /* its lock also guards the states of reqs */
    nng_socket socket;
    bool has_socket;
    struct rpc_req **reqs;
    unsigned req_count;
    rpc_handler *handler;
    void *arg;
    atomic_uint ref_count;        /* the owner, and each handled request */
    atomic_llong linger_until_ns; /* by then the answers given to nng should be on the connection */
    char url[RPC_URL_BYTES_MAX];
};

static void rpc_server_unref(struct rpc_server *s)
{
    if (atomic_fetch_sub_explicit(&s->ref_count, 1, memory_order_acq_rel) != 1)
        return;
    rpc_gate_release(&s->gate);
    free(s);
}

static void rpc_req_set_state(struct rpc_req *r, enum rpc_req_state state)
{
    mutex_lock(&r->server->gate.lock);
    r->state = state;
    mutex_unlock(&r->server->gate.lock);
}

/* Waits for the next request, unless the server is being torn down. */
static void rpc_req_receive(struct rpc_req *r)
{
    struct rpc_server *s = r->server;

    assert(r->message == NULL);
    if (!rpc_gate_enter(&s->gate)) {
        rpc_req_set_state(r, RPC_REQ_IDLE);
        return;
    }
    rpc_req_set_state(r, RPC_REQ_RECEIVING);
    nng_aio_set_timeout(r->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(r->ctx, r->aio);
    rpc_gate_leave(&s->gate);
}

static void rpc_req_received(struct rpc_req *r)
{
    struct rpc_server *s = r->server;

    if (nng_aio_result(r->aio) != 0) {
        /* Closed, or the kernel is out of something: rpc_req_receive knows which. */
        if (nng_aio_result(r->aio) != NNG_ECLOSED && nng_aio_result(r->aio) != NNG_ECANCELED)
            rpc_req_receive(r);
        else
            rpc_req_set_state(r, RPC_REQ_IDLE);
        return;
    }
    r->message = nng_aio_get_msg(r->aio);
    nng_aio_set_msg(r->aio, NULL);
    enum err e = rpc_frame_read(rpc_message_slice(r->message), &r->method, &r->payload);
    atomic_fetch_add_explicit(&s->ref_count, 1, memory_order_relaxed);
    rpc_req_set_state(r, RPC_REQ_HANDLED);
    if (e != ERR_OK)
        rpc_reply(r, e, SLICE_LIT("damaged message or unknown version"));
    else
        s->handler(s->arg, r);
}

static void rpc_req_answered(struct rpc_req *r)
{
    if (nng_aio_result(r->aio) != 0) {
        /* nng took the message only if it sent it. */
        nng_msg *message = nng_aio_get_msg(r->aio);
        nng_aio_set_msg(r->aio, NULL);
        if (message != NULL)
            nng_msg_free(message);
    }
    rpc_req_receive(r);
}

static void rpc_req_on_aio(void *arg)
{
    struct rpc_req *r = arg;

    mutex_lock(&r->server->gate.lock);
    enum rpc_req_state state = r->state;
    mutex_unlock(&r->server->gate.lock);
    switch (state) {
    case RPC_REQ_RECEIVING: rpc_req_received(r); break;
    case RPC_REQ_ANSWERING: rpc_req_answered(r); break;
    case RPC_REQ_IDLE:
    case RPC_REQ_HANDLED: assert(!"an operation ended that was not begun"); break;
    }
}

static void rpc_req_free(struct rpc_req *r)
{
    if (r == NULL)
        return;
    if (r->aio != NULL)
        nng_aio_free(r->aio);
    if (r->message != NULL)
        nng_msg_free(r->message);
    free(r);
}

static enum err rpc_req_new(struct rpc_server *s, struct rpc_req **ret)
{
    struct rpc_req *r = calloc(1, sizeof *r);

    if (r == NULL)
        return ERR_NOMEM;
    r->server = s;
    int rc = nng_aio_alloc(&r->aio, rpc_req_on_aio, r);
    if (rc == 0)
        rc = nng_ctx_open(&r->ctx, s->socket);
    if (rc != 0) {
        rpc_req_free(r);
        return rpc_error_of_nng(rc);
    }
    *ret = r;
    return ERR_OK;
}

uint16_t rpc_req_method(const struct rpc_req *r)
{
    return r->method;
}

struct slice rpc_req_payload(const struct rpc_req *r)
{
    return r->payload;
}

/* The server went away while the request was handled: only the request itself is left. */
static void rpc_req_drop(struct rpc_req *r)
{
    struct rpc_server *s = r->server;

    assert(r->aio == NULL);
    rpc_req_free(r);
    rpc_server_unref(s);
}

/* Closing a socket throws away what nng has not yet written to the connection, and nothing tells when it has: answers get a moment, large
 * ones at 20 MB/s, none more than a second. */
static void rpc_server_note_answer(struct rpc_server *s, size_t bytes)
{
    int64_t linger_ns = RPC_LINGER_NS + (int64_t)(bytes / 20000) * NS_PER_MS;
    int64_t until_ns = clock_mono_ns(&clock_system) + (linger_ns < NS_PER_S ? linger_ns : NS_PER_S);
    long long before = atomic_load_explicit(&s->linger_until_ns, memory_order_relaxed);

    while (before < until_ns &&
           !atomic_compare_exchange_weak_explicit(&s->linger_until_ns, &before, until_ns,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void rpc_reply(struct rpc_req *r, enum err err, struct slice payload)
{
    struct rpc_server *s = r->server;
    nng_msg *answer = NULL;

    assert(r->state == RPC_REQ_HANDLED);
    assert((unsigned)err < ERR_COUNT);
    if (err != ERR_OK && payload.len > RPC_TEXT_BYTES_MAX)
        payload.len = RPC_TEXT_BYTES_MAX;
    if (rpc_message_new((uint16_t)err, &payload, 1, &answer) != ERR_OK)
        answer = NULL;
    if (!rpc_gate_enter(&s->gate)) {
        if (answer != NULL)
            nng_msg_free(answer);
        /* Whoever comes second of this and rpc_server_free frees the request. */
        mutex_lock(&s->gate.lock);
        bool is_orphan = r->aio == NULL;
        r->state = RPC_REQ_IDLE;
        mutex_unlock(&s->gate.lock);
        if (is_orphan)
            rpc_req_drop(r);
        else
            rpc_server_unref(s);
        return;
    }
    nng_msg_free(r->message);
    r->message = NULL;
    r->payload = SLICE_NONE;
    if (answer == NULL) {
        /* No memory to answer with: the caller sees a time-out, the context goes on. */
        rpc_gate_leave(&s->gate);
        rpc_req_receive(r);
    } else {
        rpc_req_set_state(r, RPC_REQ_ANSWERING);
        rpc_server_note_answer(s, payload.len);
        nng_aio_set_timeout(r->aio, RPC_REPLY_TIMEOUT_MS);
        nng_aio_set_msg(r->aio, answer);
        nng_ctx_send(r->ctx, r->aio);
        rpc_gate_leave(&s->gate);
    }
    rpc_server_unref(s);
}

static void rpc_server_linger(const struct rpc_server *s)
{
    int64_t rest_ns = atomic_load_explicit(&s->linger_until_ns, memory_order_relaxed) -
                      clock_mono_ns(&clock_system);
    struct timespec rest = {.tv_sec = rest_ns / NS_PER_S, .tv_nsec = rest_ns % NS_PER_S};

    if (rest_ns > 0)
        (void)nanosleep(&rest, NULL);
}

/* Stops every operation, then gives back what nng has; requests that are still handled stay until their reply. */
static void rpc_server_close(struct rpc_server *s)
{
    rpc_gate_close(&s->gate);
    rpc_server_linger(s);
    for (unsigned i = 0; i < s->req_count; i++)
        nng_aio_stop(s->reqs[i]->aio);
    for (unsigned i = 0; i < s->req_count; i++) {
        struct rpc_req *r = s->reqs[i];
        (void)nng_ctx_close(r->ctx);
        nng_aio_free(r->aio);
        mutex_lock(&s->gate.lock);
        r->aio = NULL;
        bool is_handled = r->state == RPC_REQ_HANDLED;
        mutex_unlock(&s->gate.lock);
        if (!is_handled)
            rpc_req_free(r);
    }
    free(s->reqs);
    s->reqs = NULL;
    if (s->has_socket)
        (void)nng_close(s->socket);
}

void rpc_server_free(struct rpc_server *s)
{
    if (s == NULL)
        return;
    rpc_server_close(s);
    rpc_server_unref(s);
}

static enum err rpc_server_listen(struct rpc_server *s, const struct rpc_server_options *o,
                                  struct err_detail *reterr_detail)
{
    nng_listener listener;
    int port = 0;
    int rc = nng_listen(s->socket, o->url, &listener, 0);

    if (rc != 0) {
        enum err e = rpc_error_of_nng(rc);
        return err_detail_set(reterr_detail, e == ERR_UNAVAILABLE ? ERR_INVALID : e,
                              "can not listen on %s: %s", o->url, nng_strerror(rc));
    }
    const char *last_colon = strrchr(o->url, ':');
    assert(last_colon != NULL);
    if (strcmp(last_colon, ":0") != 0) {
        (void)snprintf(s->url, sizeof s->url, "%s", o->url);
        return ERR_OK;
    }
    rc = nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port);
    if (rc != 0)
        return err_detail_set(reterr_detail, rpc_error_of_nng(rc), "no port for %s: %s", o->url,
                              nng_strerror(rc));
    (void)snprintf(s->url, sizeof s->url, "%.*s:%d", (int)(last_colon - o->url), o->url, port);
    return ERR_OK;
}

static enum err rpc_server_open(struct rpc_server *s, const struct rpc_server_options *o,
                                struct err_detail *reterr_detail)
{
    int rc = nng_rep0_open(&s->socket);

    if (rc != 0)
        return err_detail_set(reterr_detail, rpc_error_of_nng(rc), "can not open a socket: %s",
                              nng_strerror(rc));
    s->has_socket = true;
    rc = nng_socket_set_size(s->socket, NNG_OPT_RECVMAXSZ, o->receive_bytes_max);
    if (rc == 0)
        rc = nng_socket_set_bool(s->socket, NNG_OPT_TCP_KEEPALIVE, true);
    if (rc != 0)
        return err_detail_set(reterr_detail, rpc_error_of_nng(rc), "can not set up a socket: %s",
                              nng_strerror(rc));
    s->reqs = calloc(o->contexts, sizeof(struct rpc_req *));
    if (s->reqs == NULL)
        return ERR_NOMEM;
    for (; s->req_count < o->contexts; s->req_count++) {
        enum err e = rpc_req_new(s, &s->reqs[s->req_count]);
        if (e != ERR_OK)
            return e;
    }
    return rpc_server_listen(s, o, reterr_detail);
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
    rpc_gate_init(&s->gate);
    atomic_init(&s->ref_count, 1);
    atomic_init(&s->linger_until_ns, 0);
    s->handler = o->handler;
    s->arg = o->arg;
    enum err e = rpc_server_open(s, o, reterr_detail);
    if (e != ERR_OK) {
        rpc_server_free(s);
        return e;
    }
    for (unsigned i = 0; i < s->req_count; i++)
        rpc_req_receive(s->reqs[i]);
    *ret = s;
    return ERR_OK;
}

const char *rpc_server_url(const struct rpc_server *s)
{
    return s->url;
}
