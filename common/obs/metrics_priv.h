/*
 * metrics_priv.h - the registry, shared by metrics.c (declaring, adding), metrics_text.c (exposition) and
 * metrics_process.c (the process itself).
 */
#ifndef VIVACE_OBS_METRICS_PRIV_H
#define VIVACE_OBS_METRICS_PRIV_H

#include "common/base/map.h"
#include "common/obs/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_cell {
    UT_hash_handle hh;
    struct metric_family *family;
    _Atomic uint64_t bits;     /* a double: value, or a histogram's sum */
    _Atomic uint64_t *buckets; /* histogram: [bound_count + 1], not cumulative; the last is +Inf */
    uint16_t value_bytes[METRICS_LABELS_MAX];
    uint32_t key_bytes;
    uint8_t key[]; /* for each label: length (2 bytes), value */
};

struct metric_family {
    struct metric_family *next; /* by name */
    char *name, *help;
    char *labels[METRICS_LABELS_MAX];
    unsigned label_count;
    enum metric_kind kind;
    double *bounds;
    unsigned bound_count;
    struct metric_cell *cells; /* hash over key */
    struct metric_cell *overflow;
    bool is_overflowed; /* the overflow cell is in use, so it is shown */
    bool is_unsorted;
};

struct metrics_registry {
    pthread_mutex_t lock; /* everything here, every family's cells */
    struct metric_family *families;
};

extern struct metrics_registry metrics_registry;

/* Runs what metrics_on_collect was given and refreshes process_*. */
void metrics_collect(void);
void metrics_process_collect(void);

#endif
