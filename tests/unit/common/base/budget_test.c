#include "common/base/budget.h"
#include "common/sys/thread.h"
#include "tests/lib/test.h"

static void test_takes_from_all_ancestors_or_none(void **state)
{
    struct budget root, child, other;

    (void)state;
    budget_init(&root, 100, NULL);
    budget_init(&child, 80, &root);
    budget_init(&other, 80, &root);
    assert_int_equal(budget_take(&child, 60), ERR_OK);
    assert_int_equal(budget_used(&root), 60);
    assert_int_equal(budget_take(&other, 60), ERR_LIMIT); /* the root is the one that says no */
    assert_int_equal(budget_used(&other), 0);
    assert_int_equal(budget_used(&root), 60);
    assert_int_equal(budget_take(&other, 40), ERR_OK);
    assert_int_equal(budget_take(&child, 1), ERR_LIMIT);
    assert_int_equal(budget_take(&child, SIZE_MAX), ERR_LIMIT);
    assert_int_equal(budget_used(&child), 60);
    budget_give(&child, 60);
    budget_give(&other, 40);
    assert_int_equal(budget_used(&root), 0);
    assert_int_equal(budget_take(NULL, SIZE_MAX), ERR_OK);
    budget_give(NULL, SIZE_MAX);
}

static void take_and_give(void *arg)
{
    struct budget *b = arg;

    for (int i = 0; i < 20000; i++)
        if (budget_take(b, 30) == ERR_OK)
            budget_give(b, 30);
}

static void test_threads_leave_nothing_behind(void **state)
{
    struct budget root, child;
    pthread_t threads[4];

    (void)state;
    budget_init(&root, 100, NULL);
    budget_init(&child, 70, &root);
    for (int i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "budget", take_and_give, &child), ERR_OK);
    for (int i = 0; i < 4; i++)
        thread_join(threads[i]);
    assert_int_equal(budget_used(&child), 0);
    assert_int_equal(budget_used(&root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_from_all_ancestors_or_none),
        cmocka_unit_test(test_threads_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
