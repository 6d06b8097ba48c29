/* Spans to show beside the series: which are kept depends on nothing but the spans, so places and their order do not matter. */
#include "common/base/hash.h"
#include "common/query/engine_pipeline.h"
#include "common/query/metrics_priv.h"

#include <assert.h>
#include <math.h>

enum { PROBES = 128, WANTED_MAX = 24, WALK_MAX = 64, NAME_BYTES_MAX = 1 << 17 };

struct wanted {
    const struct ql_attribute *attributes[WANTED_MAX];
    struct eval_node *nodes[WANTED_MAX];
    struct slice names[WANTED_MAX];
    uint32_t count;
};

static void want(struct wanted *w, const struct ql_attribute *at)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->attributes[i]->intrinsic == at->intrinsic && w->attributes[i]->scope == at->scope &&
            slice_eq(w->attributes[i]->name, at->name))
            return;
    if (w->count < WANTED_MAX && at->intrinsic != QL_I_TRACE_ID)
        w->attributes[w->count++] = at;
}

/* The attributes that a filter names; of a very deep one not all. */
static void want_filter(struct wanted *w, const struct ql_expr *expr)
{
    const struct ql_expr *todo[WALK_MAX];
    uint32_t depth = 1;

    todo[0] = expr;
    while (depth > 0) {
        expr = todo[--depth];
        if (expr->kind == QL_EXPR_ATTRIBUTE)
            want(w, &expr->attribute);
        if (expr->right != NULL && depth < WALK_MAX)
            todo[depth++] = expr->right;
        if (expr->left != NULL && depth < WALK_MAX)
            todo[depth++] = expr->left;
    }
}

static void want_stage(struct wanted *w, const struct ql_stage *stage)
{
    if (stage->kind == QL_STAGE_SPANSET && stage->spanset->kind == QL_SPANSET_FILTER)
        want_filter(w, stage->spanset->filter);
    for (uint32_t i = 0; stage->kind == QL_STAGE_SELECT && i < stage->select_count; i++)
        want(w, &stage->select[i]);
}

static enum err wanted_bind(const struct ql_metrics *m, struct eval *e, struct wanted *w)
{
    static const struct ql_attribute service = {.scope = QL_SCOPE_RESOURCE,
                                                .name = {(const uint8_t *)"service.name", 12}};
    enum err err = ERR_OK;
    struct buf text;

    want(w, &service);
    for (uint32_t i = 0; i < m->by_count; i++)
        want(w, &m->by[i]);
    for (uint32_t i = 0; i < m->pipeline->stage_count; i++)
        want_stage(w, &m->pipeline->stages[i]);
    buf_init(&text, NAME_BYTES_MAX);
    for (uint32_t i = 0; err == ERR_OK && i < w->count; i++) {
        const struct ql_expr x = {.kind = QL_EXPR_ATTRIBUTE, .attribute = *w->attributes[i]};
        err = eval_bind_value(e, &x, &w->nodes[i]);
        buf_reset(&text);
        ql_dump_attribute(&text, w->attributes[i]);
        w->names[i] = arena_dup(e->a, buf_slice(&text));
        if (err == ERR_OK)
            err = buf_err(&text) != ERR_OK ? buf_err(&text) : arena_err(e->a);
    }
    buf_release(&text);
    return err;
}

/* Examples lie spread over the window: one a series and stretch of time. */
static uint32_t stretch_of(const struct metrics_part *p, uint64_t start_ns)
{
    uint32_t stretches = p->example_max / 2 + 1, interval = 0;

    if (!metrics_interval(p, start_ns, &interval))
        return 0;
    if (p->w.count == 1) /* one step: stretches inside it */
        return (uint32_t)((double)(start_ns - p->w.first_ns) * p->per_step * stretches);
    return (uint32_t)((uint64_t)interval * stretches / p->w.count);
}

static bool is_full(const struct metrics_part *p)
{
    return p->example_count == p->example_max;
}

void metrics_example_add(struct metrics_part *p, const struct metrics_example *x)
{
    uint32_t at = 0, stretch = stretch_of(p, x->start_ns);

    if (is_full(p) && (p->example_max == 0 || p->examples[p->example_max - 1].rank <= x->rank))
        return;
    for (uint32_t i = 0; i < p->example_count; i++) {
        struct metrics_example *old = &p->examples[i];
        bool is_rival = trace_id_eq(old->trace, x->trace) ||
                        (old->row == x->row && stretch_of(p, old->start_ns) == stretch);
        if (!is_rival)
            continue;
        if (old->rank <= x->rank)
            return;
        memmove(old, old + 1, sizeof *old * (p->example_count - i - 1));
        p->example_count--;
        i--;
    }
    while (at < p->example_count && p->examples[at].rank <= x->rank)
        at++;
    if (is_full(p))
        p->example_count--;
    memmove(&p->examples[at + 1], &p->examples[at],
            sizeof p->examples[0] * (p->example_count - at));
    p->examples[at] = *x;
    p->example_count++;
}

static enum err example_take(struct metrics_part *p, struct eval *e, const struct wanted *w,
                             uint32_t span, struct metrics_example *x)
{
    if (is_full(p) && p->examples[p->example_max - 1].rank <= x->rank)
        return ERR_OK;
    x->attributes = ARENA_ARRAY(p->a, struct result_attribute, w->count);
    for (uint32_t i = 0; x->attributes != NULL && i < w->count; i++) {
        struct value v = eval_value_at(e, w->nodes[i], engine_aggregate_at(e, w->nodes[i], span));
        if (v.type != VALUE_NIL)
            x->attributes[x->attribute_count++] =
                (struct result_attribute){arena_dup(p->a, w->names[i]), metrics_part_copy(p->a, v)};
    }
    metrics_example_add(p, x);
    return arena_err(p->a);
}

enum err metrics_example_observe(struct metrics_part *p, struct eval *e,
                                 const struct engine_selection *sel,
                                 const struct engine_numbers *numbers,
                                 struct metrics_row *(*row_of)(void *arg, uint32_t span), void *arg)
{
    struct wanted w = {0};
    uint32_t stride = sel->count / PROBES + 1, seen = 0, interval;
    enum err err = eval_traces(e);

    if (err == ERR_OK)
        err = eval_fixed(e, SEG_F_TRACE);
    if (err == ERR_OK)
        err = wanted_bind(p->leaf, e, &w);
    for (uint32_t r = 0; err == ERR_OK && r < e->rows[SEG_SPAN]; r++) {
        if (sel->mask[r] == 0 || seen++ % stride != 0 ||
            !metrics_interval(p, e->fixed.start_ns[r], &interval))
            continue;
        struct metrics_example x = {.trace = e->traces.id[e->fixed.trace[r]],
                                    .start_ns = e->fixed.start_ns[r],
                                    .value =
                                        numbers->values != NULL ? numbers->values[r] : (double)NAN,
                                    .row = row_of(arg, r)};
        x.rank = hash_plain((struct slice){x.trace.b, TRACE_ID_BYTES}) ^ x.start_ns;
        if (x.row != NULL)
            err = example_take(p, e, &w, r, &x);
    }
    return err;
}

enum err metrics_example_give(struct metrics_part *p, struct arena *a,
                              const struct metrics_row *row, double unit,
                              struct metrics_series *ret)
{
    uint32_t n = 0, interval = 0;
    char hex[TRACE_ID_HEX + 1];

    for (uint32_t i = 0; i < p->example_count; i++)
        n += p->examples[i].row == row;
    ret->exemplars = ARENA_ARRAY(a, struct metrics_exemplar, n);
    if (ret->exemplars == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < p->example_count; i++) {
        const struct metrics_example *x = &p->examples[i];
        if (x->row != row || !metrics_interval(p, x->start_ns, &interval) ||
            isnan(ret->points[interval]))
            continue;
        struct metrics_exemplar *out = &ret->exemplars[ret->exemplar_count++];
        *out = (struct metrics_exemplar){
            .interval = interval, .start_ns = x->start_ns, .value = x->value / unit};
        if (isnan(x->value))
            out->value = ret->points[interval];
        out->labels = ARENA_ARRAY(a, struct result_attribute, (size_t)x->attribute_count + 1);
        if (out->labels == NULL)
            return arena_err(a);
        trace_id_to_hex(x->trace, hex);
        out->labels[out->label_count++] = (struct result_attribute){
            SLICE_LIT("trace:id"), value_string(arena_dup(a, slice_str(hex)))};
        for (uint32_t k = 0; k < x->attribute_count; k++)
            out->labels[out->label_count++] = x->attributes[k];
    }
    return arena_err(a);
}
