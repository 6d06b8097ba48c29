/* A block's bytes in a bucket, through the cache. */
#include "common/objstore/backend_bucket_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { RANGES_MAX = 4096, ASK_BYTES = 1 << 20 };

struct bucket_object {
    struct object object; /* first */
    struct backend_bucket *b;
    bool keeps_lookup;
    char key[BUCKET_KEY_BYTES_MAX];
};

static enum err load(struct backend_bucket *b, const char *key, uint64_t offset, void *ret,
                     size_t len)
{
    metric_inc(b->metrics.read_requests);
    metric_add(b->metrics.read_bytes, (double)len);
    return b->o.bucket->ops->get(b->o.bucket, key, offset, ret, len);
}

static struct shared_file file_of(const struct bucket_object *bo)
{
    return (struct shared_file){
        .key = bo->key, .bytes = bo->object.bytes, .keeps_lookup = bo->keeps_lookup};
}

/* From what processes share, else from the store. */
static enum err fetch(const struct bucket_object *bo, const struct object_range *range, void *ret)
{
    struct backend_bucket *b = bo->b;
    struct shared_file file = file_of(bo);
    struct shared_range shared = {.range = range, .ret = ret};

    if (shared_ranges_has(b->o.shared, &file, range->part)) {
        shared_ranges_get(b->o.shared, &file, &shared, 1);
        if (shared.is_found)
            return ERR_OK;
    }
    enum err e = load(b, bo->key, range->offset, ret, range->len);
    if (e == ERR_OK)
        shared_ranges_put(b->o.shared, &file, range, ret);
    return e;
}

static enum err op_read(struct object *o, enum object_part part, uint64_t offset, void *ret,
                        size_t len)
{
    struct bucket_object *bo = (struct bucket_object *)o;
    struct object_range range = {offset, len, part};
    struct backend_bucket *b = bo->b;

    if (offset > o->bytes || len > o->bytes - offset)
        return ERR_CORRUPT;
    if (len == 0)
        return ERR_OK;
    if (b->cache == NULL)
        return fetch(bo, &range, ret);
    struct range_key key = range_cache_key(bo->key, offset, len);
    if (range_cache_get(b->cache, &key, ret)) {
        metric_inc(b->metrics.hits);
        return ERR_OK;
    }
    metric_inc(b->metrics.misses);
    enum err e = fetch(bo, &range, ret);
    range_cache_fill(b->cache, &key, e == ERR_OK ? ret : NULL);
    return e;
}

static void op_close(struct object *o)
{
    free(o);
}

/* --- loading ahead --- */

/* Ranges of one object, claimed in the cache, ascending.  They are asked for in what processes share; then as runs, neighbours that are loaded with one read. */
struct ahead {
    struct work work; /* first */
    struct backend_bucket *b;
    struct shared_file file;
    char key[BUCKET_KEY_BYTES_MAX]; /* of the object */
    uint32_t count;
    struct object_range ranges[];
};

/* NULL: no memory, and the ranges are left to their readers. */
static struct ahead *ahead_new(struct backend_bucket *b, const struct shared_file *file,
                               const struct object_range *ranges, uint32_t count,
                               void (*run)(struct work *w))
{
    struct ahead *a = malloc(sizeof *a + count * sizeof *ranges);

    for (uint32_t i = 0; a == NULL && i < count; i++) {
        struct range_key key = range_cache_key(file->key, ranges[i].offset, ranges[i].len);
        range_cache_fill(b->cache, &key, NULL);
    }
    if (a == NULL)
        return NULL;
    *a = (struct ahead){.work = {.run = run}, .b = b, .file = *file, .count = count};
    (void)snprintf(a->key, sizeof a->key, "%s", file->key);
    a->file.key = a->key;
    memcpy(a->ranges, ranges, count * sizeof *ranges);
    return a;
}

static void fill(const struct ahead *a, const struct object_range *range, const uint8_t *bytes)
{
    struct range_key key = range_cache_key(a->key, range->offset, range->len);

    range_cache_fill(a->b->cache, &key, bytes);
}

/* `bytes` of the ranges from the first to the end of the last; NULL: they could not be loaded. */
static void run_end(struct ahead *a, const uint8_t *bytes)
{
    for (uint32_t i = 0; i < a->count; i++) {
        const uint8_t *at =
            bytes != NULL ? bytes + (a->ranges[i].offset - a->ranges[0].offset) : NULL;
        fill(a, &a->ranges[i], at);
        if (at != NULL)
            shared_ranges_put(a->b->o.shared, &a->file, &a->ranges[i], at);
    }
    free(a);
}

/* On a loader.  What can not be loaded is left to its reader, who says why. */
static void run_load(struct work *w)
{
    struct ahead *a = (struct ahead *)w;
    struct budget *memory = a->b->o.memory;
    const struct object_range *last = &a->ranges[a->count - 1];
    size_t len = (size_t)(last->offset + last->len - a->ranges[0].offset);
    uint8_t *bytes = budget_take(memory, len) == ERR_OK ? malloc(len) : NULL;
    bool is_taken = bytes != NULL;
    bool is_good = is_taken && load(a->b, a->key, a->ranges[0].offset, bytes, len) == ERR_OK;

    run_end(a, is_good ? bytes : NULL);
    if (is_taken)
        budget_give(memory, len);
    free(bytes);
}

/* Whether `next` is near enough to what begins at `first` and ends at `end`. */
static bool joins(uint64_t first, uint64_t end, const struct object_range *next)
{
    uint64_t after = next->offset + next->len;

    return next->offset <= end + BACKEND_BUCKET_GAP_BYTES &&
           after - first <= BACKEND_BUCKET_READ_BYTES_MAX && after >= end;
}

static void start_runs(struct backend_bucket *b, const struct shared_file *file,
                       const struct object_range *ranges, uint32_t count)
{
    for (uint32_t i = 0, end; i < count; i = end) {
        uint64_t at = ranges[i].offset + ranges[i].len;
        for (end = i + 1; end < count && joins(ranges[i].offset, at, &ranges[end]); end++)
            at = ranges[end].offset + ranges[end].len;
        struct ahead *run = ahead_new(b, file, &ranges[i], end - i, run_load);
        if (run != NULL && workers_run(b->loaders, &run->work) != ERR_OK)
            run_end(run, NULL);
    }
}

/* Asks for those ranges, of `len` bytes together; what is found is filled, and of no length any more. */
static void ask_some(struct ahead *a, const uint32_t *asked, uint32_t count, size_t len)
{
    struct shared_range shared[SHARED_RANGES_GET_MAX];
    struct budget *memory = a->b->o.memory;
    uint8_t *bytes = budget_take(memory, len) == ERR_OK ? malloc(len) : NULL, *at = bytes;

    if (bytes == NULL)
        return; /* they are loaded */
    for (uint32_t i = 0; i < count; i++) {
        shared[i] = (struct shared_range){.range = &a->ranges[asked[i]], .ret = at};
        at += a->ranges[asked[i]].len;
    }
    shared_ranges_get(a->b->o.shared, &a->file, shared, count);
    for (uint32_t i = 0; i < count; i++)
        if (shared[i].is_found) {
            fill(a, shared[i].range, shared[i].ret);
            a->ranges[asked[i]].len = 0;
        }
    budget_give(memory, len);
    free(bytes);
}

/* On a loader. */
static void ask(struct work *w)
{
    struct ahead *a = (struct ahead *)w;
    uint32_t asked[SHARED_RANGES_GET_MAX], n = 0, left = 0;
    size_t len = 0;

    for (uint32_t i = 0; i < a->count; i++) {
        if (!shared_ranges_has(a->b->o.shared, &a->file, a->ranges[i].part))
            continue;
        if (n == SHARED_RANGES_GET_MAX || (n > 0 && len + a->ranges[i].len > ASK_BYTES)) {
            ask_some(a, asked, n, len);
            n = 0;
            len = 0;
        }
        asked[n++] = i;
        len += a->ranges[i].len;
    }
    if (n > 0)
        ask_some(a, asked, n, len);
    for (uint32_t i = 0; i < a->count; i++)
        if (a->ranges[i].len > 0)
            a->ranges[left++] = a->ranges[i];
    start_runs(a->b, &a->file, a->ranges, left);
    free(a);
}

static int range_cmp(const void *a, const void *b)
{
    const struct object_range *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->len < y->len ? -1 : x->len > y->len;
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
    struct shared_file file = file_of(bo);
    bool is_shared = false;
    for (uint32_t i = 0; i < n && !is_shared; i++)
        is_shared = shared_ranges_has(bo->b->o.shared, &file, mine[i].part);
    struct ahead *a = is_shared ? ahead_new(bo->b, &file, mine, n, ask) : NULL;
    if (!is_shared)
        start_runs(bo->b, &file, mine, n);
    else if (a != NULL && workers_run(bo->b->loaders, &a->work) != ERR_OK)
        run_end(a, NULL);
    free(mine);
}

static const struct object_ops bucket_object_ops = {
    .read = op_read, .close = op_close, .want = op_want};

enum err bucket_object_open(struct backend_bucket *b, const char *key, uint64_t bytes,
                            uint32_t tail_bytes, bool keeps_lookup, struct object **ret)
{
    struct bucket_object *o = calloc(1, sizeof *o);

    if (o == NULL)
        return ERR_NOMEM;
    o->object =
        (struct object){.ops = &bucket_object_ops, .bytes = bytes, .tail_bytes = tail_bytes};
    o->b = b;
    o->keeps_lookup = keeps_lookup;
    (void)snprintf(o->key, sizeof o->key, "%s", key);
    *ret = &o->object;
    return ERR_OK;
}
