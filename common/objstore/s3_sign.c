#include "common/objstore/s3_sign.h"

#include "common/codec/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void s3_sign_time(int64_t time_s, char ret[S3_SIGN_TIME_BYTES])
{
    time_t t = (time_t)time_s;
    struct tm tm = {0};

    if (gmtime_r(&t, &tm) == NULL || strftime(ret, S3_SIGN_TIME_BYTES, "%Y%m%dT%H%M%SZ", &tm) == 0)
        (void)snprintf(ret, S3_SIGN_TIME_BYTES, "19700101T000000Z");
}

char *s3_sign_encode(struct arena *a, struct slice text, bool keeps_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    char *ret = arena_alloc(a, 3 * text.len + 1), *at = ret;

    for (size_t i = 0; ret != NULL && i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~' ||
                        (c == '/' && keeps_slash);
        if (is_plain) {
            *at++ = (char)c;
        } else {
            *at++ = '%';
            *at++ = digits[c >> 4];
            *at++ = digits[c & 15];
        }
    }
    if (ret != NULL)
        *at = '\0';
    return ret;
}

static int header_cmp(const void *a, const void *b)
{
    const struct s3_header *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* Values lose the white space around them, as the signature's rules say. */
static struct slice trimmed(const char *s)
{
    struct slice ret = slice_str(s);

    while (ret.len > 0 && (ret.ptr[0] == ' ' || ret.ptr[0] == '\t'))
        ret = slice_sub(ret, 1, ret.len);
    while (ret.len > 0 && (ret.ptr[ret.len - 1] == ' ' || ret.ptr[ret.len - 1] == '\t'))
        ret.len--;
    return ret;
}

static enum err derive_key(const struct s3_sign *in, const char *date, uint8_t ret[DIGEST_BYTES],
                           struct arena *a)
{
    const char *secret = arena_printf(a, "AWS4%s", in->secret_key);
    const char *const parts[] = {date, in->region, in->service, "aws4_request"};
    struct slice key = secret != NULL ? slice_str(secret) : SLICE_NONE;
    enum err e = arena_err(a);

    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && e == ERR_OK; i++) {
        uint8_t next[DIGEST_BYTES];
        e = digest_hmac_sha256(key, slice_str(parts[i]), next);
        memcpy(ret, next, sizeof next);
        key = (struct slice){ret, DIGEST_BYTES};
    }
    return e;
}

static const char *text_of(struct arena *a, struct buf *b)
{
    const char *ret = buf_err(b) == ERR_OK ? arena_str(a, buf_slice(b)) : NULL;

    buf_release(b);
    return ret;
}

enum err s3_sign(struct arena *a, struct s3_sign *in, const char **ret)
{
    char when[S3_SIGN_TIME_BYTES], date[9], hex[DIGEST_HEX_BYTES];
    uint8_t digest[DIGEST_BYTES], key[DIGEST_BYTES];
    struct buf names, request;

    qsort(in->headers, in->header_count, sizeof *in->headers, header_cmp);
    s3_sign_time(in->time_s, when);
    (void)snprintf(date, sizeof date, "%.8s", when);
    buf_init(&names, 16384);
    buf_init(&request, 65536);
    buf_appendf(&request, "%s\n%s\n%s\n", in->method, in->path, in->query);
    for (unsigned i = 0; i < in->header_count; i++) {
        struct slice value = trimmed(in->headers[i].value);
        buf_appendf(&request, "%s:", in->headers[i].name);
        buf_append(&request, value);
        buf_append_byte(&request, '\n');
        buf_appendf(&names, "%s%s", i == 0 ? "" : ";", in->headers[i].name);
    }
    const char *signed_names = text_of(a, &names);
    buf_appendf(&request, "\n%s\n%s", signed_names != NULL ? signed_names : "", in->payload_hash);
    enum err e = signed_names == NULL || buf_err(&request) != ERR_OK ? ERR_NOMEM : ERR_OK;
    if (e == ERR_OK)
        e = digest_sha256(buf_slice(&request), digest);
    buf_release(&request);
    if (e == ERR_OK)
        e = derive_key(in, date, key, a);
    if (e != ERR_OK)
        return e;
    digest_hex(digest, sizeof digest, hex);
    const char *scope = arena_printf(a, "%s/%s/%s/aws4_request", date, in->region, in->service);
    const char *text =
        arena_printf(a, "AWS4-HMAC-SHA256\n%s\n%s\n%s", when, scope != NULL ? scope : "", hex);
    if (text == NULL || scope == NULL)
        return arena_err(a);
    e = digest_hmac_sha256((struct slice){key, sizeof key}, slice_str(text), digest);
    if (e != ERR_OK)
        return e;
    digest_hex(digest, sizeof digest, hex);
    *ret = arena_printf(a, "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
                        in->access_key, scope, signed_names, hex);
    return arena_err(a);
}
