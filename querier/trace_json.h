/*
 * trace_json.h - a trace as Tempo's JSON: OTLP with base64 ids, enum names and 64-bit integers as strings.
 *
 * Source:  contract of /api/traces (key "batches") and /api/v2/traces (key "resourceSpans"); defaults are left out, yet "status":{} and
 *          "scope":{} are written when the message was there.
 */
#ifndef VIVACE_QUERIER_TRACE_JSON_H
#define VIVACE_QUERIER_TRACE_JSON_H

#include "common/codec/json_out.h"

/* Writes the array of resource spans of an OTLP request that otlp_check has passed (or that we wrote ourselves). */
void trace_json_write(struct json_out *j, struct slice otlp);

#endif
