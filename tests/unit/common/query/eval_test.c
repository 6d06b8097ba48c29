#include "common/query/eval.h"
#include "tests/lib/fake_segment.h"
#include "tests/lib/test.h"

#include <math.h>

static struct value binary(enum ql_op op, struct value a, struct value b)
{
    return eval_value_binary(op, a, b, NULL);
}

static void assert_int(struct value v, int64_t want)
{
    assert_int_equal(v.type, VALUE_INT);
    assert_true(v.i == want);
}

static void test_integers(void **state)
{
    (void)state;
    struct value max = value_int(INT64_MAX), min = value_int(INT64_MIN), minus = value_int(-1),
                 zero = value_int(0);

    assert_int(binary(QL_ADD, max, value_int(1)), INT64_MIN);
    assert_int(binary(QL_SUB, min, value_int(1)), INT64_MAX);
    assert_int(binary(QL_DIV, min, minus), INT64_MIN);
    assert_int(binary(QL_MOD, min, minus), 0);
    assert_int(binary(QL_DIV, value_int(-7), value_int(2)), -3);
    assert_int(binary(QL_MOD, value_int(-7), value_int(2)), -1);
    assert_int_equal(binary(QL_DIV, max, zero).type, VALUE_NIL);
    assert_int_equal(binary(QL_MOD, max, zero).type, VALUE_NIL);
    assert_int(binary(QL_POW, value_int(2), value_int(10)), 1024);
    assert_int(binary(QL_POW, value_int(3), value_int(64)), 8733086111712066817LL); /* wraps */
    assert_int(binary(QL_POW, value_int(-1), value_int(-3)), -1);
    assert_int(binary(QL_POW, value_int(5), value_int(-1)), 0);
    assert_int_equal(binary(QL_POW, zero, minus).type, VALUE_NIL);
    assert_true(binary(QL_LT, value_int(INT64_MAX - 1), max).i == 1); /* exact in 64 bits */
}

static void test_mixed(void **state)
{
    (void)state;
    struct value v = binary(QL_ADD, value_duration(5), value_duration(6));

    assert_int_equal(v.type, VALUE_FLOAT);
    assert_true(v.f == 11.0);
    assert_true(isinf(binary(QL_DIV, value_float(1), value_float(0)).f));
    assert_true(binary(QL_EQ, value_int(2), value_float(2)).i == 1);
    assert_true(binary(QL_GT, value_duration(3), value_float(2.5)).i == 1);
    assert_true(binary(QL_NE, value_string(slice_str("x")), value_int(1)).i == 0);
    assert_true(binary(QL_NE, VALUE_NONE, value_int(1)).i == 0);
    assert_true(binary(QL_EQ, VALUE_NONE, VALUE_NONE).i == 0);
    assert_int_equal(binary(QL_ADD, value_string(slice_str("x")), value_int(1)).type, VALUE_NIL);
    assert_true(binary(QL_LT, value_string(slice_str("10")), value_string(slice_str("9"))).i == 1);
    assert_true(binary(QL_NE, value_float(NAN), value_float(NAN)).i == 1);
}

static void test_order(void **state)
{
    (void)state;
    assert_true(eval_value_equal(value_float(NAN), value_float(NAN)));
    assert_false(eval_value_equal(value_int(1), value_float(1)));
    assert_true(eval_value_order(value_string(slice_str("a")), value_string(slice_str("ab"))) < 0);
    assert_true(eval_value_order(value_float(NAN), value_float(1)) > 0);
    assert_true(eval_value_equal(VALUE_NONE, VALUE_NONE));
}

static void test_decode(void **state)
{
    (void)state;
    struct arena a;
    struct value items[] = {value_int(1), value_int(2), value_string(slice_str("x"))},
                 list = {.type = VALUE_INT_ARRAY};

    arena_init(&a, NULL);
    list.array.items = items;
    list.array.count = 2;
    struct value v = eval_value_decode(&a, fake_segment_any(&a, list));
    assert_int_equal(v.type, VALUE_INT_ARRAY);
    assert_int_equal(v.array.count, 2);
    list.array.count = 1;
    assert_int(eval_value_decode(&a, fake_segment_any(&a, list)), 1); /* one element is itself */
    list.array.count = 3;
    assert_int_equal(eval_value_decode(&a, fake_segment_any(&a, list)).type, VALUE_NIL); /* mixed */
    list.array.count = 0;
    assert_int_equal(eval_value_decode(&a, fake_segment_any(&a, list)).type, VALUE_NIL);
    struct value inner = {.type = VALUE_INT_ARRAY};
    inner.array.items = items;
    inner.array.count = 2;
    list.array.items = &inner;
    list.array.count = 1;
    assert_int_equal(eval_value_decode(&a, fake_segment_any(&a, list)).type,
                     VALUE_NIL); /* nested */
    assert_int_equal(eval_value_decode(&a, SLICE_NONE).type, VALUE_NIL);
    assert_int_equal(eval_value_decode(&a, (struct slice){(const uint8_t *)"\x3a\x01z", 3}).type,
                     VALUE_NIL); /* bytes */
    assert_int_equal(eval_value_decode(&a, (struct slice){(const uint8_t *)"\x2a\x63z", 3}).type,
                     VALUE_NIL); /* damage */
    arena_release(&a);
}

static bool matches(enum ql_op op, struct value literal, struct value v, bool is_strict,
                    bool is_dotless)
{
    return eval_value_matches(
        &(struct eval_pred){
            .op = op, .value = literal, .is_strict = is_strict, .is_dotless = is_dotless},
        v);
}

static void test_predicates(void **state)
{
    (void)state;
    static const char *const not_canonical[] = {
        "0200", "+200", "200 ", "", "-", "2e2", "9223372036854775808", "-0"};

    assert_false(matches(QL_EQ, value_int(2), value_float(2), true, false));
    assert_true(matches(QL_EQ, value_int(2), value_duration(2), false, false));
    assert_false(matches(QL_EQ, value_int(200), value_string(slice_str("200")), true, false));
    assert_true(matches(QL_EQ, value_int(200), value_string(slice_str("200")), true, true));
    assert_true(matches(QL_GT, value_int(200), value_string(slice_str("500")), true, true));
    assert_true(matches(QL_EQ, value_int(INT64_MIN),
                        value_string(slice_str("-9223372036854775808")), true, true));
    assert_true(matches(QL_LT, value_float(1.5), value_string(slice_str("-12.75")), true, true));
    for (size_t i = 0; i < sizeof not_canonical / sizeof not_canonical[0]; i++)
        assert_false(
            matches(QL_NE, value_int(7), value_string(slice_str(not_canonical[i])), true, true));
    assert_false(matches(QL_EQ, value_float(2), value_string(slice_str("2")), true, true));
    assert_false(matches(QL_NE, value_string(slice_str("x")), value_int(1), true, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers), cmocka_unit_test(test_mixed), cmocka_unit_test(test_order),
        cmocka_unit_test(test_decode), cmocka_unit_test(test_predicates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
