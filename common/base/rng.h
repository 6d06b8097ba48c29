/*
 * rng.h - random numbers.  rng_bytes_secure for ids and seeds (getrandom); struct rng for jitter
 * and tests: small, fast, repeatable from its seed, one owner.
 */
#ifndef VIVACE_BASE_RNG_H
#define VIVACE_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state[4];
};

void rng_bytes_secure(void *ret, size_t len); /* never fails: aborts when the kernel has none */
void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t bound); /* bound > 0 */
double rng_unit(struct rng *r);                    /* [0, 1) */

#endif
