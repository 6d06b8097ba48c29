/*
 * rfc3339.h - a time as people and APIs write it.
 *
 * Source:  RFC 3339, section 5.6; with a fraction of up to nine digits that count.
 */
#ifndef VIVACE_BASE_RFC3339_H
#define VIVACE_BASE_RFC3339_H

#include "common/base/slice.h"

/* "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05+02:00" as ns since the epoch; false when it is none, or before 1970. */
bool rfc3339_parse(struct slice text, uint64_t *ret_ns);

#endif
