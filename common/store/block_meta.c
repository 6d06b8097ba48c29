/* meta.json: what a block is, in words.  64-bit numbers are texts: a JSON number is a double to most who read it.  The checksum, the last
 * member, is over all text before its name: a number that a bad bit made another one would hide spans, here and in the log. */
#include "common/base/crc32c.h"
#include "common/base/num.h"
#include "common/store/block.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { META_JSON_BYTES_MAX = 64 << 10, U64_TEXT_BYTES = 24 };
#define META_FORMAT "vvb1"
#define CHECKSUM    "\"checksum\""

struct number {
    const char *key;
    size_t offset;
};

#define NUMBER(name)                             \
    {                                            \
#        name, offsetof(struct block_meta, name) \
    }
static const struct number part_numbers[] = {NUMBER(part_lsn), NUMBER(part_spans)};
static const struct number numbers[] = {
    NUMBER(lsn_lo),     NUMBER(lsn_hi),        NUMBER(min_start_ns),
    NUMBER(max_end_ns), NUMBER(span_count),    NUMBER(trace_count),
    NUMBER(bytes),      NUMBER(flagged_count), NUMBER(created_ns),
};

struct text {
    const char *key;
    size_t offset, size;
};
#define TEXT(name)                                                                       \
    {                                                                                    \
#        name, offsetof(struct block_meta, name), sizeof(((struct block_meta *)0)->name) \
    }
static const struct text texts[] = {TEXT(id), TEXT(tenant), TEXT(writer)};

static bool put_numbers(cJSON *o, const struct block_meta *m, const struct number *list,
                        size_t count)
{
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        uint64_t v;
        char text[U64_TEXT_BYTES];
        memcpy(&v, (const char *)m + list[i].offset, sizeof v);
        (void)snprintf(text, sizeof text, "%" PRIu64, v);
        ok = cJSON_AddStringToObject(o, list[i].key, text) != NULL;
    }
    return ok;
}

void block_meta_seal(struct slice json, struct buf *out)
{
    size_t first = out->len;
    buf_append(out, slice_sub(json, 0, json.len - 2)); /* not "\n}" */
    buf_append_str(out, ",\n\t");
    uint32_t sum = crc32c(slice_sub(buf_slice(out), first, out->len));
    buf_appendf(out, CHECKSUM ":\t%" PRIu32 "\n}\n", sum);
}

enum err block_meta_to_json(const struct block_meta *m, struct buf *out)
{
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && cJSON_AddStringToObject(o, "format", META_FORMAT) != NULL &&
              cJSON_AddNumberToObject(o, "version", m->version) != NULL;
    for (size_t i = 0; ok && i < sizeof texts / sizeof texts[0]; i++)
        ok = cJSON_AddStringToObject(o, texts[i].key, (const char *)m + texts[i].offset) != NULL;
    ok = ok && put_numbers(o, m, numbers, sizeof numbers / sizeof numbers[0]);
    if (m->part_lsn != 0)
        ok = ok && put_numbers(o, m, part_numbers, sizeof part_numbers / sizeof part_numbers[0]);
    ok = ok && cJSON_AddNumberToObject(o, "group_count", m->group_count) != NULL;
    char *json = ok ? cJSON_Print(o) : NULL;
    if (json != NULL)
        block_meta_seal(slice_str(json), out);
    cJSON_free(json);
    cJSON_Delete(o);
    return json == NULL ? ERR_NOMEM : buf_err(out);
}

static enum err get_u32(const cJSON *o, const char *key, uint32_t *ret, struct err_detail *detail)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= UINT32_MAX))
        return err_detail_set(detail, ERR_CORRUPT, "meta.json: \"%s\" is not a 32-bit number", key);
    *ret = (uint32_t)item->valuedouble;
    return ERR_OK;
}

static enum err get_numbers(const cJSON *o, struct block_meta *m, const struct number *list,
                            size_t count, struct err_detail *detail)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, list[i].key));
        uint64_t v;
        if (text == NULL || num_parse_u64(slice_str(text), &v) != ERR_OK)
            return err_detail_set(detail, ERR_CORRUPT, "meta.json: \"%s\" is not a number",
                                  list[i].key);
        memcpy((char *)m + list[i].offset, &v, sizeof v);
    }
    return ERR_OK;
}

static enum err get_fields(const cJSON *o, struct block_meta *m, struct err_detail *detail)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, texts[i].key));
        if (text == NULL || strlen(text) >= texts[i].size)
            return err_detail_set(detail, ERR_CORRUPT, "meta.json: \"%s\" is missing or too long",
                                  texts[i].key);
        memcpy((char *)m + texts[i].offset, text, strlen(text) + 1);
    }
    enum err e = get_numbers(o, m, numbers, sizeof numbers / sizeof numbers[0], detail);
    if (e == ERR_OK && cJSON_HasObjectItem(o, part_numbers[0].key))
        e = get_numbers(o, m, part_numbers, sizeof part_numbers / sizeof part_numbers[0], detail);
    if (e != ERR_OK)
        return e;
    return get_u32(o, "group_count", &m->group_count, detail);
}

/* Blocks of before there was one have none. */
static enum err check_sum(struct slice json, const cJSON *o, struct err_detail *detail)
{
    static const size_t len = sizeof CHECKSUM - 1;
    size_t at = json.len;
    uint32_t sum;

    if (cJSON_GetObjectItemCaseSensitive(o, "checksum") == NULL)
        return ERR_OK;
    enum err e = get_u32(o, "checksum", &sum, detail);
    do
        at--;
    while (at > 0 && (json.len - at < len || memcmp(json.ptr + at, CHECKSUM, len) != 0));
    if (e == ERR_OK && sum != crc32c(slice_sub(json, 0, at)))
        e = err_detail_set(detail, ERR_CORRUPT, "meta.json: the checksum is wrong");
    return e;
}

enum err block_meta_from_json(struct slice json, struct block_meta *ret,
                              struct err_detail *reterr_detail)
{
    struct block_meta m = {0};
    if (json.len > META_JSON_BYTES_MAX)
        return err_detail_set(reterr_detail, ERR_TOO_LARGE, "meta.json: more than %d bytes",
                              META_JSON_BYTES_MAX);
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    const char *format = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "format"));
    enum err e = ERR_OK;
    if (!cJSON_IsObject(o) || format == NULL || strcmp(format, META_FORMAT) != 0)
        e = err_detail_set(reterr_detail, ERR_CORRUPT, "meta.json: not of the format " META_FORMAT);
    if (e == ERR_OK)
        e = get_u32(o, "version", &m.version, reterr_detail);
    if (e == ERR_OK && m.version > BLOCK_VERSION)
        e = err_detail_set(reterr_detail, ERR_UNSUPPORTED,
                           "meta.json: version %u, this build reads up to %d", m.version,
                           BLOCK_VERSION);
    if (e == ERR_OK)
        e = get_fields(o, &m, reterr_detail);
    if (e == ERR_OK)
        e = check_sum(json, o, reterr_detail);
    cJSON_Delete(o);
    if (e == ERR_OK)
        *ret = m;
    return e;
}
