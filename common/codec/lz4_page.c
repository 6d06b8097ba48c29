#include "common/codec/lz4_page.h"

#include "common/base/bytes.h"
#include "common/base/crc32c.h"

#include <assert.h>
#include <lz4.h>

enum { FLAG_LZ4 = 1, WORTH_TRYING_BYTES = 64, LZ4_RATIO_MAX = 255 };

_Static_assert(LZ4_PAGE_BYTES_MAX < LZ4_MAX_INPUT_SIZE, "a page fits one LZ4 block");

/* Compresses behind what `out` holds.  Gives the stored length, or 0 when that would not save an eighth. */
static size_t compress_to(struct buf *out, struct slice raw)
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
                     bool is_packed)
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
    size_t stored = is_packed || raw.len < WORTH_TRYING_BYTES ? 0 : compress_to(out, raw);
    bool is_compressed = stored != 0;
    if (!is_compressed)
        buf_append(out, raw);
    if (buf_err(out) != ERR_OK)
        return;
    uint8_t *header = out->ptr + at;
    le32_write(header + 4, (uint32_t)(out->len - at - LZ4_PAGE_HEADER_BYTES));
    le32_write(header + 8, (uint32_t)raw.len);
    le32_write(header + 12, count);
    header[16] = kind;
    header[17] = is_compressed ? FLAG_LZ4 : 0;
    le16_write(header + 18, 0);
    le32_write(header, crc32c((struct slice){header + 4, out->len - at - 4}));
}

enum err lz4_page_open(struct slice bytes, struct lz4_page *ret)
{
    if (bytes.len < LZ4_PAGE_HEADER_BYTES || bytes.len > LZ4_PAGE_BYTES_MAX)
        return ERR_CORRUPT;
    const uint8_t *h = bytes.ptr;
    struct lz4_page page = {.kind = h[16],
                            .is_compressed = (h[17] & FLAG_LZ4) != 0,
                            .count = le32_read(h + 12),
                            .raw_bytes = le32_read(h + 8),
                            .stored = slice_sub(bytes, LZ4_PAGE_HEADER_BYTES, bytes.len)};
    if (le32_read(h) != crc32c(slice_sub(bytes, 4, bytes.len)))
        return ERR_CORRUPT;
    if (le32_read(h + 4) != page.stored.len || (h[17] & ~FLAG_LZ4) != 0 || le16_read(h + 18) != 0)
        return ERR_CORRUPT;
    if (!page.is_compressed && page.raw_bytes != page.stored.len)
        return ERR_CORRUPT;
    if (page.is_compressed && (page.raw_bytes > LZ4_PAGE_BYTES_MAX ||
                               page.raw_bytes > (uint64_t)page.stored.len * LZ4_RATIO_MAX + 64))
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
    int got = LZ4_decompress_safe((const char *)page->stored.ptr, (char *)raw,
                                  (int)page->stored.len, (int)page->raw_bytes);
    if (got < 0 || (uint32_t)got != page->raw_bytes)
        return ERR_CORRUPT;
    *ret = (struct slice){raw, page->raw_bytes};
    return ERR_OK;
}
