#include "tests/lib/otlp_canon.h"

#include "common/codec/otlp.h"
#include "common/codec/otlp_wire.h"
#include "tests/lib/test.h"

static void put_text(struct buf *b, const char *name, struct slice s)
{
    if (s.len == 0)
        return;
    buf_appendf(b, " %s=", name);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] > ' ' && s.ptr[i] < 0x7f && s.ptr[i] != '\\')
            buf_append_byte(b, s.ptr[i]);
        else
            buf_appendf(b, "\\%02x", s.ptr[i]);
    }
}

static void put_number(struct buf *b, const char *name, uint64_t v)
{
    if (v != 0)
        buf_appendf(b, " %s=%llu", name, (unsigned long long)v);
}

static void put_attributes(struct buf *b, struct slice message, uint32_t field)
{
    struct otlp_field_iter it;
    struct slice body, key;
    struct otlp_value value;
    otlp_fields_init(&it, message, field);
    while (otlp_next_field(&it, &body)) {
        otlp_keyvalue_parse(body, &key, &value);
        put_text(b, "key", key);
        buf_appendf(b, " kind=%d", (int)value.kind);
        put_text(b, "value", value.raw);
    }
}

/* Fields above `max`, and any whose number a byte can not hold where one is expected. */
static void put_unknown(struct buf *b, struct slice message, uint32_t max)
{
    struct reader r = reader_of(message);
    struct wire_field f;
    const uint8_t *from = r.at;
    for (; wire_next(&r, &f); from = r.at)
        if (f.number > max)
            put_text(b, "unknown", (struct slice){from, (size_t)(r.at - from)});
}

static void put_event(struct buf *b, struct slice body)
{
    struct otlp_event e;
    otlp_event_parse(body, &e);
    buf_append_str(b, " event");
    put_number(b, "time", e.time_ns);
    put_text(b, "name", e.name);
    put_number(b, "dropped", e.dropped_attributes);
    put_attributes(b, body, OTLP_EVENT_ATTRIBUTES);
    put_unknown(b, body, 4);
}

static void put_link(struct buf *b, struct slice body)
{
    struct otlp_link l;
    otlp_link_parse(body, &l);
    buf_append_str(b, " link");
    put_text(b, "trace", l.trace_id);
    put_text(b, "span", l.span_id);
    put_text(b, "state", l.trace_state);
    put_number(b, "dropped", l.dropped_attributes);
    put_number(b, "flags", l.flags);
    put_attributes(b, body, OTLP_LINK_ATTRIBUTES);
    put_unknown(b, body, 6);
}

static void put_span(struct buf *b, struct slice body)
{
    struct otlp_span s;
    struct otlp_field_iter it;
    struct slice item;
    otlp_span_parse(body, &s);
    put_text(b, "trace", s.trace_id);
    put_text(b, "span", s.span_id);
    put_text(b, "parent", s.parent_span_id);
    put_text(b, "state", s.trace_state);
    put_text(b, "name", s.name);
    put_number(b, "kind", s.kind);
    put_number(b, "start", s.start_ns);
    put_number(b, "end", s.end_ns);
    put_number(b, "has_status", s.has_status);
    put_number(b, "status", s.status);
    put_text(b, "message", s.status_message);
    put_number(b, "flags", s.flags);
    put_number(b, "dropped_attributes", s.dropped_attributes);
    put_number(b, "dropped_events", s.dropped_events);
    put_number(b, "dropped_links", s.dropped_links);
    put_attributes(b, body, OTLP_SPAN_ATTRIBUTES);
    otlp_fields_init(&it, body, OTLP_SPAN_EVENTS);
    while (otlp_next_field(&it, &item))
        put_event(b, item);
    otlp_fields_init(&it, body, OTLP_SPAN_LINKS);
    while (otlp_next_field(&it, &item))
        put_link(b, item);
    put_unknown(b, body, 16);
}

static void put_source(struct buf *b, const struct otlp_iter *it)
{
    struct otlp_scope scope;
    buf_append_str(b, " resource");
    put_attributes(b, it->resource, OTLP_RESOURCE_ATTRIBUTES);
    put_unknown(b, it->resource, 1);
    put_text(b, "schema", it->resource_schema_url);
    buf_append_str(b, " scope");
    otlp_scope_parse(it->scope, &scope);
    put_text(b, "name", scope.name);
    put_text(b, "version", scope.version);
    put_number(b, "dropped", scope.dropped_attributes);
    put_attributes(b, it->scope, OTLP_SCOPE_ATTRIBUTES);
    put_unknown(b, it->scope, 4);
    put_text(b, "schema", it->scope_schema_url);
}

void otlp_canon_add(struct otlp_canon *c, struct slice request)
{
    struct otlp_iter it;
    struct slice span;
    otlp_iter_init(&it, request);
    while (otlp_next_span(&it, &span)) {
        struct buf line;
        buf_init(&line, 1u << 26);
        put_span(&line, span);
        put_source(&line, &it);
        buf_append_byte(&line, '\0');
        assert_int_equal(buf_err(&line), ERR_OK);
        if (c->count == c->max) {
            c->max = c->max == 0 ? 256 : c->max * 2;
            c->lines = realloc(c->lines, c->max * sizeof *c->lines);
            assert_non_null(c->lines);
        }
        size_t len;
        c->lines[c->count++] = (char *)buf_take(&line, &len);
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void otlp_canon_sort(struct otlp_canon *c, bool is_unique)
{
    if (c->count == 0)
        return;
    qsort(c->lines, c->count, sizeof *c->lines, compare);
    size_t kept = 1;
    for (size_t i = 1; i < c->count; i++) {
        if (is_unique && strcmp(c->lines[kept - 1], c->lines[i]) == 0)
            free(c->lines[i]);
        else
            c->lines[kept++] = c->lines[i];
    }
    c->count = kept;
}

void otlp_canon_release(struct otlp_canon *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->lines[i]);
    free(c->lines);
    *c = (struct otlp_canon){0};
}

void otlp_canon_assert_equal(const struct otlp_canon *a, const struct otlp_canon *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++)
        assert_string_equal(a->lines[i], b->lines[i]);
    assert_int_equal(a->count, b->count);
}
