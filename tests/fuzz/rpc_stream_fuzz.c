/* Any bytes from a peer's connection.  The first byte says how they are cut into pieces.  Properties: the messages and the end are the same however the bytes are
 * cut; no message is over the limit; what is read, written again, is what came. */
#include "common/base/bytes.h"
#include "common/net/rpc_internal.h"

#include <assert.h>
#include <stdlib.h>

enum { MESSAGE_BYTES_MAX = 40000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    enum err end;
    size_t messages, read; /* bytes of the hello and the messages */
};

static void check_message(struct slice input, struct reading *r, const struct rpc_message *m)
{
    size_t whole = RPC_SP_HEAD_BYTES + m->bytes.len;

    assert(m->bytes.len <= MESSAGE_BYTES_MAX);
    assert(m->id & RPC_ID_BIT);
    if (r->read == 0)
        r->read = RPC_SP_HELLO_BYTES;
    assert(whole <= input.len - r->read);
    assert(be64_read(input.ptr + r->read) == whole - 8);
    assert(be32_read(input.ptr + r->read + 8) == m->id);
    assert(slice_eq(slice_sub(input, r->read + RPC_SP_HEAD_BYTES, r->read + whole), m->bytes));
    r->read += whole;
    r->messages++;
}

static enum err read_messages(struct rpc_stream *s, struct slice input, struct reading *r)
{
    for (struct rpc_message m, again;;) {
        enum err e = rpc_stream_next(s, &m);
        if (e != ERR_OK)
            return e;
        assert(rpc_stream_next(s, &again) == ERR_OK && again.bytes.ptr == m.bytes.ptr);
        check_message(input, r, &m);
        if (r->messages % 2 == 0) {
            rpc_stream_consume(s);
            continue;
        }
        uint8_t *taken = rpc_stream_take(s, &m);
        assert(taken != NULL);
        free(taken);
    }
}

static struct reading read_in_pieces(struct slice input, size_t piece)
{
    struct reading r = {.end = ERR_NOT_FOUND};
    struct rpc_stream *s = malloc(sizeof *s);

    assert(s != NULL);
    rpc_stream_init(s, RPC_SP_REQ, MESSAGE_BYTES_MAX);
    for (size_t at = 0; at < input.len && r.end == ERR_NOT_FOUND;) {
        size_t room, len = input.len - at < piece ? input.len - at : piece;
        uint8_t *to = rpc_stream_room(s, &room);
        assert(room > 0);
        if (len > room)
            len = room;
        memcpy(to, input.ptr + at, len);
        rpc_stream_filled(s, len);
        at += len;
        r.end = read_messages(s, input, &r);
    }
    assert(r.end != ERR_OK && r.end != ERR_NOMEM);
    rpc_stream_release(s);
    free(s);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice input = {data + 1, size - 1};
    struct reading a = read_in_pieces(input, SIZE_MAX), b = read_in_pieces(input, data[0] + 1u);

    assert(a.end == b.end);
    assert(a.messages == b.messages);
    assert(a.read == b.read);
    return 0;
}
