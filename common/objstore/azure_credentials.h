/*
 * azure_credentials.h - tokens of Azure AD for storage.
 *
 * Managed:   App Service's address (IDENTITY_ENDPOINT, IDENTITY_HEADER), else the machine's metadata service (AZURE_POD_IDENTITY_AUTHORITY_HOST).
 * Federated: the token in AZURE_FEDERATED_TOKEN_FILE, read anew each time, is traded at AZURE_AUTHORITY_HOST for AZURE_TENANT_ID and AZURE_CLIENT_ID
 *            (workload identity).
 * Secrets:   never in an error text.
 */
#ifndef VIVACE_OBJSTORE_AZURE_CREDENTIALS_H
#define VIVACE_OBJSTORE_AZURE_CREDENTIALS_H

#include "common/objstore/bearer.h"

struct azure_credentials {
    struct http_client *http;
    const struct clock *clock;
    const char *user_assigned_id; /* borrowed */
};

/* bearer_fetch_fn; the argument is a struct azure_credentials. */
bearer_fetch_fn azure_credentials_managed, azure_credentials_federated;
/* What is missing for a federated token; NULL: nothing. */
const char *azure_credentials_missing(void);

#endif
