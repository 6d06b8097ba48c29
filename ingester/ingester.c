#include "ingester/ingester.h"

#include "common/app/app_store.h"
#include "common/net/rpc.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "ingester/core.h"
#include "ingester/live_query.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PUSH_CONTEXTS = 256,
    QUERY_CONTEXTS = 64,
    QUERY_THREADS = 4,
    QUERY_REQUEST_BYTES_MAX = 17 << 20,
    EXIT_IN_USE = 78
};
#define PUSH_BYTES_MAX ((size_t)WAL_FRAME_BYTES_MAX)

struct ingester {
    struct app *app;
    struct backend *backend;
    struct core *core;
    struct live_query *queries;
    struct rpc_server *push, *query;
};

/* One push of a distributor, until it is answered. */
struct arrival {
    struct push push; /* first */
    struct rpc_req *req;
};

static void arrival_finished(struct push *p)
{
    struct arrival *a = (struct arrival *)p;
    struct buf reply;

    buf_init(&reply, 4 << 20);
    push_message_reply(&reply, p->is_duplicate, p->refused, p->refused_count);
    if (p->err != ERR_OK)
        rpc_reply(a->req, p->err, slice_str(err_name(p->err)));
    else
        rpc_reply(a->req, buf_err(&reply), buf_slice(&reply));
    buf_release(&reply);
    free(p->refused);
    free(a);
}

static void take_push(struct ingester *in, struct rpc_req *req)
{
    struct arrival *a = calloc(1, sizeof *a);
    struct err_detail detail = {0};
    enum err e = a == NULL ? ERR_NOMEM : push_message_read(rpc_req_payload(req), &a->push.m);

    if (e == ERR_OK)
        e = app_tenant_check(a->push.m.tenant, &detail);
    if (e != ERR_OK) {
        free(a);
        rpc_reply(req, e, slice_str(detail.text[0] != 0 ? detail.text : err_name(e)));
        return;
    }
    a->req = req;
    a->push.kind = PUSH_CLIENT;
    a->push.wal_flags = a->push.m.is_doubt ? WAL_FLAG_DOUBT : 0;
    a->push.finished = arrival_finished;
    core_push(in->core, &a->push);
}

static void on_push_lane(void *arg, struct rpc_req *req)
{
    struct ingester *in = arg;

    switch (rpc_req_method(req)) {
    case RPC_PUSH: take_push(in, req); break;
    default: rpc_reply(req, ERR_UNSUPPORTED, SLICE_LIT("no such request on the push lane")); break;
    }
}

static void on_query_lane(void *arg, struct rpc_req *req)
{
    struct ingester *in = arg;

    live_query_take(in->queries, req);
}

static const char *control_listen(const struct config *c)
{
    return c->ingester_control_listen;
}

/* The process that the gauges tell of; the lock keeps it alive while they are read. */
static struct core *gauge_core;
static pthread_mutex_t gauge_lock = PTHREAD_MUTEX_INITIALIZER;

static void read_gauges(void *arg)
{
    (void)arg;
    (void)pthread_mutex_lock(&gauge_lock);
    if (gauge_core != NULL)
        core_read_gauges(gauge_core);
    (void)pthread_mutex_unlock(&gauge_lock);
}

static void gauges_of(struct core *c)
{
    static bool is_asked;

    (void)pthread_mutex_lock(&gauge_lock);
    gauge_core = c;
    bool is_new = !is_asked;
    is_asked = true;
    (void)pthread_mutex_unlock(&gauge_lock);
    if (is_new)
        metrics_on_collect(read_gauges, NULL);
}

static void ingester_stop(void *room)
{
    struct ingester *in = room;

    if (in->push != NULL)
        rpc_server_free(in->push);
    if (in->query != NULL)
        rpc_server_free(in->query);
    live_query_free(in->queries);
    gauges_of(NULL);
    core_free(in->core);
    if (in->backend != NULL)
        in->backend->ops->free(in->backend);
    free(in);
}

static enum err lanes_open(struct ingester *in, struct err_detail *detail)
{
    const struct config *c = in->app->config;
    size_t push_bytes_max = in->app->memory.limit_bytes / 3 < PUSH_BYTES_MAX
                                ? in->app->memory.limit_bytes / 3
                                : PUSH_BYTES_MAX;
    struct rpc_server_options push = {.url = c->ingester_push_listen,
                                      .receive_bytes_max = push_bytes_max,
                                      .contexts = PUSH_CONTEXTS,
                                      .handler = on_push_lane,
                                      .arg = in};
    struct rpc_server_options query = {.url = c->ingester_query_listen,
                                       .receive_bytes_max = QUERY_REQUEST_BYTES_MAX,
                                       .contexts = QUERY_CONTEXTS,
                                       .handler = on_query_lane,
                                       .arg = in};

    enum err e = rpc_server_new(&push, &in->push, detail);
    return e == ERR_OK ? rpc_server_new(&query, &in->query, detail) : e;
}

static enum err ingester_start(struct app *app, void **ret_room, struct err_detail *reterr_detail)
{
    struct ingester *in = calloc(1, sizeof *in);

    if (in == NULL)
        return ERR_NOMEM;
    in->app = app;
    enum err e = app_store_open(app, APP_STORE_WRITE, &in->backend, reterr_detail);
    struct core_options core = {.config = app->config,
                                .overrides = app->overrides,
                                .clock = app->clock,
                                .memory = &app->memory,
                                .instance_id = app->instance_id,
                                .backend = in->backend,
                                .fail = app_fail};
    if (e == ERR_OK)
        e = core_start(&core, &in->core, reterr_detail);
    if (e == ERR_CONFLICT)
        app_fail(
            EXIT_IN_USE); /* two processes on one log would lose data: this one ends, with its own code */
    struct live_query_options queries = {.core = in->core,
                                         .memory = &app->memory,
                                         .instance_id = app->instance_id,
                                         .timeout_ns = app->config->search_timeout_ns,
                                         .threads = QUERY_THREADS};
    if (e == ERR_OK)
        e = live_query_new(&queries, &in->queries);
    if (e == ERR_OK) {
        gauges_of(in->core);
        e = lanes_open(in, reterr_detail);
    }
    if (e != ERR_OK) {
        ingester_stop(in);
        return e;
    }
    *ret_room = in;
    return ERR_OK;
}

static void ingester_lanes(void *room, const char **ret_push_url, const char **ret_query_url)
{
    struct ingester *in = room;

    *ret_push_url = rpc_server_url(in->push);
    *ret_query_url = rpc_server_url(in->query);
}

static enum member_state ingester_state(void *room, char *ret_text)
{
    struct ingester *in = room;

    return core_state(in->core, ret_text);
}

struct flush_request {
    struct http_req *req;
    bool is_shutdown;
};

static void flush_answer(void *arg, enum err err)
{
    struct flush_request *f = arg;

    if (f->is_shutdown) {
        if (err != ERR_OK)
            log_warn("flush_on_shutdown_incomplete", LOG_ERR(err)); /* the log keeps the rest */
        app_fail(0);
    } else if (err == ERR_OK) {
        http_reply_text(f->req, 204, "text/plain; charset=utf-8", "%s", "");
    } else {
        http_reply_text(f->req, 500, "text/plain; charset=utf-8", "flush: %s\n", err_name(err));
    }
    free(f);
}

static bool ingester_http(void *room, struct http_req *req)
{
    struct ingester *in = room;
    bool is_flush = slice_eq_str(http_req_path(req), "/flush");
    bool is_shutdown = slice_eq_str(http_req_path(req), "/shutdown");
    struct slice method = http_req_method(req);

    if (!is_flush && !is_shutdown)
        return false;
    if (!slice_eq_str(method, "GET") && !slice_eq_str(method, "POST")) {
        http_reply_text(req, 405, "text/plain; charset=utf-8", "method not allowed\n");
        return true;
    }
    struct flush_request *f = calloc(1, sizeof *f);
    if (f == NULL) {
        http_reply_text(req, 503, "text/plain; charset=utf-8", "no memory\n");
        return true;
    }
    *f = (struct flush_request){.req = req, .is_shutdown = is_shutdown};
    if (is_shutdown)
        http_reply_text(req, 200, "text/plain; charset=utf-8", "shutdown job acknowledged\n");
    core_flush(in->core, flush_answer, f);
    return true;
}

static void ingester_drain(void *room)
{
    struct ingester *in = room;
    const struct config *c = in->app->config;

    core_drain(in->core, c->flush_all_on_shutdown, c->graceful_shutdown_timeout_ns / 5 * 4);
}

const struct app_room ingester_room = {
    .role = "ingester",
    .control_listen = control_listen,
    .start = ingester_start,
    .lanes = ingester_lanes,
    .state = ingester_state,
    .http = ingester_http,
    .drain = ingester_drain,
    .stop = ingester_stop,
};
