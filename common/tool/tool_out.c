#include "common/codec/otlp_to_json.h"
#include "common/sys/fs.h"
#include "common/tool/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { FLUSH_BYTES = 64 << 10 };

enum err tool_out_flush(struct tool *t, bool is_end)
{
    if (buf_err(&t->out) != ERR_OK)
        return buf_err(&t->out);
    if (t->out.len == 0 || (!is_end && t->out.len < FLUSH_BYTES))
        return ERR_OK;
    enum err e = fs_write_all(t->fd, buf_slice(&t->out));
    buf_reset(&t->out);
    return e;
}

void tool_out_time(uint64_t ns, char ret[32])
{
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm tm;
    char text[24];

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        text[0] = '\0';
    (void)snprintf(ret, 32, "%s.%03uZ", text, (unsigned)(ns / 1000000u % 1000u));
}

void tool_out_progress(const struct tool *t, const char *format, ...)
{
    char line[200];
    va_list args;

    if (t->options.is_quiet)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (isatty(STDERR_FILENO))
        (void)fprintf(stderr, "\r\033[K%s%s", line, format[0] == '\0' ? "" : " ");
    else if (line[0] != '\0')
        (void)fprintf(stderr, "%s\n", line);
}

/* A request is a message whose only field repeats, so requests one after the other are one request too. */
enum err tool_out_request(struct tool *t, struct slice otlp)
{
    const char *format = t->options.format == NULL ? "json" : t->options.format;

    if (strcmp(format, "protobuf") == 0) {
        buf_append(&t->out, otlp);
    } else if (strcmp(format, "json") == 0) {
        struct json_out j;
        json_out_init(&j, &t->out);
        json_out_begin_object(&j);
        json_out_key(&j, "resourceSpans");
        otlp_to_json_write(&j, otlp, OTLP_TO_JSON_OTLP);
        json_out_end_object(&j);
        buf_append_byte(&t->out, '\n');
    } else {
        return tool_misuse(t, "--format is json or protobuf");
    }
    return tool_out_flush(t, false);
}
