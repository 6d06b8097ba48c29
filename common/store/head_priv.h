/*
 * head_priv.h - the inside of a head, shared by head.c (life, append, stats), head_column.c (columns, dictionaries, shapes),
 * head_wire.c (OTLP bytes into columns) and head_segment.c (snapshots).
 *
 * Threads: fields without a note are the writer's.  Readers use the atomics, and elements of vectors below a published count: every
 *          published count is stored (release) before `committed`, so a reader that loads `committed` first finds all that its rows need.
 *          Counts that ran ahead of its rows are cut back by the row numbers, which ascend everywhere.
 */
#ifndef VIVACE_STORE_HEAD_PRIV_H
#define VIVACE_STORE_HEAD_PRIV_H

#include "common/base/gvec.h"
#include "common/store/head.h"
#include "common/store/segment_rows.h"

#include <stdatomic.h>

enum {
    HEAD_RAW_AFTER = 4096, /* values of a column before its dictionary is judged */
    HEAD_CHUNK_BYTES_MIN = 4096,
    HEAD_CHUNK_BYTES_MAX = 1 << 18,
};

#define HEAD_NONE UINT32_MAX /* no row, no column, no trace */

struct head_chunk { /* of text bytes */
    struct head_chunk *next;
    size_t bytes;
    uint8_t data[];
};

/* Open addressing: hash and index + 1 (0 = free); the keys stand elsewhere. */
struct head_slot {
    uint32_t hash, index1;
};
struct head_index {
    struct head_slot *slots;
    uint32_t mask, count; /* mask 0: nothing allocated */
};

/* Texts by code.  Interned while that pays: is_raw once too many are distinct. */
struct head_dict {
    struct gvec texts; /* struct slice */
    struct head_index index;
    uint32_t add_count, last_code;
    bool is_adaptive, is_raw;
    atomic_uint published;   /* texts */
    atomic_uint unique_upto; /* texts below this are distinct */
};

struct head_column {
    struct slice key;
    enum seg_type type;
    uint8_t table, field; /* field: enum seg_field or SEGMENT_ROWS_ATTRIBUTE */
    bool is_dirty;
    uint32_t id;
    uint32_t guess; /* the column that followed last time */
    struct gvec rows, cells;
    struct head_dict dict; /* STR, ANY */
    atomic_uint published;
};

struct head_table {
    struct gvec columns; /* struct head_column * */
    struct head_index column_index;
    uint32_t field_column[SEG_FIELD_COUNT];
    uint32_t first_guess;
    struct gvec shapes; /* struct segment_rows_shape */
    struct head_index shape_index;
    struct gvec row_shape; /* uint32_t */
    uint32_t row_count;
    uint32_t *forming, forming_count, forming_max; /* columns of the row that is being read */
    uint32_t forming_last;
    struct buf unknown; /* fields nobody knows, of that row */
    atomic_uint columns_published, shapes_published, rows_published;
};

enum { HEAD_TRACE_CUT = 1, HEAD_TRACE_DOUBT = 2 };
struct head_trace {
    struct trace_id id;
    uint32_t first_row, last_row, span_count;
    atomic_uint marks; /* HEAD_TRACE_* */
    atomic_ullong
        judged; /* by readers: span count << 1 | is_fragment, of the last time somebody looked */
    int64_t first_ns, last_ns;
    uint64_t wire_bytes;
};

/* Trace ids by hash, readable without a lock: a table that is too small is replaced and kept until the head goes. */
struct head_trace_index {
    struct head_trace_index *older;
    uint32_t mask;
    atomic_uint slots[]; /* trace number + 1 */
};

struct head_interned { /* resources and scopes: the bytes that made a row */
    struct slice body, schema_url;
};

enum { HEAD_SPAN_VECTORS = 11 };
struct head_spans { /* fixed columns of SEG_SPAN; all have the same count */
    union {
        struct {
            struct gvec trace, span_id, parent_id, start_ns, duration_ns, name, kind, status,
                resource, scope;
            struct gvec next; /* atomic_uint: the next row of the trace */
        };
        struct gvec all[HEAD_SPAN_VECTORS];
    };
};
_Static_assert(sizeof(struct head_spans) == HEAD_SPAN_VECTORS * sizeof(struct gvec),
               "every vector of a span is in `all`");
struct head_events {
    struct gvec span, time_ns, name;
};
struct head_links {
    struct gvec span, trace_id, span_id;
};

struct head {
    atomic_uint refs;
    struct head_options options;
    struct budget budget; /* what this head uses; its parent is the caller's */

    struct head_table table[SEG_TABLE_COUNT];
    struct head_spans spans;
    struct head_events events;
    struct head_links links;
    struct head_dict span_names, event_names;
    struct gvec resources, scopes; /* struct head_interned */
    struct head_index resource_index, scope_index, span_index;

    struct gvec traces; /* struct head_trace */
    _Atomic(struct head_trace_index *) trace_index;
    uint32_t last_trace; /* of the span before: its number, and the hash of its id */
    uint64_t last_trace_hash;
    struct gvec cut_ids; /* struct trace_id: marked before any of their spans came */
    struct head_index cut_index;

    struct head_chunk *chunks;
    uint8_t *bytes_at, *bytes_end;
    uint64_t interned_count; /* texts ever interned: tells whether bytes may be given back */

    struct head_column **dirty;
    uint32_t dirty_count, dirty_max;

    bool is_sealed;
    atomic_uint committed; /* spans that readers may see */
    atomic_uint traces_published;
    atomic_ullong wire_bytes, min_start_ns, max_end_ns;
};

struct head_mark { /* where a span began: back to it when it can not be kept */
    uint32_t rows[SEG_TABLE_COUNT];
    struct head_chunk *chunk;
    uint8_t *bytes_at;
    uint64_t interned_count;
};

/* What the wire walk found in one span, before it becomes a row. */
struct head_span_fields {
    struct slice trace_id, span_id, parent_id, name, trace_state, status_message;
    uint64_t start_ns, end_ns;
    uint64_t kind, status, dropped_attributes, dropped_events, dropped_links;
    uint32_t flags;
    bool has_status;
};

/* head_column.c */
MUST_CHECK enum err head_column_bytes(struct head *h, struct slice s, struct slice *ret);
void head_column_dict_init(struct head_dict *d, bool is_adaptive);
MUST_CHECK enum err head_column_text(struct head *h, struct head_dict *d, struct slice s,
                                     uint32_t *ret_code);
void head_column_init(struct head *h);
void head_column_release(struct head *h);
void head_column_seal(struct head *h);
/* One value of the row that the table is forming (number table->row_count). */
MUST_CHECK enum err head_column_attribute(struct head *h, enum seg_table table, struct slice key,
                                          enum seg_type type, const struct segment_rows_cell *cell);
MUST_CHECK enum err head_column_field(struct head *h, enum seg_table table, enum seg_field field,
                                      enum seg_type type, const struct segment_rows_cell *cell);
/* Ends the row: its shape is found or made.  Nothing but row_shape is counted yet: the caller counts the row. */
MUST_CHECK enum err head_column_row(struct head *h, enum seg_table table);
void head_column_mark(const struct head *h, struct head_mark *ret);
void head_column_rollback(struct head *h, const struct head_mark *mark);
void head_column_publish(struct head *h);
/* Room for one more entry in an index. */
MUST_CHECK enum err head_column_index_reserve(struct head *h, struct head_index *x);
void head_column_index_put(struct head_index *x, uint32_t hash,
                           uint32_t index); /* reserved before; not there yet */
void head_column_index_release(struct head *h, struct head_index *x);

static inline struct head_column *head_column_at(const struct head_table *t, uint32_t id)
{
    return GVEC_GET(&t->columns, struct head_column *, id);
}

/* gvec_push with its common case in line.  The element is not zeroed when a row was taken back before. */
static inline void *head_push(struct head *h, struct gvec *v)
{
    unsigned k = gvec_chunk_of(v->count);
    if (__builtin_expect(k < GVEC_CHUNKS && v->chunk[k] != NULL, 1))
        return gvec_at(v, v->count++);
    return gvec_push(v, &h->budget);
}

/* Why head_push gave NULL. */
enum err head_column_no_room(struct head *h, const struct gvec *v);

/* Walks the entries of an index that may be the one looked for: `slot` starts at the hash, ends at a free one (false). */
static inline bool head_index_next(const struct head_index *x, uint32_t hash, uint32_t *slot,
                                   uint32_t *ret_index)
{
    if (x->mask == 0)
        return false;
    for (;; *slot = *slot + 1) {
        const struct head_slot *at = &x->slots[*slot & x->mask];
        if (at->index1 == 0)
            return false;
        if (at->hash != hash)
            continue;
        *ret_index = at->index1 - 1;
        *slot = *slot + 1;
        return true;
    }
}

/* head_wire.c */
MUST_CHECK enum err head_wire_check(struct slice otlp);
MUST_CHECK enum err head_wire_append(struct head *h, struct slice otlp, bool is_doubt,
                                     int64_t now_ns, struct head_append_result *result);

/* head.c */
struct head_source { /* where a span came from */
    uint32_t resource, scope;
    bool is_doubt;
    int64_t now_ns;
};
MUST_CHECK enum err head_commit_span(struct head *h, const struct head_span_fields *f,
                                     struct slice wire, const struct head_source *source,
                                     const struct head_mark *mark,
                                     struct head_append_result *result);
uint32_t
head_trace_of(struct head *h,
              struct trace_id id); /* number of a trace, HEAD_NONE when unknown; any thread */
uint32_t head_lower_bound(const struct gvec *rows, uint32_t count,
                          uint32_t row); /* first of ascending rows that is >= row */

#endif
