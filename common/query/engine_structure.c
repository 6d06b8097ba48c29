#include "common/query/engine_pipeline.h"

#include <assert.h>

/*
 * One pass over spans that stand depth-first, with what is open above (or known below) at each depth.  Masks are by row; where `order` is NULL, rows
 * and positions are the same.  What is known of few depths is kept in the bits of a word: no step waits for a store of the one before.
 */
struct sweep {
    const uint32_t *order, *wide; /* depths: wide, or narrow */
    const uint8_t *narrow;
    const uint8_t *left, *right;
    uint8_t *hit;
    uint32_t from, to; /* positions of whole traces */
};
enum { BITS_DEPTH_END = 62 };

static inline uint32_t row_at(const struct sweep *s, uint32_t i)
{
    return s->order == NULL ? i : s->order[i];
}

static inline uint32_t depth_at(const struct sweep *s, uint32_t i)
{
    return s->narrow != NULL ? s->narrow[i] : s->wide[i];
}

/* Each loop is made for rows in order with narrow depths, and for all others. */
#define SWEEP(function, ...)                                                  \
    do {                                                                      \
        if (s->order == NULL && s->narrow != NULL) {                          \
            const struct sweep plain = {NULL,     NULL,   s->narrow, s->left, \
                                        s->right, s->hit, s->from,   s->to};  \
            function(&plain, ##__VA_ARGS__);                                  \
        } else {                                                              \
            function(s, ##__VA_ARGS__);                                       \
        }                                                                     \
    } while (0)

/* Spans of `right` with anything of `left` above: the uppermost that is open tells. */
static inline __attribute__((always_inline)) void down_deep(const struct sweep *s)
{
    uint32_t open = UINT32_MAX; /* its depth; none */
    for (uint32_t i = s->from; i < s->to; i++) {
        uint32_t r = row_at(s, i), d = depth_at(s, i);
        uint32_t own = s->left[r] != 0 ? d : UINT32_MAX;
        bool is_below = d > open;
        s->hit[r] = s->right[r] & is_below;
        open = is_below ? open : own;
    }
}

/* Spans of `right` with a parent in `left`: bit d + 1 is of the last span of depth d. */
static inline __attribute__((always_inline)) void down_bits(const struct sweep *s)
{
    uint64_t last = 0;
    for (uint32_t i = s->from; i < s->to; i++) {
        uint32_t r = row_at(s, i), d = depth_at(s, i);
        uint64_t left = s->left[r];
        s->hit[r] = s->right[r] & (uint8_t)(last >> d & 1);
        last = (last & ~((uint64_t)2 << d)) | left << (d + 1);
    }
}

/* Spans of `right` with a child in `left` (is_deep: with anything below them): bit d is of what stands below the span of depth d - 1 to come. */
static inline __attribute__((always_inline)) void up_bits(const struct sweep *s, bool is_deep)
{
    uint64_t below = 0;
    for (uint32_t i = s->to; i-- > s->from;) {
        uint32_t r = row_at(s, i), d = depth_at(s, i);
        uint64_t mine = below >> (d + 1) & 1, left = s->left[r];
        s->hit[r] = s->right[r] & (uint8_t)mine;
        below = (below & ~((uint64_t)2 << d)) | (is_deep ? mine | left : left) << d;
    }
}

/* The same with a byte a depth: `at` has a place a depth and one more, at[0] stands for what is above the roots. */
static void down_bytes(const struct sweep *s, uint8_t *at)
{
    at[0] = 0;
    for (uint32_t i = s->from; i < s->to; i++) {
        uint32_t r = row_at(s, i), d = depth_at(s, i);
        s->hit[r] = s->right[r] & at[d];
        at[d + 1] = s->left[r];
    }
}

static void up_bytes(const struct sweep *s, bool is_deep, uint8_t *at)
{
    for (uint32_t i = s->to; i-- > s->from;) {
        uint32_t r = row_at(s, i), d = depth_at(s, i);
        uint8_t below = at[d + 1];
        s->hit[r] = s->right[r] & below;
        at[d + 1] = 0;
        at[d] |= is_deep ? below | s->left[r] : s->left[r];
    }
    at[0] = 0;
}

static enum err sweep(const struct sweep *s, enum ql_op op, uint32_t depth_end, struct arena *a)
{
    bool is_deep = op == QL_DESCENDANT || op == QL_ANCESTOR;
    if (op == QL_DESCENDANT) {
        SWEEP(down_deep);
        return ERR_OK;
    }
    if (depth_end <= BITS_DEPTH_END) {
        if (op == QL_CHILD)
            SWEEP(down_bits);
        else if (is_deep)
            SWEEP(up_bits, true);
        else
            SWEEP(up_bits, false);
        return ERR_OK;
    }
    uint8_t *at = ARENA_ARRAY(a, uint8_t, (size_t)depth_end + 1);
    if (at == NULL)
        return arena_err(a);
    if (op == QL_CHILD)
        down_bytes(s, at);
    else
        up_bytes(s, is_deep, at);
    return ERR_OK;
}

/* Spans of `right` with another one of `left` below the same parent, or both roots of one trace.  `children`: of left, by position. */
static void sweep_beside(const struct sweep *s, uint32_t *children, uint32_t *at)
{
    for (uint32_t i = s->to; i-- > s->from;) {
        uint32_t d = depth_at(s, i);
        children[i - s->from] = at[d + 1];
        at[d + 1] = 0;
        at[d] += s->left[row_at(s, i)];
    }
    for (uint32_t i = s->from; i < s->to; i++) {
        uint32_t r = row_at(s, i), d = depth_at(s, i);
        s->hit[r] = s->right[r] & (at[d] > s->left[r]);
        at[d + 1] = children[i - s->from];
    }
    for (uint32_t i = s->from; i < s->to; i++)
        at[depth_at(s, i) + 1] = 0;
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
    s.from = e->forest.first[trace];
    s.to = e->forest.first[trace_end];
    return sweep(&s, op, e->forest.depth_end, a);
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
    struct sweep s = {
        .order = e->forest.order, .wide = e->forest.depth, .narrow = e->forest.narrow, .hit = hit};
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
    struct sweep s = {e->forest.order, e->forest.depth, e->forest.narrow, m[0], m[1], m[2], 0, 0};
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
