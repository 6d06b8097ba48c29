#include "common/obs/log.h"
#include "ingester/core_priv.h"
#include "ingester/recall.h"

#include <assert.h>
#include <stdlib.h>

enum { REMOVE_MAX = 1000 };

static void remove_block(struct core *c, const char *tenant, const char *id, const char *why)
{
    enum err e = c->o.backend->ops->remove(c->o.backend, tenant, id);

    if (e == ERR_OK) {
        metric_inc(c->metrics.retention_deleted);
        log_info("block_removed", LOG_STR("tenant", tenant), LOG_STR("block", id),
                 LOG_STR("reason", why));
    } else if (e != ERR_NOT_FOUND) { /* another ingester was first */
        metric_inc(c->metrics.retention_errors);
        log_warn("block_not_removed", LOG_STR("tenant", tenant), LOG_STR("block", id), LOG_ERR(e));
    }
}

struct old { /* blocks that were replaced long enough ago */
    uint64_t before_ns;
    struct block_from *ids;
    uint32_t count;
};

static enum err collect_old(void *arg, const char *id, uint64_t replaced_ns)
{
    struct old *x = arg;

    if (replaced_ns < x->before_ns && x->count < REMOVE_MAX)
        (void)snprintf(x->ids[x->count++].id, sizeof x->ids->id, "%s", id);
    return ERR_OK;
}

struct tenant_walk {
    struct core *c;
    uint64_t before_ns;
};

static enum err remove_replaced(void *arg, const char *tenant)
{
    struct tenant_walk *w = arg;
    struct backend *b = w->c->o.backend;
    struct old x = {.before_ns = w->before_ns, .ids = calloc(REMOVE_MAX, sizeof *x.ids)};
    enum err e = x.ids == NULL ? ERR_NOMEM : b->ops->replaced(b, tenant, collect_old, &x);

    for (uint32_t i = 0; e == ERR_OK && i < x.count; i++)
        remove_block(w->c, tenant, x.ids[i].id, "compacted");
    free(x.ids);
    return e;
}

/* Blocks that were merged into others: those that are marked, and those whose mark did not come because of a crash; their successors say since when. */
static enum err remove_merged(struct core *c, struct catalog *catalog, uint64_t now)
{
    uint64_t grace = (uint64_t)c->config->compacted_retention_ns;
    struct tenant_walk w = {c, now > grace ? now - grace : 0};
    struct catalog_block *b, *next;

    HASH_ITER (hh, catalog->blocks, b, next) {
        if (b->successor != NULL && b->successor->lineage.compacted_ns < w.before_ns)
            remove_block(c, b->meta.tenant, b->meta.id, "compacted");
    }
    return c->o.backend->ops->tenants(c->o.backend, remove_replaced, &w);
}

void retention_run(struct core *c, struct catalog *catalog)
{
    int64_t keep = c->config->retention_ns, now = clock_wall_ns(c->o.clock),
            begun = core_mono_ns(c);
    struct catalog_block *b, *next;

    HASH_ITER (hh, catalog->blocks, b, next) {
        if (keep <= 0 || now <= keep || b->meta.max_end_ns >= (uint64_t)(now - keep))
            continue;
        metric_inc(c->metrics.retention_marked);
        remove_block(c, b->meta.tenant, b->meta.id, "retention");
    }
    enum err e = remove_merged(c, catalog, (uint64_t)now);
    if (e != ERR_OK) {
        metric_inc(c->metrics.retention_errors);
        log_warn("retention_failed", LOG_ERR(e));
    }
    metric_observe(c->metrics.retention_duration,
                   (double)(core_mono_ns(c) - begun) / (double)NS_PER_S);
}

static int range_cmp(const void *pa, const void *pb)
{
    const struct lsn_range *a = pa, *b = pb;

    return a->lo < b->lo ? -1 : a->lo > b->lo;
}

struct own {
    struct core *c;
    uint64_t max_lsn;
};

static enum err note_begun(struct tenant *t, const struct block_meta *meta)
{
    for (uint32_t i = 0; i < t->begun_count; i++) {
        struct begun *b = &t->begun[i];
        if (b->lsn == meta->part_lsn) {
            b->spans = meta->part_spans > b->spans ? (uint32_t)meta->part_spans : b->spans;
            return ERR_OK;
        }
    }
    struct begun *begun = realloc(t->begun, (t->begun_count + 1) * sizeof *begun);
    if (begun == NULL)
        return ERR_NOMEM;
    t->begun = begun;
    t->begun[t->begun_count++] =
        (struct begun){.lsn = meta->part_lsn, .spans = (uint32_t)meta->part_spans, .tenant = t};
    return ERR_OK;
}

static enum err note_frames(struct own *own, struct tenant *t, uint64_t lo, uint64_t hi)
{
    if (hi > own->max_lsn)
        own->max_lsn = hi;
    if (t->done_count == t->done_cap) {
        uint32_t cap = t->done_cap == 0 ? 16 : t->done_cap * 2;
        struct lsn_range *done = realloc(t->done, cap * sizeof *done);
        if (done == NULL)
            return ERR_NOMEM;
        t->done = done;
        t->done_cap = cap;
    }
    t->done[t->done_count++] = (struct lsn_range){lo, hi};
    if (hi > t->published_lsn)
        t->published_lsn = hi;
    return ERR_OK;
}

/* Frames in a block of our own, or in one that it was merged into. */
static enum err note_own(struct own *own, const struct catalog_block *b)
{
    const char *self = own->c->o.instance_id;
    const struct block_meta *meta = &b->meta;
    bool is_own = strcmp(meta->writer, self) == 0;

    if (!is_own && b->lineage.holds_count == 0)
        return ERR_OK;
    struct tenant *t = generation_tenant(own->c, slice_str(meta->tenant));
    if (t == NULL)
        return ERR_NOMEM;
    enum err e = is_own ? recall_note(own->c, t, meta) : ERR_OK;
    if (e == ERR_OK && is_own && meta->lsn_hi != 0 && meta->part_lsn != 0 &&
        meta->part_spans <= UINT32_MAX)
        e = note_begun(t, meta);
    if (e == ERR_OK && is_own && meta->lsn_hi != 0)
        e = note_frames(own, t, meta->lsn_lo, meta->lsn_hi);
    for (uint32_t i = 0; e == ERR_OK && i < b->lineage.holds_count; i++) {
        const struct block_holds *h = &b->lineage.holds[i];
        if (strcmp(h->writer, self) == 0)
            e = note_frames(own, t, h->lsn_lo, h->lsn_hi);
    }
    return e;
}

enum err retention_own_blocks(struct core *c, uint64_t *ret_max_lsn)
{
    struct own own = {.c = c};
    struct tenant *t, *next;
    struct catalog catalog;
    struct catalog_block *b, *next_block;

    catalog_init(&catalog, c->o.backend);
    enum err e = catalog_refresh(&catalog);
    HASH_ITER (hh, catalog.blocks, b, next_block) {
        if (e == ERR_OK)
            e = note_own(&own, b);
    }
    metric_add(c->metrics.retention_errors, (double)catalog.unreadable);
    atomic_store(&c->has_others, catalog_has_others(&catalog, c->o.instance_id));
    catalog_release(&catalog);
    if (e != ERR_OK)
        return e;
    HASH_ITER (hh, c->tenants, t, next) {
        uint32_t kept = 0;
        if (t->done_count > 1)
            qsort(t->done, t->done_count, sizeof *t->done, range_cmp);
        for (uint32_t i = 0; i < t->done_count; i++) { /* joined where they touch */
            if (kept > 0 && t->done[i].lo <= t->done[kept - 1].hi + 1) {
                if (t->done[i].hi > t->done[kept - 1].hi)
                    t->done[kept - 1].hi = t->done[i].hi;
            } else {
                t->done[kept++] = t->done[i];
            }
        }
        t->done_count = kept;
    }
    *ret_max_lsn = own.max_lsn;
    return ERR_OK;
}
