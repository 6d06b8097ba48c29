/*
 * gzip.h - answers compressed whole, for clients that say they take it.
 *
 * Source:  RFC 1952; RFC 9110 12.5.3 (Accept-Encoding).
 * Threads: any.
 */
#ifndef VIVACE_CODEC_GZIP_H
#define VIVACE_CODEC_GZIP_H

#include "common/base/buf.h"

#include <stdbool.h>

/* Is gzip named, and not with q=0?  An asterisk is not taken for it. */
bool gzip_is_accepted(struct slice accept_encoding);

/* Appends one gzip member.  Errors: ERR_NOMEM, ERR_TOO_LARGE over out's limit (out is then failed). */
MUST_CHECK enum err gzip_bytes(struct slice bytes, struct buf *out);

#endif
