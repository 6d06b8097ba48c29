/*
 * block_reader.h - the inside of an open block, shared by block.c (index, dictionaries, locator) and block_segment.c (row groups).
 *
 * Threads: a block is immutable but for what it loads once: dictionaries and the flagged ids, published by compare-and-swap.
 */
#ifndef VIVACE_STORE_BLOCK_READER_H
#define VIVACE_STORE_BLOCK_READER_H

#include "common/codec/lz4_page.h"
#include "common/store/block_priv.h"

#include <stdatomic.h>

/* The texts of a dictionary, and for each part which of them occur there. */
struct block_dict {
    struct arena arena;
    struct slice *texts;
    uint32_t count, part_count;
    uint32_t *codes, *list_end; /* codes of part p: [list_end[p - 1], list_end[p]) */
};

struct block {
    atomic_uint refs;
    struct object *object;
    struct budget *budget;
    struct arena arena; /* of the index */
    struct block_index index;
    _Atomic(struct block_dict *) *dicts; /* [index.dict_count], NULL until asked for */
    _Atomic(struct trace_id *) flagged;
    atomic_ullong read_bytes;
};

/* Reads a page and checks it: bytes as stored in `tmp`, raw bytes in `tmp` too.  *io_bytes grows by what was read. */
MUST_CHECK enum err block_page(struct block *b, const struct block_ref *ref, uint8_t kind,
                               struct arena *tmp, uint64_t *io_bytes, struct lz4_page *ret,
                               struct slice *ret_raw);
/* A dictionary, kept by the block; when the block's budget is out, made in *ret_own, which the caller then frees with block_dict_free. */
MUST_CHECK enum err block_dict_get(struct block *b, uint32_t dict, uint32_t part_count,
                                   struct budget *budget, uint64_t *io_bytes,
                                   const struct block_dict **ret, struct block_dict **ret_own);
void block_dict_free(struct block_dict *d);
/* The group that has the trace of this number in the block. */
uint32_t block_group_of_trace(const struct block *b, uint64_t trace);
/* A chunk of the locator, in `tmp`: hashes ascending, and the numbers of their traces, which are not checked. */
MUST_CHECK enum err block_locator_chunk(struct block *b, uint32_t chunk, struct arena *tmp,
                                        uint64_t **ret_hashes, uint64_t **ret_traces);

#endif
