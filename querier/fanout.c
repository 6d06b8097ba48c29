#include "querier/fanout.h"

#include "common/sys/thread.h"

#include <assert.h>
#include <stdlib.h>

struct wait {
    struct mutex lock; /* left */
    pthread_cond_t done;
    unsigned left;
};

struct call {
    struct wait *wait;
    struct fanout_answer *answer;
};

static void call_done(void *arg, enum err err, struct slice payload)
{
    struct call *c = arg;
    struct wait *w = c->wait;

    buf_append(&c->answer->bytes, payload);
    c->answer->err = err != ERR_OK ? err : buf_err(&c->answer->bytes);
    mutex_lock(&w->lock);
    assert(w->left > 0);
    w->left--;
    (void)pthread_cond_signal(&w->done); /* under the lock: `w` may be gone right after it */
    mutex_unlock(&w->lock);
}

static bool is_reachable(const struct member *m)
{
    return m->health != MEMBER_DOWN && m->state != MEMBER_UNKNOWN;
}

enum err fanout_ask(struct members *ingesters, uint16_t method, struct slice payload,
                    int64_t timeout_ns, struct fanout *ret)
{
    unsigned count = members_count(ingesters);
    struct fanout f = {.answers = calloc(count + 1, sizeof *f.answers), .count = count};
    struct call *calls = calloc(count + 1, sizeof *calls);
    struct wait wait = {.left = 0};

    if (f.answers == NULL || calls == NULL) {
        free(f.answers);
        free(calls);
        return ERR_NOMEM;
    }
    mutex_init(&wait.lock);
    cond_init(&wait.done);
    for (unsigned i = 0; i < count; i++) {
        struct member m;
        members_get(ingesters, i, &m);
        struct rpc_client *client = members_query(ingesters, i);
        buf_init(&f.answers[i].bytes, FANOUT_ANSWER_BYTES_MAX);
        f.answers[i].member = i;
        f.answers[i].err = ERR_UNAVAILABLE;
        calls[i] = (struct call){.wait = &wait, .answer = &f.answers[i]};
        if (client == NULL || !is_reachable(&m))
            continue;
        mutex_lock(&wait.lock);
        wait.left++;
        mutex_unlock(&wait.lock);
        enum err e = rpc_call(client, method, &payload, 1, timeout_ns, call_done, &calls[i]);
        if (e != ERR_OK)
            call_done(&calls[i], e, SLICE_NONE);
    }
    mutex_lock(&wait.lock);
    while (wait.left != 0)
        (void)cond_wait(&wait.done, &wait.lock, -1);
    mutex_unlock(&wait.lock);
    mutex_release(&wait.lock);
    for (unsigned i = 0; i < count; i++)
        f.missing += f.answers[i].err != ERR_OK;
    free(calls);
    *ret = f;
    return ERR_OK;
}

void fanout_release(struct fanout *f)
{
    for (unsigned i = 0; i < f->count; i++)
        buf_release(&f->answers[i].bytes);
    free(f->answers);
    *f = (struct fanout){0};
}
