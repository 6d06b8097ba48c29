/*
 * utf8.h - is this UTF-8, as RFC 3629 has it: no over-long forms, no surrogates, at most U+10FFFF.
 */
#ifndef VIVACE_BASE_UTF8_H
#define VIVACE_BASE_UTF8_H

#include "common/base/slice.h"

/* Bytes (1..4) of the character that `s` begins with; 0 when it is not valid UTF-8 or `s` is empty. */
static inline size_t utf8_char_bytes(struct slice s)
{
    static const uint32_t first_of[5] = {0, 0, 0x80, 0x800, 0x10000};

    if (s.len == 0)
        return 0;
    uint8_t lead = s.ptr[0];
    if (lead < 0x80)
        return 1;
    size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || s.len < len)
        return 0;
    uint32_t c = lead & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s.ptr[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s.ptr[i] & 0x3fu);
    }
    bool is_surrogate = c >= 0xd800 && c <= 0xdfff;
    return c < first_of[len] || c > 0x10ffff || is_surrogate ? 0 : len;
}

static inline bool utf8_is_valid(struct slice s)
{
    while (s.len != 0) {
        size_t len = utf8_char_bytes(s);
        if (len == 0)
            return false;
        s.ptr += len;
        s.len -= len;
    }
    return true;
}

/* The longest length up to `max` that does not cut a character of valid UTF-8 in two. */
static inline size_t utf8_cut(struct slice s, size_t max)
{
    if (s.len <= max)
        return s.len;
    while (max > 0 && (s.ptr[max] & 0xc0) == 0x80)
        max--;
    return max;
}

#endif
