"""The four binaries as processes: flags, start, refusals to start, readiness, metrics, drain, end."""
import json
import os
import re
import signal
import socket
import subprocess
import threading

import grpc
import pytest

from otlp import EXPORT, make_request
from vivace import BIN, ROLES, SLOW, Ledger, eventually, http, request, span

SEED = """\
server:
  http_listen_port: 3200
distributor:
  receivers:
    otlp:
      protocols:
        grpc:
          endpoint: 0.0.0.0:4317
        http:
          endpoint: 0.0.0.0:4318
storage:
  trace:
    backend: local
    local:
      path: /tmp/tempo/blocks
    wal:
      path: /tmp/tempo/wal
    block:
      retention: 168h
metrics_generator:
  registry:
    external_labels:
      source: tempo
      cluster: lgtm-stack
  storage:
    path: /tmp/tempo/generator/wal
    remote_write:
      - url: http://mimir:9009/api/v1/push
        send_exemplars: true
  processor:
    service_graphs:
      dimensions: [service.name, service.namespace]
    span_metrics:
      dimensions: [service.name, http.method, http.status_code, http.route, status.code, db.system, db.name, db.operation]
overrides:
  metrics_generator_processors: [service-graphs, span-metrics]
"""


def run(role, *flags, timeout=20):
    return subprocess.run([BIN / role, *flags], capture_output=True, text=True, timeout=timeout * SLOW)


@pytest.fixture
def config(tmp_path):
    def write(text, name="tempo.yml"):
        path = tmp_path / name
        path.write_text(text)
        return path
    return write


@pytest.mark.parametrize("role", ROLES)
def test_version_and_help(role):
    version = run(role, "-version")
    assert version.returncode == 0
    assert re.search(r"version \d+\.\d+\.\d+", version.stdout), version
    usage = run(role, "-help")
    assert usage.returncode == 0 and "-config.file" in usage.stdout + usage.stderr


@pytest.mark.parametrize("role", ROLES)
def test_seed_configuration_is_accepted_as_it_stands(role, config):
    verified = run(role, f"-config.file={config(SEED)}", "-config.verify")
    assert verified.returncode == 0, verified


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("change, words", [
    (("retention: 168h", "retenion: 168h"), ["tempo.yml:19", "retenion", "retention"]),  # the line, the key, the nearest known one
    (("retention: 168h", "retention: soon"), ["tempo.yml:19", "retention", "soon"]),
    (("http_listen_port: 3200", "http_listen_port: [3200]"), ["tempo.yml:2", "http_listen_port"]),
    (("http_listen_port: 3200", "http_listen_port: 70000"), ["tempo.yml:2", "http_listen_port", "65535"]),
    (("  grpc:\n", "  grpc: {\n"), ["tempo.yml"]),
])
def test_bad_configuration_names_file_line_key(role, config, change, words):
    assert change[0] in SEED
    failed = run(role, f"-config.file={config(SEED.replace(*change))}")
    assert failed.returncode == 1, failed
    lines = [line for line in failed.stderr.splitlines() if line]
    assert len(lines) == 1, failed.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])


def test_keys_without_meaning_here_warn_once(config):
    verified = run("querier", f"-config.file={config(SEED + 'memberlist:' + chr(10) + '  join_members: [a]' + chr(10))}", "-config.verify")
    text = verified.stdout + verified.stderr
    assert verified.returncode == 1, verified  # -config.verify fails on any warning, as Tempo's does
    assert len([line for line in text.splitlines() if "memberlist" in line]) == 1, text


def test_environment_only_when_asked(config, monkeypatch):
    path = config(SEED.replace("3200", "${VIVACE_TEST_PORT:-3210}"))
    assert run("querier", f"-config.file={path}", "-config.verify").returncode == 1
    shown = run("querier", f"-config.file={path}", "-config.expand-env", "-config.print")
    assert shown.returncode == 0 and "http_listen_port: 3210" in shown.stdout, shown
    monkeypatch.setenv("VIVACE_TEST_PORT", "3999")
    assert "http_listen_port: 3999" in run("querier", f"-config.file={path}", "-config.expand-env", "-config.print").stdout


def test_missing_file_and_foreign_target():
    gone = run("querier", "-config.file=/nonexistent/tempo.yml")
    assert gone.returncode == 1 and "/nonexistent/tempo.yml" in gone.stderr
    wrong = run("querier", "-target=ingester")
    assert wrong.returncode == 1 and "ingester" in wrong.stderr


def test_every_role_ready_live_and_named(cluster):
    c = cluster()
    for p in c.all():
        assert p.get("/ready")[0] == 200
        assert p.get("/live")[0] == 200
        assert p.get("/status/version")[0] == 200
        assert json.loads(p.get("/api/status/buildinfo")[2])["version"]
        assert p.get("/no/such/thing")[0] == 404
        health = run(p.role, "-health", f"-health.url=http://127.0.0.1:{p.http_port}/ready")
        assert health.returncode == 0, health
    status, _, body = c.api("/api/echo")
    assert (status, body.strip()) == (200, b"echo")
    gone = run("querier", "-health", f"-health.url=http://127.0.0.1:{dead_port()}/ready")
    assert gone.returncode == 1


def dead_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_admin_pages_are_not_for_tenants(cluster):
    c = cluster()
    for p in (c.querier, c.distributor):
        for path in ("/flush", "/shutdown", "/status/config"):
            assert p.get(path)[0] == 404, (p.role, path)
        admin = http(f"http://127.0.0.1:{p.admin_port}/status/config")
        assert admin[0] == 200 and b"wal:" in admin[2], admin
    assert c.ingester.get("/status/config")[0] == 200


def test_shutdown_route_ends_cleanly(cluster):
    c = cluster()
    assert http(f"http://127.0.0.1:{c.querier.admin_port}/shutdown", b"", method="POST")[0] == 200
    assert c.querier.popen.wait(20 * SLOW) == 0


# --- what is taken already ------------------------------------------------------------------------------

@pytest.mark.parametrize("role", ROLES)
def test_own_http_port_taken(cluster, role):
    c = cluster(start=False)
    p = c.processes[role][0]
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", p.http_port))
        s.listen()
        p.start(ready=False)
        assert p.popen.wait(20 * SLOW) == 1
    assert one_line(p, str(p.http_port))


def one_line(p, word):
    lines = [line for line in p.log().splitlines() if line.startswith(f"{p.role}: ")]
    assert len(lines) == 1 and word in lines[0], p.log()
    return lines[0]


@pytest.mark.parametrize("role, flag", [("ingester", "push"), ("ingester", "query"), ("ingester", "control"), ("generator", "push"),
                                        ("querier", "control"), ("distributor", "control")])
def test_lane_taken(cluster, role, flag):
    c = cluster(start=False)
    p = c.processes[role][0]
    port = int(next(f for f in p.flags if f"{flag}-listen=" in f).rsplit(":", 1)[1])
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen()
        p.start(ready=False)
        assert p.popen.wait(20 * SLOW) == 1
    assert one_line(p, str(port))


@pytest.mark.parametrize("which", [0, 1])
def test_receiver_taken(cluster, which):
    c = cluster(start=False)
    p, port = c.distributor, c.otlp[0][which]
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen()
        p.start(ready=False)
        assert p.popen.wait(20 * SLOW) == 1
    assert one_line(p, str(port))


def test_data_folder_of_another_process(cluster, tmp_path):
    """A second ingester on one WAL folder ends with 78 and leaves the first one alone."""
    c = cluster()
    other = cluster(start=False).ingester
    other.flags = [f for f in other.flags if "wal.path" not in f] + [f for f in c.ingester.flags if "wal.path" in f]
    other.start(ready=False)
    assert other.popen.wait(20 * SLOW) == 78, other.log()
    assert one_line(other, f"{c.folder}/wal-0")
    trace_id = os.urandom(16).hex()
    assert c.push_json(request("s", span(trace_id, os.urandom(8).hex())))[0] == 200
    assert len(c.trace(trace_id)) == 1


def test_no_right_to_write(cluster, tmp_path):
    c = cluster(start=False)
    p = c.ingester
    (tmp_path / "file").write_text("not a folder")
    p.flags = [f for f in p.flags if "wal.path" not in f] + [f"-storage.trace.wal.path={tmp_path}/file/wal"]
    p.start(ready=False)
    assert p.popen.wait(20 * SLOW) == 1
    assert one_line(p, f"{tmp_path}/file")


# --- metrics --------------------------------------------------------------------------------------------

def sample_lines(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_metrics_of_all_four_stand_at_the_querier(cluster):
    c = cluster(config={"metrics_generator": {"storage": {"path": "unused"}}, "overrides": {"metrics_generator_processors": ["span-metrics"]}})
    ids = [os.urandom(16).hex() for _ in range(7)]
    for trace_id in ids:
        spans = [span(trace_id, os.urandom(8).hex(), n=k) for k in range(3)]
        assert c.push_json(request("shop", *spans))[0] == 200
    names = {"tempo_distributor_spans_received_total": 21, "tempo_ingester_traces_created_total": 7}
    for name, want in names.items():
        eventually(lambda: c.querier.metric(name, tenant="single-tenant") == want)
    # The lane to the generator does not wait for anybody.
    eventually(lambda: c.querier.metric("tempo_metrics_generator_spans_received_total", tenant="single-tenant") == 21)
    assert c.querier.metric("tempo_metrics_generator_spans_total") == 21
    assert c.distributor.metric("tempo_distributor_spans_received_total", tenant="single-tenant") == 21
    assert c.ingester.metric("tempo_ingester_traces_created_total", tenant="single-tenant") == 7
    # One process' page has its own series alone.
    assert c.distributor.metric("tempo_ingester_traces_created_total") is None
    c.search("{}")
    assert c.querier.metric("tempo_query_frontend_queries_total", op="search") >= 1
    assert c.querier.metric("tempo_request_duration_seconds_count", route="api_search") >= 1


@pytest.mark.parametrize("role", ROLES)
def test_metrics_page_is_exposition_text(cluster, role):
    c = cluster()
    status, headers, body = c.processes[role][0].get("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain")
    text = body.decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    assert "tempo_build_info" in types
    seen = set()
    for line in sample_lines(text):
        m = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)', line)
        assert m, line
        float(m[3])
        assert m[1] + (m[2] or "") not in seen, f"twice: {line}"
        seen.add(m[1] + (m[2] or ""))
        assert m[1] in types or re.sub(r"_(bucket|sum|count)$", "", m[1]) in types, line
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"):
        assert name in types, name


def test_metrics_of_a_peer_that_is_gone_are_left_out(cluster):
    c = cluster()
    assert c.search("{}") == []
    c.generator.kill()
    status, _, body = c.querier.get("/metrics")
    assert status == 200 and b"tempo_query_frontend_queries_total" in body and b"vivace_wal_bytes" in body
    c.generator.start()


# --- end ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("role", ROLES)
def test_sigterm_and_sigint_end_with_0(cluster, role):
    c = cluster()
    p = c.processes[role][0]
    p.stop()
    p.start(ready=role != "distributor" and role != "querier")
    c.settle(p)
    assert p.kill(signal.SIGINT) == 0, p.log()


def test_shutdown_delay_serves_while_not_ready(cluster):
    c = cluster(flags={"querier": ["-shutdown-delay=1s"]})
    c.querier.popen.send_signal(signal.SIGTERM)
    eventually(lambda: c.querier.get("/ready")[0] == 503)
    assert c.api("/api/search", q="{}")[0] == 200
    assert c.querier.popen.wait(20 * SLOW) == 0


def test_distributor_drains_under_load(cluster):
    """What was acknowledged before SIGTERM is there, what was not is there whole or not at all."""
    c = cluster()
    for _ in range(3):
        ledger = Ledger(c, threads=6)
        ledger.wait_for(30)
        assert c.distributor.kill(signal.SIGTERM) == 0, c.distributor.log()
        ledger.stop()
        c.distributor.start(ready=False)
        c.settle(c.distributor)
        assert ledger.missing() == {}
        assert ledger.torn() == {}


def test_distributor_drains_grpc_under_load(cluster):
    """Connections are told to go (GOAWAY), calls under way are answered; every call ends with OK, which means stored, or UNAVAILABLE."""
    c = cluster()
    acked, failed, lock, stopping = [], [], threading.Lock(), threading.Event()

    def run():
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 1000)]
        with grpc.insecure_channel(f"127.0.0.1:{c.otlp[0][0]}", options=options) as channel:
            export = channel.unary_unary(EXPORT, None, None)
            while not stopping.is_set():
                r, (trace_id,) = make_request(spans=4)
                try:
                    body = export(r.SerializeToString(), timeout=30 * SLOW, wait_for_ready=True)
                    with lock:
                        acked.append((trace_id, body))
                except grpc.RpcError as error:
                    failed.append((error.code(), error.details()))
    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for _ in range(3):
            before = len(acked)
            eventually(lambda: len(acked) > before + 40, 30)
            assert c.distributor.kill(signal.SIGTERM) == 0, c.distributor.log()
            c.distributor.start(ready=False)
            c.settle(c.distributor)
    finally:
        stopping.set()
        for t in threads:
            t.join()
    assert {code for code, _ in failed} <= {grpc.StatusCode.UNAVAILABLE}, set(failed)
    assert {body for _, body in acked} == {b"\x0a\x00"}
    assert [i for i, _ in acked if len(c.trace(i)) != 4] == []


def test_file_descriptors_and_threads_stay(cluster):
    """Nothing leaks per request."""
    c = cluster()

    def use():
        for _ in range(20):
            trace_id = os.urandom(16).hex()
            assert c.push_json(request("s", span(trace_id, os.urandom(8).hex())))[0] == 200
            c.trace(trace_id)
            c.search('{ name = "op" }')
            c.api("/api/search/tags")

    def held():
        return {p.role: (len(os.listdir(f"/proc/{p.popen.pid}/fd")), len(os.listdir(f"/proc/{p.popen.pid}/task"))) for p in c.all()}
    use()
    before = held()
    use()
    use()
    eventually(lambda: all(h[0] <= before[r][0] + 3 and h[1] <= before[r][1] + 1 for r, h in held().items()))
