#include "common/net/http_client.h"

#include "common/base/clock.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HTTP_CLIENT_CALLS_MAX = 4096,
    HTTP_CLIENT_CONNECTIONS_MAX = 64,
    HTTP_CLIENT_PER_HOST_MAX = 16,
    HTTP_CLIENT_POLL_MS = 1000,
    HTTP_CLIENT_RETRY_AFTER_S_MAX = 24 * 3600
};
#define HTTP_CLIENT_CONNECT_NS (10 * NS_PER_S)

struct http_job {
    struct http_job *next;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body, answer;
    char error_text[CURL_ERROR_SIZE];
    http_done *done;
    http_data *on_data;
    size_t data_bytes_left; /* of on_data */
    enum err data_err;      /* why on_data's bytes were not taken */
    void *arg;
};

struct http_client {
    CURLM *multi;
    pthread_t thread;
    struct mutex lock;       /* posted, call_count, is_stopping */
    struct http_job *posted; /* newest first */
    unsigned call_count;     /* posted and under way */
    bool is_stopping;
    struct http_job *under_way; /* of the client's thread */
};

static pthread_once_t http_client_once = PTHREAD_ONCE_INIT;
static CURLcode http_client_global;

static void http_client_init_global(void)
{
    http_client_global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void http_job_free(struct http_job *job)
{
    if (job == NULL)
        return;
    if (job->easy != NULL)
        curl_easy_cleanup(job->easy);
    curl_slist_free_all(job->headers);
    buf_release(&job->body);
    buf_release(&job->answer);
    free(job);
}

static unsigned http_job_status(const struct http_job *job)
{
    long status = 0;

    return curl_easy_getinfo(job->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status > 0
               ? (unsigned)status
               : 0;
}

/* How much of it was taken, as libcurl wants it: all, or the call ends. */
static size_t http_job_pass_on(struct http_job *job, struct slice data)
{
    struct http_answer so_far = {.job = job, .status = http_job_status(job), .retry_after_ns = -1};

    if (data.len > job->data_bytes_left)
        job->data_err = ERR_TOO_LARGE;
    else if (!job->on_data(job->arg, &so_far, data))
        job->data_err = ERR_CANCELED;
    job->data_bytes_left -= job->data_err == ERR_OK ? data.len : 0;
    return job->data_err == ERR_OK ? data.len : 0;
}

static size_t http_job_on_data(char *data, size_t size, size_t count, void *arg)
{
    struct http_job *job = arg;

    if (job->on_data != NULL)
        return http_job_pass_on(job, (struct slice){(const uint8_t *)data, size * count});
    buf_append(&job->answer, (struct slice){(const uint8_t *)data, size * count});
    return buf_err(&job->answer) == ERR_OK ? size * count : 0;
}

static enum err http_job_add_headers(struct http_job *job, const struct http_call *call)
{
    /* An empty Expect keeps libcurl from waiting a second for servers that do not know 100-continue. */
    job->headers = curl_slist_append(NULL, "Expect:");
    if (job->headers == NULL)
        return ERR_NOMEM;
    for (const char *const *h = call->headers; h != NULL && *h != NULL; h++) {
        if (strpbrk(*h, "\r\n") != NULL || strchr(*h, ':') == NULL)
            return ERR_INVALID;
        struct curl_slist *list = curl_slist_append(job->headers, *h);
        if (list == NULL)
            return ERR_NOMEM;
        job->headers = list;
    }
    return ERR_OK;
}

static CURLcode http_job_set_method(struct http_job *job, const char *method)
{
    CURL *easy = job->easy;
    CURLcode rc = CURLE_OK;

    if (method == NULL || strcmp(method, "GET") == 0)
        return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (strcmp(method, "HEAD") == 0)
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    if (strcmp(method, "POST") == 0 || job->body.len > 0) {
        const void *body = job->body.ptr != NULL ? (const void *)job->body.ptr : "";
        rc = curl_easy_setopt(easy, CURLOPT_POST, 1L);
        if (rc == CURLE_OK)
            rc = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)job->body.len);
        if (rc == CURLE_OK)
            rc = curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    }
    if (rc == CURLE_OK && strcmp(method, "POST") != 0)
        rc = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    return rc;
}

static long tls_version(unsigned tls_min)
{
    switch (tls_min) {
    case 10: return CURL_SSLVERSION_TLSv1_0;
    case 11: return CURL_SSLVERSION_TLSv1_1;
    case 13: return CURL_SSLVERSION_TLSv1_3;
    default: return CURL_SSLVERSION_TLSv1_2;
    }
}

static CURLcode http_job_set_identity(CURL *easy, const struct http_call *call)
{
    CURLcode rc = CURLE_OK;

    if (call->basic_user != NULL) {
        rc = curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        if (rc == CURLE_OK)
            rc = curl_easy_setopt(easy, CURLOPT_USERNAME, call->basic_user);
        if (rc == CURLE_OK && call->basic_password != NULL)
            rc = curl_easy_setopt(easy, CURLOPT_PASSWORD, call->basic_password);
    }
    if (rc == CURLE_OK && call->ca_file != NULL)
        rc = curl_easy_setopt(easy, CURLOPT_CAINFO, call->ca_file);
    if (rc == CURLE_OK && call->cert_file != NULL)
        rc = curl_easy_setopt(easy, CURLOPT_SSLCERT, call->cert_file);
    if (rc == CURLE_OK && call->key_file != NULL)
        rc = curl_easy_setopt(easy, CURLOPT_SSLKEY, call->key_file);
    if (rc == CURLE_OK && call->tls_min != 0)
        rc = curl_easy_setopt(easy, CURLOPT_SSLVERSION, tls_version(call->tls_min));
    if (rc == CURLE_OK && call->insecure_skip_verify) {
        rc = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        if (rc == CURLE_OK)
            rc = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return rc;
}

static CURLcode http_job_set_limits(struct http_job *job, const struct http_call *call)
{
    CURL *easy = job->easy;
    int64_t connect_ns =
        call->timeout_ns < HTTP_CLIENT_CONNECT_NS ? call->timeout_ns : HTTP_CLIENT_CONNECT_NS;
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1}, /* time-outs by SIGALRM would hit any thread */
        {CURLOPT_TIMEOUT_MS, (long)((call->timeout_ns - 1) / NS_PER_MS + 1)},
        {CURLOPT_CONNECTTIMEOUT_MS, (long)((connect_ns - 1) / NS_PER_MS + 1)},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_TCP_KEEPALIVE, 1},
    };
    CURLcode rc = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && rc == CURLE_OK; i++)
        rc = curl_easy_setopt(easy, numbers[i].option, numbers[i].value);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_USERAGENT, "vivace");
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, job->error_text);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_job_on_data);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_WRITEDATA, job);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_PRIVATE, job);
    return rc;
}

/* On a connection of its own: of the second request on one, libcurl 7.88 makes "Error in the HTTP2 framing layer". */
static CURLcode http_job_set_h2(CURL *easy)
{
    CURLcode rc =
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);

    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    return rc == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) : rc;
}

static enum err http_job_new(const struct http_call *call, struct http_job **ret)
{
    struct http_job *job = calloc(1, sizeof *job);
    enum err e = ERR_NOMEM;
    CURLcode rc;

    if (job == NULL)
        return ERR_NOMEM;
    buf_init(&job->body, call->body.len > 0 ? call->body.len : 1);
    buf_init(&job->answer, call->body_bytes_max);
    buf_append(&job->body, call->body);
    job->easy = curl_easy_init();
    if (buf_err(&job->body) != ERR_OK || job->easy == NULL)
        goto out;
    e = http_job_add_headers(job, call);
    if (e != ERR_OK)
        goto out;
    rc = curl_easy_setopt(job->easy, CURLOPT_URL, call->url);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(job->easy, CURLOPT_HTTPHEADER, job->headers);
    if (rc == CURLE_OK)
        rc = http_job_set_limits(job, call);
    if (rc == CURLE_OK && call->is_h2)
        rc = http_job_set_h2(job->easy);
    if (rc == CURLE_OK)
        rc = http_job_set_method(job, call->method);
    if (rc == CURLE_OK)
        rc = http_job_set_identity(job->easy, call);
    e = rc == CURLE_OK ? ERR_OK : rc == CURLE_OUT_OF_MEMORY ? ERR_NOMEM : ERR_INVALID;
out:
    if (e == ERR_OK)
        *ret = job;
    else
        http_job_free(job);
    return e;
}

static enum err http_job_error(const struct http_job *job, CURLcode rc)
{
    if (rc != CURLE_OK && job->data_err != ERR_OK)
        return job->data_err; /* with HTTP/2 it is told as an error of the stream */
    switch ((int)rc) {        /* of about a hundred */
    case CURLE_OK: return ERR_OK;
    case CURLE_OPERATION_TIMEDOUT: return ERR_TIMEOUT;
    case CURLE_OUT_OF_MEMORY: return ERR_NOMEM;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE: return ERR_INVALID;
    case CURLE_WRITE_ERROR:
        return buf_err(&job->answer) != ERR_OK ? buf_err(&job->answer) : ERR_UNAVAILABLE;
    default: return ERR_UNAVAILABLE;
    }
}

static int64_t http_job_retry_after_ns(const struct http_job *job)
{
    struct curl_header *header;
    curl_off_t seconds = 0;

    if (curl_easy_header(job->easy, "Retry-After", 0, CURLH_HEADER, -1, &header) != CURLHE_OK ||
        curl_easy_getinfo(job->easy, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK)
        return -1;
    if (seconds > HTTP_CLIENT_RETRY_AFTER_S_MAX)
        seconds = HTTP_CLIENT_RETRY_AFTER_S_MAX;
    return seconds * NS_PER_S;
}

void http_client_header(const struct http_answer *a, const char *name, char *ret, size_t size)
{
    struct curl_header *header;

    assert(size > 0);
    bool is_there =
        a->err == ERR_OK && curl_easy_header(a->job->easy, name, 0, CURLH_HEADER | CURLH_TRAILER,
                                             -1, &header) == CURLHE_OK;
    (void)snprintf(ret, size, "%s", is_there ? header->value : "");
}

/* Tells the caller; the job is gone afterwards.  It is in no list any more. */
static void http_client_end(struct http_client *c, struct http_job *job, enum err err, CURLcode rc)
{
    struct http_answer answer = {.job = job, .err = err, .retry_after_ns = -1};

    if (err == ERR_OK) {
        answer.status = http_job_status(job);
        answer.body = buf_slice(&job->answer);
        answer.retry_after_ns = http_job_retry_after_ns(job);
    } else if (rc != CURLE_OK) {
        (void)snprintf(answer.error_text, sizeof answer.error_text, "%s",
                       job->error_text[0] != '\0' ? job->error_text : curl_easy_strerror(rc));
    } else {
        (void)snprintf(answer.error_text, sizeof answer.error_text, "%s", err_name(err));
    }
    mutex_lock(&c->lock);
    assert(c->call_count > 0);
    c->call_count--;
    mutex_unlock(&c->lock);
    job->done(job->arg, &answer);
    http_job_free(job);
}

static void http_client_unlink(struct http_client *c, struct http_job *job)
{
    struct http_job **at = &c->under_way;

    while (*at != job) {
        assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = job->next;
}

/* Takes what was posted; false when the client is to stop. */
static bool http_client_take(struct http_client *c)
{
    mutex_lock(&c->lock);
    struct http_job *job = c->posted;
    c->posted = NULL;
    bool is_stopping = c->is_stopping;
    mutex_unlock(&c->lock);
    while (job != NULL) {
        struct http_job *next = job->next;
        if (curl_multi_add_handle(c->multi, job->easy) != CURLM_OK) {
            http_client_end(c, job, ERR_NOMEM, CURLE_OK);
        } else {
            job->next = c->under_way;
            c->under_way = job;
        }
        job = next;
    }
    return !is_stopping;
}

static void http_client_finish(struct http_client *c)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct http_job *job = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode rc = m->data.result;
        if (curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &job) != CURLE_OK)
            continue;
        assert(job != NULL);
        (void)curl_multi_remove_handle(c->multi, job->easy); /* `m` is dead from here on */
        http_client_unlink(c, job);
        http_client_end(c, job, http_job_error(job, rc), rc);
    }
}

static void http_client_main(void *arg)
{
    struct http_client *c = arg;
    int running;

    while (http_client_take(c)) {
        (void)curl_multi_perform(c->multi, &running);
        http_client_finish(c);
        (void)curl_multi_poll(c->multi, NULL, 0, HTTP_CLIENT_POLL_MS, NULL);
    }
    while (c->under_way != NULL) {
        struct http_job *job = c->under_way;
        c->under_way = job->next;
        (void)curl_multi_remove_handle(c->multi, job->easy);
        http_client_end(c, job, ERR_CANCELED, CURLE_OK);
    }
}

enum err http_client_new(struct http_client **ret)
{
    enum err e = ERR_NOMEM;

    (void)pthread_once(&http_client_once, http_client_init_global);
    if (http_client_global != CURLE_OK)
        return ERR_INTERNAL;
    struct http_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NOMEM;
    mutex_init(&c->lock);
    c->multi = curl_multi_init();
    if (c->multi != NULL) {
        (void)curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                                (long)HTTP_CLIENT_CONNECTIONS_MAX);
        (void)curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                                (long)HTTP_CLIENT_PER_HOST_MAX);
        e = thread_start(&c->thread, "http-client", http_client_main, c);
    }
    if (e == ERR_OK) {
        *ret = c;
        return ERR_OK;
    }
    if (c->multi != NULL)
        (void)curl_multi_cleanup(c->multi);
    mutex_release(&c->lock);
    free(c);
    return e;
}

void http_client_free(struct http_client *c)
{
    if (c == NULL)
        return;
    mutex_lock(&c->lock);
    c->is_stopping = true;
    mutex_unlock(&c->lock);
    (void)curl_multi_wakeup(c->multi);
    thread_join(c->thread);
    assert(c->posted == NULL);
    assert(c->call_count == 0);
    (void)curl_multi_cleanup(c->multi);
    mutex_release(&c->lock);
    free(c);
}

enum err http_client_send(struct http_client *c, const struct http_call *call, http_done *done,
                          void *arg)
{
    assert(call->url != NULL);
    assert(call->timeout_ns > 0);
    assert(call->body_bytes_max > 0);
    assert(done != NULL);
    struct http_job *job = NULL;
    enum err e = http_job_new(call, &job);

    if (e != ERR_OK)
        return e;
    assert(job != NULL);
    job->done = done;
    job->on_data = call->on_data;
    job->data_bytes_left = call->body_bytes_max;
    job->arg = arg;
    mutex_lock(&c->lock);
    if (c->is_stopping)
        e = ERR_UNAVAILABLE;
    else if (c->call_count == HTTP_CLIENT_CALLS_MAX)
        e = ERR_FULL;
    if (e == ERR_OK) {
        c->call_count++;
        job->next = c->posted;
        c->posted = job;
    }
    mutex_unlock(&c->lock);
    if (e == ERR_OK)
        (void)curl_multi_wakeup(c->multi);
    else
        http_job_free(job);
    return e;
}

struct http_waiter {
    struct mutex lock; /* the fields below */
    pthread_cond_t ended;
    bool is_ended;
    struct http_answer answer;
    struct buf *ret_body;
};

static void http_waiter_done(void *arg, const struct http_answer *answer)
{
    struct http_waiter *w = arg;

    mutex_lock(&w->lock);
    w->answer = *answer;
    w->answer.job = NULL; /* it is gone when the waiter wakes */
    if (answer->err == ERR_OK) {
        buf_append(w->ret_body, answer->body);
        w->answer.err = buf_err(w->ret_body);
    }
    w->is_ended = true;
    (void)pthread_cond_signal(&w->ended);
    mutex_unlock(&w->lock);
}

enum err http_client_call(struct http_client *c, const struct http_call *call, unsigned *ret_status,
                          struct buf *ret_body, struct err_detail *reterr_detail)
{
    struct http_waiter w = {.ret_body = ret_body};

    assert(ret_status != NULL);
    assert(ret_body != NULL);
    mutex_init(&w.lock);
    cond_init(&w.ended);
    enum err e = http_client_send(c, call, http_waiter_done, &w);
    if (e == ERR_OK) {
        mutex_lock(&w.lock);
        while (!w.is_ended)
            (void)cond_wait(&w.ended, &w.lock, -1);
        mutex_unlock(&w.lock);
        e = w.answer.err;
        if (e == ERR_OK)
            *ret_status = w.answer.status;
        else
            (void)err_detail_set(reterr_detail, e, "%s: %s", call->url, w.answer.error_text);
    } else {
        (void)err_detail_set(reterr_detail, e, "%s: %s", call->url, err_name(e));
    }
    mutex_release(&w.lock);
    (void)pthread_cond_destroy(&w.ended);
    return e;
}
