/* Any bytes as a message between our processes.  Properties: an error, or a frame that written again is the same bytes; its payload as a hello is refused,
 * or fit to be shown and the same when written and read again. */
#include "common/net/rpc.h"
#include "common/ring/members_pb.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t size)
{
    assert(strnlen(text, size) < size);
    assert(strpbrk(text, "<>&\"\\\r\n\t") == NULL);
}

static void check_hello(struct slice payload, bool is_reply)
{
    struct members_hello h, again;
    struct buf out;

    enum err e =
        is_reply ? members_pb_read_reply(payload, &h) : members_pb_read_request(payload, &h);
    assert(e == ERR_OK || e == ERR_FORMAT);
    if (e != ERR_OK)
        return;
    check_text(h.cluster, sizeof h.cluster);
    check_text(h.id, sizeof h.id);
    check_text(h.push_url, sizeof h.push_url);
    assert(!is_reply || h.id[0] != '\0');
    buf_init(&out, MEMBERS_HELLO_BYTES_MAX);
    e = is_reply ? members_pb_write_reply(&h, &out) : members_pb_write_request(&h, &out);
    assert(e == ERR_OK);
    e = is_reply ? members_pb_read_reply(buf_slice(&out), &again)
                 : members_pb_read_request(buf_slice(&out), &again);
    assert(e == ERR_OK);
    assert(strcmp(h.cluster, again.cluster) == 0);
    assert(strcmp(h.id, again.id) == 0);
    assert(strcmp(h.query_url, again.query_url) == 0);
    assert(h.state == again.state);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice message = {data, size}, payload;
    uint8_t header[RPC_HEADER_BYTES];
    uint16_t word;

    enum err e = rpc_frame_read(message, &word, &payload);
    assert(e == ERR_OK || e == ERR_CORRUPT);
    if (e == ERR_OK) {
        assert(payload.len + RPC_HEADER_BYTES == size);
        rpc_frame_write(header, word, &payload, 1);
        assert(memcmp(header, data, sizeof header) == 0);
    }
    /* The checksum keeps a fuzzer out, so the rest is tried without it too. */
    payload = slice_sub(message, RPC_HEADER_BYTES, size);
    rpc_frame_write(header, 1, &payload, 1);
    check_hello(payload, false);
    check_hello(payload, true);
    return 0;
}
