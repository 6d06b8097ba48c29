/* Attributes: numbers of keys, the first of a key, resource before span, what one span had is not the next one's. */
#include "common/codec/otlp_write.h"
#include "generator/attributes.h"
#include "tests/lib/test.h"

#include <stdio.h>

static void keyvalue(struct buf *out, uint32_t field, const char *key, const char *value)
{
    size_t kv = pb_begin(out, field);
    pb_bytes(out, 1, slice_str(key));
    size_t v = pb_begin(out, 2);
    pb_bytes(out, 1, slice_str(value));
    pb_end(out, v);
    pb_end(out, kv);
}

static void test_a_key_has_one_number(void **state)
{
    struct attributes a;
    unsigned x, y, again;

    (void)state;
    attributes_init(&a);
    assert_int_equal(attributes_want(&a, "x", &x), ERR_OK);
    assert_int_equal(attributes_want(&a, "y", &y), ERR_OK);
    assert_int_equal(attributes_want(&a, "x", &again), ERR_OK);
    assert_int_equal(x, again);
    assert_int_not_equal(x, y);
    attributes_release(&a);
}

static void test_the_table_is_bounded(void **state)
{
    static char names[ATTRIBUTES_MAX + 1][16];
    struct attributes a;
    unsigned n;

    (void)state;
    attributes_init(&a);
    for (unsigned i = 0; i < ATTRIBUTES_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "k%u", i);
        assert_int_equal(attributes_want(&a, names[i], &n), ERR_OK);
        assert_int_equal(n, i);
    }
    assert_int_equal(attributes_want(&a, "one more", &n), ERR_TOO_LARGE);
    assert_int_equal(attributes_want(&a, "k17", &n), ERR_OK);
    assert_int_equal(n, 17);
    attributes_release(&a);
}

static void test_values_of_resource_and_span(void **state)
{
    struct attributes a;
    struct buf resource, one, two;
    unsigned x, y, z;

    (void)state;
    attributes_init(&a);
    assert_int_equal(attributes_want(&a, "x", &x), ERR_OK);
    assert_int_equal(attributes_want(&a, "y", &y), ERR_OK);
    assert_int_equal(attributes_want(&a, "z", &z), ERR_OK);
    buf_init(&resource, 4096);
    buf_init(&one, 4096);
    buf_init(&two, 4096);
    keyvalue(&resource, 1, "x", "of resource");
    keyvalue(&resource, 1, "x", "second");
    keyvalue(&one, 9, "x", "of span");
    keyvalue(&one, 9, "y", "first");
    keyvalue(&one, 9, "y", "second");
    keyvalue(&one, 9, "not wanted", "?");
    keyvalue(&two, 9, "z", "other");
    attributes_resource(&a, buf_slice(&resource));
    attributes_span(&a, buf_slice(&one));
    assert_true(slice_eq_str(attributes_both(&a, x), "of resource"));
    assert_true(slice_eq_str(a.span[x], "of span"));
    assert_true(slice_eq_str(attributes_both(&a, y), "first"));
    assert_int_equal(attributes_both(&a, z).len, 0);
    attributes_span(&a, buf_slice(&two));
    assert_int_equal(attributes_both(&a, y).len, 0);
    assert_int_equal(a.span[x].len, 0);
    assert_true(slice_eq_str(attributes_both(&a, z), "other"));
    attributes_resource(&a, SLICE_NONE);
    assert_int_equal(attributes_both(&a, x).len, 0);
    buf_release(&resource);
    buf_release(&one);
    buf_release(&two);
    attributes_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_has_one_number),
        cmocka_unit_test(test_the_table_is_bounded),
        cmocka_unit_test(test_values_of_resource_and_span),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
