/* The sender of a target against a real HTTP server: retries, refusals, order, what is unsent stays. */
#include "common/base/clock.h"
#include "common/net/http_server.h"
#include "common/obs/metrics.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "generator/remote_write.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWERS_MAX = 64, WAIT_MS = 10000 };

/* A target: answers by the list, then 200; keeps what it took. */
static struct {
    struct loop *loop;
    struct http_server *server;
    struct mutex lock;
    unsigned answers[ANSWERS_MAX], answer_count; /* 0: none at all; 1: 503 with a body of 5 MB */
    unsigned asked;
    const char *retry_after;
    struct buf taken; /* bodies, each with a space behind it */
    char tenant[160], authorization[4096];
    bool has_headers;
    struct http_req *held[ANSWERS_MAX];
    unsigned held_count;
} target;

static struct config config;
static struct config_remote_write remote;
static char url[128];

static void target_handle(void *arg, struct http_req *req)
{
    (void)arg;
    mutex_lock(&target.lock);
    unsigned status = target.asked < target.answer_count ? target.answers[target.asked] : 200;
    target.asked++;
    if (status == 200) {
        buf_append(&target.taken, http_req_body(req));
        buf_append_byte(&target.taken, ' ');
    }
    struct slice tenant = http_req_header(req, "x-scope-orgid"),
                 authorization = http_req_header(req, "authorization");
    (void)snprintf(target.tenant, sizeof target.tenant, SLICE_FMT, SLICE_ARG(tenant));
    (void)snprintf(target.authorization, sizeof target.authorization, SLICE_FMT,
                   SLICE_ARG(authorization));
    target.has_headers =
        slice_eq_str(http_req_header(req, "content-encoding"), "snappy") &&
        slice_eq_str(http_req_header(req, "content-type"), "application/x-protobuf") &&
        slice_eq_str(http_req_header(req, "x-prometheus-remote-write-version"), "0.1.0");
    if (status == 0)
        target.held[target.held_count++] = req;
    mutex_unlock(&target.lock);
    if (status == 0)
        return;
    struct http_header header = {"retry-after", target.retry_after};
    struct buf body;
    buf_init(&body, 8 << 20);
    if (status == 1)
        memset(buf_extend(&body, 5 << 20), 'x', 5 << 20);
    struct http_reply reply = {.status = status == 1 ? 503 : status,
                               .headers = &header,
                               .header_count = target.retry_after == NULL ? 0 : 1,
                               .body = &body};
    http_reply(req, &reply);
    buf_release(&body);
}

static void target_open(uint16_t port)
{
    struct err_detail d = {0};
    struct http_server_options o = {.address = "127.0.0.1",
                                    .port = port,
                                    .loops = &target.loop,
                                    .loop_count = 1,
                                    .handler = target_handle,
                                    .body_bytes_max = 1 << 20,
                                    .header_bytes_max = 1 << 16};
    if (http_server_new(&o, &target.server, &d) != ERR_OK)
        fail_msg("%s", d.text);
}

static int set_up(void **state)
{
    struct config_warning *warnings;
    struct err_detail d = {0};

    if (tmpdir_setup(state) != 0)
        return -1;
    memset(&target, 0, sizeof target);
    mutex_init(&target.lock);
    buf_init(&target.taken, 1 << 20);
    assert_int_equal(loop_new("target", &target.loop), ERR_OK);
    target_open(0);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/api/v1/write",
                   http_server_port(target.server));
    if (config_parse("test.yml", SLICE_NONE, false, NULL, 0, &config, &warnings, &d) != ERR_OK)
        fail_msg("%s", d.text);
    remote = (struct config_remote_write){.url = url,
                                          .remote_timeout_ns = 2 * NS_PER_S,
                                          .min_backoff_ns = 5 * NS_PER_MS,
                                          .max_backoff_ns = 20 * NS_PER_MS};
    return 0;
}

static int tear_down(void **state)
{
    for (unsigned i = 0; i < target.held_count; i++)
        http_reply_text(target.held[i], 503, "text/plain", "late");
    http_server_free(target.server);
    loop_free(target.loop);
    buf_release(&target.taken);
    mutex_release(&target.lock);
    config_release(&config);
    return tmpdir_teardown(state);
}

static void put(struct send_queue *q, const char *tenant, const char *one, const char *two)
{
    struct buf file;

    buf_init(&file, 1 << 20);
    send_queue_begin(&file, slice_str(tenant));
    send_queue_add(&file, slice_str(one));
    if (two != NULL)
        send_queue_add(&file, slice_str(two));
    assert_int_equal(send_queue_put(q, &file), ERR_OK);
    buf_release(&file);
}

static void wait_empty(struct send_queue *q)
{
    struct send_queue_stats s;

    for (int i = 0; i < WAIT_MS; i++) {
        struct timespec t = {.tv_nsec = NS_PER_MS};
        send_queue_stats(q, &s);
        if (s.files == 0)
            return;
        (void)nanosleep(&t, NULL);
    }
    fail_msg("%u files left", (unsigned)s.files);
}

static double metric_of(const char *name)
{
    return metric_value(metric_cell1(metrics_counter(name, "url", ""), url));
}

static void expect_taken(const char *want)
{
    mutex_lock(&target.lock);
    bool is_equal = slice_eq_str(buf_slice(&target.taken), want);
    if (!is_equal)
        print_message("taken: " SLICE_FMT "\n", SLICE_ARG(buf_slice(&target.taken)));
    mutex_unlock(&target.lock);
    assert_true(is_equal);
}

static struct remote_write *start(struct send_queue *q)
{
    struct remote_write *w;

    assert_int_equal(remote_write_new(&config, &remote, q, &w), ERR_OK);
    return w;
}

static void answers(unsigned count, const unsigned *list)
{
    memcpy(target.answers, list, count * sizeof *list);
    target.answer_count = count;
}

static void test_in_order_with_headers(void **state)
{
    struct send_queue *q;
    struct config_pair extra = {.name = "X-Extra", .value = "1"};

    remote.headers = &extra;
    remote.header_count = 1;
    static char token[3000];
    memset(token, 't', sizeof token - 1);
    remote.bearer_token = token;
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "single-tenant", "a", "b");
    put(q, "acme", "c", NULL);
    struct remote_write *w = start(q);
    put(q, "acme", "d", "e");
    wait_empty(q);
    remote_write_free(w, 0);
    expect_taken("a b c d e ");
    assert_true(target.has_headers);
    assert_string_equal(target.tenant, "acme");
    assert_int_equal(strlen(target.authorization), strlen("Bearer ") + sizeof token - 1);
    send_queue_close(q);
}

static void test_tried_again_until_it_is_taken(void **state)
{
    struct send_queue *q;
    double retried = metric_of("vivace_generator_remote_write_retries_total");

    answers(5, (unsigned[]){503, 500, 429, 1, 503}); /* 1: an answer too long to read */
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "a", "b");
    put(q, "t", "c", NULL);
    struct remote_write *w = start(q);
    wait_empty(q);
    remote_write_free(w, 0);
    expect_taken("a b c ");
    assert_int_equal(target.asked, 8);
    assert_true(metric_of("vivace_generator_remote_write_retries_total") - retried == 5);
    send_queue_close(q);
}

static void test_retry_after_is_kept_to(void **state)
{
    struct send_queue *q;

    answers(1, (unsigned[]){503});
    target.retry_after = "1";
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "a", NULL);
    int64_t from = clock_mono_ns(&clock_system);
    struct remote_write *w = start(q);
    wait_empty(q);
    assert_true(clock_mono_ns(&clock_system) - from >= NS_PER_S);
    remote_write_free(w, 0);
    expect_taken("a ");
    send_queue_close(q);
}

static void test_what_is_refused_for_good_is_counted(void **state)
{
    struct send_queue *q;
    double refused = metric_of("vivace_generator_remote_write_refused_total");

    answers(3, (unsigned[]){400, 200, 404});
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "a", "b");
    put(q, "t", "c", "d");
    struct remote_write *w = start(q);
    wait_empty(q);
    remote_write_free(w, 0);
    expect_taken("b d ");
    assert_true(metric_of("vivace_generator_remote_write_refused_total") - refused == 2);
    send_queue_close(q);
}

static void test_no_answer_then_a_restart(void **state)
{
    struct send_queue *q;
    uint16_t port = http_server_port(target.server);

    http_server_free(target.server);
    target.server = NULL;
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "a", "b");
    put(q, "t", "c", NULL);
    struct remote_write *w = start(q);
    remote_write_free(w, 100 * NS_PER_MS); /* tries until then */
    send_queue_close(q);
    assert_int_equal(target.asked, 0);
    target_open(port);
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    w = start(q);
    put(q, "t", "d", NULL);
    remote_write_free(w, 10 * NS_PER_S); /* drains */
    wait_empty(q);
    expect_taken("a b c d ");
    send_queue_close(q);
}

/* A target that takes the request and says nothing does not hold up the end. */
static void test_stopping_waits_for_no_answer(void **state)
{
    struct send_queue *q;
    struct send_queue_stats s;

    answers(1, (unsigned[]){0});
    remote.remote_timeout_ns = 30 * NS_PER_S;
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "a", NULL);
    struct remote_write *w = start(q);
    for (int i = 0; i < WAIT_MS; i++) {
        struct timespec t = {.tv_nsec = NS_PER_MS};
        mutex_lock(&target.lock);
        bool is_asked = target.asked != 0;
        mutex_unlock(&target.lock);
        if (is_asked)
            break;
        (void)nanosleep(&t, NULL);
    }
    int64_t from = clock_mono_ns(&clock_system);
    remote_write_free(w, 50 * NS_PER_MS);
    assert_true(clock_mono_ns(&clock_system) - from < 5 * NS_PER_S);
    send_queue_stats(q, &s);
    assert_int_equal(s.files, 1);
    send_queue_close(q);
}

static void test_a_damaged_file_does_not_stop_the_rest(void **state)
{
    struct send_queue *q;
    struct buf file;
    const char *path = tmpdir_path(state, "q/0000000000000000.rw");
    double refused = metric_of("vivace_generator_remote_write_refused_total");

    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "a", "b");
    put(q, "t", "c", NULL);
    buf_init(&file, 1 << 20);
    assert_int_equal(fs_read_file(path, &file), ERR_OK);
    file.ptr[file.len - 1] ^= 1;
    assert_int_equal(fs_replace(path, buf_slice(&file)), ERR_OK);
    buf_release(&file);
    struct remote_write *w = start(q);
    wait_empty(q);
    remote_write_free(w, 0);
    expect_taken("a c ");
    assert_true(metric_of("vivace_generator_remote_write_refused_total") - refused == 1);
    send_queue_close(q);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_in_order_with_headers),
        T(test_tried_again_until_it_is_taken),
        T(test_retry_after_is_kept_to),
        T(test_what_is_refused_for_good_is_counted),
        T(test_no_answer_then_a_restart),
        T(test_stopping_waits_for_no_answer),
        T(test_a_damaged_file_does_not_stop_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
