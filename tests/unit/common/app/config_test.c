/* Configuration: the users' own file, every class of error, both forms of overrides, flags, variables, and writing it back. */
#include "common/app/config.h"
#include "common/base/clock.h"
#include "common/sys/fs.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <unistd.h>

static const char SEED[] =
    "server:\n"
    "  http_listen_port: 3200\n"
    "distributor:\n"
    "  receivers:\n"
    "    otlp:\n"
    "      protocols:\n"
    "        grpc:\n"
    "          endpoint: 0.0.0.0:4317\n"
    "        http:\n"
    "          endpoint: 0.0.0.0:4318\n"
    "storage:\n"
    "  trace:\n"
    "    backend: local\n"
    "    local:\n"
    "      path: /tmp/tempo/blocks\n"
    "    wal:\n"
    "      path: /tmp/tempo/wal\n"
    "    block:\n"
    "      retention: 168h\n"
    "metrics_generator:\n"
    "  registry:\n"
    "    external_labels:\n"
    "      source: tempo\n"
    "      cluster: lgtm-stack\n"
    "  storage:\n"
    "    path: /tmp/tempo/generator/wal\n"
    "    remote_write:\n"
    "      - url: http://mimir:9009/api/v1/push\n"
    "        send_exemplars: true\n"
    "  processor:\n"
    "    service_graphs:\n"
    "      dimensions: [service.name, service.namespace]\n"
    "    span_metrics:\n"
    "      dimensions: [service.name, http.method, http.status_code, http.route, status.code, db.system, db.name, db.operation]\n"
    "overrides:\n"
    "  metrics_generator_processors: [service-graphs, span-metrics]\n";

struct parsed {
    struct config config;
    struct config_warning *warnings;
    struct err_detail detail;
    enum err err;
};

static struct parsed parse_flags(const char *yaml, bool expand_env, const struct config_flag *flags,
                                 unsigned flag_count)
{
    struct parsed p = {0};

    p.err = config_parse("t.yml", slice_str(yaml), expand_env, flags, flag_count, &p.config,
                         &p.warnings, &p.detail);
    return p;
}

static struct parsed parse(const char *yaml)
{
    return parse_flags(yaml, false, NULL, 0);
}

static void expect_ok(struct parsed *p)
{
    if (p->err != ERR_OK)
        print_error("%s\n", p->detail.text);
    assert_int_equal(p->err, ERR_OK);
}

static unsigned warning_count(const struct parsed *p)
{
    unsigned n = 0;

    for (const struct config_warning *w = p->warnings; w != NULL; w = w->next)
        n++;
    return n;
}

static void expect_error_from(struct parsed p, unsigned line, const char *text)
{
    if (p.err == ERR_OK)
        config_release(&p.config);
    assert_int_equal(p.err, ERR_INVALID);
    assert_string_equal(p.detail.text, text);
    assert_int_equal(p.detail.line, line);
}

static void expect_error(const char *yaml, unsigned line, const char *text)
{
    expect_error_from(parse(yaml), line, text);
}

static void expect_warning(const char *yaml, const char *text)
{
    struct parsed p = parse(yaml);

    expect_ok(&p);
    assert_int_equal(warning_count(&p), 1);
    assert_string_equal(p.warnings->text, text);
    config_release(&p.config);
}

static void test_seed(void **state)
{
    struct parsed p = parse(SEED);
    const struct config *c = &p.config;

    (void)state;
    expect_ok(&p);
    assert_int_equal(warning_count(&p), 0);
    assert_int_equal(c->http_listen_port, 3200);
    assert_true(c->otlp_grpc.is_on && c->otlp_http.is_on);
    assert_string_equal(c->otlp_grpc.address, "0.0.0.0");
    assert_int_equal(c->otlp_grpc.port, 4317);
    assert_int_equal(c->otlp_http.port, 4318);
    assert_int_equal(c->otlp_grpc.max_recv_msg_bytes, 16 << 20);
    assert_string_equal(c->storage_backend, "local");
    assert_string_equal(c->local_path, "/tmp/tempo/blocks");
    assert_string_equal(c->wal_path, "/tmp/tempo/wal");
    assert_int_equal(c->retention_ns, 168 * 3600 * NS_PER_S);
    assert_int_equal(c->external_label_count, 2);
    assert_string_equal(c->external_labels[0].name, "source");
    assert_string_equal(c->external_labels[1].value, "lgtm-stack");
    assert_string_equal(c->generator_path, "/tmp/tempo/generator/wal");
    assert_int_equal(c->remote_write_count, 1);
    assert_string_equal(c->remote_write[0].url, "http://mimir:9009/api/v1/push");
    assert_true(c->remote_write[0].send_exemplars);
    assert_null(c->remote_write[0].basic_user);
    assert_int_equal(c->service_graphs_dimensions.count, 2);
    assert_int_equal(c->span_metrics_dimensions.count, 8);
    assert_string_equal(c->span_metrics_dimensions.items[4], "status.code");
    assert_int_equal(c->limits.processors.count, 2);
    assert_string_equal(c->limits.processors.items[1], "span-metrics");
    config_release(&p.config);
}

static void test_defaults(void **state)
{
    struct parsed p = parse("");

    (void)state;
    expect_ok(&p);
    assert_int_equal(p.config.http_listen_port, 3200);
    assert_int_equal(p.config.retention_ns, 336 * 3600 * NS_PER_S);
    assert_true(p.config.otlp_grpc.is_on);
    assert_string_equal(p.config.otlp_grpc.address, "localhost");
    assert_int_equal(p.config.otlp_grpc.port, 4317);
    assert_false(p.config.otlp_http.is_on);
    assert_int_equal(p.config.span_metrics_buckets.count, 14);
    assert_true(p.config.span_metrics_buckets.items[0] == 0.002);
    assert_int_equal(p.config.ingester_members.count, 1);
    assert_int_equal(p.config.max_block_bytes, 500u << 20);
    assert_int_equal(p.config.limits.processors.count, 0);
    config_release(&p.config);
}

static void test_receivers(void **state)
{
    (void)state;
    struct parsed p =
        parse("distributor:\n  receivers:\n    otlp: {protocols: {grpc: , http: }}\n");
    expect_ok(&p);
    assert_int_equal(p.config.otlp_http.port, 4318);
    assert_string_equal(p.config.otlp_http.address, "localhost");
    assert_true(p.config.otlp_grpc.is_on);
    config_release(&p.config);

    p = parse(
        "distributor:\n  receivers:\n    otlp:\n      protocols:\n        http:\n          endpoint: '[::1]:5318'\n          max_request_body_size: 1000\n"
        "          include_metadata: true\n");
    expect_ok(&p);
    assert_string_equal(p.config.otlp_http.address, "::1");
    assert_int_equal(p.config.otlp_http.port, 5318);
    assert_int_equal(p.config.otlp_http.max_recv_msg_bytes, 1000);
    assert_false(p.config.otlp_grpc.is_on);
    assert_int_equal(warning_count(&p), 0);
    config_release(&p.config);

    p = parse(
        "distributor: {receivers: {otlp: {protocols: {grpc: {endpoint: ':1', max_recv_msg_size_mib: 4, max_concurrent_streams: 7, "
        "keepalive: {server_parameters: {max_connection_age: 2m, max_connection_age_grace: 1m}}}}}}}");
    expect_ok(&p);
    assert_string_equal(p.config.otlp_grpc.address, "");
    assert_int_equal(p.config.otlp_grpc.max_recv_msg_bytes, 4 << 20);
    assert_int_equal(p.config.otlp_grpc.max_concurrent_streams, 7);
    assert_int_equal(p.config.otlp_grpc.max_connection_age_ns, 120 * NS_PER_S);
    assert_int_equal(warning_count(&p), 1);
    config_release(&p.config);
}

static void test_receivers_refused(void **state)
{
    (void)state;
    expect_error("distributor:\n  receivers:\n    jaeger:\n      protocols:\n", 3,
                 "t.yml:3: distributor.receivers: receiver jaeger is not supported yet; otlp is");
    expect_error("distributor:\n  receivers:\n    zipkin/2:\n", 3,
                 "t.yml:3: distributor.receivers: receiver zipkin/2 is not supported yet; otlp is");
    expect_error(
        "distributor:\n  receivers:\n    otlp/2:\n", 3,
        "t.yml:3: distributor.receivers: named receivers (otlp/2) are not supported yet; one otlp is");
    expect_error(
        "distributor:\n  receivers:\n    otpl:\n", 3,
        "t.yml:3: unknown key distributor.receivers.otpl; did you mean distributor.receivers.otlp?");
    expect_error(
        "distributor: {receivers: {otlp: {protocols: {grpc: {endpont: x}}}}}", 1,
        "t.yml:1: unknown key distributor.receivers.otlp.protocols.grpc.endpont; did you mean distributor.receivers.otlp.protocols.grpc.endpoint?");
    expect_error(
        "distributor: {receivers: {otlp: {protocols: {grpc: {endpoint: nowhere}}}}}", 1,
        "t.yml:1: distributor.receivers.otlp.protocols.grpc.endpoint: \"nowhere\" is not host:port");
    expect_error(
        "distributor: {receivers: {otlp: {protocols: {grpc: {endpoint: '::1:4317'}}}}}", 1,
        "t.yml:1: distributor.receivers.otlp.protocols.grpc.endpoint: \"::1:4317\" is not host:port (an IPv6 address stands in brackets)");
    expect_error("distributor: {receivers: {otlp: {protocols: {grpc: {tls: {cert_file: a}}}}}}", 1,
                 "t.yml:1: distributor.receivers.otlp.protocols.grpc.tls is not supported yet");
}

static void test_unknown_keys(void **state)
{
    (void)state;
    expect_error(
        "server:\n  http_listen_prt: 1\n", 2,
        "t.yml:2: unknown key server.http_listen_prt; did you mean server.http_listen_port?");
    expect_error("sever:\n  http_listen_port: 1\n", 1,
                 "t.yml:1: unknown key sever; did you mean server?");
    expect_error("http_listen_port: 1\n", 1,
                 "t.yml:1: unknown key http_listen_port; did you mean server.http_listen_port?");
    expect_error("zzzzzzzzzz: 1\n", 1, "t.yml:1: unknown key zzzzzzzzzz");
    expect_error(
        "server.http_listen_port: 1\n", 1,
        "t.yml:1: unknown key server.http_listen_port; did you mean server.http_listen_port?");
    expect_error("config: {per_user_override_config: a}\n", 1, "t.yml:1: unknown key config");
    expect_error(
        "overrides:\n  defaults:\n    ingestion:\n      rate_limit_byte: 1\n", 4,
        "t.yml:4: unknown key overrides.defaults.ingestion.rate_limit_byte; did you mean overrides.defaults.ingestion.rate_limit_bytes?");
    expect_error(
        "overrides:\n  ingestion_rate_limit: 1\n", 2,
        "t.yml:2: unknown key overrides.ingestion_rate_limit; did you mean overrides.ingestion_rate_limit_bytes?");
}

static void test_bad_values(void **state)
{
    (void)state;
    expect_error("server:\n  http_listen_port: abc\n", 2,
                 "t.yml:2: server.http_listen_port: \"abc\" is not a whole number");
    expect_error(
        "server:\n  http_listen_port: 70000\n", 2,
        "t.yml:2: server.http_listen_port: 70000 is out of range (at least 0, at most 65535)");
    expect_error("server:\n  http_listen_port: [1]\n", 2,
                 "t.yml:2: server.http_listen_port: expected a single value, got a list");
    expect_error("server:\n  http_listen_port: {a: 1}\n", 2,
                 "t.yml:2: server.http_listen_port: expected a single value, got a section");
    expect_error("server: 7\n", 1, "t.yml:1: server: expected a section, got a single value");
    expect_error("server:\n  log_level: loud\n", 2,
                 "t.yml:2: server.log_level: \"loud\" must be one of: debug info warn error");
    expect_error(
        "ingester:\n  trace_idle_period: 5 bananas\n", 2,
        "t.yml:2: ingester.trace_idle_period: \"5 bananas\" is not a duration (like 500ms, 30s, 5m, 168h)");
    expect_error(
        "ingester:\n  trace_idle_period: -5s\n", 2,
        "t.yml:2: ingester.trace_idle_period: -5s is out of range (at least 0s, at most 1h)");
    expect_error(
        "ingester:\n  max_block_bytes: big\n", 2,
        "t.yml:2: ingester.max_block_bytes: \"big\" is not a size (like 1500, 64KiB, 500MiB)");
    expect_error("storage:\n  trace:\n    wal:\n      segment_bytes: 10\n", 4,
                 "t.yml:4: storage.trace.wal.segment_bytes: 10 is out of range (at least 64KiB)");
    expect_error("multitenancy_enabled: perhaps\n", 1,
                 "t.yml:1: multitenancy_enabled: \"perhaps\" is not true or false");
    expect_error("storage:\n  trace:\n    backend: tape\n", 3,
                 "t.yml:3: storage.trace.backend: \"tape\" must be one of: local s3 gcs azure");
    expect_error(
        "ingester: {lifecycler: {ring: {replication_factor: 3}}}\n", 1,
        "t.yml:1: ingester.lifecycler.ring.replication_factor: 3 is not supported yet; only 1 is");
    expect_error(
        "metrics_generator:\n  processor:\n    span_metrics:\n      histogram_buckets: [1, 1]\n", 4,
        "t.yml:4: metrics_generator.processor.span_metrics.histogram_buckets must be strictly increasing: bucket[1]=1 is <= bucket[0]=1");
    expect_error(
        "overrides:\n  metrics_generator_processors: [span-metric]\n", 2,
        "t.yml:2: metrics_generator.processor \"span-metric\" is not a known processor, valid values: [service-graphs span-metrics "
        "span-metrics-latency span-metrics-count span-metrics-size]");
    expect_error("overrides:\n  metrics_generator_trace_id_label_name: a.b\n", 2,
                 "t.yml:2: trace_id_label_name \"a.b\" is not a valid Prometheus label name");
    expect_error("http_api_prefix: tempo\n", 1,
                 "t.yml:1: http_api_prefix must begin with / and not end with it");
}

static void test_yaml_errors(void **state)
{
    (void)state;
    expect_error(
        "server:\n  a: [1\n", 3,
        "t.yml:3: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence");
    expect_error("target: all\ntarget: all\n", 2,
                 "t.yml:2: key target is given twice (also on line 1)");
    expect_error("memberlist:\n  a: 1\n  a: 2\n", 3,
                 "t.yml:3: key a is given twice (also on line 2)");
    expect_error("- a\n", 1, "t.yml:1: the file: expected a section, got a list");
    expect_error("[a, b]: c\n", 1, "t.yml:1: a key must be a single word");
    expect_error("target: all\n---\ntarget: all\n", 3, "t.yml:3: more than one YAML document");
    expect_error("target: \"a\\0b\"\n", 1, "t.yml:1: target: the value holds a NUL byte");
    expect_error(
        "overrides:\n  block_retention: 1h\n  defaults:\n    compaction:\n      block_retention: 1h\n",
        5,
        "t.yml:5: overrides.defaults.compaction.block_retention is given twice (also on line 2, there perhaps by another name)");
}

/* What the generator has room for. */
static void test_long_lists(void **state)
{
    static char yaml[4096];
    size_t len = (size_t)snprintf(
        yaml, sizeof yaml, "metrics_generator: {processor: {span_metrics: {histogram_buckets: [");

    (void)state;
    for (unsigned i = 1; i <= 65; i++)
        len += (size_t)snprintf(yaml + len, sizeof yaml - len, "%u%s", i, i < 65 ? ", " : "]}}}");
    expect_error(
        yaml, 1,
        "t.yml:1: metrics_generator.processor.span_metrics.histogram_buckets: a list of more than 64");
    expect_error(
        "overrides: {metrics_generator_processor_service_graphs_peer_attributes: 'a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q'}",
        1,
        "t.yml:1: overrides.metrics_generator_processor_service_graphs_peer_attributes: a list of more than 16");
}

static void test_hostile_yaml(void **state)
{
    static char deep[20001], many[400000];
    size_t len = 0;

    (void)state;
    expect_error("server: &a\n  http_listen_port: *a\n", 2,
                 "t.yml:2: server.http_listen_port: expected a single value, got a section");
    expect_error("server: {http_tls_config: &b {b: *b}}\n", 1,
                 "t.yml:1: server.http_tls_config is not supported yet");
    for (unsigned i = 0; i < 12000; i++)
        len += (size_t)snprintf(many + len, sizeof many - len, "k%u: 1\n", i);
    expect_error(many, 1, "t.yml:1: a section of more than 10000 keys");
    memset(deep, '[', sizeof deep - 1);
    struct parsed p = parse(deep);
    assert_int_equal(p.err, ERR_INVALID);
    assert_true(p.detail.line > 0);
}

static void test_ignored(void **state)
{
    (void)state;
    expect_warning("target: all\nmemberlist:\n  join_members: [a, b]\n  bind_port: 7946\n",
                   "t.yml:2: memberlist has no meaning here and is ignored");
    expect_warning(
        "ingester:\n  lifecycler:\n    ring:\n      replication_factor: 1\n      kvstore: {store: memberlist}\n",
        "t.yml:5: ingester.lifecycler.ring.kvstore has no meaning here and is ignored");
    expect_warning(
        "overrides:\n  user_configurable_overrides: {enabled: true}\n",
        "t.yml:2: overrides.user_configurable_overrides is not supported yet and is ignored");
    expect_warning(
        "overrides:\n  metrics_generator_processors: [local-blocks, span-metrics]\n",
        "t.yml:2: processor local-blocks has no meaning here and is ignored; the ingester answers for recent data");
    struct parsed p = parse("stream_over_http_enabled: false\nserver:\nquerier: {search: ~}\n");
    expect_ok(&p);
    assert_int_equal(warning_count(&p), 0);
    config_release(&p.config);
}

static void test_not_supported(void **state)
{
    (void)state;
    expect_error(
        "metrics_generator:\n  processor:\n    span_metrics:\n      enable_target_info: true\n", 4,
        "t.yml:4: metrics_generator.processor.span_metrics.enable_target_info is not supported yet");
    expect_error(
        "overrides:\n  metrics_generator_processor_span_metrics_filter_policies:\n    - include: {}\n",
        2,
        "t.yml:2: overrides.metrics_generator_processor_span_metrics_filter_policies is not supported yet");
    expect_error(
        "metrics_generator: {processor: {span_metrics: {intrinsic_dimensions: {span_name: false}}}}",
        1,
        "t.yml:1: metrics_generator.processor.span_metrics.intrinsic_dimensions.span_name is not supported yet");
    expect_error(
        "overrides: {defaults: {metrics_generator: {processor: {span_metrics: {intrinsic_dimensions: {status_message: true}}}}}}",
        1,
        "t.yml:1: overrides.defaults.metrics_generator.processor.span_metrics.intrinsic_dimensions.status_message is not supported yet");
    expect_error("server: {http_tls_config: {cert_file: /a}}", 1,
                 "t.yml:1: server.http_tls_config is not supported yet");
    expect_error("overrides: {metrics_generator_processors: [host-info]}", 1,
                 "t.yml:1: metrics_generator.processor host-info is not supported yet");
    struct parsed p = parse(
        "metrics_generator:\n  processor:\n    span_metrics: {enable_target_info: false, filter_policies: [], span_multiplier_key: '', "
        "intrinsic_dimensions: {span_name: true}}\n    service_graphs: {enable_virtual_node_label: false}\n"
        "server: {http_tls_config: {cert_file: '', client_auth_type: ''}}\n");
    expect_ok(&p);
    assert_int_equal(warning_count(&p), 0);
    config_release(&p.config);
}

static void test_overrides_flat(void **state)
{
    (void)state;
    struct parsed p = parse(
        "overrides:\n  ingestion_rate_limit_bytes: 2e+07\n  ingestion_burst_size_bytes: 30_000_000\n  max_bytes_per_trace: 0\n"
        "  block_retention: 24h\n  metrics_generator_max_active_series: 5\n  metrics_generator_collection_interval: 30s\n"
        "  metrics_generator_processor_span_metrics_dimensions: [a.b]\n  ingestion_max_attribute_bytes: 0\n"
        "  metrics_generator_processor_span_metrics_intrinsic_dimensions: {service: true}\n"
        "metrics_generator:\n  registry: {collection_interval: 15s}\n  processor: {span_metrics: {dimensions: [x, y]}}\n");
    expect_ok(&p);
    assert_int_equal(p.config.limits.rate_limit_bytes, 20000000);
    assert_int_equal(p.config.limits.burst_size_bytes, 30000000);
    assert_int_equal(p.config.limits.max_bytes_per_trace, 0);
    assert_int_equal(p.config.limits.block_retention_ns, 24 * 3600 * NS_PER_S);
    assert_int_equal(p.config.limits.max_active_series, 5);
    assert_int_equal(p.config.collection_interval_ns, 30 * NS_PER_S);
    assert_int_equal(p.config.limits.span_metrics_dimensions.count, 1);
    assert_string_equal(p.config.limits.span_metrics_dimensions.items[0], "a.b");
    assert_int_equal(p.config.limits.max_attribute_bytes, 2048);
    config_release(&p.config);
}

static void test_overrides_scoped(void **state)
{
    (void)state;
    struct parsed p = parse(
        "overrides:\n  defaults:\n"
        "    ingestion: {rate_limit_bytes: 20000000, burst_size_bytes: 30000000, rate_strategy: global, max_attribute_bytes: 9}\n"
        "    metrics_generator:\n      processors: [span-metrics]\n"
        "      processor: {service_graphs: {dimensions: [a], histogram_buckets: [0.5, 1e0]}}\n"
        "      disable_collection: true\n      trace_id_label_name: trace_id\n      collection_interval: 0s\n");
    expect_ok(&p);
    assert_int_equal(p.config.limits.rate_limit_bytes, 20000000);
    assert_string_equal(p.config.rate_strategy, "global");
    assert_int_equal(p.config.limits.max_attribute_bytes, 9);
    assert_string_equal(p.config.limits.processors.items[0], "span-metrics");
    assert_int_equal(p.config.limits.service_graphs_dimensions.count, 1);
    assert_int_equal(p.config.limits.service_graphs_buckets.count, 2);
    assert_true(p.config.limits.disable_collection);
    assert_string_equal(p.config.limits.trace_id_label_name, "trace_id");
    assert_int_equal(p.config.collection_interval_ns, 15 * NS_PER_S);
    config_release(&p.config);
}

static void test_retention(void **state)
{
    (void)state;
    struct parsed p = parse(
        "storage: {trace: {block: {retention: 1h}}}\ncompactor: {compaction: {block_retention: 2h}}\n");
    expect_ok(&p);
    assert_int_equal(p.config.retention_ns, 2 * 3600 * NS_PER_S);
    assert_int_equal(p.config.limits.block_retention_ns, 2 * 3600 * NS_PER_S);
    assert_int_equal(p.config.defaults.block_retention_ns, 0);
    assert_int_equal(warning_count(&p), 1);
    assert_string_equal(
        p.warnings->text,
        "t.yml:1: storage.trace.block.retention differs from compactor.compaction.block_retention; the compactor's counts");
    config_release(&p.config);
    p = parse("compactor: {compaction: {block_retention: 0s}}\n");
    expect_ok(&p);
    assert_int_equal(p.config.retention_ns, 0);
    config_release(&p.config);
    p = parse("storage: {trace: {block: {retention: 14d}}}\noverrides: {block_retention: 3h}\n");
    expect_ok(&p);
    assert_int_equal(p.config.limits.block_retention_ns, 3 * 3600 * NS_PER_S);
    config_release(&p.config);
}

static void expect_no_secrets(const struct config *c)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    config_write_yaml(c, false, &out);
    buf_append_byte(&out, 0);
    assert_int_equal(buf_err(&out), ERR_OK);
    assert_null(strstr((const char *)out.ptr, "s3cret"));
    assert_null(strstr((const char *)out.ptr, "t0ken"));
    assert_null(strstr((const char *)out.ptr, "ApiKey"));
    assert_non_null(strstr((const char *)out.ptr, "<secret>"));
    assert_non_null(strstr((const char *)out.ptr, "X-Scope-OrgID: t"));
    buf_release(&out);
}

static void test_remote_write(void **state)
{
    char path[] = "/tmp/vivace_config_testXXXXXX", yaml[1024];

    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, SLICE_LIT("s3cret\n")), ERR_OK);
    fs_close(&fd);
    (void)snprintf(
        yaml, sizeof yaml,
        "metrics_generator:\n  storage:\n    remote_write:\n"
        "      - {url: 'http://me:s3cret@a/w', name: one, basic_auth: {username: u, password_file: %s}, headers: {X-Scope-OrgID: t}, remote_timeout: 5s,\n"
        "         queue_config: {max_samples_per_send: 10, min_backoff: 1s, max_backoff: 2s, capacity: 5}}\n"
        "      - {url: 'https://b/w', authorization: {credentials: t0ken}, tls_config: {ca_file: /ca, insecure_skip_verify: true}}\n"
        "      - {url: 'https://c/w', authorization: {type: ApiKey, credentials: k}, send_exemplars: false}\n",
        path);
    struct parsed p = parse(yaml);
    (void)unlink(path);
    expect_ok(&p);
    const struct config_remote_write *w = p.config.remote_write;
    assert_int_equal(p.config.remote_write_count, 3);
    assert_int_equal(warning_count(&p), 1);
    assert_string_equal(w[0].basic_user, "u");
    assert_string_equal(w[0].basic_password, "s3cret");
    assert_string_equal(w[0].headers[0].name, "X-Scope-OrgID");
    assert_int_equal(w[0].remote_timeout_ns, 5 * NS_PER_S);
    assert_int_equal(w[0].max_samples_per_send, 10);
    assert_int_equal(w[0].max_backoff_ns, 2 * NS_PER_S);
    assert_string_equal(w[1].bearer_token, "t0ken");
    assert_string_equal(w[1].ca_file, "/ca");
    assert_true(w[1].insecure_skip_verify);
    assert_true(w[1].send_exemplars);
    assert_int_equal(w[1].max_samples_per_send, 2000);
    assert_string_equal(w[2].headers[0].value, "ApiKey k");
    assert_false(w[2].send_exemplars);
    expect_no_secrets(&p.config);
    config_release(&p.config);
}

static void test_remote_write_refused(void **state)
{
    (void)state;
    expect_error(
        "metrics_generator:\n  storage:\n    remote_write:\n      - url: http://a\n        sigv4: {region: x}\n",
        5, "t.yml:5: metrics_generator.storage.remote_write[0].sigv4 is not supported yet");
    expect_error("metrics_generator:\n  storage:\n    remote_write:\n      - name: x\n", 4,
                 "t.yml:4: metrics_generator.storage.remote_write[0].url: is missing");
    expect_error(
        "metrics_generator:\n  storage:\n    remote_write:\n      - url: ftp://x\n", 4,
        "t.yml:4: metrics_generator.storage.remote_write[0].url: must begin with http:// or https://");
    expect_error(
        "metrics_generator:\n  storage:\n    remote_write:\n      - url: http://a\n        bearer_token: x\n        basic_auth: {username: y}\n",
        4,
        "t.yml:4: metrics_generator.storage.remote_write[0]: at most one of basic_auth, authorization, bearer_token and bearer_token_file");
    expect_error(
        "metrics_generator:\n  storage:\n    remote_write:\n      - url: http://a\n        bearer_token_file: /nowhere/x\n",
        4,
        "t.yml:4: metrics_generator.storage.remote_write[0]: can not read /nowhere/x (not_found)");
    expect_error(
        "metrics_generator: {registry: {external_labels: {a-b: c}}}", 1,
        "t.yml:1: metrics_generator.registry.external_labels: \"a-b\" is not a valid Prometheus label name");
}

static void test_flags(void **state)
{
    const struct config_flag flags[] = {
        {"server.http-listen-port", "3201"},
        {"ingester.members", "tcp://a:1, tcp://b:2"},
        {"multitenancy.enabled", "true"},
        {"log.level", "debug"},
        {"distributor.ingestion-rate-limit-bytes", "7"},
        {"storage.trace.wal.path", "/w"},
        {"memberlist.bind-port", "7946"},
        {"generator.members", ""},
    };

    (void)state;
    struct parsed p =
        parse_flags("server: {http_listen_port: 1}\nstorage: {trace: {wal: {path: /x}}}\n", false,
                    flags, sizeof flags / sizeof flags[0]);
    expect_ok(&p);
    assert_int_equal(p.config.http_listen_port, 3201);
    assert_int_equal(p.config.ingester_members.count, 2);
    assert_string_equal(p.config.ingester_members.items[1], "tcp://b:2");
    assert_int_equal(p.config.generator_members.count, 0);
    assert_true(p.config.multitenancy_enabled);
    assert_string_equal(p.config.log_level, "debug");
    assert_int_equal(p.config.limits.rate_limit_bytes, 7);
    assert_string_equal(p.config.wal_path, "/w");
    assert_int_equal(warning_count(&p), 1);
    assert_string_equal(p.warnings->text,
                        "-memberlist.bind-port has no meaning here and is ignored");
    config_release(&p.config);

    assert_true(config_flag_is_bool("multitenancy.enabled"));
    assert_true(config_flag_is_bool("ingester.flush-all-on-shutdown"));
    assert_false(config_flag_is_bool("server.http-listen-port"));
    assert_false(config_flag_is_bool("nonsense"));
    expect_error_from(
        parse_flags("", false, &(struct config_flag){"server.http-listen-prt", "1"}, 1), 0,
        "unknown flag -server.http-listen-prt; did you mean -server.http-listen-port?");
    expect_error_from(
        parse_flags("", false, &(struct config_flag){"server.http-listen-port", "x"}, 1), 0,
        "-server.http-listen-port: \"x\" is not a whole number");
    expect_error_from(
        parse_flags("", false, &(struct config_flag){"storage.trace.backend", "tape"}, 1), 0,
        "-storage.trace.backend: \"tape\" must be one of: local s3 gcs azure");
}

static void test_environment(void **state)
{
    static const char yaml[] =
        "server:\n  http_listen_port: ${VIVACE_TEST_PORT:-3300}\n  log_level: ${VIVACE_TEST_LEVEL}\nhttp_api_prefix: /$VIVACE_TEST_NAME\n"
        "cluster: a$$b\ninstance_id: ${VIVACE_TEST_NONE:=${VIVACE_TEST_NAME}}\navailability_zone: x${VIVACE_TEST_NONE}\n";

    (void)state;
    (void)setenv("VIVACE_TEST_LEVEL", "warn", 1);
    (void)setenv("VIVACE_TEST_NAME", "tempo", 1);
    (void)unsetenv("VIVACE_TEST_PORT");
    (void)unsetenv("VIVACE_TEST_NONE");
    struct parsed p = parse_flags(yaml, true, NULL, 0);
    expect_ok(&p);
    assert_int_equal(p.config.http_listen_port, 3300);
    assert_string_equal(p.config.log_level, "warn");
    assert_string_equal(p.config.http_api_prefix, "/tempo");
    assert_string_equal(p.config.cluster, "a$b");
    assert_string_equal(p.config.instance_id, "tempo");
    assert_string_equal(p.config.availability_zone, "x");
    config_release(&p.config);
    /* Without the switch the text stays as it is. */
    p = parse("instance_id: ${VIVACE_TEST_NAME}\n");
    expect_ok(&p);
    assert_string_equal(p.config.instance_id, "${VIVACE_TEST_NAME}");
    config_release(&p.config);
    expect_error_from(parse_flags("target: all\ncluster: ${A/b/c}\n", true, NULL, 0), 2,
                      "t.yml:2: this form of substitution is not supported yet: ${A/b/c}");
    expect_error_from(parse_flags("cluster: ${A\n", true, NULL, 0), 1,
                      "t.yml:1: a substitution without its end: ${A");
    expect_error_from(parse_flags("cluster: ${}\n", true, NULL, 0), 1,
                      "t.yml:1: not a variable: ${}");
}

static void test_merge_keys(void **state)
{
    (void)state;
    struct parsed p = parse(
        "querier:\n  <<: {max_concurrent_queries: 3, search: {query_timeout: 7s}}\n  max_concurrent_queries: 4\n");
    expect_ok(&p);
    assert_int_equal(p.config.max_concurrent_queries, 4);
    assert_int_equal(p.config.search_timeout_ns, 7 * NS_PER_S);
    config_release(&p.config);
}

static void write_and_parse(struct parsed *p, bool only_changed, struct buf *text)
{
    buf_reset(text);
    config_write_yaml(&p->config, only_changed, text);
    config_release(&p->config);
    buf_append_byte(text, 0);
    assert_int_equal(buf_err(text), ERR_OK);
    *p = parse((const char *)text->ptr);
    expect_ok(p);
}

/* What is written reads back as the same, and only_changed leaves out what is default. */
static void test_write_reads_back(void **state)
{
    struct buf first, second, changed;
    struct parsed p = parse(SEED);

    (void)state;
    expect_ok(&p);
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    buf_init(&changed, 1 << 20);
    write_and_parse(&p, false, &first);
    write_and_parse(&p, true, &changed);
    assert_null(strstr((const char *)changed.ptr, "log_level"));
    assert_non_null(strstr((const char *)changed.ptr, "retention: 168h0m0s"));
    write_and_parse(&p, false, &second);
    assert_string_equal((const char *)first.ptr, (const char *)second.ptr);
    assert_int_equal(p.config.span_metrics_dimensions.count, 8);
    assert_int_equal(p.config.otlp_http.port, 4318);
    config_release(&p.config);
    buf_release(&first);
    buf_release(&second);
    buf_release(&changed);
}

static void test_caches(void **state)
{
    struct parsed p = parse(
        "cache:\n  background: {writeback_goroutines: 3}\n  caches:\n"
        "    - roles: [bloom, parquet-footer]\n"
        "      memcached: {host: mc, service: client, timeout: 200ms, consistent_hash: false, expiration: 1h}\n"
        "    - roles: [parquet-page]\n"
        "      redis: {endpoint: 'r:6379', password: s3cret, db: 2, ttl: 5m, conn_max_lifetime: 1h}\n"
        "storage: {trace: {cache_min_compaction_level: 2, cache_max_block_age: 48h}}\n");
    struct buf first, second;
    (void)state;

    expect_ok(&p);
    assert_int_equal(warning_count(&p), 0);
    assert_int_equal(p.config.cache_writers, 3);
    assert_int_equal(p.config.cache_queue, 10000);
    assert_int_equal(p.config.cache_level_min, 2);
    assert_int_equal(p.config.cache_age_max_ns, 48 * 3600 * NS_PER_S);
    assert_int_equal(p.config.cache_count, 2);
    const struct config_cache *c = p.config.caches;
    assert_string_equal(c[0].name, "bloom|parquet-footer");
    assert_true(config_cache_has_role(&c[0], "bloom"));
    assert_false(config_cache_has_role(&c[0], "parquet-page"));
    assert_false(c[0].is_redis || c[0].is_consistent);
    assert_int_equal(c[0].addresses.count, 1);
    assert_string_equal(c[0].addresses.items[0], "dnssrvnoa+_client._tcp.mc");
    assert_int_equal(c[0].timeout_ns, 200 * NS_PER_S / 1000);
    assert_int_equal(c[0].connect_timeout_ns, 200 * NS_PER_S / 1000);
    assert_int_equal(c[0].update_ns, 60 * NS_PER_S);
    assert_int_equal(c[0].expiration_ns, 3600 * NS_PER_S);
    assert_int_equal(c[0].breaker_failures, 10);
    assert_true(c[1].is_redis);
    assert_string_equal(c[1].addresses.items[0], "r:6379");
    assert_string_equal(c[1].password, "s3cret");
    assert_int_equal(c[1].db, 2);
    assert_int_equal(c[1].expiration_ns, 300 * NS_PER_S);
    assert_int_equal(c[1].age_ns, 3600 * NS_PER_S);
    assert_int_equal(c[1].timeout_ns, NS_PER_S / 10);
    /* As it is printed it is read again, but for the secret. */
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    write_and_parse(&p, false, &first);
    assert_null(strstr((const char *)first.ptr, "s3cret"));
    write_and_parse(&p, false, &second);
    assert_string_equal((const char *)first.ptr, (const char *)second.ptr);
    assert_int_equal(p.config.cache_count, 2);
    assert_string_equal(p.config.caches[1].password, "<secret>");
    assert_string_equal(p.config.caches[0].addresses.items[0], "dnssrvnoa+_client._tcp.mc");
    buf_release(&first);
    buf_release(&second);
    config_release(&p.config);
}

/* storage.trace.cache, as before there was a section of its own. */
static void test_older_cache(void **state)
{
    struct parsed p = parse("storage:\n  trace:\n    cache: redis\n    redis: {endpoint: 'r:1'}\n"
                            "    memcached: {addresses: 'a:1, dns+b:2'}\n"
                            "    background_cache: {writeback_goroutines: 7}\n"
                            "    search: {cache_control: {footer: true}}\n");
    (void)state;

    expect_ok(&p);
    assert_int_equal(p.config.cache_count, 1);
    assert_true(p.config.caches[0].is_redis);
    assert_true(config_cache_has_role(&p.config.caches[0], "bloom"));
    assert_true(config_cache_has_role(&p.config.caches[0], "trace-id-index"));
    assert_true(config_cache_has_role(&p.config.caches[0], "parquet-footer"));
    assert_false(config_cache_has_role(&p.config.caches[0], "parquet-column-idx"));
    assert_int_equal(p.config.old_cache_writers, 7);
    assert_int_equal(p.config.old_memcached.addresses.count, 2);
    assert_string_equal(p.config.old_memcached.addresses.items[1], "dns+b:2");
    config_release(&p.config);
    p = parse("storage: {trace: {memcached: {host: x}}}\n"); /* not chosen */
    expect_ok(&p);
    assert_int_equal(p.config.cache_count, 0);
    config_release(&p.config);
}

#define CACHE "cache:\n  caches:\n    - "
static void test_caches_refused(void **state)
{
    (void)state;
    expect_error(CACHE "roles: [bloom]\n", 3,
                 "t.yml:3: cache.caches[0]: either memcached or redis");
    expect_error(CACHE "roles: [bloom]\n      memcached: {host: a}\n      redis: {endpoint: a}\n",
                 3, "t.yml:3: cache.caches[0]: either memcached or redis");
    expect_error(CACHE "memcached: {host: a}\n", 3,
                 "t.yml:3: cache.caches[0]: configured caches require a valid role");
    expect_error(CACHE "roles: []\n      memcached: {host: a}\n", 3,
                 "t.yml:3: cache.caches[0].roles: configured caches require a valid role");
    expect_error(CACHE "roles: [blum]\n      memcached: {host: a}\n", 3,
                 "t.yml:3: cache.caches[0].roles: role blum is not a valid role");
    expect_error(
        CACHE
        "roles: [bloom]\n      memcached: {host: a}\n    - roles: [bloom]\n      memcached: {host: b}\n",
        5, "t.yml:5: cache.caches[1].roles: role bloom is claimed by more than one cache");
    expect_error(
        CACHE
        "roles: [bloom]\n      memcached: {host: a}\nstorage: {trace: {cache: memcached, memcached: {host: a}}}\n",
        5, "t.yml:5: storage.trace.cache: role bloom is claimed by more than one cache");
    expect_error(CACHE "roles: [bloom]\n      memcached: {host: a, tls_enabled: true}\n", 4,
                 "t.yml:4: cache.caches[0].memcached.tls_enabled is not supported yet");
    expect_error(CACHE "roles: [bloom]\n      redis: {endpoint: 'a:1', tls_enabled: true}\n", 4,
                 "t.yml:4: cache.caches[0].redis.tls_enabled is not supported yet");
    expect_error(CACHE "roles: [bloom]\n      redis: {endpoint: 'a:1', master_name: m}\n", 4,
                 "t.yml:4: cache.caches[0].redis.master_name is not supported yet");
    expect_error(
        CACHE "roles: [bloom]\n      redis: {endpoint: 'a:1,b:1'}\n", 4,
        "t.yml:4: cache.caches[0].redis.endpoint: several endpoints (Redis Cluster) are not supported yet");
    expect_error(
        CACHE "roles: [bloom]\n      memcached: {addresses: 'a b'}\n", 4,
        "t.yml:4: cache.caches[0].memcached: \"a b\" is not host:port, dns+host:port, dnssrv+name or dnssrvnoa+name");
    expect_error("storage: {trace: {cache: disk}}\n", 1,
                 "t.yml:1: storage.trace.cache: \"disk\" is not memcached or redis");
    expect_warning(
        CACHE "roles: [frontend-search]\n      memcached: {host: a}\n",
        "t.yml:3: cache.caches[0].roles: role frontend-search has no meaning here: answers of searches are not kept");
    expect_warning(CACHE "roles: [bloom]\n      memcached: {}\n",
                   "t.yml:3: cache.caches[0]: no address of a server: it is not used");
}

static void test_reference_is_current(void **state)
{
    struct buf now, page;

    (void)state;
    buf_init(&now, 1 << 20);
    buf_init(&page, 1 << 20);
    config_write_reference(&now);
    assert_int_equal(fs_read_file("deploy/configuration.md", &page), ERR_OK);
    if (!slice_eq(buf_slice(&now), buf_slice(&page)))
        print_error(
            "deploy/configuration.md is stale: `build/release/bin/distributor -config.reference > deploy/configuration.md` makes it anew\n");
    assert_true(slice_eq(buf_slice(&now), buf_slice(&page)));
    buf_release(&now);
    buf_release(&page);
}

static void test_load_missing_file(void **state)
{
    struct parsed p = {0};

    (void)state;
    p.err = config_load("/nowhere/tempo.yml", false, NULL, 0, &p.config, &p.warnings, &p.detail);
    assert_int_equal(p.err, ERR_NOT_FOUND);
    assert_string_equal(p.detail.text,
                        "can not read the configuration file /nowhere/tempo.yml: not_found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_receivers),
        cmocka_unit_test(test_receivers_refused),
        cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_yaml_errors),
        cmocka_unit_test(test_long_lists),
        cmocka_unit_test(test_hostile_yaml),
        cmocka_unit_test(test_ignored),
        cmocka_unit_test(test_not_supported),
        cmocka_unit_test(test_overrides_flat),
        cmocka_unit_test(test_overrides_scoped),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_remote_write),
        cmocka_unit_test(test_caches),
        cmocka_unit_test(test_older_cache),
        cmocka_unit_test(test_caches_refused),
        cmocka_unit_test(test_remote_write_refused),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_merge_keys),
        cmocka_unit_test(test_write_reads_back),
        cmocka_unit_test(test_reference_is_current),
        cmocka_unit_test(test_load_missing_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
