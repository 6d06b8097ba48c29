/*
 * trace_id.h - 16-byte trace ids and 8-byte span ids, by value; hex both ways.
 *
 * Source:  OTLP trace.proto: trace_id is 16 bytes, span_id 8 bytes, neither all zero.
 *          Tempo: a trace id in a URL is 1 to 32 hex digits, either case, padded on the left; search
 *          answers strip leading zeros.
 */
#ifndef VIVACE_BASE_TRACE_ID_H
#define VIVACE_BASE_TRACE_ID_H

#include "common/base/err.h"
#include "common/base/slice.h"

enum { TRACE_ID_BYTES = 16, SPAN_ID_BYTES = 8, TRACE_ID_HEX = 32, SPAN_ID_HEX = 16 };

struct trace_id {
    uint8_t b[TRACE_ID_BYTES];
};

struct span_id {
    uint8_t b[SPAN_ID_BYTES];
};

/* Errors: ERR_INVALID wrong length or all zero. */
MUST_CHECK enum err trace_id_from_wire(struct slice wire, struct trace_id *ret_id);
MUST_CHECK enum err span_id_from_wire(struct slice wire, struct span_id *ret_id);

/* 1..32 hex digits.  Errors: ERR_INVALID with Tempo's wording in the detail:
 * "trace IDs can only contain hex characters: invalid character 'z' at position 3",
 * "trace IDs can't be larger than 128 bits". */
MUST_CHECK enum err trace_id_from_hex(struct slice hex, struct trace_id *ret_id,
                                      struct err_detail *reterr_detail);

void trace_id_to_hex(struct trace_id id, char ret_hex[TRACE_ID_HEX + 1]);
/* Leading zeros stripped, as in search answers and exemplars; "0" for the zero id. */
void trace_id_to_hex_short(struct trace_id id, char ret_hex[TRACE_ID_HEX + 1]);
void span_id_to_hex(struct span_id id, char ret_hex[SPAN_ID_HEX + 1]);
void hex_encode(struct slice bytes, char *ret_hex); /* 2*len digits, NUL */
/* Exactly 2*len digits into len bytes.  Errors: ERR_INVALID. */
MUST_CHECK enum err hex_decode(struct slice hex, uint8_t *ret_bytes, size_t len);

bool trace_id_eq(struct trace_id a, struct trace_id b);
int trace_id_cmp(struct trace_id a, struct trace_id b);
uint64_t trace_id_hash(struct trace_id id); /* seeded per process */

#endif
