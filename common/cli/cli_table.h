/*
 * cli_table.h - columns of text for a terminal.
 *
 * Use:     cli_table_init, rows, cli_table_write; rows may follow, and be written, after the first ones (the widths stay those of the first).
 * Width:   columns are as wide as what is in them; if that is too wide, flexible ones are cut.  The last column is not filled up.
 * Memory:  cells are copied into the arena, safe (cli_text.h).
 * Errors:  sticky in the arena and the buffer.
 */
#ifndef VIVACE_CLI_CLI_TABLE_H
#define VIVACE_CLI_CLI_TABLE_H

#include "common/base/arena.h"
#include "common/base/buf.h"

enum { CLI_TABLE_COLUMNS_MAX = 8, CLI_TABLE_GAP = 2, CLI_TABLE_FLEXIBLE_MIN = 8 };

struct cli_column {
    const char *title; /* safe */
    bool is_right, is_flexible;
};
struct cli_table_row;
struct cli_table {
    struct arena *arena;
    const struct cli_column *columns; /* borrowed */
    unsigned column_count;
    struct cli_table_row *first, **end; /* not written yet */
    size_t widths[CLI_TABLE_COLUMNS_MAX];
    bool is_begun;   /* widths and head are there */
    bool has_follow; /* more rows may come: flexible columns take what room there is */
};

void cli_table_init(struct cli_table *t, struct arena *a, const struct cli_column *columns,
                    unsigned column_count);
/* Any bytes; one cell for each column. */
void cli_table_row(struct cli_table *t, const struct slice *cells);
/* A line below the row before it, across all columns. */
void cli_table_line(struct cli_table *t, struct slice text);
/* The rows since the last time.  width 0: as wide as it gets. */
void cli_table_write(struct cli_table *t, size_t width, struct buf *out);

#endif
