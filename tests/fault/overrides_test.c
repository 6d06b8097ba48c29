/* Memory that is short while the overrides file is read: an error, and what held before still holds. */
#include "common/app/overrides.h"
#include "common/app/overrides_priv.h"
#include "common/sys/fs.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

static const char FILE_A[] =
    "overrides:\n"
    "  acme: &acme\n"
    "    ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1, tenant_shard_size: 3}\n"
    "    metrics_generator: {processors: [span-metrics, local-blocks], processor: {span_metrics: {histogram_buckets: [1, 2]}}}\n"
    "  zoo: {<<: *acme}\n";
static const char FILE_B[] =
    "overrides: {acme: {ingestion_rate_limit_bytes: 2, ingestion_burst_size_bytes: 2, metrics_generator_processors: 'service-graphs, span-metrics'}}\n";

static struct config config;
static struct overrides *overrides;
static const char *path;
static uint64_t rate; /* that holds now */

static void write_file(const char *text)
{
    assert_int_equal(fs_replace(path, slice_str(text)), ERR_OK);
}

static int set_up(void **state)
{
    struct config_warning *warnings;

    (void)tmpdir_setup(state);
    assert_int_equal(config_parse("t.yml", SLICE_NONE, false, NULL, 0, &config, &warnings, NULL),
                     ERR_OK);
    path = tmpdir_path(state, "o.yml");
    config.override_file = path;
    config.override_period_ns = 3600000000000LL; /* the tests say when */
    /* The metrics' cells, which are made once and do without an answer. */
    write_file(FILE_B);
    assert_int_equal(overrides_new(&config, &overrides, NULL), ERR_OK);
    write_file(FILE_A);
    assert_true(overrides_reload(overrides));
    rate = 1;
    return 0;
}

static int tear_down(void **state)
{
    overrides_free(overrides);
    config_release(&config);
    return tmpdir_teardown(state);
}

static void parse(void *arg)
{
    struct overrides_file f;
    struct err_detail d = {0};

    (void)arg;
    enum err e = overrides_file_parse(&config, "o.yml", slice_str(FILE_A), &f, &d);
    if (e != ERR_OK) {
        assert_int_equal(e, ERR_NOMEM);
        assert_true(alloc_sweep_has_failed());
        assert_string_not_equal(d.text, "");
        return;
    }
    assert_int_equal(f.count, 2);
    assert_int_equal(f.tenants[1].limits.rate_limit_bytes, 1);
    assert_int_equal(f.tenants[1].limits.processors.count, 1);
    overrides_file_release(&f);
}

static void expect_rate(void)
{
    struct overrides_hold h = overrides_get(overrides, SLICE_LIT("acme"));

    assert_int_equal(h.limits->rate_limit_bytes, rate);
    assert_int_equal(h.limits->processors.count, rate);
    overrides_put(&h);
}

static void change_to(const char *text, uint64_t new_rate)
{
    write_file(text);
    while (!overrides_reload(overrides)) { /* the next time it goes well */
        assert_true(alloc_sweep_has_failed());
        expect_rate();
    }
    rate = new_rate;
    expect_rate();
}

static void change(void *arg)
{
    (void)arg;
    change_to(FILE_B, 2);
    change_to(FILE_A, 1);
}

static void open_file(void *arg)
{
    struct overrides *o;
    struct err_detail d = {0};

    (void)arg;
    enum err e = overrides_new(&config, &o, &d);
    assert_true(e == ERR_OK || (e == ERR_NOMEM && alloc_sweep_has_failed()));
    if (e == ERR_OK)
        overrides_free(o);
}

static void a_file_is_parsed_or_not(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(parse, NULL) >= 1);
}

static void a_reading_that_fails_changes_nothing(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(change, NULL) >= 4);
}

static void a_start_fails_or_not(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(open_file, NULL) >= 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_parsed_or_not),
        TEST(a_reading_that_fails_changes_nothing),
        TEST(a_start_fails_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
