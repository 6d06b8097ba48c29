/*
 * gvec.h - append-only vector whose elements never move: one writer, any number of readers without locks.
 *
 * Shape:   chunk k holds GVEC_FIRST << k elements, so element i is found by one clz; at most GVEC_CHUNKS chunks.
 * Memory:  chunks are calloc'ed and drawn from the budget; gvec_release frees all.
 * Threads: one writer appends.  A reader may touch elements below a count that it got from the
 *          writer through a release/acquire pair (the owner's "committed" counter); it never reads `count`.
 */
#ifndef VIVACE_BASE_GVEC_H
#define VIVACE_BASE_GVEC_H

#include "common/base/budget.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { GVEC_FIRST_BITS = 6, GVEC_FIRST = 1 << GVEC_FIRST_BITS, GVEC_CHUNKS = 26 };

struct gvec {
    uint8_t *chunk[GVEC_CHUNKS];
    uint32_t count; /* writer's */
    uint32_t elem_bytes;
};

static inline void gvec_init(struct gvec *v, size_t elem_bytes)
{
    *v = (struct gvec){.elem_bytes = (uint32_t)elem_bytes};
}

static inline unsigned gvec_chunk_of(uint32_t index)
{
    return 31u - GVEC_FIRST_BITS - (unsigned)__builtin_clz((index + GVEC_FIRST));
}

static inline void *gvec_at(const struct gvec *v, uint32_t index)
{
    unsigned k = gvec_chunk_of(index);
    return v->chunk[k] + (size_t)(index + GVEC_FIRST - ((uint32_t)GVEC_FIRST << k)) * v->elem_bytes;
}

/* The next element, zeroed, counted; NULL when the budget or memory is out. */
void *gvec_push(struct gvec *v, struct budget *budget);
void gvec_release(struct gvec *v, struct budget *budget);
/* Copies elements [from, to) to `dst`. */
void gvec_copy(const struct gvec *v, uint32_t from, uint32_t to, void *dst);

#define GVEC_GET(v, type, index) (*(type *)gvec_at((v), (index)))

#endif
