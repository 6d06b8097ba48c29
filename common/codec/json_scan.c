#include "common/codec/json_scan.h"

#include "common/base/utf8.h"

#include <assert.h>

struct scan {
    const uint8_t *begin, *at, *end;
    uint8_t *out; /* NULL: only counting */
    size_t out_len;
    uint64_t objects; /* bit per open level: object, else array */
    unsigned depth, depth_max;
    struct err_detail *detail;
};

static void put(struct scan *s, const void *bytes, size_t len)
{
    if (s->out != NULL)
        memcpy(s->out + s->out_len, bytes, len);
    s->out_len += len;
}

static void put_byte(struct scan *s, uint8_t byte)
{
    put(s, &byte, 1);
}

static enum err fail(struct scan *s, enum err e, const char *what)
{
    uint32_t line = 1, column = 1;

    for (const uint8_t *p = s->begin; p < s->at; p++) {
        column = *p == '\n' ? 1 : column + 1;
        line += *p == '\n';
    }
    if (s->detail != NULL) {
        s->detail->line = line;
        s->detail->column = column;
    }
    return err_detail_set(s->detail, e, "invalid JSON at line %u column %u: %s", line, column,
                          what);
}

static void skip_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

/* The four digits of \uXXXX at `p`; false when they are not there. */
static bool hex4(const struct scan *s, const uint8_t *p, uint32_t *ret)
{
    uint32_t v = 0;

    if (s->end - p < 4)
        return false;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t c = p[i];
        uint8_t low = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v << 4 | (uint32_t)(low - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

static enum err scan_unicode_escape(struct scan *s)
{
    uint32_t high, low;

    if (!hex4(s, s->at + 2, &high))
        return fail(s, ERR_FORMAT, "bad \\u escape");
    if (high == 0) {
        put_byte(s, JSON_SCAN_NUL);
        s->at += 6;
        return ERR_OK;
    }
    if (high < 0xd800 || high > 0xdfff) {
        put(s, s->at, 6);
        s->at += 6;
        return ERR_OK;
    }
    if (high < 0xdc00 && s->end - s->at >= 12 && s->at[6] == '\\' && s->at[7] == 'u' &&
        hex4(s, s->at + 8, &low) && low >= 0xdc00 && low <= 0xdfff) {
        put(s, s->at, 12);
        s->at += 12;
        return ERR_OK;
    }
    put(s, "\xef\xbf\xbd", 3);
    s->at += 6;
    return ERR_OK;
}

static enum err scan_escape(struct scan *s)
{
    if (s->end - s->at < 2)
        return fail(s, ERR_FORMAT, "unterminated string");
    switch (s->at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        put(s, s->at, 2);
        s->at += 2;
        return ERR_OK;
    case 'u': return scan_unicode_escape(s);
    default: return fail(s, ERR_FORMAT, "bad escape");
    }
}

static enum err scan_string(struct scan *s)
{
    assert(s->at < s->end && *s->at == '"');
    put_byte(s, *s->at++);
    for (;;) {
        const uint8_t *run = s->at;
        while (s->at < s->end && *s->at >= 0x20 && *s->at < 0x80 && *s->at != '"' && *s->at != '\\')
            s->at++;
        put(s, run, (size_t)(s->at - run));
        if (s->at == s->end)
            return fail(s, ERR_FORMAT, "unterminated string");
        if (*s->at == '"') {
            put_byte(s, *s->at++);
            return ERR_OK;
        }
        if (*s->at == '\\') {
            enum err e = scan_escape(s);
            if (e != ERR_OK)
                return e;
            continue;
        }
        if (*s->at < 0x20)
            return fail(s, ERR_FORMAT, "control character in a string");
        size_t len = utf8_char_bytes((struct slice){s->at, (size_t)(s->end - s->at)});
        if (len == 0)
            return fail(s, ERR_FORMAT, "invalid UTF-8 in a string");
        put(s, s->at, len);
        s->at += len;
    }
}

static bool skip_digits(struct scan *s)
{
    const uint8_t *from = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > from;
}

static enum err scan_number(struct scan *s)
{
    const uint8_t *from = s->at;

    if (*s->at == '-')
        s->at++;
    if (s->at < s->end && *s->at == '0')
        s->at++;
    else if (!skip_digits(s))
        return fail(s, ERR_FORMAT, "unexpected character");
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!skip_digits(s))
            return fail(s, ERR_FORMAT, "digits must follow the point of a number");
    }
    if (s->at < s->end && (*s->at | 0x20) == 'e') {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        if (!skip_digits(s))
            return fail(s, ERR_FORMAT, "digits must follow the exponent sign of a number");
    }
    put_byte(s, '"');
    put_byte(s, JSON_SCAN_NUMBER);
    put(s, from, (size_t)(s->at - from));
    put_byte(s, '"');
    return ERR_OK;
}

static enum err scan_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};

    for (unsigned i = 0; i < 3; i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(s->end - s->at) >= len && memcmp(s->at, words[i], len) == 0) {
            put(s, s->at, len);
            s->at += len;
            return ERR_OK;
        }
    }
    return fail(s, ERR_FORMAT, s->at == s->end ? "unexpected end" : "unexpected character");
}

static enum err open_level(struct scan *s)
{
    if (s->depth == s->depth_max)
        return fail(s, ERR_TOO_LARGE, "nested too deeply");
    uint64_t bit = (uint64_t)1 << s->depth;
    s->objects = *s->at == '{' ? s->objects | bit : s->objects & ~bit;
    s->depth++;
    put_byte(s, *s->at++);
    return ERR_OK;
}

static bool is_in_object(const struct scan *s)
{
    return (s->objects >> (s->depth - 1) & 1) != 0;
}

/* The key and colon before a value of an object. */
static enum err scan_key(struct scan *s)
{
    skip_space(s);
    if (s->at == s->end || *s->at != '"')
        return fail(s, ERR_FORMAT, s->at == s->end ? "unexpected end" : "a key must be a string");
    enum err e = scan_string(s);
    if (e != ERR_OK)
        return e;
    skip_space(s);
    if (s->at == s->end || *s->at != ':')
        return fail(s, ERR_FORMAT, s->at == s->end ? "unexpected end" : "':' must follow a key");
    put_byte(s, *s->at++);
    return ERR_OK;
}

/* A scalar, or the opening of an array or object; *ret_is_open tells which. */
static enum err scan_value(struct scan *s, bool *ret_is_open)
{
    skip_space(s);
    *ret_is_open = false;
    if (s->at == s->end)
        return fail(s, ERR_FORMAT, "unexpected end");
    if (*s->at == '{' || *s->at == '[') {
        *ret_is_open = true;
        return open_level(s);
    }
    if (*s->at == '"')
        return scan_string(s);
    return *s->at == '-' || (*s->at >= '0' && *s->at <= '9') ? scan_number(s) : scan_word(s);
}

/* After a value, or after an opening: closes what ends here.  *ret_is_more: another element follows. */
static enum err close_levels(struct scan *s, bool is_just_opened, bool *ret_is_more)
{
    for (; s->depth > 0; is_just_opened = false) {
        skip_space(s);
        uint8_t close = is_in_object(s) ? '}' : ']';
        *ret_is_more = true;
        if (s->at == s->end)
            return fail(s, ERR_FORMAT, "unexpected end");
        if (*s->at != close) {
            if (is_just_opened)
                return ERR_OK;
            if (*s->at != ',')
                return fail(s, ERR_FORMAT,
                            close == '}' ? "',' or '}' expected" : "',' or ']' expected");
            put_byte(s, *s->at++);
            return ERR_OK;
        }
        put_byte(s, *s->at++);
        s->depth--;
    }
    *ret_is_more = false;
    return ERR_OK;
}

enum err json_scan(struct slice json, unsigned depth_max, uint8_t *out, size_t *ret_len,
                   struct err_detail *reterr_detail)
{
    assert(depth_max <= JSON_SCAN_DEPTH_MAX);
    assert(json.ptr != NULL || json.len == 0);
    struct scan s = {.begin = json.ptr,
                     .at = json.ptr,
                     .end = json.ptr + json.len,
                     .out = out,
                     .depth_max = depth_max,
                     .detail = reterr_detail};
    if (slice_has_prefix(json, SLICE_LIT("\xef\xbb\xbf")))
        s.at += 3;
    for (bool is_more = true; is_more;) {
        bool is_open = false;
        enum err e = s.depth > 0 && is_in_object(&s) ? scan_key(&s) : ERR_OK;
        if (e == ERR_OK)
            e = scan_value(&s, &is_open);
        if (e == ERR_OK)
            e = close_levels(&s, is_open, &is_more);
        if (e != ERR_OK)
            return e;
    }
    skip_space(&s);
    if (s.at != s.end)
        return fail(&s, ERR_FORMAT, "text after the end");
    *ret_len = s.out_len;
    return ERR_OK;
}
