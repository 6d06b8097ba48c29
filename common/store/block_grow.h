/*
 * block_grow.h - the columns of a block that is made part by part out of row groups of other blocks: shapes, keys and dictionaries grow as
 * the parts come, and are written at the end.
 *
 * Shape:   a part is a row group of the block, or the whole of a shared table.  Its rows are block_writer.rows[table].sources, whose segments are
 *          row groups of the inputs (`input_of` says whose).  A column of texts is a dictionary or plain for the whole block, as most of its bytes are
 *          in the inputs.
 * Memory:  what lasts is in `keep`: distinct texts, encoded code lists, references to pages; filters have a little of their own.  What one part needs is in w->scratch.
 */
#ifndef VIVACE_STORE_BLOCK_GROW_H
#define VIVACE_STORE_BLOCK_GROW_H

#include "common/store/block_dict.h"
#include "common/store/block_filter.h"
#include "common/store/block_text.h"
#include "common/store/text_set.h"

struct grow_list { /* the code list of a part, encoded */
    struct grow_list *next;
    struct slice ints;
    uint32_t part, count;
};

struct grow_dict {
    struct text_set texts;
    struct grow_list *first, *last; /* by part */
    uint64_t listed;                /* codes in all lists */
    uint32_t *mark, mark_count;
};

struct grow_ref { /* a page of a column */
    struct grow_ref *next;
    uint32_t column, part;
    struct block_ref page;
    struct block_zone zone;
};

struct grow_filter { /* of a plain column */
    struct grow_filter *next;
    uint32_t column, number;
    struct block_filter filter;
};

struct grow_column {
    struct segment_rows_column about; /* key in `keep` */
    uint8_t form;
    uint32_t dict;
    struct block_filter_maker
        *filter; /* PLAIN: of the parts from filter_number * BLOCK_FILTER_PARTS on */
    uint32_t filter_number;
    struct block_text_plan plan; /* PLAIN */
};

struct grow_table {
    struct text_set column_keys, shape_keys;
    struct grow_column *columns;
    uint32_t column_max;
    uint32_t **column_of, **shape_of; /* [input][its column, shape]: ours, or BLOCK_NONE */
    struct grow_ref *refs;
    struct grow_filter *filters;
};

struct block_grow {
    struct block **inputs;
    uint32_t input_count;
    struct arena *keep;
    struct grow_table tables[SEG_TABLE_COUNT];
    struct grow_dict *dicts;
    uint32_t dict_count, dict_max;
};

/* A part that is being written. */
struct block_grow_part {
    struct block_writer *w;
    enum seg_table table;
    uint32_t number;          /* of the part */
    const uint32_t *input_of; /* [w->segment_count] */
    const uint32_t *group_of; /* [w->segment_count]: row group of the input */
    bool is_large;            /* keep no decoded column longer than it is needed */
    struct budget *budget;    /* is_large: of the segments opened for one column */
};

MUST_CHECK enum err block_grow_init(struct block_grow *g, struct block **inputs,
                                    uint32_t input_count, struct arena *keep);
void block_grow_release(struct block_grow *g); /* what is not in `keep`; before that goes */
/* Shapes and columns of a part; parts of a table come in their order. */
MUST_CHECK enum err block_grow_table(struct block_grow *g, const struct block_grow_part *p);
/* Names of spans or events of a part. */
MUST_CHECK enum err block_grow_names(struct block_grow *g, const struct block_grow_part *p);
/* Writes the dictionaries and enters everything into the index, whose groups are there. */
MUST_CHECK enum err block_grow_finish(struct block_grow *g, struct block_writer *w,
                                      struct block_index *x);

#endif
