/*
 * s3_priv.h - the inside of an S3 bucket: how requests are written (s3_call.c), uploads (s3_upload.c), listings (s3_list.c).
 */
#ifndef VIVACE_OBJSTORE_S3_PRIV_H
#define VIVACE_OBJSTORE_S3_PRIV_H

#include "common/objstore/s3.h"
#include "common/objstore/s3_credentials.h"

enum { S3_PART_BYTES = 16 << 20, S3_PART_BYTES_MIN = 5 << 20, S3_PARTS_MAX = 10000 };

struct s3 {
    struct remote remote; /* first */
    struct s3_options o;  /* texts in the arena */
    struct arena arena;
    struct s3_credentials *credentials;
    const char *host, *base_path; /* base_path: "" or "/bucket" */
    bool is_v1;                   /* remote.lock: the server lists by version 1 only */
    char region[64];              /* remote.lock */
    int64_t clock_skew_s;         /* remote.lock: the server's clock less ours */
};

MUST_CHECK enum err s3_write(struct remote *r, const struct remote_request *q, struct arena *a,
                             struct http_call *ret, const void **ret_ticket);
enum remote_verdict s3_refused(struct remote *r, const void *ticket, const struct remote_answer *a,
                               enum err *ret);
MUST_CHECK enum err s3_put_file(struct bucket *b, const char *key, const char *path);
MUST_CHECK enum err s3_list_page(struct remote *r, const struct remote_lister *l, struct arena *a,
                                 struct remote_page *ret);

#endif
