/*
 * parquet_priv.h - the inside of an open Parquet file: parquet_meta.c reads the footer, parquet_page.c the pages of a column, parquet.c puts rows together.
 */
#ifndef VIVACE_PARQUET_PARQUET_PRIV_H
#define VIVACE_PARQUET_PARQUET_PRIV_H

#include "common/base/reader.h"
#include "common/parquet/parquet.h"

enum parquet_codec { /* numbers of the format */
                     PARQUET_UNCOMPRESSED,
                     PARQUET_SNAPPY,
                     PARQUET_GZIP,
                     PARQUET_ZSTD = 6
};

struct parquet_chunk { /* the pages of a column in a row group */
    uint64_t offset, end, value_count;
    uint32_t codec;
};

struct parquet_cursor { /* a wanted column being read */
    const struct parquet_node *leaf;
    struct parquet_chunk chunk; /* of the row group being read */
    uint64_t at, left;          /* next page; values in pages not read yet */
    struct arena page, dictionary;
    uint8_t *rep, *def;  /* of the page; NULL when they are always 0 */
    int64_t *numbers;    /* ints, booleans */
    double *doubles;     /* or floats */
    struct slice *texts; /* one of the three */
    uint32_t count, level_at, value_count, value_at;
    int64_t *dict_numbers;
    double *dict_doubles;
    struct slice *dict_texts;
    uint32_t dict_count;
    bool has_dict, is_dict_page; /* is_dict_page: its texts are the dictionary's */
};

struct parquet_file {
    struct parquet_source source;
    struct budget *budget;
    struct arena arena, row; /* of the file; of the row that was given last */
    struct parquet_node root;
    uint32_t leaf_count, group_count;
    struct parquet_node **leaves;   /* [leaf_count] */
    struct parquet_chunk *chunks;   /* [group_count * leaf_count] */
    uint64_t *group_rows;           /* [group_count] */
    struct parquet_cursor **cursor; /* [leaf_count], NULL where nothing is wanted */
    uint64_t row_count, rows_left;  /* rows_left: in the row group being read */
    uint32_t group;                 /* the next one */
    bool is_reading;
    struct err_detail *detail; /* of the call under way */
};

/* parquet_meta.c */
MUST_CHECK enum err parquet_meta_read(struct parquet_file *f);
/* parquet_page.c */
MUST_CHECK enum err parquet_page_begin(struct parquet_file *f, struct parquet_cursor *c);
/* The next page with values.  ERR_CORRUPT when the chunk has no more. */
MUST_CHECK enum err parquet_page_next(struct parquet_file *f, struct parquet_cursor *c);
/* The detail of a column. */
enum err parquet_page_bad(struct parquet_file *f, const struct parquet_cursor *c, enum err e,
                          const char *what);

#endif
