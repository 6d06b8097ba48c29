/*
 * renewal.h - when credentials that end are fetched anew.
 *
 * Rule:    RENEWAL_MARGIN_NS before they end, or when the server refused them.  A failed attempt keeps the old ones while they last, and whoever
 *          gives them is then left alone for a while.
 * Threads: one at a time: the owner's lock.
 */
#ifndef VIVACE_OBJSTORE_RENEWAL_H
#define VIVACE_OBJSTORE_RENEWAL_H

#include "common/base/clock.h"
#include "common/base/err.h"

#define RENEWAL_MARGIN_NS (5 * 60 * NS_PER_S)

struct renewal {
    const struct clock *clock;
    bool is_known, is_refused;
    int64_t expires_ns; /* wall clock; 0: never */
    int64_t failed_ns;  /* mono; 0: not */
};

bool renewal_is_due(const struct renewal *r);
/* After an attempt: whether it is an error depends on what is had already. */
MUST_CHECK enum err renewal_done(struct renewal *r, enum err e, int64_t expires_ns);

#endif
