/*
 * queue.h - bounded many-producer queue of intrusive items between threads, and a pool of workers that runs them.
 *
 * Policy:  a full queue refuses (ERR_FULL); nothing is dropped silently.
 * Threads: any may push; pop blocks.
 */
#ifndef VIVACE_SYS_QUEUE_H
#define VIVACE_SYS_QUEUE_H

#include "common/base/err.h"
#include "common/sys/thread.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct queue_item {
    struct queue_item *next;
    size_t bytes; /* counted against bytes_max */
};

struct queue {
    struct mutex lock; /* all fields below */
    pthread_cond_t not_empty;
    struct queue_item *head, *tail;
    size_t count, count_max, bytes, bytes_max;
    bool is_closed;
};

/* bytes_max 0: no limit on bytes. */
void queue_init(struct queue *q, size_t count_max, size_t bytes_max);
void queue_release(struct queue *q); /* must be empty */
/* Takes the item on success.  Errors: ERR_FULL, ERR_UNAVAILABLE when closed. */
MUST_CHECK enum err queue_push(struct queue *q, struct queue_item *item);
/* The whole content as a list, in order; waits up to timeout_ns (<0: for ever) for the first.  NULL: time-out or closed and empty. */
struct queue_item *queue_pop_all(struct queue *q, int64_t timeout_ns);
struct queue_item *queue_pop(struct queue *q, int64_t timeout_ns);
void queue_close(struct queue *q); /* pushes fail, pops drain and then give NULL at once */
size_t queue_count(struct queue *q);
size_t queue_bytes(struct queue *q);

/* Workers: each job runs once on one of the pool's threads. */
struct work {
    struct queue_item item; /* first */
    void (*run)(struct work *w);
};
struct workers;
/* Name <= 11 characters. */
MUST_CHECK enum err workers_new(const char *name, unsigned thread_count, size_t queue_max,
                                struct workers **ret);
MUST_CHECK enum err workers_run(struct workers *ws, struct work *w); /* ERR_FULL, ERR_UNAVAILABLE */
void workers_free(struct workers *ws); /* runs what is queued, then joins */

#endif
