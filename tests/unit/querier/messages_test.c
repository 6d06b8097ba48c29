/* Requests as the ingester reads them; answers that are damaged. */
#include "common/base/clock.h"
#include "common/codec/otlp_write.h"
#include "common/net/rpc.h"
#include "ingester/query_message.h"
#include "querier/messages.h"
#include "tests/lib/test.h"

static struct arena arena;
static struct buf out;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, NULL);
    buf_init(&out, 1 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    buf_release(&out);
    return 0;
}

static struct query_message read_back(uint16_t method)
{
    struct query_message m;

    assert_int_equal(buf_err(&out), ERR_OK);
    assert_int_equal(query_message_read(method, buf_slice(&out), &arena, &m), ERR_OK);
    assert_true(slice_eq_str(m.tenant, "acme"));
    return m;
}

static void test_search_request(void **state)
{
    struct engine_tag tags[2] = {{SLICE_LIT("k"), SLICE_LIT("a\0b")},
                                 {SLICE_LIT("empty"), SLICE_NONE}};
    struct trace_id ids[2] = {{.b = {1}}, {.b = {2, 255}}};
    struct engine_query q = {.tags = tags,
                             .tag_count = 2,
                             .start_ns = 7,
                             .end_ns = UINT64_MAX,
                             .limit = 20,
                             .spans_per_spanset = 3,
                             .min_duration_ns = 5,
                             .max_duration_ns = 6,
                             .exclude = ids,
                             .exclude_count = 2};

    (void)state;
    messages_search_request(&out, SLICE_LIT("acme"), SLICE_LIT("{ true }"), &q, 1500 * NS_PER_MS);
    struct query_message m = read_back(RPC_SEARCH);
    assert_true(slice_eq_str(m.text, "{ true }"));
    assert_int_equal(m.tag_count, 2);
    assert_true(slice_eq(m.tags[0].value, SLICE_LIT("a\0b")));
    assert_true(slice_eq_str(m.tags[1].key, "empty"));
    assert_int_equal(m.start_ns, 7);
    assert_true(m.end_ns == UINT64_MAX);
    assert_int_equal(m.limit, 20);
    assert_int_equal(m.spans_per_spanset, 3);
    assert_int_equal(m.min_duration_ns, 5);
    assert_int_equal(m.max_duration_ns, 6);
    assert_int_equal(m.deadline_ms, 1500);
    assert_int_equal(m.id_count, 2);
    assert_true(trace_id_eq(m.ids[1], ids[1]));
}

static void test_the_other_requests(void **state)
{
    struct trace_id id = {.b = {9}};

    (void)state;
    messages_trace_request(&out, SLICE_LIT("acme"), &id, 1);
    struct query_message m = read_back(RPC_TRACE);
    assert_int_equal(m.id_count, 1);
    assert_true(trace_id_eq(m.ids[0], id));
    m = read_back(RPC_HAS_TRACES);
    assert_int_equal(m.id_count, 1);
    buf_reset(&out);
    messages_flagged_request(&out, SLICE_LIT("acme"), 3, 4);
    m = read_back(RPC_FLAGGED);
    assert_int_equal(m.start_ns, 3);
    assert_int_equal(m.end_ns, 4);
    buf_reset(&out);
    messages_tag_names_request(&out, SLICE_LIT("acme"), SLICE_LIT("{}"), 5, 6);
    m = read_back(RPC_TAG_NAMES);
    assert_true(slice_eq_str(m.text, "{}"));
    assert_int_equal(m.start_ns, 5);
    buf_reset(&out);
    messages_tag_values_request(&out, SLICE_LIT("acme"), SLICE_LIT(".x"), true, SLICE_LIT("{}"), 5,
                                6, 7);
    m = read_back(RPC_TAG_VALUES);
    assert_true(slice_eq_str(m.tag, ".x"));
    assert_true(m.any_scope);
    assert_true(slice_eq_str(m.text, "{}"));
    assert_int_equal(m.end_ns, 6);
    assert_int_equal(m.limit, 7);
}

static void test_coverage_as_the_ingester_writes_it(void **state)
{
    struct view v = {.published_lsn = 77, .is_replaying = true};
    struct blocks_coverage c;

    (void)state;
    query_message_coverage(&out, 4, SLICE_LIT("ingester-0"), &v);
    pb_bytes(&out, 9, SLICE_LIT("of a newer version"));
    assert_int_equal(messages_coverage(&arena, buf_slice(&out), 4, &c), ERR_OK);
    assert_true(c.is_known);
    assert_true(slice_eq_str(c.instance_id, "ingester-0"));
    assert_int_equal(c.published_lsn, 77);
    assert_true(c.is_replaying);
    assert_int_equal(c.recent_count, 0);
    assert_int_equal(messages_coverage(&arena, buf_slice(&out), 3, &c), ERR_CORRUPT);
    size_t mark = pb_begin(&out, 3);
    pb_bytes(&out, 1, SLICE_LIT("i"));
    pb_bytes(&out, 3, SLICE_LIT("block a"));
    pb_bytes(&out, 3, SLICE_LIT("block b"));
    pb_end(&out, mark);
    assert_int_equal(messages_coverage(&arena, buf_slice(&out), 3, &c), ERR_OK);
    assert_int_equal(c.recent_count, 2);
    assert_true(slice_eq_str(c.recent[1], "block b"));
    assert_false(c.is_replaying);
}

static void test_every_cut_is_damage_or_a_shorter_answer(void **state)
{
    struct blocks_coverage c;
    struct slice *list;
    uint32_t count;

    (void)state;
    size_t mark = pb_begin(&out, 1);
    pb_bytes(&out, 1, SLICE_LIT("ingester-0"));
    pb_varint(&out, 2, 300);
    pb_bytes(&out, 3, SLICE_LIT("block"));
    pb_end(&out, mark);
    size_t first = out.len;
    pb_bytes(&out, 2, SLICE_LIT("a"));
    pb_bytes(&out, 2, SLICE_NONE);
    assert_int_equal(messages_repeated(&arena, buf_slice(&out), 2, &list, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(list[1].len, 0);
    for (size_t len = 0; len < first; len++)
        assert_int_equal(messages_coverage(&arena, slice_sub(buf_slice(&out), 0, len), 1, &c),
                         ERR_CORRUPT);
    assert_int_equal(messages_repeated(&arena, SLICE_LIT("\x12\x7f"), 2, &list, &count),
                     ERR_CORRUPT);
    assert_int_equal(messages_repeated(&arena, SLICE_LIT("\x13"), 2, &list, &count), ERR_CORRUPT);
    assert_int_equal(messages_coverage(&arena, SLICE_LIT("\x0a\x02\x0a\x05"), 1, &c), ERR_CORRUPT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_search_request),
        T(test_the_other_requests),
        T(test_coverage_as_the_ingester_writes_it),
        T(test_every_cut_is_damage_or_a_shorter_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
