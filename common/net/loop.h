/*
 * loop.h - event loops: one libevent base per thread, and messages posted to it from any thread.
 *
 * Order:   messages run in the order of their posting.
 * Threads: loop_post and loop_is_mine from any; timers see below; everything else on the loop's own thread.
 */
#ifndef VIVACE_NET_LOOP_H
#define VIVACE_NET_LOOP_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_msg { /* embedded in the sender's object: posting can not fail */
    struct loop_msg *next;
    void (*run)(struct loop_msg *m);
};
struct loop_timer;
typedef void loop_timer_fn(void *arg);

MUST_CHECK enum err loop_new(const char *name, struct loop **ret); /* starts its thread */
void loop_free(
    struct loop *l); /* stops, runs what was posted, joins; NULL is fine; not on its thread */
void loop_post(struct loop *l, struct loop_msg *m);
bool loop_is_mine(const struct loop *l);
void *loop_base(struct loop *l); /* struct event_base *, for common/net only */
/* Timers: may be made and freed on another thread too; a free there waits for a running callback, so hold no lock that it takes. */
MUST_CHECK enum err loop_timer_new(struct loop *l, int64_t every_ns, loop_timer_fn *fn, void *arg,
                                   struct loop_timer **ret);
void loop_timer_free(struct loop_timer *t);

#endif
