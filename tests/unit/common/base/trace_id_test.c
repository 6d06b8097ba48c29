#include "common/base/hash.h"
#include "common/base/trace_id.h"
#include "tests/lib/test.h"

static void test_wire_ids(void **state)
{
    struct trace_id id = {.b = {7}};
    struct span_id span = {.b = {7}};

    (void)state;
    assert_int_equal(trace_id_from_wire(SLICE_LIT("0123456789abcdef"), &id), ERR_OK);
    assert_memory_equal(id.b, "0123456789abcdef", 16);
    assert_int_equal(trace_id_from_wire(SLICE_LIT("0123456789abcde"), &id), ERR_INVALID);
    assert_int_equal(trace_id_from_wire(SLICE_LIT("0123456789abcdefg"), &id), ERR_INVALID);
    assert_int_equal(trace_id_from_wire(SLICE_NONE, &id), ERR_INVALID);
    assert_int_equal(trace_id_from_wire(SLICE_LIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), &id),
                     ERR_INVALID);
    assert_memory_equal(id.b, "0123456789abcdef", 16);
    assert_int_equal(span_id_from_wire(SLICE_LIT("\0\0\0\0\0\0\0\1"), &span), ERR_OK);
    assert_int_equal(span_id_from_wire(SLICE_LIT("\0\0\0\0\0\0\0\0"), &span), ERR_INVALID);
    assert_int_equal(span_id_from_wire(SLICE_LIT("1234567"), &span), ERR_INVALID);
    assert_int_equal(span.b[7], 1);
}

static void test_hex_is_padded_on_the_left(void **state)
{
    static const char *const rows[][3] = {
        {"1", "00000000000000000000000000000001", "1"},
        {"AbC", "00000000000000000000000000000abc", "abc"},
        {"0", "00000000000000000000000000000000", "0"},
        {"2f3e0cee77ae5dc9c17ade3689eb2e54", "2f3e0cee77ae5dc9c17ade3689eb2e54",
         "2f3e0cee77ae5dc9c17ade3689eb2e54"},
        {"077ae5dc9c17ade3689eb2e54", "0000000077ae5dc9c17ade3689eb2e54",
         "77ae5dc9c17ade3689eb2e54"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct trace_id id;
        char hex[TRACE_ID_HEX + 1];
        assert_int_equal(trace_id_from_hex(slice_str(rows[i][0]), &id, NULL), ERR_OK);
        trace_id_to_hex(id, hex);
        assert_string_equal(hex, rows[i][1]);
        trace_id_to_hex_short(id, hex);
        assert_string_equal(hex, rows[i][2]);
    }
}

static void test_bad_hex_is_told_as_tempo_tells_it(void **state)
{
    static const char *const rows[][2] = {
        {"12z4", "trace IDs can only contain hex characters: invalid character 'z' at position 3"},
        {"g", "trace IDs can only contain hex characters: invalid character 'g' at position 1"},
        {"1\xc3\xa9",
         "trace IDs can only contain hex characters: invalid character '\xc3\xa9' at position 2"},
        {"1\xff",
         "trace IDs can only contain hex characters: invalid character '\xef\xbf\xbd' at position 2"},
        {"2f3e0cee77ae5dc9c17ade3689eb2e540", "trace IDs can't be larger than 128 bits"},
        {"", "please provide a traceID"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct trace_id id = {.b = {9}};
        struct err_detail detail = {0};
        assert_int_equal(trace_id_from_hex(slice_str(rows[i][0]), &id, &detail), ERR_INVALID);
        assert_string_equal(detail.text, rows[i][1]);
        assert_int_equal(id.b[0], 9);
        assert_int_equal(trace_id_from_hex(slice_str(rows[i][0]), &id, NULL), ERR_INVALID);
    }
}

static void test_plain_hex(void **state)
{
    uint8_t bytes[3] = {1, 2, 3};
    char hex[7];
    struct span_id span = {.b = {0, 0x1f, 0xff, 0, 1, 2, 3, 4}};
    char span_hex[SPAN_ID_HEX + 1];

    (void)state;
    assert_int_equal(hex_decode(SLICE_LIT("fFa001"), bytes, 3), ERR_OK);
    hex_encode((struct slice){bytes, 3}, hex);
    assert_string_equal(hex, "ffa001");
    assert_int_equal(hex_decode(SLICE_LIT("00000g"), bytes, 3), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE_LIT("00000"), bytes, 3), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE_LIT("0000000"), bytes, 3), ERR_INVALID);
    assert_int_equal(bytes[0], 0xff);
    span_id_to_hex(span, span_hex);
    assert_string_equal(span_hex, "001fff0001020304");
}

static void test_order_and_hash(void **state)
{
    struct trace_id a = {.b = {1}}, b = {.b = {1, [15] = 1}}, c = {.b = {0xff}};

    (void)state;
    assert_true(trace_id_eq(a, a) && !trace_id_eq(a, b));
    assert_true(trace_id_cmp(a, b) < 0 && trace_id_cmp(c, b) > 0 && trace_id_cmp(c, c) == 0);
    assert_true(trace_id_hash(a) != trace_id_hash(b));
    uint64_t before = trace_id_hash(a), plain = hash_plain(SLICE_LIT("x"));
    hash_seed_init(5);
    assert_true(trace_id_hash(a) != before);
    assert_true(hash_plain(SLICE_LIT("x")) == plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_ids),
        cmocka_unit_test(test_hex_is_padded_on_the_left),
        cmocka_unit_test(test_bad_hex_is_told_as_tempo_tells_it),
        cmocka_unit_test(test_plain_hex),
        cmocka_unit_test(test_order_and_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
