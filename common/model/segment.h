/*
 * segment.h - the contract by which queries and the block builder read spans: a row group of a block, or a snapshot of a head.
 *
 * Shape:   five tables (enum seg_table).  A row of SEG_SPAN is a span; resources and scopes are distinct entries that spans point to;
 *          events and links are rows of their own that point to their span.  Spans stand in storage order: in a block the rows of a trace
 *          are contiguous and in depth-first order, in a head they stand as they arrived.  Traces are numbered 0..trace_count-1.
 *          An attribute is a column: (table, key, type); its values stand in row order, only rows that have it.  A row may have
 *          the same key twice (OTLP allows it): then it appears twice.  A key's columns come in the order of enum seg_type,
 *          whatever came first, so that a row with two types of a key is judged the same everywhere.  Array, kvlist, bytes and empty values are SEG_ANY: AnyValue bodies.
 *          Fields that most spans lack (enum seg_field beyond the fixed ones) are columns too, found by segment_field.
 * Memory:  what a segment gives lives until segment_close, unless an arena is passed, then in that arena.
 *          Columns are decoded on first use and kept by the segment.
 * Threads: a segment belongs to one thread at a time.  Opening one never blocks the writer of the head behind it.
 * Errors:  ERR_CORRUPT (checksum), ERR_IO, ERR_LIMIT / ERR_NOMEM (budget).  A failed column stays failed; the segment can still be closed.
 */
#ifndef VIVACE_MODEL_SEGMENT_H
#define VIVACE_MODEL_SEGMENT_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/trace_id.h"

enum seg_table { SEG_SPAN, SEG_RESOURCE, SEG_SCOPE, SEG_EVENT, SEG_LINK, SEG_TABLE_COUNT };
enum seg_type { SEG_STR, SEG_INT, SEG_DOUBLE, SEG_BOOL, SEG_ANY, SEG_TYPE_COUNT };

/* One typed column of an attribute or of a rare field. */
struct seg_column {
    enum seg_type type;
    uint32_t count;       /* of values */
    const uint32_t *rows; /* [count] ascending; the same row again when the key came twice */
    /* STR and ANY: codes into values; several codes may be equal text only if is_unique_text is false. */
    const uint32_t *codes;      /* [count] */
    const struct slice *values; /* [value_count] */
    uint32_t value_count;
    bool is_unique_text;   /* each text stands once in values: compare codes instead of bytes */
    const int64_t *ints;   /* INT [count] */
    const double *doubles; /* DOUBLE [count] */
    const uint8_t *bools;  /* BOOL [count] */
};

/* Columns that every span has: dense arrays over all rows. */
struct seg_names {
    const uint32_t *codes; /* [row_count] */
    const struct slice *values;
    uint32_t value_count;
};

enum seg_field {
    /* SEG_SPAN */
    SEG_STATUS_MESSAGE,
    SEG_TRACE_STATE,
    SEG_FLAGS,
    SEG_DROPPED_ATTRIBUTES,
    SEG_DROPPED_EVENTS,
    SEG_DROPPED_LINKS,
    SEG_HAS_STATUS,
    /* SEG_RESOURCE, SEG_SCOPE */
    SEG_SCHEMA_URL,
    SEG_SCOPE_NAME,
    SEG_SCOPE_VERSION,
    /* any table: fields this version does not know, as wire bytes */
    SEG_UNKNOWN,
    SEG_FIELD_COUNT
};

struct segment;
struct segment_ops;

struct segment {
    const struct segment_ops *ops;
    uint32_t row_count[SEG_TABLE_COUNT];
    uint32_t trace_count;
    uint64_t min_start_ns, max_end_ns; /* over all spans */
    uint64_t read_bytes;               /* from storage so far (0 for a head) */
    bool is_contiguous; /* rows of a trace are first[t] .. first[t+1]-1, in depth-first order */
};

/* A key of a table, with the types it occurs in. */
struct seg_key {
    struct slice key;
    uint32_t types; /* bit 1 << enum seg_type */
};

/* What every span has.  All pointers NULL until fetched by segment_fixed with its bit. */
enum {
    SEG_F_TRACE = 1,
    SEG_F_SPAN_ID = 2,
    SEG_F_PARENT = 4,
    SEG_F_START = 8,
    SEG_F_DURATION = 16,
    SEG_F_NAME = 32,
    SEG_F_KIND = 64,
    SEG_F_STATUS = 128,
    SEG_F_RESOURCE = 256,
    SEG_F_SCOPE = 512,
    SEG_F_ALL = 1023
};
struct seg_fixed {
    const uint32_t *trace;   /* trace number of each row */
    const uint64_t *span_id; /* the 8 bytes as they stand in memory (memcpy to a struct span_id) */
    const uint64_t *parent_id; /* likewise; 0 = none */
    const uint64_t *start_ns;
    const uint64_t *
        duration_ns; /* end - start, wrapping as in Tempo if end < start: end = start + duration always holds */
    struct seg_names name;
    const uint8_t *kind;
    const uint8_t *status;
    const uint32_t *resource; /* row of SEG_RESOURCE */
    const uint32_t *scope;    /* row of SEG_SCOPE */
};

/* Per trace. */
enum {
    SEG_TRACE_FLAGGED =
        1, /* may have more spans elsewhere: an unresolved parent, no root, in doubt, or cut before */
    SEG_TRACE_TREE =
        2 /* no two of its spans have one id: its depths tell the tree (segment_depths); not known of all that are so */
};
struct seg_traces {
    const struct trace_id *id; /* [trace_count] */
    const uint64_t *min_start_ns, *max_end_ns;
    const uint32_t *span_count;
    const uint8_t *flags;
};

/* Where spans stand below each other, in a contiguous segment: the parent of a row is the nearest one above with a depth one less. */
struct seg_depths {
    bool are_trees;          /* all traces have SEG_TRACE_TREE; if not, nothing else is told */
    const uint8_t *narrow;   /* [row_count[SEG_SPAN]]; 0: no parent id, or none that is here */
    const uint32_t *wide;    /* the same, where a depth is above 255: then narrow is NULL */
    const uint32_t *first;   /* [trace_count + 1]: rows where traces begin */
    const uint32_t *orphans; /* [orphan_count] ascending: rows of depth 0 that have a parent id */
    uint32_t orphan_count;
    uint32_t depth_end; /* all depths are below */
};

struct seg_events {
    const uint32_t *span; /* [row_count[SEG_EVENT]] ascending in a block; any order in a head */
    const uint64_t *time_ns;
    struct seg_names name;
    const uint32_t *dropped_attributes;
};
struct seg_links {
    const uint32_t *span;
    const struct trace_id *trace_id; /* zero when absent */
    const uint64_t *span_id;
    const struct slice *trace_state;
    const uint32_t *dropped_attributes, *flags;
};

/* A condition on values, told so that rows are judged where they stand.  Types that it does not speak of do not meet it. */
struct seg_match_ints { /* from min to max, or all others */
    bool is_possible, is_outside;
    int64_t min, max; /* min <= max */
};
struct seg_match {
    const struct slice *text; /* STR: this one, */
    bool (*is_match)(void *arg, enum seg_type type,
                     struct slice value); /* or, text being NULL, what this says; ANY: likewise */
    void *arg;
    struct seg_match_ints ints;  /* INT; durations */
    struct seg_match_ints bools; /* 0 and 1 */
    bool are_doubles;            /* a double may meet it */
    const uint8_t *table;        /* kind, status: [256]; resource, scope: a byte a row of theirs */
};

/* The text that each row has, as a number: 0 none, else one more than its place in values; of a key that stands twice the first. */
struct seg_codes {
    const uint32_t *codes; /* [row_count[table]] */
    const struct slice *values;
    uint32_t value_count;
};

struct segment_ops {
    enum err (*fixed)(struct segment *s, uint32_t which, struct seg_fixed *ret);
    enum err (*traces)(struct segment *s, struct seg_traces *ret);
    enum err (*events)(struct segment *s, struct seg_events *ret);
    enum err (*links)(struct segment *s, struct seg_links *ret);
    enum err (*attribute)(struct segment *s, enum seg_table table, struct slice key,
                          const struct seg_column **ret, uint32_t *ret_count);
    enum err (*field)(struct segment *s, enum seg_table table, enum seg_field field,
                      const struct seg_column **ret, uint32_t *ret_count);
    enum err (*keys)(struct segment *s, enum seg_table table, struct arena *a, struct seg_key **ret,
                     uint32_t *ret_count);
    enum err (*trace_rows)(struct segment *s, uint32_t trace, struct arena *a,
                           const uint32_t **ret_rows, uint32_t *ret_count);
    enum err (*find_trace)(struct segment *s, struct trace_id id, uint32_t *ret_trace);
    enum err (*write_otlp)(struct segment *s, const uint32_t *rows, uint32_t row_count,
                           struct buf *out);
    void (*close)(struct segment *s);
    /* NULL where spans do not stand depth-first. */
    enum err (*depths)(struct segment *s, struct seg_depths *ret);
    /* NULL: as `attribute`. */
    enum err (*attribute_equal)(struct segment *s, enum seg_table table, struct slice key,
                                struct slice text, const struct seg_column **ret,
                                uint32_t *ret_count);
    /* NULL: never known. */
    enum err (*texts)(struct segment *s, enum seg_table table, struct slice key, struct arena *a,
                      const struct slice **ret, uint32_t *ret_count);
    /* NULL: never known. */
    enum err (*range)(struct segment *s, enum seg_table table, struct slice key, int64_t *ret_min,
                      int64_t *ret_max);
    /* NULL: never known. */
    enum err (*match)(struct segment *s, enum seg_table table, struct slice key,
                      const struct seg_match *m, uint8_t *mask, bool *ret_any);
    enum err (*match_fixed)(struct segment *s, uint32_t which, const struct seg_match *m,
                            uint8_t *mask, bool *ret_any);
    /* NULL: never known. */
    enum err (*codes)(struct segment *s, enum seg_table table, struct slice key,
                      struct seg_codes *ret);
};

/* Fetches the columns of the bits in `which` (others in *ret keep their value). */
static inline MUST_CHECK enum err segment_fixed(struct segment *s, uint32_t which,
                                                struct seg_fixed *ret)
{
    return s->ops->fixed(s, which, ret);
}
static inline MUST_CHECK enum err segment_traces(struct segment *s, struct seg_traces *ret)
{
    return s->ops->traces(s, ret);
}
/* Only where s->ops->depths is. */
static inline MUST_CHECK enum err segment_depths(struct segment *s, struct seg_depths *ret)
{
    return s->ops->depths(s, ret);
}
static inline MUST_CHECK enum err segment_events(struct segment *s, struct seg_events *ret)
{
    return s->ops->events(s, ret);
}
static inline MUST_CHECK enum err segment_links(struct segment *s, struct seg_links *ret)
{
    return s->ops->links(s, ret);
}
/* The columns of a key, one per type that occurs; count 0 when nowhere. */
static inline MUST_CHECK enum err segment_attribute(struct segment *s, enum seg_table t,
                                                    struct slice key, const struct seg_column **ret,
                                                    uint32_t *ret_count)
{
    return s->ops->attribute(s, t, key, ret, ret_count);
}
/* The columns of a key, for who looks for one text: rows that have it are all there, others may be missing, and columns that can not
 * hold a text are.  Reads next to nothing where nobody has it. */
static inline MUST_CHECK enum err segment_attribute_equal(struct segment *s, enum seg_table t,
                                                          struct slice key, struct slice text,
                                                          const struct seg_column **ret,
                                                          uint32_t *ret_count)
{
    return s->ops->attribute_equal == NULL
               ? s->ops->attribute(s, t, key, ret, ret_count)
               : s->ops->attribute_equal(s, t, key, text, ret, ret_count);
}
/* The distinct values of a key, all of them texts, without reading a row.  ERR_NOT_FOUND when they are not known so, or not all are texts. */
static inline MUST_CHECK enum err segment_texts(struct segment *s, enum seg_table t,
                                                struct slice key, struct arena *a,
                                                const struct slice **ret, uint32_t *ret_count)
{
    return s->ops->texts == NULL ? ERR_NOT_FOUND : s->ops->texts(s, t, key, a, ret, ret_count);
}
/* The least and the greatest value of a key, all of them ints, without reading a row.  ERR_NOT_FOUND when they are not known so, when not all
 * are ints, or when nobody has it. */
static inline MUST_CHECK enum err segment_range(struct segment *s, enum seg_table t,
                                                struct slice key, int64_t *ret_min,
                                                int64_t *ret_max)
{
    return s->ops->range == NULL ? ERR_NOT_FOUND : s->ops->range(s, t, key, ret_min, ret_max);
}
/* Puts 1 into the mask, which comes zeroed, for each row that has a value of the key which meets the condition; `m` is NULL: that has any.
 * Reads no more than that takes.  ERR_NOT_FOUND when it is not known so: the columns tell. */
static inline MUST_CHECK enum err segment_match(struct segment *s, enum seg_table t,
                                                struct slice key, const struct seg_match *m,
                                                uint8_t *mask, bool *ret_any)
{
    return s->ops->match == NULL ? ERR_NOT_FOUND : s->ops->match(s, t, key, m, mask, ret_any);
}
/* The same of what every span has: one of SEG_F_NAME, DURATION, KIND, STATUS, RESOURCE, SCOPE. */
static inline MUST_CHECK enum err segment_match_fixed(struct segment *s, uint32_t which,
                                                      const struct seg_match *m, uint8_t *mask,
                                                      bool *ret_any)
{
    return s->ops->match_fixed == NULL ? ERR_NOT_FOUND
                                       : s->ops->match_fixed(s, which, m, mask, ret_any);
}
/* A key whose values are all texts of few kinds, by row.  ERR_NOT_FOUND when it is not known so: the columns tell. */
static inline MUST_CHECK enum err segment_codes(struct segment *s, enum seg_table t,
                                                struct slice key, struct seg_codes *ret)
{
    return s->ops->codes == NULL ? ERR_NOT_FOUND : s->ops->codes(s, t, key, ret);
}
static inline MUST_CHECK enum err segment_field(struct segment *s, enum seg_table t,
                                                enum seg_field f, const struct seg_column **ret,
                                                uint32_t *ret_count)
{
    return s->ops->field(s, t, f, ret, ret_count);
}
/* Names of all attributes of a table (no data is read). */
static inline MUST_CHECK enum err segment_keys(struct segment *s, enum seg_table t, struct arena *a,
                                               struct seg_key **ret, uint32_t *ret_count)
{
    return s->ops->keys(s, t, a, ret, ret_count);
}
/* Span rows of a trace.  In a block: ascending, depth-first order.  In a head: order of arrival, copies already left out. */
static inline MUST_CHECK enum err segment_trace_rows(struct segment *s, uint32_t trace,
                                                     struct arena *a, const uint32_t **ret_rows,
                                                     uint32_t *ret_count)
{
    return s->ops->trace_rows(s, trace, a, ret_rows, ret_count);
}
/* ERR_NOT_FOUND when the trace is not here. */
static inline MUST_CHECK enum err segment_find_trace(struct segment *s, struct trace_id id,
                                                     uint32_t *ret_trace)
{
    return s->ops->find_trace(s, id, ret_trace);
}
/* Appends these spans as one ExportTraceServiceRequest: lossless, attribute order kept, grouped by resource and scope. */
static inline MUST_CHECK enum err segment_write_otlp(struct segment *s, const uint32_t *rows,
                                                     uint32_t row_count, struct buf *out)
{
    return s->ops->write_otlp(s, rows, row_count, out);
}
static inline void segment_close(struct segment *s)
{
    if (s != NULL)
        s->ops->close(s);
}

#endif
