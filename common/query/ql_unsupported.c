/* What the engine does not run yet.  Delete a case here when it does. */
#include "common/query/ql.h"

static const char *of_pipeline(const struct ql_pipeline *p);

static const char *of_spanset(const struct ql_spanset *s)
{
    switch (s->kind) {
    case QL_SPANSET_FILTER: return NULL;
    case QL_SPANSET_NOT: return of_spanset(s->left);
    case QL_SPANSET_PIPELINE: return of_pipeline(s->pipeline);
    case QL_SPANSET_BINARY:
    case QL_SPANSET_MINUS: break;
    }
    const char *left = of_spanset(s->left);
    return left != NULL ? left : of_spanset(s->right);
}

static const char *of_scalar(const struct ql_scalar *s)
{
    if (s->kind == QL_SCALAR_PIPELINE)
        return "aggregates of pipelines are not supported yet";
    if (s->kind == QL_SCALAR_BINARY) {
        const char *left = of_scalar(s->left);
        return left != NULL ? left : of_scalar(s->right);
    }
    return NULL;
}

static const char *of_scalar_filter(const struct ql_stage *s)
{
    const char *what = of_scalar(s->left);

    return what != NULL ? what : of_scalar(s->right);
}

static const char *of_stage(const struct ql_stage *s)
{
    switch (s->kind) {
    case QL_STAGE_SPANSET: return of_spanset(s->spanset);
    case QL_STAGE_SCALAR_FILTER: return of_scalar_filter(s);
    case QL_STAGE_SCALAR: return of_scalar(s->left);
    case QL_STAGE_GROUP:
    case QL_STAGE_COALESCE:
    case QL_STAGE_SELECT:
    case QL_STAGE_ORDER_BY:
    case QL_STAGE_TOP: return NULL;
    }
    return NULL;
}

static const char *of_pipeline(const struct ql_pipeline *p)
{
    for (uint32_t i = 0; i < p->stage_count; i++) {
        const char *what = of_stage(&p->stages[i]);
        if (what != NULL)
            return what;
    }
    return NULL;
}

static const char *of_metrics(const struct ql_metrics *m)
{
    if (m->op == QL_OP_NONE)
        return m->pipeline == NULL ? NULL : of_pipeline(m->pipeline);
    const char *left = of_metrics(m->left);
    return left != NULL ? left : of_metrics(m->right);
}

/* Hints: of those that an engine must heed, searches know most_recent alone, and the newest are what they give anyway; metrics are
 * counted from all spans, so that samples and their scaling have nothing to do. */
const char *ql_unsupported(const struct ql_query *q)
{
    return q->metrics != NULL ? of_metrics(q->metrics) : of_pipeline(q->pipeline);
}
