#include "common/cli/cli_text.h"

#include "common/base/utf8.h"

#include <locale.h>
#include <wchar.h>

void cli_text_init(void)
{
    (void)setlocale(LC_CTYPE,
                    "C.UTF-8"); /* without it, characters beyond ASCII count as one column */
}

/* The character that `s` begins with; *ret_len 0: none of UTF-8. */
static uint32_t first_char(struct slice s, size_t *ret_len)
{
    size_t len = utf8_char_bytes(s);
    uint32_t c = len == 0 ? 0 : s.ptr[0];

    if (len > 1) {
        c &= 0xffu >> (len + 1);
        for (size_t i = 1; i < len; i++)
            c = c << 6 | (s.ptr[i] & 0x3fu);
    }
    *ret_len = len;
    return c;
}

static int columns_of(uint32_t c)
{
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f ? 1 : -1;
    int columns = wcwidth((wchar_t)c);
    return columns < 0 ? 1 : columns;
}

/* Controls, what turns the direction of text, and what nobody sees. */
static bool is_unsafe(uint32_t c)
{
    static const struct {
        uint32_t from, to;
    } ranges[] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},      {0x61c, 0x61c},
                  {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},  {0x2060, 0x206f},
                  {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}};

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].from && c <= ranges[i].to)
            return true;
    return false;
}

static void put_unsafe(struct buf *out, uint32_t c)
{
    switch (c) {
    case '\n': buf_append_str(out, "\\n"); break;
    case '\r': buf_append_str(out, "\\r"); break;
    case '\t': buf_append_str(out, "\\t"); break;
    default: buf_appendf(out, c < 0x80 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
}

static void put_safe(struct buf *out, struct slice text, bool has_lines)
{
    while (text.len != 0) {
        size_t len;
        uint32_t c = first_char(text, &len);
        bool stays = len != 0 && (!is_unsafe(c) || (has_lines && (c == '\n' || c == '\t')));
        if (stays)
            buf_append(out, slice_sub(text, 0, len));
        else if (len == 0)
            buf_appendf(out, "\\x%02x", (unsigned)text.ptr[0]);
        else
            put_unsafe(out, c);
        text = slice_sub(text, len == 0 ? 1 : len, text.len);
    }
}

void cli_text_safe(struct buf *out, struct slice text)
{
    put_safe(out, text, false);
}

void cli_text_safe_lines(struct buf *out, struct slice text)
{
    put_safe(out, text, true);
}

void cli_text_json(struct buf *out, struct slice json)
{
    while (json.len != 0) {
        size_t len;
        uint32_t c = first_char(json, &len);
        if (len == 0)
            buf_append_str(out, "\xef\xbf\xbd");
        else if (!is_unsafe(c) || c == '\n' || c == '\t')
            buf_append(out, slice_sub(json, 0, len));
        else if (c < 0x10000)
            buf_appendf(out, "\\u%04x", c);
        else
            buf_appendf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                        0xdc00 + ((c - 0x10000) & 0x3ff));
        json = slice_sub(json, len == 0 ? 1 : len, json.len);
    }
}

/* Bytes of it that take at most `columns_max` columns. */
static size_t bytes_within(struct slice safe, size_t columns_max, size_t *ret_columns)
{
    size_t at = 0, columns = 0;

    while (at < safe.len) {
        size_t len;
        uint32_t c = first_char(slice_sub(safe, at, safe.len), &len);
        int more = len == 0 ? 1 : columns_of(c);
        more = more < 0 ? 1 : more;
        if (columns + (size_t)more > columns_max)
            break;
        columns += (size_t)more;
        at += len == 0 ? 1 : len;
    }
    *ret_columns = columns;
    return at;
}

size_t cli_text_width(struct slice safe)
{
    size_t columns;

    (void)bytes_within(safe, SIZE_MAX / 2, &columns);
    return columns;
}

void cli_text_repeat(struct buf *out, const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_append_str(out, text);
}

void cli_text_fit(struct buf *out, struct slice safe, size_t width, bool is_right)
{
    size_t columns, bytes = bytes_within(safe, width, &columns);
    bool is_cut = bytes < safe.len;

    if (is_cut && width > 0) {
        bytes = bytes_within(safe, width - 1, &columns);
        columns++;
    }
    if (is_right)
        cli_text_repeat(out, " ", width - columns);
    buf_append(out, slice_sub(safe, 0, bytes));
    if (is_cut && width > 0)
        buf_append_str(out, "\xe2\x80\xa6");
    if (!is_right)
        cli_text_repeat(out, " ", width - columns);
}
