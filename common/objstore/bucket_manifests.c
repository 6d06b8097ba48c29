/* Which blocks there are: everybody's manifests are read again, and their blocks listed. */
#include "common/objstore/backend_bucket_priv.h"

#include <stdio.h>
#include <stdlib.h>

/* Set while `tenants` calls back on this thread: its refresh serves the listings of blocks below it. */
static __thread const struct backend_bucket *walking;

struct refresh {
    struct backend_bucket *b;
    const char *tenant; /* NULL: all */
    uint64_t no;
    bool is_hard; /* what a listing says of a manifest that is known is not believed */
    bool has_damage;
};

static enum err on_manifest(void *arg, const struct bucket_entry *entry)
{
    struct refresh *r = arg;
    const char *key = entry->key + strlen(MANIFESTS_PREFIX), *slash = strchr(key, '/');
    char tenant[TENANT_BYTES];

    if (slash == NULL || slash[1] == '\0' || (size_t)(slash - key) >= sizeof tenant ||
        strlen(entry->etag) >= ETAG_BYTES)
        return ERR_OK; /* not one of ours */
    (void)snprintf(tenant, sizeof tenant, "%.*s", (int)(slash - key), key);
    if (!bucket_names_is_tenant(tenant))
        return ERR_OK;
    mutex_lock(&r->b->lock);
    struct view *v = bucket_views_find(r->b, key);
    bool is_current =
        v != NULL && (bucket_views_is_own(r->b, v) ||
                      (!r->is_hard && entry->etag[0] != '\0' && strcmp(v->etag, entry->etag) == 0));
    if (v != NULL && is_current)
        v->seen = r->no;
    mutex_unlock(&r->b->lock);
    if (is_current)
        return ERR_OK;
    enum err e = bucket_views_load(r->b, key, entry->etag, r->no);
    if (e == ERR_CORRUPT || e == ERR_UNSUPPORTED) {
        r->has_damage = true;
        e = ERR_OK;
    }
    return e == ERR_NOT_FOUND ? ERR_OK : e; /* it went away meanwhile */
}

/* The key of a manifest that is known, but that the listing did not have. */
static bool next_unseen(struct refresh *r, char ret[2 * BUCKET_KEY_BYTES_MAX])
{
    struct view *v, *next;
    bool found = false;

    mutex_lock(&r->b->lock);
    HASH_ITER (hh, r->b->views, v, next) {
        bool is_mine = r->tenant == NULL || bucket_views_is_of(v, r->tenant);
        if (found || !is_mine || v->seen == r->no)
            continue;
        v->seen = r->no;
        found = !bucket_views_is_own(r->b, v);
        (void)snprintf(ret, 2 * BUCKET_KEY_BYTES_MAX, "%s", v->key);
    }
    mutex_unlock(&r->b->lock);
    return found;
}

/* Gone, or only not listed yet: a listing may be old. */
static enum err check_unseen(struct refresh *r)
{
    char key[2 * BUCKET_KEY_BYTES_MAX];
    enum err e = ERR_OK;

    while (e == ERR_OK && next_unseen(r, key)) {
        e = bucket_views_load(r->b, key, "", r->no);
        if (e == ERR_NOT_FOUND) {
            mutex_lock(&r->b->lock);
            struct view *v = bucket_views_find(r->b, key);
            if (v != NULL)
                bucket_views_drop(r->b, v);
            mutex_unlock(&r->b->lock);
        }
        if (e == ERR_NOT_FOUND || e == ERR_CORRUPT || e == ERR_UNSUPPORTED)
            e = ERR_OK;
    }
    return e;
}

enum err bucket_manifests_refresh(struct backend_bucket *b, const char *tenant, bool is_hard)
{
    struct refresh r = {.b = b, .tenant = tenant, .is_hard = is_hard};
    char prefix[TENANT_BYTES + sizeof MANIFESTS_PREFIX + 1];

    (void)snprintf(prefix, sizeof prefix, MANIFESTS_PREFIX "%s%s", tenant != NULL ? tenant : "",
                   tenant != NULL ? "/" : "");
    mutex_lock(&b->reading);
    mutex_lock(&b->lock);
    r.no = ++b->refresh_no;
    mutex_unlock(&b->lock);
    enum err e = b->o.bucket->ops->list(b->o.bucket, prefix, true, on_manifest, &r);
    if (e == ERR_OK)
        e = check_unseen(&r);
    if (e == ERR_OK && (tenant == NULL || r.has_damage))
        e = bucket_strays_look(b, r.has_damage);
    mutex_unlock(&b->reading);
    return e;
}

/* --- listings --- */

struct names {
    char (*list)[TENANT_BYTES];
    uint32_t count, cap;
    enum err err;
};

static void names_add(struct names *n, const char *name)
{
    if (n->count == n->cap && n->err == ERR_OK) {
        uint32_t cap = n->cap == 0 ? 64 : 2 * n->cap;
        void *list = realloc(n->list, cap * sizeof *n->list);
        if (list == NULL) {
            n->err = ERR_NOMEM;
        } else {
            n->list = list;
            n->cap = cap;
        }
    }
    if (n->err == ERR_OK)
        (void)snprintf(n->list[n->count++], sizeof *n->list, "%s", name);
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Calls `fn` with each name once, ascending, without locks. */
static enum err names_give(struct names *n, backend_name_fn *fn, void *arg)
{
    enum err e = n->err;

    if (n->count > 1)
        qsort(n->list, n->count, sizeof *n->list, name_cmp);
    for (uint32_t i = 0; i < n->count && e == ERR_OK; i++)
        if (i == 0 || strcmp(n->list[i], n->list[i - 1]) != 0)
            e = fn(arg, n->list[i]);
    free(n->list);
    return e;
}

enum err bucket_manifests_tenants(struct backend_bucket *b, backend_name_fn *fn, void *arg)
{
    struct names names = {0};
    struct view *v, *next;
    struct stray *s, *s_next;
    enum err e = ERR_OK;

    if (b->o.writer != NULL) {
        mutex_lock(&b->writing);
        e = bucket_changes_take_up(b);
        mutex_unlock(&b->writing);
    }
    if (e == ERR_OK)
        e = bucket_manifests_refresh(b, NULL, false);
    if (e != ERR_OK)
        return e;
    mutex_lock(&b->lock);
    HASH_ITER (hh, b->views, v, next) {
        char tenant[TENANT_BYTES];
        (void)snprintf(tenant, sizeof tenant, SLICE_FMT, SLICE_ARG(v->manifest.tenant));
        if (v->manifest.entry_count > 0)
            names_add(&names, tenant);
    }
    HASH_ITER (hh, b->strays, s, s_next) {
        char tenant[TENANT_BYTES];
        (void)snprintf(tenant, sizeof tenant, "%.*s", (int)(strchr(s->key, '/') - s->key), s->key);
        names_add(&names, tenant);
    }
    mutex_unlock(&b->lock);
    const struct backend_bucket *outer = walking;
    walking = b;
    e = names_give(&names, fn, arg);
    walking = outer;
    return e;
}

/* With the lock held: every block of the tenant that some manifest has, or a folder alone. */
static void names_all(struct backend_bucket *b, const char *tenant, struct names *names)
{
    struct view *v, *next;
    struct stray *s, *s_next;
    size_t len = strlen(tenant);

    HASH_ITER (hh, b->views, v, next)
        for (uint32_t i = 0; bucket_views_is_of(v, tenant) && i < v->manifest.entry_count; i++)
            names_add(names, v->manifest.entries[i].id);
    HASH_ITER (hh, b->strays, s, s_next)
        if (strncmp(s->key, tenant, len) == 0 && s->key[len] == '/')
            names_add(names, s->key + len + 1);
    if (names->count > 1)
        qsort(names->list, names->count, sizeof *names->list, name_cmp);
}

enum err bucket_manifests_blocks(struct backend_bucket *b, const char *tenant, backend_name_fn *fn,
                                 void *arg)
{
    struct names names = {0};
    struct succession s;
    struct arena a;
    uint32_t kept = 0;
    uint64_t since;
    enum err e = walking == b ? ERR_OK : bucket_manifests_refresh(b, tenant, true);

    if (e != ERR_OK)
        return e;
    arena_init(&a, NULL);
    mutex_lock(&b->lock);
    e = bucket_succession_make(b, tenant, &a, &s);
    if (e == ERR_OK)
        names_all(b, tenant, &names);
    for (uint32_t i = 0; i < names.count; i++)
        if (bucket_succession_sight(b, tenant, &s, names.list[i], &since) == SIGHT_IN)
            memmove(names.list[kept++], names.list[i], sizeof *names.list);
    names.count = kept;
    mutex_unlock(&b->lock);
    arena_release(&a);
    names.err = names.err == ERR_OK ? e : names.err;
    return names_give(&names, fn, arg);
}

enum err bucket_manifests_check(struct backend_bucket *b, const char *tenant, const char *heir,
                                const char *const *ids, uint32_t count)
{
    struct succession s;
    struct arena a;
    bool is_free = true, is_claimed;
    uint64_t since;
    enum err e = bucket_manifests_refresh(b, tenant, true);

    if (e != ERR_OK)
        return e;
    arena_init(&a, NULL);
    mutex_lock(&b->lock);
    e = bucket_succession_make(b, tenant, &a, &s);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        const struct heir *other = succession_find(&s, ids[i], &is_claimed);
        is_free &= bucket_succession_sight(b, tenant, &s, ids[i], &since) != SIGHT_OUT &&
                   (other == NULL || strcmp(other->id, heir) == 0);
    }
    mutex_unlock(&b->lock);
    arena_release(&a);
    return e != ERR_OK ? e : is_free ? ERR_OK : ERR_CONFLICT;
}

struct removable {
    char id[TENANT_BYTES];
    uint64_t since_ns;
};

/* With the lock held; `list` has room for all names. */
static uint32_t removable_of(struct backend_bucket *b, const char *tenant,
                             const struct succession *s, const struct names *names,
                             struct removable *list)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < names->count; i++) {
        const char *id = names->list[i];
        uint64_t since = 0;
        if (bucket_succession_sight(b, tenant, s, id, &since) != SIGHT_REPLACED) {
            bucket_succession_not_hidden(b, tenant, id);
            continue;
        }
        uint64_t seen = bucket_succession_hidden_since(b, tenant, s, id);
        memcpy(list[n].id, id, sizeof list[n].id);
        list[n++].since_ns = since > seen ? since : seen;
    }
    return n;
}

enum err bucket_manifests_replaced(struct backend_bucket *b, const char *tenant,
                                   backend_replaced_fn *fn, void *arg)
{
    struct names names = {0};
    struct succession s;
    struct arena a;
    uint32_t n = 0;
    enum err e = bucket_manifests_refresh(b, tenant, true);

    if (e != ERR_OK)
        return e;
    arena_init(&a, NULL);
    mutex_lock(&b->lock);
    names_all(b, tenant, &names);
    e = names.err;
    struct removable *list = ARENA_ARRAY(&a, struct removable, names.count);
    if (e == ERR_OK)
        e = bucket_succession_make(b, tenant, &a, &s);
    if (e == ERR_OK)
        e = arena_err(&a);
    if (e == ERR_OK)
        n = removable_of(b, tenant, &s, &names, list);
    mutex_unlock(&b->lock);
    free(names.list);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        if (i == 0 || strcmp(list[i].id, list[i - 1].id) != 0)
            e = fn(arg, list[i].id, list[i].since_ns);
    arena_release(&a);
    return e;
}
