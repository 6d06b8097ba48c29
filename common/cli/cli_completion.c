/* Scripts for the shells, made of the tables of commands and options. */
#include "common/cli/cli.h"

/* How a shell is told what may stand there. */
struct shell {
    const char *head, *begin, *end, *files, *tail;
};

static const struct shell bash = {
    .head =
        "# source <(vivace-cli completion bash)\n"
        "_vivace_cli() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} at= word i\n"
        "    # --name=value is three words here\n"
        "    if [ \"$prev\" = = ]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi\n"
        "    if [ \"$cur\" = = ]; then cur=; fi\n"
        "    COMPREPLY=()\n"
        "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
        "        word=${COMP_WORDS[i]}\n",
    .begin = "COMPREPLY=($(compgen -W '",
    .end = "' -- \"$cur\"))",
    .files = "COMPREPLY=($(compgen -f -- \"$cur\"))",
    .tail = "}\n"
            "complete -F _vivace_cli vivace-cli\n",
};

static const struct shell zsh = {
    .head =
        "#compdef vivace-cli\n"
        "# source <(vivace-cli completion zsh), after compinit; or a file _vivace-cli in a folder of $fpath\n"
        "_vivace_cli() {\n"
        "    local cur=${words[CURRENT]} prev=${words[CURRENT-1]} at= word i\n"
        "    if [[ $cur == --*=* ]]; then prev=${cur%%=*}; compset -P '*='; fi\n"
        "    for ((i = 2; i < CURRENT; i++)); do\n"
        "        word=${words[i]}\n",
    .begin = "compadd -- ",
    .end = "",
    .files = "_files",
    .tail =
        "}\n"
        "if [ \"$funcstack[1]\" = _vivace-cli ]; then _vivace_cli; else compdef _vivace_cli vivace-cli; fi\n",
};

static bool is_group(enum cli_command i)
{
    return cli_options_commands[i].words[1] != NULL;
}

/* The first command of its group, or one without a group. */
static bool is_first(enum cli_command i)
{
    return i == CLI_NONE + 1 ||
           strcmp(cli_options_commands[i].words[0], cli_options_commands[i - 1].words[0]) != 0;
}

static void put_options(struct buf *out, enum cli_command command)
{
    for (const struct cli_option_row *row = cli_options_rows; row->name != NULL; row++)
        if ((row->commands >> command & 1) != 0)
            buf_appendf(out, " --%s", row->name);
}

/* Takes the words so far: `at` becomes "query", "query trace", "completion". */
static void put_words_so_far(struct buf *out)
{
    buf_append_str(out, "        case \"$at $word\" in\n        ");
    for (int i = CLI_NONE + 1; i < CLI_COMMAND_COUNT; i++) {
        const struct cli_command_row *row = &cli_options_commands[i];
        if (is_first((enum cli_command)i))
            buf_appendf(out, "%s\" %s\"", i == CLI_NONE + 1 ? "" : " | ", row->words[0]);
        if (is_group((enum cli_command)i))
            buf_appendf(out, " | \"%s %s\"", row->words[0], row->words[1]);
    }
    buf_append_str(out, ") at=\"${at:+$at }$word\" ;;\n        esac\n    done\n");
}

/* Values of the option before. */
static void put_values(struct buf *out, const struct shell *shell)
{
    buf_append_str(out, "    case $prev in\n");
    for (const struct cli_option_row *row = cli_options_rows; row->name != NULL; row++) {
        if (row->value == NULL)
            continue;
        buf_appendf(out, "    --%s) ", row->name);
        if (row->choices != NULL)
            buf_appendf(out, "%s%s%s; ", shell->begin, row->choices, shell->end);
        else if (strcmp(row->value, "FILE") == 0)
            buf_appendf(out, "%s; ", shell->files);
        buf_append_str(out, "return ;;\n");
    }
    buf_append_str(out, "    esac\n");
}

/* What may follow the words so far. */
static void put_arms(struct buf *out, const struct shell *shell)
{
    buf_appendf(out, "    case $at in\n    '') %s", shell->begin);
    for (int i = CLI_NONE + 1; i < CLI_COMMAND_COUNT; i++)
        if (is_first((enum cli_command)i))
            buf_appendf(out, "%s ", cli_options_commands[i].words[0]);
    put_options(out, CLI_NONE);
    for (int i = CLI_NONE + 1; i < CLI_COMMAND_COUNT; i++) {
        const struct cli_command_row *row = &cli_options_commands[i];
        if (is_group((enum cli_command)i) && is_first((enum cli_command)i)) {
            buf_appendf(out, "%s ;;\n    %s) %s", shell->end, row->words[0], shell->begin);
            for (int k = i; k < CLI_COMMAND_COUNT && is_group((enum cli_command)k); k++)
                buf_appendf(out, "%s ", cli_options_commands[k].words[1]);
            buf_append_str(out, "--help");
        }
        buf_appendf(out, "%s ;;\n    '%s%s%s') %s%s", shell->end, row->words[0],
                    row->words[1] == NULL ? "" : " ", row->words[1] == NULL ? "" : row->words[1],
                    shell->begin, row->choices == NULL ? "" : row->choices);
        put_options(out, (enum cli_command)i);
    }
    buf_appendf(out, "%s ;;\n    esac\n", shell->end);
}

static void put_script(struct buf *out, const struct shell *shell)
{
    buf_append_str(out, shell->head);
    put_words_so_far(out);
    put_values(out, shell);
    put_arms(out, shell);
    buf_append_str(out, shell->tail);
}

/* --- fish: a line each, with its help --- */

static void put_quoted(struct buf *out, const char *text)
{
    buf_append_byte(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)*text);
    }
    buf_append_byte(out, '\'');
}

static void put_fish_commands(struct buf *out)
{
    for (int i = CLI_NONE + 1; i < CLI_COMMAND_COUNT; i++) {
        const struct cli_command_row *row = &cli_options_commands[i];
        if (is_first((enum cli_command)i))
            buf_appendf(out, "complete -c vivace-cli -n __fish_use_subcommand -a %s\n",
                        row->words[0]);
        if (row->choices != NULL)
            buf_appendf(out, "complete -c vivace-cli -n '__fish_seen_subcommand_from %s' -a '%s'\n",
                        row->words[0], row->choices);
        if (!is_group((enum cli_command)i))
            continue;
        buf_appendf(out,
                    "complete -c vivace-cli -n '__fish_seen_subcommand_from %s; and not "
                    "__fish_seen_subcommand_from",
                    row->words[0]);
        for (int k = CLI_NONE + 1; k < CLI_COMMAND_COUNT; k++)
            if (is_group((enum cli_command)k))
                buf_appendf(out, " %s", cli_options_commands[k].words[1]);
        buf_appendf(out, "' -a %s -d ", row->words[1]);
        put_quoted(out, row->help);
        buf_append_byte(out, '\n');
    }
}

static void put_fish(struct buf *out)
{
    buf_append_str(out, "# vivace-cli completion fish | source\n"
                        "complete -c vivace-cli -f\n");
    put_fish_commands(out);
    for (const struct cli_option_row *row = cli_options_rows; row->name != NULL; row++) {
        buf_append_str(out, "complete -c vivace-cli -n '");
        buf_append_str(out, row->commands == 1u << CLI_NONE ? "__fish_use_subcommand"
                                                            : "__fish_seen_subcommand_from");
        for (int i = CLI_NONE + 1; i < CLI_COMMAND_COUNT; i++)
            if ((row->commands >> i & 1) != 0)
                buf_appendf(out, " %s",
                            cli_options_commands[i].words[is_group((enum cli_command)i)]);
        buf_appendf(out, "' -l %s", row->name);
        if (row->choices != NULL)
            buf_appendf(out, " -x -a '%s'", row->choices);
        else if (row->value != NULL)
            buf_append_str(out, strcmp(row->value, "FILE") == 0 ? " -r -F" : " -x");
        buf_append_str(out, " -d ");
        put_quoted(out, row->help);
        buf_append_byte(out, '\n');
    }
}

enum err cli_completion(struct cli *c)
{
    if (strcmp(c->options.operand, "fish") == 0)
        put_fish(&c->out);
    else
        put_script(&c->out, strcmp(c->options.operand, "zsh") == 0 ? &zsh : &bash);
    return buf_err(&c->out);
}
