"""tempopb.StreamingQuerier on the HTTP port, with a real gRPC client: the answers of the HTTP API, in protobuf."""
import json
import struct
import time
from contextlib import closing

import grpc
import pytest
from google.protobuf.internal.encoder import _VarintBytes

from otlp import fields
from vivace import Cluster, eventually, request, span

S, MS = 10**9, 10**6


def field(number, value):
    if isinstance(value, int):
        return _VarintBytes(number << 3) + _VarintBytes(value)
    value = value.encode() if isinstance(value, str) else value
    return _VarintBytes(number << 3 | 2) + _VarintBytes(len(value)) + value


def call(channel, method, *parts, metadata=(), compression=None, timeout=10):
    ask = channel.unary_stream(f"/tempopb.StreamingQuerier/{method}", request_serializer=bytes, response_deserializer=bytes)
    return list(ask(b"".join(parts), metadata=metadata, compression=compression, timeout=timeout))


def code_of(*args, **kwargs):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **kwargs)
    return error.value.code(), error.value.details()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with closing(Cluster(tmp_path_factory.mktemp("streaming"))) as c:
        base = time.time_ns() // S * S - 120 * S
        for k in range(30):
            trace_id = f"a{k:031x}"
            assert c.push_json(request(f"svc-{k % 3}", span(trace_id, f"{k + 1:016x}", name=f"op-{k % 5}", start=base + k * S, **{"n": k, "who": f"u{k}"})))[0] == 200
        eventually(lambda: len(c.search("{}", limit=100)) == 30)
        channel = grpc.insecure_channel(f"127.0.0.1:{c.querier.http_port}")
        yield c, channel, base // S
        channel.close()


WINDOW = 60


def test_search(data):
    c, channel, base = data
    start, end = base - WINDOW, base + 90
    for q, limit in (("{}", 100), ('{ resource.service.name = "svc-1" } | select(span.n)', 5), ("{ span.n > 20 } | count() > 0", 20), ('{ name = "none" }', 20)):
        (message,) = call(channel, "Search", field(8, q), field(4, limit), field(5, start), field(6, end), field(9, 2))
        status, _, body = c.api("/api/search", accept="application/protobuf", q=q, limit=limit, start=start, end=end, spss=2)
        assert status == 200
        assert [f for f in fields(message) if f[0] == 1] == [f for f in fields(body) if f[0] == 1], q
        assert [n for n, _ in fields(message)].count(2) == 1
    tags = b"".join(field(1, field(1, k) + field(2, v)) for k, v in (("service.name", "svc-2"), ("who", "u5")))
    (message,) = call(channel, "Search", tags, field(5, start), field(6, end), compression=grpc.Compression.Gzip)
    assert len([f for f in fields(message) if f[0] == 1]) == 1


def test_tags_and_values(data):
    c, channel, base = data
    start, end = base - WINDOW, base + 90
    for method, path, parts, params in (
            ("SearchTags", "/api/search/tags", [field(1, "span")], {"scope": "span"}),
            ("SearchTagsV2", "/api/v2/search/tags", [], {}),
            ("SearchTagsV2", "/api/v2/search/tags", [field(2, '{ span.n = 3 }')], {"q": "{ span.n = 3 }"}),
            ("SearchTagValues", "/api/search/tag/service.name/values", [field(1, "service.name")], {}),
            ("SearchTagValuesV2", "/api/v2/search/tag/.who/values", [field(1, ".who")], {}),
            ("SearchTagValuesV2", "/api/v2/search/tag/span.who/values", [field(1, "span.who"), field(2, '{ resource.service.name = "svc-0" }')], {"q": '{ resource.service.name = "svc-0" }'})):
        at = (4, 5) if "Values" in method else (3, 4)
        (message,) = call(channel, method, *parts, field(at[0], start), field(at[1], end))
        status, _, body = c.api(path, accept="application/protobuf", start=start, end=end, **params)
        assert status == 200
        assert [f for f in fields(message) if f[0] == 1] == [f for f in fields(body) if f[0] == 1] != [], method


def test_metrics(data):
    c, channel, base = data
    start, end, q = base - WINDOW, base + 90, "{} | count_over_time() by (resource.service.name)"
    (message,) = call(channel, "MetricsQueryRange", field(1, q), field(2, start * S), field(3, end * S), field(4, 30 * S))
    status, _, body = c.api("/api/metrics/query_range", q=q, start=start, end=end, step="30s")
    assert status == 200
    want = {s["labels"][0]["value"]["stringValue"]: [(int(p["timestampMs"]), p.get("value", 0)) for p in s["samples"]] for s in json.loads(body)["series"]}
    got = {}
    for number, series in fields(message):
        if number == 1:
            (label,) = [dict(fields(v)) for n, v in fields(series) if n == 1]
            samples = [dict(fields(v)) for n, v in fields(series) if n == 2]
            assert label[1] == b"resource.service.name"
            got[dict(fields(label[2]))[1].decode()] = [(s[2], struct.unpack("<d", s[1])[0] if 1 in s else 0) for s in samples]
    assert got == want and sum(v for samples in got.values() for _, v in samples) == 30
    (message,) = call(channel, "MetricsQueryInstant", field(1, q), field(2, start * S), field(3, end * S))
    values = [struct.unpack("<d", dict(fields(v))[2])[0] for n, v in fields(message) if n == 1]
    assert values == [10, 10, 10]


def test_a_missing_place_is_told(tmp_path):
    with closing(Cluster(tmp_path, counts={"ingester": 2})) as c, grpc.insecure_channel(f"127.0.0.1:{c.querier.http_port}") as channel:
        ask = channel.unary_stream("/tempopb.StreamingQuerier/Search", request_serializer=bytes, response_deserializer=bytes)
        partial = lambda: dict(ask(field(8, "{}"), timeout=20).initial_metadata()).get("x-vivace-partial")
        assert partial() is None
        c.processes["ingester"][1].kill()
        eventually(lambda: partial() == "1", 30)


def test_large_answers_come_in_packets(tmp_path):
    with closing(Cluster(tmp_path, counts={"generator": 0}, config={"query_frontend": {"max_grpc_streaming_packet_size": 500}})) as c:
        for k in range(30):
            assert c.push_json(request(f"svc-{k}", span(f"b{k:031x}", f"{k + 1:016x}", name=f"op-{k}")))[0] == 200
        eventually(lambda: len(c.search("{}", limit=100)) == 30)
        with grpc.insecure_channel(f"127.0.0.1:{c.querier.http_port}") as channel:
            messages = call(channel, "Search", field(8, "{}"), field(4, 100))
        assert len(messages) > 5 and all(len(m) <= 500 for m in messages)
        found = [dict(fields(v))[1] for m in messages for n, v in fields(m) if n == 1]
        assert len(found) == len(set(found)) == 30


def test_what_is_refused(data):
    _, channel, base = data
    code, text = code_of(channel, "Search", field(8, "{ nonsense"), field(5, base), field(6, base + 90))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and text.startswith("invalid TraceQL query: parse error at line 1, col ")
    assert code_of(channel, "Nothing")[0] == grpc.StatusCode.UNIMPLEMENTED
    assert code_of(channel, "Search", b"\x42\x7f")[0] == grpc.StatusCode.INTERNAL
    code, _ = code_of(channel, "MetricsQueryRange", field(1, "{}"), field(2, base * S), field(3, (base + 90) * S), field(4, S))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_tenants_and_switch(tmp_path):
    with closing(Cluster(tmp_path / "tenants", config={"multitenancy_enabled": True})) as c, grpc.insecure_channel(f"127.0.0.1:{c.querier.http_port}") as channel:
        now = int(time.time())
        assert c.push_json(request("svc", span("b" * 32, "c" * 16, start=now * S - S)), **{"X-Scope-OrgID": "one"})[0] == 200
        ask = lambda tenant: [n for n, _ in fields(call(channel, "Search", field(8, "{}"), field(5, now - 60), field(6, now + 60), metadata=(("x-scope-orgid", tenant),))[0])].count(1)
        eventually(lambda: ask("one") == 1)
        assert ask("two") == 0
        assert code_of(channel, "Search", field(8, "{}")) == (grpc.StatusCode.UNKNOWN, "no org id")
    with closing(Cluster(tmp_path / "off", config={"stream_over_http_enabled": False})) as c, grpc.insecure_channel(f"127.0.0.1:{c.querier.http_port}") as channel:
        assert code_of(channel, "Search", field(8, "{}"))[0] == grpc.StatusCode.UNIMPLEMENTED  # as a client reads the 404
