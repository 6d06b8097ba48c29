#include "distributor/tenants.h"

#include "distributor/stats.h"

#include <assert.h>
#include <float.h>

void tenants_init(struct tenants *t, bool is_global, const struct clock *clock)
{
    *t = (struct tenants){.is_global = is_global, .clock = clock};
    mutex_init(&t->lock);
}

void tenants_release(struct tenants *t)
{
    struct tenant *tenant, *next;

    HASH_ITER (hh, t->table, tenant, next) {
        HASH_DEL(t->table, tenant);
        free(tenant);
    }
    mutex_release(&t->lock);
}

static struct tenant *add(struct tenants *t, const char *id)
{
    struct tenant *tenant = calloc(1, sizeof *tenant);

    if (tenant == NULL)
        return NULL;
    assert(strlen(id) <= TENANT_ID_BYTES_MAX);
    memcpy(tenant->id, id, strlen(id) + 1);
    tenant->tokens = DBL_MAX; /* full, whatever the burst is */
    tenant->filled_ns = clock_mono_ns(t->clock);
    stats_tenant(tenant);
    HASH_ADD_KEYPTR(hh, t->table, tenant->id, strlen(tenant->id), tenant);
    if (tenant->hh.tbl == NULL) {
        free(tenant);
        return NULL;
    }
    return tenant;
}

enum err tenants_get(struct tenants *t, const char *id, struct tenant **ret,
                     struct err_detail *reterr_detail)
{
    struct tenant *tenant = NULL;
    enum err e = ERR_OK;

    mutex_lock(&t->lock);
    HASH_FIND(hh, t->table, id, strlen(id), tenant);
    if (tenant == NULL && HASH_COUNT(t->table) >= TENANTS_MAX)
        e = err_detail_set(reterr_detail, ERR_LIMIT, "too many tenants on this distributor (%d)",
                           TENANTS_MAX);
    else if (tenant == NULL && (tenant = add(t, id)) == NULL)
        e = ERR_NOMEM;
    mutex_unlock(&t->lock);
    if (e == ERR_OK)
        *ret = tenant;
    return e;
}

enum err tenants_take(struct tenants *t, struct tenant *tenant, const struct limits *limits,
                      size_t bytes, struct err_detail *reterr_detail)
{
    unsigned long long rate = limits->rate_limit_bytes, burst = limits->burst_size_bytes,
                       global = t->is_global ? rate : 0;
    int64_t now_ns = clock_mono_ns(t->clock);
    bool is_taken = false;

    mutex_lock(&t->lock);
    double tokens =
        tenant->tokens + (double)(now_ns - tenant->filled_ns) / (double)NS_PER_S * (double)rate;
    tenant->tokens = tokens < (double)burst ? tokens : (double)burst;
    tenant->filled_ns = now_ns;
    if (rate > 0 && tenant->tokens >= (double)bytes) {
        tenant->tokens -= (double)bytes;
        is_taken = true;
    }
    mutex_unlock(&t->lock);
    if (is_taken)
        return ERR_OK;
    if (bytes > burst)
        return err_detail_set(
            reterr_detail, ERR_TOO_LARGE,
            "RATE_LIMITED: batch size (%zu bytes) exceeds ingestion limit (local: %llu bytes/s, global: %llu bytes/s, burst: "
            "%llu bytes) while adding %zu bytes for user %s. consider reducing batch size or increasing rate limit.",
            bytes, rate, global, burst, bytes, tenant->id);
    return err_detail_set(
        reterr_detail, ERR_LIMIT,
        "RATE_LIMITED: ingestion rate limit (local: %llu bytes/s, global: %llu bytes/s, burst: %llu bytes) exceeded while "
        "adding %zu bytes for user %s. consider increasing the limit or reducing ingestion rate.",
        rate, global, burst, bytes, tenant->id);
}
