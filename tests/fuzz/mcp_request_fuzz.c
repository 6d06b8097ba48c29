/* What an MCP client sends.  Properties: a message that is taken has a method or is an answer, an id that is JSON, and no more arguments than there is room for. */
#include "querier/mcp.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mcp_request m, again;
    struct arena a;

    arena_init(&a, NULL);
    enum err e = mcp_request_parse(&a, (struct slice){data, size}, &m);
    assert(m.argument_count <= MCP_ARGUMENTS_MAX);
    if (e == ERR_OK && m.has_id && !m.id_is_text) {
        char *text = arena_printf(
            &a, "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":" SLICE_FMT "}", SLICE_ARG(m.id));
        assert(mcp_request_parse(&a, slice_str(text), &again) == ERR_OK &&
               slice_eq(again.id, m.id));
    }
    arena_release(&a);
    return 0;
}
