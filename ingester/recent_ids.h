/*
 * recent_ids.h - traces that were cut into a block not long ago: spans that still come for them make fragments.
 *
 * Shape:   two open-addressing tables of 32-bit hashes of (tenant, trace id), as wide as what is in them needs; when the newer is full the older is
 *          forgotten.  A collision (one id in 4,000 for each million remembered) flags a trace without need, which costs a look-up and changes no answer.
 * Threads: one owner.
 */
#ifndef VIVACE_INGESTER_RECENT_IDS_H
#define VIVACE_INGESTER_RECENT_IDS_H

#include "common/base/trace_id.h"

struct recent_ids;
/* Remembers at least the last ids_min ids. */
MUST_CHECK enum err recent_ids_new(size_t ids_min, struct recent_ids **ret);
void recent_ids_free(struct recent_ids *r);
size_t recent_ids_min(const struct recent_ids *r);
void recent_ids_add(struct recent_ids *r, struct slice tenant, struct trace_id id);
bool recent_ids_has(const struct recent_ids *r, struct slice tenant, struct trace_id id);

#endif
