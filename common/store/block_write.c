#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/hash.h"
#include "common/codec/lz4_page.h"
#include "common/store/block_rowkey.h"
#include "common/store/block_writer.h"
#include "common/store/page.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRITE_AT_BYTES = 1 << 20 };

/* --- the file --- */

static enum err flush(struct block_writer *w)
{
    enum err e = buf_err(&w->out);
    if (e == ERR_OK)
        e = fs_write_all(w->fd, buf_slice(&w->out));
    buf_reset(&w->out);
    return e;
}

/* Texts are many and read seldom, or once: they are worth more effort. */
static enum lz4_page_effort effort_of(uint8_t kind, bool is_packed)
{
    bool has_texts =
        kind == BLOCK_PAGE_DICT || kind == BLOCK_PAGE_TEXTS || kind == BLOCK_PAGE_TEMPLATES;
    if (is_packed)
        return LZ4_PAGE_AS_IS;
    return has_texts ? LZ4_PAGE_SMALL : LZ4_PAGE_FAST;
}

enum err block_write_page(struct block_writer *w, uint8_t kind, uint32_t count, bool is_packed,
                          struct block_ref *ret)
{
    if (buf_err(&w->raw) != ERR_OK)
        return buf_err(&w->raw);
    size_t before = w->out.len;
    lz4_page_append(&w->out, kind, count, buf_slice(&w->raw), effort_of(kind, is_packed));
    buf_reset(&w->raw);
    if (buf_err(&w->out) != ERR_OK)
        return buf_err(&w->out);
    *ret = (struct block_ref){w->offset, (uint32_t)(w->out.len - before)};
    w->offset += ret->bytes;
    return w->out.len >= WRITE_AT_BYTES ? flush(w) : ERR_OK;
}

enum err block_write_ints(struct block_writer *w, uint8_t kind, const uint64_t *values,
                          uint32_t count, struct block_ref *ret)
{
    page_put_ints(&w->raw, values, count);
    return block_write_page(w, kind, count, false, ret);
}

/* --- rows of the shared tables: the distinct ones that chosen spans point to --- */

struct keys { /* rows known by their content */
    struct slice *key;
    uint32_t *slots, mask, count;
};

static enum err keys_grow(struct keys *k, struct arena *a)
{
    struct keys wider = {.mask = k->mask == 0 ? 63 : k->mask * 2 + 1, .count = k->count};
    wider.slots = ARENA_ARRAY(a, uint32_t, (size_t)wider.mask + 1);
    wider.key = ARENA_ARRAY(a, struct slice, (size_t)wider.mask + 1);
    if (wider.slots == NULL || wider.key == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < k->count; i++) {
        uint32_t slot = (uint32_t)hash_seeded(k->key[i]);
        while (wider.slots[slot & wider.mask] != 0)
            slot++;
        wider.slots[slot & wider.mask] = i + 1;
        wider.key[i] = k->key[i];
    }
    *k = wider;
    return ERR_OK;
}

static enum err keys_number(struct keys *k, struct slice key, struct arena *a, uint32_t *ret,
                            bool *ret_is_new)
{
    if (k->mask == 0 || k->count > k->mask / 2) {
        enum err e = keys_grow(k, a);
        if (e != ERR_OK)
            return e;
    }
    uint32_t slot = (uint32_t)hash_seeded(key);
    *ret_is_new = false;
    for (; k->slots[slot & k->mask] != 0; slot++) {
        *ret = k->slots[slot & k->mask] - 1;
        if (slice_eq(k->key[*ret], key))
            return ERR_OK;
    }
    k->key[k->count] = arena_dup(a, key);
    k->slots[slot & k->mask] = ++k->count;
    *ret = k->count - 1;
    *ret_is_new = true;
    return arena_err(a);
}

static enum err rows_init(struct block_writer *w, enum seg_table table, uint32_t count_max,
                          uint32_t parts)
{
    struct block_rows *r = &w->rows[table];
    r->sources = ARENA_ARRAY(&w->arena, struct block_source, count_max);
    r->place = ARENA_ARRAY(&w->arena, uint32_t *, w->segment_count);
    r->part_end = ARENA_ARRAY(&w->arena, uint32_t, parts);
    r->part_count = parts;
    for (uint32_t i = 0; r->place != NULL && i < w->segment_count; i++) {
        size_t bytes = (size_t)w->segments[i]->row_count[table] * sizeof(uint32_t);
        r->place[i] = arena_alloc(&w->arena, bytes);
        if (r->place[i] != NULL)
            memset(r->place[i], 0xff, bytes);
    }
    return arena_err(&w->arena);
}

static uint32_t shared_row_of(const struct block_writer *w, enum seg_table table,
                              const struct block_order_span *s)
{
    const struct seg_fixed *f = &w->fixed[s->segment];
    return table == SEG_RESOURCE ? f->resource[s->row] : f->scope[s->row];
}

static enum err choose_shared(struct block_writer *w, enum seg_table table)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < w->segment_count; i++)
        most += w->segments[i]->row_count[table];
    enum err e = most > UINT32_MAX / 4 ? ERR_TOO_LARGE : rows_init(w, table, (uint32_t)most, 1);
    struct block_rows *r = &w->rows[table];
    struct keys keys = {0};
    struct buf key;
    buf_init(&key, 1u << 30);
    for (uint32_t i = 0; e == ERR_OK && i < w->order.span_count; i++) {
        const struct block_order_span *s = &w->order.spans[i];
        uint32_t row = shared_row_of(w, table, s), number;
        bool is_new;
        if (row >= w->segments[s->segment]->row_count[table])
            e = ERR_CORRUPT;
        if (e != ERR_OK || r->place[s->segment][row] != BLOCK_NONE)
            continue;
        buf_reset(&key);
        e = block_rowkey_shared(w->segments[s->segment], table, row, &key);
        if (e == ERR_OK)
            e = keys_number(&keys, buf_slice(&key), &w->scratch, &number, &is_new);
        if (e != ERR_OK)
            break;
        if (is_new)
            r->sources[r->count++] = (struct block_source){s->segment, row};
        r->place[s->segment][row] = number;
    }
    buf_release(&key);
    arena_reset(&w->scratch);
    if (e == ERR_OK)
        r->part_end[0] = w->index.row_count[table] = r->count;
    return e;
}

/* --- rows of spans, events, links --- */

static const uint32_t *owners_of(const struct block_writer *w, enum seg_table table,
                                 uint32_t segment)
{
    return table == SEG_EVENT ? w->events[segment].span : w->links[segment].span;
}

/* Events and links follow their spans: counted per span, then put where the counts say. */
enum err block_write_choose_children(struct block_writer *w, enum seg_table table)
{
    const struct block_order *o = &w->order;
    uint32_t *start = ARENA_ARRAY(&w->scratch, uint32_t, (size_t)o->span_count + 1), total = 0;
    if (start == NULL)
        return arena_err(&w->scratch);
    for (uint32_t i = 0; i < w->segment_count; i++)
        for (uint32_t row = 0; row < w->segments[i]->row_count[table]; row++) {
            uint32_t place = o->place[i][owners_of(w, table, i)[row]];
            if (place != BLOCK_NONE)
                start[place]++;
        }
    for (uint32_t i = 0; i <= o->span_count; i++) {
        uint32_t count = start[i];
        start[i] = total;
        if (__builtin_add_overflow(total, count, &total))
            return ERR_TOO_LARGE;
    }
    enum err e = rows_init(w, table, total, o->group_count);
    if (e != ERR_OK)
        return e;
    struct block_rows *r = &w->rows[table];
    r->count = total;
    for (uint32_t g = 0; g < o->group_count; g++) {
        uint32_t end = o->groups[g].first_span + o->groups[g].span_count;
        r->part_end[g] = start[end];
        w->index.groups[g].rows[table] = start[end] - start[o->groups[g].first_span];
    }
    for (uint32_t i = 0; i < w->segment_count; i++)
        for (uint32_t row = 0; row < w->segments[i]->row_count[table]; row++) {
            uint32_t place = o->place[i][owners_of(w, table, i)[row]];
            if (place == BLOCK_NONE)
                continue;
            uint32_t at = start[place]++;
            r->sources[at] = (struct block_source){i, row};
            r->place[i][row] = at;
        }
    arena_reset(&w->scratch);
    return ERR_OK;
}

enum err block_write_choose_spans(struct block_writer *w)
{
    const struct block_order *o = &w->order;
    struct block_rows *r = &w->rows[SEG_SPAN];
    r->sources = ARENA_ARRAY(&w->arena, struct block_source, o->span_count);
    r->part_end = ARENA_ARRAY(&w->arena, uint32_t, o->group_count);
    w->index.groups = ARENA_ARRAY(&w->arena, struct block_group, o->group_count);
    if (arena_err(&w->arena) != ERR_OK)
        return arena_err(&w->arena);
    r->place = o->place;
    r->count = o->span_count;
    r->part_count = w->index.group_count = o->group_count;
    for (uint32_t i = 0; i < o->span_count; i++)
        r->sources[i] = (struct block_source){o->spans[i].segment, o->spans[i].row};
    for (uint32_t g = 0; g < o->group_count; g++) {
        const struct block_order_group *from = &o->groups[g];
        struct block_group *to = &w->index.groups[g];
        r->part_end[g] = from->first_span + from->span_count;
        to->rows[SEG_SPAN] = from->span_count;
        to->first_trace = from->first_trace;
        to->trace_count = from->trace_count;
        to->min_start_ns = UINT64_MAX;
        for (uint32_t t = from->first_trace; t < from->first_trace + from->trace_count; t++) {
            if (o->traces[t].min_start_ns < to->min_start_ns)
                to->min_start_ns = o->traces[t].min_start_ns;
            if (o->traces[t].max_end_ns > to->max_end_ns)
                to->max_end_ns = o->traces[t].max_end_ns;
        }
    }
    return ERR_OK;
}

/* --- streams: what every span, trace, event and link has --- */

static enum err ints_reserve(struct block_writer *w, uint32_t count)
{
    if (count <= w->int_max)
        return ERR_OK;
    w->ints = arena_alloc(&w->arena, (size_t)count * sizeof *w->ints);
    w->int_max = w->ints == NULL ? 0 : count;
    return arena_err(&w->arena);
}

typedef void stream_fn(struct block_writer *w, uint32_t first, uint32_t count, uint64_t *ret);

static enum err stream_ints(struct block_writer *w, enum seg_table table, enum block_stream stream,
                            stream_fn *fill)
{
    const struct block_rows *r = &w->rows[table];
    enum err e = ERR_OK;
    for (uint32_t p = 0, first = 0; e == ERR_OK && p < r->part_count; first = r->part_end[p++]) {
        uint32_t count = r->part_end[p] - first;
        if (count == 0)
            continue;
        e = ints_reserve(w, count);
        if (e != ERR_OK)
            break;
        fill(w, first, count, w->ints);
        e = block_write_ints(w, (uint8_t)(BLOCK_PAGE_STREAM + stream), w->ints, count,
                             &w->index.streams[stream][p]);
    }
    return e;
}

/* Values of eight bytes that nothing makes smaller: ids. */
static enum err stream_ids(struct block_writer *w, enum seg_table table, enum block_stream stream,
                           stream_fn *fill)
{
    const struct block_rows *r = &w->rows[table];
    enum err e = ERR_OK;
    for (uint32_t p = 0, first = 0; e == ERR_OK && p < r->part_count; first = r->part_end[p++]) {
        uint32_t count = r->part_end[p] - first;
        if (count == 0)
            continue;
        e = ints_reserve(w, count);
        if (e != ERR_OK)
            break;
        fill(w, first, count, w->ints);
        buf_append(&w->raw,
                   (struct slice){(const uint8_t *)w->ints, (size_t)count * sizeof *w->ints});
        e = block_write_page(w, (uint8_t)(BLOCK_PAGE_STREAM + stream), count, true,
                             &w->index.streams[stream][p]);
    }
    return e;
}

#define FILL_FIXED(name, field)                                                                    \
    static void fill_##name(struct block_writer *w, uint32_t first, uint32_t count, uint64_t *ret) \
    {                                                                                              \
        const struct block_order_span *s = &w->order.spans[first];                                 \
        for (uint32_t i = 0; i < count; i++)                                                       \
            ret[i] = w->fixed[s[i].segment].field[s[i].row];                                       \
    }
FILL_FIXED(span_id, span_id)
FILL_FIXED(duration, duration_ns)
FILL_FIXED(kind, kind)
FILL_FIXED(status, status)

static void fill_depth(struct block_writer *w, uint32_t first, uint32_t count, uint64_t *ret)
{
    for (uint32_t i = 0; i < count; i++)
        ret[i] = w->order.spans[first + i].depth;
}

static void fill_shared(struct block_writer *w, enum seg_table table, uint32_t first,
                        uint32_t count, uint64_t *ret)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct block_order_span *s = &w->order.spans[first + i];
        ret[i] = w->rows[table].place[s->segment][shared_row_of(w, table, s)];
    }
}

static void fill_resource(struct block_writer *w, uint32_t first, uint32_t count, uint64_t *ret)
{
    fill_shared(w, SEG_RESOURCE, first, count, ret);
}

static void fill_scope(struct block_writer *w, uint32_t first, uint32_t count, uint64_t *ret)
{
    fill_shared(w, SEG_SCOPE, first, count, ret);
}

static uint64_t start_of(const struct block_writer *w, uint32_t span)
{
    const struct block_order_span *s = &w->order.spans[span];
    return w->fixed[s->segment].start_ns[s->row];
}

static void fill_event_time(struct block_writer *w, uint32_t first, uint32_t count, uint64_t *ret)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct block_source *s = &w->rows[SEG_EVENT].sources[first + i];
        uint32_t span = w->order.place[s->segment][w->events[s->segment].span[s->row]];
        ret[i] = zigzag((int64_t)(w->events[s->segment].time_ns[s->row] - start_of(w, span)));
    }
}

static void fill_link_id(struct block_writer *w, uint32_t first, uint32_t count, uint64_t *ret)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct block_source *s = &w->rows[SEG_LINK].sources[first + i];
        ret[i] = w->links[s->segment].span_id[s->row];
    }
}

/* Which span of its group an event or link belongs to. */
static enum err stream_owners(struct block_writer *w, enum seg_table table,
                              enum block_stream stream)
{
    const struct block_rows *r = &w->rows[table];
    enum err e = ERR_OK;
    for (uint32_t p = 0, first = 0; e == ERR_OK && p < r->part_count; first = r->part_end[p++]) {
        uint32_t count = r->part_end[p] - first;
        if (count == 0)
            continue;
        e = ints_reserve(w, count);
        for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
            const struct block_source *s = &r->sources[first + i];
            w->ints[i] = w->order.place[s->segment][owners_of(w, table, s->segment)[s->row]] -
                         w->order.groups[p].first_span;
        }
        if (e == ERR_OK)
            e = block_write_ints(w, (uint8_t)(BLOCK_PAGE_STREAM + stream), w->ints, count,
                                 &w->index.streams[stream][p]);
    }
    return e;
}

static enum err stream_link_traces(struct block_writer *w)
{
    const struct block_rows *r = &w->rows[SEG_LINK];
    enum err e = ERR_OK;
    for (uint32_t p = 0, first = 0; e == ERR_OK && p < r->part_count; first = r->part_end[p++]) {
        if (r->part_end[p] == first)
            continue;
        for (uint32_t i = first; i < r->part_end[p]; i++) {
            const struct block_source *s = &r->sources[i];
            buf_append(&w->raw,
                       (struct slice){w->links[s->segment].trace_id[s->row].b, TRACE_ID_BYTES});
        }
        e = block_write_page(w, BLOCK_PAGE_STREAM + BLOCK_LINK_TRACE, r->part_end[p] - first, false,
                             &w->index.streams[BLOCK_LINK_TRACE][p]);
    }
    return e;
}

/* Starts are told trace by trace, so this one needs to know where traces begin. */
static enum err stream_starts(struct block_writer *w)
{
    enum err e = ERR_OK;
    for (uint32_t g = 0; e == ERR_OK && g < w->order.group_count; g++) {
        const struct block_order_group *group = &w->order.groups[g];
        e = ints_reserve(w, group->span_count);
        for (uint32_t t = group->first_trace;
             e == ERR_OK && t < group->first_trace + group->trace_count; t++) {
            const struct block_order_trace *trace = &w->order.traces[t];
            uint64_t before = trace->min_start_ns;
            for (uint32_t i = trace->first; i < trace->first + trace->span_count; i++) {
                w->ints[i - group->first_span] = zigzag((int64_t)(start_of(w, i) - before));
                before = start_of(w, i);
            }
        }
        if (e == ERR_OK)
            e = block_write_ints(w, BLOCK_PAGE_STREAM + BLOCK_START, w->ints, group->span_count,
                                 &w->index.streams[BLOCK_START][g]);
    }
    return e;
}

static enum err stream_orphans(struct block_writer *w)
{
    enum err e = ERR_OK;
    for (uint32_t g = 0; e == ERR_OK && g < w->order.group_count; g++) {
        const struct block_order_group *group = &w->order.groups[g];
        uint32_t count = 0;
        e = ints_reserve(w, group->span_count);
        for (uint32_t i = 0; e == ERR_OK && i < group->span_count; i++) {
            const struct block_order_span *s = &w->order.spans[group->first_span + i];
            if (s->depth == 0 && w->fixed[s->segment].parent_id[s->row] != 0)
                w->ints[count++] = i;
        }
        if (e != ERR_OK || count == 0)
            continue;
        page_put_ints(&w->raw, w->ints, count);
        for (uint32_t i = 0; i < count; i++) {
            const struct block_order_span *s = &w->order.spans[group->first_span + w->ints[i]];
            buf_append(&w->raw,
                       (struct slice){(const uint8_t *)&w->fixed[s->segment].parent_id[s->row],
                                      SPAN_ID_BYTES});
        }
        e = block_write_page(w, BLOCK_PAGE_STREAM + BLOCK_ORPHANS, count, false,
                             &w->index.streams[BLOCK_ORPHANS][g]);
    }
    return e;
}

static uint64_t trace_value(const struct block_order_trace *t, enum block_stream stream)
{
    if (stream == BLOCK_TRACE_SPANS)
        return t->span_count;
    if (stream == BLOCK_TRACE_START)
        return t->min_start_ns;
    return stream == BLOCK_TRACE_LENGTH ? t->max_end_ns - t->min_start_ns : t->flags;
}

static enum err stream_traces(struct block_writer *w)
{
    static const enum block_stream numbers[] = {BLOCK_TRACE_SPANS, BLOCK_TRACE_START,
                                                BLOCK_TRACE_LENGTH, BLOCK_TRACE_FLAGS};
    enum err e = ERR_OK;
    for (uint32_t g = 0; e == ERR_OK && g < w->order.group_count; g++) {
        const struct block_order_group *group = &w->order.groups[g];
        const struct block_order_trace *traces = &w->order.traces[group->first_trace];
        for (uint32_t t = 0; t < group->trace_count; t++)
            buf_append(&w->raw, (struct slice){traces[t].id.b, TRACE_ID_BYTES});
        e = block_write_page(w, BLOCK_PAGE_STREAM + BLOCK_TRACE_ID, group->trace_count, false,
                             &w->index.streams[BLOCK_TRACE_ID][g]);
    }
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
        for (uint32_t g = 0; e == ERR_OK && g < w->order.group_count; g++) {
            const struct block_order_group *group = &w->order.groups[g];
            e = ints_reserve(w, group->trace_count);
            for (uint32_t t = 0; e == ERR_OK && t < group->trace_count; t++)
                w->ints[t] = trace_value(&w->order.traces[group->first_trace + t], numbers[k]);
            if (e == ERR_OK)
                e = block_write_ints(w, (uint8_t)(BLOCK_PAGE_STREAM + numbers[k]), w->ints,
                                     group->trace_count, &w->index.streams[numbers[k]][g]);
        }
    return e;
}

enum err block_write_streams(struct block_writer *w)
{
    enum err e = stream_traces(w);
    if (e == ERR_OK)
        e = stream_ids(w, SEG_SPAN, BLOCK_SPAN_ID, fill_span_id);
    if (e == ERR_OK)
        e = stream_ints(w, SEG_SPAN, BLOCK_DEPTH, fill_depth);
    if (e == ERR_OK)
        e = stream_orphans(w);
    if (e == ERR_OK)
        e = stream_starts(w);
    if (e == ERR_OK)
        e = stream_ints(w, SEG_SPAN, BLOCK_DURATION, fill_duration);
    if (e == ERR_OK)
        e = stream_ints(w, SEG_SPAN, BLOCK_KIND, fill_kind);
    if (e == ERR_OK)
        e = stream_ints(w, SEG_SPAN, BLOCK_STATUS, fill_status);
    if (e == ERR_OK)
        e = stream_ints(w, SEG_SPAN, BLOCK_RESOURCE, fill_resource);
    if (e == ERR_OK)
        e = stream_ints(w, SEG_SPAN, BLOCK_SCOPE, fill_scope);
    if (e == ERR_OK)
        e = stream_owners(w, SEG_EVENT, BLOCK_EVENT_SPAN);
    if (e == ERR_OK)
        e = stream_ints(w, SEG_EVENT, BLOCK_EVENT_TIME, fill_event_time);
    if (e == ERR_OK)
        e = stream_owners(w, SEG_LINK, BLOCK_LINK_SPAN);
    if (e == ERR_OK)
        e = stream_link_traces(w);
    return e == ERR_OK ? stream_ids(w, SEG_LINK, BLOCK_LINK_ID, fill_link_id) : e;
}

/* --- locator and flagged ids --- */

static int compare_located(const void *a, const void *b)
{
    const struct block_located *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->trace < y->trace ? -1 : x->trace > y->trace;
}

enum err block_write_locator(struct block_writer *w, struct block_located *all, uint32_t n,
                             struct arena *keep)
{
    uint32_t chunks = (n + BLOCK_LOCATOR_CHUNK - 1) / BLOCK_LOCATOR_CHUNK;
    w->index.chunks = ARENA_ARRAY(keep, struct block_chunk, chunks);
    if (w->index.chunks == NULL)
        return arena_err(keep);
    qsort(all, n, sizeof *all, compare_located);
    enum err e = ints_reserve(w, BLOCK_LOCATOR_CHUNK);
    for (uint32_t c = 0; e == ERR_OK && c < chunks; c++) {
        const struct block_located *from = &all[(size_t)c * BLOCK_LOCATOR_CHUNK];
        uint32_t count = n - c * BLOCK_LOCATOR_CHUNK < BLOCK_LOCATOR_CHUNK
                             ? n - c * BLOCK_LOCATOR_CHUNK
                             : BLOCK_LOCATOR_CHUNK;
        for (uint32_t i = 0; i < count; i++)
            w->ints[i] = from[i].hash;
        page_put_ints(&w->raw, w->ints, count);
        for (uint32_t i = 0; i < count; i++)
            w->ints[i] = from[i].trace;
        page_put_ints(&w->raw, w->ints, count);
        w->index.chunks[c] = (struct block_chunk){.first_hash = from[0].hash, .count = count};
        e = block_write_page(w, BLOCK_PAGE_LOCATOR, count, false, &w->index.chunks[c].page);
    }
    w->index.chunk_count = chunks;
    return e;
}

static enum err write_locator(struct block_writer *w)
{
    uint32_t n = w->order.trace_count;
    struct block_located *all = ARENA_ARRAY(&w->scratch, struct block_located, n);
    if (all == NULL)
        return arena_err(&w->scratch);
    for (uint32_t t = 0; t < n; t++)
        all[t] = (struct block_located){block_trace_hash(w->order.traces[t].id), t};
    enum err e = block_write_locator(w, all, n, &w->arena);
    arena_reset(&w->scratch);
    return e;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, TRACE_ID_BYTES);
}

enum err block_write_flagged(struct block_writer *w, struct trace_id *ids, uint32_t count)
{
    qsort(ids, count, sizeof *ids, compare_ids);
    w->index.meta.flagged_count = count;
    buf_append(&w->raw, (struct slice){(const uint8_t *)ids, (size_t)count * sizeof *ids});
    return count == 0 ? ERR_OK
                      : block_write_page(w, BLOCK_PAGE_FLAGGED, count, false, &w->index.flagged);
}

static enum err write_flagged(struct block_writer *w)
{
    struct trace_id *ids = ARENA_ARRAY(&w->scratch, struct trace_id, w->order.trace_count);
    uint32_t count = 0;
    if (ids == NULL)
        return arena_err(&w->scratch);
    for (uint32_t t = 0; t < w->order.trace_count; t++)
        if ((w->order.traces[t].flags & SEG_TRACE_FLAGGED) != 0)
            ids[count++] = w->order.traces[t].id;
    enum err e = block_write_flagged(w, ids, count);
    arena_reset(&w->scratch);
    return e;
}

/* --- the whole --- */

enum err block_write_header(struct block_writer *w)
{
    uint8_t header[BLOCK_HEADER_BYTES] = {0};
    memcpy(header, BLOCK_MAGIC, 4);
    le16_write(header + 4, BLOCK_VERSION);
    buf_append(&w->out, (struct slice){header, sizeof header});
    w->offset = sizeof header;
    return buf_err(&w->out);
}

enum err block_write_footer(struct block_writer *w)
{
    uint8_t trailer[BLOCK_TRAILER_BYTES] = {0};
    struct block_ref footer;
    block_footer_put(&w->index, &w->raw);
    enum err e = block_write_page(w, BLOCK_PAGE_FOOTER, 0, false, &footer);
    if (e != ERR_OK)
        return e;
    le64_write(trailer, footer.offset);
    le32_write(trailer + 8, footer.bytes);
    le16_write(trailer + 12, BLOCK_VERSION);
    le64_write(trailer + 16, w->offset + sizeof trailer);
    le32_write(trailer + 24, crc32c((struct slice){trailer, 24}));
    memcpy(trailer + 28, BLOCK_MAGIC, 4);
    buf_append(&w->out, (struct slice){trailer, sizeof trailer});
    w->offset += sizeof trailer;
    e = flush(w);
    return e == ERR_OK ? fs_sync_data(w->fd) : e;
}

static enum err prepare(struct block_writer *w, block_take_fn *take, void *take_arg)
{
    enum err e =
        block_order_make(w->segments, w->segment_count, take, take_arg, &w->arena, &w->order);
    if (e != ERR_OK)
        return e;
    w->fixed = ARENA_ARRAY(&w->arena, struct seg_fixed, w->segment_count);
    w->events = ARENA_ARRAY(&w->arena, struct seg_events, w->segment_count);
    w->links = ARENA_ARRAY(&w->arena, struct seg_links, w->segment_count);
    e = arena_err(&w->arena);
    for (uint32_t i = 0; e == ERR_OK && i < w->segment_count; i++) {
        e = segment_fixed(w->segments[i], SEG_F_ALL, &w->fixed[i]);
        if (e == ERR_OK)
            e = segment_events(w->segments[i], &w->events[i]);
        if (e == ERR_OK)
            e = segment_links(w->segments[i], &w->links[i]);
    }
    if (e == ERR_OK)
        e = block_write_choose_spans(w);
    if (e == ERR_OK)
        e = choose_shared(w, SEG_RESOURCE);
    if (e == ERR_OK)
        e = choose_shared(w, SEG_SCOPE);
    if (e == ERR_OK)
        e = block_write_choose_children(w, SEG_EVENT);
    if (e == ERR_OK)
        e = block_write_choose_children(w, SEG_LINK);
    for (int s = 0; e == ERR_OK && s < BLOCK_STREAM_COUNT; s++)
        w->index.streams[s] =
            ARENA_ARRAY(&w->arena, struct block_ref,
                        block_parts(&w->index, block_stream_table((enum block_stream)s)));
    return e == ERR_OK ? arena_err(&w->arena) : e;
}

void block_write_fill_meta(struct block_index *x)
{
    struct block_meta *m = &x->meta;
    m->span_count = m->trace_count = 0;
    m->group_count = x->group_count;
    m->version = BLOCK_VERSION;
    m->min_start_ns = UINT64_MAX;
    m->max_end_ns = 0;
    for (uint32_t g = 0; g < x->group_count; g++) {
        const struct block_group *group = &x->groups[g];
        m->span_count += group->rows[SEG_SPAN];
        m->trace_count += group->trace_count;
        if (group->min_start_ns < m->min_start_ns)
            m->min_start_ns = group->min_start_ns;
        if (group->max_end_ns > m->max_end_ns)
            m->max_end_ns = group->max_end_ns;
    }
}

/* A head copies what spans have: much of the memory that a block takes to write, and only streams and names look at it. */
static void forget_fixed(struct block_writer *w)
{
    for (uint32_t i = 0; i < w->segment_count; i++)
        if (segment_rows_ops_of(w->segments[i])->forget_fixed != NULL)
            segment_rows_ops_of(w->segments[i])->forget_fixed(w->segments[i]);
    w->fixed = NULL;
}

static enum err write_all(struct block_writer *w)
{
    enum err e = block_write_header(w);
    if (e == ERR_OK)
        e = block_write_streams(w);
    if (e == ERR_OK)
        e = block_columns_names(w, SEG_SPAN, BLOCK_NAME, BLOCK_DICT_SPAN_NAMES);
    if (e == ERR_OK)
        e = block_columns_names(w, SEG_EVENT, BLOCK_EVENT_NAME, BLOCK_DICT_EVENT_NAMES);
    forget_fixed(w);
    for (int t = 0; e == ERR_OK && t < SEG_TABLE_COUNT; t++) {
        e = block_columns_shapes(w, (enum seg_table)t);
        if (e == ERR_OK)
            e = block_columns_write(w, (enum seg_table)t);
    }
    if (e == ERR_OK)
        e = write_locator(w);
    if (e == ERR_OK)
        e = write_flagged(w);
    return e == ERR_OK ? block_write_footer(w) : e;
}

enum err block_write(const char *path, struct segment **segments, uint32_t segment_count,
                     block_take_fn *take, void *take_arg, struct budget *budget,
                     struct block_meta *meta)
{
    struct block_writer w = {.segments = segments, .segment_count = segment_count, .fd = -1};
    arena_init(&w.arena, budget);
    arena_init(&w.scratch, budget);
    buf_init(&w.out, LZ4_PAGE_BYTES_MAX);
    buf_init(&w.raw, LZ4_PAGE_BYTES_MAX);
    w.index.meta = *meta;
    enum err e = prepare(&w, take, take_arg);
    if (e == ERR_OK) {
        block_write_fill_meta(&w.index);
        w.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        e = w.fd < 0 ? fs_errno_err(errno) : write_all(&w);
        if (e != ERR_OK && w.fd >= 0)
            (void)unlink(path); /* half a block is nothing; the error that is reported came first */
    }
    fs_close(&w.fd);
    buf_release(&w.out);
    buf_release(&w.raw);
    arena_release(&w.scratch);
    arena_release(&w.arena);
    if (e != ERR_OK)
        return e;
    *meta = w.index.meta;
    meta->bytes = w.offset;
    return ERR_OK;
}
