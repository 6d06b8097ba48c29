/*
 * grpc.h - gRPC over HTTP/2 as bytes: content type, message prefix, grpc-timeout, grpc-message.
 *
 * Source:  gRPC over HTTP2 (PROTOCOL-HTTP2.md).
 */
#ifndef VIVACE_NET_GRPC_H
#define VIVACE_NET_GRPC_H

#include "common/base/buf.h"
#include "common/codec/inflate.h"

enum { GRPC_PREFIX_BYTES = 5 };

/* application/grpc, alone, with +proto, or with parameters. */
bool grpc_is_type(struct slice content_type);

/* The one message of a call.  `encoding` is grpc-encoding.  False: *reterr_code is a google.rpc.Code, the detail its words; ret_message borrows. */
MUST_CHECK bool grpc_message_read(struct slice body, struct slice encoding,
                                  struct slice *ret_message, enum inflate_kind *ret_kind,
                                  unsigned *reterr_code, struct err_detail *reterr_detail);
/* An uncompressed message: its prefix, then whatever is appended until it is closed with the mark that open gave. */
size_t grpc_message_open(struct buf *out);
void grpc_message_close(struct buf *out, size_t mark);

/* "100m" and the like into ns; -1 when it is none (absent or malformed: no deadline). */
int64_t grpc_timeout_ns(struct slice header);

/* The value of grpc-message: bytes outside printable ASCII, and '%', as %XX; NUL-terminated. */
void grpc_escape(struct slice text, struct buf *out);

#endif
