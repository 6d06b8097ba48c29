#include "common/obs/log.h"
#include "ingester/core_priv.h"

#include <assert.h>
#include <stdlib.h>

struct tenant *generation_find_tenant(struct core *c, struct slice name)
{
    struct tenant *t = NULL;

    HASH_FIND(hh, c->tenants, name.ptr, name.len, t);
    return t;
}

struct tenant *generation_tenant(struct core *c, struct slice name)
{
    assert(name.len > 0 && name.len <= WAL_TENANT_BYTES_MAX);
    struct tenant *t = generation_find_tenant(c, name); /* only this thread adds */

    if (t != NULL)
        return t;
    t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    memcpy(t->name, name.ptr, name.len);
    ingester_metrics_tenant(&c->metrics, t->name, &t->metrics);
    mutex_lock(&c->lock);
    HASH_ADD_KEYPTR(hh, c->tenants, t->name, name.len, t);
    mutex_unlock(&c->lock);
    if (t->hh.tbl == NULL) {
        free(t);
        return NULL;
    }
    return t;
}

void generation_unref(struct generation *g)
{
    if (g == NULL || atomic_fetch_sub(&g->refs, 1) != 1)
        return;
    while (g->parts != NULL) {
        struct part *p = g->parts;
        g->parts = p->next;
        head_unref(p->head);
        free(p->carried);
        free(p);
    }
    free(g);
}

/* Generations of the replay lane stand before those of the live lane: the list goes by lsn. */
static void view_add(struct core *c, struct generation *g)
{
    struct generation *at = NULL;

    if (g->lane == LANE_REPLAY) {
        DL_FOREACH (c->view, at) {
            if (at->lane == LANE_LIVE)
                break;
        }
    }
    if (at != NULL)
        DL_PREPEND_ELEM(c->view, at, g);
    else
        DL_APPEND(c->view, g);
}

static struct generation *generation_new(struct core *c, enum lane lane)
{
    struct generation *g = calloc(1, sizeof *g);

    if (g == NULL)
        return NULL;
    budget_init(&g->budget, c->heads.limit_bytes, &c->heads);
    atomic_init(&g->refs, 1);
    g->lane = lane;
    g->lo = c->lane_lo[lane];
    g->begun_ns = core_mono_ns(c);
    mutex_lock(&c->lock);
    view_add(c, g);
    mutex_unlock(&c->lock);
    return g;
}

enum err generation_part(struct core *c, enum lane lane, struct tenant *t, struct part **ret)
{
    if (t->now[lane] != NULL) {
        *ret = t->now[lane];
        return ERR_OK;
    }
    if (c->current[lane] == NULL)
        c->current[lane] = generation_new(c, lane);
    struct generation *g = c->current[lane];
    struct part *p = calloc(1, sizeof *p);
    if (g == NULL || p == NULL) {
        free(p);
        return ERR_NOMEM;
    }
    struct head_options o = {.max_attribute_bytes = core_attribute_bytes(c, slice_str(t->name))};
    enum err e = head_new(&g->budget, &o, &p->head);
    if (e != ERR_OK) {
        free(p);
        return e;
    }
    p->tenant = t;
    mutex_lock(&c->lock);
    LL_PREPEND(g->parts, p);
    mutex_unlock(&c->lock);
    t->now[lane] = p;
    *ret = p;
    return ERR_OK;
}

struct sorter {
    struct core *c;
    struct tenant *tenant;
    int64_t idle_after_ns, old_before_ns;
    bool is_full, is_counting;
    struct trace_id *live;
    uint32_t live_count;
    uint64_t live_bytes;
};

static void sort_trace(void *arg, uint32_t trace, struct trace_id id, int64_t first_ns,
                       int64_t last_ns, uint64_t wire_bytes)
{
    struct sorter *s = arg;
    bool is_live = !s->is_full && last_ns > s->idle_after_ns && first_ns > s->old_before_ns;
    (void)trace;

    if (is_live) {
        if (!s->is_counting)
            s->live[s->live_count] = id;
        s->live_count++;
        s->live_bytes += wire_bytes;
    } else if (!s->is_counting) {
        recent_ids_add(s->c->recent, slice_str(s->tenant->name), id);
    }
}

static int id_cmp(const void *a, const void *b)
{
    return memcmp(a, b, TRACE_ID_BYTES);
}

/* Live traces go on in the next head, whole; the others are remembered as cut. */
static void sort_part(struct core *c, struct part *p, bool is_full)
{
    int64_t now = clock_wall_ns(c->o.clock);
    struct sorter s = {.c = c,
                       .tenant = p->tenant,
                       .idle_after_ns = now - c->config->trace_idle_period_ns,
                       .old_before_ns = now - c->config->trace_live_period_ns,
                       .is_full = is_full,
                       .is_counting = true};

    head_each_trace(p->head, sort_trace, &s);
    /* What is carried stands in memory twice for a while: not when memory is short. */
    if (s.live_bytes * 4 > c->heads.limit_bytes - budget_used(&c->heads))
        s.is_full = true;
    if (s.live_count > 0 && !s.is_full) {
        s.live = malloc(s.live_count * sizeof *s.live);
        s.is_full = s.live == NULL;
    }
    s.live_count = 0;
    s.is_counting = false;
    head_each_trace(p->head, sort_trace, &s);
    if (s.live_count > 1)
        qsort(s.live, s.live_count, sizeof *s.live, id_cmp);
    mutex_lock(&c->lock);
    p->carried = s.live;
    p->carried_count = s.live_count;
    mutex_unlock(&c->lock);
}

void generation_seal(struct core *c, enum lane lane, bool is_full)
{
    struct generation *g = c->current[lane];
    uint32_t carried = 0;

    if (g == NULL)
        return;
    assert(!g->is_sealed);
    assert(c->applied[lane] + 1 >= g->lo);
    for (struct part *p = g->parts; p != NULL; p = p->next) {
        sort_part(c, p, is_full);
        head_seal(p->head);
        carried += p->carried_count;
        p->tenant->now[lane] = NULL;
    }
    c->current[lane] = NULL;
    c->lane_lo[lane] = c->applied[lane] + 1;
    if (c->begun[lane].spans > 0)
        g->begun = c->begun[lane];
    mutex_lock(&c->lock);
    g->hi = c->applied[lane];
    g->is_carried = carried == 0;
    g->is_sealed = true;
    (void)pthread_cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
    atomic_store(&c->is_rotate_wanted, true);
    log_debug("generation_sealed", LOG_UINT("lsn_lo", g->lo), LOG_UINT("lsn_hi", g->hi),
              LOG_UINT("carried", carried), LOG_UINT("bytes", budget_used(&g->budget)));
}

static void recent_add(struct tenant *t, const char *id, int64_t now, int64_t keep_ns)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < t->recent_count; i++) {
        if (now - t->recent[i].published_ns <= keep_ns)
            t->recent[kept++] = t->recent[i];
    }
    t->recent_count = kept;
    if (t->recent_count == t->recent_cap) {
        uint32_t cap = t->recent_cap == 0 ? 8 : t->recent_cap * 2;
        struct recent_block *recent = realloc(t->recent, cap * sizeof *recent);
        if (recent == NULL)
            return; /* readers find the block at their next poll */
        t->recent = recent;
        t->recent_cap = cap;
    }
    struct recent_block *b = &t->recent[t->recent_count++];
    b->published_ns = now;
    (void)snprintf(b->id, sizeof b->id, "%s", id);
}

void generation_publish_part(struct core *c, struct generation *g, struct part *p,
                             const char *block_id)
{
    mutex_lock(&c->lock);
    assert(g->is_sealed && !p->is_published);
    p->is_published = true;
    if (g->hi > p->tenant->published_lsn)
        p->tenant->published_lsn = g->hi;
    if (block_id != NULL)
        recent_add(p->tenant, block_id, core_mono_ns(c), c->config->complete_block_timeout_ns);
    mutex_unlock(&c->lock);
}

void generation_drop(struct core *c, struct generation *g)
{
    bool
        is_early; /* a generation of the live lane that went ahead of frames which are not replayed yet */

    mutex_lock(&c->lock);
    assert(c->view == g);
    DL_DELETE(c->view, g);
    is_early = g->lane == LANE_LIVE && atomic_load(&c->is_replaying);
    if (!is_early && g->hi > c->published_lsn)
        c->published_lsn = g->hi;
    mutex_unlock(&c->lock);
    if (!is_early)
        atomic_store(&c->trim_upto, g->hi);
    generation_unref(g);
    mutex_lock(&c->lock);
    (void)pthread_cond_broadcast(
        &c->changed); /* its memory is back, but for what queries still read */
    mutex_unlock(&c->lock);
}

/* Is something of lsn <= upto not in a block yet? */
static bool is_pending(const struct core *c, uint64_t upto)
{
    return c->view != NULL && c->view->lo <= upto;
}

void generation_flushes(struct core *c, enum err err, uint64_t failed_lo)
{
    struct flush_wait *ready = NULL, *w, *next;

    mutex_lock(&c->lock);
    LL_FOREACH_SAFE (c->flushes, w, next) {
        bool is_hit = err != ERR_OK ? w->upto >= failed_lo : !is_pending(c, w->upto);
        if (w->upto == UINT64_MAX || !is_hit)
            continue;
        LL_DELETE(c->flushes, w);
        LL_PREPEND(ready, w);
    }
    mutex_unlock(&c->lock);
    LL_FOREACH_SAFE (ready, w, next) {
        w->fn(w->arg, err);
        free(w);
    }
}
