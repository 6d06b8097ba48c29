#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "tests/lib/test.h"

static void expect_bytes(const struct buf *b, struct slice want)
{
    assert_int_equal(buf_err(b), ERR_OK);
    assert_int_equal(b->len, want.len);
    assert_memory_equal(b->ptr, want.ptr, want.len);
}

static void test_fields_have_their_wire_form(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    pb_varint(&b, 1, 300);
    pb_fixed32(&b, 2, 1);
    pb_fixed64(&b, 3, 2);
    pb_double(&b, 4, 1.0);
    pb_bytes(&b, 16, SLICE_LIT("x"));
    expect_bytes(&b, SLICE_LIT("\x08\xac\x02"
                               "\x15\x01\0\0\0"
                               "\x19\x02\0\0\0\0\0\0\0"
                               "\x21\0\0\0\0\0\0\xf0\x3f"
                               "\x82\x01\x01x"));
    buf_release(&b);
}

static void test_sub_messages_of_every_length(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 127, 128, 16383, 16384, 70000};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        size_t outer = pb_begin(&b, 1);
        size_t inner = pb_begin(&b, 2);
        for (size_t n = 0; n < sizes[i]; n++)
            buf_append_byte(&b, (uint8_t)n);
        pb_end(&b, inner);
        pb_end(&b, outer);
        assert_int_equal(buf_err(&b), ERR_OK);
        struct reader r = reader_of(buf_slice(&b));
        assert_int_equal(reader_varint(&r), 1 << 3 | 2);
        r = reader_of(reader_bytes(&r));
        assert_int_equal(reader_varint(&r), 2 << 3 | 2);
        struct slice body = reader_bytes(&r);
        assert_int_equal(body.len, sizes[i]);
        assert_true(reader_done(&r) && !reader_failed(&r));
        for (size_t n = 0; n < sizes[i]; n++)
            assert_int_equal(body.ptr[n], (uint8_t)n);
        buf_release(&b);
    }
}

static void test_a_full_buffer_is_told_once_at_the_end(void **state)
{
    (void)state;
    for (size_t max = 1; max < 140; max++) {
        struct buf b;
        buf_init(&b, max);
        size_t mark = pb_begin(&b, 1);
        for (unsigned i = 0; i < 134; i++)
            buf_append_byte(&b, 1);
        pb_end(&b, mark);
        assert_int_equal(buf_err(&b), max < 137 ? ERR_TOO_LARGE : ERR_OK);
        buf_release(&b);
    }
}

static void test_groups_read_back(void **state)
{
    (void)state;
    struct buf b;
    struct otlp_group g;
    buf_init(&b, 4096);
    otlp_group_init(&g, &b);
    otlp_group_resource(&g, SLICE_LIT("\x10\x01"), SLICE_LIT("url1"));
    otlp_group_scope(&g, SLICE_LIT("\x20\x01"), SLICE_LIT("url2"));
    otlp_group_span(&g, SLICE_LIT("\x30\x01"));
    otlp_group_span(&g, SLICE_LIT("\x30\x02"));
    otlp_group_scope(&g, SLICE_NONE, SLICE_NONE);
    otlp_group_span(&g, SLICE_LIT("\x30\x03"));
    otlp_group_resource(&g, SLICE_NONE, SLICE_NONE);
    otlp_group_scope(&g, SLICE_NONE, SLICE_NONE);
    otlp_group_span(&g, SLICE_NONE);
    otlp_group_end(&g);
    uint32_t count = 0;
    assert_int_equal(otlp_check(buf_slice(&b), &otlp_limits_default, &count, NULL), ERR_OK);
    assert_int_equal(count, 4);
    struct otlp_iter it;
    struct slice span;
    otlp_iter_init(&it, buf_slice(&b));
    assert_true(otlp_next_span(&it, &span));
    assert_true(slice_eq_str(it.resource, "\x10\x01") &&
                slice_eq_str(it.resource_schema_url, "url1"));
    assert_true(slice_eq_str(it.scope, "\x20\x01") && slice_eq_str(it.scope_schema_url, "url2"));
    assert_true(slice_eq_str(span, "\x30\x01"));
    assert_true(otlp_next_span(&it, &span) && slice_eq_str(span, "\x30\x02"));
    assert_true(otlp_next_span(&it, &span) && slice_eq_str(span, "\x30\x03"));
    assert_int_equal(it.scope_seq, 2);
    assert_int_equal(it.scope.len + it.scope_schema_url.len, 0);
    assert_true(otlp_next_span(&it, &span) && span.len == 0);
    assert_int_equal(it.resource_seq, 2);
    assert_int_equal(it.resource.len, 0);
    assert_false(otlp_next_span(&it, &span));
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_have_their_wire_form),
        cmocka_unit_test(test_sub_messages_of_every_length),
        cmocka_unit_test(test_a_full_buffer_is_told_once_at_the_end),
        cmocka_unit_test(test_groups_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
