/*
 * parquet.h - Parquet files, read row by row; what Tempo's blocks are made of.
 *
 * Use:     parquet_open, parquet_want on the nodes that are needed, parquet_next until it gives NULL.
 * Shape:   a row is a tree of values like the schema: a group has its children's values in the order of the schema, a repeated node a list.  The three levels
 *          of a LIST (group, "list", "element") are one: a list of the elements.
 * Built:   data pages v1 and v2; PLAIN, RLE, RLE_DICTIONARY (PLAIN_DICTIONARY), DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY;
 *          uncompressed, snappy, gzip, zstd.  Not: INT96, BYTE_STREAM_SPLIT, bit-packed levels, LZO, brotli, LZ4, encryption: ERR_UNSUPPORTED.
 * Limits:  below, each before anything is allocated for it; all memory is drawn from the budget.
 * Memory:  a page and a dictionary per wanted column, and one row at a time.
 * Threads: a file belongs to one thread.
 * Errors:  ERR_CORRUPT, ERR_UNSUPPORTED, ERR_LIMIT, ERR_NOMEM, ERR_IO; the detail says what and in which column.
 * Source:  parquet-format: README, Encodings.md, thrift compact protocol; Dremel (Melnik and others, 2010).
 */
#ifndef VIVACE_PARQUET_PARQUET_H
#define VIVACE_PARQUET_PARQUET_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/slice.h"

enum {
    PARQUET_FOOTER_BYTES_MAX = 64 << 20,
    PARQUET_PAGE_BYTES_MAX = 256 << 20,
    PARQUET_PAGE_VALUES_MAX = 1 << 26,
    PARQUET_NODES_MAX = 4096,
    PARQUET_DEPTH_MAX = 40
};

struct parquet_source { /* the bytes of a file */
    void *arg;
    enum err (*read)(void *arg, uint64_t offset, void *ret, size_t len);
    uint64_t bytes;
};

enum parquet_type { /* numbers of the format */
                    PARQUET_BOOLEAN,
                    PARQUET_INT32,
                    PARQUET_INT64,
                    PARQUET_INT96,
                    PARQUET_FLOAT,
                    PARQUET_DOUBLE,
                    PARQUET_BYTES,
                    PARQUET_FIXED
};
enum parquet_repetition { PARQUET_REQUIRED, PARQUET_OPTIONAL, PARQUET_REPEATED };

struct parquet_node {
    struct slice name;
    enum parquet_repetition repetition;
    enum parquet_type type; /* of a leaf */
    uint32_t type_bytes;    /* of FIXED */
    bool is_leaf, is_wanted;
    bool is_through; /* its value is that of its only child: outer levels of a LIST */
    uint8_t max_def, max_rep;
    uint32_t column; /* of a leaf; of a group with something wanted below: the first such leaf */
    struct parquet_node *children;
    uint32_t child_count;
};

struct parquet_value {
    bool is_there;  /* not: an optional that is absent, or one that nobody wanted */
    uint32_t count; /* of a list */
    union {
        int64_t i; /* BOOLEAN, INT32, INT64 */
        double d;  /* FLOAT, DOUBLE */
        struct slice s;
        const struct parquet_value *items; /* of a list; of a group: [child_count] */
    };
};

struct parquet_file;
/* Borrows the source. */
MUST_CHECK enum err parquet_open(const struct parquet_source *source, struct budget *budget,
                                 struct parquet_file **ret, struct err_detail *reterr_detail);
void parquet_close(struct parquet_file *f);

struct parquet_node *parquet_root(struct parquet_file *f);
/* The child of this name, seen through the levels of a list; NULL when there is none.  *ret_index: its place among the values of the group. */
struct parquet_node *parquet_child(struct parquet_node *node, const char *name,
                                   uint32_t *ret_index);
/* A leaf, or all leaves below.  Before the first parquet_next. */
void parquet_want(struct parquet_node *node);

uint64_t parquet_row_count(const struct parquet_file *f);
/* The next row as the value of the root group; NULL at the end.  It lives until the next call. */
MUST_CHECK enum err parquet_next(struct parquet_file *f, const struct parquet_value **ret,
                                 struct err_detail *reterr_detail);

#endif
