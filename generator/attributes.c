#include "generator/attributes.h"

#include "common/base/hash.h"
#include "common/codec/otlp.h"
#include "generator/labels.h"

#include <assert.h>

enum { VALUE_BYTES_MAX = 64 * 1024 };

void attributes_init(struct attributes *a)
{
    *a = (struct attributes){0};
    arena_init(&a->resource_arena, NULL);
    arena_init(&a->span_arena, NULL);
    buf_init(&a->scratch, VALUE_BYTES_MAX);
}

void attributes_release(struct attributes *a)
{
    arena_release(&a->resource_arena);
    arena_release(&a->span_arena);
    buf_release(&a->scratch);
}

/* Where the key is in the table, or the free slot where it would be. */
static unsigned slot_of(const struct attributes *a, struct slice key)
{
    unsigned slot = (unsigned)hash_seeded(key) % ATTRIBUTES_SLOTS;

    while (a->table[slot] != 0 && !slice_eq(a->keys[a->table[slot] - 1], key))
        slot = (slot + 1) % ATTRIBUTES_SLOTS;
    return slot;
}

enum err attributes_want(struct attributes *a, const char *key, unsigned *ret_number)
{
    unsigned slot = slot_of(a, slice_str(key));

    if (a->table[slot] == 0) {
        if (a->count == ATTRIBUTES_MAX)
            return ERR_TOO_LARGE;
        a->keys[a->count++] = slice_str(key);
        a->table[slot] = (uint8_t)a->count;
    }
    *ret_number = a->table[slot] - 1u;
    return ERR_OK;
}

void attributes_resource(struct attributes *a, struct slice resource)
{
    struct otlp_field_iter it;
    struct slice keyvalue;

    arena_reset(&a->resource_arena);
    for (unsigned i = 0; i < a->count; i++)
        a->resource[i] = SLICE_NONE;
    for (otlp_fields_init(&it, resource, OTLP_RESOURCE_ATTRIBUTES);
         otlp_next_field(&it, &keyvalue);) {
        struct otlp_value value;
        struct slice key;
        otlp_keyvalue_parse(keyvalue, &key, &value);
        unsigned slot = slot_of(a, key);
        if (a->table[slot] != 0 &&
            a->resource[a->table[slot] - 1].len == 0) /* the first of a key counts */
            a->resource[a->table[slot] - 1] =
                labels_value_text(&value, &a->scratch, &a->resource_arena);
    }
}

void attributes_span(struct attributes *a, struct slice span)
{
    struct otlp_field_iter it;
    struct slice keyvalue;

    if (a->span_arena.chunks != NULL)
        arena_reset(&a->span_arena);
    while (a->span_found_count > 0)
        a->span[a->span_found[--a->span_found_count]] = SLICE_NONE;
    for (otlp_fields_init(&it, span, OTLP_SPAN_ATTRIBUTES); otlp_next_field(&it, &keyvalue);) {
        struct otlp_value value;
        struct slice key;
        otlp_keyvalue_parse(keyvalue, &key, &value);
        unsigned slot = slot_of(a, key);
        if (a->table[slot] == 0)
            continue;
        unsigned n = a->table[slot] - 1u;
        if (a->span[n].len != 0)
            continue;
        a->span[n] = labels_value_text(&value, &a->scratch, &a->span_arena);
        if (a->span[n].len != 0)
            a->span_found[a->span_found_count++] = n;
    }
    assert(a->span_found_count <= a->count);
}
