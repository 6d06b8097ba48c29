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

/* False at the end and at damage; reader_failed tells which. */
static inline bool wire_next(struct reader *r, struct wire_field *f)
{
    if (r->at == r->end)
        return false;
    uint64_t tag = reader_varint(r);
    f->number = (uint32_t)(tag >> 3);
    f->type = (uint32_t)(tag & 7);
    if (tag < 8 || tag >> 3 > WIRE_FIELD_MAX) {
        reader_fail(r);
        return false;
    }
    f->v = 0;
    f->bytes = SLICE_NONE;
    switch (f->type) {
    case WIRE_VARINT: f->v = reader_varint(r); break;
    case WIRE_FIXED64: f->v = reader_le64(r); break;
    case WIRE_BYTES: f->bytes = reader_bytes(r); break;
    case WIRE_FIXED32: f->v = reader_le32(r); break;
    default: reader_fail(r); break;
    }
    return !r->failed;
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
