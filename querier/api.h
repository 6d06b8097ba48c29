/*
 * api.h - Tempo's routes: a request becomes a job for a worker, the worker's answer becomes the reply.
 *
 * Threads: api_route on loop threads (no work, no waiting); api_run on a worker.
 */
#ifndef VIVACE_QUERIER_API_H
#define VIVACE_QUERIER_API_H

#include "common/app/app.h"
#include "querier/params.h"
#include "querier/search.h"

struct api_call; /* a request under way */

/* What a route's function fills in. */
struct api_answer {
    unsigned status;
    const char *content_type;
    struct buf body;
    unsigned missing; /* places that did not answer: the header X-Vivace-Partial */
};

struct api_request {
    struct params_rules rules;
    struct search_ctx search; /* tenant, arena, deadline, cancel filled in */
    struct slice query;       /* query string */
    struct slice argument;    /* of the path, decoded: trace id or tag name */
    struct slice body;        /* of routes that take one */
    bool is_post;
    bool wants_protobuf; /* metrics are JSON all the same, over HTTP */
    bool wants_llm;      /* traces v2 and values v2 have that form; the others are JSON */
    bool is_stream;      /* asked by gRPC: everything is protobuf */
    int64_t now_ns;
};

typedef enum err api_fn(struct api_request *r, struct api_answer *answer,
                        struct err_detail *reterr_detail);

struct api_route {
    const char *name; /* of tempo_request_duration_seconds */
    const char
        *op; /* of tempo_query_frontend_queries_total: traces, search, metadata, metrics, mcp */
    const char *prefix, *suffix; /* path = prefix, or prefix argument suffix */
    api_fn *fn;
};

/* The error as Tempo says it: plain, one line without its end. */
void api_error_text(struct buf *out, enum err e, const struct err_detail *detail);

/* NULL when no route is meant (404).  `path` decoded; *ret_argument points into it. */
const struct api_route *api_route(struct slice path, struct slice *ret_argument);

/* The functions of the routes, by file. */
api_fn api_trace_v1, api_trace_v2;                             /* api_trace.c */
api_fn api_search;                                             /* api_search.c */
api_fn api_tags_v1, api_tags_v2, api_values_v1, api_values_v2; /* api_tags.c */
api_fn api_query_range, api_query_instant;                     /* api_metrics.c */
api_fn api_mcp;                                                /* api_mcp.c */

#endif
