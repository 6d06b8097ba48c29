/*
 * num.h - numbers as text: locale-free, bounded, exact.
 *
 * Source:  Go's strconv and time.ParseDuration ("1h30m", "1.5s", "100us", "100µs"), Prometheus durations ("1d12h",
 *          "2w"), Tempo's sizes (plain numbers) and ours ("64MiB", "10MB", "1GiB").
 */
#ifndef VIVACE_BASE_NUM_H
#define VIVACE_BASE_NUM_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/slice.h"

/* The whole slice must be the number.  Errors: ERR_INVALID not a number, ERR_TOO_LARGE out of range. */
MUST_CHECK enum err num_parse_i64(struct slice s, int64_t *ret);
MUST_CHECK enum err num_parse_u64(struct slice s, uint64_t *ret);
/* Decimal or hex float, "inf", "infinity", "nan" in any case; at most 511 bytes. */
MUST_CHECK enum err num_parse_double(struct slice s, double *ret);
MUST_CHECK enum err num_parse_duration_go(struct slice s,
                                          int64_t *ret_ns); /* signed, "0" allowed */
MUST_CHECK enum err num_parse_duration_prom(struct slice s,
                                            int64_t *ret_ns); /* y w d h m s ms, descending */
MUST_CHECK enum err num_parse_duration(struct slice s,
                                       int64_t *ret_ns); /* Prometheus form, else Go form */
/* 1500, 5e8, 1.5GiB, 10MB, 64Mi, 64k.  k M G T P count by 1000, Ki Mi Gi Ti Pi by 1024, either case, "B" may follow; parts
 * of a byte are cut. */
MUST_CHECK enum err num_parse_size(struct slice s, uint64_t *ret_bytes);

/* Text without a buf: NUL-terminated, returns its length. */
enum { NUM_TEXT_BYTES = 400 };
size_t num_format_duration(int64_t ns, char ret[NUM_TEXT_BYTES]);
size_t num_format_double_f(double v, char ret[NUM_TEXT_BYTES]);
size_t num_format_double_g(double v, char ret[NUM_TEXT_BYTES]);
size_t num_format_double_json(double v, char ret[NUM_TEXT_BYTES]);

/* Go's Duration.String: "1h30m0s", "1.5s", "31.5ms", "100µs", "5ns", "0s". */
void num_append_duration(struct buf *b, int64_t ns);
/* Shortest text that reads back as the same double: Go's FormatFloat(v, 'g'|'f', -1, 64).  num_append_double_f: never an
 * exponent.  num_append_double_g: exponent below 1e-4 and from 1e+06 on, as fmt's %v and Prometheus print.  Both: NaN, +Inf, -Inf.
 * num_append_double_json: as encoding/json: exponent below 1e-6 and from 1e+21 on ("1e+21", "1e-7", "-0"); NaN, Infinity,
 * -Infinity as bare words. */
void num_append_double_f(struct buf *b, double v);
void num_append_double_g(struct buf *b, double v);
void num_append_double_json(struct buf *b, double v);
void num_append_i64(struct buf *b, int64_t v);
void num_append_u64(struct buf *b, uint64_t v);

#endif
