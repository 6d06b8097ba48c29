#include "common/tool/tool.h"

#include "common/app/app.h"
#include "common/base/hash.h"
#include "common/base/rng.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_MISUSE = 2, OUT_BYTES_MAX = 256 << 20 };
#define MEMORY_BYTES_MAX ((size_t)2 << 30)

struct command {
    const char *name, *operands, *help;
    enum err (*run)(struct tool *t);
};

static const struct command commands[] = {
    {"list", "", "blocks: tenant, id, time range, spans, traces, bytes, version (--tenant, --json)",
     tool_list},
    {"inspect", "BLOCK", "what is in a block and what takes the space (--json)", tool_inspect},
    {"verify", "[BLOCK...]",
     "reads everything and says where damage is; exit 1 when there is any (--tenant, --quarantine moves damaged blocks away)",
     tool_verify},
    {"dump", "BLOCK",
     "spans as OTLP: --format json (one request a line) or protobuf (--trace ID, --output FILE)",
     tool_dump},
    {"quarantine", "list | restore TENANT/NAME",
     "blocks that were moved away because of damage; back into sight", tool_quarantine},
    {"wal", "inspect DIR | dump DIR",
     "frames and damage of a write-ahead log (--json); its spans as OTLP (--format, --output)",
     tool_wal},
    {"export", "[BLOCK...]",
     "a line of JSON a span, the same keys in each (--tenant, --from, --to: seconds or RFC 3339; --output FILE)",
     tool_export},
    {"import", "DIR...",
     "blocks that Tempo wrote (vParquet4, vParquet5: a folder with data.parquet and meta.json) into the store (--tenant)",
     tool_import},
};

static void help(FILE *to)
{
    (void)fprintf(
        to,
        "vivace-store: the blocks and logs of a Vivace store.\n\n"
        "usage: vivace-store (-config.file FILE | --path DIR) COMMAND [operands] [options]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        (void)fprintf(to, "  %s %s\n      %s\n", commands[i].name, commands[i].operands,
                      commands[i].help);
    (void)fprintf(to, "\nBLOCK is an id, or TENANT/ID.  Options:\n"
                      "  -config.file FILE     the store of the binaries' configuration\n"
                      "  -config.expand-env    ${VAR} in it\n"
                      "  --path DIR            the folder of the blocks\n"
                      "  --tenant NAME         only this tenant's blocks\n"
                      "  --trace ID            only this trace (hex)\n"
                      "  --from T, --to T      only spans that begin in [from, to)\n"
                      "  --format F --output FILE --json --quiet --version --help\n"
                      "\nexit: 0 done, 1 it failed or there is damage, 2 wrong use\n");
}

const char *tool_operand(const struct tool *t, unsigned number)
{
    return number + 1 < t->options.word_count ? t->options.words[number + 1] : NULL;
}

enum err tool_misuse(struct tool *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(t->detail.text, sizeof t->detail.text, format, args);
    va_end(args);
    return ERR_INVALID;
}

static enum err output_open(struct tool *t)
{
    t->fd = STDOUT_FILENO;
    if (t->options.output == NULL)
        return ERR_OK;
    t->fd = open(t->options.output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return t->fd >= 0
               ? ERR_OK
               : err_detail_set(&t->detail, fs_errno_err(errno), "%.300s can not be made%s",
                                t->options.output, errno == EEXIST ? ": it is there already" : "");
}

static enum err run(struct tool *t, const struct command *c)
{
    enum err e = output_open(t);

    if (e == ERR_OK)
        e = c->run(t);
    if (e == ERR_OK || e == ERR_CORRUPT) { /* what was found is told all the same */
        enum err out = tool_out_flush(t, true);
        if (out != ERR_OK)
            e = err_detail_set(&t->detail, out, "the output can not be written");
    }
    if (t->options.output != NULL)
        fs_close(&t->fd);
    return e;
}

static int exit_code(const struct tool *t, enum err e)
{
    if (e == ERR_OK)
        return 0;
    (void)fprintf(stderr, "vivace-store: %s\n",
                  t->detail.text[0] != '\0' ? t->detail.text : err_name(e));
    return e == ERR_INVALID ? EXIT_MISUSE : EXIT_FAILED;
}

static int tool_run(struct tool *t)
{
    const char *name = t->options.word_count > 0 ? t->options.words[0] : NULL;
    size_t i = 0, count = sizeof commands / sizeof commands[0];

    if (t->options.is_help) {
        help(stdout);
        return 0;
    }
    if (t->options.is_version) {
        (void)printf("vivace-store, version %s\n", VIVACE_VERSION);
        return 0;
    }
    if (name == NULL) {
        help(stderr);
        return EXIT_MISUSE;
    }
    while (i < count && strcmp(commands[i].name, name) != 0)
        i++;
    if (i == count)
        return exit_code(t, tool_misuse(t, "no such command: %.80s (--help)", name));
    return exit_code(t, run(t, &commands[i]));
}

int tool_main(int argc, char **argv)
{
    struct tool t = {.fd = -1};
    enum err e = tool_options_parse(argc, argv, &t.options, &t.detail);

    if (e != ERR_OK)
        return exit_code(&t, e);
    budget_init(&t.memory, MEMORY_BYTES_MAX, NULL);
    arena_init(&t.arena, &t.memory);
    buf_init(&t.out, OUT_BYTES_MAX);
    json_out_init(&t.json, &t.out);
    int code = tool_run(&t);
    if (t.backend != NULL)
        t.backend->ops->free(t.backend);
    if (t.has_config)
        config_release(&t.config);
    buf_release(&t.out);
    arena_release(&t.arena);
    assert(budget_used(&t.memory) == 0);
    return code;
}
