/* The query engine over a real head while allocations fail one after the other: the right answer or ERR_NOMEM, and nothing leaks. */
#include "common/query/engine.h"
#include "common/query/ql.h"
#include "common/store/head.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"

static const struct result_order newest;

enum { SPANS = 120, START_S = 1000000 };

struct fixture {
    struct head *head;
    struct ql_query *ql;
    struct ql_attribute tag;
    uint32_t want_traces, want_names, want_values,
        want_flagged; /* of the run in which nothing fails */
    bool is_known;
};

static void expect(enum err e, uint32_t got, uint32_t *want, bool is_known)
{
    if (e != ERR_OK) {
        assert_int_equal(e, ERR_NOMEM);
        assert_true(alloc_sweep_has_failed());
        return;
    }
    if (!is_known)
        *want = got;
    assert_int_equal(got, *want);
}

static void ask(struct fixture *f, struct segment *s, struct arena *a)
{
    struct engine_query q = {.ql = f->ql, .limit = 10, .spans_per_spanset = 5};
    struct search_result r = {0}, parts[2], merged, back;
    struct tag_names names = {0};
    struct tag_values values = {0};
    struct trace_id *ids = NULL;
    uint32_t count = 0;
    struct buf b;

    enum err e = engine_search(s, &q, a, &r);
    expect(e, r.trace_count, &f->want_traces, f->is_known);
    if (e == ERR_OK) {
        buf_init(&b, 1 << 20);
        search_result_pack(&b, &r);
        if (buf_err(&b) == ERR_OK && search_result_unpack(a, buf_slice(&b), &back) == ERR_OK) {
            parts[0] = r;
            parts[1] = back;
            e = search_result_merge(a, parts, 2, &newest, 10, &merged);
            expect(e, e == ERR_OK ? merged.trace_count : 0, &f->want_traces, f->is_known);
        }
        buf_release(&b);
    }
    e = engine_tag_names(s, NULL, 0, 0, a, &names);
    expect(e, names.counts[TAGS_SPAN], &f->want_names, f->is_known);
    e = engine_tag_values(s, &f->tag, false, f->ql->pipeline->stages[0].spanset->filter, 0, 0, 0, a,
                          &values);
    expect(e, values.count, &f->want_values, f->is_known);
    e = engine_flagged(s, 0, 0, a, &ids, &count);
    expect(e, count, &f->want_flagged, f->is_known);
}

static void search_all(void *arg)
{
    struct fixture *f = arg;
    struct segment *s = NULL;
    struct budget budget;
    struct arena a;

    budget_init(&budget, 64 << 20, NULL);
    arena_init(&a, &budget);
    enum err e = head_segment(f->head, &budget, &s);
    if (e == ERR_OK)
        ask(f, s, &a);
    else
        assert_int_equal(e, ERR_NOMEM);
    segment_close(s);
    arena_release(&a);
    assert_int_equal(budget_used(&budget), 0);
    f->is_known = true;
}

static void test_search(void **state)
{
    static const char *const queries[] = {
        "{ duration > 0ns } | by(resource.service.name) | count() > 0 | select(span.http.method, event:name)",
        "{ .http.method = \"GET\" || event:name != nil || !(span.a = 1) } && { nestedSetParent < 0 || kind = server }",
        "{ span.a + 1 = 2 || event.x = nil || link:traceID != \"1\" && event:name =~ \".*\" } | avg(duration)",
    };
    struct head_options options = {.max_attribute_bytes = 2048};
    struct head_append_result appended;
    struct fixture f = {.tag = {.intrinsic = QL_I_NAME}};
    struct otlp_gen g;
    struct buf request;
    struct arena a;

    (void)state;
    otlp_gen_init(&g, 3, START_S * UINT64_C(1000000000));
    buf_init(&request, 1 << 22);
    assert_int_equal(head_new(NULL, &options, &f.head), ERR_OK);
    (void)otlp_gen_odd_request(&g, SPANS, &request);
    assert_int_equal(head_append(f.head, buf_slice(&request), false, 1, &appended), ERR_OK);
    buf_reset(&request);
    (void)otlp_gen_request(&g, SPANS, &request);
    assert_int_equal(head_append(f.head, buf_slice(&request), true, 1, &appended), ERR_OK);
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        arena_init(&a, NULL);
        assert_int_equal(ql_parse(&a, slice_str(queries[i]), &f.ql, NULL), ERR_OK);
        f.is_known = false;
        search_all(&f);
        assert_true(f.want_traces > 0);
        assert_true(ALLOC_SWEEP(search_all, &f) >= 5);
        ql_release(f.ql);
        arena_release(&a);
    }
    head_unref(f.head);
    buf_release(&request);
    otlp_gen_release(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_search)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
