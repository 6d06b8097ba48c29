/*
 * tenant.h - one tenant's processors: routed OTLP bytes in, series and edges.
 *
 * Threads: owned by the intake thread.
 */
#ifndef VIVACE_GENERATOR_TENANT_H
#define VIVACE_GENERATOR_TENANT_H

#include "common/obs/metrics.h"
#include "generator/service_graph.h"
#include "generator/span_metrics.h"

struct tenant {
    struct tenant *next;
    char name[151];
    const struct config *config;
    struct limits limits; /* of the generator's: its own copy */
    struct arena arena;
    struct attributes attributes;
    struct span_metrics spans;
    struct service_graph graph;
    bool has_spans, has_graph;
    struct metric_cell *received, *received_spans, *bytes, *active_series, *edges, *expired,
        *dropped, *added, *removed, *limited;
    uint64_t told[6]; /* of the totals behind edges ... limited */
};

MUST_CHECK enum err tenant_new(const struct config *c, const struct limits *limits,
                               const char *name, struct budget *budget, struct tenant **ret);
void tenant_free(struct tenant *t);
/* Takes the spans of a checked OTLP request that came at received_ns; spans that end further from it than the slack are left out and counted.
 * Errors: ERR_NOMEM for spans that could not be counted; the others were. */
MUST_CHECK enum err tenant_take(struct tenant *t, struct slice otlp, int64_t received_ns);
void tenant_update_metrics(struct tenant *t);

#endif
