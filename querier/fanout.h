/*
 * fanout.h - one question to every ingester at once; all answers are waited for, but not for those of an ingester that is gone.
 *
 * Memory:  answers are malloc'ed; fanout_release frees them.
 * Threads: a worker's; blocks until each ingester has answered, is down, or its time is over.
 */
#ifndef VIVACE_QUERIER_FANOUT_H
#define VIVACE_QUERIER_FANOUT_H

#include "common/base/buf.h"
#include "common/ring/members.h"

struct fanout_answer {
    enum err err;
    struct buf bytes;
    unsigned member;
};

struct fanout {
    struct fanout_answer *answers;
    unsigned count;
    unsigned missing; /* did not answer */
};

enum { FANOUT_ANSWER_BYTES_MAX = 64 * 1024 * 1024 };

/* Errors: ERR_NOMEM only; an ingester that fails is counted in `missing`. */
MUST_CHECK enum err fanout_ask(struct members *ingesters, uint16_t method, struct slice payload,
                               int64_t timeout_ns, struct fanout *ret);
void fanout_release(struct fanout *f);

#endif
