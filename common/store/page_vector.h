/*
 * page_vector.h - how packed integers stand in a page: shared by page.c, which reads their values, and page_scan.c, which answers questions about them.
 *
 * Shape:   common/store/README.md, "Values".
 */
#ifndef VIVACE_STORE_PAGE_VECTOR_H
#define VIVACE_STORE_PAGE_VECTOR_H

#include "common/store/page.h"

#include <assert.h>
#include <string.h>

enum page_method { PAGE_CONST = 0, PAGE_PACKED = 1, PAGE_DELTA = 2, PAGE_RUNS = 3 };

/* A vector as it stands: value = base + packed; after it come the exceptions, (step, high) each. */
struct page_vector {
    uint64_t base, exceptions;
    const uint8_t *packed; /* nine bytes more can be read */
    unsigned width;
    uint8_t padded[PAGE_VECTOR * 8 + 16]; /* of the last vector of a page */
};

static inline size_t page_vector_bytes(uint32_t n, unsigned width)
{
    return ((size_t)n * width + 7) / 8;
}

/* False when no put makes it. */
static inline bool page_vector_open(struct reader *r, uint32_t n, struct page_vector *v)
{
    assert(n <= PAGE_VECTOR);
    v->base = reader_varint(r);
    v->width = reader_u8(r);
    v->exceptions = reader_varint(r);
    if (v->width > 64 || v->exceptions > n || (v->exceptions != 0 && v->width == 64))
        return false;
    size_t len = page_vector_bytes(n, v->width);
    struct slice packed = reader_take(r, len);
    if (reader_failed(r))
        return false;
    v->packed = packed.ptr;
    if (reader_left(r) < 9) { /* the last values are read eight bytes at a time too */
        if (len != 0)
            memcpy(v->padded, packed.ptr, len);
        memset(v->padded + len, 0, 9);
        v->packed = v->padded;
    }
    return true;
}

static inline uint64_t page_vector_mask(unsigned width)
{
    return width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
}

/* What is packed at a place, without the base. */
static inline uint64_t page_vector_at(const struct page_vector *v, uint32_t i)
{
    size_t bit = (size_t)i * v->width;
    uint64_t low = le64_read(v->packed + bit / 8) >> bit % 8;
    if (v->width > 56 && bit % 8 != 0)
        low |= (uint64_t)v->packed[bit / 8 + 8] << (64 - bit % 8);
    return low & page_vector_mask(v->width);
}

/* page.c: the values of a vector, exceptions too. */
MUST_CHECK enum err page_get_vector(struct reader *r, uint32_t n, uint64_t *ret);

#endif
