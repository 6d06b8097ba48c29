#include "common/objstore/s3_credentials.h"

#include "common/base/arena.h"
#include "common/objstore/renewal.h"
#include "common/objstore/s3_sign.h"
#include "common/objstore/xml.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FILE_BYTES_MAX = 1 << 20, ANSWER_BYTES_MAX = 64 << 10 };
#define SERVICE_TIMEOUT_NS (2 * NS_PER_S)
#define STS_TIMEOUT_NS     (10 * NS_PER_S)
#define TOKEN_SECONDS      "21600"

struct s3_credentials {
    struct s3_credentials_options o;
    struct mutex
        renewing; /* held over the services' answers: who else needs keys waits; the fields below */
    struct s3_keys keys;
    struct renewal renewal;
};

int64_t s3_credentials_time(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    if (rest == NULL)
        return 0;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    return strcmp(rest, "Z") == 0 || strcmp(rest, "+00:00") == 0 ? (int64_t)timegm(&tm) * NS_PER_S
                                                                 : 0;
}

enum err s3_credentials_from_xml(struct slice xml, struct s3_keys *ret)
{
#define STS_PATH "AssumeRoleWithWebIdentityResult/Credentials/"
    struct s3_keys keys = {0};
    char expires[64];

    xml_text(xml, STS_PATH "AccessKeyId", keys.access_key, sizeof keys.access_key);
    xml_text(xml, STS_PATH "SecretAccessKey", keys.secret_key, sizeof keys.secret_key);
    xml_text(xml, STS_PATH "SessionToken", keys.token, sizeof keys.token);
    xml_text(xml, STS_PATH "Expiration", expires, sizeof expires);
    keys.expires_ns = s3_credentials_time(expires);
    if (keys.access_key[0] == '\0' || keys.secret_key[0] == '\0' || keys.token[0] == '\0' ||
        keys.expires_ns == 0)
        return ERR_FORMAT;
    *ret = keys;
    return ERR_OK;
}

static struct slice ini_trim(struct slice s)
{
    while (s.len > 0 && strchr(" \t\r", s.ptr[0]) != NULL && s.ptr[0] != 0)
        s = slice_sub(s, 1, s.len);
    while (s.len > 0 && strchr(" \t\r", s.ptr[s.len - 1]) != NULL && s.ptr[s.len - 1] != 0)
        s.len--;
    return s;
}

static bool ini_take(struct slice line, const char *key, char *ret, size_t size)
{
    const uint8_t *eq = memchr(line.ptr, '=', line.len);

    if (eq == NULL ||
        !slice_eq_str(ini_trim((struct slice){line.ptr, (size_t)(eq - line.ptr)}), key))
        return true;
    struct slice value = ini_trim(slice_sub(line, (size_t)(eq - line.ptr) + 1, line.len));
    if (value.len >= size || memchr(value.ptr, 0, value.len) != NULL)
        return false;
    (void)snprintf(ret, size, SLICE_FMT, SLICE_ARG(value));
    return true;
}

enum err s3_credentials_from_ini(struct slice ini, const char *profile, struct s3_keys *ret)
{
    struct s3_keys keys = {0};
    bool is_mine = false, is_good = true;

    for (size_t at = 0; at < ini.len && is_good;) {
        const uint8_t *end = memchr(ini.ptr + at, '\n', ini.len - at);
        size_t next = end != NULL ? (size_t)(end - ini.ptr) + 1 : ini.len;
        struct slice line = ini_trim(slice_sub(ini, at, end != NULL ? next - 1 : next));
        at = next;
        if (line.len == 0 || line.ptr[0] == '#' || line.ptr[0] == ';')
            continue;
        if (line.ptr[0] == '[') {
            struct slice name = slice_sub(line, 1, line.len - 1);
            is_mine = line.ptr[line.len - 1] == ']' && slice_eq_str(ini_trim(name), profile);
            continue;
        }
        if (is_mine)
            is_good =
                ini_take(line, "aws_access_key_id", keys.access_key, sizeof keys.access_key) &&
                ini_take(line, "aws_secret_access_key", keys.secret_key, sizeof keys.secret_key) &&
                ini_take(line, "aws_session_token", keys.token, sizeof keys.token);
    }
    if (!is_good)
        return ERR_FORMAT;
    if (keys.access_key[0] == '\0' || keys.secret_key[0] == '\0')
        return ERR_NOT_FOUND;
    *ret = keys;
    return ERR_OK;
}

/* --- the places.  Each: ERR_NOT_FOUND when it has nothing to say --- */

static bool fits(char *ret, size_t size, const char *text)
{
    return text != NULL && text[0] != '\0' && (size_t)snprintf(ret, size, "%s", text) < size;
}

static enum err from_config(struct s3_credentials *c, struct s3_keys *ret)
{
    struct s3_keys keys = {0};

    if (c->o.access_key[0] == '\0')
        return ERR_NOT_FOUND;
    bool is_good = fits(keys.access_key, sizeof keys.access_key, c->o.access_key) &&
                   fits(keys.secret_key, sizeof keys.secret_key, c->o.secret_key) &&
                   (c->o.token[0] == '\0' || fits(keys.token, sizeof keys.token, c->o.token));
    *ret = keys;
    return is_good ? ERR_OK : ERR_INVALID;
}

static enum err from_env(struct s3_credentials *c, struct s3_keys *ret)
{
    struct s3_keys keys = {0};
    const char *token = getenv("AWS_SESSION_TOKEN");

    (void)c;
    if (!fits(keys.access_key, sizeof keys.access_key, getenv("AWS_ACCESS_KEY_ID")) ||
        !fits(keys.secret_key, sizeof keys.secret_key, getenv("AWS_SECRET_ACCESS_KEY")))
        return ERR_NOT_FOUND;
    if (token != NULL && token[0] != '\0' && !fits(keys.token, sizeof keys.token, token))
        return ERR_INVALID;
    *ret = keys;
    return ERR_OK;
}

/* The answer's body, appended, when its status is 200. */
static enum err ask(struct s3_credentials *c, const char *method, const char *url,
                    const char *const *headers, int64_t timeout_ns, struct buf *ret)
{
    struct http_call call = {.method = method,
                             .url = url,
                             .headers = headers,
                             .timeout_ns = timeout_ns,
                             .body_bytes_max = ANSWER_BYTES_MAX};
    unsigned status = 0;
    enum err e = http_client_call(c->o.http, &call, &status, ret, NULL);

    if (e != ERR_OK)
        return e;
    return status == 200 ? ERR_OK : status == 404 ? ERR_NOT_FOUND : ERR_UNAUTHENTICATED;
}

static enum err read_text(const char *path, struct arena *a, const char **ret)
{
    struct buf text;

    buf_init(&text, FILE_BYTES_MAX);
    enum err e = fs_read_file(path, &text);
    struct slice s = buf_slice(&text);
    while (s.len > 0 && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r'))
        s.len--;
    if (e == ERR_OK) {
        *ret = arena_str(a, s);
        e = arena_err(a);
    }
    buf_release(&text);
    return e;
}

static enum err from_web_identity(struct s3_credentials *c, struct s3_keys *ret)
{
    const char *file = getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), *role = getenv("AWS_ROLE_ARN");
    const char *session = getenv("AWS_ROLE_SESSION_NAME"), *region = getenv("AWS_REGION");
    const char *endpoint = getenv("AWS_ENDPOINT_URL_STS"), *token = NULL;
    struct arena a;
    struct buf answer;

    if (file == NULL || role == NULL || file[0] == '\0' || role[0] == '\0')
        return ERR_NOT_FOUND;
    arena_init(&a, NULL);
    buf_init(&answer, ANSWER_BYTES_MAX);
    enum err e = read_text(file, &a, &token);
    if (region == NULL || region[0] == '\0')
        region = c->o.region;
    if (e == ERR_OK && (endpoint == NULL || endpoint[0] == '\0'))
        endpoint = arena_printf(&a, "https://sts.%s.amazonaws.com", region);
    char *url = NULL;
    if (e == ERR_OK) {
        char *safe_role = s3_sign_encode(&a, slice_str(role), false);
        char *safe_session =
            s3_sign_encode(&a, slice_str(session != NULL ? session : "vivace"), false);
        char *safe_token = s3_sign_encode(&a, slice_str(token), false);
        if (arena_err(&a) == ERR_OK)
            url = arena_printf(&a,
                               "%s/?Action=AssumeRoleWithWebIdentity&RoleArn=%s&RoleSessionName=%s&"
                               "Version=2011-06-15&WebIdentityToken=%s",
                               endpoint, safe_role, safe_session, safe_token);
        e = arena_err(&a);
    }
    if (e == ERR_OK)
        e = ask(c, "GET", url, NULL, STS_TIMEOUT_NS, &answer);
    if (e == ERR_OK)
        e = s3_credentials_from_xml(buf_slice(&answer), ret);
    buf_release(&answer);
    arena_release(&a);
    return e == ERR_NOT_FOUND ? ERR_UNAUTHENTICATED : e; /* it was asked for by name */
}

static enum err from_file(struct s3_credentials *c, struct s3_keys *ret)
{
    const char *path = getenv("AWS_SHARED_CREDENTIALS_FILE"), *profile = getenv("AWS_PROFILE");
    char in_home[4096];
    struct buf text;

    (void)c;
    if (path == NULL || path[0] == '\0') {
        const char *home = getenv("HOME");
        if (home == NULL || (size_t)snprintf(in_home, sizeof in_home, "%s/.aws/credentials",
                                             home) >= sizeof in_home)
            return ERR_NOT_FOUND;
        path = in_home;
    }
    buf_init(&text, FILE_BYTES_MAX);
    enum err e = fs_read_file(path, &text);
    if (e == ERR_OK)
        e = s3_credentials_from_ini(
            buf_slice(&text), profile != NULL && profile[0] != '\0' ? profile : "default", ret);
    buf_release(&text);
    return e == ERR_FORBIDDEN ? ERR_NOT_FOUND : e; /* somebody else's home */
}

static enum err from_container(struct s3_credentials *c, struct s3_keys *ret)
{
    const char *full = getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *relative = getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *token = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    const char *token_file = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *headers[2] = {NULL, NULL}, *url = full;
    struct arena a;
    struct buf answer;
    enum err e = ERR_OK;

    if ((full == NULL || full[0] == '\0') && (relative == NULL || relative[0] == '\0'))
        return ERR_NOT_FOUND;
    arena_init(&a, NULL);
    buf_init(&answer, ANSWER_BYTES_MAX);
    if (relative != NULL && relative[0] != '\0')
        url = arena_printf(&a, "http://169.254.170.2%s", relative);
    if (token_file != NULL && token_file[0] != '\0')
        e = read_text(token_file, &a, &token);
    if (e == ERR_OK && token != NULL && token[0] != '\0')
        headers[0] = arena_printf(&a, "Authorization: %s", token);
    if (e == ERR_OK)
        e = arena_err(&a);
    if (e == ERR_OK)
        e = ask(c, "GET", url, headers, SERVICE_TIMEOUT_NS, &answer);
    if (e == ERR_OK)
        e = s3_credentials_from_json(buf_slice(&answer), ret);
    buf_release(&answer);
    arena_release(&a);
    return e == ERR_NOT_FOUND ? ERR_UNAUTHENTICATED : e;
}

/* IMDSv2: a token, the role's name, the role's keys.  Nobody there: no keys. */
static enum err from_instance(struct s3_credentials *c, struct s3_keys *ret)
{
    const char *base = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *off = getenv("AWS_EC2_METADATA_DISABLED");
    const char *ttl[2] = {"X-aws-ec2-metadata-token-ttl-seconds: " TOKEN_SECONDS, NULL};
    const char *with_token[2] = {NULL, NULL};
    struct arena a;
    struct buf answer;

    if (off != NULL && strcasecmp(off, "true") == 0)
        return ERR_NOT_FOUND;
    if (base == NULL || base[0] == '\0')
        base = "http://169.254.169.254";
    arena_init(&a, NULL);
    buf_init(&answer, ANSWER_BYTES_MAX);
    char *url = arena_printf(&a, "%s/latest/api/token", base);
    enum err e = url == NULL ? arena_err(&a) : ask(c, "PUT", url, ttl, SERVICE_TIMEOUT_NS, &answer);
    bool is_there = e == ERR_OK;
    if (e == ERR_OK) {
        with_token[0] =
            arena_printf(&a, "X-aws-ec2-metadata-token: " SLICE_FMT, SLICE_ARG(buf_slice(&answer)));
        url = arena_printf(&a, "%s/latest/meta-data/iam/security-credentials/", base);
        buf_reset(&answer);
        e = arena_err(&a);
    }
    if (e == ERR_OK)
        e = ask(c, "GET", url, with_token, SERVICE_TIMEOUT_NS, &answer);
    if (e == ERR_OK) {
        const char *role = arena_str(&a, buf_slice(&answer));
        if (role != NULL)
            url = arena_printf(&a, "%s%.*s", url, (int)strcspn(role, "\r\n"), role);
        buf_reset(&answer);
        e = arena_err(&a);
    }
    if (e == ERR_OK)
        e = ask(c, "GET", url, with_token, SERVICE_TIMEOUT_NS, &answer);
    if (e == ERR_OK)
        e = s3_credentials_from_json(buf_slice(&answer), ret);
    buf_release(&answer);
    arena_release(&a);
    return e == ERR_NOMEM || is_there ? e : ERR_NOT_FOUND;
}

typedef enum err place_fn(struct s3_credentials *c, struct s3_keys *ret);
static place_fn *const places[] = {from_config, from_env,       from_web_identity,
                                   from_file,   from_container, from_instance};

static enum err fetch(struct s3_credentials *c, struct s3_keys *ret)
{
    enum err e = ERR_NOT_FOUND;

    for (size_t i = 0; i < sizeof places / sizeof places[0] && e == ERR_NOT_FOUND; i++)
        e = places[i](c, ret);
    if (e == ERR_NOT_FOUND) {
        *ret = (struct s3_keys){0}; /* a public bucket */
        e = ERR_OK;
    }
    return e;
}

enum err s3_credentials_get(struct s3_credentials *c, struct s3_keys *ret)
{
    enum err e = ERR_OK;

    mutex_lock(&c->renewing);
    if (renewal_is_due(&c->renewal)) {
        struct s3_keys keys = {.expires_ns = 0};
        e = fetch(c, &keys);
        if (e == ERR_OK)
            c->keys = keys;
        e = renewal_done(&c->renewal, e, keys.expires_ns);
        explicit_bzero(&keys, sizeof keys);
    }
    if (e == ERR_OK)
        *ret = c->keys;
    mutex_unlock(&c->renewing);
    return e;
}

void s3_credentials_refused(struct s3_credentials *c, const struct s3_keys *keys)
{
    mutex_lock(&c->renewing);
    if (c->renewal.is_known && strcmp(c->keys.access_key, keys->access_key) == 0 &&
        strcmp(c->keys.token, keys->token) == 0)
        c->renewal.is_refused = true;
    mutex_unlock(&c->renewing);
}

enum err s3_credentials_new(const struct s3_credentials_options *o, struct s3_credentials **ret)
{
    struct s3_credentials *c = calloc(1, sizeof *c);

    assert(o->http != NULL);
    if (c == NULL)
        return ERR_NOMEM;
    c->o = *o;
    c->renewal.clock = o->clock;
    mutex_init(&c->renewing);
    *ret = c;
    return ERR_OK;
}

void s3_credentials_free(struct s3_credentials *c)
{
    if (c == NULL)
        return;
    explicit_bzero(&c->keys, sizeof c->keys);
    mutex_release(&c->renewing);
    free(c);
}
