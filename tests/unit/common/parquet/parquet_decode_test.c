/* Encodings by the examples of parquet-format, and at their ends. */
#include "common/parquet/parquet_decode.h"
#include "tests/lib/test.h"

#define BYTES(...) \
    reader_of(     \
        (struct slice){(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})})

static void test_hybrid(void **state)
{
    uint32_t got[16];
    uint8_t levels[16];
    (void)state;

    /* 0 to 7, bit width 3: the example of Encodings.md. */
    struct reader r = BYTES(0x03, 0x88, 0xC6, 0xFA);
    assert_int_equal(parquet_decode_hybrid(&r, 3, 8, got), ERR_OK);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(got[i], i);
    r = BYTES(0x0a, 0x02, 0x03, 0x88, 0xC6, 0xFA); /* five twos, then the same */
    assert_int_equal(parquet_decode_levels(&r, 3, 13, levels), ERR_OK);
    assert_int_equal(levels[4], 2);
    assert_int_equal(levels[12], 7);
    r = BYTES(0x08); /* width 0: four zeros take no bytes */
    assert_int_equal(parquet_decode_hybrid(&r, 0, 4, got), ERR_OK);
    assert_int_equal(got[3], 0);
    r = BYTES(0x08, 0xff, 0xff, 0xff, 0xff);
    assert_int_equal(parquet_decode_hybrid(&r, 32, 4, got), ERR_OK);
    assert_int_equal(got[0], UINT32_MAX);

    r = BYTES(0x08, 0x09); /* a value wider than it may be */
    assert_int_equal(parquet_decode_hybrid(&r, 3, 4, got), ERR_CORRUPT);
    r = BYTES(0x00, 0x01); /* a run of nothing */
    assert_int_equal(parquet_decode_hybrid(&r, 3, 4, got), ERR_CORRUPT);
    r = BYTES(0x03, 0x88); /* cut */
    assert_int_equal(parquet_decode_hybrid(&r, 3, 8, got), ERR_CORRUPT);
    r = BYTES(0x02, 0x01); /* too few */
    assert_int_equal(parquet_decode_hybrid(&r, 3, 4, got), ERR_CORRUPT);
    r = BYTES(0x08, 0, 0, 0, 0, 0);
    assert_int_equal(parquet_decode_hybrid(&r, 33, 4, got), ERR_CORRUPT);
}

static void test_delta(void **state)
{
    int64_t got[16];
    (void)state;

    /* 7 5 3 1 2 3 4 5: the second example of Encodings.md, in a block of 128 with 4 miniblocks; its deltas are -2 and 1. */
    struct reader r =
        BYTES(0x80, 0x01, 0x04, 0x08, 0x0e, 0x03, 0x02, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0, 0, 0);
    static const int64_t want[] = {7, 5, 3, 1, 2, 3, 4, 5};
    assert_int_equal(parquet_decode_delta(&r, 64, 8, got), ERR_OK);
    assert_memory_equal(got, want, sizeof want);
    r = BYTES(0x80, 0x01, 0x04, 0x01, 0x0e); /* one value has no block */
    assert_int_equal(parquet_decode_delta(&r, 64, 1, got), ERR_OK);
    assert_int_equal(got[0], 7);
    /* 32 bits wrap: INT32_MAX + 1. */
    r = BYTES(0x80, 0x01, 0x04, 0x02, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x02, 0, 0, 0, 0);
    assert_int_equal(parquet_decode_delta(&r, 32, 2, got), ERR_OK);
    assert_int_equal(got[1], INT32_MIN);

    r = BYTES(0x80, 0x01, 0x04, 0x08, 0x0e); /* cut */
    assert_int_equal(parquet_decode_delta(&r, 64, 8, got), ERR_CORRUPT);
    r = BYTES(0x80, 0x01, 0x04, 0x09, 0x0e, 0x03, 0x02, 0, 0, 0, 0xc0, 0x3f);
    assert_int_equal(parquet_decode_delta(&r, 64, 8, got), ERR_CORRUPT); /* another count */
    r = BYTES(0x80, 0x01, 0x00, 0x08, 0x0e, 0x03);
    assert_int_equal(parquet_decode_delta(&r, 64, 8, got), ERR_CORRUPT); /* no miniblocks */
    r = BYTES(0x80, 0x01, 0x04, 0x08, 0x0e, 0x03, 65, 0, 0, 0, 0xc0, 0x3f);
    assert_int_equal(parquet_decode_delta(&r, 64, 8, got), ERR_CORRUPT); /* 65 bits wide */
}

static void test_texts(void **state)
{
    struct slice got[4];
    struct arena a;
    (void)state;

    arena_init(&a, NULL);
    struct reader r = BYTES(2, 0, 0, 0, 'h', 'i', 0, 0, 0, 0);
    assert_int_equal(parquet_decode_plain_texts(&r, 2, got), ERR_OK);
    assert_true(slice_eq_str(got[0], "hi") && got[1].len == 0);
    r = BYTES(3, 0, 0, 0, 'h', 'i');
    assert_int_equal(parquet_decode_plain_texts(&r, 1, got), ERR_CORRUPT);
    /* lengths 2, 3; "ab" "cde" */
    r = BYTES(0x80, 0x01, 0x04, 0x02, 0x04, 0x02, 0, 0, 0, 0, 'a', 'b', 'c', 'd', 'e');
    assert_int_equal(parquet_decode_delta_lengths(&r, 2, &a, got), ERR_OK);
    assert_true(slice_eq_str(got[0], "ab") && slice_eq_str(got[1], "cde"));
    /* prefixes 0, 1; ends "ab", "x": "ab" "ax" */
    r = BYTES(0x80, 0x01, 0x04, 0x02, 0x00, 0x02, 0, 0, 0, 0, 0x80, 0x01, 0x04, 0x02, 0x04, 0x01, 0,
              0, 0, 0, 'a', 'b', 'x');
    assert_int_equal(parquet_decode_delta_texts(&r, 2, &a, got), ERR_OK);
    assert_true(slice_eq_str(got[0], "ab") && slice_eq_str(got[1], "ax"));
    /* A prefix longer than the text before. */
    r = BYTES(0x80, 0x01, 0x04, 0x01, 0x02, 0x80, 0x01, 0x04, 0x01, 0x02, 'a');
    assert_int_equal(parquet_decode_delta_texts(&r, 1, &a, got), ERR_CORRUPT);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_delta),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
