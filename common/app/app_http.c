#include "common/app/app_priv.h"
#include "common/obs/metrics.h"

#include <assert.h>
#include <sys/utsname.h>

enum {
    BODY_BYTES_MAX = 1 << 20,
    HEADER_BYTES_MAX = 512 << 10, /* the longest query, escaped, is a URL of 384 KiB */
    PAGE_BYTES_MAX = 4 << 20
};

static const char TEXT[] = "text/plain; charset=utf-8";

static void reply_page(struct http_req *req, const char *content_type, struct buf *page)
{
    struct http_header header = {"content-type", content_type};

    if (buf_err(page) != ERR_OK)
        http_reply_text(req, 503, TEXT, "%s\n", err_name(buf_err(page)));
    else
        http_reply(req, &(struct http_reply){
                            .status = 200, .headers = &header, .header_count = 1, .body = page});
    buf_release(page);
}

static const char *phase_name(const struct app_process *p)
{
    switch ((enum app_phase)atomic_load(&p->phase)) {
    case APP_STARTING: return "Starting";
    case APP_RUNNING: return "Running";
    case APP_DRAINING: break;
    }
    return "Stopping";
}

static unsigned reply_ready(struct app_process *p, struct http_req *req)
{
    char text[256] = "";
    enum app_phase phase = (enum app_phase)atomic_load(&p->phase);

    if (phase == APP_STARTING)
        http_reply_text(req, 503, TEXT, "Some services are not Running:\nStarting: 1\n");
    else if (phase == APP_DRAINING)
        http_reply_text(req, 503, TEXT, "Application is stopping\n");
    else if (app_room_state(p, text) != MEMBER_ACTIVE)
        http_reply_text(req, 503, TEXT, "%s not ready: %s\n",
                        strcmp(p->room->role, "querier") == 0     ? "Query Frontend"
                        : strcmp(p->room->role, "ingester") == 0  ? "Ingester"
                        : strcmp(p->room->role, "generator") == 0 ? "Generator"
                                                                  : "Distributor",
                        text);
    else {
        http_reply_text(req, 200, TEXT, "ready\n");
        return 200;
    }
    return 503;
}

/* Tempo's form of a version. */
void app_http_version_text(const char *role, struct buf *out)
{
    struct utsname u;

    if (uname(&u) != 0)
        memcpy(u.machine, "unknown", sizeof "unknown");
    buf_appendf(
        out,
        "vivace-%s, version %s (branch: , revision: unknown)\n  build user:       \n  build date:       \n  go version:       none (C, " __VERSION__
        ")\n",
        role, VIVACE_VERSION);
    buf_appendf(out, "  platform:         linux/%s\n  tags:             unknown\n",
                strcmp(u.machine, "x86_64") == 0    ? "amd64"
                : strcmp(u.machine, "aarch64") == 0 ? "arm64"
                                                    : u.machine);
}

static void write_endpoints(const struct app_process *p, bool is_admin, struct buf *out)
{
    static const char *const paths[] = {"/ready",
                                        "/live",
                                        "/metrics",
                                        "/status",
                                        "/status/version",
                                        "/status/services",
                                        "/status/endpoints",
                                        "/status/members"};

    for (unsigned i = 0; i < sizeof paths / sizeof paths[0]; i++)
        buf_appendf(out, "GET %s\n", paths[i]);
    buf_appendf(out, "GET %s/api/status/buildinfo\n", p->config.http_api_prefix);
    if (is_admin)
        buf_append_str(out,
                       "GET /status/config\nGET /status/runtime_config\nGET /status/overrides\n"
                       "GET /status/overrides/{tenant}\nGET /shutdown\n");
}

static bool query_is(struct http_req *req, const char *mode)
{
    char want[32];

    (void)snprintf(want, sizeof want, "mode=%s", mode);
    return slice_eq_str(http_req_query(req), want);
}

static unsigned reply_config(struct app_process *p, struct http_req *req)
{
    struct config_warning *warnings;
    struct config defaults;
    struct buf page;

    if (http_req_query(req).len > 0 && !query_is(req, "diff") && !query_is(req, "defaults")) {
        struct slice mode = http_req_query(req);

        if (slice_has_prefix(mode, SLICE_LIT("mode=")))
            mode = slice_sub(mode, strlen("mode="), strlen("mode=") + 80);
        http_reply_text(req, 500, TEXT, "unknown value for mode query parameter: " SLICE_FMT "\n",
                        SLICE_ARG(mode));
        return 500;
    }
    buf_init(&page, PAGE_BYTES_MAX);
    buf_append_str(&page, "---\n");
    if (!query_is(req, "defaults")) {
        config_write_yaml(&p->config, query_is(req, "diff"), &page);
    } else if (config_parse("defaults", SLICE_NONE, false, NULL, 0, &defaults, &warnings, NULL) ==
               ERR_OK) {
        config_write_yaml(&defaults, false, &page);
        config_release(&defaults);
    }
    reply_page(req, TEXT, &page);
    return 200;
}

/* /status/overrides and /status/overrides/<tenant>. */
static unsigned reply_overrides(struct app_process *p, struct http_req *req, struct slice tenant)
{
    struct slice accept = http_req_header(req, "accept");
    bool is_json =
        accept.ptr != NULL && memmem(accept.ptr, accept.len, "application/json", 16) != NULL;
    int64_t now_ns = clock_wall_ns(p->app.clock);
    struct arena a;
    struct buf page;

    arena_init(&a, NULL);
    buf_init(&page, PAGE_BYTES_MAX);
    tenant = http_percent_decode(&a, tenant);
    if (tenant.len > 0)
        overrides_write_tenant(p->app.overrides, tenant, now_ns, is_json, &page);
    else
        overrides_write_tenants(p->app.overrides, now_ns, is_json, &page);
    arena_release(&a);
    reply_page(req, is_json ? "application/json" : "text/html; charset=utf-8", &page);
    return 200;
}

/* /status: all parts; /status/<name>: one, "" when there is no such part. */
static unsigned reply_status(struct app_process *p, struct http_req *req, struct slice name,
                             bool is_admin)
{
    bool all = name.len == 0;
    struct buf page;

    if (slice_eq_str(name, "config") && is_admin)
        return reply_config(p, req);
    buf_init(&page, PAGE_BYTES_MAX);
    if (all || slice_eq_str(name, "version")) {
        buf_append_str(&page, "GET /status/version\n");
        app_http_version_text(p->room->role, &page);
    }
    if (all || slice_eq_str(name, "services"))
        buf_appendf(&page, "GET /status/services\n%s  %s\n", p->room->role, phase_name(p));
    if (all || slice_eq_str(name, "endpoints")) {
        buf_append_str(&page, "GET /status/endpoints\n");
        write_endpoints(p, is_admin, &page);
    }
    if (slice_eq_str(name, "runtime_config") && is_admin)
        overrides_write_runtime(p->app.overrides, query_is(req, "diff"), &page);
    if (all && is_admin) {
        buf_append_str(&page, "GET /status/runtime_config\n");
        overrides_write_runtime(p->app.overrides, false, &page);
        buf_append_str(&page, "GET /status/config\n---\n");
        config_write_yaml(&p->config, false, &page);
    }
    if (page.len == 0) {
        buf_release(&page);
        http_reply_text(req, 404, TEXT, "404 page not found\n");
        return 404;
    }
    reply_page(req, TEXT, &page);
    return 200;
}

static unsigned reply_buildinfo(struct http_req *req)
{
    http_reply_text(
        req, 200, "application/json",
        "{\"version\":\"%s\",\"revision\":\"unknown\",\"branch\":\"\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}\n",
        VIVACE_VERSION);
    return 200;
}

static bool is_buildinfo(const struct app_process *p, struct slice path)
{
    struct slice prefix = slice_str(p->config.http_api_prefix);

    return slice_has_prefix(path, prefix) &&
           slice_eq_str(slice_sub(path, prefix.len, path.len), "/api/status/buildinfo");
}

/* The room answers and reports its own; what it does not know is 404. */
static void give_to_room(struct app_process *p, struct http_req *req, struct slice path,
                         bool is_admin)
{
    void *room = app_room_enter(p);
    bool is_taken = room != NULL && p->room->http != NULL && p->room->http(room, req);

    app_room_leave(p);
    if (is_taken)
        return;
    if (room == NULL) {
        http_reply_text(req, 503, TEXT,
                        atomic_load(&p->phase) == APP_STARTING ? "starting\n" : "stopping\n");
    } else if (is_admin && slice_eq_str(path, "/shutdown")) {
        http_reply_text(req, 200, TEXT, "shutdown job acknowledged\n");
        app_fail(0);
    } else {
        http_reply_text(req, 404, TEXT, "404 page not found\n");
    }
}

/* `route` NULL: not the app's, nothing done. */
static const char *answer(struct app_process *p, struct http_req *req, struct slice path,
                          bool is_admin, unsigned *ret_status)
{
    if (slice_eq_str(path, "/ready")) {
        *ret_status = reply_ready(p, req);
        return "ready";
    }
    if (slice_eq_str(path, "/live")) {
        *ret_status = 200;
        http_reply_text(req, 200, TEXT, "live\n");
        return "live";
    }
    if (slice_eq_str(path, "/metrics")) {
        *ret_status = 200;
        app_metrics_http(p, req);
        return "metrics";
    }
    if (is_buildinfo(p, path)) {
        *ret_status = reply_buildinfo(req);
        return "api_status_buildinfo";
    }
    if (slice_eq_str(path, "/status") || slice_eq_str(path, "/status/")) {
        *ret_status = reply_status(p, req, SLICE_NONE, is_admin);
        return "status";
    }
    if (slice_eq_str(path, "/status/version") || slice_eq_str(path, "/status/services") ||
        slice_eq_str(path, "/status/endpoints") || slice_eq_str(path, "/status/config") ||
        slice_eq_str(path, "/status/runtime_config")) {
        *ret_status = reply_status(p, req, slice_sub(path, strlen("/status/"), path.len), is_admin);
        return "status_endpoint";
    }
    struct slice overrides = SLICE_LIT("/status/overrides");
    if (is_admin && slice_has_prefix(path, overrides) &&
        (path.len == overrides.len || path.ptr[overrides.len] == '/')) {
        *ret_status = reply_overrides(p, req, slice_sub(path, overrides.len + 1, path.len));
        return "status_overrides";
    }
    return NULL;
}

static void handle(struct app_process *p, struct http_req *req, bool is_admin)
{
    int64_t begun_ns = clock_mono_ns(p->app.clock);
    struct slice path = http_req_path(req), method = http_req_method(req);
    const char *label = slice_eq_str(method, "GET")    ? "GET"
                        : slice_eq_str(method, "POST") ? "POST"
                        : slice_eq_str(method, "HEAD") ? "HEAD"
                                                       : "other";
    unsigned status = 0;

    if (http_req_is_too_large(req)) {
        http_reply_text(req, 413, TEXT, "request body too large\n");
        return;
    }
    /* What changes or shows the whole process is not for tenants. */
    if (!is_admin && (slice_eq_str(path, "/flush") || slice_eq_str(path, "/shutdown"))) {
        http_reply_text(req, 404, TEXT, "404 page not found\n");
        return;
    }
    const char *route = answer(p, req, path, is_admin, &status);
    if (route != NULL)
        app_observe_request(label, route, status, clock_mono_ns(p->app.clock) - begun_ns);
    else
        give_to_room(p, req, path, is_admin);
}

static void handle_tenants(void *arg, struct http_req *req)
{
    handle(arg, req, false);
}

static void handle_admin(void *arg, struct http_req *req)
{
    handle(arg, req, true);
}

enum err app_http_start(struct app_process *p, struct err_detail *reterr_detail)
{
    bool is_public =
        strcmp(p->room->role, "querier") == 0 || strcmp(p->room->role, "distributor") == 0;
    const char *address =
        p->config.http_listen_address[0] == '\0' ? "0.0.0.0" : p->config.http_listen_address;
    struct http_server_options o = {
        .address = address,
        .port = (uint16_t)p->config.http_listen_port,
        .loops = p->app.loops,
        .loop_count = p->app.loop_count,
        .handler = is_public ? handle_tenants : handle_admin,
        .arg = p,
        .budget = &p->app.memory,
        .body_bytes_max = BODY_BYTES_MAX,
        .header_bytes_max = HEADER_BYTES_MAX,
        .cors = {p->config.cors_origins.items, p->config.cors_origins.count,
                 p->config.cors_headers.items, p->config.cors_headers.count,
                 p->config.cors_max_age_s},
    };

    enum err e = http_server_new(&o, &p->http, reterr_detail);
    if (e != ERR_OK || !is_public || p->config.admin_listen_port == 0)
        return e;
    o.address = p->config.admin_listen_address;
    o.port = (uint16_t)p->config.admin_listen_port;
    o.handler = handle_admin;
    o.cors = (struct http_cors){.origin_count = 0};
    return http_server_new(&o, &p->admin, reterr_detail);
}
