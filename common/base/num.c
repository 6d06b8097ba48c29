#include "common/base/num.h"

#include "common/base/num_priv.h"

#include <assert.h>
#include <errno.h>
#include <math.h>

enum { NUM_DOUBLE_BYTES_MAX = 511 };

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* Cuts the digits off the front of *s.  Errors: ERR_INVALID none there, ERR_TOO_LARGE. */
static enum err take_u64(struct slice *s, uint64_t *ret)
{
    uint64_t v = 0;
    bool is_over = false;
    size_t i = 0;

    for (; i < s->len && is_digit(s->ptr[i]); i++) {
        uint64_t digit = s->ptr[i] - (uint64_t)'0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            is_over = true;
    }
    if (i == 0)
        return ERR_INVALID;
    *s = slice_sub(*s, i, s->len);
    if (is_over)
        return ERR_TOO_LARGE;
    *ret = v;
    return ERR_OK;
}

enum err num_parse_u64(struct slice s, uint64_t *ret)
{
    uint64_t v = 0;
    enum err e = take_u64(&s, &v);

    if (e == ERR_INVALID || s.len != 0)
        return ERR_INVALID;
    if (e == ERR_OK)
        *ret = v;
    return e;
}

enum err num_parse_i64(struct slice s, int64_t *ret)
{
    bool is_negative = s.len != 0 && s.ptr[0] == '-';
    uint64_t magnitude = 0;

    if (s.len != 0 && (s.ptr[0] == '-' || s.ptr[0] == '+'))
        s = slice_sub(s, 1, s.len);
    enum err e = num_parse_u64(s, &magnitude);
    if (e != ERR_OK)
        return e;
    if (magnitude > (uint64_t)INT64_MAX + is_negative)
        return ERR_TOO_LARGE;
    *ret = is_negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return ERR_OK;
}

static bool is_word(struct slice s, const char *word)
{
    size_t len = strlen(word);

    if (s.len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (lower(s.ptr[i]) != (uint8_t)word[i])
            return false;
    return true;
}

/* Digits, a point, an exponent: what Go and C agree on.  A hex float needs its exponent in Go. */
static bool is_double_syntax(struct slice s)
{
    size_t i = 0, digits = 0;

    if (i < s.len && (s.ptr[i] == '+' || s.ptr[i] == '-'))
        i++;
    struct slice rest = slice_sub(s, i, s.len);
    if (is_word(rest, "inf") || is_word(rest, "infinity") || is_word(s, "nan"))
        return true;
    bool is_hex = rest.len > 2 && rest.ptr[0] == '0' && lower(rest.ptr[1]) == 'x';
    if (is_hex)
        i += 2;
    for (bool has_point = false; i < s.len; i++) {
        uint8_t c = lower(s.ptr[i]);
        if (c == '.' && !has_point)
            has_point = true;
        else if (is_digit(c) || (is_hex && c >= 'a' && c <= 'f'))
            digits++;
        else
            break;
    }
    if (digits == 0)
        return false;
    if (i == s.len)
        return !is_hex;
    if (lower(s.ptr[i++]) != (is_hex ? 'p' : 'e'))
        return false;
    if (i < s.len && (s.ptr[i] == '+' || s.ptr[i] == '-'))
        i++;
    if (i == s.len)
        return false;
    while (i < s.len && is_digit(s.ptr[i]))
        i++;
    return i == s.len;
}

enum err num_parse_double(struct slice s, double *ret)
{
    char text[NUM_DOUBLE_BYTES_MAX + 1];
    char *end = NULL;

    if (s.len > NUM_DOUBLE_BYTES_MAX)
        return ERR_TOO_LARGE;
    if (!is_double_syntax(s))
        return ERR_INVALID;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    errno = 0;
    double v = strtod(text, &end);
    assert(end == text + s.len);
    if (errno == ERANGE && fabs(v) > 1) /* too small is just 0 or a subnormal */
        return ERR_TOO_LARGE;
    *ret = v;
    return ERR_OK;
}

struct unit {
    const char *name;
    int64_t ns;
};

/* The rest of *s begins with the unit's letters: up to the next digit or point. */
static int64_t take_go_unit(struct slice *s)
{
    static const struct unit units[] = {
        {"ns", 1},
        {"us", NUM_NS_US},
        {"\xc2\xb5s", NUM_NS_US}, /* U+00B5 micro sign */
        {"\xce\xbcs", NUM_NS_US}, /* U+03BC mu */
        {"ms", NUM_NS_MS},
        {"s", NUM_NS_S},
        {"m", NUM_NS_M},
        {"h", NUM_NS_H},
    };
    size_t len = 0;

    while (len < s->len && s->ptr[len] != '.' && !is_digit(s->ptr[len]))
        len++;
    struct slice name = slice_sub(*s, 0, len);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (slice_eq_str(name, units[i].name)) {
            *s = slice_sub(*s, len, s->len);
            return units[i].ns;
        }
    return 0;
}

/* Digits behind the point as value/scale; digits that no longer fit are dropped, as in Go. */
static bool take_fraction(struct slice *s, uint64_t *ret_value, double *ret_scale)
{
    uint64_t value = 0;
    double scale = 1;
    bool is_full = false;
    size_t i = 0;

    for (; i < s->len && is_digit(s->ptr[i]); i++) {
        uint64_t next = value * 10 + (s->ptr[i] - (uint64_t)'0');
        is_full = is_full || value > (uint64_t)INT64_MAX / 10 || next > (uint64_t)INT64_MAX + 1;
        if (is_full)
            continue;
        value = next;
        scale *= 10;
    }
    *s = slice_sub(*s, i, s->len);
    *ret_value = value;
    *ret_scale = scale;
    return i != 0;
}

/* One "1.5h" off the front of *s. */
static enum err take_go_term(struct slice *s, uint64_t *ret_ns)
{
    uint64_t whole = 0, fraction = 0, ns = 0;
    double scale = 1;
    bool has_fraction = false;
    enum err e = take_u64(s, &whole);
    bool has_whole = e != ERR_INVALID;

    if (e == ERR_TOO_LARGE)
        return e;
    if (s->len != 0 && s->ptr[0] == '.') {
        *s = slice_sub(*s, 1, s->len);
        has_fraction = take_fraction(s, &fraction, &scale);
    }
    if (!has_whole && !has_fraction)
        return ERR_INVALID;
    int64_t unit_ns = take_go_unit(s);
    if (unit_ns == 0)
        return ERR_INVALID;
    if (__builtin_mul_overflow(whole, (uint64_t)unit_ns, &ns))
        return ERR_TOO_LARGE;
    uint64_t part = (uint64_t)((double)fraction * ((double)unit_ns / scale));
    if (__builtin_add_overflow(ns, part, &ns))
        return ERR_TOO_LARGE;
    *ret_ns = ns;
    return ERR_OK;
}

enum err num_parse_duration_go(struct slice s, int64_t *ret_ns)
{
    bool is_negative = s.len != 0 && s.ptr[0] == '-';
    uint64_t sum = 0;

    if (s.len != 0 && (s.ptr[0] == '-' || s.ptr[0] == '+'))
        s = slice_sub(s, 1, s.len);
    if (slice_eq_str(s, "0")) {
        *ret_ns = 0;
        return ERR_OK;
    }
    if (s.len == 0)
        return ERR_INVALID;
    while (s.len != 0) {
        uint64_t ns = 0;
        enum err e = take_go_term(&s, &ns);
        if (e != ERR_OK)
            return e;
        if (__builtin_add_overflow(sum, ns, &sum) || sum > (uint64_t)INT64_MAX + 1)
            return ERR_TOO_LARGE;
    }
    if (!is_negative && sum > (uint64_t)INT64_MAX)
        return ERR_TOO_LARGE;
    *ret_ns = is_negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return ERR_OK;
}

enum err num_parse_duration_prom(struct slice s, int64_t *ret_ns)
{
    static const struct unit units[] = {
        {"y", 365 * 24 * NUM_NS_H},
        {"w", 7 * 24 * NUM_NS_H},
        {"d", 24 * NUM_NS_H},
        {"h", NUM_NS_H},
        {"m", NUM_NS_M},
        {"s", NUM_NS_S},
        {"ms", NUM_NS_MS},
    };
    enum { UNIT_COUNT = sizeof units / sizeof units[0] };
    size_t unit = 0; /* each may come once, in this order */
    bool is_over = false;
    int64_t sum = 0;

    if (slice_eq_str(s, "0")) {
        *ret_ns = 0;
        return ERR_OK;
    }
    if (s.len == 0)
        return ERR_INVALID;
    while (s.len != 0) {
        uint64_t count = 0;
        int64_t ns = 0;
        enum err e = take_u64(&s, &count);
        if (e == ERR_INVALID)
            return e;
        size_t len = 0;
        while (len < s.len && !is_digit(s.ptr[len]))
            len++;
        while (unit < UNIT_COUNT && !slice_eq_str(slice_sub(s, 0, len), units[unit].name))
            unit++;
        if (unit == UNIT_COUNT)
            return ERR_INVALID;
        if (e != ERR_OK || __builtin_mul_overflow(count, units[unit].ns, &ns) ||
            __builtin_add_overflow(sum, ns, &sum))
            is_over = true;
        s = slice_sub(s, len, s.len);
        unit++;
    }
    if (is_over)
        return ERR_TOO_LARGE;
    *ret_ns = sum;
    return ERR_OK;
}

enum err num_parse_duration(struct slice s, int64_t *ret_ns)
{
    enum err e = num_parse_duration_prom(s, ret_ns);

    return e == ERR_INVALID ? num_parse_duration_go(s, ret_ns) : e;
}

/* "", "B", "k", "kB", "Ki", "KiB" and so on.  0: not a unit. */
static uint64_t size_unit(struct slice s)
{
    static const char letters[] = {'k', 'm', 'g', 't', 'p'};
    uint64_t bytes = 1, step = 1000;
    size_t i = 0, power = 0;

    if (s.len != 0 && s.ptr[0] == ' ')
        i++;
    if (i < s.len)
        for (size_t k = 0; k < sizeof letters; k++)
            if (lower(s.ptr[i]) == (uint8_t)letters[k])
                power = k + 1;
    if (power != 0)
        i++;
    if (power != 0 && i < s.len && lower(s.ptr[i]) == 'i') {
        step = 1024;
        i++;
    }
    if (i < s.len && lower(s.ptr[i]) == 'b')
        i++;
    if (i != s.len)
        return 0;
    while (power-- != 0)
        bytes *= step;
    return bytes;
}

enum err num_parse_size(struct slice s, uint64_t *ret_bytes)
{
    size_t len = 0;
    uint64_t whole = 0, bytes = 0;
    double v = 0;

    while (len < s.len && (is_digit(s.ptr[len]) || s.ptr[len] == '.' ||
                           (lower(s.ptr[len]) == 'e' && len + 1 < s.len) ||
                           ((s.ptr[len] == '+' || s.ptr[len] == '-') && len != 0)))
        len++;
    uint64_t unit = size_unit(slice_sub(s, len, s.len));
    if (len == 0 || unit == 0)
        return ERR_INVALID;
    struct slice digits = slice_sub(s, 0, len);
    enum err e = num_parse_u64(digits, &whole);
    if (e == ERR_OK && __builtin_mul_overflow(whole, unit, &bytes))
        return ERR_TOO_LARGE;
    if (e == ERR_INVALID) { /* a fraction or an exponent: exact to 53 bits */
        e = num_parse_double(digits, &v);
        v *= (double)unit;
        if (e == ERR_OK && v >= 0x1p64)
            return ERR_TOO_LARGE;
        bytes = e == ERR_OK ? (uint64_t)v : 0;
    }
    if (e == ERR_OK)
        *ret_bytes = bytes;
    return e;
}
