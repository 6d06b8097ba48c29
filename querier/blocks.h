/*
 * blocks.h - the blocks a querier knows: a list per tenant, renewed by polling and by what ingesters tell, with the footers of blocks in use kept open.
 *
 * Memory:  footers are drawn from the budget given; blocks are shared by count.
 * Threads: any.
 */
#ifndef VIVACE_QUERIER_BLOCKS_H
#define VIVACE_QUERIER_BLOCKS_H

#include "common/base/arena.h"
#include "common/store/block.h"

struct blocks;

/* What one ingester's answer covers (proto Coverage). */
struct blocks_coverage {
    struct slice instance_id;
    uint64_t published_lsn;
    struct slice *recent; /* block ids */
    uint32_t recent_count;
    bool is_known;     /* the ingester answered */
    bool is_replaying; /* part of its log is not back yet: the answer is partial */
};

struct blocks_set {
    struct block **blocks; /* references; newest end first */
    uint32_t count;
    uint32_t unreadable; /* listed, but could not be opened: the answer is partial */
};

MUST_CHECK enum err blocks_new(struct backend *backend, struct budget *budget,
                               struct blocks **ret); /* borrows both */
void blocks_free(struct blocks *b);
/* Lists all tenants' blocks anew.  Errors: the backend's; the old list stays then. */
MUST_CHECK enum err blocks_poll(struct blocks *b);
bool blocks_are_away(struct blocks *b); /* the last listing failed */
uint64_t blocks_count(struct blocks *b, const char *tenant);
/* Tenant's blocks that overlap the window (0,0: all), leaving out what a live ingester still answers for itself.  Lists anew first when an ingester names a block
 * that is not known, or has published further than it had at the last listing; not while they are away: blocks_poll has to be
 * called again and again then, and answers are partial. */
MUST_CHECK enum err blocks_take(struct blocks *b, const char *tenant, uint64_t start_ns,
                                uint64_t end_ns, const struct blocks_coverage *coverage,
                                uint32_t coverage_count, struct arena *a, struct blocks_set *ret);
void blocks_give(struct blocks_set *set);

#endif
