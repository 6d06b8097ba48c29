/*
 * app_store.h - the store of the configuration: a local directory, or a bucket.
 */
#ifndef VIVACE_APP_APP_STORE_H
#define VIVACE_APP_APP_STORE_H

#include "common/app/app.h"
#include "common/store/backend.h"

enum app_store_use {
    APP_STORE_LOOK,  /* what is in the store, as it is there */
    APP_STORE_QUERY, /* reads, through the caches of the configuration */
    APP_STORE_WRITE  /* publishes and removes blocks */
};
MUST_CHECK enum err app_store_open(struct app *app, enum app_store_use use, struct backend **ret,
                                   struct err_detail *reterr_detail);

#endif
