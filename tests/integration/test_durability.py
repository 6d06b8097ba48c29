"""An acknowledgement means durable: kills, stops, system-call traces, power cuts, and a build that gets it wrong, which these tests must catch."""
import os
import pathlib
import random
import threading

import pytest

import forgetful
import syscalls
from vivace import BIN, ROLES, SLOW, Ledger, eventually, http, make, request, span

SEED = int(os.environ.get("VIVACE_SEED", random.SystemRandom().randrange(1 << 32)))


@pytest.fixture
def rng(request):
    print(f"VIVACE_SEED={SEED}")  # shown when the test fails
    return random.Random(f"{SEED} {request.node.name}")


def check(ledger):
    """All that was acknowledged is there, once; the rest whole or not at all."""
    ledger.stop()
    assert len(ledger.acked) > 0
    assert ledger.missing() == {}
    assert ledger.torn() == {}


def flush_somehow(cluster):
    """A flush that may be cut off by the kill."""
    def run():
        try:
            http(f"http://127.0.0.1:{cluster.ingester.http_port}/flush", b"", method="POST", timeout=20)
        except OSError:
            pass
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_ingester_killed_25_times_under_load(cluster, rng):
    c = cluster(config={"ingester": {"flush_check_period": "100ms", "trace_idle_period": "200ms", "max_block_duration": "2s"},
                        "storage": {"trace": {"wal": {"segment_bytes": "256KiB"}}}})
    ledger = Ledger(c, threads=4)
    for i in range(25):
        ledger.wait_for(rng.randrange(1, 60 // SLOW))
        thread = flush_somehow(c) if i % 3 == 2 else None
        c.ingester.kill()
        c.ingester.start()
        if thread:
            thread.join()
    ledger.wait_for(20)
    ledger.stop()
    assert len(ledger.acked) >= 25
    check(ledger)
    assert c.ingester.metric("vivace_wal_quarantined_files_total") == 0
    c.flush()
    assert ledger.missing() == {}  # and as blocks alone


@pytest.mark.parametrize("role", ["distributor", "querier", "generator"])
def test_others_killed_under_load(cluster, role):
    c = cluster(config={"metrics_generator": {"storage": {"path": "unused"}}, "overrides": {"metrics_generator_processors": ["span-metrics"]}})
    p = c.processes[role][0]
    ledger = Ledger(c)
    for _ in range(4):
        ledger.wait_for(15)
        p.kill()
        if role != "distributor":
            ledger.wait_for(5)  # writes do not need it
        p.start(ready=False)
        c.settle(p)
    check(ledger)


def test_all_ingesters_killed_at_once_clients_are_told(cluster):
    c = cluster(config={"distributor": {"request_timeout": "2s", "first_attempt_timeout": "500ms"}})
    c.ingester.kill()
    answers = []

    def refused():
        status, headers, _ = c.push_json(request("s", span(os.urandom(16).hex(), os.urandom(8).hex())))
        answers.append((status, headers["Retry-After"]))
        return status == 503
    eventually(refused)
    assert answers[-1] == (503, "5")
    assert all(status == 503 for status, _ in answers)
    c.ingester.start()
    eventually(lambda: c.push_json(request("s", span(os.urandom(16).hex(), os.urandom(8).hex())))[0] == 200)


@pytest.mark.parametrize("role", ROLES)
def test_sigterm_under_load_loses_nothing(cluster, role):
    c = cluster(config={"metrics_generator": {"storage": {"path": "unused"}}, "overrides": {"metrics_generator_processors": ["span-metrics"]}})
    p = c.processes[role][0]
    ledger = Ledger(c)
    for _ in range(3):
        ledger.wait_for(20)
        p.stop()  # asserts exit code 0
        p.start(ready=False)
        c.settle(p)
    check(ledger)


def test_flush_all_on_shutdown(cluster):
    """With it, SIGTERM leaves nothing in the log."""
    c = cluster(config={"ingester": {"flush_all_on_shutdown": True}})
    ledger = Ledger(c)
    ledger.wait_for(50)
    ledger.stop()
    c.ingester.stop()
    for path in (c.folder / "wal-0").glob("*.wal"):
        path.unlink()
    c.ingester.start()
    c.settle(c.ingester)
    assert ledger.missing() == {}


# --- the generator's counters ---------------------------------------------------------------------------

def test_counters_are_exact_through_kills_and_an_outage_of_the_target(makes):
    prometheus = makes.prometheus()
    c = makes.cluster(config={
        "metrics_generator": {"registry": {"collection_interval": "300ms"}, "storage": {"path": "unused", "remote_write": [{"url": prometheus.write_url}]}},
        "overrides": {"metrics_generator_processors": ["span-metrics"]}})
    ledger = Ledger(c, threads=3, pause=0.01)
    for i in range(6):
        ledger.wait_for(15)
        if i == 2:
            prometheus.stop()
        elif i == 4:
            prometheus.start()
        elif i % 2 == 1:
            c.generator.kill()
            c.generator.start()
    c.settle(c.generator)
    ledger.wait_for(15)
    ledger.stop()
    assert ledger.unknown == [] and ledger.refused == []  # the generator's deaths are nothing to clients
    want = len(ledger.acked) * ledger.spans
    eventually(lambda: prometheus.value("traces_spanmetrics_calls_total") == want, 60, every=0.3)
    eventually(lambda: prometheus.value("traces_spanmetrics_latency_count") == want, 60, every=0.3)


# --- first proof: the order of the system calls ---------------------------------------------------------

def traced_pushes(makes, bin=None, count=120):
    if syscalls.STRACE is None:
        pytest.skip("no strace here (Debian package strace): the order of system calls can not be seen")
    out = makes.folder / "strace.txt"
    c = makes.cluster(wrap={"ingester": syscalls.command(out)}, bin=bin)
    ledger = Ledger(c, threads=8)
    ledger.wait_for(count // SLOW, 60)
    ledger.stop()
    c.ingester.kill()
    eventually(lambda: not tracer_of(out), 20)
    port = int(next(f for f in c.ingester.flags if "push-listen=" in f).rsplit(":", 1)[1])
    return ledger, syscalls.acks_follow_syncs(out, port, [bytes.fromhex(i) for i in ledger.acked])


def tracer_of(out):
    """The strace that writes this file, if it is still there."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = pathlib.Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(out).encode() in words:
                return int(entry)
    return None


def test_each_ack_follows_the_sync_of_its_bytes(makes):
    ledger, proof = traced_pushes(makes)
    assert proof.violations == []
    assert proof.proven >= len(ledger.acked)  # every acknowledgement was seen and proven


# --- second proof: what no sync confirmed is forgotten at the kill --------------------------------------

@pytest.fixture(scope="session")
def forgetful_library():
    return make("forgetful.so")


def power_cuts(makes, library, rng, count, bin=None, flush=True):
    """-> the ledger after `count` power cuts of the ingester under load, bytes and names that were forgotten."""
    c = makes.cluster(start=False, bin=bin, config={"ingester": {"flush_check_period": "100ms", "trace_idle_period": "100ms", "max_block_duration": "1s"},
                                                    "storage": {"trace": {"wal": {"segment_bytes": "256KiB"}}}})
    layer = forgetful.Forgetful(library, [c.folder / "wal-0", c.folder / "blocks"], makes.folder / "forgetful")
    c.ingester.env.update(layer.env())
    c.start()
    ledger, forgotten = Ledger(c, threads=4), [0, 0]
    for i in range(count):
        ledger.wait_for(rng.randrange(1, 40 // SLOW))
        thread = flush_somehow(c) if flush and i % 2 == 1 else None
        c.ingester.kill()
        if thread:
            thread.join()
        lost = layer.forget(rng)
        forgotten = [a + b for a, b in zip(forgotten, lost)]
        c.ingester.start()
    c.settle(c.ingester)
    ledger.stop()
    return c, ledger, forgotten


def test_power_cuts_lose_nothing_acknowledged(makes, forgetful_library, rng):
    c, ledger, forgotten = power_cuts(makes, forgetful_library, rng, 12)
    print(f"forgotten: {forgotten[0]} bytes, {forgotten[1]} names; {len(ledger.acked)} traces acknowledged")
    check(ledger)
    c.flush()
    assert ledger.missing() == {}


# --- third proof: a build that is wrong is caught by both -----------------------------------------------

@pytest.fixture(scope="session")
def wrong_build(tmp_path_factory):
    """The four binaries, the ingester among them built to acknowledge before it syncs."""
    folder, wrong = tmp_path_factory.mktemp("wrong") / "bin", make("wrong/ingester")
    folder.mkdir()
    for role in ROLES:
        (folder / role).symlink_to(wrong if role == "ingester" else BIN / role)
    return folder


def test_wrong_build_is_caught_by_the_system_calls(makes, wrong_build):
    _, proof = traced_pushes(makes, bin=wrong_build, count=40)
    assert proof.violations != []


def test_wrong_build_is_caught_by_power_cuts(makes, wrong_build, forgetful_library, rng):
    _, ledger, forgotten = power_cuts(makes, forgetful_library, rng, 6, bin=wrong_build, flush=False)
    assert forgotten[0] > 0
    assert ledger.missing() != {}
