#include "common/codec/gzip_crc.h"

#include <libdeflate.h>

uint32_t gzip_crc(struct slice bytes)
{
    return libdeflate_crc32(0, bytes.ptr, bytes.len);
}
