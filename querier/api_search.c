/* Search by TraceQL, by tags, or for everything. */
#include "querier/answers.h"
#include "querier/api.h"
#include "querier/params.h"

static enum err query_parse(struct api_request *r, struct slice q, struct ql_query **ret,
                            struct err_detail *detail)
{
    struct err_detail why = {0};
    const char *unsupported;

    enum err e = ql_parse(r->search.arena, q, ret, &why);
    if (e == ERR_INVALID || e == ERR_TOO_LARGE || e == ERR_LIMIT)
        return err_detail_set(detail, ERR_INVALID, "invalid TraceQL query: %s", why.text);
    if (e != ERR_OK)
        return e;
    unsupported = ql_unsupported(*ret);
    if (unsupported != NULL)
        return err_detail_set(detail, ERR_UNSUPPORTED, "%s", unsupported);
    return ERR_OK;
}

/* Of a metrics query the spans are found that it counts; its text is made anew for the ingesters. */
static enum err pipeline_of(struct api_request *r, struct ql_query *ql, struct ql_query *ret,
                            struct slice *text, struct err_detail *detail)
{
    struct buf b;

    if (ql->metrics->pipeline == NULL)
        return err_detail_set(
            detail, ERR_INVALID,
            "invalid TraceQL query: arithmetic between metrics can not be searched, ask /api/metrics/query_range");
    *ret = (struct ql_query){.pipeline = ql->metrics->pipeline};
    buf_init(&b, QL_TEXT_BYTES_MAX * 4);
    ql_dump(&b, ret);
    *text = arena_dup(r->search.arena, buf_slice(&b));
    enum err e = buf_err(&b);
    buf_release(&b);
    return e != ERR_OK ? e : arena_err(r->search.arena);
}

enum err api_search(struct api_request *r, struct api_answer *answer,
                    struct err_detail *reterr_detail)
{
    struct params_search p;
    struct ql_query *ql = NULL;
    struct search_result result = {0};

    enum err e = params_search(r->search.arena, &r->rules, r->query, r->now_ns, &p, reterr_detail);
    if (e == ERR_OK && p.q.len != 0)
        e = query_parse(r, p.q, &ql, reterr_detail);
    struct ql_query pipeline, *searched = ql;
    if (e == ERR_OK && ql != NULL && ql->metrics != NULL) {
        e = pipeline_of(r, ql, &pipeline, &p.q, reterr_detail);
        searched = &pipeline;
    }
    if (e == ERR_OK && (searched == NULL || !ql_is_never(searched))) {
        struct engine_query q = {.ql = searched,
                                 .tags = p.tags,
                                 .tag_count = p.tag_count,
                                 .min_duration_ns = p.min_duration_ns,
                                 .max_duration_ns = p.max_duration_ns,
                                 .start_ns = p.window.start_ns,
                                 .end_ns = p.window.end_ns,
                                 .limit = p.limit,
                                 .spans_per_spanset = p.spss,
                                 .cancel = r->search.cancel};
        e = engine_query_order(&q, r->search.arena);
        if (e == ERR_OK)
            e = search_run(&r->search, p.q, &q, &result);
    }
    ql_release(ql);
    if (e != ERR_OK)
        return e;
    answer->missing = r->search.missing;
    if (r->wants_protobuf) {
        answer->content_type = "application/protobuf";
        answers_search_pb(&answer->body, &result);
    } else {
        answers_search_json(&answer->body, &result);
    }
    return ERR_OK;
}
