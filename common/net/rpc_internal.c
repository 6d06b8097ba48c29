#include "common/net/rpc_internal.h"

#include <assert.h>
#include <string.h>

/* nng 1.x fails an operation on a stopped aio without running its callback.  Its own connections go on with the rest of a message in such
 * callbacks: when a pipe is closed between two pieces, the chain breaks, the pipe's end waits for ever for the message's, and with it nng's
 * only reaper: nothing of the process reconnects or closes from then on.  So the callback is run with the error, as nng 2 does.  The linker
 * puts this function in front of nng's (Makefile, NNG); nothing of ours begins an operation on an aio that may be stopped (see rpc_gate). */
int rpc_nng_begin(nng_aio *aio) __asm__("__wrap_nni_aio_begin");
int rpc_nng_begin_alone(nng_aio *aio) __asm__("__real_nni_aio_begin");
void rpc_nng_finish(nng_aio *aio, int error) __asm__("nni_aio_finish_error");

int rpc_nng_begin(nng_aio *aio)
{
    int rc = rpc_nng_begin_alone(aio);

    if (rc != 0)
        rpc_nng_finish(aio, rc);
    return rc;
}

void rpc_gate_init(struct rpc_gate *g)
{
    mutex_init(&g->lock);
    cond_init(&g->quiet);
    g->entered = 0;
    g->is_closed = false;
}

void rpc_gate_release(struct rpc_gate *g)
{
    assert(g->entered == 0);
    mutex_release(&g->lock);
    (void)pthread_cond_destroy(&g->quiet);
}

bool rpc_gate_enter(struct rpc_gate *g)
{
    mutex_lock(&g->lock);
    bool is_open = !g->is_closed;
    if (is_open)
        g->entered++;
    mutex_unlock(&g->lock);
    return is_open;
}

void rpc_gate_leave(struct rpc_gate *g)
{
    mutex_lock(&g->lock);
    assert(g->entered > 0);
    g->entered--;
    if (g->entered == 0 && g->is_closed)
        (void)pthread_cond_broadcast(&g->quiet);
    mutex_unlock(&g->lock);
}

void rpc_gate_close(struct rpc_gate *g)
{
    mutex_lock(&g->lock);
    g->is_closed = true;
    while (g->entered > 0)
        (void)cond_wait(&g->quiet, &g->lock, -1);
    mutex_unlock(&g->lock);
}

bool rpc_gate_is_closed(struct rpc_gate *g)
{
    mutex_lock(&g->lock);
    bool is_closed = g->is_closed;
    mutex_unlock(&g->lock);
    return is_closed;
}

enum err rpc_error_of_nng(int nng_error)
{
    switch (nng_error) {
    case 0: return ERR_OK;
    case NNG_ENOMEM: return ERR_NOMEM;
    case NNG_ETIMEDOUT: return ERR_TIMEOUT;
    case NNG_ECANCELED: return ERR_CANCELED;
    case NNG_EMSGSIZE: return ERR_TOO_LARGE;
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

enum err rpc_message_new(uint16_t word, const struct slice *parts, unsigned part_count,
                         nng_msg **ret)
{
    size_t len = RPC_HEADER_BYTES;

    for (unsigned i = 0; i < part_count; i++)
        len += parts[i].len;
    nng_msg *m;
    if (nng_msg_alloc(&m, len) != 0)
        return ERR_NOMEM;
    uint8_t *at = nng_msg_body(m);
    rpc_frame_write(at, word, parts, part_count);
    at += RPC_HEADER_BYTES;
    for (unsigned i = 0; i < part_count; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    assert(at == (uint8_t *)nng_msg_body(m) + len);
    *ret = m;
    return ERR_OK;
}

struct slice rpc_message_slice(nng_msg *m)
{
    return (struct slice){nng_msg_body(m), nng_msg_len(m)};
}
