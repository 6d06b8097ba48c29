"""The disk says no: failed syncs and writes, a full volume, kills at every step of durability.  Faults come from strace, at system calls; visible skips without it."""
import os
import random
import shutil
import subprocess
import time

import pytest

import syscalls
from test_durability import check
from vivace import SLOW, Ledger, eventually, http, request, span

STEPS = "fdatasync,fsync,pwritev,rename,renameat,renameat2,link,unlink,unlinkat,ftruncate,mkdir"


def inject(calls, what, path=None):
    if syscalls.STRACE is None:
        pytest.skip("no strace here (Debian package strace): faults of the disk can not be made")
    only = ["-P", str(path)] if path else []
    return [syscalls.STRACE, "-D", "-f", "-qq", "-o", "/dev/null", *only, "-e", "signal=none", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}"]


def restart(c, wrap=(), ready=True):
    p = c.ingester
    p.wrap = list(wrap)
    p.start(ready=ready)
    if ready:
        c.settle(p)


def push_one(c):
    trace_id = os.urandom(16).hex()
    status, _, _ = c.push_json(request("s", span(trace_id, os.urandom(8).hex())))
    return trace_id if status == 200 else None


def test_a_failed_sync_is_never_acknowledged(cluster):
    """fdatasync fails once: that group is refused, the next one goes to a new file, the process lives on."""
    c = cluster(wrap={"ingester": inject("fdatasync", "error=EIO:when=6")}, config={"distributor": {"request_timeout": "2s"}})
    ledger = Ledger(c, threads=3)
    ledger.wait_for(60, 60)
    ledger.stop()
    assert ledger.refused  # the group that failed
    assert c.ingester.metric("vivace_wal_failures_total") >= 1
    assert c.ingester.popen.poll() is None
    assert ledger.missing() == {}
    c.ingester.kill()
    restart(c)
    check(ledger)


@pytest.mark.parametrize("call", ["fdatasync", "pwritev"])
def test_a_disk_that_fails_for_good_ends_the_ingester(cluster, call):
    """Not ready, exit code 75, clients told to come again; a start on a sound disk has everything acknowledged."""
    c = cluster(wrap={"ingester": inject(call, "error=EIO:when=20+")}, config={"distributor": {"request_timeout": "2s", "first_attempt_timeout": "500ms"}})
    ledger = Ledger(c, threads=3)
    assert c.ingester.popen.wait(60 * SLOW) == 75, c.ingester.log()[-2000:]
    assert "wal_failed" in c.ingester.log()
    before = len(ledger.acked)
    eventually(lambda: ledger.refused, 20)
    status, headers, _ = c.push_json(request("s", span(os.urandom(16).hex(), os.urandom(8).hex())))
    assert status == 503 and headers["Retry-After"]
    assert len(ledger.acked) == before
    restart(c)
    ledger.wait_for(20)
    check(ledger)


def test_no_space_for_a_while(cluster):
    """ENOSPC at some writes: those are not acknowledged, and it goes on by itself when there is room."""
    c = cluster(wrap={"ingester": inject("pwritev", "error=ENOSPC:when=10..14")}, config={"distributor": {"request_timeout": "2s"}})
    ledger = Ledger(c, threads=3)
    eventually(lambda: ledger.refused, 30)
    ledger.wait_for(60, 90)
    ledger.stop()
    assert c.ingester.popen.poll() is None
    assert ledger.missing() == {}
    c.ingester.kill()
    restart(c)
    check(ledger)


def test_slow_disk(cluster):
    """Each sync takes 300 ms: groups grow, nothing is refused that could wait, and an answer still means durable."""
    c = cluster(wrap={"ingester": inject("fdatasync", "delay_enter=300000")}, config={"distributor": {"request_timeout": "20s", "first_attempt_timeout": "10s"}})
    ledger = Ledger(c, threads=8)
    ledger.wait_for(40, 120)
    ledger.stop()
    assert ledger.refused == [] and ledger.unknown == []
    syncs = c.ingester.metric("vivace_wal_fsync_seconds_count")
    assert syncs < len(ledger.acked)  # several pushes share a sync
    c.ingester.kill()
    restart(c)
    check(ledger)


def killed_at(c, k):
    """The ingester dies at the k-th call of STEPS, with pushes and a flush under way; False when there was no k-th."""
    restart(c, inject(STEPS, f"signal=KILL:when={k}"), ready=False)
    ledger = Ledger(c, threads=2)
    end = time.monotonic() + 20 * SLOW
    flushed = 0
    while c.ingester.popen.poll() is None and time.monotonic() < end and flushed < 2:
        try:
            if len(ledger.acked) > 5 * (flushed + 1):
                http(f"http://127.0.0.1:{c.ingester.http_port}/flush", b"", method="POST", timeout=20)
                flushed += 1
        except OSError:
            pass
        time.sleep(0.01)
    ledger.stop()
    died = c.ingester.popen.poll() is not None
    if not died:
        c.ingester.kill()
    restart(c)
    if ledger.acked:
        check(ledger)
    assert ledger.torn() == {}
    return died


def test_killed_at_steps_of_durability(cluster):
    """Some of the steps each time; all of them with --full."""
    c = cluster()
    if syscalls.STRACE is None:
        pytest.skip("no strace here (Debian package strace)")
    c.ingester.kill()
    rng = random.Random()
    steps = rng.sample(range(1, 60), 5 if SLOW > 1 else 8)
    print("steps:", steps)
    first = True
    for k in steps:
        if not first:
            c.ingester.kill()
        first = False
        killed_at(c, k)


@pytest.mark.full
def test_killed_at_every_step_of_durability(cluster):
    c = cluster()
    if syscalls.STRACE is None:
        pytest.skip("no strace here (Debian package strace)")
    c.ingester.kill()
    k = 1
    while killed_at(c, k):
        c.ingester.kill()
        k += 1
        assert k < 2000
    assert k > 20


@pytest.fixture
def small_volume(tmp_path):
    """A file system of 64 MiB of its own."""
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "vivace-test", mount], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no right to mount here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def test_full_log_volume_makes_room_by_itself(cluster, small_volume):
    """Three times what the volume holds comes in: blocks (elsewhere) are cut to trim the log; clients may have to come again, nothing is lost."""
    c = cluster(start=False, config={"ingester": {"max_block_duration": "1h", "flush_check_period": "100ms"},
                                     "storage": {"trace": {"wal": {"segment_bytes": "4MiB"}}},
                                     "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**12, "burst_size_bytes": 10**12}}}})
    p = c.ingester
    p.flags = [f for f in p.flags if "wal.path" not in f] + [f"-storage.trace.wal.path={small_volume}/wal"]
    c.start()
    stored, refused = [], 0
    for _ in range(200):
        trace_id = os.urandom(16).hex()
        body = request("big", *(span(trace_id, os.urandom(8).hex(), n=k, text=f"SELECT * FROM orders WHERE id = {k % 40} " * 40) for k in range(400)))
        for _ in range(300):
            status, headers, answer = c.push_json(body)
            if status == 200:
                break
            assert status in (429, 503) and headers["Retry-After"], (status, answer)
            refused += 1
            time.sleep(0.1)
        assert status == 200, (len(stored), answer)
        stored.append(trace_id)
    print(f"{refused} refusals")
    assert p.popen.poll() is None
    assert [i for i in stored if len(c.trace(i)) != 400] == []
    p.kill()
    p.start()
    c.settle(p)
    assert [i for i in stored if len(c.trace(i)) != 400] == []


def test_full_volume_of_log_and_blocks_is_told(cluster, small_volume):
    """Nothing can make room: clients are told, reads go on, nothing acknowledged is lost; with room again it goes on by itself."""
    c = cluster(start=False, config={"storage": {"trace": {"local": {"path": f"{small_volume}/blocks"}, "wal": {"segment_bytes": "4MiB"}}},
                                     "ingester": {"flush_check_period": "100ms", "max_block_duration": "1s", "trace_idle_period": "100ms"},
                                     "distributor": {"request_timeout": "2s"},
                                     "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**12, "burst_size_bytes": 10**12}}}})
    p = c.ingester
    p.flags = [f for f in p.flags if "wal.path" not in f] + [f"-storage.trace.wal.path={small_volume}/wal"]
    c.start()
    ballast = small_volume / "ballast"
    ballast.write_bytes(bytes(40 << 20))
    stored = []
    for _ in range(400):
        trace_id = os.urandom(16).hex()
        status, headers, answer = c.push_json(request("big", *(span(trace_id, os.urandom(8).hex(), text=os.urandom(1000).hex()) for _ in range(200))))
        if status != 200:
            break
        stored.append(trace_id)
    assert status in (429, 503) and headers["Retry-After"], (status, answer)
    assert len(stored) > 5
    assert p.popen.poll() is None
    assert [i for i in stored if len(c.trace(i)) != 200] == []
    ballast.unlink()
    eventually(lambda: push_one(c), 30)
    p.kill()
    p.start()
    c.settle(p)
    assert [i for i in stored if len(c.trace(i)) != 200] == []


def test_log_folder_taken_away(cluster):
    """rm -rf under the running process: it does not go on silently."""
    c = cluster(config={"storage": {"trace": {"wal": {"segment_bytes": "64KiB"}}}, "distributor": {"request_timeout": "2s"}})
    assert push_one(c)
    shutil.rmtree(c.folder / "wal-0")
    last = []

    def noticed():
        if c.ingester.popen.poll() is not None:
            return True
        last.append(c.push_json(request("s", span(os.urandom(16).hex(), os.urandom(8).hex(), text="x" * 2000)))[0])
        return False
    eventually(noticed, 60, every=0)
    assert c.ingester.popen.returncode == 75, c.ingester.log()[-1000:]
