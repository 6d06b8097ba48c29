/*
 * fake_memcached.h - a memcached of a few values on a port of its own, that can be told to be wrong.
 */
#ifndef VIVACE_TESTS_LIB_FAKE_MEMCACHED_H
#define VIVACE_TESTS_LIB_FAKE_MEMCACHED_H

#include <stdatomic.h>
#include <stdint.h>

enum fake_mood {
    FAKE_GOOD,
    FAKE_SILENT,  /* takes requests, never answers */
    FAKE_DRIPS,   /* a byte in ten milliseconds */
    FAKE_FLIPS,   /* one bit of each value is another */
    FAKE_MIXES,   /* the value of another key under the key that was asked for */
    FAKE_LONGER,  /* says that values are huge */
    FAKE_BABBLES, /* what is no protocol at all */
    FAKE_CLOSES   /* closes the connection instead of an answer */
};

struct fake_memcached;
struct fake_memcached *fake_memcached_new(void); /* asserts */
void fake_memcached_free(struct fake_memcached *f);
const char *fake_memcached_address(const struct fake_memcached *f);
void fake_memcached_set_mood(struct fake_memcached *f, enum fake_mood mood);
void fake_memcached_cut(struct fake_memcached *f); /* closes all connections, as a restart does */
unsigned fake_memcached_gets(const struct fake_memcached *f); /* lines "get" */
unsigned fake_memcached_sets(const struct fake_memcached *f);
unsigned fake_memcached_connections(const struct fake_memcached *f); /* so far */
/* Waits until that many values are here. */
void fake_memcached_wait(struct fake_memcached *f, unsigned count);

#endif
