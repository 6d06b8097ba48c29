/* Locators are sorted by hash: read side by side, they tell which traces may lie in several blocks; the ids themselves decide. */
#include "common/store/block_merge_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_FIRST = 256 };

struct reading { /* of one locator */
    struct arena arena;
    uint64_t *hashes, *traces;
    uint32_t chunk, at, count;
};

struct finder {
    struct block **inputs;
    uint32_t input_count;
    struct arena *a;
    struct reading *readings;
    struct merge_part *parts;
    uint32_t part_count, part_max;
};

/* Moves to the next entry, into the next chunk where one ends; at == count at the end. */
static enum err load_entry(struct block *b, struct reading *r)
{
    while (r->at == r->count && r->chunk < b->index.chunk_count) {
        arena_reset(&r->arena);
        enum err e = block_locator_chunk(b, r->chunk, &r->arena, &r->hashes, &r->traces);
        if (e != ERR_OK)
            return e;
        r->at = 0;
        r->count = b->index.chunks[r->chunk++].count;
    }
    return ERR_OK;
}

static enum err add_part(struct finder *f, uint32_t input, uint64_t trace)
{
    if (trace >= f->inputs[input]->index.meta.trace_count)
        return ERR_CORRUPT;
    if (f->part_count == f->part_max) {
        uint32_t max = f->part_max == 0 ? PARTS_FIRST : f->part_max * 2;
        struct merge_part *wider = arena_alloc(f->a, max * sizeof *wider);
        if (wider == NULL)
            return arena_err(f->a);
        if (f->part_count != 0)
            memcpy(wider, f->parts, f->part_count * sizeof *wider);
        f->parts = wider;
        f->part_max = max;
    }
    f->parts[f->part_count++] = (struct merge_part){.input = input, .trace = (uint32_t)trace};
    return ERR_OK;
}

/* The entries of the lowest hash: parts, if more than one has it. */
static enum err take_hash(struct finder *f, bool *ret_is_over)
{
    uint64_t lowest = UINT64_MAX;
    uint32_t holders = 0, before = f->part_count;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < f->input_count; i++) {
        struct reading *r = &f->readings[i];
        if (r->at == r->count)
            continue;
        holders = r->hashes[r->at] < lowest ? 1 : holders + (r->hashes[r->at] == lowest);
        if (r->hashes[r->at] < lowest)
            lowest = r->hashes[r->at];
    }
    *ret_is_over = holders == 0;
    for (uint32_t i = 0; e == ERR_OK && holders != 0 && i < f->input_count; i++) {
        struct reading *r = &f->readings[i];
        while (e == ERR_OK && r->at < r->count && r->hashes[r->at] == lowest) {
            if (holders > 1)
                e = add_part(f, i, r->traces[r->at]);
            r->at++;
            if (e == ERR_OK)
                e = load_entry(f->inputs[i], r);
        }
        if (e == ERR_OK && r->at < r->count && r->hashes[r->at] < lowest)
            e = ERR_CORRUPT;
    }
    assert(f->part_count >= before);
    return e;
}

static int compare_places(const void *a, const void *b)
{
    const struct merge_part *x = a, *y = b;
    if (x->input != y->input)
        return x->input < y->input ? -1 : 1;
    return x->trace < y->trace ? -1 : x->trace > y->trace;
}

static int compare_ids(const void *a, const void *b)
{
    const struct merge_part *x = a, *y = b;
    int c = trace_id_cmp(x->id, y->id);
    return c != 0 ? c : compare_places(a, b);
}

/* Parts are in the order of their places: the ids of each group are read once. */
static enum err read_ids(struct finder *f, struct arena *scratch)
{
    uint32_t input = UINT32_MAX, group = UINT32_MAX;
    struct slice ids = SLICE_NONE;
    for (uint32_t i = 0; i < f->part_count; i++) {
        struct merge_part *p = &f->parts[i];
        struct block *b = f->inputs[p->input];
        uint32_t own = block_group_of_trace(b, p->trace);
        const struct block_group *g = &b->index.groups[own];
        if (p->input != input || own != group) {
            struct lz4_page page;
            uint64_t io_bytes = 0;
            arena_reset(scratch);
            enum err e =
                block_page(b, &b->index.streams[BLOCK_TRACE_ID][own],
                           BLOCK_PAGE_STREAM + BLOCK_TRACE_ID, scratch, &io_bytes, &page, &ids);
            if (e != ERR_OK)
                return e;
            if (ids.len != (size_t)g->trace_count * TRACE_ID_BYTES)
                return ERR_CORRUPT;
            input = p->input;
            group = own;
        }
        memcpy(p->id.b, ids.ptr + (size_t)(p->trace - g->first_trace) * TRACE_ID_BYTES,
               TRACE_ID_BYTES);
    }
    arena_reset(scratch);
    return ERR_OK;
}

/* Of the parts sorted by id, those whose id another has too. */
static void keep_split(struct finder *f, uint32_t *ret_splits)
{
    uint32_t kept = 0, splits = 0;
    for (uint32_t i = 0, end; i < f->part_count; i = end) {
        for (end = i + 1;
             end < f->part_count && trace_id_cmp(f->parts[i].id, f->parts[end].id) == 0;)
            end++;
        for (uint32_t k = i; end - i > 1 && k < end; k++) {
            f->parts[k].split = splits;
            f->parts[kept++] = f->parts[k];
        }
        splits += end - i > 1;
    }
    f->part_count = kept;
    *ret_splits = splits;
}

static enum err find_parts(struct finder *f, struct arena *scratch)
{
    bool is_over = false;
    enum err e = ERR_OK;
    f->readings = ARENA_ARRAY(f->a, struct reading, f->input_count);
    if (f->readings == NULL)
        return arena_err(f->a);
    for (uint32_t i = 0; i < f->input_count; i++)
        arena_init(&f->readings[i].arena, f->a->budget);
    for (uint32_t i = 0; e == ERR_OK && i < f->input_count; i++)
        e = load_entry(f->inputs[i], &f->readings[i]);
    while (e == ERR_OK && !is_over)
        e = take_hash(f, &is_over);
    for (uint32_t i = 0; i < f->input_count; i++)
        arena_release(&f->readings[i].arena);
    if (e != ERR_OK || f->part_count == 0)
        return e;
    qsort(f->parts, f->part_count, sizeof *f->parts, compare_places);
    return read_ids(f, scratch);
}

enum err block_merge_splits(struct block **inputs, uint32_t input_count, struct arena *keep,
                            struct arena *scratch, struct merge_splits *ret)
{
    struct finder f = {.inputs = inputs, .input_count = input_count, .a = keep};
    struct merge_splits s = {0};
    enum err e = find_parts(&f, scratch);
    if (e != ERR_OK)
        return e;
    if (f.part_count != 0)
        qsort(f.parts, f.part_count, sizeof *f.parts, compare_ids);
    keep_split(&f, &s.count);
    s.part_count = f.part_count;
    s.by_split = f.parts;
    s.by_place = arena_alloc(keep, f.part_count * sizeof *s.by_place);
    s.first = ARENA_ARRAY(keep, uint32_t, (size_t)s.count + 1);
    s.input_end = ARENA_ARRAY(keep, uint32_t, input_count);
    if (s.by_place == NULL || s.first == NULL || s.input_end == NULL)
        return arena_err(keep);
    for (uint32_t i = 0; i < s.part_count; i++) {
        s.by_place[i] = s.by_split[i];
        s.first[s.by_split[i].split + 1] = i + 1;
    }
    if (s.part_count != 0)
        qsort(s.by_place, s.part_count, sizeof *s.by_place, compare_places);
    for (uint32_t i = 0, at = 0; i < input_count; i++) {
        while (at < s.part_count && s.by_place[at].input == i)
            at++;
        s.input_end[i] = at;
    }
    *ret = s;
    return ERR_OK;
}
