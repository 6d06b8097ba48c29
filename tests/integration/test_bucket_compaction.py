"""Blocks of two ingesters become one in a bucket, through its faults, with both of them at it: every answer is the right one, or says what it lacks."""
import json
import random
import threading
import time

import pytest

import bucket
from test_compaction import S, WINDOW, trace_id
from vivace import eventually, merge, request, span

CONFIG = {
    "storage": {"trace": {"blocklist_poll": "300ms"}},
    "compactor": {"compaction": {"compaction_window": f"{WINDOW}s", "compaction_cycle": "300ms", "compacted_block_retention": "4s"}},
    "ingester": {"flush_check_period": "200ms"},
}
FAULTS = ("503", "500", "drop", "late", "cut", "short", "old", 0.2)


@pytest.fixture
def store(tmp_path):
    server = bucket.Server(tmp_path / "store").start()
    proxy = bucket.Proxy(server)
    yield proxy
    proxy.stop()
    server.stop()
    assert proxy.bad == []


def ids_of(store, name):
    return {k.split("/")[1] for k in store.server.keys("single-tenant/") if k.endswith(name)}


def write(c, store, rounds, start):
    """A block of each ingester a round; traces lie in one block, but for every third, which lies in two."""
    start += S - start % (WINDOW * S)
    want, open_trace = {}, None
    for n in range(rounds):
        for _ in range(4):
            t = trace_id()
            root = t[:16]
            spans = [span(t, root, name="root", start=start)] + [span(t, f"{n:015x}{k + 1}", parent=root, start=start + S // 100) for k in range(3)]
            assert c.push_json(request(f"s{n}", *spans))[0] == 200
            want[t] = 4
        if open_trace is not None:
            assert c.push_json(request("more", span(open_trace, f"f{n:015x}", parent=open_trace[:16], start=start + S // 50)))[0] == 200
            want[open_trace] += 1
        open_trace = t if n % 3 == 0 else None
        c.flush()
    return want


class Watcher(threading.Thread):
    def __init__(self, c, now, want):
        super().__init__(daemon=True)
        self.c, self.now, self.want, self.over = c, now, want, threading.Event()
        self.wrong, self.whole, self.partial = [], 0, 0

    def look(self):
        status, headers, body = self.c.api("/api/search", q="{}", start=self.now // S - 3600, end=self.now // S + 60, limit=1000)
        assert status == 200, body
        got = {t["traceID"].rjust(32, "0"): t["spanSets"][0]["matched"] for t in json.loads(body)["traces"]}
        if headers["X-Vivace-Partial"] is None:
            self.whole += 1
            return got == self.want, got
        self.partial += 1
        return all(n <= self.want.get(t, 0) for t, n in got.items()), got

    def run(self):
        while not self.over.is_set():
            is_right, got = self.look()
            if not is_right:
                self.wrong.append({t: (got.get(t), n) for t, n in self.want.items() if got.get(t) != n})


def watched(c, store, now, want, seconds=90):
    """Until every input is merged, and removed; -> the watcher, at its end."""
    watcher = Watcher(c, now, want)
    eventually(lambda: watcher.look()[0] and watcher.whole > 0, 60)
    inputs = ids_of(store, "data.vvb")
    watcher.start()
    eventually(lambda: inputs.isdisjoint(ids_of(store, "data.vvb")), seconds, every=0.3)
    eventually(lambda: inputs.isdisjoint(ids_of(store, "meta.json")), 30, every=0.3)
    watcher.over.set()
    watcher.join()
    assert watcher.wrong == [] and watcher.whole > 5, (watcher.wrong[:3], watcher.whole, watcher.partial)
    return inputs


def test_two_ingesters_merge_the_same_blocks(cluster, store):
    """Nobody wrote a block of late, so each of the two takes itself for the owner; uploads are slow, so that they overlap."""
    c = cluster(counts={"generator": 0, "ingester": 2}, config=merge(bucket.config(store), CONFIG))
    now = time.time_ns()
    want = write(c, store, 6, now - 600 * S)
    dice = random.Random(3)
    store.rules.append(lambda method, key, query: dice.random() if method == "PUT" and "~manifests" not in key else None)
    inputs = watched(c, store, now, want)
    assert len(inputs) >= 6
    assert len(ids_of(store, "meta.json")) <= len(inputs) // 2
    assert sum(p.metric("tempodb_compaction_blocks_total", level="0") or 0 for p in c.processes["ingester"]) >= len(inputs)


def test_merging_through_faults(cluster, store):
    """Every fifteenth request meets one; then the retention takes what is left."""
    c = cluster(counts={"generator": 0, "ingester": 2}, config=merge(bucket.config(store), merge(CONFIG, {"storage": {"trace": {"block": {"retention": "2h"}}}})))
    now = time.time_ns()
    want = write(c, store, 5, now - 600 * S)
    gone = now - 3 * 3600 * S  # older than the retention
    assert c.push_json(request("gone", span(trace_id(), "ab" * 8, start=gone)))[0] == 200
    dice, lock = random.Random(11), threading.Lock()

    def rule(method, key, query):
        with lock:
            return dice.choice(FAULTS) if dice.random() < 1 / 15 else None
    watcher = Watcher(c, now, want)
    eventually(lambda: watcher.look()[0] and watcher.whole > 0, 60)
    store.rules.append(rule)
    watched(c, store, now, want, 120)
    assert sum(store.faults.values()) > 10
    store.rules.clear()
    c.flush()
    eventually(lambda: watcher.look() == (True, want), 30)
    eventually(lambda: sum(p.metric("tempodb_retention_deleted_total") for p in c.processes["ingester"]) > 0, 60)
    eventually(lambda: json.loads(c.api("/api/search", q='{ resource.service.name = "gone" }', start=gone // S - 60, end=gone // S + 60)[2])["traces"] == [], 60)
