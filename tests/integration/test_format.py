"""What the documents of the formats say is what stands on disk: blocks and logs, read by readers that were written from the documents alone (format_*.py).

Golden blocks of every version, and what the real binaries write of requests that hold everything OTLP has: each span comes back as it was sent."""
import base64
import json
import random
import re
import shutil
import struct
import subprocess
import time
from collections import Counter

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

import bucket
import format_check
import format_otlp as otlp
from format_block import Block
from format_bytes import Refused, crc32c, page
from format_small import Checkpoint, Manifest
from format_wal import SPANS, Log
from otlp import fields
from vivace import BIN, ROOT, eventually

GOLDEN = sorted((ROOT / "tests" / "data" / "blocks").glob("*.vvb"))
S = 10**9
RANDOM = random.Random(20261128)


def rows_of(data):
    """TracesData as (resource, its schema URL, scope, its schema URL, span) a span, each message in protobuf's own form."""
    for _, resource_spans in fields(data):
        around = dict(fields(resource_spans))
        for field, scope_spans in fields(resource_spans):
            inner = dict(fields(scope_spans)) if field == 2 else {}
            for number, span in fields(scope_spans) if field == 2 else ():
                if number == 2:
                    yield normal(around.get(1, b""), around.get(3, b""), inner.get(1, b""), inner.get(3, b""), span)


def normal(resource, resource_url, scope, scope_url, span):
    return own_form(Resource, resource), resource_url, own_form(InstrumentationScope, scope), scope_url, own_form(Span, span)


def own_form(kind, data):
    return kind.FromString(data).SerializeToString(deterministic=True)


def read_block(path):
    """All spans of the block, every claim about it checked on the way."""
    block = Block(path.read_bytes())
    format_check.check(block)
    rows = list(block.otlp())
    assert list(rows_of(otlp.traces_data(rows))) == [normal(*row) for row in rows]
    return block, Counter(normal(*row) for row in rows)


def read_meta(folder, name="meta.json"):
    text = (folder / name).read_bytes()
    meta = json.loads(text)
    assert meta["checksum"] == crc32c(text[:text.rindex(b'"checksum"')]) and list(meta)[-1] == "checksum"
    return meta


def check_meta(folder, block, meta):
    same = ("id", "tenant", "writer", "lsn_lo", "lsn_hi", "min_start_ns", "max_end_ns", "span_count", "trace_count", "flagged_count", "created_ns")
    want = {"format": "vvb1", "version": block.version, **{k: str(block.meta[k]) for k in same}, "bytes": str(len(block.data)), "group_count": len(block.groups)}
    assert {k: v for k, v in meta.items() if k != "checksum"} == want and meta["id"] == folder.name and meta["tenant"] == folder.parent.name


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_blocks(path):
    block, found = read_block(path)
    assert f"v{block.version}-" in path.name
    assert found == Counter(set(rows_of(path.with_suffix(".otlp").read_bytes())))  # spans that are equal are there once


def test_damage_is_refused():
    """No byte of a file can change and its readers not see it."""
    data = GOLDEN[-1].read_bytes()
    for at in range(0, len(data), 61):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(Refused):
            block = Block(bytes(damaged))
            for offset, size in block.refs():
                page(block.data, offset, size, None, block.version)
    for size in (0, 16, 47, len(data) - 1):
        with pytest.raises(Refused):
            Block(data[:size])


# Requests that hold everything.

NUMBERS = [0, 1, -1, 42, 255, 2**31, 2**53 + 1, 2**63 - 1, -2**63]
FLOATS = [0.0, -0.0, 0.5, 0.1, 1e300, -5e-324, 1234.56, float("inf")]
TEXTS = ["", "a", "GET", "ä€\U0001f600", "with \0 zero", "\x01\x02\x03\x04", "007", "x" * 300]


def put_value(value, depth=0):
    value.SetInParent()  # without a value is the same as with an empty one
    kind = RANDOM.choice(["string", "int", "double", "bool", "bytes", "array", "map", "none"][:8 if depth < 3 else 5])
    if kind == "string":
        value.string_value = RANDOM.choice(TEXTS)
    elif kind == "int":
        value.int_value = RANDOM.choice(NUMBERS)
    elif kind == "double":
        value.double_value = RANDOM.choice(FLOATS)
    elif kind == "bool":
        value.bool_value = RANDOM.random() < 0.5
    elif kind == "bytes":
        value.bytes_value = RANDOM.randbytes(RANDOM.randrange(20))
    elif kind == "array":
        value.array_value.SetInParent()
        for _ in range(RANDOM.randrange(3)):
            put_value(value.array_value.values.add(), depth + 1)
    elif kind == "map":
        value.kvlist_value.SetInParent()
        for _ in range(RANDOM.randrange(3)):
            put_value(value.kvlist_value.values.add(key=RANDOM.choice(["k", "", "ä"])).value, depth + 1)


def put_attributes(to, most=6):
    for _ in range(RANDOM.randrange(most)):
        one = to.attributes.add(key=RANDOM.choice(["a", "b", "http.status_code", "", "kéy"]))
        put_value(one.value)
    to.dropped_attributes_count = RANDOM.choice([0, 0, 3, 2**32 - 1])


def odd_span(spans, trace_id, known, now):
    start = RANDOM.choice([now + RANDOM.randrange(S), now - RANDOM.randrange(S), RANDOM.randrange(9), 2**64 - 1 - RANDOM.randrange(9)])
    one = spans.add(trace_id=trace_id, span_id=RANDOM.choice([*known, RANDOM.randbytes(8)]), name=RANDOM.choice(TEXTS), kind=RANDOM.choice([0, 1, 2, 5, 77]),
                    start_time_unix_nano=start, end_time_unix_nano=RANDOM.choice([0, start, start + RANDOM.randrange(S) & 2**64 - 1]))
    one.parent_span_id = RANDOM.choice([b"", one.span_id, RANDOM.randbytes(8), *known])
    one.trace_state, one.flags = RANDOM.choice(["", "", "vendor=1"]), RANDOM.choice([0, 0, 257, 2**32 - 1])
    one.dropped_events_count, one.dropped_links_count = RANDOM.choice([0, 0, 7]), RANDOM.choice([0, 0, 2**32 - 1])
    if RANDOM.random() < 0.5:
        one.status.SetInParent()
        one.status.code, one.status.message = RANDOM.choice([0, 1, 2]), RANDOM.choice(TEXTS)
    put_attributes(one)
    for _ in range(RANDOM.randrange(3)):
        event = one.events.add(time_unix_nano=RANDOM.choice([start, now, 0, 2**64 - 1]), name=RANDOM.choice(TEXTS))
        put_attributes(event, 3)
    for _ in range(RANDOM.randrange(3)):
        link = one.links.add(trace_id=RANDOM.choice([b"", RANDOM.randbytes(16)]), span_id=RANDOM.choice([b"", RANDOM.randbytes(8)]),
                             trace_state=RANDOM.choice(["", "s=2"]), flags=RANDOM.choice([0, 1]))
        put_attributes(link, 3)
    known.append(one.span_id)
    return one


def odd_request(now, traces=60):
    """Everything that may stand in a request, in strange combinations; ids, parents and circles too."""
    made = ExportTraceServiceRequest()
    trace_ids = [(RANDOM.randbytes(16), []) for _ in range(traces)]
    for r in range(12):
        around = made.resource_spans.add(schema_url=RANDOM.choice(["", "https://example.com/r"]))
        put_attributes(around.resource)
        if r % 3 == 0:
            around.resource.attributes.add(key="service.name").value.string_value = f"svc-{r}"
        for _ in range(2):
            inner = around.scope_spans.add(schema_url=RANDOM.choice(["", "https://example.com/s"]))
            inner.scope.name, inner.scope.version = RANDOM.choice(TEXTS), RANDOM.choice(["", "1.0"])
            put_attributes(inner.scope, 3)
            for _ in range(12):
                trace_id, known = RANDOM.choice(trace_ids)
                odd_span(inner.spans, trace_id, known, now)
    return made.SerializeToString()


def uuid():
    raw = RANDOM.randbytes(16).hex()
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def piece():
    """What may be a number or an id, or is nearly one."""
    return RANDOM.choice([
        lambda: str(RANDOM.randrange(10)), lambda: f"{RANDOM.randrange(10**6):09}", lambda: "".join(RANDOM.choices("123456789", k=RANDOM.randrange(17, 40))),
        lambda: RANDOM.randbytes(RANDOM.randrange(3, 12)).hex(), lambda: RANDOM.randbytes(130).hex()[:RANDOM.randrange(250, 260)], lambda: "abcdefabcdef", uuid,
        lambda: uuid() + RANDOM.choice("-a0x"), lambda: uuid().upper(), lambda: RANDOM.choice("xyz-/ ä"), lambda: "0" * RANDOM.randrange(1, 4), lambda: "1.2." * 20, lambda: "\1"])


PATTERNS = [[piece() for _ in range(RANDOM.randrange(1, 6))] for _ in range(30)]


def plain_request(now, first, traces, spans=4):
    """Many spans: more than a group, a chunk, a vector holds; columns of many texts and of few."""
    made = ExportTraceServiceRequest()
    scopes = []
    for service in ("cart", "shop"):
        around = made.resource_spans.add(schema_url="https://example.com/r")
        around.resource.attributes.add(key="service.name").value.string_value = service
        scopes.append(around.scope_spans.add())
    for t in range(first, first + traces):
        trace_id, parent = RANDOM.randbytes(16), b""
        for k in range(spans):
            span_id, start = RANDOM.randbytes(8), now + t * 10**5 + k * 1000
            one = scopes[k % 2].spans.add(trace_id=trace_id, span_id=span_id, parent_span_id=parent, name=f"op-{k}", kind=k, start_time_unix_nano=start,
                                          end_time_unix_nano=start + RANDOM.randrange(10**6))
            parent = parent or span_id
            one.attributes.add(key="n").value.int_value = t - 1000 if t % 97 else -2**62
            if k > 1:
                continue
            for key, text in (("url", f"/cart/{RANDOM.randrange(10**6)}/item?id={RANDOM.randbytes(8).hex()}"), ("pattern", "".join(p() for p in PATTERNS[t % len(PATTERNS)])),
                              ("plain", "".join(RANDOM.choices("ghijklmnopqrstuvwxyz", k=12))), ("user", f"{(t * 7 + k) % 2001:040}"), ("same", "same"), ("uuid", uuid())):
                one.attributes.add(key=key).value.string_value = text
            one.attributes.add(key="price").value.double_value = RANDOM.randrange(10**6) / 100
            one.attributes.add(key="ratio").value.double_value = RANDOM.random()
            one.attributes.add(key="ok").value.bool_value = k % 3 == 0
            if k == 0:
                one.events.add(time_unix_nano=start + 5, name=f"event-{t % 3}").attributes.add(key="message").value.string_value = f"took {RANDOM.randrange(10**4)} ms"
    return made.SerializeToString()


@pytest.fixture(scope="module")
def written(module_makes):
    """What was sent, by tenant, as rows; the log that took it; the folder of the blocks that were made of it; the ingester's id."""
    c = module_makes.cluster(counts={"generator": 0}, config={"multitenancy_enabled": True})
    now = time.time_ns() // S * S - 60 * S
    sent = {"odd": [odd_request(now) for _ in range(3)], "many": [plain_request(now, first, 600) for first in range(0, 4200, 600)]}
    for tenant, requests in sent.items():
        for body in requests:
            status, _, answer = c.push_pb(body, **{"X-Scope-OrgID": tenant})
            assert status == 200 and ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 0
    log = module_makes.folder / "log"
    log.mkdir()
    for path in (c.folder / "wal-0").glob("*.wal"):
        shutil.copy(path, log)
    c.flush()
    return {tenant: [row for body in requests for row in rows_of(body)] for tenant, requests in sent.items()}, log, c.folder / "blocks", f"ingester-{c.ingester.index}"


def tool(*words):
    done = subprocess.run([BIN / "vivace-store", *map(str, words)], capture_output=True, timeout=300)
    assert done.returncode == 0, (words, done.stderr[-2000:])
    return done.stdout


def json_rows(lines):
    """Lines of OTLP/JSON, whose ids are hex, as rows."""
    def ids_in_base64(one):
        for key, value in one.items() if isinstance(one, dict) else ():
            if key in ("traceId", "spanId", "parentSpanId"):
                one[key] = base64.b64encode(bytes.fromhex(value)).decode()
        for inner in one.values() if isinstance(one, dict) else one if isinstance(one, list) else ():
            ids_in_base64(inner)
        return one

    def number(text):
        return -0.0 if text == "-0" else int(text)
    for line in lines.splitlines():
        yield from rows_of(json_format.ParseDict(ids_in_base64(json.loads(line, parse_int=number)), TracesData()).SerializeToString())


def test_log(written):
    """Frames of the log, as the document says, are what was sent."""
    sent, folder, _, instance = written
    log = Log(folder)
    assert log.damages == [] and log.torn is None and log.instances == {instance}
    assert [f.lsn for f in log.frames] == list(range(log.frames[0].lsn, log.frames[0].lsn + len(log.frames)))
    assert {(f.kind, f.flags, f.first_target) for f in log.frames} == {(SPANS, 0, "")} and len({(f.batch, f.part) for f in log.frames}) == len(log.frames)
    for tenant, rows in sent.items():
        frames = [f for f in log.frames if f.tenant == tenant]
        assert Counter(row for f in frames for row in rows_of(f.payload)) == Counter(rows)
        assert all(abs(time.time_ns() - f.time) < 3600 * S for f in frames)
    told = [json.loads(line) for line in tool("wal", "inspect", folder, "--json").splitlines()]
    assert [(t["file"], t["offset"], t["lsn"], t["tenant"]) for t in told] == [(f.file, f.offset, f.lsn, f.tenant) for f in log.frames]


def inspected(folder):
    """-> frames as (file, offset, lsn), damages as (file, offset, bytes), as vivace-store tells them."""
    done = subprocess.run([BIN / "vivace-store", "wal", "inspect", folder, "--json"], capture_output=True, text=True, timeout=300)
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    damages = re.findall(r"damage: (\S+): (\d+) bytes at (\d+)", done.stderr)
    assert done.returncode == (1 if damages else 0), done.stderr
    return [(f["file"], f["offset"], f["lsn"]) for f in frames], sorted((name, int(at), int(size)) for name, size, at in damages)


def log_header(first_lsn, version=1, tag=7):
    head = b"VWAL1\r\n\0" + struct.pack("<IIQ64s4x", version, tag, first_lsn, b"somebody")
    return head + struct.pack("<I", crc32c(head))


def log_frame(lsn, tag=7):
    body = struct.pack("<QQ16sIBBBB", lsn, 1, bytes(16), 0, SPANS, 0, 1, 0) + b"t" + bytes(50)
    return b"VFRM" + struct.pack("<III", len(body), crc32c(struct.pack("<II", len(body), tag) + body), tag) + body


def flipped(at, data):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def test_damaged_logs(tmp_path):
    """The document's table of what is found in a log: by this reader and by ours alike."""
    size, data = len(log_frame(1)), log_header(11) + b"".join(log_frame(lsn) for lsn in (11, 12, 13))
    first, second = 96, 96 + size
    everything, name, follower = [11, 12, 13], f"{11:016x}.wal", f"{14:016x}.wal"
    cases = [  # what the folder holds, the numbers of the frames that are found, is anything damaged, the bytes of a torn tail
        ("sound", {name: data, follower: log_header(14) + log_frame(14)}, [*everything, 14], False, 0),
        ("torn", {name: data[:-1]}, [11, 12], False, size - 1),
        ("torn in the header", {name: data, follower: log_header(14)[:50]}, everything, False, 50),
        ("nothing after the header", {name: data, follower: log_header(14)}, everything, False, 0),
        ("a frame", {name: flipped(second + 99, data)}, [11, 13], True, 0),
        ("a length", {name: flipped(second + 6, data)}, [11, 13], True, 0),
        ("two frames", {name: flipped(first + 20, flipped(second + 20, data))}, [13], True, 0),
        ("the header", {name: flipped(14, data)}, everything, True, 0),
        ("header and frame", {name: flipped(14, flipped(first + 20, data))}, [12, 13], True, 0),
        ("not the last file", {name: data + b"rest", follower: log_header(14) + log_frame(14)}, [*everything, 14], True, 0),
        ("a copy", {name: data, f"{12:016x}.wal": data}, everything, True, 0),
        ("a frame of another file", {name: data, follower: log_header(14) + log_frame(14) + log_frame(15, tag=8) + log_frame(16)}, [*everything, 14, 16], True, 0),
        ("does not go up", {name: data, follower: log_header(14) + log_frame(14) + log_frame(14) + log_frame(15)}, [*everything, 14, 15], True, 0),
        ("no number", {name: data, follower: log_header(14) + log_frame(0) + log_frame(14)}, [*everything, 14], True, 0),
    ]
    for what, files, numbers, is_damaged, torn in cases:
        folder = tmp_path / what
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        log = Log(folder)
        found = [(f.file, f.offset, f.lsn) for f in log.frames]
        assert (found, sorted(log.damages)) == inspected(folder), what
        assert ([lsn for _, _, lsn in found], log.damages != [], log.torn[1] if log.torn else 0) == (numbers, is_damaged, torn), what
    later = tmp_path / "later"
    later.mkdir()
    (later / name).write_bytes(log_header(11, version=2))
    with pytest.raises(Refused):
        Log(later)
    assert subprocess.run([BIN / "vivace-store", "wal", "inspect", later], capture_output=True).returncode == 1


@pytest.mark.parametrize("tenant", ["odd", "many"])
def test_block(written, tenant):
    """A block of the real ingester, as the document says, is what was sent, and what vivace-store says it is."""
    sent, _, blocks, _ = written
    folder, = [p for p in (blocks / tenant).iterdir() if (p / "meta.json").exists()]
    block, found = read_block(folder / "data.vvb")
    assert found == Counter(set(sent[tenant]))
    check_meta(folder, block, read_meta(folder))
    if tenant == "many":  # nothing of the format is left out
        assert len(block.groups) > 1 and len(block.locator) > 1 and any(len(chunks) > 1 for chunks in block.dictionaries)
        columns = {c.key: c for c in block.columns[0]}
        kinds = {key: block.data[columns[key].pages[0][0] + 16] for key in (b"uuid", b"url", b"pattern", b"plain", b"user", b"price", b"ratio", b"ok", b"n")}
        assert sorted(set(kinds.values())) == [64, 65, 66, 67, 68, 75] and all(pages for _, pages in columns[b"url"].filters)
    dumped = {f: tool("--path", blocks, "dump", folder.name, "--format", f) for f in ("protobuf", "json")}
    assert Counter(rows_of(dumped["protobuf"])) == found
    assert Counter(json_rows(dumped["json"])) == found


def test_bytes_that_are_no_utf8_and_fields_of_later_versions(cluster):
    """What the message classes of today can not hold comes back all the same, byte by byte."""
    def later(field):
        return otlp.number(field, 7) + otlp.message(field + 1, b"\xfe later")

    def attribute(value):
        return otlp.message(1, b"\xffkey") + otlp.message(2, value)
    trace_id, span_id = RANDOM.randbytes(16), RANDOM.randbytes(8)
    resource = otlp.message(1, attribute(otlp.message(1, b"\x80text"))) + later(20)
    scope = otlp.message(1, b"\xc3") + otlp.message(3, attribute(otlp.message(5, otlp.message(1, otlp.message(1, b"\xff"))))) + later(20)
    event = otlp.fixed64(1, 9) + otlp.message(2, b"\xc0event") + otlp.message(3, attribute(later(20))) + later(20)
    link = otlp.message(1, trace_id) + otlp.message(2, span_id) + otlp.message(3, b"\xff") + later(20)
    status = otlp.message(15, otlp.message(2, b"\xffstatus") + otlp.number(3, 300))
    span = (otlp.message(1, trace_id) + otlp.message(2, span_id) + otlp.message(5, b"\xe2\x82name") + otlp.fixed64(7, 5) + otlp.fixed64(8, 6)
            + otlp.message(11, event) + otlp.message(13, link) + otlp.number(6, 2**40) + status + later(1000))
    c = cluster(counts={"generator": 0})
    status, _, answer = c.push_pb(otlp.traces_data([(resource, b"\xfeurl", scope, b"", span)]))
    assert status == 200 and answer in (b"", b"\n\0")
    c.flush()
    path, = (c.folder / "blocks" / "single-tenant").glob("*/data.vvb")
    block = Block(path.read_bytes())
    format_check.check(block)
    assert list(block.otlp()) == [(resource, b"\xfeurl", scope, b"", span)]
    dumped = dict(fields(tool("--path", c.folder / "blocks", "dump", path.parent.name, "--format", "protobuf")))[1]
    assert sorted(fields(dict(fields(dict(fields(dumped))[2]))[2])) == sorted(fields(span))


def test_a_block_made_out_of_others(cluster):
    """Traces in pieces are one again; meta.json says what the block was made of."""
    window = 4
    c = cluster(counts={"generator": 0}, config={"compactor": {"compaction": {"compaction_window": f"{window}s", "compaction_cycle": "200ms",
                                                                              "compacted_block_retention": "1h"}}})
    now = (time.time_ns() // (window * S) - 9) * window * S + S
    whole, spans = ExportTraceServiceRequest.FromString(plain_request(now, 0, 40)), Counter()
    for half in range(2):  # each trace in both blocks
        part = ExportTraceServiceRequest()
        part.CopyFrom(whole)
        for around in part.resource_spans:
            for inner in around.scope_spans:
                kept = [one for k, one in enumerate(inner.spans) if k % 2 == half]
                del inner.spans[:]
                inner.spans.extend(kept)
        assert c.push_pb(part.SerializeToString())[0] == 200
        spans.update(rows_of(part.SerializeToString()))
        c.flush()
    folder = c.folder / "blocks" / "single-tenant"

    def merged():
        return [p.parent for p in folder.glob("[!.]*/meta.json") if "compacted_from" in json.loads(p.read_bytes())]
    new, = eventually(merged, 60)
    olds = eventually(lambda: len(list(folder.glob("[!.]*/meta.compacted.json"))) == 2 and [read_meta(p.parent, p.name) for p in folder.glob("[!.]*/meta.compacted.json")])
    block, found = read_block(new / "data.vvb")
    assert found == spans and block.meta["trace_count"] == 40
    meta = read_meta(new)
    check_meta(new, block, {k: v for k, v in meta.items() if k not in ("level", "compacted_ns", "compacted_from", "holds")})
    assert meta["level"] == 1 and sorted(meta["compacted_from"]) == sorted(m["id"] for m in olds) and int(meta["compacted_ns"]) > max(int(m["created_ns"]) for m in olds)
    assert (meta["writer"], meta["lsn_lo"], meta["lsn_hi"], meta["created_ns"]) == ("", "0", "0", max(m["created_ns"] for m in olds))
    assert {m["writer"] for m in olds} == {h["writer"] for h in meta["holds"]}
    assert (min(int(h["lsn_lo"]) for h in meta["holds"]), max(int(h["lsn_hi"]) for h in meta["holds"])) == (min(int(m["lsn_lo"]) for m in olds), max(int(m["lsn_hi"]) for m in olds))


def test_manifest(cluster, tmp_path):
    """What a bucket says of its blocks: the same as the objects themselves; what was taken away is named."""
    server = bucket.Server(tmp_path / "s3").start()
    proxy = bucket.Proxy(server)
    try:
        c = cluster(counts={"generator": 0}, config=bucket.config(proxy))
        for k in range(2):
            assert c.push_pb(plain_request(time.time_ns(), k, 3))[0] == 200
            c.flush()
        key, = server.keys("~manifests/")
        manifest = Manifest(server.read(key))
        assert key == f"~manifests/single-tenant/{manifest.writer}" and (manifest.tenant, manifest.writer) == ("single-tenant", f"ingester-{c.ingester.index}")
        assert [e[0] for e in manifest.entries] == sorted({k.split("/")[1] for k in server.keys("single-tenant/")}) and len(manifest.entries) == 2 and manifest.gone == []
        for block_id, tail, meta in manifest.entries:
            data = server.read(f"single-tenant/{block_id}/data.vvb")
            block = Block(data)
            assert meta == server.read(f"single-tenant/{block_id}/meta.json") and len(data) - tail == block.footer[0]
            assert sum(1 for _ in block.otlp()) == 12
        taken = manifest.entries[0][0]
        victim = bytearray(server.read(f"single-tenant/{taken}/data.vvb"))
        victim[-40] ^= 1
        server.put(f"single-tenant/{taken}/data.vvb", bytes(victim))
        subprocess.run([BIN / "vivace-store", f"-config.file={c.config_path}", "verify", taken, "--quarantine"], capture_output=True, timeout=300)
        gone = [g for key in server.keys("~manifests/") for g in Manifest(server.read(key)).gone]
        assert [(block_id, why) for block_id, why, _, _ in gone] == [(taken, 3)] and abs(time.time_ns() - gone[0][3]) < 3600 * S
        with pytest.raises(Refused):
            Manifest(flipped(20, server.read(key)))
    finally:
        proxy.stop()
        server.stop()


def test_checkpoint(cluster):
    """The generator's state: every span counted once, an edge that was met, and one that waits."""
    c = cluster(config={"metrics_generator": {"storage": {"path": "unused"}, "metrics_ingestion_time_range_slack": "1h"},
                        "overrides": {"metrics_generator_processors": ["span-metrics", "service-graphs"]}})
    request, ids = ExportTraceServiceRequest(), [RANDOM.randbytes(8) for _ in range(3)]
    trace_id, now = RANDOM.randbytes(16), time.time_ns() - S
    for service, kind, span_id, parent in (("front", 3, ids[0], b""), ("back", 2, ids[1], ids[0]), ("alone", 3, ids[2], b"")):
        around = request.resource_spans.add()
        around.resource.attributes.add(key="service.name").value.string_value = service
        around.scope_spans.add().spans.add(trace_id=trace_id, span_id=span_id, parent_span_id=parent, name="op", kind=kind, start_time_unix_nano=now,
                                           end_time_unix_nano=now + S // 2)
    assert c.push_pb(request.SerializeToString())[0] == 200
    folder = c.folder / f"generator-{c.generator.index}"
    eventually(lambda: Log(folder / "wal").frames)
    c.generator.stop()
    checkpoint = Checkpoint((folder / "checkpoint").read_bytes())
    spans, graph, edges = checkpoint.tenants["single-tenant"]
    assert len(checkpoint.batches) == 1 and checkpoint.lsn == 1
    assert sorted((labels["service"], labels["span_name"], counters[0], latency[0][0], sum(latency[0][1])) for labels, counters, latency in spans) == \
        [(service, "op", 1, 0.5, 1) for service in ("alone", "back", "front")]
    (labels, counters, histograms), = graph
    assert (labels["client"], labels["server"], counters, [h[0] for h in histograms]) == ("front", "back", (1, 0), [0.5, 0.5])
    waiting, = edges
    assert (waiting["trace"], waiting["span"], waiting["texts"][0], waiting["client"], waiting["failed"]) == (trace_id, ids[2], "alone", 0.5, 0)
    with pytest.raises(Refused):
        Checkpoint(flipped(30, (folder / "checkpoint").read_bytes()))
