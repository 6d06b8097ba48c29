#include "common/codec/otlp_write.h"

#include "common/base/bytes.h"
#include "common/codec/otlp_wire.h"

#include <assert.h>

static void put_tag(struct buf *b, uint32_t field, enum wire_type type)
{
    assert(field >= 1 && field <= WIRE_FIELD_MAX);
    buf_append_varint(b, (uint64_t)field << 3 | type);
}

void pb_varint(struct buf *b, uint32_t field, uint64_t v)
{
    put_tag(b, field, WIRE_VARINT);
    buf_append_varint(b, v);
}

void pb_fixed64(struct buf *b, uint32_t field, uint64_t v)
{
    put_tag(b, field, WIRE_FIXED64);
    buf_append_le64(b, v);
}

void pb_fixed32(struct buf *b, uint32_t field, uint32_t v)
{
    put_tag(b, field, WIRE_FIXED32);
    buf_append_le32(b, v);
}

void pb_double(struct buf *b, uint32_t field, double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    pb_fixed64(b, field, bits);
}

void pb_bytes(struct buf *b, uint32_t field, struct slice s)
{
    put_tag(b, field, WIRE_BYTES);
    buf_append_varint(b, s.len);
    buf_append(b, s);
}

size_t pb_begin(struct buf *b, uint32_t field)
{
    put_tag(b, field, WIRE_BYTES);
    buf_append_byte(b, 0); /* most messages are short: their length fits here */
    return b->len;
}

void pb_end(struct buf *b, size_t mark)
{
    if (buf_err(b) != ERR_OK)
        return;
    assert(mark >= 1 && mark <= b->len);
    size_t len = b->len - mark;
    size_t more = varint_bytes(len) - 1;
    if (more > 0) {
        if (buf_extend(b, more) == NULL)
            return;
        memmove(b->ptr + mark + more, b->ptr + mark, len);
    }
    (void)varint_write(b->ptr + mark - 1, len);
}

void otlp_group_init(struct otlp_group *g, struct buf *out)
{
    *g = (struct otlp_group){.out = out};
}

static void close_scope(struct otlp_group *g)
{
    if (!g->is_scope_open)
        return;
    if (g->scope_schema_url.len > 0)
        pb_bytes(g->out, 3, g->scope_schema_url);
    pb_end(g->out, g->scope_mark);
    g->is_scope_open = false;
}

void otlp_group_end(struct otlp_group *g)
{
    close_scope(g);
    if (!g->is_resource_open)
        return;
    if (g->resource_schema_url.len > 0)
        pb_bytes(g->out, 3, g->resource_schema_url);
    pb_end(g->out, g->resource_mark);
    g->is_resource_open = false;
}

void otlp_group_resource(struct otlp_group *g, struct slice resource, struct slice schema_url)
{
    otlp_group_end(g);
    g->resource_mark = pb_begin(g->out, 1);
    g->is_resource_open = true;
    g->resource_schema_url = schema_url;
    if (resource.ptr != NULL)
        pb_bytes(g->out, 1, resource);
}

void otlp_group_scope(struct otlp_group *g, struct slice scope, struct slice schema_url)
{
    assert(g->is_resource_open);
    close_scope(g);
    g->scope_mark = pb_begin(g->out, 2);
    g->is_scope_open = true;
    g->scope_schema_url = schema_url;
    if (scope.ptr != NULL)
        pb_bytes(g->out, 1, scope);
}

void otlp_group_span(struct otlp_group *g, struct slice span)
{
    assert(g->is_scope_open);
    pb_bytes(g->out, 2, span);
}
