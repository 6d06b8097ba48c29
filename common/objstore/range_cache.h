/*
 * range_cache.h - ranges of objects that never change, in memory, shared by all queries: footers, dictionaries, pages of columns.
 *
 * Policy:  SIEVE over a bound in bytes, drawn from a budget.  A range is what is read at once, so look-ups are exact.
 * Loading: who claims a range loads it and fills it; who asks meanwhile waits for that, and claims it when it failed.
 * Threads: any.
 */
#ifndef VIVACE_OBJSTORE_RANGE_CACHE_H
#define VIVACE_OBJSTORE_RANGE_CACHE_H

#include "common/base/budget.h"
#include "common/base/slice.h"

#include <stdbool.h>

struct range_key {
    uint64_t object[2]; /* a hash of 128 bits of its name */
    uint64_t offset, len;
};
struct range_key range_cache_key(const char *object, uint64_t offset, size_t len);

struct range_cache;
MUST_CHECK enum err range_cache_new(size_t bytes_max, struct budget *budget,
                                    struct range_cache **ret); /* borrows the budget */
void range_cache_free(struct range_cache *c);                  /* nobody loads any more */

/* True: the range is here, or was loaded meanwhile, and stands in `ret`.  False: it is the caller's to load, who must call range_cache_fill. */
bool range_cache_get(struct range_cache *c, const struct range_key *key, void *ret);
/* True: nobody has it or loads it; the caller does, and must call range_cache_fill. */
bool range_cache_claim(struct range_cache *c, const struct range_key *key);
/* What was claimed; ptr NULL: it could not be loaded. */
void range_cache_fill(struct range_cache *c, const struct range_key *key, const uint8_t *ptr);
size_t range_cache_bytes(struct range_cache *c);

#endif
