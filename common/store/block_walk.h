/*
 * block_walk.h - every page that the index of a block names, one after the other: what block_inspect and block_verify stand on.
 */
#ifndef VIVACE_STORE_BLOCK_WALK_H
#define VIVACE_STORE_BLOCK_WALK_H

#include "common/store/block_inspect.h"
#include "common/store/block_priv.h"

struct block_walk_page {
    enum block_part_class class;
    enum seg_table table;
    bool is_shared;                    /* once a block: `group` says nothing */
    const char *name;                  /* of a stream, a field, a list; "" for an attribute */
    const struct block_column *column; /* COLUMN */
    uint32_t number;                   /* of a dictionary, of a chunk of the locator */
    uint32_t group;
    uint8_t kind; /* that the page must have */
    struct block_ref ref;
    bool is_first; /* of its part: the pages of a part follow each other */
};
typedef enum err block_walk_fn(void *arg, const struct block_walk_page *p);
/* Places without a page are passed over.  Ends with the first error of `fn`. */
MUST_CHECK enum err block_walk(const struct block_index *x, block_walk_fn *fn, void *arg);
const char *block_walk_table(enum seg_table t);

#endif
