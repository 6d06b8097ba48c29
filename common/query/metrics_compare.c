/* compare(): which values of which attributes the selected spans have, and all others. */
#include "common/query/metrics_priv.h"

#include <assert.h>

enum { BASELINE, SELECTION, SIDES };
enum { VALUES_MAX = 2000 /* of an attribute; the first met */, NAME_BYTES_MAX = 1 << 17 };
static const char SERVICE[] = "resource.service.name";
/* Every span has it: one whose resource does not say has "". */
static const struct ql_attribute SERVICE_ATTRIBUTE = {
    .scope = QL_SCOPE_RESOURCE, .name = {(const uint8_t *)"service.name", 12}};
/* Tempo reads the service's name twice, from two columns, and counts it twice; so what is shown as a share stays what it was. */
enum { SERVICE_WEIGHT = 2 };

struct comparison {
    struct metrics_part *p;
    struct eval *e;
    const struct engine_selection *sel;
    const uint8_t *selection; /* mask of the filter; NULL: nothing */
};

/* Too many values: those that come late are counted in the attribute's total alone. */
enum err metrics_compare_row(struct metrics_part *p, const struct value *key,
                             struct metrics_row **ret)
{
    const struct value all[METRICS_COMPARE_KEYS] = {key[0], VALUE_NONE};
    struct metrics_row *attribute = NULL;

    *ret = metrics_part_find(p, key);
    if (*ret != NULL)
        return ERR_OK;
    enum err err = metrics_part_row(p, all, &attribute);
    if (err == ERR_OK && key[1].type == VALUE_NIL)
        *ret = attribute;
    if (err == ERR_TOO_LARGE)
        return ERR_OK;
    if (err != ERR_OK || key[1].type == VALUE_NIL || attribute->value_count == VALUES_MAX)
        return err;
    attribute->value_count++;
    err = metrics_part_row(p, key, ret);
    return err == ERR_TOO_LARGE ? ERR_OK : err;
}

static bool is_selected(const struct comparison *c, uint32_t span)
{
    const struct ql_metrics *m = c->p->leaf;
    uint64_t start = c->e->fixed.start_ns[span];

    if (c->selection == NULL || c->selection[span] == 0)
        return false;
    return m->compare_end_ns == 0 ||
           (start > (uint64_t)m->compare_start_ns && start <= (uint64_t)m->compare_end_ns);
}

/* Spans of one value that follow each other mostly fall into one bin: they are added at once. */
struct tally {
    struct metrics_row *row; /* NULL: left out */
    uint64_t bin, count;
    bool is_known;
};

static enum err tally_flush(struct metrics_part *p, struct tally *t)
{
    enum err err = t->row == NULL ? ERR_OK : metrics_part_bin(p, t->row, t->bin, t->count);

    t->count = 0;
    return err;
}

static inline bool tally_again(struct tally *t, uint64_t bin)
{
    bool is_same = t->is_known && t->bin == bin;

    t->count += is_same;
    return is_same;
}

static enum err tally_add(struct metrics_part *p, struct tally *t, struct slice name,
                          struct value value, uint64_t bin)
{
    const struct value key[METRICS_COMPARE_KEYS] = {value_string(name), value};
    enum err err = ERR_OK;

    if (!t->is_known)
        err = metrics_compare_row(p, key, &t->row);
    t->is_known = true;
    if (err == ERR_OK)
        err = tally_flush(p, t);
    t->bin = bin;
    t->count++;
    return err;
}

static enum err count_values(struct comparison *c, struct arena *scratch, struct slice name,
                             const struct engine_keys *keys)
{
    struct tally *values = ARENA_ARRAY(scratch, struct tally, keys->value_count), all = {0};
    uint32_t interval;
    enum err err = arena_err(scratch);

    for (uint32_t r = 0; err == ERR_OK && r < c->e->rows[SEG_SPAN]; r++) {
        uint32_t code = keys->codes[r];
        if (c->sel->mask[r] == 0 || code == 0 ||
            !metrics_interval(c->p, c->e->fixed.start_ns[r], &interval))
            continue;
        uint64_t bin = (uint64_t)interval << 32 | (is_selected(c, r) ? SELECTION : BASELINE);
        if (!tally_again(&all, bin))
            err = tally_add(c->p, &all, name, VALUE_NONE, bin);
        if (err == ERR_OK && !tally_again(&values[code], bin))
            err = tally_add(c->p, &values[code], name, keys->values[code], bin);
    }
    for (uint32_t i = 0; err == ERR_OK && i < keys->value_count; i++)
        err = tally_flush(c->p, &values[i]);
    return err == ERR_OK ? tally_flush(c->p, &all) : err;
}

static enum err count_attribute(struct comparison *c, const struct ql_attribute *at,
                                struct arena *scratch)
{
    struct engine_keys keys;
    struct buf name;
    enum err err = engine_select_keys(c->e, at, c->sel, &keys);

    if (err != ERR_OK)
        return err;
    buf_init(&name, NAME_BYTES_MAX);
    ql_dump_attribute(&name, at);
    err = buf_err(&name);
    if (err == ERR_OK)
        err = count_values(c, scratch, buf_slice(&name), &keys);
    buf_release(&name);
    return err;
}

/* One attribute's columns at a time: a segment may have hundreds. */
static enum err count_table(struct comparison *c, enum seg_table table, enum ql_scope scope)
{
    struct eval *e = c->e;
    struct arena own, *kept = e->a;
    struct seg_key *keys = NULL;
    uint32_t count = 0;
    enum err err = segment_keys(e->s, table, e->a, &keys, &count);

    arena_init(&own, kept->budget);
    for (uint32_t i = 0; err == ERR_OK && i < count; i++) {
        const struct ql_attribute at = {.scope = scope, .name = keys[i].key};
        struct eval_bound *bound = e->bound;
        if (scope == QL_SCOPE_RESOURCE && slice_eq(at.name, SERVICE_ATTRIBUTE.name))
            continue;
        if (e->cancel != NULL && atomic_load_explicit(e->cancel, memory_order_relaxed))
            err = ERR_CANCELED;
        e->a = &own; /* what is bound here is forgotten again */
        if (err == ERR_OK)
            err = count_attribute(c, &at, &own);
        e->a = kept;
        e->bound = bound;
        arena_reset(&own);
    }
    arena_release(&own);
    return err;
}

enum err metrics_compare_observe(struct metrics_part *p, struct eval *e,
                                 const struct engine_selection *sel)
{
    static const enum ql_intrinsic intrinsics[] = {
        QL_I_NAME,         QL_I_KIND,       QL_I_STATUS,        QL_I_STATUS_MESSAGE, QL_I_ROOT_NAME,
        QL_I_ROOT_SERVICE, QL_I_SCOPE_NAME, QL_I_SCOPE_VERSION, QL_I_CHILD_COUNT};
    struct comparison c = {.p = p, .e = e, .sel = sel};
    struct eval_node *filter = NULL;
    uint8_t *mask = NULL;
    enum err err = eval_bind(e, p->leaf->compare->filter, &filter);

    if (err == ERR_OK)
        err = eval_spans(e, filter, &mask);
    c.selection = mask;
    if (err == ERR_OK)
        err = eval_fixed(e, SEG_F_START | SEG_F_RESOURCE);
    for (size_t i = 0; err == ERR_OK && i < sizeof intrinsics / sizeof intrinsics[0]; i++) {
        const struct ql_attribute at = {.intrinsic = intrinsics[i]};
        err = count_attribute(&c, &at, e->a);
    }
    if (err == ERR_OK)
        err = count_attribute(&c, &SERVICE_ATTRIBUTE, e->a);
    if (err == ERR_OK)
        err = count_table(&c, SEG_RESOURCE, QL_SCOPE_RESOURCE);
    return err == ERR_OK ? count_table(&c, SEG_SPAN, QL_SCOPE_SPAN) : err;
}

/* --- series --- */

struct ranked {
    const struct metrics_row *row;
    uint64_t total;
};

static int ranked_cmp(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    int c = slice_cmp(x->row->key[0].s, y->row->key[0].s);
    bool is_value_x = x->row->key[1].type != VALUE_NIL,
         is_value_y = y->row->key[1].type != VALUE_NIL;

    if (c != 0 || is_value_x != is_value_y)
        return c != 0 ? c : is_value_x - is_value_y;
    if (x->total != y->total)
        return x->total > y->total ? -1 : 1;
    return eval_value_order(x->row->key[1], y->row->key[1]);
}

static struct ranked *rank(const struct metrics_part *p, struct arena *a)
{
    struct ranked *list = ARENA_ARRAY(a, struct ranked, p->row_count);

    for (uint32_t i = 0; list != NULL && i < p->row_count; i++) {
        const struct metrics_bins *b = &p->rows[i]->bins;
        list[i].row = p->rows[i];
        for (uint32_t k = 0; b->mask != 0 && k <= b->mask; k++)
            list[i].total += b->slots[k].count;
    }
    if (list != NULL)
        qsort(list, p->row_count, sizeof list[0], ranked_cmp);
    return list;
}

/* One row's series of one side; none when it has no span there. */
static enum err give(const struct metrics_part *p, struct arena *a, const struct metrics_row *row,
                     uint32_t side, struct metrics_result *ret)
{
    static const char *const names[SIDES][2] = {{"baseline_total", "baseline"},
                                                {"selection_total", "selection"}};
    struct metrics_series *s = &ret->series[ret->count];
    const struct metrics_bins *b = &row->bins;
    bool is_value = row->key[1].type != VALUE_NIL, is_some = false;
    uint64_t weight = slice_eq_str(row->key[0].s, SERVICE) ? SERVICE_WEIGHT : 1;

    *s = (struct metrics_series){.points = ARENA_ARRAY(a, double, p->w.count),
                                 .labels = ARENA_ARRAY(a, struct result_attribute, 2),
                                 .label_count = 2};
    if (s->points == NULL || s->labels == NULL)
        return arena_err(a);
    for (uint32_t i = 0; b->mask != 0 && i <= b->mask; i++) {
        const struct metrics_bin *bin = &b->slots[i];
        if (bin->count == 0 || (uint32_t)bin->key != side)
            continue;
        s->points[bin->key >> 32] += (double)(bin->count * weight);
        is_some = true;
    }
    s->labels[0] = (struct result_attribute){SLICE_LIT("__meta_type"),
                                             value_string(slice_str(names[side][is_value]))};
    s->labels[1] = (struct result_attribute){row->key[0].s, row->key[1]};
    ret->count += is_some;
    return ERR_OK;
}

enum err metrics_compare_series(struct metrics_part *p, struct arena *a, struct metrics_result *ret)
{
    const struct ranked *list = rank(p, a);
    struct metrics_result out = {.interval_count = p->w.count};
    int64_t taken = 0;
    enum err err = ERR_OK;

    out.series = ARENA_ARRAY(a, struct metrics_series, (size_t)p->row_count * SIDES + 1);
    if (list == NULL || out.series == NULL)
        return arena_err(a);
    for (uint32_t i = 0; err == ERR_OK && i < p->row_count; i++) {
        const struct metrics_row *row = list[i].row;
        bool is_value = row->key[1].type != VALUE_NIL;
        taken = is_value ? taken + 1 : 0;
        if (taken > p->leaf->compare_top)
            continue;
        for (uint32_t side = 0; err == ERR_OK && side < SIDES; side++)
            err = give(p, a, row, side, &out);
    }
    *ret = out;
    return err;
}
