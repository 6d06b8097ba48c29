#include "tests/lib/fake_otlp.h"

#include "common/codec/otlp_write.h"

static void attributes(struct arena *a, struct buf *b, uint32_t field,
                       const struct fake_attrs *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct fake_attr *at = &list->list[i];
        size_t mark = pb_begin(b, field);
        pb_bytes(b, 1, at->key);
        pb_bytes(b, 2, at->raw.ptr != NULL ? at->raw : fake_segment_any(a, at->value));
        pb_end(b, mark);
    }
}

static void id(struct buf *b, uint32_t field, const uint8_t *bytes, size_t len)
{
    pb_bytes(b, field, (struct slice){bytes, len});
}

static bool is_none(struct span_id s)
{
    static const struct span_id none;
    return memcmp(&s, &none, sizeof s) == 0;
}

static void span(struct arena *a, struct buf *b, const struct fake_data *d,
                 const struct fake_span *s)
{
    id(b, 1, d->traces[s->trace].b, TRACE_ID_BYTES);
    id(b, 2, s->id.b, SPAN_ID_BYTES);
    if (!is_none(s->parent))
        id(b, 4, s->parent.b, SPAN_ID_BYTES);
    pb_bytes(b, 5, s->name);
    pb_varint(b, 6, s->kind);
    pb_fixed64(b, 7, s->start_ns);
    pb_fixed64(b, 8, s->start_ns + s->duration_ns);
    attributes(a, b, 9, &s->attrs);
    for (uint32_t i = 0; i < s->event_count; i++) {
        size_t mark = pb_begin(b, 11);
        pb_fixed64(b, 1, s->events[i].time_ns);
        pb_bytes(b, 2, s->events[i].name);
        attributes(a, b, 3, &s->events[i].attrs);
        pb_end(b, mark);
    }
    for (uint32_t i = 0; i < s->link_count; i++) {
        size_t mark = pb_begin(b, 13);
        id(b, 1, s->links[i].trace_id.b, TRACE_ID_BYTES);
        id(b, 2, s->links[i].span_id.b, SPAN_ID_BYTES);
        attributes(a, b, 4, &s->links[i].attrs);
        pb_end(b, mark);
    }
    size_t mark = pb_begin(b, 15);
    if (s->status_message.len != 0)
        pb_bytes(b, 2, s->status_message);
    pb_varint(b, 3, s->status);
    pb_end(b, mark);
}

void fake_otlp_write(struct arena *a, const struct fake_data *d, uint32_t from, uint32_t to,
                     struct buf *out)
{
    for (uint32_t i = from; i < to; i++) {
        const struct fake_span *s = &d->spans[i];
        const struct fake_scope *scope = &d->scopes[s->scope];
        size_t group = pb_begin(out, 1), mark = pb_begin(out, 1);
        attributes(a, out, 1, &d->resources[s->resource]);
        pb_end(out, mark);
        size_t inner = pb_begin(out, 2);
        mark = pb_begin(out, 1);
        pb_bytes(out, 1, scope->name);
        pb_bytes(out, 2, scope->version);
        attributes(a, out, 3, &scope->attrs);
        pb_end(out, mark);
        mark = pb_begin(out, 2);
        span(a, out, d, s);
        pb_end(out, mark);
        pb_end(out, inner);
        pb_end(out, group);
    }
}
