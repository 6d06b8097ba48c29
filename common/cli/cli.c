#include "common/cli/cli.h"

#include "common/app/app.h"
#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/cli/cli_text.h"
#include "common/cli/cli_time.h"

#include <assert.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { OUT_BYTES_MAX = 1 << 30, COLUMNS_MIN = 40, COLUMNS_MAX = 1000, NUMBER_MAX = 1 << 24 };
#define MEMORY_BYTES_MAX   ((size_t)4 << 30)
#define DEFAULT_URL        "http://127.0.0.1:3200"
#define DEFAULT_TIMEOUT_NS (60 * NS_PER_S)
#define DEFAULT_SINCE_NS   (3600 * NS_PER_S)
#define TIMEOUT_NS_MAX     (24 * 3600 * NS_PER_S)

/* --- help --- */

static void help_option(const struct cli_option_row *row, FILE *to)
{
    char name[48];

    (void)snprintf(name, sizeof name, "--%s%s%s", row->name, row->value == NULL ? "" : " ",
                   row->value == NULL ? "" : row->value);
    (void)fprintf(to, "  %-22s  %s\n", name, row->help);
}

/* `what` CLI_NONE: everything. */
static void help(enum cli_command what, FILE *to)
{
    (void)fputs("vivace-cli: traces and their metrics, from a terminal.\n\nusage:\n", to);
    for (int i = CLI_NONE + 1; i < CLI_COMMAND_COUNT; i++) {
        const struct cli_command_row *row = &cli_options_commands[i];
        if (what == CLI_NONE || what == (enum cli_command)i)
            (void)fprintf(to, "  vivace-cli %s%s%s%s%s [options]\n      %s\n", row->words[0],
                          row->words[1] == NULL ? "" : " ",
                          row->words[1] == NULL ? "" : row->words[1],
                          row->operand == NULL ? "" : " ", row->operand == NULL ? "" : row->operand,
                          row->help);
    }
    (void)fputs("\noptions:\n", to);
    for (const struct cli_option_row *row = cli_options_rows; row->name != NULL; row++)
        if (what == CLI_NONE || (row->commands >> what & 1) != 0)
            help_option(row, to);
    (void)fputs(
        "\nexit: 0 found, 1 nothing found, 2 wrong use, 3 it failed, or not all was seen and nothing found\n",
        to);
}

/* --- what was given, as numbers --- */

static enum err number(struct cli *c, const char *name, const char *text, uint64_t *ret)
{
    if (text == NULL ||
        (num_parse_u64(slice_str(text), ret) == ERR_OK && *ret > 0 && *ret <= NUMBER_MAX))
        return ERR_OK;
    return err_detail_set(&c->detail, ERR_INVALID, "--%s is a number from 1 to %d, not \"%.40s\"",
                          name, (int)NUMBER_MAX, text);
}

static enum err window(struct cli *c)
{
    const struct cli_options *o = &c->options;
    int64_t since_ns = DEFAULT_SINCE_NS;
    enum err e = ERR_OK;

    if (o->command == CLI_TRACE && o->start == NULL && o->end == NULL && o->since == NULL)
        return ERR_OK;
    if (o->start != NULL && o->since != NULL)
        return err_detail_set(&c->detail, ERR_INVALID, "--start and --since say the same");
    c->end_ns = c->now_ns;
    if (o->end != NULL)
        e = cli_time_parse(o->end, c->now_ns, &c->end_ns, &c->detail);
    if (e == ERR_OK && o->since != NULL)
        e = cli_time_duration(o->since, &since_ns, &c->detail);
    c->start_ns = c->end_ns > since_ns ? c->end_ns - since_ns : 1;
    if (e == ERR_OK && o->start != NULL)
        e = cli_time_parse(o->start, c->now_ns, &c->start_ns, &c->detail);
    if (e == ERR_OK && c->start_ns >= c->end_ns)
        return err_detail_set(&c->detail, ERR_INVALID, "the start is not before the end");
    return e;
}

static enum err numbers(struct cli *c)
{
    const struct cli_options *o = &c->options;
    int64_t step_ns = 0;
    enum err e = number(c, "limit", o->limit, &c->limit);

    if (e == ERR_OK)
        e = number(c, "spss", o->spss, &c->spss);
    if (e == ERR_OK && o->step != NULL)
        e = o->is_instant ? err_detail_set(&c->detail, ERR_INVALID, "--instant has no --step")
                          : cli_time_duration(o->step, &step_ns, &c->detail);
    c->step_ns = (uint64_t)step_ns;
    c->timeout_ns = DEFAULT_TIMEOUT_NS;
    if (e == ERR_OK && o->timeout != NULL)
        e = cli_time_duration(o->timeout, &c->timeout_ns, &c->detail);
    if (e == ERR_OK && c->timeout_ns > TIMEOUT_NS_MAX)
        e = err_detail_set(&c->detail, ERR_INVALID, "--timeout is at most a day");
    return e == ERR_OK ? window(c) : e;
}

/* Of the terminal; else of COLUMNS; else any. */
static size_t columns(bool is_terminal)
{
    const char *text = getenv("COLUMNS");
    struct winsize size;
    uint64_t n = 0;

    if (is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        n = size.ws_col;
    else if (text == NULL || num_parse_u64(slice_str(text), &n) != ERR_OK || n == 0)
        return is_terminal ? 80 : 0;
    return n < COLUMNS_MIN ? COLUMNS_MIN : n > COLUMNS_MAX ? COLUMNS_MAX : (size_t)n;
}

static void set_up(struct cli *c)
{
    const char *url = getenv("VIVACE_URL");

    if (c->options.url == NULL)
        c->options.url = url != NULL && url[0] != '\0' ? url : DEFAULT_URL;
    c->now_ns = clock_wall_ns(&clock_system);
    c->is_json = c->options.output != NULL && strcmp(c->options.output, "json") == 0;
    c->is_terminal = isatty(STDOUT_FILENO) != 0;
    c->width = columns(c->is_terminal);
    cli_text_init();
    budget_init(&c->memory, MEMORY_BYTES_MAX, NULL);
    arena_init(&c->arena, &c->memory);
    buf_init(&c->url, CLI_URL_BYTES_MAX);
    buf_init(&c->out, OUT_BYTES_MAX);
}

/* --- errors --- */

/* The line of the query that a server's "line 1, col 3" is about, with a mark below. */
static void show_position(struct cli *c)
{
    const char *at = strstr(c->detail.text, "line "),
               *text = c->options.filter != NULL ? c->options.filter : c->options.operand;
    unsigned line, column;
    struct buf shown;

    if (at == NULL || text == NULL || sscanf(at, "line %u, col %u", &line, &column) != 2)
        return;
    for (; line > 1 && text != NULL; line--) {
        text = strchr(text, '\n');
        text = text == NULL ? NULL : text + 1;
    }
    if (text == NULL || column == 0)
        return;
    struct slice whole = {(const uint8_t *)text, strcspn(text, "\n")};
    if (column - 1 > whole.len || whole.len > 1000)
        return;
    buf_init(&shown, 16 << 10);
    buf_append_str(&shown, "  ");
    cli_text_safe(&shown, whole);
    buf_append_str(&shown, "\n  ");
    size_t mark = shown.len;
    cli_text_safe(&shown, slice_sub(whole, 0, column - 1));
    size_t width = cli_text_width(slice_sub(buf_slice(&shown), mark, shown.len));
    shown.len = mark;
    cli_text_repeat(&shown, " ", width);
    if (buf_err(&shown) == ERR_OK)
        (void)fprintf(stderr, SLICE_FMT "^\n", SLICE_ARG(buf_slice(&shown)));
    buf_release(&shown);
}

static enum cli_exit exit_of(struct cli *c, enum err e)
{
    if (e == ERR_OK)
        return CLI_FOUND;
    cli_out_note(c, "%s", c->detail.text[0] != '\0' ? c->detail.text : err_name(e));
    if (e == ERR_FORBIDDEN)
        show_position(c);
    return e == ERR_NOT_FOUND ? CLI_NOTHING : e == ERR_INVALID ? CLI_MISUSE : CLI_FAILED;
}

static enum err run(struct cli *c)
{
    static enum err (*const commands[])(struct cli *) = {
        [CLI_TRACE] = cli_trace, [CLI_SEARCH] = cli_search, [CLI_METRICS] = cli_metrics,
        [CLI_TAGS] = cli_tags,   [CLI_VALUES] = cli_values, [CLI_COMPLETION] = cli_completion};
    enum err e = numbers(c);

    if (e == ERR_OK)
        e = commands[c->options.command](c);
    if (e == ERR_OK)
        e = arena_err(&c->arena);
    if (e == ERR_OK || e == ERR_NOT_FOUND) { /* an answer without anything is an answer */
        enum err out = cli_out_flush(c);
        e = out == ERR_OK ? e : out;
    }
    return e;
}

int cli_main(int argc, char **argv)
{
    struct cli c = {.now_ns = 0};
    enum cli_exit code;

    enum err e = cli_options_parse(argc, argv, &c.options, &c.detail);
    if (e == ERR_OK && c.options.is_help) {
        help(c.options.command, stdout);
        return CLI_FOUND;
    }
    if (e == ERR_OK && c.options.is_version) {
        (void)printf("vivace-cli, version %s\n", VIVACE_VERSION);
        return CLI_FOUND;
    }
    if (e == ERR_OK && c.options.command == CLI_NONE) {
        help(CLI_NONE, stderr);
        return CLI_MISUSE;
    }
    set_up(&c);
    code = exit_of(&c, e == ERR_OK ? run(&c) : e);
    buf_release(&c.url);
    buf_release(&c.out);
    arena_release(&c.arena);
    assert(budget_used(&c.memory) == 0);
    return (int)code;
}
