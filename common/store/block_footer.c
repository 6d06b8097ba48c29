/* The footer of a block: sections of (number, length, bytes); unknown ones are skipped. */
#include "common/base/bytes.h"
#include "common/store/block_priv.h"

#include <assert.h>
#include <string.h>

/* These numbers are written: what is added later goes after them. */
_Static_assert(SEG_SPAN == 0 && SEG_RESOURCE == 1 && SEG_SCOPE == 2 && SEG_EVENT == 3 &&
                   SEG_LINK == 4 && SEG_TABLE_COUNT == 5,
               "tables of block v1");
_Static_assert(SEG_STR == 0 && SEG_INT == 1 && SEG_DOUBLE == 2 && SEG_BOOL == 3 && SEG_ANY == 4,
               "types of block v1");
_Static_assert(SEG_STATUS_MESSAGE == 0 && SEG_HAS_STATUS == 6 && SEG_SCOPE_VERSION == 9 &&
                   SEG_UNKNOWN == 10 && SEGMENT_ROWS_ATTRIBUTE == 11,
               "fields of block v1");
_Static_assert(BLOCK_STREAM_COUNT == 26 && BLOCK_PAGE_INTS == 64 && BLOCK_PAGE_FOOTER == 73 &&
                   BLOCK_PAGE_FILTER == 74 && BLOCK_PAGE_TEMPLATES == 75,
               "streams and pages of block v1");

enum section {
    SECTION_META = 1,
    SECTION_GROUPS,
    SECTION_COLUMNS,
    SECTION_SHAPES,
    SECTION_PAGES,
    SECTION_ZONES,
    SECTION_DICTS,
    SECTION_LOCATOR,
    SECTION_FILTERS, /* since version 2 */
    SECTION_COUNT
};

/* --- writing --- */

static void put_text(struct buf *b, struct slice s)
{
    buf_append_varint(b, s.len);
    buf_append(b, s);
}

/* Pages mostly follow each other: where one begins is told against the end of the one before. */
static void put_ref(struct buf *b, const struct block_ref *ref, uint64_t *at)
{
    buf_append_varint(b, ref->bytes);
    if (ref->bytes == 0)
        return;
    buf_append_varint(b, zigzag((int64_t)(ref->offset - *at)));
    *at = ref->offset + ref->bytes;
}

static void put_meta(struct buf *b, const struct block_index *x)
{
    const struct block_meta *m = &x->meta;
    put_text(b, slice_str(m->id));
    put_text(b, slice_str(m->tenant));
    put_text(b, slice_str(m->writer));
    buf_append_varint(b, m->lsn_lo);
    buf_append_varint(b, m->lsn_hi);
    buf_append_varint(b, m->min_start_ns);
    buf_append_varint(b, m->max_end_ns);
    buf_append_varint(b, m->span_count);
    buf_append_varint(b, m->trace_count);
    buf_append_varint(b, m->flagged_count);
    buf_append_varint(b, m->created_ns);
}

static void put_groups(struct buf *b, const struct block_index *x)
{
    buf_append_varint(b, x->row_count[SEG_RESOURCE]);
    buf_append_varint(b, x->row_count[SEG_SCOPE]);
    buf_append_varint(b, x->group_count);
    for (uint32_t i = 0; i < x->group_count; i++) {
        const struct block_group *g = &x->groups[i];
        buf_append_varint(b, g->rows[SEG_SPAN]);
        buf_append_varint(b, g->rows[SEG_EVENT]);
        buf_append_varint(b, g->rows[SEG_LINK]);
        buf_append_varint(b, g->trace_count);
        buf_append_le64(b, g->min_start_ns);
        buf_append_le64(b, g->max_end_ns);
    }
}

static void put_columns(struct buf *b, const struct block_index *x)
{
    for (int t = 0; t < SEG_TABLE_COUNT; t++) {
        buf_append_varint(b, x->column_count[t]);
        for (uint32_t i = 0; i < x->column_count[t]; i++) {
            const struct block_column *c = &x->columns[t][i];
            buf_append_byte(b, c->type);
            buf_append_byte(b, c->field);
            buf_append_byte(b, c->form);
            if (c->form == BLOCK_FORM_DICT)
                buf_append_varint(b, c->dict);
            put_text(b, c->key);
        }
    }
}

static void put_shapes(struct buf *b, const struct block_index *x)
{
    for (int t = 0; t < SEG_TABLE_COUNT; t++) {
        buf_append_varint(b, x->shape_count[t]);
        for (uint32_t i = 0; i < x->shape_count[t]; i++) {
            const struct segment_rows_shape *s = &x->shapes[t][i];
            buf_append_varint(b, s->count);
            for (uint32_t k = 0; k < s->count; k++)
                buf_append_varint(b, s->columns[k]);
        }
    }
}

static void put_pages(struct buf *b, const struct block_index *x)
{
    uint64_t at = BLOCK_HEADER_BYTES;
    buf_append_varint(b, BLOCK_STREAM_COUNT);
    for (int s = 0; s < BLOCK_STREAM_COUNT; s++)
        for (uint32_t i = 0; i < block_parts(x, block_stream_table((enum block_stream)s)); i++)
            put_ref(b, &x->streams[s][i], &at);
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t c = 0; c < x->column_count[t]; c++)
            for (uint32_t i = 0; i < block_parts(x, (enum seg_table)t); i++)
                put_ref(b, &x->columns[t][c].pages[i], &at);
}

static void put_zones(struct buf *b, const struct block_index *x)
{
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t c = 0; c < x->column_count[t]; c++) {
            const struct block_column *column = &x->columns[t][c];
            for (uint32_t i = 0; column->type == SEG_INT && i < block_parts(x, (enum seg_table)t);
                 i++) {
                if (column->pages[i].bytes == 0)
                    continue;
                buf_append_varint(b, zigzag(column->zones[i].min));
                buf_append_varint(b,
                                  (uint64_t)column->zones[i].max - (uint64_t)column->zones[i].min);
            }
        }
}

static void put_dicts(struct buf *b, const struct block_index *x)
{
    uint64_t at = BLOCK_HEADER_BYTES;
    buf_append_varint(b, x->dict_count);
    for (uint32_t i = 0; i < x->dict_count; i++) {
        buf_append_varint(b, x->dicts[i].chunk_count);
        for (uint32_t k = 0; k < x->dicts[i].chunk_count; k++) {
            const struct block_dict_chunk *c = &x->dicts[i].chunks[k];
            put_text(b, c->first);
            buf_append_varint(b, c->count);
            put_ref(b, &c->texts, &at);
            put_ref(b, &c->lists, &at);
        }
    }
}

static void put_filters(struct buf *b, const struct block_index *x)
{
    uint64_t at = BLOCK_HEADER_BYTES;
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t c = 0; c < x->column_count[t]; c++) {
            const struct block_column *column = &x->columns[t][c];
            uint32_t n = block_filter_count(block_parts(x, (enum seg_table)t));
            for (uint32_t i = 0; column->form == BLOCK_FORM_PLAIN && i < n; i++) {
                const struct block_filter *f = &column->filters[i];
                buf_append_varint(b, f->page_count);
                if (f->page_count == 0)
                    continue;
                buf_append_varint(b, f->range);
                for (uint32_t k = 0; k < f->page_count; k++)
                    put_ref(b, &f->pages[k], &at);
            }
        }
}

static void put_locator(struct buf *b, const struct block_index *x)
{
    uint64_t at = BLOCK_HEADER_BYTES;
    buf_append_varint(b, x->chunk_count);
    for (uint32_t i = 0; i < x->chunk_count; i++) {
        buf_append_le32(b, x->chunks[i].first_hash);
        buf_append_varint(b, x->chunks[i].count);
        put_ref(b, &x->chunks[i].page, &at);
    }
    put_ref(b, &x->flagged, &at);
}

void block_footer_put(const struct block_index *x, struct buf *out)
{
    static void (*const put[SECTION_COUNT])(struct buf *, const struct block_index *) = {
        [SECTION_META] = put_meta,       [SECTION_GROUPS] = put_groups,
        [SECTION_COLUMNS] = put_columns, [SECTION_SHAPES] = put_shapes,
        [SECTION_PAGES] = put_pages,     [SECTION_ZONES] = put_zones,
        [SECTION_DICTS] = put_dicts,     [SECTION_LOCATOR] = put_locator,
        [SECTION_FILTERS] = put_filters,
    };
    struct buf body;
    buf_init(&body, BLOCK_FOOTER_RAW_MAX);
    for (uint32_t i = SECTION_META; i < SECTION_COUNT; i++) {
        buf_reset(&body);
        put[i](&body, x);
        if (buf_err(&body) != ERR_OK)
            out->err = buf_err(&body);
        buf_append_varint(out, i);
        put_text(out, buf_slice(&body));
    }
    buf_release(&body);
}

/* --- reading: every count is checked against the bytes that are left before anything is allocated for it --- */

struct parse {
    struct block_index *x;
    struct arena *a;
    uint64_t file_bytes;
    uint32_t version;
};

static uint32_t get_count(struct reader *r, uint64_t max, size_t bytes_each)
{
    uint64_t n = reader_varint(r);
    if (n > max || n * bytes_each > reader_left(r)) {
        reader_fail(r);
        return 0;
    }
    return (uint32_t)n;
}

static struct block_ref get_ref(struct parse *p, struct reader *r, uint64_t *at)
{
    struct block_ref ref = {0};
    uint64_t bytes = reader_varint(r);
    if (bytes == 0)
        return ref;
    ref.offset = *at + (uint64_t)unzigzag(reader_varint(r));
    ref.bytes = (uint32_t)bytes;
    if (bytes > UINT32_MAX || ref.offset > p->file_bytes || bytes > p->file_bytes - ref.offset) {
        reader_fail(r);
        return (struct block_ref){0};
    }
    *at = ref.offset + ref.bytes;
    return ref;
}

static void get_name(struct reader *r, char *ret, size_t size)
{
    struct slice s = reader_bytes(r);
    if (s.len >= size || memchr(s.len == 0 ? "" : (const char *)s.ptr, 0, s.len) != NULL) {
        reader_fail(r);
        return;
    }
    if (s.len != 0)
        memcpy(ret, s.ptr, s.len);
    ret[s.len] = '\0';
}

static void get_meta(struct parse *p, struct reader *r)
{
    struct block_meta *m = &p->x->meta;
    get_name(r, m->id, sizeof m->id);
    get_name(r, m->tenant, sizeof m->tenant);
    get_name(r, m->writer, sizeof m->writer);
    m->lsn_lo = reader_varint(r);
    m->lsn_hi = reader_varint(r);
    m->min_start_ns = reader_varint(r);
    m->max_end_ns = reader_varint(r);
    m->span_count = reader_varint(r);
    m->trace_count = reader_varint(r);
    m->flagged_count = reader_varint(r);
    m->created_ns = reader_varint(r);
    m->bytes = p->file_bytes;
}

static void get_groups(struct parse *p, struct reader *r)
{
    struct block_index *x = p->x;
    x->row_count[SEG_RESOURCE] = get_count(r, BLOCK_GROUP_ROWS_MAX, 0);
    x->row_count[SEG_SCOPE] = get_count(r, BLOCK_GROUP_ROWS_MAX, 0);
    x->group_count = get_count(r, BLOCK_GROUPS_MAX, 20);
    x->groups = ARENA_ARRAY(p->a, struct block_group, x->group_count);
    uint64_t spans = 0, traces = 0;
    for (uint32_t i = 0; x->groups != NULL && i < x->group_count; i++) {
        struct block_group *g = &x->groups[i];
        g->rows[SEG_SPAN] = get_count(r, BLOCK_GROUP_ROWS_MAX, 0);
        g->rows[SEG_EVENT] = get_count(r, BLOCK_GROUP_ROWS_MAX, 0);
        g->rows[SEG_LINK] = get_count(r, BLOCK_GROUP_ROWS_MAX, 0);
        g->trace_count = get_count(r, g->rows[SEG_SPAN], 0);
        g->min_start_ns = reader_le64(r);
        g->max_end_ns = reader_le64(r);
        g->rows[SEG_RESOURCE] = x->row_count[SEG_RESOURCE];
        g->rows[SEG_SCOPE] = x->row_count[SEG_SCOPE];
        g->first_trace = (uint32_t)traces;
        spans += g->rows[SEG_SPAN];
        traces += g->trace_count;
        if (g->rows[SEG_SPAN] == 0 || g->trace_count == 0 || traces > UINT32_MAX)
            reader_fail(r);
    }
    if (spans != x->meta.span_count || traces != x->meta.trace_count || x->group_count == 0)
        reader_fail(r);
    x->meta.group_count = x->group_count;
}

static bool is_column(const struct block_column *c)
{
    if (c->type >= SEG_TYPE_COUNT || c->field > SEGMENT_ROWS_ATTRIBUTE ||
        c->form > BLOCK_FORM_PLAIN)
        return false;
    return (c->form == BLOCK_FORM_NUMBERS) == (c->type != SEG_STR && c->type != SEG_ANY);
}

/* The type that each rare field has: readers of fields rely on it. */
static bool is_field_type(uint8_t field, uint8_t type)
{
    switch (field) {
    case SEG_STATUS_MESSAGE:
    case SEG_TRACE_STATE:
    case SEG_SCHEMA_URL:
    case SEG_SCOPE_NAME:
    case SEG_SCOPE_VERSION: return type == SEG_STR;
    case SEG_FLAGS:
    case SEG_DROPPED_ATTRIBUTES:
    case SEG_DROPPED_EVENTS:
    case SEG_DROPPED_LINKS: return type == SEG_INT;
    case SEG_HAS_STATUS: return type == SEG_BOOL;
    case SEG_UNKNOWN: return type == SEG_ANY;
    default: return true;
    }
}

static void get_columns(struct parse *p, struct reader *r)
{
    struct block_index *x = p->x;
    for (int t = 0; t < SEG_TABLE_COUNT; t++) {
        uint32_t n = get_count(r, BLOCK_COLUMNS_MAX, 4);
        x->columns[t] = ARENA_ARRAY(p->a, struct block_column, n);
        if (x->columns[t] == NULL)
            return;
        x->column_count[t] = n;
        for (uint32_t i = 0; i < n; i++) {
            struct block_column *c = &x->columns[t][i];
            c->table = (uint8_t)t;
            c->type = reader_u8(r);
            c->field = reader_u8(r);
            c->form = reader_u8(r);
            c->dict =
                c->form == BLOCK_FORM_DICT ? (uint32_t)get_count(r, UINT32_MAX, 0) : BLOCK_NONE;
            c->key = reader_bytes(r);
            if (!is_column(c) || !is_field_type(c->field, c->type))
                reader_fail(r);
        }
    }
}

static void get_shapes(struct parse *p, struct reader *r)
{
    struct block_index *x = p->x;
    for (int t = 0; t < SEG_TABLE_COUNT; t++) {
        uint32_t n = get_count(r, UINT32_MAX, 1);
        x->shapes[t] = ARENA_ARRAY(p->a, struct segment_rows_shape, n);
        if (x->shapes[t] == NULL)
            return;
        x->shape_count[t] = n;
        for (uint32_t i = 0; i < n && !reader_failed(r); i++) {
            uint32_t k = get_count(r, UINT32_MAX, 1);
            uint32_t *columns = ARENA_ARRAY(p->a, uint32_t, k);
            if (columns == NULL)
                return;
            for (uint32_t c = 0; c < k; c++) {
                uint64_t column = reader_varint(r);
                if (column >= x->column_count[t]) {
                    reader_fail(r);
                    return;
                }
                columns[c] = (uint32_t)column;
            }
            x->shapes[t][i] = (struct segment_rows_shape){columns, k};
        }
    }
}

static struct block_ref *get_refs(struct parse *p, struct reader *r, uint32_t n, uint64_t *at)
{
    if (n > reader_left(r)) {
        reader_fail(r);
        return NULL;
    }
    struct block_ref *refs = ARENA_ARRAY(p->a, struct block_ref, n);
    for (uint32_t i = 0; refs != NULL && i < n; i++)
        refs[i] = get_ref(p, r, at);
    return refs;
}

static void get_pages(struct parse *p, struct reader *r)
{
    struct block_index *x = p->x;
    uint64_t at = BLOCK_HEADER_BYTES;
    /* A later writer may have more streams of the groups: they are passed over. */
    uint32_t n = get_count(r, UINT8_MAX, 1);
    if (n < BLOCK_STREAM_COUNT)
        reader_fail(r);
    for (uint32_t s = 0; s < n && !reader_failed(r); s++) {
        bool is_known = s < BLOCK_STREAM_COUNT;
        struct block_ref *refs = get_refs(
            p, r,
            is_known ? block_parts(x, block_stream_table((enum block_stream)s)) : x->group_count,
            &at);
        if (is_known)
            x->streams[s] = refs;
    }
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t c = 0; c < x->column_count[t]; c++)
            x->columns[t][c].pages = get_refs(p, r, block_parts(x, (enum seg_table)t), &at);
}

static void get_zones(struct parse *p, struct reader *r)
{
    struct block_index *x = p->x;
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t c = 0; c < x->column_count[t]; c++) {
            struct block_column *column = &x->columns[t][c];
            uint32_t parts = block_parts(x, (enum seg_table)t);
            if (column->type != SEG_INT)
                continue;
            column->zones = ARENA_ARRAY(p->a, struct block_zone, parts);
            if (column->zones == NULL)
                return;
            for (uint32_t i = 0; i < parts; i++) {
                if (column->pages[i].bytes == 0)
                    continue;
                column->zones[i].min = unzigzag(reader_varint(r));
                column->zones[i].max = (int64_t)((uint64_t)column->zones[i].min + reader_varint(r));
            }
        }
}

static void get_dict(struct parse *p, struct reader *r, struct block_dict_ref *d, uint64_t *at)
{
    bool is_v1 = p->version == 1; /* one chunk, and its texts in the order of first use */
    uint32_t n = is_v1 ? 1 : get_count(r, UINT32_MAX, 4);
    d->chunks = ARENA_ARRAY(p->a, struct block_dict_chunk, n);
    uint64_t texts = 0;
    for (uint32_t i = 0; d->chunks != NULL && i < n && !reader_failed(r); i++) {
        struct block_dict_chunk *c = &d->chunks[i];
        if (!is_v1)
            c->first = reader_bytes(r);
        c->first_code = (uint32_t)texts;
        c->count = get_count(r, is_v1 ? UINT32_MAX : BLOCK_DICT_CHUNK_TEXTS, 0);
        c->texts = get_ref(p, r, at);
        c->lists = get_ref(p, r, at);
        texts += c->count;
        if (texts > UINT32_MAX || (i != 0 && slice_cmp(c->first, c[-1].first) <= 0))
            reader_fail(r);
    }
    d->count = (uint32_t)texts;
    d->chunk_count = n;
    d->first_piece = p->x->piece_count;
    p->x->piece_count += 2 * n;
}

static void get_dicts(struct parse *p, struct reader *r)
{
    struct block_index *x = p->x;
    uint64_t at = BLOCK_HEADER_BYTES;
    uint32_t n = get_count(r, UINT32_MAX, 1);
    x->dicts = ARENA_ARRAY(p->a, struct block_dict_ref, n);
    if (x->dicts == NULL)
        return;
    x->dict_count = n;
    for (uint32_t i = 0; i < n && !reader_failed(r); i++)
        get_dict(p, r, &x->dicts[i], &at);
    if (n < 2)
        reader_fail(r);
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t c = 0; c < x->column_count[t]; c++)
            if (x->columns[t][c].form == BLOCK_FORM_DICT && x->columns[t][c].dict >= n)
                reader_fail(r);
}

static void get_locator(struct parse *p, struct reader *r)
{
    struct block_index *x = p->x;
    uint64_t at = BLOCK_HEADER_BYTES, traces = 0;
    uint32_t n = get_count(r, UINT32_MAX, 6);
    x->chunks = ARENA_ARRAY(p->a, struct block_chunk, n);
    if (x->chunks == NULL)
        return;
    x->chunk_count = n;
    for (uint32_t i = 0; i < n; i++) {
        x->chunks[i].first_hash = reader_le32(r);
        x->chunks[i].count = get_count(r, BLOCK_LOCATOR_CHUNK, 0);
        x->chunks[i].page = get_ref(p, r, &at);
        traces += x->chunks[i].count;
    }
    x->flagged = get_ref(p, r, &at);
    if (traces != x->meta.trace_count || x->meta.flagged_count > x->meta.trace_count)
        reader_fail(r);
}

static void get_filter(struct parse *p, struct reader *r, struct block_filter *f, uint64_t *at)
{
    f->page_count = get_count(r, UINT32_MAX, 1);
    if (f->page_count == 0)
        return;
    f->range = get_count(r, UINT32_MAX / BLOCK_FILTER_PARTS, 0);
    f->pages = get_refs(p, r, f->page_count, at);
    f->first_piece = p->x->piece_count;
    p->x->piece_count += f->page_count;
    if (f->range == 0)
        reader_fail(r);
}

static void get_filters(struct parse *p, struct reader *r)
{
    struct block_index *x = p->x;
    uint64_t at = BLOCK_HEADER_BYTES;
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t c = 0; c < x->column_count[t]; c++) {
            struct block_column *column = &x->columns[t][c];
            uint32_t n = block_filter_count(block_parts(x, (enum seg_table)t));
            if (column->form != BLOCK_FORM_PLAIN)
                continue;
            column->filters = ARENA_ARRAY(p->a, struct block_filter, n);
            if (column->filters == NULL)
                return;
            for (uint32_t i = 0; i < n && !reader_failed(r); i++)
                get_filter(p, r, &column->filters[i], &at);
        }
}

enum err block_footer_get(struct slice raw, uint64_t file_bytes, uint32_t version, struct arena *a,
                          struct block_index *ret)
{
    static void (*const get[SECTION_COUNT])(struct parse *, struct reader *) = {
        [SECTION_META] = get_meta,       [SECTION_GROUPS] = get_groups,
        [SECTION_COLUMNS] = get_columns, [SECTION_SHAPES] = get_shapes,
        [SECTION_PAGES] = get_pages,     [SECTION_ZONES] = get_zones,
        [SECTION_DICTS] = get_dicts,     [SECTION_LOCATOR] = get_locator,
        [SECTION_FILTERS] = get_filters,
    };
    struct reader r = reader_of(raw);
    struct parse p = {ret, a, file_bytes, version};
    uint64_t count = version == 1 ? SECTION_FILTERS : SECTION_COUNT;
    ret->meta.version = version;
    uint64_t next = SECTION_META; /* sections build on those before them */
    while (!reader_done(&r)) {
        uint64_t number = reader_varint(&r);
        struct reader body = reader_of(reader_bytes(&r));
        if (reader_failed(&r))
            return ERR_CORRUPT;
        if (number >= count)
            continue;
        if (number != next)
            return ERR_CORRUPT;
        next++;
        get[number](&p, &body);
        if (arena_err(a) != ERR_OK)
            return arena_err(a);
        if (reader_failed(&body))
            return ERR_CORRUPT;
    }
    return next == count ? ERR_OK : ERR_CORRUPT;
}
