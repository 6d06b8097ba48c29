/*
 * ql_spine.h - walks a chain of left-leaning nodes ("a || b || c ...", thousands of them) from its bottom to its top, without
 * recursion, memory or parent pointers.
 *
 * Shape:   node 0 is the top, node count-1 the first without a left child.
 */
#ifndef VIVACE_QUERY_QL_SPINE_H
#define VIVACE_QUERY_QL_SPINE_H

#include "common/query/ql_ast.h"

#include <assert.h>

enum { QL_SPINE_BLOCK = 64 };

struct ql_spine {
    struct ql_expr *top;
    uint32_t count;
    uint32_t block; /* the nodes at hand: block * QL_SPINE_BLOCK and on */
    struct ql_expr *nodes[QL_SPINE_BLOCK];
};

static inline void ql_spine_init(struct ql_spine *s, struct ql_expr *top)
{
    s->top = top;
    s->count = 0;
    s->block = UINT32_MAX;
    for (const struct ql_expr *e = top; e != NULL; e = e->left)
        s->count++;
}

static inline struct ql_expr *ql_spine_at(struct ql_spine *s, uint32_t index)
{
    assert(index < s->count);
    if (index / QL_SPINE_BLOCK != s->block) {
        struct ql_expr *e = s->top;
        s->block = index / QL_SPINE_BLOCK;
        for (uint32_t i = 0; e != NULL && i < (s->block + 1) * QL_SPINE_BLOCK; i++, e = e->left) {
            if (i >= s->block * QL_SPINE_BLOCK)
                s->nodes[i % QL_SPINE_BLOCK] = e;
        }
    }
    assert(s->nodes[index % QL_SPINE_BLOCK] != NULL);
    return s->nodes[index % QL_SPINE_BLOCK];
}

#endif
