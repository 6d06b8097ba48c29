/*
 * peers.h - what the distributor needs of the ingesters or the generators: who owns a trace, a call to one of them, and its name.
 *
 * Shape:   a table of functions, so that the rules of pushing run against real members and against a test's own.
 * Threads: all functions from any thread; `done` runs on a thread of the caller's library and must only take notes and post.
 */
#ifndef VIVACE_DISTRIBUTOR_PEERS_H
#define VIVACE_DISTRIBUTOR_PEERS_H

#include "common/base/trace_id.h"
#include "common/net/rpc.h"
#include "common/ring/members.h"

#include <stdatomic.h>

struct peers {
    void *arg;
    /* Best first; at most `max`.  Returns how many. */
    unsigned (*place)(void *arg, struct slice tenant, struct trace_id id, unsigned *ret_indexes,
                      unsigned max);
    /* `done` is called exactly once if this returns ERR_OK; else nothing was sent. */
    enum err (*call)(void *arg, unsigned index, uint16_t method, const struct slice *parts,
                     unsigned part_count, int64_t timeout_ns, rpc_done *done, void *done_arg);
    void (*name)(void *arg, unsigned index, char ret_id[MEMBER_ID_BYTES_MAX + 1]);
    /* Is a call to this one worth a try, and is it still the one that was called `id` (given back by `name`)? */
    bool (*is_up)(void *arg, unsigned index, const char *id);
    void (*report)(void *arg, unsigned index, enum err err); /* this member failed a call */
};

/* Over the push lanes of real members.  Closed until they are there.  Once closed again nobody is placed or called any more, and the members may be freed after every loop and worker
 * has come to its end of what it was doing: answers that come in later find it closed. */
struct peers_members {
    struct members *members;
    atomic_bool is_closed;
};
struct peers peers_of_members(struct peers_members *m);

#endif
