/*
 * block_merge.h - several blocks of a tenant into one, row group by row group.
 *
 * Shape:   traces of all inputs in the order of (first start, id); a trace that lies in several of them is joined (found through the locators), its
 *          equal spans once, its rows depth-first anew.  The others keep their rows as they stand.
 *          The same inputs make the same bytes, in whatever order they are given.
 * Memory:  the row groups that are open (at most BLOCK_MERGE_OPEN_MAX, fewer when the budget is short), one group of the output, and what lasts:
 *          distinct texts and resources, code lists, references to pages, 8 bytes a trace.  A trace of more than BLOCK_MERGE_LARGE_SPANS spans is a group of its own and takes
 *          BLOCK_MERGE_LARGE_BYTES a span.
 * Threads: one; the inputs may be read by others meanwhile.
 */
#ifndef VIVACE_STORE_BLOCK_MERGE_H
#define VIVACE_STORE_BLOCK_MERGE_H

#include "common/store/block.h"

enum {
    BLOCK_MERGE_INPUTS_MAX = 32,
    BLOCK_MERGE_OPEN_MAX = 2 * BLOCK_MERGE_INPUTS_MAX,
    BLOCK_MERGE_LARGE_SPANS = 4 * BLOCK_GROUP_SPANS,
    BLOCK_MERGE_LARGE_BYTES = 320
};

/* Whether all parts of a flagged trace are known to be among the inputs, so that what it lacks will not come: its flag is cleared. */
typedef bool block_settle_fn(void *arg, struct trace_id id, uint64_t max_end_ns);

struct block_merge {
    struct block **inputs; /* at least one */
    uint32_t input_count;
    block_settle_fn *settle; /* NULL: flags stay */
    void *settle_arg;
    bool (*is_stopped)(void *arg); /* NULL: never; asked between row groups */
    void *stop_arg;
    struct budget
        *budget; /* of everything but the inputs' footers and dictionaries, which are their own */
};

struct block_merge_result {
    uint64_t traces_joined; /* parts that found each other */
    uint64_t copies;        /* spans left out because an equal one is there */
    uint64_t flags_cleared;
    uint64_t read_bytes;
};

/* Writes the file (durable when it returns).  meta: id, tenant, writer are read, the rest is filled in; created_ns is the latest of the inputs'.
 * Errors: ERR_LIMIT, ERR_NOMEM; ERR_CANCELED stopped; ERR_CORRUPT an input; ERR_TOO_LARGE.  No file is left then. */
MUST_CHECK enum err block_merge(const char *path, const struct block_merge *job,
                                struct block_meta *meta, struct block_merge_result *ret);

#endif
