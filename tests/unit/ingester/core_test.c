/* The core's generations: carrying, flushes, restarts, limits. */
#include "tests/lib/core_rig.h"

static uint32_t flagged_count(const char *tenant)
{
    struct buf request, answer;

    buf_init(&request, 4096);
    buf_init(&answer, 1 << 20);
    pb_bytes(&request, 1, slice_str(tenant));
    assert_int_equal(live_query_run(queries, RPC_FLAGGED, buf_slice(&request), &answer, NULL),
                     ERR_OK);
    uint32_t n = each_field(buf_slice(&answer), 2, NULL, 0, NULL);
    buf_release(&request);
    buf_release(&answer);
    return n;
}

static void a_push_is_visible_when_it_is_answered(void **state)
{
    (void)state;
    start_core();
    EVENTUALLY(is_ready());
    for (uint32_t n = 1; n <= 50; n++) {
        assert_int_equal(push_spans("acme", n, 1, 4), ERR_OK);
        assert_int_equal(live_of("acme", n).spans, 3);
    }
    assert_int_equal(live_of("other", 1).spans, 0);
    assert_int_equal(live_of("acme", 51).spans, 0);
    assert_int_equal(flagged_count("acme"), 0);
}

static void a_restart_gives_everything_back(void **state)
{
    (void)state;
    for (uint32_t life = 0; life < 5; life++) {
        start_core();
        EVENTUALLY(is_ready());
        for (uint32_t n = 1; n <= life * 10; n++)
            assert_int_equal(live_of("acme", n).spans, 2);
        for (uint32_t n = life * 10 + 1; n <= life * 10 + 10; n++)
            assert_int_equal(push_spans("acme", n, 1, 3), ERR_OK);
        stop_core();
    }
    assert_int_equal(stored_of("acme", 1).blocks, 0);
}

/* The log of the life before is held back: what comes meanwhile is durable, visible and answered, and a kill in the middle loses neither. */
static void pushes_are_taken_while_the_log_is_replayed(void **state)
{
    char text[256];
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    for (uint32_t n = 1; n <= 20; n++)
        assert_int_equal(push_spans("acme", n, 1, 3), ERR_OK);
    stop_core();
    for (uint32_t life = 0; life < 2; life++) {
        atomic_store(&is_replay_held, true);
        start_core();
        for (uint32_t n = 21 + life * 10; n < 31 + life * 10; n++) {
            assert_int_equal(push_spans("acme", n, 1, 4), ERR_OK);
            struct live l = live_of("acme", n);
            assert_int_equal(l.spans, 3);
            assert_true(l.is_replaying);
        }
        /* One of a trace that is still to come back: both parts are fragments until they meet. */
        assert_int_equal(push_spans("acme", 1, 3 + life, 4 + life), ERR_OK);
        assert_int_equal(core_state(core, text), MEMBER_REPLAYING);
        atomic_store(&is_replay_held, false);
        if (life == 0)
            EVENTUALLY(is_ready());
        stop_core();
    }
    start_core();
    EVENTUALLY(is_ready());
    assert_false(live_of("acme", 1).is_replaying);
    assert_int_equal(live_of("acme", 1).spans, 4);
    for (uint32_t n = 2; n <= 40; n++)
        assert_int_equal(live_of("acme", n).spans, n <= 20 ? 2 : 3);
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(stored_of("acme", 1).spans, 19 * 2 + 20 * 3 + 4);
    assert_int_equal(stored_of("acme", 1).want_spans, 4);
}

static void a_repeat_is_answered_without_storing_it(void **state)
{
    struct otlp_group g;
    struct buf b;
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    begin_request(&g, &b);
    add_span(&g, 1, 1, 0);
    otlp_group_end(&g);
    assert_false(push_bytes("acme", 7, buf_slice(&b)).is_duplicate);
    struct push again = push_bytes("acme", 7, buf_slice(&b));
    assert_true(again.is_duplicate);
    assert_int_equal(again.err, ERR_OK);
    /* The log remembers it over a restart, for ten minutes. */
    stop_core();
    start_core();
    EVENTUALLY(is_ready());
    assert_true(push_bytes("acme", 7, buf_slice(&b)).is_duplicate);
    advance(601 * NS_PER_S);
    assert_false(push_bytes("acme", 7, buf_slice(&b)).is_duplicate);
    assert_int_equal(live_of("acme", 1).spans, 1); /* equal spans are one all the same */
    buf_release(&b);
}

static void malformed_and_foreign_pushes_are_refused(void **state)
{
    (void)state;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_bytes("acme", 1, SLICE_LIT("\x0a\x7f nonsense")).err, ERR_FORMAT);
    assert_int_equal(push_bytes("acme", 2, SLICE_NONE).err, ERR_OK);
    assert_int_equal(push_spans("acme", 1, 1, 2), ERR_OK);
}

static void a_flush_puts_everything_into_blocks(void **state)
{
    (void)state;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(flush(), ERR_OK);
    for (uint32_t n = 1; n <= 20; n++) {
        assert_int_equal(push_spans("acme", n, 1, 6), ERR_OK);
        assert_int_equal(push_spans("zeta", n, 1, 3), ERR_OK);
    }
    uint64_t before = live_of("acme", 1).published_lsn;
    assert_int_equal(flush(), ERR_OK);
    struct stored s = stored_of("acme", 7);
    assert_int_equal(s.blocks, 1);
    assert_int_equal(s.spans, 100);
    assert_int_equal(s.traces, 20);
    assert_int_equal(s.want_spans, 5);
    assert_int_equal(stored_of("zeta", 1).spans, 40);
    struct live l = live_of("acme", 7);
    assert_int_equal(l.spans, 0);
    assert_int_equal(l.recent, 1);
    assert_true(l.published_lsn == s.lsn_hi);
    assert_true(before < s.lsn_lo);
    /* The log is empty again, and a restart finds nothing to replay and makes nothing twice. */
    EVENTUALLY(scratch_dir_count(wal_dir) == 4); /* lock, trial, building, one empty file */
    stop_core();
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(stored_of("acme", 7).blocks, 1);
    assert_true(live_of("acme", 7).published_lsn >= s.lsn_hi);
    /* Late spans of a trace that was cut make a fragment. */
    stop_core();
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 100, 1, 3), ERR_OK);
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(push_spans("acme", 100, 3, 4), ERR_OK);
    assert_int_equal(flagged_count("acme"), 1);
}

/* A part with a root of its own looks whole: that the trace was cut before is known from its block. */
static void late_spans_are_fragments_over_a_restart_too(void **state)
{
    struct otlp_group g;
    struct buf b;
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    for (uint32_t n = 1; n <= 20; n++)
        assert_int_equal(push_spans("acme", n, 1, 3), ERR_OK);
    assert_int_equal(flush(), ERR_OK);
    stop_core();
    start_core();
    begin_request(&g, &b);
    for (uint32_t n = 11; n <= 40; n++)
        add_span(&g, n, 1, 10);
    otlp_group_end(&g);
    assert_int_equal(push_bytes("acme", ++next_part, buf_slice(&b)).err, ERR_OK);
    EVENTUALLY(is_ready());
    assert_int_equal(flagged_count("acme"), 10);
    assert_int_equal(push_bytes("zeta", ++next_part, buf_slice(&b)).err, ERR_OK);
    assert_int_equal(flagged_count("zeta"), 0); /* another tenant's traces */
    buf_release(&b);
    /* After an hour nothing comes any more. */
    assert_int_equal(flush(), ERR_OK);
    stop_core();
    advance(3601 * NS_PER_S);
    start_core();
    EVENTUALLY(is_ready());
    begin_request(&g, &b);
    add_span(&g, 1, 1, 10);
    otlp_group_end(&g);
    assert_int_equal(push_bytes("acme", ++next_part, buf_slice(&b)).err, ERR_OK);
    assert_int_equal(flagged_count("acme"), 0);
    buf_release(&b);
}

/* So many blocks are published, then no more. */
static atomic_int publishes_left;
static enum err (*publish_really)(struct backend *b, const char *tenant, const char *id,
                                  const char *data_path, struct slice meta_json);

static enum err limited_publish(struct backend *b, const char *tenant, const char *id,
                                const char *data_path, struct slice meta_json)
{
    if (atomic_fetch_sub(&publishes_left, 1) <= 0)
        return ERR_IO;
    return publish_really(b, tenant, id, data_path, meta_json);
}

static void add_wide_span(struct otlp_group *g, uint32_t n)
{
    static char name[8192];
    struct buf b;
    uint8_t span_id[8] = {0x22};
    struct trace_id id = id_of(n / 2 + 1);

    memset(name, 'a' + (int)(n % 26), sizeof name);
    be32_write((uint8_t *)name, n);
    be32_write(span_id + 4, n % 2 + 1);
    buf_init(&b, 1 << 20);
    pb_bytes(&b, 1, (struct slice){id.b, sizeof id.b});
    pb_bytes(&b, 2, (struct slice){span_id, sizeof span_id});
    pb_bytes(&b, 5, (struct slice){(const uint8_t *)name, sizeof name});
    otlp_group_span(g, buf_slice(&b));
    buf_release(&b);
}

/* One frame larger than the heads' memory goes into several blocks.  A kill after the first of them: the log gives only the rest. */
static void a_kill_inside_a_large_frame_doubles_nothing(void **state)
{
    enum { SPANS = 3600 };
    struct backend_ops ops = *backend->ops;
    const struct backend_ops *real = backend->ops;
    struct otlp_group g;
    struct buf b;
    (void)state;

    publish_really = real->publish;
    ops.publish = limited_publish;
    backend->ops = &ops;
    config.limits.block_retention_ns = 0; /* the spans have no times */
    budget_init(&memory, 48 << 20, NULL);
    begin_request(&g, &b);
    for (uint32_t n = 0; n < SPANS; n++)
        add_wide_span(&g, n);
    otlp_group_end(&g);
    atomic_store(&publishes_left, 1);
    start_core();
    EVENTUALLY(is_ready());
    struct waiting w = {0};
    mutex_init(&w.lock);
    cond_init(&w.done);
    w.push.kind = PUSH_CLIENT;
    w.push.finished = finished;
    w.push.m = (struct push_message){
        .tenant = slice_str("acme"), .payload = buf_slice(&b), .received_ns = test_wall};
    core_push(core, &w.push);
    EVENTUALLY(stored_of("acme", 1).blocks == 1);
    stop_core();
    assert_true(w.is_over);
    uint32_t before = stored_of("acme", 1).spans;
    assert_in_range(before, 1, SPANS - 1);
    for (unsigned life = 0; life < 2; life++) {
        atomic_store(&publishes_left, 1000);
        start_core();
        EVENTUALLY(is_ready());
        assert_int_equal(flush(), ERR_OK);
        assert_int_equal(stored_of("acme", 1).spans, SPANS);
        stop_core();
    }
    assert_int_equal(stored_of("acme", 1).want_spans, 2);
    assert_int_equal(stored_of("acme", SPANS / 2).want_spans, 2);
    buf_release(&b);
    (void)pthread_cond_destroy(&w.done);
    mutex_release(&w.lock);
    backend->ops = real;
}

static void live_traces_are_carried_over_a_cut(void **state)
{
    (void)state;
    start_core();
    EVENTUALLY(is_ready());
    for (uint32_t n = 1; n <= 10; n++)
        assert_int_equal(push_spans("acme", n, 1, 3), ERR_OK);
    advance(61 * NS_PER_S);
    /* Trace 11 is young when the generation is old enough to be cut. */
    assert_int_equal(push_spans("acme", 11, 1, 5), ERR_OK);
    EVENTUALLY(stored_of("acme", 1).blocks == 1);
    struct stored s = stored_of("acme", 11);
    assert_int_equal(s.traces, 10);
    assert_int_equal(s.want_spans, 0);
    EVENTUALLY(live_of("acme", 1).spans == 0);
    struct live l = live_of("acme", 11);
    assert_int_equal(l.spans, 4);
    assert_int_equal(l.copies, 0);
    assert_int_equal(flagged_count("acme"), 0);
    /* It is in the log again, after the frames of the block: a restart does not lose it. */
    stop_core();
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(live_of("acme", 11).spans, 4);
    assert_int_equal(live_of("acme", 1).spans, 0);
    assert_int_equal(push_spans("acme", 11, 5, 6), ERR_OK);
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(stored_of("acme", 11).want_spans, 5);
    assert_int_equal(stored_of("acme", 11).traces, 11);
}

/* Whole as they are: only the sender knows that they may be elsewhere too. */
static enum err push_in_doubt(uint32_t from, uint32_t to)
{
    struct otlp_group g;
    struct buf b;

    begin_request(&g, &b);
    for (uint32_t n = from; n < to; n++)
        add_span(&g, n, 1, 0);
    otlp_group_end(&g);
    push_flags = WAL_FLAG_DOUBT;
    struct push p = push_bytes("acme", ++next_part, buf_slice(&b));
    push_flags = 0;
    buf_release(&b);
    return p.err;
}

static uint32_t flagged_in_blocks(const char *tenant)
{
    struct stored s = stored_of(tenant, 1);

    return s.flagged;
}

static void doubt_is_carried_over_a_cut_and_a_restart(void **state)
{
    (void)state;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 3), ERR_OK);
    assert_int_equal(push_in_doubt(2, 3), ERR_OK);
    advance(61 * NS_PER_S);
    assert_int_equal(push_in_doubt(10, 15), ERR_OK);
    assert_int_equal(push_spans("acme", 20, 1, 3), ERR_OK);
    EVENTUALLY(stored_of("acme", 1).blocks == 1);
    assert_int_equal(flagged_in_blocks("acme"), 1);
    EVENTUALLY(live_of("acme", 1).spans == 0);
    assert_int_equal(live_of("acme", 10).copies, 0);
    assert_int_equal(flagged_count("acme"), 5);
    for (uint32_t life = 0; life < 2; life++) {
        stop_core();
        start_core();
        EVENTUALLY(is_ready());
        assert_int_equal(flagged_count("acme"), 5);
    }
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(flagged_in_blocks("acme"), 6);
    assert_int_equal(stored_of("acme", 20).traces, 8);
}

/* A block in the store by another instance, of a tenant that nobody asks for. */
static void publish_of_another(void)
{
    struct block_meta m = {.tenant = "other", .writer = "ingester-1", .version = BLOCK_VERSION};
    char path[SCRATCH_DIR_BYTES * 2];
    struct buf json;

    (void)snprintf(m.id, sizeof m.id, "00000000-0000-8000-8000-000000000001");
    m.created_ns = m.min_start_ns = m.max_end_ns = (uint64_t)atomic_load(&test_wall);
    scratch_dir_path(dir, "data", path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    buf_init(&json, 1 << 16);
    assert_int_equal(block_meta_to_json(&m, &json), ERR_OK);
    assert_int_equal(backend->ops->publish(backend, m.tenant, m.id, path, buf_slice(&json)),
                     ERR_OK);
    buf_release(&json);
}

/* While it was away another may have settled its parts of these traces: what comes back late is flagged, if there is another. */
static void what_comes_back_late_is_flagged(void **state)
{
    (void)state;
    for (uint32_t others = 0; others < 2; others++) {
        start_core();
        EVENTUALLY(is_ready());
        for (uint32_t n = 1; n <= 10; n++)
            assert_int_equal(push_spans("acme", others * 10 + n, 1, 3), ERR_OK);
        stop_core();
        if (others > 0)
            publish_of_another();
        advance(1801 * NS_PER_S); /* half of the window */
        start_core();
        EVENTUALLY(is_ready());
        assert_int_equal(flagged_count("acme"), others > 0 ? 10 : 0);
        assert_int_equal(push_spans("acme", 100 + others, 1, 3), ERR_OK);
        assert_int_equal(flagged_count("acme"), others > 0 ? 10 : 0);
        assert_int_equal(flush(), ERR_OK);
        assert_int_equal(flagged_in_blocks("acme"), others > 0 ? 10 : 0);
        stop_core();
    }
}

static enum err no_publish(struct backend *b, const char *tenant, const char *id,
                           const char *data_path, struct slice meta_json)
{
    (void)b, (void)tenant, (void)id, (void)data_path, (void)meta_json;
    return ERR_IO;
}

/* The store was away for long: what was kept in memory meanwhile is flagged in sight, and in its block. */
static void what_is_published_late_is_flagged(void **state)
{
    const struct backend_ops *real = backend->ops;
    struct backend_ops ops = *real;
    (void)state;

    publish_of_another();
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 3), ERR_OK);
    assert_int_equal(push_spans("acme", 2, 1, 3), ERR_OK);
    ops.publish = no_publish;
    backend->ops = &ops;
    assert_int_equal(flush(), ERR_IO);
    assert_int_equal(flagged_count("acme"), 0);
    advance(1801 * NS_PER_S);
    EVENTUALLY(flagged_count("acme") == 2);
    backend->ops = real;
    advance(61 * NS_PER_S);
    EVENTUALLY(stored_of("acme", 1).want_spans == 2);
    assert_int_equal(flagged_in_blocks("acme"), 2);
}

static void a_crash_between_publishing_and_trimming_makes_no_second_block(void **state)
{
    char saved[SCRATCH_DIR_BYTES * 2], cmd[SCRATCH_DIR_BYTES * 6];
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    for (uint32_t n = 1; n <= 10; n++)
        assert_int_equal(push_spans("acme", n, 1, 3), ERR_OK);
    /* The log as it stood before the block was published. */
    scratch_dir_path(dir, "wal-saved", saved);
    (void)snprintf(cmd, sizeof cmd, "cp -a '%s' '%s'", wal_dir, saved);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(flush(), ERR_OK);
    stop_core();
    assert_int_equal(fs_remove_tree(wal_dir), ERR_OK);
    assert_int_equal(rename(saved, wal_dir), 0);
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(live_of("acme", 1).spans, 0);
    assert_int_equal(push_spans("acme", 11, 1, 3), ERR_OK);
    assert_int_equal(flush(), ERR_OK);
    struct stored s = stored_of("acme", 1);
    assert_int_equal(s.blocks, 2);
    assert_int_equal(s.traces, 11);
    assert_int_equal(s.want_spans, 2);
}

/* A store that is away, or refuses. */
static atomic_int store_err;
static const struct backend_ops *real_ops;

static enum err away_tenants(struct backend *b, backend_name_fn *fn, void *arg)
{
    enum err e = (enum err)atomic_load(&store_err);

    return e == ERR_OK ? real_ops->tenants(b, fn, arg) : e;
}

static enum err away_publish(struct backend *b, const char *tenant, const char *id,
                             const char *data_path, struct slice meta_json)
{
    enum err e = (enum err)atomic_load(&store_err);

    return e == ERR_OK ? real_ops->publish(b, tenant, id, data_path, meta_json) : e;
}

/* The log as it stood before its block was published, twice over: nothing is trimmed. */
static void publish_and_bring_back_the_log(uint32_t traces)
{
    char saved[SCRATCH_DIR_BYTES * 2], cmd[SCRATCH_DIR_BYTES * 6];

    start_core();
    EVENTUALLY(is_ready());
    for (uint32_t n = 1; n <= traces; n++)
        assert_int_equal(push_spans("acme", n, 1, 3), ERR_OK);
    scratch_dir_path(dir, "wal-saved", saved);
    (void)snprintf(cmd, sizeof cmd, "cp -a '%s' '%s'", wal_dir, saved);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(flush(), ERR_OK);
    stop_core();
    assert_int_equal(fs_remove_tree(wal_dir), ERR_OK);
    assert_int_equal(rename(saved, wal_dir), 0);
}

/* It starts, replays, takes pushes; what may be in blocks already is flagged, so that readers drop the copies; once the store is back blocks are published. */
static void a_store_that_is_away_does_not_stop_a_start(void **state)
{
    struct backend_ops ops = *backend->ops;
    (void)state;

    publish_and_bring_back_the_log(10);
    real_ops = backend->ops;
    ops.tenants = away_tenants;
    ops.publish = away_publish;
    backend->ops = &ops;
    atomic_store(&store_err, ERR_UNAVAILABLE);
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(live_of("acme", 1).spans, 2);
    assert_true(live_of("acme", 1).is_replaying); /* not all that is known */
    assert_int_equal(flagged_count("acme"), 10);
    assert_int_equal(push_spans("acme", 11, 1, 3), ERR_OK);
    assert_int_equal(live_of("acme", 11).spans, 2);
    assert_int_equal(flagged_count("acme"), 10);
    assert_int_equal(flush(), ERR_UNAVAILABLE);
    assert_int_equal(stored_of("acme", 1).blocks, 1);
    atomic_store(&store_err, ERR_OK);
    EVENTUALLY(!live_of("acme", 1).is_replaying);
    EVENTUALLY(flush() == ERR_OK);
    assert_int_equal(live_of("acme", 1).spans, 0);
    struct stored s = stored_of("acme", 11);
    assert_int_equal(s.want_spans, 2);
    assert_int_equal(stored_of("acme", 1).traces, s.traces);
    assert_true(s.traces == 11 || (s.traces == 21 && flagged_in_blocks("acme") == 10));
    stop_core();
    start_core(); /* its numbers go on above the old ones, with the store at hand again */
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 12, 1, 3), ERR_OK);
    assert_int_equal(live_of("acme", 12).spans, 2);
    assert_int_equal(live_of("acme", 11).spans, 0);
    backend->ops = real_ops;
}

/* Killed before the store came back: nothing was lost by the two starts. */
static void a_start_without_the_store_can_be_killed(void **state)
{
    struct backend_ops ops = *backend->ops;
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 3), ERR_OK);
    stop_core();
    real_ops = backend->ops;
    ops.tenants = away_tenants;
    ops.publish = away_publish;
    backend->ops = &ops;
    for (uint32_t n = 2; n <= 4; n++) {
        atomic_store(&store_err, n % 2 == 0 ? ERR_TIMEOUT : ERR_UNAVAILABLE);
        advance(NS_PER_S);
        start_core();
        EVENTUALLY(is_ready());
        assert_int_equal(push_spans("acme", n, 1, 3), ERR_OK);
        stop_core();
    }
    atomic_store(&store_err, ERR_OK);
    start_core();
    EVENTUALLY(is_ready());
    for (uint32_t n = 1; n <= 4; n++)
        assert_int_equal(live_of("acme", n).spans, 2);
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(stored_of("acme", 1).traces, 4);
    backend->ops = real_ops;
}

static void a_store_that_refuses_stops_a_start(void **state)
{
    static const enum err errs[] = {ERR_FORBIDDEN, ERR_UNAUTHENTICATED, ERR_NOT_FOUND};
    struct backend_ops ops = *backend->ops;
    (void)state;

    real_ops = backend->ops;
    ops.tenants = away_tenants;
    backend->ops = &ops;
    for (size_t i = 0; i < sizeof errs / sizeof errs[0]; i++) {
        struct core *refused = NULL;
        struct err_detail d = {0};
        struct core_options o = {.config = &config,
                                 .overrides = overrides,
                                 .clock = &test_clock,
                                 .memory = &memory,
                                 .instance_id = "ingester-0",
                                 .backend = backend};
        atomic_store(&store_err, errs[i]);
        assert_int_equal(core_start(&o, &refused, &d), errs[i]);
        assert_non_null(strstr(d.text, err_name(errs[i])));
    }
    backend->ops = real_ops;
    start_core();
    EVENTUALLY(is_ready());
}

static void a_trace_that_grows_too_large_is_refused(void **state)
{
    struct otlp_group g;
    struct buf b;
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    begin_request(&g, &b);
    add_span(&g, 1, 1, 15000);
    add_span(&g, 2, 1, 100);
    otlp_group_end(&g);
    struct push p = push_bytes("acme", 1, buf_slice(&b));
    assert_int_equal(p.err, ERR_OK);
    assert_int_equal(p.refused_count, 0);
    buf_release(&b);
    begin_request(&g, &b);
    add_span(&g, 1, 2, 9000);
    add_span(&g, 2, 2, 100);
    add_span(&g, 1, 3, 9000);
    otlp_group_end(&g);
    p = push_bytes("acme", 2, buf_slice(&b));
    assert_int_equal(p.err, ERR_OK);
    assert_int_equal(p.refused_count, 1);
    assert_int_equal(p.refused[0].reason, PUSH_TRACE_TOO_LARGE);
    assert_int_equal(p.refused[0].spans, 2);
    free(p.refused);
    buf_release(&b);
    assert_int_equal(live_of("acme", 1).spans, 1);
    assert_int_equal(live_of("acme", 2).spans, 2);
}

static void the_folder_has_one_owner(void **state)
{
    struct core *second = NULL;
    struct err_detail d = {0};
    struct core_options o = {.config = &config,
                             .overrides = overrides,
                             .clock = &test_clock,
                             .memory = &memory,
                             .instance_id = "ingester-1",
                             .backend = backend};
    (void)state;

    start_core();
    assert_int_equal(core_start(&o, &second, &d), ERR_CONFLICT);
    assert_non_null(strstr(d.text, wal_dir));
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 2), ERR_OK);
}

/* A disk whose syncs fail. */
static atomic_int syncs_to_fail;

static enum err failing_sync(int fd)
{
    if (atomic_load(&syncs_to_fail) > 0) {
        (void)atomic_fetch_sub(&syncs_to_fail, 1);
        return ERR_IO;
    }
    return wal_io_system.sync(fd);
}

static void one_failed_sync_is_told_and_two_end_the_process(void **state)
{
    struct wal_io io = wal_io_system;
    (void)state;

    io.sync = failing_sync;
    wal_io = &io;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 2), ERR_OK);
    atomic_store(&syncs_to_fail, 1);
    assert_int_equal(push_spans("acme", 2, 1, 2), ERR_IO);
    assert_int_equal(live_of("acme", 2).spans, 0);
    next_part--; /* the same batch again: it is no repeat, it was never stored */
    assert_int_equal(push_spans("acme", 2, 1, 2), ERR_OK);
    assert_int_equal(failed_code, 0);
    atomic_store(&syncs_to_fail, 1000);
    assert_int_equal(push_spans("acme", 3, 1, 2), ERR_IO);
    assert_int_equal(push_spans("acme", 4, 1, 2), ERR_IO);
    assert_int_equal(failed_code, 75);
    assert_int_equal(push_spans("acme", 5, 1, 2), ERR_UNAVAILABLE);
    char text[256];
    assert_int_equal(core_state(core, text), MEMBER_FAILED);
    atomic_store(&syncs_to_fail, 0);
    stop_core();
    wal_io = NULL;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(live_of("acme", 1).spans, 1);
    assert_int_equal(live_of("acme", 2).spans, 1);
}

static atomic_uint syncs;

static enum err counted_sync(int fd)
{
    (void)atomic_fetch_add(&syncs, 1);
    return wal_io_system.sync(fd);
}

/* group: each answer follows its sync.  interval: the sync follows by the clock.  none: only when a file ends.  All: visible when answered. */
static void the_log_is_synced_as_configured(void **state)
{
    struct wal_io io = wal_io_system;
    const char *was = config.wal_sync;
    (void)state;

    io.sync = counted_sync;
    wal_io = &io;
    static const char *const modes[] = {"group", "interval", "none"};
    for (uint32_t m = 0; m < 3; m++) {
        config.wal_sync = modes[m];
        start_core();
        EVENTUALLY(is_ready());
        atomic_store(&syncs, 0);
        for (uint32_t n = 1; n <= 5; n++) {
            assert_int_equal(push_spans("acme", 10 * m + n, 1, 3), ERR_OK);
            assert_int_equal(live_of("acme", 10 * m + n).spans, 2);
            if (m == 0)
                assert_true(atomic_load(&syncs) >= n);
        }
        if (m > 0)
            assert_int_equal(atomic_load(&syncs), 0);
        advance(config.wal_sync_interval_ns);
        assert_int_equal(push_spans("acme", 10 * m + 6, 1, 3), ERR_OK);
        if (m == 1)
            EVENTUALLY(atomic_load(&syncs) >= 1);
        if (m == 2)
            assert_int_equal(atomic_load(&syncs), 0);
        stop_core();
    }
    /* A kill of the process alone loses nothing in any mode. */
    config.wal_sync = was;
    wal_io = NULL;
    start_core();
    EVENTUALLY(is_ready());
    for (uint32_t m = 0; m < 3; m++)
        for (uint32_t n = 1; n <= 6; n++)
            assert_int_equal(live_of("acme", 10 * m + n).spans, 2);
}

static void a_drain_refuses_and_finishes(void **state)
{
    (void)state;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 3), ERR_OK);
    core_drain(core, true, 10 * NS_PER_S);
    assert_int_equal(push_spans("acme", 2, 1, 3), ERR_UNAVAILABLE);
    assert_int_equal(stored_of("acme", 1).want_spans, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_push_is_visible_when_it_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restart_gives_everything_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pushes_are_taken_while_the_log_is_replayed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_repeat_is_answered_without_storing_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_and_foreign_pushes_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_flush_puts_everything_into_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(late_spans_are_fragments_over_a_restart_too, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_kill_inside_a_large_frame_doubles_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(live_traces_are_carried_over_a_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(doubt_is_carried_over_a_cut_and_a_restart, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_comes_back_late_is_flagged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_published_late_is_flagged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_crash_between_publishing_and_trimming_makes_no_second_block, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_store_that_is_away_does_not_stop_a_start, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_start_without_the_store_can_be_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_store_that_refuses_stops_a_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_trace_that_grows_too_large_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_folder_has_one_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_failed_sync_is_told_and_two_end_the_process, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_log_is_synced_as_configured, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_drain_refuses_and_finishes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
