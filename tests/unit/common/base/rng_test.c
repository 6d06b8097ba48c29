#include "common/base/rng.h"
#include "tests/lib/test.h"

static void test_repeats_from_its_seed(void **state)
{
    struct rng a, b, c;
    unsigned same = 0;

    (void)state;
    rng_init(&a, 42);
    rng_init(&b, 42);
    rng_init(&c, 43);
    for (int i = 0; i < 100; i++) {
        uint64_t v = rng_u64(&a);
        assert_true(v == rng_u64(&b));
        same += v == rng_u64(&c);
    }
    assert_int_equal(same, 0);
}

static void test_below_is_even(void **state)
{
    struct rng r;
    unsigned hits[7] = {0};

    (void)state;
    rng_init(&r, 1);
    for (int i = 0; i < 70000; i++) {
        uint64_t v = rng_below(&r, 7);
        assert_true(v < 7);
        hits[v]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(hits[i], 9500, 10500);
    assert_true(rng_below(&r, 1) == 0);
    for (int i = 0; i < 1000; i++) /* half of all values are turned away here */
        assert_true(rng_below(&r, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

static void test_unit_stays_below_one(void **state)
{
    struct rng r;
    double sum = 0;

    (void)state;
    rng_init(&r, 2);
    for (int i = 0; i < 10000; i++) {
        double v = rng_unit(&r);
        assert_true(v >= 0 && v < 1);
        sum += v;
    }
    assert_true(sum > 4800 && sum < 5200);
}

static void test_secure_fills_all(void **state)
{
    uint8_t a[1000] = {0}, b[1000] = {0};
    unsigned zeros = 0;

    (void)state;
    rng_bytes_secure(a, sizeof a);
    rng_bytes_secure(b, sizeof b);
    assert_true(memcmp(a, b, sizeof a) != 0);
    for (size_t i = 0; i < sizeof a; i++)
        zeros += a[i] == 0;
    assert_true(zeros < 50);
    rng_bytes_secure(a, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repeats_from_its_seed),
        cmocka_unit_test(test_below_is_even),
        cmocka_unit_test(test_unit_stays_below_one),
        cmocka_unit_test(test_secure_fills_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
