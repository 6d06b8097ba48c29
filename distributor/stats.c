#include "distributor/stats.h"

struct stats stats;

static struct metric_family *discarded, *appends, *append_failures, *pushes, *push_failures,
    *spans_received, *bytes_received, *ingress_bytes;

void stats_init(void)
{
    static const double durations[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
    static const double batch_sizes[] = {2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
    static const char *const transports[] = {"grpc", "http"};
    static const char *const doubts[] = {"answered", "given_up", "dropped"};
    static const char *const drops[] = {"buffer_full", "refused", "shutdown", "no_memory"};

    discarded = metrics_counter("tempo_discarded_spans_total", "reason,tenant",
                                "The total number of samples that were discarded.");
    appends = metrics_counter("tempo_distributor_ingester_appends_total", "ingester",
                              "The total number of batch appends sent to ingesters.");
    append_failures =
        metrics_counter("tempo_distributor_ingester_append_failures_total", "ingester",
                        "The total number of failed batch appends sent to ingesters.");
    pushes =
        metrics_counter("tempo_distributor_metrics_generator_pushes_total", "metrics_generator",
                        "The total number of span pushes sent to metrics-generators.");
    push_failures = metrics_counter(
        "tempo_distributor_metrics_generator_pushes_failures_total", "metrics_generator",
        "The total number of failed span pushes sent to metrics-generators.");
    spans_received = metrics_counter("tempo_distributor_spans_received_total", "tenant",
                                     "The total number of spans received per tenant.");
    bytes_received =
        metrics_counter("tempo_distributor_bytes_received_total", "tenant",
                        "The total number of proto bytes received per tenant, after limits.");
    ingress_bytes =
        metrics_counter("tempo_distributor_ingress_bytes_total", "tenant",
                        "The total number of bytes received per tenant, before limits.");
    stats.traces_per_batch =
        metric_cell0(metrics_histogram("tempo_distributor_traces_per_batch", "",
                                       "The number of traces in each batch.", batch_sizes, 10));
    stats.push_duration = metric_cell0(
        metrics_histogram("tempo_distributor_push_duration_seconds", "",
                          "The time from a received batch to its acknowledgement.", durations, 11));
    struct metric_family *accepted =
        metrics_counter("tempo_receiver_accepted_spans", "receiver,transport",
                        "Number of spans successfully pushed into the pipeline.");
    struct metric_family *refused =
        metrics_counter("tempo_receiver_refused_spans", "receiver,transport",
                        "Number of spans that could not be pushed into the pipeline.");
    for (unsigned i = 0; i < STATS_TRANSPORTS; i++) {
        stats.accepted[i] = metric_cell2(accepted, "otlp/otlp_receiver", transports[i]);
        stats.refused[i] = metric_cell2(refused, "otlp/otlp_receiver", transports[i]);
    }
    stats.generator_buffer_bytes =
        metric_cell0(metrics_gauge("vivace_distributor_generator_buffer_bytes", "",
                                   "Bytes that generators have not acknowledged yet."));
    struct metric_family *dropped =
        metrics_counter("vivace_distributor_generator_dropped_spans_total", "reason",
                        "Spans that were acknowledged and stored but never reached a generator.");
    for (unsigned i = 0; i < STATS_DROPS; i++)
        stats.generator_dropped[i] = metric_cell1(dropped, drops[i]);
    stats.generator_doubts = metric_cell0(metrics_gauge(
        "vivace_distributor_generator_doubts", "",
        "Pushes whose answer was lost, and that wait for the generator which may have counted them."));
    struct metric_family *doubtful = metrics_counter(
        "vivace_distributor_generator_doubtful_spans_total", "outcome",
        "Spans of pushes whose answer was lost: answered by that generator in the end, given up (another counted them, so they may be counted twice), or dropped.");
    for (unsigned i = 0; i < STATS_DOUBTS; i++)
        stats.generator_doubts_ended[i] = metric_cell1(doubtful, doubts[i]);
}

void stats_tenant(struct tenant *t)
{
    t->spans_received = metric_cell1(spans_received, t->id);
    t->bytes_received = metric_cell1(bytes_received, t->id);
    t->ingress_bytes = metric_cell1(ingress_bytes, t->id);
    t->rate_limited = metric_cell2(discarded, "rate_limited", t->id);
}

void stats_discarded(const char *reason, const char *tenant, uint64_t spans)
{
    if (spans > 0)
        metric_add(metric_cell2(discarded, reason, tenant), (double)spans);
}

void stats_ingester_append(void *arg, const char *ingester, enum err err)
{
    (void)arg;
    metric_inc(metric_cell1(appends, ingester));
    if (err != ERR_OK)
        metric_inc(metric_cell1(append_failures, ingester));
}

void stats_generator_push(const char *generator, enum err err)
{
    metric_inc(metric_cell1(pushes, generator));
    if (err != ERR_OK)
        metric_inc(metric_cell1(push_failures, generator));
}
