#include "querier/search.h"

#include "common/base/clock.h"
#include "common/net/rpc.h"
#include "common/query/ql.h"
#include "common/store/head.h"
#include "querier/fanout.h"
#include "querier/messages.h"
#include "querier/search_priv.h"

#include <assert.h>
#include <stdlib.h>

enum { FLAGGED_MAX = 100000, IDS_PER_REQUEST = 1000 };
/* Parts of a trace lie near each other in time; those of a window may lie this far outside it. */
#define FRAGMENT_MARGIN_NS (3600 * (uint64_t)NS_PER_S)

int64_t search_time_left(const struct search_ctx *ctx)
{
    int64_t left = ctx->deadline_mono_ns - clock_mono_ns(&clock_system);
    return left < NS_PER_MS ? NS_PER_MS : left;
}

bool search_is_over(const struct search_ctx *ctx)
{
    return (ctx->cancel != NULL && atomic_load(ctx->cancel)) ||
           clock_mono_ns(&clock_system) >= ctx->deadline_mono_ns;
}

/* One round to all ingesters: the request is made by the caller. */
enum err search_ask(struct search_ctx *ctx, uint16_t method, struct buf *request,
                    struct fanout *ret)
{
    enum err e = buf_err(request);

    if (e == ERR_OK && search_is_over(ctx))
        e = ERR_TIMEOUT;
    if (e == ERR_OK)
        e = fanout_ask(ctx->ingesters, method, buf_slice(request), search_time_left(ctx), ret);
    buf_release(request);
    return e;
}

/* Coverage of each answer; an answer that does not parse counts as missing. */
enum err search_coverages(struct search_ctx *ctx, struct fanout *f, uint32_t field,
                          struct blocks_coverage **ret)
{
    struct blocks_coverage *list = ARENA_ARRAY(ctx->arena, struct blocks_coverage, f->count + 1);

    if (list == NULL)
        return arena_err(ctx->arena);
    for (unsigned i = 0; i < f->count; i++) {
        if (f->answers[i].err != ERR_OK)
            continue;
        enum err e =
            messages_coverage(ctx->arena, buf_slice(&f->answers[i].bytes), field, &list[i]);
        if (e == ERR_CORRUPT)
            f->answers[i].err = e;
        else if (e != ERR_OK)
            return e;
        ctx->missing += list[i].is_replaying;
        /* Instance ids outlive the answer's bytes. */
        list[i].instance_id = arena_dup(ctx->arena, list[i].instance_id);
        for (uint32_t k = 0; k < list[i].recent_count; k++)
            list[i].recent[k] = arena_dup(ctx->arena, list[i].recent[k]);
    }
    if (f->missing < ctx->silent)
        ctx->missing += ctx->silent - f->missing;
    *ret = list;
    return arena_err(ctx->arena);
}

void search_note_silent(struct search_ctx *ctx, unsigned count)
{
    ctx->silent = count > ctx->silent ? count : ctx->silent;
}

static void window_around(const struct engine_query *q, uint64_t *ret_start, uint64_t *ret_end)
{
    uint64_t start = q->start_ns, end = q->end_ns;

    if ((start | end) != 0) {
        start = start > FRAGMENT_MARGIN_NS ? start - FRAGMENT_MARGIN_NS : 0;
        end = end < UINT64_MAX - FRAGMENT_MARGIN_NS ? end + FRAGMENT_MARGIN_NS : UINT64_MAX;
    }
    *ret_start = start;
    *ret_end = end;
}

static enum err flagged_live(struct search_ctx *ctx, uint64_t start_ns, uint64_t end_ns,
                             struct search_ids *ids)
{
    struct fanout f;
    struct buf request;

    buf_init(&request, SEARCH_REQUEST_BYTES_MAX);
    messages_flagged_request(&request, slice_str(ctx->tenant), start_ns, end_ns);
    enum err e = search_ask(ctx, RPC_FLAGGED, &request, &f);
    if (e != ERR_OK)
        return e;
    for (unsigned i = 0; i < f.count && e == ERR_OK; i++) {
        struct slice *found;
        uint32_t count;
        if (f.answers[i].err != ERR_OK)
            continue;
        e = messages_repeated(ctx->arena, buf_slice(&f.answers[i].bytes), MESSAGES_FLAGGED_IDS,
                              &found, &count);
        for (uint32_t k = 0; k < count && e == ERR_OK; k++) {
            struct trace_id id;
            if (found[k].len != TRACE_ID_BYTES)
                continue;
            if (ids->count >= FLAGGED_MAX) {
                ctx->missing++;
                break;
            }
            memcpy(id.b, found[k].ptr, TRACE_ID_BYTES);
            e = search_ids_add(ids, ctx->arena, id);
        }
        if (e == ERR_CORRUPT) {
            f.missing++;
            e = ERR_OK;
        }
    }
    search_note_silent(ctx, f.missing);
    fanout_release(&f);
    return e;
}

static enum err flagged_blocks(struct search_ctx *ctx, const struct blocks_set *set,
                               struct search_ids *ids)
{
    for (uint32_t i = 0; i < set->count; i++)
        block_want_flagged(set->blocks[i]);
    for (uint32_t i = 0; i < set->count; i++) {
        const struct trace_id *list;
        uint32_t count;
        enum err e = block_flagged(set->blocks[i], &list, &count);
        if (e == ERR_NOMEM || e == ERR_LIMIT)
            return e;
        if (e != ERR_OK) {
            ctx->missing++;
            continue;
        }
        for (uint32_t k = 0; k < count; k++) {
            if (ids->count >= FLAGGED_MAX) {
                ctx->missing++;
                return ERR_OK;
            }
            e = search_ids_add(ids, ctx->arena, list[k]);
            if (e != ERR_OK)
                return e;
        }
    }
    return ERR_OK;
}

static int group_cmp(const void *a, const void *b)
{
    const struct search_group *x = a, *y = b;

    if (x->max_end_ns != y->max_end_ns)
        return x->max_end_ns > y->max_end_ns ? -1 : 1;
    return 0;
}

enum err search_groups(struct search_ctx *ctx, const struct blocks_set *set, uint64_t start_ns,
                       uint64_t end_ns, struct search_group **ret, uint32_t *ret_count)
{
    uint32_t total = 0, n = 0;

    for (uint32_t i = 0; i < set->count; i++)
        total += block_group_count(set->blocks[i]);
    struct search_group *list = ARENA_ARRAY(ctx->arena, struct search_group, total);
    if (list == NULL)
        return arena_err(ctx->arena);
    for (uint32_t i = 0; i < set->count; i++) {
        for (uint32_t g = 0; g < block_group_count(set->blocks[i]); g++) {
            struct search_group one = {.block = set->blocks[i], .no = g};
            block_group_range(one.block, g, &one.min_start_ns, &one.max_end_ns);
            if ((start_ns | end_ns) == 0 ||
                (one.max_end_ns >= start_ns && one.min_start_ns <= end_ns))
                list[n++] = one;
        }
    }
    if (n > 1)
        qsort(list, n, sizeof *list, group_cmp);
    *ret = list;
    *ret_count = n;
    return ERR_OK;
}

static void stats_add(struct result_stats *to, const struct result_stats *from)
{
    to->inspected_traces += from->inspected_traces;
    to->inspected_bytes += from->inspected_bytes;
    to->inspected_spans += from->inspected_spans;
}

/* Opens a row group, runs `fn` on it, closes.  Damage counts as missing and is no error. */
enum err search_with_group(struct search_ctx *ctx, const struct search_group *g,
                           search_segment_fn *fn, void *arg)
{
    struct segment *s;
    enum err e =
        search_is_over(ctx) ? ERR_TIMEOUT : block_segment(g->block, g->no, ctx->budget, &s);

    if (e == ERR_OK) {
        e = fn(s, arg);
        segment_close(s);
    }
    if (e == ERR_CORRUPT || e == ERR_IO || e == ERR_NOT_FOUND) {
        ctx->missing++;
        e = ERR_OK;
    }
    return e;
}

struct block_search {
    struct search_ctx *ctx;
    const struct engine_query *q;
    struct search_result so_far;
};

static enum err search_segment(struct segment *s, void *arg)
{
    struct block_search *b = arg;
    struct search_result parts[2] = {b->so_far, {0}};
    struct engine_query q = *b->q;

    if (b->so_far.trace_count == q.limit && q.order.key.len == 0)
        q.not_before_ns = b->so_far.traces[q.limit - 1].start_ns;
    enum err e = engine_search(s, &q, b->ctx->arena, &parts[1]);
    if (e != ERR_OK)
        return e;
    if (parts[1].trace_count != 0)
        return search_result_merge(b->ctx->arena, parts, 2, &q.order, q.limit, &b->so_far);
    stats_add(&b->so_far.stats, &parts[1].stats);
    return ERR_OK;
}

/* Newest row groups first; done when no older group can hold a trace that begins later than the last one found. */
static enum err search_blocks(struct search_ctx *ctx, const struct blocks_set *set,
                              const struct engine_query *q, struct search_result *ret)
{
    struct block_search b = {.ctx = ctx, .q = q};
    struct search_group *list;
    uint32_t count, i;

    enum err e = search_groups(ctx, set, q->start_ns, q->end_ns, &list, &count);
    for (i = 0; i < count && e == ERR_OK; i++) {
        const struct search_result *r = &b.so_far;
        if (q->order.key.len == 0 && r->trace_count == q->limit &&
            r->traces[r->trace_count - 1].start_ns > list[i].max_end_ns)
            break;
        e = search_with_group(ctx, &list[i], search_segment, &b);
    }
    b.so_far.stats.total_blocks = set->count;
    b.so_far.stats.total_jobs = count;
    b.so_far.stats.completed_jobs = i;
    for (uint32_t k = 0; k < set->count; k++)
        b.so_far.stats.total_block_bytes += block_meta(set->blocks[k])->bytes;
    if (e == ERR_OK)
        *ret = b.so_far;
    return e;
}

/* All parts of the split traces: the ingesters' first; what they had published by then is read from the blocks. */
enum err search_split_gather(struct search_ctx *ctx, const struct search_ids *ids,
                             const struct engine_query *q, struct head *scratch)
{
    struct search_coverage coverage = {0};
    struct blocks_set set = {0};
    enum err e = ERR_OK;

    for (uint32_t at = 0; at < ids->count && e == ERR_OK; at += IDS_PER_REQUEST) {
        uint32_t n = ids->count - at < IDS_PER_REQUEST ? ids->count - at : IDS_PER_REQUEST;
        unsigned missing = ctx->missing;
        ctx->missing = 0;
        e = search_gather_live(ctx, ids->ids + at, n, scratch, &coverage);
        /* Who did not answer now did most likely not answer before. */
        ctx->missing = ctx->missing > missing ? ctx->missing : missing;
    }
    if (e == ERR_OK)
        e = search_blocks_around(ctx, q, &coverage, &set);
    if (e == ERR_OK)
        e = search_gather_blocks(ctx, &set, ids->ids, ids->count, scratch);
    blocks_give(&set);
    return e;
}

/* Judges whole the traces that lie in several places. */
static enum err search_split(struct search_ctx *ctx, const struct search_ids *ids,
                             const struct engine_query *q, struct search_result *ret)
{
    struct head *scratch;
    struct segment *s;
    struct engine_query whole = *q;

    if (ids->count == 0)
        return ERR_OK;
    enum err e = search_scratch_new(ctx, &scratch);
    if (e != ERR_OK)
        return e;
    e = search_split_gather(ctx, ids, q, scratch);
    whole.exclude = NULL;
    whole.exclude_count = 0;
    if (e == ERR_OK)
        e = head_segment(scratch, ctx->budget, &s);
    if (e == ERR_OK) {
        e = engine_search(s, &whole, ctx->arena, ret);
        segment_close(s);
    }
    head_unref(scratch);
    return e;
}

/* The ingesters' results; their coverage decides which blocks are read. */
static enum err search_live(struct search_ctx *ctx, struct slice text, const struct engine_query *q,
                            struct search_result *ret_parts, struct blocks_coverage **ret_coverage,
                            unsigned *ret_count)
{
    struct fanout f;
    struct buf request;

    buf_init(&request, SEARCH_REQUEST_BYTES_MAX);
    messages_search_request(&request, slice_str(ctx->tenant), text, q, search_time_left(ctx));
    enum err e = search_ask(ctx, RPC_SEARCH, &request, &f);
    if (e != ERR_OK)
        return e;
    e = search_coverages(ctx, &f, MESSAGES_RESULT_COVERAGE, ret_coverage);
    for (unsigned i = 0; i < f.count && e == ERR_OK; i++) {
        if (f.answers[i].err == ERR_OK) {
            struct slice copy = arena_dup(ctx->arena, buf_slice(&f.answers[i].bytes));
            f.answers[i].err = search_result_unpack(ctx->arena, copy, &ret_parts[i]);
        }
        ctx->missing += f.answers[i].err != ERR_OK;
    }
    *ret_count = f.count;
    fanout_release(&f);
    return e == ERR_OK ? arena_err(ctx->arena) : e;
}

/* Leaves out of `r` the traces that are judged elsewhere after all. */
static void result_exclude(struct search_result *r, const struct search_ids *ids)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->trace_count; i++)
        if (!search_ids_has(ids, r->traces[i].id))
            r->traces[n++] = r->traces[i];
    r->trace_count = n;
}

/* The blocks that may hold a part of a trace in the window. */
enum err search_blocks_around(struct search_ctx *ctx, const struct engine_query *q,
                              const struct search_coverage *coverage, struct blocks_set *ret)
{
    uint64_t start, end;

    window_around(q, &start, &end);
    return blocks_take(ctx->blocks, ctx->tenant, start, end, coverage->list, coverage->count,
                       ctx->arena, ret);
}

/* Traces that lie in several places, as far as can be known before the ingesters are asked; `ret_flagged`: those that may. */
enum err search_split_find(struct search_ctx *ctx, const struct engine_query *q,
                           struct blocks_set *set, struct search_ids *ids,
                           struct search_ids *ret_flagged)
{
    uint64_t start, end;

    window_around(
        q, &start,
        &end); /* a flagged part outside of the window may belong to one in it that is not flagged */
    enum err e = flagged_live(ctx, start, end, ids);
    if (e == ERR_OK)
        e = search_blocks_around(ctx, q, &(struct search_coverage){0}, set);
    if (e == ERR_OK)
        e = flagged_blocks(ctx, set, ids);
    for (uint32_t i = 0; i < ids->count && e == ERR_OK; i++)
        e = search_ids_add(ret_flagged, ctx->arena, ids->ids[i]);
    if (e == ERR_OK)
        e = search_keep_split(ctx, set, ids);
    return e;
}

/* With blocks that came, or were told of, while the ingesters were being asked: what they flag, and what was flagged before, may lie in several places now. */
enum err search_split_update(struct search_ctx *ctx, const struct blocks_set *before,
                             const struct blocks_set *now, const struct search_ids *flagged,
                             struct search_ids *ids)
{
    struct blocks_set fresh = {.blocks = ARENA_ARRAY(ctx->arena, struct block *, now->count)};
    struct search_ids more = {0};

    if (fresh.blocks == NULL)
        return arena_err(ctx->arena);
    for (uint32_t i = 0; i < now->count; i++) {
        bool is_known = false;
        for (uint32_t k = 0; k < before->count && !is_known; k++)
            is_known = before->blocks[k] == now->blocks[i];
        if (!is_known)
            fresh.blocks[fresh.count++] = now->blocks[i];
    }
    if (fresh.count == 0)
        return ERR_OK;
    enum err e = flagged_blocks(ctx, &fresh, &more);
    for (uint32_t i = 0; i < flagged->count && e == ERR_OK; i++)
        e = search_ids_add(&more, ctx->arena, flagged->ids[i]);
    if (e == ERR_OK)
        e = search_keep_split(ctx, now, &more);
    for (uint32_t i = 0; i < more.count && e == ERR_OK; i++)
        e = search_ids_add(ids, ctx->arena, more.ids[i]);
    search_ids_sort_unique(ids);
    return e;
}

/* The blocks' part, the split traces' part, and the union of all. */
static enum err search_finish(struct search_ctx *ctx, const struct engine_query *q,
                              const struct search_ids *ids, const struct blocks_set *set,
                              struct search_result *parts, unsigned count,
                              struct search_result *ret)
{
    struct engine_query part = *q;

    part.exclude = ids->ids;
    part.exclude_count = ids->count;
    for (unsigned i = 0; i < count; i++)
        result_exclude(&parts[i], ids);
    enum err e = search_blocks(ctx, set, &part, &parts[count]);
    if (e == ERR_OK)
        e = search_split(ctx, ids, q, &parts[count + 1]);
    if (e == ERR_OK)
        e = search_result_merge(ctx->arena, parts, count + 2, &q->order, q->limit, ret);
    return e;
}

enum err search_run(struct search_ctx *ctx, struct slice text, const struct engine_query *q,
                    struct search_result *ret)
{
    struct search_ids ids = {0}, flagged = {0};
    struct engine_query part = *q;
    struct search_coverage coverage = {0};
    struct blocks_set before = {0}, now = {0};
    unsigned members = members_count(ctx->ingesters);
    struct search_result *parts = ARENA_ARRAY(ctx->arena, struct search_result, members + 2);

    assert(q->exclude_count == 0);
    if (parts == NULL)
        return arena_err(ctx->arena);
    enum err e = search_split_find(ctx, q, &before, &ids, &flagged);
    part.exclude = ids.ids;
    part.exclude_count = ids.count;
    if (e == ERR_OK)
        e = search_live(ctx, text, &part, parts, &coverage.list, &coverage.count);
    if (e == ERR_OK)
        e = search_blocks_around(ctx, q, &coverage, &now);
    ctx->missing += now.unreadable;
    if (e == ERR_OK)
        e = search_split_update(ctx, &before, &now, &flagged, &ids);
    if (e == ERR_OK)
        e = search_finish(ctx, q, &ids, &now, parts, coverage.count, ret);
    blocks_give(&before);
    blocks_give(&now);
    return e;
}

/* All parts of one trace, in a scratch head. */
static enum err trace_gather(struct search_ctx *ctx, struct trace_id id, struct head *scratch)
{
    struct search_coverage coverage = {0};
    struct blocks_set set = {0};
    enum err e = search_gather_live(ctx, &id, 1, scratch, &coverage);

    if (e == ERR_OK)
        e = blocks_take(ctx->blocks, ctx->tenant, 0, 0, coverage.list, coverage.count, ctx->arena,
                        &set);
    ctx->missing += set.unreadable;
    if (e == ERR_OK)
        e = search_gather_blocks(ctx, &set, &id, 1, scratch);
    blocks_give(&set);
    return e;
}

enum err search_trace(struct search_ctx *ctx, struct trace_id id, struct slice *ret_otlp)
{
    struct head *scratch;
    struct segment *s = NULL;
    struct buf otlp;
    const uint32_t *rows;
    uint32_t trace, row_count;

    enum err e = search_scratch_new(ctx, &scratch);
    if (e != ERR_OK)
        return e;
    buf_init(&otlp, SEARCH_TRACE_BYTES_MAX);
    e = trace_gather(ctx, id, scratch);
    if (e == ERR_OK)
        e = head_segment(scratch, ctx->budget, &s);
    if (e == ERR_OK)
        e = segment_find_trace(s, id, &trace);
    if (e == ERR_OK)
        e = segment_trace_rows(s, trace, ctx->arena, &rows, &row_count);
    if (e == ERR_OK)
        e = segment_write_otlp(s, rows, row_count, &otlp);
    if (e == ERR_OK)
        e = buf_err(&otlp);
    if (e == ERR_OK || e == ERR_NOT_FOUND) {
        *ret_otlp = arena_dup(ctx->arena, buf_slice(&otlp));
        e = arena_err(ctx->arena);
    }
    segment_close(s);
    head_unref(scratch);
    buf_release(&otlp);
    return e;
}
