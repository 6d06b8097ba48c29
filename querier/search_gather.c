/* Fragments: traces with parts in several places are brought together in a scratch head. */
#include "common/net/rpc.h"
#include "common/store/head.h"
#include "querier/messages.h"
#include "querier/search_priv.h"

#include <assert.h>
#include <stdlib.h>

enum err search_ids_add(struct search_ids *list, struct arena *a, struct trace_id id)
{
    if (list->count == list->cap) {
        uint32_t cap = list->cap == 0 ? 64 : list->cap * 2;
        struct trace_id *grown = ARENA_ARRAY(a, struct trace_id, cap);
        if (grown == NULL)
            return arena_err(a);
        if (list->count != 0)
            memcpy(grown, list->ids, list->count * sizeof *grown);
        list->ids = grown;
        list->cap = cap;
    }
    list->ids[list->count++] = id;
    return ERR_OK;
}

static int id_cmp(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct trace_id));
}

void search_ids_sort_unique(struct search_ids *list)
{
    uint32_t n = 0;

    if (list->count == 0)
        return;
    qsort(list->ids, list->count, sizeof *list->ids, id_cmp);
    for (uint32_t i = 0; i < list->count; i++)
        if (n == 0 || !trace_id_eq(list->ids[n - 1], list->ids[i]))
            list->ids[n++] = list->ids[i];
    list->count = n;
}

bool search_ids_has(const struct search_ids *list, struct trace_id id)
{
    return list->count != 0 && bsearch(&id, list->ids, list->count, sizeof id, id_cmp) != NULL;
}

/* Counts, for each id, the heads that hold it. */
static enum err heads_count(struct search_ctx *ctx, const struct search_ids *ids, uint32_t *places)
{
    struct fanout f;
    struct buf request;

    buf_init(&request, SEARCH_REQUEST_BYTES_MAX);
    messages_trace_request(&request, slice_str(ctx->tenant), ids->ids, ids->count);
    enum err e = search_ask(ctx, RPC_HAS_TRACES, &request, &f);
    if (e != ERR_OK)
        return e;
    for (unsigned i = 0; i < f.count && e == ERR_OK; i++) {
        struct slice *found;
        uint32_t count = 0;
        if (f.answers[i].err != ERR_OK)
            continue;
        e = messages_repeated(ctx->arena, buf_slice(&f.answers[i].bytes), MESSAGES_FLAGGED_IDS,
                              &found, &count);
        for (uint32_t k = 0; k < count && e == ERR_OK; k++) {
            const struct trace_id *at =
                found[k].len != TRACE_ID_BYTES
                    ? NULL
                    : bsearch(found[k].ptr, ids->ids, ids->count, sizeof *at, id_cmp);
            if (at != NULL)
                places[at - ids->ids]++;
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

/* A block that does not tell whether it has them is missing. */
static void look_in_block(struct search_ctx *ctx, struct block *b, const struct search_ids *ids,
                          uint32_t *places)
{
    bool is_silent = false;
    uint32_t group, trace;

    for (uint32_t i = 0; i < ids->count; i++) {
        enum err e = block_find_trace(b, ids->ids[i], &group, &trace);
        places[i] += e == ERR_OK;
        is_silent |= e != ERR_OK && e != ERR_NOT_FOUND;
    }
    ctx->missing += is_silent;
}

enum err search_keep_split(struct search_ctx *ctx, const struct blocks_set *set,
                           struct search_ids *ids)
{
    uint32_t n = 0;

    search_ids_sort_unique(ids);
    if (ids->count == 0)
        return ERR_OK;
    uint32_t *places = ARENA_ARRAY(ctx->arena, uint32_t, ids->count);
    if (places == NULL)
        return arena_err(ctx->arena);
    for (uint32_t b = 0; b < set->count; b++)
        for (uint32_t i = 0; i < ids->count; i++)
            block_want_trace(set->blocks[b], ids->ids[i]);
    enum err e = heads_count(ctx, ids, places);
    for (uint32_t b = 0; b < set->count && e == ERR_OK; b++)
        look_in_block(ctx, set->blocks[b], ids, places);
    for (uint32_t i = 0; i < ids->count && e == ERR_OK; i++)
        if (places[i] > 1)
            ids->ids[n++] = ids->ids[i];
    if (e == ERR_OK)
        ids->count = n;
    return e;
}

enum err search_scratch_new(struct search_ctx *ctx, struct head **ret)
{
    /* Values were cut when they came in; they are not cut again. */
    return head_new(ctx->budget, &(struct head_options){.max_attribute_bytes = 0}, ret);
}

/* One ingester's parts.  What can not be read counts as missing. */
static enum err parts_append(struct search_ctx *ctx, struct slice answer, struct head *scratch)
{
    struct slice *parts;
    uint32_t n;

    enum err e = messages_repeated(ctx->arena, answer, MESSAGES_TRACE_TRACES, &parts, &n);
    for (uint32_t k = 0; e == ERR_OK && k < n; k++) {
        struct head_append_result appended;
        e = parts[k].len == 0 ? ERR_OK : head_append(scratch, parts[k], false, 0, &appended);
    }
    if (e == ERR_FORMAT || e == ERR_CORRUPT) {
        ctx->missing++;
        e = ERR_OK;
    }
    return e;
}

enum err search_gather_live(struct search_ctx *ctx, const struct trace_id *ids, uint32_t count,
                            struct head *scratch, struct search_coverage *ret_coverage)
{
    struct fanout f;
    struct buf request;

    buf_init(&request, SEARCH_REQUEST_BYTES_MAX);
    messages_trace_request(&request, slice_str(ctx->tenant), ids, count);
    enum err e = search_ask(ctx, RPC_TRACE, &request, &f);
    if (e != ERR_OK)
        return e;
    e = search_coverages(ctx, &f, MESSAGES_TRACE_COVERAGE, &ret_coverage->list);
    ret_coverage->count = f.count;
    for (unsigned i = 0; i < f.count; i++)
        ctx->missing += f.answers[i].err != ERR_OK; /* damaged answers too */
    for (unsigned i = 0; i < f.count && e == ERR_OK; i++)
        if (f.answers[i].err == ERR_OK)
            e = parts_append(ctx, buf_slice(&f.answers[i].bytes), scratch);
    fanout_release(&f);
    return e;
}

/* Where a trace lies in a block. */
struct found {
    uint32_t group, trace;
};

static int found_cmp(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return x->trace < y->trace ? -1 : x->trace > y->trace;
}

static enum err part_append(struct search_ctx *ctx, struct segment *s, uint32_t trace,
                            struct buf *otlp, struct head *scratch)
{
    struct head_append_result appended;
    const uint32_t *rows;
    uint32_t count;

    buf_reset(otlp);
    enum err e = segment_trace_rows(s, trace, ctx->arena, &rows, &count);
    if (e == ERR_OK)
        e = segment_write_otlp(s, rows, count, otlp);
    if (e == ERR_OK)
        e = buf_err(otlp);
    return e == ERR_OK ? head_append(scratch, buf_slice(otlp), false, 0, &appended) : e;
}

/* The parts that lie in one row group, found[0 .. count). */
static enum err group_append(struct search_ctx *ctx, struct block *block, const struct found *found,
                             uint32_t count, struct head *scratch)
{
    struct segment *s;
    struct buf otlp;

    buf_init(&otlp, SEARCH_TRACE_BYTES_MAX);
    enum err e =
        search_is_over(ctx) ? ERR_TIMEOUT : block_segment(block, found[0].group, ctx->budget, &s);
    if (e == ERR_OK) {
        for (uint32_t i = 0; i < count && e == ERR_OK; i++)
            e = part_append(ctx, s, found[i].trace, &otlp, scratch);
        segment_close(s);
    }
    buf_release(&otlp);
    if (e == ERR_CORRUPT || e == ERR_IO || e == ERR_FORMAT || e == ERR_NOT_FOUND) {
        ctx->missing++;
        e = ERR_OK;
    }
    return e;
}

static enum err block_append(struct search_ctx *ctx, struct block *block,
                             const struct trace_id *ids, uint32_t count, struct head *scratch)
{
    uint32_t n = 0, next;
    struct found *found = ARENA_ARRAY(ctx->arena, struct found, count);
    enum err e = ERR_OK;

    if (found == NULL)
        return arena_err(ctx->arena);
    for (uint32_t i = 0; i < count; i++) {
        enum err got = block_find_trace(block, ids[i], &found[n].group, &found[n].trace);
        n += got == ERR_OK;
        ctx->missing += got != ERR_OK && got != ERR_NOT_FOUND;
    }
    if (n > 1)
        qsort(found, n, sizeof *found, found_cmp);
    for (uint32_t at = 0; at < n && e == ERR_OK; at = next) {
        for (next = at + 1; next < n && found[next].group == found[at].group;)
            next++;
        e = group_append(ctx, block, found + at, next - at, scratch);
    }
    return e;
}

enum err search_gather_blocks(struct search_ctx *ctx, const struct blocks_set *set,
                              const struct trace_id *ids, uint32_t count, struct head *scratch)
{
    enum err e = ERR_OK;

    for (uint32_t b = 0; b < set->count; b++)
        for (uint32_t i = 0; i < count; i++)
            block_want_trace(set->blocks[b], ids[i]);
    for (uint32_t b = 0; b < set->count && e == ERR_OK; b++)
        e = block_append(ctx, set->blocks[b], ids, count, scratch);
    return e;
}
