#include "common/net/loop.h"

#include "common/base/clock.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct loop {
    struct event_base *base;
    struct event *wake; /* the eventfd has something */
    int wake_fd;
    _Atomic(struct loop_msg *) posted; /* newest first; the consumer turns it round */
    atomic_bool is_stopping;
    atomic_bool has_thread; /* `thread` is written */
    pthread_t thread;       /* the thread's own id, written by itself */
    pthread_t handle;       /* the same, for the join */
};

struct loop_timer {
    struct event *event;
    loop_timer_fn *fn;
    void *arg;
};

static pthread_once_t loop_once = PTHREAD_ONCE_INIT;
static int loop_threads_result = -1;

static void loop_use_threads(void)
{
    loop_threads_result = evthread_use_pthreads();
}

/* Runs all messages posted so far, in their order; false when there was none. */
static bool loop_run_posted(struct loop *l)
{
    struct loop_msg *newest = atomic_exchange_explicit(&l->posted, NULL, memory_order_acquire);
    struct loop_msg *oldest = NULL;

    if (newest == NULL)
        return false;
    while (newest != NULL) {
        struct loop_msg *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        /* The message may free itself, so its successor is read first. */
        struct loop_msg *m = oldest;
        oldest = m->next;
        m->next = NULL;
        assert(m->run != NULL);
        m->run(m);
    }
    return true;
}

static void loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    uint64_t count;

    (void)what;
    /* Emptied before the list is taken: a post after this read wakes the loop again. */
    ssize_t n = read(fd, &count, sizeof count);
    (void)n; /* EAGAIN: somebody else's wake-up was enough */
    (void)loop_run_posted(l);
    if (atomic_load_explicit(&l->is_stopping, memory_order_acquire))
        (void)event_base_loopbreak(l->base);
}

static void loop_main(void *arg)
{
    struct loop *l = arg;

    l->thread = pthread_self();
    atomic_store_explicit(&l->has_thread, true, memory_order_release);
    while (!atomic_load_explicit(&l->is_stopping, memory_order_acquire)) {
        int rc = event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
        if (rc < 0)
            break;
    }
    while (loop_run_posted(l)) {
    }
}

static void loop_release(struct loop *l)
{
    if (l->wake != NULL)
        event_free(l->wake);
    if (l->base != NULL)
        event_base_free(l->base);
    if (l->wake_fd >= 0)
        (void)close(l->wake_fd);
    free(l);
}

enum err loop_new(const char *name, struct loop **ret)
{
    assert(name != NULL);
    assert(ret != NULL);
    enum err e = ERR_NOMEM;

    (void)pthread_once(&loop_once, loop_use_threads);
    if (loop_threads_result != 0)
        return ERR_INTERNAL;
    struct loop *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_NOMEM;
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0) {
        e = ERR_IO;
        goto out;
    }
    l->base = event_base_new();
    if (l->base == NULL)
        goto out;
    l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, loop_on_wake, l);
    if (l->wake == NULL || event_add(l->wake, NULL) != 0)
        goto out;
    e = thread_start(&l->handle, name, loop_main, l);
    if (e == ERR_OK)
        *ret = l;
out:
    if (e != ERR_OK)
        loop_release(l);
    return e;
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    assert(!loop_is_mine(l));
    atomic_store_explicit(&l->is_stopping, true, memory_order_release);
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof one);
    assert(n == (ssize_t)sizeof one || errno == EAGAIN);
    thread_join(l->handle);
    /* What was posted while the thread ended still runs, here. */
    while (loop_run_posted(l)) {
    }
    loop_release(l);
}

void loop_post(struct loop *l, struct loop_msg *m)
{
    assert(m != NULL);
    assert(m->run != NULL);
    struct loop_msg *newest = atomic_load_explicit(&l->posted, memory_order_relaxed);

    do {
        m->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&l->posted, &newest, m, memory_order_release,
                                                    memory_order_relaxed));
    /* Only the first post of a batch wakes the loop.  After the exchange `m` is not ours any more. */
    if (newest == NULL) {
        uint64_t one = 1;
        ssize_t n = write(l->wake_fd, &one, sizeof one);
        assert(n == (ssize_t)sizeof one || errno == EAGAIN);
    }
}

bool loop_is_mine(const struct loop *l)
{
    return atomic_load_explicit(&l->has_thread, memory_order_acquire) &&
           pthread_equal(l->thread, pthread_self()) != 0;
}

void *loop_base(struct loop *l)
{
    return l->base;
}

static void loop_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct loop_timer *t = arg;

    (void)fd;
    (void)what;
    t->fn(t->arg);
}

enum err loop_timer_new(struct loop *l, int64_t every_ns, loop_timer_fn *fn, void *arg,
                        struct loop_timer **ret)
{
    assert(every_ns > 0);
    assert(fn != NULL);
    struct loop_timer *t = calloc(1, sizeof *t);
    struct timeval every = {.tv_sec = every_ns / NS_PER_S,
                            .tv_usec = every_ns % NS_PER_S / NS_PER_US};

    if (t == NULL)
        return ERR_NOMEM;
    t->fn = fn;
    t->arg = arg;
    t->event = event_new(l->base, -1, EV_PERSIST, loop_on_timer, t);
    if (t->event == NULL || event_add(t->event, &every) != 0) {
        if (t->event != NULL)
            event_free(t->event);
        free(t);
        return ERR_NOMEM;
    }
    *ret = t;
    return ERR_OK;
}

void loop_timer_free(struct loop_timer *t)
{
    if (t == NULL)
        return;
    event_free(t->event);
    free(t);
}
