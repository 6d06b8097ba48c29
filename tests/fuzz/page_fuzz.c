/* Any bytes as values of a page.  Property: what can be read comes back the same when it is written and read again. */
#include "common/codec/lz4_page.h"
#include "common/store/page.h"
#include "common/store/page_template.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COUNT_MAX = 5000 };

static void fuzz_ints(struct reader *r, uint32_t count)
{
    static uint64_t v[COUNT_MAX], again[COUNT_MAX];
    struct buf b;
    if (page_get_ints(r, count, v) != ERR_OK)
        return;
    buf_init(&b, 1u << 24);
    page_put_ints(&b, v, count);
    struct reader back = reader_of(buf_slice(&b));
    enum err e = page_get_ints(&back, count, again);
    assert(e == ERR_OK);
    assert(reader_done(&back));
    assert(memcmp(v, again, count * sizeof *v) == 0);
    buf_release(&b);
}

static void fuzz_ascending(struct reader *r, uint32_t count)
{
    static uint64_t v[COUNT_MAX], used[COUNT_MAX], again[COUNT_MAX];
    struct buf b;
    if (page_get_ascending(r, count, v) != ERR_OK)
        return;
    for (uint32_t i = 1; i < count; i++)
        assert(v[i - 1] <= v[i]);
    buf_init(&b, 1u << 24);
    memcpy(used, v, count * sizeof *v);
    page_put_ascending(&b, used, count);
    struct reader back = reader_of(buf_slice(&b));
    enum err e = page_get_ascending(&back, count, again);
    assert(e == ERR_OK);
    assert(memcmp(v, again, count * sizeof *v) == 0);
    buf_release(&b);
}

static void fuzz_doubles(struct reader *r, uint32_t count)
{
    static double v[COUNT_MAX], again[COUNT_MAX];
    struct buf b;
    if (page_get_doubles(r, count, v) != ERR_OK)
        return;
    buf_init(&b, 1u << 24);
    page_put_doubles(&b, v, count);
    struct reader back = reader_of(buf_slice(&b));
    enum err e = page_get_doubles(&back, count, again);
    assert(e == ERR_OK);
    assert(memcmp(v, again, count * sizeof *v) == 0);
    buf_release(&b);
}

static void fuzz_texts(struct reader *r, uint32_t count, struct arena *a)
{
    struct slice *v, *again;
    struct buf b;
    if (page_get_texts(r, count, a, &v) != ERR_OK)
        return;
    buf_init(&b, 1u << 24);
    page_put_texts(&b, v, count);
    struct reader back = reader_of(buf_slice(&b));
    enum err e = page_get_texts(&back, count, a, &again);
    assert(e == ERR_OK);
    for (uint32_t i = 0; i < count; i++)
        assert(slice_eq(v[i], again[i]));
    buf_release(&b);
}

/* What can be read as templates is found again, value by value. */
static void fuzz_templates(struct slice raw, uint32_t count, struct arena *a)
{
    static uint8_t is_it[COUNT_MAX];
    struct slice *v, *again;
    struct buf b;
    struct arena tmp;
    bool pays = false;
    arena_init(&tmp, a->budget);
    buf_init(&b, 1u << 24);
    (void)!page_template_equal(raw, count, SLICE_LIT("user-000042"), &tmp, is_it);
    arena_reset(&tmp);
    if (page_template_get(raw, count, a, &tmp, &v) == ERR_OK &&
        page_template_put(&b, v, count, &tmp, &pays) == ERR_OK && pays && buf_err(&b) == ERR_OK) {
        if (page_template_get(buf_slice(&b), count, a, &tmp, &again) == ERR_OK)
            for (uint32_t i = 0; i < count; i++)
                assert(slice_eq(v[i], again[i]));
        if (count != 0 &&
            page_template_equal(buf_slice(&b), count, v[count / 2], &tmp, is_it) == ERR_OK)
            for (uint32_t i = 0; i < count; i++)
                assert(is_it[i] == slice_eq(v[i], v[count / 2]));
    }
    buf_release(&b);
    arena_release(&tmp);
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
    uint32_t count = reader_le16(&r) % COUNT_MAX;
    if (what >= 240 && what < 250)
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
