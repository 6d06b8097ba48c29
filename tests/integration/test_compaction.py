"""Blocks become one block: the answers stay the same at every moment, whatever is killed."""
import os
import random
import signal
import threading
import time

import forgetful
from vivace import eventually, make, request, span

S = 1_000_000_000
WINDOW = 4
CONFIG = {
    "storage": {"trace": {"blocklist_poll": "200ms"}},
    "compactor": {"compaction": {"compaction_window": f"{WINDOW}s", "compaction_cycle": "200ms", "compacted_block_retention": "2s"}},
    "ingester": {"flush_check_period": "200ms"},
}


def trace_id():
    return "c" + os.urandom(16).hex()[1:]


def blocks(c):
    """Ids of the blocks that are listed, and of those that were merged into them."""
    there = [p for p in (c.folder / "blocks" / "single-tenant").iterdir() if not p.name.startswith(".")]
    return ({p.name for p in there if (p / "meta.json").exists()}, {p.name for p in there if (p / "meta.compacted.json").exists()})


def write_blocks(c, count, start, pieces=()):
    """Blocks of one window; trace n has a root in block n and a child in the next one, if n is in `pieces`."""
    start += S - start % (WINDOW * S)  # never across a window's end
    ids = [trace_id() for _ in range(count)]
    for n in range(count):
        spans = [span(ids[n], ids[n][:16], name=f"root{n}", start=start)]
        spans += [span(ids[n], os.urandom(8).hex(), parent=ids[n][:16], start=start + S // 100) for _ in range(3)]
        if n > 0 and n - 1 in pieces:
            spans.append(span(ids[n - 1], os.urandom(8).hex(), parent=ids[n - 1][:16], start=start + S // 50))
        assert c.push_json(request(f"s{n}", *spans))[0] == 200
        c.flush()
    return ids


def wanted(ids, pieces):
    return sorted((t, 4 + (n in pieces)) for n, t in enumerate(ids))


def found(c, now):
    window = {"start": now // S - 3600, "end": now // S + 60, "limit": 100}
    return sorted((t["traceID"], t["spanSets"][0]["matched"]) for t in c.search("{}", **window))


def counts(c, ids):
    return sorted((t, len(c.trace(t))) for t in ids)


class Watcher(threading.Thread):
    """Asks all the time, and notes every answer that is not the right one."""

    def __init__(self, c, now, want):
        super().__init__()
        self.c, self.now, self.want, self.wrong, self.asked, self.over = c, now, want, [], 0, threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            got = found(self.c, self.now)
            self.asked += 1
            if got != self.want:
                self.wrong.append(got)

    def end(self):
        self.over.set()
        self.join()
        assert self.asked > 0
        assert self.wrong == []


def test_blocks_become_one(cluster):
    c = cluster(config=CONFIG)
    now = time.time_ns()
    pieces = {0, 2}
    ids = write_blocks(c, 5, now - 600 * S, pieces)
    want = wanted(ids, pieces)
    eventually(lambda: found(c, now) == want, 30)
    watcher = Watcher(c, now, want)
    eventually(lambda: len(blocks(c)[0]) == 1, 60)
    eventually(lambda: blocks(c)[1] == set(), 60)  # those it was made from are gone after a while
    watcher.end()
    assert found(c, now) == want
    assert counts(c, ids) == want
    assert c.ingester.metric("tempodb_compaction_blocks_total", level="0") >= 5
    assert c.ingester.metric("tempodb_compaction_objects_combined_total", level="1") >= 2
    assert c.ingester.metric("vivace_compaction_flags_cleared_total") >= 2
    assert c.ingester.metric("tempodb_compaction_errors_total") == 0
    eventually(lambda: c.ingester.metric("tempodb_blocklist_length", tenant="single-tenant") == 1, 30)
    # Nothing is merged again and again.
    merged = blocks(c)[0]
    time.sleep(1)
    assert blocks(c)[0] == merged
    # Another start: neither the log nor the blocks bring anything twice.
    c.ingester.kill()
    c.ingester.start()
    c.settle(c.ingester)
    eventually(lambda: found(c, now) == want, 30)


def test_disabled(cluster):
    c = cluster(config={**CONFIG, "compactor": {"disabled": True, **CONFIG["compactor"]}})
    now = time.time_ns()
    ids = write_blocks(c, 3, now - 600 * S)
    eventually(lambda: found(c, now) == wanted(ids, ()), 30)
    eventually(lambda: c.ingester.metric("tempodb_compaction_outstanding_blocks", tenant="single-tenant") == 3, 30)
    time.sleep(2 * WINDOW + 1)
    assert len(blocks(c)[0]) == 3 and blocks(c)[1] == set()


def test_killed_at_any_moment(cluster):
    """The ingester dies again and again while blocks take the place of others."""
    c = cluster(config=CONFIG)
    now = time.time_ns()
    pieces = {1, 3}
    ids = write_blocks(c, 6, now - 600 * S, pieces)
    want = wanted(ids, pieces)
    eventually(lambda: found(c, now) == want, 30)
    watcher = Watcher(c, now, want)
    for n in range(8):
        time.sleep(0.25 * n)
        c.ingester.kill(signal.SIGKILL)
        watcher.end()  # what an answer lacks while the ingester is away is another test's matter: all is in blocks here
        c.ingester.start()
        c.settle(c.ingester)
        eventually(lambda: found(c, now) == want, 30)
        watcher = Watcher(c, now, want)
    eventually(lambda: len(blocks(c)[0]) <= 2 and blocks(c)[1] == set(), 60)  # two: a start may see some of the blocks first
    watcher.end()
    assert counts(c, ids) == want


def test_two_ingesters_one_result(cluster):
    """Both may do a job: there is one block in the end, and right answers all the time."""
    c = cluster(counts={"ingester": 2}, config=CONFIG)
    now = time.time_ns()
    ids = write_blocks(c, 6, now - 600 * S)
    want = wanted(ids, ())
    eventually(lambda: found(c, now) == want, 30)
    watcher = Watcher(c, now, want)
    eventually(lambda: len(blocks(c)[0]) <= 2 and blocks(c)[1] == set(), 90)
    watcher.end()
    assert counts(c, ids) == want


def test_two_of_one_name_do_the_same_jobs_and_die_in_them(makes, request):
    """A second process believes that it is the same ingester: both own every job and do it at the same time, slowly, and are killed in the middle of it, one or both."""
    seed = int(os.environ.get("VIVACE_SEED", random.SystemRandom().randrange(1 << 32)))
    rng = random.Random(seed)
    print(f"VIVACE_SEED={seed}")
    library, rounds = make("forgetful.so"), 40 if request.config.getoption("--full") else 6
    c = makes.cluster(start=False, config=CONFIG)
    rival = makes.cluster(start=False, counts={"distributor": 0, "querier": 0, "generator": 0},
                          config={**CONFIG, "storage": {"trace": {**CONFIG["storage"]["trace"], "local": {"path": str(c.folder / "blocks")}}}})
    for k, p in enumerate((c.ingester, rival.ingester)):
        layer = forgetful.Forgetful(library, [c.folder / "blocks", p.cluster.folder / "wal-0"], makes.folder / f"slow-{k}")
        p.env.update({**layer.env(), "FORGETFUL_FAULT": "sync 1+ slow 60000", "ASAN_OPTIONS": "verify_asan_link_order=0"})
    c.start()
    rival.ingester.start()
    now, want, killed = time.time_ns(), [], 0
    building = [p.cluster.folder / "wal-0" / "building" for p in (c.ingester, rival.ingester)]
    for n in range(rounds):
        pieces = {0}
        want = sorted(want + wanted(write_blocks(c, 3, now - (900 - 10 * (n % 60)) * S, pieces), pieces))
        eventually(lambda: found(c, now) == want, 30)
        watcher = Watcher(c, now, want)
        # When one of them is at it, or when its turn would be; then somewhere in what follows.
        end = time.monotonic() + 2 * WINDOW + 2
        while time.monotonic() < end and not any(b.is_dir() and any(b.iterdir()) for b in building):
            time.sleep(0.002)
        time.sleep(rng.random() * rng.choice((0.05, 0.3, 0.8)))
        victims = rng.choice(([c.ingester], [rival.ingester], [c.ingester, rival.ingester]))
        if c.ingester in victims:
            watcher.end()
        for p in victims:
            p.kill(signal.SIGKILL)
            killed += 1
        for p in victims:
            p.start(ready=False)
        for p in victims:
            p.wait_ready()
        c.settle(c.ingester)
        if c.ingester not in victims:
            watcher.end()
        eventually(lambda: found(c, now) == want, 30)
    watcher = Watcher(c, now, want)
    eventually(lambda: len(blocks(c)[0]) <= 2 * rounds and blocks(c)[1] == set(), 120)
    watcher.end()
    print(f"{killed} kills; {len(blocks(c)[0])} blocks of {3 * rounds} are left")
    assert counts(c, [t for t, _ in want]) == want
    assert not list((c.folder / "blocks").glob(".quarantine/*/*"))
