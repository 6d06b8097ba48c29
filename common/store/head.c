#include "common/store/head.h"

#include "common/base/hash.h"
#include "common/store/head_priv.h"

#include <assert.h>
#include <string.h>

enum { TRACE_INDEX_FIRST = 64, TWINS_MAX = 32 };

static void spans_init(struct head *h)
{
    static const uint8_t width[] = {4, 8, 8, 8, 8, 4, 1, 1, 4, 4, sizeof(atomic_uint)};
    _Static_assert(sizeof width == HEAD_SPAN_VECTORS, "a width for each");
    for (size_t i = 0; i < HEAD_SPAN_VECTORS; i++)
        gvec_init(&h->spans.all[i], width[i]);
    gvec_init(&h->events.span, sizeof(uint32_t));
    gvec_init(&h->events.time_ns, sizeof(uint64_t));
    gvec_init(&h->events.name, sizeof(uint32_t));
    gvec_init(&h->links.span, sizeof(uint32_t));
    gvec_init(&h->links.trace_id, sizeof(struct trace_id));
    gvec_init(&h->links.span_id, sizeof(uint64_t));
    gvec_init(&h->resources, sizeof(struct head_interned));
    gvec_init(&h->scopes, sizeof(struct head_interned));
    gvec_init(&h->traces, sizeof(struct head_trace));
    gvec_init(&h->cut_ids, sizeof(struct trace_id));
}

static enum err trace_index_grow(struct head *h, uint32_t slots)
{
    assert((slots & (slots - 1)) == 0);
    size_t bytes = sizeof(struct head_trace_index) + slots * sizeof(atomic_uint);
    enum err e = budget_take(&h->budget, bytes);
    if (e != ERR_OK)
        return e;
    struct head_trace_index *x = calloc(1, bytes);
    if (x == NULL) {
        budget_give(&h->budget, bytes);
        return ERR_NOMEM;
    }
    x->mask = slots - 1;
    for (uint32_t t = 0; t < h->traces.count; t++) {
        struct head_trace *trace = gvec_at(&h->traces, t);
        uint32_t slot = (uint32_t)hash_seeded((struct slice){trace->id.b, TRACE_ID_BYTES});
        while (atomic_load_explicit(&x->slots[slot & x->mask], memory_order_relaxed) != 0)
            slot++;
        atomic_store_explicit(&x->slots[slot & x->mask], t + 1, memory_order_relaxed);
    }
    x->older = atomic_load_explicit(&h->trace_index, memory_order_relaxed);
    atomic_store_explicit(&h->trace_index, x, memory_order_release);
    return ERR_OK;
}

static void head_free(struct head *h)
{
    for (size_t i = 0; i < HEAD_SPAN_VECTORS; i++)
        gvec_release(&h->spans.all[i], &h->budget);
    gvec_release(&h->events.span, &h->budget);
    gvec_release(&h->events.time_ns, &h->budget);
    gvec_release(&h->events.name, &h->budget);
    gvec_release(&h->links.span, &h->budget);
    gvec_release(&h->links.trace_id, &h->budget);
    gvec_release(&h->links.span_id, &h->budget);
    gvec_release(&h->resources, &h->budget);
    gvec_release(&h->scopes, &h->budget);
    gvec_release(&h->traces, &h->budget);
    gvec_release(&h->cut_ids, &h->budget);
    head_column_index_release(h, &h->resource_index);
    head_column_index_release(h, &h->scope_index);
    head_column_index_release(h, &h->span_index);
    head_column_index_release(h, &h->cut_index);
    struct head_trace_index *x = atomic_load_explicit(&h->trace_index, memory_order_relaxed);
    while (x != NULL) {
        struct head_trace_index *older = x->older;
        budget_give(&h->budget, sizeof *x + ((size_t)x->mask + 1) * sizeof(atomic_uint));
        free(x);
        x = older;
    }
    head_column_release(h);
    budget_give(&h->budget, sizeof *h);
    assert(budget_used(&h->budget) == 0);
    free(h);
}

enum err head_new(struct budget *budget, const struct head_options *options, struct head **ret)
{
    assert(options != NULL);
    struct head *h = calloc(1, sizeof *h);
    if (h == NULL)
        return ERR_NOMEM;
    budget_init(&h->budget, SIZE_MAX, budget);
    if (budget_take(&h->budget, sizeof *h) != ERR_OK) {
        free(h);
        return ERR_LIMIT;
    }
    h->options = *options;
    atomic_init(&h->refs, 1);
    atomic_init(&h->trace_index, NULL);
    atomic_init(&h->committed, 0);
    atomic_init(&h->traces_published, 0);
    atomic_init(&h->wire_bytes, 0);
    atomic_init(&h->min_start_ns, UINT64_MAX);
    atomic_init(&h->max_end_ns, 0);
    spans_init(h);
    head_column_init(h);
    enum err e = trace_index_grow(h, TRACE_INDEX_FIRST);
    if (e != ERR_OK) {
        head_free(h);
        return e;
    }
    *ret = h;
    return ERR_OK;
}

struct head *head_ref(struct head *h)
{
    unsigned before = atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    assert(before != 0);
    return h;
}

void head_unref(struct head *h)
{
    if (h == NULL)
        return;
    unsigned before = atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel);
    assert(before != 0);
    if (before == 1)
        head_free(h);
}

/* --- traces --- */

uint32_t head_trace_of(struct head *h, struct trace_id id)
{
    struct head_trace_index *x = atomic_load_explicit(&h->trace_index, memory_order_acquire);
    uint32_t slot = (uint32_t)hash_seeded((struct slice){id.b, TRACE_ID_BYTES});
    for (;; slot++) {
        uint32_t number1 = atomic_load_explicit(&x->slots[slot & x->mask], memory_order_acquire);
        if (number1 == 0)
            return HEAD_NONE;
        const struct head_trace *t = gvec_at(&h->traces, number1 - 1);
        if (memcmp(t->id.b, id.b, TRACE_ID_BYTES) == 0)
            return number1 - 1;
    }
}

static bool cut_ids_have(const struct head *h, struct trace_id id)
{
    uint32_t hash = (uint32_t)hash_seeded((struct slice){id.b, TRACE_ID_BYTES}), slot = hash, i;
    while (head_index_next(&h->cut_index, hash, &slot, &i))
        if (memcmp(((const struct trace_id *)gvec_at(&h->cut_ids, i))->b, id.b, TRACE_ID_BYTES) ==
            0)
            return true;
    return false;
}

enum err head_flag_trace(struct head *h, struct trace_id id)
{
    uint32_t number = head_trace_of(h, id);
    if (number != HEAD_NONE) {
        atomic_fetch_or_explicit(&((struct head_trace *)gvec_at(&h->traces, number))->marks,
                                 HEAD_TRACE_CUT, memory_order_relaxed);
        return ERR_OK;
    }
    if (cut_ids_have(h, id))
        return ERR_OK;
    enum err e = head_column_index_reserve(h, &h->cut_index);
    if (e != ERR_OK)
        return e;
    struct trace_id *at = head_push(h, &h->cut_ids);
    if (at == NULL)
        return head_column_no_room(h, &h->cut_ids);
    *at = id;
    head_column_index_put(&h->cut_index,
                          (uint32_t)hash_seeded((struct slice){id.b, TRACE_ID_BYTES}),
                          h->cut_ids.count - 1);
    return ERR_OK;
}

bool head_trace_is_marked(struct head *h, struct trace_id id)
{
    uint32_t number = head_trace_of(h, id);

    return number != HEAD_NONE &&
           atomic_load_explicit(&((struct head_trace *)gvec_at(&h->traces, number))->marks,
                                memory_order_relaxed) != 0;
}

/* Room in the table of trace ids, so that trace_new can not fail there. */
static enum err trace_reserve(struct head *h)
{
    struct head_trace_index *x = atomic_load_explicit(&h->trace_index, memory_order_relaxed);
    if (h->traces.count < x->mask / 4 * 3)
        return ERR_OK;
    if (x->mask >= UINT32_MAX / 4)
        return ERR_LIMIT;
    return trace_index_grow(h, (x->mask + 1) * 2);
}

static enum err trace_new(struct head *h, struct trace_id id, uint32_t row, int64_t now_ns,
                          struct head_trace **ret)
{
    struct head_trace *t = head_push(h, &h->traces);
    if (t == NULL)
        return head_column_no_room(h, &h->traces);
    t->id = id;
    t->first_row = t->last_row = row;
    t->first_ns = t->last_ns = now_ns;
    atomic_init(&t->marks, cut_ids_have(h, id) ? HEAD_TRACE_CUT : 0);
    atomic_init(&t->judged, 0);
    struct head_trace_index *x = atomic_load_explicit(&h->trace_index, memory_order_relaxed);
    uint32_t slot = (uint32_t)hash_seeded((struct slice){id.b, TRACE_ID_BYTES});
    while (atomic_load_explicit(&x->slots[slot & x->mask], memory_order_relaxed) != 0)
        slot++;
    atomic_store_explicit(&x->slots[slot & x->mask], h->traces.count, memory_order_release);
    *ret = t;
    return ERR_OK;
}

/* --- copies --- */

uint32_t head_lower_bound(const struct gvec *rows, uint32_t count, uint32_t row)
{
    uint32_t lo = 0, hi = count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (GVEC_GET(rows, uint32_t, mid) < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool cells_equal(const struct head_column *c, uint32_t a, uint32_t b)
{
    if (c->type == SEG_STR || c->type == SEG_ANY)
        return slice_eq(GVEC_GET(&c->dict.texts, struct slice, GVEC_GET(&c->cells, uint32_t, a)),
                        GVEC_GET(&c->dict.texts, struct slice, GVEC_GET(&c->cells, uint32_t, b)));
    return memcmp(gvec_at(&c->cells, a), gvec_at(&c->cells, b), c->cells.elem_bytes) == 0;
}

static bool rows_equal(const struct head *h, enum seg_table table, uint32_t a, uint32_t b)
{
    const struct head_table *t = &h->table[table];
    uint32_t shape_no = GVEC_GET(&t->row_shape, uint32_t, a);
    if (shape_no != GVEC_GET(&t->row_shape, uint32_t, b))
        return false;
    const struct segment_rows_shape *shape = gvec_at(&t->shapes, shape_no);
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct head_column *c = head_column_at(t, shape->columns[i]);
        uint32_t at_a = head_lower_bound(&c->rows, c->rows.count, a);
        uint32_t at_b = head_lower_bound(&c->rows, c->rows.count, b);
        /* All values of the column in both rows; a column that stands in the shape twice is looked at twice. */
        while (at_a < c->rows.count && GVEC_GET(&c->rows, uint32_t, at_a) == a) {
            if (at_b == c->rows.count || GVEC_GET(&c->rows, uint32_t, at_b) != b ||
                !cells_equal(c, at_a, at_b))
                return false;
            at_a++;
            at_b++;
        }
    }
    return true;
}

/* Whether the rows of `owner` that begin at `first` equal those from `mine` to the end of the table. */
static bool children_equal(const struct head *h, enum seg_table table, const struct gvec *span,
                           uint32_t owner, uint32_t mine)
{
    uint32_t at = head_lower_bound(span, mine, owner), count = h->table[table].row_count - mine;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t a = at + i, b = mine + i;
        if (a >= mine || GVEC_GET(span, uint32_t, a) != owner || !rows_equal(h, table, a, b))
            return false;
        if (table == SEG_EVENT &&
            (GVEC_GET(&h->events.time_ns, uint64_t, a) !=
                 GVEC_GET(&h->events.time_ns, uint64_t, b) ||
             GVEC_GET(&h->events.name, uint32_t, a) != GVEC_GET(&h->events.name, uint32_t, b)))
            return false;
        if (table == SEG_LINK &&
            (GVEC_GET(&h->links.span_id, uint64_t, a) != GVEC_GET(&h->links.span_id, uint64_t, b) ||
             memcmp(gvec_at(&h->links.trace_id, a), gvec_at(&h->links.trace_id, b),
                    TRACE_ID_BYTES) != 0))
            return false;
    }
    return at + count == mine || GVEC_GET(span, uint32_t, at + count) != owner;
}

struct new_span { /* a span whose columns are appended but not counted */
    uint64_t span_id, parent_id, start_ns, duration_ns;
    uint32_t row, trace, name, hash;
    uint8_t kind, status;
};

static bool is_copy_of(const struct head *h, const struct new_span *n, uint32_t row,
                       const struct head_source *source, const struct head_mark *mark)
{
    const struct head_spans *s = &h->spans;
    if (GVEC_GET(&s->parent_id, uint64_t, row) != n->parent_id ||
        GVEC_GET(&s->start_ns, uint64_t, row) != n->start_ns ||
        GVEC_GET(&s->duration_ns, uint64_t, row) != n->duration_ns ||
        GVEC_GET(&s->name, uint32_t, row) != n->name ||
        GVEC_GET(&s->kind, uint8_t, row) != n->kind ||
        GVEC_GET(&s->status, uint8_t, row) != n->status ||
        GVEC_GET(&s->resource, uint32_t, row) != source->resource ||
        GVEC_GET(&s->scope, uint32_t, row) != source->scope)
        return false;
    return rows_equal(h, SEG_SPAN, row, n->row) &&
           children_equal(h, SEG_EVENT, &h->events.span, row, mark->rows[SEG_EVENT]) &&
           children_equal(h, SEG_LINK, &h->links.span, row, mark->rows[SEG_LINK]);
}

/* *ret_twins: spans of the trace with this id.  Only so many are compared: nobody sends more but to keep us busy, and equal spans that are missed here
 * meet when they are read. */
static bool is_copy(const struct head *h, const struct new_span *n,
                    const struct head_source *source, const struct head_mark *mark,
                    unsigned *ret_twins)
{
    uint32_t slot = n->hash, row;
    *ret_twins = 0;
    while (*ret_twins < TWINS_MAX && head_index_next(&h->span_index, n->hash, &slot, &row)) {
        if (GVEC_GET(&h->spans.trace, uint32_t, row) != n->trace ||
            GVEC_GET(&h->spans.span_id, uint64_t, row) != n->span_id)
            continue;
        if (is_copy_of(h, n, row, source, mark))
            return true;
        ++*ret_twins;
    }
    return false;
}

/* --- one span --- */

/* Room for one more row.  All vectors need a new chunk at the same rows: only there anything can fail. */
static enum err fixed_extend(struct head *h, uint32_t row)
{
    struct gvec *all = h->spans.all;
    assert(all[0].count == row);
    if (((row + GVEC_FIRST) & (row + GVEC_FIRST - 1)) != 0) {
        for (size_t i = 0; i < HEAD_SPAN_VECTORS; i++)
            all[i].count++;
        return ERR_OK;
    }
    for (size_t i = 0; i < HEAD_SPAN_VECTORS; i++)
        if (head_push(h, &all[i]) == NULL) {
            enum err e = head_column_no_room(h, &all[i]);
            while (i-- > 0)
                all[i].count--;
            return e;
        }
    return ERR_OK;
}

static enum err fixed_push(struct head *h, const struct new_span *n,
                           const struct head_source *source)
{
    enum err e = fixed_extend(h, n->row);
    if (e != ERR_OK)
        return e;
    struct head_spans *s = &h->spans;
    assert(s->trace.count == n->row + 1);
    GVEC_GET(&s->trace, uint32_t, n->row) = n->trace;
    GVEC_GET(&s->span_id, uint64_t, n->row) = n->span_id;
    GVEC_GET(&s->parent_id, uint64_t, n->row) = n->parent_id;
    GVEC_GET(&s->start_ns, uint64_t, n->row) = n->start_ns;
    GVEC_GET(&s->duration_ns, uint64_t, n->row) = n->duration_ns;
    GVEC_GET(&s->name, uint32_t, n->row) = n->name;
    GVEC_GET(&s->kind, uint8_t, n->row) = n->kind;
    GVEC_GET(&s->status, uint8_t, n->row) = n->status;
    GVEC_GET(&s->resource, uint32_t, n->row) = source->resource;
    GVEC_GET(&s->scope, uint32_t, n->row) = source->scope;
    atomic_store_explicit(&GVEC_GET(&s->next, atomic_uint, n->row), HEAD_NONE,
                          memory_order_relaxed);
    return ERR_OK;
}

static void fixed_pop(struct head *h)
{
    for (size_t i = 0; i < HEAD_SPAN_VECTORS; i++)
        h->spans.all[i].count--;
}

static void span_count_in(struct head *h, const struct new_span *n, struct head_trace *t,
                          size_t wire_bytes, const struct head_source *source, bool is_indexed)
{
    if (t->span_count != 0)
        atomic_store_explicit(&GVEC_GET(&h->spans.next, atomic_uint, t->last_row), n->row,
                              memory_order_release);
    t->last_row = n->row;
    t->span_count++;
    t->last_ns = source->now_ns;
    t->wire_bytes += wire_bytes;
    if (source->is_doubt)
        atomic_fetch_or_explicit(&t->marks, HEAD_TRACE_DOUBT, memory_order_relaxed);
    if (is_indexed)
        head_column_index_put(&h->span_index, n->hash, n->row);
    h->table[SEG_SPAN].row_count++;
    uint64_t end_ns = n->start_ns + n->duration_ns;
    if (n->start_ns < atomic_load_explicit(&h->min_start_ns, memory_order_relaxed))
        atomic_store_explicit(&h->min_start_ns, n->start_ns, memory_order_relaxed);
    if (end_ns > atomic_load_explicit(&h->max_end_ns, memory_order_relaxed))
        atomic_store_explicit(&h->max_end_ns, end_ns, memory_order_relaxed);
    atomic_store_explicit(&h->wire_bytes,
                          atomic_load_explicit(&h->wire_bytes, memory_order_relaxed) + wire_bytes,
                          memory_order_relaxed);
}

static bool is_id(struct slice id, size_t len)
{
    static const uint8_t zero[TRACE_ID_BYTES];
    return id.len == len && memcmp(id.ptr, zero, len) != 0;
}

static enum err number_field(struct head *h, enum seg_field field, uint64_t v)
{
    struct segment_rows_cell cell = {.i = (uint32_t)v};
    return v == 0 ? ERR_OK : head_column_field(h, SEG_SPAN, field, SEG_INT, &cell);
}

static enum err text_field(struct head *h, enum seg_field field, enum seg_type type,
                           struct slice text)
{
    struct segment_rows_cell cell = {.text = text};
    return text.len == 0 ? ERR_OK : head_column_field(h, SEG_SPAN, field, type, &cell);
}

static enum err span_fields(struct head *h, const struct head_span_fields *f)
{
    const struct buf *unknown = &h->table[SEG_SPAN].unknown;
    struct segment_rows_cell yes = {.i = 1};
    if (buf_err(unknown) != ERR_OK)
        return ERR_NOMEM;
    enum err e = text_field(h, SEG_STATUS_MESSAGE, SEG_STR, f->status_message);
    if (e == ERR_OK)
        e = text_field(h, SEG_TRACE_STATE, SEG_STR, f->trace_state);
    if (e == ERR_OK)
        e = number_field(h, SEG_FLAGS, f->flags);
    if (e == ERR_OK)
        e = number_field(h, SEG_DROPPED_ATTRIBUTES, f->dropped_attributes);
    if (e == ERR_OK)
        e = number_field(h, SEG_DROPPED_EVENTS, f->dropped_events);
    if (e == ERR_OK)
        e = number_field(h, SEG_DROPPED_LINKS, f->dropped_links);
    if (e == ERR_OK && f->has_status && f->status == 0)
        e = head_column_field(h, SEG_SPAN, SEG_HAS_STATUS, SEG_BOOL, &yes);
    if (e == ERR_OK)
        e = text_field(h, SEG_UNKNOWN, SEG_ANY, buf_slice(unknown));
    return e == ERR_OK ? head_column_row(h, SEG_SPAN) : e;
}

/* The trace of a span: mostly that of the span before. */
static uint32_t trace_of_next(struct head *h, struct trace_id id)
{
    if (h->last_trace < h->traces.count &&
        memcmp(gvec_at(&h->traces, h->last_trace), id.b, TRACE_ID_BYTES) == 0)
        return h->last_trace;
    h->last_trace_hash = hash_seeded((struct slice){id.b, TRACE_ID_BYTES});
    h->last_trace = head_trace_of(h, id);
    if (h->last_trace == HEAD_NONE)
        h->last_trace = h->traces.count; /* its number, if it is kept */
    return h->last_trace < h->traces.count ? h->last_trace : HEAD_NONE;
}

enum err head_commit_span(struct head *h, const struct head_span_fields *f, struct slice wire,
                          const struct head_source *source, const struct head_mark *mark,
                          struct head_append_result *result)
{
    if (!is_id(f->trace_id, TRACE_ID_BYTES) || !is_id(f->span_id, SPAN_ID_BYTES)) {
        result->refused++;
        head_column_rollback(h, mark);
        return ERR_OK;
    }
    struct new_span n = {.row = h->table[SEG_SPAN].row_count,
                         .start_ns = f->start_ns,
                         .duration_ns = f->end_ns - f->start_ns,
                         .kind = (uint8_t)f->kind,
                         .status = (uint8_t)f->status};
    struct trace_id id;
    memcpy(id.b, f->trace_id.ptr, TRACE_ID_BYTES);
    memcpy(&n.span_id, f->span_id.ptr, SPAN_ID_BYTES);
    if (f->parent_id.len == SPAN_ID_BYTES)
        memcpy(&n.parent_id, f->parent_id.ptr, SPAN_ID_BYTES);
    n.trace = trace_of_next(h, id);
    n.hash = (uint32_t)hash_with(f->span_id, h->last_trace_hash);
    unsigned twins = 0;
    enum err e = head_column_text(h, &h->span_names, f->name, &n.name);
    if (e == ERR_OK)
        e = span_fields(h, f);
    if (e == ERR_OK && n.trace != HEAD_NONE && is_copy(h, &n, source, mark, &twins)) {
        result->copies++;
        head_column_rollback(h, mark);
        return ERR_OK;
    }
    if (e == ERR_OK)
        e = head_column_index_reserve(h, &h->span_index);
    if (e == ERR_OK)
        e = trace_reserve(h);
    bool is_new = n.trace == HEAD_NONE;
    struct head_trace *t = is_new ? NULL : gvec_at(&h->traces, n.trace);
    if (is_new)
        n.trace = h->traces.count;
    if (e == ERR_OK)
        e = fixed_push(h, &n, source);
    if (e == ERR_OK && is_new) {
        e = trace_new(h, id, n.row, source->now_ns, &t);
        if (e != ERR_OK)
            fixed_pop(h);
    }
    if (e != ERR_OK) {
        head_column_rollback(h, mark);
        return e;
    }
    span_count_in(h, &n, t, wire.len, source, twins < TWINS_MAX);
    result->spans++;
    result->traces_created += is_new;
    return ERR_OK;
}

/* --- the public face --- */

enum err head_append(struct head *h, struct slice otlp, bool is_doubt, int64_t now_ns,
                     struct head_append_result *ret)
{
    *ret = (struct head_append_result){0};
    enum err e = head_wire_check(otlp);
    return e == ERR_OK ? head_append_checked(h, otlp, is_doubt, now_ns, ret) : e;
}

enum err head_append_checked(struct head *h, struct slice otlp, bool is_doubt, int64_t now_ns,
                             struct head_append_result *ret)
{
    struct head_append_result result = {0};
    assert(!h->is_sealed);
    enum err e = head_wire_append(h, otlp, is_doubt, now_ns, &result);
    head_column_publish(h);
    atomic_store_explicit(&h->traces_published, h->traces.count, memory_order_release);
    atomic_store_explicit(&h->committed, h->table[SEG_SPAN].row_count, memory_order_release);
    *ret = result;
    return e;
}

void head_seal(struct head *h)
{
    h->is_sealed = true;
    head_column_index_release(h, &h->resource_index);
    head_column_index_release(h, &h->scope_index);
    head_column_index_release(h, &h->span_index);
    head_column_seal(h);
}

void head_stats(struct head *h, struct head_stats *ret)
{
    *ret = (struct head_stats){
        .spans = atomic_load_explicit(&h->committed, memory_order_acquire),
        .traces = atomic_load_explicit(&h->traces_published, memory_order_relaxed),
        .bytes = budget_used(&h->budget),
        .wire_bytes = atomic_load_explicit(&h->wire_bytes, memory_order_relaxed),
        .min_start_ns = atomic_load_explicit(&h->min_start_ns, memory_order_relaxed),
        .max_end_ns = atomic_load_explicit(&h->max_end_ns, memory_order_relaxed),
    };
}

void head_each_trace(struct head *h, head_trace_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < h->traces.count; i++) {
        const struct head_trace *t = gvec_at(&h->traces, i);
        fn(arg, i, t->id, t->first_ns, t->last_ns, t->wire_bytes);
    }
}

uint64_t head_trace_bytes(struct head *h, struct trace_id id)
{
    uint32_t number = head_trace_of(h, id);
    return number == HEAD_NONE
               ? 0
               : ((const struct head_trace *)gvec_at(&h->traces, number))->wire_bytes;
}
