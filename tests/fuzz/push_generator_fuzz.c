/* Bytes as a push's OTLP request, counted twice by all processors, collected, and let go.  Properties: no crash; the same request twice counts twice as
 * much; no more series than allowed; everything is given back. */
#include "common/base/clock.h"
#include "common/codec/otlp.h"
#include "generator/collect.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SERIES_MAX = 5, EDGES_MAX = 4 };
#define NOW_NS (1700000000LL * NS_PER_S)

static const char yaml[] =
    "metrics_generator:\n"
    "  metrics_ingestion_time_range_slack: 12h\n"
    "  registry: {max_label_value_length: 16, max_label_name_length: 8}\n"
    "  processor:\n"
    "    service_graphs: {max_items: 4, dimensions: [a, b.c], enable_client_server_prefix: true}\n"
    "    span_metrics: {dimensions: [a, b.c, le, service, service.name]}\n"
    "overrides: {defaults: {metrics_generator: {processors: [service-graphs, span-metrics], max_active_series: 5}}}\n";

static enum err calls_add(void *arg, struct series_set *s, struct series_entity *e)
{
    double *sum = arg;
    uint64_t total = 0;

    for (unsigned b = 0; b <= s->bound_count; b++)
        total += e->histograms[0].buckets[b];
    assert(total == e->histograms[0].count);
    *sum += e->counters[0];
    return ERR_OK;
}

static double calls_of(struct tenant *t)
{
    double sum = 0;
    enum err e = series_each(&t->spans.series, calls_add, &sum);

    assert(e == ERR_OK);
    return sum;
}

static enum err request_done(void *arg, enum collect_variant variant, struct slice request)
{
    (void)arg;
    (void)variant;
    assert(request.len != 0);
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    static bool is_open;
    struct slice bytes = {data, size};
    struct config_warning *warnings;
    struct budget budget;
    struct tenant *t;
    uint32_t spans;

    if (!is_open &&
        config_parse("fuzz", slice_str(yaml), false, NULL, 0, &config, &warnings, NULL) != ERR_OK)
        return 0;
    is_open = true;
    if (otlp_check(bytes, &otlp_limits_default, &spans, NULL) != ERR_OK)
        return 0;
    budget_init(&budget, 1 << 20, NULL);
    enum err e = tenant_new(&config, &config.limits, "fuzz", &budget, &t);
    assert(e == ERR_OK);
    e = tenant_take(t, bytes, NOW_NS);
    double once = calls_of(t);
    if (e == ERR_OK)
        e = tenant_take(t, bytes, NOW_NS);
    assert(e != ERR_OK || calls_of(t) == 2 * once);
    assert(once <= spans);
    assert(t->spans.series.count <= SERIES_MAX + 1 && t->graph.series.count <= SERIES_MAX + 1);
    assert(t->graph.count <= EDGES_MAX);
    e = service_graph_expire(&t->graph, NOW_NS + 3600 * NS_PER_S);
    assert(e == ERR_OK || e == ERR_NOMEM);
    assert(t->graph.count == 0);
    struct collect_options o = {.instance = "g",
                                .now_ns = NOW_NS,
                                .samples_per_request = 10,
                                .wants = {true, true},
                                .done = request_done};
    for (int round = 0; round < 2; round++) {
        e = collect_run(t, &o);
        assert(e == ERR_OK);
        collect_settle(t, true);
    }
    tenant_free(t);
    assert(budget_used(&budget) == 0);
    return 0;
}
