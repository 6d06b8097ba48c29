#include "common/app/config.h"

#include "common/app/config_priv.h"
#include "common/base/num.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <stdarg.h>

#define ALIAS(from, to)
#define FLAG(from, to)
static const struct config_row main_rows[] = {
#define X(key_, type_, field, def_, min_, max_, reload_, help_) \
    {.key = key_,                                               \
     .type = CONFIG_T_##type_,                                  \
     .reload = reload_,                                         \
     .offset = offsetof(struct config, field),                  \
     .words = CONFIG_W_##type_,                                 \
     .def = def_,                                               \
     .min = min_,                                               \
     .max = max_,                                               \
     .help = help_},
#include "common/app/config.def"
#undef X
    {.key = "distributor.receivers",
     .type = CONFIG_PART,
     .part = config_parts_receivers,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help =
         "otlp: {protocols: {grpc: {...}, http: {...}}}; none at all: OTLP/gRPC on localhost:4317."},
    {.key = "metrics_generator.registry.external_labels",
     .type = CONFIG_PART,
     .part = config_parts_external_labels,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help = "Labels added to every series: {name: value}."},
    {.key = "storage.trace.s3.metadata",
     .type = CONFIG_PART,
     .part = config_parts_s3_metadata,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help = "Metadata of every object: {name: value}."},
    {.key = "storage.trace.s3.tags",
     .type = CONFIG_PART,
     .part = config_parts_s3_tags,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help = "Tags of every object: {name: value}."},
    {.key = "storage.trace.gcs.object_metadata",
     .type = CONFIG_PART,
     .part = config_parts_gcs_metadata,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help = "Metadata of every object: {name: value}."},
    {.key = "metrics_generator.storage.remote_write",
     .type = CONFIG_PART,
     .part = config_remote_read,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help = "List of targets, as Prometheus' remote_write."},
    {.key = "cache.caches",
     .type = CONFIG_PART,
     .part = config_cache_read,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help =
         "List of {roles: [...], memcached: {...}} or {roles: [...], redis: {...}}: what processes share of blocks in an object store; see below."},
    {.key = "storage.trace.memcached",
     .type = CONFIG_PART,
     .part = config_cache_read_memcached,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help = "The servers of storage.trace.cache; keys as those of cache.caches[].memcached."},
    {.key = "storage.trace.redis",
     .type = CONFIG_PART,
     .part = config_cache_read_redis,
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help = "The same for redis."},
#define LIMIT(key_, type_, field, def_, min_, max_, help_) \
    {.key = "overrides.defaults." key_,                    \
     .type = CONFIG_T_##type_,                             \
     .offset = offsetof(struct config, defaults.field),    \
     .words = CONFIG_W_##type_,                            \
     .def = def_,                                          \
     .min = min_,                                          \
     .max = max_,                                          \
     .help = help_},
#define LIMIT_OR(key, type, field, def, base, min, max, help) \
    LIMIT(key, type, field, def, min, max, help)
#define LIMIT_IGNORED(key)            IGNORED("overrides.defaults." key)
#define LIMIT_LATER(key)              LATER("overrides.defaults." key)
#define LIMIT_UNSUPPORTED(key, words) UNSUPPORTED("overrides.defaults." key, words)
#define IGNORED(key)                  CONFIG_ROW_PLAIN(key, CONFIG_IGNORED, "")
#define LATER(key)                    CONFIG_ROW_PLAIN(key, CONFIG_LATER, "")
#define UNSUPPORTED(key, words)       CONFIG_ROW_PLAIN(key, CONFIG_UNSUPPORTED, words)
#include "common/app/config_ignored.def"
#include "common/app/overrides.def"
#undef IGNORED
#undef LATER
#undef UNSUPPORTED
};
#undef ALIAS
#undef FLAG

#define IGNORED(key)
#define LATER(key)
#define UNSUPPORTED(key, words)
#define ALIAS(from, to) {from, to, CONFIG_ALIAS},
#define FLAG(from, to)  {from, to, CONFIG_ALIAS_FLAG},
#define FLAT(flat, key) ALIAS("overrides." flat, "overrides.defaults." key)
static const struct config_alias main_aliases[] = {
#include "common/app/config_ignored.def"
#include "common/app/overrides.def"
};
#undef IGNORED
#undef LATER
#undef UNSUPPORTED
#undef ALIAS
#undef FLAG

enum {
    MAIN_ROWS = sizeof main_rows / sizeof main_rows[0],
    MAIN_ALIASES = sizeof main_aliases / sizeof main_aliases[0]
};
const struct config_spec config_main_spec = {.rows = main_rows,
                                             .row_count = MAIN_ROWS,
                                             .aliases = main_aliases,
                                             .alias_count = MAIN_ALIASES};

static const int64_t RETENTION_DEFAULT_NS = 336LL * 3600 * 1000000000LL;

enum err config_fail(struct config_reader *r, uint32_t line, const char *format, ...)
{
    char text[sizeof r->detail->text];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (line > 0)
        (void)err_detail_set(r->detail, ERR_INVALID, "%s:%u: %s", r->name, line, text);
    else
        (void)err_detail_set(r->detail, ERR_INVALID, "%s", text);
    if (r->detail != NULL)
        r->detail->line = line;
    return ERR_INVALID;
}

void config_warn(struct config_reader *r, uint32_t line, const char *format, ...)
{
    struct arena *a = r->arena;
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct config_warning *w = ARENA_NEW(a, struct config_warning);
    char *copy =
        line > 0 ? arena_printf(a, "%s:%u: %s", r->name, line, text) : arena_printf(a, "%s", text);
    if (w == NULL || copy == NULL)
        return; /* sticky: the reader sees arena_err at its end */
    w->text = copy;
    *r->warning_tail = w;
    r->warning_tail = &w->next;
}

/* "server.http-listen-port" -> "server.http_listen_port"; false: too long for any key. */
static bool flag_path(const char *name, char ret[CONFIG_PATH_BYTES_MAX])
{
    size_t len = strlen(name);

    if (len >= CONFIG_PATH_BYTES_MAX)
        return false;
    for (size_t i = 0; i <= len; i++)
        ret[i] = name[i] == '-' ? '_' : name[i];
    return true;
}

/* The row of a flag: its own, or that of the section it is in when the whole section is not read (-memberlist.bind-port). */
static const struct config_row *flag_row(char path[CONFIG_PATH_BYTES_MAX])
{
    const struct config_row *row =
        config_keys_find(&config_main_spec, config_keys_resolve(&config_main_spec, path, true));
    char parent[CONFIG_PATH_BYTES_MAX];
    (void)snprintf(parent, sizeof parent, "%s", path);
    for (char *dot = strrchr(parent, '.'); row == NULL && dot != NULL; dot = strrchr(parent, '.')) {
        *dot = '\0';
        const struct config_row *section = config_keys_find(&config_main_spec, parent);
        if (section != NULL && section->type > CONFIG_PART)
            row = section;
    }
    return row;
}

bool config_flag_is_bool(const char *name)
{
    char path[CONFIG_PATH_BYTES_MAX];

    if (!flag_path(name, path))
        return false;
    const struct config_row *row = flag_row(path);
    return row != NULL && row->type == CONFIG_BOOL;
}

static enum err unknown_flag(struct config_reader *r, const char *name, const char *path)
{
    char near[CONFIG_PATH_BYTES_MAX];

    config_keys_nearest(&config_main_spec, path, true, near);
    for (char *at = near; *at != '\0'; at++)
        if (*at == '_')
            *at = '-';
    return near[0] == '\0'
               ? config_fail(r, 0, "unknown flag -%.200s", name)
               : config_fail(r, 0, "unknown flag -%.200s; did you mean -%s?", name, near);
}

static enum err read_flag(struct config_reader *r, const struct config_flag *flag)
{
    char path[CONFIG_PATH_BYTES_MAX], label[CONFIG_PATH_BYTES_MAX + 1];
    struct slice item = slice_str(flag->value);
    struct config_value v = {.items = &item, .count = 1, .label = label};

    if (!flag_path(flag->name, path))
        return config_fail(r, 0, "unknown flag -%.80s...", flag->name);
    (void)snprintf(label, sizeof label, "-%s", flag->name);
    const struct config_row *row = flag_row(path);
    if (row == NULL)
        return unknown_flag(r, flag->name, path);
    switch (row->type) {
    case CONFIG_IGNORED:
        config_warn(r, 0, "%s has no meaning here and is ignored", label);
        return ERR_OK;
    case CONFIG_LATER:
        config_warn(r, 0, "%s is not supported yet and is ignored", label);
        return ERR_OK;
    case CONFIG_UNSUPPORTED: return config_fail(r, 0, "%s is not supported yet", label);
    case CONFIG_PART: return config_fail(r, 0, "%s can be set only in the file", label);
    case CONFIG_BOOL:
    case CONFIG_INT:
    case CONFIG_DOUBLE:
    case CONFIG_STRING:
    case CONFIG_SECRET:
    case CONFIG_DURATION:
    case CONFIG_BYTES:
    case CONFIG_ENUM:
    case CONFIG_LIST:
    case CONFIG_DOUBLES: break;
    }
    enum err e = config_value_set(r, row, r->config, &v);
    if (e == ERR_OK)
        r->seen[row - main_rows] = (struct config_seen){.is_set = true};
    return e;
}

static struct config_seen *seen_of(struct config_reader *r, const char *key)
{
    const struct config_row *row = config_keys_find(&config_main_spec, key);

    assert(row != NULL);
    return &r->seen[row - main_rows];
}

/* The compactor's key wins over the block's; none set: Tempo's two weeks.  0 keeps for ever. */
static void settle_retention(struct config_reader *r)
{
    struct config *c = r->config;
    struct config_seen *block = seen_of(r, "storage.trace.block.retention");
    struct config_seen *compaction = seen_of(r, "compactor.compaction.block_retention");

    c->retention_ns = RETENTION_DEFAULT_NS;
    if (block->is_set)
        c->retention_ns = c->block_retention_ns;
    if (compaction->is_set)
        c->retention_ns = c->compaction_block_retention_ns;
    if (block->is_set && compaction->is_set &&
        c->block_retention_ns != c->compaction_block_retention_ns)
        config_warn(
            r, block->line,
            "storage.trace.block.retention differs from compactor.compaction.block_retention; the compactor's counts");
}

/* Tempo's "0: no limit" as a number that works like one. */
static void settle_limits(struct config *c)
{
    if (c->search_max_limit == 0)
        c->search_max_limit = UINT32_MAX;
    if (c->override_collection_interval_ns > 0)
        c->collection_interval_ns = c->override_collection_interval_ns;
}

/* overrides.defaults: its rows as those of any tenant's limits. */
static enum err settle_defaults(struct config_reader *r)
{
    struct config_seen seen[CONFIG_LIMITS_ROWS_MAX] = {0};

    for (unsigned i = 0; i < config_limits_spec.row_count; i++) {
        char key[CONFIG_PATH_BYTES_MAX];

        (void)snprintf(key, sizeof key, "overrides.defaults.%s", config_limits_spec.rows[i].key);
        seen[i] = *seen_of(r, key);
    }
    return config_limits_settle(r, seen, r->config, &r->config->defaults, &r->config->limits);
}

static enum err settle_names(struct config_reader *r)
{
    const struct config *c = r->config;
    size_t len = strlen(c->http_api_prefix);
    if (len > 0 && (c->http_api_prefix[0] != '/' || c->http_api_prefix[len - 1] == '/'))
        return config_fail(r, seen_of(r, "http_api_prefix")->line,
                           "http_api_prefix must begin with / and not end with it");
    if (c->instance_id[0] != '\0' && strlen(c->instance_id) > 63)
        return config_fail(r, seen_of(r, "instance_id")->line,
                           "instance_id is longer than 63 bytes");
    return ERR_OK;
}

static enum err read_all(struct config_reader *r, struct slice yaml, bool expand_env,
                         const struct config_flag *flags, unsigned flag_count)
{
    struct config_scope scope = {
        .spec = &config_main_spec, .base = r->config, .seen = r->seen, .label = ""};
    struct buf expanded;
    enum err e = config_value_defaults(r, &config_main_spec, r->config);

    if (e == ERR_OK && yaml.len > CONFIG_FILE_BYTES_MAX)
        e = config_fail(r, 1, "the file is larger than %d bytes", (int)CONFIG_FILE_BYTES_MAX);
    buf_init(&expanded, CONFIG_EXPANDED_BYTES_MAX);
    if (e == ERR_OK && expand_env) {
        e = config_env_expand(r, yaml, &expanded);
        yaml = buf_slice(&expanded);
    }
    if (e == ERR_OK)
        e = config_yaml_read(r, &scope, yaml);
    buf_release(&expanded);
    for (unsigned i = 0; i < flag_count && e == ERR_OK; i++)
        e = read_flag(r, &flags[i]);
    if (e == ERR_OK && !r->has_receivers)
        e = config_parts_default_receivers(r);
    if (e == ERR_OK)
        e = settle_names(r);
    if (e == ERR_OK)
        e = config_cache_settle(r, seen_of(r, "storage.trace.cache")->line);
    if (e == ERR_OK) {
        settle_limits(r->config);
        settle_retention(r);
        e = settle_defaults(r);
    }
    r->config->expand_env = expand_env;
    return e != ERR_OK ? e : arena_err(r->arena);
}

enum err config_parse(const char *name, struct slice yaml, bool expand_env,
                      const struct config_flag *flags, unsigned flag_count, struct config *ret,
                      struct config_warning **ret_warnings, struct err_detail *reterr_detail)
{
    struct config_warning *warnings = NULL;
    struct config_seen seen[MAIN_ROWS] = {0};
    struct config c = {0};
    struct config_reader r = {.name = name,
                              .config = &c,
                              .arena = &c.arena,
                              .detail = reterr_detail,
                              .warning_tail = &warnings,
                              .seen = seen};

    assert(name != NULL);
    assert(flag_count == 0 || flags != NULL);
    arena_init(&c.arena, NULL);
    enum err e = read_all(&r, yaml, expand_env, flags, flag_count);
    if (e != ERR_OK) {
        if (e != ERR_INVALID)
            (void)err_detail_set(reterr_detail, e, "%s: %s", name, err_name(e));
        arena_release(&c.arena);
        return e;
    }
    *ret = c;
    *ret_warnings = warnings;
    return ERR_OK;
}

enum err config_load(const char *file, bool expand_env, const struct config_flag *flags,
                     unsigned flag_count, struct config *ret, struct config_warning **ret_warnings,
                     struct err_detail *reterr_detail)
{
    struct buf text;
    enum err e = ERR_OK;

    buf_init(&text, CONFIG_FILE_BYTES_MAX + 1);
    if (file != NULL)
        e = fs_read_file(file, &text);
    if (e != ERR_OK)
        (void)err_detail_set(reterr_detail, e, "can not read the configuration file %s: %s", file,
                             e == ERR_TOO_LARGE ? "too large" : err_name(e));
    else
        e = config_parse(file != NULL ? file : "defaults", buf_slice(&text), expand_env, flags,
                         flag_count, ret, ret_warnings, reterr_detail);
    buf_release(&text);
    return e;
}

void config_release(struct config *c)
{
    arena_release(&c->arena);
}
