#include "distributor/peers.h"

#include <assert.h>

static bool is_closed(struct peers_members *m)
{
    return atomic_load_explicit(&m->is_closed, memory_order_acquire);
}

static unsigned place(void *arg, struct slice tenant, struct trace_id id, unsigned *ret_indexes,
                      unsigned max)
{
    struct peers_members *m = arg;

    return is_closed(m) ? 0 : members_place(m->members, tenant, id, ret_indexes, max);
}

static enum err call(void *arg, unsigned index, uint16_t method, const struct slice *parts,
                     unsigned part_count, int64_t timeout_ns, rpc_done *done, void *done_arg)
{
    struct peers_members *m = arg;
    struct rpc_client *lane = is_closed(m) ? NULL : members_push(m->members, index);

    return lane == NULL ? ERR_UNAVAILABLE
                        : rpc_call(lane, method, parts, part_count, timeout_ns, done, done_arg);
}

static void name(void *arg, unsigned index, char ret_id[MEMBER_ID_BYTES_MAX + 1])
{
    struct peers_members *m = arg;
    struct member member = {0};

    if (!is_closed(m))
        members_get(m->members, index, &member);
    memcpy(ret_id, member.id, sizeof member.id);
}

static bool is_up(void *arg, unsigned index, const char *id)
{
    struct peers_members *m = arg;
    struct member member;

    if (is_closed(m) || members_push(m->members, index) == NULL)
        return false;
    members_get(m->members, index, &member);
    return member.health != MEMBER_DOWN && strcmp(member.id, id) == 0;
}

static void report(void *arg, unsigned index, enum err err)
{
    struct peers_members *m = arg;

    if (!is_closed(m))
        members_report(m->members, index, err);
}

struct peers peers_of_members(struct peers_members *m)
{
    assert(m != NULL);
    return (struct peers){
        .arg = m, .place = place, .call = call, .name = name, .is_up = is_up, .report = report};
}
