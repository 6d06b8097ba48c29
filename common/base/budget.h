/*
 * budget.h - a number of bytes that may be used, drawn from by arenas, heads, caches and queues.
 *
 * Shape:   a tree: taking from a child takes from each ancestor too.
 * Threads: any (atomics).
 * Errors:  ERR_LIMIT when it would go over; nothing is taken then.
 */
#ifndef VIVACE_BASE_BUDGET_H
#define VIVACE_BASE_BUDGET_H

#include "common/base/err.h"

#include <stdatomic.h>
#include <stddef.h>

struct budget {
    struct budget *parent; /* may be NULL; outlives this one */
    size_t limit_bytes;
    atomic_size_t used_bytes;
};

void budget_init(struct budget *b, size_t limit_bytes, struct budget *parent);
MUST_CHECK enum err budget_take(struct budget *b, size_t bytes); /* b may be NULL: no limit */
void budget_give(struct budget *b, size_t bytes);

static inline size_t budget_used(const struct budget *b)
{
    return atomic_load_explicit(&b->used_bytes, memory_order_relaxed);
}

#endif
