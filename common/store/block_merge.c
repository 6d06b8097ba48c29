#include "common/store/block_merge.h"

#include "common/base/hash.h"
#include "common/store/block_grow.h"
#include "common/store/block_merge_priv.h"
#include "common/store/block_pages.h"
#include "common/store/block_rowkey.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cursor {              /* the next trace of an input */
    struct segment *segment; /* only its traces are read; NULL: the input is over */
    struct seg_traces traces;
    uint32_t group, trace, row;
    uint32_t place; /* the next of its parts of split traces */
};

struct source { /* an open row group */
    struct segment *segment;
    uint32_t input, group;
    uint32_t number; /* in the output group that is being filled, or BLOCK_NONE */
};

struct waiting { /* a trace of the output group that is being filled */
    struct block_order_trace trace;
    uint32_t first_part, part_count;
    bool is_flagged;
};

struct kept_group {
    struct kept_group *next;
    struct block_group group;
    struct block_ref streams[BLOCK_STREAM_COUNT];
};

struct shared { /* resources or scopes of the output */
    struct text_set keys;
    struct block_source *sources; /* segment: the input */
    uint32_t **place;             /* [input][its row] */
};

struct merger {
    const struct block_merge *job;
    struct block_merge_result result;
    struct block *inputs[BLOCK_MERGE_INPUTS_MAX];
    struct cursor cursors[BLOCK_MERGE_INPUTS_MAX];
    struct source sources[BLOCK_MERGE_OPEN_MAX];
    uint32_t source_count, used_count;
    struct arena keep;
    struct merge_splits splits;
    bool *is_emitted; /* [splits.count] */
    struct block_grow grow;
    struct shared shared[SEG_TABLE_COUNT]; /* of SEG_RESOURCE, SEG_SCOPE */
    struct kept_group *first_group, *last_group;
    uint32_t group_count, trace_count, flagged_count;
    struct block_located *located;
    struct trace_id *flagged;
    struct arena filling; /* of `waiting` and `parts` */
    struct waiting *waiting;
    struct block_order_part *parts;
    uint32_t waiting_count, waiting_max, part_count, part_max, span_count;
    struct block_writer w;
};

/* --- open row groups --- */

static void close_source(struct merger *m, uint32_t at)
{
    segment_close(m->sources[at].segment);
    m->sources[at] = m->sources[--m->source_count];
}

/* Row groups that are not in use: kept for the next output group while there is room. */
static void close_unused(struct merger *m)
{
    for (uint32_t i = m->source_count; i-- > 0;)
        if (m->sources[i].number == BLOCK_NONE)
            close_source(m, i);
}

static enum err open_source(struct merger *m, uint32_t input, uint32_t group, struct source **ret)
{
    for (uint32_t i = 0; i < m->source_count; i++)
        if (m->sources[i].input == input && m->sources[i].group == group) {
            *ret = &m->sources[i];
            return ERR_OK;
        }
    if (m->source_count == BLOCK_MERGE_OPEN_MAX)
        close_unused(m);
    assert(m->source_count < BLOCK_MERGE_OPEN_MAX);
    struct source *s = &m->sources[m->source_count];
    *s = (struct source){.input = input, .group = group, .number = BLOCK_NONE};
    enum err e = block_segment(m->inputs[input], group, m->job->budget, &s->segment);
    if (e != ERR_OK)
        return e;
    m->source_count++;
    e = block_fixed_first(block_pages_mine(s->segment));
    *ret = s;
    return e;
}

/* As a segment of the output group. */
static enum err use_source(struct merger *m, uint32_t input, uint32_t group, struct source **ret)
{
    enum err e = open_source(m, input, group, ret);
    if (e == ERR_OK && (*ret)->number == BLOCK_NONE)
        (*ret)->number = m->used_count++;
    return e;
}

/* --- the next trace --- */

static enum err cursor_open(struct merger *m, uint32_t input)
{
    struct cursor *c = &m->cursors[input];
    segment_close(c->segment);
    c->segment = NULL;
    c->trace = c->row = 0;
    if (c->group == block_group_count(m->inputs[input]))
        return ERR_OK;
    enum err e = block_segment(m->inputs[input], c->group, m->job->budget, &c->segment);
    return e == ERR_OK ? segment_traces(c->segment, &c->traces) : e;
}

static enum err cursor_advance(struct merger *m, uint32_t input)
{
    struct cursor *c = &m->cursors[input];
    c->row += c->traces.span_count[c->trace];
    if (++c->trace < c->segment->trace_count)
        return ERR_OK;
    c->group++;
    return cursor_open(m, input);
}

/* The input whose next trace comes first; BLOCK_NONE at the end. */
static uint32_t next_input(const struct merger *m)
{
    uint32_t best = BLOCK_NONE;
    for (uint32_t i = 0; i < m->job->input_count; i++) {
        const struct cursor *c = &m->cursors[i];
        if (c->segment == NULL)
            continue;
        if (best == BLOCK_NONE) {
            best = i;
            continue;
        }
        const struct cursor *b = &m->cursors[best];
        uint64_t own = c->traces.min_start_ns[c->trace], other = b->traces.min_start_ns[b->trace];
        if (own < other ||
            (own == other && trace_id_cmp(c->traces.id[c->trace], b->traces.id[b->trace]) < 0))
            best = i;
    }
    return best;
}

/* The part of a split trace that the cursor stands at, if it does. */
static const struct merge_part *part_at(struct merger *m, uint32_t input)
{
    struct cursor *c = &m->cursors[input];
    uint32_t trace = m->inputs[input]->index.groups[c->group].first_trace + c->trace;
    if (c->place == m->splits.input_end[input])
        return NULL;
    const struct merge_part *p = &m->splits.by_place[c->place];
    if (p->trace != trace)
        return NULL;
    c->place++;
    return p;
}

/* --- an output group --- */

static enum err choose_rows(struct merger *m, enum seg_table table)
{
    struct block_writer *w = &m->w;
    struct shared *sh = &m->shared[table];
    struct buf key;
    uint32_t **place = ARENA_ARRAY(&w->arena, uint32_t *, w->segment_count);
    enum err e = arena_err(&w->arena);
    for (uint32_t i = 0; e == ERR_OK && i < m->source_count; i++)
        if (m->sources[i].number != BLOCK_NONE)
            place[m->sources[i].number] = sh->place[m->sources[i].input];
    const uint32_t **input_of = ARENA_ARRAY(&w->arena, const uint32_t *, w->segment_count);
    for (uint32_t i = 0; e == ERR_OK && i < m->source_count; i++)
        if (m->sources[i].number != BLOCK_NONE)
            input_of[m->sources[i].number] = &m->sources[i].input;
    buf_init(&key, 1u << 30);
    for (uint32_t i = 0; e == ERR_OK && i < w->order.span_count; i++) {
        const struct block_order_span *s = &w->order.spans[i];
        const struct seg_fixed *f = &w->fixed[s->segment];
        uint32_t row = table == SEG_RESOURCE ? f->resource[s->row] : f->scope[s->row];
        uint32_t before = sh->keys.count, *number = &place[s->segment][row];
        if (*number != BLOCK_NONE)
            continue;
        buf_reset(&key);
        e = block_rowkey_shared(w->segments[s->segment], table, row, &key);
        if (e == ERR_OK)
            e = text_set_number(&sh->keys, buf_slice(&key), number);
        if (e == ERR_OK && sh->keys.count != before)
            sh->sources[*number] = (struct block_source){*input_of[s->segment], row};
    }
    buf_release(&key);
    w->rows[table] = (struct block_rows){.place = place};
    return e;
}

static enum err fetch(struct merger *m)
{
    struct block_writer *w = &m->w;
    w->segment_count = m->used_count;
    w->segments = ARENA_ARRAY(&w->arena, struct segment *, m->used_count);
    w->fixed = ARENA_ARRAY(&w->arena, struct seg_fixed, m->used_count);
    w->events = ARENA_ARRAY(&w->arena, struct seg_events, m->used_count);
    w->links = ARENA_ARRAY(&w->arena, struct seg_links, m->used_count);
    enum err e = arena_err(&w->arena);
    for (uint32_t i = 0; e == ERR_OK && i < m->source_count; i++) {
        uint32_t n = m->sources[i].number;
        if (n == BLOCK_NONE)
            continue;
        w->segments[n] = m->sources[i].segment;
        e = segment_fixed(w->segments[n], SEG_F_ALL, &w->fixed[n]);
        if (e == ERR_OK)
            e = segment_events(w->segments[n], &w->events[n]);
        if (e == ERR_OK)
            e = segment_links(w->segments[n], &w->links[n]);
    }
    return e;
}

/* The spans of a trace that lies in one place: as they stand. */
static void order_whole(struct block_writer *w, const struct block_order_part *p,
                        struct block_order_trace *t)
{
    const uint32_t *depth = block_pages_mine(w->segments[p->segment])->depth;
    struct block_order *o = &w->order;
    t->first = o->span_count;
    t->span_count = p->count;
    for (uint32_t r = p->first; r < p->first + p->count; r++)
        o->spans[o->span_count++] = (struct block_order_span){p->segment, r, depth[r]};
}

static bool is_settled(struct merger *m, const struct block_order_trace *t)
{
    if (m->job->settle == NULL || !m->job->settle(m->job->settle_arg, t->id, t->max_end_ns))
        return false;
    m->result.flags_cleared++;
    return true;
}

static enum err order_waiting(struct merger *m)
{
    struct block_writer *w = &m->w;
    struct block_order *o = &w->order;
    for (uint32_t i = 0; i < m->waiting_count; i++) {
        const struct waiting *x = &m->waiting[i];
        struct block_order_trace *t = &o->traces[i];
        uint32_t copies = 0;
        enum err e = ERR_OK;
        *t = x->trace;
        if (x->part_count == 1)
            order_whole(w, &m->parts[x->first_part], t);
        else
            e = block_order_join(w->segments, w->fixed, &m->parts[x->first_part], x->part_count,
                                 m->job->budget, o, t, &copies);
        if (e != ERR_OK)
            return e;
        m->result.copies += copies;
        m->result.traces_joined += x->part_count > 1;
        t->flags = x->is_flagged && !is_settled(m, t) ? SEG_TRACE_FLAGGED : 0;
    }
    o->trace_count = m->waiting_count;
    return ERR_OK;
}

static enum err make_order(struct merger *m)
{
    struct block_writer *w = &m->w;
    struct block_order *o = &w->order;
    *o = (struct block_order){0};
    o->spans = arena_alloc(&w->arena, (size_t)m->span_count * sizeof *o->spans);
    o->traces = ARENA_ARRAY(&w->arena, struct block_order_trace, m->waiting_count);
    o->groups = ARENA_NEW(&w->arena, struct block_order_group);
    o->place = ARENA_ARRAY(&w->arena, uint32_t *, w->segment_count);
    enum err e = arena_err(&w->arena);
    if (e == ERR_OK)
        e = order_waiting(m);
    for (uint32_t i = 0; e == ERR_OK && i < w->segment_count; i++) {
        size_t bytes = (size_t)w->segments[i]->row_count[SEG_SPAN] * sizeof(uint32_t);
        o->place[i] = arena_alloc(&w->arena, bytes);
        if (o->place[i] == NULL)
            return arena_err(&w->arena);
        memset(o->place[i], 0xff, bytes);
    }
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < o->span_count; i++)
        o->place[o->spans[i].segment][o->spans[i].row] = i;
    *o->groups =
        (struct block_order_group){.span_count = o->span_count, .trace_count = o->trace_count};
    o->group_count = 1;
    return ERR_OK;
}

static enum err make_streams(struct block_writer *w)
{
    for (int s = 0; s < BLOCK_STREAM_COUNT; s++)
        w->index.streams[s] = ARENA_NEW(&w->arena, struct block_ref);
    return arena_err(&w->arena);
}

static enum err choose(struct merger *m)
{
    struct block_writer *w = &m->w;
    enum err e = fetch(m);
    if (e == ERR_OK)
        e = make_order(m);
    if (e == ERR_OK)
        e = block_write_choose_spans(w);
    if (e == ERR_OK)
        e = choose_rows(m, SEG_RESOURCE);
    if (e == ERR_OK)
        e = choose_rows(m, SEG_SCOPE);
    if (e == ERR_OK)
        e = block_write_choose_children(w, SEG_EVENT);
    if (e == ERR_OK)
        e = block_write_choose_children(w, SEG_LINK);
    return e == ERR_OK ? make_streams(w) : e;
}

static enum err write_tables(struct merger *m)
{
    static const enum seg_table tables[] = {SEG_SPAN, SEG_EVENT, SEG_LINK};
    struct block_writer *w = &m->w;
    uint32_t *input_of = ARENA_ARRAY(&w->arena, uint32_t, w->segment_count);
    uint32_t *group_of = ARENA_ARRAY(&w->arena, uint32_t, w->segment_count);
    struct block_grow_part p = {.w = w,
                                .number = m->group_count,
                                .input_of = input_of,
                                .group_of = group_of,
                                .is_large = w->order.span_count > BLOCK_MERGE_LARGE_SPANS,
                                .budget = m->job->budget};
    enum err e = arena_err(&w->arena);
    for (uint32_t i = 0; e == ERR_OK && i < m->source_count; i++)
        if (m->sources[i].number != BLOCK_NONE) {
            input_of[m->sources[i].number] = m->sources[i].input;
            group_of[m->sources[i].number] = m->sources[i].group;
        }
    for (size_t t = 0; e == ERR_OK && t < sizeof tables / sizeof tables[0]; t++) {
        p.table = tables[t];
        if (p.table != SEG_LINK)
            e = block_grow_names(&m->grow, &p);
        if (e == ERR_OK)
            e = block_grow_table(&m->grow, &p);
    }
    return e;
}

/* What the end of the block needs of this group. */
static enum err keep_group(struct merger *m)
{
    struct kept_group *k = ARENA_NEW(&m->keep, struct kept_group);
    const struct block_order *o = &m->w.order;
    if (k == NULL)
        return arena_err(&m->keep);
    k->group = m->w.index.groups[0];
    k->group.first_trace = m->trace_count;
    for (int s = 0; s < BLOCK_STREAM_COUNT; s++)
        k->streams[s] = m->w.index.streams[s][0];
    if (m->last_group == NULL)
        m->first_group = k;
    else
        m->last_group->next = k;
    m->last_group = k;
    m->group_count++;
    for (uint32_t t = 0; t < o->trace_count; t++) {
        m->located[m->trace_count] =
            (struct block_located){block_trace_hash(o->traces[t].id), m->trace_count};
        m->trace_count++;
        if ((o->traces[t].flags & SEG_TRACE_FLAGGED) != 0)
            m->flagged[m->flagged_count++] = o->traces[t].id;
    }
    return ERR_OK;
}

static void fill_anew(struct merger *m)
{
    bool is_short =
        m->job->budget != NULL && budget_used(m->job->budget) > m->job->budget->limit_bytes / 2;
    close_unused(m);
    for (uint32_t i = 0; i < m->source_count; i++)
        m->sources[i].number = BLOCK_NONE;
    if (is_short)
        close_unused(m);
    arena_reset(&m->filling);
    m->waiting = NULL;
    m->parts = NULL;
    m->waiting_count = m->waiting_max = m->part_count = m->part_max = 0;
    m->used_count = m->span_count = 0;
}

static void writer_reset(struct block_writer *w)
{
    arena_reset(&w->arena);
    arena_reset(&w->scratch);
    w->ints = NULL;
    w->int_max = 0;
    w->order = (struct block_order){0};
}

static enum err write_group(struct merger *m)
{
    if (m->job->is_stopped != NULL && m->job->is_stopped(m->job->stop_arg))
        return ERR_CANCELED;
    enum err e = choose(m);
    if (e == ERR_OK)
        e = block_write_streams(&m->w);
    if (e == ERR_OK)
        e = write_tables(m);
    if (e == ERR_OK)
        e = keep_group(m);
    writer_reset(&m->w);
    fill_anew(m);
    return e;
}

/* --- filling a group --- */

static enum err widen(struct merger *m, void **array, uint32_t *max, uint32_t need, size_t each)
{
    if (need <= *max)
        return ERR_OK;
    uint32_t wider = *max == 0 ? 256 : *max * 2;
    while (wider < need)
        wider *= 2;
    uint8_t *to = arena_alloc(&m->filling, wider * each);
    if (to == NULL)
        return arena_err(&m->filling);
    if (*max != 0)
        memcpy(to, *array, *max * each);
    *array = to;
    *max = wider;
    return ERR_OK;
}

/* Appends the parts of a trace; they are the trace's when `add_trace` follows, else they are taken back. */
static enum err add_part(struct merger *m, uint32_t input, uint32_t group, uint32_t trace,
                         struct waiting *x)
{
    struct source *s;
    enum err e = use_source(m, input, group, &s);
    if (e == ERR_OK)
        e = widen(m, (void **)&m->parts, &m->part_max, m->part_count + 1, sizeof *m->parts);
    if (e != ERR_OK)
        return e;
    const uint32_t *first = block_pages_mine(s->segment)->first;
    m->parts[m->part_count++] =
        (struct block_order_part){s->number, first[trace], first[trace + 1] - first[trace]};
    if (__builtin_add_overflow(x->trace.span_count, first[trace + 1] - first[trace],
                               &x->trace.span_count))
        return ERR_TOO_LARGE;
    x->part_count++;
    return ERR_OK;
}

static enum err add_parts(struct merger *m, uint32_t input, const struct merge_part *split,
                          struct waiting *x)
{
    x->first_part = m->part_count;
    x->part_count = x->trace.span_count = 0;
    if (split == NULL)
        return add_part(m, input, m->cursors[input].group, m->cursors[input].trace, x);
    const struct merge_splits *all = &m->splits;
    for (uint32_t i = all->first[split->split]; i < all->first[split->split + 1]; i++) {
        const struct merge_part *p = &all->by_split[i];
        uint32_t group = block_group_of_trace(m->inputs[p->input], p->trace);
        uint32_t trace = p->trace - m->inputs[p->input]->index.groups[group].first_trace;
        struct source *s;
        struct seg_traces traces;
        enum err e = add_part(m, p->input, group, trace, x);
        if (e == ERR_OK)
            e = open_source(m, p->input, group, &s);
        if (e == ERR_OK)
            e = segment_traces(s->segment, &traces);
        if (e != ERR_OK)
            return e;
        x->is_flagged |= (traces.flags[trace] & SEG_TRACE_FLAGGED) != 0;
    }
    return ERR_OK;
}

/* The trace at the cursor of an input, with its parts elsewhere. */
static enum err take_trace(struct merger *m, uint32_t input)
{
    const struct cursor *c = &m->cursors[input];
    const struct merge_part *split = part_at(m, input);
    if (split != NULL && m->is_emitted[split->split])
        return ERR_OK;
    struct waiting x = {.trace = {.id = c->traces.id[c->trace],
                                  .min_start_ns = c->traces.min_start_ns[c->trace],
                                  .max_end_ns = c->traces.max_end_ns[c->trace]},
                        .is_flagged = (c->traces.flags[c->trace] & SEG_TRACE_FLAGGED) != 0};
    uint32_t most =
        split == NULL ? 1 : m->splits.first[split->split + 1] - m->splits.first[split->split];
    enum err e = ERR_OK;
    if (m->waiting_count != 0 && m->used_count + most > BLOCK_MERGE_INPUTS_MAX)
        e = write_group(m);
    uint32_t parts_before = m->part_count;
    if (e == ERR_OK)
        e = add_parts(m, input, split, &x);
    if (e == ERR_OK && m->waiting_count != 0 &&
        m->span_count + (uint64_t)x.trace.span_count > BLOCK_GROUP_SPANS) {
        m->part_count = parts_before;
        e = write_group(m);
        if (e == ERR_OK)
            e = add_parts(m, input, split, &x);
    }
    if (e == ERR_OK)
        e = widen(m, (void **)&m->waiting, &m->waiting_max, m->waiting_count + 1,
                  sizeof *m->waiting);
    if (e != ERR_OK)
        return e;
    m->span_count += x.trace.span_count;
    m->waiting[m->waiting_count++] = x;
    if (split != NULL)
        m->is_emitted[split->split] = true;
    return ERR_OK;
}

/* --- the end of the block --- */

/* Resources and scopes: their rows are told by the inputs' first row groups as well as by any. */
static enum err write_shared(struct merger *m, enum seg_table table, struct block_index *x)
{
    struct block_writer *w = &m->w;
    uint32_t n = m->job->input_count, count = m->shared[table].keys.count;
    enum block_stream stream = (enum block_stream)(BLOCK_SHAPE_SPAN + (int)table);
    uint32_t *input_of = ARENA_ARRAY(&w->arena, uint32_t, n);
    uint32_t *group_of = ARENA_ARRAY(&w->arena, uint32_t, n);
    w->segments = ARENA_ARRAY(&w->arena, struct segment *, n);
    w->segment_count = n;
    w->rows[table] =
        (struct block_rows){.sources = m->shared[table].sources, .count = count, .part_count = 1};
    enum err e = arena_err(&w->arena);
    if (e == ERR_OK)
        e = make_streams(w);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        input_of[i] = i;
        e = block_segment(m->inputs[i], 0, m->job->budget, &w->segments[i]);
    }
    struct block_grow_part p = {.w = w, .table = table, .input_of = input_of, .group_of = group_of};
    if (e == ERR_OK)
        e = block_grow_table(&m->grow, &p);
    if (e == ERR_OK) {
        x->row_count[table] = count;
        *x->streams[stream] = w->index.streams[stream][0];
    }
    for (uint32_t i = 0; w->segments != NULL && i < n; i++)
        segment_close(w->segments[i]);
    writer_reset(w);
    return e;
}

static enum err make_index(struct merger *m, struct block_index *x)
{
    uint32_t at = 0;
    x->meta = m->w.index.meta;
    x->group_count = m->group_count;
    x->groups = ARENA_ARRAY(&m->keep, struct block_group, m->group_count);
    for (int s = 0; s < BLOCK_STREAM_COUNT; s++)
        x->streams[s] = ARENA_ARRAY(&m->keep, struct block_ref,
                                    block_parts(x, block_stream_table((enum block_stream)s)));
    if (arena_err(&m->keep) != ERR_OK)
        return arena_err(&m->keep);
    for (const struct kept_group *k = m->first_group; k != NULL; k = k->next, at++) {
        x->groups[at] = k->group;
        for (int s = 0; s < BLOCK_STREAM_COUNT; s++)
            if (!block_is_shared(block_stream_table((enum block_stream)s)))
                x->streams[s][at] = k->streams[s];
    }
    return ERR_OK;
}

static enum err finish(struct merger *m)
{
    struct block_index x = {0};
    struct block_writer *w = &m->w;
    enum err e = make_index(m, &x);
    if (e == ERR_OK)
        e = write_shared(m, SEG_RESOURCE, &x);
    if (e == ERR_OK)
        e = write_shared(m, SEG_SCOPE, &x);
    if (e == ERR_OK)
        e = block_grow_finish(&m->grow, w, &x);
    if (e != ERR_OK)
        return e;
    w->index = x;
    e = block_write_locator(w, m->located, m->trace_count, &m->keep);
    if (e == ERR_OK)
        e = block_write_flagged(w, m->flagged, m->flagged_count);
    block_write_fill_meta(&w->index);
    return e == ERR_OK ? block_write_footer(w) : e;
}

/* --- the whole --- */

static int compare_inputs(const void *a, const void *b)
{
    const struct block *const *x = a, *const *y = b;
    return strcmp(block_meta(*x)->id, block_meta(*y)->id);
}

static enum err shared_init(struct merger *m, enum seg_table table)
{
    struct shared *sh = &m->shared[table];
    uint64_t total = 0;
    text_set_init(&sh->keys, &m->keep);
    sh->place = ARENA_ARRAY(&m->keep, uint32_t *, m->job->input_count);
    for (uint32_t i = 0; sh->place != NULL && i < m->job->input_count; i++) {
        size_t n = m->inputs[i]->index.row_count[table];
        total += n;
        sh->place[i] = arena_alloc(&m->keep, n * sizeof(uint32_t));
        if (sh->place[i] != NULL)
            memset(sh->place[i], 0xff, n * sizeof(uint32_t));
    }
    sh->sources = ARENA_ARRAY(&m->keep, struct block_source, total);
    return arena_err(&m->keep);
}

static enum err prepare(struct merger *m)
{
    uint64_t traces = 0, flagged = 0;
    for (uint32_t i = 0; i < m->job->input_count; i++) {
        traces += block_meta(m->inputs[i])->trace_count;
        flagged += block_meta(m->inputs[i])->flagged_count;
    }
    if (traces > UINT32_MAX / 4 || flagged > traces)
        return ERR_TOO_LARGE;
    m->located = ARENA_ARRAY(&m->keep, struct block_located, traces);
    m->flagged = ARENA_ARRAY(&m->keep, struct trace_id, flagged);
    enum err e = arena_err(&m->keep);
    if (e == ERR_OK)
        e = block_grow_init(&m->grow, m->inputs, m->job->input_count, &m->keep);
    if (e == ERR_OK)
        e = shared_init(m, SEG_RESOURCE);
    if (e == ERR_OK)
        e = shared_init(m, SEG_SCOPE);
    if (e == ERR_OK)
        e = block_merge_splits(m->inputs, m->job->input_count, &m->keep, &m->w.scratch, &m->splits);
    if (e != ERR_OK)
        return e;
    m->is_emitted = ARENA_ARRAY(&m->keep, bool, m->splits.count);
    for (uint32_t i = 0; i < m->job->input_count; i++)
        m->cursors[i].place = i == 0 ? 0 : m->splits.input_end[i - 1];
    return arena_err(&m->keep);
}

static enum err run(struct merger *m)
{
    enum err e = prepare(m);
    for (uint32_t i = 0; e == ERR_OK && i < m->job->input_count; i++)
        e = cursor_open(m, i);
    if (e == ERR_OK)
        e = block_write_header(&m->w);
    for (uint32_t i = 0; e == ERR_OK && (i = next_input(m)) != BLOCK_NONE;) {
        e = take_trace(m, i);
        if (e == ERR_OK)
            e = cursor_advance(m, i);
    }
    if (e == ERR_OK && m->waiting_count != 0)
        e = write_group(m);
    for (uint32_t i = m->source_count; i-- > 0;) /* room for the end */
        close_source(m, i);
    return e == ERR_OK ? finish(m) : e;
}

static void merger_init(struct merger *m, const struct block_merge *job,
                        const struct block_meta *meta)
{
    m->job = job;
    arena_init(&m->keep, job->budget);
    arena_init(&m->filling, job->budget);
    arena_init(&m->w.arena, job->budget);
    arena_init(&m->w.scratch, job->budget);
    buf_init(&m->w.out, LZ4_PAGE_BYTES_MAX);
    buf_init(&m->w.raw, LZ4_PAGE_BYTES_MAX);
    m->w.fd = -1;
    m->w.index.meta = *meta;
    m->w.index.meta.lsn_lo = m->w.index.meta.lsn_hi = m->w.index.meta.created_ns = 0;
    memcpy(m->inputs, job->inputs, job->input_count * sizeof *m->inputs);
    qsort(m->inputs, job->input_count, sizeof *m->inputs, compare_inputs);
    for (uint32_t i = 0; i < job->input_count; i++) {
        uint64_t created = block_meta(m->inputs[i])->created_ns;
        if (created > m->w.index.meta.created_ns)
            m->w.index.meta.created_ns = created;
        m->result.read_bytes -= block_read_bytes(m->inputs[i]);
    }
}

static void merger_release(struct merger *m)
{
    for (uint32_t i = m->source_count; i-- > 0;)
        close_source(m, i);
    for (uint32_t i = 0; i < m->job->input_count; i++) {
        segment_close(m->cursors[i].segment);
        m->result.read_bytes += block_read_bytes(m->inputs[i]);
    }
    fs_close(&m->w.fd);
    buf_release(&m->w.out);
    buf_release(&m->w.raw);
    arena_release(&m->w.scratch);
    arena_release(&m->w.arena);
    arena_release(&m->filling);
    block_grow_release(&m->grow);
    arena_release(&m->keep);
}

enum err block_merge(const char *path, const struct block_merge *job, struct block_meta *meta,
                     struct block_merge_result *ret)
{
    assert(job->input_count >= 1 && job->input_count <= BLOCK_MERGE_INPUTS_MAX);
    struct merger *m = calloc(1, sizeof *m);
    if (m == NULL)
        return ERR_NOMEM;
    merger_init(m, job, meta);
    m->w.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    enum err e = m->w.fd < 0 ? fs_errno_err(errno) : run(m);
    if (e != ERR_OK && m->w.fd >= 0)
        (void)unlink(path); /* half a block is nothing; the error that is reported came first */
    merger_release(m);
    if (e == ERR_OK) {
        *meta = m->w.index.meta;
        meta->bytes = m->w.offset;
        *ret = m->result;
    }
    free(m);
    return e;
}
