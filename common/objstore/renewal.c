#include "common/objstore/renewal.h"

#define RETRY_NS (10 * NS_PER_S) /* who failed is left alone this long */

static bool may_last(const struct renewal *r)
{
    return r->is_known && !r->is_refused && r->expires_ns > clock_wall_ns(r->clock);
}

bool renewal_is_due(const struct renewal *r)
{
    bool is_old =
        !r->is_known || r->is_refused ||
        (r->expires_ns != 0 && r->expires_ns - clock_wall_ns(r->clock) < RENEWAL_MARGIN_NS);
    bool is_recent = r->failed_ns != 0 && clock_mono_ns(r->clock) - r->failed_ns < RETRY_NS;

    return is_old && !(is_recent && may_last(r));
}

enum err renewal_done(struct renewal *r, enum err e, int64_t expires_ns)
{
    if (e != ERR_OK) {
        r->failed_ns = clock_mono_ns(r->clock);
        return may_last(r) ? ERR_OK : e;
    }
    r->failed_ns = 0;
    r->expires_ns = expires_ns;
    r->is_known = true;
    r->is_refused = false;
    return ERR_OK;
}
