#include "common/cli/cli_table.h"

#include "common/cli/cli_text.h"

#include <assert.h>

enum { CELL_BYTES_MAX = 64 << 10 };

struct cli_table_row {
    struct cli_table_row *next;
    bool is_line; /* cells[0] alone */
    struct slice cells[];
};

void cli_table_init(struct cli_table *t, struct arena *a, const struct cli_column *columns,
                    unsigned column_count)
{
    assert(column_count > 0 && column_count <= CLI_TABLE_COLUMNS_MAX);
    *t = (struct cli_table){.arena = a, .columns = columns, .column_count = column_count};
    t->end = &t->first;
}

static struct slice safe_copy(struct arena *a, struct slice text)
{
    struct buf safe;

    buf_init(&safe, SIZE_MAX / 2);
    cli_text_safe(&safe, slice_sub(text, 0, CELL_BYTES_MAX));
    if (buf_err(&safe) != ERR_OK)
        a->err = a->err == ERR_OK ? buf_err(&safe) : a->err;
    struct slice copy = arena_dup(a, buf_slice(&safe));
    buf_release(&safe);
    return copy;
}

static void add(struct cli_table *t, const struct slice *cells, unsigned count)
{
    struct cli_table_row *row = arena_calloc(t->arena, 1, sizeof *row + count * sizeof *cells);

    if (row == NULL)
        return;
    row->is_line = count != t->column_count;
    for (unsigned i = 0; i < count; i++)
        row->cells[i] = safe_copy(t->arena, cells[i]);
    *t->end = row;
    t->end = &row->next;
}

void cli_table_row(struct cli_table *t, const struct slice *cells)
{
    add(t, cells, t->column_count);
}

void cli_table_line(struct cli_table *t, struct slice text)
{
    assert(t->column_count > 1);
    add(t, &text, 1);
}

static size_t total_width(const struct cli_table *t)
{
    size_t total = (t->column_count - 1) * (size_t)CLI_TABLE_GAP;

    for (unsigned i = 0; i < t->column_count; i++)
        total += t->widths[i];
    return total;
}

/* The widest of those that may be cut, or give way; column_count when none can. */
static unsigned widest_flexible(const struct cli_table *t)
{
    unsigned found = t->column_count;

    for (unsigned i = 0; i < t->column_count; i++)
        if (t->columns[i].is_flexible && t->widths[i] > CLI_TABLE_FLEXIBLE_MIN &&
            (found == t->column_count || t->widths[i] > t->widths[found]))
            found = i;
    return found;
}

static void shrink(struct cli_table *t, size_t width)
{
    for (size_t total = total_width(t); total > width; total--) {
        unsigned i = widest_flexible(t);
        if (i == t->column_count)
            return;
        t->widths[i]--;
    }
}

/* What rows to come may need. */
static void stretch(struct cli_table *t, size_t width)
{
    unsigned flexible = 0;
    size_t total = total_width(t);

    for (unsigned i = 0; i < t->column_count; i++)
        flexible += t->columns[i].is_flexible;
    for (unsigned i = 0; i < t->column_count && total < width; i++)
        if (t->columns[i].is_flexible) {
            size_t more = (width - total) / flexible--;
            t->widths[i] += more;
            total += more;
        }
}

static void measure(struct cli_table *t, size_t width)
{
    for (unsigned i = 0; i < t->column_count; i++)
        t->widths[i] = cli_text_width(slice_str(t->columns[i].title));
    for (const struct cli_table_row *row = t->first; row != NULL; row = row->next)
        for (unsigned i = 0; i < t->column_count && !row->is_line; i++) {
            size_t need = cli_text_width(row->cells[i]);
            if (need > t->widths[i])
                t->widths[i] = need;
        }
    if (width > 0)
        shrink(t, width);
    if (width > 0 && t->has_follow)
        stretch(t, width);
}

/* Text that ends on the left needs no blanks behind it at the end of a line. */
static void put_row(const struct cli_table *t, const struct slice *cells, struct buf *out)
{
    size_t at = out->len;

    for (unsigned i = 0; i < t->column_count; i++) {
        if (i > 0)
            cli_text_repeat(out, " ", CLI_TABLE_GAP);
        bool is_whole = !t->columns[i].is_flexible && cli_text_width(cells[i]) > t->widths[i];
        if (is_whole)
            buf_append(out, cells[i]);
        else
            cli_text_fit(out, cells[i], t->widths[i], t->columns[i].is_right);
    }
    while (buf_err(out) == ERR_OK && out->len > at && out->ptr[out->len - 1] == ' ')
        out->len--;
    buf_append_byte(out, '\n');
}

static void put_line(struct slice text, size_t width, struct buf *out)
{
    size_t need = cli_text_width(text);

    cli_text_fit(out, text, width != 0 && need > width ? width : need, false);
    buf_append_byte(out, '\n');
}

void cli_table_write(struct cli_table *t, size_t width, struct buf *out)
{
    struct slice titles[CLI_TABLE_COLUMNS_MAX];

    if (!t->is_begun) {
        measure(t, width);
        t->is_begun = true;
        for (unsigned i = 0; i < t->column_count; i++)
            titles[i] = slice_str(t->columns[i].title);
        put_row(t, titles, out);
    }
    for (const struct cli_table_row *row = t->first; row != NULL; row = row->next) {
        if (row->is_line)
            put_line(row->cells[0], width, out);
        else
            put_row(t, row->cells, out);
    }
    t->first = NULL;
    t->end = &t->first;
}
