/*
 * load_bench.c - sends made traces to an OTLP/HTTP receiver as fast as it takes them.
 *
 * Shape:   load_bench PORT [SPANS [CONNECTIONS [SPANS_PER_S]]]: all requests are made first, of about 1,000 spans each and ending about now; then each
 *          connection sends one after the other, at the rate given or as fast as it goes.  Prints one line of JSON; ends with 1 if any request was not answered with full success.
 */
#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/base/slice.h"
#include "tests/lib/otlp_gen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 64,
    REQUEST_SPANS = 1000,
    TRACE_SPANS_MEAN = 10,
    SPREAD_S = 10, /* of the traces' starts */
    REPLY_BYTES_MAX = 4096,
    TIMEOUT_S = 60
};

struct sender {
    pthread_t thread;
    uint16_t port;
    uint64_t seed, start_ns, wanted, spans, bytes;
    uint64_t spans_per_s; /* 0: as fast as it goes */
    struct buf *requests;
    uint32_t count;
    const char *failed; /* static text */
};

static void make_requests(struct sender *s)
{
    struct otlp_gen g;

    otlp_gen_init(&g, s->seed, s->start_ns);
    g.step_ns = SPREAD_S * (uint64_t)NS_PER_S / (s->wanted / TRACE_SPANS_MEAN + 1);
    s->requests = calloc(s->wanted / REQUEST_SPANS + 1, sizeof *s->requests);
    if (s->requests == NULL)
        s->failed = "no memory";
    while (s->failed == NULL && s->spans < s->wanted) {
        struct buf *b = &s->requests[s->count++];
        buf_init(b, 64u << 20);
        s->spans += otlp_gen_request(&g, REQUEST_SPANS, b);
        s->bytes += b->len;
        if (buf_err(b) != ERR_OK)
            s->failed = "no memory";
    }
    otlp_gen_release(&g);
}

static int open_connection(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static bool send_all(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

/* Full success is 200 with the two bytes of an empty partial_success. */
static bool is_stored(int fd)
{
    char reply[REPLY_BYTES_MAX + 1];
    size_t len = 0;

    while (len < REPLY_BYTES_MAX) {
        ssize_t n = recv(fd, reply + len, REPLY_BYTES_MAX - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        reply[len] = '\0';
        const char *body = strstr(reply, "\r\n\r\n");
        if (body != NULL && len - (size_t)(body + 4 - reply) >= 2)
            return strncmp(reply, "HTTP/1.1 200 ", 13) == 0 && body[4] == '\n' && body[5] == '\0' &&
                   len == (size_t)(body + 6 - reply);
    }
    return false;
}

/* Until it is time for request `i`. */
static void keep_rate(const struct sender *s, uint32_t i, int64_t begun_ns)
{
    if (s->spans_per_s == 0)
        return;
    uint64_t due_ns = (uint64_t)i * s->spans / s->count * (uint64_t)NS_PER_S / s->spans_per_s;
    int64_t left_ns = begun_ns + (int64_t)due_ns - clock_mono_ns(&clock_system);
    struct timespec left = {.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
    if (left_ns > 0)
        (void)nanosleep(&left, NULL);
}

static void *send_requests(void *arg)
{
    struct sender *s = arg;
    char head[256];
    int64_t begun_ns = clock_mono_ns(&clock_system);
    int fd = open_connection(s->port);

    if (fd < 0) {
        s->failed = "can not connect";
        return NULL;
    }
    for (uint32_t i = 0; i < s->count && s->failed == NULL; i++) {
        keep_rate(s, i, begun_ns);
        struct slice body = buf_slice(&s->requests[i]);
        int n = snprintf(
            head, sizeof head,
            "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: %zu\r\n\r\n",
            body.len);
        if (!send_all(fd, (const uint8_t *)head, (size_t)n) || !send_all(fd, body.ptr, body.len))
            s->failed = "the connection broke";
        else if (!is_stored(fd))
            s->failed = "a request was not stored whole";
    }
    (void)close(fd);
    return NULL;
}

static bool read_arguments(int argc, char **argv, int64_t *ret)
{
    for (int i = 1; i < argc && i <= 4; i++)
        if (num_parse_i64(slice_str(argv[i]), &ret[i - 1]) != ERR_OK || ret[i - 1] < 1)
            return false;
    return argc >= 2 && argc <= 5 && ret[0] <= UINT16_MAX && ret[2] <= CONNECTIONS_MAX;
}

int main(int argc, char **argv)
{
    static struct sender senders[CONNECTIONS_MAX];
    int64_t arguments[4] = {0, 1000000, 8, 0};
    uint64_t spans = 0, bytes = 0;
    const char *failed = NULL;

    if (!read_arguments(argc, argv, arguments)) {
        (void)fprintf(stderr, "load_bench PORT [SPANS [CONNECTIONS [SPANS_PER_S]]]\n");
        return 2;
    }
    unsigned count = (unsigned)arguments[2];
    for (unsigned i = 0; i < count; i++) {
        senders[i] = (struct sender){
            .port = (uint16_t)arguments[0],
            .seed = i + 1,
            .start_ns = (uint64_t)(clock_wall_ns(&clock_system) - SPREAD_S * NS_PER_S),
            .spans_per_s = (uint64_t)arguments[3] / count,
            .wanted = (uint64_t)arguments[1] / count};
        make_requests(&senders[i]);
    }
    int64_t begun_ns = clock_mono_ns(&clock_system);
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&senders[i].thread, NULL, send_requests, &senders[i]) != 0)
            return 1;
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(senders[i].thread, NULL);
        spans += senders[i].spans;
        bytes += senders[i].bytes;
        failed = senders[i].failed != NULL ? senders[i].failed : failed;
    }
    (void)printf("{\"spans\": %llu, \"bytes\": %llu, \"seconds\": %.3f}\n",
                 (unsigned long long)spans, (unsigned long long)bytes,
                 (double)(clock_mono_ns(&clock_system) - begun_ns) / (double)NS_PER_S);
    if (failed != NULL)
        (void)fprintf(stderr, "load_bench: %s\n", failed);
    return failed == NULL ? 0 : 1;
}
