#include "common/objstore/shared_ranges.h"

#include "common/obs/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct shared_ranges {
    struct shared_ranges_options o;
    struct {
        struct metric_cell *hits, *misses, *hit_bytes, *miss_bytes;
    } metrics[OBJECT_PART_COUNT];
};

const char *shared_ranges_role(enum object_part part)
{
    static const char *const roles[OBJECT_PART_COUNT] = {
        [OBJECT_VALUES] = "parquet-page",
        [OBJECT_FOOTER] = "parquet-footer",
        [OBJECT_LOOKUP] = "bloom",
        [OBJECT_TRACES] = "trace-id-index",
        [OBJECT_WORDS] = "parquet-column-idx",
    };

    assert(part < OBJECT_PART_COUNT);
    return roles[part];
}

enum err shared_ranges_new(const struct shared_ranges_options *o, struct shared_ranges **ret)
{
    struct shared_ranges *s = calloc(1, sizeof *s);
    struct metric_family *requests =
        metrics_counter("tempodb_cache_requests_total", "role,outcome",
                        "Ranges of blocks that a cache was asked for: hit, or miss.");
    struct metric_family *bytes = metrics_counter(
        "tempodb_cache_request_bytes_total", "role,outcome",
        "Bytes that a cache gave (hit), or that were read from the store instead (miss).");

    if (s == NULL)
        return ERR_NOMEM;
    s->o = *o;
    for (int p = 0; p < OBJECT_PART_COUNT; p++) {
        const char *role = shared_ranges_role((enum object_part)p);
        s->metrics[p].hits = metric_cell2(requests, role, "hit");
        s->metrics[p].misses = metric_cell2(requests, role, "miss");
        s->metrics[p].hit_bytes = metric_cell2(bytes, role, "hit");
        s->metrics[p].miss_bytes = metric_cell2(bytes, role, "miss");
    }
    *ret = s;
    return ERR_OK;
}

void shared_ranges_free(struct shared_ranges *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->o.cache_count; i++)
        cache_free(s->o.caches[i]);
    free(s);
}

bool shared_ranges_keeps_lookup(const struct shared_ranges *s, unsigned level,
                                uint64_t min_start_ns)
{
    if (s == NULL || level < s->o.lookup_level_min)
        return false;
    int64_t oldest_ns = clock_wall_ns(s->o.clock) - s->o.lookup_age_max_ns;
    return s->o.lookup_age_max_ns == 0 || (int64_t)min_start_ns >= oldest_ns;
}

bool shared_ranges_has(const struct shared_ranges *s, const struct shared_file *file,
                       enum object_part part)
{
    return s != NULL && s->o.of_part[part] != NULL && (part != OBJECT_LOOKUP || file->keeps_lookup);
}

/* False: it is too long, which a block's never is. */
static bool make_key(const struct shared_file *file, const struct object_range *range,
                     char ret[CACHE_KEY_BYTES_MAX + 1])
{
    int n =
        snprintf(ret, CACHE_KEY_BYTES_MAX + 1, "vv1:%s:%llu:%llu+%zu", file->key,
                 (unsigned long long)file->bytes, (unsigned long long)range->offset, range->len);

    return n > 0 && n <= CACHE_KEY_BYTES_MAX;
}

/* Those that are asked of one cache. */
static void get_of(struct shared_ranges *s, struct cache *c, const struct shared_file *file,
                   struct shared_range *ranges, unsigned count)
{
    char keys[SHARED_RANGES_GET_MAX][CACHE_KEY_BYTES_MAX + 1];
    struct cache_item items[SHARED_RANGES_GET_MAX];
    struct shared_range *of[SHARED_RANGES_GET_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++) {
        const struct object_range *range = ranges[i].range;
        if (s->o.of_part[range->part] != c || !make_key(file, range, keys[n]))
            continue;
        items[n] = (struct cache_item){.key = keys[n], .ret = ranges[i].ret, .len = range->len};
        of[n++] = &ranges[i];
    }
    cache_get(c, items, n);
    for (unsigned i = 0; i < n; i++) {
        enum object_part part = of[i]->range->part;
        of[i]->is_found = items[i].is_found;
        metric_inc(items[i].is_found ? s->metrics[part].hits : s->metrics[part].misses);
        if (items[i].is_found)
            metric_add(s->metrics[part].hit_bytes, (double)items[i].len);
    }
}

void shared_ranges_get(struct shared_ranges *s, const struct shared_file *file,
                       struct shared_range *ranges, unsigned count)
{
    assert(count <= SHARED_RANGES_GET_MAX);
    for (unsigned i = 0; i < count; i++) {
        assert(shared_ranges_has(s, file, ranges[i].range->part));
        ranges[i].is_found = false;
    }
    for (unsigned i = 0; i < s->o.cache_count; i++)
        get_of(s, s->o.caches[i], file, ranges, count);
}

void shared_ranges_put(struct shared_ranges *s, const struct shared_file *file,
                       const struct object_range *range, const void *bytes)
{
    char key[CACHE_KEY_BYTES_MAX + 1];

    if (!shared_ranges_has(s, file, range->part) || !make_key(file, range, key))
        return;
    metric_add(s->metrics[range->part].miss_bytes, (double)range->len);
    cache_put(s->o.of_part[range->part], key, (struct slice){bytes, range->len});
}
