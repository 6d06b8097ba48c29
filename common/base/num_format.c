#include "common/base/num.h"
#include "common/base/num_priv.h"

#include <assert.h>
#include <math.h>

/* A positive finite double as 0.DIGITS * 10^point, without trailing zeros. */
struct decimal {
    char digits[18];
    int count; /* >= 1 */
    int point;
};

enum {
    DIGITS_SURE = 15,
    DIGITS_MAX = 17
}; /* 15 always survive text -> double -> text; 17 are always enough */

static bool decimal_is(const struct decimal *d, double v)
{
    char text[40];

    (void)snprintf(text, sizeof text, "0.%.*se%d", d->count, d->digits, d->point);
    return strtod(text, NULL) == v;
}

/* v correctly rounded to `count` digits. */
static void decimal_round(double v, int count, struct decimal *ret)
{
    char text[40];
    int exponent;

    (void)snprintf(text, sizeof text, "%.*e", count - 1, v); /* d.ddde[+-]xx */
    ret->digits[0] = text[0];
    memcpy(ret->digits + 1, text + 2, (size_t)count - 1);
    exponent = (int)strtol(text + (count == 1 ? 2 : count + 2), NULL, 10);
    ret->count = count;
    ret->point = exponent + 1;
}

static void decimal_next(struct decimal *d)
{
    int i = d->count - 1;

    while (i >= 0 && d->digits[i] == '9')
        d->digits[i--] = '0';
    if (i >= 0) {
        d->digits[i]++;
        return;
    }
    d->digits[0] = '1';
    d->point++;
}

static void decimal_shortest(double v, struct decimal *ret)
{
    int mantissa_exponent;
    bool is_power_of_two = frexp(v, &mantissa_exponent) == 0.5;

    assert(v > 0 && isfinite(v));
    for (int count = v < 0x1p-1022 ? 1 : DIGITS_SURE; count <= DIGITS_MAX; count++) {
        decimal_round(v, count, ret);
        if (decimal_is(ret, v))
            break;
        /* Above a power of two the doubles lie twice as far apart as below: the nearest decimal may be another
         * double while the next one up is this. */
        if (is_power_of_two && count >= DIGITS_SURE && count < DIGITS_MAX) {
            decimal_next(ret);
            if (decimal_is(ret, v))
                break;
        }
    }
    while (ret->count > 1 && ret->digits[ret->count - 1] == '0')
        ret->count--;
    assert(decimal_is(ret, v));
}

static size_t write_plain(const struct decimal *d, char *at)
{
    char *start = at;

    if (d->point <= 0) {
        *at++ = '0';
        *at++ = '.';
        for (int i = d->point; i < 0; i++)
            *at++ = '0';
    }
    for (int i = 0; i < d->count || i < d->point; i++) {
        if (i == d->point && i != 0)
            *at++ = '.';
        *at++ = i < d->count ? d->digits[i] : '0';
    }
    *at = '\0';
    return (size_t)(at - start);
}

static size_t write_exponent(const struct decimal *d, int exponent_digits_min, char *at)
{
    char *start = at;
    int exponent = d->point - 1;

    *at++ = d->digits[0];
    if (d->count > 1) {
        *at++ = '.';
        memcpy(at, d->digits + 1, (size_t)d->count - 1);
        at += d->count - 1;
    }
    int n =
        snprintf(at, 8, "e%c%0*d", exponent < 0 ? '-' : '+', exponent_digits_min, abs(exponent));
    assert(n > 0 && n < 8);
    return (size_t)(at - start) + (size_t)n;
}

struct style {
    int point_min, point_max; /* an exponent outside these */
    int negative_exponent_digits;
    const char *infinity_plus, *infinity_minus;
};

static size_t format_double(double v, const struct style *style, char ret[NUM_TEXT_BYTES])
{
    struct decimal d;
    char *at = ret;

    if (isnan(v))
        return (size_t)snprintf(ret, NUM_TEXT_BYTES, "NaN");
    if (isinf(v))
        return (size_t)snprintf(ret, NUM_TEXT_BYTES, "%s",
                                v > 0 ? style->infinity_plus : style->infinity_minus);
    if (signbit(v))
        *at++ = '-';
    if (v == 0) {
        *at++ = '0';
        *at = '\0';
        return (size_t)(at - ret);
    }
    double whole_max = style->point_max < 16 ? 1e6 : 0x1p53;
    assert(style->point_max >= 6);
    if (fabs(v) < whole_max && v == (double)(int64_t)v) /* whole: every digit counts */
        return (size_t)snprintf(ret, NUM_TEXT_BYTES, "%lld", (long long)v);
    decimal_shortest(fabs(v), &d);
    if (d.point >= style->point_min && d.point <= style->point_max)
        return (size_t)(at - ret) + write_plain(&d, at);
    int digits_min = d.point <= 0 ? style->negative_exponent_digits : 2;
    return (size_t)(at - ret) + write_exponent(&d, digits_min, at);
}

size_t num_format_double_f(double v, char ret[NUM_TEXT_BYTES])
{
    static const struct style style = {-400, 400, 2, "+Inf", "-Inf"};

    return format_double(v, &style, ret);
}

size_t num_format_double_g(double v, char ret[NUM_TEXT_BYTES])
{
    static const struct style style = {-3, 6, 2, "+Inf", "-Inf"};

    return format_double(v, &style, ret);
}

size_t num_format_double_json(double v, char ret[NUM_TEXT_BYTES])
{
    static const struct style style = {-5, 21, 1, "Infinity", "-Infinity"};

    return format_double(v, &style, ret);
}

/* units*10^digits as "12.345": no trailing zeros, no point when whole. */
static char *write_decimal(uint64_t value, int digits, char *at)
{
    uint64_t scale = 1;

    for (int i = 0; i < digits; i++)
        scale *= 10;
    at += snprintf(at, 24, "%llu", (unsigned long long)(value / scale));
    uint64_t fraction = value % scale;
    if (fraction == 0)
        return at;
    at += snprintf(at, 24, ".%0*llu", digits, (unsigned long long)fraction);
    while (at[-1] == '0')
        at--;
    return at;
}

size_t num_format_duration(int64_t ns, char ret[NUM_TEXT_BYTES])
{
    uint64_t left = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    char *at = ret;
    const char *unit = "s";

    if (ns < 0)
        *at++ = '-';
    if (left == 0) {
        *at++ = '0';
    } else if (left < NUM_NS_US) {
        at = write_decimal(left, 0, at);
        unit = "ns";
    } else if (left < NUM_NS_MS) {
        at = write_decimal(left, 3, at);
        unit = "\xc2\xb5s";
    } else if (left < NUM_NS_S) {
        at = write_decimal(left, 6, at);
        unit = "ms";
    } else {
        if (left >= NUM_NS_H)
            at += snprintf(at, 24, "%lluh", (unsigned long long)(left / NUM_NS_H));
        if (left >= NUM_NS_M)
            at += snprintf(at, 24, "%llum", (unsigned long long)(left % NUM_NS_H / NUM_NS_M));
        at = write_decimal(left % NUM_NS_M, 9, at);
    }
    at += snprintf(at, 4, "%s", unit);
    assert(at < ret + NUM_TEXT_BYTES);
    return (size_t)(at - ret);
}

static void append_text(struct buf *b, const char *text, size_t len)
{
    buf_append(b, (struct slice){(const uint8_t *)text, len});
}

void num_append_duration(struct buf *b, int64_t ns)
{
    char text[NUM_TEXT_BYTES];
    append_text(b, text, num_format_duration(ns, text));
}

void num_append_double_f(struct buf *b, double v)
{
    char text[NUM_TEXT_BYTES];
    append_text(b, text, num_format_double_f(v, text));
}

void num_append_double_g(struct buf *b, double v)
{
    char text[NUM_TEXT_BYTES];
    append_text(b, text, num_format_double_g(v, text));
}

void num_append_double_json(struct buf *b, double v)
{
    char text[NUM_TEXT_BYTES];
    append_text(b, text, num_format_double_json(v, text));
}

void num_append_u64(struct buf *b, uint64_t v)
{
    char text[20];
    char *at = text + sizeof text;

    do {
        *--at = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    append_text(b, at, (size_t)(text + sizeof text - at));
}

void num_append_i64(struct buf *b, int64_t v)
{
    if (v < 0)
        buf_append_byte(b, '-');
    num_append_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}
