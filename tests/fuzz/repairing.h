/*
 * repairing.h - bytes as a block file whose checksums are made right as they are read: they would stop nearly every input at the door, and what lies behind
 * them must hold on its own.
 */
#ifndef VIVACE_TESTS_FUZZ_REPAIRING_H
#define VIVACE_TESTS_FUZZ_REPAIRING_H

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/codec/lz4_page.h"
#include "common/store/block_priv.h"

struct repairing {
    struct object object; /* first */
    const uint8_t *data;
};

static inline void repair_page(uint8_t *page, size_t len)
{
    if (len < LZ4_PAGE_HEADER_BYTES)
        return;
    le32_write(page + 4, (uint32_t)(len - LZ4_PAGE_HEADER_BYTES));
    page[17] %= 3;
    if (page[17] == 0)
        le32_write(page + 8, (uint32_t)(len - LZ4_PAGE_HEADER_BYTES));
    le16_write(page + 18, 0);
    le32_write(page, crc32c((struct slice){page + 4, len - 4}));
}

static inline enum err repairing_read(struct object *o, enum object_part part, uint64_t offset,
                                      void *ret, size_t len)
{
    struct repairing *r = (struct repairing *)(void *)o;
    uint8_t *to = ret;
    (void)part;
    if (offset > o->bytes || len > o->bytes - offset)
        return ERR_CORRUPT;
    if (len != 0)
        memcpy(to, r->data + offset, len);
    if (offset + len < o->bytes || len < BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES) {
        repair_page(to, len);
        return ERR_OK;
    }
    uint8_t *trailer = to + len - BLOCK_TRAILER_BYTES;
    uint64_t end = o->bytes - BLOCK_TRAILER_BYTES, footer = le64_read(trailer) % end;
    if (footer < BLOCK_HEADER_BYTES)
        footer = BLOCK_HEADER_BYTES;
    le64_write(trailer, footer);
    le32_write(trailer + 8, (uint32_t)(end - footer));
    le16_write(trailer + 12, (uint16_t)(1 + (le16_read(trailer + 12) - 1u) % BLOCK_VERSION));
    le64_write(trailer + 16, o->bytes);
    le32_write(trailer + 24, crc32c((struct slice){trailer, 24}));
    memcpy(trailer + 28, BLOCK_MAGIC, 4);
    if (footer >= offset)
        repair_page(to + (footer - offset), (size_t)(end - footer));
    return ERR_OK;
}

static inline void repairing_close(struct object *o)
{
    (void)o;
}

static const struct object_ops repairing_ops = {.read = repairing_read, .close = repairing_close};

#endif
