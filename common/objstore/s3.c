#include "common/objstore/s3.h"

#include "common/objstore/s3_priv.h"

#include <stdio.h>
#include <stdlib.h>

static enum err op_put(struct bucket *b, const char *key, struct slice bytes)
{
    struct remote_request q = {.method = "PUT", .key = key, .body = bytes, .is_write = true};
    struct remote_answer a;
    enum err e = remote_call((struct remote *)b, &q, &a);

    if (e == ERR_OK)
        remote_answer_release(&a);
    return e;
}

static void op_free(struct bucket *b)
{
    struct s3 *s = (struct s3 *)b;

    remote_release(&s->remote);
    s3_credentials_free(s->credentials);
    arena_release(&s->arena);
    free(s);
}

static const struct bucket_ops bucket_ops = {.put = op_put,
                                             .put_file = s3_put_file,
                                             .get = remote_get,
                                             .get_all = remote_get_all,
                                             .head = remote_head,
                                             .list = remote_list,
                                             .remove = remote_remove,
                                             .free = op_free};
static const struct remote_ops remote_ops = {.hint_header = "x-amz-bucket-region",
                                             .bucket_key = "storage.trace.s3.bucket",
                                             .endpoint_key = "storage.trace.s3.endpoint",
                                             .secret_key = "storage.trace.s3.access_key",
                                             .write = s3_write,
                                             .refused = s3_refused,
                                             .list_page = s3_list_page};

/* --- opening --- */

static const char *copied(struct arena *a, const char *text)
{
    return text != NULL ? arena_str(a, slice_str(text)) : NULL;
}

static const struct s3_extra *copied_headers(struct arena *a, const struct s3_extra *from,
                                             unsigned count)
{
    struct s3_extra *to = ARENA_ARRAY(a, struct s3_extra, count);

    for (unsigned i = 0; to != NULL && i < count; i++)
        to[i] = (struct s3_extra){copied(a, from[i].name), copied(a, from[i].value)};
    return to;
}

static void copy_options(struct s3 *s, const struct s3_options *o)
{
    struct arena *a = &s->arena;

    s->o = *o;
    const char **texts[] = {&s->o.bucket,     &s->o.prefix,     &s->o.endpoint,      &s->o.region,
                            &s->o.access_key, &s->o.secret_key, &s->o.session_token, &s->o.ca_file,
                            &s->o.cert_file,  &s->o.key_file};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *texts[i] = copied(a, *texts[i]);
    s->o.write_headers = copied_headers(a, o->write_headers, o->write_header_count);
    s->o.read_headers = copied_headers(a, o->read_headers, o->read_header_count);
    if (s->o.part_bytes == 0)
        s->o.part_bytes = S3_PART_BYTES;
    s->remote.prefix = s->o.prefix;
}

/* A bucket's name can be a host's unless it has a dot (certificates) or capitals. */
static bool is_host_name(const char *bucket)
{
    for (const char *at = bucket; *at != '\0'; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '-'))
            return false;
    return bucket[0] != '\0';
}

static enum err choose_host(struct s3 *s, struct err_detail *detail)
{
    const struct s3_options *o = &s->o;
    const char *endpoint = o->endpoint;
    struct arena *a = &s->arena;

    if (strstr(endpoint, "://") != NULL || strpbrk(endpoint, "/?#@ \t\r\n") != NULL)
        return err_detail_set(detail, ERR_INVALID,
                              "s3: the endpoint must be host or host:port, without scheme or path");
    if (o->bucket[0] == '\0' || strpbrk(o->bucket, "/?#%@: \t\r\n") != NULL)
        return err_detail_set(detail, ERR_INVALID, "s3: \"%.100s\" is not a bucket", o->bucket);
    bool is_amazon = endpoint[0] == '\0' || strstr(endpoint, ".amazonaws.com") != NULL;
    if (endpoint[0] == '\0' || (is_amazon && o->is_dual_stack))
        endpoint = arena_printf(a, "s3.%s%s.amazonaws.com", o->is_dual_stack ? "dualstack." : "",
                                s->region);
    bool is_host = o->style == S3_STYLE_HOST ||
                   (o->style == S3_STYLE_AUTO && is_amazon && is_host_name(o->bucket));
    s->host = is_host ? arena_printf(a, "%s.%s", o->bucket, endpoint) : endpoint;
    s->base_path = is_host ? "" : arena_printf(a, "/%s", o->bucket);
    return arena_err(a);
}

static enum err check_options(struct s3 *s, struct err_detail *detail)
{
    const struct s3_options *o = &s->o;

    if (o->part_bytes < S3_PART_BYTES_MIN || o->part_bytes > (1ull << 30))
        return err_detail_set(detail, ERR_INVALID, "s3: part_size must be from 5 MiB to 1 GiB");
    if ((o->access_key[0] == '\0') != (o->secret_key[0] == '\0'))
        return err_detail_set(detail, ERR_INVALID,
                              "s3: access_key and secret_key come together or not at all");
    if (o->write_header_count + o->read_header_count + 8 > S3_HEADERS_MAX)
        return err_detail_set(detail, ERR_TOO_LARGE, "s3: too much metadata");
    (void)snprintf(s->region, sizeof s->region, "%s",
                   o->region[0] != '\0' ? o->region : "us-east-1");
    return choose_host(s, detail);
}

enum err s3_new(const struct s3_options *o, struct bucket **ret, struct err_detail *reterr_detail)
{
    struct s3 *s = calloc(1, sizeof *s);

    if (s == NULL)
        return ERR_NOMEM;
    arena_init(&s->arena, NULL);
    enum err e = remote_init(&s->remote, &bucket_ops, &remote_ops, &o->tries, o->clock);
    s->remote.note = o->note;
    s->remote.note_arg = o->note_arg;
    copy_options(s, o);
    if (e == ERR_OK)
        e = arena_err(&s->arena);
    if (e == ERR_OK)
        e = check_options(s, reterr_detail);
    struct s3_credentials_options credentials = {.access_key = s->o.access_key,
                                                 .secret_key = s->o.secret_key,
                                                 .token = s->o.session_token,
                                                 .region = s->region,
                                                 .http = s->remote.http,
                                                 .clock = s->o.clock};
    if (e == ERR_OK)
        e = s3_credentials_new(&credentials, &s->credentials);
    if (e != ERR_OK) {
        op_free(&s->remote.bucket);
        return e;
    }
    *ret = &s->remote.bucket;
    return ERR_OK;
}
