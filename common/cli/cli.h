/*
 * cli.h - vivace-cli: the query API from a terminal.
 *
 * Use:     vivace-cli query trace|search|metrics|tags|values ..., vivace-cli completion SHELL; --help has them all.
 * Exit:    enum cli_exit.  What was asked for goes to stdout, everything else to stderr.
 * Safety:  what a server says reaches a terminal through cli_text.h alone.
 * Memory:  answers and what is made of them are drawn from one budget; an answer has at most CLI_ANSWER_BYTES_MAX.
 * Threads: one, and the HTTP client's.
 */
#ifndef VIVACE_CLI_CLI_H
#define VIVACE_CLI_CLI_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/cli/cli_options.h"
#include "common/cli/cli_progress.h"

enum cli_exit { CLI_FOUND, CLI_NOTHING, CLI_MISUSE, CLI_FAILED };
enum { CLI_ANSWER_BYTES_MAX = 256 << 20, CLI_URL_BYTES_MAX = 1 << 20 };

struct cli {
    struct cli_options options;
    int64_t now_ns;           /* of the start: everything relative is relative to it */
    int64_t start_ns, end_ns; /* what is asked for; both 0: any time */
    int64_t timeout_ns;
    uint64_t limit, spss, step_ns; /* 0: not given */
    bool is_json, is_terminal;     /* of stdout */
    size_t width;                  /* columns for tables; 0: any number */
    struct budget memory;
    struct arena arena;
    struct cli_progress progress;
    struct buf url, out;
    char partial[16]; /* X-Vivace-Partial: places that were not reached; "" none */
    struct err_detail detail;
};

/* --- cli_ask.c --- */
/* Begins c->url: the base and a path; params follow. */
MUST_CHECK enum err cli_ask_url(struct cli *c, const char *path);
void cli_ask_path(struct cli *c, const char *part);                      /* a segment, escaped */
void cli_ask_param(struct cli *c, const char *name, const char *value);  /* NULL: left out */
void cli_ask_param_u64(struct cli *c, const char *name, uint64_t value); /* 0: left out */
/* GET; the body in the arena.  ERR_NOT_FOUND at 404; other refusals ERR_INVALID or ERR_UNAVAILABLE with the server's words in c->detail. */
MUST_CHECK enum err cli_ask(struct cli *c, bool wants_protobuf, struct slice *ret_body);
/* gRPC; `fn` is told each message, as it comes. */
typedef enum err cli_ask_fn(void *arg, struct slice message);
MUST_CHECK enum err cli_ask_stream(struct cli *c, const char *method, struct slice request,
                                   cli_ask_fn *fn, void *arg);

/* --- cli_out.c --- */
MUST_CHECK enum err cli_out_flush(struct cli *c); /* c->out to stdout */
/* The answer as it is; on a terminal without what that must not get, and with a line feed at the end. */
void cli_out_json(struct cli *c, struct slice json, bool is_line);
/* A line on stderr for people, made safe. */
void cli_out_note(struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- the commands: ERR_OK found, ERR_NOT_FOUND nothing there, else c->detail says why --- */
enum err cli_trace(struct cli *c);
enum err cli_search(struct cli *c);
enum err cli_metrics(struct cli *c);
enum err cli_tags(struct cli *c);
enum err cli_values(struct cli *c);
enum err cli_completion(struct cli *c);

int cli_main(int argc, char **argv);

#endif
