/*
 * succession.h - which merged blocks stand for which blocks, where merges overlap because two compactors did not see each other.
 *
 * Rule:    a merged block (an heir) is accepted or not; an accepted one hides the blocks that it was made from, one that is not accepted is hidden itself and hides nothing.
 *          No two accepted heirs have an input in common, and every input that is not there any more is in an accepted one: so whoever reads, whatever
 *          he knows of the store, reads each span once.  Of the sets for which both hold it is the one that takes the heirs in the order of (time of publishing, id), each
 *          if that can be: the same everywhere where the same blocks are seen.
 * Stays:   inputs of accepted heirs may be removed, in any order: the set that was chosen holds on.  An heir that comes to light later and would have been chosen
 *          is not, where an accepted one has lost something that is nowhere else; else they change places, and nothing is lost by that either.
 * Removal: an input that has been hidden by one and the same heir, in the eyes of who removes it, for longer than the last two requests of a publication take, and a
 *          removal.  Two who saw for so long what excludes each other can not be, since a store shows what was written.  Should it happen all the same (or
 *          should there be more than SUCCESSION_CONTESTED_MAX heirs that overlap) nothing that is nowhere else is hidden: rather twice than lost.
 */
#ifndef VIVACE_OBJSTORE_SUCCESSION_H
#define VIVACE_OBJSTORE_SUCCESSION_H

#include "common/store/block_lineage.h"

enum { SUCCESSION_CONTESTED_MAX = 16 };

struct heir {
    const char *id;
    uint64_t since_ns;             /* published */
    const struct block_from *from; /* borrowed, as the id */
    uint32_t from_count;
    bool is_accepted; /* result */
};
struct succession { /* in the arena */
    struct heir *heirs;
    struct inheritance *all; /* by id */
    uint32_t heir_count, count, rejected;
};
typedef bool succession_is_there_fn(void *arg, const char *id);

/* Sorts the heirs; no id twice.  Errors: the arena's. */
MUST_CHECK enum err succession_resolve(struct heir *heirs, uint32_t count,
                                       succession_is_there_fn *is_there, void *arg, struct arena *a,
                                       struct succession *ret);
/* The accepted heir that stands for a block; NULL: none.  *ret_is_claimed: some heir, accepted or not, was made from it. */
const struct heir *succession_find(const struct succession *s, const char *id,
                                   bool *ret_is_claimed);
/* Is it an heir that is not accepted? */
bool succession_is_rejected(const struct succession *s, const char *id);

#endif
