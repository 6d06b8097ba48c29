#include "common/codec/lz4_page.h"

#include "common/base/bytes.h"
#include "common/base/crc32c.h"

#include <assert.h>
#include <lz4.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { FLAG_LZ4 = 1, FLAG_ZSTD = 2, WORTH_TRYING_BYTES = 64, RATIO_MAX = 255, ZSTD_LEVEL = 3 };

_Static_assert(LZ4_PAGE_BYTES_MAX < LZ4_MAX_INPUT_SIZE, "a page fits one LZ4 block");

/* As lz4_to.  What zstd can not do for want of memory, LZ4 is left to do. */
static size_t zstd_to(struct buf *out, struct slice raw)
{
    size_t at = out->len, bound = ZSTD_compressBound(raw.len);
    uint8_t *to = buf_extend(out, bound);
    if (to == NULL)
        return 0;
    size_t stored = ZSTD_compress(to, bound, raw.ptr, raw.len, ZSTD_LEVEL);
    bool pays = !ZSTD_isError(stored) && stored < raw.len - raw.len / 8 &&
                raw.len <= stored * RATIO_MAX + 64;
    out->len = at + (pays ? stored : 0);
    return pays ? stored : 0;
}

/* Compresses behind what `out` holds.  Gives the stored length, or 0 when that would not save an eighth. */
static size_t lz4_to(struct buf *out, struct slice raw)
{
    int bound = LZ4_compressBound((int)raw.len);
    size_t at = out->len;
    uint8_t *to = buf_extend(out, (size_t)bound);
    if (to == NULL)
        return 0;
    int stored = LZ4_compress_default((const char *)raw.ptr, (char *)to, (int)raw.len, bound);
    assert(stored > 0 && stored <= bound);
    bool pays = (size_t)stored < raw.len - raw.len / 8;
    out->len = at + (pays ? (size_t)stored : 0);
    return pays ? (size_t)stored : 0;
}

void lz4_page_append(struct buf *out, uint8_t kind, uint32_t count, struct slice raw,
                     enum lz4_page_effort effort)
{
    if (buf_err(out) != ERR_OK)
        return;
    if (raw.len > LZ4_PAGE_BYTES_MAX) {
        out->err = ERR_TOO_LARGE;
        return;
    }
    size_t at = out->len;
    if (buf_extend(out, LZ4_PAGE_HEADER_BYTES) == NULL)
        return;
    bool is_tried = effort != LZ4_PAGE_AS_IS && raw.len >= WORTH_TRYING_BYTES;
    uint8_t flags = 0;
    if (is_tried && effort == LZ4_PAGE_SMALL && zstd_to(out, raw) != 0)
        flags = FLAG_ZSTD;
    else if (is_tried && lz4_to(out, raw) != 0)
        flags = FLAG_LZ4;
    else
        buf_append(out, raw);
    if (buf_err(out) != ERR_OK)
        return;
    uint8_t *header = out->ptr + at;
    le32_write(header + 4, (uint32_t)(out->len - at - LZ4_PAGE_HEADER_BYTES));
    le32_write(header + 8, (uint32_t)raw.len);
    le32_write(header + 12, count);
    header[16] = kind;
    header[17] = flags;
    le16_write(header + 18, 0);
    le32_write(header, crc32c((struct slice){header + 4, out->len - at - 4}));
}

enum err lz4_page_open(struct slice bytes, struct lz4_page *ret)
{
    if (bytes.len < LZ4_PAGE_HEADER_BYTES || bytes.len > LZ4_PAGE_BYTES_MAX)
        return ERR_CORRUPT;
    const uint8_t *h = bytes.ptr;
    struct lz4_page page = {.kind = h[16],
                            .is_compressed = h[17] != 0,
                            .is_zstd = h[17] == FLAG_ZSTD,
                            .count = le32_read(h + 12),
                            .raw_bytes = le32_read(h + 8),
                            .stored = slice_sub(bytes, LZ4_PAGE_HEADER_BYTES, bytes.len)};
    if (le32_read(h) != crc32c(slice_sub(bytes, 4, bytes.len)))
        return ERR_CORRUPT;
    if (le32_read(h + 4) != page.stored.len || h[17] > FLAG_ZSTD || le16_read(h + 18) != 0)
        return ERR_CORRUPT;
    if (!page.is_compressed && page.raw_bytes != page.stored.len)
        return ERR_CORRUPT;
    if (page.is_compressed && (page.raw_bytes > LZ4_PAGE_BYTES_MAX ||
                               page.raw_bytes > (uint64_t)page.stored.len * RATIO_MAX + 64))
        return ERR_CORRUPT;
    *ret = page;
    return ERR_OK;
}

enum err lz4_page_raw(const struct lz4_page *page, struct arena *a, struct slice *ret)
{
    if (!page->is_compressed) {
        *ret = page->stored;
        return ERR_OK;
    }
    uint8_t *raw = arena_alloc(a, page->raw_bytes);
    if (raw == NULL)
        return arena_err(a);
    if (page->is_zstd) {
        size_t n = ZSTD_decompress(raw, page->raw_bytes, page->stored.ptr, page->stored.len);
        if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
            return ERR_NOMEM;
        *ret = (struct slice){raw, page->raw_bytes};
        return n == page->raw_bytes ? ERR_OK : ERR_CORRUPT;
    }
    int got = LZ4_decompress_safe((const char *)page->stored.ptr, (char *)raw,
                                  (int)page->stored.len, (int)page->raw_bytes);
    if (got < 0 || (uint32_t)got != page->raw_bytes)
        return ERR_CORRUPT;
    *ret = (struct slice){raw, page->raw_bytes};
    return ERR_OK;
}
