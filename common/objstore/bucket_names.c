/* What tenants, blocks and their objects may be called. */
#include "common/objstore/backend_bucket_priv.h"

#include <stdio.h>

bool bucket_names_is_tenant(const char *name)
{
    size_t n = strnlen(name, TENANT_BYTES);

    if (n == 0 || n >= TENANT_BYTES || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && strchr("!-_.*'()", c) == NULL)
            return false;
    }
    return true;
}

bool bucket_names_is_id(const char *name)
{
    if (strnlen(name, MANIFEST_ID_BYTES + 1) != MANIFEST_ID_BYTES)
        return false;
    for (int i = 0; i < MANIFEST_ID_BYTES; i++) {
        char c = name[i];
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

enum err bucket_names_key(const char *tenant, const char *id, const char *file,
                          char ret[BUCKET_KEY_BYTES_MAX])
{
    if (!bucket_names_is_tenant(tenant) || !bucket_names_is_id(id))
        return ERR_INVALID;
    return (size_t)snprintf(ret, BUCKET_KEY_BYTES_MAX, "%s/%s/%s", tenant, id, file) <
                   BUCKET_KEY_BYTES_MAX
               ? ERR_OK
               : ERR_TOO_LARGE;
}
