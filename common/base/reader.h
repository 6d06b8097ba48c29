/*
 * reader.h - the only way to read foreign bytes: a bounded cursor with sticky failure.
 *
 * Use:     read everything, then ask reader_failed once.  After a failure every read gives zero or
 *          an empty slice and the cursor stands at the end, so loops end.
 * Memory:  borrows the bytes; slices it returns point into them.
 */
#ifndef VIVACE_BASE_READER_H
#define VIVACE_BASE_READER_H

#include "common/base/bytes.h"
#include "common/base/slice.h"

#include <stdbool.h>

struct reader {
    const uint8_t *at, *end;
    bool failed;
};

static inline struct reader reader_of(struct slice s)
{
    const uint8_t *at = s.ptr == NULL ? (const uint8_t *)"" : s.ptr; /* no arithmetic on NULL */

    return (struct reader){at, s.ptr == NULL ? at : at + s.len, false};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline bool reader_done(const struct reader *r)
{
    return r->at == r->end;
}

static inline bool reader_failed(const struct reader *r)
{
    return r->failed;
}

static inline void reader_fail(struct reader *r)
{
    r->failed = true;
    r->at = r->end;
}

static inline struct slice reader_take(struct reader *r, size_t len)
{
    if (len > reader_left(r)) {
        reader_fail(r);
        return (struct slice){0};
    }
    struct slice s = {r->at, len};
    r->at += len;
    return s;
}

static inline uint8_t reader_u8(struct reader *r)
{
    struct slice s = reader_take(r, 1);
    return s.len == 1 ? s.ptr[0] : 0;
}

static inline uint16_t reader_le16(struct reader *r)
{
    struct slice s = reader_take(r, 2);
    return s.len == 2 ? le16_read(s.ptr) : 0;
}

static inline uint32_t reader_le32(struct reader *r)
{
    struct slice s = reader_take(r, 4);
    return s.len == 4 ? le32_read(s.ptr) : 0;
}

static inline uint64_t reader_le64(struct reader *r)
{
    struct slice s = reader_take(r, 8);
    return s.len == 8 ? le64_read(s.ptr) : 0;
}

/* Protobuf varint: at most 10 bytes, the tenth at most 1.  Over-long forms of small values are
 * accepted, as every protobuf parser accepts them. */
static inline uint64_t reader_varint(struct reader *r)
{
    if (r->at < r->end && *r->at < 0x80)
        return *r->at++;
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->at == r->end)
            break;
        uint8_t byte = *r->at++;
        if (shift == 63 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    reader_fail(r);
    return 0;
}

/* Length-delimited bytes: varint length, then that many bytes. */
static inline struct slice reader_bytes(struct reader *r)
{
    uint64_t len = reader_varint(r);

    if (len > reader_left(r)) {
        reader_fail(r);
        return (struct slice){0};
    }
    return reader_take(r, (size_t)len);
}

#endif
