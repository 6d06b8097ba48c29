/*
 * member_hello.h - the hello messages of the control lane (proto/control.proto), written and read.
 *
 * Memory:  what is read borrows the message.
 */
#ifndef VIVACE_RING_MEMBER_HELLO_H
#define VIVACE_RING_MEMBER_HELLO_H

#include "common/base/buf.h"

struct member_hello {
    struct slice cluster, role, instance_id, boot_id, version, zone, push_url, query_url;
    uint32_t state;
};

void member_hello_write_request(struct buf *out, const char *cluster, const char *role,
                                const char *id, const char *boot_id);
bool member_hello_read(struct slice message,
                       struct member_hello *ret); /* request or reply; false: damaged */

#endif
