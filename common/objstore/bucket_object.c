/* A block's bytes in a bucket, through the cache. */
#include "common/objstore/backend_bucket_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { RANGES_MAX = 4096 };

struct bucket_object {
    struct object object; /* first */
    struct backend_bucket *b;
    char key[BUCKET_KEY_BYTES_MAX];
};

static enum err load(struct backend_bucket *b, const char *key, uint64_t offset, void *ret,
                     size_t len)
{
    metric_inc(b->metrics.read_requests);
    metric_add(b->metrics.read_bytes, (double)len);
    return b->o.bucket->ops->get(b->o.bucket, key, offset, ret, len);
}

static enum err op_read(struct object *o, uint64_t offset, void *ret, size_t len)
{
    struct bucket_object *bo = (struct bucket_object *)o;
    struct backend_bucket *b = bo->b;

    if (offset > o->bytes || len > o->bytes - offset)
        return ERR_CORRUPT;
    if (len == 0)
        return ERR_OK;
    if (b->cache == NULL)
        return load(b, bo->key, offset, ret, len);
    struct range_key key = range_cache_key(bo->key, offset, len);
    if (range_cache_get(b->cache, &key, ret)) {
        metric_inc(b->metrics.hits);
        return ERR_OK;
    }
    metric_inc(b->metrics.misses);
    enum err e = load(b, bo->key, offset, ret, len);
    range_cache_fill(b->cache, &key, e == ERR_OK ? ret : NULL);
    return e;
}

static void op_close(struct object *o)
{
    free(o);
}

/* --- loading ahead --- */

/* Neighbouring ranges that are loaded with one read. */
struct run {
    struct work work; /* first */
    struct backend_bucket *b;
    char object_key[BUCKET_KEY_BYTES_MAX];
    uint64_t offset;
    size_t len;
    uint32_t count;
    struct object_range ranges[]; /* claimed in the cache */
};

static void run_end(struct run *r, const uint8_t *bytes)
{
    for (uint32_t i = 0; i < r->count; i++) {
        struct range_key key =
            range_cache_key(r->object_key, r->ranges[i].offset, r->ranges[i].len);
        range_cache_fill(r->b->cache, &key,
                         bytes != NULL ? bytes + (r->ranges[i].offset - r->offset) : NULL);
    }
    free(r);
}

/* On a loader.  What can not be loaded is left to its reader, who says why. */
static void run_load(struct work *w)
{
    struct run *r = (struct run *)w;
    struct budget *memory = r->b->o.memory;
    size_t len = r->len;
    uint8_t *bytes = budget_take(memory, len) == ERR_OK ? malloc(len) : NULL;
    bool is_taken = bytes != NULL;
    bool is_good = is_taken && load(r->b, r->object_key, r->offset, bytes, len) == ERR_OK;

    run_end(r, is_good ? bytes : NULL);
    if (is_taken)
        budget_give(memory, len);
    free(bytes);
}

static void run_start(struct bucket_object *bo, const struct object_range *ranges, uint32_t count)
{
    struct run *r = malloc(sizeof *r + count * sizeof *ranges);
    const struct object_range *last = &ranges[count - 1];

    if (r == NULL) {
        for (uint32_t i = 0; i < count; i++) {
            struct range_key key = range_cache_key(bo->key, ranges[i].offset, ranges[i].len);
            range_cache_fill(bo->b->cache, &key, NULL);
        }
        return;
    }
    *r = (struct run){.work = {.run = run_load},
                      .b = bo->b,
                      .offset = ranges[0].offset,
                      .len = (size_t)(last->offset + last->len - ranges[0].offset),
                      .count = count};
    memcpy(r->object_key, bo->key, sizeof r->object_key);
    memcpy(r->ranges, ranges, count * sizeof *ranges);
    if (workers_run(bo->b->loaders, &r->work) != ERR_OK)
        run_end(r, NULL);
}

static int range_cmp(const void *a, const void *b)
{
    const struct object_range *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->len < y->len ? -1 : x->len > y->len;
}

/* Whether `next` is near enough to what begins at `first` and ends at `end`. */
static bool joins(uint64_t first, uint64_t end, const struct object_range *next)
{
    uint64_t after = next->offset + next->len;

    return next->offset <= end + BACKEND_BUCKET_GAP_BYTES &&
           after - first <= BACKEND_BUCKET_READ_BYTES_MAX && after >= end;
}

static void op_want(struct object *o, const struct object_range *ranges, uint32_t count)
{
    struct bucket_object *bo = (struct bucket_object *)o;
    struct object_range *mine;
    uint32_t n = 0;

    if (bo->b->cache == NULL || count > RANGES_MAX)
        return;
    mine = malloc(count * sizeof *mine);
    for (uint32_t i = 0; mine != NULL && i < count; i++) {
        struct range_key key = range_cache_key(bo->key, ranges[i].offset, ranges[i].len);
        bool is_inside = ranges[i].len > 0 && ranges[i].offset <= o->bytes &&
                         ranges[i].len <= o->bytes - ranges[i].offset;
        if (is_inside && range_cache_claim(bo->b->cache, &key))
            mine[n++] = ranges[i];
    }
    if (n > 1)
        qsort(mine, n, sizeof *mine, range_cmp);
    for (uint32_t i = 0, end; i < n; i = end) {
        uint64_t at = mine[i].offset + mine[i].len;
        for (end = i + 1; end < n && joins(mine[i].offset, at, &mine[end]); end++)
            at = mine[end].offset + mine[end].len;
        run_start(bo, &mine[i], end - i);
    }
    free(mine);
}

static const struct object_ops bucket_object_ops = {
    .read = op_read, .close = op_close, .want = op_want};

enum err bucket_object_open(struct backend_bucket *b, const char *key, uint64_t bytes,
                            uint32_t tail_bytes, struct object **ret)
{
    struct bucket_object *o = calloc(1, sizeof *o);

    if (o == NULL)
        return ERR_NOMEM;
    o->object =
        (struct object){.ops = &bucket_object_ops, .bytes = bytes, .tail_bytes = tail_bytes};
    o->b = b;
    (void)snprintf(o->key, sizeof o->key, "%s", key);
    *ret = &o->object;
    return ERR_OK;
}
