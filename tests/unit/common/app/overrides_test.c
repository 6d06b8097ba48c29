/* The overrides file: both forms, the wildcard, wholesale replacing, every class of error; reading it again while limits are held. */
#include "common/app/overrides.h"
#include "common/app/overrides_priv.h"
#include "common/base/clock.h"
#include "common/obs/metrics.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <unistd.h>

static struct config config;

/* Waits for a condition; gives up only when nothing can be running any more. */
#define EVENTUALLY(condition)                               \
    do {                                                    \
        for (unsigned tries_ = 0; !(condition); tries_++) { \
            assert_true(tries_ < 60000);                    \
            (void)usleep(1000);                             \
        }                                                   \
    } while (0)

static void config_of(const char *yaml)
{
    struct config_warning *warnings;
    struct err_detail d = {0};

    config_release(&config);
    if (config_parse("t.yml", slice_str(yaml), false, NULL, 0, &config, &warnings, &d) != ERR_OK)
        fail_msg("%s", d.text);
}

static int set_up(void **state)
{
    (void)tmpdir_setup(state);
    config_of(
        "distributor: {max_attribute_bytes: 100}\n"
        "query_frontend: {search: {max_duration: 7h}}\n"
        "compactor: {compaction: {block_retention: 9h, compaction_window: 3h}}\n"
        "metrics_generator: {processor: {span_metrics: {dimensions: [x], histogram_buckets: [1, 2]}, "
        "service_graphs: {enable_client_server_prefix: true}}}\n"
        "overrides: {defaults: {ingestion: {rate_limit_bytes: 1000, burst_size_bytes: 2000}, "
        "compaction: {block_retention: 5h}, metrics_generator: {processors: [span-metrics]}}}\n");
    return 0;
}

static int tear_down(void **state)
{
    config_release(&config);
    return tmpdir_teardown(state);
}

static struct overrides_file parse(const char *yaml)
{
    struct err_detail d = {0};
    struct overrides_file f;

    if (overrides_file_parse(&config, "o.yml", slice_str(yaml), &f, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return f;
}

static const struct limits *of(const struct overrides_file *f, const char *tenant)
{
    const struct overrides_tenant *t = overrides_file_find(f, slice_str(tenant));

    return t == NULL ? &config.limits : &t->limits;
}

static void expect_error(const char *yaml, unsigned line, const char *text)
{
    struct err_detail d = {0};
    struct overrides_file f;

    assert_int_equal(overrides_file_parse(&config, "o.yml", slice_str(yaml), &f, &d), ERR_INVALID);
    assert_string_equal(d.text, text);
    assert_int_equal(d.line, line);
}

static void an_entry_replaces_the_defaults_wholesale(void **state)
{
    struct overrides_file f = parse("overrides:\n"
                                    "  zoo:\n"
                                    "    ingestion: {rate_limit_bytes: 7, burst_size_bytes: 8}\n"
                                    "  acme:\n"
                                    "    global: {max_bytes_per_trace: 55}\n"
                                    "  nothing: {}\n"
                                    "  none:\n");
    (void)state;

    assert_int_equal(f.count, 3);
    assert_int_equal(of(&f, "zoo")->rate_limit_bytes, 7);
    assert_int_equal(of(&f, "zoo")->max_bytes_per_trace, 0);
    assert_int_equal(of(&f, "acme")->max_bytes_per_trace, 55);
    assert_int_equal(of(&f, "acme")->rate_limit_bytes, 0);
    assert_int_equal(of(&f, "acme")->processors.count, 0);
    assert_int_equal(of(&f, "nothing")->rate_limit_bytes, 0);
    assert_int_equal(of(&f, "none")->rate_limit_bytes, 1000); /* an entry without a value is none */
    assert_int_equal(of(&f, "other")->rate_limit_bytes, 1000);
    assert_int_equal(of(&f, "other")->max_bytes_per_trace, 50000000);
    overrides_file_release(&f);
}

static void what_an_entry_leaves_open_is_the_process_own(void **state)
{
    struct overrides_file f = parse(
        "overrides:\n"
        "  a: {}\n"
        "  b:\n"
        "    ingestion: {max_attribute_bytes: 7}\n"
        "    read: {max_search_duration: 1h, max_metrics_duration: 2h}\n"
        "    compaction: {block_retention: 30m, compaction_window: 10m, compaction_disabled: true}\n"
        "    metrics_generator:\n"
        "      trace_id_label_name: tid\n"
        "      processor: {span_metrics: {dimensions: [], histogram_buckets: [3]}, service_graphs: {enable_client_server_prefix: false}}\n");
    const struct limits *a = of(&f, "a"), *b = of(&f, "b");
    (void)state;

    assert_int_equal(a->max_attribute_bytes, 100);
    assert_int_equal(a->max_search_duration_ns, 7 * 3600 * NS_PER_S);
    assert_int_equal(a->max_metrics_duration_ns, 24 * 3600 * NS_PER_S);
    assert_int_equal(a->block_retention_ns,
                     9 * 3600 * NS_PER_S); /* not that of overrides.defaults */
    assert_int_equal(a->compaction_window_ns, 3 * 3600 * NS_PER_S);
    assert_false(a->compaction_disabled);
    assert_string_equal(a->trace_id_label_name, "traceID");
    assert_int_equal(a->span_metrics_dimensions.count, 1);
    assert_int_equal(a->span_metrics_buckets.count, 2);
    assert_true(a->enable_client_server_prefix);
    assert_int_equal(b->max_attribute_bytes, 7);
    assert_int_equal(b->max_search_duration_ns, 3600 * NS_PER_S);
    assert_int_equal(b->max_metrics_duration_ns, 2 * 3600 * NS_PER_S);
    assert_int_equal(b->block_retention_ns, 1800 * NS_PER_S);
    assert_int_equal(b->compaction_window_ns, 600 * NS_PER_S);
    assert_true(b->compaction_disabled);
    assert_string_equal(b->trace_id_label_name, "tid");
    assert_int_equal(b->span_metrics_dimensions.count, 0);
    assert_int_equal(b->span_metrics_buckets.count, 1);
    assert_false(b->enable_client_server_prefix);
    overrides_file_release(&f);
}

static void the_wildcard_is_for_those_without_an_entry(void **state)
{
    struct overrides_file f =
        parse("overrides:\n"
              "  '*': {ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1}}\n"
              "  a: {ingestion: {rate_limit_bytes: 2, burst_size_bytes: 1}}\n");
    (void)state;

    assert_int_equal(of(&f, "a")->rate_limit_bytes, 2);
    assert_int_equal(of(&f, "b")->rate_limit_bytes, 1);
    assert_int_equal(of(&f, "single-tenant")->rate_limit_bytes, 1);
    overrides_file_release(&f);
}

static void the_flat_form_says_the_same(void **state)
{
    struct overrides_file f =
        parse("overrides:\n"
              "  a:\n"
              "    ingestion_rate_limit_bytes: 2e+07\n"
              "    ingestion_burst_size_bytes: 5\n"
              "    max_traces_per_user: 6\n"
              "    max_bytes_per_trace: 7\n"
              "    block_retention: 1h\n"
              "    compaction_window: 2h\n"
              "    metrics_generator_processors: [service-graphs, span-metrics]\n"
              "    metrics_generator_max_active_series: 9\n"
              "    metrics_generator_processor_span_metrics_dimensions: [a.b, c]\n");
    const struct limits *a = of(&f, "a");
    (void)state;

    assert_int_equal(a->rate_limit_bytes, 20000000);
    assert_int_equal(a->burst_size_bytes, 5);
    assert_int_equal(a->max_traces_per_user, 6);
    assert_int_equal(a->max_bytes_per_trace, 7);
    assert_int_equal(a->block_retention_ns, 3600 * NS_PER_S);
    assert_int_equal(a->compaction_window_ns, 7200 * NS_PER_S);
    assert_int_equal(a->processors.count, 2);
    assert_int_equal(a->max_active_series, 9);
    assert_int_equal(a->span_metrics_dimensions.count, 2);
    assert_null(f.warnings);
    overrides_file_release(&f);
}

static void anchors_are_followed(void **state)
{
    struct overrides_file f = parse("overrides:\n"
                                    "  a: &a\n"
                                    "    ingestion: &i {rate_limit_bytes: 2, burst_size_bytes: 3}\n"
                                    "  b: *a\n"
                                    "  c:\n"
                                    "    <<: *a\n"
                                    "    global: {max_bytes_per_trace: 4}\n"
                                    "  d: {ingestion: {<<: *i, rate_limit_bytes: 9}}\n");
    (void)state;

    assert_int_equal(of(&f, "b")->rate_limit_bytes, 2);
    assert_int_equal(of(&f, "c")->burst_size_bytes, 3);
    assert_int_equal(of(&f, "c")->max_bytes_per_trace, 4);
    assert_int_equal(of(&f, "d")->rate_limit_bytes, 9);
    assert_int_equal(of(&f, "d")->burst_size_bytes, 3);
    overrides_file_release(&f);
}

static void nothing_is_no_entry(void **state)
{
    static const char *const files[] = {"", "---\n", "overrides:\n", "overrides: {}\n",
                                        "# only words\n"};
    (void)state;

    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct overrides_file f = parse(files[i]);

        assert_int_equal(f.count, 0);
        assert_ptr_equal(of(&f, "a"), &config.limits);
        overrides_file_release(&f);
    }
}

static void errors_name_line_key_and_reason(void **state)
{
    (void)state;
    expect_error("overides:\n  a: {}\n", 1,
                 "o.yml:1: unknown key overides; did you mean overrides?");
    expect_error("overrides:\n  a:\n    ingestion:\n      rate_limit: 1\n", 4,
                 "o.yml:4: unknown key overrides.a.ingestion.rate_limit");
    expect_error(
        "overrides:\n  a:\n    ingestion:\n      rate_limit_byte: 1\n", 4,
        "o.yml:4: unknown key overrides.a.ingestion.rate_limit_byte; did you mean overrides.a.ingestion.rate_limit_bytes?");
    expect_error(
        "overrides:\n  a:\n    ingestion: {rate_limit_bytes: -1}\n", 3,
        "o.yml:3: overrides.a.ingestion.rate_limit_bytes: \"-1\" is not a size (like 1500, 64KiB, 500MiB)");
    expect_error(
        "overrides:\n  a:\n    ingestion: {max_traces_per_user: -1}\n", 3,
        "o.yml:3: overrides.a.ingestion.max_traces_per_user: -1 is out of range (at least 0)");
    expect_error(
        "overrides:\n  a:\n    block_retention: soon\n", 3,
        "o.yml:3: overrides.a.block_retention: \"soon\" is not a duration (like 500ms, 30s, 5m, 168h)");
    expect_error("overrides:\n  a: {}\n  a: {}\n", 3,
                 "o.yml:3: key a is given twice (also on line 2)");
    expect_error(
        "overrides:\n  a:\n    max_bytes_per_trace: 1\n    global: {max_bytes_per_trace: 1}\n", 4,
        "o.yml:4: overrides.a.global.max_bytes_per_trace is given twice (also on line 3, there perhaps by another name)");
    expect_error("overrides: [a]\n", 1, "o.yml:1: overrides: expected a section of tenants");
    expect_error("overrides:\n  a: 1\n", 2,
                 "o.yml:2: overrides.a.: expected a section, got a single value");
    expect_error(
        "overrides:\n  a: {\n", 3,
        "o.yml:3: not valid YAML: did not find expected node content while parsing a flow node");
    expect_error(
        "overrides:\n  a:\n    metrics_generator: {processors: [span-metric]}\n", 3,
        "o.yml:3: metrics_generator.processor \"span-metric\" is not a known processor, valid values: "
        "[service-graphs span-metrics span-metrics-latency span-metrics-count span-metrics-size]");
    expect_error("overrides:\n  a:\n    metrics_generator: {trace_id_label_name: a.b}\n", 3,
                 "o.yml:3: trace_id_label_name \"a.b\" is not a valid Prometheus label name");
}

static void what_is_not_built_is_said(void **state)
{
    struct overrides_file f;
    (void)state;

    expect_error("overrides:\n  a:\n    forwarders: [x]\n", 3,
                 "o.yml:3: overrides.a.forwarders is not supported yet");
    expect_error("overrides:\n  a:\n    ingestion: {artificial_delay: 1s}\n", 3,
                 "o.yml:3: overrides.a.ingestion.artificial_delay is not supported yet");
    f = parse(
        "overrides:\n  a:\n    ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1, tenant_shard_size: 3}\n");
    assert_string_equal(
        f.warnings->text,
        "o.yml:3: overrides.a.ingestion.tenant_shard_size has no meaning here and is ignored");
    overrides_file_release(&f);
    f = parse(
        "overrides:\n  a:\n    ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1, rate_strategy: global}\n");
    assert_string_equal(
        f.warnings->text,
        "o.yml:3: overrides.a.ingestion.rate_strategy is not supported yet and is ignored");
    overrides_file_release(&f);
    f = parse("overrides:\n  a:\n    ingestion: {burst_size_bytes: 1}\n");
    assert_string_equal(
        f.warnings->text,
        "o.yml:2: overrides.a.ingestion.rate_limit_bytes is 0 or not given: nothing is let through, as an entry replaces the defaults wholesale");
    overrides_file_release(&f);
    f = parse("overrides:\n  a/b: {ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1}}\n");
    assert_string_equal(
        f.warnings->text,
        "o.yml:2: overrides.a/b. no tenant has this name: tenant ID 'a/b' contains unsupported character '/'");
    overrides_file_release(&f);
}

static void sizes_are_limited(void **state)
{
    static char many[400000], large[(4 << 20) + 16];
    size_t len = (size_t)snprintf(many, sizeof many, "overrides:\n");
    struct err_detail d = {0};
    struct overrides_file f;
    (void)state;

    for (unsigned i = 0; i < 10001; i++)
        len += (size_t)snprintf(many + len, sizeof many - len, "  k%u: {}\n", i);
    expect_error(many, 2, "o.yml:2: a section of more than 10000 keys");
    many[strlen(many) - strlen("  k10000: {}\n")] = '\0';
    f = parse(many);
    assert_int_equal(f.count, 10000);
    assert_int_equal(of(&f, "k9999")->rate_limit_bytes, 0);
    assert_int_equal(of(&f, "k10000")->rate_limit_bytes, 1000);
    overrides_file_release(&f);
    memset(large, ' ', sizeof large);
    assert_int_equal(overrides_file_parse(&config, "o.yml",
                                          (struct slice){(uint8_t *)large, sizeof large}, &f, &d),
                     ERR_INVALID);
    assert_string_equal(d.text, "o.yml:1: the file is larger than 4194304 bytes");
    /* Aliases that multiply: tenants times keys. */
    len = (size_t)snprintf(many, sizeof many, "overrides:\n  a: &a {<<: {");
    for (unsigned i = 0; i < 200; i++)
        len += (size_t)snprintf(many + len, sizeof many - len, "storage: 1%s",
                                i < 199 ? "} , x: {" : "}}");
    assert_int_equal(overrides_file_parse(&config, "o.yml", slice_str(many), &f, &d), ERR_INVALID);
}

/* --- the live object --------------------------------------------------------------------------- */

static const char *path_of(void **state)
{
    return tmpdir_path(state, "o.yml");
}

static void write_file(void **state, const char *text)
{
    assert_int_equal(fs_replace(path_of(state), slice_str(text)), ERR_OK);
}

static uint64_t rate_of(struct overrides *o, const char *tenant)
{
    struct overrides_hold h = overrides_get(o, slice_str(tenant));
    uint64_t rate = h.limits->rate_limit_bytes;

    overrides_put(&h);
    return rate;
}

static struct overrides *open_file(void **state)
{
    struct err_detail d = {0};
    struct overrides *o;

    config.override_file = path_of(state);
    config.override_period_ns = 3600 * NS_PER_S; /* the tests say when */
    if (overrides_new(&config, &o, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return o;
}

static bool shows(const char *line)
{
    struct buf text;

    buf_init(&text, 4 << 20);
    metrics_write_text(&text);
    bool has = memmem(text.ptr, text.len, line, strlen(line)) != NULL;
    buf_release(&text);
    return has;
}

static void without_a_file_the_defaults_hold(void **state)
{
    struct overrides *o;
    (void)state;

    assert_int_equal(overrides_new(&config, &o, NULL), ERR_OK);
    assert_int_equal(rate_of(o, "a"), 1000);
    assert_true(shows("tempo_limits_defaults{limit_name=\"ingestion_rate_limit_bytes\"} 1000\n"));
    overrides_free(o);
}

static void a_start_with_a_broken_file_is_an_error(void **state)
{
    struct err_detail d = {0};
    struct overrides *o;

    config.override_file = path_of(state);
    assert_int_equal(overrides_new(&config, &o, &d), ERR_NOT_FOUND);
    assert_non_null(strstr(d.text, path_of(state)));
    write_file(state, "overrides: {a: {x: 1}}\n");
    assert_int_equal(overrides_new(&config, &o, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "o.yml:1: unknown key overrides.a.x"));
}

static void the_last_good_file_counts(void **state)
{
    write_file(state,
               "overrides: {a: {ingestion: {rate_limit_bytes: 1, burst_size_bytes: 9}}, b: {}}\n");
    struct overrides *o = open_file(state);

    assert_int_equal(rate_of(o, "a"), 1);
    assert_int_equal(rate_of(o, "b"), 0);
    assert_true(shows("tempo_runtime_config_last_reload_successful{config=\"overrides\"} 1\n"));
    assert_true(
        shows("tempo_limits_overrides{limit_name=\"ingestion_burst_size_bytes\",user=\"a\"} 9\n"));
    write_file(state, "overrides: {a: {ingestion: {rate_limit_bytes: many}}}\n");
    assert_false(overrides_reload(o));
    assert_int_equal(rate_of(o, "a"), 1);
    assert_true(shows("tempo_runtime_config_last_reload_successful{config=\"overrides\"} 0\n"));
    write_file(state, "overrides: {a: {ingestion: {rate_limit_bytes: 2, burst_size_bytes: 9}}}\n");
    assert_true(overrides_reload(o));
    assert_int_equal(rate_of(o, "a"), 2);
    assert_int_equal(rate_of(o, "b"), 1000);
    assert_true(shows("tempo_runtime_config_last_reload_successful{config=\"overrides\"} 1\n"));
    assert_false(shows("user=\"b\""));
    assert_int_equal(unlink(path_of(state)), 0);
    assert_false(overrides_reload(o));
    assert_int_equal(rate_of(o, "a"), 2);
    overrides_free(o);
}

/* Who holds limits keeps them; when too many readings are held, the next one waits. */
static void what_is_held_stays(void **state)
{
    struct overrides_hold held[8];
    unsigned taken = 0;
    char text[100];

    write_file(state,
               "overrides: {a: {ingestion: {rate_limit_bytes: 100, burst_size_bytes: 1}}}\n");
    struct overrides *o = open_file(state);
    for (unsigned i = 0; i < 8; i++) {
        held[i] = overrides_get(o, SLICE_LIT("a"));
        (void)snprintf(text, sizeof text,
                       "overrides: {a: {ingestion: {rate_limit_bytes: %u, burst_size_bytes: 1}}}\n",
                       101 + i);
        write_file(state, text);
        taken += overrides_reload(o);
    }
    assert_int_equal(taken, 3);
    assert_int_equal(rate_of(o, "a"), 103);
    assert_int_equal(held[0].limits->rate_limit_bytes, 100);
    assert_int_equal(held[2].limits->rate_limit_bytes, 102);
    overrides_put(&held[1]);
    assert_true(overrides_reload(o));
    assert_int_equal(rate_of(o, "a"), 108);
    assert_int_equal(held[0].limits->rate_limit_bytes, 100);
    for (unsigned i = 0; i < 8; i++)
        if (i != 1)
            overrides_put(&held[i]);
    overrides_free(o);
}

struct looker {
    struct overrides *o;
    atomic_bool *is_over;
    uint64_t looks, wrong;
};

static void look(void *arg)
{
    struct looker *l = arg;

    while (!atomic_load(l->is_over)) {
        struct overrides_hold h = overrides_get(l->o, SLICE_LIT("a"));

        l->wrong += h.limits->rate_limit_bytes != h.limits->burst_size_bytes ||
                    strcmp(h.limits->processors.items[0], "span-metrics") != 0;
        overrides_put(&h);
        l->looks++;
    }
}

/* No look ever sees half of a reading, or one that is gone. */
static void looks_go_on_while_it_is_read(void **state)
{
    static const char form[] =
        "overrides: {a: {ingestion: {rate_limit_bytes: %u, burst_size_bytes: %u}, "
        "metrics_generator: {processors: [span-metrics]}}}\n";
    struct looker lookers[2];
    atomic_bool is_over = false;
    pthread_t threads[2];
    char text[200];

    (void)snprintf(text, sizeof text, form, 1u, 1u);
    write_file(state, text);
    struct overrides *o = open_file(state);
    for (unsigned i = 0; i < 2; i++) {
        lookers[i] = (struct looker){.o = o, .is_over = &is_over};
        assert_int_equal(thread_start(&threads[i], "look", look, &lookers[i]), ERR_OK);
    }
    for (unsigned i = 2; i < 200; i++) {
        (void)snprintf(text, sizeof text, form, i, i);
        write_file(state, text);
        while (!overrides_reload(o)) /* held by a thread that does not run just now */
            ;
        assert_int_equal(rate_of(o, "a"), i);
    }
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < 2; i++) {
        thread_join(threads[i]);
        assert_int_equal(lookers[i].wrong, 0);
    }
    overrides_free(o);
}

static void the_thread_reads_it_again(void **state)
{
    struct err_detail d = {0};
    struct overrides *o;

    write_file(state, "overrides: {a: {ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1}}}\n");
    config.override_file = path_of(state);
    config.override_period_ns = NS_PER_MS;
    assert_int_equal(overrides_new(&config, &o, &d), ERR_OK);
    write_file(state,
               "overrides: {'*': {ingestion: {rate_limit_bytes: 5, burst_size_bytes: 1}}}\n");
    EVENTUALLY(rate_of(o, "a") == 5);
    overrides_free(o);
}

static void expect_page(const struct buf *page, const char *want)
{
    assert_int_equal(buf_err(page), ERR_OK);
    if (!slice_eq_str(buf_slice(page), want))
        fail_msg("got: " SLICE_FMT "\nwanted: %s", SLICE_ARG(buf_slice(page)), want);
}

static void the_pages_show_what_is_given(void **state)
{
    static const char acme[] =
        "compaction:\n  block_retention: 1h0m0s\ningestion:\n  burst_size_bytes: 2\n"
        "  rate_limit_bytes: 1000\nmetrics_generator:\n  processors: [span-metrics]\n";
    struct buf page;

    write_file(
        state,
        "overrides: {'*': {}, acme: {block_retention: 1h, metrics_generator_processors: [span-metrics], "
        "ingestion: {rate_limit_bytes: 1000, burst_size_bytes: 2}}}\n");
    struct overrides *o = open_file(state);
    buf_init(&page, 1 << 20);
    overrides_write_runtime(o, true, &page);
    expect_page(
        &page,
        "---\noverrides:\n"
        "  \"*\":\n    compaction:\n      block_retention: 0s\n    global:\n      max_bytes_per_trace: 0\n"
        "    ingestion:\n      burst_size_bytes: 0\n      rate_limit_bytes: 0\n"
        "    metrics_generator:\n      processors: []\n      trace_id_label_name: \"\"\n"
        "    read:\n      max_bytes_per_tag_values_query: 0\n"
        "  \"acme\":\n    compaction:\n      block_retention: 1h0m0s\n    global:\n      max_bytes_per_trace: 0\n"
        "    ingestion:\n      burst_size_bytes: 2\n"
        "    metrics_generator:\n      trace_id_label_name: \"\"\n"
        "    read:\n      max_bytes_per_tag_values_query: 0\n");
    buf_reset(&page);
    overrides_write_runtime(o, false, &page);
    buf_append_byte(&page, 0);
    const char *text = (const char *)page.ptr;
    assert_non_null(strstr(text, "overrides:\n  \"*\": {}\n  \"acme\":\n    compaction:\n"));
    assert_ptr_equal(strstr(text, "---\ndefaults:\n  compaction:\n    block_retention: 5h0m0s\n"),
                     text);
    buf_reset(&page);
    overrides_write_tenants(o, 1700000000 * NS_PER_S, true, &page);
    expect_page(
        &page,
        "{\"now\":\"2023-11-14T22:13:20.000000000Z\",\"tenants\":["
        "{\"name\":\"*\",\"has_runtime_overrides\":true,\"has_user_configurable_overrides\":false},"
        "{\"name\":\"acme\",\"has_runtime_overrides\":true,\"has_user_configurable_overrides\":false}]}");
    buf_reset(&page);
    overrides_write_tenant(o, SLICE_LIT("acme"), 1700000000 * NS_PER_S, false, &page);
    buf_append_byte(&page, 0);
    assert_non_null(strstr((const char *)page.ptr, acme));
    buf_reset(&page);
    overrides_write_tenant(o, SLICE_LIT("<b>"), 1700000000 * NS_PER_S, true, &page);
    expect_page(
        &page,
        "{\"now\":\"2023-11-14T22:13:20.000000000Z\",\"tenant\":\"<b>\","
        "\"user_configurable_overrides\":\"User-configurable overrides are not enabled\","
        "\"runtime_overrides\":\"{}\\n\",\"using_default_or_wildcard_runtime_overrides\":\"*\"}");
    buf_release(&page);
    overrides_free(o);
}

/* --- limits ------------------------------------------------------------------------------------ */

static void a_copy_stands_alone(void **state)
{
    struct overrides_file f = parse(
        "overrides: {a: {metrics_generator: {processors: [span-metrics], trace_id_label_name: t, "
        "processor: {span_metrics: {dimensions: [d1, d2], histogram_buckets: [1, 2.5]}}}}}\n");
    struct limits copy;
    struct arena a;
    (void)state;

    arena_init(&a, NULL);
    config_limits_copy(of(&f, "a"), &a, &copy);
    assert_int_equal(arena_err(&a), ERR_OK);
    assert_true(config_limits_equal_generator(&copy, of(&f, "a")));
    assert_false(config_limits_equal_generator(&copy, &config.limits));
    overrides_file_release(&f);
    assert_string_equal(copy.processors.items[0], "span-metrics");
    assert_string_equal(copy.trace_id_label_name, "t");
    assert_string_equal(copy.span_metrics_dimensions.items[1], "d2");
    assert_true(copy.span_metrics_buckets.items[1] > 2);
    struct limits other = copy;
    other.rate_limit_bytes = 77;
    assert_true(config_limits_equal_generator(&copy, &other)); /* not of the generator */
    other.disable_collection = true;
    assert_false(config_limits_equal_generator(&copy, &other));
    arena_release(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_entry_replaces_the_defaults_wholesale),
        TEST(what_an_entry_leaves_open_is_the_process_own),
        TEST(the_wildcard_is_for_those_without_an_entry),
        TEST(the_flat_form_says_the_same),
        TEST(anchors_are_followed),
        TEST(nothing_is_no_entry),
        TEST(errors_name_line_key_and_reason),
        TEST(what_is_not_built_is_said),
        TEST(sizes_are_limited),
        TEST(without_a_file_the_defaults_hold),
        TEST(a_start_with_a_broken_file_is_an_error),
        TEST(the_last_good_file_counts),
        TEST(what_is_held_stays),
        TEST(looks_go_on_while_it_is_read),
        TEST(the_thread_reads_it_again),
        TEST(the_pages_show_what_is_given),
        TEST(a_copy_stands_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
