#include "common/objstore/manifest.h"

#include "common/base/reader.h"
#include "common/codec/lz4_page.h"

#include <assert.h>
#include <stdlib.h>

enum { MANIFEST_HEADER_BYTES = 8, ENTRY_BYTES_MIN = MANIFEST_ID_BYTES + 2, GONE_BYTES_MIN = 39 };
#define MANIFEST_MAGIC "VVM1"

/* Entries and gone ones begin with their id. */
static int id_cmp(const void *a, const void *b)
{
    return memcmp(a, b, MANIFEST_ID_BYTES);
}

static void put_text(struct buf *out, struct slice text)
{
    buf_append_varint(out, text.len);
    buf_append(out, text);
}

static void put_id(struct buf *out, const char *id)
{
    assert(strlen(id) == MANIFEST_ID_BYTES);
    buf_append(out, (struct slice){(const uint8_t *)id, MANIFEST_ID_BYTES});
}

enum err manifest_encode(struct manifest *m, struct buf *out)
{
    struct buf raw;
    uint8_t head[MANIFEST_HEADER_BYTES] = MANIFEST_MAGIC;

    if (m->entry_count > MANIFEST_ENTRIES_MAX || m->gone_count > MANIFEST_ENTRIES_MAX)
        return ERR_LIMIT;
    if (m->entry_count > 1)
        qsort(m->entries, m->entry_count, sizeof *m->entries, id_cmp);
    if (m->gone_count > 1)
        qsort(m->gone, m->gone_count, sizeof *m->gone, id_cmp);
    buf_init(&raw, MANIFEST_BYTES_MAX);
    put_text(&raw, m->tenant);
    put_text(&raw, m->writer);
    buf_append_varint(&raw, m->number);
    buf_append_varint(&raw, m->entry_count);
    for (uint32_t i = 0; i < m->entry_count; i++) {
        put_id(&raw, m->entries[i].id);
        buf_append_varint(&raw, m->entries[i].tail_bytes);
        put_text(&raw, m->entries[i].meta_json);
    }
    buf_append_varint(&raw, m->gone_count);
    for (uint32_t i = 0; i < m->gone_count; i++) {
        put_id(&raw, m->gone[i].id);
        buf_append_byte(&raw, m->gone[i].why);
        buf_append_byte(&raw, m->gone[i].is_deleted);
        buf_append_varint(&raw, m->gone[i].when_ns);
    }
    le16_write(head + 4, MANIFEST_VERSION);
    buf_append(out, (struct slice){head, sizeof head});
    if (buf_err(&raw) == ERR_OK)
        lz4_page_append(out, MANIFEST_PAGE_KIND, m->entry_count, buf_slice(&raw), false);
    enum err e = buf_err(&raw) != ERR_OK ? buf_err(&raw) : buf_err(out);
    buf_release(&raw);
    return e == ERR_TOO_LARGE ? ERR_LIMIT : e;
}

static bool get_id(struct reader *r, char ret[MANIFEST_ID_BYTES + 1])
{
    struct slice id = reader_take(r, MANIFEST_ID_BYTES);

    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.ptr[i];
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            reader_fail(r);
    }
    if (reader_failed(r))
        return false;
    memcpy(ret, id.ptr, MANIFEST_ID_BYTES);
    ret[MANIFEST_ID_BYTES] = '\0';
    return true;
}

static enum err get_entries(struct reader *r, struct arena *a, struct manifest *m)
{
    uint64_t n = reader_varint(r);

    if (n > MANIFEST_ENTRIES_MAX || n > reader_left(r) / ENTRY_BYTES_MIN)
        return ERR_CORRUPT;
    m->entries = ARENA_ARRAY(a, struct manifest_entry, n);
    if (m->entries == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < n; i++) {
        struct manifest_entry *e = &m->entries[i];
        if (!get_id(r, e->id) || (i > 0 && id_cmp(&m->entries[i - 1], e) >= 0))
            return ERR_CORRUPT;
        uint64_t tail = reader_varint(r);
        e->tail_bytes = tail <= UINT32_MAX ? (uint32_t)tail : 0;
        e->meta_json = reader_bytes(r);
    }
    m->entry_count = (uint32_t)n;
    return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
}

static enum err get_gone(struct reader *r, struct arena *a, struct manifest *m)
{
    uint64_t n = reader_varint(r);

    if (n > MANIFEST_ENTRIES_MAX || n > reader_left(r) / GONE_BYTES_MIN)
        return ERR_CORRUPT;
    m->gone = ARENA_ARRAY(a, struct manifest_gone, n);
    if (m->gone == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < n; i++) {
        struct manifest_gone *g = &m->gone[i];
        if (!get_id(r, g->id) || (i > 0 && id_cmp(&m->gone[i - 1], g) >= 0))
            return ERR_CORRUPT;
        g->why = reader_u8(r);
        g->is_deleted = reader_u8(r) != 0;
        g->when_ns = reader_varint(r);
    }
    m->gone_count = (uint32_t)n;
    return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
}

enum err manifest_decode(struct slice bytes, struct arena *a, struct manifest *ret)
{
    struct reader head = reader_of(bytes);
    struct slice magic = reader_take(&head, 4), raw = SLICE_NONE;
    uint16_t version = reader_le16(&head);
    struct lz4_page page;
    struct manifest m = {0};

    (void)reader_le16(&head);
    if (reader_failed(&head) || !slice_eq(magic, SLICE_LIT(MANIFEST_MAGIC)) || version == 0)
        return ERR_CORRUPT;
    if (version > MANIFEST_VERSION)
        return ERR_UNSUPPORTED;
    enum err e = lz4_page_open(reader_take(&head, reader_left(&head)), &page);
    if (e == ERR_OK && (page.kind != MANIFEST_PAGE_KIND || page.raw_bytes > MANIFEST_BYTES_MAX))
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        e = lz4_page_raw(&page, a, &raw);
    if (e != ERR_OK)
        return e;
    raw = arena_dup(a, raw); /* stored plain, it points into `bytes` */
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    struct reader r = reader_of(raw);
    m.tenant = reader_bytes(&r);
    m.writer = reader_bytes(&r);
    m.number = reader_varint(&r);
    e = get_entries(&r, a, &m);
    if (e == ERR_OK)
        e = get_gone(&r, a, &m);
    if (e == ERR_OK && (page.count != m.entry_count || !reader_done(&r)))
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        *ret = m;
    return e;
}

const struct manifest_entry *manifest_find(const struct manifest *m, const char *id)
{
    if (m->entry_count == 0 || strlen(id) != MANIFEST_ID_BYTES)
        return NULL;
    return bsearch(id, m->entries, m->entry_count, sizeof *m->entries, id_cmp);
}

struct manifest_gone *manifest_find_gone(const struct manifest *m, const char *id)
{
    if (m->gone_count == 0 || strlen(id) != MANIFEST_ID_BYTES)
        return NULL;
    return bsearch(id, m->gone, m->gone_count, sizeof *m->gone, id_cmp);
}
