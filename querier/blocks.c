#include "querier/blocks.h"

#include "common/base/map.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/store/block_lineage.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { META_BYTES_MAX = 64 * 1024, CLOSE_ROUNDS = 3 };

struct entry {
    char key[192]; /* tenant/id */
    struct block_meta meta;
    struct block *block; /* opened on first use */
    uint64_t seen;       /* poll number */
    bool was_used;       /* since blocks were last closed for want of memory */
    struct block_lineage lineage;
    struct arena arena; /* of the lineage */
    bool is_bad;        /* its meta can not be read: every answer lacks it */
    bool is_damaged;    /* so is its footer, when it was last tried */
    bool is_replaced;   /* by another that is listed too: set anew for each set of blocks */
    UT_hash_handle hh;
};

/* How far a writer had published when its tenant's blocks were last listed after its own word: a restarted ingester names no recent blocks. */
struct listed {
    char key[256]; /* tenant/writer */
    uint64_t published_lsn;
    UT_hash_handle hh;
};

struct blocks {
    struct backend *backend;
    struct budget *budget;
    struct mutex lock; /* the fields down to poll_no */
    bool was_polled;   /* with success, once */
    bool is_away;      /* the last poll failed */
    struct entry *entries;
    struct listed *listed;
    uint64_t poll_no;
    struct metric_cell *damaged;
    struct mutex poll_lock; /* one poll at a time; taken before `lock` */
};

enum err blocks_new(struct backend *backend, struct budget *budget, struct blocks **ret)
{
    struct blocks *b = calloc(1, sizeof *b);

    assert(backend != NULL);
    if (b == NULL)
        return ERR_NOMEM;
    b->backend = backend;
    b->budget = budget;
    b->damaged = metric_cell0(
        metrics_gauge("vivace_damaged_blocks", "",
                      "Blocks in the store that can not be read: vivace-store verify tells why."));
    mutex_init(&b->lock);
    mutex_init(&b->poll_lock);
    *ret = b;
    return ERR_OK;
}

static void entry_free(struct blocks *b, struct entry *e)
{
    HASH_DEL(b->entries, e);
    block_unref(e->block);
    arena_release(&e->arena);
    free(e);
}

void blocks_free(struct blocks *b)
{
    struct entry *e, *next;
    struct listed *l, *l_next;

    if (b == NULL)
        return;
    HASH_ITER (hh, b->entries, e, next)
        entry_free(b, e);
    HASH_ITER (hh, b->listed, l, l_next) {
        HASH_DEL(b->listed, l);
        free(l);
    }
    mutex_release(&b->lock);
    mutex_release(&b->poll_lock);
    free(b);
}

struct poll {
    struct blocks *b;
    const char *tenant; /* NULL: all */
    const char *at;     /* tenant being listed */
    uint64_t no;
};

/* Reads a block's meta without the lock, then enters it.  One that can not be read is entered as bad, and tried again at the next poll. */
static enum err entry_add(struct poll *p, const char *key, const char *id)
{
    struct entry *e = calloc(1, sizeof *e);
    struct buf json;
    enum err err = ERR_NOMEM;

    if (e == NULL)
        return ERR_NOMEM;
    arena_init(&e->arena, NULL);
    buf_init(&json, META_BYTES_MAX);
    err = p->b->backend->ops->read_meta(p->b->backend, p->at, id, &json);
    if (err == ERR_OK)
        err = block_meta_from_json(buf_slice(&json), &e->meta, NULL);
    if (err == ERR_OK)
        err = block_lineage_from_json(buf_slice(&json), &e->arena, &e->lineage);
    buf_release(&json);
    if (err == ERR_NOMEM || err == ERR_NOT_FOUND) {
        arena_release(&e->arena);
        free(e);
        return err == ERR_NOMEM ? err : ERR_OK; /* removed in this moment */
    }
    e->is_bad = err != ERR_OK;
    (void)snprintf(e->key, sizeof e->key, "%s", key);
    (void)snprintf(e->meta.id, sizeof e->meta.id, "%s", id);
    e->seen = p->no;
    mutex_lock(&p->b->lock);
    HASH_ADD_STR(p->b->entries, key, e);
    mutex_unlock(&p->b->lock);
    return ERR_OK;
}

static enum err poll_block(void *arg, const char *id)
{
    struct poll *p = arg;
    struct entry *e;
    char key[192];

    int n = snprintf(key, sizeof key, "%s/%s", p->at, id);
    if (n < 0 || (size_t)n >= sizeof key)
        return ERR_OK; /* not a name of ours */
    mutex_lock(&p->b->lock);
    HASH_FIND_STR(p->b->entries, key, e);
    if (e != NULL && e->is_bad) {
        entry_free(p->b, e);
        e = NULL;
    }
    if (e != NULL)
        e->seen = p->no;
    mutex_unlock(&p->b->lock);
    return e != NULL ? ERR_OK : entry_add(p, key, id);
}

static enum err poll_tenant(void *arg, const char *tenant)
{
    struct poll *p = arg;

    p->at = tenant;
    enum err e = p->b->backend->ops->blocks(p->b->backend, tenant, poll_block, p);
    return e == ERR_NOT_FOUND ? ERR_OK
                              : e; /* it went away: the other tenants are listed all the same */
}

/* With the lock held. */
static void tell_damaged(struct blocks *b)
{
    struct entry *e, *next;
    uint32_t n = 0;

    HASH_ITER (hh, b->entries, e, next)
        n += e->is_bad || e->is_damaged;
    metric_set(b->damaged, n);
}

/* Forgets what the poll did not see. */
static void poll_sweep(struct poll *p)
{
    struct entry *e, *next;
    size_t prefix = p->tenant == NULL ? 0 : strlen(p->tenant);

    mutex_lock(&p->b->lock);
    HASH_ITER (hh, p->b->entries, e, next) {
        bool is_listed =
            p->tenant == NULL || (strncmp(e->key, p->tenant, prefix) == 0 && e->key[prefix] == '/');
        if (is_listed && e->seen != p->no)
            entry_free(p->b, e);
    }
    mutex_unlock(&p->b->lock);
}

static enum err poll_locked(struct blocks *b, const char *tenant)
{
    struct poll p = {.b = b, .tenant = tenant};
    enum err e;

    mutex_lock(&b->lock);
    p.no = ++b->poll_no;
    mutex_unlock(&b->lock);
    e = tenant == NULL ? b->backend->ops->tenants(b->backend, poll_tenant, &p)
                       : poll_tenant(&p, tenant);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK; /* a tenant without blocks */
    if (e == ERR_OK)
        poll_sweep(&p);
    mutex_lock(&b->lock);
    b->was_polled = b->was_polled || (e == ERR_OK && tenant == NULL);
    b->is_away = e != ERR_OK && e != ERR_NOMEM;
    tell_damaged(b);
    mutex_unlock(&b->lock);
    return e;
}

enum err blocks_poll(struct blocks *b)
{
    mutex_lock(&b->poll_lock);
    enum err e = poll_locked(b, NULL);
    mutex_unlock(&b->poll_lock);
    return e;
}

/* Not while the store is away: queries would all wait for it. */
static enum err poll_for_query(struct blocks *b, const char *tenant)
{
    mutex_lock(&b->poll_lock);
    enum err e = blocks_are_away(b) ? ERR_UNAVAILABLE : poll_locked(b, tenant);
    mutex_unlock(&b->poll_lock);
    return e;
}

bool blocks_are_away(struct blocks *b)
{
    mutex_lock(&b->lock);
    bool are = b->is_away;
    mutex_unlock(&b->lock);
    return are;
}

uint64_t blocks_count(struct blocks *b, const char *tenant)
{
    struct entry *e, *next;
    size_t prefix = strlen(tenant);
    uint64_t n = 0;

    mutex_lock(&b->lock);
    HASH_ITER (hh, b->entries, e, next)
        n += strncmp(e->key, tenant, prefix) == 0 && e->key[prefix] == '/';
    mutex_unlock(&b->lock);
    return n;
}

/* With the lock held; NULL: never. */
static struct listed *listed_find(struct blocks *b, const char *tenant,
                                  const struct blocks_coverage *coverage, char *ret_key,
                                  size_t key_bytes)
{
    struct listed *l;

    (void)snprintf(ret_key, key_bytes, "%s/" SLICE_FMT, tenant, SLICE_ARG(coverage->instance_id));
    HASH_FIND_STR(b->listed, ret_key, l);
    return l;
}

static void listed_note(struct blocks *b, const char *tenant,
                        const struct blocks_coverage *coverage, uint32_t count)
{
    mutex_lock(&b->lock);
    for (uint32_t i = 0; i < count; i++) {
        char key[sizeof b->listed->key];
        struct listed *l = listed_find(b, tenant, &coverage[i], key, sizeof key);
        if (!coverage[i].is_known)
            continue;
        if (l == NULL && (l = calloc(1, sizeof *l)) != NULL) { /* without: it is listed again */
            memcpy(l->key, key, sizeof key);
            HASH_ADD_STR(b->listed, key, l);
        }
        if (l != NULL && coverage[i].published_lsn > l->published_lsn)
            l->published_lsn = coverage[i].published_lsn;
    }
    mutex_unlock(&b->lock);
}

/* With the lock held: whether the blocks in sight hold what a block of this name held. */
static bool is_merged(struct blocks *b, const char *tenant, struct slice id)
{
    struct entry *e, *next;
    size_t prefix = strlen(tenant);

    HASH_ITER (hh, b->entries, e, next) {
        if (e->lineage.from_count == 0 || strncmp(e->key, tenant, prefix) != 0 ||
            e->key[prefix] != '/')
            continue;
        for (uint32_t i = 0; i < e->lineage.from_count; i++)
            if (slice_eq_str(id, e->lineage.from[i].id))
                return true;
    }
    return false;
}

static bool knows_all(struct blocks *b, const char *tenant, const struct blocks_coverage *coverage,
                      uint32_t count)
{
    bool all = true;

    mutex_lock(&b->lock);
    for (uint32_t i = 0; i < count && all; i++) {
        char writer[sizeof b->listed->key];
        struct listed *l = listed_find(b, tenant, &coverage[i], writer, sizeof writer);
        if (coverage[i].is_known && coverage[i].published_lsn > 0)
            all = l != NULL && l->published_lsn >= coverage[i].published_lsn;
        for (uint32_t k = 0; k < coverage[i].recent_count && all; k++) {
            char key[192];
            struct entry *e;
            (void)snprintf(key, sizeof key, "%s/" SLICE_FMT, tenant,
                           SLICE_ARG(coverage[i].recent[k]));
            HASH_FIND_STR(b->entries, key, e);
            all = e != NULL || is_merged(b, tenant, coverage[i].recent[k]);
        }
    }
    mutex_unlock(&b->lock);
    return all;
}

/* Newer than its ingester's answer: the spans are in that answer. */
static bool is_covered(const struct block_meta *m, const struct blocks_coverage *coverage,
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (coverage[i].is_known && slice_eq_str(coverage[i].instance_id, m->writer))
            return m->lsn_hi > coverage[i].published_lsn;
    return false;
}

/* The open block of an entry, with a reference for the caller; NULL: it has none. */
static struct block *entry_block(struct blocks *b, const char *tenant, const char *id,
                                 bool *ret_is_bad)
{
    char key[192];
    struct entry *e;
    struct block *block = NULL;

    (void)snprintf(key, sizeof key, "%s/%s", tenant, id);
    mutex_lock(&b->lock);
    HASH_FIND_STR(b->entries, key, e);
    if (e != NULL && e->block != NULL)
        block = block_ref(e->block);
    if (e != NULL)
        e->was_used = true;
    *ret_is_bad = e == NULL || e->is_bad;
    mutex_unlock(&b->lock);
    return block;
}

/* Closes blocks that were not used since this last came by, but `tenant/id`; false: there was none.  Who reads one of them now keeps it. */
static bool close_unused(struct blocks *b, const char *tenant, const char *id)
{
    char key[192];
    struct entry *e, *next;
    bool any = false, any_open = false;

    (void)snprintf(key, sizeof key, "%s/%s", tenant, id);
    mutex_lock(&b->lock);
    HASH_ITER (hh, b->entries, e, next) {
        if (e->block == NULL || strcmp(e->key, key) == 0)
            continue;
        any_open = true;
        if (!e->was_used) {
            block_unref(e->block);
            e->block = NULL;
            any = true;
        }
        e->was_used = false;
    }
    mutex_unlock(&b->lock);
    return any || any_open; /* the second time round all of them are unused */
}

/* Reads the footer, outside the lock.  Takes the object. */
static enum err entry_open(struct blocks *b, const char *tenant, const char *id,
                           struct object *object, struct block **ret)
{
    char key[192];
    struct entry *e;
    enum err err = block_open(object, b->budget, ret);

    for (int i = 0; (err == ERR_LIMIT || err == ERR_NOMEM) && i < CLOSE_ROUNDS; i++) {
        if (!close_unused(b, tenant, id))
            break;
        err = b->backend->ops->open(b->backend, tenant, id, &object);
        if (err == ERR_OK)
            err = block_open(object, b->budget, ret);
    }
    bool is_damaged = err == ERR_CORRUPT || err == ERR_UNSUPPORTED;
    (void)snprintf(key, sizeof key, "%s/%s", tenant, id);
    mutex_lock(&b->lock);
    HASH_FIND_STR(b->entries, key, e);
    if (e != NULL && err == ERR_OK && e->block == NULL)
        e->block = block_ref(*ret);
    if (e != NULL && e->is_damaged != is_damaged && (is_damaged || err == ERR_OK)) {
        e->is_damaged = is_damaged;
        tell_damaged(b);
        if (is_damaged)
            log_warn("block_damaged", LOG_STR("tenant", tenant), LOG_STR("block", id),
                     LOG_ERR(err));
    }
    mutex_unlock(&b->lock);
    return err;
}

struct candidate {
    char id[37];
    uint64_t max_end_ns;
    struct object *object; /* to be opened */
    struct block *block;
    bool is_bad;
};

static int candidate_cmp(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->max_end_ns != y->max_end_ns)
        return x->max_end_ns > y->max_end_ns ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* With the lock held.  A block and what it was merged into are both listed while one takes the other's place: the new one counts. */
static void mark_replaced(struct blocks *b, const char *tenant)
{
    struct entry *e, *next, *old;
    size_t prefix = strlen(tenant);

    HASH_ITER (hh, b->entries, e, next)
        e->is_replaced = false;
    HASH_ITER (hh, b->entries, e, next) {
        if (e->lineage.from_count == 0 || strncmp(e->key, tenant, prefix) != 0 ||
            e->key[prefix] != '/')
            continue;
        for (uint32_t i = 0; i < e->lineage.from_count; i++) {
            char key[sizeof e->key];
            (void)snprintf(key, sizeof key, "%s/%s", tenant, e->lineage.from[i].id);
            HASH_FIND_STR(b->entries, key, old);
            if (old != NULL && old != e)
                old->is_replaced = true;
        }
    }
}

static uint32_t candidates(struct blocks *b, const char *tenant, uint64_t start_ns, uint64_t end_ns,
                           const struct blocks_coverage *coverage, uint32_t coverage_count,
                           struct arena *a, struct candidate **ret)
{
    struct entry *e, *next;
    size_t prefix = strlen(tenant);
    uint32_t n = 0;

    mutex_lock(&b->lock);
    struct candidate *list = ARENA_ARRAY(a, struct candidate, HASH_COUNT(b->entries));
    mark_replaced(b, tenant);
    HASH_ITER (hh, b->entries, e, next) {
        if (list == NULL || strncmp(e->key, tenant, prefix) != 0 || e->key[prefix] != '/')
            continue;
        if ((start_ns | end_ns) != 0 && !e->is_bad &&
            (e->meta.max_end_ns < start_ns || e->meta.min_start_ns > end_ns))
            continue;
        if (e->is_replaced || is_covered(&e->meta, coverage, coverage_count))
            continue;
        memcpy(list[n].id, e->meta.id, sizeof list[n].id);
        list[n++].max_end_ns = e->meta.max_end_ns;
    }
    mutex_unlock(&b->lock);
    if (n > 1)
        qsort(list, n, sizeof *list, candidate_cmp);
    *ret = list;
    return n;
}

/* What the list says is opened in two rounds, so that all footers are on their way before the first is waited for. */
static void open_all(struct blocks *b, const char *tenant, struct candidate *list, uint32_t n,
                     struct blocks_set *set)
{
    for (uint32_t i = 0; i < n; i++) {
        struct candidate *c = &list[i];
        c->block = entry_block(b, tenant, c->id, &c->is_bad);
        if (c->block == NULL && !c->is_bad)
            c->is_bad = b->backend->ops->open(b->backend, tenant, c->id, &c->object) != ERR_OK;
        if (c->object != NULL)
            block_want_tail(c->object);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct candidate *c = &list[i];
        if (c->object != NULL && entry_open(b, tenant, c->id, c->object, &c->block) != ERR_OK)
            c->block = NULL;
        if (c->block == NULL)
            set->unreadable++;
        else
            set->blocks[set->count++] = c->block;
    }
}

enum err blocks_take(struct blocks *b, const char *tenant, uint64_t start_ns, uint64_t end_ns,
                     const struct blocks_coverage *coverage, uint32_t coverage_count,
                     struct arena *a, struct blocks_set *ret)
{
    struct blocks_set set = {0};
    struct candidate *list;

    mutex_lock(&b->lock);
    bool was_polled = b->was_polled;
    mutex_unlock(&b->lock);
    if (!was_polled || !knows_all(b, tenant, coverage, coverage_count)) {
        enum err e = poll_for_query(b, was_polled ? tenant : NULL);
        if (e == ERR_NOMEM)
            return e;
        if (e != ERR_OK)
            set.unreadable++; /* what is known is answered for; there is more */
        else
            listed_note(b, tenant, coverage, coverage_count);
    }
    uint32_t n = candidates(b, tenant, start_ns, end_ns, coverage, coverage_count, a, &list);
    set.blocks = ARENA_ARRAY(a, struct block *, n);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    open_all(b, tenant, list, n, &set);
    *ret = set;
    return ERR_OK;
}

void blocks_give(struct blocks_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        block_unref(set->blocks[i]);
    set->count = 0;
}
