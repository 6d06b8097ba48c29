#include "common/cache/cache_resolve.h"

#include "common/base/bytes.h"

#include <arpa/nameser.h>
#include <assert.h>
#include <ctype.h>
#include <netdb.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOST_BYTES_MAX = 255, PORT_BYTES = 6, ANSWER_BYTES_MAX = 64 << 10, SRV_FIXED_BYTES = 6 };

struct place {
    char host[HOST_BYTES_MAX + 1], port[PORT_BYTES];
};

static const char *after(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static bool is_port(const char *text)
{
    size_t len = strspn(text, "0123456789");

    return len > 0 && len < PORT_BYTES && text[len] == '\0' && strtoul(text, NULL, 10) > 0 &&
           strtoul(text, NULL, 10) <= UINT16_MAX;
}

static bool is_host(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("-_.:%", text[i]) == NULL)
            return false;
    return len > 0 && len <= HOST_BYTES_MAX;
}

/* host, host:port, [v6], [v6]:port */
static enum err split(const char *text, const char *default_port, struct place *ret)
{
    bool is_bracketed = text[0] == '[';
    const char *from = text + is_bracketed;
    size_t len = is_bracketed ? strcspn(from, "]") : strcspn(from, ":");
    const char *rest = from + len + (is_bracketed && from[len] == ']');

    if (!is_host(from, len) || (is_bracketed && from[len] != ']') ||
        (rest[0] != '\0' && (rest[0] != ':' || !is_port(rest + 1))))
        return ERR_INVALID;
    (void)snprintf(ret->host, sizeof ret->host, "%.*s", (int)len, from);
    (void)snprintf(ret->port, sizeof ret->port, "%s", rest[0] == ':' ? rest + 1 : default_port);
    return ERR_OK;
}

enum err cache_resolve_check(const char *address)
{
    struct place place;
    const char *srv = after(address, "dnssrv+"), *dns = after(address, "dns+");

    if (srv == NULL)
        srv = after(address, "dnssrvnoa+");
    if (srv != NULL)
        return is_host(srv, strlen(srv)) && strchr(srv, ':') == NULL ? ERR_OK : ERR_INVALID;
    return split(dns != NULL ? dns : address, "1", &place);
}

static void add(struct cache_addresses *to, const struct place *p, const struct addrinfo *a,
                bool is_by_ip)
{
    char host[NI_MAXHOST];

    if (to->count == CACHE_SERVERS_MAX || a->ai_addrlen > sizeof to->items[0].to)
        return;
    struct cache_address *item = &to->items[to->count];
    if (is_by_ip &&
        getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
        return;
    int n = snprintf(item->name, sizeof item->name, "%.*s:%s", (int)HOST_BYTES_MAX,
                     is_by_ip ? host : p->host, p->port);
    assert(n > 0 && (size_t)n < sizeof item->name);
    for (unsigned i = 0; i < to->count; i++)
        if (strcmp(to->items[i].name, item->name) == 0)
            return;
    item->to = (struct sockaddr_storage){0};
    memcpy(&item->to, a->ai_addr, a->ai_addrlen);
    item->to_len = a->ai_addrlen;
    to->count++;
}

static enum err look_up(const struct place *p, bool is_every, struct cache_addresses *to)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;

    if (getaddrinfo(p->host, p->port, &hints, &found) != 0)
        return ERR_UNAVAILABLE;
    for (const struct addrinfo *a = found; a != NULL; a = is_every ? a->ai_next : NULL)
        add(to, p, a, is_every);
    freeaddrinfo(found);
    return ERR_OK;
}

enum err cache_resolve_targets(struct slice answer, cache_target_fn *fn, void *arg)
{
    char host[NS_MAXDNAME], port[PORT_BYTES];
    ns_msg message;
    ns_rr rr;

    if (answer.len > ANSWER_BYTES_MAX || ns_initparse(answer.ptr, (int)answer.len, &message) != 0)
        return ERR_FORMAT;
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
        if (ns_parserr(&message, ns_s_an, i, &rr) != 0)
            return ERR_FORMAT;
        if (ns_rr_type(rr) != ns_t_srv)
            continue;
        const uint8_t *data = ns_rr_rdata(rr);
        if (ns_rr_rdlen(rr) <= SRV_FIXED_BYTES ||
            dn_expand(answer.ptr, answer.ptr + answer.len, data + SRV_FIXED_BYTES, host,
                      sizeof host) < 0)
            return ERR_FORMAT;
        unsigned number = (unsigned)data[4] << 8 | data[5]; /* behind priority and weight */
        (void)snprintf(port, sizeof port, "%u", number);
        if (number > 0 && is_host(host, strlen(host)))
            fn(arg, host, port);
    }
    return ERR_OK;
}

struct targets {
    struct cache_addresses *to;
    bool is_every;
    enum err err;
};

static void on_target(void *arg, const char *host, const char *port)
{
    struct targets *t = arg;
    struct place p;

    (void)snprintf(p.host, sizeof p.host, "%s", host);
    (void)snprintf(p.port, sizeof p.port, "%s", port);
    enum err e = look_up(&p, t->is_every, t->to);
    if (t->err == ERR_OK)
        t->err = e;
}

static enum err look_up_srv(const char *name, bool is_every, struct cache_addresses *to)
{
    struct targets t = {.to = to, .is_every = is_every};
    struct __res_state state = {.options = 0};
    uint8_t *answer = malloc(ANSWER_BYTES_MAX);

    if (answer == NULL)
        return ERR_NOMEM;
    if (res_ninit(&state) != 0) {
        free(answer);
        return ERR_UNAVAILABLE;
    }
    state.retrans = 2; /* seconds: the thread is waited for at the end */
    state.retry = 1;
    int n = res_nsearch(&state, name, ns_c_in, ns_t_srv, answer, ANSWER_BYTES_MAX);
    res_nclose(&state);
    enum err e = ERR_UNAVAILABLE;
    if (n > 0 && n <= ANSWER_BYTES_MAX)
        e = cache_resolve_targets((struct slice){answer, (size_t)n}, on_target, &t);
    free(answer);
    return e == ERR_OK ? t.err : e;
}

enum err cache_resolve(const char *address, const char *default_port, struct cache_addresses *to)
{
    const char *srv = after(address, "dnssrv+"), *srv_noa = after(address, "dnssrvnoa+");
    const char *dns = after(address, "dns+");
    struct place p;

    if (srv != NULL)
        return look_up_srv(srv, true, to);
    if (srv_noa != NULL)
        return look_up_srv(srv_noa, false, to);
    enum err e = split(dns != NULL ? dns : address, default_port, &p);
    return e == ERR_OK ? look_up(&p, dns != NULL, to) : e;
}
