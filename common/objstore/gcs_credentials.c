#include "common/objstore/gcs_credentials.h"

#include "common/codec/digest.h"
#include "common/objstore/s3_sign.h"
#include "common/sys/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCOPE "https://www.googleapis.com/auth/devstorage.read_write"

enum { FILE_BYTES_MAX = 64 << 10, JWT_BYTES_MAX = 16 << 10, JWT_SECONDS = 3600 };

static void append_base64(struct buf *out, const char *text)
{
    digest_base64(slice_str(text), true, out);
}

enum err gcs_account_jwt(const struct gcs_account *account, int64_t now_s, struct arena *a,
                         const char **ret)
{
    bool has_id = account->private_key_id[0] != '\0';
    const char *header =
        arena_printf(a, "{\"alg\":\"RS256\",\"typ\":\"JWT\"%s%s%s}", has_id ? ",\"kid\":\"" : "",
                     account->private_key_id, has_id ? "\"" : "");
    const char *claims = arena_printf(
        a, "{\"iss\":\"%s\",\"scope\":\"" SCOPE "\",\"aud\":\"%s\",\"iat\":%lld,\"exp\":%lld}",
        account->email, account->token_uri, (long long)now_s, (long long)now_s + JWT_SECONDS);
    struct buf jwt, signature;

    if (header == NULL || claims == NULL)
        return arena_err(a);
    buf_init(&jwt, JWT_BYTES_MAX);
    buf_init(&signature, JWT_BYTES_MAX);
    append_base64(&jwt, header);
    buf_append_byte(&jwt, '.');
    append_base64(&jwt, claims);
    enum err e = buf_err(&jwt);
    if (e == ERR_OK)
        e = digest_sign_rs256(account->private_key, buf_slice(&jwt), &signature);
    if (e == ERR_OK) {
        buf_append_byte(&jwt, '.');
        digest_base64(buf_slice(&signature), true, &jwt);
        e = buf_err(&jwt);
    }
    if (e == ERR_OK) {
        *ret = arena_str(a, buf_slice(&jwt));
        e = arena_err(a);
    }
    buf_release(&signature);
    buf_release(&jwt);
    return e;
}

static enum err service_form(struct gcs_credentials *c, struct arena *a, const char **ret)
{
    const char *jwt = NULL;
    enum err e = gcs_account_jwt(&c->account, clock_wall_ns(c->clock) / NS_PER_S, a, &jwt);

    if (e != ERR_OK)
        return e;
    *ret = arena_printf(
        a, "grant_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Agrant-type%%3Ajwt-bearer&assertion=%s",
        jwt);
    return arena_err(a);
}

static enum err user_form(struct gcs_credentials *c, struct arena *a, const char **ret)
{
    const char *id = s3_sign_encode(a, slice_str(c->account.client_id), false);
    const char *secret = s3_sign_encode(a, slice_str(c->account.client_secret), false);
    const char *token = s3_sign_encode(a, slice_str(c->account.refresh_token), false);

    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    *ret =
        arena_printf(a, "grant_type=refresh_token&client_id=%s&client_secret=%s&refresh_token=%s",
                     id, secret, token);
    return arena_err(a);
}

static enum err from_metadata(struct gcs_credentials *c, struct arena *a, struct bearer_token *ret)
{
    static const char *const headers[] = {"Metadata-Flavor: Google", NULL};
    const char *host = getenv("GCE_METADATA_HOST");
    const char *url =
        arena_printf(a, "http://%s/computeMetadata/v1/instance/service-accounts/default/token",
                     host != NULL && host[0] != '\0' ? host : "169.254.169.254");

    return url == NULL ? arena_err(a) : bearer_ask(c->http, url, headers, NULL, c->clock, ret);
}

enum err gcs_credentials_fetch(void *arg, struct bearer_token *ret)
{
    struct gcs_credentials *c = arg;
    const char *form = NULL;
    struct arena a;
    enum err e;

    arena_init(&a, NULL);
    if (!c->has_account) {
        e = from_metadata(c, &a, ret);
    } else {
        e = c->account.kind == GCS_ACCOUNT_SERVICE ? service_form(c, &a, &form)
                                                   : user_form(c, &a, &form);
        if (e == ERR_OK)
            e = bearer_ask(c->http, c->account.token_uri, NULL, form, c->clock, ret);
    }
    arena_release(&a);
    return e;
}

/* ERR_NOT_FOUND: there is none, and none was asked for by name. */
static enum err read_file(struct buf *ret, struct err_detail *detail)
{
    const char *named = getenv("GOOGLE_APPLICATION_CREDENTIALS"), *home = getenv("HOME");
    char in_home[4096];

    if (named != NULL && named[0] != '\0') {
        enum err e = fs_read_file(named, ret);
        return e == ERR_OK
                   ? ERR_OK
                   : err_detail_set(detail, ERR_INVALID,
                                    "GOOGLE_APPLICATION_CREDENTIALS: %.200s can not be read (%s)",
                                    named, err_name(e));
    }
    if (home == NULL || (size_t)snprintf(in_home, sizeof in_home,
                                         "%s/.config/gcloud/application_default_credentials.json",
                                         home) >= sizeof in_home)
        return ERR_NOT_FOUND;
    enum err e = fs_read_file(in_home, ret);
    return e == ERR_NOMEM ? e : e == ERR_OK ? ERR_OK : ERR_NOT_FOUND;
}

enum err gcs_credentials_init(struct gcs_credentials *c, struct http_client *http,
                              const struct clock *clock, struct err_detail *reterr_detail)
{
    struct buf text;

    arena_init(&c->arena, NULL);
    c->http = http;
    c->clock = clock;
    buf_init(&text, FILE_BYTES_MAX);
    enum err e = read_file(&text, reterr_detail);
    if (e == ERR_OK) {
        e = gcs_account_from_json(buf_slice(&text), &c->arena, &c->account, reterr_detail);
        c->has_account = e == ERR_OK;
    } else if (e == ERR_NOT_FOUND) {
        e = ERR_OK;
    }
    buf_release(&text);
    return e;
}

void gcs_credentials_release(struct gcs_credentials *c)
{
    arena_release(&c->arena);
}
