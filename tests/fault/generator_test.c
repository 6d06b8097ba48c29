/* The generator while allocations fail one after the other: counted or told, never half a state that later goes wrong, and nothing leaks. */
#include "common/base/clock.h"
#include "common/codec/otlp.h"
#include "common/sys/fs.h"
#include "generator/checkpoint.h"
#include "generator/collect.h"
#include "generator/send_queue.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"
#include "tests/unit/generator/otlp_one.h"

#define NOW_NS (1700000000LL * NS_PER_S)

static struct config config;
static struct buf request; /* both sides of an edge, and a span */
static const char *path;
static struct budget budget;
static struct tenant *loaded;

static int set_up(void **state)
{
    struct config_warning *warnings;
    struct buf part;

    if (tmpdir_setup(state) != 0)
        return -1;
    path = tmpdir_path(state, "checkpoint");
    assert_int_equal(
        config_parse(
            "test.yml",
            SLICE_LIT(
                "metrics_generator: {processor: {span_metrics: {dimensions: [a]}}}\noverrides: {metrics_generator_processors: [service-graphs, span-metrics]}\n"),
            false, NULL, 0, &config, &warnings, NULL),
        ERR_OK);
    buf_init(&request, 1 << 20);
    buf_init(&part, 1 << 20);
    otlp_one(&part, "front", 1, 1, 0, 3, NOW_NS, "");
    buf_append(&request, buf_slice(&part));
    buf_reset(&part);
    otlp_one(&part, "back", 1, 2, 1, 2, NOW_NS,
             ",\"attributes\":[{\"key\":\"a\",\"value\":{\"intValue\":\"7\"}}]");
    buf_append(&request, buf_slice(&part));
    buf_reset(&part);
    otlp_one(&part, "waits", 2, 1, 0, 3, NOW_NS, "");
    buf_append(&request, buf_slice(&part));
    buf_release(&part);
    /* The metrics' cells, which are made once and do without an answer. */
    struct tenant *t;
    budget_init(&budget, 64 << 20, NULL);
    assert_int_equal(tenant_new(&config, &config.limits, "acme", &budget, &t), ERR_OK);
    tenant_free(t);
    return 0;
}

static int tear_down(void **state)
{
    buf_release(&request);
    config_release(&config);
    return tmpdir_teardown(state);
}

static void may_fail(enum err e)
{
    if (e == ERR_OK)
        return;
    assert_int_equal(e, ERR_NOMEM);
    assert_true(alloc_sweep_has_failed());
}

static enum err request_done(void *arg, enum collect_variant variant, struct slice bytes)
{
    struct buf *file = arg;

    (void)variant;
    send_queue_add(file, bytes);
    return ERR_OK;
}

static enum err get(void *arg, const char *name, struct tenant **ret)
{
    (void)arg;
    enum err e =
        loaded != NULL ? ERR_OK : tenant_new(&config, &config.limits, name, &budget, &loaded);
    if (e == ERR_OK)
        *ret = loaded;
    return e;
}

static enum err checkpoint_all(struct tenant *t)
{
    struct batches batches, back;
    uint64_t lsn = 0;

    enum err e = batches_init(&batches);
    if (e != ERR_OK)
        return e;
    e = batches_init(&back);
    if (e == ERR_OK) {
        batches_add(&batches, (const uint8_t[BATCHES_ID_BYTES]){1}, 2, NOW_NS);
        e = checkpoint_save(path, 42, t, &batches);
        if (e == ERR_OK)
            e = checkpoint_load(path, &lsn, get, NULL, &back);
        if (e == ERR_OK) {
            assert_int_equal(lsn, 42);
            assert_int_equal(loaded->graph.count, t->graph.count);
        }
        batches_release(&back);
    }
    batches_release(&batches);
    tenant_free(loaded);
    loaded = NULL;
    return e;
}

static void count_collect_and_save(void *arg)
{
    struct tenant *t;
    struct buf file;

    (void)arg;
    budget_init(&budget, 64 << 20, NULL);
    enum err e = tenant_new(&config, &config.limits, "acme", &budget, &t);
    may_fail(e);
    if (e != ERR_OK) {
        assert_int_equal(budget_used(&budget), 0);
        return;
    }
    e = tenant_take(t, buf_slice(&request), NOW_NS);
    may_fail(e);
    buf_init(&file, 1 << 20);
    struct collect_options o = {.instance = "g",
                                .now_ns = NOW_NS,
                                .samples_per_request = 7,
                                .wants = {true, true},
                                .done = request_done,
                                .arg = &file};
    for (int round = 0; round < 2; round++) {
        e = collect_run(t, &o);
        may_fail(e);
        collect_settle(t, e == ERR_OK);
    }
    may_fail(buf_err(&file));
    may_fail(checkpoint_all(t));
    buf_release(&file);
    tenant_free(t);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_count_collect_and_save(void **state)
{
    (void)state;
    assert_true(alloc_fault_is_linked());
    assert_true(ALLOC_SWEEP(count_collect_and_save, NULL) >= 20);
}

static void queue_all(void *arg)
{
    const char *dir = arg;
    struct send_queue *q;
    struct send_queue_stats s;
    struct buf file, back;
    uint64_t number;

    assert_true(fs_remove_tree(dir) == ERR_OK || alloc_sweep_has_failed());
    enum err e = send_queue_open(dir, 1 << 20, &q);
    may_fail(e);
    if (e != ERR_OK)
        return;
    buf_init(&file, 1 << 20);
    buf_init(&back, 1 << 20);
    send_queue_begin(&file, SLICE_LIT("acme"));
    send_queue_add(&file, SLICE_LIT("one"));
    e = send_queue_put(q, &file);
    may_fail(e);
    send_queue_stats(q, &s);
    if (e != ERR_OK)
        assert_int_equal(s.files, 0); /* told as lost: it does not come back */
    bool has = send_queue_next(q, 0, &number, &back);
    send_queue_stats(q, &s);
    if (e == ERR_OK && !has) { /* no memory to read it: it stays */
        assert_true(alloc_sweep_has_failed());
        assert_int_equal(s.files, 1);
        assert_int_equal(s.dropped_files, 0);
    }
    if (has)
        assert_true(slice_eq(buf_slice(&back), buf_slice(&file)));
    buf_release(&file);
    buf_release(&back);
    send_queue_close(q);
}

static void test_queue(void **state)
{
    static char dir[512];

    (void)snprintf(dir, sizeof dir, "%s", tmpdir_path(state, "q"));
    assert_int_equal(fs_mkdir_all(dir), ERR_OK);
    assert_true(ALLOC_SWEEP(queue_all, dir) >= 3);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(test_count_collect_and_save), T(test_queue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
