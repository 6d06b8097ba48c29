#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/ring/members_internal.h"

#include <assert.h>

struct members_rank {
    unsigned choice;
    uint64_t score;
    unsigned index;
};

/* 0 first choice, 1 busy with its log, 2 suspect; takes no writes: -1. */
static int members_choice(const struct members_candidate *c)
{
    const struct member *m = &c->member;

    if ((m->state != MEMBER_ACTIVE && m->state != MEMBER_REPLAYING) || m->health == MEMBER_DOWN ||
        c->is_refused || !c->has_lanes)
        return -1;
    if (m->health == MEMBER_SUSPECT)
        return 2;
    return m->state == MEMBER_REPLAYING ? 1 : 0;
}

/* By choice, then the higher score; the index only so that equal scores have an order. */
static bool members_rank_is_before(const struct members_rank *a, const struct members_rank *b)
{
    if (a->choice != b->choice)
        return a->choice < b->choice;
    if (a->score != b->score)
        return a->score > b->score;
    return a->index < b->index;
}

/* The same on every machine and in every process: no process seed goes in. */
static uint64_t members_key(struct slice tenant, struct trace_id id)
{
    return hash_with((struct slice){id.b, sizeof id.b}, hash_plain(tenant));
}

unsigned members_place(struct members *m, struct slice tenant, struct trace_id id,
                       unsigned *ret_indexes, unsigned max)
{
    struct members_rank ranks[MEMBERS_MAX];
    unsigned count = 0;
    uint8_t key[8];

    if (max > MEMBERS_MAX)
        max = MEMBERS_MAX;
    le64_write(key, members_key(tenant, id));
    (void)pthread_rwlock_rdlock(&m->view);
    for (unsigned i = 0; i < m->count && max > 0; i++) {
        const struct members_candidate *c = &m->candidates[i];
        int choice = members_choice(c);
        if (choice < 0)
            continue;
        struct members_rank rank = {
            .choice = (unsigned)choice,
            .score = hash_with((struct slice){key, sizeof key}, c->member.id_hash),
            .index = i};
        /* Insertion into the best `max` so far, of which there are few. */
        unsigned at = count < max ? count : max;
        while (at > 0 && members_rank_is_before(&rank, &ranks[at - 1])) {
            if (at < max)
                ranks[at] = ranks[at - 1];
            at--;
        }
        if (at < max)
            ranks[at] = rank;
        if (count < max)
            count++;
    }
    (void)pthread_rwlock_unlock(&m->view);
    for (unsigned i = 0; i < count; i++)
        ret_indexes[i] = ranks[i].index;
    return count;
}
