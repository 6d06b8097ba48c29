/*
 * segment_rows.h - what a segment of this library (head snapshot, row group of a block) tells beyond the query's contract:
 * single rows, their shapes, and columns by number.  The OTLP writer and the block writer stand on it.
 *
 * Shape:   every table numbers its columns from 0; a column is an attribute (key, type) or a rare field.  The shape of a row is the ordered
 *          list of its columns: attributes in the order of arrival, then fields.  A column stands in a shape as often as the row has its key.
 * Memory:  what is given lives until segment_close, unless an arena is passed.
 */
#ifndef VIVACE_STORE_SEGMENT_ROWS_H
#define VIVACE_STORE_SEGMENT_ROWS_H

#include "common/model/segment.h"

enum { SEGMENT_ROWS_ATTRIBUTE = SEG_FIELD_COUNT }; /* `field` of a column that is an attribute */

struct segment_rows_column {
    struct slice key; /* of an attribute */
    enum seg_type type;
    uint8_t field; /* enum seg_field, or SEGMENT_ROWS_ATTRIBUTE */
};

struct segment_rows_cell {
    struct slice text; /* STR, ANY */
    int64_t i;         /* INT, BOOL */
    double d;
};

struct segment_rows_span {
    struct trace_id trace_id;
    uint64_t span_id, parent_id, start_ns, duration_ns;
    struct slice name;
    uint8_t kind, status;
    uint32_t trace, resource, scope;
};

struct segment_rows_event {
    uint64_t time_ns;
    struct slice name;
};

struct segment_rows_link {
    struct trace_id trace_id;
    uint64_t span_id;
};

struct segment_rows_shape {
    const uint32_t *columns;
    uint32_t count;
};

struct segment_rows_ops {
    enum err (*span)(struct segment *s, uint32_t row, struct segment_rows_span *ret);
    enum err (*event)(struct segment *s, uint32_t row, struct segment_rows_event *ret);
    enum err (*link)(struct segment *s, uint32_t row, struct segment_rows_link *ret);
    /* Rows of SEG_EVENT or SEG_LINK that belong to a span. */
    enum err (*children)(struct segment *s, enum seg_table table, uint32_t span,
                         uint32_t *ret_first, uint32_t *ret_count);
    enum err (*shape)(struct segment *s, enum seg_table table, uint32_t row,
                      struct segment_rows_shape *ret);
    /* The nth value (from 0) of a column in a row; ERR_CORRUPT when the row has fewer. */
    enum err (*cell)(struct segment *s, enum seg_table table, uint32_t column, uint32_t row,
                     uint32_t nth, struct segment_rows_cell *ret);
    uint32_t (*column_count)(struct segment *s, enum seg_table table);
    void (*column)(struct segment *s, enum seg_table table, uint32_t column,
                   struct segment_rows_column *ret);
    /* Whole columns and all shape numbers, for the block writer: into an arena of its own, not kept by the segment. */
    enum err (*column_data)(struct segment *s, enum seg_table table, uint32_t column,
                            struct arena *a, struct seg_column *ret);
    enum err (*shape_of_rows)(struct segment *s, enum seg_table table, struct arena *a,
                              const uint32_t **ret);
    uint32_t (*shape_count)(struct segment *s, enum seg_table table);
    void (*shape_at)(struct segment *s, enum seg_table table, uint32_t shape,
                     struct segment_rows_shape *ret);
    /* What segment_fixed gave is not looked at any more: its memory may go.  NULL: it stays. */
    void (*forget_fixed)(struct segment *s);
};

/* Every segment of this library begins with this. */
struct segment_rows {
    struct segment segment; /* first */
    const struct segment_rows_ops *rows;
};

static inline const struct segment_rows_ops *segment_rows_ops_of(const struct segment *s)
{
    return ((const struct segment_rows *)(const void *)s)->rows;
}

#endif
