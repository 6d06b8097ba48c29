#include "ingester/core_priv.h"

static uint32_t view_collect(struct core *c, const struct tenant *t, struct view_item *items)
{
    struct generation *g;
    uint32_t count = 0;

    DL_FOREACH (c->view, g) {
        for (struct part *p = g->parts; p != NULL; p = p->next) {
            if (p->tenant != t || p->is_published)
                continue;
            if (items != NULL) {
                struct view_item *v = &items[count];
                *v = (struct view_item){.head = p->head, .generation = g};
                *(g->is_carried ? &v->skip : &v->split) = p->carried;
                *(g->is_carried ? &v->skip_count : &v->split_count) = p->carried_count;
                (void)atomic_fetch_add(&g->refs, 1);
            }
            count++;
        }
    }
    return count;
}

enum err core_view(struct core *c, struct slice tenant, struct arena *a, struct view *ret)
{
    int64_t now = core_mono_ns(c);

    *ret = (struct view){0};
    mutex_lock(&c->lock);
    struct tenant *t = generation_find_tenant(c, tenant);
    uint32_t heads = t == NULL ? 0 : view_collect(c, t, NULL);
    uint32_t recents = t == NULL ? 0 : t->recent_count;
    ret->published_lsn =
        t != NULL && t->published_lsn > c->published_lsn ? t->published_lsn : c->published_lsn;
    ret->is_replaying = atomic_load(&c->is_replaying) || c->own.state != OWN_KNOWN;
    ret->items = ARENA_ARRAY(a, struct view_item, heads);
    ret->recent = ARENA_ARRAY(a, struct view_block, recents);
    if (arena_err(a) == ERR_OK && t != NULL) {
        ret->count = view_collect(c, t, ret->items);
        for (uint32_t i = 0; i < recents; i++) {
            if (now - t->recent[i].published_ns <= c->config->complete_block_timeout_ns)
                memcpy(ret->recent[ret->recent_count++].id, t->recent[i].id,
                       sizeof t->recent[i].id);
        }
    }
    mutex_unlock(&c->lock);
    for (uint32_t i = 0; i < ret->count / 2; i++) {
        struct view_item swap = ret->items[i];
        ret->items[i] = ret->items[ret->count - 1 - i];
        ret->items[ret->count - 1 - i] = swap;
    }
    return arena_err(a);
}

void core_view_release(struct core *c, struct view *v)
{
    (void)c;
    for (uint32_t i = 0; i < v->count; i++)
        generation_unref(v->items[i].generation);
    v->count = 0;
}

static void tenant_gauges(struct core *c, struct tenant *t, uint64_t *ret_traces,
                          uint64_t *ret_bytes)
{
    struct generation *g;

    *ret_traces = *ret_bytes = 0;
    DL_FOREACH (c->view, g) {
        for (struct part *p = g->parts; p != NULL; p = p->next) {
            struct head_stats s;
            if (p->tenant != t || p->is_published)
                continue;
            head_stats(p->head, &s);
            *ret_traces += s.traces;
            *ret_bytes += s.wire_bytes;
        }
    }
}

void core_read_gauges(struct core *c)
{
    struct generation *g;
    struct tenant *t, *next;
    uint64_t traces, bytes;
    unsigned sealed = 0;

    mutex_lock(&c->lock);
    DL_FOREACH (c->view, g)
        sealed += g->is_sealed;
    HASH_ITER (hh, c->tenants, t, next) {
        tenant_gauges(c, t, &traces, &bytes);
        metric_set(t->metrics.live_traces, (double)traces);
        metric_set(t->metrics.live_trace_bytes, (double)bytes);
    }
    mutex_unlock(&c->lock);
    metric_set(c->metrics.flush_queue, sealed);
    metric_set(c->metrics.head_bytes, (double)budget_used(&c->heads));
    metric_set(c->metrics.wal_bytes, (double)atomic_load(&c->wal_bytes));
}
