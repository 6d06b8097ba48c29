#include "common/base/err.h"
#include "common/base/gvec.h"
#include "common/sys/thread.h"
#include "tests/lib/test.h"

enum { COUNT = 20000 };

static void test_elements_never_move(void **state)
{
    struct budget budget;
    struct gvec v;
    uint32_t *first = NULL;

    (void)state;
    budget_init(&budget, 1 << 20, NULL);
    gvec_init(&v, sizeof(uint32_t));
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t *e = gvec_push(&v, &budget);
        assert_non_null(e);
        assert_int_equal(*e, 0);
        *e = i;
        if (i == 0)
            first = e;
        assert_ptr_equal(gvec_at(&v, i), e);
    }
    assert_int_equal(v.count, COUNT);
    assert_ptr_equal(gvec_at(&v, 0), first);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(GVEC_GET(&v, uint32_t, i), i);
    gvec_release(&v, &budget);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_copies_across_chunks(void **state)
{
    static const uint32_t ranges[][2] = {{0, 0},    {0, 1},     {0, 64},    {63, 65},
                                         {64, 192}, {1, 19999}, {191, 193}, {0, COUNT}};
    struct gvec v;
    static uint32_t out[COUNT];

    (void)state;
    gvec_init(&v, sizeof(uint32_t));
    for (uint32_t i = 0; i < COUNT; i++)
        *(uint32_t *)gvec_push(&v, NULL) = i;
    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
        gvec_copy(&v, ranges[r][0], ranges[r][1], out);
        for (uint32_t i = ranges[r][0]; i < ranges[r][1]; i++)
            assert_int_equal(out[i - ranges[r][0]], i);
    }
    gvec_release(&v, NULL);
}

static void test_budget_stops_it(void **state)
{
    struct budget budget;
    struct gvec v;
    uint32_t count = 0;

    (void)state;
    budget_init(&budget, 3 * 64 * 8, NULL); /* the first two chunks */
    gvec_init(&v, 8);
    while (gvec_push(&v, &budget) != NULL)
        count++;
    assert_int_equal(count, 3 * 64);
    assert_int_equal(v.count, count);
    gvec_release(&v, &budget);
    gvec_release(&v, &budget);
    assert_int_equal(budget_used(&budget), 0);
}

struct shared {
    struct gvec v;
    _Atomic uint32_t committed;
};

static void append(void *arg)
{
    struct shared *s = arg;

    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t *e = gvec_push(&s->v, NULL);
        *e = i * 3;
        atomic_store_explicit(&s->committed, i + 1, memory_order_release);
    }
}

static void test_readers_see_what_is_committed(void **state)
{
    struct shared s = {0};
    pthread_t writer;
    uint32_t seen = 0;

    (void)state;
    gvec_init(&s.v, sizeof(uint32_t));
    assert_int_equal(thread_start(&writer, "writer", append, &s), ERR_OK);
    while (seen < COUNT) {
        uint32_t until = atomic_load_explicit(&s.committed, memory_order_acquire);
        for (; seen < until; seen++)
            assert_int_equal(GVEC_GET(&s.v, uint32_t, seen), seen * 3);
    }
    thread_join(writer);
    gvec_release(&s.v, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elements_never_move),
        cmocka_unit_test(test_copies_across_chunks),
        cmocka_unit_test(test_budget_stops_it),
        cmocka_unit_test(test_readers_see_what_is_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
