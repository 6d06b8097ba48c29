"""The example this product began with: a request to a service that asks MariaDB, sent by the real OpenTelemetry SDK over gRPC and over HTTP."""
import base64
import json
import time

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from otlp import TracesData, trace_of_v2
from vivace import eventually, merge

MS = 10**6
DIMENSIONS = ["service.name", "http.method", "http.status_code", "http.route", "status.code", "db.system", "db.name", "db.operation"]
SEED_METRICS = {
    "registry": {"external_labels": {"source": "tempo", "cluster": "lgtm-stack"}, "collection_interval": "1s"},
    "processor": {"service_graphs": {"dimensions": ["service.name", "service.namespace"]}, "span_metrics": {"dimensions": DIMENSIONS}},
}


class Trace:
    """One request, 250 ms long, and its SELECT of 40 ms; `status` 500 makes both of them errors."""

    def __init__(self, exporter, user, route="/test", status=200):
        results = []
        export = exporter.export
        exporter.export = lambda spans: results.append(export(spans)) or results[-1]
        provider = TracerProvider(resource=Resource.create({"service.name": "lgtm-stack"}))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("seed", "1.2.3")
        self.start = time.time_ns() - 1000 * MS
        self.user, self.route, self.status = user, route, status
        server = tracer.start_span(f"GET {route}", kind=SpanKind.SERVER, start_time=self.start, attributes={
            "http.method": "GET", "http.route": route, "http.status_code": status, "user.id": user})
        client = tracer.start_span("SELECT", context=set_span_in_context(server), kind=SpanKind.CLIENT, start_time=self.start + 50 * MS, attributes={
            "db.system": "mariadb", "db.name": "test", "db.operation": "SELECT", "server.address": "mariadb"})
        if status >= 500:
            client.set_status(Status(StatusCode.ERROR, "lost connection"))
            server.set_status(Status(StatusCode.ERROR))
        client.end(end_time=self.start + 90 * MS)
        server.end(end_time=self.start + 250 * MS)
        self.id = f"{server.get_span_context().trace_id:032x}"
        self.server_id, self.client_id = (f"{s.get_span_context().span_id:016x}" for s in (server, client))
        provider.shutdown()
        assert results == [SpanExportResult.SUCCESS] * 2


class World:
    def __init__(self, cluster, prometheus):
        self.cluster, self.prometheus = cluster, prometheus
        grpc, plain = cluster.otlp[0]
        self.by_grpc = Trace(GrpcExporter(endpoint=f"127.0.0.1:{grpc}", insecure=True), "ada@example.org")
        self.by_http = Trace(HttpExporter(endpoint=f"http://127.0.0.1:{plain}/v1/traces"), "bob@example.org")
        self.broken = Trace(HttpExporter(endpoint=f"http://127.0.0.1:{plain}/v1/traces"), "eve@example.org", "/broken", 500)
        self.ok = [self.by_grpc, self.by_http]
        self.all = [*self.ok, self.broken]

    def found(self, q):
        return {t["traceID"] for t in self.cluster.search(q)}


def ids(traces):
    return {t.id.lstrip("0") for t in traces}  # search drops leading zeros, as Tempo does


@pytest.fixture(scope="module")
def sent(module_makes):
    prometheus = module_makes.prometheus()
    target = {"storage": {"remote_write": [{"url": prometheus.write_url, "send_exemplars": True}]}}
    cluster = module_makes.cluster(config={"metrics_generator": merge(SEED_METRICS, target),
                                           "overrides": {"metrics_generator_processors": ["service-graphs", "span-metrics"]}})
    return World(cluster, prometheus)


@pytest.fixture(scope="module", params=["live", "stored"])
def world(sent, request):
    if request.param == "stored":
        sent.cluster.flush()
        assert sent.cluster.ingester.metric("tempo_ingester_blocks_flushed_total") >= 1
    return sent


# --- by id ----------------------------------------------------------------------------------------------

def check_otlp(data, trace):
    """`data`: TracesData.  What the SDK sent, all of it."""
    got = {s.span_id.hex(): (r, i, s) for r in data.resource_spans for i in r.scope_spans for s in i.spans}
    assert set(got) == {trace.server_id, trace.client_id}
    for resource, scope, one in got.values():
        attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
        assert attributes["service.name"] == "lgtm-stack" and attributes["telemetry.sdk.language"] == "python"
        assert (scope.scope.name, scope.scope.version) == ("seed", "1.2.3")
        assert one.trace_id.hex() == trace.id
    server, client = got[trace.server_id][2], got[trace.client_id][2]
    assert (server.name, server.kind, server.parent_span_id) == (f"GET {trace.route}", 2, b"")
    assert (server.start_time_unix_nano, server.end_time_unix_nano) == (trace.start, trace.start + 250 * MS)
    values = {a.key: a.value for a in server.attributes}
    assert values["http.status_code"].int_value == trace.status
    assert values["user.id"].string_value == trace.user and values["http.route"].string_value == trace.route
    assert (client.name, client.kind, client.parent_span_id.hex()) == ("SELECT", 3, trace.server_id)
    assert {a.key: a.value.string_value for a in client.attributes} == {
        "db.system": "mariadb", "db.name": "test", "db.operation": "SELECT", "server.address": "mariadb"}
    error = trace.status >= 500
    assert (client.status.code, client.status.message) == ((2, "lost connection") if error else (0, ""))


@pytest.mark.parametrize("name", ["by_grpc", "by_http", "broken"])
@pytest.mark.parametrize("version", [1, 2])
def test_trace_by_id_as_protobuf(world, name, version):
    trace = getattr(world, name)
    path = f"/api/traces/{trace.id}" if version == 1 else f"/api/v2/traces/{trace.id}"
    status, headers, body = world.cluster.api(path, accept="application/protobuf")
    assert (status, headers["Content-Type"]) == (200, "application/protobuf")
    assert headers["X-Vivace-Partial"] is None
    if version == 1:
        check_otlp(TracesData.FromString(body), trace)
    else:
        data, others = trace_of_v2(body)
        check_otlp(data, trace)
        assert 3 not in others  # status: complete


@pytest.mark.parametrize("name", ["by_grpc", "by_http", "broken"])
@pytest.mark.parametrize("version", [1, 2])
def test_trace_by_id_as_json(world, name, version):
    trace = getattr(world, name)
    path = f"/api/traces/{trace.id}" if version == 1 else f"/api/v2/traces/{trace.id}"
    status, headers, body = world.cluster.api(path)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    answer = json.loads(body)
    batches = answer["batches"] if version == 1 else answer["trace"]["resourceSpans"]
    spans = {base64.b64decode(s["spanId"]).hex(): s for b in batches for i in b["scopeSpans"] for s in i["spans"]}
    assert set(spans) == {trace.server_id, trace.client_id}
    server, client = spans[trace.server_id], spans[trace.client_id]
    assert base64.b64decode(server["traceId"]).hex() == trace.id
    assert server["kind"] == "SPAN_KIND_SERVER" and client["kind"] == "SPAN_KIND_CLIENT"
    assert "parentSpanId" not in server and base64.b64decode(client["parentSpanId"]).hex() == trace.server_id
    assert {"key": "http.status_code", "value": {"intValue": str(trace.status)}} in server["attributes"]
    assert {"key": "server.address", "value": {"stringValue": "mariadb"}} in client["attributes"]
    assert server["startTimeUnixNano"] == str(trace.start)
    if trace.status >= 500:
        assert client["status"] == {"code": "STATUS_CODE_ERROR", "message": "lost connection"}


def test_unknown_trace(world):
    status, _, body = world.cluster.api(f"/api/traces/{'0' * 31}1")
    assert (status, body) == (404, b"")
    status, _, body = world.cluster.api(f"/api/v2/traces/{'0' * 31}1")
    assert status == 200 and json.loads(body)["trace"] == {}


# --- TraceQL --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("q, names", [
    ('{ service.name = "lgtm-stack" }', "by_grpc by_http broken"),
    ('{ resource.service.name = "lgtm-stack" }', "by_grpc by_http broken"),
    ('{ .service.name = "lgtm-stack" }', "by_grpc by_http broken"),
    ('{ service.name = "x" }', ""),
    ('{ http.status_code = 500 }', "broken"),
    ('{ span.http.status_code = 200 }', "by_grpc by_http"),
    ('{ .http.status_code >= 200 && .http.status_code < 500 }', "by_grpc by_http"),
    ('{ user.id = "ada@example.org" }', "by_grpc"),
    ('{ user.id = "a@b" }', ""),
    ('{ user.id =~ ".*@example[.]org" && http.route = "/test" }', "by_grpc by_http"),
    ('{ http.method = "GET" && http.route = "/broken" }', "broken"),
    ('{ http.method = "POST" }', ""),
    ('{ db.system = "mariadb" && db.name = "test" && db.operation = "SELECT" }', "by_grpc by_http broken"),
    ('{ db.system = "mariadb" && http.method = "GET" }', ""),  # no one span has both
    ('{ db.system = "mariadb" } && { http.route = "/test" }', "by_grpc by_http"),
    ('{ db.system = "oracle" } || { user.id = "bob@example.org" }', "by_http"),
    ('{ server.address = "mariadb" && kind = client && duration < 50ms }', "by_grpc by_http broken"),
    ('{ status = error }', "broken"),
    ('{ status = error && statusMessage = "lost connection" }', "broken"),
    ('{ name = "GET /test" && kind = server && duration >= 250ms }', "by_grpc by_http"),
    ('{ rootName = "GET /broken" && name = "SELECT" }', "broken"),
    ('{ rootServiceName = "lgtm-stack" && traceDuration > 200ms && traceDuration < 300ms }', "by_grpc by_http broken"),
    ('{}', "by_grpc by_http broken"),
])
def test_traceql_example(world, q, names):
    assert world.found(q) == ids(getattr(world, n) for n in names.split())


@pytest.mark.parametrize("q, key, value", [
    ('{ service.name = "lgtm-stack" } | avg(duration)', "avg(duration)", "145ms"),
    ('{ service.name = "lgtm-stack" } | max(duration)', "max(duration)", "250ms"),
    ('{ service.name = "lgtm-stack" } | quantile(duration, 0.95)', "quantile(duration, 0.95)", "239.5ms"),
    ('{ db.system = "mariadb" } | avg(duration)', "avg(duration)", "40ms"),
    ('{ service.name = "lgtm-stack" } | avg(duration) > 144ms', "avg(duration)", "145ms"),
    ('{ service.name = "lgtm-stack" } | max(duration) >= 250ms', "max(duration)", "250ms"),
    ('{ service.name = "lgtm-stack" } | quantile(duration, 0.95) > 239ms', "quantile(duration, 0.95)", "239.5ms"),
])
def test_aggregate_example(world, q, key, value):
    found = world.cluster.search(q)
    assert {t["traceID"] for t in found} == ids(world.all)
    for trace in found:
        (spanset,) = trace["spanSets"]
        assert {"key": key, "value": {"stringValue": value}} in spanset["attributes"], trace


@pytest.mark.parametrize("q", [
    '{ service.name = "lgtm-stack" } | avg(duration) > 145ms',
    '{ service.name = "lgtm-stack" } | max(duration) > 1s',
    '{ service.name = "lgtm-stack" } | quantile(duration, 0.95) > 240ms',
    '{ service.name = "nobody" } | avg(duration)',
])
def test_aggregate_that_nothing_meets(world, q):
    assert world.cluster.search(q) == []


def test_what_a_search_list_says(world):
    (one,) = world.cluster.search('{ user.id = "ada@example.org" }')
    trace = world.by_grpc
    assert one["rootServiceName"] == "lgtm-stack" and one["rootTraceName"] == "GET /test"
    assert one["startTimeUnixNano"] == str(trace.start) and one["durationMs"] == 250
    (spanset,) = one["spanSets"]
    assert spanset["matched"] == 1 and spanset["spans"][0]["spanID"] == trace.server_id
    assert {"key": "user.id", "value": {"stringValue": "ada@example.org"}} in spanset["spans"][0]["attributes"]
    assert spanset["spans"][0]["durationNanos"] == str(250 * MS)
    newest_first = [int(t["startTimeUnixNano"]) for t in world.cluster.search("{}")]
    assert newest_first == sorted(newest_first, reverse=True) and len(newest_first) == 3


def test_bad_query_in_tempos_words(world):
    status, _, body = world.cluster.api("/api/search", q='{ service.name = }')
    assert status == 400 and body.startswith(b"invalid TraceQL query: parse error at line 1, col "), body


def test_search_by_tags(world):
    now = int(time.time())
    status, _, body = world.cluster.api("/api/search", tags='service.name=lgtm-stack http.route="/broken"', start=now - 3600, end=now + 3600)
    assert status == 200 and {t["traceID"] for t in json.loads(body)["traces"]} == ids([world.broken])
    status, _, body = world.cluster.api("/api/search", tags="service.name=lgtm-stack", minDuration="300ms", start=now - 3600, end=now + 3600)
    assert status == 200 and json.loads(body)["traces"] == []


# --- tags -----------------------------------------------------------------------------------------------

SPAN_TAGS = {"http.method", "http.route", "http.status_code", "user.id", "db.system", "db.name", "db.operation", "server.address"}


def test_tag_names(world):
    status, _, body = world.cluster.api("/api/search/tags")
    assert status == 200 and SPAN_TAGS | {"service.name"} <= set(json.loads(body)["tagNames"])
    status, _, body = world.cluster.api("/api/v2/search/tags")
    scopes = {s["name"]: set(s["tags"]) for s in json.loads(body)["scopes"]}
    assert status == 200 and scopes["span"] == SPAN_TAGS
    assert "service.name" in scopes["resource"] and "service.name" not in scopes["span"]
    assert {"duration", "status", "rootServiceName"} <= scopes["intrinsic"]


@pytest.mark.parametrize("tag, q, values", [
    ("resource.service.name", None, [("string", "lgtm-stack")]),
    (".service.name", None, [("string", "lgtm-stack")]),
    ("span.http.status_code", None, [("int", "200"), ("int", "500")]),
    (".user.id", None, [("string", "ada@example.org"), ("string", "bob@example.org"), ("string", "eve@example.org")]),
    (".user.id", '{ span.http.status_code = 500 }', [("string", "eve@example.org")]),
    (".db.system", None, [("string", "mariadb")]),
    ("name", None, [("string", "GET /broken"), ("string", "GET /test"), ("string", "SELECT")]),
    (".nothing", None, []),
])
def test_tag_values(world, tag, q, values):
    status, _, body = world.cluster.api(f"/api/v2/search/tag/{tag}/values", **({"q": q} if q else {}))
    assert status == 200
    assert sorted((v["type"], v["value"]) for v in json.loads(body)["tagValues"]) == values


def test_tag_values_v1(world):
    status, _, body = world.cluster.api("/api/search/tag/db.operation/values")
    assert status == 200 and json.loads(body)["tagValues"] == ["SELECT"]


# --- Prometheus -----------------------------------------------------------------------------------------

def test_span_metrics_in_prometheus(sent):
    prometheus = sent.prometheus
    eventually(lambda: prometheus.value("traces_spanmetrics_calls_total") == 6, 60)
    external = {"source": "tempo", "cluster": "lgtm-stack"}
    server = {"service": "lgtm-stack", "service_name": "lgtm-stack", "span_name": "GET /test", "span_kind": "SPAN_KIND_SERVER",
              "status_code": "STATUS_CODE_UNSET", "http_method": "GET", "http_route": "/test", "http_status_code": "200", **external}
    client = {"service": "lgtm-stack", "service_name": "lgtm-stack", "span_name": "SELECT", "span_kind": "SPAN_KIND_CLIENT",
              "status_code": "STATUS_CODE_UNSET", "db_system": "mariadb", "db_name": "test", "db_operation": "SELECT", **external}
    broken = {**server, "span_name": "GET /broken", "http_route": "/broken", "http_status_code": "500", "status_code": "STATUS_CODE_ERROR"}
    want = [(server, 2), (client, 2), (broken, 1), ({**client, "status_code": "STATUS_CODE_ERROR"}, 1)]
    got = [({k: v for k, v in labels.items() if k not in ("__name__", "__metrics_gen_instance")}, n) for labels, n in prometheus.series("traces_spanmetrics_calls_total")]
    for one in want:  # exactly these labels: no __status_code, since no span has the attribute status.code
        assert one in got, (one, got)
    assert len(got) == len(want)
    eventually(lambda: prometheus.value('traces_spanmetrics_latency_count{span_name="GET /test"}') == 2)
    assert prometheus.value('traces_spanmetrics_latency_sum{span_name="GET /test"}') == pytest.approx(0.5)
    assert prometheus.value('traces_spanmetrics_latency_sum{span_name="SELECT",status_code="STATUS_CODE_UNSET"}') == pytest.approx(0.08)
    buckets = {labels["le"]: n for labels, n in prometheus.series('traces_spanmetrics_latency_bucket{span_name="GET /test"}')}
    assert buckets["0.128"] == 0 and buckets["0.256"] == 2 and buckets["+Inf"] == 2
    assert 2 * 150 < prometheus.value('traces_spanmetrics_size_total{span_name="GET /test"}') < 2 * 400


def test_service_graph_in_prometheus(sent):
    prometheus = sent.prometheus
    edge = '{client="lgtm-stack", server="mariadb", connection_type="database"}'
    eventually(lambda: prometheus.value("traces_service_graph_request_total" + edge) == 3, 60)
    ((labels, _),) = prometheus.series("traces_service_graph_request_total" + edge)
    assert labels["source"] == "tempo" and labels["cluster"] == "lgtm-stack" and labels["service_name"] == "lgtm-stack"
    eventually(lambda: prometheus.value("traces_service_graph_request_failed_total" + edge) == 1)
    for side in ("server", "client"):
        eventually(lambda: prometheus.value(f"traces_service_graph_request_{side}_seconds_count{edge}") == 3)
        assert prometheus.value(f"traces_service_graph_request_{side}_seconds_sum{edge}") == pytest.approx(0.12)


@pytest.mark.parametrize("metric", ["traces_spanmetrics_latency_bucket", "traces_service_graph_request_server_seconds_bucket"])
def test_exemplars_open_the_trace(sent, metric):
    found = eventually(lambda: sent.prometheus.exemplars(metric), 60)
    for exemplar in found:
        trace_id = exemplar["labels"]["traceID"]
        assert trace_id.rjust(32, "0") in {t.id for t in sent.all}
        status, _, body = sent.cluster.api(f"/api/traces/{trace_id}")
        assert status == 200 and json.loads(body)["batches"]
