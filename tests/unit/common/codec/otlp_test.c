#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "tests/lib/test.h"

enum { REQUEST_MAX = 1 << 20 };

static struct slice id_of(const char *sixteen)
{
    return slice_str(sixteen);
}

static void put_text_attribute(struct buf *b, uint32_t field, const char *key, const char *value)
{
    size_t kv = pb_begin(b, field);
    pb_bytes(b, 1, slice_str(key));
    size_t v = pb_begin(b, 2);
    pb_bytes(b, 1, slice_str(value));
    pb_end(b, v);
    pb_end(b, kv);
}

/* A span with everything in it. */
static void put_full_span(struct buf *b)
{
    size_t span = pb_begin(b, 2);
    pb_bytes(b, 1, id_of("0123456789abcdef"));
    pb_bytes(b, 2, id_of("spanspan"));
    pb_bytes(b, 3, slice_str("a=b"));
    pb_bytes(b, 4, id_of("parentid"));
    pb_bytes(b, 5, slice_str("GET /x"));
    pb_varint(b, 6, 3);
    pb_fixed64(b, 7, 1000);
    pb_fixed64(b, 8, 2000);
    put_text_attribute(b, 9, "k", "v");
    put_text_attribute(b, 9, "k2", "v2");
    pb_varint(b, 10, 7);
    size_t event = pb_begin(b, 11);
    pb_fixed64(b, 1, 1500);
    pb_bytes(b, 2, slice_str("exception"));
    put_text_attribute(b, 3, "ek", "ev");
    pb_varint(b, 4, 2);
    pb_end(b, event);
    pb_varint(b, 12, 8);
    size_t link = pb_begin(b, 13);
    pb_bytes(b, 1, id_of("fedcba9876543210"));
    pb_bytes(b, 2, id_of("linkspan"));
    pb_bytes(b, 3, slice_str("c=d"));
    put_text_attribute(b, 4, "lk", "lv");
    pb_varint(b, 5, 1);
    pb_fixed32(b, 6, 0x101);
    pb_end(b, link);
    pb_varint(b, 14, 9);
    size_t status = pb_begin(b, 15);
    pb_bytes(b, 2, slice_str("boom"));
    pb_varint(b, 3, 2);
    pb_end(b, status);
    pb_fixed32(b, 16, 0x301);
    pb_varint(b, 99, 1); /* unknown fields of every wire type */
    pb_fixed64(b, 100, 1);
    pb_fixed32(b, 101, 1);
    pb_bytes(b, 102, slice_str("unknown"));
    pb_end(b, span);
}

/* Two resources: the first with two scopes (two spans, one span), the second with one scope whose own fields stand after the span. */
static void make_request(struct buf *b)
{
    size_t rs = pb_begin(b, 1);
    size_t res = pb_begin(b, 1);
    put_text_attribute(b, 1, "service.name", "shop");
    pb_end(b, res);
    size_t ss = pb_begin(b, 2);
    size_t scope = pb_begin(b, 1);
    pb_bytes(b, 1, slice_str("lib"));
    pb_bytes(b, 2, slice_str("1.2"));
    pb_varint(b, 4, 3);
    pb_end(b, scope);
    put_full_span(b);
    put_full_span(b);
    pb_bytes(b, 3, slice_str("scope-url"));
    pb_end(b, ss);
    ss = pb_begin(b, 2);
    put_full_span(b);
    pb_end(b, ss);
    pb_bytes(b, 3, slice_str("res-url"));
    pb_end(b, rs);
    rs = pb_begin(b, 1);
    ss = pb_begin(b, 2);
    put_full_span(b);
    pb_bytes(b, 3, slice_str("late-url"));
    scope = pb_begin(b, 1);
    pb_bytes(b, 1, slice_str("late"));
    pb_end(b, scope);
    pb_end(b, ss);
    res = pb_begin(b, 1);
    put_text_attribute(b, 1, "service.name", "late");
    pb_end(b, res);
    pb_end(b, rs);
}

static uint32_t count_spans(struct slice request)
{
    struct otlp_iter it;
    struct slice span;
    uint32_t n = 0;

    otlp_iter_init(&it, request);
    while (otlp_next_span(&it, &span))
        n++;
    return n;
}

static void test_every_span_comes_with_its_resource_and_scope(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, REQUEST_MAX);
    make_request(&b);
    uint32_t count = 0;
    assert_int_equal(otlp_check(buf_slice(&b), &otlp_limits_default, &count, NULL), ERR_OK);
    assert_int_equal(count, 4);

    static const struct {
        uint32_t resource_seq, scope_seq;
        const char *service, *resource_url, *scope, *scope_url;
    } want[] = {{1, 1, "shop", "res-url", "lib", "scope-url"},
                {1, 1, "shop", "res-url", "lib", "scope-url"},
                {1, 2, "shop", "res-url", "", ""},
                {2, 3, "late", "", "late", "late-url"}};
    struct otlp_iter it;
    struct slice span;
    unsigned n = 0;
    otlp_iter_init(&it, buf_slice(&b));
    while (otlp_next_span(&it, &span)) {
        struct otlp_scope scope;
        struct otlp_value service;
        assert_true(n < 4);
        assert_int_equal(it.resource_seq, want[n].resource_seq);
        assert_int_equal(it.scope_seq, want[n].scope_seq);
        assert_true(
            otlp_find(it.resource, OTLP_RESOURCE_ATTRIBUTES, SLICE_LIT("service.name"), &service));
        assert_true(slice_eq_str(service.bytes, want[n].service));
        assert_true(slice_eq_str(it.resource_schema_url, want[n].resource_url));
        otlp_scope_parse(it.scope, &scope);
        assert_true(slice_eq_str(scope.name, want[n].scope));
        assert_true(slice_eq_str(it.scope_schema_url, want[n].scope_url));
        n++;
    }
    assert_int_equal(n, 4);
    buf_release(&b);
}

static void test_a_span_gives_all_its_fields(void **state)
{
    (void)state;
    struct buf b;
    struct slice body;
    struct otlp_span s;
    struct otlp_field_iter it;
    buf_init(&b, REQUEST_MAX);
    put_full_span(&b);
    otlp_fields_init(&it, buf_slice(&b), 2);
    assert_true(otlp_next_field(&it, &body));
    otlp_span_parse(body, &s);
    assert_true(slice_eq_str(s.trace_id, "0123456789abcdef"));
    assert_true(slice_eq(otlp_span_trace_id(body), s.trace_id));
    assert_true(slice_eq_str(s.span_id, "spanspan"));
    assert_true(slice_eq_str(s.parent_span_id, "parentid"));
    assert_true(slice_eq_str(s.trace_state, "a=b"));
    assert_true(slice_eq_str(s.name, "GET /x"));
    assert_true(slice_eq_str(s.status_message, "boom"));
    assert_int_equal(s.start_ns, 1000);
    assert_int_equal(s.end_ns, 2000);
    assert_int_equal(s.kind, 3);
    assert_int_equal(s.status, 2);
    assert_true(s.has_status);
    assert_int_equal(s.flags, 0x301);
    assert_int_equal(s.dropped_attributes, 7);
    assert_int_equal(s.dropped_events, 8);
    assert_int_equal(s.dropped_links, 9);
    assert_int_equal(s.attribute_count, 2);
    assert_int_equal(s.event_count, 1);
    assert_int_equal(s.link_count, 1);

    struct slice part, key;
    struct otlp_value v;
    otlp_fields_init(&it, body, OTLP_SPAN_EVENTS);
    assert_true(otlp_next_field(&it, &part));
    struct otlp_event event;
    otlp_event_parse(part, &event);
    assert_int_equal(event.time_ns, 1500);
    assert_true(slice_eq_str(event.name, "exception"));
    assert_int_equal(event.dropped_attributes, 2);
    assert_true(otlp_find(part, OTLP_EVENT_ATTRIBUTES, SLICE_LIT("ek"), &v));
    assert_true(slice_eq_str(v.bytes, "ev"));
    otlp_fields_init(&it, body, OTLP_SPAN_LINKS);
    assert_true(otlp_next_field(&it, &part));
    struct otlp_link link;
    otlp_link_parse(part, &link);
    assert_true(slice_eq_str(link.trace_id, "fedcba9876543210"));
    assert_true(slice_eq_str(link.span_id, "linkspan"));
    assert_int_equal(link.flags, 0x101);
    assert_int_equal(link.dropped_attributes, 1);
    assert_true(otlp_find(part, OTLP_LINK_ATTRIBUTES, SLICE_LIT("lk"), &v));
    assert_false(otlp_find(part, OTLP_LINK_ATTRIBUTES, SLICE_LIT("l"), &v));
    otlp_fields_init(&it, body, OTLP_SPAN_ATTRIBUTES);
    assert_true(otlp_next_field(&it, &part) && otlp_next_field(&it, &part));
    otlp_keyvalue_parse(part, &key, &v);
    assert_true(slice_eq_str(key, "k2"));
    assert_int_equal(v.kind, OTLP_STR);
    assert_false(otlp_next_field(&it, &part));
    buf_release(&b);
}

static void test_values_of_every_kind(void **state)
{
    (void)state;
    struct buf b;
    struct otlp_value v;
    buf_init(&b, 4096);
    otlp_value_parse(buf_slice(&b), &v);
    assert_int_equal(v.kind, OTLP_EMPTY);
    pb_varint(&b, 2, 1);
    otlp_value_parse(buf_slice(&b), &v);
    assert_int_equal(v.kind, OTLP_BOOL);
    assert_int_equal(v.i, 1);
    buf_reset(&b);
    pb_varint(&b, 3, (uint64_t)-5);
    otlp_value_parse(buf_slice(&b), &v);
    assert_int_equal(v.kind, OTLP_INT);
    assert_int_equal(v.i, -5);
    buf_reset(&b);
    pb_double(&b, 4, -1.5);
    otlp_value_parse(buf_slice(&b), &v);
    assert_int_equal(v.kind, OTLP_DOUBLE);
    assert_true(v.d == -1.5);
    buf_reset(&b);
    pb_bytes(&b, 7, SLICE_LIT("a\0b"));
    otlp_value_parse(buf_slice(&b), &v);
    assert_int_equal(v.kind, OTLP_BYTES);
    assert_int_equal(v.bytes.len, 3);
    buf_reset(&b);
    pb_bytes(&b, 5, SLICE_NONE);
    otlp_value_parse(buf_slice(&b), &v);
    assert_int_equal(v.kind, OTLP_ARRAY);
    buf_reset(&b);
    pb_bytes(&b, 6, SLICE_NONE);
    pb_bytes(&b, 1, SLICE_LIT("last wins"));
    otlp_value_parse(buf_slice(&b), &v);
    assert_int_equal(v.kind, OTLP_STR);
    assert_true(slice_eq_str(v.bytes, "last wins"));
    buf_release(&b);
}

static void test_cut_at_every_byte_is_an_error_or_fewer_spans(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, REQUEST_MAX);
    make_request(&b);
    unsigned whole = 0;
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *copy =
            malloc(len == 0 ? 1 : len); /* exact, so that the sanitizer sees a read past it */
        assert_non_null(copy);
        memcpy(copy, b.ptr, len);
        struct slice cut = {copy, len};
        struct err_detail detail = {0};
        uint32_t count = 0;
        enum err e = otlp_check(cut, &otlp_limits_default, &count, &detail);
        if (e == ERR_OK)
            whole++;
        else
            assert_true(e == ERR_FORMAT && detail.text[0] != '\0');
        assert_true(count_spans(cut) <= 4);
        free(copy);
    }
    assert_int_equal(whole, 2); /* nothing at all, and the first ResourceSpans alone */
    buf_release(&b);
}

/* A repeatable stream of numbers (Knuth's MMIX). */
static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void test_damage_never_reads_outside(void **state)
{
    (void)state;
    struct buf b;
    uint64_t random = 7;
    buf_init(&b, REQUEST_MAX);
    make_request(&b);
    uint8_t *copy = malloc(b.len);
    assert_non_null(copy);
    for (unsigned round = 0; round < 20000; round++) {
        memcpy(copy, b.ptr, b.len);
        for (unsigned i = 0; i < 3; i++)
            copy[next_random(&random) % b.len] = (uint8_t)next_random(&random);
        struct slice s = {copy, b.len}, span;
        uint32_t count = 0;
        bool ok = otlp_check(s, &otlp_limits_default, &count, NULL) == ERR_OK;
        struct otlp_iter it;
        uint32_t walked = 0;
        otlp_iter_init(&it, s);
        while (otlp_next_span(&it, &span)) {
            struct otlp_span parsed;
            otlp_span_parse(span, &parsed);
            walked++;
        }
        if (ok)
            assert_int_equal(walked, count);
    }
    free(copy);
    buf_release(&b);
}

static void expect_refusal(const struct buf *b, const struct otlp_limits *limits, enum err want,
                           const char *text)
{
    struct err_detail detail = {0};
    uint32_t count = 77;

    assert_int_equal(otlp_check(buf_slice(b), limits, &count, &detail), want);
    assert_int_equal(count, 77);
    assert_string_equal(detail.text, text);
}

static void test_refusals_name_the_place(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, REQUEST_MAX);
    size_t rs = pb_begin(&b, 1);
    size_t ss = pb_begin(&b, 2);
    size_t span = pb_begin(&b, 2);
    pb_end(&b, span);
    span = pb_begin(&b, 2);
    put_text_attribute(&b, 9, "a", "b");
    size_t kv = pb_begin(&b, 9);
    pb_varint(&b, 2, 1);
    pb_end(&b, kv);
    pb_end(&b, span);
    pb_end(&b, ss);
    pb_end(&b, rs);
    expect_refusal(
        &b, &otlp_limits_default, ERR_FORMAT,
        "resource_spans[0].scope_spans[0].spans[1].attributes[1].value: wrong wire type");
    struct otlp_limits few = otlp_limits_default;
    few.spans_max = 1;
    expect_refusal(&b, &few, ERR_TOO_LARGE,
                   "resource_spans[0].scope_spans[0].spans: too many spans in one request");
    few = otlp_limits_default;
    few.attributes_max = 1;
    expect_refusal(&b, &few, ERR_TOO_LARGE,
                   "resource_spans[0].scope_spans[0].spans[1].attributes: too many attributes");
    buf_reset(&b);
    buf_append_byte(&b, 1 << 3 | 3);
    buf_append_byte(&b, 1 << 3 | 4);
    expect_refusal(&b, &otlp_limits_default, ERR_FORMAT,
                   "request: malformed or cut protobuf field");
    buf_reset(&b);
    pb_varint(&b, 1, 1);
    expect_refusal(&b, &otlp_limits_default, ERR_FORMAT, "resource_spans: wrong wire type");
    buf_reset(&b);
    rs = pb_begin(&b, 1);
    pb_bytes(&b, 1, SLICE_NONE);
    pb_bytes(&b, 1, SLICE_NONE);
    pb_end(&b, rs);
    expect_refusal(&b, &otlp_limits_default, ERR_FORMAT,
                   "resource_spans[0].resource: given more than once");
    buf_release(&b);
}

/* `levels` AnyValues, one inside the other. */
static void make_nested(struct buf *b, unsigned levels, bool is_list)
{
    enum { MARKS = 512 };
    size_t marks[MARKS];
    unsigned n = 0;
    static const uint32_t down[] = {1, 2, 2, 9, 2};
    for (unsigned i = 0; i < 5; i++)
        marks[n++] = pb_begin(b, down[i]); /* now inside the first AnyValue */
    for (unsigned i = 1; i < levels; i++) {
        marks[n++] = pb_begin(b, is_list ? 5 : 6);
        marks[n++] = pb_begin(b, 1);
        if (!is_list)
            marks[n++] = pb_begin(b, 2);
    }
    while (n > 0)
        pb_end(b, marks[--n]);
}

static void test_nesting_is_limited(void **state)
{
    (void)state;
    for (unsigned is_list = 0; is_list < 2; is_list++) {
        struct buf b;
        uint32_t count = 0;
        struct err_detail detail = {0};
        buf_init(&b, REQUEST_MAX);
        make_nested(&b, 64, is_list == 1);
        assert_int_equal(otlp_check(buf_slice(&b), &otlp_limits_default, &count, &detail), ERR_OK);
        assert_int_equal(count, 1);
        buf_reset(&b);
        make_nested(&b, 65, is_list == 1);
        assert_int_equal(otlp_check(buf_slice(&b), &otlp_limits_default, &count, &detail),
                         ERR_TOO_LARGE);
        assert_non_null(strstr(detail.text, "nested too deeply"));
        buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_span_comes_with_its_resource_and_scope),
        cmocka_unit_test(test_a_span_gives_all_its_fields),
        cmocka_unit_test(test_values_of_every_kind),
        cmocka_unit_test(test_cut_at_every_byte_is_an_error_or_fewer_spans),
        cmocka_unit_test(test_damage_never_reads_outside),
        cmocka_unit_test(test_refusals_name_the_place),
        cmocka_unit_test(test_nesting_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
