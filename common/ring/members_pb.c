#include "common/ring/members_pb.h"

#include "proto/control.pb-c.h"

#include <assert.h>

static ProtobufCBinaryData members_pb_bytes(const char *text)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)text, .len = strlen(text)};
}

/* False: too long for its place, or not fit to be shown. */
static bool members_pb_text(ProtobufCBinaryData from, char *ret, size_t size)
{
    if (from.len >= size)
        return false;
    for (size_t i = 0; i < from.len; i++) {
        uint8_t c = from.data[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&')
            return false;
    }
    if (from.len > 0)
        memcpy(ret, from.data, from.len);
    ret[from.len] = '\0';
    return true;
}

enum err members_pb_write_request(const struct members_hello *h, struct buf *out)
{
    Vivace__HelloRequest m = VIVACE__HELLO_REQUEST__INIT;

    m.cluster = members_pb_bytes(h->cluster);
    m.role = members_pb_bytes(h->role);
    m.instance_id = members_pb_bytes(h->id);
    m.boot_id = members_pb_bytes(h->boot_id);
    m.version = members_pb_bytes(h->version);
    uint8_t *to = buf_extend(out, vivace__hello_request__get_packed_size(&m));
    if (to != NULL)
        (void)vivace__hello_request__pack(&m, to);
    return buf_err(out);
}

enum err members_pb_write_reply(const struct members_hello *h, struct buf *out)
{
    Vivace__HelloReply m = VIVACE__HELLO_REPLY__INIT;

    m.cluster = members_pb_bytes(h->cluster);
    m.role = members_pb_bytes(h->role);
    m.instance_id = members_pb_bytes(h->id);
    m.boot_id = members_pb_bytes(h->boot_id);
    m.version = members_pb_bytes(h->version);
    m.zone = members_pb_bytes(h->zone);
    m.state = h->state;
    m.push_url = members_pb_bytes(h->push_url);
    m.query_url = members_pb_bytes(h->query_url);
    uint8_t *to = buf_extend(out, vivace__hello_reply__get_packed_size(&m));
    if (to != NULL)
        (void)vivace__hello_reply__pack(&m, to);
    return buf_err(out);
}

enum err members_pb_read_request(struct slice message, struct members_hello *ret)
{
    struct members_hello h = {0};

    if (message.len > MEMBERS_HELLO_BYTES_MAX)
        return ERR_FORMAT;
    Vivace__HelloRequest *m = vivace__hello_request__unpack(NULL, message.len, message.ptr);
    if (m == NULL)
        return ERR_FORMAT;
    bool is_good = members_pb_text(m->cluster, h.cluster, sizeof h.cluster) &&
                   members_pb_text(m->role, h.role, sizeof h.role) &&
                   members_pb_text(m->instance_id, h.id, sizeof h.id) &&
                   members_pb_text(m->boot_id, h.boot_id, sizeof h.boot_id) &&
                   members_pb_text(m->version, h.version, sizeof h.version);
    vivace__hello_request__free_unpacked(m, NULL);
    if (!is_good)
        return ERR_FORMAT;
    *ret = h;
    return ERR_OK;
}

enum err members_pb_read_reply(struct slice message, struct members_hello *ret)
{
    struct members_hello h = {0};

    if (message.len > MEMBERS_HELLO_BYTES_MAX)
        return ERR_FORMAT;
    Vivace__HelloReply *m = vivace__hello_reply__unpack(NULL, message.len, message.ptr);
    if (m == NULL)
        return ERR_FORMAT;
    bool is_good = members_pb_text(m->cluster, h.cluster, sizeof h.cluster) &&
                   members_pb_text(m->role, h.role, sizeof h.role) &&
                   members_pb_text(m->instance_id, h.id, sizeof h.id) &&
                   members_pb_text(m->boot_id, h.boot_id, sizeof h.boot_id) &&
                   members_pb_text(m->version, h.version, sizeof h.version) &&
                   members_pb_text(m->zone, h.zone, sizeof h.zone) &&
                   members_pb_text(m->push_url, h.push_url, sizeof h.push_url) &&
                   members_pb_text(m->query_url, h.query_url, sizeof h.query_url);
    h.state = m->state;
    vivace__hello_reply__free_unpacked(m, NULL);
    if (!is_good || h.id[0] == '\0')
        return ERR_FORMAT;
    *ret = h;
    return ERR_OK;
}
