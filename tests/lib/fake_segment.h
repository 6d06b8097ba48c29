/*
 * fake_segment.h - plain structs as a segment, for tests of the query engine.
 *
 * Memory:  the data must outlive the segment; columns are made on demand and live until segment_close.
 */
#ifndef VIVACE_TESTS_FAKE_SEGMENT_H
#define VIVACE_TESTS_FAKE_SEGMENT_H

#include "common/model/segment.h"
#include "common/model/value.h"

struct fake_attr {
    struct slice key;
    struct value
        value; /* int, float, string, bool or an array of them (an empty or mixed one is its raw body) */
    struct slice raw; /* ptr not NULL: an AnyValue body instead of `value` */
};
struct fake_attrs {
    struct fake_attr *list;
    uint32_t count;
};
struct fake_event {
    uint64_t time_ns;
    struct slice name;
    struct fake_attrs attrs;
};
struct fake_link {
    struct trace_id trace_id;
    struct span_id span_id;
    struct fake_attrs attrs;
};
struct fake_scope {
    struct slice name, version;
    struct fake_attrs attrs;
};
struct fake_span {
    uint32_t trace, resource, scope;
    struct span_id id, parent; /* parent zero: none */
    uint64_t start_ns, duration_ns;
    struct slice name, status_message;
    uint8_t kind, status;
    struct fake_attrs attrs;
    struct fake_event *events;
    uint32_t event_count;
    struct fake_link *links;
    uint32_t link_count;
};
struct fake_data {
    struct trace_id *traces;
    uint8_t *trace_flags; /* may be NULL */
    uint32_t trace_count;
    struct fake_attrs *resources;
    uint32_t resource_count;
    struct fake_scope *scopes;
    uint32_t scope_count;
    struct fake_span *spans;
    uint32_t span_count;
};

/* Aborts when memory is out.  budget may be NULL. */
struct segment *fake_segment_new(const struct fake_data *data);
/* Every following call for columns gives this error (ERR_OK: none). */
void fake_segment_fail(struct segment *s, enum err e);

/* The AnyValue body of a value. */
struct slice fake_segment_any(struct arena *a, struct value v);

#endif
