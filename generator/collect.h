/*
 * collect.h - series as Prometheus remote-write 1.0 requests: protobuf WriteRequests, snappy-compressed.
 *
 * Source:  prometheus/prompb: WriteRequest.timeseries(1); TimeSeries.labels(1) samples(2) exemplars(3); Label.name(1) value(2); Sample.value(1) timestamp(2, ms);
 *          Exemplar.labels(1) value(2) timestamp(3).  Labels are sorted by name.
 *          A new series is written as 0 first and with its value at the next collection, so that rate() sees its first increase.
 * Threads: owned by the intake thread.
 */
#ifndef VIVACE_GENERATOR_COLLECT_H
#define VIVACE_GENERATOR_COLLECT_H

#include "generator/tenant.h"

/* Targets want their requests with exemplars or without. */
enum collect_variant { COLLECT_EXEMPLARS, COLLECT_PLAIN, COLLECT_VARIANT_COUNT };

/* One finished request: snappy block, borrowed during the call. */
typedef enum err collect_fn(void *arg, enum collect_variant variant, struct slice request);

struct collect_options {
    const char *instance; /* __metrics_gen_instance */
    int64_t now_ns;
    uint32_t samples_per_request;
    bool wants[COLLECT_VARIANT_COUNT];
    collect_fn *done;
    void *arg;
};
/* Writes all series of a tenant; exemplars are cleared when written.  Then collect_settle tells whether the requests were kept: if not, what
 * was new is new again. */
MUST_CHECK enum err collect_run(struct tenant *t, const struct collect_options *o);
void collect_settle(struct tenant *t, bool is_kept);
void collect_mark(struct tenant *t); /* all its series have been written before */

#endif
