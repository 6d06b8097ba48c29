#include "common/base/hash.h"
#include "common/query/metrics_priv.h"

#include <assert.h>
#include <math.h>

enum {
    ROWS_FIRST = 16,
    BINS_FIRST = 4,
    BIN_BITS = 45 /* of a double: what 128 bins a power of two leave out */
};

static enum metrics_cells cells_of(enum ql_metrics_fn fn)
{
    switch (fn) {
    case QL_M_SUM:
    case QL_M_AVG: return METRICS_SUMS;
    case QL_M_MIN:
    case QL_M_MAX: return METRICS_EXTREMES;
    case QL_M_QUANTILE:
    case QL_M_COMPARE: return METRICS_BINS;
    case QL_M_RATE:
    case QL_M_COUNT:
    case QL_M_HISTOGRAM:
    case QL_M_NONE: break;
    }
    return METRICS_COUNTS;
}

enum err metrics_part_new(struct arena *a, const struct ql_metrics *leaf,
                          const struct metrics_window *w, uint32_t exemplars,
                          struct metrics_part **ret)
{
    struct metrics_part *p = ARENA_NEW(a, struct metrics_part);

    assert(leaf->pipeline != NULL);
    assert(metrics_query_window_is_good(w));
    if (p == NULL)
        return arena_err(a);
    *p = (struct metrics_part){.a = a,
                               .leaf = leaf,
                               .w = *w,
                               .per_step = 1 / (double)w->step_ns,
                               .cells = cells_of(leaf->fn),
                               .key_count = leaf->by_count + (leaf->fn == QL_M_HISTOGRAM),
                               .example_max = exemplars};
    if (leaf->fn == QL_M_COMPARE)
        p->key_count = METRICS_COMPARE_KEYS;
    p->examples = ARENA_ARRAY(a, struct metrics_example, exemplars);
    *ret = p;
    return arena_err(a);
}

struct value metrics_part_copy(struct arena *a, struct value v)
{
    if (v.type == VALUE_STRING)
        v.s = arena_dup(a, v.s);
    if (!value_is_array(v))
        return v;
    struct value *items = ARENA_ARRAY(a, struct value, v.array.count);
    for (uint32_t i = 0; items != NULL && i < v.array.count; i++)
        items[i] = metrics_part_copy(a, v.array.items[i]);
    v.array.items = items;
    v.array.count = items == NULL ? 0 : v.array.count;
    return v;
}

static uint64_t value_hash(struct value v)
{
    uint64_t h = (uint64_t)v.type * 0x9e3779b97f4a7c15u;

    if (v.type == VALUE_STRING)
        return h ^ hash_seeded(v.s);
    if (value_is_array(v)) {
        for (uint32_t i = 0; i < v.array.count; i++)
            h = h * 31 + value_hash(v.array.items[i]);
        return h;
    }
    if (v.type == VALUE_NIL || (v.type == VALUE_FLOAT && (v.f != v.f || v.f == 0.0)))
        return h; /* all NaN are one, and so are the zeros */
    return h ^ hash_seeded((struct slice){(const uint8_t *)&v.i, sizeof v.i});
}

static uint64_t key_hash(const struct metrics_part *p, const struct value *key)
{
    uint64_t h = 0;

    for (uint32_t i = 0; i < p->key_count; i++)
        h = h * 0x9e3779b97f4a7c15u + value_hash(key[i]);
    return h;
}

static struct metrics_row *find(const struct metrics_part *p, const struct value *key,
                                uint64_t hash)
{
    for (uint64_t at = hash; p->slots != NULL && p->slots[at & p->mask] != 0; at++) {
        struct metrics_row *row = p->rows[p->slots[at & p->mask] - 1];
        uint32_t i = 0;
        if (row->hash != hash)
            continue;
        while (i < p->key_count && eval_value_equal(row->key[i], key[i]))
            i++;
        if (i == p->key_count)
            return row;
    }
    return NULL;
}

struct metrics_row *metrics_part_find(const struct metrics_part *p, const struct value *key)
{
    return find(p, key, key_hash(p, key));
}

static void slot_put(uint32_t *slots, uint32_t mask, uint64_t hash, uint32_t number)
{
    while (slots[hash & mask] != 0)
        hash++;
    slots[hash & mask] = number;
}

/* Room for one more row in the list and the table. */
static enum err grow(struct metrics_part *p)
{
    if (p->row_count < p->row_cap)
        return ERR_OK;
    uint32_t cap = p->row_cap == 0 ? ROWS_FIRST : p->row_cap * 2, mask = cap * 2 - 1;
    struct metrics_row **rows = ARENA_ARRAY(p->a, struct metrics_row *, cap);
    uint32_t *slots = ARENA_ARRAY(p->a, uint32_t, (size_t)mask + 1);
    if (rows == NULL || slots == NULL)
        return arena_err(p->a);
    for (uint32_t i = 0; i < p->row_count; i++) {
        rows[i] = p->rows[i];
        slot_put(slots, mask, rows[i]->hash, i + 1);
    }
    p->rows = rows;
    p->row_cap = cap;
    p->slots = slots;
    p->mask = mask;
    return ERR_OK;
}

static void cells_new(struct metrics_part *p, struct metrics_row *row)
{
    if (p->cells == METRICS_COUNTS)
        row->counts = ARENA_ARRAY(p->a, uint64_t, p->w.count);
    if (p->cells == METRICS_SUMS)
        row->sums = ARENA_ARRAY(p->a, struct metrics_sum, p->w.count);
    if (p->cells == METRICS_EXTREMES)
        row->extremes = ARENA_ARRAY(p->a, double, p->w.count);
    for (uint32_t i = 0; row->extremes != NULL && i < p->w.count; i++)
        row->extremes[i] = NAN;
}

enum err metrics_part_row(struct metrics_part *p, const struct value *key, struct metrics_row **ret)
{
    uint64_t hash = key_hash(p, key);
    struct metrics_row *row = find(p, key, hash);

    if (row != NULL) {
        *ret = row;
        return ERR_OK;
    }
    if (p->row_count == METRICS_SERIES_MAX)
        return ERR_TOO_LARGE;
    enum err err = grow(p);
    if (err != ERR_OK)
        return err;
    row = ARENA_NEW(p->a, struct metrics_row);
    struct value *copy = ARENA_ARRAY(p->a, struct value, p->key_count);
    if (row == NULL || copy == NULL)
        return arena_err(p->a);
    for (uint32_t i = 0; i < p->key_count; i++)
        copy[i] = metrics_part_copy(p->a, key[i]);
    *row = (struct metrics_row){.hash = hash, .key = copy};
    cells_new(p, row);
    if (arena_err(p->a) != ERR_OK)
        return arena_err(p->a);
    p->rows[p->row_count++] = row;
    slot_put(p->slots, p->mask, hash, p->row_count);
    *ret = row;
    return ERR_OK;
}

static struct metrics_bin *bin_slot(struct metrics_bin *slots, uint32_t mask, uint64_t key)
{
    uint64_t at = key * 0x9e3779b97f4a7c15u >> 32;

    while (slots[at & mask].count != 0 && slots[at & mask].key != key)
        at++;
    return &slots[at & mask];
}

enum err metrics_part_bin(struct metrics_part *p, struct metrics_row *row, uint64_t key,
                          uint64_t count)
{
    struct metrics_bins *b = &row->bins;

    if (count == 0)
        return ERR_OK;
    if (b->mask == 0 || b->count * 4 > b->mask * 3) {
        uint32_t mask = b->mask == 0 ? BINS_FIRST - 1 : b->mask * 2 + 1;
        struct metrics_bin *slots = ARENA_ARRAY(p->a, struct metrics_bin, (size_t)mask + 1);
        if (slots == NULL)
            return arena_err(p->a);
        for (uint32_t i = 0; b->mask != 0 && i <= b->mask; i++)
            if (b->slots[i].count != 0)
                *bin_slot(slots, mask, b->slots[i].key) = b->slots[i];
        b->slots = slots;
        b->mask = mask;
    }
    struct metrics_bin *bin = bin_slot(b->slots, b->mask, key);
    b->count += bin->count == 0;
    bin->key = key;
    bin->count += count;
    return ERR_OK;
}

static int bin_cmp(const void *a, const void *b)
{
    const struct metrics_bin *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

struct metrics_bin *metrics_part_bins_sorted(struct arena *a, const struct metrics_bins *bins)
{
    struct metrics_bin *list = ARENA_ARRAY(a, struct metrics_bin, bins->count);
    uint32_t n = 0;

    for (uint32_t i = 0; list != NULL && bins->mask != 0 && i <= bins->mask; i++)
        if (bins->slots[i].count != 0)
            list[n++] = bins->slots[i];
    if (n > 1)
        qsort(list, n, sizeof list[0], bin_cmp);
    return list;
}

/* Knuth's two-sum keeps what the high part loses. */
void metrics_part_sum(struct metrics_sum *s, double high, double low, uint64_t count)
{
    double sum = s->high + high;
    double back = sum - s->high;
    double lost = (s->high - (sum - back)) + (high - back);

    s->high = sum;
    s->low = isfinite(sum) ? s->low + (lost + low) : 0; /* nothing is lost beside the infinite */
    s->count += count;
}

double metrics_part_extreme(const struct metrics_part *p, double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) ? b : a;
    return p->leaf->fn == QL_M_MIN ? (b < a ? b : a) : (b > a ? b : a);
}

/* The upper bits of a double, in its order: negative ones from below. */
uint32_t metrics_part_bin_of(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    uint32_t top = (uint32_t)(bits >> BIN_BITS), sign = 1u << (63 - BIN_BITS);
    return (top & sign) != 0 ? sign - 1 - (top & (sign - 1)) : top | sign;
}

double metrics_part_bin_value(uint32_t bin)
{
    uint32_t sign = 1u << (63 - BIN_BITS);
    uint64_t top = (bin & sign) != 0 ? bin & (sign - 1) : (uint64_t)(sign - 1 - bin) | sign;
    uint64_t bits = top << BIN_BITS;
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}
