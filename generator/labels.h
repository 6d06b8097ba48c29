/*
 * labels.h - how attributes become labels: names sanitised, values as text, in the order of their names.
 *
 * Source:  Prometheus' label syntax ([a-zA-Z_][a-zA-Z0-9_]*); Tempo: a dimension whose label is taken by an intrinsic label is written with "__" in front; of two
 *          dimensions with one label the last wins; empty values make no label; recorded texts of values ("[GETPUT]" for an array of strings).
 * Memory:  a plan owns its strings; values are written into a buf.
 */
#ifndef VIVACE_GENERATOR_LABELS_H
#define VIVACE_GENERATOR_LABELS_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/codec/otlp.h"
#include "generator/series.h"

struct labels_slot {
    struct slice label;     /* sanitised name */
    struct slice attribute; /* where its value comes from; empty: set by number */
    unsigned number;
};

/* Label names in sorted order; slot i of the plan is filled by number or from an attribute. */
struct labels_plan {
    struct labels_slot slots[SERIES_LABELS_MAX];
    unsigned count;
    uint32_t value_bytes_max, name_bytes_max;
    struct arena *arena;
};

void labels_plan_init(struct labels_plan *p, struct arena *a, uint32_t name_bytes_max,
                      uint32_t value_bytes_max);
/* A label that is set by number (intrinsic). */
MUST_CHECK enum err labels_plan_fixed(struct labels_plan *p, const char *label, unsigned number);
/* A label of an attribute's value, with an optional prefix ("client_").  is_reserved: names of fixed labels get "__" in front. */
MUST_CHECK enum err labels_plan_attribute(struct labels_plan *p, const char *prefix,
                                          const char *attribute, unsigned number, bool is_reserved);
void labels_plan_sort(struct labels_plan *p); /* once, when all are in */

/* Writes the blob: values[slot.number] for each slot, cut to value_bytes_max at a UTF-8 boundary, empty ones left out.
 * Errors: ERR_FORMAT a value is not UTF-8. */
MUST_CHECK enum err labels_write(const struct labels_plan *p, const struct slice *values,
                                 struct buf *out);

struct slice labels_sanitise(struct arena *a, struct slice name);
/* A value as label text; strings are borrowed, all else is copied into the arena (empty when that is out). */
struct slice labels_value_text(const struct otlp_value *v, struct buf *scratch, struct arena *a);

#endif
