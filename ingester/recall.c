#include "ingester/recall.h"

#include "common/obs/log.h"

#include <assert.h>
#include <stdlib.h>

#define RECALL_NS (3600 * NS_PER_S)

struct recalled {
    struct push push; /* first */
    uint8_t ids[];
};

static void recalled_finished(struct push *p)
{
    free(p);
}

enum err recall_note(struct core *c, const struct tenant *t, const struct block_meta *meta)
{
    int64_t now = clock_wall_ns(c->o.clock);

    if (now > RECALL_NS && meta->created_ns < (uint64_t)(now - RECALL_NS))
        return ERR_OK;
    if (c->recalled_count == c->recalled_cap) {
        uint32_t cap = c->recalled_cap == 0 ? 64 : c->recalled_cap * 2;
        struct recalled_block *recalled = realloc(c->recalled, cap * sizeof *recalled);
        if (recalled == NULL)
            return ERR_NOMEM;
        c->recalled = recalled;
        c->recalled_cap = cap;
    }
    struct recalled_block *b = &c->recalled[c->recalled_count++];
    *b = (struct recalled_block){
        .tenant = t, .created_ns = meta->created_ns, .traces = meta->trace_count};
    memcpy(b->id, meta->id, sizeof b->id);
    return ERR_OK;
}

static enum err send_ids(struct core *c, const struct tenant *t, const struct trace_id *ids,
                         uint32_t count)
{
    size_t bytes = count * sizeof *ids;

    if (!replay_wait(c, bytes))
        return ERR_CANCELED;
    struct recalled *r = malloc(sizeof *r + bytes);
    if (r == NULL)
        return ERR_NOMEM;
    memcpy(r->ids, ids, bytes);
    r->push = (struct push){.kind = PUSH_RECALLED, .finished = recalled_finished};
    r->push.m.tenant = slice_str(t->name);
    r->push.m.payload = (struct slice){r->ids, bytes};
    core_push(c, &r->push);
    return ERR_OK;
}

static enum err recall_block(struct core *c, const struct recalled_block *b)
{
    struct object *o = NULL;
    struct block *block = NULL;
    enum err e = c->o.backend->ops->open(c->o.backend, b->tenant->name, b->id, &o);

    if (e == ERR_OK)
        e = block_open(o, &c->building, &block);
    for (uint32_t g = 0; e == ERR_OK && g < block_group_count(block); g++) {
        struct segment *s = NULL;
        struct seg_traces traces;
        e = block_segment(block, g, &c->building, &s);
        if (e == ERR_OK)
            e = segment_traces(s, &traces);
        if (e == ERR_OK && s->trace_count > 0)
            e = send_ids(c, b->tenant, traces.id, s->trace_count);
        segment_close(s);
    }
    if (block != NULL)
        block_unref(block);
    return e;
}

static int older_first(const void *pa, const void *pb)
{
    const struct recalled_block *a = pa, *b = pb;

    return a->created_ns < b->created_ns ? -1 : a->created_ns > b->created_ns;
}

void recall_run(struct core *c)
{
    uint64_t room = recent_ids_min(c->recent), traces = 0;
    uint32_t from = c->recalled_count, failed = 0;
    int64_t begun = core_mono_ns(c);

    if (c->recalled_count == 0)
        return;
    qsort(c->recalled, c->recalled_count, sizeof *c->recalled, older_first);
    while (from > 0 && traces + c->recalled[from - 1].traces <= room)
        traces += c->recalled[--from].traces;
    for (uint32_t i = from; i < c->recalled_count; i++) {
        enum err e = recall_block(c, &c->recalled[i]);
        if (e == ERR_CANCELED)
            return;
        if (e != ERR_OK && e != ERR_NOT_FOUND) { /* read apart until compaction joins them */
            failed++;
            log_warn("recall_failed", LOG_STR("tenant", c->recalled[i].tenant->name),
                     LOG_STR("block", c->recalled[i].id), LOG_ERR(e));
        }
    }
    log_info("traces_recalled", LOG_UINT("blocks", c->recalled_count - from),
             LOG_UINT("traces", traces), LOG_UINT("failed", failed),
             LOG_NS("took", core_mono_ns(c) - begun));
}

void recall_apply(struct core *c, const struct push *p)
{
    const struct tenant *t = generation_find_tenant(c, p->m.tenant);
    struct trace_id id;

    assert(t != NULL && p->m.payload.len % sizeof id == 0);
    for (size_t at = 0; at < p->m.payload.len; at += sizeof id) {
        memcpy(&id, p->m.payload.ptr + at, sizeof id);
        recent_ids_add(c->recent, p->m.tenant, id);
        for (enum lane lane = 0; lane < LANE_COUNT; lane++) {
            const struct part *now = t->now[lane];
            if (now != NULL && head_trace_bytes(now->head, id) > 0 &&
                head_flag_trace(now->head, id) != ERR_OK)
                log_warn("fragment_not_flagged", LOG_STR("tenant", t->name));
        }
    }
}
