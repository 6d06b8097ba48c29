#include "common/store/block_walk.h"

/* Names for people; the order of enum block_stream. */
static const struct {
    const char *name;
    enum seg_table table;
} streams[] = {
    {"span id", SEG_SPAN},      {"depth", SEG_SPAN},       {"orphans", SEG_SPAN},
    {"start", SEG_SPAN},        {"duration", SEG_SPAN},    {"name", SEG_SPAN},
    {"kind", SEG_SPAN},         {"status", SEG_SPAN},      {"resource", SEG_SPAN},
    {"scope", SEG_SPAN},        {"shape", SEG_SPAN},       {"shape", SEG_RESOURCE},
    {"shape", SEG_SCOPE},       {"shape", SEG_EVENT},      {"shape", SEG_LINK},
    {"trace id", SEG_SPAN},     {"trace spans", SEG_SPAN}, {"trace start", SEG_SPAN},
    {"trace length", SEG_SPAN}, {"trace flags", SEG_SPAN}, {"span", SEG_EVENT},
    {"time", SEG_EVENT},        {"name", SEG_EVENT},       {"span", SEG_LINK},
    {"trace id", SEG_LINK},     {"span id", SEG_LINK},
};
_Static_assert(sizeof streams / sizeof streams[0] == BLOCK_STREAM_COUNT, "a name for each stream");

static const char *const fields[] = {
    "status message", "trace state",   "flags",          "dropped attributes",
    "dropped events", "dropped links", "has status",     "schema URL",
    "scope name",     "scope version", "unknown fields",
};
_Static_assert(sizeof fields / sizeof fields[0] == SEG_FIELD_COUNT, "a name for each field");

const char *block_walk_table(enum seg_table t)
{
    static const char *const names[] = {"span", "resource", "scope", "event", "link"};
    return names[t];
}

static enum err walk_refs(const struct block_ref *refs, uint32_t count, struct block_walk_page *p,
                          block_walk_fn *fn, void *arg)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        if (refs[i].bytes == 0)
            continue;
        p->group = i;
        p->ref = refs[i];
        e = fn(arg, p);
        p->is_first = false;
    }
    return e;
}

static uint8_t column_kind(const struct block_column *c)
{
    switch ((enum seg_type)c->type) {
    case SEG_INT: return BLOCK_PAGE_INTS;
    case SEG_DOUBLE: return BLOCK_PAGE_DOUBLES;
    case SEG_BOOL: return BLOCK_PAGE_BOOLS;
    case SEG_STR:
    case SEG_ANY: return c->form == BLOCK_FORM_DICT ? BLOCK_PAGE_CODES : BLOCK_PAGE_ANY_TEXTS;
    case SEG_TYPE_COUNT: break;
    }
    return 0;
}

static enum err walk_columns(const struct block_index *x, block_walk_fn *fn, void *arg)
{
    enum err e = ERR_OK;
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t i = 0; e == ERR_OK && i < x->column_count[t]; i++) {
            const struct block_column *c = &x->columns[t][i];
            bool is_field = c->field != SEGMENT_ROWS_ATTRIBUTE;
            struct block_walk_page p = {.class = BLOCK_PART_COLUMN,
                                        .table = (enum seg_table)t,
                                        .is_shared = block_is_shared((enum seg_table)t),
                                        .name = is_field ? fields[c->field] : "",
                                        .column = c,
                                        .number = i,
                                        .kind = column_kind(c),
                                        .is_first = true};
            e = walk_refs(c->pages, block_parts(x, (enum seg_table)t), &p, fn, arg);
        }
    return e;
}

static enum err walk_dictionaries(const struct block_index *x, block_walk_fn *fn, void *arg)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < x->dict_count; i++) {
        struct block_walk_page p = {.class = BLOCK_PART_DICTIONARY,
                                    .is_shared = true,
                                    .number = i,
                                    .name = "texts",
                                    .kind = BLOCK_PAGE_DICT,
                                    .is_first = true};
        for (uint32_t c = 0; e == ERR_OK && c < x->dicts[i].chunk_count; c++)
            e = walk_refs(&x->dicts[i].chunks[c].texts, 1, &p, fn, arg);
        p.name = "lists";
        p.kind = BLOCK_PAGE_LISTS;
        p.is_first = true;
        for (uint32_t c = 0; e == ERR_OK && c < x->dicts[i].chunk_count; c++)
            e = walk_refs(&x->dicts[i].chunks[c].lists, 1, &p, fn, arg);
    }
    return e;
}

static enum err walk_filters(const struct block_index *x, block_walk_fn *fn, void *arg)
{
    enum err e = ERR_OK;
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t i = 0; e == ERR_OK && i < x->column_count[t]; i++) {
            const struct block_column *c = &x->columns[t][i];
            uint32_t n =
                c->filters == NULL ? 0 : block_filter_count(block_parts(x, (enum seg_table)t));
            struct block_walk_page p = {.class = BLOCK_PART_FILTER,
                                        .table = (enum seg_table)t,
                                        .is_shared = true,
                                        .name = "",
                                        .column = c,
                                        .number = i,
                                        .kind = BLOCK_PAGE_FILTER,
                                        .is_first = true};
            for (uint32_t k = 0; e == ERR_OK && k < n; k++)
                e = walk_refs(c->filters[k].pages, c->filters[k].page_count, &p, fn, arg);
        }
    return e;
}

enum err block_walk(const struct block_index *x, block_walk_fn *fn, void *arg)
{
    enum err e = ERR_OK;
    for (int s = 0; e == ERR_OK && s < BLOCK_STREAM_COUNT; s++) {
        enum seg_table parts = block_stream_table((enum block_stream)s);
        struct block_walk_page p = {.class = BLOCK_PART_STREAM,
                                    .table = streams[s].table,
                                    .is_shared = block_is_shared(parts),
                                    .name = streams[s].name,
                                    .number = (uint32_t)s,
                                    .kind = (uint8_t)(BLOCK_PAGE_STREAM + s),
                                    .is_first = true};
        e = walk_refs(x->streams[s], block_parts(x, parts), &p, fn, arg);
    }
    if (e == ERR_OK)
        e = walk_columns(x, fn, arg);
    if (e == ERR_OK)
        e = walk_dictionaries(x, fn, arg);
    if (e == ERR_OK)
        e = walk_filters(x, fn, arg);
    for (uint32_t i = 0; e == ERR_OK && i < x->chunk_count; i++) {
        struct block_walk_page p = {.class = BLOCK_PART_LOCATOR,
                                    .is_shared = true,
                                    .name = "chunk",
                                    .number = i,
                                    .kind = BLOCK_PAGE_LOCATOR,
                                    .is_first = true};
        e = walk_refs(&x->chunks[i].page, 1, &p, fn, arg);
    }
    struct block_walk_page flagged = {.class = BLOCK_PART_FLAGGED,
                                      .is_shared = true,
                                      .name = "trace ids",
                                      .kind = BLOCK_PAGE_FLAGGED,
                                      .is_first = true};
    return e == ERR_OK ? walk_refs(&x->flagged, 1, &flagged, fn, arg) : e;
}
