#include "common/objstore/s3.h"

#include "common/base/num.h"
#include "common/objstore/s3_priv.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { WHOLE_BYTES_MAX = 256 << 20 };

static struct s3 *s3_of(struct bucket *b)
{
    assert(b != NULL);
    return (struct s3 *)b;
}

static enum err op_put(struct bucket *b, const char *key, struct slice bytes)
{
    struct s3_request r = {.method = "PUT", .key = key, .body = bytes, .is_write = true};
    struct s3_answer a;
    enum err e = s3_call(s3_of(b), &r, &a);

    if (e == ERR_OK)
        s3_answer_release(&a);
    return e;
}

static enum err op_put_file(struct bucket *b, const char *key, const char *path)
{
    struct s3 *s = s3_of(b);
    struct stat st;
    struct buf bytes;

    if (stat(path, &st) != 0)
        return ERR_NOT_FOUND;
    if ((uint64_t)st.st_size > s->o.part_bytes)
        return s3_upload_file(s, key, path);
    buf_init(&bytes, s->o.part_bytes + 1);
    enum err e = fs_read_file(path, &bytes);
    if (e == ERR_OK)
        e = op_put(b, key, buf_slice(&bytes));
    buf_release(&bytes);
    return e;
}

static enum err op_get(struct bucket *b, const char *key, uint64_t offset, void *ret, size_t len)
{
    struct s3_request r = {.method = "GET",
                           .key = key,
                           .is_read = true,
                           .offset = offset,
                           .len = len,
                           .body_bytes_max = len};
    struct s3_answer a;

    assert(len > 0);
    enum err e = s3_call(s3_of(b), &r, &a);
    if (e != ERR_OK)
        return e;
    assert(a.body.len == len);
    memcpy(ret, a.body.ptr, len);
    s3_answer_release(&a);
    return ERR_OK;
}

static enum err op_get_all(struct bucket *b, const char *key, struct buf *ret)
{
    size_t room = ret->len_max > ret->len ? ret->len_max - ret->len : 1;
    struct s3_request r = {.method = "GET",
                           .key = key,
                           .is_read = true,
                           .body_bytes_max = room < WHOLE_BYTES_MAX ? room : WHOLE_BYTES_MAX};
    struct s3_answer a;
    enum err e = s3_call(s3_of(b), &r, &a);

    if (e != ERR_OK)
        return e;
    buf_append(ret, buf_slice(&a.body));
    s3_answer_release(&a);
    return buf_err(ret);
}

static enum err op_head(struct bucket *b, const char *key, uint64_t *ret_bytes)
{
    struct s3_request r = {.method = "HEAD", .key = key, .is_read = true};
    struct s3_answer a;
    enum err e = s3_call(s3_of(b), &r, &a);

    if (e != ERR_OK)
        return e;
    e = num_parse_u64(slice_str(a.length), ret_bytes) == ERR_OK ? ERR_OK : ERR_CORRUPT;
    s3_answer_release(&a);
    return e;
}

static enum err op_list(struct bucket *b, const char *prefix, bool is_deep, bucket_entry_fn *fn,
                        void *arg)
{
    return s3_list(s3_of(b), prefix, is_deep, fn, arg);
}

static enum err op_remove(struct bucket *b, const char *key)
{
    struct s3_request r = {.method = "DELETE", .key = key};
    struct s3_answer a;
    enum err e = s3_call(s3_of(b), &r, &a);

    if (e == ERR_OK)
        s3_answer_release(&a);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static void op_free(struct bucket *b)
{
    struct s3 *s = s3_of(b);

    http_client_free(s->http);
    s3_credentials_free(s->credentials);
    arena_release(&s->arena);
    mutex_release(&s->lock);
    free(s);
}

static const struct bucket_ops s3_ops = {.put = op_put,
                                         .put_file = op_put_file,
                                         .get = op_get,
                                         .get_all = op_get_all,
                                         .head = op_head,
                                         .list = op_list,
                                         .remove = op_remove,
                                         .free = op_free};

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
    if (s->o.hedge_max == 0)
        s->o.hedge_max = 2;
    if (s->o.attempts_max == 0)
        s->o.attempts_max = 1;
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

static void declare_metrics(struct s3 *s)
{
    static const double bounds[] = {0.005, 0.02, 0.08, 0.32, 1.28, 5.12};

    s->durations =
        metrics_histogram("tempodb_backend_request_duration_seconds", "operation,status_code",
                          "Requests to the object store by method and status.", bounds,
                          sizeof bounds / sizeof bounds[0]);
    s->hedged = metric_cell0(metrics_counter("tempodb_backend_hedged_roundtrips_total", "",
                                             "Second requests for reads that were slow."));
}

enum err s3_new(const struct s3_options *o, struct bucket **ret, struct err_detail *reterr_detail)
{
    struct s3 *s = calloc(1, sizeof *s);
    uint64_t seed;

    if (s == NULL)
        return ERR_NOMEM;
    s->bucket.ops = &s3_ops;
    mutex_init(&s->lock);
    arena_init(&s->arena, NULL);
    rng_bytes_secure(&seed, sizeof seed);
    rng_init(&s->rng, seed);
    s->repeats = S3_REPEATS_SAVED;
    s->repeats_ns = clock_mono_ns(o->clock);
    copy_options(s, o);
    declare_metrics(s);
    enum err e = arena_err(&s->arena);
    if (e == ERR_OK)
        e = check_options(s, reterr_detail);
    if (e == ERR_OK)
        e = http_client_new(&s->http);
    struct s3_credentials_options credentials = {.access_key = s->o.access_key,
                                                 .secret_key = s->o.secret_key,
                                                 .token = s->o.session_token,
                                                 .region = s->region,
                                                 .http = s->http,
                                                 .clock = s->o.clock};
    if (e == ERR_OK)
        e = s3_credentials_new(&credentials, &s->credentials);
    if (e != ERR_OK) {
        op_free(&s->bucket);
        return e;
    }
    *ret = &s->bucket;
    return ERR_OK;
}
