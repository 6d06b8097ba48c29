#include "common/base/gvec.h"

#include <string.h>

void *gvec_push(struct gvec *v, struct budget *budget)
{
    uint32_t index = v->count;
    assert(v->elem_bytes != 0);
    if (index >= UINT32_MAX - 2 * GVEC_FIRST)
        return NULL;
    unsigned k = gvec_chunk_of(index);
    if (k >= GVEC_CHUNKS)
        return NULL;
    if (v->chunk[k] == NULL) {
        size_t bytes = ((size_t)GVEC_FIRST << k) * v->elem_bytes;
        if (budget_take(budget, bytes) != ERR_OK)
            return NULL;
        v->chunk[k] = calloc(1, bytes);
        if (v->chunk[k] == NULL) {
            budget_give(budget, bytes);
            return NULL;
        }
    }
    v->count++;
    return gvec_at(v, index);
}

void gvec_release(struct gvec *v, struct budget *budget)
{
    for (unsigned k = 0; k < GVEC_CHUNKS; k++) {
        if (v->chunk[k] == NULL)
            continue;
        free(v->chunk[k]);
        budget_give(budget, ((size_t)GVEC_FIRST << k) * v->elem_bytes);
        v->chunk[k] = NULL;
    }
    v->count = 0;
}

void gvec_copy(const struct gvec *v, uint32_t from, uint32_t to, void *dst)
{
    uint8_t *out = dst;

    while (from < to) {
        unsigned k = gvec_chunk_of(from);
        uint32_t chunk_end = ((uint32_t)GVEC_FIRST << (k + 1)) - GVEC_FIRST;
        uint32_t stop = to < chunk_end ? to : chunk_end;
        size_t bytes = (size_t)(stop - from) * v->elem_bytes;
        memcpy(out, gvec_at(v, from), bytes);
        out += bytes;
        from = stop;
    }
}
