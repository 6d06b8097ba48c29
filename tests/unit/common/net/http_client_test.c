#include "common/net/http_client.h"
#include "tests/unit/common/net/http_fixture.h"

/* Answers that a plain echo can not give. */
static void handle(void *arg, struct http_req *req)
{
    struct slice path = http_req_path(req);
    struct http_header header = {"retry-after", "7"};
    struct http_reply reply = {.status = 429, .headers = &header, .header_count = 1};

    if (slice_eq_str(path, "/retry")) {
        http_reply(req, &reply);
    } else if (slice_eq_str(path, "/retry-now")) {
        header.value = "0";
        http_reply(req, &reply);
    } else if (slice_eq_str(path, "/redirect")) {
        reply.status = 302;
        header = (struct http_header){"location", "/elsewhere"};
        http_reply(req, &reply);
    } else if (slice_eq_str(path, "/auth")) {
        struct slice auth = http_req_header(req, "authorization"), method = http_req_method(req);
        http_reply_text(req, 200, "text/plain", SLICE_FMT " " SLICE_FMT, SLICE_ARG(method),
                        SLICE_ARG(auth));
    } else {
        fixture_handle(arg, req);
    }
}

struct client_fixture {
    struct fixture server;
    struct http_client *client;
    struct buf body;
    char url[128];
};

static const char *url(struct client_fixture *t, const char *path)
{
    (void)snprintf(t->url, sizeof t->url, "http://127.0.0.1:%u%s", t->server.port, path);
    return t->url;
}

static void start(struct client_fixture *t)
{
    fixture_defaults(&t->server);
    t->server.options.handler = handle;
    fixture_start(&t->server);
    assert_int_equal(http_client_new(&t->client), ERR_OK);
    buf_init(&t->body, 64 << 20);
}

static void stop(struct client_fixture *t)
{
    http_client_free(t->client);
    fixture_stop(&t->server);
    buf_release(&t->body);
}

static enum err call(struct client_fixture *t, const struct http_call *call, unsigned *ret_status)
{
    struct err_detail detail = {0};

    buf_reset(&t->body);
    enum err e = http_client_call(t->client, call, ret_status, &t->body, &detail);
    if (e != ERR_OK)
        assert_true(detail.text[0] != '\0');
    return e;
}

static void test_methods_bodies_and_headers(void **state)
{
    (void)state;
    struct client_fixture t;
    unsigned status;
    const char *const headers[] = {"X-Seen: here", "Content-Type: application/x-protobuf", NULL};
    struct http_call c = {.timeout_ns = 20 * NS_PER_S, .body_bytes_max = 10 << 20};

    start(&t);
    c.url = url(&t, "/a?b=c");
    c.headers = headers;
    assert_int_equal(call(&t, &c, &status), ERR_OK);
    assert_int_equal(status, 200);
    assert_true(slice_has_prefix(buf_slice(&t.body), SLICE_LIT("GET|/a|b=c|here|1|127.0.0.1:")));
    c.method = "POST";
    c.url = url(&t, "/echo");
    c.body = SLICE_LIT("zero\0inside");
    assert_int_equal(call(&t, &c, &status), ERR_OK);
    assert_true(slice_eq(buf_slice(&t.body), c.body));
    c.body = SLICE_NONE;
    assert_int_equal(call(&t, &c, &status), ERR_OK);
    assert_int_equal(t.body.len, 0);
    uint8_t *large = calloc(1, 3 << 20);
    assert_non_null(large);
    c.body = (struct slice){large, 3 << 20};
    assert_int_equal(call(&t, &c, &status), ERR_OK);
    assert_int_equal(t.body.len, 3 << 20);
    free(large);
    c.body = SLICE_LIT("x");
    c.url = url(&t, "/auth");
    c.method = "PUT";
    c.basic_user = "user";
    c.basic_password = "pass:word";
    assert_int_equal(call(&t, &c, &status), ERR_OK);
    assert_true(slice_eq_str(buf_slice(&t.body), "PUT Basic dXNlcjpwYXNzOndvcmQ="));
    c = (struct http_call){
        .method = "HEAD", .url = url(&t, "/a"), .timeout_ns = 20 * NS_PER_S, .body_bytes_max = 100};
    assert_int_equal(call(&t, &c, &status), ERR_OK);
    assert_int_equal(status, 200);
    assert_int_equal(t.body.len, 0);
    stop(&t);
}

struct outcome {
    atomic_uint count;
    _Atomic enum err err;
    atomic_uint status;
    atomic_llong retry_after_ns;
};

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct outcome *o = arg;

    atomic_store(&o->err, answer->err);
    atomic_store(&o->status, answer->status);
    atomic_store(&o->retry_after_ns, answer->retry_after_ns);
    atomic_fetch_add(&o->count, 1);
}

static void wait_answer(struct outcome *o)
{
    for (unsigned i = 0; i < 20000 && atomic_load(&o->count) == 0; i++)
        (void)usleep(1000);
    assert_int_equal(atomic_load(&o->count), 1);
}

static void test_statuses_are_answers(void **state)
{
    (void)state;
    struct client_fixture t;
    static const struct {
        const char *path;
        unsigned status;
        int64_t retry_after_ns;
    } cases[] = {{"/retry", 429, 7 * NS_PER_S},
                 {"/retry-now", 429, 0},
                 {"/redirect", 302, -1},
                 {"/none", 204, -1}};

    start(&t);
    for (size_t i = 0; i < 4; i++) {
        struct outcome o = {0};
        struct http_call c = {
            .url = url(&t, cases[i].path), .timeout_ns = 20 * NS_PER_S, .body_bytes_max = 1000};
        assert_int_equal(http_client_send(t.client, &c, on_answer, &o), ERR_OK);
        wait_answer(&o);
        assert_int_equal(atomic_load(&o.err), ERR_OK);
        assert_int_equal(atomic_load(&o.status), cases[i].status);
        assert_int_equal(atomic_load(&o.retry_after_ns), cases[i].retry_after_ns);
    }
    stop(&t);
}

static void test_failures(void **state)
{
    (void)state;
    struct client_fixture t;
    unsigned status = 0;
    struct http_call c = {.timeout_ns = 20 * NS_PER_S, .body_bytes_max = 1000};
    const char *const split[] = {"X: a\r\nY: b", NULL};

    start(&t);
    c.url = url(&t, "/big?bytes=1001");
    assert_int_equal(call(&t, &c, &status), ERR_TOO_LARGE);
    c.url = url(&t, "/hold");
    c.timeout_ns = 200 * NS_PER_MS;
    assert_int_equal(call(&t, &c, &status), ERR_TIMEOUT);
    c.timeout_ns = 20 * NS_PER_S;
    c.url = "http://127.0.0.1:1/";
    assert_int_equal(call(&t, &c, &status), ERR_UNAVAILABLE);
    c.url = "http://no.such.host.invalid/";
    assert_int_equal(call(&t, &c, &status), ERR_UNAVAILABLE);
    c.url = "ftp://127.0.0.1/";
    assert_int_equal(call(&t, &c, &status), ERR_INVALID);
    c.url = "file:///etc/passwd";
    assert_int_equal(call(&t, &c, &status), ERR_INVALID);
    c.url = "http://a b/";
    assert_int_equal(call(&t, &c, &status), ERR_INVALID);
    c.url = url(&t, "/a");
    c.headers = split;
    assert_int_equal(call(&t, &c, &status), ERR_INVALID);
    c.headers = NULL;
    assert_int_equal(call(&t, &c, &status), ERR_OK);
    assert_int_equal(status, 200);
    stop(&t);
}

static void test_many_at_once(void **state)
{
    (void)state;
    enum { CALLS = 200 };
    struct client_fixture t;
    struct outcome *outcomes = calloc(CALLS, sizeof *outcomes);

    assert_non_null(outcomes);
    start(&t);
    struct http_call c = {.method = "POST",
                          .url = url(&t, "/later"),
                          .body = SLICE_LIT("body"),
                          .timeout_ns = 30 * NS_PER_S,
                          .body_bytes_max = 1000};
    for (unsigned i = 0; i < CALLS; i++)
        assert_int_equal(http_client_send(t.client, &c, on_answer, &outcomes[i]), ERR_OK);
    for (unsigned i = 0; i < CALLS; i++) {
        wait_answer(&outcomes[i]);
        assert_int_equal(atomic_load(&outcomes[i].status), 200);
    }
    free(outcomes);
    stop(&t);
}

static void test_free_cancels(void **state)
{
    (void)state;
    struct client_fixture t;
    struct outcome o = {0};

    start(&t);
    struct http_call c = {
        .url = url(&t, "/hold"), .timeout_ns = 60 * NS_PER_S, .body_bytes_max = 1000};
    assert_int_equal(http_client_send(t.client, &c, on_answer, &o), ERR_OK);
    struct http_req *req = fixture_wait_held(&t.server);
    assert_null(atomic_exchange(&t.server.held, req));
    http_client_free(t.client);
    t.client = NULL;
    assert_int_equal(atomic_load(&o.count), 1);
    assert_int_equal(atomic_load(&o.err), ERR_CANCELED);
    stop(&t);
}

struct pieces {
    struct outcome outcome; /* first: on_answer's */
    size_t bytes, stop_at;
    unsigned status;
    char type[32], trailer[64];
};

static bool on_piece(void *arg, const struct http_answer *so_far, struct slice data)
{
    struct pieces *p = arg;

    for (size_t i = 0; i < data.len && p->type[0] == '\0'; i++)
        assert_int_equal(data.ptr[i], (uint8_t)((p->bytes + i) * 7 >> 3));
    p->bytes += data.len;
    p->status = so_far->status;
    http_client_header(so_far, "content-type", p->type, sizeof p->type);
    return p->stop_at == 0 || p->bytes < p->stop_at;
}

static void on_end(void *arg, const struct http_answer *answer)
{
    struct pieces *p = arg;

    assert_int_equal(answer->body.len, 0);
    http_client_header(answer, "grpc-message", p->trailer, sizeof p->trailer);
    on_answer(arg, answer);
}

static enum err in_pieces(struct client_fixture *t, struct http_call *c, struct pieces *p)
{
    c->on_data = on_piece;
    assert_int_equal(http_client_send(t->client, c, on_end, p), ERR_OK);
    wait_answer(&p->outcome);
    return atomic_load(&p->outcome.err);
}

static void test_bodies_in_pieces(void **state)
{
    (void)state;
    struct client_fixture t;

    start(&t);
    for (unsigned is_h2 = 0; is_h2 < 2; is_h2++) {
        struct http_call c = {.url = url(&t, "/big?bytes=3000000"),
                              .timeout_ns = 20 * NS_PER_S,
                              .body_bytes_max = 3000000,
                              .is_h2 = is_h2 != 0};
        struct pieces whole = {.bytes = 0}, stopped = {.stop_at = 1000}, large = {.bytes = 0};
        assert_int_equal(in_pieces(&t, &c, &whole), ERR_OK);
        assert_int_equal(whole.bytes, 3000000);
        assert_int_equal(whole.status, 200);
        assert_int_equal(in_pieces(&t, &c, &stopped), ERR_CANCELED);
        c.body_bytes_max--;
        assert_int_equal(in_pieces(&t, &c, &large), ERR_TOO_LARGE);
    }
    struct http_call c = {.method = "POST",
                          .url = url(&t, "/grpc"),
                          .timeout_ns = 20 * NS_PER_S,
                          .body_bytes_max = 100,
                          .is_h2 = true};
    struct pieces grpc = {.type = "x"};
    assert_int_equal(in_pieces(&t, &c, &grpc), ERR_OK);
    assert_string_equal(grpc.type, "application/grpc");
    assert_true(strncmp(grpc.trailer, "all", 3) == 0);
    stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods_bodies_and_headers),
        cmocka_unit_test(test_statuses_are_answers),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_free_cancels),
        cmocka_unit_test(test_bodies_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
