#include "common/query/engine_pipeline.h"

#include <assert.h>

enum { KEY_BYTES_MAX = 1 << 17, DEPTH_MAX = 512 };

struct set {
    enum ql_spanset_kind kind;
    enum ql_op op;
    uint8_t *mask; /* FILTER: NULL is no span */
    struct set *left, *right;
    struct engine_pipeline *pipeline;
};

struct scalar {
    enum ql_scalar_kind kind;
    enum ql_op op;
    struct value value;
    enum ql_aggregate aggregate;
    double quantile;
    struct eval_node *argument;
    struct slice key;
    struct scalar *left, *right;
};

struct stage {
    enum ql_stage_kind kind;
    enum ql_op op;
    struct set *set;
    struct scalar *left, *right;
    struct eval_node *by;
    struct slice key;
    struct result_order order; /* ORDER_BY, TOP: is_descending alone */
};

struct engine_pipeline {
    struct stage *stages;
    uint32_t count;
    bool is_empty; /* its first filters found no span: the rest was not even bound */
};

static enum err bind_pipeline(struct eval *e, const struct ql_pipeline *p, uint32_t depth,
                              bool is_outer, struct engine_pipeline **ret);

/* Eight rows without a match are passed over at once; among matches there is no branch to guess. */
static void mark_traces(const struct eval *e, const uint8_t *mask, uint8_t *trace_mask)
{
    const uint32_t *trace = e->fixed.trace;
    uint32_t rows = mask == NULL ? 0 : e->rows[SEG_SPAN], r = 0;
    uint64_t eight;

    for (; rows - r >= sizeof eight; r += (uint32_t)sizeof eight) {
        memcpy(&eight, mask + r, sizeof eight);
        for (uint32_t i = r; eight != 0 && i < r + sizeof eight; i++)
            trace_mask[trace[i]] |= mask[i];
    }
    for (; r < rows; r++)
        trace_mask[trace[r]] |= mask[r];
}

static enum err key_of(struct eval *e, const struct ql_scalar *s, const struct ql_stage *by,
                       struct slice *ret)
{
    struct buf text;

    buf_init(&text, KEY_BYTES_MAX);
    if (s != NULL)
        ql_dump_scalar(&text, s);
    else
        ql_dump_stage(&text, by);
    enum err err = buf_err(&text);
    if (err == ERR_OK) {
        *ret = arena_dup(e->a, buf_slice(&text));
        err = arena_err(e->a);
    }
    buf_release(&text);
    return err;
}

static enum err bind_scalar(struct eval *e, const struct ql_scalar *s, uint32_t depth,
                            struct scalar **ret)
{
    struct scalar *n = ARENA_NEW(e->a, struct scalar);
    enum err err = ERR_OK;

    if (n == NULL)
        return arena_err(e->a);
    if (depth > DEPTH_MAX || s->kind == QL_SCALAR_PIPELINE)
        return ERR_UNSUPPORTED;
    *n = (struct scalar){.kind = s->kind,
                         .op = s->op,
                         .value = s->value,
                         .aggregate = s->aggregate,
                         .quantile = s->quantile};
    if (s->kind == QL_SCALAR_AGGREGATE)
        err = key_of(e, s, NULL, &n->key);
    if (err == ERR_OK && s->kind == QL_SCALAR_AGGREGATE && s->argument != NULL)
        err = eval_bind_value(e, s->argument, &n->argument);
    if (err == ERR_OK && s->kind == QL_SCALAR_BINARY) {
        err = bind_scalar(e, s->left, depth + 1, &n->left);
        if (err == ERR_OK)
            err = bind_scalar(e, s->right, depth + 1, &n->right);
    }
    *ret = n;
    return err;
}

/* `mask` stays where a trace has a span in `other` too. */
static enum err keep_traces(struct eval *e, const uint8_t *other, uint8_t *mask)
{
    uint8_t *traces = NULL;
    enum err err = eval_mask_get(e, EVAL_TRACE, &traces);

    if (err != ERR_OK)
        return err;
    mark_traces(e, other, traces);
    for (uint32_t r = 0; r < e->rows[SEG_SPAN]; r++)
        mask[r] &= traces[e->fixed.trace[r]];
    eval_mask_put(e, EVAL_TRACE, traces);
    return ERR_OK;
}

/* The spans of both sides, of all traces at once; is_and: of traces where both have some. */
static enum err join(struct eval *e, bool is_and, uint8_t *left, uint8_t *right, uint8_t **ret)
{
    enum err err = ERR_OK;

    *ret = is_and && (left == NULL || right == NULL) ? NULL : left == NULL ? right : left;
    if (left == NULL || right == NULL)
        return ERR_OK;
    if (is_and) {
        uint8_t *before = NULL;
        err = eval_fixed(e, SEG_F_TRACE);
        if (err == ERR_OK)
            err = eval_mask_get(e, SEG_SPAN, &before);
        if (err != ERR_OK)
            return err;
        memcpy(before, left, e->rows[SEG_SPAN]);
        err = keep_traces(e, right, left);
        if (err == ERR_OK)
            err = keep_traces(e, before, right);
        eval_mask_put(e, SEG_SPAN, before);
    }
    for (uint32_t r = 0; err == ERR_OK && r < e->rows[SEG_SPAN]; r++)
        left[r] |= right[r];
    return err;
}

/* Without the traces that have a span in `other`; of all spans when `mask` is NULL. */
static enum err without(struct eval *e, const uint8_t *other, uint8_t *mask, uint8_t **ret)
{
    uint8_t *traces = NULL;
    enum err err = ERR_OK;

    if (mask == NULL) {
        err = eval_mask_get(e, SEG_SPAN, &mask);
        if (err != ERR_OK)
            return err;
        memset(mask, 1, e->rows[SEG_SPAN]);
    }
    *ret = mask;
    if (other == NULL)
        return ERR_OK;
    err = eval_fixed(e, SEG_F_TRACE);
    if (err == ERR_OK)
        err = eval_mask_get(e, EVAL_TRACE, &traces);
    if (err != ERR_OK)
        return err;
    mark_traces(e, other, traces);
    for (uint32_t r = 0; r < e->rows[SEG_SPAN]; r++)
        mask[r] &= traces[e->fixed.trace[r]] ^ 1;
    eval_mask_put(e, EVAL_TRACE, traces);
    return ERR_OK;
}

/* !{...} and {...} - {...} of masks. */
static enum err bind_without(struct eval *e, struct set *n)
{
    const struct set *right = n->kind == QL_SPANSET_NOT ? n->left : n->right;
    enum err err = ERR_OK;

    if (n->kind == QL_SPANSET_NOT || n->left->mask != NULL)
        err = without(e, right->mask, n->kind == QL_SPANSET_NOT ? NULL : n->left->mask, &n->mask);
    n->kind = QL_SPANSET_FILTER;
    eval_mask_put(e, SEG_SPAN, right->mask);
    return err;
}

/* Both sides are masks already: so is what stands between them. */
static enum err bind_masks(struct eval *e, struct set *n)
{
    uint8_t *left = n->left->mask, *right = n->right->mask;
    enum err err = n->op == QL_AND || n->op == QL_OR
                       ? join(e, n->op == QL_AND, left, right, &n->mask)
                       : engine_structure_mask(e, n->op, left, right, &n->mask);

    if (err != ERR_OK)
        return err;
    n->kind = QL_SPANSET_FILTER;
    if (n->mask != left)
        eval_mask_put(e, SEG_SPAN, left);
    if (n->mask != right)
        eval_mask_put(e, SEG_SPAN, right);
    return ERR_OK;
}

/* A pipeline in parentheses; one that is but a filter stands as that. */
static enum err bind_nested(struct eval *e, const struct ql_pipeline *p, uint32_t depth,
                            bool is_first, struct set *n)
{
    const uint8_t *mask;
    enum err err = bind_pipeline(e, p, depth + 1, is_first, &n->pipeline);

    if (err == ERR_OK && is_first && engine_pipeline_is_filter(n->pipeline, &mask)) {
        n->kind = QL_SPANSET_FILTER;
        n->mask = n->pipeline->stages[0].set->mask;
    }
    return err;
}

/* is_first: of the first stage of a query, where all spans of every trace come in. */
static enum err bind_set(struct eval *e, const struct ql_spanset *s, uint32_t depth, bool is_first,
                         struct set **ret)
{
    struct set *n = ARENA_NEW(e->a, struct set);
    enum err err = ERR_OK;

    if (n == NULL)
        return arena_err(e->a);
    if (depth > DEPTH_MAX)
        return ERR_UNSUPPORTED;
    *n = (struct set){.kind = s->kind, .op = s->op};
    *ret = n;
    if (s->kind == QL_SPANSET_FILTER) {
        struct eval_node *node;
        err = eval_bind(e, s->filter, &node);
        return err == ERR_OK ? eval_spans(e, node, &n->mask) : err;
    }
    if (s->kind == QL_SPANSET_PIPELINE)
        return bind_nested(e, s->pipeline, depth, is_first, n);
    err = bind_set(e, s->left, depth + 1, is_first, &n->left);
    if (err == ERR_OK && s->kind != QL_SPANSET_NOT)
        err = bind_set(e, s->right, depth + 1, is_first, &n->right);
    if (err != ERR_OK)
        return err;
    bool are_masks = is_first && n->left->kind == QL_SPANSET_FILTER &&
                     (n->right == NULL || n->right->kind == QL_SPANSET_FILTER);
    if (s->kind != QL_SPANSET_BINARY)
        return are_masks ? bind_without(e, n) : ERR_OK;
    if (are_masks)
        return bind_masks(e, n);
    if (s->op != QL_AND && s->op != QL_OR) {
        err = eval_tree_forest(e);
        if (err == ERR_OK)
            err = eval_fixed(e, SEG_F_TRACE);
    }
    return err;
}

static enum err bind_stage(struct eval *e, const struct ql_stage *s, uint32_t depth, bool is_first,
                           struct stage *n)
{
    enum err err = ERR_OK;

    *n = (struct stage){.kind = s->kind, .op = s->op};
    switch (s->kind) {
    case QL_STAGE_SPANSET: return bind_set(e, s->spanset, depth, is_first, &n->set);
    case QL_STAGE_SELECT:
    case QL_STAGE_COALESCE: return ERR_OK;
    case QL_STAGE_SCALAR_FILTER:
        err = bind_scalar(e, s->left, depth, &n->left);
        return err != ERR_OK ? err : bind_scalar(e, s->right, depth, &n->right);
    case QL_STAGE_SCALAR: return bind_scalar(e, s->left, depth, &n->left);
    case QL_STAGE_GROUP:
    case QL_STAGE_ORDER_BY:
    case QL_STAGE_TOP:
        n->order.is_descending = s->is_descending;
        err = eval_bind_value(e, s->by, &n->by);
        return err != ERR_OK ? err : key_of(e, NULL, s, &n->key);
    }
    return ERR_UNSUPPORTED;
}

/* No filter of the set found a span: no operator can make one. */
static bool is_empty_set(const struct set *s)
{
    if (s->kind == QL_SPANSET_FILTER)
        return s->mask == NULL;
    if (s->kind == QL_SPANSET_PIPELINE)
        return s->pipeline->is_empty;
    if (s->kind == QL_SPANSET_NOT)
        return false;
    return is_empty_set(s->left) && (s->kind == QL_SPANSET_MINUS || is_empty_set(s->right));
}

static enum err bind_pipeline(struct eval *e, const struct ql_pipeline *p, uint32_t depth,
                              bool is_outer, struct engine_pipeline **ret)
{
    struct engine_pipeline *n = ARENA_NEW(e->a, struct engine_pipeline);
    struct stage *stages = ARENA_ARRAY(e->a, struct stage, p->stage_count);
    enum err err = ERR_OK;

    if (n == NULL || stages == NULL)
        return arena_err(e->a);
    *n = (struct engine_pipeline){.stages = stages};
    for (; err == ERR_OK && n->count < p->stage_count && !n->is_empty; n->count++) {
        err = bind_stage(e, &p->stages[n->count], depth, is_outer && n->count == 0,
                         &stages[n->count]);
        n->is_empty = err == ERR_OK && n->count == 0 && stages[0].kind == QL_STAGE_SPANSET &&
                      is_empty_set(stages[0].set);
    }
    *ret = n;
    return err;
}

enum err engine_pipeline_bind(struct eval *e, const struct ql_pipeline *p,
                              struct engine_pipeline **ret)
{
    return bind_pipeline(e, p, 0, true, ret);
}

static bool set_candidates(struct eval *e, const struct set *s, uint8_t *trace_mask)
{
    if (s->kind == QL_SPANSET_PIPELINE)
        return engine_pipeline_candidates(e, s->pipeline, trace_mask);
    if (s->kind == QL_SPANSET_NOT)
        return false;
    if (s->kind == QL_SPANSET_MINUS)
        return set_candidates(e, s->left, trace_mask);
    if (s->kind == QL_SPANSET_BINARY) {
        /* && needs both sides, structure at least its right one: either side's traces are enough to look at. */
        bool is_left_enough = s->op == QL_AND;
        bool is_known = set_candidates(e, is_left_enough ? s->left : s->right, trace_mask);
        return s->op == QL_OR ? is_known && set_candidates(e, s->left, trace_mask) : is_known;
    }
    mark_traces(e, s->mask, trace_mask);
    return true;
}

bool engine_pipeline_is_empty(const struct engine_pipeline *p)
{
    return p->is_empty;
}

bool engine_pipeline_is_filter(const struct engine_pipeline *p, const uint8_t **ret_mask)
{
    bool is_filter = p->count == 1 && p->stages[0].kind == QL_STAGE_SPANSET &&
                     p->stages[0].set->kind == QL_SPANSET_FILTER;

    if (is_filter)
        *ret_mask = p->stages[0].set->mask;
    return is_filter;
}

bool engine_pipeline_candidates(struct eval *e, const struct engine_pipeline *p,
                                uint8_t *trace_mask)
{
    if (p->count == 0 || p->stages[0].kind != QL_STAGE_SPANSET)
        return false;
    return set_candidates(e, p->stages[0].set, trace_mask);
}

static enum err merge_rows(struct arena *a, const struct engine_spanset *x,
                           const struct engine_spanset *y, struct engine_spanset *ret)
{
    uint32_t *rows = ARENA_ARRAY(a, uint32_t, (size_t)x->count + y->count);
    uint32_t n = 0;

    if (rows == NULL)
        return arena_err(a);
    for (uint32_t i = 0, k = 0; i < x->count || k < y->count;) {
        bool is_x = k == y->count || (i < x->count && x->rows[i] <= y->rows[k]);
        uint32_t row = is_x ? x->rows[i++] : y->rows[k++];
        if (n == 0 || rows[n - 1] != row)
            rows[n++] = row;
    }
    *ret = (struct engine_spanset){.rows = rows, .count = n};
    return ERR_OK;
}

static enum err run_set(struct eval *e, const struct set *s, struct arena *a,
                        const struct engine_spanset *in, struct engine_spanset *ret)
{
    struct engine_spanset left = {0}, right = {0};
    enum err err;

    if (s->kind == QL_SPANSET_FILTER) {
        uint32_t *rows = ARENA_ARRAY(a, uint32_t, in->count);
        if (rows == NULL)
            return arena_err(a);
        uint32_t n = 0;
        for (uint32_t i = 0; s->mask != NULL && i < in->count; i++)
            if (s->mask[in->rows[i]] != 0)
                rows[n++] = in->rows[i];
        *ret = (struct engine_spanset){.rows = rows, .count = n};
        return ERR_OK;
    }
    if (s->kind == QL_SPANSET_PIPELINE) {
        struct engine_spansets out = {0};
        err = engine_pipeline_run(e, s->pipeline, a, in->rows, in->count, &out);
        for (uint32_t i = 0; err == ERR_OK && i < out.count; i++)
            err = merge_rows(a, &left, &out.items[i], &left);
        *ret = left;
        return err;
    }
    err = run_set(e, s->left, a, in, &left);
    if (err == ERR_OK && s->kind != QL_SPANSET_NOT)
        err = run_set(e, s->right, a, in, &right);
    if (err != ERR_OK)
        return err;
    if (s->kind == QL_SPANSET_NOT) {
        *ret = left.count == 0 ? *in : (struct engine_spanset){0};
        return ERR_OK;
    }
    if (s->kind == QL_SPANSET_MINUS) {
        *ret = right.count == 0 ? left : (struct engine_spanset){0};
        return ERR_OK;
    }
    if (s->op == QL_AND && (left.count == 0 || right.count == 0)) {
        *ret = (struct engine_spanset){0};
        return ERR_OK;
    }
    if (s->op == QL_AND || s->op == QL_OR)
        return merge_rows(a, &left, &right, ret);
    struct engine_spanset below = {0}, above = {0};
    err = engine_structure(e, s->op, a, &left, &right, &below, &above);
    *ret = below;
    return err != ERR_OK || above.count == 0 ? err : merge_rows(a, &below, &above, ret);
}

static enum err attribute_add(struct arena *a, struct engine_spanset *s, struct slice key,
                              struct value v)
{
    struct result_attribute *list =
        ARENA_ARRAY(a, struct result_attribute, (size_t)s->attribute_count + 1);

    if (list == NULL)
        return arena_err(a);
    if (s->attribute_count != 0)
        memcpy(list, s->attributes, sizeof list[0] * s->attribute_count);
    list[s->attribute_count++] = (struct result_attribute){key, v};
    s->attributes = list;
    return ERR_OK;
}

static enum err run_scalar(struct eval *e, const struct scalar *s, struct arena *a,
                           struct engine_spanset *set, struct value *ret)
{
    struct value l = VALUE_NONE, r = VALUE_NONE;
    enum err err = ERR_OK;

    *ret = s->value;
    if (s->kind == QL_SCALAR_STATIC)
        return ERR_OK;
    if (s->kind == QL_SCALAR_AGGREGATE) {
        *ret = engine_aggregate(e, s->aggregate, s->argument, s->quantile, a, set);
        if (ret->type != VALUE_NIL)
            err = attribute_add(a, set, s->key, *ret);
        return err != ERR_OK ? err : arena_err(a);
    }
    err = run_scalar(e, s->left, a, set, &l);
    if (err == ERR_OK)
        err = run_scalar(e, s->right, a, set, &r);
    if (err == ERR_OK)
        *ret = eval_value_binary(s->op, l, r, NULL);
    return err;
}

static enum err run_filter(struct eval *e, const struct stage *s, struct arena *a,
                           struct engine_spanset *set, bool *ret_keep)
{
    struct value left = VALUE_NONE, right = VALUE_NONE;
    enum err err = run_scalar(e, s->left, a, set, &left);

    if (err == ERR_OK && s->right != NULL)
        err = run_scalar(e, s->right, a, set, &right);
    if (err != ERR_OK)
        return err;
    *ret_keep = left.type != VALUE_NIL;
    if (s->kind == QL_STAGE_SCALAR_FILTER && *ret_keep)
        *ret_keep = eval_value_binary(s->op, left, right, NULL).i != 0;
    return ERR_OK;
}

struct grouped {
    struct value value;
    uint32_t row;
};

static int grouped_cmp(const void *a, const void *b)
{
    const struct grouped *x = a, *y = b;
    int c = eval_value_order(x->value, y->value);

    return c != 0 ? c : (x->row > y->row) - (x->row < y->row);
}

/* Splits a spanset by the value of the expression; *ret has room for one spanset a row. */
static enum err run_group(struct eval *e, const struct stage *s, struct arena *a,
                          const struct engine_spanset *in, struct engine_spansets *ret)
{
    struct grouped *g = ARENA_ARRAY(a, struct grouped, in->count);
    uint32_t *rows = ARENA_ARRAY(a, uint32_t, in->count);
    enum err err = ERR_OK;

    if (g == NULL || rows == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < in->count; i++) {
        struct value v = eval_value_at(e, s->by, engine_aggregate_at(e, s->by, in->rows[i]));
        if (v.type == VALUE_STRING)
            v.s = arena_dup(a, v.s); /* ids are text in passing */
        g[i] = (struct grouped){v, in->rows[i]};
    }
    qsort(g, in->count, sizeof g[0], grouped_cmp);
    for (uint32_t i = 0; i < in->count && err == ERR_OK; i++) {
        rows[i] = g[i].row;
        if (i > 0 && eval_value_equal(g[i].value, g[i - 1].value)) {
            ret->items[ret->count - 1].count++;
            continue;
        }
        struct engine_spanset *n = &ret->items[ret->count++];
        *n = *in;
        n->rows = rows + i;
        n->count = 1;
        err = attribute_add(a, n, s->key, g[i].value);
    }
    return err != ERR_OK ? err : arena_err(a);
}

/* Leaves the value that stands for the spanset on it; the order itself is made of all traces. */
static enum err run_order(struct eval *e, const struct stage *s, struct arena *a,
                          struct engine_spanset *set)
{
    struct value best = VALUE_NONE;

    for (uint32_t i = 0; i < set->count; i++) {
        struct value v = eval_value_at(e, s->by, engine_aggregate_at(e, s->by, set->rows[i]));
        if (v.type == VALUE_STRING)
            v.s = arena_dup(a, v.s); /* ids are text in passing */
        best = result_order_best(&s->order, best, v);
    }
    return best.type == VALUE_NIL ? arena_err(a) : attribute_add(a, set, s->key, best);
}

static enum err run_coalesce(struct arena *a, const struct engine_spansets *in,
                             struct engine_spansets *ret)
{
    struct engine_spanset all = {0};
    enum err err = ERR_OK;

    for (uint32_t i = 0; err == ERR_OK && i < in->count; i++)
        err = merge_rows(a, &all, &in->items[i], &all);
    ret->items[0] = all;
    ret->count = all.count != 0;
    return err;
}

static enum err run_stage(struct eval *e, const struct stage *s, struct arena *a,
                          const struct engine_spansets *in, struct engine_spansets *ret)
{
    enum err err = ERR_OK;

    if (s->kind == QL_STAGE_COALESCE)
        return run_coalesce(a, in, ret);
    for (uint32_t i = 0; err == ERR_OK && i < in->count; i++) {
        struct engine_spanset set = in->items[i];
        bool is_kept = true;
        if (s->kind == QL_STAGE_GROUP) {
            err = run_group(e, s, a, &set, ret);
            continue;
        }
        if (s->kind == QL_STAGE_SPANSET) {
            struct engine_spanset out = {0};
            err = run_set(e, s->set, a, &set, &out);
            set.rows = out.rows;
            set.count = out.count;
            is_kept = out.count != 0;
        } else if (s->kind == QL_STAGE_ORDER_BY || s->kind == QL_STAGE_TOP) {
            err = run_order(e, s, a, &set);
        } else if (s->kind != QL_STAGE_SELECT) {
            err = run_filter(e, s, a, &set, &is_kept);
        }
        if (is_kept)
            ret->items[ret->count++] = set;
    }
    return err;
}

static int row_cmp(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

enum err engine_pipeline_rows(struct eval *e, uint32_t trace, struct arena *a, const uint32_t **ret,
                              uint32_t *ret_count)
{
    const uint32_t *rows = NULL;
    uint32_t count = 0, i = 1;
    enum err err = segment_trace_rows(e->s, trace, a, &rows, &count);

    if (err != ERR_OK)
        return err;
    while (i < count && rows[i - 1] < rows[i])
        i++;
    if (i < count) {
        uint32_t *sorted = ARENA_ARRAY(a, uint32_t, count);
        if (sorted == NULL)
            return arena_err(a);
        memcpy(sorted, rows, sizeof rows[0] * count);
        qsort(sorted, count, sizeof sorted[0], row_cmp);
        rows = sorted;
    }
    *ret = rows;
    *ret_count = count;
    return ERR_OK;
}

enum err engine_pipeline_run(struct eval *e, const struct engine_pipeline *p, struct arena *a,
                             const uint32_t *rows, uint32_t count, struct engine_spansets *ret)
{
    struct engine_spanset all = {.count = count};
    struct engine_spansets in = {&all, count != 0};

    all.rows = ARENA_ARRAY(a, uint32_t, count);
    if (all.rows == NULL)
        return arena_err(a);
    if (count != 0)
        memcpy(all.rows, rows, sizeof rows[0] * count);
    for (uint32_t i = 0; in.count != 0 && i < p->count; i++) {
        const struct stage *s = &p->stages[i];
        size_t room = s->kind == QL_STAGE_GROUP ? count : in.count;
        struct engine_spansets out = {.items = ARENA_ARRAY(a, struct engine_spanset, room)};
        if (out.items == NULL)
            return arena_err(a);
        enum err err = run_stage(e, s, a, &in, &out);
        if (err != ERR_OK)
            return err;
        assert(out.count <= room);
        in = out;
    }
    *ret = in;
    return ERR_OK;
}
