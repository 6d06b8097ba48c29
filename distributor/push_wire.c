#include "distributor/push_wire.h"

#include "common/base/clock.h"
#include "common/codec/otlp_wire.h"
#include "common/codec/otlp_write.h"

void push_wire_head(struct buf *out, const struct push_head *h)
{
    pb_bytes(out, 1, (struct slice){h->batch_id, BATCH_ID_BYTES});
    pb_varint(out, 2, h->part);
    pb_bytes(out, 3, h->tenant);
    pb_varint(out, 4, h->attempt);
    if (h->is_doubt) {
        pb_varint(out, 5, 1);
        pb_bytes(out, 6, slice_str(h->first_target));
    }
    pb_fixed64(out, 8, (uint64_t)h->received_ns);
    pb_varint(out, 9, (uint64_t)(h->deadline_ns / NS_PER_MS));
    pb_varint(out, 10, h->span_count);
    buf_append_varint(out, 11 << 3 | WIRE_BYTES);
    buf_append_varint(out, h->payload_bytes);
}

static bool read_refusal(struct slice refusal, struct push_refused *ret)
{
    struct reader r = reader_of(refusal);
    struct wire_field f;
    struct trace_id id = {{0}};
    uint64_t spans = 0, reason = PUSH_UNKNOWN_ERROR;

    while (wire_next(&r, &f)) {
        if (f.number == 1 && f.type == WIRE_BYTES && f.bytes.len == TRACE_ID_BYTES)
            memcpy(id.b, f.bytes.ptr, sizeof id.b);
        else if (f.number == 2 && f.type == WIRE_VARINT)
            spans = f.v;
        else if (f.number == 3 && f.type == WIRE_VARINT)
            reason = f.v;
    }
    if (reader_failed(&r) || spans > UINT32_MAX)
        return false;
    if (reason == 0 || reason >= PUSH_REASONS)
        reason = PUSH_UNKNOWN_ERROR; /* of a newer ingester */
    if (ret->spans[reason] == 0)
        ret->first[reason] = id;
    uint32_t sum;
    if (__builtin_add_overflow(ret->spans[reason], (uint32_t)spans, &sum))
        return false;
    ret->spans[reason] = sum;
    return true;
}

enum err push_wire_reply(struct slice reply, struct push_refused *ret)
{
    struct reader r = reader_of(reply);
    struct push_refused got = *ret;
    struct wire_field f;

    while (wire_next(&r, &f)) {
        if (f.number == 2 && (f.type != WIRE_BYTES || !read_refusal(f.bytes, &got)))
            return ERR_CORRUPT;
    }
    if (reader_failed(&r))
        return ERR_CORRUPT;
    *ret = got;
    return ERR_OK;
}
