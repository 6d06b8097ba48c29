#include "common/base/clock.h"
#include "common/net/loop.h"
#include "common/sys/thread.h"
#include "tests/lib/test.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { PRODUCERS = 4, MESSAGES = 20000 };

struct numbered {
    struct loop_msg msg; /* first */
    unsigned producer, number;
    unsigned *next_of_producer;
    struct loop *loop;
    atomic_uint *run_count, *disorder_count;
};

static void numbered_run(struct loop_msg *m)
{
    struct numbered *n = (struct numbered *)m;

    if (n->next_of_producer[n->producer] != n->number || !loop_is_mine(n->loop))
        atomic_fetch_add(n->disorder_count, 1);
    n->next_of_producer[n->producer] = n->number + 1;
    atomic_fetch_add(n->run_count, 1);
    free(n);
}

struct producer {
    struct loop *loop;
    unsigned index;
    unsigned *next_of_producer;
    atomic_uint *run_count, *disorder_count;
};

static void producer_main(void *arg)
{
    struct producer *p = arg;

    for (unsigned i = 0; i < MESSAGES; i++) {
        struct numbered *n = calloc(1, sizeof *n);
        if (n == NULL)
            abort();
        *n = (struct numbered){.msg.run = numbered_run,
                               .producer = p->index,
                               .number = i,
                               .next_of_producer = p->next_of_producer,
                               .loop = p->loop,
                               .run_count = p->run_count,
                               .disorder_count = p->disorder_count};
        loop_post(p->loop, &n->msg);
    }
}

static void test_posted_messages_all_run_in_order(void **state)
{
    (void)state;
    struct loop *loop;
    pthread_t threads[PRODUCERS];
    struct producer producers[PRODUCERS];
    unsigned next_of_producer[PRODUCERS] = {0};
    atomic_uint run_count = 0, disorder_count = 0;

    assert_int_equal(loop_new("test-loop", &loop), ERR_OK);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){loop, i, next_of_producer, &run_count, &disorder_count};
        assert_int_equal(thread_start(&threads[i], "producer", producer_main, &producers[i]),
                         ERR_OK);
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        thread_join(threads[i]);
    assert_false(loop_is_mine(loop));
    /* What is posted before the free runs, by its promise. */
    loop_free(loop);
    assert_int_equal(atomic_load(&run_count), PRODUCERS * MESSAGES);
    assert_int_equal(atomic_load(&disorder_count), 0);
}

struct chain {
    struct loop_msg msg; /* first */
    struct loop *loop;
    unsigned left;
    atomic_uint *run_count;
};

static void chain_run(struct loop_msg *m)
{
    struct chain *c = (struct chain *)m;

    atomic_fetch_add(c->run_count, 1);
    if (--c->left > 0)
        loop_post(c->loop, &c->msg);
}

static void test_message_may_post_itself_again(void **state)
{
    (void)state;
    struct loop *loop;
    atomic_uint run_count = 0;
    struct chain c = {.msg.run = chain_run, .left = 1000, .run_count = &run_count};

    assert_int_equal(loop_new("test-loop", &loop), ERR_OK);
    c.loop = loop;
    loop_post(loop, &c.msg);
    loop_free(loop);
    assert_int_equal(atomic_load(&run_count), 1000);
}

static void count_tick(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void test_timer_ticks_until_freed(void **state)
{
    (void)state;
    struct loop *loop;
    struct loop_timer *timer;
    atomic_uint ticks = 0;

    assert_int_equal(loop_new("test-loop", &loop), ERR_OK);
    assert_int_equal(loop_timer_new(loop, 2 * NS_PER_MS, count_tick, &ticks, &timer), ERR_OK);
    for (unsigned i = 0; i < 5000 && atomic_load(&ticks) < 5; i++)
        (void)usleep(1000);
    assert_true(atomic_load(&ticks) >= 5);
    loop_timer_free(timer);
    unsigned at_free = atomic_load(&ticks);
    (void)usleep(20000);
    assert_int_equal(atomic_load(&ticks), at_free);
    loop_free(loop);
    loop_free(NULL);
    loop_timer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posted_messages_all_run_in_order),
        cmocka_unit_test(test_message_may_post_itself_again),
        cmocka_unit_test(test_timer_ticks_until_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
