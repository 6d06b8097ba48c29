#include "querier/fanout.h"

#include "common/base/clock.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Without a connection a call waits for one only this long: a peer that has just died must not hold up the answer of the others. */
#define CONNECT_NS (1500 * NS_PER_MS)
/* How often it is looked whether those that are still waited for are there at all. */
#define LOOK_NS    (100 * NS_PER_MS)

struct round;
struct call {
    struct round *round;
    struct buf bytes;
    enum err err;
    bool is_asked, is_done;
};

/* Lives until its last call has ended, which may be after the asker has gone on without it. */
struct round {
    struct mutex lock; /* calls' results, left */
    pthread_cond_t done;
    unsigned left;
    atomic_uint refs;
    unsigned count;
    struct call calls[];
};

static void round_unref(struct round *r)
{
    if (atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < r->count; i++)
        buf_release(&r->calls[i].bytes);
    (void)pthread_cond_destroy(&r->done);
    mutex_release(&r->lock);
    free(r);
}

static struct round *round_new(unsigned count)
{
    struct round *r = calloc(1, sizeof *r + count * sizeof *r->calls);

    if (r == NULL)
        return NULL;
    mutex_init(&r->lock);
    cond_init(&r->done);
    atomic_init(&r->refs, 1);
    r->count = count;
    for (unsigned i = 0; i < count; i++) {
        r->calls[i] = (struct call){.round = r, .err = ERR_UNAVAILABLE};
        buf_init(&r->calls[i].bytes, FANOUT_ANSWER_BYTES_MAX);
    }
    return r;
}

static void call_done(void *arg, enum err err, struct slice payload)
{
    struct call *c = arg;
    struct round *r = c->round;

    mutex_lock(&r->lock);
    buf_append(&c->bytes, payload);
    c->err = err != ERR_OK ? err : buf_err(&c->bytes);
    c->is_done = true;
    assert(r->left > 0);
    r->left--;
    (void)pthread_cond_signal(&r->done);
    mutex_unlock(&r->lock);
    round_unref(r);
}

static bool is_reachable(struct members *ingesters, unsigned i)
{
    struct member m;

    members_get(ingesters, i, &m);
    return m.health != MEMBER_DOWN && m.state != MEMBER_UNKNOWN;
}

static void ask_one(struct round *r, unsigned i, struct members *ingesters, uint16_t method,
                    struct slice payload, int64_t timeout_ns)
{
    struct rpc_client *client = members_query(ingesters, i);

    if (client == NULL || !is_reachable(ingesters, i))
        return;
    if (!rpc_client_is_connected(client) && timeout_ns > CONNECT_NS)
        timeout_ns = CONNECT_NS;
    mutex_lock(&r->lock);
    r->calls[i].is_asked = true;
    r->left++;
    mutex_unlock(&r->lock);
    atomic_fetch_add(&r->refs, 1);
    enum err e = rpc_call(client, method, &payload, 1, timeout_ns, call_done, &r->calls[i]);
    if (e != ERR_OK)
        call_done(&r->calls[i], e, SLICE_NONE);
}

/* Is there one among those that have not answered that still may?  With the lock held. */
static bool is_worth_waiting(const struct round *r, struct members *ingesters)
{
    for (unsigned i = 0; i < r->count; i++)
        if (r->calls[i].is_asked && !r->calls[i].is_done && is_reachable(ingesters, i))
            return true;
    return false;
}

/* The answers are taken out; a call that ends later finds nobody. */
static void collect(struct round *r, struct fanout *f)
{
    for (unsigned i = 0; i < r->count; i++) {
        struct call *c = &r->calls[i];
        f->answers[i] = (struct fanout_answer){.err = ERR_UNAVAILABLE, .member = i};
        buf_init(&f->answers[i].bytes, FANOUT_ANSWER_BYTES_MAX);
        if (c->is_done) {
            f->answers[i].err = c->err;
            f->answers[i].bytes = c->bytes;
            buf_init(&c->bytes, FANOUT_ANSWER_BYTES_MAX);
        }
        f->missing += f->answers[i].err != ERR_OK;
    }
}

enum err fanout_ask(struct members *ingesters, uint16_t method, struct slice payload,
                    int64_t timeout_ns, struct fanout *ret)
{
    unsigned count = members_count(ingesters);
    struct fanout f = {.answers = calloc(count + 1, sizeof *f.answers), .count = count};
    struct round *r = round_new(count);

    if (f.answers == NULL || r == NULL) {
        free(f.answers);
        if (r != NULL)
            round_unref(r);
        return ERR_NOMEM;
    }
    for (unsigned i = 0; i < count; i++)
        ask_one(r, i, ingesters, method, payload, timeout_ns);
    mutex_lock(&r->lock);
    while (r->left != 0) {
        if (!cond_wait(&r->done, &r->lock, LOOK_NS) && !is_worth_waiting(r, ingesters))
            break;
    }
    collect(r, &f);
    mutex_unlock(&r->lock);
    round_unref(r);
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
