/*
 * block_filter.h - filters of plain columns: whether a part can have a text, told by one small page for BLOCK_FILTER_PARTS parts at once.
 *
 * Errors: of reading: ERR_CORRUPT, ERR_IO, ERR_LIMIT, ERR_NOMEM.
 */
#ifndef VIVACE_STORE_BLOCK_FILTER_H
#define VIVACE_STORE_BLOCK_FILTER_H

#include "common/store/block_reader.h"
#include "common/store/block_writer.h"

/* Texts of up to BLOCK_FILTER_PARTS parts on their way into a filter: 8 bytes each, 24 while they are written. */
struct block_filter_maker {
    struct arena arena;
    struct block_filter_entries *newest;
    uint32_t count;
};

void block_filter_init(struct block_filter_maker *m, struct budget *budget);
void block_filter_release(struct block_filter_maker *m);

static inline uint64_t block_filter_hash(struct slice text)
{
    return hash_plain(text);
}
/* hash: of a text of the part; parts ascend. */
MUST_CHECK enum err block_filter_add(struct block_filter_maker *m, uint32_t part, uint64_t hash);
/* Writes what was added, unless that is too little to be worth it, and empties the maker.  parts: that the texts are of.  `keep`: of what *ret points to. */
MUST_CHECK enum err block_filter_put(struct block_writer *w, struct block_filter_maker *m,
                                     uint32_t parts, struct arena *keep, struct block_filter *ret);

/* *ret is false only when no value of the part is this text. */
MUST_CHECK enum err block_filter_may_have(struct block *b, struct block_user *user,
                                          const struct block_column *c, uint32_t part,
                                          struct slice text, bool *ret);

#endif
