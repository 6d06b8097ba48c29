"""Search over what is live, what is stored, and both: the same answers, whole, newest first, repeatable."""
import gzip
import json
import os
import random
import time

import pytest

from vivace import eventually, request, span

S, MS = 10**9, 10**6
SERVICES = ("cart", "shop", "stock")


class Data:
    """40 traces, a second apart; what they are follows from their numbers alone."""

    def __init__(self):
        rng = random.Random(7)
        self.base = time.time_ns() // S * S - 600 * S
        self.traces = {}
        for k in range(40):
            # The first byte is not zero: search drops leading zeros.
            trace_id, root = "a" + os.urandom(16).hex()[1:], os.urandom(8).hex()
            start, spans = self.base + k * S, []
            spans.append((SERVICES[k % 3], dict(span_id=root, name="GET /" + "abcd"[k % 4], start=start, ms=100 + 10 * k, kind=2,
                                                **{"http.status_code": 200 if k % 5 else 500, "user.id": f"user-{k % 7}", "ratio": k / 8, "vip": k % 2 == 0})))
            for n in range(k % 4):
                spans.append((SERVICES[(k + n) % 3], dict(span_id=os.urandom(8).hex(), parent=root, name="SELECT" if n else "UPDATE", start=start + 10 * MS, ms=5 + n, kind=3,
                                                          status=2 if rng.random() < 0.3 else 0, **{"db.system": "mariadb", "n": n, "text": "ä€" * (n + 1)})))
            self.traces[trace_id] = spans

    def requests(self, trace_ids, part=None):
        """`part`: 0 roots and every second child, 1 the others; None all."""
        for trace_id in trace_ids:
            for n, (service, s) in enumerate(self.traces[trace_id]):
                if part is None or n % 2 == part:
                    yield request(service, span(trace_id, **s))

    def matching(self, predicate):
        """Ids, newest first, of traces with a span for which it holds (service, span)."""
        return [i for i in reversed(self.traces) if any(predicate(service, s) for service, s in self.traces[i])]

    def spans(self, trace_id, predicate):
        return sum(predicate(service, s) for service, s in self.traces[trace_id])


FILTERS = {
    '{ resource.service.name = "cart" }': lambda r, s: r == "cart",
    '{ service.name = "cart" && db.system = "mariadb" }': lambda r, s: r == "cart" and "db.system" in s,
    '{ resource.service.name != "cart" }': lambda r, s: r != "cart",
    '{ resource.service.name =~ "s.*" }': lambda r, s: r.startswith("s"),
    '{ resource.service.name !~ "s.*" }': lambda r, s: not r.startswith("s"),
    '{ name = "GET /a" }': lambda r, s: s["name"] == "GET /a",
    '{ name =~ "GET /[ab]" || name = "UPDATE" }': lambda r, s: s["name"] in ("GET /a", "GET /b", "UPDATE"),
    '{ span.http.status_code = 500 }': lambda r, s: s.get("http.status_code") == 500,
    '{ span.http.status_code >= 200 && span.http.status_code < 500 }': lambda r, s: s.get("http.status_code") == 200,
    '{ span.http.status_code = nil }': lambda r, s: "http.status_code" not in s,
    '{ user.id = "user-3" }': lambda r, s: s.get("user.id") == "user-3",
    '{ user.id = "nobody" }': lambda r, s: False,
    '{ .ratio > 2.5 }': lambda r, s: s.get("ratio", 0) > 2.5,
    '{ .vip = true }': lambda r, s: s.get("vip") is True,
    '{ .vip }': lambda r, s: s.get("vip") is True,
    '{ status = error }': lambda r, s: s.get("status") == 2,
    '{ kind = client }': lambda r, s: s["kind"] == 3,
    '{ duration > 300ms }': lambda r, s: s["ms"] > 300,
    '{ duration >= 105ms && duration <= 200ms }': lambda r, s: 105 <= s["ms"] <= 200,
    '{ .n > 1 }': lambda r, s: s.get("n", 0) > 1,
    '{ .n * 2 + 1 = 5 }': lambda r, s: s.get("n", 0) * 2 + 1 == 5,
    '{ .text = "ä€ä€" }': lambda r, s: s.get("text") == "ä€ä€",
    '{}': lambda r, s: True,
    '{ true }': lambda r, s: True,
    '{ false }': lambda r, s: False,
}
PAIRS = {
    '{ name = "UPDATE" } && { name = "SELECT" }': ("and", lambda r, s: s["name"] == "UPDATE", lambda r, s: s["name"] == "SELECT"),
    '{ resource.service.name = "cart" } && { resource.service.name = "stock" }': ("and", lambda r, s: r == "cart", lambda r, s: r == "stock"),
    '{ name = "UPDATE" } || { span.http.status_code = 500 }': ("or", lambda r, s: s["name"] == "UPDATE", lambda r, s: s.get("http.status_code") == 500),
}


@pytest.fixture(scope="module", params=["live", "stored", "half of the traces", "half of each trace"])
def world(module_makes, request):
    c = module_makes.cluster()
    data = Data()
    ids = list(data.traces)

    def push(what):
        for body in what:
            status, _, answer = c.push_json(body)
            assert (status, json.loads(answer)) == (200, {"partialSuccess": {}})
    if request.param == "half of each trace":
        push(data.requests(ids, 0))
        c.flush()
        push(data.requests(ids, 1))
    elif request.param == "half of the traces":
        push(data.requests(ids[::2]))
        c.flush()
        push(data.requests(ids[1::2]))
    else:
        push(data.requests(ids))
        if request.param == "stored":
            c.flush()
    yield c, data
    c.stop()


def found(c, q, **params):
    return [t["traceID"] for t in c.search(q, **{"limit": 100, **params})]


@pytest.mark.parametrize("q", FILTERS)
def test_filter(world, q):
    c, data = world
    predicate = FILTERS[q]
    answer = c.search(q, limit=100)
    assert [t["traceID"] for t in answer] == data.matching(predicate)
    for t in answer:
        assert sum(s["matched"] for s in t["spanSets"]) == data.spans(t["traceID"], predicate), t
        root_service, root = data.traces[t["traceID"]][0]
        assert (t["rootServiceName"], t["rootTraceName"]) == (root_service, root["name"])
        assert (t["startTimeUnixNano"], t["durationMs"]) == (str(root["start"]), root["ms"])
        stats = {}
        for service, s in data.traces[t["traceID"]]:
            stats.setdefault(service, [0, 0])
            stats[service][0] += 1
            stats[service][1] += s.get("status") == 2
        assert {k: [v["spanCount"], v.get("errorCount", 0)] for k, v in t["serviceStats"].items()} == stats


@pytest.mark.parametrize("q", PAIRS)
def test_two_spansets(world, q):
    c, data = world
    kind, a, b = PAIRS[q]
    both = (lambda i: data.spans(i, a) and data.spans(i, b)) if kind == "and" else (lambda i: data.spans(i, a) or data.spans(i, b))
    assert found(c, q) == [i for i in reversed(data.traces) if both(i)]


@pytest.mark.parametrize("q, holds", [
    ('{ } | count() > 2', lambda spans: len(spans) > 2),
    ('{ kind = client } | count() = 2', lambda spans: sum(s["kind"] == 3 for _, s in spans) == 2),
    ('{ } | max(duration) > 400ms', lambda spans: max(s["ms"] for _, s in spans) > 400),
    ('{ } | avg(duration) < 100ms', lambda spans: sum(s["ms"] for _, s in spans) / len(spans) < 100),
    ('{ kind = client } | sum(.n) >= 3', lambda spans: any(s["kind"] == 3 for _, s in spans) and sum(s.get("n", 0) for _, s in spans) >= 3),
])
def test_aggregate(world, q, holds):
    c, data = world
    assert found(c, q) == [i for i in reversed(data.traces) if holds(data.traces[i])]


def test_aggregates_are_of_whole_traces(world):
    """avg, max and quantile of every trace, exactly."""
    c, data = world
    for t in c.search('{ } | avg(duration)', limit=100):
        durations = [s["ms"] for _, s in data.traces[t["traceID"]]]
        (value,) = [a["value"]["stringValue"] for a in t["spanSets"][0]["attributes"] if a["key"] == "avg(duration)"]
        assert go_ms(value) == pytest.approx(sum(durations) / len(durations), abs=1e-6), t
    assert len(found(c, '{ } | quantile(duration, 0.5)')) == 40


def test_traces_without(world):
    """!{...} and {...} - {...} are judged over whole traces, wherever their parts lie."""
    c, data = world
    def has(i, service):
        return any(r == service for r, _ in data.traces[i])
    ids = list(reversed(data.traces))
    assert found(c, '!{ resource.service.name = "cart" }') == [i for i in ids if not has(i, "cart")] != []
    assert found(c, '{ resource.service.name = "shop" } - { resource.service.name = "cart" }') == [i for i in ids if has(i, "shop") and not has(i, "cart")] != []
    assert found(c, '{ kind = server } | !{ resource.service.name = "cart" }') == [i for i in ids if data.traces[i][0][0] != "cart"]
    assert len(found(c, '!{ name = "nothing of the kind" }')) == 40 and found(c, '!{ }') == []
    matched = {t["traceID"]: sum(s["matched"] for s in t["spanSets"]) for t in c.search('!{ resource.service.name = "cart" }', limit=100)}
    assert all(n == len(data.traces[i]) for i, n in matched.items())


def test_order(world):
    """Over live, stored and split traces: by a value of the spans, not by the newest."""
    c, data = world
    def longest(i):
        return max(s["ms"] for _, s in data.traces[i])
    newest = list(reversed(data.traces))
    want = sorted(newest, key=longest, reverse=True)
    assert found(c, '{ } | order_by(duration desc)') == want
    assert found(c, '{ } | top(7, duration)') == want[:7]
    assert found(c, '{ } | order_by(duration desc)', limit=3) == want[:3]
    shortest = {i: min(s["ms"] for _, s in data.traces[i]) for i in newest}
    assert found(c, '{ } | order_by(duration)', limit=9) == sorted(newest, key=lambda i: shortest[i])[:9]
    ratio = {i: data.traces[i][0][1]["ratio"] for i in newest}
    assert found(c, '{ } | order_by(span.ratio) | select(span.vip)') == sorted(newest, key=lambda i: ratio[i])
    (key,) = [a for a in c.search('{ } | top(1, span.ratio)')[0]["spanSets"][0]["attributes"] if a["key"] == "top(1, span.ratio)"]
    assert key["value"]["doubleValue"] == max(ratio.values())


def test_count_distinct(world):
    c, data = world
    for t in c.search('{ } | count_distinct(resource.service.name)', limit=100):
        (value,) = [a["value"]["intValue"] for a in t["spanSets"][0]["attributes"] if a["key"] == "count_distinct(resource.service.name)"]
        assert int(value) == len({r for r, _ in data.traces[t["traceID"]]})
    want = [i for i in reversed(data.traces) if len({r for r, _ in data.traces[i]}) > 1]
    assert found(c, '{ } | count_distinct(resource.service.name) > 1') == want != []
    assert len(found(c, '{ } | count_distinct(span.nope) = 0')) == 40


def go_ms(text):
    for unit, factor in (("ms", 1), ("µs", 1e-3), ("ns", 1e-6), ("s", 1e3)):
        if text.endswith(unit):
            return float(text[:-len(unit)]) * factor
    raise ValueError(text)


def test_limit_is_newest_first_and_repeatable(world):
    c, data = world
    for q in ('{}', '{ kind = client }', '{ user.id =~ "user-[1-3]" }'):
        everything = found(c, q)
        for limit in (1, 3, 7, 20):
            for _ in range(3):
                assert found(c, q, limit=limit) == everything[:limit], (q, limit)
    assert len(c.search("{}")) == 20  # the default


def test_spans_per_spanset(world):
    c, data = world
    most = max(data.traces, key=lambda i: len(data.traces[i]))
    (t,) = [t for t in c.search('{}', limit=100, spss=1) if t["traceID"] == most]
    assert len(t["spanSets"][0]["spans"]) == 1 and t["spanSets"][0]["matched"] == 4
    (t,) = [t for t in c.search('{}', limit=100, spss=100) if t["traceID"] == most]
    assert len(t["spanSets"][0]["spans"]) == 4


def test_window(world):
    """start and end are whole seconds; a trace is in if it overlaps."""
    c, data = world
    base = data.base // S
    inside = found(c, "{}", start=base + 10, end=base + 20)
    order = list(data.traces)
    assert set(order[10:20]) <= set(inside) <= set(order[9:21])
    assert found(c, "{}", start=base - 100, end=base - 50) == []
    assert len(found(c, "{}", start=base - 1, end=base + 41)) == 40


def test_by_tags_and_duration(world):
    c, data = world
    window = {"start": data.base // S - 100, "end": data.base // S + 100, "limit": 100}

    def tags(**params):
        status, _, body = c.api("/api/search", **window, **params)
        assert status == 200, body
        return [t["traceID"] for t in json.loads(body)["traces"]]
    assert tags(tags="user.id=user-3") == data.matching(lambda r, s: s.get("user.id") == "user-3")
    assert tags(tags="service.name=cart http.status_code=500") == [
        i for i in data.matching(lambda r, s: r == "cart") if i in data.matching(lambda r, s: s.get("http.status_code") == 500)]
    assert tags(minDuration="300ms") == [i for i in reversed(data.traces) if data.traces[i][0][1]["ms"] >= 300]
    assert tags(maxDuration="150ms") == [i for i in reversed(data.traces) if data.traces[i][0][1]["ms"] <= 150]
    assert tags() == list(reversed(data.traces))


def test_traces_come_back_whole(world):
    c, data = world
    for trace_id, spans in data.traces.items():
        got = c.trace(trace_id)
        assert sorted((s["name"], int(s["startTimeUnixNano"]), s["resource"]["service.name"]["stringValue"]) for s in got) == sorted(
            (s["name"], s["start"], service) for service, s in spans)


def test_tag_names_and_values(world):
    c, data = world
    window = {"start": data.base // S - 100, "end": data.base // S + 100}
    status, _, body = c.api("/api/v2/search/tags", **window)
    scopes = {s["name"]: s["tags"] for s in json.loads(body)["scopes"]}
    assert scopes["resource"] == ["service.name"]
    assert scopes["span"] == ["db.system", "http.status_code", "n", "ratio", "text", "user.id", "vip"]
    status, _, body = c.api("/api/search/tags", **window)
    assert json.loads(body)["tagNames"] == sorted([*scopes["resource"], *scopes["span"]])
    status, _, body = c.api("/api/v2/search/tags", scope="span", q='{ kind = client }', **window)
    assert {s["name"]: s["tags"] for s in json.loads(body)["scopes"]}["span"] == ["db.system", "n", "text"]

    def values(tag, **params):
        status, _, body = c.api(f"/api/v2/search/tag/{tag}/values", **window, **params)
        assert status == 200, body
        return sorted((v["type"], v["value"]) for v in json.loads(body)["tagValues"])
    assert values("resource.service.name") == [("string", s) for s in SERVICES]
    assert values(".user.id") == [("string", f"user-{k}") for k in range(7)]
    assert values("span.n") == [("int", str(k)) for k in range(3)]
    assert values("span.vip") == [("bool", "false"), ("bool", "true")]
    assert len(values("span.ratio")) == 40 and {t for t, _ in values("span.ratio")} == {"float"}
    assert values("name") == [("string", n) for n in ["GET /a", "GET /b", "GET /c", "GET /d", "SELECT", "UPDATE"]]
    assert values(".user.id", q='{ span.http.status_code = 500 }') == sorted(
        {("string", s["user.id"]) for spans in data.traces.values() for _, s in spans if s.get("http.status_code") == 500})
    status, _, body = c.api("/api/search/tag/user.id/values", **window)
    assert json.loads(body)["tagValues"] == [f"user-{k}" for k in range(7)]


def test_bad_parameters(world):
    c, _ = world
    for params, text in [({"limit": "0"}, b"invalid limit: must be a positive number"), ({"limit": "x"}, b"invalid limit"),
                         ({"q": "{", }, b"invalid TraceQL query: parse error"), ({"q": "{ foo = 1 }"}, b"unknown identifier"),
                         ({"start": "5"}, b"start"), ({"end": "5"}, b"only one of start and end provided"), ({"start": "10", "end": "5"}, b"start"), ({"spss": "101"}, b"spans per span set exceeds 100. received 101"),
                         ({"q": "{}", "tags": "a=b"}, b"can't specify tags and q in the same query"), ({"tags": "a=b a=c"}, b"tag a has been set twice"),
                         ({"q": '{ .a =~ "[" }'}, b""), ({"q": '{ name > true }'}, b"invalid TraceQL query")]:
        status, _, body = c.api("/api/search", **params)
        assert status == 400 and text in body, (params, status, body)
    assert c.api("/api/traces/xyz")[0] == 400
    assert c.api("/api/traces/" + "a" * 33)[0] == 400
    assert c.api("/api/v2/search/tag/%20/values")[0] == 400


# --- what changes on its own ----------------------------------------------------------------------------

def test_blocks_are_cut_by_themselves_and_nothing_flickers(cluster):
    """While heads become blocks and blocks are found, every trace is always there, once."""
    c = cluster(config={"ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms", "max_block_duration": "300ms"},
                        "storage": {"trace": {"blocklist_poll": "200ms"}}})
    data = Data()
    known = []

    def all_there():
        answer = {t["traceID"]: t["spanSets"][0]["matched"] for t in c.search("{}", limit=100)}
        want = {i: len(data.traces[i]) for i in known}
        if answer != want:  # not an assertion, which `eventually` would try again
            pytest.fail(f"{answer.items() ^ want.items()}")
    for k, trace_id in enumerate(data.traces):
        for body in data.requests([trace_id]):
            assert c.push_json(body)[0] == 200
        known.append(trace_id)
        all_there()
        if k % 10 == 9:  # until they are all in blocks
            eventually(lambda: all_there() or c.ingester.metric("tempo_ingester_live_traces") == 0, 20, every=0)
    assert c.ingester.metric("tempo_ingester_blocks_flushed_total") >= 4
    answer = c.search("{}", limit=100)
    assert [t["traceID"] for t in answer] == list(reversed(data.traces))
    assert all(t["spanSets"][0]["matched"] == len(data.traces[t["traceID"]]) for t in answer)
    eventually(lambda: len(list((c.folder / "wal-0").glob("*.wal"))) <= 2)  # the log is trimmed behind them


def test_late_spans_join_their_trace(cluster):
    """A trace that was flushed twice over, and whose root comes last."""
    c = cluster()
    trace_id, root = "b" + os.urandom(16).hex()[1:], os.urandom(8).hex()
    start = time.time_ns() - 60 * S
    child = os.urandom(8).hex()
    assert c.push_json(request("leaf", span(trace_id, os.urandom(8).hex(), parent=child, name="leaf", start=start + 2 * S)))[0] == 200
    (t,) = c.search('{ name = "leaf" }')
    assert t["rootServiceName"] == "<root span not yet received>"
    c.flush()
    assert c.push_json(request("mid", span(trace_id, child, parent=root, name="mid", start=start + S)))[0] == 200
    c.flush()
    assert c.push_json(request("top", span(trace_id, root, name="top", start=start, ms=5000)))[0] == 200
    for _ in range(2):
        for q, matched in [('{ name = "leaf" } && { name = "top" }', 2), ('{ name = "mid" && rootName = "top" }', 1), ('{ traceDuration = 5s }', 3), ('{} | count() = 3', 3)]:
            (t,) = c.search(q)
            assert (t["traceID"], t["rootServiceName"], t["rootTraceName"], t["durationMs"]) == (trace_id, "top", "top", 5000), q
            assert t["spanSets"][0]["matched"] == matched, q
        assert c.search('{} | count() < 3') == []
        c.flush()


def test_the_first_question_after_a_flush_is_right(cluster):
    """Spans that came after their trace was flushed are joined with it at once, not only when the block is known."""
    c = cluster(config={"storage": {"trace": {"blocklist_poll": "1h"}}})
    for r in range(8):
        ids = ["b" + os.urandom(16).hex()[1:] for _ in range(4)]
        for n in range(4):
            for trace_id in ids:
                root = trace_id[:16]
                assert c.push_json(request(f"s{r}", span(trace_id, root if n == 0 else os.urandom(8).hex(), parent=root if n else "")))[0] == 200
            if n == 1:
                c.flush()
        for _ in range(2):
            assert [t["spanSets"][0]["matched"] for t in c.search(f'{{ resource.service.name = "s{r}" }}')] == [4] * 4


def test_retention_deletes_blocks(cluster):
    c = cluster(config={"storage": {"trace": {"block": {"retention": "1h"}, "blocklist_poll": "200ms"}}})
    old, young = ("c" + os.urandom(16).hex()[1:] for _ in range(2))
    now = time.time_ns()
    assert c.push_json(request("old", span(old, os.urandom(8).hex(), start=now - 2 * 3600 * S)))[0] == 200
    c.flush()
    assert c.push_json(request("young", span(young, os.urandom(8).hex(), start=now - 60 * S)))[0] == 200
    c.flush()
    # The rule looks about once in a while; a start makes it look at once.
    c.ingester.stop()
    c.ingester.start()
    c.settle(c.ingester)
    window = {"start": now // S - 7 * 3600, "end": now // S + 60}
    eventually(lambda: [t["traceID"] for t in c.search("{}", **window)] == [young], 60)
    assert c.trace(old) == [] and len(c.trace(young)) == 1
    assert c.ingester.metric("tempodb_retention_deleted_total") >= 1
    assert old not in str([p.read_bytes().hex() for p in (c.folder / "blocks").rglob("*") if p.is_file()])


def test_blocks_of_before_a_restart_are_found_at_once(cluster):
    """The querier need not wait for its next look at the store, an hour away here."""
    c = cluster(config={"storage": {"trace": {"blocklist_poll": "1h"}}})
    ids = ["d" + os.urandom(16).hex()[1:] for _ in range(3)]
    for k, trace_id in enumerate(ids):
        assert c.push_json(request("s", span(trace_id, os.urandom(8).hex(), name=f"n{k}", start=time.time_ns() - (10 - k) * S)))[0] == 200
        c.flush()
        c.ingester.kill() if k % 2 else c.ingester.stop()
        c.ingester.start()
        c.settle(c.ingester)
        assert found(c, "{}") == list(reversed(ids[:k + 1]))
        assert [len(c.trace(i)) for i in ids] == [1] * (k + 1) + [0] * (2 - k)


def block_files(c, name):
    return sorted((c.folder / "blocks").rglob(name), key=lambda p: p.stat().st_mtime)


@pytest.mark.parametrize("how", ["data flipped", "data cut", "data empty", "data gone", "meta flipped", "meta empty"])
def test_damaged_block_makes_the_answer_partial(cluster, how):
    """Nothing is deleted, nothing wrong is said, the process stays up, the others answer."""
    c = cluster()
    good, bad = ("d" + os.urandom(16).hex()[1:] for _ in range(2))
    what, damage = how.split()
    for trace_id in (good, bad):
        before = block_files(c, "data.vvb" if what == "data" else "meta.json")
        assert c.push_json(request("s", span(trace_id, os.urandom(8).hex(), name=trace_id)))[0] == 200
        c.flush()
    (path,) = set(block_files(c, "data.vvb" if what == "data" else "meta.json")) - set(before)  # of `bad`
    if damage == "gone":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes({"flipped": bytes(b ^ 0x55 for b in data), "cut": data[:len(data) // 2], "empty": b""}[damage])
    c.querier.stop()
    c.querier.start(ready=False)
    c.settle(c.querier)
    status, headers, body = c.api("/api/search", q="{}", start=int(time.time()) - 600, end=int(time.time()) + 60)
    assert status == 200 and [t["traceID"] for t in json.loads(body)["traces"]] == [good]
    assert headers["X-Vivace-Partial"] == "1"
    assert len(c.trace(good)) == 1 and c.trace(bad) == []
    assert c.api(f"/api/traces/{bad}")[1]["X-Vivace-Partial"] == "1"
    assert c.querier.metric("vivace_querier_missing_places_total") >= 1
    c.ingester.stop()  # a start looks at every block: still nothing is thrown away, and it starts
    c.ingester.start()
    c.settle(c.ingester)
    assert len(block_files(c, "data.vvb")) + len(block_files(c, "meta.json")) == (3 if damage == "gone" else 4)
    assert good in [t["traceID"] for t in c.search("{}")]  # the other may be back too, out of the log


def test_one_bit_flipped_anywhere_is_never_a_wrong_answer(cluster):
    """Each page has its checksum: with any byte changed the answers are right, or partial."""
    c = cluster()
    data = Data()
    for body in data.requests(list(data.traces)[:12]):
        assert c.push_json(body)[0] == 200
    c.flush()
    (path,) = block_files(c, "data.vvb")
    whole = path.read_bytes()
    right = {q: (c.search(q, limit=100), None) for q in ("{}", '{ user.id = "user-3" }', '{ name = "UPDATE" } | avg(duration)')}
    traces = {i: c.trace(i) for i in list(data.traces)[:12]}
    rng = random.Random(11)
    partial = 0
    for _ in range(40):
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1:])
        for q, (want, _) in right.items():
            status, headers, body = c.api("/api/search", q=q, limit=100, start=data.base // S - 100, end=data.base // S + 100)
            assert status == 200
            if headers["X-Vivace-Partial"] is None:
                assert json.loads(body)["traces"] == want, (at, q)
            else:
                partial += 1
        for trace_id in list(traces)[:3]:
            status, headers, body = c.api(f"/api/v2/traces/{trace_id}")
            assert status == 200
            if headers["X-Vivace-Partial"] is None:
                assert c.trace(trace_id) == traces[trace_id], at
    assert partial > 0
    path.write_bytes(whole)


def test_answers_are_compressed_for_who_takes_it(world):
    cluster, _ = world
    now = int(time.time())
    params = {"q": "{}", "limit": 100, "start": now - 3600, "end": now + 3600}
    _, plain_headers, plain = cluster.api("/api/search", **params)
    status, headers, packed = cluster.api("/api/search", headers={"Accept-Encoding": "br, gzip"}, **params)
    assert status == 200 and headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain_headers
    assert len(packed) < len(plain) / 2 and json.loads(gzip.decompress(packed))["traces"] == json.loads(plain)["traces"]
    assert headers["Vary"] == plain_headers["Vary"] == "Accept-Encoding"
    for path, encoding in (("/api/search", "gzip;q=0"), ("/api/search", "deflate"), ("/api/search/tags", "gzip")):  # the last one is too short
        assert "Content-Encoding" not in cluster.api(path, headers={"Accept-Encoding": encoding}, **params)[1]
