#include "common/store/page_scan.h"

#include "common/store/page_vector.h"

/* --- packed values, as narrow as they are --- */

enum { LANES = PAGE_VECTOR + 8 }; /* eight are written at a time */

union lanes { /* without the base and exceptions */
    uint8_t u8[LANES];
    uint16_t u16[LANES];
    uint32_t u32[LANES];
};

/* Eight fields of `width` bits, at most 8, into the bytes of a word: halves are moved apart, three times. */
static inline __attribute__((always_inline)) void spread_bytes(const uint8_t *from, uint32_t n,
                                                               unsigned width, uint8_t *to)
{
    const uint64_t four = ((uint64_t)1 << 4 * width) - 1, two = ((uint64_t)1 << 2 * width) - 1;
    const uint64_t one = ((uint64_t)1 << width) - 1;
    const uint64_t twos = two * 0x0000000100000001u, ones = one * 0x0001000100010001u;
    for (uint32_t i = 0; i < n; i += 8, from += width, to += 8) {
        uint64_t x = le64_read(from);
        x = (x & four) | (x >> 4 * width & four) << 32;
        x = (x & twos) | (x >> 2 * width & twos) << 16;
        le64_write(to, (x & ones) | (x >> width & ones) << 8);
    }
}

/* Four fields of 9 to 16 bits into the quarters of a word. */
static inline uint64_t apart16(uint64_t x, unsigned width)
{
    const uint64_t two = ((uint64_t)1 << 2 * width) - 1, one = ((uint64_t)1 << width) - 1;
    const uint64_t ones = one * 0x0000000100000001u;
    x = (x & two) | (x >> 2 * width & two) << 32;
    return (x & ones) | (x >> width & ones) << 16;
}

static inline __attribute__((always_inline)) void spread_shorts(const uint8_t *from, uint32_t n,
                                                                unsigned width, uint16_t *to)
{
    for (uint32_t i = 0; i < n; i += 8, from += width, to += 8) {
        uint64_t words[2] = {
            apart16(le64_read(from), width),
            i + 4 < n ? apart16(le64_read(from + width / 2) >> 4 * width % 8, width) : 0,
        };
        if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
            memcpy(to, words, sizeof words);
        for (unsigned k = 0; __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ && k < 8; k++)
            to[k] = (uint16_t)(words[k / 4] >> k % 4 * 16);
    }
}

/* The bytes that a lane takes: 1, 2, 4; 0 for values that do not fit.  Each width is known to the compiler where it is used. */
static unsigned lanes_of(const struct page_vector *v, uint32_t n, union lanes *to)
{
    const uint8_t *from = v->packed;
    switch (v->width) {
    case 1: spread_bytes(from, n, 1, to->u8); return 1;
    case 2: spread_bytes(from, n, 2, to->u8); return 1;
    case 3: spread_bytes(from, n, 3, to->u8); return 1;
    case 4: spread_bytes(from, n, 4, to->u8); return 1;
    case 5: spread_bytes(from, n, 5, to->u8); return 1;
    case 6: spread_bytes(from, n, 6, to->u8); return 1;
    case 7: spread_bytes(from, n, 7, to->u8); return 1;
    case 8: memcpy(to->u8, from, n); return 1;
    case 9: spread_shorts(from, n, 9, to->u16); return 2;
    case 10: spread_shorts(from, n, 10, to->u16); return 2;
    case 11: spread_shorts(from, n, 11, to->u16); return 2;
    case 12: spread_shorts(from, n, 12, to->u16); return 2;
    case 13: spread_shorts(from, n, 13, to->u16); return 2;
    case 14: spread_shorts(from, n, 14, to->u16); return 2;
    case 15: spread_shorts(from, n, 15, to->u16); return 2;
    case 16: spread_shorts(from, n, 16, to->u16); return 2;
    default: break;
    }
    if (v->width > 32)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t bit = (size_t)i * v->width;
        to->u32[i] = (uint32_t)(le64_read(from + bit / 8) >> bit % 8 & page_vector_mask(v->width));
    }
    return 4;
}

/* The greatest value that the packed bits can be; false when that is more than a number. */
static bool top_of(const struct page_vector *v, uint64_t *ret)
{
    return !__builtin_add_overflow(v->base, page_vector_mask(v->width), ret);
}

/* The next exception: its place and whole value.  A place comes once. */
static bool next_exception(struct reader *r, const struct page_vector *v, uint32_t n, bool is_first,
                           uint64_t *at, uint64_t *ret_value)
{
    uint64_t step = reader_varint(r), high = reader_varint(r);
    if (reader_failed(r) || step >= n || *at + step >= n || (step == 0 && !is_first))
        return false;
    *at += step;
    *ret_value = v->base + page_vector_at(v, (uint32_t)*at) + (high << v->width);
    return true;
}

/* --- is it in the interval --- */

static inline bool is_in(struct page_scan_interval in, uint64_t v)
{
    return (v - in.min <= in.max - in.min) != in.is_outside;
}

#define RANGE_OF(type, field)                                                  \
    {                                                                          \
        const type first = (type)min, span = (type)(max - min);                \
        for (uint32_t i = 0; i < n; i++)                                       \
            ret[i] = (uint8_t)((type)(lanes.field[i] - first) <= span) ^ flip; \
    }

/* Packed bits against an interval of them. */
static void range_lanes(const struct page_vector *v, uint32_t n, uint64_t min, uint64_t max,
                        uint8_t flip, uint8_t *ret)
{
    union lanes lanes;
    switch (lanes_of(v, n, &lanes)) {
    case 1: RANGE_OF(uint8_t, u8) break;
    case 2: RANGE_OF(uint16_t, u16) break;
    case 4: RANGE_OF(uint32_t, u32) break;
    default:
        for (uint32_t i = 0; i < n; i++)
            ret[i] = (uint8_t)(page_vector_at(v, i) - min <= max - min) ^ flip;
    }
}

static enum err range_vector(struct reader *r, uint32_t n, uint64_t divisor,
                             struct page_scan_interval in, uint8_t *ret)
{
    struct page_vector v;
    if (!page_vector_open(r, n, &v))
        return ERR_CORRUPT;
    uint64_t top, product, min = in.min / divisor + (in.min % divisor != 0), max = in.max / divisor;
    if (!top_of(&v, &top) || __builtin_mul_overflow(top, divisor, &product)) {
        for (uint32_t i = 0; i < n; i++) /* sums and products wrap */
            ret[i] = is_in(in, (v.base + page_vector_at(&v, i)) * divisor);
    } else if (min > max || max < v.base || min > top) {
        memset(ret, in.is_outside, n);
    } else if (min <= v.base && max >= top) {
        memset(ret, !in.is_outside, n);
    } else {
        range_lanes(&v, n, min > v.base ? min - v.base : 0, max < top ? max - v.base : top - v.base,
                    in.is_outside, ret);
    }
    for (uint64_t i = 0, at = 0, value; i < v.exceptions; i++) {
        if (!next_exception(r, &v, n, i == 0, &at, &value))
            return ERR_CORRUPT;
        ret[at] = is_in(in, value * divisor);
    }
    return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
}

static uint32_t vector_at(uint32_t from, uint32_t count)
{
    return count - from < PAGE_VECTOR ? count - from : PAGE_VECTOR;
}

static enum err delta_vector(struct reader *r, uint32_t n, uint64_t divisor, uint64_t *before,
                             uint64_t *ret)
{
    enum err e = page_get_vector(r, n, ret);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        *before += (uint64_t)unzigzag(ret[i]);
        ret[i] = *before * divisor;
    }
    return e;
}

static enum err range_delta(struct reader *r, uint32_t count, struct page_scan_interval in,
                            uint8_t *ret)
{
    uint64_t divisor = reader_varint(r), before = 0, values[PAGE_VECTOR];
    for (uint32_t from = 0; from < count; from += PAGE_VECTOR) {
        uint32_t n = vector_at(from, count);
        enum err e = delta_vector(r, n, divisor, &before, values);
        if (e != ERR_OK)
            return e;
        for (uint32_t i = 0; i < n; i++)
            ret[from + i] = is_in(in, values[i]);
    }
    return ERR_OK;
}

static enum err range_packed(struct reader *r, uint32_t count, struct page_scan_interval in,
                             uint8_t *ret)
{
    uint64_t divisor = reader_varint(r);
    if (divisor == 0) /* no put makes it: all would be 0 */
        return ERR_CORRUPT;
    for (uint32_t from = 0; from < count; from += PAGE_VECTOR) {
        enum err e = range_vector(r, vector_at(from, count), divisor, in, ret + from);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* The next values that are all the same; false for what no put makes. */
static bool next_run(struct reader *r, uint8_t method, uint32_t left, uint64_t *ret_value,
                     uint32_t *ret_run)
{
    *ret_value = reader_varint(r);
    uint64_t run = method == PAGE_CONST ? left : reader_varint(r);
    if (reader_failed(r) || run == 0 || run > left)
        return false;
    *ret_run = (uint32_t)run;
    return true;
}

enum err page_scan_range(struct reader *r, uint32_t count, struct page_scan_interval in,
                         uint8_t *ret)
{
    uint32_t run;
    uint64_t v;

    assert(in.min <= in.max);
    if (count == 0)
        return ERR_OK;
    uint8_t method = reader_u8(r);
    if (reader_failed(r) || method > PAGE_RUNS)
        return ERR_CORRUPT;
    if (method == PAGE_PACKED)
        return range_packed(r, count, in, ret);
    if (method == PAGE_DELTA)
        return range_delta(r, count, in, ret);
    for (uint32_t at = 0; at < count; at += run) {
        if (!next_run(r, method, count - at, &v, &run))
            return ERR_CORRUPT;
        memset(ret + at, is_in(in, v), run);
    }
    return ERR_OK;
}

/* --- what a table has for it --- */

/* All the entries from first to last are the same. */
static bool is_flat(const uint8_t *table, uint64_t first, uint64_t last)
{
    return first == last || memcmp(table + first, table + first + 1, last - first) == 0;
}

#define TABLE_OF(field)              \
    for (uint32_t i = 0; i < n; i++) \
    ret[i] = entry[lanes.field[i]]

/* Packed bits that may be beyond the table are looked at first. */
static bool table_lanes(const struct page_vector *v, uint32_t n, const uint8_t *table,
                        uint32_t table_count, uint8_t *ret)
{
    union lanes lanes;
    const uint8_t *entry = table + v->base;
    uint64_t last = table_count - 1 - v->base;
    unsigned bytes = lanes_of(v, n, &lanes);
    if (page_vector_mask(v->width) > last)
        for (uint32_t i = 0; i < n; i++)
            if (page_vector_at(v, i) > last)
                return false;
    switch (bytes) {
    case 1: TABLE_OF(u8); break;
    case 2: TABLE_OF(u16); break;
    case 4: TABLE_OF(u32); break;
    default:
        for (uint32_t i = 0; i < n; i++)
            ret[i] = entry[page_vector_at(v, i)];
    }
    return true;
}

static enum err table_vector(struct reader *r, uint32_t n, const uint8_t *table,
                             uint32_t table_count, uint8_t *ret)
{
    struct page_vector v;
    uint64_t top;
    if (!page_vector_open(r, n, &v) || v.base >= table_count)
        return ERR_CORRUPT;
    bool is_all_there = top_of(&v, &top) && top < table_count;
    if (is_all_there && is_flat(table, v.base, top))
        memset(ret, table[v.base], n);
    else if (!table_lanes(&v, n, table, table_count, ret))
        return ERR_CORRUPT;
    for (uint64_t i = 0, at = 0, value; i < v.exceptions; i++) {
        if (!next_exception(r, &v, n, i == 0, &at, &value) || value >= table_count)
            return ERR_CORRUPT;
        ret[at] = table[value];
    }
    return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
}

/* Of values that are not packed just so. */
static enum err table_values(const uint64_t *values, uint32_t n, const uint8_t *table,
                             uint32_t table_count, uint8_t *ret)
{
    for (uint32_t i = 0; i < n; i++) {
        if (values[i] >= table_count)
            return ERR_CORRUPT;
        ret[i] = table[values[i]];
    }
    return ERR_OK;
}

static enum err table_vectors(struct reader *r, uint32_t count, bool is_delta, const uint8_t *table,
                              uint32_t table_count, uint8_t *ret)
{
    uint64_t divisor = reader_varint(r), before = 0, values[PAGE_VECTOR];
    enum err e = ERR_OK;
    for (uint32_t from = 0; e == ERR_OK && from < count; from += PAGE_VECTOR) {
        uint32_t n = vector_at(from, count);
        if (!is_delta && divisor == 1) {
            e = table_vector(r, n, table, table_count, ret + from);
            continue;
        }
        e = is_delta ? delta_vector(r, n, divisor, &before, values) : page_get_vector(r, n, values);
        for (uint32_t i = 0; e == ERR_OK && !is_delta && i < n; i++)
            values[i] *= divisor;
        if (e == ERR_OK)
            e = table_values(values, n, table, table_count, ret + from);
    }
    return e;
}

enum err page_scan_table(struct reader *r, uint32_t count, const uint8_t *table,
                         uint32_t table_count, uint8_t *ret)
{
    uint32_t run;
    uint64_t v;

    if (count == 0)
        return ERR_OK;
    uint8_t method = reader_u8(r);
    if (reader_failed(r) || method > PAGE_RUNS || table_count == 0)
        return ERR_CORRUPT;
    if (method == PAGE_PACKED || method == PAGE_DELTA)
        return table_vectors(r, count, method == PAGE_DELTA, table, table_count, ret);
    for (uint32_t at = 0; at < count; at += run) {
        if (!next_run(r, method, count - at, &v, &run) || v >= table_count)
            return ERR_CORRUPT;
        memset(ret + at, table[v], run);
    }
    return ERR_OK;
}

/* --- the values, into less room --- */

struct narrow {
    uint64_t limit;
    uint8_t *u8; /* one of these */
    uint32_t *u32;
};

static bool narrow_put(const struct narrow *to, uint32_t at, const uint64_t *values, uint32_t n)
{
    uint64_t bits = 0;
    uint32_t wrong = 0, last = (uint32_t)(to->limit - 1);
    for (uint32_t i = 0; i < n; i++)
        bits |= values[i];
    if (to->u8 != NULL) {
        for (uint32_t i = 0; i < n; i++)
            to->u8[at + i] = (uint8_t)values[i];
        return bits < to->limit; /* 256 */
    }
    for (uint32_t i = 0; i < n; i++)
        to->u32[at + i] = (uint32_t)values[i];
    if (bits >= to->limit) /* else none can be */
        for (uint32_t i = 0; i < n; i++)
            wrong |= to->u32[at + i] > last;
    return bits >> 32 == 0 && wrong == 0;
}

/* Packed bits of which each has room, whatever it is. */
static void narrow_lanes(const struct page_vector *v, uint32_t n, const struct narrow *to,
                         uint32_t at)
{
    union lanes lanes;
    const uint32_t base = (uint32_t)v->base;
    unsigned bytes = lanes_of(v, n, &lanes);
    if (to->u8 != NULL) {
        uint8_t *bytewise = to->u8 + at;
        assert(bytes == 1);
        for (uint32_t i = 0; i < n; i++)
            bytewise[i] = (uint8_t)(base + lanes.u8[i]);
        return;
    }
    uint32_t *wide = to->u32 + at;
    if (bytes == 1)
        for (uint32_t i = 0; i < n; i++)
            wide[i] = base + lanes.u8[i];
    else if (bytes == 2)
        for (uint32_t i = 0; i < n; i++)
            wide[i] = base + lanes.u16[i];
    else
        for (uint32_t i = 0; i < n; i++)
            wide[i] = base + lanes.u32[i];
}

/* Apart from what narrow_vector keeps on the stack. */
static __attribute__((noinline)) enum err narrow_wide(struct reader *r, uint32_t n,
                                                      const struct narrow *to, uint32_t at)
{
    uint64_t values[PAGE_VECTOR];
    enum err e = page_get_vector(r, n, values);
    return e == ERR_OK && !narrow_put(to, at, values, n) ? ERR_CORRUPT : e;
}

static __attribute__((noinline)) enum err narrow_delta_wide(struct reader *r, uint32_t n,
                                                            const struct narrow *to, uint32_t at,
                                                            uint64_t *before)
{
    uint64_t values[PAGE_VECTOR];
    enum err e = delta_vector(r, n, 1, before, values);
    return e == ERR_OK && !narrow_put(to, at, values, n) ? ERR_CORRUPT : e;
}

static enum err narrow_vector(struct reader *r, uint32_t n, const struct narrow *to, uint32_t at)
{
    struct page_vector v;
    uint64_t top, room = to->u8 != NULL ? UINT8_MAX : UINT32_MAX;
    struct reader whole = *r;
    if (!page_vector_open(r, n, &v))
        return ERR_CORRUPT;
    if (v.width == 0 || !top_of(&v, &top) || top > room) {
        *r = whole;
        return narrow_wide(r, n, to, at);
    }
    narrow_lanes(&v, n, to, at);
    uint32_t wrong = 0, last = (uint32_t)(to->limit - 1);
    for (uint64_t i = 0, place = 0, value; i < v.exceptions; i++) {
        if (!next_exception(r, &v, n, i == 0, &place, &value) || value >= to->limit)
            return ERR_CORRUPT;
        if (to->u8 != NULL)
            to->u8[at + place] = (uint8_t)value;
        else
            to->u32[at + place] = (uint32_t)value;
    }
    for (uint32_t i = 0; top >= to->limit && i < n; i++) /* only u32 has a limit below its room */
        wrong |= to->u32[at + i] > last;
    return reader_failed(r) || wrong != 0 ? ERR_CORRUPT : ERR_OK;
}

#define STEPS(out)                                        \
    for (uint32_t i = 0; i < n; i++) {                    \
        sum += (uint64_t)unzigzag(v->base + lanes.u8[i]); \
        bits |= sum;                                      \
        (out)[i] = (typeof((out)[0]))sum;                 \
    }

/* Steps that are bytes above the base.  False when one is more; then nothing was done but reading. */
static bool narrow_steps(struct reader *r, const struct page_vector *v, uint32_t n,
                         const struct narrow *to, uint32_t at, uint64_t *before, uint64_t *all_bits)
{
    union lanes lanes;
    uint64_t sum = *before, bits = 0;
    if (v->width == 0 || v->width > 8)
        return false;
    (void)lanes_of(v, n, &lanes);
    for (uint64_t i = 0, place = 0, value; i < v->exceptions; i++) {
        if (!next_exception(r, v, n, i == 0, &place, &value) || value - v->base > UINT8_MAX)
            return false;
        lanes.u8[place] = (uint8_t)(value - v->base);
    }
    uint8_t *bytes = to->u8 == NULL ? NULL : to->u8 + at;
    uint32_t *words = to->u32 == NULL ? NULL : to->u32 + at;
    if (bytes != NULL)
        STEPS(bytes)
    else
        STEPS(words)
    *before = sum;
    *all_bits |= bits;
    return true;
}

/* As delta_vector and narrow_put. */
static enum err narrow_delta(struct reader *r, uint32_t n, const struct narrow *to, uint32_t at,
                             uint64_t *before)
{
    struct page_vector v;
    struct reader whole = *r;
    uint64_t bits = 0;
    uint32_t wrong = 0, last = (uint32_t)(to->limit - 1);
    if (!page_vector_open(r, n, &v))
        return ERR_CORRUPT;
    if (!narrow_steps(r, &v, n, to, at, before, &bits)) {
        *r = whole;
        return narrow_delta_wide(r, n, to, at, before);
    }
    for (uint32_t i = 0; bits >= to->limit && to->u32 != NULL && i < n; i++)
        wrong |= to->u32[at + i] > last;
    bool is_all_there = bits < to->limit || (to->u32 != NULL && bits >> 32 == 0 && wrong == 0);
    return is_all_there ? ERR_OK : ERR_CORRUPT;
}

static enum err narrow_vectors(struct reader *r, uint32_t count, bool is_delta,
                               const struct narrow *to)
{
    uint64_t divisor = reader_varint(r), before = 0, values[PAGE_VECTOR];
    enum err e = ERR_OK;
    for (uint32_t from = 0; e == ERR_OK && from < count; from += PAGE_VECTOR) {
        uint32_t n = vector_at(from, count);
        if (divisor == 1) {
            e = is_delta ? narrow_delta(r, n, to, from, &before) : narrow_vector(r, n, to, from);
            continue;
        }
        e = is_delta ? delta_vector(r, n, divisor, &before, values) : page_get_vector(r, n, values);
        for (uint32_t i = 0; e == ERR_OK && !is_delta && i < n; i++)
            values[i] *= divisor;
        if (e == ERR_OK && !narrow_put(to, from, values, n))
            e = ERR_CORRUPT;
    }
    return e;
}

static enum err narrow_get(struct reader *r, uint32_t count, const struct narrow *to)
{
    uint32_t run;
    uint64_t v;

    if (count == 0)
        return ERR_OK;
    uint8_t method = reader_u8(r);
    if (reader_failed(r) || method > PAGE_RUNS)
        return ERR_CORRUPT;
    if (method == PAGE_PACKED || method == PAGE_DELTA)
        return narrow_vectors(r, count, method == PAGE_DELTA, to);
    for (uint32_t at = 0; at < count; at += run) {
        if (!next_run(r, method, count - at, &v, &run) || v >= to->limit)
            return ERR_CORRUPT;
        if (to->u8 != NULL)
            memset(to->u8 + at, (int)v, run);
        for (uint32_t i = at; to->u32 != NULL && i < at + run; i++)
            to->u32[i] = (uint32_t)v;
    }
    return ERR_OK;
}

enum err page_scan_u32(struct reader *r, uint32_t count, uint64_t limit, uint32_t *ret)
{
    assert(limit <= (uint64_t)UINT32_MAX + 1);
    if (limit == 0 && count != 0)
        return ERR_CORRUPT;
    return narrow_get(r, count, &(struct narrow){.limit = limit, .u32 = ret});
}

enum err page_scan_u8(struct reader *r, uint32_t count, uint8_t *ret)
{
    return narrow_get(r, count, &(struct narrow){.limit = UINT8_MAX + 1, .u8 = ret});
}
