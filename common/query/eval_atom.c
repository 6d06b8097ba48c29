#include "common/query/eval.h"

#include <assert.h>

/* Which dictionary entries match; *ret_any is false when none does (then no row needs to be looked at). */
static uint8_t *text_table(struct eval *e, const struct eval_pred *p, const struct slice *text,
                           uint32_t count, bool *ret_any)
{
    uint8_t *table = ARENA_ARRAY(e->a, uint8_t, count);

    *ret_any = false;
    if (table == NULL)
        return NULL;
    bool is_plain_eq = p->op == QL_EQ && p->value.type == VALUE_STRING;
    for (uint32_t i = 0; i < count; i++) {
        table[i] = is_plain_eq ? slice_eq(text[i], p->value.s)
                               : eval_value_matches(p, value_string(text[i]));
        *ret_any |= table[i] != 0;
    }
    return table;
}

static uint8_t *any_table(struct eval *e, const struct eval_pred *p, const struct value *values,
                          uint32_t count, bool *ret_any)
{
    uint8_t *table = ARENA_ARRAY(e->a, uint8_t, count);

    *ret_any = false;
    for (uint32_t i = 0; table != NULL && i < count; i++) {
        if (values[i].type == VALUE_NIL)
            continue;
        table[i] = p == NULL || eval_value_matches(p, values[i]);
        *ret_any |= table[i] != 0;
    }
    return table;
}

#define EACH_ROW(test)               \
    for (uint32_t i = 0; i < n; i++) \
    mask[rows[i]] |= (uint8_t)(test)

#define BY_OP(op, x, y)                      \
    switch ((int)(op)) {                     \
    case QL_EQ: EACH_ROW((x) == (y)); break; \
    case QL_NE: EACH_ROW((x) != (y)); break; \
    case QL_LT: EACH_ROW((x) < (y)); break;  \
    case QL_LE: EACH_ROW((x) <= (y)); break; \
    case QL_GT: EACH_ROW((x) > (y)); break;  \
    case QL_GE: EACH_ROW((x) >= (y)); break; \
    default: break;                          \
    }

static void mark_ints(const struct seg_column *c, const struct eval_pred *p, uint8_t *mask)
{
    const uint32_t *rows = c->rows, n = c->count;
    const int64_t *v = c->ints, lit = p->value.i;

    BY_OP(p->op, v[i], lit)
}

static void mark_doubles(const struct seg_column *c, const struct eval_pred *p, uint8_t *mask)
{
    const uint32_t *rows = c->rows, n = c->count;
    const double *v = c->doubles, lit = p->value.f;

    BY_OP(p->op, v[i], lit)
}

static void mark_bools(const struct seg_column *c, const struct eval_pred *p, uint8_t *mask)
{
    uint8_t wanted = p->value.i != 0;

    if (p->op != QL_EQ && p->op != QL_NE)
        return;
    if (p->op == QL_NE)
        wanted = !wanted;
    for (uint32_t i = 0; i < c->count; i++)
        mask[c->rows[i]] |= (c->bools[i] != 0) == wanted;
}

static void mark_codes(const struct seg_column *c, const uint8_t *table, uint8_t *mask)
{
    for (uint32_t i = 0; i < c->count; i++)
        mask[c->rows[i]] |= table[c->codes[i]];
}

/* Marks the rows of one column that match; the mask is made when the first may be marked. */
static enum err column_compare(struct eval *e, struct eval_source *src, uint32_t k,
                               const struct eval_pred *p, uint8_t **mask)
{
    const struct seg_column *c = &src->columns[k];
    const uint8_t *table = NULL;
    bool is_some = true;

    if (c->type == SEG_STR)
        table = text_table(e, p, c->values, c->value_count, &is_some);
    else if (c->type == SEG_ANY)
        table = any_table(e, p, src->decoded[k], c->value_count, &is_some);
    else
        is_some = p->value.type == (c->type == SEG_INT      ? VALUE_INT
                                    : c->type == SEG_DOUBLE ? VALUE_FLOAT
                                                            : VALUE_BOOL);
    if (arena_err(e->a) != ERR_OK)
        return arena_err(e->a);
    if (!is_some)
        return ERR_OK;
    enum err err = *mask == NULL ? eval_mask_get(e, src->table, mask) : ERR_OK;
    if (err != ERR_OK)
        return err;
    if (table != NULL)
        mark_codes(c, table, *mask);
    else if (c->type == SEG_INT)
        mark_ints(c, p, *mask);
    else if (c->type == SEG_DOUBLE)
        mark_doubles(c, p, *mask);
    else
        mark_bools(c, p, *mask);
    return ERR_OK;
}

/* Rows that have no string match the predicate through the default "". */
static enum err mark_default(struct eval *e, struct eval_source *src, uint8_t **mask)
{
    uint8_t *has = NULL;
    enum err err = eval_mask_get(e, src->table, &has);

    if (err == ERR_OK && *mask == NULL)
        err = eval_mask_get(e, src->table, mask);
    if (err != ERR_OK)
        return err;
    for (uint32_t k = 0; k < src->column_count; k++) {
        const struct seg_column *c = &src->columns[k];
        for (uint32_t i = 0; c->type == SEG_STR && i < c->count; i++)
            has[c->rows[i]] = 1;
        for (uint32_t i = 0; c->type == SEG_ANY && i < c->count; i++)
            has[c->rows[i]] |= src->decoded[k][c->codes[i]].type == VALUE_STRING;
    }
    for (uint32_t r = 0; r < src->rows; r++)
        (*mask)[r] |= has[r] ^ 1;
    eval_mask_put(e, src->table, has);
    return ERR_OK;
}

static enum err columns_compare(struct eval *e, struct eval_source *src, const struct eval_pred *p,
                                uint8_t **ret)
{
    uint8_t *mask = NULL;
    enum err err = ERR_OK;

    for (uint32_t k = 0; err == ERR_OK && k < src->column_count; k++)
        err = column_compare(e, src, k, p, &mask);
    if (err == ERR_OK && src->has_default && eval_value_matches(p, value_string(SLICE_LIT(""))))
        err = mark_default(e, src, &mask);
    if (err == ERR_OK)
        *ret = mask;
    return err;
}

static void mark_i64(const struct eval_source *src, const struct eval_pred *p, uint8_t *mask)
{
    const int64_t *v = src->i64;
    uint32_t n = src->rows;

#undef EACH_ROW
#define EACH_ROW(test)               \
    for (uint32_t i = 0; i < n; i++) \
    mask[i] = (uint8_t)(test)
    if (p->value.type == VALUE_FLOAT) {
        const double lit = p->value.f;
        BY_OP(p->op, (double)v[i], lit)
    } else {
        const int64_t lit = p->value.i;
        BY_OP(p->op, v[i], lit)
    }
}

/* Status and kind: mostly one value is meant, or all but one. */
static void mark_u8(const struct eval_source *src, const struct eval_pred *p, uint8_t *mask)
{
    uint8_t table[256], one = 0;
    uint32_t ones = 0;

    for (int i = 0; i < 256; i++) {
        table[i] = eval_value_matches(p, (struct value){.type = src->type, .i = i});
        one = table[i] != 0 ? (uint8_t)i : one;
        ones += table[i];
    }
    if (ones == 1)
        for (uint32_t r = 0; r < src->rows; r++)
            mask[r] = src->u8[r] == one;
    else
        for (uint32_t r = 0; r < src->rows; r++)
            mask[r] = table[src->u8[r]];
}

static enum err mark_dense(struct eval *e, struct eval_source *src, const struct eval_pred *p,
                           uint8_t *mask)
{
    if (src->kind == EVAL_I64) {
        mark_i64(src, p, mask);
        return ERR_OK;
    }
    if (src->kind == EVAL_U8) {
        mark_u8(src, p, mask);
        return ERR_OK;
    }
    assert(src->kind == EVAL_CODES);
    bool is_some;
    const uint8_t *table = text_table(e, p, src->text, src->text_count, &is_some);
    if (table == NULL)
        return arena_err(e->a);
    for (uint32_t r = 0; is_some && r < src->rows; r++)
        mask[r] = table[src->codes[r]];
    return ERR_OK;
}

/* Ids as text, one a row: an id that is whole and in lower case is compared as a number. */
static void mark_texts(struct eval *e, struct eval_source *src, const struct eval_pred *p,
                       uint8_t *mask)
{
    struct span_id id;
    bool is_id = src->kind == EVAL_SPAN_ID && (p->op == QL_EQ || p->op == QL_NE) &&
                 p->value.type == VALUE_STRING && p->value.s.len == SPAN_ID_HEX &&
                 hex_decode(p->value.s, id.b, sizeof id.b) == ERR_OK;
    for (size_t i = 0; is_id && i < p->value.s.len; i++)
        is_id = p->value.s.ptr[i] < 'A' || p->value.s.ptr[i] > 'F';
    if (is_id) {
        uint64_t wanted;
        memcpy(&wanted, &id, sizeof wanted);
        for (uint32_t r = 0; r < src->rows; r++)
            mask[r] = (src->span_ids[r] == wanted) == (p->op == QL_EQ);
        return;
    }
    for (uint32_t r = 0; r < src->rows; r++)
        mask[r] = eval_value_matches(p, eval_value_first(e, src, r));
}

enum err eval_atom_compare(struct eval *e, struct eval_source *src, const struct eval_pred *p,
                           uint8_t **ret)
{
    uint8_t *mask = NULL;

    if (src->kind == EVAL_COLUMNS)
        return columns_compare(e, src, p, ret);
    bool is_number_lit = p->value.type == VALUE_INT || p->value.type == VALUE_FLOAT ||
                         p->value.type == VALUE_DURATION;
    if (src->kind == EVAL_I64 && !is_number_lit) {
        *ret = NULL;
        return ERR_OK;
    }
    enum err err = eval_mask_get(e, src->table, &mask);
    if (err != ERR_OK)
        return err;
    if (src->kind == EVAL_TEXTS || src->kind == EVAL_SPAN_ID || src->kind == EVAL_TRACE_ID)
        mark_texts(e, src, p, mask);
    else
        err = mark_dense(e, src, p, mask);
    if (err == ERR_OK)
        *ret = mask;
    return err;
}

enum err eval_atom_exists(struct eval *e, struct eval_source *src, bool is_key, uint8_t **ret)
{
    uint8_t *mask = NULL;
    bool is_always = src->kind != EVAL_COLUMNS || src->has_default;

    if (!is_always && src->column_count == 0) {
        *ret = NULL;
        return ERR_OK;
    }
    enum err err = eval_mask_get(e, src->table, &mask);
    if (err != ERR_OK)
        return err;
    if (is_always)
        memset(mask, 1, src->rows);
    for (uint32_t k = 0; !is_always && k < src->column_count; k++) {
        const struct seg_column *c = &src->columns[k];
        bool is_any = c->type == SEG_ANY && !is_key;
        for (uint32_t i = 0; !is_any && i < c->count; i++)
            mask[c->rows[i]] = 1;
        if (!is_any)
            continue;
        bool is_some;
        const uint8_t *table = any_table(e, NULL, src->decoded[k], c->value_count, &is_some);
        if (table == NULL)
            return arena_err(e->a);
        mark_codes(c, table, mask);
    }
    *ret = mask;
    return ERR_OK;
}
