#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "distributor/push_wire.h"
#include "distributor/receive.h"
#include "tests/lib/test.h"

#include <curl/curl.h>
#include <pthread.h>
#include <zlib.h>

enum { LOOPS = 2, BODY_MAX = 1 << 20, HEADERS_MAX = 8 << 10 };

/* What the ingesters do with the next request. */
enum mode { MODE_KEEP, MODE_NONE_UP, MODE_FULL, MODE_TIMEOUT_THEN_KEEP, MODE_REFUSE_LARGE };

static struct {
    struct config config;
    struct loop *loops[LOOPS];
    struct budget budget;
    struct tenants tenants;
    struct workers *workers;
    struct receive_shared shared;
    struct http_server *grpc, *http;
    atomic_int mode;
    atomic_uint calls, spans_kept, generator_calls, generator_spans;
    pthread_mutex_t lock;
    char tenant[160];
} fx;

static unsigned place(void *arg, struct slice tenant, struct trace_id id, unsigned *ret_indexes,
                      unsigned max)
{
    (void)arg;
    (void)id;
    pthread_mutex_lock(&fx.lock);
    memcpy(fx.tenant, tenant.ptr, tenant.len);
    fx.tenant[tenant.len] = '\0';
    pthread_mutex_unlock(&fx.lock);
    if (atomic_load(&fx.mode) == MODE_NONE_UP)
        return 0;
    for (unsigned i = 0; i < max && i < 3; i++)
        ret_indexes[i] = i;
    return max < 3 ? max : 3;
}

/* The payload is a whole request; its spans are counted. */
static uint32_t count_spans(const struct slice *parts, unsigned part_count)
{
    struct buf b;
    uint32_t count = 0;

    buf_init(&b, 64 << 20);
    for (unsigned i = 1; i < part_count; i++)
        buf_append(&b, parts[i]);
    assert_int_equal(otlp_check(buf_slice(&b), &otlp_limits_default, &count, NULL), ERR_OK);
    buf_release(&b);
    return count;
}

static enum err call(void *arg, unsigned index, uint16_t method, const struct slice *parts,
                     unsigned part_count, int64_t timeout_ns, rpc_done *done, void *done_arg)
{
    uint32_t spans = count_spans(parts, part_count);
    struct buf reply;

    (void)arg;
    (void)timeout_ns;
    if (method == RPC_GENERATE) {
        atomic_fetch_add(&fx.generator_spans, spans);
        atomic_fetch_add(&fx.generator_calls, 1);
        done(done_arg, ERR_OK, SLICE_NONE);
        return ERR_OK;
    }
    atomic_fetch_add(&fx.calls, 1);
    switch ((enum mode)atomic_load(&fx.mode)) {
    case MODE_FULL: return ERR_FULL;
    case MODE_TIMEOUT_THEN_KEEP:
        if (index == 0) {
            done(done_arg, ERR_TIMEOUT, SLICE_NONE);
            return ERR_OK;
        }
        break;
    case MODE_REFUSE_LARGE: {
        buf_init(&reply, 1024);
        size_t refusal = pb_begin(&reply, 2);
        pb_bytes(&reply, 1, SLICE_LIT("0123456789abcdef"));
        pb_varint(&reply, 2, 1);
        pb_varint(&reply, 3, PUSH_TRACE_TOO_LARGE);
        pb_end(&reply, refusal);
        done(done_arg, ERR_OK, buf_slice(&reply));
        buf_release(&reply);
        return ERR_OK;
    }
    case MODE_KEEP:
    case MODE_NONE_UP:
    default: break;
    }
    atomic_fetch_add(&fx.spans_kept, spans);
    done(done_arg, ERR_OK, SLICE_NONE);
    return ERR_OK;
}

static void name(void *arg, unsigned index, char ret_id[MEMBER_ID_BYTES_MAX + 1])
{
    (void)arg;
    (void)snprintf(ret_id, MEMBER_ID_BYTES_MAX + 1, "peer-%u", index);
}

static void report(void *arg, unsigned index, enum err err)
{
    (void)arg;
    (void)index;
    (void)err;
}

static struct http_server *serve(http_handler *handler, size_t body_max)
{
    struct http_server *s = NULL;
    struct err_detail detail = {0};
    struct http_server_options o = {.address = "127.0.0.1",
                                    .loops = fx.loops,
                                    .loop_count = LOOPS,
                                    .handler = handler,
                                    .arg = &fx.shared,
                                    .budget = &fx.budget,
                                    .body_bytes_max = body_max,
                                    .header_bytes_max = 64 << 10,
                                    .streams_max = 100};
    if (http_server_new(&o, &s, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
    return s;
}

static int setup(void **state)
{
    static const char *processors[] = {"span-metrics"};
    struct overrides *overrides = NULL;
    (void)state;
    memset(&fx, 0, sizeof fx);
    stats_init();
    pthread_mutex_init(&fx.lock, NULL);
    fx.config.distributor_request_timeout_ns = 5 * NS_PER_S;
    fx.config.distributor_first_attempt_timeout_ns = NS_PER_S;
    fx.config.retry_after_ns = 5 * NS_PER_S;
    fx.config.limits = (struct limits){.max_bytes_per_trace = 5000000,
                                       .rate_limit_bytes = 1000000000,
                                       .burst_size_bytes = 1000000000,
                                       .processors = {processors, 1}};
    fx.config.override_file = "";
    assert_int_equal(overrides_new(&fx.config, &overrides, NULL), ERR_OK);
    fx.config.otlp_grpc.max_recv_msg_bytes = BODY_MAX;
    for (unsigned i = 0; i < LOOPS; i++)
        assert_int_equal(loop_new("test", &fx.loops[i]), ERR_OK);
    budget_init(&fx.budget, 512u << 20, NULL);
    tenants_init(&fx.tenants, false, &clock_system);
    assert_int_equal(workers_new("test-work", 1, 8, &fx.workers), ERR_OK);
    fx.shared = (struct receive_shared){
        .config = &fx.config,
        .overrides = overrides,
        .clock = &clock_system,
        .loops = fx.loops,
        .loop_count = LOOPS,
        .budget = &fx.budget,
        .ingesters = {.place = place, .call = call, .name = name, .report = report},
        .generators = {.place = place, .call = call, .name = name, .report = report},
        .tenants = &fx.tenants};
    atomic_init(&fx.shared.workers, fx.workers);
    struct forward_options o = {.peers = &fx.shared.generators,
                                .clock = &clock_system,
                                .loop = fx.loops[0],
                                .post = loop_post,
                                .bytes_max = 1 << 20};
    assert_int_equal(forward_new(&o, &fx.shared.forward), ERR_OK);
    fx.grpc = serve(receive_grpc, BODY_MAX + 5);
    fx.http = serve(receive_http, BODY_MAX);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_server_free(fx.grpc);
    http_server_free(fx.http);
    workers_free(fx.workers);
    for (unsigned i = 0; i < LOOPS; i++)
        loop_free(fx.loops[i]);
    forward_free(fx.shared.forward);
    tenants_release(&fx.tenants);
    overrides_free(fx.shared.overrides);
    assert_int_equal(budget_used(&fx.budget), 0);
    return 0;
}

/* --- a client ------------------------------------------------------------------------------------------------- */

struct response {
    long status;
    char headers[HEADERS_MAX]; /* and trailers, as lines */
    struct buf body;
};

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct response *r = arg;
    size_t len = strlen(r->headers), more = size * count;

    assert_true(len + more < sizeof r->headers);
    memcpy(r->headers + len, data, more);
    r->headers[len + more] = '\0';
    return more;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct response *r = arg;
    buf_append(&r->body, (struct slice){(const uint8_t *)data, size * count});
    return size * count;
}

static void request(bool is_grpc, const char *method, const char *path, const char *const *headers,
                    struct slice body, struct response *ret)
{
    char url[256];
    CURL *c = curl_easy_init();
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    memset(ret, 0, sizeof *ret);
    buf_init(&ret->body, 1 << 20);
    assert_non_null(c);
    for (; *headers != NULL; headers++)
        list = curl_slist_append(list, *headers);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u%s",
                   (unsigned)http_server_port(is_grpc ? fx.grpc : fx.http), path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION,
                     is_grpc ? (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
                             : (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.len == 0 ? (const uint8_t *)"" : body.ptr);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)body.len);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, ret);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, ret);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 20L);
    CURLcode code = curl_easy_perform(c);
    /* An answer before the whole body was sent ends with a reset of the stream (RFC 9113, 8.1), which curl calls an error. */
    if (code != CURLE_OK && code != CURLE_HTTP2_STREAM)
        fail_msg("%s: %s", url, curl_easy_strerror(code));
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &ret->status);
    curl_slist_free_all(list);
    curl_easy_cleanup(c);
}

/* The header's value in `ret`, 1023 bytes at most; empty when it is not there. */
static const char *header_of(const struct response *r, const char *header, char ret[1024])
{
    const char *at = r->headers;
    size_t len = strlen(header);

    ret[0] = '\0';
    for (; at != NULL && *at != '\0'; at = strchr(at, '\n') == NULL ? NULL : strchr(at, '\n') + 1) {
        if (strncasecmp(at, header, len) != 0 || at[len] != ':')
            continue;
        at += len + 1;
        at += strspn(at, " ");
        size_t n = strcspn(at, "\r\n");
        assert_true(n < 1024);
        memcpy(ret, at, n);
        ret[n] = '\0';
        return ret;
    }
    return ret;
}

static void expect(const struct response *r, long status, const char *type, struct slice body)
{
    char got[1024];

    if (r->status != status || !slice_eq(buf_slice(&r->body), body))
        print_message("%ld %s\n%.*s\n", r->status, r->headers, (int)r->body.len,
                      (const char *)r->body.ptr);
    assert_int_equal(r->status, status);
    assert_string_equal(header_of(r, "content-type", got), type);
    assert_true(slice_eq(buf_slice(&r->body), body));
}

static void put_span(struct buf *b, struct slice trace, struct slice id)
{
    size_t span = pb_begin(b, 2);
    pb_bytes(b, 1, trace);
    pb_bytes(b, 2, id);
    pb_end(b, span);
}

/* `good` good spans and one each with a trace id and a span id that are bad, if asked for. */
static void make_request(struct buf *b, unsigned good, bool has_bad)
{
    buf_init(b, 8 << 20);
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    for (unsigned i = 0; i < good; i++)
        put_span(b, SLICE_LIT("0123456789abcdef"), SLICE_LIT("12345678"));
    if (has_bad) {
        put_span(b, SLICE_LIT("0123456789abcde"), SLICE_LIT("12345678"));
        put_span(b, SLICE_LIT("0123456789abcdef"), SLICE_LIT("\0\0\0\0\0\0\0\0"));
    }
    pb_end(b, ss);
    pb_end(b, rs);
}

static const char *const pb_type[] = {"Content-Type: application/x-protobuf", NULL};
static const char *const json_type[] = {"Content-Type: application/json; charset=utf-8", NULL};
static const char *const grpc_type[] = {"Content-Type: application/grpc", "TE: trailers", NULL};

static const char json_two[] =
    "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":["
    "{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\"},"
    "{\"traceId\":\"5b8efff798038103d269b633813fc6\",\"spanId\":\"eee19b7ec3c1b174\"}]}]}]}";
static const char json_one[] =
    "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":["
    "{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\"}]}]}]}";

static void expect_tenant(const char *want)
{
    pthread_mutex_lock(&fx.lock);
    assert_string_equal(fx.tenant, want);
    pthread_mutex_unlock(&fx.lock);
}

static void post_http(const char *const *headers, struct slice body, struct response *ret)
{
    request(false, "POST", "/v1/traces", headers, body, ret);
}

/* --- OTLP/HTTP --------------------------------------------------------------------------------------------------- */

static void test_http_success_has_the_requests_type(void **state)
{
    (void)state;
    struct response r;
    struct buf pb;
    make_request(&pb, 3, false);
    post_http(pb_type, buf_slice(&pb), &r);
    expect(&r, 200, "application/x-protobuf", SLICE_LIT("\x0a\0"));
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.spans_kept), 3);
    post_http(json_type, slice_str(json_one), &r);
    expect(&r, 200, "application/json", SLICE_LIT("{\"partialSuccess\":{}}"));
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.spans_kept), 4);
    post_http(json_type, SLICE_LIT("{}"), &r); /* no spans: nothing to do */
    expect(&r, 200, "application/json", SLICE_LIT("{\"partialSuccess\":{}}"));
    buf_release(&r.body);
    post_http(pb_type, SLICE_NONE, &r);
    expect(&r, 200, "application/x-protobuf", SLICE_LIT("\x0a\0"));
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.calls), 2);
    expect_tenant("single-tenant");
    buf_release(&pb);
}

static void test_http_refuses_what_is_not_it(void **state)
{
    (void)state;
    struct response r;
    request(false, "GET", "/v1/traces", pb_type, SLICE_NONE, &r);
    expect(&r, 405, "text/plain", SLICE_LIT("405 method not allowed, supported: [POST]"));
    buf_release(&r.body);
    static const char *const xml[] = {"Content-Type: text/xml", NULL};
    post_http(xml, SLICE_LIT("<a/>"), &r);
    expect(
        &r, 415, "text/plain",
        SLICE_LIT(
            "415 unsupported media type, supported: [application/json, application/x-protobuf]"));
    buf_release(&r.body);
    request(false, "POST", "/v1/metrics", pb_type, SLICE_NONE, &r);
    assert_int_equal(r.status, 404);
    buf_release(&r.body);
    static const char *const br[] = {"Content-Type: application/json", "Content-Encoding: br",
                                     NULL};
    post_http(br, SLICE_LIT("x"), &r);
    expect(&r, 400, "application/json",
           SLICE_LIT("{\"code\":3,\"message\":\"unsupported Content-Encoding: br\"}"));
    buf_release(&r.body);
    post_http(json_type, SLICE_LIT("{\"resourceSpans\":{}}"), &r);
    expect(&r, 400, "application/json",
           SLICE_LIT("{\"code\":3,\"message\":\"resourceSpans: must be an array\"}"));
    buf_release(&r.body);
    post_http(pb_type, SLICE_LIT("\x0a\x05x"), &r);
    expect(&r, 400, "application/x-protobuf",
           SLICE_LIT("\x08\x03\x12\x28request: malformed or cut protobuf field"));
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.calls), 0);
}

static void test_http_takes_compressed_bodies(void **state)
{
    (void)state;
    struct response r;
    struct buf pb;
    make_request(&pb, 20000, false); /* large enough for a worker */
    uint8_t *packed = malloc(pb.len);
    assert_non_null(packed);
    z_stream z = {
        .next_in = pb.ptr, .avail_in = (uInt)pb.len, .next_out = packed, .avail_out = (uInt)pb.len};
    assert_int_equal(deflateInit2(&z, 0, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    /* Level 0 does not shrink it: the body as received is large, too. */
    z.avail_in = (uInt)(pb.len - 2000);
    pb.len -= 2000;
    (void)deflateEnd(&z);
    buf_release(&pb);
    make_request(&pb, 12000, false);
    z = (z_stream){
        .next_in = pb.ptr, .avail_in = (uInt)pb.len, .next_out = packed, .avail_out = (uInt)pb.len};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t len = pb.len - z.avail_out;
    (void)deflateEnd(&z);
    static const char *const gzip[] = {"Content-Type: application/x-protobuf",
                                       "Content-Encoding: gzip", NULL};
    post_http(gzip, (struct slice){packed, len}, &r);
    expect(&r, 200, "application/x-protobuf", SLICE_LIT("\x0a\0"));
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.spans_kept), 12000);
    post_http(gzip, (struct slice){packed, len / 2}, &r);
    assert_int_equal(r.status, 400);
    buf_release(&r.body);
    post_http(pb_type, buf_slice(&pb), &r); /* 360 kB: through a worker */
    expect(&r, 200, "application/x-protobuf", SLICE_LIT("\x0a\0"));
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.spans_kept), 24000);
    free(packed);
    buf_release(&pb);
}

static void test_http_too_large_is_413(void **state)
{
    (void)state;
    struct response r;
    uint8_t *big = calloc(1, BODY_MAX + 1);
    assert_non_null(big);
    post_http(json_type, (struct slice){big, BODY_MAX + 1}, &r);
    expect(&r, 413, "application/json",
           SLICE_LIT("{\"code\":8,\"message\":\"request body too large\"}"));
    buf_release(&r.body);
    free(big);
}

static void test_bad_spans_are_a_partial_success(void **state)
{
    (void)state;
    struct response r;
    post_http(json_type, slice_str(json_two), &r);
    expect(
        &r, 200, "application/json",
        SLICE_LIT(
            "{\"partialSuccess\":{\"rejectedSpans\":\"1\",\"errorMessage\":\"trace ids must be 128 bit, received 120 bits\"}}"));
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.spans_kept), 1);
    struct buf pb;
    make_request(&pb, 0, true); /* bad ones only: nothing to push */
    post_http(pb_type, buf_slice(&pb), &r);
    assert_int_equal(r.status, 200);
    static const char text[] =
        "trace ids must be 128 bit, received 120 bits; span ids must be 64 bit and not all zero, received 64 bits";
    assert_int_equal(r.body.len, sizeof text - 1 + 6);
    assert_memory_equal(r.body.ptr + 6, text, sizeof text - 1);
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.calls), 1);
    atomic_store(&fx.mode, MODE_REFUSE_LARGE);
    post_http(json_type, slice_str(json_one), &r);
    expect(
        &r, 200, "application/json",
        SLICE_LIT(
            "{\"partialSuccess\":{\"rejectedSpans\":\"1\",\"errorMessage\":\"TRACE_TOO_LARGE: max size of trace (5000000) exceeded "
            "by trace 30313233343536373839616263646566 of tenant single-tenant\"}}"));
    buf_release(&r.body);
    buf_release(&pb);
}

static void test_what_is_not_stored_is_unavailable(void **state)
{
    (void)state;
    struct response r;
    char got[1024];
    atomic_store(&fx.mode, MODE_NONE_UP);
    post_http(json_type, slice_str(json_one), &r);
    expect(
        &r, 503, "application/json",
        SLICE_LIT(
            "{\"code\":14,\"message\":\"no ingester takes writes now\",\"details\":[{\"@type\":\"type.googleapis.com/"
            "google.rpc.RetryInfo\",\"retryDelay\":\"5s\"}]}"));
    assert_string_equal(header_of(&r, "retry-after", got), "5");
    buf_release(&r.body);
    atomic_store(&fx.mode, MODE_FULL);
    post_http(json_type, slice_str(json_one), &r);
    assert_int_equal(r.status, 503);
    assert_string_equal(header_of(&r, "retry-after", got), "5");
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.calls), 3); /* three candidates */
    atomic_store(&fx.mode, MODE_TIMEOUT_THEN_KEEP);
    post_http(json_type, slice_str(json_one), &r);
    assert_int_equal(r.status, 200);
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.spans_kept), 1);
}

static void test_over_the_rate_is_429(void **state)
{
    (void)state;
    struct response r;
    char got[1024];
    fx.config.limits.rate_limit_bytes = 0;
    post_http(json_type, slice_str(json_one), &r);
    assert_int_equal(r.status, 429);
    assert_string_equal(header_of(&r, "retry-after", got), "5");
    assert_memory_equal(
        r.body.ptr,
        "{\"code\":8,\"message\":\"RATE_LIMITED: ingestion rate limit (local: 0 bytes/s", 73);
    buf_release(&r.body);
    fx.config.limits.rate_limit_bytes = 10;
    fx.config.limits.burst_size_bytes = 10;
    post_http(json_type, slice_str(json_one), &r);
    assert_int_equal(r.status, 429);
    assert_string_equal(header_of(&r, "retry-after", got), ""); /* it never fits */
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.calls), 0);
}

static void test_tenants(void **state)
{
    (void)state;
    static const char *const good[] = {"Content-Type: application/json", "X-Scope-OrgID: team-a",
                                       NULL};
    static const char *const bad[] = {"Content-Type: application/json", "X-Scope-OrgID: a/b", NULL};
    static const char *const two[] = {"Content-Type: application/json", "X-Scope-OrgID: a",
                                      "X-Scope-OrgID: b", NULL};
    struct response r;
    post_http(good, slice_str(json_one), &r);
    assert_int_equal(r.status, 200);
    expect_tenant("single-tenant"); /* without multitenancy nobody looks */
    buf_release(&r.body);
    fx.config.multitenancy_enabled = true;
    post_http(good, slice_str(json_one), &r);
    assert_int_equal(r.status, 200);
    expect_tenant("team-a");
    buf_release(&r.body);
    post_http(json_type, slice_str(json_one), &r);
    expect(&r, 503, "application/json", SLICE_LIT("{\"code\":14,\"message\":\"no org id\"}"));
    buf_release(&r.body);
    post_http(two, slice_str(json_one), &r);
    expect(&r, 503, "application/json", SLICE_LIT("{\"code\":14,\"message\":\"no org id\"}"));
    buf_release(&r.body);
    post_http(bad, slice_str(json_one), &r);
    expect(&r, 400, "application/json",
           SLICE_LIT(
               "{\"code\":3,\"message\":\"tenant ID 'a/b' contains unsupported character '/'\"}"));
    buf_release(&r.body);
}

static void wait_for_generator(unsigned calls)
{
    for (unsigned i = 0; i < 500 && atomic_load(&fx.generator_calls) < calls; i++) {
        struct timespec t = {.tv_nsec = 10000000};
        (void)nanosleep(&t, NULL);
    }
    assert_int_equal(atomic_load(&fx.generator_calls), calls);
}

static void test_generators_get_what_was_stored_once(void **state)
{
    (void)state;
    static const char *const without[] = {"Content-Type: application/json",
                                          "No-Generate-Metrics: true", NULL};
    struct response r;
    post_http(json_type, slice_str(json_two), &r); /* one of the two is refused */
    buf_release(&r.body);
    wait_for_generator(1);
    assert_int_equal(atomic_load(&fx.generator_spans), 1);
    post_http(without, slice_str(json_one), &r);
    assert_int_equal(r.status, 200);
    buf_release(&r.body);
    atomic_store(&fx.mode, MODE_FULL); /* not stored: the client will send it again */
    post_http(json_type, slice_str(json_one), &r);
    assert_int_equal(r.status, 503);
    buf_release(&r.body);
    atomic_store(&fx.mode, MODE_KEEP);
    post_http(json_type, slice_str(json_one), &r);
    buf_release(&r.body);
    wait_for_generator(2);
    assert_int_equal(atomic_load(&fx.generator_spans), 2);
}

/* --- OTLP/gRPC --------------------------------------------------------------------------------------------------- */

#define EXPORT "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

static void post_grpc(const char *path, const char *const *headers, uint8_t flag,
                      struct slice message, struct response *ret)
{
    struct buf b;

    buf_init(&b, 8 << 20);
    buf_append_byte(&b, flag);
    uint8_t len[4];
    be32_write(len, (uint32_t)message.len);
    buf_append(&b, (struct slice){len, 4});
    buf_append(&b, message);
    request(true, "POST", path, headers, buf_slice(&b), ret);
    buf_release(&b);
}

static void expect_grpc(const struct response *r, const char *status, const char *message)
{
    char got[1024];

    assert_int_equal(r->status, 200);
    assert_string_equal(header_of(r, "content-type", got), "application/grpc");
    assert_string_equal(header_of(r, "grpc-message", got), message);
    assert_string_equal(header_of(r, "grpc-status", got), status);
}

static void test_grpc_success(void **state)
{
    (void)state;
    struct response r;
    struct buf pb;
    make_request(&pb, 5, false);
    post_grpc(EXPORT, grpc_type, 0, buf_slice(&pb), &r);
    expect_grpc(&r, "0", "");
    assert_true(slice_eq(buf_slice(&r.body), SLICE_LIT("\0\0\0\0\x02\x0a\0")));
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.spans_kept), 5);
    post_grpc(EXPORT, grpc_type, 0, SLICE_NONE, &r);
    expect_grpc(&r, "0", "");
    buf_release(&r.body);
    buf_release(&pb);
    make_request(&pb, 2, true);
    post_grpc(EXPORT, grpc_type, 0, buf_slice(&pb), &r);
    expect_grpc(&r, "0", "");
    assert_memory_equal(r.body.ptr + 7, "\x08\x02\x12", 3); /* rejected_spans: 2 */
    buf_release(&r.body);
    assert_int_equal(atomic_load(&fx.spans_kept), 7);
    buf_release(&pb);
}

static void test_grpc_refusals(void **state)
{
    (void)state;
    static const char *const br[] = {"Content-Type: application/grpc+proto", "grpc-encoding: br",
                                     NULL};
    struct response r;
    char got[1024];
    post_grpc("/opentelemetry.proto.collector.trace.v1.TraceService/Import", grpc_type, 0,
              SLICE_NONE, &r);
    expect_grpc(
        &r, "12",
        "unknown method Import for service opentelemetry.proto.collector.trace.v1.TraceService");
    buf_release(&r.body);
    post_grpc("/grpc.health.v1.Health/Check", grpc_type, 0, SLICE_NONE, &r);
    expect_grpc(&r, "12", "unknown service grpc.health.v1.Health");
    buf_release(&r.body);
    post_grpc(EXPORT, br, 1, SLICE_LIT("x"), &r);
    expect_grpc(&r, "12", "grpc: Decompressor is not installed for grpc-encoding \"br\"");
    buf_release(&r.body);
    post_grpc(EXPORT, grpc_type, 0, SLICE_LIT("\x0a\x05x"), &r);
    expect_grpc(&r, "3", "request: malformed or cut protobuf field");
    buf_release(&r.body);
    static const char *const json[] = {"Content-Type: application/json", NULL};
    post_grpc(EXPORT, json, 0, SLICE_NONE, &r);
    assert_int_equal(r.status, 415);
    buf_release(&r.body);
    uint8_t *big = calloc(1, BODY_MAX + 1);
    assert_non_null(big);
    post_grpc(EXPORT, grpc_type, 0, (struct slice){big, BODY_MAX + 1}, &r);
    if (r.status != 0) { /* curl heard the answer before the reset */
        expect_grpc(&r, "8", "grpc: received message larger than max (1048576)");
        /* Smaller would help, later would not. */
        assert_string_equal(header_of(&r, "grpc-status-details-bin", got), "");
    }
    assert_int_equal(atomic_load(&fx.calls), 0);
    buf_release(&r.body);
    free(big);
    fx.config.multitenancy_enabled = true;
    post_grpc(EXPORT, grpc_type, 0, SLICE_NONE, &r);
    expect_grpc(&r, "14", "no org id");
    buf_release(&r.body);
}

static void test_grpc_retry_info(void **state)
{
    (void)state;
    struct response r;
    struct buf pb;
    char got[1024];
    make_request(&pb, 1, false);
    atomic_store(&fx.mode, MODE_NONE_UP);
    post_grpc(EXPORT, grpc_type, 0, buf_slice(&pb), &r);
    expect_grpc(&r, "14", "no ingester takes writes now");
    /* Status{14, text, Any{RetryInfo{5 s}}} */
    assert_string_equal(
        header_of(&r, "grpc-status-details-bin", got),
        "CA4SHG5vIGluZ2VzdGVyIHRha2VzIHdyaXRlcyBub3caMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIBQ");
    buf_release(&r.body);
    fx.config.limits.rate_limit_bytes = 0;
    post_grpc(EXPORT, grpc_type, 0, buf_slice(&pb), &r);
    assert_string_equal(header_of(&r, "grpc-status", got), "8");
    assert_string_not_equal(header_of(&r, "grpc-status-details-bin", got), "");
    buf_release(&r.body);
    buf_release(&pb);
}

static void test_grpc_deadline_is_the_clients(void **state)
{
    (void)state;
    static const char *const soon[] = {"Content-Type: application/grpc", "grpc-timeout: 100u",
                                       NULL};
    struct response r;
    struct buf pb;
    make_request(&pb, 1, false);
    post_grpc(EXPORT, soon, 0, buf_slice(&pb), &r);
    expect_grpc(&r, "14", "1 of 1 spans could not be stored: timeout");
    assert_int_equal(atomic_load(&fx.calls), 0);
    buf_release(&r.body);
    buf_release(&pb);
}

#define WITH_ROOM(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOM(test_http_success_has_the_requests_type),
        WITH_ROOM(test_http_refuses_what_is_not_it),
        WITH_ROOM(test_http_takes_compressed_bodies),
        WITH_ROOM(test_http_too_large_is_413),
        WITH_ROOM(test_bad_spans_are_a_partial_success),
        WITH_ROOM(test_what_is_not_stored_is_unavailable),
        WITH_ROOM(test_over_the_rate_is_429),
        WITH_ROOM(test_tenants),
        WITH_ROOM(test_generators_get_what_was_stored_once),
        WITH_ROOM(test_grpc_success),
        WITH_ROOM(test_grpc_refusals),
        WITH_ROOM(test_grpc_retry_info),
        WITH_ROOM(test_grpc_deadline_is_the_clients),
    };
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
