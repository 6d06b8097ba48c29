/*
 * pb_field.h - one field after the other of a protobuf message between our processes; foreign bytes like any other.
 *
 * Errors:  the reader fails (reader_failed) at a group, a field number of 0, or an end within a field.
 * Memory:  bytes are borrowed from the reader's.
 * Source:  protobuf encoding, "Message Structure".
 */
#ifndef VIVACE_CODEC_PB_FIELD_H
#define VIVACE_CODEC_PB_FIELD_H

#include "common/base/reader.h"
#include "common/codec/otlp_wire.h"

struct pb_field {
    uint32_t number, wire;
    uint64_t value; /* WIRE_VARINT, WIRE_FIXED64; a WIRE_FIXED32 is passed over */
    struct slice bytes;
};

/* False at the end, and when the reader has failed. */
static inline bool pb_field_next(struct reader *r, struct pb_field *f)
{
    if (reader_done(r))
        return false;
    uint64_t tag = reader_varint(r);
    *f = (struct pb_field){.number = tag >> 3 <= UINT32_MAX ? (uint32_t)(tag >> 3) : 0,
                           .wire = (uint32_t)(tag & 7)};
    switch (f->wire) {
    case WIRE_VARINT: f->value = reader_varint(r); break;
    case WIRE_FIXED64: f->value = reader_le64(r); break;
    case WIRE_BYTES: f->bytes = reader_bytes(r); break;
    case WIRE_FIXED32: (void)reader_take(r, 4); break;
    default: reader_fail(r);
    }
    if (f->number == 0)
        reader_fail(r);
    return !reader_failed(r);
}

#endif
