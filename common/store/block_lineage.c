#include "common/store/block_lineage.h"

#include "common/base/hash.h"
#include "common/base/num.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINEAGE_JSON_BYTES_MAX = 64 << 10, U64_TEXT_BYTES = 24, LEVEL_MAX = 100 };

/* --- joining --- */

static int compare_holds(const void *a, const void *b)
{
    const struct block_holds *x = a, *y = b;
    int c = strcmp(x->writer, y->writer);
    if (c != 0)
        return c;
    return x->lsn_lo < y->lsn_lo ? -1 : x->lsn_lo > y->lsn_lo;
}

static void join_touching(struct block_lineage *l)
{
    uint32_t kept = 0;
    if (l->holds_count > 1)
        qsort(l->holds, l->holds_count, sizeof *l->holds, compare_holds);
    for (uint32_t i = 0; i < l->holds_count; i++) {
        struct block_holds *last = kept == 0 ? NULL : &l->holds[kept - 1];
        const struct block_holds *h = &l->holds[i];
        if (last != NULL && strcmp(last->writer, h->writer) == 0 && h->lsn_lo <= last->lsn_hi + 1) {
            if (h->lsn_hi > last->lsn_hi)
                last->lsn_hi = h->lsn_hi;
        } else {
            l->holds[kept++] = *h;
        }
    }
    l->holds_count = kept;
}

enum err block_lineage_add(struct block_lineage *l, const struct block_meta *meta,
                           const struct block_lineage *own, struct arena *a)
{
    bool has_frames = meta->lsn_hi != 0;
    uint32_t holds = l->holds_count + own->holds_count + has_frames;
    if (l->from_count == BLOCK_LINEAGE_FROM_MAX)
        return ERR_TOO_LARGE;
    struct block_from *from = ARENA_ARRAY(a, struct block_from, (size_t)l->from_count + 1);
    struct block_holds *all = ARENA_ARRAY(a, struct block_holds, holds);
    if (from == NULL || all == NULL)
        return arena_err(a);
    if (l->from_count != 0)
        memcpy(from, l->from, l->from_count * sizeof *from);
    if (l->holds_count != 0)
        memcpy(all, l->holds, l->holds_count * sizeof *all);
    if (own->holds_count != 0)
        memcpy(all + l->holds_count, own->holds, own->holds_count * sizeof *all);
    if (has_frames) {
        struct block_holds *h = &all[holds - 1];
        memcpy(h->writer, meta->writer, sizeof h->writer);
        h->lsn_lo = meta->lsn_lo;
        h->lsn_hi = meta->lsn_hi;
    }
    memcpy(from[l->from_count].id, meta->id, sizeof from->id);
    struct block_lineage joined = {.level = own->level >= l->level ? own->level + 1 : l->level,
                                   .compacted_ns = l->compacted_ns,
                                   .from = from,
                                   .from_count = l->from_count + 1,
                                   .holds = all,
                                   .holds_count = holds};
    join_touching(&joined);
    if (joined.holds_count > BLOCK_LINEAGE_HOLDS_MAX)
        return ERR_TOO_LARGE;
    *l = joined;
    return ERR_OK;
}

/* --- meta.json --- */

static bool put_u64(cJSON *o, const char *key, uint64_t v)
{
    char text[U64_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%" PRIu64, v);
    return cJSON_AddStringToObject(o, key, text) != NULL;
}

static bool put_holds(cJSON *list, const struct block_holds *h)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    return cJSON_AddStringToObject(o, "writer", h->writer) != NULL &&
           put_u64(o, "lsn_lo", h->lsn_lo) && put_u64(o, "lsn_hi", h->lsn_hi);
}

static bool put_lineage(cJSON *o, const struct block_lineage *l)
{
    bool ok = cJSON_AddNumberToObject(o, "level", l->level) != NULL &&
              put_u64(o, "compacted_ns", l->compacted_ns);
    cJSON *from = ok ? cJSON_AddArrayToObject(o, "compacted_from") : NULL;
    ok = from != NULL;
    for (uint32_t i = 0; ok && i < l->from_count; i++) {
        cJSON *id = cJSON_CreateString(l->from[i].id);
        ok = id != NULL && cJSON_AddItemToArray(from, id);
        if (!ok)
            cJSON_Delete(id);
    }
    cJSON *holds = ok ? cJSON_AddArrayToObject(o, "holds") : NULL;
    ok = holds != NULL;
    for (uint32_t i = 0; ok && i < l->holds_count; i++)
        ok = put_holds(holds, &l->holds[i]);
    return ok;
}

enum err block_lineage_to_json(const struct block_meta *m, const struct block_lineage *l,
                               struct buf *out)
{
    struct buf plain;
    buf_init(&plain, LINEAGE_JSON_BYTES_MAX);
    enum err e = block_meta_to_json(m, &plain);
    cJSON *o = e == ERR_OK ? cJSON_ParseWithLength((const char *)plain.ptr, plain.len) : NULL;
    cJSON_DeleteItemFromObjectCaseSensitive(o, "checksum"); /* of the plain one */
    char *json = o != NULL && put_lineage(o, l) ? cJSON_Print(o) : NULL;
    if (json != NULL)
        block_meta_seal(slice_str(json), out);
    if (e == ERR_OK && json == NULL)
        e = ERR_NOMEM;
    cJSON_free(json);
    cJSON_Delete(o);
    buf_release(&plain);
    return e == ERR_OK ? buf_err(out) : e;
}

static bool get_text(const cJSON *item, char *ret, size_t size)
{
    const char *text = cJSON_GetStringValue(item);
    if (text == NULL || strlen(text) >= size)
        return false;
    memcpy(ret, text, strlen(text) + 1);
    return true;
}

static bool get_u64(const cJSON *o, const char *key, uint64_t *ret)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return text != NULL && num_parse_u64(slice_str(text), ret) == ERR_OK;
}

static enum err get_lineage(const cJSON *o, struct arena *a, struct block_lineage *l)
{
    const cJSON *level = cJSON_GetObjectItemCaseSensitive(o, "level"), *item;
    const cJSON *from = cJSON_GetObjectItemCaseSensitive(o, "compacted_from");
    const cJSON *holds = cJSON_GetObjectItemCaseSensitive(o, "holds");
    if (level == NULL)
        return ERR_OK;
    int from_count = cJSON_GetArraySize(from), holds_count = cJSON_GetArraySize(holds);
    if (!cJSON_IsNumber(level) || !(level->valuedouble >= 0 && level->valuedouble <= LEVEL_MAX) ||
        !cJSON_IsArray(from) || !cJSON_IsArray(holds) || from_count > BLOCK_LINEAGE_FROM_MAX ||
        holds_count > BLOCK_LINEAGE_HOLDS_MAX || !get_u64(o, "compacted_ns", &l->compacted_ns))
        return ERR_CORRUPT;
    l->level = (uint32_t)level->valuedouble;
    l->from = ARENA_ARRAY(a, struct block_from, (size_t)from_count);
    l->holds = ARENA_ARRAY(a, struct block_holds, (size_t)holds_count);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    cJSON_ArrayForEach(item, from)
    {
        if (!get_text(item, l->from[l->from_count].id, sizeof l->from->id))
            return ERR_CORRUPT;
        l->from_count++;
    }
    cJSON_ArrayForEach(item, holds)
    {
        struct block_holds *h = &l->holds[l->holds_count++];
        if (!get_text(cJSON_GetObjectItemCaseSensitive(item, "writer"), h->writer,
                      sizeof h->writer) ||
            !get_u64(item, "lsn_lo", &h->lsn_lo) || !get_u64(item, "lsn_hi", &h->lsn_hi))
            return ERR_CORRUPT;
    }
    return ERR_OK;
}

enum err block_lineage_from_json(struct slice json, struct arena *a, struct block_lineage *ret)
{
    struct block_lineage l = {0};
    if (json.len > LINEAGE_JSON_BYTES_MAX)
        return ERR_TOO_LARGE;
    cJSON *o = cJSON_ParseWithLength((const char *)json.ptr, json.len);
    enum err e = o == NULL ? ERR_CORRUPT : get_lineage(o, a, &l);
    cJSON_Delete(o);
    if (e == ERR_OK)
        *ret = l;
    return e;
}

/* --- ids --- */

void block_lineage_id(struct slice name, char ret[37])
{
    uint8_t b[16];
    uint64_t a = hash_with(name, 0x9e3779b97f4a7c15ull), d = hash_with(name, 0xc2b2ae3d27d4eb4full);
    memcpy(b, &a, 8);
    memcpy(b + 8, &d, 8);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x80); /* RFC 9562: version 8, of our own making */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
}
