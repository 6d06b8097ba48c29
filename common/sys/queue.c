#include "common/sys/queue.h"

#include "common/base/clock.h"

#include <assert.h>
#include <stdlib.h>

void queue_init(struct queue *q, size_t count_max, size_t bytes_max)
{
    assert(count_max > 0);
    *q = (struct queue){.count_max = count_max, .bytes_max = bytes_max};
    mutex_init(&q->lock);
    cond_init(&q->not_empty);
}

void queue_release(struct queue *q)
{
    assert(q->head == NULL);
    assert(q->count == 0);
    (void)pthread_cond_destroy(&q->not_empty);
    mutex_release(&q->lock);
}

enum err queue_push(struct queue *q, struct queue_item *item)
{
    enum err e = ERR_OK;

    mutex_lock(&q->lock);
    if (q->is_closed) {
        e = ERR_UNAVAILABLE;
    } else if (q->count >= q->count_max ||
               (q->bytes_max != 0 &&
                (item->bytes > q->bytes_max || q->bytes > q->bytes_max - item->bytes))) {
        e = ERR_FULL;
    } else {
        item->next = NULL;
        if (q->tail == NULL)
            q->head = item;
        else
            q->tail->next = item;
        q->tail = item;
        q->count++;
        q->bytes += item->bytes;
        (void)pthread_cond_signal(&q->not_empty);
    }
    mutex_unlock(&q->lock);
    return e;
}

/* True when something is there; the lock is held before and after. */
static bool queue_wait(struct queue *q, int64_t timeout_ns)
{
    int64_t start_ns = timeout_ns > 0 ? clock_mono_ns(&clock_system) : 0;
    int64_t left_ns = timeout_ns;

    while (q->head == NULL && !q->is_closed && left_ns != 0) {
        (void)cond_wait(&q->not_empty, &q->lock, left_ns); /* the state is what counts */
        if (timeout_ns <= 0)
            continue;
        left_ns = timeout_ns - (clock_mono_ns(&clock_system) - start_ns);
        if (left_ns < 0)
            left_ns = 0;
    }
    return q->head != NULL;
}

struct queue_item *queue_pop_all(struct queue *q, int64_t timeout_ns)
{
    struct queue_item *all = NULL;

    mutex_lock(&q->lock);
    if (queue_wait(q, timeout_ns)) {
        all = q->head;
        q->head = q->tail = NULL;
        q->count = q->bytes = 0;
    }
    mutex_unlock(&q->lock);
    return all;
}

struct queue_item *queue_pop(struct queue *q, int64_t timeout_ns)
{
    struct queue_item *item = NULL;

    mutex_lock(&q->lock);
    if (queue_wait(q, timeout_ns)) {
        item = q->head;
        q->head = item->next;
        if (q->head == NULL)
            q->tail = NULL;
        assert(q->count > 0);
        assert(q->bytes >= item->bytes);
        q->count--;
        q->bytes -= item->bytes;
        item->next = NULL;
    }
    mutex_unlock(&q->lock);
    return item;
}

void queue_close(struct queue *q)
{
    mutex_lock(&q->lock);
    q->is_closed = true;
    (void)pthread_cond_broadcast(&q->not_empty);
    mutex_unlock(&q->lock);
}

size_t queue_count(struct queue *q)
{
    mutex_lock(&q->lock);
    size_t count = q->count;
    mutex_unlock(&q->lock);
    return count;
}

size_t queue_bytes(struct queue *q)
{
    mutex_lock(&q->lock);
    size_t bytes = q->bytes;
    mutex_unlock(&q->lock);
    return bytes;
}

struct workers {
    struct queue queue;
    unsigned thread_count; /* started */
    pthread_t threads[];
};

static void workers_main(void *arg)
{
    struct workers *ws = arg;

    for (;;) {
        struct queue_item *item = queue_pop(&ws->queue, -1);
        if (item == NULL)
            return;
        struct work *w = (struct work *)item; /* item is its first member */
        w->run(w);
    }
}

enum err workers_new(const char *name, unsigned thread_count, size_t queue_max,
                     struct workers **ret)
{
    assert(thread_count > 0);
    assert(strlen(name) <= 11); /* 15 with the thread's number */
    struct workers *ws = calloc(1, sizeof *ws + thread_count * sizeof ws->threads[0]);
    if (ws == NULL)
        return ERR_NOMEM;
    queue_init(&ws->queue, queue_max, 0);
    for (unsigned i = 0; i < thread_count; i++) {
        char thread_name[16];
        (void)snprintf(thread_name, sizeof thread_name, "%.11s-%u", name, i % 1000);
        enum err e = thread_start(&ws->threads[i], thread_name, workers_main, ws);
        if (e != ERR_OK) {
            workers_free(ws);
            return e;
        }
        ws->thread_count++;
    }
    *ret = ws;
    return ERR_OK;
}

enum err workers_run(struct workers *ws, struct work *w)
{
    assert(w->run != NULL);
    return queue_push(&ws->queue, &w->item);
}

void workers_free(struct workers *ws)
{
    if (ws == NULL)
        return;
    queue_close(&ws->queue);
    for (unsigned i = 0; i < ws->thread_count; i++)
        thread_join(ws->threads[i]);
    queue_release(&ws->queue);
    free(ws);
}
