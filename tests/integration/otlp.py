"""OTLP protobuf for the tests, from the packages of OpenTelemetry."""
import os
import time

from google.protobuf.internal.decoder import _DecodeVarint
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

__all__ = ["EXPORT", "ExportTraceServiceRequest", "ExportTraceServiceResponse", "TracesData", "fields", "make_span", "make_request", "new_ids", "trace_of_v2"]


def fields(data):
    """The fields of one message: [(number, value)], length-delimited ones as bytes."""
    at, out = 0, []
    while at < len(data):
        key, at = _DecodeVarint(data, at)
        if key & 7 == 0:
            value, at = _DecodeVarint(data, at)
        elif key & 7 == 1:
            value, at = data[at:at + 8], at + 8
        elif key & 7 == 2:
            size, at = _DecodeVarint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size
        elif key & 7 == 5:
            value, at = data[at:at + 4], at + 4
        else:
            raise ValueError(f"wire type {key & 7}")
        out.append((key >> 3, value))
    return out


def new_ids(spans=1):
    return os.urandom(16), [os.urandom(8) for _ in range(spans)]


def make_span(parent_list, trace_id, span_id, parent=b"", name="op", start=None, ms=10, kind=2, **attributes):
    start = time.time_ns() - 5 * 10**9 if start is None else start
    one = parent_list.add(trace_id=trace_id, span_id=span_id, parent_span_id=parent, name=name, kind=kind,
                          start_time_unix_nano=start, end_time_unix_nano=start + ms * 10**6)
    for key, value in attributes.items():
        a = one.attributes.add(key=key.replace("__", "."))
        if isinstance(value, bool):
            a.value.bool_value = value
        elif isinstance(value, int):
            a.value.int_value = value
        elif isinstance(value, float):
            a.value.double_value = value
        elif isinstance(value, bytes):
            a.value.bytes_value = value
        else:
            a.value.string_value = value
    return one


def make_request(service="svc", traces=1, spans=1, **attributes):
    """-> request, [trace ids]; children below the first span of each trace."""
    r = ExportTraceServiceRequest()
    rs = r.resource_spans.add()
    rs.resource.attributes.add(key="service.name").value.string_value = service
    to, ids = rs.scope_spans.add().spans, []
    for _ in range(traces):
        trace_id, span_ids = new_ids(spans)
        ids.append(trace_id.hex())
        for k, span_id in enumerate(span_ids):
            make_span(to, trace_id, span_id, parent=span_ids[0] if k else b"", n=k, **attributes)
    return r, ids


def trace_of_v2(body):
    """TraceByIDResponse -> TracesData, {other fields}."""
    found = dict(fields(body))
    return TracesData.FromString(found.pop(1, b"")), found
