#include "common/base/buf.h"
#include "common/base/reader.h"
#include "common/base/rng.h"
#include "tests/lib/test.h"

#define READER(s) reader_of(SLICE_LIT(s))

static void test_varints(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        uint64_t value;
        bool is_good;
    } rows[] = {
        {"\x00", 1, 0, true},
        {"\x7f", 1, 127, true},
        {"\x80\x01", 2, 128, true},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, UINT64_MAX, true},
        {"\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10, 1, true}, /* over-long */
        {"\x80\x00", 2, 0, true},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, 0, false}, /* 65th bit */
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11, 0, false},
        {"\x80", 1, 0, false},
        {"", 0, 0, false},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *exact =
            malloc(rows[i].len + (rows[i].len == 0)); /* the sanitizer watches its end */
        assert_non_null(exact);
        memcpy(exact, rows[i].bytes, rows[i].len);
        struct reader r = reader_of((struct slice){exact, rows[i].len});
        assert_true(reader_varint(&r) == rows[i].value);
        assert_int_equal(reader_failed(&r), !rows[i].is_good);
        assert_true(reader_done(&r));
        free(exact);
    }
}

static void test_varints_round_trip(void **state)
{
    struct rng rng;
    struct buf b;

    (void)state;
    rng_init(&rng, 1);
    buf_init(&b, VARINT_BYTES_MAX);
    for (int i = 0; i < 20000; i++) {
        uint64_t v = rng_u64(&rng) >> rng_below(&rng, 64);
        buf_reset(&b);
        buf_append_varint(&b, v);
        assert_int_equal(b.len, varint_bytes(v));
        struct reader r = reader_of(buf_slice(&b));
        assert_true(reader_varint(&r) == v);
        assert_true(reader_done(&r) && !reader_failed(&r));
        assert_true(unzigzag(zigzag((int64_t)v)) == (int64_t)v);
    }
    assert_true(zigzag(-1) == 1 && zigzag(1) == 2 && zigzag(INT64_MIN) == UINT64_MAX);
    buf_release(&b);
}

static void test_fixed_widths(void **state)
{
    struct reader r = READER("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");

    (void)state;
    assert_int_equal(reader_u8(&r), 1);
    assert_int_equal(reader_le16(&r), 0x0302);
    assert_int_equal(reader_le32(&r), 0x07060504);
    assert_true(reader_le64(&r) == 0x0f0e0d0c0b0a0908);
    assert_true(reader_done(&r) && !reader_failed(&r));
    assert_int_equal(reader_u8(&r), 0);
    assert_true(reader_failed(&r));
}

static void test_failure_is_sticky(void **state)
{
    struct reader r = READER("\x05"
                             "abc");

    (void)state;
    assert_int_equal(reader_bytes(&r).len, 0);
    assert_true(reader_failed(&r));
    assert_true(reader_done(&r));
    assert_int_equal(reader_u8(&r), 0);
    assert_int_equal(reader_take(&r, 1).len, 0);
    r = READER("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
               "abc");
    assert_int_equal(reader_bytes(&r).len, 0); /* a length near 2^64 */
    assert_true(reader_failed(&r));
}

static void test_bytes_and_nothing(void **state)
{
    struct reader r = READER("\x03"
                             "abc\x00");

    (void)state;
    assert_true(slice_eq_str(reader_bytes(&r), "abc"));
    struct slice empty = reader_bytes(&r);
    assert_int_equal(empty.len, 0);
    assert_false(reader_failed(&r));
    r = reader_of(SLICE_NONE);
    assert_true(reader_done(&r));
    assert_int_equal(reader_take(&r, 0).len, 0);
    assert_false(reader_failed(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varints),           cmocka_unit_test(test_varints_round_trip),
        cmocka_unit_test(test_fixed_widths),      cmocka_unit_test(test_failure_is_sticky),
        cmocka_unit_test(test_bytes_and_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
