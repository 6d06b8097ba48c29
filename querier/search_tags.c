/* Tag names and tag values: the ingesters' answers and every row group in the window. */
#include "common/net/rpc.h"
#include "querier/messages.h"
#include "querier/search_priv.h"

static enum err tags_live(struct search_ctx *ctx, uint16_t method, uint32_t coverage_field,
                          struct buf *request, struct fanout *f,
                          struct blocks_coverage **ret_coverage)
{
    enum err e = search_ask(ctx, method, request, f);

    if (e != ERR_OK)
        return e;
    e = search_coverages(ctx, f, coverage_field, ret_coverage);
    for (unsigned i = 0; i < f->count; i++)
        ctx->missing += f->answers[i].err != ERR_OK;
    if (e != ERR_OK)
        fanout_release(f);
    return e;
}

struct names_work {
    struct search_ctx *ctx;
    const struct ql_expr *filter;
    uint64_t start_ns, end_ns;
    struct tag_names so_far;
};

static enum err names_merge(struct names_work *w, const struct tag_names *more)
{
    struct tag_names parts[2] = {w->so_far, *more};
    return tag_names_merge(w->ctx->arena, parts, 2, 0, &w->so_far);
}

static enum err names_segment(struct segment *s, void *arg)
{
    struct names_work *w = arg;
    struct tag_names more = {0};
    enum err e = engine_tag_names(s, w->filter, w->start_ns, w->end_ns, w->ctx->arena, &more);

    return e == ERR_OK ? names_merge(w, &more) : e;
}

static enum err each_group(struct search_ctx *ctx, const struct blocks_coverage *coverage,
                           unsigned count, uint64_t start_ns, uint64_t end_ns,
                           search_segment_fn *fn, void *arg)
{
    struct blocks_set set = {0};
    struct search_group *list = NULL;
    uint32_t n = 0;
    enum err e =
        blocks_take(ctx->blocks, ctx->tenant, start_ns, end_ns, coverage, count, ctx->arena, &set);

    ctx->missing += set.unreadable;
    if (e == ERR_OK)
        e = search_groups(ctx, &set, start_ns, end_ns, &list, &n);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++)
        e = search_with_group(ctx, &list[i], fn, arg);
    blocks_give(&set);
    return e;
}

static enum err names_run(struct names_work *w, struct slice filter, uint32_t limit,
                          struct tag_names *ret)
{
    struct search_ctx *ctx = w->ctx;
    struct blocks_coverage *coverage;
    struct fanout f;
    struct buf request;

    buf_init(&request, SEARCH_REQUEST_BYTES_MAX);
    messages_tag_names_request(&request, slice_str(ctx->tenant), filter, w->start_ns, w->end_ns);
    enum err e = tags_live(ctx, RPC_TAG_NAMES, MESSAGES_NAMES_COVERAGE, &request, &f, &coverage);
    if (e != ERR_OK)
        return e;
    for (unsigned i = 0; i < f.count && e == ERR_OK; i++) {
        struct tag_names more = {0};
        if (f.answers[i].err == ERR_OK &&
            tag_names_unpack(ctx->arena, arena_dup(ctx->arena, buf_slice(&f.answers[i].bytes)),
                             &more) == ERR_OK)
            e = names_merge(w, &more);
    }
    if (e == ERR_OK)
        e = each_group(ctx, coverage, f.count, w->start_ns, w->end_ns, names_segment, w);
    fanout_release(&f);
    if (e == ERR_OK)
        e = tag_names_merge(ctx->arena, &w->so_far, 1, limit, ret);
    return e;
}

enum err search_tag_names(struct search_ctx *ctx, struct slice filter, uint64_t start_ns,
                          uint64_t end_ns, uint32_t limit, struct tag_names *ret)
{
    struct names_work w = {.ctx = ctx, .start_ns = start_ns, .end_ns = end_ns};
    struct ql_expr *expr = NULL;
    enum err e = filter.len == 0 ? ERR_OK : ql_parse_tag_filter(ctx->arena, filter, &expr);

    if (e != ERR_OK)
        return e;
    w.filter = expr;
    e = names_run(&w, filter, limit, ret);
    ql_expr_release(expr);
    return e;
}

struct values_work {
    struct search_ctx *ctx;
    const struct ql_attribute *tag;
    const struct ql_expr *filter;
    uint64_t start_ns, end_ns, bytes_max;
    uint32_t limit;
    bool any_scope;
    struct tag_values so_far;
};

static enum err values_merge(struct values_work *w, const struct tag_values *more)
{
    struct tag_values parts[2] = {w->so_far, *more};
    return tag_values_merge(w->ctx->arena, parts, 2, w->limit, w->bytes_max, &w->so_far);
}

static enum err values_segment(struct segment *s, void *arg)
{
    struct values_work *w = arg;
    struct tag_values more = {0};
    enum err e = engine_tag_values(s, w->tag, w->any_scope, w->filter, w->start_ns, w->end_ns,
                                   w->limit, w->ctx->arena, &more);

    return e == ERR_OK ? values_merge(w, &more) : e;
}

static enum err values_run(struct values_work *w, struct slice tag_text, struct slice filter,
                           struct tag_values *ret)
{
    struct search_ctx *ctx = w->ctx;
    struct blocks_coverage *coverage;
    struct fanout f;
    struct buf request;

    buf_init(&request, SEARCH_REQUEST_BYTES_MAX);
    messages_tag_values_request(&request, slice_str(ctx->tenant), tag_text, w->any_scope, filter,
                                w->start_ns, w->end_ns, w->limit);
    enum err e = tags_live(ctx, RPC_TAG_VALUES, MESSAGES_RESULT_COVERAGE, &request, &f, &coverage);
    if (e != ERR_OK)
        return e;
    for (unsigned i = 0; i < f.count && e == ERR_OK; i++) {
        struct tag_values more = {0};
        if (f.answers[i].err == ERR_OK &&
            tag_values_unpack(ctx->arena, arena_dup(ctx->arena, buf_slice(&f.answers[i].bytes)),
                              &more) == ERR_OK)
            e = values_merge(w, &more);
    }
    if (e == ERR_OK)
        e = each_group(ctx, coverage, f.count, w->start_ns, w->end_ns, values_segment, w);
    fanout_release(&f);
    if (e == ERR_OK)
        *ret = w->so_far;
    return e;
}

enum err search_tag_values(struct search_ctx *ctx, const struct search_values_options *o,
                           struct tag_values *ret)
{
    struct values_work w = {.ctx = ctx,
                            .tag = o->tag,
                            .start_ns = o->start_ns,
                            .end_ns = o->end_ns,
                            .bytes_max = o->bytes_max,
                            .limit = o->limit,
                            .any_scope = o->any_scope};
    struct ql_expr *expr = NULL;
    enum err e = o->filter.len == 0 ? ERR_OK : ql_parse_tag_filter(ctx->arena, o->filter, &expr);

    if (e != ERR_OK)
        return e;
    w.filter = expr;
    e = values_run(&w, o->tag_text, o->filter, ret);
    ql_expr_release(expr);
    return e;
}
