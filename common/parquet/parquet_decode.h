/*
 * parquet_decode.h - the encodings of Parquet's values and levels.
 *
 * Memory:  `ret` has room for `count`; texts are slices into the reader's bytes, or lie in the arena.
 * Errors:  ERR_CORRUPT when the bytes end before the values do, or do not say what they must; ERR_LIMIT, ERR_NOMEM of the arena.
 * Source:  parquet-format, Encodings.md.
 */
#ifndef VIVACE_PARQUET_PARQUET_DECODE_H
#define VIVACE_PARQUET_PARQUET_DECODE_H

#include "common/base/arena.h"
#include "common/base/reader.h"

/* RLE / bit-packing hybrid of numbers `width` bits wide (0 to 32). */
MUST_CHECK enum err parquet_decode_hybrid(struct reader *r, unsigned width, uint32_t count,
                                          uint32_t *ret);
/* The same for levels, which fit in a byte. */
MUST_CHECK enum err parquet_decode_levels(struct reader *r, unsigned width, uint32_t count,
                                          uint8_t *ret);
/* PLAIN booleans: a bit each, low bits first. */
MUST_CHECK enum err parquet_decode_bits(struct reader *r, uint32_t count, int64_t *ret);
/* DELTA_BINARY_PACKED: sums wrap at `bits` (32 or 64), then keep their sign.  The count must be the encoded one. */
MUST_CHECK enum err parquet_decode_delta(struct reader *r, unsigned bits, uint32_t count,
                                         int64_t *ret);
MUST_CHECK enum err parquet_decode_plain_texts(struct reader *r, uint32_t count, struct slice *ret);
MUST_CHECK enum err parquet_decode_delta_lengths(struct reader *r, uint32_t count, struct arena *a,
                                                 struct slice *ret);
MUST_CHECK enum err parquet_decode_delta_texts(struct reader *r, uint32_t count, struct arena *a,
                                               struct slice *ret);

#endif
