#include "common/base/bytes.h"
#include "ingester/recent_ids.h"
#include "tests/lib/test.h"

static struct trace_id id_of(uint32_t n)
{
    struct trace_id id = {.b = {7}};

    be32_write(id.b + 12, n);
    return id;
}

static void the_last_ones_are_remembered(void **state)
{
    enum { KEPT = 1000 };
    struct recent_ids *r = NULL;
    (void)state;

    assert_int_equal(recent_ids_new(KEPT, &r), ERR_OK);
    for (uint32_t n = 0; n < 10 * KEPT; n++) {
        recent_ids_add(r, SLICE_LIT("acme"), id_of(n));
        recent_ids_add(r, SLICE_LIT("acme"), id_of(n));
        uint32_t oldest = n < KEPT ? 0 : n - KEPT + 1;
        assert_true(recent_ids_has(r, SLICE_LIT("acme"), id_of(oldest)));
        assert_true(recent_ids_has(r, SLICE_LIT("acme"), id_of((oldest + n) / 2)));
        assert_false(recent_ids_has(r, SLICE_LIT("other"), id_of(n)));
        assert_false(recent_ids_has(r, SLICE_LIT("acme"), id_of(n + 1)));
        if (n >= 2 * KEPT)
            assert_false(recent_ids_has(r, SLICE_LIT("acme"), id_of(n - 2 * KEPT)));
    }
    recent_ids_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_last_ones_are_remembered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
