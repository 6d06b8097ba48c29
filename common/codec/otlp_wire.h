/*
 * otlp_wire.h - one protobuf field off a reader, inlined: what the OTLP walkers and the split of a request are made of.
 *
 * Errors:  sticky in the reader; groups (wire types 3 and 4), reserved wire types and field number 0 fail it.
 * Source:  protobuf encoding specification.
 */
#ifndef VIVACE_CODEC_OTLP_WIRE_H
#define VIVACE_CODEC_OTLP_WIRE_H

#include "common/base/reader.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { WIRE_FIELD_MAX = (1 << 29) - 1 };

/* `bytes` of WIRE_BYTES fields, `v` of the others. */
struct wire_field {
    uint32_t number, type;
    uint64_t v;
    struct slice bytes;
};

bool otlp_wire_next_any(struct reader *r,
                        struct wire_field *f); /* wire_next for every form of a field */

/* With copies, so that those of the caller can live in registers. */
static inline bool wire_next_rare(struct reader *r, struct wire_field *f)
{
    struct reader reader = *r;
    struct wire_field field;
    bool has = otlp_wire_next_any(&reader, &field);

    *r = reader;
    *f = field;
    return has;
}

/* False at the end and at damage; reader_failed tells which.  In line: what nearly all fields are, a tag of one byte and then a length of one or two,
 * a number of one, or eight bytes. */
static inline __attribute__((always_inline)) bool wire_next(struct reader *r, struct wire_field *f)
{
    const uint8_t *p = r->at;
    size_t left = (size_t)(r->end - p), head = 2, len;

    if (left == 0)
        return false;
    if (left < 3 || p[0] >= 0x80 || p[0] < 8)
        return wire_next_rare(r, f);
    f->number = p[0] >> 3;
    f->type = p[0] & 7;
    if (f->type == WIRE_BYTES) {
        len = p[1];
        if (len >= 0x80) {
            len = (len & 0x7f) | (size_t)p[2] << 7;
            head = 3;
            if (p[2] >= 0x80)
                return wire_next_rare(r, f);
        }
        if (left - head < len)
            return wire_next_rare(r, f);
        f->v = 0;
        f->bytes = (struct slice){p + head, len};
        r->at = p + head + len;
        return true;
    }
    f->bytes = SLICE_NONE;
    if (f->type == WIRE_FIXED64 && left > 8) {
        f->v = le64_read(p + 1);
        r->at = p + 9;
        return true;
    }
    if (f->type == WIRE_VARINT && p[1] < 0x80) {
        f->v = p[1];
        r->at = p + 2;
        return true;
    }
    return wire_next_rare(r, f);
}

/* A KeyValue as nearly all are: key, then value, each with a length of one byte.  False: look closer. */
static inline bool wire_plain_keyvalue(struct slice body, struct slice *ret_key,
                                       struct slice *ret_value)
{
    const uint8_t *p = body.ptr;

    if (body.len < 4 || p[0] != 0x0a || p[1] >= 0x80 || body.len < (size_t)p[1] + 4)
        return false;
    const uint8_t *v = p + 2 + p[1];
    if (v[0] != 0x12 || v[1] >= 0x80 || v + 2 + v[1] != p + body.len)
        return false;
    *ret_key = (struct slice){p + 2, p[1]};
    *ret_value = (struct slice){v + 2, v[1]};
    return true;
}

/* An AnyValue that is one short text. */
static inline bool wire_plain_text(struct slice value)
{
    return value.len >= 2 && value.ptr[0] == 0x0a && value.ptr[1] < 0x80 &&
           value.len == (size_t)value.ptr[1] + 2;
}

/* The next length-delimited field of this number; others are skipped. */
static inline bool wire_next_bytes(struct reader *r, uint32_t number, struct slice *ret)
{
    struct wire_field f;

    while (wire_next(r, &f)) {
        if (f.number == number && f.type == WIRE_BYTES) {
            *ret = f.bytes;
            return true;
        }
    }
    return false;
}

/* Bytes that a length-delimited field takes. */
static inline size_t wire_bytes_size(uint32_t number, size_t len)
{
    return varint_bytes((uint64_t)number << 3) + varint_bytes(len) + len;
}

#endif
