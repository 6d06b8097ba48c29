#include "common/base/clock.h"
#include "common/base/map.h"
#include "common/cli/cli_fetch.h"
#include "common/cli/cli_table.h"
#include "common/cli/cli_time.h"

enum { SEARCH_COLUMNS = 6 };

/* A trace that was written; of a stream. */
struct shown {
    const struct cli_found *found;
    UT_hash_handle hh; /* by trace id, in the order they were written */
};

struct search {
    struct cli *c;
    struct cli_column columns[SEARCH_COLUMNS];
    struct cli_table table;
    struct shown *shown;
};

static void search_init(struct search *s, struct cli *c)
{
    char zone[CLI_TIME_BYTES];

    cli_time_put_zone((uint64_t)c->end_ns, c->options.is_utc, zone);
    const char *start = arena_printf(&c->arena, "START %s", zone);
    *s = (struct search){.c = c,
                         .columns = {{"TRACE ID", false, false},
                                     {start == NULL ? "" : start, false, false},
                                     {"DURATION", true, false},
                                     {"SPANS", true, false},
                                     {"SERVICE", false, true},
                                     {"NAME", false, true}}};
    cli_table_init(&s->table, &c->arena, s->columns, SEARCH_COLUMNS);
}

static struct slice printed(struct arena *a, const char *text)
{
    return arena_dup(a, slice_str(text));
}

static void put_span(struct search *s, const struct cli_span *span)
{
    char duration[CLI_TIME_BYTES];
    struct buf line;

    cli_time_put_duration(span->duration_ns, duration);
    buf_init(&line, SIZE_MAX / 2);
    buf_appendf(&line, "  " SLICE_FMT "  %7s", SLICE_ARG(span->id), duration);
    const struct slice more[] = {span->name, span->attributes};
    for (size_t i = 0; i < 2; i++)
        if (more[i].len > 0)
            buf_appendf(&line, "  " SLICE_FMT, SLICE_ARG(more[i]));
    cli_table_line(&s->table, buf_slice(&line));
    buf_release(&line);
}

static void put_trace(struct search *s, const struct cli_found *found)
{
    struct cli *c = s->c;
    char start[CLI_TIME_BYTES], duration[CLI_TIME_BYTES];
    bool is_one_day = c->end_ns - c->start_ns <= 24 * 3600 * NS_PER_S;

    cli_time_put(found->start_ns, is_one_day ? CLI_TIME_OF_DAY : CLI_TIME_SECONDS,
                 c->options.is_utc, start);
    cli_time_put_duration(found->duration_ns, duration);
    const char *spans = arena_printf(&c->arena, "%llu", (unsigned long long)found->matched);
    const struct slice cells[SEARCH_COLUMNS] = {
        found->trace_id,
        printed(&c->arena, start),
        printed(&c->arena, duration),
        slice_str(spans == NULL || found->matched == 0 ? "" : spans),
        found->service,
        found->name};
    cli_table_row(&s->table, cells);
    if (c->spss > 0)
        for (uint32_t i = 0; i < found->span_count; i++)
            put_span(s, &found->spans[i]);
}

static bool is_shown(const struct search *s, const struct cli_found *found)
{
    struct shown *at;

    HASH_FIND(hh, s->shown, found->trace_id.ptr, found->trace_id.len, at);
    return at != NULL;
}

/* What is new of a stream's message, on a terminal. */
static void on_answer(void *arg, const struct cli_answer *answer)
{
    struct search *s = arg;
    struct cli *c = s->c;

    s->table.has_follow = true;
    for (uint32_t i = 0; i < answer->found_count; i++) {
        if (is_shown(s, &answer->found[i]))
            continue;
        struct shown *new = ARENA_NEW(&c->arena, struct shown);
        if (new == NULL)
            return;
        new->found = &answer->found[i];
        HASH_ADD_KEYPTR(hh, s->shown, new->found->trace_id.ptr, new->found->trace_id.len, new);
        put_trace(s, new->found);
    }
    if (s->shown == NULL)
        return;
    cli_table_write(&s->table, c->width, &c->out);
    if (cli_out_flush(c) != ERR_OK) /* told at the end */
        return;
}

static bool is_equal(const struct cli_found *a, const struct cli_found *b)
{
    return slice_eq(a->trace_id, b->trace_id) && slice_eq(a->service, b->service) &&
           slice_eq(a->name, b->name) && a->start_ns == b->start_ns &&
           a->duration_ns == b->duration_ns && a->matched == b->matched &&
           a->span_count == b->span_count;
}

/* Is what was written as it came the answer? */
static bool is_whole(const struct search *s, const struct cli_answer *answer)
{
    uint32_t i = 0;

    for (const struct shown *at = s->shown; at != NULL; at = at->hh.next, i++)
        if (i == answer->found_count || !is_equal(at->found, &answer->found[i]))
            return false;
    return i == answer->found_count;
}

static void put_answer(struct search *s, const struct cli_answer *answer)
{
    struct cli *c = s->c;

    if (s->shown != NULL && is_whole(s, answer))
        return;
    if (s->shown != NULL) { /* later messages changed or moved something */
        buf_append_str(&c->out, "\nall of it:\n");
        cli_table_init(&s->table, &c->arena, s->columns, SEARCH_COLUMNS);
    }
    for (uint32_t i = 0; i < answer->found_count; i++)
        put_trace(s, &answer->found[i]);
    if (answer->found_count > 0)
        cli_table_write(&s->table, c->width, &c->out);
}

static void put_request(struct cli *c, struct buf *request)
{
    cli_message_number(request, 4, c->limit);
    cli_message_number(request, 5, (uint64_t)(c->start_ns / NS_PER_S));
    cli_message_number(request, 6, (uint64_t)((c->end_ns - 1) / NS_PER_S + 1));
    cli_message_text(request, 8, c->options.operand);
    cli_message_number(request, 9, c->spss);
}

enum err cli_search(struct cli *c)
{
    struct cli_answer answer;
    struct search s;
    struct buf request;

    enum err e = cli_ask_url(c, "/api/search");
    if (e != ERR_OK)
        return e;
    cli_ask_param(c, "q", c->options.operand);
    cli_ask_param_u64(c, "start", (uint64_t)(c->start_ns / NS_PER_S));
    cli_ask_param_u64(c, "end", (uint64_t)((c->end_ns - 1) / NS_PER_S + 1));
    cli_ask_param_u64(c, "limit", c->limit);
    cli_ask_param_u64(c, "spss", c->spss);
    buf_init(&request, CLI_URL_BYTES_MAX);
    put_request(c, &request);
    search_init(&s, c);
    const struct cli_fetch how = {.kind = CLI_MESSAGE_SEARCH,
                                  .request = buf_slice(&request),
                                  .on_answer = c->is_terminal ? on_answer : NULL,
                                  .arg = &s};
    e = buf_err(&request) == ERR_OK ? cli_fetch(c, &how, &answer) : buf_err(&request);
    buf_release(&request);
    if (e == ERR_OK && c->limit > 0 && answer.found_count > c->limit)
        answer.found_count = (uint32_t)c->limit; /* of diffs that later ones outdid */
    if (e == ERR_OK && !c->is_json)
        put_answer(&s, &answer);
    HASH_CLEAR(hh, s.shown);
    return e == ERR_OK ? cli_fetch_end(c, answer.found_count, answer.message) : e;
}
