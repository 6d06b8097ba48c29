/*
 * block_pages.h - the inside of an open row group, shared by block_pages.c (pages, streams, names), block_fixed.c (fixed columns, traces),
 * block_values.c (columns of attributes and rare fields), block_match.c (rows that meet a condition) and block_segment.c (events, links, single rows, opening and closing).
 *
 * Memory:  what is decoded lives in s->arena until the segment is closed; s->tmp holds a page while it is being decoded, and is reset by each of
 *          these functions before it returns, but for block_pages_one and block_pages_ints, whose result lies there.
 */
#ifndef VIVACE_STORE_BLOCK_PAGES_H
#define VIVACE_STORE_BLOCK_PAGES_H

#include "common/store/block_reader.h"

struct column_memo {
    bool is_known;
    struct seg_column column;
};

struct block_segment {
    struct segment_rows base; /* first */
    struct block *b;
    uint32_t group;
    struct arena arena, tmp;
    struct block_user user;
    struct seg_fixed fixed;
    uint32_t *depth, *first;         /* first: [trace_count + 1] row of each trace */
    uint8_t *depth_byte;             /* depths, for who needs no more */
    uint32_t depth_end;              /* all depths are below */
    uint32_t *orphans, orphan_count; /* rows */
    uint64_t *orphan_ids;            /* of their parents */
    struct seg_traces traces;
    struct seg_events events;
    struct seg_links links;
    bool has_traces, has_events, has_links;
    uint32_t *shape_of[SEG_TABLE_COUNT];  /* [row_count] */
    uint8_t *shape_byte[SEG_TABLE_COUNT]; /* the same, where there are at most 256 */
    struct column_memo *memo[SEG_TABLE_COUNT];
};

static inline struct block_segment *block_pages_mine(struct segment *s)
{
    return (struct block_segment *)(void *)s;
}

static inline uint32_t block_pages_rows(const struct block_segment *s, enum seg_table table)
{
    return s->base.segment.row_count[table];
}

static inline enum err block_pages_no_room(const struct block_segment *s)
{
    enum err e = arena_err(&s->arena);
    return e == ERR_OK ? arena_err(&s->tmp) : e;
}

/* block_pages.c */
MUST_CHECK enum err block_pages_one(struct block_segment *s, const struct block_ref *ref,
                                    uint8_t kind, uint32_t count, struct slice *ret);
const struct block_ref *block_pages_ref(const struct block_segment *s, enum block_stream stream);
MUST_CHECK enum err block_pages_ints(struct block_segment *s, enum block_stream stream,
                                     uint32_t count, uint64_t **ret);
MUST_CHECK enum err block_pages_u32(struct block_segment *s, enum block_stream stream,
                                    uint32_t count, uint64_t limit, uint32_t **ret);
MUST_CHECK enum err block_pages_u8(struct block_segment *s, enum block_stream stream,
                                   uint32_t count, uint8_t **ret);
MUST_CHECK enum err block_pages_raw(struct block_segment *s, enum block_stream stream,
                                    uint32_t count, size_t width, const void **ret);
MUST_CHECK enum err block_pages_names(struct block_segment *s, enum block_stream stream,
                                      uint32_t dict, uint32_t rows, struct seg_names *ret);

/* block_fixed.c */
MUST_CHECK enum err block_fixed_first(struct block_segment *s);
MUST_CHECK enum err block_fixed_trace_ids(struct block_segment *s);
MUST_CHECK enum err block_fixed_load(struct block_segment *s, uint32_t bit);
MUST_CHECK enum err block_fixed_get(struct segment *segment, uint32_t which, struct seg_fixed *ret);
MUST_CHECK enum err block_fixed_traces(struct segment *segment, struct seg_traces *ret);
MUST_CHECK enum err block_fixed_depths(struct segment *segment, struct seg_depths *ret);

/* block_match.c */
MUST_CHECK enum err block_match_attribute(struct segment *segment, enum seg_table table,
                                          struct slice key, const struct seg_match *m,
                                          uint8_t *mask, bool *ret_any);
MUST_CHECK enum err block_match_fixed(struct segment *segment, uint32_t which,
                                      const struct seg_match *m, uint8_t *mask, bool *ret_any);

MUST_CHECK enum err block_match_codes(struct segment *segment, enum seg_table table,
                                      struct slice key, struct seg_codes *ret);

/* block_values.c */
/* How often each shape has a column (in s->tmp), and the most of these. */
MUST_CHECK enum err block_values_times(struct block_segment *s, enum seg_table table,
                                       uint32_t column, uint32_t **ret, uint32_t *ret_most);
MUST_CHECK enum err block_values_shapes(struct block_segment *s, enum seg_table table);
MUST_CHECK enum err block_values_column(struct block_segment *s, enum seg_table table,
                                        uint32_t column, const struct seg_column **ret);
MUST_CHECK enum err block_values_attribute(struct segment *segment, enum seg_table table,
                                           struct slice key, const struct seg_column **ret,
                                           uint32_t *ret_count);
MUST_CHECK enum err block_values_equal(struct segment *segment, enum seg_table table,
                                       struct slice key, struct slice text,
                                       const struct seg_column **ret, uint32_t *ret_count);
MUST_CHECK enum err block_values_texts(struct segment *segment, enum seg_table table,
                                       struct slice key, struct arena *a, const struct slice **ret,
                                       uint32_t *ret_count);
MUST_CHECK enum err block_values_range(struct segment *segment, enum seg_table table,
                                       struct slice key, int64_t *ret_min, int64_t *ret_max);
MUST_CHECK enum err block_values_field(struct segment *segment, enum seg_table table,
                                       enum seg_field field, const struct seg_column **ret,
                                       uint32_t *ret_count);
MUST_CHECK enum err block_values_keys(struct segment *segment, enum seg_table table,
                                      struct arena *a, struct seg_key **ret, uint32_t *ret_count);

#endif
