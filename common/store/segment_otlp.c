#include "common/store/segment_otlp.h"

#include "common/codec/otlp_write.h"

#include <assert.h>
#include <stdlib.h>

/* Field numbers: opentelemetry/proto/trace/v1/trace.proto, common/v1/common.proto, resource/v1/resource.proto. */
enum { MEMO_COLUMNS = 64 };

struct writer {
    struct segment *s;
    const struct segment_rows_ops *ops;
    struct buf *out;
};

struct chosen { /* one span to write, with what it is grouped by */
    uint32_t resource, scope, row, order;
};

static void write_value(struct buf *out, enum seg_type type, const struct segment_rows_cell *cell)
{
    size_t mark = pb_begin(out, 2);
    switch (type) {
    case SEG_STR: pb_bytes(out, 1, cell->text); break;
    case SEG_BOOL: pb_varint(out, 2, cell->i != 0); break;
    case SEG_INT: pb_varint(out, 3, (uint64_t)cell->i); break;
    case SEG_DOUBLE: pb_double(out, 4, cell->d); break;
    case SEG_ANY: buf_append(out, cell->text); break;
    case SEG_TYPE_COUNT: assert(!"type of a column");
    }
    pb_end(out, mark);
}

/* Values of the fields of a row; those that are not there stay empty. */
struct fields {
    struct segment_rows_cell cell[SEG_FIELD_COUNT];
    bool is_there[SEG_FIELD_COUNT];
};

static uint32_t nth_in_shape(const struct segment_rows_shape *shape, uint32_t at)
{
    uint32_t nth = 0;
    for (uint32_t i = 0; i < at; i++)
        nth += shape->columns[i] == shape->columns[at];
    return nth;
}

/* A key that comes twice is rare: only then are the columns before it counted. */
static bool shape_repeats(const struct segment_rows_shape *shape)
{
    uint64_t seen = 0; /* a bit per column number modulo 64: may say yes too often */
    for (uint32_t i = 0; i < shape->count; i++) {
        uint64_t bit = 1ull << (shape->columns[i] % MEMO_COLUMNS);
        if ((seen & bit) != 0)
            return true;
        seen |= bit;
    }
    return false;
}

/* Writes the attributes of a row as field `number` and gives its rare fields. */
static enum err write_attributes(struct writer *w, enum seg_table table, uint32_t row,
                                 uint32_t number, struct fields *ret)
{
    struct segment_rows_shape shape;
    *ret = (struct fields){0};
    enum err e = w->ops->shape(w->s, table, row, &shape);
    bool repeats = e == ERR_OK && shape_repeats(&shape);
    for (uint32_t i = 0; e == ERR_OK && i < shape.count; i++) {
        struct segment_rows_column column;
        struct segment_rows_cell cell = {0};
        w->ops->column(w->s, table, shape.columns[i], &column);
        e = w->ops->cell(w->s, table, shape.columns[i], row, repeats ? nth_in_shape(&shape, i) : 0,
                         &cell);
        if (e != ERR_OK)
            break;
        if (column.field != SEGMENT_ROWS_ATTRIBUTE) {
            assert(column.field < SEG_FIELD_COUNT);
            ret->cell[column.field] = cell;
            ret->is_there[column.field] = true;
            continue;
        }
        size_t mark = pb_begin(w->out, number);
        pb_bytes(w->out, 1, column.key);
        write_value(w->out, column.type, &cell);
        pb_end(w->out, mark);
    }
    return e;
}

static void write_number(struct buf *out, uint32_t number, const struct fields *f,
                         enum seg_field field)
{
    if (f->is_there[field])
        pb_varint(out, number, (uint64_t)f->cell[field].i);
}

static void write_text(struct buf *out, uint32_t number, const struct fields *f,
                       enum seg_field field)
{
    if (f->is_there[field])
        pb_bytes(out, number, f->cell[field].text);
}

static void write_unknown(struct buf *out, const struct fields *f)
{
    if (f->is_there[SEG_UNKNOWN])
        buf_append(out, f->cell[SEG_UNKNOWN].text);
}

static enum err write_event(struct writer *w, uint32_t row)
{
    struct segment_rows_event event;
    struct fields fields;
    enum err e = w->ops->event(w->s, row, &event);
    if (e != ERR_OK)
        return e;
    size_t mark = pb_begin(w->out, 11);
    if (event.time_ns != 0)
        pb_fixed64(w->out, 1, event.time_ns);
    if (event.name.len != 0)
        pb_bytes(w->out, 2, event.name);
    e = write_attributes(w, SEG_EVENT, row, 3, &fields);
    if (e != ERR_OK)
        return e;
    write_number(w->out, 4, &fields, SEG_DROPPED_ATTRIBUTES);
    write_unknown(w->out, &fields);
    pb_end(w->out, mark);
    return ERR_OK;
}

static enum err write_link(struct writer *w, uint32_t row)
{
    static const struct trace_id none;
    struct segment_rows_link link;
    struct fields fields;
    enum err e = w->ops->link(w->s, row, &link);
    if (e != ERR_OK)
        return e;
    size_t mark = pb_begin(w->out, 13);
    if (memcmp(link.trace_id.b, none.b, TRACE_ID_BYTES) != 0)
        pb_bytes(w->out, 1, (struct slice){link.trace_id.b, TRACE_ID_BYTES});
    if (link.span_id != 0)
        pb_bytes(w->out, 2, (struct slice){(const uint8_t *)&link.span_id, SPAN_ID_BYTES});
    e = write_attributes(w, SEG_LINK, row, 4, &fields);
    if (e != ERR_OK)
        return e;
    write_text(w->out, 3, &fields, SEG_TRACE_STATE);
    write_number(w->out, 5, &fields, SEG_DROPPED_ATTRIBUTES);
    if (fields.is_there[SEG_FLAGS])
        pb_fixed32(w->out, 6, (uint32_t)fields.cell[SEG_FLAGS].i);
    write_unknown(w->out, &fields);
    pb_end(w->out, mark);
    return ERR_OK;
}

static enum err write_children(struct writer *w, enum seg_table table, uint32_t span)
{
    uint32_t first, count;
    enum err e = w->ops->children(w->s, table, span, &first, &count);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++)
        e = table == SEG_EVENT ? write_event(w, first + i) : write_link(w, first + i);
    return e;
}

static void write_status(struct buf *out, const struct segment_rows_span *span,
                         const struct fields *f)
{
    if (span->status == 0 && !f->is_there[SEG_HAS_STATUS] && !f->is_there[SEG_STATUS_MESSAGE])
        return;
    size_t mark = pb_begin(out, 15);
    write_text(out, 2, f, SEG_STATUS_MESSAGE);
    if (span->status != 0)
        pb_varint(out, 3, span->status);
    pb_end(out, mark);
}

static enum err write_span(struct writer *w, uint32_t row)
{
    struct segment_rows_span span;
    struct fields fields;
    enum err e = w->ops->span(w->s, row, &span);
    if (e != ERR_OK)
        return e;
    struct buf *out = w->out;
    size_t mark = pb_begin(out, 2);
    pb_bytes(out, 1, (struct slice){span.trace_id.b, TRACE_ID_BYTES});
    pb_bytes(out, 2, (struct slice){(const uint8_t *)&span.span_id, SPAN_ID_BYTES});
    if (span.parent_id != 0)
        pb_bytes(out, 4, (struct slice){(const uint8_t *)&span.parent_id, SPAN_ID_BYTES});
    if (span.name.len != 0)
        pb_bytes(out, 5, span.name);
    if (span.kind != 0)
        pb_varint(out, 6, span.kind);
    if (span.start_ns != 0)
        pb_fixed64(out, 7, span.start_ns);
    if (span.start_ns + span.duration_ns != 0)
        pb_fixed64(out, 8, span.start_ns + span.duration_ns);
    e = write_attributes(w, SEG_SPAN, row, 9, &fields);
    if (e == ERR_OK)
        e = write_children(w, SEG_EVENT, row);
    if (e == ERR_OK)
        e = write_children(w, SEG_LINK, row);
    if (e != ERR_OK)
        return e;
    write_text(out, 3, &fields, SEG_TRACE_STATE);
    write_number(out, 10, &fields, SEG_DROPPED_ATTRIBUTES);
    write_number(out, 12, &fields, SEG_DROPPED_EVENTS);
    write_number(out, 14, &fields, SEG_DROPPED_LINKS);
    write_status(out, &span, &fields);
    if (fields.is_there[SEG_FLAGS])
        pb_fixed32(out, 16, (uint32_t)fields.cell[SEG_FLAGS].i);
    write_unknown(out, &fields);
    pb_end(out, mark);
    return ERR_OK;
}

/* The schema URL belongs to the message around; it is given back for that. */
static enum err write_resource(struct writer *w, uint32_t row, struct slice *ret_schema_url)
{
    struct fields f;
    size_t mark = pb_begin(w->out, 1);
    enum err e = write_attributes(w, SEG_RESOURCE, row, 1, &f);
    if (e != ERR_OK)
        return e;
    write_number(w->out, 2, &f, SEG_DROPPED_ATTRIBUTES);
    write_unknown(w->out, &f);
    pb_end(w->out, mark);
    *ret_schema_url = f.is_there[SEG_SCHEMA_URL] ? f.cell[SEG_SCHEMA_URL].text : SLICE_NONE;
    return ERR_OK;
}

static enum err write_scope(struct writer *w, uint32_t row, struct slice *ret_schema_url)
{
    struct fields f;
    size_t mark = pb_begin(w->out, 1);
    enum err e = write_attributes(w, SEG_SCOPE, row, 3, &f);
    if (e != ERR_OK)
        return e;
    write_text(w->out, 1, &f, SEG_SCOPE_NAME);
    write_text(w->out, 2, &f, SEG_SCOPE_VERSION);
    write_number(w->out, 4, &f, SEG_DROPPED_ATTRIBUTES);
    write_unknown(w->out, &f);
    pb_end(w->out, mark);
    *ret_schema_url = f.is_there[SEG_SCHEMA_URL] ? f.cell[SEG_SCHEMA_URL].text : SLICE_NONE;
    return ERR_OK;
}

static int compare_place(const void *a, const void *b)
{
    const struct chosen *x = a, *y = b;
    if (x->resource != y->resource)
        return x->resource < y->resource ? -1 : 1;
    if (x->scope != y->scope)
        return x->scope < y->scope ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Spans of one scope after each other, scopes of one resource after each other, both in order of first appearance.  After the
 * first sort the groups stand together; the place of a group's first span then becomes the key of the whole group. */
static void sort_groups(struct chosen *c, uint32_t count)
{
    qsort(c, count, sizeof *c, compare_place);
    for (uint32_t i = 0; i < count;) {
        uint32_t end = i, first = c[i].order;
        for (; end < count && c[end].resource == c[i].resource; end++)
            if (c[end].order < first)
                first = c[end].order;
        uint32_t at = i;
        i = end;
        for (; at < end;) {
            uint32_t scope = c[at].scope, scope_first = c[at].order;
            for (; at < end && c[at].scope == scope; at++) {
                c[at].scope = scope_first;
                c[at].resource = first;
            }
        }
    }
    qsort(c, count, sizeof *c, compare_place);
}

static enum err write_groups(struct writer *w, const struct chosen *c, uint32_t count)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < count;) {
        uint32_t resource = c[i].resource;
        struct segment_rows_span span;
        struct slice resource_url = SLICE_NONE;
        size_t mark = pb_begin(w->out, 1);
        e = w->ops->span(w->s, c[i].row, &span);
        if (e == ERR_OK)
            e = write_resource(w, span.resource, &resource_url);
        while (e == ERR_OK && i < count && c[i].resource == resource) {
            uint32_t scope = c[i].scope;
            struct slice scope_url = SLICE_NONE;
            size_t scope_mark = pb_begin(w->out, 2);
            e = w->ops->span(w->s, c[i].row, &span);
            if (e == ERR_OK)
                e = write_scope(w, span.scope, &scope_url);
            for (; e == ERR_OK && i < count && c[i].resource == resource && c[i].scope == scope;
                 i++)
                e = write_span(w, c[i].row);
            if (scope_url.len != 0)
                pb_bytes(w->out, 3, scope_url);
            pb_end(w->out, scope_mark);
        }
        if (resource_url.len != 0)
            pb_bytes(w->out, 3, resource_url);
        pb_end(w->out, mark);
    }
    return e;
}

enum err segment_otlp_write(struct segment *s, const uint32_t *rows, uint32_t row_count,
                            struct buf *out)
{
    struct writer w = {s, segment_rows_ops_of(s), out};
    enum err e = ERR_OK;
    if (row_count == 0)
        return ERR_OK;
    struct chosen *c = malloc((size_t)row_count * sizeof *c);
    if (c == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; e == ERR_OK && i < row_count; i++) {
        struct segment_rows_span span;
        assert(rows[i] < s->row_count[SEG_SPAN]);
        e = w.ops->span(s, rows[i], &span);
        if (e == ERR_OK)
            c[i] = (struct chosen){span.resource, span.scope, rows[i], i};
    }
    if (e == ERR_OK) {
        sort_groups(c, row_count);
        e = write_groups(&w, c, row_count);
    }
    free(c);
    return e == ERR_OK ? buf_err(out) : e;
}
