#include "common/obs/log.h"
#include "ingester/core_priv.h"

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

uint64_t retention_before_ns(const struct core *c, struct slice tenant)
{
    struct overrides_hold h = overrides_get(c->o.overrides, tenant);
    int64_t keep = h.limits->block_retention_ns, now = clock_wall_ns(c->o.clock);

    overrides_put(&h);
    return keep <= 0 || now <= keep ? 0 : (uint64_t)(now - keep);
}

void retention_run(struct core *c, struct catalog *catalog)
{
    int64_t now = clock_wall_ns(c->o.clock), begun = core_mono_ns(c);
    struct catalog_block *b, *next;

    HASH_ITER (hh, catalog->blocks, b, next) {
        if (b->meta.max_end_ns >= retention_before_ns(c, slice_str(b->meta.tenant)))
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
