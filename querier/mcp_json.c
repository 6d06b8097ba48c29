/* What an MCP client asks. */
#include "querier/mcp.h"

#include <cjson/cJSON.h>

static struct slice text_of(struct arena *a, const cJSON *o, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

    return text == NULL ? SLICE_NONE : arena_dup(a, slice_str(text));
}

/* Any value but a text as JSON. */
static struct slice printed(struct arena *a, const cJSON *item)
{
    char *text = cJSON_PrintUnformatted(item);
    struct slice s = text == NULL ? SLICE_NONE : arena_dup(a, slice_str(text));

    if (text == NULL)
        a->err = ERR_NOMEM;
    cJSON_free(text);
    return s;
}

static enum err arguments_read(struct arena *a, const cJSON *params, struct mcp_request *r)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(params, "arguments"))
    {
        if (cJSON_IsNull(item))
            continue;
        if (item->string == NULL || r->argument_count == MCP_ARGUMENTS_MAX)
            return ERR_INVALID;
        r->arguments[r->argument_count++] = (struct mcp_argument){
            arena_dup(a, slice_str(item->string)),
            cJSON_IsString(item) ? arena_dup(a, slice_str(item->valuestring)) : printed(a, item)};
    }
    return ERR_OK;
}

static enum err message_read(struct arena *a, const cJSON *message, struct mcp_request *r)
{
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(message, "id");
    const cJSON *params = cJSON_GetObjectItemCaseSensitive(message, "params");

    r->id_is_text = cJSON_IsString(id);
    r->has_id = r->id_is_text || cJSON_IsNumber(id);
    if (r->has_id)
        r->id = r->id_is_text ? text_of(a, message, "id") : printed(a, id);
    if (!cJSON_IsObject(message) || (id != NULL && !r->has_id) ||
        !slice_eq_str(text_of(a, message, "jsonrpc"), "2.0"))
        return ERR_INVALID;
    r->method = text_of(a, message, "method");
    bool is_answer =
        cJSON_HasObjectItem(message, "result") || cJSON_HasObjectItem(message, "error");
    if (r->method.len == 0)
        return is_answer ? ERR_OK : ERR_INVALID;
    r->protocol_version = text_of(a, params, "protocolVersion");
    r->name = text_of(a, params, "name");
    r->uri = text_of(a, params, "uri");
    return arguments_read(a, params, r);
}

static bool is_blank(const char *from, const char *to)
{
    for (; from < to; from++)
        if (*from != ' ' && *from != '\t' && *from != '\r' && *from != '\n')
            return false;
    return true;
}

enum err mcp_request_parse(struct arena *a, struct slice json, struct mcp_request *ret)
{
    *ret = (struct mcp_request){.argument_count = 0};
    if (json.len > MCP_BYTES_MAX)
        return ERR_TOO_LARGE;
    if (json.len == 0)
        return ERR_FORMAT;
    const char *text = (const char *)json.ptr, *end = NULL;
    cJSON *message = cJSON_ParseWithLengthOpts(text, json.len, &end, false);
    if (message == NULL)
        return ERR_FORMAT;
    enum err e = is_blank(end, text + json.len) ? message_read(a, message, ret) : ERR_FORMAT;
    cJSON_Delete(message);
    return arena_err(a) != ERR_OK ? arena_err(a) : e;
}
