/*
 * bearer.h - access tokens of OAuth 2 (Google's, Azure's): asked for, kept, and fetched anew before they end (renewal.h).
 *
 * Threads: any; one thread renews, the others wait for it.
 * Secrets: never in an error text.
 * Errors:  ERR_UNAUTHENTICATED refused, ERR_FORMAT an answer without a token; ERR_INVALID what it is asked with can not be used.
 */
#ifndef VIVACE_OBJSTORE_BEARER_H
#define VIVACE_OBJSTORE_BEARER_H

#include "common/base/arena.h"
#include "common/net/http_client.h"
#include "common/objstore/renewal.h"
#include "common/sys/thread.h"

enum { BEARER_TOKEN_BYTES = 8192, BEARER_ANSWER_BYTES_MAX = 64 << 10 };

struct bearer_token {
    char text[BEARER_TOKEN_BYTES];
    int64_t expires_ns; /* wall clock */
};
typedef enum err bearer_fetch_fn(void *arg, struct bearer_token *ret);

struct bearer {
    bearer_fetch_fn *fetch; /* NULL: there are no tokens, requests go without */
    void *arg;
    struct mutex renewing; /* held over the answer; the fields below */
    struct bearer_token token;
    struct renewal renewal;
};

void bearer_init(struct bearer *b, bearer_fetch_fn *fetch, void *arg, const struct clock *clock);
void bearer_release(struct bearer *b);
/* "Authorization: Bearer ..." in the arena; *ret NULL when there are no tokens. */
MUST_CHECK enum err bearer_header(struct bearer *b, struct arena *a, const char **ret);
/* The server refused this header: another token is fetched at the next get, unless that happened already. */
void bearer_refused(struct bearer *b, const char *header);

/* Asks a token service.  form NULL: GET, else POST of a form. */
MUST_CHECK enum err bearer_ask(struct http_client *http, const char *url,
                               const char *const *headers, const char *form,
                               const struct clock *clock, struct bearer_token *ret);
/* The service's answer.  Errors: ERR_FORMAT. */
MUST_CHECK enum err bearer_from_json(struct slice json, int64_t now_ns, struct bearer_token *ret);
/* https, or http to this machine or to a cloud's link-local address: where secrets may go. */
bool bearer_url_is_safe(const char *url);

#endif
