/*
 * batch_table.h - which (batch id, part) came in during the last ten minutes, so that a repeat is answered without storing it again.
 *
 * Shape:   a ring of entries, oldest out first, with hash chains over it.  Bounded: when it is full the oldest goes, whatever its age.
 * Threads: any.
 * Source:  design 2a.1.
 */
#ifndef VIVACE_INGESTER_BATCH_TABLE_H
#define VIVACE_INGESTER_BATCH_TABLE_H

#include "common/base/err.h"

#include <stddef.h>

#define BATCH_TABLE_KEEP_NS (600LL * 1000 * 1000 * 1000)

struct batch_table;
MUST_CHECK enum err batch_table_new(size_t entries_max, struct batch_table **ret);
void batch_table_free(struct batch_table *t);
/* True when it is new (and noted now); false: it was here. */
bool batch_table_add(struct batch_table *t, const uint8_t batch_id[16], uint32_t part,
                     int64_t now_ns);
void batch_table_remove(struct batch_table *t, const uint8_t batch_id[16], uint32_t part);
bool batch_table_has(struct batch_table *t, const uint8_t batch_id[16], uint32_t part,
                     int64_t now_ns);

#endif
