/*
 * service_graph.h - edges between services: a client span and the server span below it, whichever comes first, within `wait`.
 *
 * Source:  Tempo's service-graphs processor as recorded: database edges are complete at once, a root server span without a pair makes an edge from its peer or
 *          "user", a client span with a peer attribute and no pair makes a virtual node; all else that waits in vain is counted as expired.
 * Memory:  at most max_items edges wait, each one allocation drawn from the budget.
 * Threads: owned by the intake thread.
 */
#ifndef VIVACE_GENERATOR_SERVICE_GRAPH_H
#define VIVACE_GENERATOR_SERVICE_GRAPH_H

#include "common/app/config.h"
#include "common/codec/otlp.h"
#include "generator/attributes.h"
#include "generator/labels.h"
#include "generator/series.h"

struct service_edge;

struct service_graph {
    struct series_set series;
    struct labels_plan plan;
    const struct config *config;
    const struct limits *limits;
    struct budget *budget;
    struct service_edge **table; /* by (trace id, span id) */
    uint32_t table_size, count;
    struct service_edge *oldest, *newest;
    unsigned service, peer_service, server_address, network_address, network_port;
    unsigned peers[16], peer_count, databases[16], database_count, dimensions[32], dimension_count;
    struct buf labels;
    uint64_t expired, dropped_spans, dropped_edges, edges;
};

MUST_CHECK enum err service_graph_init(struct service_graph *g, const struct config *c,
                                       const struct limits *l, struct attributes *wanted,
                                       struct arena *a, struct budget *budget);
void service_graph_release(struct service_graph *g);
/* Errors: ERR_FORMAT, ERR_NOMEM; a span over max_items is counted and no error. */
MUST_CHECK enum err service_graph_take(struct service_graph *g, const struct attributes *attributes,
                                       const struct otlp_span *span, int64_t now_ns);
/* Settles the edges that began to wait before now - wait. */
MUST_CHECK enum err service_graph_expire(struct service_graph *g, int64_t now_ns);

/* Waiting edges as bytes, for the checkpoint, and back. */
void service_graph_save(const struct service_graph *g, struct buf *out);
MUST_CHECK enum err service_graph_load(struct service_graph *g, struct slice bytes);

#endif
