#include "common/net/grpc.h"

#include "common/base/bytes.h"
#include "common/base/clock.h"

#include <stdarg.h>
#include <stdio.h>

enum { TIMEOUT_DIGITS_MAX = 8 };
enum { GRPC_UNIMPLEMENTED = 12, GRPC_INTERNAL = 13 }; /* google.rpc.Code */

bool grpc_is_type(struct slice content_type)
{
    struct slice want = SLICE_LIT("application/grpc");

    if (!slice_has_prefix(content_type, want))
        return false;
    struct slice rest = slice_sub(content_type, want.len, content_type.len);
    return rest.len == 0 || slice_eq_str(rest, "+proto") || rest.ptr[0] == ';';
}

static bool refuse(unsigned *reterr_code, struct err_detail *detail, unsigned code,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
static bool refuse(unsigned *reterr_code, struct err_detail *detail, unsigned code,
                   const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(detail->text, sizeof detail->text, format, args);
    va_end(args);
    *reterr_code = code;
    return false;
}

bool grpc_message_read(struct slice body, struct slice encoding, struct slice *ret_message,
                       enum inflate_kind *ret_kind, unsigned *reterr_code,
                       struct err_detail *reterr_detail)
{
    enum inflate_kind kind;

    if (body.len < GRPC_PREFIX_BYTES)
        return refuse(reterr_code, reterr_detail, GRPC_INTERNAL, "%s",
                      body.len == 0 ? "EOF" : "unexpected EOF");
    uint8_t flag = body.ptr[0];
    uint32_t len = be32_read(body.ptr + 1);
    if (flag > 1)
        return refuse(reterr_code, reterr_detail, GRPC_INTERNAL,
                      "grpc: received unexpected payload format %u", (unsigned)flag);
    if (len > body.len - GRPC_PREFIX_BYTES)
        return refuse(reterr_code, reterr_detail, GRPC_INTERNAL, "unexpected EOF");
    if (len < body.len - GRPC_PREFIX_BYTES)
        return refuse(reterr_code, reterr_detail, GRPC_INTERNAL,
                      "grpc: a unary call must have exactly one message");
    if (!inflate_kind_of(encoding, &kind))
        return refuse(reterr_code, reterr_detail, GRPC_UNIMPLEMENTED,
                      "grpc: Decompressor is not installed for grpc-encoding \"" SLICE_FMT "\"",
                      SLICE_ARG(slice_sub(encoding, 0, 100)));
    if (flag == 1 && kind == INFLATE_IDENTITY)
        return refuse(reterr_code, reterr_detail, GRPC_INTERNAL,
                      "grpc: compressed flag set with identity or empty encoding");
    *ret_message = slice_sub(body, GRPC_PREFIX_BYTES, body.len);
    *ret_kind = flag == 1 ? kind : INFLATE_IDENTITY;
    return true;
}

size_t grpc_message_open(struct buf *out)
{
    size_t mark = out->len;
    uint8_t *prefix = buf_extend(out, GRPC_PREFIX_BYTES);

    if (prefix != NULL)
        memset(prefix, 0, GRPC_PREFIX_BYTES);
    return mark;
}

void grpc_message_close(struct buf *out, size_t mark)
{
    if (buf_err(out) == ERR_OK)
        be32_write(out->ptr + mark + 1, (uint32_t)(out->len - mark - GRPC_PREFIX_BYTES));
}

int64_t grpc_timeout_ns(struct slice header)
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

void grpc_escape(struct slice text, struct buf *out)
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
