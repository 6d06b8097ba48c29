/*
 * app_cache.h - the caches of the configuration that queriers share: memcached, redis.
 */
#ifndef VIVACE_APP_APP_CACHE_H
#define VIVACE_APP_APP_CACHE_H

#include "common/app/app.h"
#include "common/objstore/shared_ranges.h"

/* NULL: there are none.  Nobody is connected to yet. */
MUST_CHECK enum err app_cache_open(struct app *app, struct shared_ranges **ret,
                                   struct err_detail *reterr_detail);

#endif
