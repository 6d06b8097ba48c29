/* Spans as lines of JSON, one each, with the same keys in every line: for what reads tables. */
#include "common/codec/otlp.h"
#include "common/codec/otlp_to_json.h"
#include "common/tool/tool.h"

#include <math.h>

enum { REQUEST_SPANS = 1000, ID_BYTES_MAX = 64 };

static void text(struct json_out *j, const char *key, struct slice s)
{
    json_out_key(j, key);
    json_out_string(j, s);
}

static void number(struct json_out *j, const char *key, uint64_t v)
{
    json_out_key(j, key);
    json_out_u64(j, v);
}

static void id(struct json_out *j, const char *key, struct slice s)
{
    char hex[2 * ID_BYTES_MAX + 1];

    hex_encode(slice_sub(s, 0, ID_BYTES_MAX), hex);
    json_out_key(j, key);
    json_out_cstring(j, hex);
}

/* A value stands under the name of its type; what has no plain JSON (arrays, maps, bytes, NaN) is the text of its OTLP JSON. */
static enum err attribute(struct tool *t, struct json_out *j, struct slice keyvalue)
{
    struct otlp_value v;
    struct slice key;
    struct json_out inner;
    struct buf json;

    otlp_keyvalue_parse(keyvalue, &key, &v);
    json_out_begin_object(j);
    text(j, "key", key);
    if (v.kind == OTLP_STR) {
        text(j, "string", v.bytes);
    } else if (v.kind == OTLP_BOOL) {
        json_out_key(j, "bool");
        json_out_bool(j, v.i != 0);
    } else if (v.kind == OTLP_INT) {
        json_out_key(j, "int");
        json_out_i64(j, v.i);
    } else if (v.kind == OTLP_DOUBLE && isfinite(v.d)) {
        json_out_key(j, "double");
        json_out_double(j, v.d);
    } else {
        buf_init(&json, t->out.len_max);
        json_out_init(&inner, &json);
        otlp_to_json_value(&inner, v.raw, OTLP_TO_JSON_OTLP);
        text(j, "json", buf_slice(&json));
        enum err e = buf_err(&json);
        buf_release(&json);
        if (e != ERR_OK)
            return e;
    }
    json_out_end_object(j);
    return ERR_OK;
}

static enum err attributes(struct tool *t, struct json_out *j, const char *name,
                           struct slice message, uint32_t field)
{
    struct otlp_field_iter it;
    struct slice body;
    enum err e = ERR_OK;

    json_out_key(j, name);
    json_out_begin_array(j);
    for (otlp_fields_init(&it, message, field); e == ERR_OK && otlp_next_field(&it, &body);)
        e = attribute(t, j, body);
    json_out_end_array(j);
    return e;
}

static enum err events(struct tool *t, struct json_out *j, struct slice span)
{
    struct otlp_field_iter it;
    struct slice body;
    enum err e = ERR_OK;

    json_out_key(j, "events");
    json_out_begin_array(j);
    for (otlp_fields_init(&it, span, OTLP_SPAN_EVENTS);
         e == ERR_OK && otlp_next_field(&it, &body);) {
        struct otlp_event event;
        otlp_event_parse(body, &event);
        json_out_begin_object(j);
        number(j, "timeUnixNano", event.time_ns);
        text(j, "name", event.name);
        e = attributes(t, j, "attributes", body, OTLP_EVENT_ATTRIBUTES);
        number(j, "droppedAttributes", event.dropped_attributes);
        json_out_end_object(j);
    }
    json_out_end_array(j);
    return e;
}

static enum err links(struct tool *t, struct json_out *j, struct slice span)
{
    struct otlp_field_iter it;
    struct slice body;
    enum err e = ERR_OK;

    json_out_key(j, "links");
    json_out_begin_array(j);
    for (otlp_fields_init(&it, span, OTLP_SPAN_LINKS);
         e == ERR_OK && otlp_next_field(&it, &body);) {
        struct otlp_link link;
        otlp_link_parse(body, &link);
        json_out_begin_object(j);
        id(j, "traceId", link.trace_id);
        id(j, "spanId", link.span_id);
        text(j, "traceState", link.trace_state);
        number(j, "flags", link.flags);
        e = attributes(t, j, "attributes", body, OTLP_LINK_ATTRIBUTES);
        number(j, "droppedAttributes", link.dropped_attributes);
        json_out_end_object(j);
    }
    json_out_end_array(j);
    return e;
}

static enum err line(struct tool *t, const char *tenant, const struct otlp_iter *it,
                     struct slice body)
{
    struct json_out j;
    struct otlp_span s;
    struct otlp_scope scope;
    struct otlp_value service = {.kind = OTLP_EMPTY};

    otlp_span_parse(body, &s);
    otlp_scope_parse(it->scope, &scope);
    bool has_service =
        otlp_find(it->resource, OTLP_RESOURCE_ATTRIBUTES, SLICE_LIT("service.name"), &service) &&
        service.kind == OTLP_STR;
    json_out_init(&j, &t->out);
    json_out_begin_object(&j);
    text(&j, "tenant", slice_str(tenant));
    id(&j, "traceId", s.trace_id);
    id(&j, "spanId", s.span_id);
    id(&j, "parentSpanId", s.parent_span_id);
    text(&j, "service", has_service ? service.bytes : SLICE_NONE);
    text(&j, "name", s.name);
    number(&j, "kind", s.kind);
    number(&j, "status", s.status);
    text(&j, "statusMessage", s.status_message);
    number(&j, "startUnixNano", s.start_ns);
    number(&j, "endUnixNano", s.end_ns);
    text(&j, "traceState", s.trace_state);
    number(&j, "flags", s.flags);
    enum err e = attributes(t, &j, "attributes", body, OTLP_SPAN_ATTRIBUTES);
    if (e == ERR_OK)
        e = attributes(t, &j, "resource", it->resource, OTLP_RESOURCE_ATTRIBUTES);
    text(&j, "resourceSchemaUrl", it->resource_schema_url);
    text(&j, "scopeName", scope.name);
    text(&j, "scopeVersion", scope.version);
    if (e == ERR_OK)
        e = attributes(t, &j, "scope", it->scope, OTLP_SCOPE_ATTRIBUTES);
    text(&j, "scopeSchemaUrl", it->scope_schema_url);
    if (e == ERR_OK)
        e = events(t, &j, body);
    if (e == ERR_OK)
        e = links(t, &j, body);
    number(&j, "droppedAttributes", s.dropped_attributes);
    number(&j, "droppedEvents", s.dropped_events);
    number(&j, "droppedLinks", s.dropped_links);
    json_out_end_object(&j);
    buf_append_byte(&t->out, '\n');
    return e == ERR_OK ? tool_out_flush(t, false) : e;
}

struct export
{
    struct tool *t;
    const struct tool_block *at;
    uint64_t from, to;
    struct buf otlp;
};

static enum err write_rows(struct export *x, struct segment *s, const uint32_t *rows,
                           uint32_t count)
{
    struct otlp_iter it;
    struct slice span;

    buf_reset(&x->otlp);
    enum err e = segment_write_otlp(s, rows, count, &x->otlp);
    otlp_iter_init(&it, buf_slice(&x->otlp));
    while (e == ERR_OK && otlp_next_span(&it, &span))
        e = line(x->t, x->at->tenant, &it, span);
    return e;
}

/* Spans that begin in the window, in pieces. */
static enum err export_group(struct export *x, struct block *b, uint32_t group)
{
    struct segment *s = NULL;
    struct seg_fixed f;
    uint32_t rows[REQUEST_SPANS], count = 0;
    uint64_t first, last;

    block_group_range(b, group, &first, &last);
    if (first >= x->to)
        return ERR_OK;
    enum err e = block_segment(b, group, &x->t->memory, &s);
    if (e == ERR_OK)
        e = segment_fixed(s, SEG_F_START, &f);
    for (uint32_t i = 0; e == ERR_OK && i < s->row_count[SEG_SPAN]; i++) {
        if (f.start_ns[i] >= x->from && f.start_ns[i] < x->to)
            rows[count++] = i;
        if (count == REQUEST_SPANS) {
            e = write_rows(x, s, rows, count);
            count = 0;
        }
    }
    if (e == ERR_OK && count != 0)
        e = write_rows(x, s, rows, count);
    segment_close(s);
    return e;
}

static enum err export_block(struct export *x)
{
    struct block *b = NULL;
    enum err e = tool_block_open(x->t, x->at, &b);

    if (e != ERR_OK)
        return e;
    for (uint32_t g = 0; e == ERR_OK && g < block_group_count(b); g++)
        e = export_group(x, b, g);
    block_unref(b);
    return e == ERR_OK ? ERR_OK
                       : err_detail_set(&x->t->detail, e, "%s/%s can not be read (%s)",
                                        x->at->tenant, x->at->id, err_name(e));
}

enum err tool_export(struct tool *t)
{
    struct export x = {.t = t};
    struct tool_block *all = NULL, one;
    const char *word;
    enum err e = tool_window(t, &x.from, &x.to);

    if (e == ERR_OK)
        e = tool_store(t);
    if (e == ERR_OK && tool_operand(t, 0) == NULL)
        e = tool_blocks(t, &all);
    if (e != ERR_OK)
        return e;
    buf_init(&x.otlp, TOOL_REQUEST_BYTES_MAX);
    for (x.at = all; e == ERR_OK && x.at != NULL; x.at = x.at->next)
        e = export_block(&x);
    for (unsigned i = 0; e == ERR_OK && (word = tool_operand(t, i)) != NULL; i++) {
        e = tool_block_of(t, word, &one);
        x.at = &one;
        if (e == ERR_OK)
            e = export_block(&x);
    }
    buf_release(&x.otlp);
    return e;
}
