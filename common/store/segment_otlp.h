/*
 * segment_otlp.h - spans of a segment back into OTLP bytes: lossless, attribute order kept.
 *
 * Shape:   one ExportTraceServiceRequest; spans grouped by resource, then scope, in the order in which these first appear.
 */
#ifndef VIVACE_STORE_SEGMENT_OTLP_H
#define VIVACE_STORE_SEGMENT_OTLP_H

#include "common/store/segment_rows.h"

/* The write_otlp of every segment of this library. */
MUST_CHECK enum err segment_otlp_write(struct segment *s, const uint32_t *rows, uint32_t row_count,
                                       struct buf *out);

#endif
