#include "querier/api.h"

static const struct api_route routes[] = {
    {"api_traces_traceid", "traces", "/api/traces/", "", api_trace_v1},
    {"api_v2_traces_traceid", "traces", "/api/v2/traces/", "", api_trace_v2},
    {"api_search", "search", "/api/search", NULL, api_search},
    {"api_search_tags", "metadata", "/api/search/tags", NULL, api_tags_v1},
    {"api_v2_search_tags", "metadata", "/api/v2/search/tags", NULL, api_tags_v2},
    {"api_search_tag_tagname_values", "metadata", "/api/search/tag/", "/values", api_values_v1},
    {"api_v2_search_tag_tagname_values", "metadata", "/api/v2/search/tag/", "/values",
     api_values_v2},
    {"api_metrics_query_range", "metrics", "/api/metrics/query_range", NULL, api_query_range},
    {"api_metrics_query", "metrics", "/api/metrics/query", NULL, api_query_instant},
    {"api_mcp", "mcp", "/api/mcp", NULL, api_mcp},
};

static bool has_suffix(struct slice s, const char *suffix)
{
    size_t len = strlen(suffix);
    return s.len >= len && memcmp(s.ptr + s.len - len, suffix, len) == 0;
}

const struct api_route *api_route(struct slice path, struct slice *ret_argument)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        const struct api_route *r = &routes[i];
        struct slice prefix = slice_str(r->prefix);
        *ret_argument = SLICE_NONE;
        if (r->suffix == NULL) {
            if (slice_eq(path, prefix))
                return r;
            continue;
        }
        if (!slice_has_prefix(path, prefix) || path.len < prefix.len + strlen(r->suffix) ||
            !has_suffix(path, r->suffix))
            continue;
        struct slice argument = slice_sub(path, prefix.len, path.len - strlen(r->suffix));
        /* Not empty; a trace id is one segment, a tag name may be anything. */
        if (argument.len == 0 ||
            (r->suffix[0] == '\0' && memchr(argument.ptr, '/', argument.len) != NULL))
            continue;
        *ret_argument = argument;
        return r;
    }
    return NULL;
}

void api_error_text(struct buf *out, enum err e, const struct err_detail *detail)
{
    if (detail->text[0] != '\0')
        buf_append_str(out, detail->text);
    else if (e == ERR_TIMEOUT)
        buf_append_str(out, "context deadline exceeded");
    else if (e == ERR_LIMIT)
        buf_append_str(out, "query needs more memory than it may have");
    else
        buf_append_str(out, err_name(e));
}
