/*
 * s3_list.h - one page of a listing, either version.
 */
#ifndef VIVACE_OBJSTORE_S3_LIST_H
#define VIVACE_OBJSTORE_S3_LIST_H

#include "common/base/arena.h"
#include "common/objstore/bucket.h"

struct s3_list_page {
    struct bucket_entry *entries; /* objects and common prefixes, ascending by key */
    uint32_t count, cap;
    bool is_truncated;
    const char *token;  /* of version 2; NULL: none */
    const char *marker; /* where version 1 goes on; NULL: not truncated */
};

/* Texts in the arena.  Errors: ERR_FORMAT not a listing; ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err s3_list_parse(struct slice xml, struct arena *a, struct s3_list_page *ret);

#endif
