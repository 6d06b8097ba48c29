#include "common/codec/otlp.h"
#include "querier/answers.h"

#include <stdlib.h>

enum {
    VALUE_DEPTH_MAX = 70 /* otlp_check lets 64 in */,
    ID_BYTES_MAX = 64,
    TEXT_BYTES_MAX = 1 << 20
};

struct llm {
    struct json_out *j;
    struct arena *a;
};

struct llm_attribute {
    struct slice key;
    struct otlp_value value;
    uint32_t index;
};

static void value_write(struct llm *w, const struct otlp_value *v, unsigned depth);

static int by_key(const void *a, const void *b)
{
    const struct llm_attribute *x = a, *y = b;
    int order = slice_cmp(x->key, y->key);

    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

/* The attributes of a message sorted by key; of several with one key the last. */
static uint32_t attributes_sorted(struct llm *w, struct slice message, uint32_t field,
                                  struct llm_attribute **ret)
{
    struct otlp_field_iter it;
    struct slice keyvalue;
    uint32_t count = 0, kept = 0;

    for (otlp_fields_init(&it, message, field); otlp_next_field(&it, &keyvalue);)
        count++;
    struct llm_attribute *list = ARENA_ARRAY(w->a, struct llm_attribute, count);
    if (list == NULL || count == 0)
        return 0;
    otlp_fields_init(&it, message, field);
    for (uint32_t i = 0; i < count && otlp_next_field(&it, &keyvalue); i++) {
        otlp_keyvalue_parse(keyvalue, &list[i].key, &list[i].value);
        list[i].index = i;
    }
    qsort(list, count, sizeof *list, by_key);
    for (uint32_t i = 0; i < count; i++)
        if (i + 1 == count || !slice_eq(list[i].key, list[i + 1].key))
            list[kept++] = list[i];
    *ret = list;
    return kept;
}

/* {"key":value,...} under `name`; nothing when there is none left. */
static void attributes_write(struct llm *w, const char *name, struct slice message, uint32_t field,
                             const char *key_left_out)
{
    struct llm_attribute *list;
    uint32_t count = attributes_sorted(w, message, field, &list);
    bool any = false;

    for (uint32_t i = 0; i < count; i++) {
        if (key_left_out != NULL && slice_eq_str(list[i].key, key_left_out))
            continue;
        if (!any) {
            json_out_key(w->j, name);
            json_out_begin_object(w->j);
        }
        json_out_key_slice(w->j, list[i].key);
        value_write(w, &list[i].value, 0);
        any = true;
    }
    if (any)
        json_out_end_object(w->j);
}

static void array_write(struct llm *w, struct slice array, unsigned depth)
{
    struct otlp_field_iter it;
    struct otlp_value item;
    struct slice body;

    json_out_begin_array(w->j);
    for (otlp_fields_init(&it, array, 1); otlp_next_field(&it, &body);) {
        otlp_value_parse(body, &item);
        value_write(w, &item, depth + 1);
    }
    json_out_end_array(w->j);
}

static void kvlist_write(struct llm *w, struct slice kvlist, unsigned depth)
{
    struct llm_attribute *list;
    uint32_t count = attributes_sorted(w, kvlist, 1, &list);

    json_out_begin_object(w->j);
    for (uint32_t i = 0; i < count; i++) {
        json_out_key_slice(w->j, list[i].key);
        value_write(w, &list[i].value, depth + 1);
    }
    json_out_end_object(w->j);
}

/* Bytes of any length in hex. */
static void hex_write(struct llm *w, struct slice bytes)
{
    char *hex = ARENA_ARRAY(w->a, char, 2 * bytes.len + 1);

    if (hex == NULL)
        return; /* the arena keeps the error */
    hex_encode(bytes, hex);
    json_out_string(w->j, (struct slice){(const uint8_t *)hex, 2 * bytes.len});
}

static void value_write(struct llm *w, const struct otlp_value *v, unsigned depth)
{
    switch (depth < VALUE_DEPTH_MAX ? v->kind : OTLP_EMPTY) {
    case OTLP_EMPTY: json_out_null(w->j); break;
    case OTLP_STR: json_out_string(w->j, v->bytes); break;
    case OTLP_BOOL: json_out_bool(w->j, v->i != 0); break;
    case OTLP_INT: json_out_i64(w->j, v->i); break;
    case OTLP_DOUBLE: json_out_double(w->j, v->d); break;
    case OTLP_ARRAY: array_write(w, v->bytes, depth); break;
    case OTLP_KVLIST: kvlist_write(w, v->bytes, depth); break;
    case OTLP_BYTES: hex_write(w, v->bytes); break;
    }
}

static void id_field(struct llm *w, const char *name, struct slice id)
{
    json_out_key(w->j, name);
    hex_write(w, slice_sub(id, 0, ID_BYTES_MAX));
}

static void text_field(struct llm *w, const char *name, struct slice s)
{
    if (s.len != 0) {
        json_out_key(w->j, name);
        json_out_string(w->j, s);
    }
}

static void time_field(struct llm *w, const char *name, uint64_t ns)
{
    if (ns != 0) {
        json_out_key(w->j, name);
        json_out_u64_text(w->j, ns);
    }
}

static void event_write(struct llm *w, struct slice body)
{
    struct otlp_event e;

    otlp_event_parse(body, &e);
    json_out_begin_object(w->j);
    json_out_key(w->j, "name");
    json_out_string(w->j, e.name);
    time_field(w, "timeUnixNano", e.time_ns);
    attributes_write(w, "attributes", body, OTLP_EVENT_ATTRIBUTES, NULL);
    json_out_end_object(w->j);
}

static void link_write(struct llm *w, struct slice body)
{
    struct otlp_link l;

    otlp_link_parse(body, &l);
    json_out_begin_object(w->j);
    id_field(w, "traceId", l.trace_id);
    id_field(w, "spanId", l.span_id);
    attributes_write(w, "attributes", body, OTLP_LINK_ATTRIBUTES, NULL);
    json_out_end_object(w->j);
}

static void list_write(struct llm *w, const char *name, struct slice span, uint32_t field,
                       void (*write)(struct llm *w, struct slice body))
{
    struct otlp_field_iter it;
    struct slice body;
    bool any = false;

    for (otlp_fields_init(&it, span, field); otlp_next_field(&it, &body); any = true) {
        if (!any) {
            json_out_key(w->j, name);
            json_out_begin_array(w->j);
        }
        write(w, body);
    }
    if (any)
        json_out_end_array(w->j);
}

/* A status that is not set has no message either. */
static void status_write(struct llm *w, const struct otlp_span *s)
{
    static const char *const codes[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};
    bool is_set = s->status == 1 || s->status == 2;

    json_out_key(w->j, "status");
    json_out_begin_object(w->j);
    json_out_key(w->j, "code");
    json_out_cstring(w->j, codes[is_set ? s->status : 0]);
    json_out_key(w->j, "message");
    json_out_string(w->j, is_set ? s->status_message : SLICE_LIT(""));
    json_out_end_object(w->j);
}

static void span_write(struct llm *w, struct slice body)
{
    static const char *const kinds[] = {NULL,
                                        "SPAN_KIND_INTERNAL",
                                        "SPAN_KIND_SERVER",
                                        "SPAN_KIND_CLIENT",
                                        "SPAN_KIND_PRODUCER",
                                        "SPAN_KIND_CONSUMER"};
    struct otlp_span s;

    otlp_span_parse(body, &s);
    json_out_begin_object(w->j);
    id_field(w, "spanId", s.span_id);
    json_out_key(w->j, "name");
    json_out_string(w->j, s.name);
    if (s.parent_span_id.len != 0)
        id_field(w, "parentSpanId", s.parent_span_id);
    if (s.kind > 0 && s.kind < sizeof kinds / sizeof kinds[0])
        text_field(w, "kind", slice_str(kinds[s.kind]));
    time_field(w, "startTimeUnixNano", s.start_ns);
    time_field(w, "endTimeUnixNano", s.end_ns);
    if (s.start_ns != 0 && s.end_ns > s.start_ns) {
        json_out_key(w->j, "durationMs");
        json_out_double(w->j, (double)(s.end_ns - s.start_ns) / 1e6);
    }
    attributes_write(w, "attributes", body, OTLP_SPAN_ATTRIBUTES, NULL);
    list_write(w, "events", body, OTLP_SPAN_EVENTS, event_write);
    list_write(w, "links", body, OTLP_SPAN_LINKS, link_write);
    status_write(w, &s);
    json_out_end_object(w->j);
}

static void service_open(struct llm *w, struct slice resource)
{
    struct otlp_value name;

    json_out_begin_object(w->j);
    if (otlp_find(resource, OTLP_RESOURCE_ATTRIBUTES, SLICE_LIT("service.name"), &name) &&
        name.kind == OTLP_STR)
        text_field(w, "serviceName", name.bytes);
    attributes_write(w, "resource", resource, OTLP_RESOURCE_ATTRIBUTES, "service.name");
    json_out_key(w->j, "scopes");
    json_out_begin_array(w->j);
}

static void scope_open(struct llm *w, struct slice scope)
{
    struct otlp_scope s;

    otlp_scope_parse(scope, &s);
    json_out_begin_object(w->j);
    text_field(w, "name", s.name);
    text_field(w, "version", s.version);
    json_out_key(w->j, "spans");
    json_out_begin_array(w->j);
}

/* Ends the list of a service's scopes or a scope's spans, and its object. */
static void group_close(struct llm *w)
{
    json_out_end_array(w->j);
    json_out_end_object(w->j);
}

static void services_write(struct llm *w, struct slice otlp)
{
    struct otlp_iter it, last = {0};
    struct slice span;
    bool is_open = false;

    json_out_begin_array(w->j);
    for (otlp_iter_init(&it, otlp); otlp_next_span(&it, &span);) {
        bool is_new_service = !is_open || it.resource_seq != last.resource_seq;
        bool is_new_scope = is_new_service || it.scope_seq != last.scope_seq;
        if (is_open && is_new_scope)
            group_close(w);
        if (is_open && is_new_service)
            group_close(w);
        if (is_new_service)
            service_open(w, it.resource);
        if (is_new_scope)
            scope_open(w, it.scope);
        span_write(w, span);
        last = it;
        is_open = true;
    }
    if (is_open) {
        group_close(w);
        group_close(w);
    }
    json_out_end_array(w->j);
}

void answers_llm_trace(struct buf *out, struct arena *a, struct slice otlp)
{
    struct json_out j;
    struct llm w = {&j, a};
    struct otlp_iter it;
    struct slice span;

    json_out_init(&j, out);
    json_out_begin_object(&j);
    otlp_iter_init(&it, otlp);
    if (otlp_next_span(&it, &span)) {
        json_out_key(&j, "trace");
        json_out_begin_object(&j);
        id_field(&w, "traceId", otlp_span_trace_id(span));
        json_out_key(&j, "services");
        services_write(&w, otlp);
        json_out_end_object(&j);
    }
    json_out_end_object(&j);
}

static void stats_write(struct json_out *j, const struct result_stats *s)
{
    if (s->inspected_bytes == 0)
        return;
    json_out_key(j, "metrics");
    json_out_begin_object(j);
    json_out_key(j, "inspectedBytes");
    json_out_u64(j, s->inspected_bytes);
    json_out_end_object(j);
}

void answers_llm_values(struct buf *out, const struct tag_values *r)
{
    static const char *const types[] = {"bool", "duration", "float", "int", "keyword", "string"};
    struct json_out j;
    struct buf scratch;

    buf_init(&scratch, TEXT_BYTES_MAX);
    json_out_init(&j, out);
    json_out_begin_object(&j);
    json_out_key(&j, "tagValues");
    json_out_begin_object(&j);
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        bool any = false;
        for (uint32_t i = 0; i < r->count; i++) {
            if (strcmp(answers_value_type(r->values[i]), types[t]) != 0)
                continue;
            if (!any) {
                json_out_key(&j, types[t]);
                json_out_begin_array(&j);
            }
            json_out_string(&j, answers_value_text(&scratch, r->values[i]));
            any = true;
        }
        if (any)
            json_out_end_array(&j);
    }
    json_out_end_object(&j);
    stats_write(&j, &r->stats);
    json_out_end_object(&j);
    buf_release(&scratch);
}
