/*
 * arena.h - memory with one lifetime: a request, a batch, a query, a block build.
 *
 * Memory:  bump allocation from chunks drawn from a budget; arena_release frees everything.
 *          Chunks never move, so pointers stay good until release or reset.
 * Errors:  sticky: after the first failure every allocation gives NULL and arena_err tells it
 *          (ERR_LIMIT over the budget, ERR_NOMEM); a copy routine checks once at its end.
 * Threads: one owner.
 */
#ifndef VIVACE_BASE_ARENA_H
#define VIVACE_BASE_ARENA_H

#include "common/base/budget.h"
#include "common/base/err.h"
#include "common/base/slice.h"

#include <stddef.h>
#include <stdint.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    uint8_t *at, *end;
    struct budget *budget; /* may be NULL */
    size_t used_bytes;     /* of all chunks */
    enum err err;
};

void arena_init(struct arena *a, struct budget *budget);
void arena_release(struct arena *a); /* twice is safe */
void arena_reset(struct arena *a);   /* forget everything; keeps the newest chunk */

/* 16-byte aligned, not zeroed; a size of 0 gives a valid unique pointer. */
void *arena_alloc(struct arena *a, size_t bytes);
void *arena_calloc(struct arena *a, size_t count, size_t bytes); /* zeroed; overflow is ERR_LIMIT */
struct slice arena_dup(struct arena *a, struct slice s);
char *arena_str(struct arena *a, struct slice s); /* NUL-terminated copy */
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, type)          ((type *)arena_calloc((a), 1, sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_calloc((a), (count), sizeof(type)))

static inline enum err arena_err(const struct arena *a)
{
    return a->err;
}

#endif
