/*
 * push_message.h - PushRequest read from the wire without copying, PushReply written (proto/push.proto).
 *
 * Memory:  slices borrow the message.
 * Errors:  ERR_FORMAT bytes that are no such message, ERR_INVALID a field that can not be.
 */
#ifndef VIVACE_INGESTER_PUSH_MESSAGE_H
#define VIVACE_INGESTER_PUSH_MESSAGE_H

#include "common/base/buf.h"
#include "common/base/trace_id.h"

enum { PUSH_BATCH_ID_BYTES = 16, PUSH_TENANT_BYTES_MAX = 150 };

struct push_message {
    uint8_t batch_id[PUSH_BATCH_ID_BYTES];
    uint32_t part, rank, span_count;
    bool is_doubt;
    int64_t received_ns;
    struct slice tenant, first_target, payload;
};

enum push_reason { /* as the distributor counts them */
                   PUSH_TRACE_TOO_LARGE = 1,
                   PUSH_LIVE_TRACES_EXCEEDED = 2,
                   PUSH_INVALID_SPAN_ID = 3,
                   PUSH_UNKNOWN_ERROR = 4
};
struct push_refusal {
    struct trace_id id;
    uint32_t spans;
    enum push_reason reason;
};

MUST_CHECK enum err push_message_read(struct slice bytes, struct push_message *ret);
void push_message_reply(struct buf *out, bool is_duplicate, const struct push_refusal *refused,
                        uint32_t refused_count);

#endif
