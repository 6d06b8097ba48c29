/* Any bytes as a page, and any bytes as the values of one.  Property: what can be read, and whatever is put, comes back the same when it is written and read again. */
#include "common/codec/lz4_page.h"
#include "common/store/page.h"
#include "common/store/page_scan.h"
#include "common/store/page_template.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COUNT_MAX = 5000 };

/* --- values, put and got again --- */

/* A question that is answered is answered as the values say; v: NULL when they can not be read. */
static void fuzz_scans(struct reader bytes, uint32_t count, const uint64_t *v)
{
    static uint8_t is_it[COUNT_MAX], table[300];
    static uint32_t wide[COUNT_MAX];
    struct page_scan_interval in = {count, count * 3u, count % 2 != 0};
    struct reader r = bytes;
    for (uint32_t i = 0; i < 300; i++)
        table[i] = i % 5 == 1;
    if (page_scan_range(&r, count, in, is_it) == ERR_OK && v != NULL)
        for (uint32_t i = 0; i < count; i++)
            assert(is_it[i] == ((in.min <= v[i] && v[i] <= in.max) != in.is_outside));
    r = bytes;
    if (page_scan_table(&r, count, table, 300, is_it) == ERR_OK && v != NULL)
        for (uint32_t i = 0; i < count; i++)
            assert(v[i] >= 300 || is_it[i] == table[v[i]]);
    r = bytes;
    if (page_scan_u32(&r, count, 1u << 20, wide) == ERR_OK && v != NULL)
        for (uint32_t i = 0; i < count; i++)
            assert(wide[i] < 1u << 20 && wide[i] == v[i]);
    r = bytes;
    if (page_scan_u8(&r, count, is_it) == ERR_OK && v != NULL)
        for (uint32_t i = 0; i < count; i++)
            assert(is_it[i] == v[i]);
}

static void again_ints(const uint64_t *v, uint32_t count)
{
    static uint64_t again[COUNT_MAX];
    static uint32_t words[COUNT_MAX];
    static uint8_t bytes[COUNT_MAX];
    uint64_t max = 0;
    struct buf b;
    buf_init(&b, 1u << 24);
    page_put_ints(&b, v, count);
    struct reader back = reader_of(buf_slice(&b));
    enum err e = page_get_ints(&back, count, again);
    assert(e == ERR_OK);
    assert(reader_done(&back));
    assert(memcmp(v, again, count * sizeof *v) == 0);
    for (uint32_t i = 0; i < count; i++)
        max = v[i] > max ? v[i] : max;
    /* Narrow ones are read as such, and refused at a limit that one of them reaches. */
    back = reader_of(buf_slice(&b));
    if (count > 0 && max <= UINT32_MAX) {
        e = page_scan_u32(&back, count, max + 1, words);
        assert(e == ERR_OK);
        for (uint32_t i = 0; i < count; i++)
            assert(words[i] == v[i]);
        back = reader_of(buf_slice(&b));
        e = page_scan_u32(&back, count, max, words);
        assert(e == ERR_CORRUPT);
    }
    back = reader_of(buf_slice(&b));
    e = page_scan_u8(&back, count, bytes);
    assert((e == ERR_OK) == (max <= UINT8_MAX));
    for (uint32_t i = 0; e == ERR_OK && i < count; i++)
        assert(bytes[i] == v[i]);
    fuzz_scans(reader_of(buf_slice(&b)), count, v);
    buf_release(&b);
}

static void again_ascending(const uint64_t *v, uint32_t count)
{
    static uint64_t used[COUNT_MAX], again[COUNT_MAX];
    struct buf b;
    for (uint32_t i = 1; i < count; i++)
        assert(v[i - 1] <= v[i]);
    buf_init(&b, 1u << 24);
    memcpy(used, v, count * sizeof *v);
    page_put_ascending(&b, used, count);
    struct reader back = reader_of(buf_slice(&b));
    enum err e = page_get_ascending(&back, count, again);
    assert(e == ERR_OK);
    assert(reader_done(&back));
    assert(memcmp(v, again, count * sizeof *v) == 0);
    buf_release(&b);
}

static void again_doubles(const double *v, uint32_t count)
{
    static double again[COUNT_MAX];
    struct buf b;
    buf_init(&b, 1u << 24);
    page_put_doubles(&b, v, count);
    struct reader back = reader_of(buf_slice(&b));
    enum err e = page_get_doubles(&back, count, again);
    assert(e == ERR_OK);
    assert(reader_done(&back));
    assert(memcmp(v, again, count * sizeof *v) == 0);
    buf_release(&b);
}

static void again_texts(const struct slice *v, uint32_t count, struct arena *a)
{
    struct slice *again;
    struct buf b;
    buf_init(&b, 1u << 24);
    page_put_texts(&b, v, count);
    struct reader back = reader_of(buf_slice(&b));
    enum err e = page_get_texts(&back, count, a, &again);
    assert(e == ERR_OK);
    assert(reader_done(&back));
    for (uint32_t i = 0; i < count; i++)
        assert(slice_eq(v[i], again[i]));
    buf_release(&b);
}

static void again_templates(const struct slice *v, uint32_t count, struct arena *a)
{
    static uint8_t is_it[COUNT_MAX];
    struct slice *again;
    struct buf b;
    struct arena tmp;
    bool pays = false;
    arena_init(&tmp, a->budget);
    buf_init(&b, 1u << 24);
    enum err e = page_template_put(&b, v, count, &tmp, &pays);
    assert(e == ERR_OK || e == ERR_LIMIT);
    if (e == ERR_OK && pays && buf_err(&b) == ERR_OK) {
        e = page_template_get(buf_slice(&b), count, a, &tmp, &again);
        assert(e == ERR_OK || e == ERR_LIMIT);
        for (uint32_t i = 0; e == ERR_OK && i < count; i++)
            assert(slice_eq(v[i], again[i]));
        if (count != 0 &&
            page_template_equal(buf_slice(&b), count, v[count / 2], &tmp, is_it) == ERR_OK)
            for (uint32_t i = 0; i < count; i++)
                assert(is_it[i] == slice_eq(v[i], v[count / 2]));
    }
    buf_release(&b);
    arena_release(&tmp);
}

/* And the page around them, in each way to make it small. */
static void again_page(struct slice raw, uint32_t count, uint8_t kind, struct arena *a)
{
    for (int effort = LZ4_PAGE_AS_IS; effort <= LZ4_PAGE_SMALL; effort++) {
        struct lz4_page page;
        struct slice got;
        struct buf b;
        buf_init(&b, 1u << 24);
        lz4_page_append(&b, kind, count, raw, (enum lz4_page_effort)effort);
        assert(buf_err(&b) == ERR_OK);
        enum err e = lz4_page_open(buf_slice(&b), &page);
        assert(e == ERR_OK && page.kind == kind && page.count == count);
        e = lz4_page_raw(&page, a, &got);
        assert(e == ERR_OK && slice_eq(got, raw));
        buf_release(&b);
    }
}

/* --- bytes as a page --- */

static void fuzz_ints(struct reader *r, uint32_t count)
{
    static uint64_t v[COUNT_MAX];
    struct reader bytes = *r;
    bool is_read = page_get_ints(r, count, v) == ERR_OK;
    fuzz_scans(bytes, count, is_read ? v : NULL);
    if (is_read)
        again_ints(v, count);
}

static void fuzz_ascending(struct reader *r, uint32_t count)
{
    static uint64_t v[COUNT_MAX];
    if (page_get_ascending(r, count, v) == ERR_OK)
        again_ascending(v, count);
}

static void fuzz_doubles(struct reader *r, uint32_t count)
{
    static double v[COUNT_MAX];
    if (page_get_doubles(r, count, v) == ERR_OK)
        again_doubles(v, count);
}

static void fuzz_texts(struct reader *r, uint32_t count, struct arena *a)
{
    struct slice *v;
    if (page_get_texts(r, count, a, &v) == ERR_OK)
        again_texts(v, count, a);
}

static void fuzz_templates(struct slice raw, uint32_t count, struct arena *a)
{
    static uint8_t is_it[COUNT_MAX];
    struct slice *v;
    struct arena tmp;
    arena_init(&tmp, a->budget);
    (void)!page_template_equal(raw, count, SLICE_LIT("user-000042"), &tmp, is_it);
    arena_reset(&tmp);
    if (page_template_get(raw, count, a, &tmp, &v) == ERR_OK)
        again_templates(v, count, a);
    arena_release(&tmp);
}

/* --- bytes as values: of 1, 2, 4 or 8 bytes each, as they are or as steps --- */

static uint32_t values_of(struct reader *r, unsigned width, bool is_steps, uint64_t *ret)
{
    uint64_t sum = 0;
    uint32_t count = 0;
    for (; count < COUNT_MAX && reader_left(r) >= width; count++) {
        uint64_t x = width == 1   ? reader_u8(r)
                     : width == 2 ? reader_le16(r)
                     : width == 4 ? reader_le32(r)
                                  : reader_le64(r);
        sum = is_steps ? sum + x : x;
        ret[count] = sum;
    }
    return count;
}

/* What stands between zeros. */
static uint32_t texts_of(struct slice bytes, struct slice *ret)
{
    uint32_t count = 0;
    size_t from = 0;
    for (size_t i = 0; i < bytes.len && count < COUNT_MAX; i++) {
        if (bytes.ptr[i] == 0) {
            ret[count++] = slice_sub(bytes, from, i);
            from = i + 1;
        }
    }
    return count;
}

static void fuzz_values(uint8_t what, struct reader *r, struct arena *a)
{
    static const double scales[] = {1, 10, 1000, 1e9};
    static uint64_t v[COUNT_MAX];
    static double d[COUNT_MAX];
    static struct slice t[COUNT_MAX];
    struct slice rest = {r->at, reader_left(r)};
    unsigned width = 1u << what % 4;
    uint32_t count;
    again_page(rest, what, what, a);
    switch (what / 4 % 5) {
    case 0: count = values_of(r, width, false, v); break;
    case 1: count = values_of(r, width, true, v); break;
    case 2: /* doubles: any bits, or short decimals */
        count = values_of(r, width, false, v);
        for (uint32_t i = 0; i < count; i++) {
            if (width == 8)
                memcpy(&d[i], &v[i], sizeof d[i]);
            else
                d[i] = (double)(int32_t)v[i] / scales[width - 1];
        }
        again_doubles(d, count);
        return;
    case 3:
        count = texts_of(rest, t);
        again_texts(t, count, a);
        again_templates(t, count, a);
        return;
    default:
        count = values_of(r, width, true, v);
        for (uint32_t i = 1; i < count; i++) {
            if (v[i] < v[i - 1])
                return; /* it wrapped */
        }
        again_ascending(v, count);
        return;
    }
    again_ints(v, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of((struct slice){data, size});
    struct arena a;
    struct budget budget;
    struct lz4_page page;
    struct slice raw;
    budget_init(&budget, 64u << 20, NULL);
    arena_init(&a, &budget);
    if (lz4_page_open((struct slice){data, size}, &page) == ERR_OK)
        (void)!lz4_page_raw(&page, &a, &raw);
    page = (struct lz4_page){.is_compressed = true,
                             .raw_bytes = size < 3 ? 0 : data[1] * 16u,
                             .stored = slice_sub((struct slice){data, size}, 2, size)};
    if (size >= 3)
        (void)!lz4_page_raw(&page, &a, &raw);
    page.is_zstd = true;
    if (size >= 3)
        (void)!lz4_page_raw(&page, &a, &raw);
    uint8_t what = reader_u8(&r);
    uint32_t count = what >= 220 && what < 240 ? 0 : reader_le16(&r) % COUNT_MAX;
    if (what >= 220 && what < 240)
        fuzz_values(what, &r, &a);
    else if (what >= 240 && what < 250)
        fuzz_ascending(&r, count);
    else if (what >= 200 && what < 220)
        fuzz_templates((struct slice){r.at, reader_left(&r)}, count, &a);
    else if (what % 3 == 0)
        fuzz_ints(&r, count);
    else if (what % 3 == 1)
        fuzz_doubles(&r, count);
    else
        fuzz_texts(&r, what > 250 ? UINT32_MAX / 2 : count, &a);
    arena_release(&a);
    assert(budget_used(&budget) == 0);
    return 0;
}
