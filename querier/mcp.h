/*
 * mcp.h - the Model Context Protocol for Tempo's tools: JSON-RPC 2.0 in the body of a POST, one answer as JSON.
 *
 * Shape:   no sessions and no server-sent events (the protocol leaves both to the server): every request stands alone, so any querier answers.
 *          A tool is a route of the API with parameters; its answer comes as one text.
 * Memory:  requests are copied into the arena; what they may cost is bounded by MCP_BYTES_MAX.
 * Source:  modelcontextprotocol.io specification 2025-06-18, "Streamable HTTP"; tool names as Tempo's (contract.md 1.7).
 */
#ifndef VIVACE_QUERIER_MCP_H
#define VIVACE_QUERIER_MCP_H

#include "common/base/arena.h"

enum { MCP_BYTES_MAX = 256 * 1024, MCP_ARGUMENTS_MAX = 16 };

struct mcp_argument {
    struct slice name, value; /* numbers and booleans as their text */
};
struct mcp_request {
    bool has_id;     /* no: a notification, which gets no answer */
    bool id_is_text; /* else it is a number, as JSON */
    struct slice id;
    struct slice method; /* empty: an answer of the client's, which needs none either */
    struct slice protocol_version, name, uri; /* of params; empty when absent */
    struct mcp_argument arguments[MCP_ARGUMENTS_MAX];
    unsigned argument_count;
};

/* Errors: ERR_FORMAT not JSON, ERR_TOO_LARGE, ERR_INVALID not one JSON-RPC 2.0 message (the id is filled in when it has one), ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err mcp_request_parse(struct arena *a, struct slice json, struct mcp_request *ret);

/* NULL when there is no such page; Markdown. */
const char *mcp_docs_traceql(struct slice name);
extern const char mcp_docs_config_overview[];

#endif
