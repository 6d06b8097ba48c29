/*
 * clock.h - injected time.  Production passes &clock_system; tests pass a clock of their own.
 *
 * Units:   ns.  wall = since the Unix epoch (UTC), mono = since boot, never goes back: all timeouts.
 * Threads: clock_system any; a struct fake_clock belongs to one test.
 */
#ifndef VIVACE_BASE_CLOCK_H
#define VIVACE_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL

struct clock {
    int64_t (*wall_ns)(const struct clock *c);
    int64_t (*mono_ns)(const struct clock *c);
};

extern const struct clock clock_system;

static inline int64_t clock_wall_ns(const struct clock *c)
{
    return c->wall_ns(c);
}

static inline int64_t clock_mono_ns(const struct clock *c)
{
    return c->mono_ns(c);
}

struct fake_clock {
    struct clock clock; /* first: pass &f->clock */
    int64_t wall, mono;
};

void fake_clock_init(struct fake_clock *f, int64_t wall_ns);
void fake_clock_advance(struct fake_clock *f, int64_t ns);

#endif
