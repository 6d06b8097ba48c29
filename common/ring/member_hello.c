#include "common/ring/members_pb.h"

#include <assert.h>
#include <stdio.h>

/* False: longer than its place, which its configuration should not have let through. */
static bool member_hello_set(char *to, size_t size, const char *text)
{
    int n = snprintf(to, size, "%s", text != NULL ? text : "");

    return n >= 0 && (size_t)n < size;
}

void member_hello_reply(struct rpc_req *req, const struct member_self *self,
                        enum member_state state)
{
    struct members_hello asked, own = {.state = (uint32_t)state};
    struct buf out;

    assert(self->cluster != NULL);
    assert(self->id != NULL);
    if (members_pb_read_request(rpc_req_payload(req), &asked) != ERR_OK) {
        rpc_reply(req, ERR_FORMAT, SLICE_LIT("not a hello"));
        return;
    }
    if (strcmp(asked.cluster, self->cluster) != 0) {
        rpc_reply(req, ERR_FORBIDDEN, SLICE_LIT("another cluster"));
        return;
    }
    bool is_whole = member_hello_set(own.cluster, sizeof own.cluster, self->cluster) &&
                    member_hello_set(own.role, sizeof own.role, self->role) &&
                    member_hello_set(own.id, sizeof own.id, self->id) &&
                    member_hello_set(own.boot_id, sizeof own.boot_id, self->boot_id) &&
                    member_hello_set(own.version, sizeof own.version, MEMBERS_PROTOCOL_VERSION) &&
                    member_hello_set(own.zone, sizeof own.zone, self->zone) &&
                    member_hello_set(own.push_url, sizeof own.push_url, self->push_url) &&
                    member_hello_set(own.query_url, sizeof own.query_url, self->query_url);
    buf_init(&out, MEMBERS_HELLO_BYTES_MAX);
    if (!is_whole)
        rpc_reply(req, ERR_INTERNAL, SLICE_LIT("a text of the hello is too long"));
    else if (members_pb_write_reply(&own, &out) != ERR_OK)
        rpc_reply(req, ERR_NOMEM, SLICE_NONE);
    else
        rpc_reply(req, ERR_OK, buf_slice(&out));
    buf_release(&out);
}
