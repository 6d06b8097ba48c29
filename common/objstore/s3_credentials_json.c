/* Answers of the metadata services. */
#include "common/objstore/s3_credentials.h"

#include <cjson/cJSON.h>
#include <stdio.h>

enum { CREDENTIALS_JSON_BYTES_MAX = 64 << 10 };

static bool take_text(const cJSON *o, const char *key, char *ret, size_t size)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

    if (text == NULL || strlen(text) >= size)
        return false;
    (void)snprintf(ret, size, "%s", text);
    return true;
}

enum err s3_credentials_from_json(struct slice json, struct s3_keys *ret)
{
    struct s3_keys keys = {0};
    char expires[64] = "";

    if (json.len == 0 || json.len > CREDENTIALS_JSON_BYTES_MAX)
        return ERR_FORMAT;
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    bool is_good = take_text(o, "AccessKeyId", keys.access_key, sizeof keys.access_key) &&
                   take_text(o, "SecretAccessKey", keys.secret_key, sizeof keys.secret_key) &&
                   keys.access_key[0] != '\0' && keys.secret_key[0] != '\0';
    if (is_good && cJSON_GetObjectItemCaseSensitive(o, "Token") != NULL)
        is_good = take_text(o, "Token", keys.token, sizeof keys.token);
    if (is_good && take_text(o, "Expiration", expires, sizeof expires))
        is_good = (keys.expires_ns = s3_credentials_time(expires)) != 0;
    cJSON_Delete(o);
    if (is_good)
        *ret = keys;
    return is_good ? ERR_OK : ERR_FORMAT;
}
