/*
 * http_client.h - outgoing HTTP over libcurl: one multi handle on a thread of its own.
 *
 * Threads: http_client_send from any thread; `done` runs on the client's thread and must not block; http_client_call blocks.
 * Limits:  connect and total time-outs always; answers over body_bytes_max end with ERR_TOO_LARGE; no redirects; http and https only.
 */
#ifndef VIVACE_NET_HTTP_CLIENT_H
#define VIVACE_NET_HTTP_CLIENT_H

#include "common/base/buf.h"
#include "common/base/err.h"

#include <stdbool.h>

struct http_client;
struct http_job;
struct http_answer;
typedef bool http_data(void *arg, const struct http_answer *so_far, struct slice data);
struct http_call {
    const char *method, *url;
    const char *const *headers;                 /* "Name: value", NULL-terminated list; copied */
    struct slice body;                          /* copied */
    const char *basic_user, *basic_password;    /* may be NULL */
    const char *ca_file, *cert_file, *key_file; /* may be NULL */
    bool insecure_skip_verify;
    unsigned tls_min; /* 10, 11, 12, 13: lowest TLS version times ten; 0: libcurl's own */
    int64_t timeout_ns;
    size_t body_bytes_max;
    bool is_h2; /* HTTP/2 from the first byte; with https as the server offers it */
    /* May be NULL: the body whole, in the answer.  Else its bytes as they come, none in the answer; on the client's thread, must not
     * block; `so_far` has the status and headers; false ends the call with ERR_CANCELED. */
    http_data *on_data;
};
struct http_answer {
    const struct http_job *job; /* for http_client_header */
    enum err err;               /* ERR_OK: there was an answer, whatever its status */
    unsigned status;
    struct slice body;      /* lives during the callback */
    int64_t retry_after_ns; /* -1: none */
    char error_text[256];
};
typedef void http_done(void *arg, const struct http_answer *answer);
/* In the callbacks: a header's (or trailer's) value, cut to fit and terminated; "" when there is none. */
void http_client_header(const struct http_answer *a, const char *name, char *ret, size_t size);
MUST_CHECK enum err http_client_new(struct http_client **ret);
void http_client_free(
    struct http_client *c); /* cancels what is under way (done is called with ERR_CANCELED) */
MUST_CHECK enum err http_client_send(struct http_client *c, const struct http_call *call,
                                     http_done *done, void *arg);
/* Blocking; the body is appended to *ret_body. */
MUST_CHECK enum err http_client_call(struct http_client *c, const struct http_call *call,
                                     unsigned *ret_status, struct buf *ret_body,
                                     struct err_detail *reterr_detail);

#endif
