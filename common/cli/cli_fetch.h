/*
 * cli_fetch.h - an answer of a query, over HTTP or as a stream.
 */
#ifndef VIVACE_CLI_CLI_FETCH_H
#define VIVACE_CLI_CLI_FETCH_H

#include "common/cli/cli.h"
#include "common/cli/cli_answer.h"
#include "common/cli/cli_message.h"

struct cli_fetch {
    enum cli_message kind;
    struct slice request; /* of --stream; without it c->url is asked */
    /* May be NULL: each answer of a stream, as it comes. */
    void (*on_answer)(void *arg, const struct cli_answer *answer);
    void *arg;
};
/* Everything together in *ret; with --output json the answers are in c->out already. */
MUST_CHECK enum err cli_fetch(struct cli *c, const struct cli_fetch *how, struct cli_answer *ret);
/* What else is to be said of it on stderr, and ERR_OK, or ERR_NOT_FOUND when there is nothing.  Nothing of what is not whole is no answer. */
MUST_CHECK enum err cli_fetch_end(struct cli *c, uint64_t count, struct slice message);

#endif
