#include "common/cache/cache_servers.h"

#include "common/base/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS (5 * NS_PER_S)

struct cache_servers {
    const struct cache_options *o;
    const char *default_port;
    struct metric_cell *count;
    struct mutex lock; /* the fields below, and refs of lists and servers */
    pthread_cond_t stop;
    bool is_stopping;
    struct cache_server_list *list; /* NULL: none */
    pthread_t thread;
};

/* --- one server --- */

static struct cache_server *server_new(const struct cache_options *o,
                                       const struct cache_address *address)
{
    struct cache_server *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->refs = 1;
    mutex_init(&s->lock);
    s->address = *address;
    s->breaker = (struct cache_breaker){.failures_max = o->breaker_failures,
                                        .open_ns = o->breaker_open_ns,
                                        .interval_ns = o->breaker_interval_ns};
    return s;
}

void cache_server_close_idle(struct cache_server *s)
{
    mutex_lock(&s->lock);
    struct cache_link *l = s->idle, *next;
    s->idle = NULL;
    s->idle_count = 0;
    mutex_unlock(&s->lock);
    for (; l != NULL; l = next) {
        next = l->next;
        cache_link_close(l);
    }
}

/* With the list's lock held, or alone. */
static void server_unref(struct cache_server *s)
{
    assert(s->refs > 0);
    if (--s->refs > 0)
        return;
    cache_server_close_idle(s);
    mutex_release(&s->lock);
    free(s);
}

struct cache_link *cache_server_take(struct cache_server *s, const struct cache_options *o)
{
    int64_t now_ns = clock_mono_ns(o->clock);

    for (;;) {
        mutex_lock(&s->lock);
        struct cache_link *l = s->idle;
        if (l != NULL) {
            s->idle = l->next;
            s->idle_count--;
        }
        mutex_unlock(&s->lock);
        if (l == NULL)
            return NULL;
        l->next = NULL;
        if ((o->idle_ns <= 0 || now_ns - l->used_ns < o->idle_ns) &&
            (o->age_ns <= 0 || now_ns - l->born_ns < o->age_ns))
            return l;
        cache_link_close(l);
    }
}

void cache_server_keep(struct cache_server *s, const struct cache_options *o, struct cache_link *l)
{
    l->used_ns = clock_mono_ns(o->clock);
    mutex_lock(&s->lock);
    bool is_room = s->idle_count < o->idle_max;
    if (is_room) {
        l->next = s->idle;
        s->idle = l;
        s->idle_count++;
    }
    mutex_unlock(&s->lock);
    if (!is_room)
        cache_link_close(l);
}

/* --- the list --- */

/* With the lock held, or alone. */
static void list_unref(struct cache_server_list *list)
{
    if (list == NULL || --list->refs > 0)
        return;
    for (unsigned i = 0; i < list->count; i++)
        server_unref(list->servers[i]);
    free(list);
}

struct cache_server_list *cache_servers_hold(struct cache_servers *s)
{
    mutex_lock(&s->lock);
    struct cache_server_list *list = s->list;
    if (list != NULL)
        list->refs++;
    mutex_unlock(&s->lock);
    return list;
}

void cache_servers_drop(struct cache_servers *s, struct cache_server_list *list)
{
    mutex_lock(&s->lock);
    list_unref(list);
    mutex_unlock(&s->lock);
}

static int address_cmp(const void *a, const void *b)
{
    const struct cache_address *x = a, *y = b;

    return strverscmp(x->name, y->name);
}

/* The server that is known by this name, with the address it has now; else a new one. */
static struct cache_server *server_of(struct cache_servers *s, const struct cache_address *address)
{
    for (unsigned i = 0; s->list != NULL && i < s->list->count; i++) {
        struct cache_server *known = s->list->servers[i];
        if (strcmp(known->address.name, address->name) != 0)
            continue;
        bool is_moved = memcmp(&known->address.to, &address->to, sizeof address->to) != 0;
        if (is_moved)
            cache_server_close_idle(known);
        mutex_lock(&known->lock);
        known->address.to = address->to;
        known->address.to_len = address->to_len;
        mutex_unlock(&known->lock);
        known->refs++;
        return known;
    }
    return server_new(s->o, address);
}

static void enter(struct cache_servers *s, struct cache_addresses *found)
{
    qsort(found->items, found->count, sizeof found->items[0], address_cmp);
    struct cache_server_list *list =
        calloc(1, sizeof *list + found->count * sizeof list->servers[0]);
    if (list == NULL)
        return; /* the old ones stay until the next time */
    list->refs = 1;
    mutex_lock(&s->lock);
    for (unsigned i = 0; i < found->count; i++) {
        struct cache_server *server = server_of(s, &found->items[i]);
        if (server != NULL)
            list->servers[list->count++] = server;
    }
    list_unref(s->list);
    s->list = list->count > 0 ? list : NULL;
    if (list->count == 0)
        list_unref(list);
    mutex_unlock(&s->lock);
    if (s->count != NULL)
        metric_set(s->count, found->count);
}

/* False: some name told nothing; what is known by then stays, since a name server that fails has not moved anybody. */
static bool look_up(struct cache_servers *s)
{
    struct cache_addresses found = {.items =
                                        malloc(CACHE_SERVERS_MAX * sizeof(struct cache_address))};
    enum err e = found.items == NULL ? ERR_NOMEM : ERR_OK;

    for (unsigned i = 0; i < s->o->address_count && e == ERR_OK; i++)
        e = cache_resolve(s->o->addresses[i], s->default_port, &found);
    mutex_lock(&s->lock);
    bool is_first = s->list == NULL;
    mutex_unlock(&s->lock);
    if ((e == ERR_OK || is_first) && found.count > 0)
        enter(s, &found);
    free(found.items);
    return e == ERR_OK;
}

static void servers_main(void *arg)
{
    struct cache_servers *s = arg;

    mutex_lock(&s->lock);
    while (!s->is_stopping) {
        mutex_unlock(&s->lock);
        int64_t pause_ns = look_up(s) || s->o->update_ns < RETRY_NS ? s->o->update_ns : RETRY_NS;
        int64_t until_ns = clock_mono_ns(&clock_system) + pause_ns;
        mutex_lock(&s->lock);
        for (int64_t left_ns = pause_ns; !s->is_stopping && left_ns > 0;
             left_ns = until_ns - clock_mono_ns(&clock_system))
            (void)cond_wait(&s->stop, &s->lock, left_ns);
    }
    mutex_unlock(&s->lock);
}

enum err cache_servers_new(const struct cache_options *o, const char *default_port,
                           struct metric_cell *count, struct cache_servers **ret)
{
    struct cache_servers *s = calloc(1, sizeof *s);

    assert(o->update_ns > 0);
    if (s == NULL)
        return ERR_NOMEM;
    s->o = o;
    s->default_port = default_port;
    s->count = count;
    mutex_init(&s->lock);
    cond_init(&s->stop);
    enum err e = thread_start(&s->thread, "cache-names", servers_main, s);
    if (e != ERR_OK) {
        (void)pthread_cond_destroy(&s->stop);
        mutex_release(&s->lock);
        free(s);
        return e;
    }
    *ret = s;
    return ERR_OK;
}

void cache_servers_free(struct cache_servers *s)
{
    if (s == NULL)
        return;
    mutex_lock(&s->lock);
    s->is_stopping = true;
    (void)pthread_cond_signal(&s->stop);
    mutex_unlock(&s->lock);
    thread_join(s->thread);
    list_unref(s->list);
    if (s->count != NULL)
        metric_set(s->count, 0);
    (void)pthread_cond_destroy(&s->stop);
    mutex_release(&s->lock);
    free(s);
}

unsigned cache_servers_pick(const char *key, unsigned count, bool is_consistent)
{
    uint64_t hash = hash_plain(slice_str(key));
    int64_t at = 0, next = 0;

    assert(count > 0);
    if (!is_consistent)
        return (unsigned)(hash % count);
    while (next < count) {
        at = next;
        hash = hash * 2862933555777941757ull + 1;
        next = (int64_t)((double)(at + 1) * ((double)(1ll << 31) / (double)((hash >> 33) + 1)));
    }
    return (unsigned)at;
}
