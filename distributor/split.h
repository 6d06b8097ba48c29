/*
 * split.h - one request, cut into parts by who owns each trace.  No span byte is copied: a part is a list of slices of the request and of a
 *           few header bytes.
 *
 * Use:     split_begin walks the request once (ids, resource, scope of each span); split_route may then be called for each kind of peer.
 * Shape:   a part is a whole ExportTraceServiceRequest of at most SPLIT_PART_BYTES (a single larger span goes alone).
 * Memory:  everything lives in the arena and borrows the request.
 * Errors:  spans with bad ids are left out and counted by reason, never an error.
 */
#ifndef VIVACE_DISTRIBUTOR_SPLIT_H
#define VIVACE_DISTRIBUTOR_SPLIT_H

#include "common/base/arena.h"
#include "common/base/trace_id.h"

enum { SPLIT_PART_BYTES = 8 << 20 };
#define SPLIT_NOWHERE UINT32_MAX

enum split_reject { SPLIT_REJECT_TRACE_ID, SPLIT_REJECT_SPAN_ID, SPLIT_REJECT_COUNT };

struct split_part {
    unsigned target; /* index of the peer that owns it */
    uint32_t number; /* 0.. within the request */
    uint32_t span_count;
    struct trace_id first_trace; /* where it goes if the owner fails is decided by this one */
    const struct slice *pieces;
    unsigned piece_count;
    size_t bytes; /* of all pieces */
};

struct split_trace {
    struct trace_id id;
    uint32_t target;
};

struct split_span;
struct split_scope;

struct split {
    struct arena *arena;
    struct slice request;
    struct split_span *spans; /* the good ones, in order */
    uint32_t span_count;
    struct split_scope *scopes;
    uint32_t scope_count;
    struct split_trace *traces;
    uint32_t trace_count;
    uint32_t rejected[SPLIT_REJECT_COUNT];
    size_t first_reject_bits[SPLIT_REJECT_COUNT]; /* length of the first bad id of that kind */
    bool is_first_reject_zero[SPLIT_REJECT_COUNT];
    /* of the last split_route */
    struct split_part *parts;
    uint32_t part_count;
};

/* `span_count` is what otlp_check said.  Errors: ERR_LIMIT, ERR_NOMEM. */
MUST_CHECK enum err split_begin(struct arena *a, struct slice request, uint32_t span_count,
                                struct split *ret);

/* Index of the peer that owns a trace (below 256), or SPLIT_NOWHERE. */
typedef uint32_t split_place_fn(void *arg, struct trace_id id);
/* Errors: ERR_UNAVAILABLE a trace has no owner, ERR_LIMIT, ERR_NOMEM. */
MUST_CHECK enum err split_route(struct split *s, split_place_fn *place, void *arg);

/* For peers of whom none is there: everything is one target's. */
split_place_fn split_place_first;

#endif
