/*
 * fake_otlp.h - the plain structs of a fake segment as an OTLP request: the same data for heads and blocks.
 *
 * Limits:  spans that are equal in every field are one to a head.
 */
#ifndef VIVACE_TESTS_FAKE_OTLP_H
#define VIVACE_TESTS_FAKE_OTLP_H

#include "tests/lib/fake_segment.h"

/* Spans [from, to); each in a ResourceSpans of its own. */
void fake_otlp_write(struct arena *a, const struct fake_data *d, uint32_t from, uint32_t to,
                     struct buf *out);

#endif
