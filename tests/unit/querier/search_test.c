/* Searches over a real ingester core and real blocks, with real lanes between: traces in several places are judged whole. */
#include "common/base/clock.h"
#include "common/codec/otlp.h"
#include "common/net/rpc.h"
#include "common/query/ql.h"
#include "common/store/backend.h"
#include "common/sys/fs.h"
#include "ingester/core.h"
#include "ingester/live_query.h"
#include "querier/search.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"
#include "tests/unit/generator/otlp_one.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WAIT_MS = 20000 };

static struct config config;
static struct budget memory;
static struct backend *backend;
static struct core *core;
static struct live_query *queries;
static struct rpc_server *control, *lane;
static struct members *members;
static struct blocks *blocks;
static struct arena arena;
static uint32_t next_part;
static int64_t base_ns;
static unsigned missing; /* of the last answer */

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * NS_PER_MS};
    (void)nanosleep(&t, NULL);
}

#define EVENTUALLY(condition)                      \
    for (int waited = 0; !(condition); waited++) { \
        assert_true(waited < WAIT_MS);             \
        sleep_ms(1);                               \
    }

static void on_fail(int code)
{
    fail_msg("the core failed: %d", code);
}

static void on_control(void *arg, struct rpc_req *req)
{
    struct member_self self = {.role = "ingester",
                               .cluster = "c",
                               .id = "ingester-0",
                               .boot_id = "0123456789abcdef",
                               .zone = "",
                               .push_url = rpc_server_url(lane),
                               .query_url = rpc_server_url(lane)};

    (void)arg;
    member_hello_reply(req, &self, MEMBER_ACTIVE);
}

static void on_query(void *arg, struct rpc_req *req)
{
    (void)arg;
    live_query_take(queries, req);
}

static struct rpc_server *serve(rpc_handler *handler)
{
    struct rpc_server *s;
    struct err_detail d = {0};
    struct rpc_server_options o = {.url = "tcp://127.0.0.1:0",
                                   .receive_bytes_max = 16 << 20,
                                   .contexts = 16,
                                   .handler = handler};

    if (rpc_server_new(&o, &s, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return s;
}

/* The ingester and, when asked for, a second address where nobody is. */
static void start(void **state, bool has_absent)
{
    char yaml[2048], text[256];
    const char *urls[2] = {NULL, "tcp://127.0.0.1:1"};
    struct config_warning *warnings;
    struct err_detail d = {0};

    (void)snprintf(
        yaml, sizeof yaml,
        "storage: {trace: {backend: local, local: {path: '%s'}, wal: {path: '%s'}, block: {retention: 24h}}}\n",
        tmpdir_path(state, "blocks"), tmpdir_path(state, "wal"));
    if (config_parse("test.yml", slice_str(yaml), false, NULL, 0, &config, &warnings, &d) != ERR_OK)
        fail_msg("%s", d.text);
    budget_init(&memory, 512 << 20, NULL);
    arena_init(&arena, NULL);
    base_ns = clock_wall_ns(&clock_system) - 60 * NS_PER_S;
    assert_int_equal(backend_local_new(tmpdir_path(state, "blocks"), &backend, &d), ERR_OK);
    struct core_options o = {.config = &config,
                             .clock = &clock_system,
                             .memory = &memory,
                             .instance_id = "ingester-0",
                             .backend = backend,
                             .fail = on_fail};
    assert_int_equal(core_start(&o, &core, &d), ERR_OK);
    EVENTUALLY(core_state(core, text) == MEMBER_ACTIVE);
    struct live_query_options q = {.core = core,
                                   .memory = &memory,
                                   .instance_id = "ingester-0",
                                   .timeout_ns = 10 * NS_PER_S,
                                   .threads = 1};
    assert_int_equal(live_query_new(&q, &queries), ERR_OK);
    lane = serve(on_query);
    control = serve(on_control);
    urls[0] = rpc_server_url(control);
    struct members_options m = {.role = "ingester",
                                .cluster = "c",
                                .own_role = "querier",
                                .own_id = "querier-0",
                                .own_boot_id = "0",
                                .control_urls = urls,
                                .url_count = has_absent ? 2 : 1,
                                .push_receive_bytes_max = 1 << 20,
                                .query_receive_bytes_max = 16 << 20,
                                .contexts = 16,
                                .period_ns = 20 * NS_PER_MS};
    assert_int_equal(members_new(&m, &members), ERR_OK);
    EVENTUALLY(members_query(members, 0) != NULL &&
               rpc_client_is_connected(members_query(members, 0)));
    assert_int_equal(blocks_new(backend, &memory, &blocks), ERR_OK);
}

static int tear_down(void **state)
{
    blocks_free(blocks);
    members_free(members);
    rpc_server_free(control);
    rpc_server_free(lane);
    live_query_free(queries);
    core_free(core);
    backend->ops->free(backend);
    arena_release(&arena);
    config_release(&config);
    assert_int_equal(budget_used(&memory), 0);
    return tmpdir_teardown(state);
}

struct waiting {
    struct push push; /* first */
    atomic_bool is_over;
};

static void finished(struct push *p)
{
    atomic_store(&((struct waiting *)(void *)p)->is_over, true);
}

/* A span that ends `ms` after the base; it lasts 10 ms. */
static void push(const char *service, unsigned trace, unsigned span, unsigned parent, int64_t ms,
                 bool is_doubt)
{
    struct waiting w = {.push = {.finished = finished}};
    struct buf pb;

    buf_init(&pb, 1 << 20);
    otlp_one(&pb, service, trace, span, parent, parent == 0 ? 2 : 3, base_ns + ms * NS_PER_MS, "");
    w.push.kind = PUSH_CLIENT;
    w.push.item.bytes = pb.len;
    w.push.m = (struct push_message){.batch_id = {1, 2, 3},
                                     .part = ++next_part,
                                     .span_count = 1,
                                     .is_doubt = is_doubt,
                                     .received_ns = clock_wall_ns(&clock_system),
                                     .tenant = SLICE_LIT("acme"),
                                     .payload = buf_slice(&pb)};
    atomic_init(&w.is_over, false);
    core_push(core, &w.push);
    EVENTUALLY(atomic_load(&w.is_over));
    assert_int_equal(w.push.err, ERR_OK);
    assert_int_equal(w.push.refused_count, 0);
    buf_release(&pb);
}

static void flushed(void *arg, enum err err)
{
    assert_int_equal(err, ERR_OK);
    atomic_store((atomic_bool *)arg, true);
}

static void flush(void)
{
    atomic_bool is_over = false;

    core_flush(core, flushed, &is_over);
    EVENTUALLY(atomic_load(&is_over));
}

static struct search_ctx ctx_new(void)
{
    return (struct search_ctx){.ingesters = members,
                               .blocks = blocks,
                               .budget = &memory,
                               .tenant = "acme",
                               .deadline_mono_ns = clock_mono_ns(&clock_system) + 20 * NS_PER_S,
                               .arena = &arena,
                               .max_attribute_bytes = 2048};
}

static struct search_result search(const char *text)
{
    struct search_ctx ctx = ctx_new();
    struct ql_query *ql;
    struct search_result r = {0};
    struct err_detail d = {0};

    if (ql_parse(&arena, slice_str(text), &ql, &d) != ERR_OK)
        fail_msg("%s: %s", text, d.text);
    struct engine_query q = {.ql = ql,
                             .start_ns = (uint64_t)base_ns - 60 * (uint64_t)NS_PER_S,
                             .end_ns = (uint64_t)base_ns + 120 * (uint64_t)NS_PER_S,
                             .limit = 20,
                             .spans_per_spanset = 10};
    assert_int_equal(search_run(&ctx, slice_str(text), &q, &r), ERR_OK);
    ql_release(ql);
    missing = ctx.missing;
    return r;
}

static uint32_t spans_of(unsigned trace)
{
    struct search_ctx ctx = ctx_new();
    struct trace_id id = {{0}};
    struct slice otlp, body;
    struct otlp_iter it;
    uint32_t n = 0;

    be32_write(id.b + 12, trace);
    assert_int_equal(search_trace(&ctx, id, &otlp), ERR_OK);
    missing = ctx.missing;
    for (otlp_iter_init(&it, otlp); otlp_next_span(&it, &body);)
        n++;
    return n;
}

static void test_heads_alone_then_blocks_alone(void **state)
{
    start(state, false);
    for (unsigned t = 1; t <= 5; t++)
        push("shop", t, 1, 0, t * 100, false);
    for (int round = 0; round < 2; round++) {
        struct search_result r = search("{ resource.service.name = \"shop\" }");
        assert_int_equal(r.trace_count, 5);
        assert_int_equal(missing, 0);
        assert_int_equal(r.stats.total_blocks, round);
        for (uint32_t i = 1; i < r.trace_count; i++) /* newest first */
            assert_true(r.traces[i - 1].start_ns > r.traces[i].start_ns);
        assert_int_equal(spans_of(3), 1);
        assert_int_equal(spans_of(99), 0);
        assert_int_equal(search("{ resource.service.name = \"other\" }").trace_count, 0);
        flush();
    }
}

/* The root in a block, the rest in a head: `{a} && {b}`, the root's names and the duration are of the whole. */
static void test_a_trace_in_block_and_head_is_judged_whole(void **state)
{
    start(state, false);
    push("front", 1, 1, 0, 1000, false);
    flush();
    push("back", 1, 2, 1, 3000, false);
    push("alone", 2, 1, 0, 2000, false);
    struct search_result r =
        search("{ resource.service.name = \"front\" } && { resource.service.name = \"back\" }");
    assert_int_equal(missing, 0);
    assert_int_equal(r.trace_count, 1);
    assert_true(slice_eq_str(r.traces[0].root_service, "front"));
    assert_int_equal(r.traces[0].duration_ns, 2010 * NS_PER_MS);
    assert_int_equal(r.traces[0].spansets[0].matched, 2);
    assert_int_equal(search("{ traceDuration > 2s }").trace_count, 1);
    assert_int_equal(
        search("{ rootServiceName = \"front\" && resource.service.name = \"back\" }").trace_count,
        1);
    assert_int_equal(search("{ } | count() = 2").trace_count, 1);
    assert_int_equal(search("{ } | count() = 1").trace_count, 1); /* the other one */
    assert_int_equal(spans_of(1), 2);
    flush(); /* now in two blocks */
    assert_int_equal(search("{ } | count() = 2").trace_count, 1);
    assert_int_equal(search("{ traceDuration > 2s }").trace_count, 1);
    assert_int_equal(spans_of(1), 2);
}

/* Flagged, but all here. */
static void test_a_flagged_trace_in_one_place(void **state)
{
    start(state, false);
    push("front", 1, 1, 0, 1000, true);
    push("back", 1, 2, 1, 3000, true);
    assert_int_equal(search("{ } | count() = 2").trace_count, 1);
    flush();
    assert_int_equal(search("{ } | count() = 2").trace_count, 1);
    assert_int_equal(missing, 0);
}

static void test_who_can_not_be_reached_makes_it_partial(void **state)
{
    start(state, true);
    push("shop", 1, 1, 0, 1000, false);
    assert_int_equal(search("{ }").trace_count, 1);
    assert_int_not_equal(missing, 0);
    assert_int_equal(spans_of(1), 1);
    assert_int_not_equal(missing, 0);
    struct search_ctx ctx = ctx_new();
    struct tag_names names = {0};
    assert_int_equal(search_tag_names(&ctx, SLICE_NONE, 0, 0, 0, &names), ERR_OK);
    assert_int_not_equal(ctx.missing, 0);
    assert_int_equal(names.counts[TAGS_RESOURCE], 1);
}

static void test_tags_of_heads_and_blocks(void **state)
{
    struct ql_attribute tag;
    struct tag_names names = {0};
    struct tag_values values = {0};

    start(state, false);
    push("front", 1, 1, 0, 1000, false);
    flush();
    push("back", 2, 1, 0, 2000, false);
    push("front", 3, 1, 0, 2000, false);
    struct search_ctx ctx = ctx_new();
    assert_int_equal(search_tag_names(&ctx, SLICE_NONE, 0, 0, 0, &names), ERR_OK);
    assert_int_equal(names.counts[TAGS_RESOURCE], 1);
    assert_true(slice_eq_str(names.names[TAGS_RESOURCE][0], "service.name"));
    assert_int_equal(ql_parse_attribute(&arena, SLICE_LIT("resource.service.name"), &tag), ERR_OK);
    struct search_values_options o = {.tag_text = SLICE_LIT("resource.service.name"), .tag = &tag};
    assert_int_equal(search_tag_values(&ctx, &o, &values), ERR_OK);
    assert_int_equal(values.count, 2);
    assert_int_equal(ctx.missing, 0);
}

/* A block that can not be read any more is told, and the rest is answered. */
static void test_a_damaged_block_makes_it_partial(void **state)
{
    char *id = NULL;
    struct blocks_set set;

    start(state, false);
    push("shop", 1, 1, 0, 1000, false);
    flush();
    push("shop", 2, 1, 0, 2000, false);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_int_equal(blocks_take(blocks, "acme", 0, 0, NULL, 0, &arena, &set), ERR_OK);
    assert_int_equal(set.count, 1);
    id = arena_str(&arena, slice_str(block_meta(set.blocks[0])->id));
    blocks_give(&set);
    blocks_free(blocks); /* a querier that has not opened it yet */
    assert_int_equal(blocks_new(backend, &memory, &blocks), ERR_OK);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/acme/%s/data.vvb", tmpdir_path(state, "blocks"), id);
    assert_int_equal(fs_replace(path, SLICE_LIT("no block")), ERR_OK);
    assert_int_equal(search("{ }").trace_count, 1);
    assert_int_not_equal(missing, 0);
    assert_int_equal(spans_of(2), 1);
    assert_int_not_equal(missing, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_heads_alone_then_blocks_alone), T(test_a_trace_in_block_and_head_is_judged_whole),
        T(test_a_flagged_trace_in_one_place),  T(test_who_can_not_be_reached_makes_it_partial),
        T(test_tags_of_heads_and_blocks),      T(test_a_damaged_block_makes_it_partial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
