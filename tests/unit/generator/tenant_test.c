/* Span metrics and service graphs: the seed's dimensions, edges of every topology, in any order, through a checkpoint. */
#include "common/base/clock.h"
#include "common/codec/otlp_json.h"
#include "common/sys/fs.h"
#include "generator/checkpoint.h"
#include "generator/tenant.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <math.h>

static const char seed_yaml[] =
    "metrics_generator:\n"
    "  processor:\n"
    "    service_graphs:\n"
    "      dimensions: [service.name, service.namespace]\n"
    "    span_metrics:\n"
    "      dimensions: [service.name, http.method, http.status_code, http.route, status.code, db.system, db.name, db.operation]\n"
    "overrides:\n"
    "  metrics_generator_processors: [service-graphs, span-metrics]\n";
#define NOW_NS (1700000000LL * NS_PER_S)

struct fixture {
    struct config config;
    struct budget budget;
    struct tenant *tenant;
};

static void fixture_open(struct fixture *f, const char *yaml)
{
    struct config_warning *warnings;
    struct err_detail detail = {0};

    enum err e =
        config_parse("test.yml", slice_str(yaml), false, NULL, 0, &f->config, &warnings, &detail);
    if (e != ERR_OK)
        fail_msg("%s", detail.text);
    budget_init(&f->budget, 64 << 20, NULL);
    assert_int_equal(
        tenant_new(&f->config, &f->config.limits, "single-tenant", &f->budget, &f->tenant), ERR_OK);
}

static void fixture_close(struct fixture *f)
{
    tenant_free(f->tenant);
    assert_int_equal(budget_used(&f->budget), 0);
    config_release(&f->config);
}

/* One span of a service as OTLP/JSON; kind 2 server, 3 client, 4 producer, 5 consumer.  It ends at NOW_NS. */
static void take_span(struct fixture *f, const char *service, const char *trace, const char *id,
                      const char *parent, int kind, int ms, const char *extra)
{
    struct buf json, pb;
    struct err_detail detail = {0};

    buf_init(&json, 1 << 20);
    buf_init(&pb, 1 << 20);
    buf_appendf(
        &json,
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"%s\"}}]},\"scopeSpans\":[{\"spans\":[{"
        "\"traceId\":\"%s\",\"spanId\":\"%s\",\"parentSpanId\":\"%s\",\"name\":\"op\",\"kind\":%d,\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\"%s}]}]}]}",
        service, trace, id, parent, kind, (long long)(NOW_NS - ms * NS_PER_MS), (long long)NOW_NS,
        extra);
    enum err e = otlp_json_to_pb(buf_slice(&json), NULL, &pb, &detail);
    if (e != ERR_OK)
        fail_msg("%s", detail.text);
    assert_int_equal(tenant_take(f->tenant, buf_slice(&pb), NOW_NS), ERR_OK);
    buf_release(&json);
    buf_release(&pb);
}

/* "name=value name=value" of a blob. */
static void labels_text(struct slice labels, char *ret, size_t len)
{
    struct slice name, value;
    size_t n = 0;

    ret[0] = '\0';
    for (size_t at = 0; series_label_next(labels, &at, &name, &value);)
        n += (size_t)snprintf(ret + n, len - n, "%s" SLICE_FMT "=" SLICE_FMT, n == 0 ? "" : " ",
                              SLICE_ARG(name), SLICE_ARG(value));
}

struct wanted {
    const char *labels;
    const struct series_entity *found;
};

static enum err find_labels(void *arg, struct series_set *s, struct series_entity *e)
{
    struct wanted *w = arg;
    char text[1024];

    (void)s;
    labels_text((struct slice){e->labels, e->labels_len}, text, sizeof text);
    if (strcmp(text, w->labels) == 0)
        w->found = e;
    else
        print_message("have: %s\n", text);
    return ERR_OK;
}

static const struct series_entity *must_find(struct series_set *s, const char *labels)
{
    struct wanted w = {.labels = labels};

    assert_int_equal(series_each(s, find_labels, &w), ERR_OK);
    if (w.found == NULL)
        fail_msg("no series %s", labels);
    return w.found;
}

#define T1 "0000000000000000000000000000a001"
#define S1 "0000000000000001"
#define S2 "0000000000000002"

static void test_span_metrics_of_the_seed(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, seed_yaml);
    take_span(
        &f, "shop", T1, S1, "", 2, 30,
        ",\"status\":{\"code\":2},\"attributes\":[{\"key\":\"http.method\",\"value\":{\"stringValue\":\"GET\"}},{\"key\":\"http.status_code\",\"value\":{\"intValue\":\"500\"}},"
        "{\"key\":\"status.code\",\"value\":{\"stringValue\":\"custom\"}},{\"key\":\"db.system\",\"value\":{\"stringValue\":\"\"}}]");
    const struct series_entity *e = must_find(
        &f.tenant->spans.series,
        "__status_code=custom http_method=GET http_status_code=500 service=shop service_name=shop span_kind=SPAN_KIND_SERVER span_name=op status_code=STATUS_CODE_ERROR");
    assert_true(e->counters[0] == 1);
    assert_true(e->counters[1] > 50);
    assert_true(fabs(e->histograms[0].sum - 0.03) < 1e-9);
    assert_int_equal(e->histograms[0].buckets[4], 1); /* 16 ms < 30 ms <= 32 ms */
    fixture_close(&f);
}

static void test_values_that_are_no_strings(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, seed_yaml);
    take_span(
        &f, "shop", T1, S1, "", 1, 1,
        ",\"attributes\":[{\"key\":\"http.method\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"GET\"},{\"stringValue\":\"PUT\"}]}}},"
        "{\"key\":\"http.status_code\",\"value\":{\"doubleValue\":200.5}},{\"key\":\"db.name\",\"value\":{\"boolValue\":true}},"
        "{\"key\":\"db.system\",\"value\":{\"arrayValue\":{\"values\":[{\"intValue\":\"1\"},{\"intValue\":\"2\"}]}}}]");
    (void)must_find(
        &f.tenant->spans.series,
        "db_name=true db_system=[1 2] http_method=[GETPUT] http_status_code=200.5 service=shop service_name=shop span_kind=SPAN_KIND_INTERNAL "
        "span_name=op status_code=STATUS_CODE_UNSET");
    fixture_close(&f);
}

static void test_buckets_are_inclusive(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, seed_yaml);
    take_span(&f, "shop", T1, S1, "", 1, 2, "");
    take_span(&f, "shop", T1, S2, "", 1, 20000, "");
    const struct series_entity *e = must_find(
        &f.tenant->spans.series,
        "service=shop service_name=shop span_kind=SPAN_KIND_INTERNAL span_name=op status_code=STATUS_CODE_UNSET");
    assert_int_equal(e->histograms[0].buckets[0], 1);  /* 2 ms is in le="0.002" */
    assert_int_equal(e->histograms[0].buckets[14], 1); /* beyond 16.384 s */
    fixture_close(&f);
}

static void test_edge_in_both_orders(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, seed_yaml);
    take_span(&f, "front", T1, S1, "", 3, 100, "");
    take_span(&f, "back", T1, S2, S1, 2, 60, ",\"status\":{\"code\":2}");
    take_span(&f, "back", "0000000000000000000000000000a002", S2, S1, 2, 60, "");
    take_span(&f, "front", "0000000000000000000000000000a002", S1, "", 3, 100, "");
    const struct series_entity *e =
        must_find(&f.tenant->graph.series, "client=front server=back service_name=back");
    assert_true(e->counters[0] == 2);
    assert_true(e->counters[1] == 1);
    assert_true(fabs(e->histograms[0].sum - 0.12) < 1e-9); /* server */
    assert_true(fabs(e->histograms[1].sum - 0.2) < 1e-9);  /* client */
    assert_int_equal(f.tenant->graph.count, 0);
    fixture_close(&f);
}

static void test_database_edge_is_complete_at_once(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, seed_yaml);
    take_span(
        &f, "lgtm-stack", T1, S1, S2, 3, 40,
        ",\"attributes\":[{\"key\":\"db.system\",\"value\":{\"stringValue\":\"mariadb\"}},{\"key\":\"db.name\",\"value\":{\"stringValue\":\"test\"}},"
        "{\"key\":\"server.address\",\"value\":{\"stringValue\":\"mariadb\"}}]");
    const struct series_entity *e = must_find(
        &f.tenant->graph.series,
        "client=lgtm-stack connection_type=database server=mariadb service_name=lgtm-stack");
    assert_true(e->counters[0] == 1);
    assert_true(fabs(e->histograms[0].sum - 0.04) < 1e-9);
    fixture_close(&f);
}

static void test_who_waits_in_vain(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, seed_yaml);
    take_span(&f, "front", T1, S1, "", 2, 10, ""); /* root server: user */
    take_span(
        &f, "store", T1, S2, S1, 3, 10,
        ",\"attributes\":[{\"key\":\"peer.service\",\"value\":{\"stringValue\":\"bank\"}}]"); /* virtual node */
    take_span(&f, "store", T1, "0000000000000003", S1, 3, 10, ""); /* no peer: expired */
    take_span(&f, "orphan", T1, "0000000000000004", "00000000000000ff", 2, 10,
              ""); /* not a root: expired */
    assert_int_equal(f.tenant->graph.count, 4);
    assert_int_equal(service_graph_expire(&f.tenant->graph, NOW_NS + 9 * NS_PER_S), ERR_OK);
    assert_int_equal(f.tenant->graph.count, 4); /* wait is 10 s */
    assert_int_equal(service_graph_expire(&f.tenant->graph, NOW_NS + 10 * NS_PER_S), ERR_OK);
    assert_int_equal(f.tenant->graph.count, 0);
    assert_int_equal(f.tenant->graph.expired, 2);
    (void)must_find(&f.tenant->graph.series,
                    "client=user connection_type=virtual_node server=front service_name=front");
    (void)must_find(&f.tenant->graph.series,
                    "client=store connection_type=virtual_node server=bank service_name=store");
    assert_int_equal(f.tenant->graph.series.count, 2);
    fixture_close(&f);
}

static void test_messaging(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, seed_yaml);
    take_span(&f, "worker", T1, S2, S1, 5, 10, "");
    take_span(&f, "publisher", T1, S1, "", 4, 10, "");
    (void)must_find(
        &f.tenant->graph.series,
        "client=publisher connection_type=messaging_system server=worker service_name=worker");
    fixture_close(&f);
}

static void test_edges_that_wait_are_bounded(void **state)
{
    struct fixture f;
    char trace[33];

    (void)state;
    fixture_open(
        &f,
        "metrics_generator: {processor: {service_graphs: {max_items: 10}}}\noverrides: {metrics_generator_processors: [service-graphs]}\n");
    for (unsigned i = 1; i <= 25; i++) {
        (void)snprintf(trace, sizeof trace, "%032x", i);
        take_span(&f, "front", trace, S1, "", 3, 10, "");
    }
    assert_int_equal(f.tenant->graph.count, 10);
    assert_int_equal(f.tenant->graph.dropped_spans, 15);
    fixture_close(&f);
}

static void test_label_sets_over_the_limit_overflow(void **state)
{
    struct fixture f;
    char service[16];

    (void)state;
    fixture_open(
        &f,
        "overrides: {defaults: {metrics_generator: {processors: [span-metrics], max_active_series: 3}}}\n");
    for (int i = 0; i < 10; i++) {
        (void)snprintf(service, sizeof service, "s%d", i);
        take_span(&f, service, T1, S1, "", 1, 10, "");
    }
    const struct series_entity *e = must_find(&f.tenant->spans.series, "metric_overflow=true");
    assert_true(e->counters[0] == 7);
    assert_int_equal(f.tenant->spans.series.limited, 7);
    fixture_close(&f);
}

/* The tenant as it is under other limits, with what it has. */
static void change_limits(struct fixture *f, const struct limits *limits)
{
    struct tenant *t;
    struct buf saved;

    buf_init(&saved, 1 << 20);
    assert_int_equal(checkpoint_save_tenant(f->tenant, &saved), ERR_OK);
    assert_int_equal(tenant_new(&f->config, limits, "single-tenant", &f->budget, &t), ERR_OK);
    tenant_free(f->tenant);
    f->tenant = t;
    assert_int_equal(checkpoint_load_tenant(t, buf_slice(&saved)), ERR_OK);
    buf_release(&saved);
}

static void test_changed_limits_keep_what_still_has_a_place(void **state)
{
    static double buckets[] = {1, 2};
    static const char *spans_only[] = {"span-metrics"};
    struct fixture f;

    (void)state;
    fixture_open(&f, seed_yaml);
    take_span(&f, "front", T1, S1, "", 3, 10, "");
    take_span(&f, "back", T1, S2, S1, 2, 10, "");
    take_span(&f, "lonely", "00000000000000000000000000000077", S1, "", 3, 10, "");
    struct limits limits = f.config.limits;
    assert_int_equal(f.tenant->graph.series.count, 1);
    assert_int_equal(f.tenant->graph.count, 1);

    /* A lower limit: what is there stays, what is new overflows. */
    limits.max_active_series = 2;
    change_limits(&f, &limits);
    assert_int_equal(f.tenant->spans.series.count, 3);
    assert_int_equal(f.tenant->graph.count, 1);
    take_span(&f, "front", T1, S1, "", 3, 10, "");
    assert_int_equal(f.tenant->spans.series.count, 3);
    take_span(&f, "new", T1, S1, "", 1, 10, "");
    assert_true(must_find(&f.tenant->spans.series, "metric_overflow=true")->counters[0] == 1);

    /* Other buckets of one processor: the other goes on. */
    limits.span_metrics_buckets = (struct config_doubles){buckets, 2};
    change_limits(&f, &limits);
    assert_int_equal(f.tenant->spans.series.count, 0);
    assert_int_equal(f.tenant->graph.series.count, 1);
    assert_int_equal(f.tenant->graph.count, 2);

    limits.processors = (struct config_list){spans_only, 1};
    change_limits(&f, &limits);
    assert_false(f.tenant->has_graph);
    assert_true(f.tenant->has_spans);
    take_span(&f, "front", T1, S1, "", 3, 10, "");
    assert_int_equal(f.tenant->spans.series.count, 1);
    limits.processors.count = 0;
    change_limits(&f, &limits);
    assert_false(f.tenant->has_spans);
    take_span(&f, "front", T1, S1, "", 3, 10, "");
    fixture_close(&f);
}

static void test_outside_the_slack_nothing_is_counted(void **state)
{
    struct fixture f;
    struct buf json, pb;

    (void)state;
    fixture_open(&f, seed_yaml);
    buf_init(&json, 1 << 16);
    buf_init(&pb, 1 << 16);
    buf_appendf(&json,
                "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"" T1
                "\",\"spanId\":\"" S1
                "\",\"name\":\"late\",\"kind\":1,\"startTimeUnixNano\":\"%lld\","
                "\"endTimeUnixNano\":\"%lld\"}]}]}]}",
                (long long)(NOW_NS - 40 * NS_PER_S), (long long)(NOW_NS - 31 * NS_PER_S));
    assert_int_equal(otlp_json_to_pb(buf_slice(&json), NULL, &pb, NULL), ERR_OK);
    assert_int_equal(tenant_take(f.tenant, buf_slice(&pb), NOW_NS), ERR_OK);
    assert_int_equal(f.tenant->spans.series.count, 0);
    buf_release(&json);
    buf_release(&pb);
    fixture_close(&f);
}

struct other {
    struct tenant *tenant;
};

static enum err other_tenant(void *arg, const char *name, struct tenant **ret)
{
    struct other *o = arg;

    assert_string_equal(name, "single-tenant");
    *ret = o->tenant;
    return ERR_OK;
}

static void test_checkpoint_keeps_counters_edges_and_batches(void **state)
{
    struct fixture f, g;
    struct batches batches, loaded;
    uint8_t id[BATCHES_ID_BYTES] = {7};
    uint64_t lsn = 0;
    const char *path = tmpdir_path(state, "checkpoint");

    fixture_open(&f, seed_yaml);
    fixture_open(&g, seed_yaml);
    assert_int_equal(batches_init(&batches), ERR_OK);
    assert_int_equal(batches_init(&loaded), ERR_OK);
    batches_add(&batches, id, 3, NOW_NS);
    take_span(&f, "front", T1, S1, "", 3, 100, "");
    take_span(&f, "shop", T1, S2, "", 1, 30, "");
    assert_int_equal(checkpoint_save(path, 42, f.tenant, &batches), ERR_OK);
    struct other o = {g.tenant};
    assert_int_equal(checkpoint_load(path, &lsn, other_tenant, &o, &loaded), ERR_OK);
    assert_int_equal(lsn, 42);
    assert_true(batches_has(&loaded, id, 3));
    assert_false(batches_has(&loaded, id, 4));
    const struct series_entity *e = must_find(
        &g.tenant->spans.series,
        "service=shop service_name=shop span_kind=SPAN_KIND_INTERNAL span_name=op status_code=STATUS_CODE_UNSET");
    assert_true(e->counters[0] == 1);
    assert_int_equal(e->histograms[0].count, 1);
    /* The edge that waited meets its other side after the restart. */
    take_span(&g, "back", T1, "0000000000000009", S1, 2, 60, "");
    assert_true(must_find(&g.tenant->graph.series, "client=front server=back service_name=back")
                    ->counters[0] == 1);
    batches_release(&batches);
    batches_release(&loaded);
    fixture_close(&f);
    fixture_close(&g);
}

static void test_damaged_checkpoint_is_refused(void **state)
{
    struct fixture f, g;
    struct batches batches;
    struct buf file;
    uint64_t lsn;
    const char *path = tmpdir_path(state, "checkpoint"), *broken = tmpdir_path(state, "broken");

    fixture_open(&f, seed_yaml);
    fixture_open(&g, seed_yaml);
    assert_int_equal(batches_init(&batches), ERR_OK);
    take_span(&f, "front", T1, S1, "", 3, 100, "");
    assert_int_equal(checkpoint_save(path, 42, f.tenant, &batches), ERR_OK);
    buf_init(&file, 1 << 20);
    assert_int_equal(fs_read_file(path, &file), ERR_OK);
    struct other o = {g.tenant};
    for (size_t i = 0; i < file.len; i += 3) {
        file.ptr[i] ^= 0x10;
        assert_int_equal(fs_replace(broken, buf_slice(&file)), ERR_OK);
        assert_int_equal(checkpoint_load(broken, &lsn, other_tenant, &o, &batches), ERR_CORRUPT);
        file.ptr[i] ^= 0x10;
    }
    assert_int_equal(g.tenant->spans.series.count, 0);
    buf_release(&file);
    batches_release(&batches);
    fixture_close(&f);
    fixture_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_span_metrics_of_the_seed),
        cmocka_unit_test(test_values_that_are_no_strings),
        cmocka_unit_test(test_buckets_are_inclusive),
        cmocka_unit_test(test_edge_in_both_orders),
        cmocka_unit_test(test_database_edge_is_complete_at_once),
        cmocka_unit_test(test_who_waits_in_vain),
        cmocka_unit_test(test_messaging),
        cmocka_unit_test(test_edges_that_wait_are_bounded),
        cmocka_unit_test(test_label_sets_over_the_limit_overflow),
        cmocka_unit_test(test_changed_limits_keep_what_still_has_a_place),
        cmocka_unit_test(test_outside_the_slack_nothing_is_counted),
        cmocka_unit_test_setup_teardown(test_checkpoint_keeps_counters_edges_and_batches,
                                        tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_damaged_checkpoint_is_refused, tmpdir_setup,
                                        tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
