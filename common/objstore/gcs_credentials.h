/*
 * gcs_credentials.h - where Google's access tokens come from.
 *
 * Order:   the file of GOOGLE_APPLICATION_CREDENTIALS; gcloud's (~/.config/gcloud/application_default_credentials.json); the metadata server (GCE, GKE
 *          workload identity; GCE_METADATA_HOST).  A file is a service account (a JWT signed with its key is traded for a token) or a user's refresh token.
 *          Others (external_account, impersonation) are refused with what they are.
 * Secrets: never in an error text.
 */
#ifndef VIVACE_OBJSTORE_GCS_CREDENTIALS_H
#define VIVACE_OBJSTORE_GCS_CREDENTIALS_H

#include "common/objstore/bearer.h"

enum gcs_account_kind { GCS_ACCOUNT_SERVICE, GCS_ACCOUNT_USER };

struct gcs_account {
    enum gcs_account_kind kind;
    const char *email, *private_key, *private_key_id, *token_uri; /* of a service */
    const char *client_id, *client_secret, *refresh_token;        /* of a user */
};

struct gcs_credentials {
    struct arena arena;
    struct gcs_account account;
    bool has_account; /* else the metadata server */
    struct http_client *http;
    const struct clock *clock;
};

/* Reads the file, if there is one; asks nobody. */
MUST_CHECK enum err gcs_credentials_init(struct gcs_credentials *c, struct http_client *http,
                                         const struct clock *clock,
                                         struct err_detail *reterr_detail);
void gcs_credentials_release(struct gcs_credentials *c);
MUST_CHECK enum err gcs_credentials_fetch(void *c, struct bearer_token *ret);

/* --- for tests and fuzzing --- */
/* Texts in the arena.  Errors: ERR_FORMAT, ERR_UNSUPPORTED a kind that is not known here. */
MUST_CHECK enum err gcs_account_from_json(struct slice json, struct arena *a,
                                          struct gcs_account *ret,
                                          struct err_detail *reterr_detail);
/* The signed claim of a service account: header.claims.signature. */
MUST_CHECK enum err gcs_account_jwt(const struct gcs_account *account, int64_t now_s,
                                    struct arena *a, const char **ret);

#endif
