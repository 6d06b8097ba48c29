#include "common/net/http_server.h"

#include "common/base/map.h"
#include "common/net/http_server_internal.h"
#include "common/sys/thread.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HTTP_BACKLOG = 1024,
    HTTP_IN_BYTES_EXTRA = 64 << 10,
    HTTP_OUT_BYTES_LOW = 64 << 10,
    HTTP_PARSER_HEADER_BYTES_MAX = 4 << 20
};
#define HTTP_TICK_NS_MIN    (10 * NS_PER_MS)
#define HTTP_TICK_NS_MAX    (500 * NS_PER_MS)
#define HTTP_ACCEPT_REST_NS (100 * NS_PER_MS)

/* Connections of one client address. */
struct http_address {
    uint8_t key[sizeof(struct in6_addr)];
    unsigned count;
    UT_hash_handle hh;
};

/* One connection with its socket. */
struct http_link {
    struct loop_msg start; /* first: on its way to its loop */
    struct http_lane *lane;
    evutil_socket_t fd; /* until the bufferevent has it */
    struct bufferevent *bev;
    bool has_conn, is_shut;
    struct http_address *address;
    struct http_server_conn conn;
    UT_hash_handle hh; /* by conn.id */
};

/* What a server has on one loop. */
struct http_lane {
    struct loop_msg drain, close; /* to this lane, at most once each */
    struct http_server *server;
    struct loop *loop;
    struct http_link *links;
    struct loop_timer *tick;
};

struct http_server {
    struct http_env env; /* first */
    struct mutex lock;   /* addresses, connection_count, closed_count, is_closed */
    pthread_cond_t closed;
    struct http_address *addresses;
    unsigned connection_count, connections_max, connections_per_address_max;
    unsigned closed_count; /* lanes */
    bool is_closed;
    atomic_bool is_draining;
    uint16_t port;
    struct evconnlistener *listener; /* on the first lane's thread */
    int64_t accept_rest_ns;          /* accepting rests until then; 0: it does not */
    uint64_t last_id;
    unsigned next_lane;
    unsigned lane_count;
    struct http_lane lanes[];
};

static int64_t http_now_ns(void)
{
    return clock_mono_ns(&clock_system);
}

static void http_server_unref(struct http_env *env)
{
    struct http_server *s = (struct http_server *)env;

    if (atomic_fetch_sub_explicit(&env->ref_count, 1, memory_order_acq_rel) != 1)
        return;
    assert(s->connection_count == 0);
    assert(s->addresses == NULL);
    mutex_release(&s->lock);
    (void)pthread_cond_destroy(&s->closed);
    free(s);
}

/* --- counts of connections --- */

/* Both caps hold; the connection is counted.  NULL: refused. */
static struct http_address *http_server_admit(struct http_server *s, const struct sockaddr *from)
{
    struct http_address key = {0};
    struct http_address *address;

    if (from->sa_family == AF_INET6)
        memcpy(key.key, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
    else if (from->sa_family == AF_INET)
        memcpy(key.key + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    mutex_lock(&s->lock);
    HASH_FIND(hh, s->addresses, key.key, sizeof key.key, address);
    if (address == NULL && s->connection_count < s->connections_max) {
        address = calloc(1, sizeof *address);
        if (address != NULL) {
            memcpy(address->key, key.key, sizeof key.key);
            HASH_ADD(hh, s->addresses, key, sizeof address->key, address);
            if (address->hh.tbl == NULL) {
                free(address);
                address = NULL;
            }
        }
    }
    bool is_full = address == NULL || s->connection_count >= s->connections_max ||
                   address->count >= s->connections_per_address_max;
    if (!is_full) {
        address->count++;
        s->connection_count++;
    }
    mutex_unlock(&s->lock);
    return is_full ? NULL : address;
}

static void http_server_discharge(struct http_server *s, struct http_address *address)
{
    mutex_lock(&s->lock);
    assert(s->connection_count > 0);
    assert(address->count > 0);
    s->connection_count--;
    if (--address->count == 0) {
        HASH_DEL(s->addresses, address);
        free(address);
    }
    mutex_unlock(&s->lock);
}

/* --- one connection --- */

static void http_link_free(struct http_link *k)
{
    if (k->has_conn) {
        HASH_DEL(k->lane->links, k);
        http_server_conn_release(&k->conn);
    }
    if (k->bev != NULL)
        bufferevent_free(k->bev);
    if (k->fd >= 0)
        (void)evutil_closesocket(k->fd);
    http_server_discharge(k->lane->server, k->address);
    http_server_unref(&k->lane->server->env);
    free(k);
}

/* After anything happened to the connection; the link may be gone afterwards. */
static void http_link_settle(struct http_link *k)
{
    if (http_server_conn_is_done(&k->conn)) {
        http_link_free(k);
        return;
    }
    if (k->conn.is_lingering && !k->is_shut) {
        k->is_shut = true;
        (void)shutdown(bufferevent_getfd(k->bev), SHUT_WR);
    }
}

static void http_link_on_read(struct bufferevent *bev, void *arg)
{
    struct http_link *k = arg;

    (void)bev;
    http_server_conn_input(&k->conn, http_now_ns());
    http_link_settle(k);
}

static void http_link_on_write(struct bufferevent *bev, void *arg)
{
    struct http_link *k = arg;

    (void)bev;
    http_server_conn_written(&k->conn, http_now_ns());
    http_link_settle(k);
}

static void http_link_on_event(struct bufferevent *bev, short what, void *arg)
{
    struct http_link *k = arg;

    (void)bev;
    if ((what & BEV_EVENT_EOF) != 0 && (what & BEV_EVENT_ERROR) == 0)
        http_server_conn_eof(&k->conn, http_now_ns());
    else
        k->conn.is_broken = true;
    http_link_settle(k);
}

/* On the link's loop: from here on it is alive. */
static void http_link_start(struct loop_msg *m)
{
    struct http_link *k = (struct http_link *)m;
    struct http_env *env = &k->lane->server->env;
    struct event_base *base = loop_base(k->lane->loop);

    k->bev = bufferevent_socket_new(base, k->fd, BEV_OPT_CLOSE_ON_FREE);
    if (k->bev == NULL) {
        http_link_free(k);
        return;
    }
    k->fd = -1;
    HASH_ADD(hh, k->lane->links, conn.id, sizeof k->conn.id, k);
    if (k->hh.tbl == NULL) {
        http_link_free(k);
        return;
    }
    http_server_conn_init(&k->conn, env, k->conn.id, bufferevent_get_input(k->bev),
                          bufferevent_get_output(k->bev), http_now_ns());
    k->has_conn = true;
    bufferevent_setcb(k->bev, http_link_on_read, http_link_on_write, http_link_on_event, k);
    bufferevent_setwatermark(k->bev, EV_READ, 0, env->header_bytes_max + HTTP_IN_BYTES_EXTRA);
    bufferevent_setwatermark(k->bev, EV_WRITE, HTTP_OUT_BYTES_LOW, 0);
    if (bufferevent_enable(k->bev, EV_READ | EV_WRITE) != 0)
        k->conn.is_broken = true;
    if (atomic_load_explicit(&k->lane->server->is_draining, memory_order_acquire))
        http_server_conn_drain(&k->conn, http_now_ns());
    http_link_settle(k);
}

static void http_server_on_reply(struct loop_msg *m)
{
    struct http_req *r = (struct http_req *)m;
    struct http_lane *lane = r->home;
    struct http_link *k;

    /* A connection that is gone took its requests' places with it; then nobody waits for the reply. */
    HASH_FIND(hh, lane->links, &r->conn_id, sizeof r->conn_id, k);
    if (k == NULL || r->is_orphan) {
        assert(r->is_orphan);
        http_req_free(r);
        return;
    }
    http_server_conn_reply(&k->conn, r, http_now_ns());
    http_link_settle(k);
}

static void http_server_post(struct http_req *r)
{
    struct http_lane *lane = r->home;
    struct http_server *s = lane->server;

    /* After http_server_free the loops may be gone too; under the lock they are not. */
    mutex_lock(&s->lock);
    bool is_closed = s->is_closed;
    if (!is_closed) {
        r->msg.run = http_server_on_reply;
        loop_post(lane->loop, &r->msg);
    }
    mutex_unlock(&s->lock);
    if (is_closed)
        http_req_free(r);
}

/* --- accepting --- */

static void http_server_peer(const struct sockaddr *from, char ret[HTTP_PEER_BYTES])
{
    const void *address =
        from->sa_family == AF_INET6
            ? (const void *)&((const struct sockaddr_in6 *)(const void *)from)->sin6_addr
            : (const void *)&((const struct sockaddr_in *)(const void *)from)->sin_addr;

    if (inet_ntop(from->sa_family, address, ret, HTTP_PEER_BYTES) == NULL)
        ret[0] = '\0';
}

static void http_server_on_accept(struct evconnlistener *listener, evutil_socket_t fd,
                                  struct sockaddr *from, int from_len, void *arg)
{
    struct http_server *s = arg;
    struct http_address *address = http_server_admit(s, from);
    struct http_link *k = address == NULL ? NULL : calloc(1, sizeof *k);
    int one = 1;

    (void)listener;
    (void)from_len;
    if (k == NULL) {
        (void)evutil_closesocket(fd);
        if (address != NULL)
            http_server_discharge(s, address);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    k->lane = &s->lanes[s->next_lane++ % s->lane_count];
    k->fd = fd;
    k->address = address;
    k->conn.id = ++s->last_id;
    k->conn.home = k->lane;
    http_server_peer(from, k->conn.peer);
    k->start.run = http_link_start;
    atomic_fetch_add_explicit(&s->env.ref_count, 1, memory_order_relaxed);
    loop_post(k->lane->loop, &k->start);
}

/* Out of files or memory: trying again at once would only burn the processor. */
static void http_server_on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct http_server *s = arg;

    (void)evconnlistener_disable(listener);
    s->accept_rest_ns = http_now_ns() + HTTP_ACCEPT_REST_NS;
}

static void http_lane_on_tick(void *arg)
{
    struct http_lane *lane = arg;
    struct http_server *s = lane->server;
    struct http_link *k, *next;
    int64_t now_ns = http_now_ns();

    if (lane == &s->lanes[0] && s->accept_rest_ns != 0 && now_ns >= s->accept_rest_ns &&
        s->listener != NULL) {
        s->accept_rest_ns = 0;
        (void)evconnlistener_enable(s->listener);
    }
    HASH_ITER (hh, lane->links, k, next) {
        http_server_conn_tick(&k->conn, now_ns);
        http_link_settle(k);
    }
}

/* --- the server --- */

/* A listening socket on one of the addresses, or -1 with its errno. */
static int http_server_listen(const struct addrinfo *at, int *ret_error)
{
    int one = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, HTTP_BACKLOG) == 0)
        return fd;
    *ret_error = errno;
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

/* Without the brackets of "[::]"; none is every IPv4 address. */
static void http_server_address(const char *from, char ret[256])
{
    if (from == NULL || from[0] == '\0')
        from = "0.0.0.0";
    (void)snprintf(ret, 256, "%s", from[0] == '[' ? from + 1 : from);
    size_t len = strlen(ret);
    if (from[0] == '[' && len > 0 && ret[len - 1] == ']')
        ret[len - 1] = '\0';
}

static enum err http_server_bind(const struct http_server_options *o, int *ret_fd,
                                 struct err_detail *reterr_detail)
{
    char address[256];
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_family = AF_INET};
    struct addrinfo *list = NULL;
    char port[8], text[64];
    int fd = -1, error = EADDRNOTAVAIL;

    http_server_address(o->address, address);
    (void)snprintf(port, sizeof port, "%u", o->port);
    /* "localhost" is both ::1 and 127.0.0.1, and it is the latter that people put into their clients.  A bare machine may not know the name. */
    if (strcmp(address, "localhost") == 0)
        (void)snprintf(address, sizeof address, "127.0.0.1");
    int rc = getaddrinfo(address, port, &hints, &list);
    if (rc != 0) {
        hints.ai_family = AF_UNSPEC;
        rc = getaddrinfo(address, port, &hints, &list);
    }
    if (rc != 0)
        return err_detail_set(reterr_detail, ERR_INVALID, "can not listen on %s:%u: %s", address,
                              o->port, gai_strerror(rc));
    for (struct addrinfo *at = list; at != NULL && fd < 0; at = at->ai_next)
        fd = http_server_listen(at, &error);
    freeaddrinfo(list);
    if (fd >= 0) {
        *ret_fd = fd;
        return ERR_OK;
    }
    enum err e = ERR_INVALID;
    if (error == EADDRINUSE)
        e = ERR_CONFLICT;
    else if (error == EACCES || error == EPERM)
        e = ERR_FORBIDDEN;
    else if (error == EMFILE || error == ENFILE)
        e = ERR_FULL;
    return err_detail_set(reterr_detail, e, "can not listen on %s:%u: %s", address, o->port,
                          strerror_r(error, text, sizeof text));
}

static uint16_t http_server_bound_port(int fd)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof at;

    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return 0;
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&at)->sin6_port
                                          : ((struct sockaddr_in *)(void *)&at)->sin_port);
}

static void http_server_close_listener(struct http_server *s)
{
    if (s->listener != NULL)
        evconnlistener_free(s->listener);
    s->listener = NULL;
}

static void http_lane_drain(struct loop_msg *m)
{
    struct http_lane *lane =
        (struct http_lane *)(void *)((char *)m - offsetof(struct http_lane, drain));
    struct http_link *k, *next;

    if (lane == &lane->server->lanes[0])
        http_server_close_listener(lane->server);
    HASH_ITER (hh, lane->links, k, next) {
        http_server_conn_drain(&k->conn, http_now_ns());
        http_link_settle(k);
    }
    http_server_unref(&lane->server->env);
}

static void http_lane_close(struct loop_msg *m)
{
    struct http_lane *lane =
        (struct http_lane *)(void *)((char *)m - offsetof(struct http_lane, close));
    struct http_server *s = lane->server;
    struct http_link *k, *next;

    if (lane == &s->lanes[0])
        http_server_close_listener(s);
    loop_timer_free(lane->tick);
    lane->tick = NULL;
    HASH_ITER (hh, lane->links, k, next) {
        http_link_free(k);
    }
    mutex_lock(&s->lock);
    s->closed_count++;
    (void)pthread_cond_signal(&s->closed);
    mutex_unlock(&s->lock);
}

static void http_server_wait_closed(struct http_server *s, unsigned lane_count)
{
    mutex_lock(&s->lock);
    while (s->closed_count < lane_count)
        (void)cond_wait(&s->closed, &s->lock, -1);
    mutex_unlock(&s->lock);
}

void http_server_drain(struct http_server *s)
{
    if (atomic_exchange_explicit(&s->is_draining, true, memory_order_acq_rel))
        return;
    for (unsigned i = 0; i < s->lane_count; i++) {
        atomic_fetch_add_explicit(&s->env.ref_count, 1, memory_order_relaxed);
        s->lanes[i].drain.run = http_lane_drain;
        loop_post(s->lanes[i].loop, &s->lanes[i].drain);
    }
}

void http_server_free(struct http_server *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->lane_count; i++)
        assert(!loop_is_mine(s->lanes[i].loop));
    /* The first lane is the one that accepts: once it is closed no link is on its way to the others. */
    for (unsigned i = 0; i < s->lane_count; i++) {
        s->lanes[i].close.run = http_lane_close;
        loop_post(s->lanes[i].loop, &s->lanes[i].close);
        http_server_wait_closed(s, i + 1);
    }
    mutex_lock(&s->lock);
    s->is_closed = true;
    mutex_unlock(&s->lock);
    http_server_unref(&s->env);
}

static void http_server_configure(struct http_server *s, const struct http_server_options *o)
{
    struct http_env *env = &s->env;

    env->body_bytes_max = o->body_bytes_max;
    env->header_bytes_max = o->header_bytes_max;
    env->streams_max = o->streams_max > 0 ? o->streams_max : 100;
    env->header_timeout_ns = o->header_timeout_ns > 0 ? o->header_timeout_ns : 10 * NS_PER_S;
    env->idle_timeout_ns = o->idle_timeout_ns > 0 ? o->idle_timeout_ns : 120 * NS_PER_S;
    env->max_connection_age_ns = o->max_connection_age_ns;
    env->body_grace_ns = o->body_grace_ns > 0 ? o->body_grace_ns : 10 * NS_PER_S;
    env->body_bytes_per_s_min = o->body_bytes_per_s_min > 0 ? o->body_bytes_per_s_min : 1024;
    env->budget = o->budget;
    env->cors = o->cors;
    env->handler = o->handler;
    env->arg = o->arg;
    env->post = http_server_post;
    env->unref = http_server_unref;
    atomic_init(&env->ref_count, 1);
    s->connections_max = o->connections_max > 0 ? o->connections_max : 10000;
    s->connections_per_address_max =
        o->connections_per_address_max > 0 ? o->connections_per_address_max : 1000;
    s->lane_count = o->loop_count;
    for (unsigned i = 0; i < o->loop_count; i++) {
        s->lanes[i].server = s;
        s->lanes[i].loop = o->loops[i];
    }
    mutex_init(&s->lock);
    cond_init(&s->closed);
}

static enum err http_server_start(struct http_server *s, int *fd)
{
    const struct http_env *env = &s->env;
    int64_t tick_ns = env->header_timeout_ns;

    if (env->idle_timeout_ns < tick_ns)
        tick_ns = env->idle_timeout_ns;
    if (env->body_grace_ns < tick_ns)
        tick_ns = env->body_grace_ns;
    tick_ns /= 4;
    tick_ns = tick_ns < HTTP_TICK_NS_MIN ? HTTP_TICK_NS_MIN : tick_ns;
    tick_ns = tick_ns > HTTP_TICK_NS_MAX ? HTTP_TICK_NS_MAX : tick_ns;
    for (unsigned i = 0; i < s->lane_count; i++) {
        enum err e = loop_timer_new(s->lanes[i].loop, tick_ns, http_lane_on_tick, &s->lanes[i],
                                    &s->lanes[i].tick);
        if (e != ERR_OK)
            return e;
    }
    /* Disabled at first: the server must be whole before its first connection. */
    s->listener = evconnlistener_new(loop_base(s->lanes[0].loop), http_server_on_accept, s,
                                     LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
                                         LEV_OPT_THREADSAFE | LEV_OPT_DISABLED,
                                     0, *fd);
    if (s->listener == NULL)
        return ERR_NOMEM;
    *fd = -1;
    evconnlistener_set_error_cb(s->listener, http_server_on_accept_error);
    return evconnlistener_enable(s->listener) == 0 ? ERR_OK : ERR_NOMEM;
}

enum err http_server_new(const struct http_server_options *o, struct http_server **ret,
                         struct err_detail *reterr_detail)
{
    assert(o->body_bytes_max > 0);
    assert(o->header_bytes_max >= 64);
    assert(o->header_bytes_max <= HTTP_PARSER_HEADER_BYTES_MAX);
    assert(o->loop_count > 0);
    assert(o->handler != NULL);
    int fd = -1;
    enum err e = http_server_bind(o, &fd, reterr_detail);

    if (e != ERR_OK)
        return e;
    /* The parser's own limit is one for the process; ours are checked before it sees a byte. */
    http_parser_set_max_header_size(HTTP_PARSER_HEADER_BYTES_MAX);
    struct http_server *s = calloc(1, sizeof *s + o->loop_count * sizeof s->lanes[0]);
    if (s == NULL) {
        e = ERR_NOMEM;
    } else {
        http_server_configure(s, o);
        s->port = http_server_bound_port(fd);
        e = http_server_start(s, &fd);
    }
    if (e == ERR_OK) {
        *ret = s;
    } else {
        if (fd >= 0)
            (void)close(fd);
        http_server_free(s);
    }
    return e;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

unsigned http_server_in_flight(const struct http_server *s)
{
    return atomic_load_explicit(&s->env.in_flight, memory_order_acquire);
}
