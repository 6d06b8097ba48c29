/*
 * block.h - immutable columnar block files: written once from segments, read by ranges.
 *
 * Shape:   see common/store/README.md (format VVB1, byte by byte).  Rows are spans; traces contiguous and depth-first, ordered by start;
 *          row groups of BLOCK_GROUP_SPANS; a typed column per attribute; presence by shape; dictionaries per column; lz4 pages with a checksum each; a footer
 *          that plans any query.
 * Threads: a writer belongs to one thread.  A block reader is shared by count and may be used by many threads; the segments
 *          it opens belong to one thread each.
 */
#ifndef VIVACE_STORE_BLOCK_H
#define VIVACE_STORE_BLOCK_H

#include "common/base/budget.h"
#include "common/model/segment.h"
#include "common/store/backend.h"

enum { BLOCK_GROUP_SPANS = 16384, BLOCK_VERSION = 2 };

/* Written beside the data as meta.json, and inside the footer. */
struct block_meta {
    char id[37]; /* UUID text */
    char tenant[151];
    char writer[64]; /* instance id of the ingester that made it */
    uint64_t lsn_lo,
        lsn_hi; /* first and last WAL frame that it holds, of that writer (inclusive; 0,0 unknown) */
    uint64_t part_lsn,
        part_spans; /* it, or a block before it, has the first so many spans of this frame too, which goes on in the next; in meta.json only */
    uint64_t min_start_ns, max_end_ns;
    uint64_t span_count, trace_count, bytes, flagged_count;
    uint64_t created_ns;
    uint32_t version, group_count;
};

/* Which traces of a segment go into the block: all when NULL. */
typedef bool block_take_fn(void *arg, uint32_t segment_no, uint32_t trace);

/* Builds the block file of the chosen traces of `segments` at `path` (durable when it returns: fdatasync; the directory is the caller's).
 * meta: id, tenant, writer, lsn range and created_ns are read, the rest is filled in.  Errors: ERR_NOT_FOUND when no span was chosen. */
MUST_CHECK enum err block_write(const char *path, struct segment **segments, uint32_t segment_count,
                                block_take_fn *take, void *take_arg, struct budget *budget,
                                struct block_meta *meta);

/* Appends a printed JSON object with its checksum as the last member. */
void block_meta_seal(struct slice json, struct buf *out);
MUST_CHECK enum err block_meta_to_json(const struct block_meta *m, struct buf *out);
MUST_CHECK enum err block_meta_from_json(struct slice json, struct block_meta *ret,
                                         struct err_detail *reterr_detail);

struct block;

/* Reads and checks the footer.  `object` gives ranges of the file; taken (closed with the last unref).
 * Errors: ERR_CORRUPT, ERR_UNSUPPORTED (a version from the future), ERR_IO, ERR_LIMIT. */
MUST_CHECK enum err block_open(struct object *object, struct budget *budget, struct block **ret);
struct block *block_ref(struct block *b);
void block_unref(struct block *b);
const struct block_meta *block_meta(const struct block *b);

uint32_t block_group_count(const struct block *b);
void block_group_range(const struct block *b, uint32_t group, uint64_t *ret_min_start_ns,
                       uint64_t *ret_max_end_ns);
/* One row group as a segment (is_contiguous).  Reads nothing until a column is asked for. */
MUST_CHECK enum err block_segment(struct block *b, uint32_t group, struct budget *budget,
                                  struct segment **ret);
/* The group that holds a trace.  ERR_NOT_FOUND when the block does not have it. */
MUST_CHECK enum err block_find_trace(struct block *b, struct trace_id id, uint32_t *ret_group,
                                     uint32_t *ret_trace);
/* What will be read soon, told to the object: block_open will read the tail; block_find_trace the locator; block_flagged its page; a segment most pages
 * of its group.  Return at once. */
void block_want_tail(struct object *o);
struct object_range block_want_tail_range(const struct object *o);
void block_want_trace(struct block *b, struct trace_id id);
void block_want_flagged(struct block *b);
void block_want_group(struct block *b, uint32_t group);
/* Ids of flagged traces (fragments), ascending; lives as long as the block. */
MUST_CHECK enum err block_flagged(struct block *b, const struct trace_id **ret,
                                  uint32_t *ret_count);
/* False when no span of the group can have this attribute at all, or none with this exact text: lets a query skip the group unread. */
bool block_group_may_have(struct block *b, uint32_t group, enum seg_table table, struct slice key,
                          const struct slice *text);
uint64_t block_read_bytes(const struct block *b); /* by all segments so far, footer included */

#endif
