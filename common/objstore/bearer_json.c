/* Answers of token services: RFC 6749, 5.1. */
#include "common/base/num.h"
#include "common/objstore/bearer.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SECONDS_MAX 4e9

/* Seconds as a number, or as Azure's metadata service writes them: a text.  -1: neither. */
static double seconds_of(const cJSON *o, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    const char *text = cJSON_GetStringValue(item);
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1;

    if (text != NULL && num_parse_double(slice_str(text), &v) != ERR_OK)
        return -1;
    return isfinite(v) && v >= 0 && v <= SECONDS_MAX ? v : -1;
}

enum err bearer_from_json(struct slice json, int64_t now_ns, struct bearer_token *ret)
{
    struct bearer_token token = {.expires_ns = 0};

    if (json.len == 0 || json.len > BEARER_ANSWER_BYTES_MAX)
        return ERR_FORMAT;
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "access_token"));
    double in = seconds_of(o, "expires_in"), on = seconds_of(o, "expires_on");
    bool is_good =
        text != NULL && text[0] != '\0' && strlen(text) < sizeof token.text && (in >= 0 || on >= 0);

    for (const char *at = text; is_good && *at != '\0'; at++)
        is_good = *at > ' ' && *at < 127; /* it becomes a header */
    if (is_good) {
        (void)snprintf(token.text, sizeof token.text, "%s", text);
        token.expires_ns =
            in >= 0 ? now_ns + (int64_t)(in * (double)NS_PER_S) : (int64_t)on * NS_PER_S;
        *ret = token;
    }
    cJSON_Delete(o);
    return is_good ? ERR_OK : ERR_FORMAT;
}
