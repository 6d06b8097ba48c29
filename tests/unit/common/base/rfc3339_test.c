#include "common/base/rfc3339.h"
#include "tests/lib/test.h"

#define S 1000000000ull

static void test_times(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-28T06:00:00Z", 1795845600 * S},
        {"2026-11-28T06:00:00.5+01:00", 1795842000 * S + 500000000},
        {"2026-11-28T06:00:00-00:30", 1795847400 * S},
        {"2026-11-28T06:00:00.123456789123Z", 1795845600 * S + 123456789},
    };
    static const char *const bad[] = {"",
                                      "now",
                                      "2026-11-28",
                                      "2026-11-28T06:00:00",
                                      "2026-11-28T06:00:00z",
                                      "2026-11-28T06:00:00+1:00",
                                      "2026-11-28T06:00:00+24:00",
                                      "2026-11-28T06:00:00Z ",
                                      "2026-13-28T06:00:00Z",
                                      "1969-12-31T23:59:59Z",
                                      "2600-01-01T00:00:00Z",
                                      "2026-11-28T06:00:00.11111111111111111111111111111111111Z"};
    uint64_t ns;
    (void)state;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(rfc3339_parse(slice_str(good[i].text), &ns));
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(rfc3339_parse(slice_str(bad[i]), &ns));
    assert_false(rfc3339_parse(SLICE_NONE, &ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
