/*
 * cli_options.h - the words and options of vivace-cli: what is there, for whom, and what was given.
 *
 * Shape:   one table of commands and one of options, which the parser, --help and the shells' completion read.
 *          -x=y, -x y, --x=y, --x y, as the binaries' flags; after `--` everything is a word.
 */
#ifndef VIVACE_CLI_CLI_OPTIONS_H
#define VIVACE_CLI_CLI_OPTIONS_H

#include "common/base/err.h"

#include <stddef.h>

enum cli_command {
    CLI_NONE, /* no word at all */
    CLI_TRACE,
    CLI_SEARCH,
    CLI_METRICS,
    CLI_TAGS,
    CLI_VALUES,
    CLI_COMPLETION,
    CLI_COMMAND_COUNT
};
struct cli_command_row {
    const char *words[2]; /* "query", "trace" */
    const char *operand;  /* NULL: takes none */
    const char *help;
    const char *choices; /* of the operand, one blank between; NULL: anything */
};
extern const struct cli_command_row cli_options_commands[CLI_COMMAND_COUNT];

enum { CLI_HEADERS_MAX = 32 };
struct cli_options {
    const char *url, *org_id, *start, *end, *since, *limit, *spss, *step, *scope, *filter, *output,
        *timeout, *ca_file;
    const char *headers[CLI_HEADERS_MAX];
    unsigned header_count;
    bool is_stream, is_instant, is_quiet, is_utc, is_insecure, is_help, is_version;
    enum cli_command command;
    const char *operand;
};

struct cli_option_row {
    const char *name, *value; /* value NULL: a switch */
    const char *choices;      /* of the value, one blank between; NULL: anything */
    const char *help;
    unsigned commands; /* 1 << enum cli_command of each that takes it */
    size_t at;         /* in struct cli_options; of headers: the list */
};
/* Ends with a row without name. */
extern const struct cli_option_row cli_options_rows[];

/* Borrows argv.  ERR_INVALID with one line. */
MUST_CHECK enum err cli_options_parse(int argc, char **argv, struct cli_options *ret,
                                      struct err_detail *reterr_detail);

#endif
