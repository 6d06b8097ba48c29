#include "common/cli/cli_fetch.h"

#include "common/cli/cli_text.h"

#include <stdio.h>

enum { MESSAGES_MAX = 100000, MESSAGES_AT_FIRST = 16 };

struct stream {
    struct cli *c;
    const struct cli_fetch *how;
    struct cli_answer *answers;
    uint32_t count, cap;
};

static enum err add_answer(struct stream *s, const struct cli_answer *answer)
{
    if (s->count == MESSAGES_MAX)
        return err_detail_set(&s->c->detail, ERR_TOO_LARGE, "the stream has no end");
    if (s->count == s->cap) {
        uint32_t cap = s->cap == 0 ? MESSAGES_AT_FIRST : 2 * s->cap;
        struct cli_answer *more = ARENA_ARRAY(&s->c->arena, struct cli_answer, cap);
        if (more == NULL)
            return arena_err(&s->c->arena);
        if (s->count > 0)
            memcpy(more, s->answers, s->count * sizeof *more);
        s->answers = more;
        s->cap = cap;
    }
    s->answers[s->count++] = *answer;
    return ERR_OK;
}

static enum err on_message(void *arg, struct slice message)
{
    struct stream *s = arg;
    struct cli *c = s->c;
    struct cli_answer answer;
    struct json_out j;
    struct buf json;

    buf_init(&json, CLI_ANSWER_BYTES_MAX);
    json_out_init(&j, &json);
    enum err e = cli_message_to_json(s->how->kind, message, &j);
    if (e != ERR_OK)
        e = err_detail_set(&c->detail, e, "a message of the stream can not be read (%s)",
                           err_name(e));
    if (e == ERR_OK)
        e = cli_answer_from_json(buf_slice(&json), &c->arena, &answer, &c->detail);
    if (e == ERR_OK)
        e = add_answer(s, &answer);
    if (e == ERR_OK && c->is_json) {
        cli_out_json(c, buf_slice(&json), true);
        e = cli_out_flush(c);
    }
    buf_release(&json);
    if (e != ERR_OK)
        return e;
    c->progress.completed = answer.completed_jobs;
    c->progress.total = answer.total_jobs;
    if (s->how->on_answer != NULL && !c->is_json)
        s->how->on_answer(s->how->arg, &answer);
    return ERR_OK;
}

static enum err fetch_stream(struct cli *c, const struct cli_fetch *how, struct cli_answer *ret)
{
    static const char *const methods[] = {[CLI_MESSAGE_SEARCH] = "Search",
                                          [CLI_MESSAGE_TAGS] = "SearchTagsV2",
                                          [CLI_MESSAGE_VALUES] = "SearchTagValuesV2",
                                          [CLI_MESSAGE_RANGE] = "MetricsQueryRange",
                                          [CLI_MESSAGE_INSTANT] = "MetricsQueryInstant"};
    struct stream s = {.c = c, .how = how};
    enum err e = cli_ask_stream(c, methods[how->kind], how->request, on_message, &s);

    return e == ERR_OK ? cli_answer_join(s.answers, s.count, &c->arena, ret) : e;
}

enum err cli_fetch(struct cli *c, const struct cli_fetch *how, struct cli_answer *ret)
{
    struct slice body;

    if (c->options.is_stream)
        return fetch_stream(c, how, ret);
    enum err e = cli_ask(c, false, &body);
    if (e == ERR_OK && c->is_json)
        cli_out_json(c, body, false);
    return e == ERR_OK ? cli_answer_from_json(body, &c->arena, ret, &c->detail) : e;
}

enum err cli_fetch_end(struct cli *c, uint64_t count, struct slice message)
{
    bool is_partial = c->partial[0] != '\0';

    if (message.len > 0)
        cli_out_note(c, "partial answer: " SLICE_FMT, SLICE_ARG(slice_sub(message, 0, 400)));
    if (is_partial && count > 0)
        cli_out_note(c, "partial answer: %s of the server's places did not answer", c->partial);
    if (count > 0)
        return ERR_OK;
    if (is_partial || message.len > 0)
        return err_detail_set(&c->detail, ERR_UNAVAILABLE, "nothing found, but not all was seen");
    return err_detail_set(&c->detail, ERR_NOT_FOUND, "nothing found");
}
