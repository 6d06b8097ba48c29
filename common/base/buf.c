#include "common/base/buf.h"

#include "common/base/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_CAP_MIN = 64 };

void buf_init(struct buf *b, size_t len_max)
{
    assert(b != NULL);
    assert(len_max > 0);
    *b = (struct buf){.len_max = len_max};
}

void buf_release(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){.len_max = b->len_max};
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->err = ERR_OK;
}

uint8_t *buf_extend(struct buf *b, size_t len)
{
    assert(b->len <= b->len_max);
    if (b->err != ERR_OK)
        return NULL;
    if (len > b->len_max - b->len) {
        b->err = ERR_TOO_LARGE;
        return NULL;
    }
    size_t need = b->len + len;
    if (need > b->cap || b->ptr == NULL) {
        size_t cap = b->cap < BUF_CAP_MIN ? BUF_CAP_MIN : b->cap;
        if (cap > b->len_max)
            cap = b->len_max;
        while (cap < need)
            cap = cap > b->len_max / 2 ? b->len_max : cap * 2;
        assert(cap >= need);
        uint8_t *ptr = realloc(b->ptr, cap);
        if (ptr == NULL) {
            b->err = ERR_NOMEM;
            return NULL;
        }
        b->ptr = ptr;
        b->cap = cap;
    }
    uint8_t *at = b->ptr + b->len;
    b->len = need;
    assert(b->len <= b->cap);
    return at;
}

void buf_append(struct buf *b, struct slice s)
{
    if (s.len == 0)
        return;
    uint8_t *at = buf_extend(b, s.len);
    if (at != NULL)
        memcpy(at, s.ptr, s.len);
}

void buf_append_str(struct buf *b, const char *s)
{
    buf_append(b, slice_str(s));
}

void buf_append_byte(struct buf *b, uint8_t byte)
{
    if (b->err == ERR_OK && b->len < b->cap) {
        b->ptr[b->len++] = byte;
        return;
    }
    uint8_t *at = buf_extend(b, 1);
    if (at != NULL)
        *at = byte;
}

void buf_append_le32(struct buf *b, uint32_t v)
{
    uint8_t *at = buf_extend(b, 4);
    if (at != NULL)
        le32_write(at, v);
}

void buf_append_le64(struct buf *b, uint64_t v)
{
    uint8_t *at = buf_extend(b, 8);
    if (at != NULL)
        le64_write(at, v);
}

void buf_append_varint(struct buf *b, uint64_t v)
{
    uint8_t bytes[VARINT_BYTES_MAX];
    size_t len = varint_write(bytes, v);

    buf_append(b, (struct slice){bytes, len});
}

void buf_appendf(struct buf *b, const char *format, ...)
{
    char small[256];
    va_list ap;

    va_start(ap, format);
    int n = vsnprintf(small, sizeof small, format, ap);
    va_end(ap);
    if (n < 0) {
        b->err = b->err == ERR_OK ? ERR_INTERNAL : b->err;
        return;
    }
    size_t len = (size_t)n;
    if (len < sizeof small) {
        buf_append(b, (struct slice){(const uint8_t *)small, len});
        return;
    }
    uint8_t *at = buf_extend(b, len + 1);
    if (at == NULL)
        return;
    va_start(ap, format);
    (void)vsnprintf((char *)at, len + 1, format, ap); /* measured above */
    va_end(ap);
    b->len -= 1; /* the NUL */
}

uint8_t *buf_take(struct buf *b, size_t *ret_len)
{
    uint8_t *ptr = b->ptr;

    *ret_len = b->len;
    *b = (struct buf){.len_max = b->len_max};
    return ptr;
}
