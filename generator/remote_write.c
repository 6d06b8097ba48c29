#include "generator/remote_write.h"

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
    HEADERS_MAX = 64,
    HEADER_BYTES = 1024,
    IDLE_MS = 500,
    ANSWER_BYTES_MAX = 64 * 1024
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
    struct metric_cell *sent, *failed, *retried, *bytes, *pending;
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

/* "Name: value" lines in `lines`; returns the NULL-terminated list in `list`. */
static void headers_make(const struct remote_write *w, struct slice tenant,
                         char lines[][HEADER_BYTES], const char **list)
{
    const struct config_remote_write *t = w->target;
    unsigned n = 0;

    (void)snprintf(lines[n++], HEADER_BYTES, "Content-Type: application/x-protobuf");
    (void)snprintf(lines[n++], HEADER_BYTES, "Content-Encoding: snappy");
    (void)snprintf(lines[n++], HEADER_BYTES, "X-Prometheus-Remote-Write-Version: 0.1.0");
    (void)snprintf(lines[n++], HEADER_BYTES, "User-Agent: vivace-generator");
    if (t->bearer_token != NULL)
        (void)snprintf(lines[n++], HEADER_BYTES, "Authorization: Bearer %s", t->bearer_token);
    if (w->config->remote_write_add_org_id_header && !slice_eq_str(tenant, "single-tenant") &&
        !has_header(t, "X-Scope-OrgID"))
        (void)snprintf(lines[n++], HEADER_BYTES, "X-Scope-OrgID: " SLICE_FMT, SLICE_ARG(tenant));
    for (unsigned i = 0; i < t->header_count && n < HEADERS_MAX; i++)
        (void)snprintf(lines[n++], HEADER_BYTES, "%s: %s", t->headers[i].name, t->headers[i].value);
    for (unsigned i = 0; i < n; i++)
        list[i] = lines[i];
    list[n] = NULL;
}

/* One attempt.  ERR_OK: taken.  Retryable errors: later.  Others: the target will never take it. */
static enum err attempt(struct remote_write *w, struct slice tenant, struct slice request,
                        struct err_detail *detail)
{
    char lines[HEADERS_MAX][HEADER_BYTES];
    const char *list[HEADERS_MAX + 1];
    struct buf answer;
    unsigned status = 0;
    const struct config_remote_write *t = w->target;

    headers_make(w, tenant, lines, list);
    buf_init(&answer, ANSWER_BYTES_MAX);
    struct http_call call = {.method = "POST",
                             .url = t->url,
                             .headers = list,
                             .body = request,
                             .basic_user = t->basic_user,
                             .basic_password = t->basic_password,
                             .ca_file = t->ca_file,
                             .cert_file = t->cert_file,
                             .key_file = t->key_file,
                             .insecure_skip_verify = t->insecure_skip_verify,
                             .timeout_ns = t->remote_timeout_ns,
                             .body_bytes_max = ANSWER_BYTES_MAX};
    enum err e = http_client_call(w->client, &call, &status, &answer, detail);
    if (e == ERR_OK && status / 100 != 2) {
        e = status == 429 || status / 100 == 5 ? ERR_UNAVAILABLE : ERR_INVALID;
        (void)err_detail_set(detail, e, "%u " SLICE_FMT, status,
                             SLICE_ARG(slice_sub(buf_slice(&answer), 0, 200)));
    }
    buf_release(&answer);
    return e == ERR_TOO_LARGE ? ERR_OK : e; /* an answer too long to read is an answer */
}

static void back_off(struct remote_write *w, int64_t ns)
{
    int64_t jittered = ns / 2 + (int64_t)rng_below(&w->jitter, (uint64_t)ns / 2 + 1);
    int64_t until = clock_mono_ns(&clock_system) + jittered;

    while (clock_mono_ns(&clock_system) < until && !is_over(w)) {
        struct timespec step = {.tv_nsec = 10 * NS_PER_MS};
        (void)nanosleep(&step, NULL);
    }
}

/* False: stopping; the file stays. */
static bool request_send(struct remote_write *w, struct slice tenant, struct slice request)
{
    static struct log_rate rate;
    int64_t wait = w->target->min_backoff_ns;
    uint64_t suppressed;

    for (;;) {
        struct err_detail detail = {0};
        enum err e = attempt(w, tenant, request, &detail);
        if (e == ERR_OK) {
            metric_inc(w->sent);
            metric_add(w->bytes, (double)request.len);
            return true;
        }
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
        if (is_over(w))
            return false;
        back_off(w, wait);
        wait = wait * 2 > w->target->max_backoff_ns ? w->target->max_backoff_ns : wait * 2;
        if (is_over(w))
            return false;
    }
}

static bool file_send(struct remote_write *w, struct slice file)
{
    struct slice tenant, request;
    size_t at;

    if (!send_queue_tenant(file, &tenant, &at))
        return true; /* damaged: nothing in it can be sent */
    while (at < file.len && send_queue_request(file, &at, &request))
        if (!request_send(w, tenant, request))
            return false;
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
        if (is_over(w) || (atomic_load(&w->is_stopping) && stats.files == 0))
            break;
        if (!send_queue_next(w->queue, IDLE_MS * NS_PER_MS, &number, &file))
            continue;
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
    metrics_open(w);
    enum err e = http_client_new(&w->client);
    if (e == ERR_OK)
        e = thread_start(&w->thread, "remote-write", sender_run, w);
    if (e != ERR_OK) {
        http_client_free(w->client);
        free(w);
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
    http_client_free(w->client);
    free(w);
}
