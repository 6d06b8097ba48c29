#include "common/model/segment.h"
#include "common/tool/tool.h"

enum { REQUEST_SPANS = 1000 }; /* a request is ended at the first trace that has brought it there */

static enum err write_rows(struct tool *t, struct segment *s, const uint32_t *rows, uint32_t count,
                           struct buf *otlp)
{
    buf_reset(otlp);
    enum err e = segment_write_otlp(s, rows, count, otlp);
    return e == ERR_OK ? tool_out_request(t, buf_slice(otlp)) : e;
}

/* In a block the rows of a trace follow each other, and so do traces. */
static enum err dump_group(struct tool *t, struct block *b, uint32_t group, struct buf *otlp)
{
    struct segment *s = NULL;
    struct seg_traces traces;
    struct arena tmp;
    uint32_t first = 0, count = 0;
    enum err e = block_segment(b, group, &t->memory, &s);

    if (e != ERR_OK)
        return e;
    arena_init(&tmp, &t->memory);
    e = segment_traces(s, &traces);
    uint32_t *rows = e == ERR_OK ? arena_alloc(&tmp, s->row_count[SEG_SPAN] * sizeof *rows) : NULL;
    if (e == ERR_OK && rows == NULL)
        e = arena_err(&tmp);
    for (uint32_t i = 0; e == ERR_OK && i < s->row_count[SEG_SPAN]; i++)
        rows[i] = i;
    for (uint32_t i = 0; e == ERR_OK && i < s->trace_count; i++) {
        count += traces.span_count[i];
        if (count < REQUEST_SPANS && i + 1 < s->trace_count)
            continue;
        e = write_rows(t, s, rows + first, count, otlp);
        first += count;
        count = 0;
    }
    arena_release(&tmp);
    segment_close(s);
    return e;
}

static enum err dump_trace(struct tool *t, struct block *b, struct trace_id id, struct buf *otlp)
{
    struct segment *s = NULL;
    struct arena tmp;
    const uint32_t *rows;
    uint32_t group, trace, count;
    enum err e = block_find_trace(b, id, &group, &trace);

    if (e == ERR_NOT_FOUND)
        return err_detail_set(&t->detail, e, "the block has no trace %.40s", t->options.trace);
    if (e == ERR_OK)
        e = block_segment(b, group, &t->memory, &s);
    if (e != ERR_OK)
        return e;
    arena_init(&tmp, &t->memory);
    e = segment_trace_rows(s, trace, &tmp, &rows, &count);
    if (e == ERR_OK)
        e = write_rows(t, s, rows, count, otlp);
    arena_release(&tmp);
    segment_close(s);
    return e;
}

enum err tool_dump(struct tool *t)
{
    const char *word = tool_operand(t, 0);
    struct trace_id id;
    struct tool_block at;
    struct block *b = NULL;
    struct buf otlp;

    if (word == NULL || tool_operand(t, 1) != NULL)
        return tool_misuse(t, "dump BLOCK");
    if (t->options.trace != NULL &&
        trace_id_from_hex(slice_str(t->options.trace), &id, &t->detail) != ERR_OK)
        return ERR_INVALID;
    enum err e = tool_block_of(t, word, &at);
    if (e == ERR_OK)
        e = tool_block_open(t, &at, &b);
    if (e != ERR_OK)
        return e;
    buf_init(&otlp, TOOL_REQUEST_BYTES_MAX);
    if (t->options.trace != NULL)
        e = dump_trace(t, b, id, &otlp);
    for (uint32_t g = 0; t->options.trace == NULL && e == ERR_OK && g < block_group_count(b); g++)
        e = dump_group(t, b, g, &otlp);
    buf_release(&otlp);
    block_unref(b);
    if (e != ERR_OK && t->detail.text[0] == '\0')
        e = err_detail_set(&t->detail, e, "%s/%s can not be read (%s); verify tells where",
                           at.tenant, at.id, err_name(e));
    return e;
}
