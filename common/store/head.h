/*
 * head.h - spans of one tenant that are not in a block yet: append-only columns in memory, searchable at once.
 *
 * Shape:   the five tables of common/model/segment.h; an attribute key of a table and type is one column; which keys a span has,
 *          and in what order, is its shape.  Resources and scopes are interned by their bytes.
 * Memory:  everything is drawn from the budget given at head_new; ERR_LIMIT when it is out (nothing of that span is kept).
 * Threads: one writer (head_append, head_seal).  head_segment and head_find from any thread at any time, without blocking the
 *          writer; a reader sees the spans of all appends that had returned before.  Shared by count: head_ref / head_unref.
 * Copies:  a span equal in trace, id and content (resource and scope too) to one already here is counted and left out.
 */
#ifndef VIVACE_STORE_HEAD_H
#define VIVACE_STORE_HEAD_H

#include "common/base/budget.h"
#include "common/model/segment.h"

struct head;

struct head_options {
    uint32_t
        max_attribute_bytes; /* longer string values and keys are cut at a UTF-8 boundary (2048; 0 = never) */
};

struct head_append_result {
    uint32_t spans;  /* taken */
    uint32_t copies; /* left out: already here */
    uint32_t traces_created;
    uint32_t truncated; /* attributes cut */
    uint32_t refused;   /* spans whose ids are not valid (the distributor refuses them first) */
};

MUST_CHECK enum err head_new(struct budget *budget, const struct head_options *options,
                             struct head **ret);
struct head *head_ref(struct head *h);
void head_unref(struct head *h); /* NULL is fine; the last one frees */

/* Decodes a checked OTLP request (otlp_check) into the columns.  is_doubt: the spans may exist elsewhere too (their traces
 * are flagged).  now_ns: wall time, for idle and age of traces.  Errors: ERR_FORMAT (nothing taken), ERR_LIMIT, ERR_NOMEM
 * (spans before the failing one are taken: *ret says how many). */
MUST_CHECK enum err head_append(struct head *h, struct slice otlp, bool is_doubt, int64_t now_ns,
                                struct head_append_result *ret);
/* The same for bytes that otlp_check has passed: it does not look at them twice. */
MUST_CHECK enum err head_append_checked(struct head *h, struct slice otlp, bool is_doubt,
                                        int64_t now_ns, struct head_append_result *ret);

/* Nothing is appended any more: what only that takes is freed.  Writer's thread; head_flag_trace may still be called. */
void head_seal(struct head *h);

/* Marks a trace as cut before: its parts are fragments from now on. */
MUST_CHECK enum err head_flag_trace(struct head *h, struct trace_id id);
/* Is it flagged for more than what can be seen in it: in doubt, or cut before?  Writer's thread, or sealed. */
bool head_trace_is_marked(struct head *h, struct trace_id id);

MUST_CHECK enum err head_segment(struct head *h, struct budget *budget,
                                 struct segment **ret); /* snapshot; holds a reference */

struct head_stats {
    uint64_t spans, traces, bytes; /* bytes: memory */
    uint64_t wire_bytes;           /* OTLP bytes taken */
    uint64_t min_start_ns, max_end_ns;
};
void head_stats(struct head *h, struct head_stats *ret); /* any thread */

/* Calls `fn` for each trace with the wall times of its first and last append (for the idle and age rules).  Writer's thread, or sealed. */
typedef void head_trace_fn(void *arg, uint32_t trace, struct trace_id id, int64_t first_ns,
                           int64_t last_ns, uint64_t wire_bytes);
void head_each_trace(struct head *h, head_trace_fn *fn, void *arg);
uint64_t head_trace_bytes(
    struct head *h,
    struct trace_id id); /* wire bytes of the trace, 0 when not here; writer's thread */

#endif
