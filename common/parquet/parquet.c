/* Rows put together from columns (Dremel): each leaf's levels say where lists begin and what is absent. */
#include "common/parquet/parquet_priv.h"

#include <assert.h>
#include <stdlib.h>

struct parquet_node *parquet_root(struct parquet_file *f)
{
    return &f->root;
}

uint64_t parquet_row_count(const struct parquet_file *f)
{
    return f->row_count;
}

struct parquet_node *parquet_child(struct parquet_node *node, const char *name, uint32_t *ret_index)
{
    while (node != NULL && node->is_through)
        node = &node->children[0];
    for (uint32_t i = 0; node != NULL && i < node->child_count; i++)
        if (slice_eq_str(node->children[i].name, name)) {
            *ret_index = i;
            return &node->children[i];
        }
    return NULL;
}

void parquet_want(struct parquet_node *node)
{
    node->is_wanted = true;
    for (uint32_t i = 0; i < node->child_count; i++)
        parquet_want(&node->children[i]);
}

enum err parquet_open(const struct parquet_source *source, struct budget *budget,
                      struct parquet_file **ret, struct err_detail *reterr_detail)
{
    struct parquet_file *f = calloc(1, sizeof *f);

    if (f == NULL)
        return ERR_NOMEM;
    f->source = *source;
    f->budget = budget;
    f->detail = reterr_detail;
    arena_init(&f->arena, budget);
    arena_init(&f->row, budget);
    enum err e = parquet_meta_read(f);
    if (e != ERR_OK) {
        parquet_close(f);
        return e;
    }
    *ret = f;
    return ERR_OK;
}

void parquet_close(struct parquet_file *f)
{
    if (f == NULL)
        return;
    for (uint32_t i = 0; f->cursor != NULL && i < f->leaf_count; i++) {
        if (f->cursor[i] == NULL)
            continue;
        arena_release(&f->cursor[i]->page);
        arena_release(&f->cursor[i]->dictionary);
    }
    arena_release(&f->row);
    arena_release(&f->arena);
    free(f);
}

/* --- reading --- */

/* Groups are wanted for what is wanted below them, and then know their first such leaf. */
static void settle_wanted(struct parquet_node *n)
{
    if (n->is_leaf)
        return;
    n->is_wanted = false;
    for (uint32_t i = 0; i < n->child_count; i++) {
        settle_wanted(&n->children[i]);
        if (n->children[i].is_wanted && !n->is_wanted) {
            n->is_wanted = true;
            n->column = n->children[i].column;
        }
    }
}

static enum err start(struct parquet_file *f)
{
    settle_wanted(&f->root);
    f->cursor = ARENA_ARRAY(&f->arena, struct parquet_cursor *, f->leaf_count);
    if (f->cursor == NULL)
        return arena_err(&f->arena);
    for (uint32_t i = 0; i < f->leaf_count; i++) {
        if (!f->leaves[i]->is_wanted)
            continue;
        struct parquet_cursor *c = ARENA_NEW(&f->arena, struct parquet_cursor);
        if (c == NULL)
            return arena_err(&f->arena);
        c->leaf = f->leaves[i];
        arena_init(&c->page, f->budget);
        arena_init(&c->dictionary, f->budget);
        f->cursor[i] = c;
    }
    f->is_reading = true;
    return ERR_OK;
}

/* The entry that comes next in a column. */
static enum err peek(struct parquet_file *f, struct parquet_cursor *c, uint8_t *ret_rep,
                     uint8_t *ret_def)
{
    if (c->level_at == c->count) {
        enum err e = parquet_page_next(f, c);
        if (e != ERR_OK)
            return e;
    }
    *ret_rep = c->rep == NULL ? 0 : c->rep[c->level_at];
    *ret_def = c->def == NULL ? 0 : c->def[c->level_at];
    return ERR_OK;
}

/* Takes an entry, which must continue at the level where its neighbours do. */
static enum err take(struct parquet_file *f, struct parquet_cursor *c, uint8_t rep,
                     uint8_t *ret_def)
{
    uint8_t found;
    enum err e = peek(f, c, &found, ret_def);

    if (e == ERR_OK && found != rep)
        e = parquet_page_bad(f, c, ERR_CORRUPT, "its lists are not as those beside it");
    c->level_at += e == ERR_OK;
    return e;
}

static enum err take_value(struct parquet_file *f, struct parquet_cursor *c,
                           struct parquet_value *ret)
{
    assert(c->value_at < c->value_count);
    ret->is_there = true;
    if (c->numbers != NULL) {
        ret->i = c->numbers[c->value_at++];
        return ERR_OK;
    }
    if (c->doubles != NULL) {
        ret->d = c->doubles[c->value_at++];
        return ERR_OK;
    }
    /* A row may go on in the next page, which takes this one's place; dictionaries stay. */
    ret->s = c->texts[c->value_at++];
    if (!c->is_dict_page)
        ret->s = arena_dup(&f->row, ret->s);
    return arena_err(&f->row);
}

/* Nothing is there: every leaf below has one entry that says so. */
static enum err take_nothing(struct parquet_file *f, const struct parquet_node *n, uint8_t rep,
                             uint8_t below)
{
    uint8_t def;

    if (!n->is_wanted)
        return ERR_OK;
    if (n->is_leaf) {
        enum err e = take(f, f->cursor[n->column], rep, &def);
        return e == ERR_OK && def >= below
                   ? parquet_page_bad(f, f->cursor[n->column], ERR_CORRUPT,
                                      "a value where there is nothing beside it")
                   : e;
    }
    for (uint32_t i = 0; i < n->child_count; i++) {
        enum err e = take_nothing(f, &n->children[i], rep, below);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err read_node(struct parquet_file *f, const struct parquet_node *n, uint8_t rep,
                          struct parquet_value *ret);

/* One occurrence of a node that is there. */
static enum err read_one(struct parquet_file *f, const struct parquet_node *n, uint8_t rep,
                         struct parquet_value *ret)
{
    uint8_t def;

    if (n->is_leaf) {
        struct parquet_cursor *c = f->cursor[n->column];
        enum err e = take(f, c, rep, &def);
        if (e == ERR_OK && def != n->max_def)
            e = parquet_page_bad(f, c, ERR_CORRUPT, "nothing where there must be a value");
        return e == ERR_OK ? take_value(f, c, ret) : e;
    }
    if (n->is_through)
        return read_node(f, &n->children[0], rep, ret);
    struct parquet_value *fields = ARENA_ARRAY(&f->row, struct parquet_value, n->child_count);
    if (fields == NULL)
        return arena_err(&f->row);
    for (uint32_t i = 0; i < n->child_count; i++) {
        enum err e =
            n->children[i].is_wanted ? read_node(f, &n->children[i], rep, &fields[i]) : ERR_OK;
        if (e != ERR_OK)
            return e;
    }
    ret->is_there = true;
    ret->items = fields;
    return ERR_OK;
}

/* Whether another element follows: the first leaf goes on at this list's level. */
static enum err has_more(struct parquet_file *f, const struct parquet_node *n, bool *ret)
{
    struct parquet_cursor *c = f->cursor[n->column];
    uint8_t rep, def;

    *ret = false;
    if (c->level_at == c->count && c->left == 0)
        return ERR_OK; /* the column ends here, and so does the row */
    enum err e = peek(f, c, &rep, &def);
    *ret = e == ERR_OK && rep == n->max_rep;
    return e;
}

static enum err read_list(struct parquet_file *f, const struct parquet_node *n, uint8_t rep,
                          struct parquet_value *ret)
{
    struct parquet_value *items = NULL;
    uint32_t count = 0, cap = 0;
    bool is_more = true;

    while (is_more) {
        if (count == cap) {
            uint32_t grown = cap == 0 ? 4 : cap * 2;
            struct parquet_value *to = ARENA_ARRAY(&f->row, struct parquet_value, grown);
            if (to == NULL)
                return arena_err(&f->row);
            if (count != 0)
                memcpy(to, items, count * sizeof *to);
            items = to;
            cap = grown;
        }
        enum err e = read_one(f, n, count == 0 ? rep : n->max_rep, &items[count]);
        if (e == ERR_OK)
            e = has_more(f, n, &is_more);
        if (e != ERR_OK)
            return e;
        count++;
    }
    ret->items = items;
    ret->count = count;
    return ERR_OK;
}

static enum err read_node(struct parquet_file *f, const struct parquet_node *n, uint8_t rep,
                          struct parquet_value *ret)
{
    uint8_t found, def;

    if (n->repetition == PARQUET_REQUIRED)
        return read_one(f, n, rep, ret);
    enum err e = peek(f, f->cursor[n->column], &found, &def);
    if (e != ERR_OK)
        return e;
    ret->is_there = n->repetition == PARQUET_REPEATED; /* an empty list is one */
    if (def < n->max_def)
        return take_nothing(f, n, rep, n->max_def);
    return n->repetition == PARQUET_REPEATED ? read_list(f, n, rep, ret) : read_one(f, n, rep, ret);
}

/* At a row group's end all columns must have ended too. */
static enum err next_group(struct parquet_file *f)
{
    for (uint32_t i = 0; i < f->leaf_count; i++) {
        struct parquet_cursor *c = f->cursor[i];
        if (c != NULL && f->group > 0 && (c->level_at != c->count || c->left != 0))
            return parquet_page_bad(f, c, ERR_CORRUPT, "the column has more than its rows");
    }
    if (f->group == f->group_count)
        return ERR_OK;
    f->rows_left = f->group_rows[f->group++];
    for (uint32_t i = 0; i < f->leaf_count; i++) {
        enum err e = f->cursor[i] != NULL ? parquet_page_begin(f, f->cursor[i]) : ERR_OK;
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err parquet_next(struct parquet_file *f, const struct parquet_value **ret,
                      struct err_detail *reterr_detail)
{
    enum err e = ERR_OK;

    f->detail = reterr_detail;
    *ret = NULL;
    arena_reset(&f->row);
    if (!f->is_reading)
        e = start(f);
    while (e == ERR_OK && f->rows_left == 0) {
        bool is_end = f->group == f->group_count;
        e = next_group(f);
        if (is_end)
            return e;
    }
    struct parquet_value *row = e == ERR_OK ? ARENA_NEW(&f->row, struct parquet_value) : NULL;
    if (e == ERR_OK && row == NULL)
        e = arena_err(&f->row);
    if (e == ERR_OK && f->root.is_wanted)
        e = read_one(f, &f->root, 0, row);
    if (e != ERR_OK)
        return e;
    f->rows_left--;
    *ret = row;
    return ERR_OK;
}
