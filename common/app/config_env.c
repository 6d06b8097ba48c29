#include "common/app/config_priv.h"

#include <assert.h>

enum { NAME_BYTES_MAX = 255, NESTING_MAX = 8 };

static bool is_name_start(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(uint8_t c)
{
    return is_name_start(c) || (c >= '0' && c <= '9');
}

struct expander {
    struct config_reader *r;
    struct slice text;
    struct buf *out;
};

static enum err fail_at(struct expander *x, size_t at, const char *what)
{
    uint32_t line = 1;
    size_t end = at;

    for (size_t i = 0; i < at; i++)
        line += x->text.ptr[i] == '\n';
    while (end < x->text.len && end < at + 60 && x->text.ptr[end] != '\n' &&
           x->text.ptr[end] != '}')
        end++;
    if (end < x->text.len && x->text.ptr[end] == '}')
        end++;
    return config_fail(x->r, line, "%s: " SLICE_FMT, what, SLICE_ARG(slice_sub(x->text, at, end)));
}

static const char *value_of(struct slice name)
{
    char text[NAME_BYTES_MAX + 1];

    assert(name.len <= NAME_BYTES_MAX);
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return getenv(text);
}

/* The '}' that ends the ${ at `at`, braces inside counted; text.len when there is none. */
static size_t find_end(struct slice text, size_t at)
{
    unsigned depth = 0;

    for (size_t i = at; i + 1 < text.len + 1; i++) {
        if (i + 1 < text.len && text.ptr[i] == '$' && text.ptr[i + 1] == '{')
            depth++;
        else if (text.ptr[i] == '}' && --depth == 0)
            return i;
        else if (text.ptr[i] == '\n')
            break;
    }
    return text.len;
}

static enum err expand(struct expander *x, size_t from, size_t to, unsigned nesting);

/* ${NAME}, ${NAME:-word}, ${NAME-word}, ${NAME:=word}, ${NAME=word}; `at` is the dollar. */
static enum err expand_braces(struct expander *x, size_t at, size_t end, unsigned nesting)
{
    size_t name_end = at + 2;

    while (name_end < end && is_name(x->text.ptr[name_end]))
        name_end++;
    struct slice name = slice_sub(x->text, at + 2, name_end);
    if (name.len == 0 || !is_name_start(name.ptr[0]) || name.len > NAME_BYTES_MAX)
        return fail_at(x, at, "not a variable");
    const char *value = value_of(name);
    size_t op = name_end;
    bool empty_counts = op < end && x->text.ptr[op] == ':';

    if (op == end) {
        buf_append_str(x->out, value != NULL ? value : "");
        return buf_err(x->out);
    }
    op += empty_counts;
    if (op == end || (x->text.ptr[op] != '-' && x->text.ptr[op] != '='))
        return fail_at(x, at, "this form of substitution is not supported yet");
    if (value != NULL && !(empty_counts && value[0] == '\0')) {
        buf_append_str(x->out, value);
        return buf_err(x->out);
    }
    if (nesting >= NESTING_MAX)
        return fail_at(x, at, "substitutions nested too deeply");
    return expand(x, op + 1, end, nesting + 1);
}

static enum err expand(struct expander *x, size_t from, size_t to, unsigned nesting)
{
    enum err e = ERR_OK;

    for (size_t i = from; i < to && e == ERR_OK;) {
        const uint8_t *dollar = memchr(x->text.ptr + i, '$', to - i);
        size_t at = dollar == NULL ? to : (size_t)(dollar - x->text.ptr);
        uint8_t after = at + 1 < to ? x->text.ptr[at + 1] : 0;

        buf_append(x->out, slice_sub(x->text, i, at));
        i = at + 2;
        if (at == to)
            break;
        if (after == '{') {
            size_t end = find_end(slice_sub(x->text, 0, to), at);
            if (end == to)
                return fail_at(x, at, "a substitution without its end");
            e = expand_braces(x, at, end, nesting);
            i = end + 1;
        } else if (is_name_start(after)) {
            size_t end = at + 1;
            while (end < to && is_name(x->text.ptr[end]))
                end++;
            if (end - at - 1 > NAME_BYTES_MAX)
                return fail_at(x, at, "not a variable");
            const char *value = value_of(slice_sub(x->text, at + 1, end));
            buf_append_str(x->out, value != NULL ? value : "");
            i = end;
        } else { /* "$$" is a dollar; a dollar before anything else stays what it is */
            buf_append_byte(x->out, '$');
            i = after == '$' ? at + 2 : at + 1;
        }
    }
    return e;
}

enum err config_env_expand(struct config_reader *r, struct slice text, struct buf *out)
{
    struct expander x = {.r = r, .text = text, .out = out};
    enum err e = expand(&x, 0, text.len, 0);

    if (e == ERR_OK && buf_err(out) == ERR_TOO_LARGE)
        return config_fail(r, 1, "more than %d bytes after the substitution of variables",
                           (int)CONFIG_EXPANDED_BYTES_MAX);
    return e != ERR_OK ? e : buf_err(out);
}
