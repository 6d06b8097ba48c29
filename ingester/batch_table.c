#include "ingester/batch_table.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <stdlib.h>

enum { NOWHERE = -1 };

struct entry {
    uint8_t key[20];
    int32_t next; /* in the chain */
    int64_t at_ns;
    bool is_used;
};

struct batch_table {
    struct mutex lock; /* everything below */
    struct entry *entries;
    int32_t *chains;
    size_t entries_max, chain_count;
    size_t oldest, used; /* the ring; removed entries stay in it unused until they are the oldest */
};

enum err batch_table_new(size_t entries_max, struct batch_table **ret)
{
    assert(entries_max > 0 && entries_max <= INT32_MAX / 2);
    struct batch_table *t = calloc(1, sizeof *t);

    if (t == NULL)
        return ERR_NOMEM;
    mutex_init(&t->lock);
    t->entries_max = entries_max;
    for (t->chain_count = 1; t->chain_count < entries_max;)
        t->chain_count *= 2;
    t->entries = calloc(entries_max, sizeof *t->entries);
    t->chains = malloc(t->chain_count * sizeof *t->chains);
    if (t->entries == NULL || t->chains == NULL) {
        batch_table_free(t);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < t->chain_count; i++)
        t->chains[i] = NOWHERE;
    *ret = t;
    return ERR_OK;
}

void batch_table_free(struct batch_table *t)
{
    if (t == NULL)
        return;
    mutex_release(&t->lock);
    free(t->entries);
    free(t->chains);
    free(t);
}

static void key_make(uint8_t ret[20], const uint8_t batch_id[16], uint32_t part)
{
    memcpy(ret, batch_id, 16);
    le32_write(ret + 16, part);
}

static int32_t *chain_of(struct batch_table *t, const uint8_t key[20])
{
    return &t->chains[hash_seeded((struct slice){key, 20}) & (t->chain_count - 1)];
}

/* The link that points to the entry of `key`; its chain's end when there is none. */
static int32_t *find(struct batch_table *t, const uint8_t key[20])
{
    int32_t *link = chain_of(t, key);

    while (*link != NOWHERE && memcmp(t->entries[*link].key, key, 20) != 0)
        link = &t->entries[*link].next;
    return link;
}

static void drop(struct batch_table *t, int32_t *link)
{
    struct entry *e = &t->entries[*link];

    assert(e->is_used);
    *link = e->next;
    e->is_used = false;
}

static void drop_oldest(struct batch_table *t)
{
    struct entry *e = &t->entries[t->oldest];

    assert(t->used > 0);
    if (e->is_used)
        drop(t, find(t, e->key));
    t->oldest = (t->oldest + 1) % t->entries_max;
    t->used--;
}

static void expire(struct batch_table *t, int64_t now_ns)
{
    while (t->used > 0 && (!t->entries[t->oldest].is_used ||
                           now_ns - t->entries[t->oldest].at_ns > BATCH_TABLE_KEEP_NS))
        drop_oldest(t);
}

bool batch_table_add(struct batch_table *t, const uint8_t batch_id[16], uint32_t part,
                     int64_t now_ns)
{
    uint8_t key[20];

    key_make(key, batch_id, part);
    mutex_lock(&t->lock);
    expire(t, now_ns);
    bool is_new = *find(t, key) == NOWHERE;
    if (is_new) {
        if (t->used == t->entries_max)
            drop_oldest(t);
        size_t at = (t->oldest + t->used) % t->entries_max;
        int32_t *chain = chain_of(t, key);
        struct entry *e = &t->entries[at];
        *e = (struct entry){.next = *chain, .at_ns = now_ns, .is_used = true};
        memcpy(e->key, key, sizeof key);
        *chain = (int32_t)at;
        t->used++;
    }
    mutex_unlock(&t->lock);
    return is_new;
}

void batch_table_remove(struct batch_table *t, const uint8_t batch_id[16], uint32_t part)
{
    uint8_t key[20];

    key_make(key, batch_id, part);
    mutex_lock(&t->lock);
    int32_t *link = find(t, key);
    if (*link != NOWHERE)
        drop(t, link);
    mutex_unlock(&t->lock);
}

bool batch_table_has(struct batch_table *t, const uint8_t batch_id[16], uint32_t part,
                     int64_t now_ns)
{
    uint8_t key[20];

    key_make(key, batch_id, part);
    mutex_lock(&t->lock);
    expire(t, now_ns);
    bool has = *find(t, key) != NOWHERE;
    mutex_unlock(&t->lock);
    return has;
}
