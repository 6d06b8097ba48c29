#include "common/store/block_grow.h"

#include "common/store/block_text.h"
#include "common/store/page.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- growing --- */

static enum err dict_new(struct block_grow *g, uint32_t *ret)
{
    if (g->dict_count == g->dict_max) {
        g->dicts = block_widen(g->keep, g->dicts, &g->dict_max, sizeof *g->dicts);
        if (g->dicts == NULL)
            return arena_err(g->keep);
    }
    struct grow_dict *d = &g->dicts[g->dict_count];
    *d = (struct grow_dict){0};
    text_set_init(&d->texts, g->keep);
    *ret = g->dict_count++;
    return ERR_OK;
}

enum err block_grow_init(struct block_grow *g, struct block **inputs, uint32_t input_count,
                         struct arena *keep)
{
    uint32_t names, event_names;
    *g = (struct block_grow){.inputs = inputs, .input_count = input_count, .keep = keep};
    for (int t = 0; t < SEG_TABLE_COUNT; t++) {
        struct grow_table *table = &g->tables[t];
        text_set_init(&table->column_keys, keep);
        text_set_init(&table->shape_keys, keep);
        table->column_of = ARENA_ARRAY(keep, uint32_t *, input_count);
        table->shape_of = ARENA_ARRAY(keep, uint32_t *, input_count);
        for (uint32_t i = 0; arena_err(keep) == ERR_OK && i < input_count; i++) {
            table->column_of[i] = block_none_array(keep, inputs[i]->index.column_count[t]);
            table->shape_of[i] = block_none_array(keep, inputs[i]->index.shape_count[t]);
        }
    }
    enum err e = arena_err(keep);
    if (e == ERR_OK)
        e = dict_new(g, &names);
    if (e == ERR_OK)
        e = dict_new(g, &event_names);
    assert(e != ERR_OK ||
           (names == BLOCK_DICT_SPAN_NAMES && event_names == BLOCK_DICT_EVENT_NAMES));
    return e;
}

void block_grow_release(struct block_grow *g)
{
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t i = 0; i < g->tables[t].column_keys.count && i < g->tables[t].column_max; i++)
            if (g->tables[t].columns[i].filter != NULL)
                block_filter_release(g->tables[t].columns[i].filter);
}

/* --- columns and shapes --- */

static bool is_same_column(const struct block_column *c, const struct segment_rows_column *about)
{
    return c->type == (uint8_t)about->type && c->field == about->field &&
           slice_eq(c->key, about->key);
}

/* The form in which the inputs have most bytes of a column. */
static uint8_t choose_form(const struct block_grow *g, enum seg_table table,
                           const struct segment_rows_column *about)
{
    uint64_t plain = 0, coded = 0;
    if (about->type != SEG_STR && about->type != SEG_ANY)
        return BLOCK_FORM_NUMBERS;
    for (uint32_t i = 0; i < g->input_count; i++) {
        const struct block_index *x = &g->inputs[i]->index;
        for (uint32_t c = 0; c < x->column_count[table]; c++) {
            const struct block_column *column = &x->columns[table][c];
            if (!is_same_column(column, about))
                continue;
            uint64_t *sum = column->form == BLOCK_FORM_PLAIN ? &plain : &coded;
            for (uint32_t p = 0; p < block_parts(x, table); p++)
                *sum += column->pages[p].bytes;
            if (column->form == BLOCK_FORM_DICT)
                for (uint32_t k = 0; k < x->dicts[column->dict].chunk_count; k++)
                    coded += x->dicts[column->dict].chunks[k].texts.bytes;
        }
    }
    return plain > coded ? BLOCK_FORM_PLAIN : BLOCK_FORM_DICT;
}

static enum err column_new(struct block_grow *g, enum seg_table table,
                           const struct segment_rows_column *about, struct slice kept_key)
{
    struct grow_table *t = &g->tables[table];
    uint32_t at = t->column_keys.count - 1;
    if (at == t->column_max) {
        struct grow_column *wider =
            block_widen(g->keep, t->columns, &t->column_max, sizeof *t->columns);
        if (wider == NULL)
            return arena_err(g->keep);
        t->columns = wider;
    }
    struct grow_column *c = &t->columns[at];
    *c = (struct grow_column){.about = *about, .form = choose_form(g, table, about)};
    c->about.key = (struct slice){kept_key.ptr + 2, kept_key.len - 2};
    c->dict = BLOCK_NONE;
    if (c->form == BLOCK_FORM_PLAIN) {
        c->filter = ARENA_NEW(g->keep, struct block_filter_maker);
        if (c->filter == NULL)
            return arena_err(g->keep);
        block_filter_init(c->filter, g->keep->budget);
    }
    return c->form == BLOCK_FORM_DICT ? dict_new(g, &c->dict) : ERR_OK;
}

static enum err map_column(struct block_grow *g, const struct block_grow_part *p, uint32_t input,
                           uint32_t local, uint32_t *ret)
{
    struct grow_table *t = &g->tables[p->table];
    uint32_t *known = &t->column_of[input][local];
    if (*known != BLOCK_NONE) {
        *ret = *known;
        return ERR_OK;
    }
    const struct block_column *from = &g->inputs[input]->index.columns[p->table][local];
    struct segment_rows_column about = {from->key, (enum seg_type)from->type, from->field};
    uint8_t *key = arena_alloc(&p->w->scratch, about.key.len + 2);
    if (key == NULL)
        return arena_err(&p->w->scratch);
    key[0] = from->type;
    key[1] = from->field;
    if (about.key.len != 0)
        memcpy(key + 2, about.key.ptr, about.key.len);
    uint32_t before = t->column_keys.count, number;
    enum err e = text_set_number(&t->column_keys, (struct slice){key, about.key.len + 2}, &number);
    if (e == ERR_OK && t->column_keys.count != before)
        e = column_new(g, p->table, &about, t->column_keys.texts[number]);
    if (e == ERR_OK)
        *ret = *known = number;
    return e;
}

static enum err map_shape(struct block_grow *g, const struct block_grow_part *p, uint32_t input,
                          uint32_t local, uint32_t *ret)
{
    struct grow_table *t = &g->tables[p->table];
    const struct segment_rows_shape *from = &g->inputs[input]->index.shapes[p->table][local];
    uint32_t *columns = ARENA_ARRAY(&p->w->scratch, uint32_t, from->count);
    if (columns == NULL)
        return arena_err(&p->w->scratch);
    for (uint32_t i = 0; i < from->count; i++) {
        enum err e = map_column(g, p, input, from->columns[i], &columns[i]);
        if (e != ERR_OK)
            return e;
    }
    return text_set_number(&t->shape_keys,
                           (struct slice){(const uint8_t *)columns, from->count * sizeof *columns},
                           ret);
}

/* A shape is kept as the bytes of its column numbers. */
static struct segment_rows_shape shape_of_key(struct slice key)
{
    return (struct segment_rows_shape){(const uint32_t *)(const void *)key.ptr,
                                       (uint32_t)(key.len / sizeof(uint32_t))};
}

/* Shape numbers of all rows of a part, and which columns occur. */
static enum err write_shapes(struct block_grow *g, const struct block_grow_part *p,
                             bool **ret_has_column)
{
    struct block_writer *w = p->w;
    const struct block_rows *r = &w->rows[p->table];
    struct grow_table *t = &g->tables[p->table];
    enum block_stream stream = (enum block_stream)(BLOCK_SHAPE_SPAN + (int)p->table);
    const uint32_t **shapes = ARENA_ARRAY(&w->scratch, const uint32_t *, w->segment_count);
    uint64_t *values = arena_alloc(&w->scratch, (size_t)r->count * sizeof *values);
    if (shapes == NULL || values == NULL)
        return arena_err(&w->scratch);
    for (uint32_t i = 0; i < w->segment_count; i++) {
        enum err e = segment_rows_ops_of(w->segments[i])
                         ->shape_of_rows(w->segments[i], p->table, &w->scratch, &shapes[i]);
        if (e != ERR_OK)
            return e;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        uint32_t segment = r->sources[i].segment, local = shapes[segment][r->sources[i].row];
        uint32_t *known = &t->shape_of[p->input_of[segment]][local];
        enum err e =
            *known == BLOCK_NONE ? map_shape(g, p, p->input_of[segment], local, known) : ERR_OK;
        if (e != ERR_OK)
            return e;
        values[i] = *known;
    }
    bool *has_column = ARENA_ARRAY(&w->scratch, bool, t->column_keys.count);
    bool *has_shape = ARENA_ARRAY(&w->scratch, bool, t->shape_keys.count);
    if (has_column == NULL || has_shape == NULL)
        return arena_err(&w->scratch);
    for (uint32_t i = 0; i < r->count; i++)
        has_shape[values[i]] = true;
    for (uint32_t i = 0; i < t->shape_keys.count; i++) {
        struct segment_rows_shape shape = shape_of_key(t->shape_keys.texts[i]);
        for (uint32_t k = 0; has_shape[i] && k < shape.count; k++)
            has_column[shape.columns[k]] = true;
    }
    *ret_has_column = has_column;
    return block_write_ints(w, (uint8_t)(BLOCK_PAGE_STREAM + (int)stream), values, r->count,
                            &w->index.streams[stream][0]);
}

/* --- values of a column --- */

struct run { /* rows of a part that follow each other in one segment too */
    uint32_t segment, first, count;
};

struct piece { /* values that follow each other in the column of one segment */
    uint32_t segment, first, count;
};

struct values {
    struct seg_column *from; /* [segment] */
    struct piece *pieces;
    uint32_t piece_count, count;
};

static enum err make_runs(struct block_writer *w, const struct block_rows *r, struct run **ret,
                          uint32_t *ret_count)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->count; i++)
        n += i == 0 || r->sources[i].segment != r->sources[i - 1].segment ||
             r->sources[i].row != r->sources[i - 1].row + 1;
    struct run *runs = arena_alloc(&w->scratch, n * sizeof *runs);
    if (runs == NULL)
        return arena_err(&w->scratch);
    uint32_t at = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct block_source *s = &r->sources[i];
        if (at != 0 && runs[at - 1].segment == s->segment &&
            runs[at - 1].first + runs[at - 1].count == s->row)
            runs[at - 1].count++;
        else
            runs[at++] = (struct run){s->segment, s->row, 1};
    }
    *ret = runs;
    *ret_count = n;
    return ERR_OK;
}

static uint32_t lower_bound(const uint32_t *values, uint32_t lo, uint32_t hi, uint32_t v)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (values[mid] < v)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Where the values of the part's rows stand.  `at` remembers per segment where the last run ended: the next mostly goes on there. */
static enum err find_pieces(struct block_writer *w, const struct run *runs, uint32_t run_count,
                            struct values *v)
{
    uint32_t *at = ARENA_ARRAY(&w->scratch, uint32_t, w->segment_count);
    v->pieces = arena_alloc(&w->scratch, run_count * sizeof *v->pieces);
    if (at == NULL || v->pieces == NULL)
        return arena_err(&w->scratch);
    for (uint32_t i = 0; i < run_count; i++) {
        const struct run *run = &runs[i];
        const struct seg_column *c = &v->from[run->segment];
        uint32_t first = at[run->segment], end;
        if (c->count == 0)
            continue;
        if (first != 0 && c->rows[first - 1] >= run->first)
            first = 0;
        if (first < c->count && c->rows[first] < run->first)
            first = lower_bound(c->rows, first, c->count, run->first);
        if (run->count < 64)
            for (end = first; end < c->count && c->rows[end] - run->first < run->count;)
                end++;
        else
            end = lower_bound(c->rows, first, c->count, run->first + run->count);
        at[run->segment] = end;
        if (end != first)
            v->pieces[v->piece_count++] = (struct piece){run->segment, first, end - first};
        v->count += end - first;
    }
    return ERR_OK;
}

static enum err load_columns(struct block_grow *g, const struct block_grow_part *p, uint32_t column,
                             struct segment **segments, struct values *v)
{
    struct block_writer *w = p->w;
    v->from = ARENA_ARRAY(&w->scratch, struct seg_column, w->segment_count);
    if (v->from == NULL)
        return arena_err(&w->scratch);
    for (uint32_t i = 0; i < w->segment_count; i++) {
        const struct block_index *x = &g->inputs[p->input_of[i]]->index;
        for (uint32_t c = 0; c < x->column_count[p->table]; c++) {
            if (g->tables[p->table].column_of[p->input_of[i]][c] != column)
                continue;
            enum err e = segment_rows_ops_of(segments[i])
                             ->column_data(segments[i], p->table, c, &w->scratch, &v->from[i]);
            if (e != ERR_OK)
                return e;
            break;
        }
    }
    return ERR_OK;
}

static void put_ints(struct block_writer *w, const struct values *v, uint64_t *to,
                     struct block_zone *zone)
{
    uint32_t n = 0;
    *zone = (struct block_zone){INT64_MAX, INT64_MIN};
    for (uint32_t i = 0; i < v->piece_count; i++) {
        const int64_t *from = v->from[v->pieces[i].segment].ints + v->pieces[i].first;
        for (uint32_t k = 0; k < v->pieces[i].count; k++) {
            if (from[k] < zone->min)
                zone->min = from[k];
            if (from[k] > zone->max)
                zone->max = from[k];
            to[n++] = (uint64_t)from[k];
        }
    }
    bool has_sign = zone->min < 0;
    buf_append_byte(&w->raw, has_sign);
    for (uint32_t i = 0; has_sign && i < n; i++)
        to[i] = page_of_signed((int64_t)to[i]);
    page_put_ints(&w->raw, to, n);
}

static void put_bools(struct block_writer *w, const struct values *v, uint64_t *to)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->piece_count; i++)
        for (uint32_t k = 0; k < v->pieces[i].count; k++)
            to[n++] = v->from[v->pieces[i].segment].bools[v->pieces[i].first + k] != 0;
    page_put_ints(&w->raw, to, n);
}

static void put_doubles(struct block_writer *w, const struct values *v, double *to)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->piece_count; i++) {
        memcpy(to + n, v->from[v->pieces[i].segment].doubles + v->pieces[i].first,
               v->pieces[i].count * sizeof *to);
        n += v->pieces[i].count;
    }
    page_put_doubles(&w->raw, to, n);
}

static enum err write_numbers(struct block_writer *w, enum seg_type type, const struct values *v,
                              struct grow_ref *ref)
{
    _Static_assert(sizeof(double) == sizeof(uint64_t), "one buffer for both");
    void *to = arena_alloc(&w->scratch, (size_t)v->count * sizeof(uint64_t));
    uint8_t kind = BLOCK_PAGE_INTS;
    if (to == NULL)
        return arena_err(&w->scratch);
    if (type == SEG_INT) {
        put_ints(w, v, to, &ref->zone);
    } else if (type == SEG_DOUBLE) {
        kind = BLOCK_PAGE_DOUBLES;
        put_doubles(w, v, to);
    } else {
        kind = BLOCK_PAGE_BOOLS;
        put_bools(w, v, to);
    }
    return block_write_page(w, kind, v->count, false, &ref->page);
}

/* --- plain texts --- */

static enum err end_filter(struct block_grow *g, struct block_writer *w, enum seg_table table,
                           uint32_t column, uint32_t parts)
{
    struct grow_column *c = &g->tables[table].columns[column];
    struct grow_filter *f = ARENA_NEW(g->keep, struct grow_filter);
    if (f == NULL)
        return arena_err(g->keep);
    f->column = column;
    f->number = c->filter_number;
    enum err e = block_filter_put(w, c->filter, parts, g->keep, &f->filter);
    f->next = g->tables[table].filters;
    g->tables[table].filters = f;
    return e;
}

static enum err write_plain(struct block_grow *g, const struct block_grow_part *p, uint32_t column,
                            const struct values *v, struct grow_ref *ref)
{
    struct block_writer *w = p->w;
    struct grow_column *c = &g->tables[p->table].columns[column];
    struct slice *texts = arena_alloc(&w->scratch, (size_t)v->count * sizeof *texts);
    uint32_t n = 0, filter = p->number / BLOCK_FILTER_PARTS;
    enum err e = arena_err(&w->scratch);
    if (e == ERR_OK && c->filter_number != filter) {
        e = end_filter(g, w, p->table, column, BLOCK_FILTER_PARTS);
        c->filter_number = filter;
    }
    for (uint32_t i = 0; e == ERR_OK && i < v->piece_count; i++) {
        const struct seg_column *from = &v->from[v->pieces[i].segment];
        const uint32_t *codes = from->codes + v->pieces[i].first;
        for (uint32_t k = 0; e == ERR_OK && k < v->pieces[i].count; k++) {
            texts[n] = from->values[codes[k]];
            e = block_filter_add(c->filter, p->number, block_filter_hash(texts[n++]));
        }
    }
    if (e != ERR_OK)
        return e;
    return block_text_put(w, &c->plan, texts, n, &ref->page);
}

/* --- dictionaries --- */

static enum err widen_mark(struct block_grow *g, struct grow_dict *d)
{
    if (d->mark_count >= d->texts.count)
        return ERR_OK;
    uint32_t wider = d->texts.max;
    uint32_t *mark = block_none_array(g->keep, wider);
    if (mark == NULL)
        return arena_err(g->keep);
    d->mark = mark;
    d->mark_count = wider;
    return ERR_OK;
}

static enum err keep_list(struct block_grow *g, struct block_writer *w, struct grow_dict *d,
                          const uint64_t *list, uint32_t count, uint32_t part)
{
    struct grow_list *l = ARENA_NEW(g->keep, struct grow_list);
    assert(w->raw.len == 0);
    page_put_ints(&w->raw, list, count);
    if (buf_err(&w->raw) != ERR_OK)
        return buf_err(&w->raw);
    struct slice ints = arena_dup(g->keep, buf_slice(&w->raw));
    buf_reset(&w->raw);
    if (l == NULL || arena_err(g->keep) != ERR_OK)
        return arena_err(g->keep);
    *l = (struct grow_list){.ints = ints, .part = part, .count = count};
    if (d->last == NULL)
        d->first = l;
    else
        d->last->next = l;
    d->last = l;
    d->listed += count;
    return ERR_OK;
}

/* By what the numbers stand for: their own order is that of first use. */
static enum err sort_list(struct block_writer *w, const struct grow_dict *d, uint64_t *list,
                          uint32_t count)
{
    struct slice *texts = arena_alloc(&w->scratch, count * sizeof *texts);
    uint64_t *sorted = arena_alloc(&w->scratch, count * sizeof *sorted);
    uint32_t *rank;
    if (texts == NULL || sorted == NULL)
        return arena_err(&w->scratch);
    for (uint32_t i = 0; i < count; i++)
        texts[i] = d->texts.texts[list[i]];
    enum err e = block_dict_sort(&w->scratch, texts, count, &rank);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++)
        sorted[rank[i]] = list[i];
    if (e == ERR_OK && count != 0)
        memcpy(list, sorted, count * sizeof *list);
    return e;
}

/* Numbers of the dictionary become numbers of the part's code list, which is kept. */
static enum err write_codes(struct block_grow *g, struct block_writer *w, uint32_t dict,
                            uint32_t part, uint64_t *codes, uint32_t count, uint8_t kind,
                            struct block_ref *ret)
{
    struct grow_dict *d = &g->dicts[dict];
    uint64_t *list = arena_alloc(&w->scratch, (size_t)count * sizeof *list);
    uint32_t listed = 0;
    enum err e = list == NULL ? arena_err(&w->scratch) : widen_mark(g, d);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < count; i++)
        if (d->mark[codes[i]] == BLOCK_NONE) {
            d->mark[codes[i]] = 0;
            list[listed++] = codes[i];
        }
    e = sort_list(w, d, list, listed);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < listed; i++)
        d->mark[list[i]] = i;
    for (uint32_t i = 0; i < count; i++)
        codes[i] = d->mark[codes[i]];
    for (uint32_t i = 0; i < listed; i++)
        d->mark[list[i]] = BLOCK_NONE;
    e = keep_list(g, w, d, list, listed, part);
    return e == ERR_OK ? block_write_ints(w, kind, codes, count, ret) : e;
}

static enum err number_texts(struct block_grow *g, struct block_writer *w, uint32_t dict,
                             const struct values *v, uint64_t *to)
{
    uint32_t **known = ARENA_ARRAY(&w->scratch, uint32_t *, w->segment_count), n = 0;
    if (known == NULL)
        return arena_err(&w->scratch);
    for (uint32_t i = 0; i < v->piece_count; i++) {
        uint32_t segment = v->pieces[i].segment;
        const struct seg_column *from = &v->from[segment];
        const uint32_t *codes = from->codes + v->pieces[i].first;
        if (known[segment] == NULL)
            known[segment] = block_none_array(&w->scratch, from->value_count);
        if (known[segment] == NULL)
            return arena_err(&w->scratch);
        for (uint32_t k = 0; k < v->pieces[i].count; k++) {
            uint32_t *number = &known[segment][codes[k]];
            if (*number == BLOCK_NONE) {
                enum err e = text_set_number(&g->dicts[dict].texts, from->values[codes[k]], number);
                if (e != ERR_OK)
                    return e;
            }
            to[n++] = *number;
        }
    }
    assert(n == v->count);
    return ERR_OK;
}

static enum err write_coded(struct block_grow *g, struct block_writer *w, uint32_t dict,
                            uint32_t part, const struct values *v, uint8_t kind,
                            struct block_ref *ret)
{
    uint64_t *codes = arena_alloc(&w->scratch, (size_t)v->count * sizeof *codes);
    if (codes == NULL)
        return arena_err(&w->scratch);
    enum err e = number_texts(g, w, dict, v, codes);
    return e == ERR_OK ? write_codes(g, w, dict, part, codes, v->count, kind, ret) : e;
}

enum err block_grow_names(struct block_grow *g, const struct block_grow_part *p)
{
    struct block_writer *w = p->w;
    const struct block_rows *r = &w->rows[p->table];
    bool is_span = p->table == SEG_SPAN;
    enum block_stream stream = is_span ? BLOCK_NAME : BLOCK_EVENT_NAME;
    struct values v = {.from = ARENA_ARRAY(&w->scratch, struct seg_column, w->segment_count)};
    struct run *runs;
    if (r->count == 0)
        return ERR_OK;
    enum err e = arena_err(&w->scratch);
    if (e == ERR_OK)
        e = make_runs(w, r, &runs, &v.piece_count);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < w->segment_count; i++) {
        const struct seg_names *names = is_span ? &w->fixed[i].name : &w->events[i].name;
        v.from[i] = (struct seg_column){
            .codes = names->codes, .values = names->values, .value_count = names->value_count};
    }
    v.pieces = arena_alloc(&w->scratch, v.piece_count * sizeof *v.pieces);
    if (v.pieces == NULL)
        return arena_err(&w->scratch);
    for (uint32_t i = 0; i < v.piece_count; i++) /* every row has one: rows are places */
        v.pieces[i] = (struct piece){runs[i].segment, runs[i].first, runs[i].count};
    v.count = r->count;
    e = write_coded(g, w, is_span ? BLOCK_DICT_SPAN_NAMES : BLOCK_DICT_EVENT_NAMES, p->number, &v,
                    (uint8_t)(BLOCK_PAGE_STREAM + (int)stream), &w->index.streams[stream][0]);
    arena_reset(&w->scratch);
    return e;
}

/* --- a part --- */

static enum err write_column(struct block_grow *g, const struct block_grow_part *p, uint32_t column,
                             struct segment **segments, const struct run *runs, uint32_t run_count)
{
    const struct grow_column *c = &g->tables[p->table].columns[column];
    struct block_writer *w = p->w;
    struct values v = {0};
    struct grow_ref *ref = ARENA_NEW(g->keep, struct grow_ref);
    enum err e = ref == NULL ? arena_err(g->keep) : load_columns(g, p, column, segments, &v);
    if (e == ERR_OK)
        e = find_pieces(w, runs, run_count, &v);
    if (e != ERR_OK || v.count == 0)
        return e;
    ref->column = column;
    ref->part = p->number;
    if (c->form == BLOCK_FORM_NUMBERS)
        e = write_numbers(w, c->about.type, &v, ref);
    else if (c->form == BLOCK_FORM_PLAIN)
        e = write_plain(g, p, column, &v, ref);
    else
        e = write_coded(g, w, c->dict, p->number, &v, BLOCK_PAGE_CODES, &ref->page);
    ref->next = g->tables[p->table].refs;
    g->tables[p->table].refs = ref;
    return e;
}

/* With segments of its own, so that what is decoded for it goes when it is written. */
static enum err write_column_apart(struct block_grow *g, const struct block_grow_part *p,
                                   uint32_t column, const struct run *runs, uint32_t run_count)
{
    uint32_t n = p->w->segment_count;
    struct segment **segments = calloc(n, sizeof *segments);
    enum err e = segments == NULL ? ERR_NOMEM : ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        e = block_segment(g->inputs[p->input_of[i]], p->group_of[i], p->budget, &segments[i]);
    if (e == ERR_OK)
        e = write_column(g, p, column, segments, runs, run_count);
    for (uint32_t i = 0; segments != NULL && i < n; i++)
        segment_close(segments[i]);
    free(segments);
    return e;
}

enum err block_grow_table(struct block_grow *g, const struct block_grow_part *p)
{
    struct block_writer *w = p->w;
    const struct block_rows *r = &w->rows[p->table];
    struct arena runs_arena;
    struct run *runs = NULL;
    bool *has_column = NULL;
    uint32_t run_count = 0;
    if (r->count == 0)
        return ERR_OK;
    enum err e = write_shapes(g, p, &has_column);
    if (e == ERR_OK)
        e = make_runs(w, r, &runs, &run_count);
    /* Runs and marks outlast the scratch of each column: it changes places with an empty one. */
    runs_arena = w->scratch;
    arena_init(&w->scratch, runs_arena.budget);
    for (uint32_t c = 0; e == ERR_OK && c < g->tables[p->table].column_keys.count; c++) {
        if (!has_column[c])
            continue;
        e = p->is_large ? write_column_apart(g, p, c, runs, run_count)
                        : write_column(g, p, c, w->segments, runs, run_count);
        arena_reset(&w->scratch);
    }
    arena_release(&runs_arena);
    return e;
}

/* --- the end --- */

static enum err finish_columns(struct block_grow *g, struct block_writer *w, enum seg_table table,
                               struct block_index *x)
{
    struct grow_table *t = &g->tables[table];
    uint32_t n = t->column_keys.count, parts = block_parts(x, table);
    x->columns[table] = ARENA_ARRAY(g->keep, struct block_column, n);
    x->shapes[table] = ARENA_ARRAY(g->keep, struct segment_rows_shape, t->shape_keys.count);
    if (arena_err(g->keep) != ERR_OK)
        return arena_err(g->keep);
    x->column_count[table] = n;
    x->shape_count[table] = t->shape_keys.count;
    for (uint32_t i = 0; i < t->shape_keys.count; i++)
        x->shapes[table][i] = shape_of_key(t->shape_keys.texts[i]);
    for (uint32_t i = 0; i < n; i++) {
        const struct grow_column *from = &t->columns[i];
        struct block_column *c = &x->columns[table][i];
        *c = (struct block_column){.key = from->about.key,
                                   .table = (uint8_t)table,
                                   .type = (uint8_t)from->about.type,
                                   .field = from->about.field,
                                   .form = from->form,
                                   .dict = from->dict};
        c->pages = ARENA_ARRAY(g->keep, struct block_ref, parts);
        c->zones = c->type == SEG_INT ? ARENA_ARRAY(g->keep, struct block_zone, parts) : NULL;
        c->filters = c->form == BLOCK_FORM_PLAIN
                         ? ARENA_ARRAY(g->keep, struct block_filter, block_filter_count(parts))
                         : NULL;
    }
    if (arena_err(g->keep) != ERR_OK)
        return arena_err(g->keep);
    for (const struct grow_ref *ref = t->refs; ref != NULL; ref = ref->next) {
        struct block_column *c = &x->columns[table][ref->column];
        c->pages[ref->part] = ref->page;
        if (c->zones != NULL)
            c->zones[ref->part] = ref->zone;
    }
    enum err e = ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        uint32_t first = t->columns[i].filter_number * BLOCK_FILTER_PARTS;
        if (t->columns[i].filter != NULL)
            e = end_filter(g, w, table, i,
                           parts - first < BLOCK_FILTER_PARTS ? parts - first : BLOCK_FILTER_PARTS);
    }
    for (const struct grow_filter *f = t->filters; e == ERR_OK && f != NULL; f = f->next)
        x->columns[table][f->column].filters[f->number] = f->filter;
    return e;
}

/* The lists of all parts, as places among the sorted texts. */
static enum err get_lists(struct block_writer *w, const struct grow_dict *d, const uint32_t *rank,
                          uint32_t parts, struct block_dict_lists *ret)
{
    uint32_t *codes = arena_alloc(&w->scratch, (size_t)d->listed * sizeof *codes);
    uint32_t *end = ARENA_ARRAY(&w->scratch, uint32_t, parts), at = 0, part = 0;
    uint64_t *list = arena_alloc(&w->scratch, (size_t)d->texts.count * sizeof *list);
    if (codes == NULL || end == NULL || list == NULL)
        return arena_err(&w->scratch);
    for (const struct grow_list *l = d->first; l != NULL; l = l->next) {
        struct reader r = reader_of(l->ints);
        enum err e = page_get_ints(&r, l->count, list);
        if (e != ERR_OK)
            return e;
        assert(l->part >= part && l->part < parts);
        while (part < l->part)
            end[part++] = at;
        for (uint32_t i = 0; i < l->count; i++)
            codes[at++] = rank[list[i]];
    }
    while (part < parts)
        end[part++] = at;
    *ret = (struct block_dict_lists){codes, end, parts};
    return ERR_OK;
}

static enum err write_dict(struct block_grow *g, struct block_writer *w, struct grow_dict *d,
                           uint32_t parts, struct block_dict_ref *ret)
{
    struct block_dict_lists lists;
    uint32_t *rank;
    if (d->listed > UINT32_MAX)
        return ERR_TOO_LARGE;
    enum err e = block_dict_sort(&w->scratch, d->texts.texts, d->texts.count, &rank);
    if (e == ERR_OK)
        e = get_lists(w, d, rank, parts, &lists);
    return e == ERR_OK ? block_dict_put(w, d->texts.texts, d->texts.count, &lists, g->keep, ret)
                       : e;
}

enum err block_grow_finish(struct block_grow *g, struct block_writer *w, struct block_index *x)
{
    enum err e = ERR_OK;
    x->dicts = ARENA_ARRAY(g->keep, struct block_dict_ref, g->dict_count);
    uint32_t *parts = ARENA_ARRAY(g->keep, uint32_t, g->dict_count);
    if (arena_err(g->keep) != ERR_OK)
        return arena_err(g->keep);
    x->dict_count = g->dict_count;
    for (uint32_t i = 0; i < g->dict_count; i++)
        parts[i] = x->group_count;
    for (int t = 0; e == ERR_OK && t < SEG_TABLE_COUNT; t++) {
        e = finish_columns(g, w, (enum seg_table)t, x);
        for (uint32_t i = 0; i < g->tables[t].column_keys.count; i++)
            if (g->tables[t].columns[i].dict != BLOCK_NONE)
                parts[g->tables[t].columns[i].dict] = block_parts(x, (enum seg_table)t);
    }
    for (uint32_t i = 0; e == ERR_OK && i < g->dict_count; i++) {
        e = write_dict(g, w, &g->dicts[i], parts[i], &x->dicts[i]);
        arena_reset(&w->scratch);
    }
    return e;
}
