#include "ingester/recent_ids.h"

#include "common/base/hash.h"

#include <assert.h>
#include <stdlib.h>

enum { SLOTS_FIRST = 1 << 12 };

struct table {
    uint32_t *keys; /* 0: free */
    size_t slots, used;
};

struct recent_ids {
    struct table newer, older;
    size_t ids_max;
};

/* The slot of the key, or the free one where it would stand. */
static size_t slot_of(const struct table *t, uint32_t key)
{
    size_t at = key & (t->slots - 1);

    while (t->keys[at] != 0 && t->keys[at] != key)
        at = (at + 1) & (t->slots - 1);
    return at;
}

/* Twice as wide, at most half full.  False: no memory. */
static bool table_grow(struct table *t)
{
    struct table wider = {.slots = t->slots == 0 ? SLOTS_FIRST : t->slots * 2, .used = t->used};

    wider.keys = calloc(wider.slots, sizeof *wider.keys);
    if (wider.keys == NULL)
        return false;
    for (size_t i = 0; i < t->slots; i++) {
        if (t->keys[i] != 0)
            wider.keys[slot_of(&wider, t->keys[i])] = t->keys[i];
    }
    free(t->keys);
    *t = wider;
    return true;
}

static bool table_has(const struct table *t, uint32_t key)
{
    return t->slots > 0 && t->keys[slot_of(t, key)] == key;
}

enum err recent_ids_new(size_t ids_min, struct recent_ids **ret)
{
    assert(ids_min > 0);
    struct recent_ids *r = calloc(1, sizeof *r);

    if (r == NULL)
        return ERR_NOMEM;
    r->ids_max = ids_min;
    if (!table_grow(&r->newer)) {
        free(r);
        return ERR_NOMEM;
    }
    *ret = r;
    return ERR_OK;
}

void recent_ids_free(struct recent_ids *r)
{
    if (r == NULL)
        return;
    free(r->newer.keys);
    free(r->older.keys);
    free(r);
}

size_t recent_ids_min(const struct recent_ids *r)
{
    return r->ids_max;
}

static uint32_t key_of(struct slice tenant, struct trace_id id)
{
    uint32_t h = (uint32_t)hash_with((struct slice){id.b, TRACE_ID_BYTES}, hash_seeded(tenant));
    return h == 0 ? 1 : h;
}

/* The newer ids become the older ones, whose memory is used again. */
static void turn(struct recent_ids *r)
{
    struct table swap = r->older;

    r->older = r->newer;
    r->newer = swap;
    r->newer.used = 0;
    if (r->newer.slots > 0)
        memset(r->newer.keys, 0, r->newer.slots * sizeof *r->newer.keys);
}

void recent_ids_add(struct recent_ids *r, struct slice tenant, struct trace_id id)
{
    uint32_t key = key_of(tenant, id);

    if (table_has(&r->newer, key))
        return;
    if (r->newer.used == r->ids_max)
        turn(r);
    /* Without memory for a wider table the ids stay fewer. */
    if (r->newer.used * 2 >= r->newer.slots && !table_grow(&r->newer)) {
        if (r->newer.slots == 0)
            return;
        turn(r);
        if (r->newer.slots == 0)
            return;
    }
    r->newer.keys[slot_of(&r->newer, key)] = key;
    r->newer.used++;
    assert(r->newer.used < r->newer.slots);
}

bool recent_ids_has(const struct recent_ids *r, struct slice tenant, struct trace_id id)
{
    uint32_t key = key_of(tenant, id);

    return table_has(&r->newer, key) || table_has(&r->older, key);
}
