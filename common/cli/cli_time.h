/*
 * cli_time.h - times and durations, from the command line and for people.
 */
#ifndef VIVACE_CLI_CLI_TIME_H
#define VIVACE_CLI_CLI_TIME_H

#include "common/base/err.h"
#include "common/base/slice.h"

enum { CLI_TIME_BYTES = 48 };

/* RFC 3339; a number of seconds, or of ms, us, ns by its digits; "now", "now-1h", "now+5m"; "1h": that long ago.  ns since the epoch.
 * ERR_INVALID with one line. */
MUST_CHECK enum err cli_time_parse(const char *text, int64_t now_ns, int64_t *ret_ns,
                                   struct err_detail *reterr_detail);
/* "1h30m", "2d", "1.5s", or a plain number of seconds; more than nothing. */
MUST_CHECK enum err cli_time_duration(const char *text, int64_t *ret_ns,
                                      struct err_detail *reterr_detail);

/* Three digits that count: "446ms", "1.23s", "2m03s", "1h02m", "3d04h". */
void cli_time_put_duration(uint64_t ns, char ret[CLI_TIME_BYTES]);
enum cli_time_form {
    CLI_TIME_OF_DAY,  /* 03:04:05 */
    CLI_TIME_SECONDS, /* 2026-01-02 03:04:05 */
    CLI_TIME_MS       /* 2026-01-02 03:04:05.678 */
};
/* Local time (TZ), or UTC. */
void cli_time_put(uint64_t ns, enum cli_time_form form, bool is_utc, char ret[CLI_TIME_BYTES]);
/* What those times are: "UTC", "+02:00". */
void cli_time_put_zone(uint64_t ns, bool is_utc, char ret[CLI_TIME_BYTES]);

#endif
