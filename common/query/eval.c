#include "common/query/eval.h"

#include <assert.h>

enum { CONJUNCTS_MAX = 256, CONJUNCTS_LISTED = 32 };

void eval_init(struct eval *e, struct segment *s, struct arena *a, const atomic_bool *cancel)
{
    assert(s != NULL);
    assert(a != NULL);
    *e = (struct eval){.s = s, .a = a, .cancel = cancel};
    for (uint32_t t = 0; t < SEG_TABLE_COUNT; t++)
        e->rows[t] = s->row_count[t];
    e->rows[EVAL_TRACE] = s->trace_count;
}

enum err eval_fixed(struct eval *e, uint32_t which)
{
    uint32_t missing = which & ~e->fixed_have;

    if (missing == 0)
        return ERR_OK;
    enum err err = segment_fixed(e->s, missing, &e->fixed);
    if (err == ERR_OK)
        e->fixed_have |= missing;
    return err;
}

enum err eval_traces(struct eval *e)
{
    if (e->has_traces)
        return ERR_OK;
    enum err err = segment_traces(e->s, &e->traces);
    e->has_traces = err == ERR_OK;
    return err;
}

enum err eval_mask_get(struct eval *e, uint32_t table, uint8_t **ret)
{
    size_t bytes = e->rows[table] < sizeof(struct eval_mask_free) ? sizeof(struct eval_mask_free)
                                                                  : e->rows[table];
    struct eval_mask_free *f = e->free_masks[table];
    uint8_t *mask;

    assert(table < EVAL_TABLES);
    if (f != NULL) {
        e->free_masks[table] = f->next;
        mask = (uint8_t *)f;
    } else {
        mask = arena_alloc(e->a, bytes);
        if (mask == NULL)
            return arena_err(e->a);
    }
    memset(mask, 0, bytes);
    *ret = mask;
    return ERR_OK;
}

void eval_mask_put(struct eval *e, uint32_t table, uint8_t *mask)
{
    if (mask == NULL)
        return;
    struct eval_mask_free *f = (struct eval_mask_free *)(void *)mask;
    f->next = e->free_masks[table];
    e->free_masks[table] = f;
}

/* Which rows of `table` the node is judged on, and what is known not to be there ("no event", "no link"). */
struct domain {
    uint32_t table;
    unsigned none;
};

static enum err mask_of(struct eval *e, const struct eval_node *n, struct domain d, uint8_t **ret);

static enum err mask_ones(struct eval *e, uint32_t table, uint8_t **ret)
{
    enum err err = eval_mask_get(e, table, ret);

    if (err == ERR_OK)
        memset(*ret, 1, e->rows[table]);
    return err;
}

static enum err mask_not(struct eval *e, uint32_t table, uint8_t **mask)
{
    if (*mask == NULL)
        return mask_ones(e, table, mask);
    for (uint32_t r = 0; r < e->rows[table]; r++)
        (*mask)[r] ^= 1;
    return ERR_OK;
}

/* Puts `from` away and leaves the result in *into; no row at all is NULL. */
static void mask_and(struct eval *e, uint32_t table, uint8_t **into, uint8_t *from)
{
    if (*into == NULL || from == NULL) {
        eval_mask_put(e, table, *into);
        eval_mask_put(e, table, from);
        *into = NULL;
        return;
    }
    uint8_t any = 0;
    for (uint32_t r = 0; r < e->rows[table]; r++)
        any |= (*into)[r] &= from[r];
    eval_mask_put(e, table, from);
    if (any == 0) {
        eval_mask_put(e, table, *into);
        *into = NULL;
    }
}

static void mask_or(struct eval *e, uint32_t table, uint8_t **into, uint8_t *from)
{
    if (*into == NULL) {
        *into = from;
        return;
    }
    for (uint32_t r = 0; from != NULL && r < e->rows[table]; r++)
        (*into)[r] |= from[r];
    eval_mask_put(e, table, from);
}

/* A mask of `table` as rows of the spans (resource, scope, trace), or of spans as rows of events or links. */
static enum err gather(struct eval *e, uint32_t table, const uint32_t *index, uint32_t to,
                       uint8_t **mask)
{
    uint8_t *from = *mask, *out = NULL;

    if (from == NULL)
        return ERR_OK;
    enum err err = eval_mask_get(e, to, &out);
    if (err != ERR_OK)
        return err;
    for (uint32_t r = 0; r < e->rows[to]; r++)
        out[r] = from[index[r]];
    eval_mask_put(e, table, from);
    *mask = out;
    return ERR_OK;
}

enum err eval_to_spans(struct eval *e, uint32_t table, uint8_t **mask)
{
    uint32_t which = table == SEG_RESOURCE ? SEG_F_RESOURCE
                     : table == SEG_SCOPE  ? SEG_F_SCOPE
                                           : SEG_F_TRACE;

    if (table == SEG_SPAN || table == SEG_EVENT || table == SEG_LINK || *mask == NULL)
        return ERR_OK;
    if ((e->fixed_have & which) == 0 && table != EVAL_TRACE) {
        enum err err = eval_match_shared(e, table, mask);
        if (err != ERR_NOT_FOUND)
            return err;
    }
    enum err err = eval_fixed(e, which);
    if (err != ERR_OK)
        return err;
    return gather(e, table,
                  table == SEG_RESOURCE ? e->fixed.resource
                  : table == SEG_SCOPE  ? e->fixed.scope
                                        : e->fixed.trace,
                  SEG_SPAN, mask);
}

static enum err atom_rows(struct eval *e, const struct eval_node *n, struct eval_source *src,
                          uint8_t **ret)
{
    enum err err = n->kind == EVAL_COMPARE
                       ? eval_atom_compare(e, src, &n->pred, ret)
                       : eval_atom_exists(e, src, n->kind == EVAL_NOT_EXISTS, ret);

    return err == ERR_OK ? eval_to_spans(e, src->table, ret) : err;
}

/* Unscoped: the span's value hides the resource's. */
static enum err atom_unscoped(struct eval *e, const struct eval_node *n, uint8_t **ret)
{
    uint8_t *span = NULL, *resource = NULL, *present = NULL;
    enum err err = atom_rows(e, n, n->sources[0], &span);

    if (err == ERR_OK)
        err = atom_rows(e, n, n->sources[1], &resource);
    if (err == ERR_OK && n->kind == EVAL_COMPARE && resource != NULL)
        err = eval_atom_exists(e, n->sources[0], false, &present);
    if (err == ERR_OK && present != NULL) {
        err = mask_not(e, SEG_SPAN, &present);
        if (err == ERR_OK)
            mask_and(e, SEG_SPAN, &resource, present);
    }
    if (err != ERR_OK)
        return err;
    mask_or(e, SEG_SPAN, &span, resource);
    *ret = span;
    return ERR_OK;
}

/* By the segment itself, or from columns that are read now; nobody asks there which resource a span has. */
static enum err atom_late(struct eval *e, const struct eval_node *n, uint8_t **ret)
{
    struct eval_node bound = *n;
    bool is_by_table = e->is_by_table;
    enum err err = eval_match(e, n, ret);

    if (err != ERR_NOT_FOUND)
        return err;
    e->is_by_table = true;
    err = eval_bind_sources(e, n->late, n->kind == EVAL_COMPARE ? &n->pred : NULL, bound.sources);
    e->is_by_table = is_by_table;
    if (err != ERR_OK)
        return err;
    return bound.sources[1] != NULL ? atom_unscoped(e, &bound, ret)
                                    : atom_rows(e, &bound, bound.sources[0], ret);
}

static enum err atom(struct eval *e, const struct eval_node *n, struct domain d, uint8_t **ret)
{
    if (n->late != NULL) {
        enum err err = atom_late(e, n, ret);
        return err == ERR_OK && n->kind == EVAL_NOT_EXISTS ? mask_not(e, SEG_SPAN, ret) : err;
    }
    uint32_t table = n->sources[0]->table;
    bool is_child = table == SEG_EVENT || table == SEG_LINK;

    if (is_child &&
        d.table != table) { /* "no event": everything is nil, and nothing lacks it either */
        assert(n->deps == (n->deps & d.none));
        *ret = NULL;
        return ERR_OK;
    }
    enum err err =
        n->sources[1] != NULL ? atom_unscoped(e, n, ret) : atom_rows(e, n, n->sources[0], ret);
    if (err == ERR_OK && n->kind == EVAL_NOT_EXISTS)
        err = mask_not(e, is_child ? table : SEG_SPAN, ret);
    return err;
}

/* Row by row: arithmetic, attribute against attribute. */
static enum err rows_one_by_one(struct eval *e, const struct eval_node *n, struct domain d,
                                uint8_t **ret)
{
    uint8_t *mask = NULL;
    enum err err = eval_mask_get(e, d.table, &mask);

    if (err != ERR_OK)
        return err;
    for (uint32_t r = 0; r < e->rows[d.table]; r++) {
        struct eval_at at = {r, EVAL_NO_ROW, EVAL_NO_ROW};
        if (d.table == SEG_EVENT)
            at = (struct eval_at){e->events.span[r], r, EVAL_NO_ROW};
        if (d.table == SEG_LINK)
            at = (struct eval_at){e->links.span[r], EVAL_NO_ROW, r};
        mask[r] = eval_value_true(e, n, at);
    }
    *ret = mask;
    return ERR_OK;
}

static enum err constant(struct eval *e, const struct eval_node *n, struct domain d, uint8_t **ret)
{
    *ret = NULL;
    if (n->value.type != VALUE_BOOL || n->value.i == 0)
        return ERR_OK;
    return mask_ones(e, d.table, ret);
}

/* What && joins, added to the list; 0 when that is more than it holds. */
static uint32_t conjuncts_list(const struct eval_node *n, const struct eval_node **list,
                               uint32_t count)
{
    for (; n->kind == EVAL_AND; n = n->left) { /* chains lean to the left */
        count = conjuncts_list(n->right, list, count);
        if (count == 0)
            return 0;
    }
    if (count == CONJUNCTS_LISTED)
        return 0;
    list[count] = n;
    return count + 1;
}

static enum err all_of(struct eval *e, const struct eval_node *const *nodes, uint32_t count,
                       struct domain d, uint8_t **ret);

/* The node where every row of d.table has all it depends on. */
static enum err mask_direct(struct eval *e, const struct eval_node *n, struct domain d,
                            uint8_t **ret)
{
    uint8_t *right = NULL;
    enum err err;

    switch (n->kind) {
    case EVAL_CONST: return constant(e, n, d, ret);
    case EVAL_COMPARE:
    case EVAL_EXISTS:
    case EVAL_NOT_EXISTS: return atom(e, n, d, ret);
    case EVAL_NOT:
        err = mask_of(e, n->left, d, ret);
        return err == ERR_OK ? mask_not(e, d.table, ret) : err;
    case EVAL_ATTRIBUTE:
    case EVAL_GENERIC: return rows_one_by_one(e, n, d, ret);
    case EVAL_AND:
    case EVAL_OR: break;
    }
    const struct eval_node *list[CONJUNCTS_LISTED];
    uint32_t count = n->kind == EVAL_AND ? conjuncts_list(n, list, 0) : 0;
    if (count != 0)
        return all_of(e, list, count, d, ret);
    err = mask_of(e, n->left, d, ret);
    if (err != ERR_OK || (n->kind == EVAL_AND && *ret == NULL))
        return err;
    err = mask_of(e, n->right, d, &right);
    if (err != ERR_OK)
        return err;
    if (n->kind == EVAL_AND)
        mask_and(e, d.table, ret, right);
    else
        mask_or(e, d.table, ret, right);
    return ERR_OK;
}

/* The cheapest first: mostly one that is not met anywhere here spares the others. */
static enum err all_of(struct eval *e, const struct eval_node *const *nodes, uint32_t count,
                       struct domain d, uint8_t **ret)
{
    uint8_t *mask = NULL, *next = NULL;
    enum err err = ERR_OK;
    uint8_t order[CONJUNCTS_MAX];

    assert(count <= CONJUNCTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0 && nodes[order[at - 1]]->cost > nodes[i]->cost; at--)
            order[at] = order[at - 1];
        order[at] = (uint8_t)i;
    }
    for (uint32_t i = 0; i < count; i++) {
        err = mask_of(e, nodes[order[i]], d, &next);
        if (err != ERR_OK)
            return err;
        if (i == 0)
            mask = next;
        else
            mask_and(e, d.table, &mask, next);
        if (mask == NULL)
            break;
    }
    *ret = mask;
    return ERR_OK;
}

/* The spans with one event (or link) for which all nodes hold; a span without any is judged with "none" bound. */
static enum err exists_child(struct eval *e, const struct eval_node *const *nodes, uint32_t count,
                             struct domain d, uint32_t table, uint8_t **ret)
{
    unsigned bit = table == SEG_EVENT ? EVAL_EVENT : EVAL_LINK;
    const uint32_t *span = table == SEG_EVENT ? e->events.span : e->links.span;
    const uint32_t *first = e->first[table == SEG_LINK];
    uint8_t *child = NULL, *out = NULL;
    enum err err = all_of(e, nodes, count, (struct domain){table, d.none}, &child);

    assert(first != NULL);
    if (err == ERR_OK)
        err = all_of(e, nodes, count, (struct domain){SEG_SPAN, d.none | bit}, &out);
    for (uint32_t r = 0; err == ERR_OK && out != NULL && r < e->rows[SEG_SPAN]; r++)
        out[r] &= first[r] == first[r + 1];
    if (err == ERR_OK && out == NULL && child != NULL)
        err = eval_mask_get(e, SEG_SPAN, &out);
    if (err != ERR_OK)
        return err;
    for (uint32_t r = 0; child != NULL && r < e->rows[table]; r++)
        out[span[r]] |= child[r];
    eval_mask_put(e, table, child);
    *ret = out;
    return ERR_OK;
}

static uint32_t child_at(const struct eval *e, unsigned k, uint32_t span, uint32_t i)
{
    return e->first[k][span + 1] == e->first[k][span] ? EVAL_NO_ROW
                                                      : e->list[k][e->first[k][span] + i];
}

static uint32_t child_count(const struct eval *e, unsigned k, uint32_t span, unsigned deps)
{
    unsigned bit = k == 0 ? EVAL_EVENT : EVAL_LINK;

    if ((deps & bit) == 0 || e->first[k][span + 1] == e->first[k][span])
        return 1;
    return e->first[k][span + 1] - e->first[k][span];
}

/* Every event with every link of a span: for conditions that bind both and can not be taken apart. */
static enum err exists_pairs(struct eval *e, const struct eval_node *n, struct domain d,
                             uint8_t **ret)
{
    unsigned deps = n->deps & ~d.none;
    uint8_t *mask = NULL;
    enum err err = eval_bind_ready(e, n);

    if (err == ERR_OK)
        err = eval_mask_get(e, SEG_SPAN, &mask);

    for (uint32_t r = 0; err == ERR_OK && r < e->rows[SEG_SPAN]; r++) {
        uint32_t events = child_count(e, 0, r, deps), links = child_count(e, 1, r, deps);
        if (e->cancel != NULL && atomic_load_explicit(e->cancel, memory_order_relaxed))
            return ERR_CANCELED;
        for (uint64_t k = 0; mask[r] == 0 && k < (uint64_t)events * links; k++) {
            struct eval_at at = {r, EVAL_NO_ROW, EVAL_NO_ROW};
            if ((deps & EVAL_EVENT) != 0)
                at.event = child_at(e, 0, r, (uint32_t)(k / links));
            if ((deps & EVAL_LINK) != 0)
                at.link = child_at(e, 1, r, (uint32_t)(k % links));
            mask[r] = eval_value_true(e, n, at);
        }
    }
    if (err == ERR_OK)
        *ret = mask;
    return err;
}

struct conjuncts {
    const struct eval_node *span[CONJUNCTS_MAX], *event[CONJUNCTS_MAX], *link[CONJUNCTS_MAX],
        *both[CONJUNCTS_MAX];
    uint32_t span_count, event_count, link_count, both_count;
};

/* False when there are too many. */
static bool take_apart(const struct eval_node *n, unsigned none, struct conjuncts *c)
{
    while (n->kind == EVAL_AND) { /* chains lean to the left */
        if (!take_apart(n->right, none, c))
            return false;
        n = n->left;
    }
    unsigned deps = n->deps & ~none;
    if (c->span_count + c->event_count + c->link_count + c->both_count == CONJUNCTS_MAX)
        return false;
    if (deps == 0)
        c->span[c->span_count++] = n;
    else if (deps == EVAL_EVENT)
        c->event[c->event_count++] = n;
    else if (deps == EVAL_LINK)
        c->link[c->link_count++] = n;
    else
        c->both[c->both_count++] = n;
    return true;
}

static enum err exists_and(struct eval *e, const struct eval_node *n, struct domain d,
                           uint8_t **ret)
{
    struct conjuncts *c = ARENA_NEW(e->a, struct conjuncts);
    uint8_t *mask = NULL, *next = NULL;
    enum err err = ERR_OK;

    if (c == NULL)
        return arena_err(e->a);
    bool is_apart = take_apart(n, d.none, c);
    bool is_tangled =
        c->both_count > 1 || (c->both_count == 1 && c->event_count + c->link_count > 0);
    if (!is_apart || is_tangled)
        return exists_pairs(e, n, d, ret);
    bool is_first = c->span_count == 0;
    if (!is_first) {
        err = all_of(e, c->span, c->span_count, d, &mask);
        if (err != ERR_OK || mask == NULL) {
            *ret = NULL;
            return err;
        }
    }
    for (int k = 0; k < 3 && err == ERR_OK; k++) {
        uint32_t count = k == 0 ? c->event_count : k == 1 ? c->link_count : c->both_count;
        if (count == 0)
            continue;
        if (k == 2)
            err = mask_of(e, c->both[0], d, &next);
        else
            err = exists_child(e, k == 0 ? c->event : c->link, count, d,
                               k == 0 ? SEG_EVENT : SEG_LINK, &next);
        if (err != ERR_OK)
            return err;
        if (is_first)
            mask = next;
        else
            mask_and(e, SEG_SPAN, &mask, next);
        is_first = false;
    }
    *ret = mask;
    return err;
}

/* Spans with a binding of what is still unbound (deps) that makes the node true. */
static enum err exists(struct eval *e, const struct eval_node *n, struct domain d, uint8_t **ret)
{
    unsigned deps = n->deps & ~d.none;

    assert(d.table == SEG_SPAN);
    assert(deps != 0);
    if (n->kind == EVAL_OR)
        return mask_direct(e, n, d, ret);
    if (n->kind == EVAL_AND)
        return exists_and(e, n, d, ret);
    if (deps == (EVAL_EVENT | EVAL_LINK))
        return exists_pairs(e, n, d, ret);
    return exists_child(e, &n, 1, d, deps == EVAL_EVENT ? SEG_EVENT : SEG_LINK, ret);
}

static enum err mask_of(struct eval *e, const struct eval_node *n, struct domain d, uint8_t **ret)
{
    unsigned deps = n->deps & ~d.none;

    if (e->cancel != NULL && atomic_load_explicit(e->cancel, memory_order_relaxed))
        return ERR_CANCELED;
    *ret = NULL;
    if (d.table == SEG_SPAN)
        return deps != 0 ? exists(e, n, d, ret) : mask_direct(e, n, d, ret);
    unsigned bit = d.table == SEG_EVENT ? EVAL_EVENT : EVAL_LINK;
    if ((n->deps & bit) != 0) {
        assert((deps & ~bit) == 0);
        return mask_direct(e, n, d, ret);
    }
    enum err err = mask_of(e, n, (struct domain){SEG_SPAN, d.none}, ret);
    return err != ERR_OK
               ? err
               : gather(e, SEG_SPAN, d.table == SEG_EVENT ? e->events.span : e->links.span, d.table,
                        ret);
}

enum err eval_spans(struct eval *e, const struct eval_node *n, uint8_t **ret)
{
    return mask_of(e, n, (struct domain){SEG_SPAN, 0}, ret);
}
