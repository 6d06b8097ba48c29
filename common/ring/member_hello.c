#include "common/ring/member_hello.h"

#include "common/base/reader.h"
#include "common/codec/otlp_write.h"
#include "common/ring/members.h"

enum { HELLO_BYTES_MAX = 16 * 1024 };

void member_hello_write_request(struct buf *out, const char *cluster, const char *role,
                                const char *id, const char *boot_id)
{
    pb_bytes(out, 1, slice_str(cluster));
    pb_bytes(out, 2, slice_str(role));
    pb_bytes(out, 3, slice_str(id));
    pb_bytes(out, 4, slice_str(boot_id));
}

bool member_hello_read(struct slice message, struct member_hello *ret)
{
    struct reader r = reader_of(message);
    struct member_hello h = {.state = 0};
    struct slice *fields[] = {NULL,       &h.cluster, &h.role, &h.instance_id, &h.boot_id,
                              &h.version, &h.zone,    NULL,    &h.push_url,    &h.query_url};

    while (!reader_done(&r)) {
        uint64_t tag = reader_varint(&r), number = 0;
        struct slice bytes = SLICE_NONE;
        switch (tag & 7) {
        case 0: number = reader_varint(&r); break;
        case 1: number = reader_le64(&r); break;
        case 2: bytes = reader_bytes(&r); break;
        case 5: number = reader_le32(&r); break;
        default: reader_fail(&r); break;
        }
        if (tag >> 3 == 7)
            h.state = (uint32_t)number;
        else if (tag >> 3 < sizeof fields / sizeof fields[0] && fields[tag >> 3] != NULL)
            *fields[tag >> 3] = bytes;
    }
    *ret = h;
    return !reader_failed(&r);
}

void member_hello_reply(struct rpc_req *req, const struct member_self *self,
                        enum member_state state)
{
    struct buf out;

    buf_init(&out, HELLO_BYTES_MAX);
    member_hello_write_request(&out, self->cluster, self->role, self->id, self->boot_id);
    pb_bytes(&out, 6, slice_str(self->zone));
    pb_varint(&out, 7, (uint64_t)state);
    pb_bytes(&out, 8, slice_str(self->push_url));
    pb_bytes(&out, 9, slice_str(self->query_url));
    enum err e = buf_err(&out);
    rpc_reply(req, e, e == ERR_OK ? buf_slice(&out) : SLICE_NONE);
    buf_release(&out);
}
