/*
 * recall.h - traces that were cut into blocks not long before the start: spans that still come for them make fragments, as without a restart.
 *
 * Shape:   at the start the own blocks of the last hour are noted; the replay thread reads the ids of their traces before the log, the apply thread
 *          remembers them and flags what it has of them by then.  As many as are remembered anyway, the newest.
 * Source:  design 2a.4: a parent that never came within the hour is settled as missing.
 */
#ifndef VIVACE_INGESTER_RECALL_H
#define VIVACE_INGESTER_RECALL_H

#include "ingester/core_priv.h"

MUST_CHECK enum err recall_note(struct core *c, const struct tenant *t,
                                const struct block_meta *meta); /* start: a block of our own */
void recall_run(struct core *c);                                /* replay thread */
void recall_apply(struct core *c, const struct push *p);        /* apply thread */

#endif
