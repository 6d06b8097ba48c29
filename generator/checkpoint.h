/*
 * checkpoint.h - the generator's state in one file: every counter, histogram and waiting edge as of a WAL frame, and the batch ids seen lately.
 * With the frames after it the state is what it was: counters go on exactly where they were, through any kill.
 *
 * Shape:   generator/README.md ("The checkpoint"), byte by byte.  Replaced as a whole, durably.
 * Threads: owned by the intake thread.
 */
#ifndef VIVACE_GENERATOR_CHECKPOINT_H
#define VIVACE_GENERATOR_CHECKPOINT_H

#include "generator/batches.h"
#include "generator/tenant.h"

MUST_CHECK enum err checkpoint_save(const char *path, uint64_t lsn, struct tenant *tenants,
                                    const struct batches *batches);

/* Makes a tenant by its name, when the checkpoint names it. */
typedef enum err checkpoint_tenant_fn(void *arg, const char *name, struct tenant **ret);
/* Errors: ERR_NOT_FOUND no file; ERR_CORRUPT (nothing was taken over but what came before the damage: start anew). */
MUST_CHECK enum err checkpoint_load(const char *path, uint64_t *ret_lsn,
                                    checkpoint_tenant_fn *tenant, void *arg,
                                    struct batches *batches);

/* One tenant's part of a checkpoint, and taken over by an empty tenant: what has no place there (a processor, other buckets) is left out. */
MUST_CHECK enum err checkpoint_save_tenant(struct tenant *t, struct buf *out);
MUST_CHECK enum err checkpoint_load_tenant(struct tenant *t, struct slice saved);

#endif
