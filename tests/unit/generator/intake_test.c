/* The intake over a real lane: what is acknowledged is counted once, through kills and restarts; collections go on where they were. */
#include "common/base/reader.h"
#include "common/codec/otlp_write.h"
#include "common/net/rpc.h"
#include "common/obs/metrics.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "generator/intake.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"
#include "tests/unit/generator/otlp_one.h"
#include "tests/unit/generator/write_request.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 10000, FILE_BYTES_MAX = 64 << 20 };

struct node {
    struct config config;
    struct app app;
    struct send_queue *queue;
    struct intake *intake;
    struct rpc_server *server;
    struct rpc_client *client;
};

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};
    (void)nanosleep(&t, NULL);
}

static void handle(void *arg, struct rpc_req *req)
{
    struct node *n = arg;
    intake_push(n->intake, req);
}

static void wait_ready(struct node *n)
{
    for (int i = 0; !intake_is_ready(n->intake); i++) {
        assert_true(i < WAIT_MS);
        sleep_ms(1);
    }
}

static void node_open(struct node *n, const char *path, const char *interval)
{
    char yaml[1024], queue_path[512];
    struct config_warning *warnings;
    struct err_detail d = {0};

    *n = (struct node){.intake = NULL};
    (void)snprintf(
        yaml, sizeof yaml,
        "metrics_generator: {registry: {collection_interval: %s}, storage: {path: '%s', remote_write: [{url: 'http://127.0.0.1:1/', send_exemplars: true}]}}\n"
        "overrides: {metrics_generator_processors: [service-graphs, span-metrics]}\n",
        interval, path);
    if (config_parse("test.yml", slice_str(yaml), false, NULL, 0, &n->config, &warnings, &d) !=
        ERR_OK)
        fail_msg("%s", d.text);
    n->app.config = &n->config;
    n->app.clock = &clock_system;
    assert_int_equal(overrides_new(&n->config, &n->app.overrides, &d), ERR_OK);
    budget_init(&n->app.memory, 256 << 20, NULL);
    (void)snprintf(n->app.instance_id, sizeof n->app.instance_id, "generator-0");
    (void)snprintf(queue_path, sizeof queue_path, "%s/queue/t", path);
    assert_int_equal(send_queue_open(queue_path, 1 << 30, &n->queue), ERR_OK);
    struct intake_options o = {.app = &n->app, .queues = &n->queue, .queue_count = 1};
    if (intake_new(&o, &n->intake, &d) != ERR_OK)
        fail_msg("%s", d.text);
    wait_ready(n);
    struct rpc_server_options so = {.url = "tcp://127.0.0.1:0",
                                    .receive_bytes_max = 1 << 20,
                                    .contexts = 16,
                                    .handler = handle,
                                    .arg = n};
    assert_int_equal(rpc_server_new(&so, &n->server, &d), ERR_OK);
    struct rpc_client_options co = {
        .url = rpc_server_url(n->server), .receive_bytes_max = 1 << 20, .contexts = 16};
    assert_int_equal(rpc_client_new(&co, &n->client), ERR_OK);
}

static void node_close(struct node *n)
{
    rpc_client_free(n->client);
    intake_drain(n->intake);
    rpc_server_free(n->server);
    intake_free(n->intake);
    send_queue_close(n->queue);
    assert_int_equal(budget_used(&n->app.memory), 0);
    overrides_free(n->app.overrides);
    config_release(&n->config);
}

static int64_t now_ns(void)
{
    return clock_wall_ns(&clock_system);
}

struct push {
    unsigned batch, part;
    const char *tenant;
    int64_t received_ns;
};

static enum err push_bytes(struct node *n, const struct push *p, struct slice payload)
{
    uint8_t id[16] = {(uint8_t)p->batch, (uint8_t)(p->batch >> 8), 0x42};
    struct buf message, reply;

    buf_init(&message, 1 << 20);
    buf_init(&reply, 1 << 16);
    pb_bytes(&message, 1, (struct slice){id, sizeof id});
    pb_varint(&message, 2, p->part);
    pb_bytes(&message, 3, slice_str(p->tenant));
    pb_fixed64(&message, 8, (uint64_t)p->received_ns);
    pb_bytes(&message, 11, payload);
    enum err e = rpc_call_wait(n->client, RPC_GENERATE, buf_slice(&message), 10 * NS_PER_S, &reply);
    buf_release(&message);
    buf_release(&reply);
    return e;
}

static enum err push_span(struct node *n, unsigned batch, const char *service, unsigned span)
{
    struct push p = {.batch = batch, .tenant = "single-tenant", .received_ns = now_ns()};
    struct buf pb;

    buf_init(&pb, 1 << 20);
    otlp_one(&pb, service, 1, span, 0, 1, p.received_ns, "");
    enum err e = push_bytes(n, &p, buf_slice(&pb));
    buf_release(&pb);
    return e;
}

/* What is queued, oldest first; the files stay. */
static void queue_read(const char *path, struct write_request *ret)
{
    struct send_queue *q;
    struct slice tenant, request;
    struct buf file;
    uint64_t number;
    size_t at;

    buf_init(&file, FILE_BYTES_MAX);
    assert_int_equal(send_queue_open(path, 1 << 30, &q), ERR_OK);
    while (send_queue_next(q, 0, &number, &file)) {
        assert_true(send_queue_tenant(buf_slice(&file), &tenant, &at));
        assert_true(slice_eq_str(tenant, "single-tenant"));
        assert_true(at < file.len); /* a file without a request is not written */
        while (at < file.len) {
            assert_true(send_queue_request(buf_slice(&file), &at, &request));
            write_request_add(ret, request);
        }
        send_queue_done(q, number);
    }
    send_queue_close(q);
    buf_release(&file);
}

/* The values of a counter in the order they were written: "0 3 3 5". */
static void values_of(const struct write_request *w, const char *name, const char *part, char *ret,
                      size_t len)
{
    size_t n = 0;
    double last = -1;

    ret[0] = '\0';
    for (unsigned i = 0; i < w->count; i++) {
        if (strcmp(w->series[i].name, name) != 0 || strstr(w->series[i].text, part) == NULL ||
            w->series[i].value == last)
            continue;
        last = w->series[i].value;
        n += (size_t)snprintf(ret + n, len - n, "%s%g", n == 0 ? "" : " ", last);
    }
}

static void copy_file(const char *from, const char *to)
{
    struct buf b;

    buf_init(&b, FILE_BYTES_MAX);
    enum err e = fs_read_file(from, &b);
    if (e == ERR_OK)
        assert_int_equal(fs_replace(to, buf_slice(&b)), ERR_OK);
    buf_release(&b);
}

struct copying {
    const char *from, *to;
};

static enum err copy_entry(void *arg, const char *name)
{
    struct copying *c = arg;
    char from[1024], to[1024];
    struct stat st;

    (void)snprintf(from, sizeof from, "%s/%s", c->from, name);
    (void)snprintf(to, sizeof to, "%s/%s", c->to, name);
    if (stat(from, &st) != 0)
        return ERR_OK;
    if (!S_ISDIR(st.st_mode)) {
        copy_file(from, to);
        return ERR_OK;
    }
    struct copying below = {from, to};
    assert_int_equal(fs_mkdir_all(to), ERR_OK);
    return fs_list(from, copy_entry, &below);
}

/* What a kill at this moment leaves behind, in another folder. */
static void killed(const char *from, const char *to)
{
    struct copying c = {from, to};

    assert_int_equal(fs_mkdir_all(to), ERR_OK);
    assert_int_equal(fs_list(from, copy_entry, &c), ERR_OK);
}

static void test_counted_once(void **state)
{
    struct node n;
    struct write_request w = {0};
    char values[256];
    const char *path = tmpdir_path(state, "g");

    node_open(&n, path, "5m");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(push_span(&n, i, "shop", i + 1), ERR_OK);
    for (unsigned i = 0; i < 5; i++) /* repeats are acknowledged */
        assert_int_equal(push_span(&n, i, "shop", i + 1), ERR_OK);
    node_close(&n); /* writes the zeros and the values */
    queue_read(tmpdir_path(state, "g/queue/t"), &w);
    values_of(&w, "traces_spanmetrics_calls_total", "service=shop", values, sizeof values);
    assert_string_equal(values, "0 5");
    write_request_clear(&w);
}

static void test_bad_pushes_are_refused(void **state)
{
    struct node n;
    struct push p = {.batch = 1, .tenant = "single-tenant", .received_ns = now_ns()};
    struct buf reply;

    node_open(&n, tmpdir_path(state, "g"), "5m");
    assert_int_equal(push_bytes(&n, &p, SLICE_LIT("\xff\xff\xff")), ERR_FORMAT);
    p.tenant = "";
    assert_int_equal(push_bytes(&n, &p, SLICE_NONE), ERR_FORMAT);
    p.tenant = "../up";
    assert_int_equal(push_bytes(&n, &p, SLICE_NONE), ERR_FORMAT);
    p.tenant = "ok";
    p.received_ns = INT64_MIN;
    assert_int_equal(push_bytes(&n, &p, SLICE_NONE), ERR_FORMAT);
    buf_init(&reply, 1000);
    assert_int_equal(
        rpc_call_wait(n.client, RPC_GENERATE, SLICE_LIT("\x0a\x02xx"), NS_PER_S * 5, &reply),
        ERR_FORMAT);
    assert_int_equal(rpc_call_wait(n.client, RPC_PUSH, SLICE_NONE, NS_PER_S * 5, &reply),
                     ERR_UNSUPPORTED);
    buf_release(&reply);
    /* None of them hinders the next. */
    assert_int_equal(push_span(&n, 9, "shop", 1), ERR_OK);
    node_close(&n);
}

static void test_a_folder_has_one_owner(void **state)
{
    struct node n;
    struct intake *second;
    struct err_detail d = {0};

    node_open(&n, tmpdir_path(state, "g"), "5m");
    struct intake_options o = {.app = &n.app, .queues = &n.queue, .queue_count = 1};
    assert_int_equal(intake_new(&o, &second, &d), ERR_CONFLICT);
    assert_non_null(strstr(d.text, "in use by another generator"));
    node_close(&n);
}

/* Kill after kill: the log alone, then the log behind a checkpoint. */
static void test_counters_go_on_through_kills(void **state)
{
    struct node n;
    struct write_request w = {0};
    char values[256], a[512], b[512], c[512];

    (void)snprintf(a, sizeof a, "%s", tmpdir_path(state, "a"));
    (void)snprintf(b, sizeof b, "%s", tmpdir_path(state, "b"));
    (void)snprintf(c, sizeof c, "%s", tmpdir_path(state, "c"));
    node_open(&n, a, "5m");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(push_span(&n, i, "shop", i + 1), ERR_OK);
    killed(a, b);
    node_close(&n);
    node_open(&n, b, "5m");
    assert_int_equal(push_span(&n, 3, "shop", 4), ERR_OK); /* counted before the kill */
    assert_int_equal(push_span(&n, 4, "shop", 5), ERR_OK);
    node_close(&n); /* a checkpoint */
    node_open(&n, b, "5m");
    assert_int_equal(push_span(&n, 4, "shop", 5), ERR_OK); /* counted before the checkpoint */
    assert_int_equal(push_span(&n, 5, "shop", 6), ERR_OK);
    killed(b, c);
    node_close(&n);
    node_open(&n, c, "5m");
    node_close(&n);
    char queue[600];
    (void)snprintf(queue, sizeof queue, "%s/queue/t", c);
    queue_read(queue, &w);
    values_of(&w, "traces_spanmetrics_calls_total", "service=shop", values, sizeof values);
    assert_string_equal(values, "0 5 6");
    write_request_clear(&w);
}

/* A series that Prometheus has seen does not begin at 0 again after a kill. */
static void test_no_zero_in_the_middle(void **state)
{
    struct node n;
    struct write_request w = {0};
    char values[256], a[512], b[512], queue[600];
    struct send_queue_stats s;

    (void)snprintf(a, sizeof a, "%s", tmpdir_path(state, "a"));
    (void)snprintf(b, sizeof b, "%s", tmpdir_path(state, "b"));
    node_open(&n, a, "100ms");
    assert_int_equal(push_span(&n, 1, "shop", 1), ERR_OK);
    do { /* zero, value, and again */
        sleep_ms(10);
        send_queue_stats(n.queue, &s);
    } while (s.files < 4);
    killed(a, b);
    node_close(&n);
    node_open(&n, b, "5m");
    assert_int_equal(push_span(&n, 2, "shop", 2), ERR_OK);
    assert_int_equal(push_span(&n, 3, "new", 3), ERR_OK);
    node_close(&n);
    node_open(&n, b, "5m");
    node_close(&n);
    (void)snprintf(queue, sizeof queue, "%s/queue/t", b);
    queue_read(queue, &w);
    values_of(&w, "traces_spanmetrics_calls_total", "service=shop", values, sizeof values);
    assert_string_equal(values, "0 1 2");
    values_of(&w, "traces_spanmetrics_calls_total", "service=new", values, sizeof values);
    assert_string_equal(values, "0 1");
    write_request_clear(&w);
}

static void test_a_damaged_checkpoint_is_put_aside(void **state)
{
    struct node n;
    struct stat st;
    struct buf file;
    const char *path = tmpdir_path(state, "g"), *checkpoint = tmpdir_path(state, "g/checkpoint");

    node_open(&n, path, "5m");
    assert_int_equal(push_span(&n, 1, "shop", 1), ERR_OK);
    node_close(&n);
    buf_init(&file, 1 << 20);
    assert_int_equal(fs_read_file(checkpoint, &file), ERR_OK);
    file.ptr[file.len / 2] ^= 1;
    assert_int_equal(fs_replace(checkpoint, buf_slice(&file)), ERR_OK);
    buf_release(&file);
    node_open(&n, path, "5m");
    assert_int_equal(push_span(&n, 2, "shop", 2), ERR_OK);
    node_close(&n);
    assert_int_equal(stat(tmpdir_path(state, "g/checkpoint.damaged"), &st), 0);
    assert_int_equal(stat(checkpoint, &st), 0);
}

/* A queue that can not be written is told, and pushes are taken all the same. */
static void test_collections_fail_intake_goes_on(void **state)
{
    struct node n;
    const char *queue = tmpdir_path(state, "g/queue");

    node_open(&n, tmpdir_path(state, "g"), "100ms");
    assert_int_equal(fs_remove_tree(queue), ERR_OK);
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(push_span(&n, i, "shop", i + 1), ERR_OK);
        sleep_ms(10);
    }
    struct metric_cell *errors =
        metric_cell0(metrics_counter("vivace_generator_collection_errors_total", "", ""));
    assert_true(metric_value(errors) > 0);
    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "g/queue/t")), ERR_OK);
    node_close(&n);
    struct write_request w = {0};
    char values[256];
    queue_read(tmpdir_path(state, "g/queue/t"), &w);
    values_of(&w, "traces_spanmetrics_calls_total", "service=shop", values, sizeof values);
    assert_string_equal(values, "0 30"); /* the zeros that were lost were written again */
    write_request_clear(&w);
}

struct pusher {
    struct node *n;
    unsigned from, refused;
};

static void push_many(void *arg)
{
    struct pusher *p = arg;

    for (unsigned i = 0; i < 200; i++)
        p->refused += push_span(p->n, p->from + i, "shop", i + 1) != ERR_OK;
}

/* Every push is answered, also those that come while it drains. */
static void test_draining_answers_everybody(void **state)
{
    struct node n;
    struct pusher p[3];
    pthread_t threads[3];

    node_open(&n, tmpdir_path(state, "g"), "100ms");
    for (unsigned i = 0; i < 3; i++) {
        p[i] = (struct pusher){.n = &n, .from = i * 1000};
        assert_int_equal(thread_start(&threads[i], "pusher", push_many, &p[i]), ERR_OK);
    }
    sleep_ms(60);
    int64_t from = clock_mono_ns(&clock_system);
    intake_drain(n.intake);
    for (unsigned i = 0; i < 3; i++)
        thread_join(threads[i]);
    assert_true(clock_mono_ns(&clock_system) - from <
                9 * NS_PER_S); /* none ran into its time-out */
    node_close(&n);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)
    const struct CMUnitTest tests[] = {
        T(test_counted_once),
        T(test_bad_pushes_are_refused),
        T(test_a_folder_has_one_owner),
        T(test_counters_go_on_through_kills),
        T(test_no_zero_in_the_middle),
        T(test_a_damaged_checkpoint_is_put_aside),
        T(test_collections_fail_intake_goes_on),
        T(test_draining_answers_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
