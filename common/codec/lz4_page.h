/*
 * lz4_page.h - a checked page: what every block is made of.
 *
 * Shape:   little-endian; 20 bytes of header, then the stored bytes:
 *            0 u32 crc32c of everything after it (header and stored bytes)
 *            4 u32 stored_bytes    8 u32 raw_bytes    12 u32 value count
 *           16 u8 kind (the caller's)    17 u8 flags (1: stored bytes are an LZ4 block; 2: one zstd frame)    18 u16 zero
 * Limits:  raw and stored bytes <= LZ4_PAGE_BYTES_MAX; raw <= 255 * stored + 64, as LZ4 can do no better, and zstd is not used where it does.
 */
#ifndef VIVACE_CODEC_LZ4_PAGE_H
#define VIVACE_CODEC_LZ4_PAGE_H

#include "common/base/arena.h"
#include "common/base/buf.h"

enum { LZ4_PAGE_HEADER_BYTES = 20, LZ4_PAGE_BYTES_MAX = 1 << 30 };

struct lz4_page {
    uint8_t kind;
    bool is_compressed, is_zstd; /* is_zstd: how */
    uint32_t count, raw_bytes;
    struct slice stored;
};

enum lz4_page_effort {
    LZ4_PAGE_AS_IS, /* the bytes are dense already, compression is not tried */
    LZ4_PAGE_FAST,  /* LZ4 */
    LZ4_PAGE_SMALL  /* zstd: a quarter to a third less of texts, read at a quarter of the speed */
};
/* Appends a page.  Failure is the buf's (ERR_TOO_LARGE also for raw bytes over the limit). */
void lz4_page_append(struct buf *out, uint8_t kind, uint32_t count, struct slice raw,
                     enum lz4_page_effort effort);

/* Checks a page that fills `bytes` exactly; *ret borrows it.  Errors: ERR_CORRUPT. */
MUST_CHECK enum err lz4_page_open(struct slice bytes, struct lz4_page *ret);
/* The raw bytes: those of the page itself, or decompressed into the arena.  Errors: ERR_CORRUPT, ERR_LIMIT, ERR_NOMEM. */
MUST_CHECK enum err lz4_page_raw(const struct lz4_page *page, struct arena *a, struct slice *ret);

#endif
