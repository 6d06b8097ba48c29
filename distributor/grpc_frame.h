/*
 * grpc_frame.h - gRPC over HTTP/2 as bytes: the message prefix, grpc-timeout, grpc-message, grpc-status-details-bin.
 *
 * Source:  gRPC over HTTP2 (PROTOCOL-HTTP2.md); google/rpc/status.proto, error_details.proto.
 */
#ifndef VIVACE_DISTRIBUTOR_GRPC_FRAME_H
#define VIVACE_DISTRIBUTOR_GRPC_FRAME_H

#include "common/base/buf.h"
#include "common/codec/inflate.h"
#include "distributor/verdict.h"

/* The one message of a unary call.  `encoding` is grpc-encoding.  Errors: the code and words of the verdict say which; ret_message borrows. */
MUST_CHECK bool grpc_frame_read(struct slice body, struct slice encoding, struct slice *ret_message,
                                enum inflate_kind *ret_kind, struct verdict *reterr_verdict);

/* "100m" and the like into ns; -1 when it is none (absent or malformed: no deadline). */
int64_t grpc_frame_timeout_ns(struct slice header);

/* grpc-message: bytes outside printable ASCII, and '%', as %XX; NUL-terminated. */
void grpc_frame_message(struct slice text, struct buf *out);

/* google.rpc.Status in protobuf, with RetryInfo when retry_ns > 0. */
void grpc_frame_status(const struct verdict *v, struct buf *out);
void grpc_frame_base64(struct slice bytes, struct buf *out); /* no padding, NUL-terminated */

#endif
