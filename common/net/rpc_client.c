#include "common/base/clock.h"
#include "common/net/rpc.h"
#include "common/net/rpc_internal.h"

#include <assert.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    RPC_RECONNECT_MS_MIN = 100,
    RPC_RECONNECT_MS_MAX = 1000, /* a peer that is back is asked again at once */
    RPC_SEND_BYTES_MAX_DEFAULT = 64 << 20,
    RPC_TIMEOUT_MS_MAX = 3600 * 1000
};

/* One context of the socket with the call it carries. */
struct rpc_flight {
    struct rpc_client *client;
    struct rpc_flight *next_free;
    nng_ctx ctx;
    nng_aio *aio;
    bool is_sent; /* written before its operation begins, read in that operation's callback */
    int64_t deadline_ns;
    rpc_done *done;
    void *arg;
};

struct rpc_client {
    struct rpc_gate gate; /* its lock also guards flights, flight_count, free */
    nng_socket socket;
    struct rpc_flight **flights; /* made when needed, at most flight_max */
    unsigned flight_count, flight_max;
    struct rpc_flight *free;
    size_t send_bytes_max;
    atomic_int pipe_count;
};

static int64_t rpc_now_ns(void)
{
    return clock_mono_ns(&clock_system);
}

/* Rounded up; nng takes 0 as "do not wait", so at least 1. */
static nng_duration rpc_timeout_ms(int64_t ns)
{
    int64_t ms = ns <= 0 ? 1 : (ns - 1) / NS_PER_MS + 1;

    return (nng_duration)(ms > RPC_TIMEOUT_MS_MAX ? RPC_TIMEOUT_MS_MAX : ms);
}

/* The flight is free for the next call before `done` runs, so that a caller at its limit can call again from there. */
static void rpc_flight_end(struct rpc_flight *f, enum err err, struct slice payload)
{
    struct rpc_client *c = f->client;
    rpc_done *done = f->done;
    void *arg = f->arg;

    assert(done != NULL);
    f->done = NULL;
    mutex_lock(&c->gate.lock);
    f->next_free = c->free;
    c->free = f;
    mutex_unlock(&c->gate.lock);
    done(arg, err, payload);
}

static void rpc_flight_on_sent(struct rpc_flight *f)
{
    struct rpc_client *c = f->client;
    int rc = nng_aio_result(f->aio);

    if (rc != 0) {
        nng_msg *message = nng_aio_get_msg(f->aio);
        nng_aio_set_msg(f->aio, NULL);
        if (message != NULL)
            nng_msg_free(message);
        /* Not sent within its time: there was no connection. */
        rpc_flight_end(f, rc == NNG_ETIMEDOUT ? ERR_UNAVAILABLE : rpc_error_of_nng(rc), SLICE_NONE);
        return;
    }
    if (!rpc_gate_enter(&c->gate)) {
        rpc_flight_end(f, ERR_CANCELED, SLICE_NONE);
        return;
    }
    f->is_sent = true;
    nng_aio_set_timeout(f->aio, rpc_timeout_ms(f->deadline_ns - rpc_now_ns()));
    nng_ctx_recv(f->ctx, f->aio);
    rpc_gate_leave(&c->gate);
}

static void rpc_flight_on_received(struct rpc_flight *f)
{
    uint16_t word;
    struct slice payload;
    int rc = nng_aio_result(f->aio);

    if (rc != 0) {
        rpc_flight_end(f, rpc_error_of_nng(rc), SLICE_NONE);
        return;
    }
    nng_msg *message = nng_aio_get_msg(f->aio);
    nng_aio_set_msg(f->aio, NULL);
    enum err e = rpc_frame_read(rpc_message_slice(message), &word, &payload);
    if (e != ERR_OK)
        rpc_flight_end(f, e, SLICE_NONE);
    else
        rpc_flight_end(f, word < ERR_COUNT ? (enum err)word : ERR_INTERNAL, payload);
    nng_msg_free(message);
}

static void rpc_flight_on_aio(void *arg)
{
    struct rpc_flight *f = arg;

    if (f->is_sent)
        rpc_flight_on_received(f);
    else
        rpc_flight_on_sent(f);
}

static void rpc_flight_free(struct rpc_flight *f)
{
    nng_aio_free(f->aio);
    free(f);
}

static enum err rpc_flight_new(struct rpc_client *c, struct rpc_flight **ret)
{
    struct rpc_flight *f = calloc(1, sizeof *f);

    if (f == NULL)
        return ERR_NOMEM;
    f->client = c;
    int rc = nng_aio_alloc(&f->aio, rpc_flight_on_aio, f);
    if (rc != 0) {
        free(f);
        return rpc_error_of_nng(rc);
    }
    rc = nng_ctx_open(&f->ctx, c->socket);
    if (rc == 0)
        rc = nng_ctx_set_ms(f->ctx, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    if (rc != 0) {
        rpc_flight_free(f);
        return rpc_error_of_nng(rc);
    }
    *ret = f;
    return ERR_OK;
}

/* A free flight or a new one.  The caller is inside the gate, so the client is not torn down meanwhile. */
static enum err rpc_flight_get(struct rpc_client *c, struct rpc_flight **ret)
{
    struct rpc_flight *f;

    mutex_lock(&c->gate.lock);
    f = c->free;
    if (f != NULL)
        c->free = f->next_free;
    bool is_full = f == NULL && c->flight_count == c->flight_max;
    unsigned index = c->flight_count;
    if (f == NULL && !is_full)
        c->flight_count++;
    mutex_unlock(&c->gate.lock);
    if (is_full)
        return ERR_FULL;
    if (f == NULL) {
        /* A place that could not be filled stays empty: the client has one flight less. */
        enum err e = rpc_flight_new(c, &f);
        if (e != ERR_OK)
            return e;
        mutex_lock(&c->gate.lock);
        assert(c->flights[index] == NULL);
        c->flights[index] = f;
        mutex_unlock(&c->gate.lock);
    }
    f->next_free = NULL;
    *ret = f;
    return ERR_OK;
}

enum err rpc_call(struct rpc_client *c, uint16_t method, const struct slice *parts,
                  unsigned part_count, int64_t timeout_ns, rpc_done *done, void *arg)
{
    assert(done != NULL);
    assert(timeout_ns > 0);
    struct rpc_flight *f;
    nng_msg *message;
    size_t bytes = RPC_HEADER_BYTES;

    for (unsigned i = 0; i < part_count; i++) {
        if (parts[i].len > c->send_bytes_max || bytes > c->send_bytes_max - parts[i].len)
            return ERR_TOO_LARGE;
        bytes += parts[i].len;
    }
    if (!rpc_gate_enter(&c->gate))
        return ERR_UNAVAILABLE;
    enum err e = rpc_flight_get(c, &f);
    if (e != ERR_OK)
        goto out;
    e = rpc_message_new(method, parts, part_count, &message);
    if (e != ERR_OK) {
        mutex_lock(&c->gate.lock);
        f->next_free = c->free;
        c->free = f;
        mutex_unlock(&c->gate.lock);
        goto out;
    }
    f->done = done;
    f->arg = arg;
    f->is_sent = false;
    f->deadline_ns = rpc_now_ns() + timeout_ns;
    nng_aio_set_timeout(f->aio, rpc_timeout_ms(timeout_ns));
    nng_aio_set_msg(f->aio, message);
    nng_ctx_send(f->ctx, f->aio);
out:
    rpc_gate_leave(&c->gate);
    return e;
}

struct rpc_waiter {
    struct mutex lock; /* the fields below */
    pthread_cond_t ended;
    bool is_ended;
    enum err err;
    struct buf *ret;
};

static void rpc_waiter_done(void *arg, enum err err, struct slice payload)
{
    struct rpc_waiter *w = arg;

    mutex_lock(&w->lock);
    w->err = err;
    buf_append(w->ret, payload);
    if (err == ERR_OK)
        w->err = buf_err(w->ret);
    w->is_ended = true;
    (void)pthread_cond_signal(&w->ended);
    mutex_unlock(&w->lock);
}

enum err rpc_call_wait(struct rpc_client *c, uint16_t method, struct slice payload,
                       int64_t timeout_ns, struct buf *ret)
{
    struct rpc_waiter w = {.ret = ret};

    assert(ret != NULL);
    mutex_init(&w.lock);
    cond_init(&w.ended);
    enum err e = rpc_call(c, method, &payload, 1, timeout_ns, rpc_waiter_done, &w);
    if (e == ERR_OK) {
        mutex_lock(&w.lock);
        while (!w.is_ended)
            (void)cond_wait(&w.ended, &w.lock, -1);
        e = w.err;
        mutex_unlock(&w.lock);
    }
    mutex_release(&w.lock);
    (void)pthread_cond_destroy(&w.ended);
    return e;
}

static void rpc_client_on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct rpc_client *c = arg;

    (void)pipe;
    if (event == NNG_PIPE_EV_ADD_POST)
        atomic_fetch_add_explicit(&c->pipe_count, 1, memory_order_relaxed);
    else if (event == NNG_PIPE_EV_REM_POST)
        atomic_fetch_sub_explicit(&c->pipe_count, 1, memory_order_relaxed);
}

bool rpc_client_is_connected(const struct rpc_client *c)
{
    return atomic_load_explicit(&c->pipe_count, memory_order_relaxed) > 0;
}

static int rpc_client_set_up(struct rpc_client *c, const struct rpc_client_options *o)
{
    int rc = nng_socket_set_size(c->socket, NNG_OPT_RECVMAXSZ, o->receive_bytes_max);

    if (rc == 0)
        rc = nng_socket_set_ms(c->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    if (rc == 0)
        rc = nng_socket_set_ms(c->socket, NNG_OPT_RECONNMINT, RPC_RECONNECT_MS_MIN);
    if (rc == 0)
        rc = nng_socket_set_ms(c->socket, NNG_OPT_RECONNMAXT, RPC_RECONNECT_MS_MAX);
    if (rc == 0)
        rc = nng_socket_set_bool(c->socket, NNG_OPT_TCP_KEEPALIVE, true);
    if (rc == 0)
        rc = nng_pipe_notify(c->socket, NNG_PIPE_EV_ADD_POST, rpc_client_on_pipe, c);
    if (rc == 0)
        rc = nng_pipe_notify(c->socket, NNG_PIPE_EV_REM_POST, rpc_client_on_pipe, c);
    if (rc == 0)
        rc = nng_dial(c->socket, o->url, NULL, NNG_FLAG_NONBLOCK);
    return rc;
}

enum err rpc_client_new(const struct rpc_client_options *o, struct rpc_client **ret)
{
    assert(o->receive_bytes_max > 0);
    assert(o->contexts > 0);
    struct rpc_client *c = calloc(1, sizeof *c);

    if (c == NULL)
        return ERR_NOMEM;
    c->flights = calloc(o->contexts, sizeof(struct rpc_flight *));
    if (c->flights == NULL) {
        free(c);
        return ERR_NOMEM;
    }
    c->flight_max = o->contexts;
    c->send_bytes_max = o->send_bytes_max > 0 ? o->send_bytes_max : RPC_SEND_BYTES_MAX_DEFAULT;
    int rc = nng_req0_open(&c->socket);
    if (rc != 0) {
        free(c->flights);
        free(c);
        return rpc_error_of_nng(rc);
    }
    rpc_gate_init(&c->gate);
    rc = rpc_client_set_up(c, o);
    if (rc != 0) {
        rpc_client_free(c);
        return rpc_error_of_nng(rc);
    }
    *ret = c;
    return ERR_OK;
}

void rpc_client_free(struct rpc_client *c)
{
    if (c == NULL)
        return;
    rpc_gate_close(&c->gate);
    /* No operation begins any more; stopping ends those under way with their callbacks, and waits for these. */
    for (unsigned i = 0; i < c->flight_count; i++) {
        if (c->flights[i] != NULL)
            nng_aio_stop(c->flights[i]->aio);
    }
    for (unsigned i = 0; i < c->flight_count; i++) {
        if (c->flights[i] == NULL)
            continue;
        (void)nng_ctx_close(c->flights[i]->ctx);
        rpc_flight_free(c->flights[i]);
    }
    (void)nng_close(c->socket);
    rpc_gate_release(&c->gate);
    free(c->flights);
    free(c);
}
