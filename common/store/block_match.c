/* Rows of a row group that meet a condition: judged on what is packed in the pages, not on values made of it. */
#include "common/store/block_dict.h"
#include "common/store/block_filter.h"
#include "common/store/block_pages.h"
#include "common/store/block_text.h"
#include "common/store/page.h"
#include "common/store/page_scan.h"

#include <assert.h>
#include <string.h>

static const struct page_scan_interval NOTHING = {0, UINT64_MAX, true};

static bool is_any(const uint8_t *values, uint32_t count)
{
    uint8_t any = 0;
    for (uint32_t i = 0; i < count; i++)
        any |= values[i];
    return any != 0;
}

/* --- from values to rows --- */

/* Shapes as bytes where there are few, else *ret is NULL, and s->shape_of has them.  s->tmp is kept: an answer lies there. */
static enum err shape_bytes(struct block_segment *s, enum seg_table table, const uint8_t **ret)
{
    enum block_stream stream = (enum block_stream)(BLOCK_SHAPE_SPAN + (int)table);
    uint32_t count = s->b->index.shape_count[table], n = block_pages_rows(s, table);
    bool is_narrow = count <= UINT8_MAX + 1;
    struct slice raw = SLICE_NONE;
    uint8_t *bytes = NULL, most = 0;
    uint32_t *wide = NULL;
    *ret = s->shape_byte[table];
    if (*ret != NULL || (!is_narrow && s->shape_of[table] != NULL) || n == 0)
        return ERR_OK;
    if (is_narrow)
        bytes = arena_alloc(&s->arena, n);
    else
        wide = arena_alloc(&s->arena, (size_t)n * sizeof *wide);
    if (bytes == NULL && wide == NULL)
        return arena_err(&s->arena);
    enum err e = block_pages_one(s, block_pages_ref(s, stream),
                                 (uint8_t)(BLOCK_PAGE_STREAM + stream), n, &raw);
    struct reader r = reader_of(raw);
    if (e == ERR_OK)
        e = is_narrow ? page_scan_u8(&r, n, bytes) : page_scan_u32(&r, n, count, wide);
    for (uint32_t i = 0; e == ERR_OK && is_narrow && i < n; i++)
        most = bytes[i] > most ? bytes[i] : most;
    if (e == ERR_OK && is_narrow && most >= count)
        e = ERR_CORRUPT;
    if (e != ERR_OK)
        return e;
    s->shape_byte[table] = bytes;
    if (!is_narrow)
        s->shape_of[table] = wide;
    *ret = bytes;
    return ERR_OK;
}

/* A column under way: which of its values are it, and how often each shape has one. */
struct values {
    enum seg_table table;
    uint32_t rows, most, count;
    uint64_t room;         /* no more values are possible */
    const uint32_t *times; /* a shape */
    uint8_t *is_it;        /* [room + 1], zeros behind the values; NULL: all are */
};

static enum err values_begin(struct block_segment *s, const struct block_column *c,
                             struct values *v)
{
    uint32_t *times, column = (uint32_t)(c - s->b->index.columns[c->table]);
    *v = (struct values){.table = (enum seg_table)c->table};
    v->rows = block_pages_rows(s, v->table);
    enum err e = block_values_times(s, v->table, column, &times, &v->most);
    if (e != ERR_OK)
        return e;
    v->times = times;
    v->room = (uint64_t)v->rows * v->most;
    if (v->room >= UINT32_MAX)
        return ERR_CORRUPT;
    return ERR_OK;
}

/* The bytes of the column's page; and room for the answer. */
static enum err values_page(struct block_segment *s, const struct block_ref *ref, uint8_t kind,
                            struct values *v, struct reader *ret)
{
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    enum err e = block_page(s->b, ref, kind, &s->tmp, &s->base.segment.read_bytes, &page, &raw);
    if (e != ERR_OK || page.count > v->room)
        return e == ERR_OK ? ERR_CORRUPT : e;
    v->count = page.count;
    v->is_it = ARENA_ARRAY(&s->tmp, uint8_t, v->room + 1);
    *ret = reader_of(raw);
    return arena_err(&s->tmp);
}

/* No shape has the column twice.  There is nothing to guess: who has no value does not step on. */
#define SPREAD(shape_of)                         \
    for (uint32_t row = 0; row < rows; row++) {  \
        uint32_t one = times[(shape_of)[row]];   \
        mask[row] |= (uint8_t)(is_it[at] & one); \
        at += one;                               \
    }

static uint64_t spread(const struct values *v, const uint8_t *narrow, const uint32_t *wide,
                       uint8_t *mask)
{
    const uint32_t rows = v->rows, *times = v->times;
    const uint8_t *is_it = v->is_it;
    uint64_t at = 0;
    if (v->most <= 1) {
        if (narrow != NULL)
            SPREAD(narrow)
        else
            SPREAD(wide)
        return at;
    }
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t k = times[narrow != NULL ? narrow[row] : wide[row]]; k > 0; k--)
            mask[row] |= is_it[at++];
    return at;
}

/* From values to rows. */
static enum err values_end(struct block_segment *s, const struct values *v, uint8_t *mask,
                           bool *any)
{
    const uint8_t *narrow = NULL;
    if (v->is_it != NULL && !is_any(v->is_it, v->count))
        return ERR_OK;
    enum err e = shape_bytes(s, v->table, &narrow);
    const uint32_t *wide = s->shape_of[v->table];
    if (e != ERR_OK)
        return e;
    *any = true;
    if (v->is_it != NULL)
        return spread(v, narrow, wide, mask) == v->count ? ERR_OK : ERR_CORRUPT;
    for (uint32_t row = 0; row < v->rows; row++)
        mask[row] |= v->times[narrow != NULL ? narrow[row] : wide[row]] != 0;
    return ERR_OK;
}

/* --- one column --- */

/* By a table of 0 and 1; ones that stand together are an interval, which is faster. */
static enum err scan_table(struct reader *r, uint32_t count, const uint8_t *table, uint32_t entries,
                           uint8_t *ret)
{
    uint32_t first = 0, end = entries;
    while (first < end && table[first] == 0)
        first++;
    while (end > first && table[end - 1] == 0)
        end--;
    if (first == end)
        return page_scan_range(r, count, NOTHING, ret);
    if (memchr(table + first, 0, end - first) != NULL)
        return page_scan_table(r, count, table, entries, ret);
    return page_scan_range(r, count, (struct page_scan_interval){first, end - 1, false}, ret);
}

/* Which texts of the list of a part meet the condition; *ret is NULL when none does. */
static enum err texts_table(struct block_segment *s, uint32_t dict, uint32_t parts, uint32_t part,
                            const struct seg_match *m, enum seg_type type, uint8_t **ret,
                            uint32_t *ret_count)
{
    const struct slice *texts = NULL;
    uint32_t count = 0;
    *ret = NULL;
    enum err e = block_dict_listed(s->b, &s->user, dict, parts, part, &s->tmp, &texts, &count);
    uint8_t *table = e == ERR_OK ? arena_alloc(&s->tmp, count) : NULL;
    if (table == NULL)
        return e == ERR_OK ? arena_err(&s->tmp) : e;
    for (uint32_t i = 0; i < count; i++)
        table[i] = m->is_match(m->arg, type, texts[i]);
    if (is_any(table, count))
        *ret = table;
    *ret_count = count;
    return ERR_OK;
}

static enum err coded(struct block_segment *s, const struct block_column *c, uint32_t part,
                      const struct seg_match *m, uint8_t *mask, bool *any)
{
    uint32_t parts = block_parts(&s->b->index, (enum seg_table)c->table), number = 0, count = 0;
    bool is_one = c->type == SEG_STR && m->text != NULL;
    uint8_t *table = NULL;
    struct values v;
    struct reader r;
    enum err e =
        is_one ? block_dict_find(s->b, &s->user, c->dict, parts, part, *m->text, &number)
               : texts_table(s, c->dict, parts, part, m, (enum seg_type)c->type, &table, &count);
    if (e != ERR_OK || (is_one ? number == BLOCK_NONE : table == NULL))
        return e;
    e = values_begin(s, c, &v);
    if (e == ERR_OK)
        e = values_page(s, &c->pages[part], BLOCK_PAGE_CODES, &v, &r);
    if (e == ERR_OK && is_one)
        e = page_scan_range(&r, v.count, (struct page_scan_interval){number, number, false},
                            v.is_it);
    else if (e == ERR_OK)
        e = scan_table(&r, v.count, table, count, v.is_it);
    return e == ERR_OK ? values_end(s, &v, mask, any) : e;
}

/* Texts that are not in a dictionary, looked through for one that the filter does not rule out. */
static enum err plain(struct block_segment *s, const struct block_column *c, uint32_t part,
                      struct slice text, uint8_t *mask, bool *any)
{
    struct values v;
    bool may_have = true;
    const uint8_t *narrow = NULL;
    uint64_t count = 0;
    enum err e = block_filter_may_have(s->b, &s->user, c, part, text, &may_have);
    if (e != ERR_OK || !may_have)
        return e;
    e = values_begin(s, c, &v);
    if (e == ERR_OK)
        e = shape_bytes(s, v.table, &narrow);
    for (uint32_t row = 0; e == ERR_OK && row < v.rows; row++)
        count += v.times[narrow != NULL ? narrow[row] : s->shape_of[v.table][row]];
    v.is_it = e == ERR_OK ? ARENA_ARRAY(&s->tmp, uint8_t, count + 1) : NULL;
    if (v.is_it == NULL)
        return e == ERR_OK ? arena_err(&s->tmp) : e;
    v.count = (uint32_t)count;
    e = block_text_equal(s, &c->pages[part], v.count, text, v.is_it);
    return e == ERR_OK ? values_end(s, &v, mask, any) : e;
}

/* As numbers in the order of their sign; `has_sign`: with 2^63 added. */
static struct page_scan_interval interval_of(const struct seg_match_ints *in, bool has_sign)
{
    struct page_scan_interval all = {(uint64_t)in->min, (uint64_t)in->max, in->is_outside};
    if (has_sign)
        return (struct page_scan_interval){page_of_signed(in->min), page_of_signed(in->max),
                                           in->is_outside};
    if (all.min <= all.max)
        return all;
    if (all.min == all.max + 1) /* every number there is */
        return (struct page_scan_interval){0, UINT64_MAX, in->is_outside};
    return (struct page_scan_interval){all.max + 1, all.min - 1, !in->is_outside};
}

/* Whether the least and the greatest of the column tell that no value is it. */
static bool is_ruled_out(const struct block_zone *z, const struct seg_match_ints *in)
{
    if (in->is_outside)
        return in->min <= z->min && z->max <= in->max;
    return z->max < in->min || z->min > in->max;
}

static enum err numbers(struct block_segment *s, const struct block_column *c, uint32_t part,
                        const struct seg_match_ints *in, uint8_t *mask, bool *any)
{
    bool is_int = c->type == SEG_INT;
    struct values v;
    struct reader r;
    if (!in->is_possible || (is_int && c->zones != NULL && is_ruled_out(&c->zones[part], in)))
        return ERR_OK;
    enum err e = values_begin(s, c, &v);
    if (e == ERR_OK)
        e = values_page(s, &c->pages[part], is_int ? BLOCK_PAGE_INTS : BLOCK_PAGE_BOOLS, &v, &r);
    if (e != ERR_OK)
        return e;
    uint8_t has_sign = is_int ? reader_u8(&r) : 0;
    if (reader_failed(&r) || has_sign > 1)
        return ERR_CORRUPT;
    e = page_scan_range(&r, v.count, interval_of(in, has_sign != 0), v.is_it);
    return e == ERR_OK ? values_end(s, &v, mask, any) : e;
}

static enum err column_match(struct block_segment *s, const struct block_column *c,
                             const struct seg_match *m, uint8_t *mask, bool *any)
{
    uint32_t part = block_is_shared((enum seg_table)c->table) ? 0 : s->group;
    if (m == NULL) {
        struct values v;
        enum err e = values_begin(s, c, &v);
        return e == ERR_OK ? values_end(s, &v, mask, any) : e;
    }
    switch ((enum seg_type)c->type) {
    case SEG_STR:
        if (c->form == BLOCK_FORM_PLAIN)
            return m->text == NULL ? ERR_OK : plain(s, c, part, *m->text, mask, any);
        return m->text == NULL && m->is_match == NULL ? ERR_OK : coded(s, c, part, m, mask, any);
    case SEG_ANY: return m->is_match == NULL ? ERR_OK : coded(s, c, part, m, mask, any);
    case SEG_INT: return numbers(s, c, part, &m->ints, mask, any);
    case SEG_BOOL: return numbers(s, c, part, &m->bools, mask, any);
    case SEG_DOUBLE:
    case SEG_TYPE_COUNT: break;
    }
    return ERR_OK;
}

/* What is not known here: doubles, and texts without a dictionary that have to be looked at one by one; which values can be searched. */
static bool is_known(const struct block_column *c, const struct seg_match *m)
{
    bool is_plain = c->form == BLOCK_FORM_PLAIN;
    if (m == NULL)
        return c->type != SEG_ANY;
    if (c->type == SEG_DOUBLE)
        return !m->are_doubles;
    if (c->type == SEG_ANY)
        return m->is_match == NULL || !is_plain;
    return c->type != SEG_STR || !is_plain || m->text != NULL || m->is_match == NULL;
}

enum err block_match_attribute(struct segment *segment, enum seg_table table, struct slice key,
                               const struct seg_match *m, uint8_t *mask, bool *ret_any)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct block_index *x = &s->b->index;
    uint32_t part = block_is_shared(table) ? 0 : s->group, mine[SEG_TYPE_COUNT], count = 0;
    bool any = false;
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || c->pages[part].bytes == 0 ||
            !slice_eq(c->key, key))
            continue;
        if (!is_known(c, m))
            return ERR_NOT_FOUND;
        if (count == SEG_TYPE_COUNT)
            return ERR_CORRUPT;
        mine[count++] = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        enum err e = column_match(s, &x->columns[table][mine[i]], m, mask, &any);
        arena_reset(&s->tmp);
        if (e != ERR_OK)
            return e;
    }
    *ret_any = any;
    return ERR_OK;
}

/* --- texts as numbers, by row --- */

#define SPREAD_CODES(shape_of)                  \
    for (uint32_t row = 0; row < rows; row++) { \
        uint32_t one = times[(shape_of)[row]];  \
        to[row] = (codes[at] + 1) & (0 - one);  \
        at += one;                              \
    }

/* codes: [rows + 1]; no shape has the column twice. */
static uint32_t spread_codes(const struct values *v, const uint8_t *narrow, const uint32_t *wide,
                             const uint32_t *restrict codes, uint32_t *restrict to)
{
    const uint32_t rows = v->rows, *times = v->times;
    uint32_t at = 0;
    if (narrow != NULL)
        SPREAD_CODES(narrow)
    else
        SPREAD_CODES(wide)
    return at;
}

static enum err codes_of(struct block_segment *s, const struct block_column *c, uint32_t part,
                         uint32_t value_count, uint32_t *to)
{
    struct values v;
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    const uint8_t *narrow = NULL;
    enum err e = values_begin(s, c, &v);
    if (e == ERR_OK && v.most > 1)
        return ERR_NOT_FOUND;
    if (e == ERR_OK)
        e = block_page(s->b, &c->pages[part], BLOCK_PAGE_CODES, &s->tmp,
                       &s->base.segment.read_bytes, &page, &raw);
    if (e == ERR_OK && page.count > v.room)
        e = ERR_CORRUPT;
    uint32_t *codes = e == ERR_OK ? ARENA_ARRAY(&s->tmp, uint32_t, v.room + 1) : NULL;
    if (codes == NULL)
        return e == ERR_OK ? arena_err(&s->tmp) : e;
    struct reader r = reader_of(raw);
    e = page_scan_u32(&r, page.count, value_count, codes);
    if (e == ERR_OK)
        e = shape_bytes(s, v.table, &narrow);
    if (e != ERR_OK)
        return e;
    return spread_codes(&v, narrow, s->shape_of[v.table], codes, to) == page.count ? ERR_OK
                                                                                   : ERR_CORRUPT;
}

enum err block_match_codes(struct segment *segment, enum seg_table table, struct slice key,
                           struct seg_codes *ret)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct block_index *x = &s->b->index;
    const struct block_column *found = NULL;
    struct seg_codes out = {0};
    uint32_t part = block_is_shared(table) ? 0 : s->group;
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || c->pages[part].bytes == 0 ||
            !slice_eq(c->key, key))
            continue;
        if (found != NULL || c->type != SEG_STR || c->form != BLOCK_FORM_DICT)
            return ERR_NOT_FOUND;
        found = c;
    }
    uint32_t *to = ARENA_ARRAY(&s->arena, uint32_t, block_pages_rows(s, table));
    if (to == NULL)
        return arena_err(&s->arena);
    enum err e = ERR_OK;
    if (found != NULL)
        e = block_dict_listed(s->b, &s->user, found->dict, block_parts(x, table), part, &s->arena,
                              &out.values, &out.value_count);
    if (e == ERR_OK && found != NULL)
        e = codes_of(s, found, part, out.value_count, to);
    arena_reset(&s->tmp);
    out.codes = to;
    if (e == ERR_OK)
        *ret = out;
    return e;
}

/* --- what every span has --- */

static enum err fixed_page(struct block_segment *s, enum block_stream stream, struct reader *ret)
{
    struct slice raw = SLICE_NONE;
    enum err e =
        block_pages_one(s, block_pages_ref(s, stream), (uint8_t)(BLOCK_PAGE_STREAM + stream),
                        block_pages_rows(s, SEG_SPAN), &raw);
    *ret = reader_of(raw);
    return e;
}

static enum err name_match(struct block_segment *s, const struct seg_match *m, uint8_t *mask)
{
    uint32_t groups = s->b->index.group_count, rows = block_pages_rows(s, SEG_SPAN), count = 0;
    uint8_t *table = NULL;
    struct reader r;
    enum err e = ERR_OK;
    if (m->text != NULL) {
        uint32_t number = 0;
        e = block_dict_find(s->b, &s->user, BLOCK_DICT_SPAN_NAMES, groups, s->group, *m->text,
                            &number);
        if (e != ERR_OK || number == BLOCK_NONE)
            return e;
        e = fixed_page(s, BLOCK_NAME, &r);
        struct page_scan_interval it = {number, number, false};
        return e == ERR_OK ? page_scan_range(&r, rows, it, mask) : e;
    }
    if (m->is_match == NULL)
        return ERR_OK;
    e = texts_table(s, BLOCK_DICT_SPAN_NAMES, groups, s->group, m, SEG_STR, &table, &count);
    if (e != ERR_OK || table == NULL)
        return e;
    e = fixed_page(s, BLOCK_NAME, &r);
    return e == ERR_OK ? scan_table(&r, rows, table, count, mask) : e;
}

static enum err duration_match(struct block_segment *s, const struct seg_match *m, uint8_t *mask)
{
    struct reader r;
    if (!m->ints.is_possible)
        return ERR_OK;
    enum err e = fixed_page(s, BLOCK_DURATION, &r);
    return e == ERR_OK ? page_scan_range(&r, block_pages_rows(s, SEG_SPAN),
                                         interval_of(&m->ints, false), mask)
                       : e;
}

static enum err number_match(struct block_segment *s, enum block_stream stream,
                             const uint8_t *table, uint32_t entries, uint8_t *mask)
{
    struct reader r;
    if (!is_any(table, entries))
        return ERR_OK;
    enum err e = fixed_page(s, stream, &r);
    return e == ERR_OK ? scan_table(&r, block_pages_rows(s, SEG_SPAN), table, entries, mask) : e;
}

enum err block_match_fixed(struct segment *segment, uint32_t which, const struct seg_match *m,
                           uint8_t *mask, bool *ret_any)
{
    struct block_segment *s = block_pages_mine(segment);
    enum err e = ERR_NOT_FOUND;
    switch (which) {
    case SEG_F_NAME: e = name_match(s, m, mask); break;
    case SEG_F_DURATION: e = duration_match(s, m, mask); break;
    case SEG_F_KIND: e = number_match(s, BLOCK_KIND, m->table, UINT8_MAX + 1, mask); break;
    case SEG_F_STATUS: e = number_match(s, BLOCK_STATUS, m->table, UINT8_MAX + 1, mask); break;
    case SEG_F_RESOURCE:
        e = number_match(s, BLOCK_RESOURCE, m->table, block_pages_rows(s, SEG_RESOURCE), mask);
        break;
    case SEG_F_SCOPE:
        e = number_match(s, BLOCK_SCOPE, m->table, block_pages_rows(s, SEG_SCOPE), mask);
        break;
    default: break;
    }
    arena_reset(&s->tmp);
    if (e == ERR_OK)
        *ret_any = is_any(mask, block_pages_rows(s, SEG_SPAN));
    return e;
}
