/*
 * otlp_write.h - protobuf wire writing, and OTLP requests put together from slices.
 *
 * Use:     otlp_group_begin when resource or scope change, otlp_group_span for each span, otlp_group_end at the end.  Bytes of resource,
 *          scope and spans are copied verbatim.
 */
#ifndef VIVACE_CODEC_OTLP_WRITE_H
#define VIVACE_CODEC_OTLP_WRITE_H

#include "common/base/buf.h"

/* One protobuf field: tag and value.  Zero and empty are written too: the caller decides on presence. */
void pb_varint(struct buf *b, uint32_t field, uint64_t v);
void pb_fixed64(struct buf *b, uint32_t field, uint64_t v);
void pb_fixed32(struct buf *b, uint32_t field, uint32_t v);
void pb_double(struct buf *b, uint32_t field, double v);
void pb_bytes(struct buf *b, uint32_t field, struct slice s);
/* A sub-message whose length is not known yet: begin writes the tag and returns a mark, end puts the length in (moving the body). */
size_t pb_begin(struct buf *b, uint32_t field);
void pb_end(struct buf *b, size_t mark);

struct otlp_group {
    struct buf *out;
    size_t resource_mark, scope_mark;
    bool is_resource_open, is_scope_open;
    struct slice resource_schema_url,
        scope_schema_url; /* written when closed; borrowed till then */
};
void otlp_group_init(struct otlp_group *g, struct buf *out);
void otlp_group_resource(struct otlp_group *g, struct slice resource,
                         struct slice schema_url); /* closes what is open */
void otlp_group_scope(struct otlp_group *g, struct slice scope, struct slice schema_url);
void otlp_group_span(struct otlp_group *g, struct slice span);
void otlp_group_end(struct otlp_group *g);

#endif
