#include "common/store/block_order.h"

#include "common/base/hash.h"
#include "common/store/block_rowkey.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct row {
    uint32_t segment, row;
};

enum { FEW_SPANS = 32 };

struct ref { /* a span of the trace that is being ordered, with what its place depends on */
    uint64_t span_id, parent_id, start_ns, end_ns;
    uint32_t segment, row;
    uint32_t next; /* child of the same parent, or root */
    uint32_t child;
    uint32_t parent; /* BLOCK_NONE: none here */
    uint32_t depth;
    bool is_placed, is_copy;
};

struct maker {
    struct segment **segments;
    uint32_t segment_count;
    struct arena *a;      /* of the result */
    struct arena scratch; /* of the making */
    struct seg_fixed *fixed;
    struct seg_traces *parts;
    uint32_t **trace_of; /* [segment][its trace]: number here, or BLOCK_NONE */
    struct block_order_trace *traces;
    uint32_t trace_count;
    struct row *rows; /* of the chosen spans, by trace; all but their number is in the segments */
    uint32_t row_count;
    struct ref *refs; /* of the trace that is being ordered */
    uint32_t *slots;  /* span id -> ref + 1, of the trace that is being ordered */
    uint32_t slot_max;
    struct block_order *out;
};

/* --- which traces --- */

static uint32_t trace_number(struct maker *m, uint32_t *slots, uint32_t mask, struct trace_id id)
{
    uint32_t slot = (uint32_t)hash_seeded((struct slice){id.b, TRACE_ID_BYTES});
    for (; slots[slot & mask] != 0; slot++)
        if (memcmp(m->traces[slots[slot & mask] - 1].id.b, id.b, TRACE_ID_BYTES) == 0)
            return slots[slot & mask] - 1;
    m->traces[m->trace_count] = (struct block_order_trace){.id = id, .min_start_ns = UINT64_MAX};
    slots[slot & mask] = ++m->trace_count;
    return m->trace_count - 1;
}

static enum err choose_traces(struct maker *m, block_take_fn *take, void *take_arg)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->segment_count; i++)
        total += m->segments[i]->trace_count;
    if (total >= UINT32_MAX / 4)
        return ERR_TOO_LARGE;
    uint32_t mask = 15;
    while (mask < total * 2)
        mask = mask * 2 + 1;
    m->traces = ARENA_ARRAY(&m->scratch, struct block_order_trace, total);
    uint32_t *slots = ARENA_ARRAY(&m->scratch, uint32_t, (size_t)mask + 1);
    m->trace_of = ARENA_ARRAY(&m->scratch, uint32_t *, m->segment_count);
    if (arena_err(&m->scratch) != ERR_OK)
        return arena_err(&m->scratch);
    for (uint32_t i = 0; i < m->segment_count; i++) {
        uint32_t n = m->segments[i]->trace_count;
        m->trace_of[i] = ARENA_ARRAY(&m->scratch, uint32_t, n);
        if (m->trace_of[i] == NULL)
            return arena_err(&m->scratch);
        for (uint32_t t = 0; t < n; t++) {
            m->trace_of[i][t] = BLOCK_NONE;
            if (take != NULL && !take(take_arg, i, t))
                continue;
            uint32_t number = trace_number(m, slots, mask, m->parts[i].id[t]);
            m->trace_of[i][t] = number;
            m->traces[number].flags |= m->parts[i].flags[t] & SEG_TRACE_FLAGGED;
        }
    }
    return ERR_OK;
}

/* --- which spans --- */

static enum err choose_spans(struct maker *m)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->segment_count; i++)
        for (uint32_t r = 0; r < m->segments[i]->row_count[SEG_SPAN]; r++) {
            uint32_t t = m->trace_of[i][m->fixed[i].trace[r]];
            if (t == BLOCK_NONE)
                continue;
            m->traces[t].span_count++;
            total++;
        }
    if (total == 0)
        return ERR_NOT_FOUND;
    if (total > UINT32_MAX / 2)
        return ERR_TOO_LARGE;
    m->rows = arena_alloc(&m->scratch, total * sizeof *m->rows);
    if (m->rows == NULL)
        return arena_err(&m->scratch);
    uint32_t first = 0;
    for (uint32_t t = 0; t < m->trace_count; t++) {
        m->traces[t].first = first;
        first += m->traces[t].span_count;
        m->traces[t].span_count = 0;
    }
    m->row_count = (uint32_t)total;
    for (uint32_t i = 0; i < m->segment_count; i++) {
        const struct seg_fixed *f = &m->fixed[i];
        for (uint32_t r = 0; r < m->segments[i]->row_count[SEG_SPAN]; r++) {
            uint32_t t = m->trace_of[i][f->trace[r]];
            if (t == BLOCK_NONE)
                continue;
            struct block_order_trace *trace = &m->traces[t];
            m->rows[trace->first + trace->span_count++] = (struct row){i, r};
            if (f->start_ns[r] < trace->min_start_ns)
                trace->min_start_ns = f->start_ns[r];
        }
    }
    return ERR_OK;
}

static struct ref ref_of(const struct maker *m, uint32_t segment, uint32_t row)
{
    const struct seg_fixed *f = &m->fixed[segment];
    return (struct ref){.span_id = f->span_id[row],
                        .parent_id = f->parent_id[row],
                        .start_ns = f->start_ns[row],
                        .end_ns = f->start_ns[row] + f->duration_ns[row],
                        .segment = segment,
                        .row = row};
}

static int compare_refs(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;
    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    int c = memcmp(&x->span_id, &y->span_id, sizeof x->span_id);
    if (c != 0)
        return c;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Most traces are small, and come nearly in order. */
static void sort_refs(struct ref *refs, uint32_t count)
{
    if (count > FEW_SPANS) {
        qsort(refs, count, sizeof *refs, compare_refs);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct ref moved = refs[i];
        uint32_t at = i;
        for (; at > 0 && compare_refs(&moved, &refs[at - 1]) < 0; at--)
            refs[at] = refs[at - 1];
        refs[at] = moved;
    }
}

struct twin { /* one of several spans with the same start and id */
    uint64_t hash;
    uint32_t ref;
};

static int compare_twins(const void *a, const void *b)
{
    const struct twin *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->ref < y->ref ? -1 : x->ref > y->ref;
}

/* Marks copies among `count` spans of one start and id: the later of two with equal content.  Spans that differ stay. */
static enum err mark_copies(struct maker *m, struct ref *refs, uint32_t count, struct buf *key_x,
                            struct buf *key_y)
{
    struct twin *twins = malloc(count * sizeof *twins);
    enum err e = twins == NULL ? ERR_NOMEM : ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        buf_reset(key_x);
        e = block_rowkey_span(m->segments[refs[i].segment], refs[i].row, key_x);
        twins[i] = (struct twin){hash_seeded(buf_slice(key_x)), i};
    }
    if (e == ERR_OK)
        qsort(twins, count, sizeof *twins, compare_twins);
    for (uint32_t i = 1, first = 0; e == ERR_OK && i < count; i++) {
        const struct ref *x = &refs[twins[first].ref];
        struct ref *y = &refs[twins[i].ref];
        if (twins[i].hash != twins[first].hash) {
            first = i;
            continue;
        }
        buf_reset(key_x);
        buf_reset(key_y);
        e = block_rowkey_span(m->segments[x->segment], x->row, key_x);
        if (e == ERR_OK)
            e = block_rowkey_span(m->segments[y->segment], y->row, key_y);
        y->is_copy = e == ERR_OK && slice_eq(buf_slice(key_x), buf_slice(key_y));
    }
    free(twins);
    return e;
}

/* Sorted by start and id, copies of a span stand among those of the same start and id. */
static enum err drop_copies(struct maker *m, struct block_order_trace *t)
{
    struct ref *refs = m->refs;
    struct buf key_x, key_y;
    uint32_t kept = 0;
    enum err e = ERR_OK;
    buf_init(&key_x, 1u << 30);
    buf_init(&key_y, 1u << 30);
    for (uint32_t i = 0, end; e == ERR_OK && i < t->span_count; i = end) {
        for (end = i + 1; end < t->span_count && refs[end].start_ns == refs[i].start_ns &&
                          refs[end].span_id == refs[i].span_id;)
            end++;
        if (end - i > 1)
            e = mark_copies(m, &refs[i], end - i, &key_x, &key_y);
    }
    for (uint32_t i = 0; i < t->span_count; i++)
        if (!refs[i].is_copy)
            refs[kept++] = refs[i];
    t->span_count = kept;
    buf_release(&key_x);
    buf_release(&key_y);
    return e;
}

/* --- in which order --- */

/* Links children to parents: lists come out in sorted order when filled from the back. */
static void link_children(struct maker *m, struct block_order_trace *t)
{
    struct ref *refs = m->refs;
    uint32_t mask = 15;
    bool is_tree = true;
    while (mask < t->span_count * 2)
        mask = mask * 2 + 1;
    assert(mask < m->slot_max);
    memset(m->slots, 0, ((size_t)mask + 1) * sizeof *m->slots);
    for (uint32_t i = 0; i < t->span_count; i++) {
        uint32_t slot = (uint32_t)(refs[i].span_id * 0x9e3779b97f4a7c15u >> 32);
        refs[i].child = refs[i].next = refs[i].parent = BLOCK_NONE;
        while (m->slots[slot & mask] != 0 &&
               refs[m->slots[slot & mask] - 1].span_id != refs[i].span_id)
            slot++;
        is_tree = is_tree && m->slots[slot & mask] == 0;
        if (m->slots[slot & mask] == 0) /* of several with one id, the first has the children */
            m->slots[slot & mask] = i + 1;
    }
    t->flags |= is_tree ? SEG_TRACE_TREE : 0;
    for (uint32_t i = t->span_count; i-- > 0;) {
        uint32_t slot = (uint32_t)(refs[i].parent_id * 0x9e3779b97f4a7c15u >> 32);
        if (refs[i].parent_id == 0)
            continue;
        while (m->slots[slot & mask] != 0 &&
               refs[m->slots[slot & mask] - 1].span_id != refs[i].parent_id)
            slot++;
        if (m->slots[slot & mask] == 0)
            continue;
        uint32_t parent = m->slots[slot & mask] - 1;
        refs[i].parent = parent;
        refs[i].next = refs[parent].child;
        refs[parent].child = i;
    }
}

static uint32_t unplaced(const struct ref *refs, uint32_t at)
{
    while (at != BLOCK_NONE && refs[at].is_placed)
        at = refs[at].next;
    return at;
}

static void place(struct maker *m, struct ref *at, uint32_t depth)
{
    assert(!at->is_placed);
    at->is_placed = true;
    at->depth = depth;
    m->out->spans[m->out->span_count++] = (struct block_order_span){at->segment, at->row, depth};
}

/* The tree below `root`, depth-first, without a stack.  A circle ends at the span that is placed already. */
static void place_tree(struct maker *m, struct ref *refs, uint32_t root)
{
    uint32_t at = root;
    place(m, &refs[root], 0);
    for (;;) {
        uint32_t next = unplaced(refs, refs[at].child);
        while (next == BLOCK_NONE) {
            if (at == root)
                return;
            next = unplaced(refs, refs[at].next);
            if (next == BLOCK_NONE)
                at = refs[at].parent;
        }
        place(m, &refs[next], refs[refs[next].parent].depth + 1);
        at = next;
    }
}

static void order_trace(struct maker *m, struct block_order_trace *t)
{
    struct ref *refs = m->refs;
    uint32_t first = m->out->span_count, roots = 0, orphans = 0;
    link_children(m, t);
    for (uint32_t i = 0; i < t->span_count; i++) {
        if (refs[i].start_ns < t->min_start_ns)
            t->min_start_ns = refs[i].start_ns;
        if (refs[i].end_ns > t->max_end_ns)
            t->max_end_ns = refs[i].end_ns;
        roots += refs[i].parent_id == 0;
        orphans += refs[i].parent_id != 0 && refs[i].parent == BLOCK_NONE;
    }
    for (uint32_t i = 0; i < t->span_count; i++)
        if (refs[i].parent_id == 0)
            place_tree(m, refs, i);
    for (uint32_t i = 0; i < t->span_count; i++)
        if (refs[i].parent_id != 0 && refs[i].parent == BLOCK_NONE)
            place_tree(m, refs, i);
    for (uint32_t i = 0; i < t->span_count; i++)
        if (!refs[i].is_placed)
            place_tree(m, refs, i);
    assert(m->out->span_count == first + t->span_count);
    t->first = first;
    if (roots == 0 || orphans != 0)
        t->flags |= SEG_TRACE_FLAGGED;
}

static int compare_traces(const void *a, const void *b)
{
    const struct block_order_trace *x = a, *y = b;
    if (x->min_start_ns != y->min_start_ns)
        return x->min_start_ns < y->min_start_ns ? -1 : 1;
    return trace_id_cmp(x->id, y->id);
}

static enum err order_spans(struct maker *m)
{
    uint32_t largest = 0;
    for (uint32_t t = 0; t < m->trace_count; t++)
        if (m->traces[t].span_count > largest)
            largest = m->traces[t].span_count;
    m->slot_max = 16;
    while (m->slot_max <= largest * 2)
        m->slot_max *= 2;
    m->slots = arena_alloc(&m->scratch, m->slot_max * sizeof *m->slots);
    m->refs = arena_alloc(&m->scratch, largest * sizeof *m->refs);
    m->out->spans = arena_alloc(m->a, m->row_count * sizeof *m->out->spans);
    m->out->traces = ARENA_ARRAY(m->a, struct block_order_trace, m->trace_count);
    if (arena_err(&m->scratch) != ERR_OK || arena_err(m->a) != ERR_OK)
        return arena_err(&m->scratch) != ERR_OK ? arena_err(&m->scratch) : arena_err(m->a);
    qsort(m->traces, m->trace_count, sizeof *m->traces, compare_traces);
    for (uint32_t t = 0; t < m->trace_count; t++) {
        struct block_order_trace *trace = &m->traces[t];
        const struct row *rows = &m->rows[trace->first];
        if (trace->span_count == 0)
            continue;
        for (uint32_t i = 0; i < trace->span_count; i++)
            m->refs[i] = ref_of(m, rows[i].segment, rows[i].row);
        sort_refs(m->refs, trace->span_count);
        enum err e = drop_copies(m, trace);
        if (e != ERR_OK)
            return e;
        order_trace(m, trace);
        m->out->traces[m->out->trace_count++] = *trace;
    }
    return ERR_OK;
}

static enum err make_groups(struct block_order *o, struct arena *a)
{
    o->groups = ARENA_ARRAY(a, struct block_order_group, o->trace_count);
    if (o->groups == NULL)
        return arena_err(a);
    struct block_order_group *g = NULL;
    for (uint32_t t = 0; t < o->trace_count; t++) {
        const struct block_order_trace *trace = &o->traces[t];
        if (g == NULL || g->span_count + trace->span_count > BLOCK_GROUP_SPANS) {
            g = &o->groups[o->group_count++];
            g->first_span = trace->first;
            g->first_trace = t;
        }
        g->span_count += trace->span_count;
        g->trace_count++;
    }
    return ERR_OK;
}

static enum err make_places(struct maker *m, struct block_order *o)
{
    o->place = ARENA_ARRAY(m->a, uint32_t *, m->segment_count);
    for (uint32_t i = 0; o->place != NULL && i < m->segment_count; i++) {
        uint32_t n = m->segments[i]->row_count[SEG_SPAN];
        o->place[i] = arena_alloc(m->a, (size_t)n * sizeof **o->place);
        if (o->place[i] != NULL)
            memset(o->place[i], 0xff, (size_t)n * sizeof **o->place);
    }
    if (arena_err(m->a) != ERR_OK)
        return arena_err(m->a);
    for (uint32_t i = 0; i < o->span_count; i++)
        o->place[o->spans[i].segment][o->spans[i].row] = i;
    return ERR_OK;
}

enum err block_order_make(struct segment **segments, uint32_t segment_count, block_take_fn *take,
                          void *take_arg, struct arena *a, struct block_order *ret)
{
    struct block_order o = {0};
    struct maker m = {.segments = segments, .segment_count = segment_count, .a = a, .out = &o};
    arena_init(&m.scratch, a->budget);
    m.fixed = ARENA_ARRAY(&m.scratch, struct seg_fixed, segment_count);
    m.parts = ARENA_ARRAY(&m.scratch, struct seg_traces, segment_count);
    enum err e = arena_err(&m.scratch);
    for (uint32_t i = 0; e == ERR_OK && i < segment_count; i++) {
        e = segment_fixed(segments[i],
                          SEG_F_TRACE | SEG_F_SPAN_ID | SEG_F_PARENT | SEG_F_START | SEG_F_DURATION,
                          &m.fixed[i]);
        if (e == ERR_OK)
            e = segment_traces(segments[i], &m.parts[i]);
    }
    if (e == ERR_OK)
        e = choose_traces(&m, take, take_arg);
    if (e == ERR_OK)
        e = choose_spans(&m);
    if (e == ERR_OK)
        e = order_spans(&m);
    if (e == ERR_OK)
        e = make_groups(&o, a);
    if (e == ERR_OK)
        e = make_places(&m, &o);
    arena_release(&m.scratch);
    if (e == ERR_OK)
        *ret = o;
    return e;
}

/* --- one trace out of several parts --- */

static enum err join_refs(struct maker *m, const struct block_order_part *parts,
                          uint32_t part_count)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < part_count; i++)
        total += parts[i].count;
    if (total > UINT32_MAX / 4)
        return ERR_TOO_LARGE;
    for (m->slot_max = 16; m->slot_max <= total * 2;)
        m->slot_max *= 2;
    m->refs = arena_alloc(&m->scratch, total * sizeof *m->refs);
    m->slots = ARENA_ARRAY(&m->scratch, uint32_t, m->slot_max);
    if (m->refs == NULL || m->slots == NULL)
        return arena_err(&m->scratch);
    for (uint32_t i = 0; i < part_count; i++)
        for (uint32_t r = parts[i].first; r < parts[i].first + parts[i].count; r++)
            m->refs[m->row_count++] = ref_of(m, parts[i].segment, r);
    return ERR_OK;
}

enum err block_order_join(struct segment **segments, struct seg_fixed *fixed,
                          const struct block_order_part *parts, uint32_t part_count,
                          struct budget *budget, struct block_order *o, struct block_order_trace *t,
                          uint32_t *ret_copies)
{
    struct maker m = {.segments = segments, .fixed = fixed, .out = o};
    arena_init(&m.scratch, budget);
    enum err e = join_refs(&m, parts, part_count);
    if (e == ERR_OK) {
        t->span_count = m.row_count;
        t->min_start_ns = UINT64_MAX;
        t->max_end_ns = 0;
        sort_refs(m.refs, m.row_count);
        e = drop_copies(&m, t);
    }
    if (e == ERR_OK) {
        order_trace(&m, t);
        *ret_copies = m.row_count - t->span_count;
    }
    arena_release(&m.scratch);
    return e;
}
