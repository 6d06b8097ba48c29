/* Pages of a row group, read, checked and decoded. */
#include "common/store/block_pages.h"

#include "common/store/block_dict.h"
#include "common/store/page.h"
#include "common/store/page_scan.h"

#include <assert.h>
#include <string.h>

/* The raw bytes of a page of `count` values; in s->tmp. */
enum err block_pages_one(struct block_segment *s, const struct block_ref *ref, uint8_t kind,
                         uint32_t count, struct slice *ret)
{
    struct lz4_page page;
    if (ref->bytes == 0)
        return ERR_CORRUPT;
    enum err e = block_page(s->b, ref, kind, &s->tmp, &s->base.segment.read_bytes, &page, ret);
    return e == ERR_OK && page.count != count ? ERR_CORRUPT : e;
}

const struct block_ref *block_pages_ref(const struct block_segment *s, enum block_stream stream)
{
    uint32_t part = block_is_shared(block_stream_table(stream)) ? 0 : s->group;
    return &s->b->index.streams[stream][part];
}

/* Numbers of a stream, in s->tmp: the caller resets it when they are used up. */
enum err block_pages_ints(struct block_segment *s, enum block_stream stream, uint32_t count,
                          uint64_t **ret)
{
    struct slice raw = SLICE_NONE;
    enum err e = block_pages_one(s, block_pages_ref(s, stream),
                                 (uint8_t)(BLOCK_PAGE_STREAM + stream), count, &raw);
    if (e != ERR_OK)
        return e;
    uint64_t *values = arena_alloc(&s->tmp, (size_t)count * sizeof *values);
    if (values == NULL)
        return arena_err(&s->tmp);
    struct reader r = reader_of(raw);
    *ret = values;
    return page_get_ints(&r, count, values);
}

/* The page of a stream, as far as its bytes; in s->tmp. */
static enum err stream_page(struct block_segment *s, enum block_stream stream, uint32_t count,
                            struct reader *ret)
{
    struct slice raw = SLICE_NONE;
    enum err e = block_pages_one(s, block_pages_ref(s, stream),
                                 (uint8_t)(BLOCK_PAGE_STREAM + stream), count, &raw);
    *ret = reader_of(raw);
    return e;
}

/* As numbers below `limit`. */
enum err block_pages_u32(struct block_segment *s, enum block_stream stream, uint32_t count,
                         uint64_t limit, uint32_t **ret)
{
    struct reader r;
    uint32_t *to = arena_alloc(&s->arena, (size_t)count * sizeof *to);
    if (to == NULL)
        return block_pages_no_room(s);
    enum err e = count == 0 ? ERR_OK : stream_page(s, stream, count, &r);
    if (e == ERR_OK && count != 0)
        e = page_scan_u32(&r, count, limit, to);
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        *ret = to;
    return e;
}

enum err block_pages_u8(struct block_segment *s, enum block_stream stream, uint32_t count,
                        uint8_t **ret)
{
    struct reader r;
    uint8_t *to = arena_alloc(&s->arena, count);
    if (to == NULL)
        return block_pages_no_room(s);
    enum err e = stream_page(s, stream, count, &r);
    if (e == ERR_OK)
        e = page_scan_u8(&r, count, to);
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        *ret = to;
    return e;
}

/* Values of a fixed width, copied as they stand. */
enum err block_pages_raw(struct block_segment *s, enum block_stream stream, uint32_t count,
                         size_t width, const void **ret)
{
    struct slice raw = SLICE_NONE;
    uint8_t *to = arena_alloc(&s->arena, count * width);
    if (to == NULL)
        return block_pages_no_room(s);
    enum err e = count == 0 ? ERR_OK
                            : block_pages_one(s, block_pages_ref(s, stream),
                                              (uint8_t)(BLOCK_PAGE_STREAM + stream), count, &raw);
    if (e == ERR_OK && raw.len != count * width)
        e = ERR_CORRUPT;
    if (e == ERR_OK && raw.len != 0)
        memcpy(to, raw.ptr, raw.len);
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        *ret = to;
    return e;
}

/* --- names --- */

enum err block_pages_names(struct block_segment *s, enum block_stream stream, uint32_t dict,
                           uint32_t rows, struct seg_names *ret)
{
    struct seg_names names;
    uint32_t *codes;
    enum err e = block_dict_listed(s->b, &s->user, dict, s->b->index.group_count, s->group,
                                   &s->arena, &names.values, &names.value_count);
    if (e == ERR_OK)
        e = block_pages_u32(s, stream, rows, names.value_count, &codes);
    if (e != ERR_OK)
        return e;
    names.codes = codes;
    *ret = names;
    return ERR_OK;
}
