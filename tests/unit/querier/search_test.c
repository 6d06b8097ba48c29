/* Searches over a real ingester core and real blocks, with real lanes between: traces in several places are judged whole. */
#include "common/codec/otlp.h"
#include "common/query/ql.h"
#include "common/sys/fs.h"
#include "tests/lib/search_rig.h"
#include "tests/unit/generator/otlp_one.h"

#include <stdlib.h>

static int64_t base_ns;
static unsigned missing; /* of the last answer */

static void begin(void **state, bool has_absent)
{
    start(state, has_absent);
    base_ns = clock_wall_ns(&clock_system) - 60 * NS_PER_S;
}

/* A span that ends `ms` after the base; it lasts 10 ms. */
static void push(const char *service, unsigned trace, unsigned span, unsigned parent, int64_t ms,
                 bool is_doubt)
{
    struct buf pb;

    buf_init(&pb, 1 << 20);
    otlp_one(&pb, service, trace, span, parent, parent == 0 ? 2 : 3, base_ns + ms * NS_PER_MS, "");
    push_otlp(buf_slice(&pb), 1, is_doubt);
    buf_release(&pb);
}

static struct search_result search_until(const char *text, int64_t end_ms)
{
    struct search_ctx ctx = ctx_new();
    struct ql_query *ql;
    struct search_result r = {0};
    struct err_detail d = {0};

    if (ql_parse(&arena, slice_str(text), &ql, &d) != ERR_OK)
        fail_msg("%s: %s", text, d.text);
    struct engine_query q = {.ql = ql,
                             .start_ns = (uint64_t)base_ns - 60 * (uint64_t)NS_PER_S,
                             .end_ns = (uint64_t)(base_ns + end_ms * NS_PER_MS),
                             .limit = 20,
                             .spans_per_spanset = 10};
    assert_int_equal(search_run(&ctx, slice_str(text), &q, &r), ERR_OK);
    ql_release(ql);
    missing = ctx.missing;
    return r;
}

static struct search_result search(const char *text)
{
    return search_until(text, 120000);
}

static uint32_t spans_of(unsigned trace)
{
    struct search_ctx ctx = ctx_new();
    struct trace_id id = {{0}};
    struct slice otlp, body;
    struct otlp_iter it;
    uint32_t n = 0;

    be32_write(id.b + 12, trace);
    assert_int_equal(search_trace(&ctx, id, &otlp), ERR_OK);
    missing = ctx.missing;
    for (otlp_iter_init(&it, otlp); otlp_next_span(&it, &body);)
        n++;
    return n;
}

static void test_heads_alone_then_blocks_alone(void **state)
{
    begin(state, false);
    for (unsigned t = 1; t <= 5; t++)
        push("shop", t, 1, 0, t * 100, false);
    for (int round = 0; round < 2; round++) {
        struct search_result r = search("{ resource.service.name = \"shop\" }");
        assert_int_equal(r.trace_count, 5);
        assert_int_equal(missing, 0);
        assert_int_equal(r.stats.total_blocks, round);
        for (uint32_t i = 1; i < r.trace_count; i++) /* newest first */
            assert_true(r.traces[i - 1].start_ns > r.traces[i].start_ns);
        assert_int_equal(spans_of(3), 1);
        assert_int_equal(spans_of(99), 0);
        assert_int_equal(search("{ resource.service.name = \"other\" }").trace_count, 0);
        flush();
    }
}

/* The root in a block, the rest in a head: `{a} && {b}`, the root's names and the duration are of the whole. */
static void test_a_trace_in_block_and_head_is_judged_whole(void **state)
{
    begin(state, false);
    push("front", 1, 1, 0, 1000, false);
    flush();
    push("back", 1, 2, 1, 3000, false);
    push("alone", 2, 1, 0, 2000, false);
    struct search_result r =
        search("{ resource.service.name = \"front\" } && { resource.service.name = \"back\" }");
    assert_int_equal(missing, 0);
    assert_int_equal(r.trace_count, 1);
    assert_true(slice_eq_str(r.traces[0].root_service, "front"));
    assert_int_equal(r.traces[0].duration_ns, 2010 * NS_PER_MS);
    assert_int_equal(r.traces[0].spansets[0].matched, 2);
    assert_int_equal(search("{ traceDuration > 2s }").trace_count, 1);
    assert_int_equal(
        search("{ rootServiceName = \"front\" && resource.service.name = \"back\" }").trace_count,
        1);
    assert_int_equal(search("{ } | count() = 2").trace_count, 1);
    assert_int_equal(search("{ } | count() = 1").trace_count, 1); /* the other one */
    assert_int_equal(spans_of(1), 2);
    flush(); /* now in two blocks */
    assert_int_equal(search("{ } | count() = 2").trace_count, 1);
    assert_int_equal(search("{ traceDuration > 2s }").trace_count, 1);
    assert_int_equal(spans_of(1), 2);
}

/* The window has the first part, which nobody flags, in a block; the other, in a head, is flagged and lies after the window. */
static void test_a_part_after_the_window_counts(void **state)
{
    begin(state, false);
    push("front", 1, 1, 0, 1000, false);
    flush();
    push("back", 1, 2, 1, 9000, false);
    struct search_result r = search_until("{ resource.service.name = \"front\" }", 2000);
    assert_int_equal(r.trace_count, 1);
    assert_int_equal(r.traces[0].duration_ns, 8010 * NS_PER_MS);
    assert_int_equal(search_until("{ } | count() = 2", 2000).trace_count, 1);
    flush();
    assert_int_equal(search_until("{ } | count() = 2", 2000).trace_count, 1);
}

/* Flagged, but all here. */
static void test_a_flagged_trace_in_one_place(void **state)
{
    begin(state, false);
    push("front", 1, 1, 0, 1000, true);
    push("back", 1, 2, 1, 3000, true);
    assert_int_equal(search("{ } | count() = 2").trace_count, 1);
    flush();
    assert_int_equal(search("{ } | count() = 2").trace_count, 1);
    assert_int_equal(missing, 0);
}

/* More than a search keeps: what is left out is said. */
static void test_more_flagged_than_are_kept(void **state)
{
    enum { PUSHES = 51, SPANS = 2000 }; /* 102,000 traces, and 100,000 are kept */
    struct buf one, all;

    begin(state, false);
    buf_init(&one, 1 << 20);
    buf_init(&all, 4 << 20);
    for (unsigned i = 0; i < PUSHES; i++) {
        buf_reset(&all);
        for (unsigned k = 0; k < SPANS; k++) {
            buf_reset(&one);
            otlp_one(&one, "shop", 1 + i * SPANS + k, 1, 0, 2, base_ns + (int64_t)k * NS_PER_MS,
                     "");
            buf_append(&all, buf_slice(&one));
        }
        push_otlp(buf_slice(&all), SPANS, true);
    }
    buf_release(&one);
    buf_release(&all);
    assert_int_equal(search("{ }").trace_count, 20);
    assert_int_not_equal(missing, 0);
}

static void test_who_can_not_be_reached_makes_it_partial(void **state)
{
    begin(state, true);
    push("shop", 1, 1, 0, 1000, false);
    assert_int_equal(search("{ }").trace_count, 1);
    assert_int_not_equal(missing, 0);
    assert_int_equal(spans_of(1), 1);
    assert_int_not_equal(missing, 0);
    struct search_ctx ctx = ctx_new();
    struct tag_names names = {0};
    assert_int_equal(search_tag_names(&ctx, SLICE_NONE, 0, 0, 0, &names), ERR_OK);
    assert_int_not_equal(ctx.missing, 0);
    assert_int_equal(names.counts[TAGS_RESOURCE], 1);
}

static void test_tags_of_heads_and_blocks(void **state)
{
    struct ql_attribute tag;
    struct tag_names names = {0};
    struct tag_values values = {0};

    begin(state, false);
    push("front", 1, 1, 0, 1000, false);
    flush();
    push("back", 2, 1, 0, 2000, false);
    push("front", 3, 1, 0, 2000, false);
    struct search_ctx ctx = ctx_new();
    assert_int_equal(search_tag_names(&ctx, SLICE_NONE, 0, 0, 0, &names), ERR_OK);
    assert_int_equal(names.counts[TAGS_RESOURCE], 1);
    assert_true(slice_eq_str(names.names[TAGS_RESOURCE][0], "service.name"));
    assert_int_equal(ql_parse_attribute(&arena, SLICE_LIT("resource.service.name"), &tag), ERR_OK);
    struct search_values_options o = {.tag_text = SLICE_LIT("resource.service.name"), .tag = &tag};
    assert_int_equal(search_tag_values(&ctx, &o, &values), ERR_OK);
    assert_int_equal(values.count, 2);
    assert_int_equal(ctx.missing, 0);
}

/* A block that can not be read any more is told, and the rest is answered. */
static void test_a_damaged_block_makes_it_partial(void **state)
{
    char *id = NULL;
    struct blocks_set set;

    begin(state, false);
    push("shop", 1, 1, 0, 1000, false);
    flush();
    push("shop", 2, 1, 0, 2000, false);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_int_equal(blocks_take(blocks, "acme", 0, 0, NULL, 0, &arena, &set), ERR_OK);
    assert_int_equal(set.count, 1);
    id = arena_str(&arena, slice_str(block_meta(set.blocks[0])->id));
    blocks_give(&set);
    blocks_free(blocks); /* a querier that has not opened it yet */
    assert_int_equal(blocks_new(backend, &memory, &blocks), ERR_OK);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/acme/%s/data.vvb", tmpdir_path(state, "blocks"), id);
    assert_int_equal(fs_replace(path, SLICE_LIT("no block")), ERR_OK);
    assert_int_equal(search("{ }").trace_count, 1);
    assert_int_not_equal(missing, 0);
    assert_int_equal(spans_of(2), 1);
    assert_int_not_equal(missing, 0);
}

/* An ingester that says nothing at one moment and answers at the next: which traces are split may not be known then, so the answer is partial. */
static void test_who_is_silent_for_a_moment_makes_it_partial(void **state)
{
    static const int methods[] = {RPC_FLAGGED, RPC_HAS_TRACES};

    begin(state, false);
    push("front", 1, 1, 0, 1000, false);
    flush();
    push("back", 1, 2, 1, 3000, false);
    for (int i = 0; i < 2; i++) {
        atomic_store(&refused_method, methods[i]);
        (void)search(
            "{ resource.service.name = \"front\" } && { resource.service.name = \"back\" }");
        assert_int_not_equal(missing, 0);
        atomic_store(&refused_method, 0);
        assert_int_equal(search("{ } | count() = 2").trace_count, 1);
        assert_int_equal(missing, 0);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_heads_alone_then_blocks_alone),
        T(test_a_trace_in_block_and_head_is_judged_whole),
        T(test_a_part_after_the_window_counts),
        T(test_a_flagged_trace_in_one_place),
        T(test_more_flagged_than_are_kept),
        T(test_who_can_not_be_reached_makes_it_partial),
        T(test_tags_of_heads_and_blocks),
        T(test_a_damaged_block_makes_it_partial),
        T(test_who_is_silent_for_a_moment_makes_it_partial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
