#include "common/cli/cli_frame.h"

#include "common/base/bytes.h"
#include "common/net/grpc.h"

bool cli_frame_next(struct slice *rest, struct slice *ret_message, enum err *reterr,
                    struct err_detail *reterr_detail)
{
    if (rest->len < GRPC_PREFIX_BYTES)
        return false;
    uint32_t len = be32_read(rest->ptr + 1);
    if (rest->ptr[0] != 0) {
        *reterr = err_detail_set(reterr_detail, ERR_FORMAT,
                                 "the server sent a compressed message, unasked");
        return false;
    }
    if (len > CLI_FRAME_BYTES_MAX) {
        *reterr = err_detail_set(reterr_detail, ERR_TOO_LARGE,
                                 "the server sent a message of more than %d MiB",
                                 CLI_FRAME_BYTES_MAX >> 20);
        return false;
    }
    if (len > rest->len - GRPC_PREFIX_BYTES)
        return false;
    *ret_message = slice_sub(*rest, GRPC_PREFIX_BYTES, GRPC_PREFIX_BYTES + (size_t)len);
    *rest = slice_sub(*rest, GRPC_PREFIX_BYTES + (size_t)len, rest->len);
    return true;
}
