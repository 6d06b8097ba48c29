/*
 * hash.h - XXH3, 64 and 128 bits.  hash_seeded for tables keyed by bytes from outside (the seed is
 * random per process, set by hash_seed_init at start); hash_plain where the value is stored or must be the same on every machine.
 */
#ifndef VIVACE_BASE_HASH_H
#define VIVACE_BASE_HASH_H

#include "common/base/slice.h"

#include <stdint.h>

extern uint64_t hash_seed; /* written once before threads start */

void hash_seed_init(uint64_t seed);
uint64_t hash_plain(struct slice s);
uint64_t hash_seeded(struct slice s);
uint64_t hash_with(struct slice s, uint64_t seed);

#endif
