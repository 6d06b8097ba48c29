#include "generator/labels.h"

#include "common/base/num.h"
#include "common/base/utf8.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

enum { VALUE_DEPTH_MAX = 8 };

void labels_plan_init(struct labels_plan *p, struct arena *a, uint32_t name_bytes_max,
                      uint32_t value_bytes_max)
{
    *p = (struct labels_plan){
        .arena = a, .name_bytes_max = name_bytes_max, .value_bytes_max = value_bytes_max};
}

static enum err plan_add(struct labels_plan *p, struct labels_slot slot)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (slice_eq(p->slots[i].label, slot.label)) {
            p->slots[i] = slot; /* the last wins */
            return ERR_OK;
        }
    }
    if (p->count == SERIES_LABELS_MAX)
        return ERR_TOO_LARGE;
    p->slots[p->count++] = slot;
    return ERR_OK;
}

enum err labels_plan_fixed(struct labels_plan *p, const char *label, unsigned number)
{
    return plan_add(p, (struct labels_slot){.label = slice_str(label), .number = number});
}

struct slice labels_sanitise(struct arena *a, struct slice name)
{
    bool leads_with_digit = name.len != 0 && isdigit(name.ptr[0]);
    uint8_t *out = arena_alloc(a, name.len + 1);

    if (out == NULL)
        return SLICE_NONE;
    if (leads_with_digit)
        out[0] = '_';
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool is_word =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        out[i + leads_with_digit] = is_word ? c : '_';
    }
    return (struct slice){out, name.len + leads_with_digit};
}

enum err labels_plan_attribute(struct labels_plan *p, const char *prefix, const char *attribute,
                               unsigned number, bool is_reserved)
{
    struct slice label = labels_sanitise(p->arena, slice_str(attribute));
    char *name = arena_printf(p->arena, "%s" SLICE_FMT, prefix, SLICE_ARG(label));

    if (arena_err(p->arena) != ERR_OK)
        return arena_err(p->arena);
    for (unsigned i = 0; is_reserved && i < p->count; i++) {
        if (p->slots[i].attribute.len == 0 && slice_eq_str(p->slots[i].label, name)) {
            name = arena_printf(p->arena, "__%s", name);
            break;
        }
    }
    struct slice text = arena_dup(p->arena, slice_str(attribute));
    if (arena_err(p->arena) != ERR_OK)
        return arena_err(p->arena);
    return plan_add(p,
                    (struct labels_slot){.label = slice_sub(slice_str(name), 0, p->name_bytes_max),
                                         .attribute = text,
                                         .number = number});
}

static int slot_cmp(const void *a, const void *b)
{
    return slice_cmp(((const struct labels_slot *)a)->label,
                     ((const struct labels_slot *)b)->label);
}

void labels_plan_sort(struct labels_plan *p)
{
    qsort(p->slots, p->count, sizeof p->slots[0], slot_cmp);
}

enum err labels_write(const struct labels_plan *p, const struct slice *values, struct buf *out)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct slice value = values[p->slots[i].number];
        if (value.len == 0)
            continue;
        if (!utf8_is_valid(value))
            return ERR_FORMAT;
        if (value.len > p->value_bytes_max)
            value = slice_sub(value, 0, utf8_cut(value, p->value_bytes_max));
        series_label_append(out, p->slots[i].label, value);
    }
    return buf_err(out);
}

/* Go's fmt.Sprint of the items: a space only between two that are no strings. */
static void value_append(struct buf *out, const struct otlp_value *v, unsigned depth);

static void list_append(struct buf *out, struct slice body, unsigned depth)
{
    struct otlp_field_iter it;
    struct slice item;
    bool was_string = true;

    buf_append_byte(out, '[');
    for (otlp_fields_init(&it, body, 1); otlp_next_field(&it, &item);) {
        struct otlp_value v;
        otlp_value_parse(item, &v);
        bool is_string = v.kind == OTLP_STR;
        if (!was_string && !is_string)
            buf_append_byte(out, ' ');
        value_append(out, &v, depth + 1);
        was_string = is_string;
    }
    buf_append_byte(out, ']');
}

static void map_append(struct buf *out, struct slice body, unsigned depth)
{
    struct otlp_field_iter it;
    struct slice item;
    bool is_first = true;

    buf_append_byte(out, '{');
    for (otlp_fields_init(&it, body, 1); otlp_next_field(&it, &item); is_first = false) {
        struct otlp_value v;
        struct slice key;
        otlp_keyvalue_parse(item, &key, &v);
        if (!is_first)
            buf_append_byte(out, ' ');
        buf_append(out, key);
        buf_append_byte(out, ':');
        value_append(out, &v, depth + 1);
    }
    buf_append_byte(out, '}');
}

static void value_append(struct buf *out, const struct otlp_value *v, unsigned depth)
{
    if (depth > VALUE_DEPTH_MAX)
        return;
    switch (v->kind) {
    case OTLP_EMPTY: break;
    case OTLP_STR:
    case OTLP_BYTES: buf_append(out, v->bytes); break;
    case OTLP_BOOL: buf_append_str(out, v->i != 0 ? "true" : "false"); break;
    case OTLP_INT: num_append_i64(out, v->i); break;
    case OTLP_DOUBLE: num_append_double_f(out, v->d); break;
    case OTLP_ARRAY: list_append(out, v->bytes, depth); break;
    case OTLP_KVLIST: map_append(out, v->bytes, depth); break;
    }
}

struct slice labels_value_text(const struct otlp_value *v, struct buf *scratch, struct arena *a)
{
    if (v->kind == OTLP_STR)
        return v->bytes;
    buf_reset(scratch);
    value_append(scratch, v, 0);
    return buf_err(scratch) == ERR_OK ? arena_dup(a, buf_slice(scratch)) : SLICE_NONE;
}
