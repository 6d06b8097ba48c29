/*
 * page_scan.h - integers of a page put to a question, or into less room than page_get_ints takes.
 *
 * Work:    a question is answered without unpacking where the frame of a vector decides it, else on values as narrow as they are packed.
 * Errors:  ERR_CORRUPT for bytes that no put makes and that could not be read safely.  Values that need not be looked at are not checked.
 */
#ifndef VIVACE_STORE_PAGE_SCAN_H
#define VIVACE_STORE_PAGE_SCAN_H

#include "common/base/err.h"
#include "common/base/reader.h"

/* Unsigned numbers from min to max, or all others. */
struct page_scan_interval {
    uint64_t min, max; /* min <= max */
    bool is_outside;
};

/* ret[i]: 1 if value i is in the interval, else 0. */
MUST_CHECK enum err page_scan_range(struct reader *r, uint32_t count, struct page_scan_interval in,
                                    uint8_t *ret);
/* ret[i] = table[value i] of 0 and 1; a value that is read has to be below table_count. */
MUST_CHECK enum err page_scan_table(struct reader *r, uint32_t count, const uint8_t *table,
                                    uint32_t table_count, uint8_t *ret);
/* All values, which have to be below `limit`, at most 2^32; and as bytes. */
MUST_CHECK enum err page_scan_u32(struct reader *r, uint32_t count, uint64_t limit, uint32_t *ret);
MUST_CHECK enum err page_scan_u8(struct reader *r, uint32_t count, uint8_t *ret);

#endif
