/*
 * receive.h - one OTLP request from the socket to the answer: tenant, decompression, JSON, check, rate limit, split, push, reply, hand-over to
 *            the generators' lane.
 *
 * Threads: begins on the connection's loop; a large body is prepared on a worker; pushing and answering are on the loop again.
 * Memory:  an intake owns an arena and its buffers, all drawn from the ingest budget; they go when the answer is given.
 */
#ifndef VIVACE_DISTRIBUTOR_RECEIVE_H
#define VIVACE_DISTRIBUTOR_RECEIVE_H

#include "common/app/app.h"
#include "common/sys/queue.h"
#include "distributor/forward.h"
#include "distributor/peers.h"
#include "distributor/stats.h"

#include <stdatomic.h>

/* What all intakes share; set up by distributor.c, constant while they run, but `workers`. */
struct receive_shared {
    const struct config *config;
    struct overrides *overrides;
    const struct clock *clock;
    struct loop **loops;
    unsigned loop_count;
    struct budget *budget;
    struct peers ingesters, generators;
    struct forward *forward; /* NULL: no generators, or nothing for them to do */
    struct tenants *tenants;
    _Atomic(struct workers *) workers; /* NULL: everything on the loops */
};

/* Handlers of the two listeners; `arg` is a struct receive_shared. */
http_handler receive_grpc;
http_handler receive_http;

#endif
