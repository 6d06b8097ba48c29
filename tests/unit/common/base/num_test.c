#include "common/base/num.h"
#include "common/base/rng.h"
#include "tests/lib/test.h"

#include <math.h>

#define COUNT_OF(a) (sizeof(a) / sizeof(a)[0])
#define MINUTE_NS   60000000000
#define HOUR_NS     (60 * MINUTE_NS)

struct row {
    const char *text;
    enum err err;
    int64_t value;
};

typedef enum err parse_fn(struct slice s, int64_t *ret);

static void check_rows(parse_fn *parse, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t v = 4711;
        enum err e = parse(slice_str(rows[i].text), &v);
        if (e != rows[i].err || v != (e == ERR_OK ? rows[i].value : 4711))
            fail_msg("\"%s\": %s, %lld", rows[i].text, err_name(e), (long long)v);
    }
}

static void test_integers(void **state)
{
    static const struct row rows[] = {
        {"0", ERR_OK, 0},
        {"-0", ERR_OK, 0},
        {"+7", ERR_OK, 7},
        {"0012", ERR_OK, 12},
        {"9223372036854775807", ERR_OK, INT64_MAX},
        {"-9223372036854775808", ERR_OK, INT64_MIN},
        {"9223372036854775808", ERR_TOO_LARGE, 0},
        {"-9223372036854775809", ERR_TOO_LARGE, 0},
        {"99999999999999999999999", ERR_TOO_LARGE, 0},
        {"", ERR_INVALID, 0},
        {"-", ERR_INVALID, 0},
        {"+-1", ERR_INVALID, 0},
        {" 1", ERR_INVALID, 0},
        {"1 ", ERR_INVALID, 0},
        {"1_000", ERR_INVALID, 0},
        {"0x10", ERR_INVALID, 0},
        {"99999999999999999999999x", ERR_INVALID, 0},
    };
    uint64_t u = 0;

    (void)state;
    check_rows(num_parse_i64, rows, COUNT_OF(rows));
    assert_int_equal(num_parse_u64(SLICE_LIT("18446744073709551615"), &u), ERR_OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(num_parse_u64(SLICE_LIT("18446744073709551616"), &u), ERR_TOO_LARGE);
    assert_int_equal(num_parse_u64(SLICE_LIT("-1"), &u), ERR_INVALID);
    assert_int_equal(num_parse_u64(SLICE_LIT("+1"), &u), ERR_INVALID);
    assert_int_equal(num_parse_u64(SLICE_LIT("1\0"), &u), ERR_INVALID);
    assert_int_equal(num_parse_u64(SLICE_NONE, &u), ERR_INVALID);
    assert_true(u == UINT64_MAX);
}

static void test_doubles_are_read(void **state)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {
        {"0", 0},        {"1.5", 1.5},           {".5", 0.5},       {"5.", 5},
        {"-2e3", -2000}, {"1E-3", 1e-3},         {"0x1p4", 16},     {"0x1.8p0", 1.5},
        {"1e-400", 0},   {"5e-324", 5e-324},     {"inf", INFINITY}, {"-Inf", -INFINITY},
        {"+1.25", 1.25}, {"Infinity", INFINITY}, {"0X.8P1", 1.0},
    };
    static const char *const bad[] = {"",      ".",    "e5",   "1e",  "1e+", "0x",    "0x1", "1,5",
                                      "1.5.2", "nano", "+nan", "--1", "1f",  "infin", "0x1p"};
    double v = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_int_equal(num_parse_double(slice_str(good[i].text), &v), ERR_OK);
        assert_true(v == good[i].value);
    }
    assert_int_equal(num_parse_double(SLICE_LIT("NaN"), &v), ERR_OK);
    assert_true(isnan(v));
    v = 7;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (num_parse_double(slice_str(bad[i]), &v) != ERR_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
    assert_int_equal(num_parse_double(SLICE_LIT("1e309"), &v), ERR_TOO_LARGE);
    assert_int_equal(num_parse_double(SLICE_LIT("1.5\0"), &v), ERR_INVALID);
    char many[600];
    memset(many, '1', sizeof many);
    assert_int_equal(num_parse_double((struct slice){(const uint8_t *)many, sizeof many}, &v),
                     ERR_TOO_LARGE);
    assert_true(v == 7);
}

static void test_go_durations_are_read(void **state)
{
    static const struct row rows[] = {
        {"0", ERR_OK, 0},
        {"-0", ERR_OK, 0},
        {"5ns", ERR_OK, 5},
        {"100us", ERR_OK, 100000},
        {"100\xc2\xb5s", ERR_OK, 100000},
        {"100\xce\xbcs", ERR_OK, 100000},
        {"1.5s", ERR_OK, 1500000000},
        {".5s", ERR_OK, 500000000},
        {"1.s", ERR_OK, 1000000000},
        {"1h30m", ERR_OK, HOUR_NS + 30 * MINUTE_NS},
        {"1m1m", ERR_OK, 2 * MINUTE_NS},
        {"-1m30s", ERR_OK, -90000000000},
        {"+5s", ERR_OK, 5000000000},
        {"0.100000000000000000000h", ERR_OK, 360000000000},
        {"0.3333333333333333333h", ERR_OK, 1200000000000},
        {"9223372036854775807ns", ERR_OK, INT64_MAX},
        {"-9223372036854775808ns", ERR_OK, INT64_MIN},
        {"9223372036854775808ns", ERR_TOO_LARGE, 0},
        {"3000000h", ERR_TOO_LARGE, 0},
        {"2562047h48m", ERR_TOO_LARGE, 0},
        {"1", ERR_INVALID, 0},
        {"", ERR_INVALID, 0},
        {"-", ERR_INVALID, 0},
        {"s", ERR_INVALID, 0},
        {".s", ERR_INVALID, 0},
        {"1d", ERR_INVALID, 0},
        {"1h ", ERR_INVALID, 0},
        {"1h-1m", ERR_INVALID, 0},
        {"1.5", ERR_INVALID, 0},
    };

    (void)state;
    check_rows(num_parse_duration_go, rows, COUNT_OF(rows));
}

static void test_prometheus_durations_are_read(void **state)
{
    static const struct row rows[] = {
        {"0", ERR_OK, 0},
        {"0s", ERR_OK, 0},
        {"15m", ERR_OK, 15 * MINUTE_NS},
        {"1d12h", ERR_OK, 36 * HOUR_NS},
        {"2w", ERR_OK, 14 * 24 * HOUR_NS},
        {"1y", ERR_OK, 365 * 24 * HOUR_NS},
        {"1m5ms", ERR_OK, MINUTE_NS + 5000000},
        {"1y1w1d1h1m1s1ms", ERR_OK,
         (365 + 7 + 1) * 24 * HOUR_NS + HOUR_NS + MINUTE_NS + 1001000000},
        {"292y", ERR_OK, INT64_C(292) * 365 * 24 * HOUR_NS},
        {"293y", ERR_TOO_LARGE, 0},
        {"99999999999999999999y", ERR_TOO_LARGE, 0},
        {"1s1m", ERR_INVALID, 0},
        {"1s1s", ERR_INVALID, 0},
        {"1.5h", ERR_INVALID, 0},
        {"-1s", ERR_INVALID, 0},
        {"5", ERR_INVALID, 0},
        {"", ERR_INVALID, 0},
        {"1us", ERR_INVALID, 0},
        {"m", ERR_INVALID, 0},
        {"1m ", ERR_INVALID, 0},
    };
    static const struct row either[] = {
        {"1d", ERR_OK, 24 * HOUR_NS}, {"1.5h", ERR_OK, 90 * MINUTE_NS},
        {"-3s", ERR_OK, -3000000000}, {"1s1m", ERR_OK, 61000000000},
        {"1d1.5h", ERR_INVALID, 0},   {"293y", ERR_TOO_LARGE, 0},
    };

    (void)state;
    check_rows(num_parse_duration_prom, rows, COUNT_OF(rows));
    check_rows(num_parse_duration, either, COUNT_OF(either));
}

static enum err parse_size(struct slice s, int64_t *ret)
{
    uint64_t v = 0;
    enum err e = num_parse_size(s, &v);

    if (e == ERR_OK)
        *ret = (int64_t)v;
    return e;
}

static void test_sizes_are_read(void **state)
{
    static const struct row rows[] = {
        {"0", ERR_OK, 0},
        {"1500", ERR_OK, 1500},
        {"5e8", ERR_OK, 500000000},
        {"1B", ERR_OK, 1},
        {"64k", ERR_OK, 64000},
        {"64KB", ERR_OK, 64000},
        {"64Ki", ERR_OK, 65536},
        {"64Mi", ERR_OK, 64 << 20},
        {"64MiB", ERR_OK, 64 << 20},
        {"64mib", ERR_OK, 64 << 20},
        {"10MB", ERR_OK, 10000000},
        {"10 MB", ERR_OK, 10000000},
        {"1.5GiB", ERR_OK, INT64_C(3) << 29},
        {"0.5KiB", ERR_OK, 512},
        {"1TiB", ERR_OK, INT64_C(1) << 40},
        {"2PiB", ERR_OK, INT64_C(1) << 51},
        {"9007199254740993", ERR_OK, 9007199254740993},
        {"16777216TiB", ERR_TOO_LARGE, 0},
        {"1e30", ERR_TOO_LARGE, 0},
        {"99999999999999999999", ERR_TOO_LARGE, 0},
        {"", ERR_INVALID, 0},
        {"MiB", ERR_INVALID, 0},
        {"-1", ERR_INVALID, 0},
        {"5-3", ERR_INVALID, 0},
        {"1e", ERR_INVALID, 0},
        {"10 ", ERR_OK, 10},
        {"10iB", ERR_INVALID, 0},
        {"10MiBs", ERR_INVALID, 0},
        {"1..5k", ERR_INVALID, 0},
    };

    (void)state;
    check_rows(parse_size, rows, COUNT_OF(rows));
}

static void test_durations_are_written(void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {5, "5ns"},
        {1100, "1.1\xc2\xb5s"},
        {100000, "100\xc2\xb5s"},
        {2200000, "2.2ms"},
        {31500000, "31.5ms"},
        {1500000000, "1.5s"},
        {3300000001, "3.300000001s"},
        {5 * MINUTE_NS + 5001000000, "5m5.001s"},
        {HOUR_NS + 30 * MINUTE_NS, "1h30m0s"},
        {168 * HOUR_NS, "168h0m0s"},
        {-1500, "-1.5\xc2\xb5s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b;
        int64_t back = 0;
        buf_init(&b, 100);
        num_append_duration(&b, rows[i].ns);
        buf_append_byte(&b, '\0');
        assert_int_equal(buf_err(&b), ERR_OK);
        assert_string_equal((const char *)b.ptr, rows[i].text);
        assert_int_equal(num_parse_duration_go(slice_str(rows[i].text), &back), ERR_OK);
        assert_true(back == rows[i].ns);
        buf_release(&b);
    }
}

static void test_doubles_are_written_as_go_writes_them(void **state)
{
    static const struct {
        double v;
        const char *f, *g, *json;
    } rows[] = {
        {0.0, "0", "0", "0"},
        {-0.0, "-0", "-0", "-0"},
        {1.0, "1", "1", "1"},
        {-12.5, "-12.5", "-12.5", "-12.5"},
        {0.1, "0.1", "0.1", "0.1"},
        {0.3, "0.3", "0.3", "0.3"},
        {0.1 + 0.2, "0.30000000000000004", "0.30000000000000004", "0.30000000000000004"},
        {100000, "100000", "100000", "100000"},
        {1e6, "1000000", "1e+06", "1000000"},
        {123456789, "123456789", "1.23456789e+08", "123456789"},
        {1e20, "100000000000000000000", "1e+20", "100000000000000000000"},
        {1e21, "1000000000000000000000", "1e+21", "1e+21"},
        {0.0001, "0.0001", "0.0001", "0.0001"},
        {0.00001, "0.00001", "1e-05", "0.00001"},
        {0.000001, "0.000001", "1e-06", "0.000001"},
        {1e-7, "0.0000001", "1e-07", "1e-7"},
        {1.5e-10, "0.00000000015", "1.5e-10", "1.5e-10"},
        {9007199254740991, "9007199254740991", "9.007199254740991e+15", "9007199254740991"},
        {9007199254740993.0, "9007199254740992", "9.007199254740992e+15", "9007199254740992"},
        {0x1p-44, "0.00000000000005684341886080802", "5.684341886080802e-14",
         "5.684341886080802e-14"},
        {1.7976931348623157e308, NULL, "1.7976931348623157e+308", "1.7976931348623157e+308"},
        {5e-324, NULL, "5e-324", "5e-324"},
        {INFINITY, "+Inf", "+Inf", "Infinity"},
        {-INFINITY, "-Inf", "-Inf", "-Infinity"},
        {NAN, "NaN", "NaN", "NaN"},
    };
    char text[NUM_TEXT_BYTES];
    size_t len;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        len = num_format_double_f(rows[i].v, text);
        assert_int_equal(len, strlen(text));
        if (rows[i].f != NULL)
            assert_string_equal(text, rows[i].f);
        len = num_format_double_g(rows[i].v, text);
        assert_int_equal(len, strlen(text));
        assert_string_equal(text, rows[i].g);
        len = num_format_double_json(rows[i].v, text);
        assert_int_equal(len, strlen(text));
        assert_string_equal(text, rows[i].json);
    }
}

/* Any bit pattern, every power of two: what is written reads back as the same bits. */
static void test_doubles_survive_writing_and_reading(void **state)
{
    struct rng r;
    struct buf b;

    (void)state;
    rng_init(&r, 20261123);
    buf_init(&b, 1 << 10);
    for (unsigned i = 0; i < 30000; i++) {
        uint64_t bits = i < 2046 ? (uint64_t)i << 52 : rng_u64(&r);
        double v, back[3];
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        for (int form = 0; form < 3; form++) {
            buf_reset(&b);
            if (form == 0)
                num_append_double_f(&b, v);
            else if (form == 1)
                num_append_double_g(&b, v);
            else
                num_append_double_json(&b, v);
            assert_int_equal(num_parse_double(buf_slice(&b), &back[form]), ERR_OK);
            assert_memory_equal(&back[form], &v, sizeof v);
        }
    }
    buf_release(&b);
}

static void test_integers_are_written(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 200);
    num_append_i64(&b, INT64_MIN);
    buf_append_byte(&b, ' ');
    num_append_i64(&b, INT64_MAX);
    buf_append_byte(&b, ' ');
    num_append_i64(&b, 0);
    buf_append_byte(&b, ' ');
    num_append_u64(&b, UINT64_MAX);
    assert_true(slice_eq_str(buf_slice(&b),
                             "-9223372036854775808 9223372036854775807 0 18446744073709551615"));
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_doubles_are_read),
        cmocka_unit_test(test_go_durations_are_read),
        cmocka_unit_test(test_prometheus_durations_are_read),
        cmocka_unit_test(test_sizes_are_read),
        cmocka_unit_test(test_durations_are_written),
        cmocka_unit_test(test_doubles_are_written_as_go_writes_them),
        cmocka_unit_test(test_doubles_survive_writing_and_reading),
        cmocka_unit_test(test_integers_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
