/* One request with all its attempts, and what is made of single requests. */
#include "common/objstore/remote.h"

#include "common/base/num.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TIMEOUT_NS         (20 * NS_PER_S)
#define TIMEOUT_NS_PER_MIB (2 * NS_PER_S)
#define REPEAT_SHARE       0.1
#define REPEATS_PER_S      1.0

enum { WHOLE_BYTES_MAX = 256 << 20 };

/* --- how much more than asked for --- */

/* Each request earns a share of a further one, and time does, so that a store in trouble is not asked ten times as much. */
static bool may_ask(struct remote *r, struct remote_allowance *w, bool is_first)
{
    int64_t now = clock_mono_ns(r->clock);

    mutex_lock(&r->lock);
    w->saved += (double)(now - w->at_ns) / (double)NS_PER_S * REPEATS_PER_S;
    w->at_ns = now;
    if (is_first)
        w->saved += REPEAT_SHARE;
    if (w->saved > REMOTE_REPEATS_SAVED)
        w->saved = REMOTE_REPEATS_SAVED;
    bool may = is_first || w->saved >= 1;
    if (!is_first && may)
        w->saved -= 1;
    mutex_unlock(&r->lock);
    return may;
}

/* --- one attempt, perhaps hedged --- */

/* What the attempts of one round share; the last of them frees it. */
struct flight {
    struct mutex lock; /* the fields below */
    pthread_cond_t ended;
    unsigned refs, under_way;
    bool has_answer;
    enum err err;
    struct remote_answer answer;
    const char *hint_header;
};

static void flight_unref(struct flight *f)
{
    mutex_lock(&f->lock);
    bool is_last = --f->refs == 0;
    mutex_unlock(&f->lock);
    if (!is_last)
        return;
    remote_answer_release(&f->answer);
    mutex_release(&f->lock);
    (void)pthread_cond_destroy(&f->ended);
    free(f);
}

void remote_answer_release(struct remote_answer *a)
{
    buf_release(&a->body);
}

/* On the client's thread.  A good answer ends the wait; a bad one only when no other is to come. */
static void on_answer(void *arg, const struct http_answer *h)
{
    struct flight *f = arg;

    mutex_lock(&f->lock);
    f->under_way--;
    bool is_good = h->err == ERR_OK && h->status < 500;
    if (!f->has_answer && (is_good || f->under_way == 0)) {
        struct remote_answer *a = &f->answer;
        f->has_answer = true;
        f->err = h->err;
        a->status = h->status;
        if (h->err == ERR_OK) {
            http_client_header(h, "ETag", a->etag, sizeof a->etag);
            http_client_header(h, "Content-Length", a->length, sizeof a->length);
            http_client_header(h, "Content-Range", a->range, sizeof a->range);
            http_client_header(h, "Range", a->kept, sizeof a->kept);
            http_client_header(h, f->hint_header, a->hint, sizeof a->hint);
            http_client_header(h, "Date", a->date, sizeof a->date);
            buf_append(&a->body, h->body);
            f->err = buf_err(&a->body);
        }
        (void)pthread_cond_signal(&f->ended);
    }
    mutex_unlock(&f->lock);
    flight_unref(f);
}

static enum err flight_send(struct remote *r, struct flight *f, const struct http_call *call)
{
    mutex_lock(&f->lock);
    f->refs++;
    f->under_way++;
    mutex_unlock(&f->lock);
    enum err e = http_client_send(r->http, call, on_answer, f);
    if (e != ERR_OK) {
        mutex_lock(&f->lock);
        f->under_way--;
        mutex_unlock(&f->lock);
        flight_unref(f);
    }
    return e;
}

static enum err flight_run(struct remote *r, const struct http_call *call, bool may_hedge,
                           struct remote_answer *ret)
{
    struct flight *f = calloc(1, sizeof *f);
    unsigned more = may_hedge && r->tries.hedge_at_ns > 0 ? r->tries.hedge_max - 1 : 0;

    if (f == NULL)
        return ERR_NOMEM;
    if (more > 0)
        (void)may_ask(r, &r->hedges, true);
    f->refs = 1;
    f->hint_header = r->ops->hint_header;
    mutex_init(&f->lock);
    cond_init(&f->ended);
    buf_init(&f->answer.body, call->body_bytes_max);
    enum err e = flight_send(r, f, call);
    mutex_lock(&f->lock);
    while (e == ERR_OK && !f->has_answer) {
        if (cond_wait(&f->ended, &f->lock, more > 0 ? r->tries.hedge_at_ns : -1) || f->has_answer ||
            more == 0)
            continue;
        more--;
        mutex_unlock(&f->lock);
        bool may = may_ask(r, &r->hedges, false);
        enum err second = may ? flight_send(r, f, call) : ERR_LIMIT;
        if (second == ERR_OK)
            metric_inc(r->hedged);
        mutex_lock(&f->lock);
        if (second != ERR_OK)
            more = 0; /* the first is still under way */
    }
    if (e == ERR_OK)
        e = f->err;
    if (e == ERR_OK) {
        *ret = f->answer;
        buf_init(&f->answer.body, 1);
    }
    mutex_unlock(&f->lock);
    flight_unref(f);
    return e;
}

/* A range answered in full and at its place: some servers give less, or everything. */
static bool is_the_range(const struct remote_request *q, const struct remote_answer *a)
{
    unsigned long long from = 0;

    return a->status == 206 && a->body.len == q->len &&
           (a->range[0] == '\0' ||
            (sscanf(a->range, "bytes %llu-", &from) == 1 && from == q->offset));
}

static enum err err_of(unsigned status)
{
    return status == 401                    ? ERR_UNAUTHENTICATED
           : status == 403                  ? ERR_FORBIDDEN
           : status == 404                  ? ERR_NOT_FOUND
           : status == 416                  ? ERR_CORRUPT
           : status == 409 || status == 412 ? ERR_CONFLICT
           : status == 501                  ? ERR_UNSUPPORTED
                                            : ERR_INVALID;
}

static enum remote_verdict judge(struct remote *r, const struct remote_request *q,
                                 const void *ticket, enum err e, struct remote_answer *a,
                                 enum err *ret)
{
    *ret = e;
    if (e == ERR_UNAVAILABLE || e == ERR_TIMEOUT || e == ERR_FULL)
        return REMOTE_AGAIN;
    if (e == ERR_TOO_LARGE && q->len > 0) {
        *ret = ERR_CORRUPT; /* more than the range */
        return REMOTE_AGAIN;
    }
    if (e != ERR_OK)
        return REMOTE_FAILED;
    bool is_good = (a->status >= 200 && a->status <= 299) ||
                   (q->status_too != 0 && a->status == q->status_too);
    if (is_good) {
        *ret = q->len == 0 || is_the_range(q, a) ? ERR_OK : ERR_CORRUPT;
        return *ret == ERR_OK ? REMOTE_DONE : REMOTE_AGAIN;
    }
    bool is_passing =
        (a->status >= 500 && a->status != 501) || a->status == 408 || a->status == 429;
    *ret = is_passing ? ERR_UNAVAILABLE : err_of(a->status);
    return is_passing ? REMOTE_AGAIN : r->ops->refused(r, ticket, a, ret);
}

/* --- attempts --- */

static void back_off(struct remote *r, unsigned attempt)
{
    int64_t wait = r->tries.backoff_min_ns;

    for (unsigned i = 0; i < attempt && wait < r->tries.backoff_max_ns; i++)
        wait *= 2;
    if (wait > r->tries.backoff_max_ns)
        wait = r->tries.backoff_max_ns;
    mutex_lock(&r->lock);
    wait = wait / 2 + (int64_t)(rng_unit(&r->rng) * (double)wait / 2);
    mutex_unlock(&r->lock);
    struct timespec t = {wait / NS_PER_S, wait % NS_PER_S};
    (void)nanosleep(&t, NULL);
}

static void observe(struct remote *r, const char *method, enum err e, unsigned status,
                    int64_t begun)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%u", e == ERR_OK ? status : 0);
    metric_observe(metric_cell2(r->durations, method, e == ERR_OK ? text : err_name(e)),
                   (double)(clock_mono_ns(r->clock) - begun) / (double)NS_PER_S);
}

static enum remote_verdict attempt(struct remote *r, const struct remote_request *q,
                                   struct remote_answer *answer, enum err *ret)
{
    enum remote_verdict v = REMOTE_FAILED;
    int64_t begun = clock_mono_ns(r->clock);
    struct http_call call;
    const void *ticket = NULL;
    struct arena a;

    arena_init(&a, NULL);
    *ret = r->ops->write(r, q, &a, &call, &ticket);
    if (*ret == ERR_OK) {
        enum err e = flight_run(r, &call, q->len > 0, answer);
        observe(r, q->method, e, answer->status, begun);
        v = judge(r, q, ticket, e, answer, ret);
    } else if (*ret != ERR_NOMEM && *ret != ERR_LIMIT && *ret != ERR_INVALID) {
        v = REMOTE_AGAIN; /* credentials that can not be had now */
    }
    arena_release(&a);
    return v;
}

/* A thing that is not there is an answer; that the bucket is not, a mistake. */
static void note(struct remote *r, const struct remote_request *q, enum err e,
                 const struct remote_answer *a)
{
    bool is_secret = e == ERR_UNAUTHENTICATED || e == ERR_FORBIDDEN;
    bool is_away = e == ERR_UNAVAILABLE || e == ERR_TIMEOUT;
    bool is_mistake = is_secret || is_away || (e == ERR_NOT_FOUND && q->key == NULL);
    char text[512], status[32] = "";

    mutex_lock(&r->lock);
    bool is_news = (is_mistake || e == ERR_OK) && r->noted != e;
    if (is_news)
        r->noted = e;
    mutex_unlock(&r->lock);
    if (!is_news || !is_mistake || r->note == NULL)
        return;
    if (a->status != 0)
        (void)snprintf(status, sizeof status, ", HTTP %u", a->status);
    (void)snprintf(text, sizeof text, "%s: the store %s (%s%s)",
                   is_secret ? r->ops->secret_key
                   : is_away ? r->ops->endpoint_key
                             : r->ops->bucket_key,
                   is_secret ? "refuses these credentials"
                   : is_away ? "can not be reached"
                             : "has no such bucket",
                   err_name(e), status);
    r->note(r->note_arg, text);
}

enum err remote_call(struct remote *r, const struct remote_request *q, struct remote_answer *ret)
{
    unsigned at_once = 0;
    enum err e = ERR_OK;

    (void)may_ask(r, &r->repeats, true);
    for (unsigned i = 0;; i++) {
        struct remote_answer answer = {.status = 0};
        buf_init(&answer.body, 1);
        enum remote_verdict v = attempt(r, q, &answer, &e);
        if (v == REMOTE_DONE) {
            note(r, q, ERR_OK, &answer);
            *ret = answer;
            return ERR_OK;
        }
        remote_answer_release(&answer);
        if (v == REMOTE_AT_ONCE && at_once++ < 2)
            continue;
        if (v != REMOTE_AGAIN || i + 1 >= r->tries.attempts_max ||
            !may_ask(r, &r->repeats, false)) {
            note(r, q, e, &answer);
            return e;
        }
        back_off(r, i);
    }
}

struct http_call remote_http(const struct remote_request *q)
{
    size_t bytes = q->body_bytes_max;

    return (struct http_call){
        .method = q->method,
        .body = q->body,
        .timeout_ns = TIMEOUT_NS + (int64_t)((q->body.len + bytes) >> 20) * TIMEOUT_NS_PER_MIB,
        .body_bytes_max = bytes > REMOTE_ERROR_BYTES_MAX ? bytes : REMOTE_ERROR_BYTES_MAX};
}

const char *const *remote_headers(const struct remote_request *q, const char *const *own,
                                  unsigned count, struct arena *a)
{
    unsigned n = 0, more = 0;

    while (q->headers != NULL && q->headers[more] != NULL)
        more++;
    const char **lines = ARENA_ARRAY(a, const char *, count + more + 3);
    for (unsigned i = 0; lines != NULL && i < count + more; i++) {
        const char *line = i < count ? own[i] : q->headers[i - count];
        if (line != NULL)
            lines[n++] = line;
    }
    if (lines != NULL && q->len > 0)
        lines[n++] = arena_printf(a, "Range: bytes=%llu-%llu", (unsigned long long)q->offset,
                                  (unsigned long long)(q->offset + q->len - 1));
    if (lines != NULL && (q->body.len > 0 || q->content_type != NULL))
        lines[n++] =
            arena_printf(a, "Content-Type: %s",
                         q->content_type != NULL ? q->content_type : "application/octet-stream");
    return arena_err(a) == ERR_OK ? lines : NULL;
}

const char *remote_key(const struct remote *r, const char *key, struct arena *a)
{
    return arena_printf(a, "%s%s%s", r->prefix, r->prefix[0] != '\0' ? "/" : "", key);
}

/* --- of single requests --- */

enum err remote_get(struct bucket *b, const char *key, uint64_t offset, void *ret, size_t len)
{
    struct remote *r = (struct remote *)b;
    struct remote_request q = {.method = "GET",
                               .key = key,
                               .query = r->ops->get_query,
                               .is_read = true,
                               .offset = offset,
                               .len = len,
                               .body_bytes_max = len};
    struct remote_answer a;

    assert(len > 0);
    enum err e = remote_call(r, &q, &a);
    if (e != ERR_OK)
        return e;
    assert(a.body.len == len);
    memcpy(ret, a.body.ptr, len);
    remote_answer_release(&a);
    return ERR_OK;
}

enum err remote_get_all(struct bucket *b, const char *key, struct buf *ret)
{
    struct remote *r = (struct remote *)b;
    size_t room = ret->len_max > ret->len ? ret->len_max - ret->len : 1;
    struct remote_request q = {.method = "GET",
                               .key = key,
                               .query = r->ops->get_query,
                               .is_read = true,
                               .body_bytes_max = room < WHOLE_BYTES_MAX ? room : WHOLE_BYTES_MAX};
    struct remote_answer a;
    enum err e = remote_call(r, &q, &a);

    if (e != ERR_OK)
        return e;
    buf_append(ret, buf_slice(&a.body));
    remote_answer_release(&a);
    return buf_err(ret);
}

enum err remote_head(struct bucket *b, const char *key, uint64_t *ret_bytes)
{
    struct remote_request q = {.method = "HEAD", .key = key, .is_read = true};
    struct remote_answer a;
    enum err e = remote_call((struct remote *)b, &q, &a);

    if (e != ERR_OK)
        return e;
    e = num_parse_u64(slice_str(a.length), ret_bytes) == ERR_OK ? ERR_OK : ERR_CORRUPT;
    remote_answer_release(&a);
    return e;
}

enum err remote_remove(struct bucket *b, const char *key)
{
    struct remote_request q = {.method = "DELETE", .key = key};
    struct remote_answer a;
    enum err e = remote_call((struct remote *)b, &q, &a);

    if (e == ERR_OK)
        remote_answer_release(&a);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* --- life --- */

static void declare_metrics(struct remote *r)
{
    static const double bounds[] = {0.005, 0.02, 0.08, 0.32, 1.28, 5.12};

    r->durations =
        metrics_histogram("tempodb_backend_request_duration_seconds", "operation,status_code",
                          "Requests to the object store by method and status.", bounds,
                          sizeof bounds / sizeof bounds[0]);
    r->hedged = metric_cell0(metrics_counter("tempodb_backend_hedged_roundtrips_total", "",
                                             "Second requests for reads that were slow."));
}

enum err remote_init(struct remote *r, const struct bucket_ops *bucket_ops,
                     const struct remote_ops *ops, const struct remote_tries *tries,
                     const struct clock *clock)
{
    uint64_t seed;

    r->bucket.ops = bucket_ops;
    r->ops = ops;
    r->tries = *tries;
    r->clock = clock;
    r->prefix = "";
    if (r->tries.hedge_max == 0)
        r->tries.hedge_max = 2;
    if (r->tries.attempts_max == 0)
        r->tries.attempts_max = 1;
    mutex_init(&r->lock);
    rng_bytes_secure(&seed, sizeof seed);
    rng_init(&r->rng, seed);
    r->repeats = r->hedges = (struct remote_allowance){REMOTE_REPEATS_SAVED, clock_mono_ns(clock)};
    declare_metrics(r);
    return http_client_new(&r->http);
}

void remote_release(struct remote *r)
{
    http_client_free(r->http);
    mutex_release(&r->lock);
}
