/*
 * json_scan.h - proves that a text is JSON and rewrites it so that no tree builder can lose anything of it.
 *
 * Rewrite: a number becomes a string that begins with JSON_SCAN_NUMBER (its digits stay as written), an escaped NUL becomes the byte
 *          JSON_SCAN_NUL, a lone surrogate U+FFFD.  Both bytes never occur in UTF-8, which all strings are checked to be.
 * Errors:  ERR_FORMAT, ERR_TOO_LARGE (nesting), with line and column (of the byte, 1-based).
 */
#ifndef VIVACE_CODEC_JSON_SCAN_H
#define VIVACE_CODEC_JSON_SCAN_H

#include "common/base/err.h"
#include "common/base/slice.h"

enum { JSON_SCAN_NUMBER = 0xff, JSON_SCAN_NUL = 0xfe, JSON_SCAN_DEPTH_MAX = 64 };

/* Writes the rewritten text to `out` if that is not NULL; *ret_len is its length in both cases. */
MUST_CHECK enum err json_scan(struct slice json, unsigned depth_max, uint8_t *out, size_t *ret_len,
                              struct err_detail *reterr_detail);

#endif
