/* Columns, dictionaries and shapes of a head: the writer's side. */
#include "common/base/hash.h"
#include "common/store/head_priv.h"

#include <assert.h>
#include <string.h>

enum err head_column_no_room(struct head *h, const struct gvec *v)
{
    size_t bytes = ((size_t)GVEC_FIRST << gvec_chunk_of(v->count)) * v->elem_bytes;
    if (budget_take(&h->budget, bytes) != ERR_OK)
        return ERR_LIMIT;
    budget_give(&h->budget, bytes);
    return ERR_NOMEM;
}

/* --- text bytes --- */

static enum err bytes_grow(struct head *h, size_t len)
{
    size_t want = h->chunks == NULL ? HEAD_CHUNK_BYTES_MIN : h->chunks->bytes * 2;
    if (want > HEAD_CHUNK_BYTES_MAX)
        want = HEAD_CHUNK_BYTES_MAX;
    if (want < len + sizeof(struct head_chunk))
        want = len + sizeof(struct head_chunk);
    enum err e = budget_take(&h->budget, want);
    if (e != ERR_OK)
        return e;
    struct head_chunk *c = malloc(want);
    if (c == NULL) {
        budget_give(&h->budget, want);
        return ERR_NOMEM;
    }
    c->next = h->chunks;
    c->bytes = want;
    h->chunks = c;
    h->bytes_at = c->data;
    h->bytes_end = (uint8_t *)c + want;
    return ERR_OK;
}

enum err head_column_bytes(struct head *h, struct slice s, struct slice *ret)
{
    if (s.len == 0) {
        *ret = (struct slice){(const uint8_t *)"", 0};
        return ERR_OK;
    }
    if (h->bytes_at == NULL || s.len > (size_t)(h->bytes_end - h->bytes_at)) {
        enum err e = bytes_grow(h, s.len);
        if (e != ERR_OK)
            return e;
    }
    memcpy(h->bytes_at, s.ptr, s.len);
    *ret = (struct slice){h->bytes_at, s.len};
    h->bytes_at += s.len;
    return ERR_OK;
}

/* --- hash indexes --- */

void head_column_index_put(struct head_index *x, uint32_t hash, uint32_t index)
{
    uint32_t slot = hash;
    assert(x->count <= x->mask);
    while (x->slots[slot & x->mask].index1 != 0)
        slot++;
    x->slots[slot & x->mask] = (struct head_slot){hash, index + 1};
    x->count++;
}

enum err head_column_index_reserve(struct head *h, struct head_index *x)
{
    if (x->mask != 0 && x->count < x->mask / 4 * 3)
        return ERR_OK;
    if (x->mask >= UINT32_MAX / 2)
        return ERR_LIMIT;
    struct head_index wider = {.mask = x->mask == 0 ? 15 : x->mask * 2 + 1};
    size_t bytes = ((size_t)wider.mask + 1) * sizeof *x->slots;
    enum err e = budget_take(&h->budget, bytes);
    if (e != ERR_OK)
        return e;
    wider.slots = calloc(1, bytes);
    if (wider.slots == NULL) {
        budget_give(&h->budget, bytes);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; x->mask != 0 && i <= x->mask; i++)
        if (x->slots[i].index1 != 0)
            head_column_index_put(&wider, x->slots[i].hash, x->slots[i].index1 - 1);
    assert(wider.count == x->count);
    head_column_index_release(h, x);
    *x = wider;
    return ERR_OK;
}

void head_column_index_release(struct head *h, struct head_index *x)
{
    if (x->mask != 0) {
        free(x->slots);
        budget_give(&h->budget, ((size_t)x->mask + 1) * sizeof *x->slots);
    }
    *x = (struct head_index){0};
}

/* --- dictionaries --- */

void head_column_dict_init(struct head_dict *d, bool is_adaptive)
{
    gvec_init(&d->texts, sizeof(struct slice));
    d->is_adaptive = is_adaptive;
    atomic_init(&d->published, 0);
    atomic_init(&d->unique_upto, UINT32_MAX);
}

static enum err dict_push(struct head *h, struct head_dict *d, struct slice s, uint32_t *ret_code)
{
    struct slice kept;
    enum err e = head_column_bytes(h, s, &kept);
    if (e != ERR_OK)
        return e;
    struct slice *text = head_push(h, &d->texts);
    if (text == NULL)
        return head_column_no_room(h, &d->texts);
    *text = kept;
    *ret_code = d->texts.count - 1;
    return ERR_OK;
}

/* Interning stops when more than a third of the values were new: the table would only cost. */
static void dict_judge(struct head *h, struct head_dict *d)
{
    if (!d->is_adaptive || d->add_count < HEAD_RAW_AFTER ||
        (d->add_count & (d->add_count - 1)) != 0)
        return;
    if (d->texts.count <= d->add_count / 3)
        return;
    d->is_raw = true;
    atomic_store_explicit(&d->unique_upto, d->texts.count, memory_order_relaxed);
    head_column_index_release(h, &d->index);
}

enum err head_column_text(struct head *h, struct head_dict *d, struct slice s, uint32_t *ret_code)
{
    if (d->is_raw)
        return dict_push(h, d, s, ret_code);
    if (d->texts.count != 0 && slice_eq(GVEC_GET(&d->texts, struct slice, d->last_code), s)) {
        d->add_count++;
        dict_judge(h, d);
        *ret_code = d->last_code;
        return ERR_OK;
    }
    uint32_t hash = (uint32_t)hash_seeded(s), slot = hash, code;
    while (head_index_next(&d->index, hash, &slot, &code))
        if (slice_eq(GVEC_GET(&d->texts, struct slice, code), s)) {
            d->last_code = *ret_code = code;
            d->add_count++;
            dict_judge(h, d);
            return ERR_OK;
        }
    enum err e = head_column_index_reserve(h, &d->index);
    if (e == ERR_OK)
        e = dict_push(h, d, s, &code);
    if (e != ERR_OK)
        return e;
    head_column_index_put(&d->index, hash, code);
    h->interned_count++;
    d->last_code = *ret_code = code;
    d->add_count++;
    dict_judge(h, d);
    return ERR_OK;
}

static void dict_release(struct head *h, struct head_dict *d)
{
    gvec_release(&d->texts, &h->budget);
    head_column_index_release(h, &d->index);
}

/* --- columns --- */

static size_t cell_bytes(enum seg_type type)
{
    switch (type) {
    case SEG_STR:
    case SEG_ANY: return sizeof(uint32_t);
    case SEG_INT: return sizeof(int64_t);
    case SEG_DOUBLE: return sizeof(double);
    case SEG_BOOL: return sizeof(uint8_t);
    case SEG_TYPE_COUNT: break;
    }
    assert(!"type of a column");
    return 0;
}

static enum err column_new(struct head *h, struct head_table *t, struct slice key,
                           enum seg_type type, uint8_t field, struct head_column **ret)
{
    struct slice kept;
    enum err e = head_column_bytes(h, key, &kept);
    if (e != ERR_OK)
        return e;
    e = budget_take(&h->budget, sizeof **ret);
    if (e != ERR_OK)
        return e;
    struct head_column *c = calloc(1, sizeof *c);
    if (c == NULL) {
        budget_give(&h->budget, sizeof *c);
        return ERR_NOMEM;
    }
    h->interned_count++;
    struct head_column **at = head_push(h, &t->columns);
    if (at == NULL) {
        e = head_column_no_room(h, &t->columns);
        free(c);
        budget_give(&h->budget, sizeof *c);
        return e;
    }
    c->key = kept;
    c->type = type;
    c->table = (uint8_t)(t - h->table);
    c->field = field;
    c->id = t->columns.count - 1;
    c->guess = HEAD_NONE;
    gvec_init(&c->rows, sizeof(uint32_t));
    gvec_init(&c->cells, cell_bytes(type));
    head_column_dict_init(&c->dict, true);
    atomic_init(&c->published, 0);
    *at = *ret = c;
    return ERR_OK;
}

static enum err dirty_add(struct head *h, struct head_column *c)
{
    if (h->dirty_count == h->dirty_max) {
        uint32_t wider = h->dirty_max == 0 ? 64 : h->dirty_max * 2;
        size_t more = (wider - h->dirty_max) * sizeof *h->dirty;
        enum err e = budget_take(&h->budget, more);
        if (e != ERR_OK)
            return e;
        struct head_column **dirty = realloc(h->dirty, wider * sizeof *h->dirty);
        if (dirty == NULL) {
            budget_give(&h->budget, more);
            return ERR_NOMEM;
        }
        h->dirty = dirty;
        h->dirty_max = wider;
    }
    h->dirty[h->dirty_count++] = c;
    c->is_dirty = true;
    return ERR_OK;
}

static enum err forming_add(struct head *h, struct head_table *t, uint32_t column)
{
    if (t->forming_count == t->forming_max) {
        uint32_t wider = t->forming_max == 0 ? 64 : t->forming_max * 2;
        size_t more = (wider - t->forming_max) * sizeof *t->forming;
        enum err e = budget_take(&h->budget, more);
        if (e != ERR_OK)
            return e;
        uint32_t *forming = realloc(t->forming, wider * sizeof *t->forming);
        if (forming == NULL) {
            budget_give(&h->budget, more);
            return ERR_NOMEM;
        }
        t->forming = forming;
        t->forming_max = wider;
    }
    t->forming[t->forming_count++] = column;
    return ERR_OK;
}

/* A text that is not interned belongs to one value, the last one of its column. */
static void take_text_back(struct head_column *c, uint32_t code)
{
    if (c->dict.is_raw && code >= atomic_load_explicit(&c->dict.unique_upto, memory_order_relaxed))
        c->dict.texts.count = code;
}

static enum err column_add(struct head *h, struct head_column *c,
                           const struct segment_rows_cell *cell)
{
    struct head_table *t = &h->table[c->table];
    enum err e = ERR_OK;
    if (!c->is_dirty)
        e = dirty_add(h, c);
    uint32_t code = 0;
    if (e == ERR_OK && (c->type == SEG_STR || c->type == SEG_ANY))
        e = head_column_text(h, &c->dict, cell->text, &code);
    if (e == ERR_OK)
        e = forming_add(h, t, c->id);
    if (e != ERR_OK)
        return e;
    uint32_t *row = head_push(h, &c->rows);
    void *at = row == NULL ? NULL : head_push(h, &c->cells);
    if (at == NULL) {
        e = head_column_no_room(h, row == NULL ? &c->rows : &c->cells);
        c->rows.count -= row != NULL;
        take_text_back(c, code);
        return e;
    }
    *row = t->row_count;
    switch (c->type) {
    case SEG_STR:
    case SEG_ANY: *(uint32_t *)at = code; break;
    case SEG_INT: *(int64_t *)at = cell->i; break;
    case SEG_DOUBLE: *(double *)at = cell->d; break;
    case SEG_BOOL: *(uint8_t *)at = cell->i != 0; break;
    case SEG_TYPE_COUNT: assert(!"type of a column");
    }
    return ERR_OK;
}

static enum err column_find(struct head *h, struct head_table *t, struct slice key,
                            enum seg_type type, struct head_column **ret)
{
    uint32_t hash = (uint32_t)hash_seeded(key) + (uint32_t)type * 0x9e3779b9u, slot = hash, id;
    while (head_index_next(&t->column_index, hash, &slot, &id)) {
        struct head_column *c = head_column_at(t, id);
        if (c->type == type && slice_eq(c->key, key)) {
            *ret = c;
            return ERR_OK;
        }
    }
    enum err e = head_column_index_reserve(h, &t->column_index);
    if (e == ERR_OK)
        e = column_new(h, t, key, type, SEGMENT_ROWS_ATTRIBUTE, ret);
    if (e == ERR_OK)
        head_column_index_put(&t->column_index, hash, (*ret)->id);
    return e;
}

enum err head_column_attribute(struct head *h, enum seg_table table, struct slice key,
                               enum seg_type type, const struct segment_rows_cell *cell)
{
    struct head_table *t = &h->table[table];
    uint32_t *guess =
        t->forming_count == 0 ? &t->first_guess : &head_column_at(t, t->forming_last)->guess;
    if (*guess != HEAD_NONE) {
        struct head_column *c = head_column_at(t, *guess);
        if (c->type == type && slice_eq(c->key, key)) {
            t->forming_last = c->id;
            return column_add(h, c, cell);
        }
    }
    struct head_column *c;
    enum err e = column_find(h, t, key, type, &c);
    if (e != ERR_OK)
        return e;
    *guess = c->id;
    t->forming_last = c->id;
    return column_add(h, c, cell);
}

enum err head_column_field(struct head *h, enum seg_table table, enum seg_field field,
                           enum seg_type type, const struct segment_rows_cell *cell)
{
    struct head_table *t = &h->table[table];
    assert(field < SEG_FIELD_COUNT);
    if (t->field_column[field] == HEAD_NONE) {
        struct head_column *c;
        enum err e = column_new(h, t, SLICE_NONE, type, (uint8_t)field, &c);
        if (e != ERR_OK)
            return e;
        t->field_column[field] = c->id;
    }
    struct head_column *c = head_column_at(t, t->field_column[field]);
    assert(c->type == type);
    return column_add(h, c, cell);
}

/* --- rows --- */

static enum err shape_of(struct head *h, struct head_table *t, uint32_t *ret)
{
    struct slice ids = {(const uint8_t *)t->forming, t->forming_count * sizeof *t->forming};
    uint32_t hash = (uint32_t)hash_seeded(ids), slot = hash, shape;
    while (head_index_next(&t->shape_index, hash, &slot, &shape)) {
        const struct segment_rows_shape *s = gvec_at(&t->shapes, shape);
        if (s->count == t->forming_count &&
            (ids.len == 0 || memcmp(s->columns, ids.ptr, ids.len) == 0)) {
            *ret = shape;
            return ERR_OK;
        }
    }
    /* Aligned: the bytes before may have had any length. */
    size_t pad =
        h->bytes_at == NULL ? 0 : (size_t)(-(uintptr_t)h->bytes_at & (sizeof(uint32_t) - 1));
    if (h->bytes_at != NULL && pad + ids.len <= (size_t)(h->bytes_end - h->bytes_at))
        h->bytes_at += pad;
    else if (ids.len != 0) {
        enum err e = bytes_grow(h, ids.len);
        if (e != ERR_OK)
            return e;
    }
    struct slice kept;
    enum err e = head_column_bytes(h, ids, &kept);
    h->interned_count++;
    if (e == ERR_OK)
        e = head_column_index_reserve(h, &t->shape_index);
    if (e != ERR_OK)
        return e;
    struct segment_rows_shape *s = head_push(h, &t->shapes);
    if (s == NULL)
        return head_column_no_room(h, &t->shapes);
    *s = (struct segment_rows_shape){ids.len == 0 ? NULL : (const uint32_t *)(const void *)kept.ptr,
                                     t->forming_count};
    *ret = t->shapes.count - 1;
    head_column_index_put(&t->shape_index, hash, *ret);
    return ERR_OK;
}

enum err head_column_row(struct head *h, enum seg_table table)
{
    struct head_table *t = &h->table[table];
    assert(t->row_shape.count == t->row_count);
    uint32_t shape = 0;
    enum err e = shape_of(h, t, &shape);
    if (e != ERR_OK)
        return e;
    uint32_t *at = head_push(h, &t->row_shape);
    if (at == NULL)
        return head_column_no_room(h, &t->row_shape);
    *at = shape;
    t->forming_count = 0;
    buf_reset(&t->unknown);
    return ERR_OK;
}

void head_column_init(struct head *h)
{
    for (int i = 0; i < SEG_TABLE_COUNT; i++) {
        struct head_table *t = &h->table[i];
        gvec_init(&t->columns, sizeof(struct head_column *));
        gvec_init(&t->shapes, sizeof(struct segment_rows_shape));
        gvec_init(&t->row_shape, sizeof(uint32_t));
        for (int f = 0; f < SEG_FIELD_COUNT; f++)
            t->field_column[f] = HEAD_NONE;
        t->first_guess = HEAD_NONE;
        buf_init(&t->unknown, 64u << 20);
        atomic_init(&t->columns_published, 0);
        atomic_init(&t->shapes_published, 0);
        atomic_init(&t->rows_published, 0);
    }
    head_column_dict_init(&h->span_names, false);
    head_column_dict_init(&h->event_names, false);
}

void head_column_release(struct head *h)
{
    for (int i = 0; i < SEG_TABLE_COUNT; i++) {
        struct head_table *t = &h->table[i];
        for (uint32_t c = 0; c < t->columns.count; c++) {
            struct head_column *column = head_column_at(t, c);
            gvec_release(&column->rows, &h->budget);
            gvec_release(&column->cells, &h->budget);
            dict_release(h, &column->dict);
            free(column);
            budget_give(&h->budget, sizeof *column);
        }
        gvec_release(&t->columns, &h->budget);
        gvec_release(&t->shapes, &h->budget);
        gvec_release(&t->row_shape, &h->budget);
        head_column_index_release(h, &t->column_index);
        head_column_index_release(h, &t->shape_index);
        free(t->forming);
        budget_give(&h->budget, t->forming_max * sizeof *t->forming);
        buf_release(&t->unknown);
    }
    dict_release(h, &h->span_names);
    dict_release(h, &h->event_names);
    free(h->dirty);
    budget_give(&h->budget, h->dirty_max * sizeof *h->dirty);
    while (h->chunks != NULL) {
        struct head_chunk *c = h->chunks;
        h->chunks = c->next;
        budget_give(&h->budget, c->bytes);
        free(c);
    }
}

/* Readers never look anything up by its bytes. */
void head_column_seal(struct head *h)
{
    for (int i = 0; i < SEG_TABLE_COUNT; i++) {
        struct head_table *t = &h->table[i];
        for (uint32_t c = 0; c < t->columns.count; c++)
            head_column_index_release(h, &head_column_at(t, c)->dict.index);
        head_column_index_release(h, &t->column_index);
        head_column_index_release(h, &t->shape_index);
    }
    head_column_index_release(h, &h->span_names.index);
    head_column_index_release(h, &h->event_names.index);
}

/* --- taking back, making visible --- */

void head_column_mark(const struct head *h, struct head_mark *ret)
{
    for (int i = 0; i < SEG_TABLE_COUNT; i++)
        ret->rows[i] = h->table[i].row_count;
    ret->chunk = h->chunks;
    ret->bytes_at = h->bytes_at;
    ret->interned_count = h->interned_count;
}

void head_column_rollback(struct head *h, const struct head_mark *mark)
{
    for (int i = 0; i < SEG_TABLE_COUNT; i++) {
        struct head_table *t = &h->table[i];
        t->row_count = mark->rows[i];
        if (t->row_shape.count > t->row_count)
            t->row_shape.count = t->row_count;
        t->forming_count = 0;
        buf_reset(&t->unknown);
    }
    for (uint32_t i = 0; i < h->dirty_count; i++) {
        struct head_column *c = h->dirty[i];
        uint32_t keep = h->table[c->table].row_count;
        while (c->rows.count != 0 && GVEC_GET(&c->rows, uint32_t, c->rows.count - 1) >= keep) {
            c->rows.count--;
            c->cells.count--;
            if (c->dict.is_raw)
                take_text_back(c, GVEC_GET(&c->cells, uint32_t, c->cells.count));
        }
        assert(c->rows.count == c->cells.count);
    }
    /* Bytes may be given back only when nothing that stays points to them. */
    if (mark->interned_count == h->interned_count && mark->chunk == h->chunks &&
        mark->bytes_at != NULL)
        h->bytes_at = mark->bytes_at;
}

static void dict_publish(struct head_dict *d)
{
    atomic_store_explicit(&d->published, d->texts.count, memory_order_release);
}

void head_column_publish(struct head *h)
{
    for (uint32_t i = 0; i < h->dirty_count; i++) {
        struct head_column *c = h->dirty[i];
        dict_publish(&c->dict);
        atomic_store_explicit(&c->published, c->rows.count, memory_order_release);
        c->is_dirty = false;
    }
    h->dirty_count = 0;
    dict_publish(&h->span_names);
    dict_publish(&h->event_names);
    for (int i = 0; i < SEG_TABLE_COUNT; i++) {
        struct head_table *t = &h->table[i];
        atomic_store_explicit(&t->columns_published, t->columns.count, memory_order_release);
        atomic_store_explicit(&t->shapes_published, t->shapes.count, memory_order_release);
        atomic_store_explicit(&t->rows_published, t->row_count, memory_order_release);
    }
}
