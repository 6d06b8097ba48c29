#include "common/sys/thread.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { THREAD_STACK_BYTES = 8 << 20 }; /* instrumented frames are several times larger */
#else
enum { THREAD_STACK_BYTES = 1 << 20 };
#endif

struct thread_start_args {
    thread_fn *fn;
    void *arg;
    char name[16];
};

static void *thread_main(void *arg)
{
    struct thread_start_args *start = arg;
    thread_fn *fn = start->fn;
    void *fn_arg = start->arg;

    (void)pthread_setname_np(pthread_self(), start->name); /* only for people who look */
    free(start);
    fn(fn_arg);
    return NULL;
}

void thread_yield_to_others(void)
{
    (void)setpriority(
        PRIO_PROCESS, (id_t)gettid(),
        19); /* on Linux of the thread alone; without it the work is done all the same */
}

enum err thread_start(pthread_t *ret, const char *name, thread_fn *fn, void *arg)
{
    sigset_t all;
    pthread_attr_t attr;
    pthread_t thread;
    struct thread_start_args *start = NULL;

    assert(fn != NULL);
    assert(strlen(name) < sizeof start->name);
    if (pthread_attr_init(&attr) != 0)
        return ERR_NOMEM;
    enum err e = ERR_NOMEM;
    start = malloc(sizeof *start);
    if (start == NULL)
        goto out;
    *start = (struct thread_start_args){.fn = fn, .arg = arg};
    (void)snprintf(start->name, sizeof start->name, "%s", name); /* length asserted */
    (void)sigfillset(&all);
    if (pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES) != 0 ||
        pthread_attr_setsigmask_np(&attr, &all) != 0)
        goto out;
    if (pthread_create(&thread, &attr, thread_main, start) != 0)
        goto out;
    start = NULL; /* the thread's */
    *ret = thread;
    e = ERR_OK;
out:
    free(start);
    (void)pthread_attr_destroy(&attr);
    return e;
}

void thread_join(pthread_t thread)
{
    int rc = pthread_join(thread, NULL);

    assert(rc == 0);
    (void)rc;
}

/*
 * `owner` and `is_held` are written by the holder alone and read by anyone who asks mutex_is_mine: relaxed atomics.  Nobody
 * but a thread itself ever writes its own id, and it clears it before it unlocks, so "owner is me" is never stale.
 */
static void owner_set(struct mutex *m, bool is_held)
{
    __atomic_store_n(&m->owner, is_held ? pthread_self() : (pthread_t)0, __ATOMIC_RELAXED);
    __atomic_store_n(&m->is_held, is_held, __ATOMIC_RELAXED);
}

void mutex_init(struct mutex *m)
{
    int rc = pthread_mutex_init(&m->lock, NULL);

    assert(rc == 0);
    (void)rc;
    owner_set(m, false);
}

void mutex_release(struct mutex *m)
{
    int rc = pthread_mutex_destroy(&m->lock);

    assert(rc == 0); /* EBUSY: somebody still holds it */
    (void)rc;
}

void mutex_lock(struct mutex *m)
{
    assert(!mutex_is_mine(m));
    int rc = pthread_mutex_lock(&m->lock);
    assert(rc == 0);
    (void)rc;
    owner_set(m, true);
}

void mutex_unlock(struct mutex *m)
{
    assert(mutex_is_mine(m));
    owner_set(m, false);
    int rc = pthread_mutex_unlock(&m->lock);
    assert(rc == 0);
    (void)rc;
}

bool mutex_is_mine(const struct mutex *m)
{
    return __atomic_load_n(&m->is_held, __ATOMIC_RELAXED) &&
           pthread_equal(__atomic_load_n(&m->owner, __ATOMIC_RELAXED), pthread_self()) != 0;
}

void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    assert(rc == 0);
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    assert(rc == 0);
    rc = pthread_cond_init(cond, &attr);
    assert(rc == 0);
    (void)rc;
    (void)pthread_condattr_destroy(&attr);
}

bool cond_wait(pthread_cond_t *cond, struct mutex *m, int64_t timeout_ns)
{
    enum { NS_IN_S = 1000000000 };
    int64_t timeout_ns_max = INT64_C(1000000000) * 365 * 24 * 3600; /* keeps the sum in range */
    struct timespec until;
    int rc;

    assert(mutex_is_mine(m));
    owner_set(m, false);
    if (timeout_ns < 0) {
        rc = pthread_cond_wait(cond, &m->lock);
    } else {
        if (timeout_ns > timeout_ns_max)
            timeout_ns = timeout_ns_max;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_ns / NS_IN_S;
        until.tv_nsec += timeout_ns % NS_IN_S;
        if (until.tv_nsec >= NS_IN_S) {
            until.tv_sec++;
            until.tv_nsec -= NS_IN_S;
        }
        rc = pthread_cond_timedwait(cond, &m->lock, &until);
    }
    owner_set(m, true);
    assert(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}
