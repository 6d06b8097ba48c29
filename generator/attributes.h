/*
 * attributes.h - the attributes that the processors ask for, found in one pass over a resource and a span.
 *
 * Use:     keys are declared once (attributes_want gives each a number); per resource attributes_resource, per span attributes_span; then
 *          resource[n] and span[n] are the texts, and attributes_both the resource's before the span's.
 * Threads: owned by the intake thread.
 */
#ifndef VIVACE_GENERATOR_ATTRIBUTES_H
#define VIVACE_GENERATOR_ATTRIBUTES_H

#include "common/base/arena.h"
#include "common/base/buf.h"

enum { ATTRIBUTES_MAX = 128, ATTRIBUTES_SLOTS = 512 };

struct attributes {
    struct slice keys[ATTRIBUTES_MAX];
    unsigned count;
    uint8_t table[ATTRIBUTES_SLOTS]; /* hash of the key -> number + 1 */
    struct slice resource[ATTRIBUTES_MAX], span[ATTRIBUTES_MAX];
    unsigned span_found[ATTRIBUTES_MAX], span_found_count; /* to clear cheaply */
    struct arena resource_arena, span_arena;
    struct buf scratch;
};

void attributes_init(struct attributes *a);
void attributes_release(struct attributes *a);
/* The number of a key (borrowed); the same key twice gives the same number.  Errors: ERR_TOO_LARGE. */
MUST_CHECK enum err attributes_want(struct attributes *a, const char *key, unsigned *ret_number);
void attributes_resource(struct attributes *a, struct slice resource); /* Resource message */
void attributes_span(struct attributes *a, struct slice span);         /* Span message */

static inline struct slice attributes_both(const struct attributes *a, unsigned number)
{
    return a->resource[number].len != 0 ? a->resource[number] : a->span[number];
}

#endif
