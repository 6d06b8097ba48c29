/*
 * s3_list.h - one page of a listing, either version.
 */
#ifndef VIVACE_OBJSTORE_S3_LIST_H
#define VIVACE_OBJSTORE_S3_LIST_H

#include "common/objstore/remote.h"

/* Texts in the arena.  Errors: ERR_FORMAT not a listing; ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err s3_list_parse(struct slice xml, struct arena *a, struct remote_page *ret);

#endif
