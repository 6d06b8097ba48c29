/* TraceQL metrics over every place: parts of the ingesters' heads and of the blocks, split traces judged whole. */
#include "common/net/rpc.h"
#include "common/store/head.h"
#include "querier/messages.h"
#include "querier/search_priv.h"

#include <assert.h>

enum { ROUNDS_MAX = 3 };

struct gather {
    struct search_ctx *ctx;
    const struct search_metrics_query *q;
    struct engine_query window; /* for what looks at nothing else of a query */
    struct search_ids ids, flagged;
    struct blocks_set before, now;
    struct metrics_part **parts;
    struct result_stats stats;
};

static enum err parts_new(struct gather *g)
{
    enum err e = ERR_OK;

    for (uint32_t i = 0; i < g->q->leaf_count && e == ERR_OK; i++)
        e = metrics_part_new(g->ctx->arena, g->q->leaves[i], &g->q->window, g->q->exemplars,
                             &g->parts[i]);
    return e;
}

/* One ingester's answer, added to what is there.  ERR_FORMAT when it is no answer to this question. */
static enum err answer_add(struct gather *g, struct slice answer)
{
    struct slice *packed;
    uint32_t count = 0;
    enum err e = messages_repeated(g->ctx->arena, answer, MESSAGES_METRICS_PARTS, &packed, &count);

    if (e == ERR_OK && count != g->q->leaf_count)
        e = ERR_FORMAT;
    for (uint32_t i = 0; i < count && e == ERR_OK; i++)
        e = metrics_wire_add(g->parts[i], packed[i]);
    return e;
}

static enum err live_ask(struct gather *g, struct search_coverage *ret)
{
    struct fanout f;
    struct buf request;

    buf_init(&request, SEARCH_REQUEST_BYTES_MAX);
    messages_metrics_request(&request, slice_str(g->ctx->tenant), g->q->text, &g->q->window,
                             g->q->exemplars, g->ids.ids, g->ids.count, search_time_left(g->ctx));
    enum err e = search_ask(g->ctx, RPC_METRICS_QUERY, &request, &f);
    if (e != ERR_OK)
        return e;
    e = search_coverages(g->ctx, &f, MESSAGES_METRICS_COVERAGE, &ret->list);
    ret->count = f.count;
    for (unsigned i = 0; i < f.count && e == ERR_OK; i++) {
        enum err answered = f.answers[i].err;
        if (answered == ERR_OK)
            answered = answer_add(g, buf_slice(&f.answers[i].bytes));
        if (answered == ERR_TOO_LARGE || answered == ERR_LIMIT || answered == ERR_NOMEM)
            e = answered; /* the next one would not do better */
        g->ctx->missing += answered != ERR_OK;
    }
    fanout_release(&f);
    return e;
}

/* The ingesters, until no block turned up meanwhile that makes a trace split which they have counted. */
static enum err live(struct gather *g)
{
    struct search_coverage coverage = {0};
    unsigned missing = g->ctx->missing;
    enum err e = ERR_OK;

    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        uint32_t known = g->ids.count;
        g->ctx->missing = missing;
        blocks_give(&g->now);
        g->now = (struct blocks_set){0};
        e = parts_new(g);
        if (e == ERR_OK)
            e = live_ask(g, &coverage);
        if (e == ERR_OK)
            e = search_blocks_around(g->ctx, &g->window, &coverage, &g->now);
        g->ctx->missing += g->now.unreadable;
        if (e == ERR_OK)
            e = search_split_update(g->ctx, &g->before, &g->now, &g->flagged, &g->ids);
        if (e != ERR_OK || g->ids.count == known)
            return e;
    }
    g->ctx->missing++; /* some trace may be counted by halves */
    return ERR_OK;
}

static enum err observe_all(struct gather *g, struct segment *s, bool is_whole)
{
    uint64_t bytes = s->read_bytes;
    enum err e = ERR_OK;

    for (uint32_t i = 0; i < g->q->leaf_count && e == ERR_OK; i++)
        e = metrics_observe(g->parts[i], s, is_whole ? NULL : g->ids.ids,
                            is_whole ? 0 : g->ids.count, g->ctx->cancel);
    g->stats.inspected_traces += s->trace_count;
    g->stats.inspected_spans += s->row_count[SEG_SPAN];
    g->stats.inspected_bytes += s->read_bytes - bytes;
    return e;
}

static enum err observe_group(struct segment *s, void *arg)
{
    return observe_all(arg, s, false);
}

static enum err blocks_observe(struct gather *g)
{
    struct search_group *list;
    uint32_t count = 0;
    enum err e =
        search_groups(g->ctx, &g->now, g->window.start_ns, g->window.end_ns, &list, &count);

    for (uint32_t i = 0; i < count && e == ERR_OK; i++)
        e = search_with_group(g->ctx, &list[i], observe_group, g);
    g->stats.total_blocks = g->now.count;
    g->stats.total_jobs = g->stats.completed_jobs = count;
    for (uint32_t k = 0; k < g->now.count; k++)
        g->stats.total_block_bytes += block_meta(g->now.blocks[k])->bytes;
    return e;
}

static enum err split_observe(struct gather *g)
{
    struct head *scratch;
    struct segment *s = NULL;

    if (g->ids.count == 0)
        return ERR_OK;
    enum err e = search_scratch_new(g->ctx, &scratch);
    if (e != ERR_OK)
        return e;
    e = search_split_gather(g->ctx, &g->ids, &g->window, scratch);
    if (e == ERR_OK)
        e = head_segment(scratch, g->ctx->budget, &s);
    if (e == ERR_OK)
        e = observe_all(g, s, true);
    segment_close(s);
    head_unref(scratch);
    return e;
}

enum err search_metrics(struct search_ctx *ctx, const struct search_metrics_query *q,
                        struct metrics_part **ret_parts, struct result_stats *ret_stats)
{
    const struct metrics_window *w = &q->window;
    struct gather g = {
        .ctx = ctx,
        .q = q,
        .window = {.start_ns = w->first_ns + 1, .end_ns = w->first_ns + w->step_ns * w->count},
        .parts = ret_parts};

    assert(metrics_query_window_is_good(w));
    enum err e = search_split_find(ctx, &g.window, &g.before, &g.ids, &g.flagged);
    if (e == ERR_OK)
        e = live(&g);
    if (e == ERR_OK)
        e = blocks_observe(&g);
    if (e == ERR_OK)
        e = split_observe(&g);
    blocks_give(&g.before);
    blocks_give(&g.now);
    *ret_stats = g.stats;
    return e;
}
