/* Batch ids: ten minutes, as many as fit, the ring around, saved and loaded. */
#include "common/base/clock.h"
#include "generator/batches.h"
#include "tests/lib/test.h"

static struct batches b;

static const uint8_t *id_of(uint32_t n)
{
    static uint8_t id[BATCHES_ID_BYTES];

    for (unsigned i = 0; i < 4; i++)
        id[i] = (uint8_t)(n >> (8 * i));
    return id;
}

static int set_up(void **state)
{
    (void)state;
    return batches_init(&b) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    batches_release(&b);
    return 0;
}

static void test_id_and_part(void **state)
{
    (void)state;
    batches_add(&b, id_of(1), 0, 100);
    batches_add(&b, id_of(1), 2, 100);
    assert_true(batches_has(&b, id_of(1), 0));
    assert_false(batches_has(&b, id_of(1), 1));
    assert_true(batches_has(&b, id_of(1), 2));
    assert_false(batches_has(&b, id_of(2), 0));
    batches_add(&b, id_of(1), 0, 200);
    assert_int_equal(b.next - b.first, 2);
}

static void test_ten_minutes(void **state)
{
    (void)state;
    batches_add(&b, id_of(1), 0, 0);
    batches_add(&b, id_of(2), 0, 300 * NS_PER_S);
    batches_add(&b, id_of(3), 0, BATCHES_KEEP_NS);
    assert_true(batches_has(&b, id_of(1), 0));
    batches_add(&b, id_of(4), 0, BATCHES_KEEP_NS + 1);
    assert_false(batches_has(&b, id_of(1), 0));
    assert_true(batches_has(&b, id_of(2), 0));
    batches_add(&b, id_of(5), 0, 0); /* a clock that goes backwards drops nothing */
    assert_true(batches_has(&b, id_of(2), 0));
    assert_true(batches_has(&b, id_of(5), 0));
}

static void test_more_than_fit(void **state)
{
    enum { MANY = BATCHES_MAX + BATCHES_MAX / 2 };

    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        batches_add(&b, id_of(i), i % 3, 1);
    assert_int_equal(b.next - b.first, BATCHES_MAX);
    for (uint32_t i = 0; i < MANY; i++)
        if (batches_has(&b, id_of(i), i % 3) != (i >= MANY - BATCHES_MAX))
            fail_msg("entry %u", i);
}

static void test_saved_and_loaded(void **state)
{
    struct batches loaded;
    struct buf out;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        batches_add(&b, id_of(i), i, 10 + i);
    buf_init(&out, 1 << 20);
    batches_save(&b, &out);
    assert_int_equal(batches_init(&loaded), ERR_OK);
    assert_int_equal(batches_load(&loaded, buf_slice(&out)), ERR_OK);
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(batches_has(&loaded, id_of(i), i));
    assert_int_equal(loaded.next - loaded.first, 1000);
    assert_int_equal(batches_load(&loaded, slice_sub(buf_slice(&out), 0, out.len - 1)),
                     ERR_CORRUPT);
    batches_release(&loaded);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_id_and_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ten_minutes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_than_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_saved_and_loaded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
