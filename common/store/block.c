#include "common/store/block.h"

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/hash.h"
#include "common/store/block_dict.h"
#include "common/store/block_filter.h"
#include "common/store/block_reader.h"
#include "common/store/page.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- pages --- */

static enum object_part part_of(uint8_t kind)
{
    switch (kind) {
    case BLOCK_PAGE_FOOTER: return OBJECT_FOOTER;
    case BLOCK_PAGE_LOCATOR:
    case BLOCK_PAGE_FLAGGED:
    case BLOCK_PAGE_FILTER: return OBJECT_LOOKUP;
    case BLOCK_PAGE_DICT:
    case BLOCK_PAGE_LISTS: return OBJECT_WORDS;
    default: break;
    }
    return kind >= BLOCK_PAGE_STREAM + BLOCK_TRACE_ID &&
                   kind <= BLOCK_PAGE_STREAM + BLOCK_TRACE_FLAGS
               ? OBJECT_TRACES
               : OBJECT_VALUES;
}

enum err block_page(struct block *b, const struct block_ref *ref, uint8_t kind, struct arena *tmp,
                    uint64_t *io_bytes, struct lz4_page *ret, struct slice *ret_raw)
{
    uint8_t *bytes = arena_alloc(tmp, ref->bytes);
    if (bytes == NULL)
        return arena_err(tmp);
    enum err e = b->object->ops->read(b->object, part_of(kind), ref->offset, bytes, ref->bytes);
    if (e != ERR_OK)
        return e;
    *io_bytes += ref->bytes;
    atomic_fetch_add_explicit(&b->read_bytes, ref->bytes, memory_order_relaxed);
    e = lz4_page_open((struct slice){bytes, ref->bytes}, ret);
    bool is_it =
        ret->kind == kind || (kind == BLOCK_PAGE_ANY_TEXTS &&
                              (ret->kind == BLOCK_PAGE_TEXTS || ret->kind == BLOCK_PAGE_TEMPLATES));
    if (e == ERR_OK && !is_it)
        e = ERR_CORRUPT;
    return e == ERR_OK ? lz4_page_raw(ret, tmp, ret_raw) : e;
}

/* --- opening --- */

struct tail {
    uint8_t *bytes;
    size_t len;
    uint64_t offset;
};

static enum err read_trailer(const struct tail *t, uint64_t file_bytes, struct block_ref *ret,
                             uint32_t *ret_version)
{
    const uint8_t *at = t->bytes + t->len - BLOCK_TRAILER_BYTES;
    if (memcmp(at + 28, BLOCK_MAGIC, 4) != 0 ||
        le32_read(at + 24) != crc32c((struct slice){at, 24}))
        return ERR_CORRUPT;
    if (le16_read(at + 12) > BLOCK_VERSION)
        return ERR_UNSUPPORTED;
    *ret_version = le16_read(at + 12);
    *ret = (struct block_ref){le64_read(at), le32_read(at + 8)};
    uint64_t end = file_bytes - BLOCK_TRAILER_BYTES;
    if (*ret_version == 0 || le64_read(at + 16) != file_bytes || ret->offset < BLOCK_HEADER_BYTES ||
        ret->offset > end || ret->bytes != end - ret->offset)
        return ERR_CORRUPT;
    return ERR_OK;
}

static enum err read_footer(struct block *b, struct arena *tmp)
{
    struct object_range range = block_want_tail_range(b->object);
    struct tail t = {.len = range.len, .offset = range.offset};
    struct block_ref ref;
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    uint32_t version;
    if (t.len < BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES)
        return ERR_CORRUPT;
    t.bytes = arena_alloc(tmp, t.len);
    if (t.bytes == NULL)
        return arena_err(tmp);
    enum err e = b->object->ops->read(b->object, OBJECT_FOOTER, t.offset, t.bytes, t.len);
    atomic_fetch_add_explicit(&b->read_bytes, t.len, memory_order_relaxed);
    if (e == ERR_OK)
        e = read_trailer(&t, b->object->bytes, &ref, &version);
    if (e != ERR_OK)
        return e;
    if (ref.offset >= t.offset) {
        e = lz4_page_open((struct slice){t.bytes + (ref.offset - t.offset), ref.bytes}, &page);
        if (e == ERR_OK && page.kind != BLOCK_PAGE_FOOTER)
            e = ERR_CORRUPT;
        if (e == ERR_OK)
            e = lz4_page_raw(&page, tmp, &raw);
    } else {
        uint64_t io_bytes = 0;
        e = block_page(b, &ref, BLOCK_PAGE_FOOTER, tmp, &io_bytes, &page, &raw);
    }
    if (e != ERR_OK)
        return e;
    raw = arena_dup(&b->arena, raw); /* keys point into it */
    return arena_err(&b->arena) != ERR_OK
               ? arena_err(&b->arena)
               : block_footer_get(raw, b->object->bytes, version, &b->arena, &b->index);
}

static void block_free(struct block *b)
{
    for (uint32_t i = 0; b->pieces != NULL && i < b->index.piece_count; i++)
        block_piece_free_all(atomic_load_explicit(&b->pieces[i], memory_order_relaxed));
    struct trace_id *flagged = atomic_load_explicit(&b->flagged, memory_order_relaxed);
    if (flagged != NULL)
        budget_give(b->budget, b->index.meta.flagged_count * sizeof *flagged);
    free(flagged);
    arena_release(&b->arena);
    b->object->ops->close(b->object);
    free(b);
}

enum err block_open(struct object *object, struct budget *budget, struct block **ret)
{
    struct block *b = calloc(1, sizeof *b);
    if (b == NULL) {
        object->ops->close(object);
        return ERR_NOMEM;
    }
    struct arena tmp;
    arena_init(&tmp, budget);
    arena_init(&b->arena, budget);
    atomic_init(&b->refs, 1);
    atomic_init(&b->flagged, NULL);
    atomic_init(&b->read_bytes, 0);
    b->object = object;
    b->budget = budget;
    enum err e = read_footer(b, &tmp);
    arena_release(&tmp);
    if (e == ERR_OK) {
        b->pieces = arena_calloc(&b->arena, b->index.piece_count, sizeof *b->pieces);
        e = arena_err(&b->arena);
    }
    if (e != ERR_OK) {
        block_free(b);
        return e;
    }
    *ret = b;
    return ERR_OK;
}

struct block *block_ref(struct block *b)
{
    unsigned before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    assert(before != 0);
    return b;
}

void block_unref(struct block *b)
{
    if (b == NULL)
        return;
    unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    assert(before != 0);
    if (before == 1)
        block_free(b);
}

const struct block_meta *block_meta(const struct block *b)
{
    return &b->index.meta;
}

uint32_t block_group_count(const struct block *b)
{
    return b->index.group_count;
}

void block_group_range(const struct block *b, uint32_t group, uint64_t *ret_min_start_ns,
                       uint64_t *ret_max_end_ns)
{
    assert(group < b->index.group_count);
    *ret_min_start_ns = b->index.groups[group].min_start_ns;
    *ret_max_end_ns = b->index.groups[group].max_end_ns;
}

uint64_t block_read_bytes(const struct block *b)
{
    return atomic_load_explicit(&b->read_bytes, memory_order_relaxed);
}

/* --- traces --- */

uint32_t block_group_of_trace(const struct block *b, uint64_t trace)
{
    uint32_t lo = 0, hi = b->index.group_count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (b->index.groups[mid].first_trace <= trace)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Whether the trace of this number has this id: the locator only knows a part of a hash. */
static enum err is_trace(struct block *b, uint64_t trace, struct trace_id id, struct arena *tmp,
                         uint32_t *ret_group, uint32_t *ret_trace)
{
    if (trace >= b->index.meta.trace_count)
        return ERR_CORRUPT;
    uint32_t group = block_group_of_trace(b, trace);
    const struct block_group *g = &b->index.groups[group];
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    uint64_t io_bytes = 0, at = (trace - g->first_trace) * TRACE_ID_BYTES;
    block_want_group(b, group); /* who finds a trace reads it: one round less */
    enum err e = block_page(b, &b->index.streams[BLOCK_TRACE_ID][group],
                            BLOCK_PAGE_STREAM + BLOCK_TRACE_ID, tmp, &io_bytes, &page, &raw);
    if (e != ERR_OK)
        return e;
    if (page.count != g->trace_count || raw.len != (size_t)g->trace_count * TRACE_ID_BYTES)
        return ERR_CORRUPT;
    if (memcmp(raw.ptr + at, id.b, TRACE_ID_BYTES) != 0)
        return ERR_NOT_FOUND;
    *ret_group = group;
    *ret_trace = (uint32_t)(trace - g->first_trace);
    return ERR_OK;
}

enum err block_locator_chunk(struct block *b, uint32_t chunk, struct arena *tmp,
                             uint64_t **ret_hashes, uint64_t **ret_traces)
{
    const struct block_chunk *c = &b->index.chunks[chunk];
    uint64_t *all, io_bytes = 0;
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    enum err e = block_page(b, &c->page, BLOCK_PAGE_LOCATOR, tmp, &io_bytes, &page, &raw);
    if (e == ERR_OK && page.count != c->count)
        e = ERR_CORRUPT;
    all = e == ERR_OK ? arena_alloc(tmp, 2 * (size_t)c->count * sizeof *all) : NULL;
    if (e == ERR_OK && all == NULL)
        e = arena_err(tmp);
    struct reader r = reader_of(raw);
    if (e == ERR_OK)
        e = page_get_ints(&r, c->count, all);
    if (e == ERR_OK)
        e = page_get_ints(&r, c->count, all + c->count);
    if (e != ERR_OK)
        return e;
    *ret_hashes = all;
    *ret_traces = all + c->count;
    return ERR_OK;
}

static enum err find_in_chunk(struct block *b, uint32_t chunk, struct trace_id id, uint32_t hash,
                              struct arena *tmp, uint32_t *ret_group, uint32_t *ret_trace)
{
    uint64_t *hashes, *traces;
    enum err e = block_locator_chunk(b, chunk, tmp, &hashes, &traces);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < b->index.chunks[chunk].count; i++) {
        if (hashes[i] != hash)
            continue;
        e = is_trace(b, traces[i], id, tmp, ret_group, ret_trace);
        if (e != ERR_NOT_FOUND)
            return e;
    }
    return ERR_NOT_FOUND;
}

enum err block_find_trace(struct block *b, struct trace_id id, uint32_t *ret_group,
                          uint32_t *ret_trace)
{
    uint32_t hash = (uint32_t)(hash_plain((struct slice){id.b, TRACE_ID_BYTES}) >> 32), at = 0;
    while (at < b->index.chunk_count && b->index.chunks[at].first_hash <= hash)
        at++;
    enum err e = ERR_NOT_FOUND;
    struct arena tmp;
    arena_init(&tmp, b->budget);
    /* The chunk that may hold it; one before too when its hash begins this one. */
    while (e == ERR_NOT_FOUND && at > 0) {
        at--;
        e = find_in_chunk(b, at, id, hash, &tmp, ret_group, ret_trace);
        arena_reset(&tmp);
        if (b->index.chunks[at].first_hash != hash)
            break;
    }
    arena_release(&tmp);
    return e;
}

enum err block_flagged(struct block *b, const struct trace_id **ret, uint32_t *ret_count)
{
    uint32_t n = (uint32_t)b->index.meta.flagged_count;
    struct trace_id *known = atomic_load_explicit(&b->flagged, memory_order_acquire);
    *ret_count = n;
    if (known != NULL || n == 0) {
        *ret = known;
        return ERR_OK;
    }
    struct arena tmp;
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    uint64_t io_bytes = 0;
    struct trace_id *ids = NULL;
    arena_init(&tmp, b->budget);
    enum err e = block_page(b, &b->index.flagged, BLOCK_PAGE_FLAGGED, &tmp, &io_bytes, &page, &raw);
    if (e == ERR_OK && (page.count != n || raw.len != (size_t)n * sizeof *ids))
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        e = budget_take(b->budget, raw.len);
    if (e == ERR_OK) {
        ids = malloc(raw.len);
        if (ids == NULL) {
            budget_give(b->budget, raw.len);
            e = ERR_NOMEM;
        }
    }
    if (e == ERR_OK) {
        memcpy(ids, raw.ptr, raw.len);
        if (!atomic_compare_exchange_strong_explicit(&b->flagged, &known, ids, memory_order_acq_rel,
                                                     memory_order_acquire)) {
            budget_give(b->budget, raw.len);
            free(ids);
            ids = known;
        }
        *ret = ids;
    }
    arena_release(&tmp);
    return e;
}

/* --- what need not be read --- */

static bool part_may_have(struct block *b, struct block_user *user, const struct block_column *c,
                          uint32_t part, struct slice text)
{
    uint32_t number;
    bool has = true;
    if (c->form == BLOCK_FORM_PLAIN)
        return block_filter_may_have(b, user, c, part, text, &has) != ERR_OK || has;
    return block_dict_find(b, user, c->dict, block_parts(&b->index, (enum seg_table)c->table), part,
                           text, &number) != ERR_OK ||
           number != BLOCK_NONE; /* of an error: whoever reads it will see it */
}

bool block_group_may_have(struct block *b, uint32_t group, enum seg_table table, struct slice key,
                          const struct slice *text)
{
    assert(group < b->index.group_count);
    uint32_t part = block_is_shared(table) ? 0 : group;
    uint64_t read_bytes = 0;
    struct block_user user = {.budget = b->budget, .read_bytes = &read_bytes};
    bool may_have = false;
    for (uint32_t i = 0; i < b->index.column_count[table] && !may_have; i++) {
        const struct block_column *c = &b->index.columns[table][i];
        if (c->field != SEGMENT_ROWS_ATTRIBUTE || c->pages[part].bytes == 0 ||
            !slice_eq(c->key, key))
            continue;
        if (text == NULL || c->type == SEG_ANY) /* arrays may hold the text */
            may_have = true;
        else if (c->type == SEG_STR)
            may_have = part_may_have(b, &user, c, part, *text);
    }
    block_piece_free_all(user.own);
    return may_have;
}
