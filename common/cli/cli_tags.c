#include "common/base/clock.h"
#include "common/cli/cli_fetch.h"
#include "common/cli/cli_table.h"

static enum err run(struct cli *c, const struct cli_fetch *how, const char *group, const char *text)
{
    const struct cli_column columns[] = {{group, false, false}, {text, false, true}};
    struct cli_answer answer;
    struct cli_table table;
    enum err e = cli_fetch(c, how, &answer);

    if (e != ERR_OK)
        return e;
    cli_table_init(&table, &c->arena, columns, 2);
    for (uint32_t i = 0; i < answer.tag_count; i++)
        cli_table_row(&table, (const struct slice[]){answer.tags[i].group, answer.tags[i].text});
    if (!c->is_json && answer.tag_count > 0)
        cli_table_write(&table, c->width, &c->out);
    return cli_fetch_end(c, answer.tag_count, answer.message);
}

/* Field numbers of the request: its own text, the filter, start, end, the limit. */
static enum err ask(struct cli *c, enum cli_message kind, const char *own, const uint32_t fields[5])
{
    uint64_t start = (uint64_t)(c->start_ns / NS_PER_S),
             end = (uint64_t)((c->end_ns - 1) / NS_PER_S + 1);
    struct buf request;

    cli_ask_param(c, "q", c->options.filter);
    cli_ask_param_u64(c, "start", start);
    cli_ask_param_u64(c, "end", end);
    cli_ask_param_u64(c, "limit", c->limit);
    buf_init(&request, CLI_URL_BYTES_MAX);
    cli_message_text(&request, fields[0], own);
    cli_message_text(&request, fields[1], c->options.filter);
    cli_message_number(&request, fields[2], start);
    cli_message_number(&request, fields[3], end);
    cli_message_number(&request, fields[4], c->limit);
    const struct cli_fetch how = {.kind = kind, .request = buf_slice(&request)};
    enum err e = buf_err(&request);
    if (e == ERR_OK)
        e = run(c, &how, kind == CLI_MESSAGE_TAGS ? "SCOPE" : "TYPE",
                kind == CLI_MESSAGE_TAGS ? "TAG" : "VALUE");
    buf_release(&request);
    return e;
}

enum err cli_tags(struct cli *c)
{
    static const uint32_t fields[5] = {1, 2, 3, 4, 5};
    enum err e = cli_ask_url(c, "/api/v2/search/tags");

    cli_ask_param(c, "scope", c->options.scope);
    return e == ERR_OK ? ask(c, CLI_MESSAGE_TAGS, c->options.scope, fields) : e;
}

enum err cli_values(struct cli *c)
{
    static const uint32_t fields[5] = {1, 2, 4, 5, 6};
    enum err e = cli_ask_url(c, "/api/v2/search/tag/");

    cli_ask_path(c, c->options.operand);
    buf_append_str(&c->url, "/values");
    return e == ERR_OK ? ask(c, CLI_MESSAGE_VALUES, c->options.operand, fields) : e;
}
