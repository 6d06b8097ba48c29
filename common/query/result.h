/*
 * result.h - answers of the query engine, as they travel between processes and out to clients.
 *
 * Memory:  everything lives in the arena of the query.
 * Source:  tempo.proto field names and numbers (TraceSearchMetadata, SpanSet, Span, ServiceStats, SearchMetrics); contract.md 1.4, 8.1.
 */
#ifndef VIVACE_QUERY_RESULT_H
#define VIVACE_QUERY_RESULT_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/trace_id.h"
#include "common/model/value.h"

struct result_attribute {
    struct slice key;
    struct value value;
};

struct result_span {
    struct span_id id;
    struct slice name; /* empty: not asked for */
    uint64_t start_ns, duration_ns;
    struct result_attribute *attributes;
    uint32_t attribute_count;
};

struct result_spanset {
    struct result_span *spans; /* at most spss */
    uint32_t span_count, matched;
    struct result_attribute *attributes; /* by(...), count() ... in pipeline order */
    uint32_t attribute_count;
};

struct result_service {
    struct slice name;
    uint32_t span_count, error_count;
};

struct result_trace {
    struct trace_id id;
    struct slice root_service,
        root_name;                   /* root_service "<root span not yet received>" when unknown */
    uint64_t start_ns, duration_ns;  /* of the whole trace */
    struct result_spanset *spansets; /* none for a search without a query */
    uint32_t spanset_count;
    struct result_service *services;
    uint32_t service_count;
};

struct result_stats {
    uint64_t inspected_traces, inspected_bytes, inspected_spans;
    uint32_t total_blocks, total_jobs, completed_jobs;
    uint64_t total_block_bytes;
};

/* How traces stand when not newest first: by the greatest (is_descending) or least value that their spansets have as `key`, which order_by() or
 * top() left there; traces without one last; the newest first among equals. */
struct result_order {
    struct slice key; /* empty: newest first */
    bool is_descending;
};

struct search_result {
    struct result_trace *traces; /* newest start first, then by id; or by a result_order */
    uint32_t trace_count;
    bool is_cut; /* there were more than the limit */
    struct result_stats stats;
};

struct tag_names {
    struct slice *names
        [5]; /* per scope: span, resource, event, link, instrumentation (order of enum result_tag_scope) */
    uint32_t counts[5];
    struct result_stats stats;
};
enum result_tag_scope {
    TAGS_SPAN,
    TAGS_RESOURCE,
    TAGS_EVENT,
    TAGS_LINK,
    TAGS_INSTRUMENTATION,
    TAGS_SCOPE_COUNT
};

struct tag_values {
    struct value *values; /* distinct by type and value */
    uint32_t count;
    bool is_cut;
    struct result_stats stats;
};

/* Between our processes: protobuf (proto/query.proto).  What is unpacked lives in the arena. */
void result_value_pack(struct buf *out, uint32_t field, struct value v);
MUST_CHECK enum err result_value_unpack(struct arena *a, struct slice message, struct value *ret);
void result_attributes_pack(struct buf *out, uint32_t field, const struct result_attribute *list,
                            uint32_t count);
MUST_CHECK enum err result_attribute_unpack(struct arena *a, struct slice message,
                                            struct result_attribute *ret);
void search_result_pack(struct buf *out, const struct search_result *r);
MUST_CHECK enum err search_result_unpack(struct arena *a, struct slice bytes,
                                         struct search_result *ret);
void tag_names_pack(struct buf *out, const struct tag_names *r);
MUST_CHECK enum err tag_names_unpack(struct arena *a, struct slice bytes, struct tag_names *ret);
void tag_values_pack(struct buf *out, const struct tag_values *r);
MUST_CHECK enum err tag_values_unpack(struct arena *a, struct slice bytes, struct tag_values *ret);

/* The better one of two values to stand for a trace; and their order, nil last. */
struct value result_order_best(const struct result_order *o, struct value a, struct value b);
int result_order_values(const struct result_order *o, struct value a, struct value b);
/* The value of a spanset with these attributes; nil when it has none. */
struct value result_order_value(const struct result_order *o, const struct result_attribute *list,
                                uint32_t count);

/* Union of several places' answers; the first `limit` in this order.  A trace found twice: earliest start, longest duration, real root
 * names before the placeholder, per-service maximum, spansets with equal by() attributes: the larger `matched`. */
MUST_CHECK enum err search_result_merge(struct arena *a, const struct search_result *parts,
                                        uint32_t part_count, const struct result_order *order,
                                        uint32_t limit, struct search_result *ret);
/* Union, sorted; at most `limit` (0: no limit) names per scope / values, at most bytes_max of text (0: no limit). */
MUST_CHECK enum err tag_names_merge(struct arena *a, const struct tag_names *parts,
                                    uint32_t part_count, uint32_t limit, struct tag_names *ret);
MUST_CHECK enum err tag_values_merge(struct arena *a, const struct tag_values *parts,
                                     uint32_t part_count, uint32_t limit, uint64_t bytes_max,
                                     struct tag_values *ret);

#endif
