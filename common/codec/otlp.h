/*
 * otlp.h - walking OTLP trace requests on the wire: no object per span, slices into the received bytes.
 *
 * Shape:   ExportTraceServiceRequest / TracesData: repeated ResourceSpans(1) > Resource(1), ScopeSpans(2) > Scope(1), Span(2).
 * Memory:  everything borrows the body.
 * Errors:  otlp_check is asked once at the door; the walkers after it stay safe on any bytes but give up silently at damage.
 * Source:  opentelemetry/proto/trace/v1/trace.proto, common/v1/common.proto, resource/v1/resource.proto (field numbers).
 */
#ifndef VIVACE_CODEC_OTLP_H
#define VIVACE_CODEC_OTLP_H

#include "common/base/err.h"
#include "common/base/reader.h"
#include "common/base/slice.h"
#include "common/base/trace_id.h"

struct otlp_limits {
    uint32_t depth_max; /* of AnyValue nesting: 64 */
    uint32_t spans_max; /* a request: 200 000 */
    uint32_t attributes_max, events_max,
        links_max; /* a span: 1 024 each (attributes also per event, link, resource, scope) */
};
extern const struct otlp_limits otlp_limits_default;

/* Proves that the whole request is well formed (wire types of known fields, lengths, depth, counts) before anyone walks it.
 * Errors: ERR_FORMAT, ERR_TOO_LARGE; the detail names the place ("resource_spans[3].scope_spans[0].spans[17].attributes[2]"). */
MUST_CHECK enum err otlp_check(struct slice request, const struct otlp_limits *limits,
                               uint32_t *ret_span_count, struct err_detail *reterr_detail);

/* Iterates the spans of a request.  The four slices and the two counters describe the span last returned;
 * the counters go up when another Resource / Scope message begins. */
struct otlp_iter {
    struct reader request, resource_spans, scope_spans;
    struct slice resource, resource_schema_url, scope,
        scope_schema_url; /* message bodies, may be empty */
    uint32_t resource_seq, scope_seq;
};
void otlp_iter_init(struct otlp_iter *it, struct slice request);
bool otlp_next_span(struct otlp_iter *it, struct slice *ret_span);

/* Span fields other than attributes, events and links.  Sizes are not judged: ids may have any length. */
struct otlp_span {
    struct slice trace_id, span_id, parent_span_id, trace_state, name, status_message;
    uint64_t start_ns, end_ns;
    uint32_t kind;   /* SpanKind 0..5, other numbers kept */
    uint32_t status; /* StatusCode 0 unset, 1 ok, 2 error */
    uint32_t flags, dropped_attributes, dropped_events, dropped_links;
    uint32_t attribute_count, event_count, link_count;
    bool has_status; /* a Status message was present, even if empty */
};
void otlp_span_parse(struct slice span, struct otlp_span *ret);
struct slice
otlp_span_trace_id(struct slice span); /* only that: the cheap way to route; empty when absent */

/* Sub-messages by field number: attributes are field 9 of Span, 1 of Resource, 3 of Scope, 3 of Event, 4 of Link;
 * events are field 11 and links field 13 of Span. */
enum {
    OTLP_SPAN_ATTRIBUTES = 9,
    OTLP_SPAN_EVENTS = 11,
    OTLP_SPAN_LINKS = 13,
    OTLP_RESOURCE_ATTRIBUTES = 1,
    OTLP_SCOPE_ATTRIBUTES = 3,
    OTLP_EVENT_ATTRIBUTES = 3,
    OTLP_LINK_ATTRIBUTES = 4
};
struct otlp_field_iter {
    struct reader at;
    uint32_t field;
};
void otlp_fields_init(struct otlp_field_iter *it, struct slice message, uint32_t field);
bool otlp_next_field(struct otlp_field_iter *it, struct slice *ret_body);

enum otlp_kind {
    OTLP_EMPTY,
    OTLP_STR,
    OTLP_BOOL,
    OTLP_INT,
    OTLP_DOUBLE,
    OTLP_ARRAY,
    OTLP_KVLIST,
    OTLP_BYTES
};
struct otlp_value {
    enum otlp_kind kind;
    struct slice bytes; /* STR, BYTES: the text; ARRAY, KVLIST: that message's body */
    int64_t i;          /* INT, BOOL */
    double d;
    struct slice raw; /* the AnyValue's body as it stood */
};
void otlp_keyvalue_parse(struct slice keyvalue, struct slice *ret_key,
                         struct otlp_value *ret_value);
void otlp_value_parse(struct slice any_value, struct otlp_value *ret_value);
/* The first attribute of this key in a message whose attributes are field `field`; false when there is none. */
bool otlp_find(struct slice message, uint32_t field, struct slice key,
               struct otlp_value *ret_value);

struct otlp_event {
    uint64_t time_ns;
    struct slice name;
    uint32_t dropped_attributes;
};
struct otlp_link {
    struct slice trace_id, span_id, trace_state;
    uint32_t dropped_attributes, flags;
};
struct otlp_scope {
    struct slice name, version;
    uint32_t dropped_attributes;
};
void otlp_event_parse(struct slice event, struct otlp_event *ret);
void otlp_link_parse(struct slice link, struct otlp_link *ret);
void otlp_scope_parse(struct slice scope, struct otlp_scope *ret);

#endif
