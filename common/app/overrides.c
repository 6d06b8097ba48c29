#include "common/app/overrides.h"

#include "common/app/config_priv.h"
#include "common/app/overrides_priv.h"
#include "common/codec/digest.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <stdlib.h>

enum { SNAPSHOTS = 4, HEX_BYTES = 2 * DIGEST_BYTES + 1 };

/* One reading of the file.  It is filled only while it is not current and nobody holds it. */
struct snapshot {
    atomic_uint holders;
    struct overrides_file file;
};

struct overrides {
    const struct config *config;
    struct snapshot snapshots[SNAPSHOTS];
    atomic_uint current;
    struct mutex lock; /* is_stopping; and one reload at a time */
    pthread_cond_t wake;
    bool is_stopping, is_started;
    pthread_t thread;
    /* Under the lock: of the last reload. */
    uint8_t digest[DIGEST_BYTES];
    bool has_digest;
    char complaint[sizeof((struct err_detail *)0)->text];
    struct metric_cell *is_good, *hash;
};

/* --- lookups ----------------------------------------------------------------------------------- */

/* Whoever counted himself in while the snapshot was current has it: it is not refilled before he leaves. */
static struct snapshot *hold(struct overrides *o)
{
    for (;;) {
        unsigned at = atomic_load(&o->current);
        struct snapshot *s = &o->snapshots[at];

        atomic_fetch_add(&s->holders, 1);
        if (atomic_load(&o->current) == at)
            return s;
        atomic_fetch_sub(&s->holders, 1);
    }
}

struct overrides_file *overrides_file_hold(struct overrides *o, atomic_uint **ret_holders)
{
    struct snapshot *s = hold(o);

    *ret_holders = &s->holders;
    return &s->file;
}

const struct config *overrides_config(const struct overrides *o)
{
    return o->config;
}

void overrides_file_drop(atomic_uint *holders)
{
    unsigned before = atomic_fetch_sub(holders, 1);

    assert(before > 0);
}

struct overrides_hold overrides_get(struct overrides *o, struct slice tenant)
{
    struct snapshot *s = hold(o);
    const struct overrides_tenant *t = overrides_file_find(&s->file, tenant);

    return (struct overrides_hold){t != NULL ? &t->limits : &o->config->limits, &s->holders};
}

void overrides_put(struct overrides_hold *h)
{
    overrides_file_drop(h->holders);
    *h = (struct overrides_hold){0};
}

/* --- metrics ----------------------------------------------------------------------------------- */

/* What Tempo shows of each entry; block_retention is in nanoseconds there too. */
struct shown {
    const char *name;
    double value;
    bool is_always;
};
enum { SHOWN_MAX = 10 };

static unsigned shown_of(const struct limits *l, struct shown ret[SHOWN_MAX])
{
    const struct shown all[] = {
        {"max_local_traces_per_user", (double)l->max_traces_per_user, true},
        {"max_global_traces_per_user", 0, true},
        {"ingestion_rate_limit_bytes", (double)l->rate_limit_bytes, true},
        {"ingestion_burst_size_bytes", (double)l->burst_size_bytes, true},
        {"max_bytes_per_trace", (double)l->max_bytes_per_trace, true},
        {"block_retention", (double)l->block_retention_ns, true},
        {"metrics_generator_max_active_series", (double)l->max_active_series, true},
        {"metrics_generator_dry_run_enabled", 1, l->disable_collection},
    };
    unsigned count = 0;

    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].is_always)
            ret[count++] = all[i];
    return count;
}

static void show_defaults(const struct limits *l)
{
    struct metric_family *f =
        metrics_gauge("tempo_limits_defaults", "limit_name", "Default resource limits");
    struct shown shown[SHOWN_MAX];

    for (unsigned i = shown_of(l, shown); i > 0; i--)
        metric_set(metric_cell1(f, shown[i - 1].name), shown[i - 1].value);
    metric_set(metric_cell1(f, "max_bytes_per_tag_values_query"),
               (double)l->max_bytes_per_tag_values_query);
    metric_set(metric_cell1(f, "max_blocks_per_tag_values_query"), 0);
}

/* Also takes away what was shown of the file before. */
static void show_tenants(const struct overrides_file *f, bool is_there)
{
    struct metric_family *family = metrics_gauge("tempo_limits_overrides", "limit_name,user",
                                                 "Resource limit overrides applied to tenants");
    struct shown shown[SHOWN_MAX];

    for (uint32_t t = 0; t < f->count; t++) {
        for (unsigned i = shown_of(&f->tenants[t].given, shown); i > 0; i--) {
            struct metric_cell *cell = metric_cell(
                family, (struct slice[]){slice_str(shown[i - 1].name), f->tenants[t].name}, 2);

            if (is_there)
                metric_set(cell, shown[i - 1].value);
            else
                metric_cell_drop(family, cell);
        }
    }
}

static void show_hash(struct overrides *o, const uint8_t digest[DIGEST_BYTES])
{
    struct metric_family *f = metrics_gauge("tempo_runtime_config_hash", "config,sha256",
                                            "Hash of the currently active runtime configuration.");
    char hex[HEX_BYTES];

    for (unsigned i = 0; i < DIGEST_BYTES; i++)
        (void)snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
    if (o->hash != NULL)
        metric_cell_drop(f, o->hash);
    o->hash = metric_cell2(f, "overrides", hex);
    metric_set(o->hash, 1);
}

/* --- reading ----------------------------------------------------------------------------------- */

/* A place for the next reading; NULL: the readings before are all held still. */
static struct snapshot *free_snapshot(struct overrides *o)
{
    unsigned current = atomic_load(&o->current);

    for (unsigned i = 0; i < SNAPSHOTS; i++)
        if (i != current && atomic_load(&o->snapshots[i].holders) == 0)
            return &o->snapshots[i];
    return NULL;
}

static void take(struct overrides *o, struct snapshot *next, const uint8_t digest[DIGEST_BYTES])
{
    struct snapshot *before = &o->snapshots[atomic_load(&o->current)];

    for (const struct config_warning *w = next->file.warnings; w != NULL; w = w->next)
        log_warn("overrides", LOG_STR("warning", w->text));
    show_tenants(&before->file, false);
    show_tenants(&next->file, true);
    show_hash(o, digest);
    memcpy(o->digest, digest, DIGEST_BYTES);
    o->has_digest = true;
    atomic_store(&o->current, (unsigned)(next - o->snapshots));
    log_info("overrides_loaded", LOG_STR("file", o->config->override_file),
             LOG_UINT("tenants", next->file.count), LOG_UINT("bytes", next->file.arena.used_bytes));
}

static enum err read_file(struct overrides *o, struct buf *text, struct err_detail *detail)
{
    const char *path = o->config->override_file;
    uint8_t digest[DIGEST_BYTES];

    enum err e = fs_read_file(path, text);
    if (e == ERR_TOO_LARGE)
        return err_detail_set(detail, e, "%s: the file is larger than %d bytes", path,
                              CONFIG_FILE_BYTES_MAX);
    if (e == ERR_OK)
        e = digest_sha256(buf_slice(text), digest);
    if (e != ERR_OK)
        return err_detail_set(detail, e, "%s: %s", path, err_name(e));
    if (o->has_digest && memcmp(digest, o->digest, sizeof digest) == 0)
        return ERR_OK;
    struct snapshot *s = free_snapshot(o);
    if (s == NULL)
        return err_detail_set(detail, ERR_LIMIT, "%s: earlier readings are still in use", path);
    overrides_file_release(&s->file);
    e = overrides_file_parse(o->config, path, buf_slice(text), &s->file, detail);
    if (e == ERR_OK)
        take(o, s, digest);
    return e;
}

/* The same complaint is made once. */
static enum err reload(struct overrides *o, struct err_detail *detail)
{
    struct buf text;

    assert(mutex_is_mine(&o->lock));
    buf_init(&text, CONFIG_FILE_BYTES_MAX);
    enum err e = read_file(o, &text, detail);
    buf_release(&text);
    metric_set(o->is_good, e == ERR_OK);
    if (e == ERR_OK)
        o->complaint[0] = '\0';
    return e;
}

bool overrides_reload(struct overrides *o)
{
    struct err_detail detail = {0};

    mutex_lock(&o->lock);
    enum err e = reload(o, &detail);
    if (e != ERR_OK && strcmp(o->complaint, detail.text) != 0) {
        memcpy(o->complaint, detail.text, sizeof o->complaint);
        log_error("overrides_not_loaded", LOG_STR("reason", detail.text),
                  LOG_STR("kept", "the last good file counts"));
    }
    mutex_unlock(&o->lock);
    return e == ERR_OK;
}

static void run(void *arg)
{
    struct overrides *o = arg;

    mutex_lock(&o->lock);
    while (!o->is_stopping) {
        if (cond_wait(&o->wake, &o->lock, o->config->override_period_ns) || o->is_stopping)
            continue;
        mutex_unlock(&o->lock);
        (void)overrides_reload(o); /* logged, and shown as a metric */
        mutex_lock(&o->lock);
    }
    mutex_unlock(&o->lock);
}

enum err overrides_new(const struct config *c, struct overrides **ret,
                       struct err_detail *reterr_detail)
{
    struct overrides *o = calloc(1, sizeof *o);
    enum err e = ERR_OK;

    if (o == NULL)
        return ERR_NOMEM;
    o->config = c;
    mutex_init(&o->lock);
    cond_init(&o->wake);
    show_defaults(&c->defaults);
    if (c->override_file[0] != '\0') {
        o->is_good = metric_cell1(
            metrics_gauge("tempo_runtime_config_last_reload_successful", "config",
                          "Whether the last runtime-config reload attempt was successful."),
            "overrides");
        mutex_lock(&o->lock);
        e = reload(o, reterr_detail);
        mutex_unlock(&o->lock);
        if (e == ERR_OK)
            e = thread_start(&o->thread, "overrides", run, o);
        o->is_started = e == ERR_OK;
    }
    if (e != ERR_OK) {
        overrides_free(o);
        return e;
    }
    *ret = o;
    return ERR_OK;
}

void overrides_free(struct overrides *o)
{
    if (o == NULL)
        return;
    if (o->is_started) {
        mutex_lock(&o->lock);
        o->is_stopping = true;
        (void)pthread_cond_signal(&o->wake);
        mutex_unlock(&o->lock);
        thread_join(o->thread);
    }
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        assert(atomic_load(&o->snapshots[i].holders) == 0);
        overrides_file_release(&o->snapshots[i].file);
    }
    (void)pthread_cond_destroy(&o->wake);
    mutex_release(&o->lock);
    free(o);
}
