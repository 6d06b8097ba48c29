#include "distributor/split.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/codec/otlp.h"
#include "common/codec/otlp_wire.h"

#include <assert.h>

enum { TARGETS_MAX = 256, HEADER_BYTES_MAX = 12 };

struct split_scope {
    struct slice resource, resource_schema_url, scope, scope_schema_url;
    uint32_t resource_seq;
};

struct split_span {
    const uint8_t *ptr;
    uint32_t len;
    uint32_t scope; /* index of scopes */
    uint32_t trace; /* index of traces */
};

/* Open addressing: index + 1 of the trace, 0 empty. */
struct trace_table {
    uint32_t *slots;
    uint32_t mask;
};

static bool is_zero(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != 0)
            return false;
    }
    return true;
}

static void reject(struct split *s, enum split_reject why, struct slice id)
{
    if (s->rejected[why]++ == 0) {
        s->first_reject_bits[why] = id.len * 8;
        s->is_first_reject_zero[why] = id.len > 0 && is_zero(id);
    }
}

static uint32_t trace_index(struct split *s, const struct trace_table *t, struct trace_id id)
{
    if (s->trace_count > 0 && s->span_count > 0) {
        uint32_t last =
            s->spans[s->span_count - 1].trace; /* spans of a trace mostly come together */
        if (trace_id_eq(s->traces[last].id, id))
            return last;
    }
    uint32_t slot = (uint32_t)trace_id_hash(id) & t->mask;
    while (t->slots[slot] != 0) {
        uint32_t index = t->slots[slot] - 1;
        if (trace_id_eq(s->traces[index].id, id))
            return index;
        slot = (slot + 1) & t->mask;
    }
    uint32_t index = s->trace_count++;
    s->traces[index] = (struct split_trace){id, SPLIT_NOWHERE};
    t->slots[slot] = index + 1;
    return index;
}

/* Trace id and span id without looking at the rest: both come first in what every exporter writes. */
static void span_ids(struct slice span, struct slice *ret_trace, struct slice *ret_span)
{
    struct reader r = reader_of(span);
    struct wire_field f;
    unsigned found = 0;

    *ret_trace = *ret_span = SLICE_NONE;
    while (found < 2 && wire_next(&r, &f)) {
        if (f.type != WIRE_BYTES || f.number > 2)
            continue;
        *(f.number == 1 ? ret_trace : ret_span) = f.bytes;
        found++;
    }
}

static void take_spans(struct split *s, const struct trace_table *t, uint32_t span_count,
                       uint32_t scopes_max)
{
    struct otlp_iter it;
    struct slice span, trace_wire, span_wire;
    uint32_t scope_seq = 0;

    otlp_iter_init(&it, s->request);
    while (otlp_next_span(&it, &span)) {
        struct trace_id trace_id;
        struct span_id span_id;
        span_ids(span, &trace_wire, &span_wire);
        if (trace_id_from_wire(trace_wire, &trace_id) != ERR_OK) {
            reject(s, SPLIT_REJECT_TRACE_ID, trace_wire);
            continue;
        }
        if (span_id_from_wire(span_wire, &span_id) != ERR_OK) {
            reject(s, SPLIT_REJECT_SPAN_ID, span_wire);
            continue;
        }
        if (it.scope_seq != scope_seq) {
            scope_seq = it.scope_seq;
            assert(s->scope_count < scopes_max);
            s->scopes[s->scope_count++] =
                (struct split_scope){it.resource, it.resource_schema_url, it.scope,
                                     it.scope_schema_url, it.resource_seq};
        }
        assert(s->span_count < span_count);
        uint32_t trace = trace_index(s, t, trace_id);
        s->spans[s->span_count++] =
            (struct split_span){span.ptr, (uint32_t)span.len, s->scope_count - 1, trace};
    }
}

/* Scopes that have a span. */
static uint32_t count_scopes(struct slice request)
{
    struct otlp_iter it;
    struct slice span;
    uint32_t count = 0, seq = 0;

    otlp_iter_init(&it, request);
    while (otlp_next_span(&it, &span)) {
        count += it.scope_seq != seq;
        seq = it.scope_seq;
    }
    return count;
}

enum err split_begin(struct arena *a, struct slice request, uint32_t span_count, struct split *ret)
{
    assert(request.len <= UINT32_MAX);
    struct split s = {.arena = a, .request = request};
    uint32_t scopes_max = count_scopes(request);
    struct trace_table t = {.mask = 15};
    while (t.mask < span_count * 2)
        t.mask = t.mask * 2 + 1;
    s.spans = arena_alloc(a, (size_t)span_count * sizeof *s.spans);
    s.scopes = arena_alloc(a, (size_t)scopes_max * sizeof *s.scopes);
    s.traces = arena_alloc(a, (size_t)span_count * sizeof *s.traces);
    t.slots = arena_calloc(a, (size_t)t.mask + 1, sizeof *t.slots);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    take_spans(&s, &t, span_count, scopes_max);
    *ret = s;
    return ERR_OK;
}

/* The whole request is one part: nothing to cut. */
static enum err route_whole(struct split *s)
{
    struct slice *piece = ARENA_NEW(s->arena, struct slice);

    s->parts = ARENA_NEW(s->arena, struct split_part);
    if (arena_err(s->arena) != ERR_OK)
        return arena_err(s->arena);
    *piece = s->request;
    *s->parts = (struct split_part){.target = s->traces[0].target,
                                    .span_count = s->span_count,
                                    .first_trace = s->traces[0].id,
                                    .pieces = piece,
                                    .piece_count = 1,
                                    .bytes = s->request.len};
    s->part_count = 1;
    return ERR_OK;
}

/* Writes the pieces of one part: spans[order[from..to)]. */
struct part_writer {
    const struct split *s;
    const uint32_t *order; /* indexes of spans, NULL: as they are */
    struct slice *pieces;
    unsigned piece_count;
    uint8_t *headers; /* bytes of tags and lengths */
    size_t bytes;
};

static const struct split_span *span_at(const struct part_writer *w, uint32_t i)
{
    return &w->s->spans[w->order == NULL ? i : w->order[i]];
}

static void put_piece(struct part_writer *w, struct slice piece)
{
    if (piece.len == 0)
        return;
    w->bytes += piece.len;
    if (w->piece_count > 0) {
        struct slice *last = &w->pieces[w->piece_count - 1];
        if (last->ptr + last->len == piece.ptr) { /* neighbours in the request stay one slice */
            last->len += piece.len;
            return;
        }
    }
    w->pieces[w->piece_count++] = piece;
}

static void put_header(struct part_writer *w, uint32_t field, size_t len)
{
    uint8_t *at = w->headers;

    w->headers += varint_write(w->headers, (uint64_t)field << 3 | WIRE_BYTES);
    w->headers += varint_write(w->headers, len);
    put_piece(w, (struct slice){at, (size_t)(w->headers - at)});
}

/* A field whose body lies in the request, mostly with the very header before it that it needs here. */
static void put_field(struct part_writer *w, uint32_t field, struct slice body)
{
    uint8_t header[HEADER_BYTES_MAX];
    size_t len = varint_write(header, (uint64_t)field << 3 | WIRE_BYTES);

    len += varint_write(header + len, body.len);
    if (body.len > 0 && body.ptr >= w->s->request.ptr + len &&
        memcmp(body.ptr - len, header, len) == 0) {
        put_piece(w, (struct slice){body.ptr - len, body.len + len});
        return;
    }
    put_header(w, field, body.len);
    put_piece(w, body);
}

static size_t scope_head_size(const struct split_scope *scope)
{
    size_t size = scope->scope.ptr == NULL ? 0 : wire_bytes_size(1, scope->scope.len);
    return size +
           (scope->scope_schema_url.len == 0 ? 0 : wire_bytes_size(3, scope->scope_schema_url.len));
}

static size_t resource_head_size(const struct split_scope *scope)
{
    size_t size = scope->resource.ptr == NULL ? 0 : wire_bytes_size(1, scope->resource.len);
    return size + (scope->resource_schema_url.len == 0
                       ? 0
                       : wire_bytes_size(3, scope->resource_schema_url.len));
}

/* Spans from `i` on that share a scope; *ret_size is the ScopeSpans body they make. */
static uint32_t scope_run(const struct part_writer *w, uint32_t i, uint32_t to, size_t *ret_size)
{
    uint32_t scope = span_at(w, i)->scope;

    *ret_size = scope_head_size(&w->s->scopes[scope]);
    for (; i < to && span_at(w, i)->scope == scope; i++)
        *ret_size += wire_bytes_size(2, span_at(w, i)->len);
    return i;
}

static const struct split_scope *scope_of(const struct part_writer *w, uint32_t i)
{
    return &w->s->scopes[span_at(w, i)->scope];
}

/* Spans from `i` on that share a resource; *ret_size is the ResourceSpans body they make. */
static uint32_t resource_run(const struct part_writer *w, uint32_t i, uint32_t to, size_t *ret_size)
{
    uint32_t seq = scope_of(w, i)->resource_seq;

    *ret_size = resource_head_size(scope_of(w, i));
    while (i < to && scope_of(w, i)->resource_seq == seq) {
        size_t scope_size;
        i = scope_run(w, i, to, &scope_size);
        *ret_size += wire_bytes_size(2, scope_size);
    }
    return i;
}

static void put_scope(struct part_writer *w, uint32_t from, uint32_t to, size_t size)
{
    const struct split_scope *scope = scope_of(w, from);

    put_header(w, 2, size);
    if (scope->scope.ptr != NULL)
        put_field(w, 1, scope->scope);
    for (uint32_t i = from; i < to; i++)
        put_field(w, 2, (struct slice){span_at(w, i)->ptr, span_at(w, i)->len});
    if (scope->scope_schema_url.len > 0)
        put_field(w, 3, scope->scope_schema_url);
}

static void put_resource(struct part_writer *w, uint32_t from, uint32_t to, size_t size)
{
    const struct split_scope *first = scope_of(w, from);

    put_header(w, 1, size);
    if (first->resource.ptr != NULL)
        put_field(w, 1, first->resource);
    for (uint32_t i = from; i < to;) {
        size_t scope_size;
        uint32_t end = scope_run(w, i, to, &scope_size);
        put_scope(w, i, end, scope_size);
        i = end;
    }
    if (first->resource_schema_url.len > 0)
        put_field(w, 3, first->resource_schema_url);
}

static enum err write_part(struct split *s, const uint32_t *order, uint32_t from, uint32_t to,
                           struct split_part *ret)
{
    struct part_writer w = {.s = s, .order = order};
    size_t scopes = 0;

    assert(from < to);
    for (uint32_t i = from; i < to; i++)
        scopes += i == from || span_at(&w, i)->scope != span_at(&w, i - 1)->scope;
    /* A span takes at most a header and a body; a scope, each with a resource of its own, six of both. */
    size_t headers_max = (size_t)(to - from) + 6 * scopes;
    w.pieces = arena_alloc(s->arena, 2 * headers_max * sizeof *w.pieces);
    w.headers = arena_alloc(s->arena, headers_max * HEADER_BYTES_MAX);
    if (arena_err(s->arena) != ERR_OK)
        return arena_err(s->arena);
    for (uint32_t i = from; i < to;) {
        size_t size;
        uint32_t end = resource_run(&w, i, to, &size);
        put_resource(&w, i, end, size);
        i = end;
    }
    const struct split_trace *first = &s->traces[span_at(&w, from)->trace];
    *ret = (struct split_part){.target = first->target,
                               .number = s->part_count,
                               .span_count = to - from,
                               .first_trace = first->id,
                               .pieces = w.pieces,
                               .piece_count = w.piece_count,
                               .bytes = w.bytes};
    return ERR_OK;
}

/* What a span adds to a part at most: its own field, and its resource and scope when they change. */
static size_t span_cost(const struct part_writer *w, uint32_t i, bool is_first)
{
    size_t cost = wire_bytes_size(2, span_at(w, i)->len);

    if (is_first || span_at(w, i)->scope != span_at(w, i - 1)->scope)
        cost += scope_head_size(scope_of(w, i)) + resource_head_size(scope_of(w, i)) +
                2 * (size_t)HEADER_BYTES_MAX;
    return cost;
}

/* Ends of the parts of [from, to): a new one where the target changes or the size is reached. */
static uint32_t part_end(const struct part_writer *w, uint32_t from, uint32_t to)
{
    uint32_t target = w->s->traces[span_at(w, from)->trace].target;
    size_t bytes = 0;
    uint32_t i = from;

    for (; i < to && w->s->traces[span_at(w, i)->trace].target == target; i++) {
        bytes += span_cost(w, i, i == from);
        if (i > from && bytes > SPLIT_PART_BYTES)
            break;
    }
    return i;
}

static enum err route_parts(struct split *s, const uint32_t *order)
{
    struct part_writer w = {.s = s, .order = order};
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->span_count; count++)
        i = part_end(&w, i, s->span_count);
    s->parts = ARENA_ARRAY(s->arena, struct split_part, count);
    if (s->parts == NULL)
        return arena_err(s->arena);
    for (uint32_t from = 0; from < s->span_count;) {
        uint32_t to = part_end(&w, from, s->span_count);
        enum err e = write_part(s, order, from, to, &s->parts[s->part_count]);
        if (e != ERR_OK)
            return e;
        s->part_count++;
        from = to;
    }
    assert(s->part_count == count);
    return ERR_OK;
}

/* Indexes of the spans by target, those of a target in their order. */
static uint32_t *order_by_target(struct split *s)
{
    uint32_t starts[TARGETS_MAX + 1] = {0};
    uint32_t *order = arena_alloc(s->arena, (size_t)s->span_count * sizeof *order);

    if (order == NULL)
        return NULL;
    for (uint32_t i = 0; i < s->span_count; i++)
        starts[s->traces[s->spans[i].trace].target + 1]++;
    for (unsigned t = 0; t < TARGETS_MAX; t++)
        starts[t + 1] += starts[t];
    for (uint32_t i = 0; i < s->span_count; i++)
        order[starts[s->traces[s->spans[i].trace].target]++] = i;
    return order;
}

uint32_t split_place_first(void *arg, struct trace_id id)
{
    (void)arg;
    (void)id;
    return 0;
}

enum err split_route(struct split *s, split_place_fn *place, void *arg)
{
    bool is_one = true;

    s->parts = NULL;
    s->part_count = 0;
    for (uint32_t i = 0; i < s->trace_count; i++) {
        uint32_t target = place(arg, s->traces[i].id);
        if (target == SPLIT_NOWHERE)
            return ERR_UNAVAILABLE;
        assert(target < TARGETS_MAX);
        s->traces[i].target = target;
        is_one = is_one && target == s->traces[0].target;
    }
    if (s->span_count == 0)
        return ERR_OK;
    uint32_t rejected = s->rejected[SPLIT_REJECT_TRACE_ID] + s->rejected[SPLIT_REJECT_SPAN_ID];
    if (is_one && rejected == 0 && s->request.len <= SPLIT_PART_BYTES)
        return route_whole(s);
    uint32_t *order = is_one ? NULL : order_by_target(s);
    if (!is_one && order == NULL)
        return arena_err(s->arena);
    return route_parts(s, order);
}
