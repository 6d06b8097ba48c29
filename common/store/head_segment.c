/* A snapshot of a head as a segment.  Single rows are read where they stand; whole columns are copied when they are asked for. */
#include "common/base/hash.h"
#include "common/store/head_priv.h"
#include "common/store/segment_otlp.h"

#include <assert.h>
#include <string.h>

struct column_memo {
    bool is_known;
    struct seg_column column;
};

struct head_segment {
    struct segment_rows base; /* first */
    struct head *h;
    struct arena arena, fixed_arena; /* fixed_arena: of `fixed` */
    uint32_t column_count[SEG_TABLE_COUNT], shape_count[SEG_TABLE_COUNT];
    struct column_memo *memo[SEG_TABLE_COUNT]; /* [column_count], made on first use */
    struct seg_fixed fixed;
    struct seg_traces traces;
    struct seg_events events;
    struct seg_links links;
    bool has_events, has_links;
};

static struct head_segment *mine(struct segment *s)
{
    return (struct head_segment *)(void *)s;
}

static const struct head_table *table_of(const struct head_segment *s, enum seg_table table)
{
    assert(table < SEG_TABLE_COUNT);
    return &s->h->table[table];
}

static uint32_t rows_of(const struct head_segment *s, enum seg_table table)
{
    return s->base.segment.row_count[table];
}

static enum err arena_out(const struct head_segment *s)
{
    enum err e = arena_err(&s->arena) == ERR_OK ? arena_err(&s->fixed_arena) : arena_err(&s->arena);
    return e == ERR_OK ? ERR_NOMEM : e;
}

static void *copy_vector(struct arena *a, const struct gvec *v, uint32_t count)
{
    void *to = arena_alloc(a, (size_t)count * v->elem_bytes);
    if (to != NULL)
        gvec_copy(v, 0, count, to);
    return to;
}

static enum err copy_names(struct head_segment *s, struct arena *a, const struct head_dict *d,
                           const struct gvec *codes, uint32_t rows, struct seg_names *ret)
{
    uint32_t count = atomic_load_explicit(&d->published, memory_order_acquire);
    const uint32_t *code = copy_vector(a, codes, rows);
    const struct slice *values = copy_vector(a, &d->texts, count);
    if (code == NULL || values == NULL)
        return arena_out(s);
    *ret = (struct seg_names){code, values, count};
    return ERR_OK;
}

/* --- the query's contract --- */

static enum err op_fixed(struct segment *segment, uint32_t which, struct seg_fixed *ret)
{
    struct head_segment *s = mine(segment);
    struct head_spans *h = &s->h->spans;
    struct seg_fixed *f = &s->fixed;
    uint32_t n = rows_of(s, SEG_SPAN);
#define FETCH(bit, field)                                                \
    if ((which & (bit)) != 0 && f->field == NULL &&                      \
        (f->field = copy_vector(&s->fixed_arena, &h->field, n)) == NULL) \
        return arena_out(s);
    FETCH(SEG_F_TRACE, trace)
    FETCH(SEG_F_SPAN_ID, span_id)
    FETCH(SEG_F_PARENT, parent_id)
    FETCH(SEG_F_START, start_ns)
    FETCH(SEG_F_DURATION, duration_ns)
    FETCH(SEG_F_KIND, kind)
    FETCH(SEG_F_STATUS, status)
    FETCH(SEG_F_RESOURCE, resource)
    FETCH(SEG_F_SCOPE, scope)
#undef FETCH
    if ((which & SEG_F_NAME) != 0 && f->name.codes == NULL) {
        enum err e = copy_names(s, &s->fixed_arena, &s->h->span_names, &h->name, n, &f->name);
        if (e != ERR_OK)
            return e;
    }
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

static struct head_trace *trace_at(const struct head_segment *s, uint32_t trace)
{
    assert(trace < s->base.segment.trace_count);
    return gvec_at(&s->h->traces, trace);
}

/* The next row of the trace in this snapshot. */
static uint32_t next_row(const struct head_segment *s, uint32_t row)
{
    uint32_t next =
        atomic_load_explicit(&GVEC_GET(&s->h->spans.next, atomic_uint, row), memory_order_acquire);
    return next < rows_of(s, SEG_SPAN) ? next : HEAD_NONE;
}

/* Whether a trace, as far as it is here, has a span whose parent is not, or no root.  `ids` has room for 4 * span_count. */
static bool is_fragment(const struct head_segment *s, uint32_t trace, uint32_t span_count,
                        uint64_t *ids)
{
    uint32_t mask = 1;
    while (mask < span_count * 2)
        mask *= 2;
    mask--;
    memset(ids, 0, ((size_t)mask + 1) * sizeof *ids);
    bool has_root = false;
    const struct head_spans *h = &s->h->spans;
    for (uint32_t row = trace_at(s, trace)->first_row; row != HEAD_NONE; row = next_row(s, row)) {
        uint64_t id = GVEC_GET(&h->span_id, uint64_t, row);
        uint32_t slot = (uint32_t)(id * 0x9e3779b97f4a7c15u >> 32);
        while (ids[slot & mask] != 0 && ids[slot & mask] != id)
            slot++;
        ids[slot & mask] = id;
        has_root |= GVEC_GET(&h->parent_id, uint64_t, row) == 0;
    }
    if (!has_root)
        return true;
    for (uint32_t row = trace_at(s, trace)->first_row; row != HEAD_NONE; row = next_row(s, row)) {
        uint64_t parent = GVEC_GET(&h->parent_id, uint64_t, row);
        uint32_t slot = (uint32_t)(parent * 0x9e3779b97f4a7c15u >> 32);
        while (parent != 0 && ids[slot & mask] != 0 && ids[slot & mask] != parent)
            slot++;
        if (parent != 0 && ids[slot & mask] == 0)
            return true;
    }
    return false;
}

/* Judged again only when the trace has grown since somebody last looked. */
static uint8_t trace_flags(const struct head_segment *s, uint32_t trace, uint32_t span_count,
                           uint64_t *ids)
{
    struct head_trace *t = trace_at(s, trace);
    if (atomic_load_explicit(&t->marks, memory_order_relaxed) != 0)
        return SEG_TRACE_FLAGGED;
    uint64_t judged = atomic_load_explicit(&t->judged, memory_order_relaxed);
    if (judged >> 1 == span_count)
        return (judged & 1) != 0 ? SEG_TRACE_FLAGGED : 0;
    bool fragment = is_fragment(s, trace, span_count, ids);
    atomic_store_explicit(&t->judged, (uint64_t)span_count << 1 | fragment, memory_order_relaxed);
    return fragment ? SEG_TRACE_FLAGGED : 0;
}

static void trace_sums(const struct head_segment *s, uint64_t *min_start, uint64_t *max_end,
                       uint32_t *span_count)
{
    const struct head_spans *h = &s->h->spans;
    for (uint32_t i = 0; i < s->base.segment.trace_count; i++)
        min_start[i] = UINT64_MAX;
    for (uint32_t row = 0; row < rows_of(s, SEG_SPAN); row++) {
        uint32_t trace = GVEC_GET(&h->trace, uint32_t, row);
        uint64_t start = GVEC_GET(&h->start_ns, uint64_t, row);
        uint64_t end = start + GVEC_GET(&h->duration_ns, uint64_t, row);
        span_count[trace]++;
        if (start < min_start[trace])
            min_start[trace] = start;
        if (end > max_end[trace])
            max_end[trace] = end;
    }
}

static enum err op_traces(struct segment *segment, struct seg_traces *ret)
{
    struct head_segment *s = mine(segment);
    uint32_t n = segment->trace_count;
    if (s->traces.id != NULL) {
        *ret = s->traces;
        return ERR_OK;
    }
    struct trace_id *id = ARENA_ARRAY(&s->arena, struct trace_id, n);
    uint64_t *min_start = ARENA_ARRAY(&s->arena, uint64_t, n),
             *max_end = ARENA_ARRAY(&s->arena, uint64_t, n);
    uint32_t *span_count = ARENA_ARRAY(&s->arena, uint32_t, n), largest = 0;
    uint8_t *flags = ARENA_ARRAY(&s->arena, uint8_t, n);
    if (arena_err(&s->arena) != ERR_OK)
        return arena_out(s);
    trace_sums(s, min_start, max_end, span_count);
    for (uint32_t i = 0; i < n; i++) {
        id[i] = trace_at(s, i)->id;
        if (span_count[i] > largest)
            largest = span_count[i];
    }
    struct arena scratch;
    arena_init(&scratch, s->arena.budget);
    uint64_t *ids = arena_alloc(&scratch, 4 * ((size_t)largest + 1) * sizeof *ids);
    for (uint32_t i = 0; ids != NULL && i < n; i++)
        flags[i] = trace_flags(s, i, span_count[i], ids);
    enum err e = arena_err(&scratch);
    arena_release(&scratch);
    if (e != ERR_OK)
        return e;
    s->traces = (struct seg_traces){id, min_start, max_end, span_count, flags};
    *ret = s->traces;
    return ERR_OK;
}

/* A field column spread over all rows of its table. */
static enum err dense_u32(struct head_segment *s, enum seg_table table, enum seg_field field,
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

static enum err op_events(struct segment *segment, struct seg_events *ret)
{
    struct head_segment *s = mine(segment);
    uint32_t n = rows_of(s, SEG_EVENT);
    if (!s->has_events) {
        s->events.span = copy_vector(&s->arena, &s->h->events.span, n);
        s->events.time_ns = copy_vector(&s->arena, &s->h->events.time_ns, n);
        if (s->events.span == NULL || s->events.time_ns == NULL)
            return arena_out(s);
        enum err e =
            copy_names(s, &s->arena, &s->h->event_names, &s->h->events.name, n, &s->events.name);
        if (e == ERR_OK)
            e = dense_u32(s, SEG_EVENT, SEG_DROPPED_ATTRIBUTES, &s->events.dropped_attributes);
        if (e != ERR_OK)
            return e;
        s->has_events = true;
    }
    *ret = s->events;
    return ERR_OK;
}

static enum err op_links(struct segment *segment, struct seg_links *ret)
{
    struct head_segment *s = mine(segment);
    uint32_t n = rows_of(s, SEG_LINK);
    if (!s->has_links) {
        s->links.span = copy_vector(&s->arena, &s->h->links.span, n);
        s->links.trace_id = copy_vector(&s->arena, &s->h->links.trace_id, n);
        s->links.span_id = copy_vector(&s->arena, &s->h->links.span_id, n);
        struct slice *state = ARENA_ARRAY(&s->arena, struct slice, n);
        if (arena_err(&s->arena) != ERR_OK)
            return arena_out(s);
        const struct seg_column *c;
        uint32_t count;
        enum err e = segment_field(segment, SEG_LINK, SEG_TRACE_STATE, &c, &count);
        for (uint32_t i = 0; e == ERR_OK && count != 0 && i < c->count; i++)
            state[c->rows[i]] = c->values[c->codes[i]];
        s->links.trace_state = state;
        if (e == ERR_OK)
            e = dense_u32(s, SEG_LINK, SEG_DROPPED_ATTRIBUTES, &s->links.dropped_attributes);
        if (e == ERR_OK)
            e = dense_u32(s, SEG_LINK, SEG_FLAGS, &s->links.flags);
        if (e != ERR_OK)
            return e;
        s->has_links = true;
    }
    *ret = s->links;
    return ERR_OK;
}

static uint32_t value_count(const struct head_segment *s, const struct head_column *c)
{
    uint32_t count = atomic_load_explicit(&c->published, memory_order_acquire);
    return head_lower_bound(&c->rows, count, rows_of(s, (enum seg_table)c->table));
}

static enum err column_copy(struct head_segment *s, const struct head_column *c, struct arena *a,
                            struct seg_column *ret)
{
    uint32_t count = value_count(s, c);
    struct seg_column copy = {
        .type = c->type, .count = count, .rows = copy_vector(a, &c->rows, count)};
    const void *cells = copy_vector(a, &c->cells, count);
    switch (c->type) {
    case SEG_STR:
    case SEG_ANY:
        copy.value_count = atomic_load_explicit(&c->dict.published, memory_order_acquire);
        copy.values = copy_vector(a, &c->dict.texts, copy.value_count);
        copy.is_unique_text =
            copy.value_count <= atomic_load_explicit(&c->dict.unique_upto, memory_order_relaxed);
        copy.codes = cells;
        break;
    case SEG_INT: copy.ints = cells; break;
    case SEG_DOUBLE: copy.doubles = cells; break;
    case SEG_BOOL: copy.bools = cells; break;
    case SEG_TYPE_COUNT: assert(!"type of a column");
    }
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    *ret = copy;
    return ERR_OK;
}

static enum err column_get(struct head_segment *s, enum seg_table table, uint32_t column,
                           const struct seg_column **ret)
{
    if (s->memo[table] == NULL)
        s->memo[table] = ARENA_ARRAY(&s->arena, struct column_memo, s->column_count[table]);
    if (s->memo[table] == NULL)
        return arena_out(s);
    struct column_memo *m = &s->memo[table][column];
    if (!m->is_known) {
        enum err e =
            column_copy(s, head_column_at(table_of(s, table), column), &s->arena, &m->column);
        if (e != ERR_OK)
            return e;
        m->is_known = true;
    }
    *ret = &m->column;
    return ERR_OK;
}

static enum err op_attribute(struct segment *segment, enum seg_table table, struct slice key,
                             const struct seg_column **ret, uint32_t *ret_count)
{
    struct head_segment *s = mine(segment);
    uint32_t found[SEG_TYPE_COUNT], count = 0;
    for (uint32_t i = 0; i < s->column_count[table]; i++) {
        const struct head_column *c = head_column_at(table_of(s, table), i);
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || !slice_eq(c->key, key) || value_count(s, c) == 0)
            continue;
        assert(count < SEG_TYPE_COUNT);
        uint32_t at = count++;
        for (; at > 0 && head_column_at(table_of(s, table), found[at - 1])->type > c->type; at--)
            found[at] = found[at - 1];
        found[at] = i;
    }
    struct seg_column *columns = ARENA_ARRAY(&s->arena, struct seg_column, count);
    if (columns == NULL)
        return arena_out(s);
    for (uint32_t i = 0; i < count; i++) {
        const struct seg_column *c;
        enum err e = column_get(s, table, found[i], &c);
        if (e != ERR_OK)
            return e;
        columns[i] = *c;
    }
    *ret = columns;
    *ret_count = count;
    return ERR_OK;
}

static enum err op_field(struct segment *segment, enum seg_table table, enum seg_field field,
                         const struct seg_column **ret, uint32_t *ret_count)
{
    struct head_segment *s = mine(segment);
    *ret = NULL;
    *ret_count = 0;
    for (uint32_t i = 0; i < s->column_count[table]; i++) {
        const struct head_column *c = head_column_at(table_of(s, table), i);
        if (c->field != field || value_count(s, c) == 0)
            continue;
        *ret_count = 1;
        return column_get(s, table, i, ret);
    }
    return ERR_OK;
}

static enum err op_keys(struct segment *segment, enum seg_table table, struct arena *a,
                        struct seg_key **ret, uint32_t *ret_count)
{
    struct head_segment *s = mine(segment);
    uint32_t n = s->column_count[table], count = 0, mask = 15;
    while (mask < n * 2)
        mask = mask * 2 + 1;
    struct seg_key *keys = ARENA_ARRAY(a, struct seg_key, n);
    uint32_t *slots = ARENA_ARRAY(a, uint32_t, (size_t)mask + 1);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    for (uint32_t i = 0; i < n; i++) {
        const struct head_column *c = head_column_at(table_of(s, table), i);
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || value_count(s, c) == 0)
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

static enum err op_trace_rows(struct segment *segment, uint32_t trace, struct arena *a,
                              const uint32_t **ret_rows, uint32_t *ret_count)
{
    struct head_segment *s = mine(segment);
    uint32_t count = 0;
    for (uint32_t row = trace_at(s, trace)->first_row; row != HEAD_NONE; row = next_row(s, row))
        count++;
    uint32_t *rows = arena_alloc(a, count * sizeof *rows);
    if (rows == NULL)
        return arena_err(a);
    uint32_t at = 0;
    for (uint32_t row = trace_at(s, trace)->first_row; row != HEAD_NONE; row = next_row(s, row))
        rows[at++] = row;
    assert(at == count);
    *ret_rows = rows;
    *ret_count = count;
    return ERR_OK;
}

static enum err op_find_trace(struct segment *segment, struct trace_id id, uint32_t *ret_trace)
{
    uint32_t trace = head_trace_of(mine(segment)->h, id);
    if (trace >= segment->trace_count)
        return ERR_NOT_FOUND;
    *ret_trace = trace;
    return ERR_OK;
}

static void op_close(struct segment *segment)
{
    struct head_segment *s = mine(segment);
    head_unref(s->h);
    arena_release(&s->fixed_arena);
    arena_release(&s->arena);
    free(s);
}

/* --- single rows --- */

static enum err row_span(struct segment *segment, uint32_t row, struct segment_rows_span *ret)
{
    struct head_segment *s = mine(segment);
    const struct head_spans *h = &s->h->spans;
    assert(row < segment->row_count[SEG_SPAN]);
    ret->trace = GVEC_GET(&h->trace, uint32_t, row);
    ret->trace_id = trace_at(s, ret->trace)->id;
    ret->span_id = GVEC_GET(&h->span_id, uint64_t, row);
    ret->parent_id = GVEC_GET(&h->parent_id, uint64_t, row);
    ret->start_ns = GVEC_GET(&h->start_ns, uint64_t, row);
    ret->duration_ns = GVEC_GET(&h->duration_ns, uint64_t, row);
    ret->name = GVEC_GET(&s->h->span_names.texts, struct slice, GVEC_GET(&h->name, uint32_t, row));
    ret->kind = GVEC_GET(&h->kind, uint8_t, row);
    ret->status = GVEC_GET(&h->status, uint8_t, row);
    ret->resource = GVEC_GET(&h->resource, uint32_t, row);
    ret->scope = GVEC_GET(&h->scope, uint32_t, row);
    return ERR_OK;
}

static enum err row_event(struct segment *segment, uint32_t row, struct segment_rows_event *ret)
{
    const struct head *h = mine(segment)->h;
    assert(row < segment->row_count[SEG_EVENT]);
    ret->time_ns = GVEC_GET(&h->events.time_ns, uint64_t, row);
    ret->name =
        GVEC_GET(&h->event_names.texts, struct slice, GVEC_GET(&h->events.name, uint32_t, row));
    return ERR_OK;
}

static enum err row_link(struct segment *segment, uint32_t row, struct segment_rows_link *ret)
{
    const struct head *h = mine(segment)->h;
    assert(row < segment->row_count[SEG_LINK]);
    ret->trace_id = GVEC_GET(&h->links.trace_id, struct trace_id, row);
    ret->span_id = GVEC_GET(&h->links.span_id, uint64_t, row);
    return ERR_OK;
}

static enum err row_children(struct segment *segment, enum seg_table table, uint32_t span,
                             uint32_t *ret_first, uint32_t *ret_count)
{
    const struct head *h = mine(segment)->h;
    assert(table == SEG_EVENT || table == SEG_LINK);
    const struct gvec *owner = table == SEG_EVENT ? &h->events.span : &h->links.span;
    uint32_t n = segment->row_count[table], at = head_lower_bound(owner, n, span);
    *ret_first = at;
    while (at < n && GVEC_GET(owner, uint32_t, at) == span)
        at++;
    *ret_count = at - *ret_first;
    return ERR_OK;
}

static void row_shape_at(struct segment *segment, enum seg_table table, uint32_t shape,
                         struct segment_rows_shape *ret)
{
    assert(shape < mine(segment)->shape_count[table]);
    *ret = GVEC_GET(&table_of(mine(segment), table)->shapes, struct segment_rows_shape, shape);
}

static enum err row_shape(struct segment *segment, enum seg_table table, uint32_t row,
                          struct segment_rows_shape *ret)
{
    assert(row < segment->row_count[table]);
    row_shape_at(segment, table,
                 GVEC_GET(&table_of(mine(segment), table)->row_shape, uint32_t, row), ret);
    return ERR_OK;
}

static enum err row_cell(struct segment *segment, enum seg_table table, uint32_t column,
                         uint32_t row, uint32_t nth, struct segment_rows_cell *ret)
{
    struct head_segment *s = mine(segment);
    assert(column < s->column_count[table]);
    const struct head_column *c = head_column_at(table_of(s, table), column);
    uint32_t count = atomic_load_explicit(&c->published, memory_order_acquire);
    uint32_t at = head_lower_bound(&c->rows, count, row) + nth;
    if (at >= count || GVEC_GET(&c->rows, uint32_t, at) != row)
        return ERR_CORRUPT;
    switch (c->type) {
    case SEG_STR:
    case SEG_ANY:
        ret->text = GVEC_GET(&c->dict.texts, struct slice, GVEC_GET(&c->cells, uint32_t, at));
        break;
    case SEG_INT: ret->i = GVEC_GET(&c->cells, int64_t, at); break;
    case SEG_DOUBLE: ret->d = GVEC_GET(&c->cells, double, at); break;
    case SEG_BOOL: ret->i = GVEC_GET(&c->cells, uint8_t, at); break;
    case SEG_TYPE_COUNT: assert(!"type of a column");
    }
    return ERR_OK;
}

static uint32_t rows_column_count(struct segment *segment, enum seg_table table)
{
    return mine(segment)->column_count[table];
}

static void rows_column(struct segment *segment, enum seg_table table, uint32_t column,
                        struct segment_rows_column *ret)
{
    assert(column < mine(segment)->column_count[table]);
    const struct head_column *c = head_column_at(table_of(mine(segment), table), column);
    *ret = (struct segment_rows_column){c->key, c->type, c->field};
}

static enum err rows_column_data(struct segment *segment, enum seg_table table, uint32_t column,
                                 struct arena *a, struct seg_column *ret)
{
    return column_copy(mine(segment), head_column_at(table_of(mine(segment), table), column), a,
                       ret);
}

static enum err rows_shape_of_rows(struct segment *segment, enum seg_table table, struct arena *a,
                                   const uint32_t **ret)
{
    *ret = copy_vector(a, &table_of(mine(segment), table)->row_shape, segment->row_count[table]);
    return arena_err(a);
}

static uint32_t rows_shape_count(struct segment *segment, enum seg_table table)
{
    return mine(segment)->shape_count[table];
}

static void rows_forget_fixed(struct segment *segment)
{
    arena_release(&mine(segment)->fixed_arena);
    mine(segment)->fixed = (struct seg_fixed){0};
}

/* --- opening --- */

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
                                                .shape_at = row_shape_at,
                                                .forget_fixed = rows_forget_fixed};

/* Traces whose first span is among the first `rows`: they are numbered as they came. */
static uint32_t traces_before(const struct head *h, uint32_t published, uint32_t rows)
{
    uint32_t lo = 0, hi = published;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (((const struct head_trace *)gvec_at(&h->traces, mid))->first_row < rows)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

enum err head_segment(struct head *h, struct budget *budget, struct segment **ret)
{
    struct head_segment *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NOMEM;
    arena_init(&s->arena, budget);
    arena_init(&s->fixed_arena, budget);
    s->base.rows = &row_ops;
    s->h = head_ref(h);
    struct segment *g = &s->base.segment;
    g->ops = &ops;
    uint32_t spans = atomic_load_explicit(&h->committed, memory_order_acquire);
    for (int i = 0; i < SEG_TABLE_COUNT; i++) {
        g->row_count[i] = atomic_load_explicit(&h->table[i].rows_published, memory_order_acquire);
        s->column_count[i] =
            atomic_load_explicit(&h->table[i].columns_published, memory_order_acquire);
        s->shape_count[i] =
            atomic_load_explicit(&h->table[i].shapes_published, memory_order_acquire);
    }
    /* What an append in progress has published beyond our spans is left out. */
    g->row_count[SEG_SPAN] = spans;
    g->row_count[SEG_EVENT] = head_lower_bound(&h->events.span, g->row_count[SEG_EVENT], spans);
    g->row_count[SEG_LINK] = head_lower_bound(&h->links.span, g->row_count[SEG_LINK], spans);
    g->trace_count =
        traces_before(h, atomic_load_explicit(&h->traces_published, memory_order_acquire), spans);
    g->min_start_ns = atomic_load_explicit(&h->min_start_ns, memory_order_relaxed);
    g->max_end_ns = atomic_load_explicit(&h->max_end_ns, memory_order_relaxed);
    *ret = g;
    return ERR_OK;
}
