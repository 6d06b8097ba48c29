/*
 * batches.h - (batch id, part) of the last ten minutes: a repeat is answered without counting it again.
 *
 * Limits:  BATCHES_MAX; the oldest go first.
 * Threads: owned by one thread.
 */
#ifndef VIVACE_GENERATOR_BATCHES_H
#define VIVACE_GENERATOR_BATCHES_H

#include "common/base/buf.h"

enum { BATCHES_ID_BYTES = 16, BATCHES_MAX = 1 << 18, BATCHES_SLOTS = BATCHES_MAX * 2 };
#define BATCHES_KEEP_NS (600 * 1000000000LL)

struct batches_entry {
    uint8_t id[BATCHES_ID_BYTES];
    uint32_t part;
    int64_t at_ns;
};

struct batches {
    struct batches_entry *ring; /* [BATCHES_MAX] in order of arrival */
    uint32_t *slots;            /* open addressing: index + 1 */
    uint64_t first, next;       /* running numbers; index = number % BATCHES_MAX */
};

MUST_CHECK enum err batches_init(struct batches *b);
void batches_release(struct batches *b);
bool batches_has(const struct batches *b, const uint8_t id[BATCHES_ID_BYTES], uint32_t part);
void batches_add(struct batches *b, const uint8_t id[BATCHES_ID_BYTES], uint32_t part,
                 int64_t now_ns);
void batches_save(const struct batches *b, struct buf *out);
MUST_CHECK enum err batches_load(struct batches *b, struct slice bytes);

#endif
