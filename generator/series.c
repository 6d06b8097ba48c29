#include "generator/series.h"

#include "common/base/hash.h"
#include "common/base/reader.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { TABLE_SIZE_MIN = 256 };
static const struct slice overflow_labels = {(const uint8_t *)"\x0fmetric_overflow\x04true", 21};

enum err series_init(struct series_set *s, enum series_kind kind, const double *bounds,
                     unsigned bound_count, uint32_t count_max, struct budget *budget)
{
    assert(bound_count <= SERIES_BUCKETS_MAX);
    *s = (struct series_set){.kind = kind,
                             .budget = budget,
                             .bounds = bounds,
                             .bound_count = bound_count,
                             .histogram_count = kind == SERIES_EDGE ? 2 : 1,
                             .count_max = count_max,
                             .table_size = TABLE_SIZE_MIN};
    s->table = calloc(s->table_size, sizeof(struct series_entity *));
    return s->table == NULL ? ERR_NOMEM : ERR_OK;
}

/* Room of one histogram's buckets and exemplars behind the labels. */
static size_t histogram_bytes(const struct series_set *s)
{
    return (s->bound_count + 1) * (sizeof(uint64_t) + sizeof(struct series_exemplar));
}

static size_t entity_bytes(const struct series_set *s, size_t labels_len)
{
    size_t head = (sizeof(struct series_entity) + labels_len + 15) & ~(size_t)15;
    return head + s->histogram_count * histogram_bytes(s);
}

static void entity_free(struct series_set *s, struct series_entity *e)
{
    if (slice_eq(overflow_labels, (struct slice){e->labels, e->labels_len}))
        s->has_overflow = false;
    budget_give(s->budget, entity_bytes(s, e->labels_len));
    free(e);
    s->count--;
}

void series_release(struct series_set *s)
{
    for (uint32_t i = 0; s->table != NULL && i < s->table_size; i++) {
        while (s->table[i] != NULL) {
            struct series_entity *e = s->table[i];
            s->table[i] = e->chain;
            entity_free(s, e);
        }
    }
    free(s->table);
    s->table = NULL;
}

static struct series_entity *entity_new(struct series_set *s, struct slice labels, uint64_t hash)
{
    size_t bytes = entity_bytes(s, labels.len);

    if (budget_take(s->budget, bytes) != ERR_OK)
        return NULL;
    struct series_entity *e = calloc(1, bytes);
    if (e == NULL) {
        budget_give(s->budget, bytes);
        return NULL;
    }
    e->hash = hash;
    e->labels_len = (uint32_t)labels.len;
    if (labels.len != 0)
        memcpy(e->labels, labels.ptr, labels.len);
    uint8_t *at = (uint8_t *)e + bytes - s->histogram_count * histogram_bytes(s);
    for (unsigned h = 0; h < s->histogram_count; h++) {
        e->histograms[h].buckets = (uint64_t *)(void *)at;
        at += (s->bound_count + 1) * sizeof(uint64_t);
        e->histograms[h].exemplars = (struct series_exemplar *)(void *)at;
        at += (s->bound_count + 1) * sizeof(struct series_exemplar);
        for (unsigned b = 0; b <= s->bound_count; b++)
            e->histograms[h].exemplars[b].value = NAN;
    }
    assert(at == (uint8_t *)e + bytes);
    if (slice_eq(overflow_labels, labels))
        s->has_overflow = true;
    s->count++;
    s->added++;
    return e;
}

/* Doubles the table when it is as full as it is long; keeps the old one when there is no memory. */
static void table_grow(struct series_set *s)
{
    if (s->count < s->table_size)
        return;
    uint32_t size = s->table_size * 2;
    struct series_entity **table = calloc(size, sizeof(struct series_entity *));
    if (table == NULL)
        return;
    for (uint32_t i = 0; i < s->table_size; i++) {
        while (s->table[i] != NULL) {
            struct series_entity *e = s->table[i];
            s->table[i] = e->chain;
            e->chain = table[e->hash & (size - 1)];
            table[e->hash & (size - 1)] = e;
        }
    }
    free(s->table);
    s->table = table;
    s->table_size = size;
}

static struct series_entity *entity_find(struct series_set *s, struct slice labels, uint64_t hash)
{
    for (struct series_entity *e = s->table[hash & (s->table_size - 1)]; e != NULL; e = e->chain)
        if (e->hash == hash && slice_eq(labels, (struct slice){e->labels, e->labels_len}))
            return e;
    return NULL;
}

static struct series_entity *entity_get(struct series_set *s, struct slice labels, bool may_make)
{
    uint64_t hash = hash_seeded(labels);
    struct series_entity *e = entity_find(s, labels, hash);

    if (e != NULL || !may_make)
        return e;
    e = entity_new(s, labels, hash);
    if (e == NULL)
        return NULL;
    table_grow(s);
    e->chain = s->table[hash & (s->table_size - 1)];
    s->table[hash & (s->table_size - 1)] = e;
    return e;
}

struct series_entity *series_get(struct series_set *s, struct slice labels, int64_t now_ns)
{
    /* The overflow entity takes nobody's place: what is loaded in another order fits again. */
    bool has_room = s->count_max == 0 || s->count - s->has_overflow < s->count_max ||
                    slice_eq(overflow_labels, labels);
    struct series_entity *e = entity_get(s, labels, has_room);

    if (e == NULL) {
        s->limited++;
        e = entity_get(s, overflow_labels, true);
    }
    if (e != NULL && e->updated_ns < now_ns)
        e->updated_ns = now_ns;
    return e;
}

void series_observe(const struct series_set *s, struct series_histogram *h, double value,
                    struct trace_id id)
{
    unsigned b = 0;

    while (b < s->bound_count && value > s->bounds[b]) /* bounds are inclusive */
        b++;
    h->buckets[b]++;
    h->count++;
    h->sum += value;
    h->exemplars[b] = (struct series_exemplar){id, value};
}

void series_expire(struct series_set *s, int64_t before_ns)
{
    for (uint32_t i = 0; i < s->table_size; i++) {
        for (struct series_entity **at = &s->table[i]; *at != NULL;) {
            struct series_entity *e = *at;
            if (e->updated_ns >= before_ns) {
                at = &e->chain;
                continue;
            }
            *at = e->chain;
            entity_free(s, e);
            s->removed++;
        }
    }
}

enum err series_each(struct series_set *s, series_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < s->table_size; i++) {
        for (struct series_entity *e = s->table[i]; e != NULL; e = e->chain) {
            enum err err = fn(arg, s, e);
            if (err != ERR_OK)
                return err;
        }
    }
    return ERR_OK;
}

bool series_label_next(struct slice labels, size_t *at, struct slice *ret_name,
                       struct slice *ret_value)
{
    struct reader r = reader_of(slice_sub(labels, *at, labels.len));

    if (reader_done(&r))
        return false;
    *ret_name = reader_bytes(&r);
    *ret_value = reader_bytes(&r);
    *at = labels.len - reader_left(&r);
    return !reader_failed(&r);
}

void series_label_append(struct buf *out, struct slice name, struct slice value)
{
    buf_append_varint(out, name.len);
    buf_append(out, name);
    buf_append_varint(out, value.len);
    buf_append(out, value);
}
