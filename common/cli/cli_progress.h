/*
 * cli_progress.h - a line on stderr while something takes long, if stderr is a terminal.
 */
#ifndef VIVACE_CLI_CLI_PROGRESS_H
#define VIVACE_CLI_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct cli_progress {
    bool is_on, is_shown;
    int64_t begun_ns; /* monotonic */
    unsigned turn;
    uint64_t completed, total; /* jobs, where the server tells; total 0: it did not */
};
void cli_progress_begin(struct cli_progress *p, bool is_wanted);
/* How long to wait before the next cli_progress_show; -1: for ever. */
int64_t cli_progress_wait_ns(const struct cli_progress *p);
void cli_progress_show(struct cli_progress *p);
void cli_progress_clear(struct cli_progress *p); /* before anything else is written */

#endif
