/* The pages of a column: headers, decompression, levels and values. */
#include "common/codec/gzip_crc.h"
#include "common/codec/inflate.h"
#include "common/parquet/parquet_decode.h"
#include "common/parquet/parquet_priv.h"
#include "common/parquet/parquet_thrift.h"

#include <assert.h>
#include <stdio.h>

enum page_type { PAGE_DATA, PAGE_INDEX, PAGE_DICTIONARY, PAGE_DATA_V2 };
enum encoding {
    ENCODING_PLAIN,
    ENCODING_PLAIN_DICTIONARY = 2,
    ENCODING_RLE = 3,
    ENCODING_DELTA = 5,
    ENCODING_DELTA_LENGTHS = 6,
    ENCODING_DELTA_TEXTS = 7,
    ENCODING_RLE_DICTIONARY = 8
};

struct header {
    int64_t type, raw_bytes, stored_bytes, crc;
    int64_t value_count, encoding, def_encoding, rep_encoding;
    int64_t null_count, def_bytes, rep_bytes; /* v2 */
    bool has_crc, is_compressed, has_part;    /* has_part: the struct of its type was there */
};

static void name_of(const struct parquet_cursor *c, char ret[80])
{
    struct slice n = c->leaf->name;
    (void)snprintf(ret, 80, "%.*s", n.len > 60 ? 60 : (int)n.len, (const char *)n.ptr);
}

enum err parquet_page_bad(struct parquet_file *f, const struct parquet_cursor *c, enum err e,
                          const char *what)
{
    char name[80];

    if (e == ERR_NOMEM || e == ERR_LIMIT || (f->detail != NULL && f->detail->text[0] != '\0'))
        return e;
    name_of(c, name);
    return err_detail_set(f->detail, e, "column %u (%s), page near %llu: %s", c->leaf->column, name,
                          (unsigned long long)c->at, what);
}

/* DataPageHeader, DictionaryPageHeader and DataPageHeaderV2: their numbers by field. */
static void read_part(struct reader *r, struct header *h, int64_t *const fields[9])
{
    struct parquet_thrift_field field = {0};

    h->has_part = true;
    while (parquet_thrift_next(r, &field)) {
        if (h->type == PAGE_DATA_V2 && field.id == 7)
            h->is_compressed = parquet_thrift_bool(r, &field);
        else if (field.id < 9 && fields[field.id] != NULL)
            *fields[field.id] = parquet_thrift_int(r, &field);
        else
            parquet_thrift_skip(r, &field);
    }
}

static void read_header(struct reader *r, struct header *h)
{
    struct parquet_thrift_field field = {0};
    int64_t *const v1[9] = {NULL, &h->value_count, &h->encoding, &h->def_encoding,
                            &h->rep_encoding};
    int64_t *const dictionary[9] = {NULL, &h->value_count, &h->encoding};
    int64_t *const v2[9] = {NULL,         &h->value_count, &h->null_count, NULL,
                            &h->encoding, &h->def_bytes,   &h->rep_bytes};

    *h = (struct header){.type = -1,
                         .is_compressed = true,
                         .def_encoding = ENCODING_RLE,
                         .rep_encoding = ENCODING_RLE};
    while (parquet_thrift_next(r, &field)) {
        if (field.id == 1)
            h->type = parquet_thrift_int(r, &field);
        else if (field.id == 2)
            h->raw_bytes = parquet_thrift_int(r, &field);
        else if (field.id == 3)
            h->stored_bytes = parquet_thrift_int(r, &field);
        else if (field.id == 4) {
            h->crc = parquet_thrift_int(r, &field);
            h->has_crc = true;
        } else if (field.id == 5 && field.type == THRIFT_STRUCT && h->type == PAGE_DATA)
            read_part(r, h, v1);
        else if (field.id == 7 && field.type == THRIFT_STRUCT && h->type == PAGE_DICTIONARY)
            read_part(r, h, dictionary);
        else if (field.id == 8 && field.type == THRIFT_STRUCT && h->type == PAGE_DATA_V2)
            read_part(r, h, v2);
        else
            parquet_thrift_skip(r, &field);
    }
}

/* Nobody says how long a header is: more is read until it parses. */
static enum err load_header(struct parquet_file *f, struct parquet_cursor *c, struct header *ret)
{
    static const size_t windows[] = {512, 16 << 10, 1 << 20};
    uint64_t left = c->chunk.end - c->at;

    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        size_t len = left < windows[i] ? (size_t)left : windows[i];
        uint8_t *bytes = arena_alloc(&c->page, len);
        if (bytes == NULL)
            return arena_err(&c->page);
        enum err e = f->source.read(f->source.arg, c->at, bytes, len);
        if (e != ERR_OK)
            return e;
        struct reader r = reader_of((struct slice){bytes, len});
        read_header(&r, ret);
        if (!reader_failed(&r)) {
            c->at += len - reader_left(&r);
            return ERR_OK;
        }
        if (len == left)
            break;
    }
    return parquet_page_bad(f, c, ERR_CORRUPT, "no sound header");
}

/* The bytes of a page as they are stored, checked, in c->page. */
static enum err load_body(struct parquet_file *f, struct parquet_cursor *c, const struct header *h,
                          struct slice *ret)
{
    if (h->stored_bytes < 0 || (uint64_t)h->stored_bytes > c->chunk.end - c->at ||
        h->raw_bytes < 0 || h->stored_bytes > PARQUET_PAGE_BYTES_MAX ||
        h->raw_bytes > PARQUET_PAGE_BYTES_MAX)
        return parquet_page_bad(f, c, ERR_CORRUPT,
                                "a page longer than its column, or than 256 MiB");
    uint8_t *bytes = arena_alloc(&c->page, (size_t)h->stored_bytes);
    if (bytes == NULL)
        return arena_err(&c->page);
    enum err e = f->source.read(f->source.arg, c->at, bytes, (size_t)h->stored_bytes);
    *ret = (struct slice){bytes, (size_t)h->stored_bytes};
    c->at += (uint64_t)h->stored_bytes;
    if (e == ERR_OK && h->has_crc && gzip_crc(*ret) != (uint32_t)h->crc)
        e = parquet_page_bad(f, c, ERR_CORRUPT, "its checksum is wrong");
    return e;
}

/* `stored` decompressed into `a`: `raw_bytes` of them. */
static enum err decompress(struct parquet_file *f, struct parquet_cursor *c, struct slice stored,
                           size_t raw_bytes, struct arena *a, struct slice *ret)
{
    static const enum inflate_kind kinds[] = {[PARQUET_SNAPPY] = INFLATE_SNAPPY,
                                              [PARQUET_GZIP] = INFLATE_GZIP,
                                              [PARQUET_ZSTD] = INFLATE_ZSTD};
    struct inflate_limits limits = {raw_bytes, raw_bytes, SIZE_MAX};
    struct buf raw;

    if (c->chunk.codec == PARQUET_UNCOMPRESSED) {
        *ret = arena_dup(a, stored);
        return arena_err(a) != ERR_OK ? arena_err(a)
               : stored.len != raw_bytes
                   ? parquet_page_bad(f, c, ERR_CORRUPT, "its two lengths differ")
                   : ERR_OK;
    }
    if (c->chunk.codec >= sizeof kinds / sizeof kinds[0] || kinds[c->chunk.codec] == 0)
        return parquet_page_bad(f, c, ERR_UNSUPPORTED,
                                "compressed by other means than snappy, gzip or zstd");
    if (raw_bytes == 0) {
        *ret = SLICE_NONE;
        return ERR_OK;
    }
    buf_init(&raw, raw_bytes);
    enum err e = inflate_bytes(kinds[c->chunk.codec], stored, &limits, f->budget, &raw, NULL);
    if (e == ERR_FORMAT || e == ERR_TOO_LARGE || (e == ERR_OK && raw.len != raw_bytes))
        e = parquet_page_bad(f, c, ERR_CORRUPT, "it does not decompress to its length");
    if (e == ERR_OK) {
        *ret = arena_dup(a, buf_slice(&raw));
        e = arena_err(a);
    }
    if (f->budget != NULL)
        budget_give(f->budget, raw.cap);
    buf_release(&raw);
    return e;
}

/* --- values --- */

struct target { /* where values of the column's type go */
    int64_t *numbers;
    double *doubles;
    struct slice *texts;
};

static enum err make_target(const struct parquet_cursor *c, struct arena *a, uint32_t count,
                            struct target *ret)
{
    *ret = (struct target){0};
    switch (c->leaf->type) {
    case PARQUET_BOOLEAN:
    case PARQUET_INT32:
    case PARQUET_INT64: ret->numbers = arena_alloc(a, (size_t)count * sizeof *ret->numbers); break;
    case PARQUET_FLOAT:
    case PARQUET_DOUBLE: ret->doubles = arena_alloc(a, (size_t)count * sizeof *ret->doubles); break;
    case PARQUET_BYTES:
    case PARQUET_FIXED: ret->texts = arena_alloc(a, (size_t)count * sizeof *ret->texts); break;
    case PARQUET_INT96: return ERR_UNSUPPORTED;
    }
    return arena_err(a);
}

static enum err plain_values(const struct parquet_cursor *c, struct reader *r, uint32_t count,
                             const struct target *to)
{
    if (c->leaf->type == PARQUET_BOOLEAN)
        return parquet_decode_bits(r, count, to->numbers);
    if (c->leaf->type == PARQUET_BYTES)
        return parquet_decode_plain_texts(r, count, to->texts);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits;
        uint32_t half;
        float single;
        switch (c->leaf->type) {
        case PARQUET_INT32: to->numbers[i] = (int32_t)reader_le32(r); break;
        case PARQUET_INT64: to->numbers[i] = (int64_t)reader_le64(r); break;
        case PARQUET_FIXED: to->texts[i] = reader_take(r, c->leaf->type_bytes); break;
        case PARQUET_DOUBLE:
            bits = reader_le64(r);
            memcpy(&to->doubles[i], &bits, sizeof bits);
            break;
        case PARQUET_FLOAT:
            half = reader_le32(r);
            memcpy(&single, &half, sizeof half);
            to->doubles[i] = (double)single;
            break;
        case PARQUET_BOOLEAN:
        case PARQUET_INT96:
        case PARQUET_BYTES: return ERR_UNSUPPORTED;
        }
    }
    return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
}

static enum err dictionary_values(struct parquet_cursor *c, struct reader *r, uint32_t count,
                                  const struct target *to)
{
    uint32_t *codes = arena_alloc(&c->page, (size_t)count * sizeof *codes);

    if (codes == NULL)
        return arena_err(&c->page);
    if (!c->has_dict)
        return ERR_CORRUPT;
    uint8_t width = reader_u8(r);
    enum err e = parquet_decode_hybrid(r, width, count, codes);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        if (codes[i] >= c->dict_count)
            return ERR_CORRUPT;
        if (to->numbers != NULL)
            to->numbers[i] = c->dict_numbers[codes[i]];
        else if (to->doubles != NULL)
            to->doubles[i] = c->dict_doubles[codes[i]];
        else
            to->texts[i] = c->dict_texts[codes[i]];
    }
    c->is_dict_page = true;
    return e;
}

/* RLE of booleans: its length stands before it. */
static enum err rle_values(struct parquet_cursor *c, struct reader *r, uint32_t count,
                           const struct target *to)
{
    uint8_t *bits = arena_alloc(&c->page, count);

    if (bits == NULL)
        return arena_err(&c->page);
    struct reader body = reader_of(reader_take(r, reader_le32(r)));
    if (reader_failed(r) || c->leaf->type != PARQUET_BOOLEAN)
        return ERR_CORRUPT;
    enum err e = parquet_decode_levels(&body, 1, count, bits);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++)
        to->numbers[i] = bits[i];
    return e;
}

static enum err values(struct parquet_cursor *c, int64_t encoding, struct reader *r, uint32_t count,
                       const struct target *to)
{
    bool is_int = c->leaf->type == PARQUET_INT32 || c->leaf->type == PARQUET_INT64;
    bool is_bytes = c->leaf->type == PARQUET_BYTES;

    if (count == 0)
        return ERR_OK;
    switch (encoding) {
    case ENCODING_PLAIN: return plain_values(c, r, count, to);
    case ENCODING_PLAIN_DICTIONARY:
    case ENCODING_RLE_DICTIONARY: return dictionary_values(c, r, count, to);
    case ENCODING_RLE: return rle_values(c, r, count, to);
    case ENCODING_DELTA:
        return !is_int ? ERR_CORRUPT
                       : parquet_decode_delta(r, c->leaf->type == PARQUET_INT32 ? 32 : 64, count,
                                              to->numbers);
    case ENCODING_DELTA_LENGTHS:
        return !is_bytes ? ERR_CORRUPT
                         : parquet_decode_delta_lengths(r, count, &c->page, to->texts);
    case ENCODING_DELTA_TEXTS:
        return !is_bytes ? ERR_CORRUPT : parquet_decode_delta_texts(r, count, &c->page, to->texts);
    default: return ERR_UNSUPPORTED;
    }
}

/* --- pages --- */

static enum err load_dictionary(struct parquet_file *f, struct parquet_cursor *c,
                                const struct header *h, struct slice stored)
{
    struct slice raw = SLICE_NONE;
    struct target to;

    if (c->has_dict || h->value_count < 0 || h->value_count > PARQUET_PAGE_VALUES_MAX ||
        (h->encoding != ENCODING_PLAIN && h->encoding != ENCODING_PLAIN_DICTIONARY))
        return parquet_page_bad(f, c, ERR_CORRUPT, "its dictionary");
    enum err e = decompress(f, c, stored, (size_t)h->raw_bytes, &c->dictionary, &raw);
    if (e != ERR_OK)
        return e;
    /* Every value but a boolean takes bytes. */
    if (c->leaf->type == PARQUET_BOOLEAN || (uint64_t)h->value_count > raw.len)
        return parquet_page_bad(f, c, ERR_CORRUPT, "its dictionary");
    uint32_t count = (uint32_t)h->value_count;
    struct reader r = reader_of(raw);
    e = make_target(c, &c->dictionary, count, &to);
    if (e == ERR_OK)
        e = plain_values(c, &r, count, &to);
    if (e != ERR_OK)
        return parquet_page_bad(f, c, e, "its dictionary");
    c->dict_numbers = to.numbers;
    c->dict_doubles = to.doubles;
    c->dict_texts = to.texts;
    c->dict_count = count;
    c->has_dict = true;
    return ERR_OK;
}

static unsigned width_of(uint8_t max)
{
    return max == 0 ? 0 : 32u - (unsigned)__builtin_clz(max);
}

/* Levels of a page into *ret; none are stored where they can only be 0. */
static enum err load_levels(struct parquet_cursor *c, struct slice bytes, uint8_t max,
                            uint8_t **ret)
{
    struct reader r = reader_of(bytes);

    *ret = NULL;
    if (max == 0)
        return ERR_OK;
    *ret = arena_alloc(&c->page, c->count);
    if (*ret == NULL)
        return arena_err(&c->page);
    enum err e = parquet_decode_levels(&r, width_of(max), c->count, *ret);
    for (uint32_t i = 0; e == ERR_OK && i < c->count; i++)
        if ((*ret)[i] > max)
            e = ERR_CORRUPT;
    return e;
}

static uint32_t count_values(const struct parquet_cursor *c)
{
    uint32_t count = 0;

    if (c->def == NULL)
        return c->count;
    for (uint32_t i = 0; i < c->count; i++)
        count += c->def[i] == c->leaf->max_def;
    return count;
}

/* Page v1: all of it is compressed, levels have their length before them. */
static enum err split_v1(struct parquet_file *f, struct parquet_cursor *c, const struct header *h,
                         struct slice stored, struct slice parts[3])
{
    struct slice raw = SLICE_NONE;
    enum err e = decompress(f, c, stored, (size_t)h->raw_bytes, &c->page, &raw);
    struct reader r = reader_of(raw);

    if (e != ERR_OK)
        return e;
    if ((c->leaf->max_rep != 0 && h->rep_encoding != ENCODING_RLE) ||
        (c->leaf->max_def != 0 && h->def_encoding != ENCODING_RLE))
        return parquet_page_bad(f, c, ERR_UNSUPPORTED, "levels that are not RLE");
    if (c->leaf->max_rep != 0)
        parts[0] = reader_take(&r, reader_le32(&r));
    if (c->leaf->max_def != 0)
        parts[1] = reader_take(&r, reader_le32(&r));
    parts[2] = reader_take(&r, reader_left(&r));
    return reader_failed(&r) ? ERR_CORRUPT : ERR_OK;
}

/* Page v2: levels stand before what is compressed. */
static enum err split_v2(struct parquet_file *f, struct parquet_cursor *c, const struct header *h,
                         struct slice stored, struct slice parts[3])
{
    struct reader r = reader_of(stored);

    if (h->rep_bytes < 0 || h->def_bytes < 0 || h->rep_bytes > (int64_t)stored.len ||
        h->def_bytes > (int64_t)stored.len || h->rep_bytes + h->def_bytes > h->raw_bytes)
        return ERR_CORRUPT;
    parts[0] = reader_take(&r, (size_t)h->rep_bytes);
    parts[1] = reader_take(&r, (size_t)h->def_bytes);
    parts[2] = reader_take(&r, reader_left(&r));
    if (reader_failed(&r))
        return ERR_CORRUPT;
    if (!h->is_compressed)
        return ERR_OK;
    return decompress(f, c, parts[2], (size_t)(h->raw_bytes - h->rep_bytes - h->def_bytes),
                      &c->page, &parts[2]);
}

static enum err load_data(struct parquet_file *f, struct parquet_cursor *c, const struct header *h,
                          struct slice stored)
{
    struct slice parts[3] = {SLICE_NONE, SLICE_NONE, SLICE_NONE};
    struct target to;

    if (h->value_count < 0 || (uint64_t)h->value_count > c->left ||
        h->value_count > PARQUET_PAGE_VALUES_MAX)
        return ERR_CORRUPT;
    c->count = (uint32_t)h->value_count;
    c->level_at = c->value_at = 0;
    c->is_dict_page = false;
    enum err e =
        h->type == PAGE_DATA ? split_v1(f, c, h, stored, parts) : split_v2(f, c, h, stored, parts);
    if (e == ERR_OK)
        e = load_levels(c, parts[0], c->leaf->max_rep, &c->rep);
    if (e == ERR_OK)
        e = load_levels(c, parts[1], c->leaf->max_def, &c->def);
    if (e != ERR_OK)
        return e;
    c->value_count = count_values(c);
    struct reader r = reader_of(parts[2]);
    e = make_target(c, &c->page, c->value_count, &to);
    if (e == ERR_OK)
        e = values(c, h->encoding, &r, c->value_count, &to);
    c->numbers = to.numbers;
    c->doubles = to.doubles;
    c->texts = to.texts;
    c->left -= c->count;
    return e;
}

enum err parquet_page_begin(struct parquet_file *f, struct parquet_cursor *c)
{
    c->chunk = f->chunks[(size_t)(f->group - 1) * f->leaf_count + c->leaf->column];
    c->at = c->chunk.offset;
    c->left = c->chunk.value_count;
    c->count = c->level_at = 0;
    c->has_dict = false;
    arena_reset(&c->page);
    arena_reset(&c->dictionary);
    return c->leaf->type == PARQUET_INT96 ? parquet_page_bad(f, c, ERR_UNSUPPORTED, "INT96")
                                          : ERR_OK;
}

enum err parquet_page_next(struct parquet_file *f, struct parquet_cursor *c)
{
    struct header h;

    assert(c->level_at == c->count);
    c->count = c->level_at = 0;
    while (c->count == 0) {
        struct slice stored = SLICE_NONE;
        arena_reset(&c->page);
        if (c->left == 0 || c->at >= c->chunk.end)
            return parquet_page_bad(f, c, ERR_CORRUPT, "the column ends before its rows do");
        enum err e = load_header(f, c, &h);
        if (e == ERR_OK)
            e = load_body(f, c, &h, &stored);
        if (e != ERR_OK)
            return e;
        if (h.type == PAGE_INDEX)
            continue;
        if (h.type < PAGE_DATA || h.type > PAGE_DATA_V2 || !h.has_part)
            return parquet_page_bad(f, c, ERR_CORRUPT, "a page of no known kind");
        e = h.type == PAGE_DICTIONARY ? load_dictionary(f, c, &h, stored)
                                      : load_data(f, c, &h, stored);
        if (e != ERR_OK) {
            c->count = c->level_at = 0;
            return parquet_page_bad(f, c, e,
                                    e == ERR_UNSUPPORTED ? "an encoding that is not built"
                                                         : "its levels or values");
        }
    }
    return ERR_OK;
}
