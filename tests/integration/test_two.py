"""Two of everything: placement, any querier for all, one ingester gone and back, traces in parts."""
import json
import os
import signal
import threading
import time

import pytest

from vivace import SLOW, Ledger, eventually, request, span

TWO = dict.fromkeys(("distributor", "ingester", "querier", "generator"), 2)
QUICK = {"distributor": {"request_timeout": "8s", "first_attempt_timeout": "500ms"}}


def ids(n):
    return [os.urandom(16).hex() for _ in range(n)]


def created(p):
    return p.metric("tempo_ingester_traces_created_total") or 0


def partial(c, path, index=0, **params):
    status, headers, body = c.api(path, index, **params)
    assert status == 200, (status, body)
    return headers["X-Vivace-Partial"]


def test_placement_is_the_same_for_all(cluster):
    c = cluster(counts=TWO)
    traces = ids(100)
    roots = {i: os.urandom(8).hex() for i in traces}
    for k, trace_id in enumerate(traces):
        assert c.push_json(request("two", span(trace_id, roots[trace_id], name="root")), index=k % 2)[0] == 200
    for k, trace_id in enumerate(traces):  # the second span through the other distributor: to the same ingester
        assert c.push_json(request("two", span(trace_id, os.urandom(8).hex(), parent=roots[trace_id])), index=(k + 1) % 2)[0] == 200
    each = [created(p) for p in c.processes["ingester"]]
    assert sum(each) == 100
    assert min(each) >= 25  # about half each: fewer than 25 of 100 comes once in ten million times
    for index in (0, 1):
        for trace_id in traces:
            assert len(c.trace(trace_id, index)) == 2
        found = c.search('{ resource.service.name = "two" }', index, limit=200)
        assert {t["traceID"].rjust(32, "0") for t in found} == set(traces)
        assert partial(c, "/api/search", index, q="{}") is None
    c.flush()
    for index in (0, 1):
        assert len(c.search('{ name = "root" } && { name = "op" }', index, limit=200)) == 100


def test_one_ingester_gone_and_back(cluster):
    c = cluster(counts=TWO, config=QUICK)
    gone, other = c.processes["ingester"]
    ledger = Ledger(c, threads=4)
    ledger.wait_for(60)
    gone.kill()
    before = len(ledger.acked)
    ledger.wait_for(60)  # writes go on: to the other one
    for index in (0, 1):
        eventually(lambda: partial(c, "/api/search", index, q="{}") == "1")
        status, _, body = c.api(f"/api/v2/traces/{ledger.acked[-1]}", index)
        assert status == 200 and json.loads(body)["status"] == "PARTIAL" and "message" in json.loads(body)
        assert partial(c, f"/api/traces/{ledger.acked[-1]}", index) == "1"
        assert partial(c, "/api/search/tags", index) == "1"
    during = ledger.acked[before:][-30:]
    assert ledger.missing(during) == {}  # what was acknowledged meanwhile is whole without it
    assert created(other) > 0
    gone.start()
    c.settle(gone)
    ledger.wait_for(30)
    ledger.stop()
    for index in (0, 1):
        assert ledger.missing(index=index) == {}
        assert partial(c, "/api/search", index, q="{}") is None
    assert ledger.torn() == {}


def test_each_killed_in_turn_under_load(cluster):
    c = cluster(counts=TWO, config=QUICK)
    ledger = Ledger(c, threads=4)
    for p in [*c.processes["ingester"], *c.processes["distributor"], *c.processes["querier"], *c.processes["generator"]]:
        ledger.wait_for(20)
        p.kill()
        ledger.wait_for(20)
        p.start(ready=False)
        c.settle(p)
    ledger.stop()
    for index in (0, 1):
        assert ledger.missing(index=index) == {}
    assert ledger.torn() == {}
    c.flush()
    assert ledger.missing() == {}


def test_trace_in_two_ingesters_is_judged_whole(cluster):
    """The root's ingester is down while the children come; later each has a part, and search judges the trace, not the parts."""
    c = cluster(counts=TWO, config=QUICK)
    (trace_id,), root = ids(1), os.urandom(8).hex()
    start = time.time_ns() - 20 * 10**9
    assert c.push_json(request("front", span(trace_id, root, name="root", start=start, ms=100)))[0] == 200
    owner = next(p for p in c.processes["ingester"] if created(p) == 1)
    other = next(p for p in c.processes["ingester"] if p is not owner)
    owner.kill()
    late = span(trace_id, os.urandom(8).hex(), parent=root, name="late", start=start + 10**9, ms=4000, n=7)
    eventually(lambda: c.push_json(request("back", late), index=1)[0] == 200)
    assert created(other) == 1
    owner.start()
    c.settle(owner)
    for stored in (False, True):
        if stored:
            c.flush()
        for index in (0, 1):
            assert {s["name"] for s in c.trace(trace_id, index)} == {"root", "late"}
            for q, matched in [('{ name = "root" } && { name = "late" }', 2), ('{ name = "late" }', 1), ('{ name = "root" && span:childCount = 1 }', 1),
                               ('{ resource.service.name = "front" } && { resource.service.name = "back" }', 2), ('{ rootName = "root" && .n = 7 }', 1),
                               ('{ rootServiceName = "front" }', 2), ('{ traceDuration >= 5s }', 2), ('{ name = "late" } | count() = 1', 1)]:
                if "childCount" in q and c.api("/api/search", index, q=q)[0] == 501:
                    continue
                (found,) = c.search(q, index)
                assert found["traceID"].rjust(32, "0") == trace_id, q
                assert (found["rootServiceName"], found["rootTraceName"]) == ("front", "root"), q
                assert (found["startTimeUnixNano"], found["durationMs"]) == (str(start), 5000), q
                assert sum(s["matched"] for s in found["spanSets"]) == matched, q
            assert c.search('{ traceDuration < 5s }', index) == []
            assert c.search('{ name = "late" && rootName = "late" }', index) == []
            assert partial(c, "/api/search", index, q="{}") is None


def test_a_frozen_ingester_leaves_no_double(cluster):
    """SIGSTOP while pushes are under way: they end at the other one, in doubt; SIGCONT: both may have them, and nobody sees it."""
    c = cluster(counts=TWO, config=QUICK)
    frozen = c.processes["ingester"][0]
    ledger = Ledger(c, threads=6)
    for _ in range(2):
        ledger.wait_for(40)
        frozen.popen.send_signal(signal.SIGSTOP)
        try:
            ledger.wait_for(60)
        finally:
            frozen.popen.send_signal(signal.SIGCONT)
        c.settle(frozen)
    ledger.wait_for(30)
    ledger.stop()
    for index in (0, 1):
        assert ledger.missing(index=index) == {}
    assert ledger.torn() == {}
    whole = {t["traceID"].rjust(32, "0") for t in c.search("{}", limit=100000)}
    assert set(ledger.acked) <= whole
    eventually(lambda: all(t["spanSets"][0]["matched"] == 5 for t in c.search("{}", limit=100000)))
    c.flush()
    assert all(t["spanSets"][0]["matched"] == 5 for t in c.search("{}", limit=100000))


def test_the_same_request_twice_counts_once(cluster):
    """A client that repeats itself, through either distributor: spans equal in trace, id and content are one."""
    c = cluster(counts=TWO)
    (trace_id,) = ids(1)
    body = request("again", *(span(trace_id, os.urandom(8).hex(), n=k, start=10**18 + k) for k in range(3)))
    for k in range(6):
        assert c.push_json(body, index=k % 2)[0] == 200
    assert len(c.trace(trace_id)) == 3
    c.flush()
    assert c.push_json(body)[0] == 200  # and once more, now that it is in a block
    for index in (0, 1):
        assert len(c.trace(trace_id, index)) == 3
    c.flush()
    assert len(c.trace(trace_id)) == 3


def test_two_generators_count_each_span_once(makes):
    prometheus = makes.prometheus()
    c = makes.cluster(counts=TWO, config={
        "metrics_generator": {"registry": {"collection_interval": "300ms", "inject_tenant_id_as": "tenant"},
                              "processor": {"service_graphs": {"wait": "5s"}},
                              "storage": {"path": "unused", "remote_write": [{"url": prometheus.write_url, "send_exemplars": True}]}},
        "overrides": {"metrics_generator_processors": ["service-graphs", "span-metrics"]}})
    threads, n = [], 40
    for k in range(n):
        trace_id, a, b = os.urandom(16).hex(), os.urandom(8).hex(), os.urandom(8).hex()
        # The two ends of an edge come by different distributors, at the same time.
        for index, body in enumerate([request("shop", span(trace_id, a, name="call", kind=3)), request("stock", span(trace_id, b, parent=a, name="serve", kind=2))]):
            threads.append(threading.Thread(target=lambda body=body, index=index: c.push_json(body, index=(index + k) % 2)))
            threads[-1].start()
    for t in threads:
        t.join()
    eventually(lambda: prometheus.value('traces_service_graph_request_total{client="shop", server="stock"}') == n, 60, every=0.3)
    eventually(lambda: prometheus.value("traces_spanmetrics_calls_total") == 2 * n, 60, every=0.3)
    used = [p.metric("tempo_metrics_generator_spans_received_total") or 0 for p in c.processes["generator"]]
    assert sum(used) == 2 * n and min(used) > 0


def test_a_frozen_querier_holds_up_nobody(cluster):
    c = cluster(counts=TWO)
    frozen = c.processes["querier"][0]
    ledger = Ledger(c)
    frozen.popen.send_signal(signal.SIGSTOP)
    try:
        ledger.wait_for(100)
        assert len(c.search("{}", index=1)) == 20
    finally:
        frozen.popen.send_signal(signal.SIGCONT)
    ledger.stop()
    assert ledger.missing() == {}


def test_a_ready_querier_knows_the_ingesters(cluster):
    """The first question after /ready says 200 leaves nothing out; an ingester that is not there keeps no querier from getting ready."""
    c = cluster(counts={**TWO, "generator": 0})
    ledger = Ledger(c)
    ledger.wait_for(50)
    ledger.stop()
    querier = c.querier
    querier.stop()
    for p in c.processes["ingester"]:
        p.popen.send_signal(signal.SIGSTOP)  # there, but it takes them a moment to say so
    try:
        querier.start(ready=False)
        eventually(lambda: b"2 of 2 ingesters not heard of yet" in querier.get("/ready")[2], every=0.01)
    finally:
        for p in c.processes["ingester"]:
            p.popen.send_signal(signal.SIGCONT)
    querier.wait_ready()
    status, headers, body = c.api("/api/search", q="{}", limit=1000)
    assert (status, headers["X-Vivace-Partial"]) == (200, None), querier.get("/status/members")[2]
    assert len(json.loads(body)["traces"]) == len(ledger.acked)
    c.ingester.kill()
    querier.stop()
    querier.start()
    status, headers, _ = c.api("/api/search", q="{}")
    assert (status, headers["X-Vivace-Partial"]) == (200, "1")


@pytest.mark.full
def test_many_rounds_of_everything(cluster):
    c = cluster(counts=TWO, config=QUICK)
    ledger = Ledger(c, threads=6)
    for _ in range(10):
        for p in c.all():
            ledger.wait_for(30)
            p.kill()
            p.start(ready=False)
            c.settle(p)
        c.flush()
    ledger.stop()
    assert ledger.missing() == {} and ledger.torn() == {}
