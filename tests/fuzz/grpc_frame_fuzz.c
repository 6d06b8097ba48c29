/* First byte: which grpc-encoding (or a text of the input itself); the rest: a request body.  Properties: what is read lies within the body and is
 * all of it but the prefix; a refusal has a code and a text; replies of any text are clean header bytes. */
#include "common/net/grpc.h"
#include "distributor/grpc_frame.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_texts(struct slice text)
{
    struct buf out;
    struct verdict v = {.code = VERDICT_UNAVAILABLE, .retry_ns = 1500000000};

    buf_init(&out, 1 << 24);
    grpc_escape(text, &out);
    assert(buf_err(&out) == ERR_OK && out.ptr[out.len - 1] == 0);
    for (size_t i = 0; i + 1 < out.len; i++)
        assert(out.ptr[i] >= 0x20 && out.ptr[i] <= 0x7e);
    buf_reset(&out);
    grpc_frame_base64(text, &out);
    assert(buf_err(&out) == ERR_OK && out.len - 1 == (text.len * 8 + 5) / 6);
    buf_reset(&out);
    size_t len = text.len < sizeof v.text - 1 ? text.len : sizeof v.text - 1;
    if (len > 0)
        memcpy(v.text, text.ptr, len);
    grpc_frame_status(&v, &out);
    assert(buf_err(&out) == ERR_OK);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const encodings[] = {"", "identity", "gzip", "zstd", "snappy", "br"};
    struct slice message;
    enum inflate_kind kind;
    unsigned code = 0;
    struct err_detail detail = {0};

    if (size == 0)
        return 0;
    struct slice body = {data + 1, size - 1};
    struct slice encoding =
        data[0] < 6 ? slice_str(encodings[data[0]]) : slice_sub(body, 0, data[0] % 16);
    if (grpc_message_read(body, encoding, &message, &kind, &code, &detail)) {
        assert(message.len + 5 == body.len && message.ptr == body.ptr + 5);
        assert(kind == INFLATE_IDENTITY || body.ptr[0] == 1);
    } else {
        assert(code != 0 && detail.text[0] != '\0');
    }
    int64_t timeout_ns = grpc_timeout_ns(slice_sub(body, 0, 12));
    assert(timeout_ns >= -1);
    check_texts(slice_sub(body, 0, 4096));
    return 0;
}
