#include "common/base/clock.h"
#include "common/net/rpc.h"
#include "common/net/rpc_internal.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    RPC_RECONNECT_MS_MIN = 100,
    RPC_RECONNECT_MS_MAX = 1000, /* a peer that is back is asked again at once */
    RPC_SEND_BYTES_MAX_DEFAULT = 64 << 20,
    RPC_BATCH_MAX =
        8 /* calls given to the connection at a time; the others can still be taken back */
};

enum rpc_flight_state {
    RPC_FLIGHT_FREE,
    RPC_FLIGHT_BUILDING, /* rpc_call makes its message */
    RPC_FLIGHT_QUEUED,   /* not sent: the peer can not have acted */
    RPC_FLIGHT_SENT,     /* some of it perhaps only */
    RPC_FLIGHT_ENDING    /* whoever made it so calls `done` */
};

/* One call. */
struct rpc_flight {
    struct rpc_flight *next; /* of the free ones, of the queue, or of those that end together */
    enum rpc_flight_state state;
    uint32_t index, id;
    struct rpc_block *block; /* while it is queued */
    int64_t deadline_ns;
    rpc_done *done;
    void *arg;
    enum err err; /* while it ends */
};

struct rpc_client {
    struct mutex lock; /* all but the limits and `connected` */
    pthread_cond_t quiet;
    nng_stream_dialer *dialer;
    nng_aio *dial, *timer;
    bool is_closing, is_resting; /* resting: the dial aio sleeps before the next attempt */
    bool is_timer_set;
    int64_t timer_ns; /* when it is set: the earliest deadline, or before */
    int reconnect_ms;
    struct rpc_conn *conn;
    atomic_bool is_connected;
    unsigned conn_count, building_count; /* connections not yet freed; calls being made */
    struct rpc_flight **flights;         /* made when needed, at most flight_max */
    unsigned flight_count, flight_max, index_bits;
    uint32_t serial; /* the upper bits of ids */
    struct rpc_flight *free, *queue, **queue_end;
    size_t send_bytes_max, receive_bytes_max;
};

/* --- calls end --- */

/* The flight is free for the next call before `done` runs, so that a caller at its limit can call again from there. */
static void rpc_flight_end(struct rpc_client *c, struct rpc_flight *f, enum err err,
                           struct slice payload)
{
    rpc_done *done = f->done;
    void *arg = f->arg;

    assert(f->state == RPC_FLIGHT_ENDING);
    mutex_lock(&c->lock);
    f->state = RPC_FLIGHT_FREE;
    f->next = c->free;
    c->free = f;
    mutex_unlock(&c->lock);
    done(arg, err, payload);
}

static void rpc_flights_end(struct rpc_client *c, struct rpc_flight *list)
{
    for (struct rpc_flight *f = list, *next; f != NULL; f = next) {
        next = f->next;
        rpc_flight_end(c, f, f->err, SLICE_NONE);
    }
}

static void rpc_flight_collect(struct rpc_flight *f, enum err err, struct rpc_flight **list)
{
    f->state = RPC_FLIGHT_ENDING;
    f->err = err;
    f->next = *list;
    *list = f;
}

/* Takes the calls out of the queue whose deadline is at or before now_ns. */
static void rpc_queue_collect(struct rpc_client *c, int64_t now_ns, enum err err,
                              struct rpc_flight **list)
{
    struct rpc_flight *f = c->queue;

    c->queue = NULL;
    c->queue_end = &c->queue;
    for (struct rpc_flight *next; f != NULL; f = next) {
        next = f->next;
        if (f->deadline_ns <= now_ns) {
            rpc_block_free(f->block);
            f->block = NULL;
            rpc_flight_collect(f, err, list);
        } else {
            f->next = NULL;
            *c->queue_end = f;
            c->queue_end = &f->next;
        }
    }
}

static void rpc_sent_collect(struct rpc_client *c, int64_t now_ns, enum err err,
                             struct rpc_flight **list)
{
    for (unsigned i = 0; i < c->flight_count; i++) {
        struct rpc_flight *f = c->flights[i];
        if (f->state == RPC_FLIGHT_SENT && f->deadline_ns <= now_ns)
            rpc_flight_collect(f, err, list);
    }
}

/* --- time --- */

static nng_duration rpc_ms_until(int64_t at_ns, int64_t now_ns)
{
    int64_t ms = at_ns <= now_ns ? 0 : (at_ns - now_ns - 1) / NS_PER_MS + 1;

    return (nng_duration)(ms > rpc_times.tick_ms ? rpc_times.tick_ms : ms);
}

/* Most calls of a lane have the same time-out, so the first deadline stays the earliest, and the timer runs once in many calls. */
static void rpc_timer_set(struct rpc_client *c, int64_t at_ns)
{
    assert(mutex_is_mine(&c->lock));
    if (at_ns == INT64_MAX || c->is_closing || (c->is_timer_set && c->timer_ns <= at_ns))
        return;
    c->timer_ns = at_ns;
    if (c->is_timer_set) {
        nng_aio_abort(c->timer, NNG_ECANCELED); /* its callback sets it again */
        return;
    }
    c->is_timer_set = true;
    nng_sleep_aio(rpc_ms_until(at_ns, rpc_now_ns()), c->timer);
}

static void rpc_client_on_timer(void *arg)
{
    struct rpc_client *c = arg;
    struct rpc_flight *ended = NULL;
    int64_t now_ns = rpc_now_ns(), next_ns = INT64_MAX;

    mutex_lock(&c->lock);
    c->is_timer_set = false;
    rpc_queue_collect(c, now_ns, ERR_UNAVAILABLE, &ended); /* there was no connection for it */
    rpc_sent_collect(c, now_ns, ERR_TIMEOUT, &ended);
    if (c->conn != NULL && rpc_conn_stall_ns(c->conn) <= now_ns)
        rpc_conn_close(c->conn);
    if (c->conn != NULL)
        next_ns = rpc_conn_stall_ns(c->conn);
    for (unsigned i = 0; i < c->flight_count; i++) {
        struct rpc_flight *f = c->flights[i];
        if ((f->state == RPC_FLIGHT_QUEUED || f->state == RPC_FLIGHT_SENT) &&
            f->deadline_ns < next_ns)
            next_ns = f->deadline_ns;
    }
    rpc_timer_set(c, next_ns);
    mutex_unlock(&c->lock);
    rpc_flights_end(c, ended);
}

/* --- the connection --- */

/* Gives queued calls to the connection when it has written what it had. */
static void rpc_client_pump(struct rpc_conn *conn)
{
    struct rpc_client *c = conn->owner;

    if (!conn->is_ready || conn->is_closed || conn->out != NULL)
        return;
    for (unsigned i = 0; i < RPC_BATCH_MAX && c->queue != NULL; i++) {
        struct rpc_flight *f = c->queue;
        c->queue = f->next;
        if (c->queue == NULL)
            c->queue_end = &c->queue;
        f->state = RPC_FLIGHT_SENT;
        rpc_conn_append(conn, f->block);
        f->block = NULL;
    }
    rpc_conn_flush(conn);
}

static void rpc_client_ready(struct rpc_conn *conn)
{
    struct rpc_client *c = conn->owner;

    c->reconnect_ms = RPC_RECONNECT_MS_MIN;
    atomic_store_explicit(&c->is_connected, true, memory_order_relaxed);
    rpc_client_pump(conn);
}

static bool rpc_client_message(struct rpc_conn *conn, const struct rpc_message *m)
{
    struct rpc_client *c = conn->owner;
    uint32_t index = m->id & ((1u << c->index_bits) - 1);
    uint16_t word;
    struct slice payload = SLICE_NONE;

    mutex_lock(&c->lock);
    struct rpc_flight *f = index < c->flight_count ? c->flights[index] : NULL;
    if (f == NULL || f->state != RPC_FLIGHT_SENT || f->id != m->id)
        f = NULL; /* too late: nobody waits any more */
    else
        f->state = RPC_FLIGHT_ENDING;
    mutex_unlock(&c->lock);
    if (f != NULL) {
        enum err e = rpc_frame_read(m->bytes, &word, &payload);
        if (e == ERR_OK)
            e = word < ERR_COUNT ? (enum err)word : ERR_INTERNAL;
        rpc_flight_end(c, f, e, payload);
    }
    rpc_stream_consume(&conn->in);
    return true;
}

static void rpc_client_rest(struct rpc_client *c)
{
    assert(mutex_is_mine(&c->lock));
    if (c->is_closing)
        return;
    c->is_resting = true;
    nng_sleep_aio(c->reconnect_ms, c->dial);
    c->reconnect_ms =
        c->reconnect_ms * 2 < RPC_RECONNECT_MS_MAX ? c->reconnect_ms * 2 : RPC_RECONNECT_MS_MAX;
}

static void rpc_client_ended(struct rpc_conn *conn)
{
    struct rpc_client *c = conn->owner;
    struct rpc_flight *ended = NULL;

    mutex_lock(&c->lock);
    assert(c->conn == conn);
    c->conn = NULL;
    atomic_store_explicit(&c->is_connected, false, memory_order_relaxed);
    rpc_sent_collect(c, INT64_MAX, c->is_closing ? ERR_CANCELED : ERR_UNAVAILABLE, &ended);
    rpc_client_rest(c);
    mutex_unlock(&c->lock);
    rpc_flights_end(c, ended);
}

static void rpc_client_freed(void *owner)
{
    struct rpc_client *c = owner;

    mutex_lock(&c->lock);
    c->conn_count--;
    (void)pthread_cond_broadcast(&c->quiet);
    mutex_unlock(&c->lock);
}

/* The queue owns no block that is written: those of calls are the connection's own. */
static void rpc_client_written(struct rpc_conn *conn, struct rpc_block *b)
{
    (void)conn;
    rpc_block_free(b);
}

static const struct rpc_side rpc_client_side = {.own = RPC_SP_REQ,
                                                .peer = RPC_SP_REP,
                                                .ready = rpc_client_ready,
                                                .message = rpc_client_message,
                                                .written = rpc_client_written,
                                                .drained = rpc_client_pump,
                                                .ended = rpc_client_ended,
                                                .freed = rpc_client_freed};

static void rpc_client_connect(struct rpc_client *c, nng_stream *stream)
{
    enum err e =
        rpc_conn_new(&rpc_client_side, c, &c->lock, stream, c->receive_bytes_max, &c->conn);

    if (e != ERR_OK) {
        c->conn = NULL;
        rpc_client_rest(c);
        return;
    }
    c->conn_count++;
    rpc_conn_start(c->conn);
    rpc_timer_set(c, rpc_conn_stall_ns(c->conn));
}

static void rpc_client_on_dialed(void *arg)
{
    struct rpc_client *c = arg;
    bool is_good = nng_aio_result(c->dial) == 0;

    mutex_lock(&c->lock);
    nng_stream *stream = is_good && !c->is_resting ? nng_aio_get_output(c->dial, 0) : NULL;
    if (c->is_closing) {
        if (stream != NULL)
            nng_stream_free(stream);
    } else if (c->is_resting) {
        c->is_resting = false;
        nng_stream_dialer_dial(c->dialer, c->dial);
    } else if (stream != NULL) {
        rpc_client_connect(c, stream);
    } else {
        rpc_client_rest(c);
    }
    mutex_unlock(&c->lock);
}

bool rpc_client_is_connected(const struct rpc_client *c)
{
    return atomic_load_explicit(&c->is_connected, memory_order_relaxed);
}

/* --- calls begin --- */

/* Takes a free flight or makes one; its place is `building` until the message is made. */
static enum err rpc_flight_get(struct rpc_client *c, struct rpc_flight **ret)
{
    struct rpc_flight *f = c->free;

    assert(mutex_is_mine(&c->lock));
    if (c->is_closing)
        return ERR_UNAVAILABLE;
    if (f != NULL) {
        c->free = f->next;
    } else {
        if (c->flight_count == c->flight_max)
            return ERR_FULL;
        f = calloc(1, sizeof *f);
        if (f == NULL)
            return ERR_NOMEM;
        f->index = c->flight_count;
        c->flights[c->flight_count++] = f;
    }
    f->next = NULL;
    f->state = RPC_FLIGHT_BUILDING;
    f->id = RPC_ID_BIT | c->serial++ << c->index_bits | f->index;
    c->building_count++;
    *ret = f;
    return ERR_OK;
}

/* The message is made, or could not be. */
static enum err rpc_flight_launch(struct rpc_client *c, struct rpc_flight *f, enum err err)
{
    assert(mutex_is_mine(&c->lock));
    c->building_count--;
    if (c->is_closing) {
        (void)pthread_cond_broadcast(&c->quiet);
        err = err == ERR_OK ? ERR_UNAVAILABLE : err;
    }
    if (err != ERR_OK) {
        rpc_block_free(f->block);
        f->block = NULL;
        f->state = RPC_FLIGHT_FREE;
        f->next = c->free;
        c->free = f;
        return err;
    }
    f->state = RPC_FLIGHT_QUEUED;
    *c->queue_end = f;
    c->queue_end = &f->next;
    rpc_timer_set(c, f->deadline_ns);
    if (c->conn != NULL)
        rpc_client_pump(c->conn);
    return ERR_OK;
}

enum err rpc_call(struct rpc_client *c, uint16_t method, const struct slice *parts,
                  unsigned part_count, int64_t timeout_ns, rpc_done *done, void *arg)
{
    assert(done != NULL);
    assert(timeout_ns > 0);
    struct rpc_flight *f;
    size_t bytes = RPC_HEADER_BYTES;
    int64_t now_ns = rpc_now_ns();

    for (unsigned i = 0; i < part_count; i++) {
        if (parts[i].len > c->send_bytes_max || bytes > c->send_bytes_max - parts[i].len)
            return ERR_TOO_LARGE;
        bytes += parts[i].len;
    }
    mutex_lock(&c->lock);
    enum err e = rpc_flight_get(c, &f);
    mutex_unlock(&c->lock);
    if (e != ERR_OK)
        return e;
    f->done = done;
    f->arg = arg;
    f->deadline_ns = timeout_ns < INT64_MAX - now_ns ? now_ns + timeout_ns : INT64_MAX - 1;
    e = rpc_block_new(method, parts, part_count, &f->block);
    if (e == ERR_OK)
        rpc_block_set_id(f->block, f->id);
    mutex_lock(&c->lock);
    e = rpc_flight_launch(c, f, e);
    mutex_unlock(&c->lock);
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

/* --- life --- */

static int rpc_client_set_up(struct rpc_client *c, const char *url)
{
    int rc = nng_stream_dialer_alloc(&c->dialer, url);

    if (rc == 0)
        rc = nng_stream_dialer_set_bool(c->dialer, NNG_OPT_TCP_NODELAY, true);
    if (rc == 0)
        rc = nng_stream_dialer_set_bool(c->dialer, NNG_OPT_TCP_KEEPALIVE, true);
    if (rc == 0)
        rc = nng_aio_alloc(&c->dial, rpc_client_on_dialed, c);
    if (rc == 0)
        rc = nng_aio_alloc(&c->timer, rpc_client_on_timer, c);
    if (rc != 0)
        return rc;
    nng_aio_set_timeout(c->dial, rpc_times.dial_ms);
    mutex_lock(&c->lock);
    nng_stream_dialer_dial(c->dialer, c->dial);
    mutex_unlock(&c->lock);
    return 0;
}

enum err rpc_client_new(const struct rpc_client_options *o, struct rpc_client **ret)
{
    assert(o->receive_bytes_max > 0);
    assert(o->contexts > 0 && o->contexts <= 1u << 20);
    struct rpc_client *c = calloc(1, sizeof *c);

    if (c == NULL)
        return ERR_NOMEM;
    c->flights = calloc(o->contexts, sizeof(struct rpc_flight *));
    if (c->flights == NULL) {
        free(c);
        return ERR_NOMEM;
    }
    c->flight_max = o->contexts;
    while (1u << c->index_bits < c->flight_max)
        c->index_bits++;
    c->queue_end = &c->queue;
    c->send_bytes_max = o->send_bytes_max > 0 ? o->send_bytes_max : RPC_SEND_BYTES_MAX_DEFAULT;
    c->receive_bytes_max = o->receive_bytes_max;
    c->reconnect_ms = RPC_RECONNECT_MS_MIN;
    mutex_init(&c->lock);
    cond_init(&c->quiet);
    int rc = rpc_client_set_up(c, o->url);
    if (rc != 0) {
        rpc_client_free(c);
        return rpc_error_of_nng(rc);
    }
    *ret = c;
    return ERR_OK;
}

/* After this no operation begins any more and none is under way. */
static void rpc_client_stop(struct rpc_client *c)
{
    mutex_lock(&c->lock);
    c->is_closing = true;
    if (c->conn != NULL)
        rpc_conn_close(c->conn);
    while (c->conn_count > 0 || c->building_count > 0)
        (void)cond_wait(&c->quiet, &c->lock, -1);
    mutex_unlock(&c->lock);
    if (c->dial != NULL)
        nng_aio_stop(c->dial);
    if (c->timer != NULL)
        nng_aio_stop(c->timer);
}

void rpc_client_free(struct rpc_client *c)
{
    struct rpc_flight *ended = NULL;

    if (c == NULL)
        return;
    rpc_client_stop(c);
    mutex_lock(&c->lock);
    rpc_queue_collect(c, INT64_MAX, ERR_CANCELED, &ended);
    mutex_unlock(&c->lock);
    rpc_flights_end(c, ended);
    nng_aio_free(c->dial);
    nng_aio_free(c->timer);
    if (c->dialer != NULL) {
        nng_stream_dialer_close(c->dialer);
        nng_stream_dialer_free(c->dialer);
    }
    for (unsigned i = 0; i < c->flight_count; i++) {
        assert(c->flights[i]->state == RPC_FLIGHT_FREE);
        free(c->flights[i]);
    }
    mutex_release(&c->lock);
    (void)pthread_cond_destroy(&c->quiet);
    free(c->flights);
    free(c);
}
