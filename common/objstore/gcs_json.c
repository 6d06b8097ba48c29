/* What GCS answers with, and is told of objects. */
#include "common/base/num.h"
#include "common/codec/digest.h"
#include "common/objstore/gcs.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static const char *text_of(const cJSON *o, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
}

/* Numbers of 64 bits are texts. */
static enum err u64_of(const cJSON *o, const char *key, uint64_t *ret)
{
    const char *text = text_of(o, key);

    return text != NULL && num_parse_u64(slice_str(text), ret) == ERR_OK ? ERR_OK : ERR_FORMAT;
}

static const char *copied(struct arena *a, const char *text)
{
    return text != NULL ? arena_str(a, slice_str(text)) : NULL;
}

static enum err add_items(const cJSON *o, struct arena *a, struct remote_page *page)
{
    const cJSON *item;
    enum err e = ERR_OK;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(o, "items"))
    {
        uint64_t bytes = 0;
        e = u64_of(item, "size", &bytes);
        if (e == ERR_OK)
            e = remote_page_add(page, a, copied(a, text_of(item, "name")), bytes,
                                copied(a, text_of(item, "generation")));
        if (e != ERR_OK)
            return e;
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(o, "prefixes"))
    {
        e = remote_page_add(page, a, copied(a, cJSON_GetStringValue(item)), 0, NULL);
        if (e != ERR_OK)
            return e;
    }
    return arena_err(a);
}

enum err gcs_list_from_json(struct slice json, struct arena *a, struct remote_page *ret)
{
    struct remote_page page = {0};

    if (json.len == 0 || json.len > REMOTE_LIST_BYTES_MAX)
        return ERR_FORMAT;
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    enum err e = cJSON_IsObject(o) ? add_items(o, a, &page) : ERR_FORMAT;
    const char *token = text_of(o, "nextPageToken");
    if (token != NULL && token[0] != '\0')
        page.token = copied(a, token);
    page.is_truncated = page.token != NULL;
    cJSON_Delete(o);
    if (e == ERR_OK)
        e = arena_err(a);
    if (e != ERR_OK)
        return e;
    remote_page_sort(&page);
    *ret = page;
    return ERR_OK;
}

enum err gcs_size_from_json(struct slice json, uint64_t *ret)
{
    if (json.len == 0 || json.len > REMOTE_ERROR_BYTES_MAX)
        return ERR_FORMAT;
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    enum err e = u64_of(o, "size", ret);
    cJSON_Delete(o);
    return e;
}

void gcs_reason_from_json(struct slice json, char *ret, size_t size)
{
    ret[0] = '\0';
    if (json.len == 0 || json.len > REMOTE_ERROR_BYTES_MAX)
        return;
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(o, "error");
    const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(error, "errors"), 0);
    const char *reason = text_of(first, "reason");
    if (reason != NULL)
        (void)snprintf(ret, size, "%s", reason);
    cJSON_Delete(o);
}

/* GCS wants the sum's bytes from the highest down, in base 64. */
static bool add_crc(cJSON *o, uint32_t crc)
{
    uint8_t bytes[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                        (uint8_t)crc};
    char text[16];
    struct buf b;

    buf_init(&b, sizeof text);
    digest_base64((struct slice){bytes, sizeof bytes}, false, &b);
    bool is_good = buf_err(&b) == ERR_OK;
    (void)snprintf(text, sizeof text, SLICE_FMT, SLICE_ARG(buf_slice(&b)));
    buf_release(&b);
    return is_good && cJSON_AddStringToObject(o, "crc32c", text) != NULL;
}

const char *gcs_object_to_json(const struct gcs_options *o, const char *name, const uint32_t *crc,
                               struct arena *a)
{
    cJSON *object = cJSON_CreateObject();
    bool is_good = cJSON_AddStringToObject(object, "name", name) != NULL;

    if (is_good && crc != NULL)
        is_good = add_crc(object, *crc);
    if (is_good && o->cache_control[0] != '\0')
        is_good = cJSON_AddStringToObject(object, "cacheControl", o->cache_control) != NULL;
    cJSON *metadata =
        is_good && o->metadata_count > 0 ? cJSON_AddObjectToObject(object, "metadata") : NULL;
    for (unsigned i = 0; is_good && i < o->metadata_count; i++)
        is_good =
            cJSON_AddStringToObject(metadata, o->metadata[i].name, o->metadata[i].value) != NULL;
    char *text = is_good ? cJSON_PrintUnformatted(object) : NULL;
    const char *ret = copied(a, text);
    cJSON_free(text);
    cJSON_Delete(object);
    return ret;
}
