/* Traces by id. */
#include "common/codec/otlp_to_json.h"
#include "common/codec/otlp_write.h"
#include "querier/answers.h"
#include "querier/api.h"
#include "querier/params.h"
#include "querier/shared_ids.h"

/* The trace's OTLP bytes; empty when it is nowhere. */
static enum err trace_find(struct api_request *r, struct slice *ret, struct err_detail *detail)
{
    struct params_window
        window; /* prunes blocks in Tempo; here a trace is found wherever it lies */
    struct trace_id id;

    enum err e = trace_id_from_hex(r->argument, &id, detail);
    if (e == ERR_OK)
        e = params_trace_window(r->search.arena, r->query, &window, detail);
    if (e == ERR_OK)
        e = search_trace(&r->search, id, ret);
    if (e == ERR_OK)
        e = shared_ids_fix(r->search.arena, *ret, ret);
    return e;
}

enum err api_trace_v1(struct api_request *r, struct api_answer *answer,
                      struct err_detail *reterr_detail)
{
    struct json_out j;
    struct slice otlp;

    enum err e = trace_find(r, &otlp, reterr_detail);
    if (e != ERR_OK)
        return e;
    answer->missing = r->search.missing;
    if (otlp.len == 0) {
        answer->status = 404;
        return ERR_OK;
    }
    if (r->wants_protobuf) {
        answer->content_type = "application/protobuf";
        buf_append(&answer->body, otlp);
        return ERR_OK;
    }
    json_out_init(&j, &answer->body);
    json_out_begin_object(&j);
    json_out_key(&j, "batches");
    otlp_to_json_write(&j, otlp, OTLP_TO_JSON_TEMPO);
    json_out_end_object(&j);
    return ERR_OK;
}

static void v2_protobuf(struct buf *out, struct slice otlp, const char *partial)
{
    pb_bytes(out, 1, otlp);
    pb_bytes(out, 2, SLICE_NONE);
    if (partial != NULL) {
        pb_varint(out, 3, 1);
        pb_bytes(out, 4, slice_str(partial));
    }
}

enum err api_trace_v2(struct api_request *r, struct api_answer *answer,
                      struct err_detail *reterr_detail)
{
    struct json_out j;
    struct slice otlp;

    enum err e = trace_find(r, &otlp, reterr_detail);
    if (e != ERR_OK)
        return e;
    answer->missing = r->search.missing;
    const char *partial =
        answer->missing == 0
            ? NULL
            : arena_printf(r->search.arena, "%u places did not answer, a partial trace is returned",
                           answer->missing);
    if (r->wants_protobuf) {
        answer->content_type = "application/protobuf";
        v2_protobuf(&answer->body, otlp, partial);
        return ERR_OK;
    }
    if (r->wants_llm) {
        answer->content_type = ANSWERS_LLM_TYPE "+json";
        answers_llm_trace(&answer->body, r->search.arena, otlp);
        return arena_err(r->search.arena);
    }
    json_out_init(&j, &answer->body);
    json_out_begin_object(&j);
    json_out_key(&j, "trace");
    json_out_begin_object(&j);
    if (otlp.len != 0) {
        json_out_key(&j, "resourceSpans");
        otlp_to_json_write(&j, otlp, OTLP_TO_JSON_TEMPO);
    }
    json_out_end_object(&j);
    json_out_key(&j, "metrics");
    json_out_begin_object(&j);
    json_out_end_object(&j);
    if (partial != NULL) {
        json_out_key(&j, "status");
        json_out_cstring(&j, "PARTIAL");
        json_out_key(&j, "message");
        json_out_cstring(&j, partial);
    }
    json_out_end_object(&j);
    return ERR_OK;
}
