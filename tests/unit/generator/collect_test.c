/* Collections read back as Prometheus reads them: labels, zeros first, exemplars, failures, external labels. */
#include "generator/collect.h"
#include "tests/lib/test.h"
#include "tests/unit/generator/otlp_one.h"
#include "tests/unit/generator/write_request.h"

#define NOW_NS (1700000000LL * NS_PER_S)

struct fixture {
    struct config config;
    struct budget budget;
    struct tenant *tenant;
    struct write_request got[COLLECT_VARIANT_COUNT];
    unsigned requests;
    enum err answer; /* of the next requests */
};

static struct fixture f;

static void fixture_open(const char *yaml)
{
    struct config_warning *warnings;
    struct err_detail detail = {0};

    f = (struct fixture){.answer = ERR_OK};
    if (config_parse("test.yml", slice_str(yaml), false, NULL, 0, &f.config, &warnings, &detail) !=
        ERR_OK)
        fail_msg("%s", detail.text);
    budget_init(&f.budget, 64 << 20, NULL);
    assert_int_equal(tenant_new(&f.config, &f.config.limits, "acme", &f.budget, &f.tenant), ERR_OK);
}

static void fixture_close(void)
{
    tenant_free(f.tenant);
    assert_int_equal(budget_used(&f.budget), 0);
    config_release(&f.config);
    for (unsigned v = 0; v < COLLECT_VARIANT_COUNT; v++)
        write_request_clear(&f.got[v]);
}

static void take(const char *service, unsigned trace, unsigned span, unsigned parent, int kind,
                 const char *extra)
{
    struct buf pb;

    buf_init(&pb, 1 << 20);
    otlp_one(&pb, service, trace, span, parent, kind, NOW_NS, extra);
    assert_int_equal(tenant_take(f.tenant, buf_slice(&pb), NOW_NS), ERR_OK);
    buf_release(&pb);
}

static enum err keep(void *arg, enum collect_variant variant, struct slice request)
{
    (void)arg;
    f.requests++;
    if (f.answer == ERR_OK)
        write_request_add(&f.got[variant], request);
    return f.answer;
}

static enum err collect(uint32_t samples_per_request)
{
    struct collect_options o = {.instance = "generator-0",
                                .now_ns = NOW_NS + 5 * NS_PER_MS,
                                .samples_per_request = samples_per_request,
                                .wants = {true, true},
                                .done = keep};

    for (unsigned v = 0; v < COLLECT_VARIANT_COUNT; v++)
        write_request_clear(&f.got[v]);
    f.requests = 0;
    enum err e = collect_run(f.tenant, &o);
    collect_settle(f.tenant, e == ERR_OK);
    return e;
}

static double value_of(const char *name, const char *part)
{
    const struct write_series *s = write_find(&f.got[COLLECT_EXEMPLARS], name, part);

    if (s == NULL)
        fail_msg("no %s{%s}", name, part);
    assert_int_equal(s->ms, NOW_NS / NS_PER_MS + 5);
    return s->value;
}

static const char both[] =
    "overrides: {metrics_generator_processors: [span-metrics, service-graphs]}\n";

static void test_zero_first_then_the_value(void **state)
{
    (void)state;
    fixture_open(both);
    take("shop", 1, 1, 0, 1, "");
    take("shop", 1, 2, 0, 1, "");
    assert_int_equal(collect(1000), ERR_OK);
    assert_true(value_of("traces_spanmetrics_calls_total", "service=shop") == 0);
    assert_true(value_of("traces_spanmetrics_latency_bucket", "le=+Inf") == 0);
    assert_int_equal(collect(1000), ERR_OK);
    assert_true(value_of("traces_spanmetrics_calls_total", "service=shop") == 2);
    assert_true(value_of("traces_spanmetrics_latency_count", "service=shop") == 2);
    assert_true(value_of("traces_spanmetrics_latency_bucket", "le=+Inf") == 2);
    assert_true(value_of("traces_spanmetrics_latency_bucket", "le=0.008") == 0);
    assert_true(value_of("traces_spanmetrics_latency_bucket", "le=0.016") == 2);
    assert_string_equal(
        write_find(&f.got[0], "traces_spanmetrics_calls_total", "")->text,
        "__metrics_gen_instance=generator-0,service=shop,span_kind=SPAN_KIND_INTERNAL,span_name=op,status_code=STATUS_CODE_UNSET");
    fixture_close();
}

static void test_what_was_not_kept_is_new_again(void **state)
{
    (void)state;
    fixture_open(both);
    take("shop", 1, 1, 0, 1, "");
    f.answer = ERR_FULL;
    assert_int_equal(collect(1000), ERR_FULL);
    f.answer = ERR_OK;
    assert_int_equal(collect(1000), ERR_OK);
    assert_true(value_of("traces_spanmetrics_calls_total", "") == 0);
    f.answer = ERR_FULL;
    assert_int_equal(collect(1000), ERR_FULL);
    f.answer = ERR_OK;
    assert_int_equal(collect(1000), ERR_OK);
    assert_true(value_of("traces_spanmetrics_calls_total", "") == 1);
    fixture_close();
}

static void test_exemplars_only_for_who_wants_them(void **state)
{
    (void)state;
    fixture_open(both);
    take("shop", 0xabc, 1, 0, 1, "");
    assert_int_equal(collect(1000), ERR_OK); /* the zeros have none, and keep them */
    for (unsigned i = 0; i < f.got[COLLECT_EXEMPLARS].count; i++)
        assert_int_equal(f.got[COLLECT_EXEMPLARS].series[i].exemplars, 0);
    assert_int_equal(collect(1000), ERR_OK);
    const struct write_series *s =
        write_find(&f.got[COLLECT_EXEMPLARS], "traces_spanmetrics_latency_bucket", "le=0.016");
    assert_int_equal(s->exemplars, 1);
    assert_string_equal(s->exemplar, "traceID=abc at 0.01");
    assert_int_equal(f.got[COLLECT_PLAIN].count, f.got[COLLECT_EXEMPLARS].count);
    for (unsigned i = 0; i < f.got[COLLECT_PLAIN].count; i++)
        assert_int_equal(f.got[COLLECT_PLAIN].series[i].exemplars, 0);
    assert_int_equal(collect(1000), ERR_OK); /* once */
    s = write_find(&f.got[COLLECT_EXEMPLARS], "traces_spanmetrics_latency_bucket", "le=0.016");
    assert_int_equal(s->exemplars, 0);
    fixture_close();
}

static void test_failures_exist_from_the_first_on(void **state)
{
    (void)state;
    fixture_open(both);
    take("front", 1, 1, 0, 3, "");
    take("back", 1, 2, 1, 2, "");
    assert_int_equal(collect(1000), ERR_OK);
    assert_int_equal(collect(1000), ERR_OK);
    assert_true(value_of("traces_service_graph_request_total", "client=front") == 1);
    assert_null(write_find(&f.got[0], "traces_service_graph_request_failed_total", ""));
    take("front", 2, 1, 0, 3, "");
    take("back", 2, 2, 1, 2, ",\"status\":{\"code\":2}");
    assert_int_equal(collect(1000), ERR_OK);
    assert_true(value_of("traces_service_graph_request_failed_total", "") == 0);
    assert_true(value_of("traces_service_graph_request_total", "") == 2);
    assert_int_equal(collect(1000), ERR_OK);
    assert_true(value_of("traces_service_graph_request_failed_total", "") == 1);
    assert_true(value_of("traces_service_graph_request_server_seconds_bucket", "le=+Inf") == 2);
    fixture_close();
}

static void test_external_labels_win(void **state)
{
    (void)state;
    fixture_open(
        "metrics_generator: {registry: {external_labels: {service: fixed, zone: z1}, inject_tenant_id_as: tenant}}\n"
        "overrides: {metrics_generator_processors: [span-metrics]}\n");
    take("shop", 1, 1, 0, 1, "");
    assert_int_equal(collect(1000), ERR_OK);
    const struct write_series *s =
        write_find(&f.got[0], "traces_spanmetrics_calls_total", "service=fixed");
    assert_non_null(s);
    assert_non_null(strstr(s->text, "tenant=acme,zone=z1"));
    fixture_close();
}

/* Two labels of one name would have Prometheus refuse the request: write_series_read sees to that. */
static void test_attributes_named_like_prometheus_own_labels(void **state)
{
    (void)state;
    fixture_open("metrics_generator: {processor: {span_metrics: {dimensions: [le, __name__]}}}\n"
                 "overrides: {metrics_generator_processors: [span-metrics]}\n");
    take(
        "shop", 1, 1, 0, 1,
        ",\"attributes\":[{\"key\":\"le\",\"value\":{\"stringValue\":\"x\"}},{\"key\":\"__name__\",\"value\":{\"stringValue\":\"y\"}}]");
    assert_int_equal(collect(1000), ERR_OK);
    assert_true(value_of("traces_spanmetrics_latency_bucket", "le=+Inf") == 0);
    assert_non_null(write_find(&f.got[0], "traces_spanmetrics_calls_total", "le=x"));
    fixture_close();
}

/* `service` is the resource's name alone; a dimension may find it in the span. */
static void test_a_span_does_not_name_its_service(void **state)
{
    struct slice name, value;
    bool has_service = false, has_dimension = false;

    (void)state;
    fixture_open("metrics_generator: {processor: {span_metrics: {dimensions: [service.name]}}}\n"
                 "overrides: {metrics_generator_processors: [span-metrics]}\n");
    take("", 1, 1, 0, 1,
         ",\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"mine\"}}]");
    for (uint32_t i = 0; i < f.tenant->spans.series.table_size; i++) {
        const struct series_entity *e = f.tenant->spans.series.table[i];
        for (size_t at = 0; e != NULL && series_label_next((struct slice){e->labels, e->labels_len},
                                                           &at, &name, &value);) {
            has_service = has_service || slice_eq_str(name, "service");
            has_dimension = has_dimension || slice_eq_str(name, "service_name");
        }
    }
    assert_false(has_service);
    assert_true(has_dimension);
    fixture_close();
}

static void test_many_series_make_several_requests(void **state)
{
    char service[16];

    (void)state;
    fixture_open(both);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(service, sizeof service, "s%02u", i);
        take(service, 1, i + 1, 0, 1, "");
    }
    assert_int_equal(collect(50), ERR_OK);
    assert_true(f.requests > 10);
    assert_int_equal(f.got[0].count % 40, 0);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(service, sizeof service, "service=s%02u", i);
        assert_non_null(write_find(&f.got[0], "traces_spanmetrics_calls_total", service));
    }
    fixture_close();
}

static void test_nothing_makes_no_request(void **state)
{
    (void)state;
    fixture_open(both);
    assert_int_equal(collect(50), ERR_OK);
    assert_int_equal(f.requests, 0);
    fixture_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_first_then_the_value),
        cmocka_unit_test(test_what_was_not_kept_is_new_again),
        cmocka_unit_test(test_exemplars_only_for_who_wants_them),
        cmocka_unit_test(test_failures_exist_from_the_first_on),
        cmocka_unit_test(test_external_labels_win),
        cmocka_unit_test(test_attributes_named_like_prometheus_own_labels),
        cmocka_unit_test(test_a_span_does_not_name_its_service),
        cmocka_unit_test(test_many_series_make_several_requests),
        cmocka_unit_test(test_nothing_makes_no_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
