#include "common/parquet/parquet_decode.h"

#include <assert.h>

enum { DELTA_BLOCK_VALUES_MAX = 1 << 20, DELTA_MINIBLOCKS_MAX = 512, TEXT_BYTES_MAX = 1 << 30 };

/* `width` bits (at most 64) from bit `at` of bytes that have them. */
static uint64_t bits_at(struct slice bytes, uint64_t at, unsigned width)
{
    uint8_t window[16] = {0};
    size_t first = (size_t)(at >> 3), left = bytes.len - first;
    unsigned shift = at & 7;

    if (width == 0)
        return 0;
    assert(at + width <= bytes.len * 8);
    memcpy(window, bytes.ptr + first, left < 9 ? left : 9);
    uint64_t v = le64_read(window) >> shift;
    if (shift + width > 64)
        v |= (uint64_t)window[8] << (64 - shift);
    return width == 64 ? v : v & ((UINT64_C(1) << width) - 1);
}

/* One run of the hybrid encoding. */
struct run {
    bool is_packed;
    uint32_t count;      /* values taken from it */
    uint32_t value;      /* of an RLE run */
    struct slice packed; /* of a bit-packed one */
};

static bool run_next(struct reader *r, unsigned width, uint32_t wanted, struct run *ret)
{
    uint64_t head = reader_varint(r);

    *ret = (struct run){.is_packed = (head & 1) != 0};
    if (reader_failed(r) || head >> 1 == 0)
        return false;
    if (ret->is_packed) {
        uint64_t groups = head >> 1, needed = ((uint64_t)wanted + 7) / 8;
        if (groups > needed + reader_left(r)) /* more than any bytes here could hold */
            return false;
        uint64_t values = groups * 8;
        ret->count = values < wanted ? (uint32_t)values : wanted;
        /* The padding of the last group may be cut off. */
        uint64_t bytes = groups * width, least = ((uint64_t)ret->count * width + 7) / 8;
        ret->packed = reader_take(r, bytes <= reader_left(r) ? (size_t)bytes : (size_t)least);
        return !reader_failed(r);
    }
    for (unsigned i = 0; i < (width + 7) / 8; i++)
        ret->value |= (uint32_t)reader_u8(r) << 8 * i;
    ret->count = head >> 1 < wanted ? (uint32_t)(head >> 1) : wanted;
    return !reader_failed(r) && (width == 32 || ret->value >> width == 0);
}

enum err parquet_decode_hybrid(struct reader *r, unsigned width, uint32_t count, uint32_t *ret)
{
    struct run run;

    if (width > 32)
        return ERR_CORRUPT;
    for (uint32_t at = 0; at < count; at += run.count) {
        if (!run_next(r, width, count - at, &run))
            return ERR_CORRUPT;
        for (uint32_t i = 0; i < run.count; i++)
            ret[at + i] = run.is_packed ? (uint32_t)bits_at(run.packed, (uint64_t)i * width, width)
                                        : run.value;
    }
    return ERR_OK;
}

enum err parquet_decode_levels(struct reader *r, unsigned width, uint32_t count, uint8_t *ret)
{
    struct run run;

    if (width > 8)
        return ERR_CORRUPT;
    for (uint32_t at = 0; at < count; at += run.count) {
        if (!run_next(r, width, count - at, &run))
            return ERR_CORRUPT;
        if (!run.is_packed)
            memset(ret + at, (int)run.value, run.count);
        for (uint32_t i = 0; run.is_packed && i < run.count; i++)
            ret[at + i] = (uint8_t)bits_at(run.packed, (uint64_t)i * width, width);
    }
    return ERR_OK;
}

enum err parquet_decode_bits(struct reader *r, uint32_t count, int64_t *ret)
{
    struct slice bytes = reader_take(r, (size_t)(((uint64_t)count + 7) / 8));

    if (reader_failed(r))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < count; i++)
        ret[i] = bytes.ptr[i / 8] >> (i % 8) & 1;
    return ERR_OK;
}

struct delta {
    uint64_t miniblocks, miniblock_values, total;
    uint64_t value; /* the last one */
    unsigned bits;
};

static bool delta_head(struct reader *r, struct delta *d)
{
    uint64_t block = reader_varint(r);

    d->miniblocks = reader_varint(r);
    d->total = reader_varint(r);
    d->value = (uint64_t)unzigzag(reader_varint(r));
    if (reader_failed(r) || block == 0 || block > DELTA_BLOCK_VALUES_MAX || d->miniblocks == 0 ||
        d->miniblocks > DELTA_MINIBLOCKS_MAX || block % d->miniblocks != 0)
        return false;
    d->miniblock_values = block / d->miniblocks;
    return d->miniblock_values % 8 == 0;
}

static int64_t delta_value(const struct delta *d)
{
    return d->bits == 32 ? (int32_t)d->value : (int64_t)d->value;
}

/* One block; *io_at values are there already. */
static bool delta_block(struct reader *r, struct delta *d, int64_t *ret, uint32_t *io_at)
{
    uint64_t least = (uint64_t)unzigzag(reader_varint(r));
    struct slice widths = reader_take(r, (size_t)d->miniblocks);

    for (uint64_t m = 0; m < d->miniblocks && *io_at < d->total && !reader_failed(r); m++) {
        unsigned width = widths.ptr[m];
        uint64_t n =
            d->total - *io_at < d->miniblock_values ? d->total - *io_at : d->miniblock_values;
        if (width > 64)
            return false;
        uint64_t whole = d->miniblock_values / 8 * width, used = (n * width + 7) / 8;
        /* The last miniblock may end with its values. */
        struct slice bytes = reader_take(r, whole <= reader_left(r) ? (size_t)whole : (size_t)used);
        if (reader_failed(r))
            return false;
        for (uint64_t i = 0; i < n; i++) {
            d->value += least + bits_at(bytes, i * width, width);
            ret[(*io_at)++] = delta_value(d);
        }
    }
    return !reader_failed(r);
}

enum err parquet_decode_delta(struct reader *r, unsigned bits, uint32_t count, int64_t *ret)
{
    struct delta d = {.bits = bits};
    uint32_t at = 0;

    if (!delta_head(r, &d) || d.total != count)
        return ERR_CORRUPT;
    if (count == 0)
        return ERR_OK;
    ret[at++] = delta_value(&d);
    while (at < count)
        if (!delta_block(r, &d, ret, &at))
            return ERR_CORRUPT;
    return ERR_OK;
}

enum err parquet_decode_plain_texts(struct reader *r, uint32_t count, struct slice *ret)
{
    for (uint32_t i = 0; i < count; i++)
        ret[i] = reader_take(r, reader_le32(r));
    return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
}

enum err parquet_decode_delta_lengths(struct reader *r, uint32_t count, struct arena *a,
                                      struct slice *ret)
{
    int64_t *lengths = arena_alloc(a, (size_t)count * sizeof *lengths);

    if (lengths == NULL)
        return arena_err(a);
    enum err e = parquet_decode_delta(r, 32, count, lengths);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        if (lengths[i] < 0)
            return ERR_CORRUPT;
        ret[i] = reader_take(r, (size_t)lengths[i]);
    }
    return e == ERR_OK && reader_failed(r) ? ERR_CORRUPT : e;
}

/* Each text is the beginning of the one before, and a new end. */
enum err parquet_decode_delta_texts(struct reader *r, uint32_t count, struct arena *a,
                                    struct slice *ret)
{
    int64_t *shared = arena_alloc(a, (size_t)count * sizeof *shared);
    struct slice before = SLICE_NONE;

    if (shared == NULL)
        return arena_err(a);
    enum err e = parquet_decode_delta(r, 32, count, shared);
    if (e == ERR_OK)
        e = parquet_decode_delta_lengths(r, count, a, ret);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        if (shared[i] < 0 || (uint64_t)shared[i] > before.len)
            return ERR_CORRUPT;
        if (shared[i] != 0) {
            size_t len = (size_t)shared[i] + ret[i].len;
            uint8_t *to = len > TEXT_BYTES_MAX ? NULL : arena_alloc(a, len);
            if (to == NULL)
                return len > TEXT_BYTES_MAX ? ERR_CORRUPT : arena_err(a);
            memcpy(to, before.ptr, (size_t)shared[i]);
            if (ret[i].len != 0)
                memcpy(to + shared[i], ret[i].ptr, ret[i].len);
            ret[i] = (struct slice){to, len};
        }
        before = ret[i];
    }
    return e;
}
