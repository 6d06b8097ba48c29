/*
 * cli_text.h - text of answers made fit for a terminal.
 *
 * Safety:  what cli_text_safe and cli_text_json give holds no control character but the line feeds that are said here: no C0, DEL, C1, no
 *          bidirectional override, no invisible character, no invalid UTF-8.  Everything of an answer goes through one of them.
 * Width:   in columns, by wcwidth of the C.UTF-8 locale; cli_text_init sets it, before anything is measured.
 */
#ifndef VIVACE_CLI_CLI_TEXT_H
#define VIVACE_CLI_CLI_TEXT_H

#include "common/base/buf.h"

void cli_text_init(void);

/* Appends it in one line: other than printable is written \n, \t, \x1b, \u202e; a byte that is no UTF-8 \xff. */
void cli_text_safe(struct buf *out, struct slice text);
/* The same for text of several lines: line feeds and tabs stay. */
void cli_text_safe_lines(struct buf *out, struct slice text);
/* JSON for a terminal: the same document, with \uXXXX for what a terminal must not get, and U+FFFD for bytes that are no UTF-8. */
void cli_text_json(struct buf *out, struct slice json);

/* Of text that is safe already. */
size_t cli_text_width(struct slice safe);
/* Appends it cut to `width` columns (an ellipsis stands for what is left out) and filled with blanks to them, on the left if it is to end on the right. */
void cli_text_fit(struct buf *out, struct slice safe, size_t width, bool is_right);
void cli_text_repeat(struct buf *out, const char *text, size_t count);

#endif
