#include "common/codec/snappy_block.h"

#include <snappy-c.h>

enum err snappy_block_compress(struct slice raw, struct buf *out)
{
    size_t len = snappy_max_compressed_length(raw.len);
    uint8_t *at = buf_extend(out, len);

    if (at == NULL)
        return buf_err(out);
    size_t room = len;
    if (snappy_compress((const char *)raw.ptr, raw.len, (char *)at, &len) != SNAPPY_OK)
        return ERR_INTERNAL;
    out->len -= room - len;
    return ERR_OK;
}
