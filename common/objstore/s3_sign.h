/*
 * s3_sign.h - AWS Signature Version 4 of a request whose body is known.
 *
 * Source:  "Authenticating Requests (AWS Signature Version 4)" of the S3 API reference; its examples are the unit test.
 * Memory:  texts are made in the arena.
 * Errors:  ERR_NOMEM, ERR_LIMIT.
 */
#ifndef VIVACE_OBJSTORE_S3_SIGN_H
#define VIVACE_OBJSTORE_S3_SIGN_H

#include "common/base/arena.h"

struct s3_header {
    const char *name, *value; /* name in lower case */
};

struct s3_sign {
    const char *method, *path,
        *query; /* path and query as they are sent; the query is sorted, "" when there is none */
    struct s3_header *headers; /* all that are signed, host among them; sorted by the call */
    unsigned header_count;
    const char *payload_hash; /* hex */
    int64_t time_s;
    const char *region, *service, *access_key, *secret_key;
};

enum { S3_SIGN_TIME_BYTES = 17 };
void s3_sign_time(int64_t time_s, char ret[S3_SIGN_TIME_BYTES]); /* 20130524T000000Z */
/* The value of the Authorization header. */
MUST_CHECK enum err s3_sign(struct arena *a, struct s3_sign *in, const char **ret);
/* Percent-encodes all but unreserved characters, and '/' if `keeps_slash`. */
char *s3_sign_encode(struct arena *a, struct slice text, bool keeps_slash);

#endif
