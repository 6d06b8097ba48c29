#include "common/cli/cli.h"
#include "common/cli/cli_text.h"
#include "common/sys/fs.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum err cli_out_flush(struct cli *c)
{
    enum err e = buf_err(&c->out);

    if (e == ERR_OK && c->out.len > 0) {
        cli_progress_clear(&c->progress);
        e = fs_write_all(STDOUT_FILENO, buf_slice(&c->out));
    }
    buf_reset(&c->out);
    return e == ERR_OK ? e : err_detail_set(&c->detail, e, "the output can not be written");
}

void cli_out_json(struct cli *c, struct slice json, bool is_line)
{
    if (c->is_terminal)
        cli_text_json(&c->out, json);
    else
        buf_append(&c->out, json);
    if (is_line || c->is_terminal)
        buf_append_byte(&c->out, '\n');
}

void cli_out_note(struct cli *c, const char *format, ...)
{
    struct buf safe;
    va_list args;
    char line[1024];

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    buf_init(&safe, SIZE_MAX / 2);
    cli_text_safe_lines(&safe, slice_str(line));
    cli_progress_clear(&c->progress);
    if (buf_err(&safe) == ERR_OK)
        (void)fprintf(stderr, "vivace-cli: " SLICE_FMT "\n", SLICE_ARG(buf_slice(&safe)));
    buf_release(&safe);
}
