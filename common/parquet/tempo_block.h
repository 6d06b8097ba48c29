/*
 * tempo_block.h - blocks that Grafana Tempo wrote (vParquet4, vParquet5), trace by trace, as OTLP.
 *
 * Shape:   a row of data.parquet is a trace, in the order of ids; meta.json names the block's version and which attributes have a column of their own.
 *          What these formats do not store can not come back: schema URLs, span flags, link flags, an empty service.name, whether there was an
 *          empty Status; attributes with own columns stand behind the others, an array of one value in such a column is that value.
 * Errors:  those of parquet.h; ERR_UNSUPPORTED for other versions and schemas.
 * Threads: a block belongs to one thread.
 * Source:  observed blocks and Tempo's documentation of its block format and dedicated columns.
 */
#ifndef VIVACE_PARQUET_TEMPO_BLOCK_H
#define VIVACE_PARQUET_TEMPO_BLOCK_H

#include "common/base/buf.h"
#include "common/parquet/parquet.h"

enum tempo_scope { TEMPO_RESOURCE, TEMPO_SPAN, TEMPO_EVENT, TEMPO_SCOPE_COUNT };
enum { TEMPO_DEDICATED_MAX = 128, TEMPO_META_BYTES_MAX = 1 << 20 };

struct tempo_dedicated { /* an attribute with a column of its own */
    enum tempo_scope scope;
    bool is_int;
    const char *key;
};
struct tempo_meta {
    char version[32], id[64], tenant[151];
    uint64_t trace_count;
    struct tempo_dedicated *dedicated;
    uint32_t dedicated_count;
};
/* meta.json; texts lie in the arena. */
MUST_CHECK enum err tempo_meta_from_json(struct slice json, struct arena *a, struct tempo_meta *ret,
                                         struct err_detail *reterr_detail);

struct tempo_block;
/* Borrows source and meta. */
MUST_CHECK enum err tempo_block_open(const struct parquet_source *source,
                                     const struct tempo_meta *meta, struct budget *budget,
                                     struct tempo_block **ret, struct err_detail *reterr_detail);
void tempo_block_close(struct tempo_block *b);
uint64_t tempo_block_traces(const struct tempo_block *b);
/* The next trace as one request, into `otlp` (emptied before); empty at the end. */
MUST_CHECK enum err tempo_block_next(struct tempo_block *b, struct buf *otlp,
                                     struct err_detail *reterr_detail);
/* Values of kinds that Tempo keeps as JSON text, whose text could not be read: they are empty. */
uint64_t tempo_block_unreadable(const struct tempo_block *b);

#endif
