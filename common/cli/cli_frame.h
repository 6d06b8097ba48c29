/*
 * cli_frame.h - messages of a gRPC answer, one after the other off its bytes.
 *
 * Source:  gRPC over HTTP2 (PROTOCOL-HTTP2.md): a flag, the length, the message.
 */
#ifndef VIVACE_CLI_CLI_FRAME_H
#define VIVACE_CLI_CLI_FRAME_H

#include "common/base/err.h"
#include "common/base/slice.h"

enum { CLI_FRAME_BYTES_MAX = 64 << 20 };

/* Takes the first whole message off `rest`; false when there is none (yet), or with *reterr: ERR_FORMAT, ERR_TOO_LARGE. */
bool cli_frame_next(struct slice *rest, struct slice *ret_message, enum err *reterr,
                    struct err_detail *reterr_detail);

#endif
