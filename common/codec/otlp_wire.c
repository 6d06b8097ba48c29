#include "common/codec/otlp_wire.h"

bool otlp_wire_next_any(struct reader *r, struct wire_field *f)
{
    *f = (struct wire_field){0};
    if (r->at == r->end)
        return false;
    uint64_t tag = reader_varint(r);
    f->number = (uint32_t)(tag >> 3);
    f->type = (uint32_t)(tag & 7);
    if (tag < 8 || tag >> 3 > WIRE_FIELD_MAX) {
        reader_fail(r);
        return false;
    }
    switch (f->type) {
    case WIRE_VARINT: f->v = reader_varint(r); break;
    case WIRE_FIXED64: f->v = reader_le64(r); break;
    case WIRE_BYTES: f->bytes = reader_bytes(r); break;
    case WIRE_FIXED32: f->v = reader_le32(r); break;
    default: reader_fail(r); break;
    }
    return !r->failed;
}
