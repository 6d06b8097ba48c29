/*
 * otlp_to_json.h - an OTLP request as JSON, in one of two forms.
 *
 * Shape:   TEMPO: what /api/traces (key "batches") and /api/v2/traces (key "resourceSpans") answer: protobuf's JSON mapping, with base64 ids
 *          and enum names; defaults are left out, yet "status":{} and "scope":{} are written when the message was there.
 *          OTLP: OTLP/JSON, which receivers take and otlp_json_to_pb reads back: hex ids, enums as numbers.
 *          64-bit integers are texts in both.
 */
#ifndef VIVACE_CODEC_OTLP_TO_JSON_H
#define VIVACE_CODEC_OTLP_TO_JSON_H

#include "common/codec/json_out.h"

enum otlp_to_json_form { OTLP_TO_JSON_TEMPO, OTLP_TO_JSON_OTLP };

/* Writes the array of resource spans of an OTLP request that otlp_check has passed (or that we wrote ourselves). */
void otlp_to_json_write(struct json_out *j, struct slice otlp, enum otlp_to_json_form form);
/* One AnyValue's body ("{"stringValue":"x"}"). */
void otlp_to_json_value(struct json_out *j, struct slice any_value, enum otlp_to_json_form form);

#endif
