#include "querier/trace_json.h"

#include "common/codec/otlp.h"

enum { VALUE_DEPTH_MAX = 70 }; /* otlp_check lets 64 in */

static void value_write(struct json_out *j, struct slice any_value, unsigned depth);

static void attribute_write(struct json_out *j, struct slice keyvalue, unsigned depth)
{
    struct otlp_value value;
    struct slice key;

    otlp_keyvalue_parse(keyvalue, &key, &value);
    json_out_begin_object(j);
    json_out_key(j, "key");
    json_out_string(j, key);
    json_out_key(j, "value");
    value_write(j, value.raw, depth);
    json_out_end_object(j);
}

/* A list of sub-messages under `name`; nothing is written when there are none. */
typedef void item_write(struct json_out *j, struct slice body, unsigned depth);

static void list_write(struct json_out *j, const char *name, struct slice message, uint32_t field,
                       item_write *write, unsigned depth)
{
    struct otlp_field_iter it;
    struct slice body;
    bool any = false;

    for (otlp_fields_init(&it, message, field); otlp_next_field(&it, &body); any = true) {
        if (!any) {
            json_out_key(j, name);
            json_out_begin_array(j);
        }
        write(j, body, depth);
    }
    if (any)
        json_out_end_array(j);
}

static void attributes_write(struct json_out *j, struct slice message, uint32_t field)
{
    list_write(j, "attributes", message, field, attribute_write, 0);
}

static void values_write(struct json_out *j, const char *name, struct slice body, item_write *write,
                         unsigned depth)
{
    json_out_key(j, name);
    json_out_begin_object(j);
    list_write(j, "values", body, 1, write, depth + 1);
    json_out_end_object(j);
}

static void value_write(struct json_out *j, struct slice any_value, unsigned depth)
{
    struct otlp_value v = {.kind = OTLP_EMPTY};

    if (depth < VALUE_DEPTH_MAX)
        otlp_value_parse(any_value, &v);
    json_out_begin_object(j);
    switch (v.kind) {
    case OTLP_EMPTY: break;
    case OTLP_STR:
        json_out_key(j, "stringValue");
        json_out_string(j, v.bytes);
        break;
    case OTLP_BOOL:
        json_out_key(j, "boolValue");
        json_out_bool(j, v.i != 0);
        break;
    case OTLP_INT:
        json_out_key(j, "intValue");
        json_out_i64_text(j, v.i);
        break;
    case OTLP_DOUBLE:
        json_out_key(j, "doubleValue");
        json_out_double(j, v.d);
        break;
    case OTLP_ARRAY: values_write(j, "arrayValue", v.bytes, value_write, depth); break;
    case OTLP_KVLIST: values_write(j, "kvlistValue", v.bytes, attribute_write, depth); break;
    case OTLP_BYTES:
        json_out_key(j, "bytesValue");
        json_out_base64(j, v.bytes);
        break;
    }
    json_out_end_object(j);
}

static void text_field(struct json_out *j, const char *name, struct slice s)
{
    if (s.len != 0) {
        json_out_key(j, name);
        json_out_string(j, s);
    }
}

static void base64_field(struct json_out *j, const char *name, struct slice s)
{
    if (s.len != 0) {
        json_out_key(j, name);
        json_out_base64(j, s);
    }
}

static void u32_field(struct json_out *j, const char *name, uint32_t v)
{
    if (v != 0) {
        json_out_key(j, name);
        json_out_u64(j, v);
    }
}

static void time_field(struct json_out *j, const char *name, uint64_t ns)
{
    if (ns != 0) {
        json_out_key(j, name);
        json_out_u64_text(j, ns);
    }
}

/* An enum's name; a number outside the enum is written as a number. */
static void enum_field(struct json_out *j, const char *name, const char *const *names,
                       uint32_t count, uint32_t v)
{
    if (v == 0)
        return;
    json_out_key(j, name);
    if (v < count)
        json_out_cstring(j, names[v]);
    else
        json_out_u64(j, v);
}

static void event_write(struct json_out *j, struct slice body, unsigned depth)
{
    struct otlp_event e;

    (void)depth;
    otlp_event_parse(body, &e);
    json_out_begin_object(j);
    time_field(j, "timeUnixNano", e.time_ns);
    text_field(j, "name", e.name);
    attributes_write(j, body, OTLP_EVENT_ATTRIBUTES);
    u32_field(j, "droppedAttributesCount", e.dropped_attributes);
    json_out_end_object(j);
}

static void link_write(struct json_out *j, struct slice body, unsigned depth)
{
    struct otlp_link l;

    (void)depth;
    otlp_link_parse(body, &l);
    json_out_begin_object(j);
    base64_field(j, "traceId", l.trace_id);
    base64_field(j, "spanId", l.span_id);
    text_field(j, "traceState", l.trace_state);
    attributes_write(j, body, OTLP_LINK_ATTRIBUTES);
    u32_field(j, "droppedAttributesCount", l.dropped_attributes);
    u32_field(j, "flags", l.flags);
    json_out_end_object(j);
}

static void status_write(struct json_out *j, const struct otlp_span *s)
{
    static const char *const codes[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};

    if (!s->has_status)
        return;
    json_out_key(j, "status");
    json_out_begin_object(j);
    text_field(j, "message", s->status_message);
    enum_field(j, "code", codes, 3, s->status);
    json_out_end_object(j);
}

static void span_write(struct json_out *j, struct slice body)
{
    static const char *const kinds[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
                                        "SPAN_KIND_SERVER",      "SPAN_KIND_CLIENT",
                                        "SPAN_KIND_PRODUCER",    "SPAN_KIND_CONSUMER"};
    struct otlp_span s;

    otlp_span_parse(body, &s);
    json_out_begin_object(j);
    base64_field(j, "traceId", s.trace_id);
    base64_field(j, "spanId", s.span_id);
    text_field(j, "traceState", s.trace_state);
    base64_field(j, "parentSpanId", s.parent_span_id);
    u32_field(j, "flags", s.flags);
    text_field(j, "name", s.name);
    enum_field(j, "kind", kinds, 6, s.kind);
    time_field(j, "startTimeUnixNano", s.start_ns);
    time_field(j, "endTimeUnixNano", s.end_ns);
    attributes_write(j, body, OTLP_SPAN_ATTRIBUTES);
    u32_field(j, "droppedAttributesCount", s.dropped_attributes);
    list_write(j, "events", body, OTLP_SPAN_EVENTS, event_write, 0);
    u32_field(j, "droppedEventsCount", s.dropped_events);
    list_write(j, "links", body, OTLP_SPAN_LINKS, link_write, 0);
    u32_field(j, "droppedLinksCount", s.dropped_links);
    status_write(j, &s);
    json_out_end_object(j);
}

/* dropped_attributes_count is field 2 of Resource. */
static uint32_t resource_dropped(struct slice resource)
{
    struct reader r = reader_of(resource);
    uint64_t dropped = 0;

    while (!reader_done(&r)) {
        uint64_t tag = reader_varint(&r), v = 0;
        switch (tag & 7) {
        case 0: v = reader_varint(&r); break;
        case 1: (void)reader_take(&r, 8); break;
        case 2: (void)reader_bytes(&r); break;
        case 5: (void)reader_take(&r, 4); break;
        default: reader_fail(&r); break;
        }
        if (tag == (2 << 3))
            dropped = v;
    }
    return (uint32_t)dropped;
}

/* An empty service.name is not shown: as recorded from Tempo (protobuf answers keep it). */
static bool is_shown(struct slice keyvalue)
{
    struct otlp_value value;
    struct slice key;

    otlp_keyvalue_parse(keyvalue, &key, &value);
    return !slice_eq_str(key, "service.name") || value.kind != OTLP_STR || value.bytes.len != 0;
}

static void resource_attributes_write(struct json_out *j, struct slice resource)
{
    struct otlp_field_iter it;
    struct slice keyvalue;
    bool any = false;

    for (otlp_fields_init(&it, resource, OTLP_RESOURCE_ATTRIBUTES);
         otlp_next_field(&it, &keyvalue);) {
        if (!is_shown(keyvalue))
            continue;
        if (!any) {
            json_out_key(j, "attributes");
            json_out_begin_array(j);
        }
        attribute_write(j, keyvalue, 0);
        any = true;
    }
    if (any)
        json_out_end_array(j);
}

static void resource_open(struct json_out *j, struct slice resource)
{
    json_out_begin_object(j);
    json_out_key(j, "resource");
    json_out_begin_object(j);
    resource_attributes_write(j, resource);
    u32_field(j, "droppedAttributesCount", resource_dropped(resource));
    json_out_end_object(j);
    json_out_key(j, "scopeSpans");
    json_out_begin_array(j);
}

static void scope_open(struct json_out *j, struct slice scope)
{
    struct otlp_scope s;

    otlp_scope_parse(scope, &s);
    json_out_begin_object(j);
    json_out_key(j, "scope");
    json_out_begin_object(j);
    text_field(j, "name", s.name);
    text_field(j, "version", s.version);
    attributes_write(j, scope, OTLP_SCOPE_ATTRIBUTES);
    u32_field(j, "droppedAttributesCount", s.dropped_attributes);
    json_out_end_object(j);
    json_out_key(j, "spans");
    json_out_begin_array(j);
}

/* Ends the list of a resource's scopes or a scope's spans, and its object. */
static void group_close(struct json_out *j, struct slice schema_url)
{
    json_out_end_array(j);
    text_field(j, "schemaUrl", schema_url);
    json_out_end_object(j);
}

void trace_json_write(struct json_out *j, struct slice otlp)
{
    struct otlp_iter it, last = {0};
    struct slice span;
    bool is_open = false;

    json_out_begin_array(j);
    otlp_iter_init(&it, otlp);
    while (otlp_next_span(&it, &span)) {
        bool is_new_resource = !is_open || it.resource_seq != last.resource_seq;
        bool is_new_scope = is_new_resource || it.scope_seq != last.scope_seq;
        if (is_open && is_new_scope)
            group_close(j, last.scope_schema_url);
        if (is_open && is_new_resource)
            group_close(j, last.resource_schema_url);
        if (is_new_resource)
            resource_open(j, it.resource);
        if (is_new_scope)
            scope_open(j, it.scope);
        span_write(j, span);
        last = it;
        is_open = true;
    }
    if (is_open) {
        group_close(j, last.scope_schema_url);
        group_close(j, last.resource_schema_url);
    }
    json_out_end_array(j);
}
