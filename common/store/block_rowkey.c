#include "common/store/block_rowkey.h"

#include "common/base/bytes.h"

static void put_text(struct buf *out, struct slice s)
{
    buf_append_varint(out, s.len);
    buf_append(out, s);
}

static enum err put_cells(struct segment *s, enum seg_table table, uint32_t row, struct buf *out)
{
    const struct segment_rows_ops *ops = segment_rows_ops_of(s);
    struct segment_rows_shape shape;
    enum err e = ops->shape(s, table, row, &shape);
    if (e != ERR_OK)
        return e;
    buf_append_varint(out, shape.count);
    for (uint32_t i = 0; e == ERR_OK && i < shape.count; i++) {
        struct segment_rows_column c;
        struct segment_rows_cell cell = {0};
        uint32_t nth = 0;
        uint64_t bits;
        for (uint32_t k = 0; k < i; k++)
            nth += shape.columns[k] == shape.columns[i];
        ops->column(s, table, shape.columns[i], &c);
        e = ops->cell(s, table, shape.columns[i], row, nth, &cell);
        buf_append_byte(out, (uint8_t)c.type);
        buf_append_byte(out, c.field);
        put_text(out, c.key);
        put_text(out, cell.text);
        buf_append_le64(out, (uint64_t)cell.i);
        memcpy(&bits, &cell.d, sizeof bits);
        buf_append_le64(out, bits);
    }
    return e == ERR_OK ? buf_err(out) : e;
}

enum err block_rowkey_shared(struct segment *s, enum seg_table table, uint32_t row, struct buf *out)
{
    return put_cells(s, table, row, out);
}

static enum err put_children(struct segment *s, enum seg_table table, uint32_t span,
                             struct buf *out)
{
    const struct segment_rows_ops *ops = segment_rows_ops_of(s);
    uint32_t first, count;
    enum err e = ops->children(s, table, span, &first, &count);
    if (e != ERR_OK)
        return e;
    buf_append_varint(out, count);
    for (uint32_t i = first; e == ERR_OK && i < first + count; i++) {
        if (table == SEG_EVENT) {
            struct segment_rows_event event;
            e = ops->event(s, i, &event);
            if (e != ERR_OK)
                return e;
            buf_append_le64(out, event.time_ns);
            put_text(out, event.name);
        } else {
            struct segment_rows_link link;
            e = ops->link(s, i, &link);
            if (e != ERR_OK)
                return e;
            buf_append(out, (struct slice){link.trace_id.b, TRACE_ID_BYTES});
            buf_append_le64(out, link.span_id);
        }
        e = put_cells(s, table, i, out);
    }
    return e;
}

enum err block_rowkey_span(struct segment *s, uint32_t row, struct buf *out)
{
    struct segment_rows_span span;
    enum err e = segment_rows_ops_of(s)->span(s, row, &span);
    if (e != ERR_OK)
        return e;
    buf_append(out, (struct slice){span.trace_id.b, TRACE_ID_BYTES});
    buf_append_le64(out, span.span_id);
    buf_append_le64(out, span.parent_id);
    buf_append_le64(out, span.start_ns);
    buf_append_le64(out, span.duration_ns);
    put_text(out, span.name);
    buf_append_byte(out, span.kind);
    buf_append_byte(out, span.status);
    e = put_cells(s, SEG_RESOURCE, span.resource, out);
    if (e == ERR_OK)
        e = put_cells(s, SEG_SCOPE, span.scope, out);
    if (e == ERR_OK)
        e = put_cells(s, SEG_SPAN, row, out);
    if (e == ERR_OK)
        e = put_children(s, SEG_EVENT, row, out);
    return e == ERR_OK ? put_children(s, SEG_LINK, row, out) : e;
}
