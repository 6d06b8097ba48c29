/*
 * inflate.h - compressed request bodies, whole, into one buffer that can not grow past its limits.
 *
 * Formats: gzip (any number of members), deflate and zlib (RFC 1950), zstd (any number of frames), snappy (block, or framed: told apart by
 *          the stream identifier), lz4 (frames).
 * Limits:  the smallest of out_bytes_max, ret->len_max and max(free_bytes, ratio_max x wire bytes) rules, known before the first byte is
 *          written; stated sizes are never believed further than that.
 * Memory:  ret grows in steps; each step is drawn from the budget first, so that what is drawn is ret->cap when it is done, failure or not.
 *          The caller gives ret->cap back when it releases ret.
 * Errors:  ERR_FORMAT corrupt or cut, ERR_TOO_LARGE over a limit, ERR_LIMIT the budget is used up, ERR_NOMEM.
 * Source:  RFC 1950, 1952, 8878; snappy's framing_format.txt.
 */
#ifndef VIVACE_CODEC_INFLATE_H
#define VIVACE_CODEC_INFLATE_H

#include "common/base/budget.h"
#include "common/base/buf.h"

enum inflate_kind {
    INFLATE_IDENTITY,
    INFLATE_GZIP,
    INFLATE_ZLIB,
    INFLATE_ZSTD,
    INFLATE_SNAPPY,
    INFLATE_LZ4
};

struct inflate_limits {
    size_t out_bytes_max; /* 64 MiB */
    size_t free_bytes;    /* 1 MiB: the ratio is not asked below that */
    size_t ratio_max;     /* 100 */
};
extern const struct inflate_limits inflate_limits_default;

/* By the word of Content-Encoding or grpc-encoding, any case; empty is identity.  False: nobody here knows it. */
bool inflate_kind_of(struct slice name, enum inflate_kind *ret);

/* Appends to `ret`, which must be empty and new.  IDENTITY copies. */
MUST_CHECK enum err inflate_bytes(enum inflate_kind kind, struct slice body,
                                  const struct inflate_limits *limits, struct budget *budget,
                                  struct buf *ret, struct err_detail *reterr_detail);

#endif
