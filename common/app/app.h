/*
 * app.h - what the four binaries share: flags, configuration, start, readiness, drain, stop, own HTTP, control lane.
 *
 * Order:   proc_init, flags, config, budget, overrides, loops, own HTTP (/live 200, /ready 503), room start, control lane, ready; SIGTERM or SIGINT: state DRAINING, /ready
 *          503, shutdown_delay, room drain (deadline graceful_shutdown_timeout), room stop, exit 0.
 * Own HTTP: /ready /live /metrics /status /status/version /status/services /status/endpoints /api/status/buildinfo; anything else goes to the room
 *          (/status/members too, which has the members).  /status/config /status/runtime_config /status/overrides /flush /shutdown: on the querier and the distributor only on the admin
 *          listener, which has all of the above too; the room need not tell them apart.
 * Threads: main thread runs app_main; the room's http runs on loop threads.
 * Exit:    0 clean, 1 configuration or start failure (one clear line), 75 the disk failed (see storage), 78 data directory held by another process.
 */
#ifndef VIVACE_APP_APP_H
#define VIVACE_APP_APP_H

#include "common/app/config.h"
#include "common/app/overrides.h"
#include "common/base/budget.h"
#include "common/base/clock.h"
#include "common/net/http_server.h"
#include "common/net/loop.h"
#include "common/ring/members.h"

#define VIVACE_VERSION "2.10.0" /* what buildinfo reports: Grafana switches features by it */

struct app {
    const struct config *config;
    struct overrides *overrides;
    const struct clock *clock;
    struct loop **loops;
    unsigned loop_count;
    struct budget memory; /* of the process */
    char instance_id[MEMBER_ID_BYTES_MAX + 1];
    char boot_id[33];
    const char *role;
};

struct app_room {
    const char *role; /* "distributor" ... */
    const char *(*control_listen)(const struct config *c);
    /* Starts everything; `*ret_room` is given to the other functions.  Errors: the detail is the one clear line. */
    enum err (*start)(struct app *app, void **ret_room, struct err_detail *reterr_detail);
    /* Fills in the lanes of the hello (urls with real ports); called after start. */
    void (*lanes)(void *room, const char **ret_push_url, const char **ret_query_url);
    /* State for hello and /ready: ACTIVE is ready; `ret_text` (256 bytes) says why not. */
    enum member_state (*state)(void *room, char *ret_text);
    bool (*http)(void *room, struct http_req *req); /* false: not mine (404).  May be NULL. */
    /* Stop taking in new work, finish what is in flight, make it durable; blocks. */
    void (*drain)(void *room);
    void (*stop)(void *room); /* free everything */
};

int app_main(int argc, char **argv, const struct app_room *room);

/* The process drains and exits with this code: for rooms whose disk has failed for good; 0 for /shutdown.  Called by a room's start that
 * then fails, it sets the exit code (78). */
void app_fail(int exit_code);

/* Reports the route of a request for tempo_request_duration_seconds{method,route,status_code,ws}. */
void app_observe_request(const char *method, const char *route, unsigned status,
                         int64_t duration_ns);

/* Tenant of a request by X-Scope-OrgID (contract.md 1.0): ERR_UNAUTHENTICATED "no org id", ERR_INVALID with Tempo's text.  `ret` has 151 bytes. */
MUST_CHECK enum err app_tenant(const struct config *c, const struct http_req *req, char *ret,
                               struct err_detail *reterr_detail);
MUST_CHECK enum err app_tenant_check(struct slice id, struct err_detail *reterr_detail);

#endif
