#include "generator/batches.h"

#include "common/base/hash.h"
#include "common/base/reader.h"

#include <assert.h>
#include <stdlib.h>

enum err batches_init(struct batches *b)
{
    *b = (struct batches){.ring = calloc(BATCHES_MAX, sizeof(struct batches_entry)),
                          .slots = calloc(BATCHES_SLOTS, sizeof(uint32_t))};
    if (b->ring == NULL || b->slots == NULL) {
        batches_release(b);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

void batches_release(struct batches *b)
{
    free(b->ring);
    free(b->slots);
    *b = (struct batches){0};
}

static uint32_t home_of(const uint8_t *id, uint32_t part)
{
    uint64_t hash = hash_seeded((struct slice){id, BATCHES_ID_BYTES});
    return (uint32_t)(hash + part * 0x9e3779b9u) % BATCHES_SLOTS;
}

/* The slot that holds the entry, or the free one that ends the search. */
static uint32_t slot_of(const struct batches *b, const uint8_t *id, uint32_t part)
{
    uint32_t slot = home_of(id, part);

    while (b->slots[slot] != 0) {
        const struct batches_entry *e = &b->ring[b->slots[slot] - 1];
        if (e->part == part && memcmp(e->id, id, BATCHES_ID_BYTES) == 0)
            break;
        slot = (slot + 1) % BATCHES_SLOTS;
    }
    return slot;
}

bool batches_has(const struct batches *b, const uint8_t id[BATCHES_ID_BYTES], uint32_t part)
{
    return b->slots[slot_of(b, id, part)] != 0;
}

/* Takes an entry out and moves up those that were pushed past it. */
static void slot_clear(struct batches *b, uint32_t slot)
{
    b->slots[slot] = 0;
    for (uint32_t at = (slot + 1) % BATCHES_SLOTS; b->slots[at] != 0;
         at = (at + 1) % BATCHES_SLOTS) {
        uint32_t moved = b->slots[at];
        b->slots[at] = 0;
        b->slots[slot_of(b, b->ring[moved - 1].id, b->ring[moved - 1].part)] = moved;
    }
}

static void oldest_drop(struct batches *b)
{
    const struct batches_entry *e = &b->ring[b->first % BATCHES_MAX];

    assert(b->first < b->next);
    slot_clear(b, slot_of(b, e->id, e->part));
    b->first++;
}

void batches_add(struct batches *b, const uint8_t id[BATCHES_ID_BYTES], uint32_t part,
                 int64_t now_ns)
{
    if (batches_has(b, id, part))
        return;
    while (b->first < b->next && (b->next - b->first >= BATCHES_MAX ||
                                  b->ring[b->first % BATCHES_MAX].at_ns < now_ns - BATCHES_KEEP_NS))
        oldest_drop(b);
    uint32_t index = (uint32_t)(b->next % BATCHES_MAX);
    struct batches_entry *e = &b->ring[index];
    memcpy(e->id, id, BATCHES_ID_BYTES);
    e->part = part;
    e->at_ns = now_ns;
    b->next++;
    b->slots[slot_of(b, id, part)] = index + 1;
}

void batches_save(const struct batches *b, struct buf *out)
{
    for (uint64_t n = b->first; n < b->next; n++) {
        const struct batches_entry *e = &b->ring[n % BATCHES_MAX];
        buf_append(out, (struct slice){e->id, BATCHES_ID_BYTES});
        buf_append_le32(out, e->part);
        buf_append_le64(out, (uint64_t)e->at_ns);
    }
}

enum err batches_load(struct batches *b, struct slice bytes)
{
    struct reader r = reader_of(bytes);

    while (!reader_done(&r)) {
        struct slice id = reader_take(&r, BATCHES_ID_BYTES);
        uint32_t part = reader_le32(&r);
        int64_t at_ns = (int64_t)reader_le64(&r);
        if (reader_failed(&r))
            return ERR_CORRUPT;
        batches_add(b, id.ptr, part, at_ns);
    }
    return ERR_OK;
}
