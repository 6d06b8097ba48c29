#include "common/obs/log.h"
#include "ingester/core_priv.h"
#include "ingester/recall.h"

#include <assert.h>
#include <stdlib.h>

enum { META_BYTES_MAX = 1 << 20, REMOVE_MAX = 1000 };

/* Reads the meta of each block of each tenant. */
typedef enum err meta_fn(void *arg, const struct block_meta *meta);

struct walker {
    struct core *c;
    const char *tenant;
    meta_fn *fn;
    void *arg;
};

static enum err walk_block(void *arg, const char *id)
{
    struct walker *w = arg;
    struct backend *b = w->c->o.backend;
    struct block_meta meta;
    struct err_detail detail = {0};
    struct buf json;

    buf_init(&json, META_BYTES_MAX);
    enum err e = b->ops->read_meta(b, w->tenant, id, &json);
    if (e == ERR_OK)
        e = block_meta_from_json(buf_slice(&json), &meta, &detail);
    buf_release(&json);
    if (e == ERR_NOT_FOUND)
        return ERR_OK; /* removed by somebody else meanwhile */
    if (e != ERR_OK) {
        metric_inc(w->c->metrics.retention_errors);
        log_warn("block_meta_unreadable", LOG_STR("tenant", w->tenant), LOG_STR("block", id),
                 LOG_ERR(e), LOG_STR("detail", detail.text));
        return ERR_OK;
    }
    return w->fn(w->arg, &meta);
}

static enum err walk_tenant(void *arg, const char *tenant)
{
    struct walker *w = arg;
    struct backend *b = w->c->o.backend;

    w->tenant = tenant;
    return b->ops->blocks(b, tenant, walk_block, w);
}

static enum err walk(struct core *c, meta_fn *fn, void *arg)
{
    struct walker w = {.c = c, .fn = fn, .arg = arg};

    return c->o.backend->ops->tenants(c->o.backend, walk_tenant, &w);
}

struct expired {
    uint64_t before_ns;
    struct block_meta *list;
    uint32_t count;
};

static enum err collect_expired(void *arg, const struct block_meta *meta)
{
    struct expired *x = arg;

    if (meta->max_end_ns < x->before_ns && x->count < REMOVE_MAX)
        x->list[x->count++] = *meta;
    return ERR_OK;
}

void retention_run(struct core *c)
{
    int64_t keep = c->config->retention_ns, now = clock_wall_ns(c->o.clock);

    if (keep <= 0 || now <= keep)
        return;
    struct expired x = {.before_ns = (uint64_t)(now - keep),
                        .list = calloc(REMOVE_MAX, sizeof *x.list)};
    enum err e = x.list == NULL ? ERR_NOMEM : walk(c, collect_expired, &x);
    for (uint32_t i = 0; i < x.count; i++) {
        const struct block_meta *m = &x.list[i];
        enum err re = c->o.backend->ops->remove(c->o.backend, m->tenant, m->id);
        if (re == ERR_OK) {
            metric_inc(c->metrics.retention_deleted);
            log_info("block_expired", LOG_STR("tenant", m->tenant), LOG_STR("block", m->id),
                     LOG_UINT("spans", m->span_count));
        } else if (re != ERR_NOT_FOUND) { /* another ingester was first */
            e = re;
        }
    }
    free(x.list);
    if (e != ERR_OK) {
        metric_inc(c->metrics.retention_errors);
        log_warn("retention_failed", LOG_ERR(e));
    }
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

static enum err note_own(void *arg, const struct block_meta *meta)
{
    struct own *own = arg;
    struct core *c = own->c;

    if (strcmp(meta->writer, c->o.instance_id) != 0)
        return ERR_OK;
    struct tenant *t = generation_tenant(c, slice_str(meta->tenant));
    if (t == NULL)
        return ERR_NOMEM;
    enum err e = recall_note(c, t, meta);
    if (e != ERR_OK || meta->lsn_hi == 0)
        return e;
    if (meta->lsn_hi > own->max_lsn)
        own->max_lsn = meta->lsn_hi;
    if (meta->part_lsn != 0 && meta->part_spans <= UINT32_MAX)
        e = note_begun(t, meta);
    if (e != ERR_OK)
        return e;
    if (t->done_count == t->done_cap) {
        uint32_t cap = t->done_cap == 0 ? 16 : t->done_cap * 2;
        struct lsn_range *done = realloc(t->done, cap * sizeof *done);
        if (done == NULL)
            return ERR_NOMEM;
        t->done = done;
        t->done_cap = cap;
    }
    t->done[t->done_count++] = (struct lsn_range){meta->lsn_lo, meta->lsn_hi};
    if (meta->lsn_hi > t->published_lsn)
        t->published_lsn = meta->lsn_hi;
    return ERR_OK;
}

enum err retention_own_blocks(struct core *c, uint64_t *ret_max_lsn)
{
    struct own own = {.c = c};
    struct tenant *t, *next;
    enum err e = walk(c, note_own, &own);

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
