#include "common/base/clock.h"

#include <assert.h>
#include <stddef.h>

static int64_t clock_read_ns(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);

    assert(rc == 0);
    (void)rc;
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t system_wall_ns(const struct clock *c)
{
    (void)c;
    return clock_read_ns(CLOCK_REALTIME);
}

static int64_t system_mono_ns(const struct clock *c)
{
    (void)c;
    return clock_read_ns(CLOCK_MONOTONIC);
}

const struct clock clock_system = {.wall_ns = system_wall_ns, .mono_ns = system_mono_ns};

static int64_t fake_wall_ns(const struct clock *c)
{
    return ((const struct fake_clock *)c)->wall;
}

static int64_t fake_mono_ns(const struct clock *c)
{
    return ((const struct fake_clock *)c)->mono;
}

void fake_clock_init(struct fake_clock *f, int64_t wall_ns)
{
    assert(f != NULL);
    *f = (struct fake_clock){
        .clock = {.wall_ns = fake_wall_ns, .mono_ns = fake_mono_ns},
        .wall = wall_ns,
        .mono = NS_PER_S,
    };
}

void fake_clock_advance(struct fake_clock *f, int64_t ns)
{
    assert(ns >= 0);
    f->wall += ns;
    f->mono += ns;
}
