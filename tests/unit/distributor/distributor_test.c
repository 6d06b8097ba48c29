/* The room as the application runs it: start, ready, a request stored by an ingester behind real lanes, drain, stop. */
#include "common/codec/otlp.h"
#include "common/net/rpc.h"
#include "distributor/distributor.h"
#include "proto/push.pb-c.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <unistd.h>

enum { LOOPS = 2, MESSAGE_MAX = 1 << 20 };

static struct {
    struct app app;
    struct config config;
    struct loop *loops[LOOPS];
    struct rpc_server *control, *push;
    struct member_self self;
    const char *urls[1];
    const char *processors[1];
    atomic_uint spans, pushes;
    atomic_bool is_silent;
    atomic_int state;               /* enum member_state of the ingester */
    _Atomic(struct rpc_req *) held; /* unanswered, while silent */
} fx;

static void on_control(void *arg, struct rpc_req *req)
{
    (void)arg;
    member_hello_reply(req, &fx.self, (enum member_state)atomic_load(&fx.state));
}

static void on_push(void *arg, struct rpc_req *req)
{
    struct slice payload = rpc_req_payload(req);
    Vivace__PushRequest *r = vivace__push_request__unpack(NULL, payload.len, payload.ptr);
    uint32_t count = 0;

    (void)arg;
    assert_non_null(r);
    assert_int_equal(rpc_req_method(req), RPC_PUSH);
    assert_int_equal(otlp_check((struct slice){r->payload.data, r->payload.len},
                                &otlp_limits_default, &count, NULL),
                     ERR_OK);
    vivace__push_request__free_unpacked(r, NULL);
    atomic_fetch_add(&fx.pushes, 1);
    if (atomic_load(&fx.is_silent)) {
        atomic_store(&fx.held, req);
        return;
    }
    atomic_fetch_add(&fx.spans, count);
    rpc_reply(req, ERR_OK, SLICE_NONE);
}

static struct rpc_server *serve(rpc_handler *handler)
{
    struct rpc_server *s = NULL;
    struct rpc_server_options o = {.url = "tcp://127.0.0.1:0",
                                   .receive_bytes_max = MESSAGE_MAX,
                                   .contexts = 8,
                                   .handler = handler};
    assert_int_equal(rpc_server_new(&o, &s, NULL), ERR_OK);
    return s;
}

/* A port that nobody has now. */
static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static int setup(void **state)
{
    (void)state;
    memset(&fx, 0, sizeof fx);
    atomic_store(&fx.state, MEMBER_ACTIVE);
    for (unsigned i = 0; i < LOOPS; i++)
        assert_int_equal(loop_new("test", &fx.loops[i]), ERR_OK);
    fx.push = serve(on_push);
    fx.control = serve(on_control);
    fx.self = (struct member_self){.role = "ingester",
                                   .cluster = "test",
                                   .id = "ingester-0",
                                   .boot_id = "0123456789abcdef0123456789abcdef",
                                   .zone = "",
                                   .push_url = rpc_server_url(fx.push),
                                   .query_url = rpc_server_url(fx.push)};
    fx.urls[0] = rpc_server_url(fx.control);
    fx.config =
        (struct config){.cluster = "test",
                        .ingester_members = {fx.urls, 1},
                        .rate_strategy = "local",
                        .limits = {.rate_limit_bytes = 1000000, .burst_size_bytes = 1000000},
                        .override_file = "",
                        .distributor_request_timeout_ns = 2 * NS_PER_S,
                        .distributor_first_attempt_timeout_ns = NS_PER_S,
                        .retry_after_ns = NS_PER_S,
                        .graceful_shutdown_timeout_ns = 5 * NS_PER_S,
                        .generator_buffer_bytes = 1 << 20};
    fx.config.otlp_http = (struct config_listener){
        .is_on = true, .address = "127.0.0.1", .port = free_port(), .max_recv_msg_bytes = 1 << 20};
    fx.app = (struct app){.config = &fx.config,
                          .clock = &clock_system,
                          .loops = fx.loops,
                          .loop_count = LOOPS,
                          .instance_id = "distributor-0",
                          .boot_id = "1123456789abcdef0123456789abcdef",
                          .role = "distributor"};
    assert_int_equal(overrides_new(&fx.config, &fx.app.overrides, NULL), ERR_OK);
    budget_init(&fx.app.memory, 256u << 20, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rpc_server_free(fx.push);
    rpc_server_free(fx.control);
    overrides_free(fx.app.overrides);
    for (unsigned i = 0; i < LOOPS; i++)
        loop_free(fx.loops[i]);
    assert_int_equal(budget_used(&fx.app.memory), 0);
    return 0;
}

static void *start(void)
{
    void *room = NULL;
    struct err_detail detail = {0};

    if (distributor_room.start(&fx.app, &room, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
    return room;
}

static void wait_ready(void *room)
{
    char text[256];

    for (unsigned i = 0; i < 500 && distributor_room.state(room, text) != MEMBER_ACTIVE; i++)
        (void)usleep(10000);
    assert_int_equal(distributor_room.state(room, text), MEMBER_ACTIVE);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static int send_span(void)
{
    static const char json[] =
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":["
        "{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\"}]}]}]}";
    char text[1024];
    int fd = connect_to(fx.config.otlp_http.port);

    assert_true(fd >= 0);
    int len = snprintf(
        text, sizeof text,
        "POST /v1/traces HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        sizeof json - 1, json);
    assert_int_equal(write(fd, text, (size_t)len), len);
    return fd;
}

static unsigned status_of(int fd)
{
    char text[4096];
    size_t len = 0;
    unsigned status = 0;

    for (ssize_t n; (n = read(fd, text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    (void)close(fd);
    return sscanf(text, "HTTP/1.1 %u", &status) == 1 ? status : 0;
}

static void test_a_span_goes_through_the_room(void **state)
{
    (void)state;
    void *room = start();
    wait_ready(room);
    assert_int_equal(status_of(send_span()), 200);
    assert_int_equal(atomic_load(&fx.spans), 1);
    distributor_room.drain(room);
    char text[256];
    assert_int_equal(distributor_room.state(room, text), MEMBER_DRAINING);
    assert_int_equal(connect_to(fx.config.otlp_http.port), -1);
    distributor_room.stop(room);
}

/* A lone ingester that reads its log takes pushes; one that ends does not. */
static void test_a_replaying_ingester_is_written_to(void **state)
{
    (void)state;
    char text[256];
    atomic_store(&fx.state, MEMBER_DRAINING);
    void *room = start();
    assert_int_equal(status_of(send_span()), 503);
    assert_int_equal(distributor_room.state(room, text), MEMBER_STARTING);
    atomic_store(&fx.state, MEMBER_REPLAYING);
    wait_ready(room);
    assert_int_equal(status_of(send_span()), 200);
    assert_int_equal(atomic_load(&fx.spans), 1);
    distributor_room.drain(room);
    distributor_room.stop(room);
}

static void *drain_thread(void *room)
{
    distributor_room.drain(room);
    return NULL;
}

static void test_a_drain_waits_for_the_answer(void **state)
{
    (void)state;
    void *room = start();
    pthread_t thread;
    wait_ready(room);
    atomic_store(&fx.is_silent, true);
    int fd = send_span();
    while (atomic_load(&fx.held) == NULL)
        (void)usleep(1000);
    assert_int_equal(pthread_create(&thread, NULL, drain_thread, room), 0);
    (void)usleep(100000);
    rpc_reply(atomic_load(&fx.held), ERR_OK, SLICE_NONE);
    assert_int_equal(status_of(fd), 200);
    (void)pthread_join(thread, NULL);
    distributor_room.stop(room);
}

static void test_a_stop_answers_what_is_left(void **state)
{
    (void)state;
    void *room = start();
    wait_ready(room);
    atomic_store(&fx.is_silent, true);
    int fd = send_span();
    while (atomic_load(&fx.held) == NULL)
        (void)usleep(1000);
    distributor_room.stop(room); /* no drain: the push ends without an answer */
    unsigned status = status_of(fd);
    assert_true(status == 503 || status == 0); /* never 200 */
    rpc_reply(atomic_load(&fx.held), ERR_OK, SLICE_NONE);
}

static void test_silence_is_503_within_the_deadline(void **state)
{
    (void)state;
    void *room = start();
    wait_ready(room);
    atomic_store(&fx.is_silent, true);
    int64_t from_ns = clock_mono_ns(&clock_system);
    assert_int_equal(status_of(send_span()), 503);
    assert_true(clock_mono_ns(&clock_system) - from_ns < 4 * NS_PER_S);
    rpc_reply(atomic_load(&fx.held), ERR_OK, SLICE_NONE);
    distributor_room.drain(room);
    distributor_room.stop(room);
}

static void test_not_ready_without_an_ingester(void **state)
{
    (void)state;
    static const char *nobody[] = {"tcp://127.0.0.1:1"};
    fx.config.ingester_members.items = nobody;
    void *room = start();
    char text[256];
    (void)usleep(50000);
    assert_int_equal(distributor_room.state(room, text), MEMBER_STARTING);
    assert_string_equal(text, "no ingester takes writes yet");
    assert_int_equal(status_of(send_span()), 503);
    distributor_room.stop(room);
}

static void test_what_can_not_start_says_why(void **state)
{
    (void)state;
    void *first = start(), *room = NULL;
    struct err_detail detail = {0};
    assert_int_not_equal(distributor_room.start(&fx.app, &room, &detail),
                         ERR_OK); /* its port is taken */
    assert_non_null(strstr(detail.text, "127.0.0.1"));
    distributor_room.stop(first);
    fx.config.ingester_members.count = 0;
    assert_int_not_equal(distributor_room.start(&fx.app, &room, &detail), ERR_OK);
    assert_non_null(strstr(detail.text, "ingester.members is empty"));
}

static void test_generators_that_are_not_there_do_not_hold_up(void **state)
{
    (void)state;
    static const char *nobody[] = {"tcp://127.0.0.1:1"};
    fx.processors[0] = "span-metrics";
    fx.config.limits.processors = (struct config_list){fx.processors, 1};
    fx.config.generator_members = (struct config_list){nobody, 1};
    void *room = start();
    wait_ready(room);
    assert_int_equal(status_of(send_span()), 200);
    int64_t from_ns = clock_mono_ns(&clock_system);
    distributor_room.drain(room);
    assert_true(clock_mono_ns(&clock_system) - from_ns < 2 * NS_PER_S);
    distributor_room.stop(room);
}

#define WITH_INGESTER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_INGESTER(test_a_span_goes_through_the_room),
        WITH_INGESTER(test_a_replaying_ingester_is_written_to),
        WITH_INGESTER(test_a_drain_waits_for_the_answer),
        WITH_INGESTER(test_a_stop_answers_what_is_left),
        WITH_INGESTER(test_silence_is_503_within_the_deadline),
        WITH_INGESTER(test_not_ready_without_an_ingester),
        WITH_INGESTER(test_what_can_not_start_says_why),
        WITH_INGESTER(test_generators_that_are_not_there_do_not_hold_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
