/* Metrics over a real head while allocations fail one after the other: the right answer or ERR_NOMEM, and nothing leaks. */
#include "common/query/metrics_query.h"
#include "common/store/head.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"

#include <math.h>

enum { SPANS = 120, START_S = 1000000 };

struct fixture {
    struct head *head;
    struct ql_query *ql;
    uint32_t want_series; /* of the run in which nothing fails */
    double want_sum;
    bool is_known;
};

static double sum_of(const struct metrics_result *r)
{
    double sum = 0;

    for (uint32_t i = 0; i < r->count; i++)
        for (uint32_t k = 0; k < r->interval_count; k++)
            sum += isnan(r->series[i].points[k]) ? 0 : r->series[i].points[k];
    return sum;
}

/* Observed, packed, added to another and made series of. */
static enum err ask(struct fixture *f, struct segment *s, struct arena *a,
                    struct metrics_result *ret)
{
    const struct metrics_window w = {START_S * UINT64_C(1000000000) - 1, UINT64_C(600000000000), 2};
    struct metrics_part *here, *there;
    struct buf b;

    enum err e = metrics_part_new(a, f->ql->metrics, &w, 10, &here);
    if (e == ERR_OK)
        e = metrics_part_new(a, f->ql->metrics, &w, 10, &there);
    if (e == ERR_OK)
        e = metrics_observe(here, s, NULL, 0, NULL);
    buf_init(&b, 1 << 22);
    if (e == ERR_OK)
        metrics_wire_pack(&b, here);
    if (e == ERR_OK)
        e = buf_err(&b);
    if (e == ERR_OK)
        e = metrics_wire_add(there, buf_slice(&b));
    if (e == ERR_OK)
        e = metrics_eval(a, f->ql->metrics, &there, w.step_ns, ret);
    buf_release(&b);
    return e;
}

static void ask_all(void *arg)
{
    struct fixture *f = arg;
    struct metrics_result r = {0};
    struct segment *s = NULL;
    struct budget budget;
    struct arena a;

    budget_init(&budget, 64 << 20, NULL);
    arena_init(&a, &budget);
    enum err e = head_segment(f->head, &budget, &s);
    if (e == ERR_OK)
        e = ask(f, s, &a, &r);
    if (e != ERR_OK) {
        assert_int_equal(e, ERR_NOMEM);
        assert_true(alloc_sweep_has_failed());
    } else if (f->is_known) {
        assert_int_equal(r.count, f->want_series);
        assert_true(sum_of(&r) == f->want_sum);
    } else {
        f->want_series = r.count;
        f->want_sum = sum_of(&r);
        f->is_known = true;
    }
    segment_close(s);
    arena_release(&a);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_functions(void **state)
{
    static const char *const queries[] = {
        "{} | rate() by(resource.service.name, name, span.http.method)",
        "{ kind = server } >> {} | avg_over_time(duration) by(.http.method)",
        "{} | min_over_time(duration) | topk(3)",
        "{} | quantile_over_time(duration, .5, .9) by(name) > 0",
        "{} | histogram_over_time(duration) by(event:name)",
        "{} | compare({ status = error })",
    };
    struct head_options options = {.max_attribute_bytes = 2048};
    struct head_append_result appended;
    struct fixture f = {0};
    struct otlp_gen g;
    struct buf request;
    struct arena a;

    (void)state;
    otlp_gen_init(&g, 3, START_S * UINT64_C(1000000000));
    buf_init(&request, 1 << 22);
    assert_int_equal(head_new(NULL, &options, &f.head), ERR_OK);
    (void)otlp_gen_request(&g, SPANS, &request);
    assert_int_equal(head_append(f.head, buf_slice(&request), true, 1, &appended), ERR_OK);
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        arena_init(&a, NULL);
        assert_int_equal(ql_parse(&a, slice_str(queries[i]), &f.ql, NULL), ERR_OK);
        f.is_known = false;
        ask_all(&f);
        assert_true(f.want_series > 0);
        assert_true(ALLOC_SWEEP(ask_all, &f) >= 5);
        ql_release(f.ql);
        arena_release(&a);
    }
    head_unref(f.head);
    buf_release(&request);
    otlp_gen_release(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_functions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
