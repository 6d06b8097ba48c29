#include "distributor/grpc_frame.h"

#include "common/base/clock.h"
#include "common/codec/otlp_write.h"

void grpc_frame_status(const struct verdict *v, struct buf *out)
{
    pb_varint(out, 1, (uint64_t)v->code);
    pb_bytes(out, 2, slice_str(v->text));
    if (v->retry_ns <= 0)
        return;
    size_t any = pb_begin(out, 3);
    pb_bytes(out, 1, SLICE_LIT("type.googleapis.com/google.rpc.RetryInfo"));
    size_t info = pb_begin(out, 2);
    size_t delay = pb_begin(out, 1);
    if (v->retry_ns >= NS_PER_S)
        pb_varint(out, 1, (uint64_t)(v->retry_ns / NS_PER_S));
    if (v->retry_ns % NS_PER_S != 0)
        pb_varint(out, 2, (uint64_t)(v->retry_ns % NS_PER_S));
    pb_end(out, delay);
    pb_end(out, info);
    pb_end(out, any);
}

void grpc_frame_base64(struct slice bytes, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    unsigned bit_count = 0;

    for (size_t i = 0; i < bytes.len; i++) {
        bits = (bits << 8 | bytes.ptr[i]) & 0xffffff;
        for (bit_count += 8; bit_count >= 6; bit_count -= 6)
            buf_append_byte(out, (uint8_t)digits[bits >> (bit_count - 6) & 63]);
    }
    if (bit_count > 0)
        buf_append_byte(out, (uint8_t)digits[bits << (6 - bit_count) & 63]);
    buf_append_byte(out, 0);
}
