#include "common/objstore/azure_credentials.h"

#include "common/objstore/s3_sign.h"
#include "common/sys/fs.h"

#include <stdlib.h>
#include <string.h>

#define RESOURCE       "https%%3A%%2F%%2Fstorage.azure.com%%2F" /* for printf */
#define RESOURCE_SCOPE RESOURCE ".default"

enum { FILE_BYTES_MAX = 64 << 10 };

static const char *env(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : otherwise;
}

static enum err fetch_managed(const struct azure_credentials *c, struct arena *a,
                              struct bearer_token *ret)
{
    const char *endpoint = env("IDENTITY_ENDPOINT", NULL), *secret = env("IDENTITY_HEADER", NULL);
    const char *host = env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254");
    const char *id = s3_sign_encode(a, slice_str(c->user_assigned_id), false);
    const char *client = c->user_assigned_id[0] != '\0' ? "&client_id=" : "";
    const char *headers[2] = {"Metadata: true", NULL}, *url;

    if (id == NULL)
        return arena_err(a);
    if (endpoint != NULL && secret != NULL) {
        headers[0] = arena_printf(a, "X-IDENTITY-HEADER: %s", secret);
        url = arena_printf(a, "%s?api-version=2019-08-01&resource=" RESOURCE "%s%s", endpoint,
                           client, id);
    } else {
        url = arena_printf(
            a, "%s/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" RESOURCE "%s%s",
            host, client, id);
    }
    return arena_err(a) != ERR_OK ? arena_err(a)
                                  : bearer_ask(c->http, url, headers, NULL, c->clock, ret);
}

const char *azure_credentials_missing(void)
{
    static const char *const names[] = {"AZURE_TENANT_ID", "AZURE_CLIENT_ID",
                                        "AZURE_FEDERATED_TOKEN_FILE", NULL};

    for (const char *const *name = names; *name != NULL; name++)
        if (env(*name, NULL) == NULL)
            return *name;
    return NULL;
}

static enum err fetch_federated(const struct azure_credentials *c, struct arena *a,
                                struct buf *file, struct bearer_token *ret)
{
    const char *host = env("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/");
    const char *slash = host[strlen(host) - 1] == '/' ? "" : "/";

    if (azure_credentials_missing() != NULL || !bearer_url_is_safe(host))
        return ERR_INVALID;
    enum err e = fs_read_file(getenv("AZURE_FEDERATED_TOKEN_FILE"), file);
    if (e != ERR_OK)
        return e;
    struct slice text = buf_slice(file);
    while (text.len > 0 && text.ptr[text.len - 1] <= ' ')
        text.len--;
    const char *tenant = s3_sign_encode(a, slice_str(getenv("AZURE_TENANT_ID")), false);
    const char *client = s3_sign_encode(a, slice_str(getenv("AZURE_CLIENT_ID")), false);
    const char *assertion = s3_sign_encode(a, text, false);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    const char *url = arena_printf(a, "%s%s%s/oauth2/v2.0/token", host, slash, tenant);
    const char *form =
        arena_printf(a,
                     "client_assertion=%s&client_assertion_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3A"
                     "client-assertion-type%%3Ajwt-bearer&client_id=%s&grant_type="
                     "client_credentials&scope=" RESOURCE_SCOPE,
                     assertion, client);
    return arena_err(a) != ERR_OK ? arena_err(a)
                                  : bearer_ask(c->http, url, NULL, form, c->clock, ret);
}

enum err azure_credentials_managed(void *c, struct bearer_token *ret)
{
    struct arena a;

    arena_init(&a, NULL);
    enum err e = fetch_managed(c, &a, ret);
    arena_release(&a);
    return e;
}

enum err azure_credentials_federated(void *c, struct bearer_token *ret)
{
    struct arena a;
    struct buf file;

    arena_init(&a, NULL);
    buf_init(&file, FILE_BYTES_MAX);
    enum err e = fetch_federated(c, &a, &file, ret);
    buf_release(&file);
    arena_release(&a);
    return e;
}
