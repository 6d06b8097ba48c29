/*
 * slice.h - borrowed bytes: pointer and length, passed by value in two registers.
 *
 * Shape:   no NUL promise; ptr may be NULL when len is 0.
 * Memory:  a slice owns nothing; whoever made it says how long the bytes live.
 */
#ifndef VIVACE_BASE_SLICE_H
#define VIVACE_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *ptr;
    size_t len;
};

#define SLICE_LIT(s)  ((struct slice){(const uint8_t *)("" s), sizeof(s) - 1})
#define SLICE_NONE    ((struct slice){0})
#define SLICE_FMT     "%.*s"
#define SLICE_ARG(sl) (int)((sl).len > 4096 ? 4096 : (sl).len), (const char *)(sl).ptr

static inline struct slice slice_str(const char *s)
{
    return (struct slice){(const uint8_t *)s, strlen(s)};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

/* Bytewise order, as memcmp with the shorter first. */
static inline int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);

    if (c != 0)
        return c;
    return a.len < b.len ? -1 : a.len > b.len;
}

static inline bool slice_has_prefix(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool slice_contains(struct slice s, struct slice part)
{
    return part.len == 0 || (s.len >= part.len && memmem(s.ptr, s.len, part.ptr, part.len) != NULL);
}

/* The bytes from `from` up to `to` (both clamped to the slice). */
static inline struct slice slice_sub(struct slice s, size_t from, size_t to)
{
    if (to > s.len)
        to = s.len;
    if (from > to)
        from = to;
    return (struct slice){s.ptr == NULL ? NULL : s.ptr + from, to - from};
}

#endif
