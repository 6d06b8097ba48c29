/* OTLP bytes into columns: one walk, no object per span.  Field numbers: opentelemetry/proto/trace/v1/trace.proto. */
#include "common/base/hash.h"
#include "common/codec/otlp_wire.h"
#include "common/store/head_priv.h"

#include <assert.h>

/* --- is it well formed, as far as columns go?  (the bodies of arrays and kvlists are kept as they are) --- */

static bool check_fields(struct slice message)
{
    struct reader r = reader_of(message);
    struct wire_field f;
    while (wire_next(&r, &f)) {
    }
    return !reader_failed(&r);
}

static bool check_keyvalue(struct slice body)
{
    struct slice key, value;
    if (wire_plain_keyvalue(body, &key, &value))
        return wire_plain_text(value) || check_fields(value);
    struct reader r = reader_of(body);
    struct wire_field f;
    while (wire_next(&r, &f))
        if (f.number == 2 && f.type == WIRE_BYTES && !check_fields(f.bytes))
            return false;
    return !reader_failed(&r);
}

/* Messages whose field `attributes` holds KeyValues: Resource, Scope, Event, Link. */
static bool check_attributes(struct slice message, uint32_t attributes)
{
    struct reader r = reader_of(message);
    struct wire_field f;
    while (wire_next(&r, &f))
        if (f.number == attributes && f.type == WIRE_BYTES && !check_keyvalue(f.bytes))
            return false;
    return !reader_failed(&r);
}

static bool check_span(struct slice span)
{
    struct reader r = reader_of(span);
    struct wire_field f;
    bool is_good = true;
    while (is_good && wire_next(&r, &f)) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == 9)
            is_good = check_keyvalue(f.bytes);
        else if (f.number == 11)
            is_good = check_attributes(f.bytes, 3);
        else if (f.number == 13)
            is_good = check_attributes(f.bytes, 4);
        else if (f.number == 15)
            is_good = check_fields(f.bytes);
    }
    return is_good && !reader_failed(&r);
}

static bool check_scope_spans(struct slice scope_spans)
{
    struct reader r = reader_of(scope_spans);
    struct wire_field f;
    while (wire_next(&r, &f)) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == 1 ? !check_attributes(f.bytes, 3) : f.number == 2 && !check_span(f.bytes))
            return false;
    }
    return !reader_failed(&r);
}

enum err head_wire_check(struct slice otlp)
{
    struct reader r = reader_of(otlp);
    struct wire_field f, inner;
    while (wire_next(&r, &f)) {
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        struct reader body = reader_of(f.bytes);
        while (wire_next(&body, &inner)) {
            if (inner.type != WIRE_BYTES)
                continue;
            if (inner.number == 1 ? !check_attributes(inner.bytes, 1)
                                  : inner.number == 2 && !check_scope_spans(inner.bytes))
                return ERR_FORMAT;
        }
        if (reader_failed(&body))
            return ERR_FORMAT;
    }
    return reader_failed(&r) ? ERR_FORMAT : ERR_OK;
}

/* --- into columns --- */

struct walk {
    struct head *h;
    struct head_append_result *result;
    struct head_source source;
    struct slice resource, resource_url, scope, scope_url;
    bool has_resource_row, has_scope_row;
};

/* Cut to `max` bytes, not inside a UTF-8 sequence. */
static bool cut_text(struct slice *s, uint32_t max)
{
    if (max == 0 || s->len <= max)
        return false;
    size_t len = max;
    for (int back = 0; back < 3 && len > 0 && (s->ptr[len] & 0xc0) == 0x80; back++)
        len--;
    s->len = len;
    return true;
}

static enum seg_type any_value(struct slice body, struct segment_rows_cell *cell)
{
    if (wire_plain_text(body)) {
        cell->text = slice_sub(body, 2, body.len);
        return SEG_STR;
    }
    struct reader r = reader_of(body);
    struct wire_field f;
    enum seg_type type = SEG_ANY;
    cell->text = body;
    while (wire_next(&r, &f)) {
        type = SEG_ANY;
        if (f.number == 1 && f.type == WIRE_BYTES) {
            type = SEG_STR;
            cell->text = f.bytes;
        } else if (f.number == 2 && f.type == WIRE_VARINT) {
            type = SEG_BOOL;
            cell->i = f.v != 0;
        } else if (f.number == 3 && f.type == WIRE_VARINT) {
            type = SEG_INT;
            cell->i = (int64_t)f.v;
        } else if (f.number == 4 && f.type == WIRE_FIXED64) {
            type = SEG_DOUBLE;
            memcpy(&cell->d, &f.v, sizeof cell->d);
        }
    }
    if (type == SEG_ANY)
        cell->text = body;
    return type;
}

static enum seg_type keyvalue(struct slice body, struct slice *ret_key,
                              struct segment_rows_cell *cell)
{
    struct reader r = reader_of(body);
    struct wire_field f;
    struct slice value;
    enum seg_type type = SEG_ANY;
    if (wire_plain_keyvalue(body, ret_key, &value))
        return any_value(value, cell);
    *ret_key = SLICE_NONE;
    while (wire_next(&r, &f)) {
        if (f.number == 1 && f.type == WIRE_BYTES)
            *ret_key = f.bytes;
        else if (f.number == 2 && f.type == WIRE_BYTES)
            type = any_value(f.bytes, cell);
    }
    return type;
}

static enum err attribute(struct walk *w, enum seg_table table, struct slice body)
{
    struct slice key;
    struct segment_rows_cell cell = {0};
    enum seg_type type = keyvalue(body, &key, &cell);
    uint32_t max = w->h->options.max_attribute_bytes;
    bool is_cut = cut_text(&key, max);
    if (type == SEG_STR)
        is_cut |= cut_text(&cell.text, max);
    w->result->truncated += is_cut;
    return head_column_attribute(w->h, table, key, type, &cell);
}

/* A field that this version does not know: its bytes as they stood. */
static void unknown(struct walk *w, enum seg_table table, const uint8_t *from,
                    const struct reader *to)
{
    buf_append(&w->h->table[table].unknown, (struct slice){from, (size_t)(to->at - from)});
}

static enum err unknown_field(struct walk *w, enum seg_table table)
{
    const struct buf *u = &w->h->table[table].unknown;
    if (buf_err(u) != ERR_OK)
        return ERR_NOMEM;
    struct segment_rows_cell cell = {.text = buf_slice(u)};
    return u->len == 0 ? ERR_OK : head_column_field(w->h, table, SEG_UNKNOWN, SEG_ANY, &cell);
}

static enum err number_field(struct walk *w, enum seg_table table, enum seg_field field, uint64_t v)
{
    struct segment_rows_cell cell = {.i = (uint32_t)v};
    return (uint32_t)v == 0 ? ERR_OK : head_column_field(w->h, table, field, SEG_INT, &cell);
}

static enum err text_field(struct walk *w, enum seg_table table, enum seg_field field,
                           struct slice text)
{
    struct segment_rows_cell cell = {.text = text};
    return text.len == 0 ? ERR_OK : head_column_field(w->h, table, field, SEG_STR, &cell);
}

static enum err event(struct walk *w, struct slice body)
{
    struct head *h = w->h;
    struct reader r = reader_of(body);
    struct wire_field f;
    struct slice name = SLICE_NONE;
    uint64_t time_ns = 0, dropped = 0;
    enum err e = ERR_OK;
    for (const uint8_t *from = r.at; e == ERR_OK && wire_next(&r, &f); from = r.at) {
        switch (f.number << 3 | f.type) {
        case 1 << 3 | WIRE_FIXED64: time_ns = f.v; break;
        case 2 << 3 | WIRE_BYTES: name = f.bytes; break;
        case 3 << 3 | WIRE_BYTES: e = attribute(w, SEG_EVENT, f.bytes); break;
        case 4 << 3 | WIRE_VARINT: dropped = f.v; break;
        default: unknown(w, SEG_EVENT, from, &r); break;
        }
    }
    uint32_t code = 0;
    if (e == ERR_OK)
        e = head_column_text(h, &h->event_names, name, &code);
    if (e == ERR_OK)
        e = number_field(w, SEG_EVENT, SEG_DROPPED_ATTRIBUTES, dropped);
    if (e == ERR_OK)
        e = unknown_field(w, SEG_EVENT);
    if (e == ERR_OK)
        e = head_column_row(h, SEG_EVENT);
    if (e != ERR_OK)
        return e;
    uint32_t row = h->table[SEG_EVENT].row_count;
    /* What an earlier span left when it was taken back does not count. */
    h->events.span.count = h->events.time_ns.count = h->events.name.count = row;
    if (head_push(h, &h->events.span) == NULL || head_push(h, &h->events.time_ns) == NULL ||
        head_push(h, &h->events.name) == NULL)
        return head_column_no_room(h, &h->events.time_ns);
    GVEC_GET(&h->events.span, uint32_t, row) = h->table[SEG_SPAN].row_count;
    GVEC_GET(&h->events.time_ns, uint64_t, row) = time_ns;
    GVEC_GET(&h->events.name, uint32_t, row) = code;
    h->table[SEG_EVENT].row_count++;
    return ERR_OK;
}

struct link_fields {
    struct trace_id trace_id;
    uint64_t span_id, dropped;
    struct slice trace_state;
    uint32_t flags;
};

static enum err link_walk(struct walk *w, struct slice body, struct link_fields *l)
{
    struct reader r = reader_of(body);
    struct wire_field f;
    enum err e = ERR_OK;
    for (const uint8_t *from = r.at; e == ERR_OK && wire_next(&r, &f); from = r.at) {
        switch (f.number << 3 | f.type) {
        case 1 << 3 | WIRE_BYTES:
            if (f.bytes.len == TRACE_ID_BYTES)
                memcpy(l->trace_id.b, f.bytes.ptr, TRACE_ID_BYTES);
            break;
        case 2 << 3 | WIRE_BYTES:
            if (f.bytes.len == SPAN_ID_BYTES)
                memcpy(&l->span_id, f.bytes.ptr, SPAN_ID_BYTES);
            break;
        case 3 << 3 | WIRE_BYTES: l->trace_state = f.bytes; break;
        case 4 << 3 | WIRE_BYTES: e = attribute(w, SEG_LINK, f.bytes); break;
        case 5 << 3 | WIRE_VARINT: l->dropped = f.v; break;
        case 6 << 3 | WIRE_FIXED32: l->flags = (uint32_t)f.v; break;
        default: unknown(w, SEG_LINK, from, &r); break;
        }
    }
    return e;
}

static enum err link_row(struct walk *w, struct slice body)
{
    struct head *h = w->h;
    struct link_fields l = {0};
    enum err e = link_walk(w, body, &l);
    if (e == ERR_OK)
        e = text_field(w, SEG_LINK, SEG_TRACE_STATE, l.trace_state);
    if (e == ERR_OK)
        e = number_field(w, SEG_LINK, SEG_DROPPED_ATTRIBUTES, l.dropped);
    if (e == ERR_OK)
        e = number_field(w, SEG_LINK, SEG_FLAGS, l.flags);
    if (e == ERR_OK)
        e = unknown_field(w, SEG_LINK);
    if (e == ERR_OK)
        e = head_column_row(h, SEG_LINK);
    if (e != ERR_OK)
        return e;
    uint32_t row = h->table[SEG_LINK].row_count;
    h->links.span.count = h->links.trace_id.count = h->links.span_id.count = row;
    if (head_push(h, &h->links.span) == NULL || head_push(h, &h->links.trace_id) == NULL ||
        head_push(h, &h->links.span_id) == NULL)
        return head_column_no_room(h, &h->links.trace_id);
    GVEC_GET(&h->links.span, uint32_t, row) = h->table[SEG_SPAN].row_count;
    GVEC_GET(&h->links.trace_id, struct trace_id, row) = l.trace_id;
    GVEC_GET(&h->links.span_id, uint64_t, row) = l.span_id;
    h->table[SEG_LINK].row_count++;
    return ERR_OK;
}

static void status(struct slice body, struct head_span_fields *s)
{
    struct reader r = reader_of(body);
    struct wire_field f;
    s->has_status = true;
    while (wire_next(&r, &f)) {
        if (f.number == 2 && f.type == WIRE_BYTES)
            s->status_message = f.bytes;
        else if (f.number == 3 && f.type == WIRE_VARINT)
            s->status = f.v;
    }
}

/* Kind and status are a byte each; numbers beyond (no SDK makes them) are kept as unknown fields. */
static enum err span_walk(struct walk *w, struct slice span, struct head_span_fields *s)
{
    struct reader r = reader_of(span);
    struct wire_field f;
    enum err e = ERR_OK;
    for (const uint8_t *from = r.at; e == ERR_OK && wire_next(&r, &f); from = r.at) {
        switch (f.number << 3 | f.type) {
        case 1 << 3 | WIRE_BYTES: s->trace_id = f.bytes; break;
        case 2 << 3 | WIRE_BYTES: s->span_id = f.bytes; break;
        case 3 << 3 | WIRE_BYTES: s->trace_state = f.bytes; break;
        case 4 << 3 | WIRE_BYTES: s->parent_id = f.bytes; break;
        case 5 << 3 | WIRE_BYTES: s->name = f.bytes; break;
        case 6 << 3 | WIRE_VARINT:
            s->kind = f.v <= UINT8_MAX ? f.v : 0;
            if (f.v > UINT8_MAX)
                unknown(w, SEG_SPAN, from, &r);
            break;
        case 7 << 3 | WIRE_FIXED64: s->start_ns = f.v; break;
        case 8 << 3 | WIRE_FIXED64: s->end_ns = f.v; break;
        case 9 << 3 | WIRE_BYTES: e = attribute(w, SEG_SPAN, f.bytes); break;
        case 10 << 3 | WIRE_VARINT: s->dropped_attributes = f.v; break;
        case 11 << 3 | WIRE_BYTES: e = event(w, f.bytes); break;
        case 12 << 3 | WIRE_VARINT: s->dropped_events = f.v; break;
        case 13 << 3 | WIRE_BYTES: e = link_row(w, f.bytes); break;
        case 14 << 3 | WIRE_VARINT: s->dropped_links = f.v; break;
        case 15 << 3 | WIRE_BYTES:
            status(f.bytes, s);
            if (s->status > UINT8_MAX) {
                s->status = 0;
                s->status_message = SLICE_NONE;
                s->has_status = false;
                unknown(w, SEG_SPAN, from, &r);
            }
            break;
        case 16 << 3 | WIRE_FIXED32: s->flags = (uint32_t)f.v; break;
        default: unknown(w, SEG_SPAN, from, &r); break;
        }
    }
    return e;
}

/* --- resources and scopes: parsed once per distinct bytes --- */

static enum err resource_fields(struct walk *w)
{
    struct reader r = reader_of(w->resource);
    struct wire_field f;
    uint64_t dropped = 0;
    enum err e = ERR_OK;
    for (const uint8_t *from = r.at; e == ERR_OK && wire_next(&r, &f); from = r.at) {
        switch (f.number << 3 | f.type) {
        case 1 << 3 | WIRE_BYTES: e = attribute(w, SEG_RESOURCE, f.bytes); break;
        case 2 << 3 | WIRE_VARINT: dropped = f.v; break;
        default: unknown(w, SEG_RESOURCE, from, &r); break;
        }
    }
    return e == ERR_OK ? number_field(w, SEG_RESOURCE, SEG_DROPPED_ATTRIBUTES, dropped) : e;
}

static enum err scope_fields(struct walk *w)
{
    struct reader r = reader_of(w->scope);
    struct wire_field f;
    struct slice name = SLICE_NONE, version = SLICE_NONE;
    uint64_t dropped = 0;
    enum err e = ERR_OK;
    for (const uint8_t *from = r.at; e == ERR_OK && wire_next(&r, &f); from = r.at) {
        switch (f.number << 3 | f.type) {
        case 1 << 3 | WIRE_BYTES: name = f.bytes; break;
        case 2 << 3 | WIRE_BYTES: version = f.bytes; break;
        case 3 << 3 | WIRE_BYTES: e = attribute(w, SEG_SCOPE, f.bytes); break;
        case 4 << 3 | WIRE_VARINT: dropped = f.v; break;
        default: unknown(w, SEG_SCOPE, from, &r); break;
        }
    }
    if (e == ERR_OK)
        e = text_field(w, SEG_SCOPE, SEG_SCOPE_NAME, name);
    if (e == ERR_OK)
        e = text_field(w, SEG_SCOPE, SEG_SCOPE_VERSION, version);
    return e == ERR_OK ? number_field(w, SEG_SCOPE, SEG_DROPPED_ATTRIBUTES, dropped) : e;
}

static enum err interned_new(struct walk *w, enum seg_table table, const struct head_interned *key,
                             struct gvec *known)
{
    struct head *h = w->h;
    struct head_interned kept;
    enum err e = table == SEG_RESOURCE ? resource_fields(w) : scope_fields(w);
    if (e == ERR_OK)
        e = text_field(w, table, SEG_SCHEMA_URL, key->schema_url);
    if (e == ERR_OK)
        e = unknown_field(w, table);
    if (e == ERR_OK)
        e = head_column_bytes(h, key->body, &kept.body);
    if (e == ERR_OK)
        e = head_column_bytes(h, key->schema_url, &kept.schema_url);
    h->interned_count++;
    if (e == ERR_OK)
        e = head_column_row(h, table);
    if (e != ERR_OK)
        return e;
    assert(known->count == h->table[table].row_count);
    struct head_interned *at = head_push(h, known);
    if (at == NULL)
        return head_column_no_room(h, known);
    *at = kept;
    h->table[table].row_count++;
    return ERR_OK;
}

/* The row of a resource or scope, made if it is new. */
static enum err intern(struct walk *w, enum seg_table table, uint32_t *ret_row)
{
    struct head *h = w->h;
    struct gvec *known = table == SEG_RESOURCE ? &h->resources : &h->scopes;
    struct head_index *index = table == SEG_RESOURCE ? &h->resource_index : &h->scope_index;
    struct head_interned key = table == SEG_RESOURCE
                                   ? (struct head_interned){w->resource, w->resource_url}
                                   : (struct head_interned){w->scope, w->scope_url};
    uint32_t hash = (uint32_t)hash_with(key.body, hash_seeded(key.schema_url)), slot = hash, row;
    while (head_index_next(index, hash, &slot, &row)) {
        const struct head_interned *at = gvec_at(known, row);
        if (slice_eq(at->body, key.body) && slice_eq(at->schema_url, key.schema_url)) {
            *ret_row = row;
            return ERR_OK;
        }
    }
    struct head_mark mark;
    head_column_mark(h, &mark);
    row = h->table[table].row_count;
    enum err e = head_column_index_reserve(h, index);
    if (e == ERR_OK)
        e = interned_new(w, table, &key, known);
    if (e != ERR_OK) {
        head_column_rollback(h, &mark);
        return e;
    }
    head_column_index_put(index, hash, row);
    *ret_row = row;
    return ERR_OK;
}

static enum err append_span(struct walk *w, struct slice span)
{
    enum err e = ERR_OK;
    if (!w->has_resource_row)
        e = intern(w, SEG_RESOURCE, &w->source.resource);
    if (e != ERR_OK)
        return e;
    w->has_resource_row = true;
    if (!w->has_scope_row)
        e = intern(w, SEG_SCOPE, &w->source.scope);
    if (e != ERR_OK)
        return e;
    w->has_scope_row = true;
    struct head_span_fields fields = {0};
    struct head_mark mark;
    struct head_append_result before = *w->result;
    head_column_mark(w->h, &mark);
    e = span_walk(w, span, &fields);
    if (e != ERR_OK)
        head_column_rollback(w->h, &mark);
    else
        e = head_commit_span(w->h, &fields, span, &w->source, &mark, w->result);
    if (w->result->spans == before.spans)
        w->result->truncated = before.truncated; /* nothing of it was kept */
    return e;
}

static void find_pair(struct slice message, struct slice *ret_first, struct slice *ret_third)
{
    struct reader r = reader_of(message);
    struct wire_field f;
    *ret_first = *ret_third = SLICE_NONE;
    while (wire_next(&r, &f)) {
        if (f.type == WIRE_BYTES && f.number == 1)
            *ret_first = f.bytes;
        else if (f.type == WIRE_BYTES && f.number == 3)
            *ret_third = f.bytes;
    }
}

enum err head_wire_append(struct head *h, struct slice otlp, bool is_doubt, int64_t now_ns,
                          struct head_append_result *result)
{
    struct walk w = {.h = h, .result = result, .source = {.is_doubt = is_doubt, .now_ns = now_ns}};
    struct reader request = reader_of(otlp);
    struct slice resource_spans, scope_spans, span;
    enum err e = ERR_OK;
    while (e == ERR_OK && wire_next_bytes(&request, 1, &resource_spans)) {
        find_pair(resource_spans, &w.resource, &w.resource_url);
        w.has_resource_row = false;
        struct reader scopes = reader_of(resource_spans);
        while (e == ERR_OK && wire_next_bytes(&scopes, 2, &scope_spans)) {
            find_pair(scope_spans, &w.scope, &w.scope_url);
            w.has_scope_row = false;
            struct reader spans = reader_of(scope_spans);
            while (e == ERR_OK && wire_next_bytes(&spans, 2, &span))
                e = append_span(&w, span);
        }
    }
    return e;
}
