"""Runs the four real binaries on ports picked at run time, each process with its own log, all in one folder."""
import contextlib
import gzip
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

ROOT = pathlib.Path(__file__).resolve().parents[2]
VARIANT = os.environ.get("VIVACE_VARIANT", "release")
BIN = pathlib.Path(os.environ.get("VIVACE_BIN", ROOT / "build" / VARIANT / "bin"))
SLOW = 4 if VARIANT in ("debug", "tsan") else 1  # sanitizers cost time
ROLES = ("distributor", "ingester", "querier", "generator")


def free_ports(count):
    """Ports that were free a moment ago; all held at once, so that they differ. Below the range that outgoing connections take
    theirs from: a process that is killed and started again must find its port free."""
    with contextlib.ExitStack() as stack:
        ports = []
        while len(ports) < count:
            s = stack.enter_context(socket.socket())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port = random.randrange(10000, 32000)
            if port in ports:  # two sockets that do not listen may have the same
                continue
            with contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


def http(url, data=None, headers=None, method=None, timeout=30):
    """-> status, headers, body; an HTTP error is an answer like any other; no answer raises OSError."""
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()
    except HTTPException as error:
        raise OSError(f"broken answer: {error!r}") from error


def make(target, variant=VARIANT):
    """Builds something beside the binaries, of the sources they were built of; -> its path."""
    base = BIN.parent.parent
    path = base / variant / target
    made = subprocess.run(["make", "-C", ROOT, "--no-print-directory", f"VARIANT={variant}", f"B={base}", path], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return path


def eventually(check, seconds=10, every=0.05):
    """The first true value of check(); what it last gave (or raised) is in the message when the time is over."""
    end, last = time.monotonic() + seconds * SLOW, None
    while True:
        try:
            last = check()
            if last:
                return last
        except (OSError, AssertionError, KeyError, ValueError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds * SLOW} s: {last!r}")
        time.sleep(every)


class Process:
    def __init__(self, cluster, role, index, http_port, flags, env=None, wrap=()):
        self.cluster, self.role, self.index, self.http_port = cluster, role, index, http_port
        self.flags, self.env, self.wrap = flags, env or {}, list(wrap)
        self.log_path = cluster.folder / f"{role}-{index}.log"
        self.popen, self.started, self.admin_port = None, 0.0, None

    def start(self, ready=True):
        command = [*self.wrap, str((self.cluster.bin or BIN) / self.role), f"-config.file={self.cluster.config_path}",
                   f"-server.http-listen-port={self.http_port}", f"-instance-id={self.role}-{self.index}", *self.flags]
        # Under strace there is no leak detection (one tracer a process); preloaded libraries may come before the sanitizer's.
        leaks = 0 if self.wrap else 1
        env = {**os.environ, "ASAN_OPTIONS": f"detect_leaks={leaks}:abort_on_error=0:verify_asan_link_order=0",
               "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1", **self.env}
        log = open(self.log_path, "ab")
        self.started = time.monotonic()
        self.popen = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=self.cluster.folder)
        log.close()
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=20):
        def check():
            assert self.popen.poll() is None, f"{self.role} ended with {self.popen.returncode}: {self.log()[-2000:]}"
            return self.get("/ready")[0] == 200
        eventually(check, seconds)

    def get(self, path, **headers):
        return http(f"http://127.0.0.1:{self.http_port}{path}", headers=headers)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self, sig=signal.SIGKILL):
        self.popen.send_signal(sig)
        return self.popen.wait(60 * SLOW)

    def stop(self):
        """SIGTERM; a clean end is part of the promise."""
        if self.popen is None or self.popen.poll() is not None:
            return
        code = self.kill(signal.SIGTERM)
        assert code == 0, f"{self.role}-{self.index} ended with {code}: {self.log()[-3000:]}"

    def metric(self, name, **labels):
        """Sum of the series of this name that have these labels."""
        total, found = 0.0, False
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith(name) and line[len(name):len(name) + 1] in ("{", " "):
                if all(f'{k}="{v}"' in line for k, v in labels.items()):
                    total, found = total + float(line.rsplit(" ", 1)[1]), True
        return total if found else None


class Cluster:
    """`counts`: how many of each role. `config`: extra YAML sections (merged at the top level by key). By role: `env`, `flags`, `wrap` (a command before)."""

    def __init__(self, folder, counts=None, config=None, env=None, wrap=None, bin=None, flags=None, start=True):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bin = pathlib.Path(bin) if bin else None
        self.counts = {**dict.fromkeys(ROLES, 1), **(counts or {})}
        self.env, self.wrap, self.flags = env or {}, wrap or {}, flags or {}
        self.processes = {role: [] for role in ROLES}
        self.config_path = self.folder / "tempo.yml"
        self._lay_out(config or {})
        if start:
            self.start()

    def _lay_out(self, extra):
        n = self.counts
        ports = iter(free_ports(8 * sum(n.values())))
        lanes = {role: [{lane: f"tcp://127.0.0.1:{next(ports)}" for lane in ("push", "query", "control")} for _ in range(n[role])] for role in ROLES}
        controls = {role: ",".join(l["control"] for l in lanes[role]) for role in ROLES}
        config = {
            "storage": {"trace": {"backend": "local", "local": {"path": str(self.folder / "blocks")}, "wal": {"path": str(self.folder / "wal")}}},
            "distributor": {"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}}}}},
        }
        for key, value in extra.items():
            config[key] = merge(config.get(key), value)
        self.config = config
        self.otlp = []
        for role in ROLES:
            for i in range(n[role]):
                own, flags = lanes[role][i], []
                peers = {"distributor": ("ingester", "generator"), "querier": ("ingester",), "ingester": ("ingester",)}.get(role, ())
                for peer in peers:
                    flags.append(f"-{peer}.members={controls[peer]}")
                admin = next(ports) if role in ("distributor", "querier") else None
                if admin is not None:
                    flags.append(f"-server.admin-listen-port={admin}")
                if role == "distributor":
                    grpc, plain = next(ports), next(ports)
                    self.otlp.append((grpc, plain))
                    own_config = merge(config, {"distributor": {"receivers": {"otlp": {"protocols": {
                        "grpc": {"endpoint": f"127.0.0.1:{grpc}"}, "http": {"endpoint": f"127.0.0.1:{plain}"}}}}}})
                    path = self.folder / f"tempo-distributor-{i}.yml"
                    path.write_text(json.dumps(own_config))
                    flags += [f"-config.file={path}", f"-distributor.control-listen={own['control']}"]
                elif role == "ingester":
                    flags += [f"-ingester.push-listen={own['push']}", f"-ingester.query-listen={own['query']}", f"-ingester.control-listen={own['control']}",
                              f"-storage.trace.wal.path={self.folder}/wal-{i}"]
                elif role == "querier":
                    others = ",".join(controls[r] for r in ROLES if r != "querier" and n[r] > 0)
                    flags += [f"-querier.control-listen={own['control']}", f"-querier.metrics-peers={others}"]
                else:
                    flags += [f"-metrics-generator.push-listen={own['push']}", f"-metrics-generator.control-listen={own['control']}",
                              f"-metrics-generator.storage.path={self.folder}/generator-{i}"]
                env = {**self.env.get("all", {}), **self.env.get(role, {})}
                flags += self.flags.get(role, ())
                process = Process(self, role, i, next(ports), flags, env, self.wrap.get(role, ()))
                process.admin_port = admin
                self.processes[role].append(process)
        self.controls = controls
        self.config_path.write_text(json.dumps(config))  # JSON is YAML

    def all(self):
        return [p for role in ("ingester", "generator", "querier", "distributor") for p in self.processes[role]]

    def start(self):
        for p in self.all():
            p.start(ready=False)
        for p in self.all():
            p.wait_ready()
        # Members find each other by their first hello.
        eventually(lambda: all(self.sees_members(p) for p in self.processes["distributor"] + self.processes["querier"]))
        return self

    def sees_members(self, p):
        """Every ingester (and generator, where the role asks them) is up and active by a hello of its present process."""
        status, _, body = p.get("/status/members", Accept="application/json")
        if status != 200:
            return False
        for group in json.loads(body):
            for member in group["members"]:
                peer = next((q for q in self.processes[group["role"]] if f"{q.role}-{q.index}" == member["id"]), None)
                if peer is None or member["state"] != "ACTIVE" or member["health"] != "up":
                    return False
                if member["last_hello_ms"] / 1000 > time.monotonic() - peer.started:
                    return False
        return True

    def settle(self, *processes):
        """After restarts: these are ready, and those that ask them see them again."""
        for p in processes:
            p.wait_ready()
        eventually(lambda: all(self.sees_members(p) for p in self.processes["distributor"] + self.processes["querier"]))

    def stop(self):
        errors = []
        for p in reversed(self.all()):
            try:
                p.stop()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                errors.append(str(error))
                p.kill()
        assert not errors, errors

    def close(self):
        """For tests that killed what they like: nothing is left running."""
        for p in self.all():
            if p.popen is not None and p.popen.poll() is None:
                p.kill()

    @property
    def ingester(self):
        return self.processes["ingester"][0]

    @property
    def querier(self):
        return self.processes["querier"][0]

    @property
    def distributor(self):
        return self.processes["distributor"][0]

    @property
    def generator(self):
        return self.processes["generator"][0]

    # --- use -----------------------------------------------------------------------------------
    def push_json(self, request, index=0, compress=False, **headers):
        body = json.dumps(request).encode()
        headers = {"Content-Type": "application/json", **headers}
        if compress:
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        return http(f"http://127.0.0.1:{self.otlp[index][1]}/v1/traces", body, headers)

    def push_pb(self, body, index=0, **headers):
        return http(f"http://127.0.0.1:{self.otlp[index][1]}/v1/traces", body, {"Content-Type": "application/x-protobuf", **headers})

    def api(self, path, index=0, accept="application/json", headers=None, **params):
        query = "?" + urllib.parse.urlencode(params) if params else ""
        p = self.processes["querier"][index]
        return http(f"http://127.0.0.1:{p.http_port}{path}{query}", headers={"Accept": accept, **(headers or {})})

    def trace(self, trace_id, index=0, **headers):
        """The trace's spans (v2), each with its resource's attributes under "resource"; [] when it is not there."""
        status, _, body = self.api(f"/api/v2/traces/{trace_id}", index, headers=headers)
        assert status == 200, (status, body)
        return [{**span, "resource": {a["key"]: a["value"] for a in batch["resource"].get("attributes", [])}}
                for batch in json.loads(body)["trace"].get("resourceSpans", []) for scope in batch["scopeSpans"] for span in scope["spans"]]

    def search(self, q, index=0, **params):
        now = int(time.time())
        status, _, body = self.api("/api/search", index, q=q, **{"start": now - 3600, "end": now + 3600, **params})
        assert status == 200, (status, body)
        return json.loads(body)["traces"]

    def flush(self):
        for p in self.processes["ingester"]:
            status, _, body = http(f"http://127.0.0.1:{p.http_port}/flush", b"", method="POST", timeout=120)
            assert status == 204, (status, body)


def merge(base, more):
    if isinstance(base, dict) and isinstance(more, dict):
        return {k: merge(base.get(k), more[k]) if k in more else base[k] for k in base.keys() | more.keys()}
    return base if more is None else more


def attribute(key, value):
    kind = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}[type(value)]
    return {"key": key, "value": {kind: str(value) if kind == "intValue" else value}}


def span(trace_id, span_id, parent="", name="op", start=None, ms=10, kind=2, status=None, **attributes):
    start = time.time_ns() - 5 * 10**9 if start is None else start
    one = {"traceId": trace_id, "spanId": span_id, "name": name, "kind": kind, "startTimeUnixNano": str(start),
           "endTimeUnixNano": str(start + ms * 10**6), "attributes": [attribute(k.replace("__", "."), v) for k, v in attributes.items()]}
    if parent:
        one["parentSpanId"] = parent
    if status is not None:
        one["status"] = {"code": status}
    return one


def request(service, *spans):
    return {"resourceSpans": [{"resource": {"attributes": [attribute("service.name", service)]}, "scopeSpans": [{"spans": list(spans)}]}]}


class Ledger:
    """Sends traces from several threads and keeps which were acknowledged; each trace has an id and a span count of its own."""

    def __init__(self, cluster, threads=4, spans=5, pause=0.0, tenant=None):
        self.cluster, self.spans, self.pause = cluster, spans, pause
        self.acked, self.unknown, self.refused, self.errors = [], [], [], []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.headers = {"X-Scope-OrgID": tenant} if tenant else {}
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        for t in self.threads:
            t.start()

    def _run(self, index):
        while not self.stopping.is_set():
            trace_id = os.urandom(16).hex()
            ids = [os.urandom(8).hex() for _ in range(self.spans)]
            spans = [span(trace_id, one, parent=ids[0] if k else "", name=f"ledger-{k}", n=k) for k, one in enumerate(ids)]
            try:
                status, _, _ = self.cluster.push_json(request(f"ledger-{index}", *spans), index % len(self.cluster.otlp), **self.headers)
                kept = self.acked if status == 200 else self.refused
            except OSError as error:
                kept = self.unknown
                self.errors.append(repr(error))
            with self.lock:
                kept.append(trace_id)
            if kept is not self.acked:
                time.sleep(0.05)
            if self.pause:
                time.sleep(self.pause)

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(60 * SLOW)

    def wait_for(self, more, seconds=30):
        """Until this many further traces are acknowledged."""
        want = len(self.acked) + more
        eventually(lambda: len(self.acked) >= want, seconds, every=0.005)

    def counts(self, ids, index=0):
        """How many spans the querier has of each."""
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(ids, pool.map(lambda i: len(self.cluster.trace(i, index, **self.headers)), ids)))

    def missing(self, ids=None, index=0):
        """Acknowledged traces that are not whole at the querier, or have a span twice: {id: spans found}."""
        return {i: n for i, n in self.counts(list(self.acked if ids is None else ids), index).items() if n != self.spans}

    def torn(self):
        """What was not acknowledged is there whole or not at all (each trace is one part of one request): those for which it is otherwise."""
        return {i: n for i, n in self.counts(self.unknown + self.refused).items() if n not in (0, self.spans)}


PROMETHEUS = shutil.which("prometheus")


class Prometheus:
    """The real one, as the remote-write target."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_ports(1)[0]
        self.base = f"http://127.0.0.1:{self.port}"
        self.write_url = self.base + "/api/v1/write"
        self.popen = None
        (self.folder / "prometheus.yml").write_text(json.dumps({"global": {"scrape_interval": "1h"}, "storage": {"exemplars": {"max_exemplars": 10000}}}))

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.popen = subprocess.Popen(
                [PROMETHEUS, f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"],
                stdout=log, stderr=log, cwd=self.folder)

        def ready():
            assert self.popen.poll() is None, f"prometheus ended: {self.log()[-2000:]}"
            return http(self.base + "/-/ready")[0] == 200
        eventually(ready, 60)
        return self

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def stop(self):
        if self.popen is not None and self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(30)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()

    def get(self, path, **params):
        status, _, body = http(f"{self.base}{path}?{urllib.parse.urlencode(params)}")
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success", answer
        return answer["data"]

    def series(self, query):
        """[(labels, value)] now."""
        return [(r["metric"], float(r["value"][1])) for r in self.get("/api/v1/query", query=query)["result"]]

    def value(self, query):
        """The sum over what the query gives; None when it gives nothing."""
        found = self.series(query)
        return sum(v for _, v in found) if found else None

    def exemplars(self, query):
        now = time.time()
        return [e for s in self.get("/api/v1/query_exemplars", query=query, start=now - 3600, end=now + 3600) for e in s["exemplars"]]
