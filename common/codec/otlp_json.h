/*
 * otlp_json.h - OTLP/JSON trace requests, made into OTLP protobuf bytes.
 *
 * Shape:   the whole text is checked and counted first (grammar, UTF-8, nesting), so every syntax error has its line and column; then cJSON
 *          builds the tree and a table of fields writes protobuf in the order of the text.  otlp_check is still to be asked afterwards: it knows
 *          counts and fields given twice.
 * Accepts: lowerCamelCase and snake_case names (case counts), 64-bit integers as text or number (exact, never through a double), enum names or
 *          numbers, ids as hex, bytes as base64 (either alphabet, padding optional), "NaN" "Infinity" "-Infinity", null for absent; unknown
 *          keys are ignored; \u0000 stays; a lone surrogate becomes U+FFFD.
 * Memory:  tree and scratch are drawn from the budget and released before the return; ret is bounded by its own len_max.
 * Threads: any (cJSON's allocator hooks are set once and look at a thread's own arena).
 * Errors:  ERR_FORMAT (detail: line, column or the path of the field), ERR_TOO_LARGE over OTLP_JSON_BYTES_MAX or ret's maximum, ERR_LIMIT,
 *          ERR_NOMEM.
 * Source:  OTLP 1.x specification, "JSON Protobuf Encoding".
 */
#ifndef VIVACE_CODEC_OTLP_JSON_H
#define VIVACE_CODEC_OTLP_JSON_H

#include "common/base/budget.h"
#include "common/base/buf.h"

enum { OTLP_JSON_BYTES_MAX = 8 << 20, OTLP_JSON_DEPTH_MAX = 64 };

MUST_CHECK enum err otlp_json_to_pb(struct slice json, struct budget *budget, struct buf *ret,
                                    struct err_detail *reterr_detail);

#endif
