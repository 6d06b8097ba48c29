/*
 * core_rig.h - an ingester core with a clock of the test's, a real log and real blocks, for one test file each.
 */
#ifndef VIVACE_TESTS_LIB_CORE_RIG_H
#define VIVACE_TESTS_LIB_CORE_RIG_H

#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "common/net/rpc.h"
#include "common/store/block.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "ingester/core.h"
#include "ingester/live_query.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TENANT_SPANS_MAX = 4096, WAIT_S = 20 };

static char dir[SCRATCH_DIR_BYTES], wal_dir[SCRATCH_DIR_BYTES * 2],
    block_dir[SCRATCH_DIR_BYTES * 2];
/* The core's threads read the time while the test moves it. */
static atomic_llong test_wall, test_mono;

/* While this is set the replay's thread stands still: it looks at the time for every frame. */
static atomic_bool is_replay_held;

static inline bool is_replay_thread(void)
{
    char name[16] = {0};

    return pthread_getname_np(pthread_self(), name, sizeof name) == 0 &&
           strcmp(name, "replay") == 0;
}

static inline int64_t test_wall_ns(const struct clock *c)
{
    (void)c;
    while (atomic_load(&is_replay_held) && is_replay_thread())
        (void)usleep(1000);
    return atomic_load(&test_wall);
}

static inline int64_t test_mono_ns(const struct clock *c)
{
    (void)c;
    return atomic_load(&test_mono);
}

static const struct clock test_clock = {test_wall_ns, test_mono_ns};

static inline void advance(int64_t ns)
{
    (void)atomic_fetch_add(&test_wall, ns);
    (void)atomic_fetch_add(&test_mono, ns);
}

static struct config config;
static struct overrides *overrides;
static struct budget memory;
static struct backend *backend;
static struct core *core;
static struct live_query *queries;
static const struct wal_io *wal_io;
static int failed_code;
static uint32_t next_part;
static uint8_t push_flags; /* of the next pushes: WAL_FLAG_* */

static inline void on_fail(int code)
{
    failed_code = code;
}

static inline void start_core(void)
{
    struct err_detail d = {0};
    struct core_options o = {.config = &config,
                             .overrides = overrides,
                             .clock = &test_clock,
                             .memory = &memory,
                             .instance_id = "ingester-0",
                             .backend = backend,
                             .wal_io = wal_io,
                             .fail = on_fail};
    if (core_start(&o, &core, &d) != ERR_OK)
        fail_msg("%s", d.text);
    struct live_query_options q = {.core = core,
                                   .memory = &memory,
                                   .instance_id = "ingester-0",
                                   .timeout_ns = 10 * NS_PER_S,
                                   .threads = 1};
    assert_int_equal(live_query_new(&q, &queries), ERR_OK);
}

/* As a kill would: what is in memory is gone. */
static inline void stop_core(void)
{
    live_query_free(queries);
    core_free(core);
    queries = NULL;
    core = NULL;
}

static inline int set_up(void **state)
{
    char yaml[2048];
    struct config_warning *warnings;
    struct err_detail d = {0};
    (void)state;

    scratch_dir_make(dir);
    scratch_dir_path(dir, "wal", wal_dir);
    scratch_dir_path(dir, "blocks", block_dir);
    (void)snprintf(
        yaml, sizeof yaml,
        "storage: {trace: {backend: local, local: {path: '%s'}, wal: {path: '%s', segment_bytes: 64KiB}, block: {retention: 24h}}}\n"
        "ingester: {trace_idle_period: 5s, trace_live_period: 30s, max_block_duration: 1m, flush_check_period: 10ms}\n"
        "overrides: {defaults: {global: {max_bytes_per_trace: 20000}}}\n",
        block_dir, wal_dir);
    if (config_parse("test.yml", slice_str(yaml), false, NULL, 0, &config, &warnings, &d) != ERR_OK)
        fail_msg("%s", d.text);
    assert_int_equal(overrides_new(&config, &overrides, &d), ERR_OK);
    atomic_store(&test_wall, 1790000000LL * NS_PER_S);
    atomic_store(&test_mono, NS_PER_S);
    budget_init(&memory, 256 << 20, NULL);
    wal_io = NULL;
    failed_code = 0;
    next_part = 0;
    if (backend_local_new(block_dir, &backend, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    if (core != NULL)
        stop_core();
    backend->ops->free(backend);
    overrides_free(overrides);
    config_release(&config);
    assert_int_equal(budget_used(&memory), 0);
    scratch_dir_remove(dir);
    return 0;
}

static inline struct trace_id id_of(uint32_t n)
{
    struct trace_id id = {.b = {0x11}};

    be32_write(id.b + 12, n);
    return id;
}

/* One span of trace n; span 1 is the root. */
static inline void add_span(struct otlp_group *g, uint32_t trace, uint32_t span, size_t pad)
{
    struct buf b;
    uint8_t span_id[8] = {0x22}, parent[8] = {0x22};
    struct trace_id id = id_of(trace);
    static char padding[65536];

    memset(padding, 'p', sizeof padding);
    be32_write(span_id + 4, span);
    be32_write(parent + 4, 1);
    buf_init(&b, 1 << 20);
    pb_bytes(&b, 1, (struct slice){id.b, sizeof id.b});
    pb_bytes(&b, 2, (struct slice){span_id, sizeof span_id});
    if (span != 1)
        pb_bytes(&b, 4, (struct slice){parent, sizeof parent});
    pb_bytes(&b, 5, SLICE_LIT("operation"));
    pb_fixed64(&b, 7, (uint64_t)atomic_load(&test_wall));
    pb_fixed64(&b, 8, (uint64_t)atomic_load(&test_wall) + 1000 + span);
    if (pad > 0)
        pb_bytes(&b, 3, (struct slice){(const uint8_t *)padding, pad});
    otlp_group_span(g, buf_slice(&b));
    buf_release(&b);
}

static inline void begin_request(struct otlp_group *g, struct buf *out)
{
    buf_init(out, 64 << 20);
    otlp_group_init(g, out);
    otlp_group_resource(g, SLICE_NONE, SLICE_NONE);
    otlp_group_scope(g, SLICE_NONE, SLICE_NONE);
}

struct waiting {
    struct push push; /* first */
    struct mutex lock;
    pthread_cond_t done;
    bool is_over;
};

static inline void finished(struct push *p)
{
    struct waiting *w = (struct waiting *)p;

    mutex_lock(&w->lock);
    w->is_over = true;
    (void)pthread_cond_signal(&w->done);
    mutex_unlock(&w->lock);
}

/* Pushes and waits for the answer. */
static inline struct push push_bytes(const char *tenant, uint32_t part, struct slice payload)
{
    struct waiting w = {0};

    mutex_init(&w.lock);
    cond_init(&w.done);
    w.push.kind = PUSH_CLIENT;
    w.push.wal_flags = push_flags;
    w.push.finished = finished;
    w.push.m = (struct push_message){.tenant = slice_str(tenant),
                                     .part = part,
                                     .payload = payload,
                                     .received_ns = atomic_load(&test_wall)};
    core_push(core, &w.push);
    mutex_lock(&w.lock);
    while (!w.is_over) {
        if (!cond_wait(&w.done, &w.lock, WAIT_S * NS_PER_S) && !w.is_over)
            fail_msg("no answer");
    }
    mutex_unlock(&w.lock);
    (void)pthread_cond_destroy(&w.done);
    mutex_release(&w.lock);
    return w.push;
}

static inline enum err push_spans(const char *tenant, uint32_t trace, uint32_t from, uint32_t to)
{
    struct otlp_group g;
    struct buf b;

    begin_request(&g, &b);
    for (uint32_t s = from; s < to; s++)
        add_span(&g, trace, s, 0);
    otlp_group_end(&g);
    struct push p = push_bytes(tenant, ++next_part, buf_slice(&b));
    assert_int_equal(p.refused_count, 0);
    assert_false(p.is_duplicate);
    buf_release(&b);
    return p.err;
}

/* Fields of an answer. */
static inline uint32_t each_field(struct slice answer, uint32_t want, struct slice *ret,
                                  uint32_t max, uint64_t *ret_number)
{
    struct reader r = reader_of(answer);
    uint32_t n = 0;

    while (!reader_done(&r)) {
        uint64_t tag = reader_varint(&r), number = 0;
        struct slice bytes = SLICE_NONE;
        if ((tag & 7) == 2)
            bytes = reader_bytes(&r);
        else if ((tag & 7) == 1)
            number = reader_le64(&r);
        else
            number = reader_varint(&r);
        if (tag >> 3 != want)
            continue;
        if (ret_number != NULL)
            *ret_number = number;
        if (n < max)
            ret[n] = bytes;
        n++;
    }
    assert_false(reader_failed(&r));
    return n;
}

struct live {
    uint32_t spans;  /* distinct */
    uint32_t copies; /* seen again in another head */
    uint64_t published_lsn;
    uint32_t recent;
    bool is_replaying;
};

static inline struct live live_of(const char *tenant, uint32_t trace)
{
    struct buf request, answer;
    struct slice coverage, traces[2], span;
    struct live l = {0};
    struct trace_id id = id_of(trace);
    static bool is_seen[TENANT_SPANS_MAX];

    memset(is_seen, 0, sizeof is_seen);
    buf_init(&request, 4096);
    buf_init(&answer, 64 << 20);
    pb_bytes(&request, 1, slice_str(tenant));
    pb_bytes(&request, 2, (struct slice){id.b, sizeof id.b});
    assert_int_equal(live_query_run(queries, RPC_TRACE, buf_slice(&request), &answer, NULL),
                     ERR_OK);
    assert_int_equal(each_field(buf_slice(&answer), 1, &coverage, 1, NULL), 1);
    assert_int_equal(each_field(coverage, 2, NULL, 0, &l.published_lsn), 1);
    l.recent = each_field(coverage, 3, NULL, 0, NULL);
    l.is_replaying = each_field(coverage, 4, NULL, 0, NULL) > 0;
    assert_int_equal(each_field(buf_slice(&answer), 2, traces, 2, NULL), 1);
    struct otlp_iter it;
    otlp_iter_init(&it, traces[0]);
    while (otlp_next_span(&it, &span)) {
        struct otlp_span s;
        otlp_span_parse(span, &s);
        uint32_t n = be32_read(s.span_id.ptr + 4);
        assert_true(n < TENANT_SPANS_MAX);
        l.spans += !is_seen[n];
        l.copies += is_seen[n];
        is_seen[n] = true;
    }
    buf_release(&request);
    buf_release(&answer);
    return l;
}

struct stored {
    uint32_t blocks, spans, traces, flagged; /* of all blocks of the tenant */
    uint64_t lsn_lo, lsn_hi;
    uint32_t want_spans; /* of the one trace */
    struct trace_id want;
    const char *tenant;
};

static inline enum err add_block(void *arg, const char *id)
{
    struct stored *s = arg;
    struct block_meta m;
    struct buf json;
    struct object *o = NULL;
    struct block *b = NULL;
    uint32_t group, trace;

    buf_init(&json, 1 << 16);
    assert_int_equal(backend->ops->read_meta(backend, s->tenant, id, &json), ERR_OK);
    assert_int_equal(block_meta_from_json(buf_slice(&json), &m, NULL), ERR_OK);
    buf_release(&json);
    s->blocks++;
    s->spans += (uint32_t)m.span_count;
    s->traces += (uint32_t)m.trace_count;
    s->flagged += (uint32_t)m.flagged_count;
    if (s->lsn_lo == 0 || m.lsn_lo < s->lsn_lo)
        s->lsn_lo = m.lsn_lo;
    if (m.lsn_hi > s->lsn_hi)
        s->lsn_hi = m.lsn_hi;
    assert_int_equal(backend->ops->open(backend, s->tenant, id, &o), ERR_OK);
    assert_int_equal(block_open(o, &memory, &b), ERR_OK);
    if (block_find_trace(b, s->want, &group, &trace) == ERR_OK) {
        struct segment *seg = NULL;
        struct seg_traces traces;
        assert_int_equal(block_segment(b, group, &memory, &seg), ERR_OK);
        assert_int_equal(segment_traces(seg, &traces), ERR_OK);
        s->want_spans += traces.span_count[trace];
        segment_close(seg);
    }
    block_unref(b);
    return ERR_OK;
}

static inline struct stored stored_of(const char *tenant, uint32_t trace)
{
    struct stored s = {.want = id_of(trace), .tenant = tenant};

    assert_int_equal(backend->ops->blocks(backend, tenant, add_block, &s), ERR_OK);
    return s;
}

static inline enum err count_block(void *arg, const char *id)
{
    uint32_t *count = arg;
    (void)id;

    (*count)++;
    return ERR_OK;
}

/* Their number alone: unlike stored_of, while some of them are being removed. */
static inline uint32_t blocks_of(const char *tenant)
{
    uint32_t count = 0;

    assert_int_equal(backend->ops->blocks(backend, tenant, count_block, &count), ERR_OK);
    return count;
}

static inline bool is_ready(void)
{
    char text[256];

    return core_state(core, text) == MEMBER_ACTIVE;
}

#define EVENTUALLY(condition)                                    \
    do {                                                         \
        int tries = WAIT_S * 200;                                \
        while (!(condition) && --tries > 0) {                    \
            core_wake(core);                                     \
            (void)usleep(5000);                                  \
        }                                                        \
        if (tries <= 0)                                          \
            fail_msg("not within %d s: %s", WAIT_S, #condition); \
    } while (0)

struct flush {
    atomic_bool is_over;
    enum err err;
};

static inline void flushed(void *arg, enum err err)
{
    struct flush *f = arg;

    f->err = err;
    atomic_store(&f->is_over, true);
}

static inline enum err flush(void)
{
    struct flush f = {0};

    core_flush(core, flushed, &f);
    EVENTUALLY(atomic_load(&f.is_over));
    return f.err;
}

#endif
