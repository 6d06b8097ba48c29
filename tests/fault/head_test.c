/* Every allocation of a head fails once, and its budget runs out at every size: what was taken stays whole, nothing leaks. */
#include "common/store/head.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"

enum { REQUESTS = 4, SPANS = 25 };

struct input {
    struct buf request[REQUESTS];
    struct otlp_canon canon;
};

static void make_input(struct input *in, uint64_t seed)
{
    struct otlp_gen g;
    *in = (struct input){0};
    otlp_gen_init(&g, seed, 1700000000000000000);
    for (int i = 0; i < REQUESTS; i++) {
        buf_init(&in->request[i], 1u << 24);
        if (i == REQUESTS - 1)
            otlp_gen_request(&g, SPANS, &in->request[i]);
        else
            otlp_gen_odd_request(&g, SPANS, &in->request[i]);
        otlp_canon_add(&in->canon, buf_slice(&in->request[i]));
    }
    otlp_canon_sort(&in->canon, true);
    otlp_gen_release(&g);
}

static void release_input(struct input *in)
{
    for (int i = 0; i < REQUESTS; i++)
        buf_release(&in->request[i]);
    otlp_canon_release(&in->canon);
}

/* What the head holds is a part of what it was given, each span once. */
static void check_head(struct head *h, uint32_t spans, const struct input *in)
{
    struct segment *s = NULL;
    struct seg_traces t;
    struct otlp_canon out = {0};
    struct buf b;
    assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
    assert_int_equal(s->row_count[SEG_SPAN], spans);
    assert_int_equal(segment_traces(s, &t), ERR_OK);
    uint32_t *rows = calloc(spans + 1, sizeof *rows), sum = 0;
    assert_non_null(rows);
    for (uint32_t i = 0; i < spans; i++)
        rows[i] = i;
    for (uint32_t i = 0; i < s->trace_count; i++) {
        assert_true(t.span_count[i] != 0);
        sum += t.span_count[i];
    }
    assert_int_equal(sum, spans);
    buf_init(&b, 1u << 26);
    assert_int_equal(segment_write_otlp(s, rows, spans, &b), ERR_OK);
    otlp_canon_add(&out, buf_slice(&b));
    assert_int_equal(out.count, spans);
    otlp_canon_sort(&out, true);
    assert_int_equal(out.count, spans);
    for (size_t i = 0, at = 0; i < out.count; i++) {
        while (at < in->canon.count && strcmp(in->canon.lines[at], out.lines[i]) != 0)
            at++;
        assert_true(at < in->canon.count);
    }
    free(rows);
    otlp_canon_release(&out);
    buf_release(&b);
    segment_close(s);
}

/* Appends all; after a failure the same request is sent again, as a client does: what is missing then comes in, what is there is a copy.
 * True when an allocation had failed. */
static bool run(struct budget *budget, const struct input *in, bool is_retried)
{
    struct head *h = NULL;
    uint32_t spans = 0;
    if (head_new(budget, &(struct head_options){0}, &h) != ERR_OK)
        return alloc_fault_hit();
    for (int i = 0; i < REQUESTS; i++) {
        struct head_append_result r;
        enum err e = head_append(h, buf_slice(&in->request[i]), false, 1, &r);
        spans += r.spans;
        if (e != ERR_OK && is_retried) {
            assert_true(e == ERR_NOMEM || e == ERR_LIMIT);
            assert_int_equal(head_append(h, buf_slice(&in->request[i]), false, 1, &r), ERR_OK);
            spans += r.spans;
        }
    }
    bool is_hit = alloc_fault_hit();
    check_head(h, spans, in);
    if (is_retried)
        assert_int_equal(spans, in->canon.count);
    head_unref(h);
    return is_hit;
}

static void test_allocations(void **state)
{
    (void)state;
    struct input in;
    unsigned long n;
    make_input(&in, 1);
    for (n = 1;; n++) {
        struct budget budget;
        budget_init(&budget, SIZE_MAX, NULL);
        alloc_fault_at(n);
        bool is_hit = run(&budget, &in, true);
        assert_int_equal(budget_used(&budget), 0);
        if (!is_hit)
            break;
    }
    assert_true(n > 100);
    release_input(&in);
}

static void test_budgets(void **state)
{
    (void)state;
    struct input in;
    make_input(&in, 2);
    for (size_t limit = 20000; limit < 2000000; limit += limit / 40) {
        struct budget budget;
        budget_init(&budget, limit, NULL);
        (void)run(&budget, &in, false);
        assert_int_equal(budget_used(&budget), 0);
    }
    release_input(&in);
}

/* Snapshots too: an error, or everything. */
static void test_snapshots(void **state)
{
    (void)state;
    struct input in;
    struct head *h = NULL;
    make_input(&in, 3);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
    for (int i = 0; i < REQUESTS; i++) {
        struct head_append_result r;
        assert_int_equal(head_append(h, buf_slice(&in.request[i]), false, 1, &r), ERR_OK);
    }
    for (unsigned long n = 1;; n++) {
        struct segment *s = NULL;
        struct seg_fixed f;
        struct seg_traces t;
        struct seg_events ev;
        struct seg_links ln;
        const struct seg_column *c;
        uint32_t count;
        struct budget budget;
        budget_init(&budget, SIZE_MAX, NULL);
        alloc_fault_at(n);
        enum err e = head_segment(h, &budget, &s);
        if (e == ERR_OK)
            e = segment_fixed(s, SEG_F_ALL, &f);
        if (e == ERR_OK)
            e = segment_traces(s, &t);
        if (e == ERR_OK)
            e = segment_events(s, &ev);
        if (e == ERR_OK)
            e = segment_links(s, &ln);
        if (e == ERR_OK)
            e = segment_attribute(s, SEG_SPAN, SLICE_LIT("a"), &c, &count);
        segment_close(s);
        assert_int_equal(budget_used(&budget), 0);
        if (!alloc_fault_hit()) {
            assert_int_equal(e, ERR_OK);
            break;
        }
        assert_int_equal(e, ERR_NOMEM);
    }
    head_unref(h);
    release_input(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocations),
                                       cmocka_unit_test(test_budgets),
                                       cmocka_unit_test(test_snapshots)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
