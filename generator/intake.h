/*
 * intake.h - the one thread that owns the generator's state: log, series, edges, collection, checkpoint.
 *
 * Order:   a push is in the log and synced, then counted, then acknowledged.  A repeat of (batch id, part) is acknowledged without being counted.
 * Threads: intake_push from nng's threads; the rest is the intake thread's.
 */
#ifndef VIVACE_GENERATOR_INTAKE_H
#define VIVACE_GENERATOR_INTAKE_H

#include "common/app/app.h"
#include "generator/send_queue.h"

struct intake;

struct intake_options {
    struct app *app;
    struct send_queue **queues; /* one per target */
    unsigned queue_count;
};
/* Starts the thread: it loads the checkpoint and replays the log first.  Errors: ERR_CONFLICT the folder is another process's. */
MUST_CHECK enum err intake_new(const struct intake_options *o, struct intake **ret,
                               struct err_detail *reterr_detail);
void intake_push(struct intake *in, struct rpc_req *req); /* answers it, now or later */
bool intake_is_ready(struct intake *in);
/* Takes no more, works off what is queued, collects a last time, saves the state. */
void intake_drain(struct intake *in);
void intake_free(struct intake *in);

#endif
