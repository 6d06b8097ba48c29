/*
 * metrics.h - this process's own metrics: counters, gauges, histograms with labels; Prometheus text exposition.
 *
 * Shape:   a family (metrics_counter, ...) is declared once at start; a cell is one series of it, looked up by label values and
 *          kept by its user: hot paths hold the cell and add to it (one atomic).
 * Limits:  METRICS_CELLS_MAX cells per family; beyond it, all further label values share one cell whose labels are "overflow".
 *          A label value is cut after METRICS_LABEL_BYTES_MAX bytes.
 * Threads: any.
 * Source:  Prometheus text format 0.0.4; names are Tempo's (contract.md section 5).
 */
#ifndef VIVACE_OBS_METRICS_H
#define VIVACE_OBS_METRICS_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/slice.h"

#include <stdint.h>

enum { METRICS_CELLS_MAX = 2000, METRICS_LABELS_MAX = 6, METRICS_LABEL_BYTES_MAX = 256 };

struct metric_family;
struct metric_cell;

/* `labels`: names separated by commas, "" for none.  The same name twice gives the same family.  Never NULL (aborts out of memory: start-up only). */
struct metric_family *metrics_counter(const char *name, const char *labels, const char *help);
struct metric_family *metrics_gauge(const char *name, const char *labels, const char *help);
struct metric_family *metrics_histogram(const char *name, const char *labels, const char *help,
                                        const double *bounds, unsigned bound_count);

/* The cell of these label values, in the order of the family's labels; made if new.  Never NULL.  Values are copied. */
struct metric_cell *metric_cell(struct metric_family *f, const struct slice *values,
                                unsigned count);
struct metric_cell *metric_cell0(struct metric_family *f);
struct metric_cell *metric_cell1(struct metric_family *f, const char *v0);
struct metric_cell *metric_cell2(struct metric_family *f, const char *v0, const char *v1);

void metric_add(struct metric_cell *c, double v); /* counters: v >= 0 */
void metric_inc(struct metric_cell *c);
void metric_set(struct metric_cell *c, double v);     /* gauges */
void metric_observe(struct metric_cell *c, double v); /* histograms */
double metric_value(const struct metric_cell *c);     /* counter or gauge; histogram: count */
void metric_cell_drop(struct metric_family *f,
                      struct metric_cell *c); /* the series goes away; c is dead */

/* Called at each exposition before it is written: gauges that are computed. */
typedef void metrics_collect_fn(void *arg);
void metrics_on_collect(metrics_collect_fn *fn, void *arg);

/* What tempo_build_info says.  Copied; before threads start. */
void metrics_set_build(const char *version, const char *revision);
/* Everything, in Prometheus text.  Also process_* and tempo_build_info. */
void metrics_write_text(struct buf *out);
/* Appends `other` (the exposition of another process) to `out`, leaving out the families that `out` already has a TYPE line of. */
void metrics_merge_text(struct buf *out, struct slice other);

#endif
