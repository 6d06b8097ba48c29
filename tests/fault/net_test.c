/* The nth allocation of ours fails: in the HTTP server's connections, in loops, clients, servers, members. */
#include "common/base/arena.h"
#include "common/net/http_client.h"
#include "common/ring/members_pb.h"
#include "tests/fuzz/http_harness.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/test.h"

#include <unistd.h>

/* Whatever fails, the connection ends, and everything is given back: harness_end asserts it. */
static void http1_requests(void *arg)
{
    struct harness h;

    (void)arg;
    harness_init(&h);
    harness_feed(&h, SLICE_LIT("GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n"));
    harness_feed(&h, SLICE_LIT("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 300\r\n\r\n"));
    for (unsigned i = 0; i < 30; i++)
        harness_feed(&h, SLICE_LIT("0123456789"));
    harness_feed(&h,
                 SLICE_LIT("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nBroken\r\n\r\n"));
    harness_end(&h);
    if (!alloc_sweep_has_failed())
        assert_int_equal(h.handled_count, 3);
    assert_true(h.handled_count <= 3);
    buf_release(&h.sent);
}

static const char h2_input[] =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    "\0\0\0\4\0\0\0\0\0"
    "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\x01h"
    "\0\0\xc\1\4\0\0\0\3\x83\x86\x44\x05/echo\x41\x01h" /* 12 bytes, and a path of odd length: with trailers */
    "\0\0\3\0\0\0\0\0\3hel"
    "\0\0\2\0\1\0\0\0\3lo";

static void http2_requests(void *arg)
{
    struct harness h;

    (void)arg;
    harness_init(&h);
    harness_feed(&h, (struct slice){(const uint8_t *)h2_input, sizeof h2_input - 1});
    harness_end(&h);
    if (!alloc_sweep_has_failed())
        assert_int_equal(h.handled_count, 2);
    buf_release(&h.sent);
}

static void queries(void *arg)
{
    struct arena a;

    (void)arg;
    arena_init(&a, NULL);
    struct slice v = http_query_get(&a, SLICE_LIT("a=1&b=%41"), "b");
    assert_true(v.ptr == NULL ? alloc_sweep_has_failed() : slice_eq_str(v, "A"));
    arena_release(&a);
}

static void ignore(void *arg, struct http_req *req)
{
    (void)arg;
    http_reply_text(req, 200, "text/plain", "ok");
}

static void loops_and_listeners(void *arg)
{
    struct loop *loop = NULL;
    struct http_server *server = NULL;
    struct http_client *client = NULL;

    (void)arg;
    enum err e = loop_new("fault", &loop);
    if (e == ERR_OK) {
        struct http_server_options o = {.address = "127.0.0.1",
                                        .loops = &loop,
                                        .loop_count = 1,
                                        .handler = ignore,
                                        .body_bytes_max = 1000,
                                        .header_bytes_max = 1000};
        e = http_server_new(&o, &server, NULL);
    }
    if (e == ERR_OK)
        e = http_client_new(&client);
    assert_int_equal(e, alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    http_client_free(client);
    http_server_free(server);
    loop_free(loop);
}

static void refuse(void *arg, struct rpc_req *req)
{
    (void)arg;
    rpc_reply(req, ERR_UNSUPPORTED, SLICE_NONE);
}

static void rpc_ends(void *arg)
{
    struct rpc_server *server = NULL;
    struct rpc_client *client = NULL;
    struct buf answer;

    (void)arg;
    buf_init(&answer, 1000);
    struct rpc_server_options so = {
        .url = "tcp://127.0.0.1:0", .receive_bytes_max = 1000, .contexts = 3, .handler = refuse};
    enum err e = rpc_server_new(&so, &server, NULL);
    if (e == ERR_OK) {
        struct rpc_client_options co = {
            .url = rpc_server_url(server), .receive_bytes_max = 1000, .contexts = 2};
        e = rpc_client_new(&co, &client);
    }
    if (e == ERR_OK) {
        e = rpc_call_wait(client, 1, SLICE_LIT("x"), 10 * NS_PER_S, &answer);
        e = e == ERR_UNSUPPORTED ? ERR_OK : e;
    }
    assert_int_equal(e, alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    rpc_client_free(client);
    rpc_server_free(server);
    buf_release(&answer);
}

static void members_start(void *arg)
{
    const char *urls[] = {"tcp://127.0.0.1:1", "tcp://127.0.0.1:2"};
    struct members *m = NULL;
    struct members_options o = {.role = "ingester",
                                .cluster = "c",
                                .own_role = "querier",
                                .own_id = "q",
                                .own_boot_id = "b",
                                .control_urls = urls,
                                .url_count = 2,
                                .contexts = 1};

    (void)arg;
    enum err e = members_new(&o, &m);
    assert_int_equal(e, alloc_sweep_has_failed() && m == NULL ? ERR_NOMEM : ERR_OK);
    members_free(m);
}

static void test_http1(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(http1_requests, NULL) >= 8);
}

static void test_http2(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(http2_requests, NULL) >= 8);
}

static void test_queries(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(queries, NULL) >= 1);
}

static void test_loops_and_listeners(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(loops_and_listeners, NULL) >= 4);
}

static void test_rpc(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(rpc_ends, NULL) >= 6);
}

static void test_members(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(members_start, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http1),   cmocka_unit_test(test_http2),
        cmocka_unit_test(test_queries), cmocka_unit_test(test_loops_and_listeners),
        cmocka_unit_test(test_rpc),     cmocka_unit_test(test_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
