/*
 * buf.h - growable bytes that can not be made without a maximum.
 *
 * Memory:  a buf owns one malloc'ed block; buf_release frees it (twice is safe).
 * Errors:  sticky: after the first failure every append does nothing and buf_err tells it, so a
 *          writer checks once at its end.
 * Threads: one owner.
 */
#ifndef VIVACE_BASE_BUF_H
#define VIVACE_BASE_BUF_H

#include "common/base/err.h"
#include "common/base/slice.h"

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *ptr;
    size_t len, cap, len_max;
    enum err err; /* first failure: ERR_TOO_LARGE (over len_max) or ERR_NOMEM */
};

void buf_init(struct buf *b, size_t len_max);
void buf_release(struct buf *b);
void buf_reset(struct buf *b); /* empty, error cleared, memory kept */

void buf_append(struct buf *b, struct slice s);
void buf_append_str(struct buf *b, const char *s);
void buf_append_byte(struct buf *b, uint8_t byte);
void buf_append_le32(struct buf *b, uint32_t v);
void buf_append_le64(struct buf *b, uint64_t v);
void buf_append_varint(struct buf *b, uint64_t v); /* LEB128, as protobuf */
void buf_appendf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Room for `len` more bytes, appended uninitialised: pointer to write them to, or NULL on failure. */
uint8_t *buf_extend(struct buf *b, size_t len);

static inline enum err buf_err(const struct buf *b)
{
    return b->err;
}

static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->ptr, b->len};
}

/* Gives the block to the caller (free it with free()); the buf is empty afterwards. */
uint8_t *buf_take(struct buf *b, size_t *ret_len);

#endif
