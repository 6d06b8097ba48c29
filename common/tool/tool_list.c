#include "common/tool/tool.h"

static void list_json(struct tool *t, const struct tool_block *b, const struct block_meta *m)
{
    struct json_out *j = &t->json;
    char time[32];

    json_out_begin_object(j);
    json_out_key(j, "tenant");
    json_out_cstring(j, b->tenant);
    json_out_key(j, "id");
    json_out_cstring(j, b->id);
    json_out_key(j, "start");
    tool_out_time(m->min_start_ns, time);
    json_out_cstring(j, time);
    json_out_key(j, "end");
    tool_out_time(m->max_end_ns, time);
    json_out_cstring(j, time);
    const struct {
        const char *key;
        uint64_t v;
    } numbers[] = {{"startUnixNano", m->min_start_ns},
                   {"endUnixNano", m->max_end_ns},
                   {"spans", m->span_count},
                   {"traces", m->trace_count},
                   {"flagged", m->flagged_count},
                   {"groups", m->group_count},
                   {"bytes", m->bytes},
                   {"version", m->version}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_out_key(j, numbers[i].key);
        json_out_u64(j, numbers[i].v);
    }
    json_out_key(j, "writer");
    json_out_cstring(j, m->writer);
    json_out_end_object(j);
}

static void list_line(struct tool *t, const struct tool_block *b, const struct block_meta *m)
{
    char start[32], end[32];

    tool_out_time(m->min_start_ns, start);
    tool_out_time(m->max_end_ns, end);
    buf_appendf(&t->out, "%-24s %s %s %s %12llu %10llu %14llu  v%u\n", b->tenant, b->id, start, end,
                (unsigned long long)m->span_count, (unsigned long long)m->trace_count,
                (unsigned long long)m->bytes, m->version);
}

/* A block whose meta.json can not be read is told, and does not hide the others. */
enum err tool_list(struct tool *t)
{
    struct tool_block *all;
    enum err e = tool_blocks(t, &all), bad = ERR_OK;

    if (e != ERR_OK)
        return e;
    if (t->options.is_json)
        json_out_begin_array(&t->json);
    else
        buf_appendf(&t->out, "%-24s %-36s %-24s %-24s %12s %10s %14s  %s\n", "TENANT", "BLOCK",
                    "START", "END", "SPANS", "TRACES", "BYTES", "FORMAT");
    for (; e == ERR_OK && all != NULL; all = all->next) {
        struct block_meta m;
        enum err at = tool_block_meta(t, all, &m);
        if (at == ERR_NOT_FOUND)
            continue; /* removed in this moment */
        if (at != ERR_OK) {
            if (!t->options.is_json)
                buf_appendf(&t->out, "%-24s %s meta.json can not be read: %s\n", all->tenant,
                            all->id, err_name(at));
            bad = err_detail_set(&t->detail, ERR_CORRUPT,
                                 "%s/%s: meta.json can not be read (%s); verify tells more",
                                 all->tenant, all->id, err_name(at));
            continue;
        }
        if (t->options.is_json)
            list_json(t, all, &m);
        else
            list_line(t, all, &m);
        e = tool_out_flush(t, false);
    }
    if (t->options.is_json) {
        json_out_end_array(&t->json);
        buf_append_byte(&t->out, '\n');
    }
    return e == ERR_OK ? bad : e;
}
