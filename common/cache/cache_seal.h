/*
 * cache_seal.h - what stands before a value in a cache, so that nothing but what was put under a key is taken for it.
 *
 * Shape:   "VVC1", u32 bytes of the value, u64 XXH3-64 of the value under the seed XXH3-64 (seed 0) of the key; little-endian.
 */
#ifndef VIVACE_CACHE_CACHE_SEAL_H
#define VIVACE_CACHE_CACHE_SEAL_H

#include "common/base/slice.h"

#include <stdbool.h>

enum { CACHE_SEAL_BYTES = 16 };

void cache_seal_write(uint8_t ret[CACHE_SEAL_BYTES], const char *key, struct slice bytes);
bool cache_seal_fits(const uint8_t seal[CACHE_SEAL_BYTES], const char *key, struct slice bytes);

#endif
