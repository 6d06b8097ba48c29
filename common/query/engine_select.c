#include "common/query/engine_select.h"

#include "common/base/hash.h"
#include "common/query/engine_pipeline.h"

#include <assert.h>

enum { VALUES_FIRST = 64 };

static bool is_excluded(const struct trace_id *list, uint32_t count, struct trace_id id)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (trace_id_cmp(list[mid], id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < count && trace_id_eq(list[low], id);
}

static enum err leave_out(struct eval *e, const struct trace_id *exclude, uint32_t exclude_count,
                          uint8_t *mask)
{
    uint8_t *out = NULL;
    bool is_some = false;
    enum err err = eval_traces(e);

    if (err == ERR_OK)
        err = eval_mask_get(e, EVAL_TRACE, &out);
    if (err != ERR_OK)
        return err;
    for (uint32_t t = 0; t < e->rows[EVAL_TRACE]; t++) {
        out[t] = is_excluded(exclude, exclude_count, e->traces.id[t]);
        is_some |= out[t] != 0;
    }
    if (is_some)
        err = eval_fixed(e, SEG_F_TRACE);
    for (uint32_t r = 0; err == ERR_OK && is_some && r < e->rows[SEG_SPAN]; r++)
        mask[r] &= out[e->fixed.trace[r]] ^ 1;
    eval_mask_put(e, EVAL_TRACE, out);
    return err;
}

static enum err run_trace(struct eval *e, const struct engine_pipeline *p, struct arena *a,
                          uint32_t trace, uint8_t *mask)
{
    const uint32_t *rows = NULL;
    uint32_t count = 0;
    struct engine_spansets sets = {0};
    enum err err = engine_pipeline_rows(e, trace, a, &rows, &count);

    if (err == ERR_OK)
        err = engine_pipeline_run(e, p, a, rows, count, &sets);
    for (uint32_t i = 0; err == ERR_OK && i < sets.count; i++)
        for (uint32_t k = 0; k < sets.items[i].count; k++)
            mask[sets.items[i].rows[k]] = 1;
    return err;
}

/* Trace by trace: pipelines that are more than one filter. */
static enum err run_traces(struct eval *e, const struct engine_pipeline *p, uint8_t *mask)
{
    struct arena trace;
    uint8_t *candidates = NULL;
    enum err err = eval_fixed(e, SEG_F_TRACE);

    if (err == ERR_OK)
        err = eval_mask_get(e, EVAL_TRACE, &candidates);
    if (err != ERR_OK)
        return err;
    if (!engine_pipeline_candidates(e, p, candidates))
        memset(candidates, 1, e->rows[EVAL_TRACE]);
    arena_init(&trace, e->a->budget);
    for (uint32_t t = 0; err == ERR_OK && t < e->rows[EVAL_TRACE]; t++) {
        if (candidates[t] == 0)
            continue;
        if (e->cancel != NULL && atomic_load_explicit(e->cancel, memory_order_relaxed))
            err = ERR_CANCELED;
        else
            err = run_trace(e, p, &trace, t, mask);
        arena_reset(&trace);
    }
    arena_release(&trace);
    eval_mask_put(e, EVAL_TRACE, candidates);
    return err;
}

static enum err select_mask(struct eval *e, const struct ql_pipeline *p, uint8_t **ret)
{
    struct engine_pipeline *bound = NULL;
    const uint8_t *filter = NULL;
    enum err err = p == NULL ? ERR_OK : engine_pipeline_bind(e, p, &bound);

    *ret = NULL;
    if (err != ERR_OK || (bound != NULL && engine_pipeline_is_empty(bound)))
        return err;
    err = eval_mask_get(e, SEG_SPAN, ret);
    if (err != ERR_OK)
        return err;
    if (bound == NULL)
        memset(*ret, 1, e->rows[SEG_SPAN]);
    else if (!engine_pipeline_is_filter(bound, &filter))
        err = run_traces(e, bound, *ret);
    else if (filter != NULL)
        memcpy(*ret, filter, e->rows[SEG_SPAN]);
    return err;
}

enum err engine_select(struct eval *e, const struct ql_pipeline *p, const struct trace_id *exclude,
                       uint32_t exclude_count, struct engine_selection *ret)
{
    struct engine_selection out = {0};
    uint8_t *mask = NULL;
    enum err err = select_mask(e, p, &mask);

    assert(exclude_count == 0 || exclude != NULL);
    if (err == ERR_OK && mask != NULL && exclude_count != 0)
        err = leave_out(e, exclude, exclude_count, mask);
    if (err != ERR_OK)
        return err;
    for (uint32_t r = 0; mask != NULL && r < e->rows[SEG_SPAN]; r++)
        out.count += mask[r];
    if (out.count == 0)
        eval_mask_put(e, SEG_SPAN, mask);
    else
        out.mask = mask;
    *ret = out;
    return ERR_OK;
}

/* --- keys --- */

/* Distinct values and their numbers; number 0 is nil. */
struct table {
    struct arena *a;
    struct value *values;
    uint32_t *slots; /* [mask + 1] number, 0: free */
    uint32_t count, cap, mask;
};

static enum err table_init(struct table *t, struct arena *a, uint32_t room)
{
    *t = (struct table){.a = a, .cap = room < VALUES_FIRST ? VALUES_FIRST : room, .count = 1};
    t->values = ARENA_ARRAY(a, struct value, t->cap);
    return arena_err(a);
}

/* Values that are known to differ, or may stand twice: not looked up.  Gives the number of the first; 0 when memory is out. */
static uint32_t table_extend(struct table *t, uint32_t count)
{
    uint32_t first = t->count;

    if (t->cap - t->count < count) {
        uint64_t cap = ((uint64_t)t->cap + count) * 2;
        struct value *more = cap > UINT32_MAX ? NULL : ARENA_ARRAY(t->a, struct value, (size_t)cap);
        if (more == NULL)
            return 0;
        memcpy(more, t->values, sizeof more[0] * t->count);
        t->values = more;
        t->cap = (uint32_t)cap;
    }
    t->count += count;
    return first;
}

static uint64_t value_hash(struct value v)
{
    uint64_t h = (uint64_t)v.type;

    if (v.type == VALUE_STRING)
        return hash_seeded(v.s);
    if (value_is_array(v)) {
        for (uint32_t i = 0; i < v.array.count; i++)
            h = h * 31 + value_hash(v.array.items[i]);
        return h;
    }
    if (v.type == VALUE_FLOAT && (v.f != v.f || v.f == 0.0))
        return h; /* all NaN are one, and so are the zeros */
    return (h << 60 ^ (uint64_t)v.i) * 0x9e3779b97f4a7c15u >> 16;
}

static bool table_grow(struct table *t)
{
    uint32_t mask = t->mask == 0 ? 2 * VALUES_FIRST - 1 : t->mask * 2 + 1;
    uint32_t *slots = ARENA_ARRAY(t->a, uint32_t, (size_t)mask + 1);

    if (slots == NULL)
        return false;
    for (uint32_t i = 0; t->slots != NULL && i <= t->mask; i++) {
        if (t->slots[i] == 0)
            continue;
        uint64_t at = value_hash(t->values[t->slots[i]]);
        while (slots[at & mask] != 0)
            at++;
        slots[at & mask] = t->slots[i];
    }
    t->slots = slots;
    t->mask = mask;
    return true;
}

/* The number of a value; 0 for nil, and when memory is out (the arena tells). */
static uint32_t table_number(struct table *t, struct value v)
{
    if (v.type == VALUE_NIL || (t->count * 2 >= t->mask && !table_grow(t)))
        return 0;
    uint64_t at = value_hash(v);
    while (t->slots[at & t->mask] != 0) {
        uint32_t number = t->slots[at & t->mask];
        if (eval_value_equal(t->values[number], v))
            return number;
        at++;
    }
    uint32_t number = table_extend(t, 1);
    if (number == 0)
        return 0;
    if (v.type == VALUE_STRING)
        v.s = arena_dup(t->a, v.s); /* ids are text in passing */
    t->values[number] = v;
    t->slots[at & t->mask] = number;
    return number;
}

/* Backwards, so that the first value of a row is what stands. */
static void column_texts(struct table *t, const struct seg_column *c, const struct value *decoded,
                         uint32_t *codes)
{
    uint32_t first = table_extend(t, c->value_count);

    for (uint32_t i = 0; first != 0 && i < c->value_count; i++)
        t->values[first + i] = decoded != NULL ? decoded[i] : value_string(c->values[i]);
    for (uint32_t i = first == 0 ? 0 : c->count; i-- > 0;)
        if (decoded == NULL || decoded[c->codes[i]].type != VALUE_NIL)
            codes[c->rows[i]] = first + c->codes[i];
}

static void column_numbers(struct table *t, const struct seg_column *c, uint32_t *codes)
{
    uint32_t last = 0;
    int64_t last_int = 0;

    for (uint32_t i = c->count; i-- > 0;) {
        if (c->type == SEG_INT) { /* the same again, mostly */
            if (last == 0 || c->ints[i] != last_int)
                last = table_number(t, value_int(c->ints[i]));
            last_int = c->ints[i];
        } else if (c->type == SEG_DOUBLE) {
            last = table_number(t, value_float(c->doubles[i]));
        } else {
            last = table_number(t, value_bool(c->bools[i] != 0));
        }
        codes[c->rows[i]] = last;
    }
}

static void source_columns(struct table *t, struct eval_source *src, uint32_t *codes)
{
    for (uint32_t k = src->column_count; k-- > 0;) {
        const struct seg_column *c = &src->columns[k];
        if (c->type == SEG_STR || c->type == SEG_ANY)
            column_texts(t, c, c->type == SEG_ANY ? src->decoded[k] : NULL, codes);
        else
            column_numbers(t, c, codes);
    }
    if (!src->has_default)
        return;
    uint32_t empty = table_number(t, value_string(SLICE_LIT("")));
    for (uint32_t r = 0; r < src->rows; r++)
        codes[r] = codes[r] == 0 ? empty : codes[r];
}

/* The numbers of a source's values, over the rows of its own table. */
static enum err source_codes(struct eval *e, struct table *t, struct eval_source *src,
                             uint32_t **ret)
{
    uint32_t *codes = ARENA_ARRAY(e->a, uint32_t, src->rows), first;

    if (codes == NULL)
        return arena_err(e->a);
    *ret = codes;
    if (src->kind == EVAL_COLUMNS) {
        source_columns(t, src, codes);
        return arena_err(e->a);
    }
    if (src->kind == EVAL_CODES) {
        first = table_extend(t, src->text_count);
        for (uint32_t i = 0; first != 0 && i < src->text_count; i++)
            t->values[first + i] = value_string(src->text[i]);
        for (uint32_t r = 0; r < src->rows; r++)
            codes[r] = first + src->codes[r];
        return arena_err(e->a);
    }
    if (src->kind == EVAL_U8) {
        uint32_t numbers[256] = {0};
        for (uint32_t r = 0; r < src->rows; r++) {
            uint32_t *n = &numbers[src->u8[r]];
            if (*n == 0)
                *n = table_number(t, (struct value){.type = src->type, .i = src->u8[r]});
            codes[r] = *n;
        }
        return arena_err(e->a);
    }
    for (uint32_t r = 0; r < src->rows; r++)
        codes[r] = table_number(t, eval_value_first(e, src, r));
    return arena_err(e->a);
}

static const uint32_t *index_of(const struct eval *e, uint32_t table)
{
    switch (table) {
    case SEG_RESOURCE: return e->fixed.resource;
    case SEG_SCOPE: return e->fixed.scope;
    default: assert(table == EVAL_TRACE); return e->fixed.trace;
    }
}

static enum err span_codes(struct eval *e, struct table *t, struct eval_source *src, uint32_t **ret)
{
    uint32_t *own = NULL;
    enum err err = source_codes(e, t, src, &own);

    *ret = own;
    if (err != ERR_OK || src->table == SEG_SPAN)
        return err;
    const uint32_t *index = index_of(e, src->table);
    uint32_t *codes = arena_alloc(e->a, sizeof *codes * e->rows[SEG_SPAN]);
    if (codes == NULL)
        return arena_err(e->a);
    for (uint32_t r = 0; r < e->rows[SEG_SPAN]; r++)
        codes[r] = own[index[r]];
    *ret = codes;
    return ERR_OK;
}

static enum err bind(struct eval *e, const struct ql_attribute *at, struct eval_node **ret)
{
    const struct ql_expr x = {.kind = QL_EXPR_ATTRIBUTE, .attribute = *at};

    return eval_bind_value(e, &x, ret);
}

/* One attribute of spans, resources, scopes or traces: whole columns.  Others are looked up span by span. */
static bool is_dense(const struct eval_node *n)
{
    return n->kind == EVAL_ATTRIBUTE && n->deps == 0;
}

static enum err keys_dense(struct eval *e, struct table *t, const struct eval_node *n,
                           uint32_t **ret)
{
    uint32_t *other = NULL;
    enum err err = span_codes(e, t, n->sources[0], ret);

    if (err != ERR_OK || n->sources[1] == NULL)
        return err;
    err = span_codes(e, t, n->sources[1], &other);
    for (uint32_t r = 0; err == ERR_OK && r < e->rows[SEG_SPAN]; r++)
        (*ret)[r] = (*ret)[r] != 0 ? (*ret)[r] : other[r];
    return err;
}

/* --- keys that the segment knows as codes --- */

/* Numbers of the table in the place of the segment's; `empty` in the place of none. */
static enum err codes_numbered(struct eval *e, struct table *t, enum seg_table table,
                               const struct seg_codes *c, uint32_t empty, const uint32_t **ret)
{
    uint32_t first = table_extend(t, c->value_count), rows = e->rows[table];

    *ret = c->codes;
    for (uint32_t i = 0; first != 0 && i < c->value_count; i++)
        t->values[first + i] = value_string(c->values[i]);
    if (arena_err(e->a) != ERR_OK || (first == 1 && empty == 0))
        return arena_err(e->a);
    uint32_t *codes = arena_alloc(e->a, sizeof *codes * rows);
    for (uint32_t r = 0; codes != NULL && r < rows; r++)
        codes[r] = c->codes[r] == 0 ? empty : c->codes[r] + first - 1;
    *ret = codes;
    return arena_err(e->a);
}

/* ERR_NOT_FOUND: not by codes. */
static enum err scope_coded(struct eval *e, struct table *t, enum seg_table table, struct slice key,
                            const uint32_t **ret)
{
    struct seg_codes c;
    const uint32_t *own = NULL;
    uint32_t empty = 0;
    enum err err = segment_codes(e->s, table, key, &c);

    if (err == ERR_OK && table == SEG_RESOURCE && slice_eq(key, SLICE_LIT("service.name")))
        empty = table_number(t, value_string(SLICE_LIT(""))); /* as in bind_attribute */
    if (err == ERR_OK)
        err = codes_numbered(e, t, table, &c, empty, &own);
    *ret = own;
    if (err != ERR_OK || table == SEG_SPAN)
        return err;
    err = eval_fixed(e, table == SEG_RESOURCE ? SEG_F_RESOURCE : SEG_F_SCOPE);
    if (err != ERR_OK)
        return err;
    const uint32_t *index = index_of(e, table);
    uint32_t *codes = arena_alloc(e->a, sizeof *codes * e->rows[SEG_SPAN]);
    for (uint32_t r = 0; codes != NULL && r < e->rows[SEG_SPAN]; r++)
        codes[r] = own[index[r]];
    *ret = codes;
    return arena_err(e->a);
}

static enum err keys_coded(struct eval *e, struct table *t, const struct ql_attribute *at,
                           const uint32_t **ret)
{
    if (at->intrinsic != QL_I_NONE || at->is_parent)
        return ERR_NOT_FOUND;
    switch (at->scope) {
    case QL_SCOPE_SPAN: return scope_coded(e, t, SEG_SPAN, at->name, ret);
    case QL_SCOPE_RESOURCE: return scope_coded(e, t, SEG_RESOURCE, at->name, ret);
    case QL_SCOPE_INSTRUMENTATION: return scope_coded(e, t, SEG_SCOPE, at->name, ret);
    case QL_SCOPE_NONE:
    case QL_SCOPE_EVENT:
    case QL_SCOPE_LINK:
    case QL_SCOPE_PARENT: break;
    }
    return ERR_NOT_FOUND;
}

static enum err keys_by_row(struct eval *e, struct table *t, const struct eval_node *n,
                            const struct engine_selection *sel, uint32_t **ret)
{
    uint32_t *codes = ARENA_ARRAY(e->a, uint32_t, e->rows[SEG_SPAN]);

    if (codes == NULL)
        return arena_err(e->a);
    for (uint32_t r = 0; sel->mask != NULL && r < e->rows[SEG_SPAN]; r++)
        if (sel->mask[r] != 0)
            codes[r] = table_number(t, eval_value_at(e, n, engine_aggregate_at(e, n, r)));
    *ret = codes;
    return arena_err(e->a);
}

enum err engine_select_keys(struct eval *e, const struct ql_attribute *by,
                            const struct engine_selection *sel, struct engine_keys *ret)
{
    struct eval_node *n = NULL;
    struct table t;
    uint32_t *codes = NULL;
    const uint32_t *known = NULL;
    enum err err = table_init(&t, e->a, 0);

    if (err == ERR_OK)
        err = keys_coded(e, &t, by, &known);
    if (err == ERR_OK)
        *ret = (struct engine_keys){known, t.values, t.count};
    if (err != ERR_NOT_FOUND)
        return err;
    err = bind(e, by, &n);
    if (err == ERR_OK)
        err = is_dense(n) ? keys_dense(e, &t, n, &codes) : keys_by_row(e, &t, n, sel, &codes);
    if (err == ERR_OK)
        *ret = (struct engine_keys){codes, t.values, t.count};
    return err;
}

/* --- numbers --- */

static bool is_number(struct value v)
{
    return v.type == VALUE_INT || v.type == VALUE_FLOAT || v.type == VALUE_DURATION;
}

struct numbers {
    double *values;
    uint8_t *has;
    bool is_duration;
};

static void number_set(struct numbers *n, uint32_t row, struct value v)
{
    n->has[row] = is_number(v);
    if (n->has[row] == 0)
        return;
    n->values[row] = v.type == VALUE_FLOAT ? v.f : (double)v.i;
    n->is_duration = n->is_duration && v.type == VALUE_DURATION;
}

/* A source that has nothing but numbers, of the spans themselves. */
static bool numbers_dense(struct eval *e, const struct eval_node *node, struct numbers *n)
{
    struct eval_source *src = node->sources[0];

    if (!is_dense(node) || node->sources[1] != NULL || src->table != SEG_SPAN)
        return false;
    if (src->kind == EVAL_I64) {
        memset(n->has, 1, src->rows);
        for (uint32_t r = 0; r < src->rows; r++)
            n->values[r] = (double)src->i64[r];
        n->is_duration = src->type == VALUE_DURATION;
        return true;
    }
    if (src->kind != EVAL_COLUMNS || src->column_count != 1 || src->has_default)
        return false;
    const struct seg_column *c = &src->columns[0];
    if (c->type != SEG_INT && c->type != SEG_DOUBLE)
        return false;
    for (uint32_t i = c->count; i-- > 0;) {
        n->values[c->rows[i]] = c->type == SEG_INT ? (double)c->ints[i] : c->doubles[i];
        n->has[c->rows[i]] = 1;
    }
    n->is_duration = false;
    (void)e;
    return true;
}

enum err engine_select_numbers(struct eval *e, const struct ql_attribute *of,
                               const struct engine_selection *sel, struct engine_numbers *ret)
{
    struct eval_node *node = NULL;
    struct numbers n = {.is_duration = true};
    enum err err = bind(e, of, &node);

    if (err != ERR_OK)
        return err;
    n.values = ARENA_ARRAY(e->a, double, e->rows[SEG_SPAN]);
    n.has = ARENA_ARRAY(e->a, uint8_t, e->rows[SEG_SPAN]);
    if (n.values == NULL || n.has == NULL)
        return arena_err(e->a);
    if (!numbers_dense(e, node, &n))
        for (uint32_t r = 0; sel->mask != NULL && r < e->rows[SEG_SPAN]; r++)
            if (sel->mask[r] != 0)
                number_set(&n, r, eval_value_at(e, node, engine_aggregate_at(e, node, r)));
    *ret = (struct engine_numbers){n.values, n.has, n.is_duration};
    return arena_err(e->a);
}
