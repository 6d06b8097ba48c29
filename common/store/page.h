/*
 * page.h - how columns of values become bytes: integers, numbers, texts.  What a page holds; lz4_page puts the header and the checksum around it.
 *
 * Shape:   common/store/README.md ("Encodings"), byte by byte.
 * Errors:  putting can only fail as the buf does.  Getting checks everything: ERR_CORRUPT for bytes that no put makes and that could not be
 *          read safely; memory is the caller's, or the arena's.
 */
#ifndef VIVACE_STORE_PAGE_H
#define VIVACE_STORE_PAGE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/reader.h"

enum { PAGE_VECTOR = 1024 }; /* values that are packed together */

/* Unsigned integers; the smallest of the methods is taken.  An empty list takes no bytes. */
void page_put_ints(struct buf *out, const uint64_t *values, uint32_t count);
MUST_CHECK enum err page_get_ints(struct reader *r, uint32_t count, uint64_t *ret);

/* Numbers that never descend, as the steps between them; the values are used up.  Getting also refuses a sum that wraps. */
void page_put_ascending(struct buf *out, uint64_t *values, uint32_t count);
MUST_CHECK enum err page_get_ascending(struct reader *r, uint32_t count, uint64_t *ret);

/* Signed as unsigned, in the same order; and signed differences, small either side of zero as small numbers. */
static inline uint64_t page_of_signed(int64_t v)
{
    return (uint64_t)v ^ (uint64_t)1 << 63;
}
static inline int64_t page_to_signed(uint64_t v)
{
    return (int64_t)(v ^ (uint64_t)1 << 63);
}

void page_put_doubles(struct buf *out, const double *values, uint32_t count);
MUST_CHECK enum err page_get_doubles(struct reader *r, uint32_t count, double *ret);

/* Lengths, then all bytes; the slices of page_get_texts point into the reader's bytes. */
void page_put_texts(struct buf *out, const struct slice *values, uint32_t count);
MUST_CHECK enum err page_get_texts(struct reader *r, uint32_t count, struct arena *a,
                                   struct slice **ret);

#endif
