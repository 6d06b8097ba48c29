#include "common/query/engine_pipeline.h"

#include <assert.h>

/*
 * One pass over spans that stand depth-first, with what is open above (or known below) at each depth: `at` has a place a depth and one more, at[0]
 * stands for what is above the roots.  Masks are by row; where `order` is NULL, rows and positions are the same.
 */
struct sweep {
    const uint32_t *order, *depth;
    const uint8_t *left, *right;
    uint8_t *hit;
    uint32_t from, to; /* positions of whole traces */
};

static inline uint32_t row_at(const struct sweep *s, uint32_t i)
{
    return s->order == NULL ? i : s->order[i];
}

/* Spans of `right` with a parent in `left` (is_deep: with anything above them). */
static inline void sweep_down(const struct sweep *s, bool is_deep, uint8_t *at)
{
    at[0] = 0;
    for (uint32_t i = s->from; i < s->to; i++) {
        uint32_t r = row_at(s, i), d = s->depth[i];
        uint8_t above = at[d];
        s->hit[r] = s->right[r] & above;
        at[d + 1] = is_deep ? above | s->left[r] : s->left[r];
    }
}

/* Spans of `right` with a child in `left` (is_deep: with anything below them). */
static inline void sweep_up(const struct sweep *s, bool is_deep, uint8_t *at)
{
    for (uint32_t i = s->to; i-- > s->from;) {
        uint32_t r = row_at(s, i), d = s->depth[i];
        uint8_t below = at[d + 1];
        s->hit[r] = s->right[r] & below;
        at[d + 1] = 0;
        at[d] |= is_deep ? below | s->left[r] : s->left[r];
    }
    at[0] = 0;
}

/* Spans of `right` with another one of `left` below the same parent, or both roots of one trace.  `children`: of left, by position. */
static void sweep_beside(const struct sweep *s, uint32_t *children, uint32_t *at)
{
    for (uint32_t i = s->to; i-- > s->from;) {
        uint32_t d = s->depth[i];
        children[i - s->from] = at[d + 1];
        at[d + 1] = 0;
        at[d] += s->left[row_at(s, i)];
    }
    for (uint32_t i = s->from; i < s->to; i++) {
        uint32_t r = row_at(s, i), d = s->depth[i];
        s->hit[r] = s->right[r] & (at[d] > s->left[r]);
        at[d + 1] = children[i - s->from];
    }
    for (uint32_t i = s->from; i < s->to; i++)
        at[s->depth[i] + 1] = 0;
    at[0] = 0;
}

/* Spans of a trace may be many, or the traces: both passes are over one trace at a time. */
static enum err siblings(struct eval *e, struct sweep s, uint32_t trace, uint32_t trace_end,
                         struct arena *a)
{
    const uint32_t *first = e->forest.first;
    uint32_t largest = 0;

    for (uint32_t t = trace; t < trace_end; t++)
        largest = first[t + 1] - first[t] > largest ? first[t + 1] - first[t] : largest;
    uint32_t *children = arena_alloc(a, sizeof *children * largest);
    uint32_t *at = ARENA_ARRAY(a, uint32_t, (size_t)e->forest.depth_end + 1);
    if (children == NULL || at == NULL)
        return arena_err(a);
    for (uint32_t t = trace; t < trace_end; t++) {
        s.from = first[t];
        s.to = first[t + 1];
        sweep_beside(&s, children, at);
    }
    return ERR_OK;
}

/* A plain relation over some traces, by masks without a span that is not alive. */
static enum err relate(struct eval *e, enum ql_op op, struct sweep s, uint32_t trace,
                       uint32_t trace_end, struct arena *a)
{
    if (op == QL_SIBLING)
        return siblings(e, s, trace, trace_end, a);
    uint8_t *at = ARENA_ARRAY(a, uint8_t, (size_t)e->forest.depth_end + 1);
    if (at == NULL)
        return arena_err(a);
    s.from = e->forest.first[trace];
    s.to = e->forest.first[trace_end];
    bool is_deep = op == QL_DESCENDANT || op == QL_ANCESTOR;
    if (op == QL_CHILD || op == QL_DESCENDANT)
        sweep_down(&s, is_deep, at);
    else
        sweep_up(&s, is_deep, at);
    return ERR_OK;
}

static enum ql_op inverse(enum ql_op op)
{
    switch ((int)op) {
    case QL_CHILD: return QL_PARENT;
    case QL_PARENT: return QL_CHILD;
    case QL_DESCENDANT: return QL_ANCESTOR;
    case QL_ANCESTOR: return QL_DESCENDANT;
    default: return op;
    }
}

enum family { PLAIN, NEGATED, UNION };

/* The three families stand in one order. */
static enum ql_op plain_of(enum ql_op op, enum family *ret)
{
    enum { KINDS = QL_NOT_CHILD - QL_CHILD };
    _Static_assert(QL_UNION_CHILD - QL_NOT_CHILD == KINDS, "the three families stand in one order");

    assert(op >= QL_CHILD);
    *ret = op >= QL_UNION_CHILD ? UNION : op >= QL_NOT_CHILD ? NEGATED : PLAIN;
    return (enum ql_op)((unsigned)op - (unsigned)*ret * KINDS);
}

/* Copies of the masks without spans that no root leads to; the masks themselves when there are none. */
static enum err living(struct eval *e, const uint8_t *mask, uint8_t **ret_copy, const uint8_t **ret)
{
    const uint8_t *alive = e->forest.alive;
    uint32_t rows = e->rows[SEG_SPAN];

    *ret = mask;
    if (alive == NULL)
        return ERR_OK;
    enum err err = eval_mask_get(e, SEG_SPAN, ret_copy);
    for (uint32_t r = 0; err == ERR_OK && r < rows; r++)
        (*ret_copy)[r] = mask[r] & alive[r];
    if (err == ERR_OK)
        *ret = *ret_copy;
    return err;
}

static enum err structure(struct eval *e, enum ql_op op, const uint8_t *left, const uint8_t *right,
                          uint8_t *hit, uint8_t *both)
{
    enum family family;
    enum ql_op plain = plain_of(op, &family);
    uint32_t rows = e->rows[SEG_SPAN], traces = e->rows[EVAL_TRACE];
    uint8_t *left_copy = NULL, *right_copy = NULL;
    struct sweep s = {.order = e->forest.order, .depth = e->forest.depth, .hit = hit};
    enum err err = living(e, left, &left_copy, &s.left);

    if (err == ERR_OK)
        err = living(e, right, &right_copy, &s.right);
    if (err == ERR_OK)
        err = relate(e, plain, s, 0, traces, e->a);
    if (err == ERR_OK && family == UNION) {
        struct sweep back = s;
        back.left = s.right;
        back.right = s.left;
        back.hit = both;
        err = relate(e, inverse(plain), back, 0, traces, e->a);
        for (uint32_t r = 0; err == ERR_OK && r < rows; r++)
            hit[r] |= both[r];
    }
    for (uint32_t r = 0; err == ERR_OK && family == NEGATED && r < rows; r++)
        hit[r] = right[r] & (hit[r] ^ 1);
    eval_mask_put(e, SEG_SPAN, left_copy);
    eval_mask_put(e, SEG_SPAN, right_copy);
    return err;
}

enum err engine_structure_mask(struct eval *e, enum ql_op op, const uint8_t *left,
                               const uint8_t *right, uint8_t **ret)
{
    enum family family;
    uint8_t *hit = NULL, *both = NULL;

    (void)plain_of(op, &family);
    *ret = NULL;
    if (right == NULL || (left == NULL && family != NEGATED))
        return ERR_OK;
    enum err err = eval_mask_get(e, SEG_SPAN, &hit);
    if (err != ERR_OK)
        return err;
    if (left == NULL) {
        memcpy(hit, right, e->rows[SEG_SPAN]);
        *ret = hit;
        return ERR_OK;
    }
    err = eval_tree_forest(e);
    if (err == ERR_OK && family == UNION)
        err = eval_mask_get(e, SEG_SPAN, &both);
    if (err == ERR_OK)
        err = structure(e, op, left, right, hit, both);
    eval_mask_put(e, SEG_SPAN, both);
    if (err == ERR_OK)
        *ret = hit;
    return err;
}

/* --- spansets of one trace --- */

static void mark(const struct eval *e, const struct engine_spanset *s, uint8_t *mask)
{
    for (uint32_t i = 0; i < s->count; i++)
        mask[s->rows[i]] = e->forest.alive == NULL || e->forest.alive[s->rows[i]] != 0;
}

static uint32_t chosen(const struct engine_spanset *s, const uint8_t *hit, uint8_t wanted,
                       uint32_t *rows)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->count; i++) {
        rows[n] = s->rows[i];
        n += hit[s->rows[i]] == wanted;
    }
    return n;
}

enum err engine_structure(struct eval *e, enum ql_op op, struct arena *a,
                          const struct engine_spanset *left, const struct engine_spanset *right,
                          struct engine_spanset *ret, struct engine_spanset *ret_left)
{
    enum family family;
    enum ql_op plain = plain_of(op, &family);
    uint8_t **m = e->work; /* left, right, hit: zero between calls but for the last */
    enum err err = ERR_OK;

    *ret = *ret_left = (struct engine_spanset){0};
    if (right->count == 0 || (left->count == 0 && family == UNION))
        return ERR_OK;
    for (int i = 0; err == ERR_OK && i < 3; i++)
        if (m[i] == NULL)
            err = eval_mask_get(e, SEG_SPAN, &m[i]);
    uint32_t *rows = arena_alloc(a, sizeof *rows * ((size_t)right->count + 1));
    uint32_t *left_rows = arena_alloc(a, sizeof *left_rows * ((size_t)left->count + 1));
    if (err != ERR_OK || arena_err(a) != ERR_OK)
        return err != ERR_OK ? err : arena_err(a);
    uint32_t trace = e->fixed.trace[right->rows[0]];
    struct sweep s = {e->forest.order, e->forest.depth, m[0], m[1], m[2], 0, 0};
    mark(e, left, m[0]);
    mark(e, right, m[1]);
    err = relate(e, plain, s, trace, trace + 1, a);
    *ret = (struct engine_spanset){.rows = rows};
    if (err == ERR_OK)
        ret->count = chosen(right, m[2], family != NEGATED, rows);
    if (err == ERR_OK && family == UNION) {
        s.left = m[1];
        s.right = m[0];
        err = relate(e, inverse(plain), s, trace, trace + 1, a);
        *ret_left = (struct engine_spanset){.rows = left_rows};
        ret_left->count = err == ERR_OK ? chosen(left, m[2], 1, left_rows) : 0;
    }
    for (uint32_t i = 0; i < left->count; i++)
        m[0][left->rows[i]] = 0;
    for (uint32_t i = 0; i < right->count; i++)
        m[1][right->rows[i]] = 0;
    return err;
}
