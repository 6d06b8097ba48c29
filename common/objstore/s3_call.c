/* One request with all its attempts. */
#include "common/codec/digest.h"
#include "common/objstore/s3_priv.h"
#include "common/objstore/s3_sign.h"
#include "common/objstore/s3_xml.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define TIMEOUT_NS         (20 * NS_PER_S)
#define TIMEOUT_NS_PER_MIB (2 * NS_PER_S)
#define REPEAT_SHARE       0.1
#define REPEATS_PER_S      1.0

/* --- one attempt, perhaps hedged --- */

/* What the attempts of one round share; the last of them frees it. */
struct flight {
    struct mutex lock; /* the fields below */
    pthread_cond_t ended;
    unsigned refs, under_way;
    bool has_answer;
    enum err err;
    struct s3_answer answer;
};

static void flight_unref(struct flight *f)
{
    mutex_lock(&f->lock);
    bool is_last = --f->refs == 0;
    mutex_unlock(&f->lock);
    if (!is_last)
        return;
    s3_answer_release(&f->answer);
    mutex_release(&f->lock);
    (void)pthread_cond_destroy(&f->ended);
    free(f);
}

void s3_answer_release(struct s3_answer *a)
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
        struct s3_answer *a = &f->answer;
        f->has_answer = true;
        f->err = h->err;
        a->status = h->status;
        if (h->err == ERR_OK) {
            http_client_header(h, "ETag", a->etag, sizeof a->etag);
            http_client_header(h, "Content-Length", a->length, sizeof a->length);
            http_client_header(h, "Content-Range", a->range, sizeof a->range);
            http_client_header(h, "x-amz-bucket-region", a->region, sizeof a->region);
            http_client_header(h, "Date", a->date, sizeof a->date);
            buf_append(&a->body, h->body);
            f->err = buf_err(&a->body);
        }
        (void)pthread_cond_signal(&f->ended);
    }
    mutex_unlock(&f->lock);
    flight_unref(f);
}

static enum err flight_send(struct s3 *s, struct flight *f, const struct http_call *call)
{
    mutex_lock(&f->lock);
    f->refs++;
    f->under_way++;
    mutex_unlock(&f->lock);
    enum err e = http_client_send(s->http, call, on_answer, f);
    if (e != ERR_OK) {
        mutex_lock(&f->lock);
        f->under_way--;
        mutex_unlock(&f->lock);
        flight_unref(f);
    }
    return e;
}

static enum err flight_run(struct s3 *s, const struct http_call *call, bool may_hedge,
                           struct s3_answer *ret)
{
    struct flight *f = calloc(1, sizeof *f);
    unsigned more = may_hedge && s->o.hedge_at_ns > 0 ? s->o.hedge_max - 1 : 0;

    if (f == NULL)
        return ERR_NOMEM;
    f->refs = 1;
    mutex_init(&f->lock);
    cond_init(&f->ended);
    buf_init(&f->answer.body, call->body_bytes_max);
    enum err e = flight_send(s, f, call);
    mutex_lock(&f->lock);
    while (e == ERR_OK && !f->has_answer) {
        if (cond_wait(&f->ended, &f->lock, more > 0 ? s->o.hedge_at_ns : -1) || f->has_answer ||
            more == 0)
            continue;
        more--;
        metric_inc(s->hedged);
        mutex_unlock(&f->lock);
        enum err second = flight_send(s, f, call);
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

/* --- the request as HTTP --- */

struct headers {
    struct s3_header list[S3_HEADERS_MAX];
    unsigned count;
};

static void header_add(struct headers *h, const char *name, const char *value)
{
    assert(h->count < S3_HEADERS_MAX);
    h->list[h->count++] = (struct s3_header){name, value};
}

static void add_all(struct headers *h, const struct s3_extra *extra, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        header_add(h, extra[i].name, extra[i].value);
}

static enum err sign_request(struct s3 *s, const struct s3_request *r, const struct s3_keys *keys,
                             const char *path, struct headers *h, struct arena *a)
{
    uint8_t digest[DIGEST_BYTES];
    char *hash = arena_alloc(a, DIGEST_HEX_BYTES), *when = arena_alloc(a, S3_SIGN_TIME_BYTES);
    enum err e = digest_sha256(r->body, digest);

    if (e != ERR_OK || hash == NULL || when == NULL)
        return e != ERR_OK ? e : arena_err(a);
    mutex_lock(&s->lock);
    const char *region = arena_str(a, slice_str(s->region));
    int64_t now_s = clock_wall_ns(s->o.clock) / NS_PER_S + s->clock_skew_s;
    mutex_unlock(&s->lock);
    digest_hex(digest, sizeof digest, hash);
    s3_sign_time(now_s, when);
    header_add(h, "x-amz-content-sha256", hash);
    header_add(h, "x-amz-date", when);
    if (keys->token[0] != '\0')
        header_add(h, "x-amz-security-token", keys->token);
    struct s3_sign in = {.method = r->method,
                         .path = path,
                         .query = r->query != NULL ? r->query : "",
                         .headers = h->list,
                         .header_count = h->count,
                         .payload_hash = hash,
                         .time_s = now_s,
                         .region = region,
                         .service = "s3",
                         .access_key = keys->access_key,
                         .secret_key = keys->secret_key};
    const char *authorization = NULL;
    e = region == NULL ? arena_err(a) : s3_sign(a, &in, &authorization);
    if (e == ERR_OK)
        header_add(h, "authorization", authorization);
    return e;
}

/* "name: value" of all but the host, which libcurl makes itself; NULL-terminated. */
static const char *const *header_lines(const struct headers *h, struct arena *a)
{
    const char **lines = ARENA_ARRAY(a, const char *, h->count + 1);
    unsigned n = 0;

    for (unsigned i = 0; lines != NULL && i < h->count; i++)
        if (strcmp(h->list[i].name, "host") != 0)
            lines[n++] = arena_printf(a, "%s: %s", h->list[i].name, h->list[i].value);
    return arena_err(a) == ERR_OK ? lines : NULL;
}

static const char *request_path(const struct s3 *s, const struct s3_request *r, struct arena *a)
{
    const char *prefix = s->o.prefix;

    if (r->key == NULL)
        return s->base_path[0] != '\0' ? s->base_path : "/";
    char *key = arena_printf(a, "%s%s%s", prefix, prefix[0] != '\0' ? "/" : "", r->key);
    char *safe = key != NULL ? s3_sign_encode(a, slice_str(key), true) : NULL;
    return safe != NULL ? arena_printf(a, "%s/%s", s->base_path, safe) : NULL;
}

static enum err make_call(struct s3 *s, const struct s3_request *r, const struct s3_keys *keys,
                          struct arena *a, struct http_call *ret)
{
    struct headers h = {.count = 0};
    const char *path = request_path(s, r, a);

    if (path == NULL)
        return arena_err(a);
    header_add(&h, "host", s->host);
    if (r->len > 0)
        header_add(&h, "range",
                   arena_printf(a, "bytes=%llu-%llu", (unsigned long long)r->offset,
                                (unsigned long long)(r->offset + r->len - 1)));
    if (r->body.len > 0)
        header_add(&h, "content-type",
                   r->content_type != NULL ? r->content_type : "application/octet-stream");
    if (r->is_write)
        add_all(&h, s->o.write_headers, s->o.write_header_count);
    if (r->is_read)
        add_all(&h, s->o.read_headers, s->o.read_header_count);
    enum err e = arena_err(a);
    if (e == ERR_OK && keys->access_key[0] != '\0')
        e = sign_request(s, r, keys, path, &h, a);
    if (e != ERR_OK)
        return e;
    bool has_query = r->query != NULL && r->query[0] != '\0';
    *ret = (struct http_call){
        .method = r->method,
        .url = arena_printf(a, "%s://%s%s%s%s", s->o.is_insecure ? "http" : "https", s->host, path,
                            has_query ? "?" : "", has_query ? r->query : ""),
        .headers = header_lines(&h, a),
        .body = r->body,
        .ca_file = s->o.ca_file,
        .cert_file = s->o.cert_file,
        .key_file = s->o.key_file,
        .insecure_skip_verify = s->o.insecure_skip_verify,
        .tls_min = s->o.tls_min,
        .timeout_ns =
            TIMEOUT_NS + (int64_t)((r->body.len + r->body_bytes_max) >> 20) * TIMEOUT_NS_PER_MIB,
        .body_bytes_max =
            (r->body_bytes_max > S3_ERROR_BYTES_MAX ? r->body_bytes_max : S3_ERROR_BYTES_MAX)};
    return arena_err(a);
}

/* --- what an answer means --- */

enum verdict { VERDICT_DONE, VERDICT_AGAIN, VERDICT_AT_ONCE, VERDICT_FAILED };

/* The server's clock may be right where ours is not: requests are signed with its time from then on. */
static bool learn_time(struct s3 *s, const struct s3_answer *a)
{
    struct tm tm = {0};

    if (strptime(a->date, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
        return false;
    int64_t skew = (int64_t)timegm(&tm) - clock_wall_ns(s->o.clock) / NS_PER_S;
    mutex_lock(&s->lock);
    bool is_news = llabs(skew - s->clock_skew_s) > 60;
    s->clock_skew_s = skew;
    mutex_unlock(&s->lock);
    return is_news;
}

static bool learn_region(struct s3 *s, const struct s3_answer *a)
{
    char region[64];

    (void)snprintf(region, sizeof region, "%s", a->region);
    if (region[0] == '\0')
        s3_xml_text(buf_slice(&a->body), "Region", region, sizeof region);
    mutex_lock(&s->lock);
    bool is_news = region[0] != '\0' && strcmp(region, s->region) != 0;
    if (is_news)
        memcpy(s->region, region, sizeof region);
    mutex_unlock(&s->lock);
    return is_news;
}

static bool is_any(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

static enum verdict refused(struct s3 *s, const struct s3_keys *keys, const struct s3_answer *a,
                            enum err *ret)
{
    static const char *const stale[] = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired",
                                        "InvalidAccessKeyId", NULL};
    static const char *const passing[] = {"SlowDown",           "RequestTimeout",   "InternalError",
                                          "ServiceUnavailable", "OperationAborted", NULL};
    char code[64];

    s3_xml_text(buf_slice(&a->body), "Code", code, sizeof code);
    *ret = a->status == 401   ? ERR_UNAUTHENTICATED
           : a->status == 403 ? ERR_FORBIDDEN
           : a->status == 404 ? ERR_NOT_FOUND
           : a->status == 416 ? ERR_CORRUPT
           : a->status == 409 ? ERR_CONFLICT
           : a->status == 501 ? ERR_UNSUPPORTED
                              : ERR_INVALID;
    if (a->status == 301 || a->status == 307 || (a->status == 400 && a->region[0] != '\0') ||
        strcmp(code, "AuthorizationHeaderMalformed") == 0)
        return learn_region(s, a) ? VERDICT_AT_ONCE : VERDICT_FAILED;
    if (strcmp(code, "RequestTimeTooSkewed") == 0)
        return learn_time(s, a) ? VERDICT_AT_ONCE : VERDICT_FAILED;
    if (is_any(code, stale)) {
        s3_credentials_refused(s->credentials, keys);
        return VERDICT_AT_ONCE;
    }
    if (a->status == 408 || a->status == 429 || is_any(code, passing)) {
        *ret = ERR_UNAVAILABLE;
        return VERDICT_AGAIN;
    }
    return VERDICT_FAILED;
}

/* A range answered in full and at its place: some servers give less, or everything. */
static bool is_the_range(const struct s3_request *r, const struct s3_answer *a)
{
    unsigned long long from = 0;

    return a->status == 206 && a->body.len == r->len &&
           (a->range[0] == '\0' ||
            (sscanf(a->range, "bytes %llu-", &from) == 1 && from == r->offset));
}

static enum verdict judge(struct s3 *s, const struct s3_request *r, const struct s3_keys *keys,
                          enum err e, struct s3_answer *a, enum err *ret)
{
    *ret = e;
    if (e == ERR_UNAVAILABLE || e == ERR_TIMEOUT || e == ERR_FULL)
        return VERDICT_AGAIN;
    if (e == ERR_TOO_LARGE && r->len > 0) {
        *ret = ERR_CORRUPT; /* more than the range */
        return VERDICT_AGAIN;
    }
    if (e != ERR_OK)
        return VERDICT_FAILED;
    if (a->status >= 500 && a->status != 501) {
        *ret = ERR_UNAVAILABLE;
        return VERDICT_AGAIN;
    }
    if (a->status < 200 || a->status > 299)
        return refused(s, keys, a, ret);
    if (r->len > 0 && !is_the_range(r, a)) {
        *ret = ERR_CORRUPT;
        return VERDICT_AGAIN;
    }
    return VERDICT_DONE;
}

/* --- attempts --- */

/* Each request earns a share of a repeat, and time does, so that a store in trouble is not asked ten times as much. */
static bool may_repeat(struct s3 *s, bool is_first)
{
    int64_t now = clock_mono_ns(s->o.clock);

    mutex_lock(&s->lock);
    s->repeats += (double)(now - s->repeats_ns) / (double)NS_PER_S * REPEATS_PER_S;
    s->repeats_ns = now;
    if (is_first)
        s->repeats += REPEAT_SHARE;
    if (s->repeats > S3_REPEATS_SAVED)
        s->repeats = S3_REPEATS_SAVED;
    bool may = is_first || s->repeats >= 1;
    if (!is_first && may)
        s->repeats -= 1;
    mutex_unlock(&s->lock);
    return may;
}

static void back_off(struct s3 *s, unsigned attempt)
{
    int64_t wait = s->o.backoff_min_ns;

    for (unsigned i = 0; i < attempt && wait < s->o.backoff_max_ns; i++)
        wait *= 2;
    if (wait > s->o.backoff_max_ns)
        wait = s->o.backoff_max_ns;
    mutex_lock(&s->lock);
    wait = wait / 2 + (int64_t)(rng_unit(&s->rng) * (double)wait / 2);
    mutex_unlock(&s->lock);
    struct timespec t = {wait / NS_PER_S, wait % NS_PER_S};
    (void)nanosleep(&t, NULL);
}

static void observe(struct s3 *s, const char *method, enum err e, unsigned status, int64_t begun)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%u", e == ERR_OK ? status : 0);
    metric_observe(metric_cell2(s->durations, method, e == ERR_OK ? text : err_name(e)),
                   (double)(clock_mono_ns(s->o.clock) - begun) / (double)NS_PER_S);
}

static enum verdict attempt(struct s3 *s, const struct s3_request *r, struct s3_answer *answer,
                            enum err *ret)
{
    struct s3_keys keys;
    struct http_call call;
    struct arena a;
    int64_t begun = clock_mono_ns(s->o.clock);

    arena_init(&a, NULL);
    *ret = s3_credentials_get(s->credentials, &keys);
    bool has_keys = *ret == ERR_OK;
    if (has_keys)
        *ret = make_call(s, r, &keys, &a, &call);
    enum verdict v = has_keys ? VERDICT_FAILED : VERDICT_AGAIN;
    if (*ret == ERR_OK) {
        enum err e = flight_run(s, &call, r->len > 0, answer);
        observe(s, r->method, e, answer->status, begun);
        v = judge(s, r, &keys, e, answer, ret);
    }
    explicit_bzero(&keys, sizeof keys);
    arena_release(&a);
    return v;
}

enum err s3_call(struct s3 *s, const struct s3_request *r, struct s3_answer *ret)
{
    unsigned at_once = 0;
    enum err e = ERR_OK;

    (void)may_repeat(s, true);
    for (unsigned i = 0;; i++) {
        struct s3_answer answer = {.status = 0};
        buf_init(&answer.body, 1);
        enum verdict v = attempt(s, r, &answer, &e);
        if (v == VERDICT_DONE) {
            *ret = answer;
            return ERR_OK;
        }
        s3_answer_release(&answer);
        if (v == VERDICT_AT_ONCE && at_once++ < 2)
            continue;
        if (v != VERDICT_AGAIN || i + 1 >= s->o.attempts_max || !may_repeat(s, false))
            return e;
        back_off(s, i);
    }
}
