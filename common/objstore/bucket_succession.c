/* Which blocks of a tenant are in sight: not removed, not merged into another, no merge that lost against another (succession.h). */
#include "common/objstore/backend_bucket_priv.h"

#include <stdio.h>
#include <stdlib.h>

struct presence {
    struct backend_bucket *b;
    const char *tenant;
};

static bool is_out(struct backend_bucket *b, const char *tenant, const char *id)
{
    const struct manifest_gone *g = bucket_views_find_gone(b, tenant, id);

    return g != NULL && g->why != MANIFEST_REPLACED;
}

static bool is_there(void *arg, const char *id)
{
    struct presence *p = arg;
    char key[sizeof((struct stray *)0)->key];
    struct stray *s;

    if (is_out(p->b, p->tenant, id))
        return false;
    (void)snprintf(key, sizeof key, "%s/%s", p->tenant, id);
    HASH_FIND_STR(p->b->strays, key, s);
    return s != NULL || bucket_views_has(p->b, p->tenant, id);
}

static int heir_id_cmp(const void *a, const void *b)
{
    const struct heir *x = a, *y = b;
    int c = strcmp(x->id, y->id);

    return c != 0 ? c : x->since_ns < y->since_ns ? -1 : x->since_ns > y->since_ns;
}

/* Two that did the same job published one block. */
static uint32_t drop_twins(struct heir *heirs, uint32_t count)
{
    uint32_t kept = 0;

    if (count > 1)
        qsort(heirs, count, sizeof *heirs, heir_id_cmp);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(heirs[kept - 1].id, heirs[i].id) != 0)
            heirs[kept++] = heirs[i];
    return kept;
}

static bool stray_is_of(const struct stray *s, const char *tenant)
{
    size_t len = strlen(tenant);

    return strncmp(s->key, tenant, len) == 0 && s->key[len] == '/';
}

enum err bucket_succession_make(struct backend_bucket *b, const char *tenant, struct arena *a,
                                struct succession *ret)
{
    struct presence p = {b, tenant};
    struct view *v, *next;
    struct stray *s, *s_next;
    uint32_t max = HASH_COUNT(b->strays), n = 0;

    HASH_ITER (hh, b->views, v, next)
        max += bucket_views_is_of(v, tenant) ? v->heir_count : 0;
    struct heir *heirs = ARENA_ARRAY(a, struct heir, max);
    if (heirs == NULL && max > 0)
        return arena_err(a);
    HASH_ITER (hh, b->views, v, next)
        for (uint32_t i = 0; bucket_views_is_of(v, tenant) && i < v->heir_count; i++)
            if (!is_out(b, tenant, v->heirs[i].id))
                heirs[n++] = v->heirs[i];
    HASH_ITER (hh, b->strays, s, s_next)
        if (s->lineage.from_count > 0 && stray_is_of(s, tenant) &&
            !is_out(b, tenant, s->key + strlen(tenant) + 1))
            heirs[n++] = (struct heir){.id = s->key + strlen(tenant) + 1,
                                       .since_ns = s->lineage.compacted_ns,
                                       .from = s->lineage.from,
                                       .from_count = s->lineage.from_count};
    return succession_resolve(heirs, drop_twins(heirs, n), is_there, &p, a, ret);
}

enum bucket_sight bucket_succession_sight(struct backend_bucket *b, const char *tenant,
                                          const struct succession *s, const char *id,
                                          uint64_t *ret_since_ns)
{
    const struct manifest_gone *g = bucket_views_find_gone(b, tenant, id);
    bool is_claimed;

    if (g != NULL && g->why != MANIFEST_REPLACED)
        return SIGHT_OUT;
    const struct heir *heir = succession_find(s, id, &is_claimed);
    *ret_since_ns = heir != NULL ? heir->since_ns : 0;
    /* That a manifest calls it replaced is not enough: it may be said by who lost against another. */
    if (heir != NULL || succession_is_rejected(s, id))
        return SIGHT_REPLACED;
    return SIGHT_IN;
}

/* --- since when this process has seen them replaced --- */

static void hidden_key(const char *tenant, const char *id, char ret[])
{
    (void)snprintf(ret, sizeof((struct hidden *)0)->key, "%s/%s", tenant, id);
}

uint64_t bucket_succession_hidden_since(struct backend_bucket *b, const char *tenant,
                                        const struct succession *s, const char *id)
{
    struct hidden *h, key = {.since_ns = 0};
    bool is_claimed;
    const struct heir *heir = succession_find(s, id, &is_claimed);

    hidden_key(tenant, id, key.key);
    (void)snprintf(key.heir, sizeof key.heir, "%s", heir != NULL ? heir->id : "");
    key.since_ns = (uint64_t)clock_wall_ns(b->o.clock);
    HASH_FIND_STR(b->hidden, key.key, h);
    if (h == NULL) {
        h = calloc(1, sizeof *h);
        if (h == NULL)
            return UINT64_MAX; /* not removed this time */
        *h = key;
        HASH_ADD_STR(b->hidden, key, h);
        if (h->hh.tbl == NULL) {
            free(h);
            return UINT64_MAX;
        }
    }
    if (strcmp(h->heir, key.heir) != 0) {
        memcpy(h->heir, key.heir, sizeof h->heir);
        h->since_ns = key.since_ns;
    }
    return h->since_ns;
}

void bucket_succession_not_hidden(struct backend_bucket *b, const char *tenant, const char *id)
{
    struct hidden *h, key = {.since_ns = 0};

    hidden_key(tenant, id, key.key);
    HASH_FIND_STR(b->hidden, key.key, h);
    if (h != NULL) {
        HASH_DEL(b->hidden, h);
        free(h);
    }
}

void bucket_succession_free(struct backend_bucket *b)
{
    struct hidden *h, *next;

    HASH_ITER (hh, b->hidden, h, next) {
        HASH_DEL(b->hidden, h);
        free(h);
    }
}
