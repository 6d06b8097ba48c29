#include "common/base/clock.h"
#include "common/sys/thread.h"
#include "tests/lib/test.h"

#include <signal.h>

enum { ROUNDS = 5000, THREADS = 4 };

struct shared {
    struct mutex lock;
    pthread_cond_t changed;
    unsigned count; /* under lock */
    bool was_mine_of_another;
};

static void count_up(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        if (mutex_is_mine(&s->lock)) /* asked while others hold it */
            s->was_mine_of_another = true;
        mutex_lock(&s->lock);
        if (!mutex_is_mine(&s->lock))
            s->was_mine_of_another = true;
        s->count++;
        mutex_unlock(&s->lock);
    }
}

static void test_mutex_excludes(void **state)
{
    struct shared s = {0};
    pthread_t threads[THREADS];

    (void)state;
    mutex_init(&s.lock);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(thread_start(&threads[i], "count", count_up, &s), ERR_OK);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    assert_int_equal(s.count, ROUNDS * THREADS);
    assert_false(s.was_mine_of_another);
    assert_false(mutex_is_mine(&s.lock));
    mutex_release(&s.lock);
}

static void test_wait_times_out(void **state)
{
    struct shared s = {0};

    (void)state;
    mutex_init(&s.lock);
    cond_init(&s.changed);
    mutex_lock(&s.lock);
    int64_t before = clock_mono_ns(&clock_system);
    assert_false(cond_wait(&s.changed, &s.lock, 20 * NS_PER_MS));
    int64_t took = clock_mono_ns(&clock_system) - before;
    assert_true(took >= 20 * NS_PER_MS);
    assert_true(mutex_is_mine(&s.lock));
    assert_false(cond_wait(&s.changed, &s.lock, 0));
    mutex_unlock(&s.lock);
    (void)pthread_cond_destroy(&s.changed);
    mutex_release(&s.lock);
}

static void signal_once(void *arg)
{
    struct shared *s = arg;

    mutex_lock(&s->lock);
    s->count = 1;
    (void)pthread_cond_signal(&s->changed);
    mutex_unlock(&s->lock);
}

static void test_wait_is_woken(void **state)
{
    static const int64_t timeouts[] = {-1, INT64_MAX, 600 * NS_PER_S};

    (void)state;
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        struct shared s = {0};
        pthread_t thread;
        mutex_init(&s.lock);
        cond_init(&s.changed);
        mutex_lock(&s.lock);
        assert_int_equal(thread_start(&thread, "signal", signal_once, &s), ERR_OK);
        while (s.count == 0)
            assert_true(cond_wait(&s.changed, &s.lock, timeouts[i]));
        mutex_unlock(&s.lock);
        thread_join(thread);
        (void)pthread_cond_destroy(&s.changed);
        mutex_release(&s.lock);
    }
}

struct seen {
    char name[16];
    bool has_sigterm_blocked;
    size_t stack_bytes;
};

static void look(void *arg)
{
    struct seen *seen = arg;
    sigset_t set;
    pthread_attr_t attr;

    (void)pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    seen->has_sigterm_blocked = sigismember(&set, SIGTERM) == 1;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        (void)pthread_attr_getstacksize(&attr, &seen->stack_bytes);
        (void)pthread_attr_destroy(&attr);
    }
}

static void test_threads_are_named_and_deaf_to_signals(void **state)
{
    struct seen seen = {0};
    pthread_t thread;

    (void)state;
    assert_int_equal(thread_start(&thread, "fifteen-letters", look, &seen), ERR_OK);
    thread_join(thread);
    assert_string_equal(seen.name, "fifteen-letters");
    assert_true(seen.has_sigterm_blocked);
    assert_true(seen.stack_bytes >= 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutex_excludes),
        cmocka_unit_test(test_wait_times_out),
        cmocka_unit_test(test_wait_is_woken),
        cmocka_unit_test(test_threads_are_named_and_deaf_to_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
