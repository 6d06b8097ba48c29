/* Peers that are not our rpc: raw sockets that misbehave, and nng's own REQ and REP sockets. */
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/net/rpc.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { METHOD_ECHO = 100, METHOD_HOLD, HELD_MAX = 16, LARGE = 16 << 20 };

static const uint8_t hello_req[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
static const uint8_t hello_rep[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};

/* --- sockets --- */

static int listen_on(char url[64])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)snprintf(url, 64, "tcp://127.0.0.1:%u", (unsigned)ntohs(at.sin_port));
    return fd;
}

static int connect_to(const char *url)
{
    uint64_t port;
    struct timeval patience = {.tv_sec = 60};

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

static void write_all(int fd, const uint8_t *from, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, from + at, len - at, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

static void read_all(int fd, uint8_t *to, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = read(fd, to + at, len - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

/* A message as SP has it over TCP; returns its length. */
static size_t message(uint8_t *to, uint32_t id, uint16_t method, struct slice payload)
{
    be64_write(to, 4 + RPC_HEADER_BYTES + payload.len);
    be32_write(to + 8, 0x80000000u | id);
    rpc_frame_write(to + 12, method, &payload, 1);
    if (payload.len > 0)
        memmove(to + 12 + RPC_HEADER_BYTES, payload.ptr, payload.len);
    return 12 + RPC_HEADER_BYTES + payload.len;
}

/* --- our two sides --- */

struct server {
    struct rpc_server *rpc;
    pthread_mutex_t lock; /* held */
    struct rpc_req *held[HELD_MAX];
    atomic_uint handled_count, marked_at; /* when a payload "mark" came */
};

static void on_request(void *arg, struct rpc_req *req)
{
    struct server *s = arg;
    unsigned count = atomic_fetch_add(&s->handled_count, 1) + 1;

    if (slice_eq_str(rpc_req_payload(req), "mark"))
        atomic_store(&s->marked_at, count);
    if (rpc_req_method(req) != METHOD_HOLD) {
        rpc_reply(req, ERR_OK, rpc_req_payload(req));
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < HELD_MAX && req != NULL; i++) {
        if (s->held[i] == NULL) {
            s->held[i] = req;
            req = NULL;
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    assert_null(req);
}

static unsigned answer_held(struct server *s)
{
    struct rpc_req *held[HELD_MAX];
    unsigned count = 0;

    (void)pthread_mutex_lock(&s->lock);
    memcpy(held, s->held, sizeof held);
    memset(s->held, 0, sizeof s->held);
    (void)pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < HELD_MAX; i++) {
        if (held[i] != NULL) {
            rpc_reply(held[i], ERR_OK, SLICE_LIT("held"));
            count++;
        }
    }
    return count;
}

static void serve(struct server *s, unsigned contexts)
{
    struct err_detail detail = {0};
    struct rpc_server_options o = {.url = "tcp://127.0.0.1:0",
                                   .receive_bytes_max = LARGE,
                                   .contexts = contexts,
                                   .handler = on_request,
                                   .arg = s};

    *s = (struct server){.lock = PTHREAD_MUTEX_INITIALIZER};
    if (rpc_server_new(&o, &s->rpc, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
}

static void wait_handled(struct server *s, unsigned count)
{
    for (unsigned i = 0; i < 60000 && atomic_load(&s->handled_count) < count; i++)
        (void)usleep(1000);
    assert_true(atomic_load(&s->handled_count) >= count);
}

static struct rpc_client *client_of(const char *url)
{
    struct rpc_client_options o = {.url = url, .receive_bytes_max = LARGE, .contexts = 4};
    struct rpc_client *c;

    assert_int_equal(rpc_client_new(&o, &c), ERR_OK);
    return c;
}

static void check_echo(struct rpc_client *c, const char *text)
{
    struct buf answer;

    buf_init(&answer, LARGE);
    assert_int_equal(rpc_call_wait(c, METHOD_ECHO, slice_str(text), 60 * NS_PER_S, &answer),
                     ERR_OK);
    assert_true(slice_eq_str(buf_slice(&answer), text));
    buf_release(&answer);
}

/* --- connections that break in mid-message --- */

struct leaver {
    pthread_t thread;
    int listener;
    struct rpc_client *client;
    uint8_t *bytes;
    atomic_uint unavailable_count, other_count;
};

enum { LEAVERS = 6, ROUNDS = 40 };

static void on_left(void *arg, enum err err, struct slice payload)
{
    struct leaver *l = arg;

    (void)payload;
    atomic_fetch_add(err == ERR_UNAVAILABLE ? &l->unavailable_count : &l->other_count, 1);
}

/* Says hello, says goodbye in the middle of the message that comes, and still reads: the other side learns of the end between two pieces. */
static void leave_in_mid_message(int listener)
{
    size_t got = 0, room = 256 << 10;
    uint8_t *in = malloc(room);
    int fd = accept(listener, NULL, NULL);

    assert_non_null(in);
    assert_true(fd >= 0);
    write_all(fd, hello_rep, sizeof hello_rep);
    for (ssize_t n = 1; n > 0; got += (size_t)n) {
        if (got >= room && got < 2 * room)
            (void)shutdown(fd, SHUT_WR);
        n = read(fd, in, room);
        if (n < 0)
            break;
    }
    (void)close(fd);
    free(in);
}

static void *leave_again_and_again(void *arg)
{
    struct leaver *l = arg;
    struct slice payload = {l->bytes, LARGE};

    for (unsigned round = 0; round < ROUNDS; round++) {
        if (rpc_call(l->client, METHOD_ECHO, &payload, 1, 100 * NS_PER_S, on_left, l) != ERR_OK)
            abort();
        leave_in_mid_message(l->listener);
        while (atomic_load(&l->unavailable_count) + atomic_load(&l->other_count) <= round)
            (void)usleep(200);
    }
    return NULL;
}

static void test_peers_that_leave_in_mid_message(void **state)
{
    (void)state;
    struct leaver leavers[LEAVERS];
    uint8_t *bytes = calloc(1, LARGE);

    assert_non_null(bytes);
    for (unsigned i = 0; i < LEAVERS; i++) {
        struct leaver *l = &leavers[i];
        char url[64];
        *l = (struct leaver){.bytes = bytes, .listener = listen_on(url)};
        l->client = client_of(url);
        assert_int_equal(pthread_create(&l->thread, NULL, leave_again_and_again, l), 0);
    }
    for (unsigned i = 0; i < LEAVERS; i++) {
        (void)pthread_join(leavers[i].thread, NULL);
        assert_int_equal(atomic_load(&leavers[i].unavailable_count), ROUNDS);
        assert_int_equal(atomic_load(&leavers[i].other_count), 0);
        rpc_client_free(leavers[i].client);
        (void)close(leavers[i].listener);
    }
    free(bytes);
}

static void test_server_freed_in_mid_message(void **state)
{
    (void)state;
    enum { PEERS = 6, PIECE = 1 << 20 };
    uint8_t head[12], *piece = calloc(1, PIECE);

    assert_non_null(piece);
    be64_write(head, LARGE);
    be32_write(head + 8, 0x80000001u);
    for (unsigned round = 0; round < 60; round++) {
        struct server s;
        int fds[PEERS];
        serve(&s, 2);
        for (unsigned i = 0; i < PEERS; i++) {
            fds[i] = connect_to(rpc_server_url(s.rpc));
            write_all(fds[i], hello_req, sizeof hello_req);
            write_all(fds[i], head, i == 0 ? 5 : sizeof head);
            if (i > 1)
                write_all(fds[i], piece, PIECE);
        }
        for (unsigned i = 0; i < PEERS; i += 2)
            (void)close(fds[i]);
        rpc_server_free(s.rpc);
        for (unsigned i = 1; i < PEERS; i += 2)
            (void)close(fds[i]);
        assert_int_equal(atomic_load(&s.handled_count), 0);
    }
    free(piece);
}

/* --- many requests, few contexts --- */

static void test_requests_in_one_write(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    struct server s;
    static uint8_t out[8 + COUNT * 40], in[8 + COUNT * 40];
    bool is_answered[COUNT] = {false};
    size_t len = sizeof hello_req, at = sizeof hello_rep;

    serve(&s, 2);
    memcpy(out, hello_req, sizeof hello_req);
    for (uint32_t i = 0; i < COUNT; i++)
        len += message(out + len, i, METHOD_ECHO, SLICE_LIT("payload"));
    int fd = connect_to(rpc_server_url(s.rpc));
    write_all(fd, out, len);
    read_all(fd, in, len);
    assert_memory_equal(in, hello_rep, sizeof hello_rep);
    for (unsigned i = 0; i < COUNT; i++) {
        struct slice frame = {in + at + 12, RPC_HEADER_BYTES + 7}, payload;
        uint16_t word;
        uint32_t id = be32_read(in + at + 8) & 0x7fffffffu;
        assert_int_equal(be64_read(in + at), 4 + frame.len);
        assert_true(id < COUNT);
        assert_false(is_answered[id]);
        is_answered[id] = true;
        assert_int_equal(rpc_frame_read(frame, &word, &payload), ERR_OK);
        assert_int_equal(word, ERR_OK);
        assert_true(slice_eq_str(payload, "payload"));
        at += 12 + frame.len;
    }
    (void)close(fd);
    rpc_server_free(s.rpc);
}

/* A peer that has a thousand requests under way, and one that comes with a single one: it is not the last. */
static void test_connections_take_turns(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct server s;
    static uint8_t greedy[8 + COUNT * 20];
    uint8_t modest[8 + 24], in[8];
    size_t len = sizeof hello_req;

    serve(&s, 1);
    memcpy(greedy, hello_req, sizeof hello_req);
    for (uint32_t i = 0; i < COUNT; i++)
        len += message(greedy + len, i, METHOD_HOLD, SLICE_NONE);
    memcpy(modest, hello_req, sizeof hello_req);
    size_t modest_len =
        sizeof hello_req + message(modest + sizeof hello_req, 1, METHOD_HOLD, SLICE_LIT("mark"));
    int fd = connect_to(rpc_server_url(s.rpc));
    write_all(fd, greedy, len);
    wait_handled(&s, 1);
    int other = connect_to(rpc_server_url(s.rpc));
    write_all(other, modest, modest_len);
    read_all(other, in, sizeof in);
    for (unsigned answered = 0; answered < COUNT + 1;) {
        answered += answer_held(&s);
        (void)usleep(100);
    }
    assert_true(atomic_load(&s.marked_at) > 1);
    assert_true(atomic_load(&s.marked_at) < COUNT);
    (void)close(fd);
    (void)close(other);
    rpc_server_free(s.rpc);
}

/* Answers that are not read hold the contexts, and no more than these; the connection's end gives them back. */
static void test_peer_that_does_not_read(void **state)
{
    (void)state;
    enum { PAYLOAD = 12 << 20 };
    struct server s;
    uint8_t *out = calloc(1, PAYLOAD + 64);

    assert_non_null(out);
    serve(&s, 2);
    int fd = connect_to(rpc_server_url(s.rpc)), small = 64 << 10;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    write_all(fd, hello_req, sizeof hello_req);
    size_t len = message(out, 1, METHOD_ECHO, (struct slice){out + 32, PAYLOAD});
    for (unsigned i = 0; i < 2; i++)
        write_all(fd, out, len);
    wait_handled(&s, 2);
    len = message(out, 2, METHOD_ECHO, SLICE_NONE);
    for (unsigned i = 0; i < 5; i++)
        write_all(fd, out, len);
    (void)usleep(20000);
    assert_int_equal(atomic_load(&s.handled_count), 2);
    struct rpc_client *c = client_of(rpc_server_url(s.rpc));
    (void)close(fd);
    check_echo(c, "mine");
    rpc_client_free(c);
    rpc_server_free(s.rpc);
    free(out);
}

static void test_requests_outlive_their_connection(void **state)
{
    (void)state;
    struct server s;
    uint8_t out[64];

    serve(&s, 2);
    for (unsigned round = 0; round < 20; round++) {
        int fd = connect_to(rpc_server_url(s.rpc));
        write_all(fd, hello_req, sizeof hello_req);
        for (uint32_t i = 0; i < 3; i++)
            write_all(fd, out, message(out, i, METHOD_HOLD, SLICE_NONE));
        wait_handled(&s, atomic_load(&s.handled_count) + (round == 0 ? 2 : 0));
        (void)close(fd);
        (void)usleep(1000);
        (void)answer_held(&s);
    }
    struct rpc_client *c = client_of(rpc_server_url(s.rpc));
    for (unsigned i = 0; i < 100; i++) {
        (void)answer_held(&s);
        (void)usleep(1000);
    }
    check_echo(c, "still here");
    rpc_client_free(c);
    rpc_server_free(s.rpc);
    (void)answer_held(&s);
}

/* --- nng's own sockets --- */

static void test_nng_asks_us(void **state)
{
    (void)state;
    struct server s;
    nng_socket req;
    size_t sizes[] = {0, 1, 1000, 16 << 10, 1 << 20, 15 << 20};
    uint8_t *bytes = calloc(1, LARGE);

    assert_non_null(bytes);
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    serve(&s, 2);
    assert_int_equal(nng_req0_open(&req), 0);
    assert_int_equal(nng_socket_set_size(req, NNG_OPT_RECVMAXSZ, 0), 0);
    assert_int_equal(nng_dial(req, rpc_server_url(s.rpc), NULL, 0), 0);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct slice payload = {bytes, sizes[i]}, got;
        uint8_t header[RPC_HEADER_BYTES];
        uint16_t word;
        nng_msg *m;
        rpc_frame_write(header, METHOD_ECHO, &payload, 1);
        assert_int_equal(nng_msg_alloc(&m, 0), 0);
        assert_int_equal(nng_msg_append(m, header, sizeof header), 0);
        assert_int_equal(nng_msg_append(m, bytes, sizes[i]), 0);
        assert_int_equal(nng_sendmsg(req, m, 0), 0);
        assert_int_equal(nng_recvmsg(req, &m, 0), 0);
        struct slice frame = {nng_msg_body(m), nng_msg_len(m)};
        assert_int_equal(rpc_frame_read(frame, &word, &got), ERR_OK);
        assert_int_equal(word, ERR_OK);
        assert_true(slice_eq(got, payload));
        nng_msg_free(m);
    }
    (void)nng_close(req);
    rpc_server_free(s.rpc);
    free(bytes);
}

static void *answer_as_nng(void *arg)
{
    nng_socket *rep = arg;
    nng_msg *m;

    while (nng_recvmsg(*rep, &m, 0) == 0) {
        struct slice frame = {nng_msg_body(m), nng_msg_len(m)}, payload;
        uint16_t word;
        if (rpc_frame_read(frame, &word, &payload) != ERR_OK || word != METHOD_ECHO)
            abort();
        rpc_frame_write(nng_msg_body(m), ERR_OK, &payload, 1);
        if (nng_sendmsg(*rep, m, 0) != 0)
            nng_msg_free(m);
    }
    return NULL;
}

static void test_we_ask_nng(void **state)
{
    (void)state;
    nng_socket rep;
    char url[64];
    pthread_t thread;
    struct buf answer;
    size_t sizes[] = {0, 1, 1000, 16 << 10, 1 << 20, 15 << 20};
    uint8_t *bytes = calloc(1, LARGE);

    assert_non_null(bytes);
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (uint8_t)(i * 11 + i / 253);
    (void)close(listen_on(url)); /* a port that is free */
    assert_int_equal(nng_rep0_open(&rep), 0);
    assert_int_equal(nng_socket_set_size(rep, NNG_OPT_RECVMAXSZ, 0), 0);
    assert_int_equal(nng_listen(rep, url, NULL, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, answer_as_nng, &rep), 0);
    struct rpc_client *c = client_of(url);
    buf_init(&answer, LARGE);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct slice payload = {bytes, sizes[i]};
        buf_reset(&answer);
        assert_int_equal(rpc_call_wait(c, METHOD_ECHO, payload, 60 * NS_PER_S, &answer), ERR_OK);
        assert_true(slice_eq(buf_slice(&answer), payload));
    }
    rpc_client_free(c);
    (void)nng_close(rep);
    (void)pthread_join(thread, NULL);
    buf_release(&answer);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers_that_leave_in_mid_message),
        cmocka_unit_test(test_server_freed_in_mid_message),
        cmocka_unit_test(test_requests_in_one_write),
        cmocka_unit_test(test_connections_take_turns),
        cmocka_unit_test(test_peer_that_does_not_read),
        cmocka_unit_test(test_requests_outlive_their_connection),
        cmocka_unit_test(test_nng_asks_us),
        cmocka_unit_test(test_we_ask_nng),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
