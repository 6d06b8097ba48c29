#include "common/base/rng.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>

void rng_bytes_secure(void *ret, size_t len)
{
    uint8_t *at = ret;

    while (len != 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort(); /* ids that repeat would mix the traces of strangers */
        at += n;
        len -= (size_t)n;
    }
}

/* splitmix64: spreads a small seed over the whole state. */
static uint64_t seed_next(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void rng_init(struct rng *r, uint64_t seed)
{
    assert(r != NULL);
    for (int i = 0; i < 4; i++)
        r->state[i] = seed_next(&seed);
}

static uint64_t rotate_left(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

/* xoshiro256** (Blackman, Vigna). */
uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;

    assert((s[0] | s[1] | s[2] | s[3]) != 0);
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
    assert(bound > 0);
    uint64_t skew =
        (0 - bound) % bound; /* 2^64 mod bound: values below it would come once too often */
    for (;;) {
        uint64_t v = rng_u64(r);
        if (v >= skew)
            return v % bound;
    }
}

double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}
