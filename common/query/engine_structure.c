#include "common/query/engine_pipeline.h"

#include <assert.h>

/* One span of the left side as its relation needs it: sorted by key; `reach` is the largest right end so far. */
struct place {
    int64_t key, reach;
};

static int place_cmp(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

/* How many places have a key below `key`. */
static uint32_t below(const struct place *p, uint32_t count, int64_t key)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (p[mid].key < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool has_row(const struct engine_spanset *s, uint32_t row)
{
    uint32_t low = 0, high = s->count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (s->rows[mid] < row)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->count && s->rows[low] == row;
}

static struct place *places(struct eval *e, enum ql_op op, struct arena *a,
                            const struct engine_spanset *s)
{
    const struct eval_tree *t = &e->tree;
    bool is_by_parent = op == QL_PARENT || op == QL_SIBLING;
    struct place *p = ARENA_ARRAY(a, struct place, s->count);

    for (uint32_t i = 0; p != NULL && i < s->count; i++) {
        uint32_t row = s->rows[i];
        p[i] = (struct place){is_by_parent ? t->parent[row] : t->left[row], t->right[row]};
    }
    if (p == NULL)
        return NULL;
    qsort(p, s->count, sizeof p[0], place_cmp);
    for (uint32_t i = 1; i < s->count; i++)
        if (p[i].reach < p[i - 1].reach)
            p[i].reach = p[i - 1].reach;
    return p;
}

static bool stands(struct eval *e, enum ql_op op, const struct place *p,
                   const struct engine_spanset *left, uint32_t row)
{
    int64_t l = e->tree.left[row], r = e->tree.right[row], parent = e->tree.parent[row];
    uint32_t n = left->count, at;

    switch ((int)op) {
    case QL_CHILD: at = below(p, n, parent); return parent > 0 && at < n && p[at].key == parent;
    case QL_PARENT: at = below(p, n, l); return l > 0 && at < n && p[at].key == l;
    case QL_DESCENDANT: at = below(p, n, l); return l > 0 && at > 0 && p[at - 1].reach > r;
    case QL_ANCESTOR: at = below(p, n, l + 1); return l > 0 && at < n && p[at].key < r;
    default: break;
    }
    assert(op == QL_SIBLING);
    if (parent == 0)
        return false;
    uint32_t siblings = below(p, n, parent + 1) - below(p, n, parent);
    return siblings > (has_row(left, row) ? 1u : 0u);
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

static enum err relate(struct eval *e, enum ql_op op, bool is_negated, struct arena *a,
                       const struct engine_spanset *left, const struct engine_spanset *right,
                       struct engine_spanset *ret)
{
    struct place *p = places(e, op, a, left);
    uint32_t *rows = ARENA_ARRAY(a, uint32_t, right->count);
    uint32_t n = 0;

    if (p == NULL || rows == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < right->count; i++)
        if (stands(e, op, p, left, right->rows[i]) != is_negated)
            rows[n++] = right->rows[i];
    *ret = (struct engine_spanset){.rows = rows, .count = n};
    return ERR_OK;
}

enum err engine_structure(struct eval *e, enum ql_op op, struct arena *a,
                          const struct engine_spanset *left, const struct engine_spanset *right,
                          struct engine_spanset *ret)
{
    enum { KINDS = QL_NOT_CHILD - QL_CHILD };
    _Static_assert(QL_UNION_CHILD - QL_NOT_CHILD == KINDS, "the three families stand in one order");
    bool is_negated = op >= QL_NOT_CHILD && op < QL_UNION_CHILD, is_union = op >= QL_UNION_CHILD;
    enum ql_op plain = (enum ql_op)((unsigned)op - (is_negated ? KINDS : is_union ? 2 * KINDS : 0));
    struct engine_spanset b = {0}, both = {0};

    assert(e->has_tree);
    assert(op >= QL_CHILD);
    enum err err = relate(e, plain, is_negated, a, left, right, &b);
    if (err != ERR_OK || !is_union) {
        *ret = b;
        return err;
    }
    err = relate(e, inverse(plain), false, a, right, left, &both);
    uint32_t *rows = ARENA_ARRAY(a, uint32_t, (size_t)b.count + both.count);
    if (err != ERR_OK || rows == NULL)
        return err != ERR_OK ? err : arena_err(a);
    uint32_t n = 0;
    for (uint32_t i = 0, k = 0; i < b.count || k < both.count;) {
        bool is_left = k == both.count || (i < b.count && b.rows[i] <= both.rows[k]);
        uint32_t row = is_left ? b.rows[i++] : both.rows[k++];
        if (n == 0 || rows[n - 1] != row)
            rows[n++] = row;
    }
    *ret = (struct engine_spanset){.rows = rows, .count = n};
    return ERR_OK;
}
