#include "common/base/hash.h"
#include "common/query/metrics_priv.h"

#include <assert.h>
#include <math.h>

enum {
    KEYS_MAX = 8,
    GROUPS_DIRECT_MAX = 1 << 18, /* pairs of codes up to here are numbered by multiplication */
    POWERS = 64,                 /* powers of two whose row is remembered, for few groups */
    POWER_GROUPS_MAX = 4096
};

/* One segment being counted.  A group is a number that stands for the values of all labels of a span. */
struct scan {
    struct metrics_part *p;
    struct eval e;
    struct engine_selection sel;
    struct engine_keys keys[KEYS_MAX];
    struct engine_numbers numbers;
    const uint32_t *groups; /* of each span; NULL: all in group 0 */
    uint32_t group_count;
    struct metrics_row **rows; /* of each group, NULL: not met yet; histogram: POWERS of them */
    uint32_t remembered;       /* length of rows */
    enum err err;
};

/* A number for each pair of numbers that occurs. */
struct pairs {
    struct arena *a;
    uint64_t *keys; /* key + 1; 0: free */
    uint32_t *numbers;
    uint32_t count, mask;
};

static bool pairs_grow(struct pairs *t)
{
    uint32_t mask = t->mask == 0 ? 1023 : t->mask * 2 + 1;
    uint64_t *keys = ARENA_ARRAY(t->a, uint64_t, (size_t)mask + 1);
    uint32_t *numbers = ARENA_ARRAY(t->a, uint32_t, (size_t)mask + 1);

    if (keys == NULL || numbers == NULL)
        return false;
    for (uint32_t i = 0; t->mask != 0 && i <= t->mask; i++) {
        uint64_t at = t->keys[i] * 0x9e3779b97f4a7c15u >> 32;
        if (t->keys[i] == 0)
            continue;
        while (keys[at & mask] != 0)
            at++;
        keys[at & mask] = t->keys[i];
        numbers[at & mask] = t->numbers[i];
    }
    t->keys = keys;
    t->numbers = numbers;
    t->mask = mask;
    return true;
}

/* 0 also when memory is out (the arena tells). */
static uint32_t pairs_number(struct pairs *t, uint32_t x, uint32_t y)
{
    uint64_t key = ((uint64_t)x << 32 | y) + 1, at = key * 0x9e3779b97f4a7c15u >> 32;

    if ((t->mask == 0 || t->count * 2 > t->mask) && !pairs_grow(t))
        return 0;
    while (t->keys[at & t->mask] != 0 && t->keys[at & t->mask] != key)
        at++;
    if (t->keys[at & t->mask] == 0) {
        t->keys[at & t->mask] = key;
        t->numbers[at & t->mask] = t->count++;
    }
    return t->numbers[at & t->mask];
}

/* Refines the groups by one more label. */
static enum err groups_refine(struct scan *s, const struct engine_keys *k)
{
    uint64_t product = (uint64_t)s->group_count * k->value_count;
    uint32_t spans = s->e.rows[SEG_SPAN];

    if (s->groups == NULL) {
        s->groups = k->codes;
        s->group_count = k->value_count;
        return ERR_OK;
    }
    uint32_t *groups = ARENA_ARRAY(s->e.a, uint32_t, spans);
    struct pairs t = {.a = s->e.a};
    if (groups == NULL)
        return arena_err(s->e.a);
    if (product <= GROUPS_DIRECT_MAX) {
        for (uint32_t r = 0; r < spans; r++)
            if (s->sel.mask[r] != 0) /* elsewhere codes may be anything */
                groups[r] = s->groups[r] * k->value_count + k->codes[r];
    } else {
        for (uint32_t r = 0; r < spans; r++)
            if (s->sel.mask[r] != 0)
                groups[r] = pairs_number(&t, s->groups[r], k->codes[r]);
    }
    s->groups = groups;
    s->group_count = product <= GROUPS_DIRECT_MAX ? (uint32_t)product : t.count;
    return arena_err(s->e.a);
}

static enum err groups_bind(struct scan *s)
{
    const struct ql_metrics *m = s->p->leaf;
    enum err err = ERR_OK;

    assert(m->by_count <= KEYS_MAX);
    s->group_count = 1;
    for (uint32_t i = 0; err == ERR_OK && i < m->by_count; i++) {
        err = engine_select_keys(&s->e, &m->by[i], &s->sel, &s->keys[i]);
        if (err == ERR_OK)
            err = groups_refine(s, &s->keys[i]);
    }
    if (err != ERR_OK)
        return err;
    bool is_histogram = m->fn == QL_M_HISTOGRAM;
    s->remembered = !is_histogram                        ? s->group_count
                    : s->group_count <= POWER_GROUPS_MAX ? s->group_count * POWERS
                                                         : 0;
    s->rows = ARENA_ARRAY(s->e.a, struct metrics_row *, s->remembered);
    return arena_err(s->e.a);
}

/* The series of a span, made when it is the first; NULL: s->err. */
static struct metrics_row *row_new(struct scan *s, uint32_t span, uint32_t power)
{
    struct value key[KEYS_MAX + 1];
    struct metrics_row *row = NULL;
    uint32_t n = 0;

    for (; n < s->p->leaf->by_count; n++)
        key[n] = s->keys[n].values[s->keys[n].codes[span]];
    if (s->p->leaf->fn == QL_M_HISTOGRAM)
        key[n++] = value_int(power);
    assert(n == s->p->key_count);
    s->err = metrics_part_row(s->p, key, &row);
    return s->err == ERR_OK ? row : NULL;
}

static inline struct metrics_row *row_at(struct scan *s, uint32_t span, uint32_t power)
{
    uint32_t group = s->groups == NULL ? 0 : s->groups[span];
    size_t at = s->p->leaf->fn == QL_M_HISTOGRAM ? (size_t)group * POWERS + power : group;

    if (at >= s->remembered || (power >= POWERS))
        return row_new(s, span, power);
    if (s->rows[at] == NULL)
        s->rows[at] = row_new(s, span, power);
    return s->rows[at];
}

/* The smallest power of two that is not below `v` (2 or more). */
static uint32_t power_of(double v)
{
    int exponent;
    double fraction = frexp(v, &exponent);

    return (uint32_t)(fraction == 0.5 ? exponent - 1 : exponent);
}

static void take_number(struct scan *s, uint32_t span, uint32_t interval, double v)
{
    struct metrics_part *p = s->p;
    bool is_histogram = p->leaf->fn == QL_M_HISTOGRAM;

    /* Below 2 Tempo has no bucket. */
    if ((is_histogram && !(v >= 2 && isfinite(v))) || isnan(v))
        return;
    struct metrics_row *row = row_at(s, span, is_histogram ? power_of(v) : 0);
    if (row == NULL)
        return;
    switch (p->cells) {
    case METRICS_COUNTS: row->counts[interval]++; break;
    case METRICS_SUMS: metrics_part_sum(&row->sums[interval], v, 0, 1); break;
    case METRICS_EXTREMES:
        row->extremes[interval] = metrics_part_extreme(p, row->extremes[interval], v);
        break;
    case METRICS_BINS:
        s->err = metrics_part_bin(p, row, (uint64_t)interval << 32 | metrics_part_bin_of(v), 1);
        break;
    }
}

/* The counters of each group that was met.  Spans of a trace lie together and near each other in time: mostly the interval is the last one. */
static inline __attribute__((always_inline)) enum err count_groups(struct scan *s,
                                                                   const uint32_t *groups)
{
    const struct metrics_window w = s->p->w;
    const uint64_t *start = s->e.fixed.start_ns, total = w.step_ns * w.count;
    const uint8_t *mask = s->sel.mask;
    uint64_t **counts = ARENA_ARRAY(s->e.a, uint64_t *, s->remembered);
    uint64_t low = 0; /* where the last interval begins */
    uint32_t spans = s->e.rows[SEG_SPAN], interval = 0;

    if (counts == NULL)
        return arena_err(s->e.a);
    for (uint32_t r = 0; r < spans; r++) {
        uint64_t since = start[r] - w.first_ns - 1;
        if (mask[r] == 0 || since >= total)
            continue;
        if (since - low >= w.step_ns) {
            (void)metrics_interval(s->p, start[r], &interval);
            low = interval * w.step_ns;
        }
        uint64_t **cells = &counts[groups == NULL ? 0 : groups[r]];
        if (*cells == NULL) {
            const struct metrics_row *row = row_at(s, r, 0);
            if (row == NULL)
                return s->err;
            *cells = row->counts;
        }
        (*cells)[interval]++;
    }
    return ERR_OK;
}

static enum err count_numbers(struct scan *s)
{
    const uint64_t *start = s->e.fixed.start_ns;
    uint32_t spans = s->e.rows[SEG_SPAN], interval;

    for (uint32_t r = 0; r < spans && s->err == ERR_OK; r++)
        if (s->sel.mask[r] != 0 && s->numbers.has[r] != 0 &&
            metrics_interval(s->p, start[r], &interval))
            take_number(s, r, interval, s->numbers.values[r]);
    return s->err;
}

static enum err count_spans(struct scan *s)
{
    if (s->numbers.values != NULL)
        return count_numbers(s);
    return s->groups == NULL ? count_groups(s, NULL) : count_groups(s, s->groups);
}

/* For examples: the series that a span is counted in, if any. */
static struct metrics_row *row_of(void *arg, uint32_t span)
{
    struct scan *s = arg;
    uint32_t power = 0;

    if (s->numbers.values != NULL && s->numbers.has[span] == 0)
        return NULL;
    if (s->p->leaf->fn == QL_M_HISTOGRAM) {
        if (!(s->numbers.values[span] >= 2 && isfinite(s->numbers.values[span])))
            return NULL;
        power = power_of(s->numbers.values[span]);
    }
    return row_at(s, span, power);
}

static enum err observe(struct scan *s, const struct trace_id *exclude, uint32_t exclude_count)
{
    const struct ql_metrics *m = s->p->leaf;
    enum err err = engine_select(&s->e, m->pipeline, exclude, exclude_count, &s->sel);

    if (err != ERR_OK || s->sel.mask == NULL)
        return err;
    err = eval_fixed(&s->e, SEG_F_START);
    if (err == ERR_OK && m->fn == QL_M_COMPARE)
        return metrics_compare_observe(s->p, &s->e, &s->sel);
    if (err == ERR_OK && m->fn != QL_M_RATE && m->fn != QL_M_COUNT)
        err = engine_select_numbers(&s->e, &m->argument, &s->sel, &s->numbers);
    if (err == ERR_OK)
        err = groups_bind(s);
    if (err == ERR_OK)
        err = count_spans(s);
    if (err == ERR_OK && s->p->example_max != 0)
        err = metrics_example_observe(s->p, &s->e, &s->sel, &s->numbers, row_of, s);
    return err != ERR_OK ? err : s->err;
}

enum err metrics_observe(struct metrics_part *p, struct segment *seg,
                         const struct trace_id *exclude, uint32_t exclude_count,
                         const atomic_bool *cancel)
{
    struct scan s = {.p = p};
    struct arena scratch;
    uint64_t end_ns = p->w.first_ns + p->w.step_ns * p->w.count;

    if (seg->trace_count == 0 || seg->row_count[SEG_SPAN] == 0 || seg->min_start_ns > end_ns)
        return ERR_OK;
    arena_init(&scratch, p->a->budget);
    eval_init(&s.e, seg, &scratch, cancel);
    enum err err = observe(&s, exclude, exclude_count);
    arena_release(&scratch);
    return err;
}
