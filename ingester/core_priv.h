/*
 * core_priv.h - the inside of core.h, shared by commit.c, apply.c, generation.c, build.c, replay.c and core.c.
 *
 * Threads: a field belongs to the thread that its comment names; "lock" means under core.lock by anybody.
 */
#ifndef VIVACE_INGESTER_CORE_PRIV_H
#define VIVACE_INGESTER_CORE_PRIV_H

#include "common/base/map.h"
#include "common/store/block.h"
#include "common/store/head.h"
#include "common/sys/thread.h"
#include "ingester/batch_table.h"
#include "ingester/catalog.h"
#include "ingester/core.h"
#include "ingester/ingester_metrics.h"
#include "ingester/recent_ids.h"

#include <stdatomic.h>

enum lane {
    LANE_REPLAY,
    LANE_LIVE,
    LANE_COUNT
}; /* frames of before the start, and after: each lane's generations cover one range */
enum { CORE_PATH_BYTES = 4096, EXIT_DISK_FAILED = 75 };

struct lsn_range {
    uint64_t lo, hi;
};

/* A frame of which only the first spans are in heads, or in a block: it is larger than the memory that there was. */
struct begun {
    uint64_t lsn;
    uint32_t spans;
    const struct tenant *tenant;
};

/* A block of before the start whose traces may still get spans. */
struct recalled_block {
    char id[37];
    const struct tenant *tenant;
    uint64_t created_ns, traces;
};

struct recent_block {
    char id[37];
    int64_t published_ns; /* mono */
};

struct tenant {
    char name[WAL_TENANT_BYTES_MAX + 1];
    struct part *now[LANE_COUNT]; /* apply: the part of the lane's current generation */
    uint64_t published_lsn;       /* lock */
    _Atomic(uint64_t)
        window_min_ns; /* the shortest compaction window since the start; 0: not asked yet */
    struct recent_block *recent; /* lock */
    uint32_t recent_count, recent_cap;
    struct lsn_range *done; /* frames that own blocks held at the start, ascending; constant */
    uint32_t done_count, done_cap;
    struct begun
        *begun; /* frames of which own blocks held only the first spans at the start; constant */
    uint32_t begun_count;
    struct ingester_tenant_metrics metrics;
    UT_hash_handle hh;
};

/* The head of one tenant in one generation. */
struct part {
    struct part *next; /* lock; constant when sealed */
    struct tenant *tenant;
    struct head *head;
    struct trace_id *carried; /* ascending; lock */
    uint32_t carried_count;
    bool is_published; /* lock */
};

struct generation {
    struct generation *prev, *next; /* lock: the view, oldest first */
    struct budget budget;
    atomic_uint refs;
    enum lane lane;
    uint64_t lo, hi;    /* frames; hi: lock, when sealed */
    struct begun begun; /* constant when sealed: it has the first spans of this frame too */
    int64_t begun_ns;   /* mono */
    struct part *parts;
    bool is_sealed;         /* lock */
    bool is_carried;        /* lock: what was to be carried is whole in a newer head */
    atomic_bool is_hurried; /* apply waits for memory: carry nothing */
    unsigned attempts;      /* build */
    int64_t retry_ns;       /* build: mono */
};

/* What the start has to know of the store (own_blocks.c). */
enum own_state {
    OWN_ASKING,
    OWN_LISTED, /* the catalog is the start's, or the apply thread's */
    OWN_KNOWN,
    OWN_AWAY,
    OWN_FAILED /* there is no use in waiting */
};
struct own_blocks {
    pthread_t thread;
    bool has_thread;
    struct catalog catalog; /* the thread's, until it is listed */
    enum own_state state;   /* lock */
    enum err err;           /* lock: of the first attempt */
};

struct flush_wait {
    struct flush_wait *next;
    core_flushed *fn;
    void *arg;
    uint64_t upto; /* UINT64_MAX: not sealed yet */
};

struct core {
    struct core_options o;
    const struct config *config;
    char wal_dir[CORE_PATH_BYTES], building_dir[CORE_PATH_BYTES];
    int lock_fd;
    struct budget heads, building;
    size_t seal_bytes, door_bytes, replay_heads_bytes, inflight_bytes_max;
    struct ingester_metrics metrics;

    struct queue commit_queue, apply_queue;
    pthread_t commit_thread, apply_thread, build_thread, replay_thread, compact_thread;
    bool has_commit, has_apply, has_build, has_replay, has_compact, is_drained;

    atomic_size_t inflight_bytes, inflight_count, replay_bytes;
    atomic_bool is_readonly, is_failed, is_draining, is_replaying, is_stopping;
    atomic_bool is_commit_over, is_queue_over; /* set after the queue was closed */
    atomic_ullong trim_upto, wal_bytes;
    atomic_bool is_rotate_wanted;
    atomic_bool has_others; /* blocks that other instances wrote were seen in the store */
    struct batch_table *batches;

    /* commit thread */
    struct wal *wal;
    struct wal_frame *frames;
    unsigned disk_failures;
    int64_t next_space_ns, next_sync_ns;
    bool is_unsynced;
    uint64_t trimmed_upto,
        space_bytes; /* space_bytes: that the disk had above its reserve, less what was written since */

    /* apply thread */
    struct recent_ids *recent;
    struct generation *current[LANE_COUNT];
    uint64_t lane_lo[LANE_COUNT], applied[LANE_COUNT];
    struct begun begun[LANE_COUNT]; /* the frame at hand */
    int64_t next_check_ns;
    struct arena scratch;
    bool is_apply_over; /* stopped while waiting for memory: the rest stays in the log */

    struct own_blocks own;
    bool is_blind; /* constant after the start: the store was away, all of the log is replayed */

    /* start, then the replay thread; where the store was away the thread that has waited for it */
    uint64_t replay_last;
    struct recalled_block *recalled;
    uint32_t recalled_count, recalled_cap;
    struct trial *trial; /* its note: apply thread */

    struct mutex lock;
    pthread_cond_t changed; /* anything under the lock, or memory given back */
    struct tenant *tenants; /* added by apply (and at the start) under the lock */
    struct generation *view;
    uint64_t published_lsn;
    struct flush_wait *flushes;
    bool is_build_stopping, is_starving; /* is_starving: apply waits for memory */
};

static inline int64_t core_mono_ns(const struct core *c)
{
    return clock_mono_ns(c->o.clock);
}

static inline uint32_t core_attribute_bytes(const struct core *c, struct slice tenant)
{
    struct overrides_hold h = overrides_get(c->o.overrides, tenant);
    uint32_t bytes = (uint32_t)h.limits->max_attribute_bytes;

    overrides_put(&h);
    return bytes;
}

static inline uint64_t core_window_ns(const struct core *c, const char *tenant)
{
    struct overrides_hold h = overrides_get(c->o.overrides, slice_str(tenant));
    uint64_t window = (uint64_t)h.limits->compaction_window_ns;

    overrides_put(&h);
    return window;
}

/* Flags are cleared in a block a window's length after it was made, and not before.  What was received earlier than half of that (clocks differ) and comes into sight now may
 * have other parts whose flags are cleared: so it must be flagged itself.  Of the windows that the tenant has had meanwhile the shortest counts. */
static inline int64_t core_late_before_ns(const struct core *c, struct tenant *t)
{
    uint64_t window = core_window_ns(c, t->name), shortest = atomic_load(&t->window_min_ns);

    while ((shortest == 0 || window < shortest) &&
           !atomic_compare_exchange_weak(&t->window_min_ns, &shortest, window))
        ;
    if (shortest == 0 || window < shortest)
        shortest = window;
    return clock_wall_ns(c->o.clock) - (int64_t)(shortest / 2);
}

static inline bool core_has_others(const struct core *c)
{
    return atomic_load(&c->has_others);
}

void core_finish(struct core *c, struct push *p); /* the push leaves the core */
void core_failed(struct core *c);                 /* the disk is gone */

/* generation.c */
struct tenant *generation_tenant(struct core *c,
                                 struct slice name); /* apply, start; NULL: no memory */
struct tenant *generation_find_tenant(struct core *c, struct slice name);
MUST_CHECK enum err generation_part(struct core *c, enum lane lane, struct tenant *t,
                                    struct part **ret);             /* apply */
void generation_seal(struct core *c, enum lane lane, bool is_full); /* apply */
void generation_unref(struct generation *g);
void generation_publish_part(struct core *c, struct generation *g, struct part *p,
                             const char *block_id);         /* build */
void generation_drop(struct core *c, struct generation *g); /* build: all its parts are published */
void generation_flushes(
    struct core *c, enum err err,
    uint64_t failed_lo); /* calls those whose data are in blocks, or that wait for the failed one */

/* Threads. */
void commit_run(void *arg);
void apply_run(void *arg);
void build_run(void *arg);
void replay_run(void *arg);
bool replay_wait(struct core *c, size_t bytes); /* for room; false: the process ends */

void compact_run(void *arg);
/* Spans of the tenant that end before this are past its retention; 0: it keeps for ever. */
uint64_t retention_before_ns(const struct core *c, struct slice tenant);
void retention_run(struct core *c, struct catalog *catalog); /* compact thread */

/* own_blocks.c: which frames are in blocks already. */
/* Start.  A store that is away (connections, time-outs, 5xx) is ERR_OK and is_blind, a last number of 0; other errors are for whoever configured it. */
MUST_CHECK enum err own_blocks_ask(struct core *c, uint64_t *ret_max_lsn);
bool own_blocks_are_known(struct core *c);
void own_blocks_apply(struct core *c); /* apply thread: the store is back */
void own_blocks_end(struct core *c);   /* when is_stopping is set */

#endif
