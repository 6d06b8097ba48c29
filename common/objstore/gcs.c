#include "common/objstore/gcs.h"

#include "common/base/crc32c.h"
#include "common/objstore/gcs_credentials.h"
#include "common/objstore/s3_sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 1 << 20, RESENDS_MAX = 8, STATUS_RESUME = 308 };

struct gcs {
    struct remote remote; /* first */
    struct gcs_options o; /* texts in the arena */
    struct arena arena;
    struct gcs_credentials credentials;
    struct bearer bearer;
    const char *base, *bucket; /* scheme://host[:port]; the bucket's name, encoded */
};

/* --- how a request is written --- */

static const char *request_url(const struct gcs *g, const struct remote_request *q, struct arena *a)
{
    const char *query = q->query != NULL ? q->query : "", *mark = query[0] != '\0' ? "?" : "";

    if (q->url != NULL)
        return arena_printf(a, "%s%s", g->base, q->url);
    if (q->is_upload || q->key == NULL)
        return arena_printf(a, "%s%s/storage/v1/b/%s/o%s%s", g->base, q->is_upload ? "/upload" : "",
                            g->bucket, mark, query);
    const char *key = remote_key(&g->remote, q->key, a);
    const char *safe = key != NULL ? s3_sign_encode(a, slice_str(key), false) : NULL;
    return safe != NULL ? arena_printf(a, "%s/storage/v1/b/%s/o/%s%s%s", g->base, g->bucket, safe,
                                       mark, query)
                        : NULL;
}

static enum err write_request(struct remote *r, const struct remote_request *q, struct arena *a,
                              struct http_call *ret, const void **ret_ticket)
{
    struct gcs *g = (struct gcs *)r;
    const char *authorization = NULL;
    enum err e = bearer_header(&g->bearer, a, &authorization);

    if (e != ERR_OK)
        return e;
    *ret = remote_http(q);
    ret->url = request_url(g, q, a);
    ret->headers = remote_headers(q, &authorization, 1, a);
    ret->insecure_skip_verify = g->o.is_insecure;
    *ret_ticket = authorization;
    return arena_err(a);
}

static enum remote_verdict refused(struct remote *r, const void *ticket,
                                   const struct remote_answer *a, enum err *ret)
{
    char reason[64];

    if (a->status == 401 && ticket != NULL) {
        bearer_refused(&((struct gcs *)r)->bearer, ticket);
        return REMOTE_AT_ONCE;
    }
    gcs_reason_from_json(buf_slice(&a->body), reason, sizeof reason);
    if (strcmp(reason, "rateLimitExceeded") == 0 || strcmp(reason, "userRateLimitExceeded") == 0) {
        *ret = ERR_UNAVAILABLE;
        return REMOTE_AGAIN;
    }
    return REMOTE_FAILED;
}

/* --- single requests --- */

/* The object's description and its bytes as one body, between lines that the bytes can not hold but by a chance of 2^-128. */
static enum err op_put(struct bucket *b, const char *key, struct slice bytes)
{
    struct gcs *g = (struct gcs *)b;
    uint32_t crc = crc32c(bytes);
    uint64_t mark[2];
    struct remote_answer answer;
    struct arena a;
    struct buf body;

    arena_init(&a, NULL);
    rng_bytes_secure(mark, sizeof mark);
    const char *line = arena_printf(&a, "%016llx%016llx", (unsigned long long)mark[0],
                                    (unsigned long long)mark[1]);
    const char *name = remote_key(&g->remote, key, &a);
    const char *object = name != NULL ? gcs_object_to_json(&g->o, name, &crc, &a) : NULL;
    struct remote_request q = {.method = "POST",
                               .query = "uploadType=multipart",
                               .is_upload = true,
                               .content_type = arena_printf(&a, "multipart/related; boundary=%s",
                                                            line != NULL ? line : ""),
                               .body_bytes_max = REMOTE_ERROR_BYTES_MAX};
    enum err e = object == NULL ? ERR_NOMEM : arena_err(&a);
    buf_init(&body, bytes.len + 65536);
    if (e == ERR_OK) {
        buf_appendf(&body,
                    "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n"
                    "--%s\r\nContent-Type: application/octet-stream\r\n\r\n",
                    line, object, line);
        buf_append(&body, bytes);
        buf_appendf(&body, "\r\n--%s--\r\n", line);
        e = buf_err(&body);
    }
    q.body = buf_slice(&body);
    if (e == ERR_OK)
        e = remote_call(&g->remote, &q, &answer);
    if (e == ERR_OK)
        remote_answer_release(&answer);
    buf_release(&body);
    arena_release(&a);
    return e;
}

static enum err op_head(struct bucket *b, const char *key, uint64_t *ret_bytes)
{
    struct remote_request q = {.method = "GET",
                               .key = key,
                               .query = "fields=size",
                               .body_bytes_max = REMOTE_ERROR_BYTES_MAX};
    struct remote_answer a;
    enum err e = remote_call((struct remote *)b, &q, &a);

    if (e != ERR_OK)
        return e;
    e = gcs_size_from_json(buf_slice(&a.body), ret_bytes);
    remote_answer_release(&a);
    return e == ERR_FORMAT ? ERR_CORRUPT : e;
}

static enum err list_page(struct remote *r, const struct remote_lister *l, struct arena *a,
                          struct remote_page *ret)
{
    struct remote_answer answer;
    const char *prefix = s3_sign_encode(a, slice_str(l->prefix), false);
    const char *token = l->token != NULL ? s3_sign_encode(a, slice_str(l->token), false) : "";

    if (prefix == NULL || token == NULL)
        return arena_err(a);
    struct remote_request q = {
        .method = "GET",
        .query = arena_printf(a,
                              "maxResults=1000&prefix=%s%s%s%s&fields=items(name,size,generation),"
                              "prefixes,nextPageToken",
                              prefix, l->is_deep ? "" : "&delimiter=%2F",
                              l->token != NULL ? "&pageToken=" : "", token),
        .body_bytes_max = REMOTE_LIST_BYTES_MAX};
    enum err e = q.query == NULL ? arena_err(a) : remote_call(r, &q, &answer);
    if (e != ERR_OK)
        return e;
    e = gcs_list_from_json(buf_slice(&answer.body), a, ret);
    remote_answer_release(&answer);
    if (e == ERR_OK && ret->token != NULL && l->token != NULL && strcmp(ret->token, l->token) == 0)
        e = ERR_CORRUPT; /* the same page again */
    return e;
}

/* --- resumable uploads --- */

/* Where it goes on: of the address that the server gives, its path on our server.  Tokens go nowhere else. */
static const char *session_path(struct arena *a, const char *location)
{
    const char *at = strstr(location, "://");
    const char *path = at != NULL ? strchr(at + 3, '/') : location;

    for (const char *c = path; c != NULL && *c != '\0'; c++)
        if (*c <= ' ' || *c >= 127)
            return NULL;
    return path != NULL && path[0] == '/' && strlen(location) < REMOTE_HINT_BYTES - 1
               ? arena_str(a, slice_str(path))
               : NULL;
}

static enum err upload_begin(struct remote_upload *u)
{
    struct gcs *g = (struct gcs *)u->remote;
    const char *name = remote_key(u->remote, u->key, &u->arena);
    const char *object = name != NULL ? gcs_object_to_json(&g->o, name, NULL, &u->arena) : NULL;
    struct remote_request q = {.method = "POST",
                               .query = "uploadType=resumable",
                               .is_upload = true,
                               .body = object != NULL ? slice_str(object) : SLICE_NONE,
                               .content_type = "application/json; charset=UTF-8",
                               .body_bytes_max = REMOTE_ERROR_BYTES_MAX};
    struct remote_answer a;
    enum err e = object == NULL ? ERR_NOMEM : remote_call(u->remote, &q, &a);

    if (e != ERR_OK)
        return e;
    u->id = session_path(&u->arena, a.hint);
    remote_answer_release(&a);
    return u->id != NULL ? ERR_OK : ERR_CORRUPT;
}

/* How many bytes the server keeps, from the "bytes=0-N" of an answer; none without one. */
static uint64_t kept_bytes(const struct remote_answer *a)
{
    unsigned long long last = 0;

    return sscanf(a->kept, "bytes=0-%llu", &last) == 1 ? (uint64_t)last + 1 : 0;
}

/* The server may keep less than it was sent: the rest goes again. */
static enum err upload_part(struct remote_upload *u, unsigned part, struct slice bytes)
{
    uint64_t begin = part * u->part_bytes, end = begin + bytes.len, at = begin;

    for (unsigned i = 0; i < RESENDS_MAX && at < end; i++) {
        const char *headers[] = {arena_printf(&u->arena, "Content-Range: bytes %llu-%llu/%llu",
                                              (unsigned long long)at, (unsigned long long)end - 1,
                                              (unsigned long long)u->bytes),
                                 NULL};
        struct remote_request q = {.method = "PUT",
                                   .url = u->id,
                                   .headers = headers,
                                   .body = slice_sub(bytes, at - begin, bytes.len),
                                   .status_too = end < u->bytes ? STATUS_RESUME : 0,
                                   .body_bytes_max = REMOTE_ERROR_BYTES_MAX};
        struct remote_answer a;
        enum err e = arena_err(&u->arena);
        if (e == ERR_OK)
            e = remote_call(u->remote, &q, &a);
        if (e != ERR_OK)
            return e;
        uint64_t kept = a.status == STATUS_RESUME ? kept_bytes(&a) : u->bytes;
        remote_answer_release(&a);
        if (a.status != STATUS_RESUME)
            return end == u->bytes ? ERR_OK : ERR_CORRUPT;
        if (kept < begin || kept > end)
            return ERR_CORRUPT;
        at = kept;
    }
    return at == end ? ERR_OK : ERR_UNAVAILABLE;
}

static void upload_call_off(struct remote_upload *u)
{
    struct remote_request q = {.method = "DELETE", .url = u->id, .status_too = 499};
    struct remote_answer a;

    if (remote_call(u->remote, &q, &a) == ERR_OK)
        remote_answer_release(&a); /* else it ends by itself after a week */
}

static enum err op_put_file(struct bucket *b, const char *key, const char *path)
{
    static const struct remote_upload_ops ops = {.parts_max = PARTS_MAX,
                                                 .begin = upload_begin,
                                                 .part = upload_part,
                                                 .complete = remote_upload_is_there,
                                                 .call_off = upload_call_off};
    struct gcs *g = (struct gcs *)b;

    return remote_put_file(&g->remote, key, path, g->o.part_bytes, &ops);
}

/* --- life --- */

static void op_free(struct bucket *b)
{
    struct gcs *g = (struct gcs *)b;

    remote_release(&g->remote);
    bearer_release(&g->bearer);
    gcs_credentials_release(&g->credentials);
    arena_release(&g->arena);
    free(g);
}

static const struct bucket_ops bucket_ops = {.put = op_put,
                                             .put_file = op_put_file,
                                             .get = remote_get,
                                             .get_all = remote_get_all,
                                             .head = op_head,
                                             .list = remote_list,
                                             .remove = remote_remove,
                                             .free = op_free};
static const struct remote_ops remote_ops = {
    .hint_header = "Location",
    .get_query = "alt=media",
    .bucket_key = "storage.trace.gcs.bucket_name",
    .endpoint_key = "storage.trace.gcs.endpoint",
    .secret_key = "storage.trace.gcs: GOOGLE_APPLICATION_CREDENTIALS",
    .write = write_request,
    .refused = refused,
    .list_page = list_page};

static void copy_options(struct gcs *g, const struct gcs_options *o)
{
    struct arena *a = &g->arena;
    struct gcs_pair *metadata = ARENA_ARRAY(a, struct gcs_pair, o->metadata_count + 1);

    g->o = *o;
    g->o.prefix = arena_str(a, slice_str(o->prefix));
    g->o.cache_control = arena_str(a, slice_str(o->cache_control));
    for (unsigned i = 0; metadata != NULL && i < o->metadata_count; i++)
        metadata[i] = (struct gcs_pair){arena_str(a, slice_str(o->metadata[i].name)),
                                        arena_str(a, slice_str(o->metadata[i].value))};
    g->o.metadata = metadata;
    g->bucket = s3_sign_encode(a, slice_str(o->bucket), false);
    g->remote.prefix = g->o.prefix;
    g->remote.note = o->note;
    g->remote.note_arg = o->note_arg;
}

/* Google's clients take an endpoint with the API's path behind it, and an emulator's without a scheme. */
static enum err choose_base(struct gcs *g, bool is_emulator, const char *endpoint,
                            struct err_detail *detail)
{
    bool has_scheme = strstr(endpoint, "://") != NULL;
    char *base = arena_printf(&g->arena, "%s%s",
                              has_scheme    ? ""
                              : is_emulator ? "http://"
                                            : "https://",
                              endpoint[0] != '\0' ? endpoint : "storage.googleapis.com");

    if (base == NULL)
        return arena_err(&g->arena);
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        base[--len] = '\0';
    static const char path[] = "/storage/v1";
    if (len > sizeof path && strcmp(base + len - (sizeof path - 1), path) == 0)
        base[len - (sizeof path - 1)] = '\0';
    bool is_http = strncmp(base, "http://", 7) == 0;
    if ((!is_http && strncmp(base, "https://", 8) != 0) ||
        strpbrk(base + (is_http ? 7 : 8), "/?#@ \t\r\n") != NULL)
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.gcs.endpoint \"%.100s\" is not an address", endpoint);
    g->base = base;
    return ERR_OK;
}

static enum err choose_access(struct gcs *g, struct err_detail *detail)
{
    const char *emulator = getenv("STORAGE_EMULATOR_HOST");
    bool is_emulator = g->o.endpoint[0] == '\0' && emulator != NULL && emulator[0] != '\0';
    bool has_tokens = !is_emulator && !g->o.is_insecure;
    enum err e = choose_base(g, is_emulator, is_emulator ? emulator : g->o.endpoint, detail);

    if (e == ERR_OK && has_tokens && !bearer_url_is_safe(g->base))
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.gcs.endpoint \"%.100s\": tokens are not sent without "
                              "TLS; insecure: true sends none",
                              g->o.endpoint);
    if (e == ERR_OK && has_tokens)
        e = gcs_credentials_init(&g->credentials, g->remote.http, g->o.clock, detail);
    if (e == ERR_OK && has_tokens)
        g->bearer.fetch = gcs_credentials_fetch;
    return e;
}

static enum err check_options(const struct gcs_options *o, struct err_detail *detail)
{
    if (o->bucket[0] == '\0' || strpbrk(o->bucket, "/?#%@: \t\r\n") != NULL)
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.gcs.bucket_name \"%.100s\" is not a bucket",
                              o->bucket);
    if (o->part_bytes == 0 || o->part_bytes % GCS_PART_BYTES_STEP != 0 ||
        o->part_bytes > (1ull << 30))
        return err_detail_set(
            detail, ERR_INVALID,
            "storage.trace.gcs.chunk_buffer_size must be a multiple of 256 KiB, to 1 GiB");
    return ERR_OK;
}

enum err gcs_new(const struct gcs_options *o, struct bucket **ret, struct err_detail *reterr_detail)
{
    struct gcs *g = calloc(1, sizeof *g);

    if (g == NULL)
        return ERR_NOMEM;
    arena_init(&g->arena, NULL);
    bearer_init(&g->bearer, NULL, &g->credentials, o->clock);
    enum err e = remote_init(&g->remote, &bucket_ops, &remote_ops, &o->tries, o->clock);
    copy_options(g, o);
    if (e == ERR_OK)
        e = arena_err(&g->arena);
    if (e == ERR_OK)
        e = check_options(o, reterr_detail);
    if (e == ERR_OK)
        e = choose_access(g, reterr_detail);
    g->o.bucket = g->o.endpoint = NULL; /* the caller's */
    if (e != ERR_OK) {
        op_free(&g->remote.bucket);
        return e;
    }
    *ret = &g->remote.bucket;
    return ERR_OK;
}
