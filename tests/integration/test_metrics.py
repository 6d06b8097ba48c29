"""TraceQL metrics over real binaries, against brute force over what was sent: live, flushed, and both; traces split over ingesters and blocks."""
import json
import math
import random
import time
from collections import defaultdict

import pytest
from vivace import Cluster, eventually, request, span

STEP = 30
SERVICES = ("cart", "checkout", "stock")


class Sent:
    """Random traces, and what any query over them should count."""

    def __init__(self, seed, base):
        self.random, self.base, self.spans = random.Random(seed), base, []

    def trace(self, spans):
        """One trace as requests by service; -> [(service, span), ...]"""
        r, trace_id, out = self.random, f"{self.random.getrandbits(128):032x}", []
        start = self.base + r.randrange(0, 300 * 10**9)
        for k in range(spans):
            service, ms = r.choice(SERVICES), r.randrange(1, 2000)
            at = start + r.randrange(0, 10**9)
            attributes = {"http__status_code": r.choice((200, 404, 500)), "bytes": r.randrange(-50, 5000)}
            if r.random() < 0.3:
                attributes["rare"] = "here"
            one = span(trace_id, f"{r.getrandbits(64):016x}", parent="" if k == 0 else out[0][1]["spanId"], name=f"op-{r.randrange(4)}", start=at, ms=ms,
                       kind=r.choice((2, 3)), status=r.choice((0, 2)), **attributes)
            out.append((service, one))
        self.spans += out
        return out

    @staticmethod
    def of(service, one):
        values = {a["key"]: next(iter(a["value"].values())) for a in one["attributes"]}
        return {"service": service, "name": one["name"], "code": values["http.status_code"], "bytes": int(values["bytes"]), "rare": values.get("rare"),
                "start": int(one["startTimeUnixNano"]), "s": (int(one["endTimeUnixNano"]) - int(one["startTimeUnixNano"])) / 1e9,
                "error": one.get("status", {}).get("code") == 2, "kind": one["kind"], "is_root": "parentSpanId" not in one, "trace": one["traceId"]}

    def expect(self, fold, labels=lambda s: (), where=lambda s: True, value=lambda s: 1):
        """{labels: {step's end: fold of the values}}"""
        cells = defaultdict(lambda: defaultdict(list))
        for s in (self.of(*x) for x in self.spans):
            if where(s):
                cells[labels(s)][-(-s["start"] // (STEP * 10**9)) * STEP].append(value(s))
        return {k: {t: fold(v) for t, v in steps.items()} for k, steps in cells.items()}


def push(c, pairs, index=0):
    by_service = defaultdict(list)
    for service, one in pairs:
        by_service[service].append(one)
    status, _, body = c.push_json({"resourceSpans": [r for service, spans in by_service.items() for r in request(service, *spans)["resourceSpans"]]}, index)
    assert status == 200, body


def ask(c, q, base, path="query_range", **params):
    start = base // 10**9 - STEP
    status, headers, body = c.api(f"/api/metrics/{path}", q=q, start=start, end=start + 420, **({"step": f"{STEP}s"} if path == "query_range" else {}), **params)
    assert status == 200, (q, status, body)
    assert "X-Vivace-Partial" not in headers, q
    return json.loads(body)


def series(answer):
    """{labels: {step's end: value}}, zeros left out."""
    out = {}
    for s in answer["series"]:
        labels = tuple(next(iter(x["value"].values())) for x in s["labels"] if x["key"] not in ("__name__",))
        out[labels] = {int(p["timestampMs"]) // 1000: p["value"] for p in s["samples"] if p.get("value")}
    return {k: v for k, v in out.items() if v}


def same(got, want, tolerance=1e-9):
    want = {k: {t: v for t, v in steps.items() if v} for k, steps in want.items()}
    want = {k: v for k, v in want.items() if v}
    assert got.keys() == want.keys()
    for k in want:
        assert got[k].keys() == want[k].keys(), k
        for t in want[k]:
            assert math.isclose(got[k][t], want[k][t], rel_tol=tolerance), (k, t, got[k][t], want[k][t])


def rank(q):
    return lambda values: sorted(values)[max(1, math.ceil(q * len(values) - 1e-9)) - 1]


def check_all(c, sent):
    base = sent.base
    service, code = (lambda s: (s["service"],)), (lambda s: (s["code"], s["name"]))
    per_step = lambda v: len(v) / STEP
    run = lambda q: series(ask(c, q, base))
    same(run("{} | count_over_time()"), sent.expect(len))
    same(run("{} | rate() by(resource.service.name)"), sent.expect(per_step, service))
    same(run("{ status = error } | count_over_time() by(span.http.status_code, name)"), sent.expect(len, code, lambda s: s["error"]))
    same(run("{ kind = server && span.bytes > 100 } | sum_over_time(span.bytes) by(resource.service.name)"),
         sent.expect(sum, service, lambda s: s["kind"] == 2 and s["bytes"] > 100, lambda s: s["bytes"]))
    same(run("{} | avg_over_time(duration) by(name)"), sent.expect(lambda v: sum(v) / len(v), lambda s: (s["name"],), value=lambda s: s["s"]))
    same(run("{} | min_over_time(span.bytes)"), sent.expect(min, value=lambda s: s["bytes"]))
    same(run("{} | max_over_time(duration) by(resource.service.name)"), sent.expect(max, service, value=lambda s: s["s"]))
    same(run("{} | count_over_time() by(span.rare)"), sent.expect(len, lambda s: (s["rare"] or "nil",)))
    for q in (0.5, 0.95):
        got = run(f"{{}} | quantile_over_time(duration, {q}) by(resource.service.name)")
        same({k[:1]: v for k, v in got.items()}, sent.expect(rank(q), service, value=lambda s: s["s"]), tolerance=0.01)
    bucket = lambda s: (2 ** math.ceil(math.log2(s["s"] * 1e9)) / 1e9,)
    same(run("{} | histogram_over_time(duration)"), sent.expect(len, bucket))
    # What only a whole trace can tell.
    roots = {s["trace"]: s for s in (sent.of(*x) for x in sent.spans) if s["is_root"]}
    same(run("{} | count_over_time() by(rootName)"), sent.expect(len, lambda s: (roots[s["trace"]]["name"],)))
    same(run("{ status = error && nestedSetParent < 0 } >> {} | count_over_time()"),
         sent.expect(len, where=lambda s: not s["is_root"] and roots[s["trace"]]["error"]))
    sizes = defaultdict(int)
    for s in sent.spans:
        sizes[s[1]["traceId"]] += 1
    same(run("{} | count() > 4 | rate()"), sent.expect(per_step, where=lambda s: sizes[s["trace"]] > 4))
    # Second stages, arithmetic.
    same(run("{} | count_over_time() by(name) > 2"), {k: {t: v for t, v in steps.items() if v > 2} for k, steps in sent.expect(len, lambda s: (s["name"],)).items()})
    errors, all_ = sent.expect(len, where=lambda s: s["error"])[()], sent.expect(len)[()]
    same(run("({ status = error } | count_over_time()) / ({} | count_over_time())"), {(): {t: errors.get(t, 0) / all_[t] for t in all_}})
    # One step: the sum over all.
    one = ask(c, "{} | count_over_time() by(resource.service.name)", base, "query")
    totals = {k: sum(v.values()) for k, v in sent.expect(len, service).items()}
    assert {s["labels"][0]["value"]["stringValue"]: s["value"] for s in one["series"]} == {k[0]: v for k, v in totals.items()}
    compared = ask(c, "{} | compare({ status = error })", base, "query")
    by_meta = {(s["labels"][0]["value"]["stringValue"], s["labels"][1]["key"], s["labels"][1]["value"].get("stringValue")): s["value"] for s in compared["series"]}
    for name in {s["name"] for s in (sent.of(*x) for x in sent.spans)}:
        for meta, is_error in (("selection", True), ("baseline", False)):
            want = sum(s["name"] == name and s["error"] == is_error for s in (sent.of(*x) for x in sent.spans))
            assert by_meta.get((meta, "name", name), 0) == want
    return True


def wait_for(c, sent):
    want = len(sent.spans)
    eventually(lambda: sum(s["value"] for s in ask(c, "{} | count_over_time()", sent.base, "query")["series"]) == want, 20)


@pytest.fixture
def base():
    return (time.time_ns() // 10**9 // 300 * 300 - 900) * 10**9


def test_live_flushed_and_both(tmp_path, base):
    """Two ingesters; half of the traces come in two requests with a flush between, so that they lie in a block and in a head."""
    c, sent = Cluster(tmp_path, {"ingester": 2}), Sent(1, base)
    try:
        for _ in range(60):
            push(c, sent.trace(sent.random.randrange(1, 8)))
        late = []
        for _ in range(30):
            spans = sent.trace(6)
            push(c, spans[:3])
            late.append(spans[3:])
        for spans in late:
            sent.spans = [s for s in sent.spans if s not in spans]
        wait_for(c, sent)
        c.flush()
        for spans in late:
            push(c, spans)
            sent.spans += spans
        for _ in range(20):
            push(c, sent.trace(5))
        wait_for(c, sent)
        assert check_all(c, sent)  # split between blocks and heads
        c.flush()
        wait_for(c, sent)
        assert check_all(c, sent)  # split between blocks
    finally:
        c.stop()


def test_live(tmp_path, base):
    c, sent = Cluster(tmp_path), Sent(2, base)
    try:
        for _ in range(40):
            push(c, sent.trace(sent.random.randrange(1, 8)))
        wait_for(c, sent)
        assert check_all(c, sent)
        answer = ask(c, "{} | max_over_time(duration) by(resource.service.name)", base)
        exemplars = [x for s in answer["series"] for x in s["exemplars"]]
        known = {one["traceId"]: 0 for _, one in sent.spans}
        assert 0 < len(exemplars) <= 100
        for x in exemplars:
            labels = {l["key"]: l["value"].get("stringValue") for l in x["labels"]}
            assert labels["trace:id"] in known and labels["resource.service.name"] in SERVICES
        for params in ({"exemplars": "0"}, {}):
            q = "{} | rate()" if params else "{} | rate() with(exemplars=false)"
            assert all("exemplars" not in s for s in ask(c, q, base, **params)["series"])
        cut = ask(c, "{} | rate() by(span.bytes)", base, maxSeries=2)
        assert len(cut["series"]) == 2 and cut["status"] == "PARTIAL" and "maximum series limit of 2" in cut["message"]
        for mine, official in (("{} | by(name) | avg(duration)", "{ true } | avg_over_time(duration)by(name)"), ("{} | quantile(duration, 0.9)", "{ true } | quantile_over_time(duration,0.90000)")):
            answer = ask(c, mine, base)
            assert answer["series"] == ask(c, official, base)["series"] != [] and answer["message"] == f"read as: {official}"
        now = {"start": base // 10**9, "end": base // 10**9 + 400, "limit": 1000}
        hits = [sorted(t["traceID"] for t in c.search(q, **now)) for q in ("{ status = error }", "{ status = error } | rate() by(name)")]
        assert hits[0] == hits[1] and hits[0]  # a metrics query, searched: the spans that it counts
        status, _, body = c.api("/api/metrics/query_range", q="{} | rate() by(", start=1, end=2, step="1s")
        assert status == 400 and b"parse error" in body
    finally:
        c.stop()


def test_limits_of_the_configuration(tmp_path, base):
    limits = {"max_exemplars": 2, "max_response_series": 3, "max_intervals": 500}
    c, sent = Cluster(tmp_path, config={"query_frontend": {"metrics": limits}}), Sent(5, base)
    try:
        for _ in range(20):
            push(c, sent.trace(5))
        wait_for(c, sent)
        for params, count in (({}, 3), ({"maxSeries": 2}, 2), ({"maxSeries": 100}, 3)):
            cut = ask(c, "{} | rate() by(span.bytes)", base, **params)
            assert len(cut["series"]) == count and cut["status"] == "PARTIAL" and f"maximum series limit of {count}" in cut["message"]
        for q in ("{} | rate()", "{} | rate() with(exemplars=50)"):
            assert sum(len(s.get("exemplars", [])) for s in ask(c, q, base, exemplars=90)["series"]) == 2
        status, _, body = c.api("/api/metrics/query_range", q="{} | rate()", start=base // 10**9, end=base // 10**9 + 501, step="1s")
        assert status == 400 and b"too small" in body
    finally:
        c.stop()


def test_an_ingester_that_is_gone_is_told(tmp_path, base):
    c, sent = Cluster(tmp_path, {"ingester": 2}), Sent(3, base)
    try:
        for _ in range(10):
            push(c, sent.trace(3))
        wait_for(c, sent)
        c.processes["ingester"][1].kill()

        def partial():
            status, headers, _ = c.api("/api/metrics/query", q="{} | count_over_time()", start=base // 10**9, end=base // 10**9 + 400)
            return status == 200 and headers.get("X-Vivace-Partial") is not None
        eventually(partial, 20)
    finally:
        c.close()
