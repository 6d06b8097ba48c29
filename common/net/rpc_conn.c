#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/net/rpc_internal.h"

#include <assert.h>
#include <stdlib.h>

enum { RPC_IOV_MAX = 8 }; /* nng's own limit */

#define RPC_HELLO_NS (10 * NS_PER_S) /* from the connection to the peer's hello */
#define RPC_STALL_NS (30 * NS_PER_S) /* without a byte, in the middle of a message */

/* An address that is gone answers nothing, and the kernel would ask for two minutes, ever more rarely: a peer that is back would not be noticed. */
struct rpc_times rpc_times = {.clock = &clock_system, .tick_ms = 5000, .dial_ms = 5000};

int64_t rpc_now_ns(void)
{
    return clock_mono_ns(rpc_times.clock);
}

enum err rpc_error_of_nng(int nng_error)
{
    switch (nng_error) {
    case 0: return ERR_OK;
    case NNG_ENOMEM: return ERR_NOMEM;
    case NNG_EADDRINUSE: return ERR_CONFLICT;
    case NNG_EPERM: return ERR_FORBIDDEN;
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
    case NNG_ENOTSUP: return ERR_INVALID;
    case NNG_ENOFILES:
    case NNG_ENOSPC: return ERR_FULL;
    default: return ERR_UNAVAILABLE;
    }
}

/* --- blocks --- */

static struct rpc_block *rpc_block_alloc(size_t len)
{
    struct rpc_block *b = malloc(sizeof *b + len);

    if (b != NULL)
        *b = (struct rpc_block){.len = len};
    return b;
}

enum err rpc_block_new(uint16_t word, const struct slice *parts, unsigned part_count,
                       struct rpc_block **ret)
{
    size_t len = RPC_SP_HEAD_BYTES + RPC_HEADER_BYTES;

    for (unsigned i = 0; i < part_count; i++)
        len += parts[i].len;
    struct rpc_block *b = rpc_block_alloc(len);
    if (b == NULL)
        return ERR_NOMEM;
    be64_write(b->bytes, len - sizeof(uint64_t));
    rpc_frame_write(b->bytes + RPC_SP_HEAD_BYTES, word, parts, part_count);
    uint8_t *at = b->bytes + RPC_SP_HEAD_BYTES + RPC_HEADER_BYTES;
    for (unsigned i = 0; i < part_count; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    assert(at == b->bytes + len);
    *ret = b;
    return ERR_OK;
}

void rpc_block_set_id(struct rpc_block *b, uint32_t id)
{
    assert((id & RPC_ID_BIT) != 0);
    be32_write(b->bytes + sizeof(uint64_t), id);
}

void rpc_block_free(struct rpc_block *b)
{
    if (b != NULL && !b->is_kept)
        free(b);
}

/* --- the end --- */

/* No operation is left, so nothing of nng knows the connection.  Its aios are given to nng's reaper, because this is a callback of one of them. */
static void rpc_conn_free(struct rpc_conn *c)
{
    nng_aio_reap(c->receive);
    nng_aio_reap(c->send);
    nng_stream_free(c->stream);
    rpc_stream_release(&c->in);
    free(c);
}

/* Gives up the lock; the connection ends here if it is closed and this was its last operation. */
static void rpc_conn_leave(struct rpc_conn *c)
{
    const struct rpc_side *side = c->side;
    void *owner = c->owner;

    assert(mutex_is_mine(c->lock));
    bool is_end = c->is_closed && !c->is_receiving && !c->is_sending && !c->is_ended;
    if (is_end)
        c->is_ended = true;
    mutex_unlock(c->lock);
    if (!is_end)
        return;
    for (struct rpc_block *b = c->out, *next; b != NULL; b = next) {
        next = b->next;
        rpc_block_free(b);
    }
    side->ended(c);
    rpc_conn_free(c);
    side->freed(owner);
}

void rpc_conn_close(struct rpc_conn *c)
{
    assert(mutex_is_mine(c->lock));
    if (c->is_closed)
        return;
    c->is_closed = true;
    nng_stream_close(c->stream);
    if (!c->is_receiving && !c->is_sending)
        rpc_conn_kick(c);
}

void rpc_conn_kick(struct rpc_conn *c)
{
    assert(mutex_is_mine(c->lock));
    assert(!c->is_receiving);
    c->is_receiving = true;
    c->is_kicked = true;
    bool is_begun = nng_aio_begin(c->receive);
    assert(is_begun);
    (void)is_begun;
    nng_aio_finish(c->receive, 0);
}

static void rpc_conn_greeted(struct rpc_conn *c)
{
    if (c->is_ready || !c->in.is_greeted)
        return;
    c->is_ready = true;
    c->side->ready(c);
}

/* The hello may have come together with the message that has to wait. */
void rpc_conn_pause(struct rpc_conn *c)
{
    rpc_conn_greeted(c);
    c->is_receiving = false;
    c->is_in_message = false;
    rpc_conn_leave(c);
}

int64_t rpc_conn_stall_ns(const struct rpc_conn *c)
{
    int64_t at_ns = INT64_MAX;

    if (c->is_closed)
        return at_ns;
    if (!c->is_ready)
        at_ns = c->begun_ns + RPC_HELLO_NS;
    if (c->is_sending && c->sent_ns + RPC_STALL_NS < at_ns)
        at_ns = c->sent_ns + RPC_STALL_NS;
    if (c->is_in_message && c->received_ns + RPC_STALL_NS < at_ns)
        at_ns = c->received_ns + RPC_STALL_NS;
    return at_ns;
}

/* --- sending --- */

static void rpc_conn_send(struct rpc_conn *c)
{
    nng_iov iov[RPC_IOV_MAX];
    unsigned n = 0;
    size_t skip = c->out_written;

    assert(!c->is_closed);
    for (struct rpc_block *b = c->out; b != NULL && n < RPC_IOV_MAX; b = b->next) {
        iov[n++] = (nng_iov){b->bytes + skip, b->len - skip};
        skip = 0;
    }
    assert(n > 0);
    c->is_sending = true;
    c->sent_ns = rpc_now_ns();
    int rc = nng_aio_set_iov(c->send, n, iov);
    assert(rc == 0);
    (void)rc;
    nng_stream_send(c->stream, c->send);
}

void rpc_conn_append(struct rpc_conn *c, struct rpc_block *b)
{
    assert(mutex_is_mine(c->lock));
    b->next = NULL;
    if (c->out == NULL)
        c->out = b;
    else
        c->out_last->next = b;
    c->out_last = b;
}

void rpc_conn_flush(struct rpc_conn *c)
{
    assert(mutex_is_mine(c->lock));
    if (c->out != NULL && !c->is_sending && !c->is_closed)
        rpc_conn_send(c);
}

static void rpc_conn_advance(struct rpc_conn *c, size_t len)
{
    while (len > 0) {
        struct rpc_block *b = c->out;
        size_t rest = b->len - c->out_written;
        if (len < rest) {
            c->out_written += len;
            return;
        }
        len -= rest;
        c->out_written = 0;
        c->out = b->next;
        if (b->req == NULL)
            rpc_block_free(b);
        else
            c->side->written(c, b);
    }
}

static void rpc_conn_on_sent(void *arg)
{
    struct rpc_conn *c = arg;

    mutex_lock(c->lock);
    if (nng_aio_result(c->send) != 0)
        rpc_conn_close(c);
    else
        rpc_conn_advance(c, nng_aio_count(c->send));
    if (!c->is_closed && c->out == NULL)
        c->side->drained(c);
    c->is_sending = false;
    rpc_conn_flush(c);
    rpc_conn_leave(c);
}

/* --- receiving --- */

/* Every message that is there; ERR_NOT_FOUND: and the rest is to come; ERR_OK: the connection is paused, and no longer ours. */
static enum err rpc_conn_read(struct rpc_conn *c)
{
    struct rpc_message m;

    for (;;) {
        enum err e = rpc_stream_next(&c->in, &m);
        if (e != ERR_OK)
            return e;
        if (!c->side->message(c, &m))
            return ERR_OK;
    }
}

static void rpc_conn_on_received(void *arg)
{
    struct rpc_conn *c = arg;
    enum err e = ERR_UNAVAILABLE;

    if (nng_aio_result(c->receive) == 0) {
        if (!c->is_kicked)
            rpc_stream_filled(&c->in, nng_aio_count(c->receive));
        c->is_kicked = false;
        e = rpc_conn_read(c);
        if (e == ERR_OK)
            return;
    }
    mutex_lock(c->lock);
    if (e != ERR_NOT_FOUND)
        rpc_conn_close(c);
    if (c->is_closed) {
        c->is_receiving = false;
        rpc_conn_leave(c);
        return;
    }
    rpc_conn_greeted(c);
    c->received_ns = rpc_now_ns();
    c->is_in_message = !rpc_stream_is_idle(&c->in);
    nng_iov iov;
    iov.iov_buf = rpc_stream_room(&c->in, &iov.iov_len);
    (void)nng_aio_set_iov(c->receive, 1, &iov);
    nng_stream_recv(c->stream, c->receive);
    rpc_conn_leave(c);
}

/* --- the beginning --- */

enum err rpc_conn_new(const struct rpc_side *side, void *owner, struct mutex *lock,
                      nng_stream *stream, size_t receive_bytes_max, struct rpc_conn **ret)
{
    uint8_t hello[RPC_SP_HELLO_BYTES] = {
        0, 'S', 'P', 0, (uint8_t)(side->own >> 8), (uint8_t)side->own};
    struct rpc_conn *c = malloc(sizeof *c);
    struct rpc_block *b = rpc_block_alloc(sizeof hello);

    if (c == NULL || b == NULL)
        goto no_memory;
    memset(c, 0, offsetof(struct rpc_conn, in));
    memset(&c->is_receiving, 0, sizeof *c - offsetof(struct rpc_conn, is_receiving));
    c->side = side;
    c->owner = owner;
    c->lock = lock;
    c->stream = stream;
    c->begun_ns = rpc_now_ns();
    rpc_stream_init(&c->in, side->peer, receive_bytes_max);
    if (nng_aio_alloc(&c->receive, rpc_conn_on_received, c) != 0)
        goto no_memory;
    if (nng_aio_alloc(&c->send, rpc_conn_on_sent, c) != 0) {
        nng_aio_free(c->receive);
        goto no_memory;
    }
    memcpy(b->bytes, hello, sizeof hello);
    c->out = c->out_last = b;
    *ret = c;
    return ERR_OK;
no_memory:
    free(b);
    free(c);
    nng_stream_free(stream);
    return ERR_NOMEM;
}

/* The receive callback may run at once, on a thread of nng's, and waits for the lock. */
void rpc_conn_start(struct rpc_conn *c)
{
    rpc_conn_flush(c);
    rpc_conn_kick(c);
}
