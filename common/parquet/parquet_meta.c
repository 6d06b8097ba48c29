/* The footer: schema, row groups, where the columns lie. */
#include "common/parquet/parquet_priv.h"
#include "common/parquet/parquet_thrift.h"

enum { TAIL_BYTES = 8, MAGIC_BYTES = 4, COLUMN_BYTES_LEAST = 8, TYPE_NONE = -1 };
#define MAGIC "PAR1"

struct element { /* of the schema, as it stands in the file: depth first */
    struct slice name;
    int64_t type, type_bytes, repetition, children;
};

static enum err bad(struct parquet_file *f, const char *what)
{
    return err_detail_set(f->detail, ERR_CORRUPT, "not a sound Parquet file: %s", what);
}

static void read_element(struct reader *r, struct element *ret)
{
    struct parquet_thrift_field field = {0};

    *ret = (struct element){.type = TYPE_NONE};
    while (parquet_thrift_next(r, &field)) {
        switch (field.id) {
        case 1: ret->type = parquet_thrift_int(r, &field); break;
        case 2: ret->type_bytes = parquet_thrift_int(r, &field); break;
        case 3: ret->repetition = parquet_thrift_int(r, &field); break;
        case 4: ret->name = parquet_thrift_binary(r, &field); break;
        case 5: ret->children = parquet_thrift_int(r, &field); break;
        default: parquet_thrift_skip(r, &field); break;
        }
    }
}

struct schema {
    struct parquet_file *f;
    const struct element *elements;
    uint32_t count, at;
};

static enum err make_node(struct schema *s, struct parquet_node *n,
                          const struct parquet_node *parent, unsigned depth);

static enum err make_children(struct schema *s, struct parquet_node *n, int64_t count,
                              unsigned depth)
{
    if (count < 1 || count > s->count - s->at)
        return bad(s->f, "a group without its children");
    n->children = ARENA_ARRAY(&s->f->arena, struct parquet_node, (size_t)count);
    if (n->children == NULL)
        return arena_err(&s->f->arena);
    n->child_count = (uint32_t)count;
    for (uint32_t i = 0; i < n->child_count; i++) {
        enum err e = make_node(s, &n->children[i], n, depth + 1);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* The outer levels of a LIST: group { repeated group list { element } }. */
static void mark_list(struct parquet_node *n)
{
    struct parquet_node *list = n->child_count == 1 ? &n->children[0] : NULL;

    if (list == NULL || list->repetition != PARQUET_REPEATED || list->child_count != 1 ||
        n->repetition == PARQUET_REPEATED || !slice_eq_str(list->name, "list") ||
        !slice_eq_str(list->children[0].name, "element"))
        return;
    n->is_through = true;
    list->is_through = true;
}

static enum err make_node(struct schema *s, struct parquet_node *n,
                          const struct parquet_node *parent, unsigned depth)
{
    struct parquet_file *f = s->f;

    if (s->at == s->count || depth > PARQUET_DEPTH_MAX)
        return bad(f, "a schema that is too deep, or not whole");
    const struct element *e = &s->elements[s->at++];
    if (e->repetition < PARQUET_REQUIRED || e->repetition > PARQUET_REPEATED)
        return bad(f, "a repetition that does not exist");
    n->name = e->name;
    n->repetition = (enum parquet_repetition)e->repetition;
    n->max_def = (uint8_t)(parent->max_def + (n->repetition != PARQUET_REQUIRED));
    n->max_rep = (uint8_t)(parent->max_rep + (n->repetition == PARQUET_REPEATED));
    if (e->type == TYPE_NONE) {
        enum err at = make_children(s, n, e->children, depth);
        mark_list(n);
        return at;
    }
    if (e->type < PARQUET_BOOLEAN || e->type > PARQUET_FIXED || e->children != 0 ||
        (e->type == PARQUET_FIXED && (e->type_bytes < 1 || e->type_bytes > 1 << 20)))
        return bad(f, "a column of a type that does not exist");
    n->is_leaf = true;
    n->type = (enum parquet_type)e->type;
    n->type_bytes = e->type == PARQUET_FIXED ? (uint32_t)e->type_bytes : 0;
    n->column = f->leaf_count;
    f->leaves[f->leaf_count++] = n;
    return ERR_OK;
}

static enum err read_schema(struct parquet_file *f, struct reader *r,
                            const struct parquet_thrift_field *field)
{
    uint32_t count = parquet_thrift_list(r, field, THRIFT_STRUCT);

    if (reader_failed(r) || count < 2 || count > PARQUET_NODES_MAX || f->leaves != NULL)
        return bad(f, "a schema of too many columns, or of none");
    struct element *elements = ARENA_ARRAY(&f->arena, struct element, count);
    f->leaves = ARENA_ARRAY(&f->arena, struct parquet_node *, count);
    if (elements == NULL || f->leaves == NULL)
        return arena_err(&f->arena);
    for (uint32_t i = 0; i < count; i++)
        read_element(r, &elements[i]);
    if (reader_failed(r))
        return bad(f, "its schema");
    struct schema s = {.f = f, .elements = elements, .count = count, .at = 1};
    enum err e = make_children(&s, &f->root, elements[0].children, 0);
    return e == ERR_OK && s.at != count ? bad(f, "a schema with columns that belong nowhere") : e;
}

static void read_column_meta(struct reader *r, struct parquet_chunk *c, int64_t *ret_type)
{
    struct parquet_thrift_field field = {0};
    int64_t data = 0, dictionary = 0, bytes = 0;

    while (parquet_thrift_next(r, &field)) {
        switch (field.id) {
        case 1: *ret_type = parquet_thrift_int(r, &field); break;
        case 4: c->codec = (uint32_t)parquet_thrift_int(r, &field); break;
        case 5: c->value_count = (uint64_t)parquet_thrift_int(r, &field); break;
        case 7: bytes = parquet_thrift_int(r, &field); break;
        case 9: data = parquet_thrift_int(r, &field); break;
        case 11: dictionary = parquet_thrift_int(r, &field); break;
        default: parquet_thrift_skip(r, &field); break;
        }
    }
    /* The dictionary stands before the data; 0 is how some say that there is none. */
    c->offset = (uint64_t)(dictionary > 0 && dictionary < data ? dictionary : data);
    c->end = c->offset + (uint64_t)bytes;
    if (data < MAGIC_BYTES || bytes < 0 || c->value_count > INT64_MAX)
        reader_fail(r);
}

static enum err read_chunk(struct parquet_file *f, struct reader *r, uint32_t column,
                           struct parquet_chunk *c)
{
    struct parquet_thrift_field field = {0};
    int64_t type = TYPE_NONE;

    while (parquet_thrift_next(r, &field)) {
        if (field.id == 1)
            return err_detail_set(f->detail, ERR_UNSUPPORTED, "columns in other files");
        if (field.id == 3 && field.type == THRIFT_STRUCT)
            read_column_meta(r, c, &type);
        else
            parquet_thrift_skip(r, &field);
    }
    if (reader_failed(r) || c->end < c->offset || c->end > f->source.bytes ||
        type != (int64_t)f->leaves[column]->type)
        return bad(f, "a column that lies nowhere, or is of another type than the schema says");
    return ERR_OK;
}

static enum err read_group(struct parquet_file *f, struct reader *r, uint32_t group)
{
    struct parquet_thrift_field field = {0};
    bool has_columns = false;

    while (parquet_thrift_next(r, &field)) {
        if (field.id == 3) {
            f->group_rows[group] = (uint64_t)parquet_thrift_int(r, &field);
            continue;
        }
        if (field.id != 1) {
            parquet_thrift_skip(r, &field);
            continue;
        }
        uint32_t count = parquet_thrift_list(r, &field, THRIFT_STRUCT);
        if (reader_failed(r) || count != f->leaf_count || has_columns)
            return bad(f, "a row group without all columns");
        has_columns = true;
        for (uint32_t i = 0; i < count; i++) {
            enum err e = read_chunk(f, r, i, &f->chunks[(size_t)group * f->leaf_count + i]);
            if (e != ERR_OK)
                return e;
        }
    }
    return reader_failed(r) || !has_columns ? bad(f, "a row group without columns") : ERR_OK;
}

static enum err read_groups(struct parquet_file *f, struct reader *r,
                            const struct parquet_thrift_field *field)
{
    uint32_t count = parquet_thrift_list(r, field, THRIFT_STRUCT);

    /* What a column takes at least bounds what is allocated for all. */
    if (reader_failed(r) || f->leaves == NULL || f->chunks != NULL ||
        (uint64_t)count * f->leaf_count > reader_left(r) / COLUMN_BYTES_LEAST)
        return bad(f, "its row groups");
    f->chunks = ARENA_ARRAY(&f->arena, struct parquet_chunk, (size_t)count * f->leaf_count);
    f->group_rows = ARENA_ARRAY(&f->arena, uint64_t, count);
    if (f->chunks == NULL || f->group_rows == NULL)
        return arena_err(&f->arena);
    f->group_count = count;
    for (uint32_t i = 0; i < count; i++) {
        enum err e = read_group(f, r, i);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err read_file_meta(struct parquet_file *f, struct slice footer)
{
    struct reader r = reader_of(footer);
    struct parquet_thrift_field field = {0};
    uint64_t rows = 0;
    enum err e = ERR_OK;

    while (e == ERR_OK && parquet_thrift_next(&r, &field)) {
        switch (field.id) {
        case 2: e = read_schema(f, &r, &field); break;
        case 3: f->row_count = (uint64_t)parquet_thrift_int(&r, &field); break;
        case 4: e = read_groups(f, &r, &field); break;
        case 8: e = err_detail_set(f->detail, ERR_UNSUPPORTED, "an encrypted file"); break;
        default: parquet_thrift_skip(&r, &field); break;
        }
    }
    if (e != ERR_OK)
        return e;
    if (reader_failed(&r) || f->leaves == NULL || f->chunks == NULL)
        return bad(f, "its footer");
    for (uint32_t i = 0; i < f->group_count; i++) {
        if (f->group_rows[i] > f->row_count - rows)
            return bad(f, "its row groups have more rows than the file");
        rows += f->group_rows[i];
    }
    return rows == f->row_count ? ERR_OK : bad(f, "its row groups have fewer rows than the file");
}

enum err parquet_meta_read(struct parquet_file *f)
{
    const struct parquet_source *s = &f->source;
    uint8_t tail[TAIL_BYTES];

    if (s->bytes < MAGIC_BYTES + TAIL_BYTES)
        return bad(f, "it is too short");
    enum err e = s->read(s->arg, s->bytes - TAIL_BYTES, tail, TAIL_BYTES);
    if (e != ERR_OK)
        return e;
    uint32_t len = le32_read(tail);
    if (memcmp(tail + 4, MAGIC, MAGIC_BYTES) != 0)
        return memcmp(tail + 4, "PARE", MAGIC_BYTES) == 0
                   ? err_detail_set(f->detail, ERR_UNSUPPORTED, "an encrypted file")
                   : bad(f, "it does not end with PAR1");
    if (len > PARQUET_FOOTER_BYTES_MAX || len > s->bytes - TAIL_BYTES - MAGIC_BYTES)
        return bad(f, "the length of its footer");
    uint8_t *footer = arena_alloc(&f->arena, len); /* names point into it */
    if (footer == NULL)
        return arena_err(&f->arena);
    e = s->read(s->arg, s->bytes - TAIL_BYTES - len, footer, len);
    return e == ERR_OK ? read_file_meta(f, (struct slice){footer, len}) : e;
}
