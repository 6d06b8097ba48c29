/* A row group of a block as a segment: pages are read, checked and decoded when they are asked for. */
#include "common/base/hash.h"
#include "common/store/block_reader.h"
#include "common/store/page.h"
#include "common/store/segment_otlp.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct column_memo {
    bool is_known;
    struct seg_column column;
};

struct own_dict { /* one that the block had no room for */
    struct own_dict *next;
    struct block_dict *dict;
    uint32_t number;
};

struct block_segment {
    struct segment_rows base; /* first */
    struct block *b;
    uint32_t group;
    struct arena arena, tmp;
    struct own_dict *own_dicts;
    struct seg_fixed fixed;
    uint32_t *depth, *first; /* first: [trace_count + 1] row of each trace */
    struct seg_traces traces;
    struct seg_events events;
    struct seg_links links;
    bool has_traces, has_events, has_links;
    uint32_t *shape_of[SEG_TABLE_COUNT]; /* [row_count] */
    struct column_memo *memo[SEG_TABLE_COUNT];
};

static struct block_segment *mine(struct segment *s)
{
    return (struct block_segment *)(void *)s;
}

static uint32_t rows_of(const struct block_segment *s, enum seg_table table)
{
    return s->base.segment.row_count[table];
}

static enum err arena_out(const struct block_segment *s)
{
    enum err e = arena_err(&s->arena);
    return e == ERR_OK ? arena_err(&s->tmp) : e;
}

/* The raw bytes of a page of `count` values; in s->tmp. */
static enum err page_of(struct block_segment *s, const struct block_ref *ref, uint8_t kind,
                        uint32_t count, struct slice *ret)
{
    struct lz4_page page;
    if (ref->bytes == 0)
        return ERR_CORRUPT;
    enum err e = block_page(s->b, ref, kind, &s->tmp, &s->base.segment.read_bytes, &page, ret);
    return e == ERR_OK && page.count != count ? ERR_CORRUPT : e;
}

static const struct block_ref *stream_ref(const struct block_segment *s, enum block_stream stream)
{
    uint32_t part = block_is_shared(block_stream_table(stream)) ? 0 : s->group;
    return &s->b->index.streams[stream][part];
}

/* Numbers of a stream, in s->tmp: the caller resets it when they are used up. */
static enum err stream_ints(struct block_segment *s, enum block_stream stream, uint32_t count,
                            uint64_t **ret)
{
    struct slice raw = SLICE_NONE;
    enum err e =
        page_of(s, stream_ref(s, stream), (uint8_t)(BLOCK_PAGE_STREAM + stream), count, &raw);
    if (e != ERR_OK)
        return e;
    uint64_t *values = arena_alloc(&s->tmp, (size_t)count * sizeof *values);
    if (values == NULL)
        return arena_err(&s->tmp);
    struct reader r = reader_of(raw);
    *ret = values;
    return page_get_ints(&r, count, values);
}

/* As numbers below `limit`. */
static enum err stream_u32(struct block_segment *s, enum block_stream stream, uint32_t count,
                           uint64_t limit, uint32_t **ret)
{
    uint64_t *values;
    uint32_t *to = arena_alloc(&s->arena, (size_t)count * sizeof *to);
    if (to == NULL)
        return arena_out(s);
    enum err e = count == 0 ? ERR_OK : stream_ints(s, stream, count, &values);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        if (values[i] >= limit)
            e = ERR_CORRUPT;
        to[i] = (uint32_t)values[i];
    }
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        *ret = to;
    return e;
}

static enum err stream_u8(struct block_segment *s, enum block_stream stream, const uint8_t **ret)
{
    uint32_t n = rows_of(s, SEG_SPAN);
    uint64_t *values;
    uint8_t *to = arena_alloc(&s->arena, n);
    if (to == NULL)
        return arena_out(s);
    enum err e = stream_ints(s, stream, n, &values);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        if (values[i] > UINT8_MAX)
            e = ERR_CORRUPT;
        to[i] = (uint8_t)values[i];
    }
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        *ret = to;
    return e;
}

/* Values of a fixed width, copied as they stand. */
static enum err stream_raw(struct block_segment *s, enum block_stream stream, uint32_t count,
                           size_t width, const void **ret)
{
    struct slice raw = SLICE_NONE;
    uint8_t *to = arena_alloc(&s->arena, count * width);
    if (to == NULL)
        return arena_out(s);
    enum err e = count == 0 ? ERR_OK
                            : page_of(s, stream_ref(s, stream),
                                      (uint8_t)(BLOCK_PAGE_STREAM + stream), count, &raw);
    if (e == ERR_OK && raw.len != count * width)
        e = ERR_CORRUPT;
    if (e == ERR_OK && raw.len != 0)
        memcpy(to, raw.ptr, raw.len);
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        *ret = to;
    return e;
}

/* --- dictionaries --- */

static enum err dict_of(struct block_segment *s, uint32_t number, uint32_t parts,
                        const struct block_dict **ret)
{
    for (const struct own_dict *o = s->own_dicts; o != NULL; o = o->next)
        if (o->number == number && o->dict->part_count == parts) {
            *ret = o->dict;
            return ERR_OK;
        }
    struct block_dict *own;
    enum err e = block_dict_get(s->b, number, parts, s->arena.budget, &s->base.segment.read_bytes,
                                ret, &own);
    if (e != ERR_OK || own == NULL)
        return e;
    struct own_dict *o = ARENA_NEW(&s->arena, struct own_dict);
    if (o == NULL) {
        block_dict_free(own);
        return arena_out(s);
    }
    *o = (struct own_dict){s->own_dicts, own, number};
    s->own_dicts = o;
    return ERR_OK;
}

/* The texts of a part, by their numbers in its code list. */
static enum err listed_texts(struct block_segment *s, const struct block_dict *d, uint32_t part,
                             const struct slice **ret, uint32_t *ret_count)
{
    uint32_t first = part == 0 ? 0 : d->list_end[part - 1], n = d->list_end[part] - first;
    struct slice *to = arena_alloc(&s->arena, n * sizeof *to);
    if (to == NULL)
        return arena_out(s);
    for (uint32_t i = 0; i < n; i++)
        to[i] = d->texts[d->codes[first + i]];
    *ret = to;
    *ret_count = n;
    return ERR_OK;
}

static enum err names_of(struct block_segment *s, enum block_stream stream, uint32_t dict,
                         uint32_t rows, struct seg_names *ret)
{
    const struct block_dict *d;
    struct seg_names names;
    uint32_t *codes;
    enum err e = dict_of(s, dict, s->b->index.group_count, &d);
    if (e == ERR_OK)
        e = listed_texts(s, d, s->group, &names.values, &names.value_count);
    if (e == ERR_OK)
        e = stream_u32(s, stream, rows, names.value_count, &codes);
    if (e != ERR_OK)
        return e;
    names.codes = codes;
    *ret = names;
    return ERR_OK;
}

/* --- traces and fixed columns --- */

/* Where traces begin; each has a span at least. */
static enum err load_first(struct block_segment *s)
{
    uint32_t n = s->base.segment.trace_count, total = 0;
    uint32_t *counts;
    if (s->first != NULL)
        return ERR_OK;
    enum err e = stream_u32(s, BLOCK_TRACE_SPANS, n, (uint64_t)rows_of(s, SEG_SPAN) + 1, &counts);
    uint32_t *first = e == ERR_OK ? arena_alloc(&s->arena, ((size_t)n + 1) * sizeof *first) : NULL;
    if (first == NULL)
        return e == ERR_OK ? arena_out(s) : e;
    for (uint32_t t = 0; t < n; t++) {
        first[t] = total;
        if (counts[t] == 0 || counts[t] > rows_of(s, SEG_SPAN) - total)
            return ERR_CORRUPT;
        total += counts[t];
    }
    first[n] = total;
    if (total != rows_of(s, SEG_SPAN))
        return ERR_CORRUPT;
    s->traces.span_count = counts;
    s->first = first;
    return ERR_OK;
}

static enum err load_trace(struct block_segment *s)
{
    enum err e = load_first(s);
    uint32_t *to = e == ERR_OK ? arena_alloc(&s->arena, rows_of(s, SEG_SPAN) * sizeof *to) : NULL;
    if (to == NULL)
        return e == ERR_OK ? arena_out(s) : e;
    for (uint32_t t = 0; t < s->base.segment.trace_count; t++)
        for (uint32_t i = s->first[t]; i < s->first[t + 1]; i++)
            to[i] = t;
    s->fixed.trace = to;
    return ERR_OK;
}

/* A depth is at most one more than that of the row before; a trace begins at 0. */
static enum err load_depth(struct block_segment *s)
{
    uint32_t *depth;
    enum err e = load_first(s);
    if (e == ERR_OK)
        e = stream_u32(s, BLOCK_DEPTH, rows_of(s, SEG_SPAN), rows_of(s, SEG_SPAN), &depth);
    if (e != ERR_OK)
        return e;
    for (uint32_t t = 0; t < s->base.segment.trace_count; t++)
        for (uint32_t i = s->first[t]; i < s->first[t + 1]; i++)
            if (depth[i] > (i == s->first[t] ? 0 : depth[i - 1] + 1))
                return ERR_CORRUPT;
    s->depth = depth;
    return ERR_OK;
}

static enum err load_orphans(struct block_segment *s, uint64_t *parents)
{
    const struct block_ref *ref = stream_ref(s, BLOCK_ORPHANS);
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    if (ref->bytes == 0)
        return ERR_OK;
    enum err e = block_page(s->b, ref, BLOCK_PAGE_STREAM + BLOCK_ORPHANS, &s->tmp,
                            &s->base.segment.read_bytes, &page, &raw);
    if (e == ERR_OK && page.count > rows_of(s, SEG_SPAN))
        e = ERR_CORRUPT;
    uint64_t *rows = e == ERR_OK ? arena_alloc(&s->tmp, (size_t)page.count * sizeof *rows) : NULL;
    if (e == ERR_OK && rows == NULL)
        e = arena_err(&s->tmp);
    struct reader r = reader_of(raw);
    if (e == ERR_OK)
        e = page_get_ints(&r, page.count, rows);
    for (uint32_t i = 0; e == ERR_OK && i < page.count; i++) {
        struct slice id = reader_take(&r, SPAN_ID_BYTES);
        if (reader_failed(&r) || rows[i] >= rows_of(s, SEG_SPAN) || s->depth[rows[i]] != 0)
            e = ERR_CORRUPT;
        else
            memcpy(&parents[rows[i]], id.ptr, SPAN_ID_BYTES);
    }
    arena_reset(&s->tmp);
    return e;
}

static enum err load_fixed(struct block_segment *s, uint32_t bit);

static enum err load_parent(struct block_segment *s)
{
    uint32_t n = rows_of(s, SEG_SPAN);
    enum err e = s->depth == NULL ? load_depth(s) : ERR_OK;
    if (e == ERR_OK)
        e = load_fixed(s, SEG_F_SPAN_ID);
    uint64_t *parents = e == ERR_OK ? ARENA_ARRAY(&s->arena, uint64_t, n) : NULL;
    uint32_t *at_depth =
        parents == NULL
            ? NULL
            : arena_alloc(&s->tmp, (size_t)n * sizeof *at_depth); /* the last row of each depth */
    if (at_depth == NULL)
        return e == ERR_OK ? arena_out(s) : e;
    for (uint32_t i = 0; i < n; i++) {
        at_depth[s->depth[i]] = i;
        if (s->depth[i] != 0)
            parents[i] = s->fixed.span_id[at_depth[s->depth[i] - 1]];
    }
    arena_reset(&s->tmp);
    e = load_orphans(s, parents);
    if (e == ERR_OK)
        s->fixed.parent_id = parents;
    return e;
}

static enum err load_trace_ids(struct block_segment *s)
{
    const void *ids;
    if (s->traces.id != NULL)
        return ERR_OK;
    enum err e = stream_raw(s, BLOCK_TRACE_ID, s->base.segment.trace_count, TRACE_ID_BYTES, &ids);
    if (e == ERR_OK)
        s->traces.id = ids;
    return e;
}

static enum err trace_starts(struct block_segment *s)
{
    uint32_t n = s->base.segment.trace_count;
    uint64_t *values;
    if (s->traces.min_start_ns != NULL)
        return ERR_OK;
    enum err e = stream_ints(s, BLOCK_TRACE_START, n, &values);
    uint64_t *to = e == ERR_OK ? arena_alloc(&s->arena, (size_t)n * sizeof *to) : NULL;
    if (to != NULL)
        memcpy(to, values, n * sizeof *to);
    arena_reset(&s->tmp);
    s->traces.min_start_ns = to;
    return e == ERR_OK && to == NULL ? arena_out(s) : e;
}

static enum err load_start(struct block_segment *s)
{
    uint32_t n = rows_of(s, SEG_SPAN);
    uint64_t *values;
    enum err e = load_first(s);
    if (e == ERR_OK)
        e = trace_starts(s);
    uint64_t *to = e == ERR_OK ? arena_alloc(&s->arena, (size_t)n * sizeof *to) : NULL;
    if (to == NULL)
        return e == ERR_OK ? arena_out(s) : e;
    e = stream_ints(s, BLOCK_START, n, &values);
    for (uint32_t t = 0; e == ERR_OK && t < s->base.segment.trace_count; t++) {
        uint64_t before = s->traces.min_start_ns[t];
        for (uint32_t i = s->first[t]; i < s->first[t + 1]; i++)
            before = to[i] = before + (uint64_t)unzigzag(values[i]);
    }
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        s->fixed.start_ns = to;
    return e;
}

static enum err load_duration(struct block_segment *s)
{
    uint32_t n = rows_of(s, SEG_SPAN);
    uint64_t *values;
    uint64_t *to = arena_alloc(&s->arena, (size_t)n * sizeof *to);
    if (to == NULL)
        return arena_out(s);
    enum err e = stream_ints(s, BLOCK_DURATION, n, &values);
    if (e == ERR_OK)
        memcpy(to, values, n * sizeof *to);
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        s->fixed.duration_ns = to;
    return e;
}

static enum err load_span_id(struct block_segment *s)
{
    const void *ids;
    enum err e = stream_raw(s, BLOCK_SPAN_ID, rows_of(s, SEG_SPAN), SPAN_ID_BYTES, &ids);
    if (e == ERR_OK)
        s->fixed.span_id = ids;
    return e;
}

static enum err load_shared(struct block_segment *s, enum block_stream stream, enum seg_table table,
                            const uint32_t **ret)
{
    uint32_t *rows;
    enum err e = stream_u32(s, stream, rows_of(s, SEG_SPAN), rows_of(s, table), &rows);
    if (e == ERR_OK)
        *ret = rows;
    return e;
}

static bool has_fixed(const struct seg_fixed *f, uint32_t bit)
{
    const void *const there[] = {f->trace,       f->span_id,    f->parent_id, f->start_ns,
                                 f->duration_ns, f->name.codes, f->kind,      f->status,
                                 f->resource,    f->scope};
    unsigned at = (unsigned)__builtin_ctz(bit);
    assert(at < sizeof there / sizeof there[0]);
    return there[at] != NULL;
}

static enum err load_fixed(struct block_segment *s, uint32_t bit)
{
    struct seg_fixed *f = &s->fixed;
    if (has_fixed(f, bit))
        return ERR_OK;
    switch (bit) {
    case SEG_F_TRACE: return load_trace(s);
    case SEG_F_SPAN_ID: return load_span_id(s);
    case SEG_F_PARENT: return load_parent(s);
    case SEG_F_START: return load_start(s);
    case SEG_F_DURATION: return load_duration(s);
    case SEG_F_NAME:
        return names_of(s, BLOCK_NAME, BLOCK_DICT_SPAN_NAMES, rows_of(s, SEG_SPAN), &f->name);
    case SEG_F_KIND: return stream_u8(s, BLOCK_KIND, &f->kind);
    case SEG_F_STATUS: return stream_u8(s, BLOCK_STATUS, &f->status);
    case SEG_F_RESOURCE: return load_shared(s, BLOCK_RESOURCE, SEG_RESOURCE, &f->resource);
    case SEG_F_SCOPE: return load_shared(s, BLOCK_SCOPE, SEG_SCOPE, &f->scope);
    default: return ERR_OK;
    }
}

static enum err op_fixed(struct segment *segment, uint32_t which, struct seg_fixed *ret)
{
    struct block_segment *s = mine(segment);
    for (uint32_t bit = 1; bit <= SEG_F_ALL; bit <<= 1) {
        enum err e = (which & bit) != 0 ? load_fixed(s, bit) : ERR_OK;
        if (e != ERR_OK)
            return e;
    }
    const struct seg_fixed *f = &s->fixed;
#define GIVE(bit, field)      \
    if ((which & (bit)) != 0) \
        ret->field = f->field;
    GIVE(SEG_F_TRACE, trace)
    GIVE(SEG_F_SPAN_ID, span_id)
    GIVE(SEG_F_PARENT, parent_id)
    GIVE(SEG_F_START, start_ns)
    GIVE(SEG_F_DURATION, duration_ns)
    GIVE(SEG_F_NAME, name)
    GIVE(SEG_F_KIND, kind)
    GIVE(SEG_F_STATUS, status)
    GIVE(SEG_F_RESOURCE, resource)
    GIVE(SEG_F_SCOPE, scope)
#undef GIVE
    return ERR_OK;
}

static enum err op_traces(struct segment *segment, struct seg_traces *ret)
{
    struct block_segment *s = mine(segment);
    uint32_t n = segment->trace_count;
    uint64_t *values;
    if (s->has_traces) {
        *ret = s->traces;
        return ERR_OK;
    }
    enum err e = load_first(s);
    if (e == ERR_OK)
        e = trace_starts(s);
    if (e == ERR_OK)
        e = load_trace_ids(s);
    uint64_t *end = e == ERR_OK ? arena_alloc(&s->arena, (size_t)n * sizeof *end) : NULL;
    uint8_t *flags = e == ERR_OK ? arena_alloc(&s->arena, n) : NULL;
    if (end == NULL || flags == NULL)
        return e == ERR_OK ? arena_out(s) : e;
    e = stream_ints(s, BLOCK_TRACE_LENGTH, n, &values);
    for (uint32_t t = 0; e == ERR_OK && t < n; t++)
        end[t] = s->traces.min_start_ns[t] + values[t];
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        e = stream_ints(s, BLOCK_TRACE_FLAGS, n, &values);
    for (uint32_t t = 0; e == ERR_OK && t < n; t++)
        flags[t] = (uint8_t)values[t];
    arena_reset(&s->tmp);
    if (e != ERR_OK)
        return e;
    s->traces.max_end_ns = end;
    s->traces.flags = flags;
    s->has_traces = true;
    *ret = s->traces;
    return ERR_OK;
}

/* --- columns --- */

static enum err load_shapes(struct block_segment *s, enum seg_table table)
{
    uint32_t count = s->b->index.shape_count[table];
    if (s->shape_of[table] != NULL)
        return ERR_OK;
    return stream_u32(s, (enum block_stream)(BLOCK_SHAPE_SPAN + (int)table), rows_of(s, table),
                      count, &s->shape_of[table]);
}

/* The rows that have a column, each as often as it has it: told by the shapes. */
static enum err column_rows(struct block_segment *s, enum seg_table table, uint32_t column,
                            struct seg_column *ret)
{
    const struct block_index *x = &s->b->index;
    enum err e = load_shapes(s, table);
    uint32_t *times = e == ERR_OK ? ARENA_ARRAY(&s->tmp, uint32_t, x->shape_count[table]) : NULL,
             at = 0;
    if (times == NULL)
        return e == ERR_OK ? arena_out(s) : e;
    uint64_t count = 0;
    for (uint32_t i = 0; i < x->shape_count[table]; i++)
        for (uint32_t k = 0; k < x->shapes[table][i].count; k++)
            times[i] += x->shapes[table][i].columns[k] == column;
    for (uint32_t row = 0; row < rows_of(s, table); row++)
        count += times[s->shape_of[table][row]];
    uint32_t *rows = count > UINT32_MAX ? NULL : arena_alloc(&s->arena, count * sizeof *rows);
    if (rows == NULL)
        return count > UINT32_MAX ? ERR_CORRUPT : arena_out(s);
    for (uint32_t row = 0; row < rows_of(s, table); row++)
        for (uint32_t k = times[s->shape_of[table][row]]; k > 0; k--)
            rows[at++] = row;
    arena_reset(&s->tmp);
    ret->rows = rows;
    ret->count = (uint32_t)count;
    return ERR_OK;
}

static enum err get_ints(struct block_segment *s, struct slice raw, struct seg_column *c)
{
    struct reader r = reader_of(raw);
    int64_t *to = arena_alloc(&s->arena, (size_t)c->count * sizeof *to);
    uint64_t *values = arena_alloc(&s->tmp, (size_t)c->count * sizeof *values);
    if (to == NULL || values == NULL)
        return arena_out(s);
    uint8_t has_sign = reader_u8(&r);
    enum err e =
        reader_failed(&r) || has_sign > 1 ? ERR_CORRUPT : page_get_ints(&r, c->count, values);
    for (uint32_t i = 0; e == ERR_OK && i < c->count; i++)
        to[i] = has_sign ? page_to_signed(values[i]) : (int64_t)values[i];
    c->ints = to;
    return e;
}

static enum err get_doubles(struct block_segment *s, struct slice raw, struct seg_column *c)
{
    struct reader r = reader_of(raw);
    double *to = arena_alloc(&s->arena, (size_t)c->count * sizeof *to);
    if (to == NULL)
        return arena_out(s);
    c->doubles = to;
    return page_get_doubles(&r, c->count, to);
}

static enum err get_bools(struct block_segment *s, struct slice raw, struct seg_column *c)
{
    struct reader r = reader_of(raw);
    uint8_t *to = arena_alloc(&s->arena, c->count);
    uint64_t *values = arena_alloc(&s->tmp, (size_t)c->count * sizeof *values);
    if (to == NULL || values == NULL)
        return arena_out(s);
    enum err e = page_get_ints(&r, c->count, values);
    for (uint32_t i = 0; e == ERR_OK && i < c->count; i++)
        to[i] = values[i] != 0;
    c->bools = to;
    return e;
}

static enum err get_codes(struct block_segment *s, const struct block_column *from, uint32_t part,
                          struct slice raw, struct seg_column *c)
{
    struct reader r = reader_of(raw);
    const struct block_dict *d;
    uint32_t *to = arena_alloc(&s->arena, (size_t)c->count * sizeof *to);
    uint64_t *values = arena_alloc(&s->tmp, (size_t)c->count * sizeof *values);
    if (to == NULL || values == NULL)
        return arena_out(s);
    enum err e = dict_of(s, from->dict, block_parts(&s->b->index, (enum seg_table)from->table), &d);
    if (e == ERR_OK)
        e = listed_texts(s, d, part, &c->values, &c->value_count);
    if (e == ERR_OK)
        e = page_get_ints(&r, c->count, values);
    for (uint32_t i = 0; e == ERR_OK && i < c->count; i++) {
        if (values[i] >= c->value_count)
            e = ERR_CORRUPT;
        to[i] = (uint32_t)values[i];
    }
    c->codes = to;
    c->is_unique_text = true;
    return e;
}

static enum err get_plain(struct block_segment *s, struct slice raw, struct seg_column *c)
{
    raw = arena_dup(&s->arena, raw);
    struct reader r = reader_of(raw);
    uint32_t *to = arena_alloc(&s->arena, (size_t)c->count * sizeof *to);
    struct slice *texts;
    if (to == NULL)
        return arena_out(s);
    for (uint32_t i = 0; i < c->count; i++)
        to[i] = i;
    enum err e = page_get_texts(&r, c->count, &s->arena, &texts);
    c->codes = to;
    c->values = texts;
    c->value_count = c->count;
    return e;
}

static uint8_t page_kind(const struct block_column *c)
{
    switch ((enum seg_type)c->type) {
    case SEG_INT: return BLOCK_PAGE_INTS;
    case SEG_DOUBLE: return BLOCK_PAGE_DOUBLES;
    case SEG_BOOL: return BLOCK_PAGE_BOOLS;
    case SEG_STR:
    case SEG_ANY: return c->form == BLOCK_FORM_DICT ? BLOCK_PAGE_CODES : BLOCK_PAGE_TEXTS;
    case SEG_TYPE_COUNT: break;
    }
    return 0;
}

static enum err column_load(struct block_segment *s, const struct block_column *from, uint32_t part,
                            struct seg_column *ret)
{
    struct seg_column c = {.type = (enum seg_type)from->type};
    enum seg_table table = (enum seg_table)from->table;
    struct slice raw = SLICE_NONE;
    if (from->pages[part].bytes == 0) {
        *ret = c;
        return ERR_OK;
    }
    enum err e = column_rows(s, table, (uint32_t)(from - s->b->index.columns[table]), &c);
    if (e == ERR_OK)
        e = page_of(s, &from->pages[part], page_kind(from), c.count, &raw);
    if (e != ERR_OK)
        return e;
    if (c.type == SEG_INT)
        e = get_ints(s, raw, &c);
    else if (c.type == SEG_DOUBLE)
        e = get_doubles(s, raw, &c);
    else if (c.type == SEG_BOOL)
        e = get_bools(s, raw, &c);
    else
        e = from->form == BLOCK_FORM_DICT ? get_codes(s, from, part, raw, &c)
                                          : get_plain(s, raw, &c);
    if (e == ERR_OK)
        *ret = c;
    return e;
}

static enum err column_get(struct block_segment *s, enum seg_table table, uint32_t column,
                           const struct seg_column **ret)
{
    const struct block_index *x = &s->b->index;
    if (s->memo[table] == NULL)
        s->memo[table] = ARENA_ARRAY(&s->arena, struct column_memo, x->column_count[table]);
    if (s->memo[table] == NULL)
        return arena_out(s);
    struct column_memo *m = &s->memo[table][column];
    if (!m->is_known) {
        enum err e = column_load(s, &x->columns[table][column],
                                 block_is_shared(table) ? 0 : s->group, &m->column);
        arena_reset(&s->tmp);
        if (e != ERR_OK)
            return e;
        m->is_known = true;
    }
    *ret = &m->column;
    return ERR_OK;
}

static bool column_is_here(const struct block_segment *s, const struct block_column *c)
{
    return c->pages[block_is_shared((enum seg_table)c->table) ? 0 : s->group].bytes != 0;
}

static enum err op_attribute(struct segment *segment, enum seg_table table, struct slice key,
                             const struct seg_column **ret, uint32_t *ret_count)
{
    struct block_segment *s = mine(segment);
    const struct block_index *x = &s->b->index;
    struct seg_column *columns = ARENA_ARRAY(&s->arena, struct seg_column, SEG_TYPE_COUNT);
    uint32_t count = 0;
    if (columns == NULL)
        return arena_out(s);
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        const struct seg_column *column;
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || !column_is_here(s, c) || !slice_eq(c->key, key))
            continue;
        if (count == SEG_TYPE_COUNT)
            return ERR_CORRUPT;
        enum err e = column_get(s, table, i, &column);
        if (e != ERR_OK)
            return e;
        columns[count++] = *column;
    }
    *ret = columns;
    *ret_count = count;
    return ERR_OK;
}

static enum err op_field(struct segment *segment, enum seg_table table, enum seg_field field,
                         const struct seg_column **ret, uint32_t *ret_count)
{
    struct block_segment *s = mine(segment);
    const struct block_index *x = &s->b->index;
    *ret = NULL;
    *ret_count = 0;
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        if (c->field != field || !column_is_here(s, c))
            continue;
        *ret_count = 1;
        return column_get(s, table, i, ret);
    }
    return ERR_OK;
}

static enum err op_keys(struct segment *segment, enum seg_table table, struct arena *a,
                        struct seg_key **ret, uint32_t *ret_count)
{
    struct block_segment *s = mine(segment);
    const struct block_index *x = &s->b->index;
    uint32_t n = x->column_count[table], count = 0, mask = 15;
    while (mask < n * 2)
        mask = mask * 2 + 1;
    struct seg_key *keys = ARENA_ARRAY(a, struct seg_key, n);
    uint32_t *slots = ARENA_ARRAY(a, uint32_t, (size_t)mask + 1);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    for (uint32_t i = 0; i < n; i++) {
        const struct block_column *c = &x->columns[table][i];
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || !column_is_here(s, c))
            continue;
        uint32_t slot = (uint32_t)hash_seeded(c->key);
        while (slots[slot & mask] != 0 && !slice_eq(keys[slots[slot & mask] - 1].key, c->key))
            slot++;
        if (slots[slot & mask] == 0) {
            keys[count++].key = c->key;
            slots[slot & mask] = count;
        }
        keys[slots[slot & mask] - 1].types |= 1u << c->type;
    }
    *ret = keys;
    *ret_count = count;
    return ERR_OK;
}

/* --- events and links --- */

static enum err owners(struct block_segment *s, enum seg_table table, enum block_stream stream,
                       const uint32_t **ret)
{
    uint32_t *span;
    enum err e = stream_u32(s, stream, rows_of(s, table), rows_of(s, SEG_SPAN), &span);
    for (uint32_t i = 1; e == ERR_OK && i < rows_of(s, table); i++)
        if (span[i] < span[i - 1])
            e = ERR_CORRUPT;
    if (e == ERR_OK)
        *ret = span;
    return e;
}

static enum err dense_u32(struct block_segment *s, enum seg_table table, enum seg_field field,
                          const uint32_t **ret)
{
    uint32_t *to = ARENA_ARRAY(&s->arena, uint32_t, rows_of(s, table));
    const struct seg_column *c;
    uint32_t count;
    if (to == NULL)
        return arena_out(s);
    enum err e = segment_field(&s->base.segment, table, field, &c, &count);
    for (uint32_t i = 0; e == ERR_OK && count != 0 && i < c->count; i++)
        to[c->rows[i]] = (uint32_t)c->ints[i];
    *ret = to;
    return e;
}

static enum err load_events(struct block_segment *s)
{
    uint32_t n = rows_of(s, SEG_EVENT);
    uint64_t *values;
    enum err e = owners(s, SEG_EVENT, BLOCK_EVENT_SPAN, &s->events.span);
    if (e == ERR_OK)
        e = load_fixed(s, SEG_F_START);
    uint64_t *time = e == ERR_OK ? arena_alloc(&s->arena, (size_t)n * sizeof *time) : NULL;
    if (time == NULL)
        return e == ERR_OK ? arena_out(s) : e;
    if (n != 0)
        e = stream_ints(s, BLOCK_EVENT_TIME, n, &values);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        time[i] = s->fixed.start_ns[s->events.span[i]] + (uint64_t)unzigzag(values[i]);
    arena_reset(&s->tmp);
    s->events.time_ns = time;
    if (e == ERR_OK && n == 0)
        s->events.name =
            (struct seg_names){arena_alloc(&s->arena, 0), arena_alloc(&s->arena, 0), 0};
    else if (e == ERR_OK)
        e = names_of(s, BLOCK_EVENT_NAME, BLOCK_DICT_EVENT_NAMES, n, &s->events.name);
    return e == ERR_OK
               ? dense_u32(s, SEG_EVENT, SEG_DROPPED_ATTRIBUTES, &s->events.dropped_attributes)
               : e;
}

static enum err op_events(struct segment *segment, struct seg_events *ret)
{
    struct block_segment *s = mine(segment);
    enum err e = s->has_events ? ERR_OK : load_events(s);
    if (e != ERR_OK)
        return e;
    s->has_events = true;
    *ret = s->events;
    return ERR_OK;
}

static enum err load_links(struct block_segment *s)
{
    uint32_t n = rows_of(s, SEG_LINK), count;
    const struct seg_column *c;
    enum err e = owners(s, SEG_LINK, BLOCK_LINK_SPAN, &s->links.span);
    const void *traces = NULL, *ids = NULL;
    if (e == ERR_OK)
        e = stream_raw(s, BLOCK_LINK_TRACE, n, TRACE_ID_BYTES, &traces);
    if (e == ERR_OK)
        e = stream_raw(s, BLOCK_LINK_ID, n, SPAN_ID_BYTES, &ids);
    s->links.trace_id = traces;
    s->links.span_id = ids;
    struct slice *state = e == ERR_OK ? ARENA_ARRAY(&s->arena, struct slice, n) : NULL;
    if (state == NULL)
        return e == ERR_OK ? arena_out(s) : e;
    e = segment_field(&s->base.segment, SEG_LINK, SEG_TRACE_STATE, &c, &count);
    for (uint32_t i = 0; e == ERR_OK && count != 0 && i < c->count; i++)
        state[c->rows[i]] = c->values[c->codes[i]];
    s->links.trace_state = state;
    if (e == ERR_OK)
        e = dense_u32(s, SEG_LINK, SEG_DROPPED_ATTRIBUTES, &s->links.dropped_attributes);
    return e == ERR_OK ? dense_u32(s, SEG_LINK, SEG_FLAGS, &s->links.flags) : e;
}

static enum err op_links(struct segment *segment, struct seg_links *ret)
{
    struct block_segment *s = mine(segment);
    enum err e = s->has_links ? ERR_OK : load_links(s);
    if (e != ERR_OK)
        return e;
    s->has_links = true;
    *ret = s->links;
    return ERR_OK;
}

/* --- traces --- */

static enum err op_trace_rows(struct segment *segment, uint32_t trace, struct arena *a,
                              const uint32_t **ret_rows, uint32_t *ret_count)
{
    struct block_segment *s = mine(segment);
    assert(trace < segment->trace_count);
    enum err e = load_first(s);
    uint32_t count = e == ERR_OK ? s->first[trace + 1] - s->first[trace] : 0;
    uint32_t *rows = e == ERR_OK ? arena_alloc(a, count * sizeof *rows) : NULL;
    if (rows == NULL)
        return e == ERR_OK ? arena_err(a) : e;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = s->first[trace] + i;
    *ret_rows = rows;
    *ret_count = count;
    return ERR_OK;
}

static enum err op_find_trace(struct segment *segment, struct trace_id id, uint32_t *ret_trace)
{
    struct block_segment *s = mine(segment);
    enum err e = load_trace_ids(s);
    if (e != ERR_OK)
        return e;
    for (uint32_t t = 0; t < segment->trace_count; t++)
        if (memcmp(s->traces.id[t].b, id.b, TRACE_ID_BYTES) == 0) {
            *ret_trace = t;
            return ERR_OK;
        }
    return ERR_NOT_FOUND;
}

static void op_close(struct segment *segment)
{
    struct block_segment *s = mine(segment);
    for (struct own_dict *o = s->own_dicts; o != NULL; o = o->next)
        block_dict_free(o->dict);
    block_unref(s->b);
    arena_release(&s->arena);
    arena_release(&s->tmp);
    free(s);
}

/* --- single rows --- */

static enum err row_span(struct segment *segment, uint32_t row, struct segment_rows_span *ret)
{
    struct block_segment *s = mine(segment);
    struct seg_fixed f;
    assert(row < segment->row_count[SEG_SPAN]);
    if (s->traces.id == NULL || s->fixed.scope == NULL) {
        struct seg_traces traces;
        enum err e = op_traces(segment, &traces);
        if (e == ERR_OK)
            e = op_fixed(segment, SEG_F_ALL, &f);
        if (e != ERR_OK)
            return e;
    }
    enum err e = op_fixed(segment, SEG_F_ALL, &f);
    if (e != ERR_OK)
        return e;
    *ret = (struct segment_rows_span){.trace_id = s->traces.id[f.trace[row]],
                                      .span_id = f.span_id[row],
                                      .parent_id = f.parent_id[row],
                                      .start_ns = f.start_ns[row],
                                      .duration_ns = f.duration_ns[row],
                                      .name = f.name.values[f.name.codes[row]],
                                      .kind = f.kind[row],
                                      .status = f.status[row],
                                      .trace = f.trace[row],
                                      .resource = f.resource[row],
                                      .scope = f.scope[row]};
    return ERR_OK;
}

static enum err row_event(struct segment *segment, uint32_t row, struct segment_rows_event *ret)
{
    struct seg_events e;
    enum err err = op_events(segment, &e);
    assert(row < segment->row_count[SEG_EVENT]);
    if (err == ERR_OK)
        *ret = (struct segment_rows_event){e.time_ns[row], e.name.values[e.name.codes[row]]};
    return err;
}

static enum err row_link(struct segment *segment, uint32_t row, struct segment_rows_link *ret)
{
    struct seg_links l;
    enum err err = op_links(segment, &l);
    assert(row < segment->row_count[SEG_LINK]);
    if (err == ERR_OK)
        *ret = (struct segment_rows_link){l.trace_id[row], l.span_id[row]};
    return err;
}

static uint32_t lower_bound(const uint32_t *values, uint32_t count, uint32_t v)
{
    uint32_t lo = 0, hi = count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (values[mid] < v)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static enum err row_children(struct segment *segment, enum seg_table table, uint32_t span,
                             uint32_t *ret_first, uint32_t *ret_count)
{
    struct block_segment *s = mine(segment);
    const uint32_t **known = table == SEG_EVENT ? &s->events.span : &s->links.span;
    uint32_t n = rows_of(s, table);
    assert(table == SEG_EVENT || table == SEG_LINK);
    *ret_first = *ret_count = 0;
    if (n == 0)
        return ERR_OK;
    if (*known == NULL) {
        enum err e =
            owners(s, table, table == SEG_EVENT ? BLOCK_EVENT_SPAN : BLOCK_LINK_SPAN, known);
        if (e != ERR_OK)
            return e;
    }
    uint32_t at = lower_bound(*known, n, span);
    *ret_first = at;
    while (at < n && (*known)[at] == span)
        at++;
    *ret_count = at - *ret_first;
    return ERR_OK;
}

static void row_shape_at(struct segment *segment, enum seg_table table, uint32_t shape,
                         struct segment_rows_shape *ret)
{
    assert(shape < mine(segment)->b->index.shape_count[table]);
    *ret = mine(segment)->b->index.shapes[table][shape];
}

static enum err row_shape(struct segment *segment, enum seg_table table, uint32_t row,
                          struct segment_rows_shape *ret)
{
    struct block_segment *s = mine(segment);
    enum err e = load_shapes(s, table);
    assert(row < rows_of(s, table));
    if (e == ERR_OK)
        row_shape_at(segment, table, s->shape_of[table][row], ret);
    return e;
}

static enum err row_cell(struct segment *segment, enum seg_table table, uint32_t column,
                         uint32_t row, uint32_t nth, struct segment_rows_cell *ret)
{
    struct block_segment *s = mine(segment);
    const struct seg_column *c;
    assert(column < s->b->index.column_count[table]);
    enum err e = column_get(s, table, column, &c);
    if (e != ERR_OK)
        return e;
    uint32_t at = lower_bound(c->rows, c->count, row) + nth;
    if (at >= c->count || c->rows[at] != row)
        return ERR_CORRUPT;
    switch (c->type) {
    case SEG_STR:
    case SEG_ANY: ret->text = c->values[c->codes[at]]; break;
    case SEG_INT: ret->i = c->ints[at]; break;
    case SEG_DOUBLE: ret->d = c->doubles[at]; break;
    case SEG_BOOL: ret->i = c->bools[at]; break;
    case SEG_TYPE_COUNT: assert(!"type of a column");
    }
    return ERR_OK;
}

static uint32_t rows_column_count(struct segment *segment, enum seg_table table)
{
    return mine(segment)->b->index.column_count[table];
}

static void rows_column(struct segment *segment, enum seg_table table, uint32_t column,
                        struct segment_rows_column *ret)
{
    assert(column < mine(segment)->b->index.column_count[table]);
    const struct block_column *c = &mine(segment)->b->index.columns[table][column];
    *ret = (struct segment_rows_column){c->key, (enum seg_type)c->type, c->field};
}

/* Kept by the segment all the same: what a block segment decodes lives with it. */
static enum err rows_column_data(struct segment *segment, enum seg_table table, uint32_t column,
                                 struct arena *a, struct seg_column *ret)
{
    const struct seg_column *c;
    (void)a;
    enum err e = column_get(mine(segment), table, column, &c);
    if (e == ERR_OK)
        *ret = *c;
    return e;
}

static enum err rows_shape_of_rows(struct segment *segment, enum seg_table table, struct arena *a,
                                   const uint32_t **ret)
{
    (void)a;
    enum err e = load_shapes(mine(segment), table);
    *ret = mine(segment)->shape_of[table];
    return e;
}

static uint32_t rows_shape_count(struct segment *segment, enum seg_table table)
{
    return mine(segment)->b->index.shape_count[table];
}

static const struct segment_ops ops = {.fixed = op_fixed,
                                       .traces = op_traces,
                                       .events = op_events,
                                       .links = op_links,
                                       .attribute = op_attribute,
                                       .field = op_field,
                                       .keys = op_keys,
                                       .trace_rows = op_trace_rows,
                                       .find_trace = op_find_trace,
                                       .write_otlp = segment_otlp_write,
                                       .close = op_close};
static const struct segment_rows_ops row_ops = {.span = row_span,
                                                .event = row_event,
                                                .link = row_link,
                                                .children = row_children,
                                                .shape = row_shape,
                                                .cell = row_cell,
                                                .column_count = rows_column_count,
                                                .column = rows_column,
                                                .column_data = rows_column_data,
                                                .shape_of_rows = rows_shape_of_rows,
                                                .shape_count = rows_shape_count,
                                                .shape_at = row_shape_at};

enum err block_segment(struct block *b, uint32_t group, struct budget *budget, struct segment **ret)
{
    assert(group < b->index.group_count);
    struct block_segment *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NOMEM;
    const struct block_group *g = &b->index.groups[group];
    arena_init(&s->arena, budget);
    arena_init(&s->tmp, budget);
    s->base.rows = &row_ops;
    s->b = block_ref(b);
    s->group = group;
    struct segment *to = &s->base.segment;
    to->ops = &ops;
    memcpy(to->row_count, g->rows, sizeof to->row_count);
    to->trace_count = g->trace_count;
    to->min_start_ns = g->min_start_ns;
    to->max_end_ns = g->max_end_ns;
    to->is_contiguous = true;
    *ret = to;
    return ERR_OK;
}
