"""The overrides file: changed while everything runs, its limits and its retention change; a broken one changes nothing."""
import json
import os
import subprocess
import time

import pytest

from vivace import BIN, eventually, free_ports, http, request, span

OPEN = {"rate_limit_bytes": 10_000_000, "burst_size_bytes": 10_000_000}
S = 1_000_000_000


class Overrides:
    """A cluster whose processes read a file that the test writes."""

    def __init__(self, makes, tenants, config=None, **options):
        self.path = makes.folder / "overrides.yml"
        self.write(tenants)
        own = {"per_tenant_override_config": str(self.path), "per_tenant_override_period": "200ms"}
        base = {"multitenancy_enabled": True, "overrides": own, "storage": {"trace": {"blocklist_poll": "200ms"}},
                "ingester": {"flush_check_period": "200ms"}, "compactor": {"compaction": {"compaction_cycle": "200ms"}}}
        self.c = makes.cluster(config={**base, **(config or {})}, **options)

    def write(self, tenants):
        self.put(json.dumps({"overrides": tenants}))  # JSON is YAML

    def put(self, text):
        """As a mounted ConfigMap does it: another file under the same name."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)

    def push(self, tenant, *spans):
        status, _, body = self.c.push_json(request("shop", *spans), **{"X-Scope-OrgID": tenant})
        return status, body.decode()

    def trace(self, tenant, trace_id):
        return len(self.c.trace(trace_id, **{"X-Scope-OrgID": tenant}))


def one(trace_id=None, **more):
    trace_id = trace_id or os.urandom(16).hex()
    return span(trace_id, os.urandom(8).hex(), **more)


def test_limits_change_while_it_runs(makes):
    o = Overrides(makes, {"acme": {"ingestion": OPEN}, "*": {"ingestion": {**OPEN, "burst_size_bytes": 1000}}})
    big = [one(text="x" * 3000) for _ in range(2)]
    assert o.push("acme", *big)[0] == 200
    status, text = o.push("zoo", *big)  # the wildcard's
    assert status == 429 and "burst: 1000 bytes" in text, (status, text)

    # The entry replaces the defaults wholesale: a rate that it does not name is none.
    o.write({"acme": {"global": {"max_bytes_per_trace": 5000}}, "zoo": {"ingestion": OPEN}})
    eventually(lambda: o.push("acme", one())[0] == 429)
    eventually(lambda: o.push("zoo", *big)[0] == 200)
    assert "nothing is let through" in o.c.distributor.log()

    # The old flat form; a limit that the ingester keeps.
    o.write({"acme": {"ingestion_rate_limit_bytes": 10_000_000, "ingestion_burst_size_bytes": 10_000_000, "max_bytes_per_trace": 5000}, "zoo": {"ingestion": OPEN}})
    eventually(lambda: o.push("acme", one())[0] == 200)

    def refused():
        trace = os.urandom(16).hex()
        status, text = o.push("acme", *[one(trace, text="x" * 2000) for _ in range(4)])
        assert status == 200
        return "TRACE_TOO_LARGE: max size of trace (5000)" in text and o.trace("acme", trace) == 0
    eventually(refused)
    trace = os.urandom(16).hex()
    assert o.push("zoo", *[one(trace, text="x" * 2000) for _ in range(4)])[0] == 200
    eventually(lambda: o.trace("zoo", trace) == 4)

    # Of the querier.
    window = {"start": int(time.time()) - 7200, "end": int(time.time())}
    assert o.c.api("/api/search", headers={"X-Scope-OrgID": "acme"}, q="{}", **window)[0] == 200
    o.write({"acme": {"ingestion": OPEN, "read": {"max_search_duration": "1h", "max_metrics_duration": "90m"}}})
    eventually(lambda: o.c.api("/api/search", headers={"X-Scope-OrgID": "acme"}, q="{}", **window)[0] == 400)
    status, _, body = o.c.api("/api/metrics/query_range", headers={"X-Scope-OrgID": "acme"}, q="{} | rate()", step="60s", **window)
    assert status == 400 and b"exceeds the maximum allowed duration of 1h30m0s" in body, body
    assert o.c.api("/api/search", headers={"X-Scope-OrgID": "zoo"}, q="{}", **window)[0] == 200


def test_attributes_are_cut_at_the_tenants_length(makes):
    o = Overrides(makes, {"acme": {"ingestion": {**OPEN, "max_attribute_bytes": 5}}})
    ids = {tenant: os.urandom(16).hex() for tenant in ("acme", "zoo")}
    for tenant, trace in ids.items():
        assert o.push(tenant, one(trace, text="0123456789"))[0] == 200
    values = {t: next(a["value"]["stringValue"] for a in o.c.trace(i, **{"X-Scope-OrgID": t})[0]["attributes"] if a["key"] == "text") for t, i in ids.items()}
    assert values == {"acme": "01234", "zoo": "0123456789"}


def test_a_broken_file_changes_nothing(makes):
    o = Overrides(makes, {"acme": {"ingestion": {**OPEN, "burst_size_bytes": 1000}}})
    big = one(text="x" * 3000)
    good = [p for p in o.c.all() if p.role != "querier"]
    assert all(p.metric("tempo_runtime_config_last_reload_successful") == 1 for p in good)
    o.put("overrides:\n  acme:\n    ingestion:\n      rate_limit_byte: 1\n")
    eventually(lambda: all(p.metric("tempo_runtime_config_last_reload_successful") == 0 for p in good))
    assert f"{o.path}:4: unknown key overrides.acme.ingestion.rate_limit_byte; did you mean overrides.acme.ingestion.rate_limit_bytes?" in o.c.ingester.log()
    assert o.push("acme", big)[0] == 429
    assert o.c.distributor.metric("tempo_limits_overrides", limit_name="ingestion_burst_size_bytes", user="acme") == 1000
    admin = f"http://127.0.0.1:{o.c.distributor.admin_port}/status"
    listed = json.loads(http(f"{admin}/overrides", headers={"Accept": "application/json"})[2])
    assert [t["name"] for t in listed["tenants"]] == ["acme"]
    shown = json.loads(http(f"{admin}/overrides/acme", headers={"Accept": "application/json"})[2])
    assert shown["using_default_or_wildcard_runtime_overrides"] == "acme"
    assert shown["runtime_overrides"] == "ingestion:\n  burst_size_bytes: 1000\n  rate_limit_bytes: 10000000\n"
    assert b"burst_size_bytes: 1000" in http(f"{admin}/runtime_config")[2]
    assert o.c.distributor.get("/status/overrides")[0] == 404  # not for tenants
    o.write({"acme": {"ingestion": OPEN}})
    eventually(lambda: o.push("acme", big)[0] == 200)
    assert o.c.distributor.metric("tempo_limits_overrides", limit_name="ingestion_burst_size_bytes", user="acme") == 10_000_000
    eventually(lambda: all(p.metric("tempo_runtime_config_last_reload_successful") == 1 for p in good))


@pytest.mark.parametrize("role", ["distributor", "ingester", "querier", "generator"])
def test_a_start_with_a_broken_file_fails(tmp_path, role):
    (tmp_path / "o.yml").write_text("overrides:\n  acme: {what: 1}\n")
    (tmp_path / "tempo.yml").write_text(json.dumps({
        "overrides": {"per_tenant_override_config": str(tmp_path / "o.yml")},
        "storage": {"trace": {"local": {"path": str(tmp_path / "blocks")}, "wal": {"path": str(tmp_path / "wal")}}}}))
    done = subprocess.run([BIN / role, f"-config.file={tmp_path}/tempo.yml", f"-server.http-listen-port={free_ports(1)[0]}"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"can not start: {tmp_path}/o.yml:2: unknown key overrides.acme.what" in done.stderr


def blocks(c, tenant):
    folder = c.folder / "blocks" / tenant
    return [p.name for p in folder.iterdir() if not p.name.startswith(".") and (p / "meta.json").exists()] if folder.exists() else []


def test_retention_is_the_tenants_and_changes(makes):
    o = Overrides(makes, {"short": {"ingestion": OPEN, "compaction": {"block_retention": "100h"}}, "long": {"ingestion": OPEN}},
                  {"storage": {"trace": {"blocklist_poll": "200ms", "block": {"retention": "336h"}}}})
    old, ids = time.time_ns() - 3600 * S, {}
    for tenant in ("short", "long", "zoo"):
        ids[tenant] = os.urandom(16).hex()
        assert o.push(tenant, one(ids[tenant], start=old))[0] == 200
    o.c.flush()
    assert all(len(blocks(o.c, t)) == 1 for t in ids)

    o.write({"short": {"ingestion": OPEN, "compaction": {"block_retention": "30m"}}, "long": {"ingestion": OPEN}})
    eventually(lambda: blocks(o.c, "short") == [])
    eventually(lambda: o.trace("short", ids["short"]) == 0)
    for tenant in ("long", "zoo"):
        assert len(blocks(o.c, tenant)) == 1
        assert o.trace(tenant, ids[tenant]) == 1

    o.write({"*": {"ingestion": OPEN, "block_retention": "30m"}, "long": {"ingestion": OPEN}})
    eventually(lambda: blocks(o.c, "zoo") == [])
    assert o.trace("long", ids["long"]) == 1


def test_processors_are_the_tenants_and_change(makes):
    config = {"metrics_generator": {"registry": {"collection_interval": "200ms"}}}
    o = Overrides(makes, {"*": {"ingestion": OPEN}}, config)

    def series(tenant):
        return o.c.generator.metric("tempo_metrics_generator_registry_active_series", tenant=tenant) or 0

    def push(tenant, name="op"):
        assert o.push(tenant, one(name=name, start=time.time_ns(), kind=2))[0] == 200

    # None at all: the distributor keeps its spans.
    push("zoo")
    o.write({"zoo": {"ingestion": OPEN}, "acme": {"ingestion": OPEN, "metrics_generator": {"processors": ["span-metrics-count"]}}})
    eventually(lambda: push("acme") or series("acme") == 1)
    assert series("zoo") == 0 and o.c.generator.metric("tempo_metrics_generator_spans_received_total", tenant="zoo") is None

    # Another limit, another processor: what was counted stays.
    two = {"processors": ["span-metrics-count", "span-metrics-size"], "max_active_series": 2}
    o.write({"acme": {"ingestion": OPEN, "metrics_generator": two}})
    eventually(lambda: series("acme") == 2)
    for name in ("second", "third", "fourth"):
        push("acme", name)
    eventually(lambda: o.c.generator.metric("tempo_metrics_generator_registry_series_limited_total", tenant="acme") == 2)
    assert series("acme") == 6  # two label sets and the overflow

    o.write({"acme": {"ingestion": OPEN}})
    eventually(lambda: series("acme") == 0)
