"""Answers that are lost: a request ends in two places, and is counted once all the same, in every read, for ever."""
import json
import os
import signal
import threading
import time

import pytest

from vivace import eventually, http, request, span

S = 1_000_000_000
WINDOW = 4
SPANS = 3
CONFIG = {
    "distributor": {"request_timeout": "20s", "first_attempt_timeout": "500ms"},
    "storage": {"trace": {"blocklist_poll": "200ms"}},
    "compactor": {"compaction": {"compaction_window": f"{WINDOW}s", "compaction_cycle": "200ms", "compacted_block_retention": "2s"}},
    "ingester": {"flush_check_period": "200ms"},
}


class Traffic:
    """Whole traces, all at one time of the past, each in a request of its own; every one of them is acknowledged in the end."""

    def __init__(self, c):
        self.c, self.acked, self.failed = c, [], []
        self.start = time.time_ns() // (WINDOW * S) * (WINDOW * S) - 600 * S

    def _push(self, count):
        for _ in range(count):
            trace_id, ids = os.urandom(16).hex(), [os.urandom(8).hex() for _ in range(SPANS)]
            spans = [span(trace_id, one, parent=ids[0] if k else "", start=self.start + k * 1000) for k, one in enumerate(ids)]
            (self.acked if self.c.push_json(request("doubt", *spans))[0] == 200 else self.failed).append(trace_id)

    def push(self, count, threads=8):
        all_ = [threading.Thread(target=self._push, args=(count,)) for _ in range(threads)]
        for t in all_:
            t.start()
        for t in all_:
            t.join()
        assert self.failed == []

    def check(self):
        """Each trace once and whole, in a search, in TraceQL metrics, and by its id."""
        window = {"start": self.start // S - 60, "end": self.start // S + 60}
        found = {t["traceID"].rjust(32, "0"): t["spanSets"][0]["matched"] for t in self.c.search("{}", limit=100000, **window)}
        assert found == dict.fromkeys(self.acked, SPANS)
        for q in ("{} | count_over_time()", '{ resource.service.name = "doubt" } | count_over_time()'):
            status, headers, body = self.c.api("/api/metrics/query", q=q, **window)
            assert status == 200 and headers["X-Vivace-Partial"] is None, body
            assert [s["value"] for s in json.loads(body)["series"]] == [SPANS * len(self.acked)]
        assert [i for i in self.acked[::7] if len(self.c.trace(i)) != SPANS] == []


def metas(c):
    """Of the blocks that are listed."""
    folder = c.folder / "blocks" / "single-tenant"
    return [json.loads(p.read_text()) for p in folder.glob("[0-9a-f]*/meta.json")] if folder.exists() else []


def spans_in_blocks(c):
    return sum(int(m["span_count"]) for m in metas(c))


def created(c):
    return sum(p.metric("tempo_ingester_traces_created_total") or 0 for p in c.processes["ingester"])


def freeze_in_traffic(c, traffic):
    """Pushes to the frozen one time out and go on to the other; thawed, it takes what lay in its sockets: two copies."""
    frozen = c.processes["ingester"][0]
    traffic.push(5)
    frozen.popen.send_signal(signal.SIGSTOP)
    try:
        traffic.push(5)
    finally:
        frozen.popen.send_signal(signal.SIGCONT)
    eventually(lambda: created(c) > len(traffic.acked), 20)
    c.settle(frozen)
    traffic.push(2)
    return frozen


def is_settled(c):
    return metas(c) and all(m.get("level", 0) == 1 and int(m["flagged_count"]) == 0 for m in metas(c))


def test_two_copies_are_counted_once_and_become_one(cluster):
    c = cluster(counts={"ingester": 2, "generator": 0}, config=CONFIG)
    traffic = Traffic(c)
    freeze_in_traffic(c, traffic)
    traffic.check()
    for p in c.processes["ingester"]:  # either one's log brings the doubt back
        p.kill()
        p.start()
        c.settle(p)
        traffic.check()
    c.flush()
    eventually(lambda: traffic.check() is None, 20)
    total = SPANS * len(traffic.acked)
    eventually(lambda: spans_in_blocks(c) == total, 60)
    eventually(lambda: traffic.check() is None, 20)


def test_one_that_comes_back_after_the_other_was_settled(cluster):
    c = cluster(counts={"ingester": 2, "generator": 0}, config=CONFIG)
    traffic = Traffic(c)
    away = freeze_in_traffic(c, traffic)
    other = c.processes["ingester"][1]
    away.kill()
    assert http(f"http://127.0.0.1:{other.http_port}/flush", b"", method="POST", timeout=120)[0] == 204
    eventually(lambda: is_settled(c), 90)  # as far as the other can see, its copies are the only ones
    away.start()
    c.settle(away)
    eventually(lambda: traffic.check() is None, 20)
    c.flush()
    eventually(lambda: traffic.check() is None, 20)
    before = {m["id"] for m in metas(c)}
    eventually(lambda: {m["id"] for m in metas(c)} != before, 60)  # what came late was compacted too
    eventually(lambda: traffic.check() is None, 20)


def test_one_that_is_gone_for_ever(cluster):
    """What was acknowledged since is whole without it, and counted once."""
    c = cluster(counts={"ingester": 2, "generator": 0}, config=CONFIG)
    traffic = Traffic(c)
    gone = c.processes["ingester"][0]
    gone.popen.send_signal(signal.SIGSTOP)
    traffic.push(5)
    gone.kill()
    eventually(lambda: c.api("/api/search", q="{}")[1]["X-Vivace-Partial"] == "1")
    window = {"start": traffic.start // S - 60, "end": traffic.start // S + 60}
    want = dict.fromkeys(traffic.acked, SPANS)

    def is_exact():
        found = {t["traceID"].rjust(32, "0"): t["spanSets"][0]["matched"] for t in c.search("{}", limit=100000, **window)}
        value = json.loads(c.api("/api/metrics/query", q="{} | count_over_time()", **window)[2])["series"][0]["value"]
        return found == want and value == SPANS * len(want)
    eventually(is_exact, 20)
    assert http(f"http://127.0.0.1:{c.processes['ingester'][1].http_port}/flush", b"", method="POST", timeout=120)[0] == 204
    eventually(is_exact, 20)
    eventually(lambda: is_settled(c), 90)
    eventually(is_exact, 20)


@pytest.mark.parametrize("fate", ["thawed", "killed"])
def test_generators_count_once(makes, fate):
    """A generator's answers are lost: thawed or started again, it alone knows what it had counted, and it is asked."""
    prometheus = makes.prometheus()
    c = makes.cluster(counts={"generator": 2}, config={
        "metrics_generator": {"metrics_ingestion_time_range_slack": "10m", "registry": {"collection_interval": "300ms"}, "storage": {"path": "unused", "remote_write": [{"url": prometheus.write_url}]}},
        "overrides": {"metrics_generator_processors": ["span-metrics"]}})
    traffic = Traffic(c)
    traffic.start = time.time_ns() - 5 * S  # old spans are not counted
    traffic.push(5)
    frozen, d = c.generator, c.distributor
    frozen.popen.send_signal(signal.SIGSTOP)
    try:
        traffic.push(5)
        eventually(lambda: d.metric("vivace_distributor_generator_doubts") > 0, 30)
        if fate == "killed":
            frozen.kill()
            frozen.start()
    finally:
        if fate == "thawed":
            frozen.popen.send_signal(signal.SIGCONT)
    eventually(lambda: d.metric("vivace_distributor_generator_doubts") == 0, 60)
    assert d.metric("vivace_distributor_generator_doubtful_spans_total", outcome="answered") > 0
    assert d.metric("vivace_distributor_generator_doubtful_spans_total", outcome="given_up") == 0
    traffic.push(2)
    eventually(lambda: prometheus.value("traces_spanmetrics_calls_total") == SPANS * len(traffic.acked), 60, every=0.3)
    time.sleep(1)  # two collections more: it stays so
    assert prometheus.value("traces_spanmetrics_calls_total") == SPANS * len(traffic.acked)
