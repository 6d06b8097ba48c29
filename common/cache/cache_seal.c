#include "common/cache/cache_seal.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"

#include <string.h>

void cache_seal_write(uint8_t ret[CACHE_SEAL_BYTES], const char *key, struct slice bytes)
{
    memcpy(ret, "VVC1", 4);
    le32_write(ret + 4, (uint32_t)bytes.len);
    le64_write(ret + 8, hash_with(bytes, hash_plain(slice_str(key))));
}

bool cache_seal_fits(const uint8_t seal[CACHE_SEAL_BYTES], const char *key, struct slice bytes)
{
    uint8_t want[CACHE_SEAL_BYTES];

    cache_seal_write(want, key, bytes);
    return memcmp(want, seal, sizeof want) == 0;
}
