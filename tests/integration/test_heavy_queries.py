"""Queries of death: each ends in a clear answer, leaves the querier alive and its memory where it was, and others go on being answered."""
import json
import threading
import time
import urllib.parse
from contextlib import closing

import pytest

from vivace import SLOW, Cluster, eventually, http, request, span

S = 10**9
TRACES, SPANS = 3000, 8


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with closing(Cluster(tmp_path_factory.mktemp("heavy"), config={"memory_limit": "256MiB"})) as c:
        base = time.time_ns() // S * S - 300 * S
        for block in range(2):
            for first in range(0, TRACES // 2, 100):
                spans = []
                for t in range(first, first + 100):
                    trace = f"{block + 1:08x}{t:024x}"
                    spans += [span(trace, f"{k + 1:016x}", parent="" if k == 0 else f"{k:016x}", name=f"op-{k}", start=base + t * S // 10, **{"n": t, "text": f"value {t} of {block}"}) for k in range(SPANS)]
                assert c.push_json(request("heavy", *spans))[0] == 200
            if block == 0:
                c.flush()
        eventually(lambda: count(c, base) == TRACES * SPANS, 60)
        yield c, base // S


def get(c, path, **params):
    return http(f"http://127.0.0.1:{c.querier.http_port}{path}?{urllib.parse.urlencode(params)}", timeout=60 * SLOW)


def count(c, base):
    status, _, body = get(c, "/api/metrics/query", q="{} | count_over_time()", start=base // S - 10, end=base // S + 600)
    if status != 200:
        return None
    return sum(s.get("value", 0) for s in json.loads(body)["series"])


def rss(c):
    with open(f"/proc/{c.querier.popen.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) * 1024


WINDOW = {"start": 0, "end": 600}  # added to the base
SEARCH, RANGE, VALUES = "/api/search", "/api/metrics/query_range", "/api/v2/search/tag/span.text/values"
DEATHS = [
    ("parentheses", SEARCH, {"q": "{" + "(" * 60000 + "true" + ")" * 60000 + "}"}, (200, 400)),
    ("brackets of pipelines", SEARCH, {"q": "(" * 60000 + "{}" + ")" * 60000}, (400,)),
    ("not not not", SEARCH, {"q": "{" + "!" * 100000 + "true }"}, (400,)),
    ("terms", SEARCH, {"q": "{" + " || ".join(f".a{i} = {i}" for i in range(9000)) + "}"}, (400,)),
    ("a long text", SEARCH, {"q": '{ .a = "' + "x" * 140000 + '" }'}, (400,)),
    ("a longer one", SEARCH, {"q": "{" + "." * 600000 + "}"}, (431,)),
    ("regex of repeats", SEARCH, {"q": '{ span.text =~ "((((a{1,200}){1,200}){1,200}){1,200})" }'}, (400,)),
    ("regex that would backtrack", SEARCH, {"q": '{ span.text =~ "(.*.*.*.*.*.*.*.*)*x$" }'}, (200,)),
    ("a large class", SEARCH, {"q": '{ span.text =~ "(\\\\pL|\\\\pN|.){0,900}z" }'}, (200, 400)),
    ("many regexes", SEARCH, {"q": "{" + " || ".join(f'.a =~ "x{i}.*"' for i in range(1000)) + "}"}, (400,)),
    ("series for each trace", RANGE, {"q": "{} | rate() by (trace:id)", "step": "1s"}, (200, 413, 422, 429)),
    ("series for each span", RANGE, {"q": "{} | count_over_time() by (span.text, name, span:id)", "step": "1s"}, (200, 400, 413, 422, 429)),
    ("everything compared", RANGE, {"q": "{} | compare({ span.n > 5 }, 1000)", "step": "1s"}, (200, 413, 422, 429)),
    ("points", RANGE, {"q": "{} | rate()", "step": "1ms"}, (400,)),
    ("30 days", SEARCH, {"q": "{}", "start": -30 * 86400, "end": 0}, (400,)),
    ("30 days of metrics", RANGE, {"q": "{} | rate()", "start": -30 * 86400, "end": 0, "step": "1h"}, (400,)),
    ("limit", SEARCH, {"q": "{}", "limit": 2**31}, (400,)),
    ("spans of a set", SEARCH, {"q": "{}", "spss": 2**31}, (400,)),
    ("all of all", SEARCH, {"q": "{} >> {} | select(span.text)", "limit": 200000, "spss": 100}, (200, 429)),
    ("structure on structure", SEARCH, {"q": " >> ".join(["{}"] * 100), "limit": 100000}, (200, 400, 429)),
    ("structure too high", SEARCH, {"q": " >> ".join(["{}"] * 400)}, (400,)),
    ("values by regex", VALUES, {"q": '{ span.text =~ "(.*.*.*.*)*x" }'}, (200,)),
]


def ask(c, base, path, params):
    at = {k: base + params.pop(k, WINDOW[k]) for k in ("start", "end")}
    return get(c, path, **params, **at)


@pytest.mark.parametrize("name,path,params,allowed", DEATHS, ids=[d[0].replace(" ", "-") for d in DEATHS])
def test_ends_in_a_clear_answer(world, name, path, params, allowed):
    c, base = world
    status, _, body = ask(c, base, path, dict(params))
    assert status in allowed, (status, body[:300])
    if status != 200:
        assert 0 < len(body) < 2000 and body.endswith(b"\n") and b"\n" not in body[:-1]
    assert c.querier.popen.poll() is None and count(c, base * S) == TRACES * SPANS


def test_others_go_on_and_memory_comes_back(world):
    """All of them at once, several times, while small queries are asked: none of those fails, and the process keeps to its limit."""
    c, base = world
    deaths = [d for d in DEATHS for _ in range(2)]
    small, failures, done = [0], [], threading.Event()

    def ask_small():
        while not done.is_set():
            status, _, body = get(c, SEARCH, q="{ span.n = 7 }", start=base, end=base + 600)
            small[0] += 1
            if status != 200 or b"traceID" not in body:
                failures.append((status, body[:200]))

    threads = [threading.Thread(target=lambda d=d: ask(c, base, d[1], dict(d[2]))) for d in deaths]
    other = threading.Thread(target=ask_small)
    other.start()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    done.set()
    other.join()
    assert failures == [] and small[0] > 0
    if SLOW == 1:  # sanitizers have memory of their own
        eventually(lambda: rss(c) < 256 << 20, 30)
