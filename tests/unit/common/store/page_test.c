#include "common/base/rng.h"
#include "common/store/page.h"
#include "common/store/page_scan.h"
#include "tests/lib/test.h"

#include <math.h>

/* Into less room: the same values, none that does not fit. */
static void check_narrow(struct slice bytes, const uint64_t *v, uint32_t n)
{
    uint32_t *wide = calloc(n + 1, sizeof *wide);
    uint8_t *narrow = calloc(n + 1, 1);
    uint64_t most = 0;
    assert_non_null(wide);
    assert_non_null(narrow);
    for (uint32_t i = 0; i < n; i++)
        most = v[i] > most ? v[i] : most;
    bool fits = most <= UINT32_MAX;
    struct reader r = reader_of(bytes);
    assert_int_equal(page_scan_u32(&r, n, fits ? most + 1 : (uint64_t)UINT32_MAX + 1, wide),
                     fits ? ERR_OK : ERR_CORRUPT);
    for (uint32_t i = 0; fits && i < n; i++)
        assert_true(wide[i] == v[i]);
    r = reader_of(bytes);
    if (fits && n != 0)
        assert_int_equal(page_scan_u32(&r, n, most, wide), ERR_CORRUPT);
    r = reader_of(bytes);
    assert_int_equal(page_scan_u8(&r, n, narrow), most <= UINT8_MAX ? ERR_OK : ERR_CORRUPT);
    for (uint32_t i = 0; most <= UINT8_MAX && i < n; i++)
        assert_true(narrow[i] == v[i]);
    for (size_t cut = 0; fits && cut < bytes.len && bytes.len < 1000; cut++) {
        r = reader_of((struct slice){bytes.ptr, cut});
        assert_int_equal(page_scan_u32(&r, n, most + 1, wide), ERR_CORRUPT);
    }
    free(wide);
    free(narrow);
}

/* A question of the bytes against the same question of the values. */
static void check_range(struct slice bytes, const uint64_t *v, uint32_t n, uint64_t min,
                        uint64_t max)
{
    uint8_t *got = calloc(n + 1, 1);
    assert_non_null(got);
    for (int is_outside = 0; is_outside < 2; is_outside++) {
        struct reader r = reader_of(bytes);
        struct page_scan_interval in = {min, max, is_outside != 0};
        assert_int_equal(page_scan_range(&r, n, in, got), ERR_OK);
        assert_true(reader_done(&r));
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(got[i], (min <= v[i] && v[i] <= max) != (is_outside != 0));
    }
    free(got);
}

static void check_table(struct slice bytes, const uint64_t *v, uint32_t n, uint32_t every)
{
    enum { ENTRIES_MAX = 1 << 17 };
    uint64_t most = 0;
    for (uint32_t i = 0; i < n; i++)
        most = v[i] > most ? v[i] : most;
    if (most >= ENTRIES_MAX || n == 0)
        return;
    uint8_t *table = calloc(most + 1, 1), *got = calloc(n + 1, 1);
    assert_non_null(table);
    assert_non_null(got);
    for (uint64_t i = 0; i <= most; i++)
        table[i] = every == 0 || i % every == v[n / 2] % every;
    struct reader r = reader_of(bytes);
    assert_int_equal(page_scan_table(&r, n, table, (uint32_t)most + 1, got), ERR_OK);
    assert_true(reader_done(&r));
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(got[i], table[v[i]]);
    for (uint64_t i = 0; i <= most; i++)
        table[i] =
            i !=
            most; /* what is read is checked: a table that ends too early is seen, unless nothing of its end was needed */
    r = reader_of(bytes);
    if (most > 0)
        assert_int_equal(page_scan_table(&r, n, table, (uint32_t)most, got), ERR_CORRUPT);
    free(table);
    free(got);
}

static void check_scans(struct slice bytes, const uint64_t *v, uint32_t n)
{
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < n; i++) {
        least = v[i] < least ? v[i] : least;
        most = v[i] > most ? v[i] : most;
    }
    uint64_t middle = n == 0 ? 0 : v[n / 2], other = n == 0 ? 0 : v[n / 3];
    check_range(bytes, v, n, 0, UINT64_MAX);
    check_range(bytes, v, n, middle, middle);
    check_range(bytes, v, n, 0, middle);
    check_range(bytes, v, n, middle, UINT64_MAX);
    check_range(bytes, v, n, middle < other ? middle : other, middle < other ? other : middle);
    if (most < UINT64_MAX)
        check_range(bytes, v, n, most + 1, UINT64_MAX);
    if (least > 0 && n != 0)
        check_range(bytes, v, n, 0, least - 1);
    check_range(bytes, v, n, middle / 2, middle / 2 + 1);
    for (uint32_t every = 0; every < 4; every++)
        check_table(bytes, v, n, every);
    uint8_t table[2] = {0, 1}, *got = calloc(n + 1, 1);
    assert_non_null(got);
    for (size_t cut = 0; cut < bytes.len && bytes.len < 300; cut++) {
        struct reader r = reader_of((struct slice){bytes.ptr, cut});
        struct page_scan_interval in = {middle, middle, false};
        assert_int_equal(page_scan_range(&r, n, in, got), ERR_CORRUPT);
        r = reader_of((struct slice){bytes.ptr, cut});
        assert_int_equal(page_scan_table(&r, n, table, 2, got), ERR_CORRUPT);
    }
    free(got);
}

static void check_ints(const uint64_t *v, uint32_t n, size_t bytes_max)
{
    struct buf b;
    buf_init(&b, 1u << 26);
    page_put_ints(&b, v, n);
    assert_int_equal(buf_err(&b), ERR_OK);
    assert_true(b.len <= bytes_max);
    /* Exactly as long as the bytes, so that a read past the end is seen. */
    uint8_t *copy = malloc(b.len + 1);
    uint64_t *back = calloc(n + 1, sizeof *back);
    assert_non_null(copy);
    assert_non_null(back);
    memcpy(copy, b.ptr == NULL ? (const uint8_t *)"" : b.ptr, b.len);
    copy = realloc(copy, b.len == 0 ? 1 : b.len);
    struct reader r = reader_of((struct slice){copy, b.len});
    assert_int_equal(page_get_ints(&r, n, back), ERR_OK);
    assert_true(reader_done(&r));
    for (uint32_t i = 0; i < n; i++)
        assert_true(back[i] == v[i]);
    check_narrow((struct slice){copy, b.len}, v, n);
    check_scans((struct slice){copy, b.len}, v, n);
    for (size_t cut = 0; cut < b.len && b.len < 3000; cut++) { /* less is not enough */
        r = reader_of((struct slice){copy, cut});
        assert_int_equal(page_get_ints(&r, n, back), ERR_CORRUPT);
    }
    free(copy);
    free(back);
    buf_release(&b);
}

static void test_ascending(void **state)
{
    (void)state;
    struct rng rng;
    struct buf b;
    static uint64_t v[3000], want[3000], back[3000];
    rng_init(&rng, 5);
    buf_init(&b, 1u << 20);
    for (uint32_t n = 0; n <= 3000; n = n * 2 + 1) {
        for (unsigned shift = 0; shift < 64; shift += 9) {
            for (uint32_t i = 0; i < n; i++)
                want[i] = v[i] = (i == 0 ? 0 : want[i - 1]) + ((rng_u64(&rng) >> shift) / 3000);
            buf_reset(&b);
            page_put_ascending(&b, v, n);
            struct reader r = reader_of(buf_slice(&b));
            assert_int_equal(page_get_ascending(&r, n, back), ERR_OK);
            assert_true(reader_done(&r));
            assert_memory_equal(back, want, n * sizeof *want);
        }
    }
    static const uint64_t wraps[] = {5, UINT64_MAX - 4};
    buf_reset(&b);
    page_put_ints(&b, wraps, 2);
    struct reader r = reader_of(buf_slice(&b));
    assert_int_equal(page_get_ascending(&r, 2, back), ERR_CORRUPT);
    buf_release(&b);
}

static void test_ints(void **state)
{
    (void)state;
    struct rng rng;
    static uint64_t v[5000];
    rng_init(&rng, 1);
    check_ints(v, 0, 0);
    check_ints(v, 5000, 2); /* one value */
    for (unsigned width = 0; width <= 64; width++) {
        for (uint32_t n = 1; n <= 5000; n = n * 3 + 1) {
            for (uint32_t i = 0; i < n; i++)
                v[i] = width == 0 ? 7 : rng_u64(&rng) >> (64 - width);
            check_ints(v, n, (size_t)n * width / 8 + 40 * (n / PAGE_VECTOR + 1));
        }
    }
    for (uint32_t jump = 0; jump < 3; jump++) { /* small steps, and some that are not */
        for (uint32_t i = 0, at = 100; i < 5000; i++) {
            at = i % 211 == 7 && jump != 0 ? (uint32_t)rng_below(&rng, jump == 1 ? 200 : 5000)
                 : at > 2 && rng_below(&rng, 3) == 0 ? at - 2
                                                     : at + (i % 2);
            v[i] = at;
        }
        check_ints(v, 5000, 10000);
    }
    for (uint32_t i = 0; i < 5000; i++) /* times in microseconds, ascending */
        v[i] = 1700000000000000000 + i * 1000000ull + rng_below(&rng, 1000) * 1000;
    check_ints(v, 5000, 5000 * 13 / 8);
    for (uint32_t i = 0; i < 5000; i++) /* small, but for a few */
        v[i] = rng_below(&rng, 100) == 0 ? rng_u64(&rng) : rng_below(&rng, 16);
    check_ints(v, 5000, 5000 * 6 / 8 + 400);
    for (uint32_t i = 0; i < 5000; i++)
        v[i] = i / 700;
    check_ints(v, 5000, 40);
    for (uint32_t i = 0; i < 5000; i++)
        v[i] = i % 2 == 0 ? UINT64_MAX : 0;
    check_ints(v, 5000, 5000);
}

static void check_doubles(const double *v, uint32_t n, size_t bytes_max)
{
    struct buf b;
    double *back = calloc(n, sizeof *back);
    assert_non_null(back);
    buf_init(&b, 1u << 26);
    page_put_doubles(&b, v, n);
    assert_true(b.len <= bytes_max);
    struct reader r = reader_of(buf_slice(&b));
    assert_int_equal(page_get_doubles(&r, n, back), ERR_OK);
    assert_memory_equal(v, back, n * sizeof *v);
    for (size_t cut = 0; cut < b.len; cut++) {
        r = reader_of((struct slice){b.ptr, cut});
        assert_int_equal(page_get_doubles(&r, n, back), ERR_CORRUPT);
    }
    buf_release(&b);
    free(back);
}

static void test_doubles(void **state)
{
    (void)state;
    struct rng rng;
    static double v[3000];
    rng_init(&rng, 2);
    for (int i = 0; i < 3000; i++)
        v[i] = (double)rng_below(&rng, 1000) / 1000.0;
    check_doubles(v, 3000, 3000 * 11 / 8);
    static const double odd[] = {
        0.0,   -0.0, (double)NAN, (double)INFINITY,  -(double)INFINITY, 5e-324,
        1e300, 0.1,  1e15,        9007199254740993.0};
    check_doubles(odd, 10, 81);
    for (uint32_t i = 0; i < 10; i++)
        check_doubles(&odd[i], 1, 16);
    for (int i = 0; i < 3000; i++)
        v[i] = rng_unit(&rng);
    check_doubles(v, 300, 300 * 8 + 1);
}

static void test_texts(void **state)
{
    (void)state;
    static struct slice v[3000];
    struct slice *back;
    struct arena a;
    struct buf b;
    for (size_t i = 0; i < 3000; i++)
        v[i] = slice_sub(SLICE_LIT("the quick brown fox\0jumps over"), 0, i % 31);
    arena_init(&a, NULL);
    buf_init(&b, 1u << 26);
    page_put_texts(&b, v, 3000);
    struct reader r = reader_of(buf_slice(&b));
    assert_int_equal(page_get_texts(&r, 3000, &a, &back), ERR_OK);
    assert_true(reader_done(&r));
    for (size_t i = 0; i < 3000; i++)
        assert_true(slice_eq(v[i], back[i]));
    for (size_t cut = 0; cut < b.len; cut += 97) {
        r = reader_of((struct slice){b.ptr, cut});
        assert_int_equal(page_get_texts(&r, 3000, &a, &back), ERR_CORRUPT);
    }
    r = reader_of(SLICE_LIT("\0\x05")); /* claims far more than there is */
    assert_int_equal(page_get_texts(&r, UINT32_MAX, &a, &back), ERR_CORRUPT);
    arena_release(&a);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ints), cmocka_unit_test(test_ascending),
        cmocka_unit_test(test_doubles), cmocka_unit_test(test_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
