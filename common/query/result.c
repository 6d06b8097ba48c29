#include "common/query/result.h"

#include "common/base/reader.h"
#include "common/codec/otlp_write.h"
#include "common/codec/pb_field.h"

#include <assert.h>

/* Field numbers: proto/query.proto. */
enum { VALUE_TYPE = 1, VALUE_I, VALUE_F, VALUE_S, VALUE_ITEMS };
enum { ATTRIBUTE_KEY = 1, ATTRIBUTE_VALUE };
enum { SPAN_ID = 1, SPAN_NAME, SPAN_START, SPAN_DURATION, SPAN_ATTRIBUTES };
enum { SPANSET_SPANS = 1, SPANSET_MATCHED, SPANSET_ATTRIBUTES };
enum { SERVICE_NAME = 1, SERVICE_SPANS, SERVICE_ERRORS };
enum {
    TRACE_ID = 1,
    TRACE_SERVICE,
    TRACE_NAME,
    TRACE_START,
    TRACE_DURATION,
    TRACE_SPANSETS,
    TRACE_SERVICES
};
enum {
    STATS_TRACES = 1,
    STATS_BYTES,
    STATS_SPANS,
    STATS_BLOCKS,
    STATS_JOBS,
    STATS_DONE,
    STATS_BLOCK_BYTES
};
enum { SEARCH_TRACES = 1, SEARCH_IS_CUT, SEARCH_STATS };
enum { NAMES_SCOPES = 1, NAMES_STATS };
enum { SCOPE_NAMES = 1 };
enum { VALUES_VALUES = 1, VALUES_IS_CUT, VALUES_STATS };

void result_value_pack(struct buf *out, uint32_t field, struct value v)
{
    size_t mark = pb_begin(out, field);

    pb_varint(out, VALUE_TYPE, v.type);
    if (v.type == VALUE_FLOAT)
        pb_double(out, VALUE_F, v.f);
    else if (v.type == VALUE_STRING)
        pb_bytes(out, VALUE_S, v.s);
    else if (value_is_array(v))
        for (uint32_t i = 0; i < v.array.count; i++)
            result_value_pack(out, VALUE_ITEMS, v.array.items[i]);
    else if (v.type != VALUE_NIL)
        pb_varint(out, VALUE_I, zigzag(v.i));
    pb_end(out, mark);
}

void result_attributes_pack(struct buf *out, uint32_t field, const struct result_attribute *list,
                            uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t mark = pb_begin(out, field);
        pb_bytes(out, ATTRIBUTE_KEY, list[i].key);
        result_value_pack(out, ATTRIBUTE_VALUE, list[i].value);
        pb_end(out, mark);
    }
}

static void pack_spanset(struct buf *out, const struct result_spanset *s)
{
    size_t mark = pb_begin(out, TRACE_SPANSETS);

    for (uint32_t i = 0; i < s->span_count; i++) {
        const struct result_span *span = &s->spans[i];
        size_t span_mark = pb_begin(out, SPANSET_SPANS);
        pb_bytes(out, SPAN_ID, (struct slice){span->id.b, SPAN_ID_BYTES});
        pb_bytes(out, SPAN_NAME, span->name);
        pb_fixed64(out, SPAN_START, span->start_ns);
        pb_fixed64(out, SPAN_DURATION, span->duration_ns);
        result_attributes_pack(out, SPAN_ATTRIBUTES, span->attributes, span->attribute_count);
        pb_end(out, span_mark);
    }
    pb_varint(out, SPANSET_MATCHED, s->matched);
    result_attributes_pack(out, SPANSET_ATTRIBUTES, s->attributes, s->attribute_count);
    pb_end(out, mark);
}

static void pack_trace(struct buf *out, const struct result_trace *t)
{
    size_t mark = pb_begin(out, SEARCH_TRACES);

    pb_bytes(out, TRACE_ID, (struct slice){t->id.b, TRACE_ID_BYTES});
    pb_bytes(out, TRACE_SERVICE, t->root_service);
    pb_bytes(out, TRACE_NAME, t->root_name);
    pb_fixed64(out, TRACE_START, t->start_ns);
    pb_fixed64(out, TRACE_DURATION, t->duration_ns);
    for (uint32_t i = 0; i < t->spanset_count; i++)
        pack_spanset(out, &t->spansets[i]);
    for (uint32_t i = 0; i < t->service_count; i++) {
        size_t service = pb_begin(out, TRACE_SERVICES);
        pb_bytes(out, SERVICE_NAME, t->services[i].name);
        pb_varint(out, SERVICE_SPANS, t->services[i].span_count);
        pb_varint(out, SERVICE_ERRORS, t->services[i].error_count);
        pb_end(out, service);
    }
    pb_end(out, mark);
}

static void pack_stats(struct buf *out, uint32_t field, const struct result_stats *s)
{
    size_t mark = pb_begin(out, field);

    pb_varint(out, STATS_TRACES, s->inspected_traces);
    pb_varint(out, STATS_BYTES, s->inspected_bytes);
    pb_varint(out, STATS_SPANS, s->inspected_spans);
    pb_varint(out, STATS_BLOCKS, s->total_blocks);
    pb_varint(out, STATS_JOBS, s->total_jobs);
    pb_varint(out, STATS_DONE, s->completed_jobs);
    pb_varint(out, STATS_BLOCK_BYTES, s->total_block_bytes);
    pb_end(out, mark);
}

void search_result_pack(struct buf *out, const struct search_result *r)
{
    for (uint32_t i = 0; i < r->trace_count; i++)
        pack_trace(out, &r->traces[i]);
    pb_varint(out, SEARCH_IS_CUT, r->is_cut);
    pack_stats(out, SEARCH_STATS, &r->stats);
}

void tag_names_pack(struct buf *out, const struct tag_names *r)
{
    for (int k = 0; k < TAGS_SCOPE_COUNT; k++) {
        size_t mark = pb_begin(out, NAMES_SCOPES);
        for (uint32_t i = 0; i < r->counts[k]; i++)
            pb_bytes(out, SCOPE_NAMES, r->names[k][i]);
        pb_end(out, mark);
    }
    pack_stats(out, NAMES_STATS, &r->stats);
}

void tag_values_pack(struct buf *out, const struct tag_values *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        result_value_pack(out, VALUES_VALUES, r->values[i]);
    pb_varint(out, VALUES_IS_CUT, r->is_cut);
    pack_stats(out, VALUES_STATS, &r->stats);
}

/* Checks the fields of a message and counts those of a number: arrays are made before they are filled, and never longer than the bytes allow. */
static enum err count_field(struct slice message, uint32_t number, uint32_t *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    uint32_t n = 0;

    while (pb_field_next(&r, &f))
        n += f.number == number && f.wire == WIRE_BYTES;
    *ret = n;
    return reader_failed(&r) ? ERR_FORMAT : ERR_OK;
}

static enum value_type element_type(enum value_type t)
{
    switch ((int)t) {
    case VALUE_INT_ARRAY: return VALUE_INT;
    case VALUE_FLOAT_ARRAY: return VALUE_FLOAT;
    case VALUE_STRING_ARRAY: return VALUE_STRING;
    case VALUE_BOOL_ARRAY: return VALUE_BOOL;
    default: return VALUE_NIL;
    }
}

static enum err unpack_value(struct arena *a, struct slice message, bool is_element,
                             struct value *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    uint64_t type = 0, i = 0, d = 0;
    struct slice s = SLICE_NONE;
    uint32_t count = 0, n = 0;
    enum err err = count_field(message, VALUE_ITEMS, &count);

    if (err != ERR_OK)
        return err;
    struct value *items = ARENA_ARRAY(a, struct value, is_element ? 0 : count);
    while (items != NULL && pb_field_next(&r, &f)) {
        if (f.number == VALUE_TYPE && f.wire == WIRE_VARINT)
            type = f.value;
        else if (f.number == VALUE_I && f.wire == WIRE_VARINT)
            i = f.value;
        else if (f.number == VALUE_F && f.wire == WIRE_FIXED64)
            d = f.value;
        else if (f.number == VALUE_S && f.wire == WIRE_BYTES)
            s = f.bytes;
        else if (f.number == VALUE_ITEMS && f.wire == WIRE_BYTES && is_element)
            return ERR_FORMAT; /* arrays hold scalars */
        else if (f.number == VALUE_ITEMS && f.wire == WIRE_BYTES)
            err = unpack_value(a, f.bytes, true, &items[n++]);
        if (err != ERR_OK)
            return err;
    }
    if (items == NULL)
        return arena_err(a);
    if (type > VALUE_BOOL_ARRAY || (is_element && type >= VALUE_INT_ARRAY))
        return ERR_FORMAT;
    struct value v = {.type = (enum value_type)type};
    if (value_is_array(v)) {
        for (uint32_t k = 0; k < n; k++)
            if (items[k].type != element_type(v.type))
                return ERR_FORMAT;
        v.array.items = items;
        v.array.count = n;
    } else if (v.type == VALUE_STRING) {
        v.s = arena_dup(a, s);
    } else if (v.type == VALUE_FLOAT) {
        memcpy(&v.f, &d, sizeof v.f);
    } else {
        v.i = unzigzag(i);
    }
    *ret = v;
    return arena_err(a);
}

enum err result_value_unpack(struct arena *a, struct slice message, struct value *ret)
{
    return unpack_value(a, message, false, ret);
}

enum err result_attribute_unpack(struct arena *a, struct slice message,
                                 struct result_attribute *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    enum err err = ERR_OK;

    *ret = (struct result_attribute){.key = SLICE_LIT("")};
    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == ATTRIBUTE_KEY && f.wire == WIRE_BYTES)
            ret->key = arena_dup(a, f.bytes);
        else if (f.number == ATTRIBUTE_VALUE && f.wire == WIRE_BYTES)
            err = unpack_value(a, f.bytes, false, &ret->value);
    }
    return err != ERR_OK ? err : reader_failed(&r) ? ERR_FORMAT : arena_err(a);
}

static enum err unpack_span(struct arena *a, struct slice message, struct result_span *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    uint32_t count = 0;
    bool has_id = false;
    enum err err = count_field(message, SPAN_ATTRIBUTES, &count);

    *ret = (struct result_span){.attributes = ARENA_ARRAY(a, struct result_attribute, count)};
    if (err != ERR_OK || ret->attributes == NULL)
        return err != ERR_OK ? err : arena_err(a);
    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == SPAN_ID && f.wire == WIRE_BYTES && f.bytes.len == SPAN_ID_BYTES) {
            memcpy(ret->id.b, f.bytes.ptr, SPAN_ID_BYTES);
            has_id = true;
        } else if (f.number == SPAN_NAME && f.wire == WIRE_BYTES) {
            ret->name = arena_dup(a, f.bytes);
        } else if (f.number == SPAN_START && f.wire == WIRE_FIXED64) {
            ret->start_ns = f.value;
        } else if (f.number == SPAN_DURATION && f.wire == WIRE_FIXED64) {
            ret->duration_ns = f.value;
        } else if (f.number == SPAN_ATTRIBUTES && f.wire == WIRE_BYTES) {
            err = result_attribute_unpack(a, f.bytes, &ret->attributes[ret->attribute_count++]);
        }
    }
    if (err == ERR_OK && !has_id)
        err = ERR_FORMAT;
    return err != ERR_OK ? err : arena_err(a);
}

static enum err unpack_spanset(struct arena *a, struct slice message, struct result_spanset *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    uint32_t spans = 0, attributes = 0;
    enum err err = count_field(message, SPANSET_SPANS, &spans);

    if (err == ERR_OK)
        err = count_field(message, SPANSET_ATTRIBUTES, &attributes);
    *ret =
        (struct result_spanset){.spans = ARENA_ARRAY(a, struct result_span, spans),
                                .attributes = ARENA_ARRAY(a, struct result_attribute, attributes)};
    if (err != ERR_OK || ret->spans == NULL || ret->attributes == NULL)
        return err != ERR_OK ? err : arena_err(a);
    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == SPANSET_MATCHED && f.wire == WIRE_VARINT)
            ret->matched = f.value <= UINT32_MAX ? (uint32_t)f.value : UINT32_MAX;
        else if (f.number == SPANSET_SPANS && f.wire == WIRE_BYTES)
            err = unpack_span(a, f.bytes, &ret->spans[ret->span_count++]);
        else if (f.number == SPANSET_ATTRIBUTES && f.wire == WIRE_BYTES)
            err = result_attribute_unpack(a, f.bytes, &ret->attributes[ret->attribute_count++]);
    }
    return err;
}

static enum err unpack_service(struct arena *a, struct slice message, struct result_service *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;

    *ret = (struct result_service){.name = SLICE_LIT("")};
    while (pb_field_next(&r, &f)) {
        if (f.number == SERVICE_NAME && f.wire == WIRE_BYTES)
            ret->name = arena_dup(a, f.bytes);
        else if (f.number == SERVICE_SPANS && f.wire == WIRE_VARINT)
            ret->span_count = (uint32_t)f.value;
        else if (f.number == SERVICE_ERRORS && f.wire == WIRE_VARINT)
            ret->error_count = (uint32_t)f.value;
    }
    return reader_failed(&r) ? ERR_FORMAT : arena_err(a);
}

static enum err unpack_trace(struct arena *a, struct slice message, struct result_trace *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    uint32_t sets = 0, services = 0;
    bool has_id = false;
    enum err err = count_field(message, TRACE_SPANSETS, &sets);

    if (err == ERR_OK)
        err = count_field(message, TRACE_SERVICES, &services);
    *ret = (struct result_trace){.spansets = ARENA_ARRAY(a, struct result_spanset, sets),
                                 .services = ARENA_ARRAY(a, struct result_service, services)};
    if (err != ERR_OK || ret->spansets == NULL || ret->services == NULL)
        return err != ERR_OK ? err : arena_err(a);
    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.wire == WIRE_FIXED64 && f.number == TRACE_START)
            ret->start_ns = f.value;
        if (f.wire == WIRE_FIXED64 && f.number == TRACE_DURATION)
            ret->duration_ns = f.value;
        if (f.wire != WIRE_BYTES)
            continue;
        if (f.number == TRACE_ID && f.bytes.len == TRACE_ID_BYTES) {
            memcpy(ret->id.b, f.bytes.ptr, TRACE_ID_BYTES);
            has_id = true;
        } else if (f.number == TRACE_SERVICE) {
            ret->root_service = arena_dup(a, f.bytes);
        } else if (f.number == TRACE_NAME) {
            ret->root_name = arena_dup(a, f.bytes);
        } else if (f.number == TRACE_SPANSETS) {
            err = unpack_spanset(a, f.bytes, &ret->spansets[ret->spanset_count++]);
        } else if (f.number == TRACE_SERVICES) {
            err = unpack_service(a, f.bytes, &ret->services[ret->service_count++]);
        }
    }
    if (err == ERR_OK && !has_id)
        err = ERR_FORMAT;
    return err != ERR_OK ? err : arena_err(a);
}

static enum err unpack_stats(struct slice message, struct result_stats *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;

    while (pb_field_next(&r, &f)) {
        if (f.wire != WIRE_VARINT)
            continue;
        switch (f.number) {
        case STATS_TRACES: ret->inspected_traces = f.value; break;
        case STATS_BYTES: ret->inspected_bytes = f.value; break;
        case STATS_SPANS: ret->inspected_spans = f.value; break;
        case STATS_BLOCKS: ret->total_blocks = (uint32_t)f.value; break;
        case STATS_JOBS: ret->total_jobs = (uint32_t)f.value; break;
        case STATS_DONE: ret->completed_jobs = (uint32_t)f.value; break;
        case STATS_BLOCK_BYTES: ret->total_block_bytes = f.value; break;
        default: break;
        }
    }
    return reader_failed(&r) ? ERR_FORMAT : ERR_OK;
}

enum err search_result_unpack(struct arena *a, struct slice bytes, struct search_result *ret)
{
    struct reader r = reader_of(bytes);
    struct search_result out = {0};
    struct pb_field f;
    uint32_t count = 0;
    enum err err = count_field(bytes, SEARCH_TRACES, &count);

    out.traces = ARENA_ARRAY(a, struct result_trace, count);
    if (err != ERR_OK || out.traces == NULL)
        return err != ERR_OK ? err : arena_err(a);
    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == SEARCH_TRACES && f.wire == WIRE_BYTES)
            err = unpack_trace(a, f.bytes, &out.traces[out.trace_count++]);
        else if (f.number == SEARCH_IS_CUT && f.wire == WIRE_VARINT)
            out.is_cut = f.value != 0;
        else if (f.number == SEARCH_STATS && f.wire == WIRE_BYTES)
            err = unpack_stats(f.bytes, &out.stats);
    }
    if (err == ERR_OK)
        *ret = out;
    return err;
}

static enum err unpack_scope(struct arena *a, struct slice message, struct slice **ret,
                             uint32_t *ret_count)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    uint32_t count = 0, n = 0;
    enum err err = count_field(message, SCOPE_NAMES, &count);

    struct slice *names = ARENA_ARRAY(a, struct slice, count);
    if (err != ERR_OK || names == NULL)
        return err != ERR_OK ? err : arena_err(a);
    while (pb_field_next(&r, &f))
        if (f.number == SCOPE_NAMES && f.wire == WIRE_BYTES)
            names[n++] = arena_dup(a, f.bytes);
    *ret = names;
    *ret_count = n;
    return arena_err(a);
}

enum err tag_names_unpack(struct arena *a, struct slice bytes, struct tag_names *ret)
{
    struct reader r = reader_of(bytes);
    struct tag_names out = {0};
    struct pb_field f;
    uint32_t k = 0;
    enum err err = ERR_OK;

    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == NAMES_STATS && f.wire == WIRE_BYTES)
            err = unpack_stats(f.bytes, &out.stats);
        if (f.number != NAMES_SCOPES || f.wire != WIRE_BYTES)
            continue;
        if (k == TAGS_SCOPE_COUNT)
            return ERR_FORMAT;
        err = unpack_scope(a, f.bytes, &out.names[k], &out.counts[k]);
        k++;
    }
    if (err == ERR_OK && reader_failed(&r))
        err = ERR_FORMAT;
    if (err == ERR_OK)
        *ret = out;
    return err;
}

enum err tag_values_unpack(struct arena *a, struct slice bytes, struct tag_values *ret)
{
    struct reader r = reader_of(bytes);
    struct tag_values out = {0};
    struct pb_field f;
    uint32_t count = 0;
    enum err err = count_field(bytes, VALUES_VALUES, &count);

    out.values = ARENA_ARRAY(a, struct value, count);
    if (err != ERR_OK || out.values == NULL)
        return err != ERR_OK ? err : arena_err(a);
    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == VALUES_VALUES && f.wire == WIRE_BYTES)
            err = unpack_value(a, f.bytes, false, &out.values[out.count++]);
        else if (f.number == VALUES_IS_CUT && f.wire == WIRE_VARINT)
            out.is_cut = f.value != 0;
        else if (f.number == VALUES_STATS && f.wire == WIRE_BYTES)
            err = unpack_stats(f.bytes, &out.stats);
    }
    if (err == ERR_OK)
        *ret = out;
    return err;
}
