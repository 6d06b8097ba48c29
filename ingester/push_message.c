#include "ingester/push_message.h"

#include "common/codec/otlp_write.h"
#include "common/codec/pb_field.h"

#include <assert.h>

enum { TARGET_BYTES_MAX = 255 };

/* The wire type that each field of PushRequest must have. */
static const uint8_t request_wire[12] = {
    [1] = WIRE_BYTES,  [2] = WIRE_VARINT,  [3] = WIRE_BYTES,  [4] = WIRE_VARINT,
    [5] = WIRE_VARINT, [6] = WIRE_BYTES,   [7] = WIRE_VARINT, [8] = WIRE_FIXED64,
    [9] = WIRE_VARINT, [10] = WIRE_VARINT, [11] = WIRE_BYTES};

static enum err request_field(const struct pb_field *f, struct push_message *m, bool *has_batch)
{
    if (f->number >= sizeof request_wire)
        return ERR_OK; /* of a newer distributor */
    if (f->wire != request_wire[f->number])
        return ERR_FORMAT;
    switch (f->number) {
    case 1:
        if (f->bytes.len != PUSH_BATCH_ID_BYTES)
            return ERR_INVALID;
        memcpy(m->batch_id, f->bytes.ptr, PUSH_BATCH_ID_BYTES);
        *has_batch = true;
        break;
    case 2: m->part = (uint32_t)f->value; break;
    case 3: m->tenant = f->bytes; break;
    case 5: m->is_doubt = f->value != 0; break;
    case 6: m->first_target = f->bytes; break;
    case 7: m->rank = (uint32_t)f->value; break;
    case 8: m->received_ns = f->value > INT64_MAX ? 0 : (int64_t)f->value; break;
    case 10: m->span_count = (uint32_t)f->value; break;
    case 11: m->payload = f->bytes; break;
    default: break; /* attempt and deadline: for people who read traffic */
    }
    return ERR_OK;
}

enum err push_message_read(struct slice bytes, struct push_message *ret)
{
    assert(ret != NULL);
    struct push_message m = {0};
    struct reader r = reader_of(bytes);
    struct pb_field f;
    bool has_batch = false;

    while (pb_field_next(&r, &f)) {
        enum err e = request_field(&f, &m, &has_batch);
        if (e != ERR_OK)
            return e;
    }
    if (reader_failed(&r))
        return ERR_FORMAT;
    if (!has_batch || m.tenant.len == 0 || m.tenant.len > PUSH_TENANT_BYTES_MAX ||
        m.first_target.len > TARGET_BYTES_MAX)
        return ERR_INVALID;
    *ret = m;
    return ERR_OK;
}

void push_message_reply(struct buf *out, bool is_duplicate, const struct push_refusal *refused,
                        uint32_t refused_count)
{
    if (is_duplicate)
        pb_varint(out, 1, 1);
    for (uint32_t i = 0; i < refused_count; i++) {
        size_t mark = pb_begin(out, 2);
        pb_bytes(out, 1, (struct slice){refused[i].id.b, TRACE_ID_BYTES});
        pb_varint(out, 2, refused[i].spans);
        pb_varint(out, 3, refused[i].reason);
        pb_end(out, mark);
    }
}
