"""What comes in from outside: gRPC and HTTP as protocols, JSON's forms, refusals with their texts, limits, tenants."""
import ctypes
import ctypes.util
import gzip
import http.client
import json
import os
import socket
import time
import zlib
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from otlp import EXPORT, ExportTraceServiceRequest, ExportTraceServiceResponse, make_request, make_span, new_ids
from vivace import SLOW, eventually, http as call, request, span

MIB = 1 << 20


@pytest.fixture(scope="module")
def c(module_makes):
    return module_makes.cluster()


@pytest.fixture(scope="module")
def channel(c):
    with grpc.insecure_channel(f"127.0.0.1:{c.otlp[0][0]}", options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def export(channel, body, method=EXPORT, timeout=30, **more):
    return channel.unary_unary(method, None, None).with_call(body, timeout=timeout * SLOW, **more)


def refused(channel, body, **more):
    with pytest.raises(grpc.RpcError) as error:
        export(channel, body, **more)
    return error.value


def post(c, body, content_type="application/x-protobuf", **headers):
    return call(f"http://127.0.0.1:{c.otlp[0][1]}/v1/traces", body, {"Content-Type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}})


def raw(port, data):
    """Bytes out, bytes back until the peer closes or is silent for a second."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(data)
        s.settimeout(1.0 * SLOW)
        out = b""
        try:
            while chunk := s.recv(65536):
                out += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return out


def status_of(body):
    return status_pb2.Status.FromString(body)


# --- gRPC -----------------------------------------------------------------------------------------------

def test_grpc_export(c, channel):
    r, (trace_id,) = make_request(spans=3)
    body, info = export(channel, r.SerializeToString())
    assert body == b"\x0a\x00"  # partial_success, there and empty
    assert info.code() == grpc.StatusCode.OK
    assert len(c.trace(trace_id)) == 3


def test_grpc_empty_request(channel):
    body, info = export(channel, b"")
    assert (body, info.code()) == (b"\x0a\x00", grpc.StatusCode.OK)


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_grpc_compression(c, channel, algorithm):
    r, (trace_id,) = make_request(spans=50, text="x" * 500)
    if algorithm == grpc.Compression.Deflate:
        try:
            export(channel, r.SerializeToString(), compression=algorithm)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED  # an unknown grpc-encoding is named so
            return
    else:
        export(channel, r.SerializeToString(), compression=algorithm)
    assert len(c.trace(trace_id)) == 50


@pytest.mark.parametrize("method, words", [
    ("/opentelemetry.proto.collector.trace.v1.TraceService/Import", "unknown method Import"),
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", "unknown service"),
    ("/nothing", "malformed method name"),
])
def test_grpc_unknown_method(channel, method, words):
    error = refused(channel, b"", method=method)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED and words in error.details()


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05abc", b"\x0a\x02\x08", b"\x0b", os.urandom(1000)[:1] + b"\xff" * 999])
def test_grpc_garbage(c, channel, body):
    error = refused(channel, body)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and error.details()
    assert c.distributor.popen.poll() is None


def test_grpc_big_messages(c, channel):
    r, (trace_id,) = make_request(spans=1000, text="y" * 10000)
    body = r.SerializeToString()
    assert 10 * MIB // 2 < len(body) < 16 * MIB
    export(channel, body, timeout=60)
    assert len(c.trace(trace_id)) == 1000
    error = refused(channel, body + body, timeout=60)  # over 16 MiB on the wire
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not any(k == "grpc-status-details-bin" and error_details_pb2.RetryInfo.DESCRIPTOR.full_name.encode() in v for k, v in error.trailing_metadata())
    export(channel, b"")  # the connection lives


def test_grpc_gzip_bomb(c, channel):
    before = resident(c.distributor)
    error = refused(channel, b"\x0a" + bytes(200 * MIB), compression=grpc.Compression.Gzip, timeout=60)
    assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
    assert resident(c.distributor) - before < 160 * MIB * (2 if SLOW > 1 else 1)


def resident(p):
    return int(next(line for line in open(f"/proc/{p.popen.pid}/status") if line.startswith("VmHWM")).split()[1]) * 1024


def test_grpc_many_streams_on_one_connection(c, channel):
    made = [make_request(spans=2) for _ in range(300)]
    multi = channel.unary_unary(EXPORT, None, None)
    for future in [multi.future(r.SerializeToString(), timeout=60 * SLOW) for r, _ in made]:
        assert future.result() == b"\x0a\x00"
    for _, (trace_id,) in made[::10]:
        assert len(c.trace(trace_id)) == 2


def test_grpc_client_that_leaves(c, channel):
    """Cancelled calls leave nothing behind, and the connection lives."""
    multi = channel.unary_unary(EXPORT, None, None)
    body = make_request(spans=500)[0].SerializeToString()
    for _ in range(30):
        multi.future(body, timeout=30).cancel()
    r, (trace_id,) = make_request()
    export(channel, r.SerializeToString())
    assert len(c.trace(trace_id)) == 1


def test_http2_on_the_port_of_grpc_only_as_grpc(c):
    grpc_port, http_port = c.otlp[0]
    answer = raw(grpc_port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.1 505") or answer[3:4] in b"\x04\x07", answer
    assert c.distributor.popen.poll() is None


def test_grpc_partial_success(c, channel):
    r, good = bad_ids_request()
    body, _ = export(channel, r.SerializeToString())
    answer = ExportTraceServiceResponse.FromString(body)
    assert answer.partial_success.rejected_spans == 6
    assert "trace ids must be 128 bit" in answer.partial_success.error_message
    assert "span ids must be 64 bit and not all zero" in answer.partial_success.error_message
    assert [len(c.trace(i)) for i in good] == [2, 2]


def bad_ids_request():
    """Two good traces of two spans, and six spans with ids that are none, among them."""
    r, good = make_request(traces=2, spans=2)
    to = r.resource_spans[0].scope_spans[0].spans
    trace_id, (span_id,) = new_ids()
    for t, s in [(b"", span_id), (bytes(16), span_id), (trace_id[:8], span_id), (trace_id + b"x", span_id), (trace_id, bytes(8)), (trace_id, span_id[:4])]:
        make_span(to, t, s)
    return r, good


# --- HTTP -----------------------------------------------------------------------------------------------

def test_http_protobuf(c):
    r, (trace_id,) = make_request(spans=3)
    status, headers, body = post(c, r.SerializeToString())
    assert (status, headers["Content-Type"], body) == (200, "application/x-protobuf", b"\x0a\x00")
    assert len(c.trace(trace_id)) == 3


def test_http_json(c):
    trace_id = os.urandom(16).hex()
    status, headers, body = c.push_json(request("s", span(trace_id, os.urandom(8).hex())))
    assert (status, headers["Content-Type"], json.loads(body)) == (200, "application/json", {"partialSuccess": {}})
    assert len(c.trace(trace_id)) == 1


def zstd(data):
    library = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(library.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    n = library.ZSTD_compress(out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)), 3)
    return out.raw[:n]


@pytest.mark.parametrize("name, pack", [("gzip", gzip.compress), ("zstd", zstd), ("zlib", zlib.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_http_compression(c, name, pack):
    r, (trace_id,) = make_request(spans=20, text="z" * 300)
    status, _, body = post(c, pack(r.SerializeToString()), Content_Encoding=name)
    assert status == 200, (status, status_of(body))
    assert len(c.trace(trace_id)) == 20


def test_http_wrong_method_path_type(c):
    port = c.otlp[0][1]
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        status, _, body = call(f"http://127.0.0.1:{port}/v1/traces", method=method)
        assert status == 405
        assert method == "HEAD" or body == b"405 method not allowed, supported: [POST]"
    assert call(f"http://127.0.0.1:{port}/v1/metrics", b"x", {"Content-Type": "application/x-protobuf"})[0] == 404
    for kind in ("text/plain", "application/grpc", ""):
        status, headers, body = post(c, b"{}", kind)
        assert status == 415
        assert body == b"415 unsupported media type, supported: [application/json, application/x-protobuf]"
        assert headers["Content-Type"] == "text/plain"


@pytest.mark.parametrize("kind", ["application/x-protobuf; charset=utf-8", "Application/X-Protobuf"])
def test_http_media_type_with_parameters(c, kind):
    assert post(c, make_request()[0].SerializeToString(), kind)[0] == 200


@pytest.mark.parametrize("body, content_type, encoding", [
    (b"\xff\xff", "application/x-protobuf", None),
    (b"{", "application/json", None),
    (b"", "application/json", None),
    (b"[]", "application/json", None),
    (b'{"resourceSpans": 7}', "application/json", None),
    (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}', "application/json", None),
    (b"not gzip", "application/x-protobuf", "gzip"),
    (gzip.compress(b"\x0a\x00" * 100)[:-9], "application/x-protobuf", "gzip"),
    (b"x", "application/x-protobuf", "br"),
])
def test_http_malformed(c, body, content_type, encoding):
    status, headers, answer = post(c, body, content_type, **({"Content_Encoding": encoding} if encoding else {}))
    assert status == 400, (status, answer)
    assert headers["Content-Type"] == content_type
    assert headers["Retry-After"] is None
    if content_type == "application/json":
        said = json.loads(answer)
        assert said["code"] == 3 and said["message"]
    else:
        assert status_of(answer).code == 3 and status_of(answer).message
    if encoding == "br":
        assert status_of(answer).message == "unsupported Content-Encoding: br"


def test_http_too_large(c):
    """Refused for good: no Retry-After, and the other clients go on."""
    status, headers, body = send_large(c, bytes(17 * MIB), "application/x-protobuf")
    assert status == 413 and headers["Retry-After"] is None
    status, _, body = send_large(c, b'{"resourceSpans":[' + b" " * (9 * MIB) + b"]}", "application/json")
    assert status == 413, body
    assert post(c, make_request()[0].SerializeToString())[0] == 200


def send_large(c, body, content_type):
    """The server may answer before it has read all; urllib would see a broken pipe instead of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", c.otlp[0][1], timeout=60)
    try:
        connection.putrequest("POST", "/v1/traces")
        connection.putheader("Content-Type", content_type)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        try:
            connection.send(body)
        except OSError:
            pass
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def test_http_gzip_bomb(c):
    before = resident(c.distributor)
    bomb = gzip.compress(bytes(300 * MIB), 6)
    status, headers, body = post(c, bomb, Content_Encoding="gzip")
    assert status in (400, 413), (status, body)
    assert resident(c.distributor) - before < 160 * MIB * (2 if SLOW > 1 else 1)
    nested = gzip.compress(bomb)
    assert post(c, nested, Content_Encoding="gzip")[0] == 400  # one layer is taken off, the rest is no protobuf
    members = b"".join(gzip.compress(bytes(MIB)) for _ in range(100))
    assert post(c, members, Content_Encoding="gzip")[0] in (400, 413)


def test_http_partial_success(c):
    r, good = bad_ids_request()
    status, _, body = post(c, r.SerializeToString())
    answer = ExportTraceServiceResponse.FromString(body)
    assert status == 200 and answer.partial_success.rejected_spans == 6
    assert [len(c.trace(i)) for i in good] == [2, 2]
    trace_id = os.urandom(16).hex()
    status, _, body = c.push_json(request("s", span(trace_id, os.urandom(8).hex()), span("00" * 16, os.urandom(8).hex()), span(trace_id, "00" * 8)))
    partial = json.loads(body)["partialSuccess"]
    assert status == 200 and partial["rejectedSpans"] == "2" and partial["errorMessage"]
    assert len(c.trace(trace_id)) == 1


def test_http_all_spans_bad(c):
    r, _ = bad_ids_request()
    only = ExportTraceServiceRequest()
    to = only.resource_spans.add().scope_spans.add().spans
    to.extend(r.resource_spans[0].scope_spans[0].spans[4:])
    status, _, body = post(c, only.SerializeToString())
    assert status == 200 and ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans == 6


def test_discarded_spans_are_counted(c):
    name = "tempo_discarded_spans_total"
    before = {r: c.distributor.metric(name, reason=r) or 0 for r in ("invalid_trace_id", "invalid_span_id")}
    post(c, bad_ids_request()[0].SerializeToString())
    assert c.distributor.metric(name, reason="invalid_trace_id", tenant="single-tenant") - before["invalid_trace_id"] == 4
    assert c.distributor.metric(name, reason="invalid_span_id", tenant="single-tenant") - before["invalid_span_id"] == 2


def test_http_keep_alive_and_pipelining(c):
    port = c.otlp[0][1]
    one = make_request()[0].SerializeToString()
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n" % len(one)
    answer = raw(port, (head + one) * 5)
    assert answer.count(b"HTTP/1.1 200") == 5, answer[:300]


@pytest.mark.parametrize("lines", [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Content-Length: 5\r\n Folded: x\r\n",
    b"X: " + b"a" * 100000 + b"\r\n",
    b"".join(b"X%d: a\r\n" % i for i in range(2000)),
])
def test_http_smuggling_and_floods_of_headers(c, lines):
    """One answer at most, an error, and the connection closed: never two requests from one."""
    port = c.otlp[0][1]
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = raw(port, b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n" + lines + b"\r\n" + smuggled)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert c.distributor.popen.poll() is None


def test_http_chunked_body(c):
    r, (trace_id,) = make_request(spans=10)
    body = r.SerializeToString()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[i:i + 100] for i in range(0, len(body), 100)))
    answer = raw(c.otlp[0][1], b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n"
                 + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    assert len(c.trace(trace_id)) == 10


def test_http_expect_100(c):
    one = make_request()[0].SerializeToString()
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n" % len(one)
    with socket.create_connection(("127.0.0.1", c.otlp[0][1]), timeout=10 * SLOW) as s:
        s.sendall(head)
        assert s.recv(100).startswith(b"HTTP/1.1 100")
        s.sendall(one)
        assert s.recv(1000).startswith(b"HTTP/1.1 200")


# --- JSON's forms ---------------------------------------------------------------------------------------

def test_json_forms(c):
    """Numbers as text or number, names or numbers of enums, upper-case ids, snake_case, unknown keys, every kind of value."""
    trace_id, span_id = os.urandom(16).hex(), os.urandom(8).hex()
    start = time.time_ns() - 10**9
    values = {"s": {"stringValue": "tä\u0000x"}, "i": {"intValue": -(1 << 63)}, "j": {"intValue": str((1 << 63) - 1)}, "d": {"doubleValue": 1.5},
              "n": {"doubleValue": "NaN"}, "b": {"boolValue": False}, "y": {"bytesValue": "AAECAw=="},
              "a": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}]}},
              "k": {"kvlistValue": {"values": [{"key": "q", "value": {"boolValue": True}}]}}}
    body = {"resource_spans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "json"}}]}, "unknown": [1, {"x": None}],
                                "scopeSpans": [{"scope": {"name": "sc", "version": "7"}, "spans": [{
                                    "traceId": trace_id.upper(), "span_id": span_id, "name": "j", "kind": "SPAN_KIND_CLIENT", "startTimeUnixNano": start,
                                    "endTimeUnixNano": str(start + 5), "status": {"code": 2, "message": "m"}, "flags": 1, "traceState": "a=b", "droppedAttributesCount": 3,
                                    "attributes": [{"key": k, "value": v} for k, v in values.items()],
                                    "events": [{"timeUnixNano": str(start + 1), "name": "e", "attributes": [{"key": "z", "value": {"intValue": 4}}]}],
                                    "links": [{"traceId": "11" * 16, "spanId": "22" * 8, "traceState": "", "attributes": []}], "strange": None}]}]}]}
    status, _, answer = c.push_json(body)
    assert (status, json.loads(answer)) == (200, {"partialSuccess": {}}), answer
    (one,) = c.trace(trace_id)
    got = {a["key"]: a["value"] for a in one["attributes"]}
    assert got == {**values, "i": {"intValue": str(-(1 << 63))}}
    assert (one["kind"], one["name"], one["traceState"], one["status"]) == ("SPAN_KIND_CLIENT", "j", "a=b", {"code": "STATUS_CODE_ERROR", "message": "m"})
    assert one["startTimeUnixNano"] == str(start) and one["endTimeUnixNano"] == str(start + 5)
    assert one["events"][0]["attributes"] == [{"key": "z", "value": {"intValue": "4"}}]
    assert one["droppedAttributesCount"] == 3 and len(one["links"]) == 1
    c.flush()
    assert c.trace(trace_id) == [one]  # the same from a block


def test_long_attributes_are_cut_and_counted(c):
    trace_id = os.urandom(16).hex()
    assert c.push_json(request("s", span(trace_id, os.urandom(8).hex(), long="x" * 5000, wide="ä" * 3000)))[0] == 200
    (one,) = c.trace(trace_id)
    got = {a["key"]: a["value"]["stringValue"] for a in one["attributes"]}
    assert got["long"] == "x" * 2048
    assert len(got["wide"].encode()) <= 2048 and set(got["wide"]) == {"ä"}


# --- limits of a request --------------------------------------------------------------------------------

def nested(depth):
    r, ids = make_request()
    value = r.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="deep").value
    for _ in range(depth):
        value = value.array_value.values.add()
    value.int_value = 1
    return r.SerializeToString(), ids[0]


def test_depth(c):
    body, trace_id = nested(20)
    assert post(c, body)[0] == 200
    assert len(c.trace(trace_id)) == 1
    body, trace_id = nested(70)
    status, headers, answer = post(c, body)
    assert status == 413 and b"nested too deep" in answer and headers["Retry-After"] is None, (status, answer)
    deep = b'{"resourceSpans":' + b"[" * 100000 + b"]" * 100000 + b"}"
    assert post(c, deep, "application/json")[0] in (400, 413)


@pytest.mark.parametrize("what, count", [("attributes", 1025), ("events", 1025), ("links", 1025)])
def test_counts_of_one_span(c, what, count):
    r, (trace_id,) = make_request()
    one = r.resource_spans[0].scope_spans[0].spans[0]
    for k in range(count):
        if what == "attributes":
            one.attributes.add(key=f"k{k}").value.int_value = k
        elif what == "events":
            one.events.add(name="e")
        else:
            one.links.add(trace_id=bytes(range(16)), span_id=bytes(range(8)))
    status, headers, body = post(c, r.SerializeToString())
    assert status in (400, 413) and headers["Retry-After"] is None, body
    assert c.trace(trace_id) == []


def test_empty_messages_are_cheap(c):
    """16 MiB of empty spans: refused or answered, never a fortune of memory."""
    before = resident(c.distributor)
    spans = b"\x12\x00" * (MIB * 3)
    scope = b"\x12" + varint(len(spans)) + spans
    body = b"\x0a" + varint(len(scope)) + scope
    status, _, _ = post(c, body)
    assert status in (200, 400, 413)
    assert resident(c.distributor) - before < 200 * MIB * (2 if SLOW > 1 else 1)


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def test_slow_and_idle_connections_hold_up_nobody(c):
    port = c.otlp[0][1]
    idle = [socket.create_connection(("127.0.0.1", p)) for p in c.otlp[0] for _ in range(100)]
    try:
        for s in idle[::2]:
            s.sendall(b"P")
        r, (trace_id,) = make_request()
        assert post(c, r.SerializeToString())[0] == 200
        assert len(c.trace(trace_id)) == 1
    finally:
        for s in idle:
            s.close()
    assert port


# --- limits of a tenant ---------------------------------------------------------------------------------

def limited(cluster, **limits):
    return cluster(config={"overrides": {"defaults": limits}})


def test_rate_limit(cluster):
    """The configured rate and burst, in Tempo's words, with a time to come back; over the burst without one, since it would never fit."""
    c = limited(cluster, ingestion={"rate_limit_bytes": 100, "burst_size_bytes": 20000})
    body = make_request(spans=50)[0].SerializeToString()
    assert 3000 < len(body) < 20000
    said = []

    def over():
        status, headers, answer = post(c, body)
        said.append((status, headers["Retry-After"], status_of(answer)))
        return status == 429
    eventually(over)
    _, retry_after, status = said[-1]
    assert retry_after == "5" and status.code == 8
    assert status.message == (f"RATE_LIMITED: ingestion rate limit (local: 100 bytes/s, global: 0 bytes/s, burst: 20000 bytes) exceeded while adding {len(body)} bytes "
                              "for user single-tenant. consider increasing the limit or reducing ingestion rate.")
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry) and retry.retry_delay.seconds == 5
    with grpc.insecure_channel(f"127.0.0.1:{c.otlp[0][0]}") as channel:
        error = refused(channel, body)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and error.details() == status.message
        details = status_of(dict(error.trailing_metadata())["grpc-status-details-bin"])
        assert details.details[0].Unpack(retry) and retry.retry_delay.seconds == 5
    big = make_request(spans=500)[0].SerializeToString()
    status, headers, answer = post(c, big)
    assert status == 429 and headers["Retry-After"] is None
    assert status_of(answer).message == (
        f"RATE_LIMITED: batch size ({len(big)} bytes) exceeds ingestion limit (local: 100 bytes/s, global: 0 bytes/s, burst: 20000 bytes) while adding {len(big)} bytes "
        "for user single-tenant. consider reducing batch size or increasing rate limit.")
    assert c.distributor.metric("tempo_discarded_spans_total", reason="rate_limited", tenant="single-tenant") >= 550


def test_old_flat_overrides_do_the_same(cluster):
    c = cluster(config={"overrides": {"ingestion_rate_limit_bytes": 100, "ingestion_burst_size_bytes": 1000}})
    status, _, answer = post(c, make_request(spans=50)[0].SerializeToString())
    assert status == 429 and "burst: 1000 bytes" in status_of(answer).message


def test_trace_too_large(cluster):
    """The spans that do not fit are named to the client, with their exact count; the others are stored."""
    c = limited(cluster, **{"global": {"max_bytes_per_trace": 50000}})
    r, (trace_id,) = make_request(spans=20, text="t" * 1000)
    assert post(c, r.SerializeToString())[0] == 200
    more = ExportTraceServiceRequest()
    to = more.resource_spans.add().scope_spans.add().spans
    for _ in range(40):
        make_span(to, bytes.fromhex(trace_id), os.urandom(8), text="t" * 1000)
    other, (other_id,) = make_request(spans=3)
    more.resource_spans.extend(other.resource_spans)
    status, _, body = post(c, more.SerializeToString())
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert status == 200 and partial.rejected_spans == 40
    assert partial.error_message == f"TRACE_TOO_LARGE: max size of trace (50000) exceeded by trace {trace_id} of tenant single-tenant"
    assert len(c.trace(trace_id)) == 20 and len(c.trace(other_id)) == 3
    assert c.distributor.metric("tempo_discarded_spans_total", reason="trace_too_large", tenant="single-tenant") == 40


def test_live_traces_limit(cluster):
    c = limited(cluster, ingestion={"max_traces_per_user": 5})
    r, ids = make_request(traces=5, spans=2)
    assert ExportTraceServiceResponse.FromString(post(c, r.SerializeToString())[2]).partial_success.rejected_spans == 0
    r, more = make_request(traces=3, spans=2)
    status, _, body = post(c, r.SerializeToString())
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert status == 200 and partial.rejected_spans == 6 and "LIVE_TRACES_EXCEEDED" in partial.error_message
    assert [len(c.trace(i)) for i in ids] == [2] * 5 and [c.trace(i) for i in more] == [[]] * 3


# --- tenants --------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def tenants(module_makes):
    return module_makes.cluster(config={"multitenancy_enabled": True})


def org(name):
    return {"X-Scope-OrgID": name}


def test_tenants_see_their_own(tenants):
    """The same trace id and span id of two tenants, live and stored."""
    c = tenants
    trace_id, span_id = "e" + os.urandom(16).hex()[1:], os.urandom(8).hex()
    for name in ("alice", "bob"):
        body = request(f"service-{name}", span(trace_id, span_id, name=f"of-{name}", **{f"only-{name}": name}))
        assert c.push_json(body, **org(name))[0] == 200
    for stored in (False, True):
        if stored:
            c.flush()
        for name, other in (("alice", "bob"), ("bob", "alice")):
            assert [s["name"] for s in c.trace(trace_id, **org(name))] == [f"of-{name}"]
            for q, n in [("{}", 1), (f'{{ name = "of-{other}" }}', 0), (f'{{ name = "of-{name}" }}', 1)]:
                status, _, body = c.api("/api/search", q=q, headers=org(name))
                assert status == 200 and len(json.loads(body)["traces"]) == n, (q, body)
            status, _, body = c.api("/api/v2/search/tag/resource.service.name/values", headers=org(name))
            assert [v["value"] for v in json.loads(body)["tagValues"]] == [f"service-{name}"]
            status, _, body = c.api("/api/search/tags", headers=org(name))
            assert json.loads(body)["tagNames"] == sorted([f"only-{name}", "service.name"])
        assert c.trace(trace_id, **org("carol")) == []
        assert c.api(f"/api/traces/{trace_id}", headers=org("carol"))[0] == 404
    folders = {p.name for p in (c.folder / "blocks").iterdir() if p.is_dir()}
    assert {"alice", "bob"} <= folders


def test_missing_tenant(tenants):
    c = tenants
    status, headers, body = c.push_json(request("s", span(os.urandom(16).hex(), os.urandom(8).hex())))
    assert status == 503 and json.loads(body)["message"] == "no org id"
    with grpc.insecure_channel(f"127.0.0.1:{c.otlp[0][0]}") as channel:
        error = refused(channel, make_request()[0].SerializeToString())
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "no org id")
        r, (trace_id,) = make_request()
        export(channel, r.SerializeToString(), metadata=(("x-scope-orgid", "dave"),))
        assert len(c.trace(trace_id, **org("dave"))) == 1
    for path in ("/api/search", "/api/traces/1", "/api/search/tags", "/api/v2/search/tag/name/values"):
        status, _, body = c.api(path)
        assert (status, body) == (401, b"no org id\n"), path


@pytest.mark.parametrize("name, text", [
    ("a/b", "tenant ID 'a/b' contains unsupported character '/'"),
    ("..", "tenant ID is '.' or '..'"),
    (".", "tenant ID is '.' or '..'"),
    ("x" * 151, "tenant ID is too long: max 150 characters"),
    ("a b", "tenant ID 'a b' contains unsupported character ' '"),
    ("../../etc", "tenant ID '../../etc' contains unsupported character '/'"),
])
def test_invalid_tenant(tenants, name, text):
    c = tenants
    before = {p for p in c.folder.rglob("*")}
    status, _, body = c.push_json(request("s", span(os.urandom(16).hex(), os.urandom(8).hex())), **org(name))
    assert status == 400 and json.loads(body)["message"] == text
    status, _, body = c.api("/api/search", headers=org(name))
    assert status == 400 and text.encode() in body
    c.flush()
    new = {p for p in c.folder.rglob("*")} - before
    assert not [p for p in new if p.is_dir() and p.name in ("a", "x" * 151, "etc")]


def test_longest_and_strangest_valid_tenant(tenants):
    c = tenants
    for name in ("y" * 150, "!-_.*'()", "..."):
        trace_id = os.urandom(16).hex()
        assert c.push_json(request("s", span(trace_id, os.urandom(8).hex())), **org(name))[0] == 200
        c.flush()
        assert len(c.trace(trace_id, **org(name))) == 1


def test_header_means_nothing_without_multitenancy(c):
    trace_id = os.urandom(16).hex()
    assert c.push_json(request("s", span(trace_id, os.urandom(8).hex())), **org("../..//"))[0] == 200
    assert len(c.trace(trace_id)) == 1 and len(c.trace(trace_id, **org("somebody"))) == 1


# --- the querier's door ---------------------------------------------------------------------------------

def test_query_api_as_http(c):
    port = c.querier.http_port
    for path in ("/api/traces/", "/api/nothing", "/api/v2/traces/a/b"):
        assert c.querier.get(path)[0] == 404
    assert c.querier.get("/api/search?q=%zz")[0] in (200, 400)
    answer = raw(port, b"GET /api/echo HTTP/1.1\r\nHost: x\r\n\r\nGET /api/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2 and answer.count(b"echo") == 2
    assert raw(port, b"GET /api/echo HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.")
    assert raw(port, b"\x16\x03\x01\x02\x00" + os.urandom(500)) == b"" or True  # TLS to a plain port
    assert c.querier.get("/api/search?q=" + "a" * 70000)[0] in (400, 413, 414, 431)
    status, headers, body = c.querier.get("/api/search/tags", **{"Accept-Encoding": "gzip"})
    assert status == 200
    json.loads(gzip.decompress(body) if headers["Content-Encoding"] == "gzip" else body)


@pytest.mark.parametrize("q, status", [
    ("{ " + "(" * 2000 + "true" + ")" * 2000 + " }", None),
    (" && ".join(["{ .a = 1 }"] * 6000), 400),
    ('{ name =~ "(a+)+$" }', 200),
    ('{ name =~ "(.*){1000}" }', 200),
    ('{ name =~ "((a{1000}){1000}){1000}" }', 400),
    ('{ .a = "' + "x" * 200000 + '" }', 400),
    ("{ .a = 1 } >> " * 3000 + "{ .b = 1 }", 400),
    ('{ name =~ "' + "|".join(f"word{i}" for i in range(3000)) + '" }', None),
], ids=["parentheses", "and", "nested plus", "repeat", "repeat of repeat", "string", "structural", "alternatives"])
def test_hostile_queries(c, q, status):
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", c.querier.http_port, timeout=60)
    try:
        connection.request("GET", "/api/search?q=" + quote(q))
        reply = connection.getresponse()
        got, body = reply.status, reply.read()
    except OSError:
        got, body = 400, b"closed"  # the line is longer than headers may be
    finally:
        connection.close()
    assert got in {400: (400, 413, 414, 431), 200: (200,), None: (200, 400)}[status], (got, body[:200])
    assert time.monotonic() - began < 5 * SLOW
    assert c.querier.popen.poll() is None


def test_clients_that_leave_during_a_query(c):
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", c.querier.http_port), timeout=5) as s:
            s.sendall(b"GET /api/search?q=%7B%7D&limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert c.search("{}") is not None


def test_garbage_on_the_internal_lanes(c):
    """Closed, nothing grows, the lanes go on."""
    lanes = [f.rsplit(":", 1)[1] for p in c.all() for f in p.flags if "-listen=tcp" in f]
    before = {p.role: resident(p) for p in c.all()}
    for port in lanes:
        for junk in (os.urandom(4096), b"\0SP\0\0\x30\0\0" + b"\xff" * 8 + os.urandom(64), b"\0SP\0\0\x30\0\0" + (1 << 40).to_bytes(8, "big"),
                     b"\0SP\0\0\x30\0\0" + (20).to_bytes(8, "big") + b"\x80\0\0\1V\1\x0a\0" + os.urandom(12), b"\0SP\0\0\x10\0\0", b""):
            with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as s:
                try:
                    s.sendall(junk)
                    s.settimeout(0.05)
                    s.recv(1000)
                except OSError:
                    pass
    for p in c.all():
        assert p.popen.poll() is None, p.role
        assert resident(p) - before[p.role] < 40 * MIB
    r, (trace_id,) = make_request()
    assert post(c, r.SerializeToString())[0] == 200
    assert len(c.trace(trace_id)) == 1


def preflight(port, path, origin, headers="content-type", method="POST"):
    return call(f"http://127.0.0.1:{port}{path}", None, {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}, method="OPTIONS")


def test_pages_of_other_origins(module_makes):
    """CORS at OTLP/HTTP and at the API: only the listed origins, with the listed headers."""
    cors = {"allowed_origins": ["https://app.example.com", "https://*.example.org"], "allowed_headers": ["X-Scope-OrgID"], "max_age": 600}
    c = module_makes.cluster(config={"server": {"cors": cors}, "distributor": {"receivers": {"otlp": {"protocols": {"http": {"cors": {**cors, "allowed_origins": ["*"]}}}}}}})
    body = json.dumps(request("web", span("b" * 32, "b" * 16))).encode()
    otlp, api = c.otlp[0][1], c.querier.http_port
    status, headers, _ = preflight(otlp, "/v1/traces", "https://anybody.net", "content-type,x-scope-orgid")
    assert status == 204 and headers["access-control-allow-origin"] == "*" and headers["access-control-allow-headers"] == "content-type,x-scope-orgid"
    assert headers["access-control-max-age"] == "600" and "POST" in headers["access-control-allow-methods"]
    status, headers, _ = post(c, body, "application/json", Origin="https://anybody.net")
    assert status == 200 and headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-headers" not in preflight(otlp, "/v1/traces", "https://anybody.net", "authorization")[1]
    status, headers, _ = preflight(api, "/api/search", "https://x.example.org", "x-scope-orgid", "GET")
    assert (status, headers["access-control-allow-origin"], headers["access-control-allow-credentials"]) == (204, "https://x.example.org", "true")
    for origin, path, allowed in (("https://app.example.com", "/api/echo", True), ("https://x.example.org", "/api/search?q=%7B", True), ("https://app.example.com.evil.net", "/api/echo", False)):
        status, headers, _ = call(f"http://127.0.0.1:{api}{path}", None, {"Origin": origin})
        assert status == (400 if "%7B" in path else 200) and headers["vary"] and headers["access-control-allow-origin"] == (origin if allowed else None)
    assert "access-control-allow-origin" not in call(f"http://127.0.0.1:{api}/api/echo")[1]
    assert "access-control-allow-methods" not in preflight(api, "/api/search", "https://app.example.com", "", "DELETE")[1]
    assert "access-control-allow-methods" not in preflight(api, "/api/search", "https://other.example.com", "", "GET")[1]


def test_without_cors_nothing_is_allowed(c):
    assert preflight(c.otlp[0][1], "/v1/traces", "https://a.b")[0] == 405
    assert "access-control-allow-origin" not in call(f"http://127.0.0.1:{c.querier.http_port}/api/echo", None, {"Origin": "https://a.b"})[1]
