/*
 * core.h - the ingester without its network: pushes in, durable, visible, answered; generations of heads become blocks.
 *
 * Shape:   door (any thread) -> commit thread (WAL, one sync a group) -> apply thread (the only writer of heads) -> answer.
 *          A generation is the heads of all tenants over one range of WAL frames.  Sealed generations go to the build thread, oldest first, and
 *          leave the view in the instant in which their blocks enter it.  README.md has the picture.
 * Threads: core_push, core_flush, core_state and views from any thread; the rest from the thread that started it.
 */
#ifndef VIVACE_INGESTER_CORE_H
#define VIVACE_INGESTER_CORE_H

#include "common/app/overrides.h"
#include "common/base/budget.h"
#include "common/base/clock.h"
#include "common/ring/members.h"
#include "common/store/backend.h"
#include "common/store/wal.h"
#include "common/sys/queue.h"
#include "ingester/push_message.h"

enum push_kind {
    PUSH_CLIENT,
    PUSH_CARRIED,
    PUSH_REPLAYED,
    PUSH_RECALLED, /* payload: ids of traces that were cut before the start */
    PUSH_REPLAY_END,
    PUSH_OWN_BLOCKS, /* the store, which was away at the start, has been listed */
    PUSH_WAKE
};

/* One push on its way.  The sender owns the bytes that `m` borrows until `finished` is called, exactly once, on any thread. */
struct push {
    struct queue_item item; /* first */
    enum push_kind kind;
    struct push_message m;
    uint8_t wal_flags;
    uint64_t lsn;
    uint32_t spans_stored; /* replayed: so many of its first spans are in a block */
    bool is_duplicate;
    enum err err; /* ERR_OK: durable and visible, but for what `refused` names */
    struct push_refusal *refused;
    uint32_t refused_count;
    void (*finished)(struct push *p); /* frees `refused` and the push */
    void *arg;
};

struct core;
struct core_options {
    const struct config *config;
    struct overrides *overrides;
    const struct clock *clock;
    struct budget *memory; /* of the process */
    const char *instance_id;
    struct backend *backend;
    const struct wal_io *wal_io; /* NULL: the real one */
    void (*fail)(int exit_code); /* the disk is gone for good */
};

/* Locks the WAL folder and starts; replay goes on in the background.  Errors: ERR_CONFLICT another process has the folder; a store that refuses or
 * does not exist.  One that is away is waited for while everything else goes on. */
MUST_CHECK enum err core_start(const struct core_options *o, struct core **ret,
                               struct err_detail *reterr_detail);
void core_push(struct core *c,
               struct push *p); /* takes it; may call p->finished before it returns */
enum member_state core_state(struct core *c,
                             char *ret_text); /* ret_text: 256 bytes, why not ACTIVE */
/* Calls `fn` (any thread) when everything acknowledged before this call is in blocks, or when writing one has failed once. */
typedef void core_flushed(void *arg, enum err err);
void core_flush(struct core *c, core_flushed *fn, void *arg);
void core_read_gauges(struct core *c); /* sets the gauges that are computed */
void core_wake(struct core *c);        /* look at the cutting rules now */
void core_drain(
    struct core *c, bool is_flush_all,
    int64_t timeout_ns);        /* no new pushes, the queue finished and durable, threads ended */
void core_free(struct core *c); /* drains first if nobody did */

/* What a query of one tenant reads: a consistent set of heads and what they do not hold. */
struct head;
struct generation;
struct view_item {
    struct head *head;
    struct generation *generation;
    const struct trace_id
        *skip; /* ascending: whole in a newer head of this view, leave them out here */
    uint32_t skip_count;
    const struct trace_id *split; /* ascending: on their way to a newer head, possibly in both */
    uint32_t split_count;
};
struct view_block {
    char id[37];
};
struct view {
    struct view_item *items; /* newest first */
    uint32_t count;
    uint64_t published_lsn;
    struct view_block *recent;
    uint32_t recent_count;
    bool
        is_replaying; /* frames of before the restart are still missing, or what is in blocks of them is not known */
};
MUST_CHECK enum err core_view(struct core *c, struct slice tenant, struct arena *a,
                              struct view *ret);
void core_view_release(struct core *c, struct view *v);

#endif
