/* A server span that shares its client's id gets one of its own; everything else stays as it was. */
#include "common/codec/otlp.h"
#include "common/codec/otlp_json.h"
#include "querier/shared_ids.h"
#include "tests/lib/test.h"

struct want {
    const char *id, *parent;
};

static void check(const char *spans_json, const struct want *want, unsigned count)
{
    struct arena a;
    struct buf json, pb;
    struct slice fixed, span;
    struct otlp_iter it;
    unsigned n = 0;

    arena_init(&a, NULL);
    buf_init(&json, 1 << 16);
    buf_init(&pb, 1 << 16);
    buf_appendf(
        &json,
        "{\"resourceSpans\":[{\"schemaUrl\":\"r\",\"resource\":{},\"scopeSpans\":[{\"scope\":{\"name\":\"s\"},\"schemaUrl\":\"u\",\"spans\":[%s]}]}]}",
        spans_json);
    assert_int_equal(otlp_json_to_pb(buf_slice(&json), NULL, &pb, NULL), ERR_OK);
    assert_int_equal(shared_ids_fix(&a, buf_slice(&pb), &fixed), ERR_OK);
    for (otlp_iter_init(&it, fixed); otlp_next_span(&it, &span); n++) {
        struct otlp_span s;
        char hex[17] = "";
        otlp_span_parse(span, &s);
        assert_true(n < count);
        hex_encode(s.span_id, hex);
        assert_string_equal(hex, want[n].id);
        hex[0] = '\0';
        if (s.parent_span_id.len != 0)
            hex_encode(s.parent_span_id, hex);
        assert_string_equal(hex, want[n].parent);
        assert_true(slice_eq_str(s.name, "n"));
        assert_true(slice_eq_str(it.scope_schema_url, "u"));
        assert_true(slice_eq_str(it.resource_schema_url, "r"));
    }
    assert_int_equal(n, count);
    buf_release(&json);
    buf_release(&pb);
    arena_release(&a);
}

#define SPAN(id, parent, kind)                                           \
    "{\"traceId\":\"000000000000000000000000000000aa\",\"spanId\":\"" id \
    "\",\"parentSpanId\":\"" parent "\",\"name\":\"n\",\"kind\":" kind "}"

static void test_nothing_shared_nothing_changed(void **state)
{
    (void)state;
    check(SPAN("00000000000000b1", "", "3") "," SPAN("00000000000000b2", "00000000000000b1", "2"),
          (struct want[]){{"00000000000000b1", ""}, {"00000000000000b2", "00000000000000b1"}}, 2);
}

static void test_server_gets_a_new_id_and_its_children_follow(void **state)
{
    (void)state;
    check(SPAN("00000000000000b1", "", "3") "," SPAN("00000000000000b1", "", "2") "," SPAN(
              "00000000000000b3", "00000000000000b1", "1"),
          (struct want[]){{"00000000000000b1", ""},
                          {"0000000000000001", "00000000000000b1"},
                          {"00000000000000b3", "0000000000000001"}},
          3);
}

static void test_new_ids_are_not_taken(void **state)
{
    (void)state;
    check(SPAN("00000000000000b1", "", "3") "," SPAN("0000000000000001", "", "1") "," SPAN(
              "00000000000000b1", "00000000000000ff", "2"),
          (struct want[]){{"00000000000000b1", ""},
                          {"0000000000000001", ""},
                          {"0000000000000002", "00000000000000b1"}},
          3);
}

static void test_two_servers_alone_stay(void **state)
{
    (void)state;
    check(SPAN("00000000000000b1", "", "2") "," SPAN("00000000000000b1", "", "2"),
          (struct want[]){{"00000000000000b1", ""}, {"00000000000000b1", ""}}, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_shared_nothing_changed),
        cmocka_unit_test(test_server_gets_a_new_id_and_its_children_follow),
        cmocka_unit_test(test_new_ids_are_not_taken),
        cmocka_unit_test(test_two_servers_alone_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
