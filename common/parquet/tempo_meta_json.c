#include "common/parquet/tempo_block.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static enum err get_text(const cJSON *o, const char *key, char *ret, size_t size,
                         struct err_detail *detail)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

    if (text == NULL || text[0] == '\0' || strlen(text) >= size)
        return err_detail_set(detail, ERR_CORRUPT, "meta.json: \"%s\" is missing or too long", key);
    (void)snprintf(ret, size, "%s", text);
    return ERR_OK;
}

/* {"s":"resource","n":"key","t":"int"}; without "s" a span's, without "t" a text. */
static enum err get_dedicated(const cJSON *item, struct arena *a, struct tempo_dedicated *ret,
                              bool *ret_is_known)
{
    const char *scope = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "s"));
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "t"));
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "n"));
    static const char *const scopes[] = {"resource", "span", "event"};
    int s = 0;

    while (s < TEMPO_SCOPE_COUNT && strcmp(scope == NULL ? "span" : scope, scopes[s]) != 0)
        s++;
    *ret_is_known = s < TEMPO_SCOPE_COUNT && name != NULL &&
                    (type == NULL || strcmp(type, "string") == 0 || strcmp(type, "int") == 0);
    if (!*ret_is_known)
        return ERR_OK;
    ret->scope = (enum tempo_scope)s;
    ret->is_int = type != NULL && strcmp(type, "int") == 0;
    ret->key = arena_str(a, slice_str(name));
    return arena_err(a);
}

static enum err get_all_dedicated(const cJSON *o, struct arena *a, struct tempo_meta *m,
                                  struct err_detail *detail)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "dedicatedColumns"), *item;
    int count = cJSON_GetArraySize(list);

    if (count == 0)
        return ERR_OK;
    if (count > TEMPO_DEDICATED_MAX)
        return err_detail_set(detail, ERR_CORRUPT, "meta.json: more than %d dedicated columns",
                              (int)TEMPO_DEDICATED_MAX);
    m->dedicated = ARENA_ARRAY(a, struct tempo_dedicated, (size_t)count);
    if (m->dedicated == NULL)
        return arena_err(a);
    cJSON_ArrayForEach(item, list)
    {
        bool is_known;
        enum err e = get_dedicated(item, a, &m->dedicated[m->dedicated_count], &is_known);
        if (e != ERR_OK)
            return e;
        if (!is_known) /* its column would be passed over, and its values lost */
            return err_detail_set(detail, ERR_UNSUPPORTED,
                                  "meta.json: a dedicated column of an unknown kind");
        m->dedicated_count++;
    }
    return ERR_OK;
}

enum err tempo_meta_from_json(struct slice json, struct arena *a, struct tempo_meta *ret,
                              struct err_detail *reterr_detail)
{
    struct tempo_meta m = {0};

    if (json.len > TEMPO_META_BYTES_MAX)
        return err_detail_set(reterr_detail, ERR_TOO_LARGE, "meta.json: more than %d bytes",
                              (int)TEMPO_META_BYTES_MAX);
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    enum err e = cJSON_IsObject(o)
                     ? get_text(o, "format", m.version, sizeof m.version, reterr_detail)
                     : err_detail_set(reterr_detail, ERR_CORRUPT, "meta.json: not a JSON object");
    if (e == ERR_OK)
        e = get_text(o, "blockID", m.id, sizeof m.id, reterr_detail);
    if (e == ERR_OK)
        e = get_text(o, "tenantID", m.tenant, sizeof m.tenant, reterr_detail);
    const cJSON *total = cJSON_GetObjectItemCaseSensitive(o, "totalObjects");
    if (cJSON_IsNumber(total) && total->valuedouble >= 0 && total->valuedouble < 1e15)
        m.trace_count = (uint64_t)total->valuedouble;
    if (e == ERR_OK)
        e = get_all_dedicated(o, a, &m, reterr_detail);
    cJSON_Delete(o);
    if (e == ERR_OK)
        *ret = m;
    return e;
}
