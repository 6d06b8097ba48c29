/*
 * block_inspect.h - a block looked at from outside queries: what takes its space, and whether it is sound.
 *
 * Threads: the calling one; the block may be in use by others meanwhile.
 * Memory:  one page at a time, then one row group at a time, drawn from the budget; 4 bytes a trace of the block besides.
 */
#ifndef VIVACE_STORE_BLOCK_INSPECT_H
#define VIVACE_STORE_BLOCK_INSPECT_H

#include "common/store/block.h"

enum block_part_class {
    BLOCK_PART_STREAM,     /* what every row has */
    BLOCK_PART_COLUMN,     /* an attribute or a rare field */
    BLOCK_PART_DICTIONARY, /* texts, and which of them occur where */
    BLOCK_PART_FILTER,     /* which texts a column can have where */
    BLOCK_PART_LOCATOR,
    BLOCK_PART_FLAGGED,
    BLOCK_PART_FOOTER,
    BLOCK_PART_CLASS_COUNT
};

/* Everything of one name in a block: its pages over all groups. */
struct block_part {
    enum block_part_class class;
    const char *table; /* "span" ..., "" for what belongs to none */
    const char *name;  /* of a stream or a rare field; "" when it is `key` that names it */
    struct slice key;  /* of an attribute */
    const char *type, *form;
    uint32_t dictionary; /* the number of its dictionary, UINT32_MAX when it has none */
    uint64_t pages, stored_bytes, raw_bytes, values;
};
const char *block_part_class_name(enum block_part_class class);

typedef enum err block_part_fn(void *arg, const struct block_part *p);
/* Reads every page.  Errors: ERR_CORRUPT, ERR_IO, ERR_LIMIT, ERR_NOMEM, what `fn` returns. */
MUST_CHECK enum err block_inspect(struct block *b, struct budget *budget, block_part_fn *fn,
                                  void *arg);

struct block_summary {
    uint32_t groups, resources, scopes;
    uint64_t events, links;
    uint32_t columns[SEG_TABLE_COUNT], shapes[SEG_TABLE_COUNT];
};
void block_summary(const struct block *b, struct block_summary *ret);
/* Rows of a group; its traces. */
void block_group_rows(const struct block *b, uint32_t group, uint32_t ret_rows[SEG_TABLE_COUNT],
                      uint32_t *ret_traces);

/* --- verifying: every page, then every group, then what holds between them --- */
struct block_verify_hooks {
    /* A damage and its place ("group 3: span attribute \"http.url\": page of 812 bytes at 73120"). */
    void (*damage)(void *arg, const char *place, enum err e);
    void (*progress)(void *arg, uint64_t done,
                     uint64_t total); /* in bytes; after each page and group; may be NULL */
    void *arg;
};
struct block_verify_result {
    uint64_t pages, groups, spans, traces, damages;
};
/* ERR_CORRUPT when there was damage; ERR_NOMEM, ERR_LIMIT when it could not be judged. */
MUST_CHECK enum err block_verify(struct block *b, struct budget *budget,
                                 const struct block_verify_hooks *hooks,
                                 struct block_verify_result *ret);

#endif
