#include "common/store/text_set.h"

#include "common/base/hash.h"

enum { FIRST_MAX = 32 };

static void enter(const struct text_set *t, struct slice text, uint32_t number)
{
    uint32_t slot = (uint32_t)hash_seeded(text);
    while (t->slots[slot & t->mask] != 0)
        slot++;
    t->slots[slot & t->mask] = number + 1;
}

static enum err grow(struct text_set *t)
{
    struct text_set wider = *t;
    wider.max = t->max == 0 ? FIRST_MAX : t->max * 2;
    if (wider.max > UINT32_MAX / 4)
        return ERR_TOO_LARGE;
    wider.mask = wider.max * 2 - 1;
    wider.texts = arena_alloc(t->a, wider.max * sizeof *wider.texts);
    wider.slots = ARENA_ARRAY(t->a, uint32_t, (size_t)wider.mask + 1);
    if (wider.texts == NULL || wider.slots == NULL)
        return arena_err(t->a);
    for (uint32_t i = 0; i < t->count; i++) {
        wider.texts[i] = t->texts[i];
        enter(&wider, t->texts[i], i);
    }
    *t = wider;
    return ERR_OK;
}

enum err text_set_number(struct text_set *t, struct slice text, uint32_t *ret)
{
    if (t->count == t->max) {
        enum err e = grow(t);
        if (e != ERR_OK)
            return e;
    }
    uint32_t slot = (uint32_t)hash_seeded(text);
    for (; t->slots[slot & t->mask] != 0; slot++) {
        uint32_t known = t->slots[slot & t->mask] - 1;
        if (slice_eq(t->texts[known], text)) {
            *ret = known;
            return ERR_OK;
        }
    }
    struct slice copy = arena_dup(t->a, text);
    if (arena_err(t->a) != ERR_OK)
        return arena_err(t->a);
    t->texts[t->count] = copy;
    t->slots[slot & t->mask] = ++t->count;
    *ret = t->count - 1;
    return ERR_OK;
}
