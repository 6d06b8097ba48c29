/* The limits of one tenant: their rows, what is checked, and what counts where they leave something open. */
#include "common/app/config_priv.h"

#include <assert.h>

#define LIMIT_ROW(key_, type_, field, def_, min_, max_, help_)                       \
    .key = key_, .type = CONFIG_T_##type_, .offset = offsetof(struct limits, field), \
    .words = CONFIG_W_##type_, .def = def_, .min = min_, .max = max_, .help = help_
#define LIMIT(key, type, field, def, min, max, help) \
    {LIMIT_ROW(key, type, field, def, min, max, help)},
#define LIMIT_OR(key, type, field, def, base_, min, max, help)           \
    {LIMIT_ROW(key, type, field, def, min, max, help), .has_base = true, \
     .base = offsetof(struct config, base_)},
#define LIMIT_WHOLE(key)              CONFIG_ROW_PLAIN(key, CONFIG_LATER, "")
#define LIMIT_IGNORED(key)            CONFIG_ROW_PLAIN(key, CONFIG_IGNORED, "")
#define LIMIT_LATER(key)              CONFIG_ROW_PLAIN(key, CONFIG_LATER, "")
#define LIMIT_UNSUPPORTED(key, words) CONFIG_ROW_PLAIN(key, CONFIG_UNSUPPORTED, words)
static const struct config_row limits_rows[] = {
#include "common/app/overrides.def"
};

#define FLAT(flat, key) {flat, key, CONFIG_ALIAS},
static const struct config_alias limits_aliases[] = {
#include "common/app/overrides.def"
};

/* What a field takes from struct config has the field's type. */
#define LIMIT_OR(key, type, field, def, base, min, max, help)                            \
    _Static_assert(__builtin_types_compatible_p(__typeof__(((struct limits *)0)->field), \
                                                __typeof__(((struct config *)0)->base)), \
                   key);
#include "common/app/overrides.def"

enum {
    ROWS = sizeof limits_rows / sizeof limits_rows[0],
    ALIASES = sizeof limits_aliases / sizeof limits_aliases[0]
};
_Static_assert((int)ROWS <= (int)CONFIG_LIMITS_ROWS_MAX, "rows of a tenant");
const struct config_spec config_limits_spec = {
    .rows = limits_rows, .row_count = ROWS, .aliases = limits_aliases, .alias_count = ALIASES};

void config_limits_init(struct limits *l)
{
    *l = (struct limits){0};
    for (unsigned i = 0; i < ROWS; i++)
        if (limits_rows[i].type == CONFIG_STRING || limits_rows[i].type == CONFIG_ENUM)
            *(const char **)((uint8_t *)l + limits_rows[i].offset) = "";
}

static uint32_t line_of(const struct config_seen *seen, const char *key)
{
    const struct config_row *row = config_keys_find(&config_limits_spec, key);

    assert(row != NULL);
    return seen[row - limits_rows].line;
}

static bool is_one_of(const char *s, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(s, *words) == 0)
            return true;
    return false;
}

/* The names that mean something here. */
static enum err settle_processors(struct config_reader *r, uint32_t line, struct config_list *list)
{
    static const char *const known[] = {"service-graphs",       "span-metrics",
                                        "span-metrics-latency", "span-metrics-count",
                                        "span-metrics-size",    NULL};
    struct config_list kept = {.items = ARENA_ARRAY(r->arena, const char *, list->count)};

    for (unsigned i = 0; kept.items != NULL && i < list->count; i++) {
        const char *name = list->items[i];

        if (strcmp(name, "local-blocks") == 0) {
            config_warn(
                r, line,
                "processor local-blocks has no meaning here and is ignored; the ingester answers for recent data");
            continue;
        }
        if (strcmp(name, "host-info") == 0)
            return config_fail(r, line,
                               "metrics_generator.processor host-info is not supported yet");
        if (!is_one_of(name, known))
            return config_fail(
                r, line,
                "metrics_generator.processor \"%.60s\" is not a known processor, valid values: [service-graphs span-metrics "
                "span-metrics-latency span-metrics-count span-metrics-size]",
                name);
        kept.items[kept.count++] = name;
    }
    *list = kept;
    return arena_err(r->arena);
}

static enum err check_label(struct config_reader *r, uint32_t line, const char *label)
{
    for (const char *at = label; *at != '\0'; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_' ||
              (*at >= '0' && *at <= '9' && at > label)))
            return config_fail(r, line,
                               "trace_id_label_name \"%.80s\" is not a valid Prometheus label name",
                               label);
    return ERR_OK;
}

enum err config_limits_settle(struct config_reader *r, const struct config_seen *seen,
                              const struct config *c, const struct limits *given,
                              struct limits *ret)
{
    *ret = *given;
    for (unsigned i = 0; i < ROWS; i++) {
        const struct config_row *row = &limits_rows[i];

        if (!row->has_base)
            continue;
        bool is_open = row->type == CONFIG_BOOL || row->type == CONFIG_LIST
                           ? !seen[i].is_set
                           : config_value_is_zero(row, given);
        if (is_open)
            config_value_copy(row, (const uint8_t *)c + row->base, (uint8_t *)ret + row->offset,
                              NULL);
    }
    enum err e =
        settle_processors(r, line_of(seen, "metrics_generator.processors"), &ret->processors);
    if (e == ERR_OK)
        e = check_label(r, line_of(seen, "metrics_generator.trace_id_label_name"),
                        ret->trace_id_label_name);
    if (e == ERR_OK && ret->trace_id_label_name[0] == '\0')
        ret->trace_id_label_name = "traceID";
    return e;
}

bool config_limits_equal_generator(const struct limits *a, const struct limits *b)
{
    for (unsigned i = 0; i < ROWS; i++) {
        const struct config_row *row = &limits_rows[i];

        if (row->type < CONFIG_PART &&
            strncmp(row->key, "metrics_generator.", strlen("metrics_generator.")) == 0 &&
            !config_value_equals(row, a, b))
            return false;
    }
    return true;
}

void config_limits_copy(const struct limits *from, struct arena *a, struct limits *ret)
{
    for (unsigned i = 0; i < ROWS; i++) {
        const struct config_row *row = &limits_rows[i];

        if (row->type < CONFIG_PART)
            config_value_copy(row, (const uint8_t *)from + row->offset,
                              (uint8_t *)ret + row->offset, a);
    }
}
