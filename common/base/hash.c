#include "common/base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_seed = 0x9e3779b97f4a7c15u;

void hash_seed_init(uint64_t seed)
{
    hash_seed = seed;
}

uint64_t hash_plain(struct slice s)
{
    return XXH3_64bits(s.ptr, s.len);
}

uint64_t hash_seeded(struct slice s)
{
    return XXH3_64bits_withSeed(s.ptr, s.len, hash_seed);
}

uint64_t hash_with(struct slice s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.ptr, s.len, seed);
}
