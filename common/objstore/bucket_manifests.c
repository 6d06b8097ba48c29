/* Which blocks there are: everybody's manifests as read, our own as written. */
#include "common/objstore/backend_bucket_priv.h"
#include "common/objstore/s3_sign.h"
#include "common/store/block.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define STRAYS_EVERY_NS (15 * 60 * NS_PER_S)

/* Set while `tenants` calls back on this thread: its refresh serves the listings of blocks below it. */
static __thread const struct backend_bucket *walking;

/* --- names --- */

bool bucket_manifests_is_tenant(const char *name)
{
    size_t n = strnlen(name, TENANT_BYTES);

    if (n == 0 || n >= TENANT_BYTES || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && strchr("!-_.*'()", c) == NULL)
            return false;
    }
    return true;
}

bool bucket_manifests_is_id(const char *name)
{
    if (strnlen(name, MANIFEST_ID_BYTES + 1) != MANIFEST_ID_BYTES)
        return false;
    for (int i = 0; i < MANIFEST_ID_BYTES; i++) {
        char c = name[i];
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

enum err bucket_manifests_key(const char *tenant, const char *id, const char *file,
                              char ret[BUCKET_KEY_BYTES_MAX])
{
    if (!bucket_manifests_is_tenant(tenant) || !bucket_manifests_is_id(id))
        return ERR_INVALID;
    return (size_t)snprintf(ret, BUCKET_KEY_BYTES_MAX, "%s/%s/%s", tenant, id, file) <
                   BUCKET_KEY_BYTES_MAX
               ? ERR_OK
               : ERR_TOO_LARGE;
}

/* "tenant/writer" of our own manifest: what stands behind MANIFESTS_PREFIX. */
static enum err own_key(const struct backend_bucket *b, const char *tenant,
                        char ret[BUCKET_KEY_BYTES_MAX])
{
    struct arena a;

    arena_init(&a, NULL);
    const char *writer = s3_sign_encode(&a, slice_str(b->writer), false);
    enum err e = arena_err(&a);
    if (e == ERR_OK)
        (void)snprintf(ret, BUCKET_KEY_BYTES_MAX, "%s/%s", tenant, writer);
    arena_release(&a);
    return e;
}

static bool is_of(const struct view *v, const char *tenant)
{
    return slice_eq_str(v->manifest.tenant, tenant);
}

static bool is_own(const struct backend_bucket *b, const struct view *v)
{
    return b->o.writer != NULL && slice_eq_str(v->manifest.writer, b->writer);
}

/* --- the table.  With `lock` held --- */

static struct view *view_find(struct backend_bucket *b, const char *key)
{
    struct view *v;

    HASH_FIND_STR(b->views, key, v);
    return v;
}

static void view_free(struct view *v)
{
    if (v == NULL)
        return;
    arena_release(&v->arena);
    free(v);
}

static void view_drop(struct backend_bucket *b, struct view *v)
{
    HASH_DEL(b->views, v);
    view_free(v);
}

/* Takes the view; an older version of a manifest than the one that is known is nothing new. */
static enum err view_enter(struct backend_bucket *b, struct view *v)
{
    struct view *old = view_find(b, v->key);

    if (old != NULL && old->manifest.number > v->manifest.number) {
        old->seen = v->seen;
        view_free(v);
        return ERR_OK;
    }
    if (old != NULL)
        view_drop(b, old);
    HASH_ADD_STR(b->views, key, v);
    if (v->hh.tbl != NULL)
        return ERR_OK;
    view_free(v);
    return ERR_NOMEM;
}

static const struct manifest_entry *entry_find(struct backend_bucket *b, const char *tenant,
                                               const char *id)
{
    const struct manifest_entry *found = NULL;
    struct view *v, *next;

    HASH_ITER (hh, b->views, v, next)
        if (found == NULL && is_of(v, tenant))
            found = manifest_find(&v->manifest, id);
    return found;
}

/* The strongest that any manifest says of a block: removed, quarantined, replaced; NULL: nothing. */
static struct manifest_gone *gone_find(struct backend_bucket *b, const char *tenant, const char *id)
{
    struct manifest_gone *found = NULL;
    struct view *v, *next;

    HASH_ITER (hh, b->views, v, next) {
        struct manifest_gone *g = is_of(v, tenant) ? manifest_find_gone(&v->manifest, id) : NULL;
        if (g != NULL && (found == NULL || found->why == MANIFEST_REPLACED))
            found = g;
    }
    return found;
}

static bool is_known(struct backend_bucket *b, const char *tenant, const char *id)
{
    mutex_lock(&b->lock);
    bool is = entry_find(b, tenant, id) != NULL || gone_find(b, tenant, id) != NULL;
    mutex_unlock(&b->lock);
    return is;
}

bool bucket_manifests_is_removed(struct backend_bucket *b, const char *tenant, const char *id)
{
    mutex_lock(&b->lock);
    const struct manifest_gone *g = gone_find(b, tenant, id);
    bool is = g != NULL && g->why == MANIFEST_REMOVED;
    mutex_unlock(&b->lock);
    return is;
}

enum err bucket_manifests_meta(struct backend_bucket *b, const char *tenant, const char *id,
                               struct buf *ret, uint32_t *ret_tail)
{
    mutex_lock(&b->lock);
    const struct manifest_entry *e = entry_find(b, tenant, id);
    if (e != NULL) {
        buf_append(ret, e->meta_json);
        *ret_tail = e->tail_bytes;
    }
    mutex_unlock(&b->lock);
    return e != NULL ? buf_err(ret) : ERR_NOT_FOUND;
}

/* --- reading --- */

static enum err view_parse(struct backend_bucket *b, struct slice bytes, struct view *v)
{
    const char *slash = strchr(v->key, '/');

    arena_init(&v->arena, b->o.memory);
    enum err e = manifest_decode(bytes, &v->arena, &v->manifest);
    if (e != ERR_OK)
        return e;
    struct slice tenant = {(const uint8_t *)v->key, (size_t)(slash - v->key)};
    return slice_eq(v->manifest.tenant, tenant) ? ERR_OK : ERR_CORRUPT; /* copied from elsewhere */
}

/* Reads one manifest into the table.  Errors: ERR_CORRUPT, ERR_UNSUPPORTED it says nothing; what was known stays. */
static enum err view_load(struct backend_bucket *b, const char *key, const char *etag, uint64_t no)
{
    char object[BUCKET_KEY_BYTES_MAX + sizeof MANIFESTS_PREFIX];
    struct view *v = calloc(1, sizeof *v);
    struct buf bytes;

    if (v == NULL)
        return ERR_NOMEM;
    (void)snprintf(object, sizeof object, MANIFESTS_PREFIX "%s", key);
    (void)snprintf(v->key, sizeof v->key, "%s", key);
    (void)snprintf(v->etag, sizeof v->etag, "%s", etag);
    v->seen = no;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    enum err e = b->o.bucket->ops->get_all(b->o.bucket, object, &bytes);
    if (e == ERR_OK)
        e = view_parse(b, buf_slice(&bytes), v);
    buf_release(&bytes);
    if (e != ERR_OK) {
        view_free(v);
        if (e == ERR_CORRUPT || e == ERR_UNSUPPORTED)
            metric_inc(b->metrics.manifests_damaged);
        return e;
    }
    mutex_lock(&b->lock);
    e = view_enter(b, v);
    mutex_unlock(&b->lock);
    return e;
}

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
    if (!bucket_manifests_is_tenant(tenant))
        return ERR_OK;
    mutex_lock(&r->b->lock);
    struct view *v = view_find(r->b, key);
    bool is_current = v != NULL && (is_own(r->b, v) || (!r->is_hard && entry->etag[0] != '\0' &&
                                                        strcmp(v->etag, entry->etag) == 0));
    if (v != NULL && is_current)
        v->seen = r->no;
    mutex_unlock(&r->b->lock);
    if (is_current)
        return ERR_OK;
    enum err e = view_load(r->b, key, entry->etag, r->no);
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
        bool is_mine = r->tenant == NULL || is_of(v, r->tenant);
        if (found || !is_mine || v->seen == r->no)
            continue;
        v->seen = r->no;
        found = !is_own(r->b, v);
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
        e = view_load(r->b, key, "", r->no);
        if (e == ERR_NOT_FOUND) {
            mutex_lock(&r->b->lock);
            struct view *v = view_find(r->b, key);
            if (v != NULL)
                view_drop(r->b, v);
            mutex_unlock(&r->b->lock);
        }
        if (e == ERR_NOT_FOUND || e == ERR_CORRUPT || e == ERR_UNSUPPORTED)
            e = ERR_OK;
    }
    return e;
}

/* --- blocks that no manifest names --- */

typedef enum err loose_fn(void *arg, const char *tenant, const struct block_meta *meta,
                          struct slice json);
struct loose {
    struct backend_bucket *b;
    char tenant[TENANT_BYTES];
    loose_fn *fn;
    void *arg;
};

static enum err on_block_folder(void *arg, const struct bucket_entry *entry)
{
    struct loose *l = arg;
    char id[MANIFEST_ID_BYTES + 2] = "", key[BUCKET_KEY_BYTES_MAX];
    const char *name = entry->key + strlen(l->tenant) + 1;
    struct block_meta meta;
    struct buf json;

    if (strlen(name) != MANIFEST_ID_BYTES + 1 || name[MANIFEST_ID_BYTES] != '/')
        return ERR_OK;
    memcpy(id, name, MANIFEST_ID_BYTES);
    if (!bucket_manifests_is_id(id) || is_known(l->b, l->tenant, id))
        return ERR_OK;
    enum err e = bucket_manifests_key(l->tenant, id, META_NAME, key);
    buf_init(&json, META_BYTES_MAX);
    if (e == ERR_OK)
        e = l->b->o.bucket->ops->get_all(l->b->o.bucket, key, &json);
    if (e == ERR_OK && block_meta_from_json(buf_slice(&json), &meta, NULL) == ERR_OK &&
        strcmp(meta.id, id) == 0 && strcmp(meta.tenant, l->tenant) == 0)
        e = l->fn(l->arg, l->tenant, &meta, buf_slice(&json));
    buf_release(&json);
    return e == ERR_NOT_FOUND ? ERR_OK : e; /* on its way here, or on its way out */
}

static enum err on_tenant_folder(void *arg, const struct bucket_entry *entry)
{
    struct loose *l = arg;
    char prefix[TENANT_BYTES + 2];
    size_t len = strlen(entry->key);

    if (len < 2 || len > TENANT_BYTES || entry->key[len - 1] != '/')
        return ERR_OK;
    (void)snprintf(l->tenant, sizeof l->tenant, "%.*s", (int)(len - 1), entry->key);
    (void)snprintf(prefix, sizeof prefix, "%s/", l->tenant);
    return bucket_manifests_is_tenant(l->tenant)
               ? l->b->o.bucket->ops->list(l->b->o.bucket, prefix, false, on_block_folder, l)
               : ERR_OK;
}

static enum err loose_walk(struct backend_bucket *b, loose_fn *fn, void *arg)
{
    struct loose l = {.b = b, .fn = fn, .arg = arg};

    return b->o.bucket->ops->list(b->o.bucket, "", false, on_tenant_folder, &l);
}

struct stray_search {
    struct backend_bucket *b;
    uint64_t before_ns;
};

static enum err on_stray(void *arg, const char *tenant, const struct block_meta *meta,
                         struct slice json)
{
    struct stray_search *s = arg;
    struct stray *known, *stray = calloc(1, sizeof *stray);

    (void)json;
    if (stray == NULL || meta->created_ns >= s->before_ns) {
        bool is_out = stray == NULL;
        free(stray);
        return is_out ? ERR_NOMEM : ERR_OK; /* its writer may be about to name it */
    }
    (void)snprintf(stray->key, sizeof stray->key, "%s/%s", tenant, meta->id);
    mutex_lock(&s->b->lock);
    HASH_FIND_STR(s->b->strays, stray->key, known);
    if (known == NULL) {
        HASH_ADD_STR(s->b->strays, key, stray);
        if (stray->hh.tbl != NULL)
            stray = NULL;
    }
    mutex_unlock(&s->b->lock);
    free(stray);
    return ERR_OK;
}

static void strays_forget(struct backend_bucket *b)
{
    struct stray *s, *next;

    mutex_lock(&b->lock);
    HASH_ITER (hh, b->strays, s, next) {
        HASH_DEL(b->strays, s);
        free(s);
    }
    mutex_unlock(&b->lock);
}

/* Now and then; at once where there are no manifests, or damaged ones, whose blocks are then found by their folders. */
static enum err look_for_strays(struct refresh *r)
{
    struct backend_bucket *b = r->b;
    int64_t now = clock_mono_ns(b->o.clock), wall = clock_wall_ns(b->o.clock);
    struct stray_search s = {.b = b, .before_ns = (uint64_t)(wall - BACKEND_BUCKET_STRAY_NS)};

    mutex_lock(&b->lock);
    bool is_empty = b->views == NULL;
    mutex_unlock(&b->lock);
    if (b->strays_ns == 0 && !is_empty)
        b->strays_ns = now;
    if (!r->has_damage && !is_empty && now - b->strays_ns < STRAYS_EVERY_NS)
        return ERR_OK;
    if (r->has_damage)
        s.before_ns = UINT64_MAX;
    b->strays_ns = now;
    strays_forget(b);
    return loose_walk(b, on_stray, &s);
}

static enum err refresh(struct backend_bucket *b, const char *tenant, bool is_hard)
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
        e = look_for_strays(&r);
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
        e = bucket_manifests_take_up(b);
        mutex_unlock(&b->writing);
    }
    if (e == ERR_OK)
        e = refresh(b, NULL, false);
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

enum err bucket_manifests_blocks(struct backend_bucket *b, const char *tenant, backend_name_fn *fn,
                                 void *arg)
{
    struct names names = {0};
    struct view *v, *next;
    struct stray *s, *s_next;
    size_t len = strlen(tenant);
    enum err e = walking == b ? ERR_OK : refresh(b, tenant, true);

    if (e != ERR_OK)
        return e;
    mutex_lock(&b->lock);
    HASH_ITER (hh, b->views, v, next)
        for (uint32_t i = 0; is_of(v, tenant) && i < v->manifest.entry_count; i++)
            if (gone_find(b, tenant, v->manifest.entries[i].id) == NULL)
                names_add(&names, v->manifest.entries[i].id);
    HASH_ITER (hh, b->strays, s, s_next)
        if (strncmp(s->key, tenant, len) == 0 && s->key[len] == '/' &&
            gone_find(b, tenant, s->key + len + 1) == NULL)
            names_add(&names, s->key + len + 1);
    mutex_unlock(&b->lock);
    return names_give(&names, fn, arg);
}

enum err bucket_manifests_gone(struct backend_bucket *b, const char *tenant, enum manifest_why why,
                               backend_replaced_fn *fn, void *arg)
{
    struct names names = {0};
    struct view *v, *next;
    enum err e = refresh(b, tenant, false);

    if (e != ERR_OK)
        return e;
    mutex_lock(&b->lock);
    HASH_ITER (hh, b->views, v, next)
        for (uint32_t i = 0; is_of(v, tenant) && i < v->manifest.gone_count; i++)
            if (gone_find(b, tenant, v->manifest.gone[i].id)->why == why)
                names_add(&names, v->manifest.gone[i].id);
    mutex_unlock(&b->lock);
    e = names.err;
    if (names.count > 1)
        qsort(names.list, names.count, sizeof *names.list, name_cmp);
    for (uint32_t i = 0; i < names.count && e == ERR_OK; i++) {
        if (i > 0 && strcmp(names.list[i], names.list[i - 1]) == 0)
            continue;
        mutex_lock(&b->lock);
        const struct manifest_gone *g = gone_find(b, tenant, names.list[i]);
        uint64_t when = g != NULL ? g->when_ns : 0;
        mutex_unlock(&b->lock);
        if (g != NULL)
            e = fn(arg, names.list[i], when);
    }
    free(names.list);
    return e;
}

/* --- writing --- */

static bool is_among(const char *const *ids, uint32_t count, const char *id)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    return false;
}

static bool is_added(const struct manifest_change *c, const char *id)
{
    for (uint32_t i = 0; i < c->added_count; i++)
        if (strcmp(c->added[i].id, id) == 0)
            return true;
    return false;
}

static void keep_entry(struct manifest *m, struct arena *a, const struct manifest_entry *e)
{
    m->entries[m->entry_count] = *e;
    m->entries[m->entry_count++].meta_json = arena_dup(a, e->meta_json);
}

/* Replaced blocks keep their entry, so that they can be opened; what is removed or quarantined loses it. */
static void next_entries(struct backend_bucket *b, const char *tenant, const struct manifest *old,
                         const struct manifest_change *c, struct arena *a, struct manifest *m)
{
    m->entries = ARENA_ARRAY(a, struct manifest_entry, (size_t)old->entry_count + c->added_count);
    for (uint32_t i = 0; m->entries != NULL && i < old->entry_count; i++) {
        const struct manifest_entry *e = &old->entries[i];
        const struct manifest_gone *g = gone_find(b, tenant, e->id);
        bool goes = (g != NULL && g->why != MANIFEST_REPLACED) || is_added(c, e->id) ||
                    (c->why != MANIFEST_REPLACED && is_among(c->gone, c->gone_count, e->id));
        if (!goes)
            keep_entry(m, a, e);
    }
    for (uint32_t i = 0; m->entries != NULL && i < c->added_count; i++)
        keep_entry(m, a, &c->added[i]);
}

/* Nobody needs to be told any more: its objects are deleted, and no manifest names it. */
static bool is_forgotten(struct backend_bucket *b, const char *tenant,
                         const struct manifest_gone *g)
{
    struct view *v, *next;
    bool is_deleted = g->is_deleted;

    HASH_ITER (hh, b->views, v, next) {
        if (!is_of(v, tenant))
            continue;
        if (!is_own(b, v) && manifest_find(&v->manifest, g->id) != NULL)
            return false;
        const struct manifest_gone *other = manifest_find_gone(&v->manifest, g->id);
        is_deleted = is_deleted || (other != NULL && other->is_deleted);
    }
    return is_deleted;
}

static void next_gone(struct backend_bucket *b, const char *tenant, const struct manifest *old,
                      const struct manifest_change *c, struct arena *a, struct manifest *m)
{
    uint64_t now = (uint64_t)clock_wall_ns(b->o.clock);

    m->gone = ARENA_ARRAY(a, struct manifest_gone, (size_t)old->gone_count + c->gone_count);
    for (uint32_t i = 0; m->gone != NULL && i < old->gone_count; i++)
        if (!is_forgotten(b, tenant, &old->gone[i]) &&
            !is_among(c->gone, c->gone_count, old->gone[i].id))
            m->gone[m->gone_count++] = old->gone[i];
    for (uint32_t i = 0; m->gone != NULL && i < c->gone_count; i++) {
        struct manifest_gone *g = &m->gone[m->gone_count++];
        *g = (struct manifest_gone){.why = (uint8_t)c->why, .when_ns = now};
        (void)snprintf(g->id, sizeof g->id, "%s", c->gone[i]);
    }
}

/* The next version of our manifest, in `v`, which is in no table yet. */
static enum err make_next(struct backend_bucket *b, const char *tenant, const struct view *old,
                          const struct manifest_change *c, struct view *v)
{
    static const struct manifest none;
    const struct manifest *from = old != NULL ? &old->manifest : &none;

    arena_init(&v->arena, b->o.memory);
    v->manifest = (struct manifest){.tenant = arena_dup(&v->arena, slice_str(tenant)),
                                    .writer = arena_dup(&v->arena, slice_str(b->writer)),
                                    .number = from->number + 1};
    next_entries(b, tenant, from, c, &v->arena, &v->manifest);
    next_gone(b, tenant, from, c, &v->arena, &v->manifest);
    return arena_err(&v->arena);
}

/* With `writing` held. */
static enum err change_locked(struct backend_bucket *b, const char *tenant,
                              const struct manifest_change *c)
{
    char object[BUCKET_KEY_BYTES_MAX + sizeof MANIFESTS_PREFIX], key[BUCKET_KEY_BYTES_MAX];
    struct view *v = calloc(1, sizeof *v);
    struct buf bytes;
    enum err e = v == NULL ? ERR_NOMEM : own_key(b, tenant, key);

    if (e != ERR_OK) {
        free(v);
        return e;
    }
    (void)snprintf(v->key, sizeof v->key, "%s", key);
    (void)snprintf(object, sizeof object, MANIFESTS_PREFIX "%s", key);
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    mutex_lock(&b->lock);
    e = make_next(b, tenant, view_find(b, key), c, v);
    mutex_unlock(&b->lock);
    if (e == ERR_OK)
        e = manifest_encode(&v->manifest, &bytes);
    if (e == ERR_OK)
        e = b->o.bucket->ops->put(b->o.bucket, object, buf_slice(&bytes));
    buf_release(&bytes);
    if (e != ERR_OK) { /* perhaps it was written: the next attempt writes the same and more */
        view_free(v);
        return e;
    }
    mutex_lock(&b->lock);
    e = view_enter(b, v);
    mutex_unlock(&b->lock);
    return e;
}

enum err bucket_manifests_change(struct backend_bucket *b, const char *tenant,
                                 const struct manifest_change *change)
{
    assert(b->o.writer != NULL);
    mutex_lock(&b->writing);
    enum err e = bucket_manifests_take_up(b);
    if (e == ERR_OK)
        e = change_locked(b, tenant, change);
    mutex_unlock(&b->writing);
    return e;
}

enum err bucket_manifests_delete(struct backend_bucket *b, const char *tenant, const char *id)
{
    static const char *const files[] = {META_NAME, DATA_NAME};
    char key[BUCKET_KEY_BYTES_MAX];
    enum err e = ERR_OK;

    for (size_t i = 0; i < sizeof files / sizeof files[0] && e == ERR_OK; i++) {
        e = bucket_manifests_key(tenant, id, files[i], key);
        if (e == ERR_OK)
            e = b->o.bucket->ops->remove(b->o.bucket, key);
    }
    if (e == ERR_OK)
        e = own_key(b, tenant, key);
    if (e != ERR_OK)
        return e;
    mutex_lock(&b->lock);
    struct view *v = view_find(b, key);
    struct manifest_gone *g = v != NULL ? manifest_find_gone(&v->manifest, id) : NULL;
    if (g != NULL)
        g->is_deleted = true; /* written with the next change */
    mutex_unlock(&b->lock);
    return ERR_OK;
}

/* --- what was left of the run before --- */

static enum err on_own_loose(void *arg, const char *tenant, const struct block_meta *meta,
                             struct slice json)
{
    struct backend_bucket *b = arg;
    struct manifest_entry entry = {.meta_json = json};
    struct manifest_change change = {.added = &entry, .added_count = 1, .why = MANIFEST_REPLACED};

    if (strcmp(meta->writer, b->writer) != 0)
        return ERR_OK;
    (void)snprintf(entry.id, sizeof entry.id, "%s", meta->id);
    return change_locked(b, tenant, &change);
}

/* A block of ours that is removed but whose objects are still there; false: there is none. */
static bool next_undeleted(struct backend_bucket *b, char ret_tenant[TENANT_BYTES],
                           char ret_id[MANIFEST_ID_BYTES + 1])
{
    struct view *v, *next;
    bool found = false;

    mutex_lock(&b->lock);
    HASH_ITER (hh, b->views, v, next)
        for (uint32_t i = 0; !found && is_own(b, v) && i < v->manifest.gone_count; i++) {
            const struct manifest_gone *g = &v->manifest.gone[i];
            found = g->why == MANIFEST_REMOVED && !g->is_deleted;
            if (found) {
                (void)snprintf(ret_tenant, TENANT_BYTES, SLICE_FMT, SLICE_ARG(v->manifest.tenant));
                memcpy(ret_id, g->id, sizeof g->id);
            }
        }
    mutex_unlock(&b->lock);
    return found;
}

/* A damaged manifest of our own is kept aside before the first change writes over it. */
static enum err keep_damaged(void *arg, const struct bucket_entry *entry)
{
    struct backend_bucket *b = arg;
    const char *key = entry->key + strlen(MANIFESTS_PREFIX), *slash = strchr(key, '/');
    char tenant[TENANT_BYTES], own[BUCKET_KEY_BYTES_MAX], to[2 * BUCKET_KEY_BYTES_MAX];
    struct buf bytes;

    if (slash == NULL || (size_t)(slash - key) >= sizeof tenant)
        return ERR_OK;
    (void)snprintf(tenant, sizeof tenant, "%.*s", (int)(slash - key), key);
    if (own_key(b, tenant, own) != ERR_OK || strcmp(own, key) != 0)
        return ERR_OK;
    mutex_lock(&b->lock);
    bool is_good = view_find(b, key) != NULL;
    mutex_unlock(&b->lock);
    if (is_good)
        return ERR_OK;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    enum err e = b->o.bucket->ops->get_all(b->o.bucket, entry->key, &bytes);
    (void)snprintf(to, sizeof to, QUARANTINE_PREFIX "manifests/%s.%lld", key,
                   (long long)(clock_wall_ns(b->o.clock) / NS_PER_S));
    if (e == ERR_OK)
        e = b->o.bucket->ops->put(b->o.bucket, to, buf_slice(&bytes));
    buf_release(&bytes);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err bucket_manifests_take_up(struct backend_bucket *b)
{
    char tenant[TENANT_BYTES], id[MANIFEST_ID_BYTES + 1];

    assert(mutex_is_mine(&b->writing));
    if (b->is_taken_up)
        return ERR_OK;
    enum err e = refresh(b, NULL, false);
    if (e == ERR_OK)
        e = b->o.bucket->ops->list(b->o.bucket, MANIFESTS_PREFIX, true, keep_damaged, b);
    if (e == ERR_OK)
        e = loose_walk(b, on_own_loose, b);
    while (e == ERR_OK && next_undeleted(b, tenant, id))
        e = bucket_manifests_delete(b, tenant, id);
    b->is_taken_up = e == ERR_OK;
    return e;
}

void bucket_manifests_free(struct backend_bucket *b)
{
    struct view *v, *next;

    HASH_ITER (hh, b->views, v, next)
        view_drop(b, v);
    strays_forget(b);
}
