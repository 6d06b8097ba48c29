#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/codec/lz4_page.h"
#include "tests/lib/test.h"

static void check(struct slice raw, enum lz4_page_effort effort, bool want_compressed)
{
    struct buf b;
    struct arena a;
    struct lz4_page page;
    struct slice back;
    buf_init(&b, 1u << 24);
    arena_init(&a, NULL);
    buf_append_str(&b, "before");
    lz4_page_append(&b, 9, 77, raw, effort);
    assert_int_equal(buf_err(&b), ERR_OK);
    struct slice stored = slice_sub(buf_slice(&b), 6, b.len);
    assert_int_equal(lz4_page_open(stored, &page), ERR_OK);
    assert_int_equal(page.kind, 9);
    assert_int_equal(page.count, 77);
    assert_int_equal(page.is_compressed, want_compressed);
    assert_int_equal(page.is_zstd, want_compressed && effort == LZ4_PAGE_SMALL);
    assert_int_equal(lz4_page_raw(&page, &a, &back), ERR_OK);
    assert_true(slice_eq(back, raw));
    for (size_t i = 0; i < stored.len; i++) { /* any flipped bit is seen */
        b.ptr[6 + i] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(lz4_page_open(stored, &page), ERR_CORRUPT);
        b.ptr[6 + i] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(lz4_page_open(slice_sub(stored, 0, i), &page), ERR_CORRUPT);
    }
    arena_release(&a);
    buf_release(&b);
}

static void test_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[1000];
    for (int effort = LZ4_PAGE_AS_IS; effort <= LZ4_PAGE_SMALL; effort++) {
        enum lz4_page_effort e = (enum lz4_page_effort)effort;
        check(SLICE_NONE, e, false);
        memset(bytes, 'x', sizeof bytes);
        check((struct slice){bytes, sizeof bytes}, e, e != LZ4_PAGE_AS_IS);
        check((struct slice){bytes, 10}, e, false);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)(i * i * 2654435761u >> 13);
        check((struct slice){bytes, sizeof bytes}, e, false); /* does not pay */
    }
}

/* What zstd makes smaller than the limit of a page allows is left to LZ4. */
static void test_ratio(void **state)
{
    (void)state;
    struct buf b;
    struct arena a;
    struct lz4_page page;
    struct slice back, raw = {calloc(1, 1 << 20), 1 << 20};
    assert_non_null(raw.ptr);
    buf_init(&b, 1u << 24);
    arena_init(&a, NULL);
    lz4_page_append(&b, 1, 1, raw, LZ4_PAGE_SMALL);
    assert_int_equal(lz4_page_open(buf_slice(&b), &page), ERR_OK);
    assert_true(page.is_compressed && !page.is_zstd);
    assert_int_equal(lz4_page_raw(&page, &a, &back), ERR_OK);
    assert_true(slice_eq(back, raw));
    free((void *)(uintptr_t)raw.ptr);
    arena_release(&a);
    buf_release(&b);
}

/* Header fields that lie under a good checksum. */
static void test_hostile_headers(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint32_t value;
    } lies[] = {{4, 3}, {8, 0}, {8, 1u << 31}, {8, 1u << 20}, {17, 3}, {17, 130}, {18, 1}};
    uint8_t bytes[200] = {0};
    struct lz4_page page;
    struct slice back;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct buf b;
        struct arena a;
        buf_init(&b, 1u << 20);
        arena_init(&a, NULL);
        lz4_page_append(&b, 1, 1, (struct slice){bytes, sizeof bytes},
                        i % 2 == 0 ? LZ4_PAGE_FAST : LZ4_PAGE_SMALL);
        le32_write(b.ptr + lies[i].at, lies[i].value);
        le32_write(b.ptr, crc32c((struct slice){b.ptr + 4, b.len - 4}));
        enum err e = lz4_page_open(buf_slice(&b), &page);
        if (e == ERR_OK)
            e = lz4_page_raw(&page, &a, &back);
        assert_int_equal(e, ERR_CORRUPT);
        arena_release(&a);
        buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_ratio),
                                       cmocka_unit_test(test_hostile_headers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
