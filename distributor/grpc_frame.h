/*
 * grpc_frame.h - what a refusal says beside its message: grpc-status-details-bin.
 *
 * Source:  google/rpc/status.proto, error_details.proto.
 */
#ifndef VIVACE_DISTRIBUTOR_GRPC_FRAME_H
#define VIVACE_DISTRIBUTOR_GRPC_FRAME_H

#include "common/base/buf.h"
#include "distributor/verdict.h"

/* google.rpc.Status in protobuf, with RetryInfo when retry_ns > 0. */
void grpc_frame_status(const struct verdict *v, struct buf *out);
void grpc_frame_base64(struct slice bytes, struct buf *out); /* no padding, NUL-terminated */

#endif
