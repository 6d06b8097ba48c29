/* The life of a process: it says no until its room has started, drains before it stops, and its exit code tells why it ended.  Each test runs
 * app_main in a child with a room that the test steers through shared memory. */
#include "common/app/app.h"
#include "common/obs/metrics.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_TURNS = 2000, WAIT_MS = 10, ANSWER_BYTES = 256 * 1024 };

/* What parent and child share. */
struct steering {
    atomic_bool holds_start, fails_start, is_held_by_another, holds_drain;
    atomic_bool was_drained, was_stopped, was_stopped_undrained;
    atomic_int state; /* enum member_state */
};

static struct steering *steering;

static const char *room_control_listen(const struct config *c)
{
    return c->ingester_control_listen;
}

static enum err room_start(struct app *app, void **ret_room, struct err_detail *reterr_detail)
{
    if (atomic_load(&steering->is_held_by_another)) {
        app_fail(78);
        return err_detail_set(reterr_detail, ERR_CONFLICT, "the folder is held by another process");
    }
    if (atomic_load(&steering->fails_start))
        return err_detail_set(reterr_detail, ERR_IO, "no luck today");
    while (atomic_load(&steering->holds_start))
        (void)poll(NULL, 0, 1);
    bool is_ingester = strcmp(app->role, "ingester") == 0;
    metric_set(metric_cell0(metrics_gauge(is_ingester ? "test_ingester_runs" : "test_querier_runs",
                                          "", "Set by the room of the test.")),
               1);
    *ret_room = app;
    return ERR_OK;
}

static void room_lanes(void *room, const char **ret_push_url, const char **ret_query_url)
{
    assert_non_null(room);
    *ret_push_url = *ret_query_url = "";
}

static enum member_state room_state(void *room, char *ret_text)
{
    assert_non_null(room);
    (void)snprintf(ret_text, 256, "replaying");
    return (enum member_state)atomic_load(&steering->state);
}

static bool room_http(void *room, struct http_req *req)
{
    assert_non_null(room);
    if (slice_eq_str(http_req_path(req), "/disk-fails")) {
        app_fail(75);
        http_reply_text(req, 200, "text/plain", "failing\n");
        return true;
    }
    if (slice_eq_str(http_req_path(req), "/flush")) {
        http_reply_text(req, 204, "text/plain", "%s", "");
        return true;
    }
    return false;
}

static void room_drain(void *room)
{
    assert_non_null(room);
    while (atomic_load(&steering->holds_drain))
        (void)poll(NULL, 0, 1);
    atomic_store(&steering->was_drained, true);
}

static void room_stop(void *room)
{
    assert_non_null(room);
    atomic_store(&steering->was_stopped_undrained, !atomic_load(&steering->was_drained));
    atomic_store(&steering->was_stopped, true);
}

#define ROOM(name)                                                                        \
    {                                                                                     \
        .role = name, .control_listen = room_control_listen, .start = room_start,         \
        .lanes = room_lanes, .state = room_state, .http = room_http, .drain = room_drain, \
        .stop = room_stop                                                                 \
    }
static const struct app_room ingester_like = ROOM("ingester"), querier_like = ROOM("querier");

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

struct child {
    pid_t pid;
    uint16_t http, admin, control;
    int err_fd; /* its stderr */
};

static struct child launch(const struct app_room *room, const char *extra)
{
    struct child c = {.http = free_port(), .admin = free_port(), .control = free_port()};
    char http[64], admin[64], control[96], more[160];
    char name[] = "vivace", address[] = "-server.http-listen-address=127.0.0.1";
    int fds[2];

    (void)snprintf(http, sizeof http, "-server.http-listen-port=%u", c.http);
    (void)snprintf(admin, sizeof admin, "-server.admin-listen-port=%u", c.admin);
    (void)snprintf(control, sizeof control, "-ingester.control-listen=tcp://127.0.0.1:%u",
                   c.control);
    (void)snprintf(more, sizeof more, "%s", extra);
    assert_int_equal(pipe(fds), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        char *argv[] = {name, http, address, admin, control, more[0] != '\0' ? more : NULL, NULL};

        (void)dup2(fds[1], STDERR_FILENO);
        (void)alarm(60);
        exit(app_main(more[0] != '\0' ? 6 : 5, argv, room));
    }
    (void)close(fds[1]);
    c.err_fd = fds[0];
    return c;
}

/* Status and the whole answer; 0 when nobody listens. */
static unsigned get(uint16_t port, const char *path, char *ret, size_t ret_bytes)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char request[256];
    size_t len = 0;
    unsigned status = 0;

    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, (size_t)n, MSG_NOSIGNAL) == n) {
        ssize_t got;

        while (len < ret_bytes - 1 && (got = recv(fd, ret + len, ret_bytes - 1 - len, 0)) > 0)
            len += (size_t)got;
        ret[len] = '\0';
        if (sscanf(ret, "HTTP/1.1 %u", &status) != 1)
            status = 0;
    }
    (void)close(fd);
    return status;
}

static void expect_answer(uint16_t port, const char *path, unsigned status, const char *text)
{
    static char answer[64 << 10];

    for (unsigned i = 0; i < WAIT_TURNS; i++) {
        if (get(port, path, answer, sizeof answer) == status && strstr(answer, text) != NULL)
            return;
        (void)poll(NULL, 0, WAIT_MS);
    }
    print_error("%s: wanted %u \"%s\", got: %s\n", path, status, text, answer);
    fail();
}

static int end_code(const struct child *c)
{
    int status;

    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    (void)close(c->err_fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int setup(void **state)
{
    (void)state;
    steering =
        mmap(NULL, sizeof *steering, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (steering == MAP_FAILED)
        return -1;
    atomic_store(&steering->state, MEMBER_ACTIVE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return munmap(steering, sizeof *steering);
}

static void test_start_ready_drain_stop(void **state)
{
    (void)state;
    atomic_store(&steering->holds_start, true);
    atomic_store(&steering->holds_drain, true);
    atomic_store(&steering->state, MEMBER_REPLAYING);
    struct child c = launch(&ingester_like, "");

    expect_answer(c.http, "/live", 200, "live");
    expect_answer(c.http, "/ready", 503, "Some services are not Running:\nStarting: 1");
    expect_answer(c.http, "/nothing", 503, "starting");
    atomic_store(&steering->holds_start, false);
    expect_answer(c.http, "/ready", 503, "Ingester not ready: replaying");
    atomic_store(&steering->state, MEMBER_ACTIVE);
    expect_answer(c.http, "/ready", 200, "ready\n");
    expect_answer(c.http, "/nothing", 404, "404 page not found");
    (void)kill(c.pid, SIGTERM);
    expect_answer(c.http, "/ready", 503, "Application is stopping");
    expect_answer(c.http, "/live", 200, "live");
    assert_false(atomic_load(&steering->was_stopped));
    atomic_store(&steering->holds_drain, false);
    assert_int_equal(end_code(&c), 0);
    assert_true(atomic_load(&steering->was_drained));
    assert_true(atomic_load(&steering->was_stopped));
    assert_false(atomic_load(&steering->was_stopped_undrained));
}

static void test_shutdown_delay_keeps_serving(void **state)
{
    (void)state;
    struct child c = launch(&ingester_like, "-shutdown-delay=60s");

    expect_answer(c.http, "/ready", 200, "ready");
    (void)kill(c.pid, SIGTERM);
    expect_answer(c.http, "/ready", 503, "Application is stopping");
    expect_answer(c.http, "/flush", 204, "");
    assert_false(atomic_load(&steering->was_drained));
    (void)kill(c.pid, SIGTERM); /* a second one ends the delay */
    assert_int_equal(end_code(&c), 0);
    assert_true(atomic_load(&steering->was_drained));
}

static void test_disk_failure_has_its_code(void **state)
{
    (void)state;
    struct child c = launch(&ingester_like, "");

    expect_answer(c.http, "/ready", 200, "ready");
    expect_answer(c.http, "/disk-fails", 200, "failing");
    assert_int_equal(end_code(&c), 75);
    assert_true(atomic_load(&steering->was_drained));
}

static void test_drain_has_a_deadline(void **state)
{
    (void)state;
    atomic_store(&steering->holds_drain, true);
    struct child c = launch(&ingester_like, "-server.graceful-shutdown-timeout=50ms");

    expect_answer(c.http, "/ready", 200, "ready");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(end_code(&c), 1);
    assert_false(atomic_load(&steering->was_stopped));
}

static void expect_failure(const char *extra, int code, const char *line)
{
    struct child c = launch(&ingester_like, extra);
    char text[4096] = "";
    size_t len = 0;
    ssize_t got;

    while ((got = read(c.err_fd, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)got;
    assert_int_equal(end_code(&c), code);
    assert_non_null(strstr(text, line));
}

static void test_failures_are_one_clear_line(void **state)
{
    (void)state;
    expect_failure("-no.such-flag=1", 1,
                   "ingester: failed parsing config: unknown flag -no.such-flag\n");
    expect_failure("-target=querier", 1,
                   "ingester: target querier is not this binary's; it runs ingester\n");
    expect_failure(
        "-config.file=/nowhere", 1,
        "ingester: failed parsing config: can not read the configuration file /nowhere: not_found\n");
    expect_failure("-server.http-listen-address=203.0.113.1", 1, "ingester: can not start: ");
    atomic_store(&steering->fails_start, true);
    expect_failure("", 1, "ingester: can not start: no luck today\n");
    assert_false(atomic_load(&steering->was_stopped));
    atomic_store(&steering->is_held_by_another, true);
    expect_failure("", 78, "ingester: can not start: the folder is held by another process\n");
}

static void test_a_taken_port_is_told(void **state)
{
    char flag[64];

    (void)state;
    struct child c = launch(&ingester_like, "");
    expect_answer(c.http, "/ready", 200, "ready");
    (void)snprintf(flag, sizeof flag, "-server.http-listen-port=%u", c.http);
    expect_failure(flag, 1, "Address already in use");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(end_code(&c), 0);
}

/* What is not for tenants answers on the admin listener alone; an ingester has no tenants on its own HTTP. */
static void test_admin_routes(void **state)
{
    (void)state;
    struct child c = launch(&querier_like, "");

    expect_answer(c.http, "/ready", 200, "ready");
    expect_answer(c.http, "/status/config", 404, "404");
    expect_answer(c.http, "/status/runtime_config", 404, "404");
    expect_answer(c.http, "/status/overrides", 404, "404");
    expect_answer(c.http, "/status/overrides/acme", 404, "404");
    expect_answer(c.http, "/flush", 404, "404");
    expect_answer(c.http, "/shutdown", 404, "404");
    expect_answer(c.http, "/status/version", 200, "vivace-querier, version " VIVACE_VERSION);
    expect_answer(c.http, "/api/status/buildinfo", 200, "{\"version\":\"" VIVACE_VERSION "\"");
    expect_answer(c.admin, "/status/config", 200, "http_listen_port");
    expect_answer(c.admin, "/status/runtime_config", 200, "defaults:\n  global");
    expect_answer(c.admin, "/status/overrides", 200, "<h1>Tenants with overrides</h1>");
    expect_answer(c.admin, "/status/overrides/a%3Cb", 200, "Tenant: a&lt;b</p>");
    expect_answer(c.admin, "/status/overridesx", 404, "404");
    expect_answer(c.admin, "/flush", 204, "");
    expect_answer(c.admin, "/shutdown", 200, "shutdown job acknowledged");
    assert_int_equal(end_code(&c), 0);
    assert_true(atomic_load(&steering->was_drained));

    c = launch(&ingester_like, "");
    expect_answer(c.http, "/status/config?mode=diff", 200, "---");
    expect_answer(c.http, "/shutdown", 200, "shutdown job acknowledged");
    assert_int_equal(end_code(&c), 0);
}

/* The peers connect in the background, so the first expositions may be without them. */
static void expect_metrics(uint16_t port, char *answer, const char *line)
{
    for (unsigned i = 0; i < WAIT_TURNS; i++) {
        assert_int_equal(get(port, "/metrics", answer, ANSWER_BYTES), 200);
        if (strstr(answer, line) != NULL)
            return;
        (void)poll(NULL, 0, WAIT_MS);
    }
    fail();
}

/* The querier's /metrics shows its peers' series, and does without a peer that is away. */
static void test_metrics_of_peers(void **state)
{
    static char answer[ANSWER_BYTES];
    char flag[160];

    (void)state;
    struct child ingester = launch(&ingester_like, "");
    (void)snprintf(flag, sizeof flag,
                   "-querier.metrics-peers=tcp://127.0.0.1:%u,tcp://127.0.0.1:%u", ingester.control,
                   free_port());
    expect_answer(ingester.http, "/ready", 200, "ready");
    struct child querier = launch(&querier_like, flag);
    expect_answer(querier.http, "/ready", 200, "ready");
    assert_int_equal(get(ingester.http, "/metrics", answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "\ntest_ingester_runs 1"));
    expect_metrics(querier.http, answer, "\ntest_ingester_runs 1");
    assert_non_null(strstr(answer, "\ntest_querier_runs 1"));
    assert_non_null(strstr(
        answer,
        "tempo_request_duration_seconds_count{method=\"GET\",route=\"ready\",status_code=\"200\",ws=\"false\"}"));
    (void)kill(ingester.pid, SIGTERM);
    (void)kill(querier.pid, SIGTERM);
    assert_int_equal(end_code(&ingester), 0);
    assert_int_equal(end_code(&querier), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_start_ready_drain_stop),
        TEST(test_shutdown_delay_keeps_serving),
        TEST(test_disk_failure_has_its_code),
        TEST(test_drain_has_a_deadline),
        TEST(test_failures_are_one_clear_line),
        TEST(test_a_taken_port_is_told),
        TEST(test_admin_routes),
        TEST(test_metrics_of_peers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
