/* What stands still is given up: hellos, messages, answers, dials.  The time is moved by the test. */
#include "common/base/bytes.h"
#include "common/base/num.h"
#include "common/net/rpc_internal.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    METHOD_ECHO = 100,
    LARGE = 16 << 20,
    PATIENCE_MS = 60000,
    CONNECTIONS_MAX = 1024,
    FILES = 2 * CONNECTIONS_MAX + 200 /* both ends are here */
};

static const uint8_t hello_req[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
static const uint8_t hello_rep[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};

/* --- time: as it passes, and what the test adds --- */

static atomic_llong added_ns;

static int64_t moved_wall_ns(const struct clock *c)
{
    (void)c;
    return clock_wall_ns(&clock_system) + atomic_load(&added_ns);
}

static int64_t moved_mono_ns(const struct clock *c)
{
    (void)c;
    return clock_mono_ns(&clock_system) + atomic_load(&added_ns);
}

static const struct clock moved_clock = {moved_wall_ns, moved_mono_ns};

static void pass(int64_t seconds)
{
    atomic_fetch_add(&added_ns, seconds * NS_PER_S);
}

static int set_up(void **state)
{
    (void)state;
    rpc_times = (struct rpc_times){.clock = &moved_clock, .tick_ms = 5, .dial_ms = 5000};
    return 0;
}

/* --- sockets --- */

static int listen_on(char url[64], int backlog)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)snprintf(url, 64, "tcp://127.0.0.1:%u", (unsigned)ntohs(at.sin_port));
    return fd;
}

static uint16_t port_of(const char *url)
{
    uint64_t port;

    assert_int_equal(num_parse_u64(slice_str(strrchr(url, ':') + 1), &port), ERR_OK);
    return (uint16_t)port;
}

static int connect_to(const char *url)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(port_of(url)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static int accept_one(int listener)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};

    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

/* How many bytes came: fewer than len when the peer closed. */
static size_t read_some(int fd, void *to, size_t len)
{
    size_t at = 0;

    while (at < len) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        ssize_t n = read(fd, (uint8_t *)to + at, len - at);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            break;
        assert_true(n > 0);
        at += (size_t)n;
    }
    return at;
}

static void read_all(int fd, void *to, size_t len)
{
    assert_int_equal(read_some(fd, to, len), len);
}

static void check_closed(int fd)
{
    uint8_t byte;

    assert_int_equal(read_some(fd, &byte, 1), 0);
    (void)close(fd);
}

/* Over some ticks. */
static void check_open(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, 50), 0);
}

static void write_all(int fd, const uint8_t *from, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, from + at, len - at, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

static size_t message(uint8_t *to, uint32_t id, uint16_t method, struct slice payload)
{
    be64_write(to, 4 + RPC_HEADER_BYTES + payload.len);
    be32_write(to + 8, RPC_ID_BIT | id);
    rpc_frame_write(to + 12, method, &payload, 1);
    if (payload.len > 0)
        memmove(to + 12 + RPC_HEADER_BYTES, payload.ptr, payload.len);
    return 12 + RPC_HEADER_BYTES + payload.len;
}

/* --- our two sides --- */

static void echo(void *arg, struct rpc_req *req)
{
    (void)arg;
    rpc_reply(req, ERR_OK, rpc_req_payload(req));
}

static struct rpc_server *serve(unsigned contexts)
{
    struct err_detail detail = {0};
    struct rpc_server *s;
    struct rpc_server_options o = {.url = "tcp://127.0.0.1:0",
                                   .receive_bytes_max = LARGE,
                                   .contexts = contexts,
                                   .handler = echo};

    if (rpc_server_new(&o, &s, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
    return s;
}

static struct rpc_client *client_of(const char *url)
{
    struct rpc_client_options o = {.url = url, .receive_bytes_max = LARGE, .contexts = 4};
    struct rpc_client *c;

    assert_int_equal(rpc_client_new(&o, &c), ERR_OK);
    return c;
}

static enum err ask(struct rpc_client *c, int64_t timeout_ns)
{
    struct buf answer;

    buf_init(&answer, LARGE);
    enum err e = rpc_call_wait(c, METHOD_ECHO, SLICE_LIT("echo"), timeout_ns, &answer);
    if (e == ERR_OK)
        assert_true(slice_eq_str(buf_slice(&answer), "echo"));
    buf_release(&answer);
    return e;
}

/* A raw peer that has said hello. */
static int greeted(const char *url)
{
    uint8_t hello[8];
    int fd = connect_to(url);

    write_all(fd, hello_req, sizeof hello_req);
    read_all(fd, hello, sizeof hello);
    assert_memory_equal(hello, hello_rep, sizeof hello);
    return fd;
}

static void check_echo(int fd)
{
    uint8_t out[64], in[64];
    size_t len = message(out, 7, METHOD_ECHO, SLICE_LIT("echo"));

    write_all(fd, out, len);
    read_all(fd, in, len);
    assert_memory_equal(in + len - 4, "echo", 4);
}

/* --- a server's connections --- */

static void test_no_hello(void **state)
{
    (void)state;
    struct rpc_server *s = serve(2);
    uint8_t hello[8];
    int silent = connect_to(rpc_server_url(s)), half = connect_to(rpc_server_url(s));

    write_all(half, hello_req, 5);
    read_all(silent, hello, sizeof hello);
    read_all(half, hello, sizeof hello);
    pass(5);
    check_open(silent);
    check_open(half);
    pass(6);
    check_closed(silent);
    check_closed(half);
    rpc_server_free(s);
}

static void test_half_a_message(void **state)
{
    (void)state;
    struct rpc_server *s = serve(2);
    uint8_t out[64], in[64];
    int fd = greeted(rpc_server_url(s)), idle = greeted(rpc_server_url(s)),
        head = greeted(rpc_server_url(s));
    size_t len = message(out, 1, METHOD_ECHO, SLICE_LIT("echo"));

    check_echo(idle);
    write_all(fd, out, len - 4);
    write_all(head, out, 3);
    check_open(fd);
    /* Slow is not still: each piece has its own time. */
    for (size_t i = len - 4; i < len; i++) {
        pass(20);
        check_open(fd);
        write_all(fd, out + i, 1);
        write_all(head, out + 3 + i - (len - 4), 1);
        (void)usleep(20000);
    }
    read_all(fd, in, len);
    assert_memory_equal(in + len - 4, "echo", 4);
    write_all(fd, out, len - 4);
    check_open(fd);
    pass(31);
    check_closed(fd);
    check_closed(head);
    check_echo(idle); /* between messages there is no hurry */
    (void)close(idle);
    rpc_server_free(s);
}

/* The peer takes no answers, and holds the only context. */
static void test_answer_that_is_not_read(void **state)
{
    (void)state;
    enum { PAYLOAD = 12 << 20 };
    struct rpc_server *s = serve(1);
    uint8_t *out = calloc(1, PAYLOAD + 64);
    int small = 64 << 10, fd = greeted(rpc_server_url(s));

    assert_non_null(out);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    write_all(fd, out, message(out, 1, METHOD_ECHO, (struct slice){out + 32, PAYLOAD}));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1); /* it is being written */
    struct rpc_client *c = client_of(rpc_server_url(s));
    assert_int_equal(ask(c, 100 * NS_PER_MS), ERR_TIMEOUT);
    pass(31);
    assert_int_equal(ask(c, PATIENCE_MS * NS_PER_MS), ERR_OK);
    assert_true(read_some(fd, out, PAYLOAD + 64) < PAYLOAD);
    (void)close(fd);
    rpc_client_free(c);
    rpc_server_free(s);
    free(out);
}

/* A peer that came with its hello and a request in one piece, and waits for a context, has said its hello. */
static void test_waiting_for_a_context_is_no_stall(void **state)
{
    (void)state;
    enum { PAYLOAD = 12 << 20, TRIES = 2 /* the holder of the context has 30 s */ };
    struct rpc_server *s = serve(1);
    uint8_t *out = calloc(1, PAYLOAD + 64), in[64];
    int small = 64 << 10, fd = greeted(rpc_server_url(s));

    assert_non_null(out);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    write_all(fd, out, message(out, 1, METHOD_ECHO, (struct slice){out + 32, PAYLOAD}));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1); /* the only context is taken */
    memcpy(out, hello_req, sizeof hello_req);
    size_t len =
        sizeof hello_req + message(out + sizeof hello_req, 2, METHOD_ECHO, SLICE_LIT("echo"));
    int waiting = -1;
    /* Who is not read before the clock moves is late in earnest: such a try says nothing. */
    for (unsigned i = 0; i < TRIES; i++) {
        waiting = connect_to(rpc_server_url(s));
        write_all(waiting, out, len);
        read_all(waiting, in, sizeof hello_rep);
        (void)usleep(i == 0 ? 50000 : 900000);
        pass(11);
        p = (struct pollfd){.fd = waiting, .events = POLLIN};
        if (poll(&p, 1, 50) == 0)
            break;
        check_closed(waiting);
        waiting = -1;
    }
    assert_true(waiting >= 0);
    (void)close(fd);
    read_all(waiting, in, len - sizeof hello_req);
    assert_memory_equal(in + len - sizeof hello_req - 4, "echo", 4);
    (void)close(waiting);
    rpc_server_free(s);
    free(out);
}

struct slow_reader {
    int fd;
    size_t got;
    atomic_bool is_over;
};

/* A little at a time, so that something always moves; a second passes with each. */
static void *read_slowly(void *arg)
{
    struct slow_reader *r = arg;
    static uint8_t in[64 << 10];

    for (ssize_t n; !atomic_load(&r->is_over) && (n = read(r->fd, in, sizeof in)) > 0;
         r->got += (size_t)n) {
        pass(1);
        (void)usleep(20000);
    }
    return NULL;
}

/* At the end answers are waited for, but not for ever, even if they move. */
static void test_end_does_not_wait_for_ever(void **state)
{
    (void)state;
    enum { PAYLOAD = 12 << 20 };
    struct rpc_server *s = serve(1);
    uint8_t *out = calloc(1, PAYLOAD + 64);
    int small = 16 << 10, fd = greeted(rpc_server_url(s));
    struct slow_reader reader = {.fd = fd};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    pthread_t thread;

    assert_non_null(out);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    write_all(fd, out, message(out, 1, METHOD_ECHO, (struct slice){out + 32, PAYLOAD}));
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    assert_int_equal(pthread_create(&thread, NULL, read_slowly, &reader), 0);
    rpc_server_free(s);
    atomic_store(&reader.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(reader.got < PAYLOAD);
    (void)close(fd);
    free(out);
}

static void test_too_many_connections(void **state)
{
    (void)state;
    static int fds[CONNECTIONS_MAX];
    struct rlimit files;
    struct rpc_server *s;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    if (files.rlim_max < FILES) {
        print_message("only %llu files may be open here\n", (unsigned long long)files.rlim_max);
        skip();
    }
    files.rlim_cur = files.rlim_cur < FILES ? FILES : files.rlim_cur;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    s = serve(2);
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        fds[i] = greeted(rpc_server_url(s));
    for (unsigned i = 0; i < 3; i++)
        check_closed(connect_to(rpc_server_url(s))); /* not a byte */
    check_echo(fds[0]);
    check_echo(fds[CONNECTIONS_MAX - 1]);
    /* One goes: there is room for one. */
    (void)close(fds[0]);
    for (unsigned i = 0;; i++) {
        uint8_t hello[8];
        assert_true(i < PATIENCE_MS);
        fds[0] = connect_to(rpc_server_url(s));
        if (read_some(fds[0], hello, sizeof hello) == sizeof hello)
            break;
        (void)close(fds[0]);
        (void)usleep(1000);
    }
    write_all(fds[0], hello_req, sizeof hello_req);
    check_echo(fds[0]);
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        (void)close(fds[i]);
    rpc_server_free(s);
}

/* --- a client's connection --- */

static void greet(int fd)
{
    uint8_t hello[8];

    read_all(fd, hello, sizeof hello);
    write_all(fd, hello_rep, sizeof hello_rep);
}

static void answer_one(int fd, size_t part_bytes)
{
    uint8_t in[64];
    size_t len = message(in, 1, METHOD_ECHO, SLICE_LIT("echo"));

    read_all(fd, in, len);
    uint32_t id = be32_read(in + 8) & ~RPC_ID_BIT;
    (void)message(in, id, ERR_OK, SLICE_LIT("echo"));
    write_all(fd, in, part_bytes == 0 ? len : part_bytes);
}

static void *answer_all(void *arg)
{
    answer_one(*(int *)arg, 0);
    return NULL;
}

static void check_recovered(struct rpc_client *c, int listener)
{
    pthread_t thread;
    int fd = accept_one(listener);

    greet(fd);
    assert_int_equal(pthread_create(&thread, NULL, answer_all, &fd), 0);
    assert_int_equal(ask(c, PATIENCE_MS * NS_PER_MS), ERR_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(fd);
}

/* The peer freezes in the middle of an answer: calls end in their time, and the connection is made anew. */
static void test_half_an_answer(void **state)
{
    (void)state;
    char url[64];
    int listener = listen_on(url, 8), fd;
    struct rpc_client *c = client_of(url);

    fd = accept_one(listener);
    greet(fd);
    pthread_t thread;
    int answering = fd;
    assert_int_equal(pthread_create(&thread, NULL, answer_all, &answering), 0);
    assert_int_equal(ask(c, PATIENCE_MS * NS_PER_MS), ERR_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    /* And now half of one, to the connection alone: no call waits for it, and one that comes later notices. */
    uint8_t part[10] = {0, 0, 0, 0, 0, 0, 0, 16, 0x80};
    write_all(fd, part, sizeof part);
    (void)usleep(50000);
    assert_int_equal(ask(c, 100 * NS_PER_MS), ERR_TIMEOUT);
    assert_true(rpc_client_is_connected(c));
    pass(31);
    (void)ask(c, 100 * NS_PER_MS);
    uint8_t in[128];
    (void)read_some(fd, in, sizeof in); /* what was asked, and the end */
    (void)close(fd);
    check_recovered(c, listener);
    (void)close(listener);
    rpc_client_free(c);
}

static void test_peer_says_no_hello(void **state)
{
    (void)state;
    char url[64];
    int listener = listen_on(url, 8);
    struct rpc_client *c = client_of(url);
    int fd = accept_one(listener);

    assert_int_equal(ask(c, 100 * NS_PER_MS), ERR_UNAVAILABLE);
    pass(11);
    assert_int_equal(ask(c, 100 * NS_PER_MS), ERR_UNAVAILABLE);
    uint8_t hello[8];
    read_all(fd, hello, sizeof hello);
    check_closed(fd);
    check_recovered(c, listener);
    (void)close(listener);
    rpc_client_free(c);
}

/* Ports from which a connection to `port` is being asked for and not answered: one an attempt. */
static unsigned note_attempts(uint16_t port, bool *seen)
{
    char line[512];
    unsigned count = 0, local, remote, status;
    FILE *f = fopen("/proc/net/tcp", "r");

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, " %*u: %*x:%x %*x:%x %x", &local, &remote, &status) == 3 &&
            remote == port && status == 2 && local < 65536) /* SYN_SENT */
            seen[local] = true;
    }
    (void)fclose(f);
    for (unsigned i = 0; i < 65536; i++)
        count += seen[i];
    return count;
}

/* A listener whose queue is full answers nothing, as an address where nobody is. */
static void test_dial_that_is_not_answered(void **state)
{
    (void)state;
    static bool seen[65536];
    enum { FILLERS = 4 };
    char url[64];
    int listener = listen_on(url, 0), fillers[FILLERS];
    unsigned attempts = 0;

    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < FILLERS; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons(port_of(url)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(fillers[i] >= 0);
        (void)connect(fillers[i], (struct sockaddr *)&to, sizeof to);
    }
    (void)usleep(10000);
    (void)note_attempts(port_of(url), seen); /* fillers that wait */
    unsigned before = note_attempts(port_of(url), seen);
    rpc_times.dial_ms = 100;
    struct rpc_client *c = client_of(url);
    /* The kernel would ask from one port for two minutes. */
    for (unsigned i = 0; i < PATIENCE_MS && attempts < 3; i++) {
        attempts = note_attempts(port_of(url), seen) - before;
        (void)usleep(1000);
    }
    assert_true(attempts >= 3);
    for (unsigned i = 0; i < FILLERS; i++)
        (void)close(fillers[i]);
    (void)close(listener);
    rpc_client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_no_hello, set_up),
        cmocka_unit_test_setup(test_half_a_message, set_up),
        cmocka_unit_test_setup(test_answer_that_is_not_read, set_up),
        cmocka_unit_test_setup(test_waiting_for_a_context_is_no_stall, set_up),
        cmocka_unit_test_setup(test_end_does_not_wait_for_ever, set_up),
        cmocka_unit_test_setup(test_too_many_connections, set_up),
        cmocka_unit_test_setup(test_half_an_answer, set_up),
        cmocka_unit_test_setup(test_peer_says_no_hello, set_up),
        cmocka_unit_test_setup(test_dial_that_is_not_answered, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
