/* Bytes as an OTLP request.  Properties: no walker reads outside; what otlp_check lets through has as many spans as it says and comes through the
 * split unchanged: the same set of spans, each with its resource and scope, in parts that otlp_check lets through. */
#include "common/codec/otlp.h"
#include "distributor/split.h"
#include "tests/lib/otlp_random.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t seen; /* keeps the compiler from leaving the reads out */

static void see(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        seen += s.ptr[i];
}

static void walk_value(struct slice any_value, unsigned depth)
{
    struct otlp_value v;
    struct otlp_field_iter it;
    struct slice item, key;

    otlp_value_parse(any_value, &v);
    see(v.bytes);
    seen += (uint64_t)v.i + (uint64_t)(v.d != 0);
    if (depth == 0)
        return;
    otlp_fields_init(&it, v.bytes, 1);
    while (v.kind == OTLP_ARRAY && otlp_next_field(&it, &item))
        walk_value(item, depth - 1);
    while (v.kind == OTLP_KVLIST && otlp_next_field(&it, &item)) {
        struct otlp_value inner;
        otlp_keyvalue_parse(item, &key, &inner);
        see(key);
        walk_value(inner.raw, depth - 1);
    }
}

static void walk_attributes(struct slice message, uint32_t field)
{
    struct otlp_field_iter it;
    struct slice item, key;
    struct otlp_value v;

    otlp_fields_init(&it, message, field);
    while (otlp_next_field(&it, &item)) {
        otlp_keyvalue_parse(item, &key, &v);
        see(key);
        walk_value(v.raw, 3);
    }
    seen += otlp_find(message, field, SLICE_LIT("service.name"), &v);
}

static void walk_span(struct slice span)
{
    struct otlp_span s;
    struct otlp_field_iter it;
    struct slice item;

    otlp_span_parse(span, &s);
    see(s.name);
    see(s.status_message);
    see(s.trace_state);
    walk_attributes(span, OTLP_SPAN_ATTRIBUTES);
    uint32_t events = 0, links = 0;
    otlp_fields_init(&it, span, OTLP_SPAN_EVENTS);
    for (; otlp_next_field(&it, &item); events++) {
        struct otlp_event e;
        otlp_event_parse(item, &e);
        see(e.name);
        walk_attributes(item, OTLP_EVENT_ATTRIBUTES);
    }
    otlp_fields_init(&it, span, OTLP_SPAN_LINKS);
    for (; otlp_next_field(&it, &item); links++) {
        struct otlp_link l;
        otlp_link_parse(item, &l);
        see(l.trace_id);
        walk_attributes(item, OTLP_LINK_ATTRIBUTES);
    }
    assert(events == s.event_count && links == s.link_count);
}

/* Sums do not depend on the order. */
static uint64_t walk(struct slice request, bool only_good, uint32_t *ret_count)
{
    struct otlp_iter it;
    struct slice span;
    uint64_t sum = 0;

    *ret_count = 0;
    otlp_iter_init(&it, request);
    while (otlp_next_span(&it, &span)) {
        struct otlp_span s;
        struct trace_id trace;
        struct span_id id;
        walk_span(span);
        walk_attributes(it.resource, OTLP_RESOURCE_ATTRIBUTES);
        otlp_span_parse(span, &s);
        /* Of what was checked: before that an id given twice is read as the one or the other. */
        assert(!only_good || slice_eq(s.trace_id, otlp_span_trace_id(span)));
        if (only_good && (trace_id_from_wire(s.trace_id, &trace) != ERR_OK ||
                          span_id_from_wire(s.span_id, &id) != ERR_OK))
            continue;
        (*ret_count)++;
        sum += otlp_random_fingerprint(&it, span);
    }
    return sum;
}

static uint32_t place(void *arg, struct trace_id id)
{
    (void)arg;
    return id.b[0] % 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice request = {data, size};
    struct arena a;
    struct split s;
    uint32_t checked = 0, walked, good;
    struct err_detail detail;

    (void)walk(request, false, &walked);
    if (otlp_check(request, &otlp_limits_default, &checked, &detail) != ERR_OK)
        return 0;
    assert(checked == walked);
    arena_init(&a, NULL);
    if (split_begin(&a, request, checked, &s) != ERR_OK || split_route(&s, place, NULL) != ERR_OK)
        abort();
    uint64_t want = walk(request, true, &good), got = 0;
    assert(s.span_count == good && good + s.rejected[0] + s.rejected[1] == checked);
    for (uint32_t i = 0; i < s.part_count; i++) {
        struct buf part;
        uint32_t count = 0, part_good;
        buf_init(&part, 1 << 28);
        for (unsigned k = 0; k < s.parts[i].piece_count; k++)
            buf_append(&part, s.parts[i].pieces[k]);
        assert(buf_err(&part) == ERR_OK && part.len == s.parts[i].bytes);
        if (otlp_check(buf_slice(&part), &otlp_limits_default, &count, NULL) != ERR_OK)
            abort();
        assert(count == s.parts[i].span_count);
        got += walk(buf_slice(&part), true, &part_good);
        assert(part_good == count);
        buf_release(&part);
    }
    assert(want == got);
    arena_release(&a);
    return 0;
}
