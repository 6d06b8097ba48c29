/* A row group of a block as a segment: pages are read, checked and decoded when they are asked for. */
#include "common/store/block_pages.h"
#include "common/store/segment_otlp.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- events and links --- */

static enum err owners(struct block_segment *s, enum seg_table table, enum block_stream stream,
                       const uint32_t **ret)
{
    uint32_t *span;
    enum err e = block_pages_u32(s, stream, block_pages_rows(s, table),
                                 block_pages_rows(s, SEG_SPAN), &span);
    for (uint32_t i = 1; e == ERR_OK && i < block_pages_rows(s, table); i++)
        if (span[i] < span[i - 1])
            e = ERR_CORRUPT;
    if (e == ERR_OK)
        *ret = span;
    return e;
}

static enum err dense_u32(struct block_segment *s, enum seg_table table, enum seg_field field,
                          const uint32_t **ret)
{
    uint32_t *to = ARENA_ARRAY(&s->arena, uint32_t, block_pages_rows(s, table));
    const struct seg_column *c;
    uint32_t count;
    if (to == NULL)
        return block_pages_no_room(s);
    enum err e = segment_field(&s->base.segment, table, field, &c, &count);
    for (uint32_t i = 0; e == ERR_OK && count != 0 && i < c->count; i++)
        to[c->rows[i]] = (uint32_t)c->ints[i];
    *ret = to;
    return e;
}

static enum err load_events(struct block_segment *s)
{
    uint32_t n = block_pages_rows(s, SEG_EVENT);
    uint64_t *values;
    enum err e = owners(s, SEG_EVENT, BLOCK_EVENT_SPAN, &s->events.span);
    if (e == ERR_OK)
        e = block_fixed_load(s, SEG_F_START);
    uint64_t *time = e == ERR_OK ? arena_alloc(&s->arena, (size_t)n * sizeof *time) : NULL;
    if (time == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
    if (n != 0)
        e = block_pages_ints(s, BLOCK_EVENT_TIME, n, &values);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        time[i] = s->fixed.start_ns[s->events.span[i]] + (uint64_t)unzigzag(values[i]);
    arena_reset(&s->tmp);
    s->events.time_ns = time;
    if (e == ERR_OK && n == 0)
        s->events.name =
            (struct seg_names){arena_alloc(&s->arena, 0), arena_alloc(&s->arena, 0), 0};
    else if (e == ERR_OK)
        e = block_pages_names(s, BLOCK_EVENT_NAME, BLOCK_DICT_EVENT_NAMES, n, &s->events.name);
    return e == ERR_OK
               ? dense_u32(s, SEG_EVENT, SEG_DROPPED_ATTRIBUTES, &s->events.dropped_attributes)
               : e;
}

static enum err op_events(struct segment *segment, struct seg_events *ret)
{
    struct block_segment *s = block_pages_mine(segment);
    enum err e = s->has_events ? ERR_OK : load_events(s);
    if (e != ERR_OK)
        return e;
    s->has_events = true;
    *ret = s->events;
    return ERR_OK;
}

static enum err load_links(struct block_segment *s)
{
    uint32_t n = block_pages_rows(s, SEG_LINK), count;
    const struct seg_column *c;
    enum err e = owners(s, SEG_LINK, BLOCK_LINK_SPAN, &s->links.span);
    const void *traces = NULL, *ids = NULL;
    if (e == ERR_OK)
        e = block_pages_raw(s, BLOCK_LINK_TRACE, n, TRACE_ID_BYTES, &traces);
    if (e == ERR_OK)
        e = block_pages_raw(s, BLOCK_LINK_ID, n, SPAN_ID_BYTES, &ids);
    s->links.trace_id = traces;
    s->links.span_id = ids;
    struct slice *state = e == ERR_OK ? ARENA_ARRAY(&s->arena, struct slice, n) : NULL;
    if (state == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
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
    struct block_segment *s = block_pages_mine(segment);
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
    struct block_segment *s = block_pages_mine(segment);
    assert(trace < segment->trace_count);
    enum err e = block_fixed_first(s);
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
    struct block_segment *s = block_pages_mine(segment);
    enum err e = block_fixed_trace_ids(s);
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
    struct block_segment *s = block_pages_mine(segment);
    block_piece_free_all(s->user.own);
    block_unref(s->b);
    arena_release(&s->arena);
    arena_release(&s->tmp);
    free(s);
}

/* --- single rows --- */

static enum err row_span(struct segment *segment, uint32_t row, struct segment_rows_span *ret)
{
    struct block_segment *s = block_pages_mine(segment);
    struct seg_fixed f;
    assert(row < segment->row_count[SEG_SPAN]);
    if (s->traces.id == NULL || s->fixed.scope == NULL) {
        struct seg_traces traces;
        enum err e = block_fixed_traces(segment, &traces);
        if (e == ERR_OK)
            e = block_fixed_get(segment, SEG_F_ALL, &f);
        if (e != ERR_OK)
            return e;
    }
    enum err e = block_fixed_get(segment, SEG_F_ALL, &f);
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
    struct block_segment *s = block_pages_mine(segment);
    const uint32_t **known = table == SEG_EVENT ? &s->events.span : &s->links.span;
    uint32_t n = block_pages_rows(s, table);
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
    assert(shape < block_pages_mine(segment)->b->index.shape_count[table]);
    *ret = block_pages_mine(segment)->b->index.shapes[table][shape];
}

static enum err row_shape(struct segment *segment, enum seg_table table, uint32_t row,
                          struct segment_rows_shape *ret)
{
    struct block_segment *s = block_pages_mine(segment);
    enum err e = block_values_shapes(s, table);
    assert(row < block_pages_rows(s, table));
    if (e == ERR_OK)
        row_shape_at(segment, table, s->shape_of[table][row], ret);
    return e;
}

static enum err row_cell(struct segment *segment, enum seg_table table, uint32_t column,
                         uint32_t row, uint32_t nth, struct segment_rows_cell *ret)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct seg_column *c;
    assert(column < s->b->index.column_count[table]);
    enum err e = block_values_column(s, table, column, &c);
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
    return block_pages_mine(segment)->b->index.column_count[table];
}

static void rows_column(struct segment *segment, enum seg_table table, uint32_t column,
                        struct segment_rows_column *ret)
{
    assert(column < block_pages_mine(segment)->b->index.column_count[table]);
    const struct block_column *c = &block_pages_mine(segment)->b->index.columns[table][column];
    *ret = (struct segment_rows_column){c->key, (enum seg_type)c->type, c->field};
}

/* Kept by the segment all the same: what a block segment decodes lives with it. */
static enum err rows_column_data(struct segment *segment, enum seg_table table, uint32_t column,
                                 struct arena *a, struct seg_column *ret)
{
    const struct seg_column *c;
    (void)a;
    enum err e = block_values_column(block_pages_mine(segment), table, column, &c);
    if (e == ERR_OK)
        *ret = *c;
    return e;
}

static enum err rows_shape_of_rows(struct segment *segment, enum seg_table table, struct arena *a,
                                   const uint32_t **ret)
{
    (void)a;
    enum err e = block_values_shapes(block_pages_mine(segment), table);
    *ret = block_pages_mine(segment)->shape_of[table];
    return e;
}

static uint32_t rows_shape_count(struct segment *segment, enum seg_table table)
{
    return block_pages_mine(segment)->b->index.shape_count[table];
}

static const struct segment_ops ops = {.fixed = block_fixed_get,
                                       .traces = block_fixed_traces,
                                       .events = op_events,
                                       .links = op_links,
                                       .attribute = block_values_attribute,
                                       .attribute_equal = block_values_equal,
                                       .field = block_values_field,
                                       .keys = block_values_keys,
                                       .trace_rows = op_trace_rows,
                                       .find_trace = op_find_trace,
                                       .write_otlp = segment_otlp_write,
                                       .close = op_close,
                                       .texts = block_values_texts,
                                       .range = block_values_range,
                                       .depths = block_fixed_depths,
                                       .match = block_match_attribute,
                                       .match_fixed = block_match_fixed,
                                       .codes = block_match_codes};
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
    s->user = (struct block_user){.budget = budget, .read_bytes = &s->base.segment.read_bytes};
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
