#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/net/loop.h"
#include "common/net/rpc.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { METHOD_ECHO = 100, METHOD_FAIL, METHOD_HOLD, METHOD_BIG, RECEIVE_BYTES_MAX = 16 << 20 };

/* A server whose answers come from a thread of their own, as in the rooms. */
struct fixture {
    struct loop *loop;
    struct rpc_server *server;
    struct rpc_client *client;
    _Atomic(struct rpc_req *) held;
    atomic_uint handled_count;
};

struct job {
    struct loop_msg msg; /* first */
    struct fixture *fixture;
    struct rpc_req *req;
};

static void job_run(struct loop_msg *m)
{
    struct job *job = (struct job *)m;
    struct rpc_req *req = job->req;
    static uint8_t big[RECEIVE_BYTES_MAX + 100];

    atomic_fetch_add(&job->fixture->handled_count, 1);
    switch (rpc_req_method(req)) {
    case METHOD_ECHO: rpc_reply(req, ERR_OK, rpc_req_payload(req)); break;
    case METHOD_FAIL: rpc_reply(req, ERR_LIMIT, SLICE_LIT("over the limit")); break;
    case METHOD_BIG: rpc_reply(req, ERR_OK, (struct slice){big, sizeof big}); break;
    default: atomic_store(&job->fixture->held, req); break;
    }
    free(job);
}

static void on_request(void *arg, struct rpc_req *req)
{
    struct fixture *f = arg;
    struct job *job = calloc(1, sizeof *job);

    if (job == NULL)
        abort();
    *job = (struct job){.msg.run = job_run, .fixture = f, .req = req};
    loop_post(f->loop, &job->msg);
}

static void start_server(struct fixture *f, const char *url, unsigned contexts)
{
    struct err_detail detail = {0};
    struct rpc_server_options o = {.url = url,
                                   .receive_bytes_max = RECEIVE_BYTES_MAX,
                                   .contexts = contexts,
                                   .handler = on_request,
                                   .arg = f};

    if (rpc_server_new(&o, &f->server, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
}

static void start_client(struct fixture *f, const char *url, unsigned contexts)
{
    struct rpc_client_options o = {
        .url = url, .receive_bytes_max = RECEIVE_BYTES_MAX, .contexts = contexts};

    assert_int_equal(rpc_client_new(&o, &f->client), ERR_OK);
}

static void start(struct fixture *f, unsigned server_contexts, unsigned client_contexts)
{
    *f = (struct fixture){0};
    assert_int_equal(loop_new("replies", &f->loop), ERR_OK);
    start_server(f, "tcp://127.0.0.1:0", server_contexts);
    start_client(f, rpc_server_url(f->server), client_contexts);
}

static void stop(struct fixture *f)
{
    rpc_client_free(f->client);
    rpc_server_free(f->server);
    loop_free(f->loop);
    struct rpc_req *held = atomic_exchange(&f->held, NULL);
    if (held != NULL) /* a reply after the server's end is dropped */
        rpc_reply(held, ERR_OK, SLICE_NONE);
}

static struct rpc_req *wait_held(struct fixture *f)
{
    for (unsigned i = 0; i < 10000; i++) {
        struct rpc_req *held = atomic_exchange(&f->held, NULL);
        if (held != NULL)
            return held;
        (void)usleep(1000);
    }
    fail_msg("no request came");
    return NULL;
}

static enum err call_text(struct fixture *f, uint16_t method, const char *text, int64_t timeout_ns,
                          char ret[64])
{
    struct buf answer;

    buf_init(&answer, RECEIVE_BYTES_MAX);
    enum err e = rpc_call_wait(f->client, method, slice_str(text), timeout_ns, &answer);
    (void)snprintf(ret, 64, SLICE_FMT, SLICE_ARG(buf_slice(&answer)));
    buf_release(&answer);
    return e;
}

struct outcome {
    atomic_uint ended_count;
    _Atomic enum err err;
    uint8_t want[64];
    size_t want_len;
    atomic_bool is_equal;
};

static void on_outcome(void *arg, enum err err, struct slice payload)
{
    struct outcome *o = arg;

    atomic_store(&o->err, err);
    atomic_store(&o->is_equal, slice_eq(payload, (struct slice){o->want, o->want_len}));
    atomic_fetch_add(&o->ended_count, 1);
}

static void wait_outcome(struct outcome *o)
{
    for (unsigned i = 0; i < 20000 && atomic_load(&o->ended_count) == 0; i++)
        (void)usleep(500);
    assert_int_equal(atomic_load(&o->ended_count), 1);
}

static void test_frame_round_trip(void **state)
{
    (void)state;
    uint8_t message[RPC_HEADER_BYTES + 5];
    struct slice parts[2] = {SLICE_LIT("ab"), SLICE_LIT("cde")};
    uint16_t word;
    struct slice payload;

    rpc_frame_write(message, 0x1234, parts, 2);
    memcpy(message + RPC_HEADER_BYTES, "abcde", 5);
    struct slice whole = {message, sizeof message};
    assert_int_equal(rpc_frame_read(whole, &word, &payload), ERR_OK);
    assert_int_equal(word, 0x1234);
    assert_true(slice_eq(payload, SLICE_LIT("abcde")));
    for (size_t len = 0; len < sizeof message; len++)
        assert_int_equal(rpc_frame_read(slice_sub(whole, 0, len), &word, &payload), ERR_CORRUPT);
    for (size_t bit = 0; bit < sizeof message * 8; bit++) {
        message[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(rpc_frame_read(whole, &word, &payload), ERR_CORRUPT);
        message[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void test_echo_and_errors(void **state)
{
    (void)state;
    struct fixture f;
    char text[64];

    start(&f, 4, 4);
    assert_int_equal(call_text(&f, METHOD_ECHO, "hello", 10 * NS_PER_S, text), ERR_OK);
    assert_string_equal(text, "hello");
    assert_true(rpc_client_is_connected(f.client));
    assert_int_equal(call_text(&f, METHOD_ECHO, "", 10 * NS_PER_S, text), ERR_OK);
    assert_string_equal(text, "");
    assert_int_equal(call_text(&f, METHOD_FAIL, "x", 10 * NS_PER_S, text), ERR_LIMIT);
    assert_string_equal(text, "over the limit");
    stop(&f);
}

static void test_64_in_flight(void **state)
{
    (void)state;
    enum { IN_FLIGHT = 64, ROUNDS = 20 };
    struct fixture f;
    struct outcome *outcomes = calloc(IN_FLIGHT, sizeof *outcomes);

    assert_non_null(outcomes);
    start(&f, 16, IN_FLIGHT);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            struct outcome *o = &outcomes[i];
            atomic_store(&o->ended_count, 0);
            int n = snprintf((char *)o->want, sizeof o->want, "round %u call %u", round, i);
            o->want_len = (size_t)n;
            struct slice parts[3] = {{o->want, 3}, SLICE_NONE, {o->want + 3, o->want_len - 3}};
            assert_int_equal(
                rpc_call(f.client, METHOD_ECHO, parts, 3, 20 * NS_PER_S, on_outcome, o), ERR_OK);
        }
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            wait_outcome(&outcomes[i]);
            assert_int_equal(atomic_load(&outcomes[i].err), ERR_OK);
            assert_true(atomic_load(&outcomes[i].is_equal));
        }
    }
    assert_int_equal(atomic_load(&f.handled_count), IN_FLIGHT * ROUNDS);
    stop(&f);
    free(outcomes);
}

static void test_time_out_and_full(void **state)
{
    (void)state;
    struct fixture f;
    char text[64];
    struct outcome o = {0};

    start(&f, 2, 1);
    struct slice none = SLICE_NONE;
    assert_int_equal(rpc_call(f.client, METHOD_HOLD, &none, 1, NS_PER_S, on_outcome, &o), ERR_OK);
    assert_int_equal(call_text(&f, METHOD_ECHO, "x", NS_PER_S, text), ERR_FULL);
    wait_outcome(&o);
    assert_int_equal(atomic_load(&o.err), ERR_TIMEOUT);
    /* The late reply is nobody's, and the next call is not confused by it. */
    rpc_reply(wait_held(&f), ERR_OK, SLICE_LIT("late"));
    assert_int_equal(call_text(&f, METHOD_ECHO, "next", 10 * NS_PER_S, text), ERR_OK);
    assert_string_equal(text, "next");
    stop(&f);
}

static void test_server_gone_in_the_middle(void **state)
{
    (void)state;
    struct fixture f;
    char text[64];
    struct outcome o = {0};
    struct slice none = SLICE_NONE;

    start(&f, 2, 2);
    assert_int_equal(rpc_call(f.client, METHOD_HOLD, &none, 1, 60 * NS_PER_S, on_outcome, &o),
                     ERR_OK);
    struct rpc_req *held = wait_held(&f);
    int64_t before_ns = clock_mono_ns(&clock_system);
    char url[128];
    (void)snprintf(url, sizeof url, "%s", rpc_server_url(f.server));
    rpc_server_free(f.server);
    wait_outcome(&o);
    assert_int_equal(atomic_load(&o.err), ERR_UNAVAILABLE);
    assert_true(clock_mono_ns(&clock_system) - before_ns < 5 * NS_PER_S);
    assert_int_equal(rpc_req_method(held), METHOD_HOLD);
    rpc_reply(held, ERR_OK, SLICE_NONE);
    /* Nobody there: fails by its time-out.  Back again: the client finds it by itself. */
    assert_int_equal(call_text(&f, METHOD_ECHO, "x", NS_PER_S / 5, text), ERR_UNAVAILABLE);
    start_server(&f, url, 2);
    assert_int_equal(call_text(&f, METHOD_ECHO, "again", 20 * NS_PER_S, text), ERR_OK);
    assert_string_equal(text, "again");
    stop(&f);
}

static void test_last_answers_arrive(void **state)
{
    (void)state;
    enum { BYTES = RECEIVE_BYTES_MAX - 100 };
    static uint8_t bytes[BYTES];
    struct fixture f;
    struct slice payload = {bytes, BYTES}, none = SLICE_NONE;

    for (unsigned i = 0; i < 3; i++) {
        struct outcome o = {0};
        start(&f, 2, 2);
        assert_int_equal(rpc_call(f.client, METHOD_HOLD, &none, 1, 20 * NS_PER_S, on_outcome, &o),
                         ERR_OK);
        rpc_reply(wait_held(&f), ERR_OK, payload);
        rpc_server_free(f.server);
        f.server = NULL;
        wait_outcome(&o);
        assert_int_equal(atomic_load(&o.err), ERR_OK);
        stop(&f);
    }
}

static void test_client_freed_with_calls_under_way(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome held = {0}, unsent = {0};
    struct slice none = SLICE_NONE;
    struct rpc_client *to_nobody;
    struct rpc_client_options o = {
        .url = "tcp://127.0.0.1:1", .receive_bytes_max = 1000, .contexts = 2};

    start(&f, 2, 2);
    assert_int_equal(rpc_call(f.client, METHOD_HOLD, &none, 1, 60 * NS_PER_S, on_outcome, &held),
                     ERR_OK);
    struct rpc_req *req = wait_held(&f);
    rpc_client_free(f.client);
    f.client = NULL;
    assert_int_equal(atomic_load(&held.ended_count), 1);
    assert_int_equal(atomic_load(&held.err), ERR_CANCELED);
    rpc_reply(req, ERR_OK, SLICE_NONE);

    assert_int_equal(rpc_client_new(&o, &to_nobody), ERR_OK);
    assert_int_equal(rpc_call(to_nobody, METHOD_HOLD, &none, 1, 60 * NS_PER_S, on_outcome, &unsent),
                     ERR_OK);
    assert_false(rpc_client_is_connected(to_nobody));
    rpc_client_free(to_nobody);
    assert_int_equal(atomic_load(&unsent.err), ERR_CANCELED);
    stop(&f);
}

static void test_size_limits(void **state)
{
    (void)state;
    struct fixture f;
    struct rpc_client *small;
    uint8_t *bytes = calloc(1, 2 * RECEIVE_BYTES_MAX);
    struct buf answer;
    char text[64];

    assert_non_null(bytes);
    start(&f, 2, 2);
    buf_init(&answer, 4 * RECEIVE_BYTES_MAX);
    struct rpc_client_options o = {.url = rpc_server_url(f.server),
                                   .receive_bytes_max = RECEIVE_BYTES_MAX,
                                   .contexts = 1,
                                   .send_bytes_max = 1000};
    assert_int_equal(rpc_client_new(&o, &small), ERR_OK);
    assert_int_equal(
        rpc_call_wait(small, METHOD_ECHO, (struct slice){bytes, 1001}, NS_PER_S, &answer),
        ERR_TOO_LARGE);
    assert_int_equal(
        rpc_call_wait(small, METHOD_ECHO, (struct slice){bytes, 1000 - 8}, 10 * NS_PER_S, &answer),
        ERR_OK);
    assert_int_equal(answer.len, 1000 - 8);
    rpc_client_free(small);
    /* Over the peer's limit: it drops the connection, the call learns it, the next one works. */
    assert_int_equal(rpc_call_wait(f.client, METHOD_ECHO,
                                   (struct slice){bytes, 2 * RECEIVE_BYTES_MAX}, 20 * NS_PER_S,
                                   &answer),
                     ERR_UNAVAILABLE);
    assert_int_equal(call_text(&f, METHOD_ECHO, "ok", 20 * NS_PER_S, text), ERR_OK);
    assert_int_equal(call_text(&f, METHOD_BIG, "", 20 * NS_PER_S, text), ERR_UNAVAILABLE);
    assert_int_equal(call_text(&f, METHOD_ECHO, "ok", 20 * NS_PER_S, text), ERR_OK);
    buf_reset(&answer);
    struct slice large = {bytes, RECEIVE_BYTES_MAX - 100};
    assert_int_equal(rpc_call_wait(f.client, METHOD_ECHO, large, 20 * NS_PER_S, &answer), ERR_OK);
    assert_true(slice_eq(buf_slice(&answer), large));
    buf_release(&answer);
    free(bytes);
    stop(&f);
}

static int connect_to(const char *url)
{
    uint64_t port;
    struct timeval patience = {.tv_sec = 10};

    assert_int_equal(num_parse_u64(slice_str(strrchr(url, ':') + 1), &port), ERR_OK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static void read_exactly(int fd, uint8_t *to, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = read(fd, to + at, len - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

static void test_garbage_on_the_port(void **state)
{
    (void)state;
    struct fixture f;
    char text[64];
    uint8_t in[64];
    static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0}; /* an SP REQ peer */

    start(&f, 2, 2);
    int fd = connect_to(rpc_server_url(f.server));
    assert_true(write(fd, "GET / HTTP/1.1\r\n\r\n", 18) == 18);
    while (read(fd, in, sizeof in) > 0) {
    }
    (void)close(fd);

    /* A true SP peer with a message that is not ours: an answer that says so. */
    fd = connect_to(rpc_server_url(f.server));
    uint8_t out[8 + 4 + 10] = {0};
    be64_write(out, sizeof out - 8);
    be32_write(out + 8, 0x80000001u);
    memcpy(out + 12, "V\1dddddddd", 10);
    assert_true(write(fd, hello, sizeof hello) == (ssize_t)sizeof hello);
    assert_true(write(fd, out, sizeof out) == (ssize_t)sizeof out);
    read_exactly(fd, in, 8 + 8 + 4 + RPC_HEADER_BYTES);
    assert_int_equal(be32_read(in + 16), 0x80000001u);
    assert_int_equal(le16_read(in + 22), ERR_CORRUPT);
    (void)close(fd);

    /* A length over the limit closes the connection. */
    fd = connect_to(rpc_server_url(f.server));
    memset(out, 0x7f, sizeof out);
    assert_true(write(fd, hello, sizeof hello) == (ssize_t)sizeof hello);
    assert_true(write(fd, out, sizeof out) == (ssize_t)sizeof out);
    while (read(fd, in, sizeof in) > 0) {
    }
    (void)close(fd);
    assert_int_equal(atomic_load(&f.handled_count), 0);
    assert_int_equal(call_text(&f, METHOD_ECHO, "alive", 10 * NS_PER_S, text), ERR_OK);
    assert_string_equal(text, "alive");
    stop(&f);
}

static void test_port_taken_and_bad_urls(void **state)
{
    (void)state;
    struct fixture f;
    struct rpc_server *second;
    struct err_detail detail = {0};

    start(&f, 1, 1);
    struct rpc_server_options o = {.url = rpc_server_url(f.server),
                                   .receive_bytes_max = 1000,
                                   .contexts = 1,
                                   .handler = on_request,
                                   .arg = &f};
    assert_int_equal(rpc_server_new(&o, &second, &detail), ERR_CONFLICT);
    assert_non_null(strstr(detail.text, rpc_server_url(f.server)));
    o.url = "127.0.0.1:77";
    assert_int_equal(rpc_server_new(&o, &second, &detail), ERR_INVALID);
    o.url = "tcp://no.such.host.invalid:0";
    assert_int_not_equal(rpc_server_new(&o, &second, &detail), ERR_OK);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_round_trip),
        cmocka_unit_test(test_echo_and_errors),
        cmocka_unit_test(test_64_in_flight),
        cmocka_unit_test(test_time_out_and_full),
        cmocka_unit_test(test_server_gone_in_the_middle),
        cmocka_unit_test(test_last_answers_arrive),
        cmocka_unit_test(test_client_freed_with_calls_under_way),
        cmocka_unit_test(test_size_limits),
        cmocka_unit_test(test_garbage_on_the_port),
        cmocka_unit_test(test_port_taken_and_bad_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
