/*
 * tenants.h - what the distributor keeps per tenant: a token bucket of bytes and the metric cells of the hot path.
 *
 * Limits:  TENANTS_MAX tenants; one more is refused (ERR_LIMIT).  Entries stay until the table is freed.
 * Threads: any.
 * Source:  golang.org/x/time/rate as Tempo uses it: AllowN of the whole batch; a rate of 0 lets nothing through.
 */
#ifndef VIVACE_DISTRIBUTOR_TENANTS_H
#define VIVACE_DISTRIBUTOR_TENANTS_H

#include "common/app/config.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/map.h"
#include "common/obs/metrics.h"
#include "common/sys/thread.h"

enum { TENANTS_MAX = 10000, TENANT_ID_BYTES_MAX = 150 };

struct tenant {
    UT_hash_handle hh;
    char id[TENANT_ID_BYTES_MAX + 1];
    double tokens; /* bytes */
    int64_t filled_ns;
    struct metric_cell *spans_received, *bytes_received, *ingress_bytes, *rate_limited;
};

struct tenants {
    struct mutex lock; /* table, and tokens and filled_ns of every tenant */
    struct tenant *table;
    bool is_global; /* rate_strategy: only for the words of the refusal */
    const struct clock *clock;
};

void tenants_init(struct tenants *t, bool is_global, const struct clock *clock);
void tenants_release(struct tenants *t);
/* The tenant, made if new; lives as long as the table.  Errors: ERR_LIMIT, ERR_NOMEM. */
MUST_CHECK enum err tenants_get(struct tenants *t, const char *id, struct tenant **ret,
                                struct err_detail *reterr_detail);
/* Takes the bytes of a batch out of the bucket, by the limits that the tenant has now.  Errors: ERR_LIMIT over the rate (later it may fit), ERR_TOO_LARGE over the burst (it never
 * will); nothing is taken then. */
MUST_CHECK enum err tenants_take(struct tenants *t, struct tenant *tenant,
                                 const struct limits *limits, size_t bytes,
                                 struct err_detail *reterr_detail);

#endif
