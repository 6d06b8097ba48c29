#include "common/objstore/succession.h"

#include <stdlib.h>
#include <string.h>

/* A block that heirs were made from. */
struct inheritance {
    const char *id;
    const struct heir *heir; /* accepted; NULL: none so far */
    uint32_t claims;
    bool is_there;
};

static int inheritance_cmp(const void *a, const void *b)
{
    const struct inheritance *x = a, *y = b;

    return strcmp(x->id, y->id);
}

static struct inheritance *find(const struct succession *s, const char *id)
{
    struct inheritance key = {.id = id};

    return s->count == 0 ? NULL : bsearch(&key, s->all, s->count, sizeof *s->all, inheritance_cmp);
}

/* Each input once, with how many claim it. */
static enum err collect(struct succession *s, succession_is_there_fn *is_there, void *arg,
                        struct arena *a)
{
    uint32_t n = 0, kept = 0;

    for (uint32_t i = 0; i < s->heir_count; i++)
        n += s->heirs[i].from_count;
    s->all = ARENA_ARRAY(a, struct inheritance, n);
    if (n == 0 || s->all == NULL)
        return n == 0 ? ERR_OK : arena_err(a);
    n = 0;
    for (uint32_t i = 0; i < s->heir_count; i++)
        for (uint32_t k = 0; k < s->heirs[i].from_count; k++)
            s->all[n++] = (struct inheritance){.id = s->heirs[i].from[k].id, .claims = 1};
    qsort(s->all, n, sizeof *s->all, inheritance_cmp);
    for (uint32_t i = 0; i < n; i++) {
        if (kept > 0 && strcmp(s->all[kept - 1].id, s->all[i].id) == 0) {
            s->all[kept - 1].claims++;
        } else {
            s->all[kept] = s->all[i];
            s->all[kept].is_there = is_there(arg, s->all[kept].id);
            kept++;
        }
    }
    s->count = kept;
    return ERR_OK;
}

static void accept(struct succession *s, struct heir *h)
{
    h->is_accepted = true;
    for (uint32_t i = 0; i < h->from_count; i++) {
        struct inheritance *in = find(s, h->from[i].id);
        in->heir = in->heir != NULL ? in->heir : h;
    }
}

static int heir_cmp(const void *a, const void *b)
{
    const struct heir *x = a, *y = b;

    if (x->since_ns != y->since_ns)
        return x->since_ns < y->since_ns ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* --- heirs that have inputs in common --- */

struct contest {
    struct heir *heirs[SUCCESSION_CONTESTED_MAX];
    uint32_t count;
    uint32_t against[SUCCESSION_CONTESTED_MAX]; /* by heir: a bit for each that shares an input */
    uint32_t *lost; /* for each input that is not there any more: a bit for each that has it */
    uint32_t lost_count;
};

static bool is_contested(const struct succession *s, const struct heir *h)
{
    for (uint32_t i = 0; i < h->from_count; i++)
        if (find(s, h->from[i].id)->claims > 1)
            return true;
    return false;
}

static bool has_input(const struct heir *h, const char *id)
{
    for (uint32_t i = 0; i < h->from_count; i++)
        if (strcmp(h->from[i].id, id) == 0)
            return true;
    return false;
}

static void contest_add_input(struct contest *c, const struct inheritance *in)
{
    uint32_t claimants = 0;

    for (uint32_t i = 0; i < c->count; i++)
        claimants |= has_input(c->heirs[i], in->id) ? 1U << i : 0;
    for (uint32_t i = 0; i < c->count; i++)
        if ((claimants >> i & 1) != 0)
            c->against[i] |= claimants & ~(1U << i);
    if (claimants != 0 && !in->is_there)
        c->lost[c->lost_count++] = claimants;
}

/* The first of them is the highest bit. */
static uint32_t reversed(uint32_t set, uint32_t count)
{
    uint32_t ret = 0;

    for (uint32_t i = 0; i < count; i++)
        ret |= (set >> i & 1) << (count - 1 - i);
    return ret;
}

static bool is_good(const struct contest *c, uint32_t set)
{
    for (uint32_t i = 0; i < c->count; i++)
        if ((set >> i & 1) != 0 && (c->against[i] & set) != 0)
            return false;
    for (uint32_t i = 0; i < c->lost_count; i++)
        if ((c->lost[i] & set) == 0)
            return false;
    return true;
}

/* False: there is no set without a flaw. */
static bool settle(struct succession *s, struct contest *c)
{
    for (uint32_t n = 1U << c->count; n-- > 0;) {
        uint32_t set = reversed(n, c->count);
        if (!is_good(c, set))
            continue;
        for (uint32_t i = 0; i < c->count; i++)
            if ((set >> i & 1) != 0)
                accept(s, c->heirs[i]);
        return true;
    }
    return false;
}

/* One after the other: who has something that none of those before has and that is not there any more, or nothing in common with them. */
static bool may_inherit(const struct succession *s, const struct heir *h)
{
    bool is_shared = false;

    for (uint32_t i = 0; i < h->from_count; i++) {
        const struct inheritance *in = find(s, h->from[i].id);
        if (!in->is_there && in->heir == NULL)
            return true;
        is_shared |= in->heir != NULL;
    }
    return !is_shared;
}

enum err succession_resolve(struct heir *heirs, uint32_t count, succession_is_there_fn *is_there,
                            void *arg, struct arena *a, struct succession *ret)
{
    struct succession s = {.heirs = heirs, .heir_count = count};
    struct contest c = {.count = 0};
    uint32_t contested = 0;
    enum err e = collect(&s, is_there, arg, a);

    if (e != ERR_OK)
        return e;
    if (count > 1)
        qsort(heirs, count, sizeof *heirs, heir_cmp);
    for (uint32_t i = 0; i < count; i++) {
        heirs[i].is_accepted = false;
        if (!is_contested(&s, &heirs[i]))
            accept(&s, &heirs[i]);
        else if (contested++ < SUCCESSION_CONTESTED_MAX)
            c.heirs[c.count++] = &heirs[i];
    }
    c.lost = ARENA_ARRAY(a, uint32_t, contested > 0 ? s.count : 0);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    for (uint32_t i = 0; contested > 0 && i < s.count; i++)
        contest_add_input(&c, &s.all[i]);
    bool is_settled = contested <= SUCCESSION_CONTESTED_MAX && settle(&s, &c);
    for (uint32_t i = 0; i < count; i++) {
        if (!is_settled && !heirs[i].is_accepted && may_inherit(&s, &heirs[i]))
            accept(&s, &heirs[i]);
        s.rejected += !heirs[i].is_accepted;
    }
    *ret = s;
    return ERR_OK;
}

const struct heir *succession_find(const struct succession *s, const char *id, bool *ret_is_claimed)
{
    const struct inheritance *in = find(s, id);

    *ret_is_claimed = in != NULL;
    return in != NULL ? in->heir : NULL;
}

bool succession_is_rejected(const struct succession *s, const char *id)
{
    bool is = false;

    for (uint32_t i = 0; s->rejected > 0 && !is && i < s->heir_count; i++)
        is = !s->heirs[i].is_accepted && strcmp(s->heirs[i].id, id) == 0;
    return is;
}
