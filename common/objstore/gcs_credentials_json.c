/* Credentials files of Google's. */
#include "common/objstore/gcs_credentials.h"

#include <cjson/cJSON.h>
#include <string.h>

enum { ACCOUNT_JSON_BYTES_MAX = 64 << 10 };

/* Texts that print; a key's lines may end. */
static bool take(const cJSON *o, const char *key, bool has_lines, struct arena *a, const char **ret)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

    if (text == NULL || text[0] == '\0')
        return false;
    for (const char *at = text; *at != '\0'; at++)
        if ((*at < ' ' && !(has_lines && (*at == '\n' || *at == '\r'))) || *at >= 127)
            return false;
    *ret = arena_str(a, slice_str(text));
    return *ret != NULL;
}

static enum err read_account(const cJSON *o, struct arena *a, struct gcs_account *ret,
                             struct err_detail *detail)
{
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "type"));
    struct gcs_account account = {.kind = GCS_ACCOUNT_SERVICE};
    bool is_good = false;

    if (type == NULL)
        return err_detail_set(detail, ERR_FORMAT, "credentials file: no JSON object with a type");
    if (strcmp(type, "service_account") == 0) {
        is_good = take(o, "client_email", false, a, &account.email) &&
                  take(o, "private_key", true, a, &account.private_key) &&
                  take(o, "token_uri", false, a, &account.token_uri);
        if (is_good && !take(o, "private_key_id", false, a, &account.private_key_id))
            account.private_key_id = "";
    } else if (strcmp(type, "authorized_user") == 0) {
        account.kind = GCS_ACCOUNT_USER;
        is_good = take(o, "client_id", false, a, &account.client_id) &&
                  take(o, "client_secret", false, a, &account.client_secret) &&
                  take(o, "refresh_token", false, a, &account.refresh_token);
        if (is_good && !take(o, "token_uri", false, a, &account.token_uri))
            account.token_uri = "https://oauth2.googleapis.com/token";
    } else {
        return err_detail_set(detail, ERR_UNSUPPORTED,
                              "credentials file: type \"%.40s\" is not supported; service_account "
                              "and authorized_user are",
                              type);
    }
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    if (!is_good)
        return err_detail_set(detail, ERR_FORMAT, "credentials file: a field of %.40s is missing",
                              type);
    if (!bearer_url_is_safe(account.token_uri) ||
        strpbrk(account.email != NULL ? account.email : "", "\"\\") != NULL ||
        strpbrk(account.private_key_id != NULL ? account.private_key_id : "", "\"\\") != NULL ||
        strpbrk(account.token_uri, "\"\\ ") != NULL)
        return err_detail_set(detail, ERR_FORMAT,
                              "credentials file: token_uri or client_email can not be used");
    *ret = account;
    return ERR_OK;
}

enum err gcs_account_from_json(struct slice json, struct arena *a, struct gcs_account *ret,
                               struct err_detail *reterr_detail)
{
    if (json.len == 0 || json.len > ACCOUNT_JSON_BYTES_MAX)
        return err_detail_set(reterr_detail, ERR_FORMAT, "credentials file: empty, or too large");
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    enum err e = read_account(o, a, ret, reterr_detail);
    cJSON_Delete(o);
    return e;
}
