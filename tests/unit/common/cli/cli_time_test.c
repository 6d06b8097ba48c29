#include "common/base/clock.h"
#include "common/cli/cli_time.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <time.h>

#define NOW (1795845600 * NS_PER_S + 5)

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"now", NOW},
        {"now-1h", NOW - 3600 * NS_PER_S},
        {"now+90s", NOW + 90 * NS_PER_S},
        {"1h30m", NOW - 5400 * NS_PER_S},
        {"-2d", NOW - 2 * 86400 * NS_PER_S},
        {"1.5s", NOW - 1500 * NS_PER_MS},
        {"0", 0},
        {"1795845600", 1795845600 * NS_PER_S},
        {"1795845600.25", 1795845600 * NS_PER_S + 250 * NS_PER_MS},
        {"1795845600123", 1795845600123 * NS_PER_MS},
        {"1795845600123456", 1795845600123456 * NS_PER_US},
        {"1795845600123456789", 1795845600123456789},
        {"2026-11-28T06:00:00Z", 1795845600 * NS_PER_S},
        {"2026-11-28T07:00:00+01:00", 1795845600 * NS_PER_S},
    };
    static const char *const bad[] = {"",        "yesterday", "now1h",      "now-",
                                      "now--1h", "nowhere",   "-",          "--1h",
                                      "+1h",     "1h ",       "2026-11-28", "99999999999999999999",
                                      "900y",    "1e300s",    "-1.5"};
    struct err_detail d = {0};
    int64_t ns;
    (void)state;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (cli_time_parse(good[i].text, NOW, &ns, &d) != ERR_OK)
            fail_msg("%s", d.text);
        if (ns != good[i].ns)
            fail_msg("%s: %lld", good[i].text, (long long)ns);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (cli_time_parse(bad[i], NOW, &ns, &d) != ERR_INVALID)
            fail_msg("%s: %lld", bad[i], (long long)ns);
    assert_non_null(strstr(d.text, "is not a time"));
}

static void test_durations(void **state)
{
    struct err_detail d = {0};
    int64_t ns;
    (void)state;

    assert_int_equal(cli_time_duration("1h30m", &ns, &d), ERR_OK);
    assert_int_equal(ns, 5400 * NS_PER_S);
    assert_int_equal(cli_time_duration("15", &ns, &d), ERR_OK);
    assert_int_equal(ns, 15 * NS_PER_S);
    assert_int_equal(cli_time_duration("0.5", &ns, &d), ERR_OK);
    assert_int_equal(ns, 500 * NS_PER_MS);
    static const char *const bad[] = {"", "0", "0s", "-1h", "x", "nan", "inf", "1e20"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (cli_time_duration(bad[i], &ns, &d) != ERR_INVALID)
            fail_msg("%s: %lld", bad[i], (long long)ns);
}

static void test_durations_for_people(void **state)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {
        {0, "0ns"},
        {999, "999ns"},
        {1000, "1.00µs"},
        {12345, "12.3µs"},
        {446000000, "446ms"},
        {1234567890, "1.23s"},
        {59400000000, "59.4s"},
        {59500000000, "1m00s"},
        {123000000000, "2m03s"},
        {3720000000000, "1h02m"},
        {273600000000000, "3d04h"},
        {UINT64_MAX, "213503d23h"},
    };
    char text[CLI_TIME_BYTES];
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cli_time_put_duration(cases[i].ns, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_times_for_people(void **state)
{
    char text[CLI_TIME_BYTES];
    const uint64_t ns = (uint64_t)(1795845600 * NS_PER_S + 123456789);
    (void)state;

    assert_int_equal(setenv("TZ", "Asia/Kolkata", 1), 0);
    tzset();
    cli_time_put(ns, CLI_TIME_MS, true, text);
    assert_string_equal(text, "2026-11-28 06:00:00.123");
    cli_time_put(ns, CLI_TIME_SECONDS, true, text);
    assert_string_equal(text, "2026-11-28 06:00:00");
    cli_time_put_zone(ns, true, text);
    assert_string_equal(text, "UTC");
    assert_int_equal(setenv("TZ", "XYZ3:30", 1), 0); /* west of UTC, without a table of zones */
    tzset();
    cli_time_put(ns, CLI_TIME_OF_DAY, false, text);
    assert_string_equal(text, "02:30:00");
    cli_time_put_zone(ns, false, text);
    assert_string_equal(text, "-03:30");
    cli_time_put(UINT64_MAX, CLI_TIME_MS, true, text);
    assert_true(text[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_durations_for_people),
        cmocka_unit_test(test_times_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
