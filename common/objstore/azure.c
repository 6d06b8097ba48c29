#include "common/objstore/azure.h"

#include "common/base/num.h"
#include "common/codec/digest.h"
#include "common/objstore/azure_credentials.h"
#include "common/objstore/azure_sign.h"
#include "common/objstore/s3_sign.h"
#include "common/objstore/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PARTS_MAX = 50000,
    PART_BYTES_MAX = 1 << 30,
    PART_BYTES_MIN = 64 << 10,
    LIST_OF_BLOCKS_BYTES_MAX = 8 << 20,
    BLOCK_ID_BYTES = 24 /* of hex; every block of a blob has as many */
};
#define API_VERSION "2020-10-02"

struct azure {
    struct remote remote;   /* first */
    struct azure_options o; /* texts in the arena */
    struct arena arena;
    struct azure_credentials credentials;
    struct bearer bearer;
    const char *base,
        *root; /* scheme://host[:port]; "/container", with the account before it at an emulator */
    const char *sas; /* "": none */
};

/* --- how a request is written --- */

static const char *http_date(const struct clock *clock, struct arena *a)
{
    time_t now = (time_t)(clock_wall_ns(clock) / NS_PER_S);
    char text[64];
    struct tm tm;

    if (gmtime_r(&now, &tm) == NULL ||
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
        return NULL;
    return arena_str(a, slice_str(text));
}

static const char *request_path(const struct azure *z, const struct remote_request *q,
                                struct arena *a)
{
    if (q->key == NULL)
        return z->root;
    const char *key = remote_key(&z->remote, q->key, a);
    const char *safe = key != NULL ? s3_sign_encode(a, slice_str(key), true) : NULL;
    return safe != NULL ? arena_printf(a, "%s/%s", z->root, safe) : NULL;
}

static int hex_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Our own query as it is signed: without its codes, one parameter a line. */
static const char *signed_query(const char *query, struct arena *a)
{
    char *ret = arena_str(a, slice_str(query)), *to = ret;

    for (const char *at = ret; ret != NULL && *at != '\0'; at++) {
        if (*at == '%' && hex_of(at[1]) >= 0 && hex_of(at[2]) >= 0) {
            *to++ = (char)(hex_of(at[1]) << 4 | hex_of(at[2]));
            at += 2;
        } else {
            *to++ = *at == '&' ? '\n' : *at;
        }
    }
    if (ret != NULL)
        *to = '\0';
    return ret;
}

/* Nothing to sign with a SAS; a token is a header; else SharedKey. */
static enum err authorize(struct azure *z, const struct remote_request *q, const char *path,
                          const char *md5, const char *const *ms_headers, struct arena *a,
                          const char **ret)
{
    const char *range = NULL, *signature = NULL;

    if (z->bearer.fetch != NULL)
        return bearer_header(&z->bearer, a, ret);
    if (z->sas[0] != '\0')
        return ERR_OK;
    if (q->len > 0)
        range = arena_printf(a, "bytes=%llu-%llu", (unsigned long long)q->offset,
                             (unsigned long long)(q->offset + q->len - 1));
    bool has_type = q->body.len > 0 || q->content_type != NULL;
    struct azure_sign in = {.method = q->method,
                            .account = z->o.account,
                            .key = z->o.key,
                            .path = path,
                            .query = signed_query(q->query != NULL ? q->query : "", a),
                            .body_bytes = q->body.len,
                            .content_md5 = md5,
                            .content_type = !has_type                 ? NULL
                                            : q->content_type != NULL ? q->content_type
                                                                      : "application/octet-stream",
                            .range = range,
                            .ms_headers = ms_headers};
    enum err e = arena_err(a);
    if (e == ERR_OK)
        e = azure_sign(a, &in, &signature);
    if (e == ERR_OK) {
        *ret = arena_printf(a, "Authorization: %s", signature);
        e = arena_err(a);
    }
    return e;
}

static enum err content_md5(const struct remote_request *q, struct arena *a, const char **ret)
{
    uint8_t digest[DIGEST_MD5_BYTES];
    struct buf text;

    *ret = NULL;
    if (q->body.len == 0)
        return ERR_OK;
    enum err e = digest_md5(q->body, digest);
    buf_init(&text, 64);
    if (e == ERR_OK) {
        digest_base64((struct slice){digest, sizeof digest}, false, &text);
        e = buf_err(&text);
    }
    if (e == ERR_OK) {
        *ret = arena_str(a, buf_slice(&text));
        e = arena_err(a);
    }
    buf_release(&text);
    return e;
}

static enum err write_request(struct remote *r, const struct remote_request *q, struct arena *a,
                              struct http_call *ret, const void **ret_ticket)
{
    struct azure *z = (struct azure *)r;
    const char *path = request_path(z, q, a), *date = http_date(z->o.clock, a), *md5 = NULL;
    bool has_query = q->query != NULL, has_sas = z->sas[0] != '\0';
    const char *ms[5], **own = ARENA_ARRAY(a, const char *, 8), *authorization = NULL;
    unsigned n = 0;

    if (path == NULL || own == NULL || date == NULL)
        return arena_err(a) != ERR_OK ? arena_err(a) : ERR_INVALID;
    if (q->is_write)
        ms[n++] = "x-ms-blob-type:BlockBlob";
    ms[n++] = arena_printf(a, "x-ms-date:%s", date);
    if (strcmp(q->method, "DELETE") == 0)
        ms[n++] = "x-ms-delete-snapshots:include";
    ms[n++] = "x-ms-version:" API_VERSION;
    ms[n] = NULL;
    enum err e = content_md5(q, a, &md5);
    if (e == ERR_OK)
        e = authorize(z, q, path, md5, ms, a, &authorization);
    if (e != ERR_OK)
        return e;
    memcpy(own, ms, n * sizeof *own);
    own[n++] = authorization;
    own[n++] = md5 != NULL ? arena_printf(a, "Content-MD5: %s", md5) : NULL;
    *ret = remote_http(q);
    ret->url = arena_printf(a, "%s%s%s%s%s%s", z->base, path, has_query || has_sas ? "?" : "",
                            has_query ? q->query : "", has_query && has_sas ? "&" : "", z->sas);
    ret->headers = remote_headers(q, own, n, a);
    *ret_ticket = z->bearer.fetch != NULL ? authorization : NULL;
    return arena_err(a);
}

static enum remote_verdict refused(struct remote *r, const void *ticket,
                                   const struct remote_answer *a, enum err *ret)
{
    (void)ret;
    if (a->status == 401 && ticket != NULL) {
        bearer_refused(&((struct azure *)r)->bearer, ticket);
        return REMOTE_AT_ONCE;
    }
    return REMOTE_FAILED;
}

/* --- single requests --- */

static enum err op_put(struct bucket *b, const char *key, struct slice bytes)
{
    struct remote_request q = {.method = "PUT", .key = key, .body = bytes, .is_write = true};
    struct remote_answer a;
    enum err e = remote_call((struct remote *)b, &q, &a);

    if (e == ERR_OK)
        remote_answer_release(&a);
    return e;
}

struct parser {
    struct arena *a;
    struct remote_page *page;
    const char *name, *etag;
    uint64_t bytes;
    bool is_listing;
};

static enum err add_entry(struct parser *p)
{
    enum err e = remote_page_add(p->page, p->a, p->name, p->bytes, p->etag);

    p->name = p->etag = NULL;
    p->bytes = 0;
    return e;
}

static enum err on_element(void *arg, const char *path, struct slice text)
{
    static const char root[] = "EnumerationResults";
    struct parser *p = arg;

    if (strncmp(path, root, sizeof root - 1) != 0)
        return ERR_FORMAT;
    p->is_listing = true;
    const char *below = path + sizeof root - 1 + (path[sizeof root - 1] == '/');
    if (strcmp(below, "NextMarker") == 0 && text.len > 0)
        p->page->token = arena_str(p->a, text);
    else if (strcmp(below, "Blobs/Blob/Name") == 0 || strcmp(below, "Blobs/BlobPrefix/Name") == 0)
        p->name = arena_str(p->a, text);
    else if (strcmp(below, "Blobs/Blob/Properties/Etag") == 0)
        p->etag = arena_str(p->a, text);
    else if (strcmp(below, "Blobs/Blob/Properties/Content-Length") == 0 &&
             num_parse_u64(text, &p->bytes) != ERR_OK)
        return ERR_FORMAT;
    else if (strcmp(below, "Blobs/Blob") == 0 || strcmp(below, "Blobs/BlobPrefix") == 0)
        return add_entry(p);
    return arena_err(p->a);
}

enum err azure_list_parse(struct slice xml, struct arena *a, struct remote_page *ret)
{
    struct remote_page page = {0};
    struct parser p = {.a = a, .page = &page};

    enum err e = xml.len == 0 ? ERR_FORMAT : xml_walk(xml, on_element, &p);
    if (e == ERR_OK && !p.is_listing)
        e = ERR_FORMAT;
    if (e != ERR_OK)
        return e;
    page.is_truncated = page.token != NULL;
    remote_page_sort(&page);
    *ret = page;
    return ERR_OK;
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
        .query = arena_printf(a, "comp=list%s%s%s&maxresults=1000&prefix=%s&restype=container",
                              l->is_deep ? "" : "&delimiter=%2F",
                              l->token != NULL ? "&marker=" : "", token, prefix),
        .body_bytes_max = REMOTE_LIST_BYTES_MAX};
    enum err e = q.query == NULL ? arena_err(a) : remote_call(r, &q, &answer);
    if (e != ERR_OK)
        return e;
    e = azure_list_parse(buf_slice(&answer.body), a, ret);
    remote_answer_release(&answer);
    if (e == ERR_OK && ret->token != NULL && l->token != NULL && strcmp(ret->token, l->token) == 0)
        e = ERR_CORRUPT; /* the same page again */
    return e;
}

/* --- large files: blocks, and a list of them --- */

static enum err upload_begin(struct remote_upload *u)
{
    uint64_t mark;

    rng_bytes_secure(&mark, sizeof mark);
    u->id = arena_printf(&u->arena, "%016llx", (unsigned long long)mark);
    return arena_err(&u->arena);
}

/* Three bytes are four digits: no '=', and of base 64's digits those of hex give no '+' or '/'. */
static void block_id(const struct remote_upload *u, unsigned part, char ret[64])
{
    char text[BLOCK_ID_BYTES + 1];
    struct buf b;

    (void)snprintf(text, sizeof text, "%s%08x", u->id, part);
    buf_init(&b, 64);
    digest_base64((struct slice){(const uint8_t *)text, BLOCK_ID_BYTES}, false, &b);
    (void)snprintf(ret, 64, SLICE_FMT, SLICE_ARG(buf_slice(&b)));
    buf_release(&b);
}

static enum err call_and_forget(struct remote *r, const struct remote_request *q)
{
    struct remote_answer a;
    enum err e = remote_call(r, q, &a);

    if (e == ERR_OK)
        remote_answer_release(&a);
    return e;
}

static enum err upload_part(struct remote_upload *u, unsigned part, struct slice bytes)
{
    char id[64];

    block_id(u, part, id);
    struct remote_request q = {.method = "PUT",
                               .key = u->key,
                               .query = arena_printf(&u->arena, "blockid=%s&comp=block", id),
                               .body = bytes};
    return q.query == NULL ? arena_err(&u->arena) : call_and_forget(u->remote, &q);
}

static enum err upload_complete(struct remote_upload *u)
{
    struct buf body;
    char id[64];

    buf_init(&body, LIST_OF_BLOCKS_BYTES_MAX);
    buf_append_str(&body, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for (unsigned i = 0; i < u->part_count; i++) {
        block_id(u, i, id);
        buf_appendf(&body, "<Latest>%s</Latest>", id);
    }
    buf_append_str(&body, "</BlockList>");
    struct remote_request q = {.method = "PUT",
                               .key = u->key,
                               .query = "comp=blocklist",
                               .body = buf_slice(&body),
                               .content_type = "application/xml"};
    enum err e = buf_err(&body);
    if (e == ERR_OK)
        e = call_and_forget(u->remote, &q);
    buf_release(&body);
    return e == ERR_INVALID || e == ERR_UNAVAILABLE ? remote_upload_is_there(u) : e;
}

static void upload_call_off(struct remote_upload *u)
{
    (void)u; /* blocks that no list names are in no listing and end by themselves after a week */
}

static enum err op_put_file(struct bucket *b, const char *key, const char *path)
{
    static const struct remote_upload_ops ops = {.parts_max = PARTS_MAX,
                                                 .begin = upload_begin,
                                                 .part = upload_part,
                                                 .complete = upload_complete,
                                                 .call_off = upload_call_off};
    struct azure *z = (struct azure *)b;

    return remote_put_file(&z->remote, key, path, z->o.part_bytes, &ops);
}

/* --- life --- */

static void op_free(struct bucket *b)
{
    struct azure *z = (struct azure *)b;

    remote_release(&z->remote);
    bearer_release(&z->bearer);
    arena_release(&z->arena);
    free(z);
}

static const struct bucket_ops bucket_ops = {.put = op_put,
                                             .put_file = op_put_file,
                                             .get = remote_get,
                                             .get_all = remote_get_all,
                                             .head = remote_head,
                                             .list = remote_list,
                                             .remove = remote_remove,
                                             .free = op_free};
static const struct remote_ops remote_ops = {.hint_header = "x-ms-error-code",
                                             .bucket_key = "storage.trace.azure.container_name",
                                             .endpoint_key = "storage.trace.azure.endpoint_suffix",
                                             .secret_key =
                                                 "storage.trace.azure.storage_account_key",
                                             .write = write_request,
                                             .refused = refused,
                                             .list_page = list_page};

static const char *or_env(const char *text, const char *name)
{
    const char *value = text[0] == '\0' ? getenv(name) : text;

    return value != NULL ? value : "";
}

static void copy_options(struct azure *z, const struct azure_options *o)
{
    struct arena *a = &z->arena;

    z->o = *o;
    z->o.account = arena_str(a, slice_str(or_env(o->account, "AZURE_STORAGE_ACCOUNT")));
    z->o.key = arena_str(a, slice_str(or_env(o->key, "AZURE_STORAGE_KEY")));
    z->o.container = arena_str(a, slice_str(o->container));
    z->o.prefix = arena_str(a, slice_str(o->prefix));
    z->o.endpoint_suffix = arena_str(a, slice_str(o->endpoint_suffix));
    z->o.user_assigned_id = arena_str(a, slice_str(o->user_assigned_id));
    z->sas = "";
    z->remote.prefix = z->o.prefix;
    z->remote.note = o->note;
    z->remote.note_arg = o->note_arg;
}

/* Letters, digits and "-", which is what both may be made of. */
static bool is_name(const char *text)
{
    size_t len = strlen(text);

    return len >= 3 && len <= 63 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static enum err choose_base(struct azure *z, struct err_detail *detail)
{
    const struct azure_options *o = &z->o;
    struct arena *a = &z->arena;
    const char *suffix = o->endpoint_suffix;

    if (!is_name(o->account))
        return err_detail_set(
            detail, ERR_INVALID,
            "storage.trace.azure.storage_account_name \"%.70s\" is not an account", o->account);
    if (!is_name(o->container) && o->container[0] != '$')
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.azure.container_name \"%.70s\" is not a container",
                              o->container);
    if (suffix[0] == '\0' || strpbrk(suffix, "/?#@% \t\r\n") != NULL)
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.azure.endpoint_suffix \"%.100s\" is not a host",
                              suffix);
    bool is_azure = strncmp(suffix, "blob.", 5) == 0 || strstr(suffix, ".blob.") != NULL;
    z->base = is_azure ? arena_printf(a, "https://%s.%s", o->account, suffix)
                       : arena_printf(a, "http://%s", suffix);
    z->root = is_azure ? arena_printf(a, "/%s", o->container)
                       : arena_printf(a, "/%s/%s", o->account, o->container);
    return arena_err(a);
}

static enum err choose_access(struct azure *z, struct err_detail *detail)
{
    const struct azure_options *o = &z->o;
    bool is_managed = o->use_managed_identity || o->user_assigned_id[0] != '\0';
    const char *missing = o->use_federated_token ? azure_credentials_missing() : NULL;

    z->credentials = (struct azure_credentials){z->remote.http, o->clock, o->user_assigned_id};
    if (missing != NULL)
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.azure.use_federated_token: %s is not set", missing);
    if (o->use_federated_token)
        z->bearer.fetch = azure_credentials_federated;
    else if (is_managed)
        z->bearer.fetch = azure_credentials_managed;
    else if (o->key[0] == '\0')
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.azure: no storage_account_key (or AZURE_STORAGE_KEY), "
                              "use_managed_identity or use_federated_token");
    bool is_sas = strstr(o->key, "sig=") != NULL;
    if (z->bearer.fetch == NULL && is_sas)
        z->sas = o->key + (o->key[0] == '?');
    if ((z->bearer.fetch != NULL || is_sas) && !bearer_url_is_safe(z->base))
        return err_detail_set(
            detail, ERR_INVALID,
            "storage.trace.azure.endpoint_suffix: tokens are not sent without TLS");
    if (strpbrk(z->sas, " \t\r\n#") != NULL)
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.azure.storage_account_key is not a SAS");
    if (z->bearer.fetch != NULL || is_sas)
        return ERR_OK;
    const char *probe = NULL, *const none[] = {NULL};
    struct azure_sign in = {.method = "GET",
                            .account = o->account,
                            .key = o->key,
                            .path = "/",
                            .query = "",
                            .ms_headers = none};
    enum err e = azure_sign(&z->arena, &in, &probe);
    return e == ERR_FORMAT || e == ERR_TOO_LARGE
               ? err_detail_set(detail, ERR_INVALID,
                                "storage.trace.azure.storage_account_key is not base 64")
               : e;
}

enum err azure_new(const struct azure_options *o, struct bucket **ret,
                   struct err_detail *reterr_detail)
{
    struct azure *z = calloc(1, sizeof *z);

    if (z == NULL)
        return ERR_NOMEM;
    arena_init(&z->arena, NULL);
    bearer_init(&z->bearer, NULL, &z->credentials, o->clock);
    enum err e = remote_init(&z->remote, &bucket_ops, &remote_ops, &o->tries, o->clock);
    copy_options(z, o);
    if (e == ERR_OK)
        e = arena_err(&z->arena);
    if (e == ERR_OK && (o->part_bytes < PART_BYTES_MIN || o->part_bytes > PART_BYTES_MAX))
        e = err_detail_set(reterr_detail, ERR_INVALID,
                           "storage.trace.azure.buffer_size must be from 64 KiB to 1 GiB");
    if (e == ERR_OK)
        e = choose_base(z, reterr_detail);
    if (e == ERR_OK)
        e = choose_access(z, reterr_detail);
    if (e != ERR_OK) {
        op_free(&z->remote.bucket);
        return e;
    }
    *ret = &z->remote.bucket;
    return ERR_OK;
}
