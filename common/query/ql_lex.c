#include "common/query/ql_lex.h"

#include "common/base/utf8.h"

#include <assert.h>

static const char *const spellings[QL_TOK_COUNT_OF] = {
    [QL_TOK_SCOPE_SPAN] = "span:",
    [QL_TOK_SCOPE_TRACE] = "trace:",
    [QL_TOK_SCOPE_EVENT] = "event:",
    [QL_TOK_SCOPE_LINK] = "link:",
    [QL_TOK_SCOPE_INSTRUMENTATION] = "instrumentation:",
#define QL_TOK_SIGN(name, spelling) [QL_TOK_##name] = (spelling),
#include "common/query/ql_tok.def"
#undef QL_TOK_SIGN
#define QL_TOK_WORD(name, spelling) [QL_TOK_##name] = (spelling),
#include "common/query/ql_tok.def"
#undef QL_TOK_WORD
};

static const struct scope_word {
    const char *word;
    enum ql_scope scope;
    enum ql_tok colon; /* QL_TOK_END: the word has no colon form */
    bool has_dot;
} scope_words[] = {
    {"span", QL_SCOPE_SPAN, QL_TOK_SCOPE_SPAN, true},
    {"resource", QL_SCOPE_RESOURCE, QL_TOK_END, true},
    {"event", QL_SCOPE_EVENT, QL_TOK_SCOPE_EVENT, true},
    {"link", QL_SCOPE_LINK, QL_TOK_SCOPE_LINK, true},
    {"instrumentation", QL_SCOPE_INSTRUMENTATION, QL_TOK_SCOPE_INSTRUMENTATION, true},
    {"parent", QL_SCOPE_PARENT, QL_TOK_END, true},
    {"trace", QL_SCOPE_NONE, QL_TOK_SCOPE_TRACE, false},
};
enum { SCOPE_WORDS = sizeof scope_words / sizeof *scope_words };

const char *ql_lex_spelling(enum ql_tok kind)
{
    assert(kind < QL_TOK_COUNT_OF);
    return spellings[kind] == NULL ? "" : spellings[kind];
}

struct slice ql_lex_name(const struct ql_token *t)
{
    if (t->kind == QL_TOK_END)
        return SLICE_LIT("$end");
    if (t->kind == QL_TOK_IDENTIFIER)
        return SLICE_LIT("IDENTIFIER");
    if (t->kind == QL_TOK_STRING)
        return SLICE_LIT("STRING");
    if (t->kind == QL_TOK_INTEGER)
        return SLICE_LIT("INTEGER");
    if (t->kind == QL_TOK_FLOAT)
        return SLICE_LIT("FLOAT");
    if (t->kind == QL_TOK_DURATION)
        return SLICE_LIT("DURATION");
    if (t->kind == QL_TOK_ATTRIBUTE)
        return t->attribute.is_dotless ? SLICE_LIT("IDENTIFIER") : t->text;
    return slice_str(ql_lex_spelling(t->kind));
}

void ql_lex_init(struct ql_lex *l, struct arena *a, struct slice text)
{
    size_t at = 0;
    const char *bad = NULL;

    while (at < text.len && bad == NULL) {
        size_t bytes = utf8_char_bytes(slice_sub(text, at, text.len));
        if (text.ptr[at] == '\0')
            bad = "invalid character NUL";
        else if (bytes == 0)
            bad = "invalid UTF-8 encoding";
        else
            at += bytes;
    }
    *l = (struct ql_lex){a, slice_sub(text, 0, at), 0, 1, 1, bad};
    if (slice_has_prefix(l->text,
                         SLICE_LIT("\xef\xbb\xbf"))) /* a byte order mark, at the start only */
        l->at = 3;
}

/* The text was found to be UTF-8. */
static uint32_t rune_at(struct slice s, size_t at, size_t *ret_bytes)
{
    assert(at < s.len);
    uint8_t lead = s.ptr[at];
    size_t bytes = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    uint32_t c = bytes == 1 ? lead : lead & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++)
        c = c << 6 | (s.ptr[at + i] & 0x3fu);
    *ret_bytes = bytes;
    return c;
}

void ql_lex_advance(struct ql_lex *l, size_t to)
{
    assert(to >= l->at && to <= l->text.len);
    for (; l->at < to; l->at++) {
        uint8_t c = l->text.ptr[l->at];
        if (c == '\n') {
            l->line++;
            l->column = 1;
        } else if ((c & 0xc0) != 0x80) {
            l->column++;
        }
    }
}

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Belongs to an attribute name. */
static bool is_name_rune(uint32_t c)
{
    return !is_space(c) && (c >= 0x80 || strchr("{}()=~!<>&|^,", (int)c) == NULL);
}

static bool is_digit(uint32_t c)
{
    return c >= '0' && c <= '9';
}

/* Letters of any script.  Beyond ASCII: all but spaces, punctuation and pictures, which is near enough, since such a word is
 * an error or the start of a dotless name, never anything else. */
static bool is_letter(uint32_t c)
{
    if (c < 0x80)
        return (c | 0x20) - 'a' < 26u || c == '_';
    return !is_space(c) && c >= 0xaa && c != 0xd7 && c != 0xf7 && !(c >= 0x2000 && c <= 0x206f) &&
           !(c >= 0x2190 && c <= 0x2bff) && !(c >= 0x3001 && c <= 0x3020) &&
           !(c >= 0xd800 && c <= 0xf8ff) && !(c >= 0x1f000 && c <= 0x1faff) && c < 0xe0000;
}

static uint32_t rune_or_zero(const struct ql_lex *l, size_t at)
{
    size_t bytes;

    return at < l->text.len ? rune_at(l->text, at, &bytes) : 0;
}

/* After this offset an attribute name may begin. */
static bool is_name_start(const struct ql_lex *l, size_t at)
{
    return at < l->text.len && is_name_rune(rune_or_zero(l, at));
}

/* Skips white space and comments.  False: a comment without end, `t` is the error. */
static bool skip_blank(struct ql_lex *l, struct ql_token *t)
{
    while (l->at < l->text.len) {
        uint8_t c = l->text.ptr[l->at];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            ql_lex_advance(l, l->at + 1);
            continue;
        }
        struct slice rest = slice_sub(l->text, l->at, l->text.len);
        bool is_line = slice_has_prefix(rest, SLICE_LIT("//"));
        if (!is_line && !slice_has_prefix(rest, SLICE_LIT("/*")))
            break;
        const void *end = is_line ? memchr(rest.ptr, '\n', rest.len)
                                  : memmem(rest.ptr + 2, rest.len - 2, "*/", 2);
        if (end == NULL && !is_line) {
            *t = (struct ql_token){.kind = QL_TOK_ERROR,
                                   .line = l->line,
                                   .column = l->column,
                                   .start = l->at,
                                   .end = l->at,
                                   .error = l->bad != NULL ? l->bad : "comment not terminated"};
            return false;
        }
        size_t skipped =
            end == NULL ? rest.len : (size_t)((const uint8_t *)end - rest.ptr) + (is_line ? 0 : 2);
        ql_lex_advance(l, l->at + skipped);
    }
    return true;
}

/* A quoted part of a name, `at` after its quote.  Its runes go to `out` (only measured when NULL).  Returns the offset after the
 * closing quote; 0 and an error else. */
static size_t scan_quoted(const struct ql_lex *l, size_t at, uint8_t **out, const char **ret_error)
{
    while (at < l->text.len) {
        uint8_t c = l->text.ptr[at++];
        if (c == '"')
            return at;
        if (c == '\\') {
            c = at < l->text.len ? l->text.ptr[at] : 0;
            if (c != '"' && c != '\\') {
                *ret_error = "invalid escape sequence";
                return 0;
            }
            at++;
        }
        if (*out != NULL)
            *(*out)++ = c;
    }
    *ret_error = "unexpected EOF, expecting \"";
    return 0;
}

/* The same for a whole name of bare and quoted parts. */
static size_t scan_parts(const struct ql_lex *l, size_t at, uint8_t **out, const char **ret_error)
{
    while (at < l->text.len) {
        if (l->text.ptr[at] == '"') {
            at = scan_quoted(l, at + 1, out, ret_error);
            if (at == 0)
                return 0;
            continue;
        }
        size_t bytes;
        if (!is_name_rune(rune_at(l->text, at, &bytes)))
            break;
        if (*out != NULL) {
            memcpy(*out, l->text.ptr + at, bytes);
            *out += bytes;
        }
        at += bytes;
    }
    return at;
}

/* The attribute name that starts at offset `at`.  Advances over it; a broken one is said in t->error. */
static void scan_name(struct ql_lex *l, size_t at, struct ql_token *t)
{
    uint8_t *out = NULL;

    if (!is_name_start(l, at)) {
        t->error = "syntax error: unexpected END_ATTRIBUTE, expecting IDENTIFIER";
        ql_lex_advance(l, at);
        return;
    }
    size_t end = scan_parts(l, at, &out, &t->error);
    if (end == 0) {
        ql_lex_advance(l, l->text.len);
        return;
    }
    struct slice name = slice_sub(l->text, at, end);
    if (memchr(name.ptr, '"', name.len) != NULL) {
        uint8_t *decoded = arena_alloc(l->arena, name.len);
        out = decoded;
        if (decoded != NULL)
            (void)scan_parts(l, at, &out, &t->error); /* was fine when measured */
        name = (struct slice){decoded, decoded == NULL ? 0 : (size_t)(out - decoded)};
    }
    t->attribute.name = name;
    ql_lex_advance(l, end);
}

/* A prefix of an attribute ends at offset `at`; the token started at `start`. */
static void scan_attribute(struct ql_lex *l, size_t start, size_t at, enum ql_scope scope,
                           struct ql_token *t)
{
    t->kind = QL_TOK_ATTRIBUTE;
    t->attribute.scope = scope;
    if (scope == QL_SCOPE_PARENT) {
        struct slice rest = slice_sub(l->text, at, l->text.len);
        t->attribute.is_parent = true;
        t->attribute.scope = QL_SCOPE_NONE;
        if (slice_has_prefix(rest, SLICE_LIT("span."))) {
            t->attribute.scope = QL_SCOPE_SPAN;
            at += strlen("span.");
        } else if (slice_has_prefix(rest, SLICE_LIT("resource."))) {
            t->attribute.scope = QL_SCOPE_RESOURCE;
            at += strlen("resource.");
        }
    }
    t->text = slice_sub(l->text, start, at);
    scan_name(l, at, t);
}

static enum ql_tok keyword(struct slice word)
{
    for (int kind = QL_TOK_TRUE; kind < QL_TOK_COUNT_OF; kind++) {
        if (slice_eq_str(word, spellings[kind]))
            return (enum ql_tok)kind;
    }
    return QL_TOK_IDENTIFIER;
}

static void scan_word(struct ql_lex *l, struct ql_token *t)
{
    size_t start = l->at, at = l->at, bytes;

    while (at < l->text.len) {
        uint32_t c = rune_at(l->text, at, &bytes);
        if (!is_letter(c) && !(is_digit(c) && at != start))
            break;
        at += bytes;
    }
    assert(at > start);
    t->text = slice_sub(l->text, start, at);
    uint32_t next = rune_or_zero(l, at);
    for (size_t i = 0; i < SCOPE_WORDS && (next == '.' || next == ':'); i++) {
        const struct scope_word *w = &scope_words[i];
        if (!slice_eq_str(t->text, w->word))
            continue;
        if (next == '.' && w->has_dot) {
            scan_attribute(l, start, at + 1, w->scope, t);
            return;
        }
        if (next == ':' && w->colon != QL_TOK_END) {
            t->kind = w->colon;
            ql_lex_advance(l, at + 1);
            return;
        }
    }
    if (next == '.' && is_name_start(l, at + 1)) { /* a name without its dot: ours */
        t->kind = QL_TOK_ATTRIBUTE;
        t->attribute.is_dotless = true;
        scan_name(l, start, t);
        return;
    }
    t->kind = keyword(t->text);
    ql_lex_advance(l, at);
}

static enum ql_tok sign(struct slice s)
{
    for (int kind = QL_TOK_DOT; kind < QL_TOK_TRUE; kind++) {
        if (slice_eq_str(s, spellings[kind]))
            return (enum ql_tok)kind;
    }
    return QL_TOK_IDENTIFIER;
}

static void scan_sign(struct ql_lex *l, struct ql_token *t)
{
    size_t bytes;

    (void)rune_at(l->text, l->at, &bytes);
    size_t len = bytes;
    t->kind = sign(slice_sub(l->text, l->at, l->at + len));
    while (l->at + len < l->text.len) {
        enum ql_tok longer = sign(slice_sub(l->text, l->at, l->at + len + 1));
        if (longer == QL_TOK_IDENTIFIER)
            break;
        t->kind = longer;
        len++;
    }
    t->text = slice_sub(l->text, l->at, l->at + len); /* a stray character is an identifier */
    ql_lex_advance(l, l->at + len);
}

/* ".5" is a number; ".2xx" is a name, since no operand can follow a number. */
static bool is_dot_number(const struct ql_lex *l)
{
    if (!is_digit(rune_or_zero(l, l->at + 1)))
        return false;
    struct ql_lex ahead = *l;
    struct ql_token t = {0};
    ql_lex_number(&ahead, &t);
    return t.kind != QL_TOK_ERROR ? !is_letter(rune_or_zero(&ahead, ahead.at)) : false;
}

static void scan_token(struct ql_lex *l, struct ql_token *t)
{
    uint32_t c = rune_or_zero(l, l->at);

    if (c == 0)
        t->kind = QL_TOK_END;
    else if (is_letter(c))
        scan_word(l, t);
    else if (is_digit(c) || (c == '.' && is_dot_number(l)))
        ql_lex_number(l, t);
    else if (c == '"' || c == '`' || c == '\'')
        ql_lex_string(l, t);
    else if (c == '.')
        scan_attribute(l, l->at, l->at + 1, QL_SCOPE_NONE, t);
    else
        scan_sign(l, t);
}

void ql_lex_next(struct ql_lex *l, struct ql_token *ret)
{
    struct ql_token t = {0};

    if (skip_blank(l, &t)) {
        t.line = l->line;
        t.column = l->column;
        t.start = l->at;
        scan_token(l, &t);
        if (l->at == l->text.len &&
            l->bad != NULL) { /* the character after the token can not be read */
            t.kind = QL_TOK_ERROR;
            t.error = l->bad;
        }
        t.end = l->at;
    }
    *ret = t;
}

bool ql_lex_is_bare_name(struct slice name)
{
    if (name.len == 0 || is_digit(name.ptr[0]) || memchr(name.ptr, '"', name.len) != NULL)
        return false;
    for (size_t at = 0; at < name.len;) {
        size_t bytes = utf8_char_bytes(slice_sub(name, at, name.len));
        if (bytes == 0 || name.ptr[at] == '\0' || !is_name_rune(rune_at(name, at, &bytes)))
            return false;
        at += bytes;
    }
    return true;
}
