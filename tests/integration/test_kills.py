"""kill -9 again and again, several times a second, at random moments of an ingester's life (start, replay, pushes, blocks, publishing, trimming), and each time
everything that no sync had confirmed is forgotten too, as in a power cut.  A ledger of what was acknowledged is held against what can be read.

Release binaries whatever the others run with: it is the order of things on disk that is judged, and there are more kills in a minute."""
import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import forgetful
from lane import Lane, Load, Template
from vivace import ROLES, eventually, http, make

SEED = int(os.environ.get("VIVACE_SEED", random.SystemRandom().randrange(1 << 32)))
KILLS = 100  # a round: one in CI, all with --full
ROUNDS = 20
RESTLESS = {"ingester": {"flush_check_period": "20ms", "trace_idle_period": "50ms", "max_block_duration": "1s"},
            "storage": {"trace": {"wal": {"segment_bytes": "64KiB"}}}}


@pytest.fixture(scope="session")
def release():
    return [make(f"bin/{role}", "release") for role in ROLES][0].parent


@pytest.fixture(scope="session")
def library():
    return make("forgetful.so")


class Victim:
    """An ingester and the querier that looks at what it kept."""

    def __init__(self, makes, release, library, config=RESTLESS):
        self.cluster = makes.cluster(start=False, bin=release, counts={"distributor": 0, "generator": 0}, config=config)
        self.ingester = self.cluster.ingester
        self.port = int(next(f for f in self.ingester.flags if "push-listen=" in f).rsplit(":", 1)[1])
        self.layer = forgetful.Forgetful(library, [self.cluster.folder / "wal-0", self.cluster.folder / "blocks"], makes.folder / "forgetful")
        self.ingester.env.update(self.layer.env())

    def start(self, fault=None):
        self.ingester.env.pop("FORGETFUL_FAULT", None)
        if fault:
            self.ingester.env["FORGETFUL_FAULT"] = fault
        self.ingester.start(ready=False)

    def flush(self, timeout=20):
        """Whether it was said that all is in blocks."""
        try:
            return http(f"http://127.0.0.1:{self.ingester.http_port}/flush", b"", method="POST", timeout=timeout)[0] == 204
        except OSError:
            return False

    def look(self):
        """The querier is up, and sees the ingester that runs now."""
        if self.cluster.querier.popen is None or self.cluster.querier.popen.poll() is not None:
            self.cluster.querier.start(ready=False)
        self.cluster.settle(self.ingester, self.cluster.querier)

    def counts(self, ids):
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(ids, pool.map(lambda i: len(self.cluster.trace(i)), ids)))

    def check(self, acked, unknown, spans):
        """What was acknowledged is whole and there once, the rest so or not at all, and nothing else is there."""
        assert {i: n for i, n in self.counts(acked).items() if n != spans} == {}
        assert {i: n for i, n in self.counts(unknown).items() if n not in (0, spans)} == {}
        now = int(time.time())
        found = {t["traceID"].zfill(32) for t in self.cluster.search("{ }", limit=10000, start=now - 3600, end=now + 3600)}
        assert found >= set(acked) or len(found) >= 10000
        assert found <= set(acked) | set(unknown)


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, ROUNDS))])
def test_killed_100_times_and_forgetful(makes, release, library, number):
    rng = random.Random(f"{SEED} {number}")
    print(f"VIVACE_SEED={SEED} round {number}")
    v = Victim(makes, release, library)
    v.start()
    load, forgotten, began, unready = Load(v.port), [0, 0], time.monotonic(), 0
    for k in range(KILLS):
        flush = None
        if rng.random() < 0.25:
            time.sleep(rng.random() * 0.06)  # while it starts, opens the log, replays
        else:
            want = len(load.acked) + rng.randrange(1, 40)
            eventually(lambda: len(load.acked) >= want, 30, every=0.001)
            if rng.random() < 0.4:
                flush = threading.Thread(target=v.flush, daemon=True)
                flush.start()
                time.sleep(rng.random() * 0.03)
        assert v.ingester.popen.poll() is None, v.ingester.log()[-2000:]
        v.ingester.kill()
        if flush:
            flush.join()
        forgotten = [a + b for a, b in zip(forgotten, v.layer.forget(rng))]
        v.start()
    load.stop()
    print(f"{KILLS} kills in {time.monotonic() - began:.1f} s; forgotten: {forgotten[0]} bytes, {forgotten[1]} names; {len(load.acked)} traces acknowledged, {len(load.open)} open")
    assert len(load.acked) >= KILLS and forgotten[0] > 0 and forgotten[1] > 0
    v.look()
    v.check(load.acked, load.open, load.spans)
    assert v.ingester.metric("vivace_wal_quarantined_files_total") == 0
    assert v.flush(120)
    v.check(load.acked, load.open, load.spans)  # and as blocks alone


# --- each call that changes files, in turn -----------------------------------------------------------

def push(v, template, ledger, until=10):
    """One push, as soon as it can be made; whether it was acknowledged.  A process that is gone takes none."""
    end = time.monotonic() + until
    while v.ingester.popen.poll() is None and time.monotonic() < end:
        ids = []
        try:
            lane = Lane(v.port, 10)
            try:
                body, ids = template.next()
                code, reply = lane.push(body)
            finally:
                lane.close()
            (ledger.acked if code == 0 and reply == b"" else ledger.open).extend(ids)
            return code == 0
        except OSError:
            ledger.open.extend(ids)
            if ids:
                return False
            time.sleep(0.002)
    return False


class Ledger:
    def __init__(self):
        self.acked, self.open = [], []


def live(v, template, ledger, fault):
    """A life with the same steps each time: replay, pushes, a flush, pushes, a flush.  Whether it came to its end."""
    v.start(fault)
    for _ in range(2):
        push(v, template, ledger)
        push(v, template, ledger)
        v.flush(5)
    return v.ingester.popen.poll() is None


FAULTS = {"killed before it": "before", "killed in the middle of it": "half", "killed after it": "after",
          "fails once": "5", "fails from there on": "5+", "no space from there on": "28+", "read-only from there on": "30+"}


@pytest.mark.parametrize("what", FAULTS)
def test_each_call_that_changes_files(makes, release, library, request, what):
    """Each call below the folders of log and blocks, one a life; every sixth in CI, all with --full."""
    rng = random.Random(f"{SEED} {what}")
    print(f"VIVACE_SEED={SEED} {what}")
    v, ledger, template = Victim(makes, release, library), Ledger(), Template(2, 3)
    stride = 1 if request.config.getoption("--full") else 6
    word, for_ever = FAULTS[what].rstrip("+"), "+" if FAULTS[what].endswith("+") else ""
    k, lives, checked = 1 + rng.randrange(stride), 0, 0
    while True:
        fault = f"any {k}{for_ever} {word}"
        whole = live(v, template, ledger, fault)
        touched = v.layer.fired()
        if what == "fails once" and whole:
            # It goes on by itself: what failed is tried again.
            eventually(lambda: push(v, template, ledger), 20)
            eventually(lambda: v.flush(), 60)
        if v.ingester.popen.poll() is None:
            v.ingester.kill()
        elif word.isdigit():
            assert v.ingester.popen.returncode in (1, 75), (fault, v.ingester.log()[-2000:])
        v.layer.forget(rng)
        lives += 1
        if lives % 25 == 0 or not touched:
            v.start()
            v.look()
            print(f"{lives} lives, call {k}: {len(ledger.acked)} acknowledged, {len(ledger.open)} open")
            v.check(ledger.acked, ledger.open, 3)
            assert v.ingester.metric("vivace_wal_quarantined_files_total") == 0
            if not touched:
                break
            v.ingester.kill()
            v.layer.forget(rng)
        k += stride
    assert k > 30
    assert v.flush(120)
    v.check(ledger.acked, ledger.open, 3)


# --- each call that reads files, in turn -------------------------------------------------------------

READS = {"fails once": "5", "fails from there on": "5+"}
LIVES, CALLS = 12, 300  # lives in CI; with --full each of so many calls: lives leave blocks, so there is always one more


def kept_aside(folder):
    """What the processes took for damaged."""
    return sorted(p.name for p in (folder / "wal-0").glob("quarantine/*")) + sorted(p.name for p in (folder / "blocks").glob(".quarantine/*/*"))


@pytest.mark.parametrize("what", READS)
def test_each_call_that_reads_files(makes, release, library, request, what):
    """Replay, listings, blocks read back: what the disk does not give once is there on another day, and is never taken for damage of a block or for an absence."""
    rng = random.Random(f"{SEED} {what}")
    print(f"VIVACE_SEED={SEED} {what}")
    v, ledger, template = Victim(makes, release, library), Ledger(), Template(2, 3)
    assert live(v, template, ledger, None)
    v.ingester.kill()
    full = request.config.getoption("--full")
    for lives, k in enumerate(range(1, CALLS + 1) if full else [1 + int(rng.random() ** 3 * 150) for _ in range(LIVES)]):
        v.start(f"read {k} {READS[what]}")
        for _ in range(2):
            push(v, template, ledger, until=2)
            v.flush(5)
        if v.ingester.popen.poll() is None:
            v.ingester.kill()
        else:
            assert v.ingester.popen.returncode in (1, 75), (k, v.ingester.log()[-2000:])
        v.layer.journal.unlink(missing_ok=True)
        if lives % 25 == 5:
            v.start()
            v.look()
            v.check(ledger.acked, ledger.open, 3)
            v.ingester.kill()
            v.layer.journal.unlink(missing_ok=True)
    aside = kept_aside(v.cluster.folder)
    print(f"{lives + 1} lives, {len(ledger.acked)} acknowledged; kept aside: {aside}")
    assert [n for n in aside if not n.endswith(".wal") or n.startswith("frame-")] == []
    v.start()
    v.look()
    assert v.flush(120)
    v.check(ledger.acked, ledger.open, 3)


@pytest.mark.parametrize("what", READS)
def test_each_call_of_a_querier_that_reads_files(makes, release, library, request, what):
    """An answer is whole or says that it is not; and it is whole again when the disk gives what it has."""
    rng = random.Random(f"{SEED} {what}")
    print(f"VIVACE_SEED={SEED} {what}")
    v, ledger, template = Victim(makes, release, library), Ledger(), Template(2, 3)
    assert live(v, template, ledger, None)
    assert v.flush(20)
    q, want = v.cluster.querier, set(ledger.acked)
    layer = forgetful.Forgetful(library, [v.cluster.folder / "blocks"], makes.folder / "forgetful-querier")
    q.env.update(layer.env())

    def ask():
        """-> (whether all was there, whether an answer said that something is missing)"""
        now, told, seen = int(time.time()), False, True
        for path, params in [("/api/search", {"q": "{ }", "start": now - 3600, "end": now + 3600, "limit": 10000}), *((f"/api/v2/traces/{i}", {}) for i in ledger.acked[:4])]:
            status, headers, body = v.cluster.api(path, **params)
            told |= status >= 500 or headers["X-Vivace-Partial"] is not None
            if status != 200:
                continue
            answer = json.loads(body)
            if "traces" in answer:
                seen &= {t["traceID"].zfill(32) for t in answer["traces"]} == want
            else:
                seen &= sum(len(s["spans"]) for r in answer["trace"].get("resourceSpans", []) for s in r["scopeSpans"]) == 3
        return seen, told

    full = request.config.getoption("--full")
    for k in range(1, CALLS + 1) if full else [1 + int(rng.random() ** 2 * 60) for _ in range(LIVES)]:
        q.env["FORGETFUL_FAULT"] = f"read {k} {READS[what]}"
        q.start(ready=False)
        q.wait_ready()
        v.cluster.settle(q)
        for _ in range(2):
            seen, told = ask()
            assert seen or told, (k, q.log()[-2000:])
        if what == "fails once":
            eventually(lambda: ask() == (True, False), 30)
        fired = layer.fired()
        q.kill()
        layer.journal.unlink(missing_ok=True)
        if full and not fired:
            break
    print(f"the last: call {k}")
    assert kept_aside(v.cluster.folder) == []
