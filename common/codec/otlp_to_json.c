#include "common/codec/otlp_to_json.h"

#include "common/codec/otlp.h"

enum { VALUE_DEPTH_MAX = 70 /* otlp_check lets 64 in */, ID_BYTES_MAX = 64 };

struct to_json {
    struct json_out *j;
    enum otlp_to_json_form form;
};

static void value_write(struct to_json *w, struct slice any_value, unsigned depth);

static void attribute_write(struct to_json *w, struct slice keyvalue, unsigned depth)
{
    struct otlp_value value;
    struct slice key;

    otlp_keyvalue_parse(keyvalue, &key, &value);
    json_out_begin_object(w->j);
    json_out_key(w->j, "key");
    json_out_string(w->j, key);
    json_out_key(w->j, "value");
    value_write(w, value.raw, depth);
    json_out_end_object(w->j);
}

/* A list of sub-messages under `name`; nothing is written when there are none. */
typedef void item_write(struct to_json *w, struct slice body, unsigned depth);

static void list_write(struct to_json *w, const char *name, struct slice message, uint32_t field,
                       item_write *write, unsigned depth)
{
    struct otlp_field_iter it;
    struct slice body;
    bool any = false;

    for (otlp_fields_init(&it, message, field); otlp_next_field(&it, &body); any = true) {
        if (!any) {
            json_out_key(w->j, name);
            json_out_begin_array(w->j);
        }
        write(w, body, depth);
    }
    if (any)
        json_out_end_array(w->j);
}

static void attributes_write(struct to_json *w, struct slice message, uint32_t field)
{
    list_write(w, "attributes", message, field, attribute_write, 0);
}

static void values_write(struct to_json *w, const char *name, struct slice body, item_write *write,
                         unsigned depth)
{
    json_out_key(w->j, name);
    json_out_begin_object(w->j);
    list_write(w, "values", body, 1, write, depth + 1);
    json_out_end_object(w->j);
}

static void value_write(struct to_json *w, struct slice any_value, unsigned depth)
{
    struct otlp_value v = {.kind = OTLP_EMPTY};

    if (depth < VALUE_DEPTH_MAX)
        otlp_value_parse(any_value, &v);
    json_out_begin_object(w->j);
    switch (v.kind) {
    case OTLP_EMPTY: break;
    case OTLP_STR:
        json_out_key(w->j, "stringValue");
        json_out_string(w->j, v.bytes);
        break;
    case OTLP_BOOL:
        json_out_key(w->j, "boolValue");
        json_out_bool(w->j, v.i != 0);
        break;
    case OTLP_INT:
        json_out_key(w->j, "intValue");
        json_out_i64_text(w->j, v.i);
        break;
    case OTLP_DOUBLE:
        json_out_key(w->j, "doubleValue");
        json_out_double(w->j, v.d);
        break;
    case OTLP_ARRAY: values_write(w, "arrayValue", v.bytes, value_write, depth); break;
    case OTLP_KVLIST: values_write(w, "kvlistValue", v.bytes, attribute_write, depth); break;
    case OTLP_BYTES:
        json_out_key(w->j, "bytesValue");
        json_out_base64(w->j, v.bytes);
        break;
    }
    json_out_end_object(w->j);
}

static void text_field(struct to_json *w, const char *name, struct slice s)
{
    if (s.len != 0) {
        json_out_key(w->j, name);
        json_out_string(w->j, s);
    }
}

static void id_field(struct to_json *w, const char *name, struct slice s)
{
    if (s.len == 0)
        return;
    json_out_key(w->j, name);
    if (w->form == OTLP_TO_JSON_TEMPO) {
        json_out_base64(w->j, s);
        return;
    }
    char hex[2 * ID_BYTES_MAX + 1];
    hex_encode(slice_sub(s, 0, ID_BYTES_MAX), hex);
    json_out_cstring(w->j, hex);
}

static void u32_field(struct to_json *w, const char *name, uint32_t v)
{
    if (v != 0) {
        json_out_key(w->j, name);
        json_out_u64(w->j, v);
    }
}

static void time_field(struct to_json *w, const char *name, uint64_t ns)
{
    if (ns != 0) {
        json_out_key(w->j, name);
        json_out_u64_text(w->j, ns);
    }
}

/* An enum's name; a number outside the enum is written as a number, as OTLP/JSON wants all of them. */
static void enum_field(struct to_json *w, const char *name, const char *const *names,
                       uint32_t count, uint32_t v)
{
    if (v == 0)
        return;
    json_out_key(w->j, name);
    if (v < count && w->form == OTLP_TO_JSON_TEMPO)
        json_out_cstring(w->j, names[v]);
    else if (w->form == OTLP_TO_JSON_TEMPO)
        json_out_u64(w->j, v);
    else
        json_out_i64(w->j, (int32_t)v);
}

static void event_write(struct to_json *w, struct slice body, unsigned depth)
{
    struct otlp_event e;

    (void)depth;
    otlp_event_parse(body, &e);
    json_out_begin_object(w->j);
    time_field(w, "timeUnixNano", e.time_ns);
    text_field(w, "name", e.name);
    attributes_write(w, body, OTLP_EVENT_ATTRIBUTES);
    u32_field(w, "droppedAttributesCount", e.dropped_attributes);
    json_out_end_object(w->j);
}

static void link_write(struct to_json *w, struct slice body, unsigned depth)
{
    struct otlp_link l;

    (void)depth;
    otlp_link_parse(body, &l);
    json_out_begin_object(w->j);
    id_field(w, "traceId", l.trace_id);
    id_field(w, "spanId", l.span_id);
    text_field(w, "traceState", l.trace_state);
    attributes_write(w, body, OTLP_LINK_ATTRIBUTES);
    u32_field(w, "droppedAttributesCount", l.dropped_attributes);
    u32_field(w, "flags", l.flags);
    json_out_end_object(w->j);
}

static void status_write(struct to_json *w, const struct otlp_span *s)
{
    static const char *const codes[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};

    if (!s->has_status)
        return;
    json_out_key(w->j, "status");
    json_out_begin_object(w->j);
    text_field(w, "message", s->status_message);
    enum_field(w, "code", codes, 3, s->status);
    json_out_end_object(w->j);
}

static void span_write(struct to_json *w, struct slice body)
{
    static const char *const kinds[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
                                        "SPAN_KIND_SERVER",      "SPAN_KIND_CLIENT",
                                        "SPAN_KIND_PRODUCER",    "SPAN_KIND_CONSUMER"};
    struct otlp_span s;

    otlp_span_parse(body, &s);
    json_out_begin_object(w->j);
    id_field(w, "traceId", s.trace_id);
    id_field(w, "spanId", s.span_id);
    text_field(w, "traceState", s.trace_state);
    id_field(w, "parentSpanId", s.parent_span_id);
    u32_field(w, "flags", s.flags);
    text_field(w, "name", s.name);
    enum_field(w, "kind", kinds, 6, s.kind);
    time_field(w, "startTimeUnixNano", s.start_ns);
    time_field(w, "endTimeUnixNano", s.end_ns);
    attributes_write(w, body, OTLP_SPAN_ATTRIBUTES);
    u32_field(w, "droppedAttributesCount", s.dropped_attributes);
    list_write(w, "events", body, OTLP_SPAN_EVENTS, event_write, 0);
    u32_field(w, "droppedEventsCount", s.dropped_events);
    list_write(w, "links", body, OTLP_SPAN_LINKS, link_write, 0);
    u32_field(w, "droppedLinksCount", s.dropped_links);
    status_write(w, &s);
    json_out_end_object(w->j);
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

/* Tempo does not show an empty service.name, as recorded (its protobuf answers keep it). */
static bool is_shown(const struct to_json *w, struct slice keyvalue)
{
    struct otlp_value value;
    struct slice key;

    if (w->form != OTLP_TO_JSON_TEMPO)
        return true;
    otlp_keyvalue_parse(keyvalue, &key, &value);
    return !slice_eq_str(key, "service.name") || value.kind != OTLP_STR || value.bytes.len != 0;
}

static void resource_attributes_write(struct to_json *w, struct slice resource)
{
    struct otlp_field_iter it;
    struct slice keyvalue;
    bool any = false;

    for (otlp_fields_init(&it, resource, OTLP_RESOURCE_ATTRIBUTES);
         otlp_next_field(&it, &keyvalue);) {
        if (!is_shown(w, keyvalue))
            continue;
        if (!any) {
            json_out_key(w->j, "attributes");
            json_out_begin_array(w->j);
        }
        attribute_write(w, keyvalue, 0);
        any = true;
    }
    if (any)
        json_out_end_array(w->j);
}

static void resource_open(struct to_json *w, struct slice resource)
{
    json_out_begin_object(w->j);
    json_out_key(w->j, "resource");
    json_out_begin_object(w->j);
    resource_attributes_write(w, resource);
    u32_field(w, "droppedAttributesCount", resource_dropped(resource));
    json_out_end_object(w->j);
    json_out_key(w->j, "scopeSpans");
    json_out_begin_array(w->j);
}

static void scope_open(struct to_json *w, struct slice scope)
{
    struct otlp_scope s;

    otlp_scope_parse(scope, &s);
    json_out_begin_object(w->j);
    json_out_key(w->j, "scope");
    json_out_begin_object(w->j);
    text_field(w, "name", s.name);
    text_field(w, "version", s.version);
    attributes_write(w, scope, OTLP_SCOPE_ATTRIBUTES);
    u32_field(w, "droppedAttributesCount", s.dropped_attributes);
    json_out_end_object(w->j);
    json_out_key(w->j, "spans");
    json_out_begin_array(w->j);
}

/* Ends the list of a resource's scopes or a scope's spans, and its object. */
static void group_close(struct to_json *w, struct slice schema_url)
{
    json_out_end_array(w->j);
    text_field(w, "schemaUrl", schema_url);
    json_out_end_object(w->j);
}

void otlp_to_json_write(struct json_out *j, struct slice otlp, enum otlp_to_json_form form)
{
    struct to_json writer = {j, form}, *w = &writer;
    struct otlp_iter it, last = {0};
    struct slice span;
    bool is_open = false;

    json_out_begin_array(w->j);
    otlp_iter_init(&it, otlp);
    while (otlp_next_span(&it, &span)) {
        bool is_new_resource = !is_open || it.resource_seq != last.resource_seq;
        bool is_new_scope = is_new_resource || it.scope_seq != last.scope_seq;
        if (is_open && is_new_scope)
            group_close(w, last.scope_schema_url);
        if (is_open && is_new_resource)
            group_close(w, last.resource_schema_url);
        if (is_new_resource)
            resource_open(w, it.resource);
        if (is_new_scope)
            scope_open(w, it.scope);
        span_write(w, span);
        last = it;
        is_open = true;
    }
    if (is_open) {
        group_close(w, last.scope_schema_url);
        group_close(w, last.resource_schema_url);
    }
    json_out_end_array(w->j);
}

void otlp_to_json_value(struct json_out *j, struct slice any_value, enum otlp_to_json_form form)
{
    struct to_json w = {j, form};

    value_write(&w, any_value, 0);
}
