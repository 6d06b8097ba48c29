#include "common/ring/members.h"

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/ring/members_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MEMBERS_SUSPECT_AFTER = 2,
    MEMBERS_DOWN_AFTER = 3,
    MEMBERS_UP_AFTER = 2,
    MEMBERS_CONTROL_CONTEXTS = 8,
    MEMBERS_CONTROL_RECEIVE_BYTES_MAX = 16 << 20 /* metrics texts too */
};

static int64_t members_now_ns(void)
{
    return clock_mono_ns(&clock_system);
}

const char *member_state_name(enum member_state state)
{
    switch (state) {
    case MEMBER_UNKNOWN: return "UNKNOWN";
    case MEMBER_STARTING: return "STARTING";
    case MEMBER_REPLAYING: return "REPLAYING";
    case MEMBER_ACTIVE: return "ACTIVE";
    case MEMBER_READONLY: return "READONLY";
    case MEMBER_DRAINING: return "DRAINING";
    case MEMBER_FAILED: return "FAILED";
    }
    return "UNKNOWN";
}

const char *member_health_name(enum member_health health)
{
    switch (health) {
    case MEMBER_UP: return "up";
    case MEMBER_SUSPECT: return "suspect";
    case MEMBER_DOWN: return "down";
    }
    return "down";
}

/* --- what is known of a member; all under the view's write lock --- */

static void members_set_problem(struct members_candidate *c, const char *problem)
{
    (void)snprintf(c->problem, sizeof c->problem, "%s", problem);
}

static void members_note_missed(struct members_candidate *c, bool was_connected, enum err err)
{
    c->good = 0;
    c->missed++;
    /* A connection that breaks says as much as two silences. */
    if (was_connected && err == ERR_UNAVAILABLE && c->missed < MEMBERS_SUSPECT_AFTER)
        c->missed = MEMBERS_SUSPECT_AFTER;
    if (c->missed >= MEMBERS_DOWN_AFTER)
        c->member.health = MEMBER_DOWN;
    else if (c->missed >= MEMBERS_SUSPECT_AFTER && c->member.health == MEMBER_UP)
        c->member.health = MEMBER_SUSPECT;
    if (c->member.health != MEMBER_UP)
        members_set_problem(c, err == ERR_TIMEOUT ? "does not answer" : "can not be reached");
}

static void members_note_refused(struct members_candidate *c, const char *why)
{
    c->is_refused = true;
    c->good = c->missed = 0;
    c->member.health = MEMBER_DOWN;
    c->member.state = MEMBER_UNKNOWN;
    members_set_problem(c, why);
}

static bool members_is_id_taken(const struct members *m, const struct members_candidate *c,
                                const char *id)
{
    for (unsigned i = 0; i < m->count; i++) {
        const struct members_candidate *other = &m->candidates[i];
        if (other != c && !other->is_refused && other->member.health != MEMBER_DOWN &&
            strcmp(other->member.id, id) == 0)
            return true;
    }
    return false;
}

static void members_note_hello(struct members_candidate *c, const struct members_hello *h)
{
    struct member *member = &c->member;
    bool is_first = member->id[0] == '\0' || strcmp(member->id, h->id) != 0;

    _Static_assert(sizeof member->id == sizeof h->id, "copied whole");
    _Static_assert(sizeof member->boot_id == sizeof h->boot_id, "copied whole");
    _Static_assert(sizeof member->zone == sizeof h->zone, "copied whole");
    memcpy(member->id, h->id, sizeof member->id);
    memcpy(member->boot_id, h->boot_id, sizeof member->boot_id);
    memcpy(member->zone, h->zone, sizeof member->zone);
    member->id_hash = hash_plain(slice_str(member->id));
    member->state = h->state <= MEMBER_FAILED ? (enum member_state)h->state : MEMBER_UNKNOWN;
    c->is_refused = false;
    c->missed = 0;
    c->good++;
    c->last_hello_ns = members_now_ns();
    /* Nobody was missed who was never there: the first hello counts at once. */
    if (is_first || c->good >= MEMBERS_UP_AFTER)
        member->health = MEMBER_UP;
    if (member->health == MEMBER_UP)
        c->problem[0] = '\0';
}

/* --- lanes --- */

/* `told` with the control address's host where it has none of its own.  False: not an address. */
static bool members_resolve_url(const char *told, const char *control_url,
                                char ret[MEMBERS_URL_BYTES])
{
    static const char *const nowhere[] = {"tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:", "tcp://:"};
    const char *port = NULL;

    if (strncmp(told, "tcp://", 6) != 0 || strrchr(told + 6, ':') == NULL)
        return false;
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++) {
        size_t len = strlen(nowhere[i]);
        if (strncmp(told, nowhere[i], len) == 0)
            port = told + len - 1;
    }
    int n = port == NULL
                ? snprintf(ret, MEMBERS_URL_BYTES, "%s", told)
                : snprintf(ret, MEMBERS_URL_BYTES, "%.*s%s",
                           (int)(strrchr(control_url, ':') - control_url), control_url, port);
    return n > 0 && n < MEMBERS_URL_BYTES;
}

/* Makes the lane's client when the member tells where it is, and another when it moves.  False: there should be one and is none. */
static bool members_set_lane(struct members_candidate *c, struct members_lane *lane,
                             const char *told, size_t receive_bytes_max)
{
    char url[MEMBERS_URL_BYTES];
    struct rpc_client *client;
    struct rpc_client *before = atomic_load_explicit(&lane->client, memory_order_relaxed);

    if (told[0] == '\0')
        return true; /* not everybody has both */
    if (!members_resolve_url(told, c->control_url, url))
        return before != NULL;
    if (strcmp(url, lane->url) == 0)
        return true;
    if (before != NULL && c->retired_count == MEMBERS_RETIRED_MAX)
        return true; /* moves without end are not followed */
    struct rpc_client_options o = {
        .url = url, .receive_bytes_max = receive_bytes_max, .contexts = c->members->contexts};
    if (rpc_client_new(&o, &client) != ERR_OK)
        return before != NULL; /* the next hello tries again */
    memcpy(lane->url, url, sizeof lane->url);
    atomic_store_explicit(&lane->client, client, memory_order_release);
    if (before != NULL)
        c->retired[c->retired_count++] = before;
    return true;
}

/* --- heartbeat --- */

/* On nng's thread: hands over and returns. */
static void members_on_answer(void *arg, enum err err, struct slice payload)
{
    struct members_candidate *c = arg;
    struct members *m = c->members;

    mutex_lock(&m->lock);
    buf_reset(&c->answer);
    if (err == ERR_OK && payload.len <= MEMBERS_HELLO_BYTES_MAX)
        buf_append(&c->answer, payload);
    c->answer_err = err != ERR_OK ? err : buf_err(&c->answer);
    c->is_answered = true;
    (void)pthread_cond_signal(&m->wake);
    mutex_unlock(&m->lock);
}

static void members_ask(struct members_candidate *c, int64_t now_ns)
{
    struct members *m = c->members;

    if (now_ns < c->quarantine_until_ns)
        return;
    mutex_lock(&m->lock);
    bool is_asked = c->is_asked;
    c->is_asked = true;
    mutex_unlock(&m->lock);
    if (is_asked)
        return; /* its time-out is due any moment and counts then */
    struct slice hello = buf_slice(&m->hello);
    c->asked_ns = now_ns;
    c->was_connected = rpc_client_is_connected(c->control);
    /* A little less than the period, so that one miss is known when the next hello is due. */
    enum err e = rpc_call(c->control, RPC_HELLO, &hello, 1, m->period_ns - m->period_ns / 10,
                          members_on_answer, c);
    if (e != ERR_OK)
        members_on_answer(c, e, SLICE_NONE);
}

/* Whether the one who answered is the one that is meant; NULL: yes. */
static const char *members_problem_of(const struct members *m, const struct members_candidate *c,
                                      const struct members_hello *h)
{
    if (strcmp(h->cluster, m->cluster) != 0)
        return "is of another cluster";
    if (strcmp(h->role, m->role) != 0)
        return "has another role";
    if (members_is_id_taken(m, c, h->id))
        return "has the instance id of another member";
    return NULL;
}

/* Works in an answer.  `answer` is borrowed from the candidate, which is not asked again before this returns. */
static void members_work_in(struct members_candidate *c, enum err err, struct slice answer)
{
    struct members *m = c->members;
    struct members_hello h = {0};
    const char *problem = NULL;

    if (err == ERR_FORBIDDEN)
        problem = "refuses us: another cluster";
    else if (err == ERR_OK && members_pb_read_reply(answer, &h) != ERR_OK)
        problem = "answers what is no hello";
    (void)pthread_rwlock_rdlock(&m->view);
    if (err == ERR_OK && problem == NULL)
        problem = members_problem_of(m, c, &h);
    (void)pthread_rwlock_unlock(&m->view);
    bool is_good = err == ERR_OK && problem == NULL;
    /* The lanes first: whoever is placed can be sent to. */
    bool has_lanes = is_good &&
                     members_set_lane(c, &c->push, h.push_url, m->push_receive_bytes_max) &&
                     members_set_lane(c, &c->query, h.query_url, m->query_receive_bytes_max);
    (void)pthread_rwlock_wrlock(&m->view);
    if (is_good) {
        members_note_hello(c, &h);
        c->has_lanes = has_lanes;
        memcpy(c->push_url, c->push.url, sizeof c->push_url);
        memcpy(c->query_url, c->query.url, sizeof c->query_url);
    } else if (problem != NULL) {
        members_note_refused(c, problem);
    } else {
        members_note_missed(c, c->was_connected, err);
    }
    (void)pthread_rwlock_unlock(&m->view);
    if (problem != NULL)
        c->quarantine_until_ns = c->asked_ns + m->quarantine_ns;
}

/* Works in all answers that are there; called and left with the lock held. */
static void members_work(struct members *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        struct members_candidate *c = &m->candidates[i];
        if (!c->is_answered)
            continue;
        c->is_answered = false;
        enum err e = c->answer_err;
        mutex_unlock(&m->lock);
        members_work_in(c, e, buf_slice(&c->answer));
        mutex_lock(&m->lock);
        c->is_asked = false;
    }
}

static void members_main(void *arg)
{
    struct members *m = arg;
    int64_t next_ns = members_now_ns();

    mutex_lock(&m->lock);
    while (!m->is_stopping) {
        int64_t now_ns = members_now_ns();
        if (now_ns >= next_ns) {
            mutex_unlock(&m->lock);
            for (unsigned i = 0; i < m->count; i++)
                members_ask(&m->candidates[i], now_ns);
            next_ns += m->period_ns;
            if (next_ns < now_ns) /* the process slept: no burst of hellos for the time lost */
                next_ns = now_ns + m->period_ns;
            mutex_lock(&m->lock);
        } else {
            (void)cond_wait(&m->wake, &m->lock, next_ns - now_ns);
        }
        members_work(m);
    }
    mutex_unlock(&m->lock);
}

/* --- life --- */

static enum err members_init_candidate(struct members *m, unsigned index, const char *url)
{
    struct members_candidate *c = &m->candidates[index];

    c->members = m;
    c->member.index = index;
    c->member.health = MEMBER_DOWN;
    members_set_problem(c, "not heard of yet");
    buf_init(&c->answer, MEMBERS_HELLO_BYTES_MAX);
    size_t len = strlen(url);
    if (strncmp(url, "tcp://", 6) != 0 || strrchr(url + 6, ':') == NULL ||
        len >= sizeof c->control_url)
        return ERR_INVALID;
    memcpy(c->control_url, url, len + 1);
    struct rpc_client_options o = {.url = c->control_url,
                                   .receive_bytes_max = MEMBERS_CONTROL_RECEIVE_BYTES_MAX,
                                   .contexts = MEMBERS_CONTROL_CONTEXTS};
    return rpc_client_new(&o, &c->control);
}

static enum err members_set_up(struct members *m, const struct members_options *o)
{
    struct members_hello own = {0};
    const struct {
        const char *from;
        char *to;
        size_t size;
    } texts[] = {{o->cluster, own.cluster, sizeof own.cluster},
                 {o->own_role, own.role, sizeof own.role},
                 {o->own_id, own.id, sizeof own.id},
                 {o->own_boot_id, own.boot_id, sizeof own.boot_id},
                 {MEMBERS_PROTOCOL_VERSION, own.version, sizeof own.version},
                 {o->cluster, m->cluster, sizeof m->cluster},
                 {o->role, m->role, sizeof m->role}};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *from = texts[i].from != NULL ? texts[i].from : "";
        if (strlen(from) >= texts[i].size)
            return ERR_INVALID;
        memcpy(texts[i].to, from, strlen(from) + 1);
    }
    enum err e = members_pb_write_request(&own, &m->hello);
    for (unsigned i = 0; i < o->url_count && e == ERR_OK; i++) {
        m->count = i + 1;
        e = members_init_candidate(m, i, o->control_urls[i]);
    }
    if (e == ERR_OK)
        e = thread_start(&m->thread, "members", members_main, m);
    m->has_thread = e == ERR_OK;
    return e;
}

enum err members_new(const struct members_options *o, struct members **ret)
{
    assert(o->role != NULL);
    assert(o->contexts > 0 || o->url_count == 0);

    if (o->url_count > MEMBERS_MAX)
        return ERR_TOO_LARGE;
    struct members *m = calloc(1, sizeof *m + o->url_count * sizeof m->candidates[0]);
    if (m == NULL)
        return ERR_NOMEM;
    mutex_init(&m->lock);
    cond_init(&m->wake);
    if (pthread_rwlock_init(&m->view, NULL) != 0)
        abort();
    buf_init(&m->hello, MEMBERS_HELLO_BYTES_MAX);
    m->push_receive_bytes_max = o->push_receive_bytes_max;
    m->query_receive_bytes_max = o->query_receive_bytes_max;
    m->contexts = o->contexts;
    m->period_ns = o->period_ns > 0 ? o->period_ns : NS_PER_S;
    m->quarantine_ns = o->quarantine_ns > 0 ? o->quarantine_ns : 30 * NS_PER_S;
    enum err e = members_set_up(m, o);
    if (e == ERR_OK)
        *ret = m;
    else
        members_free(m);
    return e;
}

void members_free(struct members *m)
{
    if (m == NULL)
        return;
    mutex_lock(&m->lock);
    m->is_stopping = true;
    (void)pthread_cond_signal(&m->wake);
    mutex_unlock(&m->lock);
    if (m->has_thread)
        thread_join(m->thread);
    for (unsigned i = 0; i < m->count; i++) {
        struct members_candidate *c = &m->candidates[i];
        rpc_client_free(c->control); /* ends its hello, which still writes into the candidate */
        rpc_client_free(atomic_load_explicit(&c->push.client, memory_order_relaxed));
        rpc_client_free(atomic_load_explicit(&c->query.client, memory_order_relaxed));
        for (unsigned r = 0; r < c->retired_count; r++)
            rpc_client_free(c->retired[r]);
        buf_release(&c->answer);
    }
    buf_release(&m->hello);
    (void)pthread_rwlock_destroy(&m->view);
    (void)pthread_cond_destroy(&m->wake);
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
    (void)pthread_rwlock_rdlock(&m->view);
    *ret = m->candidates[index].member;
    (void)pthread_rwlock_unlock(&m->view);
}

unsigned members_unheard(struct members *m)
{
    unsigned n = 0;

    (void)pthread_rwlock_rdlock(&m->view);
    for (unsigned i = 0; i < m->count; i++) {
        const struct members_candidate *c = &m->candidates[i];
        n += c->last_hello_ns == 0 && !c->is_refused && c->missed < MEMBERS_DOWN_AFTER;
    }
    (void)pthread_rwlock_unlock(&m->view);
    return n;
}

struct rpc_client *members_push(struct members *m, unsigned index)
{
    assert(index < m->count);
    return atomic_load_explicit(&m->candidates[index].push.client, memory_order_acquire);
}

struct rpc_client *members_query(struct members *m, unsigned index)
{
    assert(index < m->count);
    return atomic_load_explicit(&m->candidates[index].query.client, memory_order_acquire);
}

struct rpc_client *members_control(struct members *m, unsigned index)
{
    assert(index < m->count);
    return m->candidates[index].control;
}

void members_report(struct members *m, unsigned index, enum err err)
{
    assert(index < m->count);
    struct members_candidate *c = &m->candidates[index];

    if (err != ERR_UNAVAILABLE && err != ERR_TIMEOUT)
        return; /* an answer, if not a nice one */
    (void)pthread_rwlock_wrlock(&m->view);
    if (c->member.health == MEMBER_UP) {
        c->member.health = MEMBER_SUSPECT;
        members_set_problem(c, "failed a request");
    }
    if (c->missed < MEMBERS_SUSPECT_AFTER)
        c->missed = MEMBERS_SUSPECT_AFTER;
    c->good = 0;
    (void)pthread_rwlock_unlock(&m->view);
}
