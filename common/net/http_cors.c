#include "common/net/http_cors.h"

#include "common/net/http_server.h"

#include <stdio.h>
#include <strings.h>

/* One '*' in the pattern stands for any text, none too. */
static bool pattern_matches(const char *pattern, struct slice s)
{
    const char *star = strchr(pattern, '*');

    if (star == NULL)
        return s.len == strlen(pattern) && strncasecmp(pattern, (const char *)s.ptr, s.len) == 0;
    size_t before = (size_t)(star - pattern), after = strlen(star + 1);
    return s.len >= before + after && strncasecmp(pattern, (const char *)s.ptr, before) == 0 &&
           strncasecmp(star + 1, (const char *)s.ptr + s.len - after, after) == 0;
}

enum http_cors_answer http_cors_answer(const struct http_cors *c, struct slice origin)
{
    if (origin.len == 0)
        return HTTP_CORS_REFUSED;
    for (unsigned i = 0; i < c->origin_count; i++)
        if (strcmp(c->origins[i], "*") == 0)
            return HTTP_CORS_ANY;
    for (unsigned i = 0; i < c->origin_count; i++)
        if (pattern_matches(c->origins[i], origin))
            return HTTP_CORS_NAMED;
    return HTTP_CORS_REFUSED;
}

static bool allows_header(const struct http_cors *c, struct slice name)
{
    static const char *const harmless[] = {"accept",       "accept-language", "content-language",
                                           "content-type", "origin",          "x-requested-with"};

    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        if (pattern_matches(harmless[i], name))
            return true;
    for (unsigned i = 0; i < c->header_count; i++)
        if (pattern_matches(c->headers[i], name))
            return true;
    return false;
}

static struct slice trimmed(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = slice_sub(s, 1, s.len);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

bool http_cors_allows_headers(const struct http_cors *c, struct slice names)
{
    while (names.len > 0) {
        const uint8_t *comma = memchr(names.ptr, ',', names.len);
        size_t len = comma != NULL ? (size_t)(comma - names.ptr) : names.len;
        struct slice name = trimmed(slice_sub(names, 0, len));
        if (name.len > 0 && !allows_header(c, name))
            return false;
        names = slice_sub(names, len + (comma != NULL), names.len);
    }
    return true;
}

bool http_cors_preflight(const struct http_cors *c, struct http_req *req)
{
    enum { NAMES_BYTES_MAX = 2048 };
    struct slice method = http_req_header(req, "access-control-request-method");
    struct slice names = http_req_header(req, "access-control-request-headers");
    struct http_header headers[3];
    char allowed[NAMES_BYTES_MAX], age[24];
    unsigned count = 0;

    if (c->origin_count == 0 || method.len == 0 || !slice_eq_str(http_req_method(req), "OPTIONS"))
        return false;
    struct slice origin = http_req_header(req, "origin");
    bool is_allowed = http_cors_answer(c, origin) != HTTP_CORS_REFUSED &&
                      (slice_eq_str(method, "GET") || slice_eq_str(method, "HEAD") ||
                       slice_eq_str(method, "POST")) &&
                      names.len < sizeof allowed && http_cors_allows_headers(c, names);
    if (is_allowed) {
        headers[count++] = (struct http_header){"access-control-allow-methods", "GET, HEAD, POST"};
        (void)snprintf(allowed, sizeof allowed, SLICE_FMT, SLICE_ARG(names));
        if (names.len > 0)
            headers[count++] = (struct http_header){"access-control-allow-headers", allowed};
        (void)snprintf(age, sizeof age, "%lld", (long long)c->max_age_s);
        if (c->max_age_s > 0)
            headers[count++] = (struct http_header){"access-control-max-age", age};
    }
    /* Who is not allowed is told nothing: the browser refuses by itself. */
    http_reply(req, &(struct http_reply){.status = 204, .headers = headers, .header_count = count});
    return true;
}
