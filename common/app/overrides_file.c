/* The overrides file: a mapping of tenants to limits, read by the table of overrides.def. */
#include "common/app/app.h"
#include "common/app/config_priv.h"
#include "common/app/overrides_priv.h"

#include <assert.h>
#include <stdlib.h>

struct file_reader {
    const struct config *config;
    struct overrides_file file;
    uint32_t max;
};

/* An entry replaces the defaults wholesale, and a rate of nothing lets nothing through: who left it out by mistake should read so. */
static void warn_of_closed(struct config_reader *r, uint32_t line, const char *label,
                           const struct limits *l)
{
    if (l->rate_limit_bytes == 0 || l->burst_size_bytes == 0)
        config_warn(
            r, line,
            "%singestion.%s is 0 or not given: nothing is let through, as an entry replaces the defaults wholesale",
            label, l->rate_limit_bytes == 0 ? "rate_limit_bytes" : "burst_size_bytes");
}

static enum err read_tenant(struct config_reader *r, void *arg, const yaml_node_t *key,
                            yaml_node_t *value)
{
    struct file_reader *fr = arg;
    struct config_seen seen[CONFIG_LIMITS_ROWS_MAX] = {0};
    struct overrides_tenant *t = &fr->file.tenants[fr->file.count];
    uint32_t line = config_yaml_line(key);
    struct err_detail why = {0};
    struct slice name;

    enum err e = config_yaml_visit(r, value);
    if (e == ERR_OK)
        e = config_yaml_text(r, key, "overrides", line, &name);
    if (e != ERR_OK || config_yaml_is_null(value)) /* as in Tempo: no entry */
        return e;
    assert(fr->file.count < fr->max);
    const char *label = config_label(r, "overrides." SLICE_FMT ".",
                                     SLICE_ARG(slice_sub(name, 0, CONFIG_KEY_BYTES_MAX)));
    struct config_scope scope = {
        .spec = &config_limits_spec, .base = &t->given, .seen = seen, .label = label};
    config_limits_init(&t->given);
    t->name = arena_dup(r->arena, name);
    if (app_tenant_check(name, &why) != ERR_OK)
        config_warn(r, line, "%s no tenant has this name: %s", label, why.text);
    e = config_yaml_mapping(r, &scope, value);
    if (e == ERR_OK)
        e = config_limits_settle(r, seen, fr->config, &t->given, &t->limits);
    if (e == ERR_OK)
        warn_of_closed(r, line, label, &t->given);
    fr->file.count++;
    return e != ERR_OK ? e : arena_err(r->arena);
}

/* Pairs that `<<` brings in count too. */
static enum err count_tenant(struct config_reader *r, void *arg, const yaml_node_t *key,
                             yaml_node_t *value)
{
    struct file_reader *fr = arg;
    (void)value;

    if (fr->max == CONFIG_PAIRS_MAX)
        return config_fail(r, config_yaml_line(key), "more than %d tenants", CONFIG_PAIRS_MAX);
    fr->max++;
    return ERR_OK;
}

static enum err read_tenants(struct config_reader *r, yaml_node_t *node, const char *path,
                             void *base)
{
    struct file_reader *fr = base;

    if (node->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(node), "%s: expected a section of tenants", path);
    enum err e = config_yaml_each(r, node, count_tenant, fr);
    if (e != ERR_OK)
        return e;
    fr->file.tenants = ARENA_ARRAY(r->arena, struct overrides_tenant, fr->max);
    return fr->file.tenants == NULL ? arena_err(r->arena)
                                    : config_yaml_each(r, node, read_tenant, fr);
}

static const struct config_row file_rows[] = {{.key = "overrides",
                                               .type = CONFIG_PART,
                                               .part = read_tenants,
                                               .words = "",
                                               .def = "",
                                               .min = "",
                                               .max = "",
                                               .help = ""}};
static const struct config_spec file_spec = {.rows = file_rows, .row_count = 1};

static int compare_tenants(const void *a, const void *b)
{
    const struct overrides_tenant *x = a, *y = b;

    return slice_cmp(x->name, y->name);
}

enum err overrides_file_parse(const struct config *c, const char *name, struct slice yaml,
                              struct overrides_file *ret, struct err_detail *reterr_detail)
{
    struct file_reader fr = {.config = c};
    struct overrides_file *f = &fr.file;
    struct config_seen seen[1] = {0};
    struct config_scope scope = {.spec = &file_spec, .base = &fr, .seen = seen, .label = ""};
    struct config_reader r = {.name = name,
                              .arena = &f->arena,
                              .detail = reterr_detail,
                              .warning_tail = &f->warnings,
                              .seen = seen};
    enum err e = ERR_OK;
    struct buf expanded;

    arena_init(&f->arena, NULL);
    buf_init(&expanded, CONFIG_EXPANDED_BYTES_MAX);
    if (yaml.len > CONFIG_FILE_BYTES_MAX)
        e = config_fail(&r, 1, "the file is larger than %d bytes", CONFIG_FILE_BYTES_MAX);
    if (e == ERR_OK && c->expand_env) {
        e = config_env_expand(&r, yaml, &expanded);
        yaml = buf_slice(&expanded);
    }
    if (e == ERR_OK)
        e = config_yaml_read(&r, &scope, yaml);
    if (e == ERR_OK)
        e = arena_err(&f->arena);
    buf_release(&expanded);
    if (e != ERR_OK) {
        if (e != ERR_INVALID)
            (void)err_detail_set(reterr_detail, e, "%s: %s", name, err_name(e));
        arena_release(&f->arena);
        return e;
    }
    if (f->count > 1)
        qsort(f->tenants, f->count, sizeof *f->tenants, compare_tenants);
    *ret = *f;
    return ERR_OK;
}

void overrides_file_release(struct overrides_file *f)
{
    arena_release(&f->arena);
    *f = (struct overrides_file){0};
}

static const struct overrides_tenant *find(const struct overrides_file *f, struct slice name)
{
    uint32_t lo = 0, hi = f->count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int order = slice_cmp(f->tenants[mid].name, name);

        if (order == 0)
            return &f->tenants[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct overrides_tenant *overrides_file_find(const struct overrides_file *f,
                                                   struct slice tenant)
{
    const struct overrides_tenant *own = find(f, tenant);

    return own != NULL ? own : find(f, SLICE_LIT("*"));
}
