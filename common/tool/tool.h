/*
 * tool.h - vivace-store: the blocks and logs of a store from a terminal.
 *
 * Use:     vivace-store [options] COMMAND [operand...]; `--help` has both lists.  The store is the one of -config.file (the binaries' own
 *          file and keys) or the folder of --path.
 * Writes:  nothing but what the command's name says: `verify --quarantine`, `quarantine restore` and `import` change the store, the others read.
 * Exit:    0 done, 1 it failed or damage was found (said on stderr), 2 wrong use.
 * Memory:  all of it is drawn from one budget; one row group, or one frame of a log, at a time.
 * Threads: one.
 */
#ifndef VIVACE_TOOL_TOOL_H
#define VIVACE_TOOL_TOOL_H

#include "common/app/app.h"
#include "common/codec/json_out.h"
#include "common/store/backend.h"
#include "common/store/block.h"

#include <stdio.h>

enum {
    TOOL_WORDS_MAX = 256,
    TOOL_PATH_BYTES = 4096,
    TOOL_META_BYTES_MAX = 64 << 10,
    TOOL_REQUEST_BYTES_MAX = 1 << 30
};

struct tool_options {
    const char *config_file, *path, *tenant, *trace, *from, *to, *output, *format;
    bool expand_env, is_json, is_quarantine, is_quiet, is_help, is_version;
    const char *words[TOOL_WORDS_MAX]; /* the command, then its operands */
    unsigned word_count;
};
/* Borrows argv.  ERR_INVALID with one line. */
MUST_CHECK enum err tool_options_parse(int argc, char **argv, struct tool_options *ret,
                                       struct err_detail *reterr_detail);

struct tool {
    struct tool_options options;
    struct config config;
    bool has_config;
    struct app app;          /* of a bucket: what its opener asks for */
    struct backend *backend; /* NULL until tool_store */
    struct budget memory;
    struct arena arena;       /* of the run */
    int fd;                   /* where answers go */
    struct buf out;           /* not written yet */
    struct json_out json;     /* over `out` */
    struct err_detail detail; /* what stderr is told */
};

/* The operand of a number (0: the first), or NULL. */
const char *tool_operand(const struct tool *t, unsigned number);
/* Wrong use: exit 2. */
enum err tool_misuse(struct tool *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- tool_store.c --- */
MUST_CHECK enum err tool_store(struct tool *t); /* opens it */
struct tool_block {
    struct tool_block *next;
    char tenant[151], id[37];
};
/* Blocks of --tenant, or of all tenants, by tenant and id, in t->arena. */
MUST_CHECK enum err tool_blocks(struct tool *t, struct tool_block **ret);
/* The block that a word names: ID or TENANT/ID.  ERR_NOT_FOUND with detail. */
MUST_CHECK enum err tool_block_of(struct tool *t, const char *word, struct tool_block *ret);
MUST_CHECK enum err tool_block_open(struct tool *t, const struct tool_block *at,
                                    struct block **ret);
MUST_CHECK enum err tool_block_meta(struct tool *t, const struct tool_block *at,
                                    struct block_meta *ret);
/* --from and --to as ns since the epoch; 0 and UINT64_MAX when not given. */
MUST_CHECK enum err tool_window(struct tool *t, uint64_t *ret_from_ns, uint64_t *ret_to_ns);

/* --- tool_out.c: t->out is written to t->fd when it is large, and at the end --- */
MUST_CHECK enum err tool_out_flush(struct tool *t, bool is_end);
/* Spans as OTLP in the form of --format: a line of OTLP/JSON each, or protobuf. */
MUST_CHECK enum err tool_out_request(struct tool *t, struct slice otlp);
/* "2026-01-02T03:04:05.678Z" into ret[32]. */
void tool_out_time(uint64_t ns, char ret[32]);
/* A line for people on stderr, replaced by the next one when stderr is a terminal; nothing with --quiet. */
void tool_out_progress(const struct tool *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- the commands --- */
enum err tool_list(struct tool *t);
enum err tool_inspect(struct tool *t);
enum err tool_verify(struct tool *t);
enum err tool_dump(struct tool *t);
enum err tool_quarantine(struct tool *t);
enum err tool_wal(struct tool *t);
enum err tool_import(struct tool *t);
enum err tool_export(struct tool *t);

int tool_main(int argc, char **argv);

#endif
