/*
 * text_set.h - distinct byte strings, numbered in the order in which they came first.
 *
 * Memory:  everything in the arena, the strings too (copied).  What a growing table leaves behind stays there: no more than it holds.
 * Threads: one owner.
 */
#ifndef VIVACE_STORE_TEXT_SET_H
#define VIVACE_STORE_TEXT_SET_H

#include "common/base/arena.h"

#define TEXT_SET_NONE UINT32_MAX

struct text_set {
    struct arena *a;
    struct slice *texts; /* [count] */
    uint32_t count;
    uint32_t *slots, mask, max;
};

static inline void text_set_init(struct text_set *t, struct arena *a)
{
    *t = (struct text_set){.a = a};
}

/* The number of a text, a new one (the count before) when it was not known.  Errors: the arena's; ERR_TOO_LARGE. */
MUST_CHECK enum err text_set_number(struct text_set *t, struct slice text, uint32_t *ret);

#endif
