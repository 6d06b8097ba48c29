/*
 * map.h - uthash, configured once: seeded XXH3, no exit on out-of-memory (the `oom` hook leaves the
 * element out and the caller sees it by looking for its hh.tbl / count).
 * Use uthash's macros HASH_FIND, HASH_ADD_KEYPTR, HASH_ITER, HASH_DEL as documented by uthash 2.3.
 */
#ifndef VIVACE_BASE_MAP_H
#define VIVACE_BASE_MAP_H

#include "common/base/hash.h"

#include <stdbool.h>

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(keyptr, keylen, hashv) \
    ((hashv) = (unsigned)hash_seeded((struct slice){(const uint8_t *)(keyptr), (keylen)}))
#include <uthash.h>
#include <utlist.h>

#endif
