#include "common/app/app_store.h"

#include "common/app/app_cache.h"
#include "common/codec/digest.h"
#include "common/objstore/azure.h"
#include "common/objstore/backend_bucket.h"
#include "common/objstore/gcs.h"
#include "common/objstore/s3.h"
#include "common/objstore/s3_sign.h"
#include "common/obs/log.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { STORE_HEADERS_MAX = 16, SSE_KEY_BYTES = 32, SSE_TEXT_BYTES_MAX = 8192, ATTEMPTS = 10 };

struct s3_headers {
    struct s3_extra write[STORE_HEADERS_MAX], read[4];
    unsigned write_count, read_count;
    struct arena *a;
};

static void add_write(struct s3_headers *h, const char *name, const char *value)
{
    if (h->write_count < STORE_HEADERS_MAX && name != NULL && value != NULL)
        h->write[h->write_count++] = (struct s3_extra){name, value};
}

/* A header's name is signed in lower case. */
static const char *lower(struct arena *a, const char *text)
{
    char *ret = arena_str(a, slice_str(text));

    for (char *at = ret; at != NULL && *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    return ret;
}

static const char *base64_of(struct arena *a, struct slice bytes)
{
    struct buf text;

    buf_init(&text, SSE_TEXT_BYTES_MAX);
    digest_base64(bytes, false, &text);
    const char *ret = buf_err(&text) == ERR_OK ? arena_str(a, buf_slice(&text)) : NULL;
    buf_release(&text);
    return ret;
}

/* The key goes with every request for an object, reads too. */
static enum err add_customer_key(const struct config *c, struct s3_headers *h,
                                 struct err_detail *detail)
{
#define SSE_C "x-amz-server-side-encryption-customer-"
    uint8_t md5[DIGEST_MD5_BYTES];

    if (strlen(c->s3_sse_key) != SSE_KEY_BYTES)
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.s3.sse.encryption_key must have 32 bytes");
    if (c->s3_insecure)
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.s3.sse SSE-C sends its key: not with insecure: true");
    enum err e = digest_md5(slice_str(c->s3_sse_key), md5);
    if (e != ERR_OK)
        return e;
    h->read[h->read_count++] = (struct s3_extra){SSE_C "algorithm", "AES256"};
    h->read[h->read_count++] =
        (struct s3_extra){SSE_C "key", base64_of(h->a, slice_str(c->s3_sse_key))};
    h->read[h->read_count++] =
        (struct s3_extra){SSE_C "key-md5", base64_of(h->a, (struct slice){md5, sizeof md5})};
    for (unsigned i = 0; i < h->read_count; i++)
        add_write(h, h->read[i].name, h->read[i].value);
    return arena_err(h->a);
}

static enum err add_encryption(const struct config *c, struct s3_headers *h,
                               struct err_detail *detail)
{
#define SSE "x-amz-server-side-encryption"
    if (c->s3_sse_type[0] == '\0')
        return ERR_OK;
    if (strcmp(c->s3_sse_type, "SSE-S3") == 0) {
        add_write(h, SSE, "AES256");
    } else if (strcmp(c->s3_sse_type, "SSE-KMS") == 0) {
        add_write(h, SSE, "aws:kms");
        if (c->s3_sse_kms_key_id[0] != '\0')
            add_write(h, SSE "-aws-kms-key-id", c->s3_sse_kms_key_id);
        if (c->s3_sse_kms_context[0] != '\0')
            add_write(h, SSE "-context", base64_of(h->a, slice_str(c->s3_sse_kms_context)));
    } else if (strcmp(c->s3_sse_type, "SSE-C") == 0) {
        return add_customer_key(c, h, detail);
    } else {
        return err_detail_set(detail, ERR_INVALID,
                              "storage.trace.s3.sse.type \"%.40s\" is not SSE-S3, SSE-KMS or SSE-C",
                              c->s3_sse_type);
    }
    return arena_err(h->a);
}

static enum err add_headers(const struct config *c, struct s3_headers *h, struct err_detail *detail)
{
    struct buf tags;

    buf_init(&tags, SSE_TEXT_BYTES_MAX);
    if (c->s3_storage_class[0] != '\0')
        add_write(h, "x-amz-storage-class", c->s3_storage_class);
    for (unsigned i = 0; i < c->s3_metadata_count; i++) {
        const char *name = lower(h->a, c->s3_metadata[i].name);
        if (name != NULL)
            add_write(h, arena_printf(h->a, "x-amz-meta-%s", name), c->s3_metadata[i].value);
    }
    for (unsigned i = 0; i < c->s3_tag_count; i++) {
        const char *name = s3_sign_encode(h->a, slice_str(c->s3_tags[i].name), false);
        const char *value = s3_sign_encode(h->a, slice_str(c->s3_tags[i].value), false);
        if (name != NULL && value != NULL)
            buf_appendf(&tags, "%s%s=%s", i == 0 ? "" : "&", name, value);
    }
    if (tags.len > 0 && buf_err(&tags) == ERR_OK)
        add_write(h, "x-amz-tagging", arena_str(h->a, buf_slice(&tags)));
    enum err e = buf_err(&tags);
    buf_release(&tags);
    return e == ERR_OK ? add_encryption(c, h, detail) : e;
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static unsigned tls_min(const char *word)
{
    return (unsigned)(10 + word[strlen(word) - 1] - '0'); /* VersionTLS12 */
}

/* A configuration that can not work is to be seen at the start, not found out. */
static void note_store(void *arg, const char *text)
{
    (void)arg;
    log_warn("store_refused", LOG_STR("reason", text));
}

static enum err bucket_s3(const struct app *app, struct bucket **ret, struct err_detail *detail)
{
    const struct config *c = app->config;
    struct s3_headers h = {.write_count = 0};
    struct arena a;

    arena_init(&a, NULL);
    h.a = &a;
    enum err e = add_headers(c, &h, detail);
    struct s3_options o = {.bucket = c->s3_bucket,
                           .prefix = c->s3_prefix,
                           .endpoint = c->s3_endpoint,
                           .region = c->s3_region,
                           .access_key = c->s3_access_key,
                           .secret_key = c->s3_secret_key,
                           .session_token = c->s3_session_token,
                           .is_insecure = c->s3_insecure,
                           .is_dual_stack = c->s3_dual_stack,
                           .style = c->s3_path_style || c->s3_lookup == 2 ? S3_STYLE_PATH
                                    : c->s3_lookup == 1                   ? S3_STYLE_HOST
                                                                          : S3_STYLE_AUTO,
                           .part_bytes = c->s3_part_bytes,
                           .tries = {.hedge_at_ns = c->s3_hedge_at_ns,
                                     .hedge_max = (unsigned)c->s3_hedge_max,
                                     .attempts_max = (unsigned)c->s3_attempts,
                                     .backoff_min_ns = c->s3_backoff_min_ns,
                                     .backoff_max_ns = c->s3_backoff_max_ns},
                           .write_headers = h.write,
                           .write_header_count = h.write_count,
                           .read_headers = h.read,
                           .read_header_count = h.read_count,
                           .ca_file = or_null(c->s3_tls_ca),
                           .cert_file = or_null(c->s3_tls_cert),
                           .key_file = or_null(c->s3_tls_key),
                           .insecure_skip_verify = c->s3_tls_insecure,
                           .tls_min = tls_min(c->s3_tls_min),
                           .note = note_store,
                           .clock = app->clock};
    if (e == ERR_OK)
        e = s3_new(&o, ret, detail);
    arena_release(&a);
    return e;
}

/* As long as what S3's keys default to. */
#define BACKOFF_MIN_NS (200 * NS_PER_MS)
#define BACKOFF_MAX_NS NS_PER_S

static enum err bucket_gcs(const struct app *app, struct bucket **ret, struct err_detail *detail)
{
    const struct config *c = app->config;
    struct arena a;

    arena_init(&a, NULL);
    struct gcs_pair *metadata = ARENA_ARRAY(&a, struct gcs_pair, c->gcs_metadata_count + 1);
    for (unsigned i = 0; metadata != NULL && i < c->gcs_metadata_count; i++)
        metadata[i] = (struct gcs_pair){c->gcs_metadata[i].name, c->gcs_metadata[i].value};
    struct gcs_options o = {.bucket = c->gcs_bucket,
                            .prefix = c->gcs_prefix,
                            .endpoint = c->gcs_endpoint,
                            .is_insecure = c->gcs_insecure,
                            .part_bytes = c->gcs_part_bytes,
                            .tries = {.hedge_at_ns = c->gcs_hedge_at_ns,
                                      .hedge_max = (unsigned)c->gcs_hedge_max,
                                      .attempts_max = (unsigned)c->gcs_retries + 1,
                                      .backoff_min_ns = BACKOFF_MIN_NS,
                                      .backoff_max_ns = BACKOFF_MAX_NS},
                            .cache_control = c->gcs_cache_control,
                            .metadata = metadata,
                            .metadata_count = c->gcs_metadata_count,
                            .note = note_store,
                            .clock = app->clock};
    enum err e = metadata == NULL ? arena_err(&a) : gcs_new(&o, ret, detail);
    arena_release(&a);
    return e;
}

static enum err bucket_azure(const struct app *app, struct bucket **ret, struct err_detail *detail)
{
    const struct config *c = app->config;
    struct azure_options o = {.account = c->azure_account,
                              .key = c->azure_key,
                              .container = c->azure_container,
                              .prefix = c->azure_prefix,
                              .endpoint_suffix = c->azure_suffix,
                              .use_managed_identity = c->azure_managed,
                              .use_federated_token = c->azure_federated,
                              .user_assigned_id = c->azure_user_assigned_id,
                              .part_bytes = c->azure_part_bytes,
                              .tries = {.hedge_at_ns = c->azure_hedge_at_ns,
                                        .hedge_max = (unsigned)c->azure_hedge_max,
                                        .attempts_max = ATTEMPTS,
                                        .backoff_min_ns = BACKOFF_MIN_NS,
                                        .backoff_max_ns = BACKOFF_MAX_NS},
                              .note = note_store,
                              .clock = app->clock};

    return azure_new(&o, ret, detail);
}

static enum err open_bucket(const struct app *app, struct bucket **ret, struct err_detail *detail)
{
    const char *backend = app->config->storage_backend;

    return strcmp(backend, "gcs") == 0     ? bucket_gcs(app, ret, detail)
           : strcmp(backend, "azure") == 0 ? bucket_azure(app, ret, detail)
                                           : bucket_s3(app, ret, detail);
}

enum err app_store_open(struct app *app, enum app_store_use use, struct backend **ret,
                        struct err_detail *reterr_detail)
{
    const struct config *c = app->config;
    bool is_writer = use == APP_STORE_WRITE;
    struct shared_ranges *shared = NULL;
    struct bucket *bucket = NULL;

    if (strcmp(c->storage_backend, "local") == 0)
        return backend_local_new(c->local_path, ret, reterr_detail);
    enum err e = open_bucket(app, &bucket, reterr_detail);
    if (e == ERR_OK && use == APP_STORE_QUERY) {
        e = app_cache_open(app, &shared, reterr_detail);
        if (e != ERR_OK)
            bucket->ops->free(bucket);
    }
    struct backend_bucket_options o = {
        .bucket = bucket,
        .writer = is_writer ? app->instance_id : NULL,
        .memory = &app->memory,
        .cache_bytes = is_writer ? app->memory.limit_bytes / 16 /* compaction loads ahead */
                       : c->block_cache_bytes != 0 ? (size_t)c->block_cache_bytes
                                                   : app->memory.limit_bytes / 8,
        .shared = shared,
        .clock = app->clock};
    if (e != ERR_OK)
        return e;
    e = backend_bucket_new(&o, ret);
    if (e != ERR_OK) {
        shared_ranges_free(shared);
        bucket->ops->free(bucket);
    }
    return e;
}
