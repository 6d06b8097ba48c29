/*
 * push_wire.h - PushRequest written from slices, PushReply read in place (proto/push.proto).
 */
#ifndef VIVACE_DISTRIBUTOR_PUSH_WIRE_H
#define VIVACE_DISTRIBUTOR_PUSH_WIRE_H

#include "common/base/buf.h"
#include "common/base/trace_id.h"

enum { BATCH_ID_BYTES = 16, PUSH_HEAD_BYTES_MAX = 1024 };

enum push_reason { /* PushRefusal.reason */
                   PUSH_TRACE_TOO_LARGE = 1,
                   PUSH_LIVE_TRACES_EXCEEDED = 2,
                   PUSH_INVALID_SPAN_ID = 3,
                   PUSH_UNKNOWN_ERROR = 4,
                   PUSH_REASONS = 5
};

struct push_head {
    const uint8_t *batch_id;
    uint32_t part, attempt, span_count;
    struct slice tenant;
    bool is_doubt;
    const char *first_target; /* when doubt */
    int64_t received_ns;
    int64_t deadline_ns; /* of this attempt */
    size_t payload_bytes;
};
/* Everything of a PushRequest but the bytes of its payload, which must follow. */
void push_wire_head(struct buf *out, const struct push_head *h);

struct push_refused {
    uint32_t spans[PUSH_REASONS];
    struct trace_id first[PUSH_REASONS]; /* a trace refused for that reason */
};
/* Adds to *ret only if the whole reply is well formed.  Errors: ERR_CORRUPT. */
MUST_CHECK enum err push_wire_reply(struct slice reply, struct push_refused *ret);

#endif
