/*
 * log.h - one line per event, logfmt or JSON, on stderr.  Rooms log; common/ does not (debug level excepted).
 *
 * Shape:   ts= level= caller= msg= then typed fields; values are escaped (control characters, quotes), a line is
 *          at most 4 KiB.  `event` is a fixed snake_case word and is printed as msg.
 * Threads: any; a line is one write.
 * Use:     log_warn("flush_failed", LOG_STR("tenant", t), LOG_ERR(e), LOG_UINT("block_bytes", n));
 */
#ifndef VIVACE_OBS_LOG_H
#define VIVACE_OBS_LOG_H

#include "common/base/err.h"
#include "common/base/slice.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_kind {
    LOG_KIND_STR,
    LOG_KIND_SLICE,
    LOG_KIND_HEX,
    LOG_KIND_INT,
    LOG_KIND_UINT,
    LOG_KIND_DOUBLE,
    LOG_KIND_NS,
    LOG_KIND_BOOL
};

struct log_field {
    const char *key;
    enum log_kind kind;
    union {
        const char *str;
        struct slice slice;
        int64_t i;
        uint64_t u;
        double d;
    } v;
};

#define LOG_STR(k, s)    ((struct log_field){.key = (k), .kind = LOG_KIND_STR, .v.str = (s)})
#define LOG_SLICE(k, s)  ((struct log_field){.key = (k), .kind = LOG_KIND_SLICE, .v.slice = (s)})
#define LOG_HEX(k, s)    ((struct log_field){.key = (k), .kind = LOG_KIND_HEX, .v.slice = (s)})
#define LOG_INT(k, n)    ((struct log_field){.key = (k), .kind = LOG_KIND_INT, .v.i = (n)})
#define LOG_UINT(k, n)   ((struct log_field){.key = (k), .kind = LOG_KIND_UINT, .v.u = (n)})
#define LOG_DOUBLE(k, n) ((struct log_field){.key = (k), .kind = LOG_KIND_DOUBLE, .v.d = (n)})
#define LOG_NS(k, n)     ((struct log_field){.key = (k), .kind = LOG_KIND_NS, .v.i = (n)})
#define LOG_BOOL(k, b)   ((struct log_field){.key = (k), .kind = LOG_KIND_BOOL, .v.u = (b)})
#define LOG_ERR(e)       ((struct log_field){.key = "error", .kind = LOG_KIND_STR, .v.str = err_name(e)})
#define LOG_ERRNO(n)     ((struct log_field){.key = "errno", .kind = LOG_KIND_INT, .v.i = (n)})

void log_configure(enum log_level level, bool is_json, const char *component);
MUST_CHECK enum err log_level_parse(struct slice s, enum log_level *ret);
bool log_is_on(enum log_level level);
void log_write(enum log_level level, const char *caller, const char *event,
               const struct log_field *fields, size_t count);

#define LOG_STRINGIFY2(x) #x
#define LOG_STRINGIFY(x)  LOG_STRINGIFY2(x)
#define LOG_CALLER        (__FILE__ ":" LOG_STRINGIFY(__LINE__))
/* The leading dummy lets the list of fields be empty. */
#define LOG_AT(level, event, ...)                                                  \
    do {                                                                           \
        if (log_is_on(level)) {                                                    \
            const struct log_field log_fields[] = {LOG_INT("", 0), ##__VA_ARGS__}; \
            log_write((level), LOG_CALLER, (event), log_fields + 1,                \
                      sizeof log_fields / sizeof log_fields[0] - 1);               \
        }                                                                          \
    } while (0)
#define log_debug(event, ...) LOG_AT(LOG_LEVEL_DEBUG, event, ##__VA_ARGS__)
#define log_info(event, ...)  LOG_AT(LOG_LEVEL_INFO, event, ##__VA_ARGS__)
#define log_warn(event, ...)  LOG_AT(LOG_LEVEL_WARN, event, ##__VA_ARGS__)
#define log_error(event, ...) LOG_AT(LOG_LEVEL_ERROR, event, ##__VA_ARGS__)

/* For hot paths: true at most once per interval; *ret_suppressed says how many it held back since (log it as suppressed=). */
struct log_rate {
    atomic_llong next_ns;
    atomic_ullong suppressed;
};
bool log_rate_allow(struct log_rate *r, int64_t interval_ns, uint64_t *ret_suppressed);

#endif
