/* Any bytes as HTTP/1.1 from a client.  Properties: what the handler sees does not depend on how the bytes were cut; what is sent back is answers one
 * after the other; the connection ends when the client falls silent, and all memory is given back. */
#include "tests/fuzz/http_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Answers have a head, a length and that many bytes; only the last may close. */
static void check_answers(struct slice sent, unsigned handled_count)
{
    unsigned answers = 0;

    while (sent.len > 0) {
        const uint8_t *end = memmem(sent.ptr, sent.len, "\r\n\r\n", 4);
        assert(slice_has_prefix(sent, SLICE_LIT("HTTP/1.1 ")));
        assert(end != NULL);
        size_t head_len = (size_t)(end - sent.ptr) + 4;
        const uint8_t *length = memmem(sent.ptr, head_len, "Content-Length: ", 16);
        unsigned status = (unsigned)strtoul((const char *)sent.ptr + 9, NULL, 10);
        size_t body_len = length != NULL ? (size_t)strtoul((const char *)length + 16, NULL, 10) : 0;
        assert(length != NULL || status == 204 || status == 100);
        if (status != 100)
            answers++;
        sent = slice_sub(sent, head_len, sent.len);
        assert(body_len <= sent.len);
        sent = slice_sub(sent, body_len, sent.len);
    }
    /* One the server's own at most: after it the connection closes, but for a refused body. */
    assert(answers >= handled_count);
    assert(answers <= handled_count + 1);
}

static uint64_t run(struct slice input, size_t step, bool *ret_has_head)
{
    struct harness h;

    harness_init(&h);
    for (size_t at = 0; at < input.len; at += step)
        harness_feed(&h, slice_sub(input, at, at + step));
    harness_end(&h);
    buf_append_byte(&h.sent, 0);
    struct slice sent = slice_sub(buf_slice(&h.sent), 0, h.sent.len - 1);
    /* The answer to HEAD has a length and no body: not to be told apart here. */
    if (!*ret_has_head && h.conn.protocol != HTTP_2)
        check_answers(sent, h.handled_count);
    buf_release(&h.sent);
    return h.log;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = {data, size};
    bool has_head = size >= 4 && memmem(data, size, "HEAD", 4) != NULL;

    if (size >= 4 && memcmp(data, "PRI ", 4) == 0)
        return 0; /* h2_frames_fuzz */
    uint64_t whole = run(input, size > 0 ? size : 1, &has_head);
    assert(run(input, 1, &has_head) == whole);
    assert(run(input, 7, &has_head) == whole);
    return 0;
}
