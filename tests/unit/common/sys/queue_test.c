#include "common/base/clock.h"
#include "common/sys/queue.h"
#include "tests/lib/test.h"

#include <stdatomic.h>

enum { PRODUCERS = 4, EACH = 3000 };

struct item {
    struct queue_item item; /* first */
    unsigned producer, number;
};

static void test_order_and_limits(void **state)
{
    struct queue q;
    struct item items[4] = {
        {.item.bytes = 10}, {.item.bytes = 20}, {.item.bytes = 5}, {.item.bytes = 70}};

    (void)state;
    queue_init(&q, 3, 40);
    assert_null(queue_pop(&q, 0));
    assert_int_equal(queue_push(&q, &items[0].item), ERR_OK);
    assert_int_equal(queue_push(&q, &items[1].item), ERR_OK);
    assert_int_equal(queue_push(&q, &items[3].item), ERR_FULL); /* bytes */
    assert_int_equal(queue_push(&q, &items[2].item), ERR_OK);
    assert_int_equal(queue_count(&q), 3);
    assert_int_equal(queue_bytes(&q), 35);
    items[3].item.bytes = 1;
    assert_int_equal(queue_push(&q, &items[3].item), ERR_FULL); /* count */
    assert_ptr_equal(queue_pop(&q, -1), &items[0].item);
    assert_int_equal(queue_bytes(&q), 25);
    assert_int_equal(queue_push(&q, &items[3].item), ERR_OK);
    struct queue_item *all = queue_pop_all(&q, 0);
    assert_ptr_equal(all, &items[1].item);
    assert_ptr_equal(all->next, &items[2].item);
    assert_ptr_equal(all->next->next, &items[3].item);
    assert_null(all->next->next->next);
    assert_int_equal(queue_count(&q), 0);
    assert_int_equal(queue_bytes(&q), 0);
    queue_release(&q);
}

static void test_close_drains(void **state)
{
    struct queue q;
    struct item a = {0}, b = {0};

    (void)state;
    queue_init(&q, 3, 0);
    a.item.bytes = SIZE_MAX; /* no limit on bytes here */
    assert_int_equal(queue_push(&q, &a.item), ERR_OK);
    queue_close(&q);
    assert_int_equal(queue_push(&q, &b.item), ERR_UNAVAILABLE);
    assert_ptr_equal(queue_pop(&q, -1), &a.item);
    assert_null(queue_pop(&q, -1)); /* at once */
    assert_null(queue_pop_all(&q, -1));
    queue_release(&q);
}

static void test_pop_times_out(void **state)
{
    struct queue q;

    (void)state;
    queue_init(&q, 1, 0);
    int64_t before = clock_mono_ns(&clock_system);
    assert_null(queue_pop(&q, 20 * NS_PER_MS));
    assert_true(clock_mono_ns(&clock_system) - before >= 20 * NS_PER_MS);
    queue_release(&q);
}

struct producer {
    struct queue *q;
    struct item items[EACH];
    unsigned number, full_count;
};

static void produce(void *arg)
{
    struct producer *p = arg;

    for (unsigned i = 0; i < EACH; i++) {
        p->items[i] = (struct item){.item.bytes = 8, .producer = p->number, .number = i};
        while (queue_push(p->q, &p->items[i].item) == ERR_FULL)
            p->full_count++;
    }
}

/* Every item comes once, and each producer's in its order. */
static void test_many_producers(void **state)
{
    static struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    unsigned next[PRODUCERS] = {0}, total = 0;
    struct queue q;

    (void)state;
    queue_init(&q, 64, 64 * 8);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i].q = &q;
        producers[i].number = i;
        assert_int_equal(thread_start(&threads[i], "produce", produce, &producers[i]), ERR_OK);
    }
    while (total < PRODUCERS * EACH) {
        struct queue_item *at = total % 2 == 0 ? queue_pop_all(&q, -1) : queue_pop(&q, -1);
        assert_non_null(at);
        while (at != NULL) {
            struct queue_item *after = at->next;
            struct item *item = (struct item *)at;
            assert_int_equal(item->number, next[item->producer]);
            next[item->producer]++;
            total++;
            at = after;
        }
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        thread_join(threads[i]);
    assert_int_equal(queue_count(&q), 0);
    queue_release(&q);
}

struct job {
    struct work work; /* first */
    atomic_uint *done;
};

static void run_job(struct work *w)
{
    struct job *job = (struct job *)w;

    (void)atomic_fetch_add(job->done, 1);
    free(job); /* a job owns itself once it runs */
}

static void test_workers_run_everything(void **state)
{
    struct workers *ws = NULL;
    atomic_uint done = 0;

    (void)state;
    assert_int_equal(workers_new("jobs", 3, 100, &ws), ERR_OK);
    for (unsigned i = 0; i < 2000; i++) {
        struct job *job = calloc(1, sizeof *job);
        assert_non_null(job);
        *job = (struct job){.work.run = run_job, .done = &done};
        while (workers_run(ws, &job->work) == ERR_FULL)
            (void)sched_yield();
    }
    workers_free(ws); /* runs what is queued */
    assert_int_equal(done, 2000);
    workers_free(NULL);
}

static void block_on(struct work *w)
{
    struct job *job = (struct job *)w;

    while (atomic_load(job->done) == 0)
        (void)sched_yield();
}

static void test_full_workers_refuse(void **state)
{
    struct workers *ws = NULL;
    atomic_uint gate = 0;
    struct job jobs[10];
    unsigned taken = 0;

    (void)state;
    assert_int_equal(workers_new("jobs", 1, 2, &ws), ERR_OK);
    for (unsigned i = 0; i < 10; i++) {
        jobs[i] = (struct job){.work.run = block_on, .done = &gate};
        enum err e = workers_run(ws, &jobs[i].work);
        assert_true(e == ERR_OK || e == ERR_FULL);
        taken += e == ERR_OK;
    }
    assert_in_range(taken, 2, 3); /* two queued, perhaps one running */
    atomic_store(&gate, 1);
    workers_free(ws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_limits),       cmocka_unit_test(test_close_drains),
        cmocka_unit_test(test_pop_times_out),          cmocka_unit_test(test_many_producers),
        cmocka_unit_test(test_workers_run_everything), cmocka_unit_test(test_full_workers_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
