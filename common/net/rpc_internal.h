/*
 * rpc_internal.h - what the two sides of rpc share: nng's errors and messages, and a gate that makes teardown safe.
 *
 * Gate:    nng does not call back an operation begun on a stopped aio, so no operation may begin once teardown starts.  rpc_gate_enter says
 *          whether one may begin; rpc_gate_close refuses all later ones and waits for those that are just being begun.
 * Threads: any.  Nothing of nng is called with the gate's lock held.
 */
#ifndef VIVACE_NET_RPC_INTERNAL_H
#define VIVACE_NET_RPC_INTERNAL_H

#include "common/net/rpc.h"
#include "common/sys/thread.h"

#include <nng/nng.h>
#include <pthread.h>

struct rpc_gate {
    struct mutex lock; /* the fields below, and what its owner says */
    pthread_cond_t quiet;
    unsigned entered;
    bool is_closed;
};

void rpc_gate_init(struct rpc_gate *g);
void rpc_gate_release(struct rpc_gate *g);
bool rpc_gate_enter(struct rpc_gate *g); /* false: closed; then no rpc_gate_leave */
void rpc_gate_leave(struct rpc_gate *g);
void rpc_gate_close(struct rpc_gate *g);
bool rpc_gate_is_closed(struct rpc_gate *g);

enum err rpc_error_of_nng(int nng_error);
/* A whole frame; the caller owns it.  Errors: ERR_NOMEM. */
MUST_CHECK enum err rpc_message_new(uint16_t word, const struct slice *parts, unsigned part_count,
                                    nng_msg **ret);
struct slice rpc_message_slice(nng_msg *m);

#endif
