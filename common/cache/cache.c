#include "common/cache/cache.h"

#include "common/base/arena.h"
#include "common/base/bytes.h"
#include "common/cache/cache_priv.h"
#include "common/cache/cache_servers.h"
#include "common/obs/metrics.h"
#include "common/sys/queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum method { GET_ONE, GET_MANY, PUT_ONE, METHOD_COUNT };
enum code { CODE_200, CODE_404, CODE_500, CODE_TIMEOUT, CODE_COUNT };

/* A value that waits to be written. */
struct put {
    struct queue_item item; /* first; `bytes` is what the budget gave */
    size_t sealed_len;
    char key[CACHE_KEY_BYTES_MAX + 1];
    uint8_t sealed[];
};

struct cache {
    struct cache_options o;
    struct arena arena; /* of its texts */
    const struct cache_protocol *protocol;
    struct cache_servers *servers;
    struct queue puts;
    atomic_bool is_stopping;
    unsigned writer_count; /* started */
    pthread_t *writers;
    struct {
        struct metric_cell *took[METHOD_COUNT][CODE_COUNT];
        struct metric_cell *skipped, *waiting, *dropped, *damaged, *left_alone, *servers;
    } metrics;
};

/* --- one request --- */

struct request {
    struct cache_batch *batch; /* to get; NULL: to put */
    struct put *put;
    enum method method;
};

static enum err open_link(const struct cache *c, struct cache_server *s, int64_t deadline_ns,
                          struct cache_link **ret)
{
    struct cache_link *l = NULL;

    mutex_lock(&s->lock);
    struct cache_address to = s->address;
    mutex_unlock(&s->lock);
    enum err e = cache_link_open(&to.to, to.to_len, deadline_ns, &l);
    if (e != ERR_OK)
        return e;
    l->born_ns = clock_mono_ns(c->o.clock);
    e = c->protocol->greet(l, &c->o, deadline_ns);
    if (e != ERR_OK)
        cache_link_close(l);
    else
        *ret = l;
    return e;
}

static enum err speak(const struct cache *c, struct cache_link *l, const struct request *r)
{
    int64_t deadline_ns = clock_mono_ns(&clock_system) + c->o.timeout_ns;

    if (r->batch != NULL)
        return c->protocol->get(l, r->batch, deadline_ns);
    return c->protocol->put(l, r->put->key, (struct slice){r->put->sealed, r->put->sealed_len},
                            c->o.expiration_ns, deadline_ns);
}

/* On an idle connection, or a new one: once more where the server has closed the idle one meanwhile. */
static enum err run_once(const struct cache *c, struct cache_server *s, const struct request *r)
{
    struct cache_link *l = cache_server_take(s, &c->o);
    bool was_idle = l != NULL;

    for (;;) {
        enum err e = ERR_OK;
        if (l == NULL)
            e = open_link(c, s, clock_mono_ns(&clock_system) + c->o.connect_timeout_ns, &l);
        if (e != ERR_OK)
            return e;
        e = speak(c, l, r);
        if (e == ERR_OK || e == ERR_TOO_LARGE) {
            cache_server_keep(s, &c->o, l);
            return e;
        }
        cache_link_close(l);
        l = NULL;
        if (!was_idle || e != ERR_UNAVAILABLE)
            return e;
        cache_server_close_idle(s);
        was_idle = false;
    }
}

static enum code code_of(const struct request *r, enum err e)
{
    if (e != ERR_OK)
        return e == ERR_TIMEOUT ? CODE_TIMEOUT : CODE_500;
    return r->method == GET_ONE && !r->batch->items[0]->is_found ? CODE_404 : CODE_200;
}

/* Unless the server is left alone. */
static void run(struct cache *c, struct cache_server *s, const struct request *r)
{
    int64_t begun_ns = clock_mono_ns(c->o.clock);

    mutex_lock(&s->lock);
    bool may = cache_breaker_may(&s->breaker, begun_ns);
    mutex_unlock(&s->lock);
    if (!may) {
        metric_inc(c->metrics.left_alone);
        return;
    }
    int64_t from_ns = clock_mono_ns(&clock_system);
    enum err e = run_once(c, s, r);
    metric_observe(c->metrics.took[r->method][code_of(r, e)],
                   (double)(clock_mono_ns(&clock_system) - from_ns) / 1e9);
    bool is_good = e == ERR_OK || e == ERR_TOO_LARGE || e == ERR_NOMEM;
    mutex_lock(&s->lock);
    bool has_turned = cache_breaker_done(&s->breaker, is_good, begun_ns, clock_mono_ns(c->o.clock));
    mutex_unlock(&s->lock);
    if (has_turned && c->o.note != NULL)
        c->o.note(c->o.note_arg, c->o.name, s->address.name, is_good);
}

/* --- reading --- */

static void get_batch(struct cache *c, struct cache_server *s, struct cache_batch *batch)
{
    struct request r = {.batch = batch, .method = batch->count == 1 ? GET_ONE : GET_MANY};

    run(c, s, &r);
    metric_add(c->metrics.damaged, batch->damaged_count);
    batch->count = batch->damaged_count = 0;
}

/* Those that lie on server `at`, some at a time. */
static void get_of_server(struct cache *c, const struct cache_server_list *list, unsigned at,
                          struct cache_item *items, unsigned count)
{
    struct cache_batch batch = {.count = 0};
    size_t bytes = 0;

    for (unsigned i = 0; i < count; i++) {
        struct cache_item *item = &items[i];
        if (cache_servers_pick(item->key, list->count, c->o.is_consistent) != at)
            continue;
        if (batch.count == CACHE_BATCH_MAX ||
            (batch.count > 0 && bytes + item->len > CACHE_BATCH_BYTES)) {
            get_batch(c, list->servers[at], &batch);
            bytes = 0;
        }
        batch.items[batch.count++] = item;
        bytes += item->len;
    }
    if (batch.count > 0)
        get_batch(c, list->servers[at], &batch);
}

static bool is_key(const char *key)
{
    size_t len = 0;

    for (; key[len] != '\0'; len++)
        if (len == CACHE_KEY_BYTES_MAX || key[len] <= ' ' || key[len] == 127)
            return false;
    return len > 0;
}

void cache_get(struct cache *c, struct cache_item *items, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert(is_key(items[i].key));
        items[i].is_found = false;
    }
    struct cache_server_list *list = cache_servers_hold(c->servers);
    if (list == NULL)
        return;
    for (unsigned at = 0; at < list->count; at++)
        get_of_server(c, list, at, items, count);
    cache_servers_drop(c->servers, list);
}

/* --- writing --- */

static void put_free(struct cache *c, struct put *p)
{
    budget_give(c->o.memory, p->item.bytes);
    free(p);
}

static void put_now(struct cache *c, struct put *p)
{
    struct cache_server_list *list = cache_servers_hold(c->servers);
    struct request r = {.put = p, .method = PUT_ONE};

    if (list == NULL) {
        metric_inc(c->metrics.dropped);
        return;
    }
    run(c, list->servers[cache_servers_pick(p->key, list->count, c->o.is_consistent)], &r);
    cache_servers_drop(c->servers, list);
}

static void writer_main(void *arg)
{
    struct cache *c = arg;
    struct put *p;

    while ((p = (struct put *)queue_pop(&c->puts, -1)) != NULL) { /* the item is its first member */
        metric_set(c->metrics.waiting, (double)queue_count(&c->puts));
        if (!atomic_load_explicit(&c->is_stopping, memory_order_relaxed))
            put_now(c, p);
        put_free(c, p);
    }
}

void cache_put(struct cache *c, const char *key, struct slice bytes)
{
    size_t size = sizeof(struct put) + CACHE_SEAL_BYTES + bytes.len;

    assert(is_key(key));
    if (bytes.len > c->o.item_bytes_max) {
        metric_inc(c->metrics.skipped);
        return;
    }
    bool is_taken = budget_take(c->o.memory, size) == ERR_OK;
    struct put *p = is_taken ? malloc(size) : NULL;
    if (p == NULL && is_taken)
        budget_give(c->o.memory, size);
    if (p != NULL) {
        *p = (struct put){.item = {.bytes = size}, .sealed_len = CACHE_SEAL_BYTES + bytes.len};
        memcpy(p->key, key, strlen(key) + 1);
        cache_seal_write(p->sealed, key, bytes);
        memcpy(p->sealed + CACHE_SEAL_BYTES, bytes.ptr, bytes.len);
        if (queue_push(&c->puts, &p->item) == ERR_OK) {
            metric_set(c->metrics.waiting, (double)queue_count(&c->puts));
            return;
        }
        put_free(c, p);
    }
    metric_inc(c->metrics.dropped);
}

/* --- life --- */

static const char *copy(struct cache *c, const char *text)
{
    return text == NULL ? "" : arena_str(&c->arena, slice_str(text));
}

static enum err copy_options(struct cache *c, const struct cache_options *o,
                             struct err_detail *detail)
{
    const char **addresses;

    if (o->address_count == 0 || o->address_count > CACHE_ADDRESSES_MAX)
        return err_detail_set(detail, ERR_INVALID, "cache %s: from 1 to %d addresses", o->name,
                              (int)CACHE_ADDRESSES_MAX);
    for (unsigned i = 0; i < o->address_count; i++)
        if (cache_resolve_check(o->addresses[i]) != ERR_OK)
            return err_detail_set(detail, ERR_INVALID, "cache %s: \"%.200s\" is no address",
                                  o->name, o->addresses[i]);
    c->o = *o;
    c->o.name = copy(c, o->name);
    c->o.user = copy(c, o->user);
    c->o.password = copy(c, o->password);
    addresses = ARENA_ARRAY(&c->arena, const char *, o->address_count);
    for (unsigned i = 0; addresses != NULL && i < o->address_count; i++)
        addresses[i] = copy(c, o->addresses[i]);
    c->o.addresses = addresses;
    if (c->o.item_bytes_max == 0 || c->o.item_bytes_max > CACHE_ITEM_BYTES_MAX)
        c->o.item_bytes_max = CACHE_ITEM_BYTES_MAX;
    return arena_err(&c->arena);
}

static void declare_metrics(struct cache *c)
{
    /* 16 us to 262 ms, as Tempo's. */
    static const double bounds[] = {0.000016, 0.000064, 0.000256, 0.001024,
                                    0.004096, 0.016384, 0.065536, 0.262144};
    const struct cache_protocol *p = c->protocol;
    const char *methods[METHOD_COUNT] = {p->get_one, p->get_many, p->put_one};
    const char *codes[CODE_COUNT] = {"200", "404", "500", p->timeout_code};
    struct metric_family *took = metrics_histogram(p->duration, "method,status_code,name",
                                                   "How long requests to the cache took.", bounds,
                                                   sizeof bounds / sizeof bounds[0]);

    for (int m = 0; m < METHOD_COUNT; m++)
        for (int code = 0; code < CODE_COUNT; code++) {
            struct slice labels[] = {slice_str(methods[m]), slice_str(codes[code]),
                                     slice_str(c->o.name)};
            c->metrics.took[m][code] = metric_cell(took, labels, 3);
        }
    c->metrics.skipped = metric_cell1(
        metrics_counter(p->skipped, "name", "Values larger than max_item_size, not stored."),
        c->o.name);
    c->metrics.waiting = metric_cell1(metrics_gauge("tempo_cache_background_queue_length", "name",
                                                    "Values that wait to be written."),
                                      c->o.name);
    c->metrics.dropped = metric_cell1(
        metrics_counter("tempo_cache_dropped_background_writes_total", "name",
                        "Values that were not written: too many waited, or there was no server."),
        c->o.name);
    c->metrics.damaged =
        metric_cell1(metrics_counter("vivace_cache_damaged_total", "name",
                                     "Values of a cache that were not what was put there."),
                     c->o.name);
    c->metrics.left_alone =
        metric_cell1(metrics_counter("vivace_cache_left_alone_total", "name",
                                     "Requests that were not made, since the server had failed."),
                     c->o.name);
    c->metrics.servers = c->o.kind == CACHE_MEMCACHED
                             ? metric_cell1(metrics_gauge("tempo_memcache_client_servers", "name",
                                                          "Servers that the names stand for."),
                                            c->o.name)
                             : NULL;
}

static enum err start_writers(struct cache *c)
{
    c->writers = calloc(c->o.writers, sizeof *c->writers);
    if (c->writers == NULL)
        return ERR_NOMEM;
    while (c->writer_count < c->o.writers) {
        enum err e = thread_start(&c->writers[c->writer_count], "cache-writes", writer_main, c);
        if (e != ERR_OK)
            return e;
        c->writer_count++;
    }
    return ERR_OK;
}

enum err cache_new(const struct cache_options *o, struct cache **ret,
                   struct err_detail *reterr_detail)
{
    struct cache *c = calloc(1, sizeof *c);

    assert(o->timeout_ns > 0 && o->connect_timeout_ns > 0);
    assert(o->writers > 0 && o->queue_max > 0 && o->queue_bytes_max > 0);
    if (c == NULL)
        return ERR_NOMEM;
    arena_init(&c->arena, NULL);
    enum err e = copy_options(c, o, reterr_detail);
    if (e != ERR_OK) {
        arena_release(&c->arena);
        free(c);
        return e;
    }
    c->protocol = o->kind == CACHE_MEMCACHED ? &cache_memcached : &cache_redis;
    queue_init(&c->puts, c->o.queue_max, c->o.queue_bytes_max);
    declare_metrics(c);
    e = cache_servers_new(&c->o, c->protocol->default_port, c->metrics.servers, &c->servers);
    if (e == ERR_OK)
        e = start_writers(c);
    if (e != ERR_OK)
        cache_free(c);
    else
        *ret = c;
    return e;
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    atomic_store_explicit(&c->is_stopping, true, memory_order_relaxed);
    queue_close(&c->puts);
    for (unsigned i = 0; i < c->writer_count; i++)
        thread_join(c->writers[i]);
    cache_servers_free(c->servers);
    queue_release(&c->puts);
    free(c->writers);
    arena_release(&c->arena);
    free(c);
}
