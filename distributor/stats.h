/*
 * stats.h - the distributor's own metrics (Tempo's names, contract of its dashboards and alerts).
 * Threads: stats_init once, before anything else; the rest from any thread.
 */
#ifndef VIVACE_DISTRIBUTOR_STATS_H
#define VIVACE_DISTRIBUTOR_STATS_H

#include "common/obs/metrics.h"
#include "distributor/tenants.h"

enum stats_transport { STATS_GRPC, STATS_HTTP, STATS_TRANSPORTS };
enum stats_drop {
    STATS_DROP_BUFFER_FULL,
    STATS_DROP_REFUSED,
    STATS_DROP_SHUTDOWN,
    STATS_DROP_NO_MEMORY,
    STATS_DROPS
};

enum stats_doubt { STATS_DOUBT_ANSWERED, STATS_DOUBT_GIVEN_UP, STATS_DOUBT_DROPPED, STATS_DOUBTS };

struct stats {
    struct metric_cell *accepted[STATS_TRANSPORTS], *refused[STATS_TRANSPORTS];
    struct metric_cell *traces_per_batch, *push_duration;
    struct metric_cell *generator_buffer_bytes, *generator_dropped[STATS_DROPS];
    struct metric_cell *generator_doubts, *generator_doubts_ended[STATS_DOUBTS];
};
extern struct stats stats;

void stats_init(void);               /* twice is safe */
void stats_tenant(struct tenant *t); /* fills in its cells */
void stats_discarded(const char *reason, const char *tenant, uint64_t spans);
void stats_ingester_append(void *arg, const char *ingester, enum err err); /* a push_observe_fn */
void stats_generator_push(const char *generator, enum err err);

#endif
