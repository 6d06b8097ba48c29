#include "common/app/app_cache.h"

#include "common/obs/log.h"

enum { QUEUE_BYTES_MAX = 64 << 20, QUEUE_BYTES_MIN = 1 << 20, QUEUE_SHARE = 32 };

static void note_server(void *arg, const char *cache, const char *server, bool is_back)
{
    (void)arg;
    if (is_back)
        log_info("cache_server_back", LOG_STR("cache", cache), LOG_STR("server", server));
    else
        log_warn("cache_server_left_alone", LOG_STR("cache", cache), LOG_STR("server", server));
}

static enum err open_one(struct app *app, const struct config_cache *c, struct cache **ret,
                         struct err_detail *detail)
{
    const struct config *config = app->config;
    bool is_old = strcmp(c->name, "legacy") == 0;
    size_t queue_bytes = app->memory.limit_bytes / QUEUE_SHARE;

    queue_bytes = queue_bytes > QUEUE_BYTES_MAX   ? QUEUE_BYTES_MAX
                  : queue_bytes < QUEUE_BYTES_MIN ? QUEUE_BYTES_MIN
                                                  : queue_bytes;
    struct cache_options o = {
        .kind = c->is_redis ? CACHE_REDIS : CACHE_MEMCACHED,
        .name = c->name,
        .addresses = c->addresses.items,
        .address_count = c->addresses.count,
        .is_consistent = c->is_consistent,
        .user = c->user,
        .password = c->password,
        .db = (unsigned)c->db,
        .timeout_ns = c->timeout_ns,
        .connect_timeout_ns = c->connect_timeout_ns,
        .update_ns = c->update_ns,
        .expiration_ns = c->expiration_ns,
        .idle_ns = c->idle_ns,
        .age_ns = c->age_ns,
        .idle_max = (unsigned)c->idle_max,
        .item_bytes_max = c->item_bytes_max,
        .breaker_failures = (unsigned)c->breaker_failures,
        .breaker_open_ns = c->breaker_open_ns,
        .breaker_interval_ns = c->breaker_interval_ns,
        .writers = (unsigned)(is_old ? config->old_cache_writers : config->cache_writers),
        .queue_max = (unsigned)(is_old ? config->old_cache_queue : config->cache_queue),
        .queue_bytes_max = queue_bytes,
        .memory = &app->memory,
        .note = note_server,
        .clock = app->clock};
    return cache_new(&o, ret, detail);
}

/* Which parts this cache keeps; false: none. */
static bool add_parts(const struct config_cache *c, struct cache *cache,
                      struct cache *of_part[OBJECT_PART_COUNT])
{
    bool is_any = false;

    for (int p = 0; p < OBJECT_PART_COUNT; p++)
        if (config_cache_has_role(c, shared_ranges_role((enum object_part)p))) {
            of_part[p] = cache;
            is_any = true;
        }
    return is_any;
}

enum err app_cache_open(struct app *app, struct shared_ranges **ret,
                        struct err_detail *reterr_detail)
{
    const struct config *config = app->config;
    struct shared_ranges_options o = {.lookup_level_min = (unsigned)config->cache_level_min,
                                      .lookup_age_max_ns = config->cache_age_max_ns,
                                      .clock = app->clock};
    enum err e = ERR_OK;

    *ret = NULL;
    for (unsigned i = 0; i < config->cache_count && e == ERR_OK; i++) {
        struct cache *cache = NULL;
        if (!add_parts(&config->caches[i], NULL, o.of_part))
            continue; /* only roles without meaning here: it was warned of */
        e = open_one(app, &config->caches[i], &cache, reterr_detail);
        if (e != ERR_OK)
            break;
        o.caches[o.cache_count++] = cache;
        (void)add_parts(&config->caches[i], cache, o.of_part);
        log_info("cache_opened", LOG_STR("roles", config->caches[i].name),
                 LOG_STR("kind", config->caches[i].is_redis ? "redis" : "memcached"));
    }
    if (e == ERR_OK && o.cache_count > 0)
        e = shared_ranges_new(&o, ret);
    for (unsigned i = 0; e != ERR_OK && i < o.cache_count; i++)
        cache_free(o.caches[i]);
    return e;
}
