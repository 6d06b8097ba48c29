#include "distributor/distributor.h"

#include "common/obs/log.h"
#include "distributor/receive.h"

#include <assert.h>

enum {
    LANE_CONTEXTS = 256,
    REPLY_BYTES_MAX = 16 << 20, /* a PushReply names each refused trace */
    HEADER_BYTES_MAX = 64 << 10,
    GRPC_PREFIX_BYTES = 5,
    WORKER_QUEUE_MAX = 256,
    STATE_TEXT_BYTES = 256
};

struct room {
    struct app *app;
    struct budget budget; /* of everything that clients can make grow */
    struct peers_members ingesters, generators;
    struct tenants tenants;
    struct forward *forward;
    struct loop_timer *forward_timer;
    struct workers *workers;
    struct http_server *grpc, *http;
    struct receive_shared shared;
    atomic_bool has_seen_ingester, is_draining;
};

static const char *control_listen(const struct config *c)
{
    return c->distributor_control_listen;
}

/* From here on there is somebody to place and to call. */
static enum err start_members(struct room *r, const char *role, const struct config_list *urls,
                              struct peers_members *ret, struct err_detail *detail)
{
    struct members_options o = {.role = role,
                                .cluster = r->app->config->cluster,
                                .own_role = "distributor",
                                .own_id = r->app->instance_id,
                                .own_boot_id = r->app->boot_id,
                                .control_urls = urls->items,
                                .url_count = urls->count,
                                .push_receive_bytes_max = REPLY_BYTES_MAX,
                                .query_receive_bytes_max = REPLY_BYTES_MAX,
                                .contexts = LANE_CONTEXTS};
    enum err e = members_new(&o, &ret->members);

    if (e != ERR_OK)
        return err_detail_set(detail, e, "can not follow the %ss of %s.members: %s", role, role,
                              err_name(e));
    atomic_store_explicit(&ret->is_closed, false, memory_order_release);
    return ERR_OK;
}

static void on_forward_tick(void *arg)
{
    forward_tick(arg);
}

/* Only if somebody would make something of the spans. */
static enum err start_forward(struct room *r, struct err_detail *detail)
{
    const struct config *c = r->app->config;

    bool is_wanted = c->limits.processors.count > 0 || c->override_file[0] != '\0';

    if (!is_wanted || c->generator_members.count == 0)
        return ERR_OK;
    struct forward_options o = {.peers = &r->shared.generators,
                                .clock = r->app->clock,
                                .loop = r->app->loops[0],
                                .post = loop_post,
                                .bytes_max = c->generator_buffer_bytes};
    enum err e = forward_new(&o, &r->forward);
    if (e == ERR_OK)
        e = loop_timer_new(r->app->loops[0], 50 * NS_PER_MS, on_forward_tick, r->forward,
                           &r->forward_timer);
    if (e != ERR_OK)
        return err_detail_set(detail, e, "can not start the lane to the generators: %s",
                              err_name(e));
    r->shared.forward = r->forward;
    return ERR_OK;
}

static enum err listen_on(struct room *r, const struct config_listener *l, http_handler *handler,
                          struct http_server **ret, struct err_detail *detail)
{
    struct http_server_options o = {
        .address = l->address,
        .port = l->port,
        .loops = r->app->loops,
        .loop_count = r->app->loop_count,
        .handler = handler,
        .arg = &r->shared,
        .budget = &r->budget,
        .body_bytes_max = (size_t)l->max_recv_msg_bytes + GRPC_PREFIX_BYTES,
        .header_bytes_max = HEADER_BYTES_MAX,
        .streams_max = (unsigned)l->max_concurrent_streams,
        .max_connection_age_ns = l->max_connection_age_ns,
        .cors = {l->cors_origins.items, l->cors_origins.count, l->cors_headers.items,
                 l->cors_headers.count, l->cors_max_age_s}};

    if (!l->is_on)
        return ERR_OK;
    enum err e = http_server_new(&o, ret, detail);
    if (e == ERR_OK)
        log_info("listening",
                 LOG_STR("receiver", handler == receive_grpc ? "otlp/grpc" : "otlp/http"),
                 LOG_STR("address", l->address), LOG_UINT("port", http_server_port(*ret)));
    return e;
}

/* What can fail for a reason of this machine comes first; until the members are there clients hear "unavailable". */
static enum err start_in(struct room *r, struct err_detail *detail)
{
    const struct config *c = r->app->config;
    struct workers *workers = NULL;

    if (c->ingester_members.count == 0)
        return err_detail_set(detail, ERR_INVALID,
                              "ingester.members is empty: there is nowhere to write to");
    enum err e = workers_new("prepare", r->app->loop_count, WORKER_QUEUE_MAX, &workers);
    if (e != ERR_OK)
        return err_detail_set(detail, e, "can not start worker threads: %s", err_name(e));
    r->workers = workers;
    atomic_init(&r->shared.workers, workers);
    e = start_forward(r, detail);
    if (e == ERR_OK)
        e = listen_on(r, &c->otlp_grpc, receive_grpc, &r->grpc, detail);
    if (e == ERR_OK)
        e = listen_on(r, &c->otlp_http, receive_http, &r->http, detail);
    if (e == ERR_OK)
        e = start_members(r, "ingester", &c->ingester_members, &r->ingesters, detail);
    if (e == ERR_OK && r->forward != NULL)
        e = start_members(r, "generator", &c->generator_members, &r->generators, detail);
    return e;
}

static void stop(void *arg);

static enum err start(struct app *app, void **ret_room, struct err_detail *reterr_detail)
{
    struct room *r = calloc(1, sizeof *r);

    if (r == NULL)
        return ERR_NOMEM;
    assert(app->loop_count > 0);
    stats_init();
    r->app = app;
    atomic_init(&r->ingesters.is_closed, true);
    atomic_init(&r->generators.is_closed, true);
    /* A quarter stays for what is not a client's body: the lane to the generators, connections, metrics. */
    budget_init(&r->budget, app->memory.limit_bytes / 4 * 3, &app->memory);
    tenants_init(&r->tenants, strcmp(app->config->rate_strategy, "global") == 0, app->clock);
    r->shared = (struct receive_shared){.config = app->config,
                                        .overrides = app->overrides,
                                        .clock = app->clock,
                                        .loops = app->loops,
                                        .loop_count = app->loop_count,
                                        .budget = &r->budget,
                                        .ingesters = peers_of_members(&r->ingesters),
                                        .generators = peers_of_members(&r->generators),
                                        .tenants = &r->tenants};
    enum err e = start_in(r, reterr_detail);
    if (e != ERR_OK) {
        stop(r);
        return e;
    }
    *ret_room = r;
    return ERR_OK;
}

static void lanes(void *room, const char **ret_push_url, const char **ret_query_url)
{
    (void)room;
    *ret_push_url = "";
    *ret_query_url = "";
}

/* Does one take writes?  Those that replay their log do. */
static bool has_taker(struct members *members)
{
    for (unsigned i = 0; i < members_count(members); i++) {
        struct member m;
        members_get(members, i, &m);
        if ((m.state == MEMBER_ACTIVE || m.state == MEMBER_REPLAYING) && m.health != MEMBER_DOWN)
            return true;
    }
    return false;
}

/* Ready from the first ingester on.  If all go away later, clients should still hear "unavailable, come back" rather than a refused connection. */
static enum member_state state(void *room, char *ret_text)
{
    struct room *r = room;

    ret_text[0] = '\0';
    if (atomic_load(&r->is_draining)) {
        (void)snprintf(ret_text, STATE_TEXT_BYTES, "draining");
        return MEMBER_DRAINING;
    }
    if (!atomic_load(&r->has_seen_ingester)) {
        if (!has_taker(r->ingesters.members)) {
            (void)snprintf(ret_text, STATE_TEXT_BYTES, "no ingester takes writes yet");
            return MEMBER_STARTING;
        }
        atomic_store(&r->has_seen_ingester, true);
    }
    return MEMBER_ACTIVE;
}

static unsigned in_flight(const struct room *r)
{
    unsigned grpc = r->grpc == NULL ? 0 : http_server_in_flight(r->grpc);
    return grpc + (r->http == NULL ? 0 : http_server_in_flight(r->http));
}

static void sleep_ns(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    (void)nanosleep(&t, NULL); /* a signal only shortens it */
}

/* Waits until every loop has run all that was posted before. */
struct barrier {
    struct loop_msg msg;
    struct mutex lock;
    pthread_cond_t cond;
    bool is_done;
};

static void on_barrier(struct loop_msg *m)
{
    struct barrier *b = (struct barrier *)m;

    mutex_lock(&b->lock);
    b->is_done = true;
    (void)pthread_cond_signal(&b->cond); /* can not fail */
    mutex_unlock(&b->lock);
}

static void pass_loops(struct room *r)
{
    for (unsigned i = 0; i < r->app->loop_count; i++) {
        struct barrier b = {.msg = {.run = on_barrier}};
        mutex_init(&b.lock);
        cond_init(&b.cond);
        loop_post(r->app->loops[i], &b.msg);
        mutex_lock(&b.lock);
        while (!b.is_done)
            (void)cond_wait(&b.cond, &b.lock, -1);
        mutex_unlock(&b.lock);
        (void)pthread_cond_destroy(&b.cond); /* nobody waits */
        mutex_release(&b.lock);
    }
}

static void drain(void *room)
{
    struct room *r = room;
    int64_t deadline_ns =
        clock_mono_ns(&clock_system) + r->app->config->graceful_shutdown_timeout_ns;

    atomic_store(&r->is_draining, true);
    if (r->grpc != NULL)
        http_server_drain(r->grpc);
    if (r->http != NULL)
        http_server_drain(r->http);
    pass_loops(r); /* from here on the listeners are closed */
    while (in_flight(r) > 0 && clock_mono_ns(&clock_system) < deadline_ns)
        sleep_ns(10 * NS_PER_MS);
    /* Without a generator to give it to there is nothing to wait for. */
    while (r->forward != NULL && forward_bytes(r->forward) > 0 &&
           has_taker(r->generators.members) && clock_mono_ns(&clock_system) < deadline_ns)
        sleep_ns(10 * NS_PER_MS);
    log_info("drained", LOG_UINT("requests_left", in_flight(r)),
             LOG_UINT("generator_bytes_left", r->forward == NULL ? 0 : forward_bytes(r->forward)));
}

/* Takes apart what was started, in any state: first nobody calls peers any more, then their calls end, then clients get the last answers. */
static void stop(void *arg)
{
    struct room *r = arg;

    atomic_store_explicit(&r->ingesters.is_closed, true, memory_order_release);
    atomic_store_explicit(&r->generators.is_closed, true, memory_order_release);
    atomic_store_explicit(&r->shared.workers, NULL, memory_order_release);
    pass_loops(r);
    workers_free(r->workers);
    pass_loops(r);
    if (r->ingesters.members != NULL)
        members_free(r->ingesters.members);
    if (r->generators.members != NULL)
        members_free(r->generators.members);
    pass_loops(r);
    if (r->grpc != NULL)
        http_server_free(r->grpc);
    if (r->http != NULL)
        http_server_free(r->http);
    pass_loops(r);
    if (r->forward_timer != NULL)
        loop_timer_free(r->forward_timer);
    forward_free(r->forward);
    tenants_release(&r->tenants);
    free(r);
}

static bool http(void *room, struct http_req *req)
{
    struct room *r = room;
    struct members *lists[2] = {r->ingesters.members, r->generators.members};

    if (!slice_eq_str(http_req_path(req), "/status/members"))
        return false;
    members_reply_status(lists, r->generators.members != NULL ? 2 : 1, req);
    return true;
}

const struct app_room distributor_room = {
    .role = "distributor",
    .control_listen = control_listen,
    .start = start,
    .lanes = lanes,
    .state = state,
    .http = http,
    .drain = drain,
    .stop = stop,
};
