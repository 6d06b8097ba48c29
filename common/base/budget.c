#include "common/base/budget.h"

#include <assert.h>

void budget_init(struct budget *b, size_t limit_bytes, struct budget *parent)
{
    assert(b != NULL);
    assert(b != parent);
    b->parent = parent;
    b->limit_bytes = limit_bytes;
    atomic_init(&b->used_bytes, 0);
}

enum err budget_take(struct budget *b, size_t bytes)
{
    for (struct budget *at = b; at != NULL; at = at->parent) {
        size_t before = atomic_fetch_add_explicit(&at->used_bytes, bytes, memory_order_relaxed);
        if (bytes <= at->limit_bytes && before <= at->limit_bytes - bytes)
            continue;
        for (struct budget *undo = b;; undo = undo->parent) {
            atomic_fetch_sub_explicit(&undo->used_bytes, bytes, memory_order_relaxed);
            if (undo == at)
                return ERR_LIMIT;
        }
    }
    return ERR_OK;
}

void budget_give(struct budget *b, size_t bytes)
{
    for (struct budget *at = b; at != NULL; at = at->parent) {
        size_t before = atomic_fetch_sub_explicit(&at->used_bytes, bytes, memory_order_relaxed);
        assert(before >= bytes);
    }
}
