/* Columns of a row group: attributes and rare fields. */
#include "common/base/hash.h"
#include "common/store/block_dict.h"
#include "common/store/block_filter.h"
#include "common/store/block_pages.h"
#include "common/store/block_text.h"
#include "common/store/page.h"
#include "common/store/page_scan.h"

#include <assert.h>
#include <string.h>

/* --- columns --- */

enum err block_values_shapes(struct block_segment *s, enum seg_table table)
{
    uint32_t count = s->b->index.shape_count[table];
    if (s->shape_of[table] != NULL)
        return ERR_OK;
    return block_pages_u32(s, (enum block_stream)(BLOCK_SHAPE_SPAN + (int)table),
                           block_pages_rows(s, table), count, &s->shape_of[table]);
}

enum err block_values_times(struct block_segment *s, enum seg_table table, uint32_t column,
                            uint32_t **ret, uint32_t *ret_most)
{
    const struct block_index *x = &s->b->index;
    uint32_t *times = ARENA_ARRAY(&s->tmp, uint32_t, x->shape_count[table]), most = 0;
    if (times == NULL)
        return arena_err(&s->tmp);
    for (uint32_t i = 0; i < x->shape_count[table]; i++) {
        for (uint32_t k = 0; k < x->shapes[table][i].count; k++)
            times[i] += x->shapes[table][i].columns[k] == column;
        most = times[i] > most ? times[i] : most;
    }
    *ret = times;
    *ret_most = most;
    return ERR_OK;
}

/* The rows that have a column, each as often as it has it: told by the shapes. */
static enum err column_rows(struct block_segment *s, enum seg_table table, uint32_t column,
                            struct seg_column *ret)
{
    enum err e = block_values_shapes(s, table);
    uint32_t *times = NULL, at = 0, most = 0, n = block_pages_rows(s, table);
    uint64_t count = 0;
    if (e == ERR_OK)
        e = block_values_times(s, table, column, &times, &most);
    if (e != ERR_OK)
        return e;
    const uint32_t *shape_of = s->shape_of[table];
    for (uint32_t row = 0; row < n; row++)
        count += times[shape_of[row]];
    uint32_t *rows =
        count >= UINT32_MAX ? NULL : arena_alloc(&s->arena, (count + 1) * sizeof *rows);
    if (rows == NULL)
        return count >= UINT32_MAX ? ERR_CORRUPT : block_pages_no_room(s);
    if (most <= 1) { /* nothing to guess: a row that has none is overwritten by the next */
        for (uint32_t row = 0; row < n; row++) {
            rows[at] = row;
            at += times[shape_of[row]];
        }
    } else {
        for (uint32_t row = 0; row < n; row++)
            for (uint32_t k = times[shape_of[row]]; k > 0; k--)
                rows[at++] = row;
    }
    arena_reset(&s->tmp);
    ret->rows = rows;
    ret->count = (uint32_t)count;
    return ERR_OK;
}

static enum err get_ints(struct block_segment *s, struct slice raw, struct seg_column *c)
{
    struct reader r = reader_of(raw);
    int64_t *to = arena_alloc(&s->arena, (size_t)c->count * sizeof *to);
    if (to == NULL)
        return block_pages_no_room(s);
    uint8_t has_sign = reader_u8(&r);
    enum err e = reader_failed(&r) || has_sign > 1 ? ERR_CORRUPT
                                                   : page_get_ints(&r, c->count, (uint64_t *)to);
    for (uint32_t i = 0; e == ERR_OK && has_sign && i < c->count; i++)
        to[i] = page_to_signed((uint64_t)to[i]);
    c->ints = to;
    return e;
}

static enum err get_doubles(struct block_segment *s, struct slice raw, struct seg_column *c)
{
    struct reader r = reader_of(raw);
    double *to = arena_alloc(&s->arena, (size_t)c->count * sizeof *to);
    if (to == NULL)
        return block_pages_no_room(s);
    c->doubles = to;
    return page_get_doubles(&r, c->count, to);
}

static enum err get_bools(struct block_segment *s, struct slice raw, struct seg_column *c)
{
    struct reader r = reader_of(raw);
    uint8_t *to = arena_alloc(&s->arena, c->count);
    if (to == NULL)
        return block_pages_no_room(s);
    enum err e = page_scan_u8(&r, c->count, to);
    for (uint32_t i = 0; e == ERR_OK && i < c->count; i++)
        to[i] = to[i] != 0;
    c->bools = to;
    return e;
}

static enum err get_codes(struct block_segment *s, const struct block_column *from, uint32_t part,
                          struct slice raw, struct seg_column *c)
{
    struct reader r = reader_of(raw);
    uint32_t *to = arena_alloc(&s->arena, (size_t)c->count * sizeof *to);
    if (to == NULL)
        return block_pages_no_room(s);
    enum err e = block_dict_listed(s->b, &s->user, from->dict,
                                   block_parts(&s->b->index, (enum seg_table)from->table), part,
                                   &s->arena, &c->values, &c->value_count);
    if (e == ERR_OK)
        e = page_scan_u32(&r, c->count, c->value_count, to);
    c->codes = to;
    c->is_unique_text = true;
    return e;
}

static enum err get_plain(struct block_segment *s, const struct block_ref *ref,
                          struct seg_column *c)
{
    uint32_t *to = arena_alloc(&s->arena, (size_t)c->count * sizeof *to);
    struct slice *texts;
    if (to == NULL)
        return block_pages_no_room(s);
    for (uint32_t i = 0; i < c->count; i++)
        to[i] = i;
    enum err e = block_text_get(s, ref, c->count, &texts);
    c->codes = to;
    c->values = texts;
    c->value_count = c->count;
    return e;
}

static uint8_t page_kind(const struct block_column *c)
{
    switch ((enum seg_type)c->type) {
    case SEG_INT: return BLOCK_PAGE_INTS;
    case SEG_DOUBLE: return BLOCK_PAGE_DOUBLES;
    case SEG_BOOL: return BLOCK_PAGE_BOOLS;
    case SEG_STR:
    case SEG_ANY: return BLOCK_PAGE_CODES;
    case SEG_TYPE_COUNT: break;
    }
    return 0;
}

static enum err column_load(struct block_segment *s, const struct block_column *from, uint32_t part,
                            struct seg_column *ret)
{
    struct seg_column c = {.type = (enum seg_type)from->type};
    enum seg_table table = (enum seg_table)from->table;
    struct slice raw = SLICE_NONE;
    if (from->pages[part].bytes == 0) {
        *ret = c;
        return ERR_OK;
    }
    enum err e = column_rows(s, table, (uint32_t)(from - s->b->index.columns[table]), &c);
    bool is_plain = from->form == BLOCK_FORM_PLAIN;
    if (e == ERR_OK && !is_plain)
        e = block_pages_one(s, &from->pages[part], page_kind(from), c.count, &raw);
    if (e != ERR_OK)
        return e;
    if (c.type == SEG_INT)
        e = get_ints(s, raw, &c);
    else if (c.type == SEG_DOUBLE)
        e = get_doubles(s, raw, &c);
    else if (c.type == SEG_BOOL)
        e = get_bools(s, raw, &c);
    else
        e = is_plain ? get_plain(s, &from->pages[part], &c) : get_codes(s, from, part, raw, &c);
    if (e == ERR_OK)
        *ret = c;
    return e;
}

enum err block_values_column(struct block_segment *s, enum seg_table table, uint32_t column,
                             const struct seg_column **ret)
{
    const struct block_index *x = &s->b->index;
    if (s->memo[table] == NULL)
        s->memo[table] = ARENA_ARRAY(&s->arena, struct column_memo, x->column_count[table]);
    if (s->memo[table] == NULL)
        return block_pages_no_room(s);
    struct column_memo *m = &s->memo[table][column];
    if (!m->is_known) {
        enum err e = column_load(s, &x->columns[table][column],
                                 block_is_shared(table) ? 0 : s->group, &m->column);
        arena_reset(&s->tmp);
        if (e != ERR_OK)
            return e;
        m->is_known = true;
    }
    *ret = &m->column;
    return ERR_OK;
}

/* --- the rows of one text --- */

/* Of the values of a column, those that `is_it` says are the text. */
static enum err keep_rows(struct block_segment *s, struct seg_column *c, struct slice text,
                          const uint8_t *is_it)
{
    uint32_t n = 0, *rows = NULL;
    for (uint32_t i = 0; i < c->count; i++)
        n += is_it[i];
    rows = arena_alloc(&s->arena, ((size_t)n + 1) * sizeof *rows);
    struct slice *value = ARENA_NEW(&s->arena, struct slice);
    uint32_t *codes = ARENA_ARRAY(&s->arena, uint32_t, n);
    if (rows == NULL || value == NULL || codes == NULL)
        return block_pages_no_room(s);
    *value = arena_dup(&s->arena, text);
    for (uint32_t i = 0, to = 0; i < c->count; i++) { /* no branch to guess */
        rows[to] = c->rows[i];
        to += is_it[i];
    }
    *c = (struct seg_column){.type = SEG_STR,
                             .count = n,
                             .rows = rows,
                             .codes = codes,
                             .values = value,
                             .value_count = 1,
                             .is_unique_text = true};
    return arena_err(&s->arena);
}

static enum err coded_equal(struct block_segment *s, const struct block_column *from, uint32_t part,
                            struct slice text, struct seg_column *c, uint8_t *is_it)
{
    struct slice raw = SLICE_NONE;
    uint32_t number;
    enum err e = block_dict_find(s->b, &s->user, from->dict,
                                 block_parts(&s->b->index, (enum seg_table)from->table), part, text,
                                 &number);
    if (e == ERR_OK)
        e = block_pages_one(s, &from->pages[part], BLOCK_PAGE_CODES, c->count, &raw);
    uint32_t *values = e == ERR_OK ? arena_alloc(&s->tmp, (size_t)c->count * sizeof *values) : NULL;
    if (values == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
    struct reader r = reader_of(raw);
    e = page_scan_u32(&r, c->count, (uint64_t)UINT32_MAX + 1, values);
    for (uint32_t i = 0; e == ERR_OK && i < c->count; i++)
        is_it[i] = values[i] == number;
    return e;
}

/* Without reading the values where the dictionary or the filter can tell that none is it: ret->count is 0 then. */
static enum err column_equal(struct block_segment *s, enum seg_table table, uint32_t column,
                             struct slice text, struct seg_column *ret)
{
    const struct block_column *from = &s->b->index.columns[table][column];
    uint32_t part = block_is_shared(table) ? 0 : s->group, number;
    bool may_have = true;
    enum err e;
    *ret = (struct seg_column){.type = SEG_STR};
    if (from->form == BLOCK_FORM_PLAIN) {
        e = block_filter_may_have(s->b, &s->user, from, part, text, &may_have);
    } else {
        e = block_dict_find(s->b, &s->user, from->dict, block_parts(&s->b->index, table), part,
                            text, &number);
        may_have = e != ERR_OK || number != BLOCK_NONE;
    }
    if (e != ERR_OK || !may_have)
        return e;
    e = column_rows(s, table, column, ret);
    uint8_t *is_it = e == ERR_OK ? arena_alloc(&s->tmp, ret->count) : NULL;
    if (is_it == NULL)
        return e == ERR_OK ? block_pages_no_room(s) : e;
    e = from->form == BLOCK_FORM_PLAIN
            ? block_text_equal(s, &from->pages[part], ret->count, text, is_it)
            : coded_equal(s, from, part, text, ret, is_it);
    if (e == ERR_OK)
        e = keep_rows(s, ret, text, is_it);
    return e;
}

static bool column_is_here(const struct block_segment *s, const struct block_column *c)
{
    return c->pages[block_is_shared((enum seg_table)c->table) ? 0 : s->group].bytes != 0;
}

enum err block_values_attribute(struct segment *segment, enum seg_table table, struct slice key,
                                const struct seg_column **ret, uint32_t *ret_count)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct block_index *x = &s->b->index;
    struct seg_column *columns = ARENA_ARRAY(&s->arena, struct seg_column, SEG_TYPE_COUNT);
    uint32_t count = 0;
    if (columns == NULL)
        return block_pages_no_room(s);
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        const struct seg_column *column;
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || !column_is_here(s, c) || !slice_eq(c->key, key))
            continue;
        if (count == SEG_TYPE_COUNT)
            return ERR_CORRUPT;
        enum err e = block_values_column(s, table, i, &column);
        if (e != ERR_OK)
            return e;
        uint32_t at = count++;
        for (; at > 0 && columns[at - 1].type > column->type; at--)
            columns[at] = columns[at - 1];
        columns[at] = *column;
    }
    *ret = columns;
    *ret_count = count;
    return ERR_OK;
}

enum err block_values_equal(struct segment *segment, enum seg_table table, struct slice key,
                            struct slice text, const struct seg_column **ret, uint32_t *ret_count)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct block_index *x = &s->b->index;
    struct seg_column *columns = ARENA_ARRAY(&s->arena, struct seg_column, SEG_TYPE_COUNT);
    uint32_t count = 0;
    if (columns == NULL)
        return block_pages_no_room(s);
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        const struct seg_column *whole;
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || !column_is_here(s, c) || !slice_eq(c->key, key) ||
            (c->type != SEG_STR && c->type != SEG_ANY))
            continue;
        if (count == 2)
            return ERR_CORRUPT;
        enum err e = ERR_OK;
        struct seg_column found;
        if (c->type == SEG_STR) {
            e = column_equal(s, table, i, text, &found);
            arena_reset(&s->tmp);
        } else {
            e = block_values_column(s, table, i, &whole);
            if (e == ERR_OK)
                found = *whole;
        }
        if (e != ERR_OK)
            return e;
        if (found.count == 0)
            continue;
        if (count != 0 && c->type == SEG_STR) /* texts first */
            columns[1] = columns[0];
        columns[c->type == SEG_STR ? 0 : count] = found;
        count++;
    }
    *ret = columns;
    *ret_count = count;
    return ERR_OK;
}

enum err block_values_texts(struct segment *segment, enum seg_table table, struct slice key,
                            struct arena *a, const struct slice **ret, uint32_t *ret_count)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct block_index *x = &s->b->index;
    const struct block_column *found = NULL;
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || !column_is_here(s, c) || !slice_eq(c->key, key))
            continue;
        if (found != NULL || c->type != SEG_STR || c->form != BLOCK_FORM_DICT)
            return ERR_NOT_FOUND;
        found = c;
    }
    *ret = NULL;
    *ret_count = 0;
    if (found == NULL)
        return ERR_OK;
    return block_dict_listed(s->b, &s->user, found->dict, block_parts(x, table),
                             block_is_shared(table) ? 0 : s->group, a, ret, ret_count);
}

enum err block_values_range(struct segment *segment, enum seg_table table, struct slice key,
                            int64_t *ret_min, int64_t *ret_max)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct block_index *x = &s->b->index;
    const struct block_column *found = NULL;
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || !column_is_here(s, c) || !slice_eq(c->key, key))
            continue;
        if (found != NULL || c->type != SEG_INT)
            return ERR_NOT_FOUND;
        found = c;
    }
    if (found == NULL || found->zones == NULL)
        return ERR_NOT_FOUND;
    const struct block_zone *zone = &found->zones[block_is_shared(table) ? 0 : s->group];
    *ret_min = zone->min;
    *ret_max = zone->max;
    return ERR_OK;
}

enum err block_values_field(struct segment *segment, enum seg_table table, enum seg_field field,
                            const struct seg_column **ret, uint32_t *ret_count)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct block_index *x = &s->b->index;
    *ret = NULL;
    *ret_count = 0;
    for (uint32_t i = 0; i < x->column_count[table]; i++) {
        const struct block_column *c = &x->columns[table][i];
        if (c->field != field || !column_is_here(s, c))
            continue;
        *ret_count = 1;
        return block_values_column(s, table, i, ret);
    }
    return ERR_OK;
}

enum err block_values_keys(struct segment *segment, enum seg_table table, struct arena *a,
                           struct seg_key **ret, uint32_t *ret_count)
{
    struct block_segment *s = block_pages_mine(segment);
    const struct block_index *x = &s->b->index;
    uint32_t n = x->column_count[table], count = 0, mask = 15;
    while (mask < n * 2)
        mask = mask * 2 + 1;
    struct seg_key *keys = ARENA_ARRAY(a, struct seg_key, n);
    uint32_t *slots = ARENA_ARRAY(a, uint32_t, (size_t)mask + 1);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    for (uint32_t i = 0; i < n; i++) {
        const struct block_column *c = &x->columns[table][i];
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || !column_is_here(s, c))
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
