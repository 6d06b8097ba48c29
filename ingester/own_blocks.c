/* Which frames of the log are in blocks already: the store is asked at the start, and waited for when it is away. */
#include "common/obs/log.h"
#include "ingester/core_priv.h"
#include "ingester/recall.h"

#include <assert.h>
#include <stdlib.h>

#define START_WAIT_NS (15 * NS_PER_S) /* for the first answer */
#define ASK_AGAIN_MS  1000

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

/* Ranges that touch become one. */
static void join_frames(struct tenant *t)
{
    uint32_t kept = 0;

    if (t->done_count > 1)
        qsort(t->done, t->done_count, sizeof *t->done, range_cmp);
    for (uint32_t i = 0; i < t->done_count; i++) {
        if (kept > 0 && t->done[i].lo <= t->done[kept - 1].hi + 1) {
            if (t->done[i].hi > t->done[kept - 1].hi)
                t->done[kept - 1].hi = t->done[i].hi;
        } else {
            t->done[kept++] = t->done[i];
        }
    }
    t->done_count = kept;
}

/* What the catalog says becomes the tenants'. */
static enum err take_note(struct core *c, uint64_t *ret_max_lsn)
{
    struct catalog *catalog = &c->own.catalog;
    struct own own = {.c = c};
    struct tenant *t, *next;
    struct catalog_block *b, *next_block;
    enum err e = ERR_OK;

    HASH_ITER (hh, catalog->blocks, b, next_block) {
        if (e == ERR_OK)
            e = note_own(&own, b);
    }
    metric_add(c->metrics.retention_errors, (double)catalog->unreadable);
    if (e != ERR_OK)
        return e;
    atomic_store(&c->has_others, catalog_has_others(catalog, c->o.instance_id));
    HASH_ITER (hh, c->tenants, t, next)
        join_frames(t);
    catalog_release(catalog);
    *ret_max_lsn = own.max_lsn;
    return ERR_OK;
}

bool own_blocks_are_known(struct core *c)
{
    mutex_lock(&c->lock);
    bool are = c->own.state == OWN_KNOWN;
    mutex_unlock(&c->lock);
    return are;
}

static void set_state(struct core *c, enum own_state state)
{
    mutex_lock(&c->lock);
    c->own.state = state;
    (void)pthread_cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
    metric_set(c->metrics.store_away, state == OWN_AWAY);
}

/* --- the store is back, on the apply thread --- */

void own_blocks_apply(struct core *c)
{
    uint64_t max_lsn;
    enum err e = take_note(c, &max_lsn);

    if (e != ERR_OK)
        log_warn("own_blocks_not_noted", LOG_ERR(e)); /* no memory: asked again */
    set_state(c, e == ERR_OK ? OWN_KNOWN : OWN_AWAY);
}

static void told(struct push *p)
{
    free(p);
}

/* True when the apply thread has taken it. */
static bool tell_apply(struct core *c)
{
    struct push *p = calloc(1, sizeof *p);

    if (p == NULL)
        return false;
    p->kind = PUSH_OWN_BLOCKS;
    p->finished = told;
    set_state(c, OWN_LISTED);
    core_push(c, p);
    mutex_lock(&c->lock);
    while (c->own.state == OWN_LISTED && !atomic_load(&c->is_stopping))
        (void)cond_wait(&c->changed, &c->lock, ASK_AGAIN_MS * NS_PER_MS);
    bool is_taken = c->own.state == OWN_KNOWN;
    mutex_unlock(&c->lock);
    return is_taken;
}

/* --- asking --- */

static bool is_passing(enum err e)
{
    return e == ERR_UNAVAILABLE || e == ERR_TIMEOUT;
}

/* The first answer belongs to the start, if it still waits for it. */
static bool is_first(struct core *c, enum err e)
{
    mutex_lock(&c->lock);
    bool is = c->own.state == OWN_ASKING;
    if (is) {
        c->own.err = e;
        c->own.state = e == ERR_OK ? OWN_LISTED : is_passing(e) ? OWN_AWAY : OWN_FAILED;
        (void)pthread_cond_broadcast(&c->changed);
    }
    mutex_unlock(&c->lock);
    return is;
}

static void own_blocks_run(void *arg)
{
    struct core *c = arg;
    int64_t begun = core_mono_ns(c);

    while (!atomic_load(&c->is_stopping)) {
        enum err e = catalog_refresh(&c->own.catalog);
        if (is_first(c, e) && !is_passing(e))
            return;
        if (e == ERR_OK && tell_apply(c)) {
            log_info("store_back", LOG_NS("after", core_mono_ns(c) - begun));
            recall_run(c);
            return;
        }
        mutex_lock(&c->lock);
        if (!atomic_load(&c->is_stopping))
            (void)cond_wait(&c->changed, &c->lock, ASK_AGAIN_MS * NS_PER_MS);
        mutex_unlock(&c->lock);
    }
}

enum err own_blocks_ask(struct core *c, uint64_t *ret_max_lsn)
{
    int64_t until = clock_mono_ns(&clock_system) + START_WAIT_NS;

    catalog_init(&c->own.catalog, c->o.backend);
    c->own.state = OWN_ASKING;
    enum err e = thread_start(&c->own.thread, "own", own_blocks_run, c);
    c->own.has_thread = e == ERR_OK;
    if (e != ERR_OK)
        return e;
    mutex_lock(&c->lock);
    for (int64_t left = START_WAIT_NS; c->own.state == OWN_ASKING && left > 0;
         left = until - clock_mono_ns(&clock_system))
        (void)cond_wait(&c->changed, &c->lock, left);
    if (c->own.state == OWN_ASKING)
        c->own.state = OWN_AWAY;
    enum own_state state = c->own.state;
    mutex_unlock(&c->lock);
    c->is_blind = state == OWN_AWAY;
    if (state == OWN_FAILED)
        return c->own.err;
    if (state == OWN_LISTED) {
        e = take_note(c, ret_max_lsn);
        set_state(c, OWN_KNOWN);
        return e;
    }
    *ret_max_lsn = 0;
    atomic_store(&c->has_others, true); /* perhaps */
    metric_set(c->metrics.store_away, 1);
    log_warn("store_away", LOG_ERR(c->own.err == ERR_OK ? ERR_TIMEOUT : c->own.err),
             LOG_STR("detail", "starting without it: the whole log is replayed, no block is "
                               "published until the store is back"));
    return ERR_OK;
}

void own_blocks_end(struct core *c)
{
    if (c->own.has_thread)
        thread_join(c->own.thread);
    c->own.has_thread = false;
}
