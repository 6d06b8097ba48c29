#include "common/base/trace_id.h"
#include "common/cli/cli_fetch.h"
#include "common/cli/cli_table.h"
#include "common/cli/cli_text.h"
#include "common/cli/cli_time.h"
#include "common/cli/cli_tree.h"
#include "common/codec/pb_field.h"

#include <stdio.h>

enum { BAR_COLUMNS = 24, BAR_COLUMNS_NARROW = 16, NARROW = 100, TRACE_COLUMNS = 5 };

/* TraceByIDResponse. */
static enum err read_answer(struct slice body, struct slice *ret_trace, struct slice *ret_message,
                            struct err_detail *detail)
{
    struct reader r = reader_of(body);
    struct pb_field f;

    *ret_trace = *ret_message = SLICE_NONE;
    while (pb_field_next(&r, &f)) {
        if (f.wire == WIRE_BYTES && f.number == 1)
            *ret_trace = f.bytes;
        if (f.wire == WIRE_BYTES && f.number == 4)
            *ret_message = f.bytes;
    }
    return reader_failed(&r) ? err_detail_set(detail, ERR_FORMAT, "the answer can not be read")
                             : ERR_OK;
}

/* Where a span lies in its trace. */
static void put_bar(const struct cli_tree *t, const struct cli_tree_span *s, unsigned columns,
                    struct buf *out)
{
    double whole = (double)(t->end_ns - t->start_ns),
           scale = whole > 0 ? (double)columns / whole : 0;
    unsigned from = (unsigned)((double)(s->start_ns - t->start_ns) * scale);
    unsigned len = (unsigned)((double)(s->end_ns - s->start_ns) * scale + 0.5);

    from = from >= columns ? columns - 1 : from;
    len = len > columns - from ? columns - from : len;
    cli_text_repeat(out, " ", from);
    cli_text_repeat(out, "█", len);
    if (len == 0)
        buf_append_str(out, "▏");
}

static void put_span(struct cli *c, const struct cli_tree *t, int32_t at, struct cli_table *table)
{
    static const char *const statuses[] = {"", "ok", "error"};
    const struct cli_tree_span *s = &t->spans[at];
    char duration[CLI_TIME_BYTES];
    struct buf name, bar;

    buf_init(&name, SIZE_MAX / 2);
    buf_init(&bar, SIZE_MAX / 2);
    cli_tree_put_branch(t, at, &name);
    buf_append(&name, s->name);
    put_bar(t, s, c->width != 0 && c->width < NARROW ? BAR_COLUMNS_NARROW : BAR_COLUMNS, &bar);
    cli_time_put_duration(s->end_ns - s->start_ns, duration);
    c->out.err = buf_err(&name) != ERR_OK  ? buf_err(&name)
                 : buf_err(&bar) != ERR_OK ? buf_err(&bar)
                                           : c->out.err;
    if (buf_err(&c->out) == ERR_OK)
        cli_table_row(table,
                      (const struct slice[TRACE_COLUMNS]){
                          buf_slice(&name), s->service, slice_str(duration),
                          slice_str(s->status > 2 ? "?" : statuses[s->status]), buf_slice(&bar)});
    buf_release(&name);
    buf_release(&bar);
}

static void put_head(struct cli *c, const struct cli_tree *t, const char *id)
{
    char start[CLI_TIME_BYTES], zone[CLI_TIME_BYTES], duration[CLI_TIME_BYTES];

    cli_time_put(t->start_ns, CLI_TIME_MS, c->options.is_utc, start);
    cli_time_put_zone(t->start_ns, c->options.is_utc, zone);
    cli_time_put_duration(t->end_ns - t->start_ns, duration);
    buf_appendf(&c->out, "trace %s\n%s %s, %s, %u span%s, %u service%s, %u error%s\n\n", id, start,
                zone, duration, t->count, t->count == 1 ? "" : "s", t->service_count,
                t->service_count == 1 ? "" : "s", t->error_count, t->error_count == 1 ? "" : "s");
}

static void put_trace(struct cli *c, const struct cli_tree *t, const char *id)
{
    static const struct cli_column columns[TRACE_COLUMNS] = {{"SPAN", false, true},
                                                             {"SERVICE", false, true},
                                                             {"DURATION", true, false},
                                                             {"STATUS", false, false},
                                                             {"TIME LINE", false, false}};
    struct cli_table table;

    put_head(c, t, id);
    cli_table_init(&table, &c->arena, columns, TRACE_COLUMNS);
    for (uint32_t i = 0; i < t->count; i++)
        put_span(c, t, t->listed[i], &table);
    cli_table_write(&table, c->width, &c->out);
}

static enum err trace_table(struct cli *c, struct slice body, const char *id)
{
    struct slice trace, message;
    struct cli_tree t;

    enum err e = read_answer(body, &trace, &message, &c->detail);
    if (e == ERR_OK)
        e = cli_tree_of(trace, &c->arena, &t, &c->detail);
    if (e != ERR_OK)
        return e;
    if (t.count > 0)
        put_trace(c, &t, id);
    return cli_fetch_end(c, t.count, message);
}

enum err cli_trace(struct cli *c)
{
    struct trace_id id;
    char hex[TRACE_ID_HEX + 1];
    struct slice body;
    bool is_there = false;

    enum err e = trace_id_from_hex(slice_str(c->options.operand), &id, &c->detail);
    if (e == ERR_OK)
        e = cli_ask_url(c, "/api/v2/traces/");
    if (e != ERR_OK)
        return e;
    trace_id_to_hex(id, hex);
    cli_ask_path(c, hex);
    cli_ask_param_u64(c, "start", (uint64_t)(c->start_ns / 1000000000));
    cli_ask_param_u64(c, "end", (uint64_t)(c->end_ns / 1000000000));
    e = cli_ask(c, !c->is_json, &body);
    if (e != ERR_OK)
        return e;
    if (!c->is_json)
        return trace_table(c, body, hex);
    cli_out_json(c, body, false);
    e = cli_answer_has_trace_json(body, &is_there, &c->detail);
    return e == ERR_OK ? cli_fetch_end(c, is_there, SLICE_NONE) : e;
}
