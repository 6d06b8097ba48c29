#include "common/base/arena.h"
#include "tests/lib/test.h"

static void test_allocations_are_apart_and_aligned(void **state)
{
    struct arena a;
    uint8_t *p[500];

    (void)state;
    arena_init(&a, NULL);
    for (unsigned i = 0; i < 500; i++) {
        p[i] = arena_alloc(&a, i);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)(i & 0xff), i);
    }
    for (unsigned i = 0; i < 500; i++)
        for (unsigned k = 0; k < i; k++)
            assert_int_equal(p[i][k], i & 0xff);
    assert_ptr_not_equal(p[0], p[1]);
    arena_release(&a);
    arena_release(&a);
}

static void test_budget_bounds_it_and_gets_all_back(void **state)
{
    struct budget budget;
    struct arena a;

    (void)state;
    budget_init(&budget, 64 << 10, NULL);
    arena_init(&a, &budget);
    while (arena_alloc(&a, 1000) != NULL)
        assert_true(budget_used(&budget) <= budget.limit_bytes);
    assert_int_equal(arena_err(&a), ERR_LIMIT);
    assert_true(budget_used(&budget) > 16 << 10);
    assert_null(arena_alloc(&a, 1)); /* sticky */
    arena_reset(&a);
    assert_int_equal(arena_err(&a), ERR_OK);
    assert_non_null(arena_alloc(&a, 1000));
    arena_release(&a);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_absurd_sizes_are_limits(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, NULL);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_int_equal(arena_err(&a), ERR_LIMIT);
    arena_reset(&a);
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    assert_int_equal(arena_err(&a), ERR_LIMIT);
    arena_reset(&a);
    assert_null(arena_alloc(&a, SIZE_MAX - 40));
    assert_int_equal(arena_err(&a), ERR_LIMIT);
    arena_release(&a);
}

static void test_copies(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, NULL);
    struct slice copy = arena_dup(&a, SLICE_LIT("a\0b"));
    assert_true(slice_eq(copy, SLICE_LIT("a\0b")));
    assert_non_null(arena_dup(&a, SLICE_NONE).ptr);
    assert_string_equal(arena_str(&a, SLICE_LIT("text")), "text");
    assert_string_equal(arena_str(&a, SLICE_NONE), "");
    assert_string_equal(arena_printf(&a, "%d %s", 5, "spans"), "5 spans");
    const uint32_t *zeros = ARENA_ARRAY(&a, uint32_t, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(zeros[i], 0);
    arena_release(&a);
}

static void test_reset_keeps_a_chunk_and_zeroes_again(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, NULL);
    for (int round = 0; round < 50; round++) {
        uint8_t *p = arena_calloc(&a, 1, 3000);
        for (int i = 0; i < 3000; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, 3000);
        assert_non_null(arena_alloc(&a, 10000));
        arena_reset(&a);
        assert_true(a.used_bytes < 64 << 10);
    }
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_are_apart_and_aligned),
        cmocka_unit_test(test_budget_bounds_it_and_gets_all_back),
        cmocka_unit_test(test_absurd_sizes_are_limits),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_reset_keeps_a_chunk_and_zeroes_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
