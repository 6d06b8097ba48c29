/* TraceQL metrics: counts and rates of matching spans; the other functions are refused by name. */
#include "common/base/clock.h"
#include "querier/answers.h"
#include "querier/api.h"
#include "querier/params.h"

#include <assert.h>

struct count_query {
    struct params_metrics p;
    struct ql_query *ql;    /* as sent */
    struct ql_query search; /* its pipeline alone */
    struct buf search_text;
    uint64_t first_ns, step_ns; /* interval i is (first + i*step, first + (i+1)*step] */
    uint32_t interval_count;
};

static const char *unsupported_part(const struct ql_query *ql)
{
    const struct ql_metrics *m = ql->metrics;

    if (m->pipeline == NULL)
        return "arithmetic between metrics is not supported yet";
    if (m->fn != QL_M_RATE && m->fn != QL_M_COUNT)
        return "of the metrics functions only rate() and count_over_time() are supported yet";
    if (m->by_count != 0)
        return "by() in metrics queries is not supported yet";
    if (m->second_count != 0)
        return "second stages of metrics queries are not supported yet";
    return NULL;
}

static enum err count_parse(struct api_request *r, struct count_query *c, const char *error_prefix,
                            struct err_detail *detail)
{
    struct err_detail why = {0};
    enum err e = params_metrics(r->search.arena, r->query, r->now_ns, &c->p, detail);

    if (e != ERR_OK)
        return e;
    e = ql_parse(r->search.arena, c->p.q, &c->ql, &why);
    if (e == ERR_INVALID || e == ERR_TOO_LARGE || e == ERR_LIMIT)
        return err_detail_set(detail, ERR_INVALID, "%s%s", error_prefix, why.text);
    if (e != ERR_OK)
        return e;
    if (c->ql->metrics == NULL)
        return err_detail_set(detail, ERR_INVALID, "%snot a metrics query", error_prefix);
    const char *part = unsupported_part(c->ql);
    if (part == NULL) {
        c->search = (struct ql_query){.pipeline = c->ql->metrics->pipeline};
        part = ql_unsupported(&c->search);
    }
    if (part != NULL)
        return err_detail_set(detail, ERR_UNSUPPORTED, "%s", part);
    ql_dump(&c->search_text, &c->search);
    return buf_err(&c->search_text);
}

/* Matching spans per interval: a search without limits, whose spans are put into their intervals. */
static enum err count_run(struct api_request *r, struct count_query *c, bool closed_start,
                          uint64_t **ret_counts)
{
    uint64_t *counts = ARENA_ARRAY(r->search.arena, uint64_t, c->interval_count);
    uint64_t end_ns = c->first_ns + c->step_ns * c->interval_count;
    struct search_result found = {0};
    struct engine_query q = {.ql = &c->search,
                             .start_ns = c->first_ns,
                             .end_ns = end_ns,
                             .limit = UINT32_MAX,
                             .spans_per_spanset = UINT32_MAX,
                             .cancel = r->search.cancel};

    if (counts == NULL)
        return arena_err(r->search.arena);
    enum err e = ql_is_never(&c->search)
                     ? ERR_OK
                     : search_run(&r->search, buf_slice(&c->search_text), &q, &found);
    if (e != ERR_OK)
        return e;
    for (uint32_t t = 0; t < found.trace_count; t++) {
        for (uint32_t s = 0; s < found.traces[t].spanset_count; s++) {
            const struct result_spanset *set = &found.traces[t].spansets[s];
            for (uint32_t i = 0; i < set->span_count; i++) {
                uint64_t at = set->spans[i].start_ns;
                bool is_first = closed_start && at == c->first_ns;
                if ((at <= c->first_ns && !is_first) || at > end_ns)
                    continue;
                counts[is_first ? 0 : (at - c->first_ns - 1) / c->step_ns]++;
            }
        }
    }
    *ret_counts = counts;
    return ERR_OK;
}

static double point(const struct count_query *c, uint64_t count)
{
    return c->ql->metrics->fn == QL_M_RATE ? (double)count / ((double)c->step_ns / 1e9)
                                           : (double)count;
}

static void label_write(struct json_out *j, const struct count_query *c)
{
    json_out_key(j, "labels");
    json_out_begin_array(j);
    json_out_begin_object(j);
    json_out_key(j, "key");
    json_out_cstring(j, "__name__");
    json_out_key(j, "value");
    answers_value_json(j, value_string(c->ql->metrics->fn == QL_M_RATE
                                           ? SLICE_LIT("rate")
                                           : SLICE_LIT("count_over_time")));
    json_out_end_object(j);
    json_out_end_array(j);
}

static void sample_write(struct json_out *j, const struct count_query *c, uint32_t i,
                         uint64_t count)
{
    json_out_begin_object(j);
    json_out_key(j, "timestampMs");
    json_out_u64_text(j, (c->first_ns + (i + 1) * c->step_ns) / (uint64_t)NS_PER_MS);
    if (count != 0) {
        json_out_key(j, "value");
        json_out_double(j, point(c, count));
    }
    json_out_end_object(j);
}

/* `{"series":[{"labels":[...], ` ... `}],"metrics":{}}` around what `is_range` says. */
static void series_write(struct buf *out, const struct count_query *c, const uint64_t *counts,
                         bool is_range)
{
    struct json_out j;

    json_out_init(&j, out);
    json_out_begin_object(&j);
    json_out_key(&j, "series");
    json_out_begin_array(&j);
    json_out_begin_object(&j);
    label_write(&j, c);
    if (is_range) {
        json_out_key(&j, "samples");
        json_out_begin_array(&j);
        for (uint32_t i = 0; i < c->interval_count; i++)
            sample_write(&j, c, i, counts[i]);
        json_out_end_array(&j);
    } else if (counts[0] != 0) {
        json_out_key(&j, "value");
        json_out_double(&j, point(c, counts[0]));
    }
    json_out_end_object(&j);
    json_out_end_array(&j);
    json_out_key(&j, "metrics");
    json_out_begin_object(&j);
    json_out_end_object(&j);
    json_out_end_object(&j);
}

static enum err metrics_answer(struct api_request *r, struct api_answer *answer, bool is_range,
                               struct err_detail *detail)
{
    struct count_query c = {0};
    uint64_t *counts = NULL;

    buf_init(&c.search_text, QL_TEXT_BYTES_MAX * 4);
    enum err e = count_parse(r, &c, is_range ? "" : "compiling query: ", detail);
    if (e == ERR_OK) {
        uint64_t step = is_range ? c.p.step_ns : c.p.end_ns - c.p.start_ns;
        c.step_ns = step;
        c.first_ns = is_range ? c.p.start_ns / step * step : c.p.start_ns;
        uint64_t end_ns = is_range ? (c.p.end_ns + step - 1) / step * step : c.p.end_ns;
        if (is_range && c.first_ns >= step)
            c.first_ns -= step; /* one interval that ends where the range begins */
        c.interval_count = (uint32_t)((end_ns - c.first_ns) / step);
        assert(c.interval_count >= 1);
        e = count_run(r, &c, !is_range, &counts);
    }
    if (e == ERR_OK) {
        answer->missing = r->search.missing;
        series_write(&answer->body, &c, counts, is_range);
    }
    ql_release(c.ql);
    buf_release(&c.search_text);
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
