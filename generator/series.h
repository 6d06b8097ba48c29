/*
 * series.h - active series of one tenant: label sets with counters and histograms, as Prometheus will see them.
 *
 * Shape:   an entity is one label set of one processor: span metrics (calls, latency, size) or an edge of the service graph (requests, failures, server and
 *          client latency).  Its labels are one blob: sorted by name; varint length and bytes of name and value in turn; empty values are not there.
 * Memory:  one allocation per entity, freed when stale; counted against the budget.
 * Threads: owned by the intake thread.
 * Source:  Tempo's registry: exemplar = last observation of a bucket since it was last collected.
 */
#ifndef VIVACE_GENERATOR_SERIES_H
#define VIVACE_GENERATOR_SERIES_H

#include "common/base/budget.h"
#include "common/base/buf.h"
#include "common/base/trace_id.h"

enum series_kind { SERIES_SPAN, SERIES_EDGE, SERIES_KIND_COUNT };
enum { SERIES_BUCKETS_MAX = 64, SERIES_LABELS_MAX = 64 };
enum { SERIES_ANNOUNCED_ALL = 1, SERIES_ANNOUNCED_FAILURES = 2 };

struct series_exemplar {
    struct trace_id trace_id;
    double value; /* NAN: none */
};

struct series_histogram {
    double sum;
    uint64_t count;
    uint64_t *buckets;                 /* not cumulative; one more than bounds: +Inf */
    struct series_exemplar *exemplars; /* per bucket */
};

struct series_entity {
    struct series_entity *chain; /* hash chain */
    uint64_t hash;
    int64_t updated_ns;
    uint32_t labels_len;
    uint8_t announced;  /* SERIES_ANNOUNCED_* : zeros of these have been written */
    uint8_t announcing; /* and of these, in the collection under way */
    double counters[2]; /* SPAN: calls, size; EDGE: requests, failures */
    struct series_histogram histograms[2]; /* SPAN: latency; EDGE: server, client */
    uint8_t labels[];
};

struct series_set {
    enum series_kind kind;
    struct budget *budget;
    const double *bounds; /* borrowed */
    unsigned bound_count, histogram_count;
    struct series_entity **table;
    uint32_t table_size, count, count_max; /* count_max 0: no limit; of all but the overflow's */
    bool has_overflow;                     /* the overflow entity is one of `count` */
    uint64_t added, removed, limited;
};

MUST_CHECK enum err series_init(struct series_set *s, enum series_kind kind, const double *bounds,
                                unsigned bound_count, uint32_t count_max, struct budget *budget);
void series_release(struct series_set *s);
/* The entity of these labels, made if new; touches it.  Over the limit (or the budget): the overflow entity, whose one label is metric_overflow="true".
 * NULL only when even that has no memory. */
struct series_entity *series_get(struct series_set *s, struct slice labels, int64_t now_ns);
void series_observe(const struct series_set *s, struct series_histogram *h, double value,
                    struct trace_id id);
/* Removes what was not updated since `before_ns`. */
void series_expire(struct series_set *s, int64_t before_ns);
typedef enum err series_fn(void *arg, struct series_set *s, struct series_entity *e);
MUST_CHECK enum err series_each(struct series_set *s, series_fn *fn, void *arg);

/* One label of a blob, in order; *at starts at 0.  False at the end. */
bool series_label_next(struct slice labels, size_t *at, struct slice *ret_name,
                       struct slice *ret_value);
void series_label_append(struct buf *out, struct slice name, struct slice value);

#endif
