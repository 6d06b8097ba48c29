/*
 * span_metrics.h - calls, latency and size per service, span name, kind, status and dimensions.
 *
 * Source:  traces_spanmetrics_calls_total, traces_spanmetrics_latency (seconds), traces_spanmetrics_size_total (protobuf bytes of the span); labels as recorded from Tempo.
 * Threads: owned by the intake thread.
 */
#ifndef VIVACE_GENERATOR_SPAN_METRICS_H
#define VIVACE_GENERATOR_SPAN_METRICS_H

#include "common/app/config.h"
#include "common/codec/otlp.h"
#include "generator/attributes.h"
#include "generator/labels.h"
#include "generator/series.h"

struct span_metrics {
    struct series_set series;
    struct labels_plan plan;
    unsigned service; /* number of service.name */
    struct buf labels;
    bool has_calls, has_latency, has_size; /* sub-processors */
};

MUST_CHECK enum err span_metrics_init(struct span_metrics *m, const struct config *c,
                                      const struct limits *l, struct attributes *wanted,
                                      struct arena *a, struct budget *budget);
void span_metrics_release(struct span_metrics *m);
/* `attributes` hold this span's.  Errors: ERR_FORMAT a label's value is not UTF-8; ERR_NOMEM. */
MUST_CHECK enum err span_metrics_take(struct span_metrics *m, const struct attributes *attributes,
                                      const struct otlp_span *span, size_t span_bytes,
                                      struct trace_id id, int64_t now_ns);

#endif
