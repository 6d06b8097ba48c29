"""Queriers that share what they read of blocks in a real memcached or redis: fewer reads of the bucket, and the same answers whatever the cache does."""
import os
import random
import shutil
import signal
import socket
import socketserver
import subprocess
import threading

import pytest

import bucket
from vivace import eventually, free_ports, merge, request, span

ALL = ["parquet-footer", "bloom", "trace-id-index", "parquet-column-idx", "parquet-page"]
PASSWORD = "s3cret-of-the-cache"


class Memcached:
    name, package, binary = "memcached", "memcached", shutil.which("memcached")
    duration, put = "tempo_memcache_request_duration_seconds_count", "Memcache.Put"

    def __init__(self, port):
        self.port = port
        self.command = [self.binary, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "64", *(["-u", "root"] if os.getuid() == 0 else [])]

    def start(self):
        self.popen = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: socket.create_connection(("127.0.0.1", self.port), 5).close() is None, 30)
        return self

    def stop(self):
        self.popen.send_signal(signal.SIGCONT)
        self.popen.kill()
        self.popen.wait()

    def section(self, port=None, **more):
        return {"addresses": f"dns+127.0.0.1:{port or self.port}", "timeout": "1s", **more}


class Redis(Memcached):
    name, package, binary = "redis", "redis-server", shutil.which("redis-server")
    duration, put = "tempo_rediscache_request_duration_seconds_count", "RedisCache.MSet"

    def __init__(self, port):
        self.port = port
        self.command = [self.binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--requirepass", PASSWORD]

    def section(self, port=None, **more):
        return {"endpoint": f"127.0.0.1:{port or self.port}", "timeout": "1s", "db": 3, "password": PASSWORD, "expiration": "1h", **more}


@pytest.fixture(params=[Memcached, Redis], ids=["memcached", "redis"])
def cache(request):
    if request.param.binary is None:
        pytest.skip(f"no {request.param.name} here (Debian package {request.param.package})")
    server = request.param(free_ports(1)[0]).start()
    yield server
    server.stop()


@pytest.fixture
def store(tmp_path):
    proxy = bucket.Proxy(bucket.Server(tmp_path / "store").start())
    yield proxy
    proxy.stop()
    proxy.server.stop()
    assert proxy.bad == []


class Flips(socketserver.ThreadingTCPServer):
    """Stands before a cache, and changes bytes of what it answers."""
    daemon_threads, allow_reuse_address = True, True

    def __init__(self, port):
        self.to, self.dice = port, random.Random(11)
        super().__init__(("127.0.0.1", 0), None)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, client, address):
        there = socket.create_connection(("127.0.0.1", self.to))
        threading.Thread(target=self.pump, args=(client, there, False), daemon=True).start()
        self.pump(there, client, True)

    def pump(self, source, target, is_wrong):
        try:
            while data := bytearray(source.recv(65536)):
                if is_wrong and len(data) > 100:
                    for _ in range(3):
                        data[self.dice.randrange(len(data))] ^= 1 << self.dice.randrange(8)
                target.sendall(data)
        except OSError:
            pass
        for s in (source, target):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def config(store, cache, roles=ALL, port=None, **more):
    return merge(bucket.config(store), {"cache": {"caches": [{"roles": roles, cache.name: cache.section(port, **more)}]}})


def fill(c, blocks=3, traces=15):
    ids = []
    for b in range(blocks):
        for n in range(traces):
            t, root = os.urandom(16).hex(), os.urandom(8).hex()
            assert c.push_json(request(f"shop-{b}", span(t, root, name="root", user=f"u{n}"), span(t, os.urandom(8).hex(), parent=root, name=f"child-{n}")))[0] == 200
            ids.append(t)
        c.flush()
    return ids


QUERIES = ['{ resource.service.name = "shop-1" }', '{ span.user = "u7" }', '{ name =~ "child-1.*" } | select(span.user)', "{} >> { name = `child-3` }"]


def ask(c, ids):
    """Everything that a user may see of it."""
    found = {t: sorted((s["name"], s["spanId"]) for s in c.trace(t)) for t in ids}
    for q in QUERIES:
        found[q] = sorted(t["traceID"] for t in c.search(q, limit=1000))
    return found


def fresh_querier(c):
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)


def written(c, cache):
    """Whether all that the cache did not have has been put there."""
    misses = c.querier.metric("tempodb_cache_requests_total", outcome="miss") or 0
    return misses > 0 and (c.querier.metric(cache.duration, method=cache.put, status_code="200") or 0) >= misses


def test_a_new_querier_reads_from_the_cache(cluster, store, cache):
    c = cluster(counts={"generator": 0}, config=config(store, cache))
    ids = fill(c)
    fresh_querier(c)
    mark = len(store.seen)
    first = ask(c, ids)
    assert all(len(first[t]) == 2 for t in ids) and len(first[QUERIES[0]]) == 15 and len(first[QUERIES[1]]) == 3
    assert store.gets(mark)
    eventually(lambda: written(c, cache), 60)
    fresh_querier(c)
    mark = len(store.seen)
    assert ask(c, ids) == first
    assert store.gets(mark) == []
    assert c.querier.metric("tempodb_cache_requests_total", outcome="miss") == 0 < c.querier.metric("tempodb_cache_requests_total", outcome="hit")
    assert c.querier.metric("vivace_cache_damaged_total") == 0
    assert PASSWORD not in c.querier.log() + c.querier.get("/status/config")[2].decode()


def test_roles_say_what_is_kept(cluster, store, cache):
    c = cluster(counts={"generator": 0}, config=config(store, cache, roles=["parquet-footer", "bloom"]))
    ids = fill(c, blocks=2)
    fresh_querier(c)
    first = ask(c, ids)
    eventually(lambda: written(c, cache), 60)
    fresh_querier(c)
    mark = len(store.seen)
    assert ask(c, ids) == first
    assert store.gets(mark)  # the spans themselves
    assert c.querier.metric("tempodb_cache_requests_total", role="parquet-footer", outcome="hit") >= 2
    assert c.querier.metric("tempodb_cache_requests_total", role="parquet-footer", outcome="miss") == 0
    assert not c.querier.metric("tempodb_cache_requests_total", role="parquet-page")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "silent"])
def test_without_the_cache_answers_are_the_same(cluster, store, cache, how):
    c = cluster(counts={"generator": 0}, config=config(store, cache))
    ids = fill(c)
    fresh_querier(c)
    first = ask(c, ids)
    eventually(lambda: written(c, cache), 60)
    fresh_querier(c)
    assert {t: sorted((s["name"], s["spanId"]) for s in c.trace(t)) for t in ids[:5]} == {t: first[t] for t in ids[:5]}
    cache.popen.send_signal(how)  # in the middle of it
    assert ask(c, ids) == first
    fresh_querier(c)
    assert ask(c, ids) == first
    assert c.querier.metric("vivace_cache_left_alone_total") > 0
    if how == signal.SIGSTOP:
        # It was asked a few times, and then left alone: no time-out for each read.
        asked = c.querier.metric(cache.duration)
        reads = c.querier.metric("tempodb_cache_requests_total", outcome="miss")
        assert asked < reads / 2
        cache.popen.send_signal(signal.SIGCONT)
    else:
        cache.popen.wait()
        cache.start()

    def used_again():
        fresh_querier(c)
        return ask(c, ids) == first and c.querier.metric("tempodb_cache_requests_total", outcome="hit") > 0
    eventually(used_again, 120)


def test_wrong_bytes_are_no_answer(cluster, store, cache):
    flips = Flips(cache.port)
    c = cluster(counts={"generator": 0}, config=config(store, cache))
    ids = fill(c)
    fresh_querier(c)
    first = ask(c, ids)
    eventually(lambda: written(c, cache), 60)
    c.stop()
    wrong = cluster(counts={"generator": 0, "ingester": 1}, config=config(store, cache, port=flips.port))
    eventually(lambda: all(len(wrong.trace(t)) == 2 for t in ids), 60)
    assert ask(wrong, ids) == first
    assert wrong.querier.metric("vivace_cache_damaged_total") > 0
    fresh_querier(wrong)
    assert ask(wrong, ids) == first
    flips.shutdown()
    flips.server_close()


@pytest.mark.parametrize("cache", [Redis], ids=["redis"], indirect=True)
def test_a_wrong_password_is_no_cache(cluster, store, cache):
    c = cluster(counts={"generator": 0}, config=config(store, cache, password="not it"))
    ids = fill(c, blocks=1)
    fresh_querier(c)
    assert all(len(c.trace(t)) == 2 for t in ids)
    eventually(lambda: c.querier.metric(cache.duration, status_code="500") > 0)


def test_what_is_not_built_is_an_error(cluster, store):
    c = cluster(counts={"generator": 0, "ingester": 0, "distributor": 0}, start=False,
                config=merge(bucket.config(store), {"cache": {"caches": [{"roles": ["bloom"], "redis": {"endpoint": "a:1,b:1"}}]}}))
    c.querier.start(ready=False)
    assert c.querier.popen.wait(60) != 0
    assert "several endpoints (Redis Cluster) are not supported yet" in c.querier.log()
