#include "common/store/block_inspect.h"
#include "common/tool/tool.h"

#include <stdlib.h>

static const char *const tables[] = {"span", "resource", "scope", "event", "link"};

struct parts { /* what block_inspect told, kept for sorting */
    struct tool *t;
    struct block_part *items;
    uint32_t count, cap;
};

static enum err keep_part(void *arg, const struct block_part *p)
{
    struct parts *parts = arg;

    if (parts->count == parts->cap) {
        uint32_t cap = parts->cap == 0 ? 256 : parts->cap * 2;
        struct block_part *items = arena_alloc(&parts->t->arena, cap * sizeof *items);
        if (items == NULL)
            return arena_err(&parts->t->arena);
        if (parts->count != 0)
            memcpy(items, parts->items, parts->count * sizeof *items);
        parts->items = items;
        parts->cap = cap;
    }
    parts->items[parts->count++] = *p;
    return ERR_OK;
}

static int by_bytes(const void *a, const void *b)
{
    const struct block_part *x = a, *y = b;
    if (x->stored_bytes != y->stored_bytes)
        return x->stored_bytes > y->stored_bytes ? -1 : 1;
    return (int)x->class - (int)y->class;
}

static void text_member(struct json_out *j, const char *key, const char *text)
{
    if (text[0] != '\0') {
        json_out_key(j, key);
        json_out_cstring(j, text);
    }
}

static void number_member(struct json_out *j, const char *key, uint64_t v)
{
    json_out_key(j, key);
    json_out_u64(j, v);
}

static void part_json(struct json_out *j, const struct block_part *p)
{
    json_out_begin_object(j);
    text_member(j, "class", block_part_class_name(p->class));
    text_member(j, "table", p->table);
    text_member(j, "name", p->name);
    if (p->class == BLOCK_PART_COLUMN && p->name[0] == '\0') {
        json_out_key(j, "key");
        json_out_string(j, p->key);
    }
    text_member(j, "type", p->type);
    text_member(j, "form", p->form);
    if (p->dictionary != UINT32_MAX)
        number_member(j, "dictionary", p->dictionary);
    number_member(j, "pages", p->pages);
    number_member(j, "bytes", p->stored_bytes);
    number_member(j, "rawBytes", p->raw_bytes);
    number_member(j, "values", p->values);
    json_out_end_object(j);
}

static void groups_json(struct json_out *j, struct block *b)
{
    json_out_key(j, "groups");
    json_out_begin_array(j);
    for (uint32_t g = 0; g < block_group_count(b); g++) {
        uint32_t rows[SEG_TABLE_COUNT], traces;
        uint64_t start, end;
        block_group_rows(b, g, rows, &traces);
        block_group_range(b, g, &start, &end);
        json_out_begin_object(j);
        number_member(j, "spans", rows[SEG_SPAN]);
        number_member(j, "events", rows[SEG_EVENT]);
        number_member(j, "links", rows[SEG_LINK]);
        number_member(j, "traces", traces);
        number_member(j, "startUnixNano", start);
        number_member(j, "endUnixNano", end);
        json_out_end_object(j);
    }
    json_out_end_array(j);
}

static void table_counts_json(struct json_out *j, const char *key,
                              const uint32_t counts[SEG_TABLE_COUNT])
{
    json_out_key(j, key);
    json_out_begin_object(j);
    for (int i = 0; i < SEG_TABLE_COUNT; i++)
        number_member(j, tables[i], counts[i]);
    json_out_end_object(j);
}

static void inspect_json(struct tool *t, struct block *b, const struct parts *parts)
{
    const struct block_meta *m = block_meta(b);
    struct json_out *j = &t->json;
    struct block_summary s;

    block_summary(b, &s);
    json_out_begin_object(j);
    text_member(j, "tenant", m->tenant);
    text_member(j, "id", m->id);
    text_member(j, "writer", m->writer);
    number_member(j, "version", m->version);
    number_member(j, "bytes", m->bytes);
    number_member(j, "spans", m->span_count);
    number_member(j, "traces", m->trace_count);
    number_member(j, "flagged", m->flagged_count);
    number_member(j, "resources", s.resources);
    number_member(j, "scopes", s.scopes);
    number_member(j, "events", s.events);
    number_member(j, "links", s.links);
    number_member(j, "lsnLo", m->lsn_lo);
    number_member(j, "lsnHi", m->lsn_hi);
    number_member(j, "startUnixNano", m->min_start_ns);
    number_member(j, "endUnixNano", m->max_end_ns);
    number_member(j, "createdUnixNano", m->created_ns);
    table_counts_json(j, "columns", s.columns);
    table_counts_json(j, "shapes", s.shapes);
    groups_json(j, b);
    json_out_key(j, "parts");
    json_out_begin_array(j);
    for (uint32_t i = 0; i < parts->count; i++)
        part_json(j, &parts->items[i]);
    json_out_end_array(j);
    json_out_end_object(j);
    buf_append_byte(&t->out, '\n');
}

/* Keys are anybody's bytes: what a terminal would obey is not shown as it stands. */
static void append_plain(struct buf *b, struct slice s)
{
    size_t n = s.len < 60 ? s.len : 60;
    for (size_t i = 0; i < n; i++)
        buf_append_byte(b, s.ptr[i] < ' ' || s.ptr[i] == 127 ? (uint8_t)'?' : s.ptr[i]);
}

static void inspect_table(struct tool *t, struct block *b, const struct parts *parts)
{
    const struct block_meta *m = block_meta(b);
    struct block_summary s;
    struct buf *out = &t->out;
    char start[32], end[32];

    block_summary(b, &s);
    tool_out_time(m->min_start_ns, start);
    tool_out_time(m->max_end_ns, end);
    buf_appendf(out, "block     %s/%s  format v%u  written by %s\n", m->tenant, m->id, m->version,
                m->writer[0] == '\0' ? "?" : m->writer);
    buf_appendf(out, "time      %s .. %s\n", start, end);
    buf_appendf(out, "rows      %llu spans, %llu traces (%llu flagged), %llu events, %llu links, ",
                (unsigned long long)m->span_count, (unsigned long long)m->trace_count,
                (unsigned long long)m->flagged_count, (unsigned long long)s.events,
                (unsigned long long)s.links);
    buf_appendf(out, "%u resources, %u scopes in %u groups\n", s.resources, s.scopes, s.groups);
    buf_appendf(out, "bytes     %llu, %.1f a span\n", (unsigned long long)m->bytes,
                (double)m->bytes / (double)m->span_count);
    for (int i = 0; i < SEG_TABLE_COUNT; i++)
        buf_appendf(out, "%-9s %u columns, %u shapes\n", tables[i], s.columns[i], s.shapes[i]);
    buf_appendf(out, "\n%12s %6s %12s %10s %6s  %-10s %-9s %-7s %-10s %-5s %s\n", "BYTES", "SHARE",
                "RAW", "VALUES", "PAGES", "CLASS", "TABLE", "TYPE", "FORM", "DICT", "NAME");
    for (uint32_t i = 0; i < parts->count; i++) {
        const struct block_part *p = &parts->items[i];
        char dictionary[16] = "";
        if (p->dictionary != UINT32_MAX)
            (void)snprintf(dictionary, sizeof dictionary, "%u", p->dictionary);
        buf_appendf(out, "%12llu %5.1f%% %12llu %10llu %6llu  %-10s %-9s %-7s %-10s %-5s %s",
                    (unsigned long long)p->stored_bytes,
                    100.0 * (double)p->stored_bytes / (double)m->bytes,
                    (unsigned long long)p->raw_bytes, (unsigned long long)p->values,
                    (unsigned long long)p->pages, block_part_class_name(p->class), p->table,
                    p->type, p->form, dictionary, p->name);
        append_plain(out, p->key);
        buf_append_byte(out, '\n');
    }
}

enum err tool_inspect(struct tool *t)
{
    const char *word = tool_operand(t, 0);
    struct parts parts = {.t = t};
    struct tool_block at;
    struct block *b = NULL;

    if (word == NULL || tool_operand(t, 1) != NULL)
        return tool_misuse(t, "inspect BLOCK");
    enum err e = tool_block_of(t, word, &at);
    if (e == ERR_OK)
        e = tool_block_open(t, &at, &b);
    if (e != ERR_OK)
        return e;
    e = block_inspect(b, &t->memory, keep_part, &parts);
    if (e != ERR_OK)
        e = err_detail_set(&t->detail, e, "%s/%s can not be read (%s); verify tells where",
                           at.tenant, at.id, err_name(e));
    if (e == ERR_OK) {
        qsort(parts.items, parts.count, sizeof *parts.items, by_bytes);
        if (t->options.is_json)
            inspect_json(t, b, &parts);
        else
            inspect_table(t, b, &parts);
    }
    block_unref(b);
    return e == ERR_OK ? buf_err(&t->out) : e;
}
