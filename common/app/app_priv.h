/*
 * app_priv.h - shared by the files of app: what one process is made of.
 *
 * Threads: main owns it; HTTP handlers on loop threads and control-lane handlers on nng threads read `phase` and enter the room through
 *          app_room_enter / app_room_leave, so that the room is never stopped under them.
 */
#ifndef VIVACE_APP_APP_PRIV_H
#define VIVACE_APP_APP_PRIV_H

#include "common/app/app.h"
#include "common/net/rpc.h"
#include "common/sys/queue.h"

#include <stdatomic.h>

enum {
    APP_FLAGS_MAX = 128,
    APP_FLAG_BYTES_MAX = 160,
    APP_LOOPS_MAX = 4,
    APP_METRICS_BYTES_MAX = 64 << 20
};

enum app_phase { APP_STARTING, APP_RUNNING, APP_DRAINING };

struct app_flags {
    const char *config_file; /* NULL: defaults */
    const char *health_url;
    bool expand_env, verify, version, health, print, print_defaults, reference, help;
    struct config_flag keys[APP_FLAGS_MAX]; /* names in `names`, values in argv */
    char names[APP_FLAGS_MAX][APP_FLAG_BYTES_MAX];
    unsigned key_count;
};

struct app_process {
    struct app app;
    const struct app_room *room;
    struct config config;
    struct config_warning *warnings;
    struct loop *loops[APP_LOOPS_MAX];
    atomic_int phase; /* enum app_phase */
    _Atomic(void *) room_data;
    atomic_uint in_room; /* threads inside the room's functions right now */
    struct http_server *http, *admin;
    struct rpc_server *control;
    struct workers *workers;   /* what would hold up a loop: expositions */
    struct rpc_client **peers; /* of querier.metrics_peers */
    unsigned peer_count;
    const char *push_url, *query_url;
    int signal_fd;
    int exit_code; /* of a run that ends by itself or by a signal */
};

/* --- app_flags.c --- */
/* Borrows argv for as long as `ret` is used; `ret` must not be moved. */
MUST_CHECK enum err app_flags_parse(int argc, char **argv, struct app_flags *ret,
                                    struct err_detail *reterr_detail);
void app_flags_help(const char *program);

/* --- app_http.c --- */
MUST_CHECK enum err app_http_start(struct app_process *p, struct err_detail *reterr_detail);
void app_http_version_text(const char *role, struct buf *out);

/* --- app_metrics.c --- */
MUST_CHECK enum err app_metrics_start(struct app_process *p);
void app_metrics_stop(struct app_process *p);
/* Both answer later, from a worker. */
void app_metrics_http(struct app_process *p, struct http_req *req);
void app_metrics_rpc(struct app_process *p, struct rpc_req *req);

/* --- app.c --- */
/* The room's data, or NULL before its start and after its drain; every enter needs its leave. */
void *app_room_enter(struct app_process *p);
void app_room_leave(struct app_process *p);
/* State for hello and /ready; `ret_text` (256 bytes) says why it is not ACTIVE. */
enum member_state app_room_state(struct app_process *p, char *ret_text);

#endif
