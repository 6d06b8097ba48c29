/*
 * block_rowkey.h - the whole content of a row as bytes: equal bytes, equal rows, in whatever segments they stand.
 */
#ifndef VIVACE_STORE_BLOCK_ROWKEY_H
#define VIVACE_STORE_BLOCK_ROWKEY_H

#include "common/store/segment_rows.h"

/* A row of SEG_RESOURCE or SEG_SCOPE. */
MUST_CHECK enum err block_rowkey_shared(struct segment *s, enum seg_table table, uint32_t row,
                                        struct buf *out);
/* A span with its resource, scope, events and links. */
MUST_CHECK enum err block_rowkey_span(struct segment *s, uint32_t row, struct buf *out);

#endif
