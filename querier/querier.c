#include "querier/querier.h"

#include "common/app/app_store.h"
#include "common/base/clock.h"
#include "common/base/map.h"
#include "common/codec/gzip.h"
#include "common/net/grpc.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/queue.h"
#include "common/sys/thread.h"
#include "querier/answers.h"
#include "querier/api.h"
#include "querier/stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    JOBS_WAITING_MAX = 2000,
    ANSWER_BYTES_MAX = 256 * 1024 * 1024,
    WATCH_MS = 20,
    INGESTER_CONTEXTS = 64,
    GZIP_BYTES_MIN = 1024 /* as Tempo: smaller answers go as they are */
};
#define QUERY_BYTES_MAX ((size_t)512 * 1024 * 1024)

struct querier {
    struct app *app;
    struct members *ingesters;
    struct backend *backend;
    struct blocks *blocks;
    struct workers *workers;
    struct budget footers;
    pthread_t keeper;  /* ends queries that are over */
    pthread_t poller;  /* lists the blocks, every second while that fails */
    struct mutex lock; /* jobs, is_... */
    pthread_cond_t changed;
    struct job *jobs;
    bool is_stopping, is_listed, is_store_away, is_draining;
    struct metric_family *queries, *missing;
    struct metric_cell *store_away;
};

/* One request under way, from the route to the reply. */
struct job {
    struct work work; /* first */
    struct querier *q;
    struct http_req *req;
    const struct api_route *route;
    struct arena arena;
    struct budget budget;
    struct slice argument, query, body;
    char tenant[151];
    bool wants_protobuf, wants_llm, is_stream, is_post, takes_gzip;
    int64_t begun_ns, deadline_ns;
    atomic_bool cancel;
    const atomic_bool *gone;
    struct job *prev, *next;
};

static void job_enter(struct querier *q, struct job *j)
{
    mutex_lock(&q->lock);
    DL_APPEND(q->jobs, j);
    mutex_unlock(&q->lock);
}

static void job_leave(struct querier *q, struct job *j)
{
    mutex_lock(&q->lock);
    DL_DELETE(q->jobs, j);
    (void)pthread_cond_broadcast(&q->changed);
    mutex_unlock(&q->lock);
}

static void job_free(struct job *j)
{
    arena_release(&j->arena);
    free(j);
}

/* The answer over HTTP.  What can not be compressed for lack of memory goes as it is. */
static void reply_http(struct job *j, const char *content_type, struct api_answer *answer)
{
    char missing[16];
    struct http_header headers[4] = {{"content-type", content_type}, {"vary", "Accept-Encoding"}};
    unsigned count = 2;
    struct buf packed;

    (void)snprintf(missing, sizeof missing, "%u", answer->missing);
    if (answer->missing != 0)
        headers[count++] = (struct http_header){"x-vivace-partial", missing};
    buf_init(&packed, ANSWER_BYTES_MAX);
    bool is_packed = j->takes_gzip && answer->body.len >= GZIP_BYTES_MIN &&
                     gzip_bytes(buf_slice(&answer->body), &packed) == ERR_OK;
    if (is_packed)
        headers[count++] = (struct http_header){"content-encoding", "gzip"};
    http_reply(j->req, &(struct http_reply){.status = answer->status,
                                            .headers = headers,
                                            .header_count = count,
                                            .body = is_packed ? &packed : &answer->body});
    buf_release(&packed);
}

static void job_reply(struct job *j, enum err e, struct api_answer *answer,
                      const struct err_detail *detail)
{
    const char *content_type = answer->content_type;
    struct querier *q = j->q;
    const char *op = j->route->op;

    if (e == ERR_OK)
        e = buf_err(&answer->body);
    if (e != ERR_OK) {
        buf_reset(&answer->body);
        api_error_text(&answer->body, e, detail);
        buf_append_byte(&answer->body, '\n');
        answer->status = err_http_status(e);
        content_type = "text/plain; charset=utf-8";
        answer->missing = 0;
        if (answer->status >= 500 && e != ERR_UNSUPPORTED)
            log_warn("query_failed", LOG_STR("tenant", j->tenant), LOG_STR("route", j->route->name),
                     LOG_ERR(e), LOG_STR("detail", detail->text));
    }
    metric_inc(metric_cell(
        q->queries,
        (struct slice[]){slice_str(j->tenant), slice_str(op),
                         e == ERR_CANCELED ? SLICE_LIT("canceled") : SLICE_LIT("completed")},
        3));
    if (answer->missing != 0)
        metric_add(metric_cell0(q->missing), answer->missing);
    app_observe_request("GET", j->route->name, answer->status,
                        clock_mono_ns(q->app->clock) - j->begun_ns);
    if (j->is_stream && e != ERR_OK) {
        /* The line's end belongs to the plain text; without memory there is no text at all. */
        size_t len = answer->body.len > 0 ? answer->body.len - 1 : 0;
        stream_refuse(j->req, stream_code(e), slice_sub(buf_slice(&answer->body), 0, len));
    } else if (j->is_stream) {
        stream_reply(j->req, buf_slice(&answer->body), (size_t)q->app->config->stream_packet_bytes,
                     answer->missing);
    } else {
        reply_http(j, content_type, answer);
    }
    j->req = NULL;
}

static void job_run(struct work *w)
{
    struct job *j = (struct job *)w;
    struct querier *q = j->q;
    struct err_detail detail = {0};
    struct api_answer answer = {.status = 200, .content_type = "application/json"};
    struct overrides_hold hold = overrides_get(q->app->overrides, slice_str(j->tenant));
    struct api_request r = {.rules = {q->app->config, hold.limits},
                            .query = j->query,
                            .argument = j->argument,
                            .body = j->body,
                            .is_post = j->is_post,
                            .wants_protobuf = j->wants_protobuf,
                            .wants_llm = j->wants_llm,
                            .is_stream = j->is_stream,
                            .now_ns = clock_wall_ns(q->app->clock),
                            .search = {.ingesters = q->ingesters,
                                       .blocks = q->blocks,
                                       .budget = &j->budget,
                                       .tenant = j->tenant,
                                       .deadline_mono_ns = j->deadline_ns,
                                       .cancel = &j->cancel,
                                       .arena = &j->arena}};

    buf_init(&answer.body, ANSWER_BYTES_MAX);
    enum err e = atomic_load(&j->cancel) ? ERR_CANCELED : j->route->fn(&r, &answer, &detail);
    overrides_put(&hold);
    if (e == ERR_CANCELED && clock_mono_ns(q->app->clock) >= j->deadline_ns)
        e = ERR_TIMEOUT;
    job_leave(q, j); /* the keeper may look at req's gone flag only while the job is listed */
    job_reply(j, e, &answer, &detail);
    buf_release(&answer.body);
    job_free(j);
}

static enum err job_new(struct querier *q, struct http_req *req, struct job **ret,
                        struct err_detail *detail)
{
    struct job *j = calloc(1, sizeof *j);

    if (j == NULL)
        return ERR_NOMEM;
    budget_init(&j->budget, QUERY_BYTES_MAX, &q->app->memory);
    arena_init(&j->arena, &j->budget);
    j->q = q;
    j->req = req;
    j->work.run = job_run;
    atomic_init(&j->cancel, false);
    j->gone = http_req_gone(req);
    j->begun_ns = clock_mono_ns(q->app->clock);
    enum err e = app_tenant(q->app->config, req, j->tenant, detail);
    if (e != ERR_OK) {
        job_free(j);
        return e;
    }
    *ret = j;
    return ERR_OK;
}

static void job_set_route(struct job *j, const struct api_route *route)
{
    const struct config *c = j->q->app->config;

    j->route = route;
    j->deadline_ns = j->begun_ns + (strcmp(route->op, "traces") == 0 ? c->trace_timeout_ns
                                                                     : c->search_timeout_ns);
}

/* The route of a path behind the prefix; Tempo's queriers have all but MCP once more under /querier. */
static const struct api_route *route_of(const struct config *c, struct slice path,
                                        struct slice *ret_argument)
{
    struct slice prefix = slice_str(c->http_api_prefix), querier = SLICE_LIT("/querier");
    bool is_internal = slice_has_prefix(path, querier);

    if (is_internal)
        path = slice_sub(path, querier.len, path.len);
    if (!slice_has_prefix(path, prefix))
        return NULL;
    const struct api_route *route = api_route(slice_sub(path, prefix.len, path.len), ret_argument);
    bool is_mcp = route != NULL && route->fn == api_mcp;
    return is_mcp && (is_internal || !c->mcp_enabled) ? NULL : route;
}

/* ERR_NOT_FOUND: no route of ours. */
static enum err job_of_http(struct querier *q, struct http_req *req, struct job **ret,
                            struct err_detail *detail)
{
    struct job *j;

    enum err e = job_new(q, req, &j, detail);
    if (e != ERR_OK)
        return e;
    struct slice path = http_percent_decode(&j->arena, http_req_path(req));
    const struct api_route *route =
        path.ptr == NULL ? NULL : route_of(q->app->config, path, &j->argument);
    if (route == NULL) {
        job_free(j);
        return ERR_NOT_FOUND;
    }
    job_set_route(j, route);
    struct slice accept = http_req_header(req, "accept");
    j->wants_protobuf = slice_contains(accept, SLICE_LIT("application/protobuf"));
    j->wants_llm = !j->wants_protobuf && !slice_contains(accept, SLICE_LIT("application/json")) &&
                   slice_contains(accept, SLICE_LIT(ANSWERS_LLM_TYPE));
    j->takes_gzip = gzip_is_accepted(http_req_header(req, "accept-encoding"));
    j->query = arena_dup(&j->arena, http_req_query(req));
    j->is_post = slice_eq_str(http_req_method(req), "POST");
    if (route->fn == api_mcp)
        j->body = arena_dup(&j->arena, http_req_body(req));
    *ret = j;
    return ERR_OK;
}

/* NULL: refused already. */
static struct job *job_of_stream(struct querier *q, struct http_req *req)
{
    const struct stream_method *m = stream_method(http_req_path(req));
    struct err_detail detail = {0};
    struct job *j;

    if (m == NULL) {
        stream_refuse(req, STREAM_UNIMPLEMENTED, SLICE_LIT("unknown service or method"));
        return NULL;
    }
    enum err e = job_new(q, req, &j, &detail);
    if (e != ERR_OK) {
        /* As the interceptor says it that Tempo has for tenants. */
        stream_refuse(req, e == ERR_UNAUTHENTICATED ? STREAM_UNKNOWN : stream_code(e),
                      slice_str(e == ERR_UNAUTHENTICATED ? "no org id"
                                : detail.text[0] != '\0' ? detail.text
                                                         : err_name(e)));
        return NULL;
    }
    unsigned code = stream_open(&j->arena, req, m, &j->query, &j->argument, &detail);
    if (code != 0) {
        stream_refuse(req, code, slice_str(detail.text));
        job_free(j);
        return NULL;
    }
    job_set_route(j, stream_route(m));
    j->is_stream = j->wants_protobuf = true;
    int64_t timeout_ns = grpc_timeout_ns(http_req_header(req, "grpc-timeout"));
    if (timeout_ns >= 0 && timeout_ns < j->deadline_ns - j->begun_ns)
        j->deadline_ns = j->begun_ns + timeout_ns;
    return j;
}

static void job_start(struct job *j)
{
    struct querier *q = j->q;

    job_enter(q, j);
    enum err e = workers_run(q->workers, &j->work);
    if (e == ERR_OK)
        return;
    job_leave(q, j);
    if (j->is_stream)
        stream_refuse(j->req, STREAM_EXHAUSTED, SLICE_LIT("job queue full"));
    else
        http_reply_text(j->req, 429, "text/plain; charset=utf-8", "job queue full\n");
    job_free(j);
}

static bool is_echo(const struct querier *q, struct slice path)
{
    struct slice prefix = slice_str(q->app->config->http_api_prefix);
    return slice_has_prefix(path, prefix) &&
           slice_eq_str(slice_sub(path, prefix.len, path.len), "/api/echo");
}

static bool querier_http(void *room, struct http_req *req)
{
    struct querier *q = room;
    struct err_detail detail = {0};
    struct job *j;

    if (slice_eq_str(http_req_path(req), "/status/members")) {
        members_reply_status(&q->ingesters, 1, req);
        return true;
    }
    if (is_echo(q, http_req_path(req))) {
        app_observe_request("GET", "api_echo", 200, 0);
        http_reply_text(req, 200, "text/plain; charset=utf-8", "echo\n");
        return true;
    }
    if (q->app->config->stream_over_http_enabled && http_req_is_http2(req) &&
        grpc_is_type(http_req_header(req, "content-type"))) {
        j = job_of_stream(q, req);
        if (j != NULL)
            job_start(j);
        return true;
    }
    if (!slice_has_prefix(http_req_path(req), slice_str(q->app->config->http_api_prefix)) &&
        !slice_has_prefix(http_req_path(req), SLICE_LIT("/querier/")))
        return false;
    enum err e = job_of_http(q, req, &j, &detail);
    if (e == ERR_NOT_FOUND)
        return false;
    if (e != ERR_OK) {
        http_reply_text(req, err_http_status(e), "text/plain; charset=utf-8", "%s\n",
                        detail.text[0] != '\0' ? detail.text : err_name(e));
        return true;
    }
    job_start(j);
    return true;
}

static void cancel_what_is_over(struct querier *q)
{
    int64_t now = clock_mono_ns(q->app->clock);
    struct job *j;

    DL_FOREACH (q->jobs, j)
        if (now >= j->deadline_ns || atomic_load(j->gone))
            atomic_store(&j->cancel, true);
}

/* A store that is away does not keep a querier from telling what the ingesters have; one that refuses does, for somebody has to look at it. */
static void poll_once(struct querier *q)
{
    enum err e = blocks_poll(q->blocks);

    if (e != ERR_OK)
        log_warn("blocklist_poll_failed", LOG_ERR(e));
    metric_set(q->store_away, e != ERR_OK);
    mutex_lock(&q->lock);
    q->is_listed = q->is_listed || e == ERR_OK;
    q->is_store_away = e == ERR_UNAVAILABLE || e == ERR_TIMEOUT;
    mutex_unlock(&q->lock);
}

static void poller_run(void *arg)
{
    struct querier *q = arg;
    int64_t last = 0;

    mutex_lock(&q->lock);
    while (!q->is_stopping) {
        int64_t now = clock_mono_ns(q->app->clock);
        int64_t wait = blocks_are_away(q->blocks) ? NS_PER_S : q->app->config->blocklist_poll_ns;
        if (last == 0 || now - last >= wait) {
            mutex_unlock(&q->lock);
            poll_once(q);
            mutex_lock(&q->lock);
            last = now;
        }
        if (!q->is_stopping)
            (void)cond_wait(&q->changed, &q->lock, WATCH_MS * NS_PER_MS);
    }
    mutex_unlock(&q->lock);
}

static void keeper_run(void *arg)
{
    struct querier *q = arg;

    mutex_lock(&q->lock);
    while (!q->is_stopping) {
        cancel_what_is_over(q);
        (void)cond_wait(&q->changed, &q->lock, WATCH_MS * NS_PER_MS);
    }
    mutex_unlock(&q->lock);
}

static void querier_stop(void *room)
{
    struct querier *q = room;

    mutex_lock(&q->lock);
    q->is_stopping = true;
    (void)pthread_cond_broadcast(&q->changed);
    mutex_unlock(&q->lock);
    if (q->keeper != 0)
        thread_join(q->keeper);
    if (q->poller != 0)
        thread_join(q->poller);
    workers_free(q->workers);
    members_free(q->ingesters);
    blocks_free(q->blocks);
    if (q->backend != NULL)
        q->backend->ops->free(q->backend);
    mutex_release(&q->lock);
    free(q);
}

static enum err querier_open(struct querier *q, struct err_detail *detail)
{
    const struct config *c = q->app->config;
    struct members_options o = {.role = "ingester",
                                .cluster = c->cluster,
                                .own_role = "querier",
                                .own_id = q->app->instance_id,
                                .own_boot_id = q->app->boot_id,
                                .control_urls = c->ingester_members.items,
                                .url_count = c->ingester_members.count,
                                .push_receive_bytes_max = 1 << 20,
                                .query_receive_bytes_max = 64 << 20,
                                .contexts = INGESTER_CONTEXTS};

    enum err e = app_store_open(q->app, APP_STORE_QUERY, &q->backend, detail);
    if (e == ERR_OK)
        e = blocks_new(q->backend, &q->footers, &q->blocks);
    if (e == ERR_OK)
        e = members_new(&o, &q->ingesters);
    if (e == ERR_OK)
        e = workers_new("query", (unsigned)c->max_concurrent_queries, JOBS_WAITING_MAX,
                        &q->workers);
    if (e == ERR_OK)
        e = thread_start(&q->keeper, "keeper", keeper_run, q);
    if (e == ERR_OK)
        e = thread_start(&q->poller, "poller", poller_run, q);
    return e;
}

static enum err querier_start(struct app *app, void **ret_room, struct err_detail *reterr_detail)
{
    struct querier *q = calloc(1, sizeof *q);

    if (q == NULL)
        return ERR_NOMEM;
    q->app = app;
    mutex_init(&q->lock);
    cond_init(&q->changed);
    budget_init(&q->footers, app->memory.limit_bytes / 4, &app->memory);
    q->queries = metrics_counter("tempo_query_frontend_queries_total", "tenant,op,result",
                                 "Queries by tenant, kind and outcome.");
    q->missing = metrics_counter("vivace_querier_missing_places_total", "",
                                 "Ingesters and blocks that a query could not read.");
    q->store_away = metric_cell0(metrics_gauge("vivace_querier_store_away", "",
                                               "1: the blocks could not be listed the last time."));
    enum err e = querier_open(q, reterr_detail);
    if (e != ERR_OK) {
        querier_stop(q);
        return e;
    }
    *ret_room = q;
    return ERR_OK;
}

static enum member_state querier_state(void *room, char *ret_text)
{
    struct querier *q = room;

    mutex_lock(&q->lock);
    bool is_listed = q->is_listed || q->is_store_away, is_draining = q->is_draining;
    mutex_unlock(&q->lock);
    if (is_draining)
        return MEMBER_DRAINING;
    /* Before it is known who is there, an answer would leave out what the ingesters have. */
    unsigned unheard = members_unheard(q->ingesters);
    if (is_listed && unheard == 0)
        return MEMBER_ACTIVE;
    if (!is_listed)
        (void)snprintf(ret_text, 256, "Querier not ready: the blocks have not been listed yet");
    else
        (void)snprintf(ret_text, 256, "Querier not ready: %u of %u ingesters not heard of yet",
                       unheard, members_count(q->ingesters));
    return MEMBER_STARTING;
}

static void querier_lanes(void *room, const char **ret_push_url, const char **ret_query_url)
{
    (void)room;
    *ret_push_url = "";
    *ret_query_url = "";
}

/* Queries in flight get to finish; app's deadline and theirs end the wait. */
static void querier_drain(void *room)
{
    struct querier *q = room;
    int64_t until = clock_mono_ns(q->app->clock) + q->app->config->graceful_shutdown_timeout_ns;

    mutex_lock(&q->lock);
    q->is_draining = true;
    while (q->jobs != NULL && clock_mono_ns(q->app->clock) < until)
        (void)cond_wait(&q->changed, &q->lock, WATCH_MS * NS_PER_MS);
    mutex_unlock(&q->lock);
}

static const char *querier_control_listen(const struct config *c)
{
    return c->querier_control_listen;
}

const struct app_room querier_room = {.role = "querier",
                                      .control_listen = querier_control_listen,
                                      .start = querier_start,
                                      .lanes = querier_lanes,
                                      .state = querier_state,
                                      .http = querier_http,
                                      .drain = querier_drain,
                                      .stop = querier_stop};
