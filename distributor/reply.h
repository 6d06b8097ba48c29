/*
 * reply.h - a verdict as OTLP/gRPC and OTLP/HTTP say it.
 *
 * Source:  contract of Tempo's receivers: bodies, statuses and texts; OTLP specification (partial success, Retry-After).
 */
#ifndef VIVACE_DISTRIBUTOR_REPLY_H
#define VIVACE_DISTRIBUTOR_REPLY_H

#include "common/net/http_server.h"
#include "distributor/verdict.h"

void reply_grpc(struct http_req *req, const struct verdict *v);
void reply_http(struct http_req *req, const struct verdict *v, bool is_json);

/* The bodies alone: ExportTraceServiceResponse when the verdict is OK, else google.rpc.Status. */
void reply_body_pb(const struct verdict *v, struct buf *out);
void reply_body_json(const struct verdict *v, struct buf *out);

#endif
