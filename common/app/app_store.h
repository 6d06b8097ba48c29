/*
 * app_store.h - the store of the configuration: a local directory, or a bucket.
 */
#ifndef VIVACE_APP_APP_STORE_H
#define VIVACE_APP_APP_STORE_H

#include "common/app/app.h"
#include "common/store/backend.h"

/* is_writer: the process publishes and removes blocks; else it only reads. */
MUST_CHECK enum err app_store_open(struct app *app, bool is_writer, struct backend **ret,
                                   struct err_detail *reterr_detail);

#endif
