#include "ingester/catalog.h"

#include "common/base/hash.h"
#include "common/obs/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { META_BYTES_MAX = 1 << 16 };

void catalog_init(struct catalog *c, struct backend *backend)
{
    *c = (struct catalog){.backend = backend};
}

static void drop(struct catalog *c, struct catalog_block *b)
{
    HASH_DEL(c->blocks, b);
    arena_release(&b->arena);
    free(b);
}

void catalog_release(struct catalog *c)
{
    struct catalog_block *b, *next;
    HASH_ITER (hh, c->blocks, b, next)
        drop(c, b);
}

struct catalog_block *catalog_find(struct catalog *c, const char *tenant, const char *id)
{
    struct catalog_block *b;
    char key[sizeof b->key];
    (void)snprintf(key, sizeof key, "%s/%s", tenant, id);
    HASH_FIND_STR(c->blocks, key, b);
    return b;
}

/* --- listing --- */

struct lister {
    struct catalog *c;
    const char *tenant;
};

static enum err read_block(struct lister *l, const char *id, struct catalog_block *b)
{
    struct buf json;
    struct err_detail detail = {0};
    buf_init(&json, META_BYTES_MAX);
    enum err e = l->c->backend->ops->read_meta(l->c->backend, l->tenant, id, &json);
    if (e == ERR_OK)
        e = block_meta_from_json(buf_slice(&json), &b->meta, &detail);
    if (e == ERR_OK)
        e = block_lineage_from_json(buf_slice(&json), &b->arena, &b->lineage);
    buf_release(&json);
    if (e == ERR_OK && strcmp(b->meta.id, id) != 0)
        e = ERR_CORRUPT;
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        log_warn("block_meta_unreadable", LOG_STR("tenant", l->tenant), LOG_STR("block", id),
                 LOG_ERR(e), LOG_STR("detail", detail.text));
    return e;
}

static enum err list_block(void *arg, const char *id)
{
    struct lister *l = arg;
    struct catalog_block *b = catalog_find(l->c, l->tenant, id);
    if (b == NULL) {
        b = calloc(1, sizeof *b);
        if (b == NULL)
            return ERR_NOMEM;
        arena_init(&b->arena, NULL);
        enum err e = read_block(l, id, b);
        if (e != ERR_OK) {
            arena_release(&b->arena);
            free(b);
            l->c->unreadable += e != ERR_NOT_FOUND; /* that one was removed in this moment */
            return e == ERR_NOMEM ? e : ERR_OK;
        }
        (void)snprintf(b->key, sizeof b->key, "%s/%s", l->tenant, id);
        (void)snprintf(b->meta.tenant, sizeof b->meta.tenant, "%s", l->tenant);
        HASH_ADD_STR(l->c->blocks, key, b);
    }
    b->seen = l->c->round;
    return ERR_OK;
}

static enum err list_tenant(void *arg, const char *tenant)
{
    struct lister *l = arg;
    l->tenant = tenant;
    enum err e = l->c->backend->ops->blocks(l->c->backend, tenant, list_block, l);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static void link_lineage(struct catalog *c)
{
    struct catalog_block *b, *next;
    HASH_ITER (hh, c->blocks, b, next) {
        b->successor = NULL;
        b->has_inputs = false;
    }
    HASH_ITER (hh, c->blocks, b, next)
        for (uint32_t i = 0; i < b->lineage.from_count; i++) {
            struct catalog_block *input = catalog_find(c, b->meta.tenant, b->lineage.from[i].id);
            if (input == NULL || input == b)
                continue;
            input->successor = b;
            b->has_inputs = true;
        }
}

enum err catalog_refresh(struct catalog *c)
{
    struct lister l = {.c = c};
    struct catalog_block *b, *next;
    c->round++;
    c->unreadable = 0;
    enum err e = c->backend->ops->tenants(c->backend, list_tenant, &l);
    if (e == ERR_OK)
        HASH_ITER (hh, c->blocks, b, next) {
            if (b->seen != c->round)
                drop(c, b);
        }
    link_lineage(c);
    return e;
}

/* --- choosing --- */

static bool is_candidate(const struct catalog_block *b, const char *tenant)
{
    return strcmp(b->meta.tenant, tenant) == 0 && b->successor == NULL && !b->has_inputs &&
           !b->is_stuck && b->lineage.level == 0 &&
           b->meta.part_lsn == 0; /* a start may need to know how much of that frame is here */
}

static uint64_t window_of(const struct catalog_block *b, const struct catalog_rules *r)
{
    return b->meta.max_end_ns / r->window_ns;
}

/* Over for a window's length: what belongs to it has come, and no query is still under way that began before one of these blocks was there. */
static bool is_ripe(const struct catalog_block *b, const struct catalog_rules *r)
{
    uint64_t now = r->now_ns / r->window_ns;
    return now >= 2 && window_of(b, r) <= now - 2 && b->meta.created_ns <= r->now_ns &&
           r->now_ns - b->meta.created_ns >= r->window_ns;
}

static int compare_blocks(const void *a, const void *b)
{
    const struct catalog_block *const *x = a, *const *y = b;
    if ((*x)->meta.min_start_ns != (*y)->meta.min_start_ns)
        return (*x)->meta.min_start_ns < (*y)->meta.min_start_ns ? -1 : 1;
    return strcmp((*x)->meta.id, (*y)->meta.id);
}

/* All ripe candidates; heap. */
static struct catalog_block **ripe_blocks(const struct catalog *c, const char *tenant,
                                          const struct catalog_rules *r, uint32_t *ret_count)
{
    struct catalog_block **list = calloc(HASH_COUNT(c->blocks) + 1, sizeof(struct catalog_block *));
    struct catalog_block *b, *next;
    uint32_t n = 0;
    HASH_ITER (hh, c->blocks, b, next) {
        if (list != NULL && is_candidate(b, tenant) && is_ripe(b, r))
            list[n++] = b;
    }
    *ret_count = n;
    return list;
}

/* Whether a window's blocks had better wait for those that have just come to it; many do not. */
static bool is_waiting(const struct catalog *c, const char *tenant, const struct catalog_rules *r,
                       uint64_t window)
{
    struct catalog_block *b, *next;
    uint32_t ripe = 0, young = 0;
    HASH_ITER (hh, c->blocks, b, next) {
        if (!is_candidate(b, tenant) || window_of(b, r) != window)
            continue;
        if (is_ripe(b, r))
            ripe++;
        else
            young++;
    }
    return young != 0 && ripe < r->inputs_max;
}

static bool fill_job(struct catalog_block *const *list, uint32_t n, uint64_t window,
                     const struct catalog_rules *r, struct catalog_job *job)
{
    uint64_t traces = 0, bytes = 0, flagged = 0;
    job->input_count = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct catalog_block *b = list[i];
        if (window_of(b, r) != window)
            continue;
        bool is_full = job->input_count == r->inputs_max ||
                       traces + b->meta.trace_count > r->traces_max ||
                       bytes + b->meta.bytes > r->bytes_max;
        if (is_full && job->input_count > 1)
            break;
        if (is_full) /* the one before is too large for company */
            job->input_count = 0, traces = bytes = flagged = 0;
        job->inputs[job->input_count++] = b;
        traces += b->meta.trace_count;
        bytes += b->meta.bytes;
        flagged += b->meta.flagged_count;
    }
    return job->input_count > 1 ||
           (job->input_count == 1 && flagged != 0 && traces <= r->traces_max);
}

bool catalog_next_job(const struct catalog *c, const char *tenant, const struct catalog_rules *r,
                      struct catalog_job *ret)
{
    assert(r->inputs_max > 1 && r->inputs_max <= BLOCK_LINEAGE_FROM_MAX && r->window_ns > 0);
    uint32_t n;
    struct catalog_block **list = ripe_blocks(c, tenant, r, &n);
    bool is_found = false;
    uint64_t after = 0;
    if (n > 1)
        qsort(list, n, sizeof *list, compare_blocks);
    while (!is_found) { /* windows in ascending order */
        uint64_t window = UINT64_MAX;
        for (uint32_t i = 0; i < n; i++)
            if (window_of(list[i], r) >= after && window_of(list[i], r) < window)
                window = window_of(list[i], r);
        if (window == UINT64_MAX)
            break;
        is_found = !is_waiting(c, tenant, r, window) && fill_job(list, n, window, r, ret);
        after = window + 1;
    }
    free(list);
    return is_found;
}

uint32_t catalog_outstanding(const struct catalog *c, const char *tenant)
{
    struct catalog_block *b, *next;
    uint32_t n = 0;
    HASH_ITER (hh, c->blocks, b, next)
        n += is_candidate(b, tenant);
    return n;
}

uint32_t catalog_damaged(const struct catalog *c)
{
    struct catalog_block *b, *next;
    uint32_t n = 0;
    HASH_ITER (hh, c->blocks, b, next)
        n += b->is_damaged;
    return n;
}

bool catalog_has_others(const struct catalog *c, const char *self)
{
    struct catalog_block *b, *next;
    HASH_ITER (hh, c->blocks, b, next) {
        if (b->lineage.level == 0 && strcmp(b->meta.writer, self) != 0)
            return true;
        for (uint32_t i = 0; i < b->lineage.holds_count; i++)
            if (strcmp(b->lineage.holds[i].writer, self) != 0)
                return true;
    }
    return false;
}

static uint64_t weight(const struct catalog_job *job, const char *instance)
{
    return hash_with(slice_str(job->inputs[0]->key), hash_plain(slice_str(instance)));
}

bool catalog_is_owner(const struct catalog *c, const struct catalog_job *job, const char *self,
                      uint64_t since_ns)
{
    uint64_t own = weight(job, self);
    struct catalog_block *b, *next;
    HASH_ITER (hh, c->blocks, b, next) {
        if (b->lineage.level != 0 || b->meta.created_ns < since_ns ||
            strcmp(b->meta.writer, self) == 0)
            continue;
        if (weight(job, b->meta.writer) > own)
            return false;
    }
    return true;
}
