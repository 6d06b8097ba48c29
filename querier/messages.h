/*
 * messages.h - requests to and answers from ingesters' query lanes (proto/query.proto), written and read on the wire.
 *
 * Memory:  what is read lives in the arena or borrows the answer's bytes (said per function).
 * Errors:  ERR_CORRUPT for an answer that does not parse.
 */
#ifndef VIVACE_QUERIER_MESSAGES_H
#define VIVACE_QUERIER_MESSAGES_H

#include "common/query/engine.h"
#include "common/query/metrics_query.h"
#include "querier/blocks.h"

void messages_trace_request(struct buf *out, struct slice tenant, const struct trace_id *ids,
                            uint32_t id_count);
void messages_search_request(struct buf *out, struct slice tenant, struct slice query,
                             const struct engine_query *q, int64_t timeout_ns);
void messages_flagged_request(struct buf *out, struct slice tenant, uint64_t start_ns,
                              uint64_t end_ns);
void messages_tag_names_request(struct buf *out, struct slice tenant, struct slice filter,
                                uint64_t start_ns, uint64_t end_ns);
void messages_tag_values_request(struct buf *out, struct slice tenant, struct slice tag,
                                 bool any_scope, struct slice filter, uint64_t start_ns,
                                 uint64_t end_ns, uint32_t limit);
void messages_metrics_request(struct buf *out, struct slice tenant, struct slice query,
                              const struct metrics_window *w, uint32_t exemplars,
                              const struct trace_id *exclude, uint32_t exclude_count,
                              int64_t timeout_ns);

/* Coverage is field `field` of an answer; slices borrow it. */
MUST_CHECK enum err messages_coverage(struct arena *a, struct slice answer, uint32_t field,
                                      struct blocks_coverage *ret);
/* The bytes fields number `field`, in order, empty ones too. */
MUST_CHECK enum err messages_repeated(struct arena *a, struct slice answer, uint32_t field,
                                      struct slice **ret, uint32_t *ret_count);

enum {
    MESSAGES_TRACE_COVERAGE = 1,
    MESSAGES_FLAGGED_COVERAGE = 1,
    MESSAGES_RESULT_COVERAGE = 4,
    MESSAGES_NAMES_COVERAGE = 3,
    MESSAGES_METRICS_COVERAGE = 2,
    MESSAGES_METRICS_PARTS = 1,
    MESSAGES_TRACE_TRACES = 2,
    MESSAGES_FLAGGED_IDS = 2
};

#endif
