/*
 * shared_ranges.h - ranges of blocks in memcached or redis, behind this process's own memory: what one process has read, the others need not.
 *
 * Keys:    vv1:<tenant>/<block id>/data.vvb:<bytes of the file>:<offset>+<len>
 * Roles:   Tempo's names for what a cache keeps, by the parts of a block (enum object_part); SHARED_RANGES_ROLES.
 * Threads: any; reads block as cache_get does.
 */
#ifndef VIVACE_OBJSTORE_SHARED_RANGES_H
#define VIVACE_OBJSTORE_SHARED_RANGES_H

#include "common/cache/cache.h"
#include "common/store/backend.h"

enum { SHARED_RANGES_CACHES_MAX = 8 };

struct shared_ranges_options {
    struct cache *caches[SHARED_RANGES_CACHES_MAX]; /* taken, on success */
    unsigned cache_count;
    struct cache *of_part[OBJECT_PART_COUNT]; /* one of them; NULL: this part is not kept */
    /* What is kept of OBJECT_LOOKUP only: blocks merged at least this often, and that begin no longer ago; 0: of all. */
    unsigned lookup_level_min;
    int64_t lookup_age_max_ns;
    const struct clock *clock;
};

/* The role of a part: "parquet-page", "parquet-footer", "bloom", "trace-id-index", "parquet-column-idx". */
const char *shared_ranges_role(enum object_part part);

struct shared_ranges;
MUST_CHECK enum err shared_ranges_new(const struct shared_ranges_options *o,
                                      struct shared_ranges **ret);
void shared_ranges_free(struct shared_ranges *s);

/* A block's file, as it is asked for. */
struct shared_file {
    const char *key;
    uint64_t bytes;
    bool keeps_lookup; /* shared_ranges_keeps_lookup */
};
bool shared_ranges_keeps_lookup(const struct shared_ranges *s, unsigned level,
                                uint64_t min_start_ns);
/* Whether this part of it may be there.  `s` NULL: no. */
bool shared_ranges_has(const struct shared_ranges *s, const struct shared_file *file,
                       enum object_part part);

enum { SHARED_RANGES_GET_MAX = 64 };
struct shared_range {
    const struct object_range *range; /* of a part that may be there */
    void *ret;                        /* range->len bytes */
    bool is_found;
};
/* At most SHARED_RANGES_GET_MAX. */
void shared_ranges_get(struct shared_ranges *s, const struct shared_file *file,
                       struct shared_range *ranges, unsigned count);
/* What was read from the store instead; where the part is not kept, nothing. */
void shared_ranges_put(struct shared_ranges *s, const struct shared_file *file,
                       const struct object_range *range, const void *bytes);

#endif
