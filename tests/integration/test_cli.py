"""vivace-cli against a real cluster, as a program sees it (pipes) and as people do (a terminal)."""
import contextlib
import fcntl
import http.server
import json
import os
import pty
import re
import select
import shutil
import ssl
import struct
import subprocess
import termios
import threading
import time
from concurrent import futures

import grpc
import pytest

from test_streaming import field
from vivace import BIN, SLOW, eventually, free_ports, request, span

S = 10**9
FOUND, NOTHING, MISUSE, FAILED = range(4)
EVIL = "\x1b[31mred\x07\x7f\x9b\u202e\n"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def run(*words, code=FOUND, env=None):
    """-> stdout, stderr."""
    done = subprocess.run([BIN / "vivace-cli", *map(str, words)], capture_output=True, timeout=120, env={**os.environ, "TZ": "UTC", "VIVACE_URL": "", **(env or {})})
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, (words, done.returncode, out, err)
    return out, err


def terminal():
    """A pseudo-terminal: its two ends."""
    try:
        return pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminals here ({error})")


def on_terminal(*words, code=FOUND, columns=100, env=None):
    """What a terminal gets of it: both outputs, line ends made plain."""
    master, slave = terminal()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    child = subprocess.Popen([BIN / "vivace-cli", *map(str, words)], stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TZ": "UTC", "TERM": "xterm", **(env or {})})
    os.close(slave)
    seen, end = b"", time.monotonic() + 60 * SLOW
    while time.monotonic() < end:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            part = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(master)
    assert child.wait(30 * SLOW) == code, seen
    return seen.decode().replace("\r\n", "\n")


def test_help_and_wrong_use():
    out, _ = run("--help")
    for word in ("query trace TRACE_ID", "query search", "query metrics", "query tags", "query values TAG", "completion", "--stream", "exit: 0 found"):
        assert word in out
    out, _ = run("query", "search", "--help")
    assert "--spss" in out and "--step" not in out and "query trace" not in out
    assert run("--version")[0].startswith("vivace-cli, version ")
    for words, word in (
            ((), "usage"), (("query",), "query what"), (("query", "api", "search"), "no such command: query api"), (("query", "trace"), "which TRACE_ID"), (("query", "trace", "xyz"), "hex"),
            (("query", "search", "{}", "--step", "1m"), "no option"), (("query", "search", "{}", "--start", "soon"), "not a time"), (("query", "search", "{}", "--limit", "0"), "--limit is a number"),
            (("query", "search", "{}", "--start", "1h", "--since", "1h"), "say the same"), (("query", "search", "{}", "--start", "1h", "--end", "2h"), "not before"),
            (("query", "search", "{}", "--output", "yaml"), "one of"), (("query", "search", "{}", "--header", "x"), "NAME:VALUE"), (("query", "search", "{}", "--url", "http://a b"), "not a URL"),
            (("query", "metrics", "{} | rate()", "--instant", "--step", "1m"), "no --step"), (("query", "tags", "--timeout", "2d"), "at most a day"), (("completion", "tcsh"), "bash")):
        out, err = run(*words, code=MISUSE)
        assert word in err and out == "", (words, err)


def test_nobody_there():
    port = free_ports(1)[0]
    for words in (("query", "trace", "1"), ("query", "search", "{}"), ("query", "search", "{}", "--stream")):
        _, err = run(*words, "--url", f"http://someone:secret@127.0.0.1:{port}/x", code=FAILED)
        assert f"http://127.0.0.1:{port}: " in err and "secret" not in err
        _, err = run(*words, code=FAILED, env={"VIVACE_URL": f"127.0.0.1:{port}"})
        assert f"http://127.0.0.1:{port}: " in err


@pytest.fixture(scope="module")
def data(module_makes):
    """A cluster with 30 traces of two spans, and one that looks for trouble; -> cluster, first second, ids newest first, the odd one."""
    c = module_makes.cluster()
    base, ids = time.time_ns() // S * S - 120 * S, []
    for k in range(30):
        trace_id = f"a{k:031x}"
        ids.insert(0, trace_id)
        assert c.push_json(request(f"svc-{k % 3}", span(trace_id, f"{k + 1:016x}", name=f"op-{k % 5}", start=base + k * S, ms=100 + k, n=k),
                                   span(trace_id, f"{k + 101:016x}", parent=f"{k + 1:016x}", name="child", start=base + k * S + 10**7, ms=20, status=2)))[0] == 200
    odd = "c" * 32
    assert c.push_json(request(f"evil-{EVIL}", span(odd, "e" * 16, name=f"name-{EVIL}", start=base - 600 * S, text=f"value-{EVIL}", **{"日本": "語"})))[0] == 200
    eventually(lambda: len(c.search("{}", limit=100)) == 31)
    return c, base // S, ids, odd


@pytest.fixture
def url(data):
    return {"VIVACE_URL": f"http://127.0.0.1:{data[0].querier.http_port}/"}


def window(data):
    return "--start", data[1] - 60, "--end", data[1] + 90


def test_trace(data, url):
    c, base, ids, _ = data
    out, err = run("query", "trace", ids[3], env=url)
    lines = out.splitlines()
    assert lines[0] == f"trace {ids[3]}" and err == ""
    assert " UTC, 126ms, 2 spans, 1 service, 1 error" in lines[1]
    assert re.fullmatch(r"SPAN +SERVICE +DURATION +STATUS +TIME LINE", lines[3])
    assert re.fullmatch(r"op-1 +svc-2 +126ms +█{24}", lines[4]) and re.fullmatch(r"└─ child +svc-2 +20.0ms +error +█+", lines[5])
    # The short form of an id, and what is not there.
    assert run("query", "trace", ids[3].upper(), env=url)[0] == out
    assert run("query", "trace", "123", code=NOTHING, env=url) == ("", "vivace-cli: nothing found\n")
    # JSON is the server's answer, byte for byte.
    for one, code in ((ids[3], FOUND), ("0" * 29 + "123", NOTHING)):
        assert run("query", "trace", one, "--output", "json", code=code, env=url)[0].encode() == c.api(f"/api/v2/traces/{one}")[2]
    # A window that it is not in: what the server makes of it is what is shown.
    assert run("query", "trace", ids[3], "--since", "1h", env=url)[0] == out


def test_search(data, url):
    c, base, ids, _ = data
    out, err = run("query", "search", "{ span.n >= 0 }", *window(data), "--limit", 5, env=url)
    lines = out.splitlines()
    assert err == "" and re.fullmatch(r"TRACE ID +START UTC +DURATION +SPANS +SERVICE +NAME", lines[0])
    assert [line.split()[0] for line in lines[1:]] == ids[:5]
    at = time.strftime("%H:%M:%S", time.gmtime(base + 29))
    assert lines[1].split() == [ids[0], at, "129ms", "1", "svc-2", "op-4"]
    params = {"q": "{ span.n >= 0 }", "start": base - 60, "end": base + 90, "limit": 5}
    assert run("query", "search", params["q"], *window(data), "--limit", 5, "--output", "json", env=url)[0].encode() == c.api("/api/search", **params)[2]
    # Spans, and attributes that were selected.
    out, _ = run("query", "search", "{ span.n = 7 } | select(span.n, resource.service.name)", *window(data), "--spss", 2, env=url)
    assert re.search(r"^  0*8 +107ms .*n=7", out, re.M), out
    assert not re.search(r" $", out, re.M)
    # Zones, dates.
    assert "START +05:30" in run("query", "search", "{}", env={**url, "TZ": "IST-5:30"})[0]
    out, _ = run("query", "search", "{}", "--since", "2d", "--utc", env={**url, "TZ": "IST-5:30"})
    assert "START UTC" in out and time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(base + 29)) in out
    assert run("query", "search", '{ name = "none" }', code=NOTHING, env=url) == ("", "vivace-cli: nothing found\n")
    assert '"traces":[]' in run("query", "search", '{ name = "none" }', "--output=json", code=NOTHING, env=url)[0]


def test_tables_fit(data, url):
    for columns in (80, 100, 132):
        for words in (("search", "{}"), ("search", "{}", "--spss", 3), ("trace", data[3]), ("metrics", "{} | rate() by (name)"), ("tags",), ("values", "name")):
            out, _ = run("query", *words, env={**url, "COLUMNS": str(columns)})
            assert max(map(len, out.splitlines())) <= columns + 1, (columns, words, out)  # a wide character counts for two


def test_nothing_reaches_a_terminal_raw(data, url):
    odd = data[3]
    for words in (("trace", odd), ("search", "{ span.text != nil } | select(span.text)", "--spss", 1), ("values", "span.text"), ("values", "resource.service.name"), ("tags",),
                  ("metrics", "{} | rate() by (name)"), ("metrics", "{} | rate() by (name)", "--instant"), ("search", "{}", "--stream")):
        for more in ((), ("--output", "json")):
            seen = on_terminal("query", *words, *more, "--no-progress", env=url)
            assert not CONTROLS.search(seen), (words, seen)
    seen = on_terminal("query", "values", "span.text", env=url)
    assert "value-\\x1b[31mred\\x07\\x7f\\u009b\\u202e\\n" in seen
    # On a terminal JSON is the same document; elsewhere it is untouched.
    seen = on_terminal("query", "values", "span.text", "--output", "json", env=url)
    assert json.loads(seen)["tagValues"] == [{"type": "string", "value": f"value-{EVIL}"}]
    assert "\u202e" in run("query", "values", "span.text", "--output", "json", env=url)[0]
    _, err = run("query", "search", "{ \x1b[2J", code=FAILED, env=url)
    assert not CONTROLS.search(err)


def test_metrics(data, url):
    c, base, _, _ = data
    q = "{ span.n >= 0 } | count_over_time() by (resource.service.name)"
    out, err = run("query", "metrics", q, *window(data), "--step", "30s", env=url)
    lines = out.splitlines()
    assert err == "" and re.fullmatch(r"SERIES +LAST +MIN +MAX +AVG +GRAPH", lines[0]) and len(lines) == 4
    status, _, body = c.api("/api/metrics/query_range", q=q, start=(base - 60) * S, end=(base + 90) * S, step="30s")
    assert status == 200
    for series, line in zip(json.loads(body)["series"], lines[1:]):
        values = [p.get("value", 0) for p in series["samples"]]
        name, last, low, high, mean = line.split()[:5]
        assert name == '{resource.service.name="%s"}' % series["labels"][0]["value"]["stringValue"]
        assert (float(last), float(low), float(high)) == (values[-1], min(values), max(values)) and abs(float(mean) - sum(values) / len(values)) < 0.01
        assert "█" in line
    out, _ = run("query", "metrics", q, *window(data), "--instant", env=url)
    assert [line.split() for line in out.splitlines()] == [["SERIES", "VALUE"]] + [['{resource.service.name="svc-%d"}' % k, "10"] for k in range(3)]
    for path, more in (("query_range", ("--step", "30s")), ("query", ("--instant",))):
        params = {"q": q, "start": (base - 60) * S, "end": (base + 90) * S, **({"step": "30s"} if more[0] == "--step" else {})}
        assert run("query", "metrics", q, *window(data), *more, "--output", "json", env=url)[0].encode() == c.api(f"/api/metrics/{path}", **params)[2]
    assert run("query", "metrics", '{ name = "none" } | rate() by (name)', code=NOTHING, env=url)[0] == ""


def test_tags_and_values(data, url):
    out, _ = run("query", "tags", "--scope", "span", env=url)
    assert [line.split() for line in out.splitlines()] == [["SCOPE", "TAG"], ["span", "n"], ["span", "text"], ["span", "日本"]]
    out, _ = run("query", "tags", "--scope", "span", "--filter", '{ resource.service.name = "svc-1" }', env=url)
    assert [line.split() for line in out.splitlines()[1:]] == [["span", "n"]]
    out, _ = run("query", "values", "resource.service.name", "--filter", "{ span.n = 4 }", env=url)
    assert out == "TYPE    VALUE\nstring  svc-1\n"
    assert run("query", "values", "span.n", "--filter", "{ span.n = 4 }", env=url)[0].split() == ["TYPE", "VALUE", "int", "4"]
    assert run("query", "values", "span.日本", env=url)[0].split() == ["TYPE", "VALUE", "string", "語"]
    assert run("query", "values", "span.nothing", code=NOTHING, env=url)[0] == ""


def test_errors_of_the_server(data, url):
    for more in ((), ("--stream",)):
        _, err = run("query", "search", "{ name = \"日本\" } && { nonsense", *more, code=FAILED, env=url)
        lines = err.splitlines()
        assert "invalid TraceQL query: parse error at line 1, col " in lines[0]
        column = int(re.search(r"col (\d+)", lines[0])[1])
        text = "{ name = \"日本\" } && { nonsense"
        assert lines[1] == "  " + text
        # The mark stands below the place: bytes are counted there, columns here.
        before = text.encode()[:column - 1].decode()
        assert lines[2] == "  " + " " * (len(before) + 2 * (before.count("日") > 0)) + "^"
        _, err = run("query", "search", "{\n nonsense }", *more, code=FAILED, env=url)
        assert "line 2, col 2" in err and err.splitlines()[1:] == ["   nonsense }", "   ^"]
        _, err = run("query", "metrics", "{}", *more, code=FAILED, env=url)
        assert "vivace-cli: http://127.0.0.1:" in err
        _, err = run("query", "tags", "--url", url["VIVACE_URL"] + "nowhere", *more, code=FAILED)
        assert "404" in err or "status 12" in err


def test_tenants(cluster):
    c = cluster(config={"multitenancy_enabled": True})
    url = {"VIVACE_URL": f"http://127.0.0.1:{c.querier.http_port}"}
    assert c.push_json(request("svc", span("b" * 32, "c" * 16)), **{"X-Scope-OrgID": "one"})[0] == 200
    eventually(lambda: run("query", "trace", "b" * 32, "--org-id", "one", env=url))
    for more in ((), ("--stream",)):
        assert "b" * 32 in run("query", "search", "{}", "--org-id", "one", *more, env=url)[0]
        assert "b" * 32 in run("query", "search", "{}", "--header", "X-Scope-OrgID: one", *more, env=url)[0]
        assert "b" * 32 in run("query", "search", "{}", "--header", "X-Scope-OrgID=one", *more, env=url)[0]
        assert run("query", "search", "{}", "--org-id", "two", *more, code=NOTHING, env=url)[0] == ""
        assert "no org id" in run("query", "search", "{}", *more, code=FAILED, env=url)[1]


def test_a_missing_place_is_told(cluster):
    c = cluster(counts={"ingester": 2})
    url = {"VIVACE_URL": f"http://127.0.0.1:{c.querier.http_port}"}
    ids = [os.urandom(16).hex() for _ in range(40)]
    for one in ids:
        assert c.push_json(request("svc", span(one, os.urandom(8).hex())))[0] == 200
    eventually(lambda: len(c.search("{}", limit=100)) == 40)
    c.processes["ingester"][1].kill()
    for more in ((), ("--stream",)):
        def partial():
            done = subprocess.run([BIN / "vivace-cli", "query", "search", "{}", *more], capture_output=True, timeout=60, env={**os.environ, **url})
            return done.returncode == FOUND and b"partial answer: 1 " in done.stderr
        eventually(partial, 30)
        # Nothing found in what is not whole is no answer.
        assert "not all was seen" in run("query", "search", '{ name = "none" }', *more, code=FAILED, env=url)[1]


# --- streams ---------------------------------------------------------------------------------------

def test_stream_is_the_same(data, url):
    q = "{ span.n >= 0 } | count_over_time() by (resource.service.name)"
    for words in (("search", "{ span.n > 20 }", "--limit", 7), ("search", "{ span.n = 7 } | select(span.n)", "--spss", 2), ("tags", "--scope", "span"), ("tags", "--filter", "{ span.n = 3 }"),
                  ("values", "resource.service.name"), ("values", "span.n", "--filter", "{ span.n = 4 }"), ("metrics", q, "--step", "30s"), ("metrics", q, "--instant")):
        plain, stream = (run("query", *words, *window(data), *more, env=url) for more in ((), ("--stream",)))
        assert plain == stream and plain[0] != ""
        plain, stream = (json.loads(run("query", *words, *window(data), "--output", "json", *more, env=url)[0]) for more in ((), ("--stream",)))
        assert {k: v for k, v in plain.items() if k != "metrics"} == {k: v for k, v in stream.items() if k != "metrics"}
    assert run("query", "search", '{ name = "none" }', "--stream", code=NOTHING, env=url)[0] == ""


def trace_message(trace_id, start, name="op", ms=10):
    return field(1, field(1, trace_id) + field(2, "svc") + field(3, name) + field(4, start) + field(5, ms))


def jobs(completed, total):
    return field(2, field(4, completed) + field(5, total))


@contextlib.contextmanager
def streaming_server(methods, tls=None):
    """A gRPC server with these methods: {name: function of request and context that yields messages}; tls: credentials."""
    pool = futures.ThreadPoolExecutor(4)
    server = grpc.server(pool)
    handlers = {name: grpc.unary_stream_rpc_method_handler(fn, request_deserializer=bytes, response_serializer=bytes) for name, fn in methods.items()}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tempopb.StreamingQuerier", handlers)])
    port = server.add_secure_port("127.0.0.1:0", tls) if tls else server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}"
    finally:
        server.stop(0)
        pool.shutdown()


def test_several_messages(data):
    now = time.time_ns() - 10 * S

    def search(_, context):
        yield trace_message("aa", now) + jobs(1, 3)
        yield trace_message("bb", now + 2 * S) + trace_message("aa", now, ms=20) + jobs(2, 3)
        yield trace_message("cc", now + S) + trace_message("bb", now + 2 * S) + jobs(3, 3)

    def values(_, context):
        for text in ("b", "a", "b"):
            yield field(1, field(1, "string") + field(2, text))

    def tags(_, context):
        yield b"".join(field(1, field(1, "span") + field(2, f"tag-{k:06}")) for k in range(40000))  # a message of many reads
        yield b""

    with streaming_server({"Search": search, "SearchTagValuesV2": values, "SearchTagsV2": tags}) as url:
        lines = run("query", "search", "{}", "--stream", "--url", url)[0].splitlines()
        assert [line.split()[0] for line in lines] == ["TRACE", "bb", "cc", "aa"] and "20.0ms" in lines[3]
        out = run("query", "search", "{}", "--stream", "--url", url, "--output", "json")[0].splitlines()
        assert [[t["traceID"] for t in json.loads(line)["traces"]] for line in out] == [["aa"], ["bb", "aa"], ["cc", "bb"]]
        assert json.loads(out[1])["metrics"] == {"completedJobs": 2, "totalJobs": 3}
        assert [line.split()[0] for line in run("query", "search", "{}", "--stream", "--limit", 2, "--url", url)[0].splitlines()[1:]] == ["bb", "cc"]
        assert run("query", "values", "x", "--stream", "--url", url)[0] == "TYPE    VALUE\nstring  a\nstring  b\n"
        assert run("query", "tags", "--stream", "--url", url)[0].count("\n") == 40001
        # On a terminal rows come as they are known; what changed since is told at the end.
        seen = on_terminal("query", "search", "{}", "--stream", "--url", url, "--no-progress")
        first, last = seen.split("\nall of it:\n")
        assert [line.split()[0] for line in first.splitlines()] == ["TRACE", "aa", "bb", "cc"]
        assert [line.split()[0] for line in last.splitlines()] == ["TRACE", "bb", "cc", "aa"]


def test_progress_and_rows_before_the_end():
    now, go = time.time_ns() - 10 * S, threading.Event()

    def search(_, context):
        yield trace_message("aa", now) + jobs(3, 17)
        go.wait(60 * SLOW)
        yield trace_message("aa", now) + jobs(17, 17)

    with streaming_server({"Search": search}) as url:
        master, slave = terminal()
        child = subprocess.Popen([BIN / "vivace-cli", "query", "search", "{}", "--stream", "--url", url], stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"})
        os.close(slave)
        seen = b""
        while not (b"aa" in seen and b"3 of 17 jobs" in seen):  # before the stream ends
            assert select.select([master], [], [], 30 * SLOW)[0], seen
            seen += os.read(master, 65536)
        go.set()
        with contextlib.suppress(OSError):
            while part := os.read(master, 65536):
                seen += part
        os.close(master)
        assert child.wait(30 * SLOW) == FOUND
        assert b"\r\x1b[K" in seen and seen.count(b"aa") == 1 and b"all of it" not in seen


def test_streams_that_fail():
    def refused(_, context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "50 % of it: \x1b[31mjob queue full, ä")

    def late(_, context):
        yield trace_message("aa", time.time_ns())
        context.abort(grpc.StatusCode.INTERNAL, "lost")

    def damaged(_, context):
        yield b"\x0a\x7f"

    def slow(_, context):
        yield trace_message("aa", time.time_ns())
        time.sleep(5)

    for fn, word in ((refused, "gRPC status 8: 50 % of it: \\x1b[31mjob queue full, ä"), (late, "gRPC status 13: lost"), (damaged, "can not be read")):
        with streaming_server({"Search": fn}) as url:
            out, err = run("query", "search", "{}", "--stream", "--url", url, code=FAILED)
            assert word in err and out == ""
    with streaming_server({"Search": slow}) as url:
        _, err = run("query", "search", "{}", "--stream", "--url", url, "--timeout", "1s", code=FAILED)
        assert "imed out" in err or "gRPC status 4" in err


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of 127.0.0.1, by itself: -> key file, certificate file."""
    folder = tmp_path_factory.mktemp("tls")
    key, own = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", own],
                   check=True, capture_output=True, timeout=120)
    return key, own


def test_https(certificate):
    key, own = certificate

    def search(_, context):
        yield trace_message("aa", time.time_ns())

    def check(url, *more):
        assert "certificate" in run("query", "search", "{}", "--url", url, *more, code=FAILED)[1]
        assert "aa" in run("query", "search", "{}", "--url", url, *more, "--ca-file", own)[0]
        assert "aa" in run("query", "search", "{}", "--url", url, *more, "--insecure")[0]
        assert "nowhere.pem" in run("query", "search", "{}", "--url", url, *more, "--ca-file", "nowhere.pem", code=MISUSE)[1]

    with streaming_server({"Search": search}, grpc.ssl_server_credentials([(key.read_bytes(), own.read_bytes())])) as url:
        check(url, "--stream")
    with plain_server((200, b'{"traces":[{"traceID":"aa"}]}'), tls=certificate) as url:
        check(url)


class Plain(http.server.BaseHTTPRequestHandler):
    """A server whose answers are the test's own."""
    answer, wait = (200, b"{}"), None

    def do_GET(self):
        if self.wait is not None:
            self.wait.wait(60 * SLOW)
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def plain_server(answer, wait=None, tls=None):
    handler = type("Handler", (Plain,), {"answer": answer, "wait": wait})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls[1], tls[0])
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_answers_of_strangers():
    for answer, word in (((200, b"<html>"), "no JSON object"), ((502, b"<html>\x1b[2J bad\ngateway"), "502: <html>\\x1b[2J bad\ngateway"), ((200, b"[" * 5000), "no JSON object"), ((404, b""), "404")):
        with plain_server(answer) as url:
            out, err = run("query", "search", "{}", "--url", url, code=FAILED)
            assert word in err and out == "", (answer, err)
    with plain_server((200, b"\x0a\x7f")) as url:
        assert "can not be read" in run("query", "trace", "1", "--url", url, code=FAILED)[1]
    with plain_server((200, b"{}")) as url:  # HTTP/1.1 alone
        assert url in run("query", "search", "{}", "--stream", "--url", url, code=FAILED)[1]


def test_a_spinner_while_it_lasts():
    go = threading.Event()
    with plain_server((200, b'{"tagValues":[{"type":"string","value":"x"}]}'), go) as url:
        master, slave = terminal()
        child = subprocess.Popen([BIN / "vivace-cli", "query", "values", "x", "--url", url], stdout=subprocess.PIPE, stderr=slave, env={**os.environ, "TERM": "xterm"})
        os.close(slave)
        seen = b""
        while b" s" not in seen:
            assert select.select([master], [], [], 30 * SLOW)[0], seen
            seen += os.read(master, 65536)
        go.set()
        assert child.communicate(timeout=30 * SLOW)[0] == b"TYPE    VALUE\nstring  x\n"
        with contextlib.suppress(OSError):
            while part := os.read(master, 65536):
                seen += part
        os.close(master)
        assert seen.endswith(b"\r\x1b[K") and re.search(rb"\d\.\d s", seen)
        # Not in a pipe, and not when it is not wanted.
        assert run("query", "values", "x", "--url", url)[1] == ""


# --- completion ------------------------------------------------------------------------------------

def complete_bash(line):
    """What a real bash offers at the end of this line."""
    words = re.findall(r"=|[^ =]+", line) + ([""] if line.endswith(" ") else [])
    script = f"""
source <({BIN}/vivace-cli completion bash)
COMP_WORDS=({' '.join("'" + w + "'" for w in words)}) COMP_CWORD={len(words) - 1}
_vivace_cli
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return set(done.stdout.split())


OFFERS = (
    ("vivace-cli ", {"query", "completion", "--help", "--version"}), ("vivace-cli q", {"query"}), ("vivace-cli query ", {"trace", "search", "metrics", "tags", "values", "--help"}),
    ("vivace-cli query t", {"trace", "tags"}), ("vivace-cli query metrics {} --st", {"--start", "--step", "--stream"}), ("vivace-cli query trace 1f --st", {"--start"}),
    ("vivace-cli query search {} --output ", {"table", "json"}), ("vivace-cli query search {} --limit 5 --output=j", {"json"}), ("vivace-cli query tags --scope i", {"instrumentation", "intrinsic"}),
    ("vivace-cli query search {} --org-id ", set()), ("vivace-cli completion ", {"bash", "zsh", "fish", "--help"}))


def test_completion_in_bash():
    script, _ = run("completion", "bash")
    assert subprocess.run(["bash", "-n"], input=script, text=True, timeout=60).returncode == 0
    for line, want in OFFERS:
        assert complete_bash(line) == want, line
    # A file's name.
    assert os.path.basename(__file__) in complete_bash(f"vivace-cli query tags --ca-file {__file__[:-2]}").pop()
    # Typed at a prompt, as people do.
    master, slave = terminal()
    child = subprocess.Popen(["bash", "--norc", "-i"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", "PS1": ""})
    os.close(slave)
    os.write(master, b"source <(vivace-cli completion bash); echo rea''dy\n")
    seen = b""

    def until(word):
        nonlocal seen
        end = time.monotonic() + 60 * SLOW
        while word not in seen:
            assert time.monotonic() < end and select.select([master], [], [], 30 * SLOW)[0], seen
            seen += os.read(master, 65536)
    until(b"ready")
    os.write(master, b"echo vivace-cli; vivace-cli que\ttra\t--hel\t\n")
    until(b"vivace-cli query trace --help")
    until(b"one trace: its spans as a tree")
    os.write(master, b"exit\n")
    with contextlib.suppress(OSError):
        while os.read(master, 65536):
            pass
    os.close(master)
    assert child.wait(30 * SLOW) == 0


def test_completion_in_fish(tmp_path):
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("no fish here (Debian package fish): its completion is not tried")
    (tmp_path / "s.fish").write_text(run("completion", "fish")[0])
    env = {**os.environ, "HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    for line, want in OFFERS:
        done = subprocess.run([fish, "--no-config", "-c", f"source {tmp_path}/s.fish; complete -C '{line}'"], capture_output=True, text=True, timeout=60, env=env)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        got = {offer.split("\t")[0].split("=")[-1] for offer in done.stdout.splitlines()}
        # fish offers options after a dash alone.
        assert got == {w for w in want if line.split(" ")[-1].startswith("-") or not w.startswith("--")}, line


def test_completion_in_zsh(tmp_path):
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("no zsh here (Debian package zsh): its completion is not tried")
    script = tmp_path / "_vivace-cli"
    script.write_text(run("completion", "zsh")[0])
    # compadd tells what it is given, instead of a line editor.
    (tmp_path / "try.zsh").write_text("""
compdef() { :; }
compset() { :; }
compadd() { [ "$1" = -- ] && shift; print -l -- "$@"; }
source $1
words=("${(@s: :)2}") CURRENT=${#words}
_vivace_cli
""")
    for line, want in OFFERS:
        done = subprocess.run([zsh, "-f", tmp_path / "try.zsh", script, line], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        start = line.split(" ")[-1].split("=")[-1]
        assert {w for w in done.stdout.split() if w.startswith(start)} == want, line
