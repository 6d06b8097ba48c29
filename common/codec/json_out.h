/*
 * json_out.h - streaming JSON writer into a buf.
 *
 * Shape:   no spaces, no trailing newline.  Commas are put in by the writer.
 * Text:    strings are slices; control characters, quotes, and invalid UTF-8 (as U+FFFD) are escaped, so any bytes give valid JSON.
 * Source:  protobuf JSON mapping as Tempo writes it: 64-bit integers as strings, bytes as padded base64, NaN and infinities as strings.
 * Errors:  sticky in the buf (buf_err).
 * Threads: one owner.
 */
#ifndef VIVACE_CODEC_JSON_OUT_H
#define VIVACE_CODEC_JSON_OUT_H

#include "common/base/buf.h"

struct json_out {
    struct buf *out;
    bool needs_comma;
};

void json_out_init(struct json_out *j, struct buf *out);
void json_out_begin_object(struct json_out *j);
void json_out_end_object(struct json_out *j);
void json_out_begin_array(struct json_out *j);
void json_out_end_array(struct json_out *j);
void json_out_key(struct json_out *j, const char *key);
void json_out_key_slice(struct json_out *j, struct slice key);
void json_out_string(struct json_out *j, struct slice s);
void json_out_cstring(struct json_out *j, const char *s);
void json_out_null(struct json_out *j);
void json_out_bool(struct json_out *j, bool v);
void json_out_u64(struct json_out *j, uint64_t v);      /* a number */
void json_out_i64(struct json_out *j, int64_t v);       /* a number */
void json_out_i64_text(struct json_out *j, int64_t v);  /* "123" */
void json_out_u64_text(struct json_out *j, uint64_t v); /* "123" */
void json_out_double(struct json_out *j, double v);
void json_out_base64(struct json_out *j, struct slice s);
void json_out_raw(struct json_out *j, struct slice json); /* a value that is JSON already */

#endif
