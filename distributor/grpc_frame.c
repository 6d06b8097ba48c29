#include "distributor/grpc_frame.h"

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/codec/otlp_write.h"

#include <assert.h>

enum { PREFIX_BYTES = 5, TIMEOUT_DIGITS_MAX = 8 };

bool grpc_frame_read(struct slice body, struct slice encoding, struct slice *ret_message,
                     enum inflate_kind *ret_kind, struct verdict *reterr_verdict)
{
    enum inflate_kind kind;

    if (body.len < PREFIX_BYTES) {
        verdict_set(reterr_verdict, VERDICT_INTERNAL, body.len == 0 ? "EOF" : "unexpected EOF");
        return false;
    }
    uint8_t flag = body.ptr[0];
    uint32_t len = be32_read(body.ptr + 1);
    if (flag > 1) {
        verdict_set(reterr_verdict, VERDICT_INTERNAL, "grpc: received unexpected payload format %u",
                    (unsigned)flag);
        return false;
    }
    if (len != body.len - PREFIX_BYTES) {
        verdict_set(reterr_verdict, VERDICT_INTERNAL,
                    len > body.len - PREFIX_BYTES
                        ? "unexpected EOF"
                        : "grpc: a unary call must have exactly one message");
        return false;
    }
    if (!inflate_kind_of(encoding, &kind)) {
        verdict_set(reterr_verdict, VERDICT_UNIMPLEMENTED,
                    "grpc: Decompressor is not installed for grpc-encoding \"" SLICE_FMT "\"",
                    SLICE_ARG(slice_sub(encoding, 0, 100)));
        return false;
    }
    if (flag == 1 && kind == INFLATE_IDENTITY) {
        verdict_set(reterr_verdict, VERDICT_INTERNAL,
                    "grpc: compressed flag set with identity or empty encoding");
        return false;
    }
    *ret_message = slice_sub(body, PREFIX_BYTES, body.len);
    *ret_kind = flag == 1 ? kind : INFLATE_IDENTITY;
    return true;
}

int64_t grpc_frame_timeout_ns(struct slice header)
{
    static const struct {
        char unit;
        int64_t ns;
    } units[] = {{'H', 3600 * NS_PER_S}, {'M', 60 * NS_PER_S}, {'S', NS_PER_S},
                 {'m', NS_PER_MS},       {'u', NS_PER_US},     {'n', 1}};
    int64_t value = 0;

    if (header.len < 2 || header.len > TIMEOUT_DIGITS_MAX + 1)
        return -1;
    for (size_t i = 0; i + 1 < header.len; i++) {
        if (header.ptr[i] < '0' || header.ptr[i] > '9')
            return -1;
        value = value * 10 + (header.ptr[i] - '0');
    }
    for (unsigned i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (header.ptr[header.len - 1] != (uint8_t)units[i].unit)
            continue;
        int64_t ns;
        return __builtin_mul_overflow(value, units[i].ns, &ns) ? INT64_MAX : ns;
    }
    return -1;
}

void grpc_frame_message(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c < 0x20 || c > 0x7e || c == '%')
            buf_appendf(out, "%%%02X", (unsigned)c);
        else
            buf_append_byte(out, c);
    }
    buf_append_byte(out, 0);
}

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
