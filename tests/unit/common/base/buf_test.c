#include "common/base/buf.h"
#include "common/base/reader.h"
#include "tests/lib/test.h"

static void test_appends_in_order(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    buf_append(&b, SLICE_LIT("ab"));
    buf_append(&b, SLICE_NONE);
    buf_append_str(&b, "c");
    buf_append_byte(&b, 0);
    buf_append_le32(&b, 0x01020304);
    buf_append_le64(&b, 0x1122334455667788);
    buf_append_varint(&b, 300);
    buf_appendf(&b, "%d-%s", 7, "x");
    assert_int_equal(buf_err(&b), ERR_OK);
    assert_true(slice_eq(buf_slice(&b),
                         SLICE_LIT("abc\0\x04\x03\x02\x01\x88\x77\x66\x55\x44\x33\x22\x11\xac\x02"
                                   "7-x")));
    buf_release(&b);
    buf_release(&b);
}

static void test_never_over_its_maximum(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    for (int i = 0; i < 100; i++)
        buf_append_byte(&b, 'x');
    assert_int_equal(b.len, 10);
    assert_int_equal(buf_err(&b), ERR_TOO_LARGE);
    buf_reset(&b);
    buf_append(&b, SLICE_LIT("0123456789"));
    assert_int_equal(buf_err(&b), ERR_OK);
    buf_append(&b, SLICE_LIT("x"));
    assert_int_equal(buf_err(&b), ERR_TOO_LARGE);
    assert_int_equal(b.len, 10);
    assert_null(buf_extend(&b, 0)); /* sticky */
    buf_reset(&b);
    buf_appendf(&b, "%s", "01234567890");
    assert_int_equal(buf_err(&b), ERR_TOO_LARGE);
    buf_release(&b);
    buf_init(&b, SIZE_MAX);
    assert_non_null(buf_extend(&b, 0));
    assert_null(buf_extend(&b, SIZE_MAX));
    assert_int_equal(buf_err(&b), ERR_NOMEM);
    buf_release(&b);
}

static void test_grows_and_keeps_content(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    for (unsigned i = 0; i < 100000; i++)
        buf_append_le32(&b, i);
    assert_int_equal(buf_err(&b), ERR_OK);
    struct reader r = reader_of(buf_slice(&b));
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(reader_le32(&r), i);
    assert_true(reader_done(&r));
    buf_release(&b);
}

static void test_long_format_is_whole(void **state)
{
    struct buf b;
    char text[1000];

    (void)state;
    memset(text, 'y', sizeof text);
    text[sizeof text - 1] = '\0';
    buf_init(&b, 1001);
    buf_appendf(&b, "<%s", text);
    assert_int_equal(buf_err(&b), ERR_OK);
    assert_int_equal(b.len, 1000);
    assert_memory_equal(b.ptr + 1, text, 999);
    buf_release(&b);
}

static void test_take_gives_the_block(void **state)
{
    struct buf b;
    size_t len = 0;

    (void)state;
    buf_init(&b, 100);
    buf_append_str(&b, "mine");
    uint8_t *block = buf_take(&b, &len);
    assert_int_equal(len, 4);
    assert_memory_equal(block, "mine", 4);
    assert_int_equal(b.len, 0);
    buf_append_str(&b, "new");
    assert_memory_equal(block, "mine", 4);
    free(block);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_in_order),
        cmocka_unit_test(test_never_over_its_maximum),
        cmocka_unit_test(test_grows_and_keeps_content),
        cmocka_unit_test(test_long_format_is_whole),
        cmocka_unit_test(test_take_gives_the_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
