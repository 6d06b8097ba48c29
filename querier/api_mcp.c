#include "common/base/clock.h"
#include "common/base/rfc3339.h"
#include "common/codec/json_out.h"
#include "common/obs/metrics.h"
#include "common/query/ql.h"
#include "querier/api.h"
#include "querier/mcp.h"
#include "querier/params.h"

#include <stdio.h>

enum {
    MCP_TOOL_ARGUMENTS = 3,
    HOUR_S = 3600,
    RPC_PARSE_ERROR = -32700,
    RPC_INVALID = -32600,
    RPC_NO_METHOD = -32601,
    RPC_BAD_PARAMS = -32602
};

/* What an argument of a tool becomes. */
enum mcp_use {
    MCP_PARAM,   /* a parameter of the route */
    MCP_SEARCH,  /* the same, and must be a search */
    MCP_METRICS, /* the same, and must be a metrics query */
    MCP_START,
    MCP_END,
    MCP_PATH, /* the argument in the route's path */
    MCP_PAGE  /* of the documentation */
};
struct mcp_tool_argument {
    const char *name, *param;
    enum mcp_use use;
    bool is_required;
    const char *description, *choices; /* choices: JSON texts with commas between */
};
struct mcp_tool {
    const char *name, *description;
    const char *type, *encoding, *version; /* of the answer's _meta */
    api_fn *fn;                            /* NULL: documentation */
    struct mcp_tool_argument arguments[MCP_TOOL_ARGUMENTS];
};

#define START                                                                \
    {                                                                        \
        "start", "start", MCP_START, false,                                  \
            "Begin of the time range, RFC 3339. Default: an hour ago.", NULL \
    }
#define END                                                                                  \
    {                                                                                        \
        "end", "end", MCP_END, false, "End of the time range, RFC 3339. Default: now.", NULL \
    }

static const struct mcp_tool tools[] = {
    {"traceql-search",
     "Find traces by a TraceQL query.",
     "search-results",
     "json",
     "1",
     api_search,
     {{"query", "q", MCP_SEARCH, true, "A TraceQL query without a metrics function.", NULL},
      START,
      END}},
    {"traceql-metrics-instant",
     "One number for each series of a TraceQL metrics query, over the whole time range. Answers most questions about metrics.",
     "metrics-instant",
     "json",
     "1",
     api_query_instant,
     {{"query", "q", MCP_METRICS, true, "A TraceQL metrics query.", NULL}, START, END}},
    {"traceql-metrics-range",
     "The course of each series of a TraceQL metrics query over the time range.",
     "metrics-range",
     "json",
     "1",
     api_query_range,
     {{"query", "q", MCP_METRICS, true, "A TraceQL metrics query.", NULL}, START, END}},
    {"get-trace",
     "One whole trace by its id.",
     "trace",
     "json",
     "2",
     api_trace_v2,
     {{"trace_id", NULL, MCP_PATH, true, "The trace's id in hex.", NULL}}},
    {"get-attribute-names",
     "The names of attributes that there are, by scope. Ask before writing a query: names differ from system to system.",
     "attribute-names",
     "json",
     "2",
     api_tags_v2,
     {{"scope", "scope", MCP_PARAM, false,
       "Only this scope: span, resource, event, link or instrumentation. Default: all.", NULL}}},
    {"get-attribute-values",
     "The values of an attribute that there are, for instance of resource.service.name: all services.",
     "attribute-values",
     "json",
     "2",
     api_values_v2,
     {{"name", NULL, MCP_PATH, true, "The attribute with its scope, such as span.http.method.",
       NULL},
      {"filter-query", "q", MCP_PARAM, false,
       "Only values of spans that match this: one pair of braces, conditions joined by &&.",
       NULL}}},
    {"docs-traceql",
     "How TraceQL is written, with examples.",
     "documentation",
     "markdown",
     "1",
     NULL,
     {{"name", NULL, MCP_PAGE, true, "The page.",
       "\"basic\",\"aggregates\",\"structural\",\"metrics\""}}},
    {"docs-config",
     "How this server is configured.",
     "documentation",
     "markdown",
     "1",
     NULL,
     {{"name", NULL, MCP_PAGE, true, "The page.", "\"overview\",\"reference\""}}},
};
enum { TOOL_COUNT = sizeof tools / sizeof tools[0] };

static const struct {
    const char *uri, *name;
} resources[] = {{"docs://traceql/query", "TraceQL"},
                 {"docs://traceql/basic", "TraceQL, the basics"},
                 {"docs://traceql/aggregates", "TraceQL, aggregates"},
                 {"docs://traceql/structural", "TraceQL, structure"},
                 {"docs://traceql/metrics", "TraceQL, metrics"},
                 {"docs://config/overview", "Configuration, an outline"},
                 {"docs://config/reference", "Configuration, every key"}};

/* {"jsonrpc":"2.0","id":...,  and from there on the caller. */
static void envelope_begin(struct json_out *j, const struct mcp_request *m, struct buf *out)
{
    json_out_init(j, out);
    json_out_begin_object(j);
    json_out_key(j, "jsonrpc");
    json_out_cstring(j, "2.0");
    json_out_key(j, "id");
    if (m->id_is_text)
        json_out_string(j, m->id);
    else if (m->has_id)
        json_out_raw(j, m->id);
    else
        json_out_null(j);
}

static void rpc_error(const struct mcp_request *m, int64_t code, const char *text, struct buf *out)
{
    struct json_out j;

    envelope_begin(&j, m, out);
    json_out_key(&j, "error");
    json_out_begin_object(&j);
    json_out_key(&j, "code");
    json_out_i64(&j, code);
    json_out_key(&j, "message");
    json_out_cstring(&j, text);
    json_out_end_object(&j);
    json_out_end_object(&j);
}

static void result_begin(struct json_out *j, const struct mcp_request *m, struct buf *out)
{
    envelope_begin(j, m, out);
    json_out_key(j, "result");
    json_out_begin_object(j);
}

static void result_end(struct json_out *j)
{
    json_out_end_object(j);
    json_out_end_object(j);
}

static void text_pair(struct json_out *j, const char *key, const char *value)
{
    json_out_key(j, key);
    json_out_cstring(j, value);
}

static void flag_pair(struct json_out *j, const char *key, bool value)
{
    json_out_key(j, key);
    json_out_bool(j, value);
}

static void on_initialize(const struct mcp_request *m, struct buf *out)
{
    static const char *const versions[] = {"2025-06-18", "2025-03-26", "2024-11-05"};
    const char *version = versions[0];
    struct json_out j;

    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++)
        if (slice_eq_str(m->protocol_version, versions[i]))
            version = versions[i];
    result_begin(&j, m, out);
    text_pair(&j, "protocolVersion", version);
    json_out_key(&j, "capabilities");
    json_out_begin_object(&j);
    json_out_key(&j, "tools");
    json_out_begin_object(&j);
    json_out_end_object(&j);
    json_out_key(&j, "resources");
    json_out_begin_object(&j);
    json_out_end_object(&j);
    json_out_end_object(&j);
    json_out_key(&j, "serverInfo");
    json_out_begin_object(&j);
    text_pair(&j, "name", "tempo");
    text_pair(&j, "version", "0.1.0");
    json_out_end_object(&j);
    result_end(&j);
}

static void schema_write(struct json_out *j, const struct mcp_tool *t)
{

    json_out_key(j, "inputSchema");
    json_out_begin_object(j);
    text_pair(j, "type", "object");
    json_out_key(j, "properties");
    json_out_begin_object(j);
    for (unsigned i = 0; i < MCP_TOOL_ARGUMENTS && t->arguments[i].name != NULL; i++) {
        json_out_key(j, t->arguments[i].name);
        json_out_begin_object(j);
        text_pair(j, "type", "string");
        text_pair(j, "description", t->arguments[i].description);
        if (t->arguments[i].choices != NULL) {
            json_out_key(j, "enum");
            json_out_begin_array(j);
            json_out_raw(j, slice_str(t->arguments[i].choices));
            json_out_end_array(j);
        }
        json_out_end_object(j);
    }
    json_out_end_object(j);
    json_out_key(j, "required");
    json_out_begin_array(j);
    for (unsigned i = 0; i < MCP_TOOL_ARGUMENTS && t->arguments[i].name != NULL; i++)
        if (t->arguments[i].is_required)
            json_out_cstring(j, t->arguments[i].name);
    json_out_end_array(j);
    json_out_end_object(j);
}

static void on_tools_list(const struct mcp_request *m, struct buf *out)
{
    struct json_out j;

    result_begin(&j, m, out);
    json_out_key(&j, "tools");
    json_out_begin_array(&j);
    for (size_t i = 0; i < TOOL_COUNT; i++) {
        json_out_begin_object(&j);
        text_pair(&j, "name", tools[i].name);
        text_pair(&j, "description", tools[i].description);
        schema_write(&j, &tools[i]);
        json_out_key(&j, "annotations");
        json_out_begin_object(&j);
        flag_pair(&j, "readOnlyHint", true);
        flag_pair(&j, "destructiveHint", false);
        flag_pair(&j, "idempotentHint", true);
        flag_pair(&j, "openWorldHint", false);
        json_out_end_object(&j);
        json_out_end_object(&j);
    }
    json_out_end_array(&j);
    result_end(&j);
}

static void on_resources_list(const struct mcp_request *m, struct buf *out)
{
    struct json_out j;

    result_begin(&j, m, out);
    json_out_key(&j, "resources");
    json_out_begin_array(&j);
    for (size_t i = 0; i < sizeof resources / sizeof resources[0]; i++) {
        json_out_begin_object(&j);
        text_pair(&j, "uri", resources[i].uri);
        text_pair(&j, "name", resources[i].name);
        text_pair(&j, "mimeType", "text/markdown");
        json_out_end_object(&j);
    }
    json_out_end_array(&j);
    result_end(&j);
}

/* False: there is no such page. */
static bool page_write(struct slice book, struct slice name, struct buf *out)
{
    const char *text = NULL;

    if (slice_eq_str(book, "traceql"))
        text = mcp_docs_traceql(name);
    else if (slice_eq_str(name, "overview"))
        text = mcp_docs_config_overview;
    else if (slice_eq_str(name, "reference"))
        config_write_reference(out);
    else
        return false;
    if (text != NULL)
        buf_append_str(out, text);
    return out->len != 0;
}

static void on_resources_read(const struct mcp_request *m, struct buf *out)
{
    struct slice scheme = SLICE_LIT("docs://"), page = SLICE_NONE, book = SLICE_NONE;
    struct json_out j;
    struct buf text;

    buf_init(&text, (size_t)1 << 20);
    for (size_t i = 0; i < sizeof resources / sizeof resources[0]; i++) {
        if (!slice_eq_str(m->uri, resources[i].uri))
            continue;
        struct slice path = slice_sub(m->uri, scheme.len, m->uri.len);
        const uint8_t *slash = memchr(path.ptr, '/', path.len);
        book = slice_sub(path, 0, (size_t)(slash - path.ptr));
        page = slice_sub(path, book.len + 1, path.len);
    }
    if (page.len == 0 || !page_write(book, page, &text)) {
        rpc_error(m, RPC_BAD_PARAMS, "there is no such resource", out);
        buf_release(&text);
        return;
    }
    result_begin(&j, m, out);
    json_out_key(&j, "contents");
    json_out_begin_array(&j);
    json_out_begin_object(&j);
    json_out_key(&j, "uri");
    json_out_string(&j, m->uri);
    text_pair(&j, "mimeType", "text/markdown");
    json_out_key(&j, "text");
    json_out_string(&j, buf_slice(&text));
    json_out_end_object(&j);
    json_out_end_array(&j);
    result_end(&j);
    buf_release(&text);
}

/* A tool's answer: one text.  `t` NULL: it failed. */
static void tool_result(const struct mcp_request *m, const struct mcp_tool *t, struct slice text,
                        struct buf *out)
{
    struct json_out j;

    result_begin(&j, m, out);
    if (t != NULL) {
        json_out_key(&j, "_meta");
        json_out_begin_object(&j);
        text_pair(&j, "type", t->type);
        text_pair(&j, "encoding", t->encoding);
        text_pair(&j, "version", t->version);
        json_out_end_object(&j);
    }
    json_out_key(&j, "content");
    json_out_begin_array(&j);
    json_out_begin_object(&j);
    text_pair(&j, "type", "text");
    json_out_key(&j, "text");
    json_out_string(&j, text);
    json_out_end_object(&j);
    json_out_end_array(&j);
    if (t == NULL)
        flag_pair(&j, "isError", true);
    result_end(&j);
}

static struct slice argument_of(const struct mcp_request *m, const char *name)
{
    for (unsigned i = 0; i < m->argument_count; i++)
        if (slice_eq_str(m->arguments[i].name, name))
            return m->arguments[i].value;
    return SLICE_NONE;
}

static void param_put(struct buf *query, const char *name, struct slice value)
{
    buf_appendf(query, "%s%s=", query->len == 0 ? "" : "&", name);
    for (size_t i = 0; i < value.len; i++)
        buf_appendf(query, "%%%02X", (unsigned)value.ptr[i]);
}

/* A search tool with a metrics query, or the other way round: the model is told which tool to take.  What does not parse fails in the route. */
static bool is_wrong_kind(struct arena *a, struct slice text, enum mcp_use use)
{
    struct ql_query *ql = NULL;
    struct err_detail why = {0};

    if (use == MCP_PARAM || ql_parse(a, text, &ql, &why) != ERR_OK)
        return false;
    bool is_metrics = ql->metrics != NULL;
    ql_release(ql);
    return is_metrics != (use == MCP_METRICS);
}

/* Whole seconds, which all routes take; an end is rounded up. */
static bool time_put(struct api_request *r, const struct mcp_tool_argument *argument,
                     struct slice value, struct buf *query)
{
    bool is_start = argument->use == MCP_START;
    uint64_t ns = (uint64_t)r->now_ns - (is_start ? HOUR_S * (uint64_t)NS_PER_S : 0);
    char seconds[24];

    if (value.len != 0 && !rfc3339_parse(value, &ns))
        return false;
    (void)snprintf(seconds, sizeof seconds, "%llu",
                   (unsigned long long)((ns + (is_start ? 0 : NS_PER_S - 1)) / NS_PER_S));
    param_put(query, argument->param, slice_str(seconds));
    return true;
}

/* Puts one argument where the route expects it; NULL, or what is wrong with it. */
static const char *argument_put(struct api_request *r, const struct mcp_request *m,
                                const struct mcp_tool_argument *argument, struct buf *query)
{
    struct slice value = argument_of(m, argument->name);

    if (value.len == 0 && argument->is_required)
        return arena_printf(r->search.arena, "required argument \"%s\" not found", argument->name);
    switch (argument->use) {
    case MCP_PAGE: break;
    case MCP_PATH: r->argument = value; break;
    case MCP_START:
    case MCP_END:
        if (!time_put(r, argument, value, query))
            return arena_printf(r->search.arena,
                                "invalid %s time: expected RFC 3339, such as 2026-11-28T06:00:00Z",
                                argument->name);
        break;
    case MCP_SEARCH:
    case MCP_METRICS:
        if (is_wrong_kind(r->search.arena, value, argument->use))
            return argument->use == MCP_SEARCH
                       ? "this is a TraceQL metrics query: call traceql-metrics-instant or traceql-metrics-range"
                       : "this is a TraceQL search: call traceql-search";
        param_put(query, argument->param, value);
        break;
    case MCP_PARAM:
        if (value.len != 0)
            param_put(query, argument->param, value);
        break;
    }
    return NULL;
}

/* Asks the route; the tool's answer is its body, or why it refused. */
static enum err route_ask(struct api_request *r, const struct mcp_request *m,
                          const struct mcp_tool *t, struct buf *out, unsigned *ret_missing)
{
    struct api_answer answer = {.status = 200};
    struct err_detail detail = {0};
    struct buf text;

    buf_init(&answer.body, out->len_max);
    enum err e = t->fn(r, &answer, &detail);
    if (e == ERR_OK)
        e = buf_err(&answer.body);
    if (e == ERR_CANCELED) {
        buf_release(&answer.body);
        return e; /* the client is gone, or the time is over */
    }
    buf_init(&text, 64 << 10);
    if (e != ERR_OK) {
        buf_appendf(&text, "tool failed with http status code %u and reason ", err_http_status(e));
        api_error_text(&text, e, &detail);
        tool_result(m, NULL, buf_slice(&text), out);
    } else {
        *ret_missing = answer.missing;
        tool_result(m, t, buf_slice(&answer.body), out);
    }
    buf_release(&text);
    buf_release(&answer.body);
    return ERR_OK;
}

static void docs_tool(const struct mcp_request *m, const struct mcp_tool *t, struct buf *out)
{
    struct buf text;

    buf_init(&text, (size_t)1 << 20);
    if (page_write(slice_str(t->name + strlen("docs-")), argument_of(m, "name"), &text))
        tool_result(m, t, buf_slice(&text), out);
    else
        tool_result(m, NULL, SLICE_LIT("there is no such page"), out);
    buf_release(&text);
}

static enum err on_tools_call(const struct api_request *r, const struct mcp_request *m,
                              struct buf *out, unsigned *ret_missing)
{
    const struct mcp_tool *t = NULL;
    struct api_request ask = *r;
    struct buf query;

    for (size_t i = 0; i < TOOL_COUNT; i++)
        if (slice_eq_str(m->name, tools[i].name))
            t = &tools[i];
    if (t == NULL) {
        rpc_error(m, RPC_BAD_PARAMS, "there is no such tool", out);
        return ERR_OK;
    }
    metric_inc(metric_cell(metrics_counter("tempo_query_frontend_mcp_calls_total", "tool",
                                           "Calls of the MCP server's tools."),
                           (struct slice[]){slice_str(t->name)}, 1));
    ask.wants_llm = true;
    ask.wants_protobuf = false;
    buf_init(&query, (size_t)4 * MCP_BYTES_MAX);
    const char *wrong = NULL;
    for (unsigned i = 0; wrong == NULL && i < MCP_TOOL_ARGUMENTS && t->arguments[i].name != NULL;
         i++)
        wrong = argument_put(&ask, m, &t->arguments[i], &query);
    ask.query = arena_dup(r->search.arena, buf_slice(&query));
    enum err e = buf_err(&query) != ERR_OK ? buf_err(&query) : arena_err(r->search.arena);
    buf_release(&query);
    if (e != ERR_OK)
        return e;
    if (wrong != NULL)
        tool_result(m, NULL, slice_str(wrong), out);
    else if (t->fn == NULL)
        docs_tool(m, t, out);
    else
        return route_ask(&ask, m, t, out, ret_missing);
    return ERR_OK;
}

static enum err dispatch(struct api_request *r, const struct mcp_request *m,
                         struct api_answer *answer)
{
    struct buf *out = &answer->body;
    struct json_out j;

    if (slice_eq_str(m->method, "tools/call"))
        return on_tools_call(r, m, out, &answer->missing);
    if (slice_eq_str(m->method, "initialize")) {
        on_initialize(m, out);
    } else if (slice_eq_str(m->method, "ping")) {
        result_begin(&j, m, out);
        result_end(&j);
    } else if (slice_eq_str(m->method, "tools/list")) {
        on_tools_list(m, out);
    } else if (slice_eq_str(m->method, "resources/list")) {
        on_resources_list(m, out);
    } else if (slice_eq_str(m->method, "resources/templates/list")) {
        result_begin(&j, m, out);
        json_out_key(&j, "resourceTemplates");
        json_out_begin_array(&j);
        json_out_end_array(&j);
        result_end(&j);
    } else if (slice_eq_str(m->method, "resources/read")) {
        on_resources_read(m, out);
    } else {
        rpc_error(m, RPC_NO_METHOD, "there is no such method", out);
    }
    return ERR_OK;
}

enum err api_mcp(struct api_request *r, struct api_answer *answer, struct err_detail *reterr_detail)
{
    struct mcp_request m;

    (void)reterr_detail;
    if (!r->is_post) {
        /* No stream of events to read, no session to end. */
        answer->status = 405;
        answer->content_type = "text/plain; charset=utf-8";
        buf_append_str(&answer->body, "only POST is allowed\n");
        return ERR_OK;
    }
    enum err e = mcp_request_parse(r->search.arena, r->body, &m);
    if (e == ERR_FORMAT || e == ERR_INVALID || e == ERR_TOO_LARGE) {
        answer->status = 400;
        rpc_error(&m, e == ERR_FORMAT ? RPC_PARSE_ERROR : RPC_INVALID,
                  e == ERR_FORMAT    ? "the body is not JSON"
                  : e == ERR_INVALID ? "the body is not one JSON-RPC 2.0 message"
                                     : "the body is too large",
                  &answer->body);
        return ERR_OK;
    }
    if (e != ERR_OK)
        return e;
    if (!m.has_id || m.method.len == 0) {
        answer->status = 202;
        return ERR_OK;
    }
    return dispatch(r, &m, answer);
}
