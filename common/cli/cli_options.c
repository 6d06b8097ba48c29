#include "common/cli/cli_options.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
const struct cli_command_row cli_options_commands[CLI_COMMAND_COUNT] = {
    [CLI_NONE] = {{NULL, NULL}, NULL, NULL, NULL},
    [CLI_TRACE] = {{"query", "trace"}, "TRACE_ID", "one trace: its spans as a tree, with a time line", NULL},
    [CLI_SEARCH] = {{"query", "search"}, "TRACEQL", "traces that a query finds, newest first", NULL},
    [CLI_METRICS] = {{"query", "metrics"}, "TRACEQL", "series of a metrics query, over a range; --instant: one value each", NULL},
    [CLI_TAGS] = {{"query", "tags"}, NULL, "names of attributes and intrinsics, by scope", NULL},
    [CLI_VALUES] = {{"query", "values"}, "TAG", "values of one of them: resource.service.name, .http.method, name", NULL},
    [CLI_COMPLETION] = {{"completion", NULL}, "SHELL", "a script that completes words and options: bash, zsh, fish", "bash zsh fish"},
};

#define OF(command) (1u << CLI_##command)
enum {
    ALL = (1u << CLI_COMMAND_COUNT) - 1,
    QUERIES = OF(TRACE) | OF(SEARCH) | OF(METRICS) | OF(TAGS) | OF(VALUES),
    STREAMS = QUERIES & ~OF(TRACE)
};
#define AT(field) offsetof(struct cli_options, field)

const struct cli_option_row cli_options_rows[] = {
    {"url", "URL", NULL, "of the querier; default $VIVACE_URL, else http://127.0.0.1:3200", QUERIES, AT(url)},
    {"org-id", "TENANT", NULL, "X-Scope-OrgID", QUERIES, AT(org_id)},
    {"header", "NAME:VALUE", NULL, "a header of the request; may be repeated", QUERIES, AT(headers)},
    {"start", "TIME", NULL, "RFC 3339, seconds since 1970, \"1h\" (ago), \"now-1h\"", QUERIES, AT(start)},
    {"end", "TIME", NULL, "default now", QUERIES, AT(end)},
    {"since", "DURATION", NULL, "the time before the end; default 1h (of a trace: any time)", QUERIES, AT(since)},
    {"limit", "N", NULL, "at most so many traces (tags in a scope, values); default the server's", OF(SEARCH) | OF(TAGS) | OF(VALUES), AT(limit)},
    {"spss", "N", NULL, "show the spans that matched, at most so many a span set", OF(SEARCH), AT(spss)},
    {"step", "DURATION", NULL, "between two values of a series; default the server's", OF(METRICS), AT(step)},
    {"instant", NULL, NULL, "one value for the whole range", OF(METRICS), AT(is_instant)},
    {"scope", "SCOPE", "resource span event link instrumentation intrinsic", "only names of this scope: resource, span, event, link, instrumentation, intrinsic", OF(TAGS), AT(scope)},
    {"filter", "TRACEQL", NULL, "only what occurs in spans that match", OF(TAGS) | OF(VALUES), AT(filter)},
    {"output", "FORMAT", "table json", "table (default), or json: the server's answer as it is", QUERIES, AT(output)},
    {"stream", NULL, NULL, "over gRPC: results as they come (json: a line a message)", STREAMS, AT(is_stream)},
    {"timeout", "DURATION", NULL, "of the whole call; default 1m", QUERIES, AT(timeout)},
    {"utc", NULL, NULL, "times in UTC, not in the local time zone", QUERIES, AT(is_utc)},
    {"no-progress", NULL, NULL, "nothing on stderr while it works", QUERIES, AT(is_quiet)},
    {"ca-file", "FILE", NULL, "certificates that https is checked by; default the system's", QUERIES, AT(ca_file)},
    {"insecure", NULL, NULL, "https without that check", QUERIES, AT(is_insecure)},
    {"help", NULL, NULL, "this, or what the command takes", ALL, AT(is_help)},
    {"version", NULL, NULL, "the version", OF(NONE), AT(is_version)},
    {NULL, NULL, NULL, NULL, 0, 0},
};
/* clang-format on */

static const struct cli_option_row *row_of(const char *name, size_t len)
{
    if (len == 1 && name[0] == 'h')
        return row_of("help", 4);
    for (const struct cli_option_row *row = cli_options_rows; row->name != NULL; row++)
        if (strlen(row->name) == len && memcmp(row->name, name, len) == 0)
            return row;
    return NULL;
}

/* Is it one of the words of `choices`? */
static enum err choice_check(const char *choices, const char *name, const char *value,
                             struct err_detail *detail)
{
    const char *at = strchr(value, ' ') != NULL ? NULL : choices;
    size_t len = strlen(value);

    while (at != NULL && (strncmp(at, value, len) != 0 || (at[len] != ' ' && at[len] != '\0'))) {
        at = strchr(at, ' ');
        at = at == NULL ? NULL : at + 1;
    }
    return choices == NULL || at != NULL
               ? ERR_OK
               : err_detail_set(detail, ERR_INVALID, "%s is one of: %s", name, choices);
}

static enum err set(struct cli_options *o, const struct cli_option_row *row, const char *value,
                    struct err_detail *detail)
{
    void *at = (char *)o + row->at;

    if (row->at == AT(headers)) {
        if (o->header_count == CLI_HEADERS_MAX)
            return err_detail_set(detail, ERR_INVALID, "more than %d headers",
                                  (int)CLI_HEADERS_MAX);
        o->headers[o->header_count++] = value;
    } else if (row->value == NULL) {
        *(bool *)at = true;
    } else {
        *(const char **)at = value;
    }
    return value == NULL ? ERR_OK : choice_check(row->choices, row->name, value, detail);
}

/* argv[*i] is an option; its value may be the word after it. */
static enum err take_option(int argc, char **argv, int *i, struct cli_options *o,
                            unsigned *commands_of, struct err_detail *detail)
{
    const char *text = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
    size_t len = strcspn(text, "=");
    const struct cli_option_row *row = row_of(text, len);
    const char *value = text[len] == '=' ? text + len + 1 : NULL;

    if (row == NULL)
        return err_detail_set(detail, ERR_INVALID, "unknown option --%.80s (--help)", text);
    if (row->value == NULL && value != NULL)
        return err_detail_set(detail, ERR_INVALID, "--%s takes no value", row->name);
    if (row->value != NULL && value == NULL && *i + 1 < argc)
        value = argv[++*i];
    if (row->value != NULL && (value == NULL || value[0] == '\0'))
        return err_detail_set(detail, ERR_INVALID, "--%s needs a value: %s", row->name, row->value);
    commands_of[row - cli_options_rows] = row->commands;
    return set(o, row, value, detail);
}

/* The word is the next of a command's, or its operand. */
static enum err take_word(struct cli_options *o, const char *word, const char **group,
                          struct err_detail *detail)
{
    if (o->command != CLI_NONE) {
        if (o->operand != NULL || cli_options_commands[o->command].operand == NULL)
            return err_detail_set(detail, ERR_INVALID, "one word too many: %.80s", word);
        o->operand = word;
        return choice_check(cli_options_commands[o->command].choices, "it", word, detail);
    }
    for (int c = CLI_NONE + 1; c < CLI_COMMAND_COUNT; c++) {
        const struct cli_command_row *row = &cli_options_commands[c];
        const char *next = *group == NULL ? row->words[0] : row->words[1];
        bool is_here = *group == NULL || strcmp(row->words[0], *group) == 0;
        if (!is_here || next == NULL || strcmp(next, word) != 0)
            continue;
        if (*group == NULL && row->words[1] != NULL)
            *group = word;
        else
            o->command = (enum cli_command)c;
        return ERR_OK;
    }
    return err_detail_set(detail, ERR_INVALID, "no such command: %s%s%.80s (--help)",
                          *group == NULL ? "" : *group, *group == NULL ? "" : " ", word);
}

static enum err check_options_of(const struct cli_options *o, const unsigned *commands_of,
                                 struct err_detail *detail)
{
    const struct cli_command_row *command = &cli_options_commands[o->command];

    for (size_t k = 0; cli_options_rows[k].name != NULL; k++)
        if (commands_of[k] != 0 && (commands_of[k] >> o->command & 1) == 0 &&
            (o->command != CLI_NONE || !o->is_help))
            return err_detail_set(
                detail, ERR_INVALID, "--%s is no option of %s%s%s", cli_options_rows[k].name,
                command->words[0] == NULL ? "vivace-cli" : command->words[0],
                command->words[0] == NULL || command->words[1] == NULL ? "" : " ",
                command->words[0] == NULL || command->words[1] == NULL ? "" : command->words[1]);
    return ERR_OK;
}

enum err cli_options_parse(int argc, char **argv, struct cli_options *ret,
                           struct err_detail *reterr_detail)
{
    unsigned commands_of[sizeof cli_options_rows / sizeof cli_options_rows[0]] = {0};
    const char *group = NULL;
    bool has_words_only = false;
    enum err e = ERR_OK;

    *ret = (struct cli_options){0};
    for (int i = 1; i < argc && e == ERR_OK; i++) {
        bool is_option = !has_words_only && argv[i][0] == '-' && argv[i][1] != '\0';
        if (is_option && strcmp(argv[i], "--") == 0)
            has_words_only = true;
        else if (is_option)
            e = take_option(argc, argv, &i, ret, commands_of, reterr_detail);
        else
            e = take_word(ret, argv[i], &group, reterr_detail);
    }
    if (e == ERR_OK && group != NULL && ret->command == CLI_NONE && !ret->is_help)
        e = err_detail_set(reterr_detail, ERR_INVALID, "%s what?  (--help)", group);
    if (e == ERR_OK)
        e = check_options_of(ret, commands_of, reterr_detail);
    const struct cli_command_row *command = &cli_options_commands[ret->command];
    if (e == ERR_OK && command->operand != NULL && ret->operand == NULL && !ret->is_help)
        e = err_detail_set(reterr_detail, ERR_INVALID, "which %s?  (--help)", command->operand);
    return e;
}
