#include "common/objstore/bearer.h"

#include <stdio.h>
#include <string.h>

#define ASK_TIMEOUT_NS (10 * NS_PER_S)
#define HEADER         "Authorization: Bearer "

void bearer_init(struct bearer *b, bearer_fetch_fn *fetch, void *arg, const struct clock *clock)
{
    b->fetch = fetch;
    b->arg = arg;
    b->renewal = (struct renewal){.clock = clock};
    mutex_init(&b->renewing);
}

void bearer_release(struct bearer *b)
{
    explicit_bzero(&b->token, sizeof b->token);
    mutex_release(&b->renewing);
}

enum err bearer_header(struct bearer *b, struct arena *a, const char **ret)
{
    enum err e = ERR_OK;

    *ret = NULL;
    if (b->fetch == NULL)
        return ERR_OK;
    mutex_lock(&b->renewing);
    if (renewal_is_due(&b->renewal)) {
        struct bearer_token token = {.expires_ns = 0};
        e = b->fetch(b->arg, &token);
        if (e == ERR_OK)
            b->token = token;
        else if (e == ERR_NOT_FOUND || e == ERR_FORMAT)
            e = ERR_UNAUTHENTICATED; /* not said of an object */
        e = renewal_done(&b->renewal, e, token.expires_ns);
        explicit_bzero(&token, sizeof token);
    }
    if (e == ERR_OK) {
        *ret = arena_printf(a, HEADER "%s", b->token.text);
        e = arena_err(a);
    }
    mutex_unlock(&b->renewing);
    return e;
}

void bearer_refused(struct bearer *b, const char *header)
{
    mutex_lock(&b->renewing);
    if (header != NULL && b->renewal.is_known &&
        strcmp(header + strlen(HEADER), b->token.text) == 0)
        b->renewal.is_refused = true;
    mutex_unlock(&b->renewing);
}

enum err bearer_ask(struct http_client *http, const char *url, const char *const *headers,
                    const char *form, const struct clock *clock, struct bearer_token *ret)
{
    static const char *const is_form[] = {"Content-Type: application/x-www-form-urlencoded", NULL};
    struct http_call call = {.method = form != NULL ? "POST" : "GET",
                             .url = url,
                             .headers = form != NULL ? is_form : headers,
                             .body = form != NULL ? slice_str(form) : SLICE_NONE,
                             .timeout_ns = ASK_TIMEOUT_NS,
                             .body_bytes_max = BEARER_ANSWER_BYTES_MAX};
    struct buf answer;
    unsigned status = 0;

    buf_init(&answer, BEARER_ANSWER_BYTES_MAX);
    enum err e = http_client_call(http, &call, &status, &answer, NULL);
    if (e == ERR_OK && status != 200)
        e = status >= 500 || status == 429 ? ERR_UNAVAILABLE : ERR_UNAUTHENTICATED;
    if (e == ERR_OK)
        e = bearer_from_json(buf_slice(&answer), clock_wall_ns(clock), ret);
    if (answer.len > 0)
        explicit_bzero(answer.ptr, answer.len);
    buf_release(&answer);
    return e;
}

bool bearer_url_is_safe(const char *url)
{
    static const char *const hosts[] = {"127.0.0.1",
                                        "localhost",
                                        "[::1]",
                                        "169.254.169.254",
                                        "169.254.170.2",
                                        "metadata.google.internal",
                                        NULL};

    if (strncmp(url, "https://", 8) == 0)
        return true;
    if (strncmp(url, "http://", 7) != 0 || strchr(url, '@') != NULL)
        return false;
    url += 7;
    size_t len = url[0] == '[' ? strcspn(url, "]") + 1 : strcspn(url, ":/");
    for (const char *const *host = hosts; *host != NULL; host++)
        if (strlen(*host) == len && strncmp(*host, url, len) == 0)
            return true;
    return false;
}
