/* Whether a block is sound: every page by itself, then every group, then what must hold between them. */
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/store/block_dict.h"
#include "common/store/block_filter.h"
#include "common/store/block_inspect.h"
#include "common/store/block_reader.h"
#include "common/store/block_walk.h"
#include "common/store/page.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { PLACE_BYTES = 400 };

struct range { /* where a page lies */
    uint64_t offset, end;
};

struct verify {
    struct block *b;
    struct budget *budget;
    const struct block_verify_hooks *hooks;
    struct block_verify_result *result;
    struct arena arena, tmp; /* of the whole; of one page or group */
    uint64_t done;
    struct range *ranges;
    uint64_t range_count;
    uint32_t *hashes; /* [traces] */
    struct trace_id last_id;
    uint64_t last_start, flagged; /* of the trace before; flagged traces so far */
};

/* Whether this says that it could not be judged, rather than that it is damaged. */
static bool is_ours(enum err e)
{
    return e == ERR_NOMEM || e == ERR_LIMIT;
}

static void damage(struct verify *v, enum err e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void damage(struct verify *v, enum err e, const char *format, ...)
{
    char place[PLACE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(place, sizeof place, format, args);
    va_end(args);
    v->result->damages++;
    v->hooks->damage(v->hooks->arg, place, e);
}

static void progress(struct verify *v, uint64_t bytes)
{
    v->done += bytes;
    if (v->hooks->progress != NULL)
        v->hooks->progress(v->hooks->arg, v->done, 2 * v->b->object->bytes);
}

/* --- pages --- */

static enum err count_page(void *arg, const struct block_walk_page *p)
{
    (void)p;
    ++*(uint64_t *)arg;
    return ERR_OK;
}

static void page_place(const struct block_walk_page *p, char ret[PLACE_BYTES])
{
    char group[32] = "", name[200] = "";
    if (!p->is_shared)
        (void)snprintf(group, sizeof group, "group %u: ", p->group);
    if (p->class == BLOCK_PART_STREAM)
        (void)snprintf(name, sizeof name, "%s %s", block_walk_table(p->table), p->name);
    else if (p->class == BLOCK_PART_COLUMN && p->name[0] != '\0')
        (void)snprintf(name, sizeof name, "%s field \"%s\"", block_walk_table(p->table), p->name);
    else if (p->class == BLOCK_PART_COLUMN)
        (void)snprintf(name, sizeof name, "%s attribute \"%.*s\"", block_walk_table(p->table),
                       p->column->key.len > 120 ? 120 : (int)p->column->key.len,
                       (const char *)p->column->key.ptr);
    else
        (void)snprintf(name, sizeof name, "%s %u %s", block_part_class_name(p->class), p->number,
                       p->name);
    (void)snprintf(ret, PLACE_BYTES, "%s%s: page of %u bytes at %llu", group, name, p->ref.bytes,
                   (unsigned long long)p->ref.offset);
}

static enum err check_page(void *arg, const struct block_walk_page *p)
{
    struct verify *v = arg;
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    uint64_t io_bytes = 0;
    char place[PLACE_BYTES];
    enum err e = block_page(v->b, &p->ref, p->kind, &v->tmp, &io_bytes, &page, &raw);
    arena_reset(&v->tmp);
    v->ranges[v->range_count++] = (struct range){p->ref.offset, p->ref.offset + p->ref.bytes};
    v->result->pages++;
    progress(v, p->ref.bytes);
    if (e == ERR_OK || is_ours(e))
        return e;
    page_place(p, place);
    damage(v, e, "%s", place);
    return ERR_OK;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Nobody needs the header to read a block; that it is whole is asked all the same. */
static enum err check_header(struct verify *v)
{
    uint8_t header[BLOCK_HEADER_BYTES];
    bool is_sound = true;
    enum err e = v->b->object->ops->read(v->b->object, OBJECT_VALUES, 0, header, sizeof header);
    if (e != ERR_OK && is_ours(e))
        return e;
    if (e == ERR_OK) {
        is_sound = memcmp(header, BLOCK_MAGIC, 4) == 0 && le16_read(header + 4) != 0 &&
                   le16_read(header + 4) <= BLOCK_VERSION;
        for (int i = 6; i < BLOCK_HEADER_BYTES; i++)
            is_sound = is_sound && header[i] == 0;
    }
    if (e != ERR_OK || !is_sound)
        damage(v, e == ERR_OK ? ERR_CORRUPT : e, "header");
    return ERR_OK;
}

static enum err check_pages(struct verify *v)
{
    uint64_t count = 0;
    enum err e = check_header(v);
    if (e == ERR_OK)
        e = block_walk(&v->b->index, count_page, &count);
    if (e == ERR_OK) {
        v->ranges = arena_alloc(&v->arena, count * sizeof *v->ranges);
        e = arena_err(&v->arena);
    }
    if (e == ERR_OK)
        e = block_walk(&v->b->index, check_page, v);
    if (e != ERR_OK)
        return e;
    qsort(v->ranges, v->range_count, sizeof *v->ranges, compare_ranges);
    for (uint64_t i = 1; i < v->range_count; i++)
        if (v->ranges[i].offset < v->ranges[i - 1].end)
            damage(v, ERR_CORRUPT, "pages at %llu and %llu overlap",
                   (unsigned long long)v->ranges[i - 1].offset,
                   (unsigned long long)v->ranges[i].offset);
    return ERR_OK;
}

/* --- groups --- */

static void check_trace(struct verify *v, uint32_t group, uint32_t t, const struct seg_traces *all,
                        const struct seg_fixed *f, uint32_t first)
{
    const struct block_group *g = &v->b->index.groups[group];
    struct trace_id id = all->id[t];
    char hex[TRACE_ID_HEX + 1];
    uint64_t start = UINT64_MAX, end = 0;
    trace_id_to_hex(id, hex);
    for (uint32_t i = first; i < first + all->span_count[t]; i++) {
        uint64_t span_end = f->start_ns[i] + f->duration_ns[i];
        start = f->start_ns[i] < start ? f->start_ns[i] : start;
        end = span_end > end ? span_end : end;
    }
    if (start != all->min_start_ns[t] || end != all->max_end_ns[t])
        damage(v, ERR_CORRUPT, "group %u: trace %s: its start and end are not those of its spans",
               group, hex);
    if (start < g->min_start_ns || end > g->max_end_ns)
        damage(v, ERR_CORRUPT, "group %u: trace %s is outside of the group's time range", group,
               hex);
    bool is_first = g->first_trace + t == 0;
    if (!is_first && (all->min_start_ns[t] < v->last_start ||
                      (all->min_start_ns[t] == v->last_start && trace_id_cmp(id, v->last_id) <= 0)))
        damage(v, ERR_CORRUPT, "group %u: trace %s: traces are out of order", group, hex);
    v->last_start = all->min_start_ns[t];
    v->last_id = id;
    v->hashes[g->first_trace + t] =
        (uint32_t)(hash_plain((struct slice){id.b, TRACE_ID_BYTES}) >> 32);
    v->flagged += (all->flags[t] & SEG_TRACE_FLAGGED) != 0;
}

static enum err check_traces(struct verify *v, uint32_t group, struct segment *s)
{
    struct seg_traces traces;
    struct seg_fixed f;
    uint32_t first = 0;
    enum err e = segment_traces(s, &traces);
    if (e == ERR_OK)
        e = segment_fixed(s, SEG_F_START | SEG_F_DURATION, &f);
    for (uint32_t t = 0; e == ERR_OK && t < s->trace_count; t++) {
        check_trace(v, group, t, &traces, &f, first);
        first += traces.span_count[t];
    }
    return e;
}

static void check_zone(struct verify *v, uint32_t group, const struct block_column *c,
                       const struct seg_column *values)
{
    uint32_t part = block_is_shared((enum seg_table)c->table) ? 0 : group;
    int64_t min = INT64_MAX, max = INT64_MIN;
    if (c->type != SEG_INT || values->count == 0)
        return;
    for (uint32_t i = 0; i < values->count; i++) {
        min = values->ints[i] < min ? values->ints[i] : min;
        max = values->ints[i] > max ? values->ints[i] : max;
    }
    if (min != c->zones[part].min || max != c->zones[part].max)
        damage(v, ERR_CORRUPT,
               "group %u: %s column %u: smallest and largest value are not as the footer says",
               group, block_walk_table((enum seg_table)c->table),
               (uint32_t)(c - v->b->index.columns[c->table]));
}

/* Whoever looks for one of the texts finds it. */
static enum err check_lookup(struct verify *v, uint32_t group, const struct block_column *c,
                             const struct seg_column *values)
{
    uint32_t part = block_is_shared((enum seg_table)c->table) ? 0 : group, number;
    uint32_t parts = block_parts(&v->b->index, (enum seg_table)c->table);
    uint64_t read_bytes = 0;
    struct block_user user = {.budget = v->budget, .read_bytes = &read_bytes};
    bool is_found = true;
    enum err e = ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && is_found && i < values->value_count; i++) {
        if (c->form == BLOCK_FORM_PLAIN) {
            e = block_filter_may_have(v->b, &user, c, part, values->values[i], &is_found);
        } else {
            e = block_dict_find(v->b, &user, c->dict, parts, part, values->values[i], &number);
            is_found = e == ERR_OK && number == i;
        }
    }
    block_piece_free_all(user.own);
    if (!is_ours(e) && (e != ERR_OK || !is_found))
        damage(v, e == ERR_OK ? ERR_CORRUPT : e, "group %u: %s column %u: its texts are not found",
               group, block_walk_table((enum seg_table)c->table),
               (uint32_t)(c - v->b->index.columns[c->table]));
    return is_ours(e) ? e : ERR_OK;
}

/* Columns decode to as many values as the shapes say, or their reader refuses them.  Shared tables are looked at with the first group. */
static enum err check_columns(struct verify *v, uint32_t group, struct segment *s)
{
    const struct segment_rows_ops *ops = segment_rows_ops_of(s);
    enum err e = ERR_OK;
    for (int t = 0; t < SEG_TABLE_COUNT && !is_ours(e); t++) {
        const struct block_index *x = &v->b->index;
        const uint32_t *shapes;
        if (block_is_shared((enum seg_table)t) && group != 0)
            continue;
        e = ops->shape_of_rows(s, (enum seg_table)t, &v->tmp, &shapes);
        if (e != ERR_OK && !is_ours(e))
            damage(v, e, "group %u: shapes of the %ss", group, block_walk_table((enum seg_table)t));
        for (uint32_t c = 0; e == ERR_OK && c < x->column_count[t]; c++) {
            struct seg_column values;
            enum err at = ops->column_data(s, (enum seg_table)t, c, &v->tmp, &values);
            if (is_ours(at))
                e = at;
            else if (at != ERR_OK)
                damage(v, at, "group %u: values of %s column %u \"%.*s\"", group,
                       block_walk_table((enum seg_table)t), c,
                       x->columns[t][c].key.len > 120 ? 120 : (int)x->columns[t][c].key.len,
                       (const char *)x->columns[t][c].key.ptr);
            else
                check_zone(v, group, &x->columns[t][c], &values);
            if (at == ERR_OK && x->columns[t][c].form != BLOCK_FORM_NUMBERS)
                e = check_lookup(v, group, &x->columns[t][c], &values);
        }
    }
    return is_ours(e) ? e : ERR_OK;
}

static enum err check_group(struct verify *v, uint32_t group)
{
    static const char *const fixed_names[] = {"trace", "span id", "parent", "start",    "duration",
                                              "name",  "kind",    "status", "resource", "scope"};
    struct segment *s = NULL;
    struct seg_fixed f;
    struct seg_events events;
    struct seg_links links;
    enum err e = block_segment(v->b, group, v->budget, &s);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < sizeof fixed_names / sizeof fixed_names[0] && !is_ours(e); i++) {
        e = segment_fixed(s, 1u << i, &f);
        if (e != ERR_OK && !is_ours(e))
            damage(v, e, "group %u: %ss of the spans", group, fixed_names[i]);
    }
    struct {
        enum err err;
        const char *what;
    } parts[] = {{is_ours(e) ? e : check_traces(v, group, s), "traces"},
                 {is_ours(e) ? e : segment_events(s, &events), "events"},
                 {is_ours(e) ? e : segment_links(s, &links), "links"},
                 {is_ours(e) ? e : check_columns(v, group, s), "columns"}};
    e = ERR_OK;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (is_ours(parts[i].err))
            e = parts[i].err;
        else if (parts[i].err != ERR_OK)
            damage(v, parts[i].err, "group %u: %s", group, parts[i].what);
    }
    v->result->groups++;
    v->result->spans += s->row_count[SEG_SPAN];
    v->result->traces += s->trace_count;
    segment_close(s);
    arena_reset(&v->tmp);
    return e;
}

/* --- between groups --- */

static enum err check_chunk(struct verify *v, uint32_t number, uint8_t *seen, uint64_t *io_hash)
{
    const struct block_chunk *c = &v->b->index.chunks[number];
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    uint64_t io_bytes = 0, traces = v->b->index.meta.trace_count;
    enum err e = block_page(v->b, &c->page, BLOCK_PAGE_LOCATOR, &v->tmp, &io_bytes, &page, &raw);
    uint64_t *all = e == ERR_OK ? arena_alloc(&v->tmp, 2 * (size_t)c->count * sizeof *all) : NULL;
    if (e == ERR_OK && all == NULL)
        e = arena_err(&v->tmp);
    struct reader r = reader_of(raw);
    if (e == ERR_OK && page.count != c->count)
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        e = page_get_ints(&r, c->count, all);
    if (e == ERR_OK)
        e = page_get_ints(&r, c->count, all + c->count);
    for (uint32_t i = 0; e == ERR_OK && i < c->count; i++) {
        uint64_t trace = all[c->count + i];
        if (all[i] < *io_hash || (i == 0 && all[i] != c->first_hash) || trace >= traces ||
            v->hashes[trace] != all[i] || seen[trace])
            e = ERR_CORRUPT;
        else
            seen[trace] = 1;
        *io_hash = all[i];
    }
    arena_reset(&v->tmp);
    return e;
}

/* Every trace is found by its id, once: chunks hold as many as there are traces (the footer's reader saw to it), none twice. */
static enum err check_locator(struct verify *v)
{
    uint8_t *seen = arena_calloc(&v->arena, v->b->index.meta.trace_count, 1);
    uint64_t before = 0;
    if (seen == NULL)
        return arena_err(&v->arena);
    for (uint32_t i = 0; i < v->b->index.chunk_count; i++) {
        enum err e = check_chunk(v, i, seen, &before);
        if (is_ours(e))
            return e;
        if (e != ERR_OK)
            damage(v, e, "locator: chunk %u does not lead to the traces", i);
    }
    return ERR_OK;
}

static enum err check_flagged(struct verify *v)
{
    const struct trace_id *ids = NULL;
    uint32_t count;
    enum err e = block_flagged(v->b, &ids, &count);
    if (is_ours(e))
        return e;
    bool is_sound = e == ERR_OK && count == v->flagged;
    for (uint32_t i = 1; is_sound && i < count; i++)
        is_sound = trace_id_cmp(ids[i - 1], ids[i]) < 0;
    if (!is_sound)
        damage(v, e == ERR_OK ? ERR_CORRUPT : e, "the list of traces that may have more elsewhere");
    return ERR_OK;
}

enum err block_verify(struct block *b, struct budget *budget,
                      const struct block_verify_hooks *hooks, struct block_verify_result *ret)
{
    struct verify v = {.b = b, .budget = budget, .hooks = hooks, .result = ret};
    *ret = (struct block_verify_result){0};
    arena_init(&v.arena, budget);
    arena_init(&v.tmp, budget);
    v.hashes = ARENA_ARRAY(&v.arena, uint32_t, b->index.meta.trace_count);
    enum err e = v.hashes == NULL ? arena_err(&v.arena) : check_pages(&v);
    for (uint32_t g = 0; e == ERR_OK && g < b->index.group_count; g++) {
        e = check_group(&v, g);
        progress(&v, b->object->bytes / b->index.group_count);
    }
    /* Where groups can not be read, what stands between them can not be judged. */
    if (e == ERR_OK && ret->damages == 0)
        e = check_locator(&v);
    if (e == ERR_OK && ret->damages == 0)
        e = check_flagged(&v);
    arena_release(&v.arena);
    arena_release(&v.tmp);
    return e == ERR_OK && ret->damages != 0 ? ERR_CORRUPT : e;
}
