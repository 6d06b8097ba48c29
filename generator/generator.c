#include "generator/generator.h"

#include "common/base/hash.h"
#include "common/obs/log.h"
#include "generator/intake.h"
#include "generator/remote_write.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PUSH_CONTEXTS = 64, PATH_BYTES = 4096 };
#define QUEUE_BYTES_MAX   ((uint64_t)1 << 30)
#define RECEIVE_BYTES_MAX ((size_t)80 * 1024 * 1024)

struct generator {
    struct app *app;
    struct intake *intake; /* NULL: no storage path, nothing is made */
    struct rpc_server *push;
    struct send_queue **queues;
    struct remote_write **targets;
    unsigned target_count;
    atomic_bool is_draining;
};

static void push_handle(void *arg, struct rpc_req *req)
{
    struct generator *g = arg;

    if (g->intake == NULL)
        rpc_reply(req, ERR_UNAVAILABLE, SLICE_LIT("metrics_generator.storage.path is not set"));
    else
        intake_push(g->intake, req);
}

/* A target's folder goes by its URL; of several with one URL the later ones are numbered. */
static int target_dir(const struct config *c, unsigned target, char *ret, size_t len)
{
    uint64_t id = hash_plain(slice_str(c->remote_write[target].url));
    unsigned same = 0;

    for (unsigned i = 0; i < target; i++)
        same += strcmp(c->remote_write[i].url, c->remote_write[target].url) == 0;
    if (same == 0)
        return snprintf(ret, len, "%s/queue/%016" PRIx64, c->generator_path, id);
    return snprintf(ret, len, "%s/queue/%016" PRIx64 "-%u", c->generator_path, id, same);
}

static enum err targets_open(struct generator *g, struct err_detail *detail)
{
    const struct config *c = g->app->config;

    g->queues = calloc(c->remote_write_count + 1, sizeof(struct send_queue *));
    g->targets = calloc(c->remote_write_count + 1, sizeof(struct remote_write *));
    if (g->queues == NULL || g->targets == NULL)
        return ERR_NOMEM;
    for (unsigned i = 0; i < c->remote_write_count; i++) {
        char dir[PATH_BYTES];
        int n = target_dir(c, i, dir, sizeof dir);
        if (n < 0 || (size_t)n >= sizeof dir - 64)
            return err_detail_set(detail, ERR_INVALID,
                                  "metrics_generator.storage.path is too long");
        enum err e = send_queue_open(dir, QUEUE_BYTES_MAX, &g->queues[i]);
        if (e == ERR_OK)
            e = remote_write_new(c, &c->remote_write[i], g->queues[i], &g->targets[i]);
        if (e != ERR_OK)
            return err_detail_set(detail, e, "the queue %s can not be opened: %s", dir,
                                  err_name(e));
        g->target_count = i + 1;
    }
    return ERR_OK;
}

static void generator_stop(void *room)
{
    struct generator *g = room;
    const struct config *c = g->app->config;

    rpc_server_free(g->push);
    intake_free(g->intake);
    for (unsigned i = 0; i < g->target_count; i++)
        remote_write_free(g->targets[i], c->remote_write_flush_deadline_ns);
    for (unsigned i = 0; g->queues != NULL && i < c->remote_write_count; i++)
        send_queue_close(g->queues[i]);
    free(g->queues);
    free(g->targets);
    free(g);
}

static enum err generator_open(struct generator *g, struct err_detail *detail)
{
    const struct config *c = g->app->config;
    struct rpc_server_options o = {.url = c->generator_push_listen,
                                   .receive_bytes_max = RECEIVE_BYTES_MAX,
                                   .contexts = PUSH_CONTEXTS,
                                   .handler = push_handle,
                                   .arg = g};
    enum err e = ERR_OK;

    if (c->generator_path[0] == '\0') {
        log_warn("generator_idle",
                 LOG_STR("reason", "no metrics_generator.storage.path configured"));
    } else {
        e = targets_open(g, detail);
        struct intake_options in = {
            .app = g->app, .queues = g->queues, .queue_count = g->target_count};
        if (e == ERR_OK)
            e = intake_new(&in, &g->intake, detail);
    }
    return e == ERR_OK ? rpc_server_new(&o, &g->push, detail) : e;
}

static enum err generator_start(struct app *app, void **ret_room, struct err_detail *reterr_detail)
{
    struct generator *g = calloc(1, sizeof *g);

    if (g == NULL)
        return ERR_NOMEM;
    g->app = app;
    atomic_init(&g->is_draining, false);
    enum err e = generator_open(g, reterr_detail);
    if (e != ERR_OK) {
        generator_stop(g);
        return e;
    }
    *ret_room = g;
    return ERR_OK;
}

static void generator_lanes(void *room, const char **ret_push_url, const char **ret_query_url)
{
    struct generator *g = room;

    *ret_push_url = rpc_server_url(g->push);
    *ret_query_url = "";
}

static enum member_state generator_state(void *room, char *ret_text)
{
    struct generator *g = room;

    if (atomic_load(&g->is_draining))
        return MEMBER_DRAINING;
    if (g->intake == NULL || intake_is_ready(g->intake))
        return MEMBER_ACTIVE;
    (void)snprintf(ret_text, 256, "Generator not ready: the log is being replayed");
    return MEMBER_REPLAYING;
}

static void generator_drain(void *room)
{
    struct generator *g = room;

    atomic_store(&g->is_draining, true);
    if (g->intake != NULL)
        intake_drain(g->intake);
}

static const char *generator_control_listen(const struct config *c)
{
    return c->generator_control_listen;
}

const struct app_room generator_room = {.role = "generator",
                                        .control_listen = generator_control_listen,
                                        .start = generator_start,
                                        .lanes = generator_lanes,
                                        .state = generator_state,
                                        .drain = generator_drain,
                                        .stop = generator_stop};
