#include "common/codec/json_out.h"

#include "common/base/num.h"

#include <assert.h>
#include <math.h>

void json_out_init(struct json_out *j, struct buf *out)
{
    assert(out != NULL);
    *j = (struct json_out){.out = out};
}

static void value_begin(struct json_out *j)
{
    if (j->needs_comma)
        buf_append_byte(j->out, ',');
    j->needs_comma = true;
}

static void bracket_begin(struct json_out *j, uint8_t bracket)
{
    value_begin(j);
    buf_append_byte(j->out, bracket);
    j->needs_comma = false;
}

static void bracket_end(struct json_out *j, uint8_t bracket)
{
    buf_append_byte(j->out, bracket);
    j->needs_comma = true;
}

void json_out_begin_object(struct json_out *j)
{
    bracket_begin(j, '{');
}

void json_out_end_object(struct json_out *j)
{
    bracket_end(j, '}');
}

void json_out_begin_array(struct json_out *j)
{
    bracket_begin(j, '[');
}

void json_out_end_array(struct json_out *j)
{
    bracket_end(j, ']');
}

/* Length of the valid UTF-8 sequence at the start of s; 0 when there is none (RFC 3629). */
static size_t utf8_sequence(struct slice s)
{
    assert(s.ptr != NULL);
    uint8_t c = s.ptr[0];
    size_t len = c < 0x80                ? 1
                 : c >= 0xc2 && c < 0xe0 ? 2
                 : c >= 0xe0 && c < 0xf0 ? 3
                 : c >= 0xf0 && c < 0xf5 ? 4
                                         : 0;

    if (len == 0 || len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s.ptr[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && s.ptr[1] < 0xa0) || (c == 0xed && s.ptr[1] >= 0xa0) ||
        (c == 0xf0 && s.ptr[1] < 0x90) || (c == 0xf4 && s.ptr[1] >= 0x90))
        return 0;
    return len;
}

static void escape_byte(struct buf *out, uint8_t c)
{
    switch (c) {
    case '"': buf_append_str(out, "\\\""); break;
    case '\\': buf_append_str(out, "\\\\"); break;
    case '\n': buf_append_str(out, "\\n"); break;
    case '\r': buf_append_str(out, "\\r"); break;
    case '\t': buf_append_str(out, "\\t"); break;
    default: buf_appendf(out, "\\u%04x", c); break;
    }
}

static void text_append(struct buf *out, struct slice s)
{
    size_t run = 0; /* bytes before the current one that need no escape */

    buf_append_byte(out, '"');
    for (size_t i = 0; i < s.len;) {
        uint8_t c = s.ptr[i];
        size_t len = 1;
        if (c >= 0x80) {
            len = utf8_sequence(slice_sub(s, i, s.len));
        } else if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
            len = 0;
        }
        if (len != 0) {
            i += len;
            run += len;
            continue;
        }
        buf_append(out, slice_sub(s, i - run, i));
        run = 0;
        if (c < 0x80)
            escape_byte(out, c);
        else
            buf_append_str(out, "\\ufffd");
        i++;
    }
    buf_append(out, slice_sub(s, s.len - run, s.len));
    buf_append_byte(out, '"');
}

void json_out_key_slice(struct json_out *j, struct slice key)
{
    value_begin(j);
    text_append(j->out, key);
    buf_append_byte(j->out, ':');
    j->needs_comma = false;
}

void json_out_key(struct json_out *j, const char *key)
{
    json_out_key_slice(j, slice_str(key));
}

void json_out_string(struct json_out *j, struct slice s)
{
    value_begin(j);
    text_append(j->out, s);
}

void json_out_cstring(struct json_out *j, const char *s)
{
    json_out_string(j, slice_str(s));
}

void json_out_null(struct json_out *j)
{
    value_begin(j);
    buf_append_str(j->out, "null");
}

void json_out_bool(struct json_out *j, bool v)
{
    value_begin(j);
    buf_append_str(j->out, v ? "true" : "false");
}

void json_out_u64(struct json_out *j, uint64_t v)
{
    value_begin(j);
    num_append_u64(j->out, v);
}

void json_out_i64(struct json_out *j, int64_t v)
{
    value_begin(j);
    num_append_i64(j->out, v);
}

void json_out_i64_text(struct json_out *j, int64_t v)
{
    value_begin(j);
    buf_append_byte(j->out, '"');
    num_append_i64(j->out, v);
    buf_append_byte(j->out, '"');
}

void json_out_u64_text(struct json_out *j, uint64_t v)
{
    value_begin(j);
    buf_append_byte(j->out, '"');
    num_append_u64(j->out, v);
    buf_append_byte(j->out, '"');
}

void json_out_double(struct json_out *j, double v)
{
    bool is_word = !isfinite(v); /* protobuf JSON: "NaN", "Infinity", "-Infinity" */

    value_begin(j);
    if (is_word)
        buf_append_byte(j->out, '"');
    num_append_double_json(j->out, v);
    if (is_word)
        buf_append_byte(j->out, '"');
}

void json_out_base64(struct json_out *j, struct slice s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    value_begin(j);
    buf_append_byte(j->out, '"');
    for (size_t i = 0; i < s.len; i += 3) {
        size_t left = s.len - i;
        uint32_t v = (uint32_t)s.ptr[i] << 16;
        if (left > 1)
            v |= (uint32_t)s.ptr[i + 1] << 8;
        if (left > 2)
            v |= s.ptr[i + 2];
        buf_append_byte(j->out, (uint8_t)digits[v >> 18]);
        buf_append_byte(j->out, (uint8_t)digits[v >> 12 & 63]);
        buf_append_byte(j->out, left > 1 ? (uint8_t)digits[v >> 6 & 63] : '=');
        buf_append_byte(j->out, left > 2 ? (uint8_t)digits[v & 63] : '=');
    }
    buf_append_byte(j->out, '"');
}

void json_out_raw(struct json_out *j, struct slice json)
{
    value_begin(j);
    buf_append(j->out, json);
}
