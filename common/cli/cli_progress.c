#include "common/cli/cli_progress.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SILENT_NS (500 * NS_PER_MS)
#define TURN_NS   (100 * NS_PER_MS)

void cli_progress_begin(struct cli_progress *p, bool is_wanted)
{
    const char *term = getenv("TERM");
    bool is_dumb = term == NULL || strcmp(term, "dumb") == 0;

    *p = (struct cli_progress){.is_on = is_wanted && !is_dumb && isatty(STDERR_FILENO) != 0,
                               .begun_ns = clock_mono_ns(&clock_system)};
}

int64_t cli_progress_wait_ns(const struct cli_progress *p)
{
    return p->is_on ? TURN_NS : -1;
}

void cli_progress_show(struct cli_progress *p)
{
    static const char *const turns[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    int64_t elapsed_ns = clock_mono_ns(&clock_system) - p->begun_ns;
    char jobs[64] = "";

    if (!p->is_on || elapsed_ns < SILENT_NS)
        return;
    if (p->total > 0)
        (void)snprintf(jobs, sizeof jobs, " %llu of %llu jobs,", (unsigned long long)p->completed,
                       (unsigned long long)p->total);
    (void)fprintf(stderr, "\r\033[K%s%s %.1f s", turns[p->turn++ % 10], jobs,
                  (double)elapsed_ns / 1e9);
    p->is_shown = true;
}

void cli_progress_clear(struct cli_progress *p)
{
    if (p->is_shown)
        (void)fputs("\r\033[K", stderr);
    p->is_shown = false;
}
