#include "common/objstore/range_cache.h"

#include "common/base/map.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <stdlib.h>

struct range {
    struct range_key key;
    struct range *prev, *next; /* of the queue, newest first; not while loading */
    UT_hash_handle hh;
    unsigned refs; /* readers that copy, and the table */
    bool is_loading, was_used;
    uint8_t bytes[]; /* key.len of them; none while loading */
};

struct range_cache {
    size_t bytes_max;
    struct budget *budget;
    struct mutex lock; /* all below, and the ranges but for their bytes */
    pthread_cond_t loaded;
    struct range *ranges, *queue, *hand; /* the hand walks from the oldest to the newest */
    size_t bytes;
};

struct range_key range_cache_key(const char *object, uint64_t offset, size_t len)
{
    struct slice name = slice_str(object);

    return (struct range_key){.object = {hash_with(name, hash_seed ^ 0x9e3779b97f4a7c15ull),
                                         hash_with(name, hash_seed ^ 0xc2b2ae3d27d4eb4full)},
                              .offset = offset,
                              .len = len};
}

static size_t cost(const struct range *r)
{
    return sizeof *r + (r->is_loading ? 0 : r->key.len);
}

/* With the lock held. */
static void unref(struct range_cache *c, struct range *r)
{
    assert(r->refs > 0);
    if (--r->refs > 0)
        return;
    budget_give(c->budget, cost(r));
    free(r);
}

static struct range *find(struct range_cache *c, const struct range_key *key)
{
    struct range *r;

    HASH_FIND(hh, c->ranges, key, sizeof *key, r);
    return r;
}

static void forget(struct range_cache *c, struct range *r)
{
    if (c->hand == r)
        c->hand = r->prev != c->queue->prev ? r->prev : NULL;
    HASH_DEL(c->ranges, r);
    if (!r->is_loading) {
        DL_DELETE(c->queue, r);
        c->bytes -= cost(r);
    }
    unref(c, r);
}

/* SIEVE: the hand passes over what was used since it came by, and takes what was not. */
static bool evict_one(struct range_cache *c)
{
    struct range *r = c->hand;

    if (c->queue == NULL)
        return false;
    if (r == NULL)
        r = c->queue->prev; /* the oldest */
    while (r->was_used) {
        r->was_used = false;
        r = r == c->queue ? c->queue->prev : r->prev;
    }
    c->hand = r;
    forget(c, r);
    return true;
}

/* An entry of `len` bytes with room for it in bound and budget; NULL: there is none. */
static struct range *make(struct range_cache *c, const struct range_key *key, size_t len)
{
    size_t bytes = sizeof(struct range) + len;

    if (bytes > c->bytes_max / 4)
        return NULL;
    while (c->bytes + bytes > c->bytes_max && evict_one(c))
        ;
    enum err e = budget_take(c->budget, bytes);
    while (e != ERR_OK && evict_one(c))
        e = budget_take(c->budget, bytes);
    struct range *r = e == ERR_OK ? malloc(bytes) : NULL;
    if (r == NULL) {
        if (e == ERR_OK)
            budget_give(c->budget, bytes);
        return NULL;
    }
    *r = (struct range){.key = *key, .refs = 1};
    return r;
}

static bool enter(struct range_cache *c, struct range *r)
{
    HASH_ADD(hh, c->ranges, key, sizeof r->key, r);
    if (r->hh.tbl != NULL)
        return true;
    unref(c, r);
    return false;
}

/* An entry that says: somebody is at it.  Without memory for it two may load the same, which does no harm. */
static void claim(struct range_cache *c, const struct range_key *key)
{
    struct range *r = make(c, key, 0);

    if (r == NULL)
        return;
    r->is_loading = true;
    (void)enter(c, r);
}

bool range_cache_get(struct range_cache *c, const struct range_key *key, void *ret)
{
    struct range *r;

    mutex_lock(&c->lock);
    while ((r = find(c, key)) != NULL && r->is_loading)
        (void)cond_wait(&c->loaded, &c->lock, -1);
    if (r == NULL) {
        claim(c, key);
        mutex_unlock(&c->lock);
        return false;
    }
    r->was_used = true;
    r->refs++;
    mutex_unlock(&c->lock);
    memcpy(ret, r->bytes, key->len);
    mutex_lock(&c->lock);
    unref(c, r);
    mutex_unlock(&c->lock);
    return true;
}

bool range_cache_claim(struct range_cache *c, const struct range_key *key)
{
    mutex_lock(&c->lock);
    bool is_free = find(c, key) == NULL;
    if (is_free)
        claim(c, key);
    is_free =
        is_free && find(c, key) != NULL; /* what nobody can see being loaded is not loaded ahead */
    mutex_unlock(&c->lock);
    return is_free;
}

void range_cache_fill(struct range_cache *c, const struct range_key *key, const uint8_t *ptr)
{
    mutex_lock(&c->lock);
    struct range *r = find(c, key);
    if (r != NULL && r->is_loading)
        forget(c, r);
    r = ptr != NULL && find(c, key) == NULL ? make(c, key, key->len) : NULL;
    if (r != NULL) {
        memcpy(r->bytes, ptr, key->len);
        if (enter(c, r)) {
            DL_PREPEND(c->queue, r);
            c->bytes += cost(r);
        }
    }
    (void)pthread_cond_broadcast(&c->loaded);
    mutex_unlock(&c->lock);
}

size_t range_cache_bytes(struct range_cache *c)
{
    mutex_lock(&c->lock);
    size_t bytes = c->bytes;
    mutex_unlock(&c->lock);
    return bytes;
}

enum err range_cache_new(size_t bytes_max, struct budget *budget, struct range_cache **ret)
{
    struct range_cache *c = calloc(1, sizeof *c);

    if (c == NULL)
        return ERR_NOMEM;
    c->bytes_max = bytes_max;
    c->budget = budget;
    mutex_init(&c->lock);
    cond_init(&c->loaded);
    *ret = c;
    return ERR_OK;
}

void range_cache_free(struct range_cache *c)
{
    struct range *r, *next;

    if (c == NULL)
        return;
    HASH_ITER (hh, c->ranges, r, next)
        forget(c, r);
    mutex_release(&c->lock);
    (void)pthread_cond_destroy(&c->loaded);
    free(c);
}
