#include "common/store/page.h"

#include "common/store/page_vector.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { DOUBLE_RAW = 0, DOUBLE_DECIMAL = 1, DECIMAL_PLACES_MAX = 9 };
enum { SAMPLES = 3, DELTA_STEP = 8, PACK_SLACK = 8 };

static unsigned bits_of(uint64_t v)
{
    return v == 0 ? 0 : 64 - (unsigned)__builtin_clzll(v);
}

/* --- one vector: frame of reference, a width, and the few values that do not fit it --- */

struct plan {
    uint64_t base;
    uint32_t exceptions;
    unsigned width;
};

/* The width for which packed bits and exceptions take last. */
static struct plan plan_vector(const uint64_t *v, uint32_t n, size_t *ret_bytes)
{
    uint32_t histogram[65] = {0}, above = 0;
    struct plan p = {.base = UINT64_MAX};
    for (uint32_t i = 0; i < n; i++)
        if (v[i] < p.base)
            p.base = v[i];
    for (uint32_t i = 0; i < n; i++)
        histogram[bits_of(v[i] - p.base)]++;
    unsigned widest = 64;
    while (widest > 0 && histogram[widest] == 0)
        widest--;
    size_t best = SIZE_MAX;
    for (unsigned w = widest + 1; w-- > 0;) {
        size_t cost = (size_t)w * n + (size_t)above * (12 + (widest - w + 6) / 7 * 8);
        if (cost < best) {
            best = cost;
            p.width = w;
            p.exceptions = above;
        }
        above += histogram[w];
    }
    *ret_bytes = (best + 7) / 8 + varint_bytes(p.base) + 3;
    return p;
}

/* Eight values a time, of a width that the compiler knows; writes up to PACK_SLACK bytes too many. */
static inline __attribute__((always_inline)) uint32_t
pack_eights(uint8_t *to, const uint64_t *v, uint32_t n, uint64_t base, unsigned width)
{
    uint64_t mask = ((uint64_t)1 << width) - 1;
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8, to += width) {
        uint64_t low = 0, high = 0;
        for (unsigned k = 0; k < 4; k++) {
            low |= ((v[i + k] - base) & mask) << k * width;
            high |= ((v[i + 4 + k] - base) & mask) << k * width;
        }
        if (width <= 8) {
            le64_write(to, low | high << 4 * width);
        } else {
            le64_write(to, low);
            le64_write(to + width / 2, width % 2 == 0 ? high : low >> width / 2 * 8 | high << 4);
        }
    }
    return i;
}

/* The values of whole eights; gives how many. */
static uint32_t pack_narrow(uint8_t *to, const uint64_t *v, uint32_t n, uint64_t base,
                            unsigned width)
{
    switch (width) {
    case 1: return pack_eights(to, v, n, base, 1);
    case 2: return pack_eights(to, v, n, base, 2);
    case 3: return pack_eights(to, v, n, base, 3);
    case 4: return pack_eights(to, v, n, base, 4);
    case 5: return pack_eights(to, v, n, base, 5);
    case 6: return pack_eights(to, v, n, base, 6);
    case 7: return pack_eights(to, v, n, base, 7);
    case 8: return pack_eights(to, v, n, base, 8);
    case 9: return pack_eights(to, v, n, base, 9);
    case 10: return pack_eights(to, v, n, base, 10);
    case 11: return pack_eights(to, v, n, base, 11);
    case 12: return pack_eights(to, v, n, base, 12);
    case 13: return pack_eights(to, v, n, base, 13);
    case 14: return pack_eights(to, v, n, base, 14);
    case 15: return pack_eights(to, v, n, base, 15);
    case 16: return pack_eights(to, v, n, base, 16);
    default: return 0;
    }
}

static void pack(uint8_t *to, const uint64_t *v, uint32_t n, uint64_t base, unsigned width)
{
    uint64_t hold = 0, mask = width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
    unsigned held = 0;
    uint32_t i = pack_narrow(to, v, n, base, width);
    for (to += (size_t)i / 8 * width; i < n; i++) {
        uint64_t x = (v[i] - base) & mask;
        hold |= x << held;
        if (held + width >= 64) {
            le64_write(to, hold);
            to += 8;
            hold = held == 0 ? 0 : x >> (64 - held);
            held = held + width - 64;
        } else {
            held += width;
        }
    }
    for (; held > 0; held = held > 8 ? held - 8 : 0) {
        *to++ = (uint8_t)hold;
        hold >>= 8;
    }
}

static void put_vector(struct buf *out, const uint64_t *v, uint32_t n, struct plan p)
{
    buf_append_varint(out, p.base);
    buf_append_byte(out, (uint8_t)p.width);
    buf_append_varint(out, p.exceptions);
    uint8_t *to = p.width == 0 ? NULL : buf_extend(out, page_vector_bytes(n, p.width) + PACK_SLACK);
    if (to != NULL) {
        pack(to, v, n, p.base, p.width);
        out->len -= PACK_SLACK;
    }
    uint32_t last = 0;
    for (uint32_t i = 0; p.exceptions != 0 && p.width < 64 && i < n; i++) {
        uint64_t high = (v[i] - p.base) >> p.width;
        if (high == 0)
            continue;
        buf_append_varint(out, i - last);
        buf_append_varint(out, high);
        last = i;
    }
}

/* Eight values a time, of a width that the compiler knows: they take `width` bytes, and lie within one read of eight bytes, or four within each of two. */
static inline __attribute__((always_inline)) void
unpack_eights(const uint8_t *from, uint32_t n, uint64_t base, unsigned width, uint64_t *ret)
{
    uint64_t mask = ((uint64_t)1 << width) - 1;
    for (uint32_t i = 0; i + 8 <= n; i += 8, from += width, ret += 8) {
        uint64_t low = le64_read(from);
        uint64_t high =
            width <= 8 ? low >> 4 * width : le64_read(from + width / 2) >> 4 * width % 8;
        for (unsigned k = 0; k < 4; k++)
            ret[k] = base + (low >> k * width & mask);
        for (unsigned k = 0; k < 4; k++)
            ret[4 + k] = base + (high >> k * width & mask);
    }
}

static void unpack_narrow(const uint8_t *from, uint32_t n, uint64_t base, unsigned width,
                          uint64_t *ret)
{
    switch (width) {
    case 1: unpack_eights(from, n, base, 1, ret); break;
    case 2: unpack_eights(from, n, base, 2, ret); break;
    case 3: unpack_eights(from, n, base, 3, ret); break;
    case 4: unpack_eights(from, n, base, 4, ret); break;
    case 5: unpack_eights(from, n, base, 5, ret); break;
    case 6: unpack_eights(from, n, base, 6, ret); break;
    case 7: unpack_eights(from, n, base, 7, ret); break;
    case 8: unpack_eights(from, n, base, 8, ret); break;
    case 9: unpack_eights(from, n, base, 9, ret); break;
    case 10: unpack_eights(from, n, base, 10, ret); break;
    case 11: unpack_eights(from, n, base, 11, ret); break;
    case 12: unpack_eights(from, n, base, 12, ret); break;
    case 13: unpack_eights(from, n, base, 13, ret); break;
    case 14: unpack_eights(from, n, base, 14, ret); break;
    case 15: unpack_eights(from, n, base, 15, ret); break;
    case 16: unpack_eights(from, n, base, 16, ret); break;
    default: assert(!"width");
    }
}

static void unpack(const uint8_t *from, uint32_t n, uint64_t base, unsigned width, uint64_t *ret)
{
    uint64_t mask = width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
    if (width == 0) {
        for (uint32_t i = 0; i < n; i++)
            ret[i] = base;
        return;
    }
    if (width <= 16) {
        uint32_t whole = n / 8 * 8;
        unpack_narrow(from, whole, base, width, ret);
        from += (size_t)(whole / 8) * width;
        ret += whole;
        n -= whole;
    }
    if (width <= 56) { /* a value lies within eight bytes from the byte it begins in */
        for (uint32_t i = 0; i < n; i++) {
            size_t bit = (size_t)i * width;
            ret[i] = base + (le64_read(from + bit / 8) >> bit % 8 & mask);
        }
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        size_t bit = (size_t)i * width;
        uint64_t low = le64_read(from + bit / 8) >> bit % 8;
        uint64_t high = bit % 8 == 0 ? 0 : (uint64_t)from[bit / 8 + 8] << (64 - bit % 8);
        ret[i] = base + ((low | high) & mask);
    }
}

enum err page_get_vector(struct reader *r, uint32_t n, uint64_t *ret)
{
    struct page_vector v;
    if (!page_vector_open(r, n, &v))
        return ERR_CORRUPT;
    unpack(v.packed, n, v.base, v.width, ret);
    for (uint64_t i = 0, at = 0; i < v.exceptions; i++) {
        uint64_t step = reader_varint(r);
        if (step >= n || at + step >= n)
            return ERR_CORRUPT;
        at += step;
        ret[at] += reader_varint(r) << v.width;
    }
    return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
}

/* --- integers --- */

static uint64_t common_divisor(const uint64_t *v, uint32_t n)
{
    uint64_t d = 0;
    for (uint32_t i = 0; i < n && d != 1; i++) {
        if (d != 0 && v[i] % d == 0) /* nearly always, once a few values were seen */
            continue;
        for (uint64_t a = v[i], b; a != 0; a = b) {
            b = d % a;
            d = a;
        }
    }
    return d == 0 ? 1 : d;
}

static bool all_equal(const uint64_t *v, uint32_t n)
{
    return memcmp(v, v + 1, (n - 1) * sizeof *v) == 0;
}

/* Deltas of a vector's values, the first against `before`. */
static void deltas(const uint64_t *v, uint32_t n, uint64_t before, uint64_t *ret)
{
    for (uint32_t i = 0; i < n; i++) {
        ret[i] = zigzag((int64_t)(v[i] - before));
        before = v[i];
    }
}

static const uint64_t *scaled(const uint64_t *v, uint32_t n, uint64_t divisor, uint64_t *room)
{
    if (divisor == 1)
        return v;
    for (uint32_t i = 0; i < n; i++)
        room[i] = v[i] / divisor;
    return room;
}

struct
    costs { /* what each method takes for the vectors that were looked at, and the plans of the last of them */
    size_t packed, delta, runs;
    struct plan packed_plan, delta_plan;
};

/* What the deltas would take if each had its own width, and a little more: less than they do. */
static size_t least_of_deltas(const uint64_t *v, uint32_t n)
{
    size_t bits = 0;
    for (uint32_t i = 1; i < n; i += DELTA_STEP)
        bits += bits_of(zigzag((int64_t)(v[i] - v[i - 1])));
    return bits * DELTA_STEP / 8 * 5 / 4;
}

static size_t measure_runs(const uint64_t *v, uint32_t n, uint64_t divisor, size_t enough)
{
    uint32_t run = 1, changes = 0;
    size_t bytes = 0;
    for (uint32_t i = 1; i < n; i++)
        changes += v[i] != v[i - 1];
    if (changes * (size_t)2 >= enough)
        return enough;
    for (uint32_t i = 1; i <= n; i++, run++)
        if (i == n || v[i] != v[i - 1]) {
            bytes += varint_bytes(v[i - 1] * divisor) + varint_bytes(run);
            run = 0;
        }
    return bytes;
}

/* The vector that begins at v[from]. */
static void measure(const uint64_t *v, uint32_t from, uint32_t n, uint64_t divisor, struct costs *c)
{
    uint64_t room[PAGE_VECTOR], delta[PAGE_VECTOR];
    const uint64_t *x = scaled(v + from, n, divisor, room);
    size_t packed, bytes;
    assert(n != 0);
    c->packed_plan = plan_vector(x, n, &packed);
    bytes = packed;
    if (least_of_deltas(x, n) < packed) {
        deltas(x, n, from == 0 ? 0 : v[from - 1] / divisor, delta);
        c->delta_plan = plan_vector(delta, n, &bytes);
    }
    c->packed += packed;
    c->delta += bytes;
    c->runs += measure_runs(x, n, divisor, packed < bytes ? packed : bytes);
}

/* Neighbours are alike: the first, the middle and the last vector tell which method takes least. */
static void measure_some(const uint64_t *v, uint32_t count, uint64_t divisor, struct costs *c)
{
    uint32_t vectors = (count + PAGE_VECTOR - 1) / PAGE_VECTOR;
    uint32_t step = vectors <= SAMPLES ? 1 : (vectors - 1) / (SAMPLES - 1);
    *c = (struct costs){0};
    for (uint32_t i = 0; i < vectors; i += step) {
        uint32_t from = i * PAGE_VECTOR, left = count - from;
        measure(v, from, left < PAGE_VECTOR ? left : PAGE_VECTOR, divisor, c);
    }
}

static void put_runs(struct buf *out, const uint64_t *v, uint32_t n)
{
    for (uint32_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && v[end] == v[i];)
            end++;
        buf_append_varint(out, v[i]);
        buf_append_varint(out, end - i);
    }
}

/* `only`: the plan, where there is one vector. */
static void put_vectors(struct buf *out, const uint64_t *values, uint32_t count, uint64_t divisor,
                        bool is_delta, const struct plan *only)
{
    uint64_t room[PAGE_VECTOR], delta[PAGE_VECTOR], before = 0;
    for (uint32_t from = 0; from < count; from += PAGE_VECTOR) {
        uint32_t m = count - from < PAGE_VECTOR ? count - from : PAGE_VECTOR;
        const uint64_t *v = scaled(values + from, m, divisor, room);
        size_t bytes;
        if (is_delta) {
            deltas(v, m, before, delta);
            before = v[m - 1];
            v = delta;
        }
        put_vector(out, v, m, count <= PAGE_VECTOR ? *only : plan_vector(v, m, &bytes));
    }
}

void page_put_ints(struct buf *out, const uint64_t *values, uint32_t count)
{
    if (count == 0)
        return;
    if (all_equal(values, count)) {
        buf_append_byte(out, PAGE_CONST);
        buf_append_varint(out, values[0]);
        return;
    }
    uint64_t divisor = common_divisor(values, count);
    struct costs c;
    measure_some(values, count, divisor, &c);
    if (c.runs < c.packed && c.runs < c.delta) {
        buf_append_byte(out, PAGE_RUNS);
        put_runs(out, values, count);
        return;
    }
    bool is_delta = c.delta < c.packed;
    buf_append_byte(out, is_delta ? PAGE_DELTA : PAGE_PACKED);
    buf_append_varint(out, divisor);
    put_vectors(out, values, count, divisor, is_delta, is_delta ? &c.delta_plan : &c.packed_plan);
}

static enum err get_packed(struct reader *r, uint32_t count, bool is_delta, uint64_t *ret)
{
    uint64_t divisor = reader_varint(r), before = 0;
    for (uint32_t from = 0; from < count; from += PAGE_VECTOR) {
        uint32_t m = count - from < PAGE_VECTOR ? count - from : PAGE_VECTOR;
        enum err e = page_get_vector(r, m, ret + from);
        if (e != ERR_OK)
            return e;
        for (uint32_t i = 0; is_delta && i < m; i++)
            before = ret[from + i] = before + (uint64_t)unzigzag(ret[from + i]);
    }
    for (uint32_t i = 0; divisor != 1 && i < count; i++)
        ret[i] *= divisor;
    return ERR_OK;
}

static enum err get_runs(struct reader *r, uint32_t count, uint64_t *ret)
{
    for (uint32_t at = 0; at < count;) {
        uint64_t v = reader_varint(r), run = reader_varint(r);
        if (reader_failed(r) || run == 0 || run > count - at)
            return ERR_CORRUPT;
        for (uint64_t i = 0; i < run; i++)
            ret[at++] = v;
    }
    return ERR_OK;
}

enum err page_get_ints(struct reader *r, uint32_t count, uint64_t *ret)
{
    if (count == 0)
        return ERR_OK;
    uint8_t method = reader_u8(r);
    if (reader_failed(r))
        return ERR_CORRUPT;
    switch (method) {
    case PAGE_CONST: {
        uint64_t v = reader_varint(r);
        for (uint32_t i = 0; i < count; i++)
            ret[i] = v;
        return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
    }
    case PAGE_PACKED: return get_packed(r, count, false, ret);
    case PAGE_DELTA: return get_packed(r, count, true, ret);
    case PAGE_RUNS: return get_runs(r, count, ret);
    default: return ERR_CORRUPT;
    }
}

void page_put_ascending(struct buf *out, uint64_t *values, uint32_t count)
{
    for (uint32_t i = count; i-- > 1;) {
        assert(values[i] >= values[i - 1]);
        values[i] -= values[i - 1];
    }
    page_put_ints(out, values, count);
}

enum err page_get_ascending(struct reader *r, uint32_t count, uint64_t *ret)
{
    enum err e = page_get_ints(r, count, ret);
    bool wraps = false;
    for (uint32_t i = 1; e == ERR_OK && i < count; i++)
        wraps |= __builtin_add_overflow(ret[i], ret[i - 1], &ret[i]);
    return e == ERR_OK && wraps ? ERR_CORRUPT : e;
}

/* --- doubles: most are short decimals; those come back from an integer and a power of ten, exactly, or the page stays raw --- */

static const double tens[DECIMAL_PLACES_MAX + 1] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};

static bool as_decimal(double v, unsigned places, int64_t *ret)
{
    double scaled = v * tens[places];
    if (!(fabs(scaled) < 9e15))
        return false;
    int64_t whole = (int64_t)nearbyint(scaled);
    double back = (double)whole / tens[places];
    if (memcmp(&back, &v, sizeof v) != 0)
        return false;
    *ret = whole;
    return true;
}

static bool decimal_places(const double *v, uint32_t n, unsigned *ret)
{
    int64_t whole;
    unsigned places = 0;
    for (uint32_t i = 0; i < n; i++)
        while (!as_decimal(v[i], places, &whole))
            if (++places > DECIMAL_PLACES_MAX)
                return false;
    for (uint32_t i = 0; i < n; i++) /* more places can lose a value that fewer had */
        if (!as_decimal(v[i], places, &whole))
            return false;
    *ret = places;
    return true;
}

void page_put_doubles(struct buf *out, const double *values, uint32_t count)
{
    unsigned places;
    uint64_t vector[PAGE_VECTOR];
    if (count == 0)
        return;
    if (!decimal_places(values, count, &places)) {
        buf_append_byte(out, DOUBLE_RAW);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t bits;
            memcpy(&bits, &values[i], sizeof bits);
            buf_append_le64(out, bits);
        }
        return;
    }
    buf_append_byte(out, DOUBLE_DECIMAL);
    buf_append_byte(out, (uint8_t)places);
    for (uint32_t from = 0; from < count; from += PAGE_VECTOR) {
        uint32_t m = count - from < PAGE_VECTOR ? count - from : PAGE_VECTOR;
        for (uint32_t i = 0; i < m; i++) {
            int64_t whole = 0;
            bool fits = as_decimal(values[from + i], places, &whole);
            assert(fits);
            vector[i] = page_of_signed(whole);
        }
        page_put_ints(out, vector, m);
    }
}

enum err page_get_doubles(struct reader *r, uint32_t count, double *ret)
{
    uint64_t vector[PAGE_VECTOR];
    if (count == 0)
        return ERR_OK;
    uint8_t method = reader_u8(r);
    if (method == DOUBLE_RAW) {
        struct slice raw = reader_take(r, (size_t)count * 8);
        if (reader_failed(r))
            return ERR_CORRUPT;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t bits = le64_read(raw.ptr + (size_t)i * 8);
            memcpy(&ret[i], &bits, sizeof bits);
        }
        return ERR_OK;
    }
    uint8_t places = reader_u8(r);
    if (reader_failed(r) || method != DOUBLE_DECIMAL || places > DECIMAL_PLACES_MAX)
        return ERR_CORRUPT;
    for (uint32_t from = 0; from < count; from += PAGE_VECTOR) {
        uint32_t m = count - from < PAGE_VECTOR ? count - from : PAGE_VECTOR;
        enum err e = page_get_ints(r, m, vector);
        if (e != ERR_OK)
            return e;
        for (uint32_t i = 0; i < m; i++)
            ret[from + i] = (double)page_to_signed(vector[i]) / tens[places];
    }
    return ERR_OK;
}

/* --- texts --- */

void page_put_texts(struct buf *out, const struct slice *values, uint32_t count)
{
    uint64_t vector[PAGE_VECTOR];
    for (uint32_t from = 0; from < count; from += PAGE_VECTOR) {
        uint32_t m = count - from < PAGE_VECTOR ? count - from : PAGE_VECTOR;
        for (uint32_t i = 0; i < m; i++)
            vector[i] = values[from + i].len;
        page_put_ints(out, vector, m);
    }
    for (uint32_t i = 0; i < count; i++)
        buf_append(out, values[i]);
}

enum err page_get_texts(struct reader *r, uint32_t count, struct arena *a, struct slice **ret)
{
    uint64_t vector[PAGE_VECTOR];
    if (count / PAGE_VECTOR > reader_left(r)) /* a vector of lengths takes two bytes at last */
        return ERR_CORRUPT;
    struct slice *values = arena_alloc(a, (size_t)count * sizeof *values);
    if (values == NULL)
        return arena_err(a);
    for (uint32_t from = 0; from < count; from += PAGE_VECTOR) {
        uint32_t m = count - from < PAGE_VECTOR ? count - from : PAGE_VECTOR;
        enum err e = page_get_ints(r, m, vector);
        if (e != ERR_OK)
            return e;
        for (uint32_t i = 0; i < m; i++)
            values[from + i].len = vector[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        values[i] = reader_take(r, values[i].len);
        if (reader_failed(r))
            return ERR_CORRUPT;
    }
    *ret = values;
    return ERR_OK;
}
