/*
 * overrides.h - which limits hold for a tenant, now: overrides.defaults and the file of overrides.per_tenant_override_config, read again every period.
 *
 * File:    `overrides: {tenant: {...}}`, a tenant's mapping in the scoped or the old flat form (overrides.def); at most 4 MiB and 10000 tenants.
 * Lookup:  the tenant's own entry, else that of "*", else overrides.defaults.  An entry replaces the defaults wholesale, as in Tempo: what it does not
 *          name is zero or nothing; for some keys that is "the process's own key counts" (LIMIT_OR of overrides.def).
 * Errors:  at the start a file that can not be read or parsed is one; later the last good one stays, an error is logged and
 *          tempo_runtime_config_last_reload_successful is 0.
 * Memory:  one arena per read of the file, freed when the next one is in place and nobody holds it; SNAPSHOTS of them at most.
 * Threads: any; a lookup takes no lock and never waits.  The thread "overrides" reads the file; there is none without a file.
 */
#ifndef VIVACE_APP_OVERRIDES_H
#define VIVACE_APP_OVERRIDES_H

#include "common/app/config.h"

#include <stdatomic.h>

struct overrides;

/* Borrows the config.  With a file: reads it, and starts the thread.  Errors: ERR_INVALID with file, line and reason, and of fs_read_file. */
MUST_CHECK enum err overrides_new(const struct config *c, struct overrides **ret,
                                  struct err_detail *reterr_detail);
void overrides_free(struct overrides *o); /* nobody holds limits any more; NULL is fine */

/* The limits of a tenant for as long as they are held: a request, a look at a tenant; then they are released. */
struct overrides_hold {
    const struct limits *limits;
    atomic_uint *holders;
};
struct overrides_hold overrides_get(struct overrides *o, struct slice tenant);
void overrides_put(struct overrides_hold *h);

/* What /status/runtime_config, /status/overrides and /status/overrides/{tenant} show (contract.md 1.8). */
void overrides_write_runtime(struct overrides *o, bool is_diff, struct buf *out);
void overrides_write_tenants(struct overrides *o, int64_t now_ns, bool is_json, struct buf *out);
void overrides_write_tenant(struct overrides *o, struct slice tenant, int64_t now_ns, bool is_json,
                            struct buf *out);

/* Reads the file now, as the thread does every period: false if it was not taken. */
bool overrides_reload(struct overrides *o);

#endif
