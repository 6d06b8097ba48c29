/* cache.caches[] and the older storage.trace.memcached, .redis: which servers keep what, by Tempo's keys. */
#include "common/app/config_priv.h"
#include "common/cache/cache_resolve.h"

#include <assert.h>

enum { CACHES_MAX = 8, ROLES_MAX = 16, ADDRESSES_MAX = 64, DB_MAX = 65535 };

#define NO_VALUE     .words = "", .def = "", .min = "", .max = "", .help = ""
#define FIELD(field) offsetof(struct cache_raw, field)
#define IGNORE(key_)                                  \
    {                                                 \
        .key = key_, .type = CONFIG_IGNORED, NO_VALUE \
    }
#define LATE(key_)                                  \
    {                                               \
        .key = key_, .type = CONFIG_LATER, NO_VALUE \
    }
#define REFUSE(key_, w)                                                                       \
    {                                                                                         \
        .key = key_, .type = CONFIG_UNSUPPORTED, .words = w, .def = "", .min = "", .max = "", \
        .help = ""                                                                            \
    }
#define ROW(key_, type_, field_, def_, min_, max_, help_)                              \
    {                                                                                  \
        .key = key_, .type = type_, .offset = FIELD(field_), .words = "", .def = def_, \
        .min = min_, .max = max_, .help = help_                                        \
    }

struct cache_raw {
    const char *host, *service, *addresses, *endpoint;
    int64_t ttl_ns;
    struct config_cache cache;
};

/* clang-format off: one row a line */
static const struct config_row memcached_rows[] = {
    ROW("host", CONFIG_STRING, host, "", "", "",
        "Where SRV records are looked for: _service._tcp.host."),
    ROW("service", CONFIG_STRING, service, "memcached", "", "",
        "Name of the port in those records."),
    ROW("addresses", CONFIG_STRING, addresses, "", "", "",
        "In the place of host and service, separated by commas: host:port, dns+host:port (each of its addresses), dnssrv+name, dnssrvnoa+name."),
    ROW("timeout", CONFIG_DURATION, cache.timeout_ns, "100ms", "0s", "1m",
        "Longest a request takes, answer and all; 0s: 100ms."),
    ROW("connect_timeout", CONFIG_DURATION, cache.connect_timeout_ns, "0s", "0s", "1m",
        "Longest a new connection takes, besides; 0s: as timeout."),
    ROW("max_idle_conns", CONFIG_INT, cache.idle_max, "100", "0", "10000",
        "Connections kept open to each server."),
    ROW("update_interval", CONFIG_DURATION, cache.update_ns, "1m", "0s", "24h",
        "How often names are looked up; 0s: 1m."),
    ROW("consistent_hash", CONFIG_BOOL, cache.is_consistent, "true", "", "",
        "One server more or less moves few keys."),
    ROW("max_item_size", CONFIG_BYTES, cache.item_bytes_max, "0", "", "64MiB",
        "Larger ranges are not stored; 0: 64 MiB. memcached itself takes 1 MiB unless told otherwise (-I)."),
    ROW("circuit_breaker_consecutive_failures", CONFIG_INT, cache.breaker_failures, "10", "0",
        "1000000",
        "After more failures in a row than this a server is left alone; 0: never. From the second on it is asked once a second."),
    ROW("circuit_breaker_timeout", CONFIG_DURATION, cache.breaker_open_ns, "10s", "0s", "1h",
        "For so long; then one request tries it."),
    ROW("circuit_breaker_interval", CONFIG_DURATION, cache.breaker_interval_ns, "10s", "0s", "1h",
        "Failures are forgotten when none came for so long; 0s: never."),
    ROW("ttl", CONFIG_DURATION, ttl_ns, "0s", "0s", "",
        "How long values stay; 0s: until they are pushed out."),
    REFUSE("tls_enabled", "false"),
    LATE("tls_cert_path"),
    LATE("tls_key_path"),
    LATE("tls_ca_path"),
    LATE("tls_server_name"),
    LATE("tls_insecure_skip_verify"),
    LATE("tls_cipher_suites"),
    LATE("tls_min_version"),
    IGNORE("min_idle_conns_headroom_percentage"),
};
static const struct config_row redis_rows[] = {
    ROW("endpoint", CONFIG_STRING, endpoint, "", "", "",
        "host:port of one server; dns+host:port with several addresses shares the keys among them."),
    ROW("timeout", CONFIG_DURATION, cache.timeout_ns, "100ms", "0s", "1m",
        "Longest a request takes, answer and all, and a new connection besides; 0s: 100ms."),
    ROW("expiration", CONFIG_DURATION, cache.expiration_ns, "0s", "0s", "",
        "How long values stay; 0s: as ttl."),
    ROW("ttl", CONFIG_DURATION, ttl_ns, "0s", "0s", "",
        "Another name of expiration; 0s: until they are pushed out."),
    ROW("db", CONFIG_INT, cache.db, "0", "0", "65535", "Number of the database."),
    ROW("pool_size", CONFIG_INT, cache.idle_max, "0", "0", "10000",
        "Connections kept open; 0: 100."),
    ROW("username", CONFIG_STRING, cache.user, "", "", "", ""),
    ROW("password", CONFIG_SECRET, cache.password, "", "", "", ""),
    ROW("idle_timeout", CONFIG_DURATION, cache.idle_ns, "0s", "0s", "",
        "Connections that were idle longer are closed; 0s: never."),
    ROW("max_connection_age", CONFIG_DURATION, cache.age_ns, "0s", "0s", "",
        "Connections older than this are closed; 0s: never."),
    ROW("max_item_size", CONFIG_BYTES, cache.item_bytes_max, "0", "", "64MiB",
        "Larger ranges are not stored; 0: 64 MiB."),
    REFUSE("master_name", ""),
    REFUSE("sentinel_username", ""),
    REFUSE("sentinel_password", ""),
    REFUSE("tls_enabled", "false"),
    REFUSE("single_node", "true|"),
    LATE("tls_cert_path"),
    LATE("tls_key_path"),
    LATE("tls_ca_path"),
    LATE("tls_server_name"),
    LATE("tls_insecure_skip_verify"),
    LATE("tls_cipher_suites"),
    LATE("tls_min_version"),
    LATE("route_by_latency"),
    LATE("route_randomly"),
    LATE("read_only"),
    LATE("min_idle_conns"),
    IGNORE("max_redirects"),
};
static const struct config_alias memcached_aliases[] = {{"expiration", "ttl", CONFIG_ALIAS}};
static const struct config_alias redis_aliases[] = {
    {"conn_max_idle_time", "idle_timeout", CONFIG_ALIAS},
    {"conn_max_lifetime", "max_connection_age", CONFIG_ALIAS}};
/* clang-format on */
enum {
    MEMCACHED_ROWS = sizeof memcached_rows / sizeof memcached_rows[0],
    REDIS_ROWS = sizeof redis_rows / sizeof redis_rows[0],
    ROWS_MAX = MEMCACHED_ROWS > REDIS_ROWS ? MEMCACHED_ROWS : REDIS_ROWS
};
const struct config_spec config_memcached_spec = {.rows = memcached_rows,
                                                  .row_count = MEMCACHED_ROWS,
                                                  .aliases = memcached_aliases,
                                                  .alias_count = 1};
const struct config_spec config_redis_spec = {
    .rows = redis_rows, .row_count = REDIS_ROWS, .aliases = redis_aliases, .alias_count = 2};

/* --- one cache --- */

/* Between commas, without blanks around them. */
static enum err read_addresses(struct config_reader *r, uint32_t line, const char *label,
                               const char *text, struct config_list *ret)
{
    struct arena *a = &r->config->arena;
    const char **items = ARENA_ARRAY(a, const char *, ADDRESSES_MAX);

    *ret = (struct config_list){.items = items};
    while (items != NULL && text[0] != '\0') {
        size_t len = strcspn(text, ","), from = strspn(text, " "), to = len;
        while (to > from && text[to - 1] == ' ')
            to--;
        if (to > from && ret->count == ADDRESSES_MAX)
            return config_fail(r, line, "%s: more than %d addresses", label, (int)ADDRESSES_MAX);
        if (to > from) {
            const char *item =
                arena_str(a, (struct slice){(const uint8_t *)text + from, to - from});
            if (item != NULL && cache_resolve_check(item) != ERR_OK)
                return config_fail(
                    r, line,
                    "%s: \"%.100s\" is not host:port, dns+host:port, dnssrv+name or dnssrvnoa+name",
                    label, item);
            items[ret->count++] = item;
        }
        text += len + (text[len] == ',');
    }
    return arena_err(a);
}

static void settle_zeros(struct cache_raw *raw)
{
    struct config_cache *c = &raw->cache;

    if (c->timeout_ns == 0)
        c->timeout_ns = 100 * 1000000LL;
    if (c->connect_timeout_ns == 0)
        c->connect_timeout_ns = c->timeout_ns;
    if (c->update_ns == 0)
        c->update_ns = 60 * 1000000000LL;
    if (c->expiration_ns == 0)
        c->expiration_ns = raw->ttl_ns;
    if (!c->is_redis)
        return;
    if (c->idle_max == 0)
        c->idle_max = 100;
    c->is_consistent = true;
    c->breaker_failures = 10;
    c->breaker_open_ns = c->breaker_interval_ns = 10 * 1000000000LL;
}

static enum err read_cache(struct config_reader *r, yaml_node_t *node, const char *label,
                           bool is_redis, struct config_cache *ret)
{
    const struct config_spec *spec = is_redis ? &config_redis_spec : &config_memcached_spec;
    struct cache_raw raw = {.host = "", .service = "", .addresses = "", .endpoint = ""};
    struct config_seen seen[ROWS_MAX] = {0};
    uint32_t line = config_yaml_line(node);
    const char *prefix = config_label(r, "%s.", label);
    struct config_scope scope = {.spec = spec, .base = &raw, .seen = seen, .label = prefix};
    enum err e = config_value_defaults(r, spec, &raw);

    if (e == ERR_OK)
        e = config_yaml_mapping(r, &scope, node);
    if (e != ERR_OK)
        return e;
    raw.cache.is_redis = is_redis;
    settle_zeros(&raw);
    const char *addresses = is_redis ? raw.endpoint : raw.addresses;
    if (is_redis && strchr(addresses, ',') != NULL)
        return config_fail(
            r, line, "%s.endpoint: several endpoints (Redis Cluster) are not supported yet", label);
    if (!is_redis && addresses[0] == '\0' && raw.host[0] != '\0')
        addresses = config_label(r, "dnssrvnoa+_%s._tcp.%s", raw.service, raw.host);
    e = read_addresses(r, line, label, addresses, &raw.cache.addresses);
    *ret = raw.cache;
    return e;
}

/* --- cache.caches --- */

static const char *const known_roles[] = {"bloom",
                                          "trace-id-index",
                                          "parquet-footer",
                                          "parquet-column-idx",
                                          "parquet-offset-idx",
                                          "parquet-page",
                                          "frontend-search",
                                          NULL};

static bool is_role(const char *role)
{
    for (unsigned i = 0; known_roles[i] != NULL; i++)
        if (strcmp(known_roles[i], role) == 0)
            return true;
    return false;
}

bool config_cache_has_role(const struct config_cache *c, const char *role)
{
    for (unsigned i = 0; i < c->roles.count; i++)
        if (strcmp(c->roles.items[i], role) == 0)
            return true;
    return false;
}

static enum err add_role(struct config_reader *r, uint32_t line, const char *label,
                         const char *role, struct config_cache *c)
{
    bool is_claimed = config_cache_has_role(c, role);

    if (!is_role(role))
        return config_fail(r, line, "%s: role %.80s is not a valid role", label, role);
    for (unsigned i = 0; i < r->config->cache_count; i++)
        is_claimed = is_claimed || config_cache_has_role(&r->config->caches[i], role);
    if (is_claimed)
        return config_fail(r, line, "%s: role %s is claimed by more than one cache", label, role);
    if (strcmp(role, "parquet-offset-idx") == 0)
        config_warn(
            r, line,
            "%s: role %s has no meaning here: where pages lie is told by the footer (parquet-footer)",
            label, role);
    if (strcmp(role, "frontend-search") == 0)
        config_warn(r, line, "%s: role %s has no meaning here: answers of searches are not kept",
                    label, role);
    c->roles.items[c->roles.count++] = role;
    return ERR_OK;
}

static enum err read_roles(struct config_reader *r, yaml_node_t *node, const char *label,
                           struct config_cache *c)
{
    struct arena *a = &r->config->arena;
    uint32_t line = config_yaml_line(node);

    c->roles.items = ARENA_ARRAY(a, const char *, ROLES_MAX);
    c->name = "";
    if (c->roles.items == NULL)
        return arena_err(a);
    if (node->type != YAML_SEQUENCE_NODE)
        return config_fail(r, line, "%s: expected a list", label);
    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top;
         i++) {
        struct slice text;
        enum err e = config_yaml_text(r, yaml_document_get_node(r->doc, *i), label, line, &text);
        const char *role = e == ERR_OK ? arena_str(a, text) : NULL;

        if (e == ERR_OK)
            e = role == NULL ? arena_err(a) : add_role(r, line, label, role, c);
        if (e != ERR_OK)
            return e;
        c->name = config_label(r, "%s%s%s", c->name, c->name[0] != '\0' ? "|" : "", role);
    }
    return c->roles.count == 0
               ? config_fail(r, line, "%s: configured caches require a valid role", label)
               : arena_err(a);
}

/* {roles, memcached} or {roles, redis} */
static enum err read_item(struct config_reader *r, yaml_node_t *node, const char *label,
                          struct config_cache *ret)
{
    yaml_node_t *roles = NULL, *parts[2] = {NULL, NULL};

    if (node->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(node), "%s: expected a section", label);
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(r->doc, p->key);
        yaml_node_t *value = yaml_document_get_node(r->doc, p->value);
        struct slice name;
        enum err e = config_yaml_text(r, key, label, config_yaml_line(key), &name);

        if (e == ERR_OK)
            e = config_yaml_visit(r, value);
        if (e != ERR_OK)
            return e;
        if (slice_eq_str(name, "roles"))
            roles = value;
        else if (slice_eq_str(name, "memcached"))
            parts[0] = config_yaml_is_null(value) ? NULL : value;
        else if (slice_eq_str(name, "redis"))
            parts[1] = config_yaml_is_null(value) ? NULL : value;
        else
            return config_fail(r, config_yaml_line(key),
                               "unknown key %s." SLICE_FMT "; known are roles, memcached and redis",
                               label, (int)(name.len > 40 ? 40 : name.len), (const char *)name.ptr);
    }
    if ((parts[0] == NULL) == (parts[1] == NULL))
        return config_fail(r, config_yaml_line(node), "%s: either memcached or redis", label);
    if (roles == NULL)
        return config_fail(r, config_yaml_line(node), "%s: configured caches require a valid role",
                           label);
    bool is_redis = parts[0] == NULL;
    const char *part = config_label(r, "%s.%s", label, is_redis ? "redis" : "memcached");
    enum err e = read_cache(r, parts[is_redis], part, is_redis, ret);
    return e == ERR_OK ? read_roles(r, roles, config_label(r, "%s.roles", label), ret) : e;
}

/* Caches are few: the array is made once, with room for the older one. */
static enum err make_room(struct config *c)
{
    if (c->caches == NULL)
        c->caches = ARENA_ARRAY(&c->arena, struct config_cache, CACHES_MAX);
    return arena_err(&c->arena);
}

static void enter(struct config_reader *r, uint32_t line, const char *label,
                  const struct config_cache *cache)
{
    if (cache->addresses.count == 0)
        config_warn(r, line, "%s: no address of a server: it is not used", label);
    else
        r->config->caches[r->config->cache_count++] = *cache;
}

enum err config_cache_read(struct config_reader *r, yaml_node_t *node, const char *path, void *base)
{
    struct config *c = base;

    if (node->type != YAML_SEQUENCE_NODE)
        return config_fail(r, config_yaml_line(node), "%s: expected a list", path);
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count > CACHES_MAX - 1)
        return config_fail(r, config_yaml_line(node), "%s: more than %d caches", path,
                           CACHES_MAX - 1);
    enum err e = make_room(c);
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        yaml_node_t *item = yaml_document_get_node(r->doc, node->data.sequence.items.start[i]);
        const char *label = config_label(r, "%s[%zu]", path, i);
        struct config_cache cache = {.is_redis = false};

        e = config_yaml_visit(r, item);
        if (e == ERR_OK)
            e = read_item(r, item, label, &cache);
        if (e == ERR_OK)
            enter(r, config_yaml_line(item), label, &cache);
    }
    return e;
}

/* --- storage.trace.cache --- */

enum err config_cache_read_memcached(struct config_reader *r, yaml_node_t *node, const char *path,
                                     void *base)
{
    return read_cache(r, node, path, false, &((struct config *)base)->old_memcached);
}

enum err config_cache_read_redis(struct config_reader *r, yaml_node_t *node, const char *path,
                                 void *base)
{
    return read_cache(r, node, path, true, &((struct config *)base)->old_redis);
}

/* As in Tempo it keeps bloom and trace-id-index, and what storage.trace.search.cache_control says. */
enum err config_cache_settle(struct config_reader *r, uint32_t line)
{
    static const char key[] = "storage.trace.cache";
    struct config *c = r->config;
    bool is_redis = strcmp(c->old_cache, "redis") == 0;
    struct config_cache cache = is_redis ? c->old_redis : c->old_memcached;
    const char *roles[] = {"bloom", "trace-id-index", c->old_cache_footer ? "parquet-footer" : NULL,
                           c->old_cache_column_index ? "parquet-column-idx" : NULL,
                           c->old_cache_offset_index ? "parquet-offset-idx" : NULL};

    if (c->old_cache[0] == '\0')
        return ERR_OK;
    if (!is_redis && strcmp(c->old_cache, "memcached") != 0)
        return config_fail(r, line, "%s: \"%.40s\" is not memcached or redis", key, c->old_cache);
    enum err e = make_room(c);
    cache.roles.items = ARENA_ARRAY(&c->arena, const char *, ROLES_MAX);
    cache.name = "legacy";
    for (unsigned i = 0; i < 5 && e == ERR_OK && cache.roles.items != NULL; i++)
        if (roles[i] != NULL)
            e = add_role(r, line, key, roles[i], &cache);
    if (e == ERR_OK)
        enter(r, line, key, &cache);
    return e == ERR_OK ? arena_err(&c->arena) : e;
}
