/*
 * trial.h - a frame of the log that ends the process must not end it at every start.
 *
 * Shape:   before a frame is replayed its number is noted in <wal>/trial, where it outlives the process (not the machine, which no frame ends).  The
 *          next start tries the noted frame on a copy of the process first.  If the copy dies of it that was its second try, and the frame goes to
 *          quarantine/, and is passed by from then on; so does one that ended TRIAL_DEATHS_MAX processes although copies lived.  A kill costs one such
 *          try, nothing else.
 * Threads: trial_begin and trial_end: the apply thread; the rest: the replay thread.
 */
#ifndef VIVACE_INGESTER_TRIAL_H
#define VIVACE_INGESTER_TRIAL_H

#include "common/store/wal.h"

#include <stdatomic.h>

enum { TRIAL_DEATHS_MAX = 5 };

struct trial;
MUST_CHECK enum err trial_open(const char *wal_dir, struct trial **ret); /* reads the note */
void trial_close(struct trial *t);
void trial_begin(struct trial *t, uint64_t lsn);
void trial_end(struct trial *t); /* nothing is replayed any more */

/* Is the frame in quarantine/ already? */
bool trial_is_aside(const struct trial *t, uint64_t lsn);
/* Is it the frame that the last process died of? */
bool trial_is_suspect(const struct trial *t, uint64_t lsn);
/* Does `run` on a copy of the process.  ERR_OK it came back, whatever it said; ERR_CORRUPT the copy died, or too many processes did; ERR_CANCELED
 * is_stopping was set; ERR_NOMEM no copy can be made. */
MUST_CHECK enum err trial_copy(const struct trial *t, void (*run)(void *arg), void *arg,
                               const atomic_bool *is_stopping);

#endif
