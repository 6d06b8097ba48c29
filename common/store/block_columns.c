/* Shapes and columns of the segments joined into those of the block, and written page by page. */
#include "common/base/hash.h"
#include "common/store/block_dict.h"
#include "common/store/block_filter.h"
#include "common/store/block_text.h"
#include "common/store/page.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEW_OF = 32,           /* fewer values than one in so many rows are sorted */
    DISTINCT_SAMPLE = 2048 /* texts that are counted at least */
};

/* --- texts by number --- */

struct texts {
    struct arena *a;
    struct slice *text;
    uint32_t *slots, mask, count, max;
    uint64_t bytes; /* of all distinct ones */
};

static enum err texts_grow(struct texts *t)
{
    uint32_t max = t->max == 0 ? 64 : t->max * 2, mask = max * 2 - 1;
    if (max > UINT32_MAX / 4)
        return ERR_TOO_LARGE;
    struct slice *text = arena_alloc(t->a, max * sizeof *text);
    uint32_t *slots = ARENA_ARRAY(t->a, uint32_t, (size_t)mask + 1);
    if (text == NULL || slots == NULL)
        return arena_err(t->a);
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t slot = (uint32_t)hash_seeded(t->text[i]);
        while (slots[slot & mask] != 0)
            slot++;
        slots[slot & mask] = i + 1;
        text[i] = t->text[i];
    }
    t->text = text;
    t->slots = slots;
    t->mask = mask;
    t->max = max;
    return ERR_OK;
}

/* Numbers are given in the order of first use.  Borrows the text. */
static enum err texts_number(struct texts *t, struct slice s, uint32_t *ret)
{
    if (t->count == t->max) {
        enum err e = texts_grow(t);
        if (e != ERR_OK)
            return e;
    }
    uint32_t slot = (uint32_t)hash_seeded(s);
    for (; t->slots[slot & t->mask] != 0; slot++) {
        *ret = t->slots[slot & t->mask] - 1;
        if (slice_eq(t->text[*ret], s))
            return ERR_OK;
    }
    t->text[t->count] = s;
    t->slots[slot & t->mask] = ++t->count;
    t->bytes += s.len;
    *ret = t->count - 1;
    return ERR_OK;
}

/* --- shapes --- */

struct join { /* of one table */
    struct block_writer *w;
    enum seg_table table;
    uint32_t **shape_of, **column_of; /* [segment][its shape, column]: ours, or BLOCK_NONE */
    struct texts known_columns, known_shapes;
    struct segment_rows_shape *shapes;
    struct segment_rows_column *columns;
    uint32_t shape_max, column_max;
};

static enum err join_column(struct join *j, uint32_t segment, uint32_t local, uint32_t *ret)
{
    struct block_writer *w = j->w;
    uint32_t *known = &j->column_of[segment][local];
    if (*known != BLOCK_NONE) {
        *ret = *known;
        return ERR_OK;
    }
    struct segment_rows_column c;
    segment_rows_ops_of(w->segments[segment])->column(w->segments[segment], j->table, local, &c);
    uint8_t *key = arena_alloc(&w->scratch, c.key.len + 2);
    if (key == NULL)
        return arena_err(&w->scratch);
    key[0] = (uint8_t)c.type;
    key[1] = c.field;
    if (c.key.len != 0)
        memcpy(key + 2, c.key.ptr, c.key.len);
    uint32_t before = j->known_columns.count;
    enum err e = texts_number(&j->known_columns, (struct slice){key, c.key.len + 2}, known);
    if (e != ERR_OK)
        return e;
    *ret = *known;
    if (j->known_columns.count == before)
        return ERR_OK;
    if (*ret == j->column_max) {
        j->columns = block_widen(&w->scratch, j->columns, &j->column_max, sizeof *j->columns);
        if (j->columns == NULL)
            return arena_err(&w->scratch);
    }
    j->columns[*ret] = c;
    return ERR_OK;
}

static enum err join_shape(struct join *j, uint32_t segment, uint32_t local, uint32_t *ret)
{
    struct block_writer *w = j->w;
    struct segment_rows_shape from;
    segment_rows_ops_of(w->segments[segment])
        ->shape_at(w->segments[segment], j->table, local, &from);
    uint32_t *columns = ARENA_ARRAY(&w->arena, uint32_t, from.count);
    if (columns == NULL)
        return arena_err(&w->arena);
    for (uint32_t i = 0; i < from.count; i++) {
        enum err e = join_column(j, segment, from.columns[i], &columns[i]);
        if (e != ERR_OK)
            return e;
    }
    uint32_t before = j->known_shapes.count;
    enum err e =
        texts_number(&j->known_shapes,
                     (struct slice){(const uint8_t *)columns, from.count * sizeof *columns}, ret);
    if (e != ERR_OK || j->known_shapes.count == before)
        return e;
    if (*ret == j->shape_max) {
        j->shapes = block_widen(&w->arena, j->shapes, &j->shape_max, sizeof *j->shapes);
        if (j->shapes == NULL)
            return arena_err(&w->arena);
    }
    j->shapes[*ret] = (struct segment_rows_shape){columns, from.count};
    return ERR_OK;
}

static enum err join_init(struct join *j, const uint32_t ***ret_shapes)
{
    struct block_writer *w = j->w;
    j->known_columns.a = j->known_shapes.a = &w->scratch;
    j->shape_of = ARENA_ARRAY(&w->scratch, uint32_t *, w->segment_count);
    j->column_of = ARENA_ARRAY(&w->scratch, uint32_t *, w->segment_count);
    const uint32_t **shapes = ARENA_ARRAY(&w->scratch, const uint32_t *, w->segment_count);
    enum err e = arena_err(&w->scratch);
    for (uint32_t i = 0; e == ERR_OK && i < w->segment_count; i++) {
        const struct segment_rows_ops *ops = segment_rows_ops_of(w->segments[i]);
        j->shape_of[i] = block_none_array(&w->scratch, ops->shape_count(w->segments[i], j->table));
        j->column_of[i] =
            block_none_array(&w->scratch, ops->column_count(w->segments[i], j->table));
        e = arena_err(&w->scratch);
        if (e == ERR_OK)
            e = ops->shape_of_rows(w->segments[i], j->table, &w->scratch, &shapes[i]);
    }
    *ret_shapes = shapes;
    return e;
}

/* What was joined moves into the index. */
static enum err join_finish(struct join *j)
{
    struct block_writer *w = j->w;
    struct block_index *x = &w->index;
    uint32_t n = j->known_columns.count, parts = block_parts(x, j->table);
    x->shapes[j->table] = j->shapes;
    x->shape_count[j->table] = j->known_shapes.count;
    x->columns[j->table] = ARENA_ARRAY(&w->arena, struct block_column, n);
    w->local_of[j->table] = block_none_array(&w->arena, n * w->segment_count);
    if (arena_err(&w->arena) != ERR_OK)
        return arena_err(&w->arena);
    x->column_count[j->table] = n;
    for (uint32_t c = 0; c < n; c++) {
        struct block_column *to = &x->columns[j->table][c];
        *to = (struct block_column){.key = j->columns[c].key,
                                    .table = (uint8_t)j->table,
                                    .type = (uint8_t)j->columns[c].type,
                                    .field = j->columns[c].field,
                                    .dict = BLOCK_NONE};
        to->pages = ARENA_ARRAY(&w->arena, struct block_ref, parts);
        to->zones = to->type == SEG_INT ? ARENA_ARRAY(&w->arena, struct block_zone, parts) : NULL;
    }
    for (uint32_t i = 0; i < w->segment_count; i++)
        for (uint32_t c = 0;
             c < segment_rows_ops_of(w->segments[i])->column_count(w->segments[i], j->table); c++)
            if (j->column_of[i][c] != BLOCK_NONE)
                w->local_of[j->table][(size_t)j->column_of[i][c] * w->segment_count + i] = c;
    return arena_err(&w->arena);
}

static enum block_stream shape_stream(enum seg_table table)
{
    return (enum block_stream)(BLOCK_SHAPE_SPAN + (int)table);
}

enum err block_columns_shapes(struct block_writer *w, enum seg_table table)
{
    const struct block_rows *r = &w->rows[table];
    struct join j = {.w = w, .table = table};
    const uint32_t **shapes;
    enum err e = join_init(&j, &shapes);
    for (uint32_t p = 0, first = 0; e == ERR_OK && p < r->part_count; first = r->part_end[p++]) {
        uint32_t count = r->part_end[p] - first;
        if (count == 0)
            continue;
        uint64_t *values = ARENA_ARRAY(&w->scratch, uint64_t, count);
        if (values == NULL)
            e = arena_err(&w->scratch);
        for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
            const struct block_source *s = &r->sources[first + i];
            uint32_t *known = &j.shape_of[s->segment][shapes[s->segment][s->row]];
            if (*known == BLOCK_NONE)
                e = join_shape(&j, s->segment, shapes[s->segment][s->row], known);
            values[i] = *known;
        }
        if (e == ERR_OK)
            e = block_write_ints(w, (uint8_t)(BLOCK_PAGE_STREAM + shape_stream(table)), values,
                                 count, &w->index.streams[shape_stream(table)][p]);
    }
    if (e == ERR_OK)
        e = join_finish(&j);
    arena_reset(&w->scratch);
    return e;
}

/* --- dictionaries --- */

struct coded { /* a column of texts, as numbers of a dictionary, in row order */
    uint32_t *codes;
    const uint32_t *part_end; /* [parts]: values up to the end of each part */
    uint32_t part_count;
};

static enum err dict_new(struct block_writer *w, uint32_t *ret)
{
    if (w->index.dict_count == w->dict_max) {
        w->index.dicts =
            block_widen(&w->arena, w->index.dicts, &w->dict_max, sizeof *w->index.dicts);
        if (w->index.dicts == NULL)
            return arena_err(&w->arena);
    }
    w->index.dicts[w->index.dict_count] = (struct block_dict_ref){0};
    *ret = w->index.dict_count++;
    return ERR_OK;
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

struct lists {             /* which codes each part has, ascending, one part after the other */
    uint32_t *codes, *end; /* end: [parts] */
};

/* One part: its code list, and its values as numbers in that list. */
static enum err write_codes(struct block_writer *w, const uint32_t *codes, uint32_t count,
                            uint32_t *mark, uint32_t *list, uint32_t *ret_listed, uint8_t kind,
                            struct block_ref *ret)
{
    uint32_t listed = 0;
    for (uint32_t i = 0; i < count; i++)
        if (mark[codes[i]] == BLOCK_NONE) {
            mark[codes[i]] = 0;
            list[listed++] = codes[i];
        }
    qsort(list, listed, sizeof *list, compare_u32);
    for (uint32_t i = 0; i < listed; i++)
        mark[list[i]] = i;
    uint64_t *values = malloc(count * sizeof *values);
    if (values == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < count; i++)
        values[i] = mark[codes[i]];
    for (uint32_t i = 0; i < listed; i++)
        mark[list[i]] = BLOCK_NONE;
    enum err e = block_write_ints(w, kind, values, count, ret);
    free(values);
    *ret_listed = listed;
    return e;
}

static enum err write_coded(struct block_writer *w, const struct coded *c, const struct texts *t,
                            struct block_dict_ref *dict, uint8_t kind, struct block_ref *pages)
{
    uint32_t values = c->part_end[c->part_count - 1], at = 0, *rank;
    enum err e = block_dict_sort(&w->scratch, t->text, t->count, &rank);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < values; i++)
        c->codes[i] = rank[c->codes[i]];
    struct lists l = {arena_alloc(&w->scratch, values * sizeof *l.codes),
                      arena_alloc(&w->scratch, c->part_count * sizeof *l.end)};
    uint32_t *mark = block_none_array(&w->scratch, t->count);
    e = arena_err(&w->scratch);
    for (uint32_t p = 0, first = 0; e == ERR_OK && p < c->part_count; first = c->part_end[p++]) {
        uint32_t listed = 0;
        if (c->part_end[p] != first)
            e = write_codes(w, c->codes + first, c->part_end[p] - first, mark, l.codes + at,
                            &listed, kind, &pages[p]);
        at += listed;
        l.end[p] = at;
    }
    struct block_dict_lists lists = {l.codes, l.end, c->part_count};
    return e == ERR_OK ? block_dict_put(w, t->text, t->count, &lists, &w->arena, dict) : e;
}

/* Numbers for texts that come as codes of a segment: each code is looked up once. */
struct recoder {
    struct texts texts;
    uint32_t **known; /* [segment][its code] */
};

static enum err recode(struct recoder *r, uint32_t segment, uint32_t code,
                       const struct slice *values, uint32_t *ret)
{
    uint32_t *known = &r->known[segment][code];
    enum err e = *known == BLOCK_NONE ? texts_number(&r->texts, values[code], known) : ERR_OK;
    *ret = *known;
    return e;
}

/* The same where no text has two codes, so that none has to be looked up; r->texts.text has room for all. */
static uint32_t recode_unique(struct recoder *r, uint32_t code, const struct slice *values)
{
    uint32_t *known = &r->known[0][code];
    if (*known == BLOCK_NONE) {
        *known = r->texts.count++;
        r->texts.text[*known] = values[code];
        r->texts.bytes += values[code].len;
    }
    return *known;
}

enum err block_columns_names(struct block_writer *w, enum seg_table table, enum block_stream stream,
                             uint32_t dict)
{
    const struct block_rows *r = &w->rows[table];
    struct recoder rec = {.texts = {.a = &w->scratch},
                          .known = ARENA_ARRAY(&w->scratch, uint32_t *, w->segment_count)};
    uint32_t *codes = arena_alloc(&w->scratch, r->count * sizeof *codes), made;
    enum err e = arena_err(&w->scratch);
    for (uint32_t i = 0; e == ERR_OK && i < w->segment_count; i++) {
        const struct seg_names *names = table == SEG_SPAN ? &w->fixed[i].name : &w->events[i].name;
        rec.known[i] = block_none_array(&w->scratch, names->value_count);
        e = arena_err(&w->scratch);
    }
    for (uint32_t i = 0; e == ERR_OK && i < r->count; i++) {
        const struct block_source *s = &r->sources[i];
        const struct seg_names *names =
            table == SEG_SPAN ? &w->fixed[s->segment].name : &w->events[s->segment].name;
        e = recode(&rec, s->segment, names->codes[s->row], names->values, &codes[i]);
    }
    if (e == ERR_OK)
        e = dict_new(w, &made);
    if (e == ERR_OK) {
        assert(made == dict);
        struct coded coded = {codes, r->part_end, r->part_count};
        e = write_coded(w, &coded, &rec.texts, &w->index.dicts[dict],
                        (uint8_t)(BLOCK_PAGE_STREAM + stream), w->index.streams[stream]);
    }
    arena_reset(&w->scratch);
    return e;
}

/* --- columns --- */

struct entry { /* a value: its row in the block, and where it is */
    uint32_t row, segment, index;
};

struct gathered {
    struct seg_column *from; /* [segment] */
    struct entry *entries;   /* in row order */
    uint32_t count;
    uint32_t *part_end; /* [parts]: entries */
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Few values: each tells its row, and they are sorted. */
static void gather_few(const struct block_writer *w, const struct block_rows *r, struct gathered *g)
{
    for (uint32_t i = 0; i < w->segment_count; i++)
        for (uint32_t k = 0; k < g->from[i].count; k++) {
            uint32_t row = r->place[i][g->from[i].rows[k]];
            /* Of resources that are equal in several segments, the first stands for all. */
            if (row != BLOCK_NONE && r->sources[row].segment == i &&
                r->sources[row].row == g->from[i].rows[k])
                g->entries[g->count++] = (struct entry){row, i, k};
        }
    qsort(g->entries, g->count, sizeof *g->entries, compare_entries);
    for (uint32_t p = 0, at = 0; p < r->part_count; p++) {
        while (at < g->count && g->entries[at].row < r->part_end[p])
            at++;
        g->part_end[p] = at;
    }
}

/* Many: each row is asked for its values.  `first` has a number per row of a segment, of another column where the row has none of this one. */
static void gather_many(const struct block_writer *w, const struct block_rows *r, uint32_t **first,
                        struct gathered *g)
{
    for (uint32_t i = 0; i < w->segment_count; i++)
        for (uint32_t k = g->from[i].count; k-- > 0;)
            first[i][g->from[i].rows[k]] = k;
    const struct block_source *sources = r->sources;
    const uint32_t *rows = NULL, *numbers = NULL;
    struct entry *to = g->entries;
    uint32_t segment = BLOCK_NONE, count = 0;
    for (uint32_t p = 0, row = 0; p < r->part_count; p++) {
        for (uint32_t end = r->part_end[p]; row < end; row++) {
            struct block_source s = sources[row];
            if (s.segment != segment) {
                segment = s.segment;
                rows = g->from[segment].rows;
                count = g->from[segment].count;
                numbers = first[segment];
            }
            for (uint32_t k = numbers[s.row]; k < count && rows[k] == s.row; k++)
                *to++ = (struct entry){row, segment, k};
        }
        g->part_end[p] = (uint32_t)(to - g->entries);
    }
    g->count = (uint32_t)(to - g->entries);
}

static enum err gather(struct block_writer *w, enum seg_table table, uint32_t column,
                       uint32_t **first, struct gathered *g)
{
    const struct block_rows *r = &w->rows[table];
    const uint32_t *local = &w->local_of[table][(size_t)column * w->segment_count];
    uint64_t most = 0;
    g->from = ARENA_ARRAY(&w->scratch, struct seg_column, w->segment_count);
    g->part_end = ARENA_ARRAY(&w->scratch, uint32_t, r->part_count);
    enum err e = arena_err(&w->scratch);
    for (uint32_t i = 0; e == ERR_OK && i < w->segment_count; i++) {
        if (local[i] == BLOCK_NONE)
            continue;
        e = segment_rows_ops_of(w->segments[i])
                ->column_data(w->segments[i], table, local[i], &w->scratch, &g->from[i]);
        most += g->from[i].count;
    }
    if (e == ERR_OK && most > UINT32_MAX / 2)
        e = ERR_TOO_LARGE;
    if (e != ERR_OK)
        return e;
    g->entries = arena_alloc(&w->scratch, most * sizeof *g->entries);
    if (g->entries == NULL)
        return arena_err(&w->scratch);
    if (most < r->count / FEW_OF)
        gather_few(w, r, g);
    else
        gather_many(w, r, first, g);
    return ERR_OK;
}

static void put_int_page(struct block_writer *w, const struct gathered *g, uint32_t first,
                         uint32_t end, uint64_t *values, struct block_zone *zone)
{
    *zone = (struct block_zone){INT64_MAX, INT64_MIN};
    for (uint32_t i = first; i < end; i++) {
        int64_t v = g->from[g->entries[i].segment].ints[g->entries[i].index];
        if (v < zone->min)
            zone->min = v;
        if (v > zone->max)
            zone->max = v;
        values[i - first] = (uint64_t)v;
    }
    bool has_sign = zone->min < 0;
    buf_append_byte(&w->raw, has_sign);
    for (uint32_t i = first; has_sign && i < end; i++)
        values[i - first] = page_of_signed((int64_t)values[i - first]);
    page_put_ints(&w->raw, values, end - first);
}

static enum err write_numbers(struct block_writer *w, struct block_column *c,
                              const struct gathered *g, uint32_t parts)
{
    enum err e = ERR_OK;
    for (uint32_t p = 0, first = 0; e == ERR_OK && p < parts; first = g->part_end[p++]) {
        uint32_t count = g->part_end[p] - first;
        if (count == 0)
            continue;
        uint64_t *values = ARENA_ARRAY(&w->scratch, uint64_t, count);
        double *doubles = c->type == SEG_DOUBLE ? ARENA_ARRAY(&w->scratch, double, count) : NULL;
        if (arena_err(&w->scratch) != ERR_OK)
            return arena_err(&w->scratch);
        uint8_t kind = BLOCK_PAGE_INTS;
        if (c->type == SEG_INT) {
            put_int_page(w, g, first, g->part_end[p], values, &c->zones[p]);
        } else if (c->type == SEG_DOUBLE) {
            kind = BLOCK_PAGE_DOUBLES;
            for (uint32_t i = 0; i < count; i++)
                doubles[i] =
                    g->from[g->entries[first + i].segment].doubles[g->entries[first + i].index];
            page_put_doubles(&w->raw, doubles, count);
        } else {
            kind = BLOCK_PAGE_BOOLS;
            for (uint32_t i = 0; i < count; i++)
                values[i] =
                    g->from[g->entries[first + i].segment].bools[g->entries[first + i].index] != 0;
            page_put_ints(&w->raw, values, count);
        }
        e = block_write_page(w, kind, count, false, &c->pages[p]);
    }
    return e;
}

static unsigned bits_of(uint32_t v)
{
    return v == 0 ? 0 : 32 - (unsigned)__builtin_clz(v);
}

struct amount {
    uint64_t count, bytes;
};

/* Whether a dictionary takes less than the texts themselves: half of text bytes goes to compression, a code takes its bits, and each
 * distinct text a place in some code lists. */
static bool dict_pays(struct amount all, struct amount distinct)
{
    uint64_t dict =
        distinct.bytes / 2 + all.count * bits_of((uint32_t)distinct.count) / 8 + distinct.count * 2;
    return dict <= all.bytes / 2 + all.count * 3 / 4;
}

static struct slice text_of(const struct gathered *g, uint32_t entry)
{
    const struct seg_column *from = &g->from[g->entries[entry].segment];
    return from->values[from->codes[g->entries[entry].index]];
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* About how many hashes are distinct: those are counted whose low bits are zero. */
static enum err count_distinct(struct arena *a, const uint64_t *hashes, uint32_t count,
                               uint64_t *ret)
{
    unsigned shift = 0;
    while (count >> shift > DISTINCT_SAMPLE)
        shift++;
    uint64_t mask = ((uint64_t)1 << shift) - 1, distinct = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += (hashes[i] & mask) == 0;
    uint64_t *some = arena_alloc(a, n * sizeof *some);
    if (some == NULL)
        return arena_err(a);
    n = 0;
    for (uint32_t i = 0; i < count; i++)
        if ((hashes[i] & mask) == 0)
            some[n++] = hashes[i];
    qsort(some, n, sizeof *some, compare_u64);
    for (uint32_t i = 0; i < n; i++)
        distinct += i == 0 || some[i] != some[i - 1];
    *ret = distinct << shift;
    return ERR_OK;
}

static enum err write_plain(struct block_writer *w, struct block_column *c,
                            const struct gathered *g, const uint64_t *hashes, uint32_t parts)
{
    struct block_filter_maker filter;
    struct block_text_plan plan = {0};
    uint32_t most = 0;
    for (uint32_t p = 0; p < parts; p++)
        if (g->part_end[p] - (p == 0 ? 0 : g->part_end[p - 1]) > most)
            most = g->part_end[p] - (p == 0 ? 0 : g->part_end[p - 1]);
    struct slice *texts = arena_alloc(&w->scratch, most * sizeof *texts);
    block_filter_init(&filter, w->scratch.budget);
    c->form = BLOCK_FORM_PLAIN;
    c->filters = ARENA_ARRAY(&w->arena, struct block_filter, block_filter_count(parts));
    enum err e = texts == NULL ? arena_err(&w->scratch) : arena_err(&w->arena);
    for (uint32_t p = 0, first = 0; e == ERR_OK && p < parts; first = g->part_end[p++]) {
        for (uint32_t i = first; e == ERR_OK && i < g->part_end[p]; i++) {
            texts[i - first] = text_of(g, i);
            e = block_filter_add(&filter, p, hashes[i]);
        }
        if (e == ERR_OK && g->part_end[p] != first)
            e = block_text_put(w, &plan, texts, g->part_end[p] - first, &c->pages[p]);
        if (e == ERR_OK && ((p + 1) % BLOCK_FILTER_PARTS == 0 || p + 1 == parts))
            e = block_filter_put(w, &filter, p % BLOCK_FILTER_PARTS + 1, &w->arena,
                                 &c->filters[p / BLOCK_FILTER_PARTS]);
    }
    block_filter_release(&filter);
    return e;
}

static enum err recoder_init(struct block_writer *w, const struct gathered *g, struct recoder *rec)
{
    rec->known = ARENA_ARRAY(&w->scratch, uint32_t *, w->segment_count);
    for (uint32_t i = 0; rec->known != NULL && i < w->segment_count; i++)
        rec->known[i] = block_none_array(&w->scratch, g->from[i].value_count);
    return arena_err(&w->scratch);
}

/* Where each text has one code, the codes in use are counted; otherwise hashes are, and kept for the filters. */
static enum err choose_form(struct block_writer *w, const struct gathered *g, struct recoder *rec,
                            uint32_t *codes, uint64_t **ret_hashes, bool *ret_pays)
{
    struct amount all = {.count = g->count}, distinct = {0};
    bool is_unique = w->segment_count == 1 && g->from[0].is_unique_text;
    enum err e = is_unique ? recoder_init(w, g, rec) : ERR_OK;
    if (e == ERR_OK && is_unique) {
        rec->texts.text =
            arena_alloc(&w->scratch, g->from[0].value_count * sizeof *rec->texts.text);
        e = arena_err(&w->scratch);
    }
    for (uint32_t i = 0; is_unique && e == ERR_OK && i < g->count; i++)
        codes[i] = recode_unique(rec, g->from[0].codes[g->entries[i].index], g->from[0].values);
    for (uint32_t i = 0; i < g->count; i++)
        all.bytes += text_of(g, i).len;
    *ret_hashes = NULL;
    if (is_unique)
        distinct = (struct amount){rec->texts.count, rec->texts.bytes};
    if (e == ERR_OK && (!is_unique || !dict_pays(all, distinct))) {
        *ret_hashes = arena_alloc(&w->scratch, g->count * sizeof **ret_hashes);
        e = *ret_hashes == NULL ? arena_err(&w->scratch) : ERR_OK;
        for (uint32_t i = 0; e == ERR_OK && i < g->count; i++)
            (*ret_hashes)[i] = block_filter_hash(text_of(g, i));
    }
    if (e == ERR_OK && !is_unique) {
        e = count_distinct(&w->scratch, *ret_hashes, g->count, &distinct.count);
        distinct.bytes = g->count == 0 ? 0 : all.bytes * distinct.count / g->count;
    }
    *ret_pays = dict_pays(all, distinct);
    return e;
}

static enum err write_texts(struct block_writer *w, struct block_column *c,
                            const struct gathered *g, uint32_t parts)
{
    struct recoder rec = {.texts = {.a = &w->scratch}};
    uint32_t *codes = arena_alloc(&w->scratch, g->count * sizeof *codes);
    uint64_t *hashes;
    bool pays = false;
    enum err e = arena_err(&w->scratch);
    if (e == ERR_OK)
        e = choose_form(w, g, &rec, codes, &hashes, &pays);
    if (e == ERR_OK && !pays)
        return write_plain(w, c, g, hashes, parts);
    if (e == ERR_OK && rec.known == NULL)
        e = recoder_init(w, g, &rec);
    for (uint32_t i = 0; e == ERR_OK && hashes != NULL && i < g->count; i++) {
        const struct entry *at = &g->entries[i];
        e = recode(&rec, at->segment, g->from[at->segment].codes[at->index],
                   g->from[at->segment].values, &codes[i]);
    }
    if (e != ERR_OK)
        return e;
    c->form = BLOCK_FORM_DICT;
    e = dict_new(w, &c->dict);
    struct coded coded = {codes, g->part_end, parts};
    return e == ERR_OK ? write_coded(w, &coded, &rec.texts, &w->index.dicts[c->dict],
                                     BLOCK_PAGE_CODES, c->pages)
                       : e;
}

enum err block_columns_write(struct block_writer *w, enum seg_table table)
{
    uint32_t parts = block_parts(&w->index, table);
    struct arena numbers;
    arena_init(&numbers, w->arena.budget);
    uint32_t **first = ARENA_ARRAY(&numbers, uint32_t *, w->segment_count);
    for (uint32_t i = 0; first != NULL && i < w->segment_count; i++)
        first[i] = ARENA_ARRAY(&numbers, uint32_t, w->segments[i]->row_count[table]);
    enum err e = arena_err(&numbers);
    for (uint32_t i = 0; e == ERR_OK && i < w->index.column_count[table]; i++) {
        struct block_column *c = &w->index.columns[table][i];
        struct gathered g = {0};
        e = gather(w, table, i, first, &g);
        if (e == ERR_OK)
            e = c->type == SEG_STR || c->type == SEG_ANY ? write_texts(w, c, &g, parts)
                                                         : write_numbers(w, c, &g, parts);
        arena_reset(&w->scratch);
    }
    arena_release(&numbers);
    return e;
}
