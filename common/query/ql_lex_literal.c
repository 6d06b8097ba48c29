#include "common/base/num.h"
#include "common/query/ql_lex.h"

#include <assert.h>

/* --- numbers: Go's literals -------------------------------------------------------------------- */

static uint8_t byte_at(const struct ql_lex *l, size_t at)
{
    return at < l->text.len ? l->text.ptr[at] : 0;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static bool is_digit_of(uint8_t c, unsigned base)
{
    if (c >= '0' &&
        c <= '9') /* decimal digits are read in any base up to ten, and complained about later */
        return true;
    return base == 16 && lower(c) >= 'a' && lower(c) <= 'f';
}

struct scan {
    size_t at;
    unsigned base;
    bool has_digits, is_float;
    uint8_t invalid; /* first digit that is too large for its base */
    bool has_bad_separator;
    char prefix; /* 0, 'x', 'o', 'b', or '0' for the old octal form */
};

static void scan_digits(const struct ql_lex *l, struct scan *s, unsigned base)
{
    bool is_after_digit = s->at > l->at && is_digit_of(byte_at(l, s->at - 1), base);

    for (;; s->at++) {
        uint8_t c = byte_at(l, s->at);
        if (c == '_') {
            s->has_bad_separator |= !is_after_digit || !is_digit_of(byte_at(l, s->at + 1), base);
            is_after_digit = false;
            continue;
        }
        if (!is_digit_of(c, base))
            break;
        if (base < 10 && c >= '0' + (int)base && s->invalid == 0)
            s->invalid = c;
        s->has_digits = true;
        is_after_digit = true;
    }
}

static void scan_prefix(const struct ql_lex *l, struct scan *s)
{
    if (byte_at(l, s->at) != '0')
        return;
    char c = (char)lower(byte_at(l, s->at + 1));
    if (c == 'x' || c == 'o' || c == 'b') {
        s->prefix = c;
        s->base = c == 'x' ? 16 : c == 'o' ? 8 : 2;
        s->at += 2;
        if (byte_at(l, s->at) == '_') /* one may stand behind the prefix */
            s->at++;
        return;
    }
    s->prefix = '0';
    s->base = 8;
    s->at++;
    s->has_digits = true;
}

static const char *literal_name(char prefix)
{
    return prefix == 'x'   ? "hexadecimal literal"
           : prefix == 'o' ? "octal literal"
           : prefix == '0' ? "octal literal"
           : prefix == 'b' ? "binary literal"
                           : "decimal literal";
}

/* Reads one literal; what is wrong with it, or NULL. */
static const char *scan_literal(const struct ql_lex *l, struct scan *s)
{
    const char *error = NULL;

    if (byte_at(l, s->at) != '.') {
        scan_prefix(l, s);
        scan_digits(l, s, s->base);
    }
    if (byte_at(l, s->at) == '.') {
        s->at++;
        s->is_float = true;
        if (s->prefix == 'o' || s->prefix == 'b')
            error = arena_printf(l->arena, "invalid radix point in %s", literal_name(s->prefix));
        scan_digits(l, s, s->base);
    }
    if (!s->has_digits && error == NULL)
        error = arena_printf(l->arena, "%s has no digits", literal_name(s->prefix));
    uint8_t e = lower(byte_at(l, s->at));
    if (e == 'e' || e == 'p') {
        if (error == NULL && e == 'e' && s->prefix != 0 && s->prefix != '0')
            error = "'e' exponent requires decimal mantissa";
        if (error == NULL && e == 'p' && s->prefix != 'x')
            error = "'p' exponent requires hexadecimal mantissa";
        s->at++;
        s->is_float = true;
        if (byte_at(l, s->at) == '+' || byte_at(l, s->at) == '-')
            s->at++;
        s->has_digits = false;
        scan_digits(l, s, 10);
        if (!s->has_digits && error == NULL)
            error = "exponent has no digits";
    } else if (s->prefix == 'x' && s->is_float && error == NULL) {
        error = "hexadecimal mantissa requires a 'p' exponent";
    }
    if (error == NULL && !s->is_float && s->invalid != 0)
        error =
            arena_printf(l->arena, "invalid digit '%c' in %s", s->invalid, literal_name(s->prefix));
    if (error == NULL && s->has_bad_separator)
        error = "'_' must separate successive digits";
    return error;
}

/* The characters behind a number that may make it a duration. */
static size_t duration_end(const struct ql_lex *l, size_t at)
{
    for (;;) {
        uint8_t c = byte_at(l, at);
        if (c != 0 && strchr("0123456789.nsumhdwy", c) != NULL)
            at++;
        else if (c == 0xc2 && byte_at(l, at + 1) == 0xb5) /* the micro sign */
            at += 2;
        else
            return at;
    }
}

/* The number without its separators. */
static struct slice without_separators(const struct ql_lex *l, struct slice s)
{
    if (memchr(s.ptr, '_', s.len) == NULL)
        return s;
    uint8_t *p = arena_alloc(l->arena, s.len);
    size_t len = 0;
    for (size_t i = 0; p != NULL && i < s.len; i++) {
        if (s.ptr[i] != '_')
            p[len++] = s.ptr[i];
    }
    return (struct slice){p, len};
}

static const char *convert(const struct ql_lex *l, bool is_float, struct ql_token *t)
{
    int64_t i = 0;
    double f = 0;
    enum err e;

    if (is_float) {
        e = num_parse_double(without_separators(l, t->text), &f);
        t->kind = QL_TOK_FLOAT;
        t->value = value_float(f);
    } else {
        e = num_parse_i64(t->text, &i);
        t->kind = QL_TOK_INTEGER;
        t->value = value_int(i);
    }
    if (e == ERR_OK)
        return NULL;
    return arena_printf(l->arena, "strconv.%s: parsing \"" SLICE_FMT "\": %s",
                        is_float ? "ParseFloat" : "Atoi", SLICE_ARG(t->text),
                        e == ERR_TOO_LARGE ? "value out of range" : "invalid syntax");
}

void ql_lex_number(struct ql_lex *l, struct ql_token *t)
{
    struct scan s = {.at = l->at, .base = 10};
    int64_t ns;

    t->error = scan_literal(l, &s);
    size_t end = s.at, tail = duration_end(l, s.at);
    if (t->error == NULL && tail > end &&
        num_parse_duration(slice_sub(l->text, l->at, tail), &ns) == ERR_OK) {
        t->kind = QL_TOK_DURATION;
        t->value = value_duration(ns);
        t->text = slice_sub(l->text, l->at, tail);
        ql_lex_advance(l, tail);
        return;
    }
    t->text = slice_sub(l->text, l->at, end);
    if (t->error == NULL)
        t->error = convert(l, s.is_float, t);
    if (t->error != NULL)
        t->kind = QL_TOK_ERROR;
    ql_lex_advance(l, end);
}

/* --- strings ------------------------------------------------------------------------------------ */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1;
}

static uint8_t *put_rune(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (uint8_t)c;
    } else if (c < 0x800) {
        *out++ = (uint8_t)(0xc0 | c >> 6);
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (uint8_t)(0xe0 | c >> 12);
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        *out++ = (uint8_t)(0xf0 | c >> 18);
        *out++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    return out;
}

/* \ooo \xHH \uHHHH \UHHHHHHHH, `at` on the letter or first digit.  Returns the offset after it, 0 for an error. */
static size_t scan_coded(const struct ql_lex *l, size_t at, uint8_t **out, const char **ret_error)
{
    uint8_t kind = byte_at(l, at);
    bool is_octal = kind >= '0' && kind <= '7';
    int digits = is_octal ? 3 : kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
    uint64_t c = 0;

    at += is_octal ? 0 : 1;
    for (int i = 0; i < digits; i++, at++) {
        int digit = hex_digit(byte_at(l, at));
        if (digit < 0 || (is_octal && digit > 7)) {
            *ret_error = "invalid char escape";
            return 0;
        }
        c = c * (is_octal ? 8 : 16) + (unsigned)digit;
    }
    bool is_byte = is_octal || kind == 'x';
    if ((is_byte && c > 0xff) || c > 0x10ffff || (!is_byte && c >= 0xd800 && c <= 0xdfff)) {
        *ret_error = "invalid syntax";
        return 0;
    }
    if (is_byte)
        *(*out)++ = (uint8_t)c;
    else
        *out = put_rune(*out, (uint32_t)c);
    return at;
}

/* `at` after the backslash.  Returns the offset after the escape, 0 for an error. */
static size_t scan_escape(const struct ql_lex *l, size_t at, uint8_t quote, uint8_t **out,
                          const char **ret_error)
{
    static const char letters[] = "abfnrtv\\", meanings[] = "\a\b\f\n\r\t\v\\";
    uint8_t c = byte_at(l, at);
    const char *simple = c == 0 ? NULL : strchr(letters, c);

    if (simple != NULL || (c == quote && c != 0)) {
        *(*out)++ = simple != NULL ? (uint8_t)meanings[simple - letters] : quote;
        return at + 1;
    }
    if ((c >= '0' && c <= '7') || c == 'x' || c == 'u' || c == 'U')
        return scan_coded(l, at, out, ret_error);
    *ret_error = c == 0 ? "literal not terminated" : "invalid char escape";
    return 0;
}

/* The text ends, or what follows can not be read. */
static const char *unterminated(const struct ql_lex *l)
{
    return l->bad != NULL ? l->bad : "literal not terminated";
}

static size_t scan_raw(const struct ql_lex *l, uint8_t *name, struct ql_token *t)
{
    size_t len = 0;

    for (size_t at = l->at + 1; at < l->text.len; at++) {
        uint8_t c = l->text.ptr[at];
        if (c == '`') {
            t->value = value_string((struct slice){name, len});
            return at + 1;
        }
        if (c != '\r')
            name[len++] = c;
    }
    t->error = unterminated(l);
    return 0;
}

static size_t scan_quoted(const struct ql_lex *l, uint8_t quote, uint8_t *name, struct ql_token *t)
{
    uint8_t *out = name;
    size_t at = l->at + 1;

    while (at != 0 && at < l->text.len && l->text.ptr[at] != '\n') {
        uint8_t c = l->text.ptr[at++];
        if (c == quote) {
            t->value = value_string((struct slice){name, (size_t)(out - name)});
            return at;
        }
        if (c == '\\')
            at = scan_escape(l, at, quote, &out, &t->error);
        else
            *out++ = c;
    }
    if (t->error == NULL)
        t->error = unterminated(l);
    return 0;
}

static size_t runes(struct slice s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += (s.ptr[i] & 0xc0) != 0x80;
    return n;
}

/* Room for the decoded text: never longer than what stands up to the next quote of its kind that could end it. */
static size_t room_for(const struct ql_lex *l, uint8_t quote)
{
    size_t at = l->at + 1;

    while (at < l->text.len && l->text.ptr[at] != quote) {
        if (quote != '`' && l->text.ptr[at] == '\\')
            at++;
        at++;
    }
    return (at < l->text.len ? at : l->text.len) - l->at;
}

void ql_lex_string(struct ql_lex *l, struct ql_token *t)
{
    uint8_t quote = byte_at(l, l->at);
    uint8_t *name = arena_alloc(l->arena, room_for(l, quote));

    assert(quote == '"' || quote == '`' || quote == '\'');
    if (name == NULL) {
        t->kind = QL_TOK_ERROR;
        t->error = "out of memory";
        return;
    }
    size_t end = quote == '`' ? scan_raw(l, name, t) : scan_quoted(l, quote, name, t);
    if (end != 0 && quote == '\'' && runes(t->value.s) != 1)
        t->error = "invalid char literal";
    if (t->error != NULL) {
        t->kind = QL_TOK_ERROR;
        return;
    }
    t->kind = quote == '\'' ? QL_TOK_IDENTIFIER : QL_TOK_STRING;
    t->text = slice_sub(l->text, l->at, end);
    ql_lex_advance(l, end);
}
