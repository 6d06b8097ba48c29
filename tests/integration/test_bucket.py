"""The whole cluster over an object store: what is acknowledged is found, through its faults too."""
import os
import random
import threading
import time

import pytest

import bucket
import clouds
from vivace import SLOW, Ledger, eventually, merge, request, span


@pytest.fixture(params=[bucket.Server, clouds.Gcs, clouds.Azure], ids=["s3", "gcs", "azure"])
def store(tmp_path, request, monkeypatch):
    server = request.param(tmp_path / "store").start()
    for name, value in getattr(server, "env", {}).items():
        monkeypatch.setenv(name, value)
    proxy = bucket.Proxy(server)
    yield proxy
    proxy.stop()
    server.stop()
    assert proxy.bad == []


def stored(store, tenant="single-tenant"):
    """Ids of the blocks that are there whole."""
    return {k.split("/")[1] for k in store.server.keys(tenant + "/") if k.endswith("/meta.json")}


def test_blocks_lie_in_the_bucket(cluster, store):
    c = cluster(counts={"generator": 0}, config=bucket.config(store, prefix="some/where", **store.server.with_metadata({"Team": "a b"})))
    traces = [os.urandom(16).hex() for _ in range(20)]
    for t in traces:
        assert c.push_json(request("far", span(t, os.urandom(8).hex(), name="root")))[0] == 200
    c.flush()
    keys = store.server.keys()
    assert sorted(k.rsplit("/", 1)[1] for k in keys) == ["data.vvb", "ingester-0", "meta.json"], keys
    assert all(k.startswith("some/where/") for k in keys)
    metadata = store.server.metadata(next(k for k in keys if k.endswith(".vvb")))
    assert metadata is None or {k.lower(): v for k, v in metadata.items()} == {"team": "a b"}
    assert not (c.folder / "blocks").exists()
    for t in traces:
        assert len(c.trace(t)) == 1
    assert len(c.search('{ resource.service.name = "far" }', limit=100)) == 20
    # A querier that knows nothing: one listing and one manifest, then the block itself.
    mark = len(store.seen)
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)
    assert [s.method for s in store.seen[mark:]] == ["GET", "GET"], store.seen[mark:]
    assert len(c.search('{ resource.service.name = "far" }', limit=100)) == 20
    assert all(s not in p.log() and s not in p.get("/status/config")[2].decode() for p in c.all() for s in store.server.secrets)


def test_retention_deletes_in_the_bucket(cluster, store):
    c = cluster(counts={"generator": 0}, config=merge(bucket.config(store), {"storage": {"trace": {"block": {"retention": "1h"}, "blocklist_poll": "200ms"}}}))
    now, young = time.time_ns(), os.urandom(16).hex()
    assert c.push_json(request("old", span(os.urandom(16).hex(), os.urandom(8).hex(), start=now - 2 * 3600 * 10**9)))[0] == 200
    c.flush()
    assert c.push_json(request("young", span(young, os.urandom(8).hex(), start=now - 60 * 10**9)))[0] == 200
    c.flush()
    c.ingester.stop()  # a start makes the rule look at once
    c.ingester.start()
    c.settle(c.ingester)
    eventually(lambda: len(stored(store)) == 1 == len([k for k in store.server.keys() if k.endswith(".vvb")]), 60)
    eventually(lambda: [t["traceID"].rjust(32, "0") for t in c.search("{}", start=now // 10**9 - 7 * 3600)] == [young])
    assert c.ingester.metric("tempodb_retention_deleted_total") >= 1


FAULTS = ("503", "500", "drop", "late", "cut", "short", "old", 0.2)


def test_faults_lose_nothing(cluster, store):
    """Every fifth request meets one, at random; nothing acknowledged is lost, nothing is there twice or in part."""
    dice, lock = random.Random(7), threading.Lock()

    def rule(method, key, query):
        with lock:
            return dice.choice(FAULTS) if dice.random() < 0.2 else None
    c = cluster(counts={"generator": 0}, config=merge(bucket.config(store), {
        "ingester": {"max_block_duration": "1s", "flush_check_period": "100ms", "trace_idle_period": "200ms", "trace_live_period": "2s"},
        "storage": {"trace": {"blocklist_poll": "1s"}}}))
    store.rules.append(rule)
    ledger = Ledger(c, threads=2, pause=0.02)
    ledger.wait_for(60, 60)
    eventually(lambda: len(stored(store)) >= 3 and sum(store.faults.values()) > 10, 60, every=0.5)
    store.rules.clear()
    ledger.stop()
    c.flush()
    assert ledger.missing() == {}
    assert ledger.torn() == {}
    found = c.search("{}", limit=100000)
    assert len({t["traceID"] for t in found}) == len(found) >= len(ledger.acked)


def test_killed_while_it_uploads(cluster, store):
    """SIGKILL at any step of publishing: before, the log has the spans; after, the block; never both, never neither."""
    c = cluster(counts={"generator": 0}, config=merge(bucket.config(store), {"storage": {"trace": {"blocklist_poll": "500ms"}}}))
    everything = []
    for at in ("data.vvb", "meta.json", "ingester-0"):
        ids = [os.urandom(16).hex() for _ in range(10)]
        for t in ids:
            assert c.push_json(request("kill", span(t, os.urandom(8).hex())))[0] == 200
        everything += ids
        reached = threading.Event()

        def rule(method, key, query, at=at, reached=reached):
            if method == "PUT" and key.endswith(at):
                reached.set()
                return "late" if at != "data.vvb" else "cut"  # done, but the ingester never learns it
            return None
        store.rules.append(rule)
        flush = threading.Thread(target=lambda: _ignore(c.flush), daemon=True)
        flush.start()
        assert reached.wait(60)
        c.ingester.kill()
        store.rules.clear()
        flush.join(60)
        c.ingester.start()
        c.settle(c.ingester)
        assert {t: len(c.trace(t)) for t in everything} == dict.fromkeys(everything, 1)
    c.flush()
    assert {t: len(c.trace(t)) for t in everything} == dict.fromkeys(everything, 1)
    assert len(c.search('{ resource.service.name = "kill" }', limit=1000)) == len(everything)


def is_part(query):
    return "upload_id" in query or query.get("comp") in ("block", "blocklist")


@pytest.mark.parametrize("store", [clouds.Gcs, clouds.Azure], ids=["gcs", "azure"], indirect=True)
def test_large_blocks_go_in_parts(cluster, store):
    """Parts that are refused, cut off, or done without an answer: the block is whole all the same."""
    c = cluster(counts={"generator": 0}, config=bucket.config(store, **store.server.small_parts))
    seen = []

    def rule(method, key, query):
        if not is_part(query) or not key.endswith(".vvb"):
            return None
        seen.append(query)
        return {2: "503", 4: "late", 6: "drop"}.get(len(seen))
    store.rules.append(rule)
    ids = [os.urandom(16).hex() for _ in range(40)]
    for t in ids:
        assert c.push_json(request("parts", *[span(t, os.urandom(8).hex(), noise=os.urandom(900).hex()) for _ in range(40)]))[0] == 200
    c.flush()
    assert len(seen) >= 8 and store.faults == {"503": 1, "late": 1, "drop": 1}, (len(seen), store.faults)
    assert len(stored(store)) == 1
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)
    assert {t: len(c.trace(t)) for t in ids} == dict.fromkeys(ids, 40)


def test_a_slow_read_is_asked_again(cluster, store):
    """The first answer to each range is slow: the second request brings it. Not more of them than the budget allows, and none where nobody asks for it."""
    hedging = {"hedge_requests_at": "50ms", "hedge_requests_up_to": 2}
    c = cluster(counts={"generator": 0}, config=bucket.config(store, **hedging))
    ids = [os.urandom(16).hex() for _ in range(3)]
    for t in ids:
        assert c.push_json(request("slow", span(t, os.urandom(8).hex())))[0] == 200
        c.flush()
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)
    lock, asked = threading.Lock(), {}

    def rule(method, key, query):
        if method != "GET" or not key.endswith("data.vvb"):
            return None
        with lock:
            asked[key] = asked.get(key, 0) + 1
            return 8 if asked[key] == 1 else None
    store.rules.append(rule)
    begun = time.monotonic()
    assert len(c.trace(ids[0])) == 1
    hedged = c.querier.metric("tempodb_backend_hedged_roundtrips_total")
    assert hedged >= 1
    assert time.monotonic() - begun < 8 * SLOW  # none of the slow answers was waited for
    assert max(asked.values()) >= 2
    # The budget: all reads slow, each a new one; far fewer second requests than reads.
    store.rules.clear()
    store.rules.append(lambda method, key, query: 0.2 if method == "GET" and key.endswith("data.vvb") else None)
    for _ in range(60):
        t = os.urandom(16).hex()
        assert c.push_json(request("many", span(t, os.urandom(8).hex())))[0] == 200
    c.flush()
    c.trace(t)
    assert c.querier.metric("tempodb_backend_hedged_roundtrips_total") - hedged <= 20 + (time.monotonic() - begun) + 0.1 * len(store.seen)


def test_a_store_that_refuses_says_so(cluster, store):
    """One line, which names the key to look at."""
    c = cluster(counts={"generator": 0}, config=bucket.config(store))
    store.rules.append(lambda method, key, query: "403")
    c.querier.stop()
    c.querier.start(ready=False)
    eventually(lambda: "store_refused" in c.querier.log(), 60)
    line = next(text for text in c.querier.log().splitlines() if "store_refused" in text)
    assert "storage.trace." in line and "refuses these credentials" in line, line
    store.rules.clear()
    c.settle(c.querier)


def _ignore(call):
    try:
        call()
    except (OSError, AssertionError):
        pass  # the process was killed


def test_a_damaged_manifest_is_made_again(cluster, store):
    c = cluster(counts={"generator": 0}, config=bucket.config(store))
    t = os.urandom(16).hex()
    assert c.push_json(request("m", span(t, os.urandom(8).hex())))[0] == 200
    c.flush()
    key = next(k for k in store.server.keys() if k.startswith("~manifests/"))
    good = store.server.read(key)
    store.server.put(key, good[:-9] + b"\0" * 9)
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)
    assert len(c.trace(t)) == 1  # by the block's folder
    assert c.querier.metric("vivace_manifests_damaged_total") >= 1
    c.ingester.stop()
    c.ingester.start()
    c.settle(c.ingester)
    kept = [k for k in store.server.keys() if k.startswith("~quarantine/manifests/")]
    assert len(kept) == 1 and store.server.read(kept[0]) == good[:-9] + b"\0" * 9
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)
    assert len(c.trace(t)) == 1
    assert c.querier.metric("vivace_manifests_damaged_total") == 0


def test_a_store_that_is_away_is_waited_for(cluster, store):
    c = cluster(counts={"generator": 0}, config=bucket.config(store))
    store.rules.append(lambda method, key, query: "503")
    t = os.urandom(16).hex()
    assert c.push_json(request("away", span(t, os.urandom(8).hex())))[0] == 200  # the log takes it
    _ignore(c.flush)
    assert len(c.trace(t)) == 1
    assert stored(store) == set()
    store.rules.clear()
    eventually(lambda: len(stored(store)) == 1, 90, every=0.5)
    eventually(lambda: len(c.trace(t)) == 1)  # the querier asks again every second


@pytest.mark.parametrize("fault", ["503", "drop"])
@pytest.mark.parametrize("store", [bucket.Server], ids=["s3"], indirect=True)
def test_a_start_does_not_wait_for_the_store(cluster, store, fault):
    """A rolling restart while the bucket is away: the log is replayed, pushes are taken, the querier tells what is live and that it lacks the rest."""
    c = cluster(counts={"generator": 0}, config=bucket.config(store))
    old, young, new = (os.urandom(16).hex() for _ in range(3))
    assert c.push_json(request("old", span(old, os.urandom(8).hex())))[0] == 200
    c.flush()
    assert c.push_json(request("young", span(young, os.urandom(8).hex())))[0] == 200
    store.rules.append(lambda method, key, query: fault)
    for p in (c.ingester, c.querier):
        p.stop()
        p.start(ready=False)
    for p in (c.ingester, c.querier):
        p.wait_ready(60)
    c.settle(c.ingester, c.querier)
    assert c.ingester.metric("vivace_ingester_store_away") == c.querier.metric("vivace_querier_store_away") == 1
    assert "store_away" in c.ingester.log()
    assert c.push_json(request("new", span(new, os.urandom(8).hex())))[0] == 200
    assert [len(c.trace(t)) for t in (young, new)] == [1, 1]
    now = int(time.time())
    status, headers, body = c.api("/api/search", q="{}", start=now - 3600, end=now + 3600)
    assert status == 200 and int(headers["X-Vivace-Partial"]) >= 1
    assert b"young" in body and b"new" in body
    _ignore(c.flush)
    assert len(stored(store)) == 1
    store.rules.clear()
    eventually(lambda: c.ingester.metric("vivace_ingester_store_away") == 0, 60)
    eventually(lambda: c.querier.metric("vivace_querier_store_away") == 0, 60)
    assert "store_back" in c.ingester.log()
    c.flush()
    assert len(stored(store)) >= 2
    status, headers, body = c.api("/api/search", q="{}", start=now - 3600, end=now + 3600)
    assert status == 200 and headers["X-Vivace-Partial"] is None
    assert [len(c.trace(t)) for t in (old, young, new)] == [1, 1, 1]
    assert len(c.search("{}")) == 3


@pytest.mark.parametrize("store", [bucket.Server], ids=["s3"], indirect=True)
def test_a_start_ends_where_the_store_refuses(cluster, store):
    """Bad credentials, no such bucket: nothing to wait for, as in Tempo."""
    c = cluster(counts={"generator": 0}, config=bucket.config(store))
    c.ingester.stop()
    store.rules.append(lambda method, key, query: "403")
    c.ingester.start(ready=False)
    assert c.ingester.popen.wait(60) == 1
    assert "storage.trace: the blocks can not be listed (forbidden)" in c.ingester.log() and "storage.trace.s3" in c.ingester.log()
    store.rules.clear()
    c.ingester.start()
    c.settle(c.ingester)


def rounds(gets):
    """How many times a reader waited: reads that overlap in time are one."""
    n, end = 0, 0.0
    for s in sorted(gets, key=lambda s: s.at):
        if s.at >= end:
            n, end = n + 1, s.done
        end = max(end, s.done)
    return n


def test_a_cold_trace_takes_few_reads(cluster, store):
    c = cluster(counts={"generator": 0}, config=bucket.config(store))
    for i in range(20):
        spans = []
        for _ in range(100):
            t, root = os.urandom(16).hex(), os.urandom(8).hex()
            spans += [span(t, root, name=f"root-{i}", user__id=os.urandom(6).hex())] + [
                span(t, os.urandom(8).hex(), parent=root, name=f"child-{k}", n=k, path=f"/a/{k}/{i}") for k in range(10)]
        assert c.push_json(request(f"cold-{i % 7}", *spans))[0] == 200
    c.flush()
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)
    store.rules.append(lambda method, key, query: 0.05 if method == "GET" else None)  # so that what could be together is seen to be
    mark = len(store.seen)
    assert len(c.trace(t)) == 11
    gets = store.gets(mark)
    assert 0 < len(gets) <= 16, gets
    assert rounds(gets) <= 3, gets
    assert len(c.trace(t)) == 11
    assert len(store.gets(mark)) == len(gets)  # from memory
