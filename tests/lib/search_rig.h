/*
 * search_rig.h - an ingester core and a querier's search in one process, with real lanes, a real log and real blocks, for one test file each.
 */
#ifndef VIVACE_TESTS_LIB_SEARCH_RIG_H
#define VIVACE_TESTS_LIB_SEARCH_RIG_H

#include "common/base/clock.h"
#include "common/net/rpc.h"
#include "common/store/backend.h"
#include "ingester/core.h"
#include "ingester/live_query.h"
#include "querier/search.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { WAIT_MS = 120000 };

static size_t memory_bytes = 512 << 20;
static const struct clock *core_clock = &clock_system; /* from its next start on */

static struct config config;
static struct overrides *overrides;
static struct budget memory;
static struct backend *backend;
static struct core *core;
static struct live_query *queries;
static struct rpc_server *control, *lane;
static struct members *members;
static struct blocks *blocks;
static struct arena arena; /* of the answers */
static uint32_t next_part;

static inline void sleep_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * NS_PER_MS};
    (void)nanosleep(&t, NULL);
}

#define EVENTUALLY(condition)                      \
    for (int waited = 0; !(condition); waited++) { \
        assert_true(waited < WAIT_MS);             \
        sleep_ms(1);                               \
    }

static inline void on_fail(int code)
{
    fail_msg("the core failed: %d", code);
}

static inline void on_control(void *arg, struct rpc_req *req)
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

static atomic_int refused_method; /* of the query lane; 0: none */

static inline void on_query(void *arg, struct rpc_req *req)
{
    (void)arg;
    if (rpc_req_method(req) == atomic_load(&refused_method))
        rpc_reply(req, ERR_UNAVAILABLE, SLICE_NONE);
    else
        live_query_take(queries, req);
}

static inline struct rpc_server *serve(rpc_handler *handler)
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

static inline void start_core(void)
{
    char text[256];
    struct err_detail d = {0};
    struct core_options o = {.config = &config,
                             .overrides = overrides,
                             .clock = core_clock,
                             .memory = &memory,
                             .instance_id = "ingester-0",
                             .backend = backend,
                             .fail = on_fail};
    struct live_query_options q = {
        .memory = &memory, .instance_id = "ingester-0", .timeout_ns = 60 * NS_PER_S, .threads = 1};

    if (core_start(&o, &core, &d) != ERR_OK)
        fail_msg("%s", d.text);
    EVENTUALLY(core_state(core, text) == MEMBER_ACTIVE);
    q.core = core;
    assert_int_equal(live_query_new(&q, &queries), ERR_OK);
}

/* As a kill would: what is in memory is gone. */
static inline void stop_core(void)
{
    live_query_free(queries);
    core_free(core);
}

/* The ingester and, when asked for, a second address where nobody is. */
static inline void start(void **state, bool has_absent)
{
    char yaml[2048];
    const char *urls[2] = {NULL, "tcp://127.0.0.1:1"};
    struct config_warning *warnings;
    struct err_detail d = {0};

    (void)snprintf(
        yaml, sizeof yaml,
        "storage: {trace: {backend: local, local: {path: '%s'}, wal: {path: '%s'}, block: {retention: 24h}}}\n",
        tmpdir_path(state, "blocks"), tmpdir_path(state, "wal"));
    if (config_parse("test.yml", slice_str(yaml), false, NULL, 0, &config, &warnings, &d) != ERR_OK)
        fail_msg("%s", d.text);
    assert_int_equal(overrides_new(&config, &overrides, &d), ERR_OK);
    budget_init(&memory, memory_bytes, NULL);
    arena_init(&arena, NULL);
    assert_int_equal(backend_local_new(tmpdir_path(state, "blocks"), &backend, &d), ERR_OK);
    start_core();
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
                                .period_ns = 2 * NS_PER_S};
    assert_int_equal(members_new(&m, &members), ERR_OK);
    EVENTUALLY(members_query(members, 0) != NULL &&
               rpc_client_is_connected(members_query(members, 0)));
    assert_int_equal(blocks_new(backend, &memory, &blocks), ERR_OK);
}

/* The ingester is killed and comes again, the querier is a new one that knows no block. */
static inline void restart(void)
{
    stop_core();
    blocks_free(blocks);
    assert_int_equal(blocks_new(backend, &memory, &blocks), ERR_OK);
    start_core();
}

static inline int tear_down(void **state)
{
    blocks_free(blocks);
    members_free(members);
    rpc_server_free(control);
    rpc_server_free(lane);
    stop_core();
    backend->ops->free(backend);
    arena_release(&arena);
    overrides_free(overrides);
    config_release(&config);
    assert_int_equal(budget_used(&memory), 0);
    return tmpdir_teardown(state);
}

struct waiting {
    struct push push; /* first */
    atomic_bool is_over;
};

static inline void finished(struct push *p)
{
    atomic_store(&((struct waiting *)(void *)p)->is_over, true);
}

/* Pushes one request of the tenant "acme", and waits for the answer, which must be OK. */
static inline void push_otlp(struct slice otlp, uint32_t span_count, bool is_doubt)
{
    struct waiting w = {.push = {.finished = finished}};

    w.push.kind = PUSH_CLIENT;
    w.push.item.bytes = otlp.len;
    w.push.wal_flags = is_doubt ? WAL_FLAG_DOUBT : 0;
    w.push.m = (struct push_message){.batch_id = {1, 2, 3},
                                     .part = ++next_part,
                                     .span_count = span_count,
                                     .is_doubt = is_doubt,
                                     .received_ns = clock_wall_ns(&clock_system),
                                     .tenant = SLICE_LIT("acme"),
                                     .payload = otlp};
    atomic_init(&w.is_over, false);
    core_push(core, &w.push);
    EVENTUALLY(atomic_load(&w.is_over));
    assert_int_equal(w.push.err, ERR_OK);
    assert_int_equal(w.push.refused_count, 0);
}

static inline void flushed(void *arg, enum err err)
{
    assert_int_equal(err, ERR_OK);
    atomic_store((atomic_bool *)arg, true);
}

static inline void flush(void)
{
    atomic_bool is_over = false;

    core_flush(core, flushed, &is_over);
    EVENTUALLY(atomic_load(&is_over));
}

/* --- merging, as if two hours had passed --- */

static inline int64_t later_wall_ns(const struct clock *c)
{
    (void)c;
    return clock_wall_ns(&clock_system) + 7200 * NS_PER_S;
}

static inline int64_t later_mono_ns(const struct clock *c)
{
    (void)c;
    return clock_mono_ns(&clock_system);
}

static const struct clock later_clock = {later_wall_ns, later_mono_ns};

static inline enum err count_block(void *arg, const char *name)
{
    (void)name;
    ++*(unsigned *)arg;
    return ERR_OK;
}

static inline unsigned blocks_listed(void)
{
    unsigned count = 0;

    assert_int_equal(backend->ops->blocks(backend, "acme", count_block, &count), ERR_OK);
    return count;
}

/* Restarts twice: the compact thread merges what ended in one hour until a job takes no more of it, and is off again. */
static inline void merge_blocks(void)
{
    enum { JOB_BLOCKS_MAX = 12 };
    unsigned before = blocks_listed();

    assert_true(before > 1);
    config.compactor_disabled = false;
    config.compaction_cycle_ns = 100 * NS_PER_MS;
    core_clock = &later_clock;
    restart();
    EVENTUALLY(blocks_listed() <= (before + JOB_BLOCKS_MAX - 1) / JOB_BLOCKS_MAX);
    config.compactor_disabled = true;
    core_clock = &clock_system;
    restart();
}

static inline struct search_ctx ctx_new(void)
{
    return (struct search_ctx){.ingesters = members,
                               .blocks = blocks,
                               .budget = &memory,
                               .tenant = "acme",
                               .deadline_mono_ns = clock_mono_ns(&clock_system) + 120 * NS_PER_S,
                               .arena = &arena};
}

#endif
