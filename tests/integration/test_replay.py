"""A log much larger than the memory that may be used: replayed within the budget, answering meanwhile, nothing lost.

With the release binaries, whatever the others run with: under sanitizers memory is another thing altogether."""
import json
import os
import threading
import time

import pytest

from otlp import ExportTraceServiceRequest, make_request
from vivace import BIN, ROLES, SLOW, eventually, make

MIB = 1 << 20
SPANS = 1000  # a request


def template():
    """A request of 200 traces of 5 spans, and where its ids stand: changed in place, one request after the other."""
    r, ids = make_request("load", traces=SPANS // 5, spans=5, **{"http.method": "GET", "http.route": "/api/v1/things/{id}", "http.status_code": 200, "user.id": "u" * 20,
                                                                 "db.statement": "SELECT * FROM things WHERE id = 12345 AND name LIKE 'x%'"})
    body = bytearray(r.SerializeToString())
    places = []
    for k, trace_id in enumerate(ids):
        at = -1
        while (at := body.find(bytes.fromhex(trace_id), at + 1)) >= 0:
            places.append((at, k))
    assert len(places) == SPANS
    return body, places


def load(c, total_bytes):
    """-> the trace ids of every request, as many requests as make `total_bytes` of log."""
    body, places = template()
    sent, lock, failed = [], threading.Lock(), []

    def run():
        mine = bytearray(body)
        while True:
            with lock:
                if len(sent) * len(body) >= total_bytes or failed:
                    return
                ids = [os.urandom(16) for _ in range(SPANS // 5)]
                sent.append(ids)
            for at, k in places:
                mine[at:at + 16] = ids[k]
            status, _, answer = c.push_pb(bytes(mine))
            if (status, answer) != (200, b"\x0a\x00"):
                failed.append((status, answer))
    threads = [threading.Thread(target=run) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failed == []
    return sent


def load_large(c, traces):
    """Traces of so many bytes, each span with a text of its own, in requests of 4 MiB at most. -> {trace id: spans}"""
    spans = {}
    for size in traces:
        trace_id, root, left = os.urandom(16), os.urandom(8), size
        while left > 0:
            r = ExportTraceServiceRequest()
            rs = r.resource_spans.add()
            rs.resource.attributes.add(key="service.name").value.string_value = "large"
            to, now, end = rs.scope_spans.add().spans, time.time_ns(), left - min(left, 4 * MIB)
            while left > end:
                first = spans.setdefault(trace_id.hex(), 0) == 0
                s = to.add(trace_id=trace_id, span_id=root if first else os.urandom(8), parent_span_id=b"" if first else root, name="large", start_time_unix_nano=now, end_time_unix_nano=now + 1000)
                s.attributes.add(key="db.statement").value.string_value = os.urandom(900).hex()
                spans[trace_id.hex()] += 1
                left -= 1900
            status, _, answer = c.push_pb(r.SerializeToString())
            assert (status, answer) == (200, b"\x0a\x00"), answer
    return spans


def cpu_seconds(p):
    fields = open(f"/proc/{p.popen.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(p):
    return int(next(line for line in open(f"/proc/{p.popen.pid}/status") if line.startswith("VmHWM")).split()[1]) * 1024


def stored_spans(c):
    """Flushes; how many spans the blocks say they hold."""
    c.flush()
    return sum(int(json.loads(p.read_text())["span_count"]) for p in (c.folder / "blocks").rglob("meta.json"))


FAST = {"overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**12, "burst_size_bytes": 10**12}, "global": {"max_bytes_per_trace": 0}}}}
LATER = {"max_block_duration": "1h", "max_block_bytes": "20GiB", "trace_idle_period": "1h", "trace_live_period": "1h"}


@pytest.fixture(scope="session")
def release():
    return [make(f"bin/{role}", "release") for role in ROLES][0].parent


def replay(cluster, release, limit, wal_bytes, large=()):
    """`large`: bytes of single traces among it."""
    c = cluster(bin=release, config={"ingester": LATER, **FAST},
                flags={"ingester": ["-memory-limit=16GiB"]})
    sent = load(c, (wal_bytes - sum(large)) // 2)
    spans = load_large(c, large)
    sent += load(c, (wal_bytes - sum(large)) // 2 + 4 * MIB)
    want = len(sent) * SPANS + sum(spans.values())
    on_disk = sum(p.stat().st_size for p in (c.folder / "wal-0").glob("*.wal"))
    assert on_disk >= wal_bytes and not list((c.folder / "blocks").rglob("meta.json"))  # all of it waits in the log
    c.ingester.kill()
    c.ingester.flags[-1] = f"-memory-limit={limit}"
    began = time.monotonic()
    c.ingester.start(ready=False)
    served = []
    while True:
        assert c.ingester.popen.poll() is None, c.ingester.log()[-2000:]
        try:
            is_ready = c.ingester.get("/ready")[0] == 200
        except OSError:
            continue  # its HTTP does not listen yet
        if is_ready:
            break
        status, headers, body = c.api("/api/search", q='{ resource.service.name = "load" }', limit=5)
        assert status == 200, body
        if headers["X-Vivace-Partial"] is not None and json.loads(body)["traces"]:
            served.append(time.monotonic() - began)
        assert time.monotonic() - began < 300 * SLOW
    took, cpu = time.monotonic() - began, cpu_seconds(c.ingester)
    print(f"{on_disk / MIB:.0f} MiB of log replayed in {took:.1f} s ({cpu:.1f} s of CPU) with {limit / MIB:.0f} MiB: peak {peak(c.ingester) / MIB:.0f} MiB, {len(served)} answers meanwhile")
    assert cpu < 30  # ready in half a minute, where there is a core for it
    assert served  # traces were found, and the answers said that more may come
    c.settle(c.ingester)
    rest = [i.hex() for ids in sent[:: max(1, len(sent) // 100)] for i in ids[::40]]
    assert [i for i in rest if len(c.trace(i)) != 5] == []
    small = [i for i in spans if spans[i] < 100]
    assert [i for i in small if len(c.trace(i)) != spans[i]] == []
    assert peak(c.ingester) <= limit
    # It goes on as usual: what comes now is stored, and a second start has little left to do.
    r, (late,) = make_request("late", spans=3)
    assert c.push_pb(r.SerializeToString())[0] == 200
    assert stored_spans(c) == want + 3
    assert len(c.trace(late)) == 3
    c.ingester.kill()
    c.ingester.start()
    c.settle(c.ingester)
    assert stored_spans(c) == want + 3
    assert c.ingester.metric("vivace_wal_replayed_frames_total") == 0
    assert peak(c.ingester) <= limit


def test_pushes_while_the_log_is_replayed(cluster, release):
    """A lone ingester, killed with a large log: clients that come before it has read that are answered with OK, and nothing is lost."""
    c = cluster(bin=release, config={"ingester": LATER, **FAST})
    sent = load(c, 300 * MIB)
    c.ingester.kill()
    c.ingester.start(ready=False)
    during, early, is_ready = [], 0, False
    while not is_ready:
        assert c.ingester.popen.poll() is None, c.ingester.log()[-2000:]
        r, ids = make_request("during", spans=3)
        is_acked = c.push_pb(r.SerializeToString())[0] == 200
        try:
            is_ready = c.ingester.get("/ready")[0] == 200
        except OSError:
            pass  # its HTTP does not listen yet
        if is_acked:
            during.append(ids[0])
            early += not is_ready
    assert early > 0
    c.settle(c.ingester)
    assert [i for i in during if len(c.trace(i)) != 3] == []
    assert stored_spans(c) == len(sent) * SPANS + 3 * len(during)


def test_a_frame_that_ends_the_process_is_set_aside(cluster, tmp_path):
    """With a build that dies of marked spans: durable before it died of them, they end one more start, then they are out of the way, and kept."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for role in ROLES:
        (folder / role).symlink_to(make("wrong/mortal/ingester") if role == "ingester" else BIN / role)
    c = cluster(bin=folder, config={"ingester": LATER})
    good = []
    for k in range(20):
        r, ids = make_request("good", traces=3, spans=4)
        assert c.push_pb(r.SerializeToString())[0] == 200
        good += ids
    r, (bad,) = make_request("bad", spans=4, note="mark of death")
    c.push_pb(r.SerializeToString())  # not acknowledged: the ingester dies
    c.ingester.popen.wait(60 * SLOW)
    c.ingester.start(ready=False)
    assert c.ingester.popen.wait(60 * SLOW) != 0  # the first try
    for _ in range(3):
        c.ingester.start()
        c.settle(c.ingester)
        kept = list((c.folder / "wal-0" / "quarantine").glob("frame-*.wal"))
        assert len(kept) == 1 and b"mark of death" in kept[0].read_bytes()
        assert [i for i in good if len(c.trace(i)) != 4] == [] and c.trace(bad) == []
        r, ids = make_request("good", traces=3, spans=4)
        assert c.push_pb(r.SerializeToString())[0] == 200
        good += ids
        c.ingester.kill()
    assert c.ingester.log().count("frame_quarantined") == 1


def test_kills_during_the_replay_set_nothing_aside(cluster):
    """The same frame is under way at kill after kill: it is tried on a copy, which lives."""
    c = cluster(config={"ingester": LATER, **FAST})
    r, ids = make_request("large", traces=1000, spans=20)
    assert c.push_pb(r.SerializeToString())[0] == 200
    c.ingester.kill()
    for _ in range(8):
        c.ingester.start(ready=False)
        eventually(lambda: (c.folder / "wal-0" / "trial").read_bytes()[8:16] != bytes(8), 20, every=0.001)
        c.ingester.kill()
    c.ingester.start()
    c.settle(c.ingester)
    assert not list((c.folder / "wal-0").glob("quarantine/*"))
    assert [i for i in ids[::50] if len(c.trace(i)) != 20] == []


def test_log_larger_than_memory(cluster, release):
    replay(cluster, release, 128 * MIB, 300 * MIB)


def test_log_with_large_traces(cluster, release):
    replay(cluster, release, 256 * MIB, 400 * MIB, [20 * MIB, *[100 << 10] * 50])


@pytest.mark.full
def test_log_of_1_gib_in_256_mib(cluster, release):
    replay(cluster, release, 256 * MIB, 1024 * MIB)


@pytest.mark.full
def test_log_of_2_gib_in_512_mib(cluster, release):
    replay(cluster, release, 512 * MIB, 2048 * MIB, [60 * MIB, *[100 << 10] * 500, 60 * MIB])


def test_memory_stays_in_its_limit_under_load(cluster, release):
    """Ten times the limit comes in: it is cut to blocks earlier, or refused for a time; the process lives on in its limit."""
    limit = 128 * MIB
    c = cluster(bin=release, flags={"ingester": [f"-memory-limit={limit}"]}, config={"ingester": LATER, **FAST})
    body, places = template()
    stored, threads, lock = [], [], threading.Lock()

    def run(count):
        mine = bytearray(body)
        for _ in range(count):
            ids = [os.urandom(16) for _ in range(SPANS // 5)]
            for at, k in places:
                mine[at:at + 16] = ids[k]
            for _ in range(200):
                status, headers, answer = c.push_pb(bytes(mine))
                if status == 200:
                    break
                assert status in (429, 503) and headers["Retry-After"], (status, answer)
                time.sleep(0.1)  # a client's back-off
            assert (status, answer) == (200, b"\x0a\x00")
            with lock:
                stored.append(ids)
    total = 400 * MIB
    for _ in range(3):
        threads.append(threading.Thread(target=run, args=(total // len(body) // 3,)))
        threads[-1].start()
    for t in threads:
        t.join()
    assert len(stored) == total // len(body) // 3 * 3
    assert stored_spans(c) == len(stored) * SPANS
    assert [i for ids in stored[:: max(1, len(stored) // 50)] for i in ids[:2] if len(c.trace(i.hex())) != 5] == []
    assert c.ingester.metric("tempo_ingester_blocks_flushed_total") >= 1
    print(f"peak {peak(c.ingester) / MIB:.0f} MiB")
    assert peak(c.ingester) <= limit
