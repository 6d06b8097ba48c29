"""The Model Context Protocol at /api/mcp, the form for language models, and the routes that Tempo's queriers have under /querier."""
import json
import time
from contextlib import closing

import pytest

from vivace import Cluster, eventually, http, request, span

S = 10**9
TRACE = "c0ffee" + "0" * 26
LLM = "application/vnd.grafana.llm"


@pytest.fixture(scope="module")
def c(tmp_path_factory):
    with closing(Cluster(tmp_path_factory.mktemp("mcp"), config={"query_frontend": {"mcp_server": {"enabled": True}}})) as c:
        start = time.time_ns() - 60 * S
        assert c.push_json(request("shop", span(TRACE, "1" * 16, name="GET /", start=start, **{"n": 7, "who": "ann"})))[0] == 200
        eventually(lambda: len(c.search("{}")) == 1)
        yield c


def url(c):
    return f"http://127.0.0.1:{c.querier.http_port}"


def post(c, body, method=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http(f"{url(c)}/api/mcp", data, {"content-type": "application/json", "accept": "application/json, text/event-stream"}, method=method)


def ask(c, method, **params):
    status, headers, body = post(c, {"jsonrpc": "2.0", "id": "a\"\u00e9", "method": method, "params": params})
    assert (status, headers["content-type"]) == (200, "application/json")
    answer = json.loads(body)
    assert answer["jsonrpc"] == "2.0" and answer["id"] == "a\"\u00e9"
    return answer


def tool(c, tool_name, **arguments):
    result = ask(c, "tools/call", name=tool_name, arguments=arguments)["result"]
    (content,) = result["content"]
    assert content["type"] == "text"
    return content["text"], result.get("_meta"), result.get("isError", False)


def test_handshake_and_lists(c):
    for asked, got in (("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("1999-01-01", "2025-06-18")):
        result = ask(c, "initialize", protocolVersion=asked, capabilities={}, clientInfo={"name": "t", "version": "1"})["result"]
        assert result["protocolVersion"] == got and set(result["capabilities"]) == {"tools", "resources"} and result["serverInfo"]["name"] == "tempo"
    assert post(c, {"jsonrpc": "2.0", "method": "notifications/initialized"})[::2] == (202, b"")
    assert ask(c, "ping")["result"] == {}
    tools = {t["name"]: t for t in ask(c, "tools/list")["result"]["tools"]}
    assert set(tools) == {"traceql-search", "traceql-metrics-instant", "traceql-metrics-range", "get-trace", "get-attribute-names", "get-attribute-values", "docs-traceql", "docs-config"}
    assert tools["traceql-search"]["inputSchema"]["required"] == ["query"] and tools["get-attribute-names"]["inputSchema"]["required"] == []
    assert all(t["annotations"]["readOnlyHint"] for t in tools.values())
    for r in ask(c, "resources/list")["result"]["resources"]:
        (page,) = ask(c, "resources/read", uri=r["uri"])["result"]["contents"]
        assert page["uri"] == r["uri"] and page["text"].startswith("# ")
    for name, choices in (("docs-traceql", ("basic", "aggregates", "structural", "metrics")), ("docs-config", ("overview", "reference"))):
        assert tools[name]["inputSchema"]["properties"]["name"]["enum"] == list(choices)
        for choice in choices:
            text, meta, failed = tool(c, name, name=choice)
            assert text.startswith("# ") and meta["type"] == "documentation" and not failed
    assert ask(c, "resources/templates/list")["result"] == {"resourceTemplates": []}


def test_tools(c):
    text, meta, failed = tool(c, "traceql-search", query='{ resource.service.name = "shop" }')
    assert [t["traceID"] for t in json.loads(text)["traces"]] == [TRACE] and meta == {"type": "search-results", "encoding": "json", "version": "1"} and not failed
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    assert json.loads(tool(c, "traceql-search", query="{}", start=time.strftime("%Y-%m-%dT%H:%M:%SZ"), end=later)[0])["traces"] == []
    (series,) = json.loads(tool(c, "traceql-metrics-instant", query="{} | count_over_time()")[0])["series"]
    assert series["value"] == 1
    (series,) = json.loads(tool(c, "traceql-metrics-range", query="{} | count_over_time()")[0])["series"]
    assert sum(s.get("value", 0) for s in series["samples"]) == 1
    trace = json.loads(tool(c, "get-trace", trace_id=TRACE)[0])["trace"]
    assert trace["traceId"] == TRACE and trace["services"][0]["scopes"][0]["spans"][0]["attributes"] == {"n": 7, "who": "ann"}
    scopes = {s["name"]: s["tags"] for s in json.loads(tool(c, "get-attribute-names", scope="span")[0])["scopes"]}
    assert scopes == {"span": ["n", "who"]}
    assert json.loads(tool(c, "get-attribute-values", name="span.who")[0])["tagValues"] == {"string": ["ann"]}
    assert json.loads(tool(c, "get-attribute-values", **{"name": "span.who", "filter-query": "{ span.n = 8 }"})[0])["tagValues"] == {}
    assert f'tempo_query_frontend_mcp_calls_total{{tool="get-trace"}} 1' in http(f"{url(c)}/metrics")[2].decode()


def test_mistakes(c):
    assert tool(c, "traceql-search") == ('required argument "query" not found', None, True)
    assert "traceql-metrics-instant" in tool(c, "traceql-search", query="{} | rate()")[0]
    assert tool(c, "traceql-metrics-range", query="{}")[::2] == ("this is a TraceQL search: call traceql-search", True)
    text, _, failed = tool(c, "traceql-search", query="{ nope")
    assert failed and text.startswith("tool failed with http status code 400 and reason invalid TraceQL query: ")
    assert tool(c, "get-trace", trace_id="xyz")[2] and tool(c, "docs-traceql", name="none")[2]
    assert ask(c, "tools/call", name="rm", arguments={})["error"]["code"] == -32602
    assert ask(c, "resources/read", uri="docs://none/none")["error"]["code"] == -32602
    assert ask(c, "prompts/list")["error"]["code"] == -32601
    for body, code in ((b"", -32700), (b"{", -32700), (b"{}x", -32700), (b"[]", -32600), (b'{"id":1,"method":"ping"}', -32600), (b"[" * 5000, -32700)):
        status, _, answer = post(c, body, method="POST")
        assert (status, json.loads(answer)["error"]["code"]) == (400, code), body
    assert post(c, b'{"jsonrpc":"2.0","id":1,"method":"ping","x":"' + b"y" * (300 * 1024) + b'"}')[0] == 400
    assert http(f"{url(c)}/api/mcp")[0] == 405
    assert http(f"{url(c)}/querier/api/mcp")[0] == 404


def test_other_forms_and_queriers_routes(c):
    status, headers, body = http(f"{url(c)}/api/v2/traces/{TRACE}", headers={"accept": LLM})
    assert (status, headers["content-type"]) == (200, f"{LLM}+json") and json.loads(body)["trace"]["services"][0]["serviceName"] == "shop"
    assert http(f"{url(c)}/api/v2/traces/{'1' * 32}", headers={"accept": LLM})[2] == b"{}"
    status, headers, body = http(f"{url(c)}/api/v2/search/tag/span.n/values", headers={"accept": LLM})
    assert headers["content-type"] == f"{LLM}+json" and json.loads(body)["tagValues"] == {"int": ["7"]}
    for accept in (LLM, f"application/json, {LLM}"):
        assert http(f"{url(c)}/api/search", headers={"accept": accept})[1]["content-type"] == "application/json"
    for path in (f"/api/v2/traces/{TRACE}", "/api/search/tags", "/api/v2/search/tag/span.n/values"):
        assert http(f"{url(c)}/querier{path}")[::2] == http(f"{url(c)}{path}")[::2]
    assert http(f"{url(c)}/querier/api/none")[0] == 404


def test_off_by_default(tmp_path):
    with closing(Cluster(tmp_path)) as c:
        assert post(c, {"jsonrpc": "2.0", "id": 1, "method": "ping"})[0] == 404
