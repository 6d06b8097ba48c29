/*
 * members_pb.h - hello messages between bytes and fixed texts.
 *
 * Limits:  texts as long as their arrays; printable ASCII without quotes only, so that they can stand in logs and pages.
 */
#ifndef VIVACE_RING_MEMBERS_PB_H
#define VIVACE_RING_MEMBERS_PB_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/ring/members.h"

enum { MEMBERS_HELLO_BYTES_MAX = 4096, MEMBERS_URL_BYTES = 128 };
#define MEMBERS_PROTOCOL_VERSION "1"

struct members_hello {
    char cluster[64], role[32], id[MEMBER_ID_BYTES_MAX + 1], boot_id[33], version[32], zone[64];
    char push_url[MEMBERS_URL_BYTES], query_url[MEMBERS_URL_BYTES];
    uint32_t state; /* of the sender's, perhaps newer, enum */
};

/* Appends.  Errors: of `out`. */
MUST_CHECK enum err members_pb_write_request(const struct members_hello *h, struct buf *out);
MUST_CHECK enum err members_pb_write_reply(const struct members_hello *h, struct buf *out);
/* Errors: ERR_FORMAT. */
MUST_CHECK enum err members_pb_read_request(struct slice message, struct members_hello *ret);
MUST_CHECK enum err members_pb_read_reply(struct slice message, struct members_hello *ret);

#endif
