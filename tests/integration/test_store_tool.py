"""vivace-store over the blocks and the log of a real cluster."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

import bucket
from vivace import BIN, ROOT, eventually, request, span

TRACES = 12


def tool(*words, ok=True, text=True):
    """Runs it; -> exit code, stdout, stderr. `ok`: must end with 0."""
    done = subprocess.run([BIN / "vivace-store", *map(str, words)], capture_output=True, timeout=300)
    out = done.stdout.decode() if text else done.stdout
    assert not ok or done.returncode == 0, (words, done.returncode, done.stdout[-1000:], done.stderr[-2000:])
    return done.returncode, out, done.stderr.decode()


def spans_of(lines):
    """Lines of OTLP/JSON as {(trace, span): (service, span)}."""
    found = {}
    for line in lines.splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            service = next(a["value"]["stringValue"] for a in resource["resource"]["attributes"] if a["key"] == "service.name")
            for scope in resource["scopeSpans"]:
                for one in scope["spans"]:
                    assert found.setdefault((one["traceId"], one["spanId"]), (service, one)) == (service, one)
    return found


@pytest.fixture(scope="module")
def filled(module_makes):
    """A cluster with two blocks of one tenant and one of another; what was sent."""
    cluster = module_makes.cluster(config={"multitenancy_enabled": True})
    sent = {}
    for tenant, rounds in (("acme", 2), ("beta", 1)):
        for _ in range(rounds):
            for k in range(TRACES):
                trace_id, root = os.urandom(16).hex(), os.urandom(8).hex()
                spans = [span(trace_id, root, name="root", n=k, text="ä€\x01"), span(trace_id, os.urandom(8).hex(), parent=root, name="child", status=2, ratio=0.5)]
                sent.setdefault(tenant, {})[trace_id] = spans
                status, _, body = cluster.push_json(request(f"shop-{k % 3}", *spans), **{"X-Scope-OrgID": tenant})
                assert status == 200, body
            cluster.flush()
    return cluster, sent


@pytest.fixture
def store(filled, tmp_path):
    """A copy of the cluster's store, to be damaged; --path and the parsed list."""
    path = tmp_path / "blocks"
    shutil.copytree(filled[0].folder / "blocks", path)
    return path, json.loads(tool("--path", path, "list", "--json")[1])


def test_list(filled, store):
    cluster, sent = filled
    path, blocks = store
    assert sorted(b["tenant"] for b in blocks) == ["acme", "acme", "beta"]
    for b in blocks:
        assert (b["spans"], b["traces"]) == (2 * TRACES, TRACES)
        assert b["bytes"] == (path / b["tenant"] / b["id"] / "data.vvb").stat().st_size
    # By the binaries' own configuration, for people, of one tenant.
    out = tool(f"-config.file={cluster.config_path}", "list", "--tenant", "beta")[1]
    assert out.count("\n") == 2 and blocks[2]["id"] in out and "acme" not in out


def test_wrong_use_is_told(store, tmp_path):
    path, blocks = store
    for words, code, word in (
            ((), 2, "usage"), (("--path", path, "nothing"), 2, "no such command"), (("list",), 2, "which store"), (("--path", path, "list", "--frm"), 2, "unknown option"),
            (("--path", tmp_path / "no", "list"), 1, "not a folder"), (("--path", path, "inspect"), 2, "inspect BLOCK"), (("--path", path, "inspect", "0" * 36), 1, "no block"),
            (("--path", path, "dump", blocks[0]["id"], "--format", "xml"), 2, "json or protobuf"), (("--path", path, "dump", blocks[0]["id"], "--trace", "zz"), 2, "hex"),
            (("--path", path, "dump", blocks[0]["id"], "--trace", "1"), 1, "no trace"), (("wal", "inspect"), 2, "wal inspect"), (("wal", "inspect", tmp_path / "no"), 1, "not a folder"),
            (("--path", path, "quarantine", "empty"), 2, "quarantine list")):
        got, out, err = tool(*words, ok=False)
        assert got == code and word in err, (words, got, out, err)
    assert not (tmp_path / "no").exists()
    assert "verify" in tool("--help")[1] and "version" in tool("--version")[1]


def test_inspect(store):
    path, blocks = store
    one = json.loads(tool("--path", path, "inspect", f"acme/{blocks[0]['id']}", "--json")[1])
    assert sum(p["bytes"] for p in one["parts"]) == one["bytes"] == blocks[0]["bytes"]
    assert one["spans"] == sum(g["spans"] for g in one["groups"]) == 2 * TRACES
    n = next(p for p in one["parts"] if p.get("key") == "n")
    assert (n["table"], n["type"], n["values"]) == ("span", "int", TRACES)
    assert "service.name" in tool("--path", path, "inspect", blocks[0]["id"])[1]


def test_dump_gives_what_was_sent(filled, store, tmp_path):
    _, sent = filled
    path, blocks = store
    found = {}
    for b in blocks:
        found.update(spans_of(tool("--path", path, "dump", b["id"])[1]))
    want = {(s["traceId"], s["spanId"]): s for traces in sent.values() for spans in traces.values() for s in spans}
    assert found.keys() == want.keys()
    for key, s in want.items():
        assert {k: found[key][1].get(k) for k in s} == s
    # One trace, into a file that is not overwritten; protobuf of all goes in again and is the same.
    trace_id = next(t for t, _ in spans_of(tool("--path", path, "dump", blocks[0]["id"])[1]))
    out = tmp_path / "trace.json"
    tool("--path", path, "dump", blocks[0]["id"], "--trace", trace_id, "--output", out)
    assert {t for t, _ in spans_of(out.read_text())} == {trace_id}
    assert tool("--path", path, "dump", blocks[0]["id"], "--output", out, ok=False)[0] == 1
    again = filled[0]
    body = tool("--path", path, "dump", blocks[2]["id"], "--format", "protobuf", text=False)[1]
    assert again.push_pb(body, **{"X-Scope-OrgID": "gamma"})[0] == 200
    for trace_id in sent["beta"]:
        assert len(again.trace(trace_id, **{"X-Scope-OrgID": "gamma"})) == 2


def test_verify_sound(store):
    path, blocks = store
    out = tool("--path", path, "verify")[1]
    assert out.count("SOUND") == 3 and all(b["id"] in out for b in blocks)
    assert json.loads(tool("--path", path, "verify", blocks[0]["id"], "--json")[1]) == []


def test_a_store_on_a_read_only_mount(store, tmp_path):
    path, blocks = store
    mount = tmp_path / "ro"
    mount.mkdir()
    for command in (["mount", "--bind", path, mount], ["mount", "-o", "remount,bind,ro", mount]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            subprocess.run(["umount", "-l", mount], capture_output=True)
            pytest.skip(f"no right to mount here: {done.stderr.strip()}")
    try:
        with pytest.raises(OSError):
            (mount / "x").write_text("x")
        assert tool("--path", mount, "verify")[1].count("SOUND") == 3
        assert len(json.loads(tool("--path", mount, "list", "--json")[1])) == len(blocks)
        assert tool("--path", mount, "verify", "--quarantine", ok=False)[0] == 1  # it could not move anything: told at once
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def damage_page(path):
    """Flips a byte in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x40
    path.write_bytes(data)


def test_damage_is_found_moved_away_and_restored(store):
    path, blocks = store
    victim, cut, lies = (path / b["tenant"] / b["id"] for b in blocks)
    whole = (victim / "data.vvb").read_bytes()
    damage_page(victim / "data.vvb")
    os.truncate(cut / "data.vvb", (cut / "data.vvb").stat().st_size - 10)
    meta = (lies / "meta.json").read_text()
    lie = {**json.loads(meta), "span_count": "1"}
    del lie["checksum"]  # with it, the lie would be seen before it is compared
    (lies / "meta.json").write_text(json.dumps(lie))
    code, out, err = tool("--path", path, "verify", ok=False)
    assert code == 1 and "3 of 3 blocks are damaged" in err
    assert f"acme/{victim.name}: " in out and "page of" in out
    assert f"{cut.name}: footer" in out and f"{lies.name}: meta.json does not say" in out
    found = json.loads(tool("--path", path, "verify", victim.name, "--json", ok=False)[1])
    assert found[0]["id"] == victim.name and "page of" in found[0]["place"]

    # Nothing moves unasked; asked, only what is damaged moves, whole, with the reason.
    assert victim.exists()
    (lies / "meta.json").write_text(meta)
    assert tool("--path", path, "verify", "--quarantine", ok=False)[0] == 1
    assert not victim.exists() and not cut.exists() and lies.exists()
    assert (path / ".quarantine" / "acme" / victim.name / "data.vvb").stat().st_size == len(whole)
    assert [b["id"] for b in json.loads(tool("--path", path, "list", "--json")[1])] == [lies.name]
    listed = json.loads(tool("--path", path, "quarantine", "list", "--json")[1])
    assert {(q["tenant"], q["name"]) for q in listed} == {("acme", victim.name), ("acme", cut.name)}
    assert all(q["why"] for q in listed)
    assert victim.name in tool("--path", path, "quarantine", "list")[1]

    (path / ".quarantine" / "acme" / victim.name / "data.vvb").write_bytes(whole)
    tool("--path", path, "quarantine", "restore", f"acme/{victim.name}")
    assert "SOUND" in tool("--path", path, "verify", victim.name)[1]
    assert tool("--path", path, "quarantine", "restore", f"acme/{victim.name}", ok=False)[0] == 1
    assert sorted(p.name for p in victim.iterdir()) == ["data.vvb", "meta.json"]


def test_meta_that_can_not_be_read(store):
    path, blocks = store
    (path / "acme" / blocks[0]["id"] / "meta.json").write_text("{")
    code, out, err = tool("--path", path, "list", ok=False)
    assert code == 1 and out.count("\n") == 4 and "can not be read" in err
    code, out, _ = tool("--path", path, "verify", ok=False)
    assert code == 1 and out.count("SOUND") == 2 and f"{blocks[0]['id']}: meta.json" in out


def test_wal(filled, tmp_path):
    cluster, _ = filled
    trace_id = os.urandom(16).hex()
    assert cluster.push_json(request("logged", span(trace_id, os.urandom(8).hex())), **{"X-Scope-OrgID": "delta"})[0] == 200
    live = cluster.folder / "wal-0"
    out = tool("wal", "inspect", live)[1]  # the ingester is running
    assert "delta" in out and out.splitlines()[-1].endswith(", 0 damages")
    frames = [json.loads(line) for line in tool("wal", "inspect", live, "--json")[1].splitlines()]
    assert frames[-1]["tenant"] == "delta" and frames[-1]["spans"] == 1
    assert {t for t, _ in spans_of(tool("wal", "dump", live, "--tenant", "delta")[1])} == {trace_id}

    log = tmp_path / "wal"
    log.mkdir()
    for f in pathlib.Path(live).glob("*.wal"):
        shutil.copy(f, log)
    victim = log / frames[-1]["file"]
    data = bytearray(victim.read_bytes())
    data[frames[-1]["offset"] + 60] ^= 1
    victim.write_bytes(data)
    before = sorted(p.name for p in log.iterdir())
    code, out, err = tool("wal", "inspect", log, ok=False)
    # The last frame of the last file is a torn tail; anywhere else it is damage.
    if victim.name == before[-1]:
        assert code == 0 and "torn tail of 0" not in out
    else:
        assert code == 1 and victim.name in err
    assert sorted(p.name for p in log.iterdir()) == before


def test_export_is_a_line_a_span(filled, store):
    _, sent = filled
    path, blocks = store
    lines = [json.loads(line) for line in tool("--path", path, "export", "--tenant", "acme")[1].splitlines()]
    want = {s["spanId"]: s for spans in sent["acme"].values() for s in spans}
    assert len(lines) == len(want) and {one["spanId"] for one in lines} == want.keys()
    assert len({tuple(one) for one in lines}) == 1  # the same keys, in the same order
    for one in lines:
        s = want[one["spanId"]]
        assert (one["tenant"], one["traceId"], one["name"], one["parentSpanId"]) == ("acme", s["traceId"], s["name"], s.get("parentSpanId", ""))
        assert (str(one["startUnixNano"]), str(one["endUnixNano"])) == (s["startTimeUnixNano"], s["endTimeUnixNano"])
        assert one["service"].startswith("shop-") and one["resource"] == [{"key": "service.name", "string": one["service"]}]
        names = {"stringValue": "string", "intValue": "int", "doubleValue": "double"}
        assert one["attributes"] == [{"key": a["key"], **{names[k]: int(v) if k == "intValue" else v for k, v in a["value"].items()}} for a in s["attributes"]]
    # One block; a window.
    assert tool("--path", path, "export", blocks[0]["id"])[1].count("\n") == 2 * TRACES
    last = max(one["startUnixNano"] for one in lines)
    assert tool("--path", path, "export", "--from", last // 10**9 + 1)[1] == ""
    assert tool("--path", path, "export", "--tenant", "acme", "--to", last // 10**9 + 1)[1].count("\n") == len(lines)
    assert tool("--path", path, "export", "--from", "yesterday", ok=False)[0] == 2


TEMPO = ROOT / "tests" / "data" / "tempo"


def test_import_of_blocks_that_tempo_wrote(filled, tmp_path):
    """Into a running cluster's store: its querier finds every trace with every span that Tempo itself gave."""
    cluster, _ = filled
    blocks = cluster.folder / "blocks"
    for version in ("vparquet4", "vparquet5"):
        told = json.loads(tool("--path", blocks, "import", TEMPO / version, "--tenant", version, "--json")[1])[0]
        assert (told["traces"], told["spans"], told["blocks"]) == (14, 80, 1) and told["copies"] + told["refused"] + told["unreadableValues"] == 0
        # Once more is the same block again.
        tool("--path", blocks, "import", TEMPO / version, "--tenant", version)
        listed = json.loads(tool("--path", blocks, "list", "--json", "--tenant", version)[1])
        assert [(b["traces"], b["spans"]) for b in listed] == [(14, 80)]
        tool("--path", blocks, "verify", listed[0]["id"], "--tenant", version)
        want = spans_count((TEMPO / version / "expected.pb").read_bytes())
        headers = {"X-Scope-OrgID": version}
        eventually(lambda: all(len(cluster.trace(t, **headers)) == n for t, n in want.items()), 90, every=0.5)
    # The default is the tenant that Tempo had.
    out = tool("--path", blocks, "import", TEMPO / "vparquet4")[1]
    assert "BLOCK     single-tenant/" in out and "14 traces, 80 spans" in out


def spans_count(traces_data):
    """{trace id: spans} of an OTLP message, read field by field."""
    def fields(data):
        at = 0

        def varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value
        while at < len(data):
            tag = varint()
            if tag & 7 == 2:
                size = varint()
                yield tag >> 3, data[at:at + size]
                at += size
            elif tag & 7 == 0:
                yield tag >> 3, varint()
            else:
                at += 8 if tag & 7 == 1 else 4

    counts = {}
    for _, resource in fields(traces_data):
        for number, scope in fields(resource):
            for inner, one in fields(scope) if number == 2 else ():
                if inner == 2:
                    trace_id = next(v for f, v in fields(one) if f == 1).hex()
                    counts[trace_id] = counts.get(trace_id, 0) + 1
    return counts


def test_import_refuses_what_it_can_not_read(tmp_path):
    store, block = tmp_path / "blocks", tmp_path / "block"
    store.mkdir()
    shutil.copytree(TEMPO / "vparquet5", block)
    meta = json.loads((block / "meta.json").read_text())
    data = (block / "data.parquet").read_bytes()

    def refused(word):
        code, out, err = tool("--path", store, "import", block, ok=False)
        assert code == 1 and word in err, (code, out, err)
        assert list(store.iterdir()) == []
    (block / "meta.json").write_text(json.dumps({**meta, "format": "vParquet3"}))
    refused("vParquet3")
    (block / "meta.json").write_text(json.dumps(meta))
    shutil.copy(TEMPO.parent / "parquet" / "v2-gzip.parquet", block / "data.parquet")
    refused("not the schema of vParquet5")
    (block / "data.parquet").write_bytes(data)
    (block / "meta.json").write_text("[")
    refused("meta.json")
    (block / "meta.json").unlink()
    refused("meta.json")
    (block / "meta.json").write_text(json.dumps(meta))
    (block / "data.parquet").write_bytes(data[:-1])
    refused("PAR1")
    (block / "data.parquet").write_bytes(data[:4] + bytes(len(data) // 2) + data[len(data) // 2 + 4:])
    refused("column")
    (block / "data.parquet").unlink()
    refused("data.parquet")


@pytest.fixture
def far(tmp_path):
    server = bucket.Server(tmp_path / "s3").start()
    proxy = bucket.Proxy(server)
    yield proxy
    proxy.stop()
    server.stop()


def test_a_bucket_is_a_store_too(cluster, far):
    c = cluster(counts={"generator": 0}, config=bucket.config(far))
    trace_id = os.urandom(16).hex()
    assert c.push_json(request("far", span(trace_id, os.urandom(8).hex())))[0] == 200
    c.flush()
    config = f"-config.file={c.config_path}"
    one = json.loads(tool(config, "list", "--json")[1])[0]
    assert (one["tenant"], one["spans"]) == ("single-tenant", 1)
    assert "SOUND" in tool(config, "verify")[1]
    assert {t for t, _ in spans_of(tool(config, "dump", one["id"])[1])} == {trace_id}
