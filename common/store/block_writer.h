/*
 * block_writer.h - the inside of block_write: the file that grows, the rows that were chosen, the columns they have.
 * block_write.c leads; block_columns.c turns columns of segments into columns of the block.
 */
#ifndef VIVACE_STORE_BLOCK_WRITER_H
#define VIVACE_STORE_BLOCK_WRITER_H

#include "common/base/hash.h"
#include "common/store/block_order.h"

/* [count], each BLOCK_NONE. */
static inline uint32_t *block_none_array(struct arena *a, uint32_t count)
{
    uint32_t *to = arena_alloc(a, (size_t)count * sizeof *to);
    if (to != NULL)
        memset(to, 0xff, (size_t)count * sizeof *to);
    return to;
}

/* Doubles an array in an arena; the old one stays until the arena goes. */
static inline void *block_widen(struct arena *a, const void *old, uint32_t *max, size_t each)
{
    uint32_t wider = *max == 0 ? 32 : *max * 2;
    uint8_t *to = arena_alloc(a, wider * each);
    if (to == NULL)
        return NULL;
    if (*max != 0)
        memcpy(to, old, *max * each);
    *max = wider;
    return to;
}

struct block_source { /* where a row of the block comes from */
    uint32_t segment, row;
};

struct block_rows {               /* one table of the block */
    struct block_source *sources; /* [count]; of spans too */
    uint32_t **place;             /* [segment][its row]: row here, or BLOCK_NONE */
    uint32_t *part_end;           /* [parts]: rows up to the end of each part */
    uint32_t count, part_count;
};

struct block_writer {
    struct segment **segments;
    uint32_t segment_count;
    struct seg_fixed *fixed; /* [segment] */
    struct seg_events *events;
    struct seg_links *links;
    struct block_order order;
    struct block_rows rows[SEG_TABLE_COUNT];
    struct block_index index;
    uint32_t dict_max;
    uint32_t *local_of
        [SEG_TABLE_COUNT]; /* [column of the block * segment_count + segment]: its column there, or BLOCK_NONE */
    struct arena arena, scratch; /* of the whole build; of one column */
    int fd;
    uint64_t offset;
    struct buf out, raw; /* pages not written yet; the page that is being made */
    uint64_t *ints;      /* [rows of the largest part of any table], grown on demand */
    uint32_t int_max;
};

struct block_located { /* an entry of the locator */
    uint32_t hash, trace;
};
static inline uint32_t block_trace_hash(struct trace_id id)
{
    return (uint32_t)(hash_plain((struct slice){id.b, TRACE_ID_BYTES}) >> 32);
}

/* block_write.c, in the order of use: the header; rows of the groups that w->order names; their streams but for names; what the whole block has.
 * Sorts `all` and `ids`. */
MUST_CHECK enum err block_write_header(struct block_writer *w);
MUST_CHECK enum err block_write_choose_spans(struct block_writer *w);
MUST_CHECK enum err block_write_choose_children(struct block_writer *w, enum seg_table table);
MUST_CHECK enum err block_write_streams(struct block_writer *w);
MUST_CHECK enum err block_write_locator(struct block_writer *w, struct block_located *all,
                                        uint32_t n, struct arena *keep);
MUST_CHECK enum err block_write_flagged(struct block_writer *w, struct trace_id *ids,
                                        uint32_t count);
void block_write_fill_meta(struct block_index *x);
MUST_CHECK enum err block_write_footer(struct block_writer *w);

/* block_write.c: ends the page that stands in w->raw. */
MUST_CHECK enum err block_write_page(struct block_writer *w, uint8_t kind, uint32_t count,
                                     bool is_packed, struct block_ref *ret);
MUST_CHECK enum err block_write_ints(struct block_writer *w, uint8_t kind, const uint64_t *values,
                                     uint32_t count, struct block_ref *ret);

/* block_columns.c: shapes and columns of a table, and the names of spans and events. */
MUST_CHECK enum err block_columns_shapes(struct block_writer *w, enum seg_table table);
MUST_CHECK enum err block_columns_write(struct block_writer *w, enum seg_table table);
MUST_CHECK enum err block_columns_names(struct block_writer *w, enum seg_table table,
                                        enum block_stream stream, uint32_t dict);

#endif
