#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/net/rpc.h"

#include <assert.h>

enum { RPC_MAGIC = 'V', RPC_VERSION = 1 };

void rpc_frame_write(uint8_t ret_header[RPC_HEADER_BYTES], uint16_t word, const struct slice *parts,
                     unsigned part_count)
{
    assert(parts != NULL || part_count == 0);
    ret_header[0] = RPC_MAGIC;
    ret_header[1] = RPC_VERSION;
    le16_write(ret_header + 2, word);
    uint32_t crc = crc32c((struct slice){ret_header, 4});
    for (unsigned i = 0; i < part_count; i++)
        crc = crc32c_extend(crc, parts[i]);
    le32_write(ret_header + 4, crc);
}

enum err rpc_frame_read(struct slice message, uint16_t *ret_word, struct slice *ret_payload)
{
    if (message.len < RPC_HEADER_BYTES)
        return ERR_CORRUPT;
    if (message.ptr[0] != RPC_MAGIC || message.ptr[1] != RPC_VERSION)
        return ERR_CORRUPT;
    struct slice payload = slice_sub(message, RPC_HEADER_BYTES, message.len);
    uint32_t crc = crc32c_extend(crc32c(slice_sub(message, 0, 4)), payload);
    if (crc != le32_read(message.ptr + 4))
        return ERR_CORRUPT;
    *ret_word = le16_read(message.ptr + 2);
    *ret_payload = payload;
    return ERR_OK;
}
