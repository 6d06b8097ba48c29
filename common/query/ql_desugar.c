/* A search that ends in a bare aggregate, read as the metrics query it stands for. */
#include "common/query/ql.h"

static enum ql_metrics_fn function_of(enum ql_aggregate aggregate)
{
    switch (aggregate) {
    case QL_COUNT: return QL_M_COUNT;
    case QL_MIN: return QL_M_MIN;
    case QL_MAX: return QL_M_MAX;
    case QL_SUM: return QL_M_SUM;
    case QL_AVG: return QL_M_AVG;
    case QL_QUANTILE: return QL_M_QUANTILE;
    case QL_COUNT_DISTINCT: break;
    }
    return QL_M_NONE;
}

/* Fills in function, argument and by from the last stages; how many of them are used up, 0: they are no such thing. */
static uint32_t stages_read(const struct ql_pipeline *p, double *quantile, struct ql_metrics *m)
{
    const struct ql_stage *last = &p->stages[p->stage_count - 1];
    const struct ql_scalar *s = last->left;

    if (p->stage_count < 2 || last->kind != QL_STAGE_SCALAR || s->kind != QL_SCALAR_AGGREGATE)
        return 0;
    m->fn = function_of(s->aggregate);
    if (m->fn == QL_M_NONE || (s->argument != NULL && s->argument->kind != QL_EXPR_ATTRIBUTE))
        return 0;
    if (s->argument != NULL)
        m->argument = s->argument->attribute;
    if (m->fn == QL_M_QUANTILE) {
        *quantile = s->quantile;
        m->quantiles = quantile;
        m->quantile_count = 1;
    }
    const struct ql_stage *before = last - 1;
    if (p->stage_count < 3 || before->kind != QL_STAGE_GROUP ||
        before->by->kind != QL_EXPR_ATTRIBUTE)
        return 1;
    m->by = &before->by->attribute;
    m->by_count = 1;
    return 2;
}

enum err ql_as_metrics(struct arena *a, const struct ql_query *q, struct ql_query **ret,
                       struct slice *ret_text, struct err_detail *reterr_detail)
{
    struct ql_metrics m = {.fn = QL_M_NONE};
    double quantile = 0;
    struct buf text;

    *ret = NULL;
    uint32_t used = q->pipeline == NULL ? 0 : stages_read(q->pipeline, &quantile, &m);
    if (used == 0)
        return ERR_OK;
    struct ql_pipeline rest = {q->pipeline->stages, q->pipeline->stage_count - used};
    struct ql_query metrics = {.metrics = &m, .hints = q->hints, .hint_count = q->hint_count};
    m.pipeline = &rest;
    buf_init(&text, (size_t)4 * QL_TEXT_BYTES_MAX);
    ql_dump(&text, &metrics);
    *ret_text = arena_dup(a, buf_slice(&text));
    enum err e = buf_err(&text) != ERR_OK ? buf_err(&text) : arena_err(a);
    buf_release(&text);
    if (e == ERR_OK)
        e = ql_parse(a, *ret_text, ret, reterr_detail);
    if (e == ERR_OK && m.fn == QL_M_QUANTILE)
        (*ret)->metrics->quantiles[0] = quantile; /* the text has five digits of it */
    return e;
}
