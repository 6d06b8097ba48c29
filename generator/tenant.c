#include "generator/tenant.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static bool has_processor(const struct limits *l, const char *name)
{
    for (unsigned i = 0; i < l->processors.count; i++)
        if (strcmp(l->processors.items[i], name) == 0)
            return true;
    return false;
}

static void metrics_open(struct tenant *t)
{
    t->received = metric_cell1(metrics_counter("tempo_metrics_generator_spans_received_total",
                                               "tenant", "Spans received by the generator."),
                               t->name);
    t->received_spans = metric_cell1(metrics_counter("tempo_metrics_generator_spans_total",
                                                     "tenant", "Spans received by the generator."),
                                     t->name);
    t->bytes = metric_cell1(metrics_counter("tempo_metrics_generator_bytes_received_total",
                                            "tenant", "Bytes of spans received."),
                            t->name);
    t->active_series = metric_cell1(
        metrics_gauge("tempo_metrics_generator_registry_active_series", "tenant", "Active series."),
        t->name);
    t->edges =
        metric_cell1(metrics_counter("tempo_metrics_generator_processor_service_graphs_edges",
                                     "tenant", "Edges completed."),
                     t->name);
    t->expired = metric_cell1(
        metrics_counter("tempo_metrics_generator_processor_service_graphs_expired_edges", "tenant",
                        "Edges that waited in vain."),
        t->name);
    t->dropped = metric_cell1(
        metrics_counter("tempo_metrics_generator_processor_service_graphs_dropped_spans", "tenant",
                        "Spans for which no edge could wait."),
        t->name);
    t->added = metric_cell1(metrics_counter("tempo_metrics_generator_registry_series_added_total",
                                            "tenant", "Label sets added."),
                            t->name);
    t->removed =
        metric_cell1(metrics_counter("tempo_metrics_generator_registry_series_removed_total",
                                     "tenant", "Label sets removed as stale."),
                     t->name);
    t->limited =
        metric_cell1(metrics_counter("tempo_metrics_generator_registry_series_limited_total",
                                     "tenant", "Updates that went to the overflow series."),
                     t->name);
}

enum err tenant_new(const struct config *c, const struct limits *limits, const char *name,
                    struct budget *budget, struct tenant **ret)
{
    struct tenant *t = calloc(1, sizeof *t);
    enum err e = ERR_OK;

    if (t == NULL)
        return ERR_NOMEM;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->config = c;
    arena_init(&t->arena, NULL);
    config_limits_copy(limits, &t->arena, &t->limits);
    attributes_init(&t->attributes);
    metrics_open(t);
    if (arena_err(&t->arena) != ERR_OK) {
        tenant_free(t);
        return ERR_NOMEM;
    }
    bool all = has_processor(&t->limits, "span-metrics");
    t->spans.has_calls = all || has_processor(&t->limits, "span-metrics-count");
    t->spans.has_latency = all || has_processor(&t->limits, "span-metrics-latency");
    t->spans.has_size = all || has_processor(&t->limits, "span-metrics-size");
    bool wants_spans = t->spans.has_calls || t->spans.has_latency || t->spans.has_size;
    if (wants_spans) {
        struct span_metrics chosen = t->spans;
        e = span_metrics_init(&t->spans, c, &t->limits, &t->attributes, &t->arena, budget);
        t->has_spans = true;
        t->spans.has_calls = chosen.has_calls;
        t->spans.has_latency = chosen.has_latency;
        t->spans.has_size = chosen.has_size;
    }
    if (e == ERR_OK && has_processor(&t->limits, "service-graphs")) {
        t->has_graph = true;
        e = service_graph_init(&t->graph, c, &t->limits, &t->attributes, &t->arena, budget);
    }
    if (e != ERR_OK) {
        tenant_free(t);
        return e;
    }
    *ret = t;
    return ERR_OK;
}

void tenant_free(struct tenant *t)
{
    if (t == NULL)
        return;
    if (t->has_spans)
        span_metrics_release(&t->spans);
    if (t->has_graph)
        service_graph_release(&t->graph);
    attributes_release(&t->attributes);
    arena_release(&t->arena);
    free(t);
}

static void discard(const struct tenant *t, const char *reason, const char *processor)
{
    struct metric_family *f =
        metrics_counter("tempo_metrics_generator_spans_discarded_total", "tenant,reason,processor",
                        "Spans left out of the metrics.");
    metric_inc(metric_cell(
        f, (struct slice[]){slice_str(t->name), slice_str(reason), slice_str(processor)}, 3));
}

static bool is_in_slack(const struct tenant *t, uint64_t end_ns, int64_t received_ns)
{
    uint64_t received = received_ns < 0 ? 0 : (uint64_t)received_ns;
    uint64_t distance = end_ns > received ? end_ns - received : received - end_ns;

    return distance < (uint64_t)t->limits.ingestion_slack_ns;
}

static enum err span_take(struct tenant *t, struct slice body, int64_t received_ns)
{
    struct otlp_span span;
    struct trace_id id = {{0}};
    enum err e = ERR_OK;

    otlp_span_parse(body, &span);
    if (!is_in_slack(t, span.end_ns, received_ns)) {
        discard(t, "outside_metrics_ingestion_slack", "all");
        return ERR_OK;
    }
    if (span.trace_id.len == TRACE_ID_BYTES)
        memcpy(id.b, span.trace_id.ptr, TRACE_ID_BYTES);
    attributes_span(&t->attributes, body);
    if (t->has_spans)
        e = span_metrics_take(&t->spans, &t->attributes, &span, body.len, id, received_ns);
    if (e == ERR_FORMAT) {
        discard(t, "invalid_utf8", "span-metrics");
        e = ERR_OK;
    }
    if (!t->has_graph)
        return e;
    enum err graph = service_graph_take(&t->graph, &t->attributes, &span, received_ns);
    if (graph == ERR_FORMAT) {
        discard(t, "invalid_utf8", "service-graphs");
        graph = ERR_OK;
    }
    return e != ERR_OK ? e : graph;
}

enum err tenant_take(struct tenant *t, struct slice otlp, int64_t received_ns)
{
    struct otlp_iter it;
    struct slice span;
    uint32_t resource_seq = 0, spans = 0;
    enum err first = ERR_OK;

    for (otlp_iter_init(&it, otlp); otlp_next_span(&it, &span); spans++) {
        if (spans == 0 || it.resource_seq != resource_seq)
            attributes_resource(&t->attributes, it.resource);
        resource_seq = it.resource_seq;
        enum err e = span_take(t, span, received_ns);
        if (first == ERR_OK)
            first = e; /* the others are counted all the same */
    }
    metric_add(t->received, spans);
    metric_add(t->received_spans, spans);
    metric_add(t->bytes, (double)otlp.len);
    return first;
}

/* What a total grew by since it was told. */
static void tell(struct metric_cell *c, uint64_t *told, uint64_t total)
{
    assert(total >= *told);
    metric_add(c, (double)(total - *told));
    *told = total;
}

void tenant_update_metrics(struct tenant *t)
{
    uint64_t span_series = (t->spans.has_calls ? 1u : 0u) + (t->spans.has_size ? 1u : 0u) +
                           (t->spans.has_latency ? t->limits.span_metrics_buckets.count + 3 : 0u);
    uint64_t edge_series = 1 + 2 * ((uint64_t)t->limits.service_graphs_buckets.count + 3);

    metric_set(t->active_series,
               (double)(t->spans.series.count * span_series + t->graph.series.count * edge_series));
    tell(t->edges, &t->told[0], t->graph.edges);
    tell(t->expired, &t->told[1], t->graph.expired);
    tell(t->dropped, &t->told[2], t->graph.dropped_spans);
    tell(t->added, &t->told[3], t->spans.series.added + t->graph.series.added);
    tell(t->removed, &t->told[4], t->spans.series.removed + t->graph.series.removed);
    tell(t->limited, &t->told[5], t->spans.series.limited + t->graph.series.limited);
}
