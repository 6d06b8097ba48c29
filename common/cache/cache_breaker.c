#include "common/cache/cache_breaker.h"

#include <limits.h>

static bool is_open(const struct cache_breaker *b)
{
    return b->failures_max > 0 && b->failures > b->failures_max;
}

bool cache_breaker_may(struct cache_breaker *b, int64_t now_ns)
{
    int64_t since_ns = now_ns - b->failed_ns;

    if (b->failures > 0 && !is_open(b) && !b->is_trying && b->interval_ns > 0 &&
        since_ns >= b->interval_ns)
        b->failures = 0;
    if (b->failures == 0)
        return true;
    int64_t pause_ns = is_open(b) ? b->open_ns : b->failures == 1 ? 0 : CACHE_BREAKER_PAUSE_NS;
    if (b->is_trying || since_ns < pause_ns)
        return false;
    b->is_trying = true;
    return true;
}

bool cache_breaker_done(struct cache_breaker *b, bool is_good, int64_t begun_ns, int64_t now_ns)
{
    bool was_open = is_open(b);

    if (is_good) {
        b->failures = 0;
        b->is_trying = false;
        return was_open;
    }
    if (b->failures > 0 && begun_ns < b->failed_ns)
        return false; /* it is known already */
    b->is_trying = false;
    b->failed_ns = now_ns;
    if (b->failures < UINT_MAX)
        b->failures++;
    return is_open(b) != was_open;
}
