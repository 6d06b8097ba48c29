#include "common/ring/members.h"

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/reader.h"
#include "common/ring/member_hello.h"
#include "common/ring/members_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SUSPECT_AFTER = 2,
    DOWN_AFTER = 3,
    UP_AFTER = 2,
    HELLO_BYTES_MAX = 16 * 1024,
    CONTROL_CONTEXTS = 4
};
#define PERIOD_NS  NS_PER_S
#define REFUSED_NS (30 * NS_PER_S)

static void text_copy(char *to, size_t len, struct slice from)
{
    size_t n = from.len < len - 1 ? from.len : len - 1;

    if (n != 0)
        memcpy(to, from.ptr, n);
    to[n] = '\0';
}

static void hello_done(void *arg, enum err err, struct slice payload)
{
    struct members_candidate *c = arg;
    struct members *m = c->owner;

    mutex_lock(&m->lock);
    buf_reset(&c->reply);
    buf_append(&c->reply, payload);
    c->reply_err = err != ERR_OK ? err : buf_err(&c->reply);
    c->has_reply = true;
    (void)pthread_cond_signal(&m->changed);
    mutex_unlock(&m->lock);
}

static void missed(struct members_candidate *c)
{
    c->goods = 0;
    c->misses++;
    if (c->misses >= DOWN_AFTER)
        c->member.health = MEMBER_DOWN;
    else if (c->misses >= SUSPECT_AFTER && c->member.health == MEMBER_UP)
        c->member.health = MEMBER_SUSPECT;
}

/* The lane that a hello tells, with the candidate's own host where it names none. */
static void lane_url(const struct members_candidate *c, struct slice told,
                     char ret[MEMBERS_URL_BYTES])
{
    static const char *const nowhere[] = {"tcp://0.0.0.0:", "tcp://[::]:", "tcp://:", "tcp://*:"};
    const char *port_of_control = strrchr(c->url, ':');

    text_copy(ret, MEMBERS_URL_BYTES, told);
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++) {
        struct slice prefix = slice_str(nowhere[i]);
        if (!slice_has_prefix(told, prefix) || port_of_control == NULL)
            continue;
        (void)snprintf(ret, MEMBERS_URL_BYTES, "%.*s:" SLICE_FMT, (int)(port_of_control - c->url),
                       c->url, SLICE_ARG(slice_sub(told, prefix.len, told.len)));
        return;
    }
}

static void lane_set(struct members *m, const struct members_candidate *c, struct slice told,
                     size_t receive_bytes_max, char url[MEMBERS_URL_BYTES],
                     struct rpc_client **client)
{
    char next[MEMBERS_URL_BYTES];
    struct rpc_client *made;

    lane_url(c, told, next);
    if (next[0] == '\0' || (*client != NULL && strcmp(next, url) == 0))
        return;
    struct rpc_client_options o = {
        .url = next, .receive_bytes_max = receive_bytes_max, .contexts = m->contexts};
    if (m->retired_count == MEMBERS_RETIRED_MAX || rpc_client_new(&o, &made) != ERR_OK)
        return;
    if (*client != NULL)
        m->retired[m->retired_count++] = *client;
    *client = made;
    memcpy(url, next, sizeof next);
}

static void good(struct members *m, struct members_candidate *c, const struct member_hello *h)
{
    bool is_first = c->member.id[0] == '\0' || !slice_eq_str(h->instance_id, c->member.id);

    text_copy(c->member.id, sizeof c->member.id, h->instance_id);
    text_copy(c->member.boot_id, sizeof c->member.boot_id, h->boot_id);
    text_copy(c->member.zone, sizeof c->member.zone, h->zone);
    c->member.id_hash = hash_plain(slice_str(c->member.id));
    c->member.state = h->state <= MEMBER_FAILED ? (enum member_state)h->state : MEMBER_UNKNOWN;
    c->misses = 0;
    c->goods++;
    if (is_first || c->goods >= UP_AFTER)
        c->member.health = MEMBER_UP;
    lane_set(m, c, h->push_url, m->push_receive_bytes_max, c->push_url, &c->push);
    lane_set(m, c, h->query_url, m->query_receive_bytes_max, c->query_url, &c->query);
}

/* Lock held. */
static void reply_take(struct members *m, struct members_candidate *c)
{
    struct member_hello h;

    c->has_reply = false;
    c->is_asked = false;
    if (c->reply_err != ERR_OK || !member_hello_read(buf_slice(&c->reply), &h)) {
        missed(c);
        return;
    }
    c->is_refused = !slice_eq_str(h.cluster, m->cluster) || !slice_eq_str(h.role, m->role) ||
                    h.instance_id.len == 0;
    if (c->is_refused) {
        c->member.health = MEMBER_DOWN;
        c->member.state = MEMBER_UNKNOWN;
        c->refused_until_ns = clock_mono_ns(&clock_system) + REFUSED_NS;
        return;
    }
    good(m, c, &h);
}

static void ask(struct members *m, struct members_candidate *c, struct slice hello)
{
    enum err e = rpc_call(c->control, RPC_HELLO, &hello, 1, m->period_ns, hello_done, c);

    if (e == ERR_OK)
        return;
    mutex_lock(&m->lock);
    c->is_asked = false;
    missed(c);
    mutex_unlock(&m->lock);
}

/* Asks those that are not being asked; the lock is not held over the calls. */
static void ask_all(struct members *m, struct slice hello)
{
    for (unsigned i = 0; i < m->count; i++) {
        struct members_candidate *c = &m->candidates[i];
        mutex_lock(&m->lock);
        bool is_due = !c->is_asked && clock_mono_ns(&clock_system) >= c->refused_until_ns;
        c->is_asked = c->is_asked || is_due;
        mutex_unlock(&m->lock);
        if (is_due)
            ask(m, c, hello);
    }
}

static void heartbeat_run(void *arg)
{
    struct members *m = arg;
    struct buf hello;
    int64_t next_ns = 0;

    buf_init(&hello, HELLO_BYTES_MAX);
    member_hello_write_request(&hello, m->cluster, m->own_role, m->own_id, m->own_boot_id);
    mutex_lock(&m->lock);
    while (!m->is_stopping) {
        int64_t now = clock_mono_ns(&clock_system);
        for (unsigned i = 0; i < m->count; i++)
            if (m->candidates[i].has_reply)
                reply_take(m, &m->candidates[i]);
        if (now >= next_ns) {
            mutex_unlock(&m->lock);
            ask_all(m, buf_slice(&hello));
            mutex_lock(&m->lock);
            next_ns = now + m->period_ns;
            continue;
        }
        (void)cond_wait(&m->changed, &m->lock, next_ns - now);
    }
    mutex_unlock(&m->lock);
    buf_release(&hello);
}

static enum err candidates_open(struct members *m, const struct members_options *o)
{
    m->candidates = calloc(o->url_count + 1, sizeof *m->candidates);
    if (m->candidates == NULL)
        return ERR_NOMEM;
    for (unsigned i = 0; i < o->url_count; i++) {
        struct members_candidate *c = &m->candidates[i];
        struct rpc_client_options client = {.url = o->control_urls[i],
                                            .receive_bytes_max = HELLO_BYTES_MAX,
                                            .contexts = CONTROL_CONTEXTS};
        c->owner = m;
        c->member.index = i;
        c->member.health = MEMBER_DOWN; /* until it says hello */
        buf_init(&c->reply, HELLO_BYTES_MAX);
        text_copy(c->url, sizeof c->url, slice_str(o->control_urls[i]));
        enum err e = rpc_client_new(&client, &c->control);
        if (e != ERR_OK)
            return e;
        m->count = i + 1;
    }
    return ERR_OK;
}

enum err members_new(const struct members_options *o, struct members **ret)
{
    assert(o->role != NULL);
    assert(o->cluster != NULL);
    if (o->url_count > MEMBERS_MAX)
        return ERR_TOO_LARGE;
    struct members *m = calloc(1, sizeof *m);
    if (m == NULL)
        return ERR_NOMEM;
    text_copy(m->role, sizeof m->role, slice_str(o->role));
    text_copy(m->cluster, sizeof m->cluster, slice_str(o->cluster));
    text_copy(m->own_role, sizeof m->own_role, slice_str(o->own_role));
    text_copy(m->own_id, sizeof m->own_id, slice_str(o->own_id));
    text_copy(m->own_boot_id, sizeof m->own_boot_id, slice_str(o->own_boot_id));
    m->push_receive_bytes_max = o->push_receive_bytes_max;
    m->query_receive_bytes_max = o->query_receive_bytes_max;
    m->contexts = o->contexts == 0 ? 1 : o->contexts;
    m->period_ns = o->period_ns == 0 ? PERIOD_NS : o->period_ns;
    mutex_init(&m->lock);
    cond_init(&m->changed);
    enum err e = candidates_open(m, o);
    if (e == ERR_OK)
        e = thread_start(&m->thread, "heartbeat", heartbeat_run, m);
    if (e != ERR_OK) {
        members_free(m);
        return e;
    }
    m->is_running = true;
    *ret = m;
    return ERR_OK;
}

void members_free(struct members *m)
{
    if (m == NULL)
        return;
    if (m->is_running) {
        mutex_lock(&m->lock);
        m->is_stopping = true;
        (void)pthread_cond_signal(&m->changed);
        mutex_unlock(&m->lock);
        thread_join(m->thread);
    }
    for (unsigned i = 0; i < m->count; i++) {
        rpc_client_free(m->candidates[i].control);
        rpc_client_free(m->candidates[i].push);
        rpc_client_free(m->candidates[i].query);
        buf_release(&m->candidates[i].reply);
    }
    for (unsigned i = 0; i < m->retired_count; i++)
        rpc_client_free(m->retired[i]);
    free(m->candidates);
    (void)pthread_cond_destroy(&m->changed);
    mutex_release(&m->lock);
    free(m);
}

unsigned members_count(const struct members *m)
{
    return m->count;
}

void members_get(struct members *m, unsigned index, struct member *ret)
{
    assert(index < m->count);
    mutex_lock(&m->lock);
    *ret = m->candidates[index].member;
    mutex_unlock(&m->lock);
}

struct rpc_client *members_push(struct members *m, unsigned index)
{
    assert(index < m->count);
    mutex_lock(&m->lock);
    struct rpc_client *client = m->candidates[index].push;
    mutex_unlock(&m->lock);
    return client;
}

struct rpc_client *members_query(struct members *m, unsigned index)
{
    assert(index < m->count);
    mutex_lock(&m->lock);
    struct rpc_client *client = m->candidates[index].query;
    mutex_unlock(&m->lock);
    return client;
}

struct rpc_client *members_control(struct members *m, unsigned index)
{
    assert(index < m->count);
    return m->candidates[index].control;
}

/* Highest random weight: the same for every process that knows the same ids. */
static uint64_t weight(uint64_t key, uint64_t id_hash)
{
    uint64_t x = key ^ id_hash;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

unsigned members_place(struct members *m, struct slice tenant, struct trace_id id,
                       unsigned *ret_indexes, unsigned max)
{
    uint64_t weights[MEMBERS_MAX],
        key = hash_with((struct slice){id.b, TRACE_ID_BYTES}, hash_plain(tenant));
    unsigned n = 0;

    mutex_lock(&m->lock);
    for (unsigned i = 0; i < m->count; i++) {
        const struct member *one = &m->candidates[i].member;
        if (one->state != MEMBER_ACTIVE || one->health == MEMBER_DOWN ||
            m->candidates[i].push == NULL)
            continue;
        uint64_t w = weight(key, one->id_hash) >> 1;
        if (one->health == MEMBER_UP)
            w |= (uint64_t)1 << 63; /* before all suspects */
        unsigned at = n < max ? n : max;
        while (at > 0 && weights[at - 1] < w) {
            if (at < max) {
                weights[at] = weights[at - 1];
                ret_indexes[at] = ret_indexes[at - 1];
            }
            at--;
        }
        if (at < max) {
            weights[at] = w;
            ret_indexes[at] = i;
            n = n < max ? n + 1 : max;
        }
    }
    mutex_unlock(&m->lock);
    return n;
}

void members_report(struct members *m, unsigned index, enum err err)
{
    assert(index < m->count);
    if (err != ERR_TIMEOUT && err != ERR_UNAVAILABLE && err != ERR_CORRUPT)
        return; /* it answered */
    mutex_lock(&m->lock);
    struct members_candidate *c = &m->candidates[index];
    if (c->member.health == MEMBER_UP) {
        c->member.health = MEMBER_SUSPECT;
        c->goods = 0;
    }
    mutex_unlock(&m->lock);
}
