/*
 * otlp_canon.h - OTLP requests as sorted lines, one a span with everything that belongs to it (resource and scope too), so that two requests can be
 * compared as sets of spans whatever their grouping and field order.  Attribute, event and link order count.
 */
#ifndef VIVACE_TESTS_LIB_OTLP_CANON_H
#define VIVACE_TESTS_LIB_OTLP_CANON_H

#include "common/base/buf.h"

struct otlp_canon {
    char **lines;
    size_t count, max;
};

void otlp_canon_add(struct otlp_canon *c, struct slice request);
void otlp_canon_sort(struct otlp_canon *c, bool is_unique); /* is_unique: equal lines become one */
void otlp_canon_release(struct otlp_canon *c);
/* Fails the running cmocka test at the first difference. */
void otlp_canon_assert_equal(const struct otlp_canon *a, const struct otlp_canon *b);

#endif
