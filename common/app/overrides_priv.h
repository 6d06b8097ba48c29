/*
 * overrides_priv.h - the overrides file as it was read: shared by overrides.c, overrides_file.c and overrides_status.c.
 */
#ifndef VIVACE_APP_OVERRIDES_PRIV_H
#define VIVACE_APP_OVERRIDES_PRIV_H

#include "common/app/overrides.h"

struct overrides_tenant {
    struct slice name;
    struct limits given;  /* as the file has it */
    struct limits limits; /* what holds */
};

struct overrides_file {
    struct overrides_tenant *tenants; /* ascending by name */
    uint32_t count;
    struct config_warning *warnings;
    struct arena arena;
};

/* --- overrides_file.c --- */
/* `name` stands in messages.  Errors: ERR_INVALID with the detail "name:line: reason"; ERR_NOMEM. */
MUST_CHECK enum err overrides_file_parse(const struct config *c, const char *name,
                                         struct slice yaml, struct overrides_file *ret,
                                         struct err_detail *reterr_detail);
void overrides_file_release(struct overrides_file *f);
/* The entry that counts for a tenant: its own, that of "*", or NULL. */
const struct overrides_tenant *overrides_file_find(const struct overrides_file *f,
                                                   struct slice tenant);

/* --- overrides.c --- */
/* The file that holds now, held until overrides_file_drop; it is empty when there is none. */
struct overrides_file *overrides_file_hold(struct overrides *o, atomic_uint **ret_holders);
void overrides_file_drop(atomic_uint *holders);
const struct config *overrides_config(const struct overrides *o);

#endif
