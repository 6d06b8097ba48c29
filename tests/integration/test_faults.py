"""The disk says no: failed syncs and writes, a full volume, one that becomes read-only.  Faults come from strace, at system calls (visible skips without it), or from
file systems of their own; test_kills.py has each call in turn."""
import os
import shutil
import subprocess
import time

import pytest

import syscalls
from test_durability import check
from vivace import SLOW, Ledger, eventually, http, request, span

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


def test_no_start_on_a_read_only_volume(cluster, small_volume):
    """One line that names the folder, exit code 1, nothing changed; mounted for writing again, all is there."""
    c = cluster(start=False)
    p = c.ingester
    p.flags = [f for f in p.flags if "wal.path" not in f] + [f"-storage.trace.wal.path={small_volume}/wal"]
    c.start()
    ledger = Ledger(c, threads=2)
    ledger.wait_for(20)
    ledger.stop()
    p.kill()
    subprocess.run(["mount", "-o", "remount,ro,size=64m", small_volume], check=True)
    before = len(p.log())
    p.start(ready=False)
    assert p.popen.wait(20 * SLOW) == 1
    assert f"{small_volume}/wal" in p.log()[before:] and "can not be used" in p.log()[before:], p.log()[before:]
    subprocess.run(["mount", "-o", "remount,rw,size=64m", small_volume], check=True)
    restart(c)
    check(ledger)


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
