#include "ingester/recent_ids.h"

#include "common/base/hash.h"

#include <assert.h>
#include <stdlib.h>

struct recent_ids {
    uint64_t *newer, *older; /* 0: free */
    size_t slots, ids_max, used;
};

enum err recent_ids_new(size_t ids_min, struct recent_ids **ret)
{
    assert(ids_min > 0);
    struct recent_ids *r = calloc(1, sizeof *r);

    if (r == NULL)
        return ERR_NOMEM;
    r->ids_max = ids_min;
    for (r->slots = 16; r->slots < ids_min * 2;)
        r->slots *= 2;
    r->newer = calloc(r->slots, sizeof *r->newer);
    r->older = calloc(r->slots, sizeof *r->older);
    if (r->newer == NULL || r->older == NULL) {
        recent_ids_free(r);
        return ERR_NOMEM;
    }
    *ret = r;
    return ERR_OK;
}

void recent_ids_free(struct recent_ids *r)
{
    if (r == NULL)
        return;
    free(r->newer);
    free(r->older);
    free(r);
}

size_t recent_ids_min(const struct recent_ids *r)
{
    return r->ids_max;
}

static uint64_t key_of(struct slice tenant, struct trace_id id)
{
    uint64_t h = hash_with((struct slice){id.b, TRACE_ID_BYTES}, hash_seeded(tenant));
    return h == 0 ? 1 : h;
}

/* The slot of the key, or the free one where it would stand. */
static size_t slot_of(const struct recent_ids *r, const uint64_t *table, uint64_t key)
{
    size_t at = key & (r->slots - 1);

    while (table[at] != 0 && table[at] != key)
        at = (at + 1) & (r->slots - 1);
    return at;
}

void recent_ids_add(struct recent_ids *r, struct slice tenant, struct trace_id id)
{
    uint64_t key = key_of(tenant, id);
    size_t at = slot_of(r, r->newer, key);

    if (r->newer[at] == key)
        return;
    if (r->used == r->ids_max) {
        uint64_t *swap = r->older;
        r->older = r->newer;
        r->newer = swap;
        memset(r->newer, 0, r->slots * sizeof *r->newer);
        r->used = 0;
        at = slot_of(r, r->newer, key);
    }
    r->newer[at] = key;
    r->used++;
    assert(r->used * 2 <= r->slots);
}

bool recent_ids_has(const struct recent_ids *r, struct slice tenant, struct trace_id id)
{
    uint64_t key = key_of(tenant, id);

    return r->newer[slot_of(r, r->newer, key)] == key || r->older[slot_of(r, r->older, key)] == key;
}
