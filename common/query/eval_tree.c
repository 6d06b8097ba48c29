#include "common/query/eval.h"

#include <assert.h>

/* Events or links grouped by their span: rows list[first[span]] .. list[first[span + 1]] - 1, in table order. */
enum err eval_tree_children(struct eval *e, enum seg_table table)
{
    unsigned k = table == SEG_LINK;
    enum err err = ERR_OK;

    assert(table == SEG_EVENT || table == SEG_LINK);
    if (e->first[k] != NULL)
        return ERR_OK;
    if (table == SEG_EVENT)
        err = segment_events(e->s, &e->events);
    else
        err = segment_links(e->s, &e->links);
    if (err != ERR_OK)
        return err;
    const uint32_t *span = k == 0 ? e->events.span : e->links.span;
    uint32_t spans = e->rows[SEG_SPAN], rows = e->rows[table];
    uint32_t *first = ARENA_ARRAY(e->a, uint32_t, (size_t)spans + 2);
    uint32_t *list = ARENA_ARRAY(e->a, uint32_t, rows);
    if (first == NULL || list == NULL)
        return arena_err(e->a);
    for (uint32_t r = 0; r < rows; r++)
        first[span[r] + 2]++;
    for (uint32_t s = 2; s < spans + 2; s++)
        first[s] += first[s - 1];
    for (uint32_t r = 0; r < rows; r++)
        list[first[span[r] + 1]++] = r;
    assert(first[spans] == rows);
    e->first[k] = first;
    e->list[k] = list;
    return ERR_OK;
}

/* The root of a trace: of the spans without a parent the one that starts first, then the smallest id. */
enum err eval_tree_roots(struct eval *e)
{
    if (e->roots != NULL)
        return ERR_OK;
    enum err err = eval_fixed(e, SEG_F_TRACE | SEG_F_PARENT | SEG_F_START | SEG_F_SPAN_ID);
    if (err != ERR_OK)
        return err;
    uint32_t *roots = ARENA_ARRAY(e->a, uint32_t, e->rows[EVAL_TRACE]);
    if (roots == NULL)
        return arena_err(e->a);
    memset(roots, 0xff, sizeof roots[0] * e->rows[EVAL_TRACE]);
    const struct seg_fixed *f = &e->fixed;
    for (uint32_t r = 0; r < e->rows[SEG_SPAN]; r++) {
        if (f->parent_id[r] != 0)
            continue;
        uint32_t *best = &roots[f->trace[r]];
        if (*best == EVAL_NO_ROW || f->start_ns[r] < f->start_ns[*best] ||
            (f->start_ns[r] == f->start_ns[*best] &&
             memcmp(&f->span_id[r], &f->span_id[*best], SPAN_ID_BYTES) < 0))
            *best = r;
    }
    e->roots = roots;
    return ERR_OK;
}

struct by_id {
    uint64_t id;
    uint32_t row, next_child, first_child; /* indexes into the trace's array, EVAL_NO_ROW: none */
    uint32_t parent;
    bool is_root;
};

static int by_id_cmp(const void *a, const void *b)
{
    const struct by_id *x = a, *y = b;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Most traces are small: then moving neighbours beats qsort's calls. */
static void sort_by_id(struct by_id *list, uint32_t count)
{
    if (count > 24) {
        qsort(list, count, sizeof list[0], by_id_cmp);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct by_id one = list[i];
        uint32_t at = i;
        for (; at > 0 && by_id_cmp(&one, &list[at - 1]) < 0; at--)
            list[at] = list[at - 1];
        list[at] = one;
    }
}

/* The entry that a span of kind `kind` has for a parent: of a pair with one id the client for a server, the server for all others. */
static uint32_t parent_of(const struct eval *e, const struct by_id *list, uint32_t count,
                          uint64_t id, uint32_t self)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (list[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == count || list[low].id != id)
        return EVAL_NO_ROW;
    bool is_pair = low + 1 < count && list[low + 1].id == id;
    if (!is_pair)
        return low == self ? EVAL_NO_ROW : low;
    if (low + 2 < count && list[low + 2].id == id)
        return EVAL_NO_ROW;
    uint8_t wanted = e->fixed.kind[list[self].row] == KIND_SERVER ? KIND_CLIENT : KIND_SERVER;
    for (uint32_t k = low; k < low + 2; k++)
        if (k != self && e->fixed.kind[list[k].row] == wanted)
            return k;
    return EVAL_NO_ROW;
}

/* More than two spans with one id: such a trace stays without numbers. */
static bool has_triple(const struct by_id *list, uint32_t count)
{
    for (uint32_t i = 2; i < count; i++)
        if (list[i].id == list[i - 2].id)
            return true;
    return false;
}

/* Left on the way down, right on the way up; an explicit walk, since a trace may be as deep as it has spans. */
static void number_from(struct eval *e, const struct by_id *list, uint32_t root, int64_t *counter)
{
    uint32_t at = root;
    struct eval_tree *t = &e->tree;

    for (;;) {
        uint32_t row = list[at].row;
        t->left[row] = ++*counter;
        t->parent[row] = at == root ? -1 : t->left[list[list[at].parent].row];
        if (list[at].first_child != EVAL_NO_ROW) {
            at = list[at].first_child;
            continue;
        }
        for (;;) {
            t->right[list[at].row] = ++*counter;
            if (at == root)
                return;
            if (list[at].next_child != EVAL_NO_ROW)
                break;
            at = list[at].parent;
        }
        at = list[at].next_child;
    }
}

static void number_trace(struct eval *e, struct by_id *list, uint32_t count)
{
    int64_t counter = 0;

    sort_by_id(list, count);
    bool is_numbered = !has_triple(list, count);
    for (uint32_t i = count; i-- > 0;) {
        uint64_t parent = e->fixed.parent_id[list[i].row];
        list[i].is_root = parent == 0;
        list[i].parent = parent == 0 ? EVAL_NO_ROW : parent_of(e, list, count, parent, i);
        if (list[i].parent == EVAL_NO_ROW)
            continue;
        struct by_id *p = &list[list[i].parent];
        list[i].next_child = p->first_child;
        p->first_child = i;
        e->tree.child_count[p->row]++;
    }
    for (uint32_t i = 0; is_numbered && i < count; i++)
        if (list[i].is_root)
            number_from(e, list, i, &counter);
}

static enum err tree_alloc(struct eval *e, struct eval_tree *t)
{
    size_t n = e->rows[SEG_SPAN];

    t->left = ARENA_ARRAY(e->a, int64_t, n);
    t->right = ARENA_ARRAY(e->a, int64_t, n);
    t->parent = ARENA_ARRAY(e->a, int64_t, n);
    t->child_count = ARENA_ARRAY(e->a, int64_t, n);
    return arena_err(e->a);
}

enum err eval_tree_build(struct eval *e)
{
    if (e->has_tree)
        return ERR_OK;
    enum err err = eval_fixed(e, SEG_F_TRACE | SEG_F_SPAN_ID | SEG_F_PARENT | SEG_F_KIND);
    if (err == ERR_OK)
        err = tree_alloc(e, &e->tree);
    if (err != ERR_OK)
        return err;
    uint32_t spans = e->rows[SEG_SPAN], traces = e->rows[EVAL_TRACE];
    uint32_t *first = ARENA_ARRAY(e->a, uint32_t, (size_t)traces + 2);
    struct by_id *list = ARENA_ARRAY(e->a, struct by_id, spans);
    if (first == NULL || list == NULL)
        return arena_err(e->a);
    for (uint32_t r = 0; r < spans; r++)
        first[e->fixed.trace[r] + 2]++;
    for (uint32_t t = 2; t < traces + 2; t++)
        first[t] += first[t - 1];
    for (uint32_t r = 0; r < spans; r++)
        list[first[e->fixed.trace[r] + 1]++] = (struct by_id){.id = e->fixed.span_id[r],
                                                              .row = r,
                                                              .next_child = EVAL_NO_ROW,
                                                              .first_child = EVAL_NO_ROW,
                                                              .parent = EVAL_NO_ROW};
    for (uint32_t t = 0; t < traces; t++)
        number_trace(e, list + first[t], first[t + 1] - first[t]);
    e->has_tree = true;
    return ERR_OK;
}
