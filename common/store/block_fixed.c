/* What every span and every trace of a row group has. */
#include "common/store/block_pages.h"
#include "common/store/page.h"

#include <assert.h>
#include <string.h>

/* --- traces and fixed columns --- */

/* Where traces begin; each has a span at least. */
enum err block_fixed_first(struct block_segment *s)
{
    uint32_t n = s->base.segment.trace_count, total = 0;
    uint32_t *counts;
    if (s->first != NULL)
        return ERR_OK;
    enum err e = block_pages_u32(s, BLOCK_TRACE_SPANS, n,
                                 (uint64_t)block_pages_rows(s, SEG_SPAN) + 1, &counts);
    uint32_t *first = e == ERR_OK ? arena_alloc(&s->arena, ((size_t)n + 1) * sizeof *first) : NULL;
    if (first == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
    for (uint32_t t = 0; t < n; t++) {
        first[t] = total;
        if (counts[t] == 0 || counts[t] > block_pages_rows(s, SEG_SPAN) - total)
            return ERR_CORRUPT;
        total += counts[t];
    }
    first[n] = total;
    if (total != block_pages_rows(s, SEG_SPAN))
        return ERR_CORRUPT;
    s->traces.span_count = counts;
    s->first = first;
    return ERR_OK;
}

static enum err load_trace(struct block_segment *s)
{
    enum err e = block_fixed_first(s);
    uint32_t *to =
        e == ERR_OK ? arena_alloc(&s->arena, block_pages_rows(s, SEG_SPAN) * sizeof *to) : NULL;
    if (to == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
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
    enum err e = block_fixed_first(s);
    if (e == ERR_OK)
        e = block_pages_u32(s, BLOCK_DEPTH, block_pages_rows(s, SEG_SPAN),
                            block_pages_rows(s, SEG_SPAN), &depth);
    if (e != ERR_OK)
        return e;
    uint32_t n = block_pages_rows(s, SEG_SPAN), deepest = 0, is_wrong = 0;
    for (uint32_t i = 0; i < n; i++)
        deepest = depth[i] > deepest ? depth[i] : deepest;
    for (uint32_t i = 1; i < n; i++)
        is_wrong |= depth[i] > depth[i - 1] + 1;
    for (uint32_t t = 0; t < s->base.segment.trace_count; t++)
        is_wrong |= depth[s->first[t]] != 0;
    if (is_wrong)
        return ERR_CORRUPT;
    s->depth = depth;
    s->depth_end = deepest + 1;
    return ERR_OK;
}

/* The same as bytes; ERR_CORRUPT also where a depth is more. */
static enum err load_depth_bytes(struct block_segment *s)
{
    uint32_t n = block_pages_rows(s, SEG_SPAN), is_wrong = 0;
    uint8_t *depth = NULL, deepest = 0;
    enum err e = block_fixed_first(s);
    if (e == ERR_OK)
        e = block_pages_u8(s, BLOCK_DEPTH, n, &depth);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < n; i++)
        deepest = depth[i] > deepest ? depth[i] : deepest;
    for (uint32_t i = 1; i < n; i++)
        is_wrong |= depth[i] > depth[i - 1] + 1;
    for (uint32_t t = 0; t < s->base.segment.trace_count; t++)
        is_wrong |= depth[s->first[t]] != 0;
    if (is_wrong)
        return ERR_CORRUPT;
    s->depth_byte = depth;
    s->depth_end = deepest + 1u;
    return ERR_OK;
}

static uint32_t depth_at(const struct block_segment *s, uint64_t row)
{
    return s->depth_byte != NULL ? s->depth_byte[row] : s->depth[row];
}

/* Rows of depth 0 that have a parent id all the same, and these ids. */
static enum err load_orphans(struct block_segment *s)
{
    const struct block_ref *ref = block_pages_ref(s, BLOCK_ORPHANS);
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    if (ref->bytes == 0 || s->orphans != NULL)
        return ERR_OK;
    enum err e = block_page(s->b, ref, BLOCK_PAGE_STREAM + BLOCK_ORPHANS, &s->tmp,
                            &s->base.segment.read_bytes, &page, &raw);
    if (e == ERR_OK && page.count > block_pages_rows(s, SEG_SPAN))
        e = ERR_CORRUPT;
    uint64_t *rows = e == ERR_OK ? arena_alloc(&s->tmp, (size_t)page.count * sizeof *rows) : NULL;
    uint32_t *to = e == ERR_OK ? arena_alloc(&s->arena, (size_t)page.count * sizeof *to) : NULL;
    uint64_t *ids = e == ERR_OK ? arena_alloc(&s->arena, (size_t)page.count * sizeof *ids) : NULL;
    if (e == ERR_OK && (rows == NULL || to == NULL || ids == NULL))
        e = block_pages_no_room(s);
    struct reader r = reader_of(raw);
    if (e == ERR_OK)
        e = page_get_ints(&r, page.count, rows);
    for (uint32_t i = 0; e == ERR_OK && i < page.count; i++) {
        struct slice id = reader_take(&r, SPAN_ID_BYTES);
        if (reader_failed(&r) || rows[i] >= block_pages_rows(s, SEG_SPAN) ||
            depth_at(s, rows[i]) != 0 || (i != 0 && rows[i] <= rows[i - 1]))
            e = ERR_CORRUPT;
        else
            memcpy(&ids[i], id.ptr, SPAN_ID_BYTES);
        to[i] = (uint32_t)rows[i];
    }
    arena_reset(&s->tmp);
    if (e != ERR_OK)
        return e;
    s->orphans = to;
    s->orphan_ids = ids;
    s->orphan_count = page.count;
    return ERR_OK;
}

static enum err trace_flags(struct block_segment *s)
{
    uint8_t *flags = NULL;
    enum err e = s->traces.flags != NULL
                     ? ERR_OK
                     : block_pages_u8(s, BLOCK_TRACE_FLAGS, s->base.segment.trace_count, &flags);
    if (e == ERR_OK && s->traces.flags == NULL)
        s->traces.flags = flags;
    return e;
}

enum err block_fixed_depths(struct segment *segment, struct seg_depths *ret)
{
    struct block_segment *s = block_pages_mine(segment);
    uint8_t all = SEG_TRACE_TREE;
    enum err e = trace_flags(s);
    for (uint32_t t = 0; e == ERR_OK && t < segment->trace_count; t++)
        all &= s->traces.flags[t];
    *ret = (struct seg_depths){.are_trees = all != 0};
    if (e != ERR_OK || all == 0)
        return e;
    e = s->depth_byte == NULL ? load_depth_bytes(s) : ERR_OK;
    if (e == ERR_CORRUPT)
        e = s->depth == NULL ? load_depth(s) : ERR_OK;
    if (e == ERR_OK)
        e = load_orphans(s);
    if (e != ERR_OK)
        return e;
    ret->narrow = s->depth_byte;
    ret->wide = s->depth_byte == NULL ? s->depth : NULL;
    ret->first = s->first;
    ret->orphans = s->orphans;
    ret->orphan_count = s->orphan_count;
    ret->depth_end = s->depth_end;
    return ERR_OK;
}

static enum err load_parent(struct block_segment *s)
{
    uint32_t n = block_pages_rows(s, SEG_SPAN);
    enum err e = s->depth == NULL ? load_depth(s) : ERR_OK;
    if (e == ERR_OK)
        e = block_fixed_load(s, SEG_F_SPAN_ID);
    uint64_t *parents = e == ERR_OK ? ARENA_ARRAY(&s->arena, uint64_t, n) : NULL;
    uint32_t *at_depth =
        parents == NULL
            ? NULL
            : arena_alloc(&s->tmp, (size_t)n * sizeof *at_depth); /* the last row of each depth */
    if (at_depth == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
    for (uint32_t i = 0; i < n; i++) {
        at_depth[s->depth[i]] = i;
        if (s->depth[i] != 0)
            parents[i] = s->fixed.span_id[at_depth[s->depth[i] - 1]];
    }
    arena_reset(&s->tmp);
    e = load_orphans(s);
    for (uint32_t i = 0; e == ERR_OK && i < s->orphan_count; i++)
        parents[s->orphans[i]] = s->orphan_ids[i];
    if (e == ERR_OK)
        s->fixed.parent_id = parents;
    return e;
}

enum err block_fixed_trace_ids(struct block_segment *s)
{
    const void *ids;
    if (s->traces.id != NULL)
        return ERR_OK;
    enum err e =
        block_pages_raw(s, BLOCK_TRACE_ID, s->base.segment.trace_count, TRACE_ID_BYTES, &ids);
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
    enum err e = block_pages_ints(s, BLOCK_TRACE_START, n, &values);
    uint64_t *to = e == ERR_OK ? arena_alloc(&s->arena, (size_t)n * sizeof *to) : NULL;
    if (to != NULL)
        memcpy(to, values, n * sizeof *to);
    arena_reset(&s->tmp);
    s->traces.min_start_ns = to;
    return e == ERR_OK && to == NULL ? block_pages_no_room(s) : e;
}

static enum err load_start(struct block_segment *s)
{
    uint32_t n = block_pages_rows(s, SEG_SPAN);
    uint64_t *values;
    enum err e = block_fixed_first(s);
    if (e == ERR_OK)
        e = trace_starts(s);
    uint64_t *to = e == ERR_OK ? arena_alloc(&s->arena, (size_t)n * sizeof *to) : NULL;
    if (to == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
    e = block_pages_ints(s, BLOCK_START, n, &values);
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
    uint32_t n = block_pages_rows(s, SEG_SPAN);
    struct slice raw = SLICE_NONE;
    uint64_t *to = arena_alloc(&s->arena, (size_t)n * sizeof *to);
    if (to == NULL)
        return block_pages_no_room(s);
    enum err e = block_pages_one(s, block_pages_ref(s, BLOCK_DURATION),
                                 BLOCK_PAGE_STREAM + BLOCK_DURATION, n, &raw);
    struct reader r = reader_of(raw);
    if (e == ERR_OK)
        e = page_get_ints(&r, n, to);
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        s->fixed.duration_ns = to;
    return e;
}

static enum err stream_u8(struct block_segment *s, enum block_stream stream, const uint8_t **ret)
{
    uint8_t *to;
    enum err e = block_pages_u8(s, stream, block_pages_rows(s, SEG_SPAN), &to);
    if (e == ERR_OK)
        *ret = to;
    return e;
}

static enum err load_span_id(struct block_segment *s)
{
    const void *ids;
    enum err e =
        block_pages_raw(s, BLOCK_SPAN_ID, block_pages_rows(s, SEG_SPAN), SPAN_ID_BYTES, &ids);
    if (e == ERR_OK)
        s->fixed.span_id = ids;
    return e;
}

static enum err load_shared(struct block_segment *s, enum block_stream stream, enum seg_table table,
                            const uint32_t **ret)
{
    uint32_t *rows;
    enum err e = block_pages_u32(s, stream, block_pages_rows(s, SEG_SPAN),
                                 block_pages_rows(s, table), &rows);
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

enum err block_fixed_load(struct block_segment *s, uint32_t bit)
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
        return block_pages_names(s, BLOCK_NAME, BLOCK_DICT_SPAN_NAMES,
                                 block_pages_rows(s, SEG_SPAN), &f->name);
    case SEG_F_KIND: return stream_u8(s, BLOCK_KIND, &f->kind);
    case SEG_F_STATUS: return stream_u8(s, BLOCK_STATUS, &f->status);
    case SEG_F_RESOURCE: return load_shared(s, BLOCK_RESOURCE, SEG_RESOURCE, &f->resource);
    case SEG_F_SCOPE: return load_shared(s, BLOCK_SCOPE, SEG_SCOPE, &f->scope);
    default: return ERR_OK;
    }
}

enum err block_fixed_get(struct segment *segment, uint32_t which, struct seg_fixed *ret)
{
    struct block_segment *s = block_pages_mine(segment);
    for (uint32_t bit = 1; bit <= SEG_F_ALL; bit <<= 1) {
        enum err e = (which & bit) != 0 ? block_fixed_load(s, bit) : ERR_OK;
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

enum err block_fixed_traces(struct segment *segment, struct seg_traces *ret)
{
    struct block_segment *s = block_pages_mine(segment);
    uint32_t n = segment->trace_count;
    uint64_t *values;
    if (s->has_traces) {
        *ret = s->traces;
        return ERR_OK;
    }
    enum err e = block_fixed_first(s);
    if (e == ERR_OK)
        e = trace_starts(s);
    if (e == ERR_OK)
        e = block_fixed_trace_ids(s);
    uint64_t *end = e == ERR_OK ? arena_alloc(&s->arena, (size_t)n * sizeof *end) : NULL;
    if (end == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
    e = block_pages_ints(s, BLOCK_TRACE_LENGTH, n, &values);
    for (uint32_t t = 0; e == ERR_OK && t < n; t++)
        end[t] = s->traces.min_start_ns[t] + values[t];
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        e = trace_flags(s);
    if (e != ERR_OK)
        return e;
    s->traces.max_end_ns = end;
    s->has_traces = true;
    *ret = s->traces;
    return ERR_OK;
}
