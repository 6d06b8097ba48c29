/* Every allocation of the way of a request fails once: each step says so, gives back what it drew, and does right the next time. */
#include "common/codec/inflate.h"
#include "common/codec/otlp.h"
#include "common/codec/otlp_json.h"
#include "distributor/forward.h"
#include "distributor/push.h"
#include "distributor/reply.h"
#include "distributor/split.h"
#include "distributor/stats.h"
#include "distributor/tenants.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/otlp_random.h"
#include "tests/unit/distributor/fake_peers.h"

static const char json[] =
    "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}}]},"
    "\"scopeSpans\":[{\"spans\":[{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\",\"name\":\"op\","
    "\"attributes\":[{\"key\":\"a\",\"value\":{\"arrayValue\":{\"values\":[{\"intValue\":\"1\"},{\"bytesValue\":\"AAAA\"}]}}}]}]}]}]}";

static void convert_json(void *arg)
{
    struct budget *budget = arg;
    struct buf pb;
    uint32_t count = 0;

    buf_init(&pb, 1 << 20);
    enum err e = otlp_json_to_pb(slice_str(json), budget, &pb, NULL);
    assert_int_equal(e, alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    if (e == ERR_OK) {
        assert_int_equal(otlp_check(buf_slice(&pb), &otlp_limits_default, &count, NULL), ERR_OK);
        assert_int_equal(count, 1);
    }
    buf_release(&pb);
    assert_int_equal(budget_used(budget), 0);
}

static void test_json(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, SIZE_MAX, NULL);
    assert_true(ALLOC_SWEEP(convert_json, &budget) >= 2);
}

struct packed {
    enum inflate_kind kind;
    struct slice body, text;
};

static void unpack(void *arg)
{
    const struct packed *p = arg;
    struct budget budget;
    struct buf out;

    budget_init(&budget, SIZE_MAX, NULL);
    buf_init(&out, 1 << 20);
    enum err e = inflate_bytes(p->kind, p->body, &inflate_limits_default, &budget, &out, NULL);
    assert_int_equal(e, alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    if (e == ERR_OK)
        assert_true(slice_eq(buf_slice(&out), p->text));
    assert_int_equal(budget_used(&budget), out.cap);
    buf_release(&out);
}

static void test_decompression(void **state)
{
    (void)state;
    static const char plain[] = "as it is";
    static const uint8_t snappy[] = {8, 7 << 2, 'a', 's', ' ', 'i', 't', ' ', 'i', 's'};
    struct packed cases[] = {{INFLATE_IDENTITY, SLICE_LIT("as it is"), slice_str(plain)},
                             {INFLATE_SNAPPY, {snappy, sizeof snappy}, slice_str(plain)}};
    for (unsigned i = 0; i < 2; i++)
        assert_true(ALLOC_SWEEP(unpack, &cases[i]) >= 1);
}

static uint32_t place_by_number(void *arg, struct trace_id id)
{
    (void)arg;
    return id.b[8] % 3;
}

static void cut(void *arg)
{
    const struct buf *request = arg;
    struct arena a;
    struct split s;
    uint32_t count = 0;

    arena_init(&a, NULL);
    assert_int_equal(otlp_check(buf_slice(request), &otlp_limits_default, &count, NULL), ERR_OK);
    enum err e = split_begin(&a, buf_slice(request), count, &s);
    if (e == ERR_OK)
        e = split_route(&s, place_by_number, NULL);
    assert_int_equal(e, alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    arena_release(&a);
}

static void test_split(void **state)
{
    (void)state;
    struct otlp_random g = {.trace_count = 300, .text_bytes_max = 20};
    struct buf request;
    rng_init(&g.rng, 1);
    buf_init(&request, 64 << 20);
    while (request.len < 1 << 20) /* more than a chunk of the arena */
        otlp_random_request(&g, 4, 200, &request);
    assert_true(ALLOC_SWEEP(cut, &request) >= 2);
    buf_release(&request);
}

static struct slice pieces[] = {{(const uint8_t *)"payload", 7}};

static void on_finished(struct push *p)
{
    (void)p;
}

static void push_one(void *arg)
{
    struct arena a;
    struct push push;
    struct split_part part = {.span_count = 10, .pieces = pieces, .piece_count = 1, .bytes = 7};

    (void)arg;
    fake_init(2);
    struct push_setup setup = {.peers = &fake.peers,
                               .clock = &fake.clock.clock,
                               .post = fake_post,
                               .tenant = SLICE_LIT("t"),
                               .deadline_ns = clock_mono_ns(&fake.clock.clock) + NS_PER_S,
                               .first_attempt_timeout_ns = NS_PER_S,
                               .finished = on_finished};
    arena_init(&a, NULL);
    enum err e = push_start(&push, &setup, &a, &part, 1);
    if (e == ERR_OK) {
        /* A head that could not be written is an attempt that was not made: the next candidate is asked. */
        for (unsigned i = 0; i < fake.call_count; i++)
            fake_answer(i, ERR_OK, SLICE_NONE);
        assert_int_equal(push.stored_spans + push.failed_spans, 10);
        assert_int_equal(push.stored_spans, fake.call_count == 1 ? 10 : 0);
    } else {
        assert_int_equal(e, ERR_NOMEM);
        assert_int_equal(fake.call_count, 0);
    }
    arena_release(&a);
    fake_release();
}

static void test_push(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(push_one, NULL) >= 2);
}

static void forward_one(void *arg)
{
    struct forward *f = NULL;
    struct split_part part = {.span_count = 10, .pieces = pieces, .piece_count = 1, .bytes = 7};

    (void)arg;
    fake_init(1);
    struct forward_options o = {
        .peers = &fake.peers, .clock = &fake.clock.clock, .post = fake_post, .bytes_max = 1 << 20};
    enum err e = forward_new(&o, &f);
    if (e != ERR_OK) {
        assert_int_equal(e, ERR_NOMEM);
        return;
    }
    static const uint8_t batch_id[BATCH_ID_BYTES];
    double dropped = metric_value(stats.generator_dropped[STATS_DROP_NO_MEMORY]);
    forward_add(f, batch_id, SLICE_LIT("t"), 0, &part, 1);
    fake_run_posted();
    fake_clock_advance(&fake.clock,
                       NS_PER_S); /* a head that could not be written is written later */
    forward_tick(f);
    dropped = metric_value(stats.generator_dropped[STATS_DROP_NO_MEMORY]) - dropped;
    assert_int_equal(fake.call_count + (unsigned)dropped / 10, 1);
    if (fake.call_count == 1)
        fake_answer(0, ERR_OK, SLICE_NONE);
    assert_int_equal(forward_bytes(f), 0);
    forward_free(f);
    fake_release();
}

static void test_forward(void **state)
{
    (void)state;
    stats_init();
    assert_true(ALLOC_SWEEP(forward_one, NULL) >= 3);
}

static void take_tenant(void *arg)
{
    struct limits limits = {.rate_limit_bytes = 1000, .burst_size_bytes = 1000};
    struct tenants t;
    struct tenant *tenant = NULL;

    (void)arg;
    tenants_init(&t, false, &clock_system);
    enum err e = tenants_get(&t, "tenant", &tenant, NULL);
    if (e == ERR_OK)
        assert_int_equal(tenants_take(&t, tenant, &limits, 1, NULL), ERR_OK);
    else
        assert_int_equal(e, ERR_NOMEM);
    tenants_release(&t);
}

static void test_tenants(void **state)
{
    (void)state;
    stats_init();
    struct tenants t;
    struct tenant *tenant = NULL;
    tenants_init(&t, false, &clock_system);
    assert_int_equal(tenants_get(&t, "tenant", &tenant, NULL),
                     ERR_OK); /* its metric cells are there from now on */
    tenants_release(&t);
    assert_true(ALLOC_SWEEP(take_tenant, NULL) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),    cmocka_unit_test(test_decompression),
        cmocka_unit_test(test_split),   cmocka_unit_test(test_push),
        cmocka_unit_test(test_forward), cmocka_unit_test(test_tenants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
