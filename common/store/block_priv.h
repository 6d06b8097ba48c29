/*
 * block_priv.h - what the writer and the reader of block files share: the streams, the columns, the index (the parsed footer).
 *
 * Shape:   common/store/README.md ("A block's file"), byte by byte.
 */
#ifndef VIVACE_STORE_BLOCK_PRIV_H
#define VIVACE_STORE_BLOCK_PRIV_H

#include "common/base/reader.h"
#include "common/store/block.h"
#include "common/store/segment_rows.h"

enum {
    BLOCK_HEADER_BYTES = 16,
    BLOCK_TRAILER_BYTES = 32,
    BLOCK_TAIL_READ_BYTES = 64 << 10,
    BLOCK_LOCATOR_CHUNK = 4096,
    BLOCK_DICT_CHUNK_BYTES = 64 << 10, /* a chunk ends with the text that reaches this */
    BLOCK_DICT_CHUNK_TEXTS = 16384,
    BLOCK_FILTER_PARTS = 64 /* parts that share the pages of a filter */
};
enum {
    BLOCK_FOOTER_RAW_MAX = 256 << 20,
    BLOCK_GROUPS_MAX = 1 << 20,
    BLOCK_COLUMNS_MAX = 1 << 20,
    BLOCK_GROUP_ROWS_MAX = 1 << 28
};
#define BLOCK_MAGIC "VVB1"
#define BLOCK_NONE  UINT32_MAX

/* Pages that are not a column of an attribute or a rare field.  Numbers are part of the format. */
enum block_stream {
    BLOCK_SPAN_ID, /* 8 bytes each */
    BLOCK_DEPTH,   /* in the tree of its trace; 0: no parent here */
    BLOCK_ORPHANS, /* rows of depth 0 that have a parent id, then these, 8 bytes each */
    BLOCK_START,   /* against the span before, the first against its trace; signed */
    BLOCK_DURATION,
    BLOCK_NAME,
    BLOCK_KIND,
    BLOCK_STATUS,
    BLOCK_RESOURCE,
    BLOCK_SCOPE,
    BLOCK_SHAPE_SPAN, /* shapes: in the order of enum seg_table */
    BLOCK_SHAPE_RESOURCE,
    BLOCK_SHAPE_SCOPE,
    BLOCK_SHAPE_EVENT,
    BLOCK_SHAPE_LINK,
    BLOCK_TRACE_ID, /* 16 bytes each */
    BLOCK_TRACE_SPANS,
    BLOCK_TRACE_START,
    BLOCK_TRACE_LENGTH, /* end - start */
    BLOCK_TRACE_FLAGS,
    BLOCK_EVENT_SPAN,
    BLOCK_EVENT_TIME, /* against the start of its span; signed */
    BLOCK_EVENT_NAME,
    BLOCK_LINK_SPAN,
    BLOCK_LINK_TRACE, /* 16 bytes each */
    BLOCK_LINK_ID,    /* 8 bytes each */
    BLOCK_STREAM_COUNT
};

/* Kind byte of a page: what its reader expects there. */
enum block_page_kind {
    BLOCK_PAGE_STREAM = 1, /* + stream: 1..63 */
    BLOCK_PAGE_INTS = 64,
    BLOCK_PAGE_DOUBLES,
    BLOCK_PAGE_BOOLS,
    BLOCK_PAGE_CODES, /* numbers in the group's code list */
    BLOCK_PAGE_TEXTS,
    BLOCK_PAGE_DICT,
    BLOCK_PAGE_LISTS,
    BLOCK_PAGE_LOCATOR,
    BLOCK_PAGE_FLAGGED,
    BLOCK_PAGE_FOOTER,
    BLOCK_PAGE_FILTER,
    BLOCK_PAGE_TEMPLATES,
    BLOCK_PAGE_ANY_TEXTS = 255 /* not a kind: whoever asks takes TEXTS and TEMPLATES */
};

enum block_form { BLOCK_FORM_NUMBERS, BLOCK_FORM_DICT, BLOCK_FORM_PLAIN };

struct block_ref {
    uint64_t offset;
    uint32_t bytes; /* 0: nothing there */
};

struct block_zone {
    int64_t min, max;
};

/* Which texts a plain column can have in each of up to BLOCK_FILTER_PARTS parts. */
struct block_filter {
    uint32_t page_count; /* 0: nothing is known */
    uint32_t range;      /* a text of a part is a number below it */
    uint32_t first_piece;
    struct block_ref *pages;
};

struct block_column {
    struct slice key;
    uint8_t table, type, field, form;
    uint32_t dict;                /* BLOCK_FORM_DICT */
    struct block_ref *pages;      /* [parts of its table] */
    struct block_zone *zones;     /* INT: [parts] */
    struct block_filter *filters; /* PLAIN, from version 2 on: [block_filter_count(parts)] */
};

struct block_dict_chunk { /* of texts that follow each other */
    struct slice
        first; /* a text before the first of these, or that one; after all of the chunks before */
    uint32_t first_code, count;
    struct block_ref texts, lists; /* lists: which of the texts each part has */
};

struct block_dict_ref {
    uint32_t count, chunk_count; /* count: of texts */
    uint32_t first_piece;        /* of two a chunk: texts, lists */
    struct block_dict_chunk *chunks;
};

struct block_group {
    uint32_t rows[SEG_TABLE_COUNT]; /* of span, event, link */
    uint32_t trace_count, first_trace;
    uint64_t min_start_ns, max_end_ns;
};

struct block_chunk { /* of the locator */
    uint32_t first_hash, count;
    struct block_ref page;
};

struct block_index {
    struct block_meta meta;
    uint32_t group_count, row_count[SEG_TABLE_COUNT]; /* row_count: of resource, scope */
    struct block_group *groups;
    uint32_t column_count[SEG_TABLE_COUNT], shape_count[SEG_TABLE_COUNT];
    struct block_column *columns[SEG_TABLE_COUNT];
    struct segment_rows_shape *shapes[SEG_TABLE_COUNT];
    struct block_ref *streams[BLOCK_STREAM_COUNT]; /* [parts] */
    uint32_t dict_count;
    struct block_dict_ref *dicts; /* 0: span names, 1: event names, then those of columns */
    uint32_t chunk_count;
    struct block_chunk *chunks;
    struct block_ref flagged;
    uint32_t
        piece_count; /* of dictionaries and filters: what an open block keeps once it was read */
};
enum { BLOCK_DICT_SPAN_NAMES = 0, BLOCK_DICT_EVENT_NAMES = 1 };

/* Resources and scopes are stored once a block, everything else once a group. */
static inline bool block_is_shared(enum seg_table t)
{
    return t == SEG_RESOURCE || t == SEG_SCOPE;
}
static inline uint32_t block_parts(const struct block_index *x, enum seg_table t)
{
    return block_is_shared(t) ? 1 : x->group_count;
}
static inline uint32_t block_filter_count(uint32_t parts)
{
    return (parts + BLOCK_FILTER_PARTS - 1) / BLOCK_FILTER_PARTS;
}
/* From version 2 on the texts of a dictionary ascend. */
static inline bool block_has_sorted_dicts(const struct block_index *x)
{
    return x->meta.version >= 2;
}
static inline enum seg_table block_stream_table(enum block_stream s)
{
    if (s == BLOCK_SHAPE_RESOURCE)
        return SEG_RESOURCE;
    return s == BLOCK_SHAPE_SCOPE ? SEG_SCOPE : SEG_SPAN;
}

/* block_footer.c */
void block_footer_put(const struct block_index *x, struct buf *out);
MUST_CHECK enum err block_footer_get(struct slice raw, uint64_t file_bytes, uint32_t version,
                                     struct arena *a, struct block_index *ret);

#endif
