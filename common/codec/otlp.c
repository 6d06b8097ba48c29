#include "common/codec/otlp.h"

#include "common/codec/otlp_wire.h"

void otlp_iter_init(struct otlp_iter *it, struct slice request)
{
    *it = (struct otlp_iter){.request = reader_of(request)};
}

/* Fields come in any order, so what describes the spans is looked for before the first of them is given. */
static void find_pair(struct slice message, struct slice *ret_first, struct slice *ret_third)
{
    struct reader r = reader_of(message);
    struct wire_field f;

    *ret_first = *ret_third = SLICE_NONE;
    while (wire_next(&r, &f)) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == 1)
            *ret_first = f.bytes;
        else if (f.number == 3)
            *ret_third = f.bytes;
    }
}

bool otlp_next_span(struct otlp_iter *it, struct slice *ret_span)
{
    struct slice body;

    while (!wire_next_bytes(&it->scope_spans, 2, ret_span)) {
        while (!wire_next_bytes(&it->resource_spans, 2, &body)) {
            if (!wire_next_bytes(&it->request, 1, &body))
                return false;
            find_pair(body, &it->resource, &it->resource_schema_url);
            it->resource_spans = reader_of(body);
            it->resource_seq++;
        }
        find_pair(body, &it->scope, &it->scope_schema_url);
        it->scope_spans = reader_of(body);
        it->scope_seq++;
    }
    return true;
}

static void parse_status(struct slice status, struct otlp_span *ret)
{
    struct reader r = reader_of(status);
    struct wire_field f;

    ret->has_status = true;
    while (wire_next(&r, &f)) {
        if (f.number == 2 && f.type == WIRE_BYTES)
            ret->status_message = f.bytes;
        else if (f.number == 3 && f.type == WIRE_VARINT)
            ret->status = (uint32_t)f.v;
    }
}

static void parse_span_bytes(const struct wire_field *f, struct otlp_span *ret)
{
    switch (f->number) {
    case 1: ret->trace_id = f->bytes; break;
    case 2: ret->span_id = f->bytes; break;
    case 3: ret->trace_state = f->bytes; break;
    case 4: ret->parent_span_id = f->bytes; break;
    case 5: ret->name = f->bytes; break;
    case OTLP_SPAN_ATTRIBUTES: ret->attribute_count++; break;
    case OTLP_SPAN_EVENTS: ret->event_count++; break;
    case OTLP_SPAN_LINKS: ret->link_count++; break;
    case 15: parse_status(f->bytes, ret); break;
    default: break;
    }
}

static void parse_span_number(const struct wire_field *f, struct otlp_span *ret)
{
    switch (f->number << 3 | f->type) {
    case 6 << 3 | WIRE_VARINT: ret->kind = (uint32_t)f->v; break;
    case 7 << 3 | WIRE_FIXED64: ret->start_ns = f->v; break;
    case 8 << 3 | WIRE_FIXED64: ret->end_ns = f->v; break;
    case 10 << 3 | WIRE_VARINT: ret->dropped_attributes = (uint32_t)f->v; break;
    case 12 << 3 | WIRE_VARINT: ret->dropped_events = (uint32_t)f->v; break;
    case 14 << 3 | WIRE_VARINT: ret->dropped_links = (uint32_t)f->v; break;
    case 16 << 3 | WIRE_FIXED32: ret->flags = (uint32_t)f->v; break;
    default: break;
    }
}

void otlp_span_parse(struct slice span, struct otlp_span *ret)
{
    struct reader r = reader_of(span);
    struct wire_field f;

    *ret = (struct otlp_span){0};
    while (wire_next(&r, &f)) {
        if (f.type == WIRE_BYTES)
            parse_span_bytes(&f, ret);
        else
            parse_span_number(&f, ret);
    }
}

struct slice otlp_span_trace_id(struct slice span)
{
    struct reader r = reader_of(span);
    struct slice id = SLICE_NONE;

    return wire_next_bytes(&r, 1, &id) ? id : SLICE_NONE;
}

void otlp_fields_init(struct otlp_field_iter *it, struct slice message, uint32_t field)
{
    *it = (struct otlp_field_iter){reader_of(message), field};
}

bool otlp_next_field(struct otlp_field_iter *it, struct slice *ret_body)
{
    return wire_next_bytes(&it->at, it->field, ret_body);
}

void otlp_value_parse(struct slice any_value, struct otlp_value *ret_value)
{
    static const enum otlp_kind kind_of[] = {OTLP_EMPTY,  OTLP_STR,   OTLP_BOOL,   OTLP_INT,
                                             OTLP_DOUBLE, OTLP_ARRAY, OTLP_KVLIST, OTLP_BYTES};
    struct reader r = reader_of(any_value);
    struct wire_field f;

    *ret_value = (struct otlp_value){.raw = any_value};
    while (wire_next(&r, &f)) {
        if (f.number >= sizeof kind_of / sizeof kind_of[0])
            continue;
        ret_value->kind = kind_of[f.number];
        ret_value->bytes = f.type == WIRE_BYTES ? f.bytes : SLICE_NONE;
        ret_value->i = 0;
        ret_value->d = 0;
        if (f.number == 2 && f.type == WIRE_VARINT)
            ret_value->i = f.v != 0;
        else if (f.number == 3 && f.type == WIRE_VARINT)
            ret_value->i = (int64_t)f.v;
        else if (f.number == 4 && f.type == WIRE_FIXED64)
            memcpy(&ret_value->d, &f.v, sizeof ret_value->d);
    }
}

void otlp_keyvalue_parse(struct slice keyvalue, struct slice *ret_key, struct otlp_value *ret_value)
{
    struct reader r = reader_of(keyvalue);
    struct slice value = SLICE_NONE;
    struct wire_field f;

    *ret_key = SLICE_NONE;
    while (wire_next(&r, &f)) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == 1)
            *ret_key = f.bytes;
        else if (f.number == 2)
            value = f.bytes;
    }
    otlp_value_parse(value, ret_value);
}

bool otlp_find(struct slice message, uint32_t field, struct slice key, struct otlp_value *ret_value)
{
    struct reader r = reader_of(message);
    struct slice keyvalue;

    while (wire_next_bytes(&r, field, &keyvalue)) {
        struct reader kv = reader_of(keyvalue);
        struct slice found = SLICE_NONE;
        struct wire_field f;

        while (wire_next(&kv, &f)) {
            if (f.number == 1 && f.type == WIRE_BYTES)
                found = f.bytes;
        }
        if (slice_eq(found, key)) {
            otlp_keyvalue_parse(keyvalue, &found, ret_value);
            return true;
        }
    }
    return false;
}

void otlp_event_parse(struct slice event, struct otlp_event *ret)
{
    struct reader r = reader_of(event);
    struct wire_field f;

    *ret = (struct otlp_event){0};
    while (wire_next(&r, &f)) {
        if (f.number == 1 && f.type == WIRE_FIXED64)
            ret->time_ns = f.v;
        else if (f.number == 2 && f.type == WIRE_BYTES)
            ret->name = f.bytes;
        else if (f.number == 4 && f.type == WIRE_VARINT)
            ret->dropped_attributes = (uint32_t)f.v;
    }
}

void otlp_link_parse(struct slice link, struct otlp_link *ret)
{
    struct reader r = reader_of(link);
    struct wire_field f;

    *ret = (struct otlp_link){0};
    while (wire_next(&r, &f)) {
        switch (f.number << 3 | f.type) {
        case 1 << 3 | WIRE_BYTES: ret->trace_id = f.bytes; break;
        case 2 << 3 | WIRE_BYTES: ret->span_id = f.bytes; break;
        case 3 << 3 | WIRE_BYTES: ret->trace_state = f.bytes; break;
        case 5 << 3 | WIRE_VARINT: ret->dropped_attributes = (uint32_t)f.v; break;
        case 6 << 3 | WIRE_FIXED32: ret->flags = (uint32_t)f.v; break;
        default: break;
        }
    }
}

void otlp_scope_parse(struct slice scope, struct otlp_scope *ret)
{
    struct reader r = reader_of(scope);
    struct wire_field f;

    *ret = (struct otlp_scope){0};
    while (wire_next(&r, &f)) {
        if (f.number == 1 && f.type == WIRE_BYTES)
            ret->name = f.bytes;
        else if (f.number == 2 && f.type == WIRE_BYTES)
            ret->version = f.bytes;
        else if (f.number == 4 && f.type == WIRE_VARINT)
            ret->dropped_attributes = (uint32_t)f.v;
    }
}
