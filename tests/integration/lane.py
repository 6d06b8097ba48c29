"""Pushes straight into an ingester's lane, as a distributor does (nng's REQ over TCP, our frame, PushRequest), without waiting for heartbeats: a process
that is killed several times a second is under load from its first moment to its last."""
import os
import random
import socket
import struct
import threading
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from format_bytes import crc32c

METHOD_PUSH = 10


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


class Lane:
    """One connection.  OSError: it is gone, and what the last push came to is not known."""

    def __init__(self, port, timeout=20):
        self.socket, self.number = socket.create_connection(("127.0.0.1", port), timeout), random.getrandbits(30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"\0SP\0" + struct.pack(">HH", 48, 0))
        assert self._take(8)[:6] == b"\0SP\0\0\x31"

    def _take(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionResetError("the lane was closed")
            data += more
        return data

    def push(self, otlp, tenant=b"single-tenant", batch=None, part=0):
        """-> 0, or the number of an error (common/base/err.def); the reply."""
        self.number += 1
        now = time.time_ns()
        message = field(1, batch or os.urandom(16)) + field(2, part) + field(3, tenant) + varint(8 << 3 | 1) + struct.pack("<Q", now) + field(9, 20000) + field(11, otlp)
        head = struct.pack("<BBH", ord("V"), 1, METHOD_PUSH)
        frame = struct.pack(">I", self.number | 0x80000000) + head + struct.pack("<I", crc32c(head + message)) + message
        self.socket.sendall(struct.pack(">Q", len(frame)) + frame)
        while True:
            size, = struct.unpack(">Q", self._take(8))
            reply = self._take(size)
            if struct.unpack(">I", reply[:4])[0] & 0x7FFFFFFF == self.number & 0x7FFFFFFF:
                assert reply[4:6] == b"V\1"
                return struct.unpack("<H", reply[6:8])[0], reply[12:]

    def close(self):
        self.socket.close()


class Template:
    """A request of some traces whose ids are changed in place."""

    def __init__(self, traces, spans, text=40):
        r = ExportTraceServiceRequest()
        rs = r.resource_spans.add()
        rs.resource.attributes.add(key="service.name").value.string_value = "ledger"
        to, now = rs.scope_spans.add().spans, time.time_ns()
        self.ids = [os.urandom(16) for _ in range(traces)]
        for trace_id in self.ids:
            root = os.urandom(8)
            for k in range(spans):
                s = to.add(trace_id=trace_id, span_id=os.urandom(8) if k else root, parent_span_id=root if k else b"", name=f"ledger-{k}", kind=2,
                           start_time_unix_nano=now - 5 * 10**9 + k, end_time_unix_nano=now - 4 * 10**9)
                s.attributes.add(key="text").value.string_value = "x" * text
        self.body = bytearray(r.SerializeToString())
        self.places = []
        for k, trace_id in enumerate(self.ids):
            at = -1
            while (at := self.body.find(trace_id, at + 1)) >= 0:
                self.places.append((at, k))
        assert len(self.places) == traces * spans

    def next(self):
        """-> the bytes, the ids in hexadecimal."""
        ids = [os.urandom(16) for _ in self.ids]
        for at, k in self.places:
            self.body[at:at + 16] = ids[k]
        return bytes(self.body), [i.hex() for i in ids]


class Load:
    """Threads that push, and a ledger of what came of it.  Every trace is whole in one push."""

    def __init__(self, port, threads=3, traces=2, spans=3):
        self.port, self.spans, self.acked, self.open = port, spans, [], []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(Template(traces, spans),), daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()

    def _run(self, template):
        lane = None
        while not self.stopping.is_set():
            body, ids = None, []
            try:
                lane = lane or Lane(self.port)
                body, ids = template.next()
                code, reply = lane.push(body)
                (self.acked if code == 0 and reply == b"" else self.open).extend(ids)
                if code != 0:
                    time.sleep(0.01)
            except OSError:
                self.open.extend(ids)
                lane = lane and lane.close()
                time.sleep(0.002)
        if lane:
            lane.close()

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join()
