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

/* --- the forest: who stands below whom --- */

struct by_id {
    uint64_t id;
    uint32_t row, next_child, first_child; /* indexes into the trace's array, EVAL_NO_ROW: none */
    uint32_t parent;
};

static bool id_before(const struct by_id *x, const struct by_id *y)
{
    return x->id != y->id ? x->id < y->id : x->row < y->row;
}

static int by_id_cmp(const void *a, const void *b)
{
    return id_before(a, b) ? -1 : id_before(b, a);
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
        for (; at > 0 && id_before(&one, &list[at - 1]); at--)
            list[at] = list[at - 1];
        list[at] = one;
    }
}

/* The entry that a span has for a parent: of a pair with one id the client for a server, the server for all others; of two that would do, none,
 * so that the order of rows does not matter. */
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
    uint32_t found = EVAL_NO_ROW;
    for (uint32_t k = low; k < low + 2; k++) {
        if (k == self || e->fixed.kind[list[k].row] != wanted)
            continue;
        if (found != EVAL_NO_ROW)
            return EVAL_NO_ROW;
        found = k;
    }
    return found;
}

/* More than two spans with one id: such a trace stays without a tree. */
static bool has_triple(const struct by_id *list, uint32_t count)
{
    for (uint32_t i = 2; i < count; i++)
        if (list[i].id == list[i - 2].id)
            return true;
    return false;
}

/* A forest that is being made, trace after trace. */
struct planting {
    struct eval *e;
    uint32_t *order, *depth, *child_count; /* child_count: by row, may be NULL */
    uint8_t *alive;
    uint32_t at, depth_end;
};

static void place(struct planting *p, uint32_t row, uint32_t depth)
{
    p->order[p->at] = row;
    p->depth[p->at++] = depth;
    p->alive[row] = 1;
    p->depth_end = depth >= p->depth_end ? depth + 1 : p->depth_end;
}

/* The tree below a root; an explicit walk, since a trace may be as deep as it has spans. */
static void place_tree(struct planting *p, const struct by_id *list, uint32_t root)
{
    uint32_t at = root, depth = 0;

    for (;;) {
        place(p, list[at].row, depth);
        if (list[at].first_child != EVAL_NO_ROW) {
            at = list[at].first_child;
            depth++;
            continue;
        }
        while (at != root && list[at].next_child == EVAL_NO_ROW) {
            at = list[at].parent;
            depth--;
        }
        if (at == root)
            return;
        at = list[at].next_child;
    }
}

/* Spans that no root leads to stand behind the trees, alone and not alive. */
static void place_trace(struct planting *p, struct by_id *list, uint32_t count)
{
    struct eval *e = p->e;
    uint32_t first = p->at;

    sort_by_id(list, count);
    bool is_planted = !has_triple(list, count);
    for (uint32_t i = count; i-- > 0;) {
        uint64_t parent = e->fixed.parent_id[list[i].row];
        list[i].parent = parent == 0 ? EVAL_NO_ROW : parent_of(e, list, count, parent, i);
        if (list[i].parent == EVAL_NO_ROW)
            continue;
        struct by_id *above = &list[list[i].parent];
        list[i].next_child = above->first_child;
        above->first_child = i;
        if (p->child_count != NULL)
            p->child_count[above->row]++;
    }
    for (uint32_t i = 0; is_planted && i < count; i++)
        if (e->fixed.parent_id[list[i].row] == 0)
            place_tree(p, list, i);
    for (uint32_t i = 0; p->at < first + count; i++) {
        if (p->alive[list[i].row] != 0)
            continue;
        p->order[p->at] = list[i].row;
        p->depth[p->at++] = 0;
    }
}

/* Spans by trace: list[first[t]] .. list[first[t + 1] - 1]. */
static enum err spans_by_trace(struct eval *e, uint32_t **ret_first, struct by_id **ret_list)
{
    uint32_t spans = e->rows[SEG_SPAN], traces = e->rows[EVAL_TRACE];
    uint32_t *first = ARENA_ARRAY(e->a, uint32_t, (size_t)traces + 2);
    struct by_id *list = arena_alloc(e->a, sizeof *list * spans);

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
    *ret_first = first;
    *ret_list = list;
    return ERR_OK;
}

/* From ids alone: for any segment, and whatever its traces are. */
static enum err plant(struct eval *e, uint32_t *child_count, struct eval_forest *ret)
{
    uint32_t spans = e->rows[SEG_SPAN];
    uint32_t *first = NULL;
    struct by_id *list = NULL;
    enum err err = eval_fixed(e, SEG_F_TRACE | SEG_F_SPAN_ID | SEG_F_PARENT | SEG_F_KIND);

    if (err == ERR_OK)
        err = spans_by_trace(e, &first, &list);
    if (err != ERR_OK)
        return err;
    struct planting p = {.e = e, .child_count = child_count, .depth_end = 1};
    p.order = arena_alloc(e->a, sizeof p.order[0] * spans);
    p.depth = arena_alloc(e->a, sizeof p.depth[0] * spans);
    p.alive = ARENA_ARRAY(e->a, uint8_t, spans);
    if (p.order == NULL || p.depth == NULL || p.alive == NULL)
        return arena_err(e->a);
    for (uint32_t t = 0; t < e->rows[EVAL_TRACE]; t++)
        place_trace(&p, list + first[t], first[t + 1] - first[t]);
    assert(p.at == spans);
    *ret = (struct eval_forest){p.order, p.depth, NULL, p.alive, first, p.depth_end};
    return ERR_OK;
}

/* As the rows stand.  False when one of the traces needs its ids looked at. */
static enum err adopt(struct eval *e, struct eval_forest *ret, bool *ret_done)
{
    struct seg_depths d = {0};
    uint32_t spans = e->rows[SEG_SPAN];
    uint8_t *alive = NULL;
    enum err err = e->s->ops->depths == NULL ? ERR_OK : segment_depths(e->s, &d);

    *ret_done = err == ERR_OK && d.are_trees;
    if (!*ret_done)
        return err;
    if (d.orphan_count != 0) {
        alive = arena_alloc(e->a, spans);
        if (alive == NULL)
            return arena_err(e->a);
        memset(alive, 1, spans);
    }
    for (uint32_t i = 0; i < d.orphan_count; i++) {
        uint32_t r = d.orphans[i];
        do
            alive[r++] = 0;
        while (r < spans && (d.narrow != NULL ? d.narrow[r] : d.wide[r]) != 0);
    }
    *ret = (struct eval_forest){NULL, d.wide, d.narrow, alive, d.first, d.depth_end};
    return ERR_OK;
}

enum err eval_tree_forest(struct eval *e)
{
    bool is_done = false;

    if (e->forest.depth != NULL || e->forest.narrow != NULL)
        return ERR_OK;
    enum err err = adopt(e, &e->forest, &is_done);
    return err != ERR_OK || is_done ? err : plant(e, NULL, &e->forest);
}

/* --- the numbers that queries can ask for --- */

/* Left on the way down, right on the way up; a span that no root leads to keeps zeros.  `open` has room for every depth. */
static void number_trace(struct eval_tree *t, const struct eval_forest *f, uint32_t from,
                         uint32_t to, uint32_t *open)
{
    int64_t counter = 0;
    uint32_t height = 0;

    for (uint32_t i = from; i <= to; i++) {
        bool is_over = i == to || f->alive[f->order[i]] == 0;
        while (height > (is_over ? 0 : f->depth[i]))
            t->right[open[--height]] = ++counter;
        if (is_over)
            return;
        t->left[f->order[i]] = ++counter;
        t->parent[f->order[i]] = height == 0 ? -1 : t->left[open[height - 1]];
        open[height++] = f->order[i];
    }
}

/* Children stand in the order of their ids here, whatever their order in the segment is. */
enum err eval_tree_build(struct eval *e)
{
    struct eval_forest f;
    struct eval_tree *t = &e->tree;
    size_t n = e->rows[SEG_SPAN];

    if (e->has_tree)
        return ERR_OK;
    uint32_t *child_count = ARENA_ARRAY(e->a, uint32_t, n);
    if (child_count == NULL)
        return arena_err(e->a);
    enum err err = plant(e, child_count, &f);
    if (err != ERR_OK)
        return err;
    t->left = ARENA_ARRAY(e->a, int64_t, n);
    t->right = ARENA_ARRAY(e->a, int64_t, n);
    t->parent = ARENA_ARRAY(e->a, int64_t, n);
    t->child_count = ARENA_ARRAY(e->a, int64_t, n);
    uint32_t *open = ARENA_ARRAY(e->a, uint32_t, (size_t)f.depth_end + 1);
    if (arena_err(e->a) != ERR_OK)
        return arena_err(e->a);
    for (uint32_t trace = 0; trace < e->rows[EVAL_TRACE]; trace++)
        number_trace(t, &f, f.first[trace], f.first[trace + 1], open);
    for (size_t r = 0; r < n; r++)
        t->child_count[r] = child_count[r];
    e->has_tree = true;
    return ERR_OK;
}
