/*
 * s3_credentials.h - where keys come from, and new ones before the old ones end.
 *
 * Order:   the configuration; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a web identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN: IRSA);
 *          the shared file (AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials; AWS_PROFILE); a container's address
 *          (AWS_CONTAINER_CREDENTIALS_FULL_URI, _RELATIVE_URI: EKS pod identity, ECS); the instance's metadata (IMDSv2).
 *          The first that has any answers; none: requests go unsigned, as for public buckets.
 * Renewal: before they end (renewal.h).
 * Threads: any; one thread renews, the others wait for it.
 * Secrets: never in an error text.
 */
#ifndef VIVACE_OBJSTORE_S3_CREDENTIALS_H
#define VIVACE_OBJSTORE_S3_CREDENTIALS_H

#include "common/base/clock.h"
#include "common/net/http_client.h"

struct s3_keys {
    char access_key[256], secret_key[256], token[8192];
    int64_t expires_ns; /* wall clock; 0: never */
};

struct s3_credentials_options {
    const char *access_key, *secret_key, *token; /* of the configuration; "" none */
    const char *region;
    struct http_client *http;
    const struct clock *clock;
};

struct s3_credentials;
MUST_CHECK enum err s3_credentials_new(const struct s3_credentials_options *o,
                                       struct s3_credentials **ret); /* borrows all of them */
void s3_credentials_free(struct s3_credentials *c);
/* access_key "": there are none. */
MUST_CHECK enum err s3_credentials_get(struct s3_credentials *c, struct s3_keys *ret);
/* The server refused these: others are fetched at the next get, unless that happened already. */
void s3_credentials_refused(struct s3_credentials *c, const struct s3_keys *keys);

/* --- what foreign bytes are read by; for tests and fuzzing --- */
/* A JSON answer of the metadata services.  Errors: ERR_FORMAT. */
MUST_CHECK enum err s3_credentials_from_json(struct slice json, struct s3_keys *ret);
/* AssumeRoleWithWebIdentityResponse. */
MUST_CHECK enum err s3_credentials_from_xml(struct slice xml, struct s3_keys *ret);
/* A profile of a shared file (INI).  Errors: ERR_NOT_FOUND, ERR_FORMAT. */
MUST_CHECK enum err s3_credentials_from_ini(struct slice ini, const char *profile,
                                            struct s3_keys *ret);
/* 2024-06-01T10:00:00Z as wall clock ns; 0 when it is not that. */
int64_t s3_credentials_time(const char *text);

#endif
