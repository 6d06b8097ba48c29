#include "generator/remote_write.h"

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/net/http_client.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FILE_BYTES_MAX = 256 * 1024 * 1024,
    HEADERS_OWN = 6,
    IDLE_MS = 500,
    LOOK_MS = 50,
    ANSWER_BYTES_MAX = 4 * 1024 * 1024
};

struct remote_write {
    const struct config *config;
    const struct config_remote_write *target;
    struct send_queue *queue;
    struct http_client *client;
    pthread_t thread;
    atomic_bool is_stopping;
    atomic_llong stop_mono_ns; /* when stopping: give up then */
    struct rng jitter;
    uint64_t dropped;  /* as told in the metric */
    struct mutex lock; /* all below: the answer of the one call under way */
    pthread_cond_t ended;
    bool is_ended;
    struct http_answer answer; /* without its body */
    char answer_text[200];
    struct metric_cell *sent, *failed, *retried, *bytes, *pending, *dropped_files;
};

static bool is_over(struct remote_write *w)
{
    return atomic_load(&w->is_stopping) &&
           clock_mono_ns(&clock_system) >= atomic_load(&w->stop_mono_ns);
}

static bool has_header(const struct config_remote_write *t, const char *name)
{
    for (unsigned i = 0; i < t->header_count; i++)
        if (strcasecmp(t->headers[i].name, name) == 0)
            return true;
    return false;
}

/* "Name: value" lines, a NULL-terminated list in the arena; NULL when that is out. */
static const char **headers_make(const struct remote_write *w, struct slice tenant, struct arena *a)
{
    const struct config_remote_write *t = w->target;
    const char **list = ARENA_ARRAY(a, const char *, t->header_count + HEADERS_OWN + 1);
    unsigned n = 0;

    if (list == NULL)
        return NULL;
    list[n++] = "Content-Type: application/x-protobuf";
    list[n++] = "Content-Encoding: snappy";
    list[n++] = "X-Prometheus-Remote-Write-Version: 0.1.0";
    list[n++] = "User-Agent: vivace-generator";
    if (t->bearer_token != NULL)
        list[n++] = arena_printf(a, "Authorization: Bearer %s", t->bearer_token);
    if (w->config->remote_write_add_org_id_header && !slice_eq_str(tenant, "single-tenant") &&
        !has_header(t, "X-Scope-OrgID"))
        list[n++] = arena_printf(a, "X-Scope-OrgID: " SLICE_FMT, SLICE_ARG(tenant));
    assert(n <= HEADERS_OWN);
    for (unsigned i = 0; i < t->header_count; i++)
        list[n++] = arena_printf(a, "%s: %s", t->headers[i].name, t->headers[i].value);
    return arena_err(a) == ERR_OK ? list : NULL;
}

static void call_ended(void *arg, const struct http_answer *answer)
{
    struct remote_write *w = arg;

    mutex_lock(&w->lock);
    w->answer = *answer;
    w->answer.body = SLICE_NONE;
    (void)snprintf(w->answer_text, sizeof w->answer_text, SLICE_FMT,
                   SLICE_ARG(slice_sub(answer->body, 0, sizeof w->answer_text - 1)));
    w->is_ended = true;
    (void)pthread_cond_signal(&w->ended);
    mutex_unlock(&w->lock);
}

/* Waits for the answer, but not past the end: ERR_CANCELED then, and the call goes on until the client is freed. */
static enum err call_wait(struct remote_write *w, struct err_detail *detail,
                          int64_t *ret_retry_after_ns)
{
    enum err e = ERR_CANCELED;

    mutex_lock(&w->lock);
    while (!w->is_ended && !is_over(w))
        (void)cond_wait(&w->ended, &w->lock, LOOK_MS * NS_PER_MS);
    if (w->is_ended) {
        unsigned status = w->answer.status;
        e = w->answer.err;
        if (e == ERR_OK && status / 100 != 2) {
            e = status == 429 || status / 100 == 5 ? ERR_UNAVAILABLE : ERR_INVALID;
            (void)err_detail_set(detail, e, "%u %s", status, w->answer_text);
        } else if (e != ERR_OK) {
            (void)err_detail_set(detail, e, "%s", w->answer.error_text);
        }
        *ret_retry_after_ns = w->answer.retry_after_ns;
    }
    mutex_unlock(&w->lock);
    return e == ERR_TOO_LARGE ? ERR_UNAVAILABLE : e; /* its status is not known */
}

/* One attempt.  ERR_OK: taken.  Retryable errors: later.  ERR_CANCELED: stopping.  Others: the target will never take it. */
static enum err attempt(struct remote_write *w, struct slice tenant, struct slice request,
                        struct err_detail *detail, int64_t *ret_retry_after_ns)
{
    const struct config_remote_write *t = w->target;
    struct arena a;

    arena_init(&a, NULL);
    const char **headers = headers_make(w, tenant, &a);
    struct http_call call = {.method = "POST",
                             .url = t->url,
                             .headers = headers,
                             .body = request,
                             .basic_user = t->basic_user,
                             .basic_password = t->basic_password,
                             .ca_file = t->ca_file,
                             .cert_file = t->cert_file,
                             .key_file = t->key_file,
                             .insecure_skip_verify = t->insecure_skip_verify,
                             .timeout_ns = t->remote_timeout_ns,
                             .body_bytes_max = ANSWER_BYTES_MAX};
    w->is_ended = false; /* no call is under way */
    *ret_retry_after_ns = -1;
    enum err e = headers == NULL ? ERR_NOMEM : http_client_send(w->client, &call, call_ended, w);
    if (e == ERR_OK)
        e = call_wait(w, detail, ret_retry_after_ns);
    else
        (void)err_detail_set(detail, e, "%s", err_name(e));
    arena_release(&a);
    return e;
}

static void back_off(struct remote_write *w, int64_t ns, int64_t at_least_ns)
{
    int64_t jittered = ns / 2 + (int64_t)rng_below(&w->jitter, (uint64_t)ns / 2 + 1);
    int64_t until =
        clock_mono_ns(&clock_system) + (jittered > at_least_ns ? jittered : at_least_ns);

    while (clock_mono_ns(&clock_system) < until && !is_over(w)) {
        struct timespec step = {.tv_nsec = 10 * NS_PER_MS};
        (void)nanosleep(&step, NULL);
    }
}

/* False: stopping; the file stays. */
static bool request_send(struct remote_write *w, struct slice tenant, struct slice request)
{
    static struct log_rate rate;
    int64_t wait = w->target->min_backoff_ns, retry_after;
    uint64_t suppressed;

    for (;;) {
        struct err_detail detail = {0};
        enum err e = attempt(w, tenant, request, &detail, &retry_after);
        if (e == ERR_OK) {
            metric_inc(w->sent);
            metric_add(w->bytes, (double)request.len);
            return true;
        }
        if (e == ERR_CANCELED)
            return false;
        bool is_lasting = !err_is_retryable(e);
        if (log_rate_allow(&rate, 10 * NS_PER_S, &suppressed))
            log_warn(is_lasting ? "remote_write_refused" : "remote_write_retried",
                     LOG_STR("url", w->target->url), LOG_ERR(e), LOG_STR("detail", detail.text),
                     LOG_UINT("suppressed", suppressed));
        if (is_lasting) {
            metric_inc(w->failed);
            return true;
        }
        metric_inc(w->retried);
        back_off(w, wait > NS_PER_MS ? wait : NS_PER_MS, retry_after);
        if (is_over(w))
            return false;
        wait = wait * 2 > w->target->max_backoff_ns ? w->target->max_backoff_ns : wait * 2;
    }
}

static bool file_send(struct remote_write *w, struct slice file)
{
    struct slice tenant, request;
    size_t at;

    bool is_sound = send_queue_tenant(file, &tenant, &at);
    while (is_sound && at < file.len) {
        is_sound = send_queue_request(file, &at, &request);
        if (is_sound && !request_send(w, tenant, request))
            return false;
    }
    if (!is_sound) {
        metric_inc(w->failed); /* what is behind the damage can not be sent */
        log_error("remote_write_file_damaged", LOG_STR("url", w->target->url));
    }
    return true;
}

static void sender_run(void *arg)
{
    struct remote_write *w = arg;
    struct send_queue_stats stats;
    struct buf file;
    uint64_t number;

    buf_init(&file, FILE_BYTES_MAX);
    for (;;) {
        send_queue_stats(w->queue, &stats);
        metric_set(w->pending, (double)stats.bytes);
        metric_add(w->dropped_files, (double)(stats.dropped_files - w->dropped));
        w->dropped = stats.dropped_files;
        if (is_over(w) || (atomic_load(&w->is_stopping) && stats.files == 0))
            break;
        if (!send_queue_next(w->queue, IDLE_MS * NS_PER_MS, &number, &file)) {
            if (buf_err(&file) != ERR_OK) /* no memory for it now */
                back_off(w, IDLE_MS * NS_PER_MS, -1);
            continue;
        }
        if (!file_send(w, buf_slice(&file)))
            break;
        send_queue_done(w->queue, number);
    }
    buf_release(&file);
}

static void metrics_open(struct remote_write *w)
{
    const char *url = w->target->url;

    w->sent = metric_cell1(metrics_counter("vivace_generator_remote_write_requests_total", "url",
                                           "Remote-write requests that a target took."),
                           url);
    w->failed =
        metric_cell1(metrics_counter("vivace_generator_remote_write_refused_total", "url",
                                     "Remote-write requests that a target refused for good."),
                     url);
    w->retried = metric_cell1(metrics_counter("vivace_generator_remote_write_retries_total", "url",
                                              "Attempts that will be made again."),
                              url);
    w->bytes = metric_cell1(metrics_counter("vivace_generator_remote_write_bytes_total", "url",
                                            "Compressed bytes sent."),
                            url);
    w->pending = metric_cell1(metrics_gauge("vivace_generator_remote_write_pending_bytes", "url",
                                            "Bytes in the queue on disk."),
                              url);
    w->dropped_files = metric_cell1(
        metrics_counter("vivace_generator_remote_write_dropped_files_total", "url",
                        "Collections that left the full queue before the target took them."),
        url);
}

static void remote_write_release(struct remote_write *w)
{
    http_client_free(w->client); /* ends the call under way, which still has the lock */
    (void)pthread_cond_destroy(&w->ended);
    mutex_release(&w->lock);
    free(w);
}

enum err remote_write_new(const struct config *c, const struct config_remote_write *target,
                          struct send_queue *queue, struct remote_write **ret)
{
    struct remote_write *w = calloc(1, sizeof *w);
    uint64_t seed;

    if (w == NULL)
        return ERR_NOMEM;
    w->config = c;
    w->target = target;
    w->queue = queue;
    atomic_init(&w->is_stopping, false);
    atomic_init(&w->stop_mono_ns, 0);
    rng_bytes_secure(&seed, sizeof seed);
    rng_init(&w->jitter, seed);
    mutex_init(&w->lock);
    cond_init(&w->ended);
    metrics_open(w);
    enum err e = http_client_new(&w->client);
    if (e == ERR_OK)
        e = thread_start(&w->thread, "remote-write", sender_run, w);
    if (e != ERR_OK) {
        remote_write_release(w);
        return e;
    }
    *ret = w;
    return ERR_OK;
}

void remote_write_free(struct remote_write *w, int64_t drain_ns)
{
    if (w == NULL)
        return;
    atomic_store(&w->stop_mono_ns, clock_mono_ns(&clock_system) + drain_ns);
    atomic_store(&w->is_stopping, true);
    send_queue_wake(w->queue);
    thread_join(w->thread);
    remote_write_release(w);
}
