#include "common/app/app.h"

#include "common/app/app_priv.h"
#include "common/base/hash.h"
#include "common/base/num.h"
#include "common/base/rng.h"
#include "common/net/http_client.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/proc.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CONTROL_RECEIVE_BYTES_MAX = 64 << 10,
    CONTROL_CONTEXTS = 32,
    EXIT_NONE = -1,
    ROOM_TEXT_BYTES = 256,
    HEALTH_BODY_BYTES_MAX = 64 << 10
};

static atomic_int exit_asked = EXIT_NONE; /* the code of app_fail, the first one counts */
static atomic_int wake_fd = -1;

void app_fail(int exit_code)
{
    int none = EXIT_NONE, fd = atomic_load(&wake_fd);
    uint64_t one = 1;

    assert(exit_code >= 0 && exit_code < 256);
    if (!atomic_compare_exchange_strong(&exit_asked, &none, exit_code) && none == 0)
        atomic_store(&exit_asked, exit_code); /* a failure outranks a wish to end */
    if (fd >= 0)
        (void)!write(fd, &one, sizeof one); /* can only fail when it is already readable */
}

/* --- the room, seen from other threads --------------------------------------------------------- */

void *app_room_enter(struct app_process *p)
{
    atomic_fetch_add(&p->in_room, 1);
    return atomic_load(&p->room_data);
}

void app_room_leave(struct app_process *p)
{
    unsigned before = atomic_fetch_sub(&p->in_room, 1);

    assert(before > 0);
}

enum member_state app_room_state(struct app_process *p, char *ret_text)
{
    enum app_phase phase = (enum app_phase)atomic_load(&p->phase);
    enum member_state state = MEMBER_STARTING;

    ret_text[0] = '\0';
    if (phase == APP_DRAINING)
        return MEMBER_DRAINING;
    void *room = app_room_enter(p);
    if (room != NULL && phase == APP_RUNNING)
        state = p->room->state(room, ret_text);
    app_room_leave(p);
    return state;
}

static void control_handle(void *arg, struct rpc_req *req)
{
    struct app_process *p = arg;
    char text[ROOM_TEXT_BYTES];
    struct member_self self = {
        .role = p->room->role,
        .cluster = p->config.cluster,
        .id = p->app.instance_id,
        .boot_id = p->app.boot_id,
        .zone = p->config.availability_zone,
        .push_url = p->push_url,
        .query_url = p->query_url,
    };

    if (rpc_req_method(req) == RPC_HELLO)
        member_hello_reply(req, &self, app_room_state(p, text));
    else if (rpc_req_method(req) == RPC_METRICS)
        app_metrics_rpc(p, req);
    else
        rpc_reply(req, ERR_UNSUPPORTED, SLICE_LIT("no such method on the control lane"));
}

/* --- start ------------------------------------------------------------------------------------- */

static bool target_is_ours(const char *target, const char *role)
{
    static const struct {
        const char *tempo, *role;
    } names[] = {
        {"query-frontend", "querier"},
        {"metrics-generator", "generator"},
        {"metrics-generator-no-local-blocks", "generator"},
        {"all", NULL},
        {"scalable-single-binary", NULL},
        {"all-3.0", NULL},
    };

    if (strcmp(target, role) == 0)
        return true;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(target, names[i].tempo) == 0 &&
            (names[i].role == NULL || strcmp(names[i].role, role) == 0))
            return true;
    return false;
}

static void settle_identity(struct app_process *p)
{
    uint8_t boot[16];
    const char *own = p->config.instance_id;

    if (own[0] != '\0')
        (void)snprintf(p->app.instance_id, sizeof p->app.instance_id, "%s", own);
    else
        (void)snprintf(p->app.instance_id, sizeof p->app.instance_id, "%.*s-%s",
                       (int)(MEMBER_ID_BYTES_MAX - 1 - strlen(p->room->role)), proc_hostname(),
                       p->room->role);
    rng_bytes_secure(boot, sizeof boot);
    for (unsigned i = 0; i < sizeof boot; i++)
        (void)snprintf(p->app.boot_id + 2 * (size_t)i, 3, "%02x", boot[i]);
}

static size_t memory_limit(const struct config *c)
{
    uint64_t group = proc_memory_limit_bytes();

    if (c->memory_limit_bytes > 0)
        return (size_t)c->memory_limit_bytes;
    return (size_t)(group > 0 ? group / 100 * 85 : proc_memory_total_bytes() / 100 * 12);
}

static enum err start_loops(struct app_process *p)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned count = cpus < 1 ? 1 : cpus > APP_LOOPS_MAX ? (unsigned)APP_LOOPS_MAX : (unsigned)cpus;
    enum err e = ERR_OK;

    for (unsigned i = 0; i < count && e == ERR_OK; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "loop-%u", i);
        e = loop_new(name, &p->loops[i]);
        if (e == ERR_OK)
            p->app.loop_count++;
    }
    p->app.loops = p->loops;
    return e;
}

static enum err start_control(struct app_process *p, struct err_detail *detail)
{
    struct rpc_server_options o = {
        .url = p->room->control_listen(&p->config),
        .receive_bytes_max = CONTROL_RECEIVE_BYTES_MAX,
        .contexts = CONTROL_CONTEXTS,
        .handler = control_handle,
        .arg = p,
    };
    void *room = atomic_load(&p->room_data);

    p->push_url = p->query_url = "";
    if (p->room->lanes != NULL)
        p->room->lanes(room, &p->push_url, &p->query_url);
    return rpc_server_new(&o, &p->control, detail);
}

static enum err start(struct app_process *p, struct err_detail *detail)
{
    void *room = NULL;
    enum err e = overrides_new(&p->config, &p->app.overrides, detail);

    if (e == ERR_OK)
        e = start_loops(p);
    if (e == ERR_OK)
        e = app_metrics_start(p);
    if (e == ERR_OK)
        e = app_http_start(p, detail);
    if (e == ERR_OK)
        e = p->room->start(&p->app, &room, detail);
    if (e != ERR_OK)
        return e;
    atomic_store(&p->room_data, room);
    e = start_control(p, detail);
    if (e != ERR_OK)
        return e;
    atomic_store(&p->phase, APP_RUNNING);
    log_info("started", LOG_STR("version", VIVACE_VERSION), LOG_STR("instance", p->app.instance_id),
             LOG_UINT("http_port", http_server_port(p->http)),
             LOG_UINT("admin_port", p->admin != NULL ? http_server_port(p->admin) : 0),
             LOG_STR("control", rpc_server_url(p->control)),
             LOG_UINT("memory_limit_bytes", p->app.memory.limit_bytes));
    return ERR_OK;
}

/* --- stop -------------------------------------------------------------------------------------- */

/* Waits for a signal to end, app_fail, or the time-out (< 0: for ever); true if one came. */
static bool wait_for_end(struct app_process *p, int64_t timeout_ns)
{
    int64_t end_ns = clock_mono_ns(p->app.clock) + timeout_ns;

    for (;;) {
        struct pollfd fds[2] = {{.fd = p->signal_fd, .events = POLLIN},
                                {.fd = atomic_load(&wake_fd), .events = POLLIN}};
        int64_t left_ns = end_ns - clock_mono_ns(p->app.clock);
        uint64_t ignored;

        if (timeout_ns >= 0 && left_ns <= 0)
            return false;
        if (poll(fds, 2, timeout_ns < 0 ? -1 : (int)(left_ns / NS_PER_MS + 1)) < 0 &&
            errno != EINTR)
            return true;
        int signal_number = proc_signal_read(p->signal_fd);
        if (signal_number == SIGTERM || signal_number == SIGINT)
            return true;
        if ((fds[1].revents & POLLIN) != 0 &&
            read(fds[1].fd, &ignored, sizeof ignored) == (ssize_t)sizeof ignored)
            return true;
    }
}

struct drain {
    struct app_process *p;
    void *room;
    struct mutex lock; /* is_done */
    pthread_cond_t done;
    bool is_done;
};

static void drain_run(void *arg)
{
    struct drain *d = arg;

    d->p->room->drain(d->room);
    mutex_lock(&d->lock);
    d->is_done = true;
    (void)pthread_cond_signal(&d->done);
    mutex_unlock(&d->lock);
}

/* Past the deadline nothing more can be done safely than to end: what was acknowledged is on disk. */
static void drain_room(struct app_process *p, void *room)
{
    struct drain d = {.p = p, .room = room};
    int64_t end_ns = clock_mono_ns(p->app.clock) + p->config.graceful_shutdown_timeout_ns;
    pthread_t thread;

    mutex_init(&d.lock);
    cond_init(&d.done);
    if (thread_start(&thread, "drain", drain_run, &d) != ERR_OK) {
        p->room->drain(room);
    } else {
        mutex_lock(&d.lock);
        while (!d.is_done) {
            int64_t left_ns = end_ns - clock_mono_ns(p->app.clock);

            if (left_ns <= 0 || (!cond_wait(&d.done, &d.lock, left_ns) && !d.is_done)) {
                log_error("drain_timed_out",
                          LOG_NS("after", p->config.graceful_shutdown_timeout_ns));
                _exit(1);
            }
        }
        mutex_unlock(&d.lock);
        thread_join(thread);
    }
    (void)pthread_cond_destroy(&d.done);
    mutex_release(&d.lock);
}

static void sleep_ms(unsigned ms)
{
    (void)poll(NULL, 0, (int)ms);
}

static void drain_http(struct app_process *p)
{
    int64_t end_ns = clock_mono_ns(p->app.clock) + p->config.graceful_shutdown_timeout_ns;

    if (p->http != NULL)
        http_server_drain(p->http);
    if (p->admin != NULL)
        http_server_drain(p->admin);
    while (clock_mono_ns(p->app.clock) < end_ns &&
           ((p->http != NULL && http_server_in_flight(p->http) > 0) ||
            (p->admin != NULL && http_server_in_flight(p->admin) > 0)))
        sleep_ms(5);
}

#define STOP_NS (10 * NS_PER_S)

/* Should something hang at the end: all that matters is on disk by then, so the process ends all the same. */
static void stop_watch(void *arg)
{
    const struct app_process *p = arg;
    bool is_generator = strcmp(p->room->role, "generator") == 0;
    int64_t wait_ns = STOP_NS + (is_generator ? p->config.remote_write_flush_deadline_ns : 0);

    sleep_ms((unsigned)(wait_ns / NS_PER_MS));
    log_warn("stop_timed_out", LOG_NS("after", wait_ns));
    _exit(atomic_load(&exit_asked) > 0 ? atomic_load(&exit_asked) : p->exit_code);
}

/* Everything in the reverse order of start; parts that did not start are left out. */
static void stop(struct app_process *p)
{
    void *room = atomic_load(&p->room_data);
    pthread_t watch;

    if (room != NULL)
        drain_room(p, room);
    drain_http(p);
    atomic_store(&p->room_data, NULL);
    while (atomic_load(&p->in_room) > 0)
        sleep_ms(1);
    if (thread_start(&watch, "stop-watch", stop_watch, p) == ERR_OK)
        (void)pthread_detach(watch);
    if (p->control != NULL)
        rpc_server_free(p->control);
    app_metrics_stop(p);
    if (room != NULL)
        p->room->stop(room);
    if (p->admin != NULL)
        http_server_free(p->admin);
    if (p->http != NULL)
        http_server_free(p->http);
    for (unsigned i = 0; i < p->app.loop_count; i++)
        loop_free(p->loops[i]);
    overrides_free(p->app.overrides);
}

/* --- main -------------------------------------------------------------------------------------- */

static int ask_health(const char *url)
{
    struct http_client *client;
    struct err_detail detail = {0};
    struct http_call call = {.method = "GET",
                             .url = url,
                             .timeout_ns = 5 * NS_PER_S,
                             .body_bytes_max = HEALTH_BODY_BYTES_MAX};
    unsigned status = 0;
    struct buf body;

    if (http_client_new(&client) != ERR_OK)
        return 1;
    buf_init(&body, HEALTH_BODY_BYTES_MAX);
    enum err e = http_client_call(client, &call, &status, &body, &detail);
    if (e != ERR_OK)
        (void)fprintf(stderr, "%s: %s\n", url, detail.text[0] != '\0' ? detail.text : err_name(e));
    else if (status != 200)
        (void)fprintf(stderr, "%s: %u " SLICE_FMT "\n", url, status, SLICE_ARG(buf_slice(&body)));
    buf_release(&body);
    http_client_free(client);
    return e == ERR_OK && status == 200 ? 0 : 1;
}

static int print(void (*write)(struct buf *out, const char *role), const char *role)
{
    struct buf out;

    buf_init(&out, 4 << 20);
    write(&out, role);
    bool is_written = buf_err(&out) == ERR_OK && fwrite(out.ptr, 1, out.len, stdout) == out.len;
    buf_release(&out);
    return is_written ? 0 : 1;
}

static void write_version(struct buf *out, const char *role)
{
    app_http_version_text(role, out);
}

static void write_reference(struct buf *out, const char *role)
{
    (void)role;
    config_write_reference(out);
}

static void write_defaults(struct buf *out, const char *role)
{
    struct config_warning *warnings;
    struct config c;

    (void)role;
    if (config_parse("defaults", SLICE_NONE, false, NULL, 0, &c, &warnings, NULL) != ERR_OK)
        return;
    config_write_yaml(&c, false, out);
    config_release(&c);
}

/* Flags that print something and end; EXIT_NONE if there was none. */
static int run_printing_flags(const struct app_flags *f, const char *program, const char *role)
{
    if (f->help) {
        app_flags_help(program);
        return 0;
    }
    if (f->version)
        return print(write_version, role);
    if (f->print_defaults)
        return print(write_defaults, role);
    if (f->reference)
        return print(write_reference, role);
    if (f->health)
        return ask_health(f->health_url);
    return EXIT_NONE;
}

static int print_config(const struct config *c)
{
    struct buf out;

    buf_init(&out, 4 << 20);
    config_write_yaml(c, false, &out);
    bool is_written = buf_err(&out) == ERR_OK && fwrite(out.ptr, 1, out.len, stdout) == out.len;
    buf_release(&out);
    return is_written ? 0 : 1;
}

static int verify(const struct config_warning *warnings)
{
    for (const struct config_warning *w = warnings; w != NULL; w = w->next)
        printf("%s\n", w->text);
    return warnings == NULL ? 0 : 1;
}

static void configure_log(const struct app_process *p)
{
    enum log_level level = LOG_LEVEL_INFO;

    if (log_level_parse(slice_str(p->config.log_level), &level) != ERR_OK)
        level = LOG_LEVEL_INFO; /* the configuration has checked it */
    log_configure(level, strcmp(p->config.log_format, "json") == 0, p->room->role);
    for (const struct config_warning *w = p->warnings; w != NULL; w = w->next)
        log_warn("configuration", LOG_STR("warning", w->text));
}

static int run(struct app_process *p)
{
    struct err_detail detail = {0};
    uint64_t seed;
    int code = 0;

    metrics_set_build(VIVACE_VERSION, "unknown");
    rng_bytes_secure(&seed, sizeof seed);
    hash_seed_init(seed);
    configure_log(p);
    settle_identity(p);
    budget_init(&p->app.memory, memory_limit(&p->config), NULL);
    atomic_store(&wake_fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    enum err e = start(p, &detail);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s: can not start: %s\n", p->room->role,
                      detail.text[0] != '\0' ? detail.text : err_name(e));
        p->exit_code = code = 1;
    } else {
        (void)wait_for_end(p, -1);
        log_info("stopping");
    }
    bool was_running = atomic_exchange(&p->phase, APP_DRAINING) == APP_RUNNING;
    if (was_running && atomic_load(&exit_asked) <= 0 && p->config.shutdown_delay_ns > 0)
        (void)wait_for_end(p, p->config.shutdown_delay_ns);
    stop(p);
    if (atomic_load(&exit_asked) > 0)
        code = atomic_load(&exit_asked);
    log_info("stopped", LOG_INT("exit_code", code));
    return code;
}

int app_main(int argc, char **argv, const struct app_room *room)
{
    static struct app_flags flags;
    static struct app_process process;
    struct app_process *p = &process;
    struct err_detail detail = {0};

    assert(room != NULL && room->start != NULL);
    assert(room->control_listen != NULL && room->state != NULL);
    p->room = room;
    p->app = (struct app){.config = &p->config, .clock = &clock_system, .role = room->role};
    if (proc_init(&p->signal_fd) != ERR_OK) {
        (void)fprintf(stderr, "%s: can not set up signals\n", room->role);
        return 1;
    }
    if (app_flags_parse(argc, argv, &flags, &detail) != ERR_OK) {
        (void)fprintf(stderr, "%s: %s\n", room->role, detail.text);
        return 1;
    }
    int code = run_printing_flags(&flags, argv[0], room->role);
    if (code != EXIT_NONE)
        return code;
    if (config_load(flags.config_file, flags.expand_env, flags.keys, flags.key_count, &p->config,
                    &p->warnings, &detail) != ERR_OK) {
        (void)fprintf(stderr, "%s: failed parsing config: %s\n", room->role, detail.text);
        return 1;
    }
    if (!target_is_ours(p->config.target, room->role)) {
        (void)fprintf(stderr, "%s: target %s is not this binary's; it runs %s\n", room->role,
                      p->config.target, room->role);
        code = 1;
    } else if (flags.print) {
        code = print_config(&p->config);
    } else {
        code = flags.verify ? verify(p->warnings) : run(p);
    }
    config_release(&p->config);
    return code;
}
