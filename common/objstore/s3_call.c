/* One request of S3's: how it is written and signed, what a refusal means. */
#include "common/codec/digest.h"
#include "common/objstore/s3_priv.h"
#include "common/objstore/s3_sign.h"
#include "common/objstore/xml.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

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

static enum err sign_request(struct s3 *s, const struct remote_request *r,
                             const struct s3_keys *keys, const char *path, struct headers *h,
                             struct arena *a)
{
    uint8_t digest[DIGEST_BYTES];
    char *hash = arena_alloc(a, DIGEST_HEX_BYTES), *when = arena_alloc(a, S3_SIGN_TIME_BYTES);
    enum err e = digest_sha256(r->body, digest);

    if (e != ERR_OK || hash == NULL || when == NULL)
        return e != ERR_OK ? e : arena_err(a);
    mutex_lock(&s->remote.lock);
    const char *region = arena_str(a, slice_str(s->region));
    int64_t now_s = clock_wall_ns(s->o.clock) / NS_PER_S + s->clock_skew_s;
    mutex_unlock(&s->remote.lock);
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

static const char *request_path(const struct s3 *s, const struct remote_request *r, struct arena *a)
{
    if (r->key == NULL)
        return s->base_path[0] != '\0' ? s->base_path : "/";
    const char *key = remote_key(&s->remote, r->key, a);
    char *safe = key != NULL ? s3_sign_encode(a, slice_str(key), true) : NULL;
    return safe != NULL ? arena_printf(a, "%s/%s", s->base_path, safe) : NULL;
}

static enum err make_call(struct s3 *s, const struct remote_request *r, const struct s3_keys *keys,
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
    *ret = remote_http(r);
    ret->url = arena_printf(a, "%s://%s%s%s%s", s->o.is_insecure ? "http" : "https", s->host, path,
                            has_query ? "?" : "", has_query ? r->query : "");
    ret->headers = header_lines(&h, a);
    ret->ca_file = s->o.ca_file;
    ret->cert_file = s->o.cert_file;
    ret->key_file = s->o.key_file;
    ret->insecure_skip_verify = s->o.insecure_skip_verify;
    ret->tls_min = s->o.tls_min;
    return arena_err(a);
}

enum err s3_write(struct remote *r, const struct remote_request *q, struct arena *a,
                  struct http_call *ret, const void **ret_ticket)
{
    struct s3 *s = (struct s3 *)r;
    struct s3_keys *keys = ARENA_NEW(a, struct s3_keys);

    if (keys == NULL)
        return arena_err(a);
    enum err e = s3_credentials_get(s->credentials, keys);
    if (e == ERR_OK)
        e = make_call(s, q, keys, a, ret);
    explicit_bzero(keys->secret_key, sizeof keys->secret_key);
    *ret_ticket = keys;
    return e;
}

/* --- what an answer means --- */

/* The server's clock may be right where ours is not: requests are signed with its time from then on. */
static bool learn_time(struct s3 *s, const struct remote_answer *a)
{
    struct tm tm = {0};

    if (strptime(a->date, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
        return false;
    int64_t skew = (int64_t)timegm(&tm) - clock_wall_ns(s->o.clock) / NS_PER_S;
    mutex_lock(&s->remote.lock);
    bool is_news = llabs(skew - s->clock_skew_s) > 60;
    s->clock_skew_s = skew;
    mutex_unlock(&s->remote.lock);
    return is_news;
}

static bool learn_region(struct s3 *s, const struct remote_answer *a)
{
    char region[64];

    (void)snprintf(region, sizeof region, "%.63s", a->hint);
    if (region[0] == '\0')
        xml_text(buf_slice(&a->body), "Region", region, sizeof region);
    mutex_lock(&s->remote.lock);
    bool is_news = region[0] != '\0' && strcmp(region, s->region) != 0;
    if (is_news)
        memcpy(s->region, region, sizeof region);
    mutex_unlock(&s->remote.lock);
    return is_news;
}

static bool is_any(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

enum remote_verdict s3_refused(struct remote *r, const void *ticket, const struct remote_answer *a,
                               enum err *ret)
{
    static const char *const stale[] = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired",
                                        "InvalidAccessKeyId", NULL};
    static const char *const passing[] = {"SlowDown",           "RequestTimeout",   "InternalError",
                                          "ServiceUnavailable", "OperationAborted", NULL};
    struct s3 *s = (struct s3 *)r;
    char code[64];

    xml_text(buf_slice(&a->body), "Code", code, sizeof code);
    if (a->status == 301 || a->status == 307 || (a->status == 400 && a->hint[0] != '\0') ||
        strcmp(code, "AuthorizationHeaderMalformed") == 0)
        return learn_region(s, a) ? REMOTE_AT_ONCE : REMOTE_FAILED;
    if (strcmp(code, "RequestTimeTooSkewed") == 0)
        return learn_time(s, a) ? REMOTE_AT_ONCE : REMOTE_FAILED;
    if (is_any(code, stale)) {
        s3_credentials_refused(s->credentials, ticket);
        return REMOTE_AT_ONCE;
    }
    if (is_any(code, passing)) {
        *ret = ERR_UNAVAILABLE;
        return REMOTE_AGAIN;
    }
    return REMOTE_FAILED;
}
