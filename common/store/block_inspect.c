/* What takes the space of a block. */
#include "common/store/block_inspect.h"

#include "common/base/bytes.h"
#include "common/store/block_reader.h"
#include "common/store/block_walk.h"

const char *block_part_class_name(enum block_part_class class)
{
    static const char *const names[] = {"stream",  "column",  "dictionary", "filter",
                                        "locator", "flagged", "footer"};
    return names[class];
}

struct inspection {
    struct block *b;
    struct arena tmp;
    block_part_fn *fn;
    void *arg;
    struct block_part part; /* being added up */
    bool has_part;
};

static void part_begin(struct inspection *in, const struct block_walk_page *p)
{
    static const char *const types[] = {"text", "int", "double", "bool", "any"};
    static const char *const forms[] = {"numbers", "dictionary", "plain"};
    bool has_table = p->class == BLOCK_PART_STREAM || p->class == BLOCK_PART_COLUMN;
    in->part = (struct block_part){.class = p->class,
                                   .table = has_table ? block_walk_table(p->table) : "",
                                   .name = p->name,
                                   .type = "",
                                   .form = "",
                                   .dictionary = UINT32_MAX};
    if (p->class == BLOCK_PART_DICTIONARY)
        in->part.dictionary = p->number;
    if (p->class == BLOCK_PART_FILTER) {
        in->part.table = block_walk_table(p->table);
        in->part.key = p->column->key;
    }
    if (p->class == BLOCK_PART_COLUMN) {
        in->part.key = p->column->key;
        in->part.type = types[p->column->type];
        in->part.form = forms[p->column->form];
        if (p->column->form == BLOCK_FORM_DICT)
            in->part.dictionary = p->column->dict;
    }
    in->has_part = true;
}

static enum err part_end(struct inspection *in)
{
    enum err e = in->has_part ? in->fn(in->arg, &in->part) : ERR_OK;
    in->has_part = false;
    return e;
}

static enum err inspect_page(void *arg, const struct block_walk_page *p)
{
    struct inspection *in = arg;
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    uint64_t io_bytes = 0;
    enum err e = ERR_OK;
    /* All chunks of the locator are one part. */
    if (p->is_first && !(p->class == BLOCK_PART_LOCATOR && p->number != 0)) {
        e = part_end(in);
        part_begin(in, p);
    }
    if (e == ERR_OK)
        e = block_page(in->b, &p->ref, p->kind, &in->tmp, &io_bytes, &page, &raw);
    if (e == ERR_OK) {
        in->part.pages++;
        in->part.stored_bytes += p->ref.bytes;
        in->part.raw_bytes += raw.len;
        in->part.values += page.count;
    }
    arena_reset(&in->tmp);
    return e;
}

enum err block_inspect(struct block *b, struct budget *budget, block_part_fn *fn, void *arg)
{
    struct inspection in = {.b = b, .fn = fn, .arg = arg};
    struct block_part footer = {.class = BLOCK_PART_FOOTER,
                                .table = "",
                                .name = "index",
                                .type = "",
                                .form = "",
                                .dictionary = UINT32_MAX,
                                .pages = 1,
                                .values = 1};
    uint8_t trailer[BLOCK_TRAILER_BYTES];
    arena_init(&in.tmp, budget);
    enum err e = block_walk(&b->index, inspect_page, &in);
    if (e == ERR_OK)
        e = part_end(&in);
    arena_release(&in.tmp);
    if (e == ERR_OK)
        e = b->object->ops->read(b->object, OBJECT_FOOTER, b->object->bytes - sizeof trailer,
                                 trailer, sizeof trailer);
    if (e != ERR_OK)
        return e;
    /* With header and trailer the parts add up to the file. */
    footer.stored_bytes = le32_read(trailer + 8) + BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES;
    footer.raw_bytes = footer.stored_bytes;
    return fn(arg, &footer);
}

void block_summary(const struct block *b, struct block_summary *ret)
{
    const struct block_index *x = &b->index;
    *ret = (struct block_summary){.groups = x->group_count,
                                  .resources = x->row_count[SEG_RESOURCE],
                                  .scopes = x->row_count[SEG_SCOPE]};
    for (uint32_t g = 0; g < x->group_count; g++) {
        ret->events += x->groups[g].rows[SEG_EVENT];
        ret->links += x->groups[g].rows[SEG_LINK];
    }
    for (int t = 0; t < SEG_TABLE_COUNT; t++) {
        ret->columns[t] = x->column_count[t];
        ret->shapes[t] = x->shape_count[t];
    }
}

void block_group_rows(const struct block *b, uint32_t group, uint32_t ret_rows[SEG_TABLE_COUNT],
                      uint32_t *ret_traces)
{
    memcpy(ret_rows, b->index.groups[group].rows, SEG_TABLE_COUNT * sizeof *ret_rows);
    *ret_traces = b->index.groups[group].trace_count;
}
