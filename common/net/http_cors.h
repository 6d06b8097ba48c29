/*
 * http_cors.h - who of other origins' pages may read our answers (CORS).
 *
 * Shape:   the server answers preflights itself and adds the headers to every reply whose request names an allowed origin; handlers see nothing of it.
 *          Off without origins.
 * Memory:  the lists are borrowed and must outlive the server.
 * Source:  Fetch standard, "CORS protocol"; the OpenTelemetry collector's `cors` of an HTTP receiver.
 */
#ifndef VIVACE_NET_HTTP_CORS_H
#define VIVACE_NET_HTTP_CORS_H

#include "common/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct http_cors {
    const char *const *
        origins; /* in full, or with one star in it for any text: the subdomains of a host, or all there are */
    unsigned origin_count;
    const char *const *headers; /* that a request may carry besides the harmless ones; "*": any */
    unsigned header_count;
    int64_t max_age_s; /* how long a browser may remember; 0: its own default */
};

struct http_req;

/* What a reply to this origin says in access-control-allow-origin: nothing, "*", or the origin itself. */
enum http_cors_answer { HTTP_CORS_REFUSED, HTTP_CORS_ANY, HTTP_CORS_NAMED };
enum http_cors_answer http_cors_answer(const struct http_cors *c, struct slice origin);
/* A list of names with commas, all allowed. */
bool http_cors_allows_headers(const struct http_cors *c, struct slice names);
/* Replies when the request is a preflight. */
bool http_cors_preflight(const struct http_cors *c, struct http_req *req);

#endif
