#include "common/base/clock.h"
#include "tests/lib/test.h"

static void test_fake_moves_only_when_told(void **state)
{
    struct fake_clock f;

    (void)state;
    fake_clock_init(&f, 1000 * NS_PER_S);
    int64_t mono = clock_mono_ns(&f.clock);
    assert_true(clock_wall_ns(&f.clock) == 1000 * NS_PER_S);
    fake_clock_advance(&f, 5);
    assert_true(clock_wall_ns(&f.clock) == 1000 * NS_PER_S + 5);
    assert_true(clock_mono_ns(&f.clock) == mono + 5);
}

static void test_system_is_sane(void **state)
{
    int64_t before = clock_mono_ns(&clock_system);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_mono_ns(&clock_system);
        assert_true(now >= before);
        before = now;
    }
    assert_true(clock_wall_ns(&clock_system) > 1700000000 * NS_PER_S);
    assert_true(clock_wall_ns(&clock_system) / NS_PER_S - (int64_t)time(NULL) < 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fake_moves_only_when_told),
        cmocka_unit_test(test_system_is_sane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
