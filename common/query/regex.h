/*
 * regex.h - RE2 behind C: Tempo's very syntax and semantics, linear time.  Fully anchored, `.` matches newline.
 * Threads: a compiled regex may be used by many threads.
 */
#ifndef VIVACE_QUERY_REGEX_H
#define VIVACE_QUERY_REGEX_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "common/base/err.h"
#include "common/base/slice.h"

struct ql_regex;
/* Errors: ERR_INVALID (detail: RE2's reason), ERR_LIMIT (program over 8 MiB), ERR_NOMEM. */
enum err regex_compile(struct slice pattern, struct ql_regex **ret,
                       struct err_detail *reterr_detail);
/* The same without anchors: a match anywhere counts (filter policies of the generator). */
enum err regex_compile_search(struct slice pattern, struct ql_regex **ret,
                              struct err_detail *reterr_detail);
bool regex_match(const struct ql_regex *r, struct slice text);
void regex_free(struct ql_regex *r);

#ifdef __cplusplus
}
#endif

#endif
