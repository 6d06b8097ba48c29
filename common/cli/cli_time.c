#include "common/cli/cli_time.h"

#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/base/rfc3339.h"

#include <stdio.h>
#include <time.h>

static enum err no_time(const char *text, struct err_detail *detail)
{
    return err_detail_set(
        detail, ERR_INVALID,
        "\"%.80s\" is not a time: 2026-01-02T03:04:05Z, seconds since 1970, 1h (ago), now-1h",
        text);
}

/* Seconds have up to 11 digits, ms 14, us 17. */
static bool unix_time(struct slice text, int64_t *ret_ns)
{
    int64_t unit = text.len <= 11   ? NS_PER_S
                   : text.len <= 14 ? NS_PER_MS
                   : text.len <= 17 ? NS_PER_US
                                    : 1;
    uint64_t whole;
    double d;

    if (num_parse_u64(text, &whole) == ERR_OK)
        return !__builtin_mul_overflow(whole, unit, ret_ns);
    if (memchr(text.ptr, '.', text.len) == NULL || num_parse_double(text, &d) != ERR_OK ||
        !(d >= 0 && d < 9e9))
        return false;
    *ret_ns = (int64_t)(d * 1e6 + 0.5) * NS_PER_US; /* a double has no ns */
    return true;
}

/* "now", "now-1h", "now+5m", "1h", "-1h". */
static bool relative_time(struct slice text, int64_t now_ns, int64_t *ret_ns)
{
    struct slice now = SLICE_LIT("now");
    bool is_now = slice_has_prefix(text, now), is_later = false;
    int64_t ns;

    if (is_now)
        text = slice_sub(text, now.len, text.len);
    if (is_now && text.len == 0) {
        *ret_ns = now_ns;
        return true;
    }
    bool has_sign = text.len > 0 && (text.ptr[0] == '-' || (is_now && text.ptr[0] == '+'));
    if (is_now && !has_sign)
        return false;
    if (has_sign) {
        is_later = text.ptr[0] == '+';
        text = slice_sub(text, 1, text.len);
    }
    bool is_plain = text.len > 0 && text.ptr[0] != '+' && text.ptr[0] != '-';
    if (!is_plain || num_parse_duration(text, &ns) != ERR_OK || ns < 0)
        return false;
    return !__builtin_sub_overflow(now_ns, is_later ? -ns : ns, ret_ns) && *ret_ns >= 0;
}

enum err cli_time_parse(const char *text, int64_t now_ns, int64_t *ret_ns,
                        struct err_detail *reterr_detail)
{
    struct slice s = slice_str(text);
    uint64_t ns;

    if (unix_time(s, ret_ns) || relative_time(s, now_ns, ret_ns))
        return ERR_OK;
    if (!rfc3339_parse(s, &ns) || ns > INT64_MAX)
        return no_time(text, reterr_detail);
    *ret_ns = (int64_t)ns;
    return ERR_OK;
}

enum err cli_time_duration(const char *text, int64_t *ret_ns, struct err_detail *reterr_detail)
{
    struct slice s = slice_str(text);
    double seconds;

    bool is_good = num_parse_duration(s, ret_ns) == ERR_OK;
    if (!is_good && num_parse_double(s, &seconds) == ERR_OK && seconds > 0 && seconds < 9e9) {
        *ret_ns = (int64_t)(seconds * 1e9);
        is_good = true;
    }
    if (!is_good || *ret_ns <= 0)
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "\"%.80s\" is not a duration: 30s, 5m, 1h30m, 2d", text);
    return ERR_OK;
}

void cli_time_put_duration(uint64_t ns, char ret[CLI_TIME_BYTES])
{
    static const struct {
        uint64_t ns;
        const char *unit;
    } small[] = {{1000000000, "s"}, {1000000, "ms"}, {1000, "µs"}};
    static const struct {
        uint64_t whole, part; /* seconds */
        char unit, part_unit;
    } large[] = {{86400, 3600, 'd', 'h'}, {3600, 60, 'h', 'm'}, {60, 1, 'm', 's'}};
    uint64_t seconds = ns / 1000000000 + (ns % 1000000000 >= 500000000);

    for (size_t i = 0; i < 3; i++)
        if (seconds >= large[i].whole) {
            (void)snprintf(ret, CLI_TIME_BYTES, "%llu%c%02llu%c",
                           (unsigned long long)(seconds / large[i].whole), large[i].unit,
                           (unsigned long long)(seconds % large[i].whole / large[i].part),
                           large[i].part_unit);
            return;
        }
    for (size_t i = 0; i < 3; i++)
        if (ns >= small[i].ns) {
            double v = (double)ns / (double)small[i].ns;
            int digits = v < 9.995 ? 2 : v < 99.95 ? 1 : 0;
            (void)snprintf(ret, CLI_TIME_BYTES, "%.*f%s", digits, v, small[i].unit);
            return;
        }
    (void)snprintf(ret, CLI_TIME_BYTES, "%lluns", (unsigned long long)ns);
}

static bool broken_down(uint64_t ns, bool is_utc, struct tm *ret)
{
    time_t seconds = (time_t)(ns / (uint64_t)NS_PER_S);

    return (is_utc ? gmtime_r(&seconds, ret) : localtime_r(&seconds, ret)) != NULL;
}

void cli_time_put(uint64_t ns, enum cli_time_form form, bool is_utc, char ret[CLI_TIME_BYTES])
{
    struct tm tm;
    size_t len = 0;

    if (broken_down(ns, is_utc, &tm))
        len = form == CLI_TIME_OF_DAY ? strftime(ret, CLI_TIME_BYTES, "%H:%M:%S", &tm)
                                      : strftime(ret, CLI_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &tm);
    ret[len] = '\0';
    if (len != 0 && form == CLI_TIME_MS)
        (void)snprintf(ret + len, CLI_TIME_BYTES - len, ".%03u",
                       (unsigned)(ns / (uint64_t)NS_PER_MS % 1000));
}

void cli_time_put_zone(uint64_t ns, bool is_utc, char ret[CLI_TIME_BYTES])
{
    struct tm tm;
    long minutes = broken_down(ns, is_utc, &tm) ? tm.tm_gmtoff / 60 : 0;

    if (minutes == 0)
        (void)snprintf(ret, CLI_TIME_BYTES, "UTC");
    else
        (void)snprintf(ret, CLI_TIME_BYTES, "%c%02ld:%02ld", minutes < 0 ? '-' : '+',
                       (minutes < 0 ? -minutes : minutes) / 60,
                       (minutes < 0 ? -minutes : minutes) % 60);
}
