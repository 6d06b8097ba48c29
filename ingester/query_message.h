/*
 * query_message.h - requests of the query lane read from the wire, and the parts of its answers that no other module writes (proto/query.proto).
 *
 * Memory:  slices borrow the message; arrays live in the arena.
 * Errors:  ERR_FORMAT bytes that are no such message, ERR_INVALID a field that can not be, ERR_LIMIT.
 */
#ifndef VIVACE_INGESTER_QUERY_MESSAGE_H
#define VIVACE_INGESTER_QUERY_MESSAGE_H

#include "common/query/engine.h"
#include "ingester/core.h"

/* The fields of all requests; each uses some. */
struct query_message {
    struct slice tenant, text, tag; /* text: query or filter */
    uint64_t start_ns, end_ns, min_duration_ns, max_duration_ns;
    uint64_t step_ns; /* of metrics, from start_ns on */
    uint32_t limit, spans_per_spanset, deadline_ms, intervals, exemplars;
    bool any_scope;
    struct trace_id *ids; /* asked for, or excluded (ascending) */
    uint32_t id_count;
    struct engine_tag *tags;
    uint32_t tag_count;
};

MUST_CHECK enum err query_message_read(uint16_t method, struct slice bytes, struct arena *a,
                                       struct query_message *ret);
/* Coverage as field `field` of an answer. */
void query_message_coverage(struct buf *out, uint32_t field, struct slice instance_id,
                            const struct view *v);

#endif
