/* The compact thread: merges blocks of closed windows, one job at a time, and removes what is too old or merged into others. */
#include "common/obs/log.h"
#include "common/store/block_merge.h"
#include "ingester/core_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    JSON_BYTES_MAX = 64 << 10,
    JOB_BYTES_MAX = 64 << 20, /* what a merge may take, and its inputs' footers and dictionaries */
    JOB_INPUTS_MAX = 12,
    JOB_TRACES_MAX = 2 << 20,
    NEIGHBOURS_MAX = 64,
    WAIT_MS = 1000
};

/* Blocks beside a job's inputs that may have parts of their traces. */
struct neighbours {
    struct block *blocks[NEIGHBOURS_MAX];
    uint32_t count;
    bool is_complete; /* false: nothing can be said */
};

static bool is_stopped(void *arg)
{
    struct core *c = arg;

    mutex_lock(&c->lock);
    /* Heads that must become blocks come first: they need the same memory. */
    bool is = c->is_build_stopping || c->is_starving ||
              (c->view != NULL && c->view->is_sealed && c->view->attempts > 0);
    mutex_unlock(&c->lock);
    return is;
}

static enum err open_block(struct core *c, const struct catalog_block *b, struct budget *budget,
                           struct block **ret)
{
    struct object *o;
    enum err e = c->o.backend->ops->open(c->o.backend, b->meta.tenant, b->meta.id, &o);

    return e == ERR_OK ? block_open(o, budget, ret) : e;
}

/* --- flags --- */

static bool is_input(const struct catalog_job *job, const struct catalog_block *b)
{
    for (uint32_t i = 0; i < job->input_count; i++)
        if (job->inputs[i] == b)
            return true;
    return false;
}

static void open_neighbours(struct core *c, const struct catalog *catalog,
                            const struct catalog_job *job, uint64_t window_ns,
                            struct budget *budget, struct neighbours *n)
{
    uint64_t from = UINT64_MAX, to = 0;
    struct catalog_block *b, *next;

    for (uint32_t i = 0; i < job->input_count; i++) {
        const struct block_meta *m = &job->inputs[i]->meta;
        from = m->min_start_ns < from ? m->min_start_ns : from;
        to = m->max_end_ns > to ? m->max_end_ns : to;
    }
    from = from > window_ns ? from - window_ns : 0;
    to = to < UINT64_MAX - window_ns ? to + window_ns : UINT64_MAX;
    n->is_complete = catalog->unreadable == 0;
    HASH_ITER (hh, catalog->blocks, b, next) {
        if (!n->is_complete || b->successor != NULL || is_input(job, b) ||
            strcmp(b->meta.tenant, job->inputs[0]->meta.tenant) != 0 || b->meta.max_end_ns < from ||
            b->meta.min_start_ns > to)
            continue;
        if (n->count == NEIGHBOURS_MAX || open_block(c, b, budget, &n->blocks[n->count]) != ERR_OK)
            n->is_complete = false;
        else
            n->count++;
    }
}

/* A window after its own a trace is as whole as it will be, if no other block has a part of it. */
static bool settle(void *arg, struct trace_id id, uint64_t max_end_ns)
{
    const struct neighbours *n = arg;
    uint32_t group, trace;

    (void)max_end_ns; /* ripe blocks have no younger ones */
    for (uint32_t i = 0; n->is_complete && i < n->count; i++)
        if (block_find_trace(n->blocks[i], id, &group, &trace) != ERR_NOT_FOUND)
            return false;
    return n->is_complete;
}

/* --- a job --- */

static int compare_ids(const void *a, const void *b)
{
    const struct block_from *x = a, *y = b;

    return strcmp(x->id, y->id);
}

/* The same inputs make the same block, whoever merges them. */
static void job_id(const struct catalog_job *job, char ret[37])
{
    struct block_from ids[BLOCK_LINEAGE_FROM_MAX];

    for (uint32_t i = 0; i < job->input_count; i++)
        memcpy(ids[i].id, job->inputs[i]->meta.id, sizeof ids[i].id);
    qsort(ids, job->input_count, sizeof *ids, compare_ids);
    block_lineage_id((struct slice){(const uint8_t *)ids, job->input_count * sizeof *ids}, ret);
}

static enum err publish(struct core *c, const struct catalog_job *job, const char *path,
                        const struct block_meta *meta, struct arena *a)
{
    struct block_lineage lineage = {.compacted_ns = (uint64_t)clock_wall_ns(c->o.clock)};
    const char *old[BLOCK_LINEAGE_FROM_MAX];
    struct buf json;
    enum err e = ERR_OK;

    buf_init(&json, JSON_BYTES_MAX);
    for (uint32_t i = 0; e == ERR_OK && i < job->input_count; i++) {
        old[i] = job->inputs[i]->meta.id;
        e = block_lineage_add(&lineage, &job->inputs[i]->meta, &job->inputs[i]->lineage, a);
    }
    if (e == ERR_OK)
        e = block_lineage_to_json(meta, &lineage, &json);
    if (e == ERR_OK)
        e = c->o.backend->ops->replace(c->o.backend, meta->tenant, meta->id, path, buf_slice(&json),
                                       old, job->input_count);
    buf_release(&json);
    return e;
}

struct presence {
    const struct catalog_job *job;
    uint32_t seen;
};

static enum err note_present(void *arg, const char *id)
{
    struct presence *p = arg;

    for (uint32_t i = 0; i < p->job->input_count; i++)
        p->seen += strcmp(p->job->inputs[i]->meta.id, id) == 0;
    return ERR_OK;
}

/* Somebody else may have merged an input meanwhile, alone or with others. */
static bool is_still_ours(struct core *c, const struct catalog_job *job)
{
    struct presence p = {.job = job};
    const char *tenant = job->inputs[0]->meta.tenant;

    return c->o.backend->ops->blocks(c->o.backend, tenant, note_present, &p) == ERR_OK &&
           p.seen == job->input_count;
}

static void count_job(struct core *c, const struct catalog_job *job, const struct block_meta *meta,
                      const struct block_merge_result *r)
{
    metric_add(metric_cell1(c->metrics.compaction_blocks, "0"), job->input_count);
    metric_add(metric_cell1(c->metrics.compaction_objects, "1"), (double)meta->trace_count);
    metric_add(metric_cell1(c->metrics.compaction_bytes, "1"), (double)meta->bytes);
    metric_add(metric_cell1(c->metrics.compaction_combined, "1"), (double)r->traces_joined);
    metric_add(metric_cell1(c->metrics.compaction_deduped, "1"), (double)r->copies);
    metric_add(c->metrics.compaction_read_bytes, (double)r->read_bytes);
    metric_add(c->metrics.compaction_flags_cleared, (double)r->flags_cleared);
    metric_add(c->metrics.retention_marked, job->input_count);
    log_info("blocks_merged", LOG_STR("tenant", meta->tenant), LOG_STR("block", meta->id),
             LOG_UINT("inputs", job->input_count), LOG_UINT("spans", meta->span_count),
             LOG_UINT("traces", meta->trace_count), LOG_UINT("joined", r->traces_joined),
             LOG_UINT("copies", r->copies), LOG_UINT("flags_cleared", r->flags_cleared),
             LOG_UINT("bytes", meta->bytes));
}

static enum err merge_and_publish(struct core *c, const struct catalog_job *job,
                                  struct block **inputs, struct neighbours *near,
                                  struct budget *budget)
{
    struct block_merge merge = {.inputs = inputs,
                                .input_count = job->input_count,
                                .settle = settle,
                                .settle_arg = near,
                                .is_stopped = is_stopped,
                                .stop_arg = c,
                                .budget = budget};
    struct block_merge_result result;
    struct block_meta meta = {0};
    struct arena a;
    char path[CORE_PATH_BYTES + 64];
    uint64_t spans = 0;

    arena_init(&a, budget);
    job_id(job, meta.id);
    (void)snprintf(meta.tenant, sizeof meta.tenant, "%s", job->inputs[0]->meta.tenant);
    (void)snprintf(path, sizeof path, "%s/%s.vvb", c->building_dir, meta.id);
    enum err e = block_merge(path, &merge, &meta, &result);
    for (uint32_t i = 0; e == ERR_OK && i < job->input_count; i++)
        spans += block_meta(inputs[i])->span_count;
    if (e == ERR_OK) {
        assert(meta.span_count + result.copies == spans); /* nothing is lost, or this ends here */
        e = is_still_ours(c, job) ? publish(c, job, path, &meta, &a) : ERR_CONFLICT;
        (void)unlink(path); /* published under another name, or of no use */
    }
    if (e == ERR_OK)
        count_job(c, job, &meta, &result);
    arena_release(&a);
    return e;
}

static enum err run_job(struct core *c, const struct catalog *catalog,
                        const struct catalog_job *job, uint64_t window_ns)
{
    struct block *inputs[BLOCK_LINEAGE_FROM_MAX];
    struct neighbours near = {.is_complete = false};
    struct budget budget;
    uint32_t opened = 0;
    enum err e = ERR_OK;
    size_t limit = c->building.limit_bytes / 2;

    budget_init(&budget, limit < JOB_BYTES_MAX ? limit : JOB_BYTES_MAX, &c->building);
    while (e == ERR_OK && opened < job->input_count) {
        e = open_block(c, job->inputs[opened], &budget, &inputs[opened]);
        if (e == ERR_CORRUPT)
            job->inputs[opened]->is_damaged = true;
        opened += e == ERR_OK;
    }
    if (e == ERR_OK)
        open_neighbours(c, catalog, job, window_ns, &budget, &near);
    if (e == ERR_OK)
        e = merge_and_publish(c, job, inputs, &near, &budget);
    while (near.count > 0)
        block_unref(near.blocks[--near.count]);
    while (opened > 0)
        block_unref(inputs[--opened]);
    return e;
}

/* Half of a job that did not fit; what fails alone stays as it is. */
static enum err try_job(struct core *c, const struct catalog *catalog, struct catalog_job *job,
                        uint64_t window_ns)
{
    enum err e = run_job(c, catalog, job, window_ns);

    while ((e == ERR_LIMIT || e == ERR_TOO_LARGE) && job->input_count > 2) {
        job->input_count /= 2;
        e = run_job(c, catalog, job, window_ns);
    }
    if (e == ERR_OK || e == ERR_CANCELED || e == ERR_CONFLICT || e == ERR_NOT_FOUND)
        return e; /* the last two: another ingester was first */
    metric_inc(c->metrics.compaction_errors);
    log_warn("compaction_failed", LOG_STR("tenant", job->inputs[0]->meta.tenant),
             LOG_UINT("inputs", job->input_count), LOG_ERR(e));
    if (e != ERR_LIMIT && e != ERR_TOO_LARGE && e != ERR_CORRUPT && e != ERR_UNSUPPORTED)
        return e; /* it may go well the next time */
    for (uint32_t i = 0; i < job->input_count; i++)
        job->inputs[i]->is_stuck = true;
    return ERR_OK;
}

/* --- a tenant --- */

static void compact_tenant(struct core *c, struct catalog *catalog, const char *tenant)
{
    uint64_t objects = (uint64_t)c->config->compaction_objects_max,
             window = core_window_ns(c, tenant);
    int64_t until = core_mono_ns(c) + c->config->compaction_tenant_time_ns;
    struct catalog_job job;
    enum err e = ERR_OK;

    while (e == ERR_OK && core_mono_ns(c) < until && !is_stopped(c)) {
        struct catalog_rules rules = {.now_ns = (uint64_t)clock_wall_ns(c->o.clock),
                                      .window_ns = window,
                                      .traces_max =
                                          objects < JOB_TRACES_MAX ? objects : JOB_TRACES_MAX,
                                      .bytes_max = c->config->compaction_block_bytes_max,
                                      .inputs_max = JOB_INPUTS_MAX};
        uint64_t since = rules.now_ns > 3 * window ? rules.now_ns - 3 * window : 0;
        if (!catalog_next_job(catalog, tenant, &rules, &job) ||
            !catalog_is_owner(catalog, &job, c->o.instance_id, since))
            break; /* of jobs of a window one has the same owner as the next, mostly */
        e = try_job(c, catalog, &job, window);
        if (e == ERR_OK)
            e = catalog_refresh(catalog);
    }
}

struct tenants {
    struct core *c;
    struct catalog *catalog;
    char (*names)[sizeof(((struct block_meta *)0)->tenant)];
    uint32_t count, max;
};

static enum err note_tenant(void *arg, const char *tenant)
{
    struct tenants *t = arg;

    if (t->count == t->max) {
        uint32_t max = t->max == 0 ? 16 : t->max * 2;
        void *wider = realloc(t->names, max * sizeof *t->names);
        if (wider == NULL)
            return ERR_NOMEM;
        t->names = wider;
        t->max = max;
    }
    (void)snprintf(t->names[t->count++], sizeof *t->names, "%s", tenant);
    return ERR_OK;
}

static void tell_tenant(struct core *c, const struct catalog *catalog, const char *tenant)
{
    struct catalog_block *b, *next;
    uint32_t n = 0;

    HASH_ITER (hh, catalog->blocks, b, next)
        n += b->successor == NULL && strcmp(b->meta.tenant, tenant) == 0;
    metric_set(metric_cell1(c->metrics.blocklist_length, tenant), n);
    metric_set(metric_cell1(c->metrics.compaction_outstanding, tenant),
               catalog_outstanding(catalog, tenant));
}

static bool is_merging(struct core *c, const char *tenant)
{
    struct overrides_hold h = overrides_get(c->o.overrides, slice_str(tenant));
    bool is = !c->config->compactor_disabled && !h.limits->compaction_disabled;

    overrides_put(&h);
    return is;
}

static void cycle(struct core *c, struct catalog *catalog)
{
    struct tenants t = {.c = c, .catalog = catalog};
    enum err e = catalog_refresh(catalog);

    metric_add(c->metrics.retention_errors, (double)catalog->unreadable);
    metric_set(c->metrics.damaged, (double)(catalog->unreadable + catalog_damaged(catalog)));
    if (catalog_has_others(catalog, c->o.instance_id))
        atomic_store(&c->has_others, true);
    if (e == ERR_OK)
        e = c->o.backend->ops->tenants(c->o.backend, note_tenant, &t);
    if (e == ERR_OK)
        retention_run(c, catalog);
    if (e == ERR_OK)
        e = catalog_refresh(catalog);
    for (uint32_t i = 0; e == ERR_OK && i < t.count; i++) {
        if (is_merging(c, t.names[i]) && !is_stopped(c))
            compact_tenant(c, catalog, t.names[i]);
        tell_tenant(c, catalog, t.names[i]);
    }
    if (e != ERR_OK) {
        metric_inc(c->metrics.retention_errors);
        log_warn("blocks_not_listed", LOG_ERR(e));
    }
    free(t.names);
}

void compact_run(void *arg)
{
    struct core *c = arg;
    struct catalog catalog;
    int64_t next = core_mono_ns(c) + c->config->flush_check_period_ns;

    thread_yield_to_others();
    catalog_init(&catalog, c->o.backend);
    mutex_lock(&c->lock);
    while (!c->is_build_stopping) {
        int64_t now = core_mono_ns(c);
        if (now >= next && !atomic_load(&c->is_replaying)) {
            mutex_unlock(&c->lock);
            cycle(c, &catalog);
            mutex_lock(&c->lock);
            next = core_mono_ns(c) + c->config->compaction_cycle_ns;
            continue;
        }
        int64_t left = next - now;
        bool is_long = left <= 0 || left > WAIT_MS * NS_PER_MS;
        (void)cond_wait(&c->changed, &c->lock, is_long ? WAIT_MS * NS_PER_MS : left);
    }
    mutex_unlock(&c->lock);
    catalog_release(&catalog);
}
