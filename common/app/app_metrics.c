#include "common/app/app_priv.h"
#include "common/obs/metrics.h"
#include "common/sys/thread.h"

#include <assert.h>

enum { WORKERS = 1, WAITING_MAX = 64, PEERS_MAX = 64, PEER_CONTEXTS = 4 };

static const int64_t PEER_TIMEOUT_NS = 500 * NS_PER_MS;

static struct metric_family *durations;

/* One exposition that was asked for, over HTTP or over the control lane. */
struct exposition {
    struct work work; /* first */
    struct app_process *process;
    struct http_req *http;
    struct rpc_req *rpc;
};

/* The answers of all peers to one exposition. */
struct scrape {
    struct mutex lock; /* pending */
    pthread_cond_t done;
    unsigned pending;
};
struct peer_answer {
    struct scrape *scrape;
    struct buf text;
};

enum err app_metrics_start(struct app_process *p)
{
    static const double bounds[] = {.01, .025, .05, .1, .25, .5, 1, 1.5, 2.5, 5, 10, 25, 50, 100};
    const struct config_list *urls = &p->config.metrics_peers;

    durations = metrics_histogram("tempo_request_duration_seconds", "method,route,status_code,ws",
                                  "Time (in seconds) spent serving HTTP requests.", bounds,
                                  sizeof bounds / sizeof bounds[0]);
    enum err e = workers_new("app", WORKERS, WAITING_MAX, &p->workers);
    if (e != ERR_OK || strcmp(p->room->role, "querier") != 0 || urls->count == 0)
        return e;
    p->peers = calloc(urls->count, sizeof(struct rpc_client *));
    if (p->peers == NULL)
        return ERR_NOMEM;
    for (unsigned i = 0; i < urls->count && i < PEERS_MAX && e == ERR_OK; i++) {
        struct rpc_client_options o = {.url = urls->items[i],
                                       .receive_bytes_max = APP_METRICS_BYTES_MAX,
                                       .contexts = PEER_CONTEXTS};

        e = rpc_client_new(&o, &p->peers[i]);
        if (e == ERR_OK)
            p->peer_count++;
    }
    return e;
}

void app_metrics_stop(struct app_process *p)
{
    if (p->workers != NULL)
        workers_free(p->workers);
    p->workers = NULL;
    for (unsigned i = 0; i < p->peer_count; i++)
        rpc_client_free(p->peers[i]);
    free(p->peers);
    p->peers = NULL;
    p->peer_count = 0;
}

void app_observe_request(const char *method, const char *route, unsigned status,
                         int64_t duration_ns)
{
    char code[8];

    (void)snprintf(code, sizeof code, "%u", status > 999 ? 999 : status);
    if (durations != NULL)
        metric_observe(metric_cell(durations,
                                   (struct slice[]){slice_str(method), slice_str(route),
                                                    slice_str(code), SLICE_LIT("false")},
                                   4),
                       (double)duration_ns / 1e9);
}

static void peer_done(void *arg, enum err err, struct slice payload)
{
    struct peer_answer *a = arg;
    struct scrape *s = a->scrape;

    if (err == ERR_OK)
        buf_append(&a->text, payload);
    mutex_lock(&s->lock);
    assert(s->pending > 0);
    s->pending--;
    (void)pthread_cond_signal(&s->done);
    mutex_unlock(&s->lock);
}

/* Adds what the peers show now; a peer that does not answer in time is left out. */
static void add_peers(struct app_process *p, struct buf *out)
{
    struct peer_answer answers[PEERS_MAX];
    struct scrape s = {.pending = p->peer_count};

    assert(p->peer_count <= PEERS_MAX);
    mutex_init(&s.lock);
    cond_init(&s.done);
    for (unsigned i = 0; i < p->peer_count; i++) {
        answers[i].scrape = &s;
        buf_init(&answers[i].text, APP_METRICS_BYTES_MAX);
        enum err e =
            rpc_call(p->peers[i], RPC_METRICS, NULL, 0, PEER_TIMEOUT_NS, peer_done, &answers[i]);
        if (e != ERR_OK)
            peer_done(&answers[i], e, SLICE_NONE);
    }
    mutex_lock(&s.lock);
    while (s.pending > 0)
        (void)cond_wait(&s.done, &s.lock, -1);
    mutex_unlock(&s.lock);
    for (unsigned i = 0; i < p->peer_count; i++) {
        if (buf_err(&answers[i].text) == ERR_OK)
            metrics_merge_text(out, buf_slice(&answers[i].text));
        buf_release(&answers[i].text);
    }
    (void)pthread_cond_destroy(&s.done);
    mutex_release(&s.lock);
}

static void answer_http(struct exposition *x, struct buf *text)
{
    static const struct http_header header = {"content-type",
                                              "text/plain; version=0.0.4; charset=utf-8"};

    if (x->process->peer_count > 0)
        add_peers(x->process, text);
    if (buf_err(text) != ERR_OK)
        http_reply_text(x->http, 503, "text/plain; charset=utf-8", "%s\n", err_name(buf_err(text)));
    else
        http_reply(x->http,
                   &(struct http_reply){
                       .status = 200, .headers = &header, .header_count = 1, .body = text});
}

static void run(struct work *w)
{
    struct exposition *x = (struct exposition *)w;
    struct buf text;

    buf_init(&text, APP_METRICS_BYTES_MAX);
    metrics_write_text(&text);
    if (x->http != NULL)
        answer_http(x, &text);
    else
        rpc_reply(x->rpc, buf_err(&text),
                  buf_err(&text) == ERR_OK ? buf_slice(&text) : SLICE_LIT("exposition too large"));
    buf_release(&text);
    free(x);
}

static void begin(struct app_process *p, struct http_req *http, struct rpc_req *rpc)
{
    struct exposition *x = calloc(1, sizeof *x);
    enum err e = x == NULL ? ERR_NOMEM : ERR_OK;

    if (x != NULL) {
        *x = (struct exposition){.work = {.run = run}, .process = p, .http = http, .rpc = rpc};
        e = workers_run(p->workers, &x->work);
    }
    if (e == ERR_OK)
        return;
    free(x);
    if (http != NULL)
        http_reply_text(http, 503, "text/plain; charset=utf-8", "%s\n", err_name(e));
    else
        rpc_reply(rpc, e, SLICE_LIT("too many expositions"));
}

void app_metrics_http(struct app_process *p, struct http_req *req)
{
    begin(p, req, NULL);
}

void app_metrics_rpc(struct app_process *p, struct rpc_req *req)
{
    begin(p, NULL, req);
}
