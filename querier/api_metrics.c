/* TraceQL metrics: /api/metrics/query_range and /api/metrics/query. */
#include "common/base/clock.h"
#include "querier/answers.h"
#include "querier/api.h"
#include "querier/params.h"

#include <assert.h>

struct metrics_call {
    struct params_metrics p;
    struct ql_query *ql;
    const struct ql_metrics *leaves[METRICS_LEAVES_MAX];
    struct search_metrics_query q;
    uint64_t range_ns;   /* that rate() divides by */
    const char *message; /* how the query was read; NULL: as it stands */
};

/* A search with a bare aggregate at its end is asked as the metrics query that it stands for. */
static enum err call_desugar(struct api_request *r, struct metrics_call *c,
                             struct err_detail *detail)
{
    struct ql_query *metrics;
    struct slice text;
    enum err e = ql_as_metrics(r->search.arena, c->ql, &metrics, &text, detail);

    if (e != ERR_OK || metrics == NULL)
        return e;
    ql_release(c->ql);
    c->ql = metrics;
    c->p.q = text;
    c->message = arena_printf(r->search.arena, "read as: " SLICE_FMT, SLICE_ARG(text));
    return arena_err(r->search.arena);
}

static enum err call_parse(struct api_request *r, struct metrics_call *c, const char *error_prefix,
                           struct err_detail *detail)
{
    struct err_detail why = {0};
    enum err e = params_metrics(r->search.arena, &r->rules, r->query, r->now_ns, &c->p, detail);

    if (e != ERR_OK)
        return e;
    e = ql_parse(r->search.arena, c->p.q, &c->ql, &why);
    if (e == ERR_INVALID || e == ERR_TOO_LARGE || e == ERR_LIMIT)
        return err_detail_set(detail, ERR_INVALID, "%s%s", error_prefix, why.text);
    if (e == ERR_OK && c->ql->metrics == NULL)
        e = call_desugar(r, c, detail);
    if (e != ERR_OK)
        return e;
    if (c->ql->metrics == NULL)
        return err_detail_set(detail, ERR_INVALID, "%snot a metrics query", error_prefix);
    const char *part = ql_unsupported(c->ql);
    if (part != NULL)
        return err_detail_set(detail, ERR_UNSUPPORTED, "%s", part);
    c->q.text = c->p.q;
    c->q.leaves = c->leaves;
    c->q.leaf_count = metrics_query_leaves(c->ql->metrics, c->leaves);
    if (c->q.leaf_count == 0)
        return err_detail_set(detail, ERR_INVALID, "%smore than %d queries in one", error_prefix,
                              METRICS_LEAVES_MAX);
    return ERR_OK;
}

/* Of hints of one name the first of a fitting type counts. */
static uint32_t exemplars_wanted(const struct api_request *r, const struct metrics_call *c)
{
    uint32_t most = (uint32_t)r->rules.config->metrics_max_exemplars;
    uint32_t n = c->p.exemplars < most ? c->p.exemplars : most;

    for (uint32_t i = 0; i < c->ql->hint_count; i++) {
        struct value v = c->ql->hints[i].value;
        if (!slice_eq_str(c->ql->hints[i].name, "exemplars"))
            continue;
        if (v.type == VALUE_BOOL)
            return v.i != 0 ? n : 0;
        if (v.type == VALUE_INT)
            return v.i < 0 ? 0 : v.i < most ? (uint32_t)v.i : most;
    }
    return n;
}

/* 0: all. */
static uint32_t series_wanted(const struct api_request *r, const struct metrics_call *c)
{
    uint32_t most = (uint32_t)r->rules.config->metrics_max_series;

    return most != 0 && (c->p.series_max == 0 || c->p.series_max > most) ? most : c->p.series_max;
}

/* Ends on multiples of the step, and one step more before the first. */
static void window_range(const struct api_request *r, struct metrics_call *c)
{
    uint64_t step = c->p.step_ns, first = c->p.start_ns / step * step;
    uint64_t end = (c->p.end_ns + step - 1) / step * step;

    if (first >= step)
        first -= step;
    c->q.window = (struct metrics_window){first, step, (uint32_t)((end - first) / step)};
    c->range_ns = step;
    c->q.exemplars = exemplars_wanted(r, c) / c->q.leaf_count;
    if (c->q.exemplars == 0 && exemplars_wanted(r, c) != 0)
        c->q.exemplars = 1;
}

/* One interval with both its ends. */
static void window_instant(struct metrics_call *c)
{
    c->range_ns = c->p.end_ns - c->p.start_ns;
    c->q.window = (struct metrics_window){c->p.start_ns - 1, c->range_ns + 1, 1};
}

static enum err call_run(struct api_request *r, struct metrics_call *c,
                         struct answers_metrics *answer, struct err_detail *detail)
{
    struct metrics_part **parts =
        ARENA_ARRAY(r->search.arena, struct metrics_part *, c->q.leaf_count);

    if (parts == NULL)
        return arena_err(r->search.arena);
    enum err e = search_metrics(&r->search, &c->q, parts, &answer->stats);
    if (e == ERR_TOO_LARGE)
        return err_detail_set(detail, e,
                              "the query makes more than %d series: group by fewer labels, or by "
                              "labels with fewer values",
                              METRICS_SERIES_MAX);
    return e != ERR_OK
               ? e
               : metrics_eval(r->search.arena, c->ql->metrics, parts, c->range_ns, &answer->result);
}

static enum err metrics_answer(struct api_request *r, struct api_answer *answer, bool is_range,
                               struct err_detail *detail)
{
    struct metrics_call c = {0};
    struct answers_metrics out = {0};
    enum err e = call_parse(r, &c, is_range ? "" : "compiling query: ", detail);

    if (e == ERR_OK) {
        if (is_range)
            window_range(r, &c);
        else
            window_instant(&c);
        e = call_run(r, &c, &out, detail);
    }
    if (e == ERR_OK) {
        answer->missing = r->search.missing;
        out.window = c.q.window;
        out.series_max = series_wanted(r, &c);
        out.message = c.message;
        if (r->is_stream)
            answers_metrics_pb(&answer->body, &out, is_range);
        else
            answers_metrics_json(&answer->body, &out, is_range);
    }
    ql_release(c.ql);
    return e;
}

enum err api_query_range(struct api_request *r, struct api_answer *answer,
                         struct err_detail *reterr_detail)
{
    return metrics_answer(r, answer, true, reterr_detail);
}

enum err api_query_instant(struct api_request *r, struct api_answer *answer,
                           struct err_detail *reterr_detail)
{
    return metrics_answer(r, answer, false, reterr_detail);
}
