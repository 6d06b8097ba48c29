/*
 * thread.h - named threads with a fixed stack, and a mutex that can say "held by me".
 */
#ifndef VIVACE_SYS_THREAD_H
#define VIVACE_SYS_THREAD_H

#include "common/base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef void thread_fn(void *arg);

/* Name <= 15 characters.  1 MiB stack, all signals blocked.  Errors: ERR_NOMEM. */
MUST_CHECK enum err thread_start(pthread_t *ret, const char *name, thread_fn *fn, void *arg);
void thread_join(pthread_t thread);
void thread_yield_to_others(void); /* the calling thread runs when no other wants to (nice 19) */

struct mutex {
    pthread_mutex_t lock;
    pthread_t owner;
    bool is_held;
};

void mutex_init(struct mutex *m);
void mutex_release(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);
bool mutex_is_mine(const struct mutex *m); /* for assertions */

/* Waits on `cond` (CLOCK_MONOTONIC, see cond_init) with the mutex held; false on time-out.  timeout_ns < 0: for ever. */
void cond_init(pthread_cond_t *cond);
bool cond_wait(pthread_cond_t *cond, struct mutex *m, int64_t timeout_ns);

#endif
