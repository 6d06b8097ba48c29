/*
 * block_reader.h - the inside of an open block, shared by block.c (index, locator), block_dict.c and block_filter.c (its pieces) and block_segment.c (row groups).
 *
 * Threads: a block is immutable but for what it loads once: pieces and the flagged ids, published by compare-and-swap.
 */
#ifndef VIVACE_STORE_BLOCK_READER_H
#define VIVACE_STORE_BLOCK_READER_H

#include "common/codec/lz4_page.h"
#include "common/store/block_priv.h"

#include <stdatomic.h>

/* A chunk of a dictionary or of a filter, decoded. */
struct block_piece {
    struct arena arena; /* this lies in it too */
    struct block_piece *next;
    uint32_t number, count;
    struct slice *texts; /* [count] */
    uint32_t *codes, *before,
        *end; /* [count], [part_count]: codes of part p: [end[p - 1], end[p]) */
    uint32_t part_count;
    uint64_t *values; /* [count] */
};

/* Who reads: pieces that the block had no room for are his, until he calls block_piece_free_all(own). */
struct block_user {
    struct budget *budget;
    uint64_t *read_bytes;
    struct block_piece *own;
};

struct block {
    atomic_uint refs;
    struct object *object;
    struct budget *budget;
    struct arena arena; /* of the index */
    struct block_index index;
    _Atomic(struct block_piece *) *pieces; /* [index.piece_count], NULL until asked for */
    _Atomic(struct trace_id *) flagged;
    atomic_ullong read_bytes;
};

/* Reads a page and checks it: bytes as stored in `tmp`, raw bytes in `tmp` too.  *io_bytes grows by what was read. */
MUST_CHECK enum err block_page(struct block *b, const struct block_ref *ref, uint8_t kind,
                               struct arena *tmp, uint64_t *io_bytes, struct lz4_page *ret,
                               struct slice *ret_raw);

struct block_piece_of { /* what a piece is of */
    const struct block_filter *filter;
    uint32_t dict, chunk, parts;
};
typedef enum err block_piece_fn(struct block *b, const struct block_piece_of *of,
                                struct block_piece *p, struct arena *tmp, uint64_t *io_bytes);
/* A piece by its number, read by `load` when it is not known; lives as long as the block and the user. */
MUST_CHECK enum err block_piece_get(struct block *b, struct block_user *user, uint32_t number,
                                    block_piece_fn *load, const struct block_piece_of *of,
                                    const struct block_piece **ret);
void block_piece_free_all(struct block_piece *p);
/* The group that has the trace of this number in the block. */
uint32_t block_group_of_trace(const struct block *b, uint64_t trace);
/* A chunk of the locator, in `tmp`: hashes ascending, and the numbers of their traces, which are not checked. */
MUST_CHECK enum err block_locator_chunk(struct block *b, uint32_t chunk, struct arena *tmp,
                                        uint64_t **ret_hashes, uint64_t **ret_traces);

#endif
