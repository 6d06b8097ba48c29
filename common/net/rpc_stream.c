#include "common/base/bytes.h"
#include "common/net/rpc_internal.h"

#include <assert.h>
#include <stdlib.h>

void rpc_stream_init(struct rpc_stream *s, uint16_t peer, size_t message_bytes_max)
{
    s->peer = peer;
    s->message_bytes_max = message_bytes_max;
    s->is_greeted = false;
    s->body = NULL;
    s->body_len = s->body_got = 0;
    s->begin = s->end = 0;
}

void rpc_stream_release(struct rpc_stream *s)
{
    free(s->body);
    s->body = NULL;
}

uint8_t *rpc_stream_room(struct rpc_stream *s, size_t *ret_len)
{
    if (s->body != NULL) {
        *ret_len = s->body_len - s->body_got;
        return s->body + s->body_got;
    }
    memmove(s->buffer, s->buffer + s->begin, s->end - s->begin);
    s->end -= s->begin;
    s->begin = 0;
    *ret_len = sizeof s->buffer - s->end;
    return s->buffer + s->end;
}

void rpc_stream_filled(struct rpc_stream *s, size_t len)
{
    if (s->body != NULL) {
        assert(len <= s->body_len - s->body_got);
        s->body_got += len;
    } else {
        assert(len <= sizeof s->buffer - s->end);
        s->end += len;
    }
}

static enum err rpc_stream_greet(struct rpc_stream *s)
{
    uint8_t want[RPC_SP_HELLO_BYTES] = {0, 'S', 'P', 0, (uint8_t)(s->peer >> 8), (uint8_t)s->peer};

    if (s->end - s->begin < sizeof want)
        return ERR_NOT_FOUND;
    if (memcmp(s->buffer + s->begin, want, sizeof want) != 0)
        return ERR_CORRUPT;
    s->begin += sizeof want;
    s->is_greeted = true;
    return ERR_OK;
}

enum err rpc_stream_next(struct rpc_stream *s, struct rpc_message *ret)
{
    if (!s->is_greeted) {
        enum err e = rpc_stream_greet(s);
        if (e != ERR_OK)
            return e;
    }
    if (s->body != NULL) {
        if (s->body_got < s->body_len)
            return ERR_NOT_FOUND;
        *ret = (struct rpc_message){s->body_id, {s->body, s->body_len}};
        return ERR_OK;
    }
    const uint8_t *at = s->buffer + s->begin;
    size_t have = s->end - s->begin;
    if (have < RPC_SP_HEAD_BYTES)
        return ERR_NOT_FOUND;
    uint64_t len = be64_read(at);
    uint32_t id = be32_read(at + 8);
    if (len < sizeof id || (id & RPC_ID_BIT) == 0)
        return ERR_CORRUPT;
    len -= sizeof id;
    if (len > s->message_bytes_max)
        return ERR_TOO_LARGE;
    if (len <= sizeof s->buffer - RPC_SP_HEAD_BYTES) {
        if (have - RPC_SP_HEAD_BYTES < len)
            return ERR_NOT_FOUND;
        *ret = (struct rpc_message){id, {at + RPC_SP_HEAD_BYTES, len}};
        return ERR_OK;
    }
    s->body = malloc(len);
    if (s->body == NULL)
        return ERR_NOMEM;
    s->body_id = id;
    s->body_len = len;
    s->body_got = have - RPC_SP_HEAD_BYTES;
    memcpy(s->body, at + RPC_SP_HEAD_BYTES, s->body_got);
    s->begin = s->end = 0;
    return ERR_NOT_FOUND;
}

void rpc_stream_consume(struct rpc_stream *s)
{
    if (s->body != NULL) {
        assert(s->body_got == s->body_len);
        free(s->body);
        s->body = NULL;
        return;
    }
    s->begin += sizeof(uint64_t) + (size_t)be64_read(s->buffer + s->begin);
    assert(s->begin <= s->end);
}

uint8_t *rpc_stream_take(struct rpc_stream *s, const struct rpc_message *m)
{
    uint8_t *bytes = s->body;

    if (bytes != NULL) {
        s->body = NULL;
        return bytes;
    }
    bytes = malloc(m->bytes.len + 1);
    if (bytes != NULL)
        memcpy(bytes, m->bytes.ptr, m->bytes.len);
    rpc_stream_consume(s);
    return bytes;
}

bool rpc_stream_is_idle(const struct rpc_stream *s)
{
    return s->body == NULL && s->begin == s->end;
}
